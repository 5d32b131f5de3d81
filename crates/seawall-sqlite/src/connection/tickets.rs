//! Tickets: numbers that stand for values in SQLite's hands.
//!
//! SQLite keeps the context of a callback for as long as the `sqlite3` lives, which may be longer than the value lives
//! that the callback needs. Therefore the context is not an address but a number. Once the ticket was dropped, its
//! number leads to no value. Until then the ticket keeps the value.

use crate::sync::locked;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

const CHUNK: usize = 256;
const CHUNKS: usize = 4096;
type Chunk<T, N> = Box<[Mutex<Slot<T, N>>; CHUNK]>;

/// The values that have tickets, each with a note. A lookup takes only the lock of one slot, because every statement
/// makes one, and because another thread may be in the middle of a lookup while this process forks. The note lies behind
/// the same lock, because a second one would take as long as all else that most statements need.
pub(super) struct Tickets<T: 'static, N: 'static> {
    chunks: [OnceLock<Chunk<T, N>>; CHUNKS],
    free: Mutex<FreeSlots>,
}

struct Slot<T, N> {
    /// Counts the tickets that this slot has had.
    generation: u32,
    value: Option<Arc<T>>,
    note: N,
}

/// The slots that are free.
pub(crate) struct FreeSlots {
    returned: Vec<usize>,
    /// All slots from here on were never used.
    used: usize,
}

/// Stands for a value in SQLite's hands, until it is dropped.
pub(super) struct Ticket<T: 'static, N: Default + 'static> {
    tickets: &'static Tickets<T, N>,
    slot: usize,
    generation: u32,
}

impl<T, N: Default> Tickets<T, N> {
    pub(super) const fn new() -> Tickets<T, N> {
        Tickets {
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(FreeSlots { returned: Vec::new(), used: 0 }),
        }
    }

    /// A ticket for `value`, with an empty note; `None` if a million tickets are in use.
    pub(super) fn issue(&'static self, value: &Arc<T>) -> Option<Ticket<T, N>> {
        let mut free = self.lock_free();
        let index = free.returned.pop().unwrap_or(free.used);
        let chunk = self.chunks.get(index / CHUNK)?;
        free.used = free.used.max(index + 1);
        let empty = |_| Mutex::new(Slot { generation: 0, value: None, note: N::default() });
        let mut slot = locked(&chunk.get_or_init(|| Box::new(std::array::from_fn(empty)))[index % CHUNK]);
        slot.value = Some(value.clone());
        Some(Ticket { tickets: self, slot: index, generation: slot.generation })
    }

    /// The value that `context` stands for, if its ticket was not dropped.
    pub(super) fn value(&self, context: *mut c_void) -> Option<Arc<T>> {
        self.with(context, |value, _| value.clone())
    }

    /// Does `work` with the value that `context` stands for and its note, if its ticket was not dropped. The slot is
    /// locked meanwhile: `work` looks up no ticket.
    pub(super) fn with<R>(&self, context: *mut c_void, work: impl FnOnce(&Arc<T>, &mut N) -> R) -> Option<R> {
        let (index, generation) = (context.addr() & 0xffff_ffff, (context.addr() >> 32) as u32);
        let mut slot = locked(&self.chunks.get(index / CHUNK)?.get()?[index % CHUNK]);
        let Slot { generation: current, value, note } = &mut *slot;
        if *current == generation { value.as_ref().map(|value| work(value, note)) } else { None }
    }

    /// Locks the list of free slots.
    pub(super) fn lock_free(&self) -> MutexGuard<'_, FreeSlots> {
        locked(&self.free)
    }
}

impl<T, N: Default> Ticket<T, N> {
    /// The number, for SQLite to keep.
    pub(super) fn context(&self) -> *mut c_void {
        const { assert!(usize::BITS == 64, "a ticket has 64 bits") };
        std::ptr::without_provenance_mut((self.generation as usize) << 32 | self.slot)
    }
}

impl<T, N: Default> Drop for Ticket<T, N> {
    fn drop(&mut self) {
        if let Some(chunk) = self.tickets.chunks[self.slot / CHUNK].get() {
            let mut slot = locked(&chunk[self.slot % CHUNK]);
            slot.generation = slot.generation.wrapping_add(1);
            let old = (slot.value.take(), std::mem::take(&mut slot.note));
            // What a value does when it is dropped may need the lock.
            drop(slot);
            drop(old);
        }
        self.tickets.lock_free().returned.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_to_no_other_value_once_its_ticket_is_dropped() {
        static TICKETS: Tickets<u8, u8> = Tickets::new();
        let (one, two) = (Arc::new(1), Arc::new(2));
        let first = TICKETS.issue(&one).expect("a free slot");
        let number = first.context();
        assert_eq!(TICKETS.value(number).as_deref(), Some(&1));
        TICKETS.with(number, |_, note| *note = 7);
        assert_eq!(TICKETS.with(number, |value, note| (**value, *note)), Some((1, 7)));
        drop(first);
        assert_eq!(Arc::strong_count(&one), 1, "a ticket that was dropped keeps nothing");
        let second = TICKETS.issue(&two).expect("a free slot");
        assert_eq!(TICKETS.value(number), None);
        assert_eq!(TICKETS.with(second.context(), |value, note| (**value, *note)), Some((2, 0)), "the note is new");
    }
}
