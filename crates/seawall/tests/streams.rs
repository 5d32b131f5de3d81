//! Large transactions stream: what does not fit into memory goes to a segment of the transaction's own. Nothing is left of
//! it when nothing comes of the transaction.

mod common;

use common::faulty::{Call, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, commit, marks, newest, page_size};
use seawall::format::policy::Policy;
use seawall::{Access, Collecting, Database, ErrorKind, PageNo, PageSize, Part, Transaction, Verifying, Version};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// More than an overlay keeps in memory.
const PAGES: u32 = 400;

fn large() -> PageSize {
    PageSize::new(65_536).unwrap()
}

fn write(transaction: &mut Transaction, page: u32, byte: u8) -> seawall::Result<()> {
    transaction.write_page(large(), PageNo(page), &vec![byte; large().bytes()])
}

/// Writes many pages: each filled with its number's low byte.
fn fill(transaction: &mut Transaction) -> seawall::Result<()> {
    (1..=PAGES).try_for_each(|page| write(transaction, page, page as u8))
}

fn byte_of(image: &[u8]) -> u8 {
    assert!(image.iter().all(|byte| *byte == image[0]), "a page is of one piece");
    image[0]
}

/// The pages of the newest version, as another machine reads them.
fn content(folder: &Folder) -> BTreeMap<u32, u8> {
    let machine = folder.folding();
    let snapshot = newest(&machine);
    let read = |page| (page, byte_of(&machine.read_page(&snapshot, PageNo(page)).unwrap()));
    let content = (1..=snapshot.page_count()).map(read).collect();
    let whole = Verifying { deep: true, part: Part::ALL };
    let verified = machine.verify(&snapshot, whole, &mut |_, _| Ok(())).unwrap();
    // Such a NAME is no SQLite file.
    let findings: Vec<String> = verified.findings.iter().map(|finding| format!("{finding:?}")).collect();
    assert!(findings.iter().all(|finding| finding.contains("Name")), "{findings:?}");
    content
}

fn segments(folder: &Folder) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder.inside("segments")).unwrap().map(|entry| entry.unwrap());
    let mut segments: Vec<(String, u64)> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect();
    segments.sort();
    segments
}

/// A machine whose storage's calls can be made to fail, and version 1 with one page.
fn scene() -> (Folder, Arc<Faulty>, Arc<Database>) {
    let folder = Folder::new();
    let storage = Arc::new(Faulty::new(&folder.name()));
    let database =
        Database::on(storage.clone(), &folder.name(), Access::Create, &common::options(), &PlainFile).unwrap();
    let mut transaction = database.begin(PATIENCE).unwrap();
    write(&mut transaction, 1, 1).unwrap();
    transaction.commit(1).unwrap();
    // It would append the commit's mark to the process's segment, now or later.
    database.stop_background();
    drop(transaction);
    (folder, storage, database)
}

#[test]
fn a_large_transaction_has_a_segment_of_its_own_and_reads_what_it_wrote() {
    let _folds = common::only_folds();
    let (folder, _storage, a) = scene();
    let before = segments(&folder);
    let mut transaction = a.begin(PATIENCE).unwrap();
    fill(&mut transaction).unwrap();
    assert!(transaction.streams());
    assert_eq!(segments(&folder).len(), 2);
    // Some again, some several times: the newest counts.
    for round in 0..3 {
        (2..=PAGES).step_by(7).for_each(|page| write(&mut transaction, page, 100 + round).unwrap());
        (1..=PAGES).for_each(|page| {
            let expected = if page % 7 == 2 { 100 + round } else { page as u8 };
            assert_eq!(byte_of(&transaction.read_page(PageNo(page)).unwrap()), expected, "page {page}");
        });
    }
    transaction.truncate(PAGES - 50);
    write(&mut transaction, PAGES - 10, 7).unwrap();
    transaction.commit(PAGES - 10).unwrap();
    drop(transaction);
    let expected = |page: u32| match page {
        page if page == PAGES - 10 => 7,
        page if page > PAGES - 50 => 0,
        page if page % 7 == 2 => 102,
        page => page as u8,
    };
    let whole: BTreeMap<u32, u8> = (1..=PAGES - 10).map(|page| (page, expected(page))).collect();
    assert_eq!(content(&folder), whole);
    let after = segments(&folder);
    assert_eq!((after.len(), &after[0]), (2, &before[0]), "the other segment is as it was");
    // The next commit is small, and goes there.
    let mut transaction = a.begin(PATIENCE).unwrap();
    write(&mut transaction, 1, 9).unwrap();
    transaction.commit(PAGES - 10).unwrap();
    let last = segments(&folder);
    assert_eq!((last.len(), &last[1]), (2, &after[1]));
    assert!(last[0].1 > after[0].1);
    assert_eq!(content(&folder)[&1], 9);
}

#[test]
fn a_large_transaction_costs_an_append_for_each_batch_and_one_for_its_end() {
    let _folds = common::only_folds();
    let (folder, storage, a) = scene();
    // An operation that takes no time more is only counted.
    const MANY: u32 = 1000;
    storage.fail(Call::Append, Fault::Slow(0), MANY);
    let mut transaction = a.begin(PATIENCE).unwrap();
    let begun = a.counts();
    fill(&mut transaction).unwrap();
    transaction.commit(PAGES).unwrap();
    let cost = a.counts() - begun;
    let appends = MANY - storage.left(Call::Append);
    drop(transaction);
    // 400 pages are six batches of 64, and 16 for the end, which alone is not appended in the background.
    assert_eq!((appends, cost.appends, cost.reads), (7, 1, 0));
    assert_eq!(content(&folder).len(), PAGES as usize);
}

#[test]
fn a_rollback_leaves_no_file() {
    let (folder, _storage, a) = scene();
    let before = segments(&folder);
    let mut transaction = a.begin(PATIENCE).unwrap();
    fill(&mut transaction).unwrap();
    assert_ne!(segments(&folder), before);
    drop(transaction);
    assert_eq!(segments(&folder), before);
    assert_eq!(content(&folder), [(1, 1)].into());
}

#[test]
fn after_any_failure_there_is_no_file_and_the_next_transaction_succeeds() {
    let appends = [Fault::Before(EIO), Fault::After(EIO), Fault::Torn(ENOSPC), Fault::Before(ENOSPC), Fault::Panics];
    let faults = appends.into_iter().flat_map(|fault| (0..8).map(move |nth| (Call::Append, fault, nth)));
    let others = [(Call::Create, Fault::Before(ENOSPC), 0), (Call::Publish, Fault::Before(ENOSPC), 0)];
    let mut failed_late = 0;
    for (call, fault, nth) in faults.chain(others) {
        let (folder, storage, a) = scene();
        let before = segments(&folder);
        storage.fail_later(call, fault, nth);
        let mut transaction = a.begin(PATIENCE).unwrap();
        let commits = |mut transaction: Transaction| transaction.commit(PAGES);
        let filled = fill(&mut transaction);
        let is_filled = filled.is_ok();
        // What was written stays readable, the batches that were lost as well.
        for page in 1..=transaction.page_count() {
            assert_eq!(byte_of(&transaction.read_page(PageNo(page)).unwrap()), page as u8, "{call:?} {fault:?} {nth}");
        }
        // A panic of the last append, in this thread, leaves the outcome of the append unknown: that is another test.
        if matches!(fault, Fault::Panics) && is_filled {
            continue;
        }
        let error = match filled.and_then(|()| commits(transaction)) {
            Err(error) => error,
            Ok(_) => {
                assert!(call == Call::Append && nth > 3, "{call:?} {nth} does not fail");
                continue;
            }
        };
        failed_late += u32::from(is_filled);
        let is_full = matches!(fault, Fault::Before(ENOSPC) | Fault::Torn(_));
        let expected = if is_full { ErrorKind::Full } else { ErrorKind::Io };
        assert_eq!(error.kind(), expected, "{call:?} {fault:?} {nth}: {error}");
        assert!(!is_full || error.to_string().contains("NAME-seawall/"), "{error}");
        storage.heal();
        let named: Vec<String> = segments(&folder).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, [before[0].0.clone()], "{call:?} {fault:?} {nth} leaves a file");
        assert_eq!(a.status().unwrap().trouble, None);
        let mut transaction = a.begin(PATIENCE).unwrap();
        fill(&mut transaction).unwrap();
        assert_eq!(transaction.commit(PAGES).unwrap().version(), Version(2));
        assert_eq!(content(&folder), (1..=PAGES).map(|page| (page, page as u8)).collect());
    }
    assert!(failed_late >= 2, "some failures come with the commit");
}

/// A large transaction whose next append is that of its commit frame: no batch is on its way, and less than one is left.
fn streamed(a: &Arc<Database>) -> Transaction {
    let mut transaction = a.begin(PATIENCE).unwrap();
    fill(&mut transaction).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    transaction.truncate(60);
    write(&mut transaction, 60, 0).unwrap();
    transaction
}

/// The frame may have arrived: for a recovery a mark says that it was refused.
#[test]
fn the_end_of_a_stream_that_cannot_be_appended_is_marked_as_refused() {
    for fault in [Fault::After(EIO), Fault::Panics] {
        let (folder, storage, a) = scene();
        let mut transaction = streamed(&a);
        storage.fail(Call::Append, fault, 1);
        assert_eq!(transaction.commit(60).err().unwrap().kind(), ErrorKind::Io);
        let refused: Vec<Version> = marks(&folder).iter().map(|mark| mark.version).collect();
        assert_eq!(refused, [Version(2)], "{fault:?}");
    }
}

#[test]
fn nothing_is_streamed_to_its_end_before_a_mark_that_is_owed() {
    let (folder, storage, a) = scene();
    let mut transaction = streamed(&a);
    storage.fail(Call::Append, Fault::Before(EIO), 3);
    assert_eq!(transaction.commit(60).err().unwrap().kind(), ErrorKind::Io);
    drop(transaction);
    let mut transaction = streamed(&a);
    storage.fail(Call::Append, Fault::Before(EIO), 2);
    assert_eq!(transaction.commit(60).expect_err("its mark comes first").kind(), ErrorKind::Io);
    drop(transaction);
    assert_eq!(marks(&folder), []);
    storage.heal();
    assert_eq!(streamed(&a).commit(60).unwrap().version(), Version(2));
    let refused: Vec<Version> = marks(&folder).iter().map(|mark| mark.version).collect();
    assert_eq!(refused, [Version(2)]);
}

#[test]
fn a_file_that_cannot_be_removed_is_reported_and_has_no_space() {
    for (call, text) in [(Call::Remove, "removing"), (Call::Truncate, "giving back the space")] {
        let (folder, storage, a) = scene();
        let mut transaction = a.begin(PATIENCE).unwrap();
        fill(&mut transaction).unwrap();
        storage.fail(call, Fault::Before(EIO), 1);
        drop(transaction);
        let trouble = a.status().unwrap().trouble.expect("the status reports it");
        assert!(trouble.contains(text), "{trouble}");
        let left: u64 = segments(&folder)[1..].iter().map(|(_, size)| size).sum();
        assert_eq!(left, 0);
        assert_eq!(content(&folder), [(1, 1)].into());
    }
}

#[test]
fn a_refused_commit_leaves_no_file() {
    let folder = Folder::new();
    let (a, b) = (folder.folding(), folder.folding());
    let mut transaction = b.begin(PATIENCE).unwrap();
    write(&mut transaction, 1, 1).unwrap();
    transaction.commit(1).unwrap();
    drop(transaction);
    // Its lease is not renewed, and is taken over.
    a.stop_background();
    let mut frozen = a.begin(PATIENCE).unwrap();
    fill(&mut frozen).unwrap();
    let mut transaction = b.begin(PATIENCE).unwrap();
    write(&mut transaction, 1, 2).unwrap();
    transaction.commit(1).unwrap();
    drop(transaction);
    assert_eq!(segments(&folder).len(), 2);
    assert_eq!(frozen.commit(PAGES).err().unwrap().kind(), ErrorKind::Superseded);
    let left: Vec<(String, u64)> = segments(&folder).into_iter().filter(|(_, size)| *size > 10_000).collect();
    assert_eq!(left, [], "but for the mark, which is in another segment");
    assert_eq!(marks(&folder).len(), 1);
    assert_eq!(content(&folder), [(1, 2)].into());
}

#[test]
fn an_outcome_that_is_unknown_keeps_the_file_until_it_is_known() {
    for (fault, is_committed) in [(Fault::After(EIO), true), (Fault::Before(EIO), true)] {
        let (folder, storage, a) = scene();
        let mut transaction = a.begin(PATIENCE).unwrap();
        fill(&mut transaction).unwrap();
        storage.fail(Call::Publish, fault, u32::MAX);
        storage.fail(Call::Look, Fault::Before(EIO), u32::MAX);
        storage.fail(Call::Records, Fault::Before(EIO), u32::MAX);
        assert_eq!(transaction.commit(PAGES).err().unwrap().kind(), ErrorKind::OutcomeUnknown);
        drop(transaction);
        assert_eq!(segments(&folder).len(), 2);
        storage.heal();
        assert_eq!(newest(&a).version() == Version(2), is_committed);
        assert_eq!(content(&folder).len() as u32, PAGES);
    }
}

/// A crash leaves the segment. It has pages of a version that is another commit's by then.
#[test]
fn a_collection_takes_what_a_crash_left_and_nothing_of_a_transaction_at_work() {
    let folder = Folder::new();
    let a = folder.folding();
    commit(&a, &[(2, 1)]).unwrap();
    let policy = Policy { history: Duration::ZERO, ..Policy::default() };
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
    let at_once = Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO };
    let fill = |transaction: &mut Transaction| {
        transaction.write_page(page_size(), PageNo(1), &common::header())?;
        (2..=PAGES * 16).try_for_each(|page| transaction.write_page(page_size(), PageNo(page), &[page as u8; 4096]))
    };
    let mut transaction = a.begin(PATIENCE).unwrap();
    fill(&mut transaction).unwrap();
    let own = segments(&folder).pop().unwrap().0;
    let crashed = folder.inside("segments/abababababababab-7.seg");
    fs::copy(folder.inside("segments").join(own), &crashed).unwrap();
    // It is no history, for which older history would have to go.
    let looks = Collecting { dry_run: true, ..at_once };
    let history = folder.folding().collect(looks).unwrap().history_bytes;
    assert!(history < fs::metadata(&crashed).unwrap().len(), "{history}");
    // A collection that begins now waits for the lease, and the version that is being written is not in any base.
    let collects = {
        let b = folder.folding();
        std::thread::spawn(move || b.collect(at_once).unwrap())
    };
    std::thread::sleep(Duration::from_millis(100));
    transaction.commit(PAGES * 16).unwrap();
    drop(transaction);
    collects.join().unwrap();
    let b = folder.folding();
    let snapshot = newest(&b);
    (2..=PAGES * 16).for_each(|page| assert_eq!(common::byte(&b, &snapshot, page), page as u8));
    assert!(crashed.exists());
    b.checkpoint(&mut |_, _| Ok(())).unwrap();
    commit(&b, &[(2, 2)]).unwrap();
    b.collect(at_once).unwrap();
    assert!(!crashed.exists());
    let b = folder.folding();
    let snapshot = newest(&b);
    (3..=PAGES * 16).for_each(|page| assert_eq!(common::byte(&b, &snapshot, page), page as u8));
}
