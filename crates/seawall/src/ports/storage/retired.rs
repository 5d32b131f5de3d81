//! `commits/` taken away by a recovery, and made again.

use super::os::OsStorage;
use super::remains::{gone, or_none};
use super::safely::{Folder, Use, name_of};
use super::{File, Span, Storage};
use crate::format::head::MAX_TEXT;
use crate::format::ids::{Token, Version, parse_number};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;

const COMMITS: &str = "commits";
/// In front of the name that `commits/` gets when it is taken away.
pub(super) const RETIRED: &str = "commits.";
/// So many records are saved of one folder, the newest: an older one proves nothing that a newer one does not.
pub(crate) const SAVED: usize = 1000;

/// Whether a folder has the name of one that was taken away, or that is about to become `commits/`.
pub(super) fn is_retired(name: &str) -> bool {
    let token = name.strip_prefix(RETIRED).map(|rest| rest.strip_prefix("new.").unwrap_or(rest));
    token.is_some_and(|token| token.parse::<Token>().is_ok())
}

impl OsStorage {
    pub(super) fn retired_records(&self) -> io::Result<Vec<String>> {
        let database = self.database()?.again(Use::List)?;
        let mut records = Vec::new();
        for name in database.names()? {
            let name = name.to_string_lossy().into_owned();
            if name == COMMITS || is_retired(&name) {
                let Some(folder) = or_none(database.folder(name.as_ref(), Use::List))? else { continue };
                records.extend(newest_records(&folder)?);
            } else if let Some(file @ File::Records(_)) = super::Listed::Folder.file(&name) {
                let text = self.read(Span { file, at: 0, length: SAVED * MAX_TEXT })?;
                records.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            }
        }
        Ok(records)
    }

    pub(super) fn retire_commits(&self, token: Token) -> io::Result<()> {
        let database = self.database()?.again(Use::List)?;
        or_none(database.rename(COMMITS.as_ref(), format!("{RETIRED}{token}").as_ref()))?;
        database.sync()?;
        self.forget_commits();
        for name in database.names()? {
            let name = name_of(name.to_bytes());
            if !is_retired(&name.to_string_lossy()) {
                continue;
            }
            while let Some(folder) = or_none(database.folder(name, Use::List))? {
                self.empty(&folder)?;
                match database.remove_folder(name) {
                    // Something was named meanwhile, by a request that came late.
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    removed => {
                        gone(removed)?;
                        break;
                    }
                }
            }
        }
        database.sync()
    }

    /// Saves the records of a folder, and then removes its names.
    fn empty(&self, folder: &Folder) -> io::Result<()> {
        let records = newest_records(folder)?;
        if !records.is_empty() {
            let mut token = [0; 8];
            self.random(&mut token)?;
            let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
            self.replace(File::Records(Token(token)), lines.as_bytes())?;
        }
        for name in folder.again(Use::List)?.names()? {
            gone(folder.unlink(name_of(name.to_bytes())))?;
        }
        folder.sync()
    }

    pub(super) fn reinstate_commits(&self, token: Token, records: &[(Version, String)]) -> io::Result<bool> {
        let database = self.database()?.again(Use::List)?;
        let draft = format!("{RETIRED}new.{token}");
        let draft: &OsStr = draft.as_ref();
        let rights = self.rights()?;
        database.make_folder(draft, Some(&rights))?;
        let folder = database.folder(draft, Use::List)?;
        for (version, record) in records {
            match rustix::fs::symlinkat(record, folder.fd(), version.0.to_string()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        folder.sync()?;
        let named = match database.rename(draft, COMMITS.as_ref()) {
            Ok(()) => true,
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty || error.kind() == io::ErrorKind::AlreadyExists =>
            {
                // What is left of the draft goes with the next recovery, or with the database.
                let _ = records.iter().try_for_each(|(version, _)| folder.unlink(version.0.to_string().as_ref()));
                let _ = database.remove_folder(draft);
                false
            }
            Err(error) => return Err(error),
        };
        database.sync()?;
        self.forget_commits();
        Ok(named)
    }
}

/// The texts of the names of versions in a folder, the newest of them.
fn newest_records(folder: &Folder) -> io::Result<Vec<String>> {
    let names = folder.again(Use::List)?.names()?;
    let mut versions: Vec<u64> = names.iter().filter_map(|name| parse_number(name.to_str().ok()?)).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let mut records = Vec::new();
    for version in versions.into_iter().take(SAVED) {
        match rustix::fs::readlinkat(folder.fd(), version.to_string(), Vec::with_capacity(MAX_TEXT)) {
            Ok(target) => records.extend(target.into_string().ok().filter(|text| !text.contains('\n'))),
            Err(Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}
