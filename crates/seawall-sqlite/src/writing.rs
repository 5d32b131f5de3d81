//! A write transaction: the pages that SQLite writes, and their commit.

use crate::abi;
use crate::failure::Failure;
use crate::header::{self, HEADER, OurFields, Written};
use seawall::{PageNo, PageSize, Snapshot, Transaction};
use std::sync::Arc;

/// A transaction of the engine, and the header in the last page 1 that SQLite wrote.
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

    /// Whether SQLite has written anything yet.
    pub(crate) fn has_written(&self) -> bool {
        self.has_written
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(bytes.len()).ok().and_then(PageSize::new);
        let Some(page_size) = self.transaction.page_size().or(length) else {
            let length = bytes.len();
            let text = format!("SQLite wrote {length} bytes at {offset}, which is not a page. Nothing was written");
            return Err(Failure::refusal(abi::IOERR_WRITE, text));
        };
        self.has_written = true;
        if offset == 0 && bytes.len() >= HEADER {
            self.header = Some(Written::of(bytes));
        }
        // SQLite writes whole pages, with one exception: a backup from a database with smaller pages writes the content
        // behind the lock bytes in pages of the source's size.
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = page_size.place_of(offset + done as u64);
            let page = page.ok_or_else(|| {
                Failure::refusal(
                    abi::FULL,
                    "the database would have more pages than SQLite can count. Nothing was written",
                )
            })?;
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
                // A rollback to an empty file removes page 1 as well.
                self.header = None;
            }
            self.transaction.truncate(pages);
        }
    }

    /// The header in the last page 1 that SQLite wrote.
    pub(crate) fn header(&self) -> Option<Written> {
        self.header
    }

    /// Whether the transaction does nothing but switch the database to WAL mode.
    pub(crate) fn only_switches_to_wal(&self) -> seawall::Result<bool> {
        if self.header.is_none_or(|header| header.rollback_journal) {
            return Ok(false);
        }
        let before = self.transaction.read_committed(PageNo(1))?;
        Ok(header::only_switches(&before, &self.transaction.read_page(PageNo(1))?)
            && self.transaction.has_written_only(PageNo(1)))
    }

    pub(crate) fn commit(&mut self) -> seawall::Result<Arc<Snapshot>> {
        let Some(written_size) = self.transaction.page_size() else {
            return self.transaction.commit(0);
        };
        // SQLite truncates a shrinking database only after the sync. The header has the new size already.
        let page_count = self.header.and_then(|header| header.page_count).unwrap_or(self.transaction.page_count());
        let (epoch, version) = self.transaction.snapshot().head().order();
        let mut page_one = self.transaction.read_page(PageNo(1))?.to_vec();
        OurFields::at(epoch, version.next()).put(&mut page_one, 0);
        self.transaction.write_page(written_size, PageNo(1), &page_one)?;
        // Where VACUUM or a backup changes the page size, SQLite writes pages of the old size, and the header has the
        // new size.
        let page_size = self.header.and_then(|header| header.page_size).unwrap_or(written_size);
        self.transaction.commit_as(page_size, page_count)
    }
}
