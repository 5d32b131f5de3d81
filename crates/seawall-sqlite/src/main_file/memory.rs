//! A [`MainFile`] in the memory that SQLite allocates for an open file.

use super::MainFile;
use crate::abi::File;
use crate::host::Host;
use std::ptr::NonNull;

/// An open database file of Seawall's, as it lies in SQLite's memory.
#[repr(C)]
struct SeawallFile {
    base: File,
    main: *mut MainFile,
}

/// How much memory SQLite must allocate for it.
pub(crate) const FILE_BYTES: usize = size_of::<SeawallFile>();

/// Makes `file` a file of Seawall's.
///
/// # Safety
/// `file` is the memory that SQLite passes to xOpen.
pub(crate) unsafe fn install(file: *mut File, main: MainFile) {
    // SAFETY: guaranteed by the caller.
    unsafe { restore(file, Box::into_raw(Box::new(main))) }
}

/// Makes `file` a file of Seawall's again.
///
/// # Safety
/// `file` is the memory that SQLite passed to xOpen, and `main` came from [`main_file_of`].
pub(crate) unsafe fn restore(file: *mut File, main: *mut MainFile) {
    // SAFETY: guaranteed by the caller. There is room for a `SeawallFile`, because Seawall's VFS asks for it.
    unsafe {
        let base = File { methods: (*main).methods() };
        file.cast::<SeawallFile>().write(SeawallFile { base, main });
    }
}

/// Ends a file of Seawall's.
///
/// # Safety
/// `file` is Seawall's, and this is SQLite's last call on it.
pub(crate) unsafe fn uninstall(file: *mut File) {
    // SAFETY: guaranteed by the caller; `install` made the pointer.
    unsafe {
        let file = &mut *file.cast::<SeawallFile>();
        drop(Box::from_raw(file.main));
        file.base.methods = std::ptr::null();
    }
}

/// The [`MainFile`] of a file of Seawall's.
///
/// # Safety
/// `file` is Seawall's.
pub(crate) unsafe fn main_file_of(file: *mut File) -> *mut MainFile {
    // SAFETY: guaranteed by the caller.
    unsafe { (*file.cast::<SeawallFile>()).main }
}

/// The [`MainFile`] of `file`, if that is one of Seawall's.
///
/// # Safety
/// `file` is a file of `host`'s SQLite, open or not. The result may be used in the middle of a call of SQLite on its
/// connection, by one function at a time.
pub(crate) unsafe fn of_seawall(host: &Host, file: NonNull<File>) -> Option<*mut MainFile> {
    // SAFETY: guaranteed by the caller.
    unsafe { host.is_seawall_file(file).then(|| main_file_of(file.as_ptr())) }
}
