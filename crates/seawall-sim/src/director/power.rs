//! A machine loses its power, or is cut off from its file server.

use super::{Director, SERVER_LEASE};
use crate::event::Event;
use crate::paths::path_of;
use crate::place::{At, bound};
use crate::process::ProcessId;
use crate::storage::versions_on;
use seawall::ports::storage::File;
use std::time::Duration;

impl Director<'_> {
    /// A machine stops, with all its processes. The file server notices only when its lease expires. On a local disk,
    /// writes that were not synced are lost.
    pub(super) fn lose_power(&mut self) {
        let Some(machine) = self.any().map(|process| self.machine_of(process)) else { return };
        self.world.met(Event::PowerLoss);
        let lives = self.on_machine(machine).len();
        let on_it = |process: &ProcessId| self.machine_of(*process) == machine;
        let all = self.live.iter().chain(&self.stock).chain(&self.recoverers).chain(&self.movers);
        let processes: Vec<ProcessId> = all.copied().filter(on_it).collect();
        let stock = self.stock.iter().filter(|process| on_it(process)).count();
        for process in &processes {
            self.end_with_machine(*process);
        }
        if self.world.is_remote() {
            *self.world.names(machine) = Default::default();
            let ended = processes.clone();
            self.world
                .after(SERVER_LEASE, move |world| ended.iter().for_each(|process| world.locks().forget(*process)));
        } else {
            for process in &processes {
                self.world.with_process(*process, |process| process.is_gone = true);
                self.world.locks().forget(*process);
            }
            self.lose_unsynced();
        }
        self.world.sleep(self.world.between(Duration::from_millis(10), Duration::from_secs(5)));
        (0..lives).for_each(|_| self.start(machine));
        (0..stock).for_each(|_| self.start_stock(machine));
    }

    fn lose_unsynced(&self) {
        let world = self.world;
        let was_on_table = world.oracle().at() == At::Table;
        let (newest, is_adopted) = {
            let mut disk = world.disk();
            let loss = disk.lose_power(&mut || world.pick(0..=u64::MAX));
            (0..loss.torn).for_each(|_| world.met(Event::Torn));
            (0..loss.names).for_each(|_| world.met(Event::NameLost));
            (versions_on(&disk).into_iter().max(), disk.find(&path_of(File::Id)).is_some())
        };
        // A loss of power can take back what a move has made of `id`.
        let bound = bound(&world.disk());
        if let Some((at, _)) = bound.filter(|(at, _)| *at != world.at()) {
            world.met(Event::IdSetBack);
            world.binds(at);
        }
        let newest = if was_on_table { world.oracle().newest() } else { newest };
        // Until a recovery is done, there may be no names, or older ones, and what they named is in the segments.
        let is_there = newest.is_some_and(|newest| world.oracle().has_acknowledged(newest));
        if is_there || !world.was_in_danger(world.now()) {
            let checked = world.oracle().power_lost(newest, is_adopted);
            world.check(checked);
        }
        let intact = world.oracle().verify(&world.disk(), world.now(), world.history());
        world.check(intact);
        world.oracle().recovery.scan(&world.disk());
        world.check_recovery();
    }

    /// A machine cannot reach the file server. After a while the server drops the machine's locks.
    pub(super) fn cut_off(&mut self) {
        let Some(machine) = self.any().map(|process| self.machine_of(process)) else { return };
        if !self.world.is_remote() {
            return;
        }
        self.world.met(Event::Cut);
        let time = self.world.between(Duration::from_millis(100), Duration::from_secs(300));
        let until = self.world.now() + time;
        self.world.tell(|| format!("machine {machine} is cut off for {time:?}"));
        for process in self.on_machine(machine) {
            self.world.with_process(process, |process| process.cut_until = until);
            if time > SERVER_LEASE {
                self.world.after(SERVER_LEASE, move |world| world.locks().forget(process));
            }
        }
    }
}
