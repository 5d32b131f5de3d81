//! Writes the inputs that fuzzing begins with, made by the real encoders: it starts behind the checksums.
//!
//! `cargo run --example seeds` in this folder; what is there already stays.

use seawall::format::commit_frame::{CommitFrame, RunRef};
use seawall::format::delta::delta;
use seawall::format::entry::{self, Segments};
use seawall::format::frame::{self, HEADER, Kind, UNIT};
use seawall::format::group::{Encoder, Owner};
use seawall::format::head::{BaseRef, CommitRef, Head};
use seawall::format::high::High;
use seawall::format::identity::Identity;
use seawall::format::ids::{BaseName, CommitId, DatabaseId, Digest, Epoch};
use seawall::format::index::IndexFrame;
use seawall::format::mark::Mark;
use seawall::format::new_pages::{NewGroup, NewPage, page_checksum};
use seawall::format::place::Place;
use seawall::format::window::{Entry, EntryPage, Window};
use seawall::{PageNo, PageSize, Version};
use seawall_dynamodb::item::{Value, item_of};
use seawall_fuzz::reading::SEGMENT;
use std::error::Error;
use std::fs;
use std::path::Path;

const DATABASE: DatabaseId = DatabaseId([7; 16]);
const COMMIT: CommitId = CommitId([2; 16]);
const DIGEST: Digest = Digest([3; 32]);

fn main() -> Result<(), Box<dyn Error>> {
    let frames = frames();
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), bytes)
    };
    for (n, (kind, payload)) in frames.iter().enumerate() {
        put("payloads", &n.to_string(), &[&[*kind as u8 - 1][..], payload].concat())?;
    }
    let recipe = recipe_of(&frames);
    for damage in 0..3 {
        put("segment", &damage.to_string(), &[&[damage, 200, 1][..], &recipe].concat())?;
    }
    put("segment", "raw", &[b"r", &bytes_of(&frames)[..]].concat())?;
    for which in 0..2 {
        put("reading", &format!("commit-{which}"), &[&[b's', which, 1, 5, 0][..], &[0; 12], &recipe].concat())?;
    }
    put("reading", "base", &[b'b', 0, 12, 0, 2, 1, 3, 40, 9, 7, 0, 0, 100, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 255])?;
    put("reading", "large", &[b'b', 0, 12, 200, 0, 1, 255, 254, 2, 3])?;
    for (name, text) in texts() {
        put("texts", name, text.as_bytes())?;
    }
    for n in 1..=16 {
        put("sql", &n.to_string(), &noise(n, 500))?;
    }
    for n in 0..30 {
        // What lies beside the database, too: `Beginning::is_wider`.
        let mut story = noise(1000 + n, 500);
        story[0] = 0xf4 + (n % 8) as u8;
        put("sql", &format!("wider-{n}"), &story)?;
    }
    // A lease that is taken over by a transaction that commits nothing.
    put("sql", "takeover", &[3, 0, 1, 0, 0, 0, 0, 2, 1, 0])?;
    // `Wider::Beside` with a database without a journal, and then with others: kind, how, main, other.
    let beside = [[2, 1, 1, 0], [2, 0, 1, 1], [2, 1, 0, 1], [2, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]];
    let steps = beside.map(|step| [&[0, 0, 0, 0x80, 0], &step[..]].concat());
    put("sql", "unjournaled", &[&[0xf4, 0, 1], &steps.concat()[..], &[0]].concat())?;
    Ok(())
}

/// Bytes without a pattern: long stories of statements.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A small history: an index frame, and two commits with their pages; the second one has a run. Then a mark, and a head before its swap and after it.
fn frames() -> Vec<(Kind, Vec<u8>)> {
    let segments = Segments::default();
    let number = segments.number(SEGMENT);
    let mut frames = Vec::new();
    let entry = |version, at, units, slot| entry::PageEntry::new(Version(version), number, at, units, slot);
    let index = IndexFrame {
        database: DATABASE,
        after: Version(0),
        up_to: Version(1),
        entries: vec![(PageNo(2), entry(1, 0, 3, 0)), (PageNo(4), entry(1, 0, 3, 1))],
    };
    let first = group(&mut frames, 1, &[2, 4]);
    let mut commit = commit_of(1, first);
    frames.push((Kind::Commit, commit.encode(&segments)));
    let at = unit(&frames);
    frames.push((Kind::Index, index.encode(&segments)));
    let length = (unit(&frames) - at) * UNIT as u32;
    let second = group(&mut frames, 3, &[1, 3, 6]);
    let place = Place { segment: SEGMENT, at, length, lead: 0 };
    commit = commit_of(3, second);
    commit.runs = vec![RunRef { after: Version(0), up_to: Version(1), entries: 2, place }];
    commit.recent = vec![(PageNo(5), entry(2, 0, 3, 0)), (PageNo(900), entry(2, 70_000, 3, 1))];
    frames.push((Kind::Commit, commit.encode(&segments)));
    let mark = Mark { database: DATABASE, epoch: Epoch(0), version: Version(3), commit: COMMIT, digest: DIGEST };
    frames.push((Kind::Mark, mark.encode()));
    let fold = CommitRef { id: COMMIT, digest: DIGEST, place: Some(place) };
    let head = Head { version: Version(2), window: window_to(2), fold, ..Head::first(DATABASE, COMMIT, None, 5) };
    for kind in [Kind::Head, Kind::Confirmed] {
        frames.push((kind, head.to_string().into_bytes()));
    }
    frames
}

/// Where the next frame begins.
fn unit(frames: &[(Kind, Vec<u8>)]) -> u32 {
    frames.iter().map(|(_, payload)| (frame::length_of(payload.len()) as u64 / UNIT) as u32).sum()
}

/// Appends a group, and tells what the commit says of it.
fn group(frames: &mut Vec<(Kind, Vec<u8>)>, version: u64, pages: &[u32]) -> NewGroup {
    let owner = Owner { database: DATABASE, version: Version(version), commit: COMMIT };
    let page_size = PageSize::new(512).expect("a page size");
    let images: Vec<u8> = pages.iter().flat_map(|page| [*page as u8; 512]).collect();
    let numbers: Vec<PageNo> = pages.iter().copied().map(PageNo).collect();
    let at = unit(frames);
    frames.push((Kind::Pages, Encoder::default().encode(&owner, page_size, &numbers, &images)));
    let new_page = |(page, image)| {
        Some(NewPage { page, checksum: page_checksum(image), is_carried: version > 1 && page == PageNo(3) })
    };
    let pages = numbers.into_iter().zip(images.chunks_exact(512)).map(new_page).collect();
    NewGroup { at, units: (unit(frames) - at) as u16, pages }
}

/// The entries after version 0 up to `newest`, each of which writes page 3.
fn window_to(newest: u64) -> Window {
    let page = EntryPage { page: PageNo(3), checksum: page_checksum(&[3; 512]), has_old: false };
    let delta = delta(&[], &[3; 512]);
    let entry = Entry { commit: COMMIT, time: 1_795_000_000_000, page_count: 7, pages: vec![page], delta };
    (0..newest).fold(Window::default(), |window, _| window.with(entry.clone(), &DIGEST))
}

fn commit_of(version: u64, pages: NewGroup) -> CommitFrame {
    let version = Version(version);
    CommitFrame {
        database: DATABASE,
        epoch: Epoch(0),
        version,
        commit: COMMIT,
        page_size: PageSize::new(512).expect("a page size"),
        page_count: 7,
        ordinal: 1,
        fold: CommitRef { id: COMMIT, digest: DIGEST, place: None },
        folded: Version(0),
        fold_time: 0,
        window: window_to(version.0 - 1),
        jumps: vec![],
        settled: (Version(version.0 - 1), DIGEST),
        group: (version, version),
        time: 1_795_000_000_000,
        base: None,
        home: 5,
        sweep: 0,
        log: 0,
        pages: vec![pages],
        runs_begin: Version(0),
        runs: vec![],
        recent: vec![],
    }
}

fn bytes_of(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in frames {
        frame::put(&mut bytes, *kind, payload);
    }
    bytes.truncate(bytes.len() - HEADER);
    bytes
}

fn recipe_of(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut recipe = Vec::new();
    for (kind, payload) in frames {
        recipe.push(*kind as u8 - 1);
        recipe.extend((payload.len() as u16).to_le_bytes());
        recipe.extend(payload);
    }
    recipe
}

/// Each kind of text, with its own checksum and to be given one.
fn texts() -> Vec<(&'static str, String)> {
    let place = Place { segment: SEGMENT, at: 13, length: 208, lead: 208 };
    let name = BaseName { epoch: Epoch(0), version: Version(1), id: [2; 4] };
    let page_size = PageSize::new(4096).expect("a page size");
    let base = BaseRef { name, page_size, page_count: 20, log: 0 };
    let commit = CommitRef { id: COMMIT, digest: DIGEST, place: Some(place) };
    let fold = Head { version: Version(2), fold: commit, ..Head::first(DATABASE, COMMIT, Some(base), 5) };
    let head = Head { version: Version(4), window: window_to(2), ..fold };
    let first = Head::first(DATABASE, COMMIT, None, 5);
    let high = High::of(&head, None).to_string();
    let identity = Identity::new(DATABASE, "dynamodb://locks?region=eu-central-1".into(), 4080).to_string();
    let body = |text: &str, sum: &str| text.rsplit_once(sum).expect("a checksum").0.to_owned();
    let item = |head: &Head| -> String {
        let line = |(name, value): (String, Value)| match value {
            Value::Number(number) => format!("{name} N {number}\n"),
            Value::Text(text) => format!("{name} S {text}\n"),
            Value::Binary(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{name} B {digits}\n")
            }
            Value::Other => format!("{name} M -\n"),
        };
        item_of(head, "locks").into_iter().map(line).collect()
    };
    let lease =
        "lease S 0707070707070707\nlease_label S process 1\nlease_until N 1795000000000\nwaiting S x\nwaited N 5\n";
    vec![
        ("head", format!("h{head}")),
        ("head-body", format!("H{}", body(&head.to_string(), " sum="))),
        ("first-head-body", format!("H{}", body(&first.to_string(), " sum="))),
        ("high", format!("g{high}")),
        ("high-body", format!("G{}", body(&high, " sum="))),
        ("id", format!("i{identity}")),
        ("id-body", format!("I{}", body(&identity, "sum "))),
        ("place", format!("n{place}")),
        ("base", format!("n{base}")),
        ("base-name", format!("n{name}")),
        ("segment-name", format!("n{SEGMENT}")),
        ("item", format!("t{}{lease}", item(&head))),
        ("first-item", format!("t{}", item(&first))),
        ("timeless-item", format!("t{}lease S x\nlease_label N 5\nlease_until M -\nwaiting N 7\n", item(&first))),
        (
            "url",
            "udynamodb://user:password@locks?region=eu-central-1&endpoint=http%3A%2F%2Fa%3Ab%40host:80&key=x".into(),
        ),
    ]
}
