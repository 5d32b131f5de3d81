//! A process that slept makes the name of a version that was garbage-collected. No reader and no writer is misled by
//! it.

mod common;

use common::{Folder, PATIENCE, commit, newest, page_size};
use seawall::format::high::{High, Named};
use seawall::{ErrorKind, PageNo, Version};
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Removes the names of old versions, as garbage collection will. Returns their records.
fn collect(folder: &Folder, versions: RangeInclusive<u64>) -> Vec<PathBuf> {
    versions
        .map(|number| {
            let name = folder.inside(&format!("commits/{number}"));
            let record = fs::read_link(&name).unwrap();
            fs::remove_file(&name).unwrap();
            record
        })
        .collect()
}

fn name_again(folder: &Folder, number: u64, record: &Path) {
    symlink(record, folder.inside(&format!("commits/{number}"))).unwrap();
}

#[test]
fn a_reader_whose_own_number_came_back_sees_the_newest() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    (1..=3).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    assert_eq!(newest(&b).version(), Version(3));
    (4..=8).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    let records = collect(&folder, 0..=6);
    // The very same publication is carried out once more.
    name_again(&folder, 3, &records[3]);
    assert_eq!(newest(&b).version(), Version(8));
    // A neighbour that came back with it proves nothing either.
    let c = folder.machine();
    assert_eq!(newest(&c).version(), Version(8));
    (9..=12).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    fs::remove_file(folder.inside("commits/3")).unwrap();
    let records = collect(&folder, 7..=10);
    name_again(&folder, 7, &records[0]);
    name_again(&folder, 8, &records[1]);
    assert_eq!(newest(&c).version(), Version(12));
}

#[test]
fn a_writer_whose_numbers_were_garbage_collected_is_refused() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    (1..=3).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    a.stop_background();
    let mut frozen = a.begin(PATIENCE).unwrap();
    (4..=8).for_each(|n| drop(commit(&b, &[(1, n)]).unwrap()));
    let records = collect(&folder, 0..=6);
    name_again(&folder, 3, &records[3]);
    // Its number is free, and the one before it exists, but is not the file that it was.
    frozen.write_page(page_size(), PageNo(1), &[9; 4096]).unwrap();
    let error = frozen.commit(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded, "{error}");
    drop(frozen);
    for machine in [&a, &b, &folder.machine()] {
        assert_eq!(newest(machine).version(), Version(8));
    }
    commit(&a, &[(1, 10)]).unwrap();
    assert_eq!(newest(&b).version(), Version(9));
}

#[test]
fn a_hint_whose_number_came_back_is_no_hint() {
    let folder = Folder::new();
    let a = folder.machine();
    (1..=8).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    let records = collect(&folder, 0..=6);
    name_again(&folder, 5, &records[5]);
    let head: seawall::format::head::Head = records[5].to_str().unwrap().parse().unwrap();
    fs::write(folder.inside("high"), High::of(&head, None).to_string()).unwrap();
    assert_eq!(folder.machine().newest_known().version(), Version(8));
}

#[test]
fn a_hint_whose_number_came_back_with_the_one_before_is_no_hint() {
    let folder = Folder::new();
    let a = folder.machine();
    (1..=8).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    a.stop_background();
    let name = fs::symlink_metadata(folder.inside("commits/5")).unwrap();
    let changed = name.ctime() as u64 * 1_000_000_000 + name.ctime_nsec() as u64;
    let named = Some(Named { inode: name.ino(), changed });
    let hint = |record: &Path| {
        let head: seawall::format::head::Head = record.to_str().unwrap().parse().unwrap();
        fs::write(folder.inside("high"), High::of(&head, named).to_string()).unwrap();
    };
    // While the name is the file that it was, the hint leads to the newest version without a list.
    hint(&fs::read_link(folder.inside("commits/5")).unwrap());
    let opened = folder.machine();
    assert_eq!(opened.newest_known().version(), Version(8));
    let records = collect(&folder, 0..=6);
    name_again(&folder, 4, &records[4]);
    name_again(&folder, 5, &records[5]);
    hint(&records[5]);
    assert_eq!(folder.machine().newest_known().version(), Version(8));
}
