//! A database that lives for years, in minutes: many small commits with checkpoints and garbage collection beside them.
//!
//! usage: years FOLDER [COMMITS] [PAGES] [off]
//!
//! It makes a database of PAGES pages in FOLDER, commits COMMITS times two random pages, and prints a line for each hundredth: the median
//! and the 99th percentile of a commit, the disk that the folder takes, what this process has in memory, and what a cold opening costs.
//! `off`: without maintenance, to compare with. History is 20 s here, because minutes must do for years.

use seawall::format::policy::Policy;
use seawall::{
    Access, Collecting, Database, Error, Freshness, HeldFile, Options, PageNo, PageSize, PlainSqlite, Result,
};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HISTORY: Duration = Duration::from_secs(20);
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);

/// No other program uses the file.
struct Alone;

struct Held(File);

fn held<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| Error::io("NAME", error))
}

impl PlainSqlite for Alone {
    fn hold(&self, name: &Path, create: bool, _: Duration) -> Result<Box<dyn HeldFile>> {
        let opened = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(name);
        Ok(Box::new(Held(held(opened)?)))
    }
}

impl HeldFile for Held {
    fn size(&mut self) -> Result<u64> {
        Ok(held(self.0.metadata())?.len())
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<()> {
        held(self.0.read_exact_at(into, offset))
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        held(self.0.write_all_at(bytes, offset))
    }
    fn sync(&mut self) -> Result<()> {
        held(self.0.sync_all())
    }
}

/// The bytes of disk below a folder.
fn disk(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => disk(&path),
        Ok(found) => found.len().next_multiple_of(4096),
        Err(_) => 0,
    };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

/// What this process has in memory, in KiB: now, and at most.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    };
    (field("VmRSS:"), field("VmHWM:"))
}

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

fn header() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    page[18..20].copy_from_slice(&[1, 1]);
    page
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = PathBuf::from(arguments.get(1).expect("usage: years FOLDER [COMMITS] [PAGES] [off]"));
    let number = |n: usize, default| arguments.get(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (commits, pages) = (number(2, 1_000_000_u64), number(3, 20_000_u64) as u32);
    let maintains = arguments.get(4).is_none();
    let name = folder.join("years.sqlite3");
    let size = PageSize::new(4096).expect("a page size");
    let options = Options { upkeep: false, ..Options::default() };
    let database = Database::open(&name, Access::Create, &options, &Alone)?;
    let mut chance = Chance(7);
    let mut image = vec![0; 4096];
    let mut transaction = database.begin(Duration::from_secs(5))?;
    transaction.write_page(size, PageNo(1), &header())?;
    for page in 2..=pages {
        image.iter_mut().step_by(16).for_each(|byte| *byte = chance.next() as u8);
        transaction.write_page(size, PageNo(page), &image)?;
    }
    transaction.commit(pages)?;
    drop(transaction);
    let policy = Policy { history: HISTORY, ..Policy::default() };
    fs::write(folder.join("years.sqlite3-seawall/policy"), policy.to_string()).expect("a file");

    let is_done = Arc::new(AtomicBool::new(false));
    let maintenance = maintains.then(|| {
        let (database, is_done) = (database.clone(), is_done.clone());
        std::thread::spawn(move || {
            let (mut checkpoints, mut collections) = (Vec::new(), Vec::new());
            while !is_done.load(Ordering::Relaxed) {
                std::thread::sleep(MAINTAIN_EVERY);
                let began = Instant::now();
                if let Some(made) = database.checkpoint(&mut |_, _| Ok(())).expect("a checkpoint") {
                    checkpoints.push((made.bytes, began.elapsed()));
                }
                let began = Instant::now();
                let collected =
                    database.collect(Collecting { dry_run: false, max_duration: None, shortest_history: HISTORY });
                let collected = collected.expect("a collection");
                collections.push((collected.deleted.bytes, began.elapsed()));
            }
            (checkpoints, collections)
        })
    });

    println!("commits,seconds,p50_us,p99_us,disk_MiB,rss_MiB,peak_rss_MiB,open_coordinator,open_reads,open_metadata");
    let (began, part) = (Instant::now(), (commits / 100).max(1));
    let mut times: Vec<u64> = Vec::with_capacity(part as usize);
    let (mut all, mut peak) = (Vec::with_capacity(commits as usize), 0);
    for n in 1..=commits {
        let at = Instant::now();
        let mut transaction = database.begin(Duration::from_secs(60))?;
        for _ in 0..2 {
            let page = 2 + (chance.next() % u64::from(pages - 1)) as u32;
            image[..8].copy_from_slice(&n.to_le_bytes());
            transaction.write_page(size, PageNo(page), &image)?;
        }
        transaction.commit(pages)?;
        drop(transaction);
        times.push(at.elapsed().as_micros() as u64);
        if n % part == 0 {
            times.sort_unstable();
            let at = |share: usize| times[(times.len() - 1) * share / 100];
            let used = disk(&folder);
            peak = peak.max(used);
            let cold = Database::on(
                Arc::new(seawall::ports::storage::os::OsStorage::new(&name).expect("a folder")),
                &name,
                Access::ReadWrite,
                &options,
                &Alone,
            )?;
            cold.snapshot(Freshness::Seconds(Duration::from_secs(60)))?;
            let cost = cold.counts();
            let ((rss, high), mib) = (memory(), |bytes: u64| bytes >> 20);
            println!(
                "{n},{:.1},{},{},{},{},{},{},{},{}",
                began.elapsed().as_secs_f64(),
                at(50),
                at(99),
                mib(used),
                rss >> 10,
                high >> 10,
                cost.coordinator,
                cost.reads,
                cost.metadata
            );
            all.append(&mut times);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    is_done.store(true, Ordering::Relaxed);
    all.sort_unstable();
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{commits} commits in {seconds:.0} s: median {} us, p99 {} us, p99.9 {} us, longest {} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    eprintln!(
        "disk: {} MiB at most, {} MiB at the end; the database has {} MiB",
        peak >> 20,
        disk(&folder) >> 20,
        pages / 256
    );
    if let Some(maintenance) = maintenance {
        let (checkpoints, collections) = maintenance.join().expect("no panic");
        let sum = |done: &[(u64, Duration)]| {
            done.iter().fold((0, 0.0), |(bytes, time), (more, took)| (bytes + more, time + took.as_secs_f64()))
        };
        for (what, done) in [("checkpoints", &checkpoints), ("collections", &collections)] {
            let (bytes, time) = sum(done);
            let rate = if time > 0.0 { bytes as f64 / time / (1 << 20) as f64 } else { 0.0 };
            eprintln!("{} {what}: {} MiB in {time:.1} s, {rate:.0} MiB/s", done.len(), bytes >> 20);
        }
    }
    Ok(())
}
