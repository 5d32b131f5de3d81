//! Ways out, where NAME and the folder do not belong together any more: NAME is written again, a file becomes the newest version, or a copy
//! becomes a database of its own.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::State;
use crate::format::ids::{PageNo, Token};
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::open::list::forget;
use crate::open::name_draft::NameDraft;
use crate::open::{beside, check_detached, open_existing, read, storage_of};
use crate::options::{Access, Freshness, Options};
use crate::ports::stock_sqlite::PlainSqlite;
use crate::ports::storage::os::OsStorage;
use crate::ports::storage::{File, Span, Storage};
use crate::upkeep::copy::For;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a restoring waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stock SQLite leaves beside a file whose newest content is not all in the file itself.
const UNFINISHED: [&str; 2] = ["-journal", "-wal"];

/// Writes NAME again: the copy of the newest version that stock SQLite can read. What lies there instead is moved aside; the answer says
/// where to.
pub fn refresh_name(name: &Path, options: &Options) -> Result<Option<PathBuf>> {
    let (name, database) = open_whatever_name_is(name, options, Access::ReadWrite)?;
    refresh(&name, &database)
}

fn refresh(name: &Path, database: &Database) -> Result<Option<PathBuf>> {
    database.may_write()?;
    let storage = &*database.tip.storage;
    let failed = |error| Error::io("writing NAME again. What was committed is all there", error);
    // Garbage collection deletes a draft without a pin. It may be of an older version: what came after that is kept, too.
    let known = database.newest_known();
    let mut draft = NameDraft::pinned(database, &known)?;
    // A detaching removes all drafts that are there once it has ended the database. Therefore the head is asked for
    // after this one was made: if the database is open then, either the draft goes, or nothing has ended it yet.
    let newest = database.snapshot_within(Freshness::Transaction, PATIENCE)?;
    draft.write(&newest, For::Reading)?;
    let header = storage.read(Span { file: File::Name, at: 0, length: HEADER });
    let is_ours = header.is_ok_and(|header| sqlite_header::state_of(&header) == NameState::Protected);
    let kept = if is_ours { None } else { keep(name, draft.token()).map_err(failed)? };
    draft.put().map_err(|error| {
        // What lies at NAME has lain there all the time.
        kept.iter().for_each(|kept| drop(fs::remove_file(kept)));
        failed(error)
    })?;
    Ok(kept)
}

/// Gives what lies at `name` another name as well, if anything lies there, so that it stays when NAME is replaced.
fn keep(name: &Path, token: Token) -> io::Result<Option<PathBuf>> {
    let aside = aside(name, token);
    match fs::hard_link(name, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where what lies at `path` is moved.
fn aside(path: &Path, token: Token) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".replaced-{token}"));
    aside.into()
}

/// Makes the content of `from`, a plain SQLite file, the newest version of the database NAME, in one commit. `from` may be what was put at NAME
/// itself; then NAME is written again, and it is moved aside. Answers the new version.
pub fn restore_from(name: &Path, from: &Path, options: &Options) -> Result<u64> {
    let reading = |error: io::Error| Error::CannotOpen(format!("{}: {error}. Nothing was changed", from.display()));
    let refused = |why: &str| Error::CannotOpen(format!("{} {why}. Nothing was changed", from.display()));
    // Opening a pipe waits for its writer.
    if !fs::metadata(from).map_err(reading)?.is_file() {
        return Err(refused("is not a regular file"));
    }
    let source = fs::File::open(from).map_err(reading)?;
    let size = source.metadata().map_err(reading)?.len();
    if size == 0 {
        return Err(refused("is empty: there is nothing in it to restore"));
    }
    if size < HEADER as u64 {
        return Err(refused(&format!("has only {size} bytes, and is not a SQLite database")));
    }
    let mut header = [0; HEADER];
    source.read_exact_at(&mut header, 0).map_err(reading)?;
    match sqlite_header::state_of(&header) {
        NameState::Plain => {}
        // It is as old as the last checkpoint was: what was committed since would be undone, and nothing would say so.
        NameState::Protected => {
            return Err(refused(&format!(
                "is a copy of a Seawall database as of a checkpoint of its, and what was committed after that is not in it. For a backup that \
                 has everything, use seawall.copy. To restore this file all the same, make a plain file of it first: sqlite3 {} \
                 \"VACUUM INTO 'plain.sqlite3'\"",
                from.display()
            )));
        }
        NameState::Empty | NameState::Other => return Err(refused("is not a SQLite database")),
    }
    for suffix in UNFINISHED {
        let mut beside_it = from.as_os_str().to_owned();
        beside_it.push(suffix);
        if fs::metadata(&beside_it).is_ok_and(|found| found.len() > 0) {
            return Err(Error::CannotOpen(format!(
                "{} lies beside the file, and has changes that are not in it yet. Nothing was changed. Open the file once with stock SQLite, \
                 which finishes that, and close it: sqlite3 {} 'PRAGMA journal_mode=DELETE'",
                PathBuf::from(beside_it).display(),
                from.display()
            )));
        }
    }
    let (page_size, page_count) = sqlite_header::dimensions(&header, size)
        .map_err(|why| Error::CannotOpen(format!("{}: {why}. Nothing was changed", from.display())))?;
    let (name, database) = open_whatever_name_is(name, options, Access::ReadWrite)?;
    let mut transaction = database.begin(PATIENCE)?;
    // The same bytes, cut as the database's pages are now; the commit cuts them as the file's are.
    let cut = transaction.page_size().unwrap_or(page_size);
    let length = u64::from(page_count) * page_size.bytes() as u64;
    for page in 1..=u32::try_from(length.div_ceil(cut.bytes() as u64)).expect("it is as long as a SQLite file") {
        let mut image = vec![0; cut.bytes()];
        let at = cut.offset_of(PageNo(page));
        let there = (length - at).min(image.len() as u64) as usize;
        source.read_exact_at(&mut image[..there], at).map_err(reading)?;
        if page == 1 {
            let plain = sqlite_header::with_write_version(image.first_chunk().expect("a page has a header"), 1);
            image[..HEADER].copy_from_slice(&plain);
        }
        transaction.write_page(cut, PageNo(page), &image)?;
    }
    let committed = transaction.commit_as(page_size, page_count)?;
    drop(transaction);
    let header = database.tip.storage.read(Span { file: File::Name, at: 0, length: HEADER });
    if !header.is_ok_and(|header| sqlite_header::state_of(&header) == NameState::Protected) {
        refresh(&name, &database)?;
    }
    Ok(committed.version().0)
}

/// Makes a database of what an opening alone does not adopt: of a protected NAME whose folder is lost, or, with `new_id`, of a folder that was
/// copied or restored together with NAME. It begins a history of its own at the version that is there. Of a copied folder what it was is moved
/// aside; the answer says where to.
pub fn adopt(name: &Path, new_id: bool, options: &Options, plain: &dyn PlainSqlite) -> Result<Option<PathBuf>> {
    let name = beside(name)?;
    forget(&name);
    let storage = storage_of(&name)?;
    let looking = |error| Error::io("looking at NAME and its folder", error);
    let has_id = storage.home(File::Id).map_err(looking)?.is_some();
    let moved = match (has_id, new_id) {
        (true, true) => Some(end_copy(&name, &storage, options)?),
        (true, false) => {
            return Err(Error::CannotOpen(
                "it is a Seawall database already. Nothing was changed. To make a copied or restored folder a database of its own: \
                 seawall adopt NAME --new-id"
                    .into(),
            ));
        }
        (false, _) => None,
    };
    let options = Options { adopts_copy: true, ..options.clone() };
    let storage: Arc<dyn Storage> = Arc::new(OsStorage::new(&name).map_err(looking)?);
    Database::on(storage, &name, Access::ReadWrite, &options, plain)?;
    Ok(moved)
}

/// NAME becomes the newest version that the copied folder has, as a plain file, and the folder is moved aside.
fn end_copy(name: &Path, storage: &Arc<dyn Storage>, options: &Options) -> Result<PathBuf> {
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    let home = home.ok_or_else(|| Error::CannotOpen("id vanished. Nothing was changed".into()))?;
    let options = Options { finishes: true, ..options.clone() };
    let database = open_existing(name, storage.clone(), Access::ReadOnly, &options, home)?;
    if !database.is_copy() {
        return Err(Error::CannotOpen(
            "this folder is no copy: it is the database's home. Nothing was changed. To begin a new history, copy it with seawall.copy".into(),
        ));
    }
    let mut draft = NameDraft::create(&database)?;
    draft.write(&database.newest_known(), For::Writing)?;
    draft.put().map_err(|error| Error::io("writing the newest version of the copy as NAME", error))?;
    let token = draft.token();
    drop(draft);
    drop(database);
    let mut folder = name.as_os_str().to_owned();
    folder.push("-seawall");
    let aside = aside(Path::new(&folder), token);
    fs::rename(&folder, &aside).map_err(|error| {
        Error::io("moving the copied folder aside. NAME is a plain SQLite file with all that it had: move NAME-seawall aside, and open NAME", error)
    })?;
    Ok(aside)
}

/// The database, whatever lies at NAME.
fn open_whatever_name_is(name: &Path, options: &Options, access: Access) -> Result<(PathBuf, Arc<Database>)> {
    let name = beside(name)?;
    forget(&name);
    let storage = storage_of(&name)?;
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    let home = home.ok_or_else(|| {
        Error::NoDatabase(format!("{} is not a Seawall database. Nothing was changed", name.display()))
    })?;
    let options = Options { finishes: true, ..options.clone() };
    let database = open_existing(&name, storage, access, &options, home)?;
    let known = database.newest_known();
    if known.head().state == State::Detached {
        check_detached(known.head(), &read(&*database.tip.storage, File::Name, HEADER)?)?;
    }
    crate::read::checks::check_state(known.head())?;
    Ok((name, database))
}
