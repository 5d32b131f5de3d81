//! What happened in a run: how often each event happened, the trace, and the first violation.

use crate::event::Event;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

const COUNTERS: usize = Event::ALL.len();

/// A run's chronicle.
pub(crate) struct Chronicle {
    counts: [AtomicU64; COUNTERS],
    trace: Option<Mutex<Vec<String>>>,
    violation: Mutex<Option<String>>,
}

impl Chronicle {
    /// With `tells` the trace is kept.
    pub(crate) fn new(tells: bool) -> Chronicle {
        quiet_panics();
        Chronicle {
            counts: [const { AtomicU64::new(0) }; COUNTERS],
            trace: tells.then(Mutex::default),
            violation: Mutex::default(),
        }
    }

    pub(crate) fn count(&self, event: Event) {
        self.counts[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let line = line();
            trace.lock().expect("no panic while locked").push(line);
        }
    }

    /// Records a violation. Returns whether it is the first.
    pub(crate) fn violated(&self, what: String) -> bool {
        let mut violation = self.violation.lock().expect("no panic while locked");
        let is_first = violation.is_none();
        violation.get_or_insert(what);
        is_first
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.lock().expect("no panic while locked").clone()
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.trace
            .as_ref()
            .map_or_else(Vec::new, |trace| std::mem::take(&mut trace.lock().expect("no panic while locked")))
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// This thread's last panic, and its place.
pub(crate) fn last_panic() -> String {
    LAST_PANIC.take()
}

/// A panic on a simulated thread is a finding, which the verdict reports with its seed. Other panics are printed as
/// usual.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if crate::world::is_simulated() {
                LAST_PANIC.set(panic.to_string());
            } else {
                others(panic);
            }
        }));
    });
}
