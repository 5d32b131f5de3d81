//! Old versions: reached from the newest in a logarithm of reads, by number, by time and by a pin's name.

mod common;

use common::faulty::{Call, Fault, Faulty};
use common::{Folder, PlainFile, byte, commit, cost, newest, write_plain};
use seawall::format::policy::Policy;
use seawall::{Access, At, Collecting, Database, Error, ErrorKind, PageNo, Snapshot, Version};
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

const AT_ONCE: Collecting = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO };

/// Commits versions up to `last`; page 2 has what is [`written_by`] its version.
fn commit_up_to(a: &Arc<Database>, last: u64) {
    for version in newest(a).version().0 + 1..=last {
        commit(a, &[(2, written_by(version)), (3 + (version % 50) as u32, 1)]).unwrap();
    }
}

fn written_by(version: u64) -> u8 {
    (version * 7 % 251) as u8
}

fn at(database: &Database, version: u64) -> Arc<Snapshot> {
    database.version_at(At::Version(Version(version))).unwrap()
}

fn fails(database: &Database, at: At) -> Error {
    database.version_at(at).map(|snapshot| panic!("{snapshot:?} was reached")).unwrap_err()
}

#[test]
fn any_version_is_reached_in_a_logarithm_of_reads() {
    const VERSIONS: u64 = 4500;
    let folder = Folder::new();
    write_plain(&folder.name(), 60);
    commit_up_to(&folder.machine(), VERSIONS);
    let a = folder.machine();
    newest(&a);
    let most = |versions: &mut dyn Iterator<Item = u64>| {
        let mut reads = Vec::new();
        for version in versions {
            let (cost, snapshot) = cost(&a, || at(&a, version));
            assert_eq!((snapshot.version().0, cost.coordinator, cost.appends), (version, 2, 0));
            assert_eq!(byte(&a, &snapshot, 2), if version == 0 { 2 } else { written_by(version) }, "version {version}");
            reads.push(cost.reads);
        }
        reads.into_iter().max().unwrap()
    };
    // 13 binary digits; the runs of the page map are one read more.
    assert!(most(&mut (0..=VERSIONS).step_by(7)) <= 13 + 1 + 1);
    // What is near is near.
    assert!(most(&mut (VERSIONS - 8..VERSIONS)) <= 4 + 1 + 1);
}

#[test]
fn a_time_names_the_newest_version_that_is_not_later() {
    let folder = Folder::new();
    write_plain(&folder.name(), 60);
    let a = folder.machine();
    let mut times = vec![(0, 0)];
    for version in 1..=300 {
        if version % 3 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        commit_up_to(&a, version);
        times.push((version, newest(&a).time()));
    }
    let b = folder.machine();
    for (_, time) in &times[1..] {
        for asked in [time - 1, *time, time + 1] {
            let expected = times.iter().rfind(|(_, time)| *time <= asked).unwrap().0;
            assert_eq!(b.version_at(At::Time(asked)).unwrap().version().0, expected, "at {asked}");
        }
    }
    assert_eq!(b.version_at(At::Time(u64::MAX)).unwrap().version(), Version(300));
    assert_eq!(
        byte(&b, &b.version_at(At::Time(1)).unwrap(), 2),
        2,
        "before the first commit there is what was adopted"
    );
    let error = fails(&b, At::Version(Version(301)));
    assert!(error.to_string().contains("does not exist yet: the newest is version 300"), "{error}");
}

#[test]
fn history_ends_at_the_floor_and_a_pin_keeps_what_is_below() {
    let folder = Folder::new();
    write_plain(&folder.name(), 60);
    let a = folder.machine();
    commit_up_to(&a, 20);
    let kept = a.pin_at("kept".parse().unwrap(), At::Version(Version(7)), Duration::from_secs(3600)).unwrap();
    assert_eq!((kept.pin.head.version, kept.pin.time), (Version(7), at(&a, 7).time()));
    let old = at(&a, 12);
    let policy = Policy { history: Duration::ZERO, ..Policy::default() };
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
    let b = folder.machine();
    b.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    commit_up_to(&b, 30);
    b.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    b.collect(AT_ONCE).unwrap();
    commit_up_to(&b, 33);
    let floor = b.collect(AT_ONCE).unwrap().floor;
    assert_eq!((floor.version, newest(&a).head().floor), (Version(33), floor));
    let error = fails(&a, At::Version(Version(12)));
    assert!(matches!(error, Error::BeforeHistory { .. }) && error.kind() == ErrorKind::SnapshotTooOld);
    assert!(
        error.to_string().starts_with("version 12 is older")
            && error.to_string().contains("back to version 33, committed at 2")
    );
    assert!(matches!(fails(&a, At::Time(floor.time - 1)), Error::BeforeHistory { .. }));
    assert_eq!(at(&a, 33).version(), Version(33));
    // The pin has the base of version 0, and all of the log.
    for database in [&a, &folder.machine()] {
        let pinned = database.at_pin("kept".parse().unwrap()).unwrap();
        assert_eq!((pinned.version(), byte(database, &pinned, 2)), (Version(7), written_by(7)));
    }
    let error = a.pin_at("late".parse().unwrap(), At::Version(Version(12)), Duration::from_secs(60)).unwrap_err();
    assert!(matches!(error, Error::BeforeHistory { .. }), "{error}");
    a.unpin("kept".parse().unwrap()).unwrap();
    assert!(b.collect(AT_ONCE).unwrap().deleted.files > 0);
    let error = folder.machine().at_pin("kept".parse().unwrap()).map(drop).unwrap_err();
    assert!(error.to_string().contains("there is no pin \"kept\""), "{error}");
    let late = folder.machine();
    let error = late.read_page(&old, PageNo(40)).map(drop).unwrap_err();
    assert!(matches!(error, Error::SnapshotTooOld { version: Version(12), .. }), "{error}");
}

#[test]
fn what_is_given_up_while_a_version_is_being_reached_is_not_shown() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    write_plain(&folder.name(), 60);
    commit_up_to(&folder.machine(), 20);
    let policy = Policy { history: Duration::ZERO, ..Policy::default() };
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadOnly, &common::options(), &PlainFile).unwrap();
    storage.fail(Call::Read, Fault::Hangs, 1);
    let error = std::thread::scope(|scope| {
        let reached = scope.spawn(|| fails(&a, At::Version(Version(12))));
        // It has asked for the head, and waits for a frame on its way.
        std::thread::sleep(Duration::from_millis(100));
        let b = folder.machine();
        for last in [30, 33] {
            b.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
            commit_up_to(&b, last);
            b.collect(AT_ONCE).unwrap();
        }
        storage.heal();
        reached.join().unwrap()
    });
    assert!(matches!(error, Error::BeforeHistory { .. }), "{error}");
}

#[test]
fn a_damaged_frame_on_the_way_is_reported_and_stands_in_nobody_elses_way() {
    let _folds = common::only_folds();
    let folder = Folder::new();
    write_plain(&folder.name(), 60);
    let a = folder.machine();
    commit_up_to(&a, 200);
    let place = at(&a, 128).head().commit().place.unwrap();
    let segment = fs::OpenOptions::new().write(true).open(folder.segment()).unwrap();
    segment.write_all_at(b"x", u64::from(place.at) * 16 + 50).unwrap();
    // Version 128 is on the way to those before it.
    for version in [100, 128] {
        let error = fails(&a, At::Version(Version(version)));
        assert!(
            error.kind() == ErrorKind::Corrupt && error.to_string().contains("commit frame of version 128"),
            "{error}"
        );
    }
    for version in [129, 150, 192, 199, 200] {
        assert_eq!(byte(&a, &at(&a, version), 2), written_by(version));
    }
}
