//! What one process keeps for one database: the [`Tip`] that it reads by, the [`Committer`] that it writes by, with its
//! chores.

mod upkeep;

use crate::chores::Chore;
use crate::error::{Error, Result};
use crate::format::ids::PageNo;
use crate::options::{Freshness, Options};
use crate::ports::counters::Counts;
use crate::ports::moment::Moment;
use crate::ports::storage::Stamp;
use crate::ports::sync::Mutex;
use crate::read::history::At;
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use crate::upkeep::background::Maintain;
use crate::write::ahead::Route;
use crate::write::committer::Committer;
use crate::write::settle::PATIENCE_LATER;
use crate::write::transaction::Transaction;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// One database, as this process knows it. There is one for each database and process; connections share it.
pub struct Database {
    pub(crate) name: PathBuf,
    pub(crate) options: Options,
    pub(crate) tip: Arc<Tip>,
    pub(crate) committer: Arc<Committer>,
    /// What NAME looked like when its mark was last seen; `None` before the second opening.
    pub(crate) name_stamp: Mutex<Option<Stamp>>,
    /// How many segments its first page map named.
    pub(crate) segments_at_first: usize,
    /// A connection wants its requests' freshness.
    expects_requests: AtomicBool,
}

/// The chores of upkeep. On AWS Lambda there are none: it freezes a process between requests.
fn upkeep_of(committer: &Weak<Committer>, options: &Options) -> Vec<Box<dyn Chore>> {
    let is_frozen_at_times = std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some();
    match options.upkeep && !is_frozen_at_times {
        true => vec![Box::new(Arc::new(Maintain::new(committer.clone())))],
        false => Vec::new(),
    }
}

impl Database {
    pub(crate) fn new(name: PathBuf, options: Options, tip: Tip) -> Arc<Database> {
        let tip = Arc::new(tip);
        Arc::new(Database {
            name,
            segments_at_first: tip.pages.segments.count(),
            committer: Committer::new(tip.clone(), &options, |committer| upkeep_of(committer, &options)),
            tip,
            options,
            name_stamp: Mutex::default(),
            expects_requests: AtomicBool::new(false),
        })
    }

    /// Whether this process is still the one that opened it: not after a fork.
    pub fn is_current(&self) -> bool {
        self.tip.is_current()
    }

    /// Whether this folder is a copy of the folder that the head belongs to. A copy can be read, and is never written.
    pub fn is_copy(&self) -> bool {
        self.tip.is_copy()
    }

    /// Fails if this folder is a copy ([`Database::is_copy`]): a copy that is written would share its head with the
    /// original.
    pub fn must_be_original(&self) -> Result<()> {
        self.tip.must_be_original()
    }

    /// Whether this process may write the database, as far as the kernel can tell that beforehand; the error says why
    /// it may not.
    pub fn may_write(&self) -> Result<()> {
        self.must_be_original()?;
        self.tip.storage.may_write().map_err(|error| Error::io("writing the database", error))
    }

    /// The newest snapshot that this process knows of, without asking the coordinator.
    pub fn newest_known(&self) -> Arc<Snapshot> {
        self.tip.known()
    }

    /// A snapshot that is as new as `freshness` demands. Asks the coordinator if it must; threads share loads. A failed
    /// refresh is an error, never a silent old read.
    pub fn snapshot(&self, freshness: Freshness) -> Result<Arc<Snapshot>> {
        self.snapshot_within(freshness, PATIENCE_LATER)
    }

    /// A snapshot, as for [`Database::snapshot`]. If the outcome of an earlier commit of this process is not known yet, this
    /// waits for it at most `timeout`, and then fails.
    pub fn snapshot_within(&self, freshness: Freshness, timeout: Duration) -> Result<Arc<Snapshot>> {
        self.committer.snapshot(freshness, timeout)
    }

    /// An older version, for reading. It costs a constant number of requests to the coordinator, and a number of reads that
    /// is logarithmic in the distance. A version that history does not reach is [`Error::BeforeHistory`].
    pub fn version_at(&self, at: At) -> Result<Arc<Snapshot>> {
        loop {
            let newest = self.snapshot(Freshness::Transaction)?;
            if let Some(placed) = self.tip.version_at(&newest, at)? {
                return Ok(placed);
            }
        }
    }

    /// Whether `snapshot` was the newest version at `since`, by the answer to a request that was sent since then. If
    /// not, what was read there must not be relied on: begin a new transaction.
    pub fn confirm(&self, snapshot: &Snapshot, since: Moment) -> Result<()> {
        let newest = self.snapshot(Freshness::Since(since))?;
        if newest.head.commit().is(&snapshot.head.commit()) {
            return Ok(());
        }
        Err(Error::StaleSnapshot { mine: snapshot.version(), newest: newest.version() })
    }

    /// Begins a write transaction on the newest version: waits for the turn and the lease, at most `timeout`.
    pub fn begin(&self, timeout: Duration) -> Result<Transaction> {
        self.committer.begin(timeout)
    }

    /// Lets a transaction write that has read `snapshot` so far. If that is not the newest version, it must start
    /// again: the lease waits for it a moment.
    pub fn upgrade(&self, snapshot: &Arc<Snapshot>, timeout: Duration) -> Result<Transaction> {
        self.committer.upgrade(snapshot, timeout)
    }

    /// The image of `page`, which `snapshot` has.
    pub fn read_page(&self, snapshot: &Snapshot, page: PageNo) -> Result<Page> {
        self.tip.read_page(snapshot, page)
    }

    /// Both clocks, as this database's storage has them.
    pub fn now(&self) -> Moment {
        self.tip.storage.now()
    }

    /// How many remote operations this process made for this database.
    pub fn counts(&self) -> Counts {
        self.tip.storage.counters().counts()
    }

    /// A connection of this database wants its requests' freshness: the beginning of a request asks for the head in the
    /// background.
    pub fn expect_requests(&self) {
        self.expects_requests.store(true, Ordering::Relaxed);
    }

    pub(crate) fn expects_requests(&self) -> bool {
        self.expects_requests.load(Ordering::Relaxed)
    }

    /// Stops the background thread for good: nothing is renewed or given back any more, as in a frozen process. For
    /// tests.
    #[cfg(feature = "testing")]
    pub fn stop_background(&self) {
        self.committer.chores.stop();
    }

    /// A request of `route` has written: its next one asks for the lease when it begins.
    pub fn route_wrote(&self, route: Route) {
        self.committer.writing_routes.wrote(route);
    }

    /// A request begins, as [`crate::begin_request`] says it to the databases of the process's list. For the simulator,
    /// whose databases are in none, and for tests. The answer is when, and whether the lease is asked for ahead.
    #[cfg(any(feature = "simulation", feature = "testing"))]
    pub fn request_begins(&self, route: Option<Route>) -> (Moment, bool) {
        let now = self.now();
        (now, self.committer.request_begins(now, route))
    }

    /// The process is frozen now, as [`crate::end_request`] says it on AWS Lambda. For tests.
    #[cfg(feature = "testing")]
    pub fn is_frozen_now(&self) {
        self.committer.end_ahead_now();
    }

    /// A request ends that has asked for the lease ahead of a writer.
    #[cfg(any(feature = "simulation", feature = "testing"))]
    pub fn request_ends(&self) {
        self.committer.end_ahead();
    }
}
