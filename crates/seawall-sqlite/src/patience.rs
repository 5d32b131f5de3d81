//! How long a connection waits for a lock, between SQLite's busy handlers and ours.

use std::time::{Duration, Instant};

/// How long a lock call waits when only SQLite's busy handler, if there is one, knows the timeout: at first as long as
/// others may keep the lease between two transactions …
const FIRST_SLICE: Duration = Duration::from_millis(100);
/// … and then, as long as the handler comes back within moments, a little each time, for it counts its own sleeps only.
const SLICE: Duration = Duration::from_millis(10);
const MOMENTS: Duration = Duration::from_millis(200);
/// How long to sleep before a plain database is tried again.
const MOMENT: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Default)]
pub(crate) struct Patience {
    /// None: SQLite's own busy handler has it.
    pub(crate) timeout: Option<Duration>,
    /// When the lock call began that this statement waits in.
    since: Option<Instant>,
    /// When a lock call of ours last answered BUSY; the busy handler takes it.
    refused: Option<Instant>,
    /// SQLite is repeating that lock call because our busy handler told it to.
    retrying: bool,
}

impl Patience {
    /// How long the lock call that begins now may wait. Where main is not ours, neither is the busy handler.
    pub(crate) fn of_a_lock(&mut self, main_is_ours: bool) -> Duration {
        let now = Instant::now();
        let since = match self.since {
            Some(since) if self.retrying => since,
            _ => *self.since.insert(now),
        };
        match (self.timeout.filter(|_| main_is_ours), self.refused) {
            (Some(timeout), _) => timeout.saturating_sub(now - since),
            (None, Some(refused)) if now - refused < MOMENTS => SLICE,
            (None, _) => FIRST_SLICE,
        }
    }

    /// The lock was had, or failed for good: the next wait is another one.
    pub(crate) fn is_over(&mut self) {
        self.retrying = false;
    }

    /// SQLite is about to be told BUSY.
    pub(crate) fn is_refused(&mut self) {
        self.refused = Some(Instant::now());
    }

    /// SQLite met its `count`th BUSY: whether it is to try again, and after how long a sleep. If it was ours, the lock call
    /// has waited already, so: at once, or never. If an attached plain database is locked, only trying again after a
    /// moment can tell.
    pub(crate) fn is_asked(&mut self, count: i32) -> (bool, Duration) {
        let ours = self.refused.take().is_some_and(|refused| refused.elapsed() < MOMENTS);
        if !ours && count == 0 {
            self.since = Some(Instant::now());
        }
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let again = self.timeout.is_some_and(|timeout| waited < timeout);
        self.retrying = ours && again;
        (again, if again && !ours { MOMENT } else { Duration::ZERO })
    }
}
