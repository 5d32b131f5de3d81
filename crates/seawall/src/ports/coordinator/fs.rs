//! The embedded coordinator: the head of version v is the target of the symlink `commits/<v>`.
//!
//! symlink() creates a name and its content in one atomic step, and only if the name does not exist. On NFS the name is
//! durable then; on a local disk `commits/` is fsynced afterwards. The generation is the version itself. The lease is a
//! lock on one byte of a file, and the head says on which. Nobody waits for a lock in the kernel. Each waiter has the
//! lock of a later byte in advance (`line.rs`). If a holder does nothing for a whole lease, a waiter passes over it: from
//! then on its lock stands for the lease, and the record of its next commit says so to all.

mod line;
mod names;

use super::{Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped, Waiters};
use crate::bounds::bound;
use crate::format::head::{Head, MAX_TEXT, SHORT_TEXT, State};
use crate::format::high::Named;
use crate::format::identity::{self, Identity};
use crate::format::ids::{Epoch, Token, Version};
use crate::mutation::mistake;
use crate::ports::moment::Moment;
use crate::ports::storage::retired::SAVED;
use crate::ports::storage::safely::is_unusable;
use crate::ports::storage::{File, FsOrder, Listed, Span, list_twice};
use crate::ports::sync::unpoisoned;
use crate::shown::Shown;
use line::Line;
use names::{LookFailed, Names};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The folder of names, for people.
const COMMITS: &str = "NAME-seawall/commits";
/// So many of the newest names stay when garbage is collected, whatever their age. Other processes remember them.
pub(crate) const NAMES_KEPT: u64 = bound(64, 2) as u64;
/// A label is no longer than this …
const LABEL_BYTES: usize = 512;
/// … and each lock has its own, until the places are used again, so a holder that was passed over cannot overwrite its
/// successor's.
const LABELS: u32 = 8;
/// What a recovery saves of one folder is no longer.
const RECORDS_BYTES: usize = SAVED * MAX_TEXT;
/// A holder that holds the lease this long writes down who it is. Until then its lock is enough.
const FIRST_RENEWAL: Duration = Duration::from_millis(100);

/// The `fs` coordinator of one database.
pub struct FsCoordinator {
    storage: Arc<dyn FsOrder>,
    /// Where this process is while it waits for the lease. Only one of its threads asks for the lease at a time.
    line: Line,
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
        let (names, line) = (Names::new(storage.clone()), Line::new(storage.clone()));
        let (longest, is_shorter) = (AtomicUsize::new(MAX_TEXT), AtomicBool::new(false));
        FsCoordinator { storage, line, moved_on: Mutex::default(), longest, is_shorter, names }
    }

    /// Makes the name of the head's version, with its record, and makes that durable: on a local disk by an fsync of
    /// `commits/`. Returns `false` if the name existed already, which is durable then, too.
    fn publish(&self, folder: u64, head: &Head) -> Result<bool, CoordinatorError> {
        let record = record_of(head);
        let published = match self.storage.publish(folder, head.version, &record) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // The answer is the server's: there is no name.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename && !head.window.entries().is_empty() => {
                self.longest.fetch_min(SHORT_TEXT.min(record.len() - 1), Ordering::Relaxed);
                self.is_shorter.store(true, Ordering::Relaxed);
                Err(CoordinatorError::TooLong(format!("{COMMITS}/{}: {error}", head.version.0)))
            }
            Err(error) => Err(publishing(head.version, &error)),
        };
        if published.as_ref().is_err_and(CoordinatorError::is_certain) {
            return published;
        }
        // This is done after an unclear error, too, because a reader that finds the name takes it for durable.
        self.storage.sync_published().map_err(|error| CoordinatorError::Undurable(format!("{COMMITS}: {error}")))?;
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
        match *unpoisoned(self.moved_on.lock()) {
            (generation, slot) if generation == head.generation => slot,
            _ => head.lease_slot,
        }
    }

    /// Why a look failed of a process that has the database open. If there is no head, `id` may name another coordinator:
    /// then the database was moved, and a recovery that gave way to that has taken the names away.
    fn where_now(&self, failed: LookFailed) -> CoordinatorError {
        let error = failed.before_anything_was_sent();
        if !matches!(error, CoordinatorError::Lost(_)) {
            return error;
        }
        let id = self.storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH });
        match id.ok().and_then(|id| identity::parse(id).ok()) {
            Some(Identity { coordinator: url, .. }) if url != self.name() => CoordinatorError::Unusable(format!(
                "the database was moved: its coordinator is {url} now. Close this connection, and open the database with coordinator={url}"
            )),
            _ => error,
        }
    }

    /// The files in the database's folder.
    fn files(&self) -> io::Result<Vec<File>> {
        mistake!(OneListingOfRecords, return Ok(self.storage.list(Listed::Folder)?.0));
        Ok(list_twice(&*self.storage, Listed::Folder)?.0)
    }

    fn refused(&self, seen: Option<Box<Head>>) -> Acquired {
        Acquired::Refused { again_in: self.line.again_in(), seen, holder: None }
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

    /// Takes the lock `slot`, unless the caller has it, and looks at the head. Gives the lock back if another one stands for the lease of that head.
    /// If `again`, it then tries that one. `None`: another process has the lock.
    fn ask(&self, claim: &Claim, known: &Head, slot: u32, again: bool) -> Result<Option<Acquired>, CoordinatorError> {
        // The lock that it has in advance stays its own.
        if self.line.lock() == Some(slot) {
            return self.look(claim, known).map(Some);
        }
        let since = self.storage.now();
        if claim.lock != Some(slot) && !self.storage.try_lock(slot).map_err(asking)? {
            return Ok(None);
        }
        let looked = self.look_with(claim, known, Some(slot), since);
        if matches!(looked, Ok(Acquired::Granted(..))) {
            return looked.map(Some);
        }
        // Only the first error is reported. A lock that cannot be given back ends with its process.
        let unlocked = self.storage.unlock(slot).map_err(asking);
        match looked? {
            // This process did not know that the lease was handed on. Which lock stands for it now, it has just seen.
            Acquired::Refused { seen: Some(head), .. } if again && self.slot(&head) != slot => {
                unlocked?;
                let acquired = self.ask(claim, &head, self.slot(&head), false)?;
                Ok(Some(acquired.unwrap_or_else(|| self.refused(Some(head)))))
            }
            refused => unlocked.map(|()| Some(refused)),
        }
    }

    /// Looks at the head, which may name the lock that this process has in advance.
    fn look(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        self.look_with(claim, known, None, self.storage.now())
    }

    /// Looks at the head. If it names the lock that this process has in advance, or the one that it has `asked` for, the
    /// lease is granted.
    fn look_with(
        &self,
        claim: &Claim,
        known: &Head,
        asked: Option<u32>,
        since: Moment,
    ) -> Result<Acquired, CoordinatorError> {
        let folder = self.storage.folder();
        let expected = self.line.expects(known.version);
        let head = self.names.newest_about(known, expected).map_err(|failed| self.where_now(failed))?;
        // If the holder that was passed over has committed, it is at work after all, and has the lease.
        let slot = self.slot(&head);
        self.line.sees(head.version, slot).map_err(asking)?;
        let in_advance = self.line.lock();
        // If a recovery has made another folder meanwhile, the lease is asked for again.
        if self.storage.folder() != folder || in_advance != Some(slot) && asked != Some(slot) {
            return Ok(self.refused(Some(Box::new(head))));
        }
        self.line.is_served();
        // The next commit names the lock that this process has in advance. Until then others watch the one that the head
        // names: this process has it as well, or has passed its holder over.
        let slot = in_advance.unwrap_or(slot);
        let former = Some(head.lease_slot).filter(|named| *named != slot);
        let lease = Lease { former, ..lease_on(&head, claim, slot, folder, since) };
        Ok(Acquired::Granted(lease, Box::new(head)))
    }
}

/// The lease for which the lock `slot` stands, as of `head`.
fn lease_on(head: &Head, claim: &Claim, slot: u32, folder: u64, since: Moment) -> Lease {
    Lease {
        epoch: head.epoch,
        generation: head.generation,
        sweep: head.sweep,
        token: claim.token,
        slot,
        former: None,
        folder,
        since,
        length: claim.length,
        first_renewal: FIRST_RENEWAL.min(claim.length / 3),
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
        self.storage.sync_published().map_err(|error| CoordinatorError::Undurable(format!("{COMMITS}: {error}")))
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
        let has_it_open = matches!(known, Known::Head(_));
        loaded.map_err(|failed| if has_it_open { self.where_now(failed) } else { failed.before_anything_was_sent() })
    }

    fn newer_than(&self, known: &Head, _patience: Duration) -> Result<Option<Head>, CoordinatorError> {
        self.names.newer_than(known).map_err(|failed| self.where_now(failed))
    }

    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        let mut passes_over = false;
        // The holder was watched until now. This is a last look, because it may have done something since.
        if let Some(holder) = &claim.pass_over
            && let Some(next) = self.line.passes_over(holder)
            && self.holder(&self.load(&Known::Head(known), claim.patience)?)? == *holder
        {
            *unpoisoned(self.moved_on.lock()) = (holder.generation, next);
            passes_over = true;
        }
        // A process that does not wait, or knows of nobody who does, asks for the lease itself.
        let waits = !claim.patience.is_zero();
        let other = claim.lock.filter(|lock| *lock != self.slot(known));
        other.map_or(Ok(()), |other| self.storage.unlock(other)).map_err(asking)?;
        let has_lock = claim.lock.is_some() && other.is_none();
        let is_first_to_ask = has_lock || !(self.line.is_joined() || waits && claim.lines_up);
        let mut newer = None;
        if is_first_to_ask {
            match self.ask(claim, known, self.slot(known), !passes_over)? {
                Some(Acquired::Refused { seen, .. }) if waits => newer = seen,
                None if waits => {}
                acquired => return Ok(acquired.unwrap_or_else(|| self.refused(None))),
            }
        }
        let known = newer.as_deref().unwrap_or(known);
        let slot = self.slot(known);
        // Nobody may have the lease: one that stands in the line at once has not asked yet.
        let asks = !self.line.is_joined() && self.line.join(slot).map_err(asking)? && !is_first_to_ask;
        let asked = if asks || passes_over { self.ask(claim, known, slot, false)? } else { None };
        let acquired = asked.map_or_else(|| self.look(claim, known), Ok)?;
        if let Acquired::Refused { seen: Some(head), .. } = &acquired {
            let slot = self.slot(head);
            if self.line.move_up(slot).map_err(asking)? {
                let again = self.ask(claim, head, slot, false)?;
                return Ok(again.unwrap_or(acquired));
            }
        }
        Ok(acquired)
    }

    fn acquire_unseen(&self, claim: &Claim, known: &Head) -> Result<Option<Lease>, CoordinatorError> {
        let (folder, since, slot) = (self.storage.folder(), self.storage.now(), self.slot(known));
        let is_mine = !self.line.is_joined() && self.storage.try_lock(slot).map_err(asking)?;
        Ok(is_mine.then(|| lease_on(known, claim, slot, folder, since)))
    }

    fn give_up(&self) -> Result<(), CoordinatorError> {
        self.line.leave().map_err(asking)
    }

    fn look_for_waiters(&self, lease: &Lease) -> Result<Waiters, CoordinatorError> {
        let waiters = self.line.waiters(lease.slot).map_err(asking)?;
        Ok(waiters.map_or(Waiters::Some, Waiters::Exactly))
    }

    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError> {
        let slot = self.slot(known);
        Ok(Holder { generation: known.generation, term: slot.into(), label: self.label(slot)? })
    }

    fn writer(&self, known: &Head) -> Result<Option<Shown>, CoordinatorError> {
        // The line of text stays when a lease is given back. Where the lock cannot be asked for, it says who was the
        // last.
        let slot = self.slot(known);
        let is_held = self.storage.is_locked(slot..=slot).map_err(asking)?;
        if is_held == Some(false) { Ok(None) } else { self.holder(known).map(|holder| Some(holder.label)) }
    }

    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError> {
        let mut line = label.replace('\n', " ");
        line.truncate(line.floor_char_boundary(LABEL_BYTES - 1));
        let write =
            |slot| self.storage.write(File::Lease, label_at(slot), format!("{line}\n").as_bytes()).map_err(asking);
        // Until the first commit the others watch the lock that the head names.
        lease.former.map_or(Ok(()), write).and(write(lease.slot))
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
        self.storage.try_longest_record().map_err(|error| certain(File::Folder, &error))
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
        let mut records = self.storage.retired().map_err(retiring)?;
        // A folder that a recovery has emptied in between was saved before that.
        let files = self.files().map_err(|error| certain(File::Folder, &error))?;
        for file in files.into_iter().filter(|file| matches!(file, File::Records(_))) {
            let text = self
                .storage
                .read(Span { file, at: 0, length: RECORDS_BYTES })
                .map_err(|error| certain(file, &error))?;
            records.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        }
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
        let former = lease.former.map_or(Ok(()), |former| self.storage.unlock(former));
        self.storage.unlock(lease.slot).and(former).map_err(asking)
    }

    fn trouble(&self) -> Option<String> {
        let short = self.is_shorter.load(Ordering::Relaxed);
        self.names.trouble().or_else(|| {
            short.then(|| {
                format!(
                    "a symlink that id says would fit was too long for the file system: this process keeps to {} bytes, so fewer \
                     commits ride in one, and some take a write more. Nothing was lost",
                    self.longest.load(Ordering::Relaxed)
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

fn label_at(slot: u32) -> u64 {
    u64::from(slot % LABELS) * LABEL_BYTES as u64
}

fn record_of(head: &Head) -> String {
    let record = head.to_string();
    let most = if head.window.entries().is_empty() { SHORT_TEXT } else { MAX_TEXT };
    assert!(record.len() <= most, "a head's record is short");
    record
}

/// An error of a lock, or of the line that says whose it is. Locks are advisory, so nothing was committed.
fn asking(error: io::Error) -> CoordinatorError {
    certain(File::Lease, &error)
}

/// A failure of moving the names away, or back. Whatever was done of it is done again by the next recovery.
fn retiring(error: io::Error) -> CoordinatorError {
    certain(COMMITS, &error)
}

/// A call that has made no name failed. `file` is what it was about.
fn certain(file: impl fmt::Display, error: &io::Error) -> CoordinatorError {
    let text = format!("{file}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CoordinatorError::Full(text),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => CoordinatorError::Permission(text),
        _ if is_unusable(error) => CoordinatorError::Unusable(error.to_string()),
        _ => CoordinatorError::Unreachable(text),
    }
}

/// A publication of `version` may have reached the server before the error did, unless the answer itself says that it was
/// refused.
fn publishing(version: Version, error: &io::Error) -> CoordinatorError {
    let text = format!("{COMMITS}/{}: {error}", version.0);
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CoordinatorError::Full(text),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => CoordinatorError::Permission(text),
        io::ErrorKind::NotFound => CoordinatorError::Lost("commits/ is not there".into()),
        _ => CoordinatorError::Unclear(text),
    }
}
