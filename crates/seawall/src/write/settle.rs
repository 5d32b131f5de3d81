//! Settling: what became of a commit that got no clear answer. The head says it, or the number that `fs` gave it, or
//! the chain.

use super::commit::{Outcome, Pending};
use super::committer::Committer;
use crate::error::{Error, Result};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{Epoch, Version};
use crate::format::window::Window;
use crate::mutation::mistake;
use crate::ports::coordinator::Lease;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, unpoisoned};
use crate::way_out::{SAYS_FIRST, WayOut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a later transaction asks before it reports that the outcome is still unknown.
pub(crate) const PATIENCE_LATER: Duration = Duration::from_secs(1);

/// What a head says of a commit.
pub(crate) enum Verdict {
    Committed,
    Refused,
    /// Its swap may still take place.
    Open,
    /// It took place or it never will, and what would show which is damaged or was garbage-collected.
    Unknowable(String),
}

/// A place on the way back from a head: which fold was at `version` in the history of `epoch`. There is one history, so
/// what was found once stays true under every later head of that epoch.
#[derive(Clone, Copy)]
pub(crate) struct Walked {
    epoch: Epoch,
    version: Version,
    fold: CommitRef,
}

/// A commit whose outcome is not known yet, and how this process's threads ask for it: one asks, all share the answer.
/// It is settled before this process does anything else with the database.
#[derive(Default)]
pub(crate) struct Unsettled {
    /// Whether there is one: asked at every transaction, so without a lock.
    is_there: AtomicBool,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    pending: Option<Arc<Pending>>,
    /// A thread asks right now.
    asking: bool,
    /// How often a thread asked and learned nothing, and what it reported last.
    failures: u64,
    failed: Option<Error>,
}

impl Unsettled {
    /// Whether there is a commit whose outcome is not known yet.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(self.state.lock())
    }
}

/// A thread asks: over when this is dropped, even by a panic, so that no thread waits for it any longer.
struct Asking<'a>(&'a Unsettled);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state().asking = false;
        self.0.ended.notify_all();
    }
}

impl Pending {
    fn unknown(&self, cause: impl Into<String>) -> Error {
        Error::OutcomeUnknown { commit: self.next.commit().id, version: self.next.version, cause: cause.into() }
    }

    pub(crate) fn unknowable(&self, cause: String) -> Error {
        Error::OutcomeUnknowable { commit: self.next.commit().id, version: self.next.version, cause }
    }
}

impl Committer {
    /// Settles what an earlier commit of this process left unknown. Every transaction begins with this, reading ones
    /// too: none may read past what is being settled. One thread asks; the others wait for its answer, at most
    /// `timeout`, and share it.
    pub(crate) fn settle(&self, timeout: Duration) -> Result<()> {
        if !self.unsettled.is_there() {
            return Ok(());
        }
        let until = self.tip.storage.now().monotonic + timeout;
        let mut state = self.unsettled.state();
        let earlier = state.failures;
        loop {
            let Some(pending) = state.pending.clone() else { return Ok(()) };
            match &state.failed {
                Some(error) if state.failures > earlier => return Err(error.clone()),
                _ => {}
            }
            if !state.asking {
                state.asking = true;
                drop(state);
                return self.ask_for(&pending, timeout.min(PATIENCE_LATER));
            }
            let left = until.saturating_sub(self.tip.storage.now().monotonic);
            if left.is_zero() {
                return Err(pending.unknown("another thread of this process asks, and has no answer yet"));
            }
            state = unpoisoned(self.unsettled.ended.wait_timeout(state, left)).0;
        }
    }

    /// Asks what became of `pending`. All threads that wait share the answer.
    fn ask_for(&self, pending: &Arc<Pending>, patience: Duration) -> Result<()> {
        let asking = Asking(&self.unsettled);
        let until = self.until(patience);
        let outcome = if pending.failure.is_some() {
            Outcome::Refused
        } else {
            pending.is_ambiguous.store(true, Ordering::Relaxed);
            self.outcome_of(pending, self.swap(pending, until), until)
        };
        let settled = match outcome {
            Outcome::Committed => self.install_late(pending).map_err(|error| error.to_string()),
            Outcome::Refused => self.settle_refusal(pending, patience).map(drop),
            Outcome::Failed(error) => Err(error.to_string()),
            Outcome::Unknown(cause) => Err(cause),
            Outcome::Unknowable(cause) => {
                let report = |()| self.chores.report(Err(pending.unknowable(cause).to_string()));
                self.go_on_without_outcome(pending, patience).map(report)
            }
        };
        let result = settled.map_err(|cause| pending.unknown(cause));
        let mut state = self.unsettled.state();
        match &result {
            Ok(()) => {
                state.pending = None;
                self.unsettled.is_there.store(false, Ordering::Release);
            }
            Err(error) => {
                state.failures += 1;
                state.failed = Some(error.clone());
            }
        }
        drop(state);
        drop(asking);
        result
    }

    pub(crate) fn leave_unsettled(&self, pending: Pending, cause: String) -> Error {
        let error = pending.unknown(cause);
        let mut state = self.unsettled.state();
        assert!(state.pending.is_none(), "no writer commits before what was unknown is settled (invariant 10)");
        state.pending = Some(Arc::new(pending));
        self.unsettled.is_there.store(true, Ordering::Release);
        error
    }

    /// It will stay unknown what became of `pending`, and nothing can change it any more: another commit has its
    /// version, or builds on it. The newest version is right in either case, so this process goes on there, and never
    /// reads an older one.
    pub(crate) fn go_on_without_outcome(&self, pending: &Pending, patience: Duration) -> Result<(), String> {
        let look = || {
            let sent = self.tip.storage.now();
            let newest = self.tip.catch_up(self.tip.load(&self.tip.known(), patience)?, sent)?;
            assert!(newest.head.order() > pending.previous.head.order(), "a head that was seen stays (invariant 9)");
            Ok(())
        };
        look().map_err(Error::of_a_look)
    }

    /// The commit is in the history, and its writer has long gone on: no writer here waits for its lease.
    fn install_late(&self, pending: &Pending) -> Result<()> {
        self.install(pending)?;
        if pending.keep && !self.tip.coordinator.lease_survives_swap() {
            let lease = Lease { generation: pending.next.generation, ..pending.lease.clone() };
            let released = self.tip.coordinator.release(&lease);
            self.chores.report(released.map_err(|error| format!("giving the lease back: {error}")));
        }
        Ok(())
    }

    /// What `head` says of the commit, as far as that can be found out by `until` (monotonic). *Mine* is decided by
    /// identity, wherever in the chain it is. What is mine counts once it is durable.
    pub(crate) fn judge(&self, pending: &Pending, head: &Head, until: Duration) -> Result<Verdict> {
        let Pending { next, previous, lease, .. } = pending;
        self.tip.check_decided(head)?;
        if head.order() < previous.head.order() {
            return Err(Error::NeedsRecovery(format!("the head was set back: run {}. {SAYS_FIRST}", WayOut::RECOVER)));
        }
        if head.order() == previous.head.order() {
            // The swap names both: once either has moved on, it can never take place.
            let fenced = head.generation != lease.generation || head.sweep != lease.sweep;
            mistake!(OpenIsRefused, return Ok(Verdict::Refused));
            return Ok(if fenced { Verdict::Refused } else { Verdict::Open });
        }
        if head.version < next.version {
            return Ok(Verdict::Refused);
        }
        let commit = match self.commit_at(pending, head, until)? {
            Ok(commit) => commit,
            Err(cause) => return Ok(Verdict::Unknowable(cause)),
        };
        mistake!(MineByVersion, return Ok(Verdict::Committed));
        if !commit.is(&next.commit()) {
            return Ok(Verdict::Refused);
        }
        // The request that put it there may have failed before it was durable, and another one has told nothing since.
        mistake!(LookIsDurable, return Ok(Verdict::Committed));
        self.tip.coordinator.make_durable().map_err(Error::nothing_written)?;
        Ok(Verdict::Committed)
    }

    /// Which commit the history of `head` has at the version of `pending`. The inner error: nothing will ever tell.
    fn commit_at(&self, pending: &Pending, head: &Head, until: Duration) -> Result<Result<CommitRef, String>> {
        let Pending { next, previous, .. } = pending;
        if head.version > next.version && head.epoch == next.epoch {
            // Where the coordinator cannot tell, the chain does.
            if let Ok(Some(named)) = self.tip.coordinator.successor(&previous.head) {
                self.tip.check_head(&named)?;
                assert_eq!(named.version, next.version, "versions along the chain rise by 1 (invariant 2)");
                return Ok(Ok(named.commit()));
            }
        }
        let of_window = |window: &Window, folded: Version| {
            let at = next.version.0.checked_sub(folded.0 + 1)?;
            window.commit(usize::try_from(at).ok()?)
        };
        if let Some(commit) = of_window(&head.window, head.folded()) {
            return Ok(Ok(commit));
        }
        let begin = Walked { epoch: head.epoch, version: head.folded(), fold: head.fold };
        let mut walked = unpoisoned(pending.walked.lock());
        let mut at = walked.filter(|walked| walked.epoch == head.epoch).unwrap_or(begin);
        let mut read_one = false;
        while at.version > next.version {
            if read_one && self.tip.storage.now().monotonic >= until {
                let left = at.version.0 - next.version.0;
                let cause =
                    format!("the history has {left} more versions to be looked through, which goes on next time");
                return Err(Error::Unreachable { cause });
            }
            match self.tip.pages.read_commit(&at.fold, at.version) {
                Ok(frame) => {
                    let of_window = || {
                        mistake!(FoldedUnread, return None);
                        of_window(&frame.window, frame.folded)
                    };
                    if let Some(commit) = of_window() {
                        return Ok(Ok(commit));
                    }
                    at = Walked { version: frame.folded, fold: frame.fold, ..at };
                    *walked = Some(at);
                    read_one = true;
                }
                Err(error @ (Error::Corrupt { .. } | Error::CannotOpen(_) | Error::NeedsRecovery(_))) => {
                    return Ok(Err(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(at.fold))
    }
}
