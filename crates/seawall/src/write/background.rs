//! What runs beside: giving leases back, renewing them, notes, the load at the beginning of a request.
//!
//! One thread for each database, started when there is something to do, in the process that has it to do. It looks at what is due,
//! does it, and sleeps until the next time or until the bell rings. When nothing was due for a while, it ends.

use crate::database::Database;
use crate::format::head::Head;
use crate::format::high::High;
use crate::format::ids::Version;
use crate::open::forget_idle;
use crate::options::Freshness;
use crate::ports::coordinator::Lease;
use crate::ports::counters::this_thread_runs_beside;
use crate::ports::moment::Moment;
use crate::ports::storage::File;
use crate::ports::sync::{Condvar, Mutex, MutexGuard, caught, spawn, whole};
use crate::shown::Shown;
use crate::write::queue::{Due, Turn};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The newest acknowledged commit is noted so long after the first that is not.
const NOTE_AFTER: Duration = Duration::from_secs(1);

/// When nothing was due for so long, the thread ends; the next thing to do starts another. A process should be alone with its own threads
/// when it forks.
const IDLE: Duration = Duration::from_secs(2);

/// Wakes the background thread.
#[derive(Default)]
pub(crate) struct Bell {
    agenda: Mutex<Agenda>,
    rung: Condvar,
}

#[derive(Default)]
struct Agenda {
    runs: bool,
    /// When the thread will wake by itself (monotonic); `None`: only when the bell rings.
    wakes_at: Option<Duration>,
    /// A request began then: ask for the head.
    request: Option<Moment>,
    /// The newest commit of this process that was acknowledged and not noted yet, and when to note it.
    note: Option<(Head, Duration)>,
    /// The database is gone: the thread ends.
    closing: bool,
    /// What went wrong beside, for `status`.
    trouble: Option<String>,
    /// Why the thread could not be started the last time, if it could not.
    no_thread: Option<String>,
}

impl Bell {
    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        whole(self.agenda.lock())
    }
}

impl Database {
    /// Lets the background look after what is due at `time`. `false`: there is no background thread, and none can be started now.
    pub(crate) fn ring_at(self: &Arc<Self>, time: Duration) -> bool {
        self.tell(|agenda| {
            let sooner = agenda.wakes_at.is_none_or(|wakes_at| time < wakes_at);
            if sooner {
                agenda.wakes_at = Some(time);
            }
            sooner
        })
    }

    /// A request began at `moment`: its transactions will want a head that was asked for since.
    pub(crate) fn refresh_beside(self: &Arc<Self>, moment: Moment) {
        self.tell(|agenda| {
            agenda.request = Some(moment);
            true
        });
    }

    /// A commit of this process was acknowledged: it will be noted, when there is time.
    pub(crate) fn acknowledged(self: &Arc<Self>, head: &Head) {
        let now = self.storage.now().monotonic;
        self.tell(|agenda| {
            let due = agenda.note.as_ref().map_or(now + NOTE_AFTER, |(_, due)| *due);
            agenda.note = Some((head.clone(), due));
            let sooner = agenda.wakes_at.is_none_or(|wakes_at| due < wakes_at);
            if sooner {
                agenda.wakes_at = Some(due);
            }
            sooner
        });
    }

    /// Stops the background thread for good: nothing is renewed or given back any more, as in a frozen process. For tests.
    #[cfg(feature = "testing")]
    pub fn stop_background(&self) {
        let mut agenda = self.agenda();
        agenda.closing = true;
        agenda.runs = true;
        self.bell.rung.notify_all();
    }

    /// A request begins, as [`crate::begin_request`] says it to the databases of the process's list. For the simulator, whose
    /// databases are in none.
    #[cfg(feature = "simulation")]
    pub fn request_begins(self: &Arc<Self>) -> Moment {
        let now = self.storage.now();
        self.refresh_beside(now);
        now
    }

    /// What went wrong in the background last.
    pub(crate) fn trouble(&self) -> Option<String> {
        let agenda = self.agenda();
        agenda.no_thread.as_ref().or(agenda.trouble.as_ref()).map(|trouble| Shown::message(trouble).into())
    }

    /// Changes the agenda; wakes the thread if `change` says so. A thread that could not be started earlier is tried again each time. The
    /// answer: whether there is one.
    fn tell(self: &Arc<Self>, change: impl FnOnce(&mut Agenda) -> bool) -> bool {
        let mut agenda = self.agenda();
        let wakes = change(&mut agenda);
        if !agenda.runs {
            let (database, bell) = (Arc::downgrade(self), self.bell.clone());
            let started = spawn("seawall", move || run(&database, &bell));
            agenda.runs = started.is_ok();
            agenda.no_thread = started.err().map(|error| format!("no background thread can be started: {error}"));
        }
        let runs = agenda.runs;
        drop(agenda);
        if wakes {
            self.bell.rung.notify_one();
        }
        runs
    }

    /// Does what is due; says when to look again. A lease comes first, and again after everything else that takes time: whoever waits
    /// for it must not wait for that.
    fn tend(self: &Arc<Self>) -> Option<Duration> {
        let request = {
            let mut agenda = self.agenda();
            agenda.wakes_at = None;
            agenda.request.take()
        };
        self.tend_lease();
        if let Some(moment) = request {
            // Whoever needs it meets the same failure in its own transaction, and reports it.
            let _ = self.snapshot(Freshness::Since(moment));
            self.tend_lease();
        }
        let now = self.storage.now().monotonic;
        let note = self.agenda().note.take_if(|(_, due)| *due <= now);
        if let Some((head, _)) = note {
            match self.write_note(&head) {
                Ok(true) => {}
                // A large commit is being appended. The note waits, unless there is a newer one.
                Ok(false) => {
                    self.agenda().note.get_or_insert((head, now + NOTE_AFTER));
                }
                Err(error) => self.note_trouble(Err(error.to_string())),
            }
        }
        let next = self.tend_lease();
        let note = self.agenda().note.as_ref().map(|(_, due)| *due);
        next.into_iter().chain(note).min()
    }

    /// Renews the lease of the writer at work, and gives back what nobody here wants; says when to look again.
    fn tend_lease(self: &Arc<Self>) -> Option<Duration> {
        loop {
            let now = self.storage.now().monotonic;
            match self.queue.due(now, self.options.lease / 3) {
                Err(next) => return next,
                Ok(Due::Release(turn, lease)) => self.give_back(turn, &lease),
                Ok(Due::Renew(lease)) => {
                    let label = format!("{}, since {}", self.storage.label(), lease.since.clock());
                    let now = self.storage.now().clock();
                    let renewed = self.coordinator.renew(&lease, &format!("{label}, at work at {now}"));
                    self.note_trouble(renewed.map_err(|error| format!("renewing the lease: {error}")));
                }
            }
        }
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.bell.agenda()
    }

    /// Gives a lease back that nobody here wants. The turn is kept until that is done.
    fn give_back(&self, turn: Turn, lease: &Lease) {
        let released = self.coordinator.release(lease);
        self.note_trouble(released.map_err(|error| format!("giving the lease back: {error}")));
        drop(turn);
    }

    /// Gives the lease back that waits for the next writer, if there is one: this process may sleep before the background can.
    pub(crate) fn give_back_idle(&self) {
        if let Some((turn, lease)) = self.queue.idle() {
            self.give_back(turn, &lease);
        }
    }

    /// A connection was closed, which may be the last thing that this process does: it leaves no lease behind that would outlive it.
    pub fn connection_closed(&self) {
        if !self.is_current() {
            return;
        }
        if !self.coordinator.lease_ends_with_process() {
            self.give_back_idle();
        }
        forget_idle();
    }

    /// Notes the newest acknowledged commit: by a mark in this process's segment, and in `high`. `false`: that must wait.
    fn write_note(&self, head: &Head) -> crate::error::Result<bool> {
        let marked = if head.version > Version(0) { self.mark_confirmed(head) } else { Ok(true) };
        if let Ok(false) = marked {
            return Ok(false);
        }
        let high = High::of(head);
        let written = self.storage.write(File::High, 0, high.to_string().as_bytes());
        written.map_err(|error| crate::error::Error::io("noting the newest commit", error)).and(marked)
    }

    /// What goes wrong beside the point is told by `status`.
    pub(crate) fn note_trouble(&self, result: Result<(), String>) {
        if let Err(trouble) = result {
            self.agenda().trouble = Some(trouble);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_current() {
            // In a child after a fork there is no thread, and its lock may have been held at that moment.
            return;
        }
        self.agenda().closing = true;
        self.bell.rung.notify_all();
    }
}

fn run(database: &Weak<Database>, bell: &Bell) {
    this_thread_runs_beside();
    while let Some(database) = database.upgrade().filter(|_| !bell.agenda().closing) {
        let next = caught(|| database.tend()).unwrap_or_else(|panic| {
            database.note_trouble(Err(format!("the background thread failed, and goes on: {panic}")));
            Some(database.storage.now().monotonic + NOTE_AFTER)
        });
        let storage = database.storage.clone();
        // While it sleeps it does not keep the database alive.
        drop(database);
        let mut agenda = bell.agenda();
        if let Some(next) = next {
            agenda.wakes_at = Some(agenda.wakes_at.map_or(next, |wakes_at| wakes_at.min(next)));
        }
        let ends_at = storage.now().monotonic + IDLE;
        loop {
            let now = storage.now().monotonic;
            let patience = agenda.wakes_at.unwrap_or(ends_at).saturating_sub(now);
            if agenda.wakes_at.is_none() && agenda.request.is_none() && !agenda.closing && patience.is_zero() {
                agenda.runs = false;
                return;
            }
            if agenda.request.is_some() || agenda.closing || patience.is_zero() {
                break;
            }
            agenda = whole(bell.rung.wait_timeout(agenda, patience.min(Duration::from_secs(3600)))).0;
        }
    }
}
