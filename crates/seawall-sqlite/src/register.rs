//! Registering where nothing loads an extension: in Rust programs, and in a SQLite that cannot load any.
//!
//! Each copy of SQLite in a process has a list of VFSes of its own. The functions of one copy are needed to enter its
//! list: a Rust program has them by linking; of a library that is open in this process, its handle leads to them,
//! whichever other copies there are. `sqlite3_auto_extension` then makes that SQLite hand over its function table.

use crate::abi::{self, Entry, Function, Sqlite3};
use crate::api::check_version;
use crate::failure::Failure;
use crate::host::on_connection;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Registers the VFS `seawall` in the SQLite that this program links: rusqlite's, for example, whether that is the
/// system's library or the copy that rusqlite brings (`bundled`). Calling it again changes nothing.
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
/// The error says why this SQLite cannot be used; it is older than 3.39, for example. Then nothing was registered.
#[cfg(feature = "linked")]
pub fn register() -> Result<(), Failure> {
    use libsqlite3_sys as linked;
    type LinkedEntry =
        unsafe extern "C" fn(*mut linked::sqlite3, *mut *mut c_char, *const linked::sqlite3_api_routines) -> c_int;

    // SAFETY: the two types name the same C function; only the names of what its pointers lead to differ.
    let entry = unsafe { std::mem::transmute::<Entry, LinkedEntry>(on_connection) };
    // SAFETY: the functions are those of one SQLite, with SQLite's own types.
    unsafe {
        enter(
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

/// Registers the VFS `seawall` in the SQLite that an open library uses: the library itself, or what it is linked to.
///
/// `library` is the path of a shared library that this process has loaded, as a Python module's `_sqlite3.so`. The
/// error says why that cannot be; then nothing was registered.
pub fn register_in(library: &Path) -> Result<(), Failure> {
    let library = Library::already_open(library)?;
    // SAFETY: these are SQLite's names, with SQLite's types; the library stays open, for others use it.
    unsafe {
        let version: unsafe extern "C" fn() -> c_int = library.function(c"sqlite3_libversion_number")?;
        let auto_extension: unsafe extern "C" fn(Entry) -> c_int = library.function(c"sqlite3_auto_extension")?;
        let open: unsafe extern "C" fn(*const c_char, *mut *mut Sqlite3, c_int, *const c_char) -> c_int =
            library.function(c"sqlite3_open_v2")?;
        let close: unsafe extern "C" fn(*mut Sqlite3) -> c_int = library.function(c"sqlite3_close")?;
        enter(
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

/// Enters one SQLite: asks for its version, adds our entry point, and opens a connection, for which SQLite calls it.
///
/// # Safety
/// All three call the same SQLite: `version` is its `sqlite3_libversion_number`, `add` gives it [`on_connection`] as an
/// automatic extension, and `open_and_close` opens a database and closes it.
unsafe fn enter(
    version: unsafe extern "C" fn() -> c_int,
    add: impl FnOnce() -> c_int,
    open_and_close: impl FnOnce(&CStr, c_int) -> c_int,
) -> Result<(), Failure> {
    // Forks are noticed from now on.
    crate::fork::count();
    // Before anything is registered: an entry point that fails would fail every opening from then on.
    // SAFETY: the caller's.
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
        // SAFETY: with NOLOAD nothing is loaded, so no code runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return Err(refused(format!("{} is not a library that is open in this process", path.display())));
        }
        Ok(Library(handle))
    }

    /// # Safety
    /// `F` is the type of the function called `name`.
    unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, Failure> {
        // SAFETY: the handle is open; it leads to the library and what that is linked to, and to no other.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            return Err(refused(format!("the library does not show {} to others", name.to_string_lossy())));
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
