//! A process, and the clocks of the machine that it runs on.

use seawall::{Moment, Version};
use std::fmt;
use std::time::Duration;

/// What 1970 was so long ago when the run begins.
const EPOCH: Duration = Duration::from_secs(1_795_000_000);

/// Numbers a process; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) usize);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("p{}", self.0))
    }
}

/// How a machine's clocks go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Both go so fast.
    pub(crate) rate: f64,
    /// The wall clock is ahead by so many nanoseconds.
    pub(crate) ahead: i64,
}

/// A process.
pub(crate) struct Process {
    /// The machine that it runs on.
    pub(crate) machine: usize,
    pub(crate) is_dead: bool,
    /// Its machine lost its power: nothing of what it had begun takes place any more.
    pub(crate) is_gone: bool,
    /// Nothing of it runs until then.
    pub(crate) frozen_until: Duration,
    pub(crate) clock: Clock,
    /// When it began; its monotonic clock runs from there.
    began: Duration,
    /// So much of the time its monotonic clock stood still.
    stood_still: Duration,
    /// It cannot reach the file server until then …
    pub(crate) cut_until: Duration,
    /// … nor the table.
    pub(crate) table_cut_until: Duration,
    /// How many appends and swaps of it are on their way.
    pub(crate) appending: u32,
    pub(crate) swapping: u32,
    /// A swap of it took place, and the reply was lost: it waits for an answer that will not come.
    pub(crate) waits_in_vain: bool,
    /// Its clocks jumped or stood still: its ages mean nothing.
    pub(crate) clock_troubled: bool,
    /// It has no database yet.
    pub(crate) is_opening: bool,
    /// Its lease is one under which it has named a version: all others know who has it.
    pub(crate) is_lease_told: bool,
    /// The newest version in a list that it was given and has not looked up yet.
    pub(crate) listed: Option<Version>,
    /// How many of its appends to segments have failed; a segment that could not be made counts as well.
    pub(crate) failed_appends: u32,
    /// The newest version that a transaction of it has seen to the end.
    pub(crate) seen: u64,
    /// What the operating system's randomness says until the process was copied: the same to its twin.
    pub(crate) shared_chance: Option<fastrand::Rng>,
}

impl Process {
    pub(crate) fn new(machine: usize, clock: Clock, began: Duration) -> Process {
        Process {
            machine,
            is_dead: false,
            is_gone: false,
            frozen_until: Duration::ZERO,
            clock,
            began,
            stood_still: Duration::ZERO,
            cut_until: Duration::ZERO,
            table_cut_until: Duration::ZERO,
            appending: 0,
            swapping: 0,
            waits_in_vain: false,
            clock_troubled: false,
            is_opening: false,
            is_lease_told: false,
            listed: None,
            failed_appends: 0,
            seen: 0,
            shared_chance: None,
        }
    }

    /// The one that is in no machine, and directs the others.
    pub(crate) fn director() -> Process {
        Process::new(usize::MAX, Clock { rate: 1.0, ahead: 0 }, Duration::ZERO)
    }

    /// What its clocks say at the true time `now`.
    pub(crate) fn now(&self, now: Duration) -> Moment {
        let monotonic = now.saturating_sub(self.began).saturating_sub(self.stood_still).mul_f64(self.clock.rate);
        let wall = EPOCH + now.mul_f64(self.clock.rate);
        let nanos = (wall.as_nanos() as i128 + i128::from(self.clock.ahead)).max(0);
        Moment { monotonic, wall: Duration::from_nanos(nanos as u64) }
    }

    /// How long `time` by its clock takes.
    pub(crate) fn true_time(&self, time: Duration) -> Duration {
        time.min(Duration::from_secs(1 << 30)).div_f64(self.clock.rate)
    }

    /// Nothing of it runs between the two true times. A machine that sleeps stops its monotonic clock, too.
    pub(crate) fn freeze(&mut self, now: Duration, until: Duration, clock_stops: bool) {
        if until > self.frozen_until {
            let more = until - self.frozen_until.max(now);
            self.frozen_until = until;
            if clock_stops {
                self.clock_troubled = true;
                self.stood_still += more;
            }
        }
    }
}
