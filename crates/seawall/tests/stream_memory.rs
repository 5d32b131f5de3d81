//! The memory of a large transaction, in a process of its own.

mod common;

use common::{Folder, PATIENCE, newest};
use seawall::{Options, PageNo, PageSize};

/// Bytes that do not compress.
fn noise(page: u32) -> Vec<u8> {
    let mut state = u64::from(page) << 32 | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    (0..1024).flat_map(|_| next().to_le_bytes()).collect()
}

/// MiB, at the most so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn a_transaction_of_200_mib_takes_a_tenth_of_it_in_memory() {
    const PAGES: u32 = 200 << 8;
    let folder = Folder::new();
    let options = Options { page_cache: 1 << 20, ..Options::default() };
    let database = folder.try_machine_with(&options).unwrap();
    let before = peak();
    let mut transaction = database.begin(PATIENCE).unwrap();
    for page in 1..=PAGES {
        transaction.write_page(PageSize::new(4096).unwrap(), PageNo(page), &noise(page)).unwrap();
    }
    transaction.commit(PAGES).unwrap();
    let taken = peak() - before;
    assert!(taken <= 40, "{taken} MiB");
    let snapshot = newest(&database);
    for page in (1..=PAGES).step_by(997) {
        assert_eq!(database.read_page(&snapshot, PageNo(page)).unwrap()[..], noise(page)[..]);
    }
}
