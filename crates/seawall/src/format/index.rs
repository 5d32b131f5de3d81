//! Index frames: runs of the page map; and how its entries are encoded, here and in commit frames.

use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::entry::{PageEntry, Segments};
use crate::format::group::page_number;
use crate::format::ids::{DatabaseId, PageNo, SegmentName, Version, WriterId};

/// Entries of the page map, by page number.
pub type Entries = Vec<(PageNo, PageEntry)>;

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
pub(crate) fn encoded_length(entries: &[(PageNo, PageEntry)], segments: &Segments) -> usize {
    let mut out = Vec::new();
    put_entries(&mut out, entries, segments);
    out.len()
}

/// Merges sorted entries: where both have a page, the one of `newer` counts.
pub fn merge(older: &[(PageNo, PageEntry)], newer: &[(PageNo, PageEntry)]) -> Entries {
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

/// Segments are named once, in order of appearance; versions count down from the newest.
pub(crate) fn put_entries(out: &mut Vec<u8>, entries: &[(PageNo, PageEntry)], segments: &Segments) {
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
pub(crate) fn read_entries(
    reader: &mut Reader<'_>,
    segments: &Segments,
    after: Version,
    before: Version,
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
        entries.push((PageNo(page), PageEntry::new(version, segment, at, units, slot)));
    }
    Ok(entries)
}
