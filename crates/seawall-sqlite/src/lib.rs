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
//! `Cargo.toml` names this crate with its feature `linked`. rusqlite needs no change: with its feature `bundled` it
//! brings its own SQLite, without it it uses the system's. [`uri()`] lists the options. `examples/rusqlite.rs` is a
//! whole program.
//!
//! Everywhere else:
//!
//! - [`sqlite3_seawall_init`] is the entry point of the loadable extension, `libseawall.so`, for the `sqlite3` shell
//!   and for every language whose SQLite loads extensions.
//! - [`register_in`] registers the VFS in the SQLite of a library that is open in this process. The Python module uses
//!   it, because many builds of Python cannot load extensions.
//!
//! SQLite passes on the code of a VFS's error and drops its text. [`take_failure`] has the text. [`copy`], [`remove`],
//! [`status`] and [`counts`] concern a whole database, and so does what [`open`] gives. [`begin_request`] and
//! [`end_request`] mark a request, in which connections with `freshness=request` ask once for newer commits.
//!
//! # Inside
//!
//! This crate only translates: SQLite's calls into the engine's transactions, and the engine's errors into SQLite's
//! codes. It holds all of the project's `unsafe` code. It uses SQLite's frozen C interface, and takes the functions
//! from the table that each SQLite hands to its extensions. Therefore it serves every copy of SQLite in a process, and
//! links none of them without the feature `linked`.
//!
//! Each module uses only those below it in this list (`tests/layers.rs` checks that):
//!
//! | module | what it has |
//! | --- | --- |
//! | `register`, `tools` | registration from a Rust program; operations on a whole database |
//! | `entry` | the functions that SQLite calls for each copy of itself and for each connection |
//! | `vfs` | `sqlite3_vfs` |
//! | `io_methods` | `sqlite3_io_methods` of a database file |
//! | `opening`, `pragma` | what an opened file becomes; the PRAGMAs that Seawall answers |
//! | `main_file` | one open database file: locks begin and end transactions, and the sync commits |
//! | `plain_file` | a plain file that SQLite's own VFS opened |
//! | `stock_sqlite` | how NAME is locked and finished by stock SQLite while the engine adopts it |
//! | `fork` | forks, counted |
//! | `connection` | one connection: its settings, its statements, how long it waits |
//! | `writing`, `journal`, `parameters`, `unshared` | a write transaction; rollback journals in memory; the URI; `cache=shared` |
//! | `host` | the copies of SQLite in the process |
//! | `api`, `failure` | the functions of one copy; errors as SQLite's codes |
//! | `abi`, `header`, `request`, `sync`, `uri` | SQLite's binary interface; header fields; requests; locks; URIs |
//!
//! `docs/design.md`, "SQLite", has the table of which side does what.

mod abi;
mod api;
mod connection;
mod entry;
mod failure;
mod fork;
mod header;
mod host;
mod io_methods;
mod journal;
mod main_file;
mod opening;
mod parameters;
mod plain_file;
mod pragma;
mod register;
mod request;
mod stock_sqlite;
mod sync;
mod tools;
mod unshared;
mod uri;
mod vfs;
mod writing;

pub use abi::{Routines, Sqlite3};
pub use entry::sqlite3_seawall_init;
pub use failure::{Failure, code_of, take_failure};
#[cfg(feature = "linked")]
pub use register::register;
pub use register::register_in;
pub use request::{begin_request, end_request};
pub use seawall::{end_process, will_end_process};
pub use tools::{adopt, copy, counts, detach, move_to, open, recover, refresh, remove, restore, status};
pub use uri::uri;
