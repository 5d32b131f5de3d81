//! Committing: one durable append, one swap, and the conclusion, whatever the answer was.

use crate::commit::CommitFrame;
use crate::coordinator::{CoordinatorError, Known, Lease, Swapped};
use crate::database::{Database, PATIENCE, check_home};
use crate::error::{Error, Result};
use crate::head::{CommitRef, Head};
use crate::ids::{CommitId, PageNo, PageSize, Version};
use crate::mark::{Fate, Mark};
use crate::moment::Moment;
use crate::mutation::{self, Mutation};
use crate::pages::Page;
use crate::queue::Turn;
use crate::segment::Draft;
use crate::snapshot::Snapshot;
use crate::sync::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a later transaction asks for it before it reports the same.
const PATIENCE_LATER: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
/// Larger commits do not go through the page cache: they would drive everything else out.
const REMEMBERED_PAGES: usize = 2048;

/// A commit that was appended, and whose swap was sent or is about to be.
pub(crate) struct Pending {
    lease: Lease,
    previous: Arc<Snapshot>,
    next: Head,
    frame: CommitFrame,
    /// Whether the lease was to outlive the swap.
    keep: bool,
    /// When its swap was sent first. Once it is known to have taken place, that is how new the knowledge of the head is: others may
    /// have committed since.
    sent: Moment,
}

/// What a head says of a commit.
enum Verdict {
    Committed,
    Refused,
    /// Its swap may still take place.
    Open,
}

/// What became of a swap.
enum Outcome {
    Committed,
    Refused,
    /// Certainly not carried out, for this reason.
    Failed(CoordinatorError),
    Unknown(String),
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
        let appended = {
            let mut segment = self.segment.lock().expect("no panic while locked");
            segment.append_commit(&*self.storage, &self.pages.segments, &draft, pages, read)
        };
        let (commit, frame) = appended?;
        let next = snapshot.head.followed_by(commit, lease.generation, lease.slot);
        let sent = self.storage.now();
        let keep = turn.goes_on(sent.monotonic);
        let pending = Pending { lease, previous: snapshot.clone(), next, frame, keep, sent };
        match self.conclude(&pending, false, PATIENCE) {
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
            Outcome::Refused => match self.settle_refusal(&pending) {
                Ok(Some(published)) => Ok(published),
                Ok(None) => Err(Error::Superseded { version: pending.next.version }),
                Err(cause) => Err(self.leave_unsettled(&mut self.pending(), pending, cause)),
            },
            Outcome::Failed(error) => Err(Error::nothing_written(error)),
            Outcome::Unknown(cause) if mutation::is(Mutation::UnknownIsFailure) => Err(Error::Unreachable { cause }),
            Outcome::Unknown(cause) => Err(self.leave_unsettled(&mut self.pending(), pending, cause)),
        }
    }

    /// Settles what an earlier commit of this process left unknown. Every transaction begins with this, reading ones too.
    pub(crate) fn settle(self: &Arc<Self>) -> Result<()> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whoever comes meanwhile waits: it must not read past what is being settled.
        let mut slot = self.pending();
        let Some(pending) = slot.take() else { return Ok(()) };
        let unsettled = match self.conclude(&pending, true, PATIENCE_LATER) {
            Outcome::Committed => self.install_late(&pending).map_err(|error| error.to_string()),
            Outcome::Refused => self.settle_refusal(&pending).map(drop),
            Outcome::Failed(error) => Err(error.to_string()),
            Outcome::Unknown(cause) => Err(cause),
        };
        match unsettled {
            Ok(()) => self.unsettled.store(false, Ordering::Release),
            Err(cause) => return Err(self.leave_unsettled(&mut slot, pending, cause)),
        }
        Ok(())
    }

    /// Sends the swap until its outcome is known: the same frame, the same commit id, so that it can take place only once.
    /// Once an attempt was `ambiguous`, no later answer can mean that nothing was carried out: only the head can tell.
    fn conclude(&self, pending: &Pending, mut ambiguous: bool, patience: Duration) -> Outcome {
        let began = self.storage.now().monotonic;
        let mut wait = FIRST_WAIT;
        loop {
            let Pending { lease, previous, next, keep, .. } = pending;
            let left = patience.saturating_sub(self.storage.now().monotonic.saturating_sub(began));
            let looked = match self.coordinator.swap(lease, &previous.head, next, *keep, left) {
                Ok(Swapped::Done) => return Outcome::Committed,
                Ok(Swapped::Refused(_)) if mutation::is(Mutation::RefusalIsFailure) => {
                    return Outcome::Failed(CoordinatorError::Unreachable("the swap was refused".into()));
                }
                Ok(Swapped::Refused(head)) => self.judge(pending, &head),
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
                    let left = patience.saturating_sub(self.storage.now().monotonic.saturating_sub(began));
                    let head = self.coordinator.load(&known, left).map_err(Error::nothing_written);
                    head.and_then(|head| self.judge(pending, &head))
                }
            };
            let cause = match looked {
                Ok(Verdict::Committed) => return Outcome::Committed,
                Ok(Verdict::Refused) => return Outcome::Refused,
                Ok(Verdict::Open) => "it may still be on its way".to_owned(),
                Err(error) => error.to_string(),
            };
            if self.storage.now().monotonic.saturating_sub(began) >= patience {
                return Outcome::Unknown(cause);
            }
            self.storage.sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What `head` says of the commit. *Mine* is decided by identity, wherever in the chain it is.
    fn judge(&self, pending: &Pending, head: &Head) -> Result<Verdict> {
        let Pending { next, previous, lease, .. } = pending;
        check_home(head, self.id, self.home)?;
        if head.order() < previous.head.order() {
            return Err(Error::CannotOpen("the head was set back: run seawall recover".into()));
        }
        if head.order() == previous.head.order() {
            let fenced = head.generation != lease.generation || mutation::is(Mutation::OpenIsRefused);
            return Ok(if fenced { Verdict::Refused } else { Verdict::Open });
        }
        let mut commit = head.commit;
        for version in (next.version.0 + 1..=head.version.0).rev() {
            commit = self.pages.read_commit(&commit, Version(version))?.previous;
        }
        let same = commit.is(&next.commit) || mutation::is(Mutation::MineByVersion);
        let mine = head.version >= next.version && same;
        Ok(if mine { Verdict::Committed } else { Verdict::Refused })
    }

    /// The commit is in the history: from now on this process knows it.
    fn install(self: &Arc<Self>, pending: &Pending) -> Result<Arc<Snapshot>> {
        let Pending { next, frame, previous, sent, .. } = pending;
        let segments = &self.pages.segments;
        let snapshot = Snapshot::of_commit(next.clone(), frame.clone(), &[], Some(previous), segments, *sent)
            .map_err(|why| Error::corrupt(format!("the commit frame of version {}", next.version.0), why))?;
        let snapshot = Arc::new(snapshot);
        self.raise(snapshot.clone(), *sent);
        self.acknowledged(next);
        Ok(snapshot)
    }

    /// The same, for a commit whose writer has long gone on: nobody here waits for its lease.
    fn install_late(self: &Arc<Self>, pending: &Pending) -> Result<()> {
        self.install(pending)?;
        if pending.keep && !self.coordinator.lease_survives_swap() {
            let lease = Lease { generation: pending.next.generation, ..pending.lease.clone() };
            let released = self.coordinator.release(&lease);
            self.note_trouble(released.map_err(|error| format!("giving the lease back: {error}")));
        }
        Ok(())
    }

    /// The commit was refused: a mark says so, for recovery; then the head is looked at once more, for recovery may have been at
    /// work before it could see the mark. A snapshot, if the commit is in the history after all; an error, if the head cannot be had.
    fn settle_refusal(self: &Arc<Self>, pending: &Pending) -> Result<Option<Arc<Snapshot>>, String> {
        let sent = self.storage.now();
        // Without its mark the frame is still refused: the head decides, and the mark only helps where the head is lost.
        self.note_trouble(
            self.mark(&pending.next, Fate::Refused).map_err(|error| format!("marking a refused commit: {error}")),
        );
        let known = self.newest_known();
        let look = || -> Result<Option<Arc<Snapshot>>> {
            let head = self.load(&known, PATIENCE)?;
            match self.judge(pending, &head)? {
                Verdict::Committed => self.install(pending).map(Some),
                Verdict::Refused => self.catch_up(head, sent).map(|_| None),
                Verdict::Open => Err(Error::CannotOpen("the head was set back: run seawall recover".into())),
            }
        };
        look().map_err(|error| error.to_string())
    }

    /// Appends a mark that says what became of the commit of `head`.
    pub(crate) fn mark(&self, head: &Head, fate: Fate) -> Result<()> {
        let Head { database, epoch, version, commit: CommitRef { id: commit, digest, .. }, .. } = *head;
        let mark = Mark { fate, database, epoch, version, commit, digest };
        let mut segment = self.segment.lock().expect("no panic while locked");
        segment.append_mark(&*self.storage, &mark.encode())
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().expect("no panic while locked")
    }

    fn leave_unsettled(&self, slot: &mut Option<Pending>, pending: Pending, cause: String) -> Error {
        let (commit, version) = (pending.next.commit.id, pending.next.version);
        *slot = Some(pending);
        self.unsettled.store(true, Ordering::Release);
        Error::OutcomeUnknown { commit, version, cause }
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
