//! Turns: who has the lease next, for how long, and what handing it on costs (the design's "The lease").

mod common;

use common::{Folder, NOTHING, PATIENCE, commit, cost, page_size};
use seawall::{Counts, Database, ErrorKind, Options, PageNo};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An append, the publication and the check: what the next write of a turn costs.
const NEXT: Counts = Counts { coordinator: 1, appends: 1, metadata: 1, ..NOTHING };
/// Longer than any turn that others wait for.
const LONG: Duration = Duration::from_millis(250);
/// A machine that is busy can keep a writer from coming back in time. Not so often.
const ATTEMPTS: usize = 10;

fn write(database: &Arc<Database>, byte: u8) -> u64 {
    let mut transaction = database.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[byte; 4096]).unwrap();
    transaction.commit(1).unwrap().version().0
}

/// The number of commits in `LONG` by so many threads, and what all of them cost.
fn write_for_long(database: &Arc<Database>, threads: usize) -> (u64, Counts) {
    let began = Instant::now();
    let before = database.counts();
    let commits = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while began.elapsed() < LONG {
                    write(database, 1);
                    *commits.lock().unwrap() += 1;
                }
            });
        }
    });
    let commits = *commits.lock().unwrap();
    (commits, database.counts() - before)
}

#[test]
fn a_turn_goes_on_while_nobody_else_waits() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let a = folder.machine();
    (0..3).for_each(|n| drop(commit(&a, &[(1, n)]).unwrap()));
    let is_cheap = |_: usize| {
        write(&a, 1);
        let began = Instant::now();
        let costs = std::iter::from_fn(|| (began.elapsed() < LONG).then(|| cost(&a, || write(&a, 1)).0));
        // Every single one, for much longer than a turn.
        costs.into_iter().all(|cost| Counts { background: 0, ..cost } == NEXT)
    };
    assert!((0..ATTEMPTS).any(is_cheap), "no write asked for the lease");
}

#[test]
fn the_writers_of_a_process_hand_the_turn_on_without_a_request() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    let a = folder.machine();
    let is_cheap = |_: usize| {
        write(&a, 1);
        let (commits, cost) = write_for_long(&a, 8);
        // The first of them asks for the lease and for the head.
        cost.appends == commits && cost.coordinator <= commits + 2
    };
    assert!((0..ATTEMPTS).any(is_cheap), "only the first write asked for the lease");
}

#[test]
fn processes_take_turns_in_the_order_in_which_they_came() {
    const MACHINES: usize = 8;
    let folder = Folder::new();
    let machines: Vec<_> = (0..MACHINES).map(|_| folder.machine()).collect();
    write(&machines[0], 1);
    let commits = Mutex::new(Vec::new());
    let began = Instant::now();
    let longest = std::thread::scope(|scope| {
        let (commits, machines) = (&commits, &machines);
        let wait = |machine: usize| {
            let mut longest = Duration::ZERO;
            while began.elapsed() < Duration::from_secs(3) {
                let asked = Instant::now();
                let version = write(&machines[machine], machine as u8);
                longest = longest.max(asked.elapsed());
                commits.lock().unwrap().push((version, machine));
            }
            longest
        };
        let waits: Vec<_> = (0..MACHINES).map(|machine| scope.spawn(move || wait(machine))).collect();
        waits.into_iter().map(|wait| wait.join().unwrap()).max().unwrap()
    });
    let mut commits = commits.into_inner().unwrap();
    commits.sort_unstable();
    let mut turns: Vec<usize> = commits.into_iter().map(|(_, machine)| machine).collect();
    turns.dedup();
    // Among as many turns as there are machines, each has one. Where the next one is picked at random, five have.
    let rounds = turns.windows(MACHINES);
    let distinct = |round: &[usize]| (0..MACHINES).filter(|machine| round.contains(machine)).count();
    let mean = rounds.clone().map(distinct).sum::<usize>() as f64 / rounds.len() as f64;
    assert!(mean > 7.0, "of {MACHINES} turns {mean:.1} were of different machines ({longest:?} was the longest wait)");
    assert!(turns.len() > 3 * MACHINES, "everybody had several turns: {turns:?}");
}

#[test]
fn a_waiter_that_gave_up_holds_nobody_up() {
    let folder = Folder::new();
    let machines: Vec<_> = (0..3).map(|_| folder.machine()).collect();
    write(&machines[0], 1);
    let holder = machines[0].begin(PATIENCE).unwrap();
    std::thread::scope(|scope| {
        // It stands in the line, and gives up while the lease is still held.
        let gone = scope.spawn(|| machines[1].begin(Duration::from_millis(30)).map(drop));
        assert!(gone.join().unwrap().is_err());
        let waiter = scope.spawn(|| {
            let transaction = machines[2].begin(PATIENCE).unwrap();
            (Instant::now(), transaction)
        });
        std::thread::sleep(Duration::from_millis(50));
        let freed = Instant::now();
        drop(holder);
        let (got, transaction) = waiter.join().unwrap();
        assert!(got - freed < Duration::from_secs(1), "{:?}", got - freed);
        drop(transaction);
    });
}

/// Each attempt leaves the line. What it has seen of the holder counts for the next one.
#[test]
fn a_holder_that_is_frozen_is_passed_over_by_writers_that_wait_for_less_than_a_lease() {
    let lease = Duration::from_millis(400);
    for patience in [Duration::from_millis(10), Duration::from_millis(150)] {
        let folder = Folder::new();
        let options = Options { lease, ..common::options() };
        let (a, b) = (folder.try_machine_with(&options).unwrap(), folder.try_machine_with(&options).unwrap());
        write(&b, 1);
        a.stop_background();
        let frozen = a.begin(PATIENCE).unwrap();
        let began = Instant::now();
        let attempt = || match b.begin(patience) {
            Ok(transaction) => Some(transaction),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                assert!(began.elapsed() < 10 * lease, "it waits for ever");
                None
            }
        };
        drop(std::iter::repeat_with(attempt).find_map(|begun| begun));
        assert!(began.elapsed() >= lease, "{patience:?}: its holder may be alive");
        drop(frozen);
    }
}
