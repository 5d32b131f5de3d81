//! What the process's list keeps, and what it forgets.

use super::*;
use crate::format::ids::{SegmentName, WriterId};
use crate::ports::stock_sqlite::HeldFile;
use std::os::unix::fs::FileExt;

/// NAME without stock SQLite. No other program uses it.
struct Alone;

struct Held(std::fs::File);

impl PlainSqlite for Alone {
    fn hold(&self, name: &Path, create: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(create).truncate(false).open(name);
        Ok(Box::new(Held(file.map_err(|error| Error::io("opening NAME", error))?)))
    }
}

impl HeldFile for Held {
    fn size(&mut self) -> Result<u64> {
        Ok(self.0.metadata().expect("it is open").len())
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(into, offset).map_err(|error| Error::io("reading NAME", error))
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_all_at(bytes, offset).map_err(|error| Error::io("writing NAME", error))
    }
    fn sync(&mut self) -> Result<()> {
        self.0.sync_all().map_err(|error| Error::io("syncing NAME", error))
    }
}

fn open(name: &Path) -> Result<Arc<Database>> {
    Database::open(name, Access::Create, &Options::default(), &Alone)
}

fn listed(folder: &Path) -> usize {
    databases().keys().filter(|name| name.starts_with(folder)).count()
}

#[test]
fn the_list_is_bounded_whatever_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let held: Vec<_> = (0..20).map(|n| open(&path.join(format!("held {n}"))).unwrap()).collect();
    for n in 0..30 {
        drop(open(&path.join(format!("closed {n}"))).unwrap());
    }
    for n in 0..30 {
        let absent = path.join(format!("absent {n}"));
        assert!(Database::open(&absent, Access::ReadOnly, &Options::default(), &Alone).is_err());
    }
    assert!((20..=20 + KEPT_IDLE + 1).contains(&listed(&path)), "{}", listed(&path));
    let first = open(&path.join("held 0")).unwrap();
    assert!(Arc::ptr_eq(&first, &held[0]), "what is open is the same for all");
    drop((first, held));
    forget_idle();
    assert!(listed(&path) <= KEPT_IDLE, "what is closed at once is forgotten at once");
}

#[test]
fn an_idle_database_that_knows_too_many_segments_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("db");
    let database = open(&name).unwrap();
    let segment = |n| SegmentName { writer: WriterId([7; 8]), n };
    for n in 0..=FORGOTTEN_SEGMENTS as u32 {
        database.tip.pages.segments.number(segment(n));
    }
    assert!(Arc::ptr_eq(&database, &open(&name).unwrap()), "its numbers are in use");
    drop(database);
    assert_eq!(open(&name).unwrap().tip.pages.segments.count(), 0);
}

#[test]
fn numbers_that_make_no_sense_are_refused_in_rust_too() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("db");
    for options in [
        Options { lease: Duration::from_nanos(1), ..Options::default() },
        Options { adoption_timeout: Duration::MAX, ..Options::default() },
        Options { page_cache: usize::MAX, ..Options::default() },
    ] {
        let refused = Database::open(&name, Access::Create, &options, &Alone).err().expect("it is refused");
        assert!(refused.to_string().contains("is expected. Nothing was opened"), "{refused}");
    }
    assert!(!name.exists());
}

#[test]
fn what_is_open_is_found_by_two_look_ups_while_nothing_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let (name, options) = (path.join("db"), Options::default());
    let found = |access| Database::listed(&name, access, &options);
    assert!(found(Access::Create).is_none(), "nothing is open");
    let database = open(&name).unwrap();
    assert!(found(Access::Create).is_none(), "it has not seen which file NAME is");
    open(&name).unwrap();
    let counters = database.tip.storage.counters();
    let before = counters.counts().metadata;
    for access in [Access::Create, Access::ReadWrite, Access::ReadOnly] {
        assert!(Arc::ptr_eq(&found(access).unwrap(), &database));
    }
    assert_eq!(counters.counts().metadata - before, 3 * 2);
    std::os::unix::fs::symlink(&name, path.join("link")).unwrap();
    assert!(Database::listed(&path.join("link"), Access::ReadWrite, &options).is_none(), "a link may lead elsewhere");
    let elsewhere = Options { coordinator: "dynamodb://elsewhere".to_owned(), ..Options::default() };
    assert!(Database::listed(&name, Access::ReadWrite, &elsewhere).is_none());

    let swap = |what: &Path, by: &dyn Fn(&Path)| {
        let away = path.join("away");
        std::fs::rename(what, &away).unwrap();
        by(&away);
        assert!(found(Access::ReadWrite).is_none(), "{}", what.display());
        std::fs::remove_file(what).or_else(|_| std::fs::remove_dir_all(what)).ok();
        std::fs::rename(&away, what).unwrap();
        assert!(Arc::ptr_eq(&open(&name).unwrap(), &database), "{} is back", what.display());
        assert!(found(Access::ReadWrite).is_some(), "{} is back", what.display());
    };
    let inside = path.join("db-seawall");
    for what in [&name, &inside, &inside.join("id")] {
        swap(what, &|_| ());
    }
    for what in [&name, &inside.join("id")] {
        swap(what, &|away| assert!(std::fs::copy(away, what).unwrap() > 0));
        swap(what, &|away| std::os::unix::fs::symlink(away, what).unwrap());
    }
}
