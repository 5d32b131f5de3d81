//! The functions that SQLite calls to bring Seawall in: once for each copy of SQLite, and once for each new connection.

use crate::abi::{self, Entry, Routines, Sqlite3};
use crate::api;
use crate::connection::Connection;
use crate::failure::guard;
use crate::host::{Host, lock_hosts};
use crate::io_methods;
use crate::main_file::{self, SHARED_CACHE};
use crate::vfs;
use std::ffi::{c_char, c_int};

/// The SQLite that handed out `routines`, with the VFS registered in it.
///
/// # Safety
/// `routines` comes from SQLite's call of an extension's entry point.
unsafe fn host_of(routines: *const Routines) -> Result<&'static Host, String> {
    let mut hosts = lock_hosts();
    if let Some(host) = hosts.iter().find(|host| host.is_of(routines)) {
        return Ok(host);
    }
    // SAFETY: guaranteed by the caller.
    let host = unsafe { Host::load(routines, &io_methods::METHODS, &io_methods::PLAIN_METHODS) }?;
    vfs::register(host)?;
    seawall_dynamodb::register();
    hosts.push(host);
    Ok(host)
}

/// Prepares a new connection, if its main database is Seawall's. The error says why that is impossible.
///
/// # Safety
/// `db` is an open connection of `host`'s SQLite, and its mutex is this thread's.
unsafe fn prepare(host: &'static Host, db: *mut Sqlite3) -> Result<(), &'static str> {
    // SAFETY: guaranteed by the caller. The file is used only here, between two calls of SQLite on it.
    unsafe {
        let Some(main) = host.api.file(db, c"main").and_then(|file| main_file::of_seawall(host, file)) else {
            return Ok(());
        };
        if (*main).is_shared() {
            return Err(SHARED_CACHE);
        }
        (*main).becomes_main();
        Connection::set_up(host, db, (*main).is_opened());
        (*main).is_set_up();
    }
    Ok(())
}

/// Finds or registers Seawall in the SQLite that calls, and prepares the connection. With `for_others`, SQLite will
/// call [`on_connection`] for each later connection, too. Returns `done`, or SQLite's code for an error that `message`
/// explains.
///
/// # Safety
/// SQLite calls an entry point with these arguments.
unsafe fn enter(
    db: *mut Sqlite3,
    message: *mut *mut c_char,
    routines: *const Routines,
    for_others: bool,
    done: c_int,
) -> c_int {
    guard(abi::ERROR, || {
        // SAFETY: guaranteed by the caller. `on_connection` is an entry point, too.
        unsafe {
            let host = match host_of(routines) {
                Ok(host) => host,
                Err(text) => return api::explain(routines, message, &text),
            };
            let entry: Entry = on_connection;
            if for_others && (host.api.auto_extension)(entry) != abi::OK {
                return api::explain(routines, message, "SQLite has no memory to register Seawall");
            }
            match prepare(host, db) {
                Ok(()) => done,
                Err(text) => api::explain(routines, message, text),
            }
        }
    })
}

/// SQLite calls this function for every new connection, whether Seawall's or not.
///
/// # Safety
/// Only SQLite calls it.
pub(crate) unsafe extern "C" fn on_connection(
    db: *mut Sqlite3,
    message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: SQLite calls an entry point.
    unsafe { enter(db, message, routines, false, abi::OK) }
}

/// The entry point of the loadable extension: registers the VFS `seawall` in the SQLite that loads it. The VFS stays in
/// SQLite's list after this connection closes, therefore the library must stay loaded.
///
/// # Safety
/// Only SQLite calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_seawall_init(
    db: *mut Sqlite3,
    message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    // SAFETY: SQLite calls an entry point.
    unsafe { enter(db, message, routines, true, abi::OK_LOAD_PERMANENTLY) }
}
