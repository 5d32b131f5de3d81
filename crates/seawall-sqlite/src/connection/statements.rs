//! The statements of a connection, as far as SQLite's trace callback shows them.

use super::Connection;
use super::intent::{Intent, Target};
use crate::abi::{self, Sqlite3};
use crate::failure;
use crate::sync::locked;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is known of the connection's statements.
#[derive(Default)]
pub(super) struct Statements {
    /// A probe runs: a statement of Seawall's that shows whether the trace callback is in place.
    is_probing: AtomicBool,
    /// The application has replaced the trace callback by its own.
    trace_was_replaced: AtomicBool,
    /// `cache_spill` may have been turned off.
    spill_may_be_off: AtomicBool,
    traced: Mutex<Traced>,
}

/// The number of a statement, counted in those of its connection.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatementNo(u64);

/// What the trace callback has seen.
#[derive(Default)]
struct Traced {
    number: StatementNo,
    /// What the statement will certainly write.
    writes: Writes,
    /// Some database of the connection may have `journal_mode=OFF`.
    journal_may_be_off: bool,
    /// A temporary view may hide a table of main.
    has_views: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Writes {
    #[default]
    Unknown,
    Main,
    EveryDatabase,
}

impl Statements {
    /// Whether the statement that the trace callback was called for is the probe; then the probe is over.
    pub(super) fn is_probe(&self) -> bool {
        self.is_probing.swap(false, Relaxed)
    }
}

impl Connection {
    /// A statement of the application begins; `sql` is its text.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    pub(super) unsafe fn statement_begins(&self, sql: &str, may_write: bool) {
        self.drop_early();
        // A statement that only reads may set `cache_spill`, because a setting is written to no file.
        let intent =
            Some(Intent::of(sql)).filter(|it| may_write || *it == Intent::SetsCacheSpill).unwrap_or(Intent::Other);
        let writes = match &intent {
            Intent::BeginsWriting => Writes::EveryDatabase,
            // SAFETY: guaranteed by the caller.
            Intent::Changes(target) if unsafe { self.is_certainly_of_main(target) } => Writes::Main,
            Intent::Creates(target) if target.schema.is_none_or(is_main) => Writes::Main,
            _ => Writes::Unknown,
        };
        let mut traced = locked(&self.statements.traced);
        traced.number.0 += 1;
        traced.writes = writes;
        traced.journal_may_be_off |= intent == Intent::TurnsJournalOff;
        traced.has_views |= intent == Intent::CreatesView;
        drop(traced);
        if let Some(why) = self.only_reads_main.get().filter(|_| may_write) {
            // SQLite itself refuses the write, without a call of the VFS. Therefore the reason is kept beforehand.
            failure::keep(why.clone());
        }
        if intent == Intent::SetsCacheSpill {
            self.cache_spill_was_set();
        }
    }

    /// Whether `target` is a table of main, and main is not locked yet.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn is_certainly_of_main(&self, target: &Target<'_>) -> bool {
        let db = self.db();
        let Ok(table) = CString::new(target.table) else { return false };
        let api = &self.host.api;
        // SAFETY: guaranteed by the caller: `db` is open, and its mutex is this thread's. All names end in NUL.
        unsafe {
            if db.is_null() || (api.txn_state)(db, c"main".as_ptr()) != abi::TXN_NONE {
                return false;
            }
            match target.schema {
                Some(schema) => is_main(schema) && api.has_table(db, c"main", &table),
                // SQLite searches temp first. It reports the tables of temp, but not the views.
                None => {
                    let hidden = || locked(&self.statements.traced).has_views || api.has_table(db, c"temp", &table);
                    api.has_table(db, c"main", &table) && !(api.file(db, c"temp").is_some() && hidden())
                }
            }
        }
    }

    /// Whether a file takes the lease together with its snapshot, because this very statement will ask for the lease.
    pub(crate) fn takes_lease_early(&self, is_main: bool, refused_in: Option<StatementNo>) -> bool {
        if !self.main_is_ours() {
            return false;
        }
        let traced = locked(&self.statements.traced);
        match traced.writes {
            Writes::EveryDatabase => true,
            Writes::Main if is_main => true,
            _ => refused_in == Some(traced.number),
        }
    }

    /// A file was unlocked, therefore the statement that was traced is over. The next one may not be traced, if the
    /// application has set its own trace callback.
    pub(crate) fn file_was_unlocked(&self) {
        locked(&self.statements.traced).writes = Writes::Unknown;
    }

    /// The number of the statement that runs.
    pub(crate) fn statement(&self) -> StatementNo {
        locked(&self.statements.traced).number
    }

    /// A PRAGMA sets `cache_spill`. The new value does not matter, because inside a transaction SQLite keeps the old
    /// setting for its open files.
    pub(crate) fn cache_spill_was_set(&self) {
        self.statements.spill_may_be_off.store(true, Relaxed);
    }

    /// Whether the trace callback has seen every statement of this connection. It has if it is in place now: Seawall
    /// sets it once, when the connection is opened, and only the application replaces it.
    ///
    /// # Safety
    /// `db` is this connection's, in the middle of a call on one of its files.
    unsafe fn every_statement_was_traced(&self, db: *mut Sqlite3) -> bool {
        if !self.main_is_ours() || self.statements.trace_was_replaced.load(Relaxed) {
            return false;
        }
        self.statements.is_probing.store(true, Relaxed);
        // SAFETY: guaranteed by the caller. The statement needs no file and no lock, therefore it begins and ends no
        // transaction.
        let code = unsafe { self.host.api.run(db, c"SELECT 1 /* Seawall: is its trace callback in place? */") };
        let was_traced = !self.statements.is_probing.swap(false, Relaxed);
        // If the probe did not run, for example because the connection was interrupted, the next probe may be traced.
        self.statements.trace_was_replaced.store(!was_traced && code == abi::OK, Relaxed);
        was_traced
    }

    /// Whether a plain database of the connection may have `journal_mode=OFF`.
    ///
    /// # Safety
    /// `db` is this connection's, in the middle of a call on one of its files.
    pub(crate) unsafe fn journal_may_be_off(&self, db: *mut Sqlite3) -> bool {
        let was_traced = locked(&self.statements.traced).journal_may_be_off;
        // SAFETY: guaranteed by the caller.
        was_traced || !unsafe { self.every_statement_was_traced(db) }
    }

    /// Whether `cache_spill` may have been turned off.
    ///
    /// # Safety
    /// `db` is this connection's, in the middle of a call on one of its files.
    pub(crate) unsafe fn spill_may_be_off(&self, db: *mut Sqlite3) -> bool {
        // SAFETY: guaranteed by the caller.
        self.statements.spill_may_be_off.load(Relaxed) || !unsafe { self.every_statement_was_traced(db) }
    }
}

fn is_main(schema: &str) -> bool {
    schema.eq_ignore_ascii_case("main")
}
