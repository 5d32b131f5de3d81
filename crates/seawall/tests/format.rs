//! The worked example of docs/format.md, read back from that page: the format is what the page says.

mod common;
#[path = "format/generate.rs"]
mod generate;
#[path = "format/tables.rs"]
mod tables;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::{Folder, PlainFile};
use seawall::format::commit_frame::CommitFrame;
use seawall::format::delta;
use seawall::format::entry::{PageEntry, Segments};
use seawall::format::frame::{self, Frame, Kind};
use seawall::format::group::{self, Encoder};
use seawall::format::head::{CommitRef, Head, Upkeep};
use seawall::format::high::{High, Named};
use seawall::format::identity::Identity;
use seawall::format::ids::Epoch;
use seawall::format::index::IndexFrame;
use seawall::format::mark::Mark;
use seawall::format::new_pages::{NewGroup, NewPage, page_checksum};
use seawall::format::window::{Window, digest_of};
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options, PageNo, PageSize, Version};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

const PAGE: &str = include_str!("../../../docs/format.md");
const UNIT: usize = 16;

/// The content of the block ```` ```name ```` of `page`.
fn block_of<'a>(page: &'a str, name: &str) -> &'a str {
    let begin = format!("\n```{name}\n");
    let from = page.find(&begin).unwrap_or_else(|| panic!("docs/format.md has no block {name}")) + begin.len();
    &page[from..from + page[from..].find("```").unwrap()]
}

/// The bytes of a hex dump as xxd prints it.
fn dump_of(page: &str, name: &str) -> Vec<u8> {
    let digits = |line: &str| line.split_once(": ").unwrap().1.split("  ").next().unwrap().replace(' ', "");
    block_of(page, name).lines().flat_map(|line| hex::decode(digits(line)).unwrap()).collect()
}

fn heads_in(page: &str) -> Vec<Head> {
    block_of(page, "heads").lines().map(|line| line.parse().unwrap()).collect()
}

fn block(name: &str) -> &'static str {
    block_of(PAGE, name)
}

fn dump(name: &str) -> Vec<u8> {
    dump_of(PAGE, name)
}

fn heads() -> [Head; 4] {
    heads_in(PAGE).try_into().unwrap()
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

fn page_size() -> PageSize {
    PageSize::new(512).unwrap()
}

/// The pages of version 2: page 1 of version 1, and page 2 as the entry makes it.
fn pages_of_version_2() -> [Vec<u8>; 2] {
    let bytes = dump("segment");
    let before = group::decode(frames(&bytes)[0].payload).unwrap();
    let (one, two) = before.images.split_at(512);
    let [_, _, head, _] = heads();
    let (entry, _) = head.window.newest().unwrap();
    [one.to_vec(), delta::apply(two, &entry.delta, 512).unwrap()]
}

/// The base of version 2: page 1 has the header of a copy.
fn base() -> Vec<u8> {
    let [mut one, two] = pages_of_version_2();
    one[18] = 3;
    for counter in [24..28, 92..96] {
        one[counter].copy_from_slice(&(1 << 31 | 2_u32).to_be_bytes());
    }
    [one, two].concat()
}

/// Makes the example again: see CONTRIBUTING.md.
#[test]
#[ignore = "it writes docs/format.md"]
fn write_the_example() {
    generate::write();
}

#[test]
fn the_tables_are_the_dumps_without_a_gap() {
    for (heading, table) in generate::tables(PAGE) {
        let place = generate::place_of_table(PAGE, heading);
        assert_eq!(PAGE[place], table, "{heading}");
    }
    // All bytes behind version 1, and all of the entry, in order.
    let (segment, entry) = (dump("segment"), dump("entry"));
    let rows = PAGE.lines().filter(|line| line.starts_with("| 0x"));
    let (mut next, mut bytes) = (0, &entry);
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let at = usize::from_str_radix(cells[1].trim_start_matches("0x"), 16).unwrap();
        let field = hex::decode(cells[2].trim_matches('`')).unwrap();
        if next == entry.len() && at != next {
            let place = heads()[1].fold.place.unwrap();
            (next, bytes) = (place.at as usize * UNIT + place.length as usize, &segment);
        }
        assert_eq!(at, next, "{row}");
        assert_eq!(bytes[at..at + field.len()], field, "{row}");
        next = at + field.len();
    }
    assert_eq!(next, segment.len(), "the tables end where the segment ends");
}

#[test]
fn the_identity_is_what_the_page_says() {
    let identity: Identity = block("id").parse().unwrap();
    assert_eq!(identity.to_string(), block("id"));
    assert_eq!(identity, Identity::new(heads()[0].database, "fs:".into(), identity.longest_record as usize));
}

#[test]
fn the_heads_are_what_the_page_says() {
    let [zero, one, two, three] = heads();
    assert_eq!(zero, Head::first(zero.database, zero.fold.id, None, zero.home));
    // Each is its predecessor but for what a commit changes.
    assert_eq!(one, zero.followed_by(one.fold, 0, 0));
    let (entry, digest) = two.window.newest().unwrap();
    assert_eq!(two, one.with_entry(entry.clone(), 1, 0));
    assert_eq!(two.commit(), CommitRef { id: entry.commit, digest, place: None });
    assert_eq!(digest, digest_of(&one.fold.digest, &dump("entry")));
    let base = three.base.unwrap();
    assert_eq!(three, two.followed_by(three.fold, 2, 0).with(&Upkeep::Base(base)));
    assert_eq!((base.name.version, base.page_size, base.page_count), (Version(2), page_size(), 2));
    assert_eq!((three.epoch, three.version, three.generation, three.sweep), (Epoch(0), Version(3), 3, 0));
    for (head, line) in heads().iter().zip(block("heads").lines()) {
        assert_eq!(head.to_string(), line);
    }
    let line = block("heads").lines().nth(2).unwrap();
    let window = line.split_once(" window=").unwrap().1.split(' ').next().unwrap();
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(window).unwrap(), dump("entry"));
}

#[test]
fn the_entry_says_what_the_page_says() {
    let [_, one, two, _] = heads();
    let bytes = dump("entry");
    let window = Window::decode(&bytes, &one.fold.digest).unwrap();
    assert_eq!(window, two.window);
    let (entry, _) = window.newest().unwrap();
    assert_eq!(entry.encode(), bytes);
    let [_, page] = pages_of_version_2();
    let pages: Vec<_> = entry.pages.iter().map(|page| (page.page, page.checksum, page.has_old)).collect();
    assert_eq!(pages, [(PageNo(2), page_checksum(&page), true)]);
    assert!(page.ends_with(b"hello"));
}

#[test]
fn the_frames_come_back_and_encode_to_the_same_bytes() {
    let bytes = dump("segment");
    let frames = frames(&bytes);
    let kinds: Vec<Kind> = frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Pages, Kind::Commit, Kind::Confirmed, Kind::Pages, Kind::Commit, Kind::Confirmed],
        "as the page says"
    );
    let mut again = Vec::new();
    for frame in &frames {
        let digest = frame::put(&mut again, frame.kind, frame.payload);
        assert_eq!(digest, frame.digest);
    }
    assert_eq!(again, bytes);
    for (frame, version) in [(2, 2), (5, 3)] {
        assert_eq!(Head::of_frame(frames[frame].payload), Ok(heads()[version].clone()));
    }
}

#[test]
fn the_commit_of_version_3_says_what_the_page_says() {
    let bytes = dump("segment");
    let frames = frames(&bytes);
    let [zero, one, two, three] = heads();
    let segments = Segments::default();
    let first = CommitFrame::decode(frames[1].payload, &segments).unwrap();
    let commit = CommitFrame::decode(frames[4].payload, &segments).unwrap();
    assert_eq!((frames[1].digest, frames[4].digest), (one.fold.digest, three.fold.digest));
    assert_eq!((first.previous(), commit.previous()), (zero.commit(), two.commit()));
    for (head, frame) in [(&one, 1), (&three, 4)] {
        let place = head.fold.place.unwrap();
        let begin = place.at as usize * UNIT;
        assert_eq!(bytes[begin..begin + place.length as usize], bytes[begin..][..frames[frame].length]);
        assert_eq!(place.lead as usize, frames[frame - 1].length, "the frame before it");
    }

    let [place, old] = [&three, &one].map(|head| head.fold.place.unwrap());
    let number = segments.number(place.segment);
    let carried = &commit.pages[0];
    let [_, page] = pages_of_version_2();
    assert_eq!(
        carried.new_pages().map(|(_, new)| *new).collect::<Vec<_>>(),
        [NewPage { page: PageNo(2), checksum: page_checksum(&page), is_carried: true }]
    );
    let before = |slot| PageEntry::new(Version(1), number, 0, (old.lead as usize / UNIT) as u16, slot);
    let expected = CommitFrame {
        database: three.database,
        epoch: Epoch(0),
        version: Version(3),
        commit: three.fold.id,
        page_size: page_size(),
        page_count: 2,
        ordinal: 2,
        fold: one.fold,
        folded: Version(1),
        fold_time: first.time,
        window: two.window.clone(),
        jumps: vec![],
        settled: (Version(2), two.commit().digest),
        group: (Version(3), Version(3)),
        time: commit.time,
        base: three.base,
        home: three.home,
        sweep: 0,
        log: u64::from(old.lead + old.length),
        pages: vec![NewGroup {
            at: place.at - place.lead / UNIT as u32,
            units: (place.lead as usize / UNIT) as u16,
            pages: carried.pages.clone(),
        }],
        runs_begin: Version(0),
        runs: vec![],
        recent: vec![(PageNo(1), before(0)), (PageNo(2), before(1))],
    };
    assert_eq!(commit, expected);
    assert_eq!(commit.encode(&segments), frames[4].payload);
    assert_eq!(first.encode(&segments), frames[1].payload);
    let own = PageEntry::new(Version(3), number, carried.at, carried.units, 0);
    assert_eq!(commit.own_entries(place.segment, &segments), [(PageNo(2), own)]);
}

#[test]
fn the_pages_are_those_of_a_sqlite_database() {
    let bytes = dump("segment");
    let [_, one, _, three] = heads();
    let frames = frames(&bytes);
    for (frame, head, pages) in [(0, one, &[PageNo(1), PageNo(2)][..]), (3, three, &[PageNo(2)])] {
        let payload = frames[frame].payload;
        let group = group::decode(payload).unwrap();
        assert_eq!(
            (group.owner.database, group.owner.version, group.owner.commit),
            (head.database, head.version, head.fold.id)
        );
        assert_eq!((group.page_size, &group.pages[..]), (page_size(), pages));
        // What another zstd makes of the images may differ: all before them may not.
        let again = Encoder::default().encode(&group.owner, group.page_size, &group.pages, &group.images);
        let images = 16 + 8 + 16 + 4 + 1 + pages.len() + 1;
        assert_eq!(again[..images], payload[..images]);
        assert_eq!(group::decode(&again).unwrap().images, group.images);
    }
    assert!(base().starts_with(b"SQLite format 3\0"));
    assert_eq!(group::decode(frames[3].payload).unwrap().images, pages_of_version_2()[1]);
}

#[test]
fn the_base_has_the_sums_that_the_page_says() {
    let sums: Vec<u8> = base().chunks_exact(512).flat_map(page_checksum).collect();
    assert_eq!(sums, dump("sums"));
}

#[test]
fn the_mark_is_that_of_version_3() {
    let bytes = dump("mark");
    let frame = frame::parse(&bytes).unwrap();
    assert_eq!((frame.kind, frame.length), (Kind::Mark, bytes.len()));
    let [.., three] = heads();
    let CommitRef { id: commit, digest, .. } = three.commit();
    let expected = Mark { database: three.database, epoch: Epoch(0), version: Version(3), commit, digest };
    assert_eq!(Mark::decode(frame.payload), Ok(expected));
    assert_eq!(expected.encode(), frame.payload);
}

#[test]
fn the_index_frame_holds_what_version_3_carries() {
    let bytes = dump("index");
    let frame = frame::parse(&bytes).unwrap();
    assert_eq!((frame.kind, frame.length), (Kind::Index, bytes.len()));
    let segments = Segments::default();
    let [.., three] = heads();
    let place = three.fold.place.unwrap();
    let units = place.lead / UNIT as u32;
    let entry = PageEntry::new(Version(3), segments.number(place.segment), place.at - units, units as u16, 0);
    let entries = vec![(PageNo(2), entry)];
    let expected = IndexFrame { database: three.database, after: Version(0), up_to: Version(3), entries };
    assert_eq!(IndexFrame::decode(frame.payload, &segments), Ok(expected.clone()));
    let mut again = Vec::new();
    frame::put(&mut again, Kind::Index, &expected.encode(&segments));
    assert_eq!(again, bytes);
}

/// The example's files in a folder, where `id` has another inode: what a copy of the folder is. Its newest version is
/// `newest`.
fn lay_out(folder: &Folder, newest: usize) {
    for inside in ["", "bases", "segments", "commits"] {
        fs::create_dir(folder.inside(inside)).unwrap();
    }
    fs::write(folder.inside("id"), block("id")).unwrap();
    let [.., three] = heads();
    let segment = three.fold.place.unwrap().segment;
    fs::write(folder.inside(&format!("segments/{segment}.seg")), dump("segment")).unwrap();
    let name = three.base.unwrap().name;
    fs::write(folder.inside(&format!("bases/{name}.sqlite3")), base()).unwrap();
    fs::write(folder.inside(&format!("bases/{name}.sums")), dump("sums")).unwrap();
    fs::write(folder.name(), base()).unwrap();
    for head in &heads()[..=newest] {
        symlink(head.to_string(), folder.inside(&format!("commits/{}", head.version.0))).unwrap();
    }
}

/// The note says which file the newest name is, and here that is another one.
fn note(folder: &Folder) {
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
    lay_out(&folder, 3);
    note(&folder);
    // It is a copy, because its `id` has another inode number: it can be read, and not written.
    let database = open(&folder, Access::ReadOnly).unwrap();
    // `id` and `high` were understood: the hint made listing commits/ superfluous.
    assert_eq!(database.counts().coordinator, 1);
    let snapshot = database.newest_known();
    assert_eq!((snapshot.version(), snapshot.page_count()), (Version(3), 2));
    assert!(database.read_page(&snapshot, PageNo(1)).unwrap().starts_with(b"SQLite format 3\0"));
    assert!(database.read_page(&snapshot, PageNo(2)).unwrap().ends_with(b"hello"));
}

#[test]
fn version_2_of_the_example_is_read_from_its_head() {
    let folder = Folder::new();
    lay_out(&folder, 2);
    let database = open(&folder, Access::ReadOnly).unwrap();
    let snapshot = database.newest_known();
    assert_eq!((snapshot.version(), snapshot.page_count()), (Version(2), 2));
    assert!(database.read_page(&snapshot, PageNo(2)).unwrap().ends_with(b"hello"));
}

#[test]
fn a_copy_of_the_example_is_refused() {
    let folder = Folder::new();
    lay_out(&folder, 3);
    note(&folder);
    let refused = open(&folder, Access::ReadWrite).err().unwrap().to_string();
    assert!(refused.contains("this folder is a copy"), "{refused}");
}
