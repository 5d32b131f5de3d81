//! `commits/` taken away by a recovery, and made again.
//!
//! A process that has the folder open can go on in it until it is gone. Therefore
//!
//! - the names are taken away from the lowest upward: while a name is there, all later ones are, and a process that
//!   finds the version that it knows misses none;
//! - what is to become `commits/` is made before that, and is the recovery's *seal*: another recovery takes it away
//!   before it looks, and then the first one cannot finish any more.

use super::commits::look_at;
use super::os::OsStorage;
use super::remains::{gone, or_none};
use super::safely::{Folder, Use, name_of};
use super::{File, Storage};
use crate::format::head::{Head, MAX_TEXT};
use crate::format::ids::{Token, Version, parse_number};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};

const COMMITS: &str = "commits";
/// In front of the name that `commits/` gets when it is taken away.
pub(super) const RETIRED: &str = "commits.";
/// So many records are saved of one folder, the newest: an older one proves nothing that a newer one does not.
pub(crate) const SAVED: usize = 1000;

/// Whether a folder has the name of one that was taken away, or that is about to become `commits/`.
pub(crate) fn is_retired(name: &str) -> bool {
    let token = name.strip_prefix(RETIRED).map(|rest| rest.strip_prefix("new.").unwrap_or(rest));
    token.is_some_and(|token| token.parse::<Token>().is_ok())
}

/// The folder that the recovery `token` makes, which is to become `commits/`.
fn seal_of(token: Token) -> String {
    format!("{RETIRED}new.{token}")
}

impl OsStorage {
    pub(super) fn retired_records(&self) -> io::Result<Vec<String>> {
        let database = self.database()?.again(Use::List)?;
        let mut records = Vec::new();
        for name in names_in(&database)?.iter().filter(|name| *name == COMMITS || is_retired(name)) {
            let Some(folder) = or_none(database.folder(name.as_ref(), Use::List))? else { continue };
            records.extend(records_in(&folder, &numbers_in(&folder)?)?);
        }
        Ok(records)
    }

    pub(super) fn retire_commits(&self, token: Token) -> io::Result<()> {
        let database = self.database()?.again(Use::List)?;
        or_none(database.rename(COMMITS.as_ref(), format!("{RETIRED}{token}").as_ref()))?;
        let seal = seal_of(token);
        database.make_folder(seal.as_ref(), Some(&self.rights()?))?;
        database.sync()?;
        self.forget_commits();
        for name in names_in(&database)?.iter().filter(|name| is_retired(name) && **name != seal) {
            // The seal of another recovery gets another name first: otherwise it could become `commits/` while it is
            // emptied.
            let mut name = name.clone();
            if name.starts_with(&format!("{RETIRED}new.")) {
                let mut random = [0; 8];
                self.random(&mut random)?;
                let taken = format!("{RETIRED}{}", Token(random));
                if or_none(database.rename(name.as_ref(), taken.as_ref()))?.is_none() {
                    continue;
                }
                name = taken;
            }
            self.remove_retired(&database, name.as_ref())?;
        }
        database.sync()
    }

    fn remove_retired(&self, database: &Folder, name: &OsStr) -> io::Result<()> {
        while let Some(folder) = or_none(database.folder(name, Use::List))? {
            self.empty(&folder)?;
            match database.remove_folder(name) {
                // Something was named meanwhile, by a request that came late.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                removed => return gone(removed),
            }
        }
        Ok(())
    }

    /// Saves the records of a folder, and then removes their names, the lowest first.
    fn empty(&self, folder: &Folder) -> io::Result<()> {
        let numbers = numbers_in(folder)?;
        // What is no head is no evidence, and would only look like damage.
        let records: Vec<String> = records_in(folder, &numbers)?.into_iter().filter(|text| is_head(text)).collect();
        if !records.is_empty() {
            let mut token = [0; 8];
            self.random(&mut token)?;
            let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
            self.replace(File::Records(Token(token)), lines.as_bytes())?;
        }
        // What is no number was put there by somebody else, and nobody misses it.
        let names = folder.again(Use::List)?.names()?;
        let others = names.iter().map(|name| name_of(name.to_bytes())).filter(|name| !is_number(name));
        numbers.iter().try_for_each(|number| gone(folder.unlink(number.to_string().as_ref())))?;
        others.into_iter().try_for_each(|name| gone(folder.unlink(name)))?;
        folder.sync()
    }

    pub(super) fn has_seal(&self, token: Token) -> io::Result<bool> {
        let database = self.database()?.again(Use::List)?;
        if self.network {
            look_at(database.fd())?;
        }
        // Another recovery can have put its own seal in place before this one was made.
        Ok(database.look(seal_of(token).as_ref())?.is_some() && database.look(COMMITS.as_ref())?.is_none())
    }

    pub(super) fn reinstate_commits(&self, token: Token, records: &[(Version, String)]) -> io::Result<bool> {
        let database = self.database()?.again(Use::List)?;
        let seal = seal_of(token);
        let seal: &OsStr = seal.as_ref();
        let Some(folder) = or_none(database.folder(seal, Use::List))? else { return Ok(false) };
        for (version, record) in records {
            match rustix::fs::symlinkat(record, folder.fd(), version.0.to_string()) {
                Ok(()) | Err(Errno::EXIST) => {}
                // Another recovery has taken the seal away.
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        folder.sync()?;
        let named = match database.rename(seal, COMMITS.as_ref()) {
            Ok(()) => true,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => false,
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    // What is left of the seal goes with the next recovery, or with the database.
                    let _ = records.iter().try_for_each(|(version, _)| folder.unlink(version.0.to_string().as_ref()));
                    let _ = database.remove_folder(seal);
                    false
                }
                _ => return Err(error),
            },
        };
        database.sync()?;
        self.forget_commits();
        Ok(named)
    }
}

/// What two listings of a folder show: one can miss a name that is there, or that another recovery makes meanwhile.
fn names_in(folder: &Folder) -> io::Result<BTreeSet<String>> {
    let list = || folder.again(Use::List)?.names();
    Ok(list()?.into_iter().chain(list()?).map(|name| name.to_string_lossy().into_owned()).collect())
}

fn is_head(record: &str) -> bool {
    record.parse::<Head>().is_ok()
}

fn is_number(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| parse_number::<u64>(name).is_some())
}

/// The versions that a folder names, the lowest first.
fn numbers_in(folder: &Folder) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = names_in(folder)?.iter().filter_map(|name| parse_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The text of a name that is a file, as a tool leaves it that knows no links. What cannot be read is left out.
fn record_in_file(folder: &Folder, name: &str) -> Option<String> {
    let (file, _) = folder.open(name.as_ref(), OFlags::RDONLY).ok()?;
    let mut text = String::new();
    file.take(MAX_TEXT as u64).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.contains('\n'))
}

/// The texts of the newest of these names.
fn records_in(folder: &Folder, numbers: &[u64]) -> io::Result<Vec<String>> {
    let mut records = Vec::new();
    for version in numbers.iter().rev().take(SAVED) {
        match rustix::fs::readlinkat(folder.fd(), version.to_string(), Vec::with_capacity(MAX_TEXT)) {
            Ok(target) => records.extend(target.into_string().ok().filter(|text| !text.contains('\n'))),
            Err(Errno::NOENT) => {}
            Err(Errno::INVAL) => records.extend(record_in_file(folder, &version.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}
