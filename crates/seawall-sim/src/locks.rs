//! The file server's locks, which are only advisory.

use crate::leases::took_over;
use crate::process::ProcessId;
use crate::world::World;
use seawall::ports::storage::Lock;

/// The locks and their holders.
#[derive(Default)]
pub(crate) struct Locks {
    held: Vec<(Lock, ProcessId)>,
    /// Stock SQLite's locks on NAME.
    name: Vec<NameLock>,
    /// How many locks on NAME there have been.
    names: u64,
}

/// One lock of stock SQLite on NAME.
struct NameLock {
    key: NameKey,
    process: ProcessId,
    mode: NameMode,
}

/// Identifies one lock on NAME among all, past and future. A request that was sent under one lock is refused under the
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameKey(u64);

/// The mode of a lock on NAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameMode {
    /// Others can read as well, and no process can write.
    Shared,
    /// No other process can read or write.
    Exclusive,
}

impl Locks {
    pub(crate) fn take(&mut self, world: &World, lock: Lock, process: ProcessId) -> bool {
        let is_free = !self.is_another_s(lock, process);
        let holder = |wanted: Lock| self.held.iter().find(|(held, _)| *held == wanted).map(|(_, holder)| *holder);
        if let Lock::Lease(slot) = lock
            && let Some(passed_over) = slot.checked_sub(1).and_then(|before| holder(Lock::Lease(before)))
            && is_free
            && passed_over != process
        {
            took_over(world, passed_over);
        }
        // A dead process gets no more locks: its machine closes its files, which gives its locks back.
        if is_free && !world.with_process(process, |process| process.is_dead) {
            self.give_back(lock, process);
            self.held.push((lock, process));
        }
        world.tell(|| format!("{lock:?} asked for by {process}; held: {:?}", self.held));
        is_free
    }

    pub(crate) fn give_back(&mut self, lock: Lock, process: ProcessId) {
        let left = |(held, holder): &(Lock, ProcessId)| {
            let (held, holder) = (*held, *holder);
            let given = (holder == process).then_some(lock);
            let parts: Vec<_> = given.map_or_else(|| vec![held], |given| held.without(given).collect());
            parts.into_iter().map(move |part| (part, holder))
        };
        self.held = self.held.iter().flat_map(left).collect();
    }

    /// Whether another process has a lock, or a part of it.
    pub(crate) fn is_another_s(&self, lock: Lock, process: ProcessId) -> bool {
        self.held.iter().any(|(held, holder)| held.overlaps(lock) && *holder != process)
    }

    /// Takes NAME's lock, if its holders' modes allow that.
    pub(crate) fn take_name(&mut self, world: &World, process: ProcessId, mode: NameMode) -> Option<NameKey> {
        let is_free = match mode {
            NameMode::Shared => self.name.iter().all(|held| held.mode == NameMode::Shared),
            NameMode::Exclusive => self.name.is_empty(),
        };
        if !is_free || world.with_process(process, |process| process.is_dead) {
            return None;
        }
        self.names += 1;
        let key = NameKey(self.names);
        self.name.push(NameLock { key, process, mode });
        Some(key)
    }

    /// The mode of this lock, if it is still held.
    pub(crate) fn holds_name(&self, key: NameKey) -> Option<NameMode> {
        self.name.iter().find(|held| held.key == key).map(|held| held.mode)
    }

    pub(crate) fn give_back_name(&mut self, key: NameKey) {
        self.name.retain(|held| held.key != key);
    }

    /// Drops the process's locks: the server forgot it, or its machine reported that it is dead.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        self.held.retain(|(_, holder)| *holder != process);
        self.name.retain(|held| held.process != process);
    }
}
