//! One database file as SQLite drives it: locks begin and end transactions, reads and writes go to a snapshot or
//! an overlay, and a single call, the sync of the database file, commits.
//!
//! The order of SQLite's calls, and what each return code makes of a transaction, was measured, on several versions.
//! Each rule below that looks arbitrary comes from there.

use crate::abi;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::fork;
use crate::header::OurFields;
use crate::host::Host;
use crate::parameters::{Freshness, Parameters};
use crate::process;
use crate::writing::{Writing, page_at};
use seawall::{Access, Database, ErrorKind, Moment, PageSize, Snapshot, Version};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// SQLite's lock levels. (PENDING is never asked for.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    None,
    Shared,
    Reserved,
    Exclusive,
}

/// An open database file of one connection.
pub(crate) struct MainFile {
    host: &'static Host,
    path: PathBuf,
    access: Access,
    parameters: Parameters,
    database: Arc<Database>,
    /// When it was opened, counted in forks.
    forks: u32,
    connection: Arc<Connection>,
    lock: Lock,
    holding: Holding,
    /// Why the lease was not had together with the snapshot; told if the statement turns out to need it.
    refused: Option<Failure>,
    /// When a write transaction began for which nobody was asked: until it has committed, what it read is not certain.
    unconfirmed: Option<Moment>,
    /// The commits that SQLite counted, and that changed nothing, so that none was published.
    unpublished: u32,
}

/// What the file's transaction, if any, stands on.
enum Holding {
    /// No transaction. SQLite still reads the header when it opens the file.
    Nothing,
    /// A read transaction; also a write transaction from its outcome until SQLite has cleaned up.
    Reading(Arc<Snapshot>),
    /// A write transaction, with the lease.
    Writing(Box<Writing>),
    /// The outcome of a commit is decided, published or not. SQLite may go on writing: pages of a rollback, the
    /// truncation that follows a VACUUM. None of it counts any more, and nothing may be published again.
    Concluded(Arc<Snapshot>),
}

impl MainFile {
    pub(crate) fn open(
        host: &'static Host,
        path: &Path,
        access: Access,
        parameters: Parameters,
    ) -> Result<MainFile, Failure> {
        // ATTACH and VACUUM INTO come here too, with the VFS of their connection: a file becomes a Seawall
        // database only for somebody who said so.
        if !parameters.names_vfs && !has_folder(path) {
            return Err(Failure::refusal(
                abi::CANTOPEN,
                format!(
                    "{0} is not a Seawall database, and it becomes one only if that is asked for by name: \
                     'file:{0}?vfs=seawall'. To attach or write a plain SQLite file: 'file:{0}?vfs=unix'. Nothing was \
                     opened",
                    path.display()
                ),
            ));
        }
        let forks = fork::count();
        let database = open_database(host, path, access, &parameters)?;
        let connection = Connection::unknown(host);
        Ok(MainFile {
            host,
            path: path.to_owned(),
            access,
            parameters,
            database,
            forks,
            connection,
            lock: Lock::None,
            holding: Holding::Nothing,
            refused: None,
            unconfirmed: None,
            unpublished: 0,
        })
    }

    pub(crate) fn host(&self) -> &'static Host {
        self.host
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// SQLite tells whose file this is.
    pub(crate) fn belongs_to(&mut self, db: *mut abi::Sqlite3) {
        self.connection = self.connection.clone().known_as(db);
        if let (Some(timeout), None) = (self.parameters.timeout, self.connection.timeout()) {
            self.connection.set_timeout(timeout);
        }
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The version that is read now, or would be if nobody were asked.
    pub(crate) fn version(&self) -> Version {
        self.snapshot().version()
    }

    pub(crate) fn lock(&mut self, wanted: Lock) -> Result<(), Failure> {
        if self.lock == Lock::None && wanted >= Lock::Shared {
            self.begin_reading()?;
            self.lock = Lock::Shared;
        }
        if self.lock < Lock::Reserved && wanted >= Lock::Reserved {
            self.begin_writing()?;
            self.lock = Lock::Reserved;
        }
        if self.lock < Lock::Exclusive && wanted == Lock::Exclusive {
            self.connection.count_committing(true);
            self.lock = Lock::Exclusive;
        }
        Ok(())
    }

    fn begin_reading(&mut self) -> Result<(), Failure> {
        if self.forks != fork::count() {
            // The child is another process, with a database and a writer of its own.
            self.database = open_database(self.host, &self.path, self.access, &self.parameters)?;
            self.forks = fork::count();
        }
        if self.connection.is_opening() {
            self.holding = Holding::Reading(self.database.newest_known());
            return Ok(());
        }
        self.refused = None;
        let began = self.database.now();
        if self.connection.takes_lease() && !matches!(self.access, Access::ReadOnly) {
            match self.database.begin(self.connection.patience()) {
                Ok(transaction) => {
                    self.connection.waited();
                    self.unconfirmed = transaction.unconfirmed();
                    self.holding = Holding::Writing(Box::new(Writing::new(transaction)));
                    return Ok(());
                }
                // It may turn out to write a temporary table only: so it gets its snapshot, and the refusal waits.
                Err(error) if may_still_read(error.kind()) => self.refused = Some(error.into()),
                Err(error) => return Err(self.blocked(error.into())),
            }
        }
        let freshness = self.freshness(began);
        let snapshot = match self.connection.timeout() {
            Some(timeout) => self.database.snapshot_within(freshness, timeout),
            None => self.database.snapshot(freshness),
        };
        self.holding = Holding::Reading(snapshot.map_err(|error| self.blocked(error.into()))?);
        Ok(())
    }

    fn begin_writing(&mut self) -> Result<(), Failure> {
        let Holding::Reading(snapshot) = &self.holding else { return Ok(()) };
        if let Some(failure) = self.refused.take() {
            return Err(self.blocked(failure));
        }
        self.check_process()?;
        match self.database.upgrade(snapshot, self.connection.patience()) {
            Ok(transaction) => {
                self.connection.waited();
                self.holding = Holding::Writing(Box::new(Writing::new(transaction)));
                Ok(())
            }
            Err(error) => Err(self.blocked(error.into())),
        }
    }

    /// A transaction belongs to the process that began it: parent and child must not write as one.
    fn check_process(&self) -> Result<(), Failure> {
        if self.database.is_current() {
            return Ok(());
        }
        let text =
            "this process was forked inside the transaction, which is its parent's. Nothing was written; roll back";
        Err(Failure::refusal(abi::IOERR, text))
    }

    /// Before a lock call fails: if SQLite may try again, it will come with a new snapshot, and is to have the
    /// lease with that.
    fn blocked(&self, failure: Failure) -> Failure {
        if failure.is_busy() {
            self.connection.want_lease();
            self.connection.refuses();
        } else {
            self.connection.waited();
        }
        failure
    }

    /// For a transaction that began then. A lease that was asked for since, and refused, told the head by the way.
    fn freshness(&self, began: Moment) -> seawall::Freshness {
        match self.parameters.freshness {
            Freshness::Transaction => seawall::Freshness::Since(began),
            Freshness::Request => match process::request() {
                Some(began) => seawall::Freshness::Request { began, age: self.parameters.request_age },
                None => seawall::Freshness::Since(began),
            },
            Freshness::Seconds(age) => seawall::Freshness::Seconds(age),
        }
    }

    /// Ends what the lock level above `kept` was for; it cannot fail, and commits nothing.
    pub(crate) fn unlock(&mut self, kept: Lock) {
        if self.lock == Lock::Exclusive && kept < Lock::Exclusive {
            self.connection.count_committing(false);
        }
        if kept < Lock::Reserved {
            self.unconfirmed = None;
        }
        self.lock = self.lock.min(kept);
        match kept {
            Lock::None => self.holding = Holding::Nothing,
            // The transaction, its overlay and its lease go; whoever else reads on this connection goes on.
            Lock::Shared => self.holding = Holding::Reading(self.snapshot()),
            Lock::Reserved | Lock::Exclusive => {}
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        match &self.holding {
            Holding::Nothing => self.database.newest_known(),
            Holding::Reading(snapshot) | Holding::Concluded(snapshot) => snapshot.clone(),
            Holding::Writing(writing) => writing.transaction().snapshot().clone(),
        }
    }

    /// Fills `into` from `offset` of the file. What lies beyond its end is zero, and `false` says so.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<bool, Failure> {
        let unlocked;
        let (snapshot, transaction) = match &self.holding {
            Holding::Nothing => {
                unlocked = self.database.newest_known();
                (&unlocked, None)
            }
            Holding::Reading(snapshot) | Holding::Concluded(snapshot) => (snapshot, None),
            Holding::Writing(writing) => (writing.transaction().snapshot(), Some(writing.transaction())),
        };
        let (page_size, page_count) = match transaction {
            Some(transaction) => (transaction.page_size(), transaction.page_count()),
            None => extent(snapshot),
        };
        let mut done = 0;
        // An empty database has no page size: then there is nothing to read.
        while let Some(page_size) = page_size.filter(|_| done < into.len()) {
            let place = offset + done as u64;
            let Some(page) = page_at(place, page_size).filter(|page| page.0 <= page_count) else { break };
            let within = (place - page_size.offset_of(page)) as usize;
            let length = (page_size.bytes() - within).min(into.len() - done);
            let content = match transaction {
                Some(transaction) => transaction.read_page(page),
                None => self.database.read_page(snapshot, page),
            }?;
            into[done..done + length].copy_from_slice(&content[within..within + length]);
            done += length;
        }
        into[done..].fill(0);
        OurFields::counted(snapshot.version(), self.unpublished).put(&mut into[..done], offset);
        Ok(done == into.len())
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let outcome = match &mut self.holding {
            Holding::Concluded(_) => return Ok(()),
            Holding::Writing(writing) => writing.write(&self.database, offset, bytes),
            // A connection under locking_mode=EXCLUSIVE never unlocks; set where the VFS did not hear of it.
            Holding::Nothing | Holding::Reading(_) => Err(Failure::refusal(
                abi::IOERR_WRITE,
                "a write without a transaction: Seawall's databases need PRAGMA locking_mode=NORMAL. Nothing was \
                 written",
            )),
        };
        outcome.map_err(|failure| {
            // The transaction is lost: whatever SQLite writes to undo it must not be published.
            self.holding = Holding::Concluded(self.snapshot());
            failure.of_write()
        })
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if let Holding::Writing(writing) = &mut self.holding {
            writing.truncate(size);
        }
    }

    pub(crate) fn size(&self) -> u64 {
        let (page_size, page_count) = match &self.holding {
            Holding::Nothing => extent(&self.database.newest_known()),
            Holding::Reading(snapshot) | Holding::Concluded(snapshot) => extent(snapshot),
            Holding::Writing(writing) => (writing.transaction().page_size(), writing.transaction().page_count()),
        };
        page_size.map_or(0, |page_size| u64::from(page_count) * page_size.bytes() as u64)
    }

    /// The file is to be synced: this is the commit, and its result is what COMMIT says.
    ///
    /// A rollback that plays its journal back ends in a sync as well: with the content of the snapshot, so that
    /// nothing is published. Whatever the outcome, a plain BUSY is never among them: SQLite would keep the
    /// transaction open and take a second COMMIT, of nothing, for a success.
    pub(crate) fn sync(&mut self, has_super_journal: bool) -> Result<(), Failure> {
        let concluded = Holding::Concluded(self.snapshot());
        let Holding::Writing(mut writing) = std::mem::replace(&mut self.holding, concluded) else {
            return Ok(());
        };
        if writing.switches_to_wal() {
            return Err(Failure::refusal(
                abi::IOERR,
                "this would switch the database to WAL mode, in which machines cannot share it. Nothing was written; \
                 leave journal_mode alone, and take a backup from a database that is not in WAL mode",
            ));
        }
        if !writing.differs()? {
            // SQLite keeps its cache under its own count from now on. The next version, somebody else's, must have another one.
            self.unpublished = writing.counted_beyond().unwrap_or(self.unpublished);
            return Ok(());
        }
        self.check_process()?;
        if has_super_journal || self.connection.commits_several() {
            return Err(Failure::refusal(
                abi::IOERR_COMMIT_ATOMIC,
                "a transaction may write one Seawall database, not several: each commits on its own, and they could \
                 not be committed together. Nothing was written to any of them; use a transaction for each (a \
                 BEGIN IMMEDIATE counts as writing every attached database)",
            ));
        }
        let snapshot = writing.commit().map_err(|error| Failure::from(error).of_commit())?;
        self.unconfirmed = None;
        self.holding = Holding::Concluded(snapshot);
        Ok(())
    }

    /// SQLite's commit is over. What it writes from here on, without having unlocked, is another transaction. An error is told by COMMIT,
    /// and SQLite rolls back: so there may be one only where nothing was written, and what was read turns out to be stale.
    pub(crate) fn committed(&mut self) -> Result<(), Failure> {
        if let Some(began) = self.unconfirmed.take() {
            let confirmed = self.database.confirm(&self.snapshot(), began);
            confirmed.map_err(|error| Failure::from(error).of_commit())?;
        }
        if let Holding::Concluded(snapshot) = &self.holding {
            self.holding = Holding::Reading(snapshot.clone());
        }
        Ok(())
    }
}

impl Drop for MainFile {
    fn drop(&mut self) {
        self.unlock(Lock::None);
        self.database.connection_closed();
    }
}

/// Page size and page count.
fn extent(snapshot: &Snapshot) -> (Option<PageSize>, u32) {
    (snapshot.page_size(), snapshot.page_count())
}

fn open_database(
    host: &'static Host,
    path: &Path,
    access: Access,
    parameters: &Parameters,
) -> Result<Arc<Database>, Failure> {
    let database = Database::open(path, access, &parameters.options, &host)?;
    if parameters.freshness == Freshness::Request {
        database.expect_requests();
    }
    Ok(database)
}

/// Whether NAME has a Seawall folder: then it is a Seawall database, or was one.
fn has_folder(path: &Path) -> bool {
    let mut folder = path.as_os_str().to_owned();
    folder.push("-seawall");
    Path::new(&folder).is_dir()
}

/// Whether a transaction that was refused the lease for this reason can still be had for reading.
fn may_still_read(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Busy | ErrorKind::Permission | ErrorKind::ReadOnly)
}
