//! The functions of one copy of SQLite.
//!
//! A process can contain several copies (the system's, one inside a Python wheel, one inside an application), each with
//! its own list of VFSes. Therefore the functions are not looked up by name in the process. They come from the table
//! that each copy hands to its extensions.

use crate::abi::{self, BusyHandler, Entry, File, Function, Routines, Row, Sqlite3, Statement, Trace, Vfs};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

/// The first SQLite that returns the names of a connection's schemas (`sqlite3_db_name`).
const OLDEST: c_int = 3_039_000;

macro_rules! functions {
    ($($name:ident @ $index:literal: fn($($argument:ty),* $(; $dots:tt)?) -> $result:ty;)*) => {
        /// The functions that Seawall uses, each under SQLite's name without `sqlite3_`.
        pub(crate) struct SqliteApi {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),* $(, $dots)?) -> $result,)*
        }

        impl SqliteApi {
            /// Reads the functions from SQLite's table, where their positions are frozen.
            ///
            /// # Safety
            /// `routines` is the table that a SQLite of at least version [`OLDEST`] handed out.
            unsafe fn of(routines: *const Routines) -> Option<SqliteApi> {
                let table = routines.cast::<Option<Function>>();
                Some(SqliteApi {
                    $(
                        // SAFETY: the index is within the table of any version that the caller admits, and the type
                        // is the one that `sqlite3ext.h` has for that index.
                        $name: unsafe {
                            std::mem::transmute::<Function, unsafe extern "C" fn($($argument),* $(, $dots)?) -> $result>(
                                (*table.add($index))?,
                            )
                        },
                    )*
                })
            }
        }
    };
}

functions! {
    busy_handler @ 13: fn(*mut Sqlite3, Option<BusyHandler>, *mut c_void) -> c_int;
    busy_timeout @ 14: fn(*mut Sqlite3, c_int) -> c_int;
    errmsg @ 53: fn(*mut Sqlite3) -> *const c_char;
    exec @ 55: fn(*mut Sqlite3, *const c_char, Option<Row>, *mut c_void, *mut *mut c_char) -> c_int;
    malloc @ 68: fn(c_int) -> *mut c_void;
    table_column_metadata @ 95: fn(
        *mut Sqlite3,
        *const c_char,
        *const c_char,
        *const c_char,
        *mut *const c_char,
        *mut *const c_char,
        *mut c_int,
        *mut c_int,
        *mut c_int
    ) -> c_int;
    file_control @ 127: fn(*mut Sqlite3, *const c_char, c_int, *mut c_void) -> c_int;
    open_v2 @ 135: fn(*const c_char, *mut *mut Sqlite3, c_int, *const c_char) -> c_int;
    vfs_find @ 141: fn(*const c_char) -> *mut Vfs;
    vfs_register @ 142: fn(*mut Vfs, c_int) -> c_int;
    next_stmt @ 152: fn(*mut Sqlite3, *mut Statement) -> *mut Statement;
    sql @ 153: fn(*mut Statement) -> *const c_char;
    log @ 167: fn(c_int, *const c_char; ...) -> ();
    close_v2 @ 179: fn(*mut Sqlite3) -> c_int;
    db_filename @ 180: fn(*mut Sqlite3, *const c_char) -> *const c_char;
    stmt_busy @ 184: fn(*mut Statement) -> c_int;
    stmt_readonly @ 185: fn(*mut Statement) -> c_int;
    uri_parameter @ 189: fn(*const c_char, *const c_char) -> *const c_char;
    auto_extension @ 192: fn(Entry) -> c_int;
    db_cacheflush @ 212: fn(*mut Sqlite3) -> c_int;
    trace_v2 @ 214: fn(*mut Sqlite3, u32, Option<Trace>, *mut c_void) -> c_int;
    uri_key @ 245: fn(*const c_char, c_int) -> *const c_char;
    filename_journal @ 247: fn(*const c_char) -> *const c_char;
    filename_wal @ 248: fn(*const c_char) -> *const c_char;
    database_file_object @ 251: fn(*const c_char) -> *mut File;
    txn_state @ 252: fn(*mut Sqlite3, *const c_char) -> c_int;
    db_name @ 264: fn(*mut Sqlite3, c_int) -> *const c_char;
}

impl SqliteApi {
    /// The functions of the SQLite that handed out `routines`. The error says why Seawall cannot use that SQLite.
    ///
    /// # Safety
    /// `routines` comes from SQLite's call of an extension's entry point.
    pub(crate) unsafe fn load(routines: *const Routines) -> Result<SqliteApi, String> {
        const LIBVERSION_NUMBER: usize = 67;
        // SAFETY: index 67 holds `sqlite3_libversion_number` in every SQLite that loads extensions at all.
        let version = unsafe {
            let function = *routines.cast::<Function>().add(LIBVERSION_NUMBER);
            std::mem::transmute::<Function, unsafe extern "C" fn() -> c_int>(function)()
        };
        check_version(version)?;
        // SAFETY: the version was just checked.
        unsafe { SqliteApi::of(routines) }.ok_or_else(|| {
            "this SQLite was built without functions that Seawall needs (trace_v2, auto_extension)".into()
        })
    }

    /// `text` in SQLite's own memory, for SQLite to free; null when there is no memory.
    pub(crate) fn text(&self, text: &str) -> *mut c_char {
        // SAFETY: SQLite's malloc takes any size.
        unsafe { copy_text(self.malloc, text) }
    }

    /// Writes to SQLite's error log, if the application has set one up (`.log` in its shell).
    pub(crate) fn write_log(&self, code: c_int, text: &str) {
        let Ok(text) = CString::new(text) else { return };
        // SAFETY: the format takes one text, ending in NUL.
        unsafe { (self.log)(code, c"seawall: %s".as_ptr(), text.as_ptr()) };
    }

    /// Runs SQL, ignores the rows, and returns SQLite's code.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite.
    pub(crate) unsafe fn run(&self, db: *mut Sqlite3, sql: &CStr) -> c_int {
        // SAFETY: guaranteed by the caller; `sql` ends in NUL, and no callback is given.
        unsafe { (self.exec)(db, sql.as_ptr(), None, std::ptr::null_mut(), std::ptr::null_mut()) }
    }

    /// The statements of `db` that have begun and have not ended.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite, and its mutex is this thread's.
    pub(crate) unsafe fn busy_statements(&self, db: *mut Sqlite3) -> Vec<*mut Statement> {
        // SAFETY: guaranteed by the caller; each statement is the connection's, and no statement is prepared or
        // finalized meanwhile.
        let next = |statement| Some(unsafe { (self.next_stmt)(db, statement) }).filter(|it| !it.is_null());
        let all = std::iter::successors(next(std::ptr::null_mut()), |it| next(*it));
        // SAFETY: as above.
        all.filter(|it| unsafe { (self.stmt_busy)(*it) } != 0).collect()
    }

    /// Whether `schema` has a table of that name. A view does not count.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite, and its mutex is this thread's.
    pub(crate) unsafe fn has_table(&self, db: *mut Sqlite3, schema: &CStr, table: &CStr) -> bool {
        let (text, number) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: guaranteed by the caller. Without the name of a column SQLite only looks for the table, and stores
        // nothing.
        let code = unsafe {
            let column = std::ptr::null();
            (self.table_column_metadata)(
                db,
                schema.as_ptr(),
                table.as_ptr(),
                column,
                text,
                text,
                number,
                number,
                number,
            )
        };
        code == abi::OK
    }

    /// The file of `schema`; `None` if there is no such schema. A file that is not open has no methods.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite, and its mutex is this thread's.
    pub(crate) unsafe fn file(&self, db: *mut Sqlite3, schema: &CStr) -> Option<NonNull<File>> {
        // SAFETY: guaranteed by the caller; this operation stores one pointer.
        unsafe { self.pointer(db, schema, abi::FCNTL_FILE_POINTER) }
    }

    /// Whether the rollback journal of `schema` is open. SQLite opens it, in a file or in memory, before a transaction
    /// changes its first page.
    ///
    /// # Safety
    /// As for [`SqliteApi::file`].
    pub(crate) unsafe fn has_journal(&self, db: *mut Sqlite3, schema: &CStr) -> bool {
        // SAFETY: guaranteed by the caller. The file that SQLite returns exists, open or not.
        unsafe {
            let journal = self.pointer(db, schema, abi::FCNTL_JOURNAL_POINTER);
            journal.is_some_and(|journal| !journal.as_ref().methods.is_null())
        }
    }

    /// # Safety
    /// As for [`SqliteApi::file`]; `operation` stores a pointer to a file.
    unsafe fn pointer(&self, db: *mut Sqlite3, schema: &CStr, operation: c_int) -> Option<NonNull<File>> {
        let mut file: *mut File = std::ptr::null_mut();
        // SAFETY: guaranteed by the caller.
        unsafe { (self.file_control)(db, schema.as_ptr(), operation, (&raw mut file).cast()) };
        NonNull::new(file)
    }

    /// SQLite's message for the last failure on `db`.
    ///
    /// # Safety
    /// `db` is an open connection of this SQLite.
    pub(crate) unsafe fn message(&self, db: *mut Sqlite3) -> String {
        // SAFETY: guaranteed by the caller; the text is copied before anything else is called on `db`.
        unsafe { CStr::from_ptr((self.errmsg)(db)) }.to_string_lossy().into_owned()
    }
}

/// Refuses a SQLite that is too old; the error has its version.
pub(crate) fn check_version(version: c_int) -> Result<(), String> {
    if version >= OLDEST {
        return Ok(());
    }
    let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
    Err(format!("Seawall needs SQLite 3.39 or newer, and this is SQLite {major}.{minor}.{patch}"))
}

/// Passes SQLite the reason why an entry point failed. It uses only `sqlite3_malloc`, because this SQLite may be too
/// old for the rest of its table.
///
/// # Safety
/// `routines` and `message` come from SQLite's call of an extension's entry point.
pub(crate) unsafe fn explain(routines: *const Routines, message: *mut *mut c_char, text: &str) -> c_int {
    const MALLOC: usize = 68;
    if !message.is_null() {
        // SAFETY: index 68 holds `sqlite3_malloc` in every SQLite; `message` is where SQLite expects the text.
        unsafe {
            let function = *routines.cast::<Function>().add(MALLOC);
            let malloc = std::mem::transmute::<Function, unsafe extern "C" fn(c_int) -> *mut c_void>(function);
            *message = copy_text(malloc, text);
        }
    }
    abi::ERROR
}

/// # Safety
/// `malloc` is `sqlite3_malloc`.
unsafe fn copy_text(malloc: unsafe extern "C" fn(c_int) -> *mut c_void, text: &str) -> *mut c_char {
    // SQLite would end the text at a NUL anyway. It limits allocations to 2 GB.
    let bytes = text.as_bytes().split(|&byte| byte == 0).next().unwrap_or_default();
    let Ok(size) = c_int::try_from(bytes.len() + 1) else { return std::ptr::null_mut() };
    // SAFETY: the block has room for the bytes and their NUL, and cannot overlap them.
    unsafe {
        let block = malloc(size).cast::<u8>();
        if !block.is_null() {
            block.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            block.add(bytes.len()).write(0);
        }
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused_by_its_number() {
        assert_eq!(check_version(3_039_000), Ok(()));
        assert_eq!(check_version(3_054_001), Ok(()));
        let refused = check_version(3_007_017).unwrap_err();
        assert_eq!(refused, "Seawall needs SQLite 3.39 or newer, and this is SQLite 3.7.17");
    }
}
