//! `seawall doctor NAME`.

use crate::file_system;
use crate::finding::{Finding, State};
use crate::table;
use seawall::identity::{self, Identity};
use seawall::plain::{HEADER, NameState, state_of};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The settings that name a coordinator, Seawall's own and django-sqlite-efs's.
const SETTINGS: [(&str, &str); 2] = [("SEAWALL_COORDINATOR", ""), ("SQLITE_LOCK_DYNAMODB_TABLE", "dynamodb://")];

/// Looks at everything, prints it; whether no problem was found.
pub(crate) fn run(name: &Path, coordinator: Option<String>, json: bool) -> bool {
    let name = std::path::absolute(name).unwrap_or_else(|_| name.to_owned());
    let findings = examine(&name, coordinator);
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    if json {
        let told = serde_json::json!({ "name": name, "problems": problems, "findings": findings });
        println!("{told:#}");
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
        println!("{problems} problem{} found", if problems == 1 { "" } else { "s" });
    }
    problems == 0
}

fn examine(name: &Path, asked: Option<String>) -> Vec<Finding> {
    let mut findings = file_system::examine(name);
    let (identity, of_name) = examine_name(name);
    findings.extend(of_name);
    let bound = identity.as_ref().map(|identity| identity.coordinator.clone());
    let coordinator = asked.or(bound).or_else(from_environment).unwrap_or_else(|| "fs:".into());
    match coordinator.as_str() {
        "fs:" => {
            findings.push(bound_to("fs:", identity.as_ref()).unwrap_or_else(|| {
                Finding::good("coordinator", "fs: the order of commits is in the file system itself")
            }))
        }
        url if url.starts_with("dynamodb:") => findings.extend(table::examine(url, identity.as_ref())),
        url => findings.push(Finding::problem(
            "coordinator",
            format!("{url:?} names no coordinator"),
            "use fs: or dynamodb://TABLE?region=REGION",
        )),
    }
    findings
}

fn from_environment() -> Option<String> {
    let mut told = SETTINGS.iter().filter_map(|(name, prefix)| Some((std::env::var(name).ok()?, prefix)));
    told.find(|(value, _)| !value.is_empty()).map(|(value, prefix)| format!("{prefix}{value}"))
}

/// Whether the database is bound to another coordinator than `asked`, as that one names itself.
pub(crate) fn bound_to(asked: &str, identity: Option<&Identity>) -> Option<Finding> {
    let bound = &identity?.coordinator;
    (bound != asked).then(|| {
        Finding::problem(
            "coordinator",
            format!(
                "the database is ordered by {bound}, and {asked} was asked for: two coordinators would be two histories"
            ),
            format!("use {bound} (mind the region: it is part of the name)"),
        )
    })
}

/// What lies at NAME, and what its folder says.
fn examine_name(name: &Path) -> (Option<Identity>, Vec<Finding>) {
    const CHECK: &str = "NAME";
    let header = match header_of(name) {
        Ok(header) => header,
        Err(error) => {
            let found = Finding::problem(
                CHECK,
                format!("{} cannot be read: {error}", name.display()),
                "give this process's user the right to read and write it; it must be a file",
            );
            return (None, vec![found]);
        }
    };
    let id = match std::fs::read(folder_of(name).join("id")) {
        Ok(bytes) => Some(identity::parse(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => Some(Err(seawall::Error::CannotOpen(format!("NAME-seawall/id: {error}")))),
    };
    let there = match (state_of(&header), &id) {
        (NameState::Empty, None) => Finding::good(CHECK, "nothing is there yet: the first to open it makes it"),
        (NameState::Plain, None) => {
            Finding::good(CHECK, "a plain SQLite file: the first to open it adopts it where it lies")
        }
        (NameState::Marked, Some(Ok(identity))) => {
            Finding::good(CHECK, format!("Seawall's database {}", identity.database))
        }
        (_, Some(Err(error))) => Finding::problem(CHECK, error.to_string(), "restore NAME-seawall/id from a backup"),
        (NameState::Other, None) => Finding::problem(CHECK, "it is no SQLite database", "name another file"),
        (NameState::Marked, None) => Finding::problem(
            CHECK,
            "it is the copy of some version of a Seawall database, and its folder NAME-seawall is not there",
            "bring the folder back from where it went",
        ),
        (NameState::Empty | NameState::Plain | NameState::Other, Some(Ok(_))) => Finding::problem(
            CHECK,
            "it was removed or overwritten from outside; all that was committed is in NAME-seawall",
            "put the marked copy back from a backup, or remove the folder as well to start afresh",
        ),
    };
    (id.and_then(Result::ok), vec![there])
}

/// How NAME begins; nothing, if it is not there.
fn header_of(name: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    match std::fs::File::open(name) {
        Ok(file) => file.take(HEADER as u64).read_to_end(&mut header).map(|_| header),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(header),
        Err(error) => Err(error),
    }
}

fn folder_of(name: &Path) -> PathBuf {
    let mut folder = name.to_owned().into_os_string();
    folder.push("-seawall");
    folder.into()
}
