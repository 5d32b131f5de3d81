//! Garbage collection: what neither the newest version needs, nor any version inside history, nor a pin.
//!
//! 1. Load the head, read the policy, and list all files, each folder twice. If one of the files that say what is
//!    needed (policy, milestones, pins) cannot be read or understood, the collection ends, and has deleted nothing.
//!    Names that are not Seawall's are reported, and stay.
//! 2. Note the time: the file `collected` is written, and its own time is *now*, by the file server's clock. No other
//!    clock counts.
//! 3. Note the newest version by a *milestone*. A milestone that is older than history says which version was
//!    superseded for so long: the *floor*.
//! 4. Decide what is dead: segments all of whose commits are in the base of the floor, older bases, drafts without a
//!    pin, what recoveries saved longer ago than history. Pins that are over go now, before anything that they protect.
//! 5. Commit no pages, with the floor and the next *sweep*. From now on no commit can succeed that was appended to an
//!    older segment, and no checkpoint whose pin is gone.
//! 6. Load the head again, and decide again. Delete only what was dead the first time and is dead still.
//! 7. Take old names out of `commits/`, from below.
//!
//! Any process may collect, several at once are harmless, and a collection that was cut short is finished by the next
//! one.

mod dead;
mod names;
mod needs;
mod within;

use self::needs::Needs;
use super::collected;
use super::listing::{list, time_of};
use super::policy::policy;
use super::text_of;
use crate::error::{Error, Result};
use crate::format::head::{Floor, Head, Upkeep};
use crate::format::ids::{Epoch, PinName, SegmentName, Version};
use crate::format::keep::{MAX_LENGTH, Milestone};
use crate::format::policy::{Policy, SHORTEST_HISTORY};
use crate::mutation::mistake;
use crate::options::Freshness;
use crate::ports::storage::retired::is_retired;
use crate::ports::storage::{File, Listed};
use crate::read::snapshot::Snapshot;
use crate::write::committer::Committer;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// What to do about a milestone that cannot be read.
pub(super) const MILESTONE_REMEDY: &str = "Remove it: it is only evidence of how old versions are, and without it history is longer for once. \
                                           Until then nothing is collected";

/// How long the commit of a collection waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many milestones are there, at most, for one length of history …
const MILESTONES: u32 = 32;
/// … and so many where its bytes are limited, but not more than one for each shortest history.
const MILESTONES_BY_BYTES: u32 = 256;

/// Why something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// The newest version needs it.
    Newest,
    /// A version inside history needs it.
    History,
    /// A pin needs it.
    Pin,
    /// It has the heads that a recovery found in `commits/`: evidence for another recovery, as long as history.
    Evidence,
    /// It is too young to be known for garbage.
    Young,
}

/// A number of files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What a garbage collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The oldest version that is still promised, and its time.
    pub floor: Floor,
    /// What was deleted; what would be, if nothing was to be changed.
    pub deleted: Sum,
    /// Names that were taken out of `commits/`.
    pub names: u64,
    /// What was kept, and why.
    pub kept: BTreeMap<Kept, Sum>,
    /// Names that Seawall gives to no file: they stay.
    pub unknown: Vec<String>,
    /// Files that are dead and could not be deleted, with the reason: the next collection tries again.
    pub left: Vec<String>,
    /// What is dead and was not deleted, because there was no time left: the next collection goes on.
    pub postponed: Sum,
    /// What history takes: the bytes of the log and of superseded bases that stay.
    pub history_bytes: u64,
    /// History reaches back less far than the policy's time, because it took more bytes than the policy's limit.
    pub is_cut: bool,
}

/// How to collect.
#[derive(Clone, Copy, Debug)]
pub struct Collecting {
    /// Only says what would be deleted.
    pub dry_run: bool,
    /// Deletes nothing more once it has worked for so long. The next collection goes on.
    pub max_duration: Option<Duration>,
    /// History is at least so long, whatever the policy says. Only tests have another one than the default.
    pub shortest_history: Duration,
}

impl Default for Collecting {
    fn default() -> Collecting {
        Collecting { dry_run: false, max_duration: None, shortest_history: SHORTEST_HISTORY }
    }
}

/// What was found at the beginning.
pub(super) struct Found {
    pub(super) snapshot: Arc<Snapshot>,
    /// By the file server's clock, in nanoseconds.
    pub(super) now: i128,
    pub(super) segments: Vec<SegmentName>,
    /// What lies in `bases/`.
    pub(super) bases: Vec<File>,
    /// What lies in the database's own folder.
    folder: Vec<File>,
    pub(super) milestones: Vec<(File, Milestone, i128)>,
    others: Vec<String>,
    pub(super) shortest: Duration,
    /// The newest version that each segment has anything of, as far as this look has read it.
    last_versions: RefCell<HashMap<SegmentName, Option<Version>>>,
}

impl Found {
    /// Whether what was written then is older than `age`.
    pub(super) fn is_older(&self, written: i128, age: Duration) -> bool {
        self.now - written >= age.as_nanos() as i128
    }
}

impl Committer {
    pub(crate) fn collect(self: &Arc<Self>, collecting: Collecting) -> Result<Collected> {
        let storage = &*self.tip.storage;
        self.tip.may_collect()?;
        let deadline = collecting.max_duration.map(|length| storage.now().monotonic.saturating_add(length));
        let snapshot = self.snapshot(Freshness::Transaction, PATIENCE)?;
        let mut policy = policy(storage)?;
        policy.history = policy.history.max(collecting.shortest_history);
        let mut found = self.find(snapshot, collecting)?;
        if !collecting.dry_run {
            self.note_milestone(&mut found, &policy)?;
        }
        let needs = self.needs(&found, &policy)?;
        let Needs { floor, is_cut, .. } = needs;
        let mut collected = Collected { floor, is_cut, unknown: found.others.clone(), ..Collected::default() };
        let mut dead = self.dead(&found, &needs, Some(&mut collected))?;
        collected.history_bytes = self.history_bytes(&found, &dead)?;
        if collecting.dry_run {
            for file in dead {
                collected.deleted.add(self.size_of(file)?);
            }
            return Ok(collected);
        }
        if !dead.is_empty() {
            self.remove_pins(&needs.over)?;
            let epoch = found.snapshot.head.epoch;
            let raised = self.raise_sweep(epoch, needs.floor)?;
            // The second look: everything is asked for again, and only what was dead the first time can be deleted.
            let snapshot = self.snapshot(Freshness::Transaction, PATIENCE)?;
            must_be_of(epoch, &snapshot.head)?;
            if snapshot.head.sweep < raised {
                return Err(Error::CannotOpen(
                    "the head was set back while garbage was collected: it lacks the sweep that this collection has just committed. Nothing was \
                     deleted. Look at the database: seawall doctor NAME"
                        .into(),
                ));
            }
            mistake!(CollectsWithoutSecondLook, return self.delete(dead, collected, deadline));
            let again = Found { snapshot, last_versions: RefCell::default(), ..found };
            let needs = self.needs(&again, &policy)?;
            let still: HashSet<File> = self.dead(&again, &needs, None)?.into_iter().collect();
            dead.retain(|file| still.contains(file));
            found = again;
        }
        collected = self.delete(dead, collected, deadline)?;
        collected.names = self.unname(&found)?;
        collected::end(storage, collected.deleted)?;
        Ok(collected)
    }

    /// The oldest version that would be promised under `policy`, if garbage were collected now. Changes nothing.
    pub(crate) fn floor_under(&self, policy: &Policy) -> Result<Floor> {
        let snapshot = self.snapshot(Freshness::Transaction, PATIENCE)?;
        let found = self.find(snapshot, Collecting { dry_run: true, ..Collecting::default() })?;
        Ok(self.needs(&found, policy)?.floor)
    }

    fn find(&self, snapshot: Arc<Snapshot>, collecting: Collecting) -> Result<Found> {
        let storage = &*self.tip.storage;
        // Where nothing may be written, this machine's clock must do.
        let now = if collecting.dry_run { self.own_time() } else { self.note_time()? };
        let (segments, bases, folder) =
            (list(storage, Listed::Segments)?, list(storage, Listed::Bases)?, list(storage, Listed::Folder)?);
        let names = ["segments", "bases", "commits", "id.removed"];
        // What a recovery that was cut short has left goes with the next one.
        let own = folder.others.iter().filter(|name| !names.contains(&name.as_str()) && !is_retired(name));
        let others = own.chain(&segments.others).chain(&bases.others).cloned().collect();
        let mut milestones = Vec::new();
        for file in folder.files.iter().filter(|file| matches!(file, File::Milestone(..))) {
            let (Some(written), Some(text)) = (time_of(storage, *file)?, text_of(storage, *file, MAX_LENGTH)?) else {
                continue;
            };
            let milestone: Milestone =
                text.parse().map_err(|why| Error::corrupt_record(file, why, MILESTONE_REMEDY))?;
            // The versions of an earlier epoch may have been left out by a recovery.
            if milestone.head.database == self.tip.id && milestone.head.epoch == snapshot.head.epoch {
                milestones.push((*file, milestone, written));
            }
        }
        milestones.sort_by_key(|(_, milestone, _)| milestone.head.version);
        let segments =
            segments.files.iter().filter_map(|file| if let File::Segment(name) = file { Some(*name) } else { None });
        Ok(Found {
            segments: segments.collect(),
            bases: bases.files,
            folder: folder.files,
            snapshot,
            now,
            milestones,
            others,
            shortest: collecting.shortest_history,
            last_versions: RefCell::default(),
        })
    }

    fn own_time(&self) -> i128 {
        self.tip.storage.now().wall.as_nanos() as i128
    }

    /// Notes the time, and what it is by the file server's clock.
    fn note_time(&self) -> Result<i128> {
        let now = collected::begin(&*self.tip.storage)?;
        mistake!(CollectorTrustsClock, return Ok(self.own_time()));
        Ok(now)
    }

    /// Notes that the newest version is the newest now, unless that was done a short while ago.
    fn note_milestone(&self, found: &mut Found, policy: &Policy) -> Result<()> {
        let storage = &*self.tip.storage;
        let apart = match policy.history_bytes {
            None => policy.history / MILESTONES,
            // Any of them may become the floor.
            Some(_) => (policy.history / MILESTONES_BY_BYTES).max(found.shortest),
        };
        let head = &found.snapshot.head;
        let file = File::Milestone(head.epoch, head.version);
        if let Some((_, newest, written)) = found.milestones.last()
            && (newest.head.version == head.version || found.now - written < apart.as_nanos() as i128)
        {
            return Ok(());
        }
        // It may become the floor, and what a loss of power can still take must not.
        self.tip.coordinator.make_durable().map_err(Error::nothing_written)?;
        let milestone = Milestone { time: found.snapshot.time, head: head.clone() };
        let noted = storage.replace(file, milestone.to_string().as_bytes());
        noted.map_err(|error| Error::io(format!("writing {file}"), error))?;
        found.milestones.push((file, milestone, found.now));
        Ok(())
    }

    fn remove_pins(&self, over: &[PinName]) -> Result<()> {
        over.iter().map(|name| File::Pin(*name)).try_for_each(|file| {
            self.tip.storage.remove(file).map_err(|error| Error::io(format!("removing {file}"), error))
        })
    }

    /// Commits the floor and the next sweep. The answer is that sweep.
    fn raise_sweep(self: &Arc<Self>, epoch: Epoch, floor: Floor) -> Result<u64> {
        mistake!(CollectsWithoutSweep, return Ok(0));
        let committed = self.commit_upkeep(PATIENCE, |head| {
            must_be_of(epoch, head)?;
            Ok(Some(Upkeep::Floor(head.floor.max(floor))))
        })?;
        Ok(committed.expect("there was something to do").head.sweep)
    }

    fn delete(&self, dead: Vec<File>, mut collected: Collected, deadline: Option<Duration>) -> Result<Collected> {
        for file in dead {
            let bytes = self.size_of(file)?;
            if deadline.is_some_and(|deadline| self.tip.storage.now().monotonic >= deadline) {
                collected.postponed.add(bytes);
                continue;
            }
            match self.tip.storage.remove(file) {
                Ok(()) => collected.deleted.add(bytes),
                Err(error) => collected.left.push(format!("{file}: {error}")),
            }
        }
        Ok(collected)
    }
}

/// The head must be of the epoch in which the collection began. After a recovery the same numbers can be other versions.
fn must_be_of(epoch: Epoch, head: &Head) -> Result<()> {
    mistake!(UpkeepOverRecovery, return Ok(()));
    if head.epoch == epoch {
        return Ok(());
    }
    Err(Error::CannotOpen(
        "the database was recovered while garbage was collected. Nothing was deleted. Collect it again".into(),
    ))
}
