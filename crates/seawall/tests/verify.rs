//! Verification: nothing is found in a whole database, and every damage of what can be reached is found, named and gone around.

mod common;

use common::faulty::{Call, Clock, EACCES, EIO, ENOSPC, Fault, Faulty};
use common::{Folder, PATIENCE, PlainFile, commit, newest, page_size, write_plain};
use seawall::format::commit_frame::CommitFrame;
use seawall::format::entry::Segments;
use seawall::format::frame::{self, Kind};
use seawall::format::head::Head;
use seawall::format::ids::Digest;
use seawall::format::jump::Jump;
use seawall::format::policy::Policy;
use seawall::{
    Access, At, Collecting, Damage, Database, ErrorKind, Finding, PageNo, Part, Verified, Verifying, Version,
};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const PLAIN: Verifying = Verifying { deep: false, part: Part::ALL };
const DEEP: Verifying = Verifying { deep: true, part: Part::ALL };

fn verify(database: &Database, what: Verifying) -> Verified {
    database.verify(&newest_of(database), what, &mut |_, _| Ok(())).unwrap()
}

fn newest_of(database: &Database) -> Arc<seawall::Snapshot> {
    database.snapshot(seawall::Freshness::Transaction).unwrap()
}

/// As a new process does it, which may not be able to open the database.
fn verify_folder(folder: &Folder, what: Verifying) -> Verified {
    match folder.try_machine() {
        Ok(database) => verify(&database, what),
        Err(_) => seawall::verify(&folder.name(), &common::options(), None, what, &mut |_, _| Ok(())).unwrap(),
    }
}

fn is_whole(folder: &Folder) {
    for what in [PLAIN, DEEP] {
        assert_eq!(verify_folder(folder, what).findings, []);
    }
}

fn only(verified: &Verified) -> &Finding {
    let [finding] = &verified.findings[..] else { panic!("{:#?}", verified.findings) };
    finding
}

/// A base of 20 pages, and two writers, each of which has a segment.
fn scene(commits: u8) -> Folder {
    let folder = Folder::new();
    write_plain(&folder.name(), 20);
    let machines = [folder.machine(), folder.machine()];
    for n in 1..=commits {
        commit(&machines[usize::from(n / 3 % 2)], &[(2 + u32::from(n % 9), n), (12, n)]).unwrap();
    }
    // They are killed before they have noted that.
    machines.iter().for_each(|machine| machine.stop_background());
    folder
}

fn files(folder: &Folder, inside: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.inside(inside)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn nothing_is_found_in_a_whole_database() {
    let _folds = common::only_folds();
    let folder = scene(40);
    let a = folder.machine();
    // So many that index frames are written, and are merged.
    commit(&a, &(2..=3000).map(|page| (page, 7)).collect::<Vec<_>>()).unwrap();
    for n in 0..400_u32 {
        commit(&a, &(0..8).map(|k| (2 + (n * 37 + k * 411) % 3000, n as u8)).collect::<Vec<_>>()).unwrap();
    }
    let before = verify(&a, PLAIN);
    assert_eq!((before.findings.len(), before.version, before.commits, before.oldest), (0, 441, 441, 1));
    assert!(before.pages > 20 + 80 + 2999 + 3200 - 10 && before.time > 0 && before.base.is_some());
    a.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    (0..50_u8).for_each(|n| drop(commit(&folder.machine(), &[(2, n), (u32::from(n) + 2, n)]).unwrap()));
    let plain = verify(&a, PLAIN);
    assert_eq!((plain.findings.len(), plain.commits, plain.oldest), (0, 51, 442));
    let mut seen = (0, 0);
    let deep = a.verify(&newest(&a), DEEP, &mut |done, all| {
        assert!(done >= seen.0 && done <= all, "{done} of {all} after {seen:?}");
        seen = (done, all);
        Ok(())
    });
    let deep = deep.unwrap();
    assert_eq!((&deep.findings[..], deep.commits, deep.oldest, seen.0), (&[][..], 492, 1, deep.bytes));
    // An older version, and an empty database.
    for version in [0, 1, 40, 41, 300, 441, 442, 491] {
        let old = a.version_at(At::Version(Version(version))).unwrap();
        assert_eq!(a.verify(&old, PLAIN, &mut |_, _| Ok(())).unwrap().findings, [], "version {version}");
    }
    assert_eq!(verify(&Folder::new().machine(), DEEP).findings, []);
    assert!(!files(&folder, ".").iter().any(|file| file.to_str().unwrap().contains("pin.")), "its pin is given up");
}

#[test]
fn parts_together_do_what_the_whole_does() {
    let folder = scene(30);
    let a = folder.machine();
    a.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    (0..30_u8).for_each(|n| drop(commit(&a, &[(2, n), (u32::from(n) % 15 + 2, n)]).unwrap()));
    for what in [PLAIN, DEEP] {
        let whole = verify(&a, what);
        for of in [1, 3, 7, 100] {
            let parts = (1..=of).map(|n| verify(&a, Verifying { part: Part::new(n, of).unwrap(), ..what }));
            let (mut commits, mut pages) = (0, 0);
            for part in parts {
                assert_eq!(part.findings, []);
                (commits, pages) = (commits + part.commits, pages + part.pages);
            }
            assert_eq!((commits, pages), (whole.commits, whole.pages), "{what:?} in {of} parts");
        }
    }
    for (text, part) in [("1/1", Part::new(1, 1)), ("3/7", Part::new(3, 7)), ("0/7", None), ("8/7", None), ("3", None)]
    {
        assert_eq!(text.parse::<Part>().ok(), part);
    }
    // Damage is found by one part.
    let bases = files(&folder, "bases");
    with_flipped_bit(bases.iter().rfind(|path| path.ends_with_str(".sqlite3")).unwrap(), 4096 * 17 + 5, || {
        let found: Vec<usize> =
            (1..=4).map(|n| verify(&a, Verifying { part: Part::new(n, 4).unwrap(), ..PLAIN }).findings.len()).collect();
        assert_eq!(found, [0, 0, 0, 1]);
    });
}

trait EndsWithStr {
    fn ends_with_str(&self, end: &str) -> bool;
}

impl EndsWithStr for PathBuf {
    fn ends_with_str(&self, end: &str) -> bool {
        self.to_str().unwrap().ends_with(end)
    }
}

/// Flips a bit, looks, and flips it back.
fn with_flipped_bit(path: &Path, at: u64, look: impl FnOnce()) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    let mut flip = || {
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 0x10;
        file.write_all_at(&byte, at).unwrap();
    };
    flip();
    look();
    flip();
}

/// The bytes of a segment that mean something to a reader: all but marks and padding.
fn meaningful(bytes: &[u8]) -> Vec<u64> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Ok(parsed) = frame::parse(&bytes[at..]) {
        if parsed.kind != Kind::Mark {
            found.extend(at as u64..(at + frame::HEADER + parsed.payload.len()) as u64);
        }
        at += parsed.length;
    }
    found
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let _folds = common::only_folds();
    let folder = scene(12);
    let mut kinds = BTreeSet::new();
    let mut flips = 0;
    let mut look = |path: &Path, at: u64, most: usize| {
        with_flipped_bit(path, at, || {
            let verified = verify_folder(&folder, PLAIN);
            let named = path.file_name().unwrap().to_str().unwrap();
            let found = verified.findings.iter().filter(|finding| finding.damage != Damage::Opening);
            assert!(
                found.clone().any(|finding| finding.file.contains(named) || finding.why.contains(named)),
                "{named} at {at}: {:#?}",
                verified.findings
            );
            assert!(found.clone().count() <= most, "{named} at {at}: {:#?}", verified.findings);
            kinds.extend(verified.findings.iter().map(|finding| finding.damage));
            assert!(verified.findings.iter().all(|finding| !finding.remedy.is_empty() && !finding.why.is_empty()));
            flips += 1;
        });
    };
    for segment in files(&folder, "segments") {
        let bytes = fs::read(&segment).unwrap();
        meaningful(&bytes).into_iter().step_by(11).for_each(|at| look(&segment, at, 1));
    }
    for file in files(&folder, "bases") {
        let length = fs::metadata(&file).unwrap().len();
        (0..length).step_by(if length > 1000 { 397 } else { 1 }).for_each(|at| look(&file, at, 1));
    }
    assert!(flips > 600, "{flips}");
    assert_eq!(kinds, [Damage::Opening, Damage::Commit, Damage::Pages, Damage::Base].into());
    is_whole(&folder);
}

#[test]
fn a_damaged_index_frame_is_found_whether_the_database_can_be_opened_or_not() {
    let _folds = common::only_folds();
    let folder = scene(3);
    let a = folder.machine();
    commit(&a, &(2..=3000).map(|page| (page, 7)).collect::<Vec<_>>()).unwrap();
    commit(&a, &[(2, 8)]).unwrap();
    let mut index = None;
    for path in files(&folder, "segments") {
        let (bytes, mut at) = (fs::read(&path).unwrap(), 0);
        while let Ok(parsed) = frame::parse(&bytes[at..]) {
            if parsed.kind == Kind::Index {
                index = Some((path.clone(), at as u64));
            }
            at += parsed.length;
        }
    }
    let (path, at) = index.expect("there is one");
    with_flipped_bit(&path, at + 60, || {
        let verified = verify_folder(&folder, PLAIN);
        let kinds: Vec<Damage> = verified.findings.iter().map(|finding| finding.damage).collect();
        assert_eq!(kinds, [Damage::Opening, Damage::Index], "{verified:#?}");
        assert_eq!(only(&verify(&a, DEEP)).damage, Damage::Index);
    });
    is_whole(&folder);
}

#[test]
fn a_frame_that_is_damaged_is_gone_around_and_everything_below_it_is_looked_at() {
    let _folds = common::only_folds();
    let folder = scene(60);
    let a = folder.machine();
    let place_of = |version: u64| {
        let place = a.version_at(At::Version(Version(version))).unwrap().head().commit().place.unwrap();
        (folder.inside(&format!("segments/{}.seg", place.segment)), u64::from(place.at) * 16)
    };
    // Two commit frames, and the pages of one that comes before them.
    let (first, second, pages) = (place_of(37), place_of(60), place_of(21));
    with_flipped_bit(&first.0, first.1 + 90, || {
        with_flipped_bit(&second.0, second.1 + 40, || {
            with_flipped_bit(&pages.0, pages.1 - 20, || {
                let verified = verify_folder(&folder, PLAIN);
                let found: Vec<_> = verified.findings.iter().map(|found| (found.damage, found.versions)).collect();
                let expected = [
                    (Damage::Opening, None),
                    // Only what milestones and pins say leads on from the newest frame: there are none.
                    (Damage::Commit, Some((1, 60))),
                ];
                assert_eq!(found, expected, "{:#?}", verified.findings);
            });
        });
        with_flipped_bit(&pages.0, pages.1 - 20, || {
            let verified = verify_folder(&folder, PLAIN);
            let found: Vec<_> = (verified.findings.iter()).map(|found| (found.damage, found.versions)).collect();
            // From 38 the next that is known is 36; both are whole.
            // Version 30 was the next one to write page 5.
            assert_eq!(found, [(Damage::Commit, Some((37, 37))), (Damage::Pages, Some((21, 29)))]);
            assert_eq!((verified.commits, verified.oldest), (59, 1));
            let [commit, pages] = &verified.findings[..] else { unreachable!() };
            assert!(commit.at.is_some() && commit.file.starts_with("NAME-seawall/segments/"));
            assert_eq!(pages.pages, [(5, 5), (12, 12)]);
        });
    });
    // A milestone leads on, too.
    a.collect(Collecting::default()).unwrap();
    commit(&a, &[(3, 1)]).unwrap();
    let newest = newest(&a).head().commit().place.unwrap();
    let segment = folder.inside(&format!("segments/{}.seg", newest.segment));
    with_flipped_bit(&segment, u64::from(newest.at) * 16 + 40, || {
        let verified = verify_folder(&folder, PLAIN);
        let found: Vec<_> = (verified.findings.iter()).map(|found| (found.damage, found.versions)).collect();
        assert_eq!(found, [(Damage::Opening, None), (Damage::Commit, Some((61, 61)))]);
        assert_eq!((verified.commits, verified.oldest), (60, 1));
    });
    is_whole(&folder);
}

#[test]
fn what_is_missing_too_short_or_too_long_is_found() {
    let folder = scene(12);
    let [base, sums] = &files(&folder, "bases")[..] else { panic!() };
    let content = fs::read(base).unwrap();
    fs::write(base, &content[..4096 * 15]).unwrap();
    let found = verify_folder(&folder, PLAIN);
    assert_eq!(
        (only(&found).damage, &only(&found).pages[..], &only(&found).why[..]),
        (Damage::Base, &[(16, 20)][..], "it ends too early")
    );
    fs::write(base, [&content[..], b"more"].concat()).unwrap();
    assert!(only(&verify_folder(&folder, PLAIN)).why.contains("it has 81924 bytes, and its 20 pages take 81920"));
    fs::remove_file(base).unwrap();
    let found = verify_folder(&folder, PLAIN);
    assert_eq!((&only(&found).pages[..], &only(&found).why[..]), (&[(1, 20)][..], "it is missing"));
    fs::write(base, &content).unwrap();
    let sum = fs::read(sums).unwrap();
    fs::remove_file(sums).unwrap();
    assert_eq!(
        only(&verify_folder(&folder, PLAIN)).file,
        format!("NAME-seawall/bases/{}", sums.file_name().unwrap().to_str().unwrap())
    );
    fs::write(sums, &sum).unwrap();
    is_whole(&folder);
    // A whole segment: a process that has it open reads it to the end, another one cannot open the database.
    let segment = files(&folder, "segments").into_iter().next().unwrap();
    let moved = folder.inside("moved");
    fs::rename(&segment, &moved).unwrap();
    let verified = verify_folder(&folder, PLAIN);
    let name = format!("NAME-seawall/segments/{}", segment.file_name().unwrap().to_str().unwrap());
    let found = verified.findings.iter().find(|finding| finding.file == name).unwrap();
    assert_eq!((found.damage, &found.why[..]), (Damage::Commit, "it is missing"));
    fs::rename(&moved, &segment).unwrap();
    is_whole(&folder);
}

#[test]
fn small_files_are_looked_at() {
    let folder = scene(3);
    let a = folder.machine();
    a.set_policy(&Policy::default()).unwrap();
    a.collect(Collecting::default()).unwrap();
    a.pin("kept".parse().unwrap(), Duration::from_secs(60)).unwrap();
    let original = fs::read(folder.name()).unwrap();
    fs::write(folder.name(), b"").unwrap();
    let found = verify(&a, PLAIN);
    assert!(only(&found).file == "NAME" && only(&found).why.contains("seawall snapshot NAME --refresh"), "{found:?}");
    fs::write(folder.name(), original).unwrap();
    for (name, says) in [("policy", "seawall policy"), ("pin.kept", "Remove it"), ("milestone.0-3", "Remove it")] {
        let content = fs::read(folder.inside(name)).unwrap();
        with_flipped_bit(&folder.inside(name), 20, || {
            let found = verify(&a, PLAIN);
            assert_eq!(
                (only(&found).damage, &only(&found).file[..]),
                (Damage::File, &format!("NAME-seawall/{name}")[..])
            );
            assert!(only(&found).why.contains(says), "{found:?}");
        });
        assert_eq!(fs::read(folder.inside(name)).unwrap(), content);
    }
    is_whole(&folder);
}

#[test]
fn a_disk_that_cannot_read_is_a_finding_and_an_error_of_progress_ends_it() {
    let folder = scene(12);
    let storage = Arc::new(Faulty::new(&folder.name()));
    let a = Database::on(storage.clone(), &folder.name(), Access::ReadOnly, &common::options(), &PlainFile).unwrap();
    let snapshot = newest(&a);
    storage.fail(Call::Read, Fault::Before(EIO), u32::MAX);
    let found = a.verify(&snapshot, DEEP, &mut |_, _| Ok(())).unwrap();
    storage.heal();
    let kinds: BTreeSet<Damage> = found.findings.iter().map(|finding| finding.damage).collect();
    assert_eq!(kinds, [Damage::File, Damage::Commit, Damage::Base].into(), "{:#?}", found.findings);
    assert!(found.findings.iter().any(|finding| finding.why.contains("os error 5")));
    assert_eq!(verify(&a, DEEP).findings, []);
    let stop = || Err(seawall::Error::CannotOpen("stop".into()));
    assert_eq!(a.verify(&snapshot, PLAIN, &mut |_, _| stop()).unwrap_err().kind(), ErrorKind::CannotOpen);
}

/// Writes every commit frame of a folder again, with right digests, after `alter` has had it; none may become longer or shorter. Frames
/// are visited in the order of their versions.
fn forge(folder: &Folder, mut alter: impl FnMut(&mut CommitFrame)) {
    let segments = Segments::default();
    let mut found = Vec::new();
    for path in files(folder, "segments") {
        let (bytes, mut at) = (fs::read(&path).unwrap(), 0);
        while let Ok(parsed) = frame::parse(&bytes[at..]) {
            if parsed.kind == Kind::Commit {
                found.push((CommitFrame::decode(parsed.payload, &segments).unwrap(), parsed.digest, path.clone(), at));
            }
            at += parsed.length;
        }
    }
    found.sort_by_key(|(frame, ..)| frame.version);
    let mut renamed: HashMap<Digest, Digest> = HashMap::new();
    for (mut frame, old, path, at) in found {
        let now = |digest: &mut Digest| *digest = *renamed.get(digest).unwrap_or(digest);
        now(&mut frame.fold.digest);
        now(&mut frame.settled.1);
        frame.jumps.iter_mut().for_each(|jump| now(&mut jump.digest));
        let length = frame.encode(&segments).len();
        alter(&mut frame);
        let mut bytes = Vec::new();
        let digest = frame::put(&mut bytes, Kind::Commit, &frame.encode(&segments));
        assert_eq!(length, frame.encode(&segments).len());
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&bytes, at as u64).unwrap();
        renamed.insert(old, digest);
    }
    for path in files(folder, "commits") {
        let mut head: Head = fs::read_link(&path).unwrap().to_str().unwrap().parse().unwrap();
        head.fold.digest = *renamed.get(&head.fold.digest).unwrap_or(&head.fold.digest);
        fs::remove_file(&path).unwrap();
        symlink(head.to_string(), &path).unwrap();
    }
}

/// A commit of version 12 that was refused, and its sibling that was not, with 28 more on it.
fn siblings() -> (Folder, Jump) {
    let folder = scene(11);
    let (a, b) = (folder.machine(), folder.machine());
    a.stop_background();
    let mut late = a.begin(PATIENCE).unwrap();
    late.write_page(page_size(), PageNo(2), &[0xee; 4096]).unwrap();
    commit(&b, &[(2, 12)]).unwrap();
    assert!(late.commit(20).is_err());
    let right = newest(&b).head().commit();
    (13..=40).for_each(|n| drop(commit(&b, &[(2 + n % 9, n as u8)]).unwrap()));
    let segments = Segments::default();
    let mut sibling = None;
    for path in files(&folder, "segments") {
        let (bytes, mut at) = (fs::read(&path).unwrap(), 0_usize);
        while let Ok(parsed) = frame::parse(&bytes[at..]) {
            if parsed.kind == Kind::Commit && parsed.digest != right.digest {
                let frame = CommitFrame::decode(parsed.payload, &segments).unwrap();
                if frame.version == Version(12) {
                    let name = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                    let place = seawall::format::place::Place {
                        segment: name,
                        at: (at / 16) as u32,
                        length: parsed.length as u32,
                        lead: right.place.unwrap().lead,
                    };
                    sibling = Some(Jump {
                        ordinal: frame.ordinal,
                        version: Version(12),
                        digest: parsed.digest,
                        place,
                        time: frame.time,
                    });
                }
            }
            at += parsed.length;
        }
    }
    (folder, sibling.expect("the refused commit's frame is there"))
}

#[test]
fn a_jump_to_a_sibling_is_found() {
    let _folds = common::only_folds();
    let (folder, sibling) = siblings();
    is_whole(&folder);
    // Version 14 jumps to 12. It is the only one that names the sibling: its successors name the right one.
    forge(&folder, |frame| {
        if frame.version == Version(14) {
            let jump = frame.jumps.iter_mut().find(|jump| jump.version == Version(12)).unwrap();
            *jump = Jump { time: jump.time, place: jump.place, ..sibling };
        }
    });
    let found = verify_folder(&folder, PLAIN);
    let finding = only(&found);
    assert_eq!((finding.damage, finding.versions), (Damage::Chain, Some((14, 14))), "{finding:?}");
    assert!(finding.why.contains("jump to a commit of version 12 that is not in their history"), "{finding:?}");
    // The reader has read 16, which names the right one as well, before it comes to 14, which says otherwise.
    let a = folder.machine();
    let at = |version| a.version_at(At::Version(Version(version)));
    assert_eq!(common::byte(&a, &at(12).unwrap(), 2), 12);
    for version in [13, 14] {
        let error = at(version).map(drop).unwrap_err();
        assert!(
            error.to_string().contains("it names another commit of some version than a later commit does"),
            "{error}"
        );
    }
}

#[test]
fn what_commits_say_of_one_another_must_fit() {
    let _folds = common::only_folds();
    type Alter = fn(&mut CommitFrame);
    let cases: [(&str, Alter); 7] = [
        ("its time is not the one that later commits say", |frame| {
            if frame.version == Version(19) {
                frame.time += 1;
            }
        }),
        ("the next commit counts the log's bytes in another way", |frame| {
            if frame.version == Version(20) {
                frame.log += 16;
            }
        }),
        ("what it knew to be committed is not its predecessor", |frame| {
            if frame.version == Version(20) {
                frame.settled.1 = Digest([7; 32]);
            }
        }),
        ("its sweep is newer than the next commit's", |frame| {
            if frame.version == Version(20) {
                frame.sweep = 1;
            }
        }),
        ("the next commit was made in another folder", |frame| {
            if frame.version == Version(20) {
                frame.home += 1;
            }
        }),
        ("the page map of the next commit does not follow from its own", |frame| {
            if frame.version == Version(20) {
                let (page, entry) = frame.recent[3];
                frame.recent[3] = (page, frame.recent[4].1);
                frame.recent[4].1 = entry;
            }
        }),
        ("a page is not the one that its commit frame has the checksum of", |frame| {
            if frame.version == Version(20) {
                frame.pages[0].pages[0].as_mut().unwrap().checksum = [7; 8];
            }
        }),
    ];
    for (says, alter) in cases {
        let folder = scene(30);
        forge(&folder, |_| {});
        is_whole(&folder);
        forge(&folder, alter);
        let found = verify_folder(&folder, PLAIN).findings;
        assert!(found.iter().any(|finding| finding.why.contains(says)), "{says}: {found:#?}");
    }
}

#[test]
fn a_page_map_that_lost_a_commit_is_found() {
    let _folds = common::only_folds();
    // The newest commit's own page map says that page 12 is where version 28 wrote it.
    let folder = scene(30);
    let entry_of = |version: u64| {
        let a = folder.machine();
        let old = a.version_at(At::Version(Version(version))).unwrap();
        let seawall::PageSource::Segment(entry) = old.source_of(PageNo(4)).unwrap() else { panic!() };
        entry.version().0
    };
    assert_eq!((entry_of(29), entry_of(19)), (29, 11), "page 4 was written by 20 and 29 only, then");
    forge(&folder, |frame| {
        if frame.version == Version(30) {
            let at = frame.recent.iter().position(|(page, _)| *page == PageNo(4)).unwrap();
            let other = frame.recent.iter().position(|(page, _)| *page == PageNo(5)).unwrap();
            frame.recent[at].1 = frame.recent[other].1;
        }
    });
    let found = verify_folder(&folder, PLAIN).findings;
    let maps: Vec<&str> =
        (found.iter()).filter(|finding| finding.damage == Damage::Map).map(|finding| &finding.why[..]).collect();
    assert_eq!(maps.len(), 2, "{found:#?}");
    assert!(maps[0].contains("version 29 wrote the page again"), "{maps:?}");
    assert!(maps[1].contains("that commit has no such page"), "{maps:?}");
}

#[test]
fn deep_finds_what_only_older_versions_need() {
    let _folds = common::only_folds();
    let folder = scene(30);
    let a = folder.machine();
    let old_base = files(&folder, "bases").into_iter().find(|path| path.ends_with_str(".sqlite3")).unwrap();
    let place = newest(&a).head().commit().place.unwrap();
    a.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    commit(&a, &[(2, 1)]).unwrap();
    is_whole(&folder);
    with_flipped_bit(&old_base, 4096 * 3 + 7, || {
        assert_eq!(verify_folder(&folder, PLAIN).findings, []);
        let found = verify_folder(&folder, DEEP);
        assert_eq!((only(&found).damage, only(&found).versions), (Damage::Base, Some((0, 30))));
    });
    with_flipped_bit(&folder.inside(&format!("segments/{}.seg", place.segment)), u64::from(place.at) * 16 - 40, || {
        assert_eq!(verify_folder(&folder, PLAIN).findings, []);
        assert_eq!(only(&verify_folder(&folder, DEEP)).damage, Damage::Pages);
    });
    // What is older than history and its pins is gone, and nobody misses it.
    let policy = Policy { history: Duration::ZERO, ..Policy::default() };
    fs::write(folder.inside("policy"), policy.to_string()).unwrap();
    let b = folder.machine();
    b.pin("kept".parse().unwrap(), Duration::from_secs(600)).unwrap();
    for n in 0..4 {
        commit(&b, &[(3, n)]).unwrap();
        b.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
        b.collect(Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO }).unwrap();
    }
    let deep = verify(&b, DEEP);
    assert_eq!(deep.findings, []);
    assert_eq!(deep.oldest, 31, "the base of the pinned version is of version 30");
    b.unpin("kept".parse().unwrap()).unwrap();
    commit(&folder.machine(), &[(3, 9)]).unwrap();
    b.collect(Collecting { dry_run: false, max_duration: None, shortest_history: Duration::ZERO }).unwrap();
    assert_eq!(verify(&b, DEEP).findings, []);
}

#[test]
fn what_a_recovery_has_made_is_whole_and_what_it_gave_up_is_named() {
    let _folds = common::only_folds();
    let folder = scene(12);
    let a = folder.machine();
    a.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    (0..5).for_each(|n| drop(commit(&a, &[(2 + n, 1)]).unwrap()));
    assert_eq!(a.status().unwrap().base_version, Some(12));
    for path in files(&folder, "bases").iter().filter(|path| path.to_str().unwrap().contains("/0-12-")) {
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir_all(folder.inside("commits")).unwrap();
    let storage = seawall::ports::storage::os::OsStorage::new(&folder.name()).unwrap();
    let recovered = seawall::recover_on(Arc::new(storage), &seawall::Recovery::default()).unwrap();
    assert!(recovered.rebuilt, "{recovered:?}");
    assert_eq!(verify_folder(&folder, PLAIN).findings, []);
    let b = folder.machine();
    commit(&b, &[(3, 3)]).unwrap();
    assert_eq!(verify(&b, PLAIN).findings, []);
    // The versions from before the recovery stand on the base that is gone.
    let found = verify(&b, DEEP);
    assert!(!found.findings.is_empty(), "the base is gone");
    for finding in &found.findings {
        assert!(
            finding.damage == Damage::Base && finding.file.contains("/0-12-") && finding.why == "it is missing",
            "{finding:?}"
        );
        assert_eq!(finding.versions, Some((12, 18)));
    }
    let old = b.version_at(At::Version(Version(7))).unwrap();
    assert_eq!(common::byte(&b, &old, 9), 7);
}

#[test]
fn a_verification_goes_on_where_its_pin_cannot_be_written() {
    let folder = scene(9);
    for error in [ENOSPC, EACCES, EIO] {
        let clock = Arc::new(Clock::running());
        let storage = Arc::new(Faulty::with_clock(&folder.name(), clock.clone()));
        let database =
            Database::on(storage.clone(), &folder.name(), Access::ReadWrite, &common::options(), &PlainFile).unwrap();
        storage.fail(Call::Replace, Fault::Before(error), 1);
        let verified = verify(&database, PLAIN);
        assert_eq!(verified.findings, []);
        assert!(verified.not_pinned.is_some_and(|why| why.contains("NAME-seawall/pin.verification-")));
        assert_eq!(verify(&database, PLAIN).not_pinned, None);
        // When it is time to renew it, the disk is full. The clock jumps while the base is read.
        let mut jumped = false;
        let newest = newest_of(&database);
        let verified = database.verify(&newest, DEEP, &mut |_, _| {
            if !std::mem::replace(&mut jumped, true) {
                storage.fail(Call::Replace, Fault::Before(error), u32::MAX);
                clock.pass(Duration::from_secs(120));
            }
            Ok(())
        });
        let verified = verified.unwrap();
        assert_eq!(verified.findings, []);
        assert!(verified.not_pinned.is_some(), "the pin was not renewed");
    }
}

#[test]
fn a_name_that_was_cut_short_is_found() {
    let folder = scene(9);
    is_whole(&folder);
    let name = fs::OpenOptions::new().write(true).open(folder.name()).unwrap();
    let length = name.metadata().unwrap().len();
    name.set_len(length - 1).unwrap();
    let verified = verify_folder(&folder, PLAIN);
    let finding = only(&verified);
    assert_eq!((finding.damage, &*finding.file), (Damage::File, "NAME"));
    assert!(finding.why.contains("seawall snapshot NAME --refresh"), "{}", finding.why);
    name.set_len(length + 7).unwrap();
    is_whole(&folder);
}
