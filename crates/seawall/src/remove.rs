//! Removing a database: what is Seawall's, by its name, and nothing that a link leads to.
//!
//! `id` loses its name first, durably: what is left after a crash is no database any more, and the next opening, or another removal,
//! takes the rest away. Until all is gone, and the head too, its content stays under another name: another removal finds the head by it.

use crate::adopt::legacy_names;
use crate::coordinator::Coordinator;
use crate::coordinator::kinds::coordinator_of;
use crate::error::{Error, Result};
use crate::identity::{self, Identity};
use crate::open::{beside, forget};
use crate::storage::os::OsStorage;
use crate::storage::remains::{Clear, REMOVED, clear, gone, gone_or_filled, or_none};
use crate::storage::safely::{Folder, Use, called, is_unusable, type_of};
use crate::storage::{File, Storage, home_of};
use rustix::fs::{FileType, OFlags};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// What stock SQLite may have left beside NAME.
const LEFT_BY_STOCK: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Removes a database: NAME, what stock SQLite may have left beside it (`-journal`, `-wal`, `-shm`), its folder, and its head. One that
/// is not there is fine, and so is one whose removal was cut short.
///
/// NAME must be the file itself, and its folder a folder: a link is refused, for what it leads to may be somebody else's. Of the
/// folder's content only what Seawall made is removed, known by its name; links there are removed, not followed. What else is there stays,
/// and the error says so.
///
/// The coordinator is the one that `id` names, or `url`, if it is to be reached in another way.
pub fn remove(name: &Path, url: Option<&str>) -> Result<()> {
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
    must_be(&parent, file, FileType::RegularFile)?;
    must_be(&parent, &folder, FileType::Directory)?;
    forget(&name);

    let storage = OsStorage::new(&name, &std::env::temp_dir());
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
        let is_folder = |found| type_of(&found) == FileType::Directory;
        // A folder is no `id`, and not Seawall's.
        if !opened.look("id".as_ref()).map_err(failed)?.is_none_or(is_folder) {
            let renamed = gone(opened.rename("id".as_ref(), REMOVED.as_ref()));
            renamed.and_then(|()| opened.sync()).map_err(failed)?;
        }
    }
    let beside_it = LEFT_BY_STOCK.map(suffixed);
    let mut files = [file].into_iter().chain(beside_it.iter().map(OsString::as_os_str));
    files.try_for_each(|file| gone(parent.unlink(file))).map_err(failed)?;
    parent.sync().map_err(failed)?;
    let left = clear(&parent, &folder, Clear::Removing).map_err(failed)?;

    if let Some((coordinator, home)) = leaving {
        let names = legacy_names(&name, &[]);
        let forgotten =
            names.iter().try_for_each(|name| coordinator.let_in(name)).and_then(|()| coordinator.forget(home));
        forgotten.map_err(|error| {
            let what = "the files were removed, and what the coordinator has of the database is left, which harms nobody; remove it again";
            Error::CannotOpen(format!("{what}: {error}"))
        })?;
    }
    if let Some(opened) = &opened {
        gone(opened.unlink(REMOVED.as_ref())).map_err(failed)?;
        gone_or_filled(parent.remove_folder(&folder)).map_err(failed)?;
    }
    match left.first() {
        None => Ok(()),
        Some(first) => Err(Error::CannotOpen(format!(
            "the database was removed, and what is not Seawall's was left where it is: {first}{}",
            if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() }
        ))),
    }
}

/// What is to be removed must be what it seems to be, or not be there.
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

/// What `id` says, or said before an earlier removal, and the home. What cannot be used any more can still be removed; its head stays, and
/// costs nothing.
fn identity_of(storage: &dyn Storage, folder: &Folder) -> Result<Option<(Identity, u64)>> {
    let looking = |error| Error::io("looking for id", error);
    // Asked for freshly: an NFS client may remember that there was none.
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
    let told = url.map(|url| coordinator_of(url, identity.database, storage)).transpose()?;
    Ok(told.filter(|told| told.name() == named.name()).unwrap_or(named))
}
