//! SQLite's binary interface, as far as a VFS and a loadable extension touch it.
//!
//! SQLite has frozen all of this: structures grow only at their end, and numbers never change their meaning. Therefore
//! it is written down here, and this crate needs no SQLite to build or to link.

use std::ffi::{CStr, c_char, c_double, c_int, c_void};

/// A database connection (`sqlite3`).
#[repr(C)]
pub struct Sqlite3 {
    _opaque: [u8; 0],
}

/// A prepared statement (`sqlite3_stmt`).
#[repr(C)]
pub(crate) struct Statement {
    _opaque: [u8; 0],
}

/// The table of SQLite's functions that an extension is handed (`sqlite3_api_routines`).
#[repr(C)]
pub struct Routines {
    _opaque: [u8; 0],
}

/// An open file (`sqlite3_file`). The memory that follows it belongs to its VFS.
#[repr(C)]
pub(crate) struct File {
    pub(crate) methods: *const IoMethods,
}

/// `sqlite3_io_methods`, version 1. It has no shared memory for WAL and no memory maps, therefore SQLite never asks for
/// them.
#[repr(C)]
pub(crate) struct IoMethods {
    pub(crate) version: c_int,
    pub(crate) close: unsafe extern "C" fn(*mut File) -> c_int,
    pub(crate) read: unsafe extern "C" fn(*mut File, *mut c_void, c_int, i64) -> c_int,
    pub(crate) write: unsafe extern "C" fn(*mut File, *const c_void, c_int, i64) -> c_int,
    pub(crate) truncate: unsafe extern "C" fn(*mut File, i64) -> c_int,
    pub(crate) sync: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) file_size: unsafe extern "C" fn(*mut File, *mut i64) -> c_int,
    pub(crate) lock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) unlock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) check_reserved_lock: unsafe extern "C" fn(*mut File, *mut c_int) -> c_int,
    pub(crate) file_control: unsafe extern "C" fn(*mut File, c_int, *mut c_void) -> c_int,
    pub(crate) sector_size: unsafe extern "C" fn(*mut File) -> c_int,
    pub(crate) device_characteristics: unsafe extern "C" fn(*mut File) -> c_int,
}

/// `sqlite3_io_methods`, version 2: with the shared memory of a WAL.
#[repr(C)]
pub(crate) struct ShmMethods {
    pub(crate) base: IoMethods,
    pub(crate) shm_map: unsafe extern "C" fn(*mut File, c_int, c_int, c_int, *mut *mut c_void) -> c_int,
    pub(crate) shm_lock: unsafe extern "C" fn(*mut File, c_int, c_int, c_int) -> c_int,
    pub(crate) shm_barrier: unsafe extern "C" fn(*mut File),
    pub(crate) shm_unmap: unsafe extern "C" fn(*mut File, c_int) -> c_int,
}

/// `sqlite3_vfs`, version 2.
#[repr(C)]
pub(crate) struct Vfs {
    pub(crate) version: c_int,
    pub(crate) file_bytes: c_int,
    pub(crate) max_pathname: c_int,
    pub(crate) next: *mut Vfs,
    pub(crate) name: *const c_char,
    pub(crate) app_data: *mut c_void,
    pub(crate) open: unsafe extern "C" fn(*mut Vfs, *const c_char, *mut File, c_int, *mut c_int) -> c_int,
    pub(crate) delete: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int) -> c_int,
    pub(crate) access: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_int) -> c_int,
    pub(crate) full_pathname: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_char) -> c_int,
    pub(crate) dl_open: Option<unsafe extern "C" fn(*mut Vfs, *const c_char) -> *mut c_void>,
    pub(crate) dl_error: Option<unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char)>,
    pub(crate) dl_sym: Option<unsafe extern "C" fn(*mut Vfs, *mut c_void, *const c_char) -> Option<Function>>,
    pub(crate) dl_close: Option<unsafe extern "C" fn(*mut Vfs, *mut c_void)>,
    pub(crate) randomness: unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char) -> c_int,
    pub(crate) sleep: unsafe extern "C" fn(*mut Vfs, c_int) -> c_int,
    pub(crate) current_time: unsafe extern "C" fn(*mut Vfs, *mut c_double) -> c_int,
    pub(crate) get_last_error: Option<unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char) -> c_int>,
    pub(crate) current_time_int64: Option<unsafe extern "C" fn(*mut Vfs, *mut i64) -> c_int>,
}

/// Any function, before it is cast to its type.
pub(crate) type Function = unsafe extern "C" fn();

/// An extension's entry point, as `sqlite3_auto_extension` calls it.
pub(crate) type Entry = unsafe extern "C" fn(*mut Sqlite3, *mut *mut c_char, *const Routines) -> c_int;

/// `sqlite3_trace_v2`'s callback: the event, Seawall's context, and the event's two arguments.
pub(crate) type Trace = unsafe extern "C" fn(u32, *mut c_void, *mut c_void, *mut c_void) -> c_int;

/// `sqlite3_busy_handler`'s callback: Seawall's context, and how often it was called for this lock.
pub(crate) type BusyHandler = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

/// `sqlite3_exec`'s callback for rows.
pub(crate) type Row = unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;

/// The VFS's name.
pub(crate) const NAME: &CStr = c"seawall";

// Result codes.
pub(crate) const OK: c_int = 0;
pub(crate) const ERROR: c_int = 1;
pub(crate) const PERM: c_int = 3;
pub(crate) const BUSY: c_int = 5;
pub(crate) const READONLY: c_int = 8;
pub(crate) const IOERR: c_int = 10;
pub(crate) const CORRUPT: c_int = 11;
pub(crate) const NOTFOUND: c_int = 12;
pub(crate) const FULL: c_int = 13;
pub(crate) const CANTOPEN: c_int = 14;
pub(crate) const NOTADB: c_int = 26;
pub(crate) const OK_LOAD_PERMANENTLY: c_int = 256;
pub(crate) const IOERR_READ: c_int = 266;
pub(crate) const BUSY_SNAPSHOT: c_int = 517;
pub(crate) const IOERR_SHORT_READ: c_int = 522;
pub(crate) const IOERR_WRITE: c_int = 778;
pub(crate) const IOERR_NOMEM: c_int = 3082;
pub(crate) const IOERR_LOCK: c_int = 3850;
pub(crate) const IOERR_COMMIT_ATOMIC: c_int = 7690;

// Flags of xOpen.
pub(crate) const OPEN_READONLY: c_int = 0x1;
pub(crate) const OPEN_READWRITE: c_int = 0x2;
pub(crate) const OPEN_CREATE: c_int = 0x4;
pub(crate) const OPEN_MAIN_DB: c_int = 0x100;
pub(crate) const OPEN_MAIN_JOURNAL: c_int = 0x800;
pub(crate) const OPEN_SUPER_JOURNAL: c_int = 0x4000;
pub(crate) const OPEN_WAL: c_int = 0x8_0000;

// Operations of xFileControl.
pub(crate) const FCNTL_FILE_POINTER: c_int = 7;
pub(crate) const FCNTL_VFSNAME: c_int = 12;
pub(crate) const FCNTL_PRAGMA: c_int = 14;
pub(crate) const FCNTL_BUSYHANDLER: c_int = 15;
pub(crate) const FCNTL_MMAP_SIZE: c_int = 18;
pub(crate) const FCNTL_SYNC: c_int = 21;
pub(crate) const FCNTL_COMMIT_PHASETWO: c_int = 22;
pub(crate) const FCNTL_JOURNAL_POINTER: c_int = 28;
pub(crate) const FCNTL_PDB: c_int = 30;

/// What `sqlite3_txn_state` returns for a schema without a transaction …
pub(crate) const TXN_NONE: c_int = 0;
/// … and for one with a transaction that has asked to write.
pub(crate) const TXN_WRITE: c_int = 2;

/// SAFE_APPEND, SEQUENTIAL and POWERSAFE_OVERWRITE. With them SQLite omits precautions that Seawall's commit does not
/// need. IMMUTABLE is not among them, because it would turn off locks and the check for newer commits.
pub(crate) const IOCAP: c_int = 0x1600;

/// xSync's ordinary flag.
pub(crate) const SYNC_NORMAL: c_int = 2;

/// The trace event that comes before a statement's first lock.
pub(crate) const TRACE_STMT: u32 = 1;
