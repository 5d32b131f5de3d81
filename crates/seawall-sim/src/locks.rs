//! The file server's locks, which are only advisory.

use crate::leases::took_over;
use crate::process::ProcessId;
use crate::world::World;
use std::ops::RangeInclusive;

/// The locks and their holders.
#[derive(Default)]
pub(crate) struct Locks {
    /// By the number of the lock.
    held: Vec<(u32, ProcessId)>,
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
    pub(crate) fn take(&mut self, world: &World, slot: u32, process: ProcessId) -> bool {
        let is_free = !self.is_another_s(&(slot..=slot), process);
        let holder = |wanted: u32| self.held.iter().find(|(held, _)| *held == wanted).map(|(_, holder)| *holder);
        if let Some(passed_over) = slot.checked_sub(1).and_then(holder)
            && is_free
            && passed_over != process
        {
            took_over(world, passed_over);
        }
        // A dead process gets no more locks: its machine closes its files, which gives its locks back.
        if is_free && !world.with_process(process, |process| process.is_dead) {
            self.give_back(slot, process);
            self.held.push((slot, process));
        }
        world.tell(|| format!("lock {slot} asked for by {process}; held: {:?}", self.held));
        is_free
    }

    pub(crate) fn give_back(&mut self, slot: u32, process: ProcessId) {
        self.held.retain(|held| *held != (slot, process));
    }

    /// Whether another process has one of these locks.
    pub(crate) fn is_another_s(&self, slots: &RangeInclusive<u32>, process: ProcessId) -> bool {
        self.held.iter().any(|(held, holder)| slots.contains(held) && *holder != process)
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
