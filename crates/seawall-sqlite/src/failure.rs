//! From the engine's errors to SQLite's codes, and where their texts are kept.
//!
//! SQLite passes on the code of a VFS's error and drops its text. Therefore the last failure is kept for the
//! connection, and for the thread as well, because a failed open leaves no connection behind.

use crate::abi;
use seawall::format::ids::CommitId;
use seawall::{Error, ErrorKind, Shown};
use std::cell::RefCell;
use std::ffi::c_int;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// SQLite's (extended) code for each kind of error, by the table in `docs/design.md`.
pub fn code_of(kind: ErrorKind) -> c_int {
    match kind {
        ErrorKind::Busy => abi::BUSY,
        ErrorKind::StaleSnapshot | ErrorKind::Superseded => abi::BUSY_SNAPSHOT,
        ErrorKind::Unreachable => abi::IOERR_LOCK,
        ErrorKind::OutcomeUnknown => abi::IOERR_COMMIT_ATOMIC,
        ErrorKind::SnapshotTooOld => abi::IOERR_READ,
        ErrorKind::Corrupt => abi::CORRUPT,
        ErrorKind::Full => abi::FULL,
        ErrorKind::CannotOpen | ErrorKind::NoDatabase | ErrorKind::NeedsRecovery => abi::CANTOPEN,
        ErrorKind::NotADatabase => abi::NOTADB,
        ErrorKind::Permission => abi::PERM,
        ErrorKind::ReadOnly => abi::READONLY,
        ErrorKind::Io => abi::IOERR,
    }
}

/// Why a call of SQLite failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SQLite's extended code.
    pub code: c_int,
    /// The engine's kind of error; `None` where the VFS itself refused.
    pub kind: Option<ErrorKind>,
    /// The commit whose outcome is unknown, if there is one.
    pub commit: Option<CommitId>,
    /// What happened, what was kept, what to do.
    pub text: String,
}

impl Failure {
    /// A failure that the VFS itself reports.
    pub(crate) fn refusal(code: c_int, text: impl Into<String>) -> Failure {
        Failure { code, kind: None, commit: None, text: Shown::message(text.into()).into() }
    }

    /// The same failure with the code that xWrite must return. The transaction is lost, and only these codes make
    /// SQLite roll back all of it.
    pub(crate) fn of_write(self) -> Failure {
        let code = if self.code == abi::FULL { abi::FULL } else { abi::IOERR_WRITE };
        Failure { code, ..self }
    }

    /// The same failure with the code that COMMIT must return. After a plain BUSY SQLite would keep the transaction
    /// open, and a second COMMIT would commit nothing and report success.
    pub(crate) fn of_commit(self) -> Failure {
        let code = if self.is_busy() { abi::BUSY_SNAPSHOT } else { self.code };
        Failure { code, ..self }
    }

    /// Whether SQLite may try again.
    pub(crate) fn is_busy(&self) -> bool {
        self.code & 0xff == abi::BUSY
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let commit = match &error {
            Error::OutcomeUnknown { commit, .. } | Error::OutcomeUnknowable { commit, .. } => Some(*commit),
            _ => None,
        };
        Failure { code: code_of(error.kind()), kind: Some(error.kind()), commit, text: error.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Takes the last failure of a SQLite call on this thread, unless a later call on a Seawall database succeeded.
pub fn take_failure() -> Option<Failure> {
    replace(None)
}

/// Keeps `failure` for [`take_failure`].
pub(crate) fn keep(failure: Failure) {
    replace(Some(failure));
}

/// Drops the failure that is kept for this thread. A later call succeeded, therefore the text explains no error any
/// more.
pub(crate) fn forget() {
    replace(None);
}

fn replace(failure: Option<Failure>) -> Option<Failure> {
    // A connection may be closed while its thread ends. Then no later call can ask for the failure.
    LAST.try_with(|last| last.replace(failure)).ok().flatten()
}

/// Runs the body of a callback. A panic must not unwind into SQLite. Therefore the callback returns `otherwise` then,
/// and the message of the panic becomes the text of the failure.
pub(crate) fn guard(otherwise: c_int, body: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let cause = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let text = format!(
            "an error inside Seawall: {cause}. Check whether the transaction was committed before you repeat it, and \
             please report this error"
        );
        keep(Failure::refusal(otherwise, text));
        otherwise
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall::Version;
    use std::io;
    use std::time::Duration;

    #[test]
    fn every_row_of_the_table() {
        let commit = CommitId([7; 16]);
        let version = Version(5);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let rows = [
            (Error::Busy { holder: "h".into(), waited: Duration::ZERO }, 5, "lease"),
            (Error::StaleSnapshot { mine: version, newest: version.next() }, 517, "BEGIN IMMEDIATE"),
            (Error::Superseded { version }, 517, "Nothing was written: try again"),
            (Error::Unreachable { cause: "c".into() }, 3850, "Nothing was written"),
            (Error::OutcomeUnknown { commit, version, cause: "c".into() }, 7690, "07070707"),
            (Error::OutcomeUnknowable { commit, version, cause: "c".into() }, 7690, "can no longer be determined"),
            (Error::SnapshotTooOld { version, age: Duration::ZERO }, 266, "keep history for longer"),
            (Error::Corrupt { what: "w".into(), why: "y".into() }, 11, "seawall verify"),
            (Error::io("w", full), 13, "Nothing was written"),
            (Error::CannotOpen("the way out".into()), 14, "the way out"),
            (Error::NotADatabase("not touched".into()), 26, "not touched"),
            (Error::io("w", denied), 3, "permission"),
            (Error::ReadOnly("r".into()), 8, "Nothing was written"),
            (Error::io("w", io::Error::other("o")), 10, "Nothing was written"),
        ];
        for (error, code, words) in rows {
            let kind = error.kind();
            let failure = Failure::from(error);
            assert_eq!((failure.code, failure.kind), (code, Some(kind)));
            assert!(failure.text.contains(words), "{kind:?} does not say {words:?}: {}", failure.text);
            assert_eq!(failure.commit.is_some(), kind == ErrorKind::OutcomeUnknown);
        }
    }

    #[test]
    fn writes_and_commits_fail_so_that_sqlite_rolls_all_back() {
        assert_eq!(Failure::refusal(abi::PERM, "").of_write().code, abi::IOERR_WRITE);
        assert_eq!(Failure::refusal(abi::FULL, "").of_write().code, abi::FULL);
        assert_eq!(Failure::refusal(abi::BUSY, "").of_commit().code, abi::BUSY_SNAPSHOT);
        assert_eq!(Failure::refusal(abi::FULL, "").of_commit().code, abi::FULL);
    }

    #[test]
    fn a_failure_is_reported_once() {
        keep(Failure::refusal(abi::IOERR, "x"));
        assert_eq!(take_failure().map(|failure| failure.code), Some(abi::IOERR));
        assert_eq!(take_failure(), None);
        keep(Failure::refusal(abi::IOERR, "x"));
        forget();
        assert_eq!(take_failure(), None);
    }
}
