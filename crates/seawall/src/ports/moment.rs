//! A reading of both clocks.

use crate::format::codec::LAST_TIME;
use std::time::Duration;

/// When something happened, by the monotonic and by the wall clock. A frozen machine stops the one, and an operator can
/// set the other. Therefore what must be recent must be so by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Moment {
    /// Since some fixed moment of this machine's life; never falls.
    pub monotonic: Duration,
    /// Since 1970.
    pub wall: Duration,
}

impl Moment {
    /// How long before `now` this was, by the clock that shows the longer time. A wall clock that was set back does not
    /// count.
    pub fn age(&self, now: Moment) -> Duration {
        let monotonic = now.monotonic.saturating_sub(self.monotonic);
        monotonic.max(now.wall.saturating_sub(self.wall))
    }

    /// Milliseconds since 1970, as a record can have them.
    pub fn unix_millis(&self) -> u64 {
        u64::try_from(self.wall.as_millis()).map_or(LAST_TIME, |millis| millis.min(LAST_TIME))
    }

    /// The time of day, for people.
    pub fn clock(&self) -> String {
        let seconds = self.wall.as_secs();
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        format!("{hours:02}:{minutes:02}:{:02}.{:03} UTC", seconds % 60, self.wall.subsec_millis())
    }
}
