//! The other databases of a connection, when a transaction is about to be published: none of them may be able to fail
//! afterwards.
//!
//! SQLite commits one database after the other, and with the first of ours that is synced the commit is out. Whatever comes
//! behind it can still fail (a full disk), and what came before it still waits for its journal to go. So a transaction
//! that changed a Seawall database may have changed nothing else. SQLite locks all of them before it commits the first:
//! that is when this is found out, and once more before our part is published.

use crate::abi::{self, File};
use crate::failure::Failure;
use crate::host::Host;
use crate::io_methods;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

/// SQLite's schema number of temporary tables.
const TEMP: c_int = 1;
/// Where a database file says whether it is in WAL mode (2) or not (1).
const WRITE_VERSION: i64 = 18;
const IN_WAL_MODE: u8 = 2;

/// When the others are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A file is to be written soon: it may have been changed, or not.
    Locked,
    /// A file was changed, and its commit is at hand.
    Synced,
}

/// Fails if anything beside `mine` may take part in the commit.
///
/// # Safety
/// `db` is a connection of `host`'s SQLite, in the middle of a call on `mine`, one of its files and one of ours. Nobody else
/// uses another file of the connection meanwhile.
pub(crate) unsafe fn check(
    host: &'static Host,
    db: *mut abi::Sqlite3,
    mine: *mut File,
    journal_may_be_off: bool,
    when: When,
) -> Result<(), Failure> {
    let api = &host.api;
    let mut others = Vec::new();
    let mut journal_may_be_off = journal_may_be_off;
    for n in 0.. {
        // SAFETY: the caller's. SQLite's own names, which end in NUL and stay as long as nothing is attached or detached.
        let name = unsafe { (api.db_name)(db, n) };
        if name.is_null() {
            break;
        }
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(name) };
        // SAFETY: the caller's.
        let Some(file) = (unsafe { api.file(db, name) }) else { continue };
        if file.as_ptr() == mine {
            // SAFETY: the caller's.
            let is_changed = unsafe { api.has_journal(db, name) };
            if !is_changed && when == When::Locked {
                return Ok(());
            }
            // It was changed, and has no journal: that was set by way of a main that is not ours, and then maybe for all.
            journal_may_be_off |= !is_changed;
        } else if n != TEMP {
            others.push((name, file));
        } else if when == When::Synced {
            // SAFETY: the caller's; the file is of this connection.
            unsafe { write_temporary(host, db, name, file) }?;
        }
    }
    for (name, file) in others {
        // SAFETY: the caller's; the file is of this connection.
        unsafe {
            // What has no name lies in memory, or in a file of this connection alone, and ends with it.
            let path = (api.db_filename)(db, name.as_ptr());
            if path.is_null() || *path == 0 || (api.txn_state)(db, name.as_ptr()) != abi::TXN_WRITE {
                continue;
            }
            let ours = io_methods::ours(file);
            if journal_may_be_off || api.has_journal(db, name) || (ours.is_none() && may_be_in_wal_mode(file)) {
                return Err(refusal(&name.to_string_lossy()));
            }
            // It asked to write and changed nothing: what it has read so far must be certain now, not after the commit.
            if let Some(other) = ours.filter(|_| when == When::Synced) {
                (*other).confirm()?;
            }
        }
    }
    Ok(())
}

/// Temporary tables are committed with the rest. Where they are in a file, SQLite may have to write to it for that: so it does it
/// now, while a full disk is still nobody's loss. (What other databases have changed it has written already.)
///
/// # Safety
/// As for [`check`]; `file` is that of the schema `name`.
unsafe fn write_temporary(
    host: &'static Host,
    db: *mut abi::Sqlite3,
    name: &CStr,
    file: NonNull<File>,
) -> Result<(), Failure> {
    // SAFETY: the caller's.
    let code = unsafe {
        if file.as_ref().methods.is_null() || (host.api.txn_state)(db, name.as_ptr()) != abi::TXN_WRITE {
            return Ok(());
        }
        (host.api.db_cacheflush)(db)
    };
    if code == abi::OK {
        return Ok(());
    }
    let text = "the temporary tables that this transaction has changed could not be written to the local disk. Nothing was written";
    Err(Failure::refusal(code, text).of_commit())
}

/// # Safety
/// `file` is an open file of a connection that is in the middle of a call.
unsafe fn may_be_in_wal_mode(file: NonNull<File>) -> bool {
    let mut version = 0_u8;
    // SAFETY: the caller's; there is room for the byte that is asked for.
    unsafe {
        let methods = file.as_ref().methods;
        if methods.is_null() {
            return true;
        }
        let code = ((*methods).read)(file.as_ptr(), (&raw mut version).cast::<c_void>(), 1, WRITE_VERSION);
        // A file that is still empty has no journal of any kind.
        !matches!(code, abi::OK | abi::IOERR_SHORT_READ) || version == IN_WAL_MODE
    }
}

fn refusal(schema: &str) -> Failure {
    Failure::refusal(
        abi::IOERR_COMMIT_ATOMIC,
        format!(
            "a transaction may write one Seawall database and nothing beside it, and this one has written {schema} as well (or \
             may have: SQLite does not tell where that is in WAL mode or without a journal; and BEGIN IMMEDIATE writes one \
             that is still empty). They could not be committed together, so nothing was written to Seawall's; use a \
             transaction for each"
        ),
    )
}
