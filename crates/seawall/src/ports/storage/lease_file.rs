//! The open lease file. Its locks belong to the open file description, which a forked child shares. If the child kept
//! it open, the lock of a parent that died would live on in the child, and other writers would wait until they take the
//! lease over. Therefore every such descriptor is in a list that the child can read at the fork without taking a lock.
//! The child then puts another file in its place.

use std::fs;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// As many as a process may usually open. A descriptor that finds no place in the list is inherited by children.
const PLACES: usize = 1024;
const FREE: RawFd = -1;

static DESCRIPTORS: [AtomicI32; PLACES] = [const { AtomicI32::new(FREE) }; PLACES];

/// The lease files that this process has open, or, in a child at the fork, its parent. Async-signal-safe.
pub fn lease_descriptors() -> impl Iterator<Item = RawFd> {
    DESCRIPTORS.iter().map(|place| place.load(Relaxed)).filter(|descriptor| *descriptor != FREE)
}

pub(super) struct LeaseFile {
    file: fs::File,
    place: Option<&'static AtomicI32>,
}

impl LeaseFile {
    pub(super) fn new(file: fs::File) -> LeaseFile {
        let descriptor = file.as_raw_fd();
        let take = |place: &&AtomicI32| place.compare_exchange(FREE, descriptor, Relaxed, Relaxed).is_ok();
        LeaseFile { place: DESCRIPTORS.iter().find(take), file }
    }
}

impl Deref for LeaseFile {
    type Target = fs::File;

    fn deref(&self) -> &fs::File {
        &self.file
    }
}

impl Drop for LeaseFile {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.store(FREE, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_lease_file_is_listed_until_it_is_closed() {
        let file = LeaseFile::new(tempfile::tempfile().unwrap());
        let descriptor = file.as_raw_fd();
        assert!(lease_descriptors().any(|listed| listed == descriptor));
        drop(file);
        assert!(lease_descriptors().all(|listed| listed != descriptor));
    }
}
