//! Seawall's simulator: the real engine, many machines, in one process, on simulated files, coordinators and clocks.
//!
//! - [`world`](self): virtual time and who runs (`world.rs`), processes and clocks (`process.rs`), what happened (`chronicle.rs`)
//! - what the engine's traits meet: `storage.rs` (calls in `calls.rs`, on `disk.rs`, through a client's `names.rs` and `locks.rs`),
//!   `table.rs` (on [`items`]), `plain.rs`
//! - who acts: `actor.rs`, `stock.rs`, and `director.rs`, which makes things happen to the others
//! - `mistakes.rs`: the deliberate ones (`docs/mutations.md`) that a storage or a coordinator can make
//! - who checks: `oracle.rs`, and `oracle/recovery.rs` for what a recovery would find
//! - [`run`]: one seed, from its [`plan`] to its verdict; [`campaign`]: many
#![forbid(unsafe_code)]

mod actor;
mod calls;
pub mod campaign;
mod chronicle;
mod director;
mod disk;
mod files;
pub mod items;
mod locks;
#[cfg(feature = "mutations")]
mod mistakes;
mod names;
mod oracle;
mod plain;
pub mod plan;
mod process;
pub mod run;
mod stock;
mod storage;
mod table;
mod transaction;
mod world;

pub use chronicle::Event;
