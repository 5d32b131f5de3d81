//! Stock SQLite, as the engine uses it: for an adoption, it finishes NAME's journal or WAL, and holds NAME under its
//! locks.

mod inherited;

use crate::abi::{self, File, Sqlite3};
use crate::fork;
use crate::header::{IN_WAL_MODE, WRITE_VERSION};
use crate::host::Host;
use seawall::format::sqlite_header::PROTECTED;
use seawall::{Error, HeldFile, PlainSqlite, Result};
use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl PlainSqlite for &'static Host {
    fn beginning(&self, name: &Path, length: usize) -> Option<Vec<u8>> {
        // NAME is opened here, and not locked.
        let mut file = StockConnection::open(self, name, false, Duration::ZERO).ok()?;
        let mut bytes = vec![0; length.min(usize::try_from(file.size().ok()?).ok()?)];
        file.read(0, &mut bytes).ok()?;
        Some(bytes)
    }

    fn hold(&self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        match self.hold_by_stock_sqlite(name, create, patience) {
            // NAME may be busy only by the locks that this child's SQLite inherited.
            Err(busy @ Error::Busy { .. }) if fork::count() > 0 => inherited::hold(name)?.ok_or(busy),
            held => held,
        }
    }
}

/// Stock SQLite for an opening that must not adopt NAME.
pub(crate) struct NoAdoption(pub(crate) &'static Host);

impl PlainSqlite for NoAdoption {
    fn beginning(&self, name: &Path, length: usize) -> Option<Vec<u8>> {
        self.0.beginning(name, length)
    }

    fn hold(&self, name: &Path, _: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        let holder = format!("another process, which is creating or changing {}", name.display());
        Err(Error::Busy { holder, waited: Duration::ZERO })
    }
}

impl Host {
    fn hold_by_stock_sqlite(&'static self, name: &Path, create: bool, patience: Duration) -> Result<Box<dyn HeldFile>> {
        let mut held = StockConnection::open(self, name, create, patience)?;
        // This reads, so that stock SQLite first finishes a journal or WAL that a crash has left.
        held.run(c"SELECT count(*) FROM sqlite_schema")?;
        if held.write_version()? == IN_WAL_MODE {
            held.run(c"PRAGMA journal_mode=DELETE")?;
        }
        match held.write_version()? {
            // Stock SQLite only reads a protected file. Therefore no program writes it while it is read.
            PROTECTED => held.hold_protected()?,
            IN_WAL_MODE => return Err(held.busy()),
            _ => match held.run(c"BEGIN EXCLUSIVE") {
                // Another process has protected NAME while this one waited for the lock.
                Err(Error::ReadOnly(_)) if held.write_version()? == PROTECTED => held.hold_protected()?,
                held => held?,
            },
        }
        Ok(Box::new(held))
    }
}

/// Holds a protected file. A program that would change it waits.
const READ: &CStr = c"BEGIN; SELECT count(*) FROM sqlite_schema";

/// NAME, opened and locked by a connection of stock SQLite. It is read and written through SQLite's own file, because
/// to close another descriptor of NAME would drop all POSIX locks of this process, and so SQLite's.
struct StockConnection {
    host: &'static Host,
    name: PathBuf,
    began: Instant,
    /// How long it waits in all for other programs that have NAME locked.
    patience: Duration,
    db: *mut Sqlite3,
    file: *mut File,
}

impl StockConnection {
    fn open(host: &'static Host, name: &Path, create: bool, patience: Duration) -> Result<StockConnection> {
        let path = CString::new(name.as_os_str().as_bytes())
            .map_err(|_| Error::CannotOpen(format!("{} has a NUL in its name", name.display())))?;
        let flags = abi::OPEN_READWRITE | if create { abi::OPEN_CREATE } else { 0 };
        let mut held = StockConnection {
            host,
            name: name.to_owned(),
            began: Instant::now(),
            patience,
            db: std::ptr::null_mut(),
            file: std::ptr::null_mut(),
        };
        // SAFETY: the VFS is named, because SQLite's default may have changed. `held` closes the connection even if
        // opening it fails.
        unsafe {
            let code = (host.api.open_v2)(path.as_ptr(), &raw mut held.db, flags, (*host.default_vfs).name);
            held.check(code, "open")?;
            let pointer = (&raw mut held.file).cast::<c_void>();
            let code = (host.api.file_control)(held.db, c"main".as_ptr(), abi::FCNTL_FILE_POINTER, pointer);
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

    /// Holds NAME, which was protected a moment ago. Under the lock this is checked again, because an adoption may have
    /// failed in between and removed the protection. This lock, a SHARED one, does not stop a
    /// program that has begun to write since.
    fn hold_protected(&mut self) -> Result<()> {
        self.run(READ)?;
        if self.write_version()? == PROTECTED { Ok(()) } else { Err(self.busy()) }
    }

    fn busy(&self) -> Error {
        let holder = format!("another program, with stock SQLite, on {}", self.name.display());
        Error::Busy { holder, waited: self.began.elapsed() }
    }

    /// The write version; 1 for an empty file, as in SQLite.
    fn write_version(&mut self) -> Result<u8> {
        if self.size()? <= WRITE_VERSION as u64 {
            return Ok(1);
        }
        let mut byte = [0];
        self.read(WRITE_VERSION as u64, &mut byte)?;
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
            // SAFETY: `db` is a connection, although opening it may have failed.
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
                "{name}: {cause}. Nothing was changed. The file's folder must exist, and must be readable and writable"
            )),
            _ => Error::Io { what: format!("{doing} {name}"), cause: Arc::new(io::Error::other(cause)) },
        })
    }

    /// The result of a method of the file.
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

impl HeldFile for StockConnection {
    fn size(&mut self) -> Result<u64> {
        let mut size = 0;
        // SAFETY: the file is open as long as `db` is, with its own VFS's methods.
        let code = unsafe { ((*(*self.file).methods).file_size)(self.file, &raw mut size) };
        self.done(code, "measure")?;
        Ok(size as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        let (buffer, length) = (into.as_mut_ptr().cast::<c_void>(), into.len() as c_int);
        // SAFETY: as above; there is room for the bytes.
        let code = unsafe { ((*(*self.file).methods).read)(self.file, buffer, length, offset as i64) };
        self.done(code, "read")
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (buffer, length) = (bytes.as_ptr().cast::<c_void>(), bytes.len() as c_int);
        // SAFETY: as above; the bytes are there.
        let code = unsafe { ((*(*self.file).methods).write)(self.file, buffer, length, offset as i64) };
        self.done(code, "write")
    }

    fn sync(&mut self) -> Result<()> {
        // SAFETY: as above.
        let code = unsafe { ((*(*self.file).methods).sync)(self.file, abi::SYNC_NORMAL) };
        self.done(code, "sync")
    }
}

impl Drop for StockConnection {
    fn drop(&mut self) {
        // SAFETY: `db` is not used again. Closing it rolls back an open transaction, in which SQLite itself has written
        // nothing.
        unsafe { (self.host.api.close_v2)(self.db) };
    }
}
