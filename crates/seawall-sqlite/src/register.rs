//! A way into a SQLite that cannot load extensions: many builds of Python compile that out.
//!
//! The library that a Python module calls SQLite in (`_sqlite3.so`, linked to a `libsqlite3.so` or holding a copy)
//! is open in this process. Its own handle leads to its own SQLite, whichever others there are; and
//! `sqlite3_auto_extension` makes that hand over its function table.

use crate::abi::{self, Entry, Function, Sqlite3};
use crate::api::check_version;
use crate::host::on_connection;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Registers the VFS in the SQLite that the open library at `path` uses. The error says why that cannot be.
pub fn register(path: &Path) -> Result<(), String> {
    let library = Library::already_open(path)?;
    // Forks are noticed from now on.
    crate::fork::count();
    // SAFETY: these are SQLite's names, with SQLite's types; the library stays open, for others use it.
    unsafe {
        let version: unsafe extern "C" fn() -> c_int = library.function(c"sqlite3_libversion_number")?;
        let auto_extension: unsafe extern "C" fn(Entry) -> c_int = library.function(c"sqlite3_auto_extension")?;
        let open: unsafe extern "C" fn(*const c_char, *mut *mut Sqlite3, c_int, *const c_char) -> c_int =
            library.function(c"sqlite3_open_v2")?;
        let close: unsafe extern "C" fn(*mut Sqlite3) -> c_int = library.function(c"sqlite3_close")?;
        // Before anything is registered: an entry point that fails would fail every opening from then on.
        check_version(version())?;
        if auto_extension(on_connection) != abi::OK {
            return Err("SQLite has no memory to register Seawall".into());
        }
        let mut db = std::ptr::null_mut();
        let flags = abi::OPEN_READWRITE | abi::OPEN_CREATE;
        let code = open(c":memory:".as_ptr(), &raw mut db, flags, std::ptr::null());
        close(db);
        if code != abi::OK {
            return Err(format!("SQLite's error {code} while registering Seawall"));
        }
    }
    Ok(())
}

/// A library that this process has open already.
struct Library(*mut c_void);

impl Library {
    fn already_open(path: &Path) -> Result<Library, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "a NUL in the library's name".to_owned())?;
        // SAFETY: with NOLOAD nothing is loaded, so no code runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return Err(format!("{} is not a library that is open in this process", path.display()));
        }
        Ok(Library(handle))
    }

    /// # Safety
    /// `F` is the type of the function called `name`.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, String> {
        // SAFETY: the handle is open; it leads to the library and what that is linked to, and to no other.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            return Err(format!("the library does not show {} to others", name.to_string_lossy()));
        }
        const { assert!(size_of::<F>() == size_of::<Function>()) };
        // SAFETY: the caller's; functions and their addresses have one size here.
        Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: gives back our reference only.
        unsafe { libc::dlclose(self.0) };
    }
}
