//! What nothing needs, and what a segment shows of the versions that it holds.

use super::needs::Needs;
use super::{Collected, Found, Kept};
use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::CommitFrame;
use crate::format::frame::{self, Kind, UNIT};
use crate::format::group;
use crate::format::head::Head;
use crate::format::ids::{BaseName, SegmentName, Version};
use crate::format::mark::Mark;
use crate::ports::storage::{File, Span};
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::upkeep::checkpoint::pin_of;
use crate::upkeep::listing::time_of;
use crate::write::committer::Committer;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// A segment's last frame is looked for in its last bytes, then in more of them.
const TAILS: [u64; 4] = [bound(64 << 10, 256) as u64, bound(1 << 20, 4 << 10) as u64, 16 << 20, u64::MAX];
/// No frame is longer.
const LONGEST_FRAME: usize = frame::HEADER + frame::MAX_PAYLOAD + UNIT as usize;

impl Committer {
    /// What nothing needs. `collected` gets the reason why the rest stays.
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
        let epochs =
            found.folder.iter().filter_map(|file| if let File::Epoch(epoch) = file { Some(*epoch) } else { None });
        let newest_epoch = epochs.max();
        for file in &found.folder {
            match file {
                // The newest one tells of all before it.
                File::Epoch(epoch) if Some(*epoch) < newest_epoch => dead.push(*file),
                File::NameDraft(token) if !is_pinned(*token) => dead.push(*file),
                File::Milestone(epoch, version)
                    if (*epoch, *version) < (found.snapshot.head.epoch, needs.floor.version) =>
                {
                    dead.push(*file)
                }
                File::IdDraft(_) | File::Draft(_) if self.is_old(*file, found, found.shortest)? => dead.push(*file),
                File::Records(_) if self.is_old(*file, found, needs.history)? => dead.push(*file),
                File::Records(_) => keep(*file, Kept::Evidence)?,
                _ => {}
            }
        }
        Ok(dead)
    }

    fn is_old(&self, file: File, found: &Found, age: Duration) -> Result<bool> {
        let written = time_of(&*self.tip.storage, file)?;
        Ok(written.is_some_and(|written| found.is_older(written, age)))
    }

    /// The segments that the newest version names.
    fn segments_of(&self, snapshot: &Snapshot) -> HashSet<SegmentName> {
        let base = snapshot.head.base.map(|base| base.name.version);
        let entries = snapshot.map.iter().filter(|(_, entry)| Some(entry.version()) > base);
        let numbers: HashSet<_> = entries.map(|(_, entry)| entry.segment()).collect();
        let pages = numbers.into_iter().map(|number| self.tip.pages.segments.name(number));
        let runs = snapshot.trail.runs.iter().map(|run| run.place.segment);
        pages.chain(runs).chain(snapshot.head.fold.place.map(|place| place.segment)).collect()
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
}

/// What the bytes of a segment show of its versions.
#[derive(Default)]
struct Shown {
    newest: Version,
    /// A commit or its pages are among them. Their versions only rise in a segment. A mark, or a confirmed head, can be
    /// of an older one than what lies before it.
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
                    shown.is_last |= matches!(parsed.kind, Kind::Pages | Kind::Commit | Kind::Head);
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
        Kind::Head | Kind::Confirmed => Head::of_frame(parsed.payload).map(|head| head.version),
        Kind::Index => Ok(Version(0)),
    };
    version.unwrap_or(Version::MAX)
}
