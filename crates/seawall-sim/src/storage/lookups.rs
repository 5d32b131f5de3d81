//! Name lookups: what a machine's client has cached, and what it asks the server.

use super::SimStorage;
use crate::calls::{EIO, Kind, call, sleeps, stale};
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::{COMMITS, FOLDER, folder_in, inside, path_of, record_path};
use seawall::format::ids::Version;
use seawall::ports::storage::{News, Record, Span, Stamp};
use std::io;

impl SimStorage {
    pub(super) fn read_at(&self, span: Span) -> io::Result<Vec<u8>> {
        let path = path_of(span.file);
        if self.is_remote() && self.world.names(self.machine()).followed(&path, self.world.now()) == Some(None) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let machine = self.is_remote().then(|| self.machine());
        call(&self.world, "read", Kind::Look, move |world| {
            let disk = world.disk();
            if let Some(machine) = machine {
                world.names(machine).walk(&path, &disk, world.now());
            }
            let Some(bytes) = disk.content(&path) else {
                world.tell(|| format!("{path} is not there"));
                return Err(io::ErrorKind::NotFound.into());
            };
            let begin = (span.at as usize).min(bytes.len());
            Ok(bytes[begin..(begin + span.length).min(bytes.len())].to_vec())
        })
    }

    /// What `path` means. On NFS the answer may come from the client's cache.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<usize>> {
        self.find_all(vec![path.to_owned()]).map(|found| found[0])
    }

    pub(super) fn find_all(&self, paths: Vec<String>) -> io::Result<Vec<Option<usize>>> {
        if !self.is_remote() {
            return call(&self.world, "look-up", Kind::Look, move |world| {
                let disk = world.disk();
                Ok(paths.iter().map(|path| disk.find(path)).collect())
            });
        }
        let (machine, now) = (self.machine(), self.world.now());
        let remembered: Vec<_> = {
            let names = self.world.names(machine);
            paths.iter().map(|path| names.followed(path, now)).collect()
        };
        let known: Option<Vec<_>> = remembered.into_iter().collect();
        if let Some(known) = known {
            let stale =
                |(path, known): (&String, &Option<usize>)| known.is_none() && self.world.disk().find(path).is_some();
            if paths.iter().zip(&known).any(stale) {
                self.world.met(Event::StaleNegative);
            }
            return Ok(known);
        }
        call(&self.world, "look-up", Kind::Look, move |world| {
            let (disk, mut names, now) = (world.disk(), world.names(machine), world.now());
            if disk.naming().is_some_and(|naming| paths.iter().any(|path| path == naming)) {
                world.met(Event::MissedWhileMade);
            }
            if paths.iter().any(|path| folder_in(path).is_some_and(|folder| !disk.has_folder(folder))) {
                return Err(stale(world));
            }
            Ok(paths.iter().map(|path| names.walk(path, &disk, now)).collect())
        })
    }

    /// What `path` means now: a cached miss does not count. Then it asks for the folders' change numbers again, as
    /// `OsStorage` does.
    pub(super) fn find_now(&self, path: &str) -> io::Result<Option<usize>> {
        let found = self.find(path)?;
        if found.is_some() || !self.is_remote() {
            return Ok(found);
        }
        let machine = self.machine();
        call(&self.world, "look again", Kind::Look, move |world| {
            let (disk, mut names, now) = (world.disk(), world.names(machine), world.now());
            ["", FOLDER].into_iter().for_each(|folder| names.asked(folder, disk.change_of(folder), now));
            Ok(())
        })?;
        self.find(path)
    }

    /// Makes the client ask for the change number of the folder of versions. Returns when the folder changed, by the
    /// server's clock.
    pub(super) fn look_again(&self, folder: usize) -> io::Result<Option<i128>> {
        if !self.is_remote() {
            return Ok(None);
        }
        let machine = self.machine();
        call(&self.world, "forced look", Kind::Look, move |world| {
            let (disk, now) = (world.disk(), world.now());
            if !disk.has_folder(folder) {
                return Err(stale(world));
            }
            let path = inside(folder);
            world.names(machine).asked(&path, disk.change_of(&path), now);
            Ok(Some(disk.time_of(&path).as_nanos() as i128))
        })
    }

    /// The stamp of the version's name, if it has one.
    pub(super) fn stamp_of(&self, folder: usize, version: Version) -> io::Result<Option<Stamp>> {
        Ok(self.find(&record_path(folder, version))?.map(|inode| stamp_of(&self.world.disk(), inode)))
    }

    pub(super) fn news_after(&self, folder: usize, next: Version) -> io::Result<News> {
        if self.stamp_of(folder, next)?.is_none() {
            return Ok(News::Nothing);
        }
        let (record, after_next) =
            self.in_any_order(|| self.record_of(folder, next), || self.stamp_of(folder, next.next()));
        Ok(match after_next? {
            Some(stamp) => News::Several(stamp),
            None => record?.map_or(News::Nothing, News::Next),
        })
    }

    /// Does two things that are asked for at once.
    pub(super) fn in_any_order<A, B>(&self, first: impl FnOnce() -> A, second: impl FnOnce() -> B) -> (A, B) {
        if self.world.by_chance(0.5) {
            return (first(), second());
        }
        let second = second();
        (first(), second)
    }

    pub(super) fn stamps_of(&self, folder: usize, versions: &[Version]) -> io::Result<Vec<Option<Stamp>>> {
        // They are asked for at once, and answered in any order.
        let mut stamps = vec![None; versions.len()];
        let mut left: Vec<_> = (0..versions.len()).collect();
        while !left.is_empty() {
            let next = left.swap_remove(self.world.pick(0..=left.len() as u64 - 1) as usize);
            stamps[next] = self.stamp_of(folder, versions[next])?;
        }
        Ok(stamps)
    }

    pub(super) fn record_of(&self, folder: usize, version: Version) -> io::Result<Option<Record>> {
        let inode = self.find(&record_path(folder, version));
        let record = inode.and_then(|inode| inode.map(|inode| self.record_in(inode)).transpose());
        let process = self.world.my_process();
        let is_opening = self.world.with_process(process, |process| {
            process.listed = None;
            process.is_opening
        });
        let is_there = {
            let disk = self.world.disk();
            disk.find(COMMITS).is_some_and(|folder| disk.find(&record_path(folder, Version(0))).is_some())
        };
        if record.is_err() && is_opening && is_there {
            self.world.met(Event::HeadUnseen);
        }
        record
    }

    fn record_in(&self, inode: usize) -> io::Result<Record> {
        // The client may have the name in its cache, but must ask for the link's text.
        if self.is_remote() && self.world.by_chance(self.world.file_faults()) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let disk = self.world.disk();
        let bytes = disk.inode(inode).bytes.clone();
        let text = String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Record { text, stamp: stamp_of(&disk, inode) })
    }

    /// A process that has listed the versions may be frozen before it looks at the newest of them, until that was
    /// garbage-collected and has come back.
    pub(super) fn sleeps_over(&self, listed: Option<Version>) {
        let world = &self.world;
        let process = world.my_process();
        world.with_process(process, |process| process.listed = listed);
        if self.sleeps(world.plan().lister_sleeps) {
            world.met(Event::ListerSlept);
        }
    }

    /// This process is frozen for a while, with this probability. Whether it was.
    pub(super) fn sleeps(&self, probability: f64) -> bool {
        sleeps(&self.world, probability)
    }
}

/// A link's stamp. It never changes, and no two links have the same one.
fn stamp_of(disk: &Disk, inode: usize) -> Stamp {
    Stamp { inode: Disk::number(inode), size: 0, changed: disk.inode(inode).made.as_nanos() as i128 }
}
