//! The statements of a connection, as far as SQLite's trace callback shows them.

use super::intent::{Intent, Target};
use super::{Connection, list};
use crate::abi::{self, Sqlite3};
use crate::failure;
use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// What is known of the connection's statements. An application can run a million of them in a second, therefore most
/// of this is read and written without a lock.
#[derive(Default)]
pub(super) struct Statements {
    /// A probe runs: a statement of Seawall's that shows whether the trace callback is in place.
    is_probing: AtomicBool,
    /// The application has replaced the trace callback by its own.
    trace_was_replaced: AtomicBool,
    /// `cache_spill` may have been turned off.
    spill_may_be_off: AtomicBool,
    /// Some database of the connection may have `journal_mode=OFF`.
    journal_may_be_off: AtomicBool,
    /// A temporary view may hide a table of main.
    has_views: AtomicBool,
    /// A transaction has main locked.
    main_is_locked: AtomicBool,
    /// How many statements the trace callback has seen.
    number: AtomicU64,
    /// What the statement that it has seen last will certainly write: a [`Writes`].
    writes: AtomicU8,
}

/// The number of a statement, counted in those of its connection.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatementNo(u64);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Writes {
    Unknown,
    Main,
    EveryDatabase,
}

/// The text that was judged last, and the judgement. Loops execute the same statement again and again. (Its address
/// does not tell that it is the same, because SQLite gives the address to another one.)
#[derive(Default)]
pub(super) struct Last {
    text: Vec<u8>,
    may_write: bool,
    judgement: Judgement,
}

/// No longer text is remembered.
const LONGEST_TEXT: usize = 4096;

/// What a text says about the lease. Whether a table is main's is another question, because that changes.
#[derive(Clone, Default)]
enum Judgement {
    #[default]
    Nothing,
    BeginsWriting,
    ChangesMain,
    /// If main has that table. `is_named`: the statement names main.
    Changes {
        table: CString,
        is_named: bool,
    },
}

impl Judgement {
    fn of(intent: &Intent<'_>) -> Judgement {
        let is_of_main = |target: &Target<'_>| target.schema.is_none_or(is_main);
        match intent {
            Intent::BeginsWriting => Judgement::BeginsWriting,
            Intent::Creates(target) if is_of_main(target) => Judgement::ChangesMain,
            Intent::Changes(target) if is_of_main(target) => match CString::new(target.table) {
                Ok(table) => Judgement::Changes { table, is_named: target.schema.is_some() },
                Err(_) => Judgement::Nothing,
            },
            _ => Judgement::Nothing,
        }
    }
}

impl Last {
    fn is(&self, sql: &CStr, may_write: bool) -> bool {
        self.may_write == may_write && self.text == sql.to_bytes() && !self.text.is_empty()
    }

    fn becomes(&mut self, sql: &CStr, may_write: bool, judgement: Judgement) {
        self.text.clear();
        if sql.count_bytes() <= LONGEST_TEXT {
            self.text.extend_from_slice(sql.to_bytes());
        }
        (self.may_write, self.judgement) = (may_write, judgement);
    }
}

impl Statements {
    pub(super) fn is_probing(&self) -> bool {
        self.is_probing.load(Relaxed)
    }

    /// Whether the statement that the trace callback was called for is the probe; then the probe is over.
    pub(super) fn is_probe(&self) -> bool {
        self.is_probing() && self.is_probing.swap(false, Relaxed)
    }
}

impl Connection {
    /// A statement of the application begins that has the text of the one before it. Says whether no more is to be done
    /// for it than was done here. An application can run a million of them in a second.
    pub(super) fn same_statement_begins(&self, last: &Last, sql: &CStr, may_write: bool) -> bool {
        let is_refused = may_write && self.only_reads_main.get().is_some();
        if self.may_have_early.load(Relaxed) || is_refused || !last.is(sql, may_write) {
            return false;
        }
        let Some(writes) = self.writes_by(&last.judgement) else { return false };
        self.count_statement(writes);
        true
    }

    /// A statement of the application begins; `sql` is its text.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection, which has this context.
    pub(super) unsafe fn statement_begins(&self, context: *mut c_void, sql: &CStr, may_write: bool) {
        self.drop_early();
        let known = list::with_last(context, |_, last| last.is(sql, may_write).then(|| last.judgement.clone()));
        let judgement = known.flatten().unwrap_or_else(|| {
            let judgement = self.judge(&sql.to_string_lossy(), may_write);
            list::with_last(context, |_, last| last.becomes(sql, may_write, judgement.clone()));
            judgement
        });
        let writes = self.writes_by(&judgement).unwrap_or_else(|| match &judgement {
            // SAFETY: guaranteed by the caller.
            Judgement::Changes { table, is_named } if unsafe { self.is_certainly_of_main(table, *is_named) } => {
                Writes::Main
            }
            _ => Writes::Unknown,
        });
        self.count_statement(writes);
        if may_write && let Some(why) = self.only_reads_main.get() {
            // SQLite itself refuses the write, without a call of the VFS. Therefore the reason is kept beforehand.
            failure::keep(why.clone());
        }
    }

    /// What a statement of this judgement will certainly write; `None` if SQLite must be asked about its table.
    fn writes_by(&self, judgement: &Judgement) -> Option<Writes> {
        match judgement {
            Judgement::Nothing => Some(Writes::Unknown),
            Judgement::BeginsWriting => Some(Writes::EveryDatabase),
            Judgement::ChangesMain => Some(Writes::Main),
            Judgement::Changes { .. } => self.statements.main_is_locked.load(Relaxed).then_some(Writes::Unknown),
        }
    }

    fn count_statement(&self, writes: Writes) {
        // SQLite makes one call at a time on a connection.
        self.statements.number.store(self.statements.number.load(Relaxed) + 1, Relaxed);
        self.statements.writes.store(writes as u8, Relaxed);
    }

    /// Judges a text, and notes what it changes for the statements that follow it.
    fn judge(&self, sql: &str, may_write: bool) -> Judgement {
        let intent = Intent::of(sql);
        match intent {
            // A statement that only reads may set `cache_spill`, because a setting is written to no file.
            Intent::SetsCacheSpill => self.cache_spill_was_set(),
            // The next statement finds it attached.
            Intent::Attaches => self.settings.database_was_attached(),
            Intent::TurnsJournalOff if may_write => self.statements.journal_may_be_off.store(true, Relaxed),
            Intent::CreatesView if may_write => self.statements.has_views.store(true, Relaxed),
            _ => {}
        }
        if may_write { Judgement::of(&intent) } else { Judgement::Nothing }
    }

    /// Whether `table` is a table of main, and main is not locked yet. `is_named`: the statement names main.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn is_certainly_of_main(&self, table: &CStr, is_named: bool) -> bool {
        let (api, db) = (&self.host.api, self.db());
        // SAFETY: guaranteed by the caller: `db` is open, and its mutex is this thread's. All names end in NUL.
        unsafe {
            if db.is_null() || (api.txn_state)(db, c"main".as_ptr()) != abi::TXN_NONE {
                return false;
            }
            // SQLite searches temp first. It reports the tables of temp, but not the views.
            let hidden = || self.statements.has_views.load(Relaxed) || api.has_table(db, c"temp", table);
            api.has_table(db, c"main", table) && (is_named || !(api.file(db, c"temp").is_some() && hidden()))
        }
    }

    /// Whether a file takes the lease together with its snapshot, because this very statement will ask for the lease.
    pub(crate) fn takes_lease_early(&self, is_main: bool, refused_in: Option<StatementNo>) -> bool {
        if !self.main_is_ours() {
            return false;
        }
        let writes = self.statements.writes.load(Relaxed);
        writes == Writes::EveryDatabase as u8
            || (writes == Writes::Main as u8 && is_main)
            || refused_in == Some(self.statement())
    }

    /// A file was unlocked, therefore the statement that was traced is over. The next one may not be traced, if the
    /// application has set its own trace callback.
    pub(crate) fn file_was_unlocked(&self) {
        self.statements.writes.store(Writes::Unknown as u8, Relaxed);
    }

    /// A lock call on main has ended; whether main is locked now.
    pub(crate) fn main_is_locked(&self, is_locked: bool) {
        self.statements.main_is_locked.store(is_locked, Relaxed);
    }

    /// The number of the statement that runs.
    pub(crate) fn statement(&self) -> StatementNo {
        StatementNo(self.statements.number.load(Relaxed))
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
        let was_traced = self.statements.journal_may_be_off.load(Relaxed);
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
