//! One run: a seed, its plan, its verdict.

use crate::actor::open;
use crate::director::{Director, SERVER_LEASE};
use crate::oracle::Recovery;
use crate::plan::Plan;
use crate::service::SimTable;
use crate::transaction::Actor;
use crate::world::World;
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::{Coordinator, kinds};
use seawall::ports::storage::Storage;
use seawall_dynamodb::DynamoCoordinator;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a run came to.
#[derive(Debug)]
pub struct Verdict {
    /// The seed that repeats it.
    pub seed: u64,
    /// How many times something happened.
    pub steps: u64,
    /// How much time passed in it.
    pub time: Duration,
    /// How many commits there are in the order.
    pub commits: u64,
    /// How often each of [`crate::Event::ALL`] happened.
    pub events: Vec<u64>,
    /// What was wrong first.
    pub violation: Option<String>,
    /// What happened, if it was to be told.
    pub trace: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.violation.as_deref().map_or_else(|| "no violation".into(), |what| format!("VIOLATION: {what}"));
        let Verdict { seed, steps, commits, .. } = self;
        write!(f, "seed {seed}, {steps} steps, {:.1} s of its time, {commits} commits: {what}", self.time.as_secs_f64())
    }
}

/// Runs `seed` for `steps` steps, and then to its end. `tells`: with its trace.
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
    Director::direct(&world, steps);
    if world.chronicle().violation().is_none() && world.plan().disaster.is_none() {
        look_back(&world);
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

/// The coordinator, or, if a deliberate mistake is asked for, one that makes it.
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

/// At the end: every byte of the history is as it was, and a newcomer reads it all, and writes at the price that the design names.
fn look_back(world: &World) {
    // Whatever is still on its way arrives, and what dead machines held is given back.
    world.sleep(world.plan().latest + SERVER_LEASE);
    let intact = world.oracle().verify(&world.disk());
    world.check(intact);
    let mut scanned = Recovery::default();
    scanned.scan(&world.disk());
    if !world.oracle().recovery.agrees(&scanned) {
        world.violation(|| "what is in the segments is not what came to them".into());
    }
    world.check_recovery();
    let newcomer = world.clone();
    let now = world.now();
    let process = world.start(
        move |_| crate::process::Process::new(0, crate::process::Clock { rate: 1.0, ahead: 0 }, now),
        move || {
            let Some(database) = open(&newcomer) else { return };
            let mut actor = Actor::new(&newcomer, &database);
            if !actor.read_all() || !(0..20).any(|_| actor.write()) {
                newcomer.violation(|| format!("a newcomer cannot read and write: {}", actor.last_error()));
            }
            actor.write_at_its_price();
        },
    );
    while !world.is_over(process) && world.chronicle().violation().is_none() {
        world.sleep(Duration::from_secs(1));
    }
}
