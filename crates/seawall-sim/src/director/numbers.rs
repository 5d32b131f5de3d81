//! Numbers in the `fs` coordinator's folder come back after they were garbage-collected.

use super::Director;
use crate::event::Event;
use crate::paths::{inside, path_of, record_path};
use crate::storage::{Sleeper, versions_on};
use seawall::format::high::High;
use seawall::format::ids::Version;
use seawall::ports::storage::File;

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
    fn note_again(&mut self, asleep: &[Sleeper]) -> bool {
        let world = self.world;
        let is_of = |note: &High, record: &str| record.contains(&format!(" commit={} ", note.commit));
        let both = self.notes.iter().rev().find_map(|note| {
            let all = asleep.iter().find(|sleeper| sleeper.version == note.version && is_of(note, &sleeper.record))?;
            Some((*note, all.clone(), before(asleep, all)?.clone()))
        });
        let Some((note, named, earlier)) = both else { return false };
        world.tell(|| format!("a note of version {} arrives once more", note.version.0));
        self.name_again(&earlier);
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
        // Where the database has left the folder, nothing newer than its last version there was ever sent.
        let newest =
            if world.is_on_table() { versions_on(&world.disk()).into_iter().max() } else { world.oracle().newest() };
        let Some(newest) = newest else { return };
        // A folder that a recovery has moved away, and that is not gone yet, has sleepers of its own.
        let is_collected = |sleeper: &&Sleeper| {
            let disk = world.disk();
            let is_named = disk.find(&record_path(sleeper.folder, sleeper.version)).is_some();
            sleeper.version < newest && disk.has_folder(sleeper.folder) && !is_named
        };
        let mut known: Vec<Version> =
            world.open_databases().iter().map(|(_, database)| database.newest_known().version()).collect();
        known.extend(self.note().map(|note| note.version));
        known.extend(self.live.iter().filter_map(|process| world.with_process(*process, |process| process.listed)));
        let asleep: Vec<Sleeper> = world.sleepers().iter().filter(is_collected).cloned().collect();
        if world.by_chance(0.3) && self.note_again(&asleep) {
            return;
        }
        let awaited: Vec<_> = asleep.iter().filter(|sleeper| known.contains(&sleeper.version)).collect();
        let choice = if awaited.is_empty() { asleep.iter().collect() } else { awaited };
        if choice.is_empty() {
            return;
        }
        let first = choice[world.pick(0..=choice.len() as u64 - 1) as usize];
        self.name_again(first);
        if let Some(before) = before(&asleep, first).filter(|_| world.by_chance(0.5)) {
            self.name_again(before);
            world.met(Event::NeighboursRecreated);
        }
    }

    fn name_again(&self, Sleeper { folder, version, record }: &Sleeper) {
        self.world.tell(|| format!("a sleeper names version {} again", version.0));
        self.world.met(Event::SleeperRecreated);
        let mut disk = self.world.disk();
        disk.create(&record_path(*folder, *version), record.clone().into_bytes()).expect("it is not named");
        disk.sync_folder(&inside(*folder));
    }
}

/// The publication of the version before, in the same folder.
fn before<'a>(asleep: &'a [Sleeper], of: &Sleeper) -> Option<&'a Sleeper> {
    asleep.iter().find(|sleeper| sleeper.folder == of.folder && Some(sleeper.version) == of.version.previous())
}
