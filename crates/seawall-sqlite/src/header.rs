//! The fields of a SQLite file's header, the first 100 bytes of page 1, that the VFS reads and writes. No other module
//! of this crate interprets them.
//!
//! SQLite sees three of these fields as Seawall fills them in:
//! - Bytes 18 and 19, the write and the read version, always say "rollback journal" (1). NAME and the bases have a 3
//!   there, which keeps stock SQLite from writing them.
//! - Bytes 24–28, the change counter, and bytes 92–96, the counter for which the page count is valid, both show the
//!   version that is read. Therefore SQLite keeps its own page cache exactly as long as there is no newer commit.
//!   SQLite increments the counter in each of its own commits, which distinguishes a commit from a rollback
//!   ([`Synced`]).

use seawall::format::ids::Epoch;
use seawall::{PageSize, Version};

/// The size of a header in bytes.
pub(crate) const HEADER: usize = 100;

const PAGE_SIZE: usize = 16;
/// Where the write version is. The read version follows it.
pub(crate) const WRITE_VERSION: usize = 18;
/// The write version of a database in WAL mode.
pub(crate) const IN_WAL_MODE: u8 = 2;
const CHANGE_COUNTER: usize = 24;
const PAGE_COUNT: usize = 28;
const VALID_FOR: usize = 92;
const END_OF_OURS: u64 = 96;

/// The fields of the header that Seawall fills in.
#[derive(Clone, Copy)]
pub(crate) struct OurFields {
    file_versions: [u8; 2],
    change_counter: [u8; 4],
    valid_for: [u8; 4],
}

impl OurFields {
    /// The fields as they are committed, and read, in `version`.
    pub(crate) fn at(epoch: Epoch, version: Version) -> OurFields {
        let counter = counter_of(epoch, version).to_be_bytes();
        OurFields { file_versions: [1, 1], change_counter: counter, valid_for: counter }
    }

    /// Writes the fields into `bytes`, which were read from `offset` of the file, as far as `bytes` contain them.
    pub(crate) fn put(&self, bytes: &mut [u8], offset: u64) {
        if offset >= END_OF_OURS {
            return;
        }
        put(bytes, offset, WRITE_VERSION, &self.file_versions);
        put(bytes, offset, CHANGE_COUNTER, &self.change_counter);
        put(bytes, offset, VALID_FOR, &self.valid_for);
    }
}

/// The header in a page 1 that SQLite wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The header does not say WAL. No connection could read a database in WAL mode through this VFS, therefore that is
    /// never committed.
    pub(crate) rollback_journal: bool,
    /// The page size. SQLite writes pages of this size, unless the transaction changes the page size.
    pub(crate) page_size: Option<PageSize>,
    /// The size of the database in pages; `None` if SQLite itself would not use the field.
    pub(crate) page_count: Option<u32>,
    change_counter: u32,
}

impl Written {
    /// Read from a complete page 1.
    pub(crate) fn of(page_one: &[u8]) -> Written {
        let valid = field::<4>(page_one, CHANGE_COUNTER) == field::<4>(page_one, VALID_FOR);
        let page_count = u32::from_be_bytes(field(page_one, PAGE_COUNT));
        Written {
            rollback_journal: field(page_one, WRITE_VERSION) == [1, 1],
            page_size: page_size(u16::from_be_bytes(field(page_one, PAGE_SIZE))),
            page_count: (valid && page_count > 0).then_some(page_count),
            change_counter: u32::from_be_bytes(field(page_one, CHANGE_COUNTER)),
        }
    }
}

/// What a sync of the database file means, by the change counter in the last page 1 that SQLite wrote before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// The counter is one higher than the one that SQLite read.
    Commit(Written),
    /// The counter is the one that SQLite read, or page 1 was not written. SQLite plays its journal back.
    Rollback,
    /// SQLite never does this.
    Neither { shown: u32, written: u32 },
}

impl Synced {
    /// The meaning of a sync in a transaction on `version`, which has `pages` pages.
    pub(crate) fn after(written: Option<Written>, (epoch, version): (Epoch, Version), pages: u32) -> Synced {
        let Some(written) = written else { return Synced::Rollback };
        // SQLite reads no counter from an empty file, whatever the version.
        let shown = if pages == 0 { 0 } else { counter_of(epoch, version) };
        match written.change_counter.wrapping_sub(shown) {
            0 => Synced::Rollback,
            1 => Synced::Commit(written),
            _ => Synced::Neither { shown, written: written.change_counter },
        }
    }
}

/// The page size in the field. A 1 in the field means 65,536.
fn page_size(written: u16) -> Option<PageSize> {
    PageSize::new(if written == 1 { 1 << 16 } else { written.into() })
}

/// Whether `new` is the page 1 `old` with only the write version, the read version and the change counter changed: a
/// switch to WAL mode or back.
pub(crate) fn only_switches(old: &[u8], new: &[u8]) -> bool {
    let same = |range: std::ops::Range<usize>| old.get(range.clone()) == new.get(range);
    old.len() == new.len()
        && same(0..WRITE_VERSION)
        && same(WRITE_VERSION + 2..CHANGE_COUNTER)
        && same(PAGE_COUNT..VALID_FOR)
        && old[HEADER..] == new[HEADER..]
}

/// The low 32 bits of the version, which is enough, because SQLite only compares for equality and adds one. A recovery
/// begins an epoch, and may give a version's number to another commit: then SQLite must not keep its page cache.
fn counter_of(epoch: Epoch, version: Version) -> u32 {
    const FAR_APART: u32 = 0x9e37_79b9;
    (version.0 as u32).wrapping_add((epoch.0 as u32).wrapping_mul(FAR_APART))
}

fn field<const N: usize>(page_one: &[u8], at: usize) -> [u8; N] {
    page_one[at..at + N].try_into().expect("a slice of N bytes")
}

fn put(bytes: &mut [u8], offset: u64, at: usize, value: &[u8]) {
    for (i, &byte) in value.iter().enumerate() {
        let position = (at + i) as u64;
        if let Some(index) = position.checked_sub(offset)
            && let Some(target) = usize::try_from(index).ok().and_then(|index| bytes.get_mut(index))
        {
            *target = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_one() -> Vec<u8> {
        let mut page = vec![0xee; 512];
        page[18..20].copy_from_slice(&[3, 1]);
        page[24..28].copy_from_slice(&[0, 0, 0, 9]);
        page[28..32].copy_from_slice(&[0, 0, 0, 77]);
        page[92..96].copy_from_slice(&[0, 0, 0, 9]);
        page
    }

    #[test]
    fn every_partial_read_agrees_with_the_whole_page() {
        let raw = page_one();
        let ours = OurFields::at(Epoch(0), Version(0x1_0203_0405));
        let mut whole = raw.clone();
        ours.put(&mut whole, 0);
        assert_eq!(
            (&whole[18..20], &whole[24..28], &whole[92..96]),
            (&[1, 1][..], &[2, 3, 4, 5][..], &[2, 3, 4, 5][..])
        );
        for offset in 0..110 {
            for length in [1, 2, 3, 4, 16, 100] {
                let mut part = raw[offset..offset + length].to_vec();
                ours.put(&mut part, offset as u64);
                assert_eq!(part, whole[offset..offset + length], "{length} bytes at {offset}");
            }
        }
    }

    #[test]
    fn the_counter_tells_a_commit_from_a_rollback() {
        let written = |counter: u32| {
            let mut page = page_one();
            page[24..28].copy_from_slice(&counter.to_be_bytes());
            Some(Written::of(&page))
        };
        let far = Version(0x7_ffff_ffff);
        assert_eq!(Synced::after(None, (Epoch(0), Version(9)), 5), Synced::Rollback);
        assert_eq!(Synced::after(written(9), (Epoch(0), Version(9)), 5), Synced::Rollback);
        assert_eq!(Synced::after(written(10), (Epoch(0), Version(9)), 5), Synced::Commit(written(10).unwrap()));
        assert_eq!(Synced::after(written(0), (Epoch(0), far), 5), Synced::Commit(written(0).unwrap()));
        assert_eq!(Synced::after(written(1), (Epoch(0), Version(9)), 0), Synced::Commit(written(1).unwrap()));
        assert_eq!(Synced::after(written(11), (Epoch(0), Version(9)), 5), Synced::Neither { shown: 9, written: 11 });
        assert_eq!(Synced::after(written(8), (Epoch(0), Version(9)), 5), Synced::Neither { shown: 9, written: 8 });
    }

    #[test]
    fn the_size_is_used_only_if_sqlite_would_use_it() {
        let mut page = page_one();
        page[16..18].copy_from_slice(&[0, 1]);
        let page_size = PageSize::new(65_536);
        let expected = Written { rollback_journal: false, page_size, page_count: Some(77), change_counter: 9 };
        assert_eq!(Written::of(&page), expected);
        OurFields::at(Epoch(0), Version(1)).put(&mut page, 0);
        assert!(Written::of(&page).rollback_journal);
        page[95] ^= 1;
        assert_eq!(Written::of(&page).page_count, None);
    }
}
