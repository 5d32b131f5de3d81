//! One database file as SQLite drives it. Locks begin and end transactions. Reads and writes go to a snapshot or an
//! overlay. A single call, the sync of the database file, commits.
//!
//! The order of SQLite's calls, and the effect of each return code on a transaction, were measured on several versions
//! of SQLite. Every rule below that looks arbitrary comes from there.

mod commit;
mod content;
mod locks;
mod memory;
mod originals;
mod participants;
mod plain;

pub(crate) use self::locks::{Lock, SHARED_CACHE};
pub(crate) use self::memory::{FILE_BYTES, install, main_file_of, of_seawall, restore, uninstall};
pub(crate) use self::originals::OriginalsOf;

use crate::abi;
use crate::connection::{Connection, FileId, StatementNo};
use crate::failure::Failure;
use crate::fork;
use crate::header::Written;
use crate::host::Host;
use crate::journal::JournalNames;
use crate::parameters::{Freshness, Parameters};
use crate::plain_file::PlainFile;
use crate::stock_sqlite::NoAdoption;
use crate::unshared::Unshared;
use crate::writing::Writing;
use seawall::{Access, Database, Moment, Snapshot, Status, Version};
use std::ffi::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// An open database file of one connection.
pub(crate) struct MainFile {
    host: &'static Host,
    path: PathBuf,
    access: Access,
    parameters: Parameters,
    backing: Backing,
    /// What the file needs to become a plain file, if it may. It becomes one if it turns out to be attached.
    maybe_plain: Option<MaybePlain>,
    /// The names of its journal and its WAL, unless those are files.
    journal_names: Option<JournalNames>,
    _unshared: Option<Unshared>,
    /// Why SQLite may only read it, if the application did not ask for that.
    only_read: Option<Failure>,
    /// When the database was opened, counted in forks.
    forks: u32,
    id: FileId,
    connection: Arc<Connection>,
    owner: Owner,
    /// Whether it is the connection's main database.
    is_main: bool,
    lock: Lock,
    state: State,
    early_lease: EarlyLease,
    /// The last statement in which the lease was refused. When SQLite repeats that statement, the lease is requested
    /// together with the snapshot.
    refused_in: Option<StatementNo>,
    /// What SQLite has read when it last checked for changes.
    last_check: Option<content::ChangeCheck>,
    /// A backup from a database in WAL mode has left a page 1 in SQLite's cache that says WAL mode, unlike the
    /// committed one. Therefore SQLite's next check for changes must find one, so that SQLite reads page 1 again.
    must_reread: bool,
    /// When the current transaction took the lease without a request for the head. Until it has committed, it is not
    /// certain that its snapshot is the newest.
    unconfirmed: Option<Moment>,
}

/// A file whose URI names no VFS. It becomes a database of Seawall's only if it turns out to be main.
pub(crate) struct MaybePlain {
    pub(crate) name: *const c_char,
    /// The flags that SQLite passed to xOpen.
    pub(crate) flags: c_int,
    /// The flags that xOpen returned.
    pub(crate) out_flags: c_int,
    /// The argument of SQLite's FCNTL_BUSYHANDLER on this file.
    pub(crate) busy_handler: *mut c_void,
}

/// What SQLite sees of a file before its first use.
#[derive(Default)]
pub(crate) struct Beginning {
    /// The file's first bytes, as many as SQLite reads when it opens one.
    pub(crate) bytes: Vec<u8>,
    /// The whole file's size. With `immutable=1`, SQLite asks for it when it opens the file.
    pub(crate) size: u64,
}

/// What a file reads from and writes to.
enum Backing {
    /// This process's database.
    Database(Arc<Database>),
    /// There was no database of Seawall's when SQLite opened the file. The first use makes one. Until then SQLite sees
    /// this.
    NotOpened(Beginning),
    /// A plain SQLite file that is only read, until it becomes a database of Seawall's. SQLite's name of it follows.
    Plain(PlainFile, *const c_char),
    /// The file cannot be used, for this reason.
    Refused(Failure),
}

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// SQLite has not passed the connection yet.
    Unknown,
    One,
    /// Several connections use it, through SQLite's shared cache.
    Several,
}

/// The transaction of a file, if there is one.
enum State {
    /// There is no transaction. SQLite still reads the header when it opens the file.
    Idle,
    /// A read transaction. Also a write transaction that was committed or given up, until SQLite has cleaned up. SQLite
    /// may still truncate the file then, because its commit had the new size already. It may not write.
    Reading(Arc<Snapshot>),
    /// A write transaction, with the lease.
    Writing(Box<Writing>),
    /// A write transaction that failed. SQLite undoes it. The pages that it writes for that, and the sync that follows
    /// them, have no effect.
    Undoing(Arc<Snapshot>, Option<Written>),
}

/// Whether the lease was requested together with the snapshot, before SQLite asked to write.
enum EarlyLease {
    /// It was not requested, or was used or given back.
    None,
    /// It was taken. The connection keeps it.
    Taken,
    /// It was refused for this reason, which is reported if the statement turns out to need the lease.
    Refused(Failure),
}

impl MainFile {
    /// A file that the first use opens. Until then SQLite reads `beginning`.
    pub(crate) fn not_opened(
        host: &'static Host,
        path: &Path,
        access: Access,
        parameters: Parameters,
        journal_names: JournalNames,
        beginning: Beginning,
        maybe_plain: Option<MaybePlain>,
    ) -> MainFile {
        let unshared = parameters.asks_to_share.then(|| Unshared::keep(path.as_os_str().as_bytes()));
        MainFile {
            host,
            path: path.to_owned(),
            access,
            parameters,
            _unshared: unshared,
            backing: Backing::NotOpened(beginning),
            maybe_plain,
            journal_names: Some(journal_names),
            only_read: None,
            forks: fork::count(),
            id: FileId::next(),
            connection: Connection::unknown(host),
            owner: Owner::Unknown,
            is_main: false,
            lock: Lock::None,
            state: State::Idle,
            early_lease: EarlyLease::None,
            refused_in: None,
            last_check: None,
            must_reread: false,
            unconfirmed: None,
        }
    }

    /// Opens the existing database, and adopts nothing.
    pub(crate) fn open_now(&mut self) -> Result<(), Failure> {
        let plain = NoAdoption(self.host);
        self.uses(Database::open(&self.path, self.access, &self.parameters.options, &plain)?);
        Ok(())
    }

    /// From now on the file is `database`.
    pub(crate) fn uses(&mut self, database: Arc<Database>) {
        // This is checked for each connection, because the file system may have become read-only, or writable again.
        let may_write =
            if self.access == Access::ReadOnly { database.must_be_original() } else { database.may_write() };
        self.only_read = may_write.err().map(|error| Failure { code: abi::READONLY, ..error.into() });
        if self.only_read.is_some() {
            self.access = Access::ReadOnly;
        }
        self.says_how_it_asks(&database);
        self.backing = Backing::Database(database);
    }

    fn says_how_it_asks(&self, database: &Database) {
        if self.parameters.freshness == Freshness::Request {
            database.expect_requests();
        }
    }

    pub(crate) fn host(&self) -> &'static Host {
        self.host
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// SQLite passes the connection that this file belongs to. It does so again when it lets another connection use the
    /// same file. The address that it passes then is not that connection's.
    pub(crate) fn belongs_to(&mut self, db: *mut abi::Sqlite3) {
        if self.owner != Owner::Unknown {
            self.owner = Owner::Several;
            self.connection.forget_sqlite3();
            return;
        }
        self.owner = Owner::One;
        self.connection = self.connection.clone().known_as(db);
        if let (Some(timeout), None) = (self.parameters.timeout, self.connection.timeout()) {
            self.connection.set_timeout(timeout);
        }
    }

    /// The file turns out to be its connection's main database.
    pub(crate) fn becomes_main(&mut self) {
        self.is_main = true;
        if let Some(why) = &self.only_read {
            self.connection.only_reads_main(why.clone());
        }
    }

    /// Whether SQLite may write.
    pub(crate) fn may_write(&self) -> bool {
        self.access != Access::ReadOnly
    }

    /// Whether the database exists. If it does not, the first use makes it.
    pub(crate) fn is_opened(&self) -> bool {
        matches!(self.backing, Backing::Database(_))
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A PRAGMA sets the size of SQLite's cache for this file.
    pub(crate) fn cache_size_was_set(&self) {
        if self.is_main {
            self.connection.cache_size_was_set();
        }
    }

    /// What the file needs to become a plain file, if it may. After this call it may not.
    pub(crate) fn take_maybe_plain(&mut self) -> Option<MaybePlain> {
        self.maybe_plain.take()
    }

    /// SQLite passes the address of its busy handler.
    pub(crate) fn has_busy_handler(&mut self, handler: *mut c_void) {
        if let Some(maybe_plain) = &mut self.maybe_plain {
            maybe_plain.busy_handler = handler;
        }
    }

    /// From now on the file cannot be used, for this reason.
    pub(crate) fn refuse(&mut self, why: Failure) {
        self.backing = Backing::Refused(why);
    }

    /// Whether several connections use this file.
    pub(crate) fn is_shared(&self) -> bool {
        self.owner == Owner::Several
    }

    /// This process's database. The first use adopts NAME, or makes the database, and waits for other programs no
    /// longer than for the lease. After a fork the child is another process, with its own database and its own writer.
    /// Only a transaction that began in the parent keeps the parent's database.
    fn database(&mut self) -> Result<Arc<Database>, Failure> {
        self.database_within(Connection::patience)
    }

    /// This file's database, for the calling process. Its first use waits as long as `patience` says.
    fn database_within(&mut self, patience: impl FnOnce(&Connection) -> Duration) -> Result<Arc<Database>, Failure> {
        match &self.backing {
            Backing::Database(database) if self.forks == fork::count() => return Ok(database.clone()),
            Backing::Refused(why) => return Err(why.clone()),
            Backing::Plain(..) => return Err(self.is_only_plain()),
            Backing::Database(_) => {}
            Backing::NotOpened(_) => self.parameters.options.adoption_timeout = patience(&self.connection),
        }
        let mine = Database::open(&self.path, self.access, &self.parameters.options, &self.host)?;
        self.says_how_it_asks(&mine);
        if self.is_main && !self.is_opened() {
            self.connection.main_was_opened();
        }
        if matches!(self.state, State::Idle) {
            self.backing = Backing::Database(mine.clone());
            self.forks = fork::count();
        }
        Ok(mine)
    }

    /// The database of the current transaction.
    fn opened(&self) -> Result<&Arc<Database>, Failure> {
        match &self.backing {
            Backing::Database(database) => Ok(database),
            Backing::Refused(why) => Err(why.clone()),
            Backing::Plain(..) => Err(self.is_only_plain()),
            Backing::NotOpened(_) => Err(not_locked(abi::IOERR)),
        }
    }

    /// The version of the current snapshot. Without a transaction, the newest version that this process knows.
    pub(crate) fn version(&mut self) -> Result<Version, Failure> {
        self.database()?;
        Ok(self.snapshot()?.version())
    }

    /// The facts about the database.
    pub(crate) fn status(&mut self) -> Result<Status, Failure> {
        Ok(self.database()?.status()?)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        Ok(match &self.state {
            State::Idle => self.opened()?.newest_known(),
            State::Reading(snapshot) | State::Undoing(snapshot, _) => snapshot.clone(),
            State::Writing(writing) => writing.transaction().snapshot().clone(),
        })
    }
}

/// Why a write or a sync is refused that belongs to a transaction that did not begin with a lock.
fn not_locked(code: c_int) -> Failure {
    Failure::refusal(
        code,
        "a write without a transaction: Seawall's databases need PRAGMA locking_mode=NORMAL, and another one was set through a \
         main database that is not Seawall's. Nothing was written. Set PRAGMA <schema>.locking_mode=NORMAL, and read from the database",
    )
}

impl Drop for MainFile {
    fn drop(&mut self) {
        self.unlock(Lock::None);
        if self.is_main {
            self.connection.main_closes();
        }
        if let Backing::Database(database) = &self.backing {
            database.connection_closed();
        }
    }
}
