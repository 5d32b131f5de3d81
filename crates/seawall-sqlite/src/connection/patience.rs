//! How long a connection waits for a lock, between SQLite's busy handler and Seawall's.

use std::time::{Duration, Instant};

/// How long the first lock call waits where only SQLite's busy handler, if there is one, knows the timeout. It is as
/// long as another writer may keep the lease between two transactions.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How long a repeated lock call waits then. It is short, because SQLite's busy handler counts only its own sleeps.
const REPEATED_WAIT: Duration = Duration::from_millis(10);
/// A lock call or a busy handler that comes within this time after a BUSY belongs to that BUSY.
const REPEATED_WITHIN: Duration = Duration::from_millis(200);
/// How long the busy handler sleeps before SQLite tries a plain database again.
const SLEEP: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Default)]
pub(super) struct Patience {
    /// When the lock call began in which this statement waits.
    since: Option<Instant>,
    /// When a lock call of Seawall's last returned BUSY, until the busy handler was called for it.
    returned_busy: Option<Instant>,
    /// SQLite repeats that lock call, because Seawall's busy handler said so.
    is_repeated: bool,
    /// SQLite was preparing a statement, the busy handler said that it must not try again, and no lock call has come
    /// since.
    gave_up: bool,
    /// The lock call that runs does not wait. Its BUSY shows whether SQLite still asks the busy handler.
    is_probe: bool,
}

impl Patience {
    /// How long the lock call that begins now may wait. `timeout` is `None` where SQLite's own busy handler decides.
    pub(super) fn of_lock_call(&mut self, timeout: Option<Duration>) -> Duration {
        (self.gave_up, self.is_probe) = (false, false);
        let now = Instant::now();
        let since = match self.since {
            Some(since) if self.is_repeated => since,
            _ => *self.since.insert(now),
        };
        match (timeout, self.returned_busy) {
            (Some(timeout), _) => timeout.saturating_sub(now - since),
            (None, Some(returned)) if now - returned < REPEATED_WITHIN => REPEATED_WAIT,
            (None, _) => FIRST_WAIT,
        }
    }

    /// How long the lock call that begins now may wait, if it is the first use of a database, which may come while SQLite
    /// prepares a statement. If that fails there, SQLite tries once more in the same call (for CREATE TABLE and its
    /// like), although the busy handler has said that it must not. Therefore this attempt does not wait after such an
    /// answer. If it is another call, SQLite asks the busy handler again, and the next attempt waits.
    pub(super) fn of_first_use(&mut self, timeout: Option<Duration>) -> Duration {
        let is_probe = self.gave_up && timeout.is_some();
        let patience = self.of_lock_call(timeout);
        self.is_probe = is_probe;
        if is_probe { Duration::ZERO } else { patience }
    }

    /// A lock call has got its lock, or has failed for good. The next wait is another one.
    pub(super) fn wait_ended(&mut self) {
        (self.is_repeated, self.gave_up, self.is_probe) = (false, false, false);
    }

    /// A lock call is about to return BUSY. Returns whether Seawall's busy handler must be set, if the timeout is known.
    /// Setting it makes SQLite forget that it must not ask again, and after an attempt that did not wait it is in place.
    pub(super) fn returns_busy(&mut self) -> bool {
        self.returned_busy = Some(Instant::now());
        !std::mem::take(&mut self.is_probe)
    }

    /// SQLite got its `count`th BUSY: whether it should try again, and how long to sleep before that. If a lock call of
    /// Seawall's returned it, that call has already waited. Then SQLite tries again immediately, or not at all. If an
    /// attached plain database is locked, only another attempt after a short sleep can show that it is free.
    /// `is_preparing`: no statement runs.
    pub(super) fn on_busy(&mut self, timeout: Option<Duration>, count: i32, is_preparing: bool) -> (bool, Duration) {
        let ours = self.returned_busy.take().is_some_and(|returned| returned.elapsed() < REPEATED_WITHIN);
        if !ours && count == 0 {
            self.since = Some(Instant::now());
        }
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let again = timeout.is_some_and(|timeout| waited < timeout);
        self.is_repeated = ours && again;
        self.gave_up = ours && !again && is_preparing;
        (again, if again && !ours { SLEEP } else { Duration::ZERO })
    }
}
