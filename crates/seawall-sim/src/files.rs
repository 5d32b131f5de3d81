//! Files that are written: segments front to back, small ones in place.

use crate::calls::{Kind as CallKind, call, sleeps};
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::{COMMITS, inside, path_of};
use crate::process::ProcessId;
use crate::world::{World, is_simulated};
use seawall::format::frame::{self, Kind};
use seawall::ports::counters::{Counters, Operation};
use seawall::ports::storage::{Append, Bulk, File};
use std::io;
use std::sync::Arc;

/// A write that is durable when it returns. On a local disk that takes two steps, and the power can fail between them.
pub(crate) fn write_durably(
    world: &World,
    what: &'static str,
    inode: usize,
    at: usize,
    bytes: Vec<u8>,
    check: impl Fn(&World, &[u8]) + Send + 'static,
    arrived: impl Fn(&World) + Send + 'static,
) -> io::Result<()> {
    let (is_remote, length) = (world.is_remote(), bytes.len());
    call(world, what, CallKind::Write, move |world| {
        check(world, &bytes);
        let mut disk = world.disk();
        disk.write(inode, at, &bytes);
        if is_remote {
            disk.sync_range(inode, at, length);
        }
        drop(disk);
        arrived(world);
        Ok(())
    })?;
    if is_remote {
        return Ok(());
    }
    call(world, "sync", CallKind::Change, move |world| {
        world.disk().sync_range(inode, at, length);
        Ok(())
    })
}

/// A file that is written front to back.
pub(crate) struct SimAppend {
    world: World,
    counters: Arc<Counters>,
    file: File,
    inode: usize,
    maker: ProcessId,
    position: usize,
}

impl SimAppend {
    /// A file that this process has just made.
    pub(crate) fn new(world: &World, counters: Arc<Counters>, file: File, inode: usize) -> SimAppend {
        SimAppend { world: world.clone(), counters, file, inode, maker: world.my_process(), position: 0 }
    }

    /// One process writes a segment, front to back, and its bytes never change. (Invariant 3.)
    fn guard(&self) -> impl Fn(&World, &[u8]) + Send + 'static {
        let (maker, writer) = (self.maker, self.world.my_process());
        let (inode, at, file) = (self.inode, self.position, self.file);
        move |world, bytes| {
            if maker != writer {
                world.violation(|| format!("{file} is of {maker}, and {writer} writes it"));
            }
            let disk = world.disk();
            let there = &disk.inode(inode).bytes;
            // A difference behind the end is allowed: a failed append gave its space back, and this write of it is
            // late.
            let changes = there.get(at..).unwrap_or_default().iter().zip(bytes).any(|(old, new)| old != new);
            drop(disk);
            if changes {
                world.violation(|| format!("bytes of {file} at {at} are written a second time, and are others"));
            }
        }
    }

    fn is_segment(&self) -> bool {
        matches!(self.file, File::Segment(_))
    }

    /// A recovery finds what is in a segment, whether its writer knows about it or not.
    fn arrived(&self, bytes: Vec<u8>) -> impl Fn(&World) + Send + 'static {
        let (inode, at, path) = (self.inode, self.position, self.is_segment().then(|| path_of(self.file)));
        move |world| {
            // One that was deleted may still be appended to.
            if path.as_ref().is_some_and(|path| world.disk().find(path) == Some(inode)) {
                world.oracle().recovery.arrived(inode, at, &bytes);
                world.check_recovery();
            }
        }
    }
}

impl Append for SimAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        #[cfg(feature = "mutations")]
        let bytes = {
            let (not_synced, synced) = bytes.split_at(crate::mistakes::not_synced(bytes));
            if !not_synced.is_empty() {
                self.append_unsynced(not_synced)?;
            }
            if synced.is_empty() {
                return Ok(());
            }
            synced
        };
        let (world, process) = (self.world.clone(), self.world.my_process());
        // A short write: a part of it is written, and the rest found no space.
        let short = world.by_chance(world.file_faults() / 4.0).then(|| world.pick(0..=bytes.len() as u64 - 1) as usize);
        let written = bytes[..short.unwrap_or(bytes.len())].to_vec();
        let guard = self.guard();
        world.with_process(process, |process| process.appending += 1);
        let arrived = self.arrived(written.clone());
        let done = write_durably(&world, "append", self.inode, self.position, written, guard, arrived);
        world.with_process(process, |process| process.appending -= 1);
        let done = done.and_then(|()| short.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into())));
        if done.is_err() && self.is_segment() {
            append_failed(&world);
            sleeps_after_failure(&world);
        }
        done?;
        self.position += bytes.len();
        if self.is_segment() && may_lose_version(&world.disk()) {
            world.met(Event::StandsOnUnsynced);
            world.power_may_fail(0.5);
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let (inode, is_segment) = (self.inode, self.is_segment());
        call(&self.world, "truncate", CallKind::Change, move |world| {
            world.disk().truncate(inode, length as usize);
            world.met(Event::SpaceGivenBack);
            if is_segment {
                world.oracle().recovery.cut(inode, length as usize);
                world.check_recovery();
            }
            Ok(())
        })
    }
}

impl Drop for SimAppend {
    /// Its process closes it.
    fn drop(&mut self) {
        // A thread that the end of a run stops, or a process that was forked, closes nothing.
        let is_over = std::thread::panicking() || !is_simulated();
        if is_over || !self.is_segment() || self.world.my_process() != self.maker {
            return;
        }
        let is_dead = self.world.with_process(self.maker, |process| {
            process.segments.retain(|inode| *inode != self.inode);
            process.is_dead
        });
        // A large transaction of which nothing came has left nothing behind.
        let disk = self.world.disk();
        let is_named = disk.find(&path_of(self.file)) == Some(self.inode);
        let is_left = is_named && has_only_pages(&disk.inode(self.inode).bytes);
        drop(disk);
        if is_left && !is_dead && !self.world.plan().has_file_faults() {
            self.world.violation(|| format!("{} is closed and left, and has no commit", self.file));
        }
    }
}

/// Whether these are pages that no commit frame names.
fn has_only_pages(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Ok(frame) = frame::parse(&bytes[at..]) {
        if frame.kind != Kind::Pages {
            return false;
        }
        at += frame.length;
    }
    at > 0
}

impl SimAppend {
    /// Appends without making the bytes durable.
    #[cfg(feature = "mutations")]
    fn append_unsynced(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (inode, at, bytes) = (self.inode, self.position, bytes.to_vec());
        self.position += bytes.len();
        let arrived = self.arrived(bytes.clone());
        call(&self.world, "append without sync", CallKind::Write, move |world| {
            world.disk().write(inode, at, &bytes);
            arrived(world);
            Ok(())
        })
    }
}

/// An append to a segment failed as far as its writer knows, or its segment could not be made.
pub(crate) fn append_failed(world: &World) {
    world.with_process(world.my_process(), |process| process.failed_appends += 1);
}

/// Whether a loss of power could take the name of the newest version.
fn may_lose_version(disk: &Disk) -> bool {
    disk.find(COMMITS).is_some_and(|folder| disk.has_unsynced(&inside(folder)))
}

/// A commit of this process failed. Its mark may come later, and an operator may recover the database before that.
pub(crate) fn sleeps_after_failure(world: &World) {
    let process = world.my_process();
    world.with_process(process, |process| process.marks_later += 1);
    if sleeps(world, world.plan().lister_sleeps) {
        world.met(Event::SleptAfterFailure);
    }
    world.with_process(process, |process| process.marks_later -= 1);
}

/// A long file, written at any place and synced once.
pub(crate) struct SimBulk {
    world: World,
    counters: Arc<Counters>,
    folder: String,
    inode: usize,
}

impl SimBulk {
    /// A file in `folder` that this process has just made.
    pub(crate) fn new(world: &World, counters: Arc<Counters>, folder: &str, inode: usize) -> SimBulk {
        SimBulk { world: world.clone(), counters, folder: folder.to_owned(), inode }
    }
}

impl Bulk for SimBulk {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let (inode, bytes) = (self.inode, bytes.to_vec());
        call(&self.world, "write of a long file", CallKind::Write, move |world| {
            world.disk().write(inode, at as usize, &bytes);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let SimBulk { world, folder, inode, .. } = *self;
        call(&world, "sync of a long file", CallKind::Change, move |world| {
            let mut disk = world.disk();
            disk.sync(inode);
            disk.sync_folder(&folder);
            Ok(())
        })
    }
}
