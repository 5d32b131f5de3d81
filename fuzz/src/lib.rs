//! What the fuzz targets check, each in a module with one function that takes the fuzzer's bytes. `docs/fuzzing.md`
//! tells of them.
//!
//! A test of the workspace (`crates/seawall-sqlite/tests/corpora.rs`) includes this file, and replays every kept input.

#[path = "../../crates/seawall/tests/common/mod.rs"]
mod common;
pub mod payloads;
pub mod reading;
pub mod segment;
pub mod sql;
pub mod texts;
