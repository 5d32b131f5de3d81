//! The whole life of the VFS's objects. SQLite opens, shares, replaces and closes files in every order, and no freed
//! memory is used. `make memory` runs this under Valgrind. Without Valgrind, other objects take the freed memory.

#[path = "../../../fuzz/src/sql/sqlite.rs"]
#[allow(dead_code, reason = "shared with the fuzz target")]
mod sqlite;

use rusqlite::{Connection, OpenFlags, ffi};
use sqlite::{Refusal, run};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;
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
