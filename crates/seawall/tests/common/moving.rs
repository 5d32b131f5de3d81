//! What the tests of moving share: a database on some coordinator, moved and recovered.

use super::{Folder, byte, commit, newest, write_plain};
use seawall::ports::storage::os::OsStorage;
use seawall::{Database, Moved, Options, Recovery, Result, move_on, reached_by, recover_on};
use std::sync::Arc;
use std::time::Duration;

pub fn by(coordinator: &str) -> Options {
    Options { coordinator: coordinator.into(), lease: Duration::from_millis(300), ..Options::default() }
}

pub fn machine(folder: &Folder, coordinator: &str) -> Result<Arc<Database>> {
    folder.try_machine_with(&by(coordinator))
}

pub fn storage(folder: &Folder) -> Arc<OsStorage> {
    Arc::new(OsStorage::new(&folder.name()).unwrap())
}

pub fn move_folder(folder: &Folder, to: &str) -> Result<Moved> {
    let options = Options { lease: Duration::from_millis(300), ..reached_by(&folder.name(), None)? };
    move_on(storage(folder), &folder.name(), to, false, &options)
}

pub fn recover(folder: &Folder) {
    recover_on(storage(folder), &Recovery::default()).unwrap();
}

/// A database of `versions` on this coordinator: page 2 has the number of the version.
pub fn history(folder: &Folder, coordinator: &str, versions: u8) -> Arc<Database> {
    write_plain(&folder.name(), 4);
    let database = machine(folder, coordinator).unwrap();
    (1..=versions).for_each(|version| drop(commit(&database, &[(2, version)]).unwrap()));
    database
}

/// What a newcomer reads in page 2.
pub fn read(folder: &Folder, coordinator: &str) -> u8 {
    let database = machine(folder, coordinator).unwrap();
    byte(&database, &newest(&database), 2)
}
