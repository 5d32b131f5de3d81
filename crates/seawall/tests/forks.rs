//! What a fork does to the memory of a child, as far as that can be had without one. In a program of its own: it is a
//! child from then on. Real forks are in `tests/python/test_forks.py`.

mod common;

use common::{Folder, PlainFile, commit};
use seawall::ports::process::{PerProcess, Process, forked};
use seawall::{Access, Database, ErrorKind, Freshness, Options, PageNo, begin_request};
use std::sync::Mutex;

#[test]
fn a_child_uses_nothing_that_it_inherited() {
    static LIST: PerProcess<Mutex<Vec<u32>>> = PerProcess::new();
    let parents = LIST.get();
    let mut held = parents.lock().unwrap();
    held.push(1);
    assert!(std::ptr::eq(LIST.get(), parents), "it is the same each time");

    let folder = Folder::new();
    let open = || Database::open(&folder.name(), Access::Create, &Options::default(), &PlainFile).unwrap();
    let inherited = open();
    commit(&inherited, &[(1, 1)]).unwrap();
    let snapshot = inherited.snapshot(Freshness::Transaction).unwrap();
    let mut transaction = inherited.begin(common::PATIENCE).unwrap();

    let parent = Process::this();
    forked();
    assert!(!parent.is_this() && Process::this().is_this());
    // The lock is held by a thread that the child does not have.
    assert!(LIST.get().try_lock().unwrap().is_empty());

    assert!(!inherited.is_current());
    let refused = |error: seawall::Error| {
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
        assert!(error.to_string().contains("was forked"), "{error}");
    };
    refused(inherited.snapshot(Freshness::Transaction).err().unwrap());
    refused(inherited.status().err().unwrap());
    refused(inherited.read_page(&snapshot, PageNo(1)).err().unwrap());
    refused(inherited.begin(common::PATIENCE).err().unwrap());
    refused(transaction.commit(1).err().unwrap());
    drop(transaction);
    begin_request(None);

    let own = open();
    assert!(!std::sync::Arc::ptr_eq(&own, &inherited));
    assert_eq!(own.snapshot(Freshness::Transaction).unwrap().version(), seawall::Version(1));
}
