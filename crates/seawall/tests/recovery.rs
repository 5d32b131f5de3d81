//! Recovery drills on the real file system: what was kept, what was lost (only what had to be), and what the operator
//! could read.

mod common;

use common::faulty::{Call, EIO, Fault, Faulty};
use common::{Folder, PlainFile, byte, commit, newest};
use seawall::format::mark::Mark;
use seawall::{
    Access, Collecting, Database, Error, Options, PageNo, Recovered, Recovery, Result, Verifying, Version, recover_on,
};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn recover_with(folder: &Folder, recovery: &Recovery) -> Result<Recovered> {
    let storage = seawall::ports::storage::os::OsStorage::new(&folder.name()).unwrap();
    recover_on(Arc::new(storage), recovery)
}

fn recover(folder: &Folder) -> Recovered {
    recover_with(folder, &Recovery::default()).unwrap()
}

/// Versions 1 to `versions`, in one segment: page 2 has the number of the version.
fn history(folder: &Folder, versions: u8) -> Arc<Database> {
    let database = folder.machine();
    (1..=versions).for_each(|version| drop(commit(&database, &[(1, 7), (2, version)]).unwrap()));
    database
}

fn lose_head(folder: &Folder) {
    fs::remove_dir_all(folder.inside("commits")).unwrap();
}

/// What a newcomer reads in page 2, and at which version.
fn read(folder: &Folder) -> (u64, u8) {
    let database = folder.machine();
    let snapshot = newest(&database);
    (snapshot.version().0, byte(&database, &snapshot, 2))
}

/// The names in the database's folder.
fn names_in(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.inside("")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Every file of the folder, with its content, and every link.
fn tree(folder: &Folder) -> Vec<(String, String)> {
    fn below(path: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            match fs::read_link(&path) {
                Ok(target) => found.push((name, target.display().to_string())),
                Err(_) if path.is_dir() => below(&path, found),
                Err(_) => found.push((name, format!("{:?}", fs::read(&path).unwrap()))),
            }
        }
    }
    let mut found = Vec::new();
    below(folder.name().parent().unwrap(), &mut found);
    found.sort();
    found
}

#[test]
fn a_lost_head_is_made_again_and_nothing_acknowledged_is_lost() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let sleeper = history(&folder, 9);
    lose_head(&folder);
    assert!(folder.try_machine().err().unwrap().to_string().contains("recover"));
    let before = tree(&folder);
    let would = recover_with(&folder, &Recovery { dry_run: true, ..Recovery::default() }).unwrap();
    assert_eq!(tree(&folder), before, "a dry run changes nothing");
    let recovered = recover(&folder);
    assert_eq!(Recovered { version: Some(10), ..would }, recovered);
    assert_eq!((recovered.head, recovered.proven, recovered.kept.version), (None, 8, 9));
    assert!(recovered.never_learned && !recovered.rebuilt && recovered.lost.is_empty());
    assert_eq!(read(&folder), (10, 9));
    // What slept through it may learn of it by a refusal, and goes on where the recovery ended.
    commit(&sleeper, &[(2, 100)]).or_else(|_| commit(&sleeper, &[(2, 100)])).unwrap();
    assert_eq!(read(&folder), (11, 100));
    // A second recovery cannot undo the first.
    lose_head(&folder);
    assert_eq!(recover(&folder).kept.version, 11);
    assert_eq!(read(&folder), (12, 100));
}

#[test]
fn a_confirmed_version_is_proven_and_a_refused_one_does_not_come_back() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let a = history(&folder, 3);
    std::thread::sleep(Duration::from_millis(1500));
    let confirmed = common::confirmed(&folder);
    assert_eq!(confirmed.last().map(|head| head.version), Some(Version(3)), "the background has noted it");
    // Another process appends version 4, and its publication certainly does not take place.
    let (storage, b) = faulty(&folder);
    storage.fail(Call::Publish, Fault::Before(common::faulty::ENOSPC), 1);
    commit(&b, &[(2, 66)]).unwrap_err();
    let refused: Vec<Mark> = common::marks(&folder);
    assert_eq!(refused.len(), 1);
    lose_head(&folder);
    let recovered = recover(&folder);
    assert_eq!((recovered.proven, recovered.kept.version, recovered.never_learned), (3, 3, false));
    assert_eq!(read(&folder), (4, 3));
    drop(a);
}

fn faulty(folder: &Folder) -> (Arc<Faulty>, Arc<Database>) {
    let storage = Arc::new(Faulty::new(&folder.name()));
    let options = Options { lease: Duration::from_millis(300), ..common::options() };
    let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile);
    (storage, database.unwrap())
}

#[test]
fn two_commits_on_one_version_are_the_operators_choice() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    history(&folder, 3);
    // Two appends over version 3, and no trace of what became of their swaps.
    for byte in [41, 42] {
        let (storage, database) = faulty(&folder);
        storage.fail(Call::Publish, Fault::Before(EIO), 99);
        storage.fail(Call::Look, Fault::Slow(1), 1);
        let copy = fs::read_dir(folder.inside("commits")).unwrap().count();
        assert!(matches!(commit(&database, &[(2, byte)]), Err(Error::OutcomeUnknown { .. })));
        assert_eq!(fs::read_dir(folder.inside("commits")).unwrap().count(), copy);
    }
    lose_head(&folder);
    let error = recover_with(&folder, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("2 commits stand on version 3") && error.contains("--commit ID"), "{error}");
    let ids: Vec<&str> = error.split("commit ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    let ids: Vec<_> = ids.iter().filter_map(|id| id.parse().ok()).collect();
    assert_eq!(ids.len(), 2, "{error}");
    let recovered = recover_with(&folder, &Recovery { choose: Some(ids[1]), ..Recovery::default() }).unwrap();
    assert_eq!((recovered.kept.commit, recovered.kept.version, recovered.candidates.len()), (ids[1], 4, 2));
    assert!([41, 42].contains(&read(&folder).1));
}

#[test]
fn a_torn_or_missing_segment_costs_only_what_was_in_it() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    history(&folder, 9).stop_background();
    let segment = folder.segment();
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 40]).unwrap();
    lose_head(&folder);
    let recovered = recover(&folder);
    assert_eq!((recovered.kept.version, recovered.lost.len()), (8, 0), "nothing is left that proves version 9");
    assert_eq!(read(&folder), (9, 8));

    // The head is there, and the files are older: what it names is missing.
    let folder = Folder::new();
    history(&folder, 5);
    let b = folder.machine();
    commit(&b, &[(2, 6)]).unwrap();
    commit(&folder.machine(), &[(3, 7)]).unwrap();
    let mut segments: Vec<_> =
        fs::read_dir(folder.inside("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    fs::remove_file(&segments[1]).unwrap();
    let recovered = recover(&folder);
    assert_eq!((recovered.head, recovered.kept.version), (Some(7), 5));
    assert!(recovered.lost[0].starts_with("version 7"), "{:?}", recovered.lost);
    assert_eq!(read(&folder).1, 5);
}

/// A database of version 3, a base of it, and two versions more.
fn with_base() -> (Folder, Arc<Database>) {
    let folder = Folder::new();
    common::write_plain(&folder.name(), 5);
    let database = folder.machine();
    (1..=3).for_each(|version| drop(commit(&database, &[(2, version), (4, version)]).unwrap()));
    database.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    (5..=6).for_each(|version| drop(commit(&database, &[(2, version)]).unwrap()));
    (folder, database)
}

fn newest_base(folder: &Folder, suffix: &str) -> std::path::PathBuf {
    let bases = fs::read_dir(folder.inside("bases")).unwrap().map(|entry| entry.unwrap().path());
    let mut bases: Vec<_> = bases.filter(|path| path.display().to_string().ends_with(suffix)).collect();
    bases.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    bases.pop().unwrap()
}

#[test]
fn a_damaged_base_is_rebuilt_from_an_older_one_and_the_log() {
    let _folds = common::only_folds();
    type Damage = fn(&Folder);
    let damages: [(&str, Damage); 3] = [
        ("a page of the base", |folder| {
            let file = fs::OpenOptions::new().write(true).open(newest_base(folder, ".sqlite3")).unwrap();
            file.write_all_at(b"x", 3 * 4096 + 100).unwrap();
        }),
        ("the base", |folder| fs::remove_file(newest_base(folder, ".sqlite3")).unwrap()),
        ("the sums", |folder| fs::remove_file(newest_base(folder, ".sums")).unwrap()),
    ];
    for (what, damage) in damages {
        let (folder, _database) = with_base();
        let before = read(&folder);
        damage(&folder);
        lose_head(&folder);
        let recovered = recover(&folder);
        assert!(recovered.rebuilt && recovered.lost.is_empty(), "{what}: {recovered:?}");
        assert_eq!(recovered.kept.version, before.0, "{what}");
        let database = folder.machine();
        let snapshot = newest(&database);
        let bytes: Vec<u8> = (2..=5).map(|page| byte(&database, &snapshot, page)).collect();
        assert_eq!(bytes, [6, 3, 3, 5], "{what}");
        // And a checkpoint makes it whole again.
        database.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
        let late = folder.machine();
        assert_eq!(byte(&late, &newest(&late), 4), 3);
    }
}

#[test]
fn where_nothing_can_be_rebuilt_the_error_says_what_is_damaged() {
    let (folder, database) = with_base();
    fs::write(
        folder.inside("policy"),
        seawall::format::policy::Policy { history: Duration::ZERO, ..Default::default() }.to_string(),
    )
    .unwrap();
    database.collect(Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO }).unwrap();
    fs::remove_file(newest_base(&folder, ".sqlite3")).unwrap();
    lose_head(&folder);
    let before = tree(&folder);
    let error = recover_with(&folder, &Recovery::default()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("bases/"), "{error}");
    assert_eq!(tree(&folder), before, "nothing was sealed that cannot be recovered");
}

#[test]
fn a_lost_id_is_made_again_where_the_coordinator_is_named() {
    let folder = Folder::new();
    history(&folder, 4);
    fs::remove_file(folder.inside("id")).unwrap();
    let error = recover_with(&folder, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("--coordinator fs:"), "{error}");
    let named = Recovery { coordinator: Some("fs:".into()), ..Recovery::default() };
    let recovered = recover_with(&folder, &named).unwrap();
    assert_eq!((recovered.head, recovered.kept.version), (Some(4), 4));
    assert_eq!(read(&folder), (5, 4));
}

#[test]
fn a_copy_does_not_take_the_database_over_by_itself() {
    let folder = Folder::new();
    history(&folder, 4);
    let copy = Folder::new();
    let (from, to) = (folder.name().parent().unwrap().join("."), copy.name().parent().unwrap().to_owned());
    assert!(Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
    let error = recover_with(&copy, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("this folder is a copy"), "{error}");
    let recovered = recover_with(&copy, &Recovery { take_over_home: true, ..Recovery::default() }).unwrap();
    assert_eq!(recovered.kept.version, 4);
    assert_eq!((read(&copy), read(&folder)), ((5, 4), (4, 4)), "with `fs` each folder has its own head");
}

#[test]
fn a_recovery_that_is_cut_short_anywhere_is_finished_by_the_next_one() {
    let _folds = common::only_folds();
    for call in
        [Call::Retire, Call::Reinstate, Call::Create, Call::Append, Call::Link, Call::Replace, Call::Read, Call::List]
    {
        for fault in [Fault::Before(EIO), Fault::After(EIO)] {
            // The pages are read last.
            for passed in 0..if call == Call::Read { 30 } else { 3 } {
                let folder = Folder::new();
                history(&folder, 6);
                lose_head(&folder);
                let storage = Arc::new(Faulty::new(&folder.name()));
                storage.fail_later(call, fault, passed);
                let first = recover_on(storage.clone(), &Recovery::default());
                let recovered = recover(&folder);
                let kept = if first.is_ok() { 7 } else { recovered.kept.version };
                assert!((6..=8).contains(&kept), "{call:?} {fault:?} after {passed}: {first:?}, then {recovered:?}");
                assert_eq!(read(&folder).1, 6, "{call:?} {fault:?} after {passed}");
                assert!(
                    !fs::read_dir(folder.inside(""))
                        .unwrap()
                        .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("commits.") })
                );
            }
        }
    }
}

#[test]
fn a_full_disk_is_found_out_before_the_head_is_sealed() {
    for passed in 0..4 {
        let folder = Folder::new();
        let other = history(&folder, 6);
        let storage = Arc::new(Faulty::new(&folder.name()));
        storage.fail_later(Call::Append, Fault::Before(common::faulty::ENOSPC), passed);
        match recover_on(storage.clone(), &Recovery::default()) {
            Ok(recovered) => assert_eq!(recovered.kept.version, 6),
            Err(error) if passed == 0 => {
                assert!(error.to_string().contains("Nothing was changed"), "{error}");
                assert_eq!(commit(&other, &[(2, 9)]).unwrap().version(), Version(7));
                assert_eq!(
                    fs::read_dir(folder.inside(""))
                        .unwrap()
                        .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("draft.") })
                        .count(),
                    0
                );
            }
            Err(error) => {
                assert!(error.to_string().contains("The head is sealed"), "{error}");
                assert_eq!(recover(&folder).kept.version, 6);
            }
        }
    }
}

/// A process that appended version 4 over version 3 and died before its swap.
fn dies_before_its_swap(folder: &Folder, byte: u8) {
    let (storage, database) = faulty(folder);
    storage.fail(Call::Publish, Fault::Before(EIO), 99);
    storage.fail(Call::Look, Fault::Slow(1), 1);
    assert!(matches!(commit(&database, &[(2, byte)]), Err(Error::OutcomeUnknown { .. })));
}

#[test]
fn the_head_decides_which_of_two_commits_counts_and_what_it_names_is_not_lost_in_silence() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    drop(history(&folder, 3));
    dies_before_its_swap(&folder, 41);
    let would = recover_with(&folder, &Recovery { dry_run: true, ..Recovery::default() }).unwrap();
    assert!(would.keeps_head && would.never_learned && would.lost.is_empty(), "{would:?}");
    let other = folder.machine();
    commit(&other, &[(2, 42)]).unwrap();
    other.stop_background();
    let segment = newest(&other).head().commit().place.unwrap().segment;
    drop(other);
    for take_id in [false, true] {
        let would =
            recover_with(&folder, &Recovery { dry_run: true, coordinator: Some("fs:".into()), ..Recovery::default() })
                .unwrap();
        assert_eq!((would.kept.version, would.candidates.len(), would.keeps_head), (4, 1, true), "{would:?}");
        assert_eq!(would.kept.commit, folder.machine().newest_known().head().commit().id);
        if take_id {
            let id = fs::read(folder.inside("id")).unwrap();
            fs::write(folder.inside("id"), &id[..30]).unwrap();
            let recovery = Recovery { coordinator: Some("fs:".into()), take_over_home: true, ..Recovery::default() };
            assert_eq!(recover_with(&folder, &recovery).unwrap().kept.version, 4);
            assert_eq!(read(&folder), (5, 42));
        }
    }

    let folder = Folder::new();
    drop(history(&folder, 3));
    dies_before_its_swap(&folder, 41);
    let other = folder.machine();
    commit(&other, &[(2, 42)]).unwrap();
    assert_ne!(newest(&other).head().commit().place.unwrap().segment, segment);
    let lost = folder.inside(&format!("segments/{}.seg", newest(&other).head().commit().place.unwrap().segment));
    drop(other);
    fs::remove_file(lost).unwrap();
    let recovered = recover(&folder);
    assert_eq!((recovered.kept.version, recovered.keeps_head), (3, false), "{recovered:?}");
    assert!(recovered.lost.len() == 1 && recovered.lost[0].starts_with("version 4: "), "{recovered:?}");
    assert_eq!(read(&folder), (4, 3));
}

#[test]
fn verify_finds_a_head_that_was_set_back_before_it_was_noted() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    common::write_plain(&folder.name(), 4);
    (1..=3).for_each(|byte| drop(commit(&folder.machine(), &[(2, byte)]).unwrap()));
    let verify = || {
        let deep = Verifying { deep: true, ..Verifying::default() };
        let name = folder.name();
        seawall::verify(&name, &common::options(), None, deep, &mut |_, _| Ok(())).unwrap().findings
    };
    assert_eq!(verify(), []);
    let high = fs::read(folder.inside("high")).ok();
    for byte in 4..=6 {
        let killed = folder.machine();
        commit(&killed, &[(2, byte)]).unwrap();
        killed.stop_background();
    }
    (4..=6).for_each(|version| fs::remove_file(folder.inside(&format!("commits/{version}"))).unwrap());
    match high {
        Some(high) => fs::write(folder.inside("high"), high).unwrap(),
        None => drop(fs::remove_file(folder.inside("high"))),
    }
    let findings = verify();
    assert!(findings[0].why.contains("it names version 3, and version 5 is proven"), "{findings:?}");
    assert_eq!(recover(&folder).kept.version, 6);
}

#[test]
fn what_the_operators_choice_leaves_out_is_said() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    history(&folder, 9).stop_background();
    let candidates = recover_with(&folder, &Recovery { dry_run: true, ..Recovery::default() }).unwrap().candidates;
    let frames = common::frames(&folder);
    let fifth = frames.iter().filter(|(kind, ..)| *kind == seawall::format::frame::Kind::Commit).nth(4).unwrap();
    let fifth = seawall::format::commit_frame::CommitFrame::decode(&fifth.2, &Default::default()).unwrap();
    let recovered = recover_with(&folder, &Recovery { choose: Some(fifth.commit), ..Recovery::default() }).unwrap();
    assert_eq!((candidates.len(), recovered.kept.version), (1, 5));
    assert!(recovered.lost[0].starts_with("versions 6 to 9: after the commit that was chosen"), "{recovered:?}");
    assert_eq!(read(&folder), (6, 5));
}

#[test]
fn an_id_of_another_database_and_segments_that_are_gone_are_told_apart() {
    let (one, other) = (Folder::new(), Folder::new());
    drop(history(&other, 4));
    common::write_plain(&one.name(), 4);
    (1..=3).for_each(|byte| drop(commit(&one.machine(), &[(2, byte)]).unwrap()));
    one.machine().checkpoint(&mut |_, _| Ok(())).unwrap();
    let id = fs::read(one.inside("id")).unwrap();
    fs::copy(other.inside("id"), one.inside("id")).unwrap();
    let error = recover_with(&one, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("they do not belong together"), "{error}");
    fs::write(one.inside("id"), id).unwrap();
    for entry in fs::read_dir(one.inside("segments")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let error = recover_with(&one, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains("version 3") && error.contains("seawall adopt NAME"), "{error}");
}

#[test]
fn what_a_recovery_saved_goes_once_it_is_older_than_history_by_the_servers_clock() {
    let folder = Folder::new();
    drop(history(&folder, 6));
    recover(&folder);
    let records = || {
        let entries = fs::read_dir(folder.inside("")).unwrap().map(|entry| entry.unwrap().path());
        let mut saved = entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("records."));
        saved.next()
    };
    let saved = records().unwrap();
    // Whatever time the writer gave it.
    let file = fs::File::options().write(true).open(&saved).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let policy = |history| seawall::format::policy::Policy { history, ..Default::default() }.to_string();
    fs::write(folder.inside("policy"), policy(Duration::from_secs(1))).unwrap();
    let database = folder.machine();
    let collect = |dry_run| {
        database.collect(Collecting { dry_run, max_duration: None, shortest_history: Duration::ZERO }).unwrap()
    };
    assert_eq!(collect(false).kept[&seawall::Kept::Evidence].files, 1);
    let verified = || database.verify(&newest(&database), seawall::Verifying::default(), &mut |_, _| Ok(())).unwrap();
    assert!(verified().findings.is_empty());
    let whole = fs::read(&saved).unwrap();
    fs::write(&saved, &whole[..100]).unwrap();
    let findings = verified().findings;
    assert_eq!((findings.len(), findings[0].file.contains("records.")), (1, true), "{findings:?}");
    fs::write(&saved, whole).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    // The shortest history counts where it is longer than the policy's.
    let longer = Collecting { dry_run: true, max_duration: None, shortest_history: Duration::from_secs(900) };
    assert_eq!(database.collect(longer).unwrap().kept[&seawall::Kept::Evidence].files, 1);
    assert_eq!((collect(true).deleted.files, records().is_some()), (1, true));
    assert_eq!((collect(false).deleted.files, records()), (1, None));
}

#[test]
fn of_two_recoveries_at_once_one_wins_and_the_other_says_so() {
    let _folds = common::only_folds();
    for _ in 0..20 {
        let folder = Folder::new();
        history(&folder, 6);
        lose_head(&folder);
        let outcomes: Vec<Result<Recovered>> = std::thread::scope(|scope| {
            let both: Vec<_> = (0..2).map(|_| scope.spawn(|| recover_with(&folder, &Recovery::default()))).collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        if outcomes.iter().all(Result::is_err) {
            recover(&folder);
        }
        assert_eq!(read(&folder).1, 6, "{outcomes:?}");
        commit(&folder.machine(), &[(2, 77)]).unwrap();
        assert_eq!(read(&folder).1, 77);
    }
}

#[test]
fn a_recovery_that_slept_over_another_one_commits_nothing() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    history(&folder, 6);
    lose_head(&folder);
    let storage = Arc::new(Faulty::new(&folder.name()));
    // The first one falls asleep when it has sealed the head, before it looks at the segments again.
    storage.fail(Call::Retire, Fault::Hangs, 1);
    let sleeper = std::thread::spawn({
        let storage = storage.clone();
        move || recover_on(storage, &Recovery::default())
    });
    std::thread::sleep(Duration::from_secs(1));
    storage.fail(Call::List, Fault::Hangs, 1);
    storage.fail(Call::Retire, Fault::Slow(0), 1);
    let is_seal = |name: &str| name.starts_with("commits.new.");
    while !names_in(&folder).iter().any(|name| is_seal(name)) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(recover(&folder).version, Some(7));
    commit(&folder.machine(), &[(2, 77)]).unwrap();
    storage.heal();
    let gave_way = sleeper.join().unwrap().unwrap_err().to_string();
    assert!(gave_way.contains("another recovery"), "{gave_way}");
    // The sleeper has left no commit of a newer epoch, which would prove to the next recovery that nothing came after 6.
    lose_head(&folder);
    assert_eq!(recover(&folder).kept.version, 8);
    assert_eq!(read(&folder).1, 77);
}

/// The names of the epochs that were taken.
fn epochs_in(folder: &Folder) -> Vec<String> {
    let mut names: Vec<String> = names_in(folder).into_iter().filter(|name| name.starts_with("epoch.")).collect();
    names.sort();
    names
}

#[test]
fn an_epoch_all_of_whose_commits_are_lost_is_not_begun_again() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    drop(history(&folder, 3));
    let (note, before) = (fs::read(folder.inside("high")).unwrap(), folder.segment());
    lose_head(&folder);
    recover(&folder);
    let database = folder.machine();
    let known = commit(&database, &[(2, 99)]).unwrap();
    assert_eq!((known.version().0, known.head().epoch.0), (5, 1));
    database.stop_background();
    // A process from before the recovery was asleep, and notes now what it has committed then.
    fs::write(folder.inside("high"), note).unwrap();
    // All that was written since the recovery is lost, and so is the head.
    for entry in fs::read_dir(folder.inside("segments")).unwrap() {
        let path = entry.unwrap().path();
        if path != before {
            fs::remove_file(path).unwrap();
        }
    }
    lose_head(&folder);
    let recovered = recover(&folder);
    assert_eq!((recovered.kept.version, recovered.version), (3, Some(4)));
    let after = newest(&folder.machine());
    assert_eq!((after.version().0, after.head().epoch.0), (4, 2), "epoch 1 has another version 4");
    // A process that knows the lost epoch goes on in the new one. What it knows is of a higher version.
    assert_eq!(newest(&database).head().commit(), after.head().commit());
    assert_eq!(read(&folder), (4, 3));
    // A collection leaves the name of the newest epoch.
    assert_eq!(epochs_in(&folder), ["epoch.1", "epoch.2"]);
    let collecting = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO };
    folder.machine().collect(collecting).unwrap();
    assert_eq!(epochs_in(&folder), ["epoch.2"]);
}

#[test]
fn no_two_recoveries_have_one_epoch() {
    let folder = Folder::new();
    history(&folder, 3);
    // Another recovery has taken this epoch, and has not put its head in place.
    fs::write(folder.inside("epoch.1"), "").unwrap();
    fs::write(folder.inside("epoch.2"), "").unwrap();
    lose_head(&folder);
    recover(&folder);
    assert_eq!(newest(&folder.machine()).head().epoch.0, 3);
    // Nobody makes this name: no epoch can follow it.
    fs::write(folder.inside(&format!("epoch.{}", u64::MAX)), "").unwrap();
    let error = recover_with(&folder, &Recovery::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("epoch.{}", u64::MAX)) && error.contains("remove it"), "{error}");
}

#[test]
fn writers_at_work_during_a_recovery_lose_nothing_that_was_acknowledged_afterwards() {
    for round in 0..5 {
        let folder = Folder::new();
        let machines = [history(&folder, 3), folder.machine()];
        let acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> = (machines.iter().enumerate())
                .map(|(n, database)| {
                    scope.spawn(move || {
                        let mut last = 0;
                        for value in 1..=60_u8 {
                            if commit(database, &[(10 + n as u32, value)]).is_ok() {
                                last = value;
                            }
                        }
                        last
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(5 + 7 * round));
            // It may find something that is still on its way, and then it is run again.
            for _ in 0..50 {
                if recover_with(&folder, &Recovery::default()).is_ok() {
                    break;
                }
            }
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<u8>>()
        });
        let late = folder.machine();
        let snapshot = newest(&late);
        for (n, last) in acknowledged.into_iter().enumerate() {
            let page = PageNo(10 + n as u32);
            let seen = if page.0 <= snapshot.page_count() { late.read_page(&snapshot, page).unwrap()[0] } else { 0 };
            assert!(seen >= last, "round {round}: writer {n} saw {last} succeed, and {seen} is there");
        }
    }
}
