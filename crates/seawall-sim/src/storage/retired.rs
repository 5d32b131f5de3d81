//! `commits/` taken away by a recovery, and made again: the same calls as `OsStorage` makes.

use super::SimStorage;
use crate::calls::{Kind, call};
use crate::event::Event;
use crate::paths::{COMMITS, FOLDER, RETIRED, inside, record_path};
use crate::place::At;
use crate::world::World;
use seawall::format::head::Head;
use seawall::format::ids::{Token, Version};
use seawall::ports::storage::{File, Storage};
use std::collections::BTreeSet;
use std::io;

fn seal_of(token: Token) -> String {
    format!("{RETIRED}new.{token}")
}

impl SimStorage {
    /// The folder of versions that is called `path`, opened by that name, as far as the client's cache knows it.
    pub(super) fn find_folder(&self, path: &str) -> io::Result<usize> {
        let path = path.to_owned();
        let machine = self.is_remote().then(|| self.machine());
        let known = machine.and_then(|machine| self.world.names(machine).followed(&path, self.world.now()));
        if known == Some(None) {
            return Err(io::ErrorKind::NotFound.into());
        }
        call(&self.world, "open a folder", Kind::Look, move |world| {
            let disk = world.disk();
            if let Some(Some(folder)) = known
                && disk.has_folder(folder)
            {
                return Ok(folder);
            }
            if let Some(machine) = machine {
                world.names(machine).walk(&path, &disk, world.now());
            }
            disk.find(&path).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    /// Changes the names of folders, and the client's cache.
    fn move_folders(
        &self,
        what: &'static str,
        paths: [String; 2],
        change: impl FnOnce(&crate::world::World, &mut crate::disk::Disk, [&str; 2]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let machine = self.is_remote().then(|| self.machine());
        call(&self.world, what, Kind::Folder, move |world| {
            let mut disk = world.disk();
            let changed = change(world, &mut disk, [&paths[0], &paths[1]]);
            if let Some(machine) = machine {
                let (mut names, now) = (world.names(machine), world.now());
                if changed.is_ok() {
                    disk.sync_folder(FOLDER);
                    for path in &paths {
                        names.made(path, disk.find(path), disk.change_of(FOLDER), now);
                    }
                } else {
                    paths.iter().for_each(|path| names.forget(path));
                }
            }
            changed
        })
    }

    /// The names of folders of versions, of two listings.
    fn folders(&self) -> io::Result<BTreeSet<String>> {
        let list = || {
            let list = |world: &World| Ok(world.disk().folders().map(|(path, _)| path.to_owned()).collect());
            let mut names: Vec<String> = call(&self.world, "list folders", Kind::Look, list)?;
            self.miss_one(&mut names);
            io::Result::Ok(names)
        };
        Ok(list()?.into_iter().chain(list()?).collect())
    }

    pub(super) fn retired_records(&self) -> io::Result<Vec<String>> {
        let mut records = Vec::new();
        for path in self.folders()? {
            let Some(folder) = or_none(self.find_folder(&path))? else { continue };
            let numbers = or_none(self.listed(folder))?.unwrap_or_default();
            records.extend(self.texts(folder, &numbers)?);
        }
        Ok(records)
    }

    fn texts(&self, folder: usize, versions: &[Version]) -> io::Result<Vec<String>> {
        let records = versions.iter().map(|version| self.record_of(folder, *version)).collect::<io::Result<Vec<_>>>();
        let records = or_none(records)?.unwrap_or_default();
        Ok(records.into_iter().flatten().map(|record| record.text).collect())
    }

    pub(super) fn retire_commits(&self, token: Token) -> io::Result<()> {
        #[cfg(feature = "mutations")]
        if crate::mistakes::recovers_in_place() {
            return match or_none(self.find_folder(COMMITS))? {
                Some(folder) => self.empty(folder),
                None => {
                    self.forget_commits();
                    self.rename("mkdir", Kind::Write, COMMITS.to_owned(), |disk, path| {
                        disk.create(path, Vec::new()).map(drop)
                    })
                }
            };
        }
        let moved = self.move_folders("retire", [COMMITS.to_owned(), format!("{RETIRED}{token}")], {
            |world, disk, [from, to]| {
                disk.move_folder(from, to)?;
                world.met(Event::Retired);
                // A recovery elsewhere takes away what a move has put here. A loss of power can have taken the `id` of a
                // move away: then openers come here, though the newest head is elsewhere.
                if world.oracle().at() == At::Files || world.at() == At::Files {
                    world.begin_danger();
                }
                Ok(())
            }
        });
        or_none(moved)?;
        let seal = seal_of(token);
        self.rename("mkdir", Kind::Write, seal.clone(), |disk, path| disk.create(path, Vec::new()).map(drop))?;
        self.sync_folder(FOLDER.to_owned())?;
        self.forget_commits();
        for path in self.folders()?.into_iter().filter(|path| *path != COMMITS && *path != seal) {
            let mut path = path;
            if path.starts_with(&format!("{RETIRED}new.")) {
                let mut random = [0; 8];
                self.random(&mut random)?;
                let taken = format!("{RETIRED}{}", Token(random));
                let moved = self.move_folders("take a seal", [path, taken.clone()], |_, disk, [from, to]| {
                    disk.move_folder(from, to)
                });
                if or_none(moved)?.is_none() {
                    continue;
                }
                path = taken;
            }
            self.remove_retired(&path)?;
        }
        self.sync_folder(FOLDER.to_owned())
    }

    fn remove_retired(&self, path: &str) -> io::Result<()> {
        while let Some(folder) = or_none(self.find_folder(path))? {
            self.empty(folder)?;
            let removed = self.rename("rmdir", Kind::Folder, path.to_owned(), |disk, path| disk.remove_folder(path));
            match removed {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    self.world.met(Event::NamedWhileEmptied);
                }
                removed => return or_none(removed).map(drop),
            }
        }
        Ok(())
    }

    fn empty(&self, folder: usize) -> io::Result<()> {
        let Some(mut versions) = or_none(self.listed(folder))? else { return Ok(()) };
        versions.sort_unstable();
        let records = self.texts(folder, &versions)?;
        if !records.is_empty() {
            let mut token = [0; 8];
            self.random(&mut token)?;
            let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
            self.replace(File::Records(Token(token)), lines.as_bytes())?;
        }
        for version in versions {
            self.rename("unname", Kind::Write, record_path(folder, version), |disk, path| {
                disk.unlink(path);
                Ok(())
            })?;
            if self.sleeps(self.world.plan().lister_sleeps / 5.0) {
                self.world.met(Event::RecoveryFrozen);
            }
        }
        self.sync_folder(inside(folder))
    }

    pub(super) fn has_seal(&self, token: Token) -> io::Result<bool> {
        #[cfg(feature = "mutations")]
        if crate::mistakes::recovers_in_place() {
            return Ok(true);
        }
        call(&self.world, "look for the seal", Kind::Look, move |world| {
            let disk = world.disk();
            Ok(disk.find(&seal_of(token)).is_some() && disk.find(COMMITS).is_none())
        })
    }

    pub(super) fn reinstate_commits(&self, token: Token, records: &[(Version, String)]) -> io::Result<bool> {
        #[cfg(feature = "mutations")]
        let seal = if crate::mistakes::recovers_in_place() { COMMITS.to_owned() } else { seal_of(token) };
        #[cfg(not(feature = "mutations"))]
        let seal = seal_of(token);
        let Some(folder) = or_none(self.find_folder(&seal))? else { return Ok(false) };
        for (version, record) in records {
            let text = record.clone().into_bytes();
            let named = self.rename("name", Kind::Write, record_path(folder, *version), move |disk, path| {
                disk.create(path, text).map(drop)
            });
            match named {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.sync_folder(inside(folder))?;
        let head: Head = records.last().expect("there are two").1.parse().expect("the engine writes what it can read");
        let process = self.world.my_process();
        let moved =
            self.move_folders("reinstate", [seal.clone(), COMMITS.to_owned()], move |world, disk, [from, to]| {
                if from != to {
                    disk.move_folder(from, to)?;
                }
                crate::recovery::recovered(world, disk, At::Files, head, process);
                Ok(())
            });
        let named = match moved {
            Ok(()) => true,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => false,
                _ => return Err(error),
            },
        };
        self.sync_folder(FOLDER.to_owned())?;
        self.forget_commits();
        Ok(named)
    }
}

fn or_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle) => {
            Ok(None)
        }
        found => found.map(Some),
    }
}
