//! The chain of commits, from the newest to the base: each frame by itself, against its successor, and against what later commits say of it.

use super::finding::{Damage, Touches};
use super::map::MapCheck;
use super::window::{RUN, Window};
use super::{Part, Verifier};
use crate::error::Result;
use crate::format::codec::Malformed;
use crate::format::commit_frame::{CommitFrame, RunRef};
use crate::format::frame::{Kind, UNIT};
use crate::format::group;
use crate::format::head::BaseRef;
use crate::format::ids::{BaseName, PageNo, Version};
use crate::format::index::merge;
use crate::format::jump::Jump;
use crate::format::new_pages::{NewGroup, page_checksum};
use crate::ports::storage::{File, Span};
use crate::read::history::first_head;
use crate::read::pages::{ReadError, frame_of};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;

/// A large commit's pages are read in runs, so many at once.
const AT_ONCE: usize = 4;

/// What commits say of an earlier one: which it is, and the versions that say so.
struct Claim {
    jump: Jump,
    by: RangeInclusive<u64>,
}

/// The walk down.
pub(super) struct Chain<'a> {
    window: Window<'a>,
    /// What was said of commits that are still to come.
    claims: BTreeMap<Version, Vec<Claim>>,
    /// The bases that frames name, which are still to come as versions.
    bases: BTreeMap<BaseName, BaseRef>,
    /// The frame after the one that is next, if it could be read.
    successor: Option<CommitFrame>,
    maps: Vec<MapCheck>,
    /// For each page that was written by a commit so far, the oldest such version.
    written: HashMap<PageNo, Version>,
    /// The versions whose frames could not be read: the last of them first.
    pub(super) gaps: Vec<RangeInclusive<u64>>,
}

/// How far down to go.
pub(super) enum Down {
    /// To the version after this one.
    To(Version),
    /// To the version after the base of the first of these, or after the second, whichever is lower.
    Below(Version, Version),
}

impl<'a> Chain<'a> {
    pub(super) fn new(window: Window<'a>) -> Chain<'a> {
        let (claims, bases, written) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Chain { window, claims, bases, successor: None, maps: Vec::new(), written, gaps: Vec::new() }
    }

    /// The commit after the first one of the walk, whose frame is at hand.
    pub(super) fn begin_after(&mut self, successor: CommitFrame) {
        successor.named().for_each(|named| self.claim(named, successor.version));
        self.successor = Some(successor);
    }

    /// A commit that is said to be in the history.
    pub(super) fn claim(&mut self, jump: Jump, by: Version) {
        let claims = self.claims.entry(jump.version).or_default();
        match claims.iter_mut().find(|claim| claim.jump == jump) {
            Some(claim) => claim.by = by.0.min(*claim.by.start())..=by.0.max(*claim.by.end()),
            None => claims.push(Claim { jump, by: by.0..=by.0 }),
        }
    }

    /// A page map that has to fit the commits that are still to come.
    pub(super) fn open_map(&mut self, map: MapCheck) {
        self.maps.push(map);
    }

    /// The newest commit that is known below `version`.
    fn next_below(&self, version: Version) -> Option<Jump> {
        self.claims.range(..version).next_back().map(|(_, claims)| claims[0].jump)
    }

    /// The oldest commit that is known at `version` or above, and below `below`.
    fn nearest_to(&self, version: Version, below: Version) -> Option<Jump> {
        self.claims.range(version..below).next().map(|(_, claims)| claims[0].jump)
    }
}

impl<'a> Verifier<'a> {
    /// The newest fold at or below `version`, and the one after it, from `newest`: what lies between is jumped over. If
    /// they cannot be reached, the nearest that can.
    pub(super) fn reach(&mut self, newest: Jump, version: Version) -> (Option<Jump>, Option<Jump>) {
        let mut chain = Chain::new(Window::new(self.pages));
        chain.claim(newest, newest.version);
        self.names.iter().for_each(|jump| chain.claim(*jump, jump.version));
        let mut below = newest.version.next();
        while let Some(jump) = chain.nearest_to(version, below) {
            match self.pages.commit_at(jump.place, jump.digest, 0) {
                Ok(frame) => {
                    frame.named().for_each(|named| chain.claim(named, frame.version));
                    below = jump.version;
                }
                // Another part reports it. The way around it is longer.
                Err(_) => {
                    chain.claims.remove(&jump.version);
                }
            }
        }
        (chain.next_below(version.next()), chain.nearest_to(version.next(), Version::MAX))
    }

    /// Walks down from `from`. Returns the oldest version whose frame was read.
    pub(super) fn walk(&mut self, chain: &mut Chain<'a>, from: Jump, down: &Down) -> Result<Version> {
        let (mut next, mut oldest) = (Some(from), from.version);
        let (mut to, mut below) = match *down {
            Down::To(version) => (version, None),
            Down::Below(version, at_least) => (version.previous().unwrap_or(version), Some((version, at_least))),
        };
        // A commit that must come next is certain; one that is only said to be there may be another one.
        let mut is_certain = true;
        while let Some(jump) = next.filter(|jump| jump.version > to) {
            let frame = match self.read_frame(chain, &jump) {
                Ok(frame) => frame,
                Err(error) => {
                    next = self.go_around(chain, &jump, &error, to);
                    is_certain = false;
                    continue;
                }
            };
            if let Some((_, at_least)) = below.take_if(|(floor, _)| frame.version.0 <= floor.0.max(1)) {
                to = frame.base.map_or(Version(0), |base| base.name.version).min(at_least);
            }
            if is_certain {
                self.check_claims(chain, &jump);
            }
            chain.claims.split_off(&jump.version);
            let where_it_is = self.place_of(&jump);
            self.check_frame(chain, &frame, &jump, &where_it_is);
            self.check_groups(chain, &frame, &jump)?;
            self.check_maps(chain, &frame, &jump);
            oldest = frame.version;
            self.report.commits += 1;
            self.read_more(std::mem::take(&mut chain.window.read))?;
            frame.named().for_each(|named| chain.claim(named, frame.version));
            next = frame.named().next().filter(|named| named.ordinal + 1 == frame.ordinal);
            is_certain = true;
            chain.successor = Some(frame);
        }
        let gaps = std::mem::take(&mut chain.gaps);
        for map in std::mem::take(&mut chain.maps) {
            map.finish(&gaps, to, &mut self.findings);
        }
        Ok(oldest)
    }

    fn place_of(&self, jump: &Jump) -> (File, u64) {
        (File::Segment(jump.place.segment), u64::from(jump.place.at) * UNIT)
    }

    fn read_frame(&self, chain: &mut Chain<'a>, jump: &Jump) -> Result<CommitFrame, ReadError> {
        let (file, at) = self.place_of(jump);
        let bytes = chain.window.bytes(jump.place.segment, at, jump.place.length as usize)?;
        let frame = self.pages.commit_of(bytes, jump.place, jump.digest)?;
        if frame.database != self.pages.database || frame.version != jump.version {
            return Err(ReadError::Damaged(
                file,
                at,
                Malformed("it is another commit than the one that a later commit names"),
            ));
        }
        Ok(frame)
    }

    /// Reports a frame that cannot be read; gives the next one that is known below it.
    fn go_around(&mut self, chain: &mut Chain<'a>, jump: &Jump, error: &ReadError, to: Version) -> Option<Jump> {
        chain.claims.split_off(&jump.version);
        let next = chain.next_below(jump.version);
        let resumes = next.map_or(to.0, |next| next.version.0.max(to.0));
        let first = resumes + 1;
        chain.gaps.push(first..=jump.version.0);
        chain.successor = None;
        // Versions that were read through it before are whole all the same; those between cannot be opened.
        let versions = Some((Version(first), jump.version));
        self.findings.add_unread(Damage::Commit, error, &Touches { versions, ..Touches::default() });
        next
    }

    /// What later commits say of this one must be true. (Invariant 2.)
    fn check_claims(&mut self, chain: &mut Chain<'a>, jump: &Jump) {
        for claim in chain.claims.remove(&jump.version).unwrap_or_default() {
            if claim.jump == *jump {
                continue;
            }
            let (first, last) = (Version(*claim.by.start()), Version(*claim.by.end()));
            let why = format!("they jump to a commit of version {} that is not in their history", jump.version.0);
            let touches = Touches { versions: Some((first, last)), ..Touches::default() };
            self.findings.add(
                Damage::Chain,
                format!("the commit frames of versions {} to {}", first.0, last.0),
                why,
                &touches,
            );
        }
    }

    /// A frame by itself, and against its successor.
    fn check_frame(&mut self, chain: &mut Chain<'a>, frame: &CommitFrame, jump: &Jump, place: &(File, u64)) {
        let mut wrong = Vec::new();
        if frame.time != jump.time {
            wrong.push("its time is not the one that later commits say");
        }
        if frame.settled.0.next() == frame.version && frame.settled.1 != frame.previous().digest {
            wrong.push("what it knew to be committed is not its predecessor");
        }
        if frame.base.is_some_and(|base| base.name.version < frame.runs_begin)
            || frame.base.is_none() && frame.runs_begin > Version(0)
        {
            wrong.push("its base is older than what its index leaves out");
        }
        if frame.ordinal == 1 && first_head(frame).is_none() {
            wrong.push("version 0 is another one than it names");
        }
        if !carries_window(frame) {
            wrong.push("it does not carry the pages of the entries before it as they say");
        }
        if let Some(successor) = chain.successor.as_ref().filter(|successor| successor.ordinal == frame.ordinal + 1) {
            wrong.extend(against_successor(frame, jump, successor));
            let own = frame.own_entries(jump.place.segment, &self.pages.segments);
            let goes_on = successor.runs_end() == frame.runs_end() && successor.recent == merge(&frame.recent, &own);
            let is_folded = successor.runs_end() == frame.version && successor.recent.is_empty();
            // A recovery may have made the page map again, over an older base.
            if !goes_on && !is_folded && successor.epoch == frame.epoch {
                wrong.push("the page map of the next commit does not follow from its own");
            }
        }
        let (file, at) = *place;
        let versions = Some((frame.version, frame.version));
        for why in wrong {
            self.findings.add(
                Damage::Chain,
                file,
                format!("the commit frame of version {}: {why}", frame.version.0),
                &Touches { at: Some(at), versions, ..Touches::default() },
            );
        }
        if let Some(base) = frame.base {
            chain.bases.insert(base.name, base);
        }
        let of_this = |name: &BaseName| (name.epoch, name.version) == (frame.epoch, frame.version);
        while let Some(base) = chain.bases.keys().copied().find(of_this).and_then(|name| chain.bases.remove(&name)) {
            let is_this = (base.page_size, base.page_count, base.log)
                == (frame.page_size, frame.page_count, frame.log_with(&jump.place));
            if !is_this {
                let why = format!("it is named as a base of version {}, and does not fit that commit", frame.version.0);
                self.findings.add(
                    Damage::Chain,
                    File::Base(base.name),
                    why,
                    &Touches { versions, ..Touches::default() },
                );
            }
        }
        // Those of the version that is verified were read when it was opened, if it could be.
        if self.what.deep || self.target.is_none() && chain.successor.is_none() {
            let known = chain.successor.as_ref().map_or(&[][..], |successor| &successor.runs);
            let new: Vec<RunRef> = frame.runs.iter().filter(|run| !known.contains(run)).copied().collect();
            self.check_runs(&new, frame.version);
        }
    }

    /// Index frames, one after the other.
    pub(super) fn check_runs(&mut self, runs: &[RunRef], version: Version) {
        for run in runs {
            if let Err(error) = self.pages.read_runs(&[*run], run.after) {
                let (file, at) = (File::Segment(run.place.segment), u64::from(run.place.at) * UNIT);
                let versions = Some((run.up_to.next(), version));
                let touches = Touches { at: Some(at), versions, ..Touches::default() };
                self.findings.is_missing |= error.to_string().contains("is missing");
                self.findings.add(Damage::Index, file, error, &touches);
            }
        }
    }

    /// The commit's own pages: each frame, and each page by its checksum in the commit frame.
    fn check_groups(&mut self, chain: &mut Chain<'a>, frame: &CommitFrame, jump: &Jump) -> Result<()> {
        let groups: Vec<&NewGroup> = frame.pages.iter().collect();
        let (first, last) = (groups.first(), groups.last());
        let begin = first.map_or(0, |group| u64::from(group.at) * UNIT);
        let end = last.map_or(0, |group| u64::from(group.at) * UNIT + u64::from(group.units) * UNIT);
        if end.saturating_sub(begin) <= RUN as u64 {
            for group in groups {
                let at = u64::from(group.at) * UNIT;
                let read = chain.window.bytes(jump.place.segment, at, usize::from(group.units) * UNIT as usize);
                let checked = read.and_then(|bytes| self.check_group(bytes, at, group, frame, jump));
                self.is_checked(chain, group, checked, frame.version);
            }
            return Ok(());
        }
        let mut rest = &groups[..];
        while !rest.is_empty() {
            let (mut spans, mut runs) = (Vec::new(), Vec::new());
            while spans.len() < AT_ONCE && !rest.is_empty() {
                let at = u64::from(rest[0].at) * UNIT;
                let end_of = |group: &NewGroup| (u64::from(group.at) + u64::from(group.units)) * UNIT;
                let fits = |group: &&&NewGroup| u64::from(group.at) * UNIT >= at && end_of(group) <= at + RUN as u64;
                let count = rest.iter().take_while(fits).count().max(1);
                let (run, behind) = rest.split_at(count);
                let end = run.iter().map(|group| end_of(group)).max().unwrap_or(at);
                spans.push(Span { file: File::Segment(jump.place.segment), at, length: (end - at) as usize });
                runs.push(run);
                rest = behind;
            }
            for ((read, span), run) in self.pages.read_each(&spans).into_iter().zip(&spans).zip(runs) {
                for group in run {
                    let at = u64::from(group.at) * UNIT;
                    let length = usize::from(group.units) * UNIT as usize;
                    let checked = match &read {
                        Ok(bytes) => {
                            self.check_group(&bytes[(at - span.at) as usize..][..length], at, group, frame, jump)
                        }
                        // Which of them it is that cannot be read.
                        Err(_) => {
                            let alone = self.pages.read_whole(Span { at, length, ..*span });
                            alone.and_then(|bytes| self.check_group(&bytes, at, group, frame, jump))
                        }
                    };
                    self.is_checked(chain, group, checked, frame.version);
                }
                self.read_more(span.length as u64)?;
            }
        }
        Ok(())
    }

    fn check_group(
        &self,
        bytes: &[u8],
        at: u64,
        new: &NewGroup,
        frame: &CommitFrame,
        jump: &Jump,
    ) -> Result<(), ReadError> {
        let damaged = |why| ReadError::Damaged(File::Segment(jump.place.segment), at, why);
        let parsed = frame_of(bytes, Kind::Pages).map_err(damaged)?;
        let group = group::decode(parsed.payload).map_err(damaged)?;
        let owner = group::Owner { database: frame.database, version: frame.version, commit: frame.commit };
        let is_right = group.owner == owner
            && group.page_size == frame.page_size
            && parsed.length == bytes.len()
            && group.pages.len() == new.pages.len()
            && new.new_pages().all(|(slot, new)| group.pages[usize::from(slot)] == new.page);
        if !is_right {
            return Err(damaged(Malformed("it holds other pages than its commit frame says")));
        }
        let images: Vec<&[u8]> = group.images.chunks_exact(group.page_size.bytes()).collect();
        if !new.new_pages().all(|(slot, new)| page_checksum(images[usize::from(slot)]) == new.checksum) {
            return Err(damaged(Malformed("a page is not the one that its commit frame has the checksum of")));
        }
        Ok(())
    }

    fn is_checked(&mut self, chain: &Chain<'a>, group: &NewGroup, checked: Result<(), ReadError>, version: Version) {
        match checked {
            Ok(()) => self.report.pages += group.new_pages().count() as u64,
            Err(error) => {
                let pages: Vec<PageNo> = group.new_pages().map(|(_, new)| new.page).collect();
                // Up to the version before the one that has written the last of these pages again.
                let until = |page: &PageNo| match chain.written.get(page) {
                    Some(again) => again.previous().unwrap_or(version),
                    None => self.read_until(*page, version),
                };
                let last = pages.iter().map(until).max();
                let versions = Some((version, last.unwrap_or(version)));
                self.findings.add_unread(
                    Damage::Pages,
                    &error,
                    &Touches { versions, pages: &pages, ..Touches::default() },
                );
            }
        }
    }

    /// Opens a page map where a base ends, and compares those that are open with the commit.
    fn check_maps(&mut self, chain: &mut Chain<'a>, frame: &CommitFrame, jump: &Jump) {
        let is_target = self.target.as_ref().is_some_and(|target| target.head.folded() == frame.version);
        let is_last_on_base =
            !is_target && chain.successor.as_ref().is_none_or(|successor| successor.base != frame.base);
        let begins_part = chain.maps.is_empty() && !is_target && frame.version <= self.range.1;
        if self.what.deep
            && is_last_on_base
            && let Some(base) = frame.base
        {
            self.more_bases.push((base, frame.version));
        }
        if self.what.deep && (is_last_on_base || begins_part) {
            let head = frame.head(jump.commit(frame.commit));
            match self.pages.snapshot_of_frame(head, frame.clone(), None, self.began) {
                Ok(snapshot) => chain.open_map(MapCheck::new(snapshot.into(), self.range)),
                Err(error) => {
                    let touches = Touches { versions: Some((frame.version, frame.version)), ..Touches::default() };
                    self.findings.add(
                        Damage::Index,
                        format!("the page map of version {}", frame.version.0),
                        error,
                        &touches,
                    );
                }
            }
        }
        let own = frame.own_entries(jump.place.segment, &self.pages.segments);
        for map in &mut chain.maps {
            map.compare(frame.version, &own, &mut self.findings);
        }
        chain.written.extend(own.iter().map(|(page, _)| (*page, frame.version)));
        let (done, open) = std::mem::take(&mut chain.maps).into_iter().partition(|map| map.ends_at(frame.version));
        chain.maps = open;
        done.into_iter().for_each(|map: MapCheck| map.finish(&chain.gaps, Version(0), &mut self.findings));
    }
}

/// Whether a fold carries what the entries before it have changed, but for its own pages and those beyond its end: each
/// page as the newest entry says that it is.
fn carries_window(frame: &CommitFrame) -> bool {
    let own: HashSet<PageNo> = frame.own_pages().map(|new| new.page).collect();
    let carried: HashMap<PageNo, [u8; 8]> = frame.carried_pages().map(|new| (new.page, new.checksum)).collect();
    let is_right = |page: PageNo| {
        let newest = frame.window.entries().iter().rev().find_map(|(entry, _)| entry.find(page));
        let claimed = newest.map(|(_, changed)| changed.checksum);
        // An entry sees page 1 without what is Seawall's own in it.
        page == PageNo(1) || carried.get(&page).copied() == claimed
    };
    let wanted = frame.window.pages().into_iter().filter(|page| page.0 <= frame.page_count && !own.contains(page));
    // Where the page size was changed, all pages were written again.
    carried.is_empty() && !own.is_empty() && own.len() as u64 >= u64::from(frame.page_count)
        || wanted.into_iter().all(is_right)
}

/// What does not fit between a commit and the next one.
fn against_successor(frame: &CommitFrame, jump: &Jump, successor: &CommitFrame) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if frame.epoch > successor.epoch {
        wrong.push("its epoch is newer than the next commit's");
    }
    if frame.sweep > successor.sweep {
        wrong.push("its sweep is newer than the next commit's");
    }
    if frame.home != successor.home && frame.epoch == successor.epoch {
        wrong.push("the next commit was made in another folder");
    }
    if frame.log_with(&jump.place) != successor.log {
        wrong.push("the next commit counts the log's bytes in another way");
    }
    if frame.base != successor.base && frame.epoch == successor.epoch {
        let order = |base: Option<BaseRef>| base.map(|base| base.name.order());
        if order(frame.base) >= order(successor.base) {
            wrong.push("its base is newer than the next commit's");
        }
        if successor.own_pages().next().is_some() {
            wrong.push("the next commit changes the base, and has pages");
        }
    }
    wrong
}

/// A commit and what is known of it.
pub(super) fn jumps_of<'a>(names: impl Iterator<Item = &'a Jump>) -> Vec<Jump> {
    let mut known: BTreeMap<Version, Jump> = BTreeMap::new();
    for jump in names {
        if let Entry::Vacant(entry) = known.entry(jump.version) {
            entry.insert(*jump);
        }
    }
    known.into_values().collect()
}

impl Part {
    /// This part's share of `count` things.
    pub(super) fn share(self, count: u64) -> std::ops::Range<u64> {
        let at = |n: u32| (u128::from(count) * u128::from(n) / u128::from(self.of)) as u64;
        at(self.n - 1)..at(self.n)
    }
}
