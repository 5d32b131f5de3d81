//! This process's list of databases, one for each NAME. A database is opened when it is first needed, and forgotten
//! when it is idle.

use super::{absolute, bound_to, check_coordinator, open_or_adopt, storage_of};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::options::{Access, Options};
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::moment::Moment;
use crate::ports::process::PerProcess;
use crate::ports::stock_sqlite::PlainSqlite;
use crate::ports::storage::os;
use crate::ports::sync::{self, unpoisoned};
use crate::write::ahead::{Route, end_leases_ahead, is_soon, was_asked_for};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// This process's databases. One is opened at a time for each path; different paths do not wait for one another. A
/// forked child has a list of its own.
static DATABASES: PerProcess<Mutex<HashMap<PathBuf, Entry>>> = PerProcess::new();

/// Whether this process calls [`end_process`] before it ends.
static SAYS_WHEN_IT_ENDS: PerProcess<AtomicBool> = PerProcess::new();

/// Where a path's database is, held while it is opened.
#[derive(Default)]
struct Slot {
    database: Mutex<Option<Arc<Database>>>,
    /// The thread that opens it adopts NAME, and may wait for other programs.
    adopts: AtomicBool,
}

impl Slot {
    fn try_hold(&self) -> Option<MutexGuard<'_, Option<Arc<Database>>>> {
        match self.database.try_lock() {
            Ok(held) => Some(held),
            // What the lock protects is whole, even after a panic.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Holds it. Waits for a thread that opens the database; for one that adopts NAME only as long as `patience`, as
    /// for any other adopter.
    fn hold(&self, patience: Duration) -> Result<MutexGuard<'_, Option<Arc<Database>>>> {
        let began = os::now().monotonic;
        loop {
            if let Some(held) = self.try_hold() {
                self.adopts.store(false, Ordering::Relaxed);
                return Ok(held);
            }
            let waited = os::now().monotonic.saturating_sub(began);
            if self.adopts.load(Ordering::Relaxed) && waited >= patience {
                let holder = "another thread of this process, which is adopting NAME".into();
                return Err(Error::Busy { holder, waited });
            }
            std::thread::sleep(POLL);
        }
    }
}

/// How soon a thread looks again whether another one has opened the database.
const POLL: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Entry {
    slot: Arc<Slot>,
    /// When it was opened last.
    opened: Moment,
}

impl Entry {
    /// The bytes of its page cache, if only this list has it and it may be forgotten.
    fn idle_bytes(&self) -> Option<u64> {
        if Arc::strong_count(&self.slot) > 1 {
            return None;
        }
        match &*self.slot.try_hold()? {
            None => Some(0),
            Some(database) if may_be_forgotten(database) => Some(database.tip.pages.cached_bytes()),
            Some(_) => None,
        }
    }
}

/// Whether only the list has it, and nothing would be lost with it. Its lease would be, which is given back soon. A commit whose outcome is unknown would be, because
/// this process must settle it before it reads again. So would a mark that is owed, because this process must write it
/// before it appends again.
fn may_be_forgotten(database: &Arc<Database>) -> bool {
    let committer = &database.committer;
    let owes_nothing = || sync::try_lock(&committer.segment).is_some_and(|segment| !segment.owes());
    // A transaction has the committer.
    let is_unused = Arc::strong_count(database) == 1 && Arc::strong_count(committer) == 1;
    is_unused && !committer.queue.keeps_lease() && !committer.unsettled.is_there() && owes_nothing()
}

/// At most this many databases that no connection has open are kept, because each has a few descriptors, …
const KEPT_IDLE: usize = 8;
/// … and at most this many bytes in their page caches together, except for the one that was open last.
const KEPT_IDLE_BYTES: u64 = 64 << 20;
/// A database that no connection has open is opened again once it knows this many more segments than its page map named
/// at first, because the table of their names only grows.
const FORGOTTEN_SEGMENTS: usize = 1 << 16;

impl Database {
    /// This process's database for NAME. A plain SQLite file is adopted, an absent one made, as `access` allows. If the
    /// database is known already, NAME and `id` must still be what they were.
    pub fn open(name: &Path, access: Access, options: &Options, plain: &dyn PlainSqlite) -> Result<Arc<Database>> {
        options.check()?;
        let name = absolute(name)?;
        let opened = Database::open_listed(&name, access, options, plain);
        forget_idle();
        opened
    }

    /// This process's database for `name`, if it has it open already, and NAME and `id` are what they were: two look-ups,
    /// for a program that opens a connection for each request. `name` is absolute and leads over no link, as SQLite's
    /// xFullPathname makes it. `None`: [`Database::open`] finds out, or says what is wrong.
    pub fn listed(name: &Path, access: Access, options: &Options) -> Option<Arc<Database>> {
        options.check().ok()?;
        let slot = {
            let mut databases = databases();
            let entry = databases.get_mut(name)?;
            entry.opened = os::now();
            entry.slot.clone()
        };
        let database = slot.try_hold()?.clone()?;
        let may_be_used = database.is_current()
            && !database.knows_too_many_segments()
            && options.coordinator == database.options.coordinator
            && (access == Access::ReadOnly || database.tip.must_be_original().is_ok());
        (may_be_used && database.is_untouched()).then_some(database)
    }

    /// This process's database for NAME, with the coordinator that `id` names. If this process reaches that one by
    /// another URL already (with an endpoint), that URL is used.
    pub fn open_bound(name: &Path, access: Access, plain: &dyn PlainSqlite) -> Result<Arc<Database>> {
        let name = absolute(name)?;
        let mut options = Options::default();
        if let Some(bound) = bound_to(&*storage_of(&name)?)? {
            let slot = databases().get(&name).map(|entry| entry.slot.clone());
            let known = slot.and_then(|slot| slot.try_hold()?.clone()).filter(|known| known.is_current());
            let reached = known.filter(|known| known.tip.coordinator.name() == bound);
            options.coordinator = reached.map_or(bound, |known| known.options.coordinator.clone());
        }
        Database::open(&name, access, &options, plain)
    }

    fn open_listed(name: &Path, access: Access, options: &Options, plain: &dyn PlainSqlite) -> Result<Arc<Database>> {
        let slot = {
            let mut databases = databases();
            let entry = databases.entry(name.to_owned()).or_default();
            entry.opened = os::now();
            entry.slot.clone()
        };
        let began = os::now().monotonic;
        let mut held = slot.hold(options.adoption_timeout)?;
        if let Some(database) = &*held
            && database.is_current()
            && !(database.knows_too_many_segments() && may_be_forgotten(database))
            && database.is_still_there()?
        {
            if options.coordinator != database.options.coordinator {
                // The same coordinator may be named in another way.
                let asked = coordinator_of(&options.coordinator, database.tip.id, &database.tip.storage)?;
                check_coordinator(&database.tip.coordinator.name(), &asked.name())?;
            }
            if access != Access::ReadOnly {
                database.tip.must_be_original()?;
            }
            return Ok(database.clone());
        }
        let storage = storage_of(name)?;
        let database = open_or_adopt(name, storage, access, options, plain, began, &slot.adopts)?;
        *held = Some(database.clone());
        Ok(database)
    }

    fn knows_too_many_segments(&self) -> bool {
        self.tip.pages.segments.count() > self.segments_at_first + FORGOTTEN_SEGMENTS
    }

    /// A connection was closed. That may be the last thing that this process does: then a lease that would outlive the
    /// process is given back. A program that says when it ends may open the next connection at once, as Django does for
    /// each request. There the lease waits for the next writer, as it does where the connection stays open.
    pub fn connection_closed(&self) {
        if !self.is_current() {
            return;
        }
        let (sleeps, ends) = (sleeps_between_requests(), self.tip.coordinator.lease_ends_with_process());
        if sleeps || !ends && !SAYS_WHEN_IT_ENDS.get().load(Ordering::Relaxed) {
            self.committer.give_back_idle();
        }
        forget_idle();
    }
}

/// A web request, since it began.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When it began.
    pub began: Moment,
    /// Its route, if it is one that may write.
    pub route: Option<Route>,
    /// It has asked for a lease.
    asked: bool,
}

impl Request {
    /// A transaction of this request that began at `began` has written `database`. If that was soon after the request
    /// began, the next request of its route asks for the lease when it begins.
    pub fn wrote(&self, database: &Database, began: Moment) {
        if let Some(route) = self.route.filter(|_| is_soon(self.began, began)) {
            database.route_wrote(route);
        }
    }
}

/// A request begins: databases whose connections share one load for each request send it now, in the background. If the
/// last request of its `route` wrote one of them, soon after it began, that one's lease is asked for as well.
pub fn begin_request(route: Option<Route>) -> Request {
    let mut request = Request { began: os::now(), route, asked: false };
    // A database that is being opened right now loads the head in any case.
    for database in known_databases() {
        if database.expects_requests() && database.committer.request_begins(request.began, route) {
            was_asked_for(&database.committer);
            request.asked = true;
        }
    }
    request
}

/// A request is over: a lease that it has asked for and not used goes back. The machine may sleep between requests (AWS
/// Lambda). There every lease goes back before this returns, so that no other process must wait for it.
pub fn end_request(request: Option<Request>) {
    if sleeps_between_requests() {
        known_databases().iter().for_each(|database| database.committer.end_ahead_now());
    } else if request.is_some_and(|request| request.asked) {
        end_leases_ahead();
    }
}

/// Whether the machine may sleep between requests (AWS Lambda).
fn sleeps_between_requests() -> bool {
    std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some()
}

/// This process will call [`end_process`] before it ends. A forked child must say so itself.
pub fn will_end_process() {
    SAYS_WHEN_IT_ENDS.get().store(true, Ordering::Relaxed);
}

/// This process ends: gives back its leases, and notes what it has committed last, which the background had no time for.
pub fn end_process() {
    for database in known_databases() {
        if !database.tip.coordinator.lease_ends_with_process() {
            database.committer.end_ahead_now();
        }
        database.committer.note_now();
    }
}

/// This process's databases, but for those that are being opened right now.
fn known_databases() -> Vec<Arc<Database>> {
    let slots: Vec<_> = databases().values().map(|entry| entry.slot.clone()).collect();
    let open = slots.iter().filter_map(|slot| slot.try_hold()?.clone());
    open.filter(|database| database.is_current()).collect()
}

/// Drops this process's database for NAME from the list, if it is there.
pub(crate) fn forget(name: &Path) {
    let known = databases().remove(name);
    drop(known);
}

fn databases() -> MutexGuard<'static, HashMap<PathBuf, Entry>> {
    unpoisoned(DATABASES.get().lock())
}

/// Forgets the databases that were opened longest ago, of those that no connection has open.
pub(crate) fn forget_idle() {
    let mut databases = databases();
    let idle = |entry: &Entry| Some((entry.opened.monotonic, entry.idle_bytes()?));
    let mut idle_ones: Vec<(Duration, u64)> = databases.values().filter_map(idle).collect();
    idle_ones.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let goes = |(n, (_, of_this)): &(usize, (Duration, u64))| {
        bytes += of_this;
        *n > 0 && (*n >= KEPT_IDLE || bytes > KEPT_IDLE_BYTES)
    };
    let Some((_, (newest_that_goes, _))) = idle_ones.into_iter().enumerate().find(goes) else { return };
    let forgotten: Vec<_> = databases
        .extract_if(|_, entry| entry.opened.monotonic <= newest_that_goes && entry.idle_bytes().is_some())
        .collect();
    // Noting, and closing files, can take a while on a network.
    drop(databases);
    drop(forgotten);
}

#[cfg(test)]
mod tests;
