//! The queue of this process's writers, and the lease that they hand on.
//!
//! One writer at a time has the [`Turn`]. A lease that its holder leaves behind serves the next one, for a bounded
//! time; then it goes back, so that other processes get theirs. Giving back happens in the background.

mod turn;

pub(crate) use self::turn::{HeldLease, Turn};

use self::turn::{LEAST_COMMITS, TURN};
use crate::ports::coordinator::{Lease, Waiters};
use crate::ports::process::Process;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, unpoisoned};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long after it was granted the lease a process first looks whether other processes wait for it.
pub(crate) const LOOKS_AFTER: Duration = Duration::from_millis(8);
/// How long a process relies on a look, or an answer, that showed no other process waiting.
const NOBODY_WAITS: Duration = Duration::from_millis(40);
/// For how long this process remembers that its last turn ended because others waited. A writer that comes back within
/// this time stands in line, and does not take the lease from those who wait.
const REMEMBERS: Duration = Duration::from_millis(1000);
/// A writer that begins this soon after the last turn ended is expected to go on writing, so the lease is kept for it.
const COMES_BACK: Duration = Duration::from_millis(20);
/// How long a writer waits for a request of the background that asks for a lease, or gives one back.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long a lease waits for a stale writer's second attempt: twice SQLite's longest busy sleep.
pub(crate) const GRACE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct State {
    taken: bool,
    waiting: VecDeque<u64>,
    tickets: u64,
    held: Option<HeldLease>,
    /// The lease of the writer whose turn it is, and when it must be renewed.
    active: Option<(Lease, Duration)>,
    /// When the last turn ended.
    last_end: Duration,
    /// Whether the writer whose turn it is came back soon after the last one ended.
    comes_back: bool,
    /// No other process waits for the lease until this time, as far as this process knows.
    nobody_waits: Duration,
    /// When this process is to look whether others wait for the lease that it has.
    look_at: Option<Duration>,
    /// How many commits a turn has at least, with so many who wait.
    least_commits: usize,
    /// When others wanted the lease last, as far as this process knows.
    contended: Option<Duration>,
    ahead: Ahead,
    /// The background, or the end of a request, gives a lease back. The turn is taken until that is done.
    gives_back: bool,
}

/// Whether the lease is asked for ahead of a writer.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ahead {
    #[default]
    Not,
    /// The background is to ask.
    Asked,
    /// The request is under way. `wanted`: its lease is to wait for a writer.
    UnderWay { wanted: bool },
}

impl State {
    /// Whether this process is in its turn, and has the lease.
    fn has_lease(&self) -> bool {
        self.held.is_some() || self.active.is_some()
    }

    /// Whether a writer has the turn, or waits for it.
    fn is_wanted(&self) -> bool {
        self.taken || !self.waiting.is_empty()
    }

    /// Whether the turn is taken, and not by a writer: a lease is asked for ahead, or given back. That takes a trip.
    fn is_under_way(&self) -> bool {
        matches!(self.ahead, Ahead::UnderWay { .. }) || self.gives_back
    }

    /// Whether nobody, here or elsewhere, is known to want the lease.
    fn may_ask_ahead(&self, now: Duration) -> bool {
        !self.is_wanted() && !self.has_lease() && !self.is_contended(now)
    }

    fn is_contended(&self, now: Duration) -> bool {
        self.contended.is_some_and(|since| now.saturating_sub(since) < REMEMBERS)
    }
}

/// The queue.
pub(crate) struct Queue {
    /// The process that it belongs to. A forked child neither waits for it nor changes it.
    process: Process,
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { process: Process::this(), state: Mutex::default(), changed: Condvar::default() }
    }
}

impl Queue {
    /// Waits for the turn, first come, first served, at most `patience`; but always for a request of this process that
    /// asks for a lease ahead or gives one back, because nobody writes meanwhile.
    pub(crate) fn enter(self: &Arc<Self>, now: Duration, patience: Duration) -> Option<Turn> {
        let mut state = self.lock();
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting.push_back(ticket);
        let must_wait = |state: &mut State| state.taken || state.waiting.front() != Some(&ticket);
        let (mut state, _) = unpoisoned(self.changed.wait_timeout_while(state, patience, must_wait));
        if state.waiting.front() == Some(&ticket) && state.is_under_way() {
            let is_under_way = |state: &mut State| state.is_under_way();
            state = unpoisoned(self.changed.wait_timeout_while(state, UNDER_WAY, is_under_way)).0;
        }
        let is_late = must_wait(&mut state);
        state.waiting.retain(|waiting| *waiting != ticket);
        if is_late {
            drop(state);
            // The writer that waited behind this one may be first now.
            self.changed.notify_all();
            return None;
        }
        state.comes_back = now.saturating_sub(state.last_end) < COMES_BACK;
        Some(self.take(&mut state))
    }

    fn take(self: &Arc<Self>, state: &mut State) -> Turn {
        assert!(!state.taken, "one thread at a time writes the process's segment (invariant 3)");
        state.taken = true;
        Turn::new(self.clone(), state.held.take())
    }

    /// When the lease of the writer at work must be renewed.
    pub(crate) fn renewal_due(&self) -> Option<Duration> {
        self.lock().active.as_ref().map(|(_, renew_at)| *renew_at)
    }

    /// The lease of the writer at work, if it must be renewed by `now`. It is due again after `every`.
    pub(crate) fn renew(&self, now: Duration, every: Duration) -> Option<Lease> {
        let mut state = self.lock();
        let (lease, renew_at) = state.active.as_mut().filter(|(_, renew_at)| *renew_at <= now)?;
        *renew_at = now + every;
        Some(lease.clone())
    }

    /// Whether others wanted the lease a moment ago. Then the next writer here stands in line.
    pub(crate) fn is_contended(&self, now: Duration) -> bool {
        self.lock().is_contended(now)
    }

    /// Others want the lease.
    pub(crate) fn contended(&self, now: Duration) {
        self.lock().contended = Some(now);
    }

    /// The lease is to be asked for ahead of a writer. Returns `false` where a writer of this process is faster, or
    /// others want the lease.
    pub(crate) fn ask_ahead(&self, now: Duration) -> bool {
        let mut state = self.lock();
        let asks = state.ahead == Ahead::Not && state.may_ask_ahead(now);
        if asks {
            state.ahead = Ahead::Asked;
        }
        asks
    }

    /// Whether the lease is to be asked for ahead of a writer.
    pub(crate) fn is_asked_ahead(&self) -> bool {
        self.lock().ahead == Ahead::Asked
    }

    /// The turn in which the lease is asked for ahead of a writer, if it still is to be.
    pub(crate) fn begin_ahead(self: &Arc<Self>, now: Duration) -> Option<Turn> {
        let mut state = self.lock();
        if std::mem::take(&mut state.ahead) != Ahead::Asked || !state.may_ask_ahead(now) {
            return None;
        }
        state.ahead = Ahead::UnderWay { wanted: true };
        Some(self.take(&mut state))
    }

    /// A lease that no writer has used is not wanted any more. Returns whether the background must give one back.
    pub(crate) fn end_ahead(&self) -> bool {
        let mut state = self.lock();
        state.ahead = match state.ahead {
            Ahead::Not | Ahead::Asked => Ahead::Not,
            Ahead::UnderWay { .. } => Ahead::UnderWay { wanted: false },
        };
        let held = state.held.as_mut().filter(|held| held.is_ahead);
        held.map(|held| held.release_at = Duration::ZERO).is_some()
    }

    /// Waits until no lease is asked for ahead of a writer, or given back.
    pub(crate) fn wait_for_background(&self) {
        let is_under_way = |state: &mut State| state.is_under_way();
        drop(unpoisoned(self.changed.wait_timeout_while(self.lock(), UNDER_WAY, is_under_way)));
    }

    /// When this process is to look whether others wait.
    pub(crate) fn look_due(&self) -> Option<Duration> {
        let state = self.lock();
        state.look_at.filter(|_| state.has_lease())
    }

    /// This process looks whether others wait for the lease that it has, which is the answer.
    pub(crate) fn looks(&self) -> Option<Lease> {
        let mut state = self.lock();
        state.look_at = None;
        let active = state.active.as_ref().map(|(lease, _)| lease);
        active.or(state.held.as_ref().map(|held| &held.lease)).cloned()
    }

    /// Whether others waited at `now`, as an answer of the coordinator said.
    pub(crate) fn heard(&self, waiters: Waiters, now: Duration) {
        let mut state = self.lock();
        // Where only one waits, one commit more spares handovers, and keeps nobody waiting for long.
        state.least_commits = LEAST_COMMITS + usize::from(waiters == Waiters::Exactly(1));
        if waiters == Waiters::Exactly(0) {
            state.nobody_waits = now + NOBODY_WAITS;
        } else {
            (state.nobody_waits, state.contended) = (Duration::ZERO, Some(now));
            if let Some(held) = state.held.as_mut().filter(|held| held.is_ahead) {
                held.release_at = Duration::ZERO;
            }
        }
    }

    /// Whether others waited at `now`, as this process saw when it looked. If none did, it looks again before that does
    /// not count any more. Otherwise the turn ends soon.
    pub(crate) fn saw(&self, waiters: Waiters, now: Duration) {
        self.heard(waiters, now);
        self.lock().look_at = (waiters == Waiters::Exactly(0)).then(|| now + NOBODY_WAITS - TURN / 2);
    }

    /// When a lease that no writer here uses must be given back. `None` while a writer is about to take the turn,
    /// because the end of that turn rings the bell.
    pub(crate) fn release_due(&self) -> Option<Duration> {
        let state = self.lock();
        if state.is_wanted() { None } else { state.held.as_ref().map(|held| held.release_at) }
    }

    /// The lease that must be given back by `now`. The turn is taken until then.
    pub(crate) fn overdue(self: &Arc<Self>, now: Duration) -> Option<(Turn, Lease)> {
        let mut state = self.lock();
        state.held.as_ref().filter(|held| held.release_at <= now)?;
        self.idle_lease(&mut state)
    }

    /// The lease that waits for this process's next writer, if no writer here wants it now. It is to be given back.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<(Turn, Lease)> {
        self.idle_lease(&mut self.lock())
    }

    /// Whether the next writer here is expected: a lease waits for it, or the last one went a moment ago because others
    /// waited. Then a look for the lease shows the newest head, most often.
    pub(crate) fn expects_writer(&self, now: Duration) -> bool {
        let state = self.lock();
        let went_just_now = || now.saturating_sub(state.last_end) < COMES_BACK && state.is_contended(now);
        state.held.is_some() || went_just_now()
    }

    /// Whether a lease waits for this process's next writer.
    pub(crate) fn keeps_lease(&self) -> bool {
        self.lock().held.is_some()
    }

    fn idle_lease(self: &Arc<Self>, state: &mut State) -> Option<(Turn, Lease)> {
        if state.is_wanted() {
            return None;
        }
        let held = state.held.take()?;
        state.gives_back = true;
        Some((self.take(state), held.lease))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }
}
