//! A write transaction: the pages that SQLite writes, and their commit.

use crate::abi;
use crate::failure::Failure;
use crate::header::{OurFields, Written};
use seawall::{PageNo, PageSize, Snapshot, Transaction};
use std::sync::Arc;

/// A transaction of the engine, and what SQLite said in the last page 1 that it wrote.
pub(crate) struct Writing {
    transaction: Transaction,
    header: Option<Written>,
    has_written: bool,
}

impl Writing {
    pub(crate) fn new(transaction: Transaction) -> Writing {
        Writing { transaction, header: None, has_written: false }
    }

    pub(crate) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Whether SQLite wrote anything yet.
    pub(crate) fn has_written(&self) -> bool {
        self.has_written
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let placed = u32::try_from(bytes.len()).ok().and_then(PageSize::new).and_then(|page_size| {
            let page = page_at(offset, page_size)?;
            (page_size.offset_of(page) == offset).then_some((page_size, page))
        });
        let Some((page_size, page)) = placed else {
            let length = bytes.len();
            let text = format!("SQLite wrote {length} bytes at {offset}, which is not a page. Nothing was written");
            return Err(Failure::refusal(abi::IOERR_WRITE, text));
        };
        self.has_written = true;
        if page == PageNo(1) {
            self.header = Some(Written::of(bytes));
        }
        Ok(self.transaction.write_page(page_size, page, bytes)?)
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if let Some(page_size) = self.transaction.page_size() {
            let pages = u32::try_from(size.div_ceil(page_size.bytes() as u64)).unwrap_or(u32::MAX);
            if pages == 0 {
                // A rollback to nothing takes page 1 away, too.
                self.header = None;
            }
            self.transaction.truncate(pages);
        }
    }

    /// What SQLite said in the last page 1.
    pub(crate) fn header(&self) -> Option<Written> {
        self.header
    }

    pub(crate) fn commit(&mut self) -> seawall::Result<Arc<Snapshot>> {
        // A shrinking database is truncated after its sync only: the header already knows.
        let page_count = self.header.and_then(|header| header.page_count).unwrap_or(self.transaction.page_count());
        if let Some(page_size) = self.transaction.page_size() {
            let version = self.transaction.snapshot().version().next();
            let mut page_one = self.transaction.read_page(PageNo(1))?.to_vec();
            OurFields::at(version).put(&mut page_one, 0);
            self.transaction.write_page(page_size, PageNo(1), &page_one)?;
        }
        self.transaction.commit(page_count)
    }
}

/// The page that the byte at `offset` is in; none beyond what SQLite can count.
pub(crate) fn page_at(offset: u64, page_size: PageSize) -> Option<PageNo> {
    let page = offset / page_size.bytes() as u64 + 1;
    u32::try_from(page).ok().map(PageNo)
}
