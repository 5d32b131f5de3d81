//! Commits that ride in the head: what they read back as, when they are folded, and what checkpoints, collections,
//! recoveries and old versions make of them.

mod common;

use common::faulty::{Call, EIO, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, byte, commit, marks, newest, page_size};
use seawall::format::head::{Head, MAX_TEXT};
use seawall::{
    Access, At, Collecting, Database, ErrorKind, Options, PageNo, PageSize, Recovery, Verifying, Version, recover_on,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

/// A database of `pages` pages, in a fold.
fn scene(pages: u32) -> (Folder, Arc<Database>) {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &(1..=pages).map(|page| (page, 1)).collect::<Vec<_>>()).unwrap();
    (folder, a)
}

/// How many commits ride in the head.
fn riding(database: &Arc<Database>) -> usize {
    newest(database).head().window.entries().len()
}

fn is_whole(folder: &Folder) {
    let a = folder.machine();
    let newest = newest(&a);
    for deep in [false, true] {
        let what = Verifying { deep, ..Verifying::default() };
        assert_eq!(a.verify(&newest, what, &mut |_, _| Ok(())).unwrap().findings, []);
    }
}

#[test]
fn small_commits_ride_in_the_head_until_a_fold_takes_them_over_and_every_version_is_kept() {
    let (folder, a) = scene(50);
    let mut folds = 0;
    for n in 2..=120_u8 {
        let committed = commit(&a, &[(1 + u32::from(n) % 3, n)]).unwrap();
        folds += u32::from(committed.head().window.entries().is_empty());
    }
    assert!((4..40).contains(&folds), "{folds} folds");
    let b = folder.machine();
    let snapshot = newest(&b);
    assert_eq!(snapshot.version(), Version(120));
    for page in 1..=3 {
        let last = (2..=120).rev().find(|n| 1 + u32::from(*n as u8) % 3 == page).unwrap();
        assert_eq!(byte(&b, &snapshot, page), last as u8, "page {page}");
    }
    // By number and by time, inside windows and at folds.
    for version in 1..=120_u64 {
        let old = b.version_at(At::Version(Version(version))).unwrap();
        assert_eq!(old.version(), Version(version));
        let page = 1 + version as u32 % 3;
        let expected = if version == 1 { 1 } else { version as u8 };
        assert_eq!(byte(&b, &old, page), expected, "version {version}");
        let at = b.version_at(At::Time(old.time())).unwrap();
        assert!(at.version() >= old.version() && at.time() == old.time(), "version {version}");
    }
    is_whole(&folder);
}

#[test]
fn a_wide_commit_and_one_of_another_page_size_are_folds() {
    let (_folder, a) = scene(50);
    commit(&a, &[(3, 2)]).unwrap();
    assert_eq!(riding(&a), 1);
    commit(&a, &(2..=40).map(|page| (page, 3)).collect::<Vec<_>>()).unwrap();
    assert_eq!(riding(&a), 0);
    // A page that was not read: its new image is longer, and right.
    commit(&a, &[(3, 4)]).unwrap();
    let mut transaction = a.begin(PATIENCE).unwrap();
    let small = PageSize::new(1024).unwrap();
    let bytes = vec![5; 4096];
    for page in 1..=50 {
        transaction.write_page(page_size(), PageNo(page), &bytes).unwrap();
    }
    let committed = transaction.commit_as(small, 200).unwrap();
    assert!(committed.head().window.entries().is_empty());
    assert_eq!((committed.page_size(), committed.page_count()), (Some(small), 200));
}

#[test]
fn a_database_that_shrinks_and_grows_again_inside_a_window_reads_right() {
    let (folder, a) = scene(50);
    let resize = |count: u32, pages: &[(u32, u8)]| {
        let mut transaction = a.begin(PATIENCE).unwrap();
        for (page, byte) in pages {
            transaction.write_page(page_size(), PageNo(*page), &[*byte; 4096]).unwrap();
        }
        transaction.commit(count).unwrap()
    };
    resize(50, &[(50, 2)]);
    resize(40, &[(2, 3)]);
    let grown = resize(50, &[(45, 4)]);
    assert_eq!(grown.head().window.entries().len(), 3, "all of them ride in the head");
    let check = |database: &Arc<Database>| {
        let snapshot = newest(database);
        assert_eq!((byte(database, &snapshot, 2), byte(database, &snapshot, 45)), (3, 4));
        // What was cut off does not come back.
        assert_eq!(byte(database, &snapshot, 50), 0);
        assert_eq!(byte(database, &snapshot, 40), 1);
    };
    check(&a);
    check(&folder.machine());
    let before = a.version_at(At::Version(Version(2))).unwrap();
    assert_eq!(byte(&a, &before, 50), 2);
    // A fold takes it over.
    commit(&a, &(3..=39).map(|page| (page, 9)).collect::<Vec<_>>()).unwrap();
    check(&folder.machine());
    is_whole(&folder);
}

#[test]
fn checkpoints_and_collections_between_entries_change_nothing_that_is_read() {
    let folder = Folder::new();
    common::write_plain(&folder.name(), 60);
    let a = folder.machine();
    let mut expected = [0_u8; 61];
    (1..=60).for_each(|page| expected[page] = page as u8);
    for n in 1..=80_u32 {
        let page = 2 + n % 20;
        commit(&a, &[(page, n as u8)]).unwrap();
        expected[page as usize] = n as u8;
        if n % 7 == 3 {
            let version = newest(&a).version();
            let made = a.checkpoint(&mut |_, _| Ok(())).unwrap().expect("something was committed");
            assert_eq!(made.version, version.0, "a checkpoint is of the newest version, wherever its fold is");
        }
        if n % 11 == 5 {
            a.collect(Collecting { shortest_history: Duration::ZERO, ..Collecting::default() }).unwrap();
        }
        let b = folder.machine();
        let snapshot = newest(&b);
        (2..=60)
            .for_each(|page| assert_eq!(byte(&b, &snapshot, page), expected[page as usize], "page {page} after {n}"));
    }
    is_whole(&folder);
}

#[test]
fn what_rides_in_the_head_is_copied_to_a_segment_in_the_background_also_what_others_committed() {
    let (folder, a) = scene(50);
    let b = folder.machine();
    a.stop_background();
    commit(&a, &[(2, 2)]).unwrap();
    commit(&b, &[(3, 3)]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    drop(b);
    let copies = common::confirmed(&folder);
    let newest_copy = copies.iter().max_by_key(|head| head.version).expect("there is a copy");
    assert_eq!((newest_copy.version, newest_copy.window.entries().len()), (Version(3), 2));
    // All names are lost: nothing that was copied is.
    drop(a);
    fs::remove_dir_all(folder.inside("commits")).unwrap();
    let storage = Arc::new(seawall::ports::storage::os::OsStorage::new(&folder.name()).unwrap());
    let recovered = recover_on(storage, &Recovery::default()).unwrap();
    assert_eq!((recovered.proven, recovered.kept.version, recovered.version), (3, 3, Some(4)));
    let c = folder.machine();
    let snapshot = newest(&c);
    assert_eq!((byte(&c, &snapshot, 2), byte(&c, &snapshot, 3)), (2, 3));
    is_whole(&folder);
}

#[test]
fn a_recovery_of_a_healthy_folder_keeps_what_rides_in_the_head() {
    let (folder, a) = scene(50);
    (2..6).for_each(|n| drop(commit(&a, &[(2, n)]).unwrap()));
    let storage = Arc::new(seawall::ports::storage::os::OsStorage::new(&folder.name()).unwrap());
    let recovered = recover_on(storage, &Recovery::default()).unwrap();
    assert_eq!((recovered.kept.version, recovered.version), (5, Some(6)));
    let b = folder.machine();
    assert_eq!(byte(&b, &newest(&b), 2), 5);
}

#[test]
fn a_commit_whose_name_got_no_answer_is_found_in_the_window_of_a_later_head() {
    let (folder, _) = scene(50);
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &Options::default(), &PlainFile).unwrap();
    a.stop_background();
    storage.fail(Call::Publish, Fault::After(EIO), 1);
    let committed = commit(&a, &[(2, 2)]).unwrap();
    assert_eq!((committed.version(), committed.head().window.entries().len()), (Version(2), 1));
    // Refused, by a commit that came first: nothing is left behind, and no mark is needed.
    let b = folder.machine();
    let mut late = a.begin(PATIENCE).unwrap();
    late.write_page(page_size(), PageNo(2), &[7; 4096]).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    commit(&b, &[(3, 3)]).unwrap();
    assert_eq!(late.commit(50).err().unwrap().kind(), ErrorKind::Superseded);
    assert!(marks(&folder).is_empty());
}

#[test]
fn a_refusal_after_which_the_head_cannot_be_had_is_unknown_and_does_not_say_that_nothing_was_written() {
    let (folder, _) = scene(50);
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &Options::default(), &PlainFile).unwrap();
    a.stop_background();
    let mut late = a.begin(PATIENCE).unwrap();
    late.write_page(page_size(), PageNo(2), &[7; 4096]).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    commit(&folder.machine(), &[(3, 3)]).unwrap();
    // The first look finds the other commit. The second one would show whether a recovery has taken this one.
    storage.fail_later(Call::Look, Fault::Before(EIO), 1);
    let error = late.commit(50).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(!error.to_string().contains("Nothing was written"), "{error}");
    storage.heal();
    assert_eq!(newest(&a).version(), Version(2));
}

#[test]
fn a_folder_that_takes_only_short_names_gets_folds_and_loses_nothing() {
    // The probe of a new folder tells 1,000 bytes at least. The folder may have come to a file system that takes less.
    for longest in [1023, 1000, 700] {
        let (folder, _) = scene(50);
        let storage = Arc::new(Faulty::new(&folder.name()));
        storage.limit_records(longest);
        let options = Options::default();
        let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
        for n in 2..60_u8 {
            let committed = commit(&a, &[(1 + u32::from(n) % 5, n)]).unwrap();
            assert!(committed.head().to_string().len() <= longest);
        }
        let snapshot = newest(&folder.machine());
        assert_eq!(snapshot.version(), Version(59));
        let status = a.status().unwrap();
        assert!(status.trouble.iter().any(|trouble| trouble.contains("too long for the file system")), "{status:?}");
        is_whole(&folder);
    }
}

#[test]
fn a_record_fits_whichever_lock_stands_for_the_lease_afterwards() {
    let (folder, a) = scene(50);
    let mut state = 7_u64;
    let mut longest = 0;
    for n in 0..4000_u32 {
        let mut page = [0; 4096];
        let length = 200 + n as usize * 37 % 1400;
        page[..length].fill_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let mut transaction = a.begin(PATIENCE).unwrap();
        transaction.write_page(page_size(), PageNo(2 + n % 5), &page).unwrap();
        let head = transaction.commit(50).unwrap().head().clone();
        if !head.window.entries().is_empty() {
            longest = longest.max(Head { lease_slot: u32::MAX, ..head }.to_string().len());
        }
    }
    assert!((MAX_TEXT - 100..=MAX_TEXT).contains(&longest), "{longest}");
    is_whole(&folder);
}

#[test]
fn a_damaged_entry_is_reported_and_never_read_as_something_else() {
    let (folder, a) = scene(50);
    commit(&a, &[(2, 2)]).unwrap();
    drop(a);
    let path = folder.inside("commits/2");
    let text = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
    let head: Head = text.parse().unwrap();
    let (entry, _) = head.window.entries()[0].clone();
    // Another delta, in a head whose sum is right.
    let mut forged = entry.clone();
    forged.delta[4] ^= 0x55;
    let before = head.at_fold();
    let forged = before.with_entry(forged, head.generation - 1, head.lease_slot);
    fs::remove_file(&path).unwrap();
    symlink(forged.to_string(), &path).unwrap();
    let b = folder.machine();
    let snapshot = newest(&b);
    let error = b.read_page(&snapshot, PageNo(2)).map(drop).unwrap_err();
    assert!(error.to_string().contains("the entry of version 2 in the head"), "{error}");
    assert_eq!(byte(&b, &snapshot, 3), 1, "what it does not touch can be read");
    let found = b.verify(&snapshot, Verifying::default(), &mut |_, _| Ok(())).unwrap();
    assert!(found.findings.iter().any(|finding| finding.file.contains("the entries in the head")), "{found:#?}");
}

#[test]
fn a_window_that_lacks_what_this_process_has_seen_is_refused() {
    let (folder, a) = scene(50);
    a.stop_background();
    (2..5).for_each(|n| drop(commit(&a, &[(2, n)]).unwrap()));
    // Its newest name is lost, and others go on from the one before.
    fs::remove_file(folder.inside("commits/4")).unwrap();
    let b = folder.machine();
    (7..9).for_each(|n| drop(commit(&b, &[(3, n)]).unwrap()));
    assert_eq!(newest(&b).version(), Version(5));
    let error = a.snapshot(seawall::Freshness::Transaction).map(drop).unwrap_err();
    assert!(error.to_string().contains("set back") || error.to_string().contains("does not follow"), "{error}");
    assert!(commit(&a, &[(2, 9)]).is_err());
}

#[test]
fn without_a_page_cache_each_entry_is_applied_once() {
    let (folder, a) = scene(50);
    for n in 2..14_u8 {
        commit(&a, &[(2, n), (3, n), (4, n), (5, n)]).unwrap();
    }
    let b = folder.try_machine_with(&Options { page_cache: 0, ..Options::default() }).unwrap();
    let snapshot = newest(&b);
    assert!(snapshot.head().window.entries().len() >= 5);
    let (cost, read) = common::cost(&b, || byte(&b, &snapshot, 2));
    assert_eq!(read, 13);
    assert!(cost.reads <= 8, "{cost:?}");
}

#[test]
fn an_entry_that_claims_more_pages_than_it_has_is_refused_before_anything_is_made_of_it() {
    let (folder, a) = scene(50);
    commit(&a, &[(2, 2)]).unwrap();
    drop(a);
    let path = folder.inside("commits/2");
    let head: Head = fs::read_link(&path).unwrap().to_str().unwrap().parse().unwrap();
    for page_count in [51, u32::MAX] {
        let entry = seawall::format::window::Entry { page_count, ..head.window.entries()[0].0.clone() };
        let forged = head.at_fold().with_entry(entry, head.generation - 1, head.lease_slot);
        fs::remove_file(&path).unwrap();
        symlink(forged.to_string(), &path).unwrap();
        let error = folder.try_machine().map(drop).unwrap_err();
        assert!(error.to_string().contains("another number of pages"), "{error}");
    }
}

#[test]
fn a_checkpoint_after_the_first_commit_of_an_adopted_database_has_that_commit() {
    let folder = Folder::new();
    common::write_plain(&folder.name(), 60);
    let a = folder.machine();
    commit(&a, &[(2, 99)]).unwrap();
    let made = a.checkpoint(&mut |_, _| Ok(())).unwrap().expect("there was a commit");
    assert_eq!(made.version, 1);
    assert_eq!(a.checkpoint(&mut |_, _| Ok(())).unwrap(), None, "nothing was committed since");
}

/// The newest commit of each head that was copied to a segment.
fn copied(folder: &Folder) -> Vec<u64> {
    common::confirmed(folder).iter().map(|head| head.version.0).collect()
}

#[test]
fn commits_of_a_process_that_was_killed_are_in_names_only_until_another_process_commits() {
    let folder = Folder::new();
    let killed = folder.machine();
    killed.stop_background();
    (1..=4).for_each(|byte| drop(commit(&killed, &[(2, byte)]).unwrap()));
    let reader = folder.machine();
    assert_eq!(byte(&reader, &newest(&reader), 2), 4);
    // Version 1 is a fold. A process that only reads copies nothing, and starts no thread for it.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((copied(&folder), reader.overview().unwrap().only_in_names), (vec![], 3));
    let writer = folder.machine();
    commit(&writer, &[(3, 5)]).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((copied(&folder), reader.overview().unwrap().only_in_names), (vec![5], 0));
}

#[test]
fn a_copy_that_fails_is_made_again() {
    let folder = Folder::new();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let database = Database::on(storage.clone(), &folder.name(), Access::Create, &common::options(), &PlainFile);
    let database = database.unwrap();
    (1..=3).for_each(|byte| drop(commit(&database, &[(2, byte)]).unwrap()));
    storage.fail(Call::Append, Fault::Before(EIO), 1);
    std::thread::sleep(Duration::from_millis(1500));
    let overview = database.overview().unwrap();
    assert_eq!((copied(&folder), overview.only_in_names), (vec![], 2), "high does not name what was not copied");
    assert!(database.status().unwrap().trouble.is_some());
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((copied(&folder), database.overview().unwrap().only_in_names), (vec![3], 0));
}
