//! A program with stock SQLite: it has NAME open, and writes it by stock SQLite's rules until the mark forbids that.
//!
//! A transaction that stock SQLite protects by a rollback journal is one step here. Under its lock it always reads page
//! 1 first: the mark, and the change counter, which says whether its cache is still valid.

use crate::calls::Kind;
use crate::content::{CHANGE_COUNTER, PAGE, PAGE_COUNT, first_page, put_counter, sums_of};
use crate::disk::Disk;
use crate::event::Event;
use crate::locked_name::{LockedName, is_marked, open_name, try_lock};
use crate::locks::NameMode;
use crate::paths::path_of;
use crate::world::World;
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::ports::storage::File;
use std::time::Duration;

/// The bytes that stock SQLite compares to see whether its cache is still valid.
const FILE_VERSION: std::ops::Range<usize> = 24..40;

/// A connection's cache of the file between two transactions.
struct Cache {
    version: Vec<u8>,
    pages: Vec<u8>,
}

/// Writes NAME again and again, until the end. It usually writes as soon as it may, which finds the moments that an
/// adoption leaves open.
pub(crate) fn use_name(world: &World) {
    let mut cache = None;
    let mut rest = Duration::from_millis(1);
    while !world.is_calm() {
        world.sleep(world.between(Duration::from_millis(1), rest));
        let marked = {
            let disk = world.disk();
            disk.find(&path_of(File::Name)).map(|inode| is_marked(&disk, inode))
        };
        let is_worth_it = match marked {
            None => world.by_chance(0.02),
            Some(is_marked) => !is_marked || world.by_chance(0.3),
        };
        let longest = Duration::from_secs(if marked == Some(true) { 60 } else { 1 });
        rest = if marked == Some(false) { Duration::from_millis(50) } else { (rest * 2).min(longest) };
        if !is_worth_it {
            continue;
        }
        // Like any program, it tries again after a failure.
        let Ok(inode) = open_name(world, true) else { continue };
        if let Ok(Some(locked)) = try_lock(world, inode) {
            transact(world, &locked, &mut cache);
        }
    }
}

/// One transaction: it writes where it may, and reads otherwise.
fn transact(world: &World, locked: &LockedName, cache: &mut Option<Cache>) {
    let known = cache.take();
    let dice = world.pick(0..=u64::MAX);
    let done = locked.with_disk("transaction on NAME", Kind::Write, move |world, disk, inode, mode| {
        check_cache(world, disk, inode, known.as_ref());
        if mode == NameMode::Shared || !may_be_written(disk, inode) {
            world.met(Event::StockRefused);
        } else {
            write(world, disk, inode, dice);
        }
        let bytes = disk.inode(inode).bytes.clone();
        (bytes.len() > HEADER && !is_torn(&bytes))
            .then(|| Cache { version: bytes[FILE_VERSION].to_vec(), pages: bytes })
    });
    *cache = done.ok().flatten();
}

/// Whether the file is, to stock SQLite, a database that it may write, or an empty one.
fn may_be_written(disk: &Disk, inode: usize) -> bool {
    let bytes = &disk.inode(inode).bytes;
    matches!(state_of(&bytes[..HEADER.min(bytes.len())]), NameState::Empty | NameState::Plain)
}

/// Whether an empty database is incomplete, as a failed adoption can leave it. To stock SQLite that is not a database,
/// so it caches nothing of it.
fn is_torn(bytes: &[u8]) -> bool {
    const ROOT_PAGE_TYPE: usize = 100;
    let page_size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    state_of(&bytes[..HEADER]) == NameState::Protected && (bytes.len() < page_size || bytes[ROOT_PAGE_TYPE] == 0)
}

/// A file whose change counter is unchanged must be unchanged.
fn check_cache(world: &World, disk: &Disk, inode: usize, known: Option<&Cache>) {
    let bytes = &disk.inode(inode).bytes;
    if let Some(known) = known
        && bytes.get(FILE_VERSION) == Some(&known.version)
        && *bytes != known.pages
    {
        world.violation(|| {
            "NAME has changed, and its change counter has not, so stock SQLite would use old pages".into()
        });
    }
}

fn write(world: &World, disk: &mut Disk, inode: usize, dice: u64) {
    let mut bytes = disk.inode(inode).bytes.clone();
    if bytes.is_empty() {
        bytes = first_page(world);
    }
    // One of its pages, or the next one.
    let page = (dice % (bytes.len() / PAGE + 1) as u64) as usize;
    bytes.resize(bytes.len().max((page + 1) * PAGE), 0);
    let begin = if page == 0 { HEADER } else { page * PAGE };
    world.random_bytes(&mut bytes[begin..(page + 1) * PAGE]);
    let counter = u32::from_be_bytes(bytes[CHANGE_COUNTER].try_into().expect("four bytes"));
    put_counter(&mut bytes, counter.wrapping_add(1));
    let count = (bytes.len() / PAGE) as u32;
    bytes[PAGE_COUNT].copy_from_slice(&count.to_be_bytes());
    disk.write(inode, 0, &bytes);
    disk.sync(inode);
    disk.sync_folder("");
    world.met(Event::StockWrote);
    let checked = world.oracle().name_written(sums_of(&bytes));
    world.check(checked);
}
