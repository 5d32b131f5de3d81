//! Beginning to write: this process's queue, the lease, and the newest head.

use crate::database::{Database, FORKED, PATIENCE};
use crate::error::{Error, Result};
use crate::format::head::Head;
use crate::format::ids::Token;
use crate::mutation::{self, Mutation};
use crate::ports::coordinator::{Acquired, Claim, Holder};
use crate::ports::moment::Moment;
use crate::read::snapshot::Snapshot;
use crate::write::queue::{GRACE, Held, Turn};
use crate::write::transaction::Transaction;
use std::sync::Arc;
use std::time::Duration;

/// How long a process that had its turn lets the others go first; whoever waits longer than that without coming is frozen.
const YIELD: Duration = Duration::from_millis(100);
/// How soon the lease is asked for again that was granted for a head that is no more.
const AGAIN_AFTER_STALE_GRANT: Duration = Duration::from_millis(1);

impl Database {
    /// Begins a write transaction on the newest version: waits for the turn and the lease, at most `timeout`.
    pub fn begin(self: &Arc<Self>, timeout: Duration) -> Result<Transaction> {
        let began = self.storage.now();
        let (turn, snapshot) = self.begin_turn(began.monotonic, timeout)?;
        // Under a lease that was kept nobody was asked. A commit is certain by its swap; what only reads is not.
        let unconfirmed = self.newest().sent.monotonic < began.monotonic;
        Ok(Transaction::new(self.clone(), snapshot, turn, unconfirmed.then_some(began)))
    }

    /// Lets a transaction write that has read `snapshot` so far. If that is not the newest version, it must start again: the
    /// lease waits for it a moment.
    pub fn upgrade(self: &Arc<Self>, snapshot: &Arc<Snapshot>, timeout: Duration) -> Result<Transaction> {
        let began = self.storage.now().monotonic;
        let (mut turn, newest) = self.begin_turn(began, timeout)?;
        if !newest.head.commit.is(&snapshot.head.commit) && !mutation::is(Mutation::StaleUpgrades) {
            turn.stay(self.storage.now().monotonic + GRACE);
            self.end_turn(&mut turn);
            return Err(Error::StaleSnapshot { mine: snapshot.version(), newest: newest.version() });
        }
        Ok(Transaction::new(self.clone(), newest, turn, None))
    }

    fn begin_turn(self: &Arc<Self>, began: Duration, timeout: Duration) -> Result<(Turn, Arc<Snapshot>)> {
        if !self.is_current() {
            return Err(Error::CannotOpen(FORKED.into()));
        }
        self.must_be_original()?;
        // All who come meanwhile share one answer, before they queue.
        self.settle(timeout)?;
        let left = || timeout.saturating_sub(self.storage.now().monotonic.saturating_sub(began));
        let Some(mut turn) = self.queue.enter(began, left()) else {
            let holder = format!("{}, which writes in this very process", self.storage.label());
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
        let mut had_turn = false;
        if let Some(held) = turn.take_lease() {
            let now = self.storage.now();
            // Nobody polite committed since; nor did anybody who took the lease over, for that takes a whole lease without a sign of life.
            let newest = self.newest_known();
            let in_turn = now.monotonic < held.ends && held.lease.since.age(now) < self.options.lease / 2;
            if in_turn
                && held.on == newest.head.order()
                && (held.is_told || mutation::is(Mutation::KeptLeaseWithoutLook) || self.is_newest(&newest))
            {
                self.work_begins(turn, held);
                return Ok(newest);
            }
            self.coordinator.release(&held.lease).map_err(Error::nothing_written)?;
            had_turn = true;
        }
        let acquired = self.acquire(began, timeout, had_turn);
        if acquired.is_err() {
            // The error that counts is the one at hand; a place in the line that cannot be given back ends with its process.
            let _ = self.coordinator.give_up();
        }
        let (held, snapshot) = acquired?;
        self.work_begins(turn, held);
        Ok(snapshot)
    }

    /// Whether nothing newer is there. A lease that no commit has told of yet needs this look: on `fs` somebody who takes a lease over and
    /// the holder that he passed over can both have one until either of them commits.
    fn is_newest(&self, known: &Snapshot) -> bool {
        self.load(known, PATIENCE).is_ok_and(|head| head.order() == known.head.order())
    }

    fn work_begins(self: &Arc<Self>, turn: &mut Turn, held: Held) {
        let renew_at = self.storage.now().monotonic + held.lease.first_renewal;
        turn.put_lease(held, renew_at);
        self.ring_at(renew_at);
    }

    /// Asks for the lease until it is had; the answer carries the head.
    fn acquire(&self, began: Duration, timeout: Duration, had_turn: bool) -> Result<(Held, Arc<Snapshot>)> {
        let mut claim = Claim {
            token: Token(self.random()?),
            label: format!("{}, since {}", self.storage.label(), self.storage.now().clock()),
            length: self.options.lease,
            refusals: 0,
            waited: Duration::ZERO,
            patience: PATIENCE.min(timeout),
            pass_over: None,
            had_turn,
        };
        let mut watch = Watch::default();
        loop {
            let known = self.newest_known();
            let sent = self.storage.now();
            let acquired = self.coordinator.acquire(&claim, &known.head).map_err(Error::nothing_written)?;
            let (again_in, seen) = match acquired {
                Acquired::Granted(lease, head) => {
                    let held = Held::new(lease, head.order(), self.coordinator.takeover_is_told());
                    let caught_up = self.accept(*head, &known).and_then(|head| self.catch_up(head, sent));
                    match caught_up {
                        Ok(snapshot) if snapshot.head.order() == held.on => return Ok((held, snapshot)),
                        // Somebody took the lease over and committed while the answer was on its way, and another thread of this
                        // process has heard of it: this lease is for an older head.
                        caught_up => {
                            // The error that counts is the one at hand; a lease that cannot be given back runs out.
                            let _ = self.coordinator.release(&held.lease);
                            caught_up?;
                            (AGAIN_AFTER_STALE_GRANT, None)
                        }
                    }
                }
                Acquired::Held { again_in, seen } => (again_in, seen),
            };
            let waited = self.storage.now().monotonic.saturating_sub(began);
            claim.refusals += 1;
            claim.waited = waited;
            claim.had_turn &= waited < YIELD;
            claim.patience = PATIENCE.min(timeout.saturating_sub(waited));
            if waited >= timeout || watch.is_due(waited) {
                let holder = self.look_at_holder(sent, seen, &known)?;
                if waited >= timeout {
                    let holder =
                        if holder.label.is_empty() { "it has not said who it is".into() } else { holder.label.into() };
                    return Err(Error::Busy { holder, waited });
                }
                claim.pass_over = watch.see(holder, waited, self.options.lease);
            }
            self.storage.sleep(again_in.min(timeout - waited));
        }
    }

    /// Who has the lease: as the refusal of the request told that was sent at `sent`, or else by asking.
    fn look_at_holder(&self, sent: Moment, seen: Option<(Box<Head>, Holder)>, known: &Snapshot) -> Result<Holder> {
        // Whoever took the lease over may have raised what requests must name: what is asked next must be the newest head's.
        if let Some((head, holder)) = seen {
            self.catch_up(self.accept(*head, known)?, sent)?;
            return Ok(holder);
        }
        let sent = self.storage.now();
        let newest = self.catch_up(self.load(known, PATIENCE)?, sent)?;
        self.coordinator.holder(&newest.head).map_err(Error::nothing_written)
    }

    /// Ends the turn: the lease waits for this process's next writer, or goes back, in the background.
    pub(crate) fn end_turn(self: &Arc<Self>, turn: &mut Turn) {
        if let Some(release_at) = turn.end(self.storage.now().monotonic)
            && !self.ring_at(release_at)
            && !std::thread::panicking()
        {
            // Nobody would give it back later, and others would wait until it runs out. (In a panic nothing is asked of the coordinator.)
            self.give_back_idle();
        }
    }

    pub(crate) fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.storage.random(&mut bytes).map_err(|error| Error::io("asking for randomness", error))?;
        Ok(bytes)
    }
}

/// Watches who holds the lease. Times are since the watcher began to wait.
#[derive(Default)]
struct Watch {
    seen: Option<(Holder, Duration)>,
    next: Duration,
}

impl Watch {
    fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// The holder, if it has shown no sign of life for a whole lease: neither a commit nor a renewal.
    fn see(&mut self, holder: Holder, now: Duration, lease: Duration) -> Option<Holder> {
        self.next = now + (lease / 16).clamp(Duration::from_millis(10), Duration::from_millis(500));
        match &self.seen {
            Some((seen, since)) if *seen == holder => (now - *since >= lease).then_some(holder),
            _ => {
                self.seen = Some((holder, now));
                None
            }
        }
    }
}
