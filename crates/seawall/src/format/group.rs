//! `pages` frames: up to 64 KiB of page images, compressed together.
//!
//! One read brings a small commit's pages, and one page never costs a large read. A group names its database,
//! commit and version, and the pages that it holds: a reader finds out if it is not what it looked for.

use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::ids::{CommitId, DatabaseId, PageNo, PageSize, Version};

/// The page images of a group, before compression, take at most this (or are one page).
pub const GROUP_BYTES: usize = 64 << 10;
const COMPRESSION_LEVEL: i32 = 1;
const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// How many pages go into one group.
pub fn pages_per_group(page_size: PageSize) -> usize {
    (GROUP_BYTES / page_size.bytes()).max(1)
}

/// Which commit a group belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The database.
    pub database: DatabaseId,
    /// The version that the commit wants to be.
    pub version: Version,
    /// The commit.
    pub commit: CommitId,
}

/// A group as it was read: its owner, and its pages.
#[derive(Debug)]
pub struct Group {
    /// Which commit wrote it.
    pub owner: Owner,
    /// The bytes of each page.
    pub page_size: PageSize,
    /// The pages' numbers; their images follow one another in `images`.
    pub pages: Vec<PageNo>,
    /// The images.
    pub images: Vec<u8>,
}

/// Encodes groups; keeps the compressor's working memory.
pub struct Encoder(zstd::bulk::Compressor<'static>);

impl Default for Encoder {
    fn default() -> Self {
        Encoder(zstd::bulk::Compressor::new(COMPRESSION_LEVEL).expect("zstd takes its own levels"))
    }
}

impl Encoder {
    /// The payload of a `pages` frame. `images` are those of `pages`, one after the other.
    pub fn encode(&mut self, owner: &Owner, page_size: PageSize, pages: &[PageNo], images: &[u8]) -> Vec<u8> {
        assert!(!pages.is_empty() && pages.len() <= pages_per_group(page_size));
        assert_eq!(images.len(), pages.len() * page_size.bytes());
        let mut out = Vec::with_capacity(64 + images.len());
        out.extend_from_slice(&owner.database.0);
        out.extend_from_slice(&owner.version.0.to_le_bytes());
        out.extend_from_slice(&owner.commit.0);
        out.extend_from_slice(&(page_size.bytes() as u32).to_le_bytes());
        put_varint(&mut out, pages.len() as u64);
        for page in pages {
            put_varint(&mut out, u64::from(page.0));
        }
        match self.0.compress(images) {
            Ok(compressed) if compressed.len() < images.len() => {
                out.push(ZSTD);
                out.extend_from_slice(&compressed);
            }
            _ => {
                out.push(STORED);
                out.extend_from_slice(images);
            }
        }
        out
    }
}

/// The group in the payload of a `pages` frame.
pub fn decode(payload: &[u8]) -> Result<Group, Malformed> {
    let mut reader = Reader::new(payload);
    let database = DatabaseId(reader.array()?);
    let version = Version(reader.u64()?);
    let commit = CommitId(reader.array()?);
    let page_size = PageSize::new(reader.u32()?).ok_or(Malformed("a page size is impossible"))?;
    let count = reader.count(1)?;
    if count == 0 || count > pages_per_group(page_size) {
        return Err(Malformed("a group has too many pages"));
    }
    let pages = (0..count).map(|_| page_number(&mut reader)).collect::<Result<Vec<_>, _>>()?;
    let size = count * page_size.bytes();
    let images = match reader.u8()? {
        STORED => reader.rest().to_vec(),
        ZSTD => zstd::bulk::decompress(reader.rest(), size).map_err(|_| Malformed("a group does not decompress"))?,
        _ => return Err(Malformed("a group's compression is unknown")),
    };
    if images.len() != size {
        return Err(Malformed("a group's pages are not whole"));
    }
    Ok(Group { owner: Owner { database, version, commit }, page_size, pages, images })
}

/// A page number: never 0.
pub(crate) fn page_number(reader: &mut Reader<'_>) -> Result<PageNo, Malformed> {
    match reader.small()? {
        0 => Err(Malformed("there is no page 0")),
        page => Ok(PageNo(page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner() -> Owner {
        Owner { database: DatabaseId([1; 16]), version: Version(5), commit: CommitId([2; 16]) }
    }

    proptest! {
        #[test]
        fn groups_come_back(seed: u64, noisy: bool, count in 1..=16_usize, hostile: prop::sample::Index) {
            let page_size = PageSize::new(4096).unwrap();
            let mut state = seed;
            let images: Vec<u8> = (0..count * 4096).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if noisy { (state >> 56) as u8 } else { 7 }
            }).collect();
            let pages: Vec<PageNo> = (0..count as u32).map(|n| PageNo(n * 1000 + 1)).collect();
            let payload = Encoder::default().encode(&owner(), page_size, &pages, &images);
            let group = decode(&payload).unwrap();
            prop_assert_eq!((group.owner, group.pages, group.images), (owner(), pages, images));
            let _ = decode(&payload[..hostile.index(payload.len())]);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        // A megabyte of zeros compresses to a few bytes; the group says that it is one page.
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
        let size = PageSize::new(512).unwrap();
        let mut payload = Encoder::default().encode(&owner(), size, &[PageNo(1)], &[0; 512]);
        let data = payload.len() - zstd::bulk::compress(&[0; 512], 1).unwrap().len();
        payload.truncate(data);
        payload.extend_from_slice(&bomb);
        assert!(decode(&payload).is_err());
    }
}
