//! A write transaction: the pages that SQLite writes, and their commit.

use crate::abi;
use crate::failure::Failure;
use crate::header::{self, HEADER, OurFields, Written};
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
        let written = u32::try_from(bytes.len()).ok().and_then(PageSize::new);
        let Some(page_size) = self.transaction.page_size().or(written) else {
            let length = bytes.len();
            let text = format!("SQLite wrote {length} bytes at {offset}, which is not a page. Nothing was written");
            return Err(Failure::refusal(abi::IOERR_WRITE, text));
        };
        self.has_written = true;
        if offset == 0 && bytes.len() >= HEADER {
            self.header = Some(Written::of(bytes));
        }
        // It writes whole pages; but a backup from smaller pages writes what lies behind the lock bytes in the source's.
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = page_size.place_of(offset + done as u64);
            let page =
                page.ok_or_else(|| Failure::refusal(abi::FULL, "the database would be larger than SQLite can count"))?;
            let length = (page_size.bytes() - within).min(bytes.len() - done);
            let part = &bytes[done..done + length];
            if length == page_size.bytes() {
                self.transaction.write_page(page_size, page, part)?;
            } else {
                let mut image = self.transaction.read_page(page)?.to_vec();
                image[within..within + length].copy_from_slice(part);
                self.transaction.write_page(page_size, page, &image)?;
            }
            done += length;
        }
        Ok(())
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

    /// Whether all that was written is that the database is in WAL mode from now on.
    pub(crate) fn only_switches_to_wal(&self) -> seawall::Result<bool> {
        if self.header.is_none_or(|header| header.rollback_journal) {
            return Ok(false);
        }
        let before = self.transaction.read_committed(PageNo(1))?;
        Ok(header::only_switches(&before, &self.transaction.read_page(PageNo(1))?)
            && self.transaction.has_written_only(PageNo(1)))
    }

    pub(crate) fn commit(&mut self) -> seawall::Result<Arc<Snapshot>> {
        let Some(written) = self.transaction.page_size() else {
            return self.transaction.commit(0);
        };
        // A shrinking database is truncated after its sync only: the header already knows.
        let page_count = self.header.and_then(|header| header.page_count).unwrap_or(self.transaction.page_count());
        let version = self.transaction.snapshot().version().next();
        let mut page_one = self.transaction.read_page(PageNo(1))?.to_vec();
        OurFields::at(version).put(&mut page_one, 0);
        self.transaction.write_page(written, PageNo(1), &page_one)?;
        // Where VACUUM or a backup changes the page size, SQLite writes in the old one, and the header has the new one.
        let page_size = self.header.and_then(|header| header.page_size).unwrap_or(written);
        self.transaction.commit_as(page_size, page_count)
    }
}
