//! A move, as an operator runs it: again and again, until the database is there, or is undone.

use crate::actor::may_fail_to_open;
use crate::event::Event;
use crate::place::At;
use crate::recovery::recover;
use crate::storage::SimStorage;
use crate::world::{Phase, World};
use seawall::{Error, ErrorKind, Moved, Options, move_on};
use seawall_dynamodb::item::key_of;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Without faults a move must succeed within this many tries.
const TRIES: u32 = 100;
/// An operator undoes a move that was cut short, instead of finishing it, with this probability.
const UNDOES: f64 = 0.1;

/// Before the coordinator that has to be moved to first, and before the one that the database has now.
const FINISH_FIRST: &str = "Finish that first: seawall move NAME --to ";
const ASK_FOR: &str = "Ask for coordinator=";
const MOVED_TO: &str = "its coordinator is ";
const BEING_MOVED: &str = "the database is being moved to ";
const LEFT_THERE: &str = "was left by a move that was undone";
const NEW_ID: &str = "got a new id since it was opened here";

/// Moves the database to `to`, until that succeeds, or is no longer what its operator wants.
pub(crate) fn move_to(world: &World, to: At) {
    let process = world.my_process();
    let (mut tries, mut to) = (0, to);
    while !world.oracle().is_detached() {
        let began = world.now();
        let (options, was_fenced) = (options(world), world.oracle().fenced_for() == Some(to));
        let storage = Arc::new(SimStorage::new(world));
        world.with_process(process, |process| process.is_moving = true);
        let done = move_on(storage, Path::new("NAME"), to.url(), false, &options);
        world.with_process(process, |process| process.is_moving = false);
        let error = match done {
            Ok(moved) => return check(world, to, &moved, began, was_fenced),
            Err(error) => error,
        };
        world.tell(|| format!("the move to {to:?} failed: {error}"));
        world.met(Event::MoveFailed);
        let text = error.to_string();
        let is_left = text.contains(LEFT_THERE) && removes_what_was_left(world, to, began);
        if !is_left && !may_fail(world, &error, began) {
            return world.violation(|| format!("a move failed, and no fault can cause that: {error}"));
        }
        if let Some(first) = At::named_in(&text, FINISH_FIRST).or_else(|| At::named_in(&text, BEING_MOVED)) {
            // Another operator's was cut short. This one does what the error says.
            to = first;
        }
        tries += u32::from(world.phase() != Phase::Trouble);
        if tries > TRIES {
            return world.violation(|| format!("the database cannot be moved to {to:?}: {error}"));
        }
        world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(5)));
        if text.contains("seawall recover") && !world.plan().detaches && world.by_chance(UNDOES) {
            return recover(world);
        }
        // An operator who read that nothing was changed may give up.
        if world.oracle().fenced_for().is_none() && world.by_chance(0.2) {
            return;
        }
    }
}

/// The head of a move that was undone may have come late. The operator, who knows that no other folder uses it and that
/// nobody moves the database, does what the error says. Returns whether there was one.
fn removes_what_was_left(world: &World, to: At, began: Duration) -> bool {
    let database = world.oracle().head().map(|head| head.database);
    let is_elsewhere = to == At::Table && world.at() == At::Files && !world.was_moving(began);
    let Some(database) = database.filter(|_| is_elsewhere) else { return false };
    world.tell(|| "the head that a move has left in the table is removed by hand".into());
    world.items().0.remove(&key_of(database)).is_some()
}

/// How the database is reached, as `id` says.
fn options(world: &World) -> Options {
    Options { coordinator: world.at().url().into(), lease: world.plan().lease, upkeep: false, ..Options::default() }
}

/// What a move reports is what it did.
fn check(world: &World, to: At, moved: &Moved, began: Duration, was_fenced: bool) {
    world.tell(|| format!("moved: {moved:?}"));
    if was_fenced {
        world.met(Event::MoveFinished);
    }
    // Another operator may have moved it back since.
    if At::of(&moved.to) != to || world.at() != to && world.switched() < began {
        world.violation(|| format!("a move to {to:?} was reported as done: {moved:?}, and id does not name that"));
    }
    let version = moved.version.expect("it was no dry run");
    let checked = world.oracle().moved(version, world.now());
    world.check(checked);
}

fn may_fail(world: &World, error: &Error, began: Duration) -> bool {
    match error.kind() {
        ErrorKind::OutcomeUnknown | ErrorKind::Superseded | ErrorKind::Unreachable | ErrorKind::NeedsRecovery => true,
        // The database went elsewhere meanwhile, or a recovery has undone this move.
        ErrorKind::CannotOpen | ErrorKind::Corrupt | ErrorKind::NoDatabase => {
            world.was_moving(began) || world.was_in_danger(began) || may_fail_to_open(world, error)
        }
        _ => world.oracle().is_detached() || world.was_in_danger(began) || may_fail_to_open(world, error),
    }
}

/// Whether an error says that the database is not where it was opened.
pub(crate) fn says_elsewhere(error: &Error) -> bool {
    let text = error.to_string();
    [ASK_FOR, MOVED_TO, BEING_MOVED, NEW_ID].iter().any(|known| text.contains(known))
}

/// Where an opener that asked for `asked` has to ask next, after this error.
pub(crate) fn asks_next(error: &Error, asked: At) -> At {
    At::named_in(&error.to_string(), ASK_FOR).unwrap_or(asked)
}

/// Checks that an error which says that the database is elsewhere is right: it names the coordinator that the database
/// has, or is about to have.
pub(crate) fn check_says_elsewhere(world: &World, error: &Error, began: Duration) {
    let text = error.to_string();
    if !world.was_moving(began) && !text.contains(ASK_FOR) && !text.contains(MOVED_TO) && !text.contains(NEW_ID) {
        return world.violation(|| format!("nobody moves the database: {error}"));
    }
    let named = [ASK_FOR, MOVED_TO, BEING_MOVED].iter().find_map(|mark| At::named_in(&text, mark));
    let Some(named) = named else { return };
    let is_right = named == world.at() || world.oracle().fenced_for() == Some(named);
    if !is_right && !world.was_moving(began) {
        world.violation(|| format!("the database is with {:?}, and an error says {named:?}: {error}", world.at()));
    }
}
