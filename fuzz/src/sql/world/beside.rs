//! What lies beside the database: pages that are free, a cache that is too small, and other databases on the same
//! connection.

use super::super::super::common::PlainFile;
use super::super::sqlite;
use super::super::statement::{Statement, Table};
use super::World;
use rusqlite::ffi;
use seawall::{Access, Database, Options};

/// Another database, attached.
#[derive(Clone, Copy)]
pub(in super::super) enum Beside {
    /// Of stock SQLite.
    Plain,
    /// Of stock SQLite, with `journal_mode=OFF`.
    Unjournaled,
    /// Another Seawall database, which nothing ails.
    Ours,
}

impl Beside {
    fn schema(self) -> &'static str {
        match self {
            Beside::Plain => "plain",
            Beside::Unjournaled => "unjournaled",
            Beside::Ours => "ours",
        }
    }
}

impl World {
    /// A transaction over free pages, which the cache does not hold; it commits, is rolled back, or stays open.
    pub(in super::super) fn spill(&mut self, who: u8, table: Table, rows: u8, ends: u8) {
        let index = self.client(who);
        if self.clients[index].transaction.is_none() {
            self.run(who, &Statement::Delete { table, every: 0 });
            self.begin(who, "BEGIN IMMEDIATE");
        }
        if self.clients[index].transaction.is_none() {
            return;
        }
        // SQLite counts no less than ten pages.
        let fill = format!(
            "WITH RECURSIVE c(id) AS (SELECT 1000 UNION ALL SELECT id + 1 FROM c LIMIT {}) \
             INSERT OR REPLACE INTO {table} (id, a) SELECT id, CAST(printf('%0900d', id) AS BLOB) FROM c",
            u16::from(rows) + 20
        );
        let goes_on = self.run_inside(index, "PRAGMA cache_size = 2") && self.run_inside(index, &fill);
        match ends % 3 {
            _ if !goes_on => {}
            0 => self.commit(who),
            1 => self.roll_back(who),
            _ => {}
        }
    }

    /// A transaction of its own, which writes main, the other database, both, or none of them.
    pub(in super::super) fn write_beside(&mut self, who: u8, beside: Beside, how: &str, main: bool, other: bool) {
        let index = self.client(who);
        if self.clients[index].transaction.is_some() || !self.is_connected(index) {
            return;
        }
        if self.attach(index, beside) {
            self.write_attached(who, beside, how, main, other);
        }
        // It would be locked by every BEGIN IMMEDIATE, and others would have to wait for that.
        if sqlite::run(self.connection(index), "PRAGMA database_list")
            .is_ok_and(|(list, _)| list.contains(beside.schema()))
        {
            sqlite::run(self.connection(index), &format!("DETACH {}", beside.schema())).expect("no statement uses it");
        }
        self.look(who);
    }

    fn write_attached(&mut self, who: u8, beside: Beside, how: &str, main: bool, other: bool) {
        let index = self.client(who);
        self.begin(who, how);
        if self.clients[index].transaction.is_none() {
            return;
        }
        let rows = format!("SELECT count(*) FROM {}.p", beside.schema());
        let before = match sqlite::run(self.connection(index), &rows) {
            Ok((before, _)) => before,
            Err(refusal) => {
                self.must_be_excused(index, &refusal);
                self.end(index);
                return;
            }
        };
        if main && !self.run_inside(index, &format!("PRAGMA main.user_version = {who}")) {
            self.end(index);
            return;
        }
        if other && let Err(refusal) = sqlite::run(self.connection(index), &self.insert(beside)) {
            self.must_be_excused(index, &refusal);
            self.end(index);
            return;
        }
        let wrote_both = main && other;
        // Without a journal it cannot be seen whether a database was changed or only locked.
        let in_doubt = main && how != "BEGIN" && self.clients[index].without_journal && !matches!(beside, Beside::Ours);
        if wrote_both || in_doubt {
            let refusal = sqlite::run(self.connection(index), "COMMIT").expect_err("a part of it could still fail");
            let failure = seawall_sqlite::take_failure();
            let is_refused = failure.is_some_and(|failure| failure.text.contains("one Seawall database"));
            assert!(is_refused && refusal.code == ffi::SQLITE_IOERR_COMMIT_ATOMIC, "{refusal:?}");
            self.end(index);
        } else {
            self.commit(who);
        }
        // SQLite has one way to say that only the other one was written, and that is to have it there.
        let after = sqlite::run(self.connection(index), &rows);
        if let Ok((after, _)) = after {
            assert!(after == before || !wrote_both, "a commit failed, and a part of it is there");
            assert!(after != before || !other || wrote_both || self.machines[self.clients[index].machine].troubled);
        }
    }

    fn insert(&self, beside: Beside) -> String {
        format!("INSERT INTO {}.p VALUES (1)", beside.schema())
    }

    /// Attaches the other database, with its table; whether that went well.
    fn attach(&mut self, who: usize, beside: Beside) -> bool {
        let schema = beside.schema();
        let name = self.folder.name().with_file_name(schema);
        let vfs = if let Beside::Ours = beside { "seawall" } else { "unix" };
        let attach = format!("ATTACH 'file:{}?vfs={vfs}' AS {schema}", name.display());
        let make = format!("CREATE TABLE IF NOT EXISTS {schema}.p (a)");
        let mut statements = vec![attach, make];
        if let Beside::Unjournaled = beside {
            statements.push(format!("PRAGMA {schema}.journal_mode = OFF"));
            self.clients[who].without_journal = true;
        }
        for sql in statements {
            if let Err(refusal) = sqlite::run(self.connection(who), &sql) {
                self.must_be_excused(who, &refusal);
                return false;
            }
        }
        if let Beside::Ours = beside {
            let database = Database::open(&name, Access::ReadWrite, &Options::default(), &PlainFile);
            database.expect("it is open").stop_background();
        }
        true
    }
}
