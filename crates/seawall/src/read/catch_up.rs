//! Catching up: from a head to the snapshot that it names, with a constant number of reads.

use crate::error::{Error, Result};
use crate::format::codec::Malformed;
use crate::format::commit_frame::{CommitFrame, RunRef};
use crate::format::frame::{self, Kind, UNIT};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{Digest, Version};
use crate::format::index::IndexFrame;
use crate::format::place::Place;
use crate::mutation::mistake;
use crate::ports::moment::Moment;
use crate::ports::storage::{File, Span};
use crate::read::pages::{Pages, ReadError, frame_of};
use crate::read::snapshot::{Snapshot, check, continues};
use crate::way_out::{SAYS_FIRST, WayOut};

/// A commit's pages are read together with its frame if both have at most this many bytes.
const READ_ALONG: u32 = 64 << 10;

/// How many bytes in front of a commit frame are read with it: all that the append wrote there, if that is little, and
/// otherwise none. The place comes from the head, which can contain anything.
fn lead_to_read(place: &Place) -> u32 {
    let is_small = place.lead.checked_add(place.length).is_some_and(|both| both <= READ_ALONG);
    let units = u64::from(place.lead) / UNIT;
    let is_there = u64::from(place.lead).is_multiple_of(UNIT) && units <= u64::from(place.at);
    if is_small && is_there { place.lead } else { 0 }
}

/// Whether the frame is the very one that the head, or its successor in the chain, names.
fn is_named(digest: Digest, named: Digest) -> bool {
    mistake!(DigestUnchecked, return true);
    digest == named
}

fn head_is_wrong(head: &Head, why: Malformed) -> Error {
    let segment = head.fold.place.map_or_else(String::new, |place| format!(" in {}", File::Segment(place.segment)));
    Error::NeedsRecovery(format!(
        "the head is damaged: it says that version {} is the newest, and names a commit frame{segment} that is intact and does not fit it: {why}. \
         Nothing was changed, and the data is in the files: run {}. {SAYS_FIRST}",
        head.version.0,
        WayOut::RECOVER
    ))
}

impl Pages {
    /// The snapshot that `head` names, made from `known` if that is possible, and otherwise from the base.
    pub(crate) fn snapshot_of(&self, head: Head, known: Option<&Snapshot>, sent: Moment) -> Result<Snapshot> {
        let at_fold = |fold: &Snapshot| {
            fold.with_window(head.clone(), sent)
                .map_err(|why| Error::corrupt(format!("the head of version {}", head.version.0), why))
        };
        if let Some(known) = known.filter(|known| known.head.epoch == head.epoch && known.head.fold.is(&head.fold)) {
            // What this process has seen in the window is in it. (Invariant 2.)
            let seen = known.head.window.entries().len().checked_sub(1);
            let is_there = |at| head.window.commit(at).is_some_and(|commit| commit.is(&known.head.commit()));
            if head.version > known.head.version && !seen.is_none_or(is_there) {
                return Err(Error::corrupt(
                    format!("the history at version {}", head.version.0),
                    "it does not follow what this process has seen",
                ));
            }
            return at_fold(known);
        }
        let fold = head.at_fold();
        if fold.fold.place.is_none() {
            return at_fold(&Snapshot::first(fold, sent));
        }
        let frame = self.read_commit(&fold.fold, fold.version)?;
        at_fold(&self.snapshot_of_frame(fold, frame, known, sent)?)
    }

    /// The snapshot of `head`, where the frame that it names is at hand.
    pub(crate) fn snapshot_of_frame(
        &self,
        head: Head,
        frame: CommitFrame,
        known: Option<&Snapshot>,
        sent: Moment,
    ) -> Result<Snapshot> {
        // Its digest has shown that the frame is whole: where they differ, the head is wrong.
        check(&head, &frame).map_err(|why| head_is_wrong(&head, why))?;
        let earlier = known.filter(|known| known.head.epoch == head.epoch);
        if earlier.is_some_and(|earlier| earlier.version() < head.version && !continues(&frame, &earlier.head)) {
            return Err(Error::corrupt(
                format!("the history at version {}", head.version.0),
                "it does not follow what this process has seen",
            ));
        }
        let base = head.base.map_or(Version(0), |base| base.name.version);
        let runs = self.read_runs(&frame.runs, earlier.map_or(base, |earlier| earlier.head.folded().max(base)))?;
        let what = format!("the commit frame of version {}", head.version.0);
        Snapshot::of_commit(head, frame, &runs, earlier, &self.segments, sent).map_err(|why| Error::corrupt(what, why))
    }

    /// The frame of `commit`, which is `version`. A small commit's pages are read with it, and cached.
    pub(crate) fn read_commit(&self, commit: &CommitRef, version: Version) -> Result<CommitFrame> {
        let no_frame = || Error::corrupt(format!("the history at version {}", version.0), "it names no commit frame");
        let place = commit.place.ok_or_else(no_frame)?;
        let (file, begins_at) = (File::Segment(place.segment), u64::from(place.at) * UNIT);
        self.commit_at(place, commit.digest, lead_to_read(&place)).map_err(|error| match error {
            ReadError::Failed(..) => error.into(),
            why => Error::NeedsRecovery(format!(
                "the files are older than the head: the commit frame of version {} ({file} at {begins_at}) cannot be read: {why}. Nothing was \
                 changed. If an older folder took the place of the newest, bring that back; or run {}. {SAYS_FIRST}",
                version.0,
                WayOut::RECOVER
            )),
        })
    }

    /// The commit frame that lies at `place` and has this digest, and into the cache what lies in the `lead` bytes
    /// before it.
    pub(crate) fn commit_at(&self, place: Place, digest: Digest, lead: u32) -> Result<CommitFrame, ReadError> {
        let (file, begins_at) = (File::Segment(place.segment), u64::from(place.at) * UNIT);
        let length = lead as usize + place.length as usize;
        let bytes = self.read_whole(Span { file, at: begins_at - u64::from(lead), length })?;
        let (pages, frame) = bytes.split_at(lead as usize);
        let frame = self.commit_of(frame, place, digest)?;
        self.take_in_lead(pages, place, lead);
        Ok(frame)
    }

    /// The commit frame that `bytes` are, which were read at `place`, if it has this digest.
    pub(crate) fn commit_of(&self, bytes: &[u8], place: Place, digest: Digest) -> Result<CommitFrame, ReadError> {
        let damaged = |why| ReadError::Damaged(File::Segment(place.segment), u64::from(place.at) * UNIT, why);
        let parsed = frame_of(bytes, Kind::Commit).map_err(damaged)?;
        if !is_named(parsed.digest, digest) {
            return Err(damaged(Malformed("another commit lies there")));
        }
        CommitFrame::decode(parsed.payload, &self.segments).map_err(damaged)
    }

    /// Pages that are read along with a commit frame are optional. If they are damaged, they are ignored; the error is
    /// reported when such a page is read.
    fn take_in_lead(&self, mut bytes: &[u8], place: Place, lead: u32) {
        let segment = self.segments.number(place.segment);
        let mut at = place.at - lead / UNIT as u32;
        while let Ok(frame) = frame::parse(bytes) {
            if frame.kind == Kind::Pages && self.take_in_group(&frame, segment, at).is_err() {
                return;
            }
            at += (frame.length as u64 / UNIT) as u32;
            bytes = bytes.get(frame.length..).unwrap_or_default();
        }
    }

    /// Those of `runs` that reach beyond `known`, oldest first, all read at once.
    pub(crate) fn read_runs(&self, runs: &[RunRef], known: Version) -> Result<Vec<IndexFrame>> {
        let runs: Vec<&RunRef> = runs.iter().filter(|run| run.up_to > known).collect();
        let spans: Vec<Span> = (runs.iter())
            .map(|run| Span {
                file: File::Segment(run.place.segment),
                at: u64::from(run.place.at) * UNIT,
                length: run.place.length as usize,
            })
            .collect();
        // The lengths come from the commit. If all together are no longer than one frame may be, they are read at once.
        // Otherwise they are read one after another, so that the first wrong one ends it.
        let total: u64 = spans.iter().map(|span| span.length as u64).sum();
        let at_once = if total <= frame::MAX_PAYLOAD as u64 { spans.len().max(1) } else { 1 };
        let decode = |((bytes, run), span): ((Vec<u8>, &&RunRef), &Span)| {
            let damaged = |why| ReadError::Damaged(span.file, span.at, why);
            let frame = frame_of(&bytes, Kind::Index).map_err(damaged)?;
            let index = IndexFrame::decode(frame.payload, &self.segments).map_err(damaged)?;
            if index.database != self.database || (index.after, index.up_to) != (run.after, run.up_to) {
                return Err(Error::from(damaged(Malformed("it is another index than the commit names"))));
            }
            Ok(index)
        };
        let mut indexes = Vec::with_capacity(spans.len());
        for (spans, runs) in spans.chunks(at_once).zip(runs.chunks(at_once)) {
            let read = self.read_whole_many(spans)?;
            for decoded in read.into_iter().zip(runs).zip(spans).map(decode) {
                indexes.push(decoded?);
            }
        }
        Ok(indexes)
    }
}
