//! One run: a seed, its plan, its verdict.

use crate::actor::open;
use crate::chronicle::last_panic;
use crate::director::{Director, SERVER_LEASE};
use crate::oracle::Recovery;
use crate::plan::Plan;
use crate::process::{Clock, Process};
use crate::recovery::recover;
use crate::service::SimTable;
use crate::transaction::Actor;
use crate::world::World;
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::{Coordinator, kinds};
use seawall::ports::storage::Storage;
use seawall_dynamodb::DynamoCoordinator;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// A run's result.
#[derive(Debug)]
pub struct Verdict {
    /// The seed that repeats it.
    pub seed: u64,
    /// How many steps it had.
    pub steps: u64,
    /// Its virtual time.
    pub time: Duration,
    /// How many commits there are in the order.
    pub commits: u64,
    /// How often each of [`crate::Event::ALL`] happened.
    pub events: Vec<u64>,
    /// The first violation.
    pub violation: Option<String>,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.violation.as_deref().map_or_else(|| "no violation".into(), |what| format!("VIOLATION: {what}"));
        let Verdict { seed, steps, commits, .. } = self;
        write!(f, "seed {seed}, {steps} steps, {:.1} s of its time, {commits} commits: {what}", self.time.as_secs_f64())
    }
}

/// Runs `seed` for `steps` steps, and then to its end. With `tells` the verdict has the trace.
pub fn run(seed: u64, steps: u64, tells: bool) -> Verdict {
    kinds::add("dynamodb", |_, database, storage| {
        let coordinator = DynamoCoordinator::new(Arc::new(SimTable(World::here())), database, storage.clone());
        Ok(with_mistakes(Box::new(coordinator), database, storage))
    });
    #[cfg(feature = "mutations")]
    kinds::add("fs", |_, database, storage| {
        let coordinator = seawall::ports::coordinator::fs::FsCoordinator::new(storage.clone().order());
        Ok(with_mistakes(Box::new(coordinator), database, storage))
    });
    let world = World::new(seed, Plan::of(seed), tells);
    world.tell(|| format!("{:?}", world.plan()));
    let directed = catch_unwind(AssertUnwindSafe(|| {
        Director::direct(&world, steps);
        let goes_on = world.plan().disaster.is_none() && !world.oracle().is_detached();
        if world.chronicle().violation().is_none() && goes_on {
            look_back(&world);
        }
    }));
    if directed.is_err() {
        world.violation(|| format!("the run itself failed: {}", last_panic()));
    }
    let (steps, time, commits) = (world.steps(), world.now(), world.oracle().commits());
    world.end();
    let chronicle = world.chronicle();
    Verdict {
        seed,
        steps,
        time,
        commits,
        events: chronicle.counts(),
        violation: chronicle.violation(),
        trace: chronicle.take_trace(),
    }
}

/// The coordinator; with the feature `mutations`, wrapped in one that makes the active deliberate mistake.
fn with_mistakes(
    coordinator: Box<dyn Coordinator>,
    _database: DatabaseId,
    _storage: &Arc<dyn Storage>,
) -> Box<dyn Coordinator> {
    #[cfg(feature = "mutations")]
    let coordinator =
        Box::new(crate::mistakes::Mistaken { coordinator, database: _database, storage: _storage.clone() });
    coordinator
}

/// At the end every byte of the history is unchanged, and a new process reads all of it and writes within the design's
/// budget.
fn look_back(world: &World) {
    // Everything in flight arrives, and the server drops dead machines' locks.
    world.sleep(world.plan().latest + SERVER_LEASE);
    // That may have been a request of a recovery that was cut short.
    if world.has_danger() {
        let operator = world.clone();
        run_to_end(world, move || recover(&operator));
    }
    let intact = world.oracle().verify(&world.disk(), world.now(), world.history());
    world.check(intact);
    let mut scanned = Recovery::default();
    scanned.scan(&world.disk());
    let difference = world.oracle().recovery.difference(&scanned);
    if let Some(difference) = difference {
        world.violation(|| format!("the segments' bytes are not those that reached them: {difference}"));
    }
    world.check_recovery();
    let newcomer = world.clone();
    run_to_end(world, move || {
        let Some(database) = open(&newcomer) else { return };
        let mut actor = Actor::new(&newcomer, &database);
        if !actor.read_all() || !(0..20).any(|_| actor.write()) {
            newcomer.violation(|| format!("a newcomer cannot read and write: {}", actor.last_error()));
        }
        actor.write_at_its_price();
        actor.keep_up();
    });
}

/// Starts a process with a right clock, and waits for its end.
fn run_to_end(world: &World, work: impl FnOnce() + Send + 'static) {
    let (clock, now) = (Clock { rate: 1.0, ahead: 0 }, world.now());
    let process = world.start(move |_| Process::new(0, clock, now), work);
    while !world.is_over(process) && world.chronicle().violation().is_none() {
        world.sleep(Duration::from_secs(1));
    }
}
