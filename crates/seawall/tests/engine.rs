//! Reading and writing on the real file system, with several machines in one process.

mod common;

use common::{Folder, PATIENCE, byte, commit, newest, page_size};
use seawall::{Database, ErrorKind, PageNo, PageSize, Snapshot, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn what_one_machine_commits_another_reads() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    assert_eq!(newest(&b).version(), Version(0));
    commit(&a, &[(1, 1), (2, 2)]).unwrap();
    let seen = newest(&b);
    assert_eq!((seen.version(), seen.page_count()), (Version(1), 2));
    assert_eq!((byte(&b, &seen, 1), byte(&b, &seen, 2)), (1, 2));
    commit(&b, &[(2, 3)]).unwrap();
    assert_eq!(byte(&a, &newest(&a), 2), 3);
    // The old snapshot still reads what it read.
    assert_eq!(byte(&b, &seen, 2), 2);
    // A machine that comes later sees the same.
    let c = folder.machine();
    let seen = newest(&c);
    assert_eq!((seen.version(), byte(&c, &seen, 1), byte(&c, &seen, 2)), (Version(2), 1, 3));
}

#[test]
fn many_commits_by_two_machines_end_in_one_history() {
    let folder = Folder::new();
    let machines = [folder.machine(), folder.machine()];
    std::thread::scope(|scope| {
        for database in &machines {
            for _ in 0..2 {
                scope.spawn(move || {
                    for _ in 0..50 {
                        increment(database, 1);
                    }
                });
            }
        }
    });
    let late = folder.machine();
    let seen = newest(&late);
    assert_eq!(counter(&late, &seen), 200);
    assert_eq!(seen.version(), Version(200));
}

fn counter(database: &Arc<Database>, snapshot: &seawall::Snapshot) -> u64 {
    if snapshot.page_count() == 0 {
        return 0;
    }
    u64::from_le_bytes(database.read_page(snapshot, PageNo(1)).unwrap()[..8].try_into().unwrap())
}

fn increment(database: &Arc<Database>, by: u64) {
    let mut transaction = database.begin(PATIENCE).unwrap();
    let value = counter(database, transaction.snapshot()) + by;
    let mut image = [0; 4096];
    image[..8].copy_from_slice(&value.to_le_bytes());
    transaction.write_page(page_size(), PageNo(1), &image).unwrap();
    transaction.commit(1).unwrap();
}

#[test]
fn histories_longer_than_an_index_read_back_whole() {
    let folder = Folder::new();
    let a = folder.machine();
    let b = folder.machine();
    let mut model = vec![0_u8; 3001];
    let mut state = 1_u64;
    for round in 0..400_u32 {
        let mut pages = std::collections::BTreeMap::new();
        for _ in 0..10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pages.insert((state >> 33) as u32 % 3000 + 1, (state >> 17) as u8);
        }
        let pages: Vec<_> = pages.into_iter().collect();
        commit(&a, &pages).unwrap();
        pages.iter().for_each(|(page, byte)| model[*page as usize] = *byte);
        if round % 97 == 0 {
            newest(&b);
        }
    }
    // One that followed now and then, one that comes cold, and the writer agree with the model and on every place.
    let (c, followed) = (folder.machine(), newest(&b));
    let (cold, own) = (newest(&c), newest(&a));
    assert_eq!((cold.version(), followed.version(), own.version()), (Version(400), Version(400), Version(400)));
    for page in 1..=cold.page_count() {
        assert_eq!(byte(&c, &cold, page), model[page as usize], "page {page}");
        assert_eq!(byte(&b, &followed, page), model[page as usize], "page {page}");
        assert_eq!(own.source_of(PageNo(page)).is_some(), cold.source_of(PageNo(page)).is_some());
    }
}

#[test]
fn a_stale_snapshot_cannot_be_written_over() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    let old = newest(&a);
    commit(&b, &[(1, 2)]).unwrap();
    let refused = a.upgrade(&old, PATIENCE).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::StaleSnapshot);
    // The lease waits for the second attempt, which cannot fail again.
    let fresh = newest(&a);
    let mut transaction = a.upgrade(&fresh, PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[3; 4096]).unwrap();
    transaction.commit(1).unwrap();
    assert_eq!(byte(&b, &newest(&b), 1), 3);
}

#[test]
fn a_holder_that_does_nothing_is_passed_over_and_its_commit_refused() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    // `a` begins to write, and its lease of 300 ms is not renewed, because `freeze` stops its background.
    let mut frozen = freeze(&a);
    let began = Instant::now();
    commit(&b, &[(1, 2)]).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300), "the lease was respected");
    // No writer waits for the old holder again.
    let began = Instant::now();
    commit(&b, &[(1, 3)]).unwrap();
    assert!(began.elapsed() < Duration::from_millis(250));
    frozen.write_page(page_size(), PageNo(1), &[9; 4096]).unwrap();
    let refused = frozen.commit(1).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Superseded);
    drop(frozen);
    assert_eq!(byte(&a, &newest(&a), 1), 3);
    commit(&a, &[(1, 4)]).unwrap();
    assert_eq!(byte(&b, &newest(&b), 1), 4);
}

/// A transaction of `database` whose background thread never renews: the writer is frozen as a stopped process is.
fn freeze(database: &Arc<Database>) -> seawall::Transaction {
    database.stop_background();
    database.begin(PATIENCE).unwrap()
}

#[test]
fn waiting_ends_in_time_and_says_for_whom() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    let held = a.begin(PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let error = b.begin(Duration::from_millis(50)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("process "), "{error}");
    let error = a.begin(Duration::from_millis(50)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(held);
    commit(&b, &[(1, 1)]).unwrap();
}

#[test]
fn a_rolled_back_transaction_leaves_nothing() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    let mut transaction = a.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    drop(transaction);
    let seen = newest(&folder.machine());
    assert_eq!((seen.version(), byte(&a, &seen, 1)), (Version(1), 1));
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1), (2, 2), (3, 3)]).unwrap();
    let mut transaction = a.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[4; 4096]).unwrap();
    assert_eq!(transaction.commit(1).unwrap().page_count(), 1);
    drop(transaction);
    commit(&a, &[(3, 5)]).unwrap();
    let b = folder.machine();
    let seen = newest(&b);
    assert_eq!([1, 2, 3].map(|page| byte(&b, &seen, page)), [4, 0, 5]);
}

#[test]
fn a_transaction_larger_than_memory_spills_and_commits_in_pieces() {
    let folder = Folder::new();
    let a = folder.machine();
    let mut transaction = a.begin(PATIENCE).unwrap();
    let image = |page: u32| {
        let mut image = [0; 4096];
        image.chunks_exact_mut(4).zip(0_u32..).for_each(|(chunk, n)| {
            chunk.copy_from_slice(&(page.wrapping_mul(2_654_435_761) ^ n.wrapping_mul(40_503)).to_le_bytes());
        });
        image
    };
    const PAGES: u32 = 20_000;
    for page in 1..=PAGES {
        transaction.write_page(page_size(), PageNo(page), &image(page)).unwrap();
    }
    // What was spilled can be written again and read.
    transaction.write_page(page_size(), PageNo(PAGES), &image(7)).unwrap();
    assert_eq!(transaction.read_page(PageNo(PAGES)).unwrap()[..], image(7));
    transaction.commit(PAGES).unwrap();
    drop(transaction);
    let b = folder.machine();
    let seen = newest(&b);
    for page in (1..PAGES).step_by(777) {
        assert_eq!(b.read_page(&seen, PageNo(page)).unwrap()[..], image(page));
    }
    assert_eq!(b.read_page(&seen, PageNo(PAGES)).unwrap()[..], image(7));
}

#[test]
fn a_waiter_learns_that_the_lease_moved_on() {
    let folder = Folder::new();
    let (a, b, c) = (folder.machine(), folder.machine(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    newest(&b);
    newest(&c);
    // Both wait for a frozen holder, and both know its lock. One passes it over; the other must learn of the new lock.
    let frozen = freeze(&a);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (database, page) in [(&b, 2), (&c, 3)] {
            scope.spawn(move || commit(database, &[(page, 2)]).unwrap());
        }
    });
    assert!(began.elapsed() < Duration::from_secs(3), "no writer starved: {:?}", began.elapsed());
    drop(frozen);
}

/// The bytes of a snapshot, as a plain file has them.
fn file_of(database: &Arc<Database>, snapshot: &Snapshot) -> Vec<u8> {
    let pages = (1..=snapshot.page_count()).map(PageNo);
    pages.flat_map(|page| database.read_page(snapshot, page).unwrap().to_vec()).collect()
}

#[test]
fn a_commit_may_cut_the_database_into_pages_of_another_size() {
    for adopted in [false, true] {
        let folder = Folder::new();
        if adopted {
            common::write_plain(&folder.name(), 7);
        }
        let (a, b) = (folder.machine(), folder.machine());
        commit(&a, &(1..=7).map(|page| (page, page as u8)).collect::<Vec<_>>()).unwrap();
        let before = newest(&b);
        let mut expected = file_of(&b, &before);
        // Of most pages nothing is written: they are as they were, in the base or in another commit.
        for (size, count) in [(512, 53), (65_536, 1), (1024, 50), (4096, 12), (2048, 1), (8192, 9)] {
            let size = PageSize::new(size).unwrap();
            let mut transaction = a.begin(PATIENCE).unwrap();
            let old = transaction.page_size().unwrap();
            transaction.write_page(old, PageNo(1), &vec![size.bytes() as u8 ^ 0x5a; old.bytes()]).unwrap();
            let written = old.bytes().max(expected.len());
            expected.resize(written, 0);
            expected[..old.bytes()].fill(size.bytes() as u8 ^ 0x5a);
            transaction.commit_as(size, count).unwrap();
            expected.resize(size.bytes() * count as usize, 0);
            for machine in [&a, &b, &folder.machine()] {
                let snapshot = newest(machine);
                assert_eq!((snapshot.page_size(), snapshot.page_count()), (Some(size), count));
                assert!(file_of(machine, &snapshot) == expected, "{} pages of {} bytes", count, size.bytes());
            }
        }
        assert_eq!(byte(&b, &before, 5), 5, "who began before reads on");
        // It grows, in the new size; what lay there before comes back nowhere.
        let size = PageSize::new(8192).unwrap();
        let mut transaction = b.begin(PATIENCE).unwrap();
        transaction.write_page(size, PageNo(12), &[9; 8192]).unwrap();
        transaction.commit(12).unwrap();
        let snapshot = newest(&a);
        let file = file_of(&a, &snapshot);
        assert!(file[..expected.len()] == expected && file[9 * 8192..11 * 8192].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_large_transaction_is_repaginated_from_what_it_streamed() {
    let folder = Folder::new();
    let a = folder.machine();
    let (old, new) = (PageSize::new(65_536).unwrap(), PageSize::new(32_768).unwrap());
    // More than an overlay keeps in memory.
    const PAGES: u32 = 1100;
    let mut transaction = a.begin(PATIENCE).unwrap();
    for page in 1..=PAGES {
        transaction.write_page(old, PageNo(page), &vec![page as u8; old.bytes()]).unwrap();
    }
    transaction.commit_as(new, 2 * PAGES).unwrap();
    let b = folder.machine();
    let snapshot = newest(&b);
    assert_eq!((snapshot.page_size(), snapshot.page_count()), (Some(new), 2 * PAGES));
    for page in (1..=2 * PAGES).step_by(97).chain([2 * PAGES]) {
        let image = b.read_page(&snapshot, PageNo(page)).unwrap();
        assert!(image.len() == new.bytes() && image.iter().all(|byte| *byte == page.div_ceil(2) as u8), "page {page}");
    }
}
