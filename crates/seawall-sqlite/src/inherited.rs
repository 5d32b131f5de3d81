//! NAME's locks in a forked child. SQLite keeps, for each file, what all connections of the process have locked, and the child inherits that
//! account: a file that any connection of the parent had locked at the fork stays locked for the child's SQLite, for ever, though the kernel
//! gives no lock of the parent's to its child.
//!
//! So where stock SQLite says that NAME is busy, a child asks the kernel itself, by the very locks that stock SQLite takes. What a crash may
//! have left beside NAME, or a WAL, only SQLite can finish: then it stays busy.

use crate::connection::locked;
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

/// PENDING, RESERVED and all of SHARED: whoever has these bytes has the file for himself.
const LOCKS_BEGIN: i64 = 0x4000_0000;
const LOCKS: i64 = 512;
const WRITE_VERSION: usize = 18;
const IN_WAL_MODE: u8 = 2;

/// What was busy, open. To close it would drop every lock that this process's SQLite has there; so it is kept for the next attempt.
static BUSY: PerProcess<Mutex<HashMap<PathBuf, File>>> = PerProcess::new();

/// NAME, held as stock SQLite holds it under an EXCLUSIVE lock; `None` if it is busy after all.
pub(crate) fn hold(name: &Path) -> Result<Option<Box<dyn HeldFile>>> {
    let mut busy = locked(BUSY.get());
    let kept = busy.remove(name);
    let file = kept.map_or_else(|| open(name), Ok);
    let file = file.map_err(|error| Error::io(format!("locking {}", name.display()), error))?;
    // Under the lock nobody has another one, so that the file may be closed.
    if lock(&file) && is_whole(name, &file).unwrap_or(false) {
        return Ok(Some(Box::new(Held { name: name.to_owned(), file })));
    }
    busy.insert(name.to_owned(), file);
    Ok(None)
}

fn open(name: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(name)
}

/// Whether `file` is what lies at NAME, and needs nothing that only SQLite can do.
fn is_whole(name: &Path, file: &File) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, std::fs::symlink_metadata(name)?);
    let mut header = [0; HEADER];
    let read = file.read_at(&mut header, 0)?;
    let in_wal_mode = read > WRITE_VERSION && header[WRITE_VERSION] == IN_WAL_MODE;
    let is_same = opened.is_file() && (opened.dev(), opened.ino()) == (named.dev(), named.ino());
    Ok(is_same && !in_wal_mode && !beside(name, "-journal") && !beside(name, "-wal"))
}

/// Whether something lies beside NAME that SQLite has to look at.
fn beside(name: &Path, suffix: &str) -> bool {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// A lock of the open file description: it conflicts with all others, those of this process's SQLite included.
fn lock(file: &File) -> bool {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCKS_BEGIN,
        l_len: LOCKS,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the structure is whole.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) == 0 }
}

struct Held {
    name: PathBuf,
    file: File,
}

impl Held {
    fn done<T>(&self, result: io::Result<T>, doing: &str) -> Result<T> {
        result.map_err(|error| Error::io(format!("{doing} {}", self.name.display()), error))
    }
}

impl HeldFile for Held {
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
