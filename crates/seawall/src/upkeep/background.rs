//! Upkeep in the background of a process that commits: a checkpoint once the log is long enough, and garbage collection
//! from time to time.
//!
//! Both take long, and a lease must be renewed meanwhile. Therefore they have a thread of their own, which ends when
//! they are done. AWS Lambda freezes a process between requests, so nothing is done there: a function of its own calls
//! them.

use super::checkpoint::log_and_base;
use super::collect::Collecting;
use super::listing::time_of;
use super::policy::policy;
use crate::chores::Chore;
use crate::error::Result;
use crate::format::policy::Policy;
use crate::ports::counters::this_thread_runs_in_background;
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, caught, spawn, unpoisoned};
use crate::write::committer::Committer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// So often a process that commits asks itself whether something is due …
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// … and so often it looks when garbage was collected last, and what the policy is.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// Garbage is collected so often, at least; more often where history is short.
const COLLECT_EVERY: Duration = Duration::from_secs(3600);
/// After a failure it is tried again so much later, twice as much after each further one …
const FIRST_BACKOFF: Duration = Duration::from_secs(60);
/// … and at most so much.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// How often garbage is collected under a policy.
pub(super) fn collect_every(policy: &Policy) -> Duration {
    COLLECT_EVERY.min(policy.history / 8)
}

/// The chore that begins upkeep.
pub(crate) struct Maintain {
    committer: Weak<Committer>,
    state: Mutex<State>,
    /// The thread is at work.
    is_at_work: Arc<AtomicBool>,
}

#[derive(Default)]
struct State {
    /// When to look next; none before the first commit.
    next: Option<Duration>,
    /// When to ask the folder next, and what it said of the policy.
    ask: Option<Duration>,
    policy: Policy,
    /// When a collection is due, as far as is known.
    collect: Option<Duration>,
    /// After how many failures in a row, the last of them at `next`.
    failures: u32,
}

/// What a look decided.
struct Due {
    checkpoint: bool,
    collect: bool,
}

impl Maintain {
    pub(crate) fn new(committer: Weak<Committer>) -> Maintain {
        Maintain { committer, state: Mutex::default(), is_at_work: Arc::default() }
    }

    /// What is due now. Asks the folder now and then.
    fn look(&self, committer: &Arc<Committer>, now: Duration) -> Result<Due> {
        let mut state = unpoisoned(self.state.lock());
        let storage = &*committer.tip.storage;
        if state.ask.is_none_or(|ask| now >= ask) {
            state.ask = Some(now + ASK_EVERY);
            state.policy = policy(storage)?;
            // Its age is judged by two clocks here: too early or too late by their difference harms nobody.
            let wall = storage.now().wall.as_nanos() as i128;
            let age = time_of(storage, File::Collected)?.map_or(COLLECT_EVERY.as_nanos() as i128, |then| wall - then);
            let every = collect_every(&state.policy);
            let age = Duration::from_nanos(age.clamp(0, i128::from(u64::MAX)) as u64);
            state.collect = Some(now + every.saturating_sub(age));
        }
        let (log, base) = log_and_base(&committer.tip.known());
        let checkpoint = log > base.max(state.policy.checkpoint_at);
        Ok(Due { checkpoint, collect: checkpoint || state.collect.is_some_and(|collect| now >= collect) })
    }

    /// The next look comes later after each failure.
    fn is_done(&self, committer: &Committer, result: &Result<(), String>) {
        let now = committer.tip.storage.now().monotonic;
        let mut state = unpoisoned(self.state.lock());
        match result {
            Ok(()) => {
                state.failures = 0;
                state.collect = Some(now + collect_every(&state.policy));
            }
            Err(_) => {
                let backoff = FIRST_BACKOFF * 2_u32.pow(state.failures.min(10));
                state.failures += 1;
                state.next = Some(now + backoff.min(LONGEST_BACKOFF));
            }
        }
    }
}

impl Chore for Arc<Maintain> {
    fn due(&self) -> Option<Duration> {
        let committer = self.committer.upgrade()?;
        if self.is_at_work.load(Ordering::Acquire) || !committer.asked.upkeep.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = unpoisoned(self.state.lock());
        Some(*state.next.get_or_insert_with(|| committer.tip.storage.now().monotonic + LOOK_EVERY))
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.committer.upgrade() else { return Ok(()) };
        // Asked for again by the next commit.
        committer.asked.upkeep.store(false, Ordering::Relaxed);
        let now = committer.tip.storage.now().monotonic;
        unpoisoned(self.state.lock()).next = Some(now + LOOK_EVERY);
        let due = self.look(&committer, now).map_err(|error| format!("looking for what is due: {error}"))?;
        if !due.checkpoint && !due.collect {
            return Ok(());
        }
        self.is_at_work.store(true, Ordering::Release);
        let maintain = self.clone();
        let started = spawn("seawall upkeep", move || {
            this_thread_runs_in_background();
            let worked =
                caught(|| work(&committer, &due)).unwrap_or_else(|panic| Err(format!("upkeep failed: {panic}")));
            maintain.is_done(&committer, &worked);
            committer.chores.report(worked);
            maintain.is_at_work.store(false, Ordering::Release);
        });
        started.map(drop).map_err(|error| {
            self.is_at_work.store(false, Ordering::Release);
            format!("no thread for upkeep can be started: {error}")
        })
    }
}

fn work(committer: &Arc<Committer>, due: &Due) -> Result<(), String> {
    let go_on = &mut |_, _| Ok(());
    if due.checkpoint {
        committer
            .checkpoint(go_on)
            .map_err(|error| format!("a checkpoint failed, and will be tried again: {error}"))?;
    }
    if due.collect {
        let collected = committer.collect(Collecting::default());
        collected.map_err(|error| format!("garbage collection failed, and will be tried again: {error}"))?;
    }
    Ok(())
}
