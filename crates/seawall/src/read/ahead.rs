//! Reading ahead of a scan: how far, from what the last misses in the same file were.
//!
//! A miss reads what was asked for, and no more, unless it goes on where the one before it ended. Then it reads eight times as much, up to
//! [`RUNS`] runs of [`RUN`] bytes at once. So a point read never costs more, and a long scan costs one trip for each four megabytes.

use crate::format::entry::{PageEntry, SegmentNo};
use crate::format::head::BaseRef;
use crate::format::ids::{BaseName, PageNo};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A scan is read ahead in runs of so many bytes …
pub(super) const RUN: usize = 1 << 20;
/// … and so many runs at once.
const RUNS: usize = 4;
/// Of the log, a scan may pass over so many bytes: between the pages of two commits lie their frames.
const GAP: u64 = 64 << 10;
/// So many files are remembered; then all are forgotten.
const FILES: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Base(BaseName),
    Segment(SegmentNo),
}

/// How far the latest scan of a file has come.
#[derive(Clone, Copy, Default)]
struct Scan {
    /// What comes after the last that was read: a page of a base, a byte of a segment.
    next: u64,
    /// How many pages were read last.
    pages: u32,
    /// Of a segment: how many bytes such a page took.
    bytes_per_page: u32,
}

/// The scans of all files.
pub(super) struct Scans {
    files: Mutex<HashMap<Of, Scan>>,
    /// No more bytes than these are read ahead: the cache has to keep them until they are asked for.
    most: usize,
}

/// How much of a segment to read.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) bytes: usize,
    /// No more pages than these are taken in.
    pub(super) pages: u32,
}

impl Scans {
    /// For a cache of so many bytes.
    pub(super) fn new(cache_bytes: usize) -> Scans {
        Scans { files: Mutex::default(), most: (RUN * RUNS).min(cache_bytes / 4) }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Of, Scan>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() > FILES {
            files.clear();
        }
        files
    }

    fn most_pages(&self, page_bytes: usize) -> u32 {
        (self.most / page_bytes).max(1) as u32
    }

    /// How many pages of a base to read, from `page` on.
    pub(super) fn in_base(&self, base: &BaseRef, page: PageNo) -> u32 {
        let most = self.most_pages(base.page_size.bytes());
        let mut files = self.files();
        let scan = files.entry(Of::Base(base.name)).or_default();
        let goes_on = u64::from(page.0) == scan.next;
        let pages = if goes_on { scan.pages.saturating_mul(8).clamp(1, most) } else { 1 };
        let pages = pages.min(base.page_count - page.0 + 1);
        *scan = Scan { next: u64::from(page.0) + u64::from(pages), pages, bytes_per_page: 0 };
        pages
    }

    /// How much of a segment to read, from the group of `entry` on. `page_bytes` are those of a page in memory.
    pub(super) fn in_segment(&self, entry: &PageEntry, page_bytes: usize) -> Ahead {
        let one = Ahead { bytes: entry.length(), pages: 1 };
        let Some(scan) = self.files().get(&Of::Segment(entry.segment())).copied() else { return one };
        if !(scan.next..=scan.next + GAP).contains(&entry.offset()) {
            return one;
        }
        let pages = scan.pages.saturating_mul(8).clamp(1, self.most_pages(page_bytes));
        let bytes = (pages as usize).saturating_mul(scan.bytes_per_page as usize).min(self.most);
        Ahead { bytes: bytes.max(entry.length()), pages }
    }

    /// So much of a segment was read and taken in, up to the byte `next`.
    pub(super) fn was_read(&self, segment: SegmentNo, next: u64, bytes: usize, pages: u32) {
        let bytes_per_page = (bytes as u32).div_ceil(pages.max(1));
        self.files().insert(Of::Segment(segment), Scan { next, pages, bytes_per_page });
    }
}
