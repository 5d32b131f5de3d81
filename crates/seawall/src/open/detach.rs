//! Leaving Seawall: the newest version becomes NAME, a plain SQLite file that any program may write, and the folder
//! goes.
//!
//! 1. Make sure that all of it may be done: NAME is the protected copy that Seawall left there.
//! 2. Write the newest version to a draft in the folder, durably. What cannot be read, and a full disk, are found out
//!    while nothing was changed.
//! 3. Commit the state *detached*, if that version is the newest still: from now on no commit can succeed, and whatever
//!    was asleep reads why.
//! 4. Remove all other drafts of NAME, which a checkpoint that sleeps would put in its place. A process that makes a
//!    draft later finds the database detached, before it puts that there.
//! 5. Put the draft in the place of NAME.
//! 6. Give the lock of django-sqlite-efs back.
//! 7. Rename `id`, so that nobody takes what is left for a database, and remove the folder. The head stays where it is
//!    kept, so that a sleeper finds out.
//!
//! A detaching that was cut short is finished by the next one.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::{State, Upkeep};
use crate::format::ids::{PageNo, Version};
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::open::adopt::legacy_names;
use crate::open::list::forget;
use crate::open::name_draft::NameDraft;
use crate::open::remove::remove_folder_of;
use crate::open::{beside, open_existing, storage_of};
use crate::options::{Access, Freshness, Options};
use crate::ports::coordinator::Known;
use crate::ports::storage::{Begun, File, Listed, Span, Storage};
use crate::read::snapshot::Snapshot;
use crate::upkeep::copy::{For, header_for};
use crate::upkeep::listing::list;
use crate::way_out::WayOut;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the last commit waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often the newest version is written before the fence. After that the fence comes first.
const ATTEMPTS: u32 = 4;

/// Writes the newest version of the database NAME as NAME, a plain SQLite file, and removes the database's folder. This
/// process must have no connection to it; those of others get an error that says what happened. Answers the version
/// that NAME has; none if an earlier detaching, which was cut short, had done all but removing the folder.
///
/// `options` say how the database is reached.
pub fn detach(name: &Path, options: &Options) -> Result<Option<u64>> {
    let name = beside(name)?;
    forget(&name);
    let storage = storage_of(&name)?;
    let looking = |error| Error::io("looking for id", error);
    let is_left = || Ok(storage.inode(File::Folder)?.is_some() && storage.begun()? == Begun::Detaching);
    if storage.home(File::Id).map_err(looking)?.is_none() && is_left().map_err(looking)? {
        return remove_folder_of(&name).map(|()| None);
    }
    let version = detach_on(storage, &name, options)?;
    remove_folder_of(&name)?;
    Ok(Some(version))
}

/// Detaches the database on any storage, as [`detach`] does, and leaves its folder.
pub fn detach_on(storage: Arc<dyn Storage>, name: &Path, options: &Options) -> Result<u64> {
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    let home = home.ok_or_else(|| {
        Error::NoDatabase(format!("{} is not a Seawall database. Nothing was changed", name.display()))
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
    if is_detached {
        // The process that detached it may have died before that was durable. Otherwise a loss of power would open the
        // database again, and NAME is a plain file by then.
        database.tip.coordinator.make_durable().map_err(|error| match is_ours {
            true => is_unfinished(Error::nothing_written(error)),
            false => Error::nothing_written(error),
        })?;
    }
    match (is_ours, is_detached) {
        (true, _) => {}
        (false, true) if is_version(database, &newest)? => {
            // The process that put it there may have died before that was durable, and the folder goes now.
            storage.sync_name().map_err(|error| Error::io("making NAME durable", error))?;
            return let_in(database, name).map(|()| newest.version().0 - 1);
        }
        (false, true) => {
            return Err(Error::CannotOpen(
                "the database is detached already, and NAME was changed since. It is a plain SQLite file. Move NAME-seawall aside, and remove it \
                 once you are sure that NAME is what you want"
                    .into(),
            ));
        }
        (false, false) => {
            return Err(Error::CannotOpen(
                "NAME was touched from outside: it is no longer the copy that Seawall left there. Nothing was changed. To put the copy back, and \
                 keep what lies at NAME now under another name: seawall snapshot NAME --refresh. Then detach again"
                    .into(),
            ));
        }
    }
    let (draft, version) = match is_detached {
        true => (written(database, &newest).map_err(is_unfinished)?, newest.version()),
        false => fence(database)?,
    };
    let failed = |error| is_unfinished(Error::io("writing the newest version as NAME", error));
    for file in list(storage, Listed::Folder).map_err(is_unfinished)?.files {
        if matches!(file, File::NameDraft(token) if token != draft.token()) {
            storage.remove(file).map_err(failed)?;
        }
    }
    draft.put().map_err(failed)?;
    let_in(database, name).map(|()| version.0 - 1)
}

/// Gives the lock of django-sqlite-efs back, under all names.
fn let_in(database: &Database, name: &Path) -> Result<()> {
    let names = legacy_names(name, &database.options.legacy_names);
    names.iter().try_for_each(|name| database.tip.coordinator.let_in(name)).map_err(|error| {
        Error::CannotOpen(format!("{error}. NAME is the plain file now. To finish this: {}", WayOut::DETACH))
    })
}

/// Steps 2 and 3. Answers the draft, and the version of the commit that detached the database.
fn fence(database: &Arc<Database>) -> Result<(NameDraft<'_>, Version)> {
    for attempt in 1.. {
        let newest = database.snapshot_within(Freshness::Transaction, PATIENCE)?;
        let draft = written(database, &newest)?;
        let is_last = attempt == ATTEMPTS;
        let committed = database.committer.commit_upkeep(PATIENCE, |head| {
            Ok((is_last || head.order() == newest.head.order()).then_some(Upkeep::State(State::Detached)))
        })?;
        if committed.is_some() {
            // A recovery may have taken the commit, and opened the database again in a newer epoch.
            must_be_detached(database)?;
        }
        match committed {
            Some(last) if last.version() == newest.version().next() => return Ok((draft, last.version())),
            // The writers did not let up.
            Some(last) => {
                drop(draft);
                return Ok((written(database, &last).map_err(is_unfinished)?, last.version()));
            }
            None => {}
        }
    }
    unreachable!("the last attempt detaches whatever is the newest")
}

/// The newest head is that of a detached database.
fn must_be_detached(database: &Database) -> Result<()> {
    let tip = &database.tip;
    let head = tip.coordinator.load(&Known::Head(&tip.known().head), PATIENCE).map_err(Error::nothing_written);
    match head.map_err(is_unfinished)?.state {
        State::Detached => Ok(()),
        _ => Err(Error::NeedsRecovery(
            "a recovery was at work meanwhile, and has opened the database again. Nothing is lost, and NAME-seawall is in use. Detach again once \
             the recovery is done"
                .into(),
        )),
    }
}

/// `snapshot` as a draft of NAME.
fn written<'a>(database: &'a Database, snapshot: &Snapshot) -> Result<NameDraft<'a>> {
    let mut draft = NameDraft::create(database)?;
    draft.write(snapshot, For::Writing).map(|()| draft)
}

/// The error once the database is detached, and NAME is not the plain file yet.
fn is_unfinished(error: Error) -> Error {
    Error::NeedsRecovery(format!(
        "{error}. The database is detached, and NAME is still the older copy. All that was committed is in NAME-seawall. To finish this: {}",
        WayOut::DETACH
    ))
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
    // It was copied before the commit that ended the database, or after.
    let before = last.version().previous().unwrap_or_default();
    let epoch = last.head.epoch;
    let is_copy_of =
        |version| -> Result<bool> { Ok(header_for(For::Writing, (epoch, version), &page)?[..] == header[..]) };
    Ok(is_copy_of(last.version())? || is_copy_of(before)?)
}
