//! `seawall doctor NAME`.

use crate::file_system;
use crate::finding::{Finding, State};
use crate::{print, table};
use seawall::format::identity::{self, Identity};
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::ports::storage::{File, Span, Storage, os::OsStorage};
use seawall::{Access, Database, HeldFile, Options, PlainSqlite, Shown};
use seawall_dynamodb::address::Address;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The settings that name a coordinator, Seawall's own and django-sqlite-efs's.
const SETTINGS: [(&str, &str); 2] = [("SEAWALL_COORDINATOR", ""), ("SQLITE_LOCK_DYNAMODB_TABLE", "dynamodb://")];

/// The remedy of what the engine says, whose texts have the way out.
const AS_IT_SAYS: &str = "do what this says, and leave the files as they are until then";

/// Looks at everything, prints it; whether no problem was found.
pub(crate) fn run(name: &Path, coordinator: Option<String>, json: bool) -> bool {
    let (name, findings) = match whole(name) {
        Ok(name) => {
            let findings = examine(&name, coordinator);
            (name, findings)
        }
        Err(finding) => (name.to_owned(), vec![finding]),
    };
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    if json {
        let told = serde_json::json!({ "name": name.to_string_lossy(), "problems": problems, "findings": findings });
        print(format_args!("{told:#}"));
    } else {
        findings.iter().for_each(print);
        print(format_args!("{problems} problem{} found", if problems == 1 { "" } else { "s" }));
    }
    problems == 0
}

fn examine(name: &Path, asked: Option<String>) -> Vec<Finding> {
    let mut findings = file_system::examine(name);
    let (identity, of_name) = examine_name(name);
    let is_whole = of_name.iter().all(|finding| finding.state != State::Problem);
    findings.extend(of_name);
    let bound = identity.as_ref().map(|identity| identity.coordinator.clone());
    let coordinator = asked.unwrap_or_else(|| settled(bound, from_environment()));
    match coordinator.as_str() {
        "fs:" => {
            findings.push(bound_to("fs:", identity.as_ref()).unwrap_or_else(|| {
                Finding::good("coordinator", "fs: the order of commits is in the file system itself")
            }));
            if is_whole && identity.is_some_and(|identity| identity.coordinator == "fs:") {
                findings.push(opened(name));
            }
        }
        url if url.starts_with("dynamodb:") => findings.extend(table::examine(url, identity.as_ref())),
        url => findings.push(Finding::problem(
            "coordinator",
            format!("\"{}\" names no coordinator", Shown::url(url)),
            "use fs: or dynamodb://TABLE?region=REGION",
        )),
    }
    findings
}

/// Opens the database as a reader does: its head, and the newest commit. Makes nothing.
fn opened(name: &Path) -> Finding {
    const CHECK: &str = "opening";
    let opened = OsStorage::new(name, &std::env::temp_dir())
        .map_err(|error| seawall::Error::io("looking at the folder", error))
        .and_then(|storage| Database::on(Arc::new(storage), name, Access::ReadOnly, &Options::default(), &NoAdoption));
    match opened {
        Ok(database) => {
            let version = database.newest_known().version().0;
            if database.is_copy() {
                Finding::problem(
                    CHECK,
                    format!(
                        "this folder is a copy of the database's: version {version} can be read, nothing can be written"
                    ),
                    "use the original; or read this one with mode=ro, or seawall.copy, whose copy is a database of its own",
                )
            } else {
                Finding::good(CHECK, format!("version {version} can be read"))
            }
        }
        Err(error) => Finding::problem(CHECK, error.to_string(), AS_IT_SAYS),
    }
}

/// A reader adopts nothing.
struct NoAdoption;

impl PlainSqlite for NoAdoption {
    fn hold(&self, _: &Path, _: bool, _: Duration) -> seawall::Result<Box<dyn HeldFile>> {
        Err(seawall::Error::ReadOnly("doctor adopts nothing".into()))
    }
}

/// NAME as the engine takes it: absolute, and what a link leads to.
fn whole(name: &Path) -> Result<PathBuf, Finding> {
    let absolute = std::path::absolute(name).unwrap_or_else(|_| name.to_owned());
    let text = name.to_string_lossy();
    if (text.starts_with("file:") || text == ":memory:") && !absolute.exists() {
        return Err(Finding::problem("NAME", format!("{text} is a URI of SQLite's"), "name the file by its path"));
    }
    let of_parent = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    // What is not there, or cannot be reached, is told of under the name that was given.
    Ok(absolute.canonicalize().ok().or_else(of_parent).unwrap_or_else(|| absolute.clone()))
}

/// Where the head is, if nobody asks for a certain place: where the database is bound to. `id` does not say how that is reached,
/// but the environment may.
fn settled(bound: Option<String>, environment: Option<String>) -> String {
    match (bound, environment) {
        (Some(bound), Some(environment)) if is_the_same(&bound, &environment) => environment,
        (Some(bound), _) => bound,
        (None, environment) => environment.unwrap_or_else(|| "fs:".into()),
    }
}

fn is_the_same(bound: &str, environment: &str) -> bool {
    let (Ok(bound), Ok(environment)) = (Address::parse(bound), Address::parse(environment)) else { return false };
    bound.table == environment.table && (environment.region.is_none() || environment.region == bound.region)
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
    let header = match beginning(name, HEADER) {
        Ok(header) => header.unwrap_or_default(),
        Err(error) => {
            let found = Finding::problem(
                CHECK,
                format!("{} cannot be read: {error}", name.display()),
                "give this process's user the right to read and write it; it must be a file",
            );
            return (None, vec![found]);
        }
    };
    let id = match id_of(name) {
        Ok(None) => None,
        Ok(Some(bytes)) => Some(identity::parse(bytes).map_err(seawall::Error::damaged_id)),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            let text =
                format!("{} is too long: with -seawall behind it, it is to be the folder's name", name.display());
            return (None, vec![Finding::problem(CHECK, text, "choose a shorter name")]);
        }
        Err(error) => Some(Err(seawall::Error::CannotOpen(format!("NAME-seawall/id: {error}")))),
    };
    let why_not = if id.is_none() { not_adoptable(name) } else { None };
    let there = match (state_of(&header), &id) {
        (NameState::Other, None) => Finding::problem(CHECK, "it is no SQLite database", "name another file"),
        (_, None) if why_not.is_some() => Finding::problem(CHECK, why_not.unwrap_or_default(), AS_IT_SAYS),
        (NameState::Empty, None) => Finding::good(CHECK, "nothing is there yet: the first to open it makes it"),
        (NameState::Plain, None) => {
            Finding::good(CHECK, "a plain SQLite file: the first to open it adopts it where it lies")
        }
        (NameState::Protected, None) => {
            Finding::note(CHECK, "an adoption is under way, or was cut short: the first to open it finishes it")
        }
        (NameState::Protected, Some(Ok(identity))) => {
            Finding::good(CHECK, format!("Seawall's database {}", identity.database))
        }
        (_, Some(Err(error))) => Finding::problem(CHECK, error.to_string(), AS_IT_SAYS),
        (NameState::Empty | NameState::Plain | NameState::Other, Some(Ok(_))) => Finding::problem(
            CHECK,
            "it was removed or overwritten from outside; all that was committed is in NAME-seawall",
            "put the marked copy back from a backup of NAME, of any age; or seawall.remove(NAME), to start afresh",
        ),
    };
    (id.and_then(Result::ok), vec![there])
}

/// Why NAME, which has no `id`, is not adopted by being opened.
fn not_adoptable(name: &Path) -> Option<String> {
    let storage = OsStorage::new(name, &std::env::temp_dir()).ok()?;
    seawall::may_be_adopted(name, &storage).err().map(|error| error.to_string())
}

/// How a file begins; `None`, if it is not there. Nothing else is opened: a pipe would be waited for, a device might act.
fn beginning(path: &Path, length: usize) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found if !found.as_ref().is_ok_and(std::fs::Metadata::is_file) => {
            return Err(found.err().unwrap_or_else(|| io::Error::other("it is no file")));
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(length as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// What `id` has, read as the engine reads it: through no link.
fn id_of(name: &Path) -> io::Result<Option<Vec<u8>>> {
    let storage = OsStorage::new(name, &std::env::temp_dir())?;
    match storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_the_table_is_reached_and_never_which_it_is() {
        let bound = "dynamodb://locks?region=eu-west-1";
        let after = |environment: &str| settled(Some(bound.into()), Some(environment.into()));
        for reached in ["dynamodb://locks?endpoint=http://x", "dynamodb://locks?region=eu-west-1&endpoint=http://x"] {
            assert_eq!(after(reached), reached);
        }
        for other in ["dynamodb://others?endpoint=http://x", "dynamodb://locks?region=us-east-1", "fs:", "nonsense"] {
            assert_eq!(after(other), bound);
        }
        assert_eq!(settled(Some("fs:".into()), Some(bound.into())), "fs:");
        assert_eq!(settled(None, Some(bound.into())), bound);
        assert_eq!(settled(None, None), "fs:");
    }
}
