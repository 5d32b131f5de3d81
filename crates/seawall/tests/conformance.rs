//! The coordinators of this crate, against the suite that all must pass.

use seawall::coordinator::conformance::{Setting, check};
use seawall::coordinator::{Coordinator, fs::FsCoordinator};
use seawall::ids::DatabaseId;
use seawall::storage::{Storage, os::OsStorage};
use std::path::PathBuf;
use std::sync::Arc;

struct Folder(tempfile::TempDir);

impl Folder {
    fn storage(&self) -> OsStorage {
        let name: PathBuf = self.0.path().join("db.sqlite3");
        OsStorage::new(&name, &std::env::temp_dir()).unwrap()
    }
}

impl Setting for Folder {
    fn database(&self) -> DatabaseId {
        DatabaseId([7; 16])
    }

    fn machine(&self) -> Box<dyn Coordinator> {
        Box::new(FsCoordinator::new(Arc::new(self.storage())))
    }
}

#[test]
fn fs() {
    check(&|| {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.storage().create_folders().unwrap();
        Box::new(folder)
    });
}
