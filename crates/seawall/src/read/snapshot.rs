//! A snapshot: one version of the database, whole, for as long as a reader holds it.

use crate::format::codec::Malformed;
use crate::format::commit_frame::{CommitFrame, RunRef};
use crate::format::entry::{PageEntry, Segments};
use crate::format::head::{BaseRef, CommitRef, Head};
use crate::format::ids::{PageNo, PageSize, Version};
use crate::format::index::{Entries, IndexFrame, merge};
use crate::format::jump::Jump;
use crate::mutation::mistake;
use crate::ports::moment::Moment;
use crate::read::page_map::PageMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a page's content is, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// In a segment.
    Segment(PageEntry),
    /// In the base.
    Base(BaseRef),
    /// In the window: what this one of its entries makes of it.
    Window(usize),
}

/// What the next commit frame needs to say of the page map, as of this version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    /// Everything at or below this version is in the base.
    pub(crate) runs_begin: Version,
    /// The index frames, oldest first.
    pub(crate) runs: Vec<RunRef>,
    /// What changed since the last run, this fold's pages included.
    pub(crate) recent: Entries,
    /// Which fold this is; 0 is version 0.
    pub(crate) ordinal: u64,
    /// The earlier folds that the next fold names beside this one.
    pub(crate) jumps: Vec<Jump>,
    /// The bytes that the log has, this version's append included.
    pub(crate) log: u64,
}

/// What a fold says of itself that an entry says, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folded {
    page_count: u32,
    pub(crate) time: u64,
}

/// One version of the database: which pages it has, and where they are.
pub struct Snapshot {
    pub(crate) head: Head,
    pub(crate) page_size: Option<PageSize>,
    pub(crate) page_count: u32,
    /// Where the pages of the fold are.
    pub(crate) map: PageMap,
    /// As of the fold.
    pub(crate) trail: Arc<Trail>,
    /// As of the fold.
    pub(crate) folded: Folded,
    /// By page, the newest entry of the window that changes it.
    changed: Vec<(PageNo, usize)>,
    /// Milliseconds since 1970 in this version's commit frame, or entry; 0 for version 0.
    pub(crate) time: u64,
    /// When the newest request was sent that showed this version to be the newest. All else here never changes.
    shown: Mutex<Moment>,
}

impl Snapshot {
    /// Version 0: what was adopted, or an empty database.
    pub(crate) fn first(head: Head, sent: Moment) -> Snapshot {
        let (page_size, page_count) = match head.base {
            Some(base) => (Some(base.page_size), base.page_count),
            None => (None, 0),
        };
        let trail = Trail { runs_begin: head.folded(), ..Trail::default() };
        Snapshot::of_fold(head, page_size, (page_count, 0), PageMap::default(), trail, sent)
    }

    /// A snapshot of a version that is a fold.
    fn of_fold(
        head: Head,
        page_size: Option<PageSize>,
        (page_count, time): (u32, u64),
        map: PageMap,
        trail: Trail,
        sent: Moment,
    ) -> Snapshot {
        assert!(head.window.entries().is_empty(), "after a fold the window is empty");
        let (trail, folded) = (Arc::new(trail), Folded { page_count, time });
        let shown = Mutex::new(sent);
        Snapshot { head, page_size, page_count, map, trail, folded, changed: Vec::new(), time, shown }
    }

    /// The snapshot that `head` names, if its window begins after the same fold as this one's.
    pub(crate) fn with_window(&self, head: Head, sent: Moment) -> Result<Snapshot, Malformed> {
        let is_same = head.fold.is(&self.head.fold) && head.epoch == self.head.epoch;
        if !is_same || (head.base, head.home, head.sweep) != (self.head.base, self.head.home, self.head.sweep) {
            return Err(Malformed("only a fold changes what a head says beside its window"));
        }
        if self.page_size.is_none() && !head.window.entries().is_empty() {
            return Err(Malformed("an entry stands on a database without pages"));
        }
        let mut changed: Vec<(PageNo, usize)> = Vec::new();
        for (at, (entry, _)) in head.window.entries().iter().enumerate() {
            changed.extend(entry.pages.iter().map(|page| (page.page, at)));
        }
        changed.sort_unstable_by_key(|(page, at)| (*page, usize::MAX - at));
        changed.dedup_by_key(|(page, _)| *page);
        let Folded { page_count, time } = self.folded;
        // A page by which the database grew is written.
        let mut before = page_count;
        for (entry, _) in head.window.entries() {
            let grown = entry.pages.iter().filter(|changed| changed.page.0 > before).count();
            if entry.page_count == 0 || grown as u64 != u64::from(entry.page_count.saturating_sub(before)) {
                return Err(Malformed("an entry has another number of pages than it can have"));
            }
            before = entry.page_count;
        }
        let (page_count, time) =
            head.window.newest().map_or((page_count, time), |(entry, _)| (entry.page_count, entry.time));
        if time < self.folded.time {
            return Err(Malformed("an entry is older than its fold"));
        }
        let (page_size, map, trail, folded) = (self.page_size, self.map.clone(), self.trail.clone(), self.folded);
        Ok(Snapshot { head, page_size, page_count, map, trail, folded, changed, time, shown: Mutex::new(sent) })
    }

    /// The version of the entry `at` of the window.
    pub(crate) fn version_of_entry(&self, at: usize) -> Version {
        Version(self.head.folded().0 + 1 + at as u64)
    }

    /// A request that was sent at `sent` showed this version to be the newest, still.
    pub(crate) fn was_shown(&self, sent: Moment) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.monotonic > shown.monotonic {
            *shown = sent;
        }
    }

    /// How long ago this was certainly still the newest version. Only since then can what it needs have been superseded
    /// and garbage-collected.
    pub(crate) fn age(&self, now: Moment) -> Duration {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).age(now)
    }

    /// The version that this is.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// When it was committed, in milliseconds since 1970; 0 for version 0.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The bytes of a page; `None` while the database is empty.
    pub fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    /// The database's size in pages.
    pub fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The head that this is the content of.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Where the newest image of `page` is, as of this version. (Invariant 4.) An entry at or below the base's version
    /// is in the base: its segment may be gone.
    pub fn source_of(&self, page: PageNo) -> Option<PageSource> {
        match self.changed.binary_search_by_key(&page, |(page, _)| *page) {
            Ok(at) => Some(PageSource::Window(self.changed[at].1)),
            Err(_) => self.source_at_fold(page),
        }
    }

    /// Where the image of `page` is that the entry `at` of the window has found. `None`: it found none, because the
    /// database was shorter.
    pub(crate) fn source_before(&self, page: PageNo, at: usize) -> Option<PageSource> {
        let before = &self.head.window.entries()[..at];
        let page_count = before.last().map_or(self.folded.page_count, |(entry, _)| entry.page_count);
        if page.0 > page_count {
            return None;
        }
        let changed = before.iter().rposition(|(entry, _)| entry.find(page).is_some());
        changed.map(PageSource::Window).or_else(|| self.source_at_fold(page))
    }

    fn source_at_fold(&self, page: PageNo) -> Option<PageSource> {
        let base_version = self.head.base.map(|base| base.name.version);
        match self.map.get(page) {
            Some(entry) if base_version.is_none_or(|base| is_newer(&entry, base)) => Some(PageSource::Segment(entry)),
            _ => self.head.base.filter(|base| page.0 <= base.page_count).map(PageSource::Base),
        }
    }

    /// The snapshot after a commit whose frame is at hand. `earlier` is the snapshot that the page map is carried on
    /// from, if it is of the same epoch; `runs` are those that it lacks, oldest first. Carried on or from the base, the
    /// page map is the same. (Invariant 8.)
    pub(crate) fn of_commit(
        head: Head,
        frame: CommitFrame,
        runs: &[IndexFrame],
        earlier: Option<&Snapshot>,
        segments: &Segments,
        sent: Moment,
    ) -> Result<Snapshot, Malformed> {
        check(&head, &frame)?;
        let place = head.fold.place.ok_or(Malformed("a commit's place is missing"))?;
        let own = frame.own_entries(place.segment, segments);
        let base_version = head.base.map_or(Version(0), |base| base.name.version);
        let mut map = match earlier {
            Some(earlier) if earlier.head.base == head.base => earlier.map.clone(),
            Some(earlier) => without_base(&earlier.map, base_version),
            None => PageMap::default(),
        };
        let recent = || {
            mistake!(GapsLoseRecent, {
                if earlier.is_some() {
                    return &[][..];
                }
            });
            &frame.recent[..]
        };
        let entries = runs.iter().flat_map(|run| &run.entries).chain(recent()).chain(&own);
        for (page, entry) in entries.filter(|(_, entry)| is_newer(entry, base_version)) {
            map.insert(*page, *entry);
        }
        // Pages of another size were there before, and a base that has them does not help. A base that was made since has
        // pages of this size.
        let is_carried_on =
            earlier.is_some_and(|earlier| earlier.page_size == Some(frame.page_size) && earlier.head.base == head.base);
        let before = head.base.map(|base| base.page_size).or(earlier.and_then(|earlier| earlier.page_size));
        let is_repaginated = !is_carried_on && before.is_some_and(|size| size != frame.page_size);
        if is_repaginated && !(1..=frame.page_count).all(|page| map.get(PageNo(page)).is_some()) {
            return Err(Malformed("the page size was changed, and not every page was written in the new one"));
        }
        let recent = merge(&frame.recent, &own);
        let (ordinal, jumps, log) = (frame.ordinal, frame.next_jumps(), frame.log_with(&place));
        let trail = Trail { runs_begin: frame.runs_begin, runs: frame.runs, recent, ordinal, jumps, log };
        let (page_size, page_count) = (size_of_pages(frame.page_size, frame.page_count), frame.page_count);
        Ok(Snapshot::of_fold(head, page_size, (page_count, frame.time), map, trail, sent))
    }
}

impl Snapshot {
    /// A snapshot whose page map was made from the pages of single commits.
    pub(crate) fn rebuilt(
        head: Head,
        page_size: PageSize,
        page_count: u32,
        map: PageMap,
        trail: Trail,
        time: u64,
        sent: Moment,
    ) -> Snapshot {
        Snapshot::of_fold(head, size_of_pages(page_size, page_count), (page_count, time), map, trail, sent)
    }
}

/// A commit frame always names a page size. While there is no page, the first one that is written may have another.
fn size_of_pages(named: PageSize, page_count: u32) -> Option<PageSize> {
    (page_count > 0).then_some(named)
}

/// Whether a base of the version `base` lacks what is at `entry`.
fn is_newer(entry: &PageEntry, base: Version) -> bool {
    mistake!(BelowBaseFromSegment, return true);
    entry.version() > base
}

/// The page map without what a base of the version `base` has.
fn without_base(map: &PageMap, base: Version) -> PageMap {
    mistake!(BelowBaseFromSegment, return map.clone());
    map.newer_than(base)
}

/// Whether the frame is the one that the head names, and both fit the base: asserted before writing and after reading.
/// (Invariants 1, 7.)
pub(crate) fn check(head: &Head, frame: &CommitFrame) -> Result<(), Malformed> {
    let same = frame.database == head.database
        && frame.epoch == head.epoch
        && frame.version == head.folded()
        && frame.commit == head.fold.id
        && (frame.base, frame.home, frame.sweep) == (head.base, head.home, head.sweep);
    if !same {
        return Err(Malformed("it is not the commit that the head names"));
    }
    // The runs begin where an earlier base ended: what they leave out must be in the base that is used now.
    if head.base.map_or(Version(0), |base| base.name.version) < frame.runs_begin {
        return Err(Malformed("the head's base is older than the index"));
    }
    Ok(())
}

/// Whether the history of `frame` has what `earlier` names, as far as the frame tells: versions rise by 1, digests
/// chain. (Invariant 2.)
pub(crate) fn continues(frame: &CommitFrame, earlier: &Head) -> bool {
    let commit = if earlier.version == frame.folded {
        Some(frame.fold)
    } else {
        let at = earlier.version.0.checked_sub(frame.folded.0 + 1);
        at.and_then(|at| frame.window.commit(at as usize))
    };
    earlier.version < frame.folded || commit.is_some_and(|commit| commit.is(&earlier.commit()))
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CommitRef { id, .. } = self.head.commit();
        write!(f, "version {} ({id}, {} pages)", self.head.version.0, self.page_count)
    }
}
