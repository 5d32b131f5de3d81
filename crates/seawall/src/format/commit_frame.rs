//! The commit frame: what a transaction appended, and how a reader gets from there to a whole page map.

use crate::bounds::bound;
use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::entry::{Entry, Segments};
use crate::format::group::pages_per_group;
use crate::format::head::{BaseRef, CommitRef, Floor, Head, Place, State};
use crate::format::ids::{
    BaseName, CommitId, DatabaseId, Digest, Epoch, PageNo, PageSize, SegmentName, Version, WriterId,
};
use crate::format::index::{Entries, put_entries, read_entries};
use crate::format::window::Window;
use std::collections::HashSet;

/// A committer whose `recent` would take more than this writes an index frame first.
pub const RECENT_BYTES: usize = bound(16 << 10, 256);
/// More runs than this never come about: each is at least twice as large as the next newer one, or so large that it is
/// left as it is; and once there are half as many, all are merged.
pub(crate) const MAX_RUNS: usize = 64;

/// A page's new image: which page, and the first eight bytes of the BLAKE3 digest of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPage {
    /// The page.
    pub page: PageNo,
    /// Its image's checksum.
    pub checksum: [u8; 8],
}

/// The checksum of a page's image.
pub fn page_checksum(image: &[u8]) -> [u8; 8] {
    blake3::hash(image).as_bytes()[..8].try_into().expect("a digest has 32 bytes")
}

/// One `pages` frame of the commit, in the segment of the commit frame itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Where it begins, in units.
    pub at: u32,
    /// How long it is, in units.
    pub units: u16,
    /// Its pages, by slot; `None` for one that the same transaction wrote again later, or cut off.
    pub pages: Vec<Option<NewPage>>,
}

impl NewGroup {
    /// Its pages that the commit has, each with its slot.
    pub fn new_pages(&self) -> impl Iterator<Item = (u8, &NewPage)> {
        (0..).zip(&self.pages).filter_map(|(slot, new)| new.as_ref().map(|new| (slot, new)))
    }
}

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

/// One earlier fold that a commit frame names, so that any older version is found with a few reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Which fold it is: the first commit frame of a database is fold 1, and version 0 is fold 0.
    pub ordinal: u64,
    /// Its version.
    pub version: Version,
    /// Its frame's digest.
    pub digest: Digest,
    /// Where its frame lies.
    pub place: Place,
    /// Its time, in milliseconds since 1970.
    pub time: u64,
}

impl Jump {
    /// The commit that it leads to, whose id is `id`.
    pub fn commit(&self, id: CommitId) -> CommitRef {
        CommitRef { id, digest: self.digest, place: Some(self.place) }
    }
}

/// The folds that the fold `ordinal` jumps to, newest first: its predecessor's number with the lowest one bit cleared,
/// then the next one, and so on. So each frame names at most 40, on average half as many as its number has binary
/// digits, and any older fold is reached in a number of reads that is logarithmic in the distance. (Myers' stack, 1983,
/// in the binary numbers of Fenwick's tree.)
fn jumps_of(ordinal: u64) -> impl Iterator<Item = u64> {
    let clear = |number: u64| number & number.wrapping_sub(1);
    let first = clear(ordinal.saturating_sub(1));
    std::iter::successors(Some(first), move |number| Some(clear(*number))).take_while(|number| *number > 0)
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
    /// The commit's own pages.
    pub pages: Vec<NewGroup>,
    /// The newest images of the other pages that `window` has changed.
    pub carried: Vec<NewGroup>,
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

    /// All pages that lie in front of the frame: its own, and those that it carries.
    pub fn groups(&self) -> impl Iterator<Item = &NewGroup> {
        self.pages.iter().chain(&self.carried)
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
            put_place(&mut out, place);
        }
        put_varint(&mut out, self.folded.0);
        put_varint(&mut out, self.fold_time);
        put_varint(&mut out, self.window.bytes().len() as u64);
        out.extend_from_slice(self.window.bytes());
        put_varint(&mut out, self.jumps.len() as u64);
        for jump in &self.jumps {
            put_varint(&mut out, jump.version.0);
            out.extend_from_slice(&jump.digest.0);
            put_place(&mut out, &jump.place);
            put_varint(&mut out, jump.time);
        }
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
        put_groups(&mut out, &self.carried);
        put_varint(&mut out, self.runs_begin.0);
        put_varint(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            put_varint(&mut out, run.up_to.0);
            put_varint(&mut out, u64::from(run.entries));
            put_place(&mut out, &run.place);
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
            place: if ordinal > 1 { Some(read_place(&mut reader)?) } else { None },
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
        let time = reader.varint()?;
        if time < window.newest().map_or(fold_time, |(entry, _)| entry.time) {
            return Err(Malformed("a commit's time is before its predecessor's"));
        }
        let base = if reader.flag()? { Some(read_base(&mut reader)?) } else { None };
        if base.is_some_and(|base| base.name.version >= version) {
            return Err(Malformed("a commit's base is not older than it"));
        }
        let (home, sweep, log) = (reader.u64()?, reader.varint()?, reader.varint()?);
        let (pages, carried) = (read_groups(&mut reader, page_size)?, read_groups(&mut reader, page_size)?);
        let own: HashSet<PageNo> = pages_of(&pages).map(|new| new.page).collect();
        if pages_of(&carried).any(|new| own.contains(&new.page) || !window.has(new.page)) {
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
            runs.push(RunRef { after, up_to, entries: reader.small()?, place: read_place(&mut reader)? });
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
            carried,
            runs_begin,
            runs,
            recent,
        })
    }

    /// The page map's entries for the pages that lie in front of the frame, by page number.
    pub fn own_entries(&self, segment: SegmentName, segments: &Segments) -> Entries {
        let segment = segments.number(segment);
        let mut entries: Entries = (self.groups())
            .flat_map(|group| {
                let entry = |slot| Entry::new(self.version, segment, group.at, group.units, slot);
                group.new_pages().map(move |(slot, new)| (new.page, entry(slot)))
            })
            .collect();
        entries.sort_by_key(|(page, _)| *page);
        entries
    }
}

fn put_place(out: &mut Vec<u8>, place: &Place) {
    out.extend_from_slice(&place.segment.writer.0);
    for number in [place.segment.n, place.at, place.length, place.lead] {
        put_varint(out, u64::from(number));
    }
}

fn read_place(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
    let segment = SegmentName { writer: WriterId(reader.array()?), n: reader.small()? };
    Ok(Place { segment, at: reader.small()?, length: reader.small()?, lead: reader.small()? })
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

fn read_jumps(reader: &mut Reader<'_>, of: u64, folded: Version, fold_time: u64) -> Result<Vec<Jump>, Malformed> {
    let count = reader.count(32 + 13)?;
    let mut wanted = jumps_of(of);
    let mut jumps = Vec::with_capacity(count);
    let (mut latest, mut newest) = (fold_time, folded);
    for _ in 0..count {
        let ordinal = wanted.next().ok_or(Malformed("a commit jumps too often"))?;
        let jump = Jump {
            ordinal,
            version: Version(reader.varint()?),
            digest: Digest(reader.array()?),
            place: read_place(reader)?,
            time: reader.varint()?,
        };
        if jump.version >= newest || jump.version.0 < ordinal || jump.time > latest {
            return Err(Malformed("a commit jumps to an impossible version"));
        }
        (latest, newest) = (jump.time, jump.version);
        jumps.push(jump);
    }
    match wanted.next() {
        None => Ok(jumps),
        Some(_) => Err(Malformed("a commit's jumps are incomplete")),
    }
}

fn put_groups(out: &mut Vec<u8>, groups: &[NewGroup]) {
    put_varint(out, groups.len() as u64);
    for group in groups {
        put_varint(out, u64::from(group.at));
        put_varint(out, u64::from(group.units));
        put_varint(out, group.pages.len() as u64);
        for slot in &group.pages {
            // There is no page 0.
            put_varint(out, u64::from(slot.map_or(0, |new| new.page.0)));
            slot.iter().for_each(|new| out.extend_from_slice(&new.checksum));
        }
    }
}

fn pages_of(groups: &[NewGroup]) -> impl Iterator<Item = &NewPage> {
    groups.iter().flat_map(|group| group.pages.iter().flatten())
}

fn read_groups(reader: &mut Reader<'_>, page_size: PageSize) -> Result<Vec<NewGroup>, Malformed> {
    let count = reader.count(12)?;
    let most = pages_per_group(page_size);
    let groups = (0..count).map(|_| read_group(reader, most)).collect::<Result<Vec<_>, _>>()?;
    if !groups.is_sorted_by(|one, next| u64::from(one.at) + u64::from(one.units) <= u64::from(next.at)) {
        return Err(Malformed("a commit's groups are out of order"));
    }
    // A large transaction does not write its pages in their order.
    let mut pages: Vec<PageNo> = pages_of(&groups).map(|new| new.page).collect();
    if !pages.is_sorted() {
        pages.sort_unstable();
    }
    if !pages.is_sorted_by(|one, next| one < next) {
        return Err(Malformed("a commit has a page twice"));
    }
    Ok(groups)
}

fn read_group(reader: &mut Reader<'_>, most: usize) -> Result<NewGroup, Malformed> {
    let (at, units) = (reader.small()?, reader.small()?);
    let count = reader.count(1)?;
    let slot = |_| match reader.small()? {
        0 => Ok(None),
        page => Ok(Some(NewPage { page: PageNo(page), checksum: reader.array()? })),
    };
    let pages = (0..count.min(most)).map(slot).collect::<Result<Vec<_>, Malformed>>()?;
    if count > most || pages.iter().all(Option::is_none) {
        return Err(Malformed("a group has too many pages, or none"));
    }
    Ok(NewGroup { at, units, pages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index::{IndexFrame, merge};
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
            (PageNo(page), Entry::new(Version(version), segments.number(segment(n)), at, units, slot))
        };
        raw.iter().map(entry).collect()
    }

    fn a_jump(ordinal: u64) -> Jump {
        let version = Version(ordinal);
        Jump { ordinal, version, digest: Digest([7; 32]), place: place(ordinal as u32), time: ordinal }
    }

    fn frame(recent: Entries) -> CommitFrame {
        let new_page = |page| Some(NewPage { page: PageNo(page), checksum: page_checksum(&[page as u8]) });
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
            carried: vec![],
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
            let new = |page| Some(NewPage { page: PageNo(page), checksum: [0; 8] });
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
