//! SQLite's trace callback: SQLite calls it before each statement, and so before the statement's first lock.

use super::{Connection, list};
use crate::abi::{self, Sqlite3, Statement};
use crate::failure::{self, guard};
use crate::host::Host;
use std::ffi::{CStr, c_char, c_int, c_void};

impl Connection {
    /// Prepares a connection whose main database is Seawall's, as soon as SQLite has opened main. If main is not there
    /// yet, the settings that read its schema wait for the first use.
    ///
    /// # Safety
    /// `db` is a new connection of `host`'s SQLite, with main opened by Seawall's VFS.
    pub(crate) unsafe fn set_up(host: &'static Host, db: *mut Sqlite3, is_opened: bool) {
        let Some(connection) = list::find(db) else { return };
        let Some(ticket) = list::issue_ticket(&connection) else { return };
        let context = ticket.context();
        connection.set_ticket(Some(ticket));
        // SAFETY: guaranteed by the caller. The context is a number, and SQLite does not follow it.
        unsafe {
            (host.api.trace_v2)(db, abi::TRACE_STMT, Some(on_statement), context);
            connection.make_first_settings(db, is_opened);
        }
        failure::forget();
    }
}

/// SQLite is about to run a statement.
unsafe extern "C" fn on_statement(
    _event: u32,
    context: *mut c_void,
    statement: *mut c_void,
    sql: *mut c_void,
) -> c_int {
    guard(abi::OK, || {
        let Some(connection) = list::of_callback(context) else { return abi::OK };
        if connection.statements.is_probe() || connection.is_making_settings() {
            return abi::OK;
        }
        let (statement, sql) = (statement.cast::<Statement>(), sql.cast::<c_char>());
        // SAFETY: SQLite's call.
        unsafe { connection.make_due_main_settings() };
        // SAFETY: SQLite passes its statement and its text, which ends in NUL.
        unsafe {
            // For a trigger, and for a statement inside another one, SQLite passes another text than the statement's.
            if sql.is_null() || !std::ptr::eq(sql, (connection.host.api.sql)(statement)) {
                return abi::OK;
            }
            let may_write = (connection.host.api.stmt_readonly)(statement) == 0;
            connection.make_due_attached_settings();
            connection.statement_begins(CStr::from_ptr(sql), may_write);
        }
        abi::OK
    })
}
