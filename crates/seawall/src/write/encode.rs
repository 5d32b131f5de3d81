//! Encoding: from what a transaction has written to the frames of its commit, piece by piece. It reads pages, and
//! writes nothing.

use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::{CommitFrame, MAX_RUNS, RECENT_BYTES, RunRef};
use crate::format::entry::Segments;
use crate::format::frame::{self, Kind, MAX_PAYLOAD, UNIT};
use crate::format::group::{self, Encoder, GROUP_BYTES, Owner};
use crate::format::head::{CommitRef, Head, Upkeep};
use crate::format::ids::{CommitId, Digest, PageNo, PageSize, SegmentName, Version};
use crate::format::index::{self, IndexFrame};
use crate::format::mark::{Fate, Mark};
use crate::format::new_pages::{NewGroup, NewPage, page_checksum};
use crate::format::place::Place;
use crate::mutation::mistake;
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec;

/// A transaction is encoded, and appended, in pieces of this size. The commit frame comes last.
pub(crate) const PIECE: usize = bound(4 << 20, 8 << 10);

/// The most pages that a commit may have. This many fit in its frame, and in the index of it, at 18 bytes a page.
const MOST_PAGES: usize = (MAX_PAYLOAD - (64 << 10)) / 18;

/// A run of the page map with this many entries, of 28 bytes at most, is not merged any more.
const RUN_ENTRIES: usize = bound(MAX_PAYLOAD / 28, 48);

const _: () = assert!(MOST_PAGES * 18 + (64 << 10) <= MAX_PAYLOAD && RUN_ENTRIES * 28 <= MAX_PAYLOAD);

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

    fn is_a_piece(&self) -> bool {
        self.bytes.len() >= PIECE
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
    images: Vec<u8>,
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
        let images = Vec::with_capacity(GROUP_BYTES);
        Ok(CommitEncoder { draft, segments, pages, carried, groups, images, ending: None })
    }

    /// Adds the next piece of the commit to `frames`.
    pub(crate) fn encode_piece(&mut self, compressor: &mut Encoder, frames: &mut Frames) -> Result<Piece<Encoded>> {
        while !(self.pages.is_empty() && self.carried.is_empty()) {
            self.encode_group(compressor, frames)?;
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

    /// Adds the next group: of the commit's own pages and of those that it carries the next ones, in their order. So a
    /// scan finds neighbours one behind the other.
    fn encode_group(&mut self, compressor: &mut Encoder, frames: &mut Frames) -> Result<()> {
        let Change { snapshot, page_size, read, .. } = *self.draft.change;
        let mut pages = Vec::with_capacity(group::pages_per_group(page_size));
        self.images.clear();
        while pages.len() < group::pages_per_group(page_size) {
            match (self.pages, self.carried) {
                ([own, rest @ ..], carried) if carried.first().is_none_or(|(page, _)| own < page) => {
                    pages.push(*own);
                    self.images.extend_from_slice(&read(*own)?);
                    self.pages = rest;
                }
                (_, [(page, image), rest @ ..]) => {
                    pages.push(*page);
                    self.images.extend_from_slice(image);
                    self.carried = rest;
                }
                (_, []) => break,
            }
        }
        let head = &snapshot.head;
        let owner = Owner { database: head.database, version: head.version.next(), commit: self.draft.commit };
        let mut group = put_group(frames, compressor, &owner, page_size, &pages, &self.images)?;
        let carried = &self.draft.carried;
        for new in group.pages.iter_mut().flatten() {
            new.is_carried = carried.binary_search_by_key(&new.page, |(page, _)| *page).is_ok();
        }
        self.groups.push(group);
        Ok(())
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
            indexes = next_runs(snapshot, &mut frame, RUN_ENTRIES);
            let runs = frame.runs.len() + indexes.len();
            if runs > MAX_RUNS {
                return Err(Error::Full(format!("the page map needs {runs} runs, and {MAX_RUNS} are the most")));
            }
            frame.recent.clear();
        }
        Ok((frame, indexes.into_iter()))
    }
}

/// Adds the group of `pages`, whose images follow one another.
pub(crate) fn put_group(
    frames: &mut Frames,
    compressor: &mut Encoder,
    owner: &Owner,
    page_size: PageSize,
    pages: &[PageNo],
    images: &[u8],
) -> Result<NewGroup> {
    let payload = compressor.encode(owner, page_size, pages, images);
    let (_, place) = frames.put(Kind::Pages, &payload)?;
    let units = u16::try_from(u64::from(place.length) / UNIT).expect("a group is at most 64 KiB and a little");
    let images = images.chunks_exact(page_size.bytes());
    let new = |(page, image): (&PageNo, &[u8])| {
        Some(NewPage { page: *page, checksum: page_checksum(image), is_carried: false })
    };
    Ok(NewGroup { at: place.at, units, pages: pages.iter().zip(images).map(new).collect() })
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
    Some(Mark::of(head, Fate::Refused))
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

/// The new runs: `recent`, merged with the newest runs, down to the first that is more than twice as large as what
/// comes after it. So there are few runs, and every entry is written again only O(log n) times. Removes the runs that
/// were merged from `frame`, and those that the base has made superfluous. A run of about `most` entries is large
/// enough, and stays as it is until there are too many of them. What was merged is divided by version, into runs of
/// about that size.
fn next_runs(snapshot: &Snapshot, frame: &mut CommitFrame, most: usize) -> Vec<IndexFrame> {
    let head = &snapshot.head;
    let base = head.base.map_or(Version(0), |base| base.name.version);
    while frame.runs.first().is_some_and(|run| run.up_to <= base) {
        frame.runs_begin = frame.runs.remove(0).up_to;
    }
    let are_too_many = frame.runs.len() > MAX_RUNS / 2;
    let mut after = frame.runs_end();
    let mut count = frame.recent.len();
    let mut merges = false;
    let is_merged = |last: &RunRef, count: usize| {
        let entries = last.entries as usize;
        are_too_many || entries <= 2 * count && entries + count <= most
    };
    while let Some(last) = frame.runs.pop_if(|last| is_merged(last, count)) {
        after = last.after;
        count += last.entries as usize;
        merges = true;
    }
    let entries = if merges {
        snapshot.map.iter().filter(|(_, entry)| entry.version() > after).collect()
    } else {
        std::mem::take(&mut frame.recent)
    };
    divided(IndexFrame { database: head.database, after, up_to: head.folded(), entries }, most)
}

/// Divides a run by version, into runs of at most `most` entries. The entries of one version stay together.
fn divided(run: IndexFrame, most: usize) -> Vec<IndexFrame> {
    if run.entries.len() <= most {
        return vec![run];
    }
    let mut of_version = BTreeMap::<Version, usize>::new();
    run.entries.iter().for_each(|(_, entry)| *of_version.entry(entry.version()).or_default() += 1);
    // Where each run ends, oldest first. The last one ends where the whole run did.
    let (mut ends, mut count) = (Vec::new(), 0);
    let mut last = run.after;
    for (version, entries) in of_version {
        if count > 0 && count + entries > most {
            ends.push(last);
            count = 0;
        }
        count += entries;
        last = version;
    }
    ends.push(run.up_to);
    let mut runs: Vec<IndexFrame> = Vec::with_capacity(ends.len());
    for up_to in &ends {
        let after = runs.last().map_or(run.after, |run| run.up_to);
        runs.push(IndexFrame { database: run.database, after, up_to: *up_to, entries: Vec::new() });
    }
    for (page, entry) in run.entries {
        let place = ends.partition_point(|end| *end < entry.version());
        runs[place].entries.push((page, entry));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::Entry;
    use crate::format::head::Head;
    use crate::format::ids::{DatabaseId, WriterId};
    use crate::ports::moment::Moment;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const DATABASE: DatabaseId = DatabaseId([1; 16]);

    #[test]
    fn a_commit_that_is_too_large_is_refused() {
        assert!(check_size(MOST_PAGES).is_ok());
        let error = check_size(MOST_PAGES + 1).unwrap_err().to_string();
        assert!(error.contains("pages") && error.contains("several transactions"), "{error}");
        // The largest commit that is allowed fits: its frame, and an index of it with entries of the greatest length.
        let segments = Segments::default();
        let segment = segments.number(SegmentName { writer: WriterId([1; 8]), n: u32::MAX });
        let long = |page| (PageNo(page), Entry::new(Version(1), segment, u32::MAX, u16::MAX, u8::MAX));
        let one = index::encoded_length(&[long(u32::MAX)], &segments);
        assert!(one <= 18 + 64, "{one} bytes for an entry and its segment's name");
    }

    proptest! {
        /// Commits of a few pages each, with an index at each of them: what the runs say, oldest first, is what the map
        /// says.
        #[test]
        fn divided_runs_say_what_the_map_says(commits in prop::collection::vec(prop::collection::btree_set(1..40_u32, 1..8), 1..90), most in 1..30_usize) {
            let head = Head::first(DATABASE, CommitId([1; 16]), None, 5);
            let mut snapshot = Snapshot::first(head, Moment::default());
            let segments = Segments::default();
            let segment = segments.number(SegmentName { writer: WriterId([1; 8]), n: 0 });
            let mut written: Vec<IndexFrame> = Vec::new();
            let mut runs: Vec<RunRef> = Vec::new();
            for (commit, n) in commits.iter().zip(1..) {
                let version = Version(n);
                snapshot.head.version = version;
                let entries = commit.iter().map(|page| (PageNo(*page), Entry::new(version, segment, n as u32, 1, 0)));
                let recent: Vec<_> = entries.collect();
                recent.iter().for_each(|(page, entry)| snapshot.map.insert(*page, *entry));
                let mut frame = frame_with(&snapshot, runs.clone(), recent);
                let new = next_runs(&snapshot, &mut frame, most);
                written.retain(|index| frame.runs.iter().any(|run| (run.after, run.up_to) == (index.after, index.up_to)));
                runs = frame.runs;
                for index in new {
                    let payload = index.encode(&segments);
                    prop_assert_eq!(&IndexFrame::decode(&payload, &segments).unwrap(), &index);
                    let one_version = index.entries.iter().all(|(_, entry)| entry.version() == index.entries[0].1.version());
                    prop_assert!(index.entries.len() <= most || one_version, "{} entries", index.entries.len());
                    let place = Place { segment: segments.name(segment), at: 0, length: 0, lead: 0 };
                    runs.push(RunRef { after: index.after, up_to: index.up_to, entries: index.entries.len() as u32, place });
                    written.push(index);
                }
                prop_assert!(runs.len() <= MAX_RUNS, "{} runs", runs.len());
                // As a commit frame's reader demands.
                let mut after = Version(0);
                for run in &runs {
                    prop_assert!(run.after == after && run.up_to > after && run.up_to <= version);
                    after = run.up_to;
                }
                prop_assert_eq!(after, version);
                let merged: BTreeMap<PageNo, Entry> = written.iter().flat_map(|index| index.entries.clone()).collect();
                prop_assert_eq!(merged, snapshot.map.iter().collect::<BTreeMap<_, _>>());
            }
        }
    }

    fn frame_with(snapshot: &Snapshot, runs: Vec<RunRef>, recent: crate::format::index::Entries) -> CommitFrame {
        let head = &snapshot.head;
        CommitFrame {
            database: head.database,
            epoch: head.epoch,
            version: head.version.next(),
            commit: CommitId([2; 16]),
            page_size: PageSize::new(4096).expect("it is one"),
            page_count: 40,
            ordinal: head.version.0 + 1,
            fold: head.fold,
            folded: head.folded(),
            fold_time: 0,
            window: head.window.clone(),
            jumps: Vec::new(),
            settled: (head.version, head.commit().digest),
            group: (head.version.next(), head.version.next()),
            time: 0,
            base: head.base,
            home: head.home,
            sweep: head.sweep,
            log: 0,
            pages: Vec::new(),
            runs_begin: Version(0),
            runs,
            recent,
        }
    }
}
