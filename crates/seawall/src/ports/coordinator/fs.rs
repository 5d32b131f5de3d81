//! The embedded coordinator: the head of version v is the target of the symlink `commits/<v>`.
//!
//! symlink() creates a name and its content in one atomic, durable, put-if-absent step. The generation is the version
//! itself. The lease is a lock on one byte of a file, requested without waiting. A waiter passes over a holder that did
//! nothing for a whole lease by locking the next byte. The record of the next commit shows that to all.

mod names;

use super::{Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped};
use crate::bounds::bound;
use crate::format::head::{Head, MAX_TEXT, SHORT_TEXT, State};
use crate::format::high::Named;
use crate::format::ids::{Epoch, Token, Version};
use crate::mutation::mistake;
use crate::ports::storage::safely::is_unusable;
use crate::ports::storage::{File, FsOrder, Lock, Span};
use crate::ports::sync::whole;
use crate::shown::Shown;
use names::{LookFailed, Names};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So many of the newest names stay when garbage is collected, whatever their age. Other processes remember them.
pub(crate) const NAMES_KEPT: u64 = bound(64, 2) as u64;
/// A label is no longer than this …
const LABEL_BYTES: usize = 512;
/// … and each lock has its own, until the places are used again, so a holder that was passed over cannot overwrite its
/// successor's.
const LABELS: u32 = 8;
/// The longest wait before the lease is requested again is this power of two, in milliseconds. A request for a lock
/// costs nothing but the trip.
const LONGEST_WAIT: u32 = 2;
/// A holder that holds the lease this long writes down who it is. Until then its lock is enough.
const FIRST_RENEWAL: Duration = Duration::from_millis(100);

/// The `fs` coordinator of one database.
pub struct FsCoordinator {
    storage: Arc<dyn FsOrder>,
    /// Whether this process is the first waiter for the lease. Only one of its threads asks for the lease at a time.
    is_first_waiter: AtomicBool,
    /// The lock that this process moved on to, and the generation of the head at that time. No record may name that
    /// lock, because a process that took it earlier may have died before it committed.
    moved_on: Mutex<(u64, u32)>,
    /// The longest record that the folder takes, as far as it is known here.
    longest: AtomicUsize,
    /// The folder takes shorter ones than it was known to.
    is_shorter: AtomicBool,
    names: Names,
}

impl FsCoordinator {
    /// The coordinator of the database whose files `storage` has.
    pub fn new(storage: Arc<dyn FsOrder>) -> FsCoordinator {
        let names = Names::new(storage.clone());
        let longest = AtomicUsize::new(MAX_TEXT);
        let [is_first_waiter, is_shorter] = [const { AtomicBool::new(false) }; 2];
        FsCoordinator { storage, is_first_waiter, moved_on: Mutex::default(), longest, is_shorter, names }
    }

    /// Whether this process is the first waiter now.
    fn become_first_waiter(&self) -> Result<bool, CoordinatorError> {
        if !self.is_first_waiter.load(Ordering::Relaxed) {
            self.is_first_waiter.store(self.storage.try_lock(Lock::Waiter).map_err(asking)?, Ordering::Relaxed);
        }
        Ok(self.is_first_waiter.load(Ordering::Relaxed))
    }

    /// Makes the name of the head's version, with its record, and makes that durable: on a local disk by an fsync of
    /// `commits/`. Returns `false` if the name existed already, which is durable then, too.
    fn publish(&self, folder: u64, head: &Head) -> Result<bool, CoordinatorError> {
        let published = match self.storage.publish(folder, head.version, &record_of(head)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // The answer is the server's: there is no name.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename && !head.window.entries().is_empty() => {
                self.longest.store(SHORT_TEXT, Ordering::Relaxed);
                self.is_shorter.store(true, Ordering::Relaxed);
                Err(CoordinatorError::TooLong(error.to_string()))
            }
            Err(error) => Err(writing(error)),
        };
        if published.as_ref().is_err_and(CoordinatorError::is_certain) {
            return published;
        }
        // This is done after an unclear error, too, because a reader that finds the name takes it for durable.
        self.storage.sync_published().map_err(|error| CoordinatorError::Undurable(error.to_string()))?;
        published
    }

    /// Puts the head of a database that comes from another coordinator, as the name with the highest number. What is here
    /// stays below it: what the database left here when it went there, and what a move that was undone has put. Names of
    /// earlier numbers can be made as late as they like.
    fn arrive(&self, head: &Head) -> Result<Head, CoordinatorError> {
        match self.names.newest_listed().map_err(LookFailed::before_anything_was_sent) {
            // Another move's, which may not be durable yet; or one that this head does not come after.
            Ok(there) if there.epoch >= head.epoch || there.version >= head.version => {
                return self.make_durable().map(|()| there);
            }
            Ok(_) | Err(CoordinatorError::Lost(_)) => drop(self.publish(self.storage.folder(), head)?),
            Err(error) => return Err(error),
        }
        self.names.newest_listed().map_err(LookFailed::after_a_request)
    }

    /// The lock that stands for the lease now: the head's, or one further on.
    fn slot(&self, head: &Head) -> u32 {
        match *whole(self.moved_on.lock()) {
            (generation, slot) if generation == head.generation => slot.max(head.lease_slot),
            _ => head.lease_slot,
        }
    }

    fn label(&self, slot: u32) -> Result<Shown, CoordinatorError> {
        match self.storage.read(Span { file: File::Lease, at: label_at(slot), length: LABEL_BYTES }) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                Ok(Shown::new(text.lines().next().unwrap_or_default().trim_matches('\0')))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Shown::default()),
            Err(error) => Err(asking(error)),
        }
    }

    /// Takes the lock `slot` and loads the head. Gives the lock back if another one stands for the lease of that head.
    fn acquire_slot(&self, claim: &Claim, known: &Head, slot: u32) -> Result<Acquired, CoordinatorError> {
        let (since, folder) = (self.storage.now(), self.storage.folder());
        if !self.storage.try_lock(Lock::Lease(slot)).map_err(asking)? {
            return Ok(refused(claim));
        }
        match self.names.newest_since(known).map_err(LookFailed::before_anything_was_sent) {
            // If the holder that was passed over has committed, it is at work after all, and has the lease.
            // If a recovery has made another folder meanwhile, the lease is asked for again.
            Ok(head) if self.slot(&head) == slot && self.storage.folder() == folder => {
                let lease = Lease {
                    epoch: head.epoch,
                    generation: head.generation,
                    sweep: head.sweep,
                    token: claim.token,
                    slot,
                    folder,
                    since,
                    length: claim.length,
                    first_renewal: FIRST_RENEWAL.min(claim.length / 3),
                };
                Ok(Acquired::Granted(lease, Box::new(head)))
            }
            Ok(_) => {
                self.storage.unlock(Lock::Lease(slot)).map_err(asking)?;
                Ok(refused(claim))
            }
            Err(error) => {
                // The load's error is the one that is reported. A lock that cannot be given back ends with its process.
                let _ = self.storage.unlock(Lock::Lease(slot));
                Err(error)
            }
        }
    }
}

impl Coordinator for FsCoordinator {
    fn name(&self) -> String {
        "fs:".into()
    }

    fn create(&self, head: &Head) -> Result<Head, CoordinatorError> {
        if head.version > Version(0) {
            return self.arrive(head);
        }
        self.publish(self.storage.folder(), head)?;
        self.names.first(head.version).map_err(|failed| {
            mistake!(CreateLookIsCertain, return failed.before_anything_was_sent());
            failed.after_a_request()
        })
    }

    fn make_durable(&self) -> Result<(), CoordinatorError> {
        mistake!(FenceNotDurable, return Ok(()));
        self.storage.sync_published().map_err(|error| CoordinatorError::Undurable(error.to_string()))
    }

    fn may_create(&self) -> Result<(), CoordinatorError> {
        self.storage.try_order().map_err(|error| CoordinatorError::Unusable(error.to_string()))
    }

    fn load(&self, known: &Known<'_>, _patience: Duration) -> Result<Head, CoordinatorError> {
        let loaded = match known {
            Known::Head(head) => self.names.newest_since(head),
            Known::Nothing => self.names.newest_listed(),
            // Behind the name with which the database left there is a gap, and behind that may be those since it came back.
            Known::Hint(high) => (self.names.newest_hinted(high)).and_then(|hinted| {
                mistake!(HintEndsAtMoved, return hinted.map_or_else(|| self.names.newest_listed(), Ok));
                let hinted = hinted.filter(|head| head.state == State::Open);
                hinted.map_or_else(|| self.names.newest_listed(), Ok)
            }),
        };
        loaded.map_err(LookFailed::before_anything_was_sent)
    }

    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        // A process that comes back from a turn must first find that no other one waits.
        if claim.had_turn && !self.become_first_waiter()? {
            return Ok(refused(claim));
        }
        let slot = match &claim.pass_over {
            // The holder was watched until now. This is a last look, because it may have done something since.
            Some(holder) if self.holder(&self.load(&Known::Head(known), claim.patience)?)? == *holder => {
                let next = (holder.term as u32).wrapping_add(1);
                *whole(self.moved_on.lock()) = (holder.generation, next);
                next
            }
            _ => self.slot(known),
        };
        let acquired = self.acquire_slot(claim, known, slot)?;
        match acquired {
            Acquired::Granted(..) => self.give_up()?,
            Acquired::Refused { .. } => drop(self.become_first_waiter()?),
        }
        Ok(acquired)
    }

    fn give_up(&self) -> Result<(), CoordinatorError> {
        if self.is_first_waiter.swap(false, Ordering::Relaxed) {
            self.storage.unlock(Lock::Waiter).map_err(asking)?;
        }
        Ok(())
    }

    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError> {
        let slot = self.slot(known);
        Ok(Holder { generation: known.generation, term: slot.into(), label: self.label(slot)? })
    }

    fn writer(&self, known: &Head) -> Result<Option<Shown>, CoordinatorError> {
        // The line of text stays when a lease is given back. Where the lock cannot be asked for, it says who was the
        // last.
        let is_held = self.storage.is_locked(Lock::Lease(self.slot(known))).map_err(asking)?;
        if is_held == Some(false) { Ok(None) } else { self.holder(known).map(|holder| Some(holder.label)) }
    }

    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError> {
        let mut line = label.replace('\n', " ");
        line.truncate(line.floor_char_boundary(LABEL_BYTES - 1));
        self.storage.write(File::Lease, label_at(lease.slot), format!("{line}\n").as_bytes()).map_err(writing)
    }

    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        _keep: bool,
        _patience: Duration,
    ) -> Result<Swapped, CoordinatorError> {
        assert_eq!(lease.generation, previous.generation, "the lease is that of the predecessor");
        assert_eq!(next.version, previous.version.next(), "versions along the chain rise by 1 (invariant 2)");
        let refused = |head| Swapped::Refused(Box::new(head));
        if !self.publish(lease.folder, next)? {
            // Another commit was first, or this very request was, and its reply was lost: the engine decides by
            // identity.
            return self.names.newest_since(previous).map(refused).map_err(LookFailed::after_a_request);
        }
        if self.names.is_published(next, previous).map_err(LookFailed::after_a_request)? {
            return Ok(Swapped::Done);
        }
        let newest = self.names.newest_listed().map_err(LookFailed::after_a_request)?;
        Ok(if newest.commit().is(&next.commit()) { Swapped::Done } else { refused(newest) })
    }

    fn try_longest_record(&self) -> Result<usize, CoordinatorError> {
        self.storage.try_longest_record().map_err(asking)
    }

    fn keep_to(&self, longest_record: usize) {
        self.longest.store(longest_record.clamp(SHORT_TEXT, MAX_TEXT), Ordering::Relaxed);
    }

    fn carries(&self, head: &Head) -> bool {
        head.to_string().len() <= self.longest.load(Ordering::Relaxed)
    }

    fn is_in_files(&self) -> bool {
        true
    }

    fn named(&self, head: &Head) -> Option<Named> {
        self.names.first_seen(head)
    }

    fn successor(&self, previous: &Head) -> Result<Option<Head>, CoordinatorError> {
        self.names.successor(previous).map_err(LookFailed::before_anything_was_sent)
    }

    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError> {
        let records = self.storage.retired().map_err(retiring)?;
        Ok(records.iter().filter_map(|record| record.parse().ok()).collect())
    }

    /// A name may be on its way into the folder, and nothing can stop it. Therefore the folder itself goes: nothing can
    /// be named in a folder that was removed.
    fn seal(&self, token: Token, _epoch: Epoch) -> Result<(), CoordinatorError> {
        self.storage.retire(token).map_err(retiring)
    }

    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError> {
        self.storage.is_sealed(token).map_err(retiring)
    }

    /// The predecessor has its name as well: a reader that lists the folder wants to see two neighbours.
    fn unseal(&self, token: Token, previous: &Head, head: &Head) -> Result<bool, CoordinatorError> {
        let records = [previous, head].map(|head| (head.version, record_of(head)));
        self.storage.reinstate(token, &records).map_err(|error| match retiring(error) {
            CoordinatorError::Unreachable(why) => CoordinatorError::Unclear(why),
            error => error,
        })
    }

    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        self.storage.unlock(Lock::Lease(lease.slot)).map_err(asking)
    }

    fn trouble(&self) -> Option<String> {
        let short = self.is_shorter.load(Ordering::Relaxed);
        self.names.trouble().or_else(|| {
            short.then(|| {
                format!(
                    "a symlink that id says would fit was too long for the file system: this process keeps to {SHORT_TEXT} bytes, so \
                     fewer commits ride in one, and some take a write more. Nothing was lost"
                )
            })
        })
    }

    fn lease_survives_swap(&self) -> bool {
        true
    }

    fn takeover_is_visible(&self) -> bool {
        false
    }

    fn lease_ends_with_process(&self) -> bool {
        true
    }
}

fn refused(claim: &Claim) -> Acquired {
    Acquired::Refused { again_in: Duration::from_millis(1 << claim.refusals.min(LONGEST_WAIT)), seen: None }
}

fn label_at(slot: u32) -> u64 {
    u64::from(slot % LABELS) * LABEL_BYTES as u64
}

fn record_of(head: &Head) -> String {
    let record = head.to_string();
    let most = if head.window.entries().is_empty() { SHORT_TEXT } else { MAX_TEXT };
    assert!(record.len() <= most, "a head's record is short");
    record
}

/// An error of a lock. Locks are advisory, so nothing was committed.
fn asking(error: io::Error) -> CoordinatorError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CoordinatorError::Permission(format!("the lease: {error}"))
        }
        _ if is_unusable(&error) => CoordinatorError::Unusable(error.to_string()),
        _ => CoordinatorError::Unreachable(error.to_string()),
    }
}

/// A publication may have reached the server before the error did, unless the answer itself says that it was refused.
fn writing(error: io::Error) -> CoordinatorError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CoordinatorError::Full(error.to_string()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CoordinatorError::Permission(error.to_string())
        }
        io::ErrorKind::NotFound => CoordinatorError::Lost("commits/ is not there".into()),
        _ => unclear(error),
    }
}

/// A failure of moving the names away, or back. Whatever was done of it is done again by the next recovery.
fn retiring(error: io::Error) -> CoordinatorError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CoordinatorError::Full(error.to_string()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CoordinatorError::Permission(format!("commits/: {error}"))
        }
        _ if is_unusable(&error) => CoordinatorError::Unusable(error.to_string()),
        _ => CoordinatorError::Unreachable(error.to_string()),
    }
}

fn unclear(error: io::Error) -> CoordinatorError {
    CoordinatorError::Unclear(error.to_string())
}
