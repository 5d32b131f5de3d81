//! Connections that open, write, wait for one another and close.

use crate::{Folder, Others, attach, connect, done, refused, run, sqlite, uri};
use rusqlite::{Connection, OpenFlags, ffi};
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn transactions_of_every_kind() {
    let folder = Folder::new();
    let connection = connect(&folder.name("db"));
    done(&connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    done(&connection, "PRAGMA cache_size = 10");
    let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 60) INSERT INTO t SELECT n, zeroblob(3000) FROM c";
    for end in ["COMMIT", "ROLLBACK", "ROLLBACK"] {
        done(&connection, "BEGIN IMMEDIATE");
        done(&connection, fill);
        done(&connection, "SAVEPOINT s");
        done(&connection, "UPDATE t SET a = zeroblob(2000)");
        done(&connection, "ROLLBACK TO s");
        done(&connection, end);
        done(&connection, "DELETE FROM t");
    }
    done(&connection, fill);
    assert_eq!(refused(&connection, "INSERT INTO t SELECT 61 - id, 0 FROM t").code & 0xff, ffi::SQLITE_CONSTRAINT);
    done(&connection, "DELETE FROM t WHERE id > 3");
    done(&connection, "VACUUM");
    for pragma in
        ["seawall_status", "seawall_version", "seawall_last_error", "journal_mode", "locking_mode", "mmap_size"]
    {
        done(&connection, &format!("PRAGMA {pragma}"));
    }
    assert_eq!(refused(&connection, "PRAGMA seawall_nothing").code, ffi::SQLITE_ERROR);
    done(&connection, "PRAGMA integrity_check");
    drop(connection);
    assert_eq!(done(&connect(&folder.name("db")), "SELECT count(*) FROM t"), "Integer(3)|\n");
}

#[test]
fn closed_in_every_order() {
    let folder = Folder::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let mut connections = [(); 3].map(|()| Some(connect(&folder.name("db"))));
        for (n, connection) in connections.iter().flatten().enumerate() {
            attach(connection, &folder.name("other"), "other");
            done(connection, &format!("CREATE TABLE IF NOT EXISTS other.t{n} (a)"));
            done(connection, "CREATE TABLE IF NOT EXISTS t (a)");
        }
        for closed in order {
            let left = connections[closed].take();
            drop(left);
            let _others = Others::take_what_is_free();
            for connection in connections.iter().flatten() {
                done(connection, "INSERT INTO t VALUES (1)");
                done(connection, "SELECT * FROM other.t1");
                done(connection, "DETACH other");
                attach(connection, &folder.name("other"), "other");
                done(connection, "INSERT INTO other.t0 VALUES (1)");
            }
        }
    }
}

/// Another writer has the lease. Then another program has an attached plain database.
#[test]
fn waiting_for_another_writer() {
    let folder = Folder::new();
    let connection = connect(&folder.name("db"));
    done(&connection, "CREATE TABLE t (a)");
    done(&folder.plain(), "CREATE TABLE u (a)");
    done(&connection, &format!("ATTACH 'file:{}?vfs=unix' AS plain", folder.name("plain.sqlite3").display()));
    std::thread::scope(|threads| {
        let ((sender, receiver), folder) = (channel(), &folder);
        threads.spawn(move || {
            let other = connect(&folder.name("db"));
            done(&other, "BEGIN IMMEDIATE");
            sender.send(()).expect("it waits");
            std::thread::sleep(Duration::from_millis(150));
            done(&other, "COMMIT");
            let plain = folder.plain();
            done(&plain, "BEGIN IMMEDIATE");
            sender.send(()).expect("it waits");
            std::thread::sleep(Duration::from_millis(150));
            done(&plain, "COMMIT");
        });
        receiver.recv().expect("it holds the lease");
        done(&connection, "INSERT INTO t VALUES (1)");
        receiver.recv().expect("it holds the lock");
        done(&connection, "INSERT INTO plain.u VALUES (1)");
    });
    done(&connection, "PRAGMA seawall_timeout = 1");
    let holder = connect(&folder.name("db"));
    done(&holder, "BEGIN IMMEDIATE");
    for _ in 0..3 {
        assert_eq!(refused(&connection, "INSERT INTO t VALUES (1)").code & 0xff, ffi::SQLITE_BUSY);
    }
}

#[test]
fn many_threads() {
    let folder = Folder::new();
    done(&connect(&folder.name("db")), "CREATE TABLE t (a)");
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                for _ in 0..3 {
                    let connection = connect(&folder.name("db"));
                    done(&connection, "INSERT INTO t VALUES (1)");
                    done(&connection, "SELECT count(*) FROM t");
                }
            });
        }
    });
    assert_eq!(done(&connect(&folder.name("db")), "SELECT count(*) FROM t"), "Integer(9)|\n");
}

#[test]
fn openings_that_fail() {
    let folder = Folder::new();
    let connection = connect(&folder.name("db"));
    done(&connection, "CREATE TABLE t (a)");
    for parameter in ["mode=rw", "mode=ro", "freshness=never", "nothing=1", "immutable=1"] {
        let uri = format!("{}&{parameter}", uri(&folder.name("absent")));
        assert!(Connection::open_with_flags(&uri, OpenFlags::default()).is_err(), "{parameter}");
        assert_eq!(refused(&connection, &format!("ATTACH '{uri}' AS absent")).code & 0xff, ffi::SQLITE_CANTOPEN);
        let _others = Others::take_what_is_free();
        done(&connection, "INSERT INTO t VALUES (1)");
    }
    std::fs::write(folder.name("text"), "no database, but a text of some length".repeat(100)).expect("a file");
    let text = sqlite::open(&folder.name("text")).expect("the content was not checked yet");
    for _ in 0..2 {
        assert_eq!(refused(&text, "SELECT * FROM sqlite_schema").code, ffi::SQLITE_NOTADB);
        assert_eq!(refused(&text, "PRAGMA seawall_version").code, ffi::SQLITE_ERROR);
    }
    drop(text);
    attach(&connection, &folder.name("other"), "other");
    assert!(run(&connection, &format!("ATTACH '{}' AS other", uri(&folder.name("third")))).is_err());
    done(&connection, "CREATE TABLE other.t (a)");
}
