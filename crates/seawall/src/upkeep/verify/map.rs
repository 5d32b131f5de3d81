//! A page map against the commits that it is made of. (Invariant 8.)

use super::finding::{Damage, Findings, Touches};
use crate::format::entry::PageEntry;
use crate::format::ids::{PageNo, Version};
use crate::read::snapshot::Snapshot;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// One version's page map, which is compared with each commit from that version down to its base.
pub(super) struct MapCheck {
    snapshot: Arc<Snapshot>,
    base: Version,
    /// The versions whose commits are compared: another part may have the rest.
    range: (Version, Version),
    /// The pages whose entries were found in a commit.
    confirmed: HashSet<u32>,
    /// The versions whose commits were compared are those from here on.
    down_to: Version,
}

impl MapCheck {
    /// `range` is of the versions after the first and up to the second.
    pub(super) fn new(snapshot: Arc<Snapshot>, range: (Version, Version)) -> MapCheck {
        let base = snapshot.head.base.map_or(Version(0), |base| base.name.version);
        let range = (range.0.max(base), range.1.min(snapshot.version()));
        MapCheck { snapshot, base, range, confirmed: HashSet::new(), down_to: range.1.next() }
    }

    /// Whether nothing older than `version` is in the map.
    pub(super) fn ends_at(&self, version: Version) -> bool {
        version.0 <= self.range.0.0 + 1
    }

    fn name(&self) -> String {
        format!("the page map of version {}", self.snapshot.version().0)
    }

    /// Compares the map with what `version` wrote. Later versions were compared before.
    pub(super) fn compare(&mut self, version: Version, own: &[(PageNo, PageEntry)], findings: &mut Findings) {
        if version <= self.base || version > self.snapshot.version() {
            return;
        }
        self.down_to = version;
        for (page, entry) in own {
            let why = match self.snapshot.map.get(*page) {
                Some(known) if known.version() > version => continue,
                Some(known) if known == *entry => {
                    self.confirmed.insert(page.0);
                    continue;
                }
                Some(known) if known.version() == version => {
                    "it says another place than the commit that wrote the page".to_owned()
                }
                Some(known) => {
                    format!("it has version {}, and version {} wrote the page again", known.version().0, version.0)
                }
                None => format!("it lacks the page, which version {} wrote", version.0),
            };
            self.report(why, *page, version, findings);
        }
    }

    fn report(&self, why: String, page: PageNo, version: Version, findings: &mut Findings) {
        let versions = Some((version, self.snapshot.version()));
        let touches = Touches { versions, pages: &[page], ..Touches::default() };
        findings.add(Damage::Map, self.name(), why, &touches);
    }

    /// What the map says of commits that were compared, and that none of them said, is wrong.
    pub(super) fn finish(self, gaps: &[RangeInclusive<u64>], down_to: Version, findings: &mut Findings) {
        let lowest = self.range.0.max(down_to).max(self.down_to.previous().unwrap_or_default());
        let is_compared = |version: Version| {
            version > lowest && version <= self.range.1 && !gaps.iter().any(|gap| gap.contains(&version.0))
        };
        for (page, entry) in self.snapshot.map.iter() {
            if is_compared(entry.version()) && !self.confirmed.contains(&page.0) {
                let why = format!(
                    "it says that version {} wrote the page, and that commit has no such page",
                    entry.version().0
                );
                self.report(why, page, entry.version(), findings);
            }
        }
    }
}
