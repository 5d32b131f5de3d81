//! A process of the simulation: it opens the database, and its threads read and write until the run ends.

use crate::event::Event;
use crate::locked_name::SimSqlite;
use crate::moving::{asks_next, check_says_elsewhere, says_elsewhere};
use crate::paths::path_of;
use crate::place::At;
use crate::plan::Setting;
use crate::storage::SimStorage;
use crate::transaction::Actor;
use crate::world::World;
use seawall::ports::storage::File;
use seawall::{Access, Database, Error, ErrorKind, Options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// After the faults a transaction must succeed within this many tries.
const TRIES: u32 = 400;

/// A process's life, from its first thread's beginning to its end.
pub(crate) fn live(world: &World) {
    let Some(database) = open(world) else { return };
    let process = world.my_process();
    world.open_databases().push((process, database.clone()));
    for _ in 1..world.plan().threads {
        let (world, database) = (world.clone(), database.clone());
        // A killed process starts no thread.
        let _ = world.clone().start_thread(process, Box::new(move || act(&world, &database)), false);
    }
    act(world, &database);
    // The last connection that closes ends the database's background, too.
    world.open_databases().retain(|(of, _)| *of != process);
}

/// A forked child begins with its parent's memory. It must not use the parent's database.
pub(crate) fn live_as_child(world: &World, parents: Arc<Database>) {
    world.met(Event::Forked);
    if parents.is_current() {
        world.violation(|| "a child takes its parent's database for its own".into());
    }
    // Like a program that does not check, the child writes. Either that is refused, or the segment's guard finds two
    // writers.
    let mut actor = Actor::new(world, &parents);
    actor.expects_refusal();
    actor.write();
    drop(parents);
    live(world);
}

fn act(world: &World, database: &Arc<Database>) {
    let mut actor = Actor::new(world, database);
    while !world.is_calm() {
        actor.transact();
        // Sometimes a process goes on for a while with the coordinator that the database has left.
        if actor.is_left_behind() && world.by_chance(0.2) {
            return end_left_behind(world);
        }
        if world.by_chance(0.05) {
            database.connection_closed();
        }
        // Where nothing succeeds any more, a program does not try thousands of times.
        let longest = if world.oracle().is_detached() { Duration::from_secs(1) } else { world.plan().rest };
        world.sleep(world.between(Duration::from_micros(10), longest));
    }
    if world.plan().disaster.is_some() || world.oracle().is_detached() {
        return;
    }
    // Now everything that was begun must end well: this thread writes, and reads what it wrote.
    for n in 0.. {
        if actor.write() && actor.read() {
            break;
        }
        if actor.is_left_behind() {
            return end_left_behind(world);
        }
        if n == TRIES {
            world.violation(|| {
                format!("without faults, {TRIES} tries were not enough to write: {}", actor.last_error())
            });
            return;
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(1)));
    }
    world.met(Event::Settled);
}

/// The database is not where this process has opened it. Another process takes its place.
fn end_left_behind(world: &World) {
    world.met(Event::LeftBehind);
    world.with_process(world.my_process(), |process| process.was_left_behind = true);
}

/// Opens the database, with as many tries as that takes. After a disaster it may be impossible: `None`.
pub(crate) fn open(world: &World) -> Option<Arc<Database>> {
    // Some have not heard yet where the database is.
    let mut asks = if world.oracle().has_commits() && world.by_chance(0.3) { first_at(world) } else { world.at() };
    let options = |asks: At| Options {
        coordinator: asks.url().into(),
        lease: world.plan().lease,
        page_cache: world.plan().page_cache,
        // The actors do that.
        upkeep: false,
        ..Options::default()
    };
    let process = world.my_process();
    let mut n = 0;
    while n < 10 * TRIES && !world.oracle().is_detached() {
        n = if world.was_in_danger(world.now()) { 0 } else { n + 1 };
        let began = world.now();
        let adopts = world.disk().find(&path_of(File::Id)).is_none();
        world.opens(process, adopts);
        let storage = Arc::new(SimStorage::new(world));
        let opened =
            Database::on(storage, Path::new("NAME"), Access::Create, &options(asks), &SimSqlite(world.clone()));
        world.opens(process, false);
        match opened {
            Ok(database) => {
                world.tell(|| format!("opened at version {}", database.newest_known().version().0));
                world.with_process(process, |process| {
                    process.shared_chance = None;
                    process.opened_at = asks;
                });
                return Some(database);
            }
            Err(error) => {
                world.tell(|| format!("cannot open: {error}"));
                let is_in_danger = || needs_recovery(&error) && world.was_in_danger(began);
                if says_elsewhere(&error) {
                    check_says_elsewhere(world, &error, began);
                    let next = asks_next(&error, asks);
                    world.met(if next == asks { Event::WhileMoved } else { Event::OldCoordinator });
                    asks = next;
                    world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(2)));
                    continue;
                }
                let may_be = world.oracle().is_detached() || may_fail_to_open(world, &error) || is_in_danger();
                if !may_be {
                    world.violation(|| format!("it cannot be opened: {error}"));
                }
            }
        }
        if world.is_calm() && (world.plan().disaster.is_some() || n > 10 * TRIES - 10) {
            break;
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(2)));
    }
    if world.plan().disaster.is_none() && !world.oracle().is_detached() {
        world.violation(|| "it cannot be opened, after any number of tries".into());
    }
    None
}

/// The coordinator that the database began with.
fn first_at(world: &World) -> At {
    if world.plan().setting == Setting::Dynamo { At::Table } else { At::Files }
}

/// Whether an error says that the head is lost, or that something is not what the head says.
pub(crate) fn needs_recovery(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::CannotOpen | ErrorKind::NeedsRecovery | ErrorKind::Corrupt | ErrorKind::Io)
}

pub(crate) fn may_fail_to_open(world: &World, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Busy => true,
        ErrorKind::Full => world.plan().has_file_faults(),
        // Or a file server forgot an adoption's lock.
        ErrorKind::Io => world.plan().has_file_faults() || world.is_remote(),
        ErrorKind::Unreachable => world.plan().has_file_faults() || world.plan().uses_table(),
        // A client's cached names can be stale. An adoption that another one overtook, or that met an error, reports
        // that.
        ErrorKind::CannotOpen | ErrorKind::NeedsRecovery | ErrorKind::NoDatabase => {
            let text = error.to_string();
            world.is_struck()
                || ["id vanished", "did not take the first head", "could not be removed", "NAME was not touched"]
                    .iter()
                    .any(|known| text.contains(known))
        }
        _ => false,
    }
}
