//! `sqlite3_vfs`: opening files, and what SQLite asks about names, answered for SQLite.
//!
//! Databases are ours, but for what is attached as a plain file ([`opening`]). Temporary files go to the SQLite's default VFS,
//! on the local disk, in the same memory: they carry that VFS's own methods from then on. So do plain files, their journals, and the
//! journal that binds the commits of several plain databases together, which SQLite asks main's VFS for. A rollback journal of
//! ours is in memory, and there is no WAL.

use crate::abi::{self, File, Function, Vfs};
use crate::failure::Failure;
use crate::host::{self, host_of};
use crate::registry::Journals;
use crate::unshared::Unshared;
use crate::{io_methods, journal, opening};
use std::ffi::{CStr, c_char, c_double, c_int, c_void};

/// Our structure for the SQLite whose default VFS is `defaults`.
pub(crate) fn describe(defaults: &Vfs, app_data: *mut c_void) -> Vfs {
    Vfs {
        version: 2,
        file_bytes: host::file_bytes(defaults),
        max_pathname: defaults.max_pathname,
        next: std::ptr::null_mut(),
        name: host::NAME.as_ptr(),
        app_data,
        open,
        delete,
        access,
        full_pathname,
        dl_open: defaults.dl_open.and(Some(dl_open)),
        dl_error: defaults.dl_error.and(Some(dl_error)),
        dl_sym: defaults.dl_sym.and(Some(dl_sym)),
        dl_close: defaults.dl_close.and(Some(dl_close)),
        randomness,
        sleep,
        current_time,
        get_last_error: defaults.get_last_error.and(Some(get_last_error)),
        current_time_int64: defaults.current_time_int64.and(Some(current_time_int64)),
    }
}

const NO_WAL: &str = "Seawall's databases have no WAL, and PRAGMA journal_mode was set for this one by way of a main database that is not \
     Seawall's. Nothing was written; set PRAGMA <schema>.journal_mode=MEMORY, and name the schema when you set it for another one";

unsafe extern "C" fn open(
    vfs: *mut Vfs,
    name: *const c_char,
    file: *mut File,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    crate::guard(abi::CANTOPEN, || {
        // SAFETY: SQLite's call of xOpen: `file` has room for `file_bytes`, `name` is null or a database name of
        // SQLite's, with its parameters behind it.
        unsafe {
            // Without methods SQLite will not close what was not opened.
            (*file).methods = std::ptr::null();
            let host = host_of(vfs);
            if flags & abi::OPEN_MAIN_DB != 0 && !name.is_null() {
                return match opening::open(host, name, flags) {
                    Ok((main, told)) => {
                        io_methods::install(file, main);
                        if !out_flags.is_null() {
                            *out_flags = told;
                        }
                        abi::OK
                    }
                    Err(failure) => host.fails(failure),
                };
            }
            if flags & abi::OPEN_WAL != 0 && Journals::are_ours(name) {
                return host.fails(Failure::refusal(abi::CANTOPEN, NO_WAL));
            }
            if flags & abi::OPEN_MAIN_JOURNAL != 0 && Journals::are_ours(name) {
                journal::install(file);
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
                return abi::OK;
            }
            ((*host.default_vfs).open)(host.default_vfs, name, file, flags, out_flags)
        }
    })
}

/// Whether `name` is a journal's of ours. None is ever a file, and nothing that other tools leave beside NAME is looked at.
///
/// # Safety
/// `name` ends in NUL.
unsafe fn is_journal(name: *const c_char) -> bool {
    // SAFETY: the caller's.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    (text.ends_with(b"-journal") || text.ends_with(b"-wal")) && Journals::are_ours(name)
}

unsafe extern "C" fn delete(vfs: *mut Vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite's call, passed on to its default VFS.
    unsafe {
        if is_journal(name) {
            return abi::OK;
        }
        let default = host_of(vfs).default_vfs;
        ((*default).delete)(default, name, sync_folder)
    }
}

unsafe extern "C" fn access(vfs: *mut Vfs, name: *const c_char, flags: c_int, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's call, passed on to its default VFS.
    unsafe {
        // Asked twice in every transaction: so never of the file system.
        if is_journal(name) {
            *result = 0;
            return abi::OK;
        }
        let default = host_of(vfs).default_vfs;
        ((*default).access)(default, name, flags, result)
    }
}

/// The default VFS's answer, spelled so that SQLite does not let two connections use one file of ours.
unsafe extern "C" fn full_pathname(vfs: *mut Vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    crate::guard(abi::CANTOPEN, || {
        // SAFETY: SQLite's call, passed on to its default VFS, which leaves a text in `out` that ends in NUL. `out` has room for `size` bytes.
        unsafe {
            let default = host_of(vfs).default_vfs;
            let code = ((*default).full_pathname)(default, name, size, out);
            if code & 0xff == abi::OK
                && let Some(spelling) = Unshared::respell(CStr::from_ptr(out).to_bytes())
                && spelling.len() < size as usize
            {
                out.cast::<u8>().copy_from_nonoverlapping(spelling.as_ptr(), spelling.len());
                out.add(spelling.len()).write(0);
            }
            code
        }
    })
}

/// Methods that only pass on to the default VFS.
macro_rules! forward {
    ($($ours:ident($($argument:ident: $type:ty),*) -> $result:ty = $call:expr;)*) => {
        $(unsafe extern "C" fn $ours(vfs: *mut Vfs, $($argument: $type),*) -> $result {
            // SAFETY: SQLite's call, passed on to its default VFS, which has this method: `describe` looked.
            unsafe {
                let default = host_of(vfs).default_vfs;
                let method = $call(&*default);
                method(default, $($argument),*)
            }
        })*
    };
}

const LOOKED: &str = "`describe` looked";

forward! {
    dl_open(name: *const c_char) -> *mut c_void = |d: &Vfs| d.dl_open.expect(LOOKED);
    dl_error(size: c_int, out: *mut c_char) -> () = |d: &Vfs| d.dl_error.expect(LOOKED);
    dl_sym(library: *mut c_void, symbol: *const c_char) -> Option<Function> = |d: &Vfs| d.dl_sym.expect(LOOKED);
    dl_close(library: *mut c_void) -> () = |d: &Vfs| d.dl_close.expect(LOOKED);
    randomness(size: c_int, out: *mut c_char) -> c_int = |d: &Vfs| d.randomness;
    sleep(microseconds: c_int) -> c_int = |d: &Vfs| d.sleep;
    current_time(out: *mut c_double) -> c_int = |d: &Vfs| d.current_time;
    get_last_error(size: c_int, out: *mut c_char) -> c_int = |d: &Vfs| d.get_last_error.expect(LOOKED);
    current_time_int64(out: *mut i64) -> c_int = |d: &Vfs| d.current_time_int64.expect(LOOKED);
}
