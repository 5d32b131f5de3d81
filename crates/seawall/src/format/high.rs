//! `high`: a lazy note of the newest commit that a writer saw acknowledged.
//!
//! A hint for cold opens, and a witness: a head that is older than it was set back. It can be old, never wrong: it is
//! written only after an acknowledgement. It says whose it is: a note of another database says nothing. And it says
//! which file the version's name was, because a number that was garbage-collected can be named again.

use crate::format::codec::Malformed;
use crate::format::head::{Head, checksum};
use crate::format::ids::{CommitId, DatabaseId, Epoch, Version, parse_number};
use std::fmt;
use std::str::FromStr;

/// The note has this length, so that a newer one always covers an older one whole.
pub const LENGTH: usize = 256;

/// Which file the name of a version is, with the coordinator `fs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its inode number.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970 by the file server's clock.
    pub changed: u64,
}

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
    /// Which file its name is, as far as that is known.
    pub named: Option<Named>,
}

impl High {
    /// The note of `head`, whose name is `named`.
    pub fn of(head: &Head, named: Option<Named>) -> High {
        High { database: head.database, epoch: head.epoch, version: head.version, commit: head.commit().id, named }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.inode, self.changed)
    }
}

impl FromStr for Named {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Named, Malformed> {
        let parse = || {
            let (inode, changed) = text.split_once(':')?;
            Some(Named { inode: parse_number(inode)?, changed: parse_number(changed)? })
        };
        parse().ok_or(Malformed("it does not say which file a name is"))
    }
}

impl fmt::Display for High {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let High { database, epoch, version, commit, named } = self;
        let named = named.map_or_else(|| "-".to_owned(), |named| named.to_string());
        let (epoch, version) = (epoch.0, version.0);
        let text =
            format!("seawall1 high database={database} epoch={epoch} version={version} commit={commit} named={named}");
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
        let named = match field("named=")? {
            "-" => None,
            named => Some(named.parse()?),
        };
        let high = High { database, epoch, version, commit, named };
        // One spelling only: what is read must be what would be written, its checksum included.
        if high.to_string() == text { Ok(high) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_has_one_length() {
        let longest = Named { inode: u64::MAX, changed: u64::MAX };
        for (version, named) in [(Version(0), None), (Version::MAX, Some(longest))] {
            let (database, commit) = (DatabaseId([255; 16]), CommitId([255; 16]));
            let high = High { database, epoch: Epoch(u64::MAX), version, commit, named };
            let text = high.to_string();
            assert_eq!(text.len(), LENGTH);
            assert_eq!(text.parse(), Ok(high));
            assert!(text.replace("version=", "version=1").parse::<High>().is_err());
            assert!(text.trim_end().parse::<High>().is_err(), "it has one spelling");
        }
    }
}
