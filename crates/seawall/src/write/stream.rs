//! A large transaction *streams*: what does not fit into its overlay goes to a segment while the transaction goes on, and
//! its commit appends only what is left, the index and the commit frame.
//!
//! The segment is the transaction's own, so that it can be removed whole if nothing comes of the transaction. The pages
//! go there in batches, one at a time, each by a thread that compresses and appends it and ends. While the transaction
//! would have to wait for that, it compresses the next batch itself. Each append is durable when it returns, so all that
//! was streamed is durable before the commit frame is appended.

use super::committer::Committer;
use super::encode::{Frames, PIECE, Piece};
use super::overlay::Overlay;
use super::pack::{Packed, Packer};
use super::segment::Open;
use crate::bounds::bound;
use crate::chores::Chores;
use crate::error::{Error, Result};
use crate::format::entry::{PageEntry, SegmentNo};
use crate::format::group::{GROUP_BYTES, Owner, pages_per_group};
use crate::format::ids::{CommitId, PageNo, PageSize};
use crate::format::mark::Mark;
use crate::format::new_pages::NewGroup;
use crate::mutation::mistake;
use crate::ports::counters::this_thread_runs_in_background;
use crate::ports::sync::{Condvar, Mutex, caught, spawn, unpoisoned};
use crate::read::pages::Page;
use crate::read::snapshot::Snapshot;
use crate::read::tip::{FORKED, Tip};
use std::collections::HashMap;
use std::sync::Arc;

/// So much is written in one go: the bytes of the pages, before compression.
pub(crate) const BATCH: usize = bound(4 << 20, 2 << 10);

/// A transaction's segment, and what is in it.
pub(crate) struct Stream {
    pub(crate) writer: StreamWriter,
    pub(crate) streamed: Streamed,
}

impl Stream {
    /// Makes the segment of a transaction over `snapshot`, whose lease was granted under `sweep`. From now on the
    /// transaction's commit has its id.
    pub(crate) fn begin(committer: &Committer, snapshot: &Snapshot, sweep: u64, page_size: PageSize) -> Result<Stream> {
        let (tip, chores) = (committer.tip.clone(), committer.chores.clone());
        let head = &snapshot.head;
        let commit = CommitId(tip.random()?);
        let owner = Owner { database: head.database, version: head.version.next(), commit };
        let mut open = unpoisoned(committer.segment.lock()).make(&*tip.storage, sweep)?;
        // Each batch has a thread of its own. If each allocated a buffer of its own, the allocator would keep that memory.
        open.keep_memory(PIECE + 2 * GROUP_BYTES);
        let segment = tip.pages.segments.number(open.name);
        let tools = Some(Tools { open, packer: Packer::default() });
        let packer = Packer::default();
        let writer = StreamWriter { tip, chores, owner, page_size, packer, tools, batch: None, failed: None };
        Ok(Stream { writer, streamed: Streamed::new(segment, owner, page_size) })
    }

    /// Whether a batch is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.writer.batch.as_ref().is_some_and(|batch| !batch.is_done())
    }

    /// Writes `pages`, which are rising, in the background, once the batch before them is written. Until then it
    /// compresses what it can of them.
    pub(crate) fn put(&mut self, pages: Vec<(PageNo, Page)>) -> Result<()> {
        let mut groups = pages.chunks(pages_per_group(self.writer.page_size));
        let mut packed = Vec::new();
        while self.is_busy() {
            let Some(group) = groups.next() else { break };
            packed.push(self.writer.pack(group));
        }
        let waited = self.wait();
        // They can be read, whatever became of those before them.
        self.streamed.in_flight.extend(pages.iter().cloned());
        waited?;
        self.writer.put(packed, pages);
        Ok(())
    }

    /// Streams what `overlay` has, but for less than a batch, and waits for it. What is left is the commit's to append,
    /// with the writer.
    pub(crate) fn end(mut self, overlay: &mut Overlay) -> Result<(StreamWriter, Streamed)> {
        while overlay.has_a_batch() {
            self.put(overlay.take_batch())?;
        }
        self.wait()?;
        Ok((self.writer, self.streamed))
    }

    /// Waits until all is written that was put.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let groups = self.writer.wait()?;
        self.streamed.arrived(groups);
        Ok(())
    }
}

/// What a transaction has streamed, and has not written again since.
pub(crate) struct Streamed {
    segment: SegmentNo,
    owner: Owner,
    page_size: PageSize,
    /// What the segment has. A group none of whose pages counts any more has none.
    groups: Vec<NewGroup>,
    /// Which group has a page, and at which slot.
    places: HashMap<PageNo, (u32, u8)>,
    /// The pages of the batch that is on its way.
    in_flight: HashMap<PageNo, Page>,
}

impl Streamed {
    fn new(segment: SegmentNo, owner: Owner, page_size: PageSize) -> Streamed {
        let (groups, places, in_flight) = (Vec::new(), HashMap::new(), HashMap::new());
        Streamed { segment, owner, page_size, groups, places, in_flight }
    }

    /// How many pages there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() + self.in_flight.len()
    }

    pub(crate) fn has(&self, page: PageNo) -> bool {
        self.places.contains_key(&page) || self.in_flight.contains_key(&page)
    }

    pub(crate) fn read(&self, tip: &Tip, page: PageNo) -> Result<Option<Page>> {
        if let Some(image) = self.in_flight.get(&page) {
            return Ok(Some(image.clone()));
        }
        let Some((group, slot)) = self.places.get(&page) else { return Ok(None) };
        let NewGroup { at, units, .. } = self.groups[*group as usize];
        let entry = PageEntry::new(self.owner.version, self.segment, at, units, *slot);
        tip.read_streamed(entry, page, self.page_size).map(Some)
    }

    /// The page was written again, or cut off.
    pub(crate) fn forget(&mut self, page: PageNo) {
        self.in_flight.remove(&page);
        mistake!(StreamedTwice, return);
        let Some((group, slot)) = self.places.remove(&page) else { return };
        let pages = &mut self.groups[group as usize].pages;
        pages[usize::from(slot)] = None;
        if pages.iter().all(Option::is_none) {
            *pages = Vec::new();
        }
    }

    /// Forgets every page after `last`.
    pub(crate) fn truncate(&mut self, last: u32) {
        let behind: Vec<PageNo> =
            self.places.keys().chain(self.in_flight.keys()).copied().filter(|page| page.0 > last).collect();
        behind.into_iter().for_each(|page| self.forget(page));
    }

    /// A batch was written.
    fn arrived(&mut self, groups: Vec<NewGroup>) {
        for mut group in groups {
            let number = u32::try_from(self.groups.len()).expect("fewer groups than units in a segment");
            for (slot, new) in (0..).zip(&mut group.pages) {
                match new {
                    Some(new) if self.in_flight.contains_key(&new.page) => {
                        self.places.insert(new.page, (number, slot));
                    }
                    _ => *new = None,
                }
            }
            if group.pages.iter().any(Option::is_some) {
                self.groups.push(group);
            }
        }
        self.in_flight.clear();
    }

    /// What the commit frame is to say of them.
    pub(crate) fn groups(&self) -> Vec<NewGroup> {
        self.groups.iter().filter(|group| !group.pages.is_empty()).cloned().collect()
    }
}

/// Writes a transaction's own segment. When it is dropped, the segment is cut off and removed.
pub(crate) struct StreamWriter {
    tip: Arc<Tip>,
    chores: Arc<Chores>,
    pub(crate) owner: Owner,
    page_size: PageSize,
    /// The transaction's thread's.
    packer: Packer,
    /// `None` while a batch is on its way.
    tools: Option<Tools>,
    batch: Option<Arc<Batch>>,
    /// Nothing more is appended after a failure.
    failed: Option<Error>,
}

/// What a batch is written with.
struct Tools {
    open: Open,
    packer: Packer,
}

/// Pages on their way to the segment.
struct Batch {
    owner: Owner,
    page_size: PageSize,
    /// Rising.
    pages: Vec<(PageNo, Page)>,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The first groups, which are compressed already.
    packed: Vec<Packed>,
    tools: Option<Tools>,
    written: Option<Result<Vec<NewGroup>>>,
}

impl Batch {
    fn is_done(&self) -> bool {
        unpoisoned(self.state.lock()).written.is_some()
    }

    /// Writes the batch. The tools are given back, unless this panics.
    fn run(&self) {
        let mut state = unpoisoned(self.state.lock());
        let (packed, tools) = (std::mem::take(&mut state.packed), state.tools.take());
        drop(state);
        let mut tools = tools.expect("a batch is written once");
        let written = caught(|| self.write(packed, &mut tools)).unwrap_or_else(|panic| Err(failed(panic)));
        let mut state = unpoisoned(self.state.lock());
        (state.tools, state.written) = (Some(tools), Some(written));
        drop(state);
        self.ended.notify_all();
    }

    fn write(&self, packed: Vec<Packed>, tools: &mut Tools) -> Result<Vec<NewGroup>> {
        let Tools { open, packer } = tools;
        let rest = self.pages.chunks(pages_per_group(self.page_size)).skip(packed.len());
        let rest = rest.map(|group| packer.group(&self.owner, self.page_size, group));
        let (mut groups, mut written) = (packed.into_iter().chain(rest), Vec::new());
        let appended = open.append(0, &mut Vec::new(), |frames: &mut Frames| {
            groups.by_ref().try_for_each(|group| group.put(frames).map(|group| written.push(group)))?;
            Ok(Piece::Last { encoded: (), if_lost: None })
        });
        appended.map_err(|(error, _)| error)?;
        drop(groups);
        Ok(written)
    }
}

impl StreamWriter {
    fn pack(&mut self, group: &[(PageNo, Page)]) -> Packed {
        self.packer.group(&self.owner, self.page_size, group)
    }

    /// Writes `pages`, whose first groups are `packed`.
    fn put(&mut self, packed: Vec<Packed>, pages: Vec<(PageNo, Page)>) {
        let state = Mutex::new(State { packed, tools: self.tools.take(), written: None });
        let (owner, page_size) = (self.owner, self.page_size);
        let batch = Arc::new(Batch { owner, page_size, pages, state, ended: Condvar::default() });
        self.batch = Some(batch.clone());
        let started = {
            let batch = batch.clone();
            spawn("seawall-stream", move || {
                this_thread_runs_in_background();
                batch.run();
            })
        };
        if started.is_err() {
            // No thread can be had: then the transaction waits.
            batch.run();
        }
    }

    fn wait(&mut self) -> Result<Vec<NewGroup>> {
        let mut written = Ok(Vec::new());
        if let Some(batch) = self.batch.take() {
            let mut state = unpoisoned(batch.state.lock());
            while state.written.is_none() {
                state = unpoisoned(batch.ended.wait(state));
            }
            self.tools = state.tools.take();
            written = state.written.take().expect("it was waited for");
        }
        match (&self.failed, written) {
            (Some(error), _) => Err(error.clone()),
            (None, Err(error)) => {
                self.failed = Some(error.clone());
                Err(error)
            }
            (None, written) => written,
        }
    }

    /// Appends the end of the commit: what is left of its pages, the index and the commit frame. All that was put before
    /// is written. If this fails, `lost` has the mark that is owed; after an error with what was encoded, all of it may
    /// arrive. A panic is such an error, too.
    pub(crate) fn append_end<T>(
        &mut self,
        lost: &mut Vec<Mark>,
        mut encode: impl FnMut(&mut Packer, &mut Frames) -> Result<Piece<T>>,
    ) -> Result<T, (Error, Option<T>)> {
        let Tools { open, .. } = self.tools.as_mut().expect("no batch is on its way");
        let append = || open.append(0, lost, |frames| encode(&mut self.packer, frames));
        caught(append).unwrap_or_else(|panic| Err((failed(panic), None)))
    }

    /// The commit frame is appended: from now on its outcome says what becomes of the segment.
    pub(crate) fn into_open(mut self) -> Open {
        self.tools.take().expect("no batch is on its way").open
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // After a fork the segment is the parent's. A process that panics leaves it to a garbage collection.
        if !self.tip.is_current() || std::thread::panicking() {
            return;
        }
        // A failure was reported, or it does not matter any more.
        let _ = self.wait();
        mistake!(StreamLeftBehind, return);
        if let Some(Tools { open, .. }) = self.tools.take() {
            self.chores.report(open.discard(&*self.tip.storage));
        }
    }
}

/// The error of a thread that panicked.
fn failed(panic: String) -> Error {
    Error::io("streaming a transaction", std::io::Error::other(format!("a thread failed: {panic}")))
}

/// The process in which a transaction streams is the one that began it.
pub(crate) fn must_be_current(tip: &Tip) -> Result<()> {
    if tip.is_current() { Ok(()) } else { Err(Error::CannotOpen(FORKED.into())) }
}
