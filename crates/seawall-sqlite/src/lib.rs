//! Seawall as a SQLite VFS.
//!
//! This crate only translates: SQLite's calls into the engine's transactions, the engine's errors into SQLite's
//! codes. It holds all of the project's `unsafe` code, by the raw, frozen interface of SQLite, without linking to
//! any SQLite: it serves whichever copies the process holds.
//!
//! - [`sqlite3_seawall_init`] is the loadable extension's entry point; [`register`](fn@register) finds a way in
//!   where extensions cannot be loaded.
//! - `main_file` is the heart: the life of a transaction as SQLite drives it.
//! - `docs/design.md`, "SQLite", has the table of who does what.

mod abi;
mod api;
mod connection;
mod failure;
mod fork;
mod header;
mod host;
mod inherited;
mod intent;
mod io_methods;
mod journal;
mod main_file;
mod opening;
mod parameters;
mod participants;
mod patience;
mod plain;
mod pragma;
mod process;
mod register;
mod registry;
mod vfs;
mod writing;

pub use abi::{Routines, Sqlite3};
pub use failure::{Failure, code_of, take_failure};
pub use host::sqlite3_seawall_init;
pub use process::{begin_request, copy, counts, end_request, remove, status};
pub use register::register;

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a callback's body. A panic must not unwind into SQLite: it becomes `otherwise`, and its message the
/// failure's text.
fn guard(otherwise: c_int, body: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let cause = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let text = format!(
            "an error inside Seawall: {cause}. Look whether the transaction was committed before repeating it, and \
             please report this"
        );
        failure::keep(Failure::refusal(otherwise, text));
        otherwise
    })
}
