//! Compressing pages: from images to groups that only need a place.

use super::encode::Frames;
use crate::error::Result;
use crate::format::frame::{Kind, UNIT};
use crate::format::group::{Encoder, GROUP_BYTES, Owner, pages_per_group};
use crate::format::ids::{PageNo, PageSize};
use crate::format::new_pages::{NewGroup, NewPage, page_checksum};
use crate::ports::storage::at_once::in_parallel;
use crate::read::pages::Page;

/// So many groups are worth a second thread: compressing one takes some 200 µs, and starting a thread 30 µs.
const MANY: usize = 4;

/// A group that is compressed, and in no frame yet.
pub(crate) struct Packed {
    payload: Vec<u8>,
    pages: Vec<Option<NewPage>>,
}

impl Packed {
    /// Adds its frame.
    pub(crate) fn put(self, frames: &mut Frames) -> Result<NewGroup> {
        let (_, place) = frames.put(Kind::Pages, &self.payload)?;
        let units = u16::try_from(u64::from(place.length) / UNIT).expect("a group is at most 64 KiB and a little");
        Ok(NewGroup { at: place.at, units, pages: self.pages })
    }
}

/// Compresses groups one after the other, and keeps the memory that it works in.
#[derive(Default)]
pub(crate) struct Packer {
    compressor: Encoder,
    images: Vec<u8>,
}

impl Packer {
    /// A group of `pages`, of which there are some, and not more than a group's.
    pub(crate) fn group(&mut self, owner: &Owner, page_size: PageSize, pages: &[(PageNo, Page)]) -> Packed {
        let numbers: Vec<PageNo> = pages.iter().map(|(page, _)| *page).collect();
        self.images.clear();
        self.images.reserve(GROUP_BYTES);
        pages.iter().for_each(|(_, image)| self.images.extend_from_slice(image));
        let payload = self.compressor.encode(owner, page_size, &numbers, &self.images);
        let new = |(page, image): &(PageNo, Page)| {
            Some(NewPage { page: *page, checksum: page_checksum(image), is_carried: false })
        };
        Packed { payload, pages: pages.iter().map(new).collect() }
    }

    /// All groups of `pages`. If these are many, a second thread compresses half of them.
    pub(crate) fn groups(&mut self, owner: &Owner, page_size: PageSize, pages: &[(PageNo, Page)]) -> Vec<Packed> {
        let all = |packer: &mut Packer, groups: &[&[(PageNo, Page)]]| -> Vec<Packed> {
            groups.iter().map(|group| packer.group(owner, page_size, group)).collect()
        };
        let groups: Vec<&[(PageNo, Page)]> = pages.chunks(pages_per_group(page_size)).collect();
        if groups.len() < MANY {
            return all(self, &groups);
        }
        let halves: Vec<&[&[(PageNo, Page)]]> = groups.chunks(groups.len().div_ceil(2)).collect();
        in_parallel(&halves, |half| all(&mut Packer::default(), half)).into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::{CommitId, DatabaseId, Version};
    use std::sync::Arc;

    #[test]
    fn groups_are_the_same_however_many_threads_compress_them() {
        let owner = Owner { database: DatabaseId([1; 16]), version: Version(5), commit: CommitId([2; 16]) };
        let size = PageSize::new(4096).unwrap();
        let image = |n: u32| Page(Arc::from_iter((0..4096).map(|byte| (byte * n) as u8)));
        for count in [1, 16, 17, 16 * MANY as u32 - 1, 16 * MANY as u32, 16 * MANY as u32 + 33] {
            let pages: Vec<(PageNo, Page)> = (1..=count).map(|n| (PageNo(n), image(n))).collect();
            let mut packer = Packer::default();
            let one_by_one: Vec<Packed> = pages.chunks(16).map(|group| packer.group(&owner, size, group)).collect();
            let all = Packer::default().groups(&owner, size, &pages);
            let content = |packed: Vec<Packed>| packed.into_iter().map(|group| (group.payload, group.pages));
            assert!(content(all).eq(content(one_by_one)), "{count} pages");
        }
    }
}
