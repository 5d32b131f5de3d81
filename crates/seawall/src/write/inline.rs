//! Commits that ride in the head: from what a transaction has written to an entry of the window.

use super::committer::Committer;
use super::encode::{Change, Draft};
use crate::error::Result;
use crate::format::delta::delta;
use crate::format::head::Head;
use crate::format::ids::{PageNo, Version};
use crate::format::new_pages::{NewGroup, page_checksum};
use crate::format::window::{Entry, EntryPage, MOST_ENTRIES, MOST_PAGES, MOST_WINDOW_PAGES, Window};
use crate::mutation::mistake;
use crate::ports::coordinator::Lease;
use crate::read::pages::{Page, push_as_delta};
use std::collections::HashSet;

/// What a fold costs beside its pages: about 1 KiB, and as much once more, because it is one more append.
const FOLD_BYTES: usize = 2 << 10;

impl Committer {
    /// The head that `draft` makes if it rides in it; `None` if it is to be a fold.
    ///
    /// An old image that is not at hand without a read is left out of the dictionary: then the entry is longer.
    pub(crate) fn head_with_entry(&self, draft: &Draft<'_>, lease: &Lease) -> Result<Option<Head>> {
        let Change { snapshot, page_size, page_count, pages, ref upkeep, .. } = *draft.change;
        let head = &snapshot.head;
        // The first commit is a fold, so that entries always stand on a frame.
        let is_possible = self.inline
            && upkeep.is_none()
            && head.version > Version(0)
            && snapshot.page_size() == Some(page_size)
            && page_count > 0
            && pages.len() <= MOST_PAGES
            && !is_due_for_fold(&head.window, page_size.bytes());
        if !is_possible {
            return Ok(None);
        }
        let (mut old, mut new, mut changed) = (Vec::new(), Vec::new(), Vec::with_capacity(pages.len()));
        for page in pages {
            let was_there = || {
                mistake!(CutOffPageIsOld, return true);
                page.0 <= snapshot.page_count()
            };
            let before = if was_there() { self.tip.pages.at_hand(snapshot, *page) } else { None };
            let (old_end, new_end) = (old.len(), new.len());
            push_as_delta(&mut new, *page, &(draft.change.read)(*page)?);
            if let Some(before) = &before {
                push_as_delta(&mut old, *page, before);
                if old[old_end..] == new[new_end..] {
                    old.truncate(old_end);
                    new.truncate(new_end);
                    continue;
                }
            }
            let (checksum, has_old) = (page_checksum(&new[new_end..]), before.is_some());
            changed.push(EntryPage { page: *page, checksum, has_old });
        }
        let delta = delta(&old, &new);
        let time = draft.time.max(snapshot.time);
        let entry = Entry { commit: draft.commit, time, page_count, pages: changed, delta };
        // Which lock stands for the lease afterwards is decided when the swap is sent. It must fit with each of them.
        let next = head.with_entry(entry, lease.generation, u32::MAX);
        let fits = next.window.page_count() <= MOST_WINDOW_PAGES && self.tip.coordinator.carries(&next);
        Ok(fits.then_some(Head { lease_slot: lease.slot, ..next }))
    }
}

/// The pages that a fold carries: those that the window has changed and `change` has not. A fold takes no page beyond
/// its own page count, and takes nothing over to another page size. `read` reads a page of the snapshot.
pub(crate) fn carried(change: &Change<'_>, read: impl Fn(PageNo) -> Result<Page>) -> Result<Vec<(PageNo, Page)>> {
    let Change { snapshot, page_size, page_count, pages, streamed, .. } = *change;
    if snapshot.page_size() != Some(page_size) {
        return Ok(Vec::new());
    }
    let of_window = |page: &PageNo| snapshot.head.window.has(*page);
    let streamed: HashSet<PageNo> =
        streamed.iter().flat_map(NewGroup::new_pages).map(|(_, new)| new.page).filter(of_window).collect();
    let is_written = |page: &PageNo| pages.binary_search(page).is_ok() || streamed.contains(page);
    let is_carried = |page: &PageNo| page.0 <= page_count && !is_written(page);
    let carried = snapshot.head.window.pages().into_iter().filter(is_carried);
    mistake!(FoldLeavesOut, return carried.skip(1).map(|page| Ok((page, read(page)?))).collect());
    carried.map(|page| Ok((page, read(page)?))).collect()
}

/// Whether the window has cost as many bytes as it has saved. Each head carries all of its entries once more. A page that
/// one entry has changed costs an image in a fold, whenever that is made. What is saved by waiting is what surrounds the
/// pages, and the images of pages that are changed again. (As in the ski rental problem.)
fn is_due_for_fold(window: &Window, page_size: usize) -> bool {
    let entries = window.entries().len();
    let carried = window.bytes().len() * (entries + 1) / 2;
    let saved = FOLD_BYTES + window.pages_changed_again() * page_size / 2;
    entries == MOST_ENTRIES || carried * 4 / 3 > saved
}
