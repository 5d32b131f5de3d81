//! Which journals belong to databases of Seawall's. SQLite asks about them in every transaction, by the very pointers
//! to the names that it keeps beside the database's name.

use crate::api::SqliteApi;
use crate::sync::locked;
use std::collections::HashSet;
use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard};

/// The addresses of the names of the journals and WALs.
static NAMES: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);

/// Whether there ever was a plain file under Seawall's VFS. Until then every journal is Seawall's, and the names need
/// no lookup.
static PLAIN_FILES_EXIST: AtomicBool = AtomicBool::new(false);

/// The lock of the names.
pub(crate) type NamesLock = MutexGuard<'static, HashSet<usize>>;

/// Locks the names.
pub(crate) fn lock_names() -> NamesLock {
    locked(&NAMES)
}

/// The names of one file's journal and WAL, while the file is open and Seawall's.
pub(crate) struct JournalNames([usize; 2]);

impl JournalNames {
    /// # Safety
    /// `name` is a database name of this SQLite.
    pub(crate) unsafe fn of(api: &SqliteApi, name: *const c_char) -> JournalNames {
        // SAFETY: guaranteed by the caller.
        let names = unsafe { [(api.filename_journal)(name), (api.filename_wal)(name)] }.map(|name| name.addr());
        lock_names().extend(names);
        JournalNames(names)
    }

    /// A plain file is opened. From now on some journals are not Seawall's.
    pub(crate) fn plain_file_opens() {
        PLAIN_FILES_EXIST.store(true, Relaxed);
    }

    /// Whether `name`, the name of a journal or a WAL, belongs to a file of Seawall's.
    pub(crate) fn are_ours(name: *const c_char) -> bool {
        !PLAIN_FILES_EXIST.load(Relaxed) || lock_names().contains(&name.addr())
    }
}

impl Drop for JournalNames {
    fn drop(&mut self) {
        let mut names = lock_names();
        for name in self.0 {
            names.remove(&name);
        }
    }
}
