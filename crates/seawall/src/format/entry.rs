//! Where a page's image is: an entry of the page map, and the segments that entries name.

use super::frame::UNIT;
use super::ids::{SegmentName, Version};
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// A segment's number in this process: short, so that an entry stays at 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SegmentNo(pub(crate) u32);

/// The segments that this process has heard of, each with its number.
#[derive(Default)]
pub struct Segments(RwLock<Known>);

#[derive(Default)]
struct Known {
    names: Vec<SegmentName>,
    numbers: HashMap<SegmentName, SegmentNo>,
}

impl Segments {
    /// The number of `name`, the same each time.
    pub fn number(&self, name: SegmentName) -> SegmentNo {
        if let Some(number) = self.0.read().unwrap_or_else(PoisonError::into_inner).numbers.get(&name) {
            return *number;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = SegmentNo(u32::try_from(known.names.len()).expect("fewer than 2^32 segments in a process's life"));
        let number = *known.numbers.entry(name).or_insert(next);
        if number == next {
            known.names.push(name);
        }
        number
    }

    /// How many there are. No number is ever used again, for a page map or the page cache may have it: the table only
    /// grows.
    pub fn count(&self) -> usize {
        self.0.read().expect("no panic while locked").names.len()
    }

    /// The name behind `number`.
    pub fn name(&self, number: SegmentNo) -> SegmentName {
        self.0.read().unwrap_or_else(PoisonError::into_inner).names[number.0 as usize]
    }
}

/// Where a page's image is, and since which version. 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageEntry {
    segment: u32,
    at: u32,
    version_low: u32,
    units: u16,
    slot: u8,
    version_high: u8,
}

/// No entry: versions in a map begin at 1.
pub(crate) const VACANT: PageEntry =
    PageEntry { segment: 0, at: 0, version_low: 0, units: 0, slot: 0, version_high: 0 };
const _: () = assert!(size_of::<PageEntry>() == 16);

impl PageEntry {
    /// The page is the `slot`th of the `pages` frame of `units` units that begins at unit `at` of `segment`,
    /// written by `version`.
    pub fn new(version: Version, segment: SegmentNo, at: u32, units: u16, slot: u8) -> PageEntry {
        assert!(version.0 > 0 && version <= Version::MAX, "an entry's version is that of a commit");
        let (version_low, version_high) = (version.0 as u32, (version.0 >> 32) as u8);
        PageEntry { segment: segment.0, at, version_low, units, slot, version_high }
    }

    /// The version that wrote the page.
    pub fn version(&self) -> Version {
        Version(u64::from(self.version_high) << 32 | u64::from(self.version_low))
    }

    /// The segment that has it.
    pub fn segment(&self) -> SegmentNo {
        SegmentNo(self.segment)
    }

    /// Where its `pages` frame begins, in units.
    pub fn at(&self) -> u32 {
        self.at
    }

    /// How long its `pages` frame is, in units.
    pub fn units(&self) -> u16 {
        self.units
    }

    /// Which page of that frame it is, from 0.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Where its `pages` frame begins, in bytes.
    pub fn offset(&self) -> u64 {
        u64::from(self.at) * UNIT
    }

    /// How long its `pages` frame is, in bytes.
    pub fn length(&self) -> usize {
        usize::from(self.units) * UNIT as usize
    }
}

impl fmt::Debug for PageEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}+{}.{}", self.version().0, self.segment, self.at, self.units, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_what_they_are_given() {
        let entry = PageEntry::new(Version::MAX, SegmentNo(7), u32::MAX, u16::MAX, u8::MAX);
        assert_eq!((entry.version(), entry.segment(), entry.slot()), (Version::MAX, SegmentNo(7), u8::MAX));
        assert_eq!((entry.offset(), entry.length()), (u64::from(u32::MAX) * 16, 65_535 * 16));
    }
}
