//! Makes the worked example of docs/format.md, and writes its blocks and tables into that page.

use super::tables::Walk;
use super::{dump_of, heads_in, page_size};
use crate::common::{Folder, PATIENCE, PlainFile, frames};
use seawall::format::commit_frame::CommitFrame;
use seawall::format::entry::Segments;
use seawall::format::frame::{self, Kind};
use seawall::format::head::Head;
use seawall::format::index::IndexFrame;
use seawall::format::mark::Mark;
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options, PageNo, Version};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pages of a plain database after each of the page's two statements, as stock SQLite writes them.
const STATEMENTS: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('PRAGMA page_size=512')
for statement in ['CREATE TABLE greeting (text)', \"INSERT INTO greeting VALUES ('hello')\"]:
    connection.execute(statement)
    print(open(sys.argv[1], 'rb').read().hex())
";

/// The example's database.
fn made() -> (Folder, Arc<Database>) {
    let folder = Folder::new();
    let plain = folder.name().with_file_name("plain");
    let python = Command::new("python3").args(["-c", STATEMENTS]).arg(&plain).output().unwrap();
    let images = String::from_utf8(python.stdout).unwrap();
    let storage = Arc::new(OsStorage::new(&folder.name()).unwrap());
    let options = Options { upkeep: false, ..Options::default() };
    let database = Database::on(storage, &folder.name(), Access::Create, &options, &PlainFile).unwrap();
    let mut count = 0;
    for line in images.lines() {
        let images = hex::decode(line).unwrap();
        let mut transaction = database.begin(PATIENCE).unwrap();
        for (image, page) in images.chunks(512).zip(1..) {
            transaction.write_page(page_size(), PageNo(page), image).unwrap();
        }
        transaction.commit(images.len() as u32 / 512).unwrap();
        count += 1;
    }
    assert_eq!(count, 2, "python3 has made two versions");
    // The background notes that the head was acknowledged.
    has_frames(&folder, 3);
    database.checkpoint(&mut |_, _| Ok(())).unwrap().unwrap();
    has_frames(&folder, 6);
    (folder, database)
}

fn has_frames(folder: &Folder, count: usize) {
    let until = Instant::now() + PATIENCE;
    while frames(folder).len() < count {
        assert!(Instant::now() < until, "the background has written {} frames", frames(folder).len());
        std::thread::sleep(Duration::from_millis(20));
    }
    // `high` follows the frame.
    std::thread::sleep(Duration::from_millis(200));
}

fn xxd(bytes: &[u8]) -> String {
    let line = |(n, bytes): (usize, &[u8])| {
        let pairs: Vec<String> = bytes.chunks(2).map(hex::encode).collect();
        let text: String =
            bytes.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' }).collect();
        format!("{:08x}: {:<39}  {text}\n", n * 16, pairs.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

/// `page` with `content` in its block ```` ```name ````.
fn with_block(page: &str, name: &str, content: &str) -> String {
    let begin = format!("\n```{name}\n");
    let from = page.find(&begin).unwrap_or_else(|| panic!("the page has no block {name}")) + begin.len();
    let to = from + page[from..].find("```").unwrap();
    format!("{}{content}{}", &page[..from], &page[to..])
}

/// An index frame that would hold the pages of the newest commit.
fn index_of(newest: &Head, segment: &[u8]) -> Vec<u8> {
    let segments = Segments::default();
    let place = newest.fold.place.unwrap();
    let payload = frame::parse(&segment[place.at as usize * 16..]).unwrap().payload;
    let entries = CommitFrame::decode(payload, &segments).unwrap().own_entries(place.segment, &segments);
    let index = IndexFrame { database: newest.database, after: Version(0), up_to: newest.version, entries };
    let mut bytes = Vec::new();
    frame::put(&mut bytes, Kind::Index, &index.encode(&segments));
    bytes
}

/// The tables of `page`'s blocks, each with the heading that it is under.
pub(crate) fn tables(page: &str) -> Vec<(&'static str, String)> {
    let (segment, entry) = (dump_of(page, "segment"), dump_of(page, "entry"));
    let mut tables = Vec::new();
    let mut walk = Walk::new(&entry, 0);
    walk.entry("");
    let (table, end) = walk.end();
    assert_eq!(end, entry.len(), "the entry ends where its bytes do");
    tables.push(("The entry of version 2", table));
    // Behind version 1.
    let mut at = {
        let place = heads_in(page)[1].fold.place.unwrap();
        place.at as usize * 16 + place.length as usize
    };
    let mut table = |heading, take: &dyn Fn(&mut Walk<'_>)| {
        let mut walk = Walk::new(&segment, at);
        take(&mut walk);
        let (table, end) = walk.end();
        at = end;
        tables.push((heading, table));
    };
    table("The confirmed head of version 2", &|walk| walk.frame("confirmed", Walk::head));
    table("The page that version 3 carries", &|walk| walk.frame("pages", Walk::pages));
    table("The commit frame of version 3", &|walk| walk.frame("commit", Walk::commit));
    table("The confirmed head of version 3", &|walk| walk.frame("confirmed", Walk::head));
    assert_eq!(at, segment.len(), "the tables end where the segment does");
    tables
}

/// The mark that the newest commit would have if it had been refused.
fn mark_of(newest: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put(&mut bytes, Kind::Mark, &Mark::of(newest).encode());
    bytes
}

/// Where the table under `heading` is in `page`.
pub(crate) fn place_of_table(page: &str, heading: &str) -> std::ops::Range<usize> {
    let under = page.find(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("the page has no part {heading}"));
    let from = under + page[under..].find("\n| at |").expect("a table") + 1;
    from..from + page[from..].find("|\n\n").map_or(page.len() - from, |end| end + 2)
}

/// Writes the example into docs/format.md.
pub(crate) fn write() {
    let (folder, database) = made();
    let in_folder = |path: &str| fs::read(folder.inside(path)).unwrap();
    let text = |path: &str| String::from_utf8(in_folder(path)).unwrap();
    let heads: String = (0..=3)
        .map(|n| fs::read_link(folder.inside(&format!("commits/{n}"))).unwrap().to_str().unwrap().to_owned() + "\n")
        .collect();
    let segment = fs::read(folder.segment()).unwrap();
    let newest = database.newest_known().head().clone();
    let base = newest.base.unwrap().name;
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let mut page = fs::read_to_string(&file).unwrap();
    page = with_block(&page, "id", &text("id"));
    page = with_block(&page, "high", &format!("{}\n", text("high").trim_end()));
    page = with_block(&page, "heads", &heads);
    page = with_block(&page, "entry", &xxd(heads_in(&page)[2].window.bytes()));
    page = with_block(&page, "segment", &xxd(&segment));
    page = with_block(&page, "sums", &xxd(&in_folder(&format!("bases/{base}.sums"))));
    page = with_block(&page, "index", &xxd(&index_of(&newest, &segment)));
    page = with_block(&page, "mark", &xxd(&mark_of(&newest)));
    for (heading, table) in tables(&page) {
        let place = place_of_table(&page, heading);
        page.replace_range(place, &table);
    }
    fs::write(&file, page).unwrap();
}
