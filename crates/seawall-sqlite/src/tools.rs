//! Operations on a whole database, without a connection of SQLite's.

use crate::abi;
use crate::failure::Failure;
use crate::host::Host;
use seawall::{Access, Counts, Database, Error, Freshness, Moved, Options, Recovered, Recovery, Status, reached_by};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
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
        file.sync_all().map_err(failed)?;
        seawall::ports::storage::sync_folder_of(target).map_err(failed)
    });
    if written.is_err() {
        // An incomplete copy must not be mistaken for a complete one.
        let _ = std::fs::remove_file(target);
    }
    Ok(written?)
}

/// Makes the head of the database at `name` again ([`seawall::recover`]).
pub fn recover(name: &Path, recovery: &Recovery) -> Result<Recovered, Failure> {
    host()?;
    Ok(seawall::recover(name, recovery)?)
}

/// Writes the newest version of the database at `name` as NAME, a plain SQLite file, and removes its folder
/// ([`seawall::detach`]). `coordinator` is as for [`status`].
pub fn detach(name: &Path, coordinator: Option<&str>) -> Result<Option<u64>, Failure> {
    host()?;
    Ok(seawall::detach(name, &reached_by(name, coordinator)?)?)
}

/// Gives the database at `name` the coordinator `to` ([`seawall::move_to`]). `coordinator` is as for [`status`].
pub fn move_to(name: &Path, coordinator: Option<&str>, to: &str, dry_run: bool) -> Result<Moved, Failure> {
    host()?;
    Ok(seawall::move_to(name, to, dry_run, &reached_by(name, coordinator)?)?)
}

/// Makes the plain SQLite file `source` the newest version of the database at `name` ([`seawall::restore_from`]).
/// `coordinator` is as for [`status`].
pub fn restore(name: &Path, source: &Path, coordinator: Option<&str>) -> Result<u64, Failure> {
    host()?;
    Ok(seawall::restore_from(name, source, &reached_by(name, coordinator)?)?)
}

/// Writes NAME again ([`seawall::refresh_name`]). `coordinator` is as for [`status`].
pub fn refresh(name: &Path, coordinator: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    host()?;
    Ok(seawall::refresh_name(name, &reached_by(name, coordinator)?)?)
}

/// Makes a database of what opening alone does not adopt ([`seawall::adopt`]). `coordinator` is as for [`status`].
pub fn adopt(name: &Path, coordinator: Option<&str>, new_id: bool) -> Result<Option<PathBuf>, Failure> {
    let host = host()?;
    Ok(seawall::adopt(name, new_id, &reached_by(name, coordinator)?, &host)?)
}

/// Some SQLite of this process.
fn host() -> Result<&'static Host, Failure> {
    Host::any()
        .ok_or_else(|| Failure::refusal(abi::ERROR, "Seawall is not registered in any SQLite of this process yet"))
}

/// The database at `name`, which must be one already, without a connection. `coordinator` is as for [`status`].
pub fn open(name: &Path, coordinator: Option<&str>) -> Result<Arc<Database>, Failure> {
    let host = host()?;
    Ok(match coordinator {
        Some(url) => {
            let options = Options { coordinator: url.to_owned(), ..Options::default() };
            Database::open(name, Access::ReadOnly, &options, &host)?
        }
        None => Database::open_bound(name, Access::ReadOnly, &host)?,
    })
}
