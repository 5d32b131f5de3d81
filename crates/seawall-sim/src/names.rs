//! The name cache of a machine's NFS client, as measured on Linux 6.1. Above all it keeps names that were once missing.

use crate::disk::Disk;
use crate::paths::{folder_in, folder_of};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a client trusts its cache of a folder (`acdirmin`).
const BELIEVES: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Folder {
    /// The folder's change number when the client last asked for it, and when that was.
    change: u64,
    asked: Duration,
    /// What each name means; `None`: there is no such name.
    known: BTreeMap<String, Option<usize>>,
}

/// A client's cache.
#[derive(Default)]
pub(crate) struct Names {
    folders: BTreeMap<String, Folder>,
}

impl Names {
    /// What `path` means, without asking the server. `None`: the client must ask.
    pub(crate) fn remembered(&self, path: &str, now: Duration) -> Option<Option<usize>> {
        let folder = self.folders.get(folder_of(path))?;
        (now - folder.asked < BELIEVES).then(|| folder.known.get(path).copied()).flatten()
    }

    /// What `path` means, followed from folder to folder in the cache alone. If a folder is cached as missing, so are
    /// the names in it. The folder of versions is held open, so its names are looked up in it directly.
    pub(crate) fn followed(&self, path: &str, now: Duration) -> Option<Option<usize>> {
        if folder_in(path).is_some() {
            return self.remembered(path, now);
        }
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        let missing = folders.map(|folder| self.remembered(folder, now)).find(|found| *found == Some(None));
        missing.unwrap_or_else(|| self.remembered(path, now))
    }

    /// Asks the server for every part of the path; what it means.
    pub(crate) fn walk(&mut self, path: &str, disk: &Disk, now: Duration) -> Option<usize> {
        if folder_in(path).is_none() {
            for (at, _) in path.match_indices('/') {
                let folder = &path[..at];
                self.learn(folder, disk.find(folder), disk.change_of(folder_of(folder)), now);
            }
        }
        let found = disk.find(path);
        self.learn(path, found, disk.change_of(folder_of(path)), now);
        found
    }

    /// The server said that the folder's change number is `change`. If it differs from before, the folder's cache is
    /// void.
    pub(crate) fn asked(&mut self, folder: &str, change: u64, now: Duration) {
        let known = self.folders.entry(folder.to_owned()).or_default();
        if known.change != change {
            known.known.clear();
        }
        known.change = change;
        known.asked = now;
    }

    /// The server said what `path` means.
    pub(crate) fn learn(&mut self, path: &str, inode: Option<usize>, change: u64, now: Duration) {
        self.asked(folder_of(path), change, now);
        self.folders.entry(folder_of(path).to_owned()).or_default().known.insert(path.to_owned(), inode);
    }

    /// This client itself gave `path` that meaning. If no other client changed the folder meanwhile, the rest stays
    /// cached.
    pub(crate) fn made(&mut self, path: &str, inode: Option<usize>, change: u64, now: Duration) {
        let folder = self.folders.entry(folder_of(path).to_owned()).or_default();
        if folder.change + 1 == change {
            folder.change = change;
        }
        self.learn(path, inode, change, now);
    }

    /// Nothing is known of `path` any more.
    pub(crate) fn forget(&mut self, path: &str) {
        if let Some(folder) = self.folders.get_mut(folder_of(path)) {
            folder.known.remove(path);
        }
    }
}
