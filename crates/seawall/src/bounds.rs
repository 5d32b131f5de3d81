//! The bounds of every number that can be set, in a URI, in Django's OPTIONS or in Rust, in one table.

use std::fmt;

/// A bound of the engine: `real`, or, with the feature `simulation`, so small that what it bounds happens all the time.
pub(crate) const fn bound(real: usize, simulated: usize) -> usize {
    if cfg!(feature = "simulation") { simulated } else { real }
}

/// What a number may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The option's name.
    pub name: &'static str,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// What is counted.
    pub unit: &'static str,
}

const DAY: f64 = 24.0 * 3600.0;
const SECONDS: &str = "seconds";

/// A lease is renewed three times in its length, and a renewal takes milliseconds on a network; a longer one makes
/// others wait for the dead.
pub const LEASE: Bounds = Bounds { name: "lease", least: 0.1, most: 3600.0, unit: SECONDS };
/// As far as SQLite's own timeout goes: 2^31 - 1 milliseconds.
pub const TIMEOUT: Bounds = Bounds { name: "timeout", least: 0.0, most: 2_147_483.0, unit: SECONDS };
/// How old may be what is read.
pub const FRESHNESS: Bounds = Bounds { name: "freshness", least: 0.0, most: DAY, unit: SECONDS };
/// How old may be what a request uses that lasts.
pub const REQUEST_AGE: Bounds = Bounds { name: "request_age", least: 0.0, most: DAY, unit: SECONDS };
/// More memory than a page cache is worth.
pub const PAGE_CACHE: Bounds = Bounds { name: "page_cache", least: 0.0, most: (64_u64 << 30) as f64, unit: "bytes" };

/// All of them.
pub const ALL: [Bounds; 5] = [LEASE, TIMEOUT, FRESHNESS, REQUEST_AGE, PAGE_CACHE];

impl Bounds {
    /// Whether `value` is within.
    pub fn allow(&self, value: f64) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of {} from {} to {}", self.unit, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_out_of_bounds() {
        for bounds in ALL {
            assert!(bounds.allow(bounds.least) && bounds.allow(bounds.most));
            for value in [f64::NAN, f64::INFINITY, -1e-9, bounds.most * 1.001] {
                assert!(!bounds.allow(value), "{} {value}", bounds.name);
            }
        }
        assert!(!LEASE.allow(1e-9));
        assert_eq!(LEASE.to_string(), "a number of seconds from 0.1 to 3600");
    }
}
