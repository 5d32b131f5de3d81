//! The database's folder, which stays open. All its files are reached from this one open folder, never by its path
//! again.
//!
//! While a database is open, its folder can be moved, and another folder can take its path: a copy, another database, a
//! mount. If some files were found by the path and others from the open folder, a commit could be split between two
//! folders, with its frame in one and its name in the other. Therefore this process goes on in the folder that it
//! opened, wherever that is now. The next connection looks at the path, and opens what is there.

use super::commits::{Commits, look_at};
use super::entries::FolderEntry;
use super::os::{OsStorage, is_stale, lock};
use super::safely::{Folder, Use, look_at_open, unusable};
use super::{Storage, home_of};
use crate::ports::counters::Operation;
use rustix::fs::FileType;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What is open of the database's folder.
#[derive(Default)]
pub(super) struct Home {
    /// The folder itself, …
    folder: Option<Arc<Folder>>,
    /// … and `commits/` in it.
    commits: Option<Arc<Commits>>,
    /// How often `commits/` was opened, …
    opened: u64,
    /// … and which of these folders has a name that is known to be durable.
    synced: u64,
    /// The database's home, once `id` was seen in this folder. It never changes.
    number: Option<u64>,
}

impl Home {
    /// Closes the folders that the server has lost, so that they are opened by their path again. Does nothing, and
    /// returns `false`, before the home is known, because then nothing shows whether the path still means the same
    /// folder.
    fn lose(&mut self) -> bool {
        let is_known = self.number.is_some();
        if is_known {
            (self.folder, self.commits) = (None, None);
        }
        is_known
    }
}

impl OsStorage {
    /// The database's folder, open.
    pub(super) fn database(&self) -> io::Result<Arc<Folder>> {
        self.database_of(&mut lock(&self.home))
    }

    fn database_of(&self, home: &mut Home) -> io::Result<Arc<Folder>> {
        if let Some(folder) = &home.folder {
            return Ok(folder.clone());
        }
        let folder = self.folder_at_path(Use::Pass)?;
        if let Some(known) = home.number {
            must_be_home(&folder, known)?;
        }
        Ok(home.folder.insert(Arc::new(folder)).clone())
    }

    /// From now on the files are reached from `folder`, which an adoption has just made. With `None`, from the folder
    /// that is found at the path.
    pub(super) fn keep_folder(&self, folder: Option<Folder>) {
        let mut home = lock(&self.home);
        (home.folder, home.commits) = (folder.map(Arc::new), None);
    }

    /// Notes that `folder`, which is at the path, has an `id` with the home `number`. The first such folder is this
    /// database's. Returns `false` if a later one has that home number and is another folder, because another file
    /// system can have the same numbers.
    pub(super) fn keep_home(&self, number: u64, folder: Arc<Folder>) -> bool {
        let mut home = lock(&self.home);
        let is_kept = home.folder.as_ref().is_none_or(|kept| kept.is(folder.found()));
        match home.number {
            Some(known) => known != number || is_kept,
            None => {
                if !is_kept {
                    home.commits = None;
                }
                (home.folder, home.number) = (Some(folder), Some(number));
                true
            }
        }
    }

    /// Whether this folder is a copy of the one with the home number `home`.
    pub(super) fn is_copy_of(&self, home: u64) -> bool {
        lock(&self.home).number.is_some_and(|number| number != home)
    }

    /// Whether the open folder of the database lies in `parent`. The path may lead elsewhere by now.
    pub(super) fn is_in(&self, parent: &Folder) -> io::Result<bool> {
        let kept = lock(&self.home).folder.clone();
        kept.map_or(Ok(true), |kept| Ok(parent.look(self.folder_name())?.is_some_and(|found| kept.is(&found))))
    }

    /// Does something in the database's folder. If the server has lost the open folder, this opens it by its path,
    /// provided that it has the same home, and does it again.
    pub(super) fn in_database<T>(&self, act: impl Fn(&Arc<Folder>) -> io::Result<T>) -> io::Result<T> {
        let folder = self.database()?;
        match act(&folder) {
            Err(error) if is_stale(&error) => {
                let mut home = lock(&self.home);
                let is_kept = home.folder.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &folder));
                if is_kept && !home.lose() {
                    return Err(error);
                }
                let folder = self.database_of(&mut home)?;
                drop(home);
                act(&folder)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_removed(folder.fd()) => Err(was_removed()),
            done => done,
        }
    }

    /// The open folder of versions.
    pub(super) fn commits(&self) -> io::Result<Arc<Commits>> {
        let mut home = lock(&self.home);
        if let Some(commits) = &home.commits {
            return Ok(commits.clone());
        }
        self.counters.count(Operation::Metadata);
        let open = |database: Arc<Folder>| {
            let opened = database.folder("commits".as_ref(), Use::List);
            let place = FolderEntry { folder: database, name: "commits".into() };
            opened.map_err(|error| self.explain(error, &place))
        };
        let folder = match open(self.database_of(&mut home)?) {
            Err(error) if is_stale(&error) && home.lose() => open(self.database_of(&mut home)?),
            // It is not the head alone that is gone.
            Err(_) if self.database_of(&mut home).is_ok_and(|database| is_removed(database.fd())) => Err(was_removed()),
            opened => opened,
        }?;
        // Several overlays can show one folder, and each reports only the changes that were made through itself.
        let watches = !self.network && self.describe() != "overlayfs";
        home.opened += 1;
        Ok(home.commits.insert(Arc::new(Commits::open(folder, self.network, watches))).clone())
    }

    /// Which opening of `commits/` counts now: the last one, or the next one if it is not open.
    pub(super) fn opening_of_commits(&self) -> u64 {
        let home = lock(&self.home);
        home.opened + u64::from(home.commits.is_none())
    }

    /// Whether the open folder of versions is still the one that is called `commits/`. A client's cache may say so of one
    /// that was moved away, so the server is asked.
    pub(super) fn commits_are_in_place(&self) -> io::Result<bool> {
        let commits = self.commits()?;
        let in_place = self.in_database(|database| {
            if self.network {
                look_at(database.fd())?;
            }
            Ok(database.look("commits".as_ref())?.is_some_and(|found| commits.is(&found)))
        })?;
        if !in_place {
            self.close_commits(&commits);
        }
        Ok(in_place)
    }

    /// Makes durable that `commits/` is called so, once for each folder. The recovery that gave it this name may have failed
    /// before the name was durable; others can use the folder all the same.
    pub(super) fn sync_name_of_commits(&self) -> io::Result<()> {
        let mut home = lock(&self.home);
        let opened = home.opened;
        if self.network || home.synced == opened {
            return Ok(());
        }
        let database = self.database_of(&mut home)?.again(Use::List)?;
        drop(home);
        database.sync()?;
        lock(&self.home).synced = opened;
        Ok(())
    }

    fn close_commits(&self, commits: &Arc<Commits>) {
        let mut home = lock(&self.home);
        if home.commits.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, commits)) {
            home.commits = None;
        }
    }

    /// `commits/` was taken away, or made again: it is opened by its name the next time.
    pub(super) fn forget_commits(&self) {
        lock(&self.home).commits = None;
    }

    /// Asks `commits/`. If the server has lost the open folder, this opens it by its path and asks again. No
    /// publication is made this way, because the writer must first look whether the lost one took place.
    pub(super) fn ask<T>(&self, ask: impl Fn(&Commits) -> io::Result<T>) -> io::Result<T> {
        let commits = self.commits()?;
        match ask(&commits) {
            Err(error) if is_stale(&error) => {
                let mut home = lock(&self.home);
                let is_kept = home.commits.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &commits));
                if is_kept && !home.lose() {
                    return Err(error);
                }
                drop(home);
                ask(&*self.commits()?)
            }
            // A recovery took the folder away, and may have made another one.
            Err(error) if commits.is_removed() => {
                self.close_commits(&commits);
                match self.commits() {
                    Ok(commits) => ask(&commits),
                    // Only that folder is gone, and with it the head.
                    Err(missing) if self.database().is_ok_and(|folder| !is_removed(folder.fd())) => Err(missing),
                    Err(_) => Err(error),
                }
            }
            answer => answer,
        }
    }
}

/// Whether an open folder is gone, as far as this kernel knows. Makes no remote call.
pub(super) fn is_removed(folder: BorrowedFd<'_>) -> bool {
    look_at_open(folder).is_ok_and(|found| found.stx_nlink == 0)
}

pub(super) fn was_removed() -> io::Error {
    unusable("the database's folder was removed while it was open here. Open it again")
}

/// Fails if another database's folder, or a copy, has taken the place of the one that was lost.
fn must_be_home(folder: &Folder, known: u64) -> io::Result<()> {
    let id = folder.look_for("id".as_ref(), FileType::RegularFile)?;
    if id.is_some_and(|id| home_of(id.stx_ino, folder.inode()) == known) {
        return Ok(());
    }
    Err(unusable(format!(
        "{} is not the folder any more that it was when this database was opened. Open it again",
        folder.path().display()
    )))
}
