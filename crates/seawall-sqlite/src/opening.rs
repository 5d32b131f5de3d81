//! xOpen of a database: what it becomes.
//!
//! Where a database of Seawall's lies, the engine opens it. Elsewhere to open a connection does what it does in stock SQLite: where
//! there is no file, an empty one is made. NAME is adopted at its first use. And ATTACH and VACUUM INTO come here too, with the VFS of main: a path that names no VFS is
//! a plain SQLite file there, as everywhere, unless a database of Seawall's lies there already. SQLite tells main and
//! attached apart only after xOpen, by FCNTL_PDB. Then the file is opened once more, by SQLite's own VFS in the same
//! memory: from there on it is that VFS's, and so are its journal and its WAL.

use crate::abi::{self, File, Sqlite3};
use crate::api::SqliteApi;
use crate::failure::Failure;
use crate::host::Host;
use crate::io_methods;
use crate::main_file::MainFile;
use crate::parameters::Parameters;
use crate::registry;
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::{Access, Error};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What lies at NAME.
enum Lies {
    /// A database of Seawall's, or what is left of one.
    Seawalls,
    /// A plain file.
    Plain(Plain),
    /// Nothing yet, and a file may be made.
    Nothing,
    /// Something that cannot be opened like this; the engine says why.
    Unusable,
}

/// What NAME is before its first use, where no database of Seawall's lies.
#[derive(Default)]
struct Plain {
    /// The file's first bytes, as many as SQLite reads when it opens one.
    beginning: Vec<u8>,
    /// The file may not be written.
    is_read_only: bool,
}

/// A file that becomes a database of Seawall's only if it turns out to be main: its URI names no VFS.
pub(crate) struct Unnamed {
    name: *const c_char,
    flags: c_int,
    told: c_int,
    /// What SQLite told the file of its busy handler.
    pub(crate) busy_handler: *mut c_void,
}

/// Opens the database `name`; with the flags to tell SQLite.
///
/// # Safety
/// SQLite calls xOpen of `host`'s VFS for a main database, with this name and these flags.
pub(crate) unsafe fn open(
    host: &'static Host,
    name: *const c_char,
    flags: c_int,
) -> Result<(MainFile, c_int), Failure> {
    let access = match flags {
        _ if flags & abi::OPEN_CREATE != 0 => Access::Create,
        _ if flags & abi::OPEN_READWRITE != 0 => Access::ReadWrite,
        _ => Access::ReadOnly,
    };
    // SAFETY: the caller's.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    // SAFETY: the caller's.
    let parameters = unsafe { parameters(&host.api, name) }?;
    let asked = flags & (abi::OPEN_READONLY | abi::OPEN_READWRITE | abi::OPEN_CREATE);
    // SAFETY: the caller's.
    let journals = unsafe { registry::Journals::of(&host.api, name) };
    let is_named = parameters.names_vfs || beside(path, "").is_dir();
    // SAFETY: the caller's.
    let lies = unsafe { what_lies_at(host, name, path, flags, access, is_named) };
    let is_there = matches!(lies, Lies::Seawalls);
    if is_named && matches!(lies, Lies::Plain(_) | Lies::Nothing) {
        seawall::check(path, &parameters.options)?;
    }
    let plain = match lies {
        Lies::Plain(plain) => Some(plain),
        // As in stock SQLite an empty file is made, but not where the file may yet be refused, nor where a folder is left: a removal may
        // have been cut short, and the first use looks there.
        Lies::Nothing if parameters.names_ours && !is_named || beside(path, "").is_dir() => Some(Plain::default()),
        // SAFETY: the caller's.
        Lies::Nothing => Some(unsafe { look(host, name, flags) }),
        Lies::Seawalls | Lies::Unusable => None,
    };
    if let Some(Plain { beginning, is_read_only }) = plain {
        if is_named {
            let main = MainFile::later(host, path, access, parameters, journals, beginning, None);
            return Ok((main, asked));
        }
        let told = if is_read_only { abi::OPEN_READONLY } else { asked };
        let unnamed = Unnamed { name, flags, told, busy_handler: std::ptr::null_mut() };
        return Ok((MainFile::later(host, path, access, parameters, journals, beginning, Some(unnamed)), told));
    }
    let mut main = MainFile::later(host, path, access, parameters, journals, Vec::new(), None);
    match main.opens_now() {
        // Another process is making it. That is waited for at the first use.
        Err(failure) if failure.is_busy() && is_there => {}
        opened => opened?,
    }
    // As stock SQLite does where a file may only be read: BEGIN IMMEDIATE reads then, and a write is SQLITE_READONLY.
    let told = if main.may_write() { asked } else { abi::OPEN_READONLY };
    Ok((main, told))
}

/// # Safety
/// As for [`open`].
unsafe fn what_lies_at(
    host: &'static Host,
    name: *const c_char,
    path: &Path,
    flags: c_int,
    access: Access,
    is_named: bool,
) -> Lies {
    if beside(path, "/id").symlink_metadata().is_ok() {
        return Lies::Seawalls;
    }
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {
            // SAFETY: the caller's.
            let plain = unsafe { look(host, name, flags & !abi::OPEN_CREATE) };
            match state_of(&plain.beginning) {
                // Where its folder is there, without `id`, another process may be making a database: that is waited for at the first use.
                NameState::Protected if !beside(path, "").is_dir() => Lies::Seawalls,
                _ if is_named && access == Access::ReadOnly => Lies::Unusable,
                _ => Lies::Plain(plain),
            }
        }
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && access == Access::Create
                && path.parent().is_some_and(Path::is_dir) =>
        {
            Lies::Nothing
        }
        _ => Lies::Unusable,
    }
}

/// Looks at a plain file by SQLite's own VFS, which makes it if `flags` say so: if this process has locks on it, a descriptor of ours would end them. What
/// cannot be opened seems empty, and its first use says why.
///
/// # Safety
/// As for [`open`].
unsafe fn look(host: &'static Host, name: *const c_char, flags: c_int) -> Plain {
    let mut plain = Plain { beginning: vec![0; HEADER], is_read_only: false };
    // SAFETY: the caller's; the file gets as much memory as its VFS asks for, well aligned, and is closed here.
    unsafe {
        let vfs = &*host.default_vfs;
        let mut memory = vec![0_u64; (vfs.file_bytes as usize).div_ceil(size_of::<u64>())];
        let file = memory.as_mut_ptr().cast::<File>();
        let mut told = 0;
        let opened = (vfs.open)(host.default_vfs, name, file, flags, &raw mut told);
        let Some(methods) = (*file).methods.as_ref() else { return Plain::default() };
        let mut size = 0;
        let read = opened == abi::OK
            && (methods.file_size)(file, &raw mut size) == abi::OK
            && matches!(
                (methods.read)(file, plain.beginning.as_mut_ptr().cast(), HEADER as c_int, 0),
                abi::OK | abi::IOERR_SHORT_READ
            );
        plain.beginning.truncate(if read { size.clamp(0, HEADER as i64) as usize } else { 0 });
        plain.is_read_only = told & abi::OPEN_READONLY != 0;
        (methods.close)(file);
    }
    plain
}

/// SQLite tells whose file this is, by way of `argument`. If it is an attached one that names no VFS, it becomes a plain file now; whether
/// it did.
///
/// # Safety
/// SQLite calls xFileControl on `file`, which is ours, with FCNTL_PDB.
pub(crate) unsafe fn becomes_plain(file: *mut File, argument: *mut c_void) -> bool {
    // SAFETY: the caller's: no other call on the file is under way. `main` is not used after it was dropped.
    unsafe {
        let main = io_methods::behind(file);
        let Some(unnamed) = (*main).take_unnamed() else { return false };
        let host = (*main).host();
        // While main is opened, it is this file, or is not there yet.
        let main_file = host.api.file(*argument.cast::<*mut Sqlite3>(), c"main");
        if main_file.is_none_or(|main_file| main_file.as_ptr() == file) {
            return false;
        }
        if (*main).parameters().names_ours {
            let text = "the URI has parameters of Seawall's, and names another VFS, or none: add vfs=seawall, or leave them out. Nothing was opened";
            (*main).is_refused(Failure::refusal(abi::CANTOPEN, text));
            return false;
        }
        registry::Journals::are_mixed();
        match open_by_default(host, file, &unnamed) {
            Ok(()) => {
                drop(Box::from_raw(main));
                let methods = &*(*file).methods;
                if !unnamed.busy_handler.is_null() {
                    (methods.file_control)(file, abi::FCNTL_BUSYHANDLER, unnamed.busy_handler);
                }
                (methods.file_control)(file, abi::FCNTL_PDB, argument);
                true
            }
            Err(failure) => {
                (*main).is_refused(failure);
                io_methods::restore(file, main);
                false
            }
        }
    }
}

/// Opens the file by SQLite's own VFS, in its memory.
///
/// # Safety
/// `file` has room for a file of `host`'s SQLite, and what is there is not needed; `unnamed` was made for it.
unsafe fn open_by_default(host: &'static Host, file: *mut File, unnamed: &Unnamed) -> Result<(), Failure> {
    // SAFETY: the caller's.
    unsafe {
        let mut told = 0;
        (*file).methods = std::ptr::null();
        let vfs = host.default_vfs;
        let code = ((*vfs).open)(vfs, unnamed.name, file, unnamed.flags, &raw mut told);
        let lost_rights = told & !unnamed.told & abi::OPEN_READONLY != 0;
        if code == abi::OK && !lost_rights {
            return Ok(());
        }
        if let Some(methods) = (*file).methods.as_ref() {
            (methods.close)(file);
        }
        let name = CStr::from_ptr(unnamed.name).to_string_lossy();
        let why = if lost_rights { "it may only be read".into() } else { format!("SQLite's error {code}") };
        let error = Error::CannotOpen(format!("the plain file {name} cannot be opened: {why}. Nothing was changed"));
        Err(Failure { code: if code == abi::OK { abi::CANTOPEN } else { code }, ..error.into() })
    }
}

/// # Safety
/// `name` is a database name of SQLite's.
unsafe fn parameters(api: &SqliteApi, name: *const c_char) -> Result<Parameters, Failure> {
    let text = |place: *const c_char| {
        // SAFETY: SQLite's own text, beside the name, ending in NUL.
        unsafe { CStr::from_ptr(place) }
            .to_str()
            .map_err(|_| Failure::refusal(abi::CANTOPEN, "a parameter of the URI is not UTF-8. Nothing was opened"))
    };
    let mut pairs = Vec::new();
    for n in 0.. {
        // SAFETY: the caller's; null marks the end.
        let key = unsafe { (api.uri_key)(name, n) };
        if key.is_null() {
            break;
        }
        // SAFETY: the caller's; the key was just found, so its value is there.
        pairs.push((text(key)?, text(unsafe { (api.uri_parameter)(name, key) })?));
    }
    Parameters::parse(pairs)
}

/// What lies in NAME's folder; the folder itself, if `inside` is empty.
fn beside(path: &Path, inside: &str) -> PathBuf {
    let mut folder = path.as_os_str().to_owned();
    folder.push("-seawall");
    folder.push(inside);
    PathBuf::from(folder)
}
