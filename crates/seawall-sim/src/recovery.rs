//! What a recovery would find, were the head lost at this moment: the design's "Recover", over what the segments say.
//!
//! There is no recovery yet, and what writers leave behind for it must be right today. The index here follows every byte that
//! reaches a segment, whether or not its writer was told that it did.

use crate::disk::Disk;
use crate::oracle::{Number, number_in};
use seawall::commit::CommitFrame;
use seawall::frame::{self, Frame, Kind, UNIT};
use seawall::group;
use seawall::ids::{Digest, Epoch, Version};
use seawall::mark::{Fate, Mark};
use seawall::page_map::Segments;
use std::collections::{BTreeMap, HashMap, HashSet};

const SEGMENTS: &str = "NAME-seawall/segments";

/// What a frame says to a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Commit { commit: Candidate, epoch: Epoch, previous: Digest, settled: (Version, Digest) },
    Confirmed { epoch: Epoch, version: Version, digest: Digest },
    Refused(Digest),
}

/// A commit in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    /// Where its first page is.
    inode: usize,
    pages_at: usize,
}

/// The newest commit that is proven to be in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tip {
    epoch: Epoch,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
}

#[derive(Default)]
pub(crate) struct Recovery {
    segments: Segments,
    /// What each segment's frames say, by where they are.
    said: HashMap<usize, BTreeMap<usize, Says>>,
    tip: Option<Tip>,
    /// Which commits sit on which.
    on: HashMap<Digest, Vec<Candidate>>,
    refused: HashSet<Digest>,
}

impl Recovery {
    /// Bytes came to a segment, at `at`: whole frames, but for a torn last one.
    pub(crate) fn arrived(&mut self, inode: usize, mut at: usize, mut bytes: &[u8]) {
        while let Ok(frame) = frame::parse(bytes) {
            if let Some(says) = self.read(inode, &frame)
                && self.said.entry(inode).or_default().insert(at, says.clone()).as_ref() != Some(&says)
            {
                self.learn(&says);
            }
            at += frame.length;
            // The last one may lack its padding.
            bytes = bytes.get(frame.length..).unwrap_or_default();
        }
    }

    /// A segment ends at `length` from now on.
    pub(crate) fn cut(&mut self, inode: usize, length: usize) {
        let Some(said) = self.said.get_mut(&inode) else { return };
        if !said.split_off(&length).is_empty() {
            let said = std::mem::take(&mut self.said);
            let says: Vec<Says> = said.values().flat_map(BTreeMap::values).cloned().collect();
            *self = Recovery { segments: std::mem::take(&mut self.segments), said, ..Recovery::default() };
            says.iter().for_each(|says| self.learn(says));
        }
    }

    /// Begins anew, from what is on the disk.
    pub(crate) fn scan(&mut self, disk: &Disk) {
        *self = Recovery { segments: std::mem::take(&mut self.segments), ..Recovery::default() };
        for name in disk.list(SEGMENTS) {
            let inode = disk.find(&format!("{SEGMENTS}/{name}")).expect("it was listed");
            self.arrived(inode, 0, &disk.inode(inode).bytes);
        }
    }

    fn read(&self, inode: usize, frame: &Frame<'_>) -> Option<Says> {
        match frame.kind {
            Kind::Pages | Kind::Index => None,
            Kind::Commit => {
                let commit = CommitFrame::decode(frame.payload, &self.segments).ok()?;
                let pages_at = (u64::from(commit.pages.first()?.at) * UNIT) as usize;
                Some(Says::Commit {
                    commit: Candidate { version: commit.version, digest: frame.digest, inode, pages_at },
                    epoch: commit.epoch,
                    previous: commit.previous.digest,
                    settled: commit.settled,
                })
            }
            Kind::Mark => {
                let Mark { fate, epoch, version, digest, .. } = Mark::decode(frame.payload).ok()?;
                Some(match fate {
                    Fate::Confirmed => Says::Confirmed { epoch, version, digest },
                    Fate::Refused => Says::Refused(digest),
                })
            }
        }
    }

    fn learn(&mut self, says: &Says) {
        match *says {
            Says::Commit { commit, epoch, previous, settled: (version, digest) } => {
                self.prove(Tip { epoch, version, digest });
                self.on.entry(previous).or_default().push(commit);
            }
            Says::Confirmed { epoch, version, digest } => self.prove(Tip { epoch, version, digest }),
            Says::Refused(digest) => drop(self.refused.insert(digest)),
        }
    }

    fn prove(&mut self, tip: Tip) {
        self.tip = self.tip.max(Some(tip));
    }

    /// The proven tip; none where nothing was ever committed over version 0.
    pub(crate) fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// The commits that sit directly on `tip`.
    pub(crate) fn on(&self, tip: Digest) -> &[Candidate] {
        self.on.get(&tip).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_refused(&self, candidate: &Candidate) -> bool {
        self.refused.contains(&candidate.digest)
    }

    /// The same as another that learned it in another way?
    pub(crate) fn agrees(&self, other: &Recovery) -> bool {
        let commits = |of: &Recovery| of.on.values().flatten().map(|commit| commit.digest).collect::<HashSet<_>>();
        (self.tip, &self.refused) == (other.tip, &other.refused) && commits(self) == commits(other)
    }
}

impl Candidate {
    /// Whose it is.
    pub(crate) fn transaction(&self, disk: &Disk) -> Option<Number> {
        let pages = frame::parse(disk.inode(self.inode).bytes.get(self.pages_at..)?).ok()?;
        let group = group::decode(pages.payload).ok()?;
        Some(number_in(&group.images))
    }
}
