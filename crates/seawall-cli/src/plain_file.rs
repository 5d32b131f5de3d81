//! NAME as a plain SQLite file, held by the locks of stock SQLite, without SQLite: for an adoption by command.
//!
//! What only SQLite itself can finish, a journal or a WAL that a crash left, is refused.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use seawall::{Error, HeldFile, PlainSqlite, Result};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All bytes that stock SQLite locks: who has them keeps every reader and writer of a file out.
const LOCK_BYTES: (i64, i64) = (0x4000_0000, 512);
/// How soon a lock is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// What stock SQLite leaves beside a file whose newest content is not all in the file itself.
const UNFINISHED: [&str; 2] = ["-journal", "-wal"];

/// Stands for stock SQLite.
pub(crate) struct WithoutSqlite;

impl PlainSqlite for WithoutSqlite {
    fn hold(&self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(name);
        let held = Held { file: opened.map_err(|error| failed("opening", name, error))?, name: name.to_owned() };
        held.lock(patience)?;
        for suffix in UNFINISHED {
            let mut beside = name.as_os_str().to_owned();
            beside.push(suffix);
            let beside = PathBuf::from(beside);
            if std::fs::metadata(&beside).is_ok_and(|found| found.len() > 0) {
                return Err(Error::CannotOpen(format!(
                    "{} lies beside NAME, and has changes that are not in it yet. Nothing was changed. Open NAME once with stock SQLite, \
                     which finishes that, and close it: sqlite3 {} 'PRAGMA journal_mode=DELETE'",
                    beside.display(),
                    name.display()
                )));
            }
        }
        Ok(Box::new(held))
    }
}

/// NAME. The lock is one of its open file description, and ends with it.
struct Held {
    file: File,
    name: PathBuf,
}

impl Held {
    fn lock(&self, patience: Duration) -> Result<()> {
        let wanted = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: LOCK_BYTES.0,
            l_len: LOCK_BYTES.1,
            l_pid: 0,
        };
        let began = Instant::now();
        loop {
            match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&wanted)) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EACCES) if began.elapsed() < patience => std::thread::sleep(AGAIN_AFTER),
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    let holder = format!("another program has {} open", self.name.display());
                    return Err(Error::Busy { holder, waited: began.elapsed() });
                }
                Err(error) => return Err(failed("locking", &self.name, error.into())),
            }
        }
    }
}

impl HeldFile for Held {
    fn size(&mut self) -> Result<u64> {
        self.file.metadata().map(|found| found.len()).map_err(|error| failed("looking at", &self.name, error))
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(into, offset).map_err(|error| failed("reading", &self.name, error))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| failed("writing", &self.name, error))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| failed("syncing", &self.name, error))
    }
}

fn failed(what: &str, name: &Path, error: io::Error) -> Error {
    Error::io(format!("{what} {}", name.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall::ErrorKind;

    #[test]
    fn one_holder_keeps_the_next_one_out_and_what_is_unfinished_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("db");
        std::fs::write(&name, "x").unwrap();
        let held = WithoutSqlite.hold(&name, false, Duration::ZERO).unwrap();
        let error = WithoutSqlite.hold(&name, false, Duration::from_millis(50)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        drop(held);
        assert!(WithoutSqlite.hold(&name, false, Duration::ZERO).is_ok());
        std::fs::write(folder.path().join("db-wal"), "x").unwrap();
        let error = WithoutSqlite.hold(&name, false, Duration::ZERO).err().unwrap().to_string();
        assert!(error.contains("db-wal") && error.contains("Nothing was changed"), "{error}");
    }
}
