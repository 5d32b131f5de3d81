//! Who owns the files that Seawall makes, and who may use them. They get NAME's owner, group and permissions, no matter
//! what the umask is and which user runs this process. Stock SQLite does the same with its journals.
//!
//! No file is open to more people than NAME is, not for a moment, because a descriptor that was opened in that moment
//! would stay open. Only a member of NAME's group can give a file that group. Where this process cannot, the file's
//! group gets no more rights than all other users.

use super::safely::{Folder, Use, look_at_open};
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Access, Mode, Statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

const READ_AND_WRITE: u32 = 0o666;
const OWNER_WRITES: u32 = 0o600;
const PERMISSIONS: u32 = 0o777;
const SET_GROUP: u32 = 0o2000;
const OTHERS_WRITE: u32 = 0o022;
const ROOT: u32 = 0;

/// NAME's owner, group and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    user: u32,
    group: u32,
    mode: u32,
}

impl Rights {
    /// The rights of NAME, or of what stands for it.
    pub(crate) fn of(found: &Statx) -> Rights {
        Rights { user: found.stx_uid, group: found.stx_gid, mode: u32::from(found.stx_mode) & READ_AND_WRITE }
    }

    /// The permissions of a file. Users who may read or write NAME may read or write it. Its owner may always do both.
    pub(crate) fn of_file(&self) -> u32 {
        self.mode | OWNER_WRITES
    }

    /// The permissions of a folder. Users who may read or write in it may enter it.
    pub(crate) fn of_folder(&self) -> u32 {
        let used = self.of_file();
        let enters = (used >> 2 | used >> 1) & 0o111;
        used | enters
    }

    /// The permissions with which a file is made in `folder`: those that it will have, if it certainly gets NAME's
    /// group at once; otherwise only its owner's.
    pub(crate) fn at_first(&self, wanted: u32, folder: &Statx) -> Mode {
        let inherits = u32::from(folder.stx_mode) & SET_GROUP != 0;
        let gets_group =
            folder.stx_gid == self.group && (inherits || rustix::process::getegid().as_raw() == self.group);
        Mode::from_bits_truncate(if gets_group { wanted } else { wanted & 0o700 })
    }

    /// Gives the file that was just made, and is open, its group and permissions, and, if this process is root, its
    /// owner.
    pub(crate) fn give(&self, made: &OwnedFd, wanted: u32) -> io::Result<()> {
        let found = look_at_open(made)?;
        let mode = u32::from(found.stx_mode);
        let mut group = found.stx_gid;
        if group != self.group {
            let given = rustix::fs::fchown(made, None, Some(rustix::fs::Gid::from_raw(self.group)));
            if done_if_allowed(given)? {
                group = self.group;
            }
        }
        let wanted = if group == self.group { wanted } else { wanted & !0o070 | (wanted & 0o007) << 3 };
        if mode & PERMISSIONS != wanted {
            let mode = Mode::from_bits_truncate(mode & !PERMISSIONS & 0o7777 | wanted);
            done_if_allowed(rustix::fs::fchmod(made, mode))?;
        }
        // This comes last, because in a container root may lack the right to change files that are not its own.
        if found.stx_uid != self.user && rustix::process::geteuid().is_root() {
            done_if_allowed(rustix::fs::fchown(made, Some(rustix::fs::Uid::from_raw(self.user)), None))?;
        }
        Ok(())
    }

    /// Whether NAME's owner can write a file that all writers write: as the file's owner, by NAME's group, or as any
    /// user.
    pub(crate) fn let_owner_write(&self, found: &Statx) -> bool {
        let mode = u32::from(found.stx_mode);
        let as_group = found.stx_gid == self.group && mode & self.mode & 0o020 != 0;
        found.stx_uid == self.user || as_group || mode & self.mode & 0o002 != 0
    }

    /// Whether NAME's group can use the file as it can use NAME.
    pub(crate) fn is_group_of(&self, found: &Statx) -> bool {
        let as_group = self.mode & 0o060;
        let as_others = (u32::from(found.stx_mode) & self.mode & 0o006) << 3;
        found.stx_gid == self.group || as_group & !as_others == 0
    }

    /// Whether an adoption may take a folder that exists and has no `id`. It may if this user, root or NAME's owner
    /// made it. It also may if only the owner of `parent`, the folder that it lies in, can write there, because then no
    /// other user can have made it.
    pub(crate) fn may_take(folder: &Statx, parent: &Statx, name: Option<&Rights>) -> bool {
        let others_write = u32::from(parent.stx_mode) & OTHERS_WRITE != 0;
        let mine = rustix::process::geteuid().as_raw();
        !others_write || [Some(mine), Some(ROOT), name.map(|name| name.user)].contains(&Some(folder.stx_uid))
    }
}

/// Gives the file that takes the place of NAME the very permissions of NAME, if this process may. Seawall's other files can
/// be written by their owner, whatever NAME says.
pub(crate) fn keep_mode(made: &std::fs::File, named: &Statx) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(u32::from(named.stx_mode) & PERMISSIONS);
    done_if_allowed(rustix::fs::fchmod(made, mode)).map(drop)
}

/// Whether it was done. It is no error if this process may not do it, or if the file system cannot.
fn done_if_allowed(result: Result<(), Errno>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::ROFS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Owner, group and mode of a file, for people.
pub(crate) fn owner_of(found: &Statx) -> String {
    let (user, group) = (found.stx_uid, found.stx_gid);
    let called = Group::from_gid(Gid::from_raw(group)).ok().flatten().map(|group| group.name);
    let group = called.map_or(format!("gid {group}"), |name| format!("{name}, gid {group}"));
    format!("{}, group {group}, mode {:04o}", user_called(user), u32::from(found.stx_mode) & 0o7777)
}

/// Who this process is, for people.
pub(crate) fn me() -> String {
    user_called(rustix::process::geteuid().as_raw())
}

fn user_called(user: u32) -> String {
    let called = User::from_uid(Uid::from_raw(user)).ok().flatten().map(|user| user.name);
    called.map_or(format!("uid {user}"), |name| format!("{name}, uid {user}"))
}

/// Why this process may not make the plain file `name` a database of Seawall's, as far as the kernel can tell that
/// beforehand.
pub fn why_not_adopted(name: &Path) -> Option<io::Error> {
    let (folder, file) = (Folder::at(name.parent()?, Use::Pass).ok()?, name.file_name()?);
    if let Err(error) = folder.may(file, Access::WRITE_OK) {
        return Some(explain_name(error, &folder, file));
    }
    let error = folder.may(".".as_ref(), Access::WRITE_OK | Access::EXEC_OK).err()?;
    let mut inside = file.to_owned();
    inside.push("-seawall");
    Some(explain(error, &folder, &inside, name))
}

/// Adds to a refused permission who owns NAME, which this process may not write and therefore not adopt.
pub(crate) fn explain_name(error: io::Error, folder: &Folder, name: &OsStr) -> io::Error {
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return error;
    }
    let owner = folder.look(name).ok().flatten().map_or("nobody".into(), |found| owner_of(&found));
    let text = format!(
        "{error}: {} belongs to {owner}, and this process, which runs as {}, may not write it. It is no Seawall database yet: a user who \
         may write it must open it once",
        folder.path().join(name).display(),
        me()
    );
    io::Error::new(error.kind(), text)
}

/// Adds to a refused permission who owns the file, or the folder that it lies in, which user asked, and what puts it
/// right.
pub(crate) fn explain(error: io::Error, folder: &Folder, name: &OsStr, database: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || error.get_ref().is_some() {
        return error;
    }
    let (what, found) = match folder.look(name) {
        Ok(Some(found)) => (folder.path().join(name), found),
        _ => (folder.path().to_owned(), *folder.found()),
    };
    let me = me();
    let mut inside = database.as_os_str().to_owned();
    inside.push("-seawall");
    let way_out = if Path::new(&inside).symlink_metadata().is_ok() {
        format!(
            "To give the database's folder to those to whom the database belongs, run as root: {}",
            remedy(database)
        )
    } else {
        format!("The database's folder {} is made there: let this user write there", Path::new(&inside).display())
    };
    let text = format!(
        "{error}: {} belongs to {}, and this process runs as {me}. {way_out}",
        what.display(),
        owner_of(&found)
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Adds to a refused removal who owns the folder, which user asked, and who may do it.
pub(crate) fn explain_removal(error: io::Error, folder: &Folder, name: &OsStr) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || error.get_ref().is_some() {
        return error;
    }
    let path = folder.path().join(name);
    let mut text = format!(
        "{error}: {} lies in {}, which belongs to {}",
        path.display(),
        folder.path().display(),
        owner_of(folder.found())
    );
    if let (true, Ok(Some(found))) = (folder.is_sticky(), folder.look(name)) {
        let owner = owner_of(&found);
        text +=
            &format!(". Its sticky bit lets only root and owners remove what is there, and this belongs to {owner}");
    }
    let me = me();
    text += &format!(". This process runs as {me}: have it removed by a user who may, or by root");
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// The commands that give NAME's folder to NAME's owner and group, with their rights.
pub fn remedy(database: &Path) -> String {
    let quoted = |path: String| format!("'{}'", path.replace('\'', "'\\''"));
    let name = quoted(database.display().to_string());
    let folder = quoted(format!("{}-seawall", database.display()));
    let mode = std::fs::metadata(database).map_or(0o600, |found| {
        use std::os::unix::fs::MetadataExt;
        found.mode()
    });
    let letters = |shift: u32| {
        let bits = mode >> shift & 0o6;
        [(bits & 4, 'r'), (bits & 2, 'w')]
            .iter()
            .filter(|(bit, _)| *bit != 0)
            .map(|(_, letter)| *letter)
            .collect::<String>()
    };
    let class =
        |who: char, letters: String| if letters.is_empty() { format!("{who}=") } else { format!("{who}={letters}X") };
    let rights = ["u=rwX".to_owned(), class('g', letters(3)), class('o', letters(0))].join(",");
    format!("chown -hR --reference={name} {folder} && chmod -R {rights} {folder}")
}
