//! Virtual time, and the order of threads: many processes on many machines in one program, one thread at a time.
//!
//! Every simulated thread is a thread of the operating system that waits for its turn, so that the engine runs
//! unchanged. One agenda has everything that is due, by virtual time. A thread that begins to wait looks there for the
//! next thread and hands over to it. All randomness comes from one generator. Therefore the same seed makes the same
//! run.

use super::World;
use crate::process::{Process, ProcessId};
use seawall::ports::sync::simulated::Scheduler;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread that began the run. It causes what happens to the others, and nothing happens to it.
pub(super) const DIRECTOR: usize = 0;

thread_local! {
    pub(super) static ME: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The payload with which a killed thread unwinds.
pub(super) struct Killed;

/// The effect of a call at its far end, when it is due.
type Effect = Box<dyn FnOnce(&World) + Send>;

pub(super) enum Due {
    /// A thread continues, if it still waits with this ticket.
    Thread(usize, u64),
    Effect(Effect),
}

/// Ordered by time. Entries of one time come in random order.
pub(super) struct Entry {
    at: Duration,
    order: (u32, u64),
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Lets one thread of the operating system run.
#[derive(Default)]
pub(super) struct Baton(AtomicBool);

pub(super) struct Thread {
    pub(super) process: ProcessId,
    /// Raised whenever the thread continues, which voids every earlier entry that would wake it.
    pub(super) ticket: u64,
    /// The engine began it, and the run does not wait for its end.
    pub(super) is_background: bool,
    /// Another thread woke it.
    pub(super) woken: bool,
    pub(super) is_done: bool,
    pub(super) baton: Arc<Baton>,
    pub(super) system: std::thread::Thread,
}

pub(super) struct Core {
    pub(super) now: Duration,
    pub(super) steps: u64,
    pub(super) entries: u64,
    pub(super) agenda: BinaryHeap<Reverse<Entry>>,
    pub(super) chance: fastrand::Rng,
    pub(super) threads: Vec<Thread>,
    /// The threads that wait to be woken, each with its place.
    pub(super) waiting: Vec<(usize, usize)>,
    pub(super) processes: Vec<Process>,
    pub(super) handles: Vec<JoinHandle<()>>,
}

impl World {
    /// Waits, by the true time.
    pub(crate) fn sleep(&self, time: Duration) {
        let me = me();
        let mut core = self.core();
        let ticket = core.threads[me].ticket;
        core.schedule(time, Due::Thread(me, ticket));
        drop(core);
        self.give_way(me);
    }

    /// `effect` happens after `delay`.
    pub(crate) fn after(&self, delay: Duration, effect: impl FnOnce(&World) + Send + 'static) {
        self.core().schedule(delay, Due::Effect(Box::new(effect)));
    }

    /// Waits for an answer. `ask` gets a reply, and calls it once with the answer and how long that takes to arrive.
    pub(crate) fn ask<T: Send + 'static>(&self, ask: impl FnOnce(Reply<T>)) -> T {
        let me = me();
        let ticket = self.core().threads[me].ticket;
        let answer = Arc::new(Mutex::new(None));
        ask(Reply { answer: answer.clone(), thread: me, ticket });
        self.give_way(me);
        let answer = answer.lock().expect("no panic while locked").take();
        answer.expect("a thread that is woken has its answer")
    }

    /// Hands over to the next thread, and continues when it is this thread's turn again.
    fn give_way(&self, me: usize) {
        let next = self.next();
        if next != me {
            let baton = self.core().threads[me].baton.clone();
            self.hand_over(next);
            baton.take();
        }
        self.unless_killed(me);
    }

    pub(super) fn unless_killed(&self, me: usize) {
        let core = self.core();
        let is_killed = core.processes[core.threads[me].process.0].is_dead;
        drop(core);
        if is_killed && !std::thread::panicking() {
            resume_unwind(Box::new(Killed));
        }
    }

    pub(super) fn hand_over(&self, next: usize) {
        let core = self.core();
        let (baton, system) = (core.threads[next].baton.clone(), core.threads[next].system.clone());
        drop(core);
        baton.0.store(true, Ordering::Release);
        system.unpark();
    }

    /// Runs the effects that are due, until it is a thread's turn.
    pub(super) fn next(&self) -> usize {
        loop {
            let mut core = self.core();
            let Some(Reverse(entry)) = core.agenda.pop() else {
                unreachable!("the director always has an entry in the agenda");
            };
            match entry.due {
                Due::Effect(effect) => {
                    core.now = core.now.max(entry.at);
                    core.steps += 1;
                    drop(core);
                    effect(self);
                }
                Due::Thread(thread, ticket) => {
                    if core.threads[thread].ticket != ticket || core.threads[thread].is_done {
                        continue;
                    }
                    let process = &core.processes[core.threads[thread].process.0];
                    if process.frozen_until > entry.at && !process.is_dead {
                        let thaws_in = process.frozen_until.saturating_sub(core.now);
                        core.schedule(thaws_in, Due::Thread(thread, ticket));
                        continue;
                    }
                    core.now = core.now.max(entry.at);
                    core.steps += 1;
                    core.threads[thread].ticket += 1;
                    core.waiting.retain(|(_, waits)| *waits != thread);
                    return thread;
                }
            }
        }
    }
}

impl Core {
    /// The beginning of time, with the director alone.
    pub(super) fn new(seed: u64) -> Core {
        Core {
            now: Duration::ZERO,
            steps: 0,
            entries: 0,
            agenda: BinaryHeap::new(),
            chance: fastrand::Rng::with_seed(seed),
            threads: Vec::new(),
            waiting: Vec::new(),
            processes: vec![Process::director()],
            handles: Vec::new(),
        }
    }

    pub(super) fn schedule(&mut self, delay: Duration, due: Due) {
        self.entries += 1;
        let order = (self.chance.u32(..), self.entries);
        self.agenda.push(Reverse(Entry { at: self.now + delay, order, due }));
    }
}

impl Baton {
    pub(super) fn take(&self) {
        while !self.0.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// Where an answer goes to.
pub(crate) struct Reply<T> {
    answer: Arc<Mutex<Option<T>>>,
    thread: usize,
    ticket: u64,
}

impl<T> Reply<T> {
    /// Delivers the answer, after `delay`. Only the first answer counts.
    pub(crate) fn answer(&self, world: &World, answer: T, delay: Duration) {
        self.answer.lock().expect("no panic while locked").get_or_insert(answer);
        world.core().schedule(delay, Due::Thread(self.thread, self.ticket));
    }
}

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Reply<T> {
        Reply { answer: self.answer.clone(), thread: self.thread, ticket: self.ticket }
    }
}

/// Whether this thread belongs to a simulated world.
pub(crate) fn is_simulated() -> bool {
    ME.get().is_some()
}

pub(super) fn me() -> usize {
    ME.get().expect("this thread belongs to a simulated world")
}

/// The engine's locks and threads, in a world. A dead process never waits, because it only unwinds.
pub(super) struct Here(pub(super) World);

impl Here {
    fn is_dead(&self) -> bool {
        let core = self.0.core();
        core.processes[core.threads[me()].process.0].is_dead
    }
}

impl Scheduler for Here {
    fn wait(&self, place: usize, patience: Option<Duration>) -> bool {
        if self.is_dead() {
            assert!(!std::thread::panicking(), "a killed process does not wait while it unwinds");
            resume_unwind(Box::new(Killed));
        }
        let me = me();
        let mut core = self.0.core();
        let thread = &mut core.threads[me];
        thread.woken = false;
        let (ticket, process) = (thread.ticket, thread.process);
        core.waiting.push((place, me));
        if let Some(patience) = patience {
            let time = core.processes[process.0].true_time(patience);
            core.schedule(time, Due::Thread(me, ticket));
        }
        drop(core);
        self.0.give_way(me);
        self.0.core().threads[me].woken
    }

    fn wake(&self, place: usize) {
        let mut core = self.0.core();
        let woken: Vec<usize> = core.waiting.iter().filter(|(at, _)| *at == place).map(|(_, thread)| *thread).collect();
        for thread in woken {
            core.threads[thread].woken = true;
            let ticket = core.threads[thread].ticket;
            core.schedule(Duration::from_nanos(100), Due::Thread(thread, ticket));
        }
    }

    fn now(&self) -> Duration {
        let core = self.0.core();
        core.processes[core.threads[me()].process.0].now(core.now).monotonic
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if self.is_dead() {
            return Err(io::Error::other("the process is dead"));
        }
        let process = self.0.my_process();
        self.0.start_thread(process, work, true)
    }
}
