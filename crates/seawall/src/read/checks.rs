//! Whether a head can be used here: its database, its state and its folder.

use crate::error::{Error, Result};
use crate::format::head::{Head, State};
use crate::format::ids::DatabaseId;
use crate::way_out::{SAYS_FIRST, WayOut};

/// Whether an error says that what was read is missing or damaged, or is not what the head says.
pub(crate) fn was_read(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::CannotOpen(_) | Error::NeedsRecovery(_))
}

/// Head and folder must be of one database.
pub(crate) fn check_database(head: &Head, database: DatabaseId) -> Result<()> {
    if head.database == database {
        return Ok(());
    }
    Err(Error::NeedsRecovery(format!(
        "the head is of database {}, and the folder of database {database}: they do not belong together. Nothing was written; \
         bring back the one that belongs to the other; or run {}. {SAYS_FIRST}",
        head.database,
        WayOut::RECOVER
    )))
}

/// Only an open database can be read and written. A process that was asleep while it was recovered, moved or detached
/// learns it here.
pub(crate) fn check_state(head: &Head) -> Result<()> {
    let why = match &head.state {
        State::Open => return Ok(()),
        State::Recovering(token) => {
            return Err(Error::NeedsRecovery(format!(
                "the database is being recovered (by {token}), and nobody may use it meanwhile. Nothing was written. Wait until the recovery \
                 is done; if it was interrupted, finish it: {}",
                WayOut::RECOVER
            )));
        }
        State::Detached => "the database was detached: NAME becomes the plain SQLite file of its newest version, and is not Seawall's any \
                            more. Nothing was written. Close this connection, and open NAME again"
            .into(),
        State::Moved(url) => return Err(moved_to(url)),
    };
    Err(Error::CannotOpen(why))
}

pub(super) fn moved_to(url: &str) -> Error {
    Error::CannotOpen(format!(
        "the database was moved: its coordinator is {url} now. Nothing was written. Close this connection, and open the database with \
         coordinator={url}"
    ))
}

/// A copied or restored folder has another inode for `id`: it must never share a head with its original by writing.
pub(crate) fn check_home(head: &Head, home: u64) -> Result<()> {
    if head.home == home {
        return Ok(());
    }
    Err(Error::CannotOpen(format!(
        "this folder is a copy: database {} lives in another one (its home is {}, this is {home}). Nothing was written. \
         Use the original. This copy can be read: open it with mode=ro, or call seawall.copy. To make it a database of its own: {}",
        head.database,
        head.home,
        WayOut::ADOPT_NEW_ID
    )))
}

/// An error of reading; `copied` is the database of which the folder is a copy, if it is one.
pub(crate) fn in_copy(error: Error, copied: Option<DatabaseId>, coordinator: &str) -> Error {
    match (&error, copied) {
        (Error::Corrupt { .. } | Error::CannotOpen(_) | Error::NeedsRecovery(_), Some(database)) => {
            Error::CannotOpen(format!(
                "this folder is a copy of database {database}, and not all that the head in {coordinator} names is in it. What the original has \
             committed since it was copied is missing here; so is what changed while it was copied. Nothing was changed. Read the original, \
             or copy it again while no process writes. ({error})"
            ))
        }
        _ => error,
    }
}
