//! A detaching, as an operator runs it: again and again, until NAME is a plain file.

use crate::actor::may_fail_to_open;
use crate::event::Event;
use crate::paths::path_of;
use crate::storage::SimStorage;
use crate::world::World;
use seawall::ports::storage::File;
use seawall::{Error, ErrorKind, Options, detach_on};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Without faults a detaching must succeed within this many tries.
const TRIES: u32 = 100;

/// Detaches until that succeeds, or another process has done it.
pub(crate) fn detach(world: &World) {
    let options = Options {
        coordinator: world.at().url().into(),
        lease: world.plan().lease,
        upkeep: false,
        ..Options::default()
    };
    let process = world.my_process();
    let mut is_calm_since = 0;
    while !world.oracle().was_detached() {
        let was_begun = world.oracle().is_detached();
        world.with_process(process, |process| process.is_detaching = true);
        let done = detach_on(Arc::new(SimStorage::new(world)), Path::new("NAME"), &options);
        world.with_process(process, |process| process.is_detaching = false);
        match done {
            Ok(version) => {
                world.tell(|| format!("detached at version {version}"));
                world.met(Event::Detached);
                if was_begun {
                    world.met(Event::DetachFinished);
                }
                let checked = world.oracle().detached(version, &world.disk());
                return world.check(checked);
            }
            Err(error) => {
                world.tell(|| format!("the detaching failed: {error}"));
                if !may_fail(world, &error) {
                    world.violation(|| format!("a detaching failed, and no fault can cause that: {error}"));
                }
            }
        }
        is_calm_since += u32::from(world.file_faults() == 0.0 && world.request_faults() == 0.0);
        if is_calm_since > TRIES {
            return world.violation(|| "the database cannot be detached, after any number of tries".into());
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(2)));
    }
}

fn may_fail(world: &World, error: &Error) -> bool {
    match error.kind() {
        // Another one has finished meanwhile, and the folder is gone.
        _ if world.oracle().was_detached() => true,
        ErrorKind::OutcomeUnknown | ErrorKind::Superseded => true,
        ErrorKind::Unreachable => world.plan().file_faults > 0.0 || world.plan().uses_table(),
        // A garbage collection that slept took the draft for that of a dead process.
        _ if world.oracle().is_detached() && error.to_string().contains("entity not found") => true,
        // After the fence every error says so.
        ErrorKind::NeedsRecovery if error.to_string().contains("The database is detached") => {
            world.plan().has_file_faults()
        }
        // Another process that detaches has put NAME in place.
        ErrorKind::CannotOpen => world.oracle().is_detached(),
        _ => may_fail_to_open(world, error),
    }
}

/// NAME is what the detaching has made of it: plain, and with the newest version's pages.
pub(crate) fn is_plain(world: &World) -> Result<(), String> {
    let disk = world.disk();
    let name = disk.content(&path_of(File::Name)).ok_or("NAME is not there after the detaching")?;
    world.oracle().check_detached(name)
}
