//! What a web request will probably need, asked for ahead in the background when the request begins: the head, and the
//! lease if the last request of its route wrote soon after it began.
//!
//! A lease that nobody uses keeps others waiting, so it is bounded. There is one attempt, which does not wait, and none
//! while others want the lease. An unused lease goes back after [`UNUSED`]; and at once when others were waiting as it
//! was granted, when this process waits for another database's lease, or when the request ends. For a route that did
//! not write, or not soon, it is not asked again until that has.

use super::committer::Committer;
use crate::chores::Chore;
use crate::error::{Error, Result};
use crate::mutation::mistake;
use crate::options::Freshness;
use crate::ports::coordinator::{Acquired, CoordinatorError};
use crate::ports::counters::this_thread_runs_in_background;
use crate::ports::moment::Moment;
use crate::ports::process::PerProcess;
use crate::ports::sync::{Mutex, spawn, unpoisoned};
use crate::write::queue::HeldLease;
use crate::write::settle::PATIENCE_LATER;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a lease that was asked for ahead waits for a writer.
pub(crate) const UNUSED: Duration = Duration::from_millis(25);
/// A request that begins to write later than this would not find the lease that it had asked for. That waits for
/// [`UNUSED`], from when it was granted: a trip after the request began.
const SOON: Duration = Duration::from_millis(30);
/// At most so many routes are remembered.
const MOST_ROUTES: usize = 128;

/// The databases of this process for which a request has asked for the lease.
static ASKED: PerProcess<Mutex<Vec<Weak<Committer>>>> = PerProcess::new();

/// A request of this process has asked for the lease of this database.
pub(crate) fn was_asked_for(committer: &Arc<Committer>) {
    unpoisoned(ASKED.get().lock()).push(Arc::downgrade(committer));
}

/// Leases that were asked for ahead of a writer go back in the background, if none has used them.
pub(crate) fn end_leases_ahead() {
    let asked = std::mem::take(&mut *unpoisoned(ASKED.get().lock()));
    asked.iter().filter_map(Weak::upgrade).for_each(|committer| committer.end_ahead());
}

/// A route of a web application: requests of one route do the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(u64);

impl Route {
    /// The route of this name, as in "POST /polls/#/vote/". (Two names may have one route, which costs nothing but a
    /// wrong guess.)
    pub fn named(name: &str) -> Route {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Route(hasher.finish())
    }
}

/// Whether what began at `writer` and wrote would have had use for a lease that its request had asked for at `request`.
pub(crate) fn is_soon(request: Moment, writer: Moment) -> bool {
    writer.monotonic.saturating_sub(request.monotonic) <= SOON
}

/// The routes whose last request wrote the database, soon after it began. The one that wrote last comes last.
#[derive(Default)]
pub(crate) struct WritingRoutes(Mutex<VecDeque<Route>>);

impl WritingRoutes {
    /// A request of `route` wrote.
    pub(crate) fn wrote(&self, route: Route) {
        let mut routes = unpoisoned(self.0.lock());
        if routes.back() != Some(&route) {
            routes.retain(|other| *other != route);
            routes.push_back(route);
            let surplus = routes.len().saturating_sub(MOST_ROUTES);
            routes.drain(..surplus);
        }
    }

    /// A request of `route` begins. Returns whether the last one wrote. This one counts as one that does not, until it
    /// does.
    fn begins(&self, route: Route) -> bool {
        let mut routes = unpoisoned(self.0.lock());
        let found = routes.iter().position(|other| *other == route);
        found.and_then(|found| routes.remove(found)).is_some()
    }
}

/// Asks ahead for what a request will need.
pub(super) struct LoadAhead(pub(super) Weak<Committer>);

impl Chore for LoadAhead {
    fn due(&self) -> Option<Duration> {
        let committer = self.0.upgrade()?;
        let is_due = committer.queue.is_asked_ahead() || unpoisoned(committer.asked.load.lock()).is_some();
        is_due.then_some(Duration::ZERO)
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        let moment = unpoisoned(committer.asked.load.lock()).take();
        let load = {
            let committer = committer.clone();
            move || {
                if let Some(moment) = moment {
                    // A transaction that needs it meets the same failure, and reports it.
                    let _ = committer.snapshot(Freshness::Since(moment), PATIENCE_LATER);
                }
            }
        };
        if committer.tip.coordinator.is_in_files() {
            // Readers wait for the head, and the writer for the lock. On a network neither is to wait for both.
            let at_once = moment.is_some() && committer.queue.is_asked_ahead() && committer.tip.storage.is_shared();
            let beside = load.clone();
            let is_begun = at_once
                && spawn("seawall-load", move || {
                    this_thread_runs_in_background();
                    beside();
                })
                .is_ok();
            if !is_begun {
                load();
            }
            committer.acquire_ahead()
        } else {
            // The answer to one request has both. If it is an error, the head is still to be loaded.
            let acquired = committer.acquire_ahead();
            load();
            acquired
        }
        .map_err(|error| format!("asking for the lease ahead of a writer: {error}"))
    }
}

impl Committer {
    /// A request began at `moment`: loads the head in the background. Where the last request of its `route` wrote, this
    /// asks for the lease as well, and returns `true`.
    pub(crate) fn request_begins(self: &Arc<Self>, moment: Moment, route: Option<Route>) -> bool {
        let asks =
            route.is_some_and(|route| self.writing_routes.begins(route)) && self.queue.ask_ahead(moment.monotonic);
        // Where the next writer is expected, a request that writes needs no load, and one that reads asks itself.
        if !self.queue.expects_writer(moment.monotonic) {
            *unpoisoned(self.asked.load.lock()) = Some(moment);
            self.chores.ring_at(Duration::ZERO);
        }
        asks
    }

    /// The request for which the lease was asked ahead needs it no more, or others need it: it goes back, if no writer
    /// has used it.
    pub(crate) fn end_ahead(self: &Arc<Self>) {
        if self.queue.end_ahead() {
            self.chores.ring_at(Duration::ZERO);
        }
    }

    /// Gives back a lease that was asked for ahead and that no writer has used, before this process is frozen, or ends.
    /// When it returns, that is done.
    pub(crate) fn end_ahead_now(&self) {
        self.queue.end_ahead();
        self.queue.wait_for_background();
        self.give_back_idle();
    }

    /// Asks for the lease once, if it is to be asked for ahead of a writer, and leaves it to the next one.
    fn acquire_ahead(self: &Arc<Self>) -> Result<()> {
        // What is not settled is the next writer's to settle, before it has the lease.
        if !self.queue.is_asked_ahead() || self.unsettled.is_there() || self.tip.must_be_original().is_err() {
            self.queue.end_ahead();
            return Ok(());
        }
        let now = self.tip.storage.now();
        let Some(mut turn) = self.queue.begin_ahead(now.monotonic) else { return Ok(()) };
        // It does not wait, so it neither joins the line nor is repeated.
        let (claim, known) = (self.claim(Duration::ZERO)?, self.tip.known());
        let coordinator = &self.tip.coordinator;
        let acquired = if coordinator.is_in_files() {
            let lease = coordinator.acquire_unseen(&claim, &known.head).map_err(Error::nothing_written)?;
            mistake!(LockIsALoad, drop(self.tip.raise(known.clone(), now)));
            lease.map(|lease| HeldLease::new(lease, known.head.order(), false))
        } else {
            // A request that got no answer may have been granted: another one finds that out, so that nobody has to wait
            // until such a lease runs out.
            let ask = || match coordinator.acquire(&claim, &known.head) {
                Err(CoordinatorError::Unclear(_)) => coordinator.acquire(&claim, &known.head),
                answer => answer,
            };
            // The answer has the head.
            self.tip.instead_of_a_load(|| match ask().map_err(Error::nothing_written)? {
                Acquired::Granted(lease, head) => {
                    self.granted(lease, *head, &known).map(|granted| granted.map(|(held, _)| held))
                }
                Acquired::Refused { seen: Some(head), .. } => {
                    let head = self.tip.accept(*head, &known)?;
                    self.tip.catch_up(head, now).map(|_| None)
                }
                Acquired::Refused { seen: None, .. } => Ok(None),
            })?
        };
        if let Some(held) = acquired {
            let now = self.tip.storage.now().monotonic;
            let release_at = now + UNUSED;
            // Where the answer did not say whether others wait, the background looks at once.
            let look_at = self.tip.coordinator.others_wait().is_none().then_some(now);
            turn.put_lease_ahead(held, release_at, look_at);
            drop(turn);
            self.chores.ring_at(look_at.unwrap_or(release_at));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_known_by_its_last_request_and_the_oldest_are_forgotten() {
        let routes = WritingRoutes::default();
        let [vote, ask] = ["POST /vote", "POST /ask"].map(Route::named);
        assert!(!routes.begins(vote), "it has never written");
        routes.wrote(vote);
        assert!(!routes.begins(ask));
        assert!(routes.begins(vote), "its last request wrote");
        assert!(!routes.begins(vote), "its last request has not written yet");
        routes.wrote(ask);
        (0..MOST_ROUTES as u64 - 1).for_each(|n| routes.wrote(Route(n)));
        routes.wrote(ask);
        routes.wrote(vote);
        assert_eq!(unpoisoned(routes.0.lock()).len(), MOST_ROUTES);
        assert!(routes.begins(ask) && routes.begins(vote) && !routes.begins(Route(0)));
    }
}
