//! `lease`: the file whose bytes are the locks of the `fs` coordinator, with a line for people in front.
//!
//! The open descriptor carries this process's locks. Therefore this process keeps it open as long as it has the lease.
//! Locks are advisory. If a process has locked another file than the others, its commit is refused because one of
//! theirs came first, and nothing is lost. It then opens the file by its name again.

use super::File;
use super::entries::inside;
use super::lease_file::LeaseFile;
use super::rights::Rights;
use super::safely::{Folder, is_unusable};
use crate::format::ids::CommitId;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The locks are bytes from here on. The lines of text are before it.
const LOCKS_BEGIN: i64 = 4096;
/// At most this many files that were replaced stay locked.
const REPLACED: usize = 2;

/// How a lock is taken or given back.
type SetLock = fn(&fs::File, u32, i32) -> Result<(), Errno>;

/// The file as this process has it open.
pub(super) struct Lease {
    kept: Mutex<Kept>,
    set_lock: SetLock,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { kept: Mutex::default(), set_lock }
    }
}

#[derive(Default)]
struct Kept {
    /// The file, and its inode number.
    file: Option<(LeaseFile, u64)>,
    held: Vec<u32>,
    /// Files that this process has replaced while it held locks on them. It keeps those locks: a waiter that still asks
    /// there must find the lease taken, read the line by the file's name, and see that the file was replaced.
    replaced: Vec<LeaseFile>,
    /// The name may mean another file by now.
    is_doubtful: bool,
}

impl Lease {
    /// Takes a lock without waiting; `open` opens the file by its name.
    pub(super) fn try_lock(&self, slot: u32, open: impl Fn() -> io::Result<(fs::File, Statx)>) -> io::Result<bool> {
        let mut kept = self.kept();
        if kept.is_doubtful && kept.held.is_empty() {
            *kept = Kept::default();
        }
        let mut is_new = false;
        loop {
            if kept.file.is_none() {
                let (file, found) = open()?;
                kept.file = Some((LeaseFile::new(file), found.stx_ino));
                is_new = true;
            }
            let (file, _) = kept.file.as_ref().expect("it is open now");
            match (self.set_lock)(file, slot, libc::F_WRLCK) {
                Ok(()) => {
                    kept.held.push(slot);
                    return Ok(true);
                }
                Err(Errno::AGAIN | Errno::ACCESS) => return Ok(false),
                // Without locks there is no lease. Then the swap alone decides, as it always does.
                Err(Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP) => return Ok(true),
                // The server has lost the file, and with it the locks there.
                Err(Errno::STALE) if !is_new => *kept = Kept::default(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn unlock(&self, slot: u32) -> io::Result<()> {
        let mut kept = self.kept();
        kept.held.retain(|held| *held != slot);
        let Some((file, _)) = &kept.file else { return Ok(()) };
        match (self.set_lock)(file, slot, libc::F_UNLCK) {
            Ok(()) | Err(Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP) => Ok(()),
            // The lock is gone with the file.
            Err(Errno::STALE) => {
                *kept = Kept::default();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether another process has one of these locks. `None`: this process has one itself, or has no file open: the file
    /// must be opened to ask.
    pub(super) fn is_another_s(&self, slots: &RangeInclusive<u32>) -> Option<io::Result<Option<bool>>> {
        let kept = self.kept();
        let (file, _) = kept.file.as_ref()?;
        let is_mine = kept.held.iter().any(|held| slots.contains(held));
        (!is_mine && !kept.is_doubtful).then(|| is_locked(file, slots))
    }

    /// The file was just opened by its name, and has this inode number.
    pub(super) fn is_named(&self, inode: u64) {
        let mut kept = self.kept();
        kept.is_doubtful |= kept.file.as_ref().is_some_and(|(_, kept)| *kept != inode);
    }

    /// Others do not respect this process's locks, so the name may mean another file by now.
    pub(super) fn is_ignored(&self) {
        self.kept().is_doubtful = true;
    }

    /// Writes a line of text. If the file has several names, it is another folder's as well; if it is no file, someone
    /// else put it there. Then it is left as it is, and a new file, which has this process's locks, takes the name.
    pub(super) fn write(
        &self,
        at: u64,
        bytes: &[u8],
        open: impl Fn() -> io::Result<(fs::File, Statx)>,
        replace: impl FnOnce(&dyn Fn(&fs::File) -> io::Result<()>) -> io::Result<fs::File>,
    ) -> io::Result<()> {
        let mut kept = self.kept();
        let file = match open() {
            Ok((file, found)) if found.stx_nlink <= 1 => file,
            Err(error) if !is_unusable(&error) => return Err(error),
            _ => {
                let held = kept.held.clone();
                let lock_all = |file: &fs::File| -> io::Result<()> {
                    held.iter().try_for_each(|slot| match set_lock(file, *slot, libc::F_WRLCK) {
                        Ok(()) | Err(Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP) => Ok(()),
                        Err(error) => Err(error.into()),
                    })
                };
                // Locks belong to this very opening of the new file. Therefore that one is kept.
                let file = replace(&lock_all)?;
                let (copy, inode) = (file.try_clone()?, file.metadata()?.ino());
                if let Some((old, _)) = kept.file.replace((LeaseFile::new(copy), inode)) {
                    // Copies of hard links that are made every hour must not fill the process with descriptors.
                    if kept.replaced.len() == REPLACED {
                        kept.replaced.remove(0);
                    }
                    kept.replaced.push(old);
                }
                file
            }
        };
        drop(kept);
        file.write_all_at(bytes, at)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the small file `name`, which has these rights from the first moment that it has its name. If the name exists,
/// that file stays if `keeps`. Otherwise the new one takes the name, and the old file keeps its content under its other
/// names.
pub(super) fn make(
    folder: &Folder,
    name: &OsStr,
    rights: &Rights,
    random: CommitId,
    keeps: bool,
    prepare: impl FnOnce(&fs::File) -> io::Result<()>,
) -> io::Result<fs::File> {
    let (_, draft) = inside(File::Draft(random)).expect("it lies in the folder");
    let file = folder.create(&draft, OFlags::RDWR | OFlags::DSYNC, rights)?;
    let named =
        prepare(&file).and_then(|()| if keeps { folder.link(&draft, name) } else { folder.rename(&draft, name) });
    if keeps || named.is_err() {
        // A draft that stays is only a name, and is removed with the database.
        let _ = folder.unlink(&draft);
    }
    named.map(|()| file)
}

/// An open-file-description lock on one byte, asked for without waiting.
fn set_lock(file: &fs::File, slot: u32, kind: i32) -> Result<(), Errno> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&bytes_of(&(slot..=slot), kind))) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_raw_os_error(error as i32)),
    }
}

/// Whether any opening of the lease's file but this one has one of these locks.
pub(super) fn is_locked(file: &fs::File, slots: &RangeInclusive<u32>) -> io::Result<Option<bool>> {
    let mut asked = bytes_of(slots, libc::F_WRLCK);
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked)) {
        Ok(_) => Ok(Some(i32::from(asked.l_type) != libc::F_UNLCK)),
        Err(nix::Error::ENOSYS | nix::Error::ENOLCK | nix::Error::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn bytes_of(slots: &RangeInclusive<u32>, kind: i32) -> libc::flock {
    let (first, last) = (i64::from(*slots.start()), i64::from(*slots.end()));
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: LOCKS_BEGIN + first,
        l_len: last - first + 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The inode of a file that the server has lost.
    static LOST: AtomicU64 = AtomicU64::new(0);

    fn on_a_server(file: &fs::File, slot: u32, kind: i32) -> Result<(), Errno> {
        if file.metadata().unwrap().ino() == LOST.load(Ordering::Relaxed) {
            return Err(Errno::STALE);
        }
        set_lock(file, slot, kind)
    }

    #[test]
    fn a_file_that_the_server_lost_is_opened_by_its_name_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lease");
        fs::write(&path, "").unwrap();
        let name = Folder::at(folder.path(), super::super::safely::Use::Pass).unwrap();
        let open = || name.open("lease".as_ref(), OFlags::RDWR);
        let lease = Lease { kept: Mutex::default(), set_lock: on_a_server };
        assert!(lease.try_lock(0, open).unwrap());
        LOST.store(fs::metadata(&path).unwrap().ino(), Ordering::Relaxed);
        assert!(lease.try_lock(1, open).is_err(), "the name still means the lost file");
        fs::write(folder.path().join("new"), "").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        lease.unlock(0).unwrap();
        assert!(lease.try_lock(0, open).unwrap());
        let other = Lease::default();
        assert!(!other.try_lock(0, open).unwrap(), "it is a lock in the new file");
        lease.unlock(0).unwrap();
        assert!(other.try_lock(0, open).unwrap());
    }
}
