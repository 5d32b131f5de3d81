//! The pages of a database file as a rollback of its transaction needs them.

use super::{MainFile, of_seawall};
use crate::abi::{self, File};
use crate::failure::Failure;
use crate::host::Host;
use crate::journal::Originals;
use seawall::PageNo;
use std::ffi::c_int;
use std::ptr::NonNull;

/// Those of one file, for its journal.
pub(crate) struct OriginalsOf {
    host: &'static Host,
    file: Option<NonNull<File>>,
}

impl OriginalsOf {
    /// # Safety
    /// `file` is null, or a file of `host`'s SQLite, which SQLite closes after the journal that gets this.
    pub(crate) unsafe fn new(host: &'static Host, file: *mut File) -> OriginalsOf {
        OriginalsOf { host, file: NonNull::new(file) }
    }

    fn with<T>(&self, ask: impl FnOnce(&mut MainFile) -> T) -> Option<T> {
        // SAFETY: `new` has this guaranteed. SQLite makes one call at a time on a database's file and its journal, and this
        // is a call on the journal.
        unsafe { of_seawall(self.host, self.file?).map(|main| ask(&mut *main)) }
    }
}

impl Originals for OriginalsOf {
    fn has(&self, page: PageNo, image: &[u8]) -> bool {
        self.with(|main| main.has_original(page, image)).unwrap_or(false)
    }

    fn read(&self, page: PageNo) -> Result<Vec<u8>, Failure> {
        let gone = || Failure::refusal(abi::IOERR_READ, "the database of this journal was closed. Nothing was written");
        self.with(|main| main.original(page)).unwrap_or_else(|| Err(gone()))
    }

    fn report(&self, failure: Failure) -> c_int {
        self.host.report(failure)
    }
}
