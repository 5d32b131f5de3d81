//! What `seawall doctor` reports about a database's files: whether they are on one mount, and who owns them.

use super::os::OsStorage;
use super::remains::{FOLDERS, or_none};
use super::rights::{Rights, owner_of, remedy};
use super::safely::{Folder, Use, is_unusable, name_of};
use super::{File, Storage};
use rustix::fs::{Access, FileType};
use std::ffi::OsStr;
use std::io;

/// At most this many files of each folder are looked at.
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

const WHOLE_FOLDER: &str =
    "mount the folder that has NAME and NAME-seawall, as a whole; put files and folders where links and others are";

/// Looks at NAME and its folder, if they are there. Changes nothing.
pub fn files(storage: &OsStorage) -> Vec<Seen> {
    const CHECK: &str = "files";
    let looked = storage
        .inode(File::Name)
        .and_then(|name| Ok((name, storage.inode(File::Folder)?, storage.home(File::Id)?)))
        .and_then(|found| if found.1.is_some() { in_one_place(storage).map(|()| found) } else { Ok(found) });
    let (name, folder, id) = match looked {
        Ok((None, None, _)) => return Vec::new(),
        Ok(found) => found,
        Err(error) if is_unusable(&error) => return vec![wrong(CHECK, error.to_string(), WHOLE_FOLDER.into())],
        Err(error) => return vec![wrong(CHECK, error.to_string(), remedy(storage.name()))],
    };
    let mut seen = vec![good(CHECK, "NAME and its folder are on one mount, and no links".into())];
    if name.is_some() && id.is_none() {
        let may_adopt = storage.parent(Use::Pass).map_err(|error| error.to_string());
        let may_adopt = may_adopt.and_then(|parent| storage.may_adopt(&parent).map_err(|error| error.to_string()));
        let remedy = "let this user write NAME, or have a user who may write it open it once; remove what is no file";
        seen.extend(may_adopt.err().map(|why| wrong("rights", why, remedy.into())));
    }
    if folder.is_some() && id.is_some() {
        seen.extend(rights(storage));
    }
    seen
}

/// Whether the folders inside the database's folder are folders of its mount.
fn in_one_place(storage: &OsStorage) -> io::Result<()> {
    let folder = storage.folder_at_path(Use::Pass)?;
    FOLDERS.iter().try_for_each(|name| folder.look_for(name.as_ref(), FileType::Directory).map(drop))
}

fn rights(storage: &OsStorage) -> Vec<Seen> {
    const CHECK: &str = "rights";
    let repair = || format!("as root: {}", remedy(storage.name()));
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
    lines.into_iter().map(|line| wrong(CHECK, line, repair())).collect()
}

/// The first file or folder that this process or NAME's owner must write and cannot, or that is open to fewer people
/// than NAME; and the first that is open to more people than NAME.
fn wrong_rights(storage: &OsStorage, rights: &Rights) -> io::Result<Vec<String>> {
    let parent = storage.parent(Use::Pass)?;
    let folder = parent.folder(storage.folder_name(), Use::List)?;
    let writes = parent.may(storage.name().file_name().unwrap_or_default(), Access::WRITE_OK).is_ok();
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
        let described = || format!("{} belongs to {}", folder.path().join(name).display(), owner_of(&found));
        let mode = u32::from(found.stx_mode) & 0o777;
        // A user who may not write NAME need not write this.
        let may_write = !writes || folder.may(name, Access::WRITE_OK).is_ok();
        if is_written && (!may_write || !rights.let_owner_write(&found)) {
            closed.get_or_insert_with(|| format!("{}: not everybody who can write NAME can write it", described()));
        } else if mode & most != most || !rights.is_group_of(&found) {
            closed.get_or_insert_with(|| format!("{}: not everybody who can use NAME can use it", described()));
        }
        if mode & !most != 0 {
            open.get_or_insert_with(|| format!("{}: more people can use it than can use NAME", described()));
        }
        Ok(())
    };
    look(&parent, storage.folder_name(), true)?;
    WRITTEN_BY_ALL.iter().chain(&FOLDERS).try_for_each(|name| look(&folder, name.as_ref(), true))?;
    for inside in ["bases", "segments"] {
        let Some(inside) = or_none(folder.folder(inside.as_ref(), Use::List))? else { continue };
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
