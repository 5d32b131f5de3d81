//! Seawall's engine: one SQLite database on a shared file system, safe and fast for many machines at once.
//!
//! Pages go to append-only segments; the order comes from one compare-and-swap of a small head. `docs/design.md` is the contract:
//! its words are used here, and mean the same.
//!
//! - pure data and encodings: [`ids`], [`head`], [`frame`], [`group`], [`commit`], [`index`], [`mark`], [`page_map`], [`identity`], [`high`], [`plain`]
//! - the two traits through which all I/O goes: [`storage`], [`coordinator`]
//! - reading and writing at one version: [`Snapshot`], [`Transaction`]
//! - what a process keeps for a database: [`Database`]
#![forbid(unsafe_code)]

mod adopt;
mod background;
pub mod bounds;
mod catch_up;
pub mod codec;
pub mod commit;
pub mod coordinator;
pub mod counters;
mod database;
mod error;
mod export;
pub mod frame;
pub mod group;
pub mod head;
pub mod high;
pub mod identity;
pub mod ids;
pub mod index;
mod lease;
pub mod mark;
mod moment;
pub mod mutation;
mod open;
mod options;
mod overlay;
pub mod page_map;
mod pages;
pub mod plain;
pub mod process;
mod publish;
mod queue;
mod remove;
mod segment;
mod settle;
mod shown;
mod snapshot;
mod status;
pub mod storage;
#[cfg(feature = "simulation")]
pub mod sync;
#[cfg(not(feature = "simulation"))]
mod sync;
pub mod threads;
mod to_come;
mod transaction;

pub use counters::Counts;
pub use database::Database;
pub use error::{Error, ErrorKind, Result};
pub use ids::{PageNo, PageSize, Version};
pub use moment::Moment;
pub use open::{begin_request, check, end_request, may_be_adopted};
pub use options::{Access, Freshness, Options};
pub use pages::Page;
pub use plain::{HeldFile, PlainSqlite};
pub use remove::remove;
pub use shown::Shown;
pub use snapshot::{PagePlace, Snapshot};
pub use status::Status;
pub use to_come::ToCome;
pub use transaction::Transaction;
