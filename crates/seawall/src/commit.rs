//! The commit frame: what a transaction appended, and how a reader gets from there to a whole page map.

use crate::codec::{Malformed, Reader, put_varint};
use crate::group::page_number;
use crate::head::{CommitRef, Place};
use crate::ids::{CommitId, DatabaseId, Digest, Epoch, PageNo, PageSize, SegmentName, Version, WriterId};
use crate::page_map::{Entry, Segments};

/// A committer whose `recent` would take more than this writes an index frame first.
pub const RECENT_BYTES: usize = 16 << 10;
/// More runs than this never come about: each is at least twice as large as the next newer one.
const MAX_RUNS: usize = 64;

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
    /// Its pages, by slot.
    pub pages: Vec<NewPage>,
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

/// Entries of the page map, by page number.
pub type Entries = Vec<(PageNo, Entry)>;

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
    /// The predecessor: its digest chains the history.
    pub previous: CommitRef,
    /// The newest head that the writer knew to be committed.
    pub settled: (Version, Digest),
    /// The first and last version of the swap that this commit rides on.
    pub group: (Version, Version),
    /// Milliseconds since 1970; never less than the predecessor's.
    pub time: u64,
    /// The commit's own pages.
    pub pages: Vec<NewGroup>,
    /// Everything at or below this version is in the base.
    pub runs_begin: Version,
    /// The index frames that hold what changed since then, oldest first.
    pub runs: Vec<RunRef>,
    /// What changed since the last run, merged; without the commit's own pages.
    pub recent: Entries,
}

impl CommitFrame {
    /// The version up to which the runs reach.
    pub fn runs_end(&self) -> Version {
        self.runs.last().map_or(self.runs_begin, |run| run.up_to)
    }

    /// The payload of the frame.
    pub fn encode(&self, segments: &Segments) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&self.database.0);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.commit.0);
        out.extend_from_slice(&(self.page_size.bytes() as u32).to_le_bytes());
        out.extend_from_slice(&self.page_count.to_le_bytes());
        out.extend_from_slice(&self.previous.id.0);
        out.extend_from_slice(&self.previous.digest.0);
        out.push(u8::from(self.previous.place.is_some()));
        if let Some(place) = &self.previous.place {
            put_place(&mut out, place);
        }
        put_varint(&mut out, self.settled.0.0);
        out.extend_from_slice(&self.settled.1.0);
        put_varint(&mut out, self.group.0.0);
        put_varint(&mut out, self.group.1.0);
        put_varint(&mut out, self.time);
        put_varint(&mut out, self.pages.len() as u64);
        for group in &self.pages {
            put_varint(&mut out, u64::from(group.at));
            put_varint(&mut out, u64::from(group.units));
            put_varint(&mut out, group.pages.len() as u64);
            for new in &group.pages {
                put_varint(&mut out, u64::from(new.page.0));
                out.extend_from_slice(&new.checksum);
            }
        }
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
        let previous = CommitRef {
            id: CommitId(reader.array()?),
            digest: Digest(reader.array()?),
            place: if reader.u8()? == 0 { None } else { Some(read_place(&mut reader)?) },
        };
        let settled = (Version(reader.varint()?), Digest(reader.array()?));
        let group = (Version(reader.varint()?), Version(reader.varint()?));
        if settled.0 >= version || group.0 > version || group.1 < version {
            return Err(Malformed("a commit's versions are impossible"));
        }
        let time = reader.varint()?;
        let groups = reader.count(12)?;
        let pages = (0..groups).map(|_| read_group(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let runs_begin = Version(reader.varint()?);
        let count = reader.count(10)?;
        if count > MAX_RUNS {
            return Err(Malformed("a commit has too many runs"));
        }
        let mut runs = Vec::with_capacity(count);
        let mut after = runs_begin;
        for _ in 0..count {
            let up_to = Version(reader.varint()?);
            if up_to <= after || up_to >= version {
                return Err(Malformed("a run's versions are impossible"));
            }
            runs.push(RunRef { after, up_to, entries: reader.small()?, place: read_place(&mut reader)? });
            after = up_to;
        }
        let recent = read_entries(&mut reader, segments, after, version)?;
        reader.end()?;
        Ok(CommitFrame {
            database, epoch, version, commit, page_size, page_count, previous, settled, group, time, pages,
            runs_begin, runs, recent,
        })
    }

    /// The page map's entries for the commit's own pages, by page number.
    pub fn own_entries(&self, segment: SegmentName, segments: &Segments) -> Entries {
        let segment = segments.number(segment);
        let mut entries: Entries = (self.pages.iter())
            .flat_map(|group| {
                (group.pages.iter().zip(0_u8..))
                    .map(|(new, slot)| (new.page, Entry::new(self.version, segment, group.at, group.units, slot)))
            })
            .collect();
        entries.sort_by_key(|(page, _)| *page);
        entries
    }
}

/// An index frame's content: one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFrame {
    /// The database.
    pub database: DatabaseId,
    /// It holds what changed after this version …
    pub after: Version,
    /// … and not after this one.
    pub up_to: Version,
    /// The entries.
    pub entries: Entries,
}

impl IndexFrame {
    /// The payload of the frame.
    pub fn encode(&self, segments: &Segments) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 10);
        out.extend_from_slice(&self.database.0);
        put_varint(&mut out, self.after.0);
        put_varint(&mut out, self.up_to.0);
        put_entries(&mut out, &self.entries, segments);
        out
    }

    /// The content of an index frame's payload.
    pub fn decode(payload: &[u8], segments: &Segments) -> Result<IndexFrame, Malformed> {
        let mut reader = Reader::new(payload);
        let database = DatabaseId(reader.array()?);
        let (after, up_to) = (Version(reader.varint()?), Version(reader.varint()?));
        if after >= up_to || up_to >= Version::MAX {
            return Err(Malformed("a run's versions are impossible"));
        }
        let entries = read_entries(&mut reader, segments, after, up_to.next())?;
        reader.end()?;
        Ok(IndexFrame { database, after, up_to, entries })
    }
}

/// How many bytes `entries` take in a frame.
pub(crate) fn encoded_length(entries: &[(PageNo, Entry)], segments: &Segments) -> usize {
    let mut out = Vec::new();
    put_entries(&mut out, entries, segments);
    out.len()
}

/// Merges sorted entries: where both have a page, the one of `newer` counts.
pub fn merge(older: &[(PageNo, Entry)], newer: &[(PageNo, Entry)]) -> Entries {
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let mut newer = newer.iter().peekable();
    for old in older {
        while let Some(new) = newer.next_if(|new| new.0 < old.0) {
            merged.push(*new);
        }
        match newer.next_if(|new| new.0 == old.0) {
            Some(new) => merged.push(*new),
            None => merged.push(*old),
        }
    }
    merged.extend(newer);
    merged
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

fn read_group(reader: &mut Reader<'_>) -> Result<NewGroup, Malformed> {
    let (at, units) = (reader.small()?, reader.small()?);
    let count = reader.count(9)?;
    if count > usize::from(u8::MAX) + 1 {
        return Err(Malformed("a group has too many pages"));
    }
    let new_page = |_| Ok(NewPage { page: page_number(reader)?, checksum: reader.array()? });
    Ok(NewGroup { at, units, pages: (0..count).map(new_page).collect::<Result<_, Malformed>>()? })
}

/// Segments are named once, in order of appearance; versions count down from the newest.
fn put_entries(out: &mut Vec<u8>, entries: &[(PageNo, Entry)], segments: &Segments) {
    let mut used: Vec<_> = entries.iter().map(|(_, entry)| entry.segment()).collect();
    used.sort_unstable();
    used.dedup();
    put_varint(out, used.len() as u64);
    for number in &used {
        let name = segments.name(*number);
        out.extend_from_slice(&name.writer.0);
        put_varint(out, u64::from(name.n));
    }
    let newest = entries.iter().map(|(_, entry)| entry.version()).max().unwrap_or_default();
    put_varint(out, newest.0);
    put_varint(out, entries.len() as u64);
    let mut last = 0;
    for (page, entry) in entries {
        put_varint(out, u64::from(page.0 - last));
        last = page.0;
        put_varint(out, used.binary_search(&entry.segment()).expect("every segment is listed") as u64);
        put_varint(out, u64::from(entry.at()));
        put_varint(out, u64::from(entry.units()));
        out.push(entry.slot());
        put_varint(out, newest.0 - entry.version().0);
    }
}

/// Entries whose versions are after `after` and before `before`.
fn read_entries(
    reader: &mut Reader<'_>, segments: &Segments, after: Version, before: Version,
) -> Result<Entries, Malformed> {
    let count = reader.count(9)?;
    let mut used = Vec::with_capacity(count);
    for _ in 0..count {
        used.push(segments.number(SegmentName { writer: WriterId(reader.array()?), n: reader.small()? }));
    }
    let newest = reader.varint()?;
    let count = reader.count(6)?;
    let mut entries = Vec::with_capacity(count);
    let mut last = 0_u32;
    for _ in 0..count {
        let page = last.checked_add(page_number(reader)?.0).ok_or(Malformed("a page number is too large"))?;
        last = page;
        let segment = *used.get(reader.small::<usize>()?).ok_or(Malformed("an entry's segment is not listed"))?;
        let (at, units, slot) = (reader.small()?, reader.small()?, reader.u8()?);
        let version = newest.checked_sub(reader.varint()?).map(Version);
        let version = version.filter(|version| *version > after && *version < before);
        let version = version.ok_or(Malformed("an entry's version is impossible"))?;
        entries.push((PageNo(page), Entry::new(version, segment, at, units, slot)));
    }
    Ok(entries)
}
