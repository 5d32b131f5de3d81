//! The other databases of a connection, when a transaction is about to be published: none of them may be able to fail
//! afterwards.
//!
//! SQLite commits one database after the other, and with the first of ours that is synced the commit is out. Whatever comes
//! behind it can still fail (a full disk), and what came before it still waits for its journal to go. So a transaction
//! that changed a Seawall database may have changed nothing else. SQLite locks all of them before it commits the first:
//! that is when this is found out, and once more before our part is published.

use crate::abi::{self, File};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::host::Host;
use crate::intent::Intent;
use crate::io_methods;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

/// Where a database file says whether it is in WAL mode (2) or not (1).
const WRITE_VERSION: i64 = 18;
const IN_WAL_MODE: u8 = 2;
const LARGEST_PAGE: usize = 65_536;

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
/// `connection` has a `sqlite3` of `host`'s SQLite, in the middle of a call on `mine`, one of its files and one of ours. Nobody
/// else uses another file of the connection meanwhile.
pub(crate) unsafe fn check(
    host: &'static Host,
    connection: &Connection,
    mine: *mut File,
    when: When,
) -> Result<(), Failure> {
    let (api, db) = (&host.api, connection.db());
    let mut others = Vec::new();
    let mut ours_have_no_journal = false;
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
            // It was changed, and has no journal: that was set by way of a main that is not ours, and then for all of ours.
            ours_have_no_journal = !is_changed;
        // SAFETY: the caller's.
        } else if unsafe { (api.txn_state)(db, name.as_ptr()) } == abi::TXN_WRITE {
            others.push((name, file));
        }
    }
    let mut temporary = Vec::new();
    for (name, file) in others {
        // SAFETY: the caller's; the file is of this connection.
        unsafe {
            // What has no name lies in memory, or in a file of this connection alone, and ends with it.
            let path = (api.db_filename)(db, name.as_ptr());
            if path.is_null() || *path == 0 {
                if !file.as_ref().methods.is_null() {
                    temporary.push((name, file));
                }
                continue;
            }
            let ours = io_methods::ours(file);
            let is_in_doubt = match ours {
                Some(_) => ours_have_no_journal,
                None => may_be_in_wal_mode(file) || connection.journal_may_be_off(db),
            };
            if is_in_doubt || api.has_journal(db, name) {
                return Err(refusal(&name.to_string_lossy()));
            }
            // It asked to write and changed nothing: what it has read so far must be certain now, not after the commit.
            if let Some(other) = ours.filter(|_| when == When::Synced) {
                (*other).confirm()?;
            }
        }
    }
    if temporary.is_empty() || when == When::Locked {
        return Ok(());
    }
    // SAFETY: the caller's; the files are open, and of this connection.
    unsafe { write_temporary(host, connection, &temporary) }
}

/// Temporary tables are committed with the rest. Where they are in a file, SQLite may have to write to it for that: so it does it
/// now, while a full disk is still nobody's loss. (What other databases have changed it has written already.)
///
/// # Safety
/// As for [`check`]; the connection has these schemas, with open files.
unsafe fn write_temporary(
    host: &'static Host,
    connection: &Connection,
    schemas: &[(&CStr, NonNull<File>)],
) -> Result<(), Failure> {
    let db = connection.db();
    // SAFETY: the caller's.
    let hindered = unsafe {
        match host.api.busy_statements(db)[..] {
            [_, _, ..] => {
                Some("another statement of this connection has not ended, and may be reading them. End it first")
            }
            // SQLite turns it on for the copy.
            [one] if is_vacuum(host, one) => None,
            _ if connection.spill_may_be_off(db) => Some(
                "this connection has set PRAGMA cache_spill, or may have (Seawall knows that only where main is Seawall's, and the \
                 application has set no trace callback). Use PRAGMA temp_store=MEMORY, or a connection without cache_spill",
            ),
            _ => None,
        }
    };
    if let Some(why) = hindered {
        let names: Vec<_> = schemas.iter().map(|(name, _)| name.to_string_lossy()).collect();
        let name = names.join(", ");
        let text = format!(
            "this transaction has written temporary tables in a file as well, or may have ({name}). SQLite would write them to \
             the local disk after Seawall's commit, and could still fail: {why}. Nothing was written"
        );
        return Err(Failure::refusal(abi::IOERR_COMMIT_ATOMIC, text));
    }
    // SAFETY: the caller's.
    let mut code = unsafe { (host.api.db_cacheflush)(db) };
    for (_, file) in schemas {
        if code == abi::OK {
            // SAFETY: the caller's.
            code = unsafe { keep_room_for_page_one(*file) };
        }
    }
    if code == abi::OK {
        return Ok(());
    }
    let text = "the temporary tables that this transaction has changed could not be written to the local disk. Nothing was written";
    Err(Failure::refusal(code, text).of_commit())
}

/// Page 1 is what SQLite does not write before the commit, for the transaction itself uses it. Its place in the file may be
/// a hole: what is there is written to it, so that the disk has the room.
///
/// # Safety
/// `file` is an open file of a connection that is in the middle of a call.
unsafe fn keep_room_for_page_one(file: NonNull<File>) -> c_int {
    // SAFETY: the caller's; the calls get as much room as they may use.
    unsafe {
        let (file, methods) = (file.as_ptr(), &*file.as_ref().methods);
        let mut size = 0;
        let code = (methods.file_size)(file, &raw mut size);
        if code != abi::OK {
            return code;
        }
        let mut start = vec![0_u8; if size == 0 { LARGEST_PAGE } else { size.min(LARGEST_PAGE as i64) as usize }];
        let length = start.len() as c_int;
        match (methods.read)(file, start.as_mut_ptr().cast(), length, 0) {
            abi::OK | abi::IOERR_SHORT_READ => (methods.write)(file, start.as_ptr().cast(), length, 0),
            code => code,
        }
    }
}

/// # Safety
/// `statement` is one of `host`'s SQLite.
unsafe fn is_vacuum(host: &'static Host, statement: *mut abi::Statement) -> bool {
    // SAFETY: the caller's; its text ends in NUL, if it has one.
    unsafe {
        let sql = (host.api.sql)(statement);
        !sql.is_null() && Intent::of(&CStr::from_ptr(sql).to_string_lossy()) == Intent::Vacuums
    }
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
            "a transaction may write one Seawall database and nothing beside it, and this one has written {schema} as well, or \
             may have: of a plain database in WAL mode or without a journal, SQLite tells only that it is locked for writing. \
             (Whether it has a journal Seawall knows only where main is Seawall's, and the application has set no trace \
             callback.) They could not be committed together, so nothing was written to Seawall's. Use a transaction for each, \
             and begin it with plain BEGIN: BEGIN IMMEDIATE locks all of them for writing, and writes one that is still empty"
        ),
    )
}
