//! Tables in memory: a second coordinator for the tests of the engine alone. Its calls fail where the test chooses.

use seawall::Shown;
use seawall::format::head::{Head, MAX_TEXT, State};
use seawall::format::ids::{CommitId, DatabaseId, Epoch, Token};
use seawall::ports::coordinator::{
    Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped, kinds,
};
use seawall::ports::storage::Storage;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

/// What a table has, and how it fails.
#[derive(Default)]
struct Table {
    heads: HashMap<DatabaseId, (Head, Option<Token>)>,
    calls: u32,
    /// Which call fails, and whether that is after it took effect.
    fails: Option<(u32, bool)>,
}

static TABLES: LazyLock<Mutex<HashMap<String, Table>>> = LazyLock::new(Mutex::default);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn tables() -> MutexGuard<'static, HashMap<String, Table>> {
    TABLES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The URL of a new table.
pub fn table() -> String {
    kinds::add("memory", |url, database, storage| {
        Ok(Box::new(Memory { url: url.to_owned(), database, storage: storage.clone() }))
    });
    let url = format!("memory://table-{}?region=here", COUNT.fetch_add(1, Ordering::Relaxed));
    tables().insert(url.clone(), Table::default());
    url
}

/// From now on the nth next call to this table fails, before or after it takes effect.
pub fn fail(url: &str, nth: u32, after: bool) {
    let mut tables = tables();
    let table = tables.get_mut(url).unwrap();
    table.fails = Some((table.calls + nth, after));
}

/// No call fails any more. Answers whether one has.
pub fn heal(url: &str) -> bool {
    let mut tables = tables();
    let table = tables.get_mut(url).unwrap();
    table.fails.take().is_some_and(|(at, _)| table.calls >= at)
}

/// The only head of a table.
pub fn head(url: &str) -> Option<Head> {
    tables()[url].heads.values().next().map(|(head, _)| head.clone())
}

pub fn put(url: &str, head: Head) {
    tables().get_mut(url).unwrap().heads.insert(head.database, (head, None));
}

struct Memory {
    url: String,
    database: DatabaseId,
    storage: Arc<dyn Storage>,
}

impl Memory {
    fn call<T>(
        &self,
        act: impl FnOnce(&mut Option<(Head, Option<Token>)>) -> Result<T, CoordinatorError>,
    ) -> Result<T, CoordinatorError> {
        let mut tables = tables();
        let table = tables.get_mut(&self.url).ok_or(CoordinatorError::Unreachable("no such table".into()))?;
        let fails = table.fails.filter(|(at, _)| *at == table.calls);
        table.calls += 1;
        if let Some((_, false)) = fails {
            return Err(CoordinatorError::Unclear("the request was lost".into()));
        }
        let mut entry = table.heads.remove(&self.database);
        let answer = act(&mut entry);
        if let Some(entry) = entry {
            table.heads.insert(self.database, entry);
        }
        if fails.is_some() { Err(CoordinatorError::Unclear("the answer was lost".into())) } else { answer }
    }
}

fn lost() -> CoordinatorError {
    CoordinatorError::Lost("it is not there".into())
}

impl Coordinator for Memory {
    fn name(&self) -> String {
        self.url.clone()
    }
    fn create(&self, head: &Head) -> Result<Head, CoordinatorError> {
        self.call(|entry| match entry {
            Some((there, _)) if there.state == State::Open || there.epoch >= head.epoch => Ok(there.clone()),
            _ => Ok(entry.insert((head.clone(), None)).0.clone()),
        })
    }
    fn replace(&self, seen: &Head, head: &Head) -> Result<Head, CoordinatorError> {
        self.call(|entry| match entry {
            Some((there, _)) if (there.epoch, there.generation) != (seen.epoch, seen.generation) => Ok(there.clone()),
            _ => Ok(entry.insert((head.clone(), None)).0.clone()),
        })
    }
    fn load(&self, _: &Known<'_>, _: Duration) -> Result<Head, CoordinatorError> {
        self.call(|entry| entry.as_ref().map(|(head, _)| head.clone()).ok_or_else(lost))
    }
    fn acquire(&self, claim: &Claim, _: &Head) -> Result<Acquired, CoordinatorError> {
        let since = self.storage.now();
        self.call(|entry| {
            let (head, lease) = entry.as_mut().ok_or_else(lost)?;
            if lease.is_some_and(|token| token != claim.token) && claim.pass_over.is_none() {
                return Ok(Acquired::Refused { again_in: Duration::from_millis(2), seen: None, holder: None });
            }
            head.generation += 1;
            *lease = Some(claim.token);
            let granted = Lease {
                epoch: head.epoch,
                generation: head.generation,
                sweep: head.sweep,
                token: claim.token,
                slot: 0,
                former: None,
                folder: 0,
                since,
                length: claim.length,
                first_renewal: claim.length / 3,
            };
            Ok(Acquired::Granted(granted, Box::new(head.clone())))
        })
    }
    fn give_up(&self) -> Result<(), CoordinatorError> {
        Ok(())
    }
    fn holder(&self, _: &Head) -> Result<Holder, CoordinatorError> {
        self.call(|entry| {
            let (head, lease) = entry.as_ref().ok_or_else(lost)?;
            let term = u64::from(lease.is_some());
            Ok(Holder { generation: head.generation, term, label: Shown::new("somebody") })
        })
    }
    fn renew(&self, _: &Lease, _: &str) -> Result<(), CoordinatorError> {
        Ok(())
    }
    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        keep: bool,
        _: Duration,
    ) -> Result<Swapped, CoordinatorError> {
        self.call(|entry| {
            let (head, held) = entry.as_mut().ok_or_else(lost)?;
            let is_seen = (head.epoch, head.generation, head.sweep) == (previous.epoch, lease.generation, lease.sweep);
            if !is_seen || !head.commit().is(&previous.commit()) {
                return Ok(Swapped::Refused(Box::new(head.clone())));
            }
            *head = Head { generation: head.generation + 1, ..next.clone() };
            if !keep {
                *held = None;
            }
            Ok(Swapped::Done)
        })
    }
    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError> {
        self.call(|entry| Ok(entry.iter().map(|(head, _)| head.clone()).collect()))
    }
    fn seal(&self, token: Token, epoch: Epoch) -> Result<(), CoordinatorError> {
        self.call(|entry| {
            let none = || Head::first(self.database, CommitId([0; 16]), None, 0);
            let head = entry.take().map_or_else(none, |(head, _)| head);
            let epoch = epoch.max(Epoch(head.epoch.0 + 1));
            *entry = Some((Head { epoch, state: State::Recovering(token), ..head }, None));
            Ok(())
        })
    }
    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError> {
        self.call(|entry| Ok(entry.as_ref().is_some_and(|(there, _)| there.state == State::Recovering(token))))
    }
    fn unseal(&self, token: Token, _: &Head, head: &Head) -> Result<bool, CoordinatorError> {
        self.call(|entry| {
            let is_mine = entry.as_ref().is_some_and(|(there, _)| there.state == State::Recovering(token));
            if is_mine {
                *entry = Some((head.clone(), None));
            }
            Ok(is_mine || entry.as_ref().is_some_and(|(there, _)| there.commit().is(&head.commit())))
        })
    }
    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        self.call(|entry| {
            if let Some((head, held)) = entry.as_mut()
                && head.generation == lease.generation
            {
                head.generation += 1;
                *held = None;
            }
            Ok(())
        })
    }
    fn carries(&self, head: &Head) -> bool {
        head.to_string().len() <= MAX_TEXT
    }

    fn is_in_files(&self) -> bool {
        false
    }

    fn lease_survives_swap(&self) -> bool {
        false
    }
    fn lease_ends_with_process(&self) -> bool {
        false
    }
}
