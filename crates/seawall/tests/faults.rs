//! Every call that can fail does, before and after it took effect. Nothing acknowledged is lost, and nothing that
//! failed is there. An outcome that cannot be known is reported as unknown, and settled later.

mod common;

use common::faulty::{Call, Clock, EACCES, EEXIST, EIO, ENOSPC, ESTALE, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, byte, commit, marks, newest, page_size, write_plain};
use seawall::{Access, Database, Error, ErrorKind, Freshness, Options, PageNo, PageSize, Version};
use std::sync::Arc;
use std::time::Duration;

/// Two machines, one of them on a storage whose calls the test makes fail. Version 1 is committed.
struct Scene {
    _folder: Folder,
    storage: Arc<Faulty>,
    a: Arc<Database>,
    b: Arc<Database>,
}

fn scene() -> Scene {
    let folder = Folder::new();
    let b = folder.machine();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &common::options(), &PlainFile).unwrap();
    commit(&a, &[(1, 1)]).unwrap();
    Scene { _folder: folder, storage, a, b }
}

impl Scene {
    /// The version and the byte of page 1 that the other machine sees.
    fn seen(&self) -> (Version, u8) {
        let snapshot = newest(&self.b);
        (snapshot.version(), byte(&self.b, &snapshot, 1))
    }

    /// Commits page 1 as 2 although each of these calls fails once. They fail in the commit, not when the transaction
    /// begins.
    fn commits_through(&self, faults: &[(Call, Fault)]) {
        let mut transaction = self.a.begin(PATIENCE).unwrap();
        faults.iter().for_each(|(call, fault)| self.storage.fail(*call, *fault, 1));
        transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
        transaction.commit(1).unwrap();
    }

    fn fails_with(&self, kind: ErrorKind) -> Error {
        let error = commit(&self.a, &[(1, 2)]).expect_err("the commit fails");
        assert_eq!(error.kind(), kind, "{error}");
        let says_where = error.to_string().contains("NAME-seawall/");
        assert!(kind != ErrorKind::Full || says_where, "which file has no space left: {error}");
        error
    }

    /// The failed commit left nothing, and the next one succeeds as if it had never been.
    fn goes_on(&self) {
        assert_eq!(self.seen(), (Version(1), 1));
        self.storage.heal();
        commit(&self.a, &[(1, 3)]).unwrap();
        assert_eq!(self.seen(), (Version(2), 3));
    }
}

#[test]
fn a_publication_that_did_not_arrive_is_sent_again() {
    for error in [EIO, ESTALE] {
        let scene = scene();
        scene.storage.fail(Call::Publish, Fault::Before(error), 3);
        commit(&scene.a, &[(1, 2)]).unwrap();
        assert_eq!(scene.seen(), (Version(2), 2));
    }
}

#[test]
fn a_publication_whose_reply_was_lost_is_committed_once() {
    for error in [EIO, EEXIST, ESTALE] {
        let scene = scene();
        scene.storage.fail(Call::Publish, Fault::After(error), 1);
        commit(&scene.a, &[(1, 2)]).unwrap();
        assert_eq!(scene.seen(), (Version(2), 2));
        commit(&scene.a, &[(1, 3)]).unwrap();
        assert_eq!(scene.seen(), (Version(3), 3));
    }
}

#[test]
fn a_publication_that_is_not_durable_does_not_count_until_it_is() {
    let scene = scene();
    scene.storage.fail(Call::SyncPublished, Fault::Before(EIO), 3);
    commit(&scene.a, &[(1, 2)]).unwrap();
    assert_eq!(scene.seen(), (Version(2), 2));
    scene.storage.fail(Call::SyncPublished, Fault::Before(EIO), u32::MAX);
    let error = commit(&scene.a, &[(1, 3)]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    scene.storage.heal();
    assert_eq!(newest(&scene.a).version(), Version(3));
}

#[test]
fn a_publication_that_is_not_durable_does_not_count_though_a_repeated_one_has_no_space() {
    let scene = scene();
    scene.storage.fail(Call::SyncPublished, Fault::Before(EIO), u32::MAX);
    // The first attempt makes the name. The second one certainly does nothing, and the look after it finds that name.
    scene.storage.fail_later(Call::Publish, Fault::Before(ENOSPC), 1);
    scene.fails_with(ErrorKind::OutcomeUnknown);
    scene.storage.heal();
    assert_eq!(newest(&scene.a).version(), Version(2), "it is settled: durable now");
}

#[test]
fn a_publication_that_may_have_met_its_own_success_is_never_told_as_failed() {
    for folds in [true, false] {
        let _folds = folds.then(common::only_folds);
        let scene = scene();
        // It takes place, and finds its own name. That cannot be made durable, and the next attempt has no space.
        scene.storage.fail(Call::Publish, Fault::After(EEXIST), 1);
        scene.storage.fail_later(Call::SyncPublished, Fault::Before(EIO), 1);
        scene.storage.fail_later(Call::Publish, Fault::Before(ENOSPC), 1);
        commit(&scene.a, &[(1, 2)]).unwrap();
        assert!(marks(&scene._folder).is_empty(), "what was committed is not marked as refused");
        assert_eq!(scene.seen(), (Version(2), 2));
    }
}

#[test]
fn a_publication_that_is_refused_for_want_of_space_wrote_nothing() {
    let _folds = common::only_folds();
    let scene = scene();
    scene.storage.fail(Call::Publish, Fault::Before(ENOSPC), u32::MAX);
    scene.fails_with(ErrorKind::Full);
    // Its frame is in the segment all the same: a recovery must not take it.
    let refused = marks(&scene._folder);
    assert_eq!(refused.iter().map(|mark| mark.version).collect::<Vec<_>>(), [Version(2)]);
    scene.goes_on();
}

#[test]
fn a_publication_is_found_even_when_the_look_after_it_fails_first() {
    let scene = scene();
    scene.commits_through(&[(Call::Publish, Fault::After(EIO)), (Call::Look, Fault::Before(EIO))]);
    assert_eq!(scene.seen(), (Version(2), 2));
}

#[test]
fn an_unknown_outcome_is_said_to_be_unknown_and_settled_as_committed() {
    for fault in [Fault::Before(EIO), Fault::After(EIO)] {
        let scene = scene();
        let transaction = unknown(&scene, fault);
        drop(transaction);
        // Readers wait for the settlement, too.
        let error = scene.a.snapshot(Freshness::Transaction).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        scene.storage.heal();
        let snapshot = newest(&scene.a);
        assert_eq!((snapshot.version(), byte(&scene.a, &snapshot, 1)), (Version(2), 2));
        assert_eq!(scene.seen(), (Version(2), 2));
        commit(&scene.a, &[(1, 3)]).unwrap();
        assert_eq!(scene.seen(), (Version(3), 3));
    }
}

#[test]
fn an_unknown_outcome_is_settled_as_refused_when_another_commit_went_first() {
    let scene = scene();
    drop(unknown(&scene, Fault::Before(EIO)));
    commit(&scene.b, &[(1, 7)]).unwrap();
    scene.storage.heal();
    let snapshot = newest(&scene.a);
    assert_eq!((snapshot.version(), byte(&scene.a, &snapshot, 1)), (Version(2), 7));
    commit(&scene.a, &[(1, 8)]).unwrap();
    assert_eq!(scene.seen(), (Version(3), 8));
}

#[test]
fn settling_a_commit_never_hides_a_newer_one() {
    let scene = scene();
    drop(unknown(&scene, Fault::After(EIO)));
    commit(&scene.b, &[(1, 7)]).unwrap();
    scene.storage.heal();
    // SQLite's transactions ask like this. They see what was acknowledged before they began.
    let snapshot = scene.a.snapshot(Freshness::Since(scene.a.now())).unwrap();
    assert_eq!((snapshot.version(), byte(&scene.a, &snapshot, 1)), (Version(3), 7));
}

/// A transaction that published page 1 as 2, and cannot learn the outcome.
fn unknown(scene: &Scene, fault: Fault) -> seawall::Transaction {
    let mut transaction = scene.a.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    match fault {
        Fault::After(_) => scene.storage.fail(Call::Publish, fault, 1),
        _ => scene.storage.fail(Call::Publish, fault, u32::MAX),
    }
    for call in [Call::Look, Call::Records, Call::Named] {
        scene.storage.fail(call, Fault::Before(EIO), u32::MAX);
    }
    let error = transaction.commit(1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(matches!(error, Error::OutcomeUnknown { version: Version(2), .. }), "{error}");
    transaction
}

/// Two machines without a background. Their clock moves only while one of them waits.
fn machines_with_a_standing_clock(folder: &Folder) -> (Arc<Database>, Arc<Database>) {
    folder.machine();
    let clock = Arc::new(Clock::standing());
    let machine = || {
        let storage = Arc::new(Faulty::with_clock(&folder.name(), clock.clone()));
        let options = Options { lease: Duration::from_millis(300), ..common::options() };
        let machine = Database::on(storage, &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
        machine.stop_background();
        machine
    };
    (machine(), machine())
}

#[test]
fn what_was_read_under_a_kept_lease_is_confirmed_or_refused() {
    let folder = Folder::new();
    let (a, b) = machines_with_a_standing_clock(&folder);
    commit(&a, &[(1, 1)]).unwrap();
    commit(&a, &[(1, 2)]).unwrap();
    let transaction = a.begin(PATIENCE).unwrap();
    let began = transaction.unconfirmed().expect("the lease was kept, and the coordinator was not asked");
    assert_eq!(transaction.snapshot().version(), Version(2));
    // `a` does nothing for a whole lease, so `b` passes it over.
    commit(&b, &[(1, 3)]).unwrap();
    let error = a.confirm(transaction.snapshot(), began).expect_err("it is not the newest any more");
    assert_eq!(error.kind(), ErrorKind::StaleSnapshot, "{error}");
    drop(transaction);
    let transaction = a.begin(PATIENCE).unwrap();
    assert_eq!((transaction.snapshot().version(), transaction.unconfirmed()), (Version(3), None));
}

#[test]
fn a_publication_that_met_its_own_success_is_committed_though_the_look_fails() {
    let scene = scene();
    scene.commits_through(&[(Call::Publish, Fault::After(EEXIST)), (Call::Look, Fault::Before(EIO))]);
    assert_eq!(scene.seen(), (Version(2), 2));
}

#[test]
fn a_publication_that_fails_after_it_took_effect_counts_only_once_it_is_durable() {
    let scene = scene();
    scene.storage.fail(Call::Publish, Fault::After(EIO), 1);
    scene.storage.fail(Call::SyncPublished, Fault::Before(EIO), u32::MAX);
    scene.fails_with(ErrorKind::OutcomeUnknown);
    scene.storage.heal();
    assert_eq!(newest(&scene.a).version(), Version(2), "it is settled: durable now");
}

#[test]
fn a_lease_that_was_taken_over_is_not_kept_before_a_commit_shows_it() {
    let folder = Folder::new();
    let (a, b) = machines_with_a_standing_clock(&folder);
    drop(a.begin(PATIENCE).unwrap());
    // `a` does nothing for a whole lease, so `b` passes it over; then `a` comes back.
    drop(b.begin(PATIENCE).unwrap());
    commit(&a, &[(1, 1)]).unwrap();
    let transaction = b.begin(PATIENCE).unwrap();
    assert_eq!(transaction.snapshot().version(), Version(1), "what was acknowledged before it began");
    drop(transaction);

    // The other way round: `a` takes over and is at work, `b` comes back and gets its old lease, and then `a` commits.
    let mut transaction = a.begin(PATIENCE).unwrap();
    drop(b.begin(PATIENCE).unwrap());
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    transaction.commit(1).unwrap();
    let transaction = b.begin(PATIENCE).unwrap();
    assert_eq!(transaction.snapshot().version(), Version(2), "what was acknowledged before it began");
}

#[test]
fn an_append_that_fails_leaves_nothing_and_its_segment_is_left() {
    let _folds = common::only_folds();
    for (fault, kind) in [
        (Fault::Before(ENOSPC), ErrorKind::Full),
        (Fault::Torn(ENOSPC), ErrorKind::Full),
        (Fault::Torn(EIO), ErrorKind::Io),
        // A sync that failed: the bytes may be there, and must not count.
        (Fault::After(EIO), ErrorKind::Io),
    ] {
        let scene = scene();
        let before = segments(&scene);
        scene.storage.fail(Call::Append, fault, 1);
        let error = scene.fails_with(kind);
        assert!(error.to_string().contains("othing was written"), "{error}");
        scene.goes_on();
        assert_eq!(segments(&scene), before + 1, "a failed append is never followed by another one in that file");
    }
}

fn segments(scene: &Scene) -> usize {
    std::fs::read_dir(scene._folder.inside("segments")).unwrap().count()
}

#[test]
fn what_fails_before_the_swap_wrote_nothing() {
    for (call, errno, kind) in [
        (Call::Look, EIO, ErrorKind::Unreachable),
        (Call::Lock, EIO, ErrorKind::Unreachable),
        (Call::Lock, EACCES, ErrorKind::Permission),
    ] {
        let scene = scene();
        std::thread::sleep(std::time::Duration::from_millis(120));
        scene.storage.fail(call, Fault::Before(errno), u32::MAX);
        scene.fails_with(kind);
        scene.goes_on();
    }
}

#[test]
fn a_segment_that_cannot_be_made_is_reported() {
    let folder = Folder::new();
    folder.machine();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &common::options(), &PlainFile).unwrap();
    storage.fail(Call::Create, Fault::Before(EACCES), 1);
    let error = commit(&a, &[(1, 1)]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    commit(&a, &[(1, 2)]).unwrap();
}

#[test]
fn a_failed_refresh_is_an_error_never_an_old_read() {
    let _folds = common::only_folds();
    let scene = scene();
    scene.storage.fail(Call::Look, Fault::Before(EIO), 1);
    assert_eq!(scene.a.snapshot(Freshness::Transaction).err().unwrap().kind(), ErrorKind::Unreachable);
    assert_eq!(newest(&scene.a).version(), Version(1));
    commit(&scene.b, &[(1, 5)]).unwrap();
    scene.storage.fail(Call::Read, Fault::Before(EIO), 1);
    assert_eq!(scene.a.snapshot(Freshness::Transaction).err().unwrap().kind(), ErrorKind::Io);
    let snapshot = newest(&scene.a);
    assert_eq!((snapshot.version(), byte(&scene.a, &snapshot, 1)), (Version(2), 5));
}

#[test]
fn a_failure_that_is_over_is_no_answer() {
    let scene = scene();
    let request = scene.a.now();
    let read = || scene.a.snapshot(Freshness::Since(request)).map(|snapshot| snapshot.version());
    scene.storage.fail(Call::Look, Fault::Before(EIO), 1);
    assert_eq!(read().unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(read().unwrap(), Version(1));
}

#[test]
fn an_adoption_that_fails_gives_name_back_only_if_no_head_can_be_there() {
    for (call, fault) in [
        (Call::Publish, Fault::Before(EIO)),
        (Call::Publish, Fault::After(EIO)),
        (Call::Publish, Fault::Before(ENOSPC)),
        (Call::SyncPublished, Fault::Before(EIO)),
        // The look after the first head was put.
        (Call::Records, Fault::Before(EIO)),
        (Call::Records, Fault::Before(EACCES)),
    ] {
        let folder = Folder::new();
        write_plain(&folder.name(), 3);
        let storage = Arc::new(Faulty::new(&folder.name()));
        storage.fail(call, fault, 1);
        let open = || Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &common::options(), &PlainFile);
        let counter = || u32::from_be_bytes(std::fs::read(folder.name()).unwrap()[24..28].try_into().unwrap());
        let before = counter();
        open().err().expect("the adoption fails");
        let is_marked = std::fs::read(folder.name()).unwrap()[18] == 3;
        // A stock SQLite that has read NAME while it was marked must look again.
        assert_eq!(counter(), before + if is_marked { 1 } else { 2 }, "{call:?}, {fault:?}");
        let has_head = folder.inside("commits/0").symlink_metadata().is_ok();
        assert!(
            is_marked || !has_head,
            "{call:?}, {fault:?}: stock SQLite may write NAME, and the head names a copy of it"
        );
        // The next opener finishes it.
        let snapshot = newest(&open().unwrap());
        assert_eq!((snapshot.version(), snapshot.page_count()), (Version(0), 3));
    }
}

#[test]
fn after_a_panic_in_an_opening_the_next_one_opens_it() {
    struct Panics;
    impl seawall::PlainSqlite for Panics {
        fn hold(&self, _: &std::path::Path, _: bool, _: Duration) -> seawall::Result<Box<dyn seawall::HeldFile>> {
            panic!("it panics")
        }
    }
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    let options = common::options();
    let panics = || Database::open(&folder.name(), Access::ReadWrite, &options, &Panics).map(drop);
    std::panic::catch_unwind(panics).expect_err("it panics");
    let database = Database::open(&folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    assert_eq!(newest(&database).page_count(), 3);
}

/// On a local disk `id` can be there before its name is durable: a loss of power then takes it away.
#[test]
fn nothing_is_committed_before_the_name_of_id_is_durable() {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    let storage = Arc::new(Faulty::new(&folder.name()));
    storage.fail(Call::SyncNames, Fault::Before(EIO), u32::MAX);
    let options = common::options();
    let database = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    let error = commit(&database, &[(1, 1)]).expect_err("the first commit fails");
    assert!(error.to_string().contains("NAME-seawall/id durable"), "{error}");
    assert_eq!(newest(&database).version(), Version(0));
    assert_eq!(std::fs::read_dir(folder.inside("segments")).unwrap().count(), 0, "nothing was written");
    storage.heal();
    commit(&database, &[(1, 2)]).unwrap();
    // From now on it costs nothing.
    storage.fail(Call::SyncNames, Fault::Before(EIO), u32::MAX);
    commit(&database, &[(1, 3)]).unwrap();
    assert_eq!(newest(&folder.machine()).version(), Version(2));
}

#[test]
fn the_draft_of_id_stays_until_its_other_name_is_durable() {
    for is_kept in [false, true] {
        let folder = Folder::new();
        let storage = Arc::new(Faulty::new(&folder.name()));
        storage.fail(Call::Link, Fault::After(EIO), 1);
        if is_kept {
            storage.fail(Call::SyncNames, Fault::Before(EIO), 1);
        }
        Database::on(storage.clone(), &folder.name(), Access::Create, &common::options(), &PlainFile).unwrap();
        let names = std::fs::read_dir(folder.inside("")).unwrap().map(|entry| entry.unwrap().file_name());
        let drafts = names.filter(|name| name.to_string_lossy().starts_with("id.")).count();
        assert_eq!(drafts, usize::from(is_kept), "an empty database has no base, so its only link is that of id");
    }
}

#[test]
fn a_change_of_the_page_size_is_made_whole_or_not_at_all() {
    let small = PageSize::new(512).unwrap();
    for fault in [Fault::Before(EIO), Fault::After(EIO), Fault::Before(ENOSPC), Fault::Torn(ENOSPC)] {
        let scene = scene();
        commit(&scene.a, &[(2, 2), (3, 3)]).unwrap();
        let before = newest(&scene.b);
        let repaginate = || {
            let mut transaction = scene.a.begin(PATIENCE)?;
            transaction.write_page(page_size(), PageNo(1), &[7; 4096])?;
            transaction.commit_as(small, 24)
        };
        scene.storage.fail(Call::Append, fault, 1);
        repaginate().expect_err("the append fails");
        for machine in [&scene.a, &scene.b] {
            let snapshot = newest(machine);
            assert_eq!((snapshot.version(), snapshot.page_size()), (Version(2), Some(page_size())));
            assert_eq!([1, 2, 3].map(|page| byte(machine, &snapshot, page)), [1, 2, 3]);
        }
        scene.storage.heal();
        repaginate().unwrap();
        for machine in [&scene.a, &scene.b] {
            let snapshot = newest(machine);
            assert_eq!((snapshot.version(), snapshot.page_size()), (Version(3), Some(small)));
            assert_eq!([8, 9, 24].map(|page| byte(machine, &snapshot, page)), [7, 2, 3]);
        }
        assert_eq!(byte(&scene.b, &before, 2), 2);
    }
}
