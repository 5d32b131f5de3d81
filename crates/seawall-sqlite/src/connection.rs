//! What the VFS knows of one SQLite connection, across all the databases attached to it.

use crate::abi::{self, Sqlite3, Statement};
use crate::failure::{self, Failure};
use crate::host::Host;
use crate::intent::{Intent, Target};
use crate::patience::Patience;
use crate::registry::{self, Ticket};
use seawall::Transaction;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A connection, shared by its files. SQLite calls on one connection come one at a time, so nothing here is ever
/// contended; the atomics and the mutexes only say so to the compiler.
pub(crate) struct Connection {
    host: &'static Host,
    /// The `sqlite3*`, while it is known and this connection's alone.
    db: AtomicPtr<Sqlite3>,
    /// What SQLite's callbacks come with: there is one while main is ours, and no longer.
    ticket: Mutex<Option<Ticket>>,
    /// The busy handler of the `sqlite3` is ours.
    handles_busy: AtomicBool,
    /// Set while SQLite reads the schema at the very opening.
    opening: AtomicBool,
    /// Set while statements of our own make our settings: PRAGMAs are SQLite's then, and nothing is announced.
    is_setting: AtomicBool,
    /// A database of ours was attached, and its journal is not set yet.
    has_new_schema: AtomicBool,
    /// A statement of our own runs, which shows whether our trace callback is in place.
    listening: AtomicBool,
    /// The application has put a trace callback of its own in the place of ours.
    is_deaf: AtomicBool,
    /// Our settings for main wait for the next statement.
    settings_are_due: AtomicBool,
    /// The application has given SQLite's cache for main a size.
    cache_is_set: AtomicBool,
    /// `cache_spill` may have been turned off.
    spill_may_be_off: AtomicBool,
    statement: Mutex<Announced>,
    /// The leases that files took together with their snapshots, until SQLite asks to write.
    early: Mutex<Vec<(FileId, Transaction)>>,
    patience: Mutex<Patience>,
    last_failure: Mutex<Option<Failure>>,
    /// Why main may only be read, where the application did not ask for that.
    only_reads_main: OnceLock<Failure>,
}

/// A file of a connection, for as long as the process lives.
pub(crate) type FileId = u64;

/// A statement, counted in those of its connection.
pub(crate) type StatementNo = u64;

/// What the trace callback has heard.
#[derive(Default)]
struct Announced {
    number: StatementNo,
    /// What the statement will write for certain.
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

impl Connection {
    /// A connection whose `sqlite3*` SQLite has not told yet.
    pub(crate) fn unknown(host: &'static Host) -> Arc<Connection> {
        Arc::new(Connection {
            host,
            db: AtomicPtr::default(),
            ticket: Mutex::default(),
            handles_busy: AtomicBool::new(false),
            opening: AtomicBool::new(false),
            has_new_schema: AtomicBool::new(false),
            listening: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
            settings_are_due: AtomicBool::new(false),
            is_setting: AtomicBool::new(false),
            cache_is_set: AtomicBool::new(false),
            spill_may_be_off: AtomicBool::new(false),
            statement: Mutex::default(),
            early: Mutex::default(),
            patience: Mutex::default(),
            last_failure: Mutex::default(),
            only_reads_main: OnceLock::new(),
        })
    }

    /// The connection of `db`: the one that is known already, or `self` from now on.
    pub(crate) fn known_as(self: Arc<Self>, db: *mut Sqlite3) -> Arc<Connection> {
        if let Some(known) = registry::known_or(db, &self) {
            known.has_new_schema.store(true, Relaxed);
            return known;
        }
        self.db.store(db, Relaxed);
        self
    }

    /// Prepares a connection whose main database is ours; SQLite calls for it as soon as that is open. What reads the schema waits for
    /// the first use, where that makes the database.
    ///
    /// # Safety
    /// `db` is a new connection of the SQLite that `host` stands for, with main opened by our VFS.
    pub(crate) unsafe fn set_up(host: &'static Host, db: *mut Sqlite3, is_opened: bool) {
        let Some(connection) = registry::find(db) else { return };
        let Some(ticket) = Ticket::of(&connection) else { return };
        connection.opening.store(true, Relaxed);
        connection.is_setting.store(true, Relaxed);
        let context = ticket.context();
        *locked(&connection.ticket) = Some(ticket);
        // SAFETY: the context is a number, never followed. The failures do not matter: a statement that meets the same
        // cause will tell it. The last, empty, run clears SQLite's memory of them, which would fail the opening.
        unsafe {
            (host.api.trace_v2)(db, abi::TRACE_STMT, Some(on_statement), context);
            // Debian's SQLite overwrites what is deleted: 30 times the pages on a large DELETE, all published.
            host.api.run(db, c"PRAGMA secure_delete=OFF");
            if is_opened {
                connection.make_settings(db);
            }
            host.api.run(db, c"");
        }
        connection.opening.store(false, Relaxed);
        connection.is_setting.store(false, Relaxed);
        failure::forget();
    }

    /// Lets SQLite keep the journals of attached databases of ours in memory itself. With a journal in a file, as ours is in SQLite's eyes,
    /// it would make a super-journal on the disk beside main wherever it locks two databases, written or not.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn set_up_attached(&self) {
        let (api, db) = (&self.host.api, self.db());
        if db.is_null() {
            return;
        }
        self.is_setting.store(true, Relaxed);
        // Main and temp come first.
        for n in 2.. {
            // SAFETY: the caller's: `db` is open, and its mutex is ours; a name ends in NUL, and stays for the call.
            unsafe {
                let name = (api.db_name)(db, n);
                if name.is_null() {
                    break;
                }
                let name = CStr::from_ptr(name);
                if api.file(db, name).and_then(|file| crate::io_methods::ours(file)).is_some() {
                    let quoted = name.to_string_lossy().replace('"', "\"\"");
                    // Where it fails, in the middle of a transaction that writes, SQLite uses a file of ours.
                    if let Ok(sql) = CString::new(format!("PRAGMA \"{quoted}\".journal_mode=MEMORY")) {
                        api.run(db, &sql);
                    }
                }
            }
        }
        self.is_setting.store(false, Relaxed);
    }

    /// Makes the settings for main that read its schema, which spares the first statement a transaction of its own.
    ///
    /// # Safety
    /// `db` is this connection's, and its mutex is this thread's.
    unsafe fn make_settings(&self, db: *mut Sqlite3) {
        self.is_setting.store(true, Relaxed);
        // SAFETY: the caller's.
        unsafe {
            self.host.api.run(db, c"PRAGMA main.journal_mode=MEMORY");
            if !self.cache_is_set.load(Relaxed) {
                // 16 MiB: a commit of anyone empties this cache, so it is no place to keep much, but a transaction
                // that fits into it writes each page once.
                self.host.api.run(db, c"PRAGMA main.cache_size=-16384");
            }
        }
        self.is_setting.store(false, Relaxed);
    }

    /// Makes the settings that waited for main's first use, once main is there, and no transaction writes it.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn make_due_settings(&self) {
        let db = self.db();
        // SAFETY: the caller's: `db` is open, and its mutex is ours.
        unsafe {
            if self.settings_are_due.load(Relaxed)
                && !db.is_null()
                && (self.host.api.txn_state)(db, c"main".as_ptr()) != abi::TXN_WRITE
            {
                self.settings_are_due.store(false, Relaxed);
                self.make_settings(db);
            }
        }
    }

    /// Whether the statement that runs is one of our settings.
    pub(crate) fn is_setting(&self) -> bool {
        self.is_setting.load(Relaxed)
    }

    /// The first use has made, or adopted, main.
    pub(crate) fn main_is_opened(&self) {
        self.settings_are_due.store(true, Relaxed);
    }

    /// The application gives SQLite's cache for main a size.
    pub(crate) fn sets_cache(&self) {
        self.cache_is_set.fetch_or(!self.is_setting(), Relaxed);
    }

    /// Main's file is being closed: by close(), or by deserialize(), after which the connection goes on without us.
    pub(crate) fn main_closes(&self) {
        drop(locked(&self.ticket).take());
        let db = self.db.load(Relaxed);
        if !self.handles_busy.swap(false, Relaxed) || db.is_null() {
            return;
        }
        let milliseconds = self.timeout().map_or(0, |timeout| timeout.as_millis().min(i32::MAX as u128) as c_int);
        // SAFETY: SQLite closes the files of a connection before it frees it, and calls from within its mutex, a recursive
        // one. Only deserialize() closes one in the middle of a statement.
        unsafe {
            if !(self.host.api.next_stmt)(db, std::ptr::null_mut()).is_null() {
                (self.host.api.busy_timeout)(db, milliseconds);
            }
        }
    }

    /// SQLite lets another connection use a file of this one: from now on nobody can tell whose calls it makes.
    pub(crate) fn is_shared(&self) {
        drop(locked(&self.ticket).take());
        let db = self.db.swap(std::ptr::null_mut(), Relaxed);
        registry::forget(db, self);
    }

    fn main_is_ours(&self) -> bool {
        locked(&self.ticket).is_some()
    }

    /// The `sqlite3`, in the middle of a call on it; null if that is not known.
    pub(crate) fn db(&self) -> *mut Sqlite3 {
        self.db.load(Relaxed)
    }

    /// Whether this is the reading of the schema at the opening, for which what is known is new enough: every
    /// statement checks the schema again.
    pub(crate) fn is_opening(&self) -> bool {
        self.opening.load(Relaxed)
    }

    /// A statement of the application begins; `sql` is its text.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn begins_statement(&self, sql: &str, may_write: bool) {
        if self.has_new_schema.swap(false, Relaxed) {
            // SAFETY: the caller's.
            unsafe { self.set_up_attached() };
        }
        // What the one before took and did not need goes back.
        drop(std::mem::take(&mut *locked(&self.early)));
        // What only reads may be a setting, which is made in no file.
        let intent =
            Some(Intent::of(sql)).filter(|it| may_write || *it == Intent::SetsCacheSpill).unwrap_or(Intent::Other);
        let writes = match &intent {
            Intent::BeginsWriting => Writes::EveryDatabase,
            // SAFETY: the caller's.
            Intent::Changes(target) if unsafe { self.is_certainly_of_main(target) } => Writes::Main,
            Intent::Creates(target) if target.schema.is_none_or(is_main) => Writes::Main,
            _ => Writes::Unknown,
        };
        let mut statement = locked(&self.statement);
        statement.number += 1;
        statement.writes = writes;
        statement.journal_may_be_off |= intent == Intent::TurnsJournalOff;
        statement.has_views |= intent == Intent::CreatesView;
        drop(statement);
        if let Some(why) = self.only_reads_main.get().filter(|_| may_write) {
            // SQLite itself refuses the write, and calls nobody for that: the words are laid out before.
            failure::keep(why.clone());
        }
        if intent == Intent::SetsCacheSpill {
            self.sets_spill();
        }
    }

    /// Whether `target` is a table of main that is not locked yet.
    ///
    /// # Safety
    /// It is called from SQLite's trace callback of this connection.
    unsafe fn is_certainly_of_main(&self, target: &Target<'_>) -> bool {
        let db = self.db();
        let Ok(table) = CString::new(target.table) else { return false };
        let api = &self.host.api;
        // SAFETY: the caller's: `db` is open, and its mutex is ours. All names end in NUL.
        unsafe {
            if db.is_null() || (api.txn_state)(db, c"main".as_ptr()) != abi::TXN_NONE {
                return false;
            }
            match target.schema {
                Some(schema) => is_main(schema) && api.has_table(db, c"main", &table),
                // SQLite looks into temp first. What it tells of tables it does not tell of views.
                None => {
                    let hidden = || locked(&self.statement).has_views || api.has_table(db, c"temp", &table);
                    api.has_table(db, c"main", &table) && !(api.file(db, c"temp").is_some() && hidden())
                }
            }
        }
    }

    /// Whether a file is to take the lease together with its snapshot: it will be asked for in this very statement.
    pub(crate) fn takes_lease(&self, is_main: bool, refused_in: Option<StatementNo>) -> bool {
        if !self.main_is_ours() {
            return false;
        }
        let statement = locked(&self.statement);
        match statement.writes {
            Writes::EveryDatabase => true,
            Writes::Main if is_main => true,
            _ => refused_in == Some(statement.number),
        }
    }

    /// A file was unlocked: what was announced of a statement holds no longer. The next one may come without being announced,
    /// if the application has set a trace callback of its own.
    pub(crate) fn unlocks(&self) {
        locked(&self.statement).writes = Writes::Unknown;
    }

    /// The statement that runs.
    pub(crate) fn statement(&self) -> StatementNo {
        locked(&self.statement).number
    }

    /// `cache_spill` is set. To what does not matter: inside a transaction SQLite keeps the old setting for its open files.
    pub(crate) fn sets_spill(&self) {
        self.spill_may_be_off.store(true, Relaxed);
    }

    /// Whether our trace callback has heard each statement of this connection. It has if it is in place now, for it is put there
    /// once, when the connection is made, and only an application takes it away.
    ///
    /// # Safety
    /// `db` is this connection's, in the middle of a call on one of its files.
    unsafe fn hears(&self, db: *mut Sqlite3) -> bool {
        if !self.main_is_ours() || self.is_deaf.load(Relaxed) {
            return false;
        }
        self.listening.store(true, Relaxed);
        // SAFETY: the caller's. The statement needs no file and no lock, so it begins and ends no transaction.
        let code = unsafe { self.host.api.run(db, c"SELECT 1 /* Seawall: is its trace callback in place? */") };
        let was_heard = !self.listening.swap(false, Relaxed);
        // If it did not run (the connection was interrupted, say), the next one may be heard.
        self.is_deaf.store(!was_heard && code == abi::OK, Relaxed);
        was_heard
    }

    /// Whether some plain database of the connection may have been set to `journal_mode=OFF`.
    ///
    /// # Safety
    /// As for [`Connection::hears`].
    pub(crate) unsafe fn journal_may_be_off(&self, db: *mut Sqlite3) -> bool {
        let was_heard = locked(&self.statement).journal_may_be_off;
        // SAFETY: the caller's.
        was_heard || !unsafe { self.hears(db) }
    }

    /// Whether `cache_spill` may have been turned off.
    ///
    /// # Safety
    /// As for [`Connection::hears`].
    pub(crate) unsafe fn spill_may_be_off(&self, db: *mut Sqlite3) -> bool {
        // SAFETY: the caller's.
        self.spill_may_be_off.load(Relaxed) || !unsafe { self.hears(db) }
    }

    /// Keeps what `file` began early, until SQLite asks to write, or the statement is over.
    pub(crate) fn keep_early(&self, file: FileId, transaction: Transaction) {
        locked(&self.early).push((file, transaction));
    }

    /// What `file` began early, if the statement is not over.
    pub(crate) fn take_early(&self, file: FileId) -> Option<Transaction> {
        let mut early = locked(&self.early);
        let place = early.iter().position(|(owner, _)| *owner == file)?;
        Some(early.swap_remove(place).1)
    }

    /// The time to wait for the lease, where SQLite's own handler does not decide.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        locked(&self.patience).timeout
    }

    /// SQLite is about to tell the timeout. Its own busy handler knows it, and takes the place of ours until that is needed again.
    pub(crate) fn tells_timeout(&self) {
        let (db, Some(timeout)) = (self.db(), self.timeout()) else { return };
        if !db.is_null() && self.main_is_ours() {
            let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: main's file is open, so `db` is; it is in the middle of a call, so its mutex is ours (a recursive one).
            unsafe { (self.host.api.busy_timeout)(db, milliseconds) };
        }
    }

    /// From now on this connection waits so long.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        locked(&self.patience).timeout = Some(timeout);
    }

    /// How long the lock call that begins now may wait.
    pub(crate) fn patience(&self) -> Duration {
        let main_is_ours = self.main_is_ours();
        locked(&self.patience).of_a_lock(main_is_ours)
    }

    /// The lock was had, or failed for good: the next wait is another one.
    pub(crate) fn waited(&self) {
        locked(&self.patience).is_over();
    }

    /// SQLite is about to be told BUSY. Where the timeout is known, our busy handler decides, whatever the
    /// application has installed since. (Python's `sqlite3` installs SQLite's at every open, which sleeps up to
    /// 100 ms between tries, while others take the lease.)
    pub(crate) fn refuses(&self) {
        locked(&self.patience).is_refused();
        if self.timeout().is_none() {
            return;
        }
        if let Some(ticket) = &*locked(&self.ticket) {
            self.handles_busy.store(true, Relaxed);
            // SAFETY: while there is a ticket main's file is open, so `db` is; it is in the middle of a call, so its mutex
            // is ours (a recursive one). The context is a number, never followed.
            unsafe { (self.host.api.busy_handler)(self.db(), Some(on_busy), ticket.context()) };
        }
    }

    /// Main may only be read, for this reason.
    pub(crate) fn only_reads_main(&self, why: Failure) {
        *locked(&self.last_failure) = Some(why.clone());
        // It is told once, when main was opened.
        let _ = self.only_reads_main.set(why);
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
        registry::forget(self.db(), self);
    }
}

/// What the mutexes guard is whole between any two statements, so a panic elsewhere does not spoil it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_main(schema: &str) -> bool {
    schema.eq_ignore_ascii_case("main")
}

/// SQLite is about to run a statement: will it write?
unsafe extern "C" fn on_statement(
    _event: u32,
    context: *mut c_void,
    statement: *mut c_void,
    sql: *mut c_void,
) -> c_int {
    crate::guard(abi::OK, || {
        let Some(connection) = Ticket::holder(context) else { return abi::OK };
        if connection.listening.swap(false, Relaxed) || connection.is_setting() {
            return abi::OK;
        }
        let (statement, sql) = (statement.cast::<Statement>(), sql.cast::<c_char>());
        // SAFETY: SQLite's call.
        unsafe { connection.make_due_settings() };
        // SAFETY: SQLite passes its statement and its text, which ends in NUL.
        unsafe {
            // Of a trigger, and of a statement inside another one, it tells in words of its own.
            if sql.is_null() || !std::ptr::eq(sql, (connection.host.api.sql)(statement)) {
                return abi::OK;
            }
            let writes = (connection.host.api.stmt_readonly)(statement) == 0;
            connection.begins_statement(&CStr::from_ptr(sql).to_string_lossy(), writes);
        }
        abi::OK
    })
}

/// SQLite met a BUSY and asks whether to try again.
unsafe extern "C" fn on_busy(context: *mut c_void, count: c_int) -> c_int {
    crate::guard(0, || {
        let Some(connection) = Ticket::holder(context) else { return 0 };
        let (again, sleep) = locked(&connection.patience).is_asked(count);
        std::thread::sleep(sleep);
        c_int::from(again)
    })
}
