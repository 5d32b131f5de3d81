//! The names of old versions in `commits/`, on `fs`.

use super::Found;
use crate::error::{Error, Result};
use crate::format::ids::Version;
use crate::mutation::mistake;
use crate::ports::coordinator::fs::NAMES_KEPT;
use crate::ports::storage::Stamp;
use crate::write::committer::Committer;
use std::collections::{BTreeSet, HashSet};

impl Committer {
    /// Takes the names of old versions out of `commits/`, from below. No name may stay below one that is taken away: who
    /// knows that one would take it for the newest.
    pub(super) fn unname(&self, found: &Found) -> Result<u64> {
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
                stamp.is_none_or(|stamp: Stamp| found.now - stamp.changed > found.shortest.as_nanos() as i128)
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
