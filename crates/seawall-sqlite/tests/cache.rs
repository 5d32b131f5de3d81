//! SQLite's own page cache is kept as long as it is valid, and no longer.

#[path = "../../../fuzz/src/sql/sqlite.rs"]
#[allow(dead_code, reason = "shared with the fuzz target")]
mod sqlite;

fn one(connection: &rusqlite::Connection, sql: &str) -> String {
    sqlite::run(connection, sql).expect("it succeeds").0
}

/// SQLite counts a commit that changed nothing. The next version, of another connection, must not have the same
/// counter.
#[test]
fn a_commit_that_changed_nothing_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let [mine, other] = [(); 2].map(|()| sqlite::open(&folder.path().join("db.sqlite3")).expect("a database"));
    one(&mine, "PRAGMA seawall_timeout = 5000");
    one(&other, "PRAGMA seawall_timeout = 5000");
    one(&mine, "CREATE TABLE t (a)");
    one(&mine, "INSERT INTO t VALUES (1)");
    for n in 2..6 {
        // Several in a row, too.
        for _ in 1..n {
            one(&mine, "BEGIN");
            one(&mine, "UPDATE t SET a = a + 100");
            one(&mine, "UPDATE t SET a = a - 100");
            one(&mine, "COMMIT");
        }
        one(&other, &format!("UPDATE t SET a = {n}"));
        assert_eq!(one(&mine, "SELECT a FROM t"), format!("Integer({n})|\n"));
        one(&mine, "BEGIN");
        one(&mine, "UPDATE t SET a = 0");
        one(&mine, "ROLLBACK");
        assert_eq!(one(&mine, "SELECT a FROM t"), format!("Integer({n})|\n"));
    }
}
