//! Foreign files, links and mounts where Seawall's files are expected, and the rights of what Seawall makes.

mod common;

use common::places::{Make, all_inside, away, fifo, first_byte, let_it_be_noted, mode, open, open_as};
use common::{Folder, byte, commit, newest, write_plain};
use seawall::{Access, ErrorKind};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn what_is_made_has_the_permissions_of_name_whatever_the_umask_says() {
    for (wanted, of_folder) in
        [(0o600, 0o700), (0o660, 0o770), (0o664, 0o775), (0o666, 0o777), (0o604, 0o705), (0o440, 0o750)]
    {
        let folder = Folder::new();
        write_plain(&folder.name(), 3);
        fs::set_permissions(folder.name(), Permissions::from_mode(wanted)).unwrap();
        let a = folder.machine();
        let mut transaction = a.begin(common::PATIENCE).unwrap();
        transaction.write_page(common::page_size(), seawall::PageNo(2), &[9; 4096]).unwrap();
        // Long enough for the lease to be renewed, which makes its file.
        std::thread::sleep(Duration::from_millis(200));
        transaction.commit(3).unwrap();
        let_it_be_noted();
        let all = all_inside(&folder.inside(""));
        assert!(all.len() >= 9, "folders, id, a base, its sums, a segment, high and lease: {all:?}");
        for path in all {
            let expected = if path.is_dir() { of_folder } else { wanted | 0o600 };
            assert_eq!(mode(&path), expected, "{} for NAME {wanted:o}", path.display());
        }
    }
}

#[test]
fn a_copy_is_as_private_as_its_source() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    fs::set_permissions(folder.name(), Permissions::from_mode(0o600)).unwrap();
    let target = folder.name().with_file_name("copy.sqlite3");
    drop(seawall::ports::storage::create_beside(&folder.name(), &target).unwrap());
    assert_eq!(mode(&target), 0o600);
    away(&target);
    symlink(folder.inside("x"), &target).unwrap();
    assert!(
        seawall::ports::storage::create_beside(&folder.name(), &target).is_err(),
        "a link that lies there is not followed"
    );
}

#[test]
fn nothing_is_waited_for_that_is_no_file() {
    let kinds: [(&str, Make); 5] = [
        ("FIFO", fifo),
        ("device", |path| symlink("/dev/zero", path).unwrap()),
        ("file of another", |path| symlink("/etc/passwd", path).unwrap()),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("loop", |path| symlink(path, path).unwrap()),
    ];
    for (kind, make) in kinds {
        for place in ["id", "high", "lease", "segment", "commits", "segments", "NAME"] {
            let folder = Folder::new();
            commit(&folder.machine(), &[(1, 1)]).unwrap();
            let path = match place {
                "NAME" => folder.name(),
                "segment" => folder.segment(),
                place => folder.inside(place),
            };
            away(&path);
            make(&path);
            let began = Instant::now();
            let opened = folder.try_machine();
            let written = opened.and_then(|machine| commit(&machine, &[(1, 2)]).map(drop));
            assert!(began.elapsed() < Duration::from_secs(10), "{place} is a {kind}");
            match (place, &written) {
                // A hint that cannot be read is ignored, and locks are taken on another file.
                ("high", Ok(())) => {}
                ("lease", Ok(())) if kind != "folder" => {}
                // An empty folder takes new segments.
                ("segments" | "commits", _) if kind == "folder" => {}
                (_, Err(error)) => {
                    let text = error.to_string();
                    assert!(text.contains(" is a"), "{place} is a {kind}: {text}");
                }
                (_, Ok(())) => panic!("{place} is a {kind}, and it was written"),
            }
        }
    }
}

#[test]
fn nothing_is_written_through_a_link_or_into_a_file_of_several_names() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    let_it_be_noted();
    let precious = folder.name().with_file_name("precious");
    let content = vec![b'p'; 8192];
    for how in
        [|from: &Path, to: &Path| symlink(from, to).unwrap(), |from: &Path, to: &Path| fs::hard_link(from, to).unwrap()]
    {
        fs::write(&precious, &content).unwrap();
        for file in ["high", "lease"] {
            away(&folder.inside(file));
            how(&precious, &folder.inside(file));
        }
        let machine = folder.machine();
        let mut transaction = machine.begin(common::PATIENCE).unwrap();
        transaction.write_page(common::page_size(), seawall::PageNo(1), &[2; 4096]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        transaction.commit(1).unwrap();
        let_it_be_noted();
        assert_eq!(fs::read(&precious).unwrap(), content);
        for file in ["high", "lease"] {
            let found = fs::symlink_metadata(folder.inside(file)).unwrap();
            assert!(found.is_file() && found.nlink() == 1, "{file} was replaced by a new file");
        }
        assert!(fs::read_to_string(folder.inside("high")).unwrap().starts_with("seawall1 high"));
        assert!(fs::read_to_string(folder.inside("lease")).unwrap().contains("at work"));
        drop(machine);
    }
    // A dangling link is replaced, and nothing is made where it points to.
    for file in ["high", "lease"] {
        away(&folder.inside(file));
        symlink(folder.name().with_file_name("made"), folder.inside(file)).unwrap();
    }
    commit(&folder.machine(), &[(1, 3)]).unwrap();
    let_it_be_noted();
    assert!(!folder.name().with_file_name("made").exists());
}

/// Two processes respect each other's locks, although one of them replaced the file.
#[test]
fn a_lease_whose_file_was_replaced_still_keeps_others_out() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    commit(&b, &[(1, 1)]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    fs::hard_link(folder.inside("lease"), folder.name().with_file_name("copied")).unwrap();
    let before = fs::metadata(folder.inside("lease")).unwrap().ino();
    let mut transaction = b.begin(common::PATIENCE).unwrap();
    transaction.write_page(common::page_size(), seawall::PageNo(1), &[2; 4096]).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_ne!(fs::metadata(folder.inside("lease")).unwrap().ino(), before, "the renewal replaced the file");
    assert_eq!(a.begin(Duration::from_millis(20)).err().map(|error| error.kind()), Some(ErrorKind::Busy));
    let c = folder.machine();
    assert_eq!(c.begin(Duration::from_millis(20)).err().map(|error| error.kind()), Some(ErrorKind::Busy));
    transaction.commit(1).unwrap();
    drop(transaction);
    for (n, machine) in [&a, &b, &c, &a].into_iter().enumerate() {
        commit(machine, &[(1, 3)]).map_err(|error| format!("commit {n}: {error}")).unwrap();
    }
}

/// What can take the path of a database's folder while the database is open.
type TakePath = fn(&Folder, &Path);

/// A copy with all that the folder has.
fn a_copy(folder: &Folder, moved: &Path) {
    let copied = Command::new("cp").arg("-a").arg(moved).arg(folder.inside("").components().as_path()).status();
    assert!(copied.unwrap().success());
}

/// Another database, that of a NAME with which it was moved here.
fn another_database(folder: &Folder, _: &Path) {
    let other = Folder::new();
    commit(&other.machine(), &[(1, 99)]).unwrap();
    let path = other.inside("");
    let moved = Command::new("mv").arg(path.components().as_path()).arg(folder.name().parent().unwrap()).status();
    assert!(moved.unwrap().success());
}

fn nothing(_: &Folder, _: &Path) {}

#[test]
fn what_is_committed_while_the_folder_is_moved_is_in_the_moved_folder_whole() {
    for take_path in [a_copy as TakePath, another_database, nothing] {
        for has_segment in [false, true] {
            let folder = Folder::new();
            commit(&folder.machine(), &[(1, 1)]).unwrap();
            let a = folder.machine();
            if has_segment {
                commit(&a, &[(1, 2)]).unwrap();
            }
            assert_eq!(newest(&a).version().0, if has_segment { 2 } else { 1 });
            let (path, moved) = (folder.inside(""), folder.name().with_file_name("moved"));
            let path = path.components().as_path();
            fs::rename(path, &moved).unwrap();
            take_path(&folder, &moved);
            let before: Vec<_> = if path.exists() { all_inside(path) } else { Vec::new() };
            for byte in 10..13 {
                commit(&a, &[(1, byte)]).unwrap();
            }
            let_it_be_noted();
            let now = if path.exists() { all_inside(path) } else { Vec::new() };
            assert_eq!(now, before, "nothing was made in the folder that has the path now");
            if path.exists() {
                fs::rename(path, folder.name().with_file_name("other")).unwrap();
            }
            fs::rename(&moved, path).unwrap();
            assert_eq!(first_byte(&folder), 12, "all that was acknowledged is there");
            assert_eq!(newest(&a).version(), newest(&folder.machine()).version());
        }
    }
}

#[test]
fn a_folder_that_was_moved_is_still_watched_and_not_the_one_that_has_its_path() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&b, &[(1, 1)]).unwrap();
    newest(&a);
    let moved = folder.name().with_file_name("moved");
    fs::rename(folder.inside(""), &moved).unwrap();
    another_database(&folder, &moved);
    // Often enough for a watch.
    (0..40).for_each(|_| drop(newest(&a)));
    commit(&b, &[(1, 2)]).unwrap();
    let snapshot = newest(&a);
    assert_eq!(byte(&a, &snapshot, 1), 2);
}

#[test]
fn a_watch_ends_with_its_folders_place() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    (0..40).for_each(|_| drop(newest(&a)));
    fs::rename(folder.inside("commits"), folder.inside("aside")).unwrap();
    (0..40).for_each(|_| drop(newest(&a)));
    away(&folder.inside("aside"));
    let error = a.snapshot(seawall::Freshness::Transaction).expect_err("what is removed is not the newest for ever");
    assert!(error.to_string().contains("the head is lost: commits/ is not there"), "{error}");
}

#[test]
fn a_note_of_another_database_is_neither_hint_nor_witness() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    let other = Folder::new();
    let b = other.machine();
    (1..=5).for_each(|byte| drop(commit(&b, &[(1, byte)]).unwrap()));
    fs::write(folder.inside("high"), seawall::format::high::High::of(newest(&b).head(), None).to_string()).unwrap();
    assert_eq!(first_byte(&folder), 1);
    commit(&a, &[(1, 2)]).unwrap();
    let_it_be_noted();
    let high = fs::read_to_string(folder.inside("high")).unwrap();
    assert!(high.contains(&format!("database={} epoch=0 version=2 ", newest(&a).head().database)), "{high}");
}

#[test]
fn a_removal_while_it_is_open_is_reported_and_leaves_the_next_database_alone() {
    let folder = Folder::new();
    let a = folder.machine();
    for n in 1..=5 {
        commit(&a, &[(1, n)]).unwrap();
    }
    seawall::remove(&folder.name(), None).unwrap();
    commit(&folder.machine(), &[(1, 9)]).unwrap();
    let_it_be_noted();
    let error = commit(&a, &[(1, 6)]).err().unwrap();
    assert!(error.kind() == ErrorKind::CannotOpen && error.to_string().contains("Open it again"), "{error}");
    assert_eq!(first_byte(&folder), 9, "the next database can be opened, and has its own");
}

#[test]
fn a_segment_has_the_rights_that_name_has_when_it_is_made() {
    let folder = Folder::new();
    write_plain(&folder.name(), 1);
    fs::set_permissions(folder.name(), Permissions::from_mode(0o600)).unwrap();
    let a = folder.machine();
    newest(&a);
    fs::set_permissions(folder.name(), Permissions::from_mode(0o660)).unwrap();
    commit(&a, &[(1, 2)]).unwrap();
    assert_eq!(mode(&folder.segment()), 0o660);
    // The folder was moved away from NAME, so the rights of the file at that path no longer count for it.
    let b = folder.machine();
    let moved = folder.name().with_file_name("moved");
    fs::rename(folder.inside(""), &moved).unwrap();
    fs::create_dir(folder.inside("")).unwrap();
    fs::set_permissions(folder.name(), Permissions::from_mode(0o666)).unwrap();
    commit(&b, &[(1, 3)]).unwrap();
    for segment in fs::read_dir(moved.join("segments")).unwrap() {
        assert_eq!(mode(&segment.unwrap().path()), 0o660);
    }
}

#[test]
fn a_copy_of_hard_links_is_refused_and_its_original_goes_on() {
    let folder = Folder::new();
    let first = folder.machine();
    commit(&first, &[(1, 1)]).unwrap();
    let_it_be_noted();
    let copy = folder.name().with_file_name("copy");
    fs::create_dir(&copy).unwrap();
    let copied = Command::new("cp").arg("-al").arg(folder.name()).arg(folder.inside("")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let id = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(id(&folder.inside("id")), id(&copy.join("db.sqlite3-seawall/id")), "it is the same file");
    let error = open(&copy.join("db.sqlite3")).err().unwrap();
    assert!(error.to_string().contains("this folder is a copy"), "{error}");
    // It can be read. That does not let any other connection of this process write it.
    let reader = open_as(&copy.join("db.sqlite3"), Access::ReadOnly).unwrap();
    assert!(reader.is_copy() && reader.status().unwrap().is_copy);
    assert_eq!(byte(&reader, &newest(&reader), 1), 1);
    for error in [reader.begin(Duration::ZERO).err().unwrap(), reader.may_write().unwrap_err()] {
        assert!(error.to_string().contains("this folder is a copy"), "{error}");
    }
    assert!(reader.upgrade(&newest(&reader), Duration::ZERO).is_err());
    assert!(open(&copy.join("db.sqlite3")).is_err());
    let original = folder.machine();
    commit(&original, &[(1, 2)]).unwrap();
    let_it_be_noted();
    assert_eq!(first_byte(&folder), 2);
    let high = fs::read_to_string(copy.join("db.sqlite3-seawall/high")).unwrap();
    assert!(high.contains("version=1 "), "the copy's note is still its own: {high}");
}
