//! What happened in a run: how often each thing that a full run must meet, the trace, and the first violation.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)+) => {
        /// Something that must have happened somewhere in a full run: else it tested less than it says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = $text] $name,)+
        }

        impl Event {
            /// All of them, each with what it means.
            pub const ALL: &[(Event, &str)] = &[$((Event::$name, $text),)+];
        }
    };
}

events! {
    Acknowledged: "a commit was acknowledged",
    AcknowledgedWithinTurn: "… under a lease that an earlier commit had kept",
    Spilled: "a transaction had more pages than memory was to hold: it spilled to the local disk",
    Upgraded: "a transaction that had read went on to write",
    RolledBack: "a transaction was rolled back",
    Shrank: "a commit made the database smaller",
    Regrew: "a commit made it larger again",
    CutAnew: "a commit changed the page size",
    Index: "a commit wrote an index frame",
    Rotated: "a process began another segment",
    KeptUntold: "a write began under a lease that was kept from a transaction which had committed nothing",
    Busy: "a writer did not get the lease in time",
    Stale: "a transaction that had read could not write any more",
    Superseded: "a commit was refused: another had gone first",
    RefusedButTaken: "a refused swap had taken place after all",
    OutcomeUnknown: "a commit's outcome was unknown",
    UnknownCommitted: "… and it was settled: committed",
    UnknownRefused: "… and it was settled: refused",
    Unreachable: "a transaction failed for the coordinator could not be reached",
    DiskFull: "a transaction failed for the disk was full",
    InputOutput: "a transaction failed for a file could not be read or written",
    Takeover: "a lease was taken over from a process that was alive",
    TakeoverDuringAppend: "a takeover while an append was on its way",
    TakeoverDuringSwap: "a takeover while a swap was on its way",
    FrozenDuringAppend: "a process was frozen while an append was on its way",
    FrozenDuringSwap: "a process was frozen while a swap was on its way",
    FrozenPastLease: "a process was frozen for longer than its lease",
    FrozenPastRetention: "a process was frozen for longer than the retention",
    KilledDuringAppend: "a process was killed while an append was on its way",
    KilledDuringSwap: "a process was killed while a swap was on its way",
    LateWrite: "a write of a dead process arrived",
    SpaceGivenBack: "a failed append gave its space back",
    LateAppend: "an append arrived that had failed",
    MarkedRefused: "a recovery would have found a commit that was refused, and its mark",
    NeverLearned: "a recovery would have found one commit whose outcome nobody had been told",
    LateSwap: "a swap of a dead process arrived",
    LateSwapTookPlace: "… and took place",
    LateRefused: "a late request found another generation",
    Duplicate: "a request was carried out twice",
    LostRequest: "a request was lost",
    LostReply: "a reply was lost",
    Throttled: "a request was throttled",
    ServerError: "a server's error after the request was carried out",
    OwnSuccessExists: "one's own publication was answered with EEXIST",
    StaleNegative: "a name was looked up in a cache that held it for missing",
    MissedWhileMade: "a name was looked up while it was being made, and its folder showed that already",
    Quiesced: "the folder of versions was quiesced",
    Torn: "a crash tore a write",
    NameLost: "a crash lost a name that was not synced",
    PowerLoss: "a machine lost its power",
    ServerForgot: "a file server forgot its clients",
    Cut: "a machine was cut off from its file server",
    ClockJump: "a machine's wall clock jumped",
    Collected: "numbers of old versions were collected",
    ListerSlept: "a process listed the versions, and was frozen before it looked at one",
    SleeperRecreated: "a sleeper named a collected number anew",
    Forked: "a process forked",
    Copied: "a process's memory was copied",
    StockWrote: "a program with stock SQLite wrote NAME before it was adopted",
    StockRefused: "a program with stock SQLite found NAME marked, and did not write it",
    GivenBack: "an adoption failed, and gave NAME back",
    HeadUnseen: "an adoption put its head, and could not see it",
    AdoptedAtOnce: "two processes adopted at once",
    AdoptionInterrupted: "a process died while it adopted",
    ReadPastWriter: "a reader read while a writer was at work",
    LongRead: "a reader held its snapshot while others committed",
    HeadLost: "the head was lost",
    HeadSetBack: "the head was set back",
    FilesSetBack: "the files were set back",
    Forged: "the newest commit was forged",
    Settled: "after the faults all settled, and every process wrote",
}

const COUNTERS: usize = Event::ALL.len();

/// A run's chronicle.
pub(crate) struct Chronicle {
    counts: [AtomicU64; COUNTERS],
    trace: Option<Mutex<Vec<String>>>,
    violation: Mutex<Option<String>>,
}

impl Chronicle {
    /// `tells`: the trace is kept.
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

    /// Whether this is the first.
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

/// What this thread panicked with last, and where.
pub(crate) fn last_panic() -> String {
    LAST_PANIC.take()
}

/// A panic on a simulated thread is a finding, told with the run's seed; others are told as ever.
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
