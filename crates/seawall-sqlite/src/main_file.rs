//! One database file as SQLite drives it: locks begin and end transactions, reads and writes go to a snapshot or
//! an overlay, and a single call, the sync of the database file, commits.
//!
//! The order of SQLite's calls, and what each return code makes of a transaction, was measured, on several versions.
//! Each rule below that looks arbitrary comes from there.

mod locks;

pub(crate) use self::locks::Lock;
use crate::abi;
use crate::connection::{Connection, FileId, StatementNo};
use crate::failure::Failure;
use crate::fork;
use crate::header::{HEADER, OurFields, Synced, Written};
use crate::host::Host;
use crate::opening::Unnamed;
use crate::parameters::{Freshness, Parameters};
use crate::participants::When;
use crate::plain::NotNow;
use crate::registry::Journals;
use crate::unshared::Unshared;
use crate::writing::Writing;
use seawall::{Access, Database, Moment, PageSize, PlainSqlite, Snapshot, Status, Version};
use std::ffi::{c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static FILES: AtomicU64 = AtomicU64::new(1);

/// An open database file of one connection.
pub(crate) struct MainFile {
    host: &'static Host,
    path: PathBuf,
    access: Access,
    parameters: Parameters,
    behind: Behind,
    /// It becomes a plain file, unless it turns out to be main.
    unnamed: Option<Unnamed>,
    _journals: Journals,
    _unshared: Option<Unshared>,
    /// Why SQLite may only read it, where that was not asked for.
    only_read: Option<Failure>,
    /// When the database was opened, counted in forks.
    forks: u32,
    id: FileId,
    connection: Arc<Connection>,
    /// Whether it is the connection's main database.
    is_main: bool,
    /// SQLite lets several connections use it, by its shared cache.
    is_shared: bool,
    /// SQLite has told whose file it is.
    is_owned: bool,
    lock: Lock,
    holding: Holding,
    /// The lease was taken together with the snapshot, and SQLite has not asked to write yet.
    is_early: bool,
    /// Why the lease was not had together with the snapshot; told if the statement turns out to need it.
    refused: Option<Failure>,
    /// The statement in which the lease was refused last: in the same one it is asked for together with the snapshot.
    refused_in: Option<StatementNo>,
    /// SQLite's cache has a page 1 that says WAL mode, by a backup from such a database; what was published says otherwise. So the next time
    /// it looks for changes there is one, and it reads that page again.
    must_reread: bool,
    /// When a write transaction began for which nobody was asked: until it has committed, what it read is not certain.
    unconfirmed: Option<Moment>,
}

/// What stands behind the file.
enum Behind {
    /// This process's database.
    Database(Arc<Database>),
    /// No database of Seawall's lay there when SQLite opened the file: the first use makes one. Until then it shows these bytes.
    Later(Vec<u8>),
    /// Nothing, for this reason.
    Refused(Failure),
}

/// What the file's transaction, if any, stands on.
enum Holding {
    /// No transaction. SQLite still reads the header when it opens the file.
    Nothing,
    /// A read transaction; also a write transaction that was published or given up, until SQLite has cleaned up. SQLite may
    /// still truncate the file, which its commit foresaw; it may not write.
    Reading(Arc<Snapshot>),
    /// A write transaction, with the lease.
    Writing(Box<Writing>),
    /// A write transaction that failed. SQLite undoes it: the pages that it writes for that, and the sync that follows
    /// them, count for nothing.
    Undoing(Arc<Snapshot>, Option<Written>),
}

impl MainFile {
    /// A file that the first use opens. Until then SQLite is shown `beginning`; if `unnamed`, it may become a plain file before that.
    pub(crate) fn later(
        host: &'static Host,
        path: &Path,
        access: Access,
        parameters: Parameters,
        journals: Journals,
        beginning: Vec<u8>,
        unnamed: Option<Unnamed>,
    ) -> MainFile {
        let unshared = parameters.asks_to_share.then(|| Unshared::keep(path.as_os_str().as_bytes()));
        MainFile {
            host,
            path: path.to_owned(),
            access,
            parameters,
            _unshared: unshared,
            behind: Behind::Later(beginning),
            unnamed,
            _journals: journals,
            only_read: None,
            forks: fork::count(),
            id: FILES.fetch_add(1, Relaxed),
            connection: Connection::unknown(host),
            is_main: false,
            is_shared: false,
            is_owned: false,
            lock: Lock::None,
            holding: Holding::Nothing,
            is_early: false,
            refused: None,
            refused_in: None,
            must_reread: false,
            unconfirmed: None,
        }
    }

    /// Opens the database that lies there, and adopts nothing.
    pub(crate) fn opens_now(&mut self) -> Result<(), Failure> {
        let database = open_database(&NotNow(self.host), &self.path, self.access, &self.parameters)?;
        // Asked for each connection: the place may become writable, or be no more.
        let may_write =
            if self.access == Access::ReadOnly { database.must_be_original() } else { database.may_write() };
        self.only_read = may_write.err().map(|error| Failure { code: abi::READONLY, ..error.into() });
        if self.only_read.is_some() {
            self.access = Access::ReadOnly;
        }
        self.behind = Behind::Database(database);
        Ok(())
    }

    pub(crate) fn host(&self) -> &'static Host {
        self.host
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// SQLite tells whose file this is. It does so again when it lets another connection use the same file; what it tells
    /// then is not that one's address.
    pub(crate) fn belongs_to(&mut self, db: *mut abi::Sqlite3) {
        if self.is_owned {
            self.is_shared = true;
            self.connection.is_shared();
            return;
        }
        self.is_owned = true;
        self.connection = self.connection.clone().known_as(db);
        if let (Some(timeout), None) = (self.parameters.timeout, self.connection.timeout()) {
            self.connection.set_timeout(timeout);
        }
    }

    /// It turns out to be its connection's main database.
    pub(crate) fn is_main(&mut self) {
        self.is_main = true;
        if let Some(why) = &self.only_read {
            self.connection.only_reads_main(why.clone());
        }
    }

    /// Whether SQLite may be let write.
    pub(crate) fn may_write(&self) -> bool {
        self.access != Access::ReadOnly
    }

    /// Whether the database is there. If not, the first use makes it.
    pub(crate) fn is_opened(&self) -> bool {
        matches!(self.behind, Behind::Database(_))
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The application sets the size of SQLite's cache for this file.
    pub(crate) fn sets_cache(&self) {
        if self.is_main {
            self.connection.sets_cache();
        }
    }

    /// What it needs to become a plain file, if it may; it may no longer.
    pub(crate) fn take_unnamed(&mut self) -> Option<Unnamed> {
        self.unnamed.take()
    }

    /// SQLite tells where it keeps its busy handler.
    pub(crate) fn has_busy_handler(&mut self, handler: *mut c_void) {
        if let Some(unnamed) = &mut self.unnamed {
            unnamed.busy_handler = handler;
        }
    }

    /// It cannot be used, for this reason.
    pub(crate) fn is_refused(&mut self, why: Failure) {
        self.behind = Behind::Refused(why);
    }

    /// Whether several connections use this file.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// This process's database; the first use adopts NAME, or makes it, and waits for others no longer than for the lease. After a fork the
    /// child is another process, with a database and a writer of its own; only a transaction that began in the parent goes on
    /// with what it stands on.
    fn database(&mut self) -> Result<Arc<Database>, Failure> {
        match &self.behind {
            Behind::Database(database) if self.forks == fork::count() => return Ok(database.clone()),
            Behind::Refused(why) => return Err(why.clone()),
            Behind::Database(_) => {}
            Behind::Later(_) => self.parameters.options.adoption_timeout = self.connection.patience(),
        }
        let mine = open_database(&self.host, &self.path, self.access, &self.parameters)?;
        if self.is_main && !self.is_opened() {
            self.connection.main_is_opened();
        }
        if matches!(self.holding, Holding::Nothing) {
            self.behind = Behind::Database(mine.clone());
            self.forks = fork::count();
        }
        Ok(mine)
    }

    /// The database that the transaction stands on.
    fn opened(&self) -> Result<&Arc<Database>, Failure> {
        match &self.behind {
            Behind::Database(database) => Ok(database),
            Behind::Refused(why) => Err(why.clone()),
            Behind::Later(_) => Err(never_unlocked(abi::IOERR)),
        }
    }

    /// The version that is read now, or would be if nobody were asked.
    pub(crate) fn version(&mut self) -> Result<Version, Failure> {
        self.database()?;
        Ok(self.snapshot()?.version())
    }

    /// The facts about the database.
    pub(crate) fn status(&mut self) -> Result<Status, Failure> {
        Ok(self.database()?.status()?)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        Ok(match &self.holding {
            Holding::Nothing => self.opened()?.newest_known(),
            Holding::Reading(snapshot) | Holding::Undoing(snapshot, _) => snapshot.clone(),
            Holding::Writing(writing) => writing.transaction().snapshot().clone(),
        })
    }

    /// Fills `into` from `offset` of the file. What lies beyond its end is zero, and `false` says so.
    pub(crate) fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<bool, Failure> {
        if matches!(self.holding, Holding::Nothing) {
            if let Behind::Later(beginning) = &self.behind {
                // As SQLite reads it when it opens a file, under no lock; under one it looks again.
                return Ok(show(beginning, offset, into));
            }
            self.database()?;
        }
        if (offset, into.len()) == LOOK_FOR_CHANGES {
            self.begins_without_unlocking();
        }
        if self.lock == Lock::Shared && (self.is_early || self.unconfirmed.is_some()) {
            let page_one = extent(&*self.snapshot()?).0.map_or(u64::MAX, |page_size| page_size.bytes() as u64);
            // To find out whether its cache is still right, SQLite reads nothing but page 1.
            if offset >= page_one {
                self.gives_up_early()?;
            }
        }
        let unlocked;
        let (snapshot, transaction) = match &self.holding {
            Holding::Nothing => {
                unlocked = self.snapshot()?;
                (&unlocked, None)
            }
            Holding::Reading(snapshot) | Holding::Undoing(snapshot, _) => (snapshot, None),
            Holding::Writing(writing) => (writing.transaction().snapshot(), Some(writing.transaction())),
        };
        let (page_size, page_count) = match transaction {
            Some(transaction) => (transaction.page_size(), transaction.page_count()),
            None => extent(snapshot),
        };
        let mut done = 0;
        // An empty database has no page size: then there is nothing to read.
        while let Some(page_size) = page_size.filter(|_| done < into.len()) {
            let (page, within) = page_size.place_of(offset + done as u64);
            let Some(page) = page.filter(|page| page.0 <= page_count) else { break };
            let length = (page_size.bytes() - within).min(into.len() - done);
            let content = match transaction {
                Some(transaction) => transaction.read_page(page),
                None => self.opened()?.read_page(snapshot, page),
            }?;
            into[done..done + length].copy_from_slice(&content[within..within + length]);
            done += length;
        }
        into[done..].fill(0);
        OurFields::at(snapshot.version()).put(&mut into[..done], offset);
        if (offset, into.len()) == LOOK_FOR_CHANGES && std::mem::take(&mut self.must_reread) {
            into.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(done == into.len())
    }

    /// SQLite looks whether its cache is still right, as it does when it takes a lock: so the transaction before is over, and
    /// it did not unlock. (Under locking_mode=EXCLUSIVE and journal_mode=OFF, set by way of a main that is not ours, it
    /// neither unlocks after a rollback nor plays one back.)
    fn begins_without_unlocking(&mut self) {
        if let Holding::Undoing(snapshot, _) = &self.holding {
            self.holding = Holding::Reading(snapshot.clone());
        } else if let Holding::Writing(writing) = &self.holding
            && writing.has_written()
        {
            self.holding = Holding::Reading(writing.transaction().snapshot().clone());
        }
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let outcome = match &mut self.holding {
            Holding::Undoing(_, header) => {
                if offset == 0 && bytes.len() >= HEADER {
                    *header = Some(Written::of(bytes));
                }
                return Ok(());
            }
            Holding::Writing(writing) => writing.write(offset, bytes),
            Holding::Nothing | Holding::Reading(_) => Err(never_unlocked(abi::IOERR_WRITE)),
        };
        outcome.map_err(|failure| {
            // The transaction is lost: whatever SQLite writes to undo it must not be published.
            if let Ok(snapshot) = self.snapshot() {
                self.holding = Holding::Undoing(snapshot, None);
            }
            failure.of_write()
        })
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if let Holding::Writing(writing) = &mut self.holding {
            writing.truncate(size);
        }
    }

    pub(crate) fn size(&mut self) -> Result<u64, Failure> {
        let (page_size, page_count) = match &self.holding {
            Holding::Nothing => extent(&self.database()?.newest_known()),
            Holding::Reading(snapshot) | Holding::Undoing(snapshot, _) => extent(snapshot),
            Holding::Writing(writing) => (writing.transaction().page_size(), writing.transaction().page_count()),
        };
        Ok(page_size.map_or(0, |page_size| u64::from(page_count) * page_size.bytes() as u64))
    }

    /// The file, which SQLite knows as `file`, is to be synced: this is the commit, and its result is what COMMIT says.
    ///
    /// A rollback that plays its journal back ends in a sync as well, and so does the undoing of a commit that failed; what
    /// SQLite has counted tells which it is ([`Synced`]). Whatever the outcome, a plain BUSY is never among them: SQLite
    /// would keep the transaction open and take a second COMMIT, of nothing, for a success.
    ///
    /// # Safety
    /// SQLite calls, on `file`, which is ours.
    pub(crate) unsafe fn sync(&mut self, file: *mut abi::File) -> Result<(), Failure> {
        let snapshot = self.snapshot()?;
        let synced = |header| Synced::after(header, snapshot.version(), snapshot.page_count());
        match std::mem::replace(&mut self.holding, Holding::Reading(snapshot.clone())) {
            Holding::Writing(writing) => {
                let committed = match synced(writing.header()) {
                    Synced::Rollback => return Ok(()),
                    // SAFETY: the caller's.
                    Synced::Commit(header) => unsafe { self.commit(file, writing, header) },
                    Synced::Neither { shown, written } => Err(Failure::refusal(
                        abi::IOERR,
                        format!(
                            "SQLite has counted from {shown} to {written}, which is neither a commit nor a rollback. Nothing was \
                             written; please report this"
                        ),
                    )),
                };
                committed.inspect_err(|_| self.holding = Holding::Undoing(snapshot, None))
            }
            Holding::Undoing(_, header) if synced(header) == Synced::Rollback => Ok(()),
            _ => Err(never_unlocked(abi::IOERR)),
        }
    }

    /// # Safety
    /// As for [`MainFile::sync`].
    unsafe fn commit(
        &mut self,
        file: *mut abi::File,
        mut writing: Box<Writing>,
        header: Written,
    ) -> Result<(), Failure> {
        if writing.only_switches_to_wal()? {
            return Err(Failure::refusal(
                abi::IOERR,
                "this would switch the database to WAL mode, in which machines cannot share it. Nothing was written; \
                 set PRAGMA <schema>.journal_mode=MEMORY, and name the schema when you set it for another one",
            ));
        }
        self.check_process()?;
        // SAFETY: the caller's.
        unsafe { self.check_participants(file, When::Synced) }?;
        let snapshot = writing.commit().map_err(|error| Failure::from(error).of_commit())?;
        self.unconfirmed = None;
        self.holding = Holding::Reading(snapshot);
        self.must_reread = !header.rollback_journal;
        Ok(())
    }

    /// SQLite's commit is over. An error is told by COMMIT, and SQLite rolls back: so there may be one only where nothing
    /// was written, and what was read turns out to be stale.
    pub(crate) fn committed(&mut self) -> Result<(), Failure> {
        self.confirm()
    }
}

/// How SQLite looks whether anybody has committed: the part of the header with the change counter.
const LOOK_FOR_CHANGES: (u64, usize) = (24, 16);

/// Why a write or a sync is refused that belongs to a transaction which did not begin with a lock.
fn never_unlocked(code: c_int) -> Failure {
    Failure::refusal(
        code,
        "a write without a transaction: Seawall's databases need PRAGMA locking_mode=NORMAL, and another one was set by way of \
         a main database that is not Seawall's. Nothing was written; set PRAGMA <schema>.locking_mode=NORMAL, and read from it",
    )
}

impl Drop for MainFile {
    fn drop(&mut self) {
        self.unlock(Lock::None);
        if self.is_main {
            self.connection.main_closes();
        }
        if let Behind::Database(database) = &self.behind {
            database.connection_closed();
        }
    }
}

/// Page size and page count.
fn extent(snapshot: &Snapshot) -> (Option<PageSize>, u32) {
    (snapshot.page_size(), snapshot.page_count())
}

fn open_database(
    plain: &dyn PlainSqlite,
    path: &Path,
    access: Access,
    parameters: &Parameters,
) -> Result<Arc<Database>, Failure> {
    let database = Database::open(path, access, &parameters.options, plain)?;
    if parameters.freshness == Freshness::Request {
        database.expect_requests();
    }
    Ok(database)
}

/// Fills `into` from `offset` of a file that is no longer than `beginning`. What lies beyond its end is zero, and `false` says so.
fn show(beginning: &[u8], offset: u64, into: &mut [u8]) -> bool {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(beginning.len());
    let shown = &beginning[from..(from + into.len()).min(beginning.len())];
    into[..shown.len()].copy_from_slice(shown);
    into[shown.len()..].fill(0);
    shown.len() == into.len()
}
