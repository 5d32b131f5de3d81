//! What is kept as text: heads, `high`, `id`, DynamoDB's item, and the names in them. The first byte says which.
//!
//! In upper case, it asks for a right checksum behind the text, so that the fuzzer gets past it. What is taken has one
//! spelling only: it is the text that would be written.

use seawall::Shown;
use seawall::format::head::{BaseRef, Head};
use seawall::format::high::{self, High};
use seawall::format::identity::{self, Identity};
use seawall::format::ids::{BaseName, DatabaseId, SegmentName, Version};
use seawall::format::new_pages::page_checksum;
use seawall::format::place::Place;
use seawall::ports::coordinator::CoordinatorError;
use seawall_dynamodb::address::Address;
use seawall_dynamodb::item::{Item, Value, head_of, holder_of, item_of, line_of, names};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// The database that items are asked for.
const DATABASE: DatabaseId = DatabaseId([7; 16]);
/// The table that they must have been made in.
const TABLE: &str = "locks";

/// The target.
pub fn check(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(identity::parse(bytes.to_vec()).is_err());
        return;
    };
    match which {
        b'h' => drop(one_spelling::<Head>(text).inspect(check_head)),
        b'H' => drop(one_spelling::<Head>(&format!("{text} sum={}", checksum(text))).inspect(check_head)),
        b'g' => drop(one_spelling::<High>(text)),
        b'G' => drop(one_spelling::<High>(&format!(
            "{:<width$}\n",
            format!("{text} sum={}", checksum(text)),
            width = high::LENGTH - 1
        ))),
        b'i' => drop(one_spelling::<Identity>(text).inspect(check_identity)),
        b'I' => drop(one_spelling::<Identity>(&format!("{text}sum {}\n", checksum(text))).inspect(check_identity)),
        b'u' => check_url(text),
        b'n' => check_names(text),
        b't' => check_item(text),
        _ => {}
    }
}

/// What `text` says, which must be the only text that says so.
fn one_spelling<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let again = value.to_string();
    assert_eq!(again, text, "{value:?} has two spellings");
    assert_eq!(again.parse().ok().as_ref(), Some(&value));
    Some(value)
}

/// As the engine's own short records have it.
fn checksum(text: &str) -> String {
    page_checksum(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A head that was taken can be followed by a commit.
fn check_head(head: &Head) {
    let next = head.followed_by(head.commit(), head.generation / 2, head.lease_slot);
    assert_eq!(next.version, head.version.next());
    assert!(head.base.is_none_or(|base| base.name.version <= head.version));
}

/// What `id` names is in Amazon's DynamoDB, or in the file system: never at an address that a file chose.
fn check_identity(identity: &Identity) {
    let Ok(address) = Address::parse(&identity.coordinator) else { return };
    assert_eq!(address.endpoint, None);
    assert_eq!(
        format!("dynamodb://{}?region={}", address.table, address.region.unwrap_or_default()),
        identity.coordinator
    );
}

/// A password in a URL is never shown.
fn check_url(text: &str) {
    check_shown(&Shown::url(text));
    check_shown(&Shown::new(text));
    if let Err(why) = Address::parse(text) {
        check_shown(&Shown::message(why));
    }
}

/// Nothing that becomes part of a path leaves its folder.
fn check_names(text: &str) {
    one_spelling::<Place>(text);
    one_spelling::<BaseRef>(text);
    let names = [one_spelling::<SegmentName>(text).is_some(), one_spelling::<BaseName>(text).is_some()];
    if names.contains(&true) {
        assert!(!text.contains(['/', '.', '\0']), "{text:?} would leave its folder");
    }
}

/// An item, one attribute a line: its name, `N`, `S` or `M`, and the value, after single spaces.
fn check_item(text: &str) {
    let item: Item = text.lines().filter_map(attribute).collect();
    let holder = holder_of(&item, 1);
    assert_eq!((holder.generation, holder.term == 0), (1, is_free(&item)));
    assert!(
        line_of(&item).is_waited_in() || !item.contains_key(names::LINE_END) || item.contains_key(names::LINE_FRONT)
    );
    let head = head_of(&item, DATABASE, TABLE).map_err(|why| CoordinatorError::Malformed(why).to_string());
    check_shown(&holder.label);
    let head = match head {
        Ok(head) => head,
        Err(why) => return check_shown(&why),
    };
    check_head(&head);
    assert!([head.epoch.0, head.generation, head.sweep].iter().all(|counter| counter.checked_add(1 << 62).is_some()));
    assert!(head.version < Version::MAX);
    let again = item_of(&head, TABLE);
    for (name, value) in &again {
        assert_eq!(item.get(name), Some(value), "{name} has two spellings");
    }
    assert_eq!(again.contains_key(names::BASE), item.contains_key(names::BASE));
    assert_eq!(head_of(&again, DATABASE, TABLE).as_ref(), Ok(&head));
}

/// The lease is free, or it ended in 1970.
fn is_free(item: &Item) -> bool {
    !item.contains_key(names::LEASE) || item.get(names::LEASE_UNTIL) == Some(&Value::Number("0".into()))
}

/// What people get to see is one short line.
fn check_shown(text: &str) {
    assert!(text.len() < 40_000 && !text.chars().any(char::is_control), "{text:?}");
    assert_eq!(&*Shown::message(text), text, "what was shown changes when it is shown again");
}

fn of_hex(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
}

fn attribute(line: &str) -> Option<(String, Value)> {
    let (name, value) = line.split_once(' ')?;
    let value = match value.split_once(' ')? {
        ("N", number) => Value::Number(number.to_owned()),
        ("S", text) => Value::Text(text.to_owned()),
        ("B", digits) => Value::Binary(of_hex(digits)?),
        ("M", _) => Value::Other,
        _ => return None,
    };
    Some((name.to_owned(), value))
}
