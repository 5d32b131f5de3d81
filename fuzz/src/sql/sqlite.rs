//! SQLite itself: Seawall brought into it, connections, results, and what a database holds.

use rusqlite::ffi;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, OpenFlags};
use std::ffi::c_int;
use std::fmt::Write as _;
use std::path::Path;

pub(super) const INCREMENTAL_VACUUM: &str = "PRAGMA incremental_vacuum";

/// What came of a statement: its rows, and how many it changed; or SQLite's extended code and words.
pub(super) type Outcome = Result<(String, u64), Refusal>;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: c_int,
    pub(super) text: String,
}

impl Refusal {
    /// Whether it is about the statement. Anything else is about files, locks, or the coordinator.
    pub(super) fn is_of_sql(&self) -> bool {
        matches!(self.code & 0xff, ffi::SQLITE_ERROR | ffi::SQLITE_CONSTRAINT | ffi::SQLITE_MISMATCH)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let code = error.sqlite_error().unwrap_or_else(|| panic!("not of SQLite: {error}")).extended_code;
        Refusal { code, text: error.to_string() }
    }
}

/// A connection to the Seawall database at `name`.
pub(super) fn open(name: &Path) -> Result<Connection, Refusal> {
    seawall_sqlite::register().expect("SQLite takes the VFS");
    let uri = format!("file:{}?vfs=seawall&timeout=0&lease=0.3", name.display());
    let connection = Connection::open_with_flags(uri, OpenFlags::default())?;
    Ok(connection)
}

/// Stock SQLite on a database of its own, in memory, with the content of the file `image`.
pub(super) fn stock(image: &[u8]) -> Connection {
    let mut connection = Connection::open_in_memory().expect("memory");
    if !image.is_empty() {
        connection.deserialize_read_exact("main", image, image.len(), false).expect("what SQLite wrote");
    }
    connection
}

/// Runs one statement to its end.
pub(super) fn run(connection: &Connection, sql: &str) -> Outcome {
    let before = connection.total_changes();
    let mut rows = rows(connection, sql)?;
    if sql.starts_with(INCREMENTAL_VACUUM) {
        // A row for each page, and how many there are hangs on auto_vacuum.
        rows.clear();
    }
    Ok((rows, connection.total_changes() - before))
}

fn rows(connection: &Connection, sql: &str) -> Result<String, Refusal> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                // What the statements store is text, as a blob too.
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                value => write!(text, "{value:?}").expect("a string takes all"),
            }
            text.push('|');
        }
        text.push('\n');
    }
    Ok(text)
}

/// All that a database holds, as of one version: in the connection's transaction, or in one of its own.
pub(super) fn content(connection: &Connection) -> Result<String, Refusal> {
    if !connection.is_autocommit() {
        return content_now(connection);
    }
    run(connection, "BEGIN")?;
    let content = content_now(connection);
    let ended = run(connection, "COMMIT");
    let content = content?;
    ended.map(|_| content)
}

fn content_now(connection: &Connection) -> Result<String, Refusal> {
    let mut content = rows(connection, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    // Not auto_vacuum: SQLite remembers the value that was set, even where that could not be written. Not page_size:
    // the model is in memory, where VACUUM does not change it.
    content.push_str(&rows(connection, "PRAGMA user_version")?);
    let tables = rows(connection, "SELECT CAST(name AS BLOB) FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    for table in tables.lines().map(|line| line.trim_end_matches('|')) {
        content.push_str(table);
        content.push_str(&rows(connection, &format!("SELECT * FROM {table} ORDER BY 1, 2"))?);
    }
    Ok(content)
}
