//! The copies of SQLite in this process, each with Seawall's VFS in its list.

use crate::abi::{self, Entry, Routines, Sqlite3, Vfs};
use crate::api::SqliteApi;
use crate::connection::{Connection, locked};
use crate::failure::{self, Failure};
use crate::journal::Journal;
use crate::{io_methods, vfs};
use std::ffi::{CStr, c_char, c_int};
use std::sync::{Mutex, MutexGuard};

/// Why a file is refused that SQLite lets two connections use.
pub(crate) const SHARED: &str = "SQLite's shared cache (SQLITE_OPEN_SHAREDCACHE, sqlite3_enable_shared_cache) \
     makes two connections use one file of Seawall's, which cannot tell their transactions apart. Nothing was opened or \
     written; open each connection with cache=private or cache=shared in its URI, which gives it a cache of its own, and close those that share";

/// The VFS's name.
pub(crate) const NAME: &CStr = c"seawall";

/// One copy of SQLite that Seawall is registered in. It lives as long as the process: SQLite keeps its address.
pub(crate) struct Host {
    pub(crate) api: SqliteApi,
    /// The VFS that this SQLite has by default: for temporary files, for paths, for the clock.
    pub(crate) default_vfs: *mut Vfs,
    /// Which SQLite it is.
    routines: *const Routines,
}

// SAFETY: all of it is written once, before anybody sees it; SQLite's functions may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

static HOSTS: Mutex<Vec<&'static Host>> = Mutex::new(Vec::new());

/// The list of hosts, held.
pub(crate) type HostList = MutexGuard<'static, Vec<&'static Host>>;

/// Holds the list of hosts.
pub(crate) fn list() -> HostList {
    locked(&HOSTS)
}

impl Host {
    /// The SQLite that handed out `routines`, with the VFS registered in it.
    ///
    /// # Safety
    /// `routines` comes from SQLite's call of an extension's entry point.
    pub(crate) unsafe fn of(routines: *const Routines) -> Result<&'static Host, String> {
        let mut hosts = locked(&HOSTS);
        if let Some(host) = hosts.iter().find(|host| host.routines == routines) {
            return Ok(host);
        }
        // SAFETY: the caller's.
        let api = unsafe { SqliteApi::load(routines) }?;
        // SAFETY: a null name asks for the default VFS.
        let default_vfs = unsafe { (api.vfs_find)(std::ptr::null()) };
        if default_vfs.is_null() {
            return Err("this SQLite has no default VFS".into());
        }
        let host = Box::leak(Box::new(Host { api, default_vfs, routines }));
        let app_data: *mut Host = host;
        // SAFETY: the default VFS stays registered, and nobody changes it.
        let defaults = unsafe { &*default_vfs };
        let vfs = Box::leak(Box::new(vfs::describe(defaults, app_data.cast())));
        // SAFETY: the structure is whole and lives for ever.
        if unsafe { (host.api.vfs_register)(vfs, 0) } != abi::OK {
            return Err("this SQLite did not take the VFS".into());
        }
        let host: &'static Host = host;
        seawall_dynamodb::register();
        hosts.push(host);
        Ok(host)
    }

    /// Any SQLite of this process, for what is not about one of them.
    pub(crate) fn any() -> Option<&'static Host> {
        locked(&HOSTS).first().copied()
    }

    /// Keeps `failure` for the thread, tells SQLite's log of it, and gives its code.
    pub(crate) fn fails(&self, failure: Failure) -> c_int {
        let code = failure.code;
        // Waiting for a lease is nothing to write home about.
        if !failure.is_busy() {
            self.api.report(code, &failure.text);
        }
        failure::keep(failure);
        code
    }

    /// Prepares a connection, if its main database is ours. The error says why it cannot be.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite, and its mutex is this thread's.
    unsafe fn prepare(&'static self, db: *mut Sqlite3) -> Result<(), &'static str> {
        // SAFETY: the caller's. The file is not used but here, between two calls of SQLite on it.
        unsafe {
            let Some(main) = self.api.file(db, c"main").and_then(|file| io_methods::ours(file)) else { return Ok(()) };
            if (*main).is_shared() {
                return Err(SHARED);
            }
            (*main).is_main();
            Connection::set_up(self, db, (*main).is_opened());
        }
        Ok(())
    }
}

/// Called by SQLite for every new connection, ours or not.
///
/// # Safety
/// SQLite calls it.
pub(crate) unsafe extern "C" fn on_connection(
    db: *mut Sqlite3,
    message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    crate::guard(abi::ERROR, || {
        // SAFETY: SQLite's call of an entry point, with its arguments.
        unsafe {
            match Host::of(routines) {
                Ok(host) => match host.prepare(db) {
                    Ok(()) => abi::OK,
                    Err(text) => crate::api::explain(routines, message, text),
                },
                Err(text) => crate::api::explain(routines, message, &text),
            }
        }
    })
}

/// The loadable extension's entry point: brings the VFS `seawall` into the SQLite that loads it.
///
/// # Safety
/// SQLite calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_seawall_init(
    db: *mut Sqlite3,
    message: *mut *mut c_char,
    routines: *const Routines,
) -> c_int {
    crate::guard(abi::ERROR, || {
        // SAFETY: SQLite's call of an entry point, with its arguments; `on_connection` is an entry point too.
        unsafe {
            let host = match Host::of(routines) {
                Ok(host) => host,
                Err(text) => return crate::api::explain(routines, message, &text),
            };
            let entry: Entry = on_connection;
            if (host.api.auto_extension)(entry) != abi::OK {
                return crate::api::explain(routines, message, "no memory to register Seawall");
            }
            if let Err(text) = host.prepare(db) {
                return crate::api::explain(routines, message, text);
            }
        }
        // The VFS stays in SQLite's list when this connection closes, so the library must stay as well.
        abi::OK_LOAD_PERMANENTLY
    })
}

/// How large an open file of ours is: SQLite makes room for either kind.
pub(crate) fn file_bytes(default_vfs: &Vfs) -> c_int {
    default_vfs.file_bytes.max(size_of::<io_methods::SeawallFile>().max(size_of::<Journal>()) as c_int)
}

/// The host that a VFS structure of ours belongs to.
///
/// # Safety
/// `vfs` was made by [`Host::of`].
pub(crate) unsafe fn host_of(vfs: *mut Vfs) -> &'static Host {
    // SAFETY: `app_data` is the host, which lives for ever.
    unsafe { &*(*vfs).app_data.cast::<Host>() }
}
