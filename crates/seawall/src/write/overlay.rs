//! What a transaction has written, and no other one can see yet.
//!
//! Up to a budget it is in memory; what goes beyond lies in a scratch file on the local disk.

use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::ids::{PageNo, PageSize};
use crate::ports::storage::{Scratch, Storage};
use crate::read::pages::Page;
use std::collections::HashMap;

/// An overlay keeps this much in memory.
pub(crate) const IN_MEMORY: usize = bound(64 << 20, 8 << 10);

enum Slot {
    Memory(Page),
    /// The index of the page in the scratch file.
    Spilled(u64),
}

/// Pages that were written, all of one size.
#[derive(Default)]
pub(crate) struct Overlay {
    pages: HashMap<PageNo, Slot>,
    page_size: Option<PageSize>,
    in_memory: usize,
    scratch: Option<Box<dyn Scratch>>,
    spilled: u64,
}

impl Overlay {
    pub(crate) fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    pub(crate) fn write(&mut self, storage: &dyn Storage, size: PageSize, page: PageNo, bytes: &[u8]) -> Result<()> {
        assert_eq!(bytes.len(), size.bytes(), "pages are written whole");
        assert!(self.page_size.is_none_or(|known| known == size), "a transaction has one page size");
        self.page_size = Some(size);
        let fits = self.in_memory + size.bytes() <= IN_MEMORY;
        match self.pages.get_mut(&page) {
            Some(Slot::Memory(image)) => *image = Page(bytes.into()),
            Some(Slot::Spilled(n)) => {
                let scratch = self.scratch.as_ref().expect("what was spilled has a file");
                write_scratch(&**scratch, *n, size, bytes)?;
            }
            None if fits => {
                self.in_memory += size.bytes();
                self.pages.insert(page, Slot::Memory(Page(bytes.into())));
            }
            None => {
                if self.scratch.is_none() {
                    self.scratch = Some(storage.scratch().map_err(|error| Error::io("making a scratch file", error))?);
                }
                let scratch = self.scratch.as_ref().expect("it was just made");
                write_scratch(&**scratch, self.spilled, size, bytes)?;
                self.pages.insert(page, Slot::Spilled(self.spilled));
                self.spilled += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self, page: PageNo) -> Result<Option<Page>> {
        match self.pages.get(&page) {
            None => Ok(None),
            Some(Slot::Memory(image)) => Ok(Some(image.clone())),
            Some(Slot::Spilled(n)) => {
                let size = self.page_size.expect("something was written");
                let mut image = vec![0; size.bytes()];
                let scratch = self.scratch.as_ref().expect("what was spilled has a file");
                scratch
                    .read(n * size.bytes() as u64, &mut image)
                    .map_err(|error| Error::io("reading the scratch file", error))?;
                Ok(Some(Page(image.into())))
            }
        }
    }

    /// Forgets every page after `last`.
    pub(crate) fn truncate(&mut self, last: u32) {
        let size = self.page_size.map_or(0, PageSize::bytes);
        let in_memory = &mut self.in_memory;
        self.pages.retain(|page, slot| {
            let stays = page.0 <= last;
            if !stays && matches!(slot, Slot::Memory(_)) {
                *in_memory -= size;
            }
            stays
        });
    }

    /// The pages' numbers, rising.
    pub(crate) fn page_numbers(&self) -> Vec<PageNo> {
        let mut pages: Vec<PageNo> = self.pages.keys().copied().collect();
        pages.sort_unstable();
        pages
    }
}

fn write_scratch(scratch: &dyn Scratch, n: u64, size: PageSize, bytes: &[u8]) -> Result<()> {
    scratch.write(n * size.bytes() as u64, bytes).map_err(|error| Error::io("writing the scratch file", error))
}
