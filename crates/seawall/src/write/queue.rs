//! The queue of this process's writers, and the lease that they hand on.
//!
//! One writer at a time has the [`Turn`]. A lease that its holder leaves behind serves the next one, for a bounded
//! time; then it goes back, so that other processes get theirs. Giving back happens in the background.

use crate::format::ids::{Epoch, Version};
use crate::mutation::mistake;
use crate::ports::coordinator::{Lease, Waiters};
use crate::ports::moment::Moment;
use crate::ports::process::Process;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, whole};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long one process serves its own queue before it lets other processes that wait have the lease. Where a commit
/// takes longer, the turn has a few commits all the same ([`LEAST_COMMITS`]).
const TURN: Duration = Duration::from_millis(15);
/// So long after it was granted the lease a process looks whether others wait.
pub(crate) const LOOKS_AFTER: Duration = Duration::from_millis(8);
/// A turn has as many commits as there were writers here when it began, and this many at least, because each handover
/// costs about as much as a commit …
const LEAST_COMMITS: usize = 3;
/// … but it never begins a commit later than this.
const LONGEST_TURN: Duration = Duration::from_millis(100);
/// For how long it counts that no other process was waiting.
const NOBODY_WAITS: Duration = Duration::from_millis(40);
/// For how long this process remembers that its last turn ended because others waited. A writer that comes back within
/// this time stands in line, and does not take the lease from those who wait.
const REMEMBERS: Duration = Duration::from_millis(1000);
/// How long a lease stays for a writer that writes again and again.
const LINGER: Duration = Duration::from_millis(8);
/// A writer that comes back within this is one that writes again and again.
const COMES_BACK: Duration = Duration::from_millis(20);
/// A request for a lease, or one that gives it back, is waited for this long.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// How long a lease waits for a stale writer's second attempt: twice SQLite's longest busy sleep.
pub(crate) const GRACE: Duration = Duration::from_millis(200);

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
    is_ahead: bool,
    /// When it goes back if no writer of this process wants it.
    release_at: Duration,
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

    /// Its first writer uses it from `now` on. How long it waited for that one is no part of the turn.
    pub(crate) fn used_from(mut self, now: Duration) -> HeldLease {
        (self.is_ahead, self.ends) = (false, now + TURN);
        self
    }

    /// Its first writer begins at `now`. How long the answer took that granted it is no part of the longest turn.
    pub(crate) fn begins(self, now: Duration) -> HeldLease {
        HeldLease { latest: now + TURN + LONGEST_TURN, ..self }
    }

    /// Whether its turn goes on at `now` after so many commits, as far as this process knows who waits.
    fn goes_on(&self, now: Duration, commits: usize, state: &State) -> bool {
        let is_served = commits >= self.quota.max(state.least_commits);
        let is_due = now >= self.ends && is_served || now >= self.latest;
        !self.is_over && (!is_due || now < state.nobody_waits)
    }
}

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
        let mine = |state: &mut State| state.taken || state.waiting.front() != Some(&ticket);
        let (mut state, _) = whole(self.changed.wait_timeout_while(state, patience, mine));
        if state.waiting.front() == Some(&ticket) && state.is_under_way() {
            let is_under_way = |state: &mut State| state.is_under_way();
            state = whole(self.changed.wait_timeout_while(state, UNDER_WAY, is_under_way)).0;
        }
        let is_late = mine(&mut state);
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
        Turn { queue: self.clone(), held: state.held.take(), stays: None, passed_on: false }
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
        drop(whole(self.changed.wait_timeout_while(self.lock(), UNDER_WAY, is_under_way)));
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
        whole(self.state.lock())
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

    /// The commit made the head `on`, and with it the next generation; the lease, renewed at `since`, goes on.
    pub(crate) fn carry_on(&mut self, on: (Epoch, Version), generation: u64, since: Moment) {
        self.queue.lock().active = None;
        if let Some(held) = &mut self.held {
            held.on = on;
            held.is_known = true;
            held.commits += 1;
            held.lease.generation = generation;
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
