//! The worked example of docs/format.md, read back from that page: the format is what the page says.

mod common;

use common::{Folder, PlainFile};
use seawall::format::commit_frame::{CommitFrame, NewGroup, page_checksum};
use seawall::format::entry::{Entry, Segments};
use seawall::format::frame::{self, Frame, Kind};
use seawall::format::group::{self, Encoder};
use seawall::format::head::{CommitRef, Head, Place};
use seawall::format::high::{High, Named};
use seawall::format::ids::{DatabaseId, Epoch, SegmentName};
use seawall::format::index::IndexFrame;
use seawall::format::mark::{Fate, Mark};
use seawall::format::window::Window;
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options, PageNo, PageSize, Version};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

const PAGE: &str = include_str!("../../../docs/format.md");
const SEGMENT: &str = "075755192b55b9dd-0";

/// The content of the block ```` ```name ````.
fn block(name: &str) -> &'static str {
    let begin = format!("\n```{name}\n");
    let from = PAGE.find(&begin).unwrap_or_else(|| panic!("docs/format.md has no block {name}")) + begin.len();
    &PAGE[from..from + PAGE[from..].find("```").unwrap()]
}

/// The bytes of a hex dump as xxd prints it.
fn dump(name: &str) -> Vec<u8> {
    let digits = |line: &'static str| line.split_once(": ").unwrap().1.split("  ").next().unwrap().replace(' ', "");
    block(name).lines().flat_map(|line| hex::decode(digits(line)).unwrap()).collect()
}

/// The frames of the segment, one after the other.
fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let frame = frame::parse(bytes).unwrap();
        bytes = &bytes[frame.length..];
        frames.push(frame);
    }
    frames
}

fn heads() -> Vec<Head> {
    block("heads").lines().map(|line| line.parse().unwrap()).collect()
}

fn database() -> DatabaseId {
    "ab86767b9a416e9979f584dfe0f533a2".parse().unwrap()
}

fn segment() -> SegmentName {
    SEGMENT.parse().unwrap()
}

fn page_size() -> PageSize {
    PageSize::new(512).unwrap()
}

#[test]
fn the_tables_are_the_dump_without_a_gap() {
    let bytes = dump("segment");
    let rows = PAGE.lines().filter(|line| line.starts_with("| 0x"));
    let mut next = 0x1b0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let at = usize::from_str_radix(cells[1].trim_start_matches("0x"), 16).unwrap();
        let field = hex::decode(cells[2].trim_matches('`')).unwrap();
        assert_eq!(at, next, "{row}");
        assert_eq!(bytes[at..at + field.len()], field, "{row}");
        next = at + field.len();
    }
    assert_eq!(next, bytes.len(), "the tables end where the segment ends");
}

#[test]
fn the_heads_are_what_the_page_says() {
    let [zero, one, two] = <[Head; 3]>::try_from(heads()).unwrap();
    assert_eq!(zero, Head::first(database(), zero.commit().id, None, 43_453_485_518_839_975));
    let place = |at, length, lead| Some(Place { segment: segment(), at, length, lead });
    assert_eq!(one.commit().place, place(13, 224, 208));
    assert_eq!(two.commit().place, place(41, 272, 224));
    // Each is its predecessor but for what a commit changes.
    assert_eq!(one, zero.followed_by(one.commit(), 0, 0));
    assert_eq!(two, one.followed_by(two.commit(), 1, 0));
    assert_eq!((two.epoch, two.version, two.generation, two.sweep), (Epoch(0), Version(2), 2, 0));
    for (head, line) in heads().iter().zip(block("heads").lines()) {
        assert_eq!(head.to_string(), line);
    }
}

#[test]
fn the_frames_come_back_and_encode_to_the_same_bytes() {
    let bytes = dump("segment");
    let frames = frames(&bytes);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [Kind::Pages, Kind::Commit, Kind::Pages, Kind::Commit, Kind::Mark]);
    let mut again = Vec::new();
    for frame in &frames {
        let digest = frame::put(&mut again, frame.kind, frame.payload);
        assert_eq!(digest, frame.digest);
    }
    assert_eq!(again, bytes);
}

#[test]
fn the_commit_of_version_2_says_what_the_page_says() {
    let bytes = dump("segment");
    let frames = frames(&bytes);
    let [zero, one, two] = <[Head; 3]>::try_from(heads()).unwrap();
    let segments = Segments::default();
    let first = CommitFrame::decode(frames[1].payload, &segments).unwrap();
    let commit = CommitFrame::decode(frames[3].payload, &segments).unwrap();
    assert_eq!((frames[1].digest, frames[3].digest), (one.commit().digest, two.commit().digest));
    assert_eq!((first.previous(), commit.previous()), (zero.commit(), one.commit()));

    let group = group::decode(frames[2].payload).unwrap();
    let pages = &commit.pages[0].pages;
    let checksums: Vec<_> = group.images.chunks_exact(512).map(page_checksum).collect();
    assert_eq!(pages.iter().flatten().map(|new| new.checksum).collect::<Vec<_>>(), checksums);
    let number = segments.number(segment());
    let before = |slot| Entry::new(Version(1), number, 0, 13, slot);
    let expected = CommitFrame {
        database: database(),
        epoch: Epoch(0),
        version: Version(2),
        commit: two.commit().id,
        page_size: page_size(),
        page_count: 2,
        ordinal: 2,
        fold: one.commit(),
        folded: Version(1),
        fold_time: first.time,
        window: Window::default(),
        jumps: vec![],
        settled: (Version(1), one.commit().digest),
        group: (Version(2), Version(2)),
        time: 1_795_655_610_057,
        base: None,
        home: one.home,
        sweep: 0,
        log: 432,
        pages: vec![NewGroup { at: 27, units: 14, pages: pages.clone() }],
        carried: vec![],
        runs_begin: Version(0),
        runs: vec![],
        recent: vec![(PageNo(1), before(0)), (PageNo(2), before(1))],
    };
    assert_eq!(commit, expected);
    assert_eq!(commit.encode(&segments), frames[3].payload);
    assert_eq!(first.encode(&segments), frames[1].payload);
    let own = |slot| Entry::new(Version(2), number, 27, 14, slot);
    assert_eq!(commit.own_entries(segment(), &segments), [(PageNo(1), own(0)), (PageNo(2), own(1))]);
}

#[test]
fn the_pages_of_version_2_are_those_of_a_sqlite_database() {
    let bytes = dump("segment");
    let payload = frames(&bytes)[2].payload;
    let group = group::decode(payload).unwrap();
    let two = &heads()[2];
    assert_eq!(
        (group.owner.database, group.owner.version, group.owner.commit),
        (database(), Version(2), two.commit().id)
    );
    assert_eq!((group.page_size, &group.pages[..]), (page_size(), &[PageNo(1), PageNo(2)][..]));
    assert_eq!(&group.images[..16], b"SQLite format 3\0");
    assert!(group.images[512..].ends_with(b"hello"));
    // What another zstd makes of the images may differ: all before them may not.
    let again = Encoder::default().encode(&group.owner, group.page_size, &group.pages, &group.images);
    assert_eq!(again[..0x1f0 - 0x1c0], payload[..0x1f0 - 0x1c0]);
    assert_eq!(group::decode(&again).unwrap().images, group.images);
}

#[test]
fn the_mark_confirms_version_2() {
    let bytes = dump("segment");
    let payload = frames(&bytes)[4].payload;
    let CommitRef { id: commit, digest, .. } = heads()[2].commit();
    let expected =
        Mark { fate: Fate::Confirmed, database: database(), epoch: Epoch(0), version: Version(2), commit, digest };
    assert_eq!(Mark::decode(payload), Ok(expected));
    assert_eq!(expected.encode(), payload);
}

#[test]
fn the_index_frame_holds_both_commits() {
    let bytes = dump("index");
    let frame = frame::parse(&bytes).unwrap();
    assert_eq!((frame.kind, frame.length), (Kind::Index, bytes.len()));
    let segments = Segments::default();
    let entry = |slot| Entry::new(Version(2), segments.number(segment()), 27, 14, slot);
    let entries = vec![(PageNo(1), entry(0)), (PageNo(2), entry(1))];
    let expected = IndexFrame { database: database(), after: Version(0), up_to: Version(2), entries };
    assert_eq!(IndexFrame::decode(frame.payload, &segments), Ok(expected.clone()));
    let mut again = Vec::new();
    frame::put(&mut again, Kind::Index, &expected.encode(&segments));
    assert_eq!(again, bytes);
}

/// The example's files in a folder, where `id` has another inode: what a copy of the folder is.
fn lay_out(folder: &Folder) {
    for inside in ["", "bases", "segments", "commits"] {
        fs::create_dir(folder.inside(inside)).unwrap();
    }
    fs::write(folder.inside("id"), block("id")).unwrap();
    fs::write(folder.inside(&format!("segments/{SEGMENT}.seg")), dump("segment")).unwrap();
    let mut name = vec![0; 4096];
    name[..16].copy_from_slice(b"SQLite format 3\0");
    name[18] = 3;
    fs::write(folder.name(), name).unwrap();
}

fn name_heads(folder: &Folder) {
    for head in heads() {
        symlink(head.to_string(), folder.inside(&format!("commits/{}", head.version.0))).unwrap();
    }
    // The note says which file the newest name is, and here that is another one.
    let high: High = format!("{:<255}\n", block("high").trim_end()).parse().unwrap();
    let name = fs::symlink_metadata(folder.inside(&format!("commits/{}", high.version.0))).unwrap();
    let changed = name.ctime() as u64 * 1_000_000_000 + name.ctime_nsec() as u64;
    assert!(high.named.is_some());
    let high = High { named: Some(Named { inode: name.ino(), changed }), ..high };
    fs::write(folder.inside("high"), high.to_string()).unwrap();
}

fn open(folder: &Folder, access: Access) -> seawall::Result<Arc<Database>> {
    let storage = Arc::new(OsStorage::new(&folder.name()).unwrap());
    Database::on(storage, &folder.name(), access, &Options::default(), &PlainFile)
}

#[test]
fn the_example_opens_as_a_database() {
    let folder = Folder::new();
    lay_out(&folder);
    name_heads(&folder);
    // It is a copy, because its `id` has another inode number: it can be read, and not written.
    let database = open(&folder, Access::ReadOnly).unwrap();
    // `id` and `high` were understood: the hint made listing commits/ superfluous.
    assert_eq!(database.counts().coordinator, 1);
    let snapshot = database.newest_known();
    assert_eq!((snapshot.version(), snapshot.page_count()), (Version(2), 2));
    assert!(database.read_page(&snapshot, PageNo(2)).unwrap().ends_with(b"hello"));
}

#[test]
fn a_copy_of_the_example_is_refused() {
    let folder = Folder::new();
    lay_out(&folder);
    name_heads(&folder);
    let refused = open(&folder, Access::ReadWrite).err().unwrap().to_string();
    assert!(refused.contains("this folder is a copy"), "{refused}");
}
