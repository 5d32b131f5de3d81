//! The connections that have a Seawall file: found by the address of their `sqlite3` when a file is opened, and by a
//! ticket when SQLite calls back.
//!
//! SQLite keeps a callback's context for as long as the `sqlite3` lives, and a [`Connection`] lives as long as its files.
//! So the context is no address of ours: it is a number, and whoever comes with one that was given back finds nothing.

use crate::abi::Sqlite3;
use crate::connection::{Connection, locked};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, Weak};

/// By the address of the `sqlite3`.
static CONNECTIONS: LazyLock<Mutex<HashMap<usize, Weak<Connection>>>> = LazyLock::new(Mutex::default);

/// The lists of this module, held.
pub(crate) type Lists = (MutexGuard<'static, HashMap<usize, Weak<Connection>>>, MutexGuard<'static, Free>);

/// Holds the lists of this module.
pub(crate) fn lists() -> Lists {
    (locked(&CONNECTIONS), locked(&FREE))
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
