//! What lies at NAME, and what its folder says about it.

use crate::finding::Finding;
use crate::{coordinators, target};
use seawall::format::identity::{self, Identity};
use seawall::format::sqlite_header::{HEADER, NameState, is_cut_short, state_of};
use seawall::ports::storage::{File, Span, Storage, os::OsStorage};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What lies at NAME, and what its folder says. `coordinator` is the one that was asked for.
pub(crate) fn examine(name: &Path, coordinator: Option<&str>) -> (Option<Identity>, Vec<Finding>) {
    const CHECK: &str = "NAME";
    let (header, size) = match beginning(name, HEADER) {
        Ok(header) => header.unwrap_or_default(),
        Err(error) => {
            let found = Finding::problem(
                CHECK,
                format!("{} cannot be read: {error}", name.display()),
                "give this process's user the right to read and write it. It must be a regular file",
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
                format!("{} is too long, because the folder's name is NAME with -seawall behind it", name.display());
            return (None, vec![Finding::problem(CHECK, text, "choose a shorter name")]);
        }
        Err(error) => Some(Err(seawall::Error::CannotOpen(format!("NAME-seawall/id: {error}")))),
    };
    let why_not = if id.is_none() { not_adoptable(name) } else { None };
    let there = match (state_of(&header), &id) {
        (NameState::Other, None) => Finding::problem(CHECK, "it is not a SQLite database", "name another file"),
        (_, None) if why_not.is_some() => Finding::refusal(CHECK, why_not.unwrap_or_default()),
        (NameState::Empty, None) => Finding::good(CHECK, "nothing is there yet; its first use creates it"),
        (NameState::Plain, None) => Finding::good(CHECK, "a plain SQLite file; its first use adopts it where it is"),
        (NameState::Protected, None) => {
            Finding::note(CHECK, "an adoption is under way or was cut short; the next use finishes it")
        }
        (NameState::Protected, Some(Ok(identity))) => match is_cut_short(&header, size) {
            None => Finding::good(CHECK, format!("Seawall's database {}", identity.database)),
            Some(why) => Finding::problem(
                CHECK,
                format!("it was cut short, which only stock SQLite's readers notice: {why}"),
                format!(
                    "run seawall snapshot {} --refresh, which writes it again from what was committed",
                    name.display()
                ),
            ),
        },
        (_, Some(Err(error))) => Finding::refusal(CHECK, error),
        (NameState::Empty | NameState::Plain | NameState::Other, Some(Ok(identity))) => {
            // A detaching puts another file at NAME as well. Only the head says whether one was begun.
            let url = coordinator.map_or_else(|| identity.coordinator.clone(), str::to_owned);
            match target::open(name, coordinators::by_default(Some(url))) {
                Err(error @ seawall::Error::NeedsRecovery(_)) => Finding::refusal(CHECK, error),
                _ => Finding::problem(
                    CHECK,
                    "another program removed or overwrote it; everything that was committed is in NAME-seawall",
                    format!(
                        "run seawall snapshot {name} --refresh, which writes it again; or seawall restore {name} --from FILE, to take a \
                         file as the newest version; or call seawall.remove(NAME), to start afresh",
                        name = name.display()
                    ),
                ),
            }
        }
    };
    (id.and_then(Result::ok), vec![there])
}

/// What its `id` says, if that can be read.
pub(crate) fn identity(name: &Path) -> Option<Identity> {
    identity::parse(id_of(name).ok()??).ok()
}

/// Whether this is one of SQLite's URIs, or a database in memory, and no path.
pub(crate) fn is_uri(name: &Path) -> bool {
    let text = name.to_string_lossy();
    (text.starts_with("file:") || text == ":memory:") && !absolute(name).exists()
}

/// NAME as the engine uses it: absolute, and with links resolved. If it does not exist or cannot be reached, it is as
/// the user gave it.
pub(crate) fn whole(name: &Path) -> PathBuf {
    let absolute = absolute(name);
    let of_parent = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    absolute.canonicalize().ok().or_else(of_parent).unwrap_or_else(|| absolute.clone())
}

fn absolute(name: &Path) -> PathBuf {
    std::path::absolute(name).unwrap_or_else(|_| name.to_owned())
}

/// Why opening NAME, which has no `id`, does not adopt it.
fn not_adoptable(name: &Path) -> Option<String> {
    let storage = OsStorage::new(name).ok()?;
    seawall::may_be_adopted(name, &storage).err().map(|error| error.to_string())
}

/// The first bytes of a file and how many it has, or `None` if it does not exist. Only files are opened, because opening a pipe can block
/// and opening a device can have effects.
fn beginning(path: &Path, length: usize) -> io::Result<Option<(Vec<u8>, u64)>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found if !found.as_ref().is_ok_and(std::fs::Metadata::is_file) => {
            return Err(found.err().unwrap_or_else(|| io::Error::other("it is not a file")));
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(Some((bytes, size)))
}

/// The content of `id`, read as the engine reads it, which follows no link.
fn id_of(name: &Path) -> io::Result<Option<Vec<u8>>> {
    let storage = OsStorage::new(name)?;
    match storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
