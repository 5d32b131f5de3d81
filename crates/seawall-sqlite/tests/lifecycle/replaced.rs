//! A database whose whole content is replaced: deserialize(), backups, and VACUUM in another page size.

use crate::{Folder, Others, attach, connect, done, refused, uri};
use rusqlite::{Connection, ffi};
use std::sync::mpsc::channel;
use std::time::Duration;

/// deserialize() closes main's file, and the connection goes on with another one, in memory.
#[test]
fn main_is_replaced() {
    for has_other in [false, true] {
        main_is_replaced_with_another(has_other);
    }
}

/// `has_other`: the connection has another file of Seawall's, which stays.
fn main_is_replaced_with_another(has_other: bool) {
    let folder = Folder::new();
    done(&folder.plain(), "CREATE TABLE u (a)");
    let mut connection = connect(&folder.name("db"));
    done(&connection, "CREATE TABLE t (a)");
    if has_other {
        attach(&connection, &folder.name("other"), "other");
    }
    let holder = connect(&folder.name("db"));
    done(&holder, "BEGIN IMMEDIATE");
    done(&connection, "PRAGMA seawall_timeout = 50");
    // After a BUSY the busy handler is Seawall's.
    assert_eq!(refused(&connection, "INSERT INTO t VALUES (1)").code & 0xff, ffi::SQLITE_BUSY);
    done(&connection, "PRAGMA seawall_timeout = 5000");
    drop(holder);
    let image = connection.serialize("main").expect("memory").to_vec();
    connection.deserialize_read_exact("main", image.as_slice(), image.len(), false).expect("memory");
    let _others = Others::take_what_is_free();
    for n in 0..20 {
        done(&connection, &format!("INSERT INTO t VALUES ({n})"));
        done(&connection, "SELECT * FROM t");
    }
    if has_other {
        done(&connection, "CREATE TABLE other.v (a)");
    }
    done(&connection, &format!("ATTACH 'file:{}?vfs=unix' AS plain", folder.name("plain.sqlite3").display()));
    std::thread::scope(|threads| {
        let ((sender, receiver), folder) = (channel(), &folder);
        threads.spawn(move || {
            let plain = folder.plain();
            done(&plain, "BEGIN IMMEDIATE");
            sender.send(()).expect("it waits");
            std::thread::sleep(Duration::from_millis(150));
            done(&plain, "COMMIT");
        });
        receiver.recv().expect("it holds the lock");
        // The connection keeps its timeout, although another busy handler was in place before.
        done(&connection, "INSERT INTO plain.u VALUES (1)");
    });
    assert_eq!(done(&connection, "SELECT count(*) FROM t"), "Integer(20)|\n");
    attach(&connection, &folder.name("db"), "again");
    done(&connection, "INSERT INTO again.t VALUES (1)");
    drop(connection);
    assert_eq!(done(&connect(&folder.name("db")), "SELECT count(*) FROM t"), "Integer(1)|\n");
}

fn back_up(from: &Connection, to: &Connection) {
    // SAFETY: both are open, and used by this thread only; the backup is finished before they are used again.
    unsafe {
        let backup = ffi::sqlite3_backup_init(to.handle(), c"main".as_ptr(), from.handle(), c"main".as_ptr());
        assert!(!backup.is_null());
        while ffi::sqlite3_backup_step(backup, 3) == ffi::SQLITE_OK {}
        assert_eq!(ffi::sqlite3_backup_finish(backup), ffi::SQLITE_OK);
    }
}

#[test]
fn backups_out_and_in() {
    let folder = Folder::new();
    let (plain, ours) = (folder.plain(), connect(&folder.name("db")));
    done(&plain, "CREATE TABLE t (a)");
    done(
        &plain,
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 40) INSERT INTO t SELECT zeroblob(1000) FROM c",
    );
    for _ in 0..2 {
        back_up(&plain, &ours);
        done(&ours, "INSERT INTO t VALUES (1)");
        back_up(&ours, &plain);
    }
    assert_eq!(done(&plain, "SELECT count(*) FROM t"), "Integer(42)|\n");
    done(&ours, &format!("VACUUM INTO 'file:{}?vfs=unix'", folder.name("copy").display()));
    done(&ours, &format!("VACUUM INTO '{}'", uri(&folder.name("ours"))));
    assert_eq!(done(&connect(&folder.name("ours")), "SELECT count(*) FROM t"), "Integer(42)|\n");
}

#[test]
fn other_page_sizes_and_sources_in_wal_mode() {
    let folder = Folder::new();
    let (plain, ours, other) = (folder.plain(), connect(&folder.name("db")), connect(&folder.name("db")));
    done(&plain, "PRAGMA page_size = 1024");
    done(&plain, "PRAGMA journal_mode = WAL");
    let fill = "INSERT INTO t SELECT zeroblob(700) FROM c";
    let fill = format!("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 40) {fill}");
    for connection in [&plain, &ours] {
        done(connection, "CREATE TABLE t (a)");
        done(connection, &fill);
    }
    for page_size in [512, 65536, 4096] {
        done(&ours, &format!("PRAGMA page_size = {page_size}"));
        done(&ours, "VACUUM");
        let _others = Others::take_what_is_free();
        assert_eq!(done(&other, "SELECT count(*) FROM t"), "Integer(40)|\n");
        done(&other, "INSERT INTO t VALUES (1)");
        back_up(&plain, &ours);
        assert_eq!(done(&ours, "SELECT count(*) FROM t"), "Integer(40)|\n");
        assert_eq!(done(&ours, "PRAGMA page_size"), "Integer(1024)|\n");
        done(&ours, "PRAGMA integrity_check");
    }
}
