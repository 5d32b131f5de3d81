//! What a transaction has written last, in memory. No other one can see it yet.

use super::stream::BATCH;
use crate::bounds::bound;
use crate::format::ids::{PageNo, PageSize};
use crate::read::pages::Page;
use std::collections::HashMap;

/// A transaction that has more than this in memory streams what it has not written for longest …
const MUCH: usize = bound(12 << 20, 6 << 10);
/// … and waits for that while it has more than this.
const MOST: usize = bound(16 << 20, 8 << 10);

/// Pages that were written, all of one size.
#[derive(Default)]
pub(crate) struct Overlay {
    /// Each with the number of the write that it comes from.
    pages: HashMap<PageNo, (u64, Page)>,
    page_size: Option<PageSize>,
    writes: u64,
}

impl Overlay {
    pub(crate) fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    pub(crate) fn write(&mut self, size: PageSize, page: PageNo, bytes: &[u8]) {
        assert_eq!(bytes.len(), size.bytes(), "pages are written whole");
        assert!(self.page_size.is_none_or(|known| known == size), "a transaction has one page size");
        self.page_size = Some(size);
        self.writes += 1;
        self.pages.insert(page, (self.writes, Page(bytes.into())));
    }

    pub(crate) fn read(&self, page: PageNo) -> Option<Page> {
        self.pages.get(&page).map(|(_, image)| image.clone())
    }

    pub(crate) fn has(&self, page: PageNo) -> bool {
        self.pages.contains_key(&page)
    }

    /// How many pages there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    fn bytes(&self) -> usize {
        self.pages.len() * self.page_size.map_or(0, PageSize::bytes)
    }

    /// Whether a part is to be streamed.
    pub(crate) fn has_much(&self) -> bool {
        self.bytes() > MUCH
    }

    /// Whether that cannot wait.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() > MOST
    }

    /// Whether there is a whole batch.
    pub(crate) fn has_a_batch(&self) -> bool {
        self.bytes() >= BATCH
    }

    /// Takes out a batch of what was not written for longest, by page number.
    pub(crate) fn take_batch(&mut self) -> Vec<(PageNo, Page)> {
        let count = (BATCH / self.page_size.map_or(1, PageSize::bytes)).max(1);
        let mut oldest: Vec<(u64, PageNo)> = self.pages.iter().map(|(page, (write, _))| (*write, *page)).collect();
        if count < oldest.len() {
            oldest.select_nth_unstable(count);
            oldest.truncate(count);
        }
        oldest.sort_unstable_by_key(|(_, page)| *page);
        let take = |(_, page)| self.pages.remove(&page).map(|(_, image)| (page, image));
        oldest.into_iter().filter_map(take).collect()
    }

    /// Forgets every page after `last`.
    pub(crate) fn truncate(&mut self, last: u32) {
        self.pages.retain(|page, _| page.0 <= last);
    }

    /// The pages' numbers, rising.
    pub(crate) fn page_numbers(&self) -> Vec<PageNo> {
        let mut pages: Vec<PageNo> = self.pages.keys().copied().collect();
        pages.sort_unstable();
        pages
    }
}
