//! Committing: one durable append, one swap, and the conclusion, whatever the answer was.

use crate::database::{Database, PATIENCE};
use crate::error::{Error, Result};
use crate::format::commit_frame::CommitFrame;
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{CommitId, PageNo, PageSize, Version};
use crate::format::mark::{Fate, Mark};
use crate::mutation::{self, Mutation};
use crate::ports::coordinator::{CoordinatorError, Known, Lease, Swapped};
use crate::ports::moment::Moment;
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, caught, try_lock, whole};
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use crate::to_come::{FROM_A_COPY, ToCome};
use crate::write::queue::Turn;
use crate::write::segment::{AppendFailed, Draft};
use crate::write::settle::{Verdict, Walked};
use std::sync::Arc;
use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Larger commits do not go through the page cache: they would drive everything else out.
const REMEMBERED_PAGES: usize = 2048;

/// A commit that was appended, and whose swap was sent or is about to be.
pub(crate) struct Pending {
    pub(crate) lease: Lease,
    pub(crate) previous: Arc<Snapshot>,
    pub(crate) next: Head,
    pub(crate) frame: CommitFrame,
    /// Whether the lease was to outlive the swap.
    pub(crate) keep: bool,
    /// How far the way from the newest head to it was gone, last time.
    pub(crate) walked: Mutex<Option<Walked>>,
    /// When its swap was sent first. Once it is known to have taken place, that is how new the knowledge of the head is: others may
    /// have committed since.
    pub(crate) sent: Moment,
}

/// What became of a swap.
pub(crate) enum Outcome {
    Committed,
    Refused,
    /// Certainly not carried out, for this reason.
    Failed(CoordinatorError),
    Unknown(String),
    /// It took place or it never will, and nothing tells which any more.
    Untold(String),
}

impl Database {
    /// Publishes `pages` over `snapshot` as the next version.
    pub(crate) fn publish(
        self: &Arc<Self>,
        turn: &mut Turn,
        snapshot: &Arc<Snapshot>,
        page_size: PageSize,
        page_count: u32,
        pages: &[PageNo],
        read: &dyn Fn(PageNo) -> Result<Page>,
    ) -> Result<Arc<Snapshot>> {
        let lease = turn.lease().expect("whoever writes has the lease").clone();
        let draft = Draft {
            snapshot,
            commit: CommitId(self.random()?),
            page_size,
            page_count,
            time: self.storage.now().unix_millis(),
            sweep: lease.sweep,
        };
        let sweep = lease.sweep;
        let last = |why| {
            Error::CannotOpen(format!(
                "no commit can follow this head: {why}. Nothing was written: run {}. {FROM_A_COPY}",
                ToCome::RECOVER
            ))
        };
        snapshot.head.followed_by(snapshot.head.commit, lease.generation, lease.slot).check().map_err(last)?;
        if snapshot.version() == Version(0) {
            // Nothing may be acknowledged in a folder that a loss of power can take away: without `id` the next opener would adopt NAME
            // once more. Whoever linked `id` may have failed before its name was durable.
            let synced = self.storage.sync_names();
            synced.map_err(|error| Error::io(format!("making {} durable", File::Id), error))?;
        }
        let appended = {
            let mut segment = whole(self.segment.lock());
            segment.append_commit(&*self.storage, &self.pages.segments, &draft, pages, read)
        };
        let (commit, frame) = appended.map_err(|failed| self.append_failed(failed, sweep))?;
        let next = snapshot.head.followed_by(commit, lease.generation, lease.slot);
        let sent = self.storage.now();
        let keep = turn.goes_on(sent.monotonic);
        let pending = Pending { lease, previous: snapshot.clone(), next, frame, keep, sent, walked: Mutex::default() };
        // After a panic nobody knows what was sent.
        let outcome = caught(|| self.conclude(&pending, false, PATIENCE))
            .unwrap_or_else(|panic| Outcome::Unknown(format!("concluding it failed: {panic}")));
        if !matches!(outcome, Outcome::Committed) {
            // Whether it is still ours nobody knows: it serves none of this process's writers any more, and goes back.
            turn.lease_is_over();
        }
        match outcome {
            Outcome::Committed => {
                let keep = pending.keep;
                let published = self.install(&pending)?;
                self.remember(&published, pages, read);
                if keep || self.coordinator.lease_survives_swap() {
                    turn.carry_on(published.head.order(), published.head.generation, sent);
                } else {
                    turn.lease_ended();
                }
                Ok(published)
            }
            Outcome::Refused => match self.settle_refusal(&pending, PATIENCE) {
                Ok(Some(published)) => Ok(published),
                Ok(None) => Err(Error::Superseded { version: pending.next.version }),
                Err(cause) => Err(self.leave_unsettled(pending, cause)),
            },
            // Its frame is there, and no head will ever name it.
            Outcome::Failed(error) => {
                self.mark_refused(&pending);
                Err(Error::nothing_written(error))
            }
            Outcome::Unknown(cause) if mutation::is(Mutation::UnknownIsFailure) => Err(Error::Unreachable { cause }),
            Outcome::Unknown(cause) => Err(self.leave_unsettled(pending, cause)),
            Outcome::Untold(cause) => match self.go_on_untold(&pending, PATIENCE) {
                Ok(()) => Err(pending.untold(cause)),
                Err(cause) => Err(self.leave_unsettled(pending, cause)),
            },
        }
    }

    /// Sends the swap until its outcome is known: the same frame, the same commit id, so that it can take place only once.
    /// Once an attempt was `ambiguous`, no later answer can mean that nothing was carried out: only the head can tell.
    pub(crate) fn conclude(&self, pending: &Pending, mut ambiguous: bool, patience: Duration) -> Outcome {
        let began = self.storage.now().monotonic;
        let until = began + patience;
        let mut wait = FIRST_WAIT;
        loop {
            let Pending { lease, previous, next, keep, .. } = pending;
            let left = until.saturating_sub(self.storage.now().monotonic);
            let looked = match self.coordinator.swap(lease, &previous.head, next, *keep, left) {
                Ok(Swapped::Done) => return Outcome::Committed,
                Ok(Swapped::Refused(_)) if mutation::is(Mutation::RefusalIsFailure) => {
                    return Outcome::Failed(CoordinatorError::Unreachable("the swap was refused".into()));
                }
                Ok(Swapped::Refused(head)) => self.judge(pending, &head, until),
                Err(error @ CoordinatorError::Unclear(_)) if mutation::is(Mutation::TimeoutIsFailure) => {
                    return Outcome::Failed(error);
                }
                Err(error @ CoordinatorError::Lost(_)) if mutation::is(Mutation::AbsentIsRefused) => {
                    return Outcome::Failed(error);
                }
                Err(error) if error.is_certain() && !ambiguous => return Outcome::Failed(error),
                // It is named, and a crash could take the name away: only a repeated request can make it count.
                Err(CoordinatorError::Undurable(cause)) => {
                    ambiguous = true;
                    Err(Error::Unreachable { cause })
                }
                Err(_) => {
                    ambiguous = true;
                    let known = Known::Head(&previous.head);
                    let left = until.saturating_sub(self.storage.now().monotonic);
                    let head = self.coordinator.load(&known, left).map_err(Error::nothing_written);
                    head.and_then(|head| self.judge(pending, &head, until))
                }
            };
            let unsettled = match looked {
                Ok(Verdict::Committed) => return Outcome::Committed,
                Ok(Verdict::Refused) => return Outcome::Refused,
                Ok(Verdict::Open) => Outcome::Unknown("it may still be on its way".to_owned()),
                // What cannot be read now may be read a moment later.
                Ok(Verdict::Untold(cause)) => Outcome::Untold(cause),
                Err(error) => Outcome::Unknown(error.to_string()),
            };
            if self.storage.now().monotonic >= until {
                return unsettled;
            }
            self.storage.sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The commit is in the history: from now on this process knows it.
    pub(crate) fn install(self: &Arc<Self>, pending: &Pending) -> Result<Arc<Snapshot>> {
        let Pending { next, frame, previous, sent, .. } = pending;
        let segments = &self.pages.segments;
        let snapshot = Snapshot::of_commit(next.clone(), frame.clone(), &[], Some(previous), segments, *sent)
            .map_err(|why| Error::corrupt(format!("the commit frame of version {}", next.version.0), why))?;
        let snapshot = Arc::new(snapshot);
        self.raise(snapshot.clone(), *sent);
        self.acknowledged(next);
        Ok(snapshot)
    }

    /// The commit was refused: a mark says so, for recovery; then the head is looked at once more, for recovery may have been at
    /// work before it could see the mark. A snapshot, if the commit is in the history after all; an error, if the head cannot be had.
    pub(crate) fn settle_refusal(
        self: &Arc<Self>,
        pending: &Pending,
        patience: Duration,
    ) -> Result<Option<Arc<Snapshot>>, String> {
        let sent = self.storage.now();
        self.mark_refused(pending);
        let known = self.newest_known();
        let look = || -> Result<Option<Arc<Snapshot>>> {
            let head = self.load(&known, patience)?;
            let until = self.storage.now().monotonic + patience;
            match self.judge(pending, &head, until)? {
                Verdict::Committed => self.install(pending).map(Some),
                // What the head told before stays true in its epoch.
                Verdict::Untold(cause) if head.epoch != pending.next.epoch => Err(Error::Unreachable { cause }),
                Verdict::Refused | Verdict::Untold(_) => self.catch_up(head, sent).map(|_| None),
                Verdict::Open => {
                    Err(Error::CannotOpen(format!("the head was set back: run {}. {FROM_A_COPY}", ToCome::RECOVER)))
                }
            }
        };
        look().map_err(|error| error.to_string())
    }

    /// An append failed, and its segment was left. Its bytes may come to be there all the same, so a mark says first that the commit
    /// was refused, where its frame was encoded by then. Only then is the failure reported.
    fn append_failed(&self, failed: AppendFailed, sweep: u64) -> Error {
        self.note_trouble(failed.not_given_back.map_or(Ok(()), Err));
        self.mark_owed(sweep);
        failed.error
    }

    /// Marks the commit of `pending` as refused. Without its mark the frame is refused all the same: the head decides, and the mark only
    /// helps where the head is lost.
    fn mark_refused(&self, pending: &Pending) {
        if !mutation::is(Mutation::NoMarkAfterFailedSwap) {
            whole(self.segment.lock()).owe(mark_of(&pending.next, Fate::Refused));
        }
        self.mark_owed(pending.lease.sweep);
    }

    /// Writes the marks that are owed. What cannot be written now is written before anything else is.
    fn mark_owed(&self, sweep: u64) {
        let mut segment = whole(self.segment.lock());
        let mut append = || segment.append_owed(&*self.storage, sweep);
        // A segment that cannot be appended to is left: once more, in a new one.
        let marked = append().or_else(|_| append());
        drop(segment);
        self.note_trouble(marked.map_err(|failed| {
            format!(
                "a commit that failed is not marked as refused yet ({}): the mark is written before this process's next commit",
                failed.error
            )
        }));
    }

    /// Marks the commit of `head` as confirmed. That can wait: `false` if somebody is appending right now.
    pub(crate) fn mark_confirmed(&self, head: &Head) -> Result<bool> {
        let Some(mut segment) = try_lock(&self.segment) else { return Ok(false) };
        let appended = segment.append_mark(&*self.storage, head.sweep, &mark_of(head, Fate::Confirmed));
        drop(segment);
        match appended {
            Ok(()) => Ok(true),
            Err(failed) => {
                self.note_trouble(failed.not_given_back.map_or(Ok(()), Err));
                Err(failed.error)
            }
        }
    }

    /// Puts what was just committed into the page cache. It is committed whatever comes of this: what cannot be read back (it may lie
    /// in a scratch file) will be read from the segment.
    fn remember(&self, published: &Snapshot, pages: &[PageNo], read: &dyn Fn(PageNo) -> Result<Page>) {
        if pages.len() > REMEMBERED_PAGES {
            return;
        }
        for page in pages {
            let entry = published.map.get(*page).expect("what was committed is in the map");
            let Ok(image) = read(*page) else { return };
            self.pages.remember(*page, entry, image);
        }
    }
}

fn mark_of(head: &Head, fate: Fate) -> Mark {
    let Head { database, epoch, version, commit: CommitRef { id: commit, digest, .. }, .. } = *head;
    Mark { fate, database, epoch, version, commit, digest }
}
