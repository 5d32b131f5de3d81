//! What is asked of the process, not of a connection: requests, and facts about a database.

use crate::abi;
use crate::failure::Failure;
use crate::host::Host;
use seawall::{Access, Counts, Database, Error, Freshness, Moment, Options, Status};
use std::cell::Cell;
use std::io::BufWriter;
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
    seawall::end_request();
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

/// Removes the database at `name`, NAME, its folder and its head; `coordinator` is how to reach that, if not as `id` says.
pub fn remove(name: &Path, coordinator: Option<&str>) -> Result<(), Failure> {
    Ok(seawall::remove(name, coordinator)?)
}

/// Writes the newest version of the database at `source` as a plain SQLite file at `target`, where nothing may lie yet. It belongs to
/// those to whom `source` belongs, with the same permissions.
pub fn copy(source: &Path, target: &Path, options: &Options) -> Result<(), Failure> {
    let database = open(source, options)?;
    let snapshot = database.snapshot(Freshness::Transaction)?;
    let failed = |error| Error::io(format!("writing {}", target.display()), error);
    let file = seawall::ports::storage::create_beside(source, target).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written = database.export(&snapshot, &mut out).and_then(|()| {
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    });
    if written.is_err() {
        // Half a copy must not be taken for one.
        let _ = std::fs::remove_file(target);
    }
    Ok(written?)
}

fn open(name: &Path, options: &Options) -> Result<Arc<Database>, Failure> {
    let host = Host::any()
        .ok_or_else(|| Failure::refusal(abi::ERROR, "Seawall is not registered in any SQLite of this process yet"))?;
    Ok(Database::open(name, Access::ReadOnly, options, &host)?)
}
