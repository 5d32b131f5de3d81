//! The line of waiters of the `fs` coordinator: who is next, and what the lease costs the one that has waited.

use seawall::format::head::{CommitRef, Head};
use seawall::format::ids::{CommitId, DatabaseId, Digest, Token};
use seawall::ports::coordinator::fs::FsCoordinator;
use seawall::ports::coordinator::{Acquired, Claim, Coordinator, Holder, Known, Lease, Swapped, Waiters};
use seawall::ports::storage::{Storage, os::OsStorage};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(1);

/// A process on a folder, with its calls counted.
struct Machine {
    storage: Arc<OsStorage>,
    coordinator: FsCoordinator,
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        let first = folder.machine();
        first.storage.create_folders().unwrap();
        first.coordinator.create(&Head::first(DatabaseId([7; 16]), CommitId([1; 16]), None, 42)).unwrap();
        folder
    }

    /// A process that has the lease, and others that came after it in this order, with their numbers from 1 on.
    fn line<const WAITERS: usize>(&self) -> (Machine, Lease, Head, [Machine; WAITERS]) {
        let (holder, waiters) = (self.machine(), std::array::from_fn(|_| self.machine()));
        let (lease, head) = holder.acquire(claim(1), &holder.head()).expect("it is free");
        for (n, waiter) in (2..).zip(&waiters) {
            assert!(waiter.acquire(claim(n), &head).is_none());
        }
        (holder, lease, head, waiters)
    }

    fn machine(&self) -> Machine {
        let storage = Arc::new(OsStorage::new(&self.0.path().join("db.sqlite3")).unwrap());
        Machine { coordinator: FsCoordinator::new(storage.clone()), storage }
    }
}

impl Machine {
    fn head(&self) -> Head {
        self.coordinator.load(&Known::Nothing, PATIENCE).unwrap()
    }

    fn acquire(&self, claim: Claim, known: &Head) -> Option<(Lease, Head)> {
        match self.coordinator.acquire(&claim, known).unwrap() {
            Acquired::Granted(lease, head) => Some((lease, *head)),
            Acquired::Refused { .. } => None,
        }
    }

    /// Commits, and names `slot` as the lock that stands for the lease from then on.
    fn commit(&self, lease: &Lease, head: &Head, slot: u32) -> Head {
        let commit = CommitRef { id: CommitId([9; 16]), digest: Digest([9; 32]), place: None };
        let next = head.followed_by(commit, lease.generation, slot);
        assert!(matches!(self.coordinator.swap(lease, head, &next, false, PATIENCE), Ok(Swapped::Done)));
        next
    }

    /// How many operations of the coordinator, and how many look-ups, `work` costs.
    fn cost<T>(&self, work: impl FnOnce() -> T) -> (T, u64, u64) {
        let before = self.storage.counters().counts();
        let done = work();
        let cost = self.storage.counters().counts() - before;
        (done, cost.coordinator, cost.metadata)
    }
}

fn claim(token: u8) -> Claim {
    Claim {
        token: Token([token; 8]),
        label: format!("machine {token}"),
        length: PATIENCE,
        refusals: 0,
        waited: Duration::ZERO,
        patience: PATIENCE,
        pass_over: None,
        lines_up: false,
        lock: None,
    }
}

fn passing(token: u8, holder: &Holder) -> Claim {
    Claim { pass_over: Some(holder.clone()), ..claim(token) }
}

#[test]
fn the_record_that_names_its_lock_gives_the_first_waiter_the_lease() {
    let folder = Folder::new();
    let (holder, first, second) = (folder.machine(), folder.machine(), folder.machine());
    let (lease, head) = holder.acquire(claim(1), &holder.head()).expect("it is free");
    assert_eq!(holder.coordinator.look_for_waiters(&lease).unwrap(), Waiters::Exactly(0));
    assert!(first.acquire(claim(2), &head).is_none());
    assert_eq!(holder.coordinator.look_for_waiters(&lease).unwrap(), Waiters::Exactly(1));
    assert!(second.acquire(claim(3), &head).is_none());
    assert_eq!(holder.coordinator.look_for_waiters(&lease).unwrap(), Waiters::Some);
    let last = holder.commit(&lease, &head, lease.slot + 1);
    // The holder has not given its own lock back yet, and nobody needs it.
    assert!(second.acquire(claim(3), &head).is_none(), "it came later");
    let (granted, looks, names) = first.cost(|| first.acquire(claim(2), &head));
    let (next, seen) = granted.expect("the record is the lease");
    assert_eq!((next.slot, next.former, seen.version), (lease.slot + 1, None, last.version));
    assert_eq!((looks, names), (1, 1), "one look, which finds one commit");
    let last = first.commit(&next, &seen, next.slot + 1);
    let (granted, looks, names) = second.cost(|| second.acquire(claim(3), &seen));
    assert_eq!(granted.expect("it is its turn").1.version, last.version);
    assert_eq!((looks, names), (1, 1));
}

#[test]
fn a_waiter_behind_frozen_ones_passes_over_all_of_them_at_once() {
    let folder = Folder::new();
    let (frozen, lease, head, [asleep, awake]) = folder.line();
    let holder = awake.coordinator.holder(&head).unwrap();
    let began = Instant::now();
    let granted = loop {
        if let Some(granted) = awake.acquire(passing(3, &holder), &head) {
            break granted;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it waits for ever");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(began.elapsed() >= Duration::from_millis(400), "the one in front could have done so first");
    assert_eq!((granted.0.slot, granted.0.former), (lease.slot + 2, Some(lease.slot)), "others watch that one");
    awake.commit(&granted.0, &granted.1, granted.0.slot);
    // Both find that they were passed over, and stand in the line again.
    assert!(asleep.acquire(claim(2), &head).is_none());
    let mine = head.followed_by(head.commit(), lease.generation, lease.slot);
    assert!(matches!(frozen.coordinator.swap(&lease, &head, &mine, false, PATIENCE), Ok(Swapped::Refused(_))));
}

/// It has committed nothing yet. All that the next one sees of it are its renewals.
#[test]
fn a_waiter_that_took_over_and_is_at_work_is_not_passed_over() {
    let folder = Folder::new();
    let (_frozen, lease, head, [first, second]) = folder.line();
    let holder = second.coordinator.holder(&head).unwrap();
    let (taken, seen) = first.acquire(passing(2, &holder), &head).expect("nobody is in front of it");
    assert_eq!((taken.slot, taken.former), (lease.slot + 1, Some(lease.slot)));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1200) {
        first.coordinator.renew(&taken, &format!("machine 2, {:?}", began.elapsed())).unwrap();
        assert!(second.acquire(passing(3, &holder), &head).is_none(), "the holder has changed");
        std::thread::sleep(Duration::from_millis(100));
    }
    let last = first.commit(&taken, &seen, taken.slot + 1);
    assert_eq!(second.acquire(claim(3), &seen).expect("it is next").1.version, last.version);
}

#[test]
fn a_waiter_that_gave_up_and_came_back_passes_over_as_if_it_had_stayed() {
    let folder = Folder::new();
    let (_frozen, lease, head, [_asleep, awake]) = folder.line();
    let holder = awake.coordinator.holder(&head).unwrap();
    assert!(awake.acquire(passing(3, &holder), &head).is_none(), "the one in front may do so first");
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(100));
        awake.coordinator.give_up().unwrap();
        assert!(awake.acquire(claim(3), &head).is_none());
    }
    let granted = awake.acquire(passing(3, &holder), &head).expect("it has waited for long enough");
    assert_eq!(granted.0.slot, lease.slot + 2);
}

#[test]
fn a_waiter_whose_takeover_came_too_late_still_has_its_lock() {
    let folder = Folder::new();
    let (holder, lease, head, [waiter]) = folder.line();
    let late = folder.machine();
    let watched = waiter.coordinator.holder(&head).unwrap();
    // The holder was at work after all.
    let next = holder.commit(&lease, &head, lease.slot);
    assert!(waiter.acquire(passing(2, &watched), &head).is_none());
    assert!(late.acquire(Claim { lines_up: true, ..claim(3) }, &next).is_none());
    let lease = Lease { generation: next.generation, ..lease };
    holder.commit(&lease, &next, lease.slot + 1);
    assert!(late.acquire(claim(3), &next).is_none(), "the other one was first");
    assert_eq!(waiter.acquire(claim(2), &next).expect("it is its turn").0.slot, lease.slot + 1);
}

#[test]
fn a_waiter_takes_the_lock_of_one_that_left_and_the_lease_of_one_that_died() {
    let folder = Folder::new();
    let (holder, lease, head, [leaves, behind]) = folder.line();
    leaves.coordinator.give_up().unwrap();
    drop(holder);
    // It moves up, and asks at once for what is in front of it.
    let (next, _) = behind.acquire(claim(3), &head).expect("nobody is in front");
    assert_eq!((next.slot, next.former), (lease.slot + 1, Some(lease.slot)));
    // Both locks keep others out, and both go back.
    let other = folder.machine();
    assert!(other.acquire(Claim { patience: Duration::ZERO, ..claim(4) }, &head).is_none());
    behind.coordinator.release(&next).unwrap();
    assert!(other.acquire(Claim { patience: Duration::ZERO, ..claim(4) }, &head).is_some());
}
