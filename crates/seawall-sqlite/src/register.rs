//! Registration where no extension is loaded: in Rust programs, and in a SQLite that cannot load extensions.
//!
//! Each copy of SQLite in a process has its own list of VFSes, and only that copy's functions can add to the list. A
//! Rust program links these functions. For a library that is open in this process, they are looked up through the
//! library's handle, which leads to that copy and to no other. `sqlite3_auto_extension` then makes that SQLite hand
//! over its function table.

use crate::abi::{self, Entry, Function, Sqlite3};
use crate::api::check_version;
use crate::entry::on_connection;
use crate::failure::Failure;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Registers the VFS `seawall` in the SQLite that this program links. With rusqlite, that is the system's library or
/// the copy that rusqlite brings (`bundled`). A second call changes nothing.
///
/// Needs the feature `linked`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let name = folder.path().join("db.sqlite3");
/// seawall_sqlite::register()?;
/// let connection = rusqlite::Connection::open(seawall_sqlite::uri(&name, &[]))?;
/// connection.execute_batch("CREATE TABLE visit (at TEXT)")?;
/// # Ok(())
/// # }
/// ```
///
/// The error says why this SQLite cannot be used, for example because it is older than 3.39. Then nothing was
/// registered.
#[cfg(feature = "linked")]
pub fn register() -> Result<(), Failure> {
    use libsqlite3_sys as linked;
    type LinkedEntry =
        unsafe extern "C" fn(*mut linked::sqlite3, *mut *mut c_char, *const linked::sqlite3_api_routines) -> c_int;

    // SAFETY: both are the type of the same C function. Only the Rust names of the types behind its pointers differ.
    let entry = unsafe { std::mem::transmute::<Entry, LinkedEntry>(on_connection) };
    // SAFETY: the functions are those of one SQLite, with SQLite's own types.
    unsafe {
        register_by(
            linked::sqlite3_libversion_number,
            || linked::sqlite3_auto_extension(Some(entry)),
            |name, flags| {
                let mut db = std::ptr::null_mut();
                let code = linked::sqlite3_open_v2(name.as_ptr(), &raw mut db, flags, std::ptr::null());
                linked::sqlite3_close(db);
                code
            },
        )
    }
}

/// Registers the VFS `seawall` in the SQLite that an open library contains or is linked to.
///
/// `library` is the path of a shared library that this process has loaded, such as a Python module's `_sqlite3.so`. The
/// error says why that SQLite cannot be used. Then nothing was registered.
pub fn register_in(library: &Path) -> Result<(), Failure> {
    let library = Library::already_open(library)?;
    // SAFETY: these are SQLite's names, with SQLite's types. The library stays open, because the process uses it.
    unsafe {
        let version: unsafe extern "C" fn() -> c_int = library.function(c"sqlite3_libversion_number")?;
        let auto_extension: unsafe extern "C" fn(Entry) -> c_int = library.function(c"sqlite3_auto_extension")?;
        let open: unsafe extern "C" fn(*const c_char, *mut *mut Sqlite3, c_int, *const c_char) -> c_int =
            library.function(c"sqlite3_open_v2")?;
        let close: unsafe extern "C" fn(*mut Sqlite3) -> c_int = library.function(c"sqlite3_close")?;
        register_by(
            version,
            || auto_extension(on_connection),
            |name, flags| {
                let mut db = std::ptr::null_mut();
                let code = open(name.as_ptr(), &raw mut db, flags, std::ptr::null());
                close(db);
                code
            },
        )
    }
}

/// Registers the VFS in one SQLite: checks its version, adds our entry point, and opens a connection, because SQLite
/// calls the entry point for each new connection.
///
/// # Safety
/// All three call the same SQLite: `version` is its `sqlite3_libversion_number`, `add` gives it [`on_connection`] as an
/// automatic extension, and `open_and_close` opens a database and closes it.
unsafe fn register_by(
    version: unsafe extern "C" fn() -> c_int,
    add: impl FnOnce() -> c_int,
    open_and_close: impl FnOnce(&CStr, c_int) -> c_int,
) -> Result<(), Failure> {
    // From here on forks are counted.
    crate::fork::count();
    // The version is checked before anything is registered, because an entry point that fails makes every later open
    // fail.
    // SAFETY: guaranteed by the caller.
    check_version(unsafe { version() }).map_err(refused)?;
    if add() != abi::OK {
        return Err(refused("SQLite has no memory to register Seawall"));
    }
    let code = open_and_close(c":memory:", abi::OPEN_READWRITE | abi::OPEN_CREATE);
    if code != abi::OK {
        return Err(refused(format!("SQLite's error {code} while registering Seawall")));
    }
    Ok(())
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::refusal(abi::ERROR, why)
}

/// A library that this process has open already.
struct Library(*mut c_void);

impl Library {
    fn already_open(path: &Path) -> Result<Library, Failure> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| refused("a NUL in the library's name"))?;
        // SAFETY: with NOLOAD no library is loaded, therefore no code runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return Err(refused(format!("{} is not a library that is open in this process", path.display())));
        }
        Ok(Library(handle))
    }

    /// # Safety
    /// `F` is the type of the function called `name`.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, Failure> {
        // SAFETY: the handle is open. It leads to the library and to the libraries that it is linked to, and to no
        // other.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            return Err(refused(format!("the library does not export {}", name.to_string_lossy())));
        }
        const { assert!(size_of::<F>() == size_of::<Function>()) };
        // SAFETY: guaranteed by the caller; functions and their addresses have one size here.
        Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: gives back our reference only.
        unsafe { libc::dlclose(self.0) };
    }
}
