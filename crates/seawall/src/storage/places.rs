//! Where a database's files lie, and opening, making and looking for them there, by [`safely`](super::safely).

use super::commits::{Commits, look_at};
use super::lease;
use super::os::{OsStorage, is_stale, lock, parent_of};
use super::remains::or_none;
use super::rights::{self, Rights};
use super::safely::{Folder, Use, is_unusable};
use super::{File, Storage, home_of};
use crate::counters::Operation;
use crate::ids::CommitId;
use rustix::fs::{FileType, OFlags, Statx};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file's place: the open folder that it lies in, and its name there.
pub(super) struct Place {
    pub(super) folder: Folder,
    pub(super) name: OsString,
}

/// What lies under a name, and the inode number of the folder that it lies in.
pub(super) struct Found {
    pub(super) file: Statx,
    pub(super) folder: u64,
}

impl OsStorage {
    /// The folder that NAME lies in.
    pub(super) fn parent(&self, use_: Use) -> io::Result<Folder> {
        Folder::at(parent_of(&self.name), use_)
    }

    /// The database's folder.
    pub(super) fn folder(&self, use_: Use) -> io::Result<Folder> {
        self.parent(Use::Pass)?.folder(self.folder_name(), use_)
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn folder_name(&self) -> &OsStr {
        self.folder.file_name().expect("it ends in -seawall")
    }

    /// Where `file` lies; its folder is opened for `use_`.
    pub(super) fn place(&self, file: File, use_: Use) -> io::Result<Place> {
        let relative = file.to_string();
        let Some(inside) = relative.strip_prefix("NAME-seawall/") else {
            let whole = if file == File::Folder { &self.folder } else { &self.name };
            return Ok(Place { folder: self.parent(use_)?, name: whole.file_name().unwrap_or_default().to_owned() });
        };
        Ok(match inside.split_once('/') {
            None => Place { folder: self.folder(use_)?, name: inside.into() },
            Some((folder, name)) => {
                Place { folder: self.folder(Use::Pass)?.folder(folder.as_ref(), use_)?, name: name.into() }
            }
        })
    }

    /// Opens `file`; NAME's rights are noted, for they are those of all that is made.
    pub(super) fn open_file(&self, file: File, flags: OFlags) -> io::Result<(fs::File, Statx)> {
        let place = self.place(file, Use::Pass)?;
        let opened = place.folder.open(&place.name, flags);
        let (opened, found) = opened.map_err(|error| self.explain(error, &place))?;
        if file == File::Name {
            self.note_rights(&found);
        }
        Ok((opened, found))
    }

    /// A refused permission, with what puts it right.
    pub(super) fn explain(&self, error: io::Error, place: &Place) -> io::Error {
        rights::explain(error, &place.folder, &place.name, &self.name)
    }

    fn note_rights(&self, name: &Statx) -> Rights {
        *lock(&self.rights).insert(Rights::of(name))
    }

    /// The rights of what is made now: NAME's, as it was seen last; where it is gone, the folder's.
    pub(super) fn rights(&self) -> io::Result<Rights> {
        let noted = *lock(&self.rights);
        noted.map_or_else(|| self.rights_now(), Ok)
    }

    pub(super) fn rights_now(&self) -> io::Result<Rights> {
        self.counters.count(Operation::Metadata);
        match self.found(File::Name)? {
            Some(name) => Ok(self.note_rights(&name.file)),
            None => Ok(Rights::of(self.folder(Use::Pass)?.found())),
        }
    }

    /// Opens the lease's file by its name; makes it, if there is none that can be used.
    pub(super) fn open_lease(&self) -> io::Result<(fs::File, Statx)> {
        let opened = || self.open_file(File::Lease, OFlags::RDWR);
        match opened() {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_unusable(&error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                match self.make(File::Lease, is_missing, |_| Ok(())) {
                    // A folder keeps its name: what it is says more than that it cannot be replaced.
                    Err(_) if !is_missing => Err(error),
                    made => made.and_then(|_| opened()),
                }
            }
            opened => opened,
        }
    }

    /// Makes a small file under its name, and keeps it open. `keeps`: if one has come meanwhile, that one stays, and there is none.
    pub(super) fn make(
        &self,
        file: File,
        keeps: bool,
        prepare: impl FnOnce(&fs::File) -> io::Result<()>,
    ) -> io::Result<Option<fs::File>> {
        let rights = self.rights()?;
        let place = self.place(file, Use::List)?;
        let made = lease::make(&place.folder, &place.name, &rights, self.random_id()?, keeps, prepare);
        let made = match made {
            Err(error) if keeps && error.kind() == io::ErrorKind::AlreadyExists => None,
            made => Some(made.map_err(|error| self.explain(error, &place))?),
        };
        place.folder.sync()?;
        Ok(made)
    }

    pub(super) fn random_id(&self) -> io::Result<CommitId> {
        let mut random = [0; 16];
        self.random(&mut random)?;
        Ok(CommitId(random))
    }

    /// What lies there; the caller counts it.
    fn found(&self, file: File) -> io::Result<Option<Found>> {
        let wanted = if file == File::Folder { FileType::Directory } else { FileType::RegularFile };
        match self.place(file, Use::Pass) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            place => {
                let place = place?;
                let found = place.folder.look_for(&place.name, wanted).map_err(|error| self.explain(error, &place))?;
                if let (File::Name, Some(name)) = (file, &found) {
                    self.note_rights(name);
                }
                Ok(found.map(|file| Found { file, folder: place.folder.inode() }))
            }
        }
    }

    pub(super) fn found_now(&self, file: File) -> io::Result<Option<Found>> {
        self.counters.count(Operation::Metadata);
        match self.found(file)? {
            None if self.network => {
                // The kernel may only remember that it was missing, on NFS for 30 s and more: another machine can have adopted NAME since.
                self.counters.count(Operation::Metadata);
                look_at(self.parent(Use::Pass)?.fd())?;
                if let Some(folder) = or_none(self.folder(Use::Pass))? {
                    look_at(folder.fd())?;
                }
                self.found(file)
            }
            found => Ok(found),
        }
    }

    /// The open folder of versions.
    pub(super) fn commits(&self) -> io::Result<Arc<Commits>> {
        let mut kept = lock(&self.commits);
        if let Some(commits) = &*kept {
            return Ok(commits.clone());
        }
        self.counters.count(Operation::Metadata);
        let database = self.folder(Use::Pass)?;
        let known = self.home.load(Ordering::Relaxed);
        if known != 0 {
            self.must_be_home(&database, known)?;
        }
        // Several overlays can show one folder, and each tells only of what was done through itself.
        let watches = !self.network && self.kind != "overlayfs";
        let folder = database.folder("commits".as_ref(), Use::List);
        let place = Place { folder: database, name: "commits".into() };
        let folder = folder.map_err(|error| self.explain(error, &place))?;
        Ok(kept.insert(Arc::new(Commits::open(folder, self.network, watches))).clone())
    }

    /// Another database's folder, or a copy, may have taken the place of the one that was lost: it is not gone on in.
    fn must_be_home(&self, folder: &Folder, known: u64) -> io::Result<()> {
        let id = folder.look_for("id".as_ref(), FileType::RegularFile)?;
        if id.is_some_and(|id| home_of(id.stx_ino, folder.inode()) == known) {
            return Ok(());
        }
        Err(super::safely::unusable(format!(
            "{} is not the folder any more that it was when this database was opened. Open it again",
            folder.path().display()
        )))
    }

    /// Asks `commits/`. Where the server has lost the folder that is open, it is opened by its name, and asked again. A publication
    /// is never made so: whether the lost one took place, somebody must look first.
    pub(super) fn ask<T>(&self, ask: impl Fn(&Commits) -> io::Result<T>) -> io::Result<T> {
        let commits = self.commits()?;
        match ask(&commits) {
            Err(error) if is_stale(&error) => {
                let mut kept = lock(&self.commits);
                if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &commits)) {
                    *kept = None;
                }
                drop(kept);
                ask(&*self.commits()?)
            }
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Span;
    use super::*;
    use crate::ids::{SegmentName, Version, WriterId};
    use nix::libc;
    use std::cell::Cell;

    /// As if a server had the files: what is asked for is told by the folder.
    fn on_a_network(folder: &Path) -> OsStorage {
        let name = folder.join("db.sqlite3");
        fs::write(&name, "").unwrap();
        let mut storage = OsStorage::new(&name, folder).unwrap();
        storage.network = true;
        storage.create_folders().unwrap();
        storage
    }

    fn stale() -> io::Error {
        io::Error::from_raw_os_error(libc::ESTALE)
    }

    #[test]
    fn commits_that_the_server_lost_are_opened_by_their_name_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = on_a_network(folder.path());
        drop(storage.create(File::Id).unwrap());
        storage.home(File::Id).unwrap();
        storage.publish(Version(0), "zero").unwrap();
        let lost = Cell::new(false);
        let once = || storage.ask(|commits| if lost.replace(true) { commits.versions() } else { Err(stale()) });
        assert_eq!(once().unwrap(), [Version(0)]);
        // Another folder took its place: it is not gone on in, neither by a look nor by a publication.
        let inside = folder.path().join("db.sqlite3-seawall");
        fs::rename(&inside, folder.path().join("aside")).unwrap();
        storage.create_folders().unwrap();
        drop(storage.create(File::Id).unwrap());
        lost.set(false);
        assert!(is_unusable(&once().unwrap_err()));
        assert!(is_unusable(&storage.publish(Version(1), "one").unwrap_err()));
        assert_eq!(fs::read_dir(inside.join("commits")).unwrap().count(), 0);
    }

    #[test]
    fn a_file_system_that_takes_o_direct_and_then_not_the_reads_is_read_without() {
        // On ext4 and xfs such a read must be aligned. In memory nothing must.
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
