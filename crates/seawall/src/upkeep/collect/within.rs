//! History within the policy's bytes: the oldest goes first where all of it takes more, but never the last 15 minutes.

use super::Found;
use super::needs::Needs;
use crate::error::Result;
use crate::format::ids::SegmentName;
use crate::ports::storage::File;
use crate::write::committer::Committer;
use std::collections::HashSet;

impl Committer {
    /// `needs`, of the milestone `floor`, if history fits into `limit` bytes with them; otherwise the needs of the
    /// oldest later milestone with which it fits; or else of the one with which it takes the least.
    pub(super) fn within(
        &self,
        found: &Found,
        needs: Needs,
        floor: Option<usize>,
        limit: u64,
        needs_from: impl Fn(usize) -> Needs,
    ) -> Result<Needs> {
        let bytes_of = |needs: &Needs| self.history_bytes(found, &self.dead(found, needs, None)?);
        let mut bytes = bytes_of(&needs)?;
        let mut best = needs;
        let later = floor.map_or(0, |floor| floor + 1);
        let base_of = |milestone: usize| found.milestones[milestone].1.head.base;
        for milestone in later..found.milestones.len() {
            if bytes <= limit || !found.is_older(found.milestones[milestone].2, found.shortest) {
                break;
            }
            // A later version on the same base needs as much.
            if milestone > later && base_of(milestone) == base_of(milestone - 1) {
                continue;
            }
            let mut needs = needs_from(milestone);
            let bytes_then = bytes_of(&needs)?;
            if bytes_then < bytes {
                needs.is_cut = true;
                (bytes, best) = (bytes_then, needs);
            }
        }
        Ok(best)
    }

    /// The bytes of the log and of superseded bases, without what is dead. A segment that has anything of a version
    /// newer than the newest does not count yet: what a large transaction is streaming, or has left when it was killed,
    /// is no history.
    pub(super) fn history_bytes(&self, found: &Found, dead: &[File]) -> Result<u64> {
        let dead: HashSet<&File> = dead.iter().collect();
        let newest = found.snapshot.head.base.map(|base| base.name);
        let is_superseded = |file: &File| matches!(file, File::Base(name) | File::Sums(name) if Some(*name) != newest);
        let is_newer = |name: &SegmentName| {
            let last = found.last_versions.borrow().get(name).copied().flatten();
            last.is_some_and(|last| last > found.snapshot.version())
        };
        let log = found.segments.iter().filter(|name| !is_newer(name)).map(|name| File::Segment(*name));
        let files = log.chain(found.bases.iter().copied().filter(is_superseded));
        files.filter(|file| !dead.contains(file)).map(|file| self.size_of(file)).sum()
    }
}
