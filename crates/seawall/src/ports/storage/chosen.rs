//! Storages that a test chose for names. Every opening of such a name, through SQLite too, uses that storage.
//!
//! Two names with storages of the same files are two machines in one process.

use super::Storage;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

static CHOSEN: LazyLock<Mutex<HashMap<PathBuf, Arc<dyn Storage>>>> = LazyLock::new(Mutex::default);

/// From now on, NAME (an absolute path without links) is opened on `storage`.
pub fn choose(name: &Path, storage: Arc<dyn Storage>) {
    CHOSEN.lock().expect("no panic while locked").insert(name.to_owned(), storage);
}

/// NAME is opened on this machine's files again.
pub fn forget(name: &Path) {
    CHOSEN.lock().expect("no panic while locked").remove(name);
}

pub(crate) fn chosen(name: &Path) -> Option<Arc<dyn Storage>> {
    CHOSEN.lock().expect("no panic while locked").get(name).cloned()
}
