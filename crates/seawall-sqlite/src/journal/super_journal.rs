//! Super-journals: files that bind the journals of several plain databases together, in the folder of main.
//!
//! SQLite makes one when it commits more than one plain database, and also when these are merely locked. If the commit of
//! a database fails before a journal names the super-journal, SQLite leaves the file behind for good. The commit of a
//! Seawall database can fail there (it is refused, or a disk is full), so Seawall removes the file.

use super::MAGIC;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

thread_local! {
    /// The super-journal that SQLite has made last on this thread, and has not deleted. SQLite makes it, commits the
    /// databases, and deletes it, all in one call on one thread.
    static MADE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// SQLite makes the super-journal `path`, through Seawall's VFS.
pub(crate) fn is_made(path: &Path) {
    replace(Some(path.to_owned()));
}

/// SQLite deletes `path`. If that is the super-journal, the transaction was committed, or rolled back.
pub(crate) fn is_deleted(path: &[u8]) {
    // While a thread ends, no transaction of it is under way.
    let _ = MADE.try_with(|made| made.borrow_mut().take_if(|made| made.as_os_str().as_bytes() == path));
}

/// A transaction that could write has ended on this thread. If SQLite has not deleted its super-journal, it failed.
pub(crate) fn transaction_ended() {
    if let Some(path) = replace(None) {
        remove_unless_named(&path);
    }
}

fn replace(path: Option<PathBuf>) -> Option<PathBuf> {
    MADE.try_with(|made| made.replace(path)).ok().flatten()
}

/// Removes a super-journal by SQLite's own rule: unless a journal on the disk still names it. If that fails, a useless
/// file stays.
pub(crate) fn remove_unless_named(path: &Path) {
    let Ok(journals) = std::fs::read(path) else { return };
    let mut journals = journals.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // A journal that cannot be read may name it.
    if !journals.any(|journal| ends_by_naming(Path::new(OsStr::from_bytes(journal)), path).unwrap_or(true)) {
        let _ = std::fs::remove_file(path);
    }
}

/// Whether the file `journal` ends with the name of this super-journal.
fn ends_by_naming(journal: &Path, super_journal: &Path) -> io::Result<bool> {
    // If a FIFO has that name, this must not wait for its writer.
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let name = super_journal.as_os_str().as_bytes();
    let mut end = vec![0; name.len() + 8 + MAGIC.len()];
    let Some(begins) = file.metadata()?.len().checked_sub(end.len() as u64) else { return Ok(false) };
    file.read_exact_at(&mut end, begins)?;
    Ok(end.starts_with(name) && end.ends_with(&MAGIC))
}
