//! What the Seawall database may hold: its newest state, and those that commits of unknown outcome may have made.

use super::sqlite;
use rusqlite::Connection;
use std::rc::Rc;

/// A state of the database, as stock SQLite made it.
pub(super) struct State {
    /// The file.
    pub(super) image: Vec<u8>,
    /// What it holds. States that share it hold the same, though a commit that changed nothing of it came between.
    pub(super) content: Rc<str>,
}

impl State {
    /// The state of a stock database without a transaction.
    pub(super) fn of(stock: &Connection) -> Rc<State> {
        let image = stock.serialize("main").expect("memory").to_vec();
        Rc::new(State { image, content: sqlite::content(stock).expect("stock SQLite works").into() })
    }

    /// The same, as another version, after a commit that changed nothing.
    fn again(&self) -> Rc<State> {
        Rc::new(State { image: self.image.clone(), content: self.content.clone() })
    }

    pub(super) fn stock(&self) -> Connection {
        sqlite::stock(&self.image)
    }
}

/// A commit whose outcome its machine could not learn.
struct Undecided {
    machine: usize,
    state: Rc<State>,
}

/// The history as far as it matters.
pub(super) struct Model {
    newest: Rc<State>,
    undecided: Vec<Undecided>,
}

impl Model {
    pub(super) fn new(first: Rc<State>) -> Model {
        Model { newest: first, undecided: Vec::new() }
    }

    /// What a transaction that begins now on `machine` stands on, as it read `content`: the newest state, or one whose
    /// commit turns out to have taken place.
    pub(super) fn observe(&mut self, machine: usize, content: &str) -> Rc<State> {
        if *self.newest.content == *content {
            // Its own commits are settled before anything is read: they did not take place, or changed nothing.
            let settled = self.undecided.extract_if(.., |undecided| undecided.machine == machine);
            if settled.filter(|settled| *settled.state.content == *content).count() > 0 {
                self.newest = self.newest.again();
            }
        } else {
            let found = self.undecided.iter().find(|undecided| *undecided.state.content == *content);
            let Some(found) = found else {
                panic!(
                    "machine {machine} reads what was never committed:\n{content}\ninstead of\n{}\nor one of {} unknown outcomes",
                    self.newest.content,
                    self.undecided.len()
                );
            };
            self.newest = found.state.clone();
            self.undecided.clear();
        }
        self.newest.clone()
    }

    /// A commit over `base` was acknowledged.
    pub(super) fn committed(&mut self, base: &Rc<State>, state: Rc<State>) {
        if base.content == state.content {
            if self.is_newest(base) {
                self.newest = base.again();
            }
            return;
        }
        assert!(
            self.holds_the_newest(base),
            "a commit was acknowledged that another one had gone before: that one is lost"
        );
        self.newest = state;
        self.undecided.clear();
    }

    /// It is unknown whether a commit over `base` took place.
    pub(super) fn unknown(&mut self, machine: usize, base: &Rc<State>, state: Rc<State>) {
        if self.holds_the_newest(base) {
            self.undecided.push(Undecided { machine, state });
        }
    }

    /// Whether no commit after `base` changed anything.
    fn holds_the_newest(&self, base: &Rc<State>) -> bool {
        Rc::ptr_eq(&base.content, &self.newest.content)
    }

    /// Whether no commit came after `base`.
    pub(super) fn is_newest(&self, base: &Rc<State>) -> bool {
        Rc::ptr_eq(base, &self.newest)
    }

    pub(super) fn newest(&self) -> &Rc<State> {
        &self.newest
    }

    /// Whether a commit may still turn out to have taken place.
    pub(super) fn is_open(&self) -> bool {
        !self.undecided.is_empty()
    }
}
