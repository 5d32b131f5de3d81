//! A head as text. That is what the `fs` coordinator keeps in a symlink, so it stays under [`MAX_TEXT`] bytes; a person can
//! read it with `readlink`. Other coordinators keep the same fields as they see fit.

use super::{BaseRef, CommitRef, Floor, Head, MAX_TEXT, State};
use crate::format::codec::{self, Malformed};
use crate::format::identity::is_canonical;
use crate::format::ids::{Epoch, PageSize, Version, parse_number};
use crate::format::window::Window;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use std::fmt::{self, Write as _};
use std::str::FromStr;

const MAGIC: &str = "seawall1";

impl fmt::Display for BaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.name, self.page_size.bytes(), self.page_count, self.log)
    }
}

impl FromStr for BaseRef {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<BaseRef, Malformed> {
        let [name, page_size, page_count, log] = parts(text)?;
        let name = name.parse().map_err(|_| Malformed("a base's name is malformed"))?;
        let page_size = PageSize::new(number(page_size)?).ok_or(Malformed("a page size is impossible"))?;
        Ok(BaseRef { name, page_size, page_count: number(page_count)?, log: number(log)? })
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version.0, self.time)
    }
}

impl FromStr for Floor {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Floor, Malformed> {
        let [version, time] = parts(text)?;
        Ok(Floor { version: Version(number(version)?), time: codec::time(number(time)?)? })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Open => f.write_str("open"),
            State::Recovering(token) => write!(f, "recovering:{token}"),
            State::Detached => f.write_str("detached"),
            State::Moved(url) => write!(f, "moved:{url}"),
        }
    }
}

impl FromStr for State {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<State, Malformed> {
        let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
        match (word, rest) {
            ("open", None) => Ok(State::Open),
            ("detached", None) => Ok(State::Detached),
            ("recovering", Some(token)) => {
                Ok(State::Recovering(token.parse().map_err(|_| Malformed("a token is malformed"))?))
            }
            ("moved", Some(url)) if is_canonical(url) => Ok(State::Moved(url.to_owned())),
            _ => Err(Malformed("a head is in a state that this program does not know: use a newer Seawall")),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!(
            "{MAGIC} database={} epoch={} version={} commit={} digest={} at=",
            self.database, self.epoch.0, self.version.0, self.fold.id, self.fold.digest
        );
        match &self.fold.place {
            Some(place) => write!(text, "{place}")?,
            None => text.push('-'),
        }
        text.push_str(" base=");
        match &self.base {
            Some(base) => write!(text, "{base}")?,
            None => text.push('-'),
        }
        let Head { home, generation, sweep, lease_slot, floor, state, window, .. } = self;
        write!(
            text,
            " home={home} gen={generation} sweep={sweep} slot={lease_slot} floor={floor} state={state} window="
        )?;
        match window.bytes() {
            [] => text.push('-'),
            bytes => BASE64.encode_string(bytes, &mut text),
        }
        write!(f, "{text} sum={}", checksum(&text))
    }
}

impl FromStr for Head {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Head, Malformed> {
        if text.len() > MAX_TEXT {
            return Err(Malformed("a head is too long"));
        }
        // First, because another version may be built otherwise.
        if is_of_another_version(text) {
            return Err(Malformed("a head of an unknown format version: use a newer Seawall"));
        }
        let (body, sum) = text.rsplit_once(" sum=").ok_or(Malformed("a head has no checksum"))?;
        if !body.starts_with("seawall1 ") {
            return Err(Malformed("a head does not begin as one"));
        }
        if sum != checksum(body) {
            return Err(Malformed("a head's checksum does not fit"));
        }
        let mut fields = body.split(' ').skip(1);
        let mut field = |name: &str| -> Result<&str, Malformed> {
            let (key, value) = fields.next().and_then(|field| field.split_once('=')).unwrap_or_default();
            if key == name { Ok(value) } else { Err(Malformed("a head's field is missing")) }
        };
        let id = || Malformed("an id is malformed");
        let head = Head {
            database: field("database")?.parse().map_err(|_| id())?,
            epoch: Epoch(number(field("epoch")?)?),
            version: Version(number(field("version")?)?),
            fold: CommitRef {
                id: field("commit")?.parse().map_err(|_| id())?,
                digest: field("digest")?.parse().map_err(|_| id())?,
                place: optional(field("at")?, str::parse)?,
            },
            window: Window::default(),
            base: optional(field("base")?, str::parse)?,
            home: number(field("home")?)?,
            generation: number(field("gen")?)?,
            sweep: number(field("sweep")?)?,
            lease_slot: number(field("slot")?)?,
            floor: field("floor")?.parse()?,
            state: field("state")?.parse()?,
        };
        let window = match field("window")? {
            "-" => Vec::new(),
            text => BASE64.decode(text).map_err(|_| Malformed("a head's window is malformed"))?,
        };
        let head = Head { window: Window::decode(&window, &head.fold.digest)?, ..head };
        if fields.next().is_some() {
            return Err(Malformed("a head has an unknown field"));
        }
        head.check().map(|()| head)
    }
}

/// Whether the text is a head of another format version than this program's.
fn is_of_another_version(text: &str) -> bool {
    let number = text.split(' ').next().and_then(|word| word.strip_prefix("seawall"));
    number.is_some_and(|number| parse_number::<u32>(number).is_some_and(|number| number > 1))
}

pub(crate) fn parts<const N: usize>(text: &str) -> Result<[&str; N], Malformed> {
    let parts: Vec<&str> = text.splitn(N + 1, ':').collect();
    parts.try_into().map_err(|_| Malformed("a field has the wrong number of parts"))
}

fn optional<T>(text: &str, parse: impl Fn(&str) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
    if text == "-" { Ok(None) } else { parse(text).map(Some) }
}

pub(crate) fn number<N: FromStr + fmt::Display>(text: &str) -> Result<N, Malformed> {
    parse_number(text).ok_or(Malformed("a number is malformed"))
}

/// The checksum of a short text record: the first eight bytes of its BLAKE3 digest, in hex.
pub(crate) fn checksum(text: &str) -> String {
    hex::encode(&blake3::hash(text.as_bytes()).as_bytes()[..8])
}
