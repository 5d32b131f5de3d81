//! The embedded coordinator: the head of version v is the target of the symlink `commits/<v>`.
//!
//! symlink() creates a name and its content in one atomic, durable, put-if-absent step. The generation is the version
//! itself. The lease is a lock on one byte of a file, asked for without waiting; a holder that was watched doing
//! nothing for a whole lease is passed over by taking the next byte, and the next commit's record tells everybody.

use super::{Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Swapped};
use crate::head::{Head, MAX_TEXT};
use crate::ids::{CommitId, Version};
use crate::mutation::{self, Mutation};
use crate::storage::{File, Lock, Record, Span, Stamp, Storage};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many numbers are looked up at once while a reader that is behind finds the newest.
const PROBES: usize = 8;
/// So many names are remembered: more than a process has heads that it may still ask about.
const REMEMBERED: usize = 64;
/// A label is no longer than this …
const LABEL_BYTES: usize = 512;
/// … and there is one for each lock, until the places are used again: a holder that was passed over cannot write on its successor's.
const LABELS: u32 = 8;
/// The longest wait before the lease is asked for again is this power of two, in milliseconds: a lock costs nothing but the trip.
const LONGEST_WAIT: u32 = 2;
/// A holder that goes on for so long says who it is: until then its lock says enough.
const FIRST_RENEWAL: Duration = Duration::from_millis(100);

/// The `fs` coordinator of one database.
pub struct FsCoordinator {
    storage: Arc<dyn Storage>,
    /// Whether this process has the place at the front of the line. Only one of its threads asks for the lease at a time.
    in_line: AtomicBool,
    /// The lock that this process moved on to, and the generation of the head at that time: whoever took it before may have died
    /// before a record of his could name it.
    moved_on: Mutex<(u64, u32)>,
    /// Which files the last names were when they were seen first, each at a time when it was certain that it had not been collected.
    seen: Mutex<VecDeque<(Version, Stamp)>>,
}

impl FsCoordinator {
    /// The coordinator of the database whose files `storage` has.
    pub fn new(storage: Arc<dyn Storage>) -> FsCoordinator {
        FsCoordinator { storage, in_line: AtomicBool::new(false), moved_on: Mutex::default(), seen: Mutex::default() }
    }

    /// Remembers which file a name is. Whoever calls has made sure that it is the one that was there first.
    fn remember(&self, version: Version, stamp: Stamp) {
        let mut seen = self.seen.lock().expect("no panic while locked");
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((version, stamp));
    }

    /// Whether the name of `version` is still the one that was seen first: neither it nor what came after it was collected then.
    fn is_still(&self, version: Version, stamp: Option<Stamp>) -> bool {
        let seen = self.seen.lock().expect("no panic while locked");
        let first = seen.iter().rev().find(|(seen, _)| *seen == version).map(|(_, stamp)| *stamp);
        stamp.is_some() && (first == stamp || mutation::is(Mutation::KnownByNumber))
    }

    /// The head of `version` and which file its name is; `None` if that number is not named.
    fn named(&self, version: Version) -> Result<Option<(Head, Stamp)>, CoordinatorError> {
        self.all_named(&[version]).map(|mut named| named.pop().flatten())
    }

    fn all_named(&self, versions: &[Version]) -> Result<Vec<Option<(Head, Stamp)>>, CoordinatorError> {
        let records = self.storage.records(versions).map_err(reading)?;
        records.into_iter().zip(versions).map(|(record, version)| parse(record, *version)).collect()
    }

    /// The newest head, from `low`, which is there: of several numbers at once, further and further away, then ever more closely.
    /// Numbers above `low` have no gaps, for they are collected from below; whoever calls looks afterwards whether they still were not.
    fn newest_from(&self, mut low: (Head, Stamp)) -> Result<(Head, Stamp), CoordinatorError> {
        let mut missing: Option<Version> = None;
        while missing != Some(low.0.version.next()) {
            let asked = probes(low.0.version, missing);
            for (version, named) in asked.iter().zip(self.all_named(&asked)?) {
                match named {
                    Some(named) => low = named,
                    None => {
                        missing = Some(*version);
                        break;
                    }
                }
            }
        }
        Ok(low)
    }

    /// The newest head, for whoever knows one; `None` if that was collected, so that what is missing proves nothing.
    fn caught_up(&self, known: &Head) -> Result<Option<Head>, CoordinatorError> {
        let look = self.storage.look(known.version).map_err(reading)?;
        let was_collected = |stamp| !self.is_still(known.version, stamp) && !mutation::is(Mutation::GapIsEnd);
        if was_collected(look.known) {
            return Ok(None);
        }
        let Some(next) = parse(look.next, known.version.next())? else { return Ok(Some(known.clone())) };
        let Some(after_next) = parse(look.after_next, next.0.version.next())? else {
            return Ok(Some(self.seen_first(next)));
        };
        let newest = self.newest_from(after_next)?;
        let known_is = self.storage.stamps(&[known.version], true).map_err(reading)?;
        Ok((!was_collected(known_is[0])).then(|| self.seen_first(newest)))
    }

    fn seen_first(&self, (head, stamp): (Head, Stamp)) -> Head {
        self.remember(head.version, stamp);
        head
    }

    /// The newest head, for whoever knows one.
    fn newest_since(&self, known: &Head) -> Result<Head, CoordinatorError> {
        self.caught_up(known)?.map_or_else(|| self.newest_listed(), Ok)
    }

    /// From the list of the folder: for whoever knows nothing, or only what was collected meanwhile.
    fn newest_listed(&self) -> Result<Head, CoordinatorError> {
        let list = || self.storage.versions().map(BTreeSet::from_iter).map_err(reading);
        // Collection can take the number that was listed; then newer ones are there.
        for _ in 0..100 {
            let newest = list()?.pop_last().ok_or_else(|| CoordinatorError::Lost("commits/ is empty".into()))?;
            let Some(named) = self.named(newest)? else { continue };
            // What was read is what was listed if it was not collected since: all from the one before it on are there.
            let listed: BTreeSet<Version> = list()?;
            let before = newest.previous().unwrap_or(newest);
            let last = listed.last().copied().map_or(newest, |last| last.max(newest));
            if (before.0..=last.0).all(|version| listed.contains(&Version(version))) {
                return Ok(self.seen_first(named));
            }
        }
        Err(CoordinatorError::Unreachable("commits/ changes faster than it can be listed".into()))
    }

    /// The newest head, from a hint; `None` if the hint's commit is not there any more. The hint does not say which file the name was:
    /// it is the one that was there first if the one before it was not collected.
    fn newest_hinted(&self, version: Version, commit: CommitId) -> Result<Option<Head>, CoordinatorError> {
        let Some(before) = version.previous() else { return Ok(None) };
        let look = self.storage.look(before).map_err(reading)?;
        let Some(hinted) = parse(look.next, version)? else { return Ok(None) };
        let is_good = look.known.is_some() && hinted.0.commit.id == commit;
        if !is_good && !mutation::is(Mutation::HintUnchecked) {
            return Ok(None);
        }
        let hinted = self.seen_first(hinted);
        match parse(look.after_next, version.next())? {
            Some(next) => self.caught_up(&self.seen_first(next)),
            None => Ok(Some(hinted)),
        }
    }

    /// Whether this process has the place at the front of the line now.
    fn stand_in_line(&self) -> Result<bool, CoordinatorError> {
        if !self.in_line.load(Ordering::Relaxed) {
            self.in_line.store(self.storage.try_lock(Lock::Line).map_err(asking)?, Ordering::Relaxed);
        }
        Ok(self.in_line.load(Ordering::Relaxed))
    }

    /// Names the head's version with its record; `false` if it was named already. Either way the name is durable then.
    fn publish(&self, head: &Head) -> Result<bool, CoordinatorError> {
        let published = match self.storage.publish(head.version, &record_of(head)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(writing(error)),
        };
        if published.as_ref().is_err_and(CoordinatorError::is_certain) {
            return published;
        }
        // After an unclear error, too: whoever looks, and finds the name there, takes it for durable.
        self.storage.sync_published().map_err(|error| CoordinatorError::Undurable(error.to_string()))?;
        published
    }

    /// The lock that stands for the lease now: the head's, or one further on.
    fn slot(&self, head: &Head) -> u32 {
        match *self.moved_on.lock().expect("no panic while locked") {
            (generation, slot) if generation == head.generation => slot.max(head.lease_slot),
            _ => head.lease_slot,
        }
    }

    fn label(&self, slot: u32) -> Result<String, CoordinatorError> {
        match self.storage.read(Span { file: File::Lease, at: label_at(slot), length: LABEL_BYTES }) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                Ok(text.lines().next().unwrap_or_default().trim_matches('\0').to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(reading(error)),
        }
    }

    /// Takes lock `slot` and the head; gives it back if another lock stands for the lease of that head.
    fn acquire_slot(&self, claim: &Claim, known: &Head, slot: u32) -> Result<Acquired, CoordinatorError> {
        let since = self.storage.now();
        if !self.storage.try_lock(Lock::Lease(slot)).map_err(asking)? {
            return Ok(held(claim));
        }
        match self.newest_since(known) {
            // Whoever commits under the lock that was passed over is at work after all: his is the lease.
            Ok(head) if self.slot(&head) == slot => {
                let lease = Lease {
                    epoch: head.epoch,
                    generation: head.generation,
                    sweep: head.sweep,
                    token: claim.token,
                    slot,
                    since,
                    length: claim.length,
                    first_renewal: FIRST_RENEWAL.min(claim.length / 3),
                };
                Ok(Acquired::Granted(lease, Box::new(head)))
            }
            Ok(_) => {
                self.storage.unlock(Lock::Lease(slot)).map_err(asking)?;
                Ok(held(claim))
            }
            Err(error) => {
                // The answer that counts is the load's; a lock that cannot be given back ends with its process.
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
        self.publish(head)?;
        let named =
            self.named(head.version)?.ok_or_else(|| CoordinatorError::Lost("commits/0 came and went".into()))?;
        Ok(self.seen_first(named))
    }

    fn load(&self, known: &Known<'_>, _patience: Duration) -> Result<Head, CoordinatorError> {
        match known {
            Known::Head(head) => self.newest_since(head),
            Known::Nothing => self.newest_listed(),
            Known::Hint(version, commit) => {
                self.newest_hinted(*version, *commit)?.map_or_else(|| self.newest_listed(), Ok)
            }
        }
    }

    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        // Whoever comes back from a turn must first find nobody at the front of the line.
        if claim.had_turn && !self.stand_in_line()? {
            return Ok(held(claim));
        }
        let slot = match &claim.pass_over {
            // The holder was watched up to now; a last look, for it may have moved since.
            Some(holder) if self.holder(&self.newest_since(known)?)? == *holder => {
                let next = (holder.term as u32).wrapping_add(1);
                *self.moved_on.lock().expect("no panic while locked") = (holder.generation, next);
                next
            }
            _ => self.slot(known),
        };
        let acquired = self.acquire_slot(claim, known, slot)?;
        match acquired {
            Acquired::Granted(..) => self.give_up()?,
            Acquired::Held { .. } => drop(self.stand_in_line()?),
        }
        Ok(acquired)
    }

    fn give_up(&self) -> Result<(), CoordinatorError> {
        if self.in_line.swap(false, Ordering::Relaxed) {
            self.storage.unlock(Lock::Line).map_err(asking)?;
        }
        Ok(())
    }

    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError> {
        let slot = self.slot(known);
        Ok(Holder { generation: known.generation, term: slot.into(), label: self.label(slot)? })
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
        assert_eq!(next.version, previous.version.next(), "versions rise by one");
        let refused = |head| Swapped::Refused(Box::new(head));
        if !self.publish(next)? && !mutation::is(Mutation::SwapUnconditional) {
            if mutation::is(Mutation::TakenIsFailure) {
                return Err(CoordinatorError::Unreachable("the number is taken".into()));
            }
            // Somebody was first, or this very request was, and its reply was lost: the engine decides by identity.
            return self.newest_since(previous).map(refused).map_err(looking);
        }
        // A sleeper may have named a number anew that was collected long ago: then its predecessor is gone.
        let stamps = self.storage.stamps(&[next.version, previous.version], false).map_err(unclear)?;
        if self.is_still(previous.version, stamps[1]) || mutation::is(Mutation::PublishUnchecked) {
            stamps[0].into_iter().for_each(|stamp| self.remember(next.version, stamp));
            return Ok(Swapped::Done);
        }
        let newest = self.newest_listed().map_err(looking)?;
        Ok(if newest.commit.is(&next.commit) { Swapped::Done } else { refused(newest) })
    }

    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        self.storage.unlock(Lock::Lease(lease.slot)).map_err(asking)
    }

    fn lease_survives_swap(&self) -> bool {
        true
    }

    fn takeover_is_told(&self) -> bool {
        false
    }

    fn lease_ends_with_process(&self) -> bool {
        true
    }
}

fn held(claim: &Claim) -> Acquired {
    Acquired::Held { again_in: Duration::from_millis(1 << claim.refusals.min(LONGEST_WAIT)), seen: None }
}

/// Which numbers to look up between `low`, which is there, and `missing`, which is not (or nothing is known to be missing).
fn probes(low: Version, missing: Option<Version>) -> Vec<Version> {
    let Some(missing) = missing else {
        // 1, 2, 3, 4, then 8, 16 …: whoever is a few versions behind is done in one step.
        return (0..PROBES as u32)
            .map(|n| Version(low.0 + if n < 4 { u64::from(n) + 1 } else { 1 << (n - 1) }))
            .collect();
    };
    let room = missing.0 - low.0;
    let step = room.div_ceil(PROBES as u64 + 1);
    (1..).map(|n| Version(low.0 + n * step)).take_while(|version| *version < missing).collect()
}

fn label_at(slot: u32) -> u64 {
    u64::from(slot % LABELS) * LABEL_BYTES as u64
}

fn record_of(head: &Head) -> String {
    let record = head.to_string();
    assert!(record.len() < MAX_TEXT, "a head's record is short");
    record
}

fn parse(record: Option<Record>, version: Version) -> Result<Option<(Head, Stamp)>, CoordinatorError> {
    let Some(Record { text, stamp }) = record else { return Ok(None) };
    let malformed = |why: String| CoordinatorError::Malformed(format!("commits/{}: {why}", version.0));
    let head: Head = text.parse().map_err(|why: crate::codec::Malformed| malformed(why.to_string()))?;
    if head.version != version {
        return Err(malformed(format!("it says that it is version {}", head.version.0)));
    }
    Ok(Some((head, stamp)))
}

/// A read changes nothing, so whatever went wrong, nothing was carried out.
fn reading(error: io::Error) -> CoordinatorError {
    match error.kind() {
        io::ErrorKind::NotFound => CoordinatorError::Lost("commits/ is not there".into()),
        io::ErrorKind::InvalidData => CoordinatorError::Malformed(error.to_string()),
        io::ErrorKind::PermissionDenied => CoordinatorError::Permission(format!("commits/: {error}")),
        _ => CoordinatorError::Unreachable(error.to_string()),
    }
}

/// Locks are advice: whatever becomes of them, nothing was committed.
fn asking(error: io::Error) -> CoordinatorError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CoordinatorError::Permission(format!("the lease: {error}"))
        }
        _ => CoordinatorError::Unreachable(error.to_string()),
    }
}

/// A look after a publication was tried: that it failed says nothing of the publication.
fn looking(error: CoordinatorError) -> CoordinatorError {
    if error.is_certain() { CoordinatorError::Unclear(error.to_string()) } else { error }
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

fn unclear(error: io::Error) -> CoordinatorError {
    CoordinatorError::Unclear(error.to_string())
}
