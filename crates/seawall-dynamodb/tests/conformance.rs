//! The coordinator on Amazon's own DynamoDB Local, against the suite that all must pass.

mod common;

use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::Coordinator;
use seawall::ports::coordinator::conformance::{Setting, check};
use seawall::ports::storage::os::OsStorage;
use seawall_dynamodb::address::Address;
use seawall_dynamodb::{DynamoCoordinator, sdk};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

struct Item {
    database: DatabaseId,
    folder: tempfile::TempDir,
}

impl Setting for Item {
    fn database(&self) -> DatabaseId {
        self.database
    }

    fn machine(&self) -> Box<dyn Coordinator> {
        let table = sdk::table(&Address::parse(common::url().unwrap()).unwrap()).unwrap();
        let storage = OsStorage::new(&self.folder.path().join("db.sqlite3")).unwrap();
        Box::new(DynamoCoordinator::new(table, self.database, Arc::new(storage)))
    }
}

#[test]
fn dynamodb() {
    if common::url().is_none() {
        return;
    }
    let settings = AtomicU8::new(0);
    check(&|| {
        let n = settings.fetch_add(1, Ordering::Relaxed);
        Box::new(Item { database: DatabaseId([n; 16]), folder: tempfile::tempdir().unwrap() })
    });
}
