//! The connections that have a file of Seawall's. A file finds its connection by the address of the `sqlite3`, and a
//! callback finds it by a ticket.

use super::Connection;
use super::statements::Last;
use super::tickets::{FreeSlots, Ticket, Tickets};
use crate::abi::Sqlite3;
use crate::sync::locked;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

/// By the address of the `sqlite3`.
static CONNECTIONS: LazyLock<Mutex<HashMap<usize, Weak<Connection>>>> = LazyLock::new(Mutex::default);

static TICKETS: Tickets<Connection, Last> = Tickets::new();

/// The locks of the connections and of their tickets.
pub(crate) type ConnectionsLock =
    (MutexGuard<'static, HashMap<usize, Weak<Connection>>>, MutexGuard<'static, FreeSlots>);

/// Locks the list of connections and the list of free tickets.
pub(crate) fn lock_connections() -> ConnectionsLock {
    (locked(&CONNECTIONS), TICKETS.lock_free())
}

/// The connection of `db`, if that is in the list. Otherwise `new` is entered as the connection of `db`.
pub(super) fn find_or_add(db: *mut Sqlite3, new: &Arc<Connection>) -> Option<Arc<Connection>> {
    let mut connections = locked(&CONNECTIONS);
    let known = connections.get(&(db as usize)).and_then(Weak::upgrade);
    if known.is_none() {
        connections.insert(db as usize, Arc::downgrade(new));
    }
    known
}

/// The connection of `db`, if it has a file of Seawall's.
pub(super) fn find(db: *mut Sqlite3) -> Option<Arc<Connection>> {
    locked(&CONNECTIONS).get(&(db as usize)).and_then(Weak::upgrade)
}

/// Removes `connection` from the list, unless SQLite has already given the address `db` to a new connection.
pub(super) fn remove(db: *mut Sqlite3, connection: *const Connection) {
    let mut connections = locked(&CONNECTIONS);
    if connections.get(&(db as usize)).is_some_and(|known| std::ptr::eq(known.as_ptr(), connection)) {
        connections.remove(&(db as usize));
    }
}

/// A ticket for `connection`; `None` if a million connections are open.
pub(super) fn issue_ticket(connection: &Arc<Connection>) -> Option<Ticket<Connection, Last>> {
    TICKETS.issue(connection)
}

/// The connection that the context of a callback stands for, if its main database is still Seawall's.
pub(super) fn of_callback(context: *mut c_void) -> Option<Arc<Connection>> {
    TICKETS.value(context)
}

/// Does `work` with that connection and what is known of its last statement. `work` calls nothing that SQLite could
/// answer with a callback.
pub(super) fn with_last<R>(context: *mut c_void, work: impl FnOnce(&Connection, &mut Last) -> R) -> Option<R> {
    TICKETS.with(context, |connection, last| work(connection, last))
}
