//! The search for the newest name: which numbers are looked up, and how many at once.

use crate::format::ids::Version;
use crate::ports::storage::{FsOrder, Stamp};
use std::io;

/// How many numbers are looked up at once while a reader that is behind finds the newest; by one that knows about which
/// it will be, fewer: each is a call.
const PROBES: u64 = 8;
const EXPECTED_PROBES: u64 = 3;
/// Nobody expects to be further behind than this.
const FURTHEST: u64 = 1000;
/// The nearest number of a round is no further away than 4 shifted by so many bits.
const FURTHEST_STEP: u32 = 40;

/// The last version from `first` on, which exists, and which file its name is: that of `first` is `is`, and where that
/// is not known, the answer is `None` if no later one was found. Looks up several numbers at once, first about the
/// expected one, then ever further away, then ever closer together. Numbers above `first` have no gaps, because garbage
/// collection removes the lowest first. The caller checks afterwards that it has not reached `first`.
pub(super) fn last_named(
    storage: &dyn FsOrder,
    first: Version,
    mut is: Option<Stamp>,
    expected: Option<Version>,
) -> io::Result<Option<(Version, Stamp)>> {
    let (mut low, mut missing) = (first, None);
    for round in 0.. {
        if missing == Some(low.next()) {
            break;
        }
        let asked = probes(low, missing, round, expected);
        let stamps = storage.look_up(&asked)?;
        for (version, stamp) in asked.iter().zip(stamps) {
            let Some(stamp) = stamp else {
                missing = Some(*version);
                break;
            };
            (low, is) = (*version, Some(stamp));
        }
    }
    Ok(is.map(|is| (low, is)))
}

/// Which numbers to look up in this `round` between `low`, which is there, and `missing`, which is not (or nothing is
/// known to be missing). Where one is `expected`, few are looked up: the newest is not far from that.
fn probes(low: Version, missing: Option<Version>, round: u32, expected: Option<Version>) -> Vec<Version> {
    let probes = if expected.is_some() { EXPECTED_PROBES } else { PROBES };
    let Some(missing) = missing else {
        if round == 0 {
            // The next four; or the expected one with its neighbours, but two at least.
            let ahead = expected.map(|expected| expected.0.saturating_sub(low.0).min(FURTHEST));
            let numbers = ahead.map_or(1..5, |ahead| ahead.max(2) - 1..ahead.max(1) + 2);
            return numbers.map(|n| Version(low.0 + n)).collect();
        }
        if round == 1 && expected.is_some() {
            return (1..=EXPECTED_PROBES).map(|n| Version(low.0 + n)).collect();
        }
        // Ever further away.
        let nearest = 4_u64 << (8 * (round - 1)).min(FURTHEST_STEP);
        return (0..probes).map(|n| Version(low.0 + (nearest << n))).collect();
    };
    let room = missing.0 - low.0;
    let step = room.div_ceil(probes + 1);
    (1..).map(|n| Version(low.0 + n * step)).take_while(|version| *version < missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a reader that knows version 0, and is shown 1 and 2, looks up several numbers at once until it has
    /// found `newest`; and how many numbers these are. On NFS each is a call.
    fn search(newest: u64, expected: Option<u64>) -> (usize, usize) {
        let (mut low, mut missing) = (Version(2), None);
        let (mut steps, mut numbers) = (0, 0);
        while missing != Some(low.next()) {
            let asked = probes(low, missing, steps as u32, expected.map(Version));
            (steps, numbers) = (steps + 1, numbers + asked.len());
            match asked.iter().position(|version| version.0 > newest) {
                Some(first) => {
                    missing = Some(asked[first]);
                    low = if first > 0 { asked[first - 1] } else { low };
                }
                None => low = *asked.last().expect("some are asked for"),
            }
        }
        assert_eq!(low, Version(newest));
        (steps, numbers)
    }

    #[test]
    fn a_reader_that_is_a_few_versions_behind_looks_up_few_names_and_one_far_behind_steps_ever_further() {
        for newest in 2..=5 {
            assert_eq!(search(newest, None), (1, 4), "{newest}");
        }
        (2..=3).for_each(|newest| assert_eq!(search(newest, Some(2)), (1, 2), "{newest}"));
        for expected in 4..500 {
            (expected - 1..=expected).for_each(|newest| assert_eq!(search(newest, Some(expected)), (1, 3), "{newest}"));
        }
        let all = || (2..=400).map(|newest| search(newest, None));
        let most = (all().map(|(steps, _)| steps).max(), all().map(|(_, numbers)| numbers).max());
        assert!(most <= (Some(5), Some(32)), "{most:?}");
    }
}
