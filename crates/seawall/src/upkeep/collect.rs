//! Garbage collection: what neither the newest version needs, nor any version inside history, nor a pin.
//!
//! 1. Load the head, read the policy, and list all files, each folder twice. Anything that is missing, unreadable or
//!    unknown on this way ends the collection: it deletes nothing.
//! 2. Note the time: the file `collected` is written, and its own time is *now*, by the file server's clock. No other
//!    clock counts.
//! 3. Note the newest version by a *milestone*. A milestone that is older than history says which version was
//!    superseded for so long: the *floor*.
//! 4. Decide what is dead: segments all of whose commits are in the base of the floor, older bases, drafts without a
//!    pin. Pins that are over go now, before anything that they protect.
//! 5. Commit no pages, with the floor and the next *sweep*. From now on no commit can succeed that was appended to an
//!    older segment, and no checkpoint whose pin is gone.
//! 6. Load the head again, and decide again. Delete only what was dead the first time and is dead still.
//! 7. Take old names out of `commits/`, from below.
//!
//! Any process may collect, several at once are harmless, and a collection that was cut short is finished by the next
//! one.

use super::checkpoint::pin_of;
use super::collected;
use super::listing::{list, time_of};
use super::pins::{Pinned, pins};
use super::policy::policy;
use super::text_of;
use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::CommitFrame;
use crate::format::frame::{self, Kind, UNIT};
use crate::format::group;
use crate::format::head::{BaseRef, Floor, Head, Upkeep};
use crate::format::ids::{BaseName, Epoch, SegmentName, Version};
use crate::format::keep::{MAX_LENGTH, Milestone};
use crate::format::mark::Mark;
use crate::format::policy::{Policy, SHORTEST_HISTORY};
use crate::mutation::mistake;
use crate::options::Freshness;
use crate::ports::coordinator::fs::NAMES_KEPT;
use crate::ports::storage::retired::is_retired;
use crate::ports::storage::{File, Listed, Span};
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::write::committer::Committer;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long the commit of a collection waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many milestones are there, at most, for one length of history …
const MILESTONES: u32 = 32;
/// … and so many where its bytes are limited, but not more than one for each shortest history.
const MILESTONES_BY_BYTES: u32 = 256;
/// A segment's last frame is looked for in its last bytes, then in more of them.
const TAILS: [u64; 4] = [bound(64 << 10, 256) as u64, bound(1 << 20, 4 << 10) as u64, 16 << 20, u64::MAX];
/// No frame is longer.
const LONGEST_FRAME: usize = frame::HEADER + frame::MAX_PAYLOAD + UNIT as usize;

/// Why something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// The newest version needs it.
    Newest,
    /// A version inside history needs it.
    History,
    /// A pin needs it.
    Pin,
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
    /// History is at least so long, whatever the policy says. Only tests have another one than the default.
    pub shortest_history: Duration,
}

impl Default for Collecting {
    fn default() -> Collecting {
        Collecting { dry_run: false, shortest_history: SHORTEST_HISTORY }
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

/// What versions inside history, and pins, stand on.
pub(super) struct Needs {
    pub(super) floor: Floor,
    /// The newest base that everything may stand on which is still needed: what is in it is not needed from the log.
    log_from: Option<BaseName>,
    /// The bases that are needed by name.
    bases: HashSet<BaseName>,
    /// The pins that count.
    pins: Vec<Pinned>,
    /// The policy's bytes have raised the floor.
    pub(super) is_cut: bool,
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
            self.remove_pins_that_are_over(&found, &needs)?;
            let epoch = found.snapshot.head.epoch;
            let raised = self.raise_sweep(epoch, needs.floor)?;
            // The second look: everything is asked for again, and only what was dead the first time can be deleted.
            let snapshot = self.snapshot(Freshness::Transaction, PATIENCE)?;
            must_be_of(epoch, &snapshot.head)?;
            if snapshot.head.sweep < raised {
                return Err(Error::CannotOpen("the head lost its sweep. Nothing was deleted".into()));
            }
            mistake!(CollectsWithoutSecondLook, return self.delete(dead, collected));
            let again = Found { snapshot, last_versions: RefCell::default(), ..found };
            let needs = self.needs(&again, &policy)?;
            let still: HashSet<File> = self.dead(&again, &needs, None)?.into_iter().collect();
            dead.retain(|file| still.contains(file));
            found = again;
        }
        collected = self.delete(dead, collected)?;
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
                text.parse().map_err(|why| Error::corrupt(file, format!("{why}. Nothing was deleted")))?;
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
        let milestone = Milestone { time: found.snapshot.time, head: head.clone() };
        let noted = storage.replace(file, milestone.to_string().as_bytes());
        noted.map_err(|error| Error::io(format!("writing {file}"), error))?;
        found.milestones.push((file, milestone, found.now));
        Ok(())
    }

    fn needs(&self, found: &Found, policy: &Policy) -> Result<Needs> {
        mistake!(MilestonesAgeByBase, return self.needs_by_age_of_base(found));
        let is_kept = |pin: &Pinned| {
            mistake!(PinsIgnored, return false);
            !pin.is_over(found.now, found.shortest)
        };
        let pins: Vec<Pinned> = pins(&*self.tip.storage)?.into_iter().filter(is_kept).collect();
        let is_over = |written: i128| {
            mistake!(MilestoneAtOnce, return true);
            found.is_older(written, policy.history)
        };
        // What was superseded since a milestone that is older than history has been so for longer than that.
        let floor = found.milestones.iter().rposition(|(_, _, written)| is_over(*written));
        let needs = self.needs_from(found, floor, &pins);
        match policy.history_bytes {
            None => Ok(needs),
            Some(limit) => self.within(found, needs, floor, limit, |floor| self.needs_from(found, Some(floor), &pins)),
        }
    }

    /// What is needed if the milestone `floor` is the oldest that is promised.
    fn needs_from(&self, found: &Found, floor: Option<usize>, pins: &[Pinned]) -> Needs {
        let head = &found.snapshot.head;
        let floor = floor.map(|floor| &found.milestones[floor].1);
        let reached = floor.map_or(Floor::default(), |floor| Floor { version: floor.head.version, time: floor.time });
        // Without the milestone of a floor that was raised before, it is not known which base that version stands on.
        let oldest = floor.filter(|floor| floor.head.version >= head.floor.version).map(|floor| floor.head.base);
        let heads = pins.iter().map(|pinned| pinned.pin.head.base);
        let bases: Vec<Option<BaseRef>> = heads.chain([head.base]).chain(oldest).collect();
        let none_is_missing = oldest.is_some() && bases.iter().all(Option::is_some);
        let by_name = || bases.iter().flatten().map(|base| base.name);
        let log_from = by_name().filter(|_| none_is_missing).min_by_key(BaseName::order);
        let (floor, pins) = (head.floor.max(reached), pins.to_vec());
        Needs { floor, log_from, bases: by_name().collect(), pins, is_cut: false }
    }

    #[cfg(feature = "mutations")]
    fn needs_by_age_of_base(&self, found: &Found) -> Result<Needs> {
        let head = &found.snapshot.head;
        let base = head.base.map(|base| base.name);
        Ok(Needs {
            floor: head.floor,
            log_from: base,
            bases: base.into_iter().collect(),
            pins: Vec::new(),
            is_cut: false,
        })
    }

    /// What nothing needs. `collected` is told why the rest stays.
    pub(super) fn dead(
        &self,
        found: &Found,
        needs: &Needs,
        mut collected: Option<&mut Collected>,
    ) -> Result<Vec<File>> {
        let mut dead = Vec::new();
        let named = self.segments_of(&found.snapshot);
        let mut keep = |file: File, why: Kept| -> Result<()> {
            if let Some(collected) = &mut collected {
                let bytes = self.size_of(file)?;
                collected.kept.entry(why).or_default().add(bytes);
            }
            Ok(())
        };
        for name in &found.segments {
            let file = File::Segment(*name);
            if named.contains(name) {
                keep(file, Kept::Newest)?;
                continue;
            }
            // One that is gone was deleted by another collection.
            let Some(last) = self.last_version(found, *name)? else { continue };
            if needs.log_from.is_some_and(|base| last <= base.version) {
                dead.push(file);
            } else {
                keep(file, if needs.pins.is_empty() { Kept::History } else { Kept::Pin })?;
            }
        }
        let newest = found.snapshot.head.base.map(|base| base.name);
        let is_pinned = |token| needs.pins.iter().any(|pinned| pinned.name == pin_of(token));
        let in_the_making = |name: &BaseName| needs.pins.iter().any(|pinned| pinned.pin.head.version == name.version);
        for file in &found.bases {
            match file {
                File::BaseDraft(_, token) | File::SumsDraft(_, token) if !is_pinned(*token) => dead.push(*file),
                File::Base(name) | File::Sums(name) if Some(*name) == newest => keep(*file, Kept::Newest)?,
                File::Base(name) | File::Sums(name) if needs.bases.contains(name) => keep(*file, Kept::Pin)?,
                // No head names it, and none will.
                File::Base(name) | File::Sums(name) if Some(name.order()) > newest.map(|base| base.order()) => {
                    if in_the_making(name) {
                        keep(*file, Kept::Young)?
                    } else {
                        dead.push(*file)
                    }
                }
                File::Base(name) | File::Sums(name)
                    if needs.log_from.is_some_and(|from| name.order() < from.order()) =>
                {
                    dead.push(*file)
                }
                _ => keep(*file, Kept::History)?,
            }
        }
        for file in &found.folder {
            match file {
                File::NameDraft(token) if !is_pinned(*token) => dead.push(*file),
                File::Milestone(epoch, version)
                    if (*epoch, *version) < (found.snapshot.head.epoch, needs.floor.version) =>
                {
                    dead.push(*file)
                }
                File::IdDraft(_) | File::Draft(_) if self.is_old(*file, found)? => dead.push(*file),
                _ => {}
            }
        }
        Ok(dead)
    }

    fn is_old(&self, file: File, found: &Found) -> Result<bool> {
        let written = time_of(&*self.tip.storage, file)?;
        Ok(written.is_some_and(|written| found.is_older(written, found.shortest)))
    }

    /// The segments that the newest version names.
    fn segments_of(&self, snapshot: &Snapshot) -> HashSet<SegmentName> {
        let base = snapshot.head.base.map(|base| base.name.version);
        let entries = snapshot.map.iter().filter(|(_, entry)| Some(entry.version()) > base);
        let numbers: HashSet<_> = entries.map(|(_, entry)| entry.segment()).collect();
        let pages = numbers.into_iter().map(|number| self.tip.pages.segments.name(number));
        let runs = snapshot.trail.runs.iter().map(|run| run.place.segment);
        pages.chain(runs).chain(snapshot.head.commit.place.map(|place| place.segment)).collect()
    }

    /// The newest version that a segment has anything of; 0 if it has nothing whole, and `None` if it is gone.
    fn last_version(&self, found: &Found, name: SegmentName) -> Result<Option<Version>> {
        if let Some(known) = found.last_versions.borrow().get(&name) {
            return Ok(*known);
        }
        let last = self.read_last_version(File::Segment(name))?;
        found.last_versions.borrow_mut().insert(name, last);
        Ok(last)
    }

    fn read_last_version(&self, segment: File) -> Result<Option<Version>> {
        let size = self.size_of(segment)?;
        for tail in TAILS {
            let begin = size.saturating_sub(tail) / UNIT * UNIT;
            match shown(&self.tip.pages, segment, begin, size) {
                Ok(shown) if begin > 0 && !shown.is_last => {}
                Ok(shown) => return Ok(Some(shown.newest)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io(format!("reading {segment}"), error)),
            }
        }
        unreachable!("the last of the tails is the whole segment")
    }

    pub(super) fn size_of(&self, file: File) -> Result<u64> {
        let stamp = self.tip.storage.stamp(file).map_err(|error| Error::io(format!("looking at {file}"), error))?;
        Ok(stamp.map_or(0, |stamp| stamp.size))
    }

    fn remove_pins_that_are_over(&self, found: &Found, needs: &Needs) -> Result<()> {
        for file in &found.folder {
            if let File::Pin(name) = file
                && !needs.pins.iter().any(|pinned| pinned.name == *name)
            {
                let removed = self.tip.storage.remove(*file);
                removed.map_err(|error| Error::io(format!("removing {file}"), error))?;
            }
        }
        Ok(())
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

    fn delete(&self, dead: Vec<File>, mut collected: Collected) -> Result<Collected> {
        for file in dead {
            let bytes = self.size_of(file)?;
            match self.tip.storage.remove(file) {
                Ok(()) => collected.deleted.add(bytes),
                Err(error) => collected.left.push(format!("{file}: {error}")),
            }
        }
        Ok(collected)
    }

    /// Takes the names of old versions out of `commits/`, from below. No name may stay below one that is taken away: who
    /// knows that one would take it for the newest.
    fn unname(&self, found: &Found) -> Result<u64> {
        if self.tip.coordinator.name() != "fs:" {
            return Ok(0);
        }
        let order = self.tip.storage.clone().order();
        let failed = |error| Error::io("listing NAME-seawall/commits", error);
        let folder = order.folder();
        let listed = [order.versions().map_err(failed)?, order.versions().map_err(failed)?];
        let versions: BTreeSet<Version> = listed.into_iter().flatten().collect();
        let is_behind = |version: &Version| version.0 + NAMES_KEPT < found.snapshot.version().0;
        let versions: Vec<Version> = versions.into_iter().filter(is_behind).collect();
        let mut old: Vec<Version> = Vec::new();
        for versions in versions.chunks(256) {
            let stamps = order.stamps(versions, false).map_err(failed)?;
            let is_old = |stamp: Option<_>| {
                stamp.is_none_or(|stamp: crate::ports::storage::Stamp| {
                    found.now - stamp.changed > found.shortest.as_nanos() as i128
                })
            };
            let all = versions.len();
            old.extend(
                versions.iter().zip(stamps).take_while(|(_, stamp)| is_old(*stamp)).map(|(version, _)| *version),
            );
            if !old.len().is_multiple_of(256) || all < 256 {
                break;
            }
        }
        // What both listings missed.
        let known: HashSet<Version> = old.iter().copied().collect();
        for version in old.clone() {
            let mut below = version.previous();
            while let Some(missed) = below.filter(|below| !known.contains(below))
                && order.stamps(&[missed], false).map_err(failed)?[0].is_some()
            {
                old.push(missed);
                below = missed.previous();
            }
        }
        old.sort_unstable();
        mistake!(NamesFromAbove, old.reverse());
        order.unname(folder, &old).map_err(|error| Error::io("taking old names out of NAME-seawall/commits", error))?;
        if !old.is_empty() {
            order.quiesce(found.snapshot.head.home).map_err(failed)?;
        }
        Ok(old.len() as u64)
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

/// What the bytes of a segment show of its versions.
#[derive(Default)]
struct Shown {
    newest: Version,
    /// A commit or its pages are among them. Their versions only rise in a segment. A mark can be of an older one than
    /// what lies before it.
    is_last: bool,
}

/// What the whole frames of `segment` from `begin` to `end` show.
fn shown(pages: &Pages, segment: File, begin: u64, end: u64) -> io::Result<Shown> {
    let mut shown = Shown::default();
    let mut at = begin;
    // In pieces, each of which begins where the last one's whole frames ended.
    while at < end {
        let length = (end - at).min((LONGEST_FRAME + (1 << 20)) as u64) as usize;
        let bytes = pages.storage.read(Span { file: segment, at, length })?;
        if bytes.is_empty() {
            break;
        }
        let is_all = at + bytes.len() as u64 >= end;
        let mut done = 0;
        while done < bytes.len() && (is_all || bytes.len() - done >= LONGEST_FRAME) {
            match frame::parse(&bytes[done..]) {
                Ok(parsed) => {
                    shown.newest = shown.newest.max(version_of(pages, &parsed));
                    shown.is_last |= matches!(parsed.kind, Kind::Pages | Kind::Commit);
                    done += parsed.length;
                }
                Err(_) => done += UNIT as usize,
            }
        }
        at += done as u64;
    }
    Ok(shown)
}

/// A frame's version. One that is whole and not understood may be of any version.
fn version_of(pages: &Pages, parsed: &frame::Frame<'_>) -> Version {
    let version = match parsed.kind {
        Kind::Pages => group::decode(parsed.payload).map(|group| group.owner.version),
        Kind::Commit => CommitFrame::decode(parsed.payload, &pages.segments).map(|commit| commit.version),
        Kind::Mark => Mark::decode(parsed.payload).map(|mark| mark.version),
        Kind::Index => Ok(Version(0)),
    };
    version.unwrap_or(Version::MAX)
}
