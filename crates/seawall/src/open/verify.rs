//! Verifying a database that may be too damaged to be opened.

use super::{coordinator_of, or_nothing, storage_of};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::identity;
use crate::open::recover::proven_and_named;
use crate::options::{Access, Freshness, Options};
use crate::ports::coordinator::Known;
use crate::ports::stock_sqlite::{HeldFile, PlainSqlite};
use crate::ports::storage::{File, Span, Storage};
use crate::read::checks::check_database;
use crate::read::history::At;
use crate::read::pages::Pages;
use crate::read::tip::PATIENCE;
use crate::upkeep::checkpoint::Progress;
use crate::upkeep::verify::{self, Verified, Verifying};
use crate::way_out::{SAYS_FIRST, WayOut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Verifies the newest version of the database at `name`, or the one that `at` names, as [`Database::verify`] does. What keeps the newest
/// version from being opened is a finding, and the rest is looked at all the same, as far as `id` and the head can be read. An error means
/// that nothing was verified.
pub fn verify(
    name: &Path,
    options: &Options,
    at: Option<At>,
    what: Verifying,
    progress: Progress<'_>,
) -> Result<Verified> {
    let error = match Database::open(name, Access::ReadOnly, options, &NoAdoption) {
        Ok(database) => {
            let snapshot = match at {
                None => database.snapshot(Freshness::Transaction)?,
                Some(at) => database.version_at(at)?,
            };
            let verified = database.verify(&snapshot, what, progress)?;
            let whole = at.is_none() && what.deep && what.part.is_last() && !database.is_copy();
            return Ok(match whole.then(|| set_back(&storage_of(name).ok()?, options)).flatten() {
                Some(error) => verified.cannot_be_opened(&error),
                None => verified,
            });
        }
        Err(error) => error,
    };
    let storage = storage_of(name)?;
    let id = or_nothing(storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH }));
    let Some(identity) = id.ok().and_then(|id| identity::parse(id).ok()) else { return Err(error) };
    let coordinator = coordinator_of(&options.coordinator, identity.database, &storage)?;
    if coordinator.name() != identity.coordinator {
        return Err(error);
    }
    let Ok(head) = coordinator.load(&Known::Nothing, PATIENCE) else { return Err(error) };
    check_database(&head, identity.database)?;
    let pages = Pages::new(storage, identity.database, options.page_cache);
    let verified = verify::verify(&pages, &head, (&head, None), what, progress)?;
    Ok(verified.cannot_be_opened(&error))
}

/// The error that the database should give, if its head was set back to before the last note of it: the segments can
/// prove more than the head names.
fn set_back(storage: &Arc<dyn Storage>, options: &Options) -> Option<Error> {
    // What cannot be decided here, a recovery does not decide either.
    let (proven, named) = proven_and_named(storage, &options.coordinator).ok()?;
    let head = named.filter(|head| *head < proven)?;
    Some(Error::NeedsRecovery(format!(
        "the head is older than the files: it names version {head}, and version {proven} is proven to have been committed. Stop all writers. If a \
         backup of the head was restored, bring back the newest; or run {}. {SAYS_FIRST}",
        WayOut::RECOVER
    )))
}

/// A verification adopts nothing.
struct NoAdoption;

impl PlainSqlite for NoAdoption {
    fn hold(&self, _: &Path, _: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        Err(Error::ReadOnly("a verification adopts nothing".into()))
    }
}
