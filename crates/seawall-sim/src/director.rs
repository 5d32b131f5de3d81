//! The director causes what happens to the processes: freezes, kills, losses of power, cuts, clocks that jump, forks
//! and copies. It also ends the run.
//!
//! `disasters.rs` has what happens to the head, and `numbers.rs` what happens to the numbers of versions.

mod detaching;
mod disasters;
mod episodes;
mod moving;
mod numbers;
mod power;

use crate::actor::{live, live_as_child};
use crate::content::{PAGE, first_page, sums_of};
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::path_of;
use crate::plan::Disaster;
use crate::process::{Clock, Process, ProcessId};
use crate::stock::use_name;
use crate::world::{Phase, World};
use seawall::format::high::High;
use seawall::ports::storage::File;
use seawall_dynamodb::item::Item;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a file server keeps a silent client's locks.
pub(crate) const SERVER_LEASE: Duration = Duration::from_secs(90);
/// After the faults a run must end within this many steps. There are many, because a call that hangs in a cut can take
/// ten minutes to return, and a waiter for its caller's lease asks many times a second.
const STEPS_TO_SETTLE: u64 = 2_000_000;

type Blow = fn(&mut Director<'_>);

/// The blows, in the order of the bits of [`crate::plan::Plan::blow_kinds`].
const BLOWS: [Blow; 13] = [
    |director| director.freeze(Duration::from_millis(1), Duration::from_secs(1)),
    |director| director.freeze(Duration::from_millis(300), Duration::from_secs(30)),
    |director| director.freeze(Duration::from_secs(60), Duration::from_secs(2 * 3600)),
    |director| director.kill(),
    |director| director.lose_power(),
    |director| director.cut_off(),
    |director| director.cut_table_off(),
    |director| director.set_clock(),
    |director| director.server_forgets(),
    |director| director.strike_upkeep(),
    |director| director.fork(),
    |director| director.copy(),
    |director| director.wake_sleeper(),
];

pub(crate) struct Director<'a> {
    world: &'a World,
    live: Vec<ProcessId>,
    /// The programs with stock SQLite.
    stock: Vec<ProcessId>,
    clocks: Vec<Clock>,
    /// An earlier state of the table's head …
    older: Option<(String, Item)>,
    /// … and the files.
    older_files: Option<Disk>,
    /// The processes that recover the database, …
    recoverers: Vec<ProcessId>,
    /// … how many episodes there are still to be, how many processes are stopped until one is over, and whether no
    /// process may be started meanwhile.
    episodes: u32,
    /// The processes that move the database, and how many moves are still to begin.
    movers: Vec<ProcessId>,
    moves: u32,
    next_move: u64,
    held_back: usize,
    is_held: bool,
    /// Earlier notes of the newest commit. One can arrive once more, long after.
    notes: VecDeque<High>,
}

impl Director<'_> {
    /// Directs a run of `steps`, and then its end. What is wrong is reported to the world.
    pub(crate) fn direct(world: &World, steps: u64) {
        let plan = world.plan();
        let clock = |_| Clock {
            rate: if plan.clocks_differ { 0.5 + world.pick(0..=1500) as f64 / 1000.0 } else { 1.0 },
            ahead: if plan.clocks_differ { world.pick(0..=20_000_000_000) as i64 - 10_000_000_000 } else { 0 },
        };
        let clocks = (0..plan.machines).map(clock).collect();
        let mut director = Director {
            world,
            live: Vec::new(),
            stock: Vec::new(),
            clocks,
            older: None,
            older_files: None,
            recoverers: Vec::new(),
            episodes: plan.episodes,
            movers: Vec::new(),
            moves: plan.moves,
            next_move: world.pick(0..=5000),
            held_back: 0,
            is_held: false,
            notes: VecDeque::new(),
        };
        director.write_name();
        for n in 0..plan.processes {
            director.start(n % plan.machines);
        }
        for n in 0..plan.stock {
            director.start_stock(n % plan.machines);
        }
        director.trouble(steps);
        if plan.detaches {
            world.enter(Phase::Quiet);
            director.end_moves();
            world.enter(Phase::Trouble);
            director.detach();
        }
        if world.oracle().was_detached() {
            return;
        }
        if plan.disaster == Some(Disaster::Lost) {
            director.lose_head();
        }
        world.enter(Phase::Quiet);
        if plan.disaster.is_none() {
            director.end_episodes();
        }
        match plan.disaster {
            Some(Disaster::SetBack) => director.set_head_back(),
            Some(Disaster::FilesSetBack) => director.set_files_back(),
            Some(Disaster::Forged) => director.forge(),
            _ => {}
        }
        director.settle();
    }

    /// Writes NAME as stock SQLite would have left it, if the plan has such a file.
    fn write_name(&self) {
        let pages = self.world.plan().adopted;
        if pages == 0 {
            return;
        }
        let mut bytes = first_page(self.world);
        bytes.resize(pages as usize * PAGE, 0);
        self.world.random_bytes(&mut bytes[PAGE..]);
        bytes[28..32].copy_from_slice(&pages.to_be_bytes());
        let checked = self.world.oracle().name_written(sums_of(&bytes));
        self.world.check(checked);
        let mut disk = self.world.disk();
        disk.create(&path_of(File::Name), bytes).expect("nothing is there");
        disk.sync_folder("");
    }

    fn process_on(&self, machine: usize) -> impl FnOnce(ProcessId) -> Process + use<> {
        let (clock, now) = (self.clocks[machine], self.world.now());
        move |_| Process::new(machine, clock, now)
    }

    fn start(&mut self, machine: usize) {
        if self.holds_back() {
            self.held_back += 1;
            return;
        }
        let world = self.world.clone();
        let process = self.world.start(self.process_on(machine), move || live(&world));
        self.live.push(process);
    }

    fn start_stock(&mut self, machine: usize) {
        let world = self.world.clone();
        let process = self.world.start(self.process_on(machine), move || use_name(&world));
        self.stock.push(process);
    }

    fn trouble(&mut self, steps: u64) {
        let longest = self.world.plan().blows.unwrap_or(Duration::from_secs(1));
        while self.world.steps() < steps && self.world.chronicle().violation().is_none() {
            self.world.sleep(self.world.between(Duration::from_millis(1), longest));
            if self.world.by_chance(0.05) {
                self.keep_a_copy();
            }
            self.keep_note();
            if self.world.power_fails() {
                self.lose_power();
            }
            self.tend();
            self.tend_moves();
            if self.world.plan().blows.is_some() {
                self.blow();
            }
        }
    }

    fn blow(&mut self) {
        let kind = self.world.pick(0..=BLOWS.len() as u64 - 1) as usize;
        if self.world.plan().blow_kinds >> kind & 1 == 1 {
            BLOWS[kind](self);
        }
    }

    fn any(&self) -> Option<ProcessId> {
        let at = self.world.pick(0..=u64::MAX) as usize;
        (!self.live.is_empty()).then(|| self.live[at % self.live.len()])
    }

    fn machine_of(&self, process: ProcessId) -> usize {
        self.world.with_process(process, |process| process.machine)
    }

    fn on_machine(&self, machine: usize) -> Vec<ProcessId> {
        self.live.iter().copied().filter(|process| self.machine_of(*process) == machine).collect()
    }

    fn freeze(&mut self, least: Duration, most: Duration) {
        if let Some(process) = self.any() {
            self.freeze_process(process, least, most);
        }
    }

    /// A process that makes a checkpoint or collects garbage is frozen or killed.
    fn strike_upkeep(&mut self) {
        let is_at_work = |process: &&ProcessId| {
            self.world.with_process(**process, |process| process.checkpointing + process.collecting > 0)
        };
        let at_work: Vec<ProcessId> = self.live.iter().filter(is_at_work).copied().collect();
        if at_work.is_empty() {
            return;
        }
        let process = at_work[self.world.pick(0..=at_work.len() as u64 - 1) as usize];
        if self.world.by_chance(0.3) {
            self.kill_process(process);
        } else {
            self.freeze_process(process, Duration::from_secs(1), Duration::from_secs(2 * 3600));
        }
    }

    fn freeze_process(&mut self, process: ProcessId, least: Duration, most: Duration) {
        let (world, time) = (self.world, self.world.between(least, most));
        let clock_stops = world.by_chance(0.3);
        let now = world.now();
        let (appending, swapping, checkpointing, collecting) = world.with_process(process, |process| {
            process.freeze(now, now + time, clock_stops);
            (process.appending > 0, process.swapping > 0, process.checkpointing > 0, process.collecting > 0)
        });
        world.tell(|| format!("{process} is frozen for {time:?}"));
        let met = [
            (Event::FrozenDuringAppend, appending),
            (Event::FrozenDuringSwap, swapping),
            (Event::CheckpointFrozen, checkpointing),
            (Event::CollectionFrozen, collecting),
            (Event::FrozenPastLease, time > world.plan().lease),
            (Event::FrozenPastRetention, time > world.plan().retention),
        ];
        met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| world.met(event));
    }

    /// A process is killed, and another one takes its place.
    fn kill(&mut self) {
        if let Some(process) = self.any() {
            self.kill_process(process);
        }
    }

    fn kill_process(&mut self, process: ProcessId) {
        let machine = self.machine_of(process);
        self.end_process(process);
        self.world.sleep(self.world.between(Duration::from_millis(1), Duration::from_secs(5)));
        self.start(machine);
    }

    /// Kills a process. Its machine gives its locks back.
    fn end_process(&mut self, process: ProcessId) {
        self.end_with_machine(process);
        self.world.locks().forget(process);
    }

    /// A process ends with its machine, which gives back no lock.
    fn end_with_machine(&mut self, process: ProcessId) {
        let (appending, swapping, is_opening) = self
            .world
            .with_process(process, |process| (process.appending > 0, process.swapping > 0, process.is_opening));
        let (checkpointing, collecting) =
            self.world.with_process(process, |process| (process.checkpointing > 0, process.collecting > 0));
        self.world.tell(|| format!("{process} is killed"));
        let met = [
            (Event::KilledDuringAppend, appending),
            (Event::KilledDuringSwap, swapping),
            (Event::AdoptionInterrupted, is_opening),
            (Event::CheckpointKilled, checkpointing),
            (Event::CollectionKilled, collecting),
        ];
        met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| self.world.met(event));
        self.world.kill(process);
        self.recoverers.retain(|recoverer| *recoverer != process);
        self.movers.retain(|mover| *mover != process);
        self.live.retain(|live| *live != process);
        self.stock.retain(|stock| *stock != process);
        self.world.open_databases().retain(|(of, _)| *of != process);
    }

    fn cut_table_off(&mut self) {
        let Some(process) = self.any() else { return };
        let time = self.world.between(Duration::from_millis(100), Duration::from_secs(60));
        let until = self.world.now() + time;
        self.world.tell(|| format!("{process} cannot reach the table for {time:?}"));
        self.world.with_process(process, |process| process.table_cut_until = until);
    }

    fn set_clock(&mut self) {
        let Some(machine) = self.any().map(|process| self.machine_of(process)) else { return };
        self.world.met(Event::ClockJump);
        let by = self.world.pick(0..=240_000_000_000) as i64 - 120_000_000_000;
        self.clocks[machine].ahead += by;
        for process in self.on_machine(machine) {
            self.world.with_process(process, |process| {
                process.clock.ahead += by;
                process.clock_troubled = true;
            });
        }
    }

    /// The file server restarts. Its locks are gone until clients take them again.
    fn server_forgets(&mut self) {
        if self.world.is_remote() {
            self.world.met(Event::ServerForgot);
            self.live.iter().for_each(|process| self.world.locks().forget(*process));
        }
    }

    /// A child gets a copy of its parent's memory.
    fn fork(&mut self) {
        if self.holds_back() {
            return;
        }
        let open = self.world.open_databases();
        let at = self.world.pick(0..=u64::MAX) as usize;
        let Some((parent, database)) = (!open.is_empty()).then(|| open[at % open.len()].clone()) else { return };
        drop(open);
        self.make_room();
        let world = self.world.clone();
        let child = self.world.start(self.process_on(self.machine_of(parent)), move || live_as_child(&world, database));
        self.live.push(child);
    }

    /// Two processes continue from one copied memory. They opened the database as one process, and the operating
    /// system's randomness until then is the same. Neither has written yet, so neither has a segment.
    fn copy(&mut self) {
        if self.world.disk().find(&path_of(File::Id)).is_none() || self.holds_back() {
            return;
        }
        self.world.met(Event::Copied);
        self.make_room();
        self.make_room();
        let machine = self.world.pick(0..=self.clocks.len() as u64 - 1) as usize;
        let chance = fastrand::Rng::with_seed(self.world.pick(0..=u64::MAX));
        for _ in 0..2 {
            let (world, chance, make) = (self.world.clone(), chance.clone(), self.process_on(machine));
            let twin = |id| {
                let mut process = make(id);
                process.shared_chance = Some(chance);
                process
            };
            let process = self.world.start(twin, move || live(&world));
            self.live.push(process);
        }
    }

    fn make_room(&mut self) {
        if self.live.len() >= self.world.plan().processes + 2
            && let Some(process) = self.any()
        {
            self.end_process(process);
        }
    }

    /// The faults end. Every process that is left must end well, once it is thawed.
    fn settle(&mut self) {
        let world = self.world;
        let now = world.now();
        for process in &self.live {
            world.with_process(*process, |process| {
                process.cut_until = now;
                process.table_cut_until = now;
            });
        }
        world.enter(Phase::Calm);
        let steps = world.steps();
        while !self.live.iter().all(|process| world.is_over(*process))
            || !self.recoverers.is_empty()
            || !self.movers.is_empty()
        {
            world.sleep(Duration::from_secs(1));
            self.tend();
            self.tend_moves();
            if world.chronicle().violation().is_some() {
                return;
            }
            if world.steps() - steps > STEPS_TO_SETTLE {
                let left = |process: &ProcessId| {
                    Some(format!("{process}: {}", world.left(*process))).filter(|_| !world.is_over(*process))
                };
                let left: Vec<String> = self.live.iter().filter_map(left).collect();
                return world.violation(|| format!("without faults it does not come to an end: {}", left.join("; ")));
            }
        }
    }
}
