//! The middle of some runs: operators move the database to the other coordinator, or back, or both at once, while
//! processes and sleepers go on. They are killed and frozen at any step, others finish, and a recovery undoes a move.

use super::Director;
use crate::event::Event;
use crate::moving::move_to;
use crate::place::At;
use crate::process::ProcessId;
use crate::recovery::recover;
use crate::world::{Phase, World};
use std::time::Duration;

/// So many processes that move the database may be frozen when others begin.
const SLEEPING: usize = 3;

impl Director<'_> {
    /// Begins a move now and then, and sees that one that was cut short is finished, or undone.
    pub(super) fn tend_moves(&mut self) {
        let world = self.world;
        let is_dead = |process: &ProcessId| world.with_process(*process, |process| process.is_dead);
        self.movers.retain(|process| !world.is_over(*process) && !is_dead(process));
        self.replace_those_left_behind();
        let awake = self.awake_movers();
        let is_cut_short = world.oracle().fenced_for();
        if !awake.is_empty() {
            if world.phase() == Phase::Trouble && world.by_chance(0.5 * self.strikes_movers()) {
                self.strike_mover(awake[world.pick(0..=awake.len() as u64 - 1) as usize]);
            }
        } else if world.has_danger() || !self.awake_recoverers().is_empty() {
            // The operator recovers first.
        } else if let Some(to) = is_cut_short {
            if !world.plan().detaches && world.by_chance(0.4) {
                let process = self.start_operator(recover);
                self.recoverers.push(process);
            } else {
                self.start_mover(to);
            }
        } else if self.is_in_limbo() {
            self.start_mover(world.at().other());
        } else if self.moves > 0 && world.steps() >= self.next_move && world.oracle().has_commits() {
            self.moves -= 1;
            self.next_move = world.steps() + world.pick(500..=5000);
            let to = world.at().other();
            world.tell(|| format!("the database is to be moved to {to:?}"));
            self.start_mover(to);
            if world.by_chance(0.4) {
                let is_apart = world.by_chance(0.4);
                self.start_mover(if is_apart { to.other() } else { to });
                world.met(if is_apart { Event::MoversApart } else { Event::MoversAtOnce });
            }
        }
    }

    /// A loss of power took the new `id` away. The database is with one coordinator, and `id` names the other one.
    fn is_in_limbo(&self) -> bool {
        let at = self.world.at();
        let oracle = self.world.oracle();
        oracle.head().is_some() && oracle.at() != at
    }

    fn awake_movers(&self) -> Vec<ProcessId> {
        let (world, now) = (self.world, self.world.now());
        let is_awake = |process: &ProcessId| world.with_process(*process, |process| process.frozen_until <= now);
        self.movers.iter().copied().filter(is_awake).collect()
    }

    fn start_mover(&mut self, to: At) {
        while self.movers.len() > SLEEPING {
            self.end_mover(self.movers[0]);
        }
        let process = self.start_operator(move |world| move_to(world, to));
        self.movers.push(process);
        // Most often at a moment that the director's own turns would miss.
        let world = self.world;
        if world.phase() == Phase::Trouble && world.by_chance(self.strikes_movers()) {
            let soon = world.between(world.plan().call, world.plan().call * 200);
            world.after(soon, move |world| strike(world, process));
        }
    }

    /// How often a mover is struck. Where the power can fail, more of them shall come as far as a new `id`, because it may
    /// fail before that is durable.
    fn strikes_movers(&self) -> f64 {
        if self.world.plan().loses_power() { 0.1 } else { 0.6 }
    }

    /// All that a move has made and not synced is lost, and so is what others have built on it.
    fn lose_power_in_move(&mut self) -> bool {
        let world = self.world;
        let is_moving = |process: &ProcessId| world.with_process(*process, |process| process.is_moving);
        let may_be = world.plan().loses_power() && self.movers.iter().any(is_moving) && world.by_chance(0.1);
        if may_be {
            self.lose_power();
        }
        may_be
    }

    pub(super) fn end_mover(&mut self, process: ProcessId) {
        if self.world.with_process(process, |process| process.is_moving) {
            self.world.met(Event::MoveKilled);
        }
        self.end_process(process);
    }

    fn strike_mover(&mut self, process: ProcessId) {
        if !self.lose_power_in_move() {
            strike(self.world, process);
        }
    }

    /// Other processes take the place of those that ended because their database had moved.
    fn replace_those_left_behind(&mut self) {
        let world = self.world;
        let was_left_behind = |process: &ProcessId| {
            world.is_over(*process) && world.with_process(*process, |process| process.was_left_behind)
        };
        let left: Vec<ProcessId> = self.live.iter().copied().filter(was_left_behind).collect();
        for process in left {
            let machine = self.machine_of(process);
            self.live.retain(|live| *live != process);
            self.start(machine);
        }
    }

    /// The faults are over: what was begun is finished.
    pub(super) fn end_moves(&mut self) {
        let world = self.world;
        self.moves = 0;
        let awake = self.awake_movers();
        let asleep: Vec<ProcessId> = self.movers.iter().copied().filter(|one| !awake.contains(one)).collect();
        asleep.into_iter().for_each(|process| self.end_mover(process));
        while world.chronicle().violation().is_none() {
            self.tend_moves();
            let is_cut_short = world.oracle().fenced_for().is_some();
            let is_over = self.movers.is_empty() && !is_cut_short && !self.is_in_limbo();
            if is_over || world.has_danger() {
                return;
            }
            world.sleep(Duration::from_secs(1));
        }
    }
}

/// A process that moves the database is killed or frozen, if it is still there.
fn strike(world: &World, process: ProcessId) {
    let (is_moving, is_dead) = world.with_process(process, |process| (process.is_moving, process.is_dead));
    if is_dead || world.is_over(process) || world.phase() != Phase::Trouble {
        return;
    }
    if world.by_chance(0.4) {
        if is_moving {
            world.met(Event::MoveKilled);
        }
        world.tell(|| format!("{process}, which moves the database, is killed"));
        world.kill(process);
        return world.locks().forget(process);
    }
    if is_moving {
        world.met(Event::MoveFrozen);
    }
    let (now, time) = (world.now(), world.between(Duration::from_millis(1), Duration::from_secs(3600)));
    world.tell(|| format!("{process}, which moves the database, is frozen for {time:?}"));
    let clock_stops = world.by_chance(0.3);
    world.with_process(process, |process| process.freeze(now, now + time, clock_stops));
}
