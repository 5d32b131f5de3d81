//! Stock SQLite for the engine: adoption must let it finish NAME's journal or WAL, and hold NAME under its locks.

use crate::abi::{self, File, Sqlite3};
use crate::host::Host;
use crate::{fork, inherited};
use seawall::{Error, HeldFile, PlainSqlite, Result};
use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A write version that makes stock SQLite treat a file as read-only.
const MARKED: u8 = 3;
const WRITE_VERSION: u64 = 18;
const IN_WAL_MODE: u8 = 2;

impl PlainSqlite for &'static Host {
    fn beginning(&self, name: &Path, length: usize) -> Option<Vec<u8>> {
        // Opened, and not locked.
        let mut file = HeldByStock::open(self, name, false, Duration::ZERO).ok()?;
        let mut bytes = vec![0; length.min(usize::try_from(file.size().ok()?).ok()?)];
        file.read(0, &mut bytes).ok()?;
        Some(bytes)
    }

    fn hold(&self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        match self.hold_by_stock(name, create, patience) {
            // Maybe only by the account that this child's SQLite inherited.
            Err(busy @ Error::Busy { .. }) if fork::count() > 0 => inherited::hold(name)?.ok_or(busy),
            held => held,
        }
    }
}

/// For an opening that must not adopt anything.
pub(crate) struct NotNow(pub(crate) &'static Host);

impl PlainSqlite for NotNow {
    fn beginning(&self, name: &Path, length: usize) -> Option<Vec<u8>> {
        self.0.beginning(name, length)
    }

    fn hold(&self, name: &Path, _: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        let holder = format!("another process, which makes or changes {}", name.display());
        Err(Error::Busy { holder, waited: Duration::ZERO })
    }
}

impl Host {
    fn hold_by_stock(&'static self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        let mut held = HeldByStock::open(self, name, create, patience)?;
        // Reads something, so that stock SQLite first finishes what a crash may have left beside NAME.
        held.run(c"SELECT count(*) FROM sqlite_schema")?;
        if held.write_version()? == IN_WAL_MODE {
            held.run(c"PRAGMA journal_mode=DELETE")?;
        }
        match held.write_version()? {
            // Stock SQLite only reads it; so nobody writes it while it is read.
            MARKED => held.hold_marked()?,
            IN_WAL_MODE => return Err(held.busy()),
            _ => match held.run(c"BEGIN EXCLUSIVE") {
                // Another adopter marked it while this one waited for the lock.
                Err(Error::ReadOnly(_)) if held.write_version()? == MARKED => held.hold_marked()?,
                held => held?,
            },
        }
        Ok(Box::new(held))
    }
}

/// Holds a marked file: whoever would change it has to wait.
const READ: &CStr = c"BEGIN; SELECT count(*) FROM sqlite_schema";

/// NAME, opened and locked by stock SQLite. It is read and written through SQLite's own file: with any descriptor of
/// ours on it, closing that would drop the process's POSIX locks, SQLite's among them.
struct HeldByStock {
    host: &'static Host,
    name: PathBuf,
    began: Instant,
    /// How long it waits in all for others who have NAME locked.
    patience: Duration,
    db: *mut Sqlite3,
    file: *mut File,
}

impl HeldByStock {
    fn open(host: &'static Host, name: &Path, create: bool, patience: Duration) -> Result<HeldByStock> {
        let path = CString::new(name.as_os_str().as_bytes())
            .map_err(|_| Error::CannotOpen(format!("{} has a NUL in its name", name.display())))?;
        let flags = abi::OPEN_READWRITE | if create { abi::OPEN_CREATE } else { 0 };
        let mut held = HeldByStock {
            host,
            name: name.to_owned(),
            began: Instant::now(),
            patience,
            db: std::ptr::null_mut(),
            file: std::ptr::null_mut(),
        };
        // SAFETY: the VFS is named, so that it is SQLite's own whatever its default has become; `held` closes what
        // opens, even where it fails.
        unsafe {
            let code = (host.api.open_v2)(path.as_ptr(), &raw mut held.db, flags, (*host.default_vfs).name);
            held.check(code, "open")?;
            let place = (&raw mut held.file).cast::<c_void>();
            let code = (host.api.file_control)(held.db, c"main".as_ptr(), abi::FCNTL_FILE_POINTER, place);
            held.check(code, "open")?;
        }
        Ok(held)
    }

    fn run(&mut self, sql: &CStr) -> Result<()> {
        let left = self.patience.saturating_sub(self.began.elapsed());
        // SAFETY: `db` is open.
        let code = unsafe {
            (self.host.api.busy_timeout)(self.db, c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX));
            self.host.api.run(self.db, sql)
        };
        if code & 0xff == abi::BUSY { Err(self.busy()) } else { self.check(code, "take over") }
    }

    /// Holds NAME as the marked file that it was just now. Under the lock it is looked at again: an adoption that failed in between gave
    /// NAME back, and this lock does not keep a program out that began to write then.
    fn hold_marked(&mut self) -> Result<()> {
        self.run(READ)?;
        if self.write_version()? == MARKED { Ok(()) } else { Err(self.busy()) }
    }

    fn busy(&self) -> Error {
        let holder = format!("another program, with stock SQLite, on {}", self.name.display());
        Error::Busy { holder, waited: self.began.elapsed() }
    }

    /// What byte 18 says; 1 for an empty file, as SQLite takes it.
    fn write_version(&mut self) -> Result<u8> {
        if self.size()? <= WRITE_VERSION {
            return Ok(1);
        }
        let mut byte = [0];
        self.read(WRITE_VERSION, &mut byte)?;
        Ok(byte[0])
    }

    fn check(&self, code: c_int, doing: &str) -> Result<()> {
        if code == abi::OK {
            return Ok(());
        }
        let name = self.name.display();
        let cause = if self.db.is_null() {
            "no memory".into()
        } else {
            // SAFETY: `db` is a connection, if maybe a failed one.
            unsafe { self.host.api.message(self.db) }
        };
        Err(match code & 0xff {
            abi::NOTADB => {
                Error::NotADatabase(format!("{name} is not a SQLite database ({cause}). It was not touched"))
            }
            abi::CORRUPT => Error::Corrupt { what: name.to_string(), why: cause },
            abi::FULL => Error::Full(format!("{name}: {cause}")),
            abi::PERM => Error::Permission(format!("{name}: {cause}")),
            abi::READONLY => Error::ReadOnly(format!("{name}: {cause}")),
            abi::CANTOPEN => Error::CannotOpen(format!(
                "{name}: {cause}. Nothing was changed; the file's folder must be there and be readable and writable"
            )),
            _ => Error::Io { what: format!("{doing} {name}"), cause: Arc::new(io::Error::other(cause)) },
        })
    }

    /// The result of one of the file's methods.
    fn done(&self, code: c_int, doing: &str) -> Result<()> {
        match code {
            abi::OK => Ok(()),
            abi::FULL => Err(Error::Full(format!("{doing} {}", self.name.display()))),
            _ => Err(Error::Io {
                what: format!("{doing} {}", self.name.display()),
                cause: Arc::new(io::Error::other(format!("SQLite's error {code}"))),
            }),
        }
    }
}

impl HeldFile for HeldByStock {
    fn size(&mut self) -> Result<u64> {
        let mut size = 0;
        // SAFETY: the file is open as long as `db` is, with its own VFS's methods.
        let code = unsafe { ((*(*self.file).methods).file_size)(self.file, &raw mut size) };
        self.done(code, "measure")?;
        Ok(size as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let (place, length) = (into.as_mut_ptr().cast::<c_void>(), into.len() as c_int);
        // SAFETY: as above; there is room for the bytes.
        let code = unsafe { ((*(*self.file).methods).read)(self.file, place, length, offset as i64) };
        self.done(code, "read")
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (place, length) = (bytes.as_ptr().cast::<c_void>(), bytes.len() as c_int);
        // SAFETY: as above; the bytes are there.
        let code = unsafe { ((*(*self.file).methods).write)(self.file, place, length, offset as i64) };
        self.done(code, "write")
    }

    fn sync(&mut self) -> Result<()> {
        // SAFETY: as above.
        let code = unsafe { ((*(*self.file).methods).sync)(self.file, abi::SYNC_NORMAL) };
        self.done(code, "sync")
    }
}

impl Drop for HeldByStock {
    fn drop(&mut self) {
        // SAFETY: `db` is ours, and is not used again; closing rolls an open transaction back, and SQLite itself wrote
        // nothing in it.
        unsafe { (self.host.api.close_v2)(self.db) };
    }
}
