//! One writer's turn, and the lease that goes with it.

use super::{Ahead, Queue, State};
use crate::format::head::Head;
use crate::format::ids::{Epoch, Version};
use crate::mutation::mistake;
use crate::ports::coordinator::Lease;
use crate::ports::moment::Moment;
use std::sync::Arc;
use std::time::Duration;

/// How long one process serves its own queue before it lets other processes that wait have the lease. Where a commit
/// takes longer, the turn has a few commits all the same ([`LEAST_COMMITS`]).
pub(super) const TURN: Duration = Duration::from_millis(15);
/// While other processes wait, a turn has as many commits as there were writers here when it began, and this many at
/// least, because each handover costs about as much as a commit.
pub(super) const LEAST_COMMITS: usize = 3;
/// How much longer than [`TURN`] a turn may last to reach that number. While other processes wait, no commit begins later
/// than [`TURN`] plus this after the turn's first writer began.
const LONGEST_TURN: Duration = Duration::from_millis(100);
/// How long a lease stays for a writer that writes again and again.
const LINGER: Duration = Duration::from_millis(8);

/// A lease, with what this process decided about it. Times are monotonic.
#[derive(Debug)]
pub(crate) struct HeldLease {
    pub(crate) lease: Lease,
    /// The head that it was granted on, or that its writer made since.
    pub(crate) on: (Epoch, Version),
    /// Whether every process can see who has it: by the coordinator, or by a commit that was made under it.
    is_known: bool,
    /// When this process lets others have it that wait.
    ends: Duration,
    /// No commit begins later than this while others wait.
    latest: Duration,
    /// How many commits were made under it.
    commits: usize,
    /// How many commits its turn has.
    quota: usize,
    /// No writer here uses it any more.
    is_over: bool,
    /// It was asked for ahead of a writer, and none has used it yet.
    pub(super) is_ahead: bool,
    /// When it goes back if no writer of this process wants it.
    pub(super) release_at: Duration,
}

impl HeldLease {
    /// Whether no process can have a lease beside this one without having seen it.
    pub(crate) fn is_seen(&self) -> bool {
        mistake!(KeptLeaseWithoutLook, return true);
        self.is_known
    }

    pub(crate) fn new(lease: Lease, on: (Epoch, Version), is_known: bool) -> HeldLease {
        let ends = lease.since.monotonic + TURN;
        HeldLease {
            lease,
            on,
            is_known,
            ends,
            latest: ends + LONGEST_TURN,
            commits: 0,
            quota: LEAST_COMMITS,
            is_over: false,
            is_ahead: false,
            release_at: ends,
        }
    }

    /// Whether it was asked for ahead of a writer, and none has used it yet.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Its first writer begins at `now`. How long the answer took that granted it is no part of the longest turn; how long
    /// a lease that was asked for ahead waited for its writer is no part of the turn.
    pub(crate) fn begins(self, now: Duration) -> HeldLease {
        let ends = if self.is_ahead { now + TURN } else { self.ends };
        HeldLease { is_ahead: false, ends, latest: now + TURN + LONGEST_TURN, ..self }
    }

    /// Whether its turn goes on at `now` after so many commits, as far as this process knows who waits.
    fn goes_on(&self, now: Duration, commits: usize, state: &State) -> bool {
        let is_served = commits >= self.quota.max(state.least_commits);
        let is_due = now >= self.ends && is_served || now >= self.latest;
        !self.is_over && (!is_due || now < state.nobody_waits)
    }
}

/// The turn to write, and the lease if there is one. Dropping it passes both on.
pub(crate) struct Turn {
    queue: Arc<Queue>,
    held: Option<HeldLease>,
    /// How long the lease is kept at least.
    stays: Option<Duration>,
    /// It is over: another writer may have it now.
    passed_on: bool,
}

impl Turn {
    /// The turn of `queue`, which is taken now, with the lease that waited for it.
    pub(super) fn new(queue: Arc<Queue>, held: Option<HeldLease>) -> Turn {
        Turn { queue, held, stays: None, passed_on: false }
    }

    /// Takes the lease out of the turn, to give it back or to look at it. Says whether its turn goes on.
    pub(crate) fn take_lease(&mut self, now: Duration) -> Option<(HeldLease, bool)> {
        let held = self.held.take()?;
        let goes_on = held.goes_on(now, held.commits, &self.queue.lock());
        Some((held, goes_on))
    }

    /// Gives the turn a lease that was just granted. At `look_at` this process is to look whether others wait.
    pub(crate) fn put_new_lease(&mut self, mut held: HeldLease, renew_at: Duration, look_at: Option<Duration>) {
        {
            let mut state = self.queue.lock();
            (state.nobody_waits, state.look_at) = (Duration::ZERO, look_at);
            held.quota = LEAST_COMMITS.max(1 + state.waiting.len());
        }
        self.put_lease(held, renew_at);
    }

    /// Gives the turn a lease that no writer uses yet. It waits for one until `release_at`; at `look_at` this process is
    /// to look whether others wait.
    pub(crate) fn put_lease_ahead(&mut self, held: HeldLease, release_at: Duration, look_at: Option<Duration>) {
        let mut state = self.queue.lock();
        let wanted = state.ahead == Ahead::UnderWay { wanted: true };
        (state.nobody_waits, state.look_at) = (Duration::ZERO, look_at);
        let release_at = if wanted { release_at } else { Duration::ZERO };
        self.held = Some(HeldLease { is_ahead: true, release_at, ..held });
    }

    /// Gives the turn a lease, whose writer is at work from now on.
    pub(crate) fn put_lease(&mut self, held: HeldLease, renew_at: Duration) {
        self.queue.lock().active = Some((held.lease.clone(), renew_at));
        self.held = Some(held);
    }

    /// The lease.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    /// What the commit that is made at `now` does with the lease: whether it is to outlive the commit, because a writer
    /// of this process wants it next and the turn is not over; and which lock stands for it afterwards. Where the swap
    /// does not end the lease (`survives`), the last commit of a turn hands it over: it names the next lock, which the
    /// first of those who wait has already, most often.
    pub(crate) fn after_commit(&mut self, now: Duration, survives: bool) -> Option<(bool, u32)> {
        let mut state = self.queue.lock();
        let wanted = state.comes_back || !state.waiting.is_empty();
        let held = self.held.as_mut()?;
        // Whether the turn goes on afterwards, when this commit has taken as long as the ones before it.
        let begun = held.ends.saturating_sub(TURN);
        let done = now + now.saturating_sub(begun) / (held.commits.max(1) as u32);
        let goes_on = held.goes_on(done, held.commits + 1, &state);
        // A writer that does not come back leaves the lease to those who wait as well.
        let handed_over = survives && (!goes_on || !wanted && state.is_contended(now));
        held.is_over |= !goes_on || handed_over;
        if !goes_on {
            state.contended = Some(now);
        }
        Some((wanted && goes_on, held.lease.slot.wrapping_add(handed_over.into())))
    }

    /// The commit made this head, and with it the next generation, and after a garbage collection the next sweep; the
    /// lease, renewed at `since`, goes on.
    pub(crate) fn carry_on(&mut self, head: &Head, since: Moment) {
        self.queue.lock().active = None;
        if let Some(held) = &mut self.held {
            held.on = head.order();
            held.is_known = true;
            held.commits += 1;
            (held.lease.generation, held.lease.sweep) = (head.generation, head.sweep);
            held.lease.since = since;
        }
    }

    /// The lease ended with the commit.
    pub(crate) fn lease_ended(&mut self) {
        self.queue.lock().active = None;
        self.held = None;
    }

    /// It is not known whether this process still has the lease. No writer here uses it any more, and it is given back
    /// with the turn.
    pub(crate) fn lease_is_over(&mut self) {
        self.queue.lock().active = None;
        if let Some(held) = &mut self.held {
            held.is_over = true;
        }
    }

    /// The lease waits a moment for the writer that must try again.
    pub(crate) fn stay(&mut self, until: Duration) {
        self.stays = Some(until);
        if let Some(held) = &mut self.held {
            (held.ends, held.latest) = (until, until + LONGEST_TURN);
        }
    }

    /// Ends the turn at `now`, and passes it on. Returns when the background must look after the lease.
    pub(crate) fn end(&mut self, now: Duration) -> Option<Duration> {
        if !self.queue.process.is_this() {
            return None;
        }
        let mut state = self.queue.lock();
        let linger = if state.comes_back { now + LINGER } else { now };
        if let Some(held) = &mut self.held {
            let goes_on = held.goes_on(now, held.commits, &state);
            held.release_at = if goes_on { self.stays.unwrap_or(linger) } else { now };
        }
        state.last_end = now;
        drop(state);
        let release_at = self.held.as_ref().map(|held| held.release_at);
        self.pass_on();
        release_at
    }

    fn pass_on(&mut self) {
        if std::mem::replace(&mut self.passed_on, true) || !self.queue.process.is_this() {
            return;
        }
        let mut state = self.queue.lock();
        state.taken = false;
        state.active = None;
        state.held = self.held.take();
        (state.ahead, state.gives_back) = (Ahead::Not, false);
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass_on();
    }
}
