//! Commands that errors will name as the way out, and that are not built yet: each error says so, and what works today.

use std::fmt;

/// A command of the command line that is not built yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToCome(&'static str);

impl ToCome {
    /// Makes a new head from the files.
    pub const RECOVER: ToCome = ToCome("recover");
    /// Makes a copied folder a database of its own.
    pub const RECOVER_NEW_ID: ToCome = ToCome("recover --new-id");
    /// Checks the whole database.
    pub const VERIFY: ToCome = ToCome("verify");
    /// Makes a database from the copy at NAME alone.
    pub const ADOPT: ToCome = ToCome("adopt");
    /// Gives a database another coordinator.
    pub const MOVE: ToCome = ToCome("move");
    /// Makes a file the newest version.
    pub const RESTORE: ToCome = ToCome("restore --from FILE");
    /// Writes NAME again.
    pub const SNAPSHOT: ToCome = ToCome("snapshot --refresh");
}

impl fmt::Display for ToCome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seawall {} (not built yet)", self.0)
    }
}

/// What works today where the files and the head do not belong together any more.
pub(crate) const FROM_A_COPY: &str = "What works today: move NAME and NAME-seawall aside together, keep them, and put a copy at NAME that seawall.copy made; \
                                      the next opening adopts it";
