//! The coordinators of this crate, against the suite that all must pass.

mod common;

use common::faulty::{Call, EACCES, EIO, Fault, Faulty};
use seawall::format::ids::DatabaseId;
use seawall::ports::coordinator::conformance::{Setting, check};
use seawall::ports::coordinator::{Coordinator, fs::FsCoordinator};
use seawall::ports::storage::{Storage, os::OsStorage};
use std::path::PathBuf;
use std::sync::Arc;

struct Folder(tempfile::TempDir);

impl Folder {
    fn storage(&self) -> OsStorage {
        let name: PathBuf = self.0.path().join("db.sqlite3");
        OsStorage::new(&name).unwrap()
    }
}

impl Setting for Folder {
    fn database(&self) -> DatabaseId {
        DatabaseId([7; 16])
    }

    fn machine(&self) -> Box<dyn Coordinator> {
        Box::new(FsCoordinator::new(Arc::new(self.storage())))
    }

    fn machines_without_answers(&self) -> Vec<Box<dyn Coordinator>> {
        let looks = [Call::Look, Call::Records, Call::Named];
        let ways = [
            vec![(Call::Publish, Fault::After(EIO))],
            vec![(Call::SyncPublished, Fault::Before(EIO))],
            looks.map(|call| (call, Fault::Before(EIO))).to_vec(),
            looks.map(|call| (call, Fault::Before(EACCES))).to_vec(),
        ];
        let deaf = |faults: Vec<(Call, Fault)>| {
            let storage = Faulty::new(&self.0.path().join("db.sqlite3"));
            faults.into_iter().for_each(|(call, fault)| storage.fail(call, fault, u32::MAX));
            Box::new(FsCoordinator::new(Arc::new(storage))) as Box<dyn Coordinator>
        };
        ways.into_iter().map(deaf).collect()
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
