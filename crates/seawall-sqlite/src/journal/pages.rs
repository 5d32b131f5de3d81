//! The bytes of a journal, without the pages that the transaction's snapshot has.

use crate::abi;
use crate::failure::Failure;
use seawall::PageNo;
use std::ffi::c_int;

/// So much of a journal is kept as it is. Small transactions have no pages left out.
const KEPT_AS_IT_IS: usize = 256 << 10;
/// How much memory an empty journal keeps.
const KEPT_MEMORY: usize = 64 << 10;
/// SQLite writes a page's number before the page.
const NUMBER: u64 = 4;

/// The pages as they were when the transaction began that writes the journal.
pub(crate) trait Originals {
    /// Whether that is what `page` was, and can be read again later. Reads nothing.
    fn has(&self, page: PageNo, image: &[u8]) -> bool;
    /// What `page` was.
    fn read(&self, page: PageNo) -> Result<Vec<u8>, Failure>;
    /// Reports a failure to SQLite: its code.
    fn report(&self, failure: Failure) -> c_int;
}

/// A journal: what SQLite wrote, but for the pages that are left out.
#[derive(Default)]
pub(super) struct Pages {
    kept: Vec<u8>,
    /// Where in the journal pages are left out, and which. All have the same size.
    left_out: Vec<(u64, PageNo)>,
    page_size: usize,
    /// The last write: a page's number, if it was one, and where it ends.
    number: Option<(u64, PageNo)>,
}

impl Pages {
    pub(super) fn length(&self) -> u64 {
        (self.kept.len() + self.left_out.len() * self.page_size) as u64
    }

    /// How many pages before `at` are left out, the one at `at` not counted, and whether `at` is within one.
    fn before(&self, at: u64) -> (usize, Option<(u64, PageNo)>) {
        let size = self.page_size as u64;
        let ended = self.left_out.partition_point(|(place, _)| place + size <= at);
        (ended, self.left_out.get(ended).copied().filter(|(place, _)| *place <= at))
    }

    /// Fills `into` from `at`. Returns how much of it, which is less at the journal's end.
    pub(super) fn read(&self, originals: &dyn Originals, at: u64, into: &mut [u8]) -> Result<usize, Failure> {
        let mut done = 0;
        while done < into.len() {
            let place = at + done as u64;
            let rest = &mut into[done..];
            let (ended, within) = self.before(place);
            let length = if let Some((begins, page)) = within {
                let original = originals.read(page)?;
                let from = (place - begins) as usize;
                let length = rest.len().min(self.page_size - from);
                let there = original.get(from..from + length);
                rest[..length].copy_from_slice(there.ok_or_else(|| {
                    Failure::refusal(abi::IOERR_READ, "a page of the snapshot has another size. Nothing was written")
                })?);
                length
            } else {
                let from = (place as usize).saturating_sub(ended * self.page_size);
                let next = self.left_out.get(ended).map_or(u64::MAX, |(begins, _)| *begins);
                let there = self.kept.get(from..).unwrap_or_default();
                let length = rest.len().min(there.len()).min(usize::try_from(next - place).unwrap_or(usize::MAX));
                rest[..length].copy_from_slice(&there[..length]);
                length
            };
            if length == 0 {
                break;
            }
            done += length;
        }
        Ok(done)
    }

    pub(super) fn write(&mut self, originals: &dyn Originals, at: u64, written: &[u8]) -> Result<(), Failure> {
        let number = self.number.take().filter(|(ends, _)| *ends == at);
        if at == self.length()
            && let Some((_, page)) = number
            && self.kept.len() >= KEPT_AS_IT_IS
            && (self.left_out.is_empty() || self.page_size == written.len())
            && originals.has(page, written)
        {
            self.page_size = written.len();
            self.left_out.push((at, page));
            return Ok(());
        }
        if let Ok(bytes) = <[u8; NUMBER as usize]>::try_from(written) {
            self.number = Some((at + NUMBER, PageNo(u32::from_be_bytes(bytes))));
        }
        let end = at + written.len() as u64;
        let (ended, _) = self.before(at);
        if self.left_out.get(ended).is_some_and(|(begins, _)| *begins < end) {
            self.keep_all(originals)?;
        }
        let from = at as usize - self.before(at).0 * self.page_size;
        let (bytes, end) = (&mut self.kept, from + written.len());
        if bytes.len() < end {
            // Without this check a failed allocation would end the process.
            if bytes.try_reserve(end - bytes.len()).is_err() {
                return Err(Failure::refusal(
                    abi::IOERR_NOMEM,
                    "there is no memory for the journal. Nothing was written",
                ));
            }
            bytes.resize(end, 0);
        }
        bytes[from..end].copy_from_slice(written);
        Ok(())
    }

    pub(super) fn truncate(&mut self, originals: &dyn Originals, size: u64) -> Result<(), Failure> {
        if self.before(size).1.is_some_and(|(begins, _)| begins < size) {
            self.keep_all(originals)?;
        }
        let (ended, _) = self.before(size);
        self.kept.truncate(size as usize - ended * self.page_size);
        self.left_out.truncate(ended);
        self.kept.shrink_to(KEPT_MEMORY.max(self.kept.len()));
        self.left_out.shrink_to_fit();
        Ok(())
    }

    /// Keeps the pages that were left out: SQLite writes over one of them.
    fn keep_all(&mut self, originals: &dyn Originals) -> Result<(), Failure> {
        let mut all = vec![0; self.length() as usize];
        self.read(originals, 0, &mut all)?;
        (self.kept, self.left_out) = (all, Vec::new());
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SIZE: usize = 512;

    /// Has the pages with even numbers at hand.
    pub(in crate::journal) struct Fake;

    fn image(page: u32) -> Vec<u8> {
        (0..SIZE).map(|n| (page as usize * 7 + n) as u8).collect()
    }

    impl Originals for Fake {
        fn has(&self, page: PageNo, written: &[u8]) -> bool {
            page.0.is_multiple_of(2) && written == image(page.0)
        }

        fn read(&self, page: PageNo) -> Result<Vec<u8>, Failure> {
            Ok(image(page.0))
        }

        fn report(&self, failure: Failure) -> c_int {
            failure.code
        }
    }

    /// A journal, and the same bytes beside it.
    #[derive(Default)]
    struct Both {
        pages: Pages,
        plain: Vec<u8>,
    }

    impl Both {
        fn write(&mut self, at: usize, bytes: &[u8]) {
            assert!(self.pages.write(&Fake, at as u64, bytes).is_ok());
            self.plain.resize(self.plain.len().max(at + bytes.len()), 0);
            self.plain[at..at + bytes.len()].copy_from_slice(bytes);
        }

        fn record(&mut self, page: u32, image: &[u8]) {
            for part in [&page.to_be_bytes()[..], image, &[1, 2, 3, 4]] {
                self.write(self.plain.len(), part);
            }
        }

        /// Reads parts of all lengths from everywhere, and across the end.
        fn check(&self) {
            assert_eq!(self.pages.length(), self.plain.len() as u64);
            for at in (0..self.plain.len() + 2).step_by(97) {
                for length in [1, 4, 8, SIZE, SIZE + 8, 5 * SIZE] {
                    let mut into = vec![0; length];
                    let Ok(read) = self.pages.read(&Fake, at as u64, &mut into) else { panic!("it can be read") };
                    let there = self.plain.get(at..).unwrap_or_default();
                    assert_eq!(into[..read], there[..read]);
                    assert_eq!(read, length.min(there.len()));
                }
            }
        }
    }

    /// A journal that is long enough to leave pages out.
    fn long() -> Both {
        let mut both = Both::default();
        both.write(0, &vec![9; KEPT_AS_IT_IS]);
        both
    }

    #[test]
    fn a_long_journal_leaves_out_what_the_snapshot_has_and_reads_as_it_was_written() {
        let mut both = long();
        (1..=40).for_each(|page| both.record(page, &image(page)));
        both.record(42, &[5; SIZE]);
        both.record(44, &image(44));
        assert_eq!(both.pages.left_out.len(), 21, "what differs, or is not at hand, is kept");
        both.check();
        // A header in the middle, a write over the beginning, and a gap.
        both.write(both.plain.len().next_multiple_of(SIZE), &[7; 28]);
        both.write(8, &[3; 12]);
        both.record(46, &image(46));
        both.check();
        assert_eq!(both.pages.left_out.len(), 22);
    }

    #[test]
    fn a_short_journal_keeps_all_and_so_does_a_write_over_a_page() {
        let mut both = Both::default();
        (1..=40).for_each(|page| both.record(page, &image(page)));
        assert!(both.pages.left_out.is_empty());
        both.check();
        let mut both = long();
        (1..=40).for_each(|page| both.record(page, &image(page)));
        both.write(KEPT_AS_IT_IS + 2 * SIZE, &[6; 100]);
        assert!(both.pages.left_out.is_empty());
        both.check();
    }

    #[test]
    fn it_is_cut_off_anywhere_and_goes_on() {
        let mut both = long();
        (1..=20).for_each(|page| both.record(page, &image(page)));
        let whole = both.plain.len();
        for cut in (0..whole).rev().step_by(131).filter(|cut| *cut > KEPT_AS_IT_IS - 200) {
            let mut both = long();
            (1..=20).for_each(|page| both.record(page, &image(page)));
            assert!(both.pages.truncate(&Fake, cut as u64).is_ok());
            both.plain.truncate(cut);
            both.record(22, &image(22));
            both.check();
        }
        assert!(both.pages.truncate(&Fake, 0).is_ok());
        assert_eq!((both.pages.length(), both.pages.kept.capacity() <= KEPT_MEMORY), (0, true));
    }
}
