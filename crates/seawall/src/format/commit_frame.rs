//! The commit frame: what a transaction appended, and how a reader gets from there to a whole page map.

use crate::bounds::bound;
use crate::format::codec::{self, Malformed, Reader, put_varint};
use crate::format::entry::{PageEntry, Segments};
use crate::format::head::{BaseRef, CommitRef, Floor, Head, State};
use crate::format::ids::{BaseName, CommitId, DatabaseId, Digest, Epoch, PageSize, SegmentName, Version};
use crate::format::index::{Entries, put_entries, read_entries};
use crate::format::jump::{Jump, jumps_of, put_jumps, read_jumps};
use crate::format::new_pages::{NewGroup, NewPage, pages_of, put_groups, read_groups};
use crate::format::place::Place;
use crate::format::window::Window;

/// A committer whose `recent` would take more than this writes an index frame first.
/// (docs/decisions/0007-runs-in-the-commit-frame.md has the measurements.)
pub const RECENT_BYTES: usize = bound(2 << 10, 256);
/// More runs than this never come about: each is at least twice as large as the next newer one, or so large that it is
/// left as it is; and once there are half as many, all are merged.
pub(crate) const MAX_RUNS: usize = 64;

/// A run of the page map, and the index frame that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRef {
    /// It holds what changed after this version …
    pub after: Version,
    /// … and not after this one.
    pub up_to: Version,
    /// How many entries it has.
    pub entries: u32,
    /// The index frame.
    pub place: Place,
}

/// A commit frame's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFrame {
    /// The database.
    pub database: DatabaseId,
    /// The epoch.
    pub epoch: Epoch,
    /// The version that this commit wants to be.
    pub version: Version,
    /// Its id.
    pub commit: CommitId,
    /// The bytes of a page.
    pub page_size: PageSize,
    /// The database's size in pages after this commit.
    pub page_count: u32,
    /// Which fold this is: 1 is the first.
    pub ordinal: u64,
    /// The fold before it: the newest commit that is a frame, too, or version 0.
    pub fold: CommitRef,
    /// The version of that fold.
    pub folded: Version,
    /// The time of that fold; 0 for version 0.
    pub fold_time: u64,
    /// The commits between that fold and this one, as they were in the head. The last one is the predecessor.
    pub window: Window,
    /// Earlier folds, newest first. The ordinal alone says which ones: docs/format.md has the rule.
    pub jumps: Vec<Jump>,
    /// The newest head that the writer knew to be committed.
    pub settled: (Version, Digest),
    /// The first and last version of the swap that this commit rides on.
    pub group: (Version, Version),
    /// Milliseconds since 1970; never less than the predecessor's.
    pub time: u64,
    /// The base of the head that names this commit, so that an old version can say where its pages are.
    pub base: Option<BaseRef>,
    /// The home of that head.
    pub home: u64,
    /// The sweep of that head.
    pub sweep: u64,
    /// The bytes that the log had before this commit's append.
    pub log: u64,
    /// The pages that lie in front of the frame: the commit's own, and the newest images of the others that `window`
    /// has changed.
    pub pages: Vec<NewGroup>,
    /// Everything at or below this version is in the base.
    pub runs_begin: Version,
    /// The index frames that hold what changed since then, oldest first.
    pub runs: Vec<RunRef>,
    /// What changed since the last run, merged; without the pages of this frame.
    pub recent: Entries,
}

impl CommitFrame {
    /// The version up to which the runs reach.
    pub fn runs_end(&self) -> Version {
        self.runs.last().map_or(self.runs_begin, |run| run.up_to)
    }

    /// The bytes of the log up to and with this commit, whose frame lies at `place`.
    pub fn log_with(&self, place: &Place) -> u64 {
        self.log.saturating_add(u64::from(place.lead)).saturating_add(u64::from(place.length))
    }

    /// The head that named this frame's commit, as far as the frame says: what only the newest head knows is not in it.
    pub fn head(&self, commit: CommitRef) -> Head {
        Head {
            database: self.database,
            epoch: self.epoch,
            version: self.version,
            fold: commit,
            window: Window::default(),
            base: self.base,
            home: self.home,
            generation: 0,
            sweep: self.sweep,
            lease_slot: 0,
            floor: Floor::default(),
            state: State::Open,
        }
    }

    /// The predecessor: its digest chains the history. It has no place if it is an entry.
    pub fn previous(&self) -> CommitRef {
        self.window.newest_commit().unwrap_or(self.fold)
    }

    /// The predecessor's time; 0 for version 0.
    pub fn previous_time(&self) -> u64 {
        self.window.newest().map_or(self.fold_time, |(entry, _)| entry.time)
    }

    /// The earlier folds that it names, newest first: the one before it, if that has a frame, and those that it jumps to.
    pub fn named(&self) -> impl Iterator<Item = Jump> {
        let before = self.fold.place.map(|place| Jump {
            ordinal: self.ordinal - 1,
            version: self.folded,
            digest: self.fold.digest,
            place,
            time: self.fold_time,
        });
        before.into_iter().chain(self.jumps.iter().copied())
    }

    /// What the next commit frame has as `jumps`, if it follows this one.
    pub fn next_jumps(&self) -> Vec<Jump> {
        let known: Vec<Jump> = self.named().collect();
        let wanted = jumps_of(self.ordinal + 1);
        wanted.filter_map(|ordinal| known.iter().find(|jump| jump.ordinal == ordinal).copied()).collect()
    }

    /// The pages that the commit itself has written.
    pub fn own_pages(&self) -> impl Iterator<Item = &NewPage> {
        pages_of(&self.pages).filter(|new| !new.is_carried)
    }

    /// The pages that it carries.
    pub fn carried_pages(&self) -> impl Iterator<Item = &NewPage> {
        pages_of(&self.pages).filter(|new| new.is_carried)
    }

    /// The payload of the frame.
    pub fn encode(&self, segments: &Segments) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(&self.database.0);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.commit.0);
        out.extend_from_slice(&(self.page_size.bytes() as u32).to_le_bytes());
        out.extend_from_slice(&self.page_count.to_le_bytes());
        put_varint(&mut out, self.ordinal);
        out.extend_from_slice(&self.fold.id.0);
        out.extend_from_slice(&self.fold.digest.0);
        if let Some(place) = &self.fold.place {
            place.put(&mut out);
        }
        put_varint(&mut out, self.folded.0);
        put_varint(&mut out, self.fold_time);
        put_varint(&mut out, self.window.bytes().len() as u64);
        out.extend_from_slice(self.window.bytes());
        put_jumps(&mut out, &self.jumps);
        put_varint(&mut out, self.settled.0.0);
        out.extend_from_slice(&self.settled.1.0);
        put_varint(&mut out, self.group.0.0);
        put_varint(&mut out, self.group.1.0);
        put_varint(&mut out, self.time);
        out.push(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            put_base(&mut out, base);
        }
        out.extend_from_slice(&self.home.to_le_bytes());
        put_varint(&mut out, self.sweep);
        put_varint(&mut out, self.log);
        put_groups(&mut out, &self.pages);
        put_varint(&mut out, self.runs_begin.0);
        put_varint(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            put_varint(&mut out, run.up_to.0);
            put_varint(&mut out, u64::from(run.entries));
            run.place.put(&mut out);
        }
        put_entries(&mut out, &self.recent, segments);
        out
    }

    /// The content of a commit frame's payload.
    pub fn decode(payload: &[u8], segments: &Segments) -> Result<CommitFrame, Malformed> {
        let mut reader = Reader::new(payload);
        let database = DatabaseId(reader.array()?);
        let epoch = Epoch(reader.u64()?);
        let version = Version(reader.u64()?);
        if version.0 == 0 || version > Version::MAX {
            return Err(Malformed("a commit's version is impossible"));
        }
        let commit = CommitId(reader.array()?);
        let page_size = PageSize::new(reader.u32()?).ok_or(Malformed("a page size is impossible"))?;
        let page_count = reader.u32()?;
        let ordinal = reader.varint()?;
        if ordinal == 0 || ordinal > version.0 {
            return Err(Malformed("a commit's ordinal is impossible"));
        }
        let fold = CommitRef {
            id: CommitId(reader.array()?),
            digest: Digest(reader.array()?),
            place: if ordinal > 1 { Some(Place::read(&mut reader)?) } else { None },
        };
        let (folded, fold_time) = (Version(reader.varint()?), reader.varint()?);
        let length = reader.count(1)?;
        let window = Window::decode(reader.bytes(length)?, &fold.digest)?;
        let is_next = folded.0.checked_add(window.entries().len() as u64 + 1) == Some(version.0);
        // The first commit is a fold.
        let is_first = (folded.0 == 0, version.0 == 1);
        if !is_next || folded.0 < ordinal - 1 || is_first != (ordinal == 1, ordinal == 1) {
            return Err(Malformed("a commit's predecessors are impossible"));
        }
        if window.entries().first().is_some_and(|(entry, _)| entry.time < fold_time) {
            return Err(Malformed("an entry is older than its fold"));
        }
        let jumps = read_jumps(&mut reader, ordinal, folded, fold_time)?;
        let settled = (Version(reader.varint()?), Digest(reader.array()?));
        let group = (Version(reader.varint()?), Version(reader.varint()?));
        if settled.0 >= version || group.0 > version || group.1 < version {
            return Err(Malformed("a commit's versions are impossible"));
        }
        let time = codec::time(reader.varint()?)?;
        if time < window.newest().map_or(fold_time, |(entry, _)| entry.time) {
            return Err(Malformed("a commit's time is before its predecessor's"));
        }
        let base = if reader.flag()? { Some(read_base(&mut reader)?) } else { None };
        if base.is_some_and(|base| base.name.version >= version) {
            return Err(Malformed("a commit's base is not older than it"));
        }
        let (home, sweep, log) = (reader.u64()?, reader.varint()?, reader.varint()?);
        let pages = read_groups(&mut reader, page_size)?;
        if pages_of(&pages).any(|new| new.is_carried && !window.has(new.page)) {
            return Err(Malformed("a commit carries a page that it must not"));
        }
        let runs_begin = Version(reader.varint()?);
        if runs_begin > folded {
            return Err(Malformed("a commit's index begins after it"));
        }
        let count = reader.count(10)?;
        if count > MAX_RUNS {
            return Err(Malformed("a commit has too many runs"));
        }
        let mut runs = Vec::with_capacity(count);
        let mut after = runs_begin;
        for _ in 0..count {
            let up_to = Version(reader.varint()?);
            if up_to <= after || up_to > folded {
                return Err(Malformed("a run's versions are impossible"));
            }
            runs.push(RunRef { after, up_to, entries: reader.small()?, place: Place::read(&mut reader)? });
            after = up_to;
        }
        let recent = read_entries(&mut reader, segments, after, folded.next())?;
        reader.end()?;
        Ok(CommitFrame {
            database,
            epoch,
            version,
            commit,
            page_size,
            page_count,
            ordinal,
            fold,
            folded,
            fold_time,
            window,
            jumps,
            settled,
            group,
            time,
            base,
            home,
            sweep,
            log,
            pages,
            runs_begin,
            runs,
            recent,
        })
    }

    /// The page map's entries for the pages that lie in front of the frame, by page number.
    pub fn own_entries(&self, segment: SegmentName, segments: &Segments) -> Entries {
        let segment = segments.number(segment);
        let mut entries: Entries = (self.pages.iter())
            .flat_map(|group| {
                let entry = |slot| PageEntry::new(self.version, segment, group.at, group.units, slot);
                group.new_pages().map(move |(slot, new)| (new.page, entry(slot)))
            })
            .collect();
        entries.sort_by_key(|(page, _)| *page);
        entries
    }
}

fn put_base(out: &mut Vec<u8>, base: &BaseRef) {
    out.extend_from_slice(&base.name.epoch.0.to_le_bytes());
    put_varint(out, base.name.version.0);
    out.extend_from_slice(&base.name.id);
    out.extend_from_slice(&(base.page_size.bytes() as u32).to_le_bytes());
    out.extend_from_slice(&base.page_count.to_le_bytes());
    put_varint(out, base.log);
}

fn read_base(reader: &mut Reader<'_>) -> Result<BaseRef, Malformed> {
    let (epoch, version) = (Epoch(reader.u64()?), Version(reader.varint()?));
    let name = BaseName { epoch, version, id: reader.array()? };
    let page_size = PageSize::new(reader.u32()?).ok_or(Malformed("a page size is impossible"))?;
    Ok(BaseRef { name, page_size, page_count: reader.u32()?, log: reader.varint()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::{PageNo, WriterId};
    use crate::format::index::{IndexFrame, merge};
    use crate::format::new_pages::page_checksum;
    use proptest::prelude::*;

    fn segment(n: u32) -> SegmentName {
        SegmentName { writer: WriterId([n as u8; 8]), n }
    }

    fn place(n: u32) -> Place {
        Place { segment: segment(n), at: n, length: n + 1, lead: n + 2 }
    }

    prop_compose! {
        fn some_entries(first: u64, last: u64)(
            pages in prop::collection::btree_map(1..u32::MAX, (first..=last, 0..4_u32, any::<u32>(), any::<u16>(), any::<u8>()), 0..40)
        ) -> Vec<(u32, u64, u32, u32, u16, u8)> {
            pages.into_iter().map(|(page, (version, n, at, units, slot))| (page, version, n, at, units, slot)).collect()
        }
    }

    fn entries(raw: &[(u32, u64, u32, u32, u16, u8)], segments: &Segments) -> Entries {
        let entry = |&(page, version, n, at, units, slot): &_| {
            (PageNo(page), PageEntry::new(Version(version), segments.number(segment(n)), at, units, slot))
        };
        raw.iter().map(entry).collect()
    }

    fn a_jump(ordinal: u64) -> Jump {
        let version = Version(ordinal);
        Jump { ordinal, version, digest: Digest([7; 32]), place: place(ordinal as u32), time: ordinal }
    }

    fn frame(recent: Entries) -> CommitFrame {
        let new_page =
            |page| Some(NewPage { page: PageNo(page), checksum: page_checksum(&[page as u8]), is_carried: false });
        CommitFrame {
            database: DatabaseId([1; 16]),
            epoch: Epoch(2),
            version: Version(1000),
            commit: CommitId([3; 16]),
            page_size: PageSize::new(4096).unwrap(),
            page_count: 77,
            ordinal: 1000,
            fold: CommitRef { id: CommitId([4; 16]), digest: Digest([5; 32]), place: Some(place(6)) },
            folded: Version(999),
            fold_time: 1_794_999_999_999,
            window: Window::default(),
            jumps: jumps_of(1000).map(a_jump).collect(),
            settled: (Version(999), Digest([5; 32])),
            group: (Version(1000), Version(1000)),
            time: 1_795_000_000_000,
            base: Some(BaseRef {
                name: BaseName { epoch: Epoch(1), version: Version(200), id: [6; 4] },
                page_size: PageSize::new(512).unwrap(),
                page_count: 66,
                log: 1 << 40,
            }),
            home: u64::MAX,
            sweep: 12,
            log: 1 << 41,
            pages: vec![
                NewGroup { at: 8, units: 9, pages: vec![new_page(7), None, new_page(70)] },
                NewGroup { at: 17, units: 3, pages: vec![None, new_page(9)] },
            ],
            runs_begin: Version(100),
            runs: vec![
                RunRef { after: Version(100), up_to: Version(400), entries: 50, place: place(7) },
                RunRef { after: Version(400), up_to: Version(500), entries: 5, place: place(8) },
            ],
            recent,
        }
    }

    /// The frame of each version after `of`, as a chain of writers makes them.
    fn follow(frame: &CommitFrame) -> CommitFrame {
        let (version, jump) = (frame.version.next(), a_jump(frame.ordinal));
        let fold = CommitRef { id: frame.commit, digest: jump.digest, place: Some(jump.place) };
        let (ordinal, folded, fold_time) = (frame.ordinal + 1, frame.version, frame.ordinal);
        CommitFrame { version, ordinal, fold, folded, fold_time, jumps: frame.next_jumps(), ..frame.clone() }
    }

    #[test]
    fn every_frame_knows_its_jumps_from_its_predecessor_alone_and_any_version_is_near() {
        let first = CommitRef { id: CommitId([4; 16]), digest: Digest([5; 32]), place: None };
        let (version, folded) = (Version(1), Version(0));
        let mut frame =
            CommitFrame { version, ordinal: 1, fold: first, folded, fold_time: 0, jumps: vec![], ..frame(vec![]) };
        let mut frames = vec![frame.clone()];
        for _ in 1..5000 {
            frame = follow(&frame);
            assert_eq!(frame.jumps, jumps_of(frame.ordinal).map(a_jump).collect::<Vec<_>>());
            frames.push(frame.clone());
        }
        // From the newest to any other: always to the oldest that is named and not too old.
        let reads = |to: u64| {
            let (mut at, mut reads) = (5000, 0);
            while at > to {
                let named = [at - 1].into_iter().chain(frames[at as usize - 1].jumps.iter().map(|jump| jump.version.0));
                at = named.filter(|version| *version >= to).min().unwrap();
                reads += 1;
            }
            reads
        };
        assert_eq!((1..5000).map(reads).max(), Some(13), "of 5,000 versions, whose numbers have 13 binary digits");
    }

    proptest! {
        #[test]
        fn frames_come_back_whatever_numbers_segments_have(raw in some_entries(501, 999), cut: prop::sample::Index) {
            let (mine, theirs) = (Segments::default(), Segments::default());
            theirs.number(segment(3));
            let written = frame(entries(&raw, &mine));
            let payload = written.encode(&mine);
            prop_assert_eq!(CommitFrame::decode(&payload, &theirs).unwrap(), frame(entries(&raw, &theirs)));
            prop_assert!(CommitFrame::decode(&payload[..cut.index(payload.len())], &theirs).is_err());
            prop_assert!(CommitFrame::decode(&[&payload[..], b"x"].concat(), &theirs).is_err());
        }

        #[test]
        fn an_index_that_begins_after_its_commit_is_refused(begin in 0..2000_u64) {
            let segments = Segments::default();
            let commit = CommitFrame { runs_begin: Version(begin), runs: vec![], ..frame(vec![]) };
            prop_assert_eq!(CommitFrame::decode(&commit.encode(&segments), &segments).is_ok(), begin < 1000);
        }

        #[test]
        fn runs_come_back(raw in some_entries(401, 500)) {
            let segments = Segments::default();
            let (database, entries) = (DatabaseId([1; 16]), entries(&raw, &segments));
            let run = IndexFrame { database, after: Version(400), up_to: Version(500), entries };
            prop_assert_eq!(IndexFrame::decode(&run.encode(&segments), &segments).unwrap(), run);
        }

        #[test]
        fn pages_that_come_twice_are_refused(one in 1..10_u32, next in 1..10_u32) {
            let segments = Segments::default();
            let mut commit = frame(vec![]);
            let new = |page| Some(NewPage { page: PageNo(page), checksum: [0; 8], is_carried: false });
            (commit.pages[0].pages, commit.pages[1].pages) = (vec![new(one)], vec![new(next)]);
            prop_assert_eq!(CommitFrame::decode(&commit.encode(&segments), &segments).is_ok(), one != next);
        }

        #[test]
        fn groups_that_overlap_or_have_no_page_are_refused(at in 0..40_u32, is_empty: bool) {
            let segments = Segments::default();
            let mut commit = frame(vec![]);
            commit.pages[1].at = at;
            if is_empty {
                commit.pages[1].pages = vec![None; 2];
            }
            prop_assert_eq!(CommitFrame::decode(&commit.encode(&segments), &segments).is_ok(), at >= 17 && !is_empty);
        }

        #[test]
        fn entries_out_of_their_time_are_refused(version in prop_oneof![1..=500_u64, 1000..2000_u64]) {
            let segments = Segments::default();
            let payload = frame(entries(&[(5, version, 1, 1, 1, 1)], &segments)).encode(&segments);
            prop_assert!(CommitFrame::decode(&payload, &segments).is_err());
        }

        #[test]
        fn changed_and_hostile_bytes_never_panic(at: prop::sample::Index, to: u8, noise: Vec<u8>) {
            let segments = Segments::default();
            let mut payload = frame(entries(&[(5, 600, 1, 1, 1, 1), (9, 700, 2, 1, 1, 1)], &segments)).encode(&segments);
            let at = at.index(payload.len());
            payload[at] = to;
            let _ = CommitFrame::decode(&payload, &segments);
            let _ = CommitFrame::decode(&noise, &segments);
            let _ = IndexFrame::decode(&noise, &segments);
        }

        #[test]
        fn merging_is_that_of_maps(older in some_entries(1, 10), newer in some_entries(11, 20)) {
            let segments = Segments::default();
            let (older, newer) = (entries(&older, &segments), entries(&newer, &segments));
            let model: std::collections::BTreeMap<_, _> = older.iter().chain(&newer).copied().collect();
            prop_assert_eq!(merge(&older, &newer), model.into_iter().collect::<Vec<_>>());
        }
    }
}
