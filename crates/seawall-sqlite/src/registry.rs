//! The connections that have a Seawall file: found by the address of their `sqlite3` when a file is opened, and by a
//! ticket when SQLite calls back.
//!
//! SQLite keeps a callback's context for as long as the `sqlite3` lives, and a [`Connection`] lives as long as its files.
//! So the context is no address of ours: it is a number, and whoever comes with one that was given back finds nothing.

use crate::abi::Sqlite3;
use crate::api::SqliteApi;
use crate::connection::{Connection, locked};
use std::collections::{HashMap, HashSet};
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, Weak};

/// By the address of the `sqlite3`.
static CONNECTIONS: LazyLock<Mutex<HashMap<usize, Weak<Connection>>>> = LazyLock::new(Mutex::default);

/// The lists of this module, held.
pub(crate) type Lists = (
    MutexGuard<'static, HashMap<usize, Weak<Connection>>>,
    MutexGuard<'static, Free>,
    MutexGuard<'static, HashSet<usize>>,
);

/// Holds the lists of this module.
pub(crate) fn lists() -> Lists {
    (locked(&CONNECTIONS), locked(&FREE), locked(&JOURNALS))
}

/// Where the names of our files' journals and WALs lie. SQLite asks about them by the very names that it keeps beside the
/// database's, in every transaction.
static JOURNALS: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);

/// Whether there ever was a plain file under our VFS. Until then every journal is ours, and nobody needs to look.
static MIXED: AtomicBool = AtomicBool::new(false);

/// The names of one file's journal and WAL, while it is open, and ours.
pub(crate) struct Journals([usize; 2]);

impl Journals {
    /// # Safety
    /// `name` is a database name of this SQLite.
    pub(crate) unsafe fn of(api: &SqliteApi, name: *const c_char) -> Journals {
        // SAFETY: the caller's.
        let names = unsafe { [(api.filename_journal)(name), (api.filename_wal)(name)] }.map(|name| name.addr());
        locked(&JOURNALS).extend(names);
        Journals(names)
    }

    /// From now on not every journal is ours.
    pub(crate) fn are_mixed() {
        MIXED.store(true, Relaxed);
    }

    /// Whether `name`, a journal's or a WAL's, is that of a file of ours.
    pub(crate) fn are_ours(name: *const c_char) -> bool {
        !MIXED.load(Relaxed) || locked(&JOURNALS).contains(&name.addr())
    }
}

impl Drop for Journals {
    fn drop(&mut self) {
        let mut journals = locked(&JOURNALS);
        for name in self.0 {
            journals.remove(&name);
        }
    }
}

/// The connection of `db`: the one that is known already, or `new` from now on.
pub(crate) fn known_or(db: *mut Sqlite3, new: &Arc<Connection>) -> Option<Arc<Connection>> {
    let mut connections = locked(&CONNECTIONS);
    let known = connections.get(&(db as usize)).and_then(Weak::upgrade);
    if known.is_none() {
        connections.insert(db as usize, Arc::downgrade(new));
    }
    known
}

/// The connection of `db`, if it has a Seawall file.
pub(crate) fn find(db: *mut Sqlite3) -> Option<Arc<Connection>> {
    locked(&CONNECTIONS).get(&(db as usize)).and_then(Weak::upgrade)
}

/// `db` is nobody's any more, unless SQLite has given the address to a new connection already.
pub(crate) fn forget(db: *mut Sqlite3, connection: *const Connection) {
    let mut connections = locked(&CONNECTIONS);
    if connections.get(&(db as usize)).is_some_and(|known| std::ptr::eq(known.as_ptr(), connection)) {
        connections.remove(&(db as usize));
    }
}

/// Places for connections: found without a lock that others hold, for that is done at every statement, and another
/// thread may be there while this process forks.
const CHUNK: usize = 256;
const CHUNKS: usize = 4096;
static PLACES: [OnceLock<Box<[Mutex<Place>; CHUNK]>>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];
static FREE: Mutex<Free> = Mutex::new(Free { given_back: Vec::new(), used: 0 });

#[derive(Default)]
struct Place {
    /// Counted on whenever the place is given back.
    generation: u32,
    connection: Weak<Connection>,
}

/// Which places are free.
pub(crate) struct Free {
    given_back: Vec<usize>,
    used: usize,
}

/// What stands for a connection in SQLite's hands, until it is dropped.
pub(crate) struct Ticket {
    place: usize,
    generation: u32,
}

impl Ticket {
    /// None beyond a million connections at a time.
    pub(crate) fn of(connection: &Arc<Connection>) -> Option<Ticket> {
        let mut free = locked(&FREE);
        let index = free.given_back.pop().unwrap_or(free.used);
        let chunk = PLACES.get(index / CHUNK)?;
        free.used = free.used.max(index + 1);
        let mut place =
            locked(&chunk.get_or_init(|| Box::new(std::array::from_fn(|_| Mutex::default())))[index % CHUNK]);
        place.connection = Arc::downgrade(connection);
        Some(Ticket { place: index, generation: place.generation })
    }

    /// For SQLite to keep.
    pub(crate) fn context(&self) -> *mut c_void {
        const { assert!(usize::BITS == 64, "a ticket has 64 bits") };
        std::ptr::without_provenance_mut((self.generation as usize) << 32 | self.place)
    }

    /// The connection that `context` stands for, if that is still its.
    pub(crate) fn holder(context: *mut c_void) -> Option<Arc<Connection>> {
        let (index, generation) = (context.addr() & 0xffff_ffff, (context.addr() >> 32) as u32);
        let place = locked(&PLACES.get(index / CHUNK)?.get()?[index % CHUNK]);
        if place.generation == generation { place.connection.upgrade() } else { None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(chunk) = PLACES[self.place / CHUNK].get() {
            let mut place = locked(&chunk[self.place % CHUNK]);
            place.generation = place.generation.wrapping_add(1);
            place.connection = Weak::new();
        }
        locked(&FREE).given_back.push(self.place);
    }
}
