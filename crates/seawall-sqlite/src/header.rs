//! What Seawall knows of a SQLite file's header, the first 100 bytes of page 1; nobody else does.
//!
//! Three places of it are Seawall's to answer:
//! - bytes 18 and 19, the write and read version: always "rollback journal" (1), though NAME and the bases carry
//!   a 3 there, which keeps stock SQLite from writing them;
//! - bytes 24–28, the change counter, and 92–96, the version for which it is valid: the version that is read, so
//!   that SQLite keeps its own page cache exactly as long as nothing was committed. SQLite counts each of its own commits
//!   on from there, which tells a commit from a rollback ([`Synced`]).

use seawall::{PageSize, Version};

/// The bytes of a header.
pub(crate) const HEADER: usize = 100;

const PAGE_SIZE: usize = 16;
const FILE_VERSIONS: usize = 18;
const CHANGE_COUNTER: usize = 24;
const PAGE_COUNT: usize = 28;
const VALID_FOR: usize = 92;
const END_OF_OURS: u64 = 96;

/// The bytes of the header that are ours, and nothing of the rest.
#[derive(Clone, Copy)]
pub(crate) struct OurFields {
    file_versions: [u8; 2],
    change_counter: [u8; 4],
    valid_for: [u8; 4],
}

impl OurFields {
    /// As they are published, and read, with `version`.
    pub(crate) fn at(version: Version) -> OurFields {
        let counter = counter_of(version).to_be_bytes();
        OurFields { file_versions: [1, 1], change_counter: counter, valid_for: counter }
    }

    /// Puts them into `bytes`, which were read from `offset` of the file, as far as they reach.
    pub(crate) fn put(&self, bytes: &mut [u8], offset: u64) {
        if offset >= END_OF_OURS {
            return;
        }
        put(bytes, offset, FILE_VERSIONS, &self.file_versions);
        put(bytes, offset, CHANGE_COUNTER, &self.change_counter);
        put(bytes, offset, VALID_FOR, &self.valid_for);
    }
}

/// What SQLite said in the header of a page 1 that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Not WAL: a database in WAL mode could not be read by anybody through this VFS, so that is never published.
    pub(crate) rollback_journal: bool,
    /// The bytes of a page: those of the pages that SQLite writes, unless this transaction changes the page size.
    pub(crate) page_size: Option<PageSize>,
    /// The size of the database in pages, unless SQLite itself would not believe it.
    pub(crate) page_count: Option<u32>,
    change_counter: u32,
}

impl Written {
    /// Read from a whole page 1.
    pub(crate) fn of(page_one: &[u8]) -> Written {
        let believed = field::<4>(page_one, CHANGE_COUNTER) == field::<4>(page_one, VALID_FOR);
        let page_count = u32::from_be_bytes(field(page_one, PAGE_COUNT));
        Written {
            rollback_journal: field(page_one, FILE_VERSIONS) == [1, 1],
            page_size: page_size(u16::from_be_bytes(field(page_one, PAGE_SIZE))),
            page_count: (believed && page_count > 0).then_some(page_count),
            change_counter: u32::from_be_bytes(field(page_one, CHANGE_COUNTER)),
        }
    }
}

/// What a sync of the database file is, by the count in the last page 1 that was written before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// One more than SQLite was shown.
    Commit(Written),
    /// Page 1 is as it was shown, or was not written: SQLite plays its journal back.
    Rollback,
    /// SQLite does neither.
    Neither { shown: u32, written: u32 },
}

impl Synced {
    /// A sync in a transaction that stands on `version`, which has `pages` pages.
    pub(crate) fn after(written: Option<Written>, version: Version, pages: u32) -> Synced {
        let Some(written) = written else { return Synced::Rollback };
        // An empty file shows nothing, whatever its version.
        let shown = if pages == 0 { 0 } else { counter_of(version) };
        match written.change_counter.wrapping_sub(shown) {
            0 => Synced::Rollback,
            1 => Synced::Commit(written),
            _ => Synced::Neither { shown, written: written.change_counter },
        }
    }
}

/// What is written as 1 is 65,536.
fn page_size(written: u16) -> Option<PageSize> {
    PageSize::new(if written == 1 { 1 << 16 } else { written.into() })
}

/// Whether `new`, a page 1, is `old` with another write and read version, and a commit's count: a switch to WAL mode or back.
pub(crate) fn only_switches(old: &[u8], new: &[u8]) -> bool {
    let same = |range: std::ops::Range<usize>| old.get(range.clone()) == new.get(range);
    old.len() == new.len()
        && same(0..FILE_VERSIONS)
        && same(FILE_VERSIONS + 2..CHANGE_COUNTER)
        && same(PAGE_COUNT..VALID_FOR)
        && old[HEADER..] == new[HEADER..]
}

/// The low 32 bits: SQLite compares for equality only, and counts by one.
fn counter_of(version: Version) -> u32 {
    version.0 as u32
}

fn field<const N: usize>(page_one: &[u8], at: usize) -> [u8; N] {
    page_one[at..at + N].try_into().expect("a slice of N bytes")
}

fn put(bytes: &mut [u8], offset: u64, at: usize, value: &[u8]) {
    for (i, &byte) in value.iter().enumerate() {
        let place = (at + i) as u64;
        if let Some(index) = place.checked_sub(offset)
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
        let ours = OurFields::at(Version(0x1_0203_0405));
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
    fn the_count_tells_a_commit_from_a_rollback() {
        let written = |counter: u32| {
            let mut page = page_one();
            page[24..28].copy_from_slice(&counter.to_be_bytes());
            Some(Written::of(&page))
        };
        let far = Version(0x7_ffff_ffff);
        assert_eq!(Synced::after(None, Version(9), 5), Synced::Rollback);
        assert_eq!(Synced::after(written(9), Version(9), 5), Synced::Rollback);
        assert_eq!(Synced::after(written(10), Version(9), 5), Synced::Commit(written(10).unwrap()));
        assert_eq!(Synced::after(written(0), far, 5), Synced::Commit(written(0).unwrap()));
        assert_eq!(Synced::after(written(1), Version(9), 0), Synced::Commit(written(1).unwrap()));
        assert_eq!(Synced::after(written(11), Version(9), 5), Synced::Neither { shown: 9, written: 11 });
        assert_eq!(Synced::after(written(8), Version(9), 5), Synced::Neither { shown: 9, written: 8 });
    }

    #[test]
    fn the_size_counts_only_if_sqlite_would_believe_it() {
        let mut page = page_one();
        page[16..18].copy_from_slice(&[0, 1]);
        let page_size = PageSize::new(65_536);
        let expected = Written { rollback_journal: false, page_size, page_count: Some(77), change_counter: 9 };
        assert_eq!(Written::of(&page), expected);
        OurFields::at(Version(1)).put(&mut page, 0);
        assert!(Written::of(&page).rollback_journal);
        page[95] ^= 1;
        assert_eq!(Written::of(&page).page_count, None);
    }
}
