//! The only way to a database's files. It follows no link, opens nothing but files and folders, stays on one mount, and
//! gives what it makes NAME's owner and rights.
//!
//! A user who can write the folder, or the folder that NAME lies in, can put anything under Seawall's names: a link to
//! a file of the user who runs this process, a FIFO that no process writes, a device. Therefore every component of a
//! path is opened by a call of its own, which follows no link, and is checked once it is open.

use super::descriptors::with_room;
use super::rights::Rights;
use crate::error::Unusable;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, RawMode, Statx, StatxFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An error that says that what was found cannot be used.
pub(crate) fn unusable(text: impl Into<String>) -> io::Error {
    io::Error::other(Unusable(text.into()))
}

/// Whether the error says that what was found cannot be used as it is.
pub(crate) fn is_unusable(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unusable>())
}

/// What a folder is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Its names are looked up.
    Pass,
    /// It is listed or synced.
    List,
}

/// Flags of every opening. With them, opening a FIFO or a device does not wait, and does not make it this process's
/// controlling terminal.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const LOOKED_AT: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// An open folder.
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    found: Statx,
    mount: Option<u64>,
}

impl Folder {
    /// The folder at `path`. The user chose that path, so links on the way to it are followed.
    pub(crate) fn at(path: &Path, use_: Use) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | flags_of(use_);
        Folder::of(with_room(|| Ok(rustix::fs::open(path, flags, Mode::empty())?))?, path.to_owned())
    }

    fn of(fd: OwnedFd, path: PathBuf) -> io::Result<Folder> {
        let found = look_at_open(&fd)?;
        let mount = mount_of(&fd, &found);
        Ok(Folder { fd, path, found, mount })
    }

    /// The folder `name` in this one. A link is an error, and so is another mount.
    pub(crate) fn folder(&self, name: &OsStr, use_: Use) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags_of(use_);
        let opened = self.open_at(name, flags, Mode::empty());
        let fd = opened.map_err(|error| self.what_is_there(name, FileType::Directory, error))?;
        let folder = Folder::of(fd, self.path.join(name))?;
        self.must_be_here(name, folder.mount)?;
        Ok(folder)
    }

    /// This very folder, opened once more for another use.
    pub(crate) fn again(&self, use_: Use) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | flags_of(use_);
        Folder::of(self.open_at(".".as_ref(), flags, Mode::empty())?, self.path.clone())
    }

    /// Whether it is the folder that was found. As long as this one is open, no other folder gets its inode number.
    pub(crate) fn is(&self, found: &Statx) -> bool {
        let number = |found: &Statx| (found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
        number(&self.found) == number(found)
    }

    /// The file `name` in this folder. If it is anything else, the error says what.
    pub(crate) fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<(fs::File, Statx)> {
        let opened = match self.open_at(name, flags | SAFE, Mode::empty()) {
            // Another program has a lease (fcntl(2)) on the file, and the kernel asks it to give that up. Only files
            // have such leases. This call waits for it.
            Err(Errno::AGAIN) if self.look(name)?.is_some_and(|found| type_of(&found) == FileType::RegularFile) => {
                self.open_at(name, (flags | SAFE) - OFlags::NONBLOCK, Mode::empty())
            }
            opened => opened,
        };
        let fd = opened.map_err(|error| self.what_is_there(name, FileType::RegularFile, error))?;
        let found = look_at_open(&fd)?;
        self.must_be(name, FileType::RegularFile, &found)?;
        self.must_be_here(name, mount_of(&fd, &found))?;
        Ok((fs::File::from(fd), found))
    }

    /// What lies under `name`, or `None`. A link is not followed.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<Statx>> {
        match rustix::fs::statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, LOOKED_AT) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What has this name, if anything has. It must be of the kind that is wanted, and on this mount.
    pub(crate) fn look_for(&self, name: &OsStr, wanted: FileType) -> io::Result<Option<Statx>> {
        let Some(found) = self.look(name)? else { return Ok(None) };
        self.must_be(name, wanted, &found)?;
        if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
            self.must_be_here(name, Some(found.stx_mnt_id))?;
        } else if self.mount.is_some() {
            // A kernel before 5.8 reports the mount of open files only.
            let opened =
                rustix::fs::openat(&self.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            self.must_be_here(name, mount_of(&opened, &found))?;
        }
        Ok(Some(found))
    }

    /// Fails if something is mounted on `name`, of whatever kind it is.
    pub(crate) fn must_be_no_mount(&self, name: &OsStr) -> io::Result<()> {
        match self.look(name)? {
            Some(found) => self.look_for(name, type_of(&found)).map(drop),
            None => Ok(()),
        }
    }

    /// Makes the file `name`, which must not exist, with these rights.
    pub(crate) fn create(&self, name: &OsStr, flags: OFlags, rights: &Rights) -> io::Result<fs::File> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL | SAFE;
        let fd = self.open_at(name, flags, rights.at_first(rights.of_file(), &self.found))?;
        if let Err(error) = rights.give(&fd, rights.of_file()) {
            // Only the first error is reported. The file is empty.
            let _ = self.unlink(name);
            return Err(error);
        }
        Ok(fs::File::from(fd))
    }

    /// Makes the folder `name` with these rights, or with the umask's if `None`. Returns `false` if the name exists.
    pub(crate) fn make_folder(&self, name: &OsStr, rights: Option<&Rights>) -> io::Result<bool> {
        let mode =
            rights.map_or(Mode::from_bits_truncate(0o755), |rights| rights.at_first(rights.of_folder(), &self.found));
        match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if let Some(rights) = rights {
            let made = self.folder(name, Use::List)?;
            rights.give(&made.fd, rights.of_folder())?;
        }
        Ok(true)
    }

    /// Gives the folder `name`, which exists, the rights of a new one, if this process may.
    pub(crate) fn put_right(&self, name: &OsStr, rights: &Rights) -> io::Result<()> {
        rights.give(&self.folder(name, Use::List)?.fd, rights.of_folder())
    }

    /// Checks, before anything is removed, that `name`, which was found here, is on this mount, and that this process
    /// may remove it.
    pub(crate) fn may_remove(&self, name: &OsStr, found: &Statx) -> io::Result<()> {
        if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
            self.must_be_here(name, Some(found.stx_mnt_id))?;
        }
        self.may(".".as_ref(), Access::WRITE_OK | Access::EXEC_OK)?;
        // In a sticky folder only root and the owners of the file and of the folder may remove it (unlink(2)).
        let me = rustix::process::geteuid();
        let is_owner = [found.stx_uid, self.found.stx_uid].contains(&me.as_raw());
        if self.is_sticky() && !is_owner && !me.is_root() { Err(Errno::PERM.into()) } else { Ok(()) }
    }

    /// Fails if this process may not `access` what is named `name`. Where the system cannot be asked, it succeeds, and
    /// using the file shows it.
    pub(crate) fn may(&self, name: &OsStr, access: Access) -> io::Result<()> {
        match rustix::fs::accessat(&self.fd, name, access, AtFlags::EACCESS) {
            Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether only its owner may remove a file from this folder.
    pub(crate) fn is_sticky(&self) -> bool {
        u32::from(self.found.stx_mode) & 0o1000 != 0
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives what is named `from` the second name `to`, both in this folder. A link is not followed.
    pub(crate) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
    }

    /// Renames `from` to `to`, in the place of what has that name.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Renames `from` to `to` in another folder of this mount, in the place of what has that name.
    pub(crate) fn rename_into(&self, from: &OsStr, folder: &Folder, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &folder.fd, to)?)
    }

    /// The names in this folder, which was opened for listing.
    pub(crate) fn names(&self) -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        Ok(names)
    }

    /// Makes changes of names here durable by an fsync. On NFS they already are, and this costs no call. (The fsync of
    /// `commits/` after a commit is in `commits.rs`.)
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    pub(crate) fn inode(&self) -> u64 {
        self.found.stx_ino
    }

    pub(crate) fn found(&self) -> &Statx {
        &self.found
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens. If the process has no descriptors left, it first closes those that it only keeps for later reads.
    fn open_at(&self, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let opened = with_room(|| Ok(rustix::fs::openat(&self.fd, name, flags, mode)?));
        opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// The error of an opening, or one that says what was found instead of what is wanted.
    fn what_is_there(&self, name: &OsStr, wanted: FileType, error: Errno) -> io::Error {
        if error == Errno::NOENT {
            return error.into();
        }
        match self.look(name) {
            Ok(Some(found)) => self.must_be(name, wanted, &found).err().unwrap_or_else(|| error.into()),
            _ => error.into(),
        }
    }

    pub(crate) fn must_be(&self, name: &OsStr, wanted: FileType, found: &Statx) -> io::Result<()> {
        let kind = type_of(found);
        if kind == wanted {
            return Ok(());
        }
        Err(unusable(format!("{} is {}, not {}", self.path.join(name).display(), called(kind), called(wanted))))
    }

    fn must_be_here(&self, name: &OsStr, mount: Option<u64>) -> io::Result<()> {
        match (self.mount, mount) {
            (Some(here), Some(there)) if here != there => Err(unusable(format!(
                "{} is on another mount than the folder that it lies in: a database and its folder NAME-seawall must be on one mount, or \
                 what is committed does not go where the database is kept. Mount the whole folder {}, not single files or folders in it",
                self.path.join(name).display(),
                self.path.display()
            ))),
            _ => Ok(()),
        }
    }
}

fn flags_of(use_: Use) -> OFlags {
    match use_ {
        Use::Pass => OFlags::PATH,
        Use::List => OFlags::RDONLY,
    }
}

/// What is open, as the answer to its opening or look-up described it. Makes no remote call.
pub(crate) fn look_at_open(fd: impl AsFd) -> io::Result<Statx> {
    Ok(rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, LOOKED_AT)?)
}

/// Which mount an open file is on, if the kernel reports that.
fn mount_of(fd: &OwnedFd, found: &Statx) -> Option<u64> {
    if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
        return Some(found.stx_mnt_id);
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

pub(crate) fn type_of(found: &Statx) -> FileType {
    FileType::from_raw_mode(RawMode::from(found.stx_mode))
}

/// What people call it.
pub(crate) fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}

/// A name as a path's component.
pub(crate) fn name_of(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
