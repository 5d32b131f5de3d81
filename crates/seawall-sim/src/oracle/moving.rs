//! A move: exactly one coordinator takes commits, the one that `id` names (invariant 12), and all of the history goes
//! there.

use super::Oracle;
use crate::disk::Disk;
use crate::event::Event;
use crate::place::At;
use seawall::format::head::{Head, State};
use std::time::Duration;

/// What moves have done in a run.
#[derive(Default)]
pub(crate) struct Moves {
    /// The coordinator that has the newest head of the order.
    pub(super) at: At,
    /// The last head that each coordinator had when the database left it.
    left: [Option<Head>; 2],
    /// How often the database has come somewhere.
    arrived: u32,
}

impl Oracle {
    /// The coordinator that has the newest head of the order.
    pub(crate) fn at(&self) -> At {
        self.moves.at
    }

    /// Where the run begins.
    pub(crate) fn begins_at(&mut self, at: At) {
        self.moves.at = at;
    }

    /// Where the database is being moved: it was fenced, and `id` still names the coordinator that it leaves.
    pub(crate) fn fenced_for(&self) -> Option<At> {
        match &self.head()?.state {
            State::Moved(url) => Some(At::of(url)),
            _ => None,
        }
    }

    /// Whether a move may commit nothing, to go past the numbers that the folder of versions has.
    pub(super) fn may_pass_numbers(&self) -> bool {
        self.moves.at == At::Table && self.was_damaged() && self.moves.left[At::Files as usize].is_some()
    }

    /// The state that a commit gives the head may be this one.
    pub(super) fn check_end(&self, state: &State) -> Result<(), String> {
        match state {
            State::Moved(url) if At::of(url) == self.moves.at => Err("the database was moved to where it is".into()),
            State::Detached | State::Moved(_) => Ok(()),
            State::Open | State::Recovering(_) => Err(format!("a commit made the state {state}")),
        }
    }

    /// A head was put in place with a coordinator that does not have the newest head. It must be that of a move. (Invariant
    /// 12.)
    pub(crate) fn put_elsewhere(&self, at: At, head: &Head) -> Result<Event, String> {
        let last = self.head().ok_or("a head was put with another coordinator before there was one")?;
        let follows = head.version == last.version.next() && head.epoch > last.epoch;
        if head.state == State::Open && self.fenced_for() == Some(at) && follows {
            return Ok(Event::MoveArrived);
        }
        match &self.moves.left[at as usize] {
            Some(left) if head.epoch <= left.epoch && head.version > left.version => Err(format!(
                "version {} of epoch {} took place with {at:?}, which the database had left with version {} of epoch {}",
                head.version.0, head.epoch.0, left.version.0, left.epoch.0
            )),
            Some(left) if head.epoch <= left.epoch => Ok(Event::SleeperRecreated),
            _ if head.epoch > self.epoch => Err(format!("a head of epoch {} is with {at:?}", head.epoch.0)),
            _ => Ok(Event::LateArrival),
        }
    }

    /// `id` was replaced, and names `at` now. The head there is the database's from now on. (Invariants 1, 2, 5, 12.)
    pub(crate) fn switched(
        &mut self,
        at: At,
        home: u64,
        there: Option<Head>,
        disk: &Disk,
        now: Duration,
    ) -> Result<Vec<Event>, String> {
        let there = there.ok_or_else(|| format!("id names {at:?}, which has no head"))?;
        let last = self.head().ok_or("id was replaced before there was a head")?.clone();
        if there.state != State::Open || there.home != home {
            return Err(format!("id names {at:?}, where the head is {}, of the home {}", there.state, there.home));
        }
        // A loss of power took the rename back, and another move has made it again.
        if at == self.moves.at && there.commit().is(&last.commit()) {
            return Ok(vec![Event::MovedAgain]);
        }
        if self.fenced_for() != Some(at) {
            return Err(format!("id names {at:?}, and the database was not fenced to go there: {}", last.state));
        }
        if there.epoch <= self.epoch {
            return Err(format!("a move's epoch is {}, and there is epoch {} already", there.epoch.0, self.epoch.0));
        }
        let content = self.read(&there, disk)?;
        if !content.pages.is_empty()
            || there.base != last.base
            || there.floor != last.floor
            || there.sweep != last.sweep
        {
            return Err("a move changed more than the epoch and the home".into());
        }
        let mut events = vec![Event::Moved];
        self.moves.arrived += 1;
        if self.moves.arrived > 1 {
            events.push(Event::MovedBack);
        }
        self.epoch = there.epoch;
        self.moves.left[self.moves.at as usize] = Some(last);
        self.moves.at = at;
        events.extend(self.extend(there, content, now)?);
        Ok(events)
    }

    /// A recovery put its head with `at`, and `id` has this home. (Invariant 12.)
    pub(super) fn check_recovered_at(&mut self, at: At, bound: Option<(At, u64)>, head: &Head) -> Result<(), String> {
        self.moves.at = at;
        match bound {
            Some((named, _)) if named != at => Err(format!("a recovery opened {at:?}, and id names {named:?}")),
            Some((_, home)) if home != head.home => {
                Err(format!("a recovery's head has the home {}, and id the home {home}", head.home))
            }
            _ => Ok(()),
        }
    }

    /// A move was reported as done. All that was committed is there.
    pub(crate) fn moved(&mut self, version: u64, now: Duration) -> Result<(), String> {
        match self.newest() {
            Some(newest) if newest.0 >= version => {
                self.acknowledged = self.acknowledged.max(version);
                self.raise(version, now);
                Ok(())
            }
            newest => Err(format!("a move reported version {version}, and the newest is {newest:?}")),
        }
    }
}
