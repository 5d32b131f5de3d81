//! The same SQL for a Seawall database and for stock SQLite, side by side: results are equal, or one fails cleanly and
//! both agree again.
//!
//! The Seawall side is the real VFS in a real SQLite: three connections on two machines, whose files, clocks and locks
//! are the operating system's, and whose calls fail as the fuzzer says. The stock side is a copy of the database in
//! memory for every transaction, so that it can be committed or forgotten as Seawall tells; where Seawall does not
//! know, what is read next must be one of the two.

mod model;
mod sqlite;
mod statement;
mod world;

use super::common::faulty::{Call, EACCES, EEXIST, EIO, ENOSPC, Fault};
use arbitrary::{Arbitrary, Unstructured};
use statement::{Statement, Table};
use world::{Beside, World};

/// An input is read no further.
const STEPS: usize = 60;
const BEGIN: [&str; 3] = ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"];
const CALLS: [Call; 9] = [
    Call::Look,
    Call::Records,
    Call::Publish,
    Call::SyncPublished,
    Call::Named,
    Call::Lock,
    Call::Read,
    Call::Create,
    Call::Append,
];

/// The database that the machines find.
#[derive(Arbitrary, Debug)]
struct Beginning {
    page_size: u8,
    auto_vacuum: u8,
    /// Whether Seawall makes it, or adopts a file of stock SQLite.
    is_ours: bool,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Begin { who: u8, how: u8 },
    Run { who: u8, statement: Statement },
    RunMore { who: u8, statements: [Statement; 2] },
    Commit { who: u8 },
    RollBack { who: u8 },
    Savepoint { who: u8, n: u8 },
    RollBackTo { who: u8, n: u8 },
    Release { who: u8, n: u8 },
    Look { who: u8 },
    Reconnect { who: u8 },
    Restart { machine: u8 },
    Fail { machine: u8, call: u8, fault: u8, times: u8 },
    LoseCommits { machine: u8, arrives: bool },
    Heal,
    Patience(bool),
}

/// More than [`Step`] has. Which of the two an input is made of is said at its beginning, so that older inputs go on
/// meaning what they meant.
#[derive(Arbitrary, Debug)]
enum Wider {
    Step(Step),
    Spill { who: u8, table: Table, rows: u8, ends: u8 },
    Beside { who: u8, kind: u8, how: u8, main: bool, other: bool },
    FullDisk { machine: u8 },
}

/// The target.
pub fn check(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(beginning) = input.arbitrary::<Beginning>() else { return };
    let mut world = World::new(&beginning.statements(), beginning.is_ours);
    let tells = std::env::var_os("TELL").is_some();
    for _ in 0..STEPS {
        let step = if beginning.is_wider() { input.arbitrary() } else { input.arbitrary().map(Wider::Step) };
        let Ok(step) = step else { break };
        if input.is_empty() {
            break;
        }
        if tells {
            eprintln!("{step:?}");
        }
        let settles = world.is_unsettled();
        step.take(&mut world);
        if settles {
            world.let_turns_end();
        }
    }
    world.finish();
}

impl Beginning {
    /// Whether the input is made of [`Wider`] steps. The values are those that no input had which was kept before.
    fn is_wider(&self) -> bool {
        (0xf4..0xfc).contains(&self.page_size)
    }

    fn statements(&self) -> [String; 4] {
        [
            format!("PRAGMA page_size = {}", 512 << (self.page_size % 8)),
            format!("PRAGMA auto_vacuum = {}", self.auto_vacuum % 3),
            "CREATE TABLE t0 (id INTEGER PRIMARY KEY, a BLOB, b)".into(),
            "CREATE TABLE t1 (id INTEGER PRIMARY KEY, a BLOB, b)".into(),
        ]
    }
}

impl Step {
    fn take(&self, world: &mut World) {
        match *self {
            Step::Begin { who, how } => {
                world.begin(who, BEGIN[usize::from(how % 3)]);
            }
            Step::Run { who, statement } => world.run(who, &statement),
            Step::RunMore { who, statements } => statements.iter().for_each(|statement| world.run(who, statement)),
            Step::Commit { who } => world.commit(who),
            Step::RollBack { who } => world.roll_back(who),
            Step::Savepoint { who, n } => world.mark(who, &format!("SAVEPOINT s{}", n % 3)),
            Step::RollBackTo { who, n } => world.mark(who, &format!("ROLLBACK TO s{}", n % 3)),
            Step::Release { who, n } => world.mark(who, &format!("RELEASE s{}", n % 3)),
            Step::Look { who } => world.look(who),
            Step::Reconnect { who } => world.reconnect(who),
            Step::Restart { machine } => world.restart(machine),
            Step::Fail { machine, call, fault, times } => {
                let call = CALLS[usize::from(call) % CALLS.len()];
                world.fail(machine, call, fault_of(call, fault), u32::from(times % 8) + 1);
            }
            Step::LoseCommits { machine, arrives } => {
                // Nothing is heard of the swap, nor of the looks that would tell.
                let swap = if arrives { Fault::After(EIO) } else { Fault::Before(EIO) };
                world.fail(machine, Call::Publish, swap, if arrives { 1 } else { u32::MAX });
                for call in [Call::Look, Call::Records, Call::Named] {
                    world.fail(machine, call, Fault::Before(EIO), u32::MAX);
                }
            }
            Step::Heal => world.heal(),
            Step::Patience(patient) => world.patient = patient,
        }
    }
}

impl Wider {
    fn take(&self, world: &mut World) {
        match *self {
            Wider::Step(ref step) => step.take(world),
            Wider::Spill { who, table, rows, ends } => world.spill(who, table, rows, ends),
            Wider::Beside { who, kind, how, main, other } => {
                // Older inputs know the first two.
                let beside = [Beside::Plain, Beside::Ours, Beside::Unjournaled, Beside::Ours][usize::from(kind % 4)];
                world.write_beside(who, beside, BEGIN[usize::from(how % 3)], main, other);
            }
            Wider::FullDisk { machine } => {
                for call in [Call::Create, Call::Append] {
                    world.fail(machine, call, Fault::Before(ENOSPC), u32::MAX);
                }
            }
        }
    }
}

/// A fault that file systems have: none says that there is no space, or no permission, for what it has done.
fn fault_of(call: Call, n: u8) -> Fault {
    match n % 7 {
        0 | 1 => Fault::Before(EIO),
        2 => Fault::Before(ENOSPC),
        3 => Fault::Before(EACCES),
        4 if call == Call::Publish => Fault::After(EEXIST),
        5 if call == Call::Append => Fault::Torn(EIO),
        6 if call == Call::Append => Fault::Torn(ENOSPC),
        _ => Fault::After(EIO),
    }
}
