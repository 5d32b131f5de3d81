//! One thread's transactions. Each is compared with the oracle, step by step.

mod commit;
mod upkeep;

pub(crate) use upkeep::collects_since;

use crate::actor::needs_recovery;
use crate::content::{PAGE, image, sum_of};
use crate::event::Event;
use crate::moving::{check_says_elsewhere, says_elsewhere};
use crate::place::At;
use crate::process::ProcessId;
use crate::world::World;
use seawall::{
    Database, Error, ErrorKind, Freshness, Moment, PageNo, PageSize, PageSource, Route, Snapshot, Transaction,
};
use std::sync::Arc;
use std::time::Duration;

/// Commits have pages of this many bytes now and then, instead of [`PAGE`].
const LARGER_PAGES: [u32; 2] = [1024, 2048];

/// A thread that transacts.
pub(crate) struct Actor<'a> {
    world: &'a World,
    database: &'a Arc<Database>,
    process: ProcessId,
    /// When a web request began, by its process's clocks and by the true time.
    request: Option<(Moment, Duration)>,
    expects_refusal: bool,
    last_error: String,
    /// The database was moved, or got a new id.
    is_left_behind: bool,
    /// When its last transaction began.
    began: Duration,
}

/// When a transaction began, and the version that it must see at least.
#[derive(Clone, Copy)]
struct Begun {
    at: Duration,
    least: u64,
    why: &'static str,
    is_after_disaster: bool,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(world: &'a World, database: &'a Arc<Database>) -> Actor<'a> {
        let process = world.my_process();
        let (began, last_error) = (world.now(), String::new());
        Actor {
            world,
            database,
            process,
            request: None,
            expects_refusal: false,
            last_error,
            is_left_behind: false,
            began,
        }
    }

    /// It has another process's database. Its write must be refused.
    pub(crate) fn expects_refusal(&mut self) {
        self.expects_refusal = true;
    }

    /// Whether the database is not where it was opened.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.is_left_behind
    }

    pub(crate) fn last_error(&self) -> &str {
        &self.last_error
    }

    /// One transaction of any kind.
    pub(crate) fn transact(&mut self) {
        if self.world.by_chance(self.world.plan().upkeep) {
            return self.upkeep();
        }
        match self.world.pick(0..=9) {
            0..=3 => drop(self.write()),
            4 => self.upgrade(),
            5 => self.read_for_long(),
            6 => self.request(),
            _ => drop(self.read()),
        }
    }

    /// A web request, which may ask for the lease before its transaction begins.
    fn request(&mut self) {
        let route = self.world.by_chance(0.5).then(|| Route::named("POST /"));
        if let Some(route) = route {
            self.database.route_wrote(route);
        }
        let (began, asks) = self.database.request_begins(route);
        self.request = Some((began, self.world.now()));
        self.read_as(Freshness::Transaction);
        if asks && self.world.by_chance(0.7) && self.write() {
            self.world.met(Event::AskedAhead);
        }
        self.database.request_ends();
    }

    fn begun(&mut self) -> Begun {
        self.began = self.world.now();
        let least = self.world.oracle().floor();
        let is_after_disaster = self.world.is_struck();
        Begun { at: self.world.now(), least, why: "strict", is_after_disaster }
    }

    /// Reads at some freshness. Returns whether that succeeded.
    pub(crate) fn read(&mut self) -> bool {
        if self.world.is_calm() {
            return self.read_as(Freshness::Transaction);
        }
        let freshness = match (self.world.pick(0..=3), self.request) {
            (0, Some((moment, _))) => Freshness::Since(moment),
            (1, _) => Freshness::Seconds(self.world.between(Duration::from_millis(1), Duration::from_secs(60))),
            _ => Freshness::Transaction,
        };
        self.read_as(freshness)
    }

    fn read_as(&mut self, freshness: Freshness) -> bool {
        let begun = self.expected(freshness);
        let Some(snapshot) = self.snapshot(freshness, begun) else { return false };
        let read = self.read_pages(&snapshot, self.world.by_chance(0.1));
        if self.world.any_writer_is_at_work() {
            self.world.met(Event::ReadPastWriter);
        }
        self.over(&snapshot);
        read
    }

    fn expected(&mut self, freshness: Freshness) -> Begun {
        let begun = self.begun();
        let oracle = self.world.oracle();
        let (seen, troubled, slow) = self.world.with_process(self.process, |process| {
            (process.seen, process.clock_troubled, process.true_time(Duration::from_secs(1)))
        });
        match (freshness, self.request) {
            (Freshness::Since(_), Some((_, at))) => {
                Begun { least: oracle.floor_at(at).max(seen), why: "since the request began", ..begun }
            }
            (Freshness::Seconds(seconds), _) if !troubled => {
                let since = begun.at.saturating_sub(seconds.mul_f64(slow.as_secs_f64()));
                Begun { least: oracle.floor_at(since).max(seen), why: "within seconds", ..begun }
            }
            (Freshness::Seconds(_), _) => Begun { least: seen, why: "monotonic", ..begun },
            _ => begun,
        }
    }

    fn snapshot(&mut self, freshness: Freshness, begun: Begun) -> Option<Arc<Snapshot>> {
        match self.database.snapshot(freshness) {
            Ok(snapshot) => {
                self.world.tell(|| format!("reads version {}", snapshot.version().0));
                if begun.is_after_disaster && freshness == Freshness::Transaction {
                    self.world.violation(|| "a strict read went well after a disaster".into());
                }
                self.sees(&snapshot, begun);
                Some(snapshot)
            }
            Err(error) => {
                self.failed(&error, "a read");
                None
            }
        }
    }

    /// A transaction got a snapshot. That settles this process's earlier unknown outcomes, and the version must be new
    /// enough.
    fn sees(&self, snapshot: &Snapshot, begun: Begun) {
        let failed_appends = self.failed_appends();
        let mut oracle = self.world.oracle();
        let settled = oracle.settled(self.process, begun.at, failed_appends);
        // What a recovery has left out can still be read by who is content with what is some seconds old.
        let is_dropped = oracle.is_dropped(&snapshot.head().commit());
        // What was known before a recovery can be what that has left out.
        // Others may have committed since, so that its number says nothing; it is in no floor of the time after.
        let recovered = oracle.was_recovered_before(Duration::MAX);
        let floor = if recovered { oracle.floor_at(begun.at) } else { oracle.floor() };
        let least = if oracle.was_recovered_since(begun.at) { 0 } else { begun.least.min(floor) };
        let checked = match is_dropped && !(begun.why == "strict" && oracle.was_recovered_before(begun.at)) {
            true => Ok(()),
            false => oracle.check_version(snapshot, least, begun.why),
        };
        drop(oracle);
        self.meets_epoch(snapshot);
        let is_settled = !settled.is_empty();
        settled.into_iter().for_each(|event| self.world.met(event));
        self.world.check(checked);
        if is_settled {
            self.world.check_recovery();
        }
    }

    /// Whether this process has gone on from before a recovery.
    fn meets_epoch(&self, snapshot: &Snapshot) {
        let epoch = snapshot.head().epoch.0;
        let before = self.world.with_process(self.process, |process| {
            let before = process.epoch.replace(epoch);
            process.seen = if before.is_some_and(|before| before < epoch) { 0 } else { process.seen };
            before
        });
        if before.is_some_and(|before| before < epoch) {
            self.world.met(Event::OlderEpoch);
        }
    }

    /// How many of this process's appends have failed so far.
    fn failed_appends(&self) -> u32 {
        self.world.with_process(self.process, |process| process.failed_appends)
    }

    /// A read ended. A transaction that begins now must not see an older version.
    fn over(&self, snapshot: &Snapshot) {
        if self.world.oracle().is_dropped(&snapshot.head().commit()) {
            return;
        }
        let (version, now) = (snapshot.version(), self.world.now());
        self.world.with_process(self.process, |process| process.seen = process.seen.max(version.0));
        self.world.oracle().was_read(version, now);
    }

    /// Reads some pages, or all. Returns whether that succeeded. The page map says which version wrote each.
    /// (Invariants 4, 8.)
    fn read_pages(&mut self, snapshot: &Snapshot, all: bool) -> bool {
        let count = snapshot.page_count();
        if count == 0 {
            return true;
        }
        let some = 1 + self.world.pick(0..=3);
        let pages: Vec<u32> = match all {
            true => (1..=count).collect(),
            false => (0..some).map(|_| self.world.pick(1..=count.into()) as u32).collect(),
        };
        for page in pages {
            let source = snapshot.source_of(PageNo(page));
            if self.world.oracle().is_dropped(&snapshot.head().commit()) {
                return true;
            }
            let written = self.world.oracle().written(snapshot.version(), page).map(|(version, _)| version);
            let (base, folded) = (snapshot.head().base.map(|base| base.name.version.0), snapshot.head().folded().0);
            let placed = self.world.oracle().placed(snapshot.head().folded(), page);
            let is_right = match source {
                Some(PageSource::Window(at)) => written == Some(folded + 1 + at as u64),
                _ if written > Some(folded) => false,
                Some(PageSource::Segment(entry)) => placed == Some(entry.version().0) && placed > base,
                Some(PageSource::Base(_)) => written.is_some() && placed <= base,
                None => written.is_none(),
            };
            if !is_right {
                let version = snapshot.version().0;
                self.world.violation(|| {
                    format!(
                        "the map of version {version} has {source:?} for page {page}, and version {written:?} wrote it"
                    )
                });
            }
            match self.database.read_page(snapshot, PageNo(page)) {
                // A recovery has left it out meanwhile.
                Ok(_) if self.world.oracle().is_dropped(&snapshot.head().commit()) => {}
                Ok(image) => {
                    self.world.check(self.world.oracle().check_page(snapshot.version(), page, sum_of(page, &image)))
                }
                Err(error) => {
                    self.failed(&error, "reading a page");
                    return false;
                }
            }
        }
        true
    }

    fn read_for_long(&mut self) {
        let begun = self.begun();
        let Some(snapshot) = self.snapshot(Freshness::Transaction, begun) else { return };
        // Sometimes for longer than history.
        let longest = if self.world.by_chance(0.2) { self.world.plan().retention * 3 } else { Duration::from_secs(5) };
        // What it has read once, it finds in the page cache later.
        if self.world.by_chance(0.3) {
            self.world.sleep(self.world.between(Duration::from_millis(1), longest));
        }
        for _ in 0..3 {
            if !self.read_pages(&snapshot, false) {
                return;
            }
            self.world.sleep(self.world.between(Duration::from_millis(1), longest));
        }
        if self.world.oracle().newest() > Some(snapshot.version()) {
            self.world.met(Event::LongRead);
        }
    }

    /// Writes. Returns whether the commit was acknowledged.
    pub(crate) fn write(&mut self) -> bool {
        let begun = self.begun();
        let timeout = self.timeout();
        match self.database.begin(timeout) {
            Ok(transaction) => {
                if self.expects_refusal {
                    self.world.violation(|| "a child writes with its parent's memory".into());
                }
                if self.world.by_chance(0.15) && !self.world.is_calm() {
                    return self.only_read(&transaction, begun);
                }
                // Its reads are certain once it has committed, because its version then follows the one that it read.
                // It may begin without a look only under a lease that an earlier commit made known. Otherwise it would
                // often be refused after it was advised to try again.
                let is_known = self
                    .world
                    .with_process(self.process, |process| process.is_lease_known || process.opened_at == At::Table);
                let is_kept = transaction.unconfirmed().is_some();
                if is_kept && !is_known {
                    self.world.met(Event::KeptUnknown);
                }
                let least = if is_kept && is_known { 0 } else { begun.least };
                self.sees(transaction.snapshot(), Begun { least, ..begun });
                self.fill(transaction)
            }
            Err(error) => {
                if !(self.expects_refusal && matches!(error.kind(), ErrorKind::CannotOpen | ErrorKind::NeedsRecovery)) {
                    self.failed(&error, "a begin");
                }
                false
            }
        }
    }

    /// Reads every page of the newest version. Returns whether that succeeded.
    pub(crate) fn read_all(&mut self) -> bool {
        let begun = self.begun();
        let Some(snapshot) = self.snapshot(Freshness::Transaction, begun) else { return false };
        let read = self.read_pages(&snapshot, true);
        self.over(&snapshot);
        read
    }

    /// Commits when nothing else happens. That costs one append and the coordinator's trips of the design's budget.
    pub(crate) fn write_at_its_price(&mut self) {
        // The first append makes the segment, and the turn before has ended after this sleep.
        self.world.sleep(Duration::from_secs(5));
        let before = self.database.counts();
        let number = self.world.next_transaction();
        let committed = self.database.begin(Duration::from_secs(30)).and_then(|mut transaction| {
            let size = page_size(&transaction);
            transaction.write_page(size, PageNo(1), &image(self.world, number, 1, size, size))?;
            transaction.commit(transaction.page_count())
        });
        let cost = self.database.counts() - before;
        let trips = if self.world.is_on_table() { 2 } else { 3 + u64::from(self.world.plan().short_records) };
        // On `fs` a commit that rides in the head is one name, and nothing else.
        let is_fold = committed.as_ref().is_ok_and(|committed| committed.head().window.entries().is_empty());
        let appends = u32::from(is_fold || self.world.is_on_table());
        if committed.is_err() || cost.appends != appends.into() || cost.coordinator > trips {
            self.world.violation(|| {
                format!("a write costs {cost:?}, and the budget is {appends} appends and {trips} trips: {committed:?}")
            });
        }
    }

    /// A write transaction that writes nothing.
    fn only_read(&mut self, transaction: &Transaction, begun: Begun) -> bool {
        let snapshot = transaction.snapshot();
        if !self.read_pages(snapshot, false) {
            return false;
        }
        let confirmed = transaction.unconfirmed().map_or(Ok(()), |began| self.database.confirm(snapshot, began));
        match confirmed {
            Ok(()) => self.sees(snapshot, begun),
            Err(error) => self.failed(&error, "a confirmation"),
        }
        false
    }

    fn upgrade(&mut self) {
        let begun = self.begun();
        let Some(snapshot) = self.snapshot(Freshness::Transaction, begun) else { return };
        if !self.read_pages(&snapshot, false) {
            return;
        }
        if self.world.by_chance(0.3) {
            self.world.sleep(self.world.between(Duration::from_millis(1), Duration::from_secs(1)));
        }
        let timeout = self.timeout();
        match self.database.upgrade(&snapshot, timeout) {
            Ok(transaction) => {
                // No other commit may come between what it read and what it writes.
                if transaction.snapshot().version() != snapshot.version() {
                    self.world.violation(|| "a transaction read one version and writes over another".into());
                }
                self.world.met(Event::Upgraded);
                self.fill(transaction);
            }
            Err(error) => self.failed(&error, "an upgrade"),
        }
    }

    fn timeout(&self) -> Duration {
        if self.world.is_calm() {
            return Duration::from_secs(30);
        }
        self.world.between(Duration::from_millis(50), Duration::from_secs(30))
    }

    /// Checks that this run's faults can cause the failure.
    fn failed(&mut self, error: &Error, what: &str) {
        let (world, plan) = (self.world, self.world.plan());
        self.last_error = error.to_string();
        if says_elsewhere(error) {
            self.is_left_behind = true;
            return check_says_elsewhere(world, error, self.began);
        }
        let (event, may_be) = match error.kind() {
            ErrorKind::Busy => (Some(Event::Busy), true),
            // Or its folder is gone already.
            _ if world.oracle().is_detached() => (Some(Event::DetachSeen), true),
            ErrorKind::StaleSnapshot => (Some(Event::Stale), matches!(what, "an upgrade" | "a confirmation")),
            ErrorKind::Superseded => (
                Some(Event::Superseded),
                matches!(what, "a commit" | "a checkpoint" | "a garbage collection" | "reading a page of its own"),
            ),
            ErrorKind::OutcomeUnknown => (None, true),
            ErrorKind::Unreachable => {
                let may_be = plan.file_faults > 0.0 || plan.uses_table() || world.was_in_danger(self.began);
                (Some(Event::Unreachable), may_be)
            }
            ErrorKind::Full => (Some(Event::DiskFull), plan.file_faults > 0.0),
            ErrorKind::Io => (Some(Event::InputOutput), plan.file_faults > 0.0 || world.was_in_danger(self.began)),
            ErrorKind::CannotOpen | ErrorKind::NeedsRecovery if world.is_struck() => (None, true),
            _ if needs_recovery(error) && world.was_in_danger(self.began) => (None, true),
            // What is in a segment that was lost cannot be read, though newer versions can.
            ErrorKind::Corrupt => (None, world.oracle().was_damaged()),
            ErrorKind::SnapshotTooOld => (Some(Event::TooOld), self.is_too_old(error)),
            _ => (None, false),
        };
        event.into_iter().for_each(|event| world.met(event));
        if !may_be {
            world.violation(|| format!("{what} failed, and no fault of this run can cause that: {error}"));
        }
    }
}

/// The page size of `transaction`.
fn page_size(transaction: &Transaction) -> PageSize {
    transaction.page_size().unwrap_or(PageSize::new(PAGE as u32).expect("a page size"))
}
