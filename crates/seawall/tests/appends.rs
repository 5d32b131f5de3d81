//! Appends that fail or take long. Their space is given back, a mark says what became of the commit, and no thread
//! waits without need.

mod common;

use common::faulty::{Call, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, NOTHING, PATIENCE, PlainFile, byte, commit, cost, frames, marks, newest, page_size};
use seawall::format::frame::Kind;
use seawall::{Access, Counts, Database, ErrorKind, Options, PageNo, Version};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One machine, on a storage whose calls the test makes fail. Version 1 is committed.
fn scene(options: &Options) -> (Folder, Arc<Faulty>, Arc<Database>) {
    let folder = Folder::new();
    folder.machine();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, options, &PlainFile).unwrap();
    commit(&database, &[(1, 1)]).unwrap();
    (folder, storage, database)
}

fn bytes_of_segments(folder: &Folder) -> u64 {
    let segments = std::fs::read_dir(folder.inside("segments")).unwrap();
    segments.map(|segment| segment.unwrap().metadata().unwrap().len()).sum()
}

/// The newest version and the byte of page 1, as another machine sees them.
fn seen(folder: &Folder) -> (Version, u8) {
    let other = folder.machine();
    let snapshot = newest(&other);
    (snapshot.version(), byte(&other, &snapshot, 1))
}

#[test]
fn a_commit_whose_append_failed_is_marked_before_that_is_reported() {
    let _folds = common::only_folds();
    for fault in [Fault::Before(EIO), Fault::Before(ENOSPC), Fault::Torn(ENOSPC), Fault::After(EIO)] {
        let (folder, storage, database) = scene(&common::options());
        // Its space cannot be given back, so its frame stays in the segment, as it does when a write arrives late.
        storage.fail(Call::Truncate, Fault::Before(EIO), 1);
        storage.fail(Call::Append, fault, 1);
        commit(&database, &[(1, 2)]).unwrap_err();
        let written = marks(&folder);
        assert_eq!(written.len(), 1, "{fault:?}");
        assert_eq!(written[0].version, Version(2), "{fault:?}");
        if let Fault::After(_) = fault {
            let is_it = |(kind, digest, _): &(Kind, _, _)| *kind == Kind::Commit && *digest == written[0].digest;
            assert!(frames(&folder).iter().any(is_it), "the mark is of the very frame that is in the segment");
        }
        let trouble = database.status().unwrap().trouble.expect("the status says that its space was not given back");
        assert!(trouble.contains("giving back"), "{trouble}");
        storage.heal();
        commit(&database, &[(1, 3)]).unwrap();
        assert_eq!(marks(&folder).len(), 1, "it is marked once");
    }
}

#[test]
fn a_mark_that_cannot_be_written_goes_in_front_of_the_next_append() {
    let _folds = common::only_folds();
    let (folder, storage, database) = scene(&common::options());
    storage.fail(Call::Append, Fault::After(EIO), u32::MAX);
    let error = commit(&database, &[(1, 2)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "the failure of the commit is what is reported");
    assert!(marks(&folder).len() <= 1);
    let trouble = database.status().unwrap().trouble.expect("the status reports it");
    assert!(trouble.contains("not marked as refused yet"), "{trouble}");
    commit(&database, &[(1, 2)]).unwrap_err();
    storage.heal();
    commit(&database, &[(1, 3)]).unwrap();
    // One that arrived, although its append failed, was written again.
    let marked: BTreeSet<_> = marks(&folder).iter().map(|mark| mark.commit.0).collect();
    assert_eq!(marked.len(), 2, "each commit that failed");
    assert_eq!(seen(&folder), (Version(2), 3));
}

#[test]
fn a_mark_is_owed_by_a_segment_that_cannot_be_made_too() {
    let _folds = common::only_folds();
    let (folder, storage, database) = scene(&common::options());
    storage.fail(Call::Append, Fault::Before(EIO), 1);
    storage.fail(Call::Create, Fault::Before(ENOSPC), 2);
    commit(&database, &[(1, 2)]).unwrap_err();
    assert_eq!(marks(&folder).len(), 0);
    commit(&database, &[(1, 3)]).unwrap();
    assert_eq!(marks(&folder).len(), 1);
}

#[test]
fn a_mark_that_fails_is_tried_once_more_in_a_new_segment() {
    let _folds = common::only_folds();
    // The commit's own append fails, and then the first try at its mark: its append, or the making of its segment.
    for (appends, creates) in [(2, 0), (1, 1)] {
        let (folder, storage, database) = scene(&common::options());
        storage.fail(Call::Append, Fault::Before(EIO), appends);
        if creates > 0 {
            storage.fail(Call::Create, Fault::Before(ENOSPC), creates);
        }
        commit(&database, &[(1, 2)]).unwrap_err();
        assert_eq!(marks(&folder).len(), 1, "{appends} appends and {creates} segments failed");
    }
}

#[test]
fn where_no_frame_was_encoded_no_mark_is_written() {
    let (folder, storage, database) = scene(&common::options());
    // The first of several pieces: what cannot be compressed takes its space.
    storage.fail(Call::Append, Fault::After(ENOSPC), 1);
    write_much(&database).unwrap_err();
    assert_eq!(marks(&folder), []);
}

#[test]
fn what_a_failed_append_took_is_given_back() {
    for appended in [0, 1, 2] {
        let (folder, storage, database) = scene(&common::options());
        let before = bytes_of_segments(&folder);
        storage.fail_later(Call::Append, Fault::Torn(ENOSPC), appended);
        let error = write_much(&database).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().contains("NAME-seawall/segments/"), "{error}");
        let after = bytes_of_segments(&folder);
        assert!(after < before + 1024, "after {appended} pieces, {} bytes are left of it", after - before);
        commit(&database, &[(1, 3)]).unwrap();
        assert_eq!(seen(&folder), (Version(2), 3));
    }
}

/// 20 MiB that cannot be compressed: three appends.
fn write_much(database: &Arc<Database>) -> seawall::Result<Arc<seawall::Snapshot>> {
    let mut transaction = database.begin(PATIENCE)?;
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for page in 1..=5000 {
        let image: Vec<u8> = (0..4096).map(|_| noise()).collect();
        transaction.write_page(page_size(), PageNo(page), &image)?;
    }
    transaction.commit(5000)
}

#[test]
fn a_lease_is_renewed_while_a_mark_is_pending_and_an_append_takes_long() {
    let _folds = common::only_folds();
    let lease = Duration::from_millis(600);
    let (folder, storage, database) = scene(&Options { lease, ..common::options() });
    // The small commit's mark is due a second after it; the large one holds the segment by then, for several leases.
    let writer = std::thread::spawn({
        let (storage, database) = (storage.clone(), database.clone());
        move || {
            let mut transaction = database.begin(PATIENCE).unwrap();
            transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
            storage.fail(Call::Append, Fault::Hangs, 1);
            transaction.commit(1).map(|snapshot| snapshot.version())
        }
    });
    std::thread::sleep(Duration::from_millis(1200));
    let other = folder.try_machine_with(&Options { lease, ..common::options() }).unwrap();
    let error = other.begin(Duration::from_millis(1800)).err().expect("the lease of a writer at work is renewed");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    storage.heal();
    assert_eq!(writer.join().unwrap().unwrap(), Version(2), "no waiter could take its lease over");
    // The note that had to wait is written in the end.
    let began = Instant::now();
    let is_confirmed = || common::confirmed(&folder).iter().any(|head| head.version == Version(2));
    while !is_confirmed() {
        assert!(began.elapsed() < Duration::from_secs(10), "the newest commit is confirmed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_panic_in_an_append_ends_neither_writing_nor_the_background() {
    let _folds = common::only_folds();
    let (folder, storage, database) = scene(&common::options());
    storage.fail(Call::Append, Fault::Panics, 1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commit(&database, &[(1, 2)])));
    panicked.map(drop).expect_err("it panics");
    commit(&database, &[(1, 3)]).unwrap();
    assert_eq!(marks(&folder).len(), 1, "what the panic left of the commit does not count");
    // The mark of the newest commit, a second later, in the background.
    storage.fail(Call::Append, Fault::Panics, 1);
    let began = Instant::now();
    let trouble = loop {
        match database.status().unwrap().trouble {
            Some(trouble) => break trouble,
            None => assert!(began.elapsed() < Duration::from_secs(10), "the status reports it"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(trouble.contains("background"), "{trouble}");
    commit(&database, &[(1, 4)]).unwrap();
    assert_eq!(seen(&folder), (Version(3), 4));
}

#[test]
fn what_an_append_that_fails_costs() {
    let _folds = common::only_folds();
    let (_folder, storage, database) = scene(&common::options());
    database.stop_background();
    let mut transaction = database.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    storage.fail(Call::Append, Fault::After(EIO), 1);
    let (counts, result) = cost(&database, || transaction.commit(1));
    result.expect_err("it fails");
    // The append that failed; NAME's rights, a new segment with them, and the mark; the look at the head; the space back.
    assert_eq!(counts, Counts { coordinator: 1, appends: 2, metadata: 3, ..NOTHING });
}
