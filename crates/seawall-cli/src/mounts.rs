//! A folder's mount, from `/proc/self/mountinfo` (proc(5)); the options of an NFS mount that matter; and what the mount
//! helper of Amazon EFS and S3 Files (efs-utils) has left on this machine.

use crate::finding::Finding;
use std::fs;
use std::path::Path;

/// The mount helper's program, which is a script that names its version …
const HELPERS: [&str; 2] = ["/sbin/mount.efs", "/usr/sbin/mount.efs"];
/// … and where it writes the proxy's configuration, `stunnel-config.FS.MOUNTPOINT.PORT`.
const STATE: &str = "/var/run/efs";

/// A mount: its type, what is mounted, and the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    source: String,
    options: Vec<String>,
}

/// What the mount helper has left on this machine.
#[derive(Default)]
struct Helper {
    /// Its program's text.
    program: String,
    /// The proxies' configurations: each file's name, and its text.
    proxies: Vec<(String, String)>,
}

impl Helper {
    fn of_this_machine() -> Helper {
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let entries = fs::read_dir(STATE).into_iter().flatten().flatten();
        let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
        let proxies = named.filter(|(name, _)| name.starts_with("stunnel-config."));
        Helper {
            program: HELPERS.iter().find_map(|path| text(Path::new(path)).ok()).unwrap_or_default(),
            proxies: proxies.filter_map(|(name, path)| Some((name, text(&path).ok()?))).collect(),
        }
    }

    /// The version that its program names.
    fn version(&self) -> Option<&str> {
        let line = self.program.lines().find(|line| line.starts_with("VERSION = "))?;
        Some(line.trim_start_matches("VERSION = ").trim_matches(['"', '\'']))
    }
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
        let (kind, source) = (after.next()?.to_owned(), after.next()?.to_owned());
        let options = after.next()?.split(',').map(str::to_owned).collect();
        folder.starts_with(&point).then_some((point.len(), Mount { kind, source, options }))
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
        self.examine_with(&Helper::of_this_machine())
    }

    /// Whether it is a bucket of S3, mounted as S3 Files. The mount helper mounts its own proxy at a port of this machine.
    fn is_bucket(&self, helper: &Helper) -> bool {
        let port = self.option("port").map(|port| format!(".{port}"));
        let proxy = helper.proxies.iter().find(|(name, _)| port.as_ref().is_some_and(|port| name.ends_with(port)));
        self.source.contains(".s3files.") || proxy.is_some_and(|(_, text)| text.contains(".s3files."))
    }

    fn examine_with(&self, helper: &Helper) -> Vec<Finding> {
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
        if self.is_bucket(helper) {
            findings.push(Finding::note(
                CHECK,
                "it is a bucket of S3 (S3 Files). Where the bucket was changed as well, the bucket's objects win over what was written here. \
                 Therefore never restore, copy or delete objects of this database in the bucket while a program uses it; afterwards run \
                 seawall recover NAME",
            ));
        }
        if self.option("port").is_some() && helper.version() == Some("2.0.0") {
            findings.push(Finding::problem(
                CHECK,
                "its mount helper is efs-utils 2.0.0, whose proxy holds small packets back (Nagle's algorithm): each call may take 40 ms \
                 longer",
                "install efs-utils 2.0.1 or later, and mount it again",
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
41 22 0:36 / /mnt/old rw - nfs server:/ rw,vers=3,soft,nolock
42 22 0:37 / /mnt/efs rw - nfs4 127.0.0.1:/ rw,vers=4.1,hard,port=20385,local_lock=none,addr=127.0.0.1
43 22 0:38 / /mnt/bucket rw - nfs4 127.0.0.1:/ rw,vers=4.2,hard,port=20049,local_lock=none,addr=127.0.0.1";

    fn states_with(helper: &Helper, folder: &str) -> Vec<State> {
        find(TABLE, Path::new(folder)).unwrap().examine_with(helper).iter().map(|finding| finding.state).collect()
    }

    fn states(folder: &str) -> Vec<State> {
        states_with(&Helper::default(), folder)
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

    #[test]
    fn a_bucket_and_a_helper_that_holds_packets_back_are_said() {
        let proxy =
            |port: &str, server: &str| (format!("stunnel-config.fs-1.mnt.{port}"), format!("connect = {server}:2049"));
        let proxies = vec![
            proxy("20385", "fs-1.efs.eu-west-1.amazonaws.com"),
            proxy("20049", "use1-az1.fs-2.s3files.us-east-1.on.aws"),
        ];
        let helper = |version: &str| Helper {
            program: format!("#!/usr/bin/env python3\nVERSION = \"{version}\"\n"),
            proxies: proxies.clone(),
        };
        let (good, note, problem) = (State::Good, State::Note, State::Problem);
        assert_eq!(states_with(&helper("2.0.1"), "/mnt/efs"), [good]);
        assert_eq!(states_with(&helper("2.0.0"), "/mnt/efs"), [problem]);
        assert_eq!(states_with(&helper("2.4.0"), "/mnt/bucket"), [note]);
        assert_eq!(states_with(&helper("2.0.0"), "/mnt/my efs"), [good], "it was mounted without the helper");
    }
}
