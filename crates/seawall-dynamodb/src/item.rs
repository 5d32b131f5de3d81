//! The head as an item, attribute by attribute (`docs/dynamodb.md` is the operator's view of it).

use names::*;
use seawall::Shown;
use seawall::format::head::{BaseRef, CommitRef, Floor, Head, State};
use seawall::format::identity::NEWER;
use seawall::format::ids::{CommitId, DatabaseId, Epoch, Version, parse_number};
use seawall::format::place::Place;
use seawall::format::window::Window;
use seawall::ports::coordinator::Holder;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// An attribute's value: DynamoDB's String, Number or Binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number, in decimal.
    Number(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Anything else, which Seawall never writes.
    Other,
}

/// An item's attributes.
pub type Item = BTreeMap<String, Value>;

/// The attributes' names. None is `expires_at`: a table's TTL on that one must never delete a head.
pub mod names {
    /// The key.
    pub const PK: &str = "pk";
    /// The item's format.
    pub const FORMAT: &str = "format";
    /// The table that the head was made in.
    pub const TABLE: &str = "table";
    /// Raised by recovery.
    pub const EPOCH: &str = "epoch";
    /// The newest version.
    pub const VERSION: &str = "version";
    /// Its commit's id.
    pub const COMMIT: &str = "commit";
    /// The id of the fold: the newest commit that is a frame in a segment, or version 0.
    pub const FOLD: &str = "fold";
    /// The digest of the fold's frame.
    pub const DIGEST: &str = "digest";
    /// Where the fold's frame lies; `-` at version 0.
    pub const PLACE: &str = "place";
    /// The entries of the commits since the fold.
    pub const WINDOW: &str = "window";
    /// The newest base; absent while there is none.
    pub const BASE: &str = "base";
    /// The home: made of the inode numbers of `id` and of its folder.
    pub const HOME: &str = "home";
    /// Raised by every acquire, swap and release.
    pub const GEN: &str = "gen";
    /// Raised by garbage collection.
    pub const SWEEP: &str = "sweep";
    /// The oldest version that is still promised; absent while that is version 0.
    pub const FLOOR: &str = "floor";
    /// Whether the database can be used; absent if it can.
    pub const STATE: &str = "state";
    /// The holder of the lease: the token of the attempt that acquired it. Absent while the lease is free.
    pub const LEASE: &str = "lease";
    /// The holder, for people.
    pub const LEASE_LABEL: &str = "lease_label";
    /// When the lease expires, in milliseconds since 1970.
    pub const LEASE_UNTIL: &str = "lease_until";
    /// The line of waiters: the ticket that the next one to come will have.
    pub const LINE_END: &str = "line_end";
    /// The ticket of the waiter in front. Nobody waits while it is the end of the line.
    pub const LINE_FRONT: &str = "line_front";
    /// The holder of django-sqlite-efs's lock.
    pub const LOCK_ID: &str = "lock_id";
    /// When django-sqlite-efs's lock expires, in seconds since 1970.
    pub const EXPIRES_AT: &str = "expires_at";

    /// All of them.
    pub const ALL: &[&str] = &[
        PK,
        FORMAT,
        TABLE,
        EPOCH,
        VERSION,
        COMMIT,
        FOLD,
        DIGEST,
        PLACE,
        WINDOW,
        BASE,
        HOME,
        GEN,
        SWEEP,
        FLOOR,
        STATE,
        LEASE,
        LEASE_LABEL,
        LEASE_UNTIL,
        LINE_END,
        LINE_FRONT,
        LOCK_ID,
        EXPIRES_AT,
    ];
}

/// The place of version 0, which has no frame.
const NOWHERE: &str = "-";
/// The format of the head's item that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

/// The term of a lease that does not say when it ends, or says so in a way that Seawall never writes.
pub const NO_TERM: u64 = u64::MAX;
/// No counter reaches this by counting: at a million a second that takes 292,000 years.
const COUNTER_LIMIT: u64 = 1 << 63;

/// The key of a database's head.
pub fn key_of(database: DatabaseId) -> String {
    format!("seawall#{database}")
}

/// A number as an attribute.
pub fn number(value: impl Display) -> Value {
    Value::Number(value.to_string())
}

/// A text as an attribute.
pub fn text(value: impl Display) -> Value {
    Value::Text(value.to_string())
}

/// The place of a commit's frame as an attribute.
pub fn place_of(place: Option<Place>) -> Value {
    text(place.map_or_else(|| NOWHERE.into(), |place| place.to_string()))
}

/// The item of a database's first head.
pub fn item_of(head: &Head, table: &str) -> Item {
    let mut item = Item::from(
        [
            (PK, text(key_of(head.database))),
            (FORMAT, number(FORMAT_VERSION)),
            (TABLE, text(table)),
            (EPOCH, number(head.epoch.0)),
            (VERSION, number(head.version.0)),
            (COMMIT, text(head.commit().id)),
            (FOLD, text(head.fold.id)),
            (DIGEST, text(head.fold.digest)),
            (PLACE, place_of(head.fold.place)),
            (WINDOW, Value::Binary(head.window.bytes().to_vec())),
            (HOME, number(head.home)),
            (GEN, number(head.generation)),
            (SWEEP, number(head.sweep)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if let Some(base) = head.base {
        item.insert(BASE.into(), text(base));
    }
    if head.floor != Floor::default() {
        item.insert(FLOOR.into(), text(head.floor));
    }
    if head.state != State::Open {
        item.insert(STATE.into(), text(&head.state));
    }
    item
}

/// The head that an item holds. The error says which attribute cannot be read.
pub fn head_of(item: &Item, database: DatabaseId, table: &str) -> Result<Head, String> {
    let format: u32 = read(item, FORMAT)?;
    if format != FORMAT_VERSION {
        return Err(format!("its format is {format}, and this program knows {FORMAT_VERSION}: {NEWER}"));
    }
    if let Some(name) = item.keys().find(|name| !ALL.contains(&name.as_str())) {
        return Err(format!(
            "it has an attribute {} that this program does not know, and a newer Seawall may have written it: {NEWER}",
            Shown::new(name.clone())
        ));
    }
    let key: String = read(item, PK)?;
    if key != key_of(database) {
        return Err(format!("its key is {}", Shown::new(key)));
    }
    let made_in: String = read(item, TABLE)?;
    if made_in != table {
        return Err(format!(
            "it was made in the table \"{}\", and this is {table:?}. A table that was restored or copied has old heads, and a \
             commit over an old head would lose the commits after it",
            Shown::new(made_in)
        ));
    }
    let fold =
        CommitRef { id: read(item, FOLD)?, digest: read(item, DIGEST)?, place: read::<MaybePlace>(item, PLACE)?.0 };
    let window: Vec<u8> = read(item, WINDOW)?;
    let window = Window::decode(&window, &fold.digest).map_err(|why| format!("its attribute {WINDOW}: {why}"))?;
    let head = Head {
        database,
        epoch: Epoch(read_counter(item, EPOCH)?),
        version: Version(read(item, VERSION)?),
        fold,
        window,
        base: read_optional::<BaseRef>(item, BASE)?,
        home: read(item, HOME)?,
        generation: read_counter(item, GEN)?,
        sweep: read_counter(item, SWEEP)?,
        lease_slot: 0,
        floor: read_optional(item, FLOOR)?.unwrap_or_default(),
        state: read_optional(item, STATE)?.unwrap_or_default(),
    };
    head.check().map_err(|why| why.to_string())?;
    if read::<CommitId>(item, COMMIT)? != head.commit().id {
        return Err(format!("its attribute {COMMIT} is not the newest of its attribute {WINDOW}"));
    }
    Ok(head)
}

/// The holder of the lease, according to an item. A free lease has a term of 0. A lease that does not say when it ends
/// has the term [`NO_TERM`]. The lease is advisory. Therefore nothing in these attributes is an error.
pub fn holder_of(item: &Item, generation: u64) -> Holder {
    if !item.contains_key(LEASE) {
        return Holder { generation, term: 0, label: Shown::default() };
    }
    let label = text_of(item, LEASE_LABEL).filter(|label| !label.is_empty());
    let label = Shown::new(label.unwrap_or("a writer that does not say who it is"));
    Holder { generation, term: read_optional(item, LEASE_UNTIL).ok().flatten().unwrap_or(NO_TERM), label }
}

/// The line of waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The tickets of those who wait, from the front to the end, which is nobody's yet.
    Tickets(u64, u64),
    /// Another program wrote there. The lease is advisory. Therefore that is no error.
    Nonsense,
}

impl Line {
    /// Whether somebody may wait.
    pub fn is_waited_in(self) -> bool {
        !matches!(self, Line::Tickets(front, end) if front == end)
    }
}

/// The line of waiters, according to an item.
pub fn line_of(item: &Item) -> Line {
    if !item.contains_key(LINE_END) && !item.contains_key(LINE_FRONT) {
        return Line::Tickets(0, 0);
    }
    match (read(item, LINE_FRONT), read(item, LINE_END)) {
        (Ok(front), Ok(end)) if front <= end && end < COUNTER_LIMIT => Line::Tickets(front, end),
        _ => Line::Nonsense,
    }
}

/// A text attribute, if it is there.
pub fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn read<T: Attribute>(item: &Item, name: &str) -> Result<T, String> {
    read_optional(item, name)?.ok_or_else(|| format!("its attribute {name} is missing"))
}

fn read_optional<T: Attribute>(item: &Item, name: &str) -> Result<Option<T>, String> {
    let Some(value) = item.get(name) else { return Ok(None) };
    let malformed = || match value {
        Value::Number(number) => format!("its attribute {name} is malformed: {}", Shown::new(number)),
        Value::Text(_) | Value::Binary(_) | Value::Other => format!("its attribute {name} is malformed"),
    };
    T::from_value(value).map(Some).ok_or_else(malformed)
}

/// A counter that only ever rises by one. A counter at its end would stop all writers.
fn read_counter(item: &Item, name: &str) -> Result<u64, String> {
    let counter = read(item, name)?;
    if counter < COUNTER_LIMIT {
        return Ok(counter);
    }
    Err(format!(
        "its attribute {name} is {counter}, which no counter reaches by counting, so another program wrote it. Stop all writers, and set it \
         to its earlier value"
    ))
}

struct MaybePlace(Option<Place>);

impl FromStr for MaybePlace {
    type Err = <Place as FromStr>::Err;

    fn from_str(text: &str) -> Result<MaybePlace, Self::Err> {
        if text == NOWHERE { Ok(MaybePlace(None)) } else { text.parse().map(|place| MaybePlace(Some(place))) }
    }
}

/// What can be read from an attribute.
trait Attribute: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! attributes {
    ($variant:ident, $parse:expr, $($type:ty),+) => {
        $(impl Attribute for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(text) => $parse(text),
                    _ => None,
                }
            }
        })+
    };
}

attributes!(Number, parse_number, u32, u64);
attributes!(
    Text,
    |text: &str| FromStr::from_str(text).ok(),
    String,
    MaybePlace,
    BaseRef,
    Floor,
    State,
    CommitId,
    seawall::format::ids::Digest
);
attributes!(Binary, |bytes: &[u8]| Some(bytes.to_vec()), Vec<u8>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seawall::format::ids::{BaseName, Digest, PageSize, SegmentName, Token, WriterId};

    const DATABASE: DatabaseId = DatabaseId([7; 16]);

    fn a_head() -> Head {
        let segment = SegmentName { writer: WriterId([9; 8]), n: u32::MAX };
        let name = BaseName { epoch: Epoch(u64::MAX), version: Version(12), id: [1, 2, 3, 4] };
        Head {
            database: DATABASE,
            epoch: Epoch(COUNTER_LIMIT - 1),
            version: Version(Version::MAX.0 - 2),
            fold: CommitRef {
                id: CommitId([2; 16]),
                digest: Digest([3; 32]),
                place: Some(Place { segment, at: u32::MAX, length: u32::MAX, lead: u32::MAX }),
            },
            window: Window::default(),
            base: Some(BaseRef {
                name,
                page_size: PageSize::new(65_536).unwrap(),
                page_count: u32::MAX,
                log: u64::MAX,
            }),
            home: u64::MAX,
            generation: COUNTER_LIMIT - 1,
            sweep: COUNTER_LIMIT - 1,
            lease_slot: 0,
            floor: Floor { version: Version(Version::MAX.0 - 2), time: seawall::format::codec::LAST_TIME },
            state: State::Recovering(Token([3; 8])),
        }
    }

    #[test]
    fn heads_come_back_and_cost_one_write_unit() {
        let first = Head::first(DATABASE, CommitId([1; 16]), None, 5);
        for head in [a_head(), first] {
            assert_eq!(head_of(&item_of(&head, "locks"), DATABASE, "locks"), Ok(head));
        }
        // With the longest lease label and table name there are: a write unit is 1,024 bytes.
        let mut item = item_of(&a_head(), &"t".repeat(255));
        item.insert(LEASE.into(), text("0".repeat(16)));
        item.insert(LEASE_LABEL.into(), text("x".repeat(crate::coordinator::LABEL_BYTES)));
        item.insert(LEASE_UNTIL.into(), number(u64::MAX));
        item.insert(LINE_END.into(), number(COUNTER_LIMIT));
        item.insert(LINE_FRONT.into(), number(COUNTER_LIMIT));
        let length = |value: &Value| match value {
            Value::Text(text) | Value::Number(text) => text.len(),
            Value::Binary(bytes) => bytes.len(),
            Value::Other => unreachable!("it is never written"),
        };
        let size: usize = item.iter().map(|(name, value)| name.len() + length(value)).sum();
        assert!(size < 1024, "{size} bytes");
    }

    #[test]
    fn a_head_that_no_commit_can_follow_is_refused() {
        let last = Head { version: Version::MAX, ..a_head() };
        assert!(head_of(&item_of(&last, "locks"), DATABASE, "locks").unwrap_err().contains("impossible"));
    }

    #[test]
    fn a_counter_at_its_end_and_a_number_of_38_digits_are_reported_and_not_counted_on() {
        for name in [EPOCH, GEN, SWEEP] {
            for value in [COUNTER_LIMIT, u64::MAX - 1, u64::MAX] {
                let mut item = item_of(&a_head(), "locks");
                item.insert(name.into(), number(value));
                let why = head_of(&item, DATABASE, "locks").unwrap_err();
                assert!(why.contains(&format!("its attribute {name} is {value}")) && why.contains("set it"), "{why}");
            }
        }
        for name in [FORMAT, EPOCH, VERSION, HOME, GEN, SWEEP] {
            for wrong in ["18446744073709551616", "99999999999999999999999999999999999999", "-1", "1.5", "1E+30"] {
                let mut item = item_of(&a_head(), "locks");
                item.insert(name.into(), Value::Number(wrong.into()));
                let why = head_of(&item, DATABASE, "locks").unwrap_err();
                assert!(why.contains(name) && why.contains(wrong), "{why}");
            }
        }
    }

    #[test]
    fn any_value_in_a_lease_is_a_holder_and_its_label_is_bounded() {
        let held = |until: Option<Value>| {
            let mut item = Item::from([(LEASE.to_owned(), text("x"))]);
            item.insert(LEASE_LABEL.into(), text("a\n\u{1b}[2J".repeat(50_000)));
            item.extend(until.map(|until| (LEASE_UNTIL.to_owned(), until)));
            holder_of(&item, 7)
        };
        assert_eq!(held(Some(number(5))).term, 5);
        let nonsense = [text("soon"), Value::Other, Value::Number("1.5".into()), Value::Number("1".repeat(38))];
        for until in nonsense.map(Some).into_iter().chain([None]) {
            assert_eq!(held(until).term, NO_TERM);
        }
        let label = held(None).label;
        assert!(label.len() < 5000 && !label.contains(['\n', '\u{1b}']), "{} bytes", label.len());
        let free = Item::from([(LEASE_UNTIL.to_owned(), text("never"))]);
        assert_eq!(holder_of(&free, 7), Holder { generation: 7, term: 0, label: Shown::default() });
        let silent = Item::from([(LEASE.to_owned(), text("x")), (LEASE_LABEL.to_owned(), Value::Other)]);
        assert!(holder_of(&silent, 7).label.contains("does not say who it is"));
    }

    #[test]
    fn no_attribute_is_the_ttl_s() {
        assert!(!item_of(&a_head(), "locks").contains_key(EXPIRES_AT));
    }

    #[test]
    fn an_attribute_that_is_not_known_and_a_state_that_is_not_known_say_so() {
        for (name, what) in
            [("lanes", "an attribute lanes that this program does not know"), (STATE, "attribute state")]
        {
            let mut item = item_of(&a_head(), "locks");
            item.insert(name.into(), text("x"));
            let why = head_of(&item, DATABASE, "locks").unwrap_err();
            assert!(why.contains(what), "{why}");
        }
    }

    #[test]
    fn another_table_and_another_format_say_so() {
        let mut item = item_of(&a_head(), "locks");
        assert!(head_of(&item, DATABASE, "restored").unwrap_err().contains("restored or copied"));
        item.insert(FORMAT.into(), number(2));
        assert!(head_of(&item, DATABASE, "locks").unwrap_err().contains("newer Seawall"));
    }

    proptest! {
        /// Items are hostile input. Any value of an attribute is read or refused, and never causes a panic.
        #[test]
        fn no_item_panics(at: prop::sample::Index, content in ".{0,80}", kind in 0..3, removed: bool) {
            let mut item = item_of(&a_head(), "locks");
            let name = item.keys().nth(at.index(item.len())).unwrap().clone();
            if removed {
                item.remove(&name);
            } else {
                item.insert(name, [Value::Number(content.clone()), Value::Text(content), Value::Other][kind as usize].clone());
            }
            let _ = head_of(&item, DATABASE, "locks");
        }
    }
}
