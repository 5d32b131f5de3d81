//! The file server's locks: advice, nothing more.

use crate::chronicle::Event;
use crate::process::ProcessId;
use crate::world::World;
use seawall::storage::Lock;

/// Who has which.
#[derive(Default)]
pub(crate) struct Locks {
    held: Vec<(Lock, ProcessId)>,
    /// Stock SQLite's lock on NAME.
    name: Option<ProcessId>,
}

impl Locks {
    pub(crate) fn take(&mut self, world: &World, lock: Lock, process: ProcessId) -> bool {
        let holder = |wanted: Lock| self.held.iter().find(|(held, _)| *held == wanted).map(|(_, holder)| *holder);
        let is_free = holder(lock).is_none_or(|holder| holder == process);
        if let Lock::Lease(slot) = lock
            && let Some(passed_over) = slot.checked_sub(1).and_then(|before| holder(Lock::Lease(before)))
            && is_free
            && passed_over != process
        {
            took_over(world, passed_over);
        }
        // A dead process's locks are given back when its machine closes its files: it gets no more.
        if is_free && !world.with_process(process, |process| process.is_dead) {
            self.held.retain(|(held, _)| *held != lock);
            self.held.push((lock, process));
        }
        world.tell(|| format!("{lock:?} asked for by {process}; held: {:?}", self.held));
        is_free
    }

    pub(crate) fn give_back(&mut self, lock: Lock, process: ProcessId) {
        self.held.retain(|held| *held != (lock, process));
    }

    pub(crate) fn take_name(&mut self, world: &World, process: ProcessId) -> bool {
        !world.with_process(process, |process| process.is_dead) && *self.name.get_or_insert(process) == process
    }

    pub(crate) fn has_name(&self, process: ProcessId) -> bool {
        self.name == Some(process)
    }

    pub(crate) fn give_back_name(&mut self, process: ProcessId) {
        self.name.take_if(|holder| *holder == process);
    }

    /// The server forgot the process, or its machine said that it is dead.
    pub(crate) fn forget(&mut self, process: ProcessId) {
        self.held.retain(|(_, holder)| *holder != process);
        self.give_back_name(process);
    }
}

/// A lease was taken over from `holder`.
pub(crate) fn took_over(world: &World, holder: ProcessId) {
    let (is_dead, appending, swapping) =
        world.with_process(holder, |process| (process.is_dead, process.appending, process.swapping));
    let met = [
        (Event::Takeover, !is_dead),
        (Event::TakeoverDuringAppend, !is_dead && appending > 0),
        (Event::TakeoverDuringSwap, !is_dead && swapping > 0),
    ];
    met.into_iter().filter(|(_, is_so)| *is_so).for_each(|(event, _)| world.met(event));
}
