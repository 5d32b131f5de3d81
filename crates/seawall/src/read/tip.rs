//! The tip: what this process knows of the newest version, and how it asks for a newer one.

use crate::error::{Error, Result};
use crate::format::entry::PageEntry;
use crate::format::head::{Head, State};
use crate::format::identity::{self, Identity};
use crate::format::ids::{DatabaseId, PageNo, PageSize};
use crate::mutation::mistake;
use crate::options::Freshness;
use crate::ports::coordinator::{Coordinator, Known};
use crate::ports::moment::Moment;
use crate::ports::process::Process;
use crate::ports::storage::{File, Span, Storage};
use crate::ports::sync::{Condvar, Mutex, MutexGuard, unpoisoned};
use crate::read::checks::{check_database, check_home, check_state, in_copy, moved_to, was_read};
use crate::read::pages::{Page, Pages};
use crate::read::snapshot::Snapshot;
use crate::way_out::WayOut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the coordinator is asked before a transaction fails, or a commit's outcome is reported as unknown.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Half of the shortest retention. A reader that begins with an older version could lose it in the middle.
const OLDEST_READ: Duration = Duration::from_secs(15 * 60 / 2);

/// The error in a child that uses what its parent opened.
pub(crate) const FORKED: &str =
    "this process was forked from the one that opened the database. Nothing was written. Open it again";

/// The error in a child that goes on with its parent's transaction. There an inherited page map can be read.
pub const FORKED_INSIDE: &str =
    "this process was forked inside the transaction, which belongs to its parent. Nothing was written. Roll back";

/// What this process knows of the newest version of one database.
pub(crate) struct Tip {
    pub(crate) id: DatabaseId,
    /// This folder's home, from the inode numbers of `id` and of the folder.
    pub(crate) home: u64,
    /// The home that the head names. It is another one where this folder is a copy, which may only be read.
    original: u64,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) coordinator: Box<dyn Coordinator>,
    pub(crate) pages: Pages,
    /// Which process opened the database. A forked child is another process, and must open it itself.
    process: u32,
    /// The process that opened the database, for a check that needs no system call.
    origin: Process,
    /// The newest head that was seen says that the database is somewhere else now: detached, or moved. Another opening
    /// reads `id` again.
    has_ended: AtomicBool,
    /// A word in `id` for a protocol of collecting garbage that this program does not know.
    unknown_collection: Option<String>,
    newest: Mutex<Newest>,
    /// A load was answered, or failed.
    answered: Condvar,
}

/// The newest snapshot that this process knows of, and how its threads ask for newer ones.
struct Newest {
    snapshot: Arc<Snapshot>,
    /// When the newest request was sent whose answer is in `snapshot`.
    sent: Moment,
    /// A load is in flight.
    loading: bool,
    /// How many threads wait for its answer. If none does, no system call is made to wake one.
    waiting: u32,
    /// How many loads failed, and the last of them: when it was sent, and why.
    failures: u64,
    failed: Option<(Moment, Error)>,
}

impl Tip {
    /// The tip of a database whose newest version is `first`, by the answer to a load that was sent at `sent`.
    pub(crate) fn new(
        (identity, home): (&Identity, u64),
        storage: Arc<dyn Storage>,
        coordinator: Box<dyn Coordinator>,
        pages: Pages,
        (first, sent): (Snapshot, Moment),
    ) -> Tip {
        let original = first.head.home;
        let newest = Newest { snapshot: Arc::new(first), sent, loading: false, waiting: 0, failures: 0, failed: None };
        let (process, origin) = (storage.process(), Process::this());
        let (newest, answered) = (Mutex::new(newest), Condvar::default());
        let unknown_collection = identity.unknown_collection().map(str::to_owned);
        Tip {
            id: identity.database,
            home,
            original,
            storage,
            coordinator,
            pages,
            process,
            origin,
            has_ended: AtomicBool::new(false),
            unknown_collection,
            newest,
            answered,
        }
    }

    /// Whether this process is still the one that opened the database: not after a fork.
    pub(crate) fn is_current(&self) -> bool {
        self.origin.is_this() && self.storage.process() == self.process
    }

    /// Fails in a forked child, because what it inherited is its parent's: the locks, the lease, and the queue in which
    /// the kernel reports changes of `commits/`. This is checked at every transaction and page, so it makes no system
    /// call. A writer asks [`Tip::is_current`].
    pub(crate) fn check_origin(&self) -> Result<()> {
        self.must_be_ours(FORKED)
    }

    fn must_be_ours(&self, otherwise: &str) -> Result<()> {
        if self.origin.is_this() { Ok(()) } else { Err(Error::CannotOpen(otherwise.into())) }
    }

    /// The newest snapshot that this process knows of, without asking the coordinator.
    pub(crate) fn known(&self) -> Arc<Snapshot> {
        self.newest().snapshot.clone()
    }

    /// When the newest request was sent whose answer is in [`Tip::known`].
    pub(crate) fn asked_at(&self) -> Moment {
        self.newest().sent
    }

    /// A snapshot that is as new as `freshness` demands. Asks the coordinator if it must; threads share loads. A failed
    /// refresh is an error, never a silent old read.
    pub(crate) fn snapshot(&self, freshness: Freshness) -> Result<Arc<Snapshot>> {
        let now = self.storage.now();
        let since = match freshness {
            Freshness::Transaction => now,
            // What a request reads must not be garbage-collected under it, however long it lasts.
            Freshness::Since(moment) if self.newest().sent.age(now) < OLDEST_READ => moment,
            Freshness::Since(_) => now,
            Freshness::Request { began, age } => {
                let (age, newest) = (age.min(OLDEST_READ), self.newest());
                if newest.sent.monotonic >= began.monotonic && newest.sent.age(now) < age {
                    return Ok(newest.snapshot.clone());
                }
                // The load that was sent when the request began may still be in flight.
                if began.age(now) < age { began } else { now }
            }
            Freshness::Seconds(seconds) => {
                let newest = self.newest();
                if newest.sent.age(now) < seconds.min(OLDEST_READ) {
                    return Ok(newest.snapshot.clone());
                }
                now
            }
        };
        self.snapshot_since(since, now)
    }

    /// A snapshot from the answer to a load that was sent at or after `since`, which is not after `now`. Threads share
    /// loads. A thread never joins a load that was sent before; all threads that wait for it share the next one.
    fn snapshot_since(&self, since: Moment, now: Moment) -> Result<Arc<Snapshot>> {
        // A load that this thread sends at once counts as sent now. Reading the clocks takes longer than finding that
        // nothing is new.
        let mut now = Some(now);
        let mut newest = self.newest();
        // A load that failed before this thread waited is no answer, because the coordinator may work again.
        let earlier = newest.failures;
        loop {
            if newest.sent.monotonic >= since.monotonic {
                return Ok(newest.snapshot.clone());
            }
            match &newest.failed {
                Some((sent, error)) if newest.failures > earlier && sent.monotonic >= since.monotonic => {
                    return Err(error.clone());
                }
                _ if newest.loading => {
                    now = None;
                    newest.waiting += 1;
                    newest = unpoisoned(self.answered.wait(newest));
                    newest.waiting -= 1;
                    mistake!(JoinsSentLoad, return Ok(newest.snapshot.clone()));
                }
                _ => {
                    newest.loading = true;
                    let known = newest.snapshot.clone();
                    drop(newest);
                    let in_flight = InFlight(self);
                    let sent = now.take().unwrap_or_else(|| self.storage.now());
                    let loaded = self.newer_than(&known);
                    #[cfg(feature = "mutations")]
                    let sent = crate::mutation::age_from_answer(sent, || self.storage.now());
                    let is_known = matches!(loaded, Ok(None));
                    let caught_up =
                        loaded.and_then(|newer| newer.map_or(Ok(()), |head| self.catch_up(head, sent).map(drop)));
                    newest = in_flight.ends();
                    match caught_up {
                        Ok(()) if is_known => newest.is_still(&known, sent),
                        Ok(()) => {}
                        Err(error) => {
                            newest.failures += 1;
                            newest.failed = Some((sent, error));
                        }
                    }
                }
            }
        }
    }

    /// Runs `ask`, which sends a request whose answer brings the head, and then calls [`Tip::catch_up`]. Meanwhile
    /// threads that need a load send none: they wait until `ask` returns.
    pub(crate) fn instead_of_a_load<T>(&self, ask: impl FnOnce() -> T) -> T {
        let others_load = std::mem::replace(&mut self.newest().loading, true);
        let _in_flight = (!others_load).then(|| InFlight(self));
        ask()
    }

    /// Asks for the head; refuses one that is older than what this process has seen.
    pub(crate) fn load(&self, known: &Snapshot, patience: Duration) -> Result<Head> {
        let head = self.load_last(known, patience)?;
        self.check_open(&head).map(|()| head)
    }

    /// Asks for the head, as [`Tip::load`] does; `None` if it is still the one of `known`.
    fn newer_than(&self, known: &Snapshot) -> Result<Option<Head>> {
        match self.coordinator.newer_than(&known.head, PATIENCE).map_err(Error::nothing_written)? {
            Some(head) => self.accept(head, known).map(Some),
            None => {
                self.check_last(&known.head, known)?;
                self.check_open(&known.head).map(|()| None)
            }
        }
    }

    /// Asks for the head, as [`Tip::load`] does, and also accepts the last head of a database that was detached or
    /// moved.
    pub(crate) fn load_last(&self, known: &Snapshot, patience: Duration) -> Result<Head> {
        let head = self.coordinator.load(&Known::Head(&known.head), patience);
        self.accept_last(head.map_err(Error::nothing_written)?, known)
    }

    /// Whether the database is somewhere else now, as far as this process knows.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// A head that came in answer to a request that was sent when `known` was known. An acknowledged commit is in every
    /// later head's chain, so an older head, or another one of the same version, is refused. (Invariants 5, 9.)
    pub(crate) fn accept(&self, head: Head, known: &Snapshot) -> Result<Head> {
        let head = self.accept_last(head, known)?;
        self.check_open(&head).map(|()| head)
    }

    fn accept_last(&self, head: Head, known: &Snapshot) -> Result<Head> {
        self.check_last(&head, known).map(|()| head)
    }

    fn check_last(&self, head: &Head, known: &Snapshot) -> Result<()> {
        self.check_decided(head)?;
        self.has_ended.store(head.state != State::Open, Ordering::Relaxed);
        let forked = head.order() == known.head.order() && !head.commit().is(&known.head.commit());
        if head.order() < known.head.order() || forked {
            return Err(Error::NeedsRecovery(format!(
                "the head names version {} (epoch {}), and this process has already seen version {} (epoch {}): the head was set back. \
                 Nothing was written. Stop all writers. If a backup of the head was restored, bring back the newest; or run {}",
                head.version.0,
                head.epoch.0,
                known.head.version.0,
                known.head.epoch.0,
                WayOut::RECOVER
            )));
        }
        Ok(())
    }

    /// Whether the database can be used here.
    pub(crate) fn check_open(&self, head: &Head) -> Result<()> {
        match &head.state {
            State::Moved(url) => Err(self.where_now().ok().flatten().unwrap_or_else(|| moved_to(url))),
            // A recovery that slept while the database was moved elsewhere has sealed what is left here.
            State::Recovering(_) => self.where_now().ok().flatten().map_or_else(|| check_state(head), Err),
            State::Open | State::Detached => check_state(head),
        }
    }

    /// If `id` is another one than when the database was opened: the error that says where the database is now. If `id`
    /// cannot be read, that is the error.
    fn where_now(&self) -> Result<Option<Error>> {
        let looking = |error| Error::io("looking for id", error);
        let id = match self.storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            id => id.map_err(looking)?,
        };
        let Ok(Identity { coordinator: now, .. }) = identity::parse(id) else { return Ok(None) };
        if now != self.coordinator.name() {
            return Ok(Some(moved_to(&now)));
        }
        let is_new = self.storage.home(File::Id).map_err(looking)? != Some(self.home);
        Ok(is_new.then(|| {
            Error::CannotOpen(
                "the database got a new id since it was opened here: it was moved, or recovered. Nothing was written. Close this \
                 connection, and open the database again"
                    .into(),
            )
        }))
    }

    /// Whether `head` is this database's, and says which commits are in the history.
    pub(crate) fn check_decided(&self, head: &Head) -> Result<()> {
        self.check_head(head)?;
        if head.is_undecided() { self.check_open(head) } else { Ok(()) }
    }

    /// Whether `head` is this database's.
    pub(crate) fn check_head(&self, head: &Head) -> Result<()> {
        check_database(head, self.id)?;
        // That the folder is a copy is said only where `id` shows it.
        check_home(head, self.original)
            .map_err(|error| self.where_now().map_or_else(|failed| failed, |now| now.unwrap_or(error)))
    }

    /// Whether this folder is a copy of the database's: it can be read, and is never written.
    pub(crate) fn is_copy(&self) -> bool {
        self.home != self.original
    }

    /// A copy must never share its head with the original by writing.
    pub(crate) fn must_be_original(&self) -> Result<()> {
        if self.is_copy() { check_home(&self.known().head, self.home) } else { Ok(()) }
    }

    /// Whether this program may collect garbage there.
    pub(crate) fn may_collect(&self) -> Result<()> {
        self.must_be_original()?;
        match &self.unknown_collection {
            None => Ok(()),
            Some(word) => Err(Error::CannotOpen(format!(
                "garbage is collected in this folder by a protocol that this program does not know ({word}). Nothing was deleted. Use the \
                 newest Seawall"
            ))),
        }
    }

    /// An error of reading `snapshot`. What a version below the floor lacks was garbage-collected. If the head cannot
    /// be had, nothing says whether it was, and that is the error.
    pub(crate) fn too_old(&self, error: Error, snapshot: &Snapshot) -> Error {
        if !matches!(error, Error::Corrupt { .. }) {
            return error;
        }
        match self.load(&self.known(), PATIENCE) {
            Ok(head) if (snapshot.head.epoch, snapshot.version()) < (head.epoch, head.floor.version) => {
                Error::SnapshotTooOld { version: snapshot.version(), age: snapshot.age(self.storage.now()) }
            }
            Err(unknown) => unknown,
            Ok(_) => error,
        }
    }

    /// An error of reading. In a copy, what is missing may be what the original has committed since it was made.
    fn in_copy(&self, error: Error) -> Error {
        in_copy(error, self.is_copy().then_some(self.id), &self.coordinator.name())
    }

    /// Makes the snapshot that `head` names, and knows it from now on. `sent` is when the request was sent that `head`
    /// answers.
    pub(crate) fn catch_up(&self, mut head: Head, mut sent: Moment) -> Result<Arc<Snapshot>> {
        let mut order = head.order();
        let snapshot = loop {
            let known = self.known();
            if order <= known.head.order() {
                break known;
            }
            let error = match self.pages.snapshot_of(head, Some(&known), sent) {
                Ok(snapshot) => break Arc::new(snapshot),
                Err(error) => error,
            };
            // If this process slept, what the head names was garbage-collected, and there is a newer one.
            let again = self.storage.now();
            match was_read(&error).then(|| self.load(&known, PATIENCE)) {
                Some(Ok(newer)) if newer.order() > order => (order, head, sent) = (newer.order(), newer, again),
                // It was moved, for example, or cannot be reached.
                Some(Err(of_the_head)) => return Err(of_the_head),
                _ => return Err(self.in_copy(error)),
            }
        };
        let newest = self.raise(snapshot, sent);
        if newest.head.order() == order {
            newest.was_shown(sent);
        }
        Ok(newest)
    }

    /// What is known only rises, by epoch and version, in whatever order answers arrive (invariant 9).
    pub(crate) fn raise(&self, snapshot: Arc<Snapshot>, sent: Moment) -> Arc<Snapshot> {
        let mut newest = self.newest();
        mistake!(KnownIsLast, newest.snapshot = snapshot.clone());
        if snapshot.head.order() > newest.snapshot.head.order() {
            newest.snapshot = snapshot;
        }
        if sent.monotonic > newest.sent.monotonic {
            newest.sent = sent;
        }
        newest.snapshot.clone()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        unpoisoned(self.newest.lock())
    }

    fn load_ends(&self) -> MutexGuard<'_, Newest> {
        let mut newest = self.newest();
        newest.loading = false;
        if newest.waiting > 0 {
            self.answered.notify_all();
        }
        newest
    }

    /// The image of `page`, which `snapshot` has.
    pub(crate) fn read_page(&self, snapshot: &Snapshot, page: PageNo) -> Result<Page> {
        self.must_be_ours(FORKED_INSIDE)?;
        self.pages.read(snapshot, page).map_err(|error| self.in_copy(self.too_old(error, snapshot)))
    }

    /// A page that a transaction of this process has streamed, and not committed yet.
    pub(crate) fn read_streamed(&self, entry: PageEntry, page: PageNo, page_size: PageSize) -> Result<Page> {
        self.must_be_ours(FORKED_INSIDE)?;
        self.pages.read_streamed(entry, page, page_size)
    }

    /// Bytes that no other process has.
    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.storage.random(&mut bytes).map_err(|error| Error::io("asking for randomness", error))?;
        Ok(bytes)
    }
}

/// A load in flight: over when this is dropped, even by a panic, so that no thread waits for ever.
struct InFlight<'a>(&'a Tip);

impl<'a> InFlight<'a> {
    fn ends(self) -> MutexGuard<'a, Newest> {
        let tip = self.0;
        std::mem::forget(self);
        tip.load_ends()
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        drop(self.0.load_ends());
    }
}

impl Newest {
    /// A load that was sent at `sent` has shown that `known` was the newest version.
    fn is_still(&mut self, known: &Arc<Snapshot>, sent: Moment) {
        if sent.monotonic > self.sent.monotonic {
            self.sent = sent;
        }
        if Arc::ptr_eq(known, &self.snapshot) {
            known.was_shown(sent);
        }
    }
}
