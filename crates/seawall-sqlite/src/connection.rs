//! What the VFS knows of one SQLite connection, across all the databases attached to it.

use crate::abi::{self, Sqlite3, Statement};
use crate::failure::{self, Failure};
use crate::host::Host;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a lock call waits when only SQLite's busy handler, if there is one, knows the timeout: at first as long as
/// others may keep the lease between two transactions …
const FIRST_SLICE: Duration = Duration::from_millis(100);
/// … and then, as long as the handler comes back within moments, a little each time, for it counts its own sleeps only.
const SLICE: Duration = Duration::from_millis(10);
const MOMENTS: Duration = Duration::from_millis(200);

/// A connection, shared by its files. SQLite calls on one connection come one at a time, so nothing here is ever
/// contended; the atomics and the mutex only say so to the compiler.
pub(crate) struct Connection {
    host: &'static Host,
    /// The `sqlite3*`: an identity, and the address for [`Connection::refuses`].
    db: AtomicPtr<Sqlite3>,
    /// Whether [`Connection::set_up`] has been here: then main is ours, and lives as long as the `sqlite3*`.
    main_is_ours: AtomicBool,
    /// The statement that runs will write: take the lease together with the snapshot.
    wants_lease: AtomicBool,
    /// Set while SQLite reads the schema at the very opening.
    opening: AtomicBool,
    /// How many of its files are under an EXCLUSIVE lock, that is, about to commit.
    committing: AtomicU32,
    patience: Mutex<Patience>,
    last_failure: Mutex<Option<Failure>>,
}

/// How long the connection waits for the lease.
#[derive(Clone, Copy, Default)]
struct Patience {
    /// None: SQLite's own busy handler has it.
    timeout: Option<Duration>,
    /// When the lock call began that this statement waits in.
    since: Option<Instant>,
    /// When a lock call of ours last answered BUSY; the busy handler takes it.
    refused: Option<Instant>,
    /// SQLite is repeating that lock call because our busy handler told it to.
    retrying: bool,
}

/// The connections that have a Seawall file, by the address of their `sqlite3`.
static CONNECTIONS: LazyLock<Mutex<HashMap<usize, Weak<Connection>>>> = LazyLock::new(Mutex::default);

/// The list of connections, held.
pub(crate) type ConnectionList = MutexGuard<'static, HashMap<usize, Weak<Connection>>>;

/// Holds the list of connections.
pub(crate) fn list() -> ConnectionList {
    locked(&CONNECTIONS)
}

impl Connection {
    /// A connection whose `sqlite3*` SQLite has not told yet.
    pub(crate) fn unknown(host: &'static Host) -> Arc<Connection> {
        Arc::new(Connection {
            host,
            db: AtomicPtr::default(),
            main_is_ours: AtomicBool::new(false),
            wants_lease: AtomicBool::new(false),
            opening: AtomicBool::new(false),
            committing: AtomicU32::new(0),
            patience: Mutex::default(),
            last_failure: Mutex::default(),
        })
    }

    /// The connection of `db`: the one that is known already, or `self` from now on.
    pub(crate) fn known_as(self: Arc<Self>, db: *mut Sqlite3) -> Arc<Connection> {
        if !self.db.load(Relaxed).is_null() {
            return self;
        }
        let mut connections = locked(&CONNECTIONS);
        if let Some(known) = connections.get(&(db as usize)).and_then(Weak::upgrade) {
            return known;
        }
        self.db.store(db, Relaxed);
        connections.insert(db as usize, Arc::downgrade(&self));
        self
    }

    /// Prepares a connection whose main database is ours; SQLite calls for it as soon as that is open.
    ///
    /// # Safety
    /// `db` is a new connection of the SQLite that `host` stands for, with main opened by our VFS.
    pub(crate) unsafe fn set_up(host: &'static Host, db: *mut Sqlite3) {
        let known = locked(&CONNECTIONS).get(&(db as usize)).and_then(Weak::upgrade);
        let Some(connection) = known else { return };
        connection.main_is_ours.store(true, Relaxed);
        connection.opening.store(true, Relaxed);
        // SAFETY: the context outlives its use: main's file holds this `Connection` for as long as `db` lives.
        // The failures do not matter: a statement that meets the same cause will tell it. The last, empty, run
        // clears SQLite's memory of them, which would fail the opening.
        unsafe {
            (host.api.trace_v2)(db, abi::TRACE_STMT, Some(on_statement), connection.context());
            // Debian's SQLite overwrites what is deleted: 30 times the pages on a large DELETE, all published.
            host.api.run(db, c"PRAGMA secure_delete=OFF");
            // 16 MiB: a commit of anyone empties this cache, so it is no place to keep much, but a transaction
            // that fits into it writes each page once. It reads the schema, too, which spares the first
            // statement a transaction of its own.
            host.api.run(db, c"PRAGMA cache_size=-16384");
            host.api.run(db, c"");
        }
        connection.opening.store(false, Relaxed);
        failure::forget();
    }

    fn context(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// Whether this is the reading of the schema at the opening, for which what is known is new enough: every
    /// statement checks the schema again.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.load(Relaxed)
    }

    /// Whether the running statement wants the lease with its snapshot; asked once for each.
    pub(crate) fn takes_lease(&self) -> bool {
        self.wants_lease.swap(false, Relaxed)
    }

    /// The next snapshot is wanted together with the lease.
    pub(crate) fn want_lease(&self) {
        self.wants_lease.store(true, Relaxed);
    }

    /// One more file is about to commit, or one less.
    pub(crate) fn count_committing(&self, committing: bool) {
        if committing {
            self.committing.fetch_add(1, Relaxed);
        } else {
            self.committing.fetch_sub(1, Relaxed);
        }
    }

    /// Whether more than one of the connection's Seawall databases is about to commit.
    pub(crate) fn commits_several(&self) -> bool {
        self.committing.load(Relaxed) > 1
    }

    /// The time to wait for the lease, where SQLite's own handler does not decide.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        locked(&self.patience).timeout
    }

    /// From now on this connection waits so long.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        locked(&self.patience).timeout = Some(timeout);
    }

    /// How long the lock call that begins now may wait.
    pub(crate) fn patience(&self) -> Duration {
        let mut patience = locked(&self.patience);
        let now = Instant::now();
        let since = match patience.since {
            Some(since) if patience.retrying => since,
            _ => *patience.since.insert(now),
        };
        // Where main is not ours, neither is the busy handler.
        let timeout = patience.timeout.filter(|_| self.main_is_ours.load(Relaxed));
        match (timeout, patience.refused) {
            (Some(timeout), _) => timeout.saturating_sub(now - since),
            (None, Some(refused)) if now - refused < MOMENTS => SLICE,
            (None, _) => FIRST_SLICE,
        }
    }

    /// The lock was had, or failed for good: the next wait is another one.
    pub(crate) fn waited(&self) {
        locked(&self.patience).retrying = false;
    }

    /// SQLite is about to be told BUSY. Where the timeout is known, our busy handler decides, whatever the
    /// application has installed since. (Python's `sqlite3` installs SQLite's at every open, which sleeps up to
    /// 100 ms between tries, while others take the lease.)
    pub(crate) fn refuses(&self) {
        locked(&self.patience).refused = Some(Instant::now());
        if self.main_is_ours.load(Relaxed) && self.timeout().is_some() {
            let context = std::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: `db` is in the middle of a call, so it is open and its mutex is ours (a recursive one);
            // the context lives as long as main's file, that is, as long as `db`.
            unsafe { (self.host.api.busy_handler)(self.db.load(Relaxed), Some(on_busy), context) };
        }
    }

    /// What failed last on this connection.
    pub(crate) fn last_failure(&self) -> Option<Failure> {
        locked(&self.last_failure).clone()
    }

    /// Keeps `failure` for the connection and for the thread, and gives its code.
    pub(crate) fn fails(&self, failure: Failure) -> c_int {
        *locked(&self.last_failure) = Some(failure.clone());
        self.host.fails(failure)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let key = self.db.load(Relaxed) as usize;
        let mut connections = locked(&CONNECTIONS);
        // SQLite may have given the address to a new connection already.
        if connections.get(&key).is_some_and(|known| known.strong_count() == 0) {
            connections.remove(&key);
        }
    }
}

/// What the mutexes guard is whole between any two statements, so a panic elsewhere does not spoil it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite is about to run a statement: will it write?
unsafe extern "C" fn on_statement(
    _event: u32,
    context: *mut c_void,
    statement: *mut c_void,
    sql: *mut c_void,
) -> c_int {
    crate::guard(abi::OK, || {
        // SAFETY: the context is the `Connection` that main's file keeps; SQLite passes its statement and its text.
        unsafe {
            let connection = &*context.cast::<Connection>();
            let statement = statement.cast::<Statement>();
            let writes = (connection.host.api.stmt_readonly)(statement) == 0 && !names_temp(sql.cast());
            connection.wants_lease.store(writes, Relaxed);
        }
        abi::OK
    })
}

/// Whether a statement speaks of a temporary table near its beginning. If it writes nothing else, it must not
/// wait for other writers; if it does write something else, it asks for the lease a little later.
///
/// # Safety
/// `sql` is null or ends in NUL.
unsafe fn names_temp(sql: *const c_char) -> bool {
    const BEGINNING: usize = 200;
    if sql.is_null() {
        return false;
    }
    // SAFETY: the caller's.
    let sql = unsafe { CStr::from_ptr(sql) }.to_bytes();
    sql[..sql.len().min(BEGINNING)].windows(4).any(|word| word.eq_ignore_ascii_case(b"temp"))
}

/// SQLite met a BUSY and asks whether to try again. If it was ours, the lock call has waited already, so: at once,
/// or never. If an attached plain database is locked, only trying again after a moment can tell.
unsafe extern "C" fn on_busy(context: *mut c_void, count: c_int) -> c_int {
    const MOMENT: Duration = Duration::from_millis(5);
    crate::guard(0, || {
        // SAFETY: the context is the `Connection` that main's file keeps.
        let connection = unsafe { &*context.cast::<Connection>() };
        let mut patience = locked(&connection.patience);
        let ours = patience.refused.take().is_some_and(|refused| refused.elapsed() < MOMENTS);
        if !ours && count == 0 {
            patience.since = Some(Instant::now());
        }
        let waited = patience.since.map_or(Duration::ZERO, |since| since.elapsed());
        let again = patience.timeout.is_some_and(|timeout| waited < timeout);
        patience.retrying = ours && again;
        drop(patience);
        if again && !ours {
            std::thread::sleep(MOMENT);
        }
        c_int::from(again)
    })
}
