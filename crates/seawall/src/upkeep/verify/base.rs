//! A base against its checksums.

use super::finding::{Damage, Touches};
use super::window::RUN;
use super::{Part, Verifier};
use crate::error::Result;
use crate::format::head::BaseRef;
use crate::format::ids::{PageNo, Version};
use crate::format::new_pages::page_checksum;
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::ports::storage::{File, Span};
use crate::read::pages::{ReadError, SUM_BYTES};

/// So many reads are made at once.
const AT_ONCE: u32 = 4;

impl Verifier<'_> {
    /// Checks the part's share of the pages of `base`, on which versions up to `last` stand.
    pub(super) fn check_base(&mut self, base: &BaseRef, last: Version, part: Part) -> Result<()> {
        let size = base.page_size.bytes();
        let versions = Some((base.name.version, last));
        let share = part.share(base.page_count.into());
        let (mut first, mut end) = (share.start as u32 + 1, share.end as u32);
        for (file, each) in [(File::Base(base.name), size), (File::Sums(base.name), SUM_BYTES)] {
            let (each, count) = (each as u64, u64::from(base.page_count));
            let (why, range) = match self.pages.storage.stamp(file) {
                Ok(Some(stamp)) if stamp.size == count * each => continue,
                Ok(Some(stamp)) if stamp.size > count * each => {
                    if !part.is_last() {
                        continue;
                    }
                    (format!("it has {} bytes, and its {count} pages take {}", stamp.size, count * each), None)
                }
                Ok(Some(stamp)) => {
                    let there = (stamp.size / each) as u32;
                    let missing = (there.saturating_add(1).max(first), end);
                    end = end.min(there);
                    if missing.0 > missing.1 {
                        continue;
                    }
                    ("it ends too early".to_owned(), Some(missing))
                }
                Ok(None) => {
                    self.findings.is_missing = true;
                    let all = (first, end);
                    end = 0;
                    ("it is missing".to_owned(), Some(all))
                }
                Err(error) => (format!("it cannot be looked at: {error}"), None),
            };
            self.findings.add(Damage::Base, file, why, &Touches { versions, range, ..Touches::default() });
        }
        let per_run = (RUN / size).max(1) as u32;
        while first <= end {
            let last_page = end.min(first.saturating_add(per_run * AT_ONCE - 1));
            self.check_run(base, (first, last_page, per_run), versions)?;
            self.read_more(u64::from(last_page - first + 1) * size as u64)?;
            first = last_page + 1;
        }
        Ok(())
    }

    fn check_run(
        &mut self,
        base: &BaseRef,
        pages: (u32, u32, u32),
        versions: Option<(Version, Version)>,
    ) -> Result<()> {
        let (first, last, per_run) = pages;
        let (file, size) = (File::Base(base.name), base.page_size.bytes());
        let span = |page: u32, pages: u32| Span {
            file,
            at: base.page_size.offset_of(PageNo(page)),
            length: pages as usize * size,
        };
        let sums = Span {
            file: File::Sums(base.name),
            at: u64::from(first - 1) * SUM_BYTES as u64,
            length: (last - first + 1) as usize * SUM_BYTES,
        };
        let mut spans: Vec<Span> =
            (first..=last).step_by(per_run as usize).map(|page| span(page, per_run.min(last - page + 1))).collect();
        spans.push(sums);
        let mut read = self.pages.read_each(&spans);
        let sums = read.pop().expect("as many answers as spans");
        let numbers = |page: u32, pages: u32| (page..page + pages).map(PageNo).collect::<Vec<_>>();
        let sums = match sums {
            Ok(sums) => sums,
            Err(error) => {
                let pages = &numbers(first, last - first + 1)[..];
                self.findings.add_unread(Damage::Base, &error, &Touches { versions, pages, ..Touches::default() });
                Vec::new()
            }
        };
        for (n, (read, span)) in read.into_iter().zip(&spans).enumerate() {
            let begins = first + n as u32 * per_run;
            let count = (span.length / size) as u32;
            let bytes = match read {
                Ok(bytes) => bytes,
                // The pages that are there can be checked.
                Err(ReadError::Short(..) | ReadError::Failed(..)) if count > 1 => {
                    for page in begins..begins + count {
                        self.check_run(base, (page, page, 1), versions)?;
                    }
                    continue;
                }
                Err(error) => {
                    let pages = &numbers(begins, count)[..];
                    let touches = Touches { at: Some(span.at), versions, pages, range: None };
                    self.findings.add_unread(Damage::Base, &error, &touches);
                    continue;
                }
            };
            for (page, image) in (begins..).zip(bytes.chunks_exact(size)) {
                let sum = sums.chunks_exact(SUM_BYTES).nth((page - first) as usize);
                if sum.is_none_or(|sum| sum == page_checksum(image)) {
                    self.report.pages += 1;
                    if page == 1 {
                        self.check_first_page(file, image, versions);
                    }
                    continue;
                }
                let at = Some(base.page_size.offset_of(PageNo(page)));
                let touches = Touches { at, versions, pages: &[PageNo(page)], range: None };
                let why = format!("it is not what {} says: its checksum does not fit", File::Sums(base.name));
                self.findings.add(Damage::Base, file, why, &touches);
            }
        }
        Ok(())
    }

    fn check_first_page(&mut self, file: File, image: &[u8], versions: Option<(Version, Version)>) {
        let is_protected = image.get(..HEADER).map(sqlite_header::state_of) == Some(NameState::Protected);
        if !is_protected {
            let touches = Touches { at: Some(0), versions, pages: &[PageNo(1)], range: None };
            self.findings.add(
                Damage::Base,
                file,
                "it does not begin as a base does: stock SQLite might write it",
                &touches,
            );
        }
    }
}
