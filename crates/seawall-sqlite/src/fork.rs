//! Forks, noticed without asking the kernel: whether this is still the process that opened a database is asked at every transaction. What a
//! child must do at once is done here.

use crate::host::{self, HostList};
use crate::registry::{self, Lists};
use crate::unshared::{self, Names};
use seawall::ports::process;
use seawall::ports::storage::lease_descriptors;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How many forks lie between this process and the first that asked. Only forks by way of the C library count; so
/// before anything is written, the engine's own, dearer, check has the last word.
pub(crate) fn count() -> u32 {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        // SAFETY: the handlers are functions for this moment. Without memory for them nothing is counted, and the dearer check finds out.
        let registered = unsafe { libc::pthread_atfork(Some(before), Some(in_the_parent), Some(in_the_child)) };
        if registered == 0 {
            process::forks_are_counted();
        }
    }
    process::forks()
}

thread_local! {
    /// This crate's lists, while this thread forks.
    static HELD: Cell<Option<(Lists, HostList, Names)>> = const { Cell::new(None) };
}

/// No other thread is in the middle of changing this crate's lists when the process is copied: the child goes on with them.
unsafe extern "C" fn before() {
    HELD.set(Some((registry::lists(), host::list(), unshared::names())));
}

unsafe extern "C" fn in_the_parent() {
    HELD.take();
}

/// Calls only what may be called at any moment: atomics, a lock's release, and system calls.
unsafe extern "C" fn in_the_child() {
    process::forked();
    HELD.take();
    lease_descriptors().for_each(give_up);
}

/// Closes `descriptor`, a lease file, and puts something harmless in its place: the parent's locks must end with the parent. The number stays
/// taken, for there is a file in this process's memory that will close it.
fn give_up(descriptor: libc::c_int) {
    // SAFETY: system calls on a descriptor that only the inherited lease file has. An eventfd needs no file system; the number that was just
    // closed is free for it, or for its copy.
    unsafe {
        libc::close(descriptor);
        let harmless = libc::eventfd(0, libc::EFD_CLOEXEC);
        if harmless >= 0 && harmless != descriptor {
            libc::dup3(harmless, descriptor, libc::O_CLOEXEC);
            libc::close(harmless);
        }
    }
}
