//! What the VFS knows of one SQLite connection, across all the databases attached to it.

mod busy;
mod intent;
mod list;
mod patience;
mod settings;
mod statements;
mod tickets;
mod trace;

pub(crate) use self::intent::Intent;
pub(crate) use self::list::{ConnectionsLock, lock_connections};
pub(crate) use self::statements::StatementNo;

use self::busy::Busy;
use self::settings::Settings;
use self::statements::{Last, Statements};
use self::tickets::Ticket;
use crate::abi::Sqlite3;
use crate::failure::Failure;
use crate::host::Host;
use crate::sync::locked;
use seawall::Transaction;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

/// A connection, shared by its files. SQLite makes one call at a time on a connection, therefore no lock in here is
/// ever contended. The atomics and the mutexes are only needed for the compiler.
pub(crate) struct Connection {
    host: &'static Host,
    /// The `sqlite3*`, while it is known and no other connection uses this one's files.
    db: AtomicPtr<Sqlite3>,
    /// The context of SQLite's callbacks. There is a ticket while main is Seawall's.
    ticket: Mutex<Option<Ticket<Connection, Last>>>,
    /// Whether there is a ticket. Every transaction asks for that.
    main_is_ours: AtomicBool,
    settings: Settings,
    statements: Statements,
    busy: Busy,
    /// The leases that files took together with their snapshots, until SQLite asks to write.
    early: Mutex<Vec<(FileId, Transaction)>>,
    /// There may be some. Every statement asks for that.
    may_have_early: AtomicBool,
    last_failure: Mutex<Option<Failure>>,
    /// Why main may only be read, if the application did not ask for that.
    only_reads_main: OnceLock<Failure>,
}

/// Names a file of a connection, for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64);

impl FileId {
    /// An id that no other file has.
    pub(crate) fn next() -> FileId {
        static FILES: AtomicU64 = AtomicU64::new(1);
        FileId(FILES.fetch_add(1, Relaxed))
    }
}

impl Connection {
    /// A connection whose `sqlite3*` SQLite has not passed yet.
    pub(crate) fn unknown(host: &'static Host) -> Arc<Connection> {
        Arc::new(Connection {
            host,
            db: AtomicPtr::default(),
            ticket: Mutex::default(),
            main_is_ours: AtomicBool::default(),
            settings: Settings::default(),
            statements: Statements::default(),
            busy: Busy::default(),
            early: Mutex::default(),
            may_have_early: AtomicBool::default(),
            last_failure: Mutex::default(),
            only_reads_main: OnceLock::new(),
        })
    }

    /// The connection of `db`: the known one, or `self` if there is none yet.
    pub(crate) fn known_as(self: Arc<Self>, db: *mut Sqlite3) -> Arc<Connection> {
        if let Some(known) = list::find_or_add(db, &self) {
            known.settings.database_was_attached();
            return known;
        }
        self.db.store(db, Relaxed);
        self
    }

    /// The `sqlite3*`, which is in the middle of a call. It is null if it is not known.
    pub(crate) fn db(&self) -> *mut Sqlite3 {
        self.db.load(Relaxed)
    }

    fn main_is_ours(&self) -> bool {
        self.main_is_ours.load(Relaxed)
    }

    fn set_ticket(&self, ticket: Option<Ticket<Connection, Last>>) {
        self.main_is_ours.store(ticket.is_some(), Relaxed);
        *locked(&self.ticket) = ticket;
    }

    /// Main's file is being closed: by close(), or by deserialize(), after which the connection goes on without
    /// Seawall.
    pub(crate) fn main_closes(&self) {
        self.set_ticket(None);
        self.remove_busy_handler();
    }

    /// SQLite lets another connection use a file of this one. From now on the VFS cannot know which of them makes a
    /// call.
    pub(crate) fn forget_sqlite3(&self) {
        self.set_ticket(None);
        let db = self.db.swap(std::ptr::null_mut(), Relaxed);
        list::remove(db, self);
    }

    /// Keeps the lease that `file` took early, until SQLite asks to write, or the statement ends.
    pub(crate) fn keep_early(&self, file: FileId, transaction: Transaction) {
        locked(&self.early).push((file, transaction));
        self.may_have_early.store(true, Relaxed);
    }

    /// The lease that `file` took early, if the statement has not ended.
    pub(crate) fn take_early(&self, file: FileId) -> Option<Transaction> {
        let mut early = locked(&self.early);
        let index = early.iter().position(|(owner, _)| *owner == file)?;
        Some(early.swap_remove(index).1)
    }

    /// Gives back every lease that was taken early and not used.
    fn drop_early(&self) {
        if self.may_have_early.load(Relaxed) {
            self.may_have_early.store(false, Relaxed);
            drop(std::mem::take(&mut *locked(&self.early)));
        }
    }

    /// Main may only be read, for this reason.
    pub(crate) fn only_reads_main(&self, why: Failure) {
        *locked(&self.last_failure) = Some(why.clone());
        // Main is opened once, therefore the reason is set once.
        let _ = self.only_reads_main.set(why);
    }

    /// The last failure on this connection.
    pub(crate) fn last_failure(&self) -> Option<Failure> {
        locked(&self.last_failure).clone()
    }

    /// Keeps `failure` for the connection and for the thread, and returns its code.
    pub(crate) fn report(&self, failure: Failure) -> c_int {
        *locked(&self.last_failure) = Some(failure.clone());
        self.host.report(failure)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        list::remove(self.db(), self);
    }
}
