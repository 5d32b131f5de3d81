//! What every coordinator must do. This one suite is run against each.
//!
//! It needs no files: its heads name commits that no file has.

use super::{Acquired, Claim, Coordinator, CoordinatorError, Known, Lease, Swapped, Waiters};
use crate::format::head::{BaseRef, CommitRef, Floor, Head, State, Upkeep};
use crate::format::high::{High, Named};
use crate::format::ids::{BaseName, CommitId, DatabaseId, Digest, Epoch, PageSize, Token, Version};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// A database's coordinator, as several machines reach it. Nothing was put there yet.
pub trait Setting: Sync {
    /// Which database it is.
    fn database(&self) -> DatabaseId;
    /// Another machine.
    fn machine(&self) -> Box<dyn Coordinator>;
    /// Machines whose requests arrive, but whose answers or later looks are lost, each in another way. Empty if the
    /// setting cannot do that.
    fn machines_without_answers(&self) -> Vec<Box<dyn Coordinator>> {
        Vec::new()
    }
}

/// Runs every check, each on a setting of its own. Panics with what does not hold.
pub fn check(fresh: &dyn Fn() -> Box<dyn Setting>) {
    an_absent_head_is_lost(&*fresh());
    the_first_head_is_put_once(&*fresh());
    a_swap_is_seen_by_all_at_once(&*fresh());
    a_swap_from_an_older_head_is_refused_and_brings_the_newer(&*fresh());
    a_repeated_swap_changes_nothing_and_meets_itself(&*fresh());
    only_one_machine_has_the_lease(&*fresh());
    a_silent_holder_is_passed_over_and_a_live_one_is_not(&*fresh());
    a_lease_that_was_kept_outlives_the_swap(&*fresh());
    a_process_that_had_a_turn_lets_the_first_waiter_go_first(&*fresh());
    the_process_that_has_waited_longest_is_next(&*fresh());
    waiters_that_died_or_sleep_hold_nobody_up(&*fresh());
    the_holder_of_the_lease_can_learn_whether_others_wait(&*fresh());
    a_reader_that_is_behind_finds_the_newest(&*fresh());
    base_floor_and_sweep_change_with_a_version_and_stay(&*fresh());
    a_seal_ends_every_earlier_request_and_its_owner_alone_takes_it_away(&*fresh());
    an_absent_head_can_be_sealed(&*fresh());
    of_many_swaps_at_once_one_wins(&*fresh());
    an_error_never_denies_what_took_place(fresh);
}

fn first_head(setting: &dyn Setting) -> Head {
    Head::first(setting.database(), CommitId([1; 16]), None, 42)
}

fn commit_ref(id: u8, n: u64) -> CommitRef {
    let mut bytes = [id; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    CommitRef { id: CommitId(bytes), digest: Digest([id; 32]), place: None }
}

fn claim(token: u8) -> Claim {
    Claim {
        token: Token([token; 8]),
        label: format!("machine {token}"),
        length: Duration::from_secs(1),
        refusals: 0,
        waited: Duration::ZERO,
        patience: PATIENCE,
        pass_over: None,
        lines_up: false,
        lock: None,
    }
}

fn acquire(machine: &dyn Coordinator, token: u8) -> (Lease, Head) {
    let known = machine.load(&Known::Nothing, PATIENCE).expect("the head can be loaded");
    match machine.acquire(&claim(token), &known).expect("the lease can be asked for") {
        Acquired::Granted(lease, head) => (lease, *head),
        Acquired::Refused { .. } => panic!("the lease is free, and was not granted"),
    }
}

/// Commits once, with the lease.
fn commit(machine: &dyn Coordinator, id: u8) -> Head {
    let (lease, head) = acquire(machine, id);
    let next = head.followed_by(commit_ref(id, head.version.0), lease.generation, lease.slot);
    assert!(
        matches!(machine.swap(&lease, &head, &next, false, PATIENCE), Ok(Swapped::Done)),
        "a swap from the newest head takes place"
    );
    if machine.lease_survives_swap() {
        machine.release(&lease).expect("a lease can be given back");
    }
    let newest = machine.load(&Known::Head(&head), PATIENCE).expect("the head can be loaded");
    assert!(newest.commit().is(&next.commit()), "one sees one's own commit");
    newest
}

fn an_absent_head_is_lost(setting: &dyn Setting) {
    let loaded = setting.machine().load(&Known::Nothing, PATIENCE);
    assert!(matches!(loaded, Err(CoordinatorError::Lost(_))), "an absent head is lost, never made: {loaded:?}");
}

fn the_first_head_is_put_once(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    let mine = first_head(setting);
    let other = Head { home: 43, ..first_head(setting) };
    assert_eq!(a.create(&mine).expect("the first head is taken"), mine);
    assert_eq!(b.create(&other).expect("the answer is the head that is there"), mine);
    assert_eq!(a.create(&mine).expect("a repeated request meets itself"), mine);
    assert_eq!(b.load(&Known::Nothing, PATIENCE).expect("the head can be loaded"), mine);
}

fn a_swap_is_seen_by_all_at_once(setting: &dyn Setting) {
    let (a, b, c) = (setting.machine(), setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let mut known = b.load(&Known::Nothing, PATIENCE).expect("the head can be loaded");
    for n in 1..=20 {
        let head = commit(&*a, n);
        assert_eq!(
            b.load(&Known::Head(&known), PATIENCE).expect("the head can be loaded"),
            head,
            "what is acknowledged is seen"
        );
        assert_eq!(head.version, Version(u64::from(n)));
        assert!(head.generation > known.generation, "the generation rises");
        for _ in 0..2 {
            let newer = c.newer_than(&known, PATIENCE).expect("the head can be loaded");
            assert_eq!(newer.as_ref(), Some(&head), "what is acknowledged is newer than what was known");
            let newer = c.newer_than(&head, PATIENCE).expect("the head can be loaded");
            assert!(newer.is_none_or(|newer| newer == head), "nothing is newer than the newest");
        }
        known = head;
        assert_eq!(
            b.load(&Known::Head(&known), PATIENCE).expect("the head can be loaded"),
            known,
            "nothing new is nothing new"
        );
    }
}

fn a_swap_from_an_older_head_is_refused_and_brings_the_newer(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (late, old) = acquire(&*a, 1);
    a.release(&late).expect("a lease can be given back");
    let newer = commit(&*b, 2);
    let next = old.followed_by(commit_ref(1, 1), late.generation, late.slot);
    match a.swap(&late, &old, &next, false, PATIENCE).expect("a refusal is an answer") {
        Swapped::Refused(head) => assert_eq!(*head, newer),
        Swapped::Done => panic!("a swap from an older head took place"),
    }
    assert_eq!(b.load(&Known::Nothing, PATIENCE).expect("the head can be loaded"), newer);
}

fn a_repeated_swap_changes_nothing_and_meets_itself(setting: &dyn Setting) {
    let a = setting.machine();
    a.create(&first_head(setting)).expect("the first head is taken");
    let (lease, head) = acquire(&*a, 1);
    let next = head.followed_by(commit_ref(1, 1), lease.generation, lease.slot);
    assert!(matches!(a.swap(&lease, &head, &next, false, PATIENCE), Ok(Swapped::Done)));
    match a.swap(&lease, &head, &next, false, PATIENCE).expect("a repeated swap has an answer") {
        Swapped::Refused(head) => {
            assert!(head.commit().is(&next.commit()), "a repeated request finds that it was carried out")
        }
        Swapped::Done => {}
    }
    let newest = a.load(&Known::Nothing, PATIENCE).expect("the head can be loaded");
    assert_eq!((newest.version, newest.commit().id), (Version(1), next.commit().id));
}

fn only_one_machine_has_the_lease(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    let first = first_head(setting);
    a.create(&first).expect("the first head is taken");
    let (lease, head) = acquire(&*a, 1);
    let asked = b.acquire(&claim(2), &head).expect("the lease can be asked for");
    assert!(matches!(asked, Acquired::Refused { .. }), "a lease that is held is not granted");
    a.renew(&lease, "machine 1").expect("a lease can be renewed");
    assert!(b.holder(&head).expect("the holder can be asked for").label.contains("machine 1"));
    a.release(&lease).expect("a lease can be given back");
    acquire(&*b, 2);
}

fn a_silent_holder_is_passed_over_and_a_live_one_is_not(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (silent, head) = acquire(&*a, 1);
    let seen = b.holder(&head).expect("the holder can be asked for");
    a.renew(&silent, "machine 1 is alive").expect("a lease can be renewed");
    let pass_over = |holder| Claim { pass_over: Some(holder), ..claim(2) };
    let asked = b.acquire(&pass_over(seen), &head).expect("the lease can be asked for");
    assert!(matches!(asked, Acquired::Refused { .. }), "a holder that renewed is not passed over");
    let seen = b.holder(&head).expect("the holder can be asked for");
    let Acquired::Granted(lease, head) = b.acquire(&pass_over(seen), &head).expect("the lease can be asked for") else {
        panic!("a holder that did nothing is passed over");
    };
    b.give_up().expect("the line can be left");
    let next = head.followed_by(commit_ref(2, 1), lease.generation, lease.slot);
    assert!(matches!(b.swap(&lease, &head, &next, false, PATIENCE), Ok(Swapped::Done)));
    let mine = head.followed_by(commit_ref(1, 1), silent.generation, silent.slot);
    match a.swap(&silent, &head, &mine, false, PATIENCE).expect("a refusal is an answer") {
        Swapped::Refused(now) => assert!(now.commit().is(&next.commit())),
        Swapped::Done => panic!("the holder that was passed over committed over the other"),
    }
    if b.lease_survives_swap() {
        b.release(&lease).expect("a lease can be given back");
    }
    // The old holder has still not given its lease back, and no waiter waits for it.
    commit(&*b, 3);
}

fn a_lease_that_was_kept_outlives_the_swap(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (mut lease, mut head) = acquire(&*a, 1);
    for n in 1..=3 {
        let next = head.followed_by(commit_ref(1, n), lease.generation, lease.slot);
        assert!(matches!(a.swap(&lease, &head, &next, true, PATIENCE), Ok(Swapped::Done)));
        lease.generation = next.generation;
        head = next;
        let asked = b.acquire(&claim(2), &head).expect("the lease can be asked for");
        assert!(matches!(asked, Acquired::Refused { .. }), "a lease that was kept is held");
    }
    assert_eq!(b.load(&Known::Nothing, PATIENCE).expect("the head can be loaded").generation, lease.generation);
    a.release(&lease).expect("a lease can be given back");
    assert!(matches!(granted_soon(&*b, 2, &head), Acquired::Granted(..)), "a lease that was given back is granted");
}

/// Asks for the lease, which another process has, and stands in the line from then on.
fn wait(coordinator: &dyn Coordinator, token: u8, head: &Head) {
    let asked = coordinator.acquire(&claim(token), head).expect("the lease can be asked for");
    assert!(matches!(asked, Acquired::Refused { .. }), "a lease that is held is not granted");
}

/// Asks once more, `refusals` times before.
fn ask_again(coordinator: &dyn Coordinator, token: u8, refusals: u32, head: &Head) -> Acquired {
    let claim = Claim { refusals, ..claim(token) };
    coordinator.acquire(&claim, head).expect("the lease can be asked for")
}

fn the_process_that_has_waited_longest_is_next(setting: &dyn Setting) {
    let machines: Vec<_> = (0..4).map(|_| setting.machine()).collect();
    machines[0].create(&first_head(setting)).expect("the first head is taken");
    let (lease, head) = acquire(&*machines[0], 1);
    // They come in this order, and ask in the opposite one.
    (1..4).for_each(|n| wait(&*machines[n as usize], n + 1, &head));
    machines[0].release(&lease).expect("a lease can be given back");
    for next in 1..4 {
        for behind in (next + 1..4).rev() {
            let asked = ask_again(&*machines[behind], behind as u8 + 1, 1, &head);
            assert!(matches!(asked, Acquired::Refused { .. }), "{behind} came after {next}");
        }
        // Not even a process that comes now is quicker, if it has reason to think that others wait.
        let late = Claim { lines_up: true, ..claim(9) };
        let asked = machines[0].acquire(&late, &head).expect("the lease can be asked for");
        assert!(matches!(asked, Acquired::Refused { .. }), "it came last");
        let Acquired::Granted(lease, _) = granted_soon(&*machines[next], next as u8 + 1, &head) else {
            panic!("{next} has waited longest")
        };
        machines[next].give_up().expect("the line can be left");
        machines[next].release(&lease).expect("a lease can be given back");
    }
}

/// The answer to an attempt that is repeated until it is granted, for a second at most.
fn granted_soon(coordinator: &dyn Coordinator, token: u8, head: &Head) -> Acquired {
    let began = Instant::now();
    for refusals in 1.. {
        match ask_again(coordinator, token, refusals, head) {
            Acquired::Refused { again_in, .. } if began.elapsed() < Duration::from_secs(1) => {
                std::thread::sleep(again_in);
            }
            answer => return answer,
        }
    }
    unreachable!("it was granted, or a second passed")
}

fn waiters_that_died_or_sleep_hold_nobody_up(setting: &dyn Setting) {
    let (a, sleeper, dies, waiter) = (setting.machine(), setting.machine(), setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (lease, head) = acquire(&*a, 1);
    wait(&*sleeper, 2, &head);
    wait(&*dies, 3, &head);
    wait(&*waiter, 4, &head);
    drop(dies);
    a.release(&lease).expect("a lease can be given back");
    let answer = granted_soon(&*waiter, 4, &head);
    assert!(matches!(answer, Acquired::Granted(..)), "nobody who is awake is in front");
}

fn the_holder_of_the_lease_can_learn_whether_others_wait(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (mut lease, mut head) = acquire(&*a, 1);
    let mut others_wait = |n| {
        // Not every answer says it: only where the last one is some time ago.
        std::thread::sleep(Duration::from_millis(20));
        let next = head.followed_by(commit_ref(1, n), lease.generation, lease.slot);
        assert!(matches!(a.swap(&lease, &head, &next, true, PATIENCE), Ok(Swapped::Done)));
        lease.generation = next.generation;
        head = next.clone();
        let said = a.others_wait().map(|(waiters, _)| waiters);
        let said = said.unwrap_or_else(|| a.look_for_waiters(&lease).expect("the line can be looked at"));
        (said != Waiters::Exactly(0), next)
    };
    let (nobody, head) = others_wait(1);
    assert!(!nobody, "nobody waits");
    wait(&*b, 2, &head);
    assert!(others_wait(2).0, "one waits");
    b.give_up().expect("the line can be left");
    // Where an answer has said that others wait, the turn ends soon, and no other answer needs to say it again.
    let is_gone = !others_wait(3).0;
    assert!(is_gone || a.others_wait().is_some(), "it has left");
}

fn a_process_that_had_a_turn_lets_the_first_waiter_go_first(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let (lease, head) = acquire(&*a, 1);
    for refusals in 0..2 {
        let asked = b.acquire(&Claim { refusals, ..claim(2) }, &head).expect("the lease can be asked for");
        assert!(matches!(asked, Acquired::Refused { .. }));
    }
    a.release(&lease).expect("a lease can be given back");
    let again = Claim { lines_up: true, ..claim(3) };
    let asked = a.acquire(&again, &head).expect("the lease can be asked for");
    assert!(matches!(asked, Acquired::Refused { .. }), "another one waits");
    let Acquired::Granted(lease, _) = granted_soon(&*b, 2, &head) else {
        panic!("the first waiter is granted a free lease");
    };
    b.give_up().expect("the line can be left");
    b.release(&lease).expect("a lease can be given back");
    let asked = granted_soon(&*a, 3, &head);
    assert!(matches!(asked, Acquired::Granted(..)), "no other waiter is left");
}

fn a_reader_that_is_behind_finds_the_newest(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let mut heads = vec![first_head(setting)];
    for n in 1..=150_u8 {
        heads.push(commit(&*a, n));
    }
    let newest = heads.last().expect("there are many").clone();
    for known in &heads {
        assert_eq!(
            b.load(&Known::Head(known), PATIENCE).expect("the head can be loaded"),
            newest,
            "from version {}",
            known.version.0
        );
        let hint = Known::Hint(High::of(known, b.named(known)));
        assert_eq!(b.load(&hint, PATIENCE).expect("the head can be loaded"), newest);
    }
    let named = Some(Named { inode: 9, changed: 9 });
    let of_none = High { version: Version(9999), commit: CommitId([9; 16]), ..High::of(&newest, named) };
    let wrong_hints = [of_none, High { version: Version(3), ..of_none }, High::of(&heads[3], named)];
    for hint in wrong_hints.map(Known::Hint) {
        assert_eq!(b.load(&hint, PATIENCE).expect("the head can be loaded"), newest, "a wrong hint does no harm");
    }
}

/// A commit that changes the head beside its version.
fn keep_up(machine: &dyn Coordinator, id: u8, upkeep: &Upkeep) -> Head {
    let (lease, head) = acquire(machine, id);
    let commit = commit_ref(id, head.version.0);
    let next = head.followed_by(commit, lease.generation, lease.slot).with(upkeep);
    assert!(
        matches!(machine.swap(&lease, &head, &next, false, PATIENCE), Ok(Swapped::Done)),
        "it follows the newest head"
    );
    if machine.lease_survives_swap() {
        machine.release(&lease).expect("a lease can be given back");
    }
    next
}

fn base_floor_and_sweep_change_with_a_version_and_stay(setting: &dyn Setting) {
    let machine = &*setting.machine();
    machine.create(&first_head(setting)).expect("the first head is taken");
    commit(machine, 1);
    let name = BaseName { epoch: Epoch(0), version: Version(1), id: [1; 4] };
    let base = BaseRef { name, page_size: PageSize::new(4096).expect("a page size"), page_count: 7, log: 99 };
    keep_up(machine, 2, &Upkeep::Base(base));
    let floor = Floor { version: Version(1), time: 5 };
    let (lease, _) = acquire(machine, 3);
    machine.release(&lease).expect("a lease can be given back");
    let kept = keep_up(machine, 4, &Upkeep::Floor(floor));
    assert_eq!(kept.sweep, lease.sweep + 1, "a floor raises the sweep");
    let newest = commit(machine, 5);
    let (seen, said) = ((newest.base, newest.floor, newest.sweep), (Some(base), floor, 1));
    assert_eq!(seen, said, "a transaction changes none of it");
    keep_up(machine, 6, &Upkeep::State(State::Detached));
    let newest = machine.load(&Known::Head(&newest), PATIENCE).expect("the head can be loaded");
    assert_eq!(newest.state, State::Detached);
}

fn a_seal_ends_every_earlier_request_and_its_owner_alone_takes_it_away(setting: &dyn Setting) {
    let (a, b) = (setting.machine(), setting.machine());
    a.create(&first_head(setting)).expect("the first head is taken");
    let newest = commit(&*a, 1);
    let (lease, head) = acquire(&*a, 2);
    let next = head.followed_by(commit_ref(2, head.version.0), lease.generation, lease.slot);
    let evidence = b.evidence().expect("it can be asked");
    assert!(evidence.iter().any(|head| head.commit().is(&newest.commit())), "what is there is evidence");
    let (mine, other) = (Token([8; 8]), Token([9; 8]));
    b.seal(other, Epoch(1)).expect("a head can be sealed");
    // A recovery that was cut short is followed by another one.
    b.seal(mine, Epoch(2)).expect("a sealed head can be sealed");
    assert!(!b.is_sealed(other).expect("an answer"), "the later seal has taken the place of the earlier one");
    assert!(a.is_sealed(mine).expect("an answer"), "a seal is seen from everywhere");
    let late = a.swap(&lease, &head, &next, false, PATIENCE);
    assert!(!matches!(late, Ok(Swapped::Done)), "nothing takes place under a seal: {late:?}");
    match b.load(&Known::Nothing, PATIENCE) {
        Ok(sealed) => assert_eq!(sealed.state, State::Recovering(mine)),
        Err(error) => assert!(matches!(error, CoordinatorError::Lost(_)), "{error}"),
    }
    let evidence = b.evidence().expect("it can be asked");
    assert!(evidence.iter().any(|head| head.commit().is(&newest.commit())), "a seal hides nothing");
    let recovered = Head { epoch: Epoch(3), ..newest.followed_by(commit_ref(3, 9), newest.generation + 5, 0) };
    let recovered = match b.lease_ends_with_process() {
        true => Head { generation: recovered.version.0, ..recovered },
        false => recovered,
    };
    assert!(b.unseal(mine, &newest, &recovered).expect("its own seal can be taken away"), "it is its own");
    assert!(!a.is_sealed(mine).expect("an answer"), "the head has taken its place");
    assert!(
        !b.unseal(other, &newest, &Head { home: 77, fold: commit_ref(4, 9), ..recovered.clone() }).expect("an answer")
    );
    let late = a.swap(&lease, &head, &next, false, PATIENCE);
    assert!(!matches!(late, Ok(Swapped::Done)), "nor afterwards: {late:?}");
    // Where the lease has ended with the seal, this says so.
    let _ = a.release(&lease);
    let loaded = setting.machine().load(&Known::Nothing, PATIENCE).expect("the head can be loaded");
    assert_eq!((loaded.commit(), loaded.epoch, loaded.state), (recovered.commit(), recovered.epoch, State::Open));
    commit(&*setting.machine(), 5);
}

fn an_absent_head_can_be_sealed(setting: &dyn Setting) {
    let machine = setting.machine();
    assert_eq!(machine.evidence().expect("it can be asked"), []);
    machine.seal(Token([8; 8]), Epoch(1)).expect("nothing can be sealed");
    assert!(machine.load(&Known::Nothing, PATIENCE).map_or(true, |head| head.is_undecided()), "there is no head yet");
    let first = Head { epoch: Epoch(1), ..first_head(setting) };
    let next = first.followed_by(commit_ref(1, 0), 0, 0);
    assert!(machine.unseal(Token([8; 8]), &first, &next).expect("an answer"), "it is its own");
    assert_eq!(machine.load(&Known::Nothing, PATIENCE).expect("the head can be loaded").commit(), next.commit());
}

fn of_many_swaps_at_once_one_wins(setting: &dyn Setting) {
    const MACHINES: u8 = 4;
    const ROUNDS: u64 = 50;
    let machines: Vec<_> = (0..MACHINES).map(|_| setting.machine()).collect();
    let mut head = machines[0].create(&first_head(setting)).expect("the first head is taken");
    for round in 1..=ROUNDS {
        let (lease, now) = acquire(&*machines[0], 99);
        assert!(now.commit().is(&head.commit()), "no commit came in between");
        let won: Vec<bool> = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (machine, id) in machines.iter().zip(0..) {
                let next = now.followed_by(commit_ref(id, round), lease.generation, lease.slot);
                let (lease, now) = (&lease, &now);
                threads.push(scope.spawn(move || {
                    matches!(machine.swap(lease, now, &next, false, PATIENCE).expect("an answer"), Swapped::Done)
                }));
            }
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}: {won:?}");
        if machines[0].lease_survives_swap() {
            machines[0].release(&lease).expect("a lease can be given back");
        }
        head = machines[1].load(&Known::Head(&now), PATIENCE).expect("the head can be loaded");
        assert_eq!(head.version, Version(round));
    }
}

fn an_error_never_denies_what_took_place(fresh: &dyn Fn() -> Box<dyn Setting>) {
    for way in 0..fresh().machines_without_answers().len() {
        let setting = fresh();
        let (a, deaf) = (setting.machine(), setting.machines_without_answers().swap_remove(way));
        let first = first_head(&*setting);
        if let Err(error) = deaf.create(&first) {
            assert!(!error.is_certain(), "the first head was put, and {error:?} says that it was not");
        }
        assert_eq!(a.load(&Known::Nothing, PATIENCE).expect("the head can be loaded"), first, "it was put");
        let (lease, head) = acquire(&*a, 1);
        let next = head.followed_by(commit_ref(1, 1), lease.generation, lease.slot);
        if let Err(error) = deaf.swap(&lease, &head, &next, false, PATIENCE) {
            assert!(!error.is_certain(), "the swap took place, and {error:?} says that it did not");
        }
        let newest = a.load(&Known::Head(&head), PATIENCE).expect("the head can be loaded");
        assert!(newest.commit().is(&next.commit()), "it took place");
    }
}
