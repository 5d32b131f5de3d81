//! The times that a file server shows of `commits/`. A reader trusts that a version is missing only if the folder has
//! not changed since its newest name was made. These tests check what happens otherwise, and exactly what that costs
//! (the design's budget). That no reader misses a commit is shown by the simulator, and on real NFS.

mod common;

use common::faulty::{Call, EACCES, EIO, Fault, Faulty, Server};
use common::{Folder, NOTHING, PATIENCE, PlainFile, byte, commit, cost, newest};
use seawall::{Access, Counts, Database, ErrorKind, Freshness, Options, Version};
use std::sync::Arc;
use std::time::Duration;

/// So far apart that the folder's time shows that one came after the other.
const APART: Duration = Duration::from_millis(10);
/// In one tick of the server's clock.
const AT_ONCE: Duration = Duration::ZERO;
const LOOK: Counts = Counts { coordinator: 1, ..NOTHING };
/// A look, quiescing the folder, and the look after that.
const QUIESCED: Counts = Counts { coordinator: 2, metadata: 1, ..NOTHING };

struct Machine {
    storage: Arc<Faulty>,
    database: Arc<Database>,
}

/// Two machines behind one server, on which names are made this far apart. Version 1 is committed, and both know it.
struct Scene {
    _folder: Folder,
    server: Arc<Server>,
    a: Machine,
    b: Machine,
}

fn scene(apart: Duration) -> Scene {
    let (folder, server) = (Folder::new(), Server::new(apart));
    let machine = || {
        let storage = Arc::new(Faulty::behind(&server, &folder.name()));
        let options = Options { lease: Duration::from_millis(300), ..Options::default() };
        let database = Database::on(storage.clone(), &folder.name(), Access::Create, &options, &PlainFile).unwrap();
        Machine { storage, database }
    };
    let (a, b) = (machine(), machine());
    commit(&a.database, &[(1, 1)]).unwrap();
    assert_eq!(newest(&b.database).version(), Version(1));
    Scene { _folder: folder, server, a, b }
}

#[test]
fn a_folder_that_has_changed_is_quiesced_once_for_all() {
    let scene = scene(APART);
    let Scene { server, a, b, .. } = &scene;
    assert_eq!(cost(&a.database, || newest(&a.database)).0, LOOK);
    server.change();
    assert_eq!(cost(&a.database, || newest(&a.database)).0, QUIESCED);
    for machine in [a, b] {
        assert_eq!(cost(&machine.database, || newest(&machine.database)).0, LOOK);
    }
    // A new name is a change as well. It is found without a further look.
    commit(&a.database, &[(1, 2)]).unwrap();
    let (news, snapshot) = cost(&b.database, || newest(&b.database));
    assert_eq!(news, Counts { coordinator: 1, metadata: 1, ..NOTHING });
    assert_eq!(byte(&b.database, &snapshot, 1), 2);
}

#[test]
fn a_commit_in_the_same_tick_as_the_one_before_is_acknowledged_in_a_quiesced_folder() {
    let in_turn = |apart| {
        let scene = scene(apart);
        let Scene { a, .. } = &scene;
        (1..3).for_each(|byte| drop(commit(&a.database, &[(1, byte)]).unwrap()));
        cost(&a.database, || commit(&a.database, &[(1, 3)]).unwrap()).0
    };
    let next = Counts { coordinator: 1, metadata: 1, ..NOTHING };
    assert_eq!(in_turn(APART), next);
    assert_eq!(in_turn(AT_ONCE), Counts { metadata: 2, ..next });
}

#[test]
fn a_name_of_the_same_tick_is_looked_at_once_more_and_no_more() {
    let scene = scene(AT_ONCE);
    let Scene { a, b, .. } = &scene;
    commit(&a.database, &[(1, 2)]).unwrap();
    let (news, snapshot) = cost(&b.database, || newest(&b.database));
    assert_eq!(news, Counts { coordinator: 2, metadata: 1, ..NOTHING });
    assert_eq!(byte(&b.database, &snapshot, 1), 2);
    assert_eq!(cost(&b.database, || newest(&b.database)).0, LOOK);
}

#[test]
fn a_reader_that_cannot_quiesce_fails_and_one_that_may_not_goes_on() {
    let scene = scene(APART);
    let Scene { server, a, .. } = &scene;
    server.change();
    a.storage.fail(Call::Quiesce, Fault::Before(EIO), 1);
    assert_eq!(a.database.snapshot(Freshness::Transaction).err().unwrap().kind(), ErrorKind::Unreachable);
    a.storage.fail(Call::Quiesce, Fault::Before(EACCES), 1);
    assert_eq!(newest(&a.database).version(), Version(1));
    a.storage.fail(Call::Quiesce, Fault::Before(EACCES), 1);
    let trouble = a.database.status().unwrap().trouble.expect("the status says what may not be done");
    assert!(trouble.contains("NAME-seawall/commits") && trouble.contains("can be missed"), "{trouble}");
    assert_eq!(cost(&a.database, || newest(&a.database)).0, QUIESCED, "it is not quiesced yet");
    assert_eq!(a.database.status().unwrap().trouble, None, "now it could be done");
}

#[test]
fn a_commit_whose_folder_cannot_be_quiesced_is_committed_once() {
    for fault in [Fault::Before(EIO), Fault::After(EIO), Fault::Before(EACCES)] {
        let scene = scene(AT_ONCE);
        let Scene { a, b, .. } = &scene;
        a.storage.fail(Call::Quiesce, fault, 1);
        assert_eq!(commit(&a.database, &[(1, 2)]).unwrap().version(), Version(2), "{fault:?}");
        let mut transaction = b.database.begin(PATIENCE).unwrap();
        assert_eq!(transaction.snapshot().version(), Version(2), "{fault:?}");
        transaction.write_page(common::page_size(), seawall::PageNo(1), &[3; 4096]).unwrap();
        assert_eq!(transaction.commit(1).unwrap().version(), Version(3), "{fault:?}");
    }
}
