//! Whether a version is whole: every place that its pages need can be read. Each place is looked at once, however many
//! versions need it.

use super::judge::{Evidence, FoundCommit};
use crate::error::Error;
use crate::format::entry::PageEntry;
use crate::format::frame::Kind;
use crate::format::group;
use crate::format::head::{BaseRef, Head};
use crate::format::ids::{BaseName, PageNo, Version};
use crate::format::index::Entries;
use crate::format::new_pages::page_checksum;
use crate::ports::moment::Moment;
use crate::ports::storage::{File, Span};
use crate::read::checks::was_read;
use crate::read::page_map::PageMap;
use crate::read::pages::{Pages, SUM_BYTES, frame_of};
use crate::read::snapshot::{PageSource, Snapshot, Trail};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::result::Result;

/// One read of a base is so long.
const PIECE: usize = 1 << 20;

/// What was looked at.
pub(super) struct Whole<'a> {
    pub(super) pages: &'a Pages,
    bases: HashMap<BaseName, Result<HashSet<PageNo>, String>>,
    places: HashMap<(u32, u32), Option<String>>,
    /// A file is there, and could not be read. That says nothing of what is in it.
    failed: Option<Error>,
}

impl<'a> Whole<'a> {
    pub(super) fn new(pages: &'a Pages) -> Whole<'a> {
        Whole { pages, bases: HashMap::new(), places: HashMap::new(), failed: None }
    }

    /// The first failure to read a file that is there, if there was one: what was said since of versions may be wrong.
    pub(super) fn failure(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Whether a file that is there could not be read.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Why something is not whole.
    fn why(&mut self, error: Error) -> String {
        let why = error.to_string();
        if !was_read(&error) {
            self.failed.get_or_insert(error);
        }
        why
    }

    /// The snapshot of `head`, if it is whole; otherwise why it is not.
    pub(super) fn check(&mut self, head: Head, now: Moment) -> Result<Snapshot, String> {
        let snapshot = self.pages.snapshot_of(head, None, now).map_err(|error| self.why(error))?;
        self.check_pages(&snapshot)?;
        Ok(snapshot)
    }

    /// This version over an older base, by the pages of every commit since. `None` if a commit in between was not
    /// found.
    pub(super) fn rebuild(
        &mut self,
        evidence: &Evidence,
        found: &FoundCommit,
        base: Option<BaseRef>,
        now: Moment,
    ) -> Option<Result<Snapshot, String>> {
        let begin = base.map_or(Version(0), |base| base.name.version);
        let Some(frame) = found.fold() else {
            // Its entries stand on a fold.
            let head = evidence.head_of(found);
            let fold = self.rebuild(evidence, evidence.commits.get(&head.fold.digest)?, base, now)?;
            let with_window = fold.and_then(|fold| {
                let head = Head { version: head.version, window: head.window, ..fold.head.clone() };
                fold.with_window(head, now).map_err(|why| why.to_string())
            });
            return Some(with_window.and_then(|snapshot| self.check_pages(&snapshot).map(|()| snapshot)));
        };
        let mut newest: BTreeMap<PageNo, PageEntry> = BTreeMap::new();
        let mut at = frame.version;
        // A fold has the pages of the entries before it.
        for commit in evidence.chain(found.commit.digest).take_while(|commit| commit.version() > begin) {
            let (Some(place), Some(frame)) = (commit.commit.place, commit.fold()) else { continue };
            for (page, entry) in frame.own_entries(place.segment, &self.pages.segments) {
                newest.entry(page).or_insert(entry);
            }
            at = frame.folded;
        }
        if at > begin {
            return None;
        }
        let recent: Entries = newest.into_iter().collect();
        let mut map = PageMap::default();
        recent.iter().for_each(|(page, entry)| map.insert(*page, *entry));
        let place = found.commit.place.expect("it was found there");
        let trail = Trail {
            runs_begin: begin,
            runs: Vec::new(),
            recent,
            ordinal: frame.ordinal,
            jumps: frame.next_jumps(),
            log: frame.log_with(&place),
        };
        let head = Head { base, ..evidence.head_of(found) };
        let snapshot = Snapshot::rebuilt(head, frame.page_size, frame.page_count, map, trail, frame.time, now);
        Some(self.check_pages(&snapshot).map(|()| snapshot))
    }

    fn check_pages(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let (mut places, mut of_window) = (Vec::new(), Vec::new());
        for page in (1..=snapshot.page_count()).map(PageNo) {
            match snapshot.source_of(page) {
                Some(PageSource::Segment(entry)) => places.push((entry, page)),
                Some(PageSource::Window(_)) => of_window.push(page),
                Some(PageSource::Base(base)) => match self.base(base) {
                    Ok(damaged) if damaged.contains(&page) => {
                        return Err(format!("page {} of {} is damaged", page.0, File::Base(base.name)));
                    }
                    Ok(_) => {}
                    Err(why) => return Err(why.clone()),
                },
                None => return Err(format!("page {} is nowhere", page.0)),
            }
        }
        places.sort_unstable_by_key(|(entry, _)| (entry.segment(), entry.at()));
        places.into_iter().try_for_each(|(entry, page)| self.check_place(entry, page))?;
        for page in of_window {
            self.pages.read(snapshot, page).map_err(|error| self.why(error))?;
        }
        Ok(())
    }

    /// The pages of a base that are damaged.
    fn base(&mut self, base: BaseRef) -> &Result<HashSet<PageNo>, String> {
        if !self.bases.contains_key(&base.name) {
            let damaged = damaged_pages(self.pages, &base).map_err(|error| self.why(error));
            self.bases.insert(base.name, damaged);
        }
        &self.bases[&base.name]
    }

    fn check_place(&mut self, entry: PageEntry, page: PageNo) -> Result<(), String> {
        let key = (entry.segment().0, entry.at());
        if let Some(checked) = self.places.get(&key) {
            return checked.clone().map_or(Ok(()), Err);
        }
        let file = File::Segment(self.pages.segments.name(entry.segment()));
        let span = Span { file, at: entry.offset(), length: entry.length() };
        let read = self.pages.read_whole(span).map_err(|error| self.why(error.into()));
        let check = || -> Result<(), String> {
            let bytes = read?;
            let damaged = |why: &str| format!("{file} at byte {}: {why}", entry.offset());
            let frame = frame_of(&bytes, Kind::Pages).map_err(|why| damaged(why.0))?;
            let group = group::decode(frame.payload).map_err(|why| damaged(why.0))?;
            let is_right = group.owner.database == self.pages.database && group.owner.version == entry.version();
            if is_right && group.pages.get(usize::from(entry.slot())) == Some(&page) {
                return Ok(());
            }
            Err(damaged("it holds other pages than the page map says"))
        };
        let checked = check();
        self.places.insert(key, checked.clone().err());
        checked
    }
}

fn damaged_pages(pages: &Pages, base: &BaseRef) -> Result<HashSet<PageNo>, Error> {
    let size = base.page_size.bytes();
    let file = File::Base(base.name);
    let sums = Span { file: File::Sums(base.name), at: 0, length: base.page_count as usize * SUM_BYTES };
    let sums = pages.read_whole(sums)?;
    let total = u64::from(base.page_count) * size as u64;
    let mut damaged = HashSet::new();
    let mut at = 0;
    while at < total {
        let length = PIECE.min((total - at) as usize);
        let bytes = pages.read_whole(Span { file, at, length })?;
        for (n, image) in bytes.chunks_exact(size).enumerate() {
            let page = at as usize / size + n;
            if page_checksum(image) != sums[page * SUM_BYTES..][..SUM_BYTES] {
                damaged.insert(PageNo(page as u32 + 1));
            }
        }
        at += length as u64;
    }
    Ok(damaged)
}
