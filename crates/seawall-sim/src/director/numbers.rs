//! What happens to the numbers of versions in the `fs` coordinator's folder: they are garbage-collected, and come back.

use super::Director;
use crate::event::Event;
use crate::paths::{COMMITS, path_of, record_path};
use crate::storage::versions_on;
use seawall::format::high::High;
use seawall::format::ids::Version;
use seawall::ports::storage::File;
use std::collections::BTreeSet;

impl Director<'_> {
    /// Removes numbers as garbage collection will: from the oldest upward, never the two newest, each long after it was
    /// superseded.
    pub(super) fn collect(&mut self) {
        let (world, now) = (self.world, self.world.now());
        if world.is_on_table() {
            return;
        }
        let mut versions = versions_on(&world.disk());
        versions.sort_unstable();
        let old = |version: &Version| {
            world.oracle().superseded(*version).is_some_and(|since| now.saturating_sub(since) > world.plan().retention)
        };
        let count = versions.len().saturating_sub(2);
        for version in versions[..count].iter().take_while(|version| old(version)) {
            world.met(Event::Collected);
            world.disk().unlink(&record_path(*version));
        }
        world.disk().sync_folder(COMMITS);
    }

    /// A publication arrives once more, after its number was garbage-collected. If there is one that a process
    /// remembers or the hint names, it is that one. Two neighbours never come back, because a process that opens the
    /// database by a hint can check only the neighbour.
    pub(super) fn wake_sleeper(&mut self) {
        let world = self.world;
        let Some(newest) = world.oracle().newest().filter(|_| !world.is_on_table()) else { return };
        let named: BTreeSet<Version> = versions_on(&world.disk()).into_iter().collect();
        let is_collected = |version: Version| version < newest && !named.contains(&version);
        let mut known: Vec<Version> =
            world.open_databases().iter().map(|(_, database)| database.newest_known().version()).collect();
        let hint = world.disk().content(&path_of(File::High)).and_then(hinted);
        known.extend(hint);
        known.extend(self.live.iter().filter_map(|process| world.with_process(*process, |process| process.listed)));
        let is_alone = |version: Version| is_collected(version.next()) && version.previous().is_none_or(is_collected);
        let asleep: Vec<(Version, String)> = (world.sleepers().iter())
            .filter(|(version, _)| is_collected(*version) && is_alone(*version))
            .cloned()
            .collect();
        let awaited: Vec<_> = asleep.iter().filter(|(version, _)| known.contains(version)).collect();
        let choice = if awaited.is_empty() { asleep.iter().collect() } else { awaited };
        if choice.is_empty() {
            return;
        }
        let (version, record) = choice[world.pick(0..=choice.len() as u64 - 1) as usize];
        world.tell(|| format!("a sleeper names version {} again", version.0));
        world.met(Event::SleeperRecreated);
        let mut disk = world.disk();
        disk.create(&record_path(*version), record.clone().into_bytes()).expect("it is not named");
        disk.sync_folder(COMMITS);
    }
}

fn hinted(high: &[u8]) -> Option<Version> {
    let high: High = std::str::from_utf8(high).ok()?.parse().ok()?;
    Some(high.version)
}
