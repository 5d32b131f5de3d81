//! Removing a database, and adoptions that were cut short or came to nothing.

mod common;

use common::places::{Make, all_inside, away, fifo, first_byte, let_it_be_noted, open, storage};
use common::{Folder, byte, commit, newest, write_plain};
use seawall::ports::storage::{File, Span, Storage};
use seawall::{Error, ErrorKind};
use std::fs::{self};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

#[test]
fn a_link_is_not_removed_through() {
    let folder = Folder::new();
    let name = folder.name();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    let other = name.with_file_name("other.sqlite3");
    symlink(&name, &other).unwrap();
    let refused = |name: &Path| {
        let error = seawall::remove(name, None).unwrap_err();
        assert!(error.kind() == ErrorKind::CannotOpen && error.to_string().contains("link"), "{error}");
    };
    refused(&other);
    away(&other);
    symlink(folder.inside(""), other.with_file_name("other.sqlite3-seawall")).unwrap();
    refused(&other);
    assert_eq!(first_byte(&folder), 1, "the database is whole");
    // Links inside go; what they lead to stays.
    let keys = name.with_file_name("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join("id"), "precious").unwrap();
    away(&folder.inside("bases"));
    symlink(&keys, folder.inside("bases")).unwrap();
    symlink(keys.join("id"), folder.inside("segments/x")).unwrap();
    symlink(keys.join("id"), name.with_file_name("db.sqlite3-wal")).unwrap();
    let error = seawall::remove(&name, None).unwrap_err();
    assert!(error.to_string().contains("segments/x"), "the error names what is not ours: {error}");
    assert!(!name.exists() && !folder.inside("id").exists() && !folder.inside("commits").exists());
    assert!(fs::symlink_metadata(name.with_file_name("db.sqlite3-wal")).is_err());
    assert_eq!(fs::read_to_string(keys.join("id")).unwrap(), "precious");
    away(&folder.inside("segments/x"));
    seawall::remove(&name, None).unwrap();
    assert!(!folder.inside("").exists(), "a second removal finishes it");
}

#[test]
fn a_removal_that_was_cut_short_is_finished_by_the_next_opening() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1), (2, 1)]).unwrap();
    let before = fs::metadata(folder.inside("commits")).unwrap().ino();
    let sleeper = fs::File::open(folder.inside("commits")).unwrap();
    away(&folder.inside("id"));
    away(&folder.name());
    fs::write(folder.inside("notes.txt"), "somebody's").unwrap();
    let again = folder.machine();
    assert_eq!(newest(&again).version().0, 0);
    commit(&again, &[(1, 7)]).unwrap();
    assert_eq!(first_byte(&folder), 7);
    assert_eq!(fs::read_to_string(folder.inside("notes.txt")).unwrap(), "somebody's");
    assert_ne!(
        fs::metadata(folder.inside("commits")).unwrap().ino(),
        before,
        "who still has the old folder names nothing here"
    );
    drop(sleeper);
}

#[test]
fn a_removal_that_was_cut_short_before_name_was_gone_is_reported_and_finished() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    fs::rename(folder.inside("id"), folder.inside("id.removed")).unwrap();
    let error = folder.try_machine().err().unwrap();
    assert!(error.to_string().contains("was cut short"), "{error}");
    fs::rename(folder.inside("id.removed"), folder.inside("id")).unwrap();
    assert_eq!(first_byte(&folder), 1, "nothing was changed");
    fs::rename(folder.inside("id"), folder.inside("id.removed")).unwrap();
    seawall::remove(&folder.name(), None).unwrap();
    assert!(!folder.name().exists() && !folder.inside("").exists());
    commit(&folder.machine(), &[(1, 2)]).unwrap();
}

#[test]
fn a_lost_id_beside_a_marked_name_is_no_removal() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    away(&folder.inside("id"));
    assert!(folder.try_machine().is_err());
    assert!(folder.segment().exists() && folder.inside("commits/1").is_symlink());
}

#[test]
fn a_link_to_a_database_that_is_not_there_yet_makes_it_where_it_leads() {
    let folder = Folder::new();
    let link = folder.name().with_file_name("link.sqlite3");
    symlink("db.sqlite3", &link).unwrap();
    commit(&open(&link).unwrap(), &[(1, 5)]).unwrap();
    assert!(folder.inside("id").exists() && !link.with_file_name("link.sqlite3-seawall").exists());
    commit(&open(&link).unwrap(), &[(1, 6)]).unwrap();
    seawall::remove(&folder.name(), None).unwrap();
}

#[test]
fn what_is_no_database_leaves_no_folder() {
    let folder = Folder::new();
    fs::write(folder.name(), "a letter to somebody".repeat(300)).unwrap();
    let error = folder.try_machine().err().unwrap();
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
    assert!(!folder.inside("").exists());
}

#[test]
fn an_adoption_leaves_nothing_of_its_trials() {
    let folder = Folder::new();
    folder.machine();
    let mut names: Vec<_> = fs::read_dir(folder.inside("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bases", "commits", "id", "segments"]);
}

/// A head can contain anything, and a sparse file can be as long as a head says.
#[test]
fn a_place_that_is_longer_than_any_frame_is_not_read() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    let record = folder.inside("commits/1");
    let text = fs::read_link(&record).unwrap().into_os_string().into_string().unwrap();
    let mut head: seawall::format::head::Head = text.parse().unwrap();
    head.fold.place.as_mut().unwrap().length = u32::MAX;
    away(&record);
    symlink(head.to_string(), &record).unwrap();
    fs::OpenOptions::new().write(true).open(folder.segment()).unwrap().set_len(6 << 30).unwrap();
    let error: Error = folder.try_machine().err().unwrap();
    assert!(error.to_string().contains("longer than any frame"), "{error}");
}

#[test]
fn what_is_read_of_a_link_is_nothing() {
    let folder = Folder::new();
    folder.machine();
    let secret = folder.name().with_file_name("secret");
    fs::write(&secret, "root:$6$hash").unwrap();
    symlink(&secret, folder.inside("lease")).unwrap();
    let error = storage(&folder).read(Span { file: File::Lease, at: 0, length: 512 }).unwrap_err();
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
}

/// Loses a part of a folder.
type Lose = fn(&Folder);

/// However much of the folder is lost, an opening does not go on from the old copy at NAME as long as `commits/` or the
/// folder itself is left.
#[test]
fn a_folder_that_was_emptied_is_not_adopted_from_the_copy() {
    let losses: [(&str, Lose); 4] = [
        ("empty", |folder| {
            away(&folder.inside(""));
            fs::create_dir(folder.inside("")).unwrap();
        }),
        ("empty, or has only a part", |folder| {
            ["id", "segments", "high"].iter().for_each(|name| away(&folder.inside(name)));
        }),
        ("id is gone", |folder| away(&folder.inside("id"))),
        ("id is gone", |folder| {
            away(&folder.inside("id"));
            away(&folder.segment());
        }),
    ];
    for begins_with in [0, 3] {
        for (what, lose) in losses {
            let folder = Folder::new();
            if begins_with > 0 {
                write_plain(&folder.name(), begins_with);
            }
            commit(&folder.machine(), &[(1, 1)]).unwrap();
            let_it_be_noted();
            lose(&folder);
            let (there, before) = (all_inside(&folder.inside("")), fs::read(folder.name()).unwrap());
            for _ in 0..2 {
                let error = folder.try_machine().err().unwrap_or_else(|| panic!("{what}: it was opened"));
                assert!(matches!(error.kind(), ErrorKind::CannotOpen | ErrorKind::NeedsRecovery), "{error}");
                assert!(error.to_string().contains(what) && error.to_string().contains("seawall"), "{error}");
            }
            assert_eq!((all_inside(&folder.inside("")), fs::read(folder.name()).unwrap()), (there, before));
        }
    }
}

#[test]
fn an_adoption_that_was_cut_short_after_the_mark_is_finished() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    let mut bytes = fs::read(folder.name()).unwrap();
    bytes[18] = 3;
    fs::write(folder.name(), bytes).unwrap();
    fs::create_dir(folder.inside("")).unwrap();
    for inside in ["bases", "segments", "commits"] {
        fs::create_dir(folder.inside(inside)).unwrap();
    }
    fs::write(folder.inside("bases/0-0-01020304.sqlite3"), "half of it").unwrap();
    commit(&folder.machine(), &[(2, 7)]).unwrap();
    let machine = folder.machine();
    assert_eq!((byte(&machine, &newest(&machine), 2), byte(&machine, &newest(&machine), 3)), (7, 3));
}

/// Nothing was committed yet, so the folder looks like half an adoption. But its head is there.
#[test]
fn an_id_that_was_lost_before_the_first_commit_is_reported() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    folder.machine();
    away(&folder.inside("id"));
    for _ in 0..2 {
        let error = folder.try_machine().err().unwrap();
        assert!(error.kind() == ErrorKind::NeedsRecovery && error.to_string().contains("id is gone"), "{error}");
    }
}

#[test]
fn the_trials_of_others_are_not_removed_and_deep_folders_are_not_walked() {
    let folder = Folder::new();
    folder.machine();
    let id = "00112233445566778899aabbccddeeff";
    let (mine, deep) = (folder.inside("trial.notes"), folder.inside(&format!("trial.{id}")));
    fs::create_dir_all(mine.join("0")).unwrap();
    fs::write(mine.join("0/mine.txt"), "mine").unwrap();
    fs::create_dir_all(deep.join("0/lease/deeper")).unwrap();
    fs::write(deep.join("0/one"), "1").unwrap();
    let error = seawall::remove(&folder.name(), None).unwrap_err().to_string();
    assert!(error.contains("left where it is") && error.contains("trial."), "{error}");
    assert_eq!(fs::read_to_string(mine.join("0/mine.txt")).unwrap(), "mine");
    assert!(deep.join("0/lease/deeper").exists() && !deep.join("0/one").exists());
    away(&mine);
    fs::remove_dir_all(deep.join("0/lease")).unwrap();
    seawall::remove(&folder.name(), None).unwrap();
    assert!(!folder.inside("").exists() && !folder.name().exists());
}

#[test]
fn a_uri_is_no_path_to_remove() {
    let folder = Folder::new();
    folder.machine();
    let error = seawall::remove(Path::new(&format!("file:{}", folder.name().display())), None).unwrap_err();
    assert!(error.to_string().contains("by its path"), "{error}");
}

/// Stock SQLite would wait for a FIFO, and write through a link.
#[test]
fn a_journal_that_is_no_file_is_not_waited_for() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut beside = folder.name().into_os_string();
        beside.push(suffix);
        for make in [fifo, (|path| symlink("/dev/null", path).unwrap()) as Make] {
            make(Path::new(&beside));
            let error = folder.try_machine().err().unwrap();
            assert!(error.kind() == ErrorKind::CannotOpen && error.to_string().contains(suffix), "{error}");
            assert!(!folder.inside("").exists());
            away(Path::new(&beside));
        }
    }
    commit(&folder.machine(), &[(1, 1)]).unwrap();
}
