//! The oracle knows what is true: the chain of commits according to the durable bytes, and what each process was
//! answered.
//!
//! It reads each commit from the disk by itself when its head is put in place. From then on it compares every page that
//! a process reads with a plain model. Its checks are the design's invariants, and each check says which.

mod adopted;
mod content;
mod history;
mod moving;
mod recovered;
mod recovery;

use crate::disk::Disk;
use crate::event::Event;
use crate::place::At;
use crate::process::ProcessId;
use seawall::Snapshot;
use seawall::format::commit_frame::RunRef;
use seawall::format::entry::Segments;
use seawall::format::head::{CommitRef, Head};
use seawall::format::ids::{Digest, Epoch, PageNo, PageSize, PinName, SegmentName, Version};
use seawall::format::jump::Jump;
use seawall::format::place::Place;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use recovery::Recovery;

/// A transaction's number in the run. The transaction writes it into each of its pages.
pub(crate) type Number = u64;

/// A page's content, as far as the model knows it.
pub(crate) type Sum = [u8; 8];

/// A page's image.
type Image = Arc<[u8]>;

/// A page that a commit wrote, the transaction that wrote it, and its content.
type Written = (PageNo, Number, Sum, Image);

/// What a commit says of itself, as far as the oracle needs it.
struct Content {
    previous: CommitRef,
    /// The versions that it names.
    names: Vec<u64>,
    jumps: Vec<Jump>,
    page_size: PageSize,
    page_count: u32,
    runs: Vec<RunRef>,
    pages: Vec<Written>,
    /// The pages that a fold carries.
    carried: Vec<Written>,
}

/// A writer whose append failed appends a mark that refuses it. If that fails as well, it can only report the failure.
const TOO_MANY: u32 = 2;

/// A version in the order of commits.
struct Link {
    head: Head,
    page_count: u32,
    page_size: Option<PageSize>,
    /// The transaction that made it; version 0 and commits without pages have none.
    transaction: Option<Number>,
    since: Duration,
    /// The segments with its index frames that are not in its base.
    runs: Vec<SegmentName>,
    /// The earlier versions that its commit names.
    names: Vec<u64>,
}

/// A transaction whose outcome its process does not know.
struct Unknown {
    process: ProcessId,
    since: Duration,
    number: Number,
    /// How many of the process's appends had failed before it.
    failed_appends: u32,
}

#[derive(Default)]
pub(crate) struct Oracle {
    chain: Vec<Link>,
    segments: Segments,
    /// Each page's contents, and since which version it has each.
    pages: BTreeMap<u32, Vec<(u64, Sum)>>,
    /// Each page's images, and since which version it has each: entries are differences from them.
    images: BTreeMap<u32, Vec<(u64, Image)>>,
    /// Where each page lies, and since which fold it lies there.
    places: BTreeMap<u32, Vec<(u64, SegmentName)>>,
    committed: HashMap<Number, u64>,
    refused: HashSet<Number>,
    /// The refused ones whose mark could not be written, because two or more writes to segments failed.
    unmarked: HashSet<Number>,
    /// The transactions whose outcome their process does not know.
    unknown: Vec<Unknown>,
    /// The newest version that was acknowledged or read to the end, and since when. It only ever rises.
    floors: Vec<(Duration, u64)>,
    acknowledged: u64,
    /// Since when each pin is there.
    pins: HashMap<PinName, Duration>,
    /// The pages that stock SQLite has committed to NAME, by their sums.
    name: Vec<Sum>,
    /// What a recovery would find.
    pub(crate) recovery: Recovery,
    /// What recoveries have done.
    recoveries: recovered::Recoveries,
    /// What moves have done.
    moves: moving::Moves,
    /// The epoch of the newest head.
    epoch: Epoch,
    /// The commits that recoveries have left out, and the transactions in them.
    dropped: HashSet<Digest>,
    lost: HashSet<Number>,
    /// After a disaster the head no longer moves.
    is_over: bool,
    /// A detaching was reported as done.
    was_detached: bool,
    /// What is left of the head, if it was lost or set back: the entries of others are lost with it, on `fs`.
    left: Option<Option<Head>>,
    /// The entries that were in no segment when the head was lost.
    lost_with_head: HashSet<Digest>,
}

impl Oracle {
    /// The head is in a table, and not in names of the folder.
    fn is_on_table(&self) -> bool {
        self.at() == At::Table
    }

    pub(crate) fn newest(&self) -> Option<Version> {
        self.chain.last().map(|link| link.head.version)
    }

    pub(crate) fn head(&self) -> Option<&Head> {
        self.chain.last().map(|link| &link.head)
    }

    pub(crate) fn page_count(&self, version: Version) -> Option<u32> {
        self.chain.get(version.0 as usize).map(|link| link.page_count)
    }

    /// Since when there is a newer version than `version`.
    pub(crate) fn superseded(&self, version: Version) -> Option<Duration> {
        self.chain.get(version.0 as usize + 1).map(|link| link.since)
    }

    /// The head has changed. (Invariants 1, 2, 7, 11.)
    pub(crate) fn observe(
        &mut self,
        head: Head,
        disk: &Disk,
        now: Duration,
        history: Duration,
    ) -> Result<Vec<Event>, String> {
        if self.is_over {
            return Err(format!("the head was moved to version {} after a disaster", head.version.0));
        }
        let Some(last) = self.chain.last() else { return self.begin(head, disk, now).map(|()| Vec::new()) };
        let last_window_is_empty = last.head.window.entries().is_empty();
        if head.version.0 != last.head.version.0 + 1 || head.epoch != last.head.epoch {
            return Err(format!(
                "the head went from version {} of epoch {} to version {} of epoch {}",
                last.head.version.0, last.head.epoch.0, head.version.0, head.epoch.0
            ));
        }
        let content = match self.read(&head, disk) {
            // A late request names what is in a file that was lost since: that head needs a recovery, too.
            Err(_) if head.fold.place.is_some_and(|place| self.is_damaged(&place.segment)) => {
                self.is_broken_again();
                return Ok(Vec::new());
            }
            read => read?,
        };
        let mut events = self.check_upkeep(&head, content.pages.is_empty(), disk, now, history)?;
        if !head.window.entries().is_empty() {
            self.check_entry(&head, disk)?;
            events.push(Event::Entry);
        } else if !last_window_is_empty {
            events.push(Event::Fold);
        }
        events.extend(self.extend(head, content, now)?);
        Ok(events)
    }

    /// The newest version is followed by `head`, whose commit has this content.
    fn extend(&mut self, head: Head, content: Content, now: Duration) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        let last = self.chain.last().expect("version 0 is there");
        let Content { pages, carried, .. } = &content;
        let frame = &content;
        if !frame.previous.is(&last.head.commit()) {
            return Err(format!("version {} does not follow version {}", head.version.0, last.head.version.0));
        }
        for jump in &frame.jumps {
            let link = self.chain.get(jump.version.0 as usize).map(|link| link.head.commit());
            // A recovery knows the place of a commit by a scan, which can miss pages in front of it.
            let is_it = link.is_some_and(|commit| {
                let at = |place: &Place| (place.segment, place.at, place.length);
                commit.digest == jump.digest && commit.place.as_ref().map(at) == Some(at(&jump.place))
            });
            if !is_it {
                return Err(format!(
                    "version {} jumps to another version {} than there is",
                    head.version.0, jump.version.0
                ));
            }
        }
        // Before its first page a database has no page size of its own.
        let had_pages = last.page_count > 0;
        let is_repaginated = had_pages && last.page_size.is_some_and(|size| size != frame.page_size);
        if is_repaginated {
            let numbers = pages.iter().map(|(page, ..)| page.0);
            if !numbers.eq(1..=frame.page_count) {
                return Err(format!("version {} has another page size, and not every page", head.version.0));
            }
            events.push(Event::Repaginated);
        } else if frame.page_count < last.page_count {
            events.push(Event::Shrank);
        } else if self.chain.iter().any(|link| link.page_count > last.page_count) && frame.page_count > last.page_count
        {
            events.push(Event::Regrew);
        }
        if frame.runs.last().is_some_and(|run| run.up_to == last.head.folded()) && head.folded() == head.version {
            events.push(Event::Index);
        }
        let transaction = pages.first().map(|(_, number, ..)| *number);
        if let Some(number) = transaction {
            if self.refused.contains(&number) {
                return Err(format!(
                    "transaction {number} was reported as failed, and is version {} now",
                    head.version.0
                ));
            }
            if let Some(other) = self.committed.insert(number, head.version.0) {
                return Err(format!("transaction {number} is version {other} and version {}", head.version.0));
            }
        }
        for (page, _, sum, _) in carried {
            self.check_page(last.head.version, page.0, *sum)
                .map_err(|why| format!("{} carries: {why}", head.version.0))?;
        }
        let place = head.fold.place.filter(|_| head.folded() == head.version);
        for (page, ..) in pages.iter().chain(carried) {
            if let Some(place) = place {
                self.places.entry(page.0).or_default().push((head.version.0, place.segment));
            }
        }
        for (page, number, sum, image) in pages.iter().cloned() {
            if Some(number) != transaction {
                // Pages by which the database grew unwritten are zero. A commit that repaginates has the pages of
                // others.
                if number != 0 && !is_repaginated {
                    return Err(format!("version {} has pages of two transactions", head.version.0));
                }
            }
            self.pages.entry(page.0).or_default().push((head.version.0, sum));
            self.images.entry(page.0).or_default().push((head.version.0, image));
        }
        let (page_count, page_size) = (frame.page_count, Some(frame.page_size));
        let base = head.base.map(|base| base.name.version);
        let runs = frame.runs.iter().filter(|run| Some(run.up_to) > base).map(|run| run.place.segment).collect();
        let names = content.names;
        self.chain.push(Link { head, page_count, page_size, transaction, since: now, runs, names });
        Ok(events)
    }

    /// Whether no version after `newest` was acknowledged.
    pub(crate) fn has_acknowledged(&self, newest: Version) -> bool {
        newest.0 >= self.acknowledged
    }

    /// A loss of power left `newest` as the newest version. Every acknowledged version must be there. (Invariant 5.)
    /// Version 0 may be lost until the adoption `is_done`.
    pub(crate) fn power_lost(&mut self, newest: Option<Version>, is_done: bool) -> Result<(), String> {
        let Some(newest) = newest else {
            if is_done || self.chain.len() > 1 {
                return Err("a loss of power took the whole history".into());
            }
            self.chain.clear();
            self.pages.clear();
            self.images.clear();
            self.places.clear();
            return Ok(());
        };
        if newest.0 < self.acknowledged {
            return Err(format!("version {} was acknowledged, and a loss of power took it", self.acknowledged));
        }
        while self.chain.len() as u64 > newest.0 + 1 {
            let link = self.chain.pop().expect("there are more than it shall be");
            // It was not acknowledged, and no process that saw it is left. It may come again or never.
            link.transaction.map(|number| self.committed.remove(&number));
            self.forget_since(link.head.version.0);
        }
        // A version that was read but not acknowledged was never promised to later processes.
        self.floors.iter_mut().for_each(|(_, floor)| *floor = newest.0.min(*floor));
        Ok(())
    }

    /// The head was lost or set back, or its commit was forged. From now on no process may move the head.
    pub(crate) fn disaster(&mut self) {
        self.is_over = true;
    }

    // What actors ask and report.

    /// The oldest version that a transaction that begins now may see. (Invariant 9.)
    pub(crate) fn floor(&self) -> u64 {
        self.floors.last().map_or(0, |(_, floor)| *floor)
    }

    /// The oldest version that a transaction that began at `time` may see.
    pub(crate) fn floor_at(&self, time: Duration) -> u64 {
        let after = self.floors.partition_point(|(since, _)| *since <= time);
        after.checked_sub(1).map_or(0, |at| self.floors[at].1)
    }

    fn raise(&mut self, version: u64, now: Duration) {
        if version > self.floor() {
            self.floors.push((now, version));
        }
    }

    /// A commit was acknowledged. (Invariants 1, 5.)
    pub(crate) fn acknowledged(
        &mut self,
        number: Number,
        version: Version,
        pages: &[(u32, Sum)],
        now: Duration,
    ) -> Result<(), String> {
        match self.committed.get(&number) {
            Some(in_chain) if *in_chain == version.0 => {}
            None if self.is_lost(number) => return Ok(()),
            in_chain => {
                return Err(format!(
                    "transaction {number} was acknowledged as version {}, and the order has it at {in_chain:?}",
                    version.0
                ));
            }
        }
        for (page, sum) in pages {
            self.check_page(version, *page, *sum)?;
        }
        self.acknowledged = self.acknowledged.max(version.0);
        self.raise(version.0, now);
        Ok(())
    }

    /// A transaction was reported as failed. It is not in the order of commits, and never will be. (Invariant 6.)
    /// During it so many appends failed.
    pub(crate) fn failed(&mut self, number: Number, failed_appends: u32) -> Result<(), String> {
        self.refuse(number, failed_appends);
        match self.committed.get(&number) {
            Some(version) => Err(format!("transaction {number} was reported as failed, and it is version {version}")),
            None => Ok(()),
        }
    }

    fn refuse(&mut self, number: Number, failed_appends: u32) {
        self.refused.insert(number);
        if failed_appends >= TOO_MANY {
            self.unmarked.insert(number);
        }
    }

    /// The outcome of a transaction is unknown. Before it, `failed_appends` of its process had failed.
    pub(crate) fn unknown(&mut self, process: ProcessId, number: Number, since: Duration, failed_appends: u32) {
        self.unknown.push(Unknown { process, since, number, failed_appends });
    }

    /// A transaction of the process that began at `began` succeeded. That settles every earlier unknown outcome.
    /// (Invariant 10.)
    pub(crate) fn settled(&mut self, process: ProcessId, began: Duration, failed_appends: u32) -> Vec<Event> {
        let is_settled = |unknown: &mut Unknown| unknown.process == process && unknown.since < began;
        let settled: Vec<Unknown> = self.unknown.extract_if(.., is_settled).collect();
        let settle = |Unknown { number, failed_appends: before, .. }| {
            if self.committed.contains_key(&number) {
                return Event::UnknownCommitted;
            }
            self.refuse(number, failed_appends - before);
            Event::UnknownRefused
        };
        settled.into_iter().map(settle).collect()
    }

    /// A read transaction got this version, and must have got at least `least`. (Invariants 4, 9.)
    pub(crate) fn check_version(&self, snapshot: &Snapshot, least: u64, why: &str) -> Result<(), String> {
        let (version, page_count) = (snapshot.version(), snapshot.page_count());
        let digest = snapshot.head().commit().digest;
        if self.chain.get(version.0 as usize).is_some_and(|link| link.head.commit().digest != digest) {
            return Err(format!("another version {} was read than the order has", version.0));
        }
        match self.page_count(version) {
            None => Err(format!("version {} was read, and the order has no such version", version.0)),
            Some(_) if version.0 < least => {
                Err(format!("{why}: version {} was read, and version {least} was known before", version.0))
            }
            Some(count) if count != page_count => {
                Err(format!("version {} has {count} pages, and {page_count} were read", version.0))
            }
            Some(_) => Ok(()),
        }
    }

    /// A read transaction of this version ended. A transaction that begins now must not see an older one.
    pub(crate) fn was_read(&mut self, version: Version, now: Duration) {
        self.raise(version.0, now);
    }

    /// `page` at `version` has this content. (Invariant 4.)
    pub(crate) fn check_page(&self, version: Version, page: u32, sum: Sum) -> Result<(), String> {
        match self.written(version, page) {
            Some((_, known)) if known == sum => Ok(()),
            Some((since, _)) => {
                Err(format!("page {page} at version {} is not what version {since} made it", version.0))
            }
            None => Err(format!("page {page} was read at version {}, and no transaction ever wrote it", version.0)),
        }
    }

    /// The version that wrote the content of `page` at `version`, and that content.
    pub(crate) fn written(&self, version: Version, page: u32) -> Option<(u64, Sum)> {
        let sums = self.pages.get(&page)?;
        let after = sums.partition_point(|(since, _)| *since <= version.0);
        after.checked_sub(1).map(|at| sums[at])
    }

    /// How many commits there are in the order.
    pub(crate) fn commits(&self) -> u64 {
        self.committed.len() as u64
    }
}
