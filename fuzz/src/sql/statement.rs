//! Statements that the fuzzer chooses. What they do depends on the content only, so that two databases with one content
//! agree.

use arbitrary::Arbitrary;

/// Few tables and columns, so that statements meet.
const TABLES: u8 = 3;
const COLUMNS: [&str; 2] = ["a", "b"];
const CONFLICTS: [&str; 5] = ["OR ABORT", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR ROLLBACK"];

/// A table, by a number from the fuzzer.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Table(u8);

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t{}", self.0 % TABLES)
    }
}

/// Content: how long, and of what.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Content {
    length: u16,
    seed: u16,
}

impl Content {
    /// Most are short, some take several pages.
    fn of(&self, id: &str) -> String {
        let length = if self.length.is_multiple_of(8) { self.length % 9000 } else { self.length % 300 };
        format!("CAST(printf('%0{length}d', {} + {id}) AS BLOB)", self.seed)
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Statement {
    Insert { table: Table, first: u8, rows: u8, conflict: u8, content: Content },
    Update { table: Table, every: u8, column: bool, conflict: u8, content: Content },
    Renumber { table: Table, by: u8 },
    Delete { table: Table, every: u8 },
    DeleteAfter { table: Table, id: u8 },
    Copy { from: Table, to: Table, every: u8 },
    CreateTable { table: Table, without_rowid: bool },
    DropTable { table: Table },
    CreateIndex { table: Table, column: bool, unique: bool },
    DropIndex { table: Table, column: bool },
    AddColumn { table: Table, n: u8 },
    UserVersion(u8),
    Look { table: Table, every: u8 },
    Sum { table: Table },
    Integrity,
    Analyze,
    CacheSize(u8),
    IncrementalVacuum(u8),
    Vacuum { auto_vacuum: u8, page_size: u8 },
}

impl Statement {
    /// What is run, one after the other.
    pub(super) fn sql(&self) -> Vec<String> {
        match self {
            // Both hold for the connection, until it is vacuumed the next time: so they are always said.
            Statement::Vacuum { auto_vacuum, .. } => vec![
                format!("PRAGMA auto_vacuum = {}", auto_vacuum % 3),
                format!("PRAGMA page_size = {}", self.page_size().expect("it asks for one")),
                "VACUUM".into(),
            ],
            // SQLite looks for the column in the schema that it remembers, and does not ask whether another connection
            // has changed it. Reading the schema makes it ask.
            one @ Statement::AddColumn { .. } => vec!["SELECT count(*) FROM sqlite_schema".into(), one.one()],
            one => vec![one.one()],
        }
    }

    /// The page size that it asks for.
    pub(super) fn page_size(&self) -> Option<u32> {
        match self {
            Statement::Vacuum { page_size, .. } => Some(512 << (page_size % 8)),
            _ => None,
        }
    }

    fn one(&self) -> String {
        let column = |second: &bool| COLUMNS[usize::from(*second)];
        let every = |n: &u8| format!("id % {} = 0", n % 7 + 1);
        let conflict = |n: &u8| CONFLICTS[usize::from(*n) % CONFLICTS.len()];
        match self {
            Statement::Insert { table, first, rows, conflict: how, content } => format!(
                "WITH RECURSIVE c(id) AS (SELECT {first} UNION ALL SELECT id + 3 FROM c LIMIT {}) \
                 INSERT {} INTO {table} (id, a, b) SELECT id, {}, id % 5 FROM c",
                rows % 24 + 1,
                conflict(how),
                content.of("id")
            ),
            Statement::Update { table, every: n, column: which, conflict: how, content } => {
                format!(
                    "UPDATE {} {table} SET {} = {} WHERE {}",
                    conflict(how),
                    column(which),
                    content.of("id"),
                    every(n)
                )
            }
            Statement::Renumber { table, by } => format!("UPDATE {table} SET id = id + {by}"),
            Statement::Delete { table, every: n } => format!("DELETE FROM {table} WHERE {}", every(n)),
            Statement::DeleteAfter { table, id } => format!("DELETE FROM {table} WHERE id > {id}"),
            Statement::Copy { from, to, every: n } => {
                format!("INSERT OR IGNORE INTO {to} (id, a, b) SELECT id + 1, b, a FROM {from} WHERE {}", every(n))
            }
            Statement::CreateTable { table, without_rowid } => format!(
                "CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, a BLOB, b){}",
                if *without_rowid { " WITHOUT ROWID" } else { "" }
            ),
            Statement::DropTable { table } => format!("DROP TABLE {table}"),
            Statement::CreateIndex { table, column: which, unique } => {
                let unique = if *unique { "UNIQUE" } else { "" };
                format!("CREATE {unique} INDEX {table}_{0} ON {table} ({0})", column(which))
            }
            Statement::DropIndex { table, column: which } => format!("DROP INDEX {table}_{}", column(which)),
            Statement::AddColumn { table, n } => format!("ALTER TABLE {table} ADD COLUMN c{} DEFAULT {n}", n % 3),
            Statement::UserVersion(n) => format!("PRAGMA user_version = {n}"),
            Statement::Look { table, every: n } => format!("SELECT * FROM {table} WHERE {} ORDER BY id", every(n)),
            Statement::Sum { table } => format!("SELECT count(*), sum(length(a)), max(b) FROM {table}"),
            Statement::Integrity => "PRAGMA integrity_check".into(),
            // Without a name: of every database, which would be more than one transaction may write.
            Statement::Analyze => "ANALYZE main".into(),
            Statement::CacheSize(n) => format!("PRAGMA cache_size = {}", n % 40 + 2),
            Statement::IncrementalVacuum(n) => format!("{}({n})", super::sqlite::INCREMENTAL_VACUUM),
            Statement::Vacuum { .. } => unreachable!("it is several"),
        }
    }

    /// Whether it may change what the database holds.
    pub(super) fn writes(&self) -> bool {
        use Statement::{CacheSize, Integrity, Look, Sum};
        !matches!(self, CacheSize(_) | Integrity | Look { .. } | Sum { .. })
    }
}
