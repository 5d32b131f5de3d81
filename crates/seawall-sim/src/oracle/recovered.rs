//! What a recovery may do: it keeps every version whose files are there, revives nothing that failed, and begins an
//! epoch that is newer than all others.

use super::content::frame_at;
use super::{Link, Number, Oracle};
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::path_of;
use crate::place::{At, bound};
use seawall::format::commit_frame::CommitFrame;
use seawall::format::head::{CommitRef, Head, State};
use seawall::format::ids::{CommitId, Digest, SegmentName, Version};
use seawall::format::place::Place;
use seawall::ports::storage::File;
use std::collections::HashSet;
use std::time::Duration;

/// What recoveries have done in a run.
#[derive(Default)]
pub(crate) struct Recoveries {
    /// The segments that were lost, or their ends.
    damaged: Vec<SegmentName>,
    /// The entries that were lost with them. The head of one may have been on its way.
    entries_lost: HashSet<Digest>,
    /// Files were damaged, and no recovery was done since.
    is_broken: bool,
    /// When the last recovery put its head in place.
    pub(super) last: Option<Duration>,
}

impl Oracle {
    /// A segment was lost, or its end.
    pub(crate) fn damage(&mut self, segment: SegmentName, disk: &Disk) {
        self.recoveries.damaged.push(segment);
        self.recoveries.is_broken = true;
        let before = self.recovery.entries();
        self.recovery.scan(disk);
        self.recoveries.entries_lost.extend(before.difference(&self.recovery.entries()));
        let head = self.chain.last().map(|link| link.head.clone());
        self.entries_were_lost(head.as_ref());
    }

    /// Whether a version is whole that does not need this segment.
    pub(crate) fn survives_without(&self, segment: SegmentName, disk: &Disk) -> bool {
        (1..self.chain.len()).any(|version| {
            !self.files_of(version).contains(&segment) && self.can_be_opened(version as u64, disk).is_ok()
        })
    }

    /// Whether files were damaged, and no recovery was done since.
    pub(crate) fn is_broken(&self) -> bool {
        self.recoveries.is_broken
    }

    /// The head names what is in a file that was lost.
    pub(super) fn is_broken_again(&mut self) {
        self.recoveries.is_broken = true;
    }

    /// Whether files were damaged at any time.
    pub(crate) fn was_damaged(&self) -> bool {
        !self.recoveries.damaged.is_empty()
    }

    /// Whether this entry was lost with a segment.
    pub(super) fn was_entry_lost(&self, digest: &Digest) -> bool {
        self.recoveries.entries_lost.contains(digest)
    }

    pub(super) fn is_damaged(&self, segment: &SegmentName) -> bool {
        self.recoveries.damaged.contains(segment)
    }

    /// The commit that an operator chooses, who knows which commits the application saw succeed: the newest in the order,
    /// but for so many that are in no file any more.
    pub(crate) fn choice(&self, lost: usize) -> Option<CommitId> {
        let link = self.chain.iter().rev().nth(lost);
        link.filter(|link| link.head.version > Version(0)).map(|link| link.head.commit().id)
    }

    /// Whether that commit rode in a head that was lost, and in no file.
    pub(crate) fn rode_in_lost_head(&self, lost: usize) -> bool {
        let link = self.chain.iter().rev().nth(lost);
        link.is_some_and(|link| self.lost_with_head.contains(&link.head.commit().digest))
    }

    /// Whether there is a commit.
    pub(crate) fn has_commits(&self) -> bool {
        self.choice(0).is_some()
    }

    /// Whether a recovery has left this commit out, after it was acknowledged or read.
    pub(crate) fn is_dropped(&self, commit: &CommitRef) -> bool {
        self.dropped.contains(&commit.digest)
    }

    /// Whether the last recovery was done before `time`.
    pub(crate) fn was_recovered_before(&self, time: Duration) -> bool {
        self.recoveries.last.is_some_and(|last| last < time)
    }

    /// Whether a recovery was done at `time`, or later.
    pub(crate) fn was_recovered_since(&self, time: Duration) -> bool {
        self.recoveries.last.is_some_and(|last| last >= time)
    }

    /// A recovery put its head in place. (Invariants 1, 2, 5, 6, 7; P5.)
    pub(crate) fn recovered(
        &mut self,
        (at, was_chosen): (At, bool),
        head: Head,
        disk: &Disk,
        now: Duration,
    ) -> Result<Vec<Event>, String> {
        let mut events = vec![Event::Recovered];
        if self.fenced_for().is_some() {
            events.push(Event::MoveUndone);
        }
        self.check_recovered_at(at, bound(disk), &head)?;
        let version = head.version.0;
        if head.epoch <= self.epoch {
            return Err(format!("a recovery's epoch is {}, and there is epoch {} already", head.epoch.0, self.epoch.0));
        }
        if head.state != State::Open {
            return Err("a recovery's head is not open".into());
        }
        let Some(kept) = version.checked_sub(1) else { return Err("a recovery made version 0".into()) };
        let (mut frame, _) = self.frame_of(head.fold, disk)?;
        let mut candidates = Vec::new();
        let is_known = |version: u64, commit: &CommitRef| {
            self.chain.get(version as usize).is_some_and(|link| link.head.commit().is(commit))
        };
        let mut below = kept;
        'down: loop {
            // The entries before a fold, and then the fold before them.
            let before = match self.chain.get(frame.folded.0 as usize) {
                Some(link) if link.head.commit().is(&frame.fold) => link.head.clone(),
                _ => self.frame_of(frame.fold, disk)?.0.head(frame.fold),
            };
            for at in (0..frame.window.entries().len()).rev() {
                if is_known(below, &frame.window.commit(at).expect("there are so many")) {
                    break 'down;
                }
                let window = frame.window.first(at + 1, &frame.fold.digest);
                candidates.push(Head { version: Version(below), window, ..before.clone() });
                below -= 1;
            }
            if is_known(below, &frame.fold) {
                break;
            }
            if below == 0 {
                return Err(format!("a recovery took a version {kept} that does not follow the order"));
            }
            let fold = frame.fold;
            (frame, _) = self.frame_of(fold, disk)?;
            candidates.push(frame.head(fold));
            below -= 1;
        }
        self.leave_out(below, was_chosen, &mut events)?;
        let mut with_pages = 0_u32;
        for candidate in candidates.into_iter().rev() {
            let floor = self.chain.last().map(|link| link.head.floor).unwrap_or_default();
            let candidate = Head { floor, ..candidate };
            let content = self.read(&candidate, disk)?;
            if let Some((_, number, ..)) = content.pages.first() {
                // Its writer said that it could not mark it, or the mark is lost.
                if self.unmarked.remove(number) || self.was_damaged() {
                    self.refused.remove(number);
                }
                events.push(Event::RecoveredCandidate);
                // One that took place, and that an earlier recovery left out because its files were lost, comes back if
                // a process has copied it since and what that recovery wrote is lost in its turn.
                with_pages += u32::from(!self.dropped.contains(&candidate.commit().digest));
            }
            events.extend(self.extend(candidate, content, now)?);
        }
        // A recovery that gave way has left its commit, without pages; and another one has taken that for its
        // predecessor.
        if with_pages > 1 {
            return Err(format!("a recovery took {with_pages} commits that had not taken place"));
        }
        let content = self.read(&head, disk)?;
        if !content.pages.is_empty() {
            return Err(format!("a recovery has written pages as version {version}"));
        }
        let last = &self.chain.last().expect("version 0 is there").head;
        if head.sweep <= last.sweep {
            return Err(format!("a recovery left the sweep at {}", head.sweep));
        }
        // No base is ever damaged here, but the index of a page map can be in a segment that was lost.
        if head.base != last.base {
            if !self.was_damaged() {
                return Err(format!("a recovery took another base than that of version {kept}"));
            }
            if let Some(base) = head.base {
                self.check_base(&base, disk).map_err(|why| format!("a recovery names a base: {why}"))?;
            }
        }
        self.epoch = head.epoch;
        self.extend(head, content, now)?;
        self.recoveries.is_broken = false;
        self.left = None;
        self.recoveries.last = Some(now);
        Ok(events)
    }

    /// A fold's frame, whether it has taken place or not.
    fn frame_of(&self, fold: CommitRef, disk: &Disk) -> Result<(CommitFrame, Place), String> {
        let place = fold.place.ok_or("a recovery took another version 0")?;
        let bytes = disk.content(&path_of(File::Segment(place.segment))).unwrap_or_default();
        let payload = frame_at(bytes, &place, fold.digest).ok_or("a recovery stands on a frame that is not there")?;
        CommitFrame::decode(payload, &self.segments).map(|frame| (frame, place)).map_err(|why| why.to_string())
    }

    /// Whether a commit that can be read names this version: as its predecessor, or by a jump. A recovery that must go
    /// back past a segment that was lost finds no other versions behind it.
    fn is_named(&self, version: u64) -> bool {
        let newest = self.chain.len() as u64 - 1;
        let is_there = |link: &Link| match link.head.window.newest() {
            Some((_, digest)) => self.recovery.has_entry(&digest),
            None => link.head.fold.place.is_some_and(|place| !self.is_damaged(&place.segment)),
        };
        version == newest
            || self.chain[version as usize + 1..].iter().any(|link| link.names.contains(&version) && is_there(link))
    }

    /// A recovery has left out what is newer than `kept`. It may do that only if their files were lost, or if its operator
    /// had chosen the commit before others went on.
    fn leave_out(&mut self, kept: u64, was_chosen: bool, events: &mut Vec<Event>) -> Result<(), String> {
        let promised = self.acknowledged.max(self.floor());
        if promised > kept {
            events.push(Event::RecoveredLossy);
        }
        let newest = self.chain.len() as u64 - 1;
        for version in kept + 1..=newest {
            let is_whole = self.files_of(version as usize).iter().all(|segment| !self.is_damaged(segment))
                && self.has_entries_of(version as usize);
            if is_whole && !was_chosen && self.is_named(version) && self.chain[version as usize].transaction.is_some() {
                return Err(format!("a recovery left version {version} out, whose files are all there"));
            }
        }
        while self.chain.len() as u64 > kept + 1 {
            let link = self.chain.pop().expect("there are more than it shall be");
            if let Some(number) = link.transaction {
                self.committed.remove(&number);
                self.lost.insert(number);
            }
            self.dropped.insert(link.head.commit().digest);
            self.forget_since(link.head.version.0);
        }
        self.acknowledged = self.acknowledged.min(kept);
        self.floors.iter_mut().for_each(|(_, floor)| *floor = kept.min(*floor));
        Ok(())
    }

    /// What is left of the head, after it was lost or set back.
    pub(crate) fn head_was_lost(&mut self, left: Option<Head>) {
        self.entries_were_lost(left.as_ref());
        self.left = Some(left);
    }

    /// The entries that are neither in a segment nor in what is `left` of the head were lost. A process that has seen one
    /// of them, in the newest head or in one before the fold that took it over, may still copy it to a segment, perhaps
    /// too late for a recovery.
    fn entries_were_lost(&mut self, left: Option<&Head>) {
        let entries = self.chain.iter().flat_map(|link| link.head.window.entries());
        let is_lost = |digest: &Digest| !self.recovery.has_entry(digest) && !holds(left, digest);
        let lost: Vec<Digest> = entries.map(|(_, digest)| *digest).filter(is_lost).collect();
        self.lost_with_head.extend(lost);
    }

    /// Whether the entries that `version` needs are somewhere: in a segment, or in what is left of the head.
    fn has_entries_of(&self, version: usize) -> bool {
        let newest = self.chain.last().map(|link| &link.head);
        let left = self.left.as_ref().map_or(newest, Option::as_ref);
        let is_there = |digest: &Digest| self.recovery.has_entry(digest) || holds(left, digest);
        let mut entries = self.chain[version].head.window.entries().iter();
        entries.all(|(_, digest)| is_there(digest) && !self.lost_with_head.contains(digest))
    }

    /// Whether a transaction was in the order, until a recovery left it out because its files were lost.
    pub(super) fn is_lost(&self, number: Number) -> bool {
        self.lost.contains(&number)
    }
}

/// Whether this entry is in the window of `head`.
fn holds(head: Option<&Head>, digest: &Digest) -> bool {
    head.is_some_and(|head| head.window.entries().iter().any(|(_, entry)| entry == digest))
}
