//! SQLite's shared cache, where several connections use one file of the VFS.

use crate::{Folder, Others, attach, connect, done, run, uri};
use rusqlite::{Connection, OpenFlags, ffi};

#[test]
fn the_shared_cache_is_refused() {
    let folder = Folder::new();
    let name = folder.name("db");
    done(&connect(&name), "CREATE TABLE t (a)");
    let open = || {
        let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_SHARED_CACHE;
        Connection::open_with_flags(format!("{}&timeout=0.05", uri(&name)), flags)
    };
    let first = open().expect("no other connection uses it yet");
    done(&first, "INSERT INTO t VALUES (1)");
    let second = open();
    let others = Others::take_what_is_free();
    // From now on Seawall cannot know which connection makes a call.
    let refusal = run(&first, "INSERT INTO t VALUES (2)");
    drop((first, others));
    if let Ok(second) = &second {
        let _others = Others::take_what_is_free();
        let holder = connect(&name);
        done(&holder, "BEGIN IMMEDIATE");
        for sql in ["SELECT * FROM t", "INSERT INTO t VALUES (3)"] {
            let _ = run(second, sql);
        }
    }
    assert!(second.is_err(), "it shares the first one's file");
    assert_eq!(refusal.expect_err("it is shared").code, ffi::SQLITE_CANTOPEN);
    drop(second);

    // For an attached database Seawall cannot refuse the opening.
    let shared = || {
        Connection::open_with_flags(folder.name("plain"), OpenFlags::default() | OpenFlags::SQLITE_OPEN_SHARED_CACHE)
    };
    let connections = [shared().expect("a plain file"), shared().expect("a plain file")];
    for connection in &connections {
        drop(run(connection, &format!("ATTACH '{}' AS ours", uri(&name))));
    }
    let [first, second] = connections;
    let holder = connect(&name);
    done(&holder, "BEGIN IMMEDIATE");
    drop(first);
    let others = Others::take_what_is_free();
    for sql in ["SELECT * FROM ours.t", "INSERT INTO ours.t VALUES (3)", "BEGIN IMMEDIATE"] {
        let _ = run(&second, sql);
    }
    drop((second, others));
    done(&holder, "COMMIT");
    assert_eq!(done(&holder, "SELECT count(*) FROM t"), "Integer(1)|\n");
}

#[test]
fn a_connection_that_asks_for_a_shared_cache_gets_its_own() {
    let folder = Folder::new();
    let name = folder.name("db");
    let open = || {
        let opened =
            Connection::open_with_flags(format!("{}&timeout=5&cache=shared", uri(&name)), OpenFlags::default());
        opened.expect("it can be opened")
    };
    let first = open();
    done(&first, "CREATE TABLE t (a)");
    let (second, third) = (open(), open());
    done(&second, "INSERT INTO t VALUES (1)");
    drop(first);
    let _others = Others::take_what_is_free();
    done(&second, "BEGIN");
    assert_eq!(done(&second, "SELECT count(*) FROM t"), "Integer(1)|\n");
    done(&third, "INSERT INTO t VALUES (2)");
    assert_eq!(done(&second, "SELECT count(*) FROM t"), "Integer(1)|\n", "its own version");
    done(&second, "COMMIT");
    let fourth = open();
    attach(&fourth, &folder.name("other"), "other");
    done(&fourth, &format!("ATTACH '{}&cache=shared' AS again", uri(&folder.name("other"))));
    done(&fourth, "INSERT INTO t VALUES (3)");
    for connection in [second, third, fourth] {
        assert_eq!(done(&connection, "SELECT count(*) FROM t"), "Integer(3)|\n");
    }
}
