//! Forks, noticed without asking the kernel: whether this is still the process that opened a database is asked at
//! every transaction.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the first that asked. Only forks by way of the C library count; so
/// before anything is written, the engine's own, dearer, check has the last word.
pub(crate) fn count() -> u32 {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which may be done at any moment. Without memory for it nothing is
        // counted, and the dearer check finds out.
        unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
    FORKS.load(Relaxed)
}

unsafe extern "C" fn in_the_child() {
    FORKS.fetch_add(1, Relaxed);
}
