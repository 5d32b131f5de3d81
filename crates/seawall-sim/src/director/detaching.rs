//! The end of some runs: the database is detached, by one process or two, while others are at work. They are killed and
//! frozen at any step, and others finish.

use super::Director;
use crate::detaching::{detach, is_plain};
use crate::event::Event;
use crate::paths::{FOLDER, path_of};
use crate::process::ProcessId;
use crate::world::Phase;
use seawall::ports::storage::File;
use std::time::Duration;

/// So often a process that detaches is struck, at most.
const STRIKES: u32 = 8;

impl Director<'_> {
    /// Detaches the database, and sees that nothing is committed any more.
    pub(super) fn detach(&mut self) {
        let world = self.world;
        if !world.oracle().has_commits() {
            return;
        }
        world.tell(|| "the database is to be detached".into());
        // NAME is taken from stock SQLite until the folder is gone.
        self.stock.clone().into_iter().for_each(|process| self.end_process(process));
        let mut detachers: Vec<ProcessId> = Vec::new();
        for n in 0.. {
            detachers.retain(|process| !world.is_over(*process));
            if world.oracle().was_detached() || world.chronicle().violation().is_some() {
                break;
            }
            if n == STRIKES {
                world.enter(Phase::Quiet);
            }
            let now = world.now();
            let is_awake = |process: &ProcessId| world.with_process(*process, |process| process.frozen_until <= now);
            let awake: Vec<ProcessId> = detachers.iter().copied().filter(is_awake).collect();
            if awake.is_empty() {
                for _ in 0..world.pick(1..=2) {
                    detachers.push(self.start_detacher());
                }
            } else if n < STRIKES && world.by_chance(0.5) {
                self.strike_detacher(awake[0]);
            }
            world.sleep(world.between(Duration::from_millis(1), world.plan().call * 100));
        }
        self.remove_the_folder();
        // Sleepers wake up, and what was on its way arrives.
        world.sleep(world.between(Duration::from_secs(1), Duration::from_secs(100)));
        world.check(is_plain(world));
    }

    fn start_detacher(&mut self) -> ProcessId {
        let world = self.world;
        let machine = world.pick(0..=world.plan().machines as u64 - 1) as usize;
        let of = world.clone();
        world.start(self.process_on(machine), move || detach(&of))
    }

    fn strike_detacher(&mut self, process: ProcessId) {
        let world = self.world;
        let is_at_work = world.with_process(process, |process| process.is_detaching);
        if world.by_chance(0.4) {
            if is_at_work {
                world.met(Event::DetachKilled);
            }
            self.end_process(process);
        } else {
            if is_at_work {
                world.met(Event::DetachFrozen);
            }
            self.freeze_process(process, Duration::from_millis(1), Duration::from_secs(10));
        }
    }

    /// What a detaching does last. A process that opens NAME now finds a plain file, and would adopt it again: no process that
    /// is about to open the database is left.
    fn remove_the_folder(&mut self) {
        let world = self.world;
        self.end_those_without(|_| true);
        let mut disk = world.disk();
        let folders = [FOLDER.to_owned(), format!("{FOLDER}/bases"), format!("{FOLDER}/segments")];
        for folder in &folders {
            let names: Vec<String> = disk.list(folder).map(str::to_owned).collect();
            names
                .iter()
                .map(|name| format!("{folder}/{name}"))
                .filter(|path| !folders.contains(path))
                .for_each(|path| disk.unlink(&path));
        }
        disk.unlink(&path_of(File::Id));
        folders.iter().for_each(|folder| disk.sync_folder(folder));
    }
}
