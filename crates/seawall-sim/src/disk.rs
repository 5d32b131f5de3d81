//! The file system itself: its files, and which part of them would survive a loss of power.

use crate::paths::{COMMITS, RETIRED, folder_in, folder_of, inside};
use seawall::ports::storage::QUIESCED;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// A write that was not synced.
#[derive(Clone)]
struct Write {
    at: usize,
    length: usize,
    /// The file's length before it.
    end: usize,
    /// The bytes before it, fewer where the file ended.
    before: Vec<u8>,
}

/// A file or a link.
#[derive(Clone, Default)]
pub(crate) struct Inode {
    pub(crate) bytes: Vec<u8>,
    /// The writes that were not synced.
    unsynced: Vec<Write>,
    /// The truncations that were not synced: where, and the bytes.
    cut: Vec<(usize, Vec<u8>)>,
    /// When it was last changed.
    pub(crate) changed: Duration,
    /// When it was made.
    pub(crate) made: Duration,
}

/// A change of names whose folder was not synced since: each name, and what it meant before. All of them survive a loss
/// of power, or none.
#[derive(Clone)]
struct Unsynced(Vec<(String, Option<usize>)>);

impl Unsynced {
    fn folder(&self) -> &str {
        folder_of(&self.0[0].0)
    }
}

/// A folder's change number and time.
#[derive(Clone, Default)]
struct Change {
    /// Raised by every change of a name.
    number: u64,
    /// When that was.
    time: Duration,
}

/// The file system.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    /// The time by its clock.
    pub(crate) now: Duration,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    unsynced: Vec<Unsynced>,
    changes: BTreeMap<String, Change>,
    /// The name that is being made, and since when. Its folder has changed already, but the name cannot be found yet.
    naming: Option<(String, Duration)>,
}

/// The effects of a loss of power.
#[derive(Default)]
pub(crate) struct Loss {
    pub(crate) torn: u64,
    pub(crate) names: u64,
}

impl Disk {
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.names.get(path).copied()
    }

    /// The inode's number, as programs see it: never 0.
    pub(crate) fn number(inode: usize) -> u64 {
        inode as u64 + 1
    }

    pub(crate) fn inode(&self, inode: usize) -> &Inode {
        &self.inodes[inode]
    }

    pub(crate) fn content(&self, path: &str) -> Option<&[u8]> {
        self.find(path).map(|inode| &self.inodes[inode].bytes[..])
    }

    /// The names in a folder, without the folder.
    pub(crate) fn list<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let below = self.names.range(folder.to_owned()..).take_while(move |(path, _)| path.starts_with(folder));
        below
            .filter_map(move |(path, _)| path.strip_prefix(folder)?.strip_prefix('/'))
            .filter(|name| !name.contains('/'))
    }

    pub(crate) fn change_of(&self, folder: &str) -> u64 {
        self.changes.get(folder).map_or(0, |change| change.number)
    }

    /// When a name in the folder was last made or removed, or [`QUIESCED`].
    pub(crate) fn time_of(&self, folder: &str) -> Duration {
        self.changes.get(folder).map_or(Duration::ZERO, |change| change.time)
    }

    fn change(&mut self, folder: &str, time: Duration) {
        let change = self.changes.entry(folder.to_owned()).or_default();
        *change = Change { number: change.number + 1, time };
    }

    /// Sets the folder's time back, which is a change as well.
    pub(crate) fn quiesce(&mut self, folder: &str) {
        self.change(folder, Duration::from_nanos(QUIESCED as u64));
    }

    /// A name begins to be made, and its folder shows that.
    pub(crate) fn begin_naming(&mut self, path: &str) {
        self.change(folder_of(path), self.now);
        self.naming = Some((path.to_owned(), self.now));
    }

    /// The name is made, or its making failed.
    pub(crate) fn end_naming(&mut self) {
        self.naming = None;
    }

    /// The name that is being made.
    pub(crate) fn naming(&self) -> Option<&str> {
        self.naming.as_ref().map(|(path, _)| &path[..])
    }

    /// Since when `path` is being made, if it is.
    fn named_since(&self, path: &str) -> Option<Duration> {
        self.naming.as_ref().filter(|(naming, _)| naming == path).map(|(_, since)| *since)
    }

    fn rename(&mut self, path: &str, to: Option<usize>) {
        self.rename_all(&[(path, to)]);
    }

    /// Changes names of one folder, all at once.
    fn rename_all(&mut self, names: &[(&str, Option<usize>)]) {
        let change = |(path, to): &(&str, Option<usize>)| {
            let before = match to {
                Some(inode) => self.names.insert((*path).to_owned(), *inode),
                None => self.names.remove(*path),
            };
            ((*path).to_owned(), before)
        };
        let changed = names.iter().map(change).collect();
        self.unsynced.push(Unsynced(changed));
        for (path, _) in names {
            if self.named_since(path).is_none() {
                self.change(folder_of(path), self.now);
            }
        }
    }

    /// Whether a folder of versions is still there, under any name.
    pub(crate) fn has_folder(&self, folder: usize) -> bool {
        self.folders().any(|(_, there)| there == folder)
    }

    /// The folders of versions that are there, with their names: `commits/`, and those that were taken away or are not in
    /// its place yet.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&str, usize)> {
        let current = self.names.get_key_value(COMMITS);
        let below = self.names.range(RETIRED.to_owned()..).take_while(|(path, _)| path.starts_with(RETIRED));
        current.into_iter().chain(below).map(|(path, inode)| (&path[..], *inode))
    }

    /// The folder moves. What lies in it does not notice.
    pub(crate) fn move_folder(&mut self, from: &str, to: &str) -> io::Result<()> {
        let folder = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        if self.find(to).is_some_and(|there| self.list(&inside(there)).next().is_some()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.rename_all(&[(from, None), (to, Some(folder))]);
        Ok(())
    }

    /// Removes a folder of versions, if it is empty.
    pub(crate) fn remove_folder(&mut self, path: &str) -> io::Result<()> {
        let folder = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        if self.list(path).chain(self.list(&inside(folder))).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.rename(path, None);
        Ok(())
    }

    /// A new file or link with this content.
    pub(crate) fn create(&mut self, path: &str, bytes: Vec<u8>) -> io::Result<usize> {
        if self.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if folder_in(path).is_some_and(|folder| !self.has_folder(folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let made = self.named_since(path).unwrap_or(self.now);
        self.inodes.push(Inode { bytes, made, changed: made, ..Inode::default() });
        self.rename(path, Some(self.inodes.len() - 1));
        Ok(self.inodes.len() - 1)
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        if self.find(to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(to, Some(inode));
        Ok(())
    }

    /// What `from` names takes the place of `to`.
    pub(crate) fn replace(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        if folder_of(from) == folder_of(to) {
            self.rename_all(&[(from, None), (to, Some(inode))]);
        } else {
            self.rename(from, None);
            self.rename(to, Some(inode));
        }
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &str) {
        if self.find(path).is_some() {
            self.rename(path, None);
        }
    }

    /// Every process sees the write from now on. A loss of power may undo it.
    pub(crate) fn write(&mut self, inode: usize, at: usize, bytes: &[u8]) {
        let now = self.now;
        let file = &mut self.inodes[inode];
        let end = at + bytes.len();
        let before = file.bytes.get(at.min(file.bytes.len())..end.min(file.bytes.len())).unwrap_or_default().to_vec();
        file.changed = now;
        if before == bytes {
            // Whether this write survives or not, the bytes are the same.
            return;
        }
        file.unsynced.push(Write { at, length: bytes.len(), end: file.bytes.len(), before });
        if file.bytes.len() < end {
            file.bytes.resize(end, 0);
        }
        file.bytes[at..end].copy_from_slice(bytes);
    }

    /// The file ends at `length`, if it was longer. A loss of power may bring back the rest.
    pub(crate) fn truncate(&mut self, inode: usize, length: usize) {
        let now = self.now;
        let file = &mut self.inodes[inode];
        if file.bytes.len() > length {
            let cut = file.bytes.split_off(length);
            file.cut.push((length, cut));
            file.changed = now;
        }
    }

    /// The file's bytes and its length are durable.
    pub(crate) fn sync(&mut self, inode: usize) {
        self.inodes[inode].unsynced.clear();
        self.inodes[inode].cut.clear();
    }

    /// The writes in this range are durable, and nothing else.
    pub(crate) fn sync_range(&mut self, inode: usize, at: usize, length: usize) {
        self.inodes[inode].unsynced.retain(|write| write.at < at || write.at >= at + length);
    }

    /// The names in the folder are durable.
    pub(crate) fn sync_folder(&mut self, folder: &str) {
        self.unsynced.retain(|change| change.folder() != folder);
    }

    /// Whether a loss of power could take a name in this folder.
    pub(crate) fn has_unsynced(&self, folder: &str) -> bool {
        self.unsynced.iter().any(|change| change.folder() == folder)
    }

    /// Whether a loss of power would leave this name as it is.
    pub(crate) fn is_name_durable(&self, path: &str) -> bool {
        self.find(path).is_some()
            && self.unsynced.iter().all(|change| change.0.iter().all(|(changed, _)| changed != path))
    }

    /// Whether it would leave these bytes as they are.
    pub(crate) fn are_bytes_durable(&self, inode: usize, at: usize, length: usize) -> bool {
        let file = &self.inodes[inode];
        let touches = |write: &Write| write.at < at + length;
        file.bytes.len() >= at + length && !file.unsynced.iter().any(touches)
    }

    /// The power is lost. A write that was not synced stays, is lost, or stays in part, each sector by itself.
    pub(crate) fn lose_power(&mut self, chance: &mut impl FnMut() -> u64) -> Loss {
        let (mut loss, now) = (Loss::default(), self.now);
        for file in &mut self.inodes {
            for (at, bytes) in std::mem::take(&mut file.cut).into_iter().rev() {
                if file.bytes.len() == at && chance().is_multiple_of(2) {
                    file.bytes.extend(bytes);
                    file.changed = now;
                    loss.torn += 1;
                }
            }
            for write in std::mem::take(&mut file.unsynced).into_iter().rev() {
                loss.torn += 1;
                tear(&mut file.bytes, &write, chance());
                file.changed = now;
            }
        }
        // A journal keeps the order of a folder's changes. Therefore the last ones are lost.
        let mut kept: Vec<String> = Vec::new();
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let folder = change.folder().to_owned();
            if kept.contains(&folder) {
                continue;
            }
            if chance().is_multiple_of(2) {
                kept.push(folder);
                continue;
            }
            loss.names += 1;
            self.change(&folder, self.now);
            for (path, before) in change.0.into_iter().rev() {
                match before {
                    Some(inode) => self.names.insert(path, inode),
                    None => self.names.remove(&path),
                };
            }
        }
        loss
    }
}

/// Undoes a write in part: everything after some byte, or some sectors of it.
fn tear(bytes: &mut Vec<u8>, write: &Write, dice: u64) {
    const SECTOR: usize = 512;
    let at = write.at;
    let end = bytes.len().min(at + write.length);
    let written = end.saturating_sub(at);
    // The earlier bytes, and zeros where the file grew.
    let mut before = write.before.clone();
    before.resize(written, 0);
    let mut take_back = |from: usize, to: usize| {
        let to = to.min(end);
        if from < to {
            bytes[from..to].copy_from_slice(&before[from - at..to - at]);
        }
    };
    if dice.is_multiple_of(3) {
        (at..end)
            .step_by(SECTOR)
            .filter(|sector| dice >> (sector / SECTOR % 60) & 4 == 0)
            .for_each(|sector| take_back(sector, sector + SECTOR));
        return;
    }
    let kept = if written == 0 { 0 } else { (dice / 3) as usize % (written + 1) };
    take_back(at + kept, end);
    if bytes.len() == end && end > write.end {
        bytes.truncate(write.end.max(at + kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with one file of two sectors, durable.
    fn disk() -> (Disk, usize) {
        let mut disk = Disk::default();
        let inode = disk.create("file", vec![1; 1024]).expect("nothing is there");
        disk.sync_folder("");
        (disk, inode)
    }

    #[test]
    fn a_loss_of_power_takes_nothing_back_but_what_was_written() {
        for dice in 0..1000 {
            let (mut disk, inode) = disk();
            disk.write(inode, 10, &[2; 100]);
            disk.lose_power(&mut || dice);
            let bytes = &disk.inode(inode).bytes;
            assert!(bytes[..10].iter().chain(&bytes[110..]).all(|byte| *byte == 1), "{dice}");
            assert!(bytes[10..110].iter().all(|byte| [1, 2].contains(byte)), "{dice}");
            assert_eq!(bytes.len(), 1024, "{dice}");
        }
    }

    #[test]
    fn what_was_cut_off_can_come_back_until_the_file_is_synced() {
        let mut came_back = 0;
        for dice in 0..10 {
            let (mut disk, inode) = disk();
            disk.truncate(inode, 500);
            disk.lose_power(&mut || dice);
            came_back += usize::from(disk.inode(inode).bytes == [1; 1024]);
            let (mut disk, inode) = self::disk();
            disk.truncate(inode, 500);
            disk.sync(inode);
            disk.lose_power(&mut || dice);
            assert_eq!(disk.inode(inode).bytes, [1; 500]);
        }
        assert_eq!(came_back, 5);
    }
}
