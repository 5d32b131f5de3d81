//! Damaged, missing, copied and foreign files. The error says what is wrong with the file, nothing is lost, and once
//! the file is repaired the database works again.

mod common;

use common::{Folder, PlainFile, byte, commit, newest, write_plain};
use seawall::format::head::Head;
use seawall::{Database, ErrorKind, Options, PageNo};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// A database with a base of 20 pages and two commits.
fn scene() -> Folder {
    let folder = Folder::new();
    write_plain(&folder.name(), 20);
    let a = folder.machine();
    commit(&a, &[(2, 0xb2)]).unwrap();
    commit(&a, &[(3, 0xb3)]).unwrap();
    // It is killed before it has noted that.
    a.stop_background();
    folder
}

fn opening_fails(folder: &Folder, kind: ErrorKind, says: &str) {
    let error = folder.try_machine().err().unwrap_or_else(|| panic!("it opened; it should say {says:?}"));
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

fn is_whole(folder: &Folder) {
    let a = folder.machine();
    let snapshot = newest(&a);
    assert_eq!((snapshot.version().0, snapshot.page_count()), (2, 20));
    assert_eq!([2, 3, 4].map(|page| byte(&a, &snapshot, page)), [0xb2, 0xb3, 4]);
}

/// Flips a bit, looks, and flips it back.
fn with_flipped_bit(path: &Path, at: u64, look: impl FnOnce()) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    let mut flip = || {
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 0x10;
        file.write_all_at(&byte, at).unwrap();
    };
    flip();
    look();
    flip();
}

fn the_base(folder: &Folder, suffix: &str) -> std::path::PathBuf {
    let bases = fs::read_dir(folder.inside("bases")).unwrap().map(|entry| entry.unwrap().path());
    bases.into_iter().find(|path| path.to_str().unwrap().ends_with(suffix)).unwrap()
}

fn reading_fails(folder: &Folder, page: u32, says: &str) {
    let a = folder.machine();
    let snapshot = newest(&a);
    let error = a.read_page(&snapshot, PageNo(page)).err().unwrap_or_else(|| panic!("page {page} was read"));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_segment_is_noticed() {
    let folder = scene();
    let segment = folder.segment();
    let length = fs::metadata(&segment).unwrap().len();
    let mut noticed = 0;
    for at in (0..length).step_by(7) {
        with_flipped_bit(&segment, at, || {
            // Either it cannot be opened, or a page cannot be read, or the byte meant nothing (padding, an older
            // commit's frame).
            match folder.try_machine() {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{error}");
                    noticed += 1;
                }
                Ok(a) => {
                    let snapshot = newest(&a);
                    for page in 1..=20 {
                        match a.read_page(&snapshot, PageNo(page)) {
                            Ok(image) if page > 1 => {
                                let expected = [page as u8, 0xb2, 0xb3][if page < 4 { page as usize - 1 } else { 0 }];
                                assert!(image.iter().all(|byte| *byte == expected), "wrong data at byte {at}");
                            }
                            Ok(_) => {}
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                                noticed += 1;
                            }
                        }
                    }
                }
            }
        });
    }
    assert!(noticed > 10, "{noticed} flips were noticed");
    is_whole(&folder);
}

#[test]
fn a_segment_cut_off_anywhere_is_older_than_its_head() {
    let folder = scene();
    let segment = folder.segment();
    let content = fs::read(&segment).unwrap();
    for length in [0, 1, content.len() / 2, content.len() - 16] {
        fs::write(&segment, &content[..length]).unwrap();
        opening_fails(&folder, ErrorKind::NeedsRecovery, "the files are older than the head");
    }
    fs::remove_file(&segment).unwrap();
    opening_fails(&folder, ErrorKind::NeedsRecovery, "seawall recover");
    fs::write(&segment, &content).unwrap();
    is_whole(&folder);
}

#[test]
fn garbage_behind_a_segment_s_end_means_nothing() {
    let folder = scene();
    let segment = folder.segment();
    let mut content = fs::read(&segment).unwrap();
    content.extend_from_slice(b"sea1 and then a torn tail");
    fs::write(&segment, content).unwrap();
    is_whole(&folder);
    let a = folder.machine();
    commit(&a, &[(4, 0xb4)]).unwrap();
    let b = folder.machine();
    assert_eq!(byte(&b, &newest(&b), 4), 0xb4);
}

#[test]
fn a_damaged_or_missing_base_is_reported_page_by_page() {
    let folder = scene();
    let (base, sums) = (the_base(&folder, ".sqlite3"), the_base(&folder, ".sums"));
    with_flipped_bit(&base, 4 * 4096 + 77, || {
        reading_fails(&folder, 5, "its checksum does not fit");
        let a = folder.machine();
        assert_eq!(byte(&a, &newest(&a), 6), 6, "other pages can be read");
    });
    with_flipped_bit(&sums, 4 * 8, || reading_fails(&folder, 5, "its checksum does not fit"));
    let content = fs::read(&base).unwrap();
    fs::write(&base, &content[..4 * 4096]).unwrap();
    reading_fails(&folder, 5, "it ends too early");
    fs::remove_file(&base).unwrap();
    reading_fails(&folder, 5, "it is missing");
    fs::write(&base, content).unwrap();
    is_whole(&folder);
}

#[test]
fn a_damaged_id_or_one_of_an_unknown_format_is_reported() {
    let folder = scene();
    let id = folder.inside("id");
    let content = fs::read(&id).unwrap();
    // It is changed in place, because its inode number is part of the database's home.
    let write = |content: &[u8]| fs::write(&id, content).unwrap();
    for at in [0, 20, content.len() - 3] {
        with_flipped_bit(&id, at as u64, || {
            opening_fails(&folder, ErrorKind::NeedsRecovery, "NAME-seawall/id cannot be used")
        });
    }
    write(&content[..10]);
    opening_fails(&folder, ErrorKind::NeedsRecovery, "NAME-seawall/id cannot be used");
    write(b"seawall 2\nwhatever comes then\n");
    opening_fails(&folder, ErrorKind::CannotOpen, "use a newer Seawall");
    write(&content);
    is_whole(&folder);
}

/// What the head that opening reads says.
fn with_head(folder: &Folder, change: impl Fn(&mut Head), look: impl FnOnce()) {
    let link = folder.inside("commits/2");
    let text = fs::read_link(&link).unwrap().to_str().unwrap().to_owned();
    let mut head: Head = text.parse().unwrap();
    change(&mut head);
    let put = |text: String| {
        fs::remove_file(&link).unwrap();
        symlink(text, &link).unwrap();
    };
    put(head.to_string());
    look();
    put(text);
}

#[test]
fn a_head_that_is_not_what_its_commit_frame_says_is_recovered_and_no_file_is_blamed() {
    let folder = scene();
    type Change = fn(&mut Head);
    let changes: [(&str, Change); 5] = [
        ("epoch", |head| head.epoch.0 += 1),
        ("base", |head| head.base = None),
        ("pages of the base", |head| head.base.as_mut().unwrap().page_count += 1),
        ("commit", |head| head.fold.id.0[3] ^= 1),
        ("sweep", |head| head.sweep += 1),
    ];
    for (what, change) in changes {
        with_head(&folder, change, || {
            let error = folder.try_machine().err().unwrap_or_else(|| panic!("{what}: it opened"));
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::NeedsRecovery, "{what}: {text}");
            assert!(text.contains("the head is damaged") && text.contains("seawall recover NAME"), "{what}: {text}");
            assert!(!text.contains("restore that file"), "{what}: {text}");
        });
    }
    is_whole(&folder);
}

#[test]
fn a_head_of_a_newer_format_asks_for_a_newer_program_and_for_nothing_else() {
    let folder = scene();
    let link = folder.inside("commits/2");
    let text = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("seawall2 of the future", &link).unwrap();
    let error = folder.try_machine().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
    assert!(error.to_string().contains("use a newer Seawall") && !error.to_string().contains("recover"), "{error}");
    fs::remove_file(&link).unwrap();
    symlink(text, &link).unwrap();
    is_whole(&folder);
}

#[test]
fn a_damaged_or_lost_head_is_never_replaced() {
    let folder = scene();
    let newest = folder.inside("commits/2");
    let record = fs::read_link(&newest).unwrap();
    let put = |target: &str| {
        fs::remove_file(&newest).unwrap();
        symlink(target, &newest).unwrap();
    };
    put("nonsense");
    opening_fails(&folder, ErrorKind::NeedsRecovery, "the head cannot be read");
    put(&record.to_str().unwrap().replace("seawall1", "seawall2"));
    opening_fails(&folder, ErrorKind::CannotOpen, "unknown format version");
    put(record.to_str().unwrap());
    is_whole(&folder);
    fs::rename(folder.inside("commits"), folder.inside("elsewhere")).unwrap();
    opening_fails(&folder, ErrorKind::NeedsRecovery, "the head is lost");
    fs::create_dir(folder.inside("commits")).unwrap();
    opening_fails(&folder, ErrorKind::NeedsRecovery, "the head is lost");
    fs::remove_dir(folder.inside("commits")).unwrap();
    fs::rename(folder.inside("elsewhere"), folder.inside("commits")).unwrap();
    is_whole(&folder);
}

#[test]
fn a_head_that_was_set_back_is_refused() {
    let folder = scene();
    let a = folder.machine();
    newest(&a);
    std::thread::sleep(std::time::Duration::from_millis(10));
    commit(&a, &[(4, 4)]).unwrap();
    // The note of the newest commit is written after a second.
    std::thread::sleep(std::time::Duration::from_millis(1300));
    fs::rename(folder.inside("commits/3"), folder.inside("kept")).unwrap();
    opening_fails(&folder, ErrorKind::NeedsRecovery, "the head is older than the files");
    let error = a.snapshot(seawall::Freshness::Transaction).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NeedsRecovery);
    assert!(error.to_string().contains("set back"), "{error}");
    fs::rename(folder.inside("kept"), folder.inside("commits/3")).unwrap();
    assert_eq!(newest(&a).version().0, 3);
}

#[test]
fn a_copied_folder_never_shares_a_head_with_its_original() {
    let folder = scene();
    let copy = Folder::new();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(folder.inside("")).arg(copy.inside("")).status().unwrap();
    assert!(copied.success());
    fs::copy(folder.name(), copy.name()).unwrap();
    opening_fails(&copy, ErrorKind::CannotOpen, "this folder is a copy");
    is_whole(&folder);
}

#[test]
fn another_coordinator_is_refused() {
    let folder = scene();
    let options = Options { coordinator: "dynamodb://t".into(), ..Options::default() };
    let error = folder.try_machine_with(&options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
    assert!(error.to_string().contains("fs:"), "{error}");
    is_whole(&folder);
}

#[test]
fn name_touched_from_outside_is_refused_with_the_ways_out() {
    let folder = scene();
    let original = fs::read(folder.name()).unwrap();
    let refused = || {
        opening_fails(
            &folder,
            ErrorKind::CannotOpen,
            "To write NAME again from what was committed: seawall snapshot NAME --refresh",
        )
    };
    fs::remove_file(folder.name()).unwrap();
    refused();
    fs::write(folder.name(), b"").unwrap();
    refused();
    write_plain(&folder.name(), 3);
    refused();
    fs::write(
        folder.name(),
        b"no database at all, but long enough to hold a header, one hundred bytes and then some more of it",
    )
    .unwrap();
    refused();
    fs::write(folder.name(), original).unwrap();
    is_whole(&folder);
}

#[test]
fn a_database_that_is_open_already_is_looked_at_again_when_it_is_opened() {
    let folder = scene();
    let open = || Database::open(&folder.name(), seawall::Access::ReadWrite, &Options::default(), &PlainFile);
    let first = open().unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &open().unwrap()), "one for each process and database");
    let original = fs::read(folder.name()).unwrap();
    write_plain(&folder.name(), 3);
    assert_eq!(open().err().unwrap().kind(), ErrorKind::CannotOpen);
    fs::write(folder.name(), original).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &open().unwrap()));
    // It is removed, and another database is made at the same path.
    seawall::remove(&folder.name(), None).unwrap();
    write_plain(&folder.name(), 3);
    let again = open().unwrap();
    assert_eq!(newest(&again).page_count(), 3);
    let error = commit(&first, &[(1, 1)]).expect_err("the old one is gone");
    assert!(error.to_string().contains("was removed while it was open here"), "{error}");
}

#[test]
fn a_copy_without_its_folder_is_not_adopted_by_itself() {
    let folder = scene();
    fs::rename(folder.inside(""), folder.inside("").with_file_name("elsewhere")).unwrap();
    opening_fails(&folder, ErrorKind::CannotOpen, "Bring the whole folder back");
    fs::rename(folder.inside("").with_file_name("elsewhere"), folder.inside("")).unwrap();
    is_whole(&folder);
}

#[test]
fn what_is_no_database_is_not_touched() {
    let folder = Folder::new();
    fs::write(folder.name(), [b'x'; 5000]).unwrap();
    opening_fails(&folder, ErrorKind::NotADatabase, "not a SQLite database");
    assert_eq!(fs::read(folder.name()).unwrap(), [b'x'; 5000]);
}

#[test]
fn an_adoption_that_stopped_anywhere_is_finished_by_the_next_opener() {
    let folder = Folder::new();
    write_plain(&folder.name(), 20);
    let plain = fs::read(folder.name()).unwrap();
    folder.machine();
    let marked = fs::read(folder.name()).unwrap();
    assert_ne!(plain, marked);
    let reset = |content: &[u8]| {
        fs::remove_file(folder.inside("id")).unwrap();
        fs::write(folder.name(), content).unwrap();
    };
    // Before the head: the next one does it all again.
    reset(&marked);
    fs::remove_file(folder.inside("commits/0")).unwrap();
    let a = folder.machine();
    assert_eq!((newest(&a).page_count(), byte(&a, &newest(&a), 7)), (20, 7));
    // After the head: `id` is still a draft, and gets its name.
    let draft = format!("id.{}", a.status().unwrap().database);
    fs::rename(folder.inside("id"), folder.inside(&draft)).unwrap();
    let b = folder.machine();
    assert_eq!(b.status().unwrap().database, a.status().unwrap().database);
    commit(&b, &[(7, 1)]).unwrap();
    assert_eq!(byte(&a, &newest(&a), 7), 1);
}

#[test]
fn a_forged_head_at_the_end_of_all_numbers_is_refused_by_all() {
    let folder = scene();
    let a = folder.machine();
    let head = newest(&a).head().clone();
    let forged = Head { version: head.version.next(), generation: u64::MAX - 1, ..head };
    symlink(forged.to_string(), folder.inside(&format!("commits/{}", forged.version.0))).unwrap();
    opening_fails(&folder, ErrorKind::NeedsRecovery, "generation is impossible");
    let error = commit(&a, &[(2, 1)]).expect_err("nothing follows it");
    assert!(error.to_string().contains("generation is impossible"), "{error}");
}
