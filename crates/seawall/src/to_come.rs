//! Commands that errors name as the way out. Where one is not built yet, its text says so.

use std::fmt;

/// A way out, as a person types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToCome(&'static str);

impl ToCome {
    /// Makes a new head from the files.
    pub const RECOVER: ToCome = ToCome("seawall recover NAME");
    /// Makes a copied folder a database of its own.
    pub const ADOPT_NEW_ID: ToCome = ToCome("seawall.adopt(NAME, new_id=True), in Python");
    /// Checks the whole database.
    pub const VERIFY: ToCome = ToCome("seawall verify NAME");
    /// Makes a database from the copy at NAME alone.
    pub const ADOPT: ToCome = ToCome("seawall.adopt(NAME), in Python");
    /// Gives a database another coordinator.
    pub const MOVE: ToCome = ToCome("seawall move (not built yet)");
    /// Makes a file the newest version.
    pub const RESTORE: ToCome = ToCome("seawall restore NAME --from FILE");
    /// Writes NAME again.
    pub const SNAPSHOT: ToCome = ToCome("seawall snapshot NAME --refresh");
}

impl fmt::Display for ToCome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What recovering does first.
pub(crate) const SAYS_FIRST: &str =
    "It says first what it would keep and what would be lost, and changes nothing without --yes";
