//! The whole life of the VFS's objects. SQLite opens, shares, replaces and closes files in every order, and no freed
//! memory is used. `make memory` runs this under Valgrind. Without Valgrind, other objects take the freed memory.

mod connections;
mod plain_files;
mod replaced;
mod shared_cache;
#[path = "../../../../fuzz/src/sql/sqlite.rs"]
#[allow(dead_code, reason = "shared with the fuzz target")]
mod sqlite;

use rusqlite::{Connection, OpenFlags};
use sqlite::{Refusal, run};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    /// Registers Seawall first, so that the tests can run in any order.
    fn new() -> Folder {
        seawall_sqlite::register().expect("this SQLite takes the VFS");
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn name(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn plain(&self) -> Connection {
        let flags = OpenFlags::default();
        Connection::open_with_flags_and_vfs(self.name("plain.sqlite3"), flags, c"unix").expect("a plain file")
    }
}

fn connect(name: &Path) -> Connection {
    let connection = sqlite::open(name).expect("a database");
    done(&connection, "PRAGMA seawall_timeout = 5000");
    connection
}

fn done(connection: &Connection, sql: &str) -> String {
    run(connection, sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}: {:?}", seawall_sqlite::take_failure())).0
}

fn refused(connection: &Connection, sql: &str) -> Refusal {
    run(connection, sql).expect_err("it is refused")
}

fn uri(name: &Path) -> String {
    format!("file:{}?vfs=seawall", name.display())
}

fn attach(connection: &Connection, name: &Path, schema: &str) {
    done(connection, &format!("ATTACH '{}' AS {schema}", uri(name)));
}

/// Other objects, of all sizes that freed ones may have had. When they are dropped, their bytes must be unchanged.
struct Others(Vec<Vec<u8>>);

impl Others {
    fn take_what_is_free() -> Others {
        Others((16..1024).step_by(16).flat_map(|size| (0..20).map(move |_| vec![0x7f; size])).collect())
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        assert!(self.0.iter().flatten().all(|byte| *byte == 0x7f), "freed memory was written");
    }
}
