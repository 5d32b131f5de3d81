//! Seawall as a SQLite VFS: one SQLite database on a shared file system, safe and fast for many machines at once.
//!
//! In a Rust program, with rusqlite:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let name = folder.path().join("db.sqlite3");
//! seawall_sqlite::register()?;
//! let connection = rusqlite::Connection::open(seawall_sqlite::uri(&name, &[("timeout", "5")]))?;
//! connection.execute_batch("CREATE TABLE visit (at TEXT); INSERT INTO visit VALUES (datetime())")?;
//! # Ok(())
//! # }
//! ```
//!
//! `Cargo.toml` names this crate with its feature `linked`. rusqlite is used as it is: with its feature `bundled` it has
//! a SQLite of its own, without it the system's. [`uri`] has the options. A whole program is in `examples/rusqlite.rs`.
//!
//! Everywhere else:
//!
//! - [`sqlite3_seawall_init`] is the entry point of the loadable extension, `libseawall.so`: for the `sqlite3` shell, and
//!   for every language whose SQLite loads extensions.
//! - [`register_in`] registers the VFS in the SQLite of a library that is open in this process. The Python module uses
//!   it, because many builds of Python cannot load extensions.
//!
//! SQLite passes on the code of a VFS's error and drops its words. [`take_failure`] has them. [`copy`], [`remove`],
//! [`status`] and [`counts`] concern a whole database; [`begin_request`] and [`end_request`] mark a request, in which
//! connections with `freshness=request` ask once for newer commits.
//!
//! # Inside
//!
//! This crate only translates: SQLite's calls into the engine's transactions, the engine's errors into SQLite's codes.
//! It holds all of the project's `unsafe` code. It uses SQLite's raw, frozen interface, and takes the functions from the
//! table that each SQLite hands to its extensions. So it serves all copies of SQLite that a process holds, and links
//! none of them unless the feature `linked` asks for it.
//!
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
mod unshared;
mod uri;
mod vfs;
mod writing;

pub use abi::{Routines, Sqlite3};
pub use failure::{Failure, code_of, take_failure};
pub use host::sqlite3_seawall_init;
pub use process::{begin_request, copy, counts, end_request, remove, status};
#[cfg(feature = "linked")]
pub use register::register;
pub use register::register_in;
pub use uri::uri;

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
