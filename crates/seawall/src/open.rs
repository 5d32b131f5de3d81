//! Opening: checks what lies at NAME, adopts it if it is a plain file, and makes a `Database` of it.

mod adopt;
pub(crate) mod detach;
mod epoch;
mod export;
mod list;
pub(crate) mod move_to;
mod name_draft;
pub(crate) mod recover;
mod remove;
mod status;
mod verify;
pub(crate) mod ways_out;

use self::adopt::Adoption;
pub use self::list::{Request, begin_request, end_process, end_request, will_end_process};
pub use self::remove::remove;
pub use self::status::Status;
pub use self::verify::verify;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::{Head, State};
use crate::format::high::{self, High};
use crate::format::identity;
use crate::format::ids::DatabaseId;
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::options::{Access, Options};
use crate::ports::coordinator::Known;
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::stock_sqlite::PlainSqlite;
use crate::ports::storage::os::OsStorage;
use crate::ports::storage::prepare::{detaching_was_cut_short, removal_was_cut_short};
use crate::ports::storage::{Begun, File, Span, Stamp, Storage};
use crate::ports::sync::unpoisoned;
use crate::read::checks::{check_database, check_home, check_state, in_copy, was_read};
use crate::read::pages::Pages;
use crate::read::tip::{PATIENCE, Tip};
use crate::way_out::{SAYS_FIRST, WayOut};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// At most this many links are followed to NAME, as in the kernel.
const LINKS: usize = 40;

impl Database {
    /// A database on any storage, outside of the process's list. Two of them behave to each other as two machines do.
    /// For the simulator and for tests.
    pub fn on(
        storage: Arc<dyn Storage>,
        name: &Path,
        access: Access,
        options: &Options,
        plain: &dyn PlainSqlite,
    ) -> Result<Arc<Database>> {
        let began = storage.now().monotonic;
        open_or_adopt(name, storage, access, options, plain, began, &AtomicBool::new(false))
    }

    /// Whether `id` is there, and NAME is the very file that was looked at last. Costs two look-ups. If one fails, they
    /// are not known to be.
    fn is_untouched(&self) -> bool {
        matches!(self.look_at_name(), Ok(Some((_, false))))
    }

    /// Whether NAME and `id` are what they were when this database was opened. Costs two look-ups.
    fn is_still_there(&self) -> Result<bool> {
        let Some((stamp, has_changed)) = self.look_at_name()? else { return Ok(false) };
        if has_changed {
            check_name(&read(&*self.tip.storage, File::Name, HEADER)?)?;
            *unpoisoned(self.name_stamp.lock()) = stamp;
        }
        Ok(true)
    }

    /// If the database can be used here, and `id` is what it was when it was opened: which file NAME is now, and whether
    /// that is another one than when it was looked at last, or none.
    fn look_at_name(&self) -> Result<Option<(Option<Stamp>, bool)>> {
        let home = self.tip.storage.home(File::Id).map_err(|error| Error::io("looking for id", error));
        if home? != Some(self.tip.home) || self.tip.has_ended() {
            return Ok(None);
        }
        let stamp = self.tip.storage.stamp(File::Name).map_err(|error| Error::io("looking for NAME", error))?;
        let has_changed = stamp.is_none() || stamp != *unpoisoned(self.name_stamp.lock());
        Ok(Some((stamp, has_changed)))
    }
}

/// Whether `options` make sense for NAME, and name a coordinator that exists. Sends no request, and changes nothing.
pub fn check(name: &Path, options: &Options) -> Result<()> {
    options.check()?;
    let no_database = DatabaseId([0; 16]);
    coordinator_of(&options.coordinator, no_database, &storage_of(name)?).map(drop)
}

/// Where the files of NAME are reached: on this machine, unless a test chose otherwise.
fn storage_of(name: &Path) -> Result<Arc<dyn Storage>> {
    #[cfg(feature = "testing")]
    if let Some(storage) = crate::ports::storage::chosen::chosen(name) {
        return Ok(storage);
    }
    match OsStorage::new(name) {
        Ok(storage) => Ok(Arc::new(storage)),
        Err(error) => Err(Error::CannotOpen(format!("{}: {error}", name.display()))),
    }
}

fn open_or_adopt(
    name: &Path,
    storage: Arc<dyn Storage>,
    access: Access,
    options: &Options,
    plain: &dyn PlainSqlite,
    began: Duration,
    adopts: &AtomicBool,
) -> Result<Arc<Database>> {
    let look_for_id = || storage.home(File::Id).map_err(|error| Error::io("looking for id", error));
    let mut home = look_for_id()?;
    if home.is_none() {
        let is_there = check_adoptable(&*storage, access, options.adopts_copy, |length| plain.beginning(name, length))?;
        let has_folder = || storage.inode(File::Folder).map_err(|error| Error::io("looking for the folder", error));
        let was_removed = !is_there && has_folder()?.is_some();
        let adoption = Adoption { name, storage: &storage, options, began, was_removed };
        adopts.store(true, Ordering::Relaxed);
        adoption.run(plain, access == Access::Create)?;
        home = look_for_id()?;
    }
    let home = home.ok_or_else(|| {
        Error::CannotOpen("id vanished while the database was opened. Nothing was changed. Open it again".into())
    })?;
    open_existing(name, storage, access, options, home)
}

/// Fails if what lies at NAME may not become a Seawall database by being opened. Returns whether anything lies there.
fn check_adoptable(
    storage: &dyn Storage,
    access: Access,
    adopts_copy: bool,
    by_sqlite: impl Fn(usize) -> Option<Vec<u8>>,
) -> Result<bool> {
    let there = storage.inode(File::Name).map_err(|error| Error::io("looking for NAME", error))?.is_some();
    if !there && access != Access::Create {
        return Err(Error::NoDatabase("NAME does not exist, and may not be made (mode=rw or ro)".into()));
    }
    if access == Access::ReadOnly {
        let header = by_sqlite(HEADER).map_or_else(|| read(storage, File::Name, HEADER), Ok)?;
        match sqlite_header::state_of(&header) {
            NameState::Other => {
                return Err(Error::NotADatabase("NAME is not a SQLite database. It was not touched".into()));
            }
            // What was lost with the folder comes before what a reader may not do.
            NameState::Protected => check_begun(storage, !adopts_copy)?,
            NameState::Plain | NameState::Empty => {}
        }
        return Err(Error::NoDatabase(
            "NAME is not a Seawall database yet: it is a plain SQLite file, or an empty one. Nothing was changed. The first connection of \
             Seawall's that may write it makes it one"
                .into(),
        ));
    }
    if !there {
        return Ok(false);
    }
    let length = sqlite_header::empty_protected().len();
    let beginning = by_sqlite(length).map_or_else(|| read(storage, File::Name, length), Ok)?;
    let state = sqlite_header::state_of(&beginning[..HEADER.min(beginning.len())]);
    if state == NameState::Other && !sqlite_header::is_torn_empty(&beginning) {
        return Err(Error::NotADatabase("NAME is not a SQLite database. It was not touched".into()));
    }
    check_begun(storage, state == NameState::Protected && !adopts_copy)?;
    Ok(true)
}

/// Whether what lies at NAME, which has no `id`, may be adopted. The error says why not, and what to do. Changes
/// nothing.
pub fn may_be_adopted(name: &Path, storage: &dyn Storage) -> Result<()> {
    let looking = |error| Error::io("looking into the folder", error);
    let is_there = check_adoptable(storage, Access::Create, false, |_| None)?;
    let has_folder = storage.inode(File::Folder).map_err(looking)?.is_some();
    match is_there && has_folder {
        true => match storage.begun().map_err(looking)? {
            Begun::Removal => Err(removal_was_cut_short(name)),
            Begun::Detaching => Err(detaching_was_cut_short()),
            Begun::Commits | Begun::Adoption | Begun::Less => Ok(()),
        },
        false => Ok(()),
    }
}

/// Fails if something was committed, because an adoption may then neither begin nor go on. An adopter makes the whole
/// folder before it marks NAME, `id` is durable before the first commit, and a segment exists before that commit is
/// acknowledged.
fn check_begun(storage: &dyn Storage, is_protected: bool) -> Result<()> {
    let looking = |error| Error::io("looking into the folder", error);
    let has_folder = storage.inode(File::Folder).map_err(|error| Error::io("looking for the folder", error))?.is_some();
    let begun = if has_folder { Some(storage.begun().map_err(looking)?) } else { None };
    let why = match begun {
        // A removal or a detaching that was cut short has an error of its own.
        Some(Begun::Adoption | Begun::Removal | Begun::Detaching) => return Ok(()),
        None | Some(Begun::Less) if !is_protected => return Ok(()),
        None => "its folder NAME-seawall is not there",
        Some(Begun::Less) => "its folder NAME-seawall is empty, or has only a part of what belongs there",
        Some(Begun::Commits) => return already_there(storage)?.ok_or_else(id_is_gone),
    };
    already_there(storage)?.ok_or_else(|| {
        Error::CannotOpen(format!(
            "NAME is the copy of some version of a Seawall database, and {why}. Nothing was changed. Bring the whole folder back: mount \
             what it is on. To go on from this copy: {}",
            WayOut::ADOPT
        ))
    })
}

/// Whether another process's adoption has given the database its `id` meanwhile.
fn already_there(storage: &dyn Storage) -> Result<Option<()>> {
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    Ok(home.map(drop))
}

/// The error for a folder that has a database, while nothing says which.
pub(crate) fn id_is_gone() -> Error {
    Error::NeedsRecovery(format!(
        "NAME-seawall/id is gone, and what was committed is in the files of NAME-seawall. Nothing was changed. If id was moved, move it \
         back. Otherwise run {} --coordinator URL, which makes id again. {SAYS_FIRST}",
        WayOut::RECOVER
    ))
}

fn open_existing(
    name: &Path,
    storage: Arc<dyn Storage>,
    access: Access,
    options: &Options,
    home: u64,
) -> Result<Arc<Database>> {
    let span = |file, length| Span { file, at: 0, length };
    let spans = [span(File::Id, identity::MAX_LENGTH), span(File::Name, HEADER), span(File::High, high::LENGTH)];
    let [id, header, high] = <[_; 3]>::try_from(storage.read_many(&spans)).expect("as many answers as spans");
    let identity = identity::parse(id.map_err(|error| Error::io("reading id", error))?).map_err(Error::damaged_id)?;
    let coordinator = coordinator_of(&options.coordinator, identity.database, &storage)?;
    check_coordinator(&identity.coordinator, &coordinator.name())?;
    coordinator.keep_to(identity.longest_record as usize);
    let header = or_nothing(header).map_err(|error| Error::io("reading NAME", error))?;
    if !options.finishes
        && let Err(error) = check_name(&header)
    {
        // A detaching puts NAME there as well.
        let head = coordinator.load(&Known::Nothing, PATIENCE).ok().filter(|head| head.database == identity.database);
        return Err(head.and_then(|head| check_detached(&head, &header).err()).unwrap_or(error));
    }
    // A note that cannot be read is no hint. Neither is the note of another database, which was here before or is
    // reached by mistake.
    let high: Option<High> = high.ok().and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
    let high = high.filter(|high| high.database == identity.database);

    let mut sent = storage.now();
    let known = high.map_or(Known::Nothing, Known::Hint);
    let mut head = coordinator.load(&known, PATIENCE).map_err(Error::nothing_written)?;
    check_database(&head, identity.database)?;
    let home = if head.home == home { home } else { home_now(&*storage, &coordinator.name())?.unwrap_or(home) };
    if !options.finishes || head.is_undecided() {
        check_moved(&head, home)?;
        check_detached(&head, &header)?;
        check_state(&head)?;
    }
    let is_copy = head.home != home;
    if access != Access::ReadOnly {
        check_home(&head, home)?;
    }
    // This is not checked in a copy, whose files are of another time than the head. And where a loss of power has taken the
    // `id` of a move away again, the files are newer than the head that says where the database went.
    let may_be_older = is_copy || matches!(head.state, State::Moved(_));
    if let Some(high) = high.filter(|high| !may_be_older && (high.epoch, high.version) > head.order()) {
        return Err(Error::NeedsRecovery(format!(
            "the head is older than the files: it names version {}, and version {} was acknowledged. Nothing was written. Stop all writers. \
             If a backup of the head was restored, bring back the newest; or run {}. {SAYS_FIRST}",
            head.version.0,
            high.version.0,
            WayOut::RECOVER
        )));
    }
    let pages = Pages::new(storage.clone(), identity.database, options.page_cache);
    let copied = is_copy.then_some(identity.database);
    let first = loop {
        let error = match pages.snapshot_of(head.clone(), None, sent) {
            Ok(first) => break first,
            Err(error) => error,
        };
        // If this process slept, what the head names was garbage-collected, and there is a newer one.
        let again = storage.now();
        let newer = was_read(&error).then(|| coordinator.load(&Known::Head(&head), PATIENCE));
        match newer.transpose().map_err(Error::nothing_written)?.filter(|newer| newer.order() > head.order()) {
            Some(newer) => {
                check_database(&newer, identity.database)?;
                check_state(&newer)?;
                (head, sent) = (newer, again);
            }
            None => return Err(in_copy(error, copied, &coordinator.name())),
        }
    };
    let tip = Tip::new((&identity, home), storage, coordinator, pages, (first, sent));
    Ok(Database::new(name.to_owned(), options.clone(), tip))
}

/// The home of the `id` that is there now: a move can have replaced it since it was looked for, and an NFS client remembers
/// the file that was there before. To open `id` makes the client ask, therefore it is read first.
fn home_now(storage: &dyn Storage, asked: &str) -> Result<Option<u64>> {
    let bound = bound_to(storage)?;
    bound.map_or(Ok(()), |bound| check_coordinator(&bound, asked))?;
    storage.home(File::Id).map_err(|error| Error::io("looking for id", error))
}

/// How the database at NAME is reached: by `coordinator`, or else as its folder says.
pub fn reached_by(name: &Path, coordinator: Option<&str>) -> Result<Options> {
    let mut options = Options { upkeep: false, ..Options::default() };
    match coordinator {
        Some(url) => options.coordinator = url.to_owned(),
        None => {
            let bound = bound_to(&*storage_of(&beside(name)?)?)?;
            options.coordinator = bound.unwrap_or(options.coordinator);
        }
    }
    Ok(options)
}

/// The coordinator that `id` names; `None` if there is no `id`.
fn bound_to(storage: &dyn Storage) -> Result<Option<String>> {
    if already_there(storage)?.is_none() {
        return Ok(None);
    }
    let identity = identity::parse(read(storage, File::Id, identity::MAX_LENGTH)?).map_err(Error::damaged_id)?;
    Ok(Some(identity.coordinator))
}

fn check_coordinator(bound: &str, asked: &str) -> Result<()> {
    if bound == asked {
        return Ok(());
    }
    Err(Error::CannotOpen(format!(
        "this database is ordered by {bound}, and {asked} was asked for: two coordinators would be two histories. Nothing was written. \
         Ask for coordinator={bound} where the database is opened: in the URI, in OPTIONS of Django's settings, or in SEAWALL_COORDINATOR. \
         To move the database instead: {} {asked}",
        WayOut::MOVE
    )))
}

/// Fails if the database is on its way to another coordinator, and `id` still names this one.
fn check_moved(head: &Head, home: u64) -> Result<()> {
    match &head.state {
        State::Moved(url) if head.home == home => Err(Error::NeedsRecovery(format!(
            "the database is being moved to {url}, or that was cut short, and nobody can use it until it is there. Nothing was written. If \
             nobody moves it now, finish it: {} {url} --yes; or undo it: {}, which says first what it would keep",
            WayOut::MOVE,
            WayOut::RECOVER
        ))),
        _ => Ok(()),
    }
}

/// Fails if the database was detached: then that was cut short.
fn check_detached(head: &Head, name: &[u8]) -> Result<()> {
    if head.state != State::Detached {
        return Ok(());
    }
    let name = match sqlite_header::state_of(name) {
        NameState::Protected => "NAME is still the older copy, and all that was committed is in NAME-seawall",
        _ => "NAME is not the older copy any more, and NAME-seawall is still there",
    };
    Err(Error::NeedsRecovery(format!(
        "the database is being detached, or that was cut short: {name}. Nothing was changed. To finish it: {}",
        WayOut::DETACH
    )))
}

/// Fails unless NAME is the marked copy that Seawall left there.
fn check_name(header: &[u8]) -> Result<()> {
    let what = match sqlite_header::state_of(header) {
        NameState::Protected => return Ok(()),
        NameState::Empty => "NAME was removed or emptied",
        NameState::Plain | NameState::Other => "NAME was overwritten with another file",
    };
    Err(Error::CannotOpen(format!(
        "{what} from outside while its folder NAME-seawall is there, which has all that was committed. Nothing was changed. To write NAME \
         again from what was committed: {}. To take a file as the newest version instead, which may be the one that lies at NAME now: {}. \
         To start afresh, without what was committed: call seawall.remove",
        WayOut::SNAPSHOT,
        WayOut::RESTORE
    )))
}

fn read(storage: &dyn Storage, file: File, length: usize) -> Result<Vec<u8>> {
    or_nothing(storage.read(Span { file, at: 0, length })).map_err(|error| Error::io(format!("reading {file}"), error))
}

fn or_nothing(read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// NAME as an absolute path without links, so that one database has one path in a process. Follows a link to a file
/// that does not exist yet, as stock SQLite does.
fn absolute(name: &Path) -> Result<PathBuf> {
    let mut place = name.to_owned();
    for _ in 0..LINKS {
        match place.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                place = beside(&place)?;
                match std::fs::read_link(&place) {
                    Ok(target) => place = place.with_file_name("").join(target),
                    Err(_) => return Ok(place),
                }
            }
            path => return path.map_err(|error| Error::CannotOpen(format!("{}: {error}", name.display()))),
        }
    }
    Err(Error::CannotOpen(format!("{}: too many links lead on from it", name.display())))
}

/// NAME as an absolute path; it may itself be a link.
pub(crate) fn beside(name: &Path) -> Result<PathBuf> {
    let failed = |error| Error::CannotOpen(format!("{}: {error}", name.display()));
    let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = name.file_name().ok_or_else(|| failed(io::Error::other("it names no file")))?;
    Ok(parent.canonicalize().map_err(failed)?.join(file))
}
