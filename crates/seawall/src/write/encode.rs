//! Encoding: from what a transaction has written to the frames of its commit, piece by piece. It reads pages, and
//! writes nothing.

use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::{CommitFrame, RECENT_BYTES, RunRef};
use crate::format::entry::Segments;
use crate::format::frame::{self, Kind, MAX_PAYLOAD, UNIT};
use crate::format::group::{GROUP_BYTES, Owner, pages_per_group};
use crate::format::head::{CommitRef, Head, Upkeep};
use crate::format::ids::{CommitId, Digest, PageNo, PageSize, SegmentName};
use crate::format::index::{self, IndexFrame};
use crate::format::mark::Mark;
use crate::format::new_pages::NewGroup;
use crate::format::place::Place;
use crate::mutation::mistake;
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use crate::write::pack::Packer;
use crate::write::runs;
use std::sync::Arc;
use std::vec;

/// A transaction is encoded, and appended, in pieces of this size. The commit frame comes last.
pub(crate) const PIECE: usize = bound(4 << 20, 8 << 10);

/// So many groups are compressed at once, while they and their images are in memory.
const GROUPS_AT_ONCE: usize = 16;

/// The most pages that a commit may have. This many fit in its frame, and in the index of it, at 18 bytes a page.
const MOST_PAGES: usize = (MAX_PAYLOAD - (64 << 10)) / 18;

const _: () = assert!(MOST_PAGES * 18 + (64 << 10) <= MAX_PAYLOAD);

/// What a transaction commits: pages over a snapshot.
pub(crate) struct Change<'a> {
    /// The version that it was made over.
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) page_size: PageSize,
    pub(crate) page_count: u32,
    /// The pages that it writes, rising.
    pub(crate) pages: &'a [PageNo],
    /// The image of one of them.
    pub(crate) read: &'a dyn Fn(PageNo) -> Result<Page>,
    /// Other pages that it writes, which are in the segment already that the commit frame will be in.
    pub(crate) streamed: &'a [NewGroup],
    /// What the commit changes of the head beside its version.
    pub(crate) upkeep: Upkeep,
}

impl<'a> Change<'a> {
    /// A commit without pages over `snapshot`.
    pub(crate) fn without_pages(snapshot: &'a Arc<Snapshot>, upkeep: Upkeep) -> Change<'a> {
        // An empty database has none yet, and a commit names one.
        let page_size = snapshot.page_size().or(PageSize::new(4096)).expect("4,096 is a page size");
        let read = &|_| Err(Error::corrupt("a commit without pages", "a page of it was asked for"));
        Change { snapshot, page_size, page_count: snapshot.page_count(), pages: &[], read, streamed: &[], upkeep }
    }
}

/// What a commit will contain. Encoding decides where its frames will be, and with that its page list and its digest.
pub(crate) struct Draft<'a> {
    pub(crate) change: &'a Change<'a>,
    pub(crate) commit: CommitId,
    /// Milliseconds since 1970.
    pub(crate) time: u64,
    /// The pages that the window has changed and this commit has not, as they are in the snapshot, rising.
    pub(crate) carried: Vec<(PageNo, Page)>,
}

/// A fold that is encoded, whole.
pub(crate) struct Encoded {
    pub(crate) commit: CommitRef,
    pub(crate) frame: CommitFrame,
}

/// Frames that lie one behind the other in a segment: the bytes of one piece, and where they will lie.
pub(crate) struct Frames {
    segment: SegmentName,
    /// Where `bytes` begin in the segment.
    position: u64,
    /// Where the append begins, as far as a reader of its last frame is concerned.
    begin: u64,
    bytes: Vec<u8>,
}

impl Frames {
    /// None yet; the first will lie at `position` of `segment`. The append begins at `begin`.
    /// They are put together in `memory`, whatever that has.
    pub(crate) fn at(segment: SegmentName, position: u64, begin: u64, mut memory: Vec<u8>) -> Frames {
        memory.clear();
        Frames { segment, position, begin, bytes: memory }
    }

    /// The memory, to be used again.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    /// Adds marks. What comes behind them begins there, as far as its reader is concerned.
    pub(crate) fn put_marks(&mut self, marks: &[Mark]) -> Result<()> {
        for mark in marks {
            self.put(Kind::Mark, &mark.encode())?;
            self.begin = self.end();
        }
        Ok(())
    }

    /// Adds a frame; `lead` of its place says how much of this append lies before it.
    pub(crate) fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<(Digest, Place)> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::Full(format!(
                "a part of the transaction takes {} bytes, and {MAX_PAYLOAD} are the most: write it in several transactions",
                payload.len()
            )));
        }
        let at = self.end();
        let units = u32::try_from(at / UNIT).map_err(|_| Error::Full("a transaction is larger than 64 GiB".into()))?;
        let digest = frame::put(&mut self.bytes, kind, payload);
        let length = frame::length_of(payload.len()) as u32;
        let lead = u32::try_from(at - self.begin).unwrap_or(u32::MAX - length);
        Ok((digest, Place { segment: self.segment, at: units, length, lead }))
    }

    /// Adds the head that a commit is to make which rides in it.
    pub(crate) fn put_head(&mut self, head: &Head) -> Result<Piece<()>> {
        self.put(Kind::Head, head.to_string().as_bytes())?;
        Ok(Piece::Last { encoded: (), if_lost: refused_if_lost(head) })
    }

    /// How many bytes are missing to a piece.
    fn room(&self) -> usize {
        PIECE.saturating_sub(self.bytes.len())
    }

    fn is_a_piece(&self) -> bool {
        self.room() == 0
    }

    /// The piece that is to be appended now.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The piece was appended: the next one begins behind it.
    pub(crate) fn next_piece(&mut self) {
        self.position = self.end();
        self.bytes.clear();
    }
}

/// What an encoder has added to the frames.
pub(crate) enum Piece<T> {
    /// A whole piece; more follow.
    More,
    /// The last piece, and what all of them are.
    Last {
        encoded: T,
        /// Says that the commit was refused. It is written if appending this piece fails, because its bytes may arrive
        /// late.
        if_lost: Option<Mark>,
    },
}

/// Encodes one commit: its pages, then index frames if they are needed, and its commit frame last.
pub(crate) struct CommitEncoder<'a> {
    draft: &'a Draft<'a>,
    segments: &'a Segments,
    /// The pages that are not encoded yet: its own …
    pages: &'a [PageNo],
    /// … and those that it carries.
    carried: &'a [(PageNo, Page)],
    groups: Vec<NewGroup>,
    /// Once all pages are encoded: the commit frame, and the index frames that are to lie before it.
    ending: Option<(CommitFrame, vec::IntoIter<IndexFrame>)>,
}

impl<'a> CommitEncoder<'a> {
    /// An encoder of `draft`; an error if no commit can be so large.
    pub(crate) fn new(draft: &'a Draft<'a>, segments: &'a Segments) -> Result<CommitEncoder<'a>> {
        let (pages, carried) = (draft.change.pages, &draft.carried[..]);
        let streamed: usize = draft.change.streamed.iter().map(|group| group.new_pages().count()).sum();
        check_size(pages.len() + carried.len() + streamed)?;
        let groups = draft.change.streamed.to_vec();
        Ok(CommitEncoder { draft, segments, pages, carried, groups, ending: None })
    }

    /// Adds the next piece of the commit to `frames`.
    pub(crate) fn encode_piece(&mut self, packer: &mut Packer, frames: &mut Frames) -> Result<Piece<Encoded>> {
        while !(self.pages.is_empty() && self.carried.is_empty()) {
            self.encode_groups(packer, frames)?;
            if frames.is_a_piece() {
                return Ok(Piece::More);
            }
        }
        let mut ending = match self.ending.take() {
            Some(ending) => ending,
            None => self.ending()?,
        };
        while let Some(index) = ending.1.next() {
            let (after, up_to, entries) = (index.after, index.up_to, index.entries.len() as u32);
            let (_, place) = frames.put(Kind::Index, &index.encode(self.segments))?;
            ending.0.runs.push(RunRef { after, up_to, entries, place });
            if frames.is_a_piece() {
                self.ending = Some(ending);
                return Ok(Piece::More);
            }
        }
        let frame = ending.0;
        mistake!(JumpToSibling, return self.with_siblings(frame, frames));
        let (digest, place) = frames.put(Kind::Commit, &frame.encode(self.segments))?;
        let commit = CommitRef { id: frame.commit, digest, place: Some(place) };
        let if_lost = refused_if_lost(&self.draft.change.snapshot.head.followed_by(commit, 0, 0));
        Ok(Piece::Last { encoded: Encoded { commit, frame }, if_lost })
    }

    /// Adds the next groups, as many as there is room for in the piece.
    fn encode_groups(&mut self, packer: &mut Packer, frames: &mut Frames) -> Result<()> {
        let Change { snapshot, page_size, .. } = *self.draft.change;
        let room = frames.room().div_ceil(GROUP_BYTES).clamp(1, GROUPS_AT_ONCE);
        let pages = self.next_pages(room * pages_per_group(page_size))?;
        let head = &snapshot.head;
        let owner = Owner { database: head.database, version: head.version.next(), commit: self.draft.commit };
        let carried = &self.draft.carried;
        for packed in packer.groups(&owner, page_size, &pages) {
            let mut group = packed.put(frames)?;
            for new in group.pages.iter_mut().flatten() {
                new.is_carried = carried.binary_search_by_key(&new.page, |(page, _)| *page).is_ok();
            }
            self.groups.push(group);
        }
        Ok(())
    }

    /// Of the commit's own pages and of those that it carries the next ones, in their order. So a scan finds neighbours
    /// one behind the other.
    fn next_pages(&mut self, count: usize) -> Result<Vec<(PageNo, Page)>> {
        let mut pages = Vec::with_capacity(count.min(self.pages.len() + self.carried.len()));
        while pages.len() < count {
            match (self.pages, self.carried) {
                ([own, rest @ ..], carried) if carried.first().is_none_or(|(page, _)| own < page) => {
                    pages.push((*own, (self.draft.change.read)(*own)?));
                    self.pages = rest;
                }
                (_, [next, rest @ ..]) => {
                    pages.push(next.clone());
                    self.carried = rest;
                }
                (_, []) => break,
            }
        }
        Ok(pages)
    }

    /// The commit frame, and the index frames that come before it when `recent` would grow too long.
    fn ending(&mut self) -> Result<(CommitFrame, vec::IntoIter<IndexFrame>)> {
        let Draft { change, commit, time, .. } = *self.draft;
        let snapshot = change.snapshot;
        let head = &snapshot.head;
        // What the head will say that names this commit.
        let next = head.followed_by(head.commit(), 0, 0).with(&change.upkeep);
        let mut frame = CommitFrame {
            database: head.database,
            epoch: head.epoch,
            version: next.version,
            commit,
            page_size: change.page_size,
            page_count: change.page_count,
            ordinal: snapshot.trail.ordinal + 1,
            fold: head.fold,
            folded: head.folded(),
            fold_time: snapshot.folded.time,
            window: head.window.clone(),
            jumps: snapshot.trail.jumps.clone(),
            settled: (head.version, head.commit().digest),
            group: (head.version.next(), head.version.next()),
            time: time.max(snapshot.time),
            base: next.base,
            home: next.home,
            sweep: next.sweep,
            log: snapshot.trail.log,
            pages: std::mem::take(&mut self.groups),
            runs_begin: snapshot.trail.runs_begin,
            runs: snapshot.trail.runs.clone(),
            recent: snapshot.trail.recent.clone(),
        };
        let mut indexes = Vec::new();
        if index::encoded_length(&frame.recent, self.segments) > RECENT_BYTES {
            indexes = runs::instead_of_recent(snapshot, &mut frame)?;
        }
        Ok((frame, indexes.into_iter()))
    }
}

/// By mistake a commit jumps to what was encoded last as that version, whatever became of it.
#[cfg(feature = "mutations")]
mod siblings {
    use super::*;
    use crate::format::ids::DatabaseId;
    use crate::format::jump::Jump;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    static ENCODED: Mutex<VecDeque<(DatabaseId, Jump)>> = Mutex::new(VecDeque::new());

    impl CommitEncoder<'_> {
        pub(super) fn with_siblings(&self, mut frame: CommitFrame, frames: &mut Frames) -> Result<Piece<Encoded>> {
            let mut known = ENCODED.lock().expect("no panic while locked");
            for jump in &mut frame.jumps {
                let same = |(of, other): &&(DatabaseId, Jump)| *of == frame.database && other.version == jump.version;
                if let Some((_, other)) = known.iter().filter(same).find(|(_, other)| other.digest != jump.digest) {
                    *jump = Jump { time: jump.time, ordinal: jump.ordinal, ..*other };
                }
            }
            let (digest, place) = frames.put(Kind::Commit, &frame.encode(self.segments))?;
            known.push_back((
                frame.database,
                Jump { ordinal: frame.ordinal, version: frame.version, digest, place, time: frame.time },
            ));
            while known.len() > 1000 {
                known.pop_front();
            }
            let commit = CommitRef { id: frame.commit, digest, place: Some(place) };
            Ok(Piece::Last {
                if_lost: refused_if_lost(&self.draft.change.snapshot.head.followed_by(commit, 0, 0)),
                encoded: Encoded { commit, frame },
            })
        }
    }
}

/// The mark of a commit whose bytes may arrive although its append failed.
fn refused_if_lost(head: &Head) -> Option<Mark> {
    mistake!(NoMarkAfterFailedAppend, return None);
    Some(Mark::of(head))
}

/// Whether a commit of so many pages is possible. The error comes before its commit frame is written.
pub(crate) fn check_size(pages: usize) -> Result<()> {
    if pages <= MOST_PAGES {
        return Ok(());
    }
    Err(Error::Full(format!(
        "the transaction changes more than {MOST_PAGES} pages, the most for one: write it in several transactions"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::PageEntry;
    use crate::format::ids::{Version, WriterId};

    #[test]
    fn a_commit_that_is_too_large_is_refused() {
        assert!(check_size(MOST_PAGES).is_ok());
        let error = check_size(MOST_PAGES + 1).unwrap_err().to_string();
        assert!(error.contains("pages") && error.contains("several transactions"), "{error}");
        // The largest commit that is allowed fits: its frame, and an index of it with entries of the greatest length.
        let segments = Segments::default();
        let segment = segments.number(SegmentName { writer: WriterId([1; 8]), n: u32::MAX });
        let long = |page| (PageNo(page), PageEntry::new(Version(1), segment, u32::MAX, u16::MAX, u8::MAX));
        let one = index::encoded_length(&[long(u32::MAX)], &segments);
        assert!(one <= 18 + 64, "{one} bytes for an entry and its segment's name");
    }
}
