//! What a verification finds, and says of it.

use crate::format::ids::{PageNo, Version};
use crate::ports::storage::File;
use crate::read::pages::ReadError;
use crate::shown::Shown;
use crate::way_out::WayOut;

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Damage {
    /// The newest version cannot be opened.
    Opening,
    /// NAME, or a small file of the folder.
    File,
    /// A commit frame.
    Commit,
    /// A commit frame says something that other commit frames contradict.
    Chain,
    /// Pages in the log.
    Pages,
    /// An index frame: a run of the page map.
    Index,
    /// The page map is not what the commits say.
    Map,
    /// A base, or its checksums.
    Base,
}

impl Damage {
    /// A short, fixed name.
    pub fn name(self) -> &'static str {
        match self {
            Damage::Opening => "opening",
            Damage::File => "file",
            Damage::Commit => "commit",
            Damage::Chain => "chain",
            Damage::Pages => "pages",
            Damage::Index => "index",
            Damage::Map => "map",
            Damage::Base => "base",
        }
    }

    /// What to do about it.
    fn remedy(self) -> String {
        let recover = WayOut::RECOVER;
        match self {
            Damage::Opening => format!("do what this says; or run {recover}"),
            Damage::File => "do what this says".into(),
            Damage::Commit | Damage::Chain | Damage::Index | Damage::Map => format!(
                "restore that file from a backup of this folder (no process ever changes it again); or run {recover}, which makes the newest \
                 version that is whole the newest"
            ),
            Damage::Pages => format!(
                "restore that file from a backup of this folder (no process ever changes it again); or take these pages' tables from an older \
                 version; or run {recover}"
            ),
            Damage::Base => {
                format!(
                    "restore that file from a backup of this folder; or run {recover}, which rebuilds a base from an older one and the log"
                )
            }
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is damaged.
    pub damage: Damage,
    /// In which file.
    pub file: String,
    /// Where in that file, in bytes.
    pub at: Option<u64>,
    /// What is wrong.
    pub why: String,
    /// The first and the last version that may read what is damaged.
    pub versions: Option<(u64, u64)>,
    /// The pages that are touched, as ranges, first and last.
    pub pages: Vec<(u32, u32)>,
    /// What to do about it.
    pub remedy: String,
}

/// So many findings are kept; the rest are counted.
const MOST: usize = 1000;
/// And so many ranges of pages of one of them.
const MOST_RANGES: usize = 1000;

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) left_out: u64,
    /// A file is missing: garbage collection may have taken it.
    pub(super) is_missing: bool,
}

/// Where something is, and which pages and versions it touches.
#[derive(Default)]
pub(super) struct Touches<'a> {
    pub(super) at: Option<u64>,
    pub(super) versions: Option<(Version, Version)>,
    pub(super) pages: &'a [PageNo],
    /// The first and the last page, where the pages are many.
    pub(super) range: Option<(u32, u32)>,
}

impl Findings {
    pub(super) fn add(&mut self, damage: Damage, file: impl ToString, why: impl ToString, touches: &Touches<'_>) {
        let Touches { at, versions, pages, range } = touches;
        let versions = versions.map(|(first, last)| (first.0, last.0.max(first.0)));
        let (file, why) = (file.to_string(), Shown::message(why.to_string()).to_string());
        // What the same fault does in the same file to more pages, or to more versions, is one finding.
        let known = self.list.iter_mut().rev().take(8).find(|known| {
            (known.damage, &known.file, &known.why) == (damage, &file, &why)
                && match damage {
                    // A missing file; or pages one behind the other.
                    Damage::Base => at.is_none() || adjoins(known, pages),
                    _ => at.is_none(),
                }
        });
        if let Some(known) = known {
            known.versions = match (known.versions, versions) {
                (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
                (one, other) => one.or(other),
            };
            add_pages(&mut known.pages, pages);
            return;
        }
        if self.list.len() >= MOST {
            self.left_out += 1;
            return;
        }
        let mut ranges: Vec<(u32, u32)> = range.iter().copied().collect();
        add_pages(&mut ranges, pages);
        self.list.push(Finding { damage, file, at: *at, why, versions, pages: ranges, remedy: damage.remedy() });
    }

    /// Something could not be read.
    pub(super) fn add_unread(&mut self, damage: Damage, error: &ReadError, touches: &Touches<'_>) {
        let Touches { versions, pages, range, .. } = *touches;
        let at = |at: u64| Touches { at: Some(at), versions, pages, range };
        match error {
            ReadError::Missing(file) => {
                self.is_missing = true;
                self.add(damage, file, "it is missing", &Touches { at: None, versions, pages, range });
            }
            ReadError::Short(file, place) => self.add(damage, file, "it ends too early", &at(*place)),
            ReadError::Damaged(file, place, why) => self.add(damage, file, why, &at(*place)),
            ReadError::Window(version, why) => {
                self.add(damage, format!("the head, the entry of version {}", version.0), *why, touches);
            }
            ReadError::Failed(file, cause) => self.add(damage, file, format!("it cannot be read: {cause}"), touches),
        }
    }

    /// A file that is not what it should be as a whole.
    pub(super) fn add_file(&mut self, file: File, why: impl ToString) {
        self.add(Damage::File, file, why, &Touches::default());
    }
}

/// Whether `pages` go on where those of `known` end.
fn adjoins(known: &Finding, pages: &[PageNo]) -> bool {
    let last = known.pages.last().map(|(_, last)| last.wrapping_add(1));
    pages.first().is_some_and(|first| Some(first.0) == last)
}

fn add_pages(ranges: &mut Vec<(u32, u32)>, pages: &[PageNo]) {
    for page in pages {
        if let Some((_, last)) = ranges.last_mut().filter(|(_, last)| last.checked_add(1) == Some(page.0)) {
            *last = page.0;
        } else if ranges.len() < MOST_RANGES && !ranges.iter().any(|(first, last)| (*first..=*last).contains(&page.0)) {
            ranges.push((page.0, page.0));
        }
    }
}
