//! Where a database's files lie, and opening, making and looking for them there, by [`safely`](super::safely).

use super::commits::look_at;
use super::lease;
use super::os::{OsStorage, lock, parent_of};
use super::remains::or_none;
use super::rights::{self, Rights};
use super::safely::{Folder, Use, is_unusable};
use super::{File, Storage};
use crate::format::ids::CommitId;
use crate::ports::counters::Operation;
use rustix::fs::{Access, FileType, OFlags, Statx};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file's place: the open folder that it lies in, and its name there.
pub(super) struct FolderEntry {
    pub(super) folder: Arc<Folder>,
    pub(super) name: OsString,
}

/// What lies under a name, and the open folder that it lies in.
pub(super) struct Found {
    pub(super) file: Statx,
    pub(super) folder: Arc<Folder>,
}

/// Where `file` lies in the database's folder: its name, and the inner folder if it is in one. `None` if the file lies
/// beside the database's folder.
pub(super) fn inside(file: File) -> Option<(Option<String>, OsString)> {
    let relative = file.to_string();
    let inside = relative.strip_prefix("NAME-seawall/")?;
    Some(match inside.split_once('/') {
        None => (None, inside.into()),
        Some((folder, name)) => (Some(folder.to_owned()), name.into()),
    })
}

impl OsStorage {
    /// The folder that NAME lies in.
    pub(super) fn parent(&self, use_: Use) -> io::Result<Folder> {
        Folder::at(parent_of(&self.name), use_)
    }

    /// The folder that is at the database's path now. Files are reached from the one that is
    /// [open](OsStorage::database).
    pub(super) fn folder_at_path(&self, use_: Use) -> io::Result<Folder> {
        self.parent(Use::Pass)?.folder(self.folder_name(), use_)
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn folder_name(&self) -> &OsStr {
        self.folder.file_name().expect("it ends in -seawall")
    }

    /// Does something at the place of `file`, whose folder is opened for `use_`.
    pub(super) fn at<T>(&self, file: File, use_: Use, act: impl Fn(&FolderEntry) -> io::Result<T>) -> io::Result<T> {
        let Some((folder, name)) = inside(file) else {
            let whole = if file == File::Folder { &self.folder } else { &self.name };
            let name = whole.file_name().unwrap_or_default().to_owned();
            return act(&FolderEntry { folder: Arc::new(self.parent(use_)?), name });
        };
        self.in_database(|database| {
            let folder = match (&folder, use_) {
                (Some(folder), _) => Arc::new(database.folder(folder.as_ref(), use_)?),
                (None, Use::Pass) => database.clone(),
                (None, Use::List) => Arc::new(database.again(use_)?),
            };
            act(&FolderEntry { folder, name: name.clone() })
        })
    }

    /// Opens `file`. Notes NAME's rights if it is NAME, because all files that are made get them.
    pub(super) fn open_file(&self, file: File, flags: OFlags) -> io::Result<(fs::File, Statx)> {
        let (opened, found) = self.at(file, Use::Pass, |place| {
            place.folder.open(&place.name, flags).map_err(|error| self.explain(error, place))
        })?;
        if file == File::Name {
            self.note_rights(&found);
        }
        Ok((opened, found))
    }

    /// Whether this process may make files in `database`, the open folder of the database, or only in the folder of its
    /// segments. The first question costs no remote call, because the kernel has known the answer since `id` was looked
    /// up there.
    pub(super) fn may_make_files(&self, database: &Arc<Folder>) -> io::Result<()> {
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        if database.may(".".as_ref(), wanted).is_ok() {
            return Ok(());
        }
        self.counters.count(Operation::Metadata);
        let place = FolderEntry { folder: database.clone(), name: "segments".into() };
        database.may(&place.name, wanted).map_err(|error| self.explain(error, &place))
    }

    /// A refused permission, with what puts it right.
    pub(super) fn explain(&self, error: io::Error, place: &FolderEntry) -> io::Error {
        rights::explain(error, &place.folder, &place.name, &self.name)
    }

    fn note_rights(&self, name: &Statx) -> Rights {
        *lock(&self.rights).insert(Rights::of(name))
    }

    /// The rights that a new file or folder gets: NAME's, as they were seen last. If NAME is gone, the folder's.
    pub(super) fn rights(&self) -> io::Result<Rights> {
        let noted = *lock(&self.rights);
        noted.map_or_else(|| self.rights_now(), Ok)
    }

    /// The rights that a new file or folder gets: those that NAME has now. If it does not lie beside the open folder,
    /// it belongs to another database, and is not used.
    pub(super) fn rights_now(&self) -> io::Result<Rights> {
        self.counters.count(Operation::Metadata);
        if let Some(parent) = or_none(self.parent(Use::Pass))?
            && self.is_in(&parent)?
            && let Some(name) = parent.look_for(self.name.file_name().unwrap_or_default(), FileType::RegularFile)?
        {
            return Ok(self.note_rights(&name));
        }
        let noted = *lock(&self.rights);
        noted.map_or_else(|| Ok(Rights::of(self.database()?.found())), Ok)
    }

    /// Opens the lease's file by its name. If there is none that can be used, makes it.
    pub(super) fn open_lease(&self) -> io::Result<(fs::File, Statx)> {
        let opened = || self.open_file(File::Lease, OFlags::RDWR);
        match opened() {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_unusable(&error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                match self.make(File::Lease, is_missing, |_| Ok(())) {
                    // A folder cannot be replaced by a file. The first error, which says that it is a folder, helps
                    // more.
                    Err(_) if !is_missing => Err(error),
                    made => made.and_then(|_| opened()),
                }
            }
            opened => opened,
        }
    }

    /// Makes a small file under its name, and returns it open. `keeps`: if another process has made one meanwhile, that
    /// one stays, and the result is `None`.
    pub(super) fn make(
        &self,
        file: File,
        keeps: bool,
        prepare: impl Fn(&fs::File) -> io::Result<()>,
    ) -> io::Result<Option<fs::File>> {
        let rights = self.rights()?;
        self.at(file, Use::List, |place| {
            let made = lease::make(&place.folder, &place.name, &rights, self.random_id()?, keeps, &prepare);
            let made = match made {
                Err(error) if keeps && error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map_err(|error| self.explain(error, place))?),
            };
            place.folder.sync()?;
            Ok(made)
        })
    }

    pub(super) fn random_id(&self) -> io::Result<CommitId> {
        let mut random = [0; 16];
        self.random(&mut random)?;
        Ok(CommitId(random))
    }

    /// What lies under the file's name. The caller counts the look-up. `id` is looked up by its path, which shows
    /// whether the database is still there.
    fn found(&self, file: File) -> io::Result<Option<Found>> {
        let wanted = if file == File::Folder { FileType::Directory } else { FileType::RegularFile };
        let look = |place: &FolderEntry| {
            let found = place.folder.look_for(&place.name, wanted).map_err(|error| self.explain(error, place))?;
            Ok(found.map(|file| Found { file, folder: place.folder.clone() }))
        };
        let found = match file {
            File::Id => self
                .folder_at_path(Use::Pass)
                .and_then(|folder| look(&FolderEntry { folder: Arc::new(folder), name: "id".into() })),
            file => self.at(file, Use::Pass, look),
        };
        let found = or_none(found)?.flatten();
        if let (File::Name, Some(name)) = (file, &found) {
            self.note_rights(&name.file);
        }
        Ok(found)
    }

    pub(super) fn found_now(&self, file: File) -> io::Result<Option<Found>> {
        self.counters.count(Operation::Metadata);
        match self.found(file)? {
            None if self.network => {
                // The kernel may answer from its cache, on NFS for 30 s and more. Another machine can have adopted NAME
                // since.
                self.counters.count(Operation::Metadata);
                look_at(self.parent(Use::Pass)?.fd())?;
                if let Some(folder) = or_none(self.folder_at_path(Use::Pass))? {
                    look_at(folder.fd())?;
                }
                self.found(file)
            }
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FsOrder, Span};
    use super::*;
    use crate::format::ids::{SegmentName, Version, WriterId};
    use nix::libc;
    use std::cell::Cell;

    /// A storage that believes that its files are on a server.
    fn on_a_network(folder: &Path) -> OsStorage {
        let name = folder.join("db.sqlite3");
        fs::write(&name, "").unwrap();
        let mut storage = OsStorage::new(&name).unwrap();
        storage.network = true;
        storage.create_folders().unwrap();
        storage
    }

    fn stale() -> io::Error {
        io::Error::from_raw_os_error(libc::ESTALE)
    }

    #[test]
    fn a_copy_is_not_quiesced() {
        let folder = tempfile::tempdir().unwrap();
        let storage = on_a_network(folder.path());
        drop(storage.create(File::Id).unwrap());
        let home = storage.home(File::Id).unwrap().unwrap();
        let commits = folder.path().join("db.sqlite3-seawall/commits");
        let changed = || fs::metadata(&commits).unwrap().modified().unwrap();
        let before = changed();
        storage.quiesce(home ^ 1).unwrap();
        assert_eq!(changed(), before);
        storage.quiesce(home).unwrap();
        assert_ne!(changed(), before);
    }

    #[test]
    fn commits_that_the_server_lost_are_opened_by_their_name_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = on_a_network(folder.path());
        drop(storage.create(File::Id).unwrap());
        storage.home(File::Id).unwrap();
        storage.publish(storage.folder(), Version(0), "zero").unwrap();
        let lost = Cell::new(false);
        let once = || storage.ask(|commits| if lost.replace(true) { commits.versions() } else { Err(stale()) });
        assert_eq!(once().unwrap(), [Version(0)]);
        // Another folder took its place. Neither a look nor a publication goes on there.
        let inside = folder.path().join("db.sqlite3-seawall");
        fs::rename(&inside, folder.path().join("aside")).unwrap();
        storage.create_folders().unwrap();
        drop(storage.create(File::Id).unwrap());
        lost.set(false);
        assert!(is_unusable(&once().unwrap_err()));
        assert!(is_unusable(&storage.publish(storage.folder(), Version(1), "one").unwrap_err()));
        assert_eq!(fs::read_dir(inside.join("commits")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_that_takes_o_direct_and_then_not_the_reads_is_read_without() {
        // ext4 and xfs require such a read to be aligned. tmpfs does not.
        let folder = tempfile::tempdir().unwrap();
        let storage = on_a_network(folder.path());
        let file = File::Segment(SegmentName { writer: WriterId([1; 8]), n: 0 });
        let mut made = storage.create(file).unwrap();
        made.append(b"one two three").unwrap();
        assert_eq!(storage.read(Span { file, at: 4, length: 3 }).unwrap(), b"two");
        made.append(b" four").unwrap();
        assert_eq!(storage.read(Span { file, at: 14, length: 4 }).unwrap(), b"four", "what was appended since is seen");
    }
}
