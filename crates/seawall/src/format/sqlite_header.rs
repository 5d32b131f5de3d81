//! The few fields of a plain SQLite file's header that Seawall must read and write.
//!
//! The offsets are those of SQLite's file format documentation, section 1.3.

use crate::format::ids::{Epoch, PageSize, Version};

/// The bytes of the header.
pub const HEADER: usize = 100;
/// In byte 18 of page 1, the file format's write version: stock SQLite then reads the file and refuses to write it,
/// through handles that were open before, too (measured).
pub const PROTECTED: u8 = 3;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const WRITE_VERSION: usize = 18;
const CHANGE_COUNTER: usize = 24;
const PAGE_COUNT: usize = 28;
const VERSION_VALID_FOR: usize = 92;

/// Page 1 as deltas and their checksums see it: without the fields that are Seawall's own and differ from copy to copy.
/// Every program that reads a database sees its own there.
pub fn as_delta(page_one: &mut [u8]) {
    page_one[WRITE_VERSION..][..2].fill(1);
    page_one[CHANGE_COUNTER..][..4].fill(0);
    page_one[VERSION_VALID_FOR..][..4].fill(0);
}

/// What lies at NAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// Nothing, or a file without content, which is an empty database to SQLite.
    Empty,
    /// A plain SQLite file that any tool can write.
    Plain,
    /// A plain SQLite file that Seawall protects from being written.
    Protected,
    /// No SQLite file.
    Other,
}

/// What a file is that begins with `header`.
pub fn state_of(header: &[u8]) -> NameState {
    match header {
        [] => NameState::Empty,
        _ if header.len() < HEADER || header[..16] != MAGIC[..] => NameState::Other,
        _ if header[WRITE_VERSION] == PROTECTED => NameState::Protected,
        _ => NameState::Plain,
    }
}

/// Page size and page count of a plain SQLite file of `size` bytes.
pub(crate) fn dimensions(header: &[u8; HEADER], size: u64) -> Result<(PageSize, u32), String> {
    let page_size = match u32::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        bytes => bytes,
    };
    let page_size = PageSize::new(page_size).ok_or("its page size is impossible")?;
    let in_file = u32::try_from(size / page_size.bytes() as u64).map_err(|_| "it has too many pages")?;
    let field = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    // The count in the header counts only if the program that wrote it last knew of it.
    let in_header = field(PAGE_COUNT);
    let valid = in_header > 0 && field(CHANGE_COUNTER) == field(VERSION_VALID_FOR);
    if valid && in_header > in_file {
        return Err(format!("it has {in_file} pages, and says that it has {in_header}"));
    }
    Ok((page_size, if valid { in_header } else { in_file }))
}

/// Why a file of `size` bytes that begins with `header` is not whole, if it is not: it has fewer pages than it says.
pub fn is_cut_short(header: &[u8], size: u64) -> Option<String> {
    dimensions(header.first_chunk()?, size).err()
}

/// Change counters of copies begin so far apart in two epochs: 2³¹ by the golden ratio, so those of many epochs are far
/// from one another.
const EPOCHS_APART: u32 = 0x4F1B_BCDD;

/// The write version in `header`.
pub(crate) fn write_version(header: &[u8; HEADER]) -> u8 {
    header[WRITE_VERSION]
}

/// `header` with the write version `write_version` and the next change counter, so that open connections look again.
pub(crate) fn with_write_version(header: &[u8; HEADER], write_version: u8) -> [u8; HEADER] {
    let mut header = *header;
    let counter = u32::from_be_bytes(header[CHANGE_COUNTER..CHANGE_COUNTER + 4].try_into().expect("four bytes"));
    let next = counter.wrapping_add(1).to_be_bytes();
    let count_is_valid = header[CHANGE_COUNTER..CHANGE_COUNTER + 4] == header[VERSION_VALID_FOR..VERSION_VALID_FOR + 4];
    header[WRITE_VERSION] = write_version;
    header[CHANGE_COUNTER..CHANGE_COUNTER + 4].copy_from_slice(&next);
    if count_is_valid {
        header[VERSION_VALID_FOR..VERSION_VALID_FOR + 4].copy_from_slice(&next);
    }
    header
}

/// The header of a copy of this version, whose page 1 begins with `header`. Its change counter tells it from every other
/// copy: that of page 1 does not, because an entry leaves it out; and after a recovery another version has its number.
pub(crate) fn of_copy(header: &[u8; HEADER], (epoch, version): (Epoch, Version), write_version: u8) -> [u8; HEADER] {
    let mut copy = with_write_version(header, write_version);
    let count_is_valid = copy[CHANGE_COUNTER..][..4] == copy[VERSION_VALID_FOR..][..4];
    // SQLite's own counters are not so high.
    let begins = (epoch.0 as u32).wrapping_mul(EPOCHS_APART);
    let counter = (begins.wrapping_add(version.0 as u32) | 1 << 31).to_be_bytes();
    copy[CHANGE_COUNTER..][..4].copy_from_slice(&counter);
    if count_is_valid {
        copy[VERSION_VALID_FOR..][..4].copy_from_slice(&counter);
    }
    copy
}

/// Whether these bytes, of a file no longer than that, are what a torn write of [`empty_protected`] leaves: what did
/// not come is missing, or zero.
pub(crate) fn is_torn_empty(bytes: &[u8]) -> bool {
    bytes.iter().zip(empty_protected()).all(|(there, whole)| *there == whole || *there == 0)
}

/// An empty database, protected: what lies at NAME while the database began empty and was never checkpointed.
pub(crate) fn empty_protected() -> Vec<u8> {
    const SIZE: usize = 4096;
    let mut page = vec![0; SIZE];
    page[..16].copy_from_slice(MAGIC);
    page[16..18].copy_from_slice(&(SIZE as u16).to_be_bytes());
    page[WRITE_VERSION] = PROTECTED;
    page[19] = 1; // read version: a rollback journal
    page[21..24].copy_from_slice(&[64, 32, 32]); // payload fractions, fixed by the format
    page[CHANGE_COUNTER..CHANGE_COUNTER + 4].copy_from_slice(&1_u32.to_be_bytes());
    page[PAGE_COUNT..PAGE_COUNT + 4].copy_from_slice(&1_u32.to_be_bytes());
    page[44..48].copy_from_slice(&4_u32.to_be_bytes()); // schema format
    page[56..60].copy_from_slice(&1_u32.to_be_bytes()); // UTF-8
    page[VERSION_VALID_FOR..VERSION_VALID_FOR + 4].copy_from_slice(&1_u32.to_be_bytes());
    page[96..100].copy_from_slice(&3_037_000_u32.to_be_bytes()); // written by: the oldest SQLite that Seawall takes
    page[100] = 0x0d; // the schema table: a leaf without cells, whose content begins at the page's end
    page[105..107].copy_from_slice(&(SIZE as u16).to_be_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_copy_has_a_change_counter_of_its_epoch_and_version() {
        let header = *empty_protected().first_chunk().unwrap();
        let counter = |epoch, version| {
            let copy = of_copy(&header, (Epoch(epoch), Version(version)), 1);
            assert_eq!(copy[CHANGE_COUNTER..][..4], copy[VERSION_VALID_FOR..][..4]);
            u32::from_be_bytes(copy[CHANGE_COUNTER..][..4].try_into().unwrap())
        };
        assert_eq!(counter(0, 2), (1 << 31) + 2);
        let counters: HashSet<u32> =
            (0..100).flat_map(|epoch| (0..100).map(move |n| (epoch, n * 99_991))).map(|(e, v)| counter(e, v)).collect();
        assert_eq!(counters.len(), 10_000, "no two of them are the same");
        assert!(counters.iter().all(|counter| *counter >= 1 << 31), "SQLite's own are not so high");
    }
}
