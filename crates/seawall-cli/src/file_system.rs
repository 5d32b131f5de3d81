//! What a database's folder can do: tried out in a folder of its own beside NAME, which is removed afterwards.

use crate::finding::Finding;
use crate::mounts;
use nix::fcntl::{FcntlArg, fcntl};
use seawall::storage::{Storage, os::OsStorage};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// With less free space than this a database soon stops growing.
const LITTLE_SPACE: u64 = 100 << 20;

/// A trial: its name, what it does in an empty folder, why it matters, what to do if it fails.
struct Trial {
    check: &'static str,
    run: fn(&Path) -> io::Result<()>,
    good: &'static str,
    remedy: &'static str,
}

const TRIALS: [Trial; 5] = [
    Trial {
        check: "put-if-absent",
        run: link_once,
        good: "a name is given once: the second who tries is told so",
        remedy: "use a file system with hard links (EFS, any NFS, ext4, xfs): id and bases get their names by them",
    },
    Trial {
        check: "symlinks",
        run: symlink_once,
        good: "a symlink is made once, with its content",
        remedy: "use a file system with symlinks (SMB needs the mount option mfsymlinks), or a dynamodb:// coordinator",
    },
    Trial {
        check: "locks",
        run: lock_once,
        good: "a lock keeps others out",
        remedy: "mount it with locks (not nolock): without them writers do not wait for each other, and lose work; nothing else",
    },
    Trial {
        check: "durable writes",
        run: sync,
        good: "files and folders can be synced",
        remedy: "use a file system that can make a file durable: what is acknowledged must survive a crash",
    },
    Trial {
        check: "inode numbers",
        run: inode_stays,
        good: "a file keeps its inode number",
        remedy: "use a file system with stable inode numbers: a database's home is known by one",
    },
];

/// Looks at the folder that NAME lies in.
pub(crate) fn examine(name: &Path) -> Vec<Finding> {
    const CHECK: &str = "folder";
    let folder = name.parent().unwrap_or(Path::new("/"));
    let trial = match tempfile::Builder::new().prefix(".seawall-doctor-").tempdir_in(folder) {
        Ok(trial) => trial,
        Err(error) => return vec![cannot_be_used(CHECK, folder, &error)],
    };
    let mut findings = vec![Finding::good(CHECK, format!("{} can be written", folder.display()))];
    findings.extend(kind(name, folder));
    findings.extend(owner_of_commits(name, trial.path()));
    findings.extend(TRIALS.iter().enumerate().map(|(n, trial_of)| {
        let place = trial.path().join(n.to_string());
        judge(trial_of, fs::create_dir(&place).and_then(|()| (trial_of.run)(&place)))
    }));
    findings.push(space(folder));
    if let Err(error) = trial.close() {
        findings.push(Finding::note(CHECK, format!("what was tried out there could not be removed: {error}")));
    }
    findings
}

fn cannot_be_used(check: &'static str, folder: &Path, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make the folder, or mount the file system that it is on",
        io::ErrorKind::ReadOnlyFilesystem => "mount it for writing (in IAM: elasticfilesystem:ClientWrite)",
        io::ErrorKind::PermissionDenied => {
            "give this process's user the right to write there (on EFS: the access point's user and permissions)"
        }
        io::ErrorKind::NotADirectory => "name a file in a folder",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room",
        _ => "look into the system's log",
    };
    Finding::problem(check, format!("{} cannot be written: {error}", folder.display()), remedy)
}

fn judge(trial: &Trial, result: io::Result<()>) -> Finding {
    match result {
        Ok(()) => Finding::good(trial.check, trial.good),
        Err(error) => Finding::problem(trial.check, error.to_string(), trial.remedy),
    }
}

fn kind(name: &Path, folder: &Path) -> Vec<Finding> {
    const CHECK: &str = "file system";
    let storage = match OsStorage::new(name, &std::env::temp_dir()) {
        Ok(storage) => storage,
        Err(error) => return vec![Finding::unknown(CHECK, error.to_string())],
    };
    let kind = storage.describe();
    let mut findings = vec![if storage.is_shared() {
        Finding::good(CHECK, format!("{kind}: many machines can share it"))
    } else {
        Finding::note(CHECK, format!("{kind}: a disk of this machine only, shared by its processes"))
    }];
    findings.extend(mounts::of(folder).map(|mount| mount.examine()).unwrap_or_default());
    findings
}

/// On a file server readers set the modification time of `commits/`, which is its owner's to do. Only looked at, by whose the folder is that
/// was made for the trials.
fn owner_of_commits(name: &Path, trial: &Path) -> Option<Finding> {
    OsStorage::new(name, &std::env::temp_dir()).ok().filter(OsStorage::is_shared)?;
    let mut commits = name.as_os_str().to_owned();
    commits.push("-seawall/commits");
    // Another coordinator names nothing there.
    fs::read_dir(&commits).ok()?.next()?.ok()?;
    let (owner, ours) = (fs::metadata(&commits).ok()?.uid(), fs::metadata(trial).ok()?.uid());
    Some(may_rest(owner, ours))
}

fn may_rest(owner: u32, ours: u32) -> Finding {
    const CHECK: &str = "owner of commits/";
    if owner == ours || ours == 0 {
        return Finding::good(CHECK, "this user may set its modification time, so that no reader misses a commit");
    }
    Finding::problem(
        CHECK,
        format!(
            "user {ours} may not set its modification time, for user {owner} owns it: a commit of another machine can be missed until \
             the next one"
        ),
        "run all that use the database as one user (on EFS: by an access point with a user of its own)",
    )
}

fn space(folder: &Path) -> Finding {
    const CHECK: &str = "space";
    match rustix::fs::statvfs(folder) {
        Err(error) => Finding::unknown(CHECK, error.to_string()),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let text = format!("{} MiB are free", free >> 20);
            if free < LITTLE_SPACE {
                Finding::problem(CHECK, text, "make room: a full disk refuses commits")
            } else {
                Finding::good(CHECK, text)
            }
        }
    }
}

/// The second attempt must be told that the name is taken.
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
    let file = File::create_new(&path)?;
    lock(&file)?;
    let other = OpenOptions::new().read(true).write(true).open(&path)?;
    match lock(&other) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied) => Ok(()),
        Ok(()) => Err(io::Error::other("a lock that somebody has was given again")),
        Err(error) => Err(error),
    }
}

/// As the `fs` coordinator does: an open-file-description lock on one byte.
fn lock(file: &File) -> io::Result<()> {
    let wanted = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    Ok(fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)).map(drop)?)
}

fn sync(folder: &Path) -> io::Result<()> {
    let mut file = File::create_new(folder.join("file"))?;
    file.write_all(b"durable")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

fn inode_stays(folder: &Path) -> io::Result<()> {
    let (draft, name) = (folder.join("draft"), folder.join("name"));
    fs::write(&draft, "x")?;
    let before = fs::metadata(&draft)?.ino();
    fs::hard_link(&draft, &name)?;
    fs::remove_file(&draft)?;
    let after = fs::metadata(&name)?.ino();
    if before == after { Ok(()) } else { Err(io::Error::other(format!("{before} became {after}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;

    #[test]
    fn a_folder_that_is_right_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let findings = examine(&folder.path().join("db.sqlite3"));
        assert!(findings.iter().all(|finding| finding.state != State::Problem), "{findings:?}");
        for trial in &TRIALS {
            assert!(findings.iter().any(|finding| finding.check == trial.check && finding.state == State::Good));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn readers_that_may_miss_a_commit_are_a_problem() {
        assert_eq!(may_rest(1000, 1000).state, State::Good);
        assert_eq!(may_rest(1000, 0).state, State::Good);
        assert_eq!(may_rest(1000, 1001).state, State::Problem);
    }

    #[test]
    fn a_trial_that_fails_has_a_remedy() {
        for trial in &TRIALS {
            let found = judge(trial, Err(io::Error::from(io::ErrorKind::Unsupported)));
            assert_eq!(found.state, State::Problem);
            assert_eq!(found.remedy.as_deref(), Some(trial.remedy));
        }
    }

    #[test]
    fn a_name_that_is_given_twice_is_a_problem() {
        assert!(must_be_taken(Ok(())).is_err());
        assert!(must_be_taken(Err(io::Error::from(io::ErrorKind::PermissionDenied))).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_used_says_why() {
        for (path, remedy) in [("/there/is/no/such/folder/db", "make the folder"), ("/proc/db", "make the folder")] {
            let found = &examine(Path::new(path))[0];
            assert_eq!(found.state, State::Problem);
            assert!(found.remedy.as_deref().unwrap().contains(remedy), "{found:?}");
        }
    }
}
