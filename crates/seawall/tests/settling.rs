//! What becomes of a commit that got no clear answer, of a snapshot that is old, and of a lease after a refusal.

mod common;

use common::faulty::{Call, Clock, EIO, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, byte, commit, marks, newest, page_size, write_plain};
use seawall::format::frame::{self, Kind};
use seawall::format::head::Head;
use seawall::format::ids::{DatabaseId, Epoch, Token};
use seawall::ports::coordinator::fs::FsCoordinator;
use seawall::ports::coordinator::{
    Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped, kinds,
};
use seawall::ports::storage::Storage;
use seawall::{Access, Database, Error, ErrorKind, Freshness, Options, PageNo, Version};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The commits that the other machine makes after the one whose outcome is unknown.
const LATER: u64 = 30;

/// The `fs` coordinator, but it knows only the newest head, and the test can make it believe that a writer was fenced.
/// Its name is its URL.
struct NewestOnly(FsCoordinator, &'static Fences, String);

/// How often writers were fenced until now, and until the next swap.
struct Fences {
    now: AtomicU64,
    next: AtomicU64,
}

static NONE: Fences = Fences { now: AtomicU64::new(0), next: AtomicU64::new(0) };
/// For the one database with the coordinator `fenced:`.
static FENCES: Fences = Fences { now: AtomicU64::new(0), next: AtomicU64::new(0) };

fn newest_only(url: &str, _: DatabaseId, storage: &Arc<dyn Storage>) -> Result<Box<dyn Coordinator>, String> {
    let fences = if url == "fenced:" { &FENCES } else { &NONE };
    Ok(Box::new(NewestOnly(FsCoordinator::new(storage.clone().order()), fences, url.to_owned())))
}

impl NewestOnly {
    /// On `fs` the generation is the version. Here each fence raises it by one more.
    fn outside(&self, head: Head) -> Head {
        Head { generation: head.version.0 + self.1.now.load(Ordering::SeqCst), ..head }
    }
}

fn inside(head: &Head) -> Head {
    Head { generation: head.version.0, ..head.clone() }
}

impl Coordinator for NewestOnly {
    fn name(&self) -> String {
        self.2.clone()
    }
    fn create(&self, head: &Head) -> Result<Head, CoordinatorError> {
        self.0.create(head)
    }
    fn load(&self, known: &Known<'_>, patience: Duration) -> Result<Head, CoordinatorError> {
        match known {
            Known::Head(head) => self.0.load(&Known::Head(&inside(head)), patience),
            known => self.0.load(known, patience),
        }
        .map(|head| self.outside(head))
    }
    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        Ok(match self.0.acquire(claim, &inside(known))? {
            Acquired::Granted(lease, head) => {
                let head = self.outside(*head);
                Acquired::Granted(Lease { generation: head.generation, ..lease }, Box::new(head))
            }
            held @ Acquired::Refused { .. } => held,
        })
    }
    fn give_up(&self) -> Result<(), CoordinatorError> {
        self.0.give_up()
    }
    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError> {
        self.0.holder(&inside(known))
    }
    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError> {
        self.0.renew(lease, label)
    }
    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        keep: bool,
        patience: Duration,
    ) -> Result<Swapped, CoordinatorError> {
        self.1.now.store(self.1.next.load(Ordering::SeqCst), Ordering::SeqCst);
        if lease.generation != previous.version.0 + self.1.now.load(Ordering::SeqCst) {
            return self.load(&Known::Head(previous), patience).map(|head| Swapped::Refused(Box::new(head)));
        }
        let lease = Lease { generation: previous.version.0, ..lease.clone() };
        Ok(match self.0.swap(&lease, &inside(previous), &inside(next), keep, patience)? {
            Swapped::Refused(head) => Swapped::Refused(Box::new(self.outside(*head))),
            Swapped::Done => Swapped::Done,
        })
    }
    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        self.0.release(lease)
    }
    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError> {
        self.0.evidence()
    }
    fn seal(&self, token: Token, epoch: Epoch) -> Result<(), CoordinatorError> {
        self.0.seal(token, epoch)
    }
    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError> {
        self.0.is_sealed(token)
    }
    fn unseal(&self, token: Token, previous: &Head, head: &Head) -> Result<bool, CoordinatorError> {
        self.0.unseal(token, previous, head)
    }
    fn carries(&self, head: &Head) -> bool {
        self.0.carries(head)
    }
    fn is_in_files(&self) -> bool {
        self.0.is_in_files()
    }
    fn lease_survives_swap(&self) -> bool {
        true
    }
    fn takeover_is_visible(&self) -> bool {
        false
    }
    fn lease_ends_with_process(&self) -> bool {
        true
    }
}

struct Scene {
    folder: Folder,
    storage: Arc<Faulty>,
    a: Arc<Database>,
    b: Arc<Database>,
}

/// Two machines. Version 1 is committed, and the test makes calls of the first machine's storage fail.
fn scene(coordinator: &str, clock: Clock) -> Scene {
    kinds::add("newest", newest_only);
    kinds::add("fenced", newest_only);
    let folder = Folder::new();
    let options = Options { coordinator: coordinator.into(), ..common::options() };
    let b = folder.try_machine_with(&options).unwrap();
    let storage = Arc::new(Faulty::with_clock(&folder.name(), Arc::new(clock)));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &options, &PlainFile).unwrap();
    commit(&a, &[(1, 1)]).unwrap();
    Scene { folder, storage, a, b }
}

impl Scene {
    /// The first machine sends version 2, which never arrives, and gets no answer.
    fn sends_a_lost_commit(&self) {
        self.sends_version(Version(2));
    }

    fn sends_version(&self, sent: Version) {
        let mut transaction = self.a.begin(PATIENCE).unwrap();
        transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
        for call in [Call::Publish, Call::Look, Call::Records, Call::Named] {
            self.storage.fail(call, Fault::Before(EIO), u32::MAX);
        }
        let error = transaction.commit(1).expect_err("nothing answers");
        assert!(matches!(error, Error::OutcomeUnknown { version, .. } if version == sent), "{error}");
    }

    fn others_go_on(&self) {
        for n in 0..LATER {
            commit(&self.b, &[(1, 100 + n as u8)]).unwrap();
        }
        self.storage.heal();
    }

    /// The versions whose commits were marked as refused.
    fn refused(&self) -> Vec<Version> {
        marks(&self.folder).iter().map(|mark| mark.version).collect()
    }

    /// The newest version is what the others made, and the next commit follows it.
    fn goes_on(&self) {
        let snapshot = newest(&self.a);
        assert_eq!((snapshot.version(), byte(&self.a, &snapshot, 1)), (Version(1 + LATER), 99 + LATER as u8));
        assert_eq!(commit(&self.a, &[(1, 3)]).unwrap().version(), Version(2 + LATER));
        let snapshot = newest(&self.b);
        assert_eq!((snapshot.version(), byte(&self.b, &snapshot, 1)), (Version(2 + LATER), 3));
    }

    /// Damages the commit frame of `version`.
    fn damage(&self, damaged: Version) {
        for segment in std::fs::read_dir(self.folder.inside("segments")).unwrap() {
            let path = segment.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let mut at = 0;
            while let Ok(frame) = frame::parse(&bytes[at..]) {
                // The version is after the database's id and the epoch.
                let is_it = frame.kind == Kind::Commit && frame.payload[24..32] == damaged.0.to_le_bytes();
                if is_it {
                    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
                    return file.write_all_at(&[0xff; 4], (at + frame::HEADER + 40) as u64).unwrap();
                }
                at += frame.length;
            }
        }
        panic!("version {} is in no segment", damaged.0);
    }
}

#[test]
fn readers_share_one_answer_within_their_timeouts() {
    let scene = scene("fs:", Clock::real());
    scene.sends_a_lost_commit();
    let began = Instant::now();
    let readers: Vec<_> = (0..12)
        .map(|n| {
            let a = scene.a.clone();
            let timeout = Duration::from_millis(if n < 6 { 300 } else { 1500 });
            std::thread::spawn(move || {
                let began = Instant::now();
                let read = a.snapshot_within(Freshness::Transaction, timeout).map(drop);
                (read, began.elapsed(), timeout)
            })
        })
        .collect();
    for reader in readers {
        let (read, waited, timeout) = reader.join().unwrap();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert!(waited < timeout + Duration::from_millis(700), "{waited:?} with a timeout of {timeout:?}");
    }
    assert!(began.elapsed() < Duration::from_millis(2500), "they ask together: {:?}", began.elapsed());
    scene.others_go_on();
    scene.goes_on();
}

#[test]
fn on_fs_the_number_itself_answers() {
    let _folds = common::only_folds();
    let scene = scene("fs:", Clock::running());
    scene.sends_a_lost_commit();
    scene.others_go_on();
    // The chain cannot answer, because a frame of it is damaged.
    scene.damage(Version(LATER / 2));
    scene.goes_on();
    assert_eq!(scene.refused(), [Version(2)]);
}

#[test]
fn a_number_that_was_named_again_answers_nothing() {
    let scene = scene("fs:", Clock::running());
    scene.sends_a_lost_commit();
    scene.others_go_on();
    // Garbage collection removes the lowest numbers. The swap that is sent again makes the name once more, and is in no
    // history.
    for version in 0..LATER - 2 {
        std::fs::remove_file(scene.folder.inside(&format!("commits/{version}"))).unwrap();
    }
    scene.goes_on();
    assert!(scene.folder.inside("commits/2").symlink_metadata().is_ok(), "the name was made again");
    assert_eq!(scene.refused(), [Version(2)]);
}

#[test]
fn a_long_way_back_is_gone_in_several_steps() {
    let _folds = common::only_folds();
    let scene = scene("newest:", Clock::running());
    scene.sends_a_lost_commit();
    scene.others_go_on();
    scene.storage.fail(Call::Read, Fault::Slow(100), u32::MAX);
    let mut steps = 0;
    let snapshot = loop {
        let began = scene.a.now().monotonic;
        let read = scene.a.snapshot(Freshness::Transaction);
        let took = scene.a.now().monotonic - began;
        // It asks for a second, and then reads the newest version.
        assert!(took < Duration::from_millis(1700), "it took {took:?}");
        match read {
            Ok(snapshot) => break snapshot,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
                assert!(error.to_string().contains("more versions to be looked through"), "{error}");
            }
        }
        steps += 1;
        assert!(steps < 10, "each step goes on where the last one stopped");
    };
    assert!(steps >= 2, "{steps} steps");
    assert_eq!(snapshot.version(), Version(1 + LATER));
    scene.storage.heal();
    scene.goes_on();
}

#[test]
fn an_outcome_that_stays_unknown_is_reported_once_and_the_process_goes_on() {
    let _folds = common::only_folds();
    let scene = scene("newest:", Clock::running());
    scene.sends_a_lost_commit();
    scene.others_go_on();
    scene.damage(Version(LATER / 2));
    scene.goes_on();
    let trouble = scene.a.status().unwrap().trouble.expect("the status reports it");
    assert!(trouble.contains("can no longer be determined"), "{trouble}");
    assert_eq!(scene.refused(), [], "it may be in the history");
}

#[test]
fn after_a_refusal_the_next_writer_here_asks_for_a_lease_of_its_own() {
    let scene = scene("fenced:", Clock::running());
    scene.a.stop_background();
    let mut transaction = scene.a.begin(PATIENCE).unwrap();
    transaction.write_page(page_size(), PageNo(1), &[2; 4096]).unwrap();
    FENCES.next.store(1, Ordering::SeqCst);
    let error = transaction.commit(1).expect_err("somebody fenced it");
    assert_eq!(error.kind(), ErrorKind::Superseded, "{error}");
    drop(transaction);
    assert_eq!(commit(&scene.a, &[(1, 3)]).unwrap().version(), Version(2));
}

/// A database with a base of three pages, and a machine whose clock moves only while it waits.
fn with_a_base() -> (Folder, Arc<Clock>, Arc<Database>) {
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    folder.machine();
    let clock = Arc::new(Clock::standing());
    let storage = Arc::new(Faulty::with_clock(&folder.name(), clock.clone()));
    let database = Database::on(storage, &folder.name(), Access::ReadWrite, &common::options(), &PlainFile).unwrap();
    (folder, clock, database)
}

const LONG: Duration = Duration::from_secs(20 * 60);

#[test]
fn damage_is_reported_as_damage_however_long_the_database_was_quiet() {
    let (folder, clock, database) = with_a_base();
    clock.pass(LONG);
    let snapshot = newest(&database);
    std::fs::remove_dir_all(folder.inside("bases")).unwrap();
    let error = database.read_page(&snapshot, PageNo(2)).expect_err("its file is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    // The same for a reader whose version is no longer the newest, because what it needs cannot have been
    // garbage-collected yet.
    commit(&folder.machine(), &[(1, 9)]).unwrap();
    assert_eq!(newest(&database).version(), Version(1));
    let error = database.read_page(&snapshot, PageNo(2)).expect_err("its file is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    clock.pass(LONG);
    let error = database.read_page(&snapshot, PageNo(2)).expect_err("its file is gone");
    assert_eq!(error.kind(), ErrorKind::SnapshotTooOld, "{error}");
}

#[test]
fn a_long_request_reads_nothing_that_could_be_garbage_collected_under_it() {
    let (folder, clock, database) = with_a_base();
    let request = database.now();
    let read = || database.snapshot(Freshness::Since(request)).unwrap().version();
    assert_eq!(read(), Version(0));
    commit(&folder.machine(), &[(1, 9)]).unwrap();
    assert_eq!(read(), Version(0), "the request has its answer");
    clock.pass(Duration::from_secs(8 * 60));
    assert_eq!(read(), Version(1));
}

#[test]
fn after_a_panic_in_a_publication_its_outcome_is_unknown_and_settled() {
    let scene = scene("fs:", Clock::running());
    scene.storage.fail(Call::SyncPublished, Fault::Panics, 1);
    let error = commit(&scene.a, &[(1, 2)]).expect_err("it panics after the name was made");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    let snapshot = newest(&scene.a);
    assert_eq!((snapshot.version(), byte(&scene.a, &snapshot, 1)), (Version(2), 2));
    // If the thread that settles panics, the next one settles.
    scene.sends_version(Version(3));
    scene.storage.heal();
    scene.storage.fail(Call::Publish, Fault::Panics, 1);
    let reader = scene.a.clone();
    std::thread::spawn(move || reader.snapshot(Freshness::Transaction).map(drop)).join().expect_err("it panics");
    assert_eq!(newest(&scene.a).version(), Version(3));
    assert_eq!(commit(&scene.a, &[(1, 4)]).unwrap().version(), Version(4));
}

#[test]
fn a_coordinator_that_id_cannot_name_adopts_nothing() {
    kinds::add("newest", newest_only);
    let folder = Folder::new();
    write_plain(&folder.name(), 3);
    let before = std::fs::read(folder.name()).unwrap();
    for url in ["newest:of all", "newest://table", "newest://table?region=here&endpoint=http://192.0.2.1"] {
        let options = Options { coordinator: url.into(), ..common::options() };
        let refused = folder.try_machine_with(&options).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CannotOpen);
        assert!(refused.to_string().contains("NAME was not touched"), "{refused}");
        assert_eq!(std::fs::read(folder.name()).unwrap(), before);
        assert!(!folder.inside("").exists());
    }
    let named = Options { coordinator: "newest://table?region=here".into(), ..common::options() };
    commit(&folder.try_machine_with(&named).unwrap(), &[(1, 1)]).unwrap();
    assert_eq!(newest(&folder.try_machine_with(&named).unwrap()).version(), Version(1));
}
