//! Seawall's simulator: the real engine, many machines, in one process, on simulated files, coordinators and clocks.
//!
//! - The world: virtual time and the order of threads (`world.rs`), processes and their clocks (`process.rs`), what can
//!   happen ([`Event`]) and what happened (`chronicle.rs`).
//! - The implementations of the engine's traits: `storage.rs` is its storage, by the calls of `calls.rs` on `disk.rs`
//!   (with the paths of `paths.rs`, through a client's `names.rs` and the server's `locks.rs`). `service.rs` is
//!   DynamoDB, on [`items`]. `locked_name.rs` is stock SQLite's part in an adoption.
//! - The actors: `actor.rs` runs Seawall's transactions (`transaction.rs`), `stock.rs` those of stock SQLite, and
//!   `director.rs` makes things happen to both.
//! - `recovery.rs` recovers the database, `detaching.rs` detaches it, `moving.rs` moves it. `place.rs` says which
//!   coordinator it is with.
//! - The deliberate mistakes that a storage or a coordinator can make (`docs/mutations.md`): `mistakes.rs`.
//! - The checks: `oracle.rs`, with `oracle/recovery.rs` for what a recovery would find, and `leases.rs`.
//! - [`run`] takes one seed from its [`plan`] to its verdict. [`campaign`] runs many.
#![forbid(unsafe_code)]

mod actor;
mod calls;
pub mod campaign;
mod chronicle;
mod content;
mod detaching;
mod director;
mod disk;
mod event;
mod files;
pub mod items;
mod leases;
mod locked_name;
mod locks;
#[cfg(feature = "mutations")]
mod mistakes;
mod moving;
mod names;
mod oracle;
mod paths;
mod place;
pub mod plan;
mod process;
mod recovery;
pub mod run;
mod service;
mod stock;
mod storage;
mod transaction;
mod world;

pub use event::Event;
