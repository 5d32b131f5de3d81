//! Episodes: the head is lost or set back, or files are, in the middle of a run; and then one or two operators recover
//! the database, while processes and sleepers go on. They are killed and frozen at any step, and others finish.

use super::Director;
use crate::actor::live;
use crate::event::Event;
use crate::paths::{COMMITS, inside, path_of, record_path};
use crate::process::ProcessId;
use crate::recovery::{is_in_place, recover};
use crate::service::NAME;
use crate::world::{Phase, World};
use seawall::format::frame::UNIT;
use seawall::format::ids::Version;
use seawall::ports::storage::File;
use seawall_dynamodb::item::{head_of, key_of};
use std::time::Duration;

/// How many names an older copy of the folder of versions has.
const NAMES: u64 = 3;
/// So many processes that recover may be frozen when others begin.
const SLEEPING: usize = 3;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Nothing: an operator recovers a healthy database, and does not stop what uses it.
    None,
    /// The head is lost.
    Lost,
    /// The head is set back.
    SetBack,
    /// The end of the newest segment is lost; half of the times the head, too.
    Torn,
    /// The newest segment is lost; half of the times the head, too.
    Missing,
    /// `id` is lost.
    NoId,
}

impl Director<'_> {
    /// Begins an episode now and then, and sees that it comes to an end.
    pub(super) fn tend(&mut self) {
        let world = self.world;
        self.recoverers.retain(|process| !world.is_over(*process));
        let awake = self.awake_recoverers();
        if world.has_danger() || !awake.is_empty() {
            if awake.is_empty() {
                self.make_room_for_recoverers();
                self.start_recoverers();
            } else if world.phase() == Phase::Trouble && world.by_chance(0.3) {
                self.strike_recoverer(awake[world.pick(0..=awake.len() as u64 - 1) as usize]);
            }
        } else if self.held_back > 0 {
            self.is_held = false;
            let machines = world.plan().machines;
            (0..std::mem::take(&mut self.held_back)).for_each(|n| self.start(n % machines));
        } else if self.episodes > 0 && self.is_time_for_episode() && is_in_place(world) {
            self.episodes -= 1;
            self.strike();
        }
    }

    fn is_time_for_episode(&self) -> bool {
        self.world.by_chance(if self.world.marks_later() { 0.5 } else { 0.02 })
    }

    /// Whether no process may be started now: the head is an older one, and a process that has not seen the newer one
    /// would go on from there.
    pub(super) fn holds_back(&self) -> bool {
        self.is_held && (self.world.has_danger() || !self.awake_recoverers().is_empty())
    }

    /// The processes that recover and are not frozen. Those that are wake up later, when others have recovered.
    pub(super) fn awake_recoverers(&self) -> Vec<ProcessId> {
        let (world, now) = (self.world, self.world.now());
        let is_awake = |process: &ProcessId| world.with_process(*process, |process| process.frozen_until <= now);
        self.recoverers.iter().copied().filter(is_awake).collect()
    }

    fn make_room_for_recoverers(&mut self) {
        while self.recoverers.len() > SLEEPING {
            self.end_recoverer(self.recoverers[0]);
        }
    }

    fn end_recoverer(&mut self, process: ProcessId) {
        if self.world.with_process(process, |process| process.is_recovering) {
            self.world.met(Event::RecoveryKilled);
        }
        self.end_process(process);
    }

    fn strike(&mut self) {
        let world = self.world;
        const BLOWS: [Blow; 8] =
            [Blow::None, Blow::None, Blow::Lost, Blow::Lost, Blow::SetBack, Blow::Torn, Blow::Missing, Blow::NoId];
        let blow = BLOWS[world.pick(0..=BLOWS.len() as u64 - 1) as usize];
        // There is nothing to recover before the first commit.
        if !world.oracle().has_commits() {
            return;
        }
        world.tell(|| format!("an episode begins: {blow:?}"));
        match blow {
            Blow::None => world.met(Event::HealthyRecovered),
            Blow::Lost => {
                world.met(Event::HeadLostAtWork);
                self.remove_head();
            }
            Blow::SetBack => self.put_older_head(),
            Blow::Torn | Blow::Missing => self.damage(blow == Blow::Torn),
            Blow::NoId => {
                world.met(Event::IdLost);
                self.hold_back(|_| false);
                world.begin_danger();
                let mut disk = world.disk();
                disk.unlink(&path_of(File::Id));
                disk.sync_folder(crate::paths::FOLDER);
            }
        }
        if world.by_chance(0.5) {
            world.sleep(world.between(Duration::from_millis(1), Duration::from_secs(20)));
        }
        self.start_recoverers();
    }

    fn remove_head(&mut self) {
        self.end_movers();
        let world = self.world;
        world.begin_danger();
        world.oracle().head_was_lost(None);
        if world.is_on_table() {
            let database = world.oracle().head().map(|head| head.database);
            database.map(|database| world.items().0.remove(&key_of(database)));
            return;
        }
        let mut disk = world.disk();
        let Some(folder) = disk.find(COMMITS) else { return };
        let names: Vec<String> = disk.list(&inside(folder)).map(str::to_owned).collect();
        names.iter().for_each(|name| disk.unlink(&format!("{}/{name}", inside(folder))));
        disk.remove_folder(COMMITS).expect("it is empty");
        disk.sync_folder(&inside(folder));
        disk.sync_folder(crate::paths::FOLDER);
    }

    /// A mover that sleeps knows an older head, and would go on from there: the operator stops it first.
    fn end_movers(&mut self) {
        self.movers.clone().into_iter().for_each(|mover| self.end_mover(mover));
    }

    /// A backup of the head is restored. What has not seen the newest version was stopped before.
    fn put_older_head(&mut self) {
        let world = self.world;
        // What is on its way must have arrived, and a run must not take too many steps until then.
        let Some(newest) = world.oracle().newest().filter(|_| world.plan().latest <= Duration::from_secs(10)) else {
            return;
        };
        self.hold_back(|known| known >= newest);
        world.enter(Phase::Quiet);
        world.sleep(world.plan().latest + Duration::from_secs(30));
        let newest_now = world.oracle().newest().expect("there was one");
        self.hold_back(|known| known >= newest_now);
        self.end_movers();
        let older = if world.is_on_table() { self.older_item(newest_now) } else { self.older_names() };
        world.tell(|| format!("the head is set back: {older}"));
        if older {
            world.met(Event::HeadSetBackAtWork);
            world.begin_danger();
        }
        world.enter(Phase::Trouble);
    }

    fn older_item(&mut self, newest: Version) -> bool {
        let world = self.world;
        let is_older = |item: &seawall_dynamodb::item::Item| super::disasters::seen(item) < newest.0;
        let Some((key, item)) = self.older.take().filter(|(_, item)| is_older(item)) else { return false };
        // What is frozen can have a request on its way that fits the older head.
        self.end_frozen();
        let database = world.oracle().head().map(|head| head.database);
        let head = database.and_then(|database| head_of(&item, database, NAME).ok());
        world.oracle().head_was_lost(head);
        world.items().0.insert(key, item);
        true
    }

    /// `commits/` is another folder, with some older names.
    fn older_names(&mut self) -> bool {
        self.end_frozen();
        let world = self.world;
        let mut disk = world.disk();
        let Some(folder) = disk.find(COMMITS) else { return false };
        let mut names: Vec<u64> = disk.list(&inside(folder)).filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable();
        let kept = world.pick(1..=NAMES.max(1)) as usize;
        if names.len() <= kept {
            return false;
        }
        let content = |number: &u64| {
            let path = record_path(folder, Version(*number));
            (*number, disk.content(&path).expect("it was listed").to_vec())
        };
        let older: Vec<(u64, Vec<u8>)> = names[..names.len() - kept].iter().map(content).collect();
        for number in names {
            disk.unlink(&record_path(folder, Version(number)));
        }
        disk.remove_folder(COMMITS).expect("it is empty");
        let newest = older.last().and_then(|(_, record)| std::str::from_utf8(record).ok()?.parse().ok());
        world.oracle().head_was_lost(newest);
        let restored = disk.create(COMMITS, Vec::new()).expect("it is gone");
        for (number, record) in older {
            disk.create(&record_path(restored, Version(number)), record).expect("it is new");
        }
        disk.sync_folder(&inside(restored));
        disk.sync_folder(crate::paths::FOLDER);
        true
    }

    fn damage(&mut self, is_torn: bool) {
        let world = self.world;
        let place = world.oracle().head().and_then(|head| head.fold.place);
        let Some(place) = place else { return };
        let path = path_of(File::Segment(place.segment));
        let Some(inode) = world.disk().find(&path) else { return };
        // Something must be left that a recovery can go back to.
        if !world.oracle().survives_without(place.segment, &world.disk()) {
            return;
        }
        world.met(if is_torn { Event::SegmentTorn } else { Event::SegmentMissing });
        // Its writer would go on behind the end. A process that collects garbage may delete what is below the floor, and a
        // recovery may have to go back there: the operator stops it first.
        let writes = |process: &&ProcessId| {
            world.with_process(**process, |process| process.segments.contains(&inode) || process.collecting > 0)
        };
        let writers: Vec<ProcessId> = self.live.iter().filter(writes).copied().collect();
        for writer in writers {
            self.end_process(writer);
            self.held_back += 1;
        }
        world.begin_danger();
        {
            let mut disk = world.disk();
            if is_torn {
                let begin = (u64::from(place.at) * UNIT - u64::from(place.lead)) as usize;
                let end = disk.inode(inode).bytes.len();
                disk.truncate(inode, world.pick(begin as u64..=end as u64 - 1) as usize);
                disk.sync(inode);
            } else {
                disk.unlink(&path);
                disk.sync_folder(crate::paths::SEGMENTS);
            }
            world.oracle().damage(place.segment, &disk);
        }
        if world.by_chance(0.5) {
            self.remove_head();
        }
    }

    fn end_frozen(&mut self) {
        let (world, now) = (self.world, self.world.now());
        let frozen: Vec<ProcessId> = (self.live.iter().copied())
            .filter(|process| world.with_process(*process, |process| process.frozen_until > now))
            .collect();
        for process in frozen {
            self.end_process(process);
            self.held_back += 1;
        }
    }

    /// Stops what knows too little, until the database is recovered.
    fn hold_back(&mut self, knows_enough: impl Fn(Version) -> bool) {
        self.is_held = true;
        let before = self.live.len();
        self.end_those_without(|database| knows_enough(database.newest_known().version()));
        self.held_back += before - self.live.len();
    }

    /// One operator or two begin to recover.
    fn start_recoverers(&mut self) {
        let world = self.world;
        let count = if world.phase() == Phase::Trouble && world.by_chance(0.4) { 2 } else { 1 };
        for _ in 0..count {
            let process = self.start_operator(recover);
            self.recoverers.push(process);
        }
    }

    /// A process on some machine that does an operator's work.
    pub(super) fn start_operator(&self, work: impl FnOnce(&World) + Send + 'static) -> ProcessId {
        let world = self.world;
        let machine = world.pick(0..=world.plan().machines as u64 - 1) as usize;
        let of = world.clone();
        world.start(self.process_on(machine), move || work(&of))
    }

    /// A process that recovers is killed or frozen.
    fn strike_recoverer(&mut self, process: ProcessId) {
        let world = self.world;
        if world.by_chance(0.4) {
            self.end_recoverer(process);
        } else {
            if world.with_process(process, |process| process.is_recovering) {
                world.met(Event::RecoveryFrozen);
            }
            self.freeze_process(process, Duration::from_millis(1), Duration::from_secs(3600));
        }
    }

    /// The faults are over: what was begun is finished, and what was stopped goes on.
    pub(super) fn end_episodes(&mut self) {
        self.episodes = 0;
        let world = self.world;
        let awake = self.awake_recoverers();
        let asleep: Vec<ProcessId> = self.recoverers.iter().copied().filter(|one| !awake.contains(one)).collect();
        asleep.into_iter().for_each(|process| self.end_recoverer(process));
        loop {
            self.end_moves();
            self.recoverers.retain(|process| !world.is_over(*process));
            if self.recoverers.is_empty() && !world.has_danger() && is_in_place(world) {
                break;
            }
            if self.recoverers.is_empty() && world.oracle().has_commits() {
                self.start_recoverers();
            }
            if world.chronicle().violation().is_some() || !world.oracle().has_commits() {
                return;
            }
            world.sleep(Duration::from_secs(1));
        }
        let machines = world.plan().machines;
        for n in 0..std::mem::take(&mut self.held_back) {
            let of = world.clone();
            let process = world.start(self.process_on(n % machines), move || live(&of));
            self.live.push(process);
        }
    }
}
