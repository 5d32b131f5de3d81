//! Removes a database's folder: what is Seawall's, by its name, and nothing else. Follows no link.

use super::Listed;
use super::retired::is_retired;
use super::rights::explain_removal;
use super::safely::{Folder, Use, name_of, type_of};
use crate::format::ids::{CommitId, parse_number};
use rustix::fs::FileType;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The folders inside a database's folder.
pub(super) const FOLDERS: [&str; 3] = ["bases", "segments", "commits"];
/// The name of `id` while its database is being removed.
pub(crate) const REMOVED: &str = "id.removed";
/// The name of `id` once its database was detached, while its folder is being removed. NAME stays.
pub(crate) const DETACHED: &str = "id.detached";
/// Both.
const FORMER_IDS: [&str; 2] = [REMOVED, DETACHED];
/// What stock SQLite may have left beside NAME.
pub(crate) const LEFT_BY_STOCK: [&str; 3] = ["-journal", "-wal", "-shm"];
/// The name of a folder in which an adoption tries something out begins with this.
pub(super) const TRIAL: &str = "trial.";
/// A trial is a folder in that folder, and has files only.
const TRIAL_DEPTH: usize = 2;
/// How often the folder of a removed database is cleared again, if something came meanwhile.
const CLEARINGS: usize = 5;

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clear {
    /// A database is being removed. The caller removes its former `id` last.
    Removing,
    /// A new database is about to be made. Another process may be in the middle of a trial.
    MakingRoom,
}

/// Checks, before anything is removed, whether this process may remove all that is Seawall's in `folder`, and the
/// folder. Changes nothing.
pub(crate) fn may_clear(parent: &Folder, folder: &OsStr) -> io::Result<()> {
    may_remove(parent, folder)?;
    let Some(opened) = open(parent, folder)? else { return Ok(()) };
    for name in names(&opened)? {
        let (name, text) = (name_of(name.to_bytes()), name.to_str().unwrap_or_default());
        if !is_ours(text) && !is_trial(text) && !is_retired(text) {
            continue;
        }
        may_remove(&opened, name)?;
        if is_listed(text) && is_folder(&opened, name)? {
            let Some(inside) = open(&opened, name)? else { continue };
            let names = names(&inside)?;
            let ours = names.iter().filter(|name| is_ours_in(text, name.to_str().unwrap_or_default()));
            ours.into_iter().try_for_each(|name| may_remove(&inside, name_of(name.to_bytes())))?;
        }
    }
    Ok(())
}

/// Whether this process may remove `name`, if it is there.
pub(crate) fn may_remove(folder: &Folder, name: &OsStr) -> io::Result<()> {
    let Some(found) = folder.look(name)? else { return Ok(()) };
    folder.may_remove(name, &found).map_err(|error| explain_removal(error, folder, name))
}

/// Removes what Seawall made in `folder`, and the folder itself if nothing else is there. Returns the names of what was
/// left.
pub(crate) fn clear(parent: &Folder, folder: &OsStr, what: Clear) -> io::Result<Vec<String>> {
    let Some(opened) = open(parent, folder)? else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    for name in names(&opened)? {
        let (name, text) = (name_of(name.to_bytes()), name.to_str().unwrap_or_default());
        let is_folder = is_folder(&opened, name)?;
        if is_listed(text) && is_folder {
            left.extend(clear_inside(&opened, text)?);
        } else if is_trial(text) && is_folder {
            if what == Clear::Removing && !remove_trial(&opened, name)? {
                left.push(format!("{}", opened.path().join(name).display()));
            }
        } else if is_ours(text) && !is_folder {
            if FORMER_IDS.contains(&text) && what == Clear::Removing {
                continue;
            }
            unlink(&opened, name)?;
        } else if !is_of_nfs(name) {
            left.push(format!("{}", opened.path().join(name).display()));
        }
    }
    remove_folder(parent, folder)?;
    Ok(left)
}

fn clear_inside(parent: &Folder, folder: &str) -> io::Result<Vec<String>> {
    let Some(opened) = open(parent, folder.as_ref())? else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    for name in names(&opened)? {
        let name = name_of(name.to_bytes());
        if is_ours_in(folder, name.to_str().unwrap_or_default()) {
            unlink(&opened, name)?;
        } else if !is_of_nfs(name) {
            left.push(format!("{}", opened.path().join(name).display()));
        }
    }
    remove_folder(parent, folder.as_ref())?;
    Ok(left)
}

/// Removes the folder of an adoption's trials, and returns whether it is gone. Trials make nothing deeper than
/// [`TRIAL_DEPTH`]. What lies deeper is not Seawall's, and stays.
pub(super) fn remove_trial(parent: &Folder, folder: &OsStr) -> io::Result<bool> {
    remove_tree(parent, folder, TRIAL_DEPTH)?;
    Ok(parent.look(folder)?.is_none())
}

fn remove_tree(parent: &Folder, folder: &OsStr, depth: usize) -> io::Result<()> {
    let Some(opened) = open(parent, folder)? else { return Ok(()) };
    for name in names(&opened)? {
        let name = name_of(name.to_bytes());
        match is_folder(&opened, name)? {
            true if depth > 1 => remove_tree(&opened, name, depth - 1)?,
            true => {}
            false => unlink(&opened, name)?,
        }
    }
    remove_folder(parent, folder)
}

fn open(parent: &Folder, folder: &OsStr) -> io::Result<Option<Folder>> {
    or_none(parent.folder(folder, Use::List)).map_err(|error| explain_removal(error, parent, folder))
}

fn names(folder: &Folder) -> io::Result<Vec<CString>> {
    folder.names().map_err(|error| explain_removal(error, folder, ".".as_ref()))
}

fn is_folder(folder: &Folder, name: &OsStr) -> io::Result<bool> {
    Ok(folder.look(name)?.is_some_and(|found| type_of(&found) == FileType::Directory))
}

fn unlink(folder: &Folder, name: &OsStr) -> io::Result<()> {
    gone(folder.unlink(name)).map_err(|error| explain_removal(error, folder, name))
}

pub(crate) fn remove_folder(parent: &Folder, folder: &OsStr) -> io::Result<()> {
    gone_or_filled(parent.remove_folder(folder)).map_err(|error| explain_removal(error, parent, folder))
}

/// Whether a folder inside the database's has such a name.
fn is_listed(name: &str) -> bool {
    FOLDERS.contains(&name) || is_retired(name)
}

/// Whether an adoption gives such names to the folders of its trials.
fn is_trial(name: &str) -> bool {
    name.strip_prefix(TRIAL).is_some_and(|id| id.parse::<CommitId>().is_ok())
}

/// Whether Seawall gives such names in a database's folder.
fn is_ours(name: &str) -> bool {
    // A link or a file in the place of one of the folders was put there by someone else. It is removed, because the
    // name is Seawall's.
    FORMER_IDS.contains(&name) || FOLDERS.contains(&name) || Listed::Folder.file(name).is_some()
}

fn is_ours_in(folder: &str, name: &str) -> bool {
    match folder {
        "commits" => parse_number::<u64>(name).is_some(),
        retired if is_retired(retired) => parse_number::<u64>(name).is_some(),
        "segments" => Listed::Segments.file(name).is_some(),
        _ => Listed::Bases.file(name).is_some(),
    }
}

/// Whether an NFS client gives this name to a removed file that a process still has open. Such a file goes by itself.
fn is_of_nfs(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".nfs")
}

/// Clears the folder of a removed database until nothing is left but what was `id`. A process that has not noticed the
/// removal yet can still make a file there, with its note of the newest commit. Returns the names of what was left.
pub(crate) fn clear_for_good(parent: &Folder, folder: &OsStr) -> io::Result<Vec<String>> {
    let mut left = clear(parent, folder, Clear::Removing)?;
    for _ in 0..CLEARINGS {
        let Some(opened) = open(parent, folder)? else { break };
        let stays = |name: &CString| {
            name.to_str().is_ok_and(|name| FORMER_IDS.contains(&name)) || is_of_nfs(name_of(name.to_bytes()))
        };
        if !left.is_empty() || names(&opened)?.iter().all(stays) {
            break;
        }
        left = clear(parent, folder, Clear::Removing)?;
    }
    Ok(left)
}

/// Removes what was `id`, and the folder with it.
pub(crate) fn remove_former_id(opened: &Folder, parent: &Folder, folder: &OsStr) -> io::Result<()> {
    FORMER_IDS.iter().try_for_each(|name| gone(opened.unlink(name.as_ref())))?;
    remove_folder(parent, folder)
}

pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn gone_or_filled(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => gone(removed),
    }
}

pub(crate) fn or_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_not_ours() {
        let id = "00112233445566778899aabbccddeeff";
        for name in
            ["id", "high", "lease", "bases", &format!("id.{id}"), &format!("draft.{id}"), "pin.x", "milestone.0-7"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in ["", "id.x", "notes.txt", "draft.x", ".htaccess", &format!("{id}.draft")] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_trial(&format!("trial.{id}")) && !is_trial("trial.notes") && !is_trial("trial."));
        for (folder, name) in [
            ("commits", "12"),
            ("segments", "abababababababab-7.seg"),
            ("bases", "0-0-01020304.sqlite3"),
            ("bases", "0-0-01020304.0011223344556677.sums.draft"),
        ] {
            assert!(is_ours_in(folder, name), "{folder}/{name}");
        }
        for (folder, name) in
            [("commits", "012"), ("segments", "x"), ("bases", "0-0-01020304.sqlite3-journal"), ("bases", "")]
        {
            assert!(!is_ours_in(folder, name), "{folder}/{name}");
        }
    }
}
