//! Checkpoints, garbage collections and pins, among the transactions.

use super::Actor;
use crate::event::Event;
use crate::paths::{FOLDER, path_of};
use seawall::format::policy::Policy;
use seawall::ports::storage::File;
use seawall::{Collecting, Error, ErrorKind, Kept};
use std::cell::Cell;
use std::time::Duration;

/// How long a pin counts at most.
const LONGEST_PIN: Duration = Duration::from_secs(3 * 3600);
/// How many names there are for pins.
const PINS: u64 = 3;

thread_local! {
    static COLLECTS_SINCE: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Since when this thread collects garbage, by the file server's clock.
pub(crate) fn collects_since() -> Option<Duration> {
    COLLECTS_SINCE.get()
}

impl Actor<'_> {
    /// A checkpoint, a garbage collection or a pin.
    pub(super) fn upkeep(&mut self) {
        match self.world.pick(0..=9) {
            0..=3 => drop(self.checkpoint()),
            4..=7 => drop(self.collect()),
            8 => self.pin(),
            _ => self.unpin(),
        }
    }

    /// Makes a checkpoint. Returns whether nothing went wrong.
    pub(crate) fn checkpoint(&mut self) -> bool {
        let world = self.world;
        self.began = world.now();
        let before = world.with_process(self.process, |process| {
            process.checkpointing += 1;
            (process.drafted, process.unpinned)
        });
        self.meets_others();
        let is_slow = !world.is_calm() && world.by_chance(0.3);
        let made = self.database.checkpoint(&mut |_, _| {
            if is_slow {
                world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(60)));
            }
            Ok(())
        });
        let (drafted, unpinned) = world.with_process(self.process, |process| {
            process.checkpointing -= 1;
            (process.drafted > before.0, process.unpinned > before.1)
        });
        match made {
            Ok(Some(made)) => {
                world.tell(|| format!("checkpoint: {made:?}"));
                world.met(Event::CheckpointMade);
                // If this process slept, a garbage collection has taken the draft of NAME away.
                let is_excused = |why: &String| world.plan().file_faults > 0.0 || why.contains("entity not found");
                if let Some(why) = made.name_not_renewed.filter(|why| !is_excused(why)) {
                    world.violation(|| format!("NAME was not renewed: {why}"));
                }
                let checked = world.oracle().checkpoint_made(made.version, made.pages, world.now());
                world.check(checked);
                true
            }
            Ok(None) => {
                let event = if unpinned { Event::CheckpointAbandoned } else { Event::CheckpointOvertaken };
                world.tell(|| format!("checkpoint: none, {event:?}: {drafted}"));
                if drafted {
                    world.met(event);
                }
                true
            }
            Err(error) => {
                world.tell(|| format!("the checkpoint failed: {error}"));
                world.met(if unpinned { Event::CheckpointAbandoned } else { Event::CheckpointFailed });
                if !(unpinned && error.kind() == ErrorKind::CannotOpen) {
                    self.upkeep_failed(&error, "a checkpoint");
                }
                false
            }
        }
    }

    /// Collects garbage. Returns whether nothing went wrong.
    pub(crate) fn collect(&mut self) -> bool {
        let world = self.world;
        let history = world.plan().retention;
        self.began = world.now();
        self.set_policy(history);
        world.with_process(self.process, |process| process.collecting += 1);
        COLLECTS_SINCE.set(Some(world.disk().now));
        self.meets_others();
        let collected =
            self.database.collect(Collecting { dry_run: false, max_duration: None, shortest_history: history });
        COLLECTS_SINCE.set(None);
        world.with_process(self.process, |process| process.collecting -= 1);
        match collected {
            Ok(collected) => {
                world.tell(|| format!("collected: {collected:?}"));
                if collected.kept.get(&Kept::Pin).is_some_and(|kept| kept.files > 0) {
                    world.met(Event::PinKept);
                }
                if !collected.unknown.is_empty() {
                    world.violation(|| {
                        format!("garbage collection does not know its own files {:?}", collected.unknown)
                    });
                }
                if !collected.left.is_empty() && world.plan().file_faults == 0.0 {
                    world.violation(|| format!("garbage collection left {:?}", collected.left));
                }
                true
            }
            Err(error) => {
                world.tell(|| format!("the garbage collection failed: {error}"));
                world.met(Event::CollectionFailed);
                self.upkeep_failed(&error, "a garbage collection");
                false
            }
        }
    }

    /// When nothing else happens: a checkpoint and two garbage collections go through, and everything can still be read.
    pub(crate) fn keep_up(&mut self) {
        let history = self.world.plan().retention;
        let mut done = self.checkpoint() && self.collect();
        self.world.sleep(history * 2);
        done = done && (0..20).any(|_| self.write()) && self.collect() && self.read_all();
        if !done {
            self.world.violation(|| format!("a newcomer cannot keep the database up: {}", self.last_error()));
        }
    }

    /// Gives the database the plan's history. People can set none that is so short.
    fn set_policy(&self, history: Duration) {
        let policy = Policy { history, ..Policy::default() };
        let mut disk = self.world.disk();
        if disk.find(&path_of(File::Policy)).is_none() {
            disk.create(&path_of(File::Policy), policy.to_string().into_bytes()).expect("it is not there");
            disk.sync_folder(FOLDER);
        }
    }

    fn pin(&mut self) {
        let world = self.world;
        self.began = world.now();
        let length = world.between(Duration::from_secs(1), LONGEST_PIN);
        let name = format!("{}", world.pick(1..=PINS)).parse().expect("it is a pin's name");
        match self.database.pin(name, length) {
            Ok(pinned) => world.tell(|| format!("{name} pins version {}", pinned.pin.head.version.0)),
            // Another actor gave it up.
            Err(error) if error.to_string().contains("it vanished") => {}
            Err(error) => self.upkeep_failed(&error, "a pin"),
        }
    }

    fn unpin(&mut self) {
        self.began = self.world.now();
        let name = format!("{}", self.world.pick(1..=PINS)).parse().expect("it is a pin's name");
        if let Err(error) = self.database.unpin(name) {
            self.upkeep_failed(&error, "giving a pin up");
        }
    }

    fn upkeep_failed(&mut self, error: &Error, what: &str) {
        let text = error.to_string();
        // While this process slept, a garbage collection took the draft for that of a dead one.
        let writes = ["writing NAME-seawall/", "naming NAME-seawall/"].iter().any(|begin| text.starts_with(begin));
        let lost_its_draft = writes && text.contains("entity not found");
        if !lost_its_draft {
            self.failed(error, what);
        }
        self.world.check_recovery();
    }

    /// Other processes make checkpoints or collect garbage at the same time.
    fn meets_others(&self) {
        let world = self.world;
        let (checkpoints, collections) = world.at_upkeep();
        let met = [
            (Event::CheckpointsAtOnce, checkpoints > 1),
            (Event::CollectionsAtOnce, collections > 1),
            (Event::UpkeepAtOnce, checkpoints > 0 && collections > 0),
        ];
        met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| world.met(event));
    }

    /// Whether the snapshot of which `error` says that it is too old is older than history.
    pub(super) fn is_too_old(&self, error: &Error) -> bool {
        let Error::SnapshotTooOld { version, .. } = error else { return false };
        let world = self.world;
        // Of a version of an earlier epoch the error does not know whether its files were lost.
        let oracle = world.oracle();
        oracle.was_damaged() || !oracle.is_inside_history(*version, world.now(), world.history())
    }
}
