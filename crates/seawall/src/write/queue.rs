//! The queue of this process's writers, and the lease that they hand on.
//!
//! One writer at a time has the [`Turn`]. A lease that its holder leaves behind serves the next one, for a bounded time;
//! then it goes back, so that other processes get theirs. Giving back happens in the background.

use crate::format::ids::{Epoch, Version};
use crate::ports::coordinator::Lease;
use crate::ports::moment::Moment;
use crate::ports::process::Process;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, whole};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long one process serves its own queue before it lets others have the lease.
pub(crate) const TURN: Duration = Duration::from_millis(100);
/// How long a lease stays for a writer that writes again and again.
const LINGER: Duration = Duration::from_millis(5);
/// A writer that comes back within this is one that writes again and again.
const COMES_BACK: Duration = Duration::from_millis(20);
/// How long a lease waits for a stale writer's second attempt: twice SQLite's longest busy sleep.
pub(crate) const GRACE: Duration = Duration::from_millis(200);

/// A lease, with what this process decided about it. Times are monotonic.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    /// The head that it was granted on, or that its writer made since.
    pub(crate) on: (Epoch, Version),
    /// Whether everybody knows who has it: by the coordinator, or by a commit that was made under it.
    pub(crate) is_told: bool,
    /// When this process must let others have it.
    pub(crate) ends: Duration,
    /// When it goes back if nobody here wants it.
    release_at: Duration,
}

impl Held {
    pub(crate) fn new(lease: Lease, on: (Epoch, Version), is_told: bool) -> Held {
        let ends = lease.since.monotonic + TURN;
        Held { lease, on, is_told, ends, release_at: ends }
    }
}

#[derive(Default)]
struct State {
    taken: bool,
    waiting: VecDeque<u64>,
    tickets: u64,
    held: Option<Held>,
    /// The lease of the writer whose turn it is, and when it must be renewed.
    active: Option<(Lease, Duration)>,
    /// When the last turn ended.
    last_end: Duration,
    /// Whether the writer whose turn it is came back soon after the last one ended.
    comes_back: bool,
}

/// The queue.
pub(crate) struct Queue {
    /// Whose it is: a forked child neither waits for it nor changes it.
    process: Process,
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { process: Process::this(), state: Mutex::default(), changed: Condvar::default() }
    }
}

/// What to do about a lease nobody is using, or that must be renewed.
pub(crate) enum Due {
    /// Give it back: the turn is taken until then.
    Release(Turn, Lease),
    /// Say that the holder is alive.
    Renew(Lease),
}

impl Queue {
    /// Waits for the turn, first come, first served, at most `patience`.
    pub(crate) fn enter(self: &Arc<Self>, now: Duration, patience: Duration) -> Option<Turn> {
        let mut state = self.lock();
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting.push_back(ticket);
        let mine = |state: &mut State| state.taken || state.waiting.front() != Some(&ticket);
        let (mut state, timeout) = whole(self.changed.wait_timeout_while(state, patience, mine));
        state.waiting.retain(|waiting| *waiting != ticket);
        if timeout.timed_out() {
            drop(state);
            // Whoever waited behind this one may be first now.
            self.changed.notify_all();
            return None;
        }
        state.comes_back = now.saturating_sub(state.last_end) < COMES_BACK;
        Some(self.take(&mut state))
    }

    fn take(self: &Arc<Self>, state: &mut State) -> Turn {
        assert!(!state.taken, "one writer at a time");
        state.taken = true;
        Turn { queue: self.clone(), held: state.held.take(), stays: None, passed_on: false }
    }

    /// What is due at `now`, and otherwise when to look again.
    pub(crate) fn due(self: &Arc<Self>, now: Duration, renew_every: Duration) -> Result<Due, Option<Duration>> {
        let mut state = self.lock();
        if let Some((lease, renew_at)) = &mut state.active {
            if *renew_at <= now {
                *renew_at = now + renew_every;
                return Ok(Due::Renew(lease.clone()));
            }
            return Err(Some(*renew_at));
        }
        match &state.held {
            None => Err(None),
            Some(held) if held.release_at > now => Err(Some(held.release_at)),
            // If somebody is about to take the turn, its end will ring the bell.
            Some(_) => self.idle_lease(&mut state).map(|(turn, lease)| Due::Release(turn, lease)).ok_or(None),
        }
    }

    /// The lease that waits for this process's next writer, if nobody here wants it now. It is to be given back.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<(Turn, Lease)> {
        self.idle_lease(&mut self.lock())
    }

    fn idle_lease(self: &Arc<Self>, state: &mut State) -> Option<(Turn, Lease)> {
        if state.taken || !state.waiting.is_empty() {
            return None;
        }
        let held = state.held.take()?;
        Some((self.take(state), held.lease))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        whole(self.state.lock())
    }
}

/// The turn to write, and the lease if there is one. Dropping it passes both on.
pub(crate) struct Turn {
    queue: Arc<Queue>,
    held: Option<Held>,
    /// Keep the lease for at least so long.
    stays: Option<Duration>,
    /// It is over: somebody else may have it now.
    passed_on: bool,
}

impl Turn {
    /// The lease, taken out: it is to go back, or to be looked at.
    pub(crate) fn take_lease(&mut self) -> Option<Held> {
        self.held.take()
    }

    /// Puts a lease in, whose writer is at work from `now` on.
    pub(crate) fn put_lease(&mut self, held: Held, renew_at: Duration) {
        self.queue.lock().active = Some((held.lease.clone(), renew_at));
        self.held = Some(held);
    }

    /// The lease.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    /// Whether the lease is to outlive the commit: somebody here wants it next, and this process's turn is not over.
    pub(crate) fn goes_on(&self, now: Duration) -> bool {
        let state = self.queue.lock();
        let wanted = state.comes_back || !state.waiting.is_empty();
        wanted && self.held.as_ref().is_some_and(|held| now < held.ends)
    }

    /// The commit made the head `on`, and with it the next generation; the lease, renewed at `since`, goes on.
    pub(crate) fn carry_on(&mut self, on: (Epoch, Version), generation: u64, since: Moment) {
        self.queue.lock().active = None;
        if let Some(held) = &mut self.held {
            held.on = on;
            held.is_told = true;
            held.lease.generation = generation;
            held.lease.since = since;
        }
    }

    /// The lease ended with the commit.
    pub(crate) fn lease_ended(&mut self) {
        self.queue.lock().active = None;
        self.held = None;
    }

    /// Whether the lease is still this process's is not known: no writer here uses it any more, and it goes back with the turn.
    pub(crate) fn lease_is_over(&mut self) {
        self.queue.lock().active = None;
        if let Some(held) = &mut self.held {
            held.ends = Duration::ZERO;
        }
    }

    /// The lease waits a moment for whoever was told to try again.
    pub(crate) fn stay(&mut self, until: Duration) {
        self.stays = Some(until);
        if let Some(held) = &mut self.held {
            held.ends = until;
        }
    }

    /// Ends the turn at `now`, and passes it on; says when the background is to look after the lease.
    pub(crate) fn end(&mut self, now: Duration) -> Option<Duration> {
        if !self.queue.process.is_this() {
            return None;
        }
        let mut state = self.queue.lock();
        let linger = if state.comes_back { now + LINGER } else { now };
        if let Some(held) = &mut self.held {
            held.release_at = if held.ends.is_zero() { now } else { self.stays.unwrap_or(linger) };
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
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass_on();
    }
}
