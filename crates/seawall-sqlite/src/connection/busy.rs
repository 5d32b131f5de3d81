//! How long a connection waits for a lock, and the busy handler that decides it where Seawall knows the timeout.

use super::patience::Patience;
use super::{Connection, list};
use crate::failure::guard;
use crate::sync::locked;
use std::ffi::{c_int, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Stands for a timeout that only SQLite's own busy handler knows.
const NOT_KNOWN: u64 = u64::MAX;

pub(super) struct Busy {
    /// In nanoseconds. Every transaction reads it.
    timeout: AtomicU64,
    patience: Mutex<Patience>,
    /// The busy handler of the `sqlite3` is Seawall's.
    handler_is_ours: AtomicBool,
}

impl Default for Busy {
    fn default() -> Busy {
        Busy { timeout: AtomicU64::new(NOT_KNOWN), patience: Mutex::default(), handler_is_ours: AtomicBool::default() }
    }
}

impl Connection {
    /// The time to wait for the lease; `None` where SQLite's own busy handler decides.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self.busy.timeout.load(Relaxed) {
            NOT_KNOWN => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    /// The time to wait for the lease, if main is Seawall's. Otherwise the busy handler is not Seawall's either.
    fn timeout_of_ours(&self) -> Option<Duration> {
        self.timeout().filter(|_| self.main_is_ours())
    }

    /// From now on this connection waits so long.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(NOT_KNOWN).min(NOT_KNOWN - 1);
        self.busy.timeout.store(nanoseconds, Relaxed);
    }

    /// Passes the timeout to SQLite, which is about to return it. SQLite's own busy handler, which knows the timeout,
    /// replaces Seawall's until Seawall's is needed again.
    pub(crate) fn pass_timeout_to_sqlite(&self) {
        let (db, Some(timeout)) = (self.db(), self.timeout()) else { return };
        if !db.is_null() && self.main_is_ours() {
            let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: main's file is open, therefore `db` is. It is in the middle of a call, therefore its mutex, a
            // recursive one, is this thread's.
            unsafe { (self.host.api.busy_timeout)(db, milliseconds) };
        }
    }

    /// How long the lock call that begins now may wait.
    pub(crate) fn patience(&self) -> Duration {
        locked(&self.busy.patience).of_lock_call(self.timeout_of_ours())
    }

    /// How long the first use of a database may wait, if it begins now.
    pub(crate) fn patience_of_first_use(&self) -> Duration {
        locked(&self.busy.patience).of_first_use(self.timeout_of_ours())
    }

    /// A lock call has got its lock, or has failed for good. The next wait is another one.
    pub(crate) fn wait_ended(&self) {
        locked(&self.busy.patience).wait_ended();
    }

    /// A lock call is about to return BUSY. Where the timeout is known, Seawall's busy handler decides, whatever
    /// handler the application has installed since. (Python's `sqlite3` installs SQLite's at every open. That one
    /// sleeps up to 100 ms between attempts, and other writers take the lease meanwhile.)
    pub(crate) fn returns_busy(&self) {
        if !locked(&self.busy.patience).returns_busy() || self.timeout().is_none() {
            return;
        }
        if let Some(ticket) = &*locked(&self.ticket) {
            self.busy.handler_is_ours.store(true, Relaxed);
            // SAFETY: while there is a ticket main's file is open, therefore `db` is. It is in the middle of a call,
            // therefore its mutex, a recursive one, is this thread's. The context is a number, and SQLite does not
            // follow it.
            unsafe { (self.host.api.busy_handler)(self.db(), Some(on_busy), ticket.context()) };
        }
    }

    /// Main closes: SQLite's own busy handler replaces Seawall's, with the same timeout.
    pub(super) fn remove_busy_handler(&self) {
        let db = self.db();
        if !self.busy.handler_is_ours.swap(false, Relaxed) || db.is_null() {
            return;
        }
        let milliseconds = self.timeout().map_or(0, |timeout| timeout.as_millis().min(i32::MAX as u128) as c_int);
        // SAFETY: SQLite closes the files of a connection before it frees the connection, and its mutex, a recursive
        // one, is this thread's. Only deserialize() closes a file in the middle of a statement.
        unsafe {
            if !(self.host.api.next_stmt)(db, std::ptr::null_mut()).is_null() {
                (self.host.api.busy_timeout)(db, milliseconds);
            }
        }
    }
}

/// SQLite got a BUSY, and asks whether to try again.
unsafe extern "C" fn on_busy(context: *mut c_void, count: c_int) -> c_int {
    guard(0, || {
        let Some(connection) = list::of_callback(context) else { return 0 };
        let db = connection.db();
        // SAFETY: a connection with a ticket knows its `db`, which is open, and its mutex is this thread's.
        let is_preparing = !db.is_null() && unsafe { connection.host.api.busy_statements(db) }.is_empty();
        let (again, sleep) = locked(&connection.busy.patience).on_busy(connection.timeout(), count, is_preparing);
        std::thread::sleep(sleep);
        c_int::from(again)
    })
}
