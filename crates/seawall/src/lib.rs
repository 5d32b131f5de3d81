//! Seawall's engine: one SQLite database on a shared file system, safe and fast for many machines at once.
//!
//! Programs use it through `seawall-sqlite`, the VFS. On its own, it stores numbered pages in versions:
//!
//! ```
//! use seawall::{Access, Database, Freshness, Options, PageNo, PageSize, Version};
//! use std::time::Duration;
//!
//! # fn main() -> seawall::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let name = folder.path().join("db.sqlite3");
//! let database = Database::open(&name, Access::Create, &Options::default(), &Alone)?;
//!
//! // One writer at a time; others wait here.
//! let mut transaction = database.begin(Duration::from_secs(5))?;
//! let size = PageSize::new(4096).expect("a power of two");
//! transaction.write_page(size, PageNo(1), &[7; 4096])?;
//! transaction.commit(1)?; // one page in all; from here on every machine sees it
//!
//! // A snapshot stays as it is, whatever is committed later.
//! let snapshot = database.snapshot(Freshness::Transaction)?;
//! assert_eq!(snapshot.version(), Version(1));
//! assert_eq!(database.read_page(&snapshot, PageNo(1))?[0], 7);
//! # Ok(())
//! # }
//! #
//! # use seawall::{Error, HeldFile, PlainSqlite};
//! # use std::os::unix::fs::FileExt;
//! # struct Alone;
//! # struct Held(std::fs::File);
//! # fn held<T>(result: std::io::Result<T>) -> seawall::Result<T> {
//! #     result.map_err(|error| Error::io("using NAME", error))
//! # }
//! # impl PlainSqlite for Alone {
//! #     fn hold(&self, name: &std::path::Path, create: bool, _: Duration) -> seawall::Result<Box<dyn HeldFile>> {
//! #         let mut how = std::fs::OpenOptions::new();
//! #         Ok(Box::new(Held(held(how.read(true).write(true).create(create).open(name))?)))
//! #     }
//! # }
//! # impl HeldFile for Held {
//! #     fn size(&mut self) -> seawall::Result<u64> {
//! #         Ok(held(self.0.metadata())?.len())
//! #     }
//! #     fn read(&mut self, offset: u64, into: &mut [u8]) -> seawall::Result<()> {
//! #         held(self.0.read_exact_at(into, offset))
//! #     }
//! #     fn write(&mut self, offset: u64, bytes: &[u8]) -> seawall::Result<()> {
//! #         held(self.0.write_all_at(bytes, offset))
//! #     }
//! #     fn sync(&mut self) -> seawall::Result<()> {
//! #         held(self.0.sync_all())
//! #     }
//! # }
//! ```
//!
//! `Alone` is a [`PlainSqlite`]: it holds NAME, a file that other programs open with stock SQLite, while the engine
//! adopts it. `seawall-sqlite` has the one that takes SQLite's own locks.
//!
//! # Inside
//!
//! Pages go to append-only segments; one compare-and-swap of a small head decides their order. `docs/design.md` is the
//! contract: its words are used here, and mean the same.
//!
//! The layers, from the bottom to the top. Each uses only those before it in this list (`tests/layers.rs` checks that):
//!
//! 1. `bounds`, `mutation`, `shown`, `way_out`: small things that all the others may use
//! 2. [`format`](mod@format): what is in the files and in the head. Pure data and encodings.
//! 3. `error`: what can go wrong: [`Error`]
//! 4. [`ports`], `options`: the traits through which all I/O goes ([`ports::storage`], [`ports::coordinator`]), and
//!    their implementations; what a program can choose: [`Options`]
//! 5. `chores`: what is done in the background, one after the other
//! 6. [`read`]: from a head to a [`Snapshot`] and its pages
//! 7. `write`: from the writers' queue to the commit of a [`Transaction`]; the whole path of a commit is in
//!    `write/commit.rs`
//! 8. `upkeep`: checkpoints, pins, garbage collection and verification
//! 9. `database`: what a process keeps for a database: [`Database`], with a tip to read by and a committer to write by
//! 10. `open`: opening, adopting, removing, exporting
#![forbid(unsafe_code)]

pub mod bounds;
mod chores;
mod database;
mod error;
pub mod format;
pub mod mutation;
mod open;
mod options;
pub mod ports;
pub mod read;
mod shown;
mod upkeep;
mod way_out;
mod write;

pub use database::Database;
pub use error::{Error, ErrorKind, Result};
pub use format::ids::{PageNo, PageSize, Version};
pub use open::detach::{detach, detach_on};
pub use open::move_to::{Moved, move_on, move_to};
pub use open::recover::{FoundVersion, Recovered, Recovery, recover, recover_on};
pub use open::ways_out::{adopt, refresh_name, restore_from};
pub use open::{
    Request, Status, begin_request, check, end_process, end_request, may_be_adopted, reached_by, remove, verify,
    will_end_process,
};
pub use options::{Access, Freshness, Options};
pub use ports::counters::Counts;
pub use ports::moment::Moment;
pub use ports::stock_sqlite::{HeldFile, PlainSqlite};
pub use read::history::At;
pub use read::pages::Page;
pub use read::snapshot::{PageSource, Snapshot};
pub use read::tip::FORKED_INSIDE;
pub use shown::Shown;
pub use upkeep::checkpoint::{Checkpoint, Progress};
pub use upkeep::collect::{Collected, Collecting, Kept, Sum};
pub use upkeep::collected::LastCollection;
pub use upkeep::overview::Overview;
pub use upkeep::pins::Pinned;
pub use upkeep::verify::{Damage, Finding, Part, Verified, Verifying};
pub use way_out::WayOut;
pub use write::ahead::Route;
pub use write::transaction::Transaction;
