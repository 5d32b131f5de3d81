//! The line of the processes that wait for the lease. Each of them has a lock in advance: the one that will stand for
//! the lease when its turn comes.
//!
//! The head names the lock that stands for the lease now, its slot, and the last commit of a turn names the next one. A
//! process that comes takes the first lock behind those of all others. By the head's slot and its own it knows how many
//! are in front of it, and sleeps accordingly. When a head names its lock, it has the lease, without any request but
//! the look that showed that head. So the one that has waited longest is served first, and nothing is written.
//!
//! A process in front may leave the line, die, or have its turn without a commit. Then its lock is free, and the next
//! process takes that one instead of its own. The line is advisory, as the lease is.

use crate::format::ids::Version;
use crate::ports::coordinator::Holder;
use crate::ports::storage::FsOrder;
use crate::ports::sync::{Mutex, MutexGuard, unpoisoned};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Those who wait are so many at most. One that finds no lock among these asks for the lease itself.
const LONGEST: u32 = 63;
/// The process that is next asks for the holder's lock as well, once in so many looks: the holder can have given it
/// back without a commit, or be dead.
const ASKS_FOR_LOCK: u32 = 4;
/// How soon the process that is next looks again, or so many times in a turn, and half as often in its first quarter.
const NEXT_LOOKS_AGAIN: Duration = Duration::from_micros(500);
const NEXT_LOOKS: u32 = 30;
/// All others sleep for most of the turns in front of them; for a part of each at least, …
const OTHERS_SLEEP: u32 = 4;
/// … and for this.
const OTHERS_LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Nobody sleeps longer than this.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// A waiter that sleeps too long makes a turn longer. Therefore the estimate of a turn's length follows the shorter turns:
/// a shorter turn lowers it at once. A longer turn raises it only by the difference divided by this, …
const RISES: u32 = 4;
/// … and by no more than the estimate divided by this.
const RISES_BY: u32 = 8;
/// A turn is taken to be no longer than this.
const LONGEST_TURN: Duration = Duration::from_millis(200);
/// How fast versions come is seen over this time at least.
const PACE_OVER: Duration = Duration::from_millis(50);
/// A process that has seen no turn end for this long looks whether the lease is free, because those in front may be
/// asleep; and with each process in front of it …
const STUCK: Duration = Duration::from_millis(100);
/// … this much later. So the one that is nearest to the front looks first.
const STUCK_FOR_EACH: Duration = Duration::from_millis(20);
/// A lease that is free for this long is taken by nobody in front. A process that is awake asks every few milliseconds.
const NOT_TAKEN: Duration = Duration::from_millis(40);
/// After no turn has ended for so long, the holder has more to do than a usual transaction, …
const LONG: Duration = Duration::from_millis(1000);
/// … and nobody looks sooner than this.
const SELDOM: Duration = Duration::from_millis(10);
/// Where a holder has done nothing for a whole lease, the first waiter passes it over. One behind it waits this much
/// longer for each in front of it, and then passes over all of them.
const PASSES_OVER_EACH: Duration = Duration::from_millis(500);

/// This process in the line.
pub(super) struct Line {
    storage: Arc<dyn FsOrder>,
    stand: Mutex<Stand>,
}

/// Times are monotonic.
#[derive(Default)]
struct Stand {
    /// The lock that this process has in advance; `None` if it is not in the line.
    lock: Option<u32>,
    /// How many were in front when it joined last: so many will be there again.
    in_front: u32,
    /// The slot that it saw last, and since when.
    slot: u32,
    since: Duration,
    /// How long a turn takes, as far as it has seen any end.
    turn: Duration,
    /// How often it has looked since it is next.
    looks: u32,
    /// Since when the lease was seen free by a process that is not next.
    free_since: Option<Duration>,
    /// The holder that may be passed over, and since when.
    passes: Option<(Holder, Duration)>,
    pace: Pace,
}

impl Stand {
    /// How many processes have or had the lease before it is this one's turn: 1 if it is next. `None` if it is not in
    /// the line, or the line has passed it.
    fn distance(&self, slot: u32) -> Option<u32> {
        self.lock.map(|lock| lock.wrapping_sub(slot)).filter(|distance| (1..=LONGEST).contains(distance))
    }
}

impl Line {
    pub(super) fn new(storage: Arc<dyn FsOrder>) -> Line {
        Line { storage, stand: Mutex::default() }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.stand().lock.is_some()
    }

    /// The lock that this process has in advance.
    pub(super) fn lock(&self) -> Option<u32> {
        self.stand().lock
    }

    /// Joins the line behind all others, where `slot` stands for the lease. Returns whether nobody is in front but the
    /// holder.
    pub(super) fn join(&self, slot: u32) -> io::Result<bool> {
        let mut stand = self.stand();
        let lock = |distance| self.storage.try_lock(slot.wrapping_add(distance));
        // `taken` is the last lock that is known to be another's, and `mine` one behind it.
        let (mut taken, mut mine, mut tried) = (0, None, stand.in_front.clamp(1, LONGEST));
        let mut step = 1;
        self.leave_from(&mut stand)?;
        while taken < LONGEST {
            if lock(tried)? {
                mine = Some(tried);
                self.moves_to(&mut stand, slot.wrapping_add(tried))?;
            } else {
                taken = tried;
            }
            tried = match mine {
                // Nobody is between the two; or the first lock that was tried is free, and is taken for the end of the
                // line. If it is not, this process moves up later, or stands in front of some.
                Some(mine) if taken == 0 || mine == taken + 1 => break,
                Some(mine) => taken.midpoint(mine),
                None => (taken + step).min(LONGEST),
            };
            step *= 2;
        }
        (stand.in_front, stand.looks) = (mine.unwrap_or(1), 0);
        stand.free_since = None;
        // How long the lease has stood there before, it does not know.
        (stand.slot, stand.since) = (slot, self.storage.now().monotonic);
        Ok(mine.is_none_or(|distance| distance == 1))
    }

    /// Moves up as far as the locks in front of its own are free, up to the one behind `slot`, which stands for the
    /// lease, as the head has just shown. Returns whether this process asks for the lock `slot` itself now.
    pub(super) fn move_up(&self, slot: u32) -> io::Result<bool> {
        let mut stand = self.stand();
        let Some(mut distance) = stand.distance(slot) else { return Ok(stand.lock.is_none()) };
        let had = distance;
        while distance > 1 && self.storage.try_lock(slot.wrapping_add(distance - 1))? {
            distance -= 1;
            self.moves_to(&mut stand, slot.wrapping_add(distance))?;
            stand.in_front = stand.in_front.saturating_sub(1);
        }
        if distance == 1 {
            stand.looks += 1;
            return Ok(had > 1 || stand.looks % ASKS_FOR_LOCK == 2);
        }
        let now = || self.storage.now().monotonic;
        let is_stuck = now().saturating_sub(stand.since) >= STUCK + STUCK_FOR_EACH * (distance - 1);
        if !is_stuck || self.storage.is_locked(slot..=slot)? != Some(false) {
            stand.free_since = None;
            return Ok(false);
        }
        let free_since = *stand.free_since.get_or_insert_with(now);
        Ok(now().saturating_sub(free_since) >= NOT_TAKEN)
    }

    /// The lock that this process takes by passing over `holder`, which has done nothing for a whole lease. `None`: a
    /// process in front may do so first. (This process may have left the line meanwhile, and joined it again.)
    pub(super) fn passes_over(&self, holder: &Holder) -> Option<u32> {
        let mut stand = self.stand();
        let term = holder.term as u32;
        let Some(distance) = stand.distance(term) else { return Some(term.wrapping_add(1)) };
        let now = self.storage.now().monotonic;
        let since = match &stand.passes {
            Some((silent, since)) if silent == holder => *since,
            _ => stand.passes.insert((holder.clone(), now)).1,
        };
        (now.saturating_sub(since) >= PASSES_OVER_EACH * (distance - 1)).then(|| term.wrapping_add(distance))
    }

    /// Which version should be the newest by now, for a process that waits and knows `known`.
    pub(super) fn expects(&self, known: Version) -> Option<Version> {
        let stand = self.stand();
        let expected = stand.pace.expects(self.storage.now().monotonic);
        stand.lock.and(expected.or(Some(known)))
    }

    /// A look has shown this newest version, and that `slot` stands for the lease. Leaves the line if it has passed this
    /// process by.
    pub(super) fn sees(&self, newest: Version, slot: u32) -> io::Result<()> {
        let mut stand = self.stand();
        let now = self.storage.now().monotonic;
        stand.pace.sees(newest, now);
        let turns = slot.wrapping_sub(stand.slot);
        if turns > 0 {
            if turns <= LONGEST {
                let turn = now.saturating_sub(stand.since).min(LONGEST_TURN * turns) / turns;
                let longer = (turn.saturating_sub(stand.turn) / RISES).min(stand.turn / RISES_BY);
                stand.turn = if stand.turn.is_zero() { turn } else { turn.min(stand.turn + longer) };
            }
            (stand.slot, stand.since, stand.looks) = (slot, now, 0);
            stand.free_since = None;
        }
        if stand.lock != Some(slot) && stand.distance(slot).is_none() {
            return self.leave_from(&mut stand);
        }
        Ok(())
    }

    /// When this process looks again: when its turn is about to come, most often.
    pub(super) fn again_in(&self) -> Duration {
        let stand = self.stand();
        let since = self.storage.now().monotonic.saturating_sub(stand.since);
        let next = NEXT_LOOKS_AGAIN.max(stand.turn / NEXT_LOOKS);
        let wait = match stand.distance(stand.slot) {
            // Most of the turn of the one in front is to come yet, or it will end any moment.
            Some(1) if since < stand.turn / 4 => 2 * next,
            Some(1) => next,
            Some(distance) => {
                let turns = stand.turn * (distance - 1);
                (turns.saturating_sub(since) * 3 / 4).max(turns / OTHERS_SLEEP).max(OTHERS_LOOK_AGAIN)
            }
            None => SELDOM,
        };
        (if since < LONG { wait } else { wait.max(SELDOM) }).min(LONGEST_SLEEP)
    }

    /// This process has the lease, by the lock that it had in advance.
    pub(super) fn is_served(&self) {
        self.stand().lock = None;
    }

    /// Leaves the line.
    pub(super) fn leave(&self) -> io::Result<()> {
        self.leave_from(&mut self.stand())
    }

    fn leave_from(&self, stand: &mut Stand) -> io::Result<()> {
        stand.lock.take().map_or(Ok(()), |lock| self.storage.unlock(lock))
    }

    /// It has taken this lock, and gives the one back that it had.
    fn moves_to(&self, stand: &mut Stand, lock: u32) -> io::Result<()> {
        stand.lock.replace(lock).map_or(Ok(()), |had| self.storage.unlock(had))
    }

    /// Whether others wait, and perhaps how many, where this process has the lease by the lock `slot`.
    pub(super) fn waiters(&self, slot: u32) -> io::Result<Option<u64>> {
        // Once in 2³² turns the numbers begin again. Then somebody may wait.
        let Some(last) = slot.checked_add(LONGEST) else { return Ok(None) };
        let is_free = |first| self.storage.is_locked(first..=last).map(|locked| locked == Some(false));
        if is_free(slot + 1)? {
            return Ok(Some(0));
        }
        Ok(if is_free(slot + 2)? { Some(1) } else { None })
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        unpoisoned(self.stand.lock())
    }
}

/// How fast versions come, while others wait. Times are monotonic.
#[derive(Default)]
struct Pace {
    /// The newest version that was seen, and when; …
    newest: (Version, Duration),
    /// … one before that, or the same; and one at least [`PACE_OVER`] before this one.
    middle: (Version, Duration),
    before: (Version, Duration),
}

impl Pace {
    fn sees(&mut self, version: Version, now: Duration) {
        if now.saturating_sub(self.middle.1) >= PACE_OVER {
            (self.before, self.middle) = (self.middle, (version, now));
        }
        self.newest = (version, now);
    }

    /// The newest version at `now`, if they go on coming so fast. `None` if nothing was seen for long.
    fn expects(&self, now: Duration) -> Option<Version> {
        let ((newest, since), (before, from)) = (self.newest, self.before);
        let (elapsed, time) = (now.saturating_sub(since), since.saturating_sub(from));
        let come = newest.0.checked_sub(before.0).filter(|_| !time.is_zero() && elapsed < 2 * time)?;
        Some(Version(newest.0 + (come as f64 * elapsed.as_secs_f64() / time.as_secs_f64()) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_expected_at_the_pace_of_the_last_ones() {
        let mut pace = Pace::default();
        let at = Duration::from_millis;
        assert_eq!(pace.expects(at(1)), None);
        pace.sees(Version(10), at(1000));
        pace.sees(Version(22), at(1100));
        assert_eq!(pace.expects(at(1100)), Some(Version(22)));
        assert_eq!(pace.expects(at(1150)), Some(Version(28)));
        pace.sees(Version(23), at(1101));
        assert_eq!(pace.expects(at(1102)), Some(Version(23)), "one look does not make a pace");
        assert_eq!(pace.expects(at(1400)), None, "that was long ago");
        pace.sees(Version(4), at(1200));
        assert_eq!(pace.expects(at(1210)), None, "a recovery has set versions back");
    }
}
