//! Reading pages and frames: from the cache, else from a segment or the base, checked on the way in.

use crate::error::{Error, Result};
use crate::format::codec::Malformed;
use crate::format::delta;
use crate::format::entry::{PageEntry, SegmentNo, Segments};
use crate::format::frame::{self, Frame, Kind, UNIT};
use crate::format::group;
use crate::format::head::BaseRef;
use crate::format::ids::{BaseName, DatabaseId, Digest, PageNo, PageSize, Version};
use crate::format::new_pages::page_checksum;
use crate::format::sqlite_header;
use crate::mutation::mistake;
use crate::ports::storage::{File, Span, Storage};
use crate::read::ahead::{RUN, Scans};
use crate::read::snapshot::{PageSource, Snapshot};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

/// A page's image, shared.
#[derive(Clone, Debug)]
pub struct Page(pub(crate) Arc<[u8]>);

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The whole location, and the page that was found there. Names are never used twice, so the content of a key never
/// changes. A page map that is wrong about a place finds nothing in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Segment { entry: PageEntry, page: PageNo },
    Base { base: BaseName, page: PageNo },
    Window { entry: Digest, page: PageNo },
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Page> for ByBytes {
    fn weight(&self, _: &Key, page: &Page) -> u64 {
        page.len() as u64 + 64
    }
}

/// A checksum in a base's `.sums`.
pub(crate) const SUM_BYTES: usize = 8;
/// The shortest retention. What an older snapshot lacks was garbage-collected, not lost.
const RETENTION_MINIMUM_SECONDS: u64 = 15 * 60;
/// No page is smaller. This bounds how many the cache can hold.
const SMALLEST_PAGE: u64 = 512;

/// A database's pages, as this process knows them.
pub(crate) struct Pages {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) segments: Segments,
    pub(crate) database: DatabaseId,
    cache: Cache<Key, Page, ByBytes>,
    scans: Scans,
}

impl Pages {
    pub(crate) fn new(storage: Arc<dyn Storage>, database: DatabaseId, cache_bytes: usize) -> Pages {
        let items = (cache_bytes as u64 / (8 * SMALLEST_PAGE)).max(16) as usize;
        let cache = Cache::with_weighter(items, cache_bytes as u64, ByBytes);
        Pages { storage, segments: Segments::default(), database, cache, scans: Scans::new(cache_bytes) }
    }

    /// The image of `page` in `snapshot`, which has it.
    pub(crate) fn read(&self, snapshot: &Snapshot, page: PageNo) -> Result<Page> {
        let place = snapshot.source_of(page).ok_or_else(|| {
            Error::corrupt(
                format!("the page map of version {}", snapshot.version().0),
                format!("page {} is missing", page.0),
            )
        })?;
        let read = self.read_at(snapshot, page, place).map_err(|error| self.explain(error, snapshot))?;
        if Some(read.len()) != snapshot.page_size().map(PageSize::bytes) {
            let why = format!("page {} has {} bytes there, which is not its size", page.0, read.len());
            return Err(Error::corrupt(format!("the page map of version {}", snapshot.version().0), why));
        }
        Ok(read)
    }

    fn read_at(&self, snapshot: &Snapshot, page: PageNo, place: PageSource) -> Result<Page, ReadError> {
        match place {
            PageSource::Segment(entry) => self.read_from_segment(entry, page, snapshot.page_size()),
            PageSource::Base(base) => self.read_from_base(base, page),
            PageSource::Window(at) => self.read_from_window(snapshot, page, at, &mut HashMap::new()),
        }
    }

    /// The image of `page`, which a transaction has streamed to the place that `entry` names.
    pub(crate) fn read_streamed(&self, entry: PageEntry, page: PageNo, page_size: PageSize) -> Result<Page> {
        self.read_from_segment(entry, page, Some(page_size)).map_err(|error| match error {
            // Only a garbage collection removes it, and that has fenced the transaction before.
            ReadError::Missing(_) => Error::Superseded { version: entry.version() },
            error => error.into(),
        })
    }

    /// The image that the entry `at` of the window makes of `page`. All images that this entry makes go into the cache.
    /// What they are made of is read in the same way, one entry after the other down to the fold.
    /// `made` has what was made for this read already, however small the cache is: no entry is applied twice.
    fn read_from_window(
        &self,
        snapshot: &Snapshot,
        page: PageNo,
        at: usize,
        made: &mut HashMap<(usize, PageNo), Page>,
    ) -> Result<Page, ReadError> {
        let (entry, digest) = &snapshot.head.window.entries()[at];
        if let Some(image) = made.get(&(at, page)) {
            return Ok(image.clone());
        }
        if let Some(cached) = self.cache.get(&Key::Window { entry: *digest, page }) {
            return Ok(cached);
        }
        let malformed = |why| ReadError::Window(snapshot.version_of_entry(at), why);
        let size = snapshot.page_size().map(PageSize::bytes).ok_or(malformed("it has no page size"))?;
        let mut old = Vec::new();
        for changed in entry.pages.iter().filter(|changed| changed.has_old) {
            let page = changed.page;
            let place = snapshot.source_before(page, at).ok_or(malformed("it changes a page that was not there"))?;
            let image = match place {
                PageSource::Window(at) => self.read_from_window(snapshot, page, at, made)?,
                place => self.read_at(snapshot, page, place)?,
            };
            if image.len() != size {
                return Err(malformed("it changes a page of another size"));
            }
            push_as_delta(&mut old, page, &image);
        }
        let new = delta::apply(&old, &entry.delta, entry.pages.len() * size).map_err(|why| malformed(why.0))?;
        let mut wanted = None;
        for (changed, image) in entry.pages.iter().zip(new.chunks_exact(size)) {
            if page_checksum(image) != changed.checksum {
                return Err(malformed("its delta does not lead to the pages that it names"));
            }
            let image = Page(image.into());
            self.cache.insert(Key::Window { entry: *digest, page: changed.page }, image.clone());
            made.insert((at, changed.page), image.clone());
            if changed.page == page {
                wanted = Some(image);
            }
        }
        wanted.ok_or(malformed("it does not have the page"))
    }

    /// By mistake: what it was at the fold.
    #[cfg(feature = "mutations")]
    pub(crate) fn read_older(&self, snapshot: &Snapshot, page: PageNo) -> Result<Page> {
        match snapshot.source_before(page, 0) {
            Some(place) => Ok(self.read_at(snapshot, page, place)?),
            None => self.read(snapshot, page),
        }
    }

    /// The image of `page` in `snapshot`, if it is at hand: nothing is read for it. The caller is about to put a newer
    /// one in its place, so this use says nothing for keeping it.
    pub(crate) fn at_hand(&self, snapshot: &Snapshot, page: PageNo) -> Option<Page> {
        match snapshot.source_of(page)? {
            PageSource::Segment(entry) => self.cache.peek(&self.key_of(page, entry)),
            PageSource::Base(base) => self.cache.peek(&Key::Base { base: base.name, page }),
            PageSource::Window(at) => {
                let (_, entry) = snapshot.head.window.entries()[at];
                self.cache.peek(&Key::Window { entry, page })
            }
        }
    }

    /// How many bytes the page cache takes.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Remembers the image of `page` in `snapshot`, which this process has just committed.
    pub(crate) fn remember_in(&self, snapshot: &Snapshot, page: PageNo, image: Page) {
        match snapshot.source_of(page) {
            Some(PageSource::Segment(entry)) => self.keep(self.key_of(page, entry), image),
            Some(PageSource::Window(at)) => {
                let (_, entry) = snapshot.head.window.entries()[at];
                let mut as_read = Vec::new();
                push_as_delta(&mut as_read, page, &image);
                let image = if as_read[..] == image[..] { image } else { Page(as_read.into()) };
                self.keep(Key::Window { entry, page }, image);
            }
            // A page that the commit did not change.
            _ => {}
        }
    }

    /// Remembers the image of a page that takes the place of an older one. Each commit gives its pages new keys. To a
    /// cache these are keys that were never used, which it gives up first, before the old ones that nobody will ask for
    /// any more. So this counts as a use.
    fn keep(&self, key: Key, image: Page) {
        self.cache.insert(key, image);
        self.cache.get(&key);
    }

    /// Remembers a page that a fold carries, at its new place.
    pub(crate) fn remember_carried(&self, page: PageNo, entry: PageEntry, image: Page) {
        self.keep(self.key_of(page, entry), image);
    }

    /// Remembers a page that was read.
    pub(crate) fn remember(&self, page: PageNo, entry: PageEntry, image: Page) {
        self.cache.insert(self.key_of(page, entry), image);
    }

    /// Reads the group that has `page`; and if that goes on with a scan, those behind it into the cache.
    fn read_from_segment(
        &self,
        entry: PageEntry,
        page: PageNo,
        page_size: Option<PageSize>,
    ) -> Result<Page, ReadError> {
        if let Some(cached) = self.cache.get(&self.key_of(page, entry)) {
            return Ok(cached);
        }
        let file = File::Segment(self.segments.name(entry.segment()));
        let page_bytes = page_size.map_or(SMALLEST_PAGE as usize, PageSize::bytes);
        let ahead = self.scans.in_segment(&entry, page_bytes);
        let bytes = self.read_on(Span { file, at: entry.offset(), length: ahead.bytes }, entry.length())?;
        let damaged = |why: Malformed| ReadError::Damaged(file, entry.offset(), why);
        let frame = frame_of(&bytes[..entry.length()], Kind::Pages).map_err(damaged)?;
        let group = self.take_in_group(&frame, entry.segment(), entry.at()).map_err(damaged)?;
        let slot = usize::from(entry.slot());
        let is_whole = frame.length == entry.length() && group.owner.version == entry.version();
        if !is_whole || group.pages.get(slot) != Some(&page) {
            return Err(damaged(Malformed("it holds other pages than the page map says")));
        }
        let (mut end, mut taken) = (entry.length(), group.pages.len() as u32);
        // What is damaged there, or cut off, is reported when it is read itself.
        while taken < ahead.pages
            && let Ok(frame) = frame::parse(bytes.get(end..).unwrap_or_default())
        {
            if frame.kind == Kind::Pages {
                let at = entry.at() + (end as u64 / UNIT) as u32;
                let Ok(group) = self.take_in_group(&frame, entry.segment(), at) else { break };
                taken += group.pages.len() as u32;
            }
            end += frame.length;
        }
        self.scans.was_read(entry.segment(), entry.offset() + end as u64, end, taken);
        Ok(Page(image_of(&group, slot).into()))
    }

    /// Reads a long span in runs, all at once: as much of it as is there, but no less than `least`.
    fn read_on(&self, span: Span, least: usize) -> Result<Vec<u8>, ReadError> {
        if span.length == least {
            return self.read_whole(span);
        }
        may_be_read(&span)?;
        let run = |begin: usize| Span { at: span.at + begin as u64, length: RUN.min(span.length - begin), ..span };
        let spans: Vec<Span> = (0..span.length).step_by(RUN).map(run).collect();
        let mut bytes = Vec::new();
        for (read, span) in self.storage.read_many(&spans).into_iter().zip(&spans) {
            match read {
                Ok(run) => bytes.extend_from_slice(&run),
                Err(_) if bytes.len() >= least => break,
                Err(error) => return Err(whole(Err(error), *span).expect_err("it failed")),
            }
            if !bytes.len().is_multiple_of(RUN) {
                break;
            }
        }
        if bytes.len() < least { Err(ReadError::Short(span.file, span.at)) } else { Ok(bytes) }
    }

    /// The whole location.
    fn key_of(&self, page: PageNo, entry: PageEntry) -> Key {
        mistake!(CacheWithoutN, return self.key_without_n(entry));
        mistake!(CacheByPage, return Key::Segment { entry: PageEntry::new(Version(1), SegmentNo(0), 0, 1, 0), page });
        Key::Segment { entry, page }
    }

    #[cfg(feature = "mutations")]
    fn key_without_n(&self, entry: PageEntry) -> Key {
        let first = crate::format::ids::SegmentName { n: 0, ..self.segments.name(entry.segment()) };
        let entry = PageEntry::new(Version(1), self.segments.number(first), entry.at(), 1, entry.slot());
        Key::Segment { entry, page: PageNo(1) }
    }

    /// Puts every page of a group into the cache: they were read, and they are neighbours.
    pub(crate) fn take_in_group(
        &self,
        frame: &Frame<'_>,
        segment: SegmentNo,
        at: u32,
    ) -> Result<group::Group, Malformed> {
        let group = group::decode(frame.payload)?;
        if group.owner.database != self.database {
            return Err(Malformed("it is of another database"));
        }
        let version = group.owner.version;
        if version == Version(0) || version > Version::MAX {
            return Err(Malformed("its version is impossible"));
        }
        let units = u16::try_from(frame.length as u64 / UNIT).map_err(|_| Malformed("it is longer than any group"))?;
        for (slot, page) in group.pages.iter().enumerate() {
            let entry = PageEntry::new(version, segment, at, units, slot as u8);
            self.remember(*page, entry, Page(image_of(&group, slot).into()));
        }
        Ok(group)
    }

    fn read_from_base(&self, base: BaseRef, page: PageNo) -> Result<Page, ReadError> {
        let key = Key::Base { base: base.name, page };
        if let Some(cached) = self.cache.get(&key) {
            return Ok(cached);
        }
        match self.scans.in_base(&base, page) {
            1 => self.read_on_from_base(base, page, 1),
            ahead => match self.read_on_from_base(base, page, ahead) {
                // What is missing behind the page that was asked for is reported when it is read itself.
                Err(ReadError::Short(..)) => self.read_on_from_base(base, page, 1),
                read => read,
            },
        }
    }

    /// Reads `ahead` pages, from `page` on, into the cache; gives the first.
    fn read_on_from_base(&self, base: BaseRef, page: PageNo, ahead: u32) -> Result<Page, ReadError> {
        let (size, per_read) = (base.page_size.bytes(), (RUN / base.page_size.bytes()) as u32);
        let file = File::Base(base.name);
        let mut spans: Vec<Span> = (0..ahead)
            .step_by(per_read as usize)
            .map(|first| Span {
                file,
                at: base.page_size.offset_of(PageNo(page.0 + first)),
                length: (ahead - first).min(per_read) as usize * size,
            })
            .collect();
        let sums = File::Sums(base.name);
        spans.push(Span {
            file: sums,
            at: u64::from(page.0 - 1) * SUM_BYTES as u64,
            length: ahead as usize * SUM_BYTES,
        });
        let mut read = self.read_whole_many(&spans)?;
        let sums = read.pop().expect("as many answers as spans");
        let images = read.iter().flat_map(|bytes| bytes.chunks_exact(size));
        let mut first = None;
        for (n, (image, sum)) in images.zip(sums.chunks_exact(SUM_BYTES)).enumerate() {
            let this = PageNo(page.0 + n as u32);
            if page_checksum(image) != sum {
                let at = base.page_size.offset_of(this);
                // Only the page that was asked for matters now; a damaged one that is read ahead is reported when it is
                // read itself.
                if n == 0 {
                    return Err(ReadError::Damaged(file, at, Malformed("its checksum does not fit")));
                } else {
                    break;
                }
            }
            let image = Page(image.into());
            self.cache.insert(Key::Base { base: base.name, page: this }, image.clone());
            first.get_or_insert(image);
        }
        Ok(first.expect("at least one page was read"))
    }

    pub(crate) fn read_whole(&self, span: Span) -> Result<Vec<u8>, ReadError> {
        may_be_read(&span)?;
        whole(self.storage.read(span), span)
    }

    pub(crate) fn read_whole_many(&self, spans: &[Span]) -> Result<Vec<Vec<u8>>, ReadError> {
        spans.iter().try_for_each(may_be_read)?;
        self.read_each(spans).into_iter().collect()
    }

    /// Reads all these spans at once, with an answer for each. None is longer than a frame may be.
    pub(crate) fn read_each(&self, spans: &[Span]) -> Vec<Result<Vec<u8>, ReadError>> {
        self.storage.read_many(spans).into_iter().zip(spans).map(|(read, span)| whole(read, *span)).collect()
    }

    /// A missing file is damage, unless the snapshot is so old that garbage collection may have removed it.
    fn explain(&self, error: ReadError, snapshot: &Snapshot) -> Error {
        let age = snapshot.age(self.storage.now());
        match error {
            ReadError::Missing(_) if age.as_secs() >= RETENTION_MINIMUM_SECONDS => {
                Error::SnapshotTooOld { version: snapshot.version(), age }
            }
            error => error.into(),
        }
    }
}

/// Adds `image` to old or new images, as a delta sees it.
pub(crate) fn push_as_delta(images: &mut Vec<u8>, page: PageNo, image: &[u8]) {
    let begin = images.len();
    images.extend_from_slice(image);
    mistake!(PageOneAsIs, return);
    if page == PageNo(1) {
        sqlite_header::as_delta(&mut images[begin..]);
    }
}

fn image_of(group: &group::Group, slot: usize) -> &[u8] {
    &group.images[slot * group.page_size.bytes()..][..group.page_size.bytes()]
}

pub(crate) fn frame_of(bytes: &[u8], kind: Kind) -> Result<Frame<'_>, Malformed> {
    let frame = frame::parse(bytes)?;
    if frame.kind == kind { Ok(frame) } else { Err(Malformed("a frame of another kind lies there")) }
}

/// A length comes from a record that can contain anything, and a sparse file can really be that long. Therefore nothing
/// longer than a frame is read.
fn may_be_read(span: &Span) -> Result<(), ReadError> {
    // The pages of a small commit come along with its frame.
    if span.length <= frame::HEADER + frame::MAX_PAYLOAD + RUN {
        return Ok(());
    }
    Err(ReadError::Damaged(span.file, span.at, Malformed("what is to be read there is longer than any frame")))
}

fn whole(read: io::Result<Vec<u8>>, span: Span) -> Result<Vec<u8>, ReadError> {
    match read {
        Ok(bytes) if bytes.len() == span.length => Ok(bytes),
        Ok(_) => Err(ReadError::Short(span.file, span.at)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::Missing(span.file)),
        Err(error) => Err(ReadError::Failed(span.file, error)),
    }
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0} is missing")]
    Missing(File),
    #[error("{0} ends before byte {1} and what must follow")]
    Short(File, u64),
    #[error("{0} at byte {1}: {2}")]
    Damaged(File, u64, Malformed),
    #[error("the entry of version {v} in the head: {1}", v = .0.0)]
    Window(Version, &'static str),
    #[error("{0}: {1}")]
    Failed(File, io::Error),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::Missing(file) => Error::corrupt(file, "it is missing"),
            ReadError::Short(file, at) => Error::corrupt(format!("{file} at byte {at}"), "it ends too early"),
            ReadError::Damaged(file, at, why) => Error::corrupt(format!("{file} at byte {at}"), why),
            ReadError::Window(version, why) => {
                Error::corrupt(format!("the entry of version {} in the head", version.0), why)
            }
            ReadError::Failed(file, cause) => Error::io(format!("reading {file}"), cause),
        }
    }
}
