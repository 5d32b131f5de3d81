//! The page of the lock bytes, which SQLite never uses: at 1 GiB, and here, by SQLite's own switch for tests, at 64 KiB. A backup from smaller
//! pages writes what lies behind it in the source's pages, past its own cache. The switch is the whole process's.

#[path = "../../../fuzz/src/sql/sqlite.rs"]
#[allow(dead_code, reason = "shared with the fuzz target")]
mod sqlite;

use rusqlite::{Connection, ffi};
use sqlite::run;

const PENDING_BYTE: u32 = 64 << 10;

fn told(connection: &Connection, sql: &str) -> String {
    run(connection, sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}: {:?}", seawall_sqlite::take_failure())).0
}

fn back_up(from: &Connection, to: &Connection) {
    // SAFETY: both are open, and used by this thread only; the backup is finished before they are used again.
    unsafe {
        let backup = ffi::sqlite3_backup_init(to.handle(), c"main".as_ptr(), from.handle(), c"main".as_ptr());
        assert!(!backup.is_null());
        while ffi::sqlite3_backup_step(backup, 5) == ffi::SQLITE_OK {}
        assert_eq!(ffi::sqlite3_backup_finish(backup), ffi::SQLITE_OK);
    }
}

#[test]
fn what_lies_behind_the_lock_bytes_is_kept_in_any_page_size() {
    // SAFETY: nothing of SQLite is used yet in this process, which has this test only.
    unsafe { ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PENDING_BYTE, PENDING_BYTE) };
    let place = tempfile::tempdir().expect("a folder");
    let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 300) INSERT INTO t SELECT n, randomblob(700) FROM c";
    let content = "SELECT count(*), sum(id), hex(group_concat(a, '')) FROM (SELECT * FROM t ORDER BY id)";
    for (n, (source, target)) in
        [(512, 4096), (1024, 65536), (512, 32768), (4096, 512), (65536, 1024)].into_iter().enumerate()
    {
        let plain = Connection::open(place.path().join(format!("plain{n}"))).expect("a plain file");
        let ours = sqlite::open(&place.path().join(format!("ours{n}"))).expect("a database");
        let other = sqlite::open(&place.path().join(format!("ours{n}"))).expect("a database");
        // The background may be giving the lease back.
        told(&ours, "PRAGMA busy_timeout = 5000");
        for (connection, page_size) in [(&plain, source), (&ours, target)] {
            told(connection, &format!("PRAGMA page_size = {page_size}"));
            told(connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
            told(connection, fill);
        }
        assert_ne!(told(&plain, content), told(&other, content));
        assert!(told(&plain, "PRAGMA integrity_check").contains("ok"));
        back_up(&plain, &ours);
        for connection in [&ours, &other] {
            assert!(told(connection, content) == told(&plain, content), "{source} {target}");
            assert_eq!(told(connection, "PRAGMA page_size"), format!("Integer({source})|\n"));
            assert_eq!(told(connection, "PRAGMA integrity_check"), told(&plain, "PRAGMA integrity_check"));
        }
        told(&ours, &format!("PRAGMA page_size = {target}"));
        told(&ours, "VACUUM");
        assert!(told(&other, content) == told(&plain, content), "{target} {source}");
        assert_eq!(told(&other, "PRAGMA page_size"), format!("Integer({target})|\n"));
        assert_eq!(told(&other, "PRAGMA integrity_check"), told(&plain, "PRAGMA integrity_check"));
    }
}
