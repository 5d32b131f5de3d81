//! Checkpoints, pins and garbage collection, on the real file system, with several machines in one process.

mod common;

use common::faulty::{Call, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, byte, commit, header, newest, page_size};
use seawall::format::frame::{self, Kind};
use seawall::format::mark::Mark;
use seawall::format::policy::Policy;
use seawall::{
    Access, Collected, Collecting, Database, Error, ErrorKind, Kept, Options, PageNo, PageSize, Result, Snapshot,
    Version,
};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Without a shortest history: what is garbage now can go now.
const AT_ONCE: Collecting = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO };

/// A folder whose policy keeps no history.
fn folder() -> Folder {
    let folder = Folder::new();
    begin(&folder.machine());
    forget_history(&folder);
    folder
}

fn forget_history(folder: &Folder) {
    let policy = Policy { history: Duration::ZERO, ..Policy::default() };
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
}

fn begin(database: &Arc<Database>) {
    let mut transaction = database.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &header()).unwrap();
    transaction.commit(1).unwrap();
}

fn checkpoint(database: &Database) -> Option<seawall::Checkpoint> {
    database.checkpoint(&mut |_, _| Ok(())).unwrap()
}

fn collect(database: &Database) -> Collected {
    let collected = database.collect(AT_ONCE).unwrap();
    assert_eq!((&collected.left[..], &collected.unknown[..]), (&[][..], &[][..]));
    collected
}

fn files(folder: &Folder, inside: &str) -> Vec<String> {
    let names = fs::read_dir(folder.inside(inside)).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every page but the first, by its byte.
fn content(database: &Database, snapshot: &Snapshot) -> Vec<u8> {
    (2..=snapshot.page_count()).map(|page| byte(database, snapshot, page)).collect()
}

#[test]
fn a_checkpoint_makes_a_base_and_renews_name_and_everything_reads_the_same() {
    let folder = folder();
    let (a, quiet) = (folder.machine(), folder.machine());
    let old = newest(&quiet);
    for byte in 1..40 {
        commit(&a, &[(2 + u32::from(byte) % 7, byte), (9 + u32::from(byte), byte)]).unwrap();
    }
    let before = content(&a, &newest(&a));
    let mut seen = Vec::new();
    let made = a
        .checkpoint(&mut |done, all| {
            seen.push((done, all));
            Ok(())
        })
        .unwrap()
        .unwrap();
    assert_eq!((made.version, made.pages, made.name_not_renewed), (40, 48, None));
    assert_eq!((made.bytes, seen.last()), (48 * 4096, Some(&(48, 48))));
    assert_eq!(checkpoint(&a), None, "nothing was committed since");
    // The base is named by a version of its own, and what was quiet learns it as it learns any version.
    for database in [&a, &quiet, &folder.machine()] {
        let snapshot = newest(database);
        assert_eq!((snapshot.version(), snapshot.head().base.unwrap().name.version), (Version(41), Version(40)));
        assert_eq!(content(database, &snapshot), before);
    }
    assert_eq!(old.version(), Version(1));
    assert_eq!(quiet.read_page(&old, PageNo(1)).unwrap()[..16], *b"SQLite format 3\0");
    let name = fs::read(folder.name()).unwrap();
    assert_eq!((name.len(), name[18]), (48 * 4096, 3));
    assert!(name[4096..].chunks(4096).zip(&before).all(|(page, byte)| page.iter().all(|b| b == byte)));
    assert_eq!(files(&folder, "bases").len(), 2, "the base and its checksums, and no draft");
    // Commits go on as before.
    commit(&quiet, &[(2, 99)]).unwrap();
    assert_eq!(byte(&a, &newest(&a), 2), 99);
}

#[test]
fn what_no_version_needs_is_collected_and_the_rest_reads_as_before() {
    let _folds = common::only_folds();
    let folder = folder();
    let a = folder.machine();
    for byte in 1..=100 {
        commit(&a, &[(2, byte), (3 + u32::from(byte % 5), byte)]).unwrap();
    }
    // The checkpoint's own commit is in the segment of the process that makes it.
    let b = folder.machine();
    checkpoint(&b).unwrap();
    commit(&b, &[(2, 200)]).unwrap();
    let before = content(&b, &newest(&b));
    // The newest base is of version 101, and nothing older is promised once a milestone is old enough.
    let would = b.collect(Collecting { dry_run: true, ..AT_ONCE }).unwrap();
    assert_eq!(would.deleted.files, 0, "no milestone yet says which version was superseded, and for how long");
    let collected = collect(&b);
    assert_eq!(collected.floor.version, Version(103));
    // The segments of the first two writers.
    assert_eq!(collected.deleted.files, 2);
    assert_eq!(files(&folder, "segments").len(), 1);
    assert_eq!(collected.names, 40, "of 104 versions after the first, the last 64 keep their names");
    for database in [&a, &b, &folder.machine()] {
        assert_eq!(content(database, &newest(database)), before);
    }
    assert!(newest(&a).head().sweep == 1 && newest(&a).head().floor.version == Version(103));
    // The first writer has lost its segment, and begins another.
    commit(&a, &[(2, 201)]).unwrap();
    assert_eq!(byte(&folder.machine(), &newest(&folder.machine()), 2), 201);
    assert_eq!(files(&folder, "segments").len(), 2);
}

#[test]
fn a_collection_without_time_left_deletes_nothing_more_and_the_next_one_goes_on() {
    let _folds = common::only_folds();
    let folder = folder();
    let a = folder.machine();
    commit(&a, &[(2, 1)]).unwrap();
    let b = folder.machine();
    checkpoint(&b).unwrap();
    let collected = b.collect(Collecting { max_duration: Some(Duration::ZERO), ..AT_ONCE }).unwrap();
    // The segments of the process that made the database, and of `a`.
    assert_eq!((collected.deleted.files, collected.postponed.files), (0, 2));
    assert!(collected.postponed.bytes > 0);
    let there = files(&folder, "segments");
    let collected = collect(&b);
    // The sweep of the first collection makes its process begin another segment.
    let left = files(&folder, "segments");
    assert_eq!((collected.postponed.files, there.iter().filter(|name| !left.contains(name)).count()), (0, 2));
}

#[test]
fn history_is_kept_as_long_as_the_policy_says() {
    let folder = folder();
    let a = folder.machine();
    a.set_policy(&Policy::default()).unwrap();
    let inside = newest(&a);
    (1..20).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    checkpoint(&a).unwrap();
    (1..20).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    checkpoint(&a).unwrap();
    let collected = collect(&a);
    assert_eq!((collected.deleted.files, collected.floor.version), (0, Version(0)));
    assert_eq!(a.read_page(&inside, PageNo(1)).unwrap()[..], header());
    let refused = a.set_policy(&Policy { history: Duration::from_secs(899), ..Policy::default() }).unwrap_err();
    assert!(refused.to_string().contains("too short"), "{refused}");
    assert_eq!(a.policy().unwrap(), Policy::default());
}

#[test]
fn a_snapshot_below_the_floor_is_too_old_and_one_above_it_is_never_harmed() {
    let _folds = common::only_folds();
    let folder = folder();
    commit(&folder.machine(), &[(2, 1)]).unwrap();
    commit(&folder.machine(), &[(3, 1)]).unwrap();
    let reader = folder.machine();
    let old = newest(&reader);
    let b = folder.machine();
    commit(&b, &[(2, 2)]).unwrap();
    checkpoint(&b).unwrap();
    commit(&b, &[(2, 3)]).unwrap();
    let newer = newest(&reader);
    collect(&b);
    assert_eq!(byte(&reader, &newer, 2), 3);
    let error = reader.read_page(&old, PageNo(2)).map(|_| "a page").unwrap_err();
    assert!(matches!(error, Error::SnapshotTooOld { version: Version(3), .. }), "{error}");
}

#[test]
fn a_pin_keeps_what_it_names_until_it_is_given_up() {
    let folder = folder();
    let a = folder.machine();
    commit(&a, &[(2, 1)]).unwrap();
    let (pinned, pin) = (newest(&a), a.pin("release-1".parse().unwrap(), Duration::from_secs(3600)).unwrap());
    assert_eq!(pin.pin.head, *pinned.head());
    checkpoint(&a).unwrap();
    let b = folder.machine();
    commit(&b, &[(2, 2)]).unwrap();
    checkpoint(&b).unwrap();
    let collected = collect(&b);
    assert_eq!(collected.deleted.files, 0, "{collected:?}");
    assert!(collected.kept[&Kept::Pin].files > 0);
    assert_eq!(byte(&a, &pinned, 2), 1);
    assert_eq!(b.pins().unwrap().len(), 1);
    assert!(b.unpin("release-1".parse().unwrap()).unwrap() && !b.unpin("release-1".parse().unwrap()).unwrap());
    assert!(collect(&b).deleted.files > 0);
    assert_eq!(byte(&a, &newest(&a), 2), 2);
}

#[test]
fn a_checkpoint_whose_pin_was_taken_away_publishes_nothing() {
    let folder = folder();
    let a = folder.machine();
    commit(&a, &[(2, 1)]).unwrap();
    let version = newest(&a).version();
    let outcome = a.checkpoint(&mut |_, _| {
        for name in files(&folder, ".").iter().filter(|name| name.starts_with("pin.")) {
            fs::remove_file(folder.inside(name)).unwrap();
        }
        Ok(())
    });
    assert_eq!(outcome.unwrap(), None);
    assert_eq!((newest(&a).version(), files(&folder, "bases")), (version, vec![]));
}

#[test]
fn checkpoints_at_once_with_commits_and_collections_leave_one_history() {
    let folder = folder();
    let machines = [folder.machine(), folder.machine(), folder.machine()];
    std::thread::scope(|scope| {
        for (n, database) in machines.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..40_u8 {
                    commit(database, &[(2 + n as u32, round), (5 + u32::from(round % 9), round)]).unwrap();
                }
            });
        }
        for database in &machines[..2] {
            scope.spawn(move || {
                for _ in 0..12 {
                    database.checkpoint(&mut |_, _| Ok(())).unwrap();
                    database.collect(AT_ONCE).unwrap();
                }
            });
        }
    });
    let late = folder.machine();
    let snapshot = newest(&late);
    assert_eq!([2, 3, 4].map(|page| byte(&late, &snapshot, page)), [39, 39, 39]);
    let transactions = 1 + 3 * 40;
    assert!(snapshot.version() > Version(transactions), "checkpoints and collections are versions, too");
    collect(&late);
    // The newest base, and what a checkpoint may have left that found its name taken.
    assert!(files(&folder, "bases").len() <= 4, "{:?}", files(&folder, "bases"));
    assert!(!files(&folder, ".").iter().any(|name| name.contains("draft")), "{:?}", files(&folder, "."));
}

fn faulty(folder: &Folder) -> (Arc<Faulty>, Arc<Database>) {
    let storage = Arc::new(Faulty::new(&folder.name()));
    let options = Options { lease: Duration::from_millis(300), ..common::options() };
    let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile);
    (storage, database.unwrap())
}

const CALLS: [Call; 17] = [
    Call::Look,
    Call::Publish,
    Call::SyncPublished,
    Call::Link,
    Call::Named,
    Call::Lock,
    Call::Read,
    Call::Create,
    Call::Append,
    Call::CreateLong,
    Call::WriteLong,
    Call::FinishLong,
    Call::Replace,
    Call::PutName,
    Call::List,
    Call::Remove,
    Call::Unname,
];

#[test]
fn whatever_fails_nothing_is_lost_and_the_next_run_goes_through() {
    let mut failed = BTreeMap::new();
    for call in CALLS {
        for fault in [Fault::Before(EIO), Fault::After(EIO), Fault::Before(ENOSPC)] {
            for passed in 0..4 {
                let folder = folder();
                let (storage, a) = faulty(&folder);
                for byte in 1..=70 {
                    commit(&a, &[(2 + u32::from(byte % 3), byte), (9, byte)]).unwrap();
                }
                let before = content(&a, &newest(&a));
                storage.fail_later(call, fault, passed);
                let run = |database: &Database| -> Result<()> {
                    database.checkpoint(&mut |_, _| Ok(()))?;
                    database.collect(AT_ONCE).map(drop)
                };
                let first = run(&a);
                if let Err(error) = &first {
                    assert_ne!(error.kind(), ErrorKind::Corrupt, "{call:?} {fault:?} after {passed}: {error}");
                    let says_where = error.to_string().contains("NAME");
                    assert!(error.kind() != ErrorKind::Full || says_where, "{call:?}: {error}");
                    *failed.entry(format!("{call:?}")).or_insert(0) += 1;
                }
                storage.heal();
                let late = folder.machine();
                assert_eq!(content(&late, &newest(&late)), before, "{call:?} {fault:?} after {passed}: {first:?}");
                assert_eq!(content(&a, &newest(&a)), before, "{call:?} {fault:?} after {passed}");
                run(&a).unwrap_or_else(|error| panic!("{call:?} {fault:?} after {passed}, again: {error}"));
                commit(&a, &[(2, 99)]).unwrap();
                let late = folder.machine();
                assert_eq!(byte(&late, &newest(&late), 2), 99);
            }
        }
    }
    // What is not needed for the result may fail without an error of the run: NAME is not renewed, a file stays.
    let fatal: Vec<&str> = failed.keys().map(String::as_str).collect();
    let expected = [
        "Append",
        "CreateLong",
        "FinishLong",
        "Link",
        "List",
        "Look",
        "Named",
        "Publish",
        "Read",
        "Replace",
        "SyncPublished",
        "Unname",
        "WriteLong",
    ];
    assert_eq!(fatal, expected, "{failed:?}");
}

#[test]
fn what_is_not_understood_ends_a_collection_before_it_deletes_anything() {
    for (name, text) in [("policy", "history=1"), ("pin.x", "seawall1 pin"), ("milestone.0-1", "seawall1 milestone")] {
        let folder = folder();
        let a = folder.machine();
        (1..=70).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
        checkpoint(&a).unwrap();
        commit(&folder.machine(), &[(2, 100)]).unwrap();
        fs::write(folder.inside(name), text).unwrap();
        let before = (files(&folder, "segments"), files(&folder, "commits"), newest(&a).version());
        let error = a.collect(AT_ONCE).unwrap_err();
        assert!(error.to_string().contains("Nothing was deleted"), "{error}");
        assert_eq!((files(&folder, "segments"), files(&folder, "commits"), newest(&a).version()), before);
    }
}

#[test]
fn files_that_are_not_seawalls_are_reported_and_stay() {
    let folder = folder();
    let a = folder.machine();
    fs::write(folder.inside("notes.txt"), "mine").unwrap();
    fs::write(folder.inside("segments/x.seg"), "mine").unwrap();
    let collected = a.collect(AT_ONCE).unwrap();
    assert_eq!(collected.unknown, ["notes.txt", "x.seg"]);
    assert!(folder.inside("notes.txt").exists() && folder.inside("segments/x.seg").exists());
}

/// Three checkpoints, after each of which garbage is collected, so that three milestones say since when each base is
/// superseded.
fn with_history(folder: &Folder, policy: &Policy) -> Vec<Collected> {
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
    let mut collected = Vec::new();
    for round in 1..=3 {
        // Each writer has a segment of its own.
        let a = folder.machine();
        for page in 2..40 {
            commit(&a, &[(page, round)]).unwrap();
        }
        checkpoint(&folder.machine()).unwrap();
        // Milestones are so far apart, at least.
        std::thread::sleep(policy.history / 200);
        collected.push(collect(&folder.machine()));
    }
    collected
}

#[test]
fn the_oldest_history_goes_first_where_all_of_it_takes_more_than_the_policys_bytes() {
    let policy = Policy { history: Duration::from_secs(60), ..Policy::default() };
    let unlimited = folder();
    let all = with_history(&unlimited, &policy);
    assert!(all.iter().all(|collected| collected.deleted.files == 0 && !collected.is_cut), "{all:?}");
    let history = all[2].history_bytes;
    assert!(history > all[0].history_bytes);

    // Nothing goes while it fits.
    let fits = folder();
    let fitting = with_history(&fits, &Policy { history_bytes: Some(2 * history), ..policy });
    assert!(fitting.iter().all(|collected| collected.deleted.files == 0 && !collected.is_cut), "{fitting:?}");

    // Where it does not fit, the oldest goes, and no more than must.
    let limited = folder();
    let limit = history - 1000;
    let cut = with_history(&limited, &Policy { history_bytes: Some(limit), ..policy });
    assert!(cut[2].is_cut && cut[2].deleted.files > 0, "{cut:?}");
    assert!(cut[2].history_bytes <= limit && cut[2].history_bytes > all[0].history_bytes, "{cut:?}");
    assert!(cut[2].floor.version > Version(0) && cut[2].floor.version < newest(&limited.machine()).version());
    let late = limited.machine();
    assert_eq!(content(&late, &newest(&late)), content(&unlimited.machine(), &newest(&unlimited.machine())));

    // Not even a limit of nothing takes what is younger than the shortest history.
    let young = folder();
    with_history(&young, &Policy { history_bytes: Some(2 * history), ..policy });
    fs::write(young.inside("policy"), Policy { history_bytes: Some(0), ..policy }.to_string()).unwrap();
    let collecting = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::from_secs(30) };
    let kept = young.machine().collect(collecting).unwrap();
    assert_eq!((kept.deleted.files, kept.is_cut, kept.floor.version), (0, false, Version(0)));
    assert!(kept.history_bytes > 0, "doctor says that it takes more than it may");
    // Without that bound, all of it goes.
    let gone = young.machine().collect(AT_ONCE).unwrap();
    assert!(gone.is_cut && gone.deleted.files > 0, "{gone:?}");
}

#[test]
fn an_overview_says_who_writes_what_is_kept_and_when_garbage_was_collected_last() {
    let folder = folder();
    let a = folder.machine();
    a.set_policy(&Policy::default()).unwrap();
    let before = a.overview().unwrap();
    assert_eq!((before.collected, before.is_late), (None, false), "the database is young");
    forget_history(&folder);
    // A writer keeps the lease for a moment, and says who it is when it has had it for a while.
    let waits_for = |is_so: &dyn Fn(Option<&str>) -> bool| {
        let mut writer = None;
        for _ in 0..500 {
            writer = a.overview().unwrap().writer;
            if is_so(writer.as_deref()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{writer:?}");
    };
    waits_for(&|writer| writer.is_none());
    let transaction = folder.machine().begin(PATIENCE).unwrap();
    waits_for(&|writer| writer.is_some_and(|label| label.contains("process")));
    drop(transaction);
    waits_for(&|writer| writer.is_none());
    (1..=70).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    checkpoint(&a).unwrap();
    commit(&folder.machine(), &[(2, 100)]).unwrap();
    a.pin("release".parse().unwrap(), Duration::from_secs(60)).unwrap();
    let collected = collect(&a);
    let after = folder.machine().overview().unwrap();
    let last = after.collected.unwrap();
    assert_eq!(last.deleted, collected.deleted);
    assert!(a.now().unix_millis().abs_diff(last.time) < 60_000, "{last:?}");
    assert_eq!(after.pins.len(), 1);
    assert_eq!(after.checkpoint_due, Policy::default().checkpoint_at);
    let status = a.status().unwrap();
    assert!(status.log_bytes > 0 && status.base_bytes == 2 * 4096 && status.floor == newest(&a).head().floor);

    // A collection that fails leaves the time of the last one that succeeded.
    fs::write(folder.inside("pin.bad"), "seawall1 pin").unwrap();
    a.collect(AT_ONCE).unwrap_err();
    fs::remove_file(folder.inside("pin.bad")).unwrap();
    assert_eq!(folder.machine().overview().unwrap().collected, Some(last));
}

#[test]
fn what_a_shorter_history_would_make_unreachable_is_known_beforehand() {
    let folder = folder();
    let a = folder.machine();
    a.set_policy(&Policy::default()).unwrap();
    commit(&a, &[(2, 1)]).unwrap();
    collect(&a);
    let version = newest(&a).version();
    commit(&a, &[(2, 2)]).unwrap();
    assert_eq!(a.floor_under(&Policy::default()).unwrap().version, Version(0));
    let none = Policy { history: Duration::ZERO, ..Policy::default() };
    assert_eq!(a.floor_under(&none).unwrap().version, version);
    assert_eq!(newest(&a).head().floor.version, Version(0), "nothing was changed");
}

#[test]
fn a_process_that_slept_over_a_new_page_size_and_a_checkpoint_goes_on() {
    let folder = folder();
    let (a, quiet) = (folder.machine(), folder.machine());
    commit(&a, &[(2, 1)]).unwrap();
    assert_eq!(newest(&quiet).version(), Version(2));
    let mut transaction = a.begin(PATIENCE).unwrap();
    transaction.commit_as(PageSize::new(1024).unwrap(), 8).unwrap();
    drop(transaction);
    checkpoint(&a).unwrap();
    let mut transaction = a.begin(PATIENCE).unwrap();
    transaction.write_page(PageSize::new(1024).unwrap(), PageNo(8), &[7; 1024]).unwrap();
    transaction.commit(8).unwrap();
    drop(transaction);
    // What it lacks is in the base, whose pages have the new size.
    let snapshot = newest(&quiet);
    assert_eq!((snapshot.version(), snapshot.page_count(), byte(&quiet, &snapshot, 8)), (Version(5), 8, 7));
    assert_eq!(byte(&quiet, &snapshot, 5), 1);
}

#[test]
fn a_draft_of_a_dead_process_is_collected_in_a_database_without_pages_too() {
    let folder = Folder::new();
    let a = folder.machine();
    let draft = folder.inside("draft.00112233445566778899aabbccddeeff");
    fs::write(&draft, "half a pin").unwrap();
    assert_eq!(collect(&a).deleted.files, 1);
    assert!(!draft.exists());
    // The sweep was raised by a commit, which names a page size. The first page decides what it is, as before.
    assert_eq!(newest(&a).page_size(), None);
    let small = PageSize::new(1024).unwrap();
    let mut transaction = a.begin(PATIENCE).unwrap();
    transaction.write_page(small, PageNo(1), &header()[..1024]).unwrap();
    transaction.commit(1).unwrap();
    drop(transaction);
    assert_eq!(newest(&a).page_size(), Some(small));
}

#[test]
fn a_segment_is_as_new_as_its_newest_commit_whatever_mark_lies_behind_it() {
    let folder = folder();
    let (a, b, c) = (folder.machine(), folder.machine(), folder.machine());
    commit(&a, &[(2, 1)]).unwrap();
    checkpoint(&b).unwrap();
    // Its frame is longer than what is read of a segment's end at first.
    let many: Vec<(u32, u8)> = (1..=5000).map(|page| (page, 2)).collect();
    commit(&a, &many).unwrap();
    a.stop_background();
    let head = newest(&a).head().clone();
    let segment = head.commit().place.unwrap().segment;
    let path = folder.inside(&format!("segments/{segment}.seg"));
    let mark = Mark {
        database: head.database,
        epoch: head.epoch,
        version: Version(2),
        commit: head.commit().id,
        digest: head.commit().digest,
    };
    let mut bytes = fs::read(&path).unwrap();
    frame::put(&mut bytes, Kind::Mark, &mark.encode());
    fs::write(&path, bytes).unwrap();
    commit(&c, &many).unwrap();
    // The base has version 2 alone, and version 4 was in history a moment ago.
    assert_eq!(newest(&c).head().base.unwrap().name.version, Version(2));
    collect(&c);
    assert!(path.exists());
}

#[test]
fn each_checkpoint_gives_its_base_a_name_of_its_own() {
    let folder = folder();
    let (storage, a) = faulty(&folder);
    commit(&a, &[(2, 1)]).unwrap();
    let names = || {
        let pinned = files(&folder, "bases").into_iter().map(|name| name[..12].to_owned());
        pinned.collect::<std::collections::BTreeSet<String>>()
    };
    storage.fail_later(Call::Remove, Fault::Before(EIO), 0);
    // Its pin is gone when it comes to its commit, and its base cannot be removed.
    let given_up = a.checkpoint(&mut |_, _| {
        for name in files(&folder, ".").iter().filter(|name| name.starts_with("pin.")) {
            fs::remove_file(folder.inside(name)).unwrap();
        }
        Ok(())
    });
    assert_eq!(given_up.unwrap(), None);
    let left = names();
    storage.heal();
    checkpoint(&a).unwrap();
    let base = newest(&a).head().base.unwrap().name.to_string();
    assert!(!left.iter().any(|name| base.starts_with(name)), "{left:?} and {base}");
}

/// Where the order is in files a commit does not end the lease, and a writer of this process goes on under it, also after
/// the commit of a collection. That has raised the sweep.
#[test]
fn a_writer_that_goes_on_under_the_lease_of_a_collection_knows_its_own_commit() {
    let _folds = common::only_folds();
    let folder = folder();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let options = common::options();
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    for byte in 1..=20 {
        commit(&a, &[(2, byte)]).unwrap();
    }
    checkpoint(&folder.machine()).unwrap();
    let sweep = newest(&a).head().sweep;
    storage.fail(Call::Publish, Fault::Hangs, u32::MAX);
    std::thread::scope(|scope| {
        let collects = scope.spawn(|| collect(&a));
        std::thread::sleep(Duration::from_millis(300));
        let writes = scope.spawn(|| {
            let mut transaction = a.begin(PATIENCE).unwrap();
            transaction.write_page(page_size(), PageNo(2), &[99; 4096]).unwrap();
            let page_count = transaction.page_count();
            // The name is not made, and the answer does not say so: it may still be on its way.
            storage.fail(Call::Publish, Fault::Before(EIO), 1);
            transaction.commit(page_count)
        });
        std::thread::sleep(Duration::from_millis(100));
        storage.heal();
        assert!(collects.join().unwrap().deleted.files > 0);
        let committed = writes.join().unwrap().expect("it is sent again");
        assert_eq!(committed.head().sweep, sweep + 1);
    });
    assert_eq!(byte(&a, &newest(&a), 2), 99);
}
