//! A plain SQLite file that is only read, because the application asked for that, or because this process may not make
//! it a database of Seawall's.
//!
//! SQLite's own VFS reads it, locks it and shares its WAL, and SQLite rolls back by its own rules. What is Seawall's is
//! one check: NAME may be adopted at any time, by another connection. An adoption marks NAME under SQLite's EXCLUSIVE
//! lock, and from then on NAME is an old copy. Therefore the mark is looked for under each first SHARED lock, and once
//! it is there, this file becomes one of Seawall's. (While SQLite has the WAL open, it keeps that lock, and the adoption
//! waits.)

use super::{Backing, Beginning, Lock, MainFile};
use crate::abi::{self, File};
use crate::failure::Failure;
use crate::journal::JournalNames;
use crate::plain_file::PlainFile;
use seawall::{Access, Error, Shown};
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

impl MainFile {
    /// The file is `plain`, which is only read; `why`, if the application did not ask for that.
    pub(crate) fn reads_plain(&mut self, plain: PlainFile, name: *const c_char, why: Option<Failure>) {
        JournalNames::plain_file_opens();
        self.journal_names = None;
        self.access = Access::ReadOnly;
        self.only_read = why;
        self.backing = Backing::Plain(plain, name);
    }

    fn plain(&self) -> Option<&PlainFile> {
        if let Backing::Plain(plain, _) = &self.backing { Some(plain) } else { None }
    }

    /// Whether it is a plain file.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain().is_some()
    }

    /// The methods by which SQLite uses the file.
    pub(super) fn methods(&self) -> *const abi::IoMethods {
        match self.plain() {
            Some(_) => std::ptr::from_ref(self.host.plain_methods).cast(),
            None => self.host.methods,
        }
    }

    /// The connection of the file is prepared. SQLite alone waits for the locks of a plain file.
    pub(crate) fn is_set_up(&self) {
        if self.is_plain() {
            self.connection.pass_timeout_to_sqlite();
        }
    }

    /// Why something is refused that only a database of Seawall's has.
    pub(super) fn is_only_plain(&self) -> Failure {
        let text = format!(
            "{} is no Seawall database yet, and this connection only reads it, as a plain SQLite file. Open it once for writing",
            Shown::new(self.path.display())
        );
        Failure::refusal(abi::CANTOPEN, text)
    }

    fn plain_failed(&self, code: c_int, doing: &str) -> Failure {
        let path = Shown::new(self.path.display());
        if code & 0xff == abi::BUSY {
            let holder = format!("another program, with stock SQLite, on {path}");
            return Failure { code, ..Error::Busy { holder, waited: Duration::ZERO }.into() };
        }
        Failure::refusal(code, format!("the plain file {path} could not be {doing}: SQLite's error {code}"))
    }

    pub(super) fn read_plain(&self, offset: u64, into: &mut [u8]) -> Option<Result<bool, Failure>> {
        Some(match self.plain()?.read(offset, into) {
            abi::OK => Ok(true),
            abi::IOERR_SHORT_READ => Ok(false),
            code => Err(self.plain_failed(code, "read")),
        })
    }

    pub(super) fn plain_size(&self) -> Option<Result<u64, Failure>> {
        Some(self.plain()?.size().map_err(|code| self.plain_failed(code, "measured")))
    }

    /// Locks the file, if it is a plain one. Returns whether it still is.
    ///
    /// # Safety
    /// SQLite is making a call on `file`, which is this file.
    pub(super) unsafe fn lock_plain(&mut self, file: *mut File, wanted: Lock) -> Result<bool, Failure> {
        let Backing::Plain(plain, name) = &self.backing else { return Ok(false) };
        if wanted > Lock::Shared {
            let read_only = || Failure { code: abi::READONLY, ..self.is_only_plain() };
            return Err(self.only_read.clone().unwrap_or_else(read_only));
        }
        if self.lock < wanted {
            let code = plain.lock(wanted.level());
            if code != abi::OK {
                return Err(self.plain_failed(code, "locked"));
            }
            if plain.is_protected() {
                plain.unlock(Lock::None.level());
                // SAFETY: guaranteed by the caller. The name is SQLite's, and stays for as long as the file is open.
                unsafe {
                    self.journal_names = Some(JournalNames::of(&self.host.api, *name));
                    self.backing = Backing::NotOpened(Beginning::default());
                    (*file).methods = self.methods();
                }
                // What SQLite has kept is the plain file's.
                self.must_reread = true;
                return Ok(false);
            }
            self.set_lock(wanted);
        }
        Ok(true)
    }

    /// If the file is a plain one, gives back its locks above `kept`.
    pub(super) fn unlock_plain(&self, kept: Lock) {
        if let Some(plain) = self.plain() {
            plain.unlock(kept.level());
        }
    }

    /// Whether another connection writes the file, if it is a plain one.
    pub(crate) fn is_reserved(&self, result: &mut c_int) -> Result<(), Failure> {
        let Some(plain) = self.plain() else { return Ok(()) };
        match plain.check_reserved_lock(result) {
            abi::OK => Ok(()),
            code => Err(self.plain_failed(code, "locked")),
        }
    }

    /// What SQLite's own VFS answers to an operation that Seawall has no answer for.
    ///
    /// # Safety
    /// `argument` is what SQLite defines for the operation.
    pub(crate) unsafe fn control_plain(&self, operation: c_int, argument: *mut c_void) -> c_int {
        // SAFETY: guaranteed by the caller.
        self.plain().map_or(abi::NOTFOUND, |plain| unsafe { plain.control(operation, argument) })
    }

    /// Runs one call on the shared memory of the file's WAL.
    pub(crate) fn with_plain(&self, body: impl FnOnce(&PlainFile) -> c_int) -> c_int {
        self.plain().map_or(abi::CANTOPEN, body)
    }
}
