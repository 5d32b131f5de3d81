//! Examines a database's folder. The trials run in a folder of their own beside NAME, which is removed afterwards.

use crate::finding::Finding;
use crate::mounts;
use seawall::ports::storage::trials::{TRIALS, Trial, says_nothing};
use seawall::ports::storage::{File, Storage, inspect, os::OsStorage};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// With less free space than this a database soon stops growing.
const LITTLE_SPACE: u64 = 100 << 20;

/// What to do when a disk is full. Nothing that SQL does helps.
const MAKE_ROOM: &str = "enlarge the file system or the quota, or delete or move other files on it. No SQL statement frees space: \
                         DELETE and VACUUM are commits, and need more of it. What was committed can be read meanwhile";

/// Examines the folder that NAME is in.
pub(crate) fn examine(name: &Path) -> Vec<Finding> {
    const CHECK: &str = "folder";
    let folder = name.parent().unwrap_or(Path::new("/"));
    let trial = match tempfile::Builder::new().prefix(".seawall-doctor-").tempdir_in(folder) {
        Ok(trial) => trial,
        Err(error) => {
            let is_refused =
                matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            // A reader, and a writer of what exists already, need not write beside NAME.
            let mut findings = vec![if is_refused && is_adopted(name) {
                let folder = folder.display();
                Finding::note(
                    CHECK,
                    format!("this user cannot write {folder} ({error}), so the trials there did not run"),
                )
            } else {
                cannot_be_used(CHECK, folder, &error)
            }];
            if is_refused {
                findings.extend(kind(name, folder));
                findings.push(space(folder));
            }
            return findings;
        }
    };
    let mut findings = vec![Finding::good(CHECK, format!("{} can be written", folder.display()))];
    findings.extend(kind(name, folder));
    findings.extend(owner_of_commits(name, trial.path()));
    findings.extend(TRIALS.iter().enumerate().map(|(n, trial_of)| {
        let place = trial.path().join(n.to_string());
        judge(trial_of, fs::create_dir(&place).and_then(|()| trial_of.run(&place)))
    }));
    findings.push(space(folder));
    if let Err(error) = trial.close() {
        findings.push(Finding::note(CHECK, format!("the trials' folder could not be removed: {error}")));
    }
    findings
}

fn is_adopted(name: &Path) -> bool {
    OsStorage::new(name).is_ok_and(|storage| storage.home(File::Id).is_ok_and(|id| id.is_some()))
}

fn cannot_be_used(check: &'static str, folder: &Path, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make the folder, or mount its file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount it for writing (in IAM: elasticfilesystem:ClientWrite)",
        io::ErrorKind::PermissionDenied => {
            "give this process's user the right to write there (on EFS: the access point's user and permissions)"
        }
        io::ErrorKind::NotADirectory => "name a file in a folder",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => MAKE_ROOM,
        _ => "see the system's log",
    };
    Finding::problem(check, format!("{} cannot be written: {error}", folder.display()), remedy)
}

fn judge(trial: &Trial, result: io::Result<()>) -> Finding {
    match result {
        Ok(()) => Finding::good(trial.check, trial.good),
        // This error says nothing about what the file system can do.
        Err(error) if says_nothing(&error) => {
            Finding::unknown(trial.check, format!("the trial could not run: {error}"))
        }
        Err(error) => Finding::problem(trial.check, error.to_string(), trial.remedy),
    }
}

fn kind(name: &Path, folder: &Path) -> Vec<Finding> {
    const CHECK: &str = "file system";
    let storage = match OsStorage::new(name) {
        Ok(storage) => storage,
        Err(error) => return vec![Finding::unknown(CHECK, error.to_string())],
    };
    let kind = storage.describe();
    let mut findings = vec![if storage.is_shared() {
        Finding::good(CHECK, format!("{kind}: many machines can share it"))
    } else {
        Finding::note(CHECK, format!("{kind}: a disk of this machine only, which its processes can share"))
    }];
    findings.extend(mounts::of(folder).map(|mount| mount.examine()).unwrap_or_default());
    findings.extend(inspect::files(&storage).into_iter().map(|seen| match seen.remedy {
        None => Finding::good(seen.check, seen.text),
        Some(remedy) => Finding::problem(seen.check, seen.text, remedy),
    }));
    findings
}

/// On a file server readers set the modification time of `commits/`, which only its owner may do. This compares that
/// owner with the owner of the trials' folder, and changes nothing.
fn owner_of_commits(name: &Path, trial: &Path) -> Option<Finding> {
    OsStorage::new(name).ok().filter(OsStorage::is_shared)?;
    let mut commits = name.as_os_str().to_owned();
    commits.push("-seawall/commits");
    // Under another coordinator this folder is empty.
    fs::read_dir(&commits).ok()?.next()?.ok()?;
    let (owner, ours) = (fs::metadata(&commits).ok()?.uid(), fs::metadata(trial).ok()?.uid());
    Some(may_quiesce(owner, ours))
}

fn may_quiesce(owner: u32, ours: u32) -> Finding {
    const CHECK: &str = "owner of commits/";
    if owner == ours || ours == 0 {
        return Finding::good(CHECK, "this user may set its modification time, so that no reader misses a commit");
    }
    Finding::problem(
        CHECK,
        format!(
            "user {ours} may not set its modification time, because user {owner} owns it. A reader can miss a commit of another machine \
             until the next one"
        ),
        "run all programs that use the database as one user (on EFS: by an access point with a user of its own)",
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
                Finding::problem(CHECK, format!("{text}; on a full disk commits fail"), MAKE_ROOM)
            } else {
                Finding::good(CHECK, text)
            }
        }
    }
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
        assert_eq!(may_quiesce(1000, 1000).state, State::Good);
        assert_eq!(may_quiesce(1000, 0).state, State::Good);
        assert_eq!(may_quiesce(1000, 1001).state, State::Problem);
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
    fn a_folder_that_cannot_be_used_says_why() {
        for (path, remedy) in [("/there/is/no/such/folder/db", "make the folder"), ("/proc/db", "make the folder")] {
            let found = &examine(Path::new(path))[0];
            assert_eq!(found.state, State::Problem);
            assert!(found.remedy.as_deref().unwrap().contains(remedy), "{found:?}");
        }
    }
}
