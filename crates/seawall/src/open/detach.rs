//! Leaving Seawall: the newest version becomes NAME, a plain SQLite file that any program may write, and the folder
//! goes.
//!
//! 1. Make sure that all of it may be done: NAME is the protected copy that Seawall left there, and the folder may be
//!    removed.
//! 2. Commit the state *detached*: from now on no commit can succeed, and whatever was asleep reads why.
//! 3. Write the newest version to a draft in the folder, durably, and put it in the place of NAME.
//! 4. Give the lock of django-sqlite-efs back.
//! 5. Remove the folder, as a removal does. The head stays where it is kept, so that a sleeper finds out.
//!
//! A detaching that was cut short is finished by the next one.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::{State, Upkeep};
use crate::format::ids::{PageNo, Token};
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::open::adopt::legacy_names;
use crate::open::list::forget;
use crate::open::remove::remove_folder_of;
use crate::open::{beside, open_existing, storage_of};
use crate::options::{Access, Options};
use crate::ports::storage::{Bulk, File, Span, Storage};
use crate::read::snapshot::Snapshot;
use crate::upkeep::copy::{For, copy, header_for};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the last commit waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes the newest version of the database NAME as NAME, a plain SQLite file, and removes the database's folder. This
/// process must have no connection to it; those of others get an error that says what happened. Answers the version
/// that NAME has.
///
/// `options` say how the database is reached.
pub fn detach(name: &Path, options: &Options) -> Result<u64> {
    let name = beside(name)?;
    forget(&name);
    let version = detach_on(storage_of(&name, options)?, &name, options)?;
    remove_folder_of(&name)?;
    Ok(version)
}

/// The same on any storage, but for removing the folder.
pub fn detach_on(storage: Arc<dyn Storage>, name: &Path, options: &Options) -> Result<u64> {
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    let home = home.ok_or_else(|| {
        Error::CannotOpen(format!("{} is not a Seawall database. Nothing was changed", name.display()))
    })?;
    let options = Options { finishes: true, ..options.clone() };
    let database = open_existing(name, storage, Access::ReadWrite, &options, home)?;
    detach_files(&database, name)
}

/// All but removing the folder.
fn detach_files(database: &Arc<Database>, name: &Path) -> Result<u64> {
    database.may_write()?;
    let storage = &*database.tip.storage;
    let newest = database.newest_known();
    let header = storage.read(Span { file: File::Name, at: 0, length: HEADER });
    let header = header.map_err(|error| Error::io("reading NAME", error))?;
    let (is_ours, is_detached) =
        (sqlite_header::state_of(&header) == NameState::Protected, newest.head.state == State::Detached);
    match (is_ours, is_detached) {
        (true, _) => {}
        (false, true) if is_version(database, &newest)? => return Ok(newest.version().0 - 1),
        (false, true) => {
            return Err(Error::CannotOpen(
                "the database is detached already, and NAME was changed since. It is a plain SQLite file. Move NAME-seawall aside, and remove it \
                 once you are sure that NAME is what you want"
                    .into(),
            ));
        }
        (false, false) => {
            return Err(Error::CannotOpen(
                "NAME was touched from outside, and would be overwritten. Nothing was changed. Move it aside".into(),
            ));
        }
    }
    let last = match is_detached {
        true => newest,
        false => {
            let committed = database.committer.commit_upkeep(PATIENCE, |_| Ok(Some(Upkeep::State(State::Detached))))?;
            committed.expect("there was something to do")
        }
    };
    let failed = |error| {
        Error::io(
            "writing the newest version as NAME. The database is detached; detach it again, which finishes this",
            error,
        )
    };
    let token = Token(database.tip.random()?);
    let mut targets: Vec<Box<dyn Bulk>> = vec![storage.create_long(File::NameDraft(token)).map_err(failed)?];
    copy(&database.tip.pages, &last, For::Writing, &mut targets, &mut |_| Ok(()))?;
    targets.into_iter().try_for_each(|target| target.finish()).map_err(failed)?;
    storage.put_name(token).map_err(failed)?;
    let names = legacy_names(name, &database.options.legacy_names);
    let given_back = names.iter().try_for_each(|name| database.tip.coordinator.let_in(name));
    given_back.map_err(|error| {
        Error::CannotOpen(format!("{error}. NAME is the plain file now; detach it again, which finishes this"))
    })?;
    Ok(last.version().0 - 1)
}

/// Whether NAME is what an earlier detaching has put there: as long as that version, and with its header.
fn is_version(database: &Database, last: &Snapshot) -> Result<bool> {
    let storage = &*database.tip.storage;
    let stamp = storage.stamp(File::Name).map_err(|error| Error::io("looking at NAME", error))?;
    let header = storage.read(Span { file: File::Name, at: 0, length: HEADER });
    let header = header.map_err(|error| Error::io("reading NAME", error))?;
    let size = u64::from(last.page_count()) * last.page_size().map_or(0, |size| size.bytes() as u64);
    if stamp.is_none_or(|stamp| stamp.size != size) {
        return Ok(false);
    }
    if size == 0 {
        return Ok(true);
    }
    let page = database.tip.pages.read(last, PageNo(1))?;
    Ok(header_for(For::Writing, &page)?[..] == header[..])
}
