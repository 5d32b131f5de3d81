//! A run's world: its plan, time, randomness, and everything that is simulated in it.
//!
//! `turns.rs` decides which thread runs next. `processes.rs` begins and ends processes.

mod places;
mod processes;
mod turns;

use crate::chronicle::Chronicle;
use crate::disk::Disk;
use crate::event::Event;
use crate::items::Items;
use crate::leases::Leases;
use crate::locks::Locks;
use crate::names::Names;
use crate::oracle::{Number, Oracle};
use crate::place::{At, Binding};
use crate::plan::{Plan, Setting};
use crate::process::{EPOCH, ProcessId};
use crate::storage::Sleeper;
use seawall::{Database, Version};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use turns::{Core, DIRECTOR, Due, ME};
pub(crate) use turns::{Reply, is_simulated};

thread_local! {
    static HERE: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The file system's time when a run begins. Right clocks of machines show the same.
const CLOCK_BEGINS: Duration = EPOCH;

/// A run's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// There are faults.
    Trouble,
    /// There are no more faults, and the processes continue.
    Quiet,
    /// The processes end, and everything that was begun must end well.
    Calm,
}

/// The times at which there is no head that counts: it was lost, or is being recovered.
#[derive(Clone, Copy, Default)]
struct Danger {
    is_now: bool,
    /// Whether there ever was such a time.
    was: bool,
    /// When the last one ended.
    ended: Duration,
}

/// So long after a danger a client may still believe what its cache says of that time.
const AFTERMATH: Duration = Duration::from_secs(90);

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
    /// The databases that processes have open, for forks.
    open: Mutex<Vec<(ProcessId, Arc<Database>)>>,
    transactions: AtomicU64,
    /// Publications that were sent, the newest last. Each can arrive once more after its sender's client has lost its
    /// session.
    sleepers: Mutex<VecDeque<Sleeper>>,
    /// The name cache of each machine's file system client.
    names: Vec<Mutex<Names>>,
    phase: Mutex<Phase>,
    is_struck: AtomicBool,
    power_fails: AtomicBool,
    danger: Mutex<Danger>,
    binding: Mutex<Binding>,
    oracle: Mutex<Oracle>,
    chronicle: Chronicle,
}

impl World {
    /// A new world. The calling thread directs it.
    pub(crate) fn new(seed: u64, plan: Plan, tells: bool) -> World {
        let at = if plan.setting == Setting::Dynamo { At::Table } else { At::Files };
        let shared = Shared {
            core: Mutex::new(Core::new(seed)),
            names: (0..plan.machines).map(|_| Mutex::default()).collect(),
            plan,
            disk: Mutex::default(),
            items: Mutex::default(),
            locks: Mutex::default(),
            leases: Leases::default(),
            open: Mutex::default(),
            transactions: AtomicU64::new(1),
            sleepers: Mutex::default(),
            phase: Mutex::new(Phase::Trouble),
            is_struck: AtomicBool::new(false),
            power_fails: AtomicBool::new(false),
            danger: Mutex::default(),
            binding: Mutex::new(Binding { at, switched: Duration::ZERO, changed: None }),
            oracle: Mutex::default(),
            chronicle: Chronicle::new(tells),
        };
        let world = World(Arc::new(shared));
        world.oracle().begins_at(at);
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
        let now = (CLOCK_BEGINS + self.now()).as_nanos() as u64;
        let mut disk = self.0.disk.lock().expect("no panic while locked");
        disk.now = Duration::from_nanos(now - now % self.plan().tick.as_nanos() as u64);
        disk
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

    pub(crate) fn sleepers(&self) -> MutexGuard<'_, VecDeque<Sleeper>> {
        self.0.sleepers.lock().expect("no panic while locked")
    }

    pub(crate) fn names(&self, machine: usize) -> MutexGuard<'_, Names> {
        self.0.names[machine].lock().expect("no panic while locked")
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.tell(|| format!("the phase is now {phase:?}"));
        *self.0.phase.lock().expect("no panic while locked") = phase;
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.phase.lock().expect("no panic while locked")
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.phase() == Phase::Calm
    }

    /// A disaster has happened. Every process that looks must notice.
    pub(crate) fn strike(&self) {
        self.0.is_struck.store(true, Ordering::Relaxed);
        self.oracle().disaster();
    }

    /// Whether a disaster has happened.
    pub(crate) fn is_struck(&self) -> bool {
        self.0.is_struck.load(Ordering::Relaxed)
    }

    /// The head is lost, or sealed.
    pub(crate) fn begin_danger(&self) {
        let mut danger = self.0.danger.lock().expect("no panic while locked");
        (danger.is_now, danger.was) = (true, true);
    }

    /// A recovery put a head in place.
    pub(crate) fn head_is_back(&self) {
        let ended = self.now();
        let mut danger = self.0.danger.lock().expect("no panic while locked");
        (danger.is_now, danger.ended) = (false, ended);
    }

    /// Whether there is a danger now.
    pub(crate) fn has_danger(&self) -> bool {
        self.0.danger.lock().expect("no panic while locked").is_now
    }

    /// Whether what began at `began` can have met a danger.
    pub(crate) fn was_in_danger(&self, began: Duration) -> bool {
        let danger = *self.0.danger.lock().expect("no panic while locked");
        danger.is_now || danger.was && danger.ended + AFTERMATH > began
    }

    /// Whether files are behind a network.
    pub(crate) fn is_remote(&self) -> bool {
        self.plan().setting != Setting::Local
    }

    /// For how long a version that was superseded is certainly kept: the file system's clock has ticks.
    pub(crate) fn history(&self) -> Duration {
        self.plan().retention.saturating_sub(self.plan().tick * 2)
    }

    /// Whether a living process has this segment open.
    pub(crate) fn has_segment(&self, inode: usize) -> bool {
        self.core().processes.iter().any(|process| !process.is_dead && process.segments.contains(&inode))
    }

    /// How many checkpoints and how many garbage collections living processes are at.
    pub(crate) fn at_upkeep(&self) -> (u32, u32) {
        let core = self.core();
        let living = core.processes.iter().filter(|process| !process.is_dead);
        living.fold((0, 0), |sums, process| (sums.0 + process.checkpointing, sums.1 + process.collecting))
    }

    /// How likely a file operation is to fail now.
    pub(crate) fn file_faults(&self) -> f64 {
        if self.phase() != Phase::Trouble {
            return 0.0;
        }
        let is_opening = self.with_process(self.my_process(), |process| process.is_opening);
        let opening_faults = if is_opening { self.plan().opening_faults } else { 0.0 };
        self.plan().file_faults.max(opening_faults)
    }

    /// How likely a request to the table is to meet a fault now.
    pub(crate) fn request_faults(&self) -> f64 {
        if self.phase() == Phase::Trouble { self.plan().request_faults } else { 0.0 }
    }

    /// A swap gets no answer. It may be the first of many such requests: then this says until when.
    pub(crate) fn begins_burst(&self) -> Option<Duration> {
        if self.phase() != Phase::Trouble || !self.by_chance(self.plan().bursts) {
            return None;
        }
        self.met(Event::Burst);
        Some(self.now() + self.between(Duration::from_secs(1), Duration::from_secs(30)))
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

    /// How many steps the run has had.
    pub(crate) fn steps(&self) -> u64 {
        self.core().steps
    }

    /// Counts an event.
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

    /// A check found a violation. The run ends.
    pub(crate) fn violation(&self, what: impl FnOnce() -> String) {
        let what = what();
        self.tell(|| format!("VIOLATION: {what}"));
        if self.0.chronicle.violated(what) {
            self.wake_director();
        }
    }

    fn wake_director(&self) {
        let mut core = self.core();
        let ticket = core.threads[DIRECTOR].ticket;
        core.schedule(Duration::ZERO, Due::Thread(DIRECTOR, ticket));
    }

    /// Something stands on a name now that a loss of power might take. The power may fail soon: before the name is made
    /// durable, or some calls later.
    pub(crate) fn power_may_fail(&self, probability: f64) {
        let plan = self.plan();
        if plan.loses_power() && self.phase() == Phase::Trouble && self.by_chance(probability) {
            let longest = if self.by_chance(0.7) { plan.call / 2 } else { plan.call * 100 };
            self.after(self.between(plan.call / 10, longest), |world| {
                world.0.power_fails.store(true, Ordering::Relaxed);
                world.wake_director();
            });
        }
    }

    /// Whether that was said since it was asked last.
    pub(crate) fn power_fails(&self) -> bool {
        self.0.power_fails.swap(false, Ordering::Relaxed)
    }

    /// Reports the oracle's verdict on a new head, which a request of `process` put in place.
    pub(crate) fn observed(&self, observed: Result<Vec<Event>, String>, version: Version, process: ProcessId) {
        self.tell(|| format!("version {} is the head now, by {process}", version.0));
        match observed {
            Ok(events) => events.into_iter().for_each(|event| self.met(event)),
            Err(what) => self.violation(|| what),
        }
        let is_broken = self.oracle().is_broken();
        let is_fenced = self.oracle().fenced_for().is_some();
        if is_broken {
            self.begin_danger();
        }
        if is_fenced {
            self.binding_changed();
        }
    }

    /// Checks whether a recovery would be right if the head were lost now.
    pub(crate) fn check_recovery(&self) {
        let checked = self.oracle().check_recovery(&self.disk());
        match checked {
            Ok(events) => events.into_iter().for_each(|event| self.met(event)),
            Err(what) => self.violation(|| what),
        }
    }

    /// Reports a check's violation, if it found one.
    pub(crate) fn check(&self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.violation(|| what);
        }
    }

    // Randomness.

    /// Draws whether an event with this probability happens.
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
}
