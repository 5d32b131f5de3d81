//! Settling: what became of a commit that got no clear answer. The head tells it, the number that `fs` gave it, or the chain.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{Epoch, Version};
use crate::mutation::{self, Mutation};
use crate::ports::coordinator::Lease;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, whole};
use crate::to_come::{FROM_A_COPY, ToCome};
use crate::write::commit::{Outcome, Pending};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a later transaction asks before it reports that the outcome is still unknown.
pub(crate) const PATIENCE_LATER: Duration = Duration::from_secs(1);

/// What a head says of a commit.
pub(crate) enum Verdict {
    Committed,
    Refused,
    /// Its swap may still take place.
    Open,
    /// It took place or it never will, but what would tell which is damaged or was collected.
    Untold(String),
}

/// A place on the way back from a head: which commit was at `version` in the history of `epoch`. There is one history, so what was found
/// once stays true under every later head of that epoch.
#[derive(Clone, Copy)]
pub(crate) struct Walked {
    epoch: Epoch,
    version: Version,
    commit: CommitRef,
}

/// A commit whose outcome nobody knows yet, and how this process's threads ask for it: one asks, all share the answer.
#[derive(Default)]
pub(crate) struct Settlement {
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

impl Settlement {
    fn state(&self) -> MutexGuard<'_, State> {
        whole(self.state.lock())
    }
}

/// A thread asks: over when this is dropped, even by a panic, so that nobody waits for it any longer.
struct Asking<'a>(&'a Settlement);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state().asking = false;
        self.0.ended.notify_all();
    }
}

impl Pending {
    fn unknown(&self, cause: impl Into<String>) -> Error {
        Error::OutcomeUnknown { commit: self.next.commit.id, version: self.next.version, cause: cause.into() }
    }

    pub(crate) fn untold(&self, cause: String) -> Error {
        Error::OutcomeUntold { commit: self.next.commit.id, version: self.next.version, cause }
    }
}

impl Database {
    /// Settles what an earlier commit of this process left unknown. Every transaction begins with this, reading ones too: none may
    /// read past what is being settled. One thread asks; the others wait for its answer, at most `timeout`, and share it.
    pub(crate) fn settle(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        let until = self.storage.now().monotonic + timeout;
        let mut state = self.pending.state();
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
            let left = until.saturating_sub(self.storage.now().monotonic);
            if left.is_zero() {
                return Err(pending.unknown("another thread of this process asks, and has no answer yet"));
            }
            state = whole(self.pending.ended.wait_timeout(state, left)).0;
        }
    }

    /// Asks what became of `pending`. The answer is everybody's who waits for it.
    fn ask_for(self: &Arc<Self>, pending: &Arc<Pending>, patience: Duration) -> Result<()> {
        let asking = Asking(&self.pending);
        let settled = match self.conclude(pending, true, patience) {
            Outcome::Committed => self.install_late(pending).map_err(|error| error.to_string()),
            Outcome::Refused => self.settle_refusal(pending, patience).map(drop),
            Outcome::Failed(error) => Err(error.to_string()),
            Outcome::Unknown(cause) => Err(cause),
            Outcome::Untold(cause) => {
                let told = |()| self.note_trouble(Err(pending.untold(cause).to_string()));
                self.go_on_untold(pending, patience).map(told)
            }
        };
        let result = settled.map_err(|cause| pending.unknown(cause));
        let mut state = self.pending.state();
        match &result {
            Ok(()) => {
                state.pending = None;
                self.unsettled.store(false, Ordering::Release);
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
        let mut state = self.pending.state();
        assert!(state.pending.is_none(), "nobody commits before what was unknown is settled");
        state.pending = Some(Arc::new(pending));
        self.unsettled.store(true, Ordering::Release);
        error
    }

    /// Nothing will ever tell what became of `pending`, and nothing can change it any more: another commit has its version, or builds
    /// on it. The newest version is right in either case, so this process goes on there, and never reads an older one.
    pub(crate) fn go_on_untold(&self, pending: &Pending, patience: Duration) -> Result<(), String> {
        let look = || {
            let sent = self.storage.now();
            let newest = self.catch_up(self.load(&self.newest_known(), patience)?, sent)?;
            assert!(newest.head.order() > pending.previous.head.order(), "a head that was seen stays");
            Ok(())
        };
        look().map_err(|error: Error| error.to_string())
    }

    /// The commit is in the history, and its writer has long gone on: nobody here waits for its lease.
    fn install_late(self: &Arc<Self>, pending: &Pending) -> Result<()> {
        self.install(pending)?;
        if pending.keep && !self.coordinator.lease_survives_swap() {
            let lease = Lease { generation: pending.next.generation, ..pending.lease.clone() };
            let released = self.coordinator.release(&lease);
            self.note_trouble(released.map_err(|error| format!("giving the lease back: {error}")));
        }
        Ok(())
    }

    /// What `head` says of the commit, as far as that can be found out by `until` (monotonic). *Mine* is decided by identity, wherever in
    /// the chain it is.
    pub(crate) fn judge(&self, pending: &Pending, head: &Head, until: Duration) -> Result<Verdict> {
        let Pending { next, previous, lease, .. } = pending;
        self.check_head(head)?;
        if head.order() < previous.head.order() {
            return Err(Error::CannotOpen(format!("the head was set back: run {}. {FROM_A_COPY}", ToCome::RECOVER)));
        }
        if head.order() == previous.head.order() {
            // The swap names both: once either has moved on, it can never take place.
            let fenced = head.generation != lease.generation || head.sweep != lease.sweep;
            return Ok(if fenced || mutation::is(Mutation::OpenIsRefused) { Verdict::Refused } else { Verdict::Open });
        }
        if head.version < next.version {
            return Ok(Verdict::Refused);
        }
        let commit = match self.commit_at(pending, head, until)? {
            Ok(commit) => commit,
            Err(cause) => return Ok(Verdict::Untold(cause)),
        };
        let mine = commit.is(&next.commit) || mutation::is(Mutation::MineByVersion);
        Ok(if mine { Verdict::Committed } else { Verdict::Refused })
    }

    /// Which commit the history of `head` has at the version of `pending`. The inner error: nothing will ever tell.
    fn commit_at(&self, pending: &Pending, head: &Head, until: Duration) -> Result<Result<CommitRef, String>> {
        let Pending { next, previous, .. } = pending;
        if head.version > next.version && head.epoch == next.epoch {
            // Where the coordinator cannot tell, the chain does.
            if let Ok(Some(named)) = self.coordinator.successor(&previous.head) {
                self.check_head(&named)?;
                assert_eq!(named.version, next.version, "a successor's version is the next");
                return Ok(Ok(named.commit));
            }
        }
        let begin = Walked { epoch: head.epoch, version: head.version, commit: head.commit };
        let mut walked = whole(pending.walked.lock());
        let mut at = walked.filter(|walked| walked.epoch == head.epoch).unwrap_or(begin);
        let mut read_one = false;
        while at.version > next.version {
            if read_one && self.storage.now().monotonic >= until {
                let left = at.version.0 - next.version.0;
                let cause =
                    format!("the history has {left} more versions to be looked through, which goes on next time");
                return Err(Error::Unreachable { cause });
            }
            match self.pages.read_commit(&at.commit, at.version) {
                Ok(frame) => {
                    let version = Version(at.version.0 - 1);
                    at = Walked { version, commit: frame.previous, ..at };
                    *walked = Some(at);
                    read_one = true;
                }
                Err(error @ (Error::Corrupt { .. } | Error::CannotOpen(_))) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(at.commit))
    }
}
