//! The storage of this machine: a local disk, or a network file system that it has mounted.
//!
//! What network file systems do was measured on NFSv4.1: a file that somebody else appends to must be read with
//! O_DIRECT or opened anew; folders are synced everywhere, for on NFS that call costs nothing.

use super::commits::{Commits, look_at};
use super::descriptors::{Kept, with_room};
use super::lease_file::LeaseFile;
use super::{Append, File, Lock, Look, Record, Scratch, Span, Stamp, Storage};
use crate::counters::{Counters, Operation};
use crate::ids::Version;
use crate::moment::Moment;
use crate::threads;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use rustix::io::Errno;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// How many reads are issued at once, at most.
const AT_ONCE: usize = 16;
/// The memory of a thread that only reads.
const READER_STACK: usize = 256 << 10;
/// Room for a longer read is only made as the file turns out to be so long: the length can come from a record that lies.
const READ_STEP: usize = 8 << 20;
/// The lease's locks are single bytes from here on; the labels are in front.
const LOCKS_BEGIN: i64 = 4096;

/// File systems whose names and data are coherent on this machine, because it alone has them.
const LOCAL: [(u64, &str); 9] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x8584_58f6, "ramfs"),
];
const REMOTE: [(u64, &str); 5] =
    [(0x6969, "nfs"), (0x6573_5546, "fuse"), (0xff53_4d42, "cifs"), (0xfe53_4d42, "smb2"), (0x0102_1997, "9p")];

/// The files of one database on this machine.
pub struct OsStorage {
    name: PathBuf,
    folder: PathBuf,
    scratch: PathBuf,
    kind: String,
    network: bool,
    /// Cleared when the file system turns out not to know O_DIRECT.
    direct: AtomicBool,
    counters: Arc<Counters>,
    open: Kept,
    commits: OnceLock<Commits>,
    lease: OnceLock<LeaseFile>,
}

impl OsStorage {
    /// The storage of the database NAME; its scratch files go to `scratch`. The folder that NAME lies in must be there.
    pub fn new(name: &Path, scratch: &Path) -> io::Result<OsStorage> {
        let kind = rustix::fs::statfs(parent_of(name))?.f_type as u64 & 0xffff_ffff;
        let known = |list: &[(u64, &'static str)]| list.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name);
        let mut folder = name.as_os_str().to_owned();
        folder.push("-seawall");
        Ok(OsStorage {
            name: name.to_owned(),
            folder: folder.into(),
            scratch: scratch.to_owned(),
            kind: known(&LOCAL).or(known(&REMOTE)).map_or_else(|| format!("unknown ({kind:#x})"), str::to_owned),
            network: known(&LOCAL).is_none(),
            direct: AtomicBool::new(true),
            counters: Arc::default(),
            open: Kept::new(),
            commits: OnceLock::new(),
            lease: OnceLock::new(),
        })
    }

    /// Whether other machines may have the file system, too.
    pub fn is_shared(&self) -> bool {
        self.network
    }

    fn path(&self, file: File) -> PathBuf {
        let relative = file.to_string();
        match relative.strip_prefix("NAME-seawall/") {
            Some(inside) => self.folder.join(inside),
            None if file == File::Folder => self.folder.clone(),
            None => self.name.clone(),
        }
    }

    fn commits(&self) -> io::Result<&Commits> {
        kept(&self.commits, || {
            self.counters.count(Operation::Metadata);
            // Several overlays can show one folder, and each tells only of what was done through itself.
            let watches = !self.network && self.kind != "overlayfs";
            with_room(|| Commits::open(&self.folder.join("commits"), self.network, watches))
        })
    }

    fn lease(&self) -> io::Result<&LeaseFile> {
        kept(&self.lease, || {
            self.counters.count(Operation::Metadata);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            with_room(|| options.open(self.path(File::Lease))).map(LeaseFile::new)
        })
    }

    fn metadata(&self, file: File) -> io::Result<Option<fs::Metadata>> {
        self.counters.count(Operation::Metadata);
        match or_none(fs::metadata(self.path(file)))? {
            None if self.network => {
                // The kernel may only remember that it was missing, on NFS for 30 s and more: another machine can have adopted NAME since.
                self.counters.count(Operation::Metadata);
                for folder in [parent_of(&self.folder), &self.folder] {
                    // As a mere place: it need not be readable.
                    let opened = with_room(|| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(folder));
                    or_none(opened.and_then(|folder| look_at(&folder)))?;
                }
                or_none(fs::metadata(self.path(file)))
            }
            found => Ok(found),
        }
    }

    /// Only what never changes its content under its name stays open.
    fn open_for_reading(&self, file: File) -> io::Result<(Arc<fs::File>, bool)> {
        let keeps = matches!(file, File::Segment(_) | File::Base(_) | File::Sums(_));
        if let Some(open) = Some(file).filter(|_| keeps).and_then(|file| self.open.get(file)) {
            return Ok((open, false));
        }
        let path = self.path(file);
        let direct = self.network && matches!(file, File::Segment(_)) && self.direct.load(Ordering::Relaxed);
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let opened = match with_room(|| OpenOptions::new().read(true).custom_flags(flags).open(&path)) {
            Err(error) if direct && error.raw_os_error() == Some(libc::EINVAL) => {
                self.direct.store(false, Ordering::Relaxed);
                with_room(|| OpenOptions::new().read(true).open(&path))
            }
            opened => opened,
        };
        let opened = Arc::new(opened?);
        if keeps {
            self.open.keep(file, opened.clone());
        }
        Ok((opened, true))
    }

    /// Reads; says whether a file had to be opened. What comes up short or stale is tried once more on a file opened anew.
    fn read_uncounted(&self, span: Span) -> io::Result<(Vec<u8>, bool)> {
        let (file, opened) = self.open_for_reading(span.file)?;
        match read_at(&file, span) {
            Ok(bytes) if bytes.len() == span.length || opened || !self.network => Ok((bytes, opened)),
            Err(error) if opened || !is_stale(&error) => Err(error),
            _ => {
                self.open.remove(span.file);
                let (file, _) = self.open_for_reading(span.file)?;
                Ok((read_at(&file, span)?, true))
            }
        }
    }

    /// Makes changes of names in `folder` durable. On NFS they are already, and this costs no call.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        with_room(|| fs::File::open(folder))?.sync_all()
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.sync_folder(parent_of(path))
    }
}

impl Storage for OsStorage {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn describe(&self) -> String {
        self.kind.clone()
    }

    fn create_folders(&self) -> io::Result<()> {
        for folder in ["", "bases", "segments", "commits"] {
            self.counters.count(Operation::Metadata);
            match fs::create_dir(self.folder.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.sync_folder(&self.folder)?;
        self.sync_folder_of(&self.folder)
    }

    fn inode(&self, file: File) -> io::Result<Option<u64>> {
        Ok(self.metadata(file)?.map(|metadata| metadata.ino()))
    }

    fn stamp(&self, file: File) -> io::Result<Option<Stamp>> {
        let stamp = |metadata: fs::Metadata| Stamp {
            inode: metadata.ino(),
            size: metadata.size(),
            changed: i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()),
        };
        Ok(self.metadata(file)?.map(stamp))
    }

    fn read(&self, span: Span) -> io::Result<Vec<u8>> {
        self.counters.count(Operation::Read);
        let (bytes, opened) = self.read_uncounted(span)?;
        if opened {
            self.counters.count(Operation::Metadata);
        }
        Ok(bytes)
    }

    fn read_many(&self, spans: &[Span]) -> Vec<io::Result<Vec<u8>>> {
        let mut results = Vec::with_capacity(spans.len());
        for spans in spans.chunks(AT_ONCE) {
            self.counters.count(Operation::Read);
            let answers = at_once(spans, self.network, |span| self.read_uncounted(*span));
            if answers.iter().any(|answer| matches!(answer, Ok((_, true)))) {
                self.counters.count(Operation::Metadata);
            }
            results.extend(answers.into_iter().map(|answer| answer.map(|(bytes, _)| bytes)));
        }
        results
    }

    fn create(&self, file: File) -> io::Result<Box<dyn Append>> {
        self.counters.count(Operation::Metadata);
        let path = self.path(file);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).custom_flags(libc::O_DSYNC);
        let opened = with_room(|| options.open(&path))?;
        self.sync_folder_of(&path)?;
        Ok(Box::new(OsAppend { file: opened, counters: self.counters.clone() }))
    }

    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(libc::O_DSYNC);
        with_room(|| options.open(self.path(file)))?.write_all_at(bytes, at)
    }

    fn link(&self, from: File, to: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let to = self.path(to);
        fs::hard_link(self.path(from), &to)?;
        self.sync_folder_of(&to)
    }

    fn remove(&self, file: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn look(&self, known: Version) -> io::Result<Look> {
        let commits = self.commits()?;
        self.counters.count(Operation::Coordinator);
        let look = commits.look(known)?;
        if look.next.is_some() {
            self.counters.count(Operation::Metadata);
        }
        Ok(look)
    }

    fn records(&self, versions: &[Version]) -> io::Result<Vec<Option<Record>>> {
        let commits = self.commits()?;
        self.counters.count(Operation::Metadata);
        at_once(versions, self.network, |version| commits.record(*version)).into_iter().collect()
    }

    fn versions(&self) -> io::Result<Vec<Version>> {
        let commits = self.commits()?;
        self.counters.count(Operation::Metadata);
        commits.versions()
    }

    fn publish(&self, version: Version, record: &str) -> io::Result<()> {
        let commits = self.commits()?;
        self.counters.count(Operation::Coordinator);
        commits.publish(version, record)
    }

    fn sync_published(&self) -> io::Result<()> {
        self.commits()?.sync()
    }

    fn stamps(&self, versions: &[Version], anew: bool) -> io::Result<Vec<Option<Stamp>>> {
        let commits = self.commits()?;
        self.counters.count(Operation::Metadata);
        commits.stamps(versions, anew)
    }

    fn bring_to_rest(&self) -> io::Result<()> {
        if !self.network {
            return Ok(());
        }
        let commits = self.commits()?;
        self.counters.count(Operation::Metadata);
        commits.bring_to_rest()
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.counters.count(Operation::Coordinator);
        match set_lock(self.lease()?, lock, libc::F_WRLCK) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            // Without locks there is no lease to be polite with; the swap decides alone.
            Err(Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn unlock(&self, lock: Lock) -> io::Result<()> {
        self.counters.count(Operation::Coordinator);
        match set_lock(self.lease()?, lock, libc::F_UNLCK) {
            Err(error) if !matches!(error, Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn now(&self) -> Moment {
        now()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self, into: &mut [u8]) -> io::Result<()> {
        getrandom::fill(into).map_err(io::Error::other)
    }

    fn process(&self) -> u32 {
        std::process::id()
    }

    fn label(&self) -> String {
        let machine = rustix::system::uname();
        format!("process {} on {}", self.process(), machine.nodename().to_string_lossy())
    }

    fn scratch(&self) -> io::Result<Box<dyn Scratch>> {
        with_room(|| tempfile::tempfile_in(&self.scratch)).map(|file| Box::new(OsScratch(file)) as Box<dyn Scratch>)
    }
}

/// Both clocks of this machine.
pub fn now() -> Moment {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    Moment { monotonic: monotonic.into(), wall }
}

struct OsAppend {
    file: fs::File,
    counters: Arc<Counters>,
}

impl Append for OsAppend {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.file.set_len(length)
    }
}

struct OsScratch(fs::File);

impl Scratch for OsScratch {
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, at)
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn or_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn kept<T>(place: &OnceLock<T>, open: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
    match place.get() {
        Some(opened) => Ok(opened),
        None => {
            let opened = open()?;
            Ok(place.get_or_init(|| opened))
        }
    }
}

/// Does `one` for every item: beside one another where each waits for the network.
fn at_once<I: Sync, O: Send>(items: &[I], network: bool, one: impl Fn(&I) -> O + Sync) -> Vec<O> {
    if !network || items.len() < 2 {
        return items.iter().map(one).collect();
    }
    beside_one_another(items, READER_STACK, one)
}

fn beside_one_another<I: Sync, O: Send>(items: &[I], stack: usize, one: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let builder = || std::thread::Builder::new().stack_size(stack);
    std::thread::scope(|scope| {
        // Where no more threads can be had, the item is done here, once the others are on their way.
        let threads: Vec<_> =
            items.iter().map(|item| (item, threads::spawn_scoped(builder(), scope, || one(item)))).collect();
        let answer = |(item, thread): (&I, io::Result<std::thread::ScopedJoinHandle<'_, O>>)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => one(item),
        };
        threads.into_iter().map(answer).collect()
    })
}

fn read_at(file: &fs::File, span: Span) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut filled = 0;
    while filled < span.length {
        if filled == bytes.len() {
            bytes.resize(span.length.min(filled + READ_STEP), 0);
        }
        match file.read_at(&mut bytes[filled..], span.at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESTALE)
}

/// An open-file-description lock on one byte, asked for without waiting.
fn set_lock(file: &fs::File, lock: Lock, kind: i32) -> Result<(), Errno> {
    let byte = match lock {
        Lock::Line => 0,
        Lock::Lease(slot) => i64::from(slot) + 1,
    };
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCKS_BEGIN + byte,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_raw_os_error(error as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_threads_can_be_had_all_is_done_in_turn() {
        let double = |n: &i32| (n * 2, std::thread::current().id());
        let here = std::thread::current().id();
        // No machine has so much memory for a thread.
        let done = beside_one_another(&[1, 2, 3], usize::MAX >> 18, double);
        assert_eq!(done, [(2, here), (4, here), (6, here)]);
        let done = beside_one_another(&[1, 2, 3], READER_STACK, double);
        assert!(done.iter().zip([2, 4, 6]).all(|((n, thread), twice)| *n == twice && *thread != here));
    }
}
