//! The exit codes: one for each cause that a script must tell apart. `docs/command-line.md` has the table.

use seawall::ErrorKind;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Good = 0,
    /// A problem was found, or the command failed in a way that has no code of its own.
    Problem = 1,
    /// The command line itself is wrong.
    Usage = 2,
    /// A part was done: run the command again.
    Partly = 3,
    /// There is no Seawall database at NAME.
    NoDatabase = 10,
    /// Another writer was in the way: try again.
    Busy = 11,
    /// This user may not do that.
    Permission = 12,
    /// The database cannot be used until it is recovered.
    NeedsRecovery = 13,
}

impl Exit {
    /// The code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// The only mapping of the engine's errors to exit codes.
impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Busy | ErrorKind::StaleSnapshot | ErrorKind::Superseded => Exit::Busy,
            ErrorKind::OutcomeUnknown => Exit::Partly,
            ErrorKind::NoDatabase | ErrorKind::NotADatabase => Exit::NoDatabase,
            ErrorKind::Permission | ErrorKind::ReadOnly => Exit::Permission,
            ErrorKind::NeedsRecovery => Exit::NeedsRecovery,
            ErrorKind::Unreachable
            | ErrorKind::SnapshotTooOld
            | ErrorKind::Corrupt
            | ErrorKind::Full
            | ErrorKind::CannotOpen
            | ErrorKind::Io => Exit::Problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_that_a_script_must_tell_apart_has_its_code() {
        let code = |kind: ErrorKind| Exit::from(kind).code();
        assert_eq!([ErrorKind::Busy, ErrorKind::StaleSnapshot, ErrorKind::Superseded].map(code), [11; 3]);
        assert_eq!([ErrorKind::NoDatabase, ErrorKind::NotADatabase].map(code), [10; 2]);
        assert_eq!([ErrorKind::Permission, ErrorKind::ReadOnly].map(code), [12; 2]);
        assert_eq!([ErrorKind::NeedsRecovery, ErrorKind::OutcomeUnknown].map(code), [13, 3]);
        assert_eq!([ErrorKind::Unreachable, ErrorKind::Full, ErrorKind::CannotOpen].map(code), [1; 3]);
        assert_eq!([Exit::Good, Exit::Problem, Exit::Usage].map(Exit::code), [0, 1, 2]);
    }
}
