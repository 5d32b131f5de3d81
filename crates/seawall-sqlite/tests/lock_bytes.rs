//! The page of the lock bytes, which SQLite never uses. It is at 1 GiB, and here at 64 KiB, by SQLite's own switch for
//! tests, which holds for the whole process. A backup from a database with smaller pages writes the content behind that
//! page in pages of the source's size.

#[path = "../../../fuzz/src/sql/sqlite.rs"]
#[allow(dead_code, reason = "shared with the fuzz target")]
mod sqlite;

use rusqlite::{Connection, ffi};
use sqlite::run;

const PENDING_BYTE: u32 = 64 << 10;

fn done(connection: &Connection, sql: &str) -> String {
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
fn the_content_behind_the_lock_bytes_is_kept_in_any_page_size() {
    // SAFETY: SQLite was not used yet in this process, which runs only this test.
    unsafe { ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PENDING_BYTE, PENDING_BYTE) };
    let folder = tempfile::tempdir().expect("a folder");
    let fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 300) INSERT INTO t SELECT n, randomblob(700) FROM c";
    let content = "SELECT count(*), sum(id), hex(group_concat(a, '')) FROM (SELECT * FROM t ORDER BY id)";
    for (n, (source, target)) in
        [(512, 4096), (1024, 65536), (512, 32768), (4096, 512), (65536, 1024)].into_iter().enumerate()
    {
        let plain = Connection::open(folder.path().join(format!("plain{n}"))).expect("a plain file");
        let ours = sqlite::open(&folder.path().join(format!("ours{n}"))).expect("a database");
        let other = sqlite::open(&folder.path().join(format!("ours{n}"))).expect("a database");
        // The background may be giving the lease back.
        done(&ours, "PRAGMA busy_timeout = 5000");
        for (connection, page_size) in [(&plain, source), (&ours, target)] {
            done(connection, &format!("PRAGMA page_size = {page_size}"));
            done(connection, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
            done(connection, fill);
        }
        assert_ne!(done(&plain, content), done(&other, content));
        assert!(done(&plain, "PRAGMA integrity_check").contains("ok"));
        back_up(&plain, &ours);
        for connection in [&ours, &other] {
            assert!(done(connection, content) == done(&plain, content), "{source} {target}");
            assert_eq!(done(connection, "PRAGMA page_size"), format!("Integer({source})|\n"));
            assert_eq!(done(connection, "PRAGMA integrity_check"), done(&plain, "PRAGMA integrity_check"));
        }
        done(&ours, &format!("PRAGMA page_size = {target}"));
        done(&ours, "VACUUM");
        assert!(done(&other, content) == done(&plain, content), "{target} {source}");
        assert_eq!(done(&other, "PRAGMA page_size"), format!("Integer({target})|\n"));
        assert_eq!(done(&other, "PRAGMA integrity_check"), done(&plain, "PRAGMA integrity_check"));
    }
}
