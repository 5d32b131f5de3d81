//! Every remote operation is counted.
//!
//! What the engine's own background thread does is counted apart, because no caller waits for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static IN_BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// The kinds of remote operations in the design's budget (appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A coordinator round trip. `dynamodb`: a request; `fs`: a forced look at the folder, a lock, a publication.
    Coordinator,
    /// A file read.
    Read,
    /// A durable write.
    Append,
    /// Another metadata call: an open, a look-up, a link.
    Metadata,
}

/// How many operations of each kind there have been. Operations that are issued at once count as one, because they are
/// waited for once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Coordinator round trips.
    pub coordinator: u64,
    /// File reads.
    pub reads: u64,
    /// Durable writes.
    pub appends: u64,
    /// Other metadata calls.
    pub metadata: u64,
    /// All operations of the background thread.
    pub background: u64,
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, earlier: Counts) -> Counts {
        Counts {
            coordinator: self.coordinator - earlier.coordinator,
            reads: self.reads - earlier.reads,
            appends: self.appends - earlier.appends,
            metadata: self.metadata - earlier.metadata,
            background: self.background - earlier.background,
        }
    }
}

/// Counts operations, from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    coordinator: AtomicU64,
    reads: AtomicU64,
    appends: AtomicU64,
    metadata: AtomicU64,
    background: AtomicU64,
}

impl Counters {
    /// Counts one operation.
    pub fn count(&self, operation: Operation) {
        let counter = match operation {
            _ if IN_BACKGROUND.get() => &self.background,
            Operation::Coordinator => &self.coordinator,
            Operation::Read => &self.reads,
            Operation::Append => &self.appends,
            Operation::Metadata => &self.metadata,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            coordinator: read(&self.coordinator),
            reads: read(&self.reads),
            appends: read(&self.appends),
            metadata: read(&self.metadata),
            background: read(&self.background),
        }
    }
}

/// From now on this thread's operations count as background.
pub(crate) fn this_thread_runs_in_background() {
    IN_BACKGROUND.set(true);
}
