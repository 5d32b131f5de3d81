//! The copies of SQLite in this process in which Seawall is registered.

use crate::abi::{File, IoMethods, Routines, ShmMethods, Vfs};
use crate::api::SqliteApi;
use crate::failure::{self, Failure};
use crate::sync::locked;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// One copy of SQLite that Seawall is registered in. It lives as long as the process, because SQLite keeps its address.
pub(crate) struct Host {
    pub(crate) api: SqliteApi,
    /// The VFS that this SQLite has by default. Seawall uses it for temporary files, for paths and for the clock.
    pub(crate) default_vfs: *mut Vfs,
    /// The methods of an open database file of Seawall's.
    pub(crate) methods: &'static IoMethods,
    /// The methods of such a file while it is a plain file that is only read.
    pub(crate) plain_methods: &'static ShmMethods,
    /// The function table of this SQLite, which distinguishes it from other copies.
    routines: *const Routines,
}

// SAFETY: no field changes after `load`, and SQLite's functions may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

static HOSTS: Mutex<Vec<&'static Host>> = Mutex::new(Vec::new());

/// The lock of the list of hosts.
pub(crate) type HostsLock = MutexGuard<'static, Vec<&'static Host>>;

/// Locks the list of hosts.
pub(crate) fn lock_hosts() -> HostsLock {
    locked(&HOSTS)
}

impl Host {
    /// Loads the functions of the SQLite that handed out `routines`. It is not in the list of hosts yet.
    ///
    /// # Safety
    /// `routines` comes from SQLite's call of an extension's entry point.
    pub(crate) unsafe fn load(
        routines: *const Routines,
        methods: &'static IoMethods,
        plain_methods: &'static ShmMethods,
    ) -> Result<&'static Host, String> {
        // SAFETY: guaranteed by the caller.
        let api = unsafe { SqliteApi::load(routines) }?;
        // SAFETY: a null name asks for the default VFS.
        let default_vfs = unsafe { (api.vfs_find)(std::ptr::null()) };
        if default_vfs.is_null() {
            return Err("this SQLite has no default VFS".into());
        }
        Ok(Box::leak(Box::new(Host { api, default_vfs, methods, plain_methods, routines })))
    }

    /// Whether this is the SQLite that handed out `routines`.
    pub(crate) fn is_of(&self, routines: *const Routines) -> bool {
        self.routines == routines
    }

    /// Any SQLite of this process, for operations that do not depend on one of them.
    pub(crate) fn any() -> Option<&'static Host> {
        lock_hosts().first().copied()
    }

    /// Whether `file` is an open database file of Seawall's.
    ///
    /// # Safety
    /// `file` is a file of this SQLite, open or not.
    pub(crate) unsafe fn is_seawall_file(&self, file: NonNull<File>) -> bool {
        // SAFETY: guaranteed by the caller. Only Seawall's VFS gives a file these methods.
        let methods = unsafe { file.as_ref().methods };
        std::ptr::eq(methods, self.methods) || std::ptr::eq(methods.cast(), self.plain_methods)
    }

    /// Keeps `failure` for the thread, writes it to SQLite's error log, and returns its code.
    pub(crate) fn report(&self, failure: Failure) -> c_int {
        let code = failure.code;
        // Waiting for a lease is ordinary, therefore it is not logged.
        if !failure.is_busy() {
            self.api.write_log(code, &failure.text);
        }
        failure::keep(failure);
        code
    }
}
