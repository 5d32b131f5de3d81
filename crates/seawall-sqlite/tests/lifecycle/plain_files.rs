//! Plain SQLite files and Seawall's databases on one connection.

use crate::{Folder, Others, attach, connect, done, refused};
use rusqlite::{Connection, OpenFlags, ffi};

/// The VFS runs a statement, and writes another file, in the middle of SQLite's call.
#[test]
fn other_databases_are_checked_in_the_commit() {
    let folder = Folder::new();
    let connection = connect(&folder.name("db.sqlite3"));
    done(&connection, "CREATE TABLE t (x)");
    done(&connection, &format!("ATTACH 'file:{}?vfs=unix' AS plain", folder.name("plain.sqlite3").display()));
    done(&connection, "CREATE TABLE plain.p (x)");
    done(&connection, "ATTACH '' AS nameless");
    done(&connection, "CREATE TABLE nameless.n (x)");
    done(&connection, "PRAGMA nameless.cache_size = 10");
    for _ in 0..3 {
        done(&connection, "BEGIN IMMEDIATE");
        done(&connection, "INSERT INTO n VALUES (zeroblob(200000))");
        done(&connection, "INSERT INTO t VALUES (1)");
        done(&connection, "COMMIT");
    }
    // SAFETY: the connection is open, and the call removes its trace callback.
    unsafe { ffi::sqlite3_trace_v2(connection.handle(), 0, None, std::ptr::null_mut()) };
    done(&connection, "DETACH nameless");
    for _ in 0..3 {
        done(&connection, "BEGIN IMMEDIATE");
        done(&connection, "INSERT INTO t VALUES (1)");
        assert_eq!(refused(&connection, "COMMIT").code, ffi::SQLITE_IOERR_COMMIT_ATOMIC);
        done(&connection, "INSERT INTO t VALUES (1)");
    }
    assert_eq!(done(&connection, "SELECT count(*) FROM t"), "Integer(6)|\n");
}

/// Where main is plain, SQLite keeps our journal in a file of ours.
#[test]
fn journals() {
    let folder = Folder::new();
    done(&connect(&folder.name("db")), "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 60) INSERT INTO ours.t SELECT n, zeroblob(3000) FROM c";
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "MEMORY"] {
        let plain = folder.plain();
        attach(&plain, &folder.name("db"), "ours");
        attach(&plain, &folder.name("beside"), "beside");
        done(&plain, "CREATE TABLE IF NOT EXISTS beside.u (a)");
        done(&plain, &format!("PRAGMA journal_mode = {mode}"));
        done(&plain, "PRAGMA ours.cache_size = 10");
        for end in ["COMMIT", "ROLLBACK", "COMMIT"] {
            done(&plain, "BEGIN");
            // Locked, and not changed: SQLite ties both together by a super-journal.
            done(&plain, "DELETE FROM beside.u WHERE a = 7");
            done(&plain, "DELETE FROM ours.t");
            done(&plain, fill);
            done(&plain, "SAVEPOINT s");
            done(&plain, "UPDATE ours.t SET a = zeroblob(2000)");
            let others = Others::take_what_is_free();
            done(&plain, "ROLLBACK TO s");
            done(&plain, end);
            drop(others);
            assert_eq!(done(&plain, "SELECT count(*), sum(length(a)) FROM ours.t"), "Integer(60)|Integer(180000)|\n");
        }
        // A commit that is refused, after its journal has named a super-journal.
        done(&plain, "CREATE TABLE IF NOT EXISTS main.v (a)");
        done(&plain, "BEGIN");
        done(&plain, "UPDATE ours.t SET a = zeroblob(1000)");
        done(&plain, "INSERT INTO main.v VALUES (1)");
        assert_eq!(refused(&plain, "COMMIT").code & 0xff, ffi::SQLITE_IOERR);
        assert_eq!(done(&plain, "SELECT sum(length(a)) FROM ours.t"), "Integer(180000)|\n");
        // Closed in the middle.
        done(&plain, "BEGIN");
        done(&plain, "UPDATE ours.t SET a = zeroblob(1000)");
        drop(plain);
        let _others = Others::take_what_is_free();
        assert_eq!(done(&connect(&folder.name("db")), "SELECT sum(length(a)) FROM t"), "Integer(180000)|\n");
    }
}

/// A file that is attached by a path without a VFS becomes a file of SQLite's own VFS, in the memory of one of
/// Seawall's.
#[test]
fn attached_plain_files() {
    let folder = Folder::new();
    let plain = |name: &str| folder.name(name).display().to_string();
    done(&folder.plain(), "CREATE TABLE u (a)");
    std::fs::write(folder.name("text"), "no database, but a text of some length".repeat(100)).expect("a file");
    let connection = connect(&folder.name("db"));
    done(&connection, "CREATE TABLE t (a)");
    for journal_mode in ["DELETE", "WAL", "MEMORY", "DELETE"] {
        done(&connection, &format!("ATTACH '{}' AS plain", plain("plain.sqlite3")));
        done(&connection, &format!("ATTACH '{}' AS made", plain(journal_mode)));
        done(&connection, "PRAGMA mmap_size = 100000");
        done(&connection, &format!("PRAGMA plain.journal_mode = {journal_mode}"));
        let _others = Others::take_what_is_free();
        done(&connection, "CREATE TABLE IF NOT EXISTS made.m (a)");
        done(&connection, "BEGIN");
        done(&connection, "INSERT INTO plain.u VALUES (zeroblob(20000))");
        done(&connection, "ROLLBACK");
        done(&connection, "INSERT INTO plain.u VALUES (1)");
        done(&connection, "INSERT INTO t SELECT a FROM plain.u");
        for (name, code) in [("text", ffi::SQLITE_NOTADB), ("no/such/folder", ffi::SQLITE_CANTOPEN)] {
            assert_eq!(refused(&connection, &format!("ATTACH '{}' AS other", plain(name))).code & 0xff, code, "{name}");
        }
        let asks_by_half = format!("ATTACH 'file:{}?freshness=request' AS other", plain("half"));
        assert_eq!(refused(&connection, &asks_by_half).code, ffi::SQLITE_CANTOPEN);
        done(&connection, "DETACH plain");
        done(&connection, "DETACH made");
    }
    done(&connection, &format!("VACUUM INTO '{}'", plain("copy")));
    done(&connection, &format!("ATTACH '{}' AS plain", plain("plain.sqlite3")));
    drop(connection);
    assert_eq!(done(&folder.plain(), "SELECT count(*) FROM u"), "Integer(4)|\n");
    let left: Vec<_> =
        std::fs::read_dir(folder.0.path()).expect("a folder").map(|it| it.expect("an entry").file_name()).collect();
    let folders = left.iter().filter(|name| name.to_string_lossy().ends_with("-seawall")).count();
    assert_eq!(folders, 1, "{left:?}");
}

/// `sqlite3_open_v2` with the VFS's name, and a path that is no URI.
#[test]
fn opened_by_the_name_of_the_vfs() {
    let folder = Folder::new();
    drop(connect(&folder.name("db")));
    done(&folder.plain(), "CREATE TABLE t (a)");
    let open = |name: &str| Connection::open_with_flags_and_vfs(folder.name(name), OpenFlags::default(), c"seawall");
    for name in ["plain.sqlite3", "absent"] {
        drop(open(name).expect("the file is not used yet"));
        assert!(!folder.name(&format!("{name}-seawall")).exists());
        let connection = open(name).expect("the file is not used yet");
        let _others = Others::take_what_is_free();
        done(&connection, "CREATE TABLE IF NOT EXISTS t (a)");
        done(&connection, "INSERT INTO t VALUES (1)");
        done(&connection, &format!("ATTACH '{}' AS beside", folder.name("beside").display()));
        done(&connection, "CREATE TABLE IF NOT EXISTS beside.b (a)");
        drop(connection);
        assert_eq!(done(&connect(&folder.name(name)), "SELECT count(*) FROM t"), "Integer(1)|\n");
    }
    assert!(!folder.name("beside-seawall").exists());
    let in_memory = Connection::open_with_flags_and_vfs(":memory:", OpenFlags::default(), c"seawall").expect("memory");
    done(&in_memory, &format!("ATTACH '{}' AS beside", folder.name("beside").display()));
    done(&in_memory, "INSERT INTO beside.b VALUES (1)");
    assert!(!folder.name("beside-seawall").exists());
}
