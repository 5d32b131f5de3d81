//! `sqlite3_io_methods`: SQLite's calls on an open database file, passed to [`MainFile`].

use crate::abi::{self, File, IoMethods, ShmMethods, Sqlite3};
use crate::failure::{self, Failure, guard};
use crate::main_file::{Lock, MainFile, main_file_of, uninstall};
use crate::opening;
use crate::plain_file::PlainFile;
use crate::pragma::{self, Answer};
use std::ffi::{CStr, c_char, c_int, c_void};

/// The methods of an open database file of Seawall's.
pub(crate) static METHODS: IoMethods = IoMethods {
    version: 1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// The methods of such a file while it is a plain file that is only read, which may have a WAL.
pub(crate) static PLAIN_METHODS: ShmMethods =
    ShmMethods { base: IoMethods { version: 2, ..METHODS }, shm_map, shm_lock, shm_barrier, shm_unmap };

/// Runs one call on the file, and keeps its failure.
///
/// # Safety
/// `file` is Seawall's. SQLite makes the call, and makes one call at a time on a file.
unsafe fn call(file: *mut File, body: impl FnOnce(&mut MainFile) -> Result<c_int, Failure>) -> c_int {
    guard(abi::IOERR, || {
        // SAFETY: guaranteed by the caller. `install` made the pointer, and it is valid until `close`.
        let main = unsafe { &mut *main_file_of(file) };
        body(main).unwrap_or_else(|failure| main.connection().report(failure))
    })
}

unsafe extern "C" fn close(file: *mut File) -> c_int {
    guard(abi::OK, || {
        // SAFETY: this is SQLite's last call on a file of Seawall's.
        unsafe { uninstall(file) };
        abi::OK
    })
}

unsafe extern "C" fn read(file: *mut File, into: *mut c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with room for `length` bytes.
    unsafe {
        call(file, |main| {
            let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), length as usize);
            Ok(if main.read(offset as u64, into)? { abi::OK } else { abi::IOERR_SHORT_READ })
        })
    }
}

unsafe extern "C" fn write(file: *mut File, bytes: *const c_void, length: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's call, with `length` bytes.
    unsafe {
        call(file, |main| {
            main.write(offset as u64, std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize))?;
            Ok(abi::OK)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut File, size: i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |main| {
            main.truncate(size as u64);
            Ok(abi::OK)
        })
    }
}

/// SQLite omits this call with `synchronous=OFF`. Therefore the commit is in [`file_control`].
unsafe extern "C" fn sync(_file: *mut File, _flags: c_int) -> c_int {
    abi::OK
}

unsafe extern "C" fn file_size(file: *mut File, size: *mut i64) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |main| {
            *size = main.size()? as i64;
            Ok(abi::OK)
        })
    }
}

unsafe extern "C" fn lock(file: *mut File, level: c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |main| {
            main.lock(file, lock_of(level))?;
            failure::forget();
            Ok(abi::OK)
        })
    }
}

unsafe extern "C" fn unlock(file: *mut File, level: c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        call(file, |main| {
            main.unlock(lock_of(level));
            Ok(abi::OK)
        })
    }
}

fn lock_of(level: c_int) -> Lock {
    match level {
        0 => Lock::None,
        1 => Lock::Shared,
        // 3 is PENDING: a writer that does not commit yet.
        2 | 3 => Lock::Reserved,
        _ => Lock::Exclusive,
    }
}

/// SQLite calls this only if there may be a hot journal. Only a plain file has one.
unsafe extern "C" fn check_reserved_lock(file: *mut File, result: *mut c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe {
        *result = 0;
        call(file, |main| {
            main.is_reserved(&mut *result)?;
            Ok(abi::OK)
        })
    }
}

unsafe extern "C" fn file_control(file: *mut File, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite's call. SQLite defines for each operation what `argument` points to.
    unsafe {
        if operation == abi::FCNTL_PDB && guard(0, || c_int::from(opening::turn_plain(file, argument))) != 0 {
            return abi::OK;
        }
        call(file, |main| match operation {
            abi::FCNTL_SYNC => {
                main.sync(file)?;
                Ok(abi::OK)
            }
            abi::FCNTL_COMMIT_PHASETWO => {
                main.committed()?;
                Ok(abi::OK)
            }
            abi::FCNTL_PDB => {
                main.belongs_to(*argument.cast::<*mut Sqlite3>());
                Ok(abi::OK)
            }
            abi::FCNTL_BUSYHANDLER => {
                main.has_busy_handler(argument);
                Ok(abi::NOTFOUND)
            }
            // There is no file that could be mapped.
            abi::FCNTL_MMAP_SIZE => {
                *argument.cast::<i64>() = 0;
                Ok(abi::OK)
            }
            abi::FCNTL_PRAGMA => Ok(answer_pragma(main, argument.cast::<*mut c_char>())),
            abi::FCNTL_VFSNAME => {
                *argument.cast::<*mut c_char>() = main.host().api.text(&abi::NAME.to_string_lossy());
                Ok(abi::OK)
            }
            _ => Ok(main.control_plain(operation, argument)),
        })
    }
}

unsafe extern "C" fn shm_map(
    file: *mut File,
    region: c_int,
    size: c_int,
    extend: c_int,
    into: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's call.
    unsafe { call(file, |main| Ok(main.with_plain(|plain| plain.shm_map(region, size, extend, into)))) }
}

unsafe extern "C" fn shm_lock(file: *mut File, offset: c_int, n: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe { call(file, |main| Ok(main.with_plain(|plain| plain.shm_lock(offset, n, flags)))) }
}

unsafe extern "C" fn shm_barrier(file: *mut File) {
    let barrier = |plain: &PlainFile| {
        plain.shm_barrier();
        abi::OK
    };
    // SAFETY: SQLite's call.
    unsafe { call(file, |main| Ok(main.with_plain(barrier))) };
}

unsafe extern "C" fn shm_unmap(file: *mut File, delete: c_int) -> c_int {
    // SAFETY: SQLite's call.
    unsafe { call(file, |main| Ok(main.with_plain(|plain| plain.shm_unmap(delete)))) }
}

/// # Safety
/// `texts` is SQLite's: room for the answer, the PRAGMA's name, and its value or null.
unsafe fn answer_pragma(main: &mut MainFile, texts: *mut *mut c_char) -> c_int {
    // SAFETY: guaranteed by the caller; the texts end in NUL.
    let text = |n: usize| unsafe {
        let text = *texts.add(n);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy()) }
    };
    let (Some(name), value) = (text(1), text(2)) else { return abi::NOTFOUND };
    let (code, text) = match pragma::answer(main, &name.to_ascii_lowercase(), value.as_deref()) {
        Answer::BySqlite => return abi::NOTFOUND,
        Answer::Row(text) => (abi::OK, text),
        Answer::Error(text) => (abi::ERROR, text),
    };
    // SAFETY: guaranteed by the caller.
    unsafe { *texts = main.host().api.text(&text) };
    code
}

unsafe extern "C" fn sector_size(_file: *mut File) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_file: *mut File) -> c_int {
    abi::IOCAP
}
