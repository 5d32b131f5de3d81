//! What can go wrong. Each text says what happened, what was kept, and what to do.
//!
//! The design's "Errors" is the table; [`Error::kind`] is its first column. The edges (SQLite, Python, Django)
//! translate kinds, never texts. A text can contain labels, names, and what servers and systems say. These are made
//! safe where they are shown, which is here, by [`Shown`].

use crate::format::codec::{LAST_TIME, Malformed};
use crate::format::head::Floor;
use crate::format::identity::NEWER;
use crate::format::ids::{CommitId, Version};
use crate::shown::Shown;
use crate::way_out::WayOut;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened, as far as a caller must distinguish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The lease was not granted within the timeout. Nothing was written; try again.
    Busy,
    /// A transaction has read a version that is not the newest, and wanted to write; or it began under a kept lease,
    /// wrote nothing, and its version turned out not to be the newest at COMMIT. Nothing was written; begin again.
    StaleSnapshot,
    /// Another commit came first. Nothing was written; begin again.
    Superseded,
    /// The coordinator could not be asked. Nothing was written.
    Unreachable,
    /// A commit was sent, and no answer says whether it took place.
    OutcomeUnknown,
    /// A snapshot is older than history, and what it needs was garbage-collected.
    SnapshotTooOld,
    /// A checksum does not fit, or a file is missing.
    Corrupt,
    /// No space left. Nothing was written.
    Full,
    /// NAME was changed from outside, the folder was copied, the format is unknown, another coordinator: it cannot be
    /// opened, and the text has the way out.
    CannotOpen,
    /// There is no Seawall database at NAME, and none may be made.
    NoDatabase,
    /// The head or `id` is lost, damaged, or older than the files: it cannot be opened until it is recovered.
    NeedsRecovery,
    /// What lies at NAME is no SQLite database. It was not touched.
    NotADatabase,
    /// The file system says that this may not be done.
    Permission,
    /// The database was opened read-only, or lies on a read-only file system.
    ReadOnly,
    /// Any other failure of the file system. Nothing was written.
    Io,
}

/// A failure. Its text is for people: what happened, what was kept, what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// See [`ErrorKind::Busy`].
    #[error(
        "another writer holds the lease ({}); waited {waited:.1?}. Nothing was written: try again, or wait longer (timeout)",
        Shown::message(.holder)
    )]
    Busy {
        /// Who holds it, since when.
        holder: String,
        /// How long this caller waited.
        waited: Duration,
    },
    /// See [`ErrorKind::StaleSnapshot`].
    #[error("this transaction read version {} and version {} is already committed. Nothing was written: roll back and try again, or begin with BEGIN IMMEDIATE", .mine.0, .newest.0)]
    StaleSnapshot {
        /// What the transaction reads.
        mine: Version,
        /// What is committed.
        newest: Version,
    },
    /// See [`ErrorKind::Superseded`].
    #[error("this commit, which was to be version {}, was refused, because another writer took the lease or committed first. Nothing was written: try again", .version.0)]
    Superseded {
        /// The version that this commit wanted to be.
        version: Version,
    },
    /// See [`ErrorKind::Unreachable`].
    #[error("the coordinator did not answer, or could not do what it was asked: {}. Nothing was written: try again later", Shown::message(.cause))]
    Unreachable {
        /// What the coordinator's client said.
        cause: String,
    },
    /// See [`ErrorKind::OutcomeUnknown`].
    #[error("it is not known whether commit {commit} took place as version {}: {}. The next transaction of this process asks again before it does anything else. Look for the rows of this commit before you repeat it", .version.0, Shown::message(.cause))]
    OutcomeUnknown {
        /// The commit's id.
        commit: CommitId,
        /// The version that it wanted to be.
        version: Version,
        /// Why there is no answer.
        cause: String,
    },
    /// It is not known, and never will be, whether a commit took place. See [`ErrorKind::OutcomeUnknown`].
    #[error("what became of commit {commit} as version {} can no longer be determined: {}. It is in the history or it never will be; the newest version shows which, and this process goes on there. Look for its rows before you repeat it, and check the whole database: {}", .version.0, Shown::message(.cause), WayOut::VERIFY)]
    OutcomeUnknowable {
        /// The commit's id.
        commit: CommitId,
        /// The version that it wanted to be.
        version: Version,
        /// Why it will stay unknown.
        cause: String,
    },
    /// See [`ErrorKind::SnapshotTooOld`].
    #[error("this transaction's snapshot (version {}) is {age:.0?} old, and what it needs was garbage-collected. Nothing is lost: begin a new transaction. For longer ones, keep history for longer: seawall policy NAME --history 48h", .version.0)]
    SnapshotTooOld {
        /// The snapshot's version.
        version: Version,
        /// How long ago it was certainly still the newest version.
        age: Duration,
    },
    /// An older version was asked for than history has. See [`ErrorKind::SnapshotTooOld`].
    #[error("{} is older than this database's history, which reaches back to version {}, committed at {}. Nothing is lost: ask for a newer version. To keep history for longer: seawall policy NAME --history 7d; to keep one version for longer: seawall pin NAME PIN", Shown::message(.asked), .floor.version.0, time_of(.floor.time))]
    BeforeHistory {
        /// What was asked for.
        asked: String,
        /// How far history reaches back.
        floor: Floor,
    },
    /// See [`ErrorKind::Corrupt`].
    #[error(
        "{} is damaged: {}. Nothing was changed. Run {}: it names everything that is damaged, and what to do",
        Shown::message(.what), Shown::message(.why), WayOut::VERIFY
    )]
    Corrupt {
        /// Which file, and where in it.
        what: String,
        /// What does not fit.
        why: String,
    },
    /// A small record is damaged that a person can do without. See [`ErrorKind::Corrupt`].
    #[error("{} is damaged: {}. Nothing was deleted. {remedy}", Shown::message(.what), Shown::message(.why))]
    CorruptRecord {
        /// Which file.
        what: String,
        /// What does not fit.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// See [`ErrorKind::Full`].
    #[error("no space left: {}. Nothing was written; what was committed before is kept", Shown::message(.0))]
    Full(String),
    /// See [`ErrorKind::CannotOpen`].
    #[error("{}", Shown::message(.0))]
    CannotOpen(String),
    /// See [`ErrorKind::NoDatabase`].
    #[error("{}", Shown::message(.0))]
    NoDatabase(String),
    /// See [`ErrorKind::NeedsRecovery`].
    #[error("{}", Shown::message(.0))]
    NeedsRecovery(String),
    /// See [`ErrorKind::NotADatabase`].
    #[error("{}", Shown::message(.0))]
    NotADatabase(String),
    /// See [`ErrorKind::Permission`].
    #[error("no permission: {}. Nothing was written; let this user read and write the database and its folder", Shown::message(.0))]
    Permission(String),
    /// See [`ErrorKind::ReadOnly`].
    #[error("{}. Nothing was written", Shown::message(.0))]
    ReadOnly(String),
    /// See [`ErrorKind::Io`].
    #[error("{}: {}. Nothing was written; what was committed before is kept", Shown::message(.what), Shown::message(.cause))]
    Io {
        /// What was being done.
        what: String,
        /// What the operating system said.
        cause: Arc<io::Error>,
    },
}

/// What is found under one of our names can never be used as it is; the text says what it is, and what to do.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

impl Error {
    /// Which row of the design's table this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Busy { .. } => ErrorKind::Busy,
            Error::StaleSnapshot { .. } => ErrorKind::StaleSnapshot,
            Error::Superseded { .. } => ErrorKind::Superseded,
            Error::Unreachable { .. } => ErrorKind::Unreachable,
            Error::OutcomeUnknown { .. } | Error::OutcomeUnknowable { .. } => ErrorKind::OutcomeUnknown,
            Error::SnapshotTooOld { .. } | Error::BeforeHistory { .. } => ErrorKind::SnapshotTooOld,
            Error::Corrupt { .. } | Error::CorruptRecord { .. } => ErrorKind::Corrupt,
            Error::Full(_) => ErrorKind::Full,
            Error::CannotOpen(_) => ErrorKind::CannotOpen,
            Error::NoDatabase(_) => ErrorKind::NoDatabase,
            Error::NeedsRecovery(_) => ErrorKind::NeedsRecovery,
            Error::NotADatabase(_) => ErrorKind::NotADatabase,
            Error::Permission(_) => ErrorKind::Permission,
            Error::ReadOnly(_) => ErrorKind::ReadOnly,
            Error::Io { .. } => ErrorKind::Io,
        }
    }

    /// An operating system's error while doing `what`, as the row of the table that it is.
    pub fn io(what: impl Into<String>, cause: io::Error) -> Error {
        let what = what.into();
        if cause.get_ref().is_some_and(|inner| inner.is::<Unusable>()) {
            return Error::CannotOpen(format!("{what}: {cause}. Nothing was changed"));
        }
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::Full(format!("{what}: {cause}"))
            }
            io::ErrorKind::PermissionDenied => Error::Permission(format!("{what}: {cause}")),
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly(format!("{what}: {cause}")),
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                Error::CannotOpen(format!("{what}: {cause}. Nothing was changed"))
            }
            io::ErrorKind::InvalidFilename => Error::CannotOpen(format!(
                "{what}: {cause}. The folder of a database has its name and \"-seawall\" behind it, which is too long here. Choose a shorter \
                 name. Nothing was changed"
            )),
            _ => Error::Io { what, cause: Arc::new(cause) },
        }
    }

    /// `id` cannot be used, for this reason; with the way out.
    pub fn damaged_id(why: Malformed) -> Error {
        if why.0.ends_with(NEWER) {
            return Error::CannotOpen(format!("NAME-seawall/id cannot be used: {why}. Nothing was changed"));
        }
        Error::NeedsRecovery(format!(
            "NAME-seawall/id cannot be used: {why}. Nothing was changed, and the data is in the files. If you have a backup of id, write its \
             content into the file that is there: a new file would count as a copy. Otherwise run {} --coordinator URL, which makes id again",
            WayOut::RECOVER
        ))
    }

    /// A damaged record that a person can do without, what does not fit, and what to do.
    pub(crate) fn corrupt_record(
        what: impl std::fmt::Display,
        why: impl std::fmt::Display,
        remedy: &'static str,
    ) -> Error {
        Error::CorruptRecord { what: what.to_string(), why: why.to_string(), remedy }
    }

    /// A damaged file, and what does not fit.
    pub(crate) fn corrupt(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
        Error::Corrupt { what: what.to_string(), why: why.to_string() }
    }
}

/// A commit's time, in milliseconds since 1970, for people.
pub(crate) fn time_of(millis: u64) -> String {
    // humantime knows no year after 9999, and a forged frame may name one.
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(millis.min(LAST_TIME))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of each variant, with `foreign` wherever a text may have come from outside. One that is not listed does
    /// not compile.
    fn of_every_variant(foreign: &str) -> Vec<Error> {
        let text = || foreign.to_owned();
        let (commit, version, zero) = (CommitId([7; 16]), Version(5), Duration::ZERO);
        let mut errors = vec![Error::Superseded { version }];
        loop {
            errors.push(match errors.last().expect("there is one") {
                Error::Superseded { .. } => Error::StaleSnapshot { mine: version, newest: version },
                Error::StaleSnapshot { .. } => Error::SnapshotTooOld { version, age: zero },
                Error::SnapshotTooOld { .. } => Error::BeforeHistory { asked: text(), floor: Floor::default() },
                Error::BeforeHistory { .. } => Error::Busy { holder: text(), waited: zero },
                Error::Busy { .. } => Error::Unreachable { cause: text() },
                Error::Unreachable { .. } => Error::OutcomeUnknown { commit, version, cause: text() },
                Error::OutcomeUnknown { .. } => Error::OutcomeUnknowable { commit, version, cause: text() },
                Error::OutcomeUnknowable { .. } => Error::Corrupt { what: text(), why: text() },
                Error::Corrupt { .. } => Error::CorruptRecord { what: text(), why: text(), remedy: "Remove it" },
                Error::CorruptRecord { .. } => Error::Full(text()),
                Error::Full(_) => Error::CannotOpen(text()),
                Error::CannotOpen(_) => Error::NoDatabase(text()),
                Error::NoDatabase(_) => Error::NeedsRecovery(text()),
                Error::NeedsRecovery(_) => Error::NotADatabase(text()),
                Error::NotADatabase(_) => Error::Permission(text()),
                Error::Permission(_) => Error::ReadOnly(text()),
                Error::ReadOnly(_) => Error::Io { what: text(), cause: Arc::new(io::Error::other(text())) },
                Error::Io { .. } => return errors,
            });
        }
    }

    #[test]
    fn no_error_shows_what_commands_a_terminal_or_a_password_and_none_is_endless() {
        let foreign = format!("a\u{1b}[31m\nb\u{202e} http://u:pass@h {}", "x".repeat(390_000));
        for error in of_every_variant(&foreign) {
            let text = error.to_string();
            let is_safe = text.len() < 5000 && !text.contains(['\u{1b}', '\n', '\u{202e}']) && !text.contains("pass");
            assert!(is_safe, "{:?}: {text}", error.kind());
        }
    }
}
