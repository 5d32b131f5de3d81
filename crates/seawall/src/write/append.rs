//! Steps 1 and 2 of a commit: what is not in the head with its swap is encoded, and appended durably.

use super::commit::Form;
use super::committer::Committer;
use super::encode::{Change, CommitEncoder, Draft, Encoded, Frames, Piece};
use super::inline::carried;
use super::segment::{AppendFailed, Left};
use super::stream::StreamWriter;
use crate::error::{Error, Result};
use crate::format::commit_frame::CommitFrame;
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{CommitId, PageNo};
use crate::mutation::mistake;
use crate::ports::coordinator::Lease;
use crate::ports::sync::unpoisoned;
use crate::read::pages::Page;

/// A commit that was appended, as far as it is to be.
pub(super) struct Made {
    pub(super) next: Head,
    pub(super) form: Form,
    /// What goes if no head will ever name it.
    pub(super) left: Option<Left>,
    /// The append failed, and may arrive all the same.
    pub(super) failure: Option<Error>,
}

impl Committer {
    pub(super) fn draft<'a>(&self, change: &'a Change<'a>) -> Result<Draft<'a>> {
        let commit = CommitId(self.tip.random()?);
        Ok(Draft { change, commit, time: self.tip.storage.now().unix_millis(), carried: Vec::new() })
    }

    /// Steps 1 and 2 of a fold: pages and commit frame. The encoder is asked for one piece after the other while they
    /// are appended, so that no commit is in memory whole. After an error no part of the commit counts.
    pub(super) fn append_fold(&self, draft: Draft<'_>, lease: &Lease) -> Result<Made> {
        let change = draft.change;
        self.make_predecessor_durable(&change.snapshot.head)?;
        let read = |page| {
            mistake!(FoldTakesOlder, return self.tip.pages.read_older(change.snapshot, page));
            self.tip.read_page(change.snapshot, page)
        };
        let draft = Draft { carried: carried(change, read)?, ..draft };
        let mut packer = unpoisoned(self.packer.lock());
        let mut encoder = CommitEncoder::new(&draft, &self.tip.pages.segments)?;
        let (encoded, left, failure) = self.append(lease.sweep, |frames| encoder.encode_piece(&mut packer, frames))?;
        Ok(self.made(change, lease, (encoded, draft.carried), left, failure))
    }

    /// Steps 1 and 2 of a large transaction: what is left of it, behind what its own segment has. After an error that
    /// segment is removed.
    pub(super) fn append_streamed(&self, change: &Change<'_>, lease: &Lease, mut stream: StreamWriter) -> Result<Made> {
        self.make_predecessor_durable(&change.snapshot.head)?;
        // Marks come before all that this process appends: nothing stands on a commit while one is owed.
        self.try_mark_owed(lease.sweep)?;
        let commit = stream.owner.commit;
        let carried = carried(change, |page| self.tip.read_page(change.snapshot, page))?;
        let draft = Draft { change, commit, time: self.tip.storage.now().unix_millis(), carried };
        let mut encoder = CommitEncoder::new(&draft, &self.tip.pages.segments)?;
        let mut lost = Vec::new();
        let appended = stream.append_end(&mut lost, |packer, frames| encoder.encode_piece(packer, frames));
        let (encoded, failure) = match appended {
            Ok(encoded) => (encoded, None),
            // It is marked once the failure is settled.
            Err((error, Some(encoded))) => (encoded, Some(error)),
            Err((error, None)) => {
                // Its space comes before its mark: that may need it.
                drop(stream);
                lost.into_iter().for_each(|mark| unpoisoned(self.segment.lock()).owe(mark));
                self.mark_owed(lease.sweep);
                return Err(error);
            }
        };
        Ok(self.made(change, lease, (encoded, draft.carried), Some(Left::Segment(stream.into_open())), failure))
    }

    /// The fold that was encoded, with the pages that it carries.
    fn made(
        &self,
        change: &Change<'_>,
        lease: &Lease,
        (Encoded { commit, frame }, carried): (Encoded, Vec<(PageNo, Page)>),
        left: Option<Left>,
        failure: Option<Error>,
    ) -> Made {
        if failure.is_none() {
            self.remember_carried(&commit, &frame, carried);
        }
        let next = change.snapshot.head.followed_by(commit, lease.generation, lease.slot).with(&change.upkeep);
        Made { next, form: Form::Fold(Box::new(frame)), left, failure }
    }

    /// Step 2 of a commit that rides in the head `next`: where the coordinator's record is no file of the folder, the
    /// head goes to this process's segment as well. So all that was acknowledged is in files.
    pub(super) fn append_entry(&self, next: Head, sweep: u64) -> Result<Made> {
        let is_appended = !self.tip.coordinator.is_in_files();
        let form = Form::Entry { is_appended };
        mistake!(EntryNotAppended, return Ok(Made { next, form, left: None, failure: None }));
        let ((), left, failure) =
            if is_appended { self.append(sweep, |frames| frames.put_head(&next))? } else { ((), None, None) };
        Ok(Made { next, form, left, failure })
    }

    /// Appends what `encode` adds. If that failed and may arrive all the same, the answer has what it may have left, and
    /// the failure.
    fn append<T>(
        &self,
        sweep: u64,
        encode: impl FnMut(&mut Frames) -> Result<Piece<T>>,
    ) -> Result<(T, Option<Left>, Option<Error>)> {
        let mut segment = unpoisoned(self.segment.lock());
        let appended = segment.append(&*self.tip.storage, sweep, encode);
        drop(segment);
        match appended {
            Ok(encoded) => Ok((encoded, None, None)),
            Err(AppendFailed { error, may_arrive: Some(arriving), .. }) => {
                let (encoded, left) = *arriving;
                Ok((encoded, Some(left), Some(error)))
            }
            Err(failed) => {
                self.chores.report(failed.not_given_back.map_or(Ok(()), Err));
                self.mark_owed(sweep);
                Err(failed.error)
            }
        }
    }

    /// A fold says that what it stands on is in the history, and recovery believes that. The process that put it there
    /// may have died before that was durable (invariant 15).
    fn make_predecessor_durable(&self, previous: &Head) -> Result<()> {
        mistake!(SettledNotDurable, return Ok(()));
        let mut durable = unpoisoned(self.durable.lock());
        if *durable < previous.order() {
            self.tip.coordinator.make_durable().map_err(Error::nothing_written)?;
            *durable = previous.order();
        }
        Ok(())
    }

    /// Puts the pages that a fold carries into the page cache, at their new places: the next entry that changes one has
    /// its old image at hand. What lies there never changes, whatever becomes of the commit.
    fn remember_carried(&self, commit: &CommitRef, frame: &CommitFrame, carried: Vec<(PageNo, Page)>) {
        let Some(place) = commit.place.filter(|_| !carried.is_empty()) else { return };
        let of_frame = frame.own_entries(place.segment, &self.tip.pages.segments);
        for (page, image) in carried {
            if let Ok(at) = of_frame.binary_search_by_key(&page, |(page, _)| *page) {
                self.tip.pages.remember_carried(page, of_frame[at].1, image);
            }
        }
    }
}
