//! xOpen of a database file, and what the file becomes.
//!
//! If there is a database of Seawall's at NAME, the engine opens it. Otherwise opening a connection does what it does
//! in stock SQLite: if there is no file, it makes an empty one. NAME is adopted at its first use.
//!
//! ATTACH and VACUUM INTO call main's VFS as well. A path that names no VFS is a plain SQLite file there, as in stock
//! SQLite, unless there is a database of Seawall's already. Only after xOpen does SQLite show, by FCNTL_PDB, whether a
//! file is main or attached. Then an attached plain file is opened again by SQLite's own VFS, in the same memory. From
//! then on it belongs to that VFS, and so do its journal and its WAL.
//!
//! A plain file that may only be read, or that this process may not adopt, is read as a plain file until another process
//! has adopted it.

use crate::abi::{self, File, Sqlite3};
use crate::api::SqliteApi;
use crate::failure::Failure;
use crate::host::Host;
use crate::journal::JournalNames;
use crate::main_file::{self, Beginning, MainFile, MaybePlain, main_file_of};
use crate::parameters::Parameters;
use crate::plain_file::PlainFile;
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::ports::storage::rights;
use seawall::{Access, Database, Error, ErrorKind, Shown};
use std::borrow::Cow;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What there is at NAME.
enum Found {
    /// A database of Seawall's, or an incomplete one.
    Seawall,
    /// A plain file.
    Plain(Inspected),
    /// Nothing, and a file may be made.
    Nothing,
    /// Something that cannot be opened with this access. The engine's error says why.
    Unusable,
}

/// A plain file at NAME, before NAME's first use.
#[derive(Default)]
struct Inspected {
    beginning: Beginning,
    /// The file may not be written.
    is_read_only: bool,
    /// The open file, if it can be read.
    file: Option<PlainFile>,
}

/// Opens the database `name`. Returns the file, and the flags for SQLite (xOpen's `pOutFlags`).
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
    // SAFETY: guaranteed by the caller.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    // SAFETY: guaranteed by the caller.
    let parameters = unsafe { parameters(&host.api, name) };
    let asked_flags = flags & (abi::OPEN_READONLY | abi::OPEN_READWRITE | abi::OPEN_CREATE);
    // SAFETY: guaranteed by the caller.
    let journal_names = unsafe { JournalNames::of(&host.api, name) };
    let listed = match parameters.wrong {
        Some(_) => None,
        None => Database::listed(path, access, &parameters.options),
    };
    let has_id = listed.is_some() || in_folder(path, "/id").symlink_metadata().is_ok();
    let has_folder = has_id || in_folder(path, "").is_dir();
    let is_named = parameters.names_vfs || has_folder;
    // What is wrong for Seawall may be right for a plain file.
    let wrong = parameters.wrong.clone();
    if let Some(wrong) = wrong.clone().filter(|_| is_named) {
        return Err(wrong);
    }
    let found = match has_id {
        true => Found::Seawall,
        // SAFETY: guaranteed by the caller.
        false => unsafe { find_without_id(host, name, path, flags, access, has_folder) },
    };
    let exists = matches!(found, Found::Seawall);
    if let Some(wrong) = wrong.clone().filter(|_| exists) {
        return Err(wrong);
    }
    if is_named && matches!(found, Found::Plain(_) | Found::Nothing) {
        seawall::check(path, &parameters.options)?;
    }
    let may_be_refused = !is_named && (parameters.has_ours || wrong.is_some());
    let plain = match found {
        Found::Plain(plain) => Some(plain),
        // As in stock SQLite an empty file is made. It is not made if the file may still be refused. It is not made
        // either if there is a folder, because a removal may have been interrupted, and the first use checks the
        // folder.
        Found::Nothing if may_be_refused || has_folder => Some(Inspected::default()),
        // SAFETY: guaranteed by the caller.
        Found::Nothing => Some(unsafe { inspect(host, name, flags) }),
        Found::Seawall | Found::Unusable => None,
    };
    if let Some(Inspected { beginning, is_read_only, file }) = plain {
        let why = if has_folder { None } else { why_not_adopted(path) };
        let is_only_read = access == Access::ReadOnly || why.is_some();
        // Where the URI names no VFS the file may turn out to be attached. Then it is as in stock SQLite.
        let reports_read_only = is_read_only && !is_named || why.is_some() && is_named;
        let out_flags = if reports_read_only { abi::OPEN_READONLY } else { asked_flags };
        let maybe_plain =
            (!is_named).then_some(MaybePlain { name, flags, out_flags, busy_handler: std::ptr::null_mut() });
        let mut main = MainFile::not_opened(host, path, access, parameters, journal_names, beginning, maybe_plain);
        if let Some(file) = file.filter(|_| is_only_read) {
            main.reads_plain(file, name, why);
        }
        return Ok((main, out_flags));
    }
    let mut main = MainFile::not_opened(host, path, access, parameters, journal_names, Beginning::default(), None);
    let opened = match listed {
        Some(database) => {
            main.uses(database);
            Ok(())
        }
        None => main.open_now(),
    };
    match opened {
        // Another process is making the database. The first use waits for that.
        Err(failure) if failure.is_busy() && exists => {}
        opened => opened?,
    }
    if let Some(wrong) = wrong {
        // Another process has made the database meanwhile.
        return Err(wrong);
    }
    // Stock SQLite does the same with a file that may only be read. BEGIN IMMEDIATE then begins to read, and a write
    // fails with SQLITE_READONLY.
    let out_flags = if main.may_write() { asked_flags } else { abi::OPEN_READONLY };
    Ok((main, out_flags))
}

/// Why this process may not make the plain file at `path` a database of Seawall's, if that is so.
fn why_not_adopted(path: &Path) -> Option<Failure> {
    let why = rights::why_not_adopted(path)?;
    let text = format!(
        "when this connection was opened, {} was a plain SQLite file and no Seawall database, and this process may not make it one: \
         {why}. Such a connection only reads. Nothing was written",
        Shown::new(path.display())
    );
    Some(Failure { kind: Some(ErrorKind::ReadOnly), ..Failure::refusal(abi::READONLY, text) })
}

/// # Safety
/// As for [`open`].
unsafe fn find_without_id(
    host: &'static Host,
    name: *const c_char,
    path: &Path,
    flags: c_int,
    access: Access,
    has_folder: bool,
) -> Found {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {
            // SAFETY: guaranteed by the caller.
            let plain = unsafe { inspect(host, name, flags & !abi::OPEN_CREATE) };
            match state_of(&plain.beginning.bytes) {
                // If its folder exists without `id`, another process may be making a database. The first use waits for
                // that.
                NameState::Protected if !has_folder => Found::Seawall,
                // The engine's error says what its folder is.
                _ if has_folder && access == Access::ReadOnly => Found::Unusable,
                _ => Found::Plain(plain),
            }
        }
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && access == Access::Create
                && path.parent().is_some_and(Path::is_dir) =>
        {
            Found::Nothing
        }
        _ => Found::Unusable,
    }
}

/// Reads the beginning of a plain file through SQLite's own VFS, which makes the file if `flags` say so. (If this
/// process had locks on the file, closing another descriptor would drop them.) A file that cannot be opened appears
/// empty, and its first use reports why.
///
/// # Safety
/// As for [`open`].
unsafe fn inspect(host: &'static Host, name: *const c_char, flags: c_int) -> Inspected {
    // SAFETY: guaranteed by the caller.
    let Ok((file, out_flags)) = (unsafe { PlainFile::open(host, name, flags) }) else { return Inspected::default() };
    let mut bytes = vec![0; HEADER];
    let is_read = matches!(file.read(0, &mut bytes), abi::OK | abi::IOERR_SHORT_READ);
    let size = file.size().ok().filter(|_| is_read);
    bytes.truncate(size.map_or(0, |size| size.min(HEADER as u64) as usize));
    let beginning = Beginning { bytes, size: size.unwrap_or(0) };
    Inspected { beginning, is_read_only: out_flags & abi::OPEN_READONLY != 0, file: size.map(|_| file) }
}

/// SQLite passes the connection of a file in `argument`. If the file is attached and its URI names no VFS, it becomes a
/// plain file now. Returns whether it did.
///
/// # Safety
/// SQLite calls xFileControl on `file`, which is Seawall's, with FCNTL_PDB.
pub(crate) unsafe fn turn_plain(file: *mut File, argument: *mut c_void) -> bool {
    // SAFETY: guaranteed by the caller: no other call on the file is under way. `main` is not used after it is dropped.
    unsafe {
        let main = main_file_of(file);
        let Some(maybe_plain) = (*main).take_maybe_plain() else { return false };
        let host = (*main).host();
        // While SQLite opens main, main is this file, or SQLite does not return it yet.
        let main_file = host.api.file(*argument.cast::<*mut Sqlite3>(), c"main");
        if main_file.is_none_or(|main_file| main_file.as_ptr() == file) {
            if let Some(wrong) = (*main).parameters().wrong.clone() {
                (*main).refuse(wrong);
            }
            return false;
        }
        if (*main).parameters().has_ours {
            let text = "the URI has parameters of Seawall's, but names no VFS or another one. Add vfs=seawall, or leave the parameters out. Nothing was opened";
            (*main).refuse(Failure::refusal(abi::CANTOPEN, text));
            return false;
        }
        JournalNames::plain_file_opens();
        match open_by_default(host, file, &maybe_plain) {
            Ok(()) => {
                drop(Box::from_raw(main));
                let methods = &*(*file).methods;
                if !maybe_plain.busy_handler.is_null() {
                    (methods.file_control)(file, abi::FCNTL_BUSYHANDLER, maybe_plain.busy_handler);
                }
                (methods.file_control)(file, abi::FCNTL_PDB, argument);
                true
            }
            Err(failure) => {
                (*main).refuse(failure);
                main_file::restore(file, main);
                false
            }
        }
    }
}

/// Opens the file by SQLite's own VFS, in its memory.
///
/// # Safety
/// `file` has room for a file of `host`'s SQLite, and its content is not needed any more. `maybe_plain` was made for
/// it.
unsafe fn open_by_default(host: &'static Host, file: *mut File, maybe_plain: &MaybePlain) -> Result<(), Failure> {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut out_flags = 0;
        (*file).methods = std::ptr::null();
        let vfs = host.default_vfs;
        let code = ((*vfs).open)(vfs, maybe_plain.name, file, maybe_plain.flags, &raw mut out_flags);
        let lost_rights = out_flags & !maybe_plain.out_flags & abi::OPEN_READONLY != 0;
        if code == abi::OK && !lost_rights {
            return Ok(());
        }
        if let Some(methods) = (*file).methods.as_ref() {
            (methods.close)(file);
        }
        let name = CStr::from_ptr(maybe_plain.name).to_string_lossy();
        let why = if lost_rights { "it may only be read".into() } else { format!("SQLite's error {code}") };
        let error = Error::CannotOpen(format!("the plain file {name} cannot be opened: {why}. Nothing was changed"));
        Err(Failure { code: if code == abi::OK { abi::CANTOPEN } else { code }, ..error.into() })
    }
}

/// # Safety
/// `name` is a database name of SQLite's.
unsafe fn parameters(api: &SqliteApi, name: *const c_char) -> Parameters {
    // SAFETY: the text is SQLite's, follows the name, and ends in NUL.
    let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut pairs = Vec::new();
    for n in 0.. {
        // SAFETY: guaranteed by the caller; null marks the end.
        let key = unsafe { (api.uri_key)(name, n) };
        if key.is_null() {
            break;
        }
        // SAFETY: guaranteed by the caller; the key exists, therefore it has a value.
        pairs.push((text(key), text(unsafe { (api.uri_parameter)(name, key) })));
    }
    let mut parameters = Parameters::parse(pairs.iter().map(|(key, value)| (&**key, &**value)));
    // Only what is not UTF-8 is copied.
    if pairs.iter().any(|pair| matches!(pair, (Cow::Owned(_), _) | (_, Cow::Owned(_)))) {
        parameters.is_not_utf8();
    }
    parameters
}

/// A path in NAME's folder; the folder itself if `inside` is empty.
fn in_folder(path: &Path, inside: &str) -> PathBuf {
    let mut folder = path.as_os_str().to_owned();
    folder.push("-seawall");
    folder.push(inside);
    PathBuf::from(folder)
}
