//! Seawall in a Rust program, with rusqlite: counts visits, in as many processes and on as many machines as you like.
//!
//!     cargo run -p seawall-sqlite --example rusqlite -- /mnt/efs/visits.sqlite3
//!
//! In a program of your own, `Cargo.toml` names `seawall-sqlite` with the feature `linked`, and rusqlite with or without
//! its feature `bundled`.

use rusqlite::{Connection, TransactionBehavior};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args_os().nth(1).map(PathBuf::from).ok_or("say where the database is to be")?;
    // Once in a process is enough; calling it again does no harm.
    seawall_sqlite::register()?;
    let visits = visit(&name).map_err(explain)?;
    println!("visit {visits}");
    Ok(())
}

/// Counts one visit; how many there are by now.
pub(crate) fn visit(name: &Path) -> rusqlite::Result<i64> {
    // The URI asks for a Seawall database; its first use makes it.
    let mut connection = Connection::open(seawall_sqlite::uri(name, &[("timeout", "5")]))?;
    // IMMEDIATE waits for other writers when the transaction begins. A transaction that reads first and writes later fails
    // if another writer committed in between.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS visit (at TEXT)")?;
    transaction.execute("INSERT INTO visit VALUES (datetime())", ())?;
    let visits = transaction.query_row("SELECT count(*) FROM visit", (), |row| row.get(0))?;
    // From here on every machine sees it.
    transaction.commit()?;
    Ok(visits)
}

/// SQLite drops the words of a VFS's error. Seawall keeps them for the thread: what happened, what was kept, what to do.
pub(crate) fn explain(error: rusqlite::Error) -> Box<dyn Error> {
    match seawall_sqlite::take_failure() {
        Some(failure) => failure.into(),
        None => error.into(),
    }
}
