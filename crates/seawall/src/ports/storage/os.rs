//! The storage of this machine: a local disk, or a network file system that it has mounted.
//!
//! What network file systems do was measured on NFSv4.1. A file that another machine appends to must be read with
//! O_DIRECT, or opened again. Folders are synced everywhere, because on NFS that call costs nothing.

use super::at_once::at_once;
use super::commits::nanoseconds;
use super::descriptors::Kept;
use super::entries::inside;
use super::home::Home;
use super::lease::Lease;
use super::remains::{self, Clear, FOLDERS, or_none};
use super::rights::{self, Rights};
use super::safely::{Folder, Use, is_unusable};
use super::{Append, Begun, Bulk, File, FsOrder, Listed, Span, Stamp, Storage, home_of};
use crate::error::Result;
use crate::format::ids::{CommitId, Token};
use crate::ports::counters::{Counters, Operation};
use crate::ports::moment::Moment;
use nix::libc;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags, statx};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How many reads are issued at once, at most.
const AT_ONCE: usize = 16;
/// A longer read gets its memory piece by piece, as the file turns out to be that long, because the length can come
/// from a record that is wrong.
const READ_STEP: usize = 8 << 20;

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
    pub(super) name: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) kind: String,
    pub(super) network: bool,
    /// Cleared when the file system turns out not to know O_DIRECT.
    direct: AtomicBool,
    pub(super) counters: Arc<Counters>,
    open: Kept,
    pub(super) home: Mutex<Home>,
    pub(super) lease: Lease,
    /// Who owns NAME and who may use it, as it was seen last.
    pub(super) rights: Mutex<Option<Rights>>,
}

impl OsStorage {
    /// The storage of the database NAME. The folder that NAME lies in must exist.
    pub fn new(name: &Path) -> io::Result<OsStorage> {
        let kind = rustix::fs::statfs(parent_of(name))?.f_type as u64 & 0xffff_ffff;
        let known = |list: &[(u64, &'static str)]| list.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name);
        let mut folder = name.as_os_str().to_owned();
        folder.push("-seawall");
        Ok(OsStorage {
            name: name.to_owned(),
            folder: folder.into(),
            kind: known(&LOCAL).or(known(&REMOTE)).map_or_else(|| format!("unknown ({kind:#x})"), str::to_owned),
            network: known(&LOCAL).is_none(),
            direct: AtomicBool::new(true),
            counters: Arc::default(),
            open: Kept::new(),
            home: Mutex::default(),
            lease: Lease::default(),
            rights: Mutex::default(),
        })
    }

    /// Only files whose content under a name never changes stay open.
    fn open_for_reading(&self, file: File) -> io::Result<(Arc<fs::File>, bool)> {
        let keeps = matches!(file, File::Segment(_) | File::Base(_) | File::Sums(_));
        if let Some(open) = Some(file).filter(|_| keeps).and_then(|file| self.open.get(file)) {
            return Ok((open, false));
        }
        let direct = self.reads_directly(file);
        let flags = if direct { OFlags::RDONLY | OFlags::DIRECT } else { OFlags::RDONLY };
        let (opened, found) = match self.open_file(file, flags) {
            Err(error) if direct && is_invalid(&error) => {
                self.direct.store(false, Ordering::Relaxed);
                self.open_file(file, OFlags::RDONLY)
            }
            opened => opened,
        }?;
        if file == File::Lease {
            self.lease.is_named(found.stx_ino);
        }
        let opened = Arc::new(opened);
        if keeps {
            self.open.keep(file, opened.clone());
        }
        Ok((opened, true))
    }

    /// Whether the server's file is as long as `span` needs.
    fn has_grown(&self, file: &fs::File, span: Span) -> bool {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        statx(file, "", flags, StatxFlags::SIZE).is_ok_and(|found| found.stx_size >= span.at + span.length as u64)
    }

    fn reads_directly(&self, file: File) -> bool {
        self.network && matches!(file, File::Segment(_)) && self.direct.load(Ordering::Relaxed)
    }

    /// Reads, and returns whether a file had to be opened. After a read that is short or stale, opens the file again
    /// and reads once more.
    fn read_uncounted(&self, span: Span) -> io::Result<(Vec<u8>, bool)> {
        let (file, opened) = self.open_for_reading(span.file)?;
        match read_at(&file, span) {
            Ok(bytes) if bytes.len() == span.length || opened || !self.network => Ok((bytes, opened)),
            // Some file systems accept O_DIRECT when a file is opened, and then refuse the reads.
            Err(error) if self.reads_directly(span.file) && is_invalid(&error) => {
                self.direct.store(false, Ordering::Relaxed);
                self.open.remove(span.file);
                self.read_uncounted(span)
            }
            Err(error) if opened || !is_stale(&error) => Err(error),
            // Some clients do not read past the end that they know (FUSE). They ask the server for the end again.
            Ok(_) if self.reads_directly(span.file) && self.has_grown(&file, span) => Ok((read_at(&file, span)?, true)),
            _ => {
                self.open.remove(span.file);
                let (file, _) = self.open_for_reading(span.file)?;
                Ok((read_at(&file, span)?, true))
            }
        }
    }
}

impl Storage for OsStorage {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_shared(&self) -> bool {
        self.network
    }

    fn describe(&self) -> String {
        self.kind.clone()
    }

    fn prepare(&self, orders_commits: bool) -> Result<bool> {
        self.prepare_place(orders_commits)
    }

    fn try_order(&self) -> Result<()> {
        self.try_order_out()
    }

    fn create_folders(&self) -> io::Result<()> {
        // NAME may exist now, so its rights are looked up again: all that is made gets them. Without NAME the umask
        // decides.
        let rights = or_none(self.rights_now())?;
        let parent = self.parent(Use::List)?;
        let make = |folder: &Folder, name: &OsStr| {
            self.counters.count(Operation::Metadata);
            let made = folder.make_folder(name, rights.as_ref());
            let made = made.map_err(|error| rights::explain(error, folder, name, &self.name))?;
            if made { Ok(()) } else { self.take_folder(folder, name, rights.as_ref()) }
        };
        make(&parent, self.folder_name())?;
        let database = parent.folder(self.folder_name(), Use::List)?;
        FOLDERS.iter().try_for_each(|folder| make(&database, folder.as_ref()))?;
        database.sync()?;
        parent.sync()?;
        self.keep_folder(Some(database));
        Ok(())
    }

    fn begun(&self) -> io::Result<Begun> {
        self.what_was_begun()
    }

    fn discard_folder(&self) {
        self.keep_folder(None);
        // A folder that is not empty stays, and does no harm.
        let _ = self.parent(Use::Pass).and_then(|parent| parent.remove_folder(self.folder_name()));
    }

    fn discard_folders(&self) {
        let _ = self.discard();
    }

    fn clear(&self) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.keep_folder(None);
        let parent = self.parent(Use::List)?;
        remains::clear(&parent, self.folder_name(), Clear::MakingRoom)?;
        parent.sync()
    }

    fn inode(&self, file: File) -> io::Result<Option<u64>> {
        Ok(self.found_now(file)?.map(|found| found.file.stx_ino))
    }

    fn home(&self, file: File) -> io::Result<Option<u64>> {
        let Some(found) = self.found_now(file)? else { return Ok(None) };
        let home = home_of(found.file.stx_ino, found.folder.inode());
        if file != File::Id {
            return Ok(Some(home));
        }
        // Where a look-up costs a remote call, another mount is noticed later, when something in the folder is used.
        if !self.network {
            FOLDERS.iter().try_for_each(|name| found.folder.must_be_no_mount(name.as_ref()))?;
        }
        Ok(self.keep_home(home, found.folder).then_some(home))
    }

    fn stamp(&self, file: File) -> io::Result<Option<Stamp>> {
        let stamp =
            |found: Statx| Stamp { inode: found.stx_ino, size: found.stx_size, changed: nanoseconds(found.stx_ctime) };
        Ok(self.found_now(file)?.map(|found| stamp(found.file)))
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
        // A segment lives long and is seldom made: NAME's rights may have been changed since they were seen last.
        let rights = if matches!(file, File::Segment(_)) { self.rights_now() } else { self.rights() }?;
        let made = self.at(file, Use::List, |place| {
            let made = place.folder.create(&place.name, OFlags::WRONLY | OFlags::DSYNC, &rights);
            let made = made.map_err(|error| self.explain(error, place))?;
            place.folder.sync()?;
            Ok(made)
        })?;
        Ok(Box::new(OsAppend { file: made, counters: self.counters.clone() }))
    }

    fn create_long(&self, file: File) -> io::Result<Box<dyn Bulk>> {
        self.counters.count(Operation::Metadata);
        let rights = self.rights_now()?;
        let (file, folder) = self.at(file, Use::List, |place| {
            let made = place.folder.create(&place.name, OFlags::WRONLY, &rights);
            Ok((made.map_err(|error| self.explain(error, place))?, place.folder.clone()))
        })?;
        Ok(Box::new(OsBulk { file, folder, counters: self.counters.clone() }))
    }

    fn replace(&self, file: File, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        self.make(file, false, |made| made.write_all_at(bytes, 0)).map(drop)
    }

    fn put_name(&self, draft: Token) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let (_, draft) = inside(File::NameDraft(draft)).expect("it lies in the folder");
        let parent = self.parent(Use::List)?;
        let name = self.name.file_name().unwrap_or_default();
        let named = parent.look(name)?;
        self.in_database(|database| {
            if let Some(named) = &named {
                rights::keep_mode(&database.open(&draft, OFlags::RDONLY)?.0, named)?;
            }
            database.rename_into(&draft, &parent, name)?;
            parent.sync()
        })
    }

    fn sync_name(&self) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.parent(Use::List)?.sync()
    }

    fn put_id(&self, draft: CommitId) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.at(File::Draft(draft), Use::List, |draft| {
            draft.folder.rename(&draft.name, "id".as_ref())?;
            draft.folder.sync()
        })
    }

    fn list(&self, listed: Listed) -> io::Result<(Vec<File>, Vec<String>)> {
        self.counters.count(Operation::Metadata);
        let names = self.in_database(|database| match listed.name() {
            None => database.again(Use::List)?.names(),
            Some(folder) => database.folder(folder.as_ref(), Use::List)?.names(),
        })?;
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for name in names {
            let name = String::from_utf8_lossy(name.to_bytes()).into_owned();
            match listed.file(&name) {
                Some(file) => files.push(file),
                None => others.push(name),
            }
        }
        Ok((files, others))
    }

    fn sync(&self, file: File) -> io::Result<()> {
        self.counters.count(Operation::Append);
        self.open_file(file, OFlags::RDONLY)?.0.sync_all()
    }

    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        let open = || {
            let opened = self.open_file(file, OFlags::WRONLY | OFlags::DSYNC);
            match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make(file, true, |_| Ok(()))?;
                    self.open_file(file, OFlags::WRONLY | OFlags::DSYNC)
                }
                opened => opened,
            }
        };
        if file == File::Lease {
            return self.lease.write(at, bytes, open, |lock_all| {
                Ok(self.make(file, false, lock_all)?.expect("it replaces what is there"))
            });
        }
        match open() {
            Ok((opened, found)) if found.stx_nlink <= 1 => opened.write_all_at(bytes, at),
            Err(error) if !is_unusable(&error) => Err(error),
            // It is another folder's as well, or no file at all. It stays as it is, and a new file takes the name.
            _ => self.make(file, false, |made| made.write_all_at(bytes, at)).map(drop),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.network { Ok(()) } else { self.database()?.again(Use::List)?.sync() }
    }

    fn link(&self, from: File, to: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        // Both names are in one folder.
        let (_, name) = inside(to).ok_or(io::ErrorKind::InvalidInput)?;
        self.at(from, Use::List, |from| {
            from.folder.link(&from.name, &name)?;
            from.folder.sync()
        })
    }

    fn remove(&self, file: File) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        let removed = self.at(file, Use::Pass, |place| place.folder.unlink(&place.name));
        or_none(removed).map(drop)
    }

    fn may_write(&self) -> io::Result<()> {
        self.in_database(|folder| self.may_make_files(folder))
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

    fn order(self: Arc<Self>) -> Arc<dyn FsOrder> {
        self
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
        // The file is open with O_DSYNC: each write is durable when it returns, without an fsync of its own.
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.counters.count(Operation::Metadata);
        self.file.set_len(length)
    }
}

struct OsBulk {
    file: fs::File,
    folder: Arc<Folder>,
    counters: Arc<Counters>,
}

impl Bulk for OsBulk {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counters.count(Operation::Append);
        self.file.write_all_at(bytes, at)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.counters.count(Operation::Append);
        // A server may report only now that it could not write.
        self.file.sync_all()?;
        self.folder.sync()
    }
}

pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

pub(super) fn is_stale(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESTALE)
}

fn is_invalid(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}
