//! What is still needed: by versions inside history, and by pins.

use super::Found;
use crate::error::Result;
use crate::format::head::{BaseRef, Floor};
use crate::format::ids::{BaseName, PinName};
use crate::format::policy::Policy;
use crate::mutation::mistake;
use crate::upkeep::pins::{Pinned, pins};
use crate::write::committer::Committer;
use std::collections::HashSet;
use std::time::Duration;

/// What versions inside history, and pins, stand on.
pub(super) struct Needs {
    pub(super) floor: Floor,
    /// The newest base that everything may stand on which is still needed: what is in it is not needed from the log.
    pub(super) log_from: Option<BaseName>,
    /// The bases that are needed by name.
    pub(super) bases: HashSet<BaseName>,
    /// The pins that count.
    pub(super) pins: Vec<Pinned>,
    /// The pins that are over.
    pub(super) over: Vec<PinName>,
    /// How long history is kept.
    pub(super) history: Duration,
    /// The policy's bytes have raised the floor.
    pub(super) is_cut: bool,
}

impl Committer {
    pub(super) fn needs(&self, found: &Found, policy: &Policy) -> Result<Needs> {
        mistake!(MilestonesAgeByBase, return self.needs_by_age_of_base(found));
        let is_kept = |pin: &Pinned| {
            mistake!(PinsIgnored, return false);
            !pin.is_over(found.now, found.shortest)
        };
        let (pins, over): (Vec<Pinned>, Vec<Pinned>) = pins(&*self.tip.storage)?.into_iter().partition(is_kept);
        let is_over = |written: i128| {
            mistake!(MilestoneAtOnce, return true);
            found.is_older(written, policy.history)
        };
        // What was superseded since a milestone that is older than history has been so for longer than that.
        let floor = found.milestones.iter().rposition(|(_, _, written)| is_over(*written));
        let history = policy.history.max(found.shortest);
        let needs = self.needs_from(found, floor, &pins, history);
        let needs = match policy.history_bytes {
            None => needs,
            Some(limit) => {
                self.within(found, needs, floor, limit, |floor| self.needs_from(found, Some(floor), &pins, history))?
            }
        };
        Ok(Needs { over: over.iter().map(|pinned| pinned.name).collect(), ..needs })
    }

    /// What is needed if the milestone `floor` is the oldest that is promised.
    fn needs_from(&self, found: &Found, floor: Option<usize>, pins: &[Pinned], history: Duration) -> Needs {
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
        Needs { floor, log_from, bases: by_name().collect(), pins, over: Vec::new(), history, is_cut: false }
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
            over: Vec::new(),
            history: found.shortest,
            is_cut: false,
        })
    }
}
