//! The `fs` coordinator's names and locks: the folder of versions, as each process has it open.

use super::SimStorage;
use crate::calls::{Kind, call, stale};
use crate::disk::Disk;
use crate::event::Event;
use crate::files::sleeps_after_failure;
use crate::paths::{COMMITS, FOLDER, inside, record_path};
use crate::place::At;
use crate::process::ProcessId;
use crate::world::World;
use seawall::format::head::{Head, MAX_TEXT};
use seawall::format::ids::{Token, Version};
use seawall::ports::counters::Operation;
use seawall::ports::storage::{FsOrder, Look, News, Record, Stamp};
use std::io;
use std::ops::RangeInclusive;

/// What a folder takes whose file system allows short records only: less than any probe tells.
const SHORTEST_RECORD: usize = 700;

/// How many publications are remembered.
const SLEEPERS: usize = 256;

/// A publication that was sent. It can arrive once more, long after.
#[derive(Clone)]
pub(crate) struct Sleeper {
    /// The folder that it was sent to.
    pub(crate) folder: usize,
    pub(crate) version: Version,
    pub(crate) record: String,
}

/// What a process has open.
#[derive(Clone, Copy, Default)]
pub(super) struct Open {
    commits: Option<usize>,
    /// How often it was opened.
    opened: u64,
    /// Which of these folders has a name that is known to be durable.
    synced: u64,
}

impl SimStorage {
    /// The folder of versions that this process has open. It is opened by its name, as far as the client's cache knows it.
    pub(super) fn commits(&self) -> io::Result<usize> {
        if let Some(open) = self.opened().commits {
            return Ok(open);
        }
        self.counters.count(Operation::Metadata);
        let folder = self.find_folder(COMMITS)?;
        let mut open = self.opened();
        if open.commits.is_none() {
            *open = Open { commits: Some(folder), opened: open.opened + 1, ..*open };
        }
        Ok(open.commits.expect("it was just opened"))
    }

    /// The folder `path` is opened the next time that it is needed.
    pub(super) fn forget_commits(&self) {
        self.opened().commits = None;
    }

    fn close(&self, folder: usize) {
        let mut open = self.opened();
        if open.commits == Some(folder) {
            open.commits = None;
        }
    }

    /// Asks the open folder of versions. If it was removed, it is opened by its name and asked again, as `OsStorage`
    /// does.
    fn ask<T>(&self, ask: impl Fn(usize) -> io::Result<T>) -> io::Result<T> {
        let folder = self.commits()?;
        match ask(folder) {
            Err(_) if !self.world.disk().has_folder(folder) => {
                self.world.met(Event::FolderGone);
                self.close(folder);
                ask(self.commits()?)
            }
            answer => answer,
        }
    }

    pub(super) fn listed(&self, folder: usize) -> io::Result<Vec<Version>> {
        let machine = self.is_remote().then(|| self.machine());
        let list = || {
            call(&self.world, "list", Kind::List, move |world| {
                let disk = world.disk();
                if !disk.has_folder(folder) {
                    return Err(stale(world));
                }
                // A listing asks for the folder's change number.
                if let Some(machine) = machine {
                    let path = inside(folder);
                    world.names(machine).asked(&path, disk.change_of(&path), world.now());
                }
                Ok(versions_in(&disk, folder))
            })
        };
        self.listing(list, |version| version.0.is_multiple_of(2))
    }
}

impl FsOrder for SimStorage {
    /// What a real folder takes is the operating system's.
    fn try_longest_record(&self) -> io::Result<usize> {
        Ok(MAX_TEXT)
    }

    fn look(&self, known: Version) -> io::Result<Look> {
        self.ask(|folder| {
            self.counters.count(Operation::Coordinator);
            let changed = self.look_again(folder)?;
            let news = self.news_after(folder, known.next())?;
            if !matches!(news, News::Nothing) {
                self.counters.count(Operation::Metadata);
            }
            let known = self.stamp_of(folder, known)?;
            if known.is_none() && !self.world.disk().has_folder(folder) {
                return Err(stale(&self.world));
            }
            Ok(Look { news, known, changed })
        })
    }

    fn look_at_folder(&self) -> io::Result<Option<i128>> {
        self.ask(|folder| {
            self.counters.count(Operation::Coordinator);
            self.look_again(folder)
        })
    }

    fn look_up(&self, versions: &[Version]) -> io::Result<Vec<Option<Stamp>>> {
        self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            self.stamps_of(folder, versions)
        })
    }

    fn record(&self, version: Version) -> io::Result<Option<Record>> {
        self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            self.record_of(folder, version)
        })
    }

    fn record_after(&self, newest: Version, known: Version) -> io::Result<(Option<Record>, [Option<Stamp>; 2])> {
        self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            let (record, looked) = self.in_any_order(|| self.record_of(folder, newest), || self.look_again(folder));
            looked?;
            let before = newest.previous().map_or(Ok(None), |before| self.stamp_of(folder, before))?;
            Ok((record?, [before, self.stamp_of(folder, known)?]))
        })
    }

    fn versions(&self) -> io::Result<Vec<Version>> {
        let listed = self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            self.listed(folder)
        })?;
        self.sleeps_over(listed.iter().max().copied());
        Ok(listed)
    }

    fn is_in_place(&self) -> io::Result<bool> {
        self.counters.count(Operation::Metadata);
        let folder = self.commits()?;
        let is_in_place = call(&self.world, "look for commits", Kind::Look, move |world| {
            Ok(world.disk().find(COMMITS) == Some(folder))
        })?;
        if !is_in_place {
            self.world.met(Event::FolderMoved);
            self.close(folder);
        }
        Ok(is_in_place)
    }

    fn folder(&self) -> u64 {
        let open = *self.opened();
        open.opened + u64::from(open.commits.is_none())
    }

    fn publish(&self, opened: u64, version: Version, record: &str) -> io::Result<()> {
        let folder = self.commits()?;
        if self.folder() != opened {
            self.world.met(Event::OtherFolder);
            return Err(io::ErrorKind::NotFound.into());
        }
        self.counters.count(Operation::Coordinator);
        let (world, process, text) = (self.world.clone(), self.world.my_process(), record.to_owned());
        let head: Head = record.parse().expect("the engine writes what it can read");
        world.with_process(process, |process| process.swapping += 1);
        let published = self.rename("publish", Kind::Name(folder, version), record_path(folder, version), {
            let world = world.clone();
            move |disk, path| {
                if world.plan().short_records && text.len() > SHORTEST_RECORD {
                    world.met(Event::TooLong);
                    return Err(io::ErrorKind::InvalidFilename.into());
                }
                sleeps(&world, Sleeper { folder, version, record: text.clone() });
                if !disk.has_folder(folder) {
                    world.met(Event::PublishedNowhere);
                    return Err(stale(&world));
                }
                disk.create(path, text.into_bytes())?;
                if disk.find(COMMITS) != Some(folder) {
                    world.met(Event::PublishedInRetired);
                }
                published(&world, disk, head, process);
                world.with_process(process, |process| process.is_lease_known = true);
                Ok(())
            }
        });
        world.with_process(process, |process| process.swapping -= 1);
        if published.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            sleeps_after_failure(&world);
        }
        let published = published.and_then(|()| {
            if !self.is_remote() || !world.by_chance(world.file_faults()) {
                return Ok(());
            }
            // The server forgot this client after it had carried the request out. The repeated request finds its own
            // success.
            world.met(Event::OwnSuccessExists);
            Err(io::ErrorKind::AlreadyExists.into())
        });
        #[cfg(feature = "mutations")]
        let published = crate::mistakes::published(version, published);
        published
    }

    fn sync_published(&self) -> io::Result<()> {
        let folder = self.commits()?;
        let Open { opened, synced, .. } = *self.opened();
        // Others see the new version meanwhile, and build on it.
        if !self.is_remote() && self.sleeps(self.world.plan().lister_sleeps / 5.0) {
            self.world.met(Event::SleptBeforeSync);
        }
        if !self.is_remote() && synced != opened {
            self.sync_folder(FOLDER.to_owned())?;
            self.opened().synced = opened;
        }
        self.sync_folder(inside(folder))
    }

    fn unname(&self, opened: u64, versions: &[Version]) -> io::Result<()> {
        let folder = self.commits()?;
        if self.folder() != opened {
            self.world.met(Event::OtherFolder);
            return Err(io::ErrorKind::NotFound.into());
        }
        for version in versions {
            self.counters.count(Operation::Metadata);
            let world = self.world.clone();
            self.rename("unname", Kind::Write, record_path(folder, *version), move |disk, path| {
                if disk.find(path).is_some() {
                    world.met(Event::Collected);
                }
                disk.unlink(path);
                Ok(())
            })?;
            if self.sleeps(self.world.plan().lister_sleeps / 5.0) {
                self.world.met(Event::CollectionFrozen);
            }
        }
        self.sync_folder(inside(folder))
    }

    fn stamps(&self, versions: &[Version], again: bool) -> io::Result<Vec<Option<Stamp>>> {
        self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            if again {
                self.look_again(folder)?;
            }
            versions.iter().map(|version| self.stamp_of(folder, *version)).collect()
        })
    }

    fn quiesce(&self, _home: u64) -> io::Result<()> {
        if !self.is_remote() {
            return Ok(());
        }
        self.ask(|folder| {
            self.counters.count(Operation::Metadata);
            let machine = self.machine();
            call(&self.world, "quiesce", Kind::Folder, move |world| {
                let (mut disk, now, path) = (world.disk(), world.now(), inside(folder));
                if !disk.has_folder(folder) {
                    return Err(stale(world));
                }
                disk.quiesce(&path);
                world.names(machine).asked(&path, disk.change_of(&path), now);
                world.met(Event::Quiesced);
                Ok(())
            })
        })
    }

    fn retired(&self) -> io::Result<Vec<String>> {
        self.counters.count(Operation::Metadata);
        self.retired_records()
    }

    fn retire(&self, token: Token) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.retire_commits(token)
    }

    fn is_sealed(&self, token: Token) -> io::Result<bool> {
        self.counters.count(Operation::Metadata);
        self.has_seal(token)
    }

    fn reinstate(&self, token: Token, records: &[(Version, String)]) -> io::Result<bool> {
        self.counters.count(Operation::Coordinator);
        self.reinstate_commits(token, records)
    }

    fn try_lock(&self, slot: u32) -> io::Result<bool> {
        self.counters.count(Operation::Coordinator);
        let process = self.world.my_process();
        let taken = call(&self.world, "lock", Kind::Change, move |world| Ok(world.locks().take(world, slot, process)));
        if matches!(taken, Ok(true)) {
            self.world.with_process(process, |process| process.is_lease_known = false);
        }
        taken
    }

    fn is_locked(&self, slots: RangeInclusive<u32>) -> io::Result<Option<bool>> {
        self.counters.count(Operation::Coordinator);
        let process = self.world.my_process();
        call(&self.world, "lock?", Kind::Look, move |world| Ok(Some(world.locks().is_another_s(&slots, process))))
    }

    fn unlock(&self, slot: u32) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        let process = self.world.my_process();
        call(&self.world, "unlock", Kind::Change, move |world| {
            world.locks().give_back(slot, process);
            Ok(())
        })
    }
}

/// Remembers a publication that was sent. It may arrive again, long after.
fn sleeps(world: &World, sleeper: Sleeper) {
    let mut sleepers = world.sleepers();
    if sleepers.len() == SLEEPERS {
        sleepers.pop_front();
    }
    sleepers.push_back(sleeper);
}

/// A head was put in place by naming its version. A garbage-collected number that is named again is not a head.
fn published(world: &World, disk: &Disk, head: Head, process: ProcessId) {
    let mut oracle = world.oracle();
    if oracle.at() == At::Table {
        let put = oracle.put_elsewhere(At::Files, &head);
        drop(oracle);
        return world.put_elsewhere(put);
    }
    if oracle.newest().is_some_and(|newest| head.version <= newest) {
        world.met(Event::SleeperRecreated);
        return;
    }
    let (version, now) = (head.version, world.now());
    let observed = oracle.observe(head, disk, now, world.history());
    drop(oracle);
    world.observed(observed, version, process);
}

/// The versions that a folder names.
pub(crate) fn versions_in(disk: &Disk, folder: usize) -> Vec<Version> {
    disk.list(&inside(folder)).filter_map(|name| name.parse().ok().map(Version)).collect()
}

/// The versions that have names in `commits/`.
pub(crate) fn versions_on(disk: &Disk) -> Vec<Version> {
    disk.find(COMMITS).map_or_else(Vec::new, |folder| versions_in(disk, folder))
}
