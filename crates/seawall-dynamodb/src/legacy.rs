//! The lock of django-sqlite-efs: an item `database#NAME` in the same table.
//!
//! Its clients put that item, with `lock_id` and `expires_at`, if it is absent or has expired, before they write NAME,
//! and delete it afterwards. An item that never expires locks all of them out. They then raise their own DatabaseBusy.

use crate::item::{Item, Value, names::*, number, text, text_of};
use crate::request::{IF_LOCK_FREE, IF_LOCK_MINE, Request, Values};
use seawall::format::ids::{DatabaseId, parse_number};
use seawall::{Moment, Shown};
use std::time::Duration;

const OURS: &str = "seawall:";

/// Takes the lock for good, if it is free at `now` (milliseconds since 1970).
pub(crate) fn take(name: &str, database: DatabaseId, now: u64) -> Request {
    let item = Item::from([(PK.into(), text(key_of(name))), (LOCK_ID.into(), lock_id(database))]);
    let values = Values::from([("now", number(now / 1000)), ("seawall", text(OURS))]);
    Request::Put { item, condition: IF_LOCK_FREE, values }
}

/// Gives the lock back, if it is this database's.
pub(crate) fn give_back(name: &str, database: DatabaseId) -> Request {
    let values = Values::from([("lock_id", lock_id(database))]);
    Request::Delete { key: key_of(name), condition: IF_LOCK_MINE, values }
}

/// The lock's holder, for people.
pub(crate) fn holder(name: &str, item: Option<&Item>) -> String {
    let lock = Shown::new(item.and_then(|item| text_of(item, LOCK_ID)).unwrap_or("it is gone by now"));
    let until = match item.and_then(|item| item.get(EXPIRES_AT)) {
        Some(Value::Number(seconds)) => parse_number(seconds)
            .map(|seconds| Moment { wall: Duration::from_secs(seconds), ..Moment::default() })
            .map(|until| format!(", until {}", until.clock())),
        _ => None,
    };
    format!("a client of django-sqlite-efs, by the item {}: {lock}{}", key_of(name), until.unwrap_or_default())
}

fn key_of(name: &str) -> String {
    format!("database#{name}")
}

fn lock_id(database: DatabaseId) -> Value {
    text(format!("{OURS}{database}"))
}
