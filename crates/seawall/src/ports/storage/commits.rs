//! `commits/`: names that are made if they are absent, and that are looked up without a stale cache.
//!
//! On a network file system a forced look makes the kernel drop the names that it remembers as missing. On NFS the
//! kernel then answers from its cache, exactly, as long as nothing changed. On a local disk names are always coherent.
//! There a process that looks again and again has the kernel watch the folder: the kernel puts a change into the
//! process's queue before the call that made the change returns. Therefore an empty queue proves as much as a look, at
//! a quarter of its price.

use super::at_once::{at_once, both};
use super::descriptors::Watching;
use super::entries::FolderEntry;
use super::home::{is_removed, was_removed};
use super::lease::is_locked;
use super::os::OsStorage;
use super::safely::{Folder, look_at_open};
use super::{File, FsOrder, Look, News, QUIESCED, Record, Stamp};
use crate::format::head::MAX_TEXT;
use crate::format::ids::{Token, Version, parse_number};
use crate::ports::counters::Operation;
use crate::ports::process::Process;
use rustix::fs::{
    AtFlags, OFlags, RawDir, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, UTIME_OMIT, futimens, inotify,
};
use rustix::io::{Errno, ioctl_fionread};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// A process gets a watch once it has looked this often, because the kernel has a bounded number of watches.
const LOOKS_BEFORE_WATCH: u32 = 16;
/// So few names are looked up without threads: only a process that waits for the lease looks up so few, and a thread
/// costs it more than a trip.
const FEW: usize = 3;
/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// The open folder. A call on its descriptor costs one round trip, however long the path is.
pub(super) struct Commits {
    folder: fs::File,
    network: bool,
    /// A watch belongs to the process that made it. A forked child shares the queue, and an event that the child read
    /// would be lost to its parent.
    watch: Option<(Process, Mutex<Watch>)>,
}

/// What is known of the folder without looking.
#[derive(Default)]
struct Watch {
    looks: u32,
    queue: Option<(OwnedFd, Watching)>,
    /// A look found this version and not the next one, and the queue has been empty since.
    newest: Option<(Version, Stamp)>,
}

impl Commits {
    /// `commits/`, as the open folder `folder`. `watches`: every change there is made through this kernel and this very
    /// file system.
    pub(super) fn open(folder: Folder, network: bool, watches: bool) -> Commits {
        Commits {
            folder: fs::File::from(folder.into_fd()),
            network,
            watch: watches.then(|| (Process::this(), Mutex::default())),
        }
    }

    /// Whether this is the folder that was `found`.
    pub(super) fn is(&self, found: &Statx) -> bool {
        look_at_open(&self.folder).is_ok_and(|open| {
            let which = |of: &Statx| (of.stx_ino, of.stx_dev_major, of.stx_dev_minor);
            which(&open) == which(found)
        })
    }

    /// Whether the folder was removed while it is open here.
    pub(super) fn is_removed(&self) -> bool {
        is_removed(self.folder.as_fd())
    }

    pub(super) fn look(&self, known: Version) -> io::Result<Look> {
        let Some((_, watch)) = self.watch.as_ref().filter(|(process, _)| process.is_this()) else {
            return self.look_freshly(known);
        };
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stamp)) = watch.newest.filter(|(newest, _)| *newest == known)
            && watch.is_quiet()
        {
            return Ok(Look { news: News::Nothing, known: Some(stamp), changed: None });
        }
        watch.newest = None;
        if watch.queue.is_none() {
            watch.looks += 1;
            if watch.looks == LOOKS_BEFORE_WATCH {
                watch.looks = 0;
                // If there is no free watch, the process goes on looking.
                let watching = Watching::begin();
                watch.queue = watching.and_then(|watching| Some((watch_of(&self.folder).ok()?, watching)));
            }
        }
        // The queue was emptied before this look, so every later change is in the queue.
        let look = self.look_freshly(known)?;
        if watch.queue.is_some() && matches!(look.news, News::Nothing) {
            watch.newest = look.known.map(|stamp| (known, stamp));
        }
        Ok(look)
    }

    fn look_at_folder(&self) -> io::Result<Option<i128>> {
        if self.network { Ok(Some(nanoseconds(look_at(&self.folder)?.stx_mtime))) } else { Ok(None) }
    }

    fn look_freshly(&self, known: Version) -> io::Result<Look> {
        let changed = self.look_at_folder()?;
        let news = self.news_after(known)?;
        // This comes last. If `known` was garbage-collected meanwhile, a later version may have been as well, and then
        // its absence proves nothing. The forced look has made the cache exact, so no second one is needed.
        let known = self.stamp(known)?;
        if known.is_none() && is_removed(self.folder.as_fd()) {
            return Err(was_removed());
        }
        Ok(Look { news, known, changed })
    }

    fn news_after(&self, known: Version) -> io::Result<News> {
        let next = known.next();
        if self.stamp(next)?.is_none() {
            return Ok(News::Nothing);
        }
        if !self.network {
            let after_next = self.stamp(next.next())?;
            return after_next.map_or_else(|| self.next(next), |stamp| Ok(News::Several(stamp)));
        }
        // A record that is not needed then costs no trip more.
        let (record, after_next) = both(true, || self.next(next), || self.stamp(next.next()));
        after_next?.map_or(record, |stamp| Ok(News::Several(stamp)))
    }

    /// If the name is gone by now, that of the version before it is, too, and it is looked up last.
    fn next(&self, next: Version) -> io::Result<News> {
        Ok(self.record(next)?.map_or(News::Nothing, News::Next))
    }

    fn record_after(&self, newest: Version, known: Version) -> io::Result<(Option<Record>, [Option<Stamp>; 2])> {
        let look = || if self.network { look_at(&self.folder).map(drop) } else { Ok(()) };
        let (record, looked) = both(self.network, || self.record(newest), look);
        looked?;
        let before = newest.previous().map_or(Ok(None), |before| self.stamp(before))?;
        Ok((record?, [before, self.stamp(known)?]))
    }

    pub(super) fn record(&self, version: Version) -> io::Result<Option<Record>> {
        match rustix::fs::readlinkat(&self.folder, version.0.to_string(), Vec::with_capacity(MAX_TEXT)) {
            Ok(target) => match target.into_string() {
                Ok(text) => {
                    self.outlast_publisher()?;
                    Ok(self.stamp(version)?.map(|stamp| Record { text, stamp }))
                }
                Err(_) => Err(malformed(version, "it is not text")),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) => Err(malformed(version, "it is no symbolic link")),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until every process that is making a name in this folder has finished. A new name can be seen a moment
    /// before it is in the queues of other processes. If this process used it in that moment and announced it to
    /// another one by other means, the other one could still find its queue empty. Names are made under the folder's
    /// lock, and listing takes that lock.
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
        // This opens the folder that is already open, not one that has taken its name since.
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

    pub(super) fn unname(&self, versions: &[Version]) -> io::Result<()> {
        versions.iter().try_for_each(|version| {
            match rustix::fs::unlinkat(&self.folder, version.0.to_string(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Sets the folder's time back. The server does that under the folder's lock, and all clients notice it as a
    /// change.
    pub(super) fn quiesce(&self) -> io::Result<()> {
        let leave = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let at_rest = Timespec { tv_sec: (QUIESCED / SECOND) as i64, tv_nsec: 0 };
        Ok(futimens(&self.folder, &Timestamps { last_access: leave, last_modification: at_rest })?)
    }

    /// The second fsync of a commit, of the folder `commits/`, on a local disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    pub(super) fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>> {
        if fresh && self.network {
            look_at(&self.folder)?;
        }
        versions.iter().map(|version| self.stamp(*version)).collect()
    }

    /// Answered from the kernel's cache if it is valid: the answer to a publication shows the kernel whether another
    /// client changed the folder.
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

/// A forced look: makes the kernel ask the server about `folder` again, so that it drops the names that it remembers
/// there if the folder has changed. Returns the server's answer.
pub(super) fn look_at(folder: impl AsFd) -> io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    Ok(rustix::fs::statx(folder, c"", flags, StatxFlags::BASIC_STATS)?)
}

pub(super) fn nanoseconds(time: StatxTimestamp) -> i128 {
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}

impl Watch {
    /// Whether nothing has happened since the last call. Empties the queue. A watch that has ended is given up, because
    /// its queue would stay empty and prove nothing.
    fn is_quiet(&mut self) -> bool {
        let Some((queue, _)) = &self.queue else { return false };
        // The kernel counts what is in the queue under the same lock as it would read it, in two thirds of the time.
        if matches!(ioctl_fionread(queue), Ok(0)) {
            return true;
        }
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
                // An event that is not understood does not prove that nothing happened.
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

/// Watches the folder that is open, because another one may have taken its path. The kernel takes only a path, so this
/// uses the descriptor's path in /proc. Where /proc is not mounted there is no watch.
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
        if !matches!(look.news, News::Nothing) {
            self.counters.count(Operation::Metadata);
        }
        Ok(look)
    }

    fn look_at_folder(&self) -> io::Result<Option<i128>> {
        self.ask(|commits| {
            self.counters.count(Operation::Coordinator);
            commits.look_at_folder()
        })
    }

    fn look_up(&self, versions: &[Version]) -> io::Result<Vec<Option<Stamp>>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            let at_once_pays = self.network && versions.len() > FEW;
            at_once(versions, at_once_pays, |version| commits.stamp(*version)).into_iter().collect()
        })
    }

    fn record(&self, version: Version) -> io::Result<Option<Record>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.record(version)
        })
    }

    fn record_after(&self, newest: Version, known: Version) -> io::Result<(Option<Record>, [Option<Stamp>; 2])> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.record_after(newest, known)
        })
    }

    fn versions(&self) -> io::Result<Vec<Version>> {
        self.ask(|commits| {
            self.counters.count(Operation::Metadata);
            commits.versions()
        })
    }

    fn try_longest_record(&self) -> io::Result<usize> {
        self.try_out_records()
    }

    fn is_in_place(&self) -> io::Result<bool> {
        self.counters.count(Operation::Metadata);
        self.commits_are_in_place()
    }

    fn folder(&self) -> u64 {
        self.opening_of_commits()
    }

    fn publish(&self, folder: u64, version: Version, record: &str) -> io::Result<()> {
        let commits = self.commits()?;
        if self.opening_of_commits() != folder {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.counters.count(Operation::Coordinator);
        let published = commits.publish(version, record);
        match &published {
            // Another process committed first although this one has the lease, or had it.
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
        let commits = self.commits()?;
        self.sync_name_of_commits()?;
        commits.sync()
    }

    fn unname(&self, folder: u64, versions: &[Version]) -> io::Result<()> {
        let commits = self.commits()?;
        if self.opening_of_commits() != folder {
            return Err(io::ErrorKind::NotFound.into());
        }
        versions.iter().for_each(|_| self.counters.count(Operation::Metadata));
        commits.unname(versions)
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
        self.lease.try_lock(slot, || {
            self.counters.count(Operation::Metadata);
            self.open_lease()
        })
    }

    fn is_locked(&self, slots: RangeInclusive<u32>) -> io::Result<Option<bool>> {
        self.counters.count(Operation::Coordinator);
        if let Some(asked) = self.lease.is_another_s(&slots) {
            return asked;
        }
        self.counters.count(Operation::Metadata);
        match self.open_file(File::Lease, OFlags::RDONLY) {
            Ok((file, _)) => is_locked(&file, &slots),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    fn unlock(&self, slot: u32) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        self.lease.unlock(slot)
    }
}

/// A name that has no record.
fn malformed(version: Version, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("commits/{}: {why}", version.0))
}
