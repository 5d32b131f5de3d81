//! A process of the simulation: it opens the database, and its threads read and write as long as they are let.

use crate::event::Event;
use crate::locked_name::SimSqlite;
use crate::paths::path_of;
use crate::storage::SimStorage;
use crate::transaction::Actor;
use crate::world::World;
use seawall::ports::storage::File;
use seawall::{Access, Database, Error, ErrorKind, Options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// After the faults, this many tries must be enough for a transaction.
const TRIES: u32 = 400;

/// What a process does, from its first thread's beginning to its end.
pub(crate) fn live(world: &World) {
    let Some(database) = open(world) else { return };
    let process = world.my_process();
    world.open_databases().push((process, database.clone()));
    for _ in 1..world.plan().threads {
        let (world, database) = (world.clone(), database.clone());
        // A killed process starts none.
        let _ = world.clone().start_thread(process, Box::new(move || act(&world, &database)), false);
    }
    act(world, &database);
    // The last one to close it ends its background, too.
    world.open_databases().retain(|(of, _)| *of != process);
}

/// A child begins with its parent's memory: it must not use the parent's database.
pub(crate) fn live_as_child(world: &World, parents: Arc<Database>) {
    world.met(Event::Forked);
    if parents.is_current() {
        world.violation(|| "a child takes its parent's database for its own".into());
    }
    // What a program does that does not look: it is refused, or the segment's guard sees two writers.
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
        if world.by_chance(0.05) {
            database.connection_closed();
        }
        world.sleep(world.between(Duration::from_micros(10), world.plan().rest));
    }
    if world.plan().disaster.is_some() {
        return;
    }
    // Now whatever was begun must come right: this thread writes, and reads what it wrote.
    for n in 0.. {
        if actor.write() && actor.read() {
            break;
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

/// Opens the database, as often as it takes. `None` after a disaster: then it may not be had at all.
pub(crate) fn open(world: &World) -> Option<Arc<Database>> {
    let options = Options {
        coordinator: if world.is_on_table() { "dynamodb:".into() } else { "fs:".into() },
        lease: world.plan().lease,
        page_cache: world.plan().page_cache,
        ..Options::default()
    };
    let process = world.my_process();
    for n in 0..10 * TRIES {
        let adopts = world.disk().find(&path_of(File::Id)).is_none();
        world.opens(process, adopts);
        let storage = Arc::new(SimStorage::new(world));
        let opened = Database::on(storage, Path::new("NAME"), Access::Create, &options, &SimSqlite(world.clone()));
        world.opens(process, false);
        match opened {
            Ok(database) => {
                world.tell(|| format!("opened at version {}", database.newest_known().version().0));
                world.with_process(process, |process| process.shared_chance = None);
                return Some(database);
            }
            Err(error) => {
                world.tell(|| format!("cannot open: {error}"));
                if !may_fail_to_open(world, &error) {
                    world.violation(|| format!("it cannot be opened: {error}"));
                }
            }
        }
        if world.is_calm() && (world.plan().disaster.is_some() || n > 10 * TRIES - 10) {
            break;
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(2)));
    }
    if world.plan().disaster.is_none() {
        world.violation(|| "it cannot be opened, however often it is tried".into());
    }
    None
}

fn may_fail_to_open(world: &World, error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Busy => true,
        ErrorKind::Full => world.plan().has_file_faults(),
        // Or a file server forgot the lock of an adoption.
        ErrorKind::Io => world.plan().has_file_faults() || world.is_remote(),
        ErrorKind::Unreachable => world.plan().has_file_faults() || world.is_on_table(),
        // What a client remembers of names can be stale; and an adoption that another one overtook, or that met an error, says so.
        ErrorKind::CannotOpen => {
            let text = error.to_string();
            world.is_struck()
                || ["id vanished", "did not take the first head", "could not be removed", "NAME was not touched"]
                    .iter()
                    .any(|known| text.contains(known))
        }
        _ => false,
    }
}
