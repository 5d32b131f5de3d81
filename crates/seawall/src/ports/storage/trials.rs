//! What a file system must be able to do for a database. Each of these is tried out in an empty folder.
//!
//! An adoption tries them before it touches NAME. `seawall doctor` reports each result.

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Which databases need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Every database.
    Always,
    /// A database whose commits the `fs` coordinator orders.
    ByFs,
    /// No database. Without it writers lose work, but never a commit.
    ForComfort,
}

/// One of the things that are tried out.
pub struct Trial {
    /// Its name.
    pub check: &'static str,
    /// Which databases need it.
    pub needed: Needed,
    /// What success shows.
    pub good: &'static str,
    /// What to do if it fails.
    pub remedy: &'static str,
    run: fn(&Path) -> io::Result<()>,
}

impl Trial {
    /// Tries it out in `place`, a new folder of its own, which the caller removes.
    pub fn run(&self, place: &Path) -> io::Result<()> {
        (self.run)(place)
    }
}

/// Whether the error of a trial says nothing of what the file system can do.
pub fn says_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    // A disk or a network that fails now says nothing of what it can do.
    let fails_now = error.raw_os_error() == Some(libc::EIO);
    fails_now || matches!(error.kind(), StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem)
}

/// All of them.
pub const TRIALS: [Trial; 5] = [
    Trial {
        check: "put-if-absent",
        needed: Needed::Always,
        run: link_once,
        good: "a name can be made only once: a second attempt is refused",
        remedy: "use a file system with hard links (EFS, any NFS, ext4, xfs): id and bases get their names by them",
    },
    Trial {
        check: "symlinks",
        needed: Needed::ByFs,
        run: symlink_once,
        good: "a symlink is made once, with its content",
        remedy: "use a file system with symlinks (SMB needs the mount option mfsymlinks), or a dynamodb:// coordinator",
    },
    Trial {
        check: "locks",
        needed: Needed::ForComfort,
        run: lock_once,
        good: "a lock keeps others out",
        remedy: "mount it with locks (not nolock): without them writers do not wait for each other, and lose work; nothing else",
    },
    Trial {
        check: "durable writes",
        needed: Needed::Always,
        run: sync,
        good: "files and folders can be synced",
        remedy: "use a file system that can make a file durable: what is acknowledged must survive a crash",
    },
    Trial {
        check: "inode numbers",
        needed: Needed::Always,
        run: inode_stays,
        good: "files and folders keep their inode numbers",
        remedy: "use a file system with stable inode numbers (not sshfs, rclone, s3fs or shfs; on Unraid the disk's own path, \
                 /mnt/cache or /mnt/disk1): a database's home is known by them",
    },
];

/// The second attempt must fail because the name is taken.
fn must_be_taken(second: io::Result<()>) -> io::Result<()> {
    match second {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Ok(()) => Err(io::Error::other("a name that was taken was given again")),
        Err(error) => Err(error),
    }
}

fn symlink_once(folder: &Path) -> io::Result<()> {
    let name = folder.join("1");
    symlink("what it holds", &name)?;
    must_be_taken(symlink("something else", &name))?;
    let content = fs::read_link(&name)?;
    if content == Path::new("what it holds") { Ok(()) } else { Err(io::Error::other("it does not hold what was put")) }
}

fn link_once(folder: &Path) -> io::Result<()> {
    let (one, two, name) = (folder.join("one"), folder.join("two"), folder.join("name"));
    fs::write(&one, "1")?;
    fs::write(&two, "2")?;
    fs::hard_link(&one, &name)?;
    must_be_taken(fs::hard_link(&two, &name))?;
    must_be_taken(File::create_new(&name).map(drop))
}

fn lock_once(folder: &Path) -> io::Result<()> {
    let path = folder.join("lease");
    let (first, second) = (File::create_new(&path)?, File::options().write(true).open(&path)?);
    lock(&first)?;
    match lock(&second) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Ok(()) => Err(io::Error::other("two have the same lock")),
        Err(error) => Err(error),
    }
}

/// An open-file-description lock on one byte, as the `fs` coordinator takes it.
fn lock(file: &File) -> io::Result<()> {
    let wanted =
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 1, l_pid: 0 };
    Ok(fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)).map(drop)?)
}

fn sync(folder: &Path) -> io::Result<()> {
    let mut file = File::create_new(folder.join("file"))?;
    file.write_all(b"durable")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// The inode number of a file under its first name, under its second, and after the first is gone. `id` gets its name
/// like that.
fn inode_stays(folder: &Path) -> io::Result<()> {
    let (draft, name) = (folder.join("draft"), folder.join("name"));
    let before = File::create_new(&draft)?.metadata()?.ino();
    let of_folder = fs::metadata(folder)?.ino();
    let is = |what: &str, path: &Path, before: u64| match fs::symlink_metadata(path)?.ino() {
        now if now == before => Ok(()),
        now => Err(io::Error::other(format!("{what} had inode number {before}, and then {now}"))),
    };
    is("a file", &draft, before)?;
    fs::hard_link(&draft, &name)?;
    is("a file, under a second name,", &name, before)?;
    fs::remove_file(&draft)?;
    is("a file, under its second name,", &name, before)?;
    is("a folder", folder, of_folder)?;
    match File::open(&name)?.metadata()?.ino() {
        now if now == before => Ok(()),
        now => Err(io::Error::other(format!("a file had inode number {before}, and {now} when it was opened again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_folder_passes() {
        for trial in &TRIALS {
            trial.run(tempfile::tempdir().unwrap().path()).unwrap();
        }
    }

    #[test]
    fn a_name_that_is_given_twice_is_a_problem() {
        assert!(must_be_taken(Ok(())).is_err());
        assert!(must_be_taken(Err(io::Error::from(io::ErrorKind::PermissionDenied))).is_err());
    }
}
