//! The design's budget (appendix A) on DynamoDB Local, exactly, by the counters. What the background does is counted
//! apart; `tests/dynamodb` counts the same at a proxy, through SQLite and Python.

mod common;

use common::engine::{self, Folder, NOTHING, PATIENCE, byte, commit, cost, newest, page_size};
use seawall::{Counts, Database, Freshness, Options, PageNo};
use std::sync::Arc;
use std::time::Duration;

/// Two machines on one database. `None` if there is no DynamoDB Local.
fn machines() -> Option<(Folder, Arc<Database>, Arc<Database>)> {
    let options =
        Options { coordinator: common::url()?.into(), lease: Duration::from_millis(500), ..Options::default() };
    let folder = Folder::new();
    let (a, b) = (folder.try_machine_with(&options).unwrap(), folder.try_machine_with(&options).unwrap());
    Some((folder, a, b))
}

/// Long enough that the next writer does not count as one that comes back.
fn rest() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn a_refresh_is_one_request_and_news_cost_nothing_more_without_a_fold_in_between() {
    let Some((_folder, a, b)) = machines() else { return };
    commit(&a, &[(1, 1), (2, 1)]).unwrap();
    newest(&b);
    let (nothing_new, _) = cost(&b, || newest(&b));
    assert_eq!(nothing_new, Counts { coordinator: 1, ..NOTHING });
    for (commits, folds) in [(1, 0), (5, 0), (100, 1)] {
        (0..commits).for_each(|n| drop(commit(&a, &[(2, n)]).unwrap()));
        let (news, snapshot) = cost(&b, || newest(&b));
        assert_eq!(news, Counts { coordinator: 1, reads: folds, ..NOTHING }, "after {commits} commits");
        let (pages, byte) = cost(&b, || byte(&b, &snapshot, 2));
        assert_eq!(byte, commits - 1);
        if folds == 0 {
            assert!(pages.reads <= 1 && pages.coordinator == 0, "only its old image: {pages:?}");
        }
    }
}

#[test]
fn a_request_with_any_number_of_reads_is_one_request() {
    let Some((_folder, a, _)) = machines() else { return };
    commit(&a, &[(1, 1)]).unwrap();
    rest();
    let began = a.now();
    let (cost, ()) = cost(&a, || {
        for _ in 0..20 {
            let snapshot = a.snapshot(Freshness::Since(began)).unwrap();
            assert_eq!(byte(&a, &snapshot, 1), 1);
        }
    });
    assert_eq!(cost, Counts { coordinator: 1, ..NOTHING });
}

#[test]
fn a_write_is_two_requests_and_an_append() {
    let Some((_folder, a, _)) = machines() else { return };
    commit(&a, &[(1, 1)]).unwrap();
    rest();
    let before = a.counts();
    commit(&a, &[(1, 2)]).unwrap();
    rest();
    // Not even the background has anything to give back: the swap ended the lease.
    assert_eq!(a.counts() - before, Counts { coordinator: 2, appends: 1, ..NOTHING });
}

#[test]
fn the_next_write_of_a_turn_is_one_request_and_an_append() {
    let Some((_folder, a, _)) = machines() else { return };
    for _ in 0..3 {
        commit(&a, &[(1, 1)]).unwrap();
    }
    let (next, _) = cost(&a, || commit(&a, &[(1, 2)]).unwrap());
    assert_eq!(next, Counts { coordinator: 1, appends: 1, ..NOTHING });
}

#[test]
fn a_write_that_is_refused_at_its_beginning_is_one_request() {
    let Some((_folder, a, b)) = machines() else { return };
    commit(&a, &[(1, 1)]).unwrap();
    newest(&b);
    // Another writer has the lease, and this one does not wait.
    let holder = a.begin(PATIENCE).unwrap();
    let (busy, result) = cost(&b, || b.begin(Duration::ZERO).map(drop));
    assert_eq!(result.unwrap_err().kind(), seawall::ErrorKind::Busy);
    assert_eq!(busy, Counts { coordinator: 1, ..NOTHING });
    drop(holder);
    // The snapshot is stale: the lease waits for the second attempt, which sends no request.
    let old = newest(&b);
    commit(&a, &[(1, 2)]).unwrap();
    rest();
    let (stale, result) = cost(&b, || b.upgrade(&old, PATIENCE).map(drop));
    assert_eq!(result.unwrap_err().kind(), seawall::ErrorKind::StaleSnapshot);
    assert_eq!(stale, Counts { coordinator: 1, ..NOTHING });
    let snapshot = b.newest_known();
    let (again, transaction) = cost(&b, || b.upgrade(&snapshot, PATIENCE).unwrap());
    assert_eq!(again, NOTHING);
    drop(transaction);
}

#[test]
fn a_refused_swap_is_one_request_and_its_conclusion() {
    let Some((_folder, a, b)) = machines() else { return };
    commit(&a, &[(1, 1)]).unwrap();
    a.stop_background();
    let mut frozen = a.begin(PATIENCE).unwrap();
    commit(&b, &[(1, 2)]).unwrap();
    frozen.write_page(page_size(), PageNo(1), &[9; 4096]).unwrap();
    let (refused, result) = cost(&a, || frozen.commit(1));
    assert_eq!(result.unwrap_err().kind(), seawall::ErrorKind::Superseded);
    // The append; the swap, whose refusal brings the head, and with it the commit that came first; the mark; the look
    // after it.
    assert_eq!(refused, Counts { coordinator: 2, appends: 2, ..NOTHING });
}

#[test]
fn opening_cold_is_one_request() {
    let Some((folder, a, _)) = machines() else { return };
    commit(&a, &[(1, 1)]).unwrap();
    std::thread::sleep(Duration::from_millis(1300));
    let b = folder.try_machine_with(&Options { coordinator: common::url().unwrap().into(), ..Options::default() });
    // Look for id; open id, NAME and high at once; the head; open the segment.
    assert_eq!(b.unwrap().counts(), Counts { coordinator: 1, reads: 2, metadata: 3, ..NOTHING });
}

#[test]
fn an_adopted_file_is_ordered_by_its_item() {
    let Some((folder, a, _)) = machines() else { return };
    drop(a);
    let folder = {
        drop(folder);
        Folder::new()
    };
    engine::write_plain(&folder.name(), 3);
    let options = Options { coordinator: common::url().unwrap().into(), ..Options::default() };
    let adopters: Vec<_> = std::thread::scope(|scope| {
        let adopt = || scope.spawn(|| folder.try_machine_with(&options).unwrap());
        [adopt(), adopt(), adopt()].map(|thread| thread.join().unwrap()).into()
    });
    // Three adopters, three first heads, one id: the others joined, and removed theirs.
    let databases: std::collections::BTreeSet<_> =
        adopters.iter().map(|database| database.status().unwrap().database).collect();
    assert_eq!(databases.len(), 1);
    let drafts = std::fs::read_dir(folder.inside("."))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("id."));
    assert_eq!(drafts.count(), 0);
}
