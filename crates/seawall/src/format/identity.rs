//! `id`: what a database's folder is. Only a move replaces it. The database's home is made of its inode number and that of
//! the folder.

use crate::format::codec::Malformed;
use crate::format::head::checksum;
use crate::format::ids::{DatabaseId, parse_number};
use std::fmt;
use std::str::FromStr;

/// No `id` is longer.
pub const MAX_LENGTH: usize = 4096;

/// Whether `url` is how `id` names a coordinator: `SCHEME:`, as in `fs:`, or `SCHEME://TABLE?region=REGION`, and
/// nothing else. Everybody who can write the folder can write `id`, so it must never say where requests go: they are
/// signed, and carry the session's token. An endpoint comes from settings, from the environment, or as an argument.
pub fn is_canonical(url: &str) -> bool {
    let consists_of = |text: &str, longest: usize, others: &str| {
        let may_be = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        (1..=longest).contains(&text.len()) && text.chars().all(may_be)
    };
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    let names_table = || {
        let (table, region) = rest.strip_prefix("//")?.split_once("?region=")?;
        Some(consists_of(table, 255, "_-.") && consists_of(region, 63, "-"))
    };
    let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_lowercase());
    is_scheme && (rest.is_empty() || names_table().unwrap_or(false))
}

/// The end of what is said of an `id` that a newer program has made.
pub const NEWER: &str = "use a newer Seawall";

/// The word for the protocol by which garbage is collected in a folder (`docs/design.md`, Garbage collection).
const COLLECTION: &str = "marks-1";

/// The word for commits that ride in the head.
const WINDOW: &str = "window-1";

/// What a program must know to do something with a folder: words, each of which stands for a part of the format or of
/// the protocol. A program that does not know one of them must not do it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Features(Vec<String>);

impl Features {
    /// These words, of letters, digits and `-`, or nothing if one is malformed.
    fn parse(text: &str) -> Option<Features> {
        let is_word = |word: &str| {
            let may_be = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '=';
            (1..=32).contains(&word.len()) && word.chars().all(may_be)
        };
        let words: Vec<String> = text.split(' ').skip(1).map(str::to_owned).collect();
        words.iter().all(|word| is_word(word)).then_some(Features(words))
    }

    /// The first word that is none of `known`.
    fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|word| !known.contains(word))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// The content of `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The database's id.
    pub database: DatabaseId,
    /// The coordinator's URL: another coordinator would be another history.
    pub coordinator: String,
    /// The longest record that the folder's `commits/` takes, as it was tried out when the folder was made.
    pub longest_record: u32,
    /// What a program must know to open the database.
    pub opens: Features,
    /// What a program must know to collect its garbage.
    pub collects: Features,
}

impl Identity {
    /// What this program makes.
    pub fn new(database: DatabaseId, coordinator: String, longest_record: usize) -> Identity {
        let (opens, collects) = (Features(vec![WINDOW.to_owned()]), Features(vec![COLLECTION.to_owned()]));
        Identity { database, coordinator, longest_record: longest_record as u32, opens, collects }
    }

    /// The word for a protocol of collecting garbage that this program does not know. Then it must not collect.
    pub fn unknown_collection(&self) -> Option<&str> {
        self.collects.unknown(&[COLLECTION])
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { database, coordinator, longest_record, opens, collects } = self;
        let text = format!(
            "seawall 1\ndatabase {database}\ncoordinator {coordinator}\nrecords {longest_record}\nto open{opens}\nto collect{collects}\n"
        );
        writeln!(f, "{text}sum {}", checksum(&text))
    }
}

impl FromStr for Identity {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Identity, Malformed> {
        let first = text.lines().next().unwrap_or_default();
        if first != "seawall 1" && first.starts_with("seawall ") {
            return Err(Malformed("it is of a format version that this program does not know: use a newer Seawall"));
        }
        let (body, sum) = text.rsplit_once("sum ").ok_or(Malformed("it has no checksum"))?;
        if sum.trim_end() != checksum(body) {
            return Err(Malformed("its checksum does not fit"));
        }
        let mut lines = body.lines().skip(1);
        let mut line =
            |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).ok_or(Malformed("a line is missing"));
        let database = line("database ")?.parse().map_err(|_| Malformed("its database id is malformed"))?;
        let coordinator = line("coordinator ")?.to_owned();
        let longest_record =
            parse_number(line("records ")?).ok_or(Malformed("the length of its records is malformed"))?;
        let features = |text| Features::parse(text).ok_or(Malformed("a feature's name is malformed"));
        let (opens, collects) = (features(line("to open")?)?, features(line("to collect")?)?);
        let identity = Identity { database, coordinator, longest_record, opens, collects };
        if identity.opens.unknown(&[WINDOW]).is_some() {
            return Err(Malformed("it was made with a feature that this program does not know: use a newer Seawall"));
        }
        if !is_canonical(&identity.coordinator) {
            return Err(Malformed(
                "its coordinator is not written as Seawall writes it (fs: or dynamodb://TABLE?region=REGION, without an endpoint or \
                 anything else), and no request was sent there",
            ));
        }
        // One spelling only: what is read must be what would be written.
        if identity.to_string() == text {
            Ok(identity)
        } else {
            Err(Malformed("it has lines that do not belong there"))
        }
    }
}

/// What the bytes of `id` say.
pub fn parse(bytes: Vec<u8>) -> Result<Identity, Malformed> {
    String::from_utf8(bytes).map_err(|_| Malformed("it is not text"))?.parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity::new(DatabaseId([3; 16]), "fs:".into(), 4080)
    }

    proptest! {
        #[test]
        fn no_changed_byte_passes(at: prop::sample::Index, to: u8) {
            let mut bytes = identity().to_string().into_bytes();
            let at = at.index(bytes.len() - 1);
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_ne!(text.parse(), Ok(identity()));
            }
        }
    }

    #[test]
    fn it_has_one_spelling() {
        let text = identity().to_string();
        let (body, _) = text.rsplit_once("sum ").unwrap();
        for wrong in [body.replace("seawall 1", "another"), format!("{body}more\n"), body.replace("fs:", "fs:\r\r")] {
            assert!(format!("{wrong}sum {}\n", checksum(&wrong)).parse::<Identity>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn where_requests_go_is_not_for_a_file_to_say() {
        let read = |coordinator: &str| {
            let text = Identity { coordinator: coordinator.into(), ..identity() }.to_string();
            text.parse::<Identity>()
        };
        for right in ["fs:", "dynamodb://locks?region=eu-west-1", "dynamodb://My_Table-1.x?region=local"] {
            assert_eq!(read(right).map(|identity| identity.coordinator), Ok(right.into()));
        }
        for wrong in [
            "",
            "fs:/x",
            "dynamodb://locks",
            "dynamodb://locks?region=",
            "dynamodb://locks?region=eu-west-1&endpoint=http://192.0.2.1",
            "dynamodb://locks?endpoint=http://192.0.2.1&region=eu-west-1",
            "dynamodb://user:password@locks?region=eu-west-1",
            "dynamodb://locks?region=eu-west-1#x",
            "dynamodb://locks?region=192.0.2.1/",
            "dynamodb://locks:80?region=eu-west-1",
            "dynamodb://lo%63ks?region=eu-west-1",
            "dynamodb://locks?region=eu-west-1 ",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn it_comes_back_and_a_newer_format_says_so() {
        assert_eq!(identity().to_string().parse(), Ok(identity()));
        let newer = identity().to_string().replace("seawall 1", "seawall 2").parse::<Identity>();
        assert!(newer.unwrap_err().0.contains("newer Seawall"));
    }

    #[test]
    fn a_word_that_is_not_known_forbids_what_it_stands_for() {
        let with = |opens: &str, collects: &str| {
            let features = |words: &str| Features::parse(words).unwrap();
            Identity { opens: features(opens), collects: features(collects), ..identity() }
                .to_string()
                .parse::<Identity>()
        };
        assert!(with(" window=4000", "").unwrap_err().0.contains("newer Seawall"));
        assert_eq!(with("", " marks-1").unwrap().unknown_collection(), None);
        assert_eq!(with("", " marks-1 marks-2").unwrap().unknown_collection(), Some("marks-2"));
        for wrong in [" ", " a  b", " A", " ä", &" x".repeat(2).replace('x', &"x".repeat(33))] {
            assert_eq!(Features::parse(wrong), None, "{wrong:?}");
        }
    }
}
