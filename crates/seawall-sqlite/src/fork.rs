//! Forks, counted without a system call, because every transaction checks whether this process is still the one that
//! opened the database. Also the work that a child must do immediately after a fork.

use crate::connection::{self, ConnectionsLock};
use crate::host::{self, HostsLock};
use crate::journal::{self, NamesLock};
use crate::unshared::{self, SpellingsLock};
use seawall::ports::process;
use seawall::ports::storage::lease_descriptors;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How many forks lie between this process and the process that called this function first. Only forks through the C
/// library are counted. Therefore the engine makes its own, slower, check before anything is written.
pub(crate) fn count() -> u32 {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        // SAFETY: the handlers may be called at a fork. If there is no memory for them, no fork is counted, and the
        // engine's check finds the fork.
        let registered = unsafe { libc::pthread_atfork(Some(before), Some(in_the_parent), Some(in_the_child)) };
        if registered == 0 {
            process::forks_are_counted();
        }
    }
    process::forks()
}

thread_local! {
    /// The locks of this crate's lists, while this thread forks.
    static LOCKS: Cell<Option<(ConnectionsLock, NamesLock, HostsLock, SpellingsLock)>> = const { Cell::new(None) };
}

/// Locks this crate's lists, so that no other thread is changing one of them while the process is copied. The child
/// goes on using the lists.
unsafe extern "C" fn before() {
    LOCKS.set(Some((
        connection::lock_connections(),
        journal::lock_names(),
        host::lock_hosts(),
        unshared::lock_spellings(),
    )));
}

unsafe extern "C" fn in_the_parent() {
    LOCKS.take();
}

/// Calls only what is safe right after a fork: atomics, the release of a lock, and system calls.
unsafe extern "C" fn in_the_child() {
    process::forked();
    LOCKS.take();
    lease_descriptors().for_each(give_up);
}

/// Closes the child's copy of `descriptor`, a lease file, because the parent's lock must end with the parent. The
/// number stays in use by an eventfd, because an open `File` in this process's memory will close that number later.
fn give_up(descriptor: libc::c_int) {
    // SAFETY: system calls on a descriptor that only the inherited lease file owns. An eventfd needs no file system. It
    // gets the number that was just closed, or a copy of it does.
    unsafe {
        libc::close(descriptor);
        let event = libc::eventfd(0, libc::EFD_CLOEXEC);
        if event >= 0 && event != descriptor {
            libc::dup3(event, descriptor, libc::O_CLOEXEC);
            libc::close(event);
        }
    }
}
