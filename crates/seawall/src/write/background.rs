//! What a committer does in the background: it renews and releases its lease, and notes what was acknowledged.

use super::ahead::LoadAhead;
use super::committer::Committer;
use super::queue::Turn;
use crate::chores::Chore;
use crate::error::{Error, Result};
use crate::format::head::{Head, State};
use crate::format::high::High;
use crate::format::ids::Version;
use crate::ports::coordinator::{Lease, Waiters};
use crate::ports::moment::Moment;
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, unpoisoned};
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The newest acknowledged commit is noted this long after the first one that is not noted yet.
const NOTE_AFTER: Duration = Duration::from_secs(1);
/// A note that fails is tried again after as long as that, then twice as long, and so on, but at least once in this time.
const NOTE_AGAIN: Duration = Duration::from_secs(600);

/// The chores of a committer. The lease comes first, because other processes wait for it.
pub(crate) fn chores_of(committer: &Weak<Committer>) -> Vec<Box<dyn Chore>> {
    let weak = || committer.clone();
    vec![
        Box::new(Renew(weak())),
        Box::new(Release(weak())),
        Box::new(LeaveLine(weak())),
        Box::new(LookForWaiters(weak())),
        Box::new(LoadAhead(weak())),
        Box::new(Note(weak())),
    ]
}

/// What the background has been asked to do, and has not done yet.
#[derive(Default)]
pub(crate) struct Asked {
    /// A request began at this moment, so the head is to be loaded.
    pub(super) load: Mutex<Option<Moment>>,
    /// The newest commit of this process that was acknowledged and not noted yet.
    note: Mutex<Option<ToNote>>,
    /// Something was committed since it was last looked whether upkeep is due.
    pub(crate) upkeep: AtomicBool,
}

/// A commit that is to be noted.
struct ToNote {
    head: Head,
    /// When.
    due: Duration,
    /// How much later it is tried again if that fails.
    again: Duration,
}

/// Renews the lease of the writer at work.
struct Renew(Weak<Committer>);

impl Chore for Renew {
    fn due(&self) -> Option<Duration> {
        self.0.upgrade()?.queue.renewal_due()
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        let now = committer.now();
        let Some(lease) = committer.queue.renew(now.monotonic, committer.lease / 3) else { return Ok(()) };
        let storage = &committer.tip.storage;
        let label = format!("{}, since {}, at work at {}", storage.label(), lease.since.clock(), now.clock());
        let renewed = committer.tip.coordinator.renew(&lease, &label);
        renewed.map_err(|error| format!("renewing the lease: {error}"))
    }
}

/// Gives a lease back that no writer of this process wants.
struct Release(Weak<Committer>);

impl Chore for Release {
    fn due(&self) -> Option<Duration> {
        self.0.upgrade()?.queue.release_due()
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        match committer.queue.overdue(committer.now().monotonic) {
            Some((turn, lease)) => committer.give_back(turn, &lease),
            None => Ok(()),
        }
    }
}

/// Gives back the place in the line of waiters, once this process has the lease.
struct LeaveLine(Weak<Committer>);

impl Chore for LeaveLine {
    fn due(&self) -> Option<Duration> {
        self.0.upgrade()?.tip.coordinator.leaves_line().then_some(Duration::ZERO)
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        let left = committer.tip.coordinator.give_up();
        left.map_err(|error| format!("leaving the line of those who wait for the lease: {error}"))
    }
}

/// Looks whether other processes wait for the lease that this process has. If none does, the turn goes on.
struct LookForWaiters(Weak<Committer>);

impl Chore for LookForWaiters {
    fn due(&self) -> Option<Duration> {
        self.0.upgrade()?.queue.look_due()
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        let Some(lease) = committer.queue.looks() else { return Ok(()) };
        // Without an answer the turn ends as if others waited.
        let waiters = committer.tip.coordinator.look_for_waiters(&lease).unwrap_or(Waiters::Some);
        committer.queue.saw(waiters, committer.now().monotonic);
        Ok(())
    }
}

/// Notes the newest acknowledged commit: by its head in this process's segment, and in `high`.
struct Note(Weak<Committer>);

impl Chore for Note {
    fn due(&self) -> Option<Duration> {
        unpoisoned(self.0.upgrade()?.asked.note.lock()).as_ref().map(|note| note.due)
    }

    fn run(&self) -> Result<(), String> {
        let Some(committer) = self.0.upgrade() else { return Ok(()) };
        let now = committer.now().monotonic;
        let Some(note) = unpoisoned(committer.asked.note.lock()).take_if(|note| note.due <= now) else { return Ok(()) };
        // If there is a newer one, that one is noted instead.
        let later = |note: ToNote| {
            unpoisoned(committer.asked.note.lock()).get_or_insert(note);
        };
        match committer.write_note(&note.head) {
            Ok(true) => Ok(()),
            // A large commit is being appended.
            Ok(false) => {
                later(ToNote { due: now + NOTE_AFTER, ..note });
                Ok(())
            }
            // The database is not where it was.
            Err(error @ Error::CannotOpen(_)) => Err(error.to_string()),
            // What rides in the head may be in no segment until this succeeds.
            Err(error) => {
                later(ToNote { due: now + note.again, again: (note.again * 2).min(NOTE_AGAIN), ..note });
                Err(error.to_string())
            }
        }
    }
}

impl Committer {
    /// A commit of this process was acknowledged: it will be noted, when there is time. The last commit of a detached
    /// database is not, because its folder is removed now, and a note would make a file there.
    pub(crate) fn acknowledged(&self, head: &Head) {
        let now = self.now().monotonic;
        let mut note = unpoisoned(self.asked.note.lock());
        if head.state == State::Detached {
            *note = None;
            return;
        }
        let due = note.as_ref().map_or(now + NOTE_AFTER, |earlier| earlier.due.min(now + NOTE_AFTER));
        *note = Some(ToNote { head: head.clone(), due, again: NOTE_AFTER });
        drop(note);
        self.asked.upkeep.store(true, Ordering::Relaxed);
        self.chores.ring_at(due);
    }

    /// Notes the newest acknowledged commit now, if it is not noted yet, because nothing will do it later. Without its
    /// note a commit is as durable; but a head that is set back to before it would not be noticed.
    pub(crate) fn note_now(&self) {
        let Some(note) = unpoisoned(self.asked.note.lock()).take() else { return };
        self.chores.report(self.write_note(&note.head).map(drop).map_err(|error| error.to_string()));
    }

    /// Notes the newest acknowledged commit. Returns `false` if that must wait. `high` comes last: what it names, with all
    /// before it, is in a segment.
    fn write_note(&self, head: &Head) -> Result<bool> {
        if head.version > Version(0) && !self.note_confirmed(head)? {
            return Ok(false);
        }
        let high = High::of(head, self.tip.coordinator.named(head));
        let written = self.tip.storage.write(File::High, 0, high.to_string().as_bytes());
        written.map_err(|error| Error::io(format!("noting the newest commit in {}", File::High), error)).map(|()| true)
    }

    /// Gives back a lease that no writer of this process wants. The turn is kept until that is done.
    fn give_back(&self, turn: Turn, lease: &Lease) -> Result<(), String> {
        let released = self.tip.coordinator.release(lease);
        drop(turn);
        released.map_err(|error| format!("giving the lease back: {error}"))
    }

    /// Gives back the lease that waits for the next writer, if there is one. The background might do that too late,
    /// because this process may be frozen before. If the background is just giving it back, this waits for that.
    pub(crate) fn give_back_idle(&self) {
        match self.queue.idle() {
            Some((turn, lease)) => self.chores.report(self.give_back(turn, &lease)),
            None => self.queue.wait_for_background(),
        }
    }

    fn now(&self) -> Moment {
        self.tip.storage.now()
    }
}
