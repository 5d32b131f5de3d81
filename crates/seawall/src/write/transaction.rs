//! A write transaction: the snapshot that it began on, the pages that it has written since, and the turn, which lets it
//! commit them.

use crate::error::{Error, Result};
use crate::format::head::Upkeep;
use crate::format::ids::{PageNo, PageSize};
use crate::mutation::mistake;
use crate::ports::moment::Moment;
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use crate::read::tip::{FORKED, Tip};
use crate::write::committer::Committer;
use crate::write::encode::{Change, check_size};
use crate::write::overlay::Overlay;
use crate::write::queue::Turn;
use crate::write::stream::{Stream, Streamed, must_be_current};
use std::cell::RefCell;
use std::sync::Arc;

/// A write transaction. It holds the turn to write; dropping it rolls back and never fails. If it was so large that a
/// part of it went to a segment, that is removed.
pub struct Transaction {
    committer: Arc<Committer>,
    snapshot: Arc<Snapshot>,
    turn: Turn,
    /// What it has written last.
    overlay: Overlay,
    /// What did not fit into the overlay. No page is in both.
    stream: Option<Stream>,
    page_count: u32,
    /// When its writer asked to write.
    began: Moment,
    /// The coordinator was not asked since.
    is_unconfirmed: bool,
    /// The commit was tried: whatever came of it, this transaction commits nothing more.
    is_over: bool,
}

impl Transaction {
    pub(crate) fn new(
        committer: Arc<Committer>,
        snapshot: Arc<Snapshot>,
        turn: Turn,
        began: Moment,
        is_unconfirmed: bool,
    ) -> Transaction {
        let page_count = snapshot.page_count();
        let (overlay, stream) = (Overlay::default(), None);
        Transaction { committer, snapshot, turn, overlay, stream, page_count, began, is_unconfirmed, is_over: false }
    }

    /// When its writer asked to write, before it waited for anything.
    pub fn began(&self) -> Moment {
        self.began
    }

    /// When it began, if it began under a lease that its process had kept, without asking the coordinator: then what it
    /// read counts only once it has committed, or, if it writes nothing, once
    /// [`Database::confirm`](crate::Database::confirm) says so. A lease is never proof.
    pub fn unconfirmed(&self) -> Option<Moment> {
        self.is_unconfirmed.then_some(self.began)
    }

    /// What the transaction started from.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The bytes of a page; `None` while the database is empty and nothing was written.
    pub fn page_size(&self) -> Option<PageSize> {
        self.snapshot.page_size().or(self.overlay.page_size())
    }

    /// The size in pages, as far as it was written or truncated.
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// Writes a page, whole.
    pub fn write_page(&mut self, size: PageSize, page: PageNo, bytes: &[u8]) -> Result<()> {
        if self.page_size().is_some_and(|known| known != size) {
            let why = std::io::Error::other(format!("the page size cannot become {} bytes", size.bytes()));
            return Err(Error::io("writing a page", why));
        }
        self.overlay.write(size, page, bytes);
        self.stream.iter_mut().for_each(|stream| stream.streamed.forget(page));
        self.page_count = self.page_count.max(page.0);
        if self.overlay.has_much() { self.relieve(size) } else { Ok(()) }
    }

    /// Writes a batch of the overlay's pages to the transaction's segment, in the background. Does nothing while the
    /// batch before it is on its way, unless the overlay is full: then it waits for that one.
    fn relieve(&mut self, size: PageSize) -> Result<()> {
        let tip = &self.committer.tip;
        must_be_current(tip)?;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let lease = self.turn.lease().expect("a writer has the lease");
                self.stream.insert(Stream::begin(&self.committer, &self.snapshot, lease.sweep, size)?)
            }
        };
        if stream.is_busy() && !self.overlay.is_full() {
            return Ok(());
        }
        check_size(self.overlay.len() + stream.streamed.len())?;
        stream.put(self.overlay.take_batch())
    }

    /// Whether a part of it went to a segment already, because it is large.
    pub fn streams(&self) -> bool {
        self.stream.is_some()
    }

    /// A page as this transaction sees it. What lies between the old end and what was written is zero.
    pub fn read_page(&self, page: PageNo) -> Result<Page> {
        let streamed = self.stream.as_ref().map(|stream| &stream.streamed);
        read_through(&self.overlay, streamed, &self.committer.tip, &self.snapshot, page)
    }

    /// A page as it was when the transaction began; empty where there was none.
    pub fn read_committed(&self, page: PageNo) -> Result<Page> {
        let is_there = page.0 <= self.snapshot.page_count();
        if is_there { self.committer.tip.read_page(&self.snapshot, page) } else { Ok(Page(Arc::default())) }
    }

    /// A page as it was when the transaction began, if it is in memory. Reads nothing.
    pub fn committed_at_hand(&self, page: PageNo) -> Option<Page> {
        let is_there = page.0 <= self.snapshot.page_count();
        is_there.then(|| self.committer.tip.pages.at_hand(&self.snapshot, page)).flatten()
    }

    /// Whether nothing but `page` was written.
    pub fn has_written_only(&self, page: PageNo) -> bool {
        let is_alone = self.overlay.page_numbers() == [page] && self.stream.is_none();
        is_alone && self.page_count == self.snapshot.page_count()
    }

    /// Makes the database `pages` pages long; what follows is forgotten.
    pub fn truncate(&mut self, pages: u32) {
        self.overlay.truncate(pages);
        self.stream.iter_mut().for_each(|stream| stream.streamed.truncate(pages));
        self.page_count = pages;
    }

    /// Commits what was written as the next version, `page_count` pages long. When it returns a snapshot, that version
    /// is durable, on the file system and in the order. Whatever it returns, the transaction is over.
    pub fn commit(&mut self, page_count: u32) -> Result<Arc<Snapshot>> {
        let size = self.page_size().ok_or_else(|| Error::corrupt("the transaction", "nothing was written"))?;
        self.commit_as(size, page_count)
    }

    /// Commits as [`Self::commit`] does, and the database's pages become `page_size` bytes long. If the transaction was
    /// written in pages of another size, the commit *repaginates* the database: the bytes of the file stay where they
    /// are, and are divided into pages of the new size. SQLite's VACUUM and its backups need that.
    pub fn commit_as(&mut self, page_size: PageSize, page_count: u32) -> Result<Arc<Snapshot>> {
        assert!(!self.is_over, "a transaction commits once");
        if !self.committer.tip.is_current() {
            return Err(Error::CannotOpen(FORKED.into()));
        }
        self.is_over = true;
        if self.page_size().is_some_and(|written| written != page_size) {
            return self.commit_repaginated(page_size, page_count);
        }
        self.truncate(page_count);
        let stream = self.stream.take().map(|stream| stream.end(&mut self.overlay)).transpose()?;
        let (writer, streamed) = stream.unzip();
        let pages = self.pages_to_commit(streamed.as_ref());
        let groups = streamed.as_ref().map_or_else(Vec::new, Streamed::groups);
        let Transaction { committer, snapshot, turn, overlay, .. } = self;
        let read = |page| read_through(overlay, streamed.as_ref(), &committer.tip, snapshot, page);
        let (upkeep, streamed) = (Upkeep::default(), &groups[..]);
        let change = Change { snapshot, page_size, page_count, pages: &pages, read: &read, streamed, upkeep };
        committer.commit(turn, &change, writer)
    }

    /// Commits every page, because no place that the page map has so far holds a page of the new size.
    fn commit_repaginated(&mut self, page_size: PageSize, page_count: u32) -> Result<Arc<Snapshot>> {
        #[cfg_attr(not(feature = "mutations"), expect(unused_mut, reason = "a mistake changes it"))]
        let mut pages: Vec<PageNo> = (1..=page_count).map(PageNo).collect();
        // What was streamed is only read: no commit frame says where its pages are.
        let stream = self.stream.take().map(|stream| stream.end(&mut Overlay::default())).transpose()?;
        let (writer, streamed) = stream.unzip();
        let streamed = streamed.as_ref();
        let Transaction { committer, snapshot, turn, overlay, page_count: written, .. } = self;
        mistake!(RepaginatedInPart, pages.retain(|page| overlay.has(*page)));
        let old = overlay.page_size().or(snapshot.page_size()).expect("it is another size");
        // An old page that becomes several new ones is read once.
        let last: RefCell<Option<(PageNo, Page)>> = RefCell::default();
        let read_old = |page: PageNo| -> Result<Page> {
            match &*last.borrow() {
                Some((known, image)) if *known == page => return Ok(image.clone()),
                _ => {}
            }
            let image = read_through(overlay, streamed, &committer.tip, snapshot, page)?;
            *last.borrow_mut() = Some((page, image.clone()));
            Ok(image)
        };
        let read = |page: PageNo| -> Result<Page> {
            let mut image = vec![0; page_size.bytes()];
            let mut done = 0;
            while done < image.len() {
                let (page, within) = old.place_of(page_size.offset_of(page) + done as u64);
                let Some(page) = page.filter(|page| page.0 <= *written) else { break };
                let length = (old.bytes() - within).min(image.len() - done);
                image[done..done + length].copy_from_slice(&read_old(page)?[within..within + length]);
                done += length;
            }
            Ok(Page(image.into()))
        };
        let (pages, read, streamed) = (&pages[..], &read, &[][..]);
        let change = Change { snapshot, page_size, page_count, pages, read, streamed, upkeep: Upkeep::default() };
        committer.commit(turn, &change, writer)
    }

    /// The pages that a commit of this transaction has, rising, without those that were streamed. What the database
    /// grew by is written whole, so that a page never shows what lay there before it was cut off.
    fn pages_to_commit(&self, streamed: Option<&Streamed>) -> Vec<PageNo> {
        let mut pages = self.overlay.page_numbers();
        mistake!(RegrownNotWritten, return pages);
        let is_written =
            |page: &PageNo| self.overlay.has(*page) || streamed.is_some_and(|streamed| streamed.has(*page));
        let grown = (self.snapshot.page_count().saturating_add(1)..=self.page_count).map(PageNo);
        pages.extend(grown.filter(|page| !is_written(page)));
        pages.sort_unstable();
        pages
    }
}

fn read_through(
    overlay: &Overlay,
    streamed: Option<&Streamed>,
    tip: &Tip,
    snapshot: &Snapshot,
    page: PageNo,
) -> Result<Page> {
    if let Some(image) = overlay.read(page) {
        return Ok(image);
    }
    if let Some(image) = streamed.map_or(Ok(None), |streamed| streamed.read(tip, page))? {
        return Ok(image);
    }
    if page.0 <= snapshot.page_count() {
        return tip.read_page(snapshot, page);
    }
    let size = overlay.page_size().or(snapshot.page_size());
    let size = size.ok_or_else(|| Error::corrupt("the database", "it is empty"))?;
    Ok(Page(vec![0; size.bytes()].into()))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Others need not wait until what was streamed is removed.
        self.committer.end_turn(&mut self.turn);
        self.stream = None;
    }
}
