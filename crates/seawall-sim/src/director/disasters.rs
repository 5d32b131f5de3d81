//! Disasters: what happens to the head, or to the files that it names. A process that looks must notice.

use super::Director;
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::path_of;
use crate::plan::Disaster;
use crate::process::ProcessId;
use seawall::Database;
use seawall::format::commit_frame::CommitFrame;
use seawall::format::entry::Segments;
use seawall::format::frame::{self, Kind, UNIT};
use seawall::ports::storage::File;
use seawall_dynamodb::item::Item;
use std::time::Duration;

impl Director<'_> {
    /// A backup.
    pub(super) fn keep_a_copy(&mut self) {
        let Some(database) = self.world.oracle().head().map(|head| head.database) else { return };
        // One of an earlier stay there is the head of another `id`.
        if !self.world.is_on_table() {
            return self.older = None;
        }
        let key = seawall_dynamodb::item::key_of(database);
        self.older = self.world.items().0.get(&key).map(|item| (key, item.clone()));
        if self.world.plan().disaster == Some(Disaster::FilesSetBack) {
            self.older_files = Some(self.world.disk().clone());
        }
    }

    /// The head is lost while processes are at work. Then a new process opens the database.
    pub(super) fn lose_head(&mut self) {
        let world = self.world;
        self.end_those_without(|_| true);
        // If possible, at a moment when a commit is in place and its writer does not know.
        for _ in 0..2000 {
            if self.live.iter().any(|process| world.with_process(*process, |process| process.misses_its_reply)) {
                break;
            }
            world.sleep(Duration::from_millis(50));
        }
        let Some(head) = world.oracle().head().cloned() else { return };
        world.met(Event::HeadLost);
        world.strike();
        world.items().0.remove(&seawall_dynamodb::item::key_of(head.database));
        self.start(0);
        world.sleep(Duration::from_secs(30));
    }

    /// The head is set back when every process that is left has seen the newest version.
    pub(super) fn set_head_back(&mut self) {
        let world = self.world;
        // All requests must have arrived, and a run must not take too many steps until then.
        if world.plan().latest > Duration::from_secs(10) {
            return;
        }
        world.sleep(world.plan().latest + Duration::from_secs(30));
        let Some(newest) = world.oracle().newest() else { return };
        self.end_those_without(|database| database.newest_known().version() >= newest);
        let Some((key, item)) = self.older.take().filter(|(_, item)| seen(item) < newest.0) else { return };
        world.met(Event::HeadSetBack);
        world.strike();
        world.items().0.insert(key, item);
        world.sleep(Duration::from_secs(30));
    }

    /// All files are set back to an earlier state. Then a new process opens the database.
    pub(super) fn set_files_back(&mut self) {
        let world = self.world;
        self.end_all();
        // A commit can have been in the files before it was in the order.
        let lacks_some = |files: &Disk| world.oracle().verify(files, world.now(), world.history()).is_err();
        let Some(older) = self.older_files.take().filter(lacks_some) else { return };
        world.met(Event::FilesSetBack);
        world.strike();
        *world.disk() = older;
        (0..world.plan().machines).for_each(|machine| *world.names(machine) = Default::default());
        self.start(0);
        world.sleep(Duration::from_secs(30));
    }

    /// Ends every process, and waits until everything in flight has arrived.
    fn end_all(&mut self) {
        let all: Vec<ProcessId> = self.live.iter().chain(&self.stock).copied().collect();
        all.into_iter().for_each(|process| self.end_process(process));
        self.world.sleep(self.world.plan().latest + Duration::from_secs(1800));
    }

    /// The newest commit's frame is replaced by another whole frame. Then a new process opens the database.
    pub(super) fn forge(&mut self) {
        let world = self.world;
        self.end_all();
        let Some(head) = world.oracle().head().cloned() else { return };
        let Some(place) = head.fold.place else { return };
        world.met(Event::Forged);
        world.strike();
        let at = (u64::from(place.at) * UNIT) as usize;
        let mut disk = world.disk();
        let inode = disk.find(&path_of(File::Segment(place.segment))).expect("a committed segment is there");
        let segments = Segments::default();
        let parsed = frame::parse(&disk.inode(inode).bytes[at..]).expect("a committed frame is whole");
        let mut commit = CommitFrame::decode(parsed.payload, &segments).expect("a committed frame can be read");
        commit.time ^= 1;
        let mut forged = Vec::new();
        frame::put(&mut forged, Kind::Commit, &commit.encode(&segments));
        assert_eq!(forged.len(), parsed.length, "only its time differs");
        disk.write(inode, at, &forged);
        disk.sync(inode);
        drop(disk);
        self.start(0);
        world.sleep(Duration::from_secs(30));
    }

    /// Ends the processes that could not notice the disaster: those that have not opened the database, or know too
    /// little.
    pub(super) fn end_those_without(&mut self, knows: impl Fn(&Database) -> bool) {
        let knowing: Vec<ProcessId> = (self.world.open_databases().iter())
            .filter(|(_, database)| knows(database))
            .map(|(process, _)| *process)
            .collect();
        let others: Vec<ProcessId> = self.live.iter().copied().filter(|process| !knowing.contains(process)).collect();
        others.into_iter().for_each(|process| self.end_process(process));
    }
}

pub(super) fn seen(item: &Item) -> u64 {
    match item.get(seawall_dynamodb::item::names::VERSION) {
        Some(seawall_dynamodb::item::Value::Number(version)) => version.parse().unwrap_or(u64::MAX),
        _ => u64::MAX,
    }
}
