//! The commands on a database that exists: one file each, and this list of them.

mod adopt;
mod checkpoint;
mod detach;
mod gc;
mod move_to;
mod pin;
mod pins;
mod policy;
mod recover;
mod restore;
mod snapshot;
mod status;
mod unpin;
pub(crate) mod verify;

use crate::answer::{Answer, Failure};
use crate::exit::Exit;
use crate::target::Target;
use clap::Subcommand;
use seawall::Database;
use seawall::ports::storage::Begun;
use std::ffi::OsString;
use std::sync::Arc;

/// A command that is given a database.
pub(crate) trait Command {
    /// Its name on the command line.
    const NAME: &'static str;
    /// Which database, and how the answer is printed.
    fn target(&self) -> &Target;
    /// What it does, and answers.
    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure>;
}

/// What must be there for a command on files.
#[derive(Clone, Copy)]
pub(crate) enum Needs {
    /// A file.
    File,
    /// A database's folder, with its `id`.
    Database,
    /// A database's folder; one without `id`, too, if this was begun in it.
    DatabaseOr(Begun),
}

impl Needs {
    fn check(self, target: &Target) -> Result<(), Failure> {
        target.must_exist()?;
        match self {
            Needs::File => Ok(()),
            Needs::Database => target.must_be_a_database(None),
            Needs::DatabaseOr(begun) => target.must_be_a_database(Some(begun)),
        }
    }
}

/// A command on a database that may not be possible to open as it is.
pub(crate) trait CommandOnFiles {
    /// Its name on the command line.
    const NAME: &'static str;
    /// What must be there.
    const NEEDS: Needs;
    /// Which database, and how the answer is printed.
    fn target(&self) -> &Target;
    /// What it does, and answers.
    fn run(&self) -> Result<Answer, Failure>;
}

#[derive(Subcommand)]
pub(crate) enum OnDatabase {
    /// Say at a glance how a database is: its newest version, its history, what garbage collection would free. Changes
    /// nothing.
    Status(status::Status),
    /// Make the newest version a base, so that the log before it can be deleted once history is over.
    Checkpoint(checkpoint::Checkpoint),
    /// Collect garbage: delete what neither the newest version needs, nor any inside history, nor a pin.
    Gc(gc::Gc),
    /// Print how long a database's history is kept and when checkpoints are due, or set that.
    Policy(policy::SetPolicy),
    /// Keep a version, the newest or an older one, for some time, although it becomes older than history.
    Pin(pin::Pin),
    /// List the pins.
    Pins(pins::Pins),
    /// Give a pin up.
    Unpin(unpin::Unpin),
    /// Make a lost, damaged or set-back head again, from what the files prove. Only says what it would do, without
    /// --yes.
    Recover(recover::Recover),
    /// Make a database of what opening alone does not adopt: of a NAME whose folder is lost, or of a copied folder.
    Adopt(adopt::Adopt),
    /// Give a database another coordinator: its folder, or a table. Only says whether it can be done, without --yes.
    Move(move_to::Move),
    /// Leave Seawall: write the newest version as NAME, a plain SQLite file, and remove the folder.
    Detach(detach::Detach),
    /// Make a plain SQLite file the newest version.
    Restore(restore::Restore),
    /// Write NAME again, the copy of the newest version that stock SQLite can read.
    Snapshot(snapshot::Snapshot),
    /// Check that a version can be read, whole, and that all records agree; say what is damaged, where, and what to do.
    Verify(verify::Verify),
}

impl OnDatabase {
    /// `line` is the whole command line.
    pub(crate) fn run(&self, line: &[OsString]) -> Exit {
        match self {
            OnDatabase::Status(command) => run(command, line),
            OnDatabase::Checkpoint(command) => run(command, line),
            OnDatabase::Gc(command) => run(command, line),
            OnDatabase::Policy(command) => run(command, line),
            OnDatabase::Pin(command) => run(command, line),
            OnDatabase::Pins(command) => run(command, line),
            OnDatabase::Unpin(command) => run(command, line),
            OnDatabase::Recover(command) => run_on_files(command, line),
            OnDatabase::Adopt(command) => run_on_files(command, line),
            OnDatabase::Move(command) => run_on_files(command, line),
            OnDatabase::Detach(command) => run_on_files(command, line),
            OnDatabase::Restore(command) => run_on_files(command, line),
            OnDatabase::Snapshot(command) => run_on_files(command, line),
            // It has something to say of a database that cannot be opened, too.
            OnDatabase::Verify(command) => command.run(line),
        }
    }
}

fn run<C: Command>(command: &C, line: &[OsString]) -> Exit {
    let target = command.target();
    let answered = target.open().and_then(|database| {
        let answer = command.run(&database);
        // The process ends now, and a lease that outlives it must not keep others waiting.
        database.connection_closed();
        answer
    });
    match answered {
        Ok(answer) => answer.print(C::NAME, target),
        Err(failure) => failure.print(C::NAME, target, line),
    }
}

fn run_on_files<C: CommandOnFiles>(command: &C, line: &[OsString]) -> Exit {
    let target = command.target();
    match target.must_be_a_path().and_then(|()| C::NEEDS.check(target)).and_then(|()| command.run()) {
        Ok(answer) => answer.print(C::NAME, target),
        Err(failure) => failure.print(C::NAME, target, line),
    }
}
