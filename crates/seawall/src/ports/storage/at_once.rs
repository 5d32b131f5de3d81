//! Does the same for several items in parallel, such as reads and look-ups that each wait for a file server.

use crate::ports::threads;
use std::io;
use std::thread::ScopedJoinHandle;

/// The stack of a thread that only reads.
const READER_STACK: usize = 256 << 10;

/// Does `one` for every item, in parallel where each waits for the network.
pub(super) fn at_once<I: Sync, O: Send>(items: &[I], network: bool, one: impl Fn(&I) -> O + Sync) -> Vec<O> {
    if !network || items.len() < 2 {
        return items.iter().map(one).collect();
    }
    beside_one_another(items, READER_STACK, one)
}

/// Does `first` and `second`, in parallel where each waits for the network.
pub(super) fn both<A: Send, B>(network: bool, first: impl Fn() -> A + Sync, second: impl FnOnce() -> B) -> (A, B) {
    if !network {
        return (first(), second());
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(READER_STACK);
        let thread = threads::spawn_scoped(builder, scope, &first);
        let second = second();
        (answer_of(thread, &first), second)
    })
}

/// Does `one` for every item, in parallel: for work that keeps a processor busy.
pub(crate) fn in_parallel<I: Sync, O: Send>(items: &[I], one: impl Fn(&I) -> O + Sync) -> Vec<O> {
    beside_one_another(items, READER_STACK, one)
}

fn beside_one_another<I: Sync, O: Send>(items: &[I], stack: usize, one: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let builder = || std::thread::Builder::new().stack_size(stack);
    let Some((last, others)) = items.split_last() else { return Vec::new() };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            others.iter().map(|item| (item, threads::spawn_scoped(builder(), scope, || one(item)))).collect();
        // This thread does the last one.
        let done = one(last);
        threads.into_iter().map(|(item, thread)| answer_of(thread, || one(item))).chain([done]).collect()
    })
}

/// What the thread has done. If no more threads could be started, it is done here.
fn answer_of<O>(thread: io::Result<ScopedJoinHandle<'_, O>>, here: impl FnOnce() -> O) -> O {
    match thread {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_) => here(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_threads_can_be_had_all_is_done_in_turn() {
        let double = |n: &i32| (n * 2, std::thread::current().id());
        let here = std::thread::current().id();
        // No machine has that much memory for a thread's stack.
        let done = beside_one_another(&[1, 2, 3], usize::MAX >> 18, double);
        assert_eq!(done, [(2, here), (4, here), (6, here)]);
        let done = beside_one_another(&[1, 2, 3], READER_STACK, double);
        assert_eq!(done.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 4, 6]);
        assert_eq!(done.iter().map(|(_, thread)| *thread == here).collect::<Vec<_>>(), [false, false, true]);
    }
}
