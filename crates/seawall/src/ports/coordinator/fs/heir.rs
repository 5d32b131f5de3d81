//! The heir: the first of those who wait for the lease, once it has the lock that stands for the lease next.
//!
//! The holder hands the lease over by naming that lock in the record of its last commit. Then no lock needs to be given
//! back and taken: when the heir sees the record, it has the lease.

use crate::format::head::Head;
use crate::format::ids::{Epoch, Version};
use crate::ports::moment::Moment;
use crate::ports::storage::{FsOrder, Lock};
use crate::ports::sync::whole;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Only the first times that the heir asks for the lease, and once in so many later, it asks for the holder's lock as
/// well: the holder can have given that back without a commit.
const ASKS_FOR_LOCK: u32 = 4;

/// Whether this process is the heir.
pub(super) struct Heir {
    storage: Arc<dyn FsOrder>,
    claim: Mutex<Option<Claim>>,
}

/// A lock that this process has in advance.
struct Claim {
    slot: u32,
    /// The head that names this lock, as this process has seen it since it has the lock: when that look was sent, which
    /// head, and in which folder.
    seen: Option<(Moment, (Epoch, Version), u64)>,
    /// How often it has asked for the lease since it has the lock.
    asked: u32,
}

/// A look of a process that had the lock `slot` before it looked: when and in which folder it looks.
pub(super) struct BeforeLook {
    slot: u32,
    sent: Moment,
    folder: u64,
}

impl Heir {
    pub(super) fn new(storage: Arc<dyn FsOrder>) -> Heir {
        Heir { storage, claim: Mutex::default() }
    }

    /// Takes the lock after `slot`, for a process that is the first in the line.
    pub(super) fn succeeds(&self, slot: u32) -> io::Result<()> {
        let next = slot.wrapping_add(1);
        if self.claim().as_ref().is_some_and(|claim| claim.slot == next) {
            return Ok(());
        }
        self.give_up()?;
        if self.storage.try_lock(Lock::Lease(next))? {
            *self.claim() = Some(Claim { slot: next, seen: None, asked: 0 });
        }
        Ok(())
    }

    /// Whether this process, the heir of the holder of `slot`, asks for nothing now, and only looks for the commit that
    /// hands the lease over.
    pub(super) fn only_looks(&self, slot: u32) -> bool {
        let mut claim = self.claim();
        let Some(claim) = claim.as_mut().filter(|claim| claim.slot == slot.wrapping_add(1)) else { return false };
        claim.asked += 1;
        claim.asked > ASKS_FOR_LOCK && !claim.asked.is_multiple_of(ASKS_FOR_LOCK)
    }

    /// Gives the lock back.
    pub(super) fn give_up(&self) -> io::Result<()> {
        let claim = self.claim().take();
        claim.map_or(Ok(()), |claim| self.storage.unlock(Lock::Lease(claim.slot)))
    }

    /// This process does not have `slot` in advance any more: the lock stands for the lease now, or is given back.
    pub(super) fn is_no_heir_by(&self, slot: u32) {
        let _ = self.claim().take_if(|claim| claim.slot == slot);
    }

    /// When the look was sent by which this process knows that the head `known`, in this folder, hands it the lease: its
    /// record names the lock `slot`, which this process had when it began to look.
    pub(super) fn is_handed(&self, slot: u32, known: &Head, folder: u64) -> Option<Moment> {
        let names_it = |claim: &mut Claim| {
            let is_seen = claim.seen.is_some_and(|(_, order, seen_in)| order == known.order() && seen_in == folder);
            claim.slot == slot && is_seen
        };
        let (sent, ..) = self.claim().take_if(names_it)?.seen?;
        Some(sent)
    }

    /// This process is about to look at the head.
    pub(super) fn before_look(&self) -> Option<BeforeLook> {
        let slot = self.claim().as_ref()?.slot;
        Some(BeforeLook { slot, sent: self.storage.now(), folder: self.storage.folder() })
    }

    /// The look has found `head`, which may name that lock.
    pub(super) fn after_look(&self, before: Option<BeforeLook>, head: &Head) {
        if let Some(BeforeLook { slot, sent, folder }) = before
            && slot == head.lease_slot
            && let Some(claim) = self.claim().as_mut().filter(|claim| claim.slot == slot)
        {
            claim.seen = Some((sent, head.order(), folder));
        }
    }

    fn claim(&self) -> MutexGuard<'_, Option<Claim>> {
        whole(self.claim.lock())
    }
}
