//! What Seawall knows of a SQLite file's header, the first 100 bytes of page 1; nobody else does.
//!
//! Three places of it are Seawall's to answer:
//! - bytes 18 and 19, the write and read version: always "rollback journal" (1), though NAME and the bases carry
//!   a 3 there, which keeps stock SQLite from writing them;
//! - bytes 24–28, the change counter, and 92–96, the version for which it is valid: the version that is read, so
//!   that SQLite keeps its own page cache exactly as long as nothing was committed; counted on by those commits of
//!   the connection that changed nothing, for SQLite counts them, and no version was published for them.

use seawall::Version;

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
    /// As they are published with `version`.
    pub(crate) fn at(version: Version) -> OurFields {
        OurFields::counted(version, 0)
    }

    /// As a connection reads them at `version`, after so many commits that were not published.
    pub(crate) fn counted(version: Version, unpublished: u32) -> OurFields {
        // The low 32 bits: SQLite compares for equality only.
        let counter = (version.0 as u32).wrapping_add(unpublished).to_be_bytes();
        OurFields { file_versions: [1, 1], change_counter: counter, valid_for: counter }
    }

    /// As `page_one` has them.
    pub(crate) fn of(page_one: &[u8]) -> OurFields {
        OurFields {
            file_versions: field(page_one, FILE_VERSIONS),
            change_counter: field(page_one, CHANGE_COUNTER),
            valid_for: field(page_one, VALID_FOR),
        }
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
    /// Not WAL: a database in WAL mode could not be read by anybody through this VFS.
    pub(crate) rollback_journal: bool,
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
            page_count: (believed && page_count > 0).then_some(page_count),
            change_counter: u32::from_be_bytes(field(page_one, CHANGE_COUNTER)),
        }
    }

    /// How many commits SQLite has counted beyond `version`.
    pub(crate) fn counted_beyond(&self, version: Version) -> u32 {
        self.change_counter.wrapping_sub(version.0 as u32)
    }
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
    fn our_fields_go_and_come_back() {
        let raw = page_one();
        let mut page = raw.clone();
        OurFields::at(Version(1)).put(&mut page, 0);
        OurFields::of(&raw).put(&mut page, 0);
        assert_eq!(page, raw);
    }

    #[test]
    fn the_size_counts_only_if_sqlite_would_believe_it() {
        let mut page = page_one();
        let expected = Written { rollback_journal: false, page_count: Some(77), change_counter: 9 };
        assert_eq!(Written::of(&page), expected);
        assert_eq!(expected.counted_beyond(Version(7)), 2);
        OurFields::at(Version(1)).put(&mut page, 0);
        assert!(Written::of(&page).rollback_journal);
        page[95] ^= 1;
        assert_eq!(Written::of(&page).page_count, None);
    }
}
