//! Before an adoption touches NAME: may its folder be taken, and can a database live there?

use super::commits::look_at;
use super::os::OsStorage;
use super::remains::{DETACHED, FOLDERS, LEFT_BY_STOCK, REMOVED, TRIAL, remove_folder, remove_trial};
use super::rights::{self, Rights};
use super::safely::{Folder, Use, unusable};
use super::trials::{Needed, TRIALS, Trial, says_nothing};
use super::{Begun, File, Storage};
use crate::error::{Error, Result};
use crate::format::head::{MAX_TEXT, SHORT_TEXT};
use crate::ports::counters::Operation;
use crate::way_out::WayOut;
use rustix::fs::{Access, FileType};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long another user's folder may be without `id`, because that user's adoption may be under way.
const FOREIGN_FOLDER: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl OsStorage {
    /// See [`Storage::prepare`].
    pub(super) fn prepare_place(&self, orders_commits: bool) -> Result<bool> {
        let failed = |error| Error::io(format!("preparing {}. NAME was not touched", File::Folder), error);
        let began = Instant::now();
        // The folder gets NAME's rights. If there is no NAME, stock SQLite will make it with the umask's, and the
        // folder gets those, too.
        let rights = self.inode(File::Name).map_err(failed)?.and_then(|_| self.rights().ok());
        let parent = self.parent(Use::Pass).map_err(failed)?;
        self.counters().count(Operation::Metadata);
        let made = parent.make_folder(self.folder_name(), rights.as_ref());
        let made = made.map_err(|error| failed(rights::explain(error, &parent, self.folder_name(), self.name())))?;
        if !made && rights.is_some() {
            self.must_not_be_leaving(&parent)?;
        }
        loop {
            let usable = if rights.is_some() { self.may_adopt(&parent) } else { Ok(()) };
            let taken = || self.may_take(&parent, self.folder_name(), rights.as_ref()).map_err(failed);
            let error = match usable.and_then(|()| taken()).and_then(|()| self.try_out(&parent, orders_commits)) {
                Ok(()) => return Ok(made),
                Err(error) => error,
            };
            // Another user's folder may be about to get its `id`. Then what is in it has NAME's rights.
            let may_change = matches!(error, Error::CannotOpen(_) | Error::Permission(_)) && !made;
            if may_change && self.inode(File::Id).map_err(failed)?.is_some() {
                return Ok(false);
            }
            if !may_change || began.elapsed() >= FOREIGN_FOLDER {
                if made {
                    self.discard_folder();
                }
                return Err(error);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// See [`Storage::try_order`].
    pub(super) fn try_order_out(&self) -> Result<()> {
        let parent = self.parent(Use::Pass);
        self.try_out(&parent.map_err(|error| Error::io(format!("opening {}", File::Folder), error))?, true)
    }

    /// See [`FsOrder::try_longest_record`](super::FsOrder::try_longest_record). XFS, for one, takes 1,023 bytes.
    pub(super) fn try_out_records(&self) -> io::Result<usize> {
        let folder = self.folder_at_path(Use::Pass)?;
        let mut place = OsString::from(TRIAL);
        place.push(self.random_id()?.to_string());
        folder.make_folder(&place, None)?;
        let link = folder.path().join(&place).join("record");
        let record = "r".repeat(MAX_TEXT);
        for _ in 0..3 {
            self.counters().count(Operation::Metadata);
        }
        let tried = std::os::unix::fs::symlink(&record, &link).and_then(|()| fs::read_link(&link));
        remove_trial(&folder, &place)?;
        match tried {
            Ok(there) if there.as_os_str() == record.as_str() => Ok(MAX_TEXT),
            // Cut off, or refused: every file system takes short ones.
            Ok(_) => Ok(SHORT_TEXT),
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(SHORT_TEXT),
            Err(error) => Err(error),
        }
    }

    /// See [`Storage::begun`].
    pub(super) fn what_was_begun(&self) -> io::Result<Begun> {
        let folder = self.folder_at_path(Use::List)?;
        // The NFS client's cache does not do here, because another machine's adoption may be under way.
        look_at(folder.fd())?;
        if self.network {
            self.counters().count(Operation::Metadata);
        }
        let names = folder.names()?;
        let has = |wanted: &str| names.iter().any(|name| name.to_bytes() == wanted.as_bytes());
        if has(DETACHED) && !has("id") {
            return Ok(Begun::Detaching);
        }
        if has(REMOVED) {
            return Ok(Begun::Removal);
        }
        let has_segments = || folder.folder("segments".as_ref(), Use::List)?.names().map(|names| !names.is_empty());
        if has("high") || has("segments") && has_segments()? {
            return Ok(Begun::Commits);
        }
        Ok(if FOLDERS.iter().all(|folder| has(folder)) { Begun::Adoption } else { Begun::Less })
    }

    /// See [`Storage::discard_folders`].
    pub(super) fn discard(&self) -> io::Result<()> {
        let (parent, folder) = (self.parent(Use::Pass)?, self.folder_at_path(Use::Pass)?);
        FOLDERS.iter().try_for_each(|name| remove_folder(&folder, name.as_ref()))?;
        remove_folder(&parent, self.folder_name())
    }

    /// Whether this process may mark NAME, and whether stock SQLite may open it. SQLite would wait for ever for a FIFO
    /// in the place of a journal.
    pub(super) fn may_adopt(&self, parent: &Folder) -> Result<()> {
        let name = self.name().file_name().expect("it names a file");
        let looking = |error| Error::io(format!("looking at {}. NAME was not touched", self.name().display()), error);
        self.counters().count(Operation::Metadata);
        if let Err(error) = parent.may(name, Access::WRITE_OK) {
            if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
                return Err(looking(error));
            }
            return Err(Error::Permission(rights::explain_name(error, parent, name).to_string()));
        }
        for suffix in LEFT_BY_STOCK {
            let mut beside = name.to_owned();
            beside.push(suffix);
            if let Some(found) = parent.look(&beside).map_err(looking)? {
                parent.must_be(&beside, FileType::RegularFile, &found).map_err(looking)?;
            }
        }
        Ok(())
    }

    /// Fails if a removal or a detaching was cut short after it had taken `id` away.
    fn must_not_be_leaving(&self, parent: &Folder) -> Result<()> {
        let look = |name: &str| {
            let folder = parent.folder(self.folder_name(), Use::Pass);
            folder.and_then(|folder| folder.look(name.as_ref())).map_err(|error| Error::io("looking for id", error))
        };
        match (look("id")?, look(DETACHED)?, look(REMOVED)?) {
            (None, Some(_), _) => Err(detaching_was_cut_short()),
            (None, None, Some(_)) => Err(removal_was_cut_short(self.name())),
            _ => Ok(()),
        }
    }

    /// A folder that is there and has no `id`, and those inside it, must be of people who are trusted with NAME.
    fn may_take(&self, parent: &Folder, name: &OsStr, rights: Option<&Rights>) -> io::Result<()> {
        let folder = parent.folder(name, Use::Pass)?;
        if Rights::may_take(folder.found(), parent.found(), rights) {
            return Ok(());
        }
        Err(unusable(format!(
            "{} is there already, made by {}, in a folder where others can write, and no database was made in it: what is written there \
             would be theirs to change. Have it removed, or given to the owner of the database (as root: {})",
            folder.path().display(),
            rights::owner_of(folder.found()),
            rights::remedy(self.name())
        )))
    }

    /// Takes a folder that an adoption finds where it would make its own. It gets the rights of a new one.
    pub(super) fn take_folder(&self, parent: &Folder, name: &OsStr, rights: Option<&Rights>) -> io::Result<()> {
        self.may_take(parent, name, rights)?;
        rights.map_or(Ok(()), |rights| parent.put_right(name, rights))
    }

    fn try_out(&self, parent: &Folder, orders_commits: bool) -> Result<()> {
        let failed = |error| Error::io(format!("trying out {}. NAME was not touched", File::Folder), error);
        let folder = parent.folder(self.folder_name(), Use::Pass).map_err(failed)?;
        let mut place = OsString::from(TRIAL);
        place.push(self.random_id().map_err(failed)?.to_string());
        let made = folder.make_folder(&place, None);
        made.map_err(|error| failed(rights::explain(error, &folder, &place, self.name())))?;
        let tried = TRIALS.iter().enumerate().try_for_each(|(n, trial)| {
            self.counters().count(Operation::Metadata);
            let place = folder.path().join(&place).join(n.to_string());
            let result = fs::create_dir(&place).and_then(|()| trial.run(&place));
            verdict(trial, orders_commits, result)
        });
        let removed = remove_trial(&folder, &place).map(drop).map_err(failed);
        tried.and(removed)
    }
}

/// NAME is still there, and its `id` is gone.
pub(crate) fn removal_was_cut_short(name: &Path) -> Error {
    Error::CannotOpen(format!(
        "a removal of this database was cut short: its id is gone, and NAME is still there. Nothing was changed. To finish it: \
         seawall.remove({name:?}); to go on with the database: rename {REMOVED} in its folder to id"
    ))
}

/// NAME is plain already, and of its folder a part is left.
pub(crate) fn detaching_was_cut_short() -> Error {
    Error::NeedsRecovery(format!(
        "a detaching of this database was cut short: NAME is the plain SQLite file of its newest version, and a part of the folder \
         NAME-seawall is left, which nothing needs. Nothing was changed. To finish it: {}",
        WayOut::DETACH
    ))
}

fn verdict(trial: &Trial, orders_commits: bool, result: io::Result<()>) -> Result<()> {
    let is_needed = match trial.needed {
        Needed::Always => true,
        Needed::ByFs => orders_commits,
        Needed::ForComfort => false,
    };
    match result {
        Err(error) if is_needed && says_nothing(&error) => {
            Err(Error::io(format!("trying out {}. NAME was not touched", File::Folder), error))
        }
        Err(error) if is_needed => Err(Error::CannotOpen(format!(
            "a database cannot live here ({}: {error}): {}. NAME was not touched",
            trial.check, trial.remedy
        ))),
        _ => Ok(()),
    }
}
