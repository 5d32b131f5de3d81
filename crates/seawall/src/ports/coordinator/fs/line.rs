//! The line of the processes that wait for the lease: places that are locks, with the first in front.
//!
//! A process joins the line at its end. When the place in front of its own becomes free, it takes that one, and gives
//! its own back. The process in the first place is next for the lease. So the one that has waited longest is served
//! first, and nothing is written. With a process that dies, its place becomes free.
//!
//! The line is advisory, as the lease is. A process in front that is frozen keeps its place and does not take a lease
//! that is free. Those behind it see that, and go past it.

use crate::ports::storage::{FsOrder, Lock, PLACES};
use crate::ports::sync::{Mutex, MutexGuard, whole};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Those who wait are not more than this, most often: the second place where a process looks for the end of the line.
const FEW: u8 = 9;
/// A process that has not moved up for this long looks whether the lease is free, and with each place that it is
/// further behind …
const STUCK: Duration = Duration::from_millis(100);
/// … for this much longer. So the one that is nearest to the front looks first.
const STUCK_FOR_EACH: Duration = Duration::from_millis(20);
/// A lease that is free for this long is taken by nobody in front. A process that is awake asks every few milliseconds.
const NOT_TAKEN: Duration = Duration::from_millis(40);
/// How soon the process that is next asks again. A request for a lock costs nothing but the trip.
const NEXT_ASKS_AGAIN: Duration = Duration::from_millis(1);
/// The one behind it asks this soon whether it moves up, or so many times in a turn …
const SECOND_ASKS_AGAIN: Duration = Duration::from_millis(2);
const SECOND_ASKS: u32 = 10;
/// … and all others this soon, or so many times in a turn: they move up once in it. Where turns are long, because the
/// server or its clients are busy, nobody asks more often than that.
const OTHERS_ASK_AGAIN: Duration = Duration::from_millis(10);
const OTHERS_ASK: u32 = 3;
/// A turn is taken to be no longer than this.
const LONGEST_TURN: Duration = Duration::from_millis(200);
/// After a process has waited for so long, the holder has more to do than a usual transaction, …
const LONG: Duration = Duration::from_millis(1000);
/// … and everybody asks so many times less often.
const LESS_OFTEN: u32 = 4;

/// This process's place in the line.
pub(super) struct Line {
    storage: Arc<dyn FsOrder>,
    stand: Mutex<Stand>,
}

/// Times are monotonic.
#[derive(Default)]
struct Stand {
    /// The place; 0 if this process is not in the line.
    place: u8,
    /// Whether this process has all places behind its own as well, so that nobody else can join.
    is_last: bool,
    /// When it came to its place, or last saw that somebody is at work.
    since: Duration,
    /// Since when the lease was seen free by a process that is not next.
    free_since: Option<Duration>,
    /// Everybody up to this place does not take a free lease.
    asleep: u8,
    /// The lease was granted.
    is_served: bool,
    /// When it joined the line, or moved up last, …
    moved: Duration,
    /// … and how long a turn takes, by its moves.
    turn: Duration,
}

impl Line {
    pub(super) fn new(storage: Arc<dyn FsOrder>) -> Line {
        Line { storage, stand: Mutex::default() }
    }

    pub(super) fn is_joined(&self) -> bool {
        let stand = self.stand();
        stand.place > 0 && !stand.is_served
    }

    /// Whether this process waits, and is in front.
    pub(super) fn is_first(&self) -> bool {
        let stand = self.stand();
        stand.place == 1 && !stand.is_last && !stand.is_served
    }

    /// Joins the line, or moves up in it as far as possible. Returns whether this process is next for the lease, which
    /// is the lock `lease`.
    pub(super) fn advance(&self, lease: Lock) -> io::Result<bool> {
        let mut stand = self.stand();
        let now = || self.storage.now().monotonic;
        if stand.is_served {
            self.leave_from(&mut stand)?;
        }
        if stand.place == 0 {
            self.join(&mut stand)?;
            (stand.since, stand.moved) = (now(), now());
        }
        while stand.place > 1 && self.storage.try_lock(Lock::Places(stand.place - 1, stand.place - 1))? {
            self.storage.unlock(Lock::Places(stand.place, stand.place))?;
            (stand.place, stand.since, stand.free_since, stand.asleep) = (stand.place - 1, now(), None, 0);
            stand.turn = (stand.turn + now().saturating_sub(stand.moved).min(LONGEST_TURN)) / 2;
            stand.moved = stand.since;
        }
        if stand.place == 1 || stand.place > 1 && stand.place - 1 <= stand.asleep {
            return Ok(true);
        }
        // A process that found no place is behind all others.
        let places = if stand.place == 0 { PLACES } else { stand.place - 1 };
        if now().saturating_sub(stand.since) < STUCK + STUCK_FOR_EACH * places.into() {
            return Ok(false);
        }
        if self.storage.is_locked(lease)? != Some(false) {
            (stand.since, stand.free_since) = (now(), None);
            return Ok(false);
        }
        let free_since = *stand.free_since.get_or_insert_with(now);
        if now().saturating_sub(free_since) < NOT_TAKEN {
            return Ok(false);
        }
        stand.asleep = places;
        Ok(true)
    }

    /// Takes the place behind everybody else's: the first one from which on all places are free.
    fn join(&self, stand: &mut Stand) -> io::Result<()> {
        // `first` is the first place that this process has, with all behind it. It may be as far in front as `low`.
        let (mut low, mut first) = (1, PLACES + 1);
        let mut tried = 1;
        while low < first {
            if self.storage.try_lock(Lock::Places(tried, first - 1))? {
                first = tried;
            } else {
                low = tried + 1;
            }
            tried = if low < FEW && first > PLACES { FEW } else { low.midpoint(first.saturating_sub(1)) };
        }
        // Another process is just joining, or the line is full.
        if first > PLACES {
            return Ok(());
        }
        (stand.place, stand.is_last) = (first, first < PLACES);
        // Nobody waits: then the lease itself is asked for first.
        if first > 1 { self.let_others_join(stand) } else { Ok(()) }
    }

    fn let_others_join(&self, stand: &mut Stand) -> io::Result<()> {
        if std::mem::take(&mut stand.is_last) {
            self.storage.unlock(Lock::Places(stand.place + 1, PLACES))?;
        }
        Ok(())
    }

    /// The lease was refused, and this process waits.
    pub(super) fn waits(&self) -> io::Result<()> {
        let mut stand = self.stand();
        self.let_others_join(&mut stand)
    }

    /// When this process asks again; and whether its turn comes soon.
    pub(super) fn again_in(&self, waited: Duration) -> (Duration, bool) {
        let stand = self.stand();
        let is_next = stand.place > 0 && stand.place - 1 <= stand.asleep;
        let wait = match stand.place {
            _ if is_next => NEXT_ASKS_AGAIN,
            2 => SECOND_ASKS_AGAIN.max(stand.turn / SECOND_ASKS),
            _ => OTHERS_ASK_AGAIN.max(stand.turn / OTHERS_ASK),
        };
        (if waited < LONG { wait } else { wait * LESS_OFTEN }, is_next || stand.place == 2)
    }

    /// The lease was granted: the place is to be given back.
    pub(super) fn is_served(&self) {
        let mut stand = self.stand();
        stand.is_served = stand.place > 0;
    }

    pub(super) fn is_to_leave(&self) -> bool {
        self.stand().is_served
    }

    /// Leaves the line. What this process has seen of those in front stays: it will stand behind them again.
    pub(super) fn leave(&self) -> io::Result<()> {
        self.leave_from(&mut self.stand())
    }

    fn leave_from(&self, stand: &mut Stand) -> io::Result<()> {
        let (place, is_last) = (stand.place, stand.is_last);
        *stand = Stand { asleep: stand.asleep, turn: stand.turn, ..Stand::default() };
        if place == 0 {
            return Ok(());
        }
        self.storage.unlock(Lock::Places(place, if is_last { PLACES } else { place }))
    }

    /// Whether other processes wait, while this one has the lease.
    pub(super) fn is_waited_in(&self) -> io::Result<bool> {
        let behind = match &*self.stand() {
            stand if stand.place > 0 && stand.is_last => return Ok(false),
            stand => stand.place + 1,
        };
        Ok(behind > PLACES || self.storage.is_locked(Lock::Places(behind, PLACES))? != Some(false))
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        whole(self.stand.lock())
    }
}
