//! Two machines with connections to one Seawall database, and what each of them must see.

mod beside;

pub(super) use self::beside::Beside;
use super::super::common::faulty::{Call, Clock, Fault, Faulty};
use super::super::common::{Folder, PlainFile};
use super::model::{Model, State};
use super::sqlite::{self, Refusal};
use super::statement::Statement;
use rusqlite::{Connection, TransactionState, ffi};
use seawall::ports::storage::{FsOrder, Storage, chosen};
use seawall::{Access, Database, Options};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The machine of each connection.
const CLIENTS: [usize; 3] = [0, 0, 1];
const MACHINES: usize = 2;
/// More locks than stand for the lease in one story.
const LEASES: u32 = 256;

const LONGER_THAN_A_TURN: Duration = Duration::from_millis(200);

/// A process of its own, as far as files, locks and memory go.
struct Machine {
    /// The name by which it opens the database.
    name: PathBuf,
    storage: Arc<Faulty>,
    /// Calls of its may fail.
    troubled: bool,
}

struct Client {
    machine: usize,
    connection: Option<Connection>,
    transaction: Option<Transaction>,
    /// A database beside its own was set to `journal_mode=OFF` on this connection.
    without_journal: bool,
}

/// A transaction: what it stands on, and the same transaction in stock SQLite.
struct Transaction {
    base: Rc<State>,
    stock: Connection,
}

pub(super) struct World {
    folder: Folder,
    clock: Arc<Clock>,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    model: Model,
    /// Whether machines wait for one another's leases until they may take them over.
    pub(super) patient: bool,
    names: u32,
}

impl World {
    /// A database that begins with these statements: in Seawall, or in stock SQLite, whose file is adopted.
    pub(super) fn new(statements: &[String], is_ours: bool) -> World {
        let folder = Folder::new();
        let stock = sqlite::stock(&[]);
        let run_all = |connection: &Connection| {
            for sql in statements {
                sqlite::run(connection, sql).expect("nothing ails it");
            }
        };
        run_all(&stock);
        let first = State::of(&stock);
        if !is_ours {
            std::fs::write(folder.name(), &first.image).expect("a file");
        }
        let clients = CLIENTS
            .map(|machine| Client { machine, connection: None, transaction: None, without_journal: false })
            .into();
        let clock = Arc::new(Clock::standing());
        let mut world =
            World { folder, clock, machines: vec![], clients, model: Model::new(first), patient: false, names: 0 };
        for _ in 0..MACHINES {
            let machine = world.boot();
            world.machines.push(machine);
            world.connect_all(world.machines.len() - 1);
            if is_ours && world.machines.len() == 1 {
                run_all(world.connection(0));
            }
        }
        world
    }

    /// A machine that has just started.
    fn boot(&mut self) -> Machine {
        // The first one adopts the file, so that one must have its name; then a name is as good as any.
        let real = self.folder.name();
        let name = if self.names == 0 { real.clone() } else { real.with_file_name(format!("machine-{}", self.names)) };
        if self.names > 0 {
            // What the VFS looks for, to know that a database lies there; all else is the storage's.
            let folder = name.with_file_name(format!("machine-{}-seawall", self.names));
            std::fs::create_dir(&folder).and_then(|()| std::fs::write(folder.join("id"), "")).expect("a file");
        }
        self.names += 1;
        let storage = Arc::new(Faulty::with_clock(&real, self.clock.clone()));
        chosen::choose(&name, storage.clone());
        Machine { name, storage, troubled: false }
    }

    fn connect_all(&mut self, machine: usize) {
        let name = self.machines[machine].name.clone();
        for client in self.clients.iter_mut().filter(|client| client.machine == machine) {
            let connection = sqlite::open(&name).expect("a database that nothing ails opens");
            // The first use adopts it.
            sqlite::run(&connection, "PRAGMA seawall_version").expect("nothing ails it");
            client.connection = Some(connection);
        }
        // What happens in the background happens at any time, and would be another story at each run.
        let database = Database::open(&name, Access::ReadWrite, &Options::default(), &PlainFile);
        database.expect("it is open").stop_background();
    }

    /// A machine dies, with its transactions, and starts again.
    pub(super) fn restart(&mut self, machine: u8) {
        let machine = usize::from(machine) % MACHINES;
        for client in self.clients.iter_mut().filter(|client| client.machine == machine) {
            (client.connection, client.transaction, client.without_journal) = (None, None, false);
        }
        // With a process go its locks; this one goes on, and knows nothing of its death.
        let booted = self.boot();
        let died = std::mem::replace(&mut self.machines[machine], booted);
        chosen::forget(&died.name);
        for lock in 0..LEASES {
            died.storage.unlock(lock).expect("its own locks");
        }
        self.connect_all(machine);
    }

    /// A connection is closed, and another one opened.
    pub(super) fn reconnect(&mut self, who: u8) {
        let who = self.client(who);
        (self.clients[who].connection, self.clients[who].transaction) = (None, None);
        self.is_connected(who);
    }

    /// Whether the client has a connection; if not, it tries to get one.
    fn is_connected(&mut self, who: usize) -> bool {
        if self.clients[who].connection.is_none() {
            match sqlite::open(&self.machines[self.clients[who].machine].name) {
                Ok(connection) => {
                    self.clients[who].connection = Some(connection);
                    self.clients[who].without_journal = false;
                }
                Err(refusal) => self.must_be_excused(who, &refusal),
            }
        }
        self.clients[who].connection.is_some()
    }

    /// The next calls of this kind fail on this machine.
    pub(super) fn fail(&mut self, machine: u8, call: Call, fault: Fault, times: u32) {
        let machine = &mut self.machines[usize::from(machine) % MACHINES];
        machine.storage.fail(call, fault, times);
        machine.troubled = true;
    }

    pub(super) fn heal(&mut self) {
        for machine in &mut self.machines {
            machine.storage.heal();
            machine.troubled = false;
        }
    }

    fn client(&self, who: u8) -> usize {
        usize::from(who) % self.clients.len()
    }

    fn connection(&self, who: usize) -> &Connection {
        self.clients[who].connection.as_ref().expect("it was looked")
    }

    pub(super) fn begin(&mut self, who: u8, how: &str) {
        let who = self.client(who);
        if self.clients[who].transaction.is_some() || !self.is_connected(who) {
            return;
        }
        self.choose_patience(who);
        let begun = sqlite::run(self.connection(who), how).and_then(|_| sqlite::content(self.connection(who)));
        match begun {
            Ok(content) => {
                let base = self.model.observe(self.clients[who].machine, &content);
                let stock = base.stock();
                sqlite::run(&stock, how).expect("stock SQLite is alone");
                self.clients[who].transaction = Some(Transaction { base, stock });
            }
            Err(refusal) => {
                self.must_be_excused(who, &refusal);
                self.end(who);
            }
        }
    }

    /// Runs statements: in the client's transaction, or each in its own.
    pub(super) fn run(&mut self, who: u8, statement: &Statement) {
        let who = self.client(who);
        // SQLite's check takes a page that cannot be read for a damaged one.
        let is_unfair = matches!(statement, Statement::Integrity) && self.machines[self.clients[who].machine].troubled;
        if is_unfair || !self.is_connected(who) {
            return;
        }
        self.choose_patience(who);
        if self.clients[who].transaction.is_some() {
            statement.sql().iter().all(|sql| self.run_inside(who, sql));
        } else {
            self.run_alone(who, statement);
        }
    }

    /// In a transaction both sides do the same; what fails for another reason than SQL has no effect. Whether to go on.
    pub(super) fn run_inside(&mut self, who: usize, sql: &str) -> bool {
        let ours = sqlite::run(self.connection(who), sql);
        let refused = ours.as_ref().err().filter(|refusal| !self.is_of_sql(who, refusal)).cloned();
        match &refused {
            Some(refusal) => self.must_be_excused(who, refusal),
            None => {
                let stock = &self.clients[who].transaction.as_ref().expect("it is in one").stock;
                assert_eq!(ours, sqlite::run(stock, sql), "{sql}");
                assert_eq!(self.connection(who).is_autocommit(), stock.is_autocommit(), "{sql}");
            }
        }
        // Some failures end the whole transaction.
        if self.connection(who).is_autocommit() {
            self.clients[who].transaction = None;
        }
        ours.is_ok() && self.clients[who].transaction.is_some()
    }

    fn run_alone(&mut self, who: usize, statement: &Statement) {
        // What is it to stand on? Where that is not certain, it must be looked at first.
        if self.model.is_open() && !self.observe(who) {
            return;
        }
        let machine = self.clients[who].machine;
        let stock = self.model.newest().stock();
        for sql in statement.sql() {
            let base = self.model.newest().clone();
            let ours = sqlite::run(self.connection(who), &sql);
            match &ours {
                Err(refusal) if !self.is_of_sql(who, refusal) => {
                    self.must_be_excused(who, refusal);
                    if refusal.code == ffi::SQLITE_IOERR_COMMIT_ATOMIC {
                        // One that fails in SQL as well never came to its commit, or kept a part of it.
                        drop(sqlite::run(&stock, &sql));
                        self.model.unknown(machine, &base, State::of(&stock));
                    }
                    return;
                }
                _ => {
                    assert_eq!(ours, sqlite::run(&stock, &sql), "{sql}");
                    if let (Some(page_size), "VACUUM", Ok(_)) = (statement.page_size(), &*sql, &ours) {
                        let answer = sqlite::run(self.connection(who), "PRAGMA page_size");
                        assert!(
                            answer.is_ok_and(|answer| answer.0 == format!("Integer({page_size})|\n")),
                            "{page_size}"
                        );
                    }
                    if statement.writes() {
                        self.model.committed(&base, State::of(&stock));
                    }
                }
            }
        }
    }

    /// Looks at everything: in a transaction it is what that makes of its base, outside of one it is the newest state.
    /// Whether it could be looked at.
    pub(super) fn observe(&mut self, who: usize) -> bool {
        if !self.is_connected(who) {
            return false;
        }
        let content = match sqlite::content(self.connection(who)) {
            Ok(content) => content,
            Err(refusal) => {
                self.must_be_excused(who, &refusal);
                return false;
            }
        };
        match &self.clients[who].transaction {
            Some(transaction) => assert_eq!(content, sqlite::content(&transaction.stock).expect("stock SQLite works")),
            None => drop(self.model.observe(self.clients[who].machine, &content)),
        }
        true
    }

    pub(super) fn look(&mut self, who: u8) {
        self.observe(self.client(who));
    }

    /// A statement about the transaction, if there is one: a savepoint.
    pub(super) fn mark(&mut self, who: u8, sql: &str) {
        let who = self.client(who);
        if self.clients[who].transaction.is_some() {
            self.run_inside(who, sql);
        }
    }

    pub(super) fn commit(&mut self, who: u8) {
        let who = self.client(who);
        let Some(Transaction { base, stock }) = self.clients[who].transaction.take() else { return };
        let ours = sqlite::run(self.connection(who), "COMMIT");
        let committed = |stock: &Connection| {
            sqlite::run(stock, "COMMIT").expect("stock SQLite is alone");
            State::of(stock)
        };
        match ours {
            Ok(_) => self.model.committed(&base, committed(&stock)),
            Err(refusal) => {
                let is_stale = refusal.code == ffi::SQLITE_BUSY_SNAPSHOT && !self.model.is_newest(&base);
                if !is_stale {
                    self.must_be_excused(who, &refusal);
                }
                if refusal.code == ffi::SQLITE_IOERR_COMMIT_ATOMIC {
                    self.model.unknown(self.clients[who].machine, &base, committed(&stock));
                }
                self.end(who);
            }
        }
    }

    /// Nothing is left behind, not even a version.
    pub(super) fn roll_back(&mut self, who: u8) {
        let who = self.client(who);
        if self.clients[who].transaction.is_none() {
            return;
        }
        let machine = &self.machines[self.clients[who].machine];
        // What its process knows rises with what that process publishes.
        let database = Database::open(&machine.name, Access::ReadWrite, &Options::default(), &PlainFile);
        let known = database.ok().filter(|_| !machine.troubled).map(|database| (database.newest_known(), database));
        self.end(who);
        if let Some((before, database)) = known {
            assert_eq!(before.version(), database.newest_known().version(), "a rollback was published");
        }
    }

    /// Whether a commit may still turn out to have taken place.
    pub(super) fn is_unsettled(&self) -> bool {
        self.model.is_open()
    }

    /// Lets every kept lease end. A commit that is settled late is sent without a lease. A writer that still keeps its
    /// lease then, and does not look at the head, begins on the version before. That is a known weakness, which the
    /// fuzzer would find again and again.
    pub(super) fn let_turns_end(&self) {
        self.machines[0].storage.sleep(LONGER_THAN_A_TURN);
    }

    /// No transaction is left: to roll back never fails.
    fn end(&mut self, who: usize) {
        self.clients[who].transaction = None;
        if let Some(connection) = self.clients[who].connection.as_ref().filter(|open| !open.is_autocommit()) {
            sqlite::run(connection, "ROLLBACK").expect("to roll back never fails");
        }
    }

    /// Waits for the lease if no other client is writing. Otherwise only if it is to be taken over from the other
    /// machine.
    fn choose_patience(&self, who: usize) {
        let mine = self.clients[who].machine;
        let waits = self.writers_but(who).all(|machine| machine != mine && self.patient);
        let milliseconds = if waits { 5000 } else { 0 };
        let set = sqlite::run(self.connection(who), &format!("PRAGMA seawall_timeout = {milliseconds}"));
        set.expect("a PRAGMA of the VFS's own");
    }

    /// The machines of the other clients that are writing.
    fn writers_but(&self, who: usize) -> impl Iterator<Item = usize> {
        let others = self.clients.iter().enumerate().filter(move |(other, _)| *other != who);
        others.filter(|(_, client)| is_writing(client)).map(|(_, client)| client.machine)
    }

    /// Whether a failure is about the statement: then stock SQLite has the same. An SQLite that cannot look whether the
    /// schema has changed goes by the one that it knows, and finds no table.
    fn is_of_sql(&self, who: usize, refusal: &Refusal) -> bool {
        let is_blind = refusal.code == ffi::SQLITE_ERROR && self.machines[self.clients[who].machine].troubled;
        refusal.is_of_sql() && !is_blind
    }

    /// A failure that is not about SQL must have a reason, and be one of those that the design names for it.
    fn must_be_excused(&self, who: usize, refusal: &Refusal) {
        let failure = seawall_sqlite::take_failure();
        let inside = failure.as_ref().is_some_and(|failure| failure.text.contains("inside Seawall"));
        assert!(!inside, "{refusal:?}: {failure:?}");
        let kind = refusal.code & 0xff;
        let is_clean = matches!(
            kind,
            ffi::SQLITE_ERROR
                | ffi::SQLITE_BUSY
                | ffi::SQLITE_IOERR
                | ffi::SQLITE_FULL
                | ffi::SQLITE_PERM
                | ffi::SQLITE_CANTOPEN
        );
        assert!(is_clean, "{refusal:?}: {failure:?}");
        let client = &self.clients[who];
        let is_stale = client.transaction.as_ref().is_some_and(|it| !self.model.is_newest(&it.base));
        let is_busy = kind == ffi::SQLITE_BUSY && (is_stale || self.writers_but(who).next().is_some());
        assert!(self.machines[client.machine].troubled || is_busy, "without a reason: {refusal:?}: {failure:?}");
    }

    /// When all is well again, every client works, and all agree, one that has just started too.
    pub(super) fn finish(mut self) {
        self.heal();
        for who in 0..self.clients.len() {
            self.end(who);
        }
        for who in 0..self.clients.len() {
            assert!(self.observe(who), "nothing ails it");
            self.let_turns_end();
        }
        assert!(!self.model.is_open(), "every unknown outcome is settled");
        for who in 0..self.clients.len() {
            self.run_alone_and_well(who);
        }
        self.restart(0);
        assert!(self.observe(0), "nothing ails it");
        let checked = sqlite::run(self.connection(0), "PRAGMA integrity_check");
        assert_eq!(
            checked.map(|(rows, _)| rows),
            sqlite::run(&self.model.newest().stock(), "PRAGMA integrity_check").map(|(rows, _)| rows)
        );
        self.machines.iter().for_each(|machine| chosen::forget(&machine.name));
    }

    fn run_alone_and_well(&mut self, who: usize) {
        let before = self.model.newest().clone();
        self.choose_patience(who);
        self.run_alone(who, &Statement::UserVersion(200 + who as u8));
        assert!(!self.model.is_newest(&before), "a client that waits can write");
    }
}

fn is_writing(client: &Client) -> bool {
    let state = |connection: &Connection| connection.transaction_state(Some("main"));
    client.connection.as_ref().is_some_and(|open| matches!(state(open), Ok(TransactionState::Write)))
}
