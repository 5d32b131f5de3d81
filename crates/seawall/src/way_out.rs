//! Ways out: the commands that several errors name, as a person types them, so that they are spelled the same everywhere.

use std::fmt;

/// A way out, as a person types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayOut(&'static str);

impl WayOut {
    /// Makes a new head from the files.
    pub const RECOVER: WayOut = WayOut("seawall recover NAME");
    /// Makes a copied folder a database of its own.
    pub const ADOPT_NEW_ID: WayOut = WayOut("seawall adopt NAME --new-id");
    /// Checks the whole database.
    pub const VERIFY: WayOut = WayOut("seawall verify NAME");
    /// Makes a database from the copy at NAME alone.
    pub const ADOPT: WayOut = WayOut("seawall adopt NAME");
    /// Gives a database another coordinator.
    pub const MOVE: WayOut = WayOut("seawall move NAME --to");
    /// Leaves Seawall, or finishes that.
    pub const DETACH: WayOut = WayOut("seawall detach NAME --yes");
    /// Makes a file the newest version.
    pub const RESTORE: WayOut = WayOut("seawall restore NAME --from FILE");
    /// Writes NAME again.
    pub const SNAPSHOT: WayOut = WayOut("seawall snapshot NAME --refresh");
}

impl fmt::Display for WayOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What recovering does first.
pub(crate) const SAYS_FIRST: &str =
    "It says first what it would keep and what would be lost, and changes nothing without --yes";
