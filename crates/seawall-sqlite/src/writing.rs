//! A write transaction: the pages that SQLite writes, and their commit.

use crate::abi;
use crate::failure::Failure;
use crate::header::{OurFields, Written};
use seawall::{Database, PageNo, PageSize, Snapshot, Transaction};
use std::sync::Arc;

/// A transaction of the engine, and what SQLite said in the last page 1 that it wrote.
pub(crate) struct Writing {
    transaction: Transaction,
    header: Option<Written>,
}

impl Writing {
    pub(crate) fn new(transaction: Transaction) -> Writing {
        Writing { transaction, header: None }
    }

    pub(crate) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    pub(crate) fn write(&mut self, database: &Database, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let placed = u32::try_from(bytes.len()).ok().and_then(PageSize::new).and_then(|page_size| {
            let page = page_at(offset, page_size)?;
            (page_size.offset_of(page) == offset).then_some((page_size, page))
        });
        let Some((page_size, page)) = placed else {
            let length = bytes.len();
            let text = format!("SQLite wrote {length} bytes at {offset}, which is not a page. Nothing was written");
            return Err(Failure::refusal(abi::IOERR_WRITE, text));
        };
        if page != PageNo(1) {
            return Ok(self.transaction.write_page(page_size, page, bytes)?);
        }
        self.header = Some(Written::of(bytes));
        let mut page_one = bytes.to_vec();
        // As they lie in the snapshot, so that "does anything differ?" compares what SQLite meant to change.
        let snapshot = self.transaction.snapshot();
        if snapshot.page_count() > 0 {
            OurFields::of(&database.read_page(snapshot, PageNo(1))?).put(&mut page_one, 0);
        }
        Ok(self.transaction.write_page(page_size, page, &page_one)?)
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if let Some(page_size) = self.transaction.page_size() {
            let pages = size.div_ceil(page_size.bytes() as u64);
            self.transaction.truncate(u32::try_from(pages).unwrap_or(u32::MAX));
        }
    }

    /// How many commits SQLite has counted beyond the version that this transaction began on, if it wrote page 1.
    pub(crate) fn counted_beyond(&self) -> Option<u32> {
        self.header.map(|header| header.counted_beyond(self.transaction.snapshot().version()))
    }

    /// Whether SQLite wrote that the database is in WAL mode from now on.
    pub(crate) fn switches_to_wal(&self) -> bool {
        self.header.is_some_and(|header| !header.rollback_journal)
    }

    /// Whether anything that SQLite wrote differs from the snapshot.
    pub(crate) fn differs(&self) -> Result<bool, Failure> {
        Ok(self.transaction.differs()?)
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
