//! A folder's mount, from `/proc/self/mountinfo` (proc(5)), and the options of an NFS mount that matter.

use crate::finding::Finding;
use std::path::Path;

/// A mount: its type and options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    options: Vec<String>,
}

/// The mount that `folder` is on.
pub(crate) fn of(folder: &Path) -> Option<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&table, &folder.canonicalize().ok()?)
}

/// The innermost mount that contains `folder`. If several are mounted there, the last one, which hides the others.
fn find(table: &str, folder: &Path) -> Option<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?.to_owned(), after.nth(1)?.split(',').map(str::to_owned).collect());
        folder.starts_with(&point).then_some((point.len(), Mount { kind, options }))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

impl Mount {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| match option.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (option == name).then_some(""),
        })
    }

    /// What is wrong with an NFS mount.
    pub(crate) fn examine(&self) -> Vec<Finding> {
        const CHECK: &str = "NFS mount";
        if !self.kind.starts_with("nfs") {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let version = self.option("vers").unwrap_or("?");
        if !version.starts_with('4') || version == "4" || version == "4.0" {
            findings.push(Finding::problem(
                CHECK,
                format!("it is NFS {version}. Only from 4.1 on are a client's cached names coherent, and do sessions survive a lost reply"),
                "mount it with vers=4.1 (the EFS mount helper does)",
            ));
        }
        if self.option("nolock").is_some() || self.option("local_lock").is_some_and(|kind| kind != "none") {
            findings.push(Finding::problem(
                CHECK,
                "its locks are local to each machine. Writers on different machines do not see each other's lease. Therefore their commits \
                 are refused instead of waiting",
                "mount it without nolock and local_lock",
            ));
        }
        if self.option("soft").is_some() || self.option("softerr").is_some() {
            findings.push(Finding::note(
                CHECK,
                "it is soft: while the server cannot be reached, transactions fail instead of waiting. Nothing is lost",
            ));
        }
        if findings.is_empty() {
            findings.push(Finding::good(CHECK, format!("NFS {version}, hard, with the server's locks")));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/my\\040efs rw,relatime shared:20 - nfs4 fs-1:/ rw,vers=4.1,hard,local_lock=none
41 22 0:36 / /mnt/old rw - nfs server:/ rw,vers=3,soft,nolock";

    fn states(folder: &str) -> Vec<State> {
        find(TABLE, Path::new(folder)).unwrap().examine().iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn the_innermost_mount_counts() {
        assert_eq!(find(TABLE, Path::new("/mnt/my efs/polls")).unwrap().kind, "nfs4");
        assert_eq!(find(TABLE, Path::new("/mnt/older")).unwrap().kind, "ext4");
    }

    #[test]
    fn what_is_wrong_with_a_mount_is_said() {
        assert_eq!(states("/"), []);
        assert_eq!(states("/mnt/my efs"), [State::Good]);
        assert_eq!(states("/mnt/old/x"), [State::Problem, State::Problem, State::Note]);
    }
}
