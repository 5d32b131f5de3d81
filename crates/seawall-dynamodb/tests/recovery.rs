//! Recovery drills on DynamoDB Local: what was kept, what was lost, and what the operator can read.

mod common;

use common::engine::{Folder, byte, commit, newest};
use seawall::ports::storage::os::OsStorage;
use seawall::{Database, Options, Recovered, Recovery, Result, recover_on};
use seawall_dynamodb::address::Address;
use seawall_dynamodb::item::{Item, key_of, names};
use seawall_dynamodb::request::{Answer, Request, Values};
use seawall_dynamodb::sdk;
use seawall_dynamodb::table::Table;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A database on the table, with raw access to its item.
struct Scene {
    folder: Folder,
    options: Options,
    table: Arc<dyn Table>,
}

impl Scene {
    /// Versions 1 to `versions`: page 2 has the number of the version. `None` if there is no DynamoDB Local.
    fn new(versions: u8) -> Option<(Scene, Arc<Database>)> {
        let url = common::url()?;
        let options = Options { coordinator: url.into(), lease: Duration::from_millis(500), ..Options::default() };
        let folder = Folder::new();
        let database = folder.try_machine_with(&options).unwrap();
        (1..=versions).for_each(|version| drop(commit(&database, &[(1, 7), (2, version)]).unwrap()));
        let table = sdk::table(&Address::parse(url).unwrap()).unwrap();
        Some((Scene { folder, options, table }, database))
    }

    fn key(&self) -> String {
        let id = fs::read_to_string(self.folder.inside("id")).unwrap();
        let id = id.lines().find_map(|line| line.strip_prefix("database ")).unwrap().parse().unwrap();
        key_of(id)
    }

    fn item(&self) -> Item {
        match self.table.attempt(&Request::Get { key: self.key() }) {
            Ok(Answer::Done(Some(item))) => item,
            other => panic!("{other:?}"),
        }
    }

    fn put(&self, item: Item) {
        let condition = "attribute_exists(#pk) OR attribute_not_exists(#pk)";
        let put = Request::Put { item, condition, values: Values::new() };
        assert!(matches!(self.table.attempt(&put), Ok(Answer::Done(_))));
    }

    fn delete(&self) {
        let delete = Request::Delete { key: self.key(), condition: "attribute_exists(#pk)", values: Values::new() };
        assert!(matches!(self.table.attempt(&delete), Ok(Answer::Done(_))));
    }

    fn recover(&self, recovery: &Recovery) -> Result<Recovered> {
        let storage = Arc::new(OsStorage::new(&self.folder.name()).unwrap());
        recover_on(storage, &Recovery { coordinator: Some(self.options.coordinator.clone()), ..recovery.clone() })
    }

    fn machine(&self) -> Result<Arc<Database>> {
        self.folder.try_machine_with(&self.options)
    }

    /// What a newcomer reads in page 2, and at which version.
    fn read(&self) -> (u64, u8) {
        let database = self.machine().unwrap();
        let snapshot = newest(&database);
        (snapshot.version().0, byte(&database, &snapshot, 2))
    }
}

#[test]
fn a_deleted_head_is_made_again() {
    let Some((scene, sleeper)) = Scene::new(9) else { return };
    scene.delete();
    assert!(scene.machine().err().unwrap().to_string().contains("the head is lost"));
    let recovered = scene.recover(&Recovery::default()).unwrap();
    assert_eq!((recovered.head, recovered.kept.version, recovered.version), (None, 9, Some(10)));
    assert_eq!(scene.read(), (10, 9));
    commit(&sleeper, &[(2, 99)]).or_else(|_| commit(&sleeper, &[(2, 99)])).unwrap();
    assert_eq!(scene.read(), (11, 99));
}

#[test]
fn a_head_that_was_set_back_loses_nothing() {
    let Some((scene, database)) = Scene::new(4) else { return };
    let older = scene.item();
    (5..=9).for_each(|version| drop(commit(&database, &[(2, version)]).unwrap()));
    std::thread::sleep(Duration::from_millis(1500));
    scene.put(older);
    let error = scene.machine().err().unwrap().to_string();
    assert!(error.contains("older than the files") && error.contains("recover"), "{error}");
    let recovered = scene.recover(&Recovery::default()).unwrap();
    assert_eq!((recovered.head, recovered.proven, recovered.kept.version), (Some(4), 9, 9));
    assert_eq!(scene.read(), (10, 9));
}

#[test]
fn the_item_of_a_restored_table_is_replaced() {
    let Some((scene, _database)) = Scene::new(4) else { return };
    let mut item = scene.item();
    item.insert(names::TABLE.into(), seawall_dynamodb::item::text("the-table-before"));
    scene.put(item);
    assert!(scene.machine().err().unwrap().to_string().contains("restored or copied"));
    let recovered = scene.recover(&Recovery::default()).unwrap();
    assert_eq!((recovered.head, recovered.kept.version), (None, 4));
    assert_eq!(scene.read(), (5, 4));
}

#[test]
fn files_that_are_older_than_the_head_say_what_is_lost() {
    let Some((scene, database)) = Scene::new(3) else { return };
    drop(database);
    let segment = scene.folder.segment();
    let bytes = fs::read(&segment).unwrap();
    // What rode in the head would not be lost with the files.
    let folds = Options { inline: false, ..scene.options.clone() };
    let later = scene.folder.try_machine_with(&folds).unwrap();
    commit(&later, &[(2, 4)]).unwrap();
    commit(&later, &[(2, 5)]).unwrap();
    drop(later);
    for entry in fs::read_dir(scene.folder.inside("segments")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::write(&segment, bytes).unwrap();
    assert!(scene.machine().err().unwrap().to_string().contains("the files are older than the head"));
    let recovered = scene.recover(&Recovery { dry_run: true, ..Recovery::default() }).unwrap();
    assert_eq!((recovered.head, recovered.kept.version, recovered.version), (Some(5), 3, None));
    scene.recover(&Recovery::default()).unwrap();
    assert_eq!(scene.read(), (4, 3));
}

#[test]
fn of_two_recoveries_at_once_one_wins_and_the_other_says_so() {
    let Some((scene, _database)) = Scene::new(6) else { return };
    for _ in 0..5 {
        scene.delete();
        let outcomes: Vec<Result<Recovered>> = std::thread::scope(|scope| {
            let both: Vec<_> = (0..2).map(|_| scope.spawn(|| scene.recover(&Recovery::default()))).collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        if outcomes.iter().all(Result::is_err) {
            scene.recover(&Recovery::default()).unwrap();
        }
        assert_eq!(scene.read().1, 6, "{outcomes:?}");
    }
}

#[test]
fn checkpoints_and_collections_work_by_the_table() {
    let Some((scene, database)) = Scene::new(3) else { return };
    let mut header = vec![0; 4096];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..20].copy_from_slice(&[16, 0, 1, 1]);
    let mut transaction = database.begin(Duration::from_secs(5)).unwrap();
    transaction.write_page(common::engine::page_size(), seawall::PageNo(1), &header).unwrap();
    let pages = transaction.page_count();
    transaction.commit(pages).unwrap();
    drop(transaction);
    let none = seawall::format::policy::Policy { history: Duration::ZERO, ..Default::default() };
    fs::write(scene.folder.inside("policy"), none.to_string()).unwrap();
    let other = scene.machine().unwrap();
    other.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    commit(&other, &[(2, 50)]).unwrap();
    let collecting = seawall::Collecting { shortest_history: Duration::ZERO, ..Default::default() };
    let collected = other.collect(collecting).unwrap();
    assert_eq!((collected.deleted.files, collected.names), (1, 0));
    assert_eq!(scene.read().1, 50);
    assert_eq!(byte(&database, &newest(&database), 2), 50, "a quiet reader learned of the base and of the sweep");
    let item = scene.item();
    assert!(item.contains_key(names::BASE) && item.contains_key(names::FLOOR));
}
