//! `sqlite3_vfs`: opening files, and SQLite's questions about names.
//!
//! Databases are Seawall's, except for a plain file that is attached ([`opening`]). The default VFS opens temporary
//! files, on the local disk. It opens them in the same memory, and so they have that VFS's own methods. The same holds
//! for plain files, for their journals, and for super-journals, which bind the commits of several plain databases
//! together and which SQLite opens through main's VFS. The rollback journal of a database of Seawall's is in memory,
//! and there is no WAL.

use crate::abi::{self, File, Function, NAME, Vfs};
use crate::failure::{Failure, guard};
use crate::host::Host;
use crate::journal::{self, JOURNAL_BYTES, JournalNames, super_journal};
use crate::main_file::{self, FILE_BYTES, OriginalsOf};
use crate::opening;
use crate::unshared::Unshared;
use std::ffi::{CStr, OsStr, c_char, c_double, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Adds Seawall's VFS to the list of `host`'s SQLite.
pub(crate) fn register(host: &'static Host) -> Result<(), String> {
    // SAFETY: the default VFS stays registered, and does not change.
    let vfs = Box::leak(Box::new(describe(unsafe { &*host.default_vfs }, host)));
    // SAFETY: every field of the structure is set, and it lives forever.
    if unsafe { (host.api.vfs_register)(vfs, 0) } != abi::OK {
        return Err("this SQLite did not accept the VFS".into());
    }
    Ok(())
}

/// Seawall's VFS for `host`'s SQLite, whose default VFS is `defaults`.
fn describe(defaults: &Vfs, host: &'static Host) -> Vfs {
    Vfs {
        version: 2,
        // SQLite allocates one size for all files of a VFS.
        file_bytes: defaults.file_bytes.max(FILE_BYTES.max(JOURNAL_BYTES) as c_int),
        max_pathname: defaults.max_pathname,
        next: std::ptr::null_mut(),
        name: NAME.as_ptr(),
        app_data: std::ptr::from_ref(host).cast_mut().cast(),
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

/// The host that a VFS of Seawall's belongs to.
///
/// # Safety
/// `vfs` was made by [`register`].
unsafe fn host_of(vfs: *mut Vfs) -> &'static Host {
    // SAFETY: `app_data` is the host, which lives forever and does not change.
    unsafe { &*(*vfs).app_data.cast::<Host>() }
}

const NO_WAL: &str = "Seawall's databases have no WAL, and PRAGMA journal_mode was set for this one through a main database that is not \
     Seawall's. Nothing was written. Set PRAGMA <schema>.journal_mode=MEMORY, and name the schema when you set it for another one";

unsafe extern "C" fn open(
    vfs: *mut Vfs,
    name: *const c_char,
    file: *mut File,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    guard(abi::CANTOPEN, || {
        // SAFETY: SQLite's call of xOpen. `file` has room for `file_bytes` bytes. `name` is null or a database name of
        // SQLite's, which its parameters follow.
        unsafe {
            // SQLite does not close a file without methods. That is right if the file cannot be opened.
            (*file).methods = std::ptr::null();
            let host = host_of(vfs);
            if flags & abi::OPEN_MAIN_DB != 0 && !name.is_null() {
                return match opening::open(host, name, flags) {
                    Ok((main, opened_flags)) => {
                        main_file::install(file, main);
                        if !out_flags.is_null() {
                            *out_flags = opened_flags;
                        }
                        abi::OK
                    }
                    Err(failure) => host.report(failure),
                };
            }
            if flags & abi::OPEN_WAL != 0 && JournalNames::are_ours(name) {
                return host.report(Failure::refusal(abi::CANTOPEN, NO_WAL));
            }
            if flags & abi::OPEN_MAIN_JOURNAL != 0 && JournalNames::are_ours(name) {
                let originals = OriginalsOf::new(host, (host.api.database_file_object)(name));
                journal::install(file, Box::new(originals));
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
                return abi::OK;
            }
            let code = ((*host.default_vfs).open)(host.default_vfs, name, file, flags, out_flags);
            if code == abi::OK && flags & abi::OPEN_SUPER_JOURNAL != 0 && !name.is_null() {
                super_journal::is_made(Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())));
            }
            code
        }
    })
}

/// Whether `name` is the name of a journal of Seawall's. Such a journal is never a file. Files of that name, which
/// other tools may leave, are ignored.
///
/// # Safety
/// `name` ends in NUL.
unsafe fn is_journal(name: *const c_char) -> bool {
    // SAFETY: guaranteed by the caller.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    (text.ends_with(b"-journal") || text.ends_with(b"-wal")) && JournalNames::are_ours(name)
}

unsafe extern "C" fn delete(vfs: *mut Vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite's call, passed on to its default VFS.
    unsafe {
        if is_journal(name) {
            return abi::OK;
        }
        let default = host_of(vfs).default_vfs;
        let code = ((*default).delete)(default, name, sync_folder);
        if code == abi::OK {
            super_journal::is_deleted(CStr::from_ptr(name).to_bytes());
        }
        code
    }
}

unsafe extern "C" fn access(vfs: *mut Vfs, name: *const c_char, flags: c_int, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's call, passed on to its default VFS.
    unsafe {
        // SQLite asks this twice in every transaction. Therefore the answer does not come from the file system.
        if is_journal(name) {
            *result = 0;
            return abi::OK;
        }
        let default = host_of(vfs).default_vfs;
        ((*default).access)(default, name, flags, result)
    }
}

/// The default VFS's answer, spelled so that SQLite does not let two connections use one file of Seawall's.
unsafe extern "C" fn full_pathname(vfs: *mut Vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    guard(abi::CANTOPEN, || {
        // SAFETY: SQLite's call, passed on to its default VFS, which leaves a text in `out` that ends in NUL. `out` has
        // room for `size` bytes.
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

/// Methods that only call the default VFS.
macro_rules! forward {
    ($($ours:ident($($argument:ident: $type:ty),*) -> $result:ty = $call:expr;)*) => {
        $(unsafe extern "C" fn $ours(vfs: *mut Vfs, $($argument: $type),*) -> $result {
            // SAFETY: SQLite's call, passed on to its default VFS, which has this method, because `describe` has
            // checked it.
            unsafe {
                let default = host_of(vfs).default_vfs;
                let method = $call(&*default);
                method(default, $($argument),*)
            }
        })*
    };
}

const CHECKED: &str = "`describe` has checked it";

forward! {
    dl_open(name: *const c_char) -> *mut c_void = |d: &Vfs| d.dl_open.expect(CHECKED);
    dl_error(size: c_int, out: *mut c_char) -> () = |d: &Vfs| d.dl_error.expect(CHECKED);
    dl_sym(library: *mut c_void, symbol: *const c_char) -> Option<Function> = |d: &Vfs| d.dl_sym.expect(CHECKED);
    dl_close(library: *mut c_void) -> () = |d: &Vfs| d.dl_close.expect(CHECKED);
    randomness(size: c_int, out: *mut c_char) -> c_int = |d: &Vfs| d.randomness;
    sleep(microseconds: c_int) -> c_int = |d: &Vfs| d.sleep;
    current_time(out: *mut c_double) -> c_int = |d: &Vfs| d.current_time;
    get_last_error(size: c_int, out: *mut c_char) -> c_int = |d: &Vfs| d.get_last_error.expect(CHECKED);
    current_time_int64(out: *mut i64) -> c_int = |d: &Vfs| d.current_time_int64.expect(CHECKED);
}
