//! Heads that another process has put in place, and whose names may not be durable yet: nothing that is durable stands
//! on them (invariant 15). On a local disk a loss of power could take them.

mod common;

use common::faulty::{Call, EIO, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, commit, frames, header, newest, page_size, write_plain};
use seawall::format::frame::Kind;
use seawall::format::sqlite_header::PROTECTED;
use seawall::ports::stock_sqlite::{HeldFile, PlainSqlite};
use seawall::{Access, Collecting, Database, ErrorKind, Options, PageNo, Result, Version, detach_on};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn machine(folder: &Folder) -> (Arc<Faulty>, Arc<Database>) {
    let storage = Arc::new(Faulty::new(&folder.name()));
    let options = Options { lease: Duration::from_millis(300), ..common::options() };
    let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    database.stop_background();
    (storage, database)
}

/// From now on it makes no name in `commits/` durable, until it is healed.
fn syncs_nothing(storage: &Faulty) {
    storage.fail(Call::SyncPublished, Fault::Before(EIO), u32::MAX);
}

/// NAME, and what was done to it.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<&'static str>>>);

struct Recording(Box<dyn HeldFile>, Recorded);

impl PlainSqlite for Recorded {
    fn hold(&self, name: &Path, create: bool, wait: Duration) -> Result<Box<dyn HeldFile>> {
        Ok(Box::new(Recording(PlainFile.hold(name, create, wait)?, self.clone())))
    }
}

impl HeldFile for Recording {
    fn size(&mut self) -> Result<u64> {
        self.0.size()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.0.read(offset, into)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.1.0.lock().unwrap().push("written");
        self.0.write(offset, bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.1.0.lock().unwrap().push("synced");
        self.0.sync()
    }
}

/// A folder whose newest version is 1.
fn folder() -> Folder {
    let folder = Folder::new();
    let first = folder.machine();
    let mut transaction = first.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &header()).unwrap();
    transaction.commit(1).unwrap();
    folder
}

/// A folder whose newest version is 3. The process that named it could not make that durable before it died.
fn folder_of_3() -> Folder {
    let folder = folder();
    let (storage, dead) = machine(&folder);
    commit(&dead, &[(2, 2)]).unwrap();
    syncs_nothing(&storage);
    assert_eq!(commit(&dead, &[(2, 3)]).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    folder
}

/// How many folds there are.
fn folds(folder: &Folder) -> usize {
    frames(folder).iter().filter(|(kind, ..)| *kind == Kind::Commit).count()
}

#[test]
fn a_fold_is_appended_only_over_a_head_that_is_durable() {
    let _folds = common::only_folds();
    let folder = folder_of_3();
    let (storage, database) = machine(&folder);
    syncs_nothing(&storage);
    assert_eq!(newest(&database).version(), Version(3));
    // Its frame would say that version 3 is settled, and a recovery would believe that.
    assert_eq!(commit(&database, &[(2, 4)]).unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(folds(&folder), 3);
    storage.heal();
    storage.fail(Call::SyncPublished, Fault::Slow(0), u32::MAX);
    let syncs = || u32::MAX - storage.left(Call::SyncPublished);
    commit(&database, &[(2, 4)]).unwrap();
    assert_eq!(syncs(), 2, "what it stands on, and its own");
    commit(&database, &[(2, 5)]).unwrap();
    assert_eq!(syncs(), 3, "its own head is durable");
}

#[test]
fn a_pin_and_a_milestone_are_of_a_version_that_is_durable() {
    let folder = folder_of_3();
    let (storage, database) = machine(&folder);
    syncs_nothing(&storage);
    let pin = "mine".parse().unwrap();
    let at_once = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO };
    assert_eq!(database.pin(pin, PATIENCE).unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(database.collect(at_once).unwrap_err().kind(), ErrorKind::Unreachable);
    let made = fs::read_dir(folder.inside("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let made: Vec<String> = made.filter(|name| name.starts_with("milestone") || name.starts_with("pin")).collect();
    assert_eq!(made, Vec::<String>::new());
    storage.heal();
    assert_eq!(database.pin(pin, PATIENCE).unwrap().pin.head.version, Version(3));
    database.collect(at_once).unwrap();
}

#[test]
fn a_detaching_goes_on_over_another_one_s_only_once_that_is_durable() {
    let folder = folder();
    let options = Options { upkeep: false, ..common::options() };
    let detach = |storage: Faulty| detach_on(Arc::new(storage), &folder.name(), &options);
    let first = Faulty::new(&folder.name());
    // What the fence stands on is synced, and the fence is not.
    first.fail_from(Call::SyncPublished, Fault::Before(EIO), 1);
    detach(first).unwrap_err();
    let before = fs::read(folder.name()).unwrap();
    let second = Faulty::new(&folder.name());
    syncs_nothing(&second);
    let error = detach(second).unwrap_err().to_string();
    assert!(error.contains("The database is detached, and NAME is still the older copy"), "{error}");
    assert_eq!(fs::read(folder.name()).unwrap(), before, "NAME is not plain before the database is detached for good");
    detach(Faulty::new(&folder.name())).unwrap();
    assert_ne!(fs::read(folder.name()).unwrap(), before);
}

#[test]
fn an_adoption_that_goes_on_writes_the_mark_again_before_it_syncs_that() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    let mut name = fs::read(folder.name()).unwrap();
    name[18] = PROTECTED;
    fs::write(folder.name(), name).unwrap();
    for inside in ["", "bases", "segments", "commits"] {
        fs::create_dir(folder.inside(inside)).unwrap();
    }
    let (plain, storage) = (Recorded::default(), Arc::new(Faulty::new(&folder.name())));
    Database::on(storage, &folder.name(), Access::Create, &common::options(), &plain).unwrap();
    // The fsync of the one before may have failed. Of bytes that nobody has written since, another one says nothing.
    assert_eq!(*plain.0.lock().unwrap(), ["written", "synced"]);
}
