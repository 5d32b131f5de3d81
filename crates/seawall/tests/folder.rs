//! Other people's files, links and mounts where Seawall's are expected; whose what it makes is; and removing it.

mod common;

use common::{Folder, byte, commit, newest, write_plain};
use seawall::ports::storage::os::OsStorage;
use seawall::ports::storage::{File, Span, Storage};
use seawall::{Access, Database, Error, ErrorKind, Options};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn storage(folder: &Folder) -> OsStorage {
    OsStorage::new(&folder.name(), &std::env::temp_dir()).unwrap()
}

/// The database as this process's other parts open it.
fn open(name: &Path) -> seawall::Result<Arc<Database>> {
    open_as(name, Access::Create)
}

fn open_as(name: &Path, access: Access) -> seawall::Result<Arc<Database>> {
    Database::open(name, access, &Options::default(), &common::PlainFile)
}

/// Time for the background to note the newest commit in `high`.
fn let_it_be_noted() {
    std::thread::sleep(Duration::from_millis(1300));
}

/// What a new machine reads on page 1.
fn first_byte(folder: &Folder) -> u8 {
    let machine = folder.machine();
    byte(&machine, &newest(&machine), 1)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Every file and folder of the database's folder, but for the names of versions.
fn all_inside(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(all_inside(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

/// Makes something under a name.
type Make = fn(&Path);

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn away(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

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
                // A hint that cannot be read is none; and locks find another file.
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
            assert!(found.is_file() && found.nlink() == 1, "{file} was made anew");
        }
        assert!(fs::read_to_string(folder.inside("high")).unwrap().starts_with("seawall1 high"));
        assert!(fs::read_to_string(folder.inside("lease")).unwrap().contains("at work"));
        drop(machine);
    }
    // A link that leads nowhere makes nothing there.
    for file in ["high", "lease"] {
        away(&folder.inside(file));
        symlink(folder.name().with_file_name("made"), folder.inside(file)).unwrap();
    }
    commit(&folder.machine(), &[(1, 3)]).unwrap();
    let_it_be_noted();
    assert!(!folder.name().with_file_name("made").exists());
}

/// Two processes keep to each other's locks, though one of them replaced the file.
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
    assert_ne!(fs::metadata(folder.inside("lease")).unwrap().ino(), before, "the renewal made it anew");
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
    assert!(error.to_string().contains("was removed while it was open here"), "{error}");
}

#[test]
fn a_note_of_another_database_is_neither_hint_nor_witness() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    let other = Folder::new();
    let b = other.machine();
    (1..=5).for_each(|byte| drop(commit(&b, &[(1, byte)]).unwrap()));
    fs::write(folder.inside("high"), seawall::format::high::High::of(newest(&b).head()).to_string()).unwrap();
    assert_eq!(first_byte(&folder), 1);
    commit(&a, &[(1, 2)]).unwrap();
    let_it_be_noted();
    let high = fs::read_to_string(folder.inside("high")).unwrap();
    assert!(high.contains(&format!("database={} epoch=0 version=2 ", newest(&a).head().database)), "{high}");
}

#[test]
fn a_removal_while_it_is_open_is_told_and_leaves_the_next_database_alone() {
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
    // The file that has the path is no measure for a folder that was moved away from it.
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
    // It can be read, which gives nobody in this process the right to write.
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
    assert!(error.to_string().contains("segments/x"), "what is not ours is told of: {error}");
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
    let anew = folder.machine();
    assert_eq!(newest(&anew).version().0, 0);
    commit(&anew, &[(1, 7)]).unwrap();
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
fn a_removal_that_was_cut_short_before_name_was_gone_is_told_and_finished() {
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

/// A head may say anything, and a sparse file has as many bytes as it says.
#[test]
fn a_place_that_is_longer_than_any_frame_is_not_read() {
    let folder = Folder::new();
    commit(&folder.machine(), &[(1, 1)]).unwrap();
    let record = folder.inside("commits/1");
    let text = fs::read_link(&record).unwrap().into_os_string().into_string().unwrap();
    let mut head: seawall::format::head::Head = text.parse().unwrap();
    head.commit.place.as_mut().unwrap().length = u32::MAX;
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

/// Whatever of the folder is lost but its commits or its name, an opening does not go on from the old copy at NAME.
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
                assert_eq!(error.kind(), ErrorKind::CannotOpen);
                assert!(error.to_string().contains(what) && error.to_string().contains("seawall.copy"), "{error}");
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

/// Nothing was committed yet, so that the folder looks like a half adoption; but its head is there.
#[test]
fn an_id_that_was_lost_before_the_first_commit_is_told_of() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    folder.machine();
    away(&folder.inside("id"));
    for _ in 0..2 {
        let error = folder.try_machine().err().unwrap();
        assert!(error.kind() == ErrorKind::CannotOpen && error.to_string().contains("id is gone"), "{error}");
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
