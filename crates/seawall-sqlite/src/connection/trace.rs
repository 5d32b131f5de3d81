//! SQLite's trace callback: SQLite calls it before each statement, and so before the statement's first lock.

use super::statements::Last;
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
        let (statement, sql) = (statement.cast::<Statement>(), sql.cast::<c_char>());
        let same_begins = |connection: &Connection, last: &mut Last| {
            if connection.statements.is_probing() || connection.are_settings_due() {
                return false;
            }
            // SAFETY: SQLite's call.
            let traced = unsafe { traced(connection, statement, sql) };
            traced.is_none_or(|(sql, may_write)| connection.same_statement_begins(last, sql, may_write))
        };
        if list::with_last(context, same_begins).is_none_or(|is_done| is_done) {
            return abi::OK;
        }
        let Some(connection) = list::of_callback(context) else { return abi::OK };
        if connection.statements.is_probe() || connection.is_making_settings() {
            return abi::OK;
        }
        // SAFETY: SQLite's call.
        unsafe {
            connection.make_due_main_settings();
            if let Some((sql, may_write)) = traced(&connection, statement, sql) {
                connection.make_due_attached_settings();
                connection.statement_begins(context, sql, may_write);
            }
        }
        abi::OK
    })
}

/// The statement's text, and whether it may write. `None` for a trigger, and for a statement inside another one: SQLite
/// passes another text than the statement's then.
///
/// # Safety
/// SQLite has passed `statement` and `sql`, which ends in NUL, to the trace callback of `connection`, and the callback
/// has not returned.
unsafe fn traced<'a>(
    connection: &Connection,
    statement: *mut Statement,
    sql: *const c_char,
) -> Option<(&'a CStr, bool)> {
    let api = &connection.host.api;
    // SAFETY: guaranteed by the caller. Neither call makes SQLite call back.
    unsafe {
        let is_its_own = !sql.is_null() && std::ptr::eq(sql, (api.sql)(statement));
        is_its_own.then(|| (CStr::from_ptr(sql), (api.stmt_readonly)(statement) == 0))
    }
}
