//! Taking a database's folder away: what is Seawall's, known by its name, and nothing else. No link is followed.

use super::safely::{Folder, Use, name_of, type_of};
use crate::ids::{BaseName, CommitId, DatabaseId, SegmentName, parse_number};
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The folders inside a database's folder.
pub(super) const FOLDERS: [&str; 3] = ["bases", "segments", "commits"];
/// What was `id`, while its database is being removed.
pub(crate) const REMOVED: &str = "id.removed";
/// In front of the name of a folder in which an adoption tries something out.
pub(super) const TRIAL: &str = "trial.";

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clear {
    /// A database is being removed: what was its `id` goes last, by the caller's hand.
    Removing,
    /// A new one is about to be made. Another process may be at a trial.
    MakingRoom,
}

/// Removes what Seawall made in `folder`, and the folder itself, if nothing else is there. The names of what was left.
pub(crate) fn clear(parent: &Folder, folder: &OsStr, what: Clear) -> io::Result<Vec<String>> {
    let Some(opened) = or_none(parent.folder(folder, Use::List))? else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    for name in opened.names()? {
        let name = name_of(name.to_bytes());
        let text = name.to_str().unwrap_or_default();
        let is_folder = opened.look(name)?.is_some_and(|found| type_of(&found) == FileType::Directory);
        if FOLDERS.contains(&text) && is_folder {
            left.extend(clear_inside(&opened, text)?);
        } else if text.starts_with(TRIAL) && is_folder {
            if what == Clear::Removing {
                remove_tree(&opened, name)?;
            }
        } else if is_ours(text) && !is_folder {
            if text == REMOVED && what == Clear::Removing {
                continue;
            }
            gone(opened.unlink(name))?;
        } else if !is_of_nfs(name) {
            left.push(format!("{}", opened.path().join(name).display()));
        }
    }
    gone_or_filled(parent.remove_folder(folder))?;
    Ok(left)
}

fn clear_inside(parent: &Folder, folder: &str) -> io::Result<Vec<String>> {
    let opened = parent.folder(folder.as_ref(), Use::List)?;
    let mut left = Vec::new();
    for name in opened.names()? {
        let name = name_of(name.to_bytes());
        if is_ours_in(folder, name.to_str().unwrap_or_default()) {
            gone(opened.unlink(name))?;
        } else if !is_of_nfs(name) {
            left.push(format!("{}", opened.path().join(name).display()));
        }
    }
    gone_or_filled(parent.remove_folder(folder.as_ref()))?;
    Ok(left)
}

/// Removes a folder that only this program can have filled.
pub(super) fn remove_tree(parent: &Folder, folder: &OsStr) -> io::Result<()> {
    let Some(opened) = or_none(parent.folder(folder, Use::List))? else { return Ok(()) };
    for name in opened.names()? {
        let name = name_of(name.to_bytes());
        match opened.look(name)? {
            Some(found) if type_of(&found) == FileType::Directory => remove_tree(&opened, name)?,
            _ => gone(opened.unlink(name))?,
        }
    }
    gone(parent.remove_folder(folder))
}

/// Whether Seawall gives such names in a database's folder.
fn is_ours(name: &str) -> bool {
    let draft_of = |file: &str| {
        let random = name.strip_prefix(file).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".draft"));
        random.is_some_and(|random| random.parse::<CommitId>().is_ok())
    };
    let is_id_draft = || name.strip_prefix("id.").is_some_and(|id| id.parse::<DatabaseId>().is_ok());
    // A link or a file in the place of one of the folders was put there by somebody else; it goes with the name.
    ["id", REMOVED, "high", "lease"].contains(&name)
        || FOLDERS.contains(&name)
        || ["high", "lease"].into_iter().any(draft_of)
        || is_id_draft()
}

fn is_ours_in(folder: &str, name: &str) -> bool {
    match folder {
        "commits" => parse_number::<u64>(name).is_some(),
        "segments" => name.strip_suffix(".seg").is_some_and(|name| name.parse::<SegmentName>().is_ok()),
        _ => {
            let name = name.strip_suffix(".draft").unwrap_or(name);
            let name = name.strip_suffix(".sqlite3").or(name.strip_suffix(".sums"));
            name.is_some_and(|name| name.parse::<BaseName>().is_ok())
        }
    }
}

/// What an NFS client calls a removed file that somebody still has open; it goes by itself.
fn is_of_nfs(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".nfs")
}

pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn gone_or_filled(removed: io::Result<()>) -> io::Result<()> {
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
        for name in ["id", "high", "lease", "bases", &format!("id.{id}"), &format!("lease.{id}.draft")] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["", "id.x", "notes.txt", "lease.draft", ".htaccess", &format!("{id}.draft")] {
            assert!(!is_ours(name), "{name}");
        }
        for (folder, name) in [
            ("commits", "12"),
            ("segments", "abababababababab-7.seg"),
            ("bases", "0-0-01020304.sqlite3"),
            ("bases", "0-0-01020304.sums.draft"),
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
