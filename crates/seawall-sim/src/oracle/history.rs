//! Checkpoints, garbage collection, and what they must leave: the base, the floor and the sweep only rise (invariant
//! 11), and every file that a version inside history or a pin needs is there (invariant 7).

use super::{Link, Oracle};
use crate::content::{PAGE, sum_of};
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::{FOLDER, path_of};
use seawall::format::head::{BaseRef, Head, State};
use seawall::format::ids::{BaseName, PinName, SegmentName, Version};
use seawall::format::keep::Pin;
use seawall::format::new_pages::page_checksum;
use seawall::format::sqlite_header::{HEADER, NameState, state_of};
use seawall::ports::storage::File;
use std::collections::HashSet;
use std::time::Duration;

/// The bytes of a checksum of a base's page.
const SUM: usize = 8;

/// The files that versions need.
#[derive(Default)]
struct Needed {
    segments: HashSet<SegmentName>,
    bases: HashSet<BaseName>,
}

impl Oracle {
    /// Whether `version` is the newest, or was superseded for less than `history`.
    pub(crate) fn is_inside_history(&self, version: Version, now: Duration, history: Duration) -> bool {
        self.superseded(version).is_none_or(|since| now.saturating_sub(since) < history)
    }

    /// What a head changes beside its commit: a checkpoint raises the base, a garbage collection the floor and the
    /// sweep, each by a commit without pages. (Invariant 11.)
    pub(super) fn check_upkeep(
        &self,
        head: &Head,
        has_no_pages: bool,
        disk: &Disk,
        now: Duration,
        history: Duration,
    ) -> Result<Vec<Event>, String> {
        let last = &self.chain.last().expect("version 0 is there").head;
        let version = head.version.0;
        let is_checkpoint = head.base != last.base;
        let is_collection = head.sweep != last.sweep;
        if last.state != State::Open {
            return Err(format!("version {version} was committed after the state was {}", last.state));
        }
        let is_end = head.state != State::Open;
        if is_end {
            self.check_end(&head.state)?;
        }
        if head.home != last.home || (head.floor != last.floor && !is_collection) {
            return Err(format!("the swap to version {version} changed more than the commit"));
        }
        let kinds = [is_checkpoint, is_collection, is_end].into_iter().filter(|is_so| *is_so).count();
        // A move to where higher numbers are goes past them.
        let may_be_nothing = self.may_pass_numbers();
        if has_no_pages != (kinds == 1) && !(has_no_pages && may_be_nothing) || kinds > 1 {
            return Err(format!("version {version} is neither a transaction nor a checkpoint nor a collection"));
        }
        let order = |base: Option<BaseRef>| base.map(|base| base.name.order());
        if order(head.base) < order(last.base) || head.sweep < last.sweep || head.floor < last.floor {
            return Err(format!("version {version} takes the base, the floor or the sweep back"));
        }
        if let (true, Some(base)) = (is_checkpoint, head.base) {
            self.check_base(&base, disk).map_err(|why| format!("version {version} names a base: {why}"))?;
        }
        if head.floor.version > last.floor.version {
            let before = head.floor.version.previous().expect("it is newer than another");
            if self.is_inside_history(before, now, history) {
                return Err(format!("version {} is inside history, and below the floor of {version}", before.0));
            }
            return Ok(vec![Event::FloorRaised]);
        }
        Ok(matches!(head.state, State::Moved(_)).then_some(Event::MoveFenced).into_iter().collect())
    }

    /// A base has exactly what its version has, protected, with its checksums, and all of it is durable.
    pub(super) fn check_base(&self, base: &BaseRef, disk: &Disk) -> Result<(), String> {
        let name = base.name;
        let link = self.chain.get(name.version.0 as usize).ok_or("of a version that is not in the order")?;
        if name.epoch != link.head.epoch || link.page_count != base.page_count {
            return Err("of another version".into());
        }
        let bytes = durable(disk, File::Base(name))?;
        let sums = durable(disk, File::Sums(name))?;
        if bytes.len() != base.page_count as usize * base.page_size.bytes() {
            return Err(format!("{} has {} bytes", File::Base(name), bytes.len()));
        }
        if name.version > Version(0) && state_of(bytes) != NameState::Protected {
            return Err(format!("{} can be written by stock SQLite", File::Base(name)));
        }
        for ((page, image), sum) in (1..).zip(bytes.chunks(base.page_size.bytes())).zip(sums.chunks(SUM)) {
            self.check_page(name.version, page, sum_of(page, image))?;
            if page_checksum(image) != sum {
                return Err(format!("the checksum of page {page} is wrong"));
            }
        }
        Ok(())
    }

    /// The fold that `version` stands on.
    fn fold_of(&self, version: usize) -> usize {
        self.chain[version].head.folded().0 as usize
    }

    /// The fold at or before `fold` that has put `page` where it lies; none if it lies in the first base.
    pub(crate) fn placed(&self, fold: Version, page: u32) -> Option<u64> {
        let places = self.places.get(&page)?;
        let after = places.partition_point(|(since, _)| *since <= fold.0);
        after.checked_sub(1).map(|at| places[at].0)
    }

    /// What the versions from `first` on need: the segments of the pages that are not in their base, and their bases.
    fn needed_from(&self, first: usize, needed: &mut Needed) {
        let first = self.fold_of(first);
        for places in self.places.values() {
            let begin = places.partition_point(|(since, _)| *since <= first as u64).saturating_sub(1);
            for place in &places[begin..] {
                self.need_page(*place, first.max(place.0 as usize), needed);
            }
        }
        for link in &self.chain[first..] {
            needed.bases.extend(link.head.base.map(|base| base.name));
            needed.segments.extend(link.head.fold.place.map(|place| place.segment));
            needed.segments.extend(&link.runs);
        }
    }

    /// The segments that `version` needs.
    pub(super) fn files_of(&self, version: usize) -> HashSet<SegmentName> {
        let mut needed = Needed::default();
        self.needed_at(version, &mut needed);
        needed.segments
    }

    /// What `version` alone needs, if the entries behind its fold are at hand.
    fn needed_at(&self, version: usize, needed: &mut Needed) {
        let fold = self.fold_of(version);
        let Link { head, runs, page_count, .. } = &self.chain[fold];
        for places in (1..=*page_count).filter_map(|page| self.places.get(&page)) {
            let after = places.partition_point(|(since, _)| *since <= fold as u64);
            if let Some(at) = after.checked_sub(1) {
                self.need_page(places[at], fold, needed);
            }
        }
        needed.bases.extend(head.base.map(|base| base.name));
        needed.segments.extend(head.fold.place.map(|place| place.segment));
        needed.segments.extend(runs);
    }

    /// The fold `at` has a page that lies where the fold `since` has put it.
    fn need_page(&self, (since, segment): (u64, SegmentName), at: usize, needed: &mut Needed) {
        if Some(Version(since)) > self.chain[at].head.base.map(|base| base.name.version) {
            needed.segments.insert(segment);
        }
    }

    /// All that the newest version needs, any version inside history, and any pin.
    fn needed(&self, disk: &Disk, now: Duration, history: Duration) -> Needed {
        let mut needed = Needed::default();
        let Some(last) = self.chain.len().checked_sub(1) else { return needed };
        let is_old = |at: &usize| !self.is_inside_history(Version(*at as u64), now, history);
        // Versions leave history in their order.
        let first = (0..last).take_while(is_old).count();
        self.needed_from(first, &mut needed);
        for name in disk.list(FOLDER) {
            let Ok(File::Pin(pin)) = format!("{FOLDER}/{name}").parse() else { continue };
            if let Some(version) = self.pinned(pin, disk, history) {
                self.needed_at(version, &mut needed);
            }
        }
        needed
    }

    /// The version that a pin keeps: it is not over, and it was there before its version left history.
    fn pinned(&self, name: PinName, disk: &Disk, history: Duration) -> Option<usize> {
        let inode = disk.inode(disk.find(&path_of(File::Pin(name)))?);
        let pin: Pin = std::str::from_utf8(&inode.bytes).ok()?.parse().ok()?;
        let since = *self.pins.get(&name)?;
        let version = pin.head.version.0 as usize;
        let is_known = self.chain.get(version).is_some_and(|link| link.head.commit().is(&pin.head.commit()));
        let is_over = disk.now.saturating_sub(inode.changed) >= pin.length;
        (is_known && !is_over && self.is_inside_history(pin.head.version, since, history)).then_some(version)
    }

    /// A pin is written, or written again. One that was over begins again.
    pub(crate) fn pin_written(&mut self, name: PinName, text: &[u8], disk: &Disk, now: Duration) {
        let parse = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<Pin>().ok();
        let before = disk.find(&path_of(File::Pin(name))).map(|inode| disk.inode(inode));
        let goes_on = before.is_some_and(|before| {
            let (old, new) = (parse(&before.bytes), parse(text));
            let is_same = old.as_ref().map(|pin| pin.head.version) == new.map(|pin| pin.head.version);
            is_same && old.is_some_and(|pin| disk.now.saturating_sub(before.changed) < pin.length)
        });
        if !goes_on {
            self.pins.insert(name, now);
        }
    }

    /// A file is about to be removed. No version inside history and no pin may need it. A garbage collection that is at
    /// work `since` then may not take away a pin that was there before, and is not over. (Invariant 7.)
    pub(crate) fn removes(
        &mut self,
        (file, since): (File, Option<Duration>),
        disk: &Disk,
        now: Duration,
        history: Duration,
    ) -> Result<Vec<Event>, String> {
        let Some(inode) = disk.find(&path_of(file)) else { return Ok(Vec::new()) };
        let (is_needed, event) = match file {
            File::Segment(name) => {
                self.recovery.gone(inode);
                (self.needed(disk, now, history).segments.contains(&name), Event::CollectedSegment)
            }
            File::Base(name) | File::Sums(name) => {
                (self.needed(disk, now, history).bases.contains(&name), Event::CollectedBase)
            }
            File::BaseDraft(..) | File::SumsDraft(..) | File::NameDraft(_) => (false, Event::CollectedDraft),
            File::Pin(name) => {
                self.pins.remove(&name);
                let there = disk.inode(inode);
                let length = std::str::from_utf8(&there.bytes).ok().and_then(|text| text.parse().ok());
                let is_over = length.is_some_and(|pin: Pin| disk.now.saturating_sub(there.changed) > pin.length);
                if !is_over && since.is_some_and(|since| there.changed < since) {
                    return Err(format!("a garbage collection takes pin {name} away, which is not over"));
                }
                return Ok(is_over.then_some(Event::PinOver).into_iter().collect());
            }
            _ => return Ok(Vec::new()),
        };
        if is_needed {
            return Err(format!("{file} is removed, and a version that must be readable needs it"));
        }
        Ok(vec![event])
    }

    /// No byte of a committed frame ever changes (invariant 3), nor of a base, and every file is there that is needed
    /// (invariant 7).
    pub(crate) fn verify(&self, disk: &Disk, now: Duration, history: Duration) -> Result<(), String> {
        let needed = self.needed(disk, now, history);
        for name in needed.segments.iter().filter(|name| !self.is_damaged(name)) {
            disk.find(&path_of(File::Segment(*name))).ok_or(format!("{} is gone", File::Segment(*name)))?;
        }
        let mut checked = HashSet::new();
        for link in &self.chain {
            let is_fold = link.head.window.entries().is_empty();
            let place = link.head.fold.place.filter(|_| is_fold).filter(|place| !self.is_damaged(&place.segment));
            if place.is_some_and(|place| disk.find(&path_of(File::Segment(place.segment))).is_some()) {
                self.read(&link.head, disk)?;
            }
            if let Some(base) = link.head.base.filter(|base| needed.bases.contains(&base.name))
                && checked.insert(base.name)
            {
                self.check_base(&base, disk)?;
            }
        }
        Ok(())
    }

    /// Whether all that `version` needs is there.
    pub(super) fn can_be_opened(&self, version: u64, disk: &Disk) -> Result<(), String> {
        let mut needed = Needed::default();
        self.needed_at(version as usize, &mut needed);
        let segments = needed.segments.into_iter().map(File::Segment);
        let bases = needed.bases.into_iter().flat_map(|base| [File::Base(base), File::Sums(base)]);
        match segments.chain(bases).find(|file| disk.find(&path_of(*file)).is_none()) {
            Some(missing) => Err(format!("{missing} is gone")),
            None => Ok(()),
        }
    }

    /// Whether no commit can succeed any more.
    pub(crate) fn is_detached(&self) -> bool {
        self.head().is_some_and(|head| head.state == State::Detached)
    }

    /// Whether a detaching was reported as done.
    pub(crate) fn was_detached(&self) -> bool {
        self.was_detached
    }

    /// A detaching that left `version` as NAME was reported as done. NAME is that version, plain and durable.
    pub(crate) fn detached(&mut self, version: u64, disk: &Disk) -> Result<(), String> {
        self.was_detached = true;
        if !self.is_detached() || Some(version + 1) != self.newest().map(|newest| newest.0) {
            return Err(format!("version {version} was detached, and the head does not say so"));
        }
        self.check_detached(durable(disk, File::Name)?)
    }

    /// NAME is the newest version, plain.
    pub(crate) fn check_detached(&self, name: &[u8]) -> Result<(), String> {
        let Some(last) = self.chain.last() else { return Ok(()) };
        if !matches!(state_of(&name[..HEADER.min(name.len())]), NameState::Plain | NameState::Empty) {
            return Err("NAME is not plain after the detaching".into());
        }
        let size = last.page_size.map_or(PAGE, |size| size.bytes());
        if name.len() != size * last.page_count as usize {
            return Err(format!("NAME has {} bytes after the detaching, and {} pages", name.len(), last.page_count));
        }
        let mut pages = (1..).zip(name.chunks(size));
        pages.try_for_each(|(page, image)| self.check_page(last.head.version, page, sum_of(page, image)))
    }

    /// A checkpoint of `version` was reported as made.
    pub(crate) fn checkpoint_made(&mut self, version: u64, pages: u32, now: Duration) -> Result<(), String> {
        let is_base = |link: &&Link| link.head.base.is_some_and(|base| base.name.version.0 == version);
        let Some(link) = self.chain.iter().find(is_base) else {
            return Err(format!("a checkpoint of version {version} was reported, and no head names its base"));
        };
        if link.head.base.is_some_and(|base| base.page_count != pages) {
            return Err(format!("the base of version {version} does not have {pages} pages"));
        }
        // It is acknowledged as a transaction is.
        let made = link.head.version.0;
        self.acknowledged = self.acknowledged.max(made);
        self.raise(made, now);
        Ok(())
    }
}

/// The bytes of a file that is there, all of them durable.
fn durable(disk: &Disk, file: File) -> Result<&[u8], String> {
    let path = path_of(file);
    let inode = disk.find(&path).ok_or(format!("{file} is not there"))?;
    let bytes = &disk.inode(inode).bytes;
    if !disk.is_name_durable(&path) || !disk.are_bytes_durable(inode, 0, bytes.len()) {
        return Err(format!("{file} is not durable"));
    }
    Ok(bytes)
}
