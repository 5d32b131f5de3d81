//! The descriptors that this process keeps open for later reads and for watches. Their number is bounded for the whole
//! process, no matter how many databases it has open, because the program needs descriptors as well.

use super::File;
use crate::ports::process::PerProcess;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use quick_cache::sync::Cache;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// At most this many segments, bases and checksum files stay open for reading, and no more than an eighth of the
/// descriptors that the process may open, …
const MOST: u64 = 128;
const SHARE: u64 = 8;
/// … but always as many as are read at once.
const LEAST: u64 = 16;
/// At most this many folders are watched for this process. The kernel gives a user 128 queues for all processes
/// together.
const WATCHES: usize = 16;

static OPEN: PerProcess<OpenFiles> = PerProcess::new();
static WATCHED: PerProcess<AtomicUsize> = PerProcess::new();

/// Each open file, with the storage that it belongs to.
struct OpenFiles(Cache<(u64, File), Arc<fs::File>>);

impl Default for OpenFiles {
    fn default() -> OpenFiles {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        OpenFiles(Cache::new((limit / SHARE).clamp(LEAST, MOST) as usize))
    }
}

/// The files of one storage that stay open, as long as there is room. They are closed when this is dropped.
pub(super) struct Kept(u64);

impl Kept {
    pub(super) fn new() -> Kept {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Kept(NEXT.fetch_add(1, Relaxed))
    }

    pub(super) fn get(&self, file: File) -> Option<Arc<fs::File>> {
        OPEN.get().0.get(&(self.0, file))
    }

    pub(super) fn keep(&self, file: File, opened: Arc<fs::File>) {
        OPEN.get().0.insert((self.0, file), opened);
    }

    pub(super) fn remove(&self, file: File) {
        OPEN.get().0.remove(&(self.0, file));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        OPEN.get().0.retain(|(owner, _), _| *owner != self.0);
    }
}

/// Opens. If the process or the machine has no descriptors left, it first closes those that are only kept for later
/// reads.
pub(super) fn with_room<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match open() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            OPEN.get().0.clear();
            open()
        }
        opened => opened,
    }
}

/// The right to one of this process's watches.
pub(super) struct Watching(&'static AtomicUsize);

impl Watching {
    /// `None` if all are taken.
    pub(super) fn begin() -> Option<Watching> {
        let watched = WATCHED.get();
        let one_more = |count| (count < WATCHES).then_some(count + 1);
        watched.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Watching(watched))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
