//! What `seawall doctor` tells of the files that are there: are they on one mount, and whose are they?

use super::os::OsStorage;
use super::remains::FOLDERS;
use super::rights::{Rights, owner_of, remedy};
use super::safely::{Folder, Use, name_of};
use super::{File, Storage};
use rustix::fs::{Access, AtFlags, FileType};
use std::ffi::OsStr;
use std::io;

/// So many files of each folder are looked at.
const MOST: usize = 1000;
/// What every writer writes, beside the folders.
const WRITTEN_BY_ALL: [&str; 2] = ["high", "lease"];

/// One thing that was looked at.
pub struct Seen {
    /// What was looked at.
    pub check: &'static str,
    /// What was found.
    pub text: String,
    /// What to do about it, if it is wrong.
    pub remedy: Option<String>,
}

/// Looks at NAME and its folder, if they are there. Changes nothing.
pub fn files(storage: &OsStorage) -> Vec<Seen> {
    const CHECK: &str = "files";
    let whole_folder =
        "mount the folder that has NAME and NAME-seawall, as a whole; put files and folders where links and others are";
    let looked =
        storage.inode(File::Name).and_then(|name| Ok((name, storage.inode(File::Folder)?, storage.home(File::Id)?)));
    let there = match looked {
        Ok((None, None, _)) => return Vec::new(),
        Ok((_, folder, _)) => folder.is_some(),
        Err(error) => return vec![wrong(CHECK, error.to_string(), whole_folder.into())],
    };
    let mut seen = vec![good(CHECK, "NAME and its folder are on one mount, and no links".into())];
    if there {
        seen.extend(rights(storage));
    }
    seen
}

fn rights(storage: &OsStorage) -> Vec<Seen> {
    const CHECK: &str = "rights";
    let repair = || remedy(storage.name());
    let found = storage.rights().and_then(|rights| Ok((rights, wrong_rights(storage, &rights)?)));
    let (rights, lines) = match found {
        Ok(found) => found,
        Err(error) => return vec![wrong(CHECK, error.to_string(), repair())],
    };
    if lines.is_empty() {
        return vec![good(
            CHECK,
            format!("the folder belongs to those to whom NAME belongs (mode {:04o})", rights.of_file()),
        )];
    }
    lines.into_iter().map(|line| wrong(CHECK, line, format!("as root: {}", repair()))).collect()
}

/// What this process, or NAME's owner, cannot write though it must, and what is open to more people than NAME is: the first of each.
fn wrong_rights(storage: &OsStorage, rights: &Rights) -> io::Result<Vec<String>> {
    let parent = storage.parent(Use::Pass)?;
    let folder = parent.folder(storage.folder_name(), Use::List)?;
    let mut closed = None;
    let mut open = None;
    let mut look = |folder: &Folder, name: &OsStr, is_written: bool| -> io::Result<()> {
        let Some(found) = folder.look(name)? else { return Ok(()) };
        let kind = super::safely::type_of(&found);
        let most = match kind {
            FileType::RegularFile => rights.of_file(),
            FileType::Directory => rights.of_folder(),
            _ => return Ok(()),
        };
        let told = || format!("{} belongs to {}", folder.path().join(name).display(), owner_of(&found));
        let may_write = rustix::fs::accessat(folder.fd(), name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        if is_written && (!may_write || !rights.let_owner_write(&found)) {
            closed.get_or_insert_with(|| format!("{}: not everybody who can write NAME can write it", told()));
        }
        if u32::from(found.stx_mode) & 0o777 & !most != 0 {
            open.get_or_insert_with(|| format!("{}: more people can use it than can use NAME", told()));
        }
        Ok(())
    };
    look(&parent, storage.folder_name(), true)?;
    WRITTEN_BY_ALL.iter().chain(&FOLDERS).try_for_each(|name| look(&folder, name.as_ref(), true))?;
    for inside in ["bases", "segments"] {
        let inside = folder.folder(inside.as_ref(), Use::List)?;
        for name in inside.names()?.iter().take(MOST) {
            look(&inside, name_of(name.to_bytes()), false)?;
        }
    }
    Ok([closed, open].into_iter().flatten().collect())
}

fn good(check: &'static str, text: String) -> Seen {
    Seen { check, text, remedy: None }
}

fn wrong(check: &'static str, text: String, remedy: String) -> Seen {
    Seen { check, text, remedy: Some(remedy) }
}
