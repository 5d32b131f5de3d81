//! The pages that a fold brings: which `pages` frames lie in front of its commit frame, and what they hold.

use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::group::pages_per_group;
use crate::format::ids::{PageNo, PageSize};

/// A page's image in a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPage {
    /// The page.
    pub page: PageNo,
    /// Its image's checksum.
    pub checksum: [u8; 8],
    /// The fold only carries it: an entry of the window has changed it, and the fold itself has not.
    pub is_carried: bool,
}

/// The checksum of a page's image: the first eight bytes of its BLAKE3 digest.
pub fn page_checksum(image: &[u8]) -> [u8; 8] {
    blake3::hash(image).as_bytes()[..8].try_into().expect("a digest has 32 bytes")
}

/// One `pages` frame of a fold, in the segment of the commit frame itself.
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
    /// Its pages that the fold has, each with its slot.
    pub fn new_pages(&self) -> impl Iterator<Item = (u8, &NewPage)> {
        (0..).zip(&self.pages).filter_map(|(slot, new)| new.as_ref().map(|new| (slot, new)))
    }
}

/// The pages of all `groups`.
pub(crate) fn pages_of(groups: &[NewGroup]) -> impl Iterator<Item = &NewPage> {
    groups.iter().flat_map(|group| group.pages.iter().flatten())
}

/// A slot is its page's number, times 2, plus 1 if it is carried. There is no page 0.
pub(crate) fn put_groups(out: &mut Vec<u8>, groups: &[NewGroup]) {
    put_varint(out, groups.len() as u64);
    for group in groups {
        put_varint(out, u64::from(group.at));
        put_varint(out, u64::from(group.units));
        put_varint(out, group.pages.len() as u64);
        for slot in &group.pages {
            put_varint(out, slot.map_or(0, |new| u64::from(new.page.0) << 1 | u64::from(new.is_carried)));
            slot.iter().for_each(|new| out.extend_from_slice(&new.checksum));
        }
    }
}

pub(crate) fn read_groups(reader: &mut Reader<'_>, page_size: PageSize) -> Result<Vec<NewGroup>, Malformed> {
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
    let slot = |_| {
        let number = reader.varint()?;
        if number == 0 {
            return Ok(None);
        }
        let page = u32::try_from(number >> 1).ok().filter(|page| *page > 0);
        let page = PageNo(page.ok_or(Malformed("a page number is impossible"))?);
        Ok(Some(NewPage { page, checksum: reader.array()?, is_carried: number & 1 == 1 }))
    };
    let pages = (0..count.min(most)).map(slot).collect::<Result<Vec<_>, Malformed>>()?;
    if count > most || pages.iter().all(Option::is_none) {
        return Err(Malformed("a group has too many pages, or none"));
    }
    Ok(NewGroup { at, units, pages })
}
