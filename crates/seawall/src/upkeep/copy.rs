//! Copying a whole version: the base in long runs, and then what has changed since, in the order in which it lies in
//! the log. So every byte is read about once, and memory does not grow with the database.

use crate::error::{Error, Result};
use crate::format::entry::PageEntry;
use crate::format::frame::{self, Kind, UNIT};
use crate::format::group;
use crate::format::head::BaseRef;
use crate::format::ids::{Epoch, PageNo, PageSize, Version};
use crate::format::new_pages::page_checksum;
use crate::format::sqlite_header::{self, HEADER, NameState, PROTECTED};
use crate::ports::storage::at_once::in_parallel;
use crate::ports::storage::{Bulk, File, Span};
use crate::read::pages::{Pages, SUM_BYTES, frame_of};
use crate::read::snapshot::{PageSource, Snapshot};

/// One read is at most so long …
const RUN: usize = 1 << 20;
/// … and so many are made at once.
const AT_ONCE: usize = 8;
/// So many runs are checked at once. Each takes memory.
const IN_PARALLEL: usize = 2;
/// Frames of the log are read in one run if no more bytes than this lie between them.
const GAP: u64 = 64 << 10;

/// What stock SQLite may do with a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Read it: it is protected.
    Reading,
    /// Write it, too: it is a plain file.
    Writing,
}

/// Copies what `snapshot` has into `targets`. The answer is the checksum of each page, as a base's `.sums` has
/// them. `progress` is called with the number of pages that were copied; an error of its ends the copying.
pub(crate) fn copy(
    pages: &Pages,
    snapshot: &Snapshot,
    what_for: For,
    targets: &mut [Box<dyn Bulk>],
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<u8>> {
    let Some(page_size) = snapshot.page_size() else { return Ok(Vec::new()) };
    let (sums, waiting) = (Vec::new(), Vec::new());
    let mut copy = Copy { pages, snapshot, page_size, targets, sums, copied: 0, progress, waiting, waiting_at: 0 };
    // A number of pages can be forged: this finds that they are nowhere.
    let in_log = copy.what_is_in_the_log()?;
    copy.sums = vec![0; snapshot.page_count() as usize * SUM_BYTES];
    if let Some(base) = snapshot.head.base.filter(|base| base.page_size == page_size) {
        copy.copy_base(&base)?;
    }
    copy.copy_log(in_log)?;
    copy.copy_window()?;
    copy.finish_page_1(what_for)?;
    Ok(copy.sums)
}

struct Copy<'a> {
    pages: &'a Pages,
    snapshot: &'a Snapshot,
    page_size: PageSize,
    targets: &'a mut [Box<dyn Bulk>],
    sums: Vec<u8>,
    copied: u64,
    progress: &'a mut dyn FnMut(u64) -> Result<()>,
    /// Neighbours that are not written yet, and where the first of them belongs.
    waiting: Vec<u8>,
    waiting_at: u64,
}

/// The pages of one run: their numbers and checksums, and their images, one after the other.
struct Taken {
    pages: Vec<(PageNo, [u8; SUM_BYTES])>,
    images: Vec<u8>,
}

/// A page that is in the log, and where.
type InLog = (PageEntry, PageNo);

impl Copy<'_> {
    /// The pages that are in the log, by their place; an error if any page is nowhere.
    fn what_is_in_the_log(&self) -> Result<Vec<InLog>> {
        let base = self.snapshot.head.base;
        let base_version = base.map(|base| base.name.version);
        let in_base = base.filter(|base| base.page_size == self.page_size).map_or(0, |base| base.page_count);
        let count = self.snapshot.page_count();
        let is_in_log = |(page, entry): &(PageNo, PageEntry)| {
            page.0 <= count && Some(entry.version()) > base_version && !self.is_in_window(*page)
        };
        let mut in_log: Vec<InLog> =
            self.snapshot.map.iter().filter(is_in_log).map(|(page, entry)| (entry, page)).collect();
        let behind_base =
            in_log.iter().map(|(_, page)| *page).chain(self.of_window()).filter(|page| page.0 > in_base).count();
        if behind_base < count.saturating_sub(in_base) as usize {
            let what = format!("the page map of version {}", self.snapshot.version().0);
            return Err(Error::corrupt(what, "some page is neither in the base nor in the log"));
        }
        in_log.sort_unstable_by_key(|(entry, page)| (entry.segment(), entry.at(), *page));
        Ok(in_log)
    }

    /// Copies the base; a page that has changed since is overwritten afterwards, and not checked here.
    fn copy_base(&mut self, base: &BaseRef) -> Result<()> {
        let size = self.page_size.bytes();
        let last = base.page_count.min(self.snapshot.page_count());
        let per_run = (RUN / size).max(1) as u32;
        let file = File::Base(base.name);
        let mut first = 1;
        while first <= last {
            let end = last.min(first + per_run * AT_ONCE as u32 - 1);
            let mut spans: Vec<Span> = (first..=end)
                .step_by(per_run as usize)
                .map(|page| Span {
                    file,
                    at: base.page_size.offset_of(PageNo(page)),
                    length: (end - page + 1).min(per_run) as usize * size,
                })
                .collect();
            spans.push(Span {
                file: File::Sums(base.name),
                at: u64::from(first - 1) * SUM_BYTES as u64,
                length: (end - first + 1) as usize * SUM_BYTES,
            });
            let mut read = self.pages.read_whole_many(&spans)?;
            let sums = read.pop().expect("as many answers as spans");
            for (bytes, span) in read.iter().zip(&spans) {
                let images = (span.at / size as u64) as usize;
                for (n, image) in bytes.chunks_exact(size).enumerate() {
                    let page = PageNo((images + n) as u32 + 1);
                    if self.is_in_base(page) {
                        let at = (page.0 - first) as usize * SUM_BYTES;
                        let sum = page_checksum(image);
                        if sum != sums[at..at + SUM_BYTES] {
                            let place = format!("{file} at byte {}", base.page_size.offset_of(page));
                            return Err(Error::corrupt(place, "its checksum does not fit"));
                        }
                        self.keep_sum(page, sum);
                        self.copied += 1;
                    }
                }
                self.write(span.at, bytes)?;
            }
            (self.progress)(self.copied)?;
            first = end + 1;
        }
        Ok(())
    }

    /// The pages that the entries in the head have changed.
    fn of_window(&self) -> impl Iterator<Item = PageNo> {
        let count = self.snapshot.page_count();
        self.snapshot.head.window.pages().into_iter().filter(move |page| page.0 <= count)
    }

    fn is_in_window(&self, page: PageNo) -> bool {
        matches!(self.snapshot.source_of(page), Some(PageSource::Window(_)))
    }

    /// Copies what is in the head. These are few pages.
    fn copy_window(&mut self) -> Result<()> {
        for page in self.of_window().collect::<Vec<_>>() {
            let image = self.pages.read(self.snapshot, page)?;
            self.keep_sum(page, page_checksum(&image));
            self.copied += 1;
            self.write(self.page_size.offset_of(page), &image)?;
        }
        (self.progress)(self.copied)
    }

    /// Page 1 gets the header of a copy.
    fn finish_page_1(&mut self, what_for: For) -> Result<()> {
        if self.snapshot.page_count() == 0 {
            return Ok(());
        }
        let mut image = self.pages.read(self.snapshot, PageNo(1))?.to_vec();
        let header = header_for(what_for, self.snapshot.head.order(), &image)?;
        image[..HEADER].copy_from_slice(&header);
        self.keep_sum(PageNo(1), page_checksum(&image));
        self.write(0, &image)
    }

    fn is_in_base(&self, page: PageNo) -> bool {
        matches!(self.snapshot.source_of(page), Some(PageSource::Base(_)))
    }

    /// Copies what is in the log, in long runs of it.
    fn copy_log(&mut self, in_log: Vec<InLog>) -> Result<()> {
        let mut rest = &in_log[..];
        while !rest.is_empty() {
            let (mut spans, mut runs) = (Vec::new(), Vec::new());
            while spans.len() < AT_ONCE && !rest.is_empty() {
                let (span, pages) = self.next_run(rest);
                let (run, behind) = rest.split_at(pages);
                spans.push(span);
                runs.push(run);
                rest = behind;
            }
            let read = self.pages.read_whole_many(&spans)?;
            let (pages, page_size) = (self.pages, self.page_size);
            let items: Vec<_> = read.iter().zip(&spans).zip(runs).collect();
            let take =
                |((bytes, span), run): &((&Vec<u8>, &Span), &[InLog])| take_run(pages, page_size, bytes, span, run);
            // Checksums take as long as reading and writing do.
            let is_much = read.iter().map(Vec::len).sum::<usize>() > RUN;
            for items in items.chunks(IN_PARALLEL) {
                let taken = if is_much { in_parallel(items, take) } else { items.iter().map(take).collect() };
                for taken in taken {
                    self.put(taken?)?;
                }
            }
            self.write_waiting()?;
            (self.progress)(self.copied)?;
        }
        Ok(())
    }

    /// The run that begins with the first of `rest`, and how many pages it brings.
    fn next_run(&self, rest: &[InLog]) -> (Span, usize) {
        let (first, _) = rest[0];
        let (begin, mut end) = (first.offset(), first.offset() + first.length() as u64);
        let goes_on = |entry: &PageEntry, end: u64| {
            entry.segment() == first.segment()
                && entry.offset() <= end + GAP
                && entry.offset() + entry.length() as u64 <= begin + RUN as u64
        };
        let mut pages = 1;
        while let Some((entry, _)) = rest.get(pages)
            && goes_on(entry, end)
        {
            end = end.max(entry.offset() + entry.length() as u64);
            pages += 1;
        }
        let file = File::Segment(self.pages.segments.name(first.segment()));
        (Span { file, at: begin, length: (end - begin) as usize }, pages)
    }

    fn put(&mut self, Taken { pages, images }: Taken) -> Result<()> {
        let size = self.page_size.bytes();
        for ((page, sum), image) in pages.into_iter().zip(images.chunks_exact(size)) {
            self.keep_sum(page, sum);
            self.copied += 1;
            self.write_soon(self.page_size.offset_of(page), image)?;
        }
        Ok(())
    }

    /// Writes `image` together with its neighbours.
    fn write_soon(&mut self, at: u64, image: &[u8]) -> Result<()> {
        if self.waiting_at + self.waiting.len() as u64 != at || self.waiting.len() >= RUN {
            self.write_waiting()?;
            self.waiting_at = at;
        }
        self.waiting.extend_from_slice(image);
        Ok(())
    }

    fn write_waiting(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let written = if waiting.is_empty() { Ok(()) } else { self.write(self.waiting_at, &waiting) };
        waiting.clear();
        self.waiting = waiting;
        written
    }

    fn keep_sum(&mut self, page: PageNo, sum: [u8; SUM_BYTES]) {
        self.sums[(page.0 - 1) as usize * SUM_BYTES..][..SUM_BYTES].copy_from_slice(&sum);
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let written = self.targets.iter_mut().try_for_each(|target| target.write(at, bytes));
        written.map_err(|error| Error::io("writing a copy of the database in NAME-seawall", error))
    }
}

/// Takes the pages of `run` out of the bytes that its span has.
fn take_run(pages: &Pages, page_size: PageSize, bytes: &[u8], span: &Span, run: &[InLog]) -> Result<Taken> {
    let size = page_size.bytes();
    let mut taken = Taken { pages: Vec::with_capacity(run.len()), images: Vec::with_capacity(run.len() * size) };
    for same in run.chunk_by(|(one, _), (other, _)| one.at() == other.at()) {
        let (entry, _) = same[0];
        let at = (entry.offset() - span.at) as usize;
        let damaged = |why: &str| Error::corrupt(format!("{} at byte {}", span.file, entry.offset()), why);
        let parsed = frame_of(&bytes[at..], Kind::Pages).map_err(|why| damaged(why.0))?;
        let group = group::decode(parsed.payload).map_err(|why| damaged(why.0))?;
        let is_right = group.owner.database == pages.database
            && group.owner.version == entry.version()
            && group.page_size == page_size
            && frame::length_of(parsed.payload.len()) == usize::from(entry.units()) * UNIT as usize;
        let holds = |(entry, page): &InLog| group.pages.get(usize::from(entry.slot())) == Some(page);
        if !is_right || !same.iter().all(holds) {
            return Err(damaged("it holds other pages than the page map says"));
        }
        for (entry, page) in same {
            let image = &group.images[usize::from(entry.slot()) * size..][..size];
            taken.images.extend_from_slice(image);
            taken.pages.push((*page, page_checksum(image)));
        }
    }
    Ok(taken)
}

/// The header of a copy of this version, whose page 1 is `image`.
pub(crate) fn header_for(what_for: For, version: (Epoch, Version), image: &[u8]) -> Result<[u8; HEADER]> {
    let header: &[u8; HEADER] = image.first_chunk().expect("a page has at least 512 bytes");
    let write_version = match what_for {
        For::Reading => PROTECTED,
        For::Writing => 1,
    };
    match sqlite_header::state_of(header) {
        NameState::Protected | NameState::Plain => Ok(sqlite_header::of_copy(header, version, write_version)),
        _ => Err(Error::corrupt("page 1", "it does not begin as a SQLite database does")),
    }
}
