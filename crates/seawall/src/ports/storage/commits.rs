//! `commits/`: names that are looked up freshly, and put if absent.
//!
//! On a network file system the kernel must be made to drop what it remembers of names that it once found missing; on
//! NFS it then answers from its cache, exactly, as long as nothing changed. On a local disk names are always
//! coherent, and a process that looks again and again lets the kernel tell it whether anything happened there since: a
//! change is in its queue before the call returns that made it, so an empty queue is as good as a look, and a
//! quarter of its price.

use super::at_once::at_once;
use super::descriptors::Watching;
use super::entries::FolderEntry;
use super::home::{is_removed, was_removed};
use super::os::OsStorage;
use super::safely::Folder;
use super::{FsOrder, Lock, Look, QUIESCED, Record, Stamp};
use crate::format::head::MAX_TEXT;
use crate::format::ids::{Version, parse_number};
use crate::ports::counters::Operation;
use crate::ports::process::Process;
use rustix::fs::{
    AtFlags, RawDir, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, UTIME_OMIT, futimens, inotify,
};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Whoever looks more often than this is worth a watch: the kernel has a bounded number of them.
const LOOKS_BEFORE_WATCH: u32 = 16;
/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// The open folder: every call on its descriptor costs one round trip, whatever the path's length.
pub(super) struct Commits {
    folder: fs::File,
    network: bool,
    /// A watch belongs to the process that made it: a forked child shares its queue, and what the child read there
    /// would be lost to its parent.
    watch: Option<(Process, Mutex<Watch>)>,
}

/// What is known of the folder without looking.
#[derive(Default)]
struct Watch {
    looks: u32,
    queue: Option<(OwnedFd, Watching)>,
    /// A look found this version to be there and the next one not, and nothing was in the queue since.
    newest: Option<(Version, Stamp)>,
}

impl Commits {
    /// Of an open folder. `watches`: every change there is made through this kernel and this very file system.
    pub(super) fn open(folder: Folder, network: bool, watches: bool) -> Commits {
        Commits {
            folder: fs::File::from(folder.into_fd()),
            network,
            watch: watches.then(|| (Process::this(), Mutex::default())),
        }
    }

    pub(super) fn look(&self, known: Version) -> io::Result<Look> {
        let Some((_, watch)) = self.watch.as_ref().filter(|(process, _)| process.is_this()) else {
            return self.look_freshly(known);
        };
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stamp)) = watch.newest.filter(|(newest, _)| *newest == known)
            && watch.is_quiet()
        {
            return Ok(Look { next: None, after_next: None, known: Some(stamp), changed: None });
        }
        watch.newest = None;
        if watch.queue.is_none() {
            watch.looks += 1;
            if watch.looks == LOOKS_BEFORE_WATCH {
                watch.looks = 0;
                // Where there are no more watches to be had, looks go on as before.
                let watching = Watching::begin();
                watch.queue = watching.and_then(|watching| Some((watch_of(&self.folder).ok()?, watching)));
            }
        }
        // The queue was emptied before this look: what comes after it is in the queue.
        let look = self.look_freshly(known)?;
        if watch.queue.is_some() && look.next.is_none() {
            watch.newest = look.known.map(|stamp| (known, stamp));
        }
        Ok(look)
    }

    fn look_freshly(&self, known: Version) -> io::Result<Look> {
        let changed = if self.network { Some(nanoseconds(look_at(&self.folder)?.stx_mtime)) } else { None };
        let next = self.record(known.next())?;
        let after_next = if next.is_some() { self.record(known.next().next())? } else { None };
        // Last: were it collected meanwhile, what was missing would be too, and its absence would prove nothing. The
        // forced look has made the answer of the cache exact, so it need not be forced again.
        let known = self.stamp(known)?;
        if known.is_none() && is_removed(self.folder.as_fd()) {
            return Err(was_removed());
        }
        Ok(Look { next, after_next, known, changed })
    }

    pub(super) fn record(&self, version: Version) -> io::Result<Option<Record>> {
        match rustix::fs::readlinkat(&self.folder, version.0.to_string(), Vec::with_capacity(MAX_TEXT)) {
            Ok(target) => match target.into_string() {
                Ok(text) => {
                    self.outlast_publisher()?;
                    Ok(self.stamp(version)?.map(|stamp| Record { text, stamp }))
                }
                Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a record is not text")),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until whoever is naming a version in this folder is done. A new name can be seen a moment before the
    /// queues of others are told of it; were it used in that moment, somebody who is told of it by other ways could
    /// still find his queue empty. Names are made under the folder's lock, and listing takes that lock.
    fn outlast_publisher(&self) -> io::Result<()> {
        if self.watch.is_some() {
            RawDir::new(&self.folder, &mut [MaybeUninit::uninit(); 1024]).next().transpose()?;
        }
        Ok(())
    }

    pub(super) fn versions(&self) -> io::Result<Vec<Version>> {
        // A list from the client's cache could be old. Linux 6.1 asks the server again where "." is opened, but nothing
        // promises that.
        if self.network {
            look_at(&self.folder)?;
        }
        // Of the folder that is open, not of one that took its name meanwhile.
        let listed = rustix::fs::Dir::read_from(&self.folder)?;
        let mut versions = Vec::new();
        for entry in listed {
            if let Some(version) = entry?.file_name().to_str().ok().and_then(parse_number) {
                versions.push(Version(version));
            }
        }
        Ok(versions)
    }

    /// On NFS the name is durable when symlink() returns.
    pub(super) fn publish(&self, version: Version, record: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(record, &self.folder, version.0.to_string())?)
    }

    /// Sets the folder's time back: the server does it under the folder's lock, and it is a change that all clients
    /// notice.
    pub(super) fn quiesce(&self) -> io::Result<()> {
        let leave = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let at_rest = Timespec { tv_sec: (QUIESCED / SECOND) as i64, tv_nsec: 0 };
        Ok(futimens(&self.folder, &Timestamps { last_access: leave, last_modification: at_rest })?)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    pub(super) fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>> {
        if fresh && self.network {
            look_at(&self.folder)?;
        }
        versions.iter().map(|version| self.stamp(*version)).collect()
    }

    /// From what the kernel remembers, where it does: a publication's answer tells it whether anybody else changed the
    /// folder.
    fn stamp(&self, version: Version) -> io::Result<Option<Stamp>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let mask = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::CTIME;
        match rustix::fs::statx(&self.folder, version.0.to_string(), flags, mask) {
            Ok(found) => {
                Ok(Some(Stamp { inode: found.stx_ino, size: found.stx_size, changed: nanoseconds(found.stx_ctime) }))
            }
            Err(Errno::NOENT | Errno::STALE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes the kernel ask the server again for `folder`, so that it drops what it remembers of names there, if they have
/// changed; what it was told.
pub(super) fn look_at(folder: impl AsFd) -> io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    Ok(rustix::fs::statx(folder, c"", flags, StatxFlags::BASIC_STATS)?)
}

pub(super) fn nanoseconds(time: StatxTimestamp) -> i128 {
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}

impl Watch {
    /// Whether nothing happened since this was asked last. Empties the queue. A watch that is over is given up: its
    /// queue stays empty, which would prove nothing.
    fn is_quiet(&mut self) -> bool {
        let Some((queue, _)) = &self.queue else { return false };
        let mut quiet = true;
        let mut ended = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(queue, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    quiet = false;
                    ended |= event.events().intersects(END);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Whatever this is, it is no proof that nothing happened.
                Err(_) => {
                    quiet = false;
                    break;
                }
            }
        }
        if ended {
            self.queue = None;
        }
        quiet
    }
}

/// After one of these the kernel watches nothing, or a folder that is not in its place any more.
const END: inotify::ReadFlags = inotify::ReadFlags::DELETE_SELF
    .union(inotify::ReadFlags::MOVE_SELF)
    .union(inotify::ReadFlags::UNMOUNT)
    .union(inotify::ReadFlags::IGNORED);

/// Watches the folder that is open: another one may have taken its path. The kernel takes a path only, and the
/// descriptor has one in /proc; where that is not mounted, there is no watch.
fn watch_of(open: &fs::File) -> io::Result<OwnedFd> {
    let queue = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let names = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVE;
    let folder = inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVE_SELF;
    let path = format!("/proc/self/fd/{}", open.as_raw_fd());
    inotify::add_watch(&queue, path, names | folder | inotify::WatchFlags::ONLYDIR)?;
    Ok(queue)
}

impl FsOrder for OsStorage {
    fn look(&self, known: Version) -> io::Result<Look> {
        let look = self.ask(|commits| {
            self.counters.count(Operation::Coordinator);
            commits.look(known)
        })?;
        if look.next.is_some() {
            self.counters.count(Operation::Metadata);
        }
        Ok(look)
    }

    fn records(&self, versions: &[Version]) -> io::Result<Vec<Option<Record>>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            at_once(versions, self.network, |version| commits.record(*version)).into_iter().collect()
        })
    }

    fn versions(&self) -> io::Result<Vec<Version>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.versions()
        })
    }

    fn publish(&self, version: Version, record: &str) -> io::Result<()> {
        let commits = self.commits()?;
        self.counters.count(Operation::Coordinator);
        let published = commits.publish(version, record);
        match &published {
            // Somebody went first though this process has the lease, or had it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.lease.is_ignored(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let place = self.database().map(|folder| FolderEntry { folder, name: "commits".into() });
                return published.map_err(|error| match place {
                    Ok(place) => self.explain(error, &place),
                    Err(_) => error,
                });
            }
            _ => {}
        }
        published
    }

    fn sync_published(&self) -> io::Result<()> {
        self.commits()?.sync()
    }

    fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.stamps(versions, fresh)
        })
    }

    fn quiesce(&self, home: u64) -> io::Result<()> {
        if !self.network || self.is_copy_of(home) {
            return Ok(());
        }
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.quiesce()
        })
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.counters.count(Operation::Coordinator);
        self.lease.try_lock(lock, || {
            self.counters.count(Operation::Metadata);
            self.open_lease()
        })
    }

    fn unlock(&self, lock: Lock) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        self.lease.unlock(lock)
    }
}
