//! What the engine stands on: the traits through which all I/O goes, and below them their implementations.

pub mod coordinator;
pub mod counters;
pub(crate) mod moment;
pub mod process;
pub mod stock_sqlite;
pub mod storage;
#[cfg(feature = "simulation")]
pub mod sync;
#[cfg(not(feature = "simulation"))]
pub(crate) mod sync;
pub mod threads;
