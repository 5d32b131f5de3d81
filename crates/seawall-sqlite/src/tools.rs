//! Operations on a whole database, without a connection of SQLite's.

use crate::abi;
use crate::failure::Failure;
use crate::host::Host;
use seawall::{Access, Counts, Database, Error, Freshness, Options, Status};
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

/// The facts about the database at `name`. `coordinator` says how to reach the head; without it, the file `id` says so.
pub fn status(name: &Path, coordinator: Option<&str>) -> Result<Status, Failure> {
    Ok(open(name, coordinator)?.status()?)
}

/// How many remote operations of each kind this process has made for the database at `name`. `coordinator` is as for
/// [`status`].
pub fn counts(name: &Path, coordinator: Option<&str>) -> Result<Counts, Failure> {
    Ok(open(name, coordinator)?.counts())
}

/// Removes the database at `name`: NAME, its folder and its head. `coordinator` says how to reach the head; without it,
/// the file `id` says so.
pub fn remove(name: &Path, coordinator: Option<&str>) -> Result<(), Failure> {
    Ok(seawall::remove(name, coordinator)?)
}

/// Writes the newest version of the database at `source` to `target`, as a plain SQLite file. There must be no file at
/// `target` yet. The copy gets the owner, the group and the permissions of `source`. `coordinator` is as for [`status`].
pub fn copy(source: &Path, target: &Path, coordinator: Option<&str>) -> Result<(), Failure> {
    let database = open(source, coordinator)?;
    let snapshot = database.snapshot(Freshness::Transaction)?;
    let failed = |error| Error::io(format!("writing {}", target.display()), error);
    let file = seawall::ports::storage::create_beside(source, target).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written = database.export(&snapshot, &mut out).and_then(|()| {
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    });
    if written.is_err() {
        // An incomplete copy must not be mistaken for a complete one.
        let _ = std::fs::remove_file(target);
    }
    Ok(written?)
}

/// The database at `name`, which must be one already, without a connection. `coordinator` is as for [`status`].
pub fn open(name: &Path, coordinator: Option<&str>) -> Result<Arc<Database>, Failure> {
    let host = Host::any()
        .ok_or_else(|| Failure::refusal(abi::ERROR, "Seawall is not registered in any SQLite of this process yet"))?;
    Ok(match coordinator {
        Some(url) => {
            let options = Options { coordinator: url.to_owned(), ..Options::default() };
            Database::open(name, Access::ReadOnly, &options, &host)?
        }
        None => Database::open_bound(name, Access::ReadOnly, &host)?,
    })
}
