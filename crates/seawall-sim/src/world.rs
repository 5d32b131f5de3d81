//! Virtual time, and who runs next: many processes on many machines in one program, one thread at a time.
//!
//! Every simulated thread is a thread of the operating system that waits for its turn, so that the engine runs as it is. What is
//! due is in one agenda, by virtual time; whoever waits looks there himself for who is next, and hands over. All chance comes
//! from one generator: the same seed makes the same run.

use crate::chronicle::{Chronicle, Event};
use crate::disk::Disk;
use crate::items::Items;
use crate::locks::Locks;
use crate::names::Names;
use crate::oracle::{Number, Oracle};
use crate::plan::{Plan, Setting};
use crate::process::{Process, ProcessId};
use crate::table::Leases;
use seawall::sync::simulated::{Scheduler, enter};
use seawall::{Database, Version};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread that began the run: it makes things happen to the others, and nothing happens to it.
const DIRECTOR: usize = 0;
/// Of the operating system's stack, for each simulated thread.
const STACK: usize = 512 << 10;

thread_local! {
    static ME: Cell<Option<usize>> = const { Cell::new(None) };
    static HERE: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Things go wrong.
    Trouble,
    /// Nothing goes wrong any more; everybody goes on.
    Quiet,
    /// The head was lost or set back.
    Disaster,
    /// Everybody comes to an end: what is left must come right.
    Calm,
}

/// What a killed thread unwinds with.
struct Killed;

/// What happens at the far end of a call, when it is due.
type Effect = Box<dyn FnOnce(&World) + Send>;

enum Due {
    /// A thread goes on, if it still waits with this ticket.
    Thread(usize, u64),
    Effect(Effect),
}

/// By time; what is due at one time comes in any order.
struct Entry {
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
struct Baton(AtomicBool);

struct Thread {
    process: ProcessId,
    /// Raised whenever the thread goes on: what was to wake it before is void.
    ticket: u64,
    /// The engine began it, and nobody waits for its end.
    is_beside: bool,
    /// Somebody woke it where it waited.
    woken: bool,
    is_done: bool,
    baton: Arc<Baton>,
    system: std::thread::Thread,
}

struct Core {
    now: Duration,
    steps: u64,
    entries: u64,
    agenda: BinaryHeap<Reverse<Entry>>,
    chance: fastrand::Rng,
    threads: Vec<Thread>,
    /// Which threads wait to be woken, and where.
    waiting: Vec<(usize, usize)>,
    processes: Vec<Process>,
    handles: Vec<JoinHandle<()>>,
}

/// A run's state. Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Shared>);

struct Shared {
    core: Mutex<Core>,
    plan: Plan,
    disk: Mutex<Disk>,
    items: Mutex<Items>,
    locks: Mutex<Locks>,
    leases: Leases,
    /// The databases that processes have open, for whoever forks.
    open: Mutex<Vec<(ProcessId, Arc<Database>)>>,
    transactions: AtomicU64,
    /// What each machine's file system client remembers of names.
    names: Vec<Mutex<Names>>,
    phase: Mutex<Phase>,
    oracle: Mutex<Oracle>,
    chronicle: Chronicle,
}

impl World {
    /// A new world; the calling thread directs it.
    pub(crate) fn new(seed: u64, plan: Plan, tells: bool) -> World {
        let director = Process::director();
        let core = Core {
            now: Duration::ZERO,
            steps: 0,
            entries: 0,
            agenda: BinaryHeap::new(),
            chance: fastrand::Rng::with_seed(seed),
            threads: Vec::new(),
            waiting: Vec::new(),
            processes: vec![director],
            handles: Vec::new(),
        };
        let shared = Shared {
            core: Mutex::new(core),
            names: (0..plan.machines).map(|_| Mutex::default()).collect(),
            plan,
            disk: Mutex::default(),
            items: Mutex::default(),
            locks: Mutex::default(),
            leases: Leases::default(),
            open: Mutex::default(),
            transactions: AtomicU64::new(1),
            phase: Mutex::new(Phase::Trouble),
            oracle: Mutex::default(),
            chronicle: Chronicle::new(tells),
        };
        let world = World(Arc::new(shared));
        let me = world.add_thread(ProcessId(0), std::thread::current());
        assert_eq!(me, DIRECTOR, "the director is the first thread");
        ME.set(Some(me));
        HERE.set(Some(world.clone()));
        world
    }

    /// The world that this thread belongs to.
    pub(crate) fn here() -> World {
        HERE.with_borrow(Clone::clone).expect("this thread belongs to a simulated world")
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().expect("no panic while locked")
    }

    pub(crate) fn items(&self) -> MutexGuard<'_, Items> {
        self.0.items.lock().expect("no panic while locked")
    }

    pub(crate) fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.locks.lock().expect("no panic while locked")
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.0.leases
    }

    pub(crate) fn open_databases(&self) -> MutexGuard<'_, Vec<(ProcessId, Arc<Database>)>> {
        self.0.open.lock().expect("no panic while locked")
    }

    /// A number that no other transaction has.
    pub(crate) fn next_transaction(&self) -> Number {
        self.0.transactions.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn names(&self, machine: usize) -> MutexGuard<'_, Names> {
        self.0.names[machine].lock().expect("no panic while locked")
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.tell(|| format!("now comes: {phase:?}"));
        *self.0.phase.lock().expect("no panic while locked") = phase;
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.phase.lock().expect("no panic while locked")
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.phase() == Phase::Calm
    }

    /// Whether the head was lost or set back.
    pub(crate) fn is_disaster_over(&self) -> bool {
        self.plan().disaster.is_some() && self.phase() >= Phase::Disaster
    }

    /// Whether the head is in a table.
    pub(crate) fn is_on_table(&self) -> bool {
        self.plan().setting == Setting::Dynamo
    }

    /// Whether files are behind a network.
    pub(crate) fn is_remote(&self) -> bool {
        self.plan().setting != Setting::Local
    }

    /// How likely a file operation is to fail now.
    pub(crate) fn file_faults(&self) -> f64 {
        if self.phase() == Phase::Trouble { self.plan().file_faults } else { 0.0 }
    }

    /// How likely a request to the table is to meet trouble now.
    pub(crate) fn request_faults(&self) -> f64 {
        if self.phase() == Phase::Trouble { self.plan().request_faults } else { 0.0 }
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.0.oracle.lock().expect("no panic while locked")
    }

    pub(crate) fn chronicle(&self) -> &Chronicle {
        &self.0.chronicle
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.0.core.lock().expect("no panic while locked")
    }

    /// The true time since the run began.
    pub(crate) fn now(&self) -> Duration {
        self.core().now
    }

    /// How many times something happened.
    pub(crate) fn steps(&self) -> u64 {
        self.core().steps
    }

    /// Something that a full run must have met.
    pub(crate) fn met(&self, event: Event) {
        self.0.chronicle.count(event);
    }

    /// Adds a line to the trace.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        self.0.chronicle.tell(|| {
            let core = self.core();
            let process = ME.get().map_or(ProcessId(0), |me| core.threads[me].process);
            let (step, now) = (core.steps, core.now);
            drop(core);
            format!("{step:>7} {:>12.6}s {process:>4} {}", now.as_secs_f64(), line())
        });
    }

    /// Something is not as it must be: the run ends.
    pub(crate) fn violation(&self, what: impl FnOnce() -> String) {
        let what = what();
        self.tell(|| format!("VIOLATION: {what}"));
        if self.0.chronicle.violated(what) {
            let mut core = self.core();
            let ticket = core.threads[DIRECTOR].ticket;
            core.schedule(Duration::ZERO, Due::Thread(DIRECTOR, ticket));
        }
    }

    /// Reports what the oracle says of a new head, which a request of `process` put in place.
    pub(crate) fn observed(&self, observed: Result<Vec<Event>, String>, version: Version, process: ProcessId) {
        self.tell(|| format!("version {} is the head now, by {process}", version.0));
        match observed {
            Ok(events) => events.into_iter().for_each(|event| self.met(event)),
            Err(what) => self.violation(|| what),
        }
    }

    /// Reports whatever a check found.
    pub(crate) fn check(&self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.violation(|| what);
        }
    }

    // Chance.

    /// Whether something happens that has this probability.
    pub(crate) fn by_chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.core().chance.f64() < probability
    }

    pub(crate) fn pick(&self, range: RangeInclusive<u64>) -> u64 {
        self.core().chance.u64(range)
    }

    /// A duration between the two, each order of magnitude as likely as the next.
    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_secs_f64().ln(), most.as_secs_f64().ln());
        let drawn = self.core().chance.f64();
        Duration::from_secs_f64((least + (most - least) * drawn).exp())
    }

    pub(crate) fn random_bytes(&self, into: &mut [u8]) {
        self.core().chance.fill(into);
    }

    // Processes.

    pub(crate) fn with_process<T>(&self, id: ProcessId, with: impl FnOnce(&mut Process) -> T) -> T {
        with(&mut self.core().processes[id.0])
    }

    /// The process whose thread this is.
    pub(crate) fn my_process(&self) -> ProcessId {
        let me = me();
        self.core().threads[me].process
    }

    /// A process with one thread that does `work`.
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

    /// Another thread of a process.
    pub(crate) fn start_thread(
        &self,
        process: ProcessId,
        work: Box<dyn FnOnce() + Send>,
        is_beside: bool,
    ) -> io::Result<()> {
        let baton = Arc::new(Baton::default());
        let (world, waits) = (self.clone(), baton.clone());
        // It takes its first turn when somebody hands it over; then its number is known.
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
                world.violation(|| format!("panic: {}", crate::chronicle::last_panic()));
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
        core.threads[me].is_beside = is_beside;
        core.handles.push(handle);
        core.schedule(Duration::from_micros(1), Due::Thread(me, 0));
        Ok(())
    }

    fn add_thread(&self, process: ProcessId, system: std::thread::Thread) -> usize {
        let thread = Thread {
            process,
            ticket: 0,
            is_beside: false,
            woken: false,
            is_done: false,
            baton: Arc::default(),
            system,
        };
        let mut core = self.core();
        core.threads.push(thread);
        core.threads.len() - 1
    }

    /// Nothing of the process happens any more; what it sent may still arrive.
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

    /// Whether an append or a swap is on its way.
    pub(crate) fn is_anybody_writing(&self) -> bool {
        self.core().processes.iter().any(|process| !process.is_dead && process.appending + process.swapping > 0)
    }

    /// A process begins to open the database, or has done with it; `adopts`: there is none yet.
    pub(crate) fn opens(&self, process: ProcessId, adopts: bool) {
        let mut core = self.core();
        core.processes[process.0].is_opening = adopts;
        let at_once = core.processes.iter().filter(|process| process.is_opening && !process.is_dead).count();
        drop(core);
        if adopts && at_once > 1 {
            self.met(Event::AdoptedAtOnce);
        }
    }

    /// Whether a process has come to its end: all its threads are done but for those that the engine began.
    pub(crate) fn is_over(&self, process: ProcessId) -> bool {
        self.core().threads.iter().all(|thread| thread.process != process || thread.is_done || thread.is_beside)
    }

    /// Whether no thread of any process but the director is left.
    fn is_empty(&self) -> bool {
        self.core().threads.iter().skip(1).all(|thread| thread.is_done)
    }

    /// The threads of a process that are not done, for people.
    pub(crate) fn left(&self, process: ProcessId) -> String {
        let core = self.core();
        let of = |(n, thread): (usize, &Thread)| {
            let waits = core.waiting.iter().find(|(_, waits)| *waits == n).map(|(place, _)| place);
            (thread.process == process && !thread.is_done).then(|| format!("thread {n} waits at {waits:?}"))
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
        // Whatever came to be due later holds on to this world.
        self.core().agenda.clear();
        for handle in handles {
            handle.join().expect("a simulated thread catches its panics");
        }
        ME.set(None);
        HERE.set(None);
    }

    // Waiting.

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

    /// Waits for an answer: `ask` gets what is to be called, once, with the answer and how long it is on its way back.
    pub(crate) fn ask<T: Send + 'static>(&self, ask: impl FnOnce(Reply<T>)) -> T {
        let me = me();
        let ticket = self.core().threads[me].ticket;
        let answer = Arc::new(Mutex::new(None));
        ask(Reply { answer: answer.clone(), thread: me, ticket });
        self.give_way(me);
        let answer = answer.lock().expect("no panic while locked").take();
        answer.expect("whoever is woken has his answer")
    }

    /// Hands over to whoever is next, and goes on when it is this thread's turn again.
    fn give_way(&self, me: usize) {
        let next = self.next();
        if next != me {
            let baton = self.core().threads[me].baton.clone();
            self.hand_over(next);
            baton.take();
        }
        self.unless_killed(me);
    }

    fn unless_killed(&self, me: usize) {
        let core = self.core();
        let is_killed = core.processes[core.threads[me].process.0].is_dead;
        drop(core);
        if is_killed && !std::thread::panicking() {
            resume_unwind(Box::new(Killed));
        }
    }

    fn hand_over(&self, next: usize) {
        let core = self.core();
        let (baton, system) = (core.threads[next].baton.clone(), core.threads[next].system.clone());
        drop(core);
        baton.0.store(true, Ordering::Release);
        system.unpark();
    }

    /// Lets happen what is due until it is a thread's turn.
    fn next(&self) -> usize {
        loop {
            let mut core = self.core();
            let Some(Reverse(entry)) = core.agenda.pop() else {
                unreachable!("the director is always awake some time");
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
    fn schedule(&mut self, delay: Duration, due: Due) {
        self.entries += 1;
        let order = (self.chance.u32(..), self.entries);
        self.agenda.push(Reverse(Entry { at: self.now + delay, order, due }));
    }
}

impl Baton {
    fn take(&self) {
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
    /// The answer, after `delay`. Later ones are for nobody.
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

fn me() -> usize {
    ME.get().expect("this thread belongs to a simulated world")
}

/// The engine's locks and threads, in a world. A process that is dead waits for nothing: it only unwinds.
struct Here(World);

impl Here {
    fn is_dead(&self) -> bool {
        let core = self.0.core();
        core.processes[core.threads[me()].process.0].is_dead
    }
}

impl Scheduler for Here {
    fn wait(&self, place: usize, patience: Option<Duration>) -> bool {
        if self.is_dead() {
            assert!(!std::thread::panicking(), "what a killed process does last waits for nobody");
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
