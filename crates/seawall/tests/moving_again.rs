//! Moves that were cut short, undone, or slept: what they have left hinders nobody, and takes nothing away.

mod common;

use common::faulty::{Call, EIO, Fault, Faulty};
use common::memory::{self, table};
use common::moving::{by, history, machine, move_folder, read, recover};
use common::{Folder, commit};
use seawall::{Access, Database, ErrorKind, Freshness, move_on, reached_by};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is in a folder, by its path.
fn entries(folder: &Folder, inside: &str) -> Vec<PathBuf> {
    fs::read_dir(folder.inside(inside)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_an_undone_move_has_left_there_does_not_hinder_the_next_one() {
    for to_fs in [false, true] {
        let folder = Folder::new();
        let (from, to) = if to_fs { (table(), "fs:".to_owned()) } else { ("fs:".to_owned(), table()) };
        drop(history(&folder, &from, 4));
        let failing = Arc::new(Faulty::new(&folder.name()));
        failing.fail(Call::PutId, Fault::Before(EIO), 1);
        move_on(failing, &folder.name(), &to, false, &by(&from)).unwrap_err();
        // A recovery came so far, and was killed before it closed the head there.
        let drafts = entries(&folder, "").into_iter().filter(|path| path.to_string_lossy().contains("/draft."));
        drafts.for_each(|path| fs::remove_file(path).unwrap());
        recover(&folder);
        commit(&machine(&folder, &from).unwrap(), &[(2, 5)]).unwrap();
        let moved = move_folder(&folder, &to).map(|moved| moved.to);
        assert_eq!(moved.as_ref().ok(), Some(&to), "{moved:?}");
        assert_eq!(read(&folder, &to), 5);
        commit(&machine(&folder, &to).unwrap(), &[(2, 6)]).unwrap();
        assert_eq!(read(&folder, &to), 6);
        assert!(machine(&folder, &from).is_err());
    }
}

#[test]
fn an_old_note_does_not_lead_to_the_name_with_which_the_database_left() {
    let folder = Folder::new();
    let to = table();
    let before = history(&folder, "fs:", 4);
    let note = (0..500).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        fs::read(folder.inside("high")).ok().filter(|note| String::from_utf8_lossy(note).contains(" version=4 "))
    });
    drop(before);
    move_folder(&folder, &to).unwrap();
    move_folder(&folder, "fs:").unwrap();
    // A process that had it open notes its last commit late; or the mover was killed before its own note.
    fs::write(folder.inside("high"), note.expect("the background notes the newest commit")).unwrap();
    assert_eq!(read(&folder, "fs:"), 4);
}

#[test]
fn a_move_whose_new_id_a_loss_of_power_took_away_is_made_again() {
    let folder = Folder::new();
    let to = table();
    drop(history(&folder, "fs:", 4));
    let kept = folder.name().with_extension("kept");
    fs::hard_link(folder.inside("id"), &kept).unwrap();
    move_folder(&folder, &to).unwrap();
    commit(&machine(&folder, &to).unwrap(), &[(2, 5)]).unwrap();
    // The rename is taken back. What was committed since is there, and `high` tells of the move.
    fs::rename(folder.inside("id"), folder.inside(&format!("draft.{}", "ab".repeat(16)))).unwrap();
    fs::rename(kept, folder.inside("id")).unwrap();
    let error = machine(&folder, "fs:").err().unwrap().to_string();
    assert!(error.contains(&format!("seawall move NAME --to {to}")), "{error}");
    move_folder(&folder, &to).unwrap();
    assert_eq!(read(&folder, &to), 5);
}

#[test]
fn a_move_goes_on_only_once_the_fence_is_durable() {
    let folder = Folder::new();
    let to = table();
    drop(history(&folder, "fs:", 4));
    // This one makes the name, and the next one finds it.
    let first = Faulty::new(&folder.name());
    first.fail_from(Call::SyncPublished, Fault::Before(EIO), 1);
    let second = Faulty::new(&folder.name());
    second.fail(Call::SyncPublished, Fault::Before(EIO), u32::MAX);
    for failing in [first, second] {
        let error = move_on(Arc::new(failing), &folder.name(), &to, false, &by("fs:")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{error}");
        assert_eq!(memory::head(&to), None, "a loss of power could take the fence away");
    }
    move_folder(&folder, &to).unwrap();
    assert_eq!(read(&folder, &to), 4);
}

#[test]
fn an_opener_that_slept_while_id_was_replaced_does_not_take_the_folder_for_a_copy() {
    let folder = Folder::new();
    let to = table();
    drop(history(&folder, "fs:", 4));
    let sleeping = Arc::new(Faulty::new(&folder.name()));
    // It has looked for `id`, and reads it after the move.
    sleeping.fail(Call::Read, Fault::Hangs, 1);
    std::thread::scope(|scope| {
        let open = || Database::on(sleeping.clone(), &folder.name(), Access::ReadWrite, &by(&to), &common::PlainFile);
        let opener = scope.spawn(open);
        std::thread::sleep(Duration::from_millis(50));
        move_folder(&folder, &to).unwrap();
        sleeping.heal();
        let database = opener.join().unwrap().unwrap();
        commit(&database, &[(2, 5)]).unwrap();
    });
    assert_eq!(read(&folder, &to), 5);
}

/// A database with a table whose history was set back below the numbers that it left in `commits/`.
fn set_back_elsewhere(folder: &Folder) {
    let to = table();
    common::write_plain(&folder.name(), 4);
    let first = folder.folding();
    (1..=4).for_each(|version| drop(commit(&first, &[(2, version)]).unwrap()));
    drop(first);
    let kept = entries(folder, "segments");
    let other = machine(folder, "fs:").unwrap();
    (5..=9).for_each(|version| drop(commit(&other, &[(2, version)]).unwrap()));
    drop(other);
    move_folder(folder, &to).unwrap();
    let lost = entries(folder, "segments").into_iter().filter(|path| !kept.contains(path));
    lost.for_each(|path| fs::remove_file(path).unwrap());
    recover(folder);
    assert_eq!(read(folder, &to), 4);
}

#[test]
fn a_mover_that_slept_takes_nothing_away_from_the_database_that_has_come_back() {
    let folder = Folder::new();
    set_back_elsewhere(&folder);
    let options = reached_by(&folder.name(), None).unwrap();
    let sleeping = Arc::new(Faulty::new(&folder.name()));
    sleeping.fail(Call::Retire, Fault::Hangs, 1);
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| move_on(sleeping.clone(), &folder.name(), "fs:", false, &options));
        std::thread::sleep(Duration::from_millis(300));
        move_folder(&folder, "fs:").unwrap();
        commit(&machine(&folder, "fs:").unwrap(), &[(2, 5)]).unwrap();
        sleeping.heal();
        let _ = mover.join().unwrap();
    });
    assert_eq!(read(&folder, "fs:"), 5);
    assert_eq!(entries(&folder, "").iter().filter(|path| path.to_string_lossy().contains("commits.")).count(), 0);
}

#[test]
fn a_sleeper_that_cannot_read_id_says_so_and_does_not_take_the_folder_for_a_copy() {
    let folder = Folder::new();
    let home = table();
    drop(history(&folder, &home, 3));
    let storage = Arc::new(Faulty::new(&folder.name()));
    let sleeper =
        Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &by(&home), &common::PlainFile).unwrap();
    move_folder(&folder, "fs:").unwrap();
    move_folder(&folder, &home).unwrap();
    // What the head names has another home now. Only `id` says whether that is because the folder is a copy.
    storage.fail(Call::Read, Fault::Before(EIO), 1);
    let error = sleeper.snapshot(Freshness::Transaction).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("looking for id"), "{error}");
    let error = sleeper.snapshot(Freshness::Transaction).map(drop).unwrap_err();
    assert!(error.to_string().contains("got a new id"), "{error}");
}
