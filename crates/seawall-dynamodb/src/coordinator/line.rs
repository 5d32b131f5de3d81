//! The line of those who wait for the lease: when this process asks again, and whom it passes by.

use super::{DynamoCoordinator, SLACK_MILLIS};
use crate::item::{Item, Line, line_of, names, number};
use crate::request::{Answer, Values, changes};
use crate::retry::{Repeats, with_jitter};
use seawall::format::head::Head;
use seawall::format::ids::Epoch;
use seawall::ports::coordinator::{Claim, Holder, Waiters};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// The waiter in front of the line asks again after this time. Each refusal costs a write unit, and the lease is free
/// after some milliseconds.
const FRONT_ASKS_AGAIN: Duration = Duration::from_millis(2);
/// After it has waited for so long, the holder has more to do than a usual transaction, and it asks less often.
const LONG: Duration = Duration::from_millis(1000);
const FRONT_ASKS_LATER: Duration = Duration::from_millis(8);
/// Those behind it wait so long for each waiter that is in front of them …
const FOR_EACH_IN_FRONT: Duration = Duration::from_millis(20);
/// … but not longer than for so many …
const MOST_IN_FRONT: u64 = 6;
/// … and only this long while they see that the lease is free, and that nobody takes it.
const WATCHES_FREE_LEASE: Duration = Duration::from_millis(8);
/// A waiter in front that does not take a free lease for this long, or for so many round trips, is passed by. A live one
/// asks every few milliseconds.
const NOT_TAKEN: Duration = Duration::from_millis(40);
const NOT_TAKEN_TRIPS: u32 = 4;
/// While nobody waits, the answer to a swap says so again after this time.
const LOOKS_AGAIN: Duration = Duration::from_millis(15);

/// What this process knows about the line of waiters. Only one of its threads asks for the lease at a time. Times are
/// monotonic.
#[derive(Default)]
pub(super) struct Stand {
    /// The ticket of this process, and the epoch in which it was drawn.
    pub(super) ticket: Option<(Epoch, u64)>,
    /// The ticket of the waiter in front that does not take a free lease, and since when that is seen.
    pub(super) asleep: Option<(u64, Duration)>,
    /// How often this process has passed sleepers by, one time after the other.
    pub(super) passed: u32,
    /// The lease was granted, and the ticket is to be given back.
    pub(super) leaves: bool,
    /// How many others waited when an answer last said so, and when that was.
    pub(super) waiters: Option<(Waiters, Duration)>,
    /// How long the last request for the lease took.
    pub(super) trip: Duration,
}

impl DynamoCoordinator {
    pub(super) fn stand(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a refusal: when to ask again. This process joins the line, unless it is there or does not wait at all. If
    /// those in front do not take a free lease, it passes them by.
    pub(super) fn wait(&self, claim: &Claim, known: &Head, item: &Item, holder: &Holder) -> Duration {
        let is_free = holder.term < self.now().saturating_sub(SLACK_MILLIS);
        let mut line = line_of(item);
        let epoch = ("epoch", number(known.epoch.0));
        let now = ("now", number(self.now().saturating_sub(SLACK_MILLIS)));
        // Where a request of these fails, this process waits all the same.
        let update = |change, values: Values| self.update(change, values, Duration::ZERO, Repeats::Freely);
        if line == Line::Nonsense && is_free {
            let cleared = update(changes::CLEAR_LINE, Values::from([epoch.clone(), now.clone()]));
            return if cleared.is_ok() { Duration::ZERO } else { WATCHES_FREE_LEASE };
        }
        let valid = |ticket| matches!(line, Line::Tickets(front, end) if front <= ticket && ticket < end);
        let ticket = self.stand().ticket.filter(|(of, ticket)| *of == known.epoch && valid(*ticket));
        self.stand().ticket = ticket;
        if ticket.is_none() && line != Line::Nonsense && !claim.patience.is_zero() {
            let values = Values::from([epoch.clone(), ("one", number(1)), ("zero", number(0))]);
            match update(changes::JOIN_LINE, values) {
                Ok(Answer::Done(Some(item))) => {
                    line = line_of(&item);
                    if let Line::Tickets(front, end) = line {
                        self.stand().ticket = end.checked_sub(1).map(|ticket| (known.epoch, ticket));
                        if !item.contains_key(names::LEASE) && front + 1 == end {
                            return Duration::ZERO;
                        }
                    }
                }
                // Meanwhile the lease was given back, and nobody waits.
                Ok(Answer::Refused(_)) => return FRONT_ASKS_AGAIN,
                _ => {}
            }
        }
        let mine = self.stand().ticket.map(|(_, ticket)| ticket);
        let Line::Tickets(front, end) = line else { return FOR_EACH_IN_FRONT };
        if mine == Some(front) {
            self.stand().asleep = None;
            return if claim.waited < LONG { FRONT_ASKS_AGAIN } else { FRONT_ASKS_LATER };
        }
        if !is_free || front == end {
            self.stand().asleep = None;
            let in_front = mine.map_or(MOST_IN_FRONT, |mine| (mine - front).min(MOST_IN_FRONT));
            return with_jitter(&*self.storage, FOR_EACH_IN_FRONT * in_front.max(1) as u32);
        }
        if self.sleeps(front) {
            let mut stand = self.stand();
            let passes = 1_u64.checked_shl(stand.passed).unwrap_or(u64::MAX);
            let to = front.saturating_add(passes).min(mine.unwrap_or(end));
            (stand.passed, stand.asleep) = (stand.passed + 1, None);
            drop(stand);
            let values = Values::from([epoch, now, ("ticket", number(front)), ("front", number(to))]);
            let passed = update(changes::PASS_SLEEPERS, values);
            return if passed.is_ok() { Duration::ZERO } else { WATCHES_FREE_LEASE };
        }
        WATCHES_FREE_LEASE.max(self.stand().trip)
    }

    /// Whether the waiter in front, which has this ticket, has not taken a free lease for long enough.
    fn sleeps(&self, front: u64) -> bool {
        let now = self.storage.now().monotonic;
        let mut stand = self.stand();
        let seen_before = stand.asleep.filter(|(asleep, _)| *asleep == front);
        let (_, since) = *stand.asleep.insert(seen_before.unwrap_or((front, now)));
        now.saturating_sub(since) >= NOT_TAKEN.max(stand.trip * NOT_TAKEN_TRIPS)
    }

    /// Whether the answer to the next request is to say who waits: nobody did, some time ago. Such an answer is longer.
    pub(super) fn is_to_look(&self) -> bool {
        let now = self.storage.now().monotonic;
        match self.stand().waiters {
            Some((Waiters::Exactly(0), heard)) => now.saturating_sub(heard) >= LOOKS_AGAIN,
            Some(_) => false,
            None => true,
        }
    }

    /// The item says whether others wait.
    pub(super) fn learn_who_waits(&self, item: Option<&Item>) {
        let Some(item) = item else { return };
        let waiters = match line_of(item) {
            Line::Tickets(front, end) => Waiters::Exactly(end - front),
            Line::Nonsense => Waiters::Some,
        };
        self.stand().waiters = Some((waiters, self.storage.now().monotonic));
    }
}
