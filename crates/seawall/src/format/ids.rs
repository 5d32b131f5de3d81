//! The words of the design as types, so that mixing two of them up does not compile.
//!
//! Every id that can come from a file or a coordinator is parsed here, strictly: what does not have exactly
//! the expected form never becomes part of a path.

use std::fmt;
use std::str::FromStr;

/// A commit's number: 1, 2, 3 … Version 0 is the adopted file, or an empty database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// The largest version that a page map can hold (40 bits: a thousand commits a second for 34 years).
    pub const MAX: Version = Version((1 << 40) - 1);

    /// The version after this one.
    pub fn next(self) -> Version {
        assert!(self < Version::MAX, "version numbers are used up");
        Version(self.0 + 1)
    }

    /// The version before this one; `None` before version 0.
    pub fn previous(self) -> Option<Version> {
        self.0.checked_sub(1).map(Version)
    }
}

/// A number that each recovery, and each move to another coordinator, raises. Requests of an earlier epoch are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one. The last number, which no database reaches, has none.
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

/// A page's number, from 1, as SQLite counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(pub u32);

/// The bytes of a page: a power of two from 512 to 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// `bytes` as a page size, if it is one.
    pub fn new(bytes: u32) -> Option<PageSize> {
        (bytes.is_power_of_two() && (512..=65_536).contains(&bytes)).then_some(PageSize(bytes))
    }

    /// The size in bytes.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Where `page` begins in a plain SQLite file.
    pub fn offset_of(self, page: PageNo) -> u64 {
        u64::from(page.0 - 1) * u64::from(self.0)
    }

    /// The page that the byte at `offset` of a plain SQLite file is in, none beyond what SQLite can count; and the
    /// place in that page.
    pub fn place_of(self, offset: u64) -> (Option<PageNo>, usize) {
        let page = (offset / u64::from(self.0)).checked_add(1).and_then(|page| u32::try_from(page).ok());
        (page.map(PageNo), (offset % u64::from(self.0)) as usize)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let mut bytes = [0; $bytes];
                let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok($name(bytes)),
                    _ => Err(MalformedId(stringify!($name))),
                }
            }
        }
    };
}

random_id!(
    /// Names one database for ever: random, made when it is adopted or created.
    DatabaseId, 16);
random_id!(
    /// Names one attempt to commit: random, new at each commit, straight from the operating system.
    CommitId, 16);
random_id!(
    /// Names one process's writer: random, made at its first append.
    WriterId, 8);
random_id!(
    /// Names one attempt to hold the lease.
    Token, 8);
random_id!(
    /// A BLAKE3 digest: of a commit frame, hence of the chain that it ends.
    Digest, 32);

/// Text that is not an id of the kind named.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed {0}")]
pub struct MalformedId(pub(crate) &'static str);

/// Names a segment: its writer, and which one of that writer's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The writer. No other one ever writes it.
    pub writer: WriterId,
    /// Counted from 0.
    pub n: u32,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.writer, self.n)
    }
}

impl FromStr for SegmentName {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let (writer, n) = text.split_once('-').ok_or(MalformedId("SegmentName"))?;
        Ok(SegmentName { writer: writer.parse()?, n: parse_number(n).ok_or(MalformedId("SegmentName"))? })
    }
}

/// Names a base: the epoch and version that it holds, and four bytes that its maker has drawn, so that no name is ever
/// used twice: not by another checkpoint of that version, whose base may be removed late, and not by a sleeper of an
/// epoch that recovery left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseName {
    /// The epoch of the commit that it holds.
    pub epoch: Epoch,
    /// The version that it holds.
    pub version: Version,
    /// Four random bytes.
    pub id: [u8; 4],
}

impl BaseName {
    /// What only ever rises from one base of a database to the next.
    pub fn order(&self) -> (Epoch, Version) {
        (self.epoch, self.version)
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch.0, self.version.0, hex::encode(self.id))
    }
}

impl FromStr for BaseName {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let malformed = || MalformedId("BaseName");
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or_else(malformed);
        let epoch = Epoch(parse_number(part()?).ok_or_else(malformed)?);
        let version = Version(parse_number(part()?).ok_or_else(malformed)?);
        let mut id = [0; 4];
        hex::decode_to_slice(part()?, &mut id).map_err(|_| malformed())?;
        let name = BaseName { epoch, version, id };
        // One spelling only: what is read must be what would be written.
        if parts.next().is_none() && name.to_string() == text { Ok(name) } else { Err(malformed()) }
    }
}

/// Names a pin: 1 to 40 of the characters a–z, 0–9, `.`, `_` and `-`, the first a letter or a digit. So it is always a
/// safe part of a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinName {
    bytes: [u8; PinName::LONGEST],
    length: u8,
}

impl PinName {
    const LONGEST: usize = 40;

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length.into()]).expect("its characters are ASCII")
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Names that begin so are those of pins of Seawall's own work.
const OWN_PINS: [&str; 2] = ["checkpoint-", "verification-"];

impl PinName {
    /// Fails for a name that Seawall gives to the pins of its own work.
    pub fn check_person_may_use(&self) -> Result<(), String> {
        match OWN_PINS.into_iter().find(|own| self.text().starts_with(own)) {
            None => Ok(()),
            Some(own) => Err(format!(
                "the names that begin with \"{own}\" are those of Seawall's own pins, which it makes and gives up by itself. Choose another name"
            )),
        }
    }
}

impl fmt::Debug for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinName({self})")
    }
}

impl FromStr for PinName {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(is_plain);
        if !begins
            || text.len() > PinName::LONGEST
            || !text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
        {
            return Err(MalformedId("PinName"));
        }
        let mut bytes = [0; PinName::LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(PinName { bytes, length: text.len() as u8 })
    }
}

/// A decimal number in its only spelling: digits, no sign, no leading zero.
pub fn parse_number<N: FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let name = SegmentName { writer: WriterId([0xab; 8]), n: 7 };
        assert_eq!(name.to_string(), "abababababababab-7");
        assert_eq!("abababababababab-7".parse(), Ok(name));
        for wrong in ["ABABABABABABABAB-7", "abababababababab-07", "abababababababab-+7", "../etc-7", "ab-7", ""] {
            assert!(wrong.parse::<SegmentName>().is_err(), "{wrong:?} was taken");
        }
        let base = BaseName { epoch: Epoch(1), version: Version(20), id: [1, 2, 3, 4] };
        assert_eq!(base.to_string().parse(), Ok(base));
        assert_eq!("before-0.2_x".parse::<PinName>().unwrap().to_string(), "before-0.2_x");
        let person_may_use = |name: &str| name.parse::<PinName>().unwrap().check_person_may_use().is_ok();
        assert_eq!(
            ["checkpoint-1", "verification-", "checkpoint", "my-checkpoint-1"].map(person_may_use),
            [false, false, true, true]
        );
        for wrong in ["", "-x", ".x", "A", "x/y", "ä", &"x".repeat(41)] {
            assert!(wrong.parse::<PinName>().is_err(), "{wrong:?} was taken");
        }
        for wrong in ["1-20-0102030", "01-20-01020304", "1-20-01020304-", "1-20-0102030A", "1/20-01020304"] {
            assert!(wrong.parse::<BaseName>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn page_sizes_are_those_of_sqlite() {
        assert!([512, 1024, 4096, 65_536].into_iter().all(|bytes| PageSize::new(bytes).is_some()));
        assert!([0, 1, 256, 4095, 131_072].into_iter().all(|bytes| PageSize::new(bytes).is_none()));
        let size = PageSize::new(4096).unwrap();
        assert_eq!(size.offset_of(PageNo(3)), 8192);
        assert_eq!((size.place_of(8191), size.place_of(8193)), ((Some(PageNo(2)), 4095), (Some(PageNo(3)), 1)));
        assert_eq!(size.place_of(u64::MAX).0, None);
    }
}
