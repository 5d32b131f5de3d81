//! `high`: a lazy note of the newest commit that a writer saw acknowledged.
//!
//! A hint for cold opens, and a witness: a head that is older than it was set back. It can be old, never wrong: it is
//! written only after an acknowledgement. It says whose it is: a note of another database says nothing.

use crate::format::codec::Malformed;
use crate::format::head::{Head, checksum};
use crate::format::ids::{CommitId, DatabaseId, Epoch, Version, parse_number};
use std::fmt;
use std::str::FromStr;

/// The note has this length, so that a newer one always covers an older one whole.
pub const LENGTH: usize = 192;

/// The newest acknowledged commit, as far as it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct High {
    /// The database's id.
    pub database: DatabaseId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its version.
    pub version: Version,
    /// Its id.
    pub commit: CommitId,
}

impl High {
    /// The note of `head`.
    pub fn of(head: &Head) -> High {
        High { database: head.database, epoch: head.epoch, version: head.version, commit: head.commit.id }
    }
}

impl fmt::Display for High {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let High { database, epoch, version, commit } = self;
        let text = format!("seawall1 high database={database} epoch={} version={} commit={commit}", epoch.0, version.0);
        let line = format!("{text} sum={}", checksum(&text));
        writeln!(f, "{line:<width$}", width = LENGTH - 1)
    }
}

impl FromStr for High {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<High, Malformed> {
        let malformed = || Malformed("the note of the newest commit is malformed");
        let (body, _) = text.rsplit_once(" sum=").ok_or_else(malformed)?;
        let mut fields = body.strip_prefix("seawall1 high ").ok_or_else(malformed)?.split(' ');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or_else(malformed);
        let database = field("database=")?.parse().map_err(|_| malformed())?;
        let epoch = Epoch(parse_number(field("epoch=")?).ok_or_else(malformed)?);
        let version = Version(parse_number(field("version=")?).ok_or_else(malformed)?);
        let commit = field("commit=")?.parse().map_err(|_| malformed())?;
        let high = High { database, epoch, version, commit };
        // One spelling only: what is read must be what would be written, its checksum included.
        if high.to_string() == text { Ok(high) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_has_one_length() {
        for version in [Version(0), Version::MAX] {
            let (database, commit) = (DatabaseId([255; 16]), CommitId([255; 16]));
            let high = High { database, epoch: Epoch(u64::MAX), version, commit };
            let text = high.to_string();
            assert_eq!(text.len(), LENGTH);
            assert_eq!(text.parse(), Ok(high));
            assert!(text.replace("version=", "version=1").parse::<High>().is_err());
            assert!(text.trim_end().parse::<High>().is_err(), "it has one spelling");
        }
    }
}
