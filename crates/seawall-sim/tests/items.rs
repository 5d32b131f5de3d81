//! The simulated items behave like DynamoDB's: they pass every coordinator's suite, and give the same answers as
//! Amazon's DynamoDB Local.

#[path = "../../seawall-dynamodb/tests/common/mod.rs"]
mod common;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRng, TestRunner};
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::Coordinator;
use seawall::ports::coordinator::conformance::{Setting, check};
use seawall::ports::storage::os::OsStorage;
use seawall_dynamodb::address::Address;
use seawall_dynamodb::item::{Item, Value, names, number, text};
use seawall_dynamodb::request::changes::*;
use seawall_dynamodb::request::{Answer, Change, IF_ABSENT, IF_HOME, IF_LOCK_FREE, IF_LOCK_MINE, Request, Values};
use seawall_dynamodb::table::{Failure, Table};
use seawall_dynamodb::{DynamoCoordinator, sdk};
use seawall_sim::items::Items;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Items that never fail. No two requests come in one millisecond, so that a renewed lease is a longer one.
#[derive(Clone, Default)]
struct Perfect(Arc<Mutex<Items>>);

impl Table for Perfect {
    fn name(&self) -> &str {
        "perfect"
    }

    fn region(&self) -> &str {
        "nowhere"
    }

    fn attempt(&self, request: &Request) -> Result<Answer, Failure> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(self.0.lock().unwrap().apply(request))
    }

    fn clock_ahead(&self) -> i64 {
        0
    }
}

struct OneItem {
    table: Perfect,
    folder: tempfile::TempDir,
}

impl Setting for OneItem {
    fn database(&self) -> DatabaseId {
        DatabaseId([7; 16])
    }

    fn machine(&self) -> Box<dyn Coordinator> {
        let storage = OsStorage::new(&self.folder.path().join("db.sqlite3")).unwrap();
        Box::new(DynamoCoordinator::new(Arc::new(self.table.clone()), self.database(), Arc::new(storage)))
    }
}

#[test]
fn a_coordinator_on_items_passes_the_suite() {
    check(&|| Box::new(OneItem { table: Perfect::default(), folder: tempfile::tempdir().unwrap() }));
}

/// Changes that no coordinator may request, because without the epoch an update makes an item. The simulated items must
/// make it, too.
const MAKES_AN_ITEM: Change = Change {
    name: "acquire without the epoch",
    condition: "attribute_not_exists(#lease) OR #lease_until < :now OR #lease = :token",
    ..ACQUIRE
};
const MAKES_AN_EMPTY_ITEM: Change =
    Change { name: "clear the line unasked", condition: "attribute_not_exists(#line_front)", ..CLEAR_LINE };
const CHANGES: [Change; 14] = [
    ACQUIRE,
    ACQUIRE_IN_TURN,
    PASS_OVER,
    PASS_OVER_TIMELESS,
    JOIN_LINE,
    LEAVE_LINE,
    PASS_SLEEPERS,
    CLEAR_LINE,
    RENEW,
    SWAP,
    SWAP_AND_KEEP,
    RELEASE,
    MAKES_AN_ITEM,
    MAKES_AN_EMPTY_ITEM,
];
const TEXTS: &[&str] = &[
    names::COMMIT,
    names::FOLD,
    names::DIGEST,
    names::PLACE,
    names::LEASE,
    names::LEASE_LABEL,
    names::LOCK_ID,
    "label",
    "previous_commit",
    "seawall",
    "token",
];
const NUMBERS: &[&str] = &[
    names::EPOCH,
    names::VERSION,
    names::HOME,
    names::GEN,
    names::SWEEP,
    names::LEASE_UNTIL,
    names::LINE_END,
    names::LINE_FRONT,
    names::EXPIRES_AT,
    "front",
    "now",
    "one",
    "previous_version",
    "seen_until",
    "ticket",
    "until",
    "zero",
];
const BYTES: &[&str] = &[names::WINDOW];
/// Another type there makes a request invalid.
const STRICT: &[&str] = &[names::GEN, names::LINE_END, names::LINE_FRONT, "one", "seawall", "zero"];

/// Mostly the same value, so that conditions hold often; sometimes of another type.
fn a_value(name: &'static str) -> BoxedStrategy<Value> {
    let texts = prop_oneof![8 => Just("seawall:a"), 2 => Just("seawall"), 1 => Just("é"), 1 => Just("")].prop_map(text);
    let numbers = prop_oneof![8 => Just(0), 2 => Just(1), 1 => Just(9), 1 => Just(10)].prop_map(number);
    let bytes = prop_oneof![3 => Just(vec![]), 1 => Just(vec![0, 255])].prop_map(Value::Binary);
    let (usual, other) = match (TEXTS.contains(&name), BYTES.contains(&name)) {
        (true, _) => (texts.boxed(), numbers.boxed()),
        (_, true) => (bytes.boxed(), texts.boxed()),
        _ => (numbers.boxed(), texts.boxed()),
    };
    let stray = if STRICT.contains(&name) { usual.clone() } else { other };
    prop_oneof![19 => usual, 1 => stray].boxed()
}

fn values() -> impl Strategy<Value = Values> {
    let named: Vec<_> = TEXTS.iter().chain(NUMBERS).chain(BYTES).map(|name| (Just(*name), a_value(name))).collect();
    named.prop_map(Values::from_iter)
}

fn items(key: String) -> impl Strategy<Value = Item> {
    let has = |name: &&str| names::ALL.contains(name);
    let named =
        TEXTS.iter().chain(NUMBERS).chain(BYTES).filter(|name| has(name)).map(
            |name| prop_oneof![3 => a_value(name).prop_map(|value| Some((name.to_string(), value))), 1 => Just(None)],
        );
    named.collect::<Vec<_>>().prop_map(move |attributes| {
        let attributes = attributes.into_iter().flatten();
        attributes.chain([(names::PK.to_owned(), text(&key))]).collect()
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let keys = select(vec!["a".to_owned(), "b".to_owned()]);
    let update = (keys.clone(), select(CHANGES.to_vec()), values());
    let update = update.prop_map(|(key, change, values)| Request::Update { key, change, values });
    let put = (keys.clone().prop_flat_map(items), select(vec![IF_ABSENT, IF_LOCK_FREE]), values());
    let put = put.prop_map(|(item, condition, values)| Request::Put { item, condition, values });
    let delete = (keys.clone(), select(vec![IF_HOME, IF_LOCK_MINE]), values());
    let delete = delete.prop_map(|(key, condition, values)| Request::Delete { key, condition, values });
    prop_oneof![12 => update, 5 => put, 2 => delete, 1 => keys.prop_map(|key| Request::Get { key })]
}

/// The request with the names of this round in the place of `a` and `b`.
fn in_round(mut request: Request, round: u32) -> Request {
    match &mut request {
        Request::Put { item, .. } => {
            let Some(Value::Text(key)) = item.get_mut(names::PK) else { panic!("it has a key") };
            *key = format!("{round}{key}");
        }
        Request::Get { key } | Request::Update { key, .. } | Request::Delete { key, .. } => {
            *key = format!("{round}{key}");
        }
    }
    request
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Get { .. } => "get",
        Request::Put { condition, .. } | Request::Delete { condition, .. } => condition,
        Request::Update { change, .. } => change.condition,
    }
}

#[test]
fn items_answer_as_amazon_s_do() {
    let Some(url) = common::url() else { return };
    let amazon = sdk::table(&Address::parse(url).unwrap()).unwrap();
    let (rounds, seen) = (RefCell::new(0), RefCell::new(BTreeMap::<_, BTreeSet<bool>>::new()));
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let compared = TestRunner::new_with_rng(config, rng).run(&prop::collection::vec(requests(), 1..40), |requests| {
        let round = rounds.replace_with(|round| *round + 1);
        let mut items = Items::default();
        for request in requests {
            let request = in_round(request, round);
            let answer = items.apply(&request);
            prop_assert_eq!(&answer, &amazon.attempt(&request).unwrap(), "{:?}", request);
            let done = matches!(answer, Answer::Done(_));
            seen.borrow_mut().entry(kind(&request)).or_default().insert(done);
        }
        for key in ["a", "b"] {
            let get = in_round(Request::Get { key: key.into() }, round);
            prop_assert_eq!(items.apply(&get), amazon.attempt(&get).unwrap());
        }
        Ok(())
    });
    compared.unwrap();
    for change in CHANGES {
        let outcomes = &seen.borrow()[change.condition];
        assert_eq!(outcomes.len(), 2, "{} was both done and refused", change.name);
    }
}
