//! Verification: whether a version can be read, whole, and whether all records of the database agree with one another.
//!
//! 1. The small files: NAME's header, `high`, the policy, pins and milestones.
//! 2. The *chain* from the version down to its base: each commit frame by its digest, against its successor, and against what later commits
//!    say of it; each frame of pages, and each page by its checksum in the commit frame.
//! 3. The *page map*, against what these commits have written.
//! 4. The *base*, against its checksums.
//!
//! Deep, the chain goes on through all of history and all pins, with each base on the way, and the page map of the last version on it.
//!
//! Damage is a finding, and the verification goes on: around a frame that cannot be read, it goes by what later commits, milestones and
//! pins say of earlier ones. Memory does not grow with the database, but for what opening takes, and some
//! 60 bytes more for each page that changed since the base.

mod base;
mod chain;
mod finding;
mod map;
mod window;

use self::chain::{Chain, Down, jumps_of};
pub use self::finding::{Damage, Finding};
use self::finding::{Findings, Touches};
use self::map::MapCheck;
use self::window::Window;
use super::collect::MILESTONE_REMEDY;
use super::listing::list;
use super::pins::PIN_REMEDY;
use super::text_of;
use crate::error::{Error, Result};
use crate::format::head::{BaseRef, Head, MAX_TEXT, State};
use crate::format::high::{self, High};
use crate::format::ids::{PageNo, Version, parse_number};
use crate::format::jump::Jump;
use crate::format::keep::{MAX_LENGTH, Milestone, Pin};
use crate::format::policy::{self, Policy};
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::ports::moment::Moment;
use crate::ports::storage::retired::SAVED;
use crate::ports::storage::{File, Listed, Span};
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::way_out::WayOut;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

/// One part of the work of several, by which long work can be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    n: u32,
    of: u32,
}

impl Part {
    /// All of the work.
    pub const ALL: Part = Part { n: 1, of: 1 };

    /// The `n`th of so many parts, from 1.
    pub fn new(n: u32, of: u32) -> Option<Part> {
        (1..=of).contains(&n).then_some(Part { n, of })
    }

    /// The part after this one.
    pub fn next(self) -> Option<Part> {
        Part::new(self.n.checked_add(1)?, self.of)
    }

    pub(crate) fn is_last(self) -> bool {
        self.n == self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.n, self.of)
    }
}

/// As in `3/7`.
impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let numbers = text.split_once('/').and_then(|(n, of)| Some((parse_number(n)?, parse_number(of)?)));
        numbers
            .and_then(|(n, of)| Part::new(n, of))
            .ok_or_else(|| "a part is n/t, as in 3/7: the third of seven".to_owned())
    }
}

/// What to verify.
#[derive(Clone, Copy, Debug)]
pub struct Verifying {
    /// All of history, and not only one version.
    pub deep: bool,
    /// Which part of the work.
    pub part: Part,
}

impl Default for Verifying {
    fn default() -> Verifying {
        Verifying { deep: false, part: Part::ALL }
    }
}

/// What a verification looked at, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The version that was verified.
    pub version: u64,
    /// Its time, in milliseconds since 1970; 0 for version 0, or if it cannot be read.
    pub time: u64,
    /// The base that it stands on.
    pub base: Option<String>,
    /// The oldest version whose commit frame was read.
    pub oldest: u64,
    /// How many commit frames were read.
    pub commits: u64,
    /// How many images of pages were right.
    pub pages: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many findings more there were than are listed.
    pub left_out: u64,
    /// Why the version was not pinned meanwhile, if it was not: garbage collection may have deleted what was to be read.
    pub not_pinned: Option<String>,
    /// A file was missing.
    pub(crate) is_missing: bool,
}

/// Called with the bytes that were read, and about how many there are to read; an error ends the verification.
type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// A verification at work.
struct Verifier<'a> {
    pages: &'a Pages,
    what: Verifying,
    began: Moment,
    /// The version that is verified, if it can be opened.
    target: Option<Arc<Snapshot>>,
    /// What milestones and pins say of commits.
    names: Vec<Jump>,
    /// The pins' bases, and the oldest of the pins.
    pinned: Vec<(Version, Version)>,
    /// The versions of this part: those after the first, up to the second.
    range: (Version, Version),
    /// Bases of older versions, and the last version that stands on each.
    more_bases: Vec<(BaseRef, Version)>,
    report: Verified,
    findings: Findings,
    progress: Progress<'a>,
    total: u64,
}

/// Verifies the version that `head` names, of the database whose newest head is `newest`. `target` is that version, if it can be opened.
pub(crate) fn verify(
    pages: &Pages,
    newest: &Head,
    (head, target): (&Head, Option<Arc<Snapshot>>),
    what: Verifying,
    progress: Progress<'_>,
) -> Result<Verified> {
    let mut verifier = Verifier {
        pages,
        what,
        began: pages.storage.now(),
        target,
        names: Vec::new(),
        pinned: Vec::new(),
        range: (Version(0), head.version),
        more_bases: Vec::new(),
        report: Verified {
            version: head.version.0,
            base: head.base.map(|base| base.name.to_string()),
            oldest: head.version.0,
            ..Verified::default()
        },
        findings: Findings::default(),
        progress,
        total: 0,
    };
    verifier.check_files(newest)?;
    verifier.plan(newest, head);
    verifier.check_commits(newest, head)?;
    verifier.check_bases(head)?;
    let Findings { list, left_out, is_missing } = verifier.findings;
    Ok(Verified { findings: list, left_out, is_missing, ..verifier.report })
}

impl Verifier<'_> {
    /// So many bytes more were read.
    fn read_more(&mut self, bytes: u64) -> Result<()> {
        self.report.bytes += bytes;
        (self.progress)(self.report.bytes, self.total.max(self.report.bytes))
    }

    /// The last version, up to the one that is verified, that may read what `version` wrote of `page`.
    fn read_until(&self, page: PageNo, version: Version) -> Version {
        let Some(target) = &self.target else { return version };
        match target.map.get(page).map(|entry| entry.version()) {
            Some(newer) if newer > version => newer.previous().unwrap_or(version),
            _ => target.version().max(version),
        }
    }

    /// The small files.
    fn check_files(&mut self, newest: &Head) -> Result<()> {
        let storage = &*self.pages.storage;
        let first = |file, length| match storage.read(Span { file, at: 0, length }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| error.to_string()),
        };
        let name = first(File::Name, HEADER);
        match name.as_deref().map(sqlite_header::state_of) {
            Ok(NameState::Protected) => {
                // It may have been renewed meanwhile: of another size than the header that was read.
                let stamp = storage.stamp(File::Name).ok().flatten();
                let is_same = first(File::Name, HEADER) == name;
                let cut = name.ok().zip(stamp.filter(|_| is_same));
                if let Some(why) = cut.and_then(|(header, stamp)| sqlite_header::is_cut_short(&header, stamp.size)) {
                    let remedy = format!("Run {}, which writes it again", WayOut::SNAPSHOT);
                    self.findings.add_file(File::Name, format!("it was cut short: {why}. {remedy}"));
                }
            }
            Ok(_) if newest.state == State::Detached => self.findings.add_file(
                File::Name,
                format!(
                    "it is not the older copy any more, because the database was detached. Its folder is still there. Run {}, which \
                     finishes that",
                    WayOut::DETACH
                ),
            ),
            Ok(_) => self.findings.add_file(
                File::Name,
                format!(
                    "another program removed or overwrote it; all that was committed is in NAME-seawall. Run {}, which writes it \
                     again",
                    WayOut::SNAPSHOT
                ),
            ),
            Err(why) => self.findings.add_file(File::Name, format!("it cannot be read: {why}")),
        }
        match first(File::High, high::LENGTH) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => match String::from_utf8_lossy(&bytes).parse::<High>() {
                Ok(high) if high.database == newest.database && (high.epoch, high.version) > newest.order() => {
                    let why = format!(
                        "version {} was acknowledged, and the head is older. Run {}",
                        high.version.0,
                        WayOut::RECOVER
                    );
                    self.findings.add_file(File::High, why);
                }
                Ok(_) => {}
                Err(why) => self.findings.add_file(File::High, format!("{why}. The next commit writes it again")),
            },
            Err(why) => self.findings.add_file(File::High, format!("it cannot be read: {why}")),
        }
        self.check_text(
            File::Policy,
            policy::MAX_LENGTH,
            |text| text.parse::<Policy>().map(drop),
            "Write it again: seawall policy NAME --history 24h",
        );
        let files = match list(storage, Listed::Folder) {
            Ok(listing) => listing.files,
            Err(error) => {
                self.findings.add_file(File::Folder, error);
                return Ok(());
            }
        };
        let mut folds = Vec::new();
        for file in files {
            match file {
                File::Pin(_) => {
                    let pin = self.check_text(file, MAX_LENGTH, |text| text.parse::<Pin>(), PIN_REMEDY);
                    if let Some(pin) = pin.filter(|pin| pin.head.database == newest.database) {
                        let base = pin.head.base.map_or(Version(0), |base| base.name.version);
                        self.pinned.push((pin.head.version, base));
                        folds.push(pin.head);
                    }
                }
                File::Milestone(..) => {
                    let milestone =
                        self.check_text(file, MAX_LENGTH, |text| text.parse::<Milestone>(), MILESTONE_REMEDY);
                    folds.extend(milestone.map(|milestone| milestone.head));
                }
                File::Records(_) => {
                    let parse = |text: &str| text.lines().try_for_each(|line| line.parse::<Head>().map(drop));
                    let remedy = "It has the heads that a recovery found, and only another one reads it. It goes with a garbage collection";
                    self.check_text(file, SAVED * MAX_TEXT, parse, remedy);
                }
                _ => {}
            }
        }
        // Those of an earlier epoch may have been left out by a recovery.
        let is_of_this = |head: &Head| (head.database, head.epoch) == (newest.database, newest.epoch);
        self.names.extend(folds.iter().filter(|head| is_of_this(head)).filter_map(|head| fold_of(self.pages, head)));
        self.names = jumps_of(self.names.iter());
        Ok(())
    }

    /// Parses a small text, if it is there.
    fn check_text<T, E: fmt::Display>(
        &mut self,
        file: File,
        length: usize,
        parse: impl Fn(&str) -> Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        let why = match text_of(&*self.pages.storage, file, length) {
            Ok(None) => return None,
            Ok(Some(text)) => match parse(&text) {
                Ok(parsed) => return Some(parsed),
                Err(why) => format!("{why}. {remedy}"),
            },
            Err(error) => error.to_string(),
        };
        self.findings.add_file(file, why);
        None
    }

    /// Divides the work, and estimates it.
    fn plan(&mut self, newest: &Head, head: &Head) {
        let base = head.base.map_or(Version(0), |base| base.name.version);
        let bottom = match self.what.deep {
            true => self.pinned.iter().map(|(version, _)| *version).chain([newest.floor.version.min(base)]).min(),
            false => Some(base),
        };
        let bottom = bottom.unwrap_or_default().min(head.version);
        let share = self.what.part.share(head.version.0 - bottom.0);
        self.range = (Version(head.version.0 - share.end), Version(head.version.0 - share.start));
        if self.what.deep && self.what.part.is_last() {
            self.range.0 = Version(0);
        }
        let log = self.target.as_ref().map_or(0, |target| target.trail.log);
        let in_base = if self.what.deep { 0 } else { head.base.map_or(0, |base| base.log) };
        let bytes = head.base.map_or(0, |base| u64::from(base.page_count) * base.page_size.bytes() as u64);
        self.total = (log.saturating_sub(in_base) + bytes) / u64::from(self.what.part.of);
    }

    /// The chain, and the page maps.
    fn check_commits(&mut self, newest: &Head, head: &Head) -> Result<()> {
        let target = self.target.clone();
        self.report.time = target.as_ref().map_or(0, |target| target.time);
        let (lowest, highest) = self.range;
        if let Some(target) = target.as_ref().filter(|_| highest == head.version) {
            self.check_window(target);
        }
        let Some(place) = head.fold.place.filter(|_| highest > lowest) else { return Ok(()) };
        let (version, digest) = (head.folded(), head.fold.digest);
        let start = match &target {
            Some(target) => Jump { ordinal: target.trail.ordinal, version, digest, place, time: target.folded.time },
            // If its frame cannot be read, that is found below.
            None => fold_of(self.pages, head).unwrap_or(Jump { ordinal: 0, version, digest, place, time: 0 }),
        };
        self.report.time = self.report.time.max(start.time);
        let mut chain = Chain::new(Window::new(self.pages));
        let from = match highest >= start.version {
            true => Some(start),
            // It begins with the fold after the first one of this part, so that each pair of neighbours is compared by one part.
            false => {
                let (from, after) = self.reach(start, highest);
                let after = after.and_then(|after| self.pages.commit_at(after.place, after.digest, 0).ok());
                after.into_iter().for_each(|frame| chain.begin_after(frame));
                from
            }
        };
        let Some(from) = from else {
            let why = format!("version {} cannot be reached from version {}", highest.0, start.version.0);
            let touches = Touches { versions: Some((lowest.next(), highest)), ..Touches::default() };
            self.findings.add(Damage::Chain, "the history", why, &touches);
            return Ok(());
        };
        for jump in self.names.iter().filter(|jump| jump.version <= from.version) {
            chain.claim(*jump, jump.version);
        }
        if let Some(target) = self.target.clone() {
            self.check_that_every_page_is_somewhere(&target);
            chain.open_map(MapCheck::new(target, self.range));
        }
        let down = match self.what.deep && self.what.part.is_last() {
            false => Down::To(lowest),
            true => {
                let bases = self.pinned.iter().map(|(_, base)| *base);
                Down::Below(newest.floor.version.min(head.version), bases.min().unwrap_or(Version::MAX))
            }
        };
        self.report.oldest = self.walk(&mut chain, from, &down)?.0;
        Ok(())
    }

    /// Each page that the head's entries change, and with it each entry.
    fn check_window(&mut self, target: &Snapshot) {
        for page in target.head.window.pages().into_iter().filter(|page| page.0 <= target.page_count()) {
            if let Err(error) = self.pages.read(target, page) {
                let versions = Some((target.head.folded().next(), target.version()));
                let touches = Touches { versions, pages: &[page], ..Touches::default() };
                let what = format!("the entries in the head of version {}", target.version().0);
                self.findings.is_missing |= error.to_string().contains("is missing");
                self.findings.add(Damage::Chain, what, error, &touches);
            }
        }
    }

    fn check_that_every_page_is_somewhere(&mut self, target: &Snapshot) {
        let in_base = target
            .head
            .base
            .filter(|base| Some(base.page_size) == target.page_size())
            .map_or(0, |base| base.page_count);
        let mut next = in_base + 1;
        let of_window = target.head.window.pages();
        let behind: BTreeSet<u32> = target
            .map
            .iter()
            .map(|(page, _)| page)
            .chain(of_window)
            .map(|page| page.0)
            .filter(|page| *page > in_base)
            .collect();
        let mut lacking = Vec::new();
        for page in behind.into_iter().chain([target.page_count().saturating_add(1)]) {
            let gap = next..page.min(target.page_count().saturating_add(1));
            lacking.extend(gap.take(10_000).map(PageNo));
            next = page.saturating_add(1).max(next);
        }
        if !lacking.is_empty() {
            let versions = Some((target.version(), target.version()));
            let touches = Touches { versions, pages: &lacking, ..Touches::default() };
            let what = format!("the page map of version {}", target.version().0);
            self.findings.add(Damage::Map, what, "these pages are neither in the base nor in the log", &touches);
        }
    }

    fn check_bases(&mut self, head: &Head) -> Result<()> {
        if let Some(base) = head.base {
            self.check_base(&base, head.version, self.what.part)?;
        }
        let mut done: Vec<BaseRef> = head.base.into_iter().collect();
        for (base, last) in std::mem::take(&mut self.more_bases) {
            if !done.contains(&base) {
                self.total += u64::from(base.page_count) * base.page_size.bytes() as u64;
                self.check_base(&base, last, Part::ALL)?;
                done.push(base);
            }
        }
        Ok(())
    }
}

/// The fold of `head`, as later folds name it, if its frame can be read.
fn fold_of(pages: &Pages, head: &Head) -> Option<Jump> {
    let place = head.fold.place?;
    let frame = pages.commit_at(place, head.fold.digest, 0).ok()?;
    Some(Jump { ordinal: frame.ordinal, version: frame.version, digest: head.fold.digest, place, time: frame.time })
}

impl Verified {
    /// The report on a database whose newest version cannot be opened, for this reason.
    pub(crate) fn cannot_be_opened(mut self, error: &Error) -> Verified {
        let mut findings = Findings::default();
        findings.add(Damage::Opening, "the newest version", error, &Touches::default());
        self.findings.splice(0..0, findings.list);
        self
    }

    /// Without what is missing of versions that are not promised any more: garbage collection has taken it meanwhile.
    pub(crate) fn without_older_than(mut self, floor: Version) -> Verified {
        if self.is_missing {
            self.findings.retain(|finding| finding.versions.is_none_or(|(_, last)| last >= floor.0));
        }
        self
    }
}
