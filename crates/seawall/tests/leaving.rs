//! Leaving Seawall, and the ways out where NAME and the folder do not belong together any more.

mod common;

use common::faulty::{Call, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, PlainFile, byte, commit, newest};
use seawall::format::policy::Policy;
use seawall::ports::storage::chosen::{choose, forget};
use seawall::ports::storage::os::OsStorage;
use seawall::{
    Access, Collecting, Database, ErrorKind, Freshness, Options, Verifying, adopt, detach, detach_on, refresh_name,
    restore_from, verify,
};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

fn options() -> Options {
    Options { lease: std::time::Duration::from_millis(300), ..Options::default() }
}

fn database(folder: &Folder) -> std::sync::Arc<Database> {
    Database::open(&folder.name(), Access::ReadWrite, &options(), &PlainFile).unwrap()
}

#[test]
fn a_detached_database_is_the_plain_file_of_its_newest_version() {
    let folder = Folder::new();
    common::write_plain(&folder.name(), 4);
    let other = folder.machine();
    (1..=5).for_each(|version| drop(commit(&other, &[(2, version), (5, version)]).unwrap()));
    let old = newest(&other);
    assert_eq!(detach(&folder.name(), &options()).unwrap(), Some(5));
    let name = fs::read(folder.name()).unwrap();
    assert_eq!((name.len(), name[18]), (5 * 4096, 1), "stock SQLite may write it");
    assert_eq!([1, 2, 3, 4].map(|page| name[page * 4096 + 200]), [5, 3, 4, 5]);
    assert!(!folder.inside("").exists());
    // What was asleep learns what happened, as often as it asks, and writes nothing.
    for _ in 0..3 {
        for error in [commit(&other, &[(2, 9)]).unwrap_err(), other.snapshot(Freshness::Transaction).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
            assert!(error.to_string().contains("was removed while it was open here"), "{error}");
        }
    }
    assert_eq!(fs::read(folder.name()).unwrap(), name);
    drop((other, old));
    // It can come back at any time.
    let again = folder.machine();
    assert_eq!(byte(&again, &newest(&again), 2), 5);
    let error = detach(&folder.name().with_file_name("nothing"), &options()).unwrap_err().to_string();
    assert!(error.contains("is not a Seawall database"), "{error}");
}

#[test]
fn a_detaching_that_was_cut_short_is_finished_by_the_next_one() {
    // After the state, before NAME: as if the process had died there.
    let folder = Folder::new();
    common::write_plain(&folder.name(), 4);
    commit(&folder.machine(), &[(2, 7)]).unwrap();
    fs::create_dir(folder.inside("keep")).unwrap();
    let before = fs::read(folder.name()).unwrap();
    let error = detach(&folder.name(), &options()).unwrap_err().to_string();
    assert!(error.contains("what is not Seawall's was left") && error.contains("keep"), "{error}");
    assert_ne!(fs::read(folder.name()).unwrap(), before);

    let folder = Folder::new();
    common::write_plain(&folder.name(), 4);
    commit(&folder.machine(), &[(2, 7)]).unwrap();
    let protected = fs::read(folder.name()).unwrap();
    let saved = folder.name().with_file_name("saved");
    let copied = std::process::Command::new("cp").arg("-a").arg(folder.inside("commits")).arg(&saved).status();
    assert!(copied.unwrap().success());
    let opened = database(&folder);
    assert_eq!(byte(&opened, &newest(&opened), 2), 7);
    drop(opened);
    // NAME is somebody else's: nothing is overwritten.
    fs::write(folder.name(), "mine").unwrap();
    let error = detach(&folder.name(), &options()).unwrap_err().to_string();
    assert!(error.contains("was touched from outside"), "{error}");
    assert_eq!(fs::read(folder.name()).unwrap(), b"mine");
    fs::write(folder.name(), protected).unwrap();
    assert_eq!(detach(&folder.name(), &options()).unwrap(), Some(1));
    assert_eq!(fs::read(folder.name()).unwrap()[4096 + 200], 7);
}

/// What is beside the folder, but NAME.
fn beside(folder: &Folder) -> Vec<String> {
    let names = fs::read_dir(folder.name().parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| *name != folder.name().file_name().unwrap().to_string_lossy()).collect()
}

#[test]
fn a_detaching_that_is_cut_short_at_any_call_changed_nothing_or_says_how_it_is_finished() {
    const CALLS: [Call; 12] = [
        Call::Read,
        Call::Look,
        Call::List,
        Call::Create,
        Call::Append,
        Call::Publish,
        Call::SyncPublished,
        Call::CreateLong,
        Call::WriteLong,
        Call::FinishLong,
        Call::Remove,
        Call::PutName,
    ];
    let (mut unchanged, mut unfinished) = (0, 0);
    for call in CALLS {
        for fault in [Fault::Before(EIO), Fault::After(EIO), Fault::Before(ENOSPC)] {
            for passed in 0..5 {
                let what = format!("{call:?} {fault:?} after {passed}");
                let folder = Folder::new();
                two_versions(&folder);
                let storage = Arc::new(Faulty::new(&folder.name()));
                storage.fail_later(call, fault, passed);
                choose(&folder.name(), storage.clone());
                let first = detach(&folder.name(), &options());
                forget(&folder.name());
                if let Err(error) = first {
                    let says_where = error.to_string().contains("NAME");
                    let may_be_full = error.kind() == ErrorKind::Full && call != Call::Read;
                    assert!(!may_be_full || says_where, "{what}: {error}");
                    // Either nothing was changed, or every opening says how to go on.
                    match folder.try_machine() {
                        Ok(machine) => {
                            assert_eq!(byte(&machine, &newest(&machine), 2), 8, "{what}: {error}");
                            unchanged += 1;
                        }
                        Err(opening) => {
                            assert!(opening.to_string().contains("seawall detach NAME --yes"), "{what}: {opening}");
                            assert!(
                                error.to_string().contains("seawall detach NAME --yes")
                                    || error.kind() == ErrorKind::OutcomeUnknown
                            );
                            unfinished += 1;
                        }
                    }
                    assert_eq!(detach(&folder.name(), &options()).unwrap(), Some(2), "{what}: {error}");
                }
                let name = fs::read(folder.name()).unwrap();
                assert_eq!((name.len(), name[18], name[4096 + 200]), (6 * 4096, 1, 8), "{what}");
                assert_eq!(beside(&folder), [""; 0], "{what}");
            }
        }
    }
    assert!(unchanged > 30 && unfinished > 5, "{unchanged} {unfinished}");
}

#[test]
fn a_name_that_a_detaching_has_put_is_not_called_overwritten() {
    let folder = Folder::new();
    two_versions(&folder);
    let storage = Arc::new(OsStorage::new(&folder.name()).unwrap());
    detach_on(storage, &folder.name(), &options()).unwrap();
    let detached = fs::read(folder.name()).unwrap();
    for name in [detached.clone(), [&detached[..], &[0; 4096]].concat()] {
        fs::write(folder.name(), name).unwrap();
        let says_how = |error: String| {
            assert!(error.contains("detached") && error.contains("seawall detach NAME --yes"), "{error}");
            assert!(!error.contains("overw"), "{error}");
        };
        says_how(folder.try_machine().err().unwrap().to_string());
        says_how(refresh_name(&folder.name(), &options()).unwrap_err().to_string());
        let verified = verify(&folder.name(), &options(), None, Verifying::default(), &mut |_, _| Ok(())).unwrap();
        let of_name: Vec<_> = verified.findings.into_iter().filter(|finding| finding.file == "NAME").collect();
        assert_eq!(of_name.len(), 1, "{of_name:?}");
        says_how(of_name[0].why.clone());
    }
}

#[test]
fn of_a_detached_database_only_the_folder_is_left_to_be_removed() {
    let folder = Folder::new();
    two_versions(&folder);
    let id = fs::read(folder.inside("id")).unwrap();
    assert_eq!(detach(&folder.name(), &options()).unwrap(), Some(2));
    let name = fs::read(folder.name()).unwrap();
    for rest in ["segments", "bases", "commits"] {
        fs::create_dir_all(folder.inside(rest)).unwrap();
    }
    fs::write(folder.inside("id.detached"), id).unwrap();
    let error = folder.try_machine().err().unwrap().to_string();
    assert!(error.contains("seawall detach NAME --yes") && !error.contains("remove("), "{error}");
    assert_eq!(detach(&folder.name(), &options()).unwrap(), None);
    assert_eq!((fs::read(folder.name()).unwrap(), beside(&folder)), (name, vec![]));
    drop(folder.machine());
}

/// What puts a copy at NAME, and may sleep before it does.
fn put_name(folder: &Folder, storage: &Arc<Faulty>, way: &str) -> Result<(), seawall::Error> {
    match way {
        "checkpoint" => {
            let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options(), &PlainFile)?;
            match database.checkpoint(&mut |_, _| Ok(()))? {
                Some(made) => made.name_not_renewed.map_or(Ok(()), |why| Err(seawall::Error::CannotOpen(why))),
                None => Err(seawall::Error::CannotOpen("nothing to do".into())),
            }
        }
        _ => {
            let _ = fs::remove_file(folder.name());
            choose(&folder.name(), storage.clone());
            let refreshed = refresh_name(&folder.name(), &options());
            forget(&folder.name());
            refreshed.map(drop)
        }
    }
}

#[test]
fn a_copy_of_a_process_that_slept_never_takes_the_place_of_a_detached_name() {
    for way in ["checkpoint", "refresh"] {
        for (call, passed) in [(Call::CreateLong, 0), (Call::FinishLong, 0), (Call::PutName, 0)] {
            let folder = Folder::new();
            two_versions(&folder);
            let protected = fs::read(folder.name()).unwrap();
            let sleeping = Arc::new(Faulty::new(&folder.name()));
            sleeping.fail_later(call, Fault::Hangs, passed);
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| put_name(&folder, &sleeping, way));
                while !sleeping.hangs() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                forget(&folder.name());
                if !folder.name().exists() {
                    fs::write(folder.name(), &protected).unwrap();
                }
                commit(&folder.machine(), &[(2, 77)]).unwrap();
                detach(&folder.name(), &options()).unwrap().unwrap();
                let detached = fs::read(folder.name()).unwrap();
                assert_eq!((detached[18], detached[4096 + 200]), (1, 77));
                sleeping.heal();
                assert!(sleeper.join().unwrap().is_err(), "{way} {call:?}");
                assert_eq!(
                    (fs::read(folder.name()).unwrap() == detached, beside(&folder)),
                    (true, vec![]),
                    "{way} {call:?}"
                );
            });
        }
    }
}

#[test]
fn garbage_collection_leaves_the_draft_of_a_name_that_is_being_written_again() {
    for (call, passed) in [(Call::FinishLong, 0), (Call::PutName, 0)] {
        let folder = Folder::new();
        two_versions(&folder);
        let policy = Policy { history: Duration::ZERO, ..Policy::default() };
        fs::write(folder.inside("policy"), policy.to_string()).unwrap();
        let slow = Arc::new(Faulty::new(&folder.name()));
        slow.fail_later(call, Fault::Hangs, passed);
        choose(&folder.name(), slow.clone());
        let refreshed = std::thread::scope(|scope| {
            let refreshing = scope.spawn(|| refresh_name(&folder.name(), &options()));
            while !slow.hangs() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let other = folder.machine();
            // This is garbage: a draft without a pin.
            fs::write(folder.inside("name.0101010101010101.draft"), "x").unwrap();
            let at_once = Collecting { shortest_history: Duration::ZERO, ..Collecting::default() };
            let collected = other.collect(at_once).unwrap();
            assert!(collected.deleted.files > 0 && !folder.inside("name.0101010101010101.draft").exists());
            slow.heal();
            refreshing.join().unwrap()
        });
        forget(&folder.name());
        refreshed.unwrap();
        let left: Vec<_> = fs::read_dir(folder.inside("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("pin.")), "{left:?}");
    }
}

#[test]
fn two_adoptions_of_one_copy_are_one() {
    for _ in 0..20 {
        let folder = Folder::new();
        two_versions(&folder);
        folder.machine().checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
        // The background may put a note into it meanwhile.
        let remove = || fs::remove_dir_all(folder.inside(""));
        while remove().is_err_and(|error| error.kind() == std::io::ErrorKind::DirectoryNotEmpty) {}
        std::thread::scope(|scope| {
            let adopters: Vec<_> =
                (0..3).map(|_| scope.spawn(|| adopt(&folder.name(), false, &options(), &PlainFile))).collect();
            let adopted = adopters.into_iter().map(|adopter| adopter.join().unwrap());
            assert!(adopted.filter(Result::is_ok).count() >= 1);
        });
        assert_eq!(fs::read(folder.name()).unwrap()[18], 3);
        let database = folder.machine();
        assert_eq!(byte(&database, &newest(&database), 2), 8);
    }
}

/// NAME with two versions; every page but the first is of one byte.
fn two_versions(folder: &Folder) {
    common::write_plain(&folder.name(), 4);
    let database = folder.machine();
    commit(&database, &[(2, 7)]).unwrap();
    commit(&database, &[(2, 8), (6, 8)]).unwrap();
}

#[test]
fn a_name_that_was_touched_is_written_again_and_what_lay_there_is_moved_aside() {
    for touch in ["remove", "overwrite"] {
        let folder = Folder::new();
        two_versions(&folder);
        match touch {
            "remove" => fs::remove_file(folder.name()).unwrap(),
            _ => fs::write(folder.name(), "mine").unwrap(),
        }
        assert!(folder.try_machine().is_err());
        let moved = refresh_name(&folder.name(), &options()).unwrap();
        assert_eq!(moved.map(|path| fs::read(path).unwrap()), (touch == "overwrite").then(|| b"mine".to_vec()));
        let name = fs::read(folder.name()).unwrap();
        assert_eq!((name.len(), name[18], name[4096 + 200]), (6 * 4096, 3, 8));
        assert_eq!(byte(&folder.machine(), &newest(&folder.machine()), 6), 8);
    }
}

#[test]
fn a_file_becomes_the_newest_version_in_one_commit() {
    let folder = Folder::new();
    two_versions(&folder);
    let backup = folder.name().with_file_name("backup");
    common::write_plain(&backup, 3);
    assert_eq!(restore_from(&folder.name(), &backup, &options()).unwrap(), 3);
    let database = folder.machine();
    let snapshot = newest(&database);
    assert_eq!((snapshot.version().0, snapshot.page_count(), byte(&database, &snapshot, 2)), (3, 3, 2));
    drop((database, snapshot));
    // What was put at NAME itself, as `cp backup NAME` does.
    common::write_plain(&folder.name(), 5);
    assert_eq!(restore_from(&folder.name(), &folder.name(), &options()).unwrap(), 4);
    let database = folder.machine();
    assert_eq!(newest(&database).page_count(), 5);
    // Another page size.
    let mut small = fs::read(&backup).unwrap();
    small[16..18].copy_from_slice(&1024_u16.to_be_bytes());
    small[28..32].copy_from_slice(&12_u32.to_be_bytes());
    fs::write(&backup, small).unwrap();
    assert_eq!(restore_from(&folder.name(), &backup, &options()).unwrap(), 5);
    let snapshot = newest(&database);
    assert_eq!((snapshot.page_size().unwrap().bytes(), snapshot.page_count()), (1024, 12));
    assert_eq!(byte(&database, &snapshot, 12), 3);
    // What is no plain file changes nothing.
    fs::write(folder.name().with_file_name("backup-wal"), "x").unwrap();
    let error = restore_from(&folder.name(), &backup, &options()).unwrap_err().to_string();
    assert!(error.contains("backup-wal") && error.contains("Nothing was changed"), "{error}");
    fs::write(&backup, "x".repeat(200)).unwrap();
    let error = restore_from(&folder.name(), &backup, &options()).unwrap_err();
    // It is not NAME that is no database.
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
    // A copy as of some checkpoint, which NAME itself is as well, would undo what was committed since.
    database.checkpoint(&mut |_, _| Ok(())).unwrap();
    fs::copy(folder.name(), &backup).unwrap();
    for marked in [&backup, &folder.name()] {
        let error = restore_from(&folder.name(), marked, &options()).unwrap_err().to_string();
        assert!(error.contains("as of a checkpoint") && error.contains("VACUUM INTO"), "{error}");
    }
    assert_eq!(newest(&database).version().0, 6, "of the checkpoint");
}

#[test]
fn a_protected_copy_without_its_folder_and_a_copied_folder_become_databases_of_their_own() {
    let folder = Folder::new();
    two_versions(&folder);
    folder.machine().checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    let lost = Folder::new();
    fs::copy(folder.name(), lost.name()).unwrap();
    assert!(lost.try_machine().is_err(), "a copy of some version is not adopted by itself");
    assert_eq!(adopt(&lost.name(), false, &options(), &PlainFile).unwrap(), None);
    let database = lost.machine();
    assert_eq!((newest(&database).version().0, byte(&database, &newest(&database), 2)), (0, 8));

    let copy = Folder::new();
    let (from, to) = (folder.name().parent().unwrap().join("."), copy.name().parent().unwrap().to_owned());
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap().success());
    assert!(copy.try_machine().err().unwrap().to_string().contains("copy"));
    let error = adopt(&copy.name(), false, &options(), &PlainFile).unwrap_err().to_string();
    assert!(error.contains("adopt NAME --new-id"), "{error}");
    let aside = adopt(&copy.name(), true, &options(), &PlainFile).unwrap().unwrap();
    assert!(aside.join("segments").exists());
    commit(&copy.machine(), &[(2, 99)]).unwrap();
    assert_eq!(byte(&copy.machine(), &newest(&copy.machine()), 2), 99);
    assert_eq!(byte(&folder.machine(), &newest(&folder.machine()), 2), 8, "the original is what it was");
    let error = adopt(&folder.name(), true, &options(), &PlainFile).unwrap_err().to_string();
    assert!(error.contains("is no copy"), "{error}");
}

#[test]
fn nobody_notes_the_last_commit_of_a_detached_database() {
    let folder = Folder::new();
    two_versions(&folder);
    fs::remove_file(folder.inside("high")).unwrap();
    let storage = Arc::new(OsStorage::new(&folder.name()).unwrap());
    // Here the folder stays. Where it is being removed, a note would put a file into it.
    assert_eq!(detach_on(storage, &folder.name(), &options()).unwrap(), 2);
    assert!(!folder.inside("high").exists());
}
