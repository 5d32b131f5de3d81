//! What a recovery would find if the head were lost at this moment: the design's "Recover", over the segments' frames.
//!
//! Recoveries themselves are checked by `recovered.rs`. The index here follows every byte
//! that reaches a segment, whether its writer learned that or not.

use super::{Link, Number, Oracle};
use crate::content::number_in;
use crate::disk::Disk;
use crate::event::Event;
use crate::paths::SEGMENTS;
use seawall::format::commit_frame::CommitFrame;
use seawall::format::entry::Segments;
use seawall::format::frame::{self, Frame, Kind, UNIT};
use seawall::format::group;
use seawall::format::head::Head;
use seawall::format::ids::{Digest, Epoch, Version};
use seawall::format::mark::Mark;
use seawall::format::window::{Entry, Window};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A frame's meaning to a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Commit {
        commit: Candidate,
        previous: Digest,
        settled: (Version, Digest),
    },
    /// Entries, each with its predecessor's digest, and what proves the newest of them that is proven.
    Entries(Vec<(Candidate, Digest)>, Option<Tip>),
    Both(Box<Says>, Box<Says>),
    Refused(Digest),
}

/// A commit in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    epoch: Epoch,
    version: Version,
    digest: Digest,
    /// Where its first page is.
    inode: usize,
    /// `None`: it has no pages, or is an entry.
    pages_at: Option<usize>,
    /// The length of its frame, where it is an entry.
    length: usize,
}

/// A commit that is proven to be in the history. The greatest is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tip {
    epoch: Epoch,
    version: Version,
    digest: Digest,
}

#[derive(Default)]
pub(crate) struct Recovery {
    segments: Segments,
    /// Each segment's frames and their meaning, by their place.
    said: HashMap<usize, BTreeMap<usize, Says>>,
    /// The commits that some frame proves.
    proven: BTreeSet<Tip>,
    /// The commits that follow each commit.
    on: HashMap<Digest, Vec<Candidate>>,
    refused: HashSet<Digest>,
    /// Where entries lie: segments, places and lengths.
    entries: HashMap<Digest, Vec<(usize, usize, usize)>>,
}

impl Recovery {
    /// Bytes reached a segment, at `at`: whole frames, except that the last one may be torn.
    pub(crate) fn arrived(&mut self, inode: usize, mut at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // What is no frame is passed over, as where a part of a failed append arrived and the part before did not.
            let length = frame::parse(bytes).map_or(UNIT as usize, |frame| {
                if let Some(says) = self.read(inode, at, &frame)
                    && self.said.entry(inode).or_default().insert(at, says.clone()).as_ref() != Some(&says)
                {
                    self.learn(&says);
                }
                frame.length
            });
            at += length;
            // The last one may lack its padding.
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }

    /// A segment was cut off at `length`.
    pub(crate) fn cut(&mut self, inode: usize, length: usize) {
        let Some(said) = self.said.get_mut(&inode) else { return };
        if !said.split_off(&length).is_empty() {
            self.begin_again();
        }
    }

    /// A segment was deleted.
    pub(crate) fn gone(&mut self, inode: usize) {
        if self.said.remove(&inode).is_some() {
            self.begin_again();
        }
    }

    /// Learns again what the frames say that are left.
    fn begin_again(&mut self) {
        let said = std::mem::take(&mut self.said);
        let says: Vec<Says> = said.values().flat_map(BTreeMap::values).cloned().collect();
        *self = Recovery { segments: std::mem::take(&mut self.segments), said, ..Recovery::default() };
        says.iter().for_each(|says| self.learn(says));
    }

    /// Begins again, from the segments on the disk.
    pub(crate) fn scan(&mut self, disk: &Disk) {
        *self = Recovery { segments: std::mem::take(&mut self.segments), ..Recovery::default() };
        for name in disk.list(SEGMENTS) {
            let inode = disk.find(&format!("{SEGMENTS}/{name}")).expect("it was listed");
            self.arrived(inode, 0, &disk.inode(inode).bytes);
        }
    }

    fn read(&self, inode: usize, at: usize, frame: &Frame<'_>) -> Option<Says> {
        match frame.kind {
            Kind::Pages | Kind::Index => None,
            Kind::Commit => {
                let commit = CommitFrame::decode(frame.payload, &self.segments).ok()?;
                let pages_at = commit.pages.first().map(|group| (u64::from(group.at) * UNIT) as usize);
                let of_window = entries_of(
                    &commit.window,
                    commit.epoch,
                    (commit.folded, commit.fold.digest),
                    (inode, at, frame.length),
                );
                let itself = Says::Commit {
                    commit: Candidate {
                        epoch: commit.epoch,
                        version: commit.version,
                        digest: frame.digest,
                        inode,
                        pages_at,
                        length: 0,
                    },
                    previous: commit.previous().digest,
                    settled: commit.settled,
                };
                Some(match of_window.is_empty() {
                    true => itself,
                    false => Says::Both(Box::new(Says::Entries(of_window, None)), Box::new(itself)),
                })
            }
            Kind::Head | Kind::Confirmed => {
                let head = Head::of_frame(frame.payload).ok()?;
                let Head { epoch, version, .. } = head;
                let entries =
                    entries_of(&head.window, epoch, (head.folded(), head.fold.digest), (inode, at, frame.length));
                let proven = match frame.kind {
                    Kind::Confirmed => Tip { epoch, version, digest: head.commit().digest },
                    // The fate of the last one is not known here.
                    _ => Tip { epoch, version: Version(version.0 - 1), digest: entries.last()?.1 },
                };
                Some(Says::Entries(entries, Some(proven)))
            }
            Kind::Mark => Mark::decode(frame.payload).ok().map(|mark| Says::Refused(mark.digest)),
        }
    }

    fn learn(&mut self, says: &Says) {
        match says.clone() {
            Says::Both(one, other) => {
                self.learn(&one);
                self.learn(&other);
            }
            Says::Entries(entries, proven) => {
                for (commit, previous) in entries {
                    let Candidate { digest, inode, pages_at, length, .. } = commit;
                    self.entries.entry(digest).or_default().push((inode, pages_at.unwrap_or_default(), length));
                    let on = self.on.entry(previous).or_default();
                    if on.iter().all(|known| known.digest != digest) {
                        on.push(Candidate { pages_at: None, ..commit });
                    }
                }
                proven.into_iter().for_each(|tip| self.prove(tip));
            }
            Says::Commit { commit, previous, settled: (version, digest) } => {
                self.prove(Tip { epoch: commit.epoch, version, digest });
                self.on.entry(previous).or_default().push(commit);
            }
            Says::Refused(digest) => drop(self.refused.insert(digest)),
        }
    }

    /// Whether this entry is in a segment, and durable.
    pub(super) fn has_durable_entry(&self, digest: &Digest, disk: &Disk) -> bool {
        let places = self.entries.get(digest).map_or(&[][..], Vec::as_slice);
        places.iter().any(|(inode, at, length)| disk.are_bytes_durable(*inode, *at, *length))
    }

    /// Whether this entry is in a segment.
    pub(super) fn has_entry(&self, digest: &Digest) -> bool {
        self.entries.contains_key(digest)
    }

    /// The entries that are in segments.
    pub(super) fn entries(&self) -> HashSet<Digest> {
        self.entries.keys().copied().collect()
    }

    fn prove(&mut self, tip: Tip) {
        self.proven.insert(tip);
    }

    /// Whether it agrees with `other`, which learned it in another way.
    #[cfg(test)]
    fn agrees(&self, other: &Recovery) -> bool {
        self.difference(other).is_none()
    }

    /// In what it differs from `other`.
    pub(crate) fn difference(&self, other: &Recovery) -> Option<String> {
        let commits = |of: &Recovery| of.on.values().flatten().map(|commit| commit.digest).collect::<HashSet<_>>();
        let differ = |mine: &HashSet<Digest>, others: &HashSet<Digest>| {
            mine.symmetric_difference(others).map(Digest::to_string).collect::<Vec<_>>()
        };
        let proven: Vec<_> = self.proven.symmetric_difference(&other.proven).collect();
        let (refused, commits) = (differ(&self.refused, &other.refused), differ(&commits(self), &commits(other)));
        let is_same = proven.is_empty() && refused.is_empty() && commits.is_empty();
        (!is_same).then(|| format!("proven {proven:?}, refused {refused:?}, commits {commits:?}"))
    }
}

/// The entries of a window behind the fold, each with its predecessor's digest; and where all of them lie.
fn entries_of(
    window: &Window,
    epoch: Epoch,
    (folded, fold): (Version, Digest),
    (inode, at, length): (usize, usize, usize),
) -> Vec<(Candidate, Digest)> {
    let mut previous = fold;
    let entry = |(n, (_, digest)): (u64, &(Entry, Digest))| {
        let candidate =
            Candidate { epoch, version: Version(folded.0 + n), digest: *digest, inode, pages_at: Some(at), length };
        (candidate, std::mem::replace(&mut previous, *digest))
    };
    (1..).zip(window.entries()).map(entry).collect()
}

impl Candidate {
    /// The transaction that wrote it.
    fn transaction(&self, disk: &Disk) -> Option<Number> {
        let pages = frame::parse(disk.inode(self.inode).bytes.get(self.pages_at?..)?).ok()?;
        let group = group::decode(pages.payload).ok()?;
        Some(number_in(&group.images))
    }
}

impl Oracle {
    /// If the head were lost now, a recovery would lose no acknowledged commit and revive none that was reported as
    /// failed: the design's "Recover". (P5, and invariant 6.)
    pub(crate) fn check_recovery(&self, disk: &Disk) -> Result<Vec<Event>, String> {
        let first = self.chain.first().filter(|_| !self.is_over && !self.is_broken() && !self.was_detached);
        let Some(first) = first else { return Ok(Vec::new()) };
        // What a recovery has appended counts once its head is in place: until then another one may decide otherwise.
        let mut events = Vec::new();
        let tip = self.recovery.proven.iter().rfind(|tip| tip.epoch <= self.epoch);
        let (version, digest) = tip.map_or((Version(0), first.head.commit().digest), |tip| (tip.version, tip.digest));
        if self.chain.get(version.0 as usize).is_none_or(|link| link.head.commit().digest != digest) {
            return Err(format!("a recovery would take a version {} for proven that is not in the order", version.0));
        }
        let epoch = tip.map_or(Epoch(0), |tip| tip.epoch);
        let is_of_epoch = |commit: &&Candidate| commit.epoch >= epoch && commit.epoch <= self.epoch;
        let on = self.recovery.on.get(&digest).map_or(&[][..], Vec::as_slice);
        let on: Vec<&Candidate> = on.iter().filter(is_of_epoch).collect();
        let candidates: Vec<&Candidate> =
            on.iter().copied().filter(|commit| !self.recovery.refused.contains(&commit.digest)).collect();
        if candidates.len() < on.len() {
            events.push(Event::MarkedRefused);
        }
        // What it would take: the commit on the tip that is in the order, else the tip itself.
        let next = self.chain.get(version.0 as usize + 1).map(|link| link.head.commit().digest);
        let is_on_tip = candidates.iter().any(|commit| Some(commit.digest) == next);
        let taken = version.0 + u64::from(is_on_tip);
        // On `fs` the names have the newest entries, and a copy of them comes later.
        let folded = self.chain.last().map_or(0, |link| link.head.folded().0);
        let in_files = if self.is_on_table() { self.acknowledged } else { self.acknowledged.min(folded) };
        if in_files > taken {
            return Err(format!("a recovery would lose version {in_files}, which was acknowledged"));
        }
        let is_entry = |link: &Link| !link.head.window.entries().is_empty();
        let lost = self
            .chain
            .get(taken as usize)
            .filter(|link| is_entry(link) && !self.recovery.has_entry(&link.head.commit().digest));
        if lost.is_some() {
            return Err(format!("a recovery would take version {taken}, whose entry is in no segment"));
        }
        self.can_be_opened(taken, disk).map_err(|why| format!("a recovery would take version {taken}: {why}"))?;
        let [candidate] = candidates[..] else { return Ok(events) };
        match candidate.transaction(disk) {
            Some(number) if self.unmarked.contains(&number) => {}
            Some(number) if self.refused.contains(&number) => {
                let what =
                    "was reported as failed, and a recovery would take it: it is whole in a segment, without a mark";
                return Err(format!("transaction {number} {what}"));
            }
            Some(number) if self.unknown.iter().any(|unknown| unknown.number == number) => {
                events.push(Event::NeverLearned);
            }
            _ => {}
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall::format::head::CommitRef;
    use seawall::format::ids::{CommitId, DatabaseId, PageNo, PageSize, SegmentName, WriterId};
    use seawall::format::new_pages::{NewGroup, NewPage};
    use seawall::format::place::Place;

    const SEGMENT: SegmentName = SegmentName { writer: WriterId([0; 8]), n: 0 };
    const PLACE: Place = Place { segment: SEGMENT, at: 0, length: 0, lead: 0 };

    /// The frame of a commit over `previous`, whose writer knew that to be committed.
    fn commit(version: u64, previous: Digest) -> (Vec<u8>, Digest) {
        let commit = CommitFrame {
            database: DatabaseId([1; 16]),
            epoch: Epoch(0),
            version: Version(version),
            commit: CommitId([version as u8; 16]),
            page_size: PageSize::new(512).expect("a page size"),
            page_count: 1,
            ordinal: version,
            fold: CommitRef { id: CommitId([0; 16]), digest: previous, place: (version > 1).then_some(PLACE) },
            folded: Version(version - 1),
            fold_time: 0,
            window: Window::default(),
            jumps: Vec::new(),
            settled: (Version(version - 1), previous),
            group: (Version(version), Version(version)),
            time: 0,
            base: None,
            home: 0,
            sweep: 0,
            log: 0,
            pages: vec![NewGroup {
                at: 0,
                units: 4,
                pages: vec![Some(NewPage { page: PageNo(1), checksum: [0; 8], is_carried: false })],
            }],
            runs_begin: Version(0),
            runs: Vec::new(),
            recent: Vec::new(),
        };
        let mut bytes = Vec::new();
        let digest = frame::put(&mut bytes, Kind::Commit, &commit.encode(&Segments::default()));
        (bytes, digest)
    }

    #[test]
    fn a_later_commit_proves_its_predecessor_until_it_is_cut_off() {
        let mut recovery = Recovery::default();
        let (first, one) = commit(1, Digest([9; 32]));
        let (second, two) = commit(2, one);
        recovery.arrived(7, 0, &first);
        assert_eq!(recovery.proven.last().map(|tip| tip.version), Some(Version(0)));
        recovery.arrived(7, first.len(), &second);
        assert_eq!(recovery.proven.last().map(|tip| (tip.version, tip.digest)), Some((Version(1), one)));
        assert_eq!(recovery.on[&one].iter().map(|commit| commit.digest).collect::<Vec<_>>(), [two]);
        recovery.cut(7, first.len());
        assert_eq!(recovery.proven.last().map(|tip| tip.version), Some(Version(0)));
        assert!(!recovery.on.contains_key(&one));
    }

    #[test]
    fn what_arrives_twice_counts_once_and_a_torn_frame_does_not() {
        let (mut recovery, mut again) = (Recovery::default(), Recovery::default());
        let (bytes, _) = commit(1, Digest([9; 32]));
        recovery.arrived(7, 0, &bytes);
        again.arrived(7, 0, &bytes[..bytes.len() - 40]);
        assert!(!again.agrees(&recovery));
        again.arrived(7, 0, &bytes);
        again.arrived(7, 0, &bytes);
        assert!(again.agrees(&recovery));
        assert_eq!(again.on[&Digest([9; 32])].len(), 1);
    }
}
