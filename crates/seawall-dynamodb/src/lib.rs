//! Seawall's coordinator in Amazon DynamoDB: a database's head is one item, moved by conditional updates.
//!
//! ```
//! use seawall::Options;
//! use seawall_dynamodb::address::Address;
//!
//! # fn main() -> Result<(), String> {
//! // Once in a process, before a database is opened; `seawall-sqlite` does it.
//! seawall_dynamodb::register();
//!
//! let url = "dynamodb://locks?region=eu-west-1";
//! assert_eq!(Address::parse(url)?.table, "locks");
//! let options = Options { coordinator: url.into(), ..Options::default() };
//! # Ok(())
//! # }
//! ```
//!
//! `docs/dynamodb.md` has the item, the requests, and what they cost.
//!
//! # Inside
//!
//! - pure: [`address`], [`item`], [`request`] (with the one list of conditions), `legacy`
//! - [`table`]: the trait of what requests are sent to; `retry`: the loop that sends them, again where an attempt
//!   failed
//! - [`DynamoCoordinator`]: the engine's questions, as requests
//! - [`sdk`]: the table behind Amazon's SDK, the only part that does I/O
#![forbid(unsafe_code)]

pub mod address;
pub mod admin;
mod coordinator;
pub mod item;
mod legacy;
#[cfg(feature = "mutations")]
mod mutation;
pub mod request;
mod retry;
pub mod sdk;
pub mod table;
mod wire;

pub use coordinator::DynamoCoordinator;
pub use wire::Verdict;

use address::Address;
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::{Coordinator, kinds};
use seawall::ports::storage::Storage;
use std::sync::Arc;

/// From now on, `dynamodb://…` names coordinators in this process.
pub fn register() {
    kinds::add("dynamodb", make);
}

fn make(url: &str, database: DatabaseId, storage: &Arc<dyn Storage>) -> Result<Box<dyn Coordinator>, String> {
    let table = sdk::table(&Address::parse(url)?)?;
    Ok(Box::new(DynamoCoordinator::new(table, database, storage.clone())))
}
