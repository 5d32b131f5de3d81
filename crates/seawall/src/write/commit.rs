//! A commit, from top to bottom:
//!
//! 1. *Encode*: a draft becomes an entry of the head (`inline.rs`), if it is small. Otherwise it is a fold: pages,
//!    and a commit frame behind them (`encode.rs`). Nothing is written yet.
//! 2. *Append*: these bytes are appended to this process's segment, and are durable when that returns. This is the
//!    first fsync of a fold (`segment.rs`, [`Append::append`](crate::ports::storage::Append::append)); the real file
//!    is open with O_DSYNC, so the write itself waits until the bytes are synced. No reader knows of them yet. An entry
//!    skips this step where the coordinator's record is a file of the folder (`fs`); otherwise the head is appended.
//! 3. *Swap*: one compare-and-swap of the head, by the coordinator, decides whether these bytes are the next version.
//!    With the coordinator `fs` this makes a name in `commits/`. On a local disk the second fsync of a commit follows,
//!    of the folder `commits/` ([`FsOrder::sync_published`](crate::ports::storage::FsOrder::sync_published)), and only
//!    then the swap has succeeded. On NFS the name is durable when it is made, and in DynamoDB the item is.
//! 4. *Conclude*: any answer but success is resolved by looking at the head. Where the request may still take place, it
//!    is sent again.
//!
//! Steps 1 and 2 are in `append.rs`. Between the steps are the values [`Draft`](super::encode::Draft), [`Made`],
//! [`Pending`] and [`Outcome`].

use super::append::Made;
use super::committer::Committer;
use super::encode::Change;
use super::queue::Turn;
use super::segment::Left;
use super::settle::{PATIENCE_LATER, Verdict, Walked};
use super::stream::StreamWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::format::codec;
use crate::format::commit_frame::CommitFrame;
use crate::format::head::Head;
use crate::format::ids::Version;
use crate::mutation::mistake;
use crate::ports::coordinator::{CoordinatorError, Known, Lease, Swapped};
use crate::ports::moment::Moment;
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, caught, unpoisoned};
use crate::read::snapshot::Snapshot;
use crate::read::tip::PATIENCE;
use crate::way_out::{SAYS_FIRST, WayOut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// The pages of a commit that has more than this many are not put into the page cache: they would drive all others out.
const REMEMBERED_PAGES: usize = 2048;

/// In which of its two forms a commit is stored.
pub(crate) enum Form {
    /// A frame in a segment, where it was appended.
    Fold(Box<CommitFrame>),
    /// An entry of the head, which may have been appended to a segment before.
    Entry { is_appended: bool },
}

/// A commit whose swap was sent or is about to be.
pub(crate) struct Pending {
    pub(crate) lease: Lease,
    pub(crate) previous: Arc<Snapshot>,
    pub(crate) next: Head,
    pub(crate) form: Form,
    /// What goes if no head will ever name this commit.
    left: Mutex<Option<Left>>,
    /// Why it failed, although no head refused it: its append failed, or its swap was certainly not carried out. It is
    /// marked as refused and never sent again. Only a recovery that was at work before the mark can have taken it.
    pub(crate) failure: Option<Error>,
    /// An attempt of its swap got no answer, or none that says whether it took place: no later error can mean that
    /// nothing was carried out, and only the head can show it.
    pub(crate) is_ambiguous: AtomicBool,
    /// Its mark is durable.
    pub(super) is_marked: AtomicBool,
    /// Whether the lease is to outlive the swap.
    pub(crate) keep: bool,
    /// How far the last attempt got on the way back from the newest head to it.
    pub(crate) walked: Mutex<Option<Walked>>,
    /// When its swap was first sent. If it took place, this process knows the head as of that moment, because others
    /// may have committed since.
    pub(crate) sent: Moment,
}

/// What became of a swap.
pub(crate) enum Outcome {
    Committed,
    Refused,
    /// Certainly not carried out, for this reason.
    Failed(CoordinatorError),
    Unknown(String),
    /// It took place or it never will, and nothing can show which any more.
    Unknowable(String),
}

impl Committer {
    /// Commits `change` as the next version. A large transaction has a `stream`, which has a part of it already.
    pub(crate) fn commit(
        &self,
        turn: &mut Turn,
        change: &Change<'_>,
        stream: Option<StreamWriter>,
    ) -> Result<Arc<Snapshot>> {
        self.commit_in_form(turn, change, stream, true)
    }

    /// Commits `change` as [`commit`](Self::commit) does; as a fold, unless it `may_ride` in the head.
    fn commit_in_form(
        &self,
        turn: &mut Turn,
        change: &Change<'_>,
        stream: Option<StreamWriter>,
        may_ride: bool,
    ) -> Result<Arc<Snapshot>> {
        let lease = turn.lease().expect("a writer has the lease").clone();
        self.check_that_a_commit_can_follow(change.snapshot, &lease)?;

        // 1. and 2. Encode and append. When this returns, what is not in the head is durable.
        let made = match stream {
            Some(stream) => self.append_streamed(change, &lease, stream)?,
            None => {
                let draft = self.draft(change)?;
                let with_entry = if may_ride { self.head_with_entry(&draft, &lease)? } else { None };
                match with_entry {
                    Some(next) => self.append_entry(next, lease.sweep)?,
                    None => self.append_fold(draft, &lease)?,
                }
            }
        };
        let mut pending = self.pend(made, turn, change, lease);
        if let Some(failure) = pending.failure.take() {
            return self.fails(turn, pending, failure);
        }

        // 3. Swap. One request: if the coordinator puts the head in the place of its predecessor, this is the next
        //    version.
        let until = self.until(PATIENCE);
        let answer = caught(|| self.swap(&pending, until));
        mistake!(TwoForms, {
            if matches!((&pending.form, &answer), (Form::Entry { .. }, Ok(Err(CoordinatorError::Unclear(_))))) {
                return self.commit(turn, change, None);
            }
        });
        if let Ok(Err(CoordinatorError::TooLong(_))) = &answer {
            // Its first attempt was certainly refused. The fold that is made instead is another commit.
            return self.commit_in_form(turn, change, None, false);
        }

        // 4. Conclude what became of the commit, and then install it, or mark it as refused and report that. After a
        //    panic in steps 3 and 4 the outcome is unknown.
        let outcome = answer.and_then(|answer| caught(|| self.outcome_of(&pending, answer, until)));
        let outcome = outcome.unwrap_or_else(|panic| Outcome::Unknown(format!("concluding it failed: {panic}")));
        self.conclude(turn, pending, outcome, change)
    }

    /// A head from a coordinator can contain anything, and a commit must be in a folder that survives a loss of power.
    fn check_that_a_commit_can_follow(&self, snapshot: &Snapshot, lease: &Lease) -> Result<()> {
        let last = |why| {
            Error::NeedsRecovery(format!(
                "no commit can follow this head: {why}. Nothing was written: run {}. {SAYS_FIRST}",
                WayOut::RECOVER
            ))
        };
        let head = &snapshot.head;
        head.followed_by(head.commit(), lease.generation, lease.slot).check().map_err(last)?;
        // No time along the chain is before this one.
        codec::time(snapshot.time).map_err(last)?;
        if snapshot.version() == Version(0) {
            // Nothing may be acknowledged in a folder that a loss of power can take away: without `id` the next opener
            // would adopt NAME once more. The process that linked `id` may have failed before its name was durable.
            let synced = self.tip.storage.sync_names();
            synced.map_err(|error| Error::io(format!("making {} durable", File::Id), error))?;
        }
        Ok(())
    }

    /// What the swap is to say.
    fn pend(
        &self,
        Made { next, form, left, failure }: Made,
        turn: &mut Turn,
        change: &Change<'_>,
        lease: Lease,
    ) -> Pending {
        let sent = self.tip.storage.now();
        let after = turn.after_commit(sent.monotonic, self.tip.coordinator.lease_survives_swap());
        let (keep, slot) = after.unwrap_or((false, lease.slot));
        let next = Head { lease_slot: slot, ..next };
        // A checkpoint's or a collection's commit ends the lease.
        let keep = keep && change.upkeep.is_none();
        Pending {
            lease,
            previous: change.snapshot.clone(),
            next,
            form,
            left: Mutex::new(left),
            failure,
            is_ambiguous: AtomicBool::new(false),
            is_marked: AtomicBool::new(false),
            keep,
            walked: Mutex::default(),
            sent,
        }
    }

    /// Step 3: asks the coordinator once to put the commit's head in the place of its predecessor. A repeated request
    /// has the same frame and the same commit id, so the swap can take place only once, however often it is sent. Only
    /// if it does is the commit frame reachable from a head (invariant 1).
    pub(crate) fn swap(&self, pending: &Pending, until: Duration) -> Result<Swapped, CoordinatorError> {
        let Pending { lease, previous, next, keep, .. } = pending;
        self.tip.coordinator.swap(lease, &previous.head, next, *keep, self.left(until))
    }

    /// Step 4: what the answer to a swap says of the commit. Swaps again until that is known, or the time is over.
    pub(crate) fn outcome_of(
        &self,
        pending: &Pending,
        mut answer: Result<Swapped, CoordinatorError>,
        until: Duration,
    ) -> Outcome {
        let is_ambiguous = || pending.is_ambiguous.load(Ordering::Relaxed);
        let becomes_ambiguous = || pending.is_ambiguous.store(true, Ordering::Relaxed);
        let mut wait = FIRST_WAIT;
        loop {
            mistake!(AbsentIsRefused, {
                if let Err(error @ CoordinatorError::Lost(_)) = answer {
                    return Outcome::Failed(error);
                }
            });
            let looked = match answer {
                Ok(Swapped::Done) => return Outcome::Committed,
                Ok(Swapped::Refused(head)) => self.judge(pending, &head, until),
                Err(error) if error.is_certain() && !is_ambiguous() => return Outcome::Failed(error),
                // The name is made, and a crash could take it away. A look would find it. It counts only once an fsync
                // has succeeded.
                Err(CoordinatorError::Undurable(cause)) => {
                    becomes_ambiguous();
                    Err(Error::Unreachable { cause })
                }
                Err(_) => {
                    becomes_ambiguous();
                    self.look(pending, until).and_then(|head| self.judge(pending, &head, until))
                }
            };
            let unsettled = match looked {
                Ok(Verdict::Committed) => return Outcome::Committed,
                Ok(Verdict::Refused) => return Outcome::Refused,
                Ok(Verdict::Open) => Outcome::Unknown("it may still be on its way".to_owned()),
                // What cannot be read now may be read a moment later.
                Ok(Verdict::Unknowable(cause)) => Outcome::Unknowable(cause),
                Err(error) => Outcome::Unknown(error.of_a_look()),
            };
            // It may have taken place, also if it was refused: by its own first attempt. Then no later error means that
            // nothing was carried out.
            becomes_ambiguous();
            if self.tip.storage.now().monotonic >= until {
                return unsettled;
            }
            self.tip.storage.sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            answer = self.swap(pending, until);
        }
    }

    fn look(&self, pending: &Pending, until: Duration) -> Result<Head> {
        let known = Known::Head(&pending.previous.head);
        self.tip.coordinator.load(&known, self.left(until)).map_err(Error::nothing_written)
    }

    /// Applies the outcome to what this process knows and to the lease, and returns the caller's answer.
    fn conclude(
        &self,
        turn: &mut Turn,
        pending: Pending,
        outcome: Outcome,
        change: &Change<'_>,
    ) -> Result<Arc<Snapshot>> {
        if !matches!(outcome, Outcome::Committed) {
            // It is not known whether this process still has the lease. None of its writers uses it any more, and it is
            // given back.
            turn.lease_is_over();
        }
        mistake!(UnknownIsFailure, {
            if let Outcome::Unknown(cause) = outcome {
                return Err(Error::Unreachable { cause });
            }
        });
        match outcome {
            Outcome::Committed => {
                let committed = self.install(&pending)?;
                self.remember(&committed, change);
                if pending.keep || self.tip.coordinator.lease_survives_swap() {
                    turn.carry_on(&committed.head, pending.sent);
                    if committed.head.lease_slot != pending.lease.slot {
                        // It was handed over to the process that waits with the next lock.
                        turn.lease_is_over();
                    }
                } else {
                    turn.lease_ended();
                }
                Ok(committed)
            }
            Outcome::Refused => match self.settle_refusal(&pending, PATIENCE) {
                Ok(settled) => settled,
                Err(cause) => Err(self.leave_unsettled(pending, cause)),
            },
            Outcome::Failed(error) => self.fails(turn, pending, Error::nothing_written(error)),
            Outcome::Unknown(cause) => {
                mistake!(StreamGoesWhileUnknown, self.clear_away(&pending));
                Err(self.leave_unsettled(pending, cause))
            }
            Outcome::Unknowable(cause) => match self.go_on_without_outcome(&pending, PATIENCE) {
                Ok(()) => Err(pending.unknowable(cause)),
                Err(cause) => Err(self.leave_unsettled(pending, cause)),
            },
        }
    }

    /// The commit certainly did not take place: its append failed, or its swap. A mark says so, and then the head is
    /// looked at, as after a refusal.
    fn fails(&self, turn: &mut Turn, pending: Pending, failure: Error) -> Result<Arc<Snapshot>> {
        turn.lease_is_over();
        // What is in no file can be taken by nobody.
        if matches!(pending.form, Form::Entry { is_appended: false }) {
            return Err(failure);
        }
        mistake!(FailedWithoutLook, {
            self.mark_refused(&pending);
            self.clear_away(&pending);
            return Err(failure);
        });
        let pending = Pending { failure: Some(failure.clone()), ..pending };
        match self.settle_refusal(&pending, PATIENCE_LATER) {
            Ok(settled) => settled,
            Err(cause) => {
                let failure = failure.of_a_look();
                Err(self.leave_unsettled(
                    pending,
                    format!("{failure}. Whether a recovery took it then is not known: {cause}"),
                ))
            }
        }
    }

    /// The commit is in the history. From now on this process knows it.
    pub(crate) fn install(&self, pending: &Pending) -> Result<Arc<Snapshot>> {
        let Pending { next, form, previous, sent, .. } = pending;
        let mut durable = unpoisoned(self.durable.lock());
        *durable = next.order().max(*durable);
        drop(durable);
        let segments = &self.tip.pages.segments;
        let snapshot = match form {
            Form::Fold(frame) => {
                Snapshot::of_commit(next.clone(), (**frame).clone(), &[], Some(previous), segments, *sent)
            }
            Form::Entry { .. } => previous.with_window(next.clone(), *sent),
        };
        let snapshot = snapshot.map_err(|why| Error::corrupt(format!("the commit of version {}", next.version.0), why));
        let snapshot = Arc::new(snapshot?);
        self.tip.raise(snapshot.clone(), *sent);
        self.acknowledged(next);
        Ok(snapshot)
    }

    /// Puts what was just committed into the page cache. The commit stays if this fails: a page that cannot be read
    /// back will be read from the segment.
    fn remember(&self, committed: &Snapshot, change: &Change<'_>) {
        if change.pages.len() > REMEMBERED_PAGES {
            return;
        }
        for page in change.pages {
            let Ok(image) = (change.read)(*page) else { return };
            self.tip.pages.remember_in(committed, *page, image);
        }
    }

    /// The commit was refused, or failed for certain. A mark says so, for recovery. Then this looks at the head once
    /// more, because a recovery may have been at work before it could see the mark (invariant 6). Returns the snapshot
    /// if the commit is in the history after all, and otherwise why it is not; the outer error says that the head cannot
    /// be had.
    pub(crate) fn settle_refusal(
        &self,
        pending: &Pending,
        patience: Duration,
    ) -> Result<Result<Arc<Snapshot>>, String> {
        let sent = self.tip.storage.now();
        self.mark_refused(pending);
        let known = self.tip.known();
        let why = || pending.failure.clone().unwrap_or(Error::Superseded { version: pending.next.version });
        mistake!(RefusedWithoutLook, return Ok(Err(why())));
        let look = || -> Result<Result<Arc<Snapshot>>> {
            let head = self.tip.load_last(&known, patience)?;
            match self.judge(pending, &head, self.until(patience))? {
                Verdict::Committed => self.install(pending).map(Ok),
                // What the head said before stays true in its epoch. A recovery may have taken the commit.
                Verdict::Unknowable(cause) if head.epoch != pending.next.epoch => {
                    self.tip.catch_up(head, sent).map(|_| Err(pending.unknowable(cause)))
                }
                // No commit follows the last one of a database that was detached or moved.
                Verdict::Refused | Verdict::Unknowable(_) => match self.tip.check_open(&head) {
                    Ok(()) => self.tip.catch_up(head, sent).map(|_| Err(why())),
                    Err(ended) => Ok(Err(ended)),
                },
                Verdict::Open if pending.failure.is_some() => Ok(Err(why())),
                Verdict::Open => {
                    Err(Error::NeedsRecovery(format!("the head was set back: run {}. {SAYS_FIRST}", WayOut::RECOVER)))
                }
            }
        };
        let looked = look();
        mistake!(AbsentIsRefused, {
            if matches!(looked, Err(Error::NeedsRecovery(_))) {
                return Ok(Err(why()));
            }
        });
        let settled = looked.map_err(Error::of_a_look)?;
        if settled.as_ref().is_err_and(|why| why.kind() != ErrorKind::OutcomeUnknown) {
            self.clear_away(pending);
        }
        Ok(settled)
    }

    /// No head will ever name the commit: what it has left goes. If its mark could not be written, that is what keeps a
    /// later recovery from taking it.
    fn clear_away(&self, pending: &Pending) {
        if let Some(left) = unpoisoned(pending.left.lock()).take() {
            self.chores.report(left.give_back(&*self.tip.storage));
        }
    }

    pub(crate) fn until(&self, patience: Duration) -> Duration {
        self.tip.storage.now().monotonic + patience
    }

    fn left(&self, until: Duration) -> Duration {
        until.saturating_sub(self.tip.storage.now().monotonic)
    }
}
