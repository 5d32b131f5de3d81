//! The decoders behind the frames' checksums. The first byte says which; the rest is the payload.
//!
//! Whatever is taken must come back: decoded, encoded and decoded again it is the same. And it must be fit to go on
//! from: the frame that the next commit would write over it can be read, too.

use seawall::Version;
use seawall::format::commit_frame::CommitFrame;
use seawall::format::delta;
use seawall::format::entry::Segments;
use seawall::format::frame::Kind;
use seawall::format::group::{self, Encoder, pages_per_group};
use seawall::format::head::{CommitRef, Head};
use seawall::format::ids::{Digest, SegmentName, WriterId};
use seawall::format::index::{Entries, IndexFrame, merge};
use seawall::format::mark::Mark;
use seawall::format::place::Place;
use seawall::format::window::Window;
use seawall::read::page_map::PageMap;

/// The kinds of frames, as the first byte of an input names them.
pub const KINDS: [Kind; 6] = [Kind::Pages, Kind::Commit, Kind::Index, Kind::Mark, Kind::Head, Kind::Confirmed];
/// An entry takes no fewer bytes than this in a frame, and a page of a commit's own no fewer than that.
const ENTRY_BYTES: usize = 6;
const NEW_PAGE_BYTES: usize = 9;

/// The target.
pub fn check(data: &[u8]) {
    if let Some((kind, payload)) = data.split_first() {
        check_payload(KINDS[usize::from(*kind) % KINDS.len()], payload);
    }
}

/// What must hold of a payload of this kind, whatever bytes it has.
pub fn check_payload(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::Pages => check_group(payload),
        Kind::Commit => check_commit(payload),
        Kind::Index => check_index(payload),
        Kind::Mark => {
            if let Ok(mark) = Mark::decode(payload) {
                assert_eq!(mark.encode(), payload, "a mark has one spelling");
            }
        }
        Kind::Head | Kind::Confirmed => {
            if let Ok(head) = Head::of_frame(payload) {
                assert_eq!(head.to_string().as_bytes(), payload, "a head has one spelling");
                check_window(&head.window, &head.fold.digest);
            }
        }
    }
}

fn check_group(payload: &[u8]) {
    let Ok(group) = group::decode(payload) else { return };
    assert!(!group.pages.is_empty() && group.pages.len() <= pages_per_group(group.page_size));
    assert_eq!(group.images.len(), group.pages.len() * group.page_size.bytes());
    assert!(group.pages.iter().all(|page| page.0 > 0), "there is no page 0");
    let again = Encoder::default().encode(&group.owner, group.page_size, &group.pages, &group.images);
    let again = group::decode(&again).expect("what was read can be written");
    assert_eq!((again.owner, again.page_size), (group.owner, group.page_size));
    assert_eq!((again.pages, again.images), (group.pages, group.images));
}

fn check_commit(payload: &[u8]) {
    let segments = Segments::default();
    let Ok(frame) = CommitFrame::decode(payload, &segments) else { return };
    let own_pages = frame.own_pages().count() + frame.carried_pages().count();
    check_window(&frame.window, &frame.fold.digest);
    assert!(frame.recent.len() * ENTRY_BYTES + own_pages * NEW_PAGE_BYTES <= payload.len());
    assert_eq!(CommitFrame::decode(&frame.encode(&segments), &segments).as_ref(), Ok(&frame));
    check_entries(&frame.recent, frame.runs_end(), frame.folded.next());
    comes_back_under_other_numbers(&frame, payload);

    let own = frame.own_entries(segment(0), &segments);
    assert_eq!(own.len(), own_pages);
    assert!(own.iter().all(|(_, entry)| entry.version() == frame.version));
    let recent = merge(&frame.recent, &own);
    let mut map = PageMap::default();
    for (page, entry) in frame.recent.iter().chain(&own) {
        map.insert(*page, *entry);
    }
    assert_eq!(map.iter().collect::<Entries>(), recent, "a page has one place");
    if frame.version < Version::MAX {
        let version = frame.version.next();
        let place = Place { segment: segment(0), at: 0, length: 0, lead: 0 };
        let next = CommitFrame {
            version,
            group: (version, version),
            ordinal: frame.ordinal + 1,
            fold: CommitRef { id: frame.commit, digest: Digest([0; 32]), place: Some(place) },
            folded: frame.version,
            fold_time: frame.time,
            window: Window::default(),
            jumps: frame.next_jumps(),
            pages: vec![],
            recent,
            ..frame
        };
        assert_eq!(CommitFrame::decode(&next.encode(&segments), &segments), Ok(next), "the next commit can be read");
    }
}

/// A window that was read comes back, and each of its beginnings is one.
fn check_window(window: &Window, fold: &Digest) {
    assert_eq!(Window::decode(window.bytes(), fold).as_ref(), Ok(window), "a window comes back");
    for count in 0..=window.entries().len() {
        let first = window.first(count, fold);
        assert_eq!(first.entries(), &window.entries()[..count]);
        assert!(window.bytes().starts_with(first.bytes()));
    }
    for (entry, _) in window.entries() {
        let length = entry.pages.len() * 512;
        if let Ok(images) = delta::apply(&[7; 4096], &entry.delta, length) {
            assert_eq!(images.len(), length);
        }
    }
}

/// Segments have other numbers in every process: no meaning may hang on them.
fn comes_back_under_other_numbers(frame: &CommitFrame, payload: &[u8]) {
    let theirs = Segments::default();
    for n in 0..3 {
        theirs.number(segment(n));
    }
    let read_there = CommitFrame::decode(payload, &theirs).expect("the bytes are the same");
    let ours = Segments::default();
    let here = CommitFrame::decode(payload, &ours);
    assert_eq!(CommitFrame::decode(&read_there.encode(&theirs), &ours), here);
    assert_eq!(here.map(|here| here.recent.len()), Ok(frame.recent.len()));
}

fn check_index(payload: &[u8]) {
    let segments = Segments::default();
    let Ok(frame) = IndexFrame::decode(payload, &segments) else { return };
    assert!(frame.entries.len() * ENTRY_BYTES <= payload.len());
    assert_eq!(IndexFrame::decode(&frame.encode(&segments), &segments).as_ref(), Ok(&frame));
    check_entries(&frame.entries, frame.after, frame.up_to.next());
}

/// Page numbers rise, and versions lie between `after` and `before`.
fn check_entries(entries: &Entries, after: Version, before: Version) {
    assert!(entries.iter().all(|(page, _)| page.0 > 0));
    assert!(entries.is_sorted_by(|one, next| one.0 < next.0));
    assert!(entries.iter().all(|(_, entry)| entry.version() > after && entry.version() < before));
}

fn segment(n: u32) -> SegmentName {
    SegmentName { writer: WriterId([7; 8]), n }
}
