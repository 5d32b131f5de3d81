//! How processes and their threads begin, and how they end.

use super::turns::{Baton, Due, Here, Killed, ME, Thread, me};
use super::{HERE, World};
use crate::chronicle::last_panic;
use crate::event::Event;
use crate::process::{Process, ProcessId};
use seawall::ports::sync::simulated::enter;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The size of each simulated thread's stack, in bytes.
const STACK: usize = 512 << 10;

impl World {
    pub(crate) fn with_process<T>(&self, id: ProcessId, with: impl FnOnce(&mut Process) -> T) -> T {
        with(&mut self.core().processes[id.0])
    }

    /// The process whose thread this is.
    pub(crate) fn my_process(&self) -> ProcessId {
        let me = me();
        self.core().threads[me].process
    }

    /// Starts a process with one thread that does `work`.
    pub(crate) fn start(
        &self,
        make: impl FnOnce(ProcessId) -> Process,
        work: impl FnOnce() + Send + 'static,
    ) -> ProcessId {
        let id = {
            let mut core = self.core();
            let id = ProcessId(core.processes.len());
            core.processes.push(make(id));
            id
        };
        self.start_thread(id, Box::new(work), false).expect("threads can be had");
        id
    }

    /// Starts another thread of a process.
    pub(crate) fn start_thread(
        &self,
        process: ProcessId,
        work: Box<dyn FnOnce() + Send>,
        is_background: bool,
    ) -> io::Result<()> {
        let baton = Arc::new(Baton::default());
        let (world, waits) = (self.clone(), baton.clone());
        // It takes its first turn when another thread hands over. By then its number is known.
        let number = Arc::new(Mutex::new(None));
        let mine = number.clone();
        let handle = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            waits.take();
            let me = mine.lock().expect("no panic while locked").expect("it was numbered before its turn");
            ME.set(Some(me));
            HERE.set(Some(world.clone()));
            enter(Arc::new(Here(world.clone())));
            let done = catch_unwind(AssertUnwindSafe(|| {
                world.unless_killed(me);
                work();
            }));
            if let Err(panic) = done
                && !panic.is::<Killed>()
            {
                world.violation(|| format!("panic: {}", last_panic()));
            }
            world.core().threads[me].is_done = true;
            if world.is_over(process) && !world.with_process(process, |process| process.is_dead) {
                world.locks().forget(process);
            }
            let next = world.next();
            world.hand_over(next);
        })?;
        let me = self.add_thread(process, handle.thread().clone());
        *number.lock().expect("no panic while locked") = Some(me);
        let mut core = self.core();
        core.threads[me].baton = baton;
        core.threads[me].is_background = is_background;
        core.handles.push(handle);
        core.schedule(Duration::from_micros(1), Due::Thread(me, 0));
        Ok(())
    }

    pub(super) fn add_thread(&self, process: ProcessId, system: std::thread::Thread) -> usize {
        let thread = Thread {
            process,
            ticket: 0,
            is_background: false,
            woken: false,
            is_done: false,
            baton: Arc::default(),
            system,
        };
        let mut core = self.core();
        core.threads.push(thread);
        core.threads.len() - 1
    }

    /// The process stops. Calls that it sent may still arrive.
    pub(crate) fn kill(&self, process: ProcessId) {
        let mut core = self.core();
        core.processes[process.0].is_dead = true;
        let waiting = |(n, thread): (usize, &Thread)| {
            (thread.process == process && !thread.is_done).then_some((n, thread.ticket))
        };
        let threads: Vec<_> = core.threads.iter().enumerate().filter_map(waiting).collect();
        for (thread, ticket) in threads {
            core.schedule(Duration::ZERO, Due::Thread(thread, ticket));
        }
    }

    /// A recovery left out what is newer than `floor`: no process needs to see it again.
    pub(crate) fn forgets_above(&self, floor: u64) {
        self.core().processes.iter_mut().for_each(|process| process.seen = process.seen.min(floor));
    }

    /// Whether an append or a swap is in flight.
    pub(crate) fn any_writer_is_at_work(&self) -> bool {
        self.core().processes.iter().any(|process| !process.is_dead && process.appending + process.swapping > 0)
    }

    /// Whether a living process has not marked yet what failed.
    pub(crate) fn marks_later(&self) -> bool {
        self.core().processes.iter().any(|process| !process.is_dead && process.marks_later > 0)
    }

    /// A process begins to open the database, or has opened it. With `adopts` there is no database yet.
    pub(crate) fn opens(&self, process: ProcessId, adopts: bool) {
        let mut core = self.core();
        core.processes[process.0].is_opening = adopts;
        let at_once = core.processes.iter().filter(|process| process.is_opening && !process.is_dead).count();
        drop(core);
        if adopts && at_once > 1 {
            self.met(Event::AdoptedAtOnce);
        }
    }

    /// Whether a process has ended: all its threads are done, except those that the engine began.
    pub(crate) fn is_over(&self, process: ProcessId) -> bool {
        self.core().threads.iter().all(|thread| thread.process != process || thread.is_done || thread.is_background)
    }

    /// Whether no thread of any process but the director is left.
    fn is_empty(&self) -> bool {
        self.core().threads.iter().skip(1).all(|thread| thread.is_done)
    }

    /// The threads of a process that are not done, for people.
    pub(crate) fn left(&self, process: ProcessId) -> String {
        let core = self.core();
        let of = |(n, thread): (usize, &Thread)| {
            let waits = if core.waiting.iter().any(|(_, waits)| *waits == n) {
                "for another thread"
            } else {
                "for time to pass"
            };
            (thread.process == process && !thread.is_done).then(|| format!("thread {n} waits {waits}"))
        };
        core.threads.iter().enumerate().filter_map(of).collect::<Vec<_>>().join(", ")
    }

    /// Ends every process, and waits until no thread is left.
    pub(crate) fn end(&self) {
        let count = self.core().processes.len();
        for process in 1..count {
            self.kill(ProcessId(process));
        }
        while !self.is_empty() {
            self.sleep(Duration::from_nanos(1));
        }
        self.open_databases().clear();
        let handles = std::mem::take(&mut self.core().handles);
        // Entries of the agenda keep this world alive.
        self.core().agenda.clear();
        for handle in handles {
            handle.join().expect("a simulated thread catches its panics");
        }
        ME.set(None);
        HERE.set(None);
    }
}
