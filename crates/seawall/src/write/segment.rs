//! Appending to this process's own segment: whole commits, durably, in one write.

use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::{CommitFrame, MAX_RUNS, NewGroup, NewPage, RECENT_BYTES, RunRef, page_checksum};
use crate::format::entry::Segments;
use crate::format::frame::{self, Kind, MAX_PAYLOAD, UNIT};
use crate::format::group::{self, Encoder, GROUP_BYTES, Owner};
use crate::format::head::{CommitRef, Place};
use crate::format::ids::{CommitId, PageNo, PageSize, SegmentName, Version, WriterId};
use crate::format::index::{self, IndexFrame};
use crate::format::mark::{Fate, Mark};
use crate::mutation::{self, Mutation};
use crate::ports::storage::{Append, File, Storage};
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::io;

/// A segment that is longer than this is left for a new one.
const ROTATE_AFTER: u64 = bound(64 << 20, 64 << 10) as u64;
/// A transaction is written in pieces of this size, the commit frame last: all are durable when it is.
const PIECE: usize = bound(8 << 20, 8 << 10);

/// A commit's pages are no more than this, so that its frame fits, and the index of it, at 18 bytes a page, too.
const MOST_PAGES: usize = (MAX_PAYLOAD - (64 << 10)) / 18;

/// A run of the page map that has so many entries, of 28 bytes at most, is left as it is.
const RUN_ENTRIES: usize = bound(MAX_PAYLOAD / 28, 48);

const _: () = assert!(MOST_PAGES * 18 + (64 << 10) <= MAX_PAYLOAD && RUN_ENTRIES * 28 <= MAX_PAYLOAD);

/// Where this process appends. Only one thread at a time does: whoever has the turn, or the background between turns.
#[derive(Default)]
pub(crate) struct SegmentWriter {
    writer: Option<WriterId>,
    made: u32,
    /// Taken out while something is appended: whatever ends that early, a panic too, leaves the segment for good.
    open: Option<Open>,
    encoder: Encoder,
    /// Marks that must be durable before anything else is appended: they lie in front of it, in the same append.
    owed: Vec<Mark>,
}

/// An append that failed.
pub(crate) struct AppendFailed {
    /// Why.
    pub(crate) error: Error,
    /// Its space could not be given back, for this reason.
    pub(crate) not_given_back: Option<String>,
}

struct Open {
    name: SegmentName,
    file: Box<dyn Append>,
    position: u64,
    /// The sweep that it was made under: garbage collection may take it once another began.
    sweep: u64,
}

/// What a commit is to say; the page list and the map come from writing it.
pub(crate) struct Draft<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) commit: CommitId,
    pub(crate) page_size: PageSize,
    pub(crate) page_count: u32,
    pub(crate) time: u64,
    pub(crate) sweep: u64,
}

impl SegmentWriter {
    /// Appends the images of `pages` and the commit frame; when it returns, they are durable. After an error nothing of it counts, and
    /// the next append begins another segment. If the frame was encoded by then, its bytes may still come to be there: then a mark is
    /// owed which says that it was refused.
    pub(crate) fn append_commit(
        &mut self,
        storage: &dyn Storage,
        segments: &Segments,
        draft: &Draft<'_>,
        pages: &[PageNo],
        read: &dyn Fn(PageNo) -> Result<Page>,
    ) -> Result<(CommitRef, CommitFrame), AppendFailed> {
        check_size(pages.len(), MOST_PAGES).map_err(|error| AppendFailed { error, not_given_back: None })?;
        let mut encoder = std::mem::take(&mut self.encoder);
        let appended = self.append_with(storage, draft.sweep, |append, owed| {
            let head = &draft.snapshot.head;
            let version = head.version.next();
            let owner = Owner { database: head.database, version, commit: draft.commit };
            let groups = append.groups(&owner, draft.page_size, pages, read, &mut encoder)?;
            if mutation::is(Mutation::PagesNotDurable) {
                append.flush()?;
            }
            let frame = append.with_index(draft, groups, segments)?;
            let (digest, place) = append.frame(Kind::Commit, &frame.encode(segments))?;
            // From here on its bytes are on their way, and a failure does not stop them all.
            if !mutation::is(Mutation::NoMarkAfterFailedAppend) {
                let (database, epoch) = (head.database, head.epoch);
                owed.push(Mark { fate: Fate::Refused, database, epoch, version, commit: draft.commit, digest });
            }
            Ok((CommitRef { id: draft.commit, digest, place: Some(place) }, frame))
        });
        self.encoder = encoder;
        appended
    }

    /// Whether marks are owed.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// From now on this mark is owed: it is written before anything else is.
    pub(crate) fn owe(&mut self, mark: Mark) {
        self.owed.push(mark);
    }

    /// Appends the marks that are owed, if there are any; when it returns, they are durable. `sweep` is that of the newest head.
    pub(crate) fn append_owed(&mut self, storage: &dyn Storage, sweep: u64) -> Result<(), AppendFailed> {
        if !self.owes() {
            return Ok(());
        }
        let sweep = self.open.as_ref().map_or(sweep, |open| open.sweep.max(sweep));
        self.append_with(storage, sweep, |_, _| Ok(()))
    }

    /// Appends a mark, after those that are owed; when it returns, they are durable.
    pub(crate) fn append_mark(&mut self, storage: &dyn Storage, sweep: u64, mark: &Mark) -> Result<(), AppendFailed> {
        let sweep = self.open.as_ref().map_or(sweep, |open| open.sweep.max(sweep));
        self.append_with(storage, sweep, |append, _| append.frame(Kind::Mark, &mark.encode()).map(drop))
    }

    /// Appends what `fill` adds, behind the marks that are owed; those that `fill` owes are for the case that it fails.
    fn append_with<T>(
        &mut self,
        storage: &dyn Storage,
        sweep: u64,
        fill: impl FnOnce(&mut Appending<'_>, &mut Vec<Mark>) -> Result<T>,
    ) -> Result<T, AppendFailed> {
        let opened = self.open_under(storage, sweep);
        let mut open = opened.map_err(|error| AppendFailed { error, not_given_back: None })?;
        let begin = open.position;
        let mut append = Appending { open: &mut open, begin, buffer: Vec::new() };
        let filled = append.put_marks(&self.owed).and_then(|()| fill(&mut append, &mut self.owed));
        match filled.and_then(|filled| append.flush().map(|()| filled)) {
            Ok(filled) => {
                self.open = Some(open);
                self.owed.clear();
                Ok(filled)
            }
            Err(error) if mutation::is(Mutation::SegmentGoesOn) => {
                self.open = Some(open);
                Err(AppendFailed { error, not_given_back: None })
            }
            // Its end is unknown now, and a failed sync must never be tried again on the same file: it is left. First of all what it
            // took is given back, for others may need it more than anything.
            Err(error) => {
                let given_back = open.file.truncate(begin);
                let not_given_back = given_back
                    .err()
                    .map(|why| format!("giving back what a failed append took of {}: {why}", File::Segment(open.name)));
                Err(AppendFailed { error, not_given_back })
            }
        }
    }

    /// The open segment, taken out; a new one if there is none under this sweep.
    fn open_under(&mut self, storage: &dyn Storage, sweep: u64) -> Result<Open> {
        if let Some(open) = self.open.take().filter(|open| open.sweep == sweep && open.position <= ROTATE_AFTER) {
            return Ok(open);
        }
        let name = SegmentName { writer: self.writer(storage)?, n: self.made };
        self.made += 1;
        let failed = |error| Error::io(format!("making {}", File::Segment(name)), error);
        let file = storage.create(File::Segment(name)).map_err(failed)?;
        Ok(Open { name, file, position: 0, sweep })
    }

    /// This process's writer, made at its first append: a copy of its memory that was taken before is another writer.
    fn writer(&mut self, storage: &dyn Storage) -> Result<WriterId> {
        if self.writer.is_none() {
            let mut id = [0; 8];
            storage.random(&mut id).map_err(|error| Error::io("asking for randomness", error))?;
            self.writer = Some(WriterId(id));
        }
        Ok(self.writer.expect("it was just made"))
    }
}

/// Whether a commit of so many pages is possible. It is told before anything of it is written.
fn check_size(pages: usize, most: usize) -> Result<()> {
    if pages <= most {
        return Ok(());
    }
    Err(Error::Full(format!(
        "the transaction changes {pages} pages, and {most} are the most for one: write it in several transactions"
    )))
}

/// One append under way.
struct Appending<'a> {
    open: &'a mut Open,
    begin: u64,
    buffer: Vec<u8>,
}

impl Appending<'_> {
    fn at(&self) -> u64 {
        self.open.position + self.buffer.len() as u64
    }

    /// Adds the marks that are owed. What comes behind them begins there, as far as readers are concerned.
    fn put_marks(&mut self, marks: &[Mark]) -> Result<()> {
        marks.iter().try_for_each(|mark| self.frame(Kind::Mark, &mark.encode()).map(drop))?;
        self.begin = self.at();
        Ok(())
    }

    /// Adds a frame; `lead` says how much of this append lies before it.
    fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(crate::format::ids::Digest, Place)> {
        if payload.len() > MAX_PAYLOAD {
            return Err(Error::Full(format!(
                "a part of the transaction takes {} bytes, and {MAX_PAYLOAD} are the most: write it in several transactions",
                payload.len()
            )));
        }
        let at = self.at();
        let units = u32::try_from(at / UNIT).map_err(|_| Error::Full("a transaction is larger than 64 GiB".into()))?;
        let digest = frame::put(&mut self.buffer, kind, payload);
        let length = frame::length_of(payload.len()) as u32;
        let lead = u32::try_from(at - self.begin).unwrap_or(u32::MAX - length);
        Ok((digest, Place { segment: self.open.name, at: units, length, lead }))
    }

    fn groups(
        &mut self,
        owner: &Owner,
        page_size: PageSize,
        pages: &[PageNo],
        read: &dyn Fn(PageNo) -> Result<Page>,
        encoder: &mut Encoder,
    ) -> Result<Vec<NewGroup>> {
        let mut groups = Vec::with_capacity(pages.len().div_ceil(group::pages_per_group(page_size)));
        let mut images = Vec::with_capacity(GROUP_BYTES);
        for pages in pages.chunks(group::pages_per_group(page_size)) {
            images.clear();
            let mut new_pages = Vec::with_capacity(pages.len());
            for page in pages {
                let image = read(*page)?;
                new_pages.push(NewPage { page: *page, checksum: page_checksum(&image) });
                images.extend_from_slice(&image);
            }
            let (_, place) = self.frame(Kind::Pages, &encoder.encode(owner, page_size, pages, &images))?;
            let units = u16::try_from(u64::from(place.length) / UNIT).expect("a group is at most 64 KiB and a little");
            groups.push(NewGroup { at: place.at, units, pages: new_pages });
            if self.buffer.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(groups)
    }

    /// The commit frame; an index frame comes before it when `recent` would grow too long.
    fn with_index(&mut self, draft: &Draft<'_>, pages: Vec<NewGroup>, segments: &Segments) -> Result<CommitFrame> {
        let snapshot = draft.snapshot;
        let head = &snapshot.head;
        let mut frame = CommitFrame {
            database: head.database,
            epoch: head.epoch,
            version: head.version.next(),
            commit: draft.commit,
            page_size: draft.page_size,
            page_count: draft.page_count,
            previous: head.commit,
            settled: (head.version, head.commit.digest),
            group: (head.version.next(), head.version.next()),
            time: draft.time.max(snapshot.time),
            pages,
            runs_begin: snapshot.trail.runs_begin,
            runs: snapshot.trail.runs.clone(),
            recent: snapshot.trail.recent.clone(),
        };
        if index::encoded_length(&frame.recent, segments) > RECENT_BYTES {
            for index in next_runs(snapshot, &mut frame, RUN_ENTRIES) {
                let (after, up_to, entries) = (index.after, index.up_to, index.entries.len() as u32);
                let (_, place) = self.frame(Kind::Index, &index.encode(segments))?;
                frame.runs.push(RunRef { after, up_to, entries, place });
                if self.buffer.len() >= PIECE {
                    self.flush()?;
                }
            }
            if frame.runs.len() > MAX_RUNS {
                return Err(Error::Full(format!(
                    "the page map needs {} runs, and {MAX_RUNS} are the most",
                    frame.runs.len()
                )));
            }
            frame.recent.clear();
        }
        Ok(frame)
    }

    fn flush(&mut self) -> Result<()> {
        let failed =
            |open: &Open, error: io::Error| Error::io(format!("appending to {}", File::Segment(open.name)), error);
        if !self.buffer.is_empty() {
            mutation::append(&mut *self.open.file, &self.buffer).map_err(|error| failed(self.open, error))?;
            self.open.position += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The runs that take `recent` in, and every older run that is not at least twice as large: so that there are few runs, and every entry
/// is written again only O(log n) times. Runs that the base has made superfluous go. A run of about `most` entries is large enough: it
/// stays as it is until there are too many of them, and what was merged is divided again by version, into runs of about that size.
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
    divided(IndexFrame { database: head.database, after, up_to: head.version, entries }, most)
}

/// Divides a run by version, into such of at most `most` entries; one version's entries stay together.
fn divided(run: IndexFrame, most: usize) -> Vec<IndexFrame> {
    if run.entries.len() <= most {
        return vec![run];
    }
    let mut of_version = BTreeMap::<Version, usize>::new();
    run.entries.iter().for_each(|(_, entry)| *of_version.entry(entry.version()).or_default() += 1);
    // Where each run ends, oldest first; the last one reaches as far as the whole did.
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
    use crate::format::ids::DatabaseId;
    use crate::ports::moment::Moment;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const DATABASE: DatabaseId = DatabaseId([1; 16]);

    #[test]
    fn a_commit_that_is_too_large_is_refused_before_anything_is_written() {
        assert!(check_size(10, 10).is_ok());
        let error = check_size(11, 10).unwrap_err().to_string();
        assert!(error.contains("11 pages") && error.contains("several transactions"), "{error}");
        // What is allowed fits: its frame, and an index of it, at what an entry takes at most there.
        let segments = Segments::default();
        let segment = segments.number(SegmentName { writer: WriterId([1; 8]), n: u32::MAX });
        let long = |page| (PageNo(page), Entry::new(Version(1), segment, u32::MAX, u16::MAX, u8::MAX));
        let one = index::encoded_length(&[long(u32::MAX)], &segments);
        assert!(one <= 18 + 64, "{one} bytes for an entry and its segment's name");
    }

    proptest! {
        /// Commits of a few pages each, with an index at each of them: what the runs say, oldest first, is what the map says.
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
            previous: head.commit,
            settled: (head.version, head.commit.digest),
            group: (head.version.next(), head.version.next()),
            time: 0,
            pages: Vec::new(),
            runs_begin: Version(0),
            runs,
            recent,
        }
    }
}
