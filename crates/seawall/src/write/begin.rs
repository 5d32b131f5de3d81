//! Beginning to write: this process's queue, the lease, and the newest head.

use super::ahead::end_leases_ahead;
use super::committer::Committer;
use super::queue::{GRACE, HeldLease, LOOKS_AFTER, Turn};
use super::transaction::Transaction;
use crate::error::{Error, Result};
use crate::format::head::Head;
use crate::format::ids::Token;
use crate::mutation::mistake;
use crate::ports::coordinator::{Acquired, Claim, Holder, Lease};
use crate::ports::sync::unpoisoned;
use crate::read::snapshot::Snapshot;
use crate::read::tip::{FORKED, PATIENCE};
use std::sync::Arc;
use std::time::Duration;

/// How soon a lease is asked for again that was granted on a head which is not the newest any more.
const AGAIN_AFTER_STALE_GRANT: Duration = Duration::from_millis(1);

impl Committer {
    /// Begins a write transaction on the newest version: waits for the turn and the lease, at most `timeout`.
    pub(crate) fn begin(self: &Arc<Self>, timeout: Duration) -> Result<Transaction> {
        let began = self.tip.storage.now();
        let (turn, snapshot) = self.begin_turn(began.monotonic, timeout)?;
        // Under a kept lease the coordinator was not asked. For a commit that does not matter, because its swap
        // decides. A transaction that only reads must be confirmed.
        let unconfirmed = self.tip.asked_at().monotonic < began.monotonic;
        Ok(Transaction::new(self.clone(), snapshot, turn, began, unconfirmed))
    }

    /// Lets a transaction write that has read `snapshot` so far. If that is not the newest version, the transaction
    /// must start again, and the lease waits a moment for it.
    pub(crate) fn upgrade(self: &Arc<Self>, snapshot: &Arc<Snapshot>, timeout: Duration) -> Result<Transaction> {
        let began = self.tip.storage.now();
        let (mut turn, newest) = self.begin_turn(began.monotonic, timeout)?;
        mistake!(StaleUpgrades, return Ok(Transaction::new(self.clone(), newest, turn, began, false)));
        if !newest.head.commit().is(&snapshot.head.commit()) {
            turn.stay(self.tip.storage.now().monotonic + GRACE);
            self.end_turn(&mut turn);
            return Err(Error::StaleSnapshot { mine: snapshot.version(), newest: newest.version() });
        }
        Ok(Transaction::new(self.clone(), newest, turn, began, false))
    }

    pub(crate) fn begin_turn(self: &Arc<Self>, began: Duration, timeout: Duration) -> Result<(Turn, Arc<Snapshot>)> {
        if !self.tip.is_current() {
            return Err(Error::CannotOpen(FORKED.into()));
        }
        self.tip.must_be_original()?;
        // All threads that come meanwhile share one answer, before they queue.
        self.settle(timeout)?;
        let left = || timeout.saturating_sub(self.tip.storage.now().monotonic.saturating_sub(began));
        let Some(mut turn) = self.queue.enter(began, left()) else {
            let holder = format!("{}, which writes in this very process", self.tip.storage.label());
            return Err(Error::Busy { holder, waited: timeout });
        };
        let begun = self.settle(left()).and_then(|()| self.with_lease(&mut turn, began, timeout));
        if begun.is_err() {
            self.end_turn(&mut turn);
        }
        begun.map(|snapshot| (turn, snapshot))
    }

    /// The lease is in `turn`, and this is the newest version.
    fn with_lease(self: &Arc<Self>, turn: &mut Turn, began: Duration, timeout: Duration) -> Result<Arc<Snapshot>> {
        let now = self.tip.storage.now();
        let mut unseen = None;
        match turn.take_lease(now.monotonic) {
            None => {}
            // Only its lock was taken. The look comes now.
            Some((held, _)) if held.is_ahead() && self.tip.coordinator.is_in_files() => unseen = Some(held.lease),
            Some((held, goes_on)) => {
                // No lease holder can have committed since: a takeover requires a full lease of silence, and ours is
                // younger than half of one.
                let newest = self.tip.known();
                let in_turn = goes_on && held.lease.since.age(now) < self.lease / 2;
                if in_turn && held.on == newest.head.order() && (held.is_seen() || self.is_newest(&newest)) {
                    if held.is_ahead() {
                        self.turn_begins(turn, held)
                    } else {
                        self.work_begins(turn, held)
                    }
                    return Ok(newest);
                }
                self.tip.coordinator.release(&held.lease).map_err(Error::nothing_written)?;
                if !held.is_ahead() {
                    self.queue.contended(now.monotonic);
                }
            }
        }
        let acquired = self.acquire(unseen, began, timeout);
        if acquired.is_err() {
            // Only the first error is reported. A place in the line that cannot be given back ends with its process.
            let _ = self.tip.coordinator.give_up();
        }
        let (held, snapshot) = acquired?;
        self.turn_begins(turn, held);
        Ok(snapshot)
    }

    /// Whether this is still the newest version. A lease under which nothing was committed yet needs this look: on `fs`
    /// a waiter that takes a lease over, and the holder that it passed over, can both have one until either of them
    /// commits.
    fn is_newest(&self, known: &Snapshot) -> bool {
        self.tip.load(known, PATIENCE).is_ok_and(|head| head.order() == known.head.order())
    }

    fn work_begins(self: &Arc<Self>, turn: &mut Turn, held: HeldLease) {
        let now = self.tip.storage.now().monotonic;
        self.hear_of_waiters();
        let renew_at = now + held.lease.first_renewal;
        turn.put_lease(held, renew_at);
        self.chores.ring_at(renew_at);
    }

    /// The lease was granted.
    fn turn_begins(self: &Arc<Self>, turn: &mut Turn, held: HeldLease) {
        let now = self.tip.storage.now().monotonic;
        let (renew_at, look_at) = (now + held.lease.first_renewal, now + LOOKS_AFTER);
        let is_told = self.tip.coordinator.others_wait().is_some();
        turn.put_new_lease(held.begins(now), renew_at, (!is_told).then_some(look_at));
        self.hear_of_waiters();
        self.chores.ring_at(if is_told { renew_at } else { renew_at.min(look_at) });
    }

    /// Some coordinators say in their answers whether others wait. Elsewhere the background looks.
    fn hear_of_waiters(&self) {
        if let Some((waiters, at)) = self.tip.coordinator.others_wait() {
            self.queue.heard(waiters, at);
        }
    }

    /// Asks for the lease until it is granted. The answer has the head. `unseen` was taken ahead, without a look.
    fn acquire(
        self: &Arc<Self>,
        unseen: Option<Lease>,
        began: Duration,
        timeout: Duration,
    ) -> Result<(HeldLease, Arc<Snapshot>)> {
        // The queue has taken a part of the time.
        let left = timeout.saturating_sub(self.tip.storage.now().monotonic.saturating_sub(began));
        let claim = self.claim(PATIENCE.min(left)).inspect_err(|_| {
            // Only the first error is reported. A lock that cannot be given back ends with its process.
            let _ = unseen.as_ref().map(|lease| self.tip.coordinator.release(lease));
        })?;
        let lines_up = self.queue.is_contended(self.tip.storage.now().monotonic);
        let pass_over = unpoisoned(self.watch.lock()).begins(self.tip.storage.now().monotonic);
        let mut claim = Claim { lines_up, lock: unseen.map(|lease| lease.slot), pass_over, ..claim };
        loop {
            let known = self.tip.known();
            let sent = self.tip.storage.now();
            let acquired = self.tip.coordinator.acquire(&claim, &known.head).map_err(Error::nothing_written)?;
            let (again_in, seen, holder) = match acquired {
                Acquired::Granted(lease, head) => match self.granted(lease, *head, &known)? {
                    Some(granted) => {
                        if claim.refusals > 0 {
                            self.queue.contended(self.tip.storage.now().monotonic);
                        }
                        unpoisoned(self.watch.lock()).ends();
                        self.leave_the_line();
                        return Ok(granted);
                    }
                    None => (AGAIN_AFTER_STALE_GRANT, None, None),
                },
                Acquired::Refused { again_in, seen, holder } => {
                    if claim.refusals == 0 {
                        // Its holder may wait for one of those.
                        end_leases_ahead();
                    }
                    (again_in, seen, holder)
                }
            };
            let answered = self.tip.storage.now().monotonic;
            let waited = answered.saturating_sub(began);
            claim.lock = None;
            claim.refusals += 1;
            claim.waited = waited;
            claim.patience = PATIENCE.min(timeout.saturating_sub(waited));
            // What others commit meanwhile is read meanwhile. (A takeover may have raised the numbers that a request must
            // name, so the next request must be made from the newest head.)
            let catch_up = |head: Box<Head>| self.tip.catch_up(self.tip.accept(*head, &known)?, sent);
            let newest = seen.map(catch_up).transpose()?;
            if waited >= timeout || unpoisoned(self.watch.lock()).is_due(answered) {
                let holder = holder.map_or_else(|| self.look_at_holder(newest, &known), Ok)?;
                claim.pass_over = unpoisoned(self.watch.lock()).see(&holder, answered);
                if waited >= timeout {
                    let holder =
                        if holder.label.is_empty() { "it has not said who it is".into() } else { holder.label.into() };
                    return Err(Error::Busy { holder, waited });
                }
            }
            let took = self.tip.storage.now().monotonic.saturating_sub(answered);
            self.tip.storage.sleep(again_in.min(timeout - waited).saturating_sub(took));
        }
    }

    /// A first attempt for the lease, by a caller that waits so long for the coordinator.
    pub(super) fn claim(&self, patience: Duration) -> Result<Claim> {
        Ok(Claim {
            token: Token(self.tip.random()?),
            label: format!("{}, since {}", self.tip.storage.label(), self.tip.storage.now().clock()),
            length: self.lease,
            refusals: 0,
            waited: Duration::ZERO,
            patience,
            pass_over: None,
            lines_up: false,
            lock: None,
        })
    }

    /// The lease was granted on `head`, to a request that was sent when `known` was known. `None` if another process took
    /// the lease over and committed while the answer was in flight, and another thread of this process knows of it: this
    /// lease is for an older head, and goes back.
    pub(super) fn granted(
        &self,
        lease: Lease,
        head: Head,
        known: &Snapshot,
    ) -> Result<Option<(HeldLease, Arc<Snapshot>)>> {
        // The head may be from a look before this request, and is as old as that.
        let sent = lease.since;
        let held = HeldLease::new(lease, head.order(), self.tip.coordinator.takeover_is_visible());
        match self.tip.accept(head, known).and_then(|head| self.tip.catch_up(head, sent)) {
            Ok(snapshot) if snapshot.head.order() == held.on => Ok(Some((held, snapshot))),
            caught_up => {
                // Only the first error is reported. A lease that cannot be given back runs out.
                let _ = self.tip.coordinator.release(&held.lease);
                caught_up.map(|_| None)
            }
        }
    }

    /// The place in the line of waiters is given back in the background, if there is one: nobody is waited for then.
    fn leave_the_line(self: &Arc<Self>) {
        if self.tip.coordinator.leaves_line() && !self.chores.ring_at(Duration::ZERO) {
            // Only the first error is reported. A place that cannot be given back ends with its process.
            let _ = self.tip.coordinator.give_up();
        }
    }

    /// Who has the lease, where no refusal says it: that of the `newest` head, if the refusal has said which that is.
    fn look_at_holder(&self, newest: Option<Arc<Snapshot>>, known: &Snapshot) -> Result<Holder> {
        let sent = self.tip.storage.now();
        let newest = match newest {
            Some(newest) => newest,
            None => self.tip.catch_up(self.tip.load(known, PATIENCE)?, sent)?,
        };
        self.tip.coordinator.holder(&newest.head).map_err(Error::nothing_written)
    }

    /// Ends the turn. The lease waits for this process's next writer, or the background gives it back.
    pub(crate) fn end_turn(self: &Arc<Self>, turn: &mut Turn) {
        if let Some(release_at) = turn.end(self.tip.storage.now().monotonic)
            && !self.chores.ring_at(release_at)
            && !std::thread::panicking()
        {
            // No background thread would give it back later, and other processes would wait until it runs out. (During
            // a panic no request is sent to the coordinator.)
            self.give_back_idle();
        }
    }
}

/// Watches who holds the lease that this process waits for. It goes on from one transaction to the next: each may give
/// up before a whole lease is over. Times are monotonic.
pub(crate) struct Watch {
    lease: Duration,
    every: Duration,
    seen: Option<(Holder, Duration)>,
    next: Duration,
}

impl Watch {
    pub(crate) fn of(lease: Duration) -> Watch {
        let every = (lease / 16).clamp(Duration::from_millis(10), Duration::from_millis(500));
        Watch { lease, every, seen: None, next: Duration::ZERO }
    }

    /// This process begins to wait. Returns the holder that an earlier transaction has seen, if it was silent until then.
    fn begins(&mut self, now: Duration) -> Option<Holder> {
        // Most holders have gone before anybody needs to watch them.
        if now >= self.next + self.every {
            self.next = now + self.every;
        }
        self.silent(now)
    }

    fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// The holder, if it has shown no sign of life for a whole lease: neither a commit nor a renewal.
    fn see(&mut self, holder: &Holder, now: Duration) -> Option<Holder> {
        self.next = now + self.every;
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != holder) {
            self.seen = Some((holder.clone(), now));
        }
        self.silent(now)
    }

    fn silent(&self, now: Duration) -> Option<Holder> {
        let (holder, since) = self.seen.as_ref()?;
        (now.saturating_sub(*since) >= self.lease).then(|| holder.clone())
    }

    /// This process has the lease.
    fn ends(&mut self) {
        self.seen = None;
    }
}
