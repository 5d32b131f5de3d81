//! Leaving Seawall: `detach` gives the file back.

mod common;

use common::{Folder, PlainFile, byte, commit, newest};
use seawall::{Access, Database, ErrorKind, Options, detach};
use std::fs;

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
    assert_eq!(detach(&folder.name(), &options()).unwrap(), 5);
    let name = fs::read(folder.name()).unwrap();
    assert_eq!((name.len(), name[18]), (5 * 4096, 1), "stock SQLite may write it");
    assert_eq!([1, 2, 3, 4].map(|page| name[page * 4096 + 200]), [5, 3, 4, 5]);
    assert!(!folder.inside("").exists());
    // What was asleep learns what happened, and writes nothing.
    let error = commit(&other, &[(2, 9)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
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
    assert_eq!(detach(&folder.name(), &options()).unwrap(), 1);
    assert_eq!(fs::read(folder.name()).unwrap()[4096 + 200], 7);
}
