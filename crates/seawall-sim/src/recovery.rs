//! A recovery, as an operator runs it: again and again, until a head is in place.

use crate::disk::Disk;
use crate::event::Event;
use crate::paths::{COMMITS, inside, path_of};
use crate::place::At;
use crate::process::ProcessId;
use crate::storage::SimStorage;
use crate::world::{Phase, World};
use seawall::format::head::{Head, State};
use seawall::ports::storage::File;
use seawall::{Error, ErrorKind, Recovered, Recovery, recover_on};
use seawall_dynamodb::item::{key_of, names, text_of};
use std::sync::Arc;
use std::time::Duration;

/// Without faults a recovery must succeed within this many tries.
const TRIES: u32 = 100;

/// A recovery's request put a head in place. The disk is locked.
pub(crate) fn recovered(world: &World, disk: &Disk, at: At, head: Head, process: ProcessId) {
    let (version, now) = (head.version, world.now());
    let has_chosen = world.with_process(process, |process| process.has_chosen);
    let observed = world.oracle().recovered((at, has_chosen), head, disk, now);
    world.binding_changed();
    let floor = world.oracle().floor();
    world.forgets_above(floor);
    world.observed(observed, version, process);
    if disk.find(&path_of(File::Id)).is_some() {
        world.head_is_back();
    }
}

/// `id` was named again. Afterwards the recovery that made it is done.
pub(crate) fn id_is_back(world: &World) {
    if world.has_danger() && !world.oracle().is_broken() && is_in_place(world) {
        world.head_is_back();
    }
}

/// Whether the head can be found, and the database be opened by it.
pub(crate) fn is_in_place(world: &World) -> bool {
    let disk = world.disk();
    if disk.find(&path_of(File::Id)).is_none() || world.oracle().fenced_for().is_some() {
        return false;
    }
    if !world.is_on_table() {
        return disk.find(COMMITS).is_some_and(|folder| disk.list(&inside(folder)).next().is_some());
    }
    drop(disk);
    let Some(database) = world.oracle().head().map(|head| head.database) else { return true };
    let item = world.items().0.get(&key_of(database)).cloned();
    item.is_some_and(|item| text_of(&item, names::STATE).is_none_or(|state| state == State::Open.to_string()))
}

/// Recovers until that succeeds, or another recovery has.
pub(crate) fn recover(world: &World) {
    let mut recovery = Recovery::default();
    let process = world.my_process();
    let (mut tries, mut lost) = (0, 0);
    loop {
        let storage = Arc::new(SimStorage::new(world));
        world.with_process(process, |process| {
            process.is_recovering = true;
            process.has_chosen = recovery.choose.is_some();
        });
        let done = recover_on(storage, &recovery);
        world.with_process(process, |process| process.is_recovering = false);
        // What was chosen among candidates counts for them alone.
        recovery.choose = None;
        match done {
            Ok(recovered) => return check(world, &recovered),
            Err(error) => {
                world.tell(|| format!("the recovery failed: {error}"));
                if gave_way(&error) {
                    world.met(Event::RecoveryGaveWay);
                } else {
                    world.met(Event::RecoveryFailed);
                }
                follow(world, &error, &mut recovery, &mut lost);
            }
        }
        tries += u32::from(world.phase() != Phase::Trouble);
        if tries > TRIES {
            return world.violation(|| "a recovery does not succeed, after any number of tries".into());
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(5)));
        if !world.has_danger() && is_in_place(world) {
            return;
        }
    }
}

fn gave_way(error: &Error) -> bool {
    let text = error.to_string();
    ["another recovery of this database began meanwhile", "a move of this database was finished meanwhile"]
        .iter()
        .any(|known| text.contains(known))
}

/// Does what the error says, as an operator would who knows which commits the application saw succeed.
fn follow(world: &World, error: &Error, recovery: &mut Recovery, lost: &mut usize) {
    let text = error.to_string();
    let has_faults = world.plan().has_file_faults();
    let may_be = match error.kind() {
        // What the other one has kept is there.
        _ if gave_way(error) => {
            *lost = 0;
            true
        }
        _ if text.contains("--commit ID") => {
            recovery.choose = world.oracle().choice(*lost);
            recovery.choose.is_some()
        }
        // What the operator chose is in none of the files that are left.
        _ if text.contains("is in no segment of this folder") => {
            let oracle = world.oracle();
            let is_lost = oracle.was_damaged() || oracle.rode_in_lost_head(*lost);
            *lost += 1;
            recovery.choose = oracle.choice(*lost);
            is_lost
        }
        _ if text.contains("--coordinator") => {
            recovery.coordinator = Some(world.at().url().into());
            true
        }
        // The database was moved after the operator had named its coordinator. `id`, which was missing then, names it now.
        _ if text.contains("was asked for") => recovery.coordinator.take().is_some(),
        _ if text.contains("--take-over-home") => {
            recovery.take_over_home = true;
            true
        }
        // All that it listed was garbage-collected while it slept.
        _ if text.contains("there is no commit") => true,
        // After the seal every error says so.
        ErrorKind::NeedsRecovery if text.contains("The head is sealed") => {
            has_faults || world.is_remote() || world.plan().uses_table() || text.contains("entity not found")
        }
        // What it read was garbage-collected, because another recovery has succeeded.
        ErrorKind::Corrupt => !world.has_danger(),
        // Another recovery took away what this one was about to put in place.
        ErrorKind::Io => has_faults || world.is_remote() || text.contains("entity not found"),
        ErrorKind::Unreachable => has_faults || world.plan().uses_table() || text.contains("entity not found"),
        ErrorKind::Full => has_faults,
        _ => false,
    };
    if !may_be {
        world.violation(|| format!("a recovery failed, and no fault of this run can cause that: {error}"));
    }
}

/// What a recovery reports is what it did.
fn check(world: &World, recovered: &Recovered) {
    world.tell(|| format!("recovered: {recovered:?}"));
    let has_chosen = world.with_process(world.my_process(), |process| process.has_chosen);
    if !recovered.lost.is_empty() && !has_chosen && !world.oracle().was_damaged() {
        world.violation(|| format!("a recovery says that it lost {:?}, and no file was lost", recovered.lost));
    }
}
