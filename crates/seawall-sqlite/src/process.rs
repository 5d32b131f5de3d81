//! What is asked of the process, not of a connection: requests, and facts about a database.

use crate::failure::Failure;
use crate::host::Host;
use seawall::{Access, Counts, Database, Moment, Options, Status};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

thread_local! {
    static REQUEST: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// A request begins on this thread: connections with freshness `request` see all that is committed by now, and ask
/// for it once.
pub fn begin_request() {
    REQUEST.set(Some(seawall::begin_request()));
}

/// The request of this thread is over.
pub fn end_request() {
    REQUEST.set(None);
}

/// When this thread's request began.
pub(crate) fn request() -> Option<Moment> {
    REQUEST.get()
}

/// The facts about the database at `name`.
pub fn status(name: &Path, options: &Options) -> Result<Status, Failure> {
    Ok(open(name, options)?.status()?)
}

/// How many remote operations of each kind this process has made for the database at `name`.
pub fn counts(name: &Path, options: &Options) -> Result<Counts, Failure> {
    Ok(open(name, options)?.counts())
}

/// Removes the database at `name`, NAME and its folder.
pub fn remove(name: &Path) -> Result<(), Failure> {
    Ok(seawall::remove(name)?)
}

fn open(name: &Path, options: &Options) -> Result<Arc<Database>, Failure> {
    let host = Host::any().ok_or_else(|| {
        Failure::refusal(crate::abi::ERROR, "Seawall is not registered in any SQLite of this process yet")
    })?;
    Ok(Database::open(name, Access::ReadOnly, options, &host)?)
}
