//! Opening and reading by the engine itself, from files that are not what a writer left.
//!
//! An input that begins with `b` is a base with its `.sums`, both damaged by a list of edits. Any other is a segment
//! with right checksums, and the head that names one of its commits, with its numbers bent.

use super::common::{Folder, PlainFile};
use super::payloads::KINDS;
use arbitrary::{Result, Unstructured};
use seawall::format::frame::{self, Kind, UNIT};
use seawall::format::head::{BaseRef, CommitRef, Head};
use seawall::format::identity::Identity;
use seawall::format::ids::{BaseName, CommitId, DatabaseId, Digest, Epoch, SegmentName, WriterId};
use seawall::format::new_pages::page_checksum;
use seawall::format::place::Place;
use seawall::format::sqlite_header;
use seawall::ports::storage::home_of;
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options, PageNo, PageSize, Verifying, Version};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

/// The segment that an input's frames lie in.
pub const SEGMENT: SegmentName = SegmentName { writer: WriterId([7; 8]), n: 0 };
/// No more pages are read of one input.
const PAGES: u32 = 12;

/// The target.
pub fn check(data: &[u8]) {
    match data.split_first() {
        // An input that ends too early is one with fewer edits and reads.
        Some((b'b', input)) => drop(check_base(&mut Unstructured::new(input))),
        Some((_, input)) => drop(check_segment(input)),
        None => {}
    }
}

/// Page size, pages, what the head says of their number; then edits, each of the base or its sums; then the pages to
/// read.
fn check_base(input: &mut Unstructured<'_>) -> Result<()> {
    let page_size = PageSize::new(512 << (input.arbitrary::<u8>()? % 4)).expect("a page size");
    let pages = 1 + u32::from(input.arbitrary::<u8>()? % 24);
    let said = match input.arbitrary::<u8>()? {
        0..128 => pages,
        128..192 => pages + 1,
        // As many as can be, and their last one.
        _ => u32::MAX,
    };
    let mut base = a_base(page_size, pages);
    let mut sums = sums_of(&base, page_size);
    for _ in 0..input.arbitrary::<u8>()? % 8 {
        let file = if input.arbitrary()? { &mut base } else { &mut sums };
        damage(file, input.arbitrary()?, input.arbitrary::<u16>()?.into(), input.arbitrary()?);
    }
    let folder = Folder::new();
    let base_ref = BaseRef { name: a_base_name(Version(0)), page_size, page_count: said, log: 0 };
    let home = lay_out(&folder, DATABASE, Some((base_ref, &base, &sums)));
    let database = open(&folder, &Head::first(DATABASE, CommitId([2; 16]), Some(base_ref), home)).expect("a base");
    let snapshot = database.newest_known();
    while !input.is_empty() {
        let byte = input.arbitrary::<u8>()?;
        let page =
            if byte < 250 { 1 + u32::from(byte) % said.min(PAGES * 3) } else { said - u32::from(255 - byte) % said };
        let at = (page as usize - 1).saturating_mul(page_size.bytes());
        let image = base.get(at..at.saturating_add(page_size.bytes()));
        let sum = sums.get((page as usize - 1) * 8..page as usize * 8);
        let right = image.filter(|image| sum == Some(&page_checksum(image)[..]));
        let read = database.read_page(&snapshot, PageNo(page)).ok();
        assert_eq!(read.as_deref(), right, "page {page}: what its own checksum vouches for, and nothing else");
    }
    Ok(())
}

const DATABASE: DatabaseId = DatabaseId([1; 16]);

fn a_base_name(version: Version) -> BaseName {
    BaseName { epoch: Epoch(0), version, id: [2; 4] }
}

/// A base whose pages differ from one another.
fn a_base(page_size: PageSize, pages: u32) -> Vec<u8> {
    (1..=pages).flat_map(|page| vec![page as u8; page_size.bytes()]).collect()
}

fn sums_of(base: &[u8], page_size: PageSize) -> Vec<u8> {
    base.chunks_exact(page_size.bytes()).flat_map(page_checksum).collect()
}

fn damage(file: &mut Vec<u8>, how: u8, place: usize, byte: u8) {
    let place = place % (file.len() + 1);
    match how % 4 {
        0 => file.truncate(place),
        1 => file.extend(vec![byte; place]),
        // A page in another's place: each is right in itself.
        2 => file.rotate_left(place),
        _ => file.get_mut(place).into_iter().for_each(|there| *there = byte),
    }
}

/// What the head is to say otherwise than it should: zeros, but for the fuzzer.
struct Bent {
    at: u32,
    length: u32,
    lead: u32,
}

/// Which commit, base version and pages, how the head is bent; then for each frame its kind, its payload's length and
/// its payload.
fn check_segment(input: &[u8]) -> Option<()> {
    let ([which, base_version, base_pages, page_size], input) = input.split_first_chunk()?;
    let (bent, frames) = input.split_first_chunk::<12>()?;
    let number = |at: usize| u32::from_le_bytes(bent[at..at + 4].try_into().expect("four bytes"));
    let bent = Bent { at: number(0), length: number(4), lead: number(8) };
    let (segment, commits) = a_segment(frames);
    let commit = commits.get(usize::from(*which) % commits.len().max(1))?;

    let page_size = PageSize::new(512 << (page_size % 8))?;
    let base = (*base_pages > 0).then(|| a_base(page_size, u32::from(*base_pages % 32)));
    let name = a_base_name(Version((*base_version).into()).min(commit.version));
    let base = base.map(|base| (BaseRef { name, page_size, page_count: (*base_pages % 32).into(), log: 0 }, base));
    let sums = base.as_ref().map(|(base, bytes)| sums_of(bytes, base.page_size));

    let folder = Folder::new();
    let files = base.as_ref().zip(sums.as_ref()).map(|((base, bytes), sums)| (*base, &bytes[..], &sums[..]));
    let home = lay_out(&folder, commit.database, files);
    fs::write(folder.inside(&format!("segments/{SEGMENT}.seg")), &segment).expect("a file");
    let head_with = |at, length, lead| Head {
        fold: CommitRef {
            id: commit.id,
            digest: commit.digest,
            place: Some(Place { segment: SEGMENT, at, length, lead }),
        },
        epoch: commit.epoch,
        version: commit.version,
        ..Head::first(commit.database, commit.id, base.as_ref().map(|(base, _)| *base), home)
    };
    let head = head_with(commit.at ^ bent.at, commit.length ^ bent.length, commit.lead ^ bent.lead);
    let database = open(&folder, &head)?;
    // Without its lead, nothing is in the cache before a page is asked for.
    let alone = head_with(head.commit().place?.at, head.commit().place?.length, 0);
    let snapshot = database.newest_known();
    let size = snapshot.page_size()?.bytes();
    // Whatever a verification finds: it ends, and does not panic.
    let deep = Verifying { deep: true, ..Verifying::default() };
    drop(database.verify(&snapshot, deep, &mut |_, _| Ok(())));
    for page in (1..=snapshot.page_count().min(PAGES)).map(PageNo) {
        let read = database.read_page(&snapshot, page).ok();
        assert!(read.as_ref().is_none_or(|image| image.len() == size), "a page has the size of a page");
        let fresh = open(&folder, &alone)?;
        let alone = fresh.read_page(&fresh.newest_known(), page).ok();
        assert_eq!(read.as_deref(), alone.as_deref(), "page {page:?}: the cache holds nothing else than the files");
    }
    Some(())
}

/// A commit frame in a segment, as its head names it.
struct Commit {
    database: DatabaseId,
    epoch: Epoch,
    version: Version,
    id: CommitId,
    digest: Digest,
    at: u32,
    length: u32,
    lead: u32,
}

/// The frames, with right checksums, and those among them that begin as a commit does.
fn a_segment(mut recipe: &[u8]) -> (Vec<u8>, Vec<Commit>) {
    let (mut bytes, mut commits, mut begin) = (Vec::new(), Vec::new(), 0);
    while let Some(([kind, low, high], rest)) = recipe.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        recipe = rest;
        let (kind, at) = (KINDS[usize::from(*kind) % KINDS.len()], bytes.len());
        let digest = frame::put(&mut bytes, kind, payload);
        if let Some(start) = payload.first_chunk::<48>().filter(|_| kind == Kind::Commit) {
            let number = |at: usize| u64::from_le_bytes(start[at..at + 8].try_into().expect("eight bytes"));
            let id = |at: usize| start[at..at + 16].try_into().expect("sixteen bytes");
            commits.push(Commit {
                database: DatabaseId(id(0)),
                epoch: Epoch(number(16)),
                version: Version(number(24)),
                id: CommitId(id(32)),
                digest,
                at: at as u32 / UNIT as u32,
                length: (bytes.len() - at) as u32,
                lead: (at - begin) as u32,
            });
            begin = bytes.len();
        }
    }
    (bytes, commits)
}

/// The files of a database but for its head; the inode number of `id`.
fn lay_out(folder: &Folder, database: DatabaseId, base: Option<(BaseRef, &[u8], &[u8])>) -> u64 {
    for inside in ["", "bases", "segments", "commits"] {
        fs::create_dir(folder.inside(inside)).expect("a folder");
    }
    let identity = Identity::new(database, "fs:".into(), 4080);
    fs::write(folder.inside("id"), identity.to_string()).expect("a file");
    // Of NAME only the mark is looked at.
    let mut name = vec![0; 100];
    name[..16].copy_from_slice(b"SQLite format 3\0");
    name[18] = sqlite_header::PROTECTED;
    fs::write(folder.name(), name).expect("a file");
    if let Some((base, bytes, sums)) = base {
        fs::write(folder.inside(&format!("bases/{}.sqlite3", base.name)), bytes).expect("a file");
        fs::write(folder.inside(&format!("bases/{}.sums", base.name)), sums).expect("a file");
    }
    let inode = |path: &str| fs::metadata(folder.inside(path)).expect("it is there").ino();
    home_of(inode("id"), inode(""))
}

/// The database as a new process would open it, with `head` as its only one.
fn open(folder: &Folder, head: &Head) -> Option<Arc<Database>> {
    let commits = folder.inside("commits");
    fs::remove_dir_all(&commits).and_then(|()| fs::create_dir(&commits)).expect("a folder");
    symlink(head.to_string(), commits.join(head.version.0.to_string())).expect("a link");
    let storage = Arc::new(OsStorage::new(&folder.name()).expect("a storage"));
    Database::on(storage, &folder.name(), Access::ReadWrite, &Options::default(), &PlainFile).ok()
}
