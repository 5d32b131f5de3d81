//! What the engine's tests share: a plain file in the place of stock SQLite, and machines in one process.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "shared by several test binaries")]

pub mod faulty;
pub mod memory;
pub mod moving;
pub mod places;

use seawall::format::frame::{self, Kind};
use seawall::format::head::Head;
use seawall::format::ids::Digest;
use seawall::format::mark::Mark;
use seawall::ports::storage::os::OsStorage;
use seawall::{
    Access, Counts, Database, Error, Freshness, HeldFile, Options, PageNo, PageSize, PlainSqlite, Result, Snapshot,
};
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// Stands for stock SQLite, without a journal and without locks, because no other program uses a test's file.
pub struct PlainFile;

struct Held(File);

impl PlainSqlite for PlainFile {
    fn hold(&self, name: &Path, create: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(name);
        Ok(Box::new(Held(opened.map_err(|error| Error::io("opening NAME", error))?)))
    }
}

impl HeldFile for Held {
    fn size(&mut self) -> Result<u64> {
        Ok(self.0.metadata().map_err(|error| Error::io("looking at NAME", error))?.len())
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(into, offset).map_err(|error| Error::io("reading NAME", error))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_all_at(bytes, offset).map_err(|error| Error::io("writing NAME", error))
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync_all().map_err(|error| Error::io("syncing NAME", error))
    }
}

pub fn page_size() -> PageSize {
    PageSize::new(4096).unwrap()
}

/// The first page of a SQLite file.
pub fn header() -> [u8; 4096] {
    let mut page = [0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    page[18..20].copy_from_slice(&[1, 1]);
    page
}

thread_local! {
    static ONLY_FOLDS: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, each commit of the machines that this thread makes is a frame in a segment.
pub struct OnlyFolds;

/// For a test of frames: what it looks at would ride in the head otherwise.
pub fn only_folds() -> OnlyFolds {
    ONLY_FOLDS.set(true);
    OnlyFolds
}

impl Drop for OnlyFolds {
    fn drop(&mut self) {
        ONLY_FOLDS.set(false);
    }
}

/// The options of a test's machines.
pub fn options() -> Options {
    Options { inline: !ONLY_FOLDS.get(), ..Options::default() }
}

/// A folder of its own for each test, removed afterwards.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// In memory if the machine has such a file system, because tests make thousands of commits. What a disk does is
    /// tested elsewhere.
    pub fn new() -> Folder {
        let chosen = std::env::var_os("TMPDIR").map(PathBuf::from).unwrap_or("/dev/shm".into());
        Folder(tempfile::tempdir_in(chosen).or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn name(&self) -> PathBuf {
        self.0.path().join("db.sqlite3")
    }

    pub fn inside(&self, path: &str) -> PathBuf {
        self.0.path().join("db.sqlite3-seawall").join(path)
    }

    /// Another machine that has the same folder.
    pub fn machine(&self) -> Arc<Database> {
        self.try_machine().unwrap()
    }

    /// A machine each of whose commits is a frame in a segment.
    pub fn folding(&self) -> Arc<Database> {
        self.try_machine_with(&Options { lease: Duration::from_millis(300), inline: false, ..options() }).unwrap()
    }

    pub fn try_machine(&self) -> Result<Arc<Database>> {
        self.try_machine_with(&Options { lease: Duration::from_millis(300), ..options() })
    }

    pub fn try_machine_with(&self, options: &Options) -> Result<Arc<Database>> {
        let storage = Arc::new(OsStorage::new(&self.name()).unwrap());
        Database::on(storage, &self.name(), Access::Create, options, &PlainFile)
    }

    /// The only segment, where there is one.
    pub fn segment(&self) -> PathBuf {
        let mut segments: Vec<_> =
            fs::read_dir(self.inside("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(segments.len(), 1);
        segments.pop().unwrap()
    }
}

/// Commits one version: each page filled with its byte.
pub fn commit(database: &Arc<Database>, pages: &[(u32, u8)]) -> Result<Arc<Snapshot>> {
    let mut transaction = database.begin(PATIENCE)?;
    for (page, byte) in pages {
        transaction.write_page(page_size(), PageNo(*page), &[*byte; 4096])?;
    }
    let page_count = transaction.page_count();
    transaction.commit(page_count)
}

pub fn newest(database: &Arc<Database>) -> Arc<Snapshot> {
    database.snapshot(Freshness::Transaction).unwrap()
}

/// The byte that `page` is filled with.
pub fn byte(database: &Database, snapshot: &Snapshot, page: u32) -> u8 {
    let image = database.read_page(snapshot, PageNo(page)).unwrap();
    // Where a commit rides in the head, some bytes of page 1 are Seawall's own.
    let is_own = |at: usize| page == 1 && ((18..28).contains(&at) || (92..96).contains(&at));
    let is_right = |(at, byte): (usize, &u8)| *byte == image[0] || is_own(at);
    assert!(image.iter().enumerate().all(is_right), "page {page} is of one piece");
    image[0]
}

/// A plain SQLite file of `pages` pages at `name`: a header, and each page filled with its number's low byte.
pub fn write_plain(name: &Path, pages: u32) {
    let mut bytes: Vec<u8> = (1..=pages).flat_map(|page| [page as u8; 4096]).collect();
    bytes[..100].fill(0);
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    bytes[18..20].copy_from_slice(&[1, 1]);
    bytes[28..32].copy_from_slice(&pages.to_be_bytes());
    fs::write(name, bytes).unwrap();
}

pub const NOTHING: Counts = Counts { coordinator: 0, reads: 0, appends: 0, metadata: 0, background: 0 };

/// What `work` costs in the foreground.
pub fn cost<T>(database: &Arc<Database>, work: impl FnOnce() -> T) -> (Counts, T) {
    let before = database.counts();
    let result = work();
    (Counts { background: 0, ..database.counts() - before }, result)
}

/// The frames of every segment, whole ones only: kind, digest and payload of each.
pub fn frames(folder: &Folder) -> Vec<(Kind, Digest, Vec<u8>)> {
    let mut found = Vec::new();
    for segment in fs::read_dir(folder.inside("segments")).unwrap() {
        let bytes = fs::read(segment.unwrap().path()).unwrap();
        let mut rest = &bytes[..];
        while let Ok(frame) = frame::parse(rest) {
            found.push((frame.kind, frame.digest, frame.payload.to_vec()));
            rest = &rest[frame.length..];
        }
    }
    found
}

/// The marks in all segments: what was refused.
pub fn marks(folder: &Folder) -> Vec<Mark> {
    let marks = frames(folder).into_iter().filter(|(kind, ..)| *kind == Kind::Mark);
    marks.map(|(_, _, payload)| Mark::decode(&payload).unwrap()).collect()
}

/// The heads in all segments that were in place.
pub fn confirmed(folder: &Folder) -> Vec<Head> {
    let heads = frames(folder).into_iter().filter(|(kind, ..)| *kind == Kind::Confirmed);
    heads.map(|(_, _, payload)| Head::of_frame(&payload).unwrap()).collect()
}
