//! Numbers in the `fs` coordinator's folder come back after they were garbage-collected.

use super::Director;
use crate::event::Event;
use crate::paths::{COMMITS, path_of, record_path};
use crate::storage::versions_on;
use seawall::format::high::High;
use seawall::format::ids::Version;
use seawall::ports::storage::File;
use std::collections::BTreeSet;

/// How many notes of the newest commit are remembered.
const NOTES: usize = 32;

impl Director<'_> {
    /// Remembers the note of the newest commit.
    pub(super) fn keep_note(&mut self) {
        let Some(note) = self.note().filter(|note| self.notes.back() != Some(note)) else { return };
        if self.notes.len() == NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    fn note(&self) -> Option<High> {
        std::str::from_utf8(self.world.disk().content(&path_of(File::High))?).ok()?.parse().ok()
    }

    /// A note of a commit whose number was garbage-collected arrives once more, and so do the publications of that
    /// number and of the one before it.
    fn note_again(&mut self, asleep: &[(Version, String)]) -> bool {
        let world = self.world;
        let is_of = |note: &High, record: &str| record.contains(&format!(" commit={} ", note.commit));
        let find = |wanted: Option<Version>| asleep.iter().find(|(version, _)| Some(*version) == wanted);
        let both = self.notes.iter().rev().find_map(|note| {
            let all = asleep.iter().find(|(version, record)| *version == note.version && is_of(note, record));
            Some((*note, all?.clone(), find(note.version.previous())?.clone()))
        });
        let Some((note, named, before)) = both else { return false };
        world.tell(|| format!("a note of version {} arrives once more", note.version.0));
        self.name_again(&before);
        self.name_again(&named);
        world.met(Event::NeighboursRecreated);
        let mut disk = world.disk();
        if let Some(inode) = disk.find(&path_of(File::High)) {
            disk.write(inode, 0, note.to_string().as_bytes());
            disk.sync(inode);
        }
        true
    }

    /// A publication arrives once more, after its number was garbage-collected. If there is one that a process
    /// remembers or the hint names, it is that one. Often the one before it arrives as well.
    pub(super) fn wake_sleeper(&mut self) {
        let world = self.world;
        let Some(newest) = world.oracle().newest().filter(|_| !world.is_on_table()) else { return };
        let named: BTreeSet<Version> = versions_on(&world.disk()).into_iter().collect();
        let is_collected = |version: Version| version < newest && !named.contains(&version);
        let mut known: Vec<Version> =
            world.open_databases().iter().map(|(_, database)| database.newest_known().version()).collect();
        known.extend(self.note().map(|note| note.version));
        known.extend(self.live.iter().filter_map(|process| world.with_process(*process, |process| process.listed)));
        let asleep: Vec<(Version, String)> =
            world.sleepers().iter().filter(|(version, _)| is_collected(*version)).cloned().collect();
        if world.by_chance(0.3) && self.note_again(&asleep) {
            return;
        }
        let awaited: Vec<_> = asleep.iter().filter(|(version, _)| known.contains(version)).collect();
        let choice = if awaited.is_empty() { asleep.iter().collect() } else { awaited };
        if choice.is_empty() {
            return;
        }
        let first = choice[world.pick(0..=choice.len() as u64 - 1) as usize];
        self.name_again(first);
        let before = asleep.iter().find(|(version, _)| Some(*version) == first.0.previous());
        if let Some(before) = before.filter(|_| world.by_chance(0.5)) {
            self.name_again(before);
            world.met(Event::NeighboursRecreated);
        }
    }

    fn name_again(&self, (version, record): &(Version, String)) {
        self.world.tell(|| format!("a sleeper names version {} again", version.0));
        self.world.met(Event::SleeperRecreated);
        let mut disk = self.world.disk();
        disk.create(&record_path(*version), record.clone().into_bytes()).expect("it is not named");
        disk.sync_folder(COMMITS);
    }
}
