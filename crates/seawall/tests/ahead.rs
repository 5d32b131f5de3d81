//! The lease that a request asks for when it begins, ahead of its transaction (the design's "The lease").

mod common;

use common::{Folder, NOTHING, PATIENCE, commit, cost, newest, page_size};
use seawall::{Access, Counts, Database, Options, PageNo, Route, begin_request, end_request};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for a lease to go back.
const REST: Duration = Duration::from_millis(120);
/// Long enough for the background to be granted the lease, and short enough that it is not given back unused.
const GRANTED: Duration = Duration::from_millis(10);
/// An unused lease is given back after this.
const UNUSED: Duration = Duration::from_millis(25);
/// A machine that is busy can be late. Not so often.
const ATTEMPTS: usize = 20;

fn route() -> Option<Route> {
    Some(Route::named("POST /vote"))
}

/// A route that has written. Afterwards `database` has no lease.
fn wrote(database: &Arc<Database>) {
    commit(database, &[(1, 1)]).unwrap();
    database.route_wrote(route().unwrap());
    std::thread::sleep(REST);
}

/// Whether it held in one of several attempts.
fn once(attempt: impl FnMut(usize) -> bool) -> bool {
    (0..ATTEMPTS).any(attempt)
}

#[test]
fn a_transaction_begins_on_the_lease_that_its_request_asked_for() {
    let folder = Folder::new();
    let a = folder.machine();
    let begun = |ahead: bool| {
        wrote(&a);
        a.request_begins(route().filter(|_| ahead));
        std::thread::sleep(GRANTED);
        let (begun, transaction) = cost(&a, || a.begin(PATIENCE).unwrap());
        drop(transaction);
        Counts { background: 0, ..begun }
    };
    // The lock, and the look at the head.
    assert_eq!(begun(false), Counts { coordinator: 2, ..NOTHING });
    // Only the look: on `fs` a lease under which nothing was committed proves nothing.
    assert!(once(|_| begun(true) == Counts { coordinator: 1, ..NOTHING }));
}

#[test]
fn a_route_whose_request_writes_late_does_not_ask_and_one_that_writes_soon_does() {
    let folder = Folder::new();
    let a = folder.machine();
    // A route of its own, because a request is one of all databases of this process.
    let late = Some(Route::named("POST /late"));
    let asks_after = |work: Duration| {
        let request = begin_request(late);
        std::thread::sleep(work);
        let mut transaction = a.begin(PATIENCE).unwrap();
        transaction.write_page(page_size(), PageNo(1), &[1; 4096]).unwrap();
        transaction.commit(1).unwrap();
        request.wrote(&a, transaction.began());
        drop(transaction);
        end_request(Some(request));
        std::thread::sleep(REST);
        let (_, asks) = a.request_begins(late);
        std::thread::sleep(REST);
        asks
    };
    // On a machine that is busy even this can be late.
    assert!(once(|_| asks_after(Duration::ZERO)));
    assert!(!asks_after(UNUSED * 2), "it would find no lease");
    assert!(once(|_| asks_after(Duration::ZERO)));
}

#[test]
fn an_unused_lease_goes_back_and_keeps_others_waiting_no_longer_than_that() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    let mut waits = Vec::new();
    let short = |_| {
        wrote(&a);
        newest(&b);
        a.request_begins(route());
        std::thread::sleep(GRANTED);
        let began = Instant::now();
        drop(b.begin(PATIENCE).unwrap());
        waits.push(began.elapsed());
        began.elapsed() < UNUSED + GRANTED
    };
    assert!(once(short), "another process waited {waits:?}");
    // The lease lasts for seconds.
    assert!(waits.iter().all(|wait| *wait < Options::default().lease / 2), "another process waited {waits:?}");
}

#[test]
fn it_goes_back_when_the_request_ends() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    let free = |ends: bool| {
        wrote(&a);
        newest(&b);
        a.request_begins(route());
        std::thread::sleep(GRANTED);
        if ends {
            a.request_ends();
            std::thread::sleep(GRANTED / 2);
        }
        b.begin(Duration::ZERO).is_ok()
    };
    assert!(once(|_| !free(false)), "the request has the lease");
    assert!(once(|_| free(true)), "the request that ended had it still");
}

#[test]
fn a_route_that_did_not_write_is_not_asked_for_again() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    wrote(&a);
    a.request_begins(route());
    std::thread::sleep(REST);
    for _ in 0..ATTEMPTS {
        a.request_begins(route());
        std::thread::sleep(GRANTED);
        b.begin(Duration::ZERO).unwrap();
    }
}

#[test]
fn it_is_asked_for_once_and_not_while_others_have_it() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    wrote(&a);
    let holder = b.begin(PATIENCE).unwrap();
    newest(&a);
    let before = a.counts();
    a.request_begins(route());
    std::thread::sleep(REST);
    // The head, and one attempt for the lock. It stands in no line.
    assert_eq!(a.counts() - before, Counts { background: 2, ..NOTHING });
    drop(holder);
    drop(a.begin(PATIENCE).unwrap());
}

#[test]
fn a_transaction_that_begins_later_waits_no_longer_than_without() {
    let folder = Folder::new();
    let a = folder.machine();
    wrote(&a);
    a.request_begins(route());
    std::thread::sleep(REST);
    let (begun, transaction) = cost(&a, || a.begin(PATIENCE).unwrap());
    assert_eq!(Counts { background: 0, ..begun }, Counts { coordinator: 2, ..NOTHING });
    drop(transaction);
}

#[test]
fn it_goes_back_when_its_process_waits_for_another_databases_lease() {
    let (x, y) = (Folder::new(), Folder::new());
    let open = |folder: &Folder| {
        let opened = Database::open(&folder.name(), Access::Create, &Options::default(), &common::PlainFile);
        let opened = opened.unwrap();
        opened.expect_requests();
        opened
    };
    let ours = [open(&x), open(&y)];
    let (holder, other) = (x.machine(), y.machine());
    let free = |waits: bool| {
        wrote(&ours[1]);
        newest(&other);
        let has_x = holder.begin(PATIENCE).unwrap();
        let request = begin_request(route());
        std::thread::sleep(GRANTED);
        if waits {
            // A process that waits for the one may be waited for with the other.
            ours[0].begin(Duration::from_millis(2)).map(drop).unwrap_err();
        }
        let free = other.begin(Duration::ZERO).is_ok();
        end_request(Some(request));
        drop(has_x);
        free
    };
    assert!(once(|_| !free(false)), "the request has the lease");
    assert!(once(|_| free(true)), "the lease was kept while its process waited for another one");
    let mut transaction = ours[1].begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    transaction.commit(1).unwrap();
}

#[test]
fn asking_costs_the_transaction_less_and_the_background_little() {
    let folder = Folder::new();
    let a = folder.machine();
    let unused = |route| {
        wrote(&a);
        let before = a.counts();
        a.request_begins(route);
        std::thread::sleep(REST);
        a.counts() - before
    };
    assert_eq!(unused(None), Counts { background: 1, ..NOTHING }, "the head");
    // The head, the lock, the look whether others wait, and the unlock.
    assert_eq!(unused(route()), Counts { background: 1 + 3, ..NOTHING });
}

/// A request that asks for the lease began a moment ago, another one for each `n`: the attempt is under way, or was
/// answered.
fn asks_a_while_ago(database: &Arc<Database>, n: u8) {
    commit(database, &[(1, n)]).unwrap();
    database.is_frozen_now();
    database.route_wrote(route().unwrap());
    database.request_begins(route());
    std::thread::sleep(Duration::from_micros(u64::from(n) * 20));
}

#[test]
fn a_process_that_is_frozen_right_after_its_request_leaves_no_lease_behind() {
    let folder = Folder::new();
    let (a, b) = (folder.machine(), folder.machine());
    for n in 0..60 {
        asks_a_while_ago(&a, n);
        a.is_frozen_now();
        newest(&b);
        drop(b.begin(Duration::ZERO).unwrap());
        std::thread::sleep(GRANTED);
    }
}

#[test]
fn a_writer_that_does_not_wait_is_not_refused_because_its_request_asks_for_the_lease() {
    let folder = Folder::new();
    let a = folder.machine();
    for n in 0..60 {
        asks_a_while_ago(&a, n);
        drop(a.begin(Duration::ZERO).unwrap());
        std::thread::sleep(GRANTED);
    }
}
