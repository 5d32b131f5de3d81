//! For tests of what lies in and beside a database's folder: lists it, reads it, and puts something else in its place.

use super::{Folder, byte, newest};
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

pub fn storage(folder: &Folder) -> OsStorage {
    OsStorage::new(&folder.name()).unwrap()
}

/// The database as this process's other parts open it.
pub fn open(name: &Path) -> seawall::Result<Arc<Database>> {
    open_as(name, Access::Create)
}

pub fn open_as(name: &Path, access: Access) -> seawall::Result<Arc<Database>> {
    Database::open(name, access, &Options::default(), &super::PlainFile)
}

/// Time for the background to note the newest commit in `high`.
pub fn let_it_be_noted() {
    std::thread::sleep(Duration::from_millis(1300));
}

/// What a new machine reads on page 1.
pub fn first_byte(folder: &Folder) -> u8 {
    let machine = folder.machine();
    byte(&machine, &newest(&machine), 1)
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Every file and folder of the database's folder, but for the names of versions.
pub fn all_inside(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(all_inside(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

/// Makes something under a name.
pub type Make = fn(&Path);

pub fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

pub fn away(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}
