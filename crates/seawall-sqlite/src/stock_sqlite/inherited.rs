//! NAME's locks in a forked child. SQLite records, for each file, the locks of all connections of the process, and the
//! child inherits the record. If a connection of the parent had locked a file at the fork, the child's SQLite believes
//! forever that the file is locked, though the kernel gives the child none of the parent's locks.
//!
//! Therefore, where stock SQLite says that NAME is busy, a child takes the same locks from the kernel directly. Only
//! SQLite can finish a journal or a WAL that a crash has left. If there is one, NAME stays busy.

use crate::header::{IN_WAL_MODE, WRITE_VERSION};
use crate::sync::locked;
use seawall::format::sqlite_header::HEADER;
use seawall::ports::process::PerProcess;
use seawall::{Error, HeldFile, Result};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// PENDING, RESERVED and all of SHARED. A process that has locked these bytes is the only one that uses the file.
const LOCKS_BEGIN: i64 = 0x4000_0000;
const LOCKS: i64 = 512;

/// The open descriptors of files that were busy. To close one would drop every lock that this process's SQLite has on
/// the file. Therefore each is kept for the next attempt.
static BUSY: PerProcess<Mutex<HashMap<PathBuf, File>>> = PerProcess::new();

/// NAME, held as stock SQLite holds it under an EXCLUSIVE lock; `None` if it is really busy.
pub(crate) fn hold(name: &Path) -> Result<Option<Box<dyn HeldFile>>> {
    let mut busy = locked(BUSY.get());
    let kept = busy.remove(name);
    let file = kept.map_or_else(|| open(name), Ok);
    let file = file.map_err(|error| Error::io(format!("locking {}", name.display()), error))?;
    // Under this lock there is no other lock on the file, therefore the file may be closed.
    if lock(&file) && is_whole(name, &file).unwrap_or(false) {
        return Ok(Some(Box::new(LockedFile { name: name.to_owned(), file })));
    }
    busy.insert(name.to_owned(), file);
    Ok(None)
}

fn open(name: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(name)
}

/// Whether `file` is still the file at NAME, and has no journal and no WAL, which only SQLite could finish.
fn is_whole(name: &Path, file: &File) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, std::fs::symlink_metadata(name)?);
    let mut header = [0; HEADER];
    let read = file.read_at(&mut header, 0)?;
    let in_wal_mode = read > WRITE_VERSION && header[WRITE_VERSION] == IN_WAL_MODE;
    let is_same = opened.is_file() && (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    Ok(is_same && !in_wal_mode && !has_companion(name, "-journal") && !has_companion(name, "-wal"))
}

/// Whether there may be a file of NAME's with this suffix.
fn has_companion(name: &Path, suffix: &str) -> bool {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Takes a lock of the open file description. It conflicts with all other locks, even those of this process's SQLite.
fn lock(file: &File) -> bool {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCKS_BEGIN,
        l_len: LOCKS,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and every field of the structure is set.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) == 0 }
}

struct LockedFile {
    name: PathBuf,
    file: File,
}

impl LockedFile {
    fn done<T>(&self, result: io::Result<T>, doing: &str) -> Result<T> {
        result.map_err(|error| Error::io(format!("{doing} {}", self.name.display()), error))
    }
}

impl HeldFile for LockedFile {
    fn size(&mut self) -> Result<u64> {
        self.done(self.file.metadata(), "measure").map(|metadata| metadata.len())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.done(self.file.read_exact_at(into, offset), "read")
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.done(self.file.write_all_at(bytes, offset), "write")
    }

    fn sync(&mut self) -> Result<()> {
        self.done(self.file.sync_all(), "sync")
    }
}
