//! The committer: what this process writes a database with.

use super::ahead::WritingRoutes;
use super::background::{Asked, chores_of};
use super::begin::Watch;
use super::pack::Packer;
use super::queue::Queue;
use super::segment::SegmentWriter;
use super::settle::Unsettled;
use crate::chores::{Chore, Chores};
use crate::error::Result;
use crate::format::ids::{Epoch, Version};
use crate::mutation::mistake;
use crate::options::{Freshness, Options};
use crate::ports::sync::{Mutex, caught};
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What one process writes one database with: its queue of writers, its segment, and what it has not settled yet.
pub(crate) struct Committer {
    pub(crate) tip: Arc<Tip>,
    /// A lease's length.
    pub(crate) lease: Duration,
    /// Whether small commits ride in the head.
    pub(crate) inline: bool,
    pub(crate) queue: Arc<Queue>,
    pub(crate) segment: Mutex<SegmentWriter>,
    /// Keeps its working memory. Only the writer whose turn it is compresses pages.
    pub(crate) packer: std::sync::Mutex<Packer>,
    pub(crate) unsettled: Unsettled,
    /// The newest head that is durable, as far as this process has seen to that.
    pub(super) durable: Mutex<(Epoch, Version)>,
    /// Who has the lease that this process waits for.
    pub(super) watch: Mutex<Watch>,
    pub(crate) asked: Asked,
    pub(crate) writing_routes: WritingRoutes,
    pub(crate) chores: Arc<Chores>,
}

impl Committer {
    /// `more` are chores that come after the committer's own.
    pub(crate) fn new(
        tip: Arc<Tip>,
        options: &Options,
        more: impl FnOnce(&Weak<Committer>) -> Vec<Box<dyn Chore>>,
    ) -> Arc<Committer> {
        Arc::new_cyclic(|committer| Committer {
            chores: Chores::new(tip.storage.clone(), chores_of(committer).into_iter().chain(more(committer)).collect()),
            tip,
            lease: options.lease,
            inline: options.inline,
            queue: Arc::default(),
            segment: Mutex::default(),
            packer: std::sync::Mutex::default(),
            unsettled: Unsettled::default(),
            durable: Mutex::default(),
            watch: Mutex::new(Watch::of(options.lease)),
            asked: Asked::default(),
            writing_routes: WritingRoutes::default(),
        })
    }

    /// A snapshot that is as new as `freshness` demands. It waits at most `timeout` for the outcome of an earlier
    /// commit of this process, for no reader may read past that.
    pub(crate) fn snapshot(&self, freshness: Freshness, timeout: Duration) -> Result<Arc<Snapshot>> {
        self.tip.check_origin()?;
        mistake!(ReadersDoNotSettle, return self.tip.snapshot(freshness));
        self.settle(timeout)?;
        self.tip.snapshot(freshness)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // In a child after a fork there is no thread, and a lock may have been held at that moment.
        if !self.tip.is_current() {
            return;
        }
        // Nothing will note what it has committed later, and on `fs` small commits are in a segment only once that is
        // done. A frozen process does nothing more, and a panic on its way is no time for calls that can fail.
        if !std::thread::panicking() && !self.chores.is_closed() {
            let _ = caught(|| self.note_now());
        }
        self.chores.close();
    }
}
