//! Tickets: numbers that stand for values in SQLite's hands.
//!
//! SQLite keeps the context of a callback for as long as the `sqlite3` lives, which may be longer than the value lives
//! that the callback needs. Therefore the context is not an address but a number. Once the ticket was dropped, its
//! number leads to no value.

use crate::sync::locked;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

const CHUNK: usize = 256;
const CHUNKS: usize = 4096;
type Chunk<T> = Box<[Mutex<Slot<T>>; CHUNK]>;

/// The values that have tickets. A lookup takes only the lock of one slot, because every statement makes one, and
/// because another thread may be in the middle of a lookup while this process forks.
pub(super) struct Tickets<T: 'static> {
    chunks: [OnceLock<Chunk<T>>; CHUNKS],
    free: Mutex<FreeSlots>,
}

struct Slot<T> {
    /// Counts the tickets that this slot has had.
    generation: u32,
    value: Weak<T>,
}

/// The slots that are free.
pub(crate) struct FreeSlots {
    returned: Vec<usize>,
    /// All slots from here on were never used.
    used: usize,
}

/// Stands for a value in SQLite's hands, until it is dropped.
pub(super) struct Ticket<T: 'static> {
    tickets: &'static Tickets<T>,
    slot: usize,
    generation: u32,
}

impl<T> Tickets<T> {
    pub(super) const fn new() -> Tickets<T> {
        Tickets {
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(FreeSlots { returned: Vec::new(), used: 0 }),
        }
    }

    /// A ticket for `value`; `None` if a million tickets are in use.
    pub(super) fn issue(&'static self, value: &Arc<T>) -> Option<Ticket<T>> {
        let mut free = self.lock_free();
        let index = free.returned.pop().unwrap_or(free.used);
        let chunk = self.chunks.get(index / CHUNK)?;
        free.used = free.used.max(index + 1);
        let empty = |_| Mutex::new(Slot { generation: 0, value: Weak::new() });
        let mut slot = locked(&chunk.get_or_init(|| Box::new(std::array::from_fn(empty)))[index % CHUNK]);
        slot.value = Arc::downgrade(value);
        Some(Ticket { tickets: self, slot: index, generation: slot.generation })
    }

    /// The value that `context` stands for, if its ticket was not dropped.
    pub(super) fn value(&self, context: *mut c_void) -> Option<Arc<T>> {
        let (index, generation) = (context.addr() & 0xffff_ffff, (context.addr() >> 32) as u32);
        let slot = locked(&self.chunks.get(index / CHUNK)?.get()?[index % CHUNK]);
        if slot.generation == generation { slot.value.upgrade() } else { None }
    }

    /// Locks the list of free slots.
    pub(super) fn lock_free(&self) -> MutexGuard<'_, FreeSlots> {
        locked(&self.free)
    }
}

impl<T> Ticket<T> {
    /// The number, for SQLite to keep.
    pub(super) fn context(&self) -> *mut c_void {
        const { assert!(usize::BITS == 64, "a ticket has 64 bits") };
        std::ptr::without_provenance_mut((self.generation as usize) << 32 | self.slot)
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if let Some(chunk) = self.tickets.chunks[self.slot / CHUNK].get() {
            let mut slot = locked(&chunk[self.slot % CHUNK]);
            slot.generation = slot.generation.wrapping_add(1);
            slot.value = Weak::new();
        }
        self.tickets.lock_free().returned.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_to_no_other_value_once_its_ticket_is_dropped() {
        static TICKETS: Tickets<u8> = Tickets::new();
        let (one, two) = (Arc::new(1), Arc::new(2));
        let first = TICKETS.issue(&one).expect("a free slot");
        let number = first.context();
        assert_eq!(TICKETS.value(number).as_deref(), Some(&1));
        drop(first);
        let second = TICKETS.issue(&two).expect("a free slot");
        assert_eq!(TICKETS.value(number), None);
        assert_eq!(TICKETS.value(second.context()).as_deref(), Some(&2));
        drop(two);
        assert_eq!(TICKETS.value(second.context()), None);
    }
}
