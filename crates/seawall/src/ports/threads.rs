//! Seawall's threads run in another program's process, and signals are the program's. The kernel gives a signal for the
//! process to any thread that does not block it, and a program that blocks SIGTERM in its only thread must find it
//! blocked. Therefore Seawall's threads block all signals except those that a thread causes itself.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// The signals of a thread's own faults. If they were blocked, the kernel would end the process all the same, and the
/// program's handler would not run.
const OWN_FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSYS, Signal::SIGTRAP];

/// Runs `start` with signals blocked in this thread, as they are then in each thread that it starts, from its first
/// moment on.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    /// Puts the mask back, after a panic, too.
    struct Restore(Option<SigSet>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                // A mask that the kernel gave is a mask that it takes.
                let _ = before.thread_set_mask();
            }
        }
    }
    let mut blocked = SigSet::all();
    OWN_FAULTS.into_iter().for_each(|signal| blocked.remove(signal));
    let _restore = Restore(blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok());
    start()
}

/// Starts a thread that is not joined.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    without_signals(|| Builder::new().name(name.into()).spawn(work).map(drop))
}

/// Starts a thread of `scope`.
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    builder: Builder,
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    without_signals(|| builder.spawn_scoped(scope, work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_ours_blocks_all_signals_but_its_own_faults_and_the_caller_keeps_its_mask() {
        let before = SigSet::thread_get_mask().unwrap();
        let mask = std::thread::scope(|scope| {
            spawn_scoped(Builder::new(), scope, || SigSet::thread_get_mask().unwrap()).unwrap().join().unwrap()
        });
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGUSR1] {
            assert!(mask.contains(signal), "{signal}");
        }
        for signal in OWN_FAULTS {
            assert!(!mask.contains(signal), "{signal}");
        }
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}
