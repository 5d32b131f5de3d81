//! Seawall in a Rust program: the example works, and failures have their texts.

#[path = "../examples/rusqlite.rs"]
#[allow(dead_code, reason = "the example's main has arguments of its own")]
mod example;

use example::{explain, visit};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Registers Seawall first, so that the tests can run in any order.
fn folder() -> tempfile::TempDir {
    seawall_sqlite::register().expect("this SQLite takes the VFS");
    tempfile::tempdir().expect("a folder")
}

#[test]
fn the_example_counts() {
    let folder = folder();
    let name = folder.path().join("visits.sqlite3");
    let total: i64 = std::thread::scope(|threads| {
        let all = [(); 4]
            .map(|()| threads.spawn(|| visit(&name).map_err(|error| explain(error).to_string()).expect("a visit")));
        all.into_iter().map(|visits| visits.join().expect("its number")).sum()
    });
    assert_eq!(total, 1 + 2 + 3 + 4);
    assert!(folder.path().join("visits.sqlite3-seawall").is_dir());

    let copy = folder.path().join("copy.sqlite3");
    seawall_sqlite::copy(&name, &copy, None).expect("a copy");
    let plain = Connection::open_with_flags_and_vfs(&copy, OpenFlags::default(), c"unix").expect("a plain file");
    let visits: i64 = plain.query_row("SELECT count(*) FROM visit", (), |row| row.get(0)).expect("its rows");
    assert_eq!(visits, 4);
}

#[test]
fn registering_again_changes_nothing() {
    let folder = folder();
    seawall_sqlite::register().expect("a second time");
    // A file that no program opens through Seawall stays a plain one.
    let name = folder.path().join("plain.sqlite3");
    let plain = Connection::open(&name).expect("a plain file");
    plain.execute_batch("CREATE TABLE t (a)").expect("a table");
    drop(plain);
    assert!(!folder.path().join("plain.sqlite3-seawall").exists());
}

#[test]
fn a_failure_has_its_text() {
    let folder = folder();
    let uri = format!("file:{}?vfs=seawall&frehsness=request", folder.path().join("db").display());
    let error = Connection::open(uri).expect_err("a mistyped parameter");
    let text = explain(error).to_string();
    assert!(text.contains("frehsness"), "{text}");
}

#[test]
fn a_library_that_is_not_open_is_refused() {
    let failure = seawall_sqlite::register_in(Path::new("/nowhere/libsqlite3.so")).expect_err("it is not open");
    assert_eq!(failure.to_string(), "/nowhere/libsqlite3.so is not a library that is open in this process");
}

/// `make test` runs this file twice: on rusqlite's own SQLite, and on the system's.
#[test]
fn the_sqlite_is_the_requested_one() {
    let _folder = folder();
    let loaded = std::fs::read_to_string("/proc/self/maps").expect("what this process has loaded");
    let asked = std::env::var_os("LIBSQLITE3_SYS_USE_PKG_CONFIG").is_some();
    assert_eq!(loaded.contains("/libsqlite3.so"), asked);
}
