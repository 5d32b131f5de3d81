//! Items that another program wrote into. No writer waits for ever for a lease or in a line whose end is absent or
//! nonsense. A counter that has reached its end is reported, and no label is endless. These run on the simulator's
//! items and on Amazon's DynamoDB Local.

#[path = "../../seawall-dynamodb/tests/common/mod.rs"]
mod common;

use common::engine::{Folder, commit};
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::{Coordinator, kinds};
use seawall::ports::storage::Storage;
use seawall::{Database, Error, ErrorKind, Options};
use seawall_dynamodb::address::Address;
use seawall_dynamodb::item::{Item, Value, names, number, text};
use seawall_dynamodb::request::{Answer, Request, Values};
use seawall_dynamodb::table::{Failure, Table};
use seawall_dynamodb::{DynamoCoordinator, sdk};
use seawall_sim::items::Items;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_millis(300);
/// Watching a holder for a whole lease, and some patience for a busy machine.
const IN_TIME: Duration = Duration::from_secs(5);

static ITEMS: LazyLock<Mutex<Items>> = LazyLock::new(Mutex::default);

/// This process's items.
struct InMemory;

impl Table for InMemory {
    fn name(&self) -> &str {
        "hostile"
    }

    fn region(&self) -> &str {
        "nowhere"
    }

    fn attempt(&self, request: &Request) -> Result<Answer, Failure> {
        Ok(ITEMS.lock().unwrap().apply(request))
    }

    fn clock_ahead(&self) -> i64 {
        0
    }
}

fn in_memory(_: &str, database: DatabaseId, storage: &Arc<dyn Storage>) -> Result<Box<dyn Coordinator>, String> {
    Ok(Box::new(DynamoCoordinator::new(Arc::new(InMemory), database, storage.clone())))
}

/// A database whose item is in one of the tables, and that table.
struct Victim {
    folder: Folder,
    options: Options,
    table: Arc<dyn Table>,
}

impl Victim {
    /// One in memory, and one in DynamoDB Local if there is one.
    fn all() -> Vec<Victim> {
        kinds::add("memory", in_memory);
        let local = common::url().map(|url| {
            let table: Arc<dyn Table> = sdk::table(&Address::parse(url).unwrap()).unwrap();
            (url, table)
        });
        let tables = [("memory:", Arc::new(InMemory) as Arc<dyn Table>)].into_iter().chain(local);
        let victim = |(url, table): (&str, _)| {
            let options = Options { coordinator: url.to_owned(), lease: LEASE, ..Options::default() };
            Victim { folder: Folder::new(), options, table }
        };
        tables.map(victim).collect()
    }

    fn open(&self) -> Result<Arc<Database>, Error> {
        self.folder.try_machine_with(&self.options)
    }

    /// Writes `attributes` into the item.
    fn write(&self, database: &Arc<Database>, attributes: &[(&str, Value)]) {
        self.write_at(&key_of(database), attributes);
    }

    fn write_at(&self, key: &str, attributes: &[(&str, Value)]) {
        let key = key.to_owned();
        let Answer::Done(Some(mut item)) = self.table.attempt(&Request::Get { key }).unwrap() else {
            panic!("no item")
        };
        item.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.put(item);
    }

    fn put(&self, item: Item) {
        let put = Request::Put { item, condition: "attribute_exists(#pk)", values: Values::new() };
        assert!(matches!(self.table.attempt(&put), Ok(Answer::Done(_))));
    }

    fn is_local(&self) -> bool {
        self.table.name() != "hostile"
    }
}

fn key_of(database: &Arc<Database>) -> String {
    format!("seawall#{}", database.status().unwrap().database)
}

fn digits(text: &str) -> Value {
    Value::Number(text.into())
}

#[test]
fn no_lease_and_no_line_lasts_for_ever() {
    let lease = |more: &[(&'static str, Value)]| [&[(names::LEASE, text("x"))], more].concat();
    let mut cases = vec![
        lease(&[]),
        lease(&[(names::LEASE_UNTIL, text("soon"))]),
        lease(&[(names::LEASE_UNTIL, Value::Other)]),
        lease(&[(names::LEASE_UNTIL, digits(&"9".repeat(38)))]),
        lease(&[(names::LEASE_UNTIL, number(u64::MAX))]),
        lease(&[(names::LEASE_UNTIL, number(u64::MAX - 1))]),
        lease(&[(names::LEASE_UNTIL, number(u64::MAX - 1)), (names::LEASE_LABEL, Value::Other)]),
        lease(&[(names::LEASE_LABEL, number(7))]),
        lease(&[(names::LEASE_LABEL, text("x".repeat(390_000)))]),
        lease(&[(names::LINE_END, Value::Other), (names::LINE_FRONT, number(u64::MAX))]),
        lease(&[(names::LINE_END, number(9)), (names::LINE_FRONT, number(2))]),
        vec![(names::LEASE, Value::Other)],
        vec![(names::LEASE, number(1)), (names::LEASE_UNTIL, number(u64::MAX - 1))],
        vec![(names::LINE_END, Value::Other)],
        vec![(names::LINE_END, number(1))],
        vec![(names::LINE_FRONT, text("x"))],
        vec![(names::LINE_END, text("x")), (names::LINE_FRONT, digits(&"9".repeat(38)))],
        vec![(names::LINE_END, number(7)), (names::LINE_FRONT, number(8))],
        // A million million waiters, and none of them asks.
        vec![(names::LINE_END, number(1_u64 << 40)), (names::LINE_FRONT, number(0))],
    ];
    for victim in Victim::all() {
        let database = victim.open().unwrap();
        commit(&database, &[(1, 1)]).unwrap();
        if victim.is_local() {
            // The simulator's items know whole numbers only.
            cases.push(lease(&[(names::LEASE_UNTIL, digits("99999999999999999999.5"))]));
        }
        for case in &cases {
            // The lease is to be another process's. This process keeps its own for a moment.
            std::thread::sleep(Duration::from_millis(60));
            victim.write(&database, case);
            let shown: Vec<_> = case.iter().map(|(name, value)| format!("{name} {value:.40?}")).collect();
            let began = Instant::now();
            let mut transaction = database.begin(IN_TIME).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            transaction.write_page(common::engine::page_size(), seawall::PageNo(1), &[2; 4096]).unwrap();
            transaction.commit(1).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            assert!(began.elapsed() < IN_TIME);
        }
    }
}

#[test]
fn a_writer_waits_for_a_live_holder_that_gives_no_time() {
    for victim in Victim::all() {
        let database = victim.open().unwrap();
        commit(&database, &[(1, 1)]).unwrap();
        let key = key_of(&database);
        std::thread::sleep(Duration::from_millis(60));
        // It shows a sign of life by its generation, for longer than a lease.
        let mut generation = 1000;
        victim.write_at(&key, &[(names::LEASE, text("x")), (names::GEN, number(generation))]);
        let busy = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| database.begin(LEASE * 3).map(drop));
            while !waiter.is_finished() {
                generation += 1;
                victim.write_at(&key, &[(names::LEASE, text("x")), (names::GEN, number(generation))]);
                std::thread::sleep(Duration::from_millis(30));
            }
            waiter.join().unwrap()
        });
        assert_eq!(busy.unwrap_err().kind(), ErrorKind::Busy);
    }
}

#[test]
fn a_label_of_390_000_bytes_is_shown_in_one_line() {
    for victim in Victim::all() {
        let database = victim.open().unwrap();
        commit(&database, &[(1, 1)]).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let label = format!("\u{1b}]0;title\u{7}\nroot: {}", "x".repeat(380_000));
        let until = number(u64::MAX / 2);
        victim.write(
            &database,
            &[(names::LEASE, text("x")), (names::LEASE_LABEL, text(label)), (names::LEASE_UNTIL, until)],
        );
        let text = database.begin(Duration::from_millis(30)).map(drop).unwrap_err().to_string();
        assert!(text.len() < 1000 && text.contains("until") && !text.chars().any(char::is_control), "{text}");
        assert!(text.contains(r"\u{1b}]0;title\u{7}\nroot: xxx"), "{text}");
    }
}

#[test]
fn a_counter_at_its_end_is_reported_and_no_writer_waits() {
    for victim in Victim::all() {
        for name in [names::GEN, names::SWEEP, names::EPOCH] {
            for value in [u64::MAX.to_string(), (u64::MAX - 1).to_string(), "9".repeat(38)] {
                let fresh =
                    Victim { folder: Folder::new(), options: victim.options.clone(), table: victim.table.clone() };
                let database = fresh.open().unwrap();
                commit(&database, &[(1, 1)]).unwrap();
                std::thread::sleep(Duration::from_millis(60));
                fresh.write(&database, &[(name, digits(&value))]);
                let began = Instant::now();
                for error in [commit(&database, &[(1, 2)]).map(drop).unwrap_err(), fresh.open().map(drop).unwrap_err()]
                {
                    let text = error.to_string();
                    assert!(text.contains(&format!("its attribute {name} is")), "{text}");
                    assert!(text.contains("Nothing was written"), "{text}");
                }
                assert!(began.elapsed() < IN_TIME);
            }
        }
    }
}
