//! Moving a database to another coordinator: nothing acknowledged is lost, and two coordinators never both take commits.

mod common;

use common::faulty::{Call, EIO, Fault, Faulty};
use common::memory::{self, table};
use common::moving::{by, history, machine, move_folder, read, recover, storage};
use common::{Folder, byte, commit, newest};
use seawall::format::head::State;
use seawall::{Access, Database, ErrorKind, Freshness, Moved, Options, Result, move_on};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn drafts(folder: &Folder) -> usize {
    let entries = fs::read_dir(folder.inside("")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("draft.")).count()
}

#[test]
fn a_database_moves_there_and_back_and_on_and_nothing_is_lost() {
    let folder = Folder::new();
    let (one, two) = (table(), table());
    let first = history(&folder, "fs:", 5);
    let mut value = 5;
    let mut sleepers = vec![("fs:".to_owned(), first)];
    let mut at = "fs:".to_owned();
    for to in [&one, &two, "fs:", &two, "fs:", &one].map(str::to_owned) {
        let would = move_on(storage(&folder), &folder.name(), &to, true, &by(&at)).unwrap();
        assert_eq!((would.from.as_str(), would.to.as_str(), would.version), (at.as_str(), to.as_str(), None));
        assert_eq!(read(&folder, &at), value, "a dry run changes nothing");
        let moved = move_folder(&folder, &to).unwrap();
        assert_eq!(moved.version, Some(would.newest + 2), "one commit here, and one there");
        assert_eq!(read(&folder, &to), value);
        assert_eq!(drafts(&folder), 0);
        let error = machine(&folder, &at).err().unwrap().to_string();
        assert!(error.contains(&format!("Ask for coordinator={to}")) && error.contains("OPTIONS"), "{error}");
        for (of, sleeper) in &sleepers {
            let error = commit(sleeper, &[(2, 99)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
            let error = error.to_string();
            let says = if *of == to { "got a new id".into() } else { format!("its coordinator is {to} now") };
            assert!(error.contains(&says) && error.contains("Nothing was written"), "{of}: {error}");
        }
        value += 1;
        let next = machine(&folder, &to).unwrap();
        commit(&next, &[(2, value)]).unwrap();
        assert_eq!(read(&folder, &to), value);
        // It is there already.
        let again = move_folder(&folder, &to).unwrap();
        assert_eq!((again.from == again.to, again.version), (true, Some(moved.version.unwrap() + 1)));
        sleepers.push((to.clone(), next));
        at = to;
    }
    // History goes on through all of that.
    let database = machine(&folder, &at).unwrap();
    let old = database.version_at(seawall::At::Version(seawall::Version(3))).unwrap();
    assert_eq!(byte(&database, &old, 2), 3);
    let verified = database.verify(&newest(&database), seawall::Verifying::default(), &mut |_, _| Ok(())).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

#[test]
fn a_commit_that_was_under_way_is_refused_and_says_where_the_database_is() {
    for (from, to) in [("fs:".to_owned(), table()), (table(), "fs:".to_owned()), (table(), table())] {
        let folder = Folder::new();
        let sleeper = history(&folder, &from, 3);
        let mut transaction = sleeper.begin(common::PATIENCE).unwrap();
        transaction.write_page(common::page_size(), seawall::PageNo(2), &[66; 4096]).unwrap();
        sleeper.stop_background();
        // The mover passes over a holder that is asleep.
        move_folder(&folder, &to).unwrap();
        let pages = transaction.page_count();
        let error = transaction.commit(pages).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
        assert!(error.to_string().contains(&format!("its coordinator is {to} now")), "{error}");
        drop(transaction);
        assert_eq!(read(&folder, &to), 3);
    }
}

#[test]
fn a_process_with_the_old_coordinator_learns_where_the_database_is_though_all_names_are_gone() {
    let (folder, to) = (Folder::new(), table());
    let sleeper = history(&folder, "fs:", 3);
    move_folder(&folder, &to).unwrap();
    // A recovery that gave way to the move has taken the names away.
    for name in fs::read_dir(folder.inside("commits")).unwrap() {
        fs::remove_file(name.unwrap().path()).unwrap();
    }
    for error in [commit(&sleeper, &[(2, 99)]).unwrap_err(), sleeper.snapshot(Freshness::Transaction).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
        assert!(error.to_string().contains(&format!("its coordinator is {to} now")), "{error}");
    }
}

const CALLS: [Call; 13] = [
    Call::Look,
    Call::Publish,
    Call::SyncPublished,
    Call::SyncNames,
    Call::Named,
    Call::Records,
    Call::Lock,
    Call::Read,
    Call::Create,
    Call::Append,
    Call::PutId,
    Call::List,
    Call::Remove,
];

/// What becomes of a database whose move was cut short: it is finished, or undone, and takes commits at one place only.
fn goes_on(folder: &Folder, from: &str, to: &str, undo: bool, what: &str) {
    let before = (machine(folder, from), machine(folder, to));
    if let (Err(at_from), Err(at_to)) = &before {
        let texts = format!("{at_from} {at_to}");
        assert!(texts.contains(&format!("seawall move NAME --to {to}")), "{what}: {texts}");
        assert!(texts.contains("seawall recover NAME"), "{what}: {texts}");
    }
    drop(before);
    let at = if undo {
        recover(folder);
        if machine(folder, from).is_ok() { from } else { to }
    } else {
        let moved = move_folder(folder, to);
        assert!(moved.is_ok(), "{what}: {moved:?}");
        to
    };
    assert_eq!(read(folder, at), 4, "{what}");
    commit(&machine(folder, at).unwrap(), &[(2, 5)]).unwrap();
    assert_eq!(read(folder, at), 5, "{what}");
    let other = if at == from { to } else { from };
    assert!(machine(folder, other).is_err(), "{what}");
    // And it can go wherever it was to go, or came from.
    let moved = move_folder(folder, other);
    assert!(moved.is_ok(), "{what}: {moved:?}");
    assert_eq!(read(folder, other), 5, "{what}");
}

#[test]
fn a_move_that_is_cut_short_at_any_call_of_the_storage_is_finished_or_undone() {
    for to_fs in [false, true] {
        let mut met = std::collections::BTreeSet::new();
        for call in CALLS {
            for fault in [Fault::Before(EIO), Fault::After(EIO)] {
                for (passed, undo) in (0..6).flat_map(|passed| [(passed, false), (passed, true)]) {
                    let folder = Folder::new();
                    let (from, to) = if to_fs { (table(), "fs:".into()) } else { ("fs:".into(), table()) };
                    let what = format!("{from} to {to}: {call:?} {fault:?} after {passed}, undo {undo}");
                    drop(history(&folder, &from, 4));
                    let storage = Arc::new(Faulty::new(&folder.name()));
                    storage.fail_later(call, fault, passed);
                    let first = move_on(storage.clone(), &folder.name(), &to, false, &by(&from));
                    drop(storage);
                    if first.is_err() {
                        met.insert(format!("{call:?}"));
                    }
                    goes_on(&folder, &from, &to, undo, &what);
                }
            }
        }
        for call in ["Create", "Append", "PutId", "Read", "List"] {
            assert!(met.contains(call), "{call} was never cut short: {met:?}");
        }
    }
}

#[test]
fn a_move_that_is_cut_short_at_any_request_is_finished_or_undone() {
    for (from_fs, fails_there) in [(true, true), (false, false), (false, true)] {
        for after in [false, true] {
            for (nth, undo) in (0..12).flat_map(|nth| [(nth, false), (nth, true)]) {
                let folder = Folder::new();
                let (from, to) = (if from_fs { "fs:".into() } else { table() }, table());
                drop(history(&folder, &from, 4));
                let failing = if fails_there { &to } else { &from };
                memory::fail(failing, nth, after);
                let first = move_folder(&folder, &to);
                let failed = memory::heal(failing);
                let what =
                    format!("from {from} to {to}, request {nth} to {failing}, after {after}, undo {undo}: {first:?}");
                assert!(failed || first.is_ok(), "{what}");
                goes_on(&folder, &from, &to, undo, &what);
                if !failed {
                    break;
                }
            }
        }
    }
}

#[test]
fn of_two_moves_at_once_both_end_at_one_place() {
    for round in 0..20 {
        let folder = Folder::new();
        let (from, to) = if round % 2 == 0 { ("fs:".to_owned(), table()) } else { (table(), "fs:".to_owned()) };
        drop(history(&folder, &from, 4));
        let outcomes: Vec<Result<Moved>> = std::thread::scope(|scope| {
            let both: Vec<_> = (0..2).map(|_| scope.spawn(|| move_folder(&folder, &to))).collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        assert_eq!(move_folder(&folder, &to).unwrap().to, to);
        assert_eq!(read(&folder, &to), 4);
        commit(&machine(&folder, &to).unwrap(), &[(2, 77)]).unwrap();
        assert_eq!(read(&folder, &to), 77);
        assert_eq!(drafts(&folder), 0);
    }
}

#[test]
fn writers_at_work_during_a_move_lose_nothing_that_was_acknowledged() {
    for round in 0..6 {
        let folder = Folder::new();
        let (from, to) = if round % 2 == 0 { ("fs:".to_owned(), table()) } else { (table(), "fs:".to_owned()) };
        let machines = [history(&folder, &from, 3), machine(&folder, &from).unwrap()];
        let acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> = (machines.iter().enumerate())
                .map(|(n, database)| {
                    scope.spawn(move || {
                        let committed =
                            (1..=100_u8).take_while(|value| commit(database, &[(10 + n as u32, *value)]).is_ok());
                        committed.last().unwrap_or_default()
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(5 + 7 * round));
            move_folder(&folder, &to).unwrap();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<u8>>()
        });
        let late = machine(&folder, &to).unwrap();
        let snapshot = newest(&late);
        for (n, last) in acknowledged.into_iter().enumerate() {
            let page = 10 + n as u32;
            let seen = if page <= snapshot.page_count() { byte(&late, &snapshot, page) } else { 0 };
            assert_eq!(seen, last, "round {round}: writer {n}");
        }
    }
}

#[test]
fn a_head_that_is_in_use_there_is_never_replaced() {
    let folder = Folder::new();
    let to = table();
    drop(history(&folder, "fs:", 4));
    move_folder(&folder, &to).unwrap();
    let there = memory::head(&to).unwrap();
    move_folder(&folder, "fs:").unwrap();
    assert_eq!(memory::head(&to).unwrap().state, State::Moved("fs:".into()));
    // As if another folder had taken the database over there.
    memory::put(&to, seawall::format::head::Head { home: 1, ..there });
    let before = memory::head(&to);
    let error = move_folder(&folder, &to).unwrap_err().to_string();
    assert!(error.contains("already has an open head") && error.contains("whose home is 1"), "{error}");
    assert_eq!((memory::head(&to), read(&folder, "fs:")), (before, 4), "nothing was changed, here or there");
}

#[test]
fn a_mover_that_slept_through_the_undoing_changes_nothing() {
    for to_fs in [false, true] {
        for call in [Call::Create, Call::PutId] {
            let folder = Folder::new();
            let (from, to) = if to_fs { (table(), "fs:".to_owned()) } else { ("fs:".to_owned(), table()) };
            drop(history(&folder, &from, 4));
            let sleeping = Arc::new(Faulty::new(&folder.name()));
            // The draft of `id` is the first file that is made, and the last commit's segment the second.
            sleeping.fail_later(call, Fault::Hangs, if call == Call::Create { 2 } else { 0 });
            let (name, options) = (folder.name(), by(&from));
            std::thread::scope(|scope| {
                let mover = scope.spawn(|| move_on(sleeping.clone(), Path::new(&name), &to, false, &options));
                while machine(&folder, &from).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(50));
                recover(&folder);
                commit(&machine(&folder, &from).unwrap(), &[(2, 5)]).unwrap();
                sleeping.heal();
                let error = mover.join().unwrap().unwrap_err().to_string();
                assert!(error.contains(&to), "{error}");
            });
            assert_eq!(read(&folder, &from), 5, "{call:?} to {to}");
            assert!(machine(&folder, &to).is_err());
            assert_eq!(move_folder(&folder, &to).map(|moved| moved.to).unwrap(), to, "{call:?}");
            assert_eq!(read(&folder, &to), 5);
        }
    }
}

#[test]
fn a_mover_that_slept_until_its_draft_was_collected_makes_another_one() {
    let folder = Folder::new();
    let to = table();
    drop(history(&folder, "fs:", 4));
    let sleeping = Arc::new(Faulty::new(&folder.name()));
    sleeping.fail_later(Call::Publish, Fault::Hangs, 0);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| move_on(sleeping.clone(), &folder.name(), &to, false, &by("fs:")));
        while drafts(&folder) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        for entry in fs::read_dir(folder.inside("")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("draft.") {
                fs::remove_file(path).unwrap();
            }
        }
        sleeping.heal();
        mover.join().unwrap().unwrap();
    });
    assert_eq!(read(&folder, &to), 4);
    assert_eq!(drafts(&folder), 0);
}

#[test]
fn a_move_needs_a_database_a_coordinator_and_an_original() {
    let folder = Folder::new();
    let error = move_folder(&folder, "fs:").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDatabase, "{error}");
    drop(history(&folder, "fs:", 4));
    for wrong in ["nonsense:", "memory://nothing?region=here", "fs:/x"] {
        let _ = table();
        assert!(move_folder(&folder, wrong).is_err(), "{wrong}");
        assert_eq!(read(&folder, "fs:"), 4, "{wrong}");
    }
    let copy = Folder::new();
    let (from, to) = (folder.name().parent().unwrap().join("."), copy.name().parent().unwrap().to_owned());
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
    let error = move_folder(&copy, &table()).unwrap_err().to_string();
    assert!(error.contains("this folder is a copy"), "{error}");
}

#[test]
fn a_process_that_keeps_the_database_open_notices_the_new_id() {
    let folder = Folder::new();
    let (one, two) = (table(), table());
    drop(history(&folder, "fs:", 4));
    let open =
        |coordinator: &str| Database::open(&folder.name(), Access::ReadWrite, &by(coordinator), &common::PlainFile);
    let kept = open("fs:").unwrap();
    assert_eq!(byte(&kept, &newest(&kept), 2), 4);
    for to in [&one, &two] {
        // Another process does it.
        move_folder(&folder, to).unwrap();
        assert!(kept.snapshot(seawall::Freshness::Transaction).unwrap_err().to_string().contains("was moved"));
        assert!(open("fs:").err().unwrap().to_string().contains(&format!("coordinator={to}")));
        let fresh = open(to).unwrap();
        commit(&fresh, &[(2, 9)]).unwrap();
        let bound = Database::open_bound(&folder.name(), Access::ReadOnly, &common::PlainFile).unwrap();
        assert_eq!(byte(&bound, &newest(&bound), 2), 9);
    }
}

#[test]
fn a_publication_that_comes_late_is_refused_even_after_the_database_came_back() {
    for comes_back in [false, true] {
        let folder = Folder::new();
        let to = table();
        drop(history(&folder, "fs:", 4));
        let sleeping = Arc::new(Faulty::new(&folder.name()));
        let folds = Options { inline: false, ..by("fs:") };
        let sleeper =
            Database::on(sleeping.clone(), &folder.name(), Access::ReadWrite, &folds, &common::PlainFile).unwrap();
        sleeper.stop_background();
        sleeping.fail_later(Call::Publish, Fault::Hangs, 0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| commit(&sleeper, &[(2, 66)]));
            while fs::read_dir(folder.inside("segments")).unwrap().count() < 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            move_folder(&folder, &to).unwrap();
            if comes_back {
                move_folder(&folder, "fs:").unwrap();
            }
            sleeping.heal();
            let error = writer.join().unwrap().unwrap_err();
            let says = if comes_back { "got a new id" } else { "its coordinator is memory:" };
            assert!(error.to_string().contains(says), "{error}");
        });
        assert_eq!(read(&folder, if comes_back { "fs:" } else { &to }), 4);
    }
}

#[test]
fn a_database_that_a_recovery_set_back_elsewhere_comes_back_to_its_folder() {
    let folder = Folder::new();
    let to = table();
    common::write_plain(&folder.name(), 4);
    let first = folder.folding();
    (1..=4).for_each(|version| drop(commit(&first, &[(2, version)]).unwrap()));
    drop(first);
    let kept: Vec<_> = fs::read_dir(folder.inside("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let other = folder.folding();
    (5..=9).for_each(|version| drop(commit(&other, &[(2, version)]).unwrap()));
    drop(other);
    move_folder(&folder, &to).unwrap();
    for entry in fs::read_dir(folder.inside("segments")).unwrap() {
        let path = entry.unwrap().path();
        if !kept.contains(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    recover(&folder);
    assert_eq!(read(&folder, &to), 4);
    // Its numbers were lower than those that it left there, and go past them.
    let moved = move_folder(&folder, "fs:").unwrap();
    assert!(moved.version.unwrap() > 9, "{moved:?}");
    assert_eq!(read(&folder, "fs:"), 4);
    commit(&machine(&folder, "fs:").unwrap(), &[(2, 5)]).unwrap();
    assert_eq!(read(&folder, "fs:"), 5);
}
