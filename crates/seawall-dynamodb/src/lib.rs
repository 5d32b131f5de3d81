//! Seawall's coordinator in Amazon DynamoDB: a database's head is one item, moved by conditional updates.
//!
//! - pure: [`address`], [`item`], [`request`] (with the one table of conditions), `legacy`
//! - [`table`]: the trait of what requests are sent to, and the loop that repeats them
//! - [`DynamoCoordinator`]: what the engine asks, as requests
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
pub mod sdk;
pub mod table;
mod wire;

pub use coordinator::DynamoCoordinator;
pub use wire::Verdict;

use address::Address;
use seawall::coordinator::{Coordinator, kinds};
use seawall::ids::DatabaseId;
use seawall::storage::Storage;
use std::sync::Arc;

/// From now on, `dynamodb://…` names coordinators in this process.
pub fn register() {
    kinds::add("dynamodb", make);
}

fn make(url: &str, database: DatabaseId, storage: &Arc<dyn Storage>) -> Result<Box<dyn Coordinator>, String> {
    let table = sdk::table(&Address::parse(url)?)?;
    Ok(Box::new(DynamoCoordinator::new(table, database, storage.clone())))
}
