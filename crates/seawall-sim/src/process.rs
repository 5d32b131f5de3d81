//! A process, and the clocks of the machine that it runs on.

use crate::place::At;
use seawall::{Moment, Version};
use std::fmt;
use std::time::Duration;

/// The time since 1970 when the run begins.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_795_000_000);

/// A process's number, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessId(pub(crate) usize);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("p{}", self.0))
    }
}

/// A machine's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The rate of both clocks.
    pub(crate) rate: f64,
    /// The wall clock is ahead by so many nanoseconds.
    pub(crate) ahead: i64,
}

/// A process.
pub(crate) struct Process {
    /// The machine that it runs on.
    pub(crate) machine: usize,
    pub(crate) is_dead: bool,
    /// Its machine lost its power. Nothing that it began takes place any more.
    pub(crate) is_gone: bool,
    /// It does not run until then.
    pub(crate) frozen_until: Duration,
    pub(crate) clock: Clock,
    /// When it began. Its monotonic clock runs from there.
    began: Duration,
    /// How long its monotonic clock stood still.
    stood_still: Duration,
    /// It cannot reach the file server until then …
    pub(crate) cut_until: Duration,
    /// … nor the table.
    pub(crate) table_cut_until: Duration,
    /// Its looks at files fail until then.
    pub(crate) looks_fail_until: Duration,
    /// How many of its next file operations are likelier to fail, because one did just now.
    pub(crate) faults_follow: u32,
    /// How many of its appends and swaps are in flight.
    pub(crate) appending: u32,
    pub(crate) swapping: u32,
    /// Its swap took place, and the reply was lost. It waits for an answer that will not come.
    pub(crate) misses_its_reply: bool,
    /// Its clocks jumped or stood still, so that its ages mean nothing.
    pub(crate) clock_troubled: bool,
    /// It has no database yet.
    pub(crate) is_opening: bool,
    /// It has named a version under its lease. Therefore all others know its holder.
    pub(crate) is_lease_known: bool,
    /// The newest version of its last listing, until it looks that version up.
    pub(crate) listed: Option<Version>,
    /// How many of its appends to segments have failed. A segment that could not be made counts as well.
    pub(crate) failed_appends: u32,
    /// How many of its commits have failed just now, and are not marked yet.
    pub(crate) marks_later: u32,
    /// How many checkpoints and how many garbage collections it is at.
    pub(crate) checkpointing: u32,
    pub(crate) collecting: u32,
    /// It recovers the database, detaches it, or moves it.
    pub(crate) is_recovering: bool,
    pub(crate) is_detaching: bool,
    pub(crate) is_moving: bool,
    /// As an operator it has chosen the commit that it recovers to. If it slept since, it leaves out what came after.
    pub(crate) has_chosen: bool,
    /// The coordinator with which it has the database open.
    pub(crate) opened_at: At,
    /// It ended because the database that it had open has moved. Another process takes its place.
    pub(crate) was_left_behind: bool,
    /// How many bases it has begun to write, and how often a pin of its own was not there.
    pub(crate) drafted: u32,
    pub(crate) unpinned: u32,
    /// The inodes of the segments that it has open: its own, and that of a large transaction.
    pub(crate) segments: Vec<usize>,
    /// The epoch that its last transaction saw.
    pub(crate) epoch: Option<u64>,
    /// The newest version that a transaction of it has seen to the end.
    pub(crate) seen: u64,
    /// The operating system's randomness until the process was copied, which its twin shares.
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
            looks_fail_until: Duration::ZERO,
            faults_follow: 0,
            appending: 0,
            swapping: 0,
            misses_its_reply: false,
            clock_troubled: false,
            is_opening: false,
            is_lease_known: false,
            listed: None,
            failed_appends: 0,
            marks_later: 0,
            checkpointing: 0,
            collecting: 0,
            is_recovering: false,
            is_detaching: false,
            is_moving: false,
            has_chosen: false,
            opened_at: At::Files,
            was_left_behind: false,
            drafted: 0,
            unpinned: 0,
            segments: Vec::new(),
            epoch: None,
            seen: 0,
            shared_chance: None,
        }
    }

    /// The director, which is on no machine.
    pub(crate) fn director() -> Process {
        Process::new(usize::MAX, Clock { rate: 1.0, ahead: 0 }, Duration::ZERO)
    }

    /// Its clocks at the true time `now`.
    pub(crate) fn now(&self, now: Duration) -> Moment {
        let monotonic = now.saturating_sub(self.began).saturating_sub(self.stood_still).mul_f64(self.clock.rate);
        let wall = EPOCH + now.mul_f64(self.clock.rate);
        let nanos = (wall.as_nanos() as i128 + i128::from(self.clock.ahead)).max(0);
        Moment { monotonic, wall: Duration::from_nanos(nanos as u64) }
    }

    /// The true length of `time` by its clock.
    pub(crate) fn true_time(&self, time: Duration) -> Duration {
        time.min(Duration::from_secs(1 << 30)).div_f64(self.clock.rate)
    }

    /// It does not run between the two true times. A machine that sleeps also stops its monotonic clock.
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
