//! Seawall in a Rust program, with rusqlite: counts visits, in as many processes and on as many machines as you like.
//!
//!     cargo run -p seawall-sqlite --example rusqlite -- /mnt/efs/visits.sqlite3
//!
//! In your own program, `Cargo.toml` names `seawall-sqlite` with the feature `linked`, and rusqlite with or without
//! its feature `bundled`.

use rusqlite::{Connection, TransactionBehavior};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args_os().nth(1).map(PathBuf::from).ok_or("name the database file")?;
    // One call in a process is enough. Another one changes nothing.
    seawall_sqlite::register()?;
    let visits = visit(&name).map_err(explain)?;
    println!("visit {visits}");
    Ok(())
}

/// Counts one visit, and returns how many there are now.
pub(crate) fn visit(name: &Path) -> rusqlite::Result<i64> {
    // The URI asks for a database of Seawall's. Its first use creates it.
    let mut connection = Connection::open(seawall_sqlite::uri(name, &[("timeout", "5")]))?;
    // IMMEDIATE waits for other writers when the transaction begins. A transaction that reads first and writes later
    // fails if another writer committed in between.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS visit (at TEXT)")?;
    transaction.execute("INSERT INTO visit VALUES (datetime())", ())?;
    let visits = transaction.query_row("SELECT count(*) FROM visit", (), |row| row.get(0))?;
    // After the commit every machine sees the visit.
    transaction.commit()?;
    Ok(visits)
}

/// SQLite drops the text of a VFS's error. Seawall keeps it for the thread. It says what happened, what was kept and
/// what to do.
pub(crate) fn explain(error: rusqlite::Error) -> Box<dyn Error> {
    match seawall_sqlite::take_failure() {
        Some(failure) => failure.into(),
        None => error.into(),
    }
}
