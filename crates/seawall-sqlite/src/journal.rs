//! SQLite's rollback journal of a database of ours, in memory.
//!
//! What a crash leaves of a transaction is nothing: its pages lie in an overlay until it is published as a whole. So a journal serves
//! only the rollbacks of its own connection, and nobody else ever looks for it. With `journal_mode=MEMORY`, which a connection is set to
//! whose main database is ours, SQLite keeps it itself; otherwise it opens a file, and this is what it gets.

use crate::abi::{self, File, IoMethods};
use std::ffi::{c_int, c_void};

/// An open journal in the memory that SQLite gave for it.
#[repr(C)]
pub(crate) struct Journal {
    base: File,
    bytes: *mut Vec<u8>,
}

static METHODS: IoMethods = IoMethods {
    version: 1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock: lock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// How SQLite ends the name of a super-journal in a journal: in a write of its own. A journal's headers begin with the same bytes, and are
/// written with what follows them.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Makes `file` an empty journal.
///
/// # Safety
/// `file` is the memory that SQLite gave to xOpen.
pub(crate) unsafe fn install(file: *mut File) {
    // SAFETY: the caller's; there is room for a `Journal`, as our VFS asked for.
    unsafe {
        file.cast::<Journal>().write(Journal { base: File { methods: &METHODS }, bytes: Box::into_raw(Box::default()) })
    };
}

/// Runs one call on the journal.
///
/// # Safety
/// `file` is a journal, and SQLite calls: one call at a time for each file.
unsafe fn call(file: *mut File, body: impl FnOnce(&mut Vec<u8>) -> c_int) -> c_int {
    crate::guard(abi::IOERR, || {
        // SAFETY: the caller's; `install` made the pointer, and only `close` ends it.
        body(unsafe { &mut *(*file.cast::<Journal>()).bytes })
    })
}

unsafe extern "C" fn close(file: *mut File) -> c_int {
    crate::guard(abi::OK, || {
        // SAFETY: SQLite's last call on a file that `install` made.
        unsafe {
            let file = &mut *file.cast::<Journal>();
            drop(Box::from_raw(file.bytes));
            file.base.methods = std::ptr::null();
        }
        abi::OK
    })
}

unsafe extern "C" fn read(file: *mut File, into: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with room for `length` bytes.
    unsafe {
        call(file, |bytes| {
            let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), length as usize);
            let there = bytes.get(offset as usize..).unwrap_or_default();
            let (filled, rest) = into.split_at_mut(into.len().min(there.len()));
            filled.copy_from_slice(&there[..filled.len()]);
            rest.fill(0);
            if rest.is_empty() { abi::OK } else { abi::IOERR_SHORT_READ }
        })
    }
}

unsafe extern "C" fn write(file: *mut File, written: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with `length` bytes.
    unsafe {
        call(file, |bytes| {
            let (written, at) = (std::slice::from_raw_parts(written.cast::<u8>(), length as usize), offset as usize);
            if written == MAGIC {
                // Without it SQLite finds no name there. It would take the journal for stale, and would not play it back, where another
                // database's rollback has removed the super-journal already.
                return abi::OK;
            }
            let end = at + written.len();
            if bytes.len() < end {
                // A failed allocation would end the process.
                if bytes.try_reserve(end - bytes.len()).is_err() {
                    return abi::IOERR_NOMEM;
                }
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(written);
            abi::OK
        })
    }
}

unsafe extern "C" fn truncate(file: *mut File, size: i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |bytes| {
            bytes.truncate(size as usize);
            bytes.shrink_to(SMALL.max(bytes.len()));
            abi::OK
        })
    }
}

/// So much memory an empty journal keeps.
const SMALL: usize = 64 << 10;

unsafe extern "C" fn sync(_file: *mut File, _flags: c_int) -> c_int {
    abi::OK
}

unsafe extern "C" fn file_size(file: *mut File, size: *mut i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |bytes| {
            *size = bytes.len() as i64;
            abi::OK
        })
    }
}

unsafe extern "C" fn lock(_file: *mut File, _level: c_int) -> c_int {
    abi::OK
}

unsafe extern "C" fn check_reserved_lock(_file: *mut File, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe { *result = 0 };
    abi::OK
}

unsafe extern "C" fn file_control(_file: *mut File, _operation: c_int, _argument: *mut c_void) -> c_int {
    abi::NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut File) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(_file: *mut File) -> c_int {
    abi::IOCAP
}
