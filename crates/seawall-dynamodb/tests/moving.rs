//! Moving databases on DynamoDB Local: from `fs:` to a table, back, and from one table to another.

mod common;

use common::engine::{Folder, byte, commit, newest, write_plain};
use seawall::ports::storage::os::OsStorage;
use seawall::{Database, ErrorKind, Moved, Options, Recovery, Result, move_on, recover_on};
use seawall_dynamodb::address::Address;
use seawall_dynamodb::item::{key_of, names};
use seawall_dynamodb::request::{Answer, NEVER, Request, Values};
use seawall_dynamodb::{admin, sdk};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

fn by(coordinator: &str) -> Options {
    Options { coordinator: coordinator.into(), lease: Duration::from_millis(500), ..Options::default() }
}

/// Another table beside that of all tests.
fn another(url: &str, name: &str) -> String {
    let url = url.replacen("?", &format!("-{name}?"), 1);
    admin::create(&sdk::table(&Address::parse(&url).unwrap()).unwrap()).unwrap();
    url
}

fn storage(folder: &Folder) -> Arc<OsStorage> {
    Arc::new(OsStorage::new(&folder.name()).unwrap())
}

fn move_folder(folder: &Folder, from: &str, to: &str) -> Result<Moved> {
    move_on(storage(folder), &folder.name(), to, false, &by(from))
}

fn history(folder: &Folder, coordinator: &str) -> Arc<Database> {
    write_plain(&folder.name(), 4);
    let database = folder.try_machine_with(&by(coordinator)).unwrap();
    (1..=4).for_each(|version| drop(commit(&database, &[(2, version)]).unwrap()));
    database
}

fn read(folder: &Folder, coordinator: &str) -> Result<u8> {
    let database = folder.try_machine_with(&by(coordinator))?;
    Ok(byte(&database, &newest(&database), 2))
}

fn state(folder: &Folder, url: &str) -> Option<String> {
    let id = fs::read_to_string(folder.inside("id")).unwrap();
    let id = id.lines().find_map(|line| line.strip_prefix("database ")).unwrap().parse().unwrap();
    let table = sdk::table(&Address::parse(url).unwrap()).unwrap();
    match seawall_dynamodb::table::Table::attempt(&*table, &Request::Get { key: key_of(id) }) {
        Ok(Answer::Done(Some(item))) => seawall_dynamodb::item::text_of(&item, names::STATE).map(str::to_owned),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_database_moves_between_its_folder_and_tables() {
    let Some(one) = common::url() else { return };
    let two = another(one, "two");
    let folder = Folder::new();
    let mut sleepers = vec![("fs:", history(&folder, "fs:"))];
    let mut value = 4;
    for (from, to) in [("fs:", one), (one, &two), (&two, "fs:"), ("fs:", &two), (&two, one), (one, "fs:")] {
        let moved = move_folder(&folder, from, to).unwrap();
        assert_eq!(moved.version, Some(moved.newest + 2));
        assert_eq!(read(&folder, to).unwrap(), value);
        assert!(read(&folder, from).unwrap_err().to_string().contains("Ask for coordinator="));
        if from != "fs:" {
            assert_eq!(state(&folder, from), Some(format!("moved:{}", moved.to)));
        }
        for (of, sleeper) in &sleepers {
            let error = commit(sleeper, &[(2, 99)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CannotOpen, "{of} after {from} to {to}: {error}");
            let says = if *of == to { "got a new id".into() } else { format!("its coordinator is {} now", moved.to) };
            assert!(error.to_string().contains(&says), "{of} after {from} to {to}: {error}");
        }
        value += 1;
        let next = folder.try_machine_with(&by(to)).unwrap();
        commit(&next, &[(2, value)]).unwrap();
        assert_eq!(read(&folder, to).unwrap(), value);
        sleepers.push((to, next));
    }
}

#[test]
fn a_table_that_is_not_there_costs_nothing_and_an_undone_move_leaves_nothing_in_the_way() {
    let Some(one) = common::url() else { return };
    let folder = Folder::new();
    drop(history(&folder, "fs:"));
    let missing = one.replacen("?", "-missing?", 1);
    let error = move_folder(&folder, "fs:", &missing).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    assert_eq!(read(&folder, "fs:").unwrap(), 4);
    // As if the mover had died before the head was put: the last commit here says where it goes.
    let storage = Arc::new(common::engine::faulty::Faulty::new(&folder.name()));
    let fault = common::engine::faulty::Fault::Before(common::engine::faulty::EIO);
    storage.fail(common::engine::faulty::Call::PutId, fault, 1);
    let error = move_on(storage, &folder.name(), one, false, &by("fs:")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{error}");
    let error = read(&folder, "fs:").unwrap_err().to_string();
    assert!(error.contains("seawall move NAME --to dynamodb://") && error.contains("seawall recover NAME"), "{error}");
    recover_on(self::storage(&folder), &Recovery::default()).unwrap();
    assert_eq!(read(&folder, "fs:").unwrap(), 4);
    commit(&folder.try_machine_with(&by("fs:")).unwrap(), &[(2, 5)]).unwrap();
    let id = fs::read_to_string(folder.inside("id")).unwrap();
    assert!(id.contains("coordinator fs:"), "{id}");
}

#[test]
fn of_two_moves_at_once_both_end_in_the_table() {
    let Some(one) = common::url() else { return };
    for _ in 0..5 {
        let folder = Folder::new();
        drop(history(&folder, "fs:"));
        let outcomes: Vec<Result<Moved>> = std::thread::scope(|scope| {
            let both: Vec<_> = (0..2).map(|_| scope.spawn(|| move_folder(&folder, "fs:", one))).collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        assert_eq!(read(&folder, one).unwrap(), 4);
    }
}

#[test]
fn a_trial_of_the_rights_changes_nothing() {
    let Some(one) = common::url() else { return };
    let table = sdk::table(&Address::parse(one).unwrap()).unwrap();
    let item = [(names::PK.to_owned(), seawall_dynamodb::item::text("seawall#trial"))].into();
    let put = Request::Put { item, condition: NEVER, values: Values::new() };
    let attempt = seawall_dynamodb::table::Table::attempt(&*table, &put);
    assert!(matches!(attempt, Ok(Answer::Refused(None))), "{attempt:?}");
}
