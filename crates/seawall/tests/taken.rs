//! A commit that failed as far as its writer knows, and that a recovery has taken before it was marked as refused.

mod common;

use common::faulty::{Call, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, byte, commit, newest, page_size};
use seawall::ports::storage::os::OsStorage;
use seawall::{
    Access, Database, Error, ErrorKind, Freshness, Options, PageNo, Recovered, Recovery, Snapshot, detach_on,
    recover_on,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A writer that may fail, on a database whose newest version is 2.
struct Scene {
    folder: Folder,
    storage: Arc<Faulty>,
    writer: Arc<Database>,
}

fn scene() -> Scene {
    let folder = Folder::new();
    let first = folder.machine();
    commit(&first, &[(1, 7), (2, 1)]).unwrap();
    drop(first);
    let storage = Arc::new(Faulty::new(&folder.name()));
    let options = Options { lease: Duration::from_millis(300), ..common::options() };
    let writer = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    writer.stop_background();
    commit(&writer, &[(2, 2)]).unwrap();
    Scene { folder, storage, writer }
}

/// A thread that does this, once it hangs on `storage`.
fn hanging<T: Send + 'static>(storage: &Faulty, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = std::thread::spawn(work);
    let until = Instant::now() + PATIENCE;
    while !storage.hangs() {
        assert!(Instant::now() < until && !thread.is_finished(), "it hangs where it is to");
        std::thread::sleep(Duration::from_millis(5));
    }
    thread
}

impl Scene {
    /// A thread does this, and hangs on the way.
    fn begin<T: Send + 'static>(&self, work: impl FnOnce(&Arc<Database>) -> T + Send + 'static) -> JoinHandle<T> {
        let writer = self.writer.clone();
        hanging(&self.storage, move || work(&writer))
    }

    /// Commits pages 1 and 2 of a database that SQLite would read.
    fn commit_a_whole_database(&self) {
        let mut transaction = self.writer.begin(PATIENCE).unwrap();
        transaction.write_page(page_size(), PageNo(1), &common::header()).unwrap();
        transaction.write_page(page_size(), PageNo(2), &[5; 4096]).unwrap();
        transaction.commit(2).unwrap();
    }

    fn recover(&self) -> Recovered {
        recover_on(Arc::new(OsStorage::new(&self.folder.name()).unwrap()), &Recovery::default()).unwrap()
    }

    /// Page 2 of the newest version, and that version, as another machine reads them.
    fn seen(&self) -> (u64, u8) {
        let other = self.folder.machine();
        let snapshot = newest(&other);
        (snapshot.version().0, byte(&other, &snapshot, 2))
    }
}

fn version_of(snapshot: &Snapshot) -> u64 {
    snapshot.version().0
}

#[test]
fn an_append_that_failed_and_arrived_is_not_cut_off_from_what_stands_on_it() {
    let _folds = common::only_folds();
    let scene = scene();
    // It arrives whole. Before its mark is written, a recovery takes it, and others go on.
    scene.storage.fail(Call::Append, Fault::After(EIO), 1);
    scene.storage.fail_later(Call::Create, Fault::Hangs, 0);
    let thread = scene.begin(|writer| commit(writer, &[(2, 3)]).map(|snapshot| version_of(&snapshot)));
    let recovered = scene.recover();
    assert_eq!((recovered.kept.version, recovered.never_learned), (3, true));
    commit(&scene.folder.machine(), &[(3, 9)]).unwrap();
    scene.storage.heal();
    assert_eq!(thread.join().unwrap().unwrap(), 3, "it is in the history");
    assert_eq!(scene.seen(), (5, 3));
}

/// A transaction that streams. The answer is how often its commit appends.
fn large(writer: &Arc<Database>, storage: &Faulty, before: impl FnOnce()) -> (seawall::Result<u64>, u32) {
    let mut transaction = writer.begin(PATIENCE).unwrap();
    for page in 1..=5000 {
        transaction.write_page(page_size(), PageNo(page), &[3; 4096]).unwrap();
    }
    storage.fail(Call::Append, Fault::Slow(0), u32::MAX);
    before();
    let committed = transaction.commit(5000).map(|snapshot| version_of(&snapshot));
    (committed, u32::MAX - storage.left(Call::Append))
}

#[test]
fn the_segment_of_a_large_transaction_stays_if_a_recovery_took_it() {
    let (committed, appends) = {
        let twin = scene();
        large(&twin.writer, &twin.storage, || {})
    };
    assert_eq!(committed.unwrap(), 3);
    let scene = scene();
    let storage = scene.storage.clone();
    let thread = scene.begin(move |writer| {
        // The last one has the commit frame. The next segment to be made is that of the mark.
        let fails = || {
            storage.fail_later(Call::Append, Fault::After(EIO), appends - 1);
            storage.fail_later(Call::Create, Fault::Hangs, 0);
        };
        large(writer, &storage, fails).0
    });
    assert_eq!(scene.recover().kept.version, 3);
    commit(&scene.folder.machine(), &[(1, 9)]).unwrap();
    scene.storage.heal();
    assert_eq!(thread.join().unwrap().unwrap(), 3, "it is in the history");
    assert_eq!(scene.seen(), (5, 3));
}

#[test]
fn a_swap_that_certainly_failed_is_a_success_if_a_recovery_took_the_commit() {
    let _folds = common::only_folds();
    let scene = scene();
    scene.storage.fail(Call::Publish, Fault::Before(ENOSPC), 1);
    // The commit is appended, and its mark waits.
    scene.storage.fail_later(Call::Append, Fault::Hangs, 1);
    let thread = scene.begin(|writer| commit(writer, &[(2, 3)]).map(|snapshot| version_of(&snapshot)));
    assert_eq!(scene.recover().kept.version, 3);
    scene.storage.heal();
    assert_eq!(thread.join().unwrap().unwrap(), 3, "it is in the history");
    assert_eq!(scene.seen(), (4, 3));
}

#[test]
fn a_base_stays_that_a_recovery_has_taken() {
    let _folds = common::only_folds();
    let scene = scene();
    scene.commit_a_whole_database();
    scene.storage.fail(Call::Publish, Fault::Before(ENOSPC), 1);
    scene.storage.fail_later(Call::Append, Fault::Hangs, 1);
    let thread = scene.begin(|writer| writer.checkpoint(&mut |_, _| Ok(())));
    assert_eq!(scene.recover().kept.version, 4);
    scene.storage.heal();
    assert_eq!(thread.join().unwrap().unwrap().expect("a base").version, 3);
    assert_eq!(scene.seen(), (5, 5));
}

/// From now on no look at the head answers.
fn answers_nothing(storage: &Faulty) {
    for call in [Call::Look, Call::Records, Call::Named] {
        storage.fail(call, Fault::Before(EIO), u32::MAX);
    }
}

/// A commit whose append failed, and whose look at the head failed as well.
fn fails_without_a_look(scene: &Scene) -> Error {
    let mut transaction = scene.writer.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(2), &[3; 4096]).unwrap();
    scene.storage.fail(Call::Append, Fault::Before(EIO), 1);
    answers_nothing(&scene.storage);
    transaction.commit(2).unwrap_err()
}

/// The segments, by their age.
fn segments(folder: &Folder) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.inside("segments")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort_by_key(|file| file.metadata().unwrap().modified().unwrap());
    files
}

#[test]
fn a_failure_after_which_the_head_cannot_be_had_is_unknown_and_is_marked_once() {
    let _folds = common::only_folds();
    let scene = scene();
    let error = fails_without_a_look(&scene);
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    let text = error.to_string();
    assert!(text.contains("appending to NAME-seawall/segments/") && text.contains("commits"), "both reasons: {text}");
    assert!(!text.contains("Nothing was written"), "{text}");
    for _ in 0..5 {
        scene.writer.snapshot(Freshness::Transaction).unwrap_err();
    }
    assert_eq!(common::marks(&scene.folder).len(), 1);
    scene.storage.heal();
    assert_eq!(version_of(&newest(&scene.writer)), 2);
}

#[test]
fn a_failure_of_which_nothing_tells_any_more_keeps_no_process_for_good() {
    let _folds = common::only_folds();
    let scene = scene();
    fails_without_a_look(&scene);
    scene.recover();
    let mut files = Vec::new();
    for byte in 0..6 {
        commit(&scene.folder.machine(), &[(3, byte)]).unwrap();
        files.extend(segments(&scene.folder).pop());
    }
    // On the way back from the head to the commit.
    fs::remove_file(&files[2]).unwrap();
    scene.storage.heal();
    assert_eq!(version_of(&newest(&scene.writer)), 9);
}

#[test]
fn a_commit_that_failed_and_cannot_be_marked_leaves_nothing_for_a_later_recovery() {
    let _folds = common::only_folds();
    let scene = scene();
    scene.storage.fail(Call::Append, Fault::After(EIO), 1);
    scene.storage.fail(Call::Create, Fault::Before(EIO), 2);
    let error = commit(&scene.writer, &[(2, 3)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert_eq!(common::marks(&scene.folder), []);
    assert_eq!(scene.recover().kept.version, 2);
    assert_eq!(scene.seen().1, 2);
}

#[test]
fn a_large_transaction_that_found_no_space_leaves_none_taken() {
    let scene = scene();
    let before = segments(&scene.folder);
    let full = || {
        scene.storage.fail(Call::Publish, Fault::Before(ENOSPC), 1);
        // Its mark has no space either.
        scene.storage.fail(Call::Create, Fault::Before(ENOSPC), u32::MAX);
    };
    let error = large(&scene.writer, &scene.storage, full).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(segments(&scene.folder), before);
}

#[test]
fn a_detaching_that_a_recovery_has_taken_and_opened_again_is_none() {
    let _folds = common::only_folds();
    for appends in [true, false] {
        let before = scene();
        before.commit_a_whole_database();
        let Scene { folder, writer, .. } = before;
        drop(writer);
        let storage = Arc::new(Faulty::new(&folder.name()));
        if appends {
            storage.fail(Call::Append, Fault::After(EIO), 1);
            storage.fail_later(Call::Create, Fault::Hangs, 1);
        } else {
            storage.fail(Call::Publish, Fault::Before(ENOSPC), 1);
            storage.fail_later(Call::Append, Fault::Hangs, 1);
        }
        let options = Options { upkeep: false, ..common::options() };
        let (to_fail, name) = (storage.clone(), folder.name());
        let thread = hanging(&storage, move || detach_on(to_fail, &name, &options));
        let recovered = recover_on(Arc::new(OsStorage::new(&folder.name()).unwrap()), &Recovery::default()).unwrap();
        assert!(recovered.never_learned);
        commit(&folder.machine(), &[(2, 9)]).unwrap();
        storage.heal();
        let error = thread.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("has opened the database again"), "{error}");
        let other = folder.machine();
        assert_eq!(byte(&other, &newest(&other), 2), 9, "what was acknowledged is there");
    }
}
