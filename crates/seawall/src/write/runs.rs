//! Runs of the page map: which index frames lie in front of a commit frame when `recent` would grow too long.

use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::commit_frame::{CommitFrame, MAX_RUNS, RunRef};
use crate::format::frame::MAX_PAYLOAD;
use crate::format::ids::Version;
use crate::format::index::IndexFrame;
use crate::read::snapshot::Snapshot;
use std::collections::BTreeMap;

/// A run of the page map with this many entries, of 28 bytes at most, is not merged any more.
const RUN_ENTRIES: usize = bound(MAX_PAYLOAD / 28, 48);

const _: () = assert!(RUN_ENTRIES * 28 <= MAX_PAYLOAD);

/// The index frames that take over what `recent` of `frame` has, and the runs that are merged with it.
pub(super) fn instead_of_recent(snapshot: &Snapshot, frame: &mut CommitFrame) -> Result<Vec<IndexFrame>> {
    let indexes = next_runs(snapshot, frame, RUN_ENTRIES);
    let runs = frame.runs.len() + indexes.len();
    if runs > MAX_RUNS {
        return Err(Error::Full(format!("the page map needs {runs} runs, and {MAX_RUNS} are the most")));
    }
    frame.recent.clear();
    Ok(indexes)
}

/// The new runs: `recent`, merged with the newest runs, down to the first that is more than twice as large as what
/// comes after it. So there are few runs, and every entry is written again only O(log n) times. Removes the runs that
/// were merged from `frame`, and those that the base has made superfluous. A run of about `most` entries is large
/// enough, and stays as it is until there are too many of them. What was merged is divided by version, into runs of
/// about that size.
fn next_runs(snapshot: &Snapshot, frame: &mut CommitFrame, most: usize) -> Vec<IndexFrame> {
    let head = &snapshot.head;
    let base = head.base.map_or(Version(0), |base| base.name.version);
    while frame.runs.first().is_some_and(|run| run.up_to <= base) {
        frame.runs_begin = frame.runs.remove(0).up_to;
    }
    let are_too_many = frame.runs.len() > MAX_RUNS / 2;
    let mut after = frame.runs_end();
    let mut count = frame.recent.len();
    let mut merges = false;
    let is_merged = |last: &RunRef, count: usize| {
        let entries = last.entries as usize;
        are_too_many || entries <= 2 * count && entries + count <= most
    };
    while let Some(last) = frame.runs.pop_if(|last| is_merged(last, count)) {
        after = last.after;
        count += last.entries as usize;
        merges = true;
    }
    let entries = if merges {
        snapshot.map.iter().filter(|(_, entry)| entry.version() > after).collect()
    } else {
        std::mem::take(&mut frame.recent)
    };
    divided(IndexFrame { database: head.database, after, up_to: head.folded(), entries }, most)
}

/// Divides a run by version, into runs of at most `most` entries. The entries of one version stay together.
fn divided(run: IndexFrame, most: usize) -> Vec<IndexFrame> {
    if run.entries.len() <= most {
        return vec![run];
    }
    let mut of_version = BTreeMap::<Version, usize>::new();
    run.entries.iter().for_each(|(_, entry)| *of_version.entry(entry.version()).or_default() += 1);
    // Where each run ends, oldest first. The last one ends where the whole run did.
    let (mut ends, mut count) = (Vec::new(), 0);
    let mut last = run.after;
    for (version, entries) in of_version {
        if count > 0 && count + entries > most {
            ends.push(last);
            count = 0;
        }
        count += entries;
        last = version;
    }
    ends.push(run.up_to);
    let mut runs: Vec<IndexFrame> = Vec::with_capacity(ends.len());
    for up_to in &ends {
        let after = runs.last().map_or(run.after, |run| run.up_to);
        runs.push(IndexFrame { database: run.database, after, up_to: *up_to, entries: Vec::new() });
    }
    for (page, entry) in run.entries {
        let place = ends.partition_point(|end| *end < entry.version());
        runs[place].entries.push((page, entry));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::{PageEntry, Segments};
    use crate::format::head::Head;
    use crate::format::ids::{CommitId, DatabaseId, PageNo, PageSize, SegmentName, WriterId};
    use crate::format::place::Place;
    use crate::ports::moment::Moment;
    use proptest::prelude::*;

    const DATABASE: DatabaseId = DatabaseId([1; 16]);

    proptest! {
        /// Commits of a few pages each, with an index at each of them: what the runs say, oldest first, is what the map
        /// says.
        #[test]
        fn divided_runs_say_what_the_map_says(commits in prop::collection::vec(prop::collection::btree_set(1..40_u32, 1..8), 1..90), most in 1..30_usize) {
            let head = Head::first(DATABASE, CommitId([1; 16]), None, 5);
            let mut snapshot = Snapshot::first(head, Moment::default());
            let segments = Segments::default();
            let segment = segments.number(SegmentName { writer: WriterId([1; 8]), n: 0 });
            let mut written: Vec<IndexFrame> = Vec::new();
            let mut runs: Vec<RunRef> = Vec::new();
            for (commit, n) in commits.iter().zip(1..) {
                let version = Version(n);
                snapshot.head.version = version;
                let entries = commit.iter().map(|page| (PageNo(*page), PageEntry::new(version, segment, n as u32, 1, 0)));
                let recent: Vec<_> = entries.collect();
                recent.iter().for_each(|(page, entry)| snapshot.map.insert(*page, *entry));
                let mut frame = frame_with(&snapshot, runs.clone(), recent);
                let new = next_runs(&snapshot, &mut frame, most);
                written.retain(|index| frame.runs.iter().any(|run| (run.after, run.up_to) == (index.after, index.up_to)));
                runs = frame.runs;
                for index in new {
                    let payload = index.encode(&segments);
                    prop_assert_eq!(&IndexFrame::decode(&payload, &segments).unwrap(), &index);
                    let one_version = index.entries.iter().all(|(_, entry)| entry.version() == index.entries[0].1.version());
                    prop_assert!(index.entries.len() <= most || one_version, "{} entries", index.entries.len());
                    let place = Place { segment: segments.name(segment), at: 0, length: 0, lead: 0 };
                    runs.push(RunRef { after: index.after, up_to: index.up_to, entries: index.entries.len() as u32, place });
                    written.push(index);
                }
                prop_assert!(runs.len() <= MAX_RUNS, "{} runs", runs.len());
                // As a commit frame's reader demands.
                let mut after = Version(0);
                for run in &runs {
                    prop_assert!(run.after == after && run.up_to > after && run.up_to <= version);
                    after = run.up_to;
                }
                prop_assert_eq!(after, version);
                let merged: BTreeMap<PageNo, PageEntry> = written.iter().flat_map(|index| index.entries.clone()).collect();
                prop_assert_eq!(merged, snapshot.map.iter().collect::<BTreeMap<_, _>>());
            }
        }
    }

    fn frame_with(snapshot: &Snapshot, runs: Vec<RunRef>, recent: crate::format::index::Entries) -> CommitFrame {
        let head = &snapshot.head;
        CommitFrame {
            database: head.database,
            epoch: head.epoch,
            version: head.version.next(),
            commit: CommitId([2; 16]),
            page_size: PageSize::new(4096).expect("it is one"),
            page_count: 40,
            ordinal: head.version.0 + 1,
            fold: head.fold,
            folded: head.folded(),
            fold_time: 0,
            window: head.window.clone(),
            jumps: Vec::new(),
            settled: (head.version, head.commit().digest),
            group: (head.version.next(), head.version.next()),
            time: 0,
            base: head.base,
            home: head.home,
            sweep: head.sweep,
            log: 0,
            pages: Vec::new(),
            runs_begin: Version(0),
            runs,
            recent,
        }
    }
}
