//! The design's budget (appendix A), exactly, by the counters. What the background does is counted apart.

mod common;

use common::{Folder, NOTHING, PATIENCE, byte, commit, cost, newest, page_size};
use seawall::{At, Counts, Database, Freshness, PageNo, Version};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a lease to go back: what follows begins with nothing in hand.
fn rest() {
    std::thread::sleep(Duration::from_millis(120));
}

#[test]
fn a_cached_read_on_a_snapshot_that_is_fresh_enough_costs_nothing() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1), (2, 2)]).unwrap();
    let (cost, _) = cost(&a, || {
        let snapshot = a.snapshot(Freshness::Seconds(Duration::from_secs(60))).unwrap();
        (byte(&a, &snapshot, 1), byte(&a, &snapshot, 2))
    });
    assert_eq!(cost, NOTHING);
}

#[test]
fn a_refresh_costs_one_trip() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    newest(&a);
    let (cost, snapshot) = cost(&a, || newest(&a));
    assert_eq!(cost, Counts { coordinator: 1, ..NOTHING });
    assert_eq!(byte(&a, &snapshot, 1), 1);
}

#[test]
fn a_refresh_with_news_costs_one_read_more_and_on_fs_the_look_up() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1), (2, 1)]).unwrap();
    newest(&b);
    commit(&a, &[(1, 2)]).unwrap();
    newest(&b);
    // One commit, by a writer whose segment is open here: the frame, and with it its pages.
    commit(&a, &[(1, 3)]).unwrap();
    let (one, snapshot) = cost(&b, || newest(&b));
    assert_eq!(one, Counts { coordinator: 1, reads: 1, metadata: 1, ..NOTHING });
    let (pages, read) = cost(&b, || byte(&b, &snapshot, 1));
    assert_eq!((pages, read), (NOTHING, 3));
    // Four commits: the same read, a step to find the newest, and a look whether what was known is still there.
    (4..8).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    let (four, snapshot) = cost(&b, || newest(&b));
    assert_eq!(four, Counts { coordinator: 1, reads: 1, metadata: 3, ..NOTHING });
    assert_eq!(byte(&b, &snapshot, 2), 7);
    // A hundred: three steps more.
    (0..100).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    let (hundred, _) = cost(&b, || newest(&b));
    assert_eq!(hundred, Counts { coordinator: 1, reads: 1, metadata: 6, ..NOTHING });
}

#[test]
fn a_refresh_reads_once_more_if_more_pages_have_changed_than_a_frame_lists() {
    let folder = Folder::new();
    let (a, b) = (folder.folding(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    newest(&b);
    let mut page = 1;
    let mut after = |pages: u32| {
        for _ in 0..pages {
            page += 1;
            commit(&a, &[(page, page as u8)]).unwrap();
        }
        let (cost, snapshot) = cost(&b, || newest(&b));
        (2..=page).for_each(|page| assert_eq!(byte(&b, &snapshot, page), page as u8));
        cost.reads
    };
    assert_eq!(after(100), 1, "the fold's frame");
    assert_eq!(after(300), 2, "and then the index frames that were written since, all at once");
    assert_eq!(after(10), 1);
}

#[test]
fn a_refresh_with_news_that_ride_in_the_head_reads_no_file() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1), (2, 1)]).unwrap();
    let snapshot = newest(&b);
    for page in [1, 2] {
        byte(&b, &snapshot, page);
    }
    commit(&a, &[(2, 2)]).unwrap();
    let (one, snapshot) = cost(&b, || newest(&b));
    assert_eq!(one, Counts { coordinator: 1, metadata: 1, ..NOTHING });
    let (pages, read) = cost(&b, || byte(&b, &snapshot, 2));
    assert_eq!((pages, read), (NOTHING, 2), "the old image was cached");
    // Several: the steps to find the newest, and a look whether what was known is still there.
    (4..8).for_each(|byte| drop(commit(&a, &[(2, byte)]).unwrap()));
    let (four, snapshot) = cost(&b, || newest(&b));
    assert_eq!((snapshot.version(), snapshot.head().folded()), (Version(6), Version(1)));
    assert_eq!(four, Counts { coordinator: 1, metadata: 3, ..NOTHING });
    let (pages, read) = cost(&b, || byte(&b, &snapshot, 2));
    assert_eq!((pages, read), (NOTHING, 7));
    // A process that opens reads the fold's frame as before, and what a page of the window is made of when it is asked for.
    let c = folder.machine();
    let snapshot = newest(&c);
    let (pages, read) = cost(&c, || byte(&c, &snapshot, 2));
    assert_eq!((pages.coordinator, pages.metadata, read), (0, 0, 7));
    assert!(pages.reads <= 1, "{pages:?}");
}

#[test]
fn a_write_that_rides_in_the_head_costs_lock_head_publication_and_the_check() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1), (2, 1)]).unwrap();
    rest();
    let (first, committed) = cost(&a, || commit(&a, &[(2, 2)]).unwrap());
    assert_eq!((committed.version(), committed.head().folded()), (Version(2), Version(1)));
    assert_eq!(first, Counts { coordinator: 3, metadata: 1, ..NOTHING });
    // The next one of a turn.
    commit(&a, &[(2, 3)]).unwrap();
    let (next, _) = cost(&a, || commit(&a, &[(2, 4)]).unwrap());
    assert_eq!(next, Counts { coordinator: 1, metadata: 1, ..NOTHING });
}

#[test]
fn a_refused_write_that_rides_in_the_head_reads_and_appends_nothing() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1), (2, 1)]).unwrap();
    newest(&b);
    a.stop_background();
    let mut frozen = a.begin(PATIENCE).unwrap();
    commit(&b, &[(2, 2)]).unwrap();
    frozen.write_page(page_size(), PageNo(2), &[9; 4096]).unwrap();
    let (refused, result) = cost(&a, || frozen.commit(2));
    assert!(result.is_err());
    // The publication; the look that it brings, and whose record is there; the look before it is reported.
    assert_eq!((refused.coordinator, refused.reads, refused.appends), (3, 0, 0), "{refused:?}");
    assert!(refused.metadata <= 3, "{refused:?}");
}

#[test]
fn a_request_with_any_number_of_reads_costs_one_trip() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    let request = newest_moment(&a);
    let (cost, ()) = cost(&a, || {
        for _ in 0..20 {
            let snapshot = a.snapshot(Freshness::Since(request)).unwrap();
            assert_eq!(byte(&a, &snapshot, 1), 1);
        }
    });
    assert_eq!(cost, Counts { coordinator: 1, ..NOTHING });
}

fn newest_moment(database: &Arc<Database>) -> seawall::Moment {
    std::thread::sleep(Duration::from_millis(1));
    database.now()
}

#[test]
fn a_write_costs_lock_head_append_publication_and_the_check() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &[(1, 1)]).unwrap();
    rest();
    let (first, _) = cost(&a, || commit(&a, &[(1, 2)]).unwrap());
    assert_eq!(first, Counts { coordinator: 3, appends: 1, metadata: 1, ..NOTHING });
    rest();
}

#[test]
fn the_next_write_of_a_turn_costs_append_publication_and_the_check() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let a = folder.machine();
    // A writer that writes again and again keeps the lease for a bounded turn.
    for _ in 0..3 {
        commit(&a, &[(1, 1)]).unwrap();
    }
    let (next, _) = cost(&a, || commit(&a, &[(1, 2)]).unwrap());
    assert_eq!(next, Counts { coordinator: 1, appends: 1, metadata: 1, ..NOTHING });
}

#[test]
fn a_refused_write_costs_one_publication_and_its_conclusion() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    commit(&a, &[(1, 1)]).unwrap();
    a.stop_background();
    let mut frozen = a.begin(PATIENCE).unwrap();
    commit(&b, &[(1, 2)]).unwrap();
    frozen.write_page(page_size(), PageNo(1), &[9; 4096]).unwrap();
    let (refused, result) = cost(&a, || frozen.commit(1));
    assert!(result.is_err());
    // The publication; the look that it brings (and what is at that number); the mark; the look after it, and the frame
    // that is there.
    assert_eq!(refused, Counts { coordinator: 3, reads: 1, appends: 2, metadata: 3, ..NOTHING });
}

#[test]
fn opening_cold_costs_the_same_after_any_history() {
    let _folds = common::only_folds();
    let cost_after = |commits: u32| {
        let folder = Folder::new();
        let a = folder.machine();
        commit(&a, &(1..=4000).map(|page| (page, 1)).collect::<Vec<_>>()).unwrap();
        for n in 0..commits {
            commit(&a, &[(n * 7919 % 4000 + 1, n as u8), ((n * 31) % 4000 + 1, n as u8)]).unwrap();
        }
        // The note of the newest commit is written after a second.
        std::thread::sleep(Duration::from_millis(1300));
        let b = folder.machine();
        let snapshot = b.newest_known();
        assert_eq!(snapshot.version().0, u64::from(commits) + 1);
        (b.counts(), commits)
    };
    // Look for id; open id, NAME and high at once; open commits/; the hint's record; open the segment.
    let expected = Counts { coordinator: 1, reads: 3, metadata: 5, ..NOTHING };
    for commits in [10, 1_000, 10_000] {
        assert_eq!(cost_after(commits), (expected, commits));
    }
}

#[test]
fn opening_cold_over_commits_that_ride_in_the_head_costs_no_more() {
    let folder = Folder::new();
    let a = folder.machine();
    commit(&a, &(1..=400).map(|page| (page, 1)).collect::<Vec<_>>()).unwrap();
    for commits in [3, 7, 500] {
        (0..commits).for_each(|n| drop(commit(&a, &[(n * 79 % 400 + 1, n as u8)]).unwrap()));
        std::thread::sleep(Duration::from_millis(1300));
        let Counts { coordinator, reads, appends, metadata, .. } = folder.machine().counts();
        assert!((coordinator, appends) == (1, 0) && reads <= 3 && metadata <= 5, "{:?}", (reads, metadata));
    }
}

/// A machine that knows the last of 1,024 versions.
fn after_1024_commits() -> (Folder, Arc<Database>) {
    let folder = Folder::new();
    common::write_plain(&folder.name(), 60);
    let a = folder.machine();
    (0..1024).for_each(|n| drop(commit(&a, &[(2 + n % 50, n as u8)]).unwrap()));
    let b = folder.machine();
    newest(&b);
    (folder, b)
}

#[test]
fn an_old_version_between_folds_costs_two_trips_and_a_logarithm_of_reads() {
    let (_folder, b) = after_1024_commits();
    for version in [0, 1, 2, 3, 511, 512, 513, 682, 1000, 1022, 1023] {
        let (cost, snapshot) = cost(&b, || b.version_at(At::Version(Version(version))).unwrap());
        assert_eq!((snapshot.version().0, cost.coordinator, cost.metadata), (version, 2, 0));
        assert!(cost.reads <= 10 + 2, "version {version}: {cost:?}");
    }
}

#[test]
fn a_cold_scan_of_a_base_reads_four_megabytes_at_a_time() {
    let folder = Folder::new();
    const PAGES: u32 = 8192;
    common::write_plain(&folder.name(), PAGES);
    let a = folder.machine();
    let snapshot = newest(&a);
    assert_eq!(snapshot.page_count(), PAGES);
    let (cost, ()) = cost(&a, || {
        for page in 1..=PAGES {
            a.read_page(&snapshot, PageNo(page)).unwrap();
        }
    });
    // 32 MiB: seven waves of four reads of 1 MiB, and the steps of 1, 8, 64 and 512 pages before it is clear that this
    // is a scan.
    assert!(cost.reads <= 12, "{cost:?}");
    assert_eq!((cost.coordinator, cost.appends), (0, 0));
}

#[test]
fn an_old_version_costs_two_trips_and_a_logarithm_of_reads() {
    let _folds = common::only_folds();
    let (_folder, b) = after_1024_commits();
    // The newest, 1024, jumps to 512, which no other version is nearer to; and this one's page map has runs to be read, at once.
    let half = cost(&b, || b.version_at(At::Version(Version(512))).unwrap());
    assert_eq!((half.0, half.1.version()), (Counts { coordinator: 2, reads: 2, ..NOTHING }, Version(512)));
    for version in [0, 1, 2, 3, 511, 513, 682, 1000, 1022, 1023] {
        let (cost, snapshot) = cost(&b, || b.version_at(At::Version(Version(version))).unwrap());
        assert_eq!((snapshot.version().0, cost.coordinator, cost.metadata), (version, 2, 0));
        assert!(cost.reads <= 10 + 2, "version {version}: {cost:?}");
    }
}

/// A page that hardly compresses.
fn noise(page: u32) -> Vec<u8> {
    let mut state = u64::from(page) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..4096).map(|_| next()).collect()
}

#[test]
fn a_cold_scan_of_the_log_reads_four_megabytes_at_a_time_and_point_reads_one_group() {
    const PAGES: u32 = 8192;
    for image in [noise as fn(u32) -> Vec<u8>, |page| vec![page as u8; 4096]] {
        let folder = Folder::new();
        let mut transaction = folder.machine().begin(PATIENCE).unwrap();
        (1..=PAGES).for_each(|page| transaction.write_page(page_size(), PageNo(page), &image(page)).unwrap());
        transaction.commit(PAGES).unwrap();
        let a = folder.machine();
        let snapshot = newest(&a);
        let (scan, ()) = cost(&a, || {
            for page in 1..=PAGES {
                assert_eq!(a.read_page(&snapshot, PageNo(page)).unwrap()[..], image(page), "page {page}");
            }
        });
        // A group, eight groups, and then waves of four megabytes.
        assert!(scan.reads <= 12 && scan.coordinator == 0, "{scan:?}");
        // Here and there: one read each.
        let b = folder.machine();
        let snapshot = newest(&b);
        let (points, ()) = cost(&b, || {
            for n in 0..64 {
                b.read_page(&snapshot, PageNo(1 + n * 5237 % PAGES)).unwrap();
            }
        });
        assert!(points.reads <= 64, "{points:?}");
        // A scan reads no more than a small cache can keep. Which pages the cache gives up is partly random, so these
        // bounds are loose: 13 and 32 pages for each read.
        for (page_cache, most) in [(1 << 20, 600), (16 << 20, 256)] {
            let options = seawall::Options { page_cache, ..common::options() };
            let small = folder.try_machine_with(&options).unwrap();
            let snapshot = newest(&small);
            let read = |page| drop(small.read_page(&snapshot, PageNo(page)).unwrap());
            let (scan, ()) = cost(&small, || (1..=PAGES).for_each(read));
            assert!(scan.reads <= most, "{page_cache}: {scan:?}");
        }
    }
}

#[test]
fn a_cold_scan_over_many_small_commits_is_read_ahead_as_well() {
    for inline in [true, false] {
        let folder = Folder::new();
        let a = if inline { folder.machine() } else { folder.folding() };
        (1..=2000).for_each(|page| drop(commit(&a, &[(page, page as u8)]).unwrap()));
        let b = folder.machine();
        let snapshot = newest(&b);
        let (scan, ()) = cost(&b, || (1..=2000).for_each(|page| assert_eq!(byte(&b, &snapshot, page), page as u8)));
        assert!(scan.reads <= 40, "with a window: {inline}: {scan:?}");
    }
}
