//! The other databases of a connection, checked when a transaction is about to be committed. None of them may be able
//! to fail afterwards.
//!
//! SQLite commits one database after the other. As soon as the first database of Seawall's is synced, the commit is
//! visible. A database that is synced later can still fail (a full disk), and one that was synced earlier is not
//! committed until its journal is deleted. Therefore a transaction that changes a Seawall database may change nothing
//! else. SQLite locks all databases before it commits the first. The check is made then, and again before Seawall's
//! database is committed.

use super::of_seawall;
use crate::abi::{self, File};
use crate::connection::{Connection, Intent};
use crate::failure::Failure;
use crate::header::{IN_WAL_MODE, WRITE_VERSION};
use crate::host::Host;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

const LARGEST_PAGE: usize = 65_536;

/// When the other databases are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Seawall's file gets its EXCLUSIVE lock. It may have been changed, or not.
    Locked,
    /// Seawall's file was changed, and its commit is next.
    Synced,
}

/// Fails if any database but `mine` may take part in the commit.
///
/// # Safety
/// `connection` has a `sqlite3` of `host`'s SQLite, in the middle of a call on `mine`, which is a file of that
/// connection and Seawall's. No other call on the connection is under way.
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
        // SAFETY: guaranteed by the caller. The names are SQLite's, end in NUL, and stay as long as no database is
        // attached or detached.
        let name = unsafe { (api.db_name)(db, n) };
        if name.is_null() {
            break;
        }
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(name) };
        // SAFETY: guaranteed by the caller.
        let Some(file) = (unsafe { api.file(db, name) }) else { continue };
        if file.as_ptr() == mine {
            // SAFETY: guaranteed by the caller.
            let is_changed = unsafe { api.has_journal(db, name) };
            if !is_changed && when == When::Locked {
                return Ok(());
            }
            // It was changed and has no journal. Only a main that is not Seawall's can set that, and then for all of
            // Seawall's files.
            ours_have_no_journal = !is_changed;
        // SAFETY: guaranteed by the caller.
        } else if unsafe { (api.txn_state)(db, name.as_ptr()) } == abi::TXN_WRITE {
            others.push((name, file));
        }
    }
    let mut temporary = Vec::new();
    for (name, file) in others {
        // SAFETY: guaranteed by the caller; the file is of this connection.
        unsafe {
            // A database without a file name lies in memory, or in a temporary file of this connection, and ends with
            // it.
            let path = (api.db_filename)(db, name.as_ptr());
            if path.is_null() || *path == 0 {
                if !file.as_ref().methods.is_null() {
                    temporary.push((name, file));
                }
                continue;
            }
            let ours = of_seawall(host, file);
            let is_in_doubt = match ours {
                Some(_) => ours_have_no_journal,
                None => may_be_in_wal_mode(file) || connection.journal_may_be_off(db),
            };
            if is_in_doubt || api.has_journal(db, name) {
                return Err(refusal(&name.to_string_lossy()));
            }
            // It has asked to write and changed nothing. Its snapshot must be confirmed now, not after the commit.
            if let Some(other) = ours.filter(|_| when == When::Synced) {
                (*other).confirm()?;
            }
        }
    }
    if temporary.is_empty() || when == When::Locked {
        return Ok(());
    }
    // SAFETY: guaranteed by the caller; the files are open, and of this connection.
    unsafe { write_temporary(host, connection, &temporary) }
}

/// Lets SQLite write the temporary tables, which are committed with the rest. Where they are in a file, their commit
/// may have to write to the disk. SQLite writes them now, because a full disk still fails the whole transaction now,
/// and nothing is lost.
///
/// # Safety
/// As for [`check`]; the connection has these schemas, with open files.
unsafe fn write_temporary(
    host: &'static Host,
    connection: &Connection,
    schemas: &[(&CStr, NonNull<File>)],
) -> Result<(), Failure> {
    let db = connection.db();
    // SAFETY: guaranteed by the caller.
    let obstacle = unsafe {
        match host.api.busy_statements(db)[..] {
            [_, _, ..] => {
                Some("another statement of this connection has not ended and may be reading them (end it first)")
            }
            // VACUUM turns cache_spill on for its copy.
            [one] if is_vacuum(host, one) => None,
            _ if connection.spill_may_be_off(db) => Some(
                "this connection has set PRAGMA cache_spill, or may have (Seawall knows that only where main is Seawall's and the \
                 application has set no trace callback); use PRAGMA temp_store=MEMORY, or a connection without cache_spill",
            ),
            _ => None,
        }
    };
    if let Some(why) = obstacle {
        let names: Vec<_> = schemas.iter().map(|(name, _)| name.to_string_lossy()).collect();
        let name = names.join(", ");
        let text = format!(
            "this transaction has also written temporary tables in a file, or may have ({name}). SQLite would write them to the \
             local disk after Seawall's commit, and that could fail. It cannot write them now, because {why}. Nothing was written"
        );
        return Err(Failure::refusal(abi::IOERR_COMMIT_ATOMIC, text));
    }
    // SAFETY: guaranteed by the caller.
    let mut code = unsafe { (host.api.db_cacheflush)(db) };
    for (_, file) in schemas {
        if code == abi::OK {
            // SAFETY: guaranteed by the caller.
            code = unsafe { keep_room_for_page_one(*file) };
        }
    }
    if code == abi::OK {
        return Ok(());
    }
    let text = "the temporary tables that this transaction has changed could not be written to the local disk. Nothing was written";
    Err(Failure::refusal(code, text).of_commit())
}

/// Reserves the disk space of page 1. SQLite does not write page 1 before the commit, because the transaction itself
/// uses it. Page 1 may be a hole in the file. Therefore the bytes that it has now are written to it.
///
/// # Safety
/// `file` is an open file of a connection that is in the middle of a call.
unsafe fn keep_room_for_page_one(file: NonNull<File>) -> c_int {
    // SAFETY: guaranteed by the caller; the calls get as much room as they may use.
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
    // SAFETY: guaranteed by the caller; the text ends in NUL, if there is one.
    unsafe {
        let sql = (host.api.sql)(statement);
        !sql.is_null() && Intent::of(&CStr::from_ptr(sql).to_string_lossy()) == Intent::Vacuums
    }
}

/// # Safety
/// `file` is an open file of a connection that is in the middle of a call.
unsafe fn may_be_in_wal_mode(file: NonNull<File>) -> bool {
    let mut version = 0_u8;
    // SAFETY: guaranteed by the caller; there is room for one byte.
    unsafe {
        let methods = file.as_ref().methods;
        if methods.is_null() {
            return true;
        }
        let code = ((*methods).read)(file.as_ptr(), (&raw mut version).cast::<c_void>(), 1, WRITE_VERSION as i64);
        // An empty file has neither a journal nor a WAL.
        !matches!(code, abi::OK | abi::IOERR_SHORT_READ) || version == IN_WAL_MODE
    }
}

fn refusal(schema: &str) -> Failure {
    Failure::refusal(
        abi::IOERR_COMMIT_ATOMIC,
        format!(
            "a transaction may write one Seawall database and nothing beside it, and this one has written {schema} as well, or \
             may have. They could not be committed together, therefore nothing was written to the Seawall database. Use a transaction for \
             each, and begin it with plain BEGIN, because BEGIN IMMEDIATE locks all attached databases for writing, and writes a \
             database that is still empty. (SQLite does not say whether a plain database in WAL mode or without a journal was \
             written, only that it is locked for writing. Seawall knows whether it has a journal only where main is Seawall's \
             and the application has set no trace callback.)"
        ),
    )
}
