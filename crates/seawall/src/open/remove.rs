//! Removes a database: what is Seawall's, by its name, and nothing that a link leads to.
//!
//! Before the first change it is known that this process may remove all of it. First `id` is renamed, durably. What is
//! left after a crash is therefore no database any more, and the next opening, or another removal, removes the rest.
//! The content of `id` stays under the other name until all is gone, the head too, because another removal finds the
//! head by it.

use crate::error::{Error, Result};
use crate::format::identity::{self, Identity};
use crate::open::adopt::legacy_names;
use crate::open::beside;
use crate::open::list::forget;
use crate::ports::coordinator::Coordinator;
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::storage::os::OsStorage;
use crate::ports::storage::remains::{
    DETACHED, LEFT_BY_STOCK, REMOVED, clear_for_good, gone, may_clear, may_remove, or_none, remove_former_id,
};
use crate::ports::storage::rights::explain_removal;
use crate::ports::storage::safely::{Folder, Use, called, is_unusable, type_of};
use crate::ports::storage::{File, Storage, home_of};
use crate::way_out::WayOut;
use rustix::fs::{FileType, OFlags};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Removes a database: NAME, what stock SQLite may have left beside it (`-journal`, `-wal`, `-shm`), its folder, and
/// its head. It is no error if the database does not exist, or if an earlier removal was cut short.
///
/// NAME must be the file itself, and its folder a folder. A link is refused, because what it leads to may belong to
/// someone else. Of the folder's content only what Seawall made is removed, which is known by its name. Links there are
/// removed, not followed. Everything else stays, and the error says so. If this process may not remove all of it,
/// nothing is removed. If a removal fails after it began, the error says that it was cut short.
///
/// The coordinator is the one that `id` names, reached as `url` says, if there is one.
pub fn remove(name: &Path, url: Option<&str>) -> Result<()> {
    let text = name.to_string_lossy();
    if (text.starts_with("file:") || text == ":memory:") && !name.exists() {
        let text = "is a URI of SQLite's. Nothing was removed: name the database by its path";
        return Err(Error::CannotOpen(format!("{} {text}", name.display())));
    }
    let name = beside(name)?;
    let failed = |error| Error::io(format!("removing {}", name.display()), error);
    let parent = Folder::at(name.parent().expect("it is absolute"), Use::List).map_err(failed)?;
    let file = name.file_name().expect("it names a file");
    let suffixed = |suffix: &str| {
        let mut name = file.to_owned();
        name.push(suffix);
        name
    };
    let folder = suffixed("-seawall");
    let beside_it = LEFT_BY_STOCK.map(suffixed);
    must_be(&parent, file, FileType::RegularFile)?;
    must_be(&parent, &folder, FileType::Directory)?;
    let mut files = [file].into_iter().chain(beside_it.iter().map(OsString::as_os_str));
    files.clone().try_for_each(|file| may_remove(&parent, file)).map_err(failed)?;
    may_clear(&parent, &folder).map_err(failed)?;
    forget(&name);

    let storage = OsStorage::new(&name);
    let storage: Arc<dyn Storage> = Arc::new(storage.map_err(failed)?);
    let opened = or_none(parent.folder(&folder, Use::List)).map_err(failed)?;
    let leaving = match &opened {
        Some(opened) => identity_of(&*storage, opened)?,
        None => None,
    };
    let leaving = match leaving {
        Some((identity, home)) => Some((coordinator_to_leave(&identity, url, &storage)?, home)),
        None => None,
    };

    if let Some(opened) = &opened {
        begin(opened, &parent, file).map_err(|stopped| match stopped {
            Stopped::Undone(error) => failed(error),
            Stopped::Halfway(error) => cut_short(&name, &error),
        })?;
    }
    let cut_short = |error: io::Error| cut_short(&name, &error);
    let unlink = |file: &OsStr| gone(parent.unlink(file)).map_err(|error| explain_removal(error, &parent, file));
    if opened.is_none() {
        unlink(file).map_err(failed)?;
    }
    files.try_for_each(unlink).and_then(|()| parent.sync()).map_err(cut_short)?;
    let left = clear_for_good(&parent, &folder).map_err(cut_short)?;

    if let Some((coordinator, home)) = leaving {
        let names = legacy_names(&name, &[]);
        let forgotten =
            names.iter().try_for_each(|name| coordinator.let_in(name)).and_then(|()| coordinator.forget(home));
        forgotten.map_err(|error| {
            let what = "the files were removed, and what the coordinator has of the database is left, which does no harm; remove it again";
            Error::CannotOpen(format!("{what}: {error}"))
        })?;
    }
    if let Some(opened) = &opened {
        remove_former_id(opened, &parent, &folder).map_err(cut_short)?;
    }
    match left.first() {
        None => Ok(()),
        Some(first) => Err(Error::CannotOpen(format!(
            "the database was removed, and what is not Seawall's was left where it is: {first}{}",
            if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() }
        ))),
    }
}

/// Removes the folder of a database whose NAME stays, and whose head stays where it is kept.
pub(crate) fn remove_folder_of(name: &Path) -> Result<()> {
    let failed = |error| {
        Error::io(
            format!(
                "removing the folder of {}, which is the plain SQLite file of the newest version now. To finish it: {}",
                name.display(),
                WayOut::DETACH
            ),
            error,
        )
    };
    let parent = Folder::at(name.parent().expect("it is absolute"), Use::List).map_err(failed)?;
    let mut folder = name.file_name().expect("it names a file").to_owned();
    folder.push("-seawall");
    let Some(opened) = or_none(parent.folder(&folder, Use::List)).map_err(failed)? else { return Ok(()) };
    gone(opened.rename("id".as_ref(), DETACHED.as_ref())).and_then(|()| opened.sync()).map_err(failed)?;
    let left = clear_for_good(&parent, &folder).map_err(failed)?;
    remove_former_id(&opened, &parent, &folder).map_err(failed)?;
    match left.first() {
        None => Ok(()),
        Some(first) => Err(Error::CannotOpen(format!(
            "the database was detached, and what is not Seawall's was left where it is: {first}{}",
            if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() }
        ))),
    }
}

/// How the beginning of a removal failed.
enum Stopped {
    /// Nothing was changed.
    Undone(io::Error),
    /// Something was removed.
    Halfway(io::Error),
}

/// Renames `id`, and then removes NAME. If NAME cannot be removed after all, `id` gets its name back. Otherwise the
/// database would still be there, and no process could open it.
fn begin(folder: &Folder, parent: &Folder, file: &OsStr) -> Result<(), Stopped> {
    let found = folder.look("id".as_ref()).map_err(Stopped::Undone)?;
    // A folder is no `id`, and not Seawall's.
    let renames = found.is_some_and(|found| type_of(&found) != FileType::Directory);
    let began = if renames {
        gone(folder.rename("id".as_ref(), REMOVED.as_ref())).and_then(|()| folder.sync())
    } else {
        Ok(())
    };
    let removed = began.and_then(|()| gone(parent.unlink(file)));
    let Err(error) = removed.map_err(|error| explain_removal(error, parent, file)) else { return Ok(()) };
    // An error's call may have taken effect.
    let name_is_there = parent.look(file).is_ok_and(|found| found.is_some());
    let was_renamed = || folder.look("id".as_ref()).map(|found| found.is_none());
    let undone = || match was_renamed() {
        Ok(true) => folder.rename(REMOVED.as_ref(), "id".as_ref()).and_then(|()| folder.sync()),
        renamed => renamed.map(drop),
    };
    if name_is_there && (!renames || undone().is_ok()) {
        Err(Stopped::Undone(error))
    } else {
        Err(Stopped::Halfway(error))
    }
}

/// The error of a removal that has removed something.
fn cut_short(name: &Path, error: &io::Error) -> Error {
    Error::CannotOpen(format!(
        "the removal of {} was cut short: {error}. A part of the database is gone, and what is left can no longer \
         be used. To remove the rest, call seawall.remove again",
        name.display()
    ))
}

/// Fails if what is to be removed exists and is of another kind.
fn must_be(parent: &Folder, name: &OsStr, wanted: FileType) -> Result<()> {
    let path = parent.path().join(name);
    let found = parent.look(name).map_err(|error| Error::io(format!("looking for {}", path.display()), error))?;
    match found.map(|found| type_of(&found)) {
        None => Ok(()),
        Some(kind) if kind == wanted => Ok(()),
        Some(FileType::Symlink) => {
            let target = std::fs::read_link(&path).unwrap_or_default();
            Err(Error::CannotOpen(format!(
                "{} is a link to {}, and links are not followed here. Nothing was removed: to remove the link, use rm; to remove the \
                 database that it leads to, name that",
                path.display(),
                target.display()
            )))
        }
        Some(kind) => {
            let (is, wanted) = (called(kind), called(wanted));
            Err(Error::CannotOpen(format!("{} is {is}, not {wanted}. Nothing was removed", path.display())))
        }
    }
}

/// The content of `id`, or of what an earlier removal renamed it to, and the home. A database whose `id` cannot be read
/// can still be removed. Then its head stays, and costs nothing.
fn identity_of(storage: &dyn Storage, folder: &Folder) -> Result<Option<(Identity, u64)>> {
    let looking = |error| Error::io("looking for id", error);
    // Looked up afresh, because an NFS client may remember that there was none.
    let is_there = match storage.home(File::Id) {
        Err(error) if is_unusable(&error) => return Ok(None),
        home => home.map_err(looking)?.is_some(),
    };
    let name = if is_there { "id" } else { REMOVED };
    let (file, found) = match folder.open(name.as_ref(), OFlags::RDONLY) {
        Err(error) if is_unusable(&error) || error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(looking)?,
    };
    let mut text = Vec::new();
    file.take(identity::MAX_LENGTH as u64).read_to_end(&mut text).map_err(looking)?;
    Ok(identity::parse(text).ok().map(|identity| (identity, home_of(found.stx_ino, folder.inode()))))
}

/// The coordinator that `identity` names, reached as `url` says, if that names the same one.
fn coordinator_to_leave(
    identity: &Identity,
    url: Option<&str>,
    storage: &Arc<dyn Storage>,
) -> Result<Box<dyn Coordinator>> {
    let named = coordinator_of(&identity.coordinator, identity.database, storage)?;
    let asked = url.map(|url| coordinator_of(url, identity.database, storage)).transpose()?;
    Ok(asked.filter(|asked| asked.name() == named.name()).unwrap_or(named))
}
