//! Which process this is. The memory of a forked child is a copy of its parent's. Other threads may have held any lock
//! at the moment of the fork. They do not exist in the child, so such a lock stays locked there for ever.
//!
//! Therefore a process finds what it keeps for itself without a lock ([`PerProcess`]), and a child begins with nothing.
//! What it inherited is never dropped, because it may be half changed.

use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// How many forks lie between this process and the first that counted.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// Whether every fork by way of the C library is counted.
static COUNTED: AtomicBool = AtomicBool::new(false);

/// From now on [`forked`] is called in every child, so that the kernel need not be asked which process this is.
pub fn forks_are_counted() {
    COUNTED.store(true, Relaxed);
}

/// This process is a child that was just forked. May be called where only async-signal-safe functions may.
pub fn forked() {
    FORKS.fetch_add(1, Relaxed);
}

/// How many forks were counted up to this process.
pub fn forks() -> u32 {
    FORKS.load(Relaxed)
}

/// A process: its number, and how many forks were counted up to it, because numbers are used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    id: u32,
    forks: u32,
}

impl Process {
    /// The one that runs this.
    pub fn this() -> Process {
        Process { id: std::process::id(), forks: forks() }
    }

    /// Whether this process runs this. Where forks are counted this does not ask the kernel.
    pub fn is_this(self) -> bool {
        self.forks == forks() && (COUNTED.load(Relaxed) || self.id == std::process::id())
    }
}

/// A value of which each process has its own, made when it first asks. Finding it waits for nothing that a thread of
/// the parent held.
pub struct PerProcess<T: 'static>(ArcSwapOption<Entry<T>>);

struct Entry<T: 'static> {
    process: Process,
    /// Lives for ever: a child must not drop its parent's.
    value: &'static T,
}

#[allow(clippy::new_without_default, reason = "it is for statics")]
impl<T: Default> PerProcess<T> {
    /// No process has one yet.
    pub const fn new() -> PerProcess<T> {
        PerProcess(ArcSwapOption::const_empty())
    }

    /// This process's value.
    pub fn get(&self) -> &'static T {
        loop {
            let entry = self.0.load();
            match &*entry {
                Some(entry) if entry.process.is_this() => return entry.value,
                _ => {
                    let value: &'static T = Box::leak(Box::default());
                    let mine = Arc::new(Entry { process: Process::this(), value });
                    // Another thread may have been first. Then all threads use its value.
                    self.0.compare_and_swap(&entry, Some(mine));
                }
            }
        }
    }
}
