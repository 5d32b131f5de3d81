//! What the files prove of the history, and what they do not. Pure: no I/O.
//!
//! - A commit is *proven* if some writer knew it to be in the history: a later commit frame says so (`settled`), or a
//!   head that was in place (`confirmed`).
//! - The *proven tip* is the newest proven commit of the highest epoch that anything proves.
//! - A *candidate* is a commit directly on the proven tip that no mark calls refused. Its swap may have taken place, and
//!   its writer may have acknowledged it; no later record says whether it did. If several commits share one swap (a
//!   *group*), the candidate is the whole group. A commit is no candidate if a head of that epoch names another commit of
//!   the same version.

use crate::format::commit_frame::CommitFrame;
use crate::format::entry::{PageEntry, Segments};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{CommitId, Digest, Epoch, Version};
use crate::format::mark::Mark;
use crate::format::window::Window;
use crate::mutation::mistake;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A commit that was found.
#[derive(Clone, Debug)]
pub(super) struct FoundCommit {
    pub(super) commit: CommitRef,
    pub(super) form: Form,
}

/// Where it was found.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// As a frame in a segment.
    Fold(Box<CommitFrame>),
    /// As an entry: of a head, or of the window that a fold took over. This is the head that ends with it.
    Entry(Box<Head>),
}

impl FoundCommit {
    pub(super) fn epoch(&self) -> Epoch {
        match &self.form {
            Form::Fold(frame) => frame.epoch,
            Form::Entry(head) => head.epoch,
        }
    }

    pub(super) fn version(&self) -> Version {
        match &self.form {
            Form::Fold(frame) => frame.version,
            Form::Entry(head) => head.version,
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn time(&self) -> u64 {
        match &self.form {
            Form::Fold(frame) => frame.time,
            Form::Entry(head) => head.window.newest().map_or(0, |(entry, _)| entry.time),
        }
    }

    pub(super) fn previous(&self) -> CommitRef {
        match &self.form {
            Form::Fold(frame) => frame.previous(),
            Form::Entry(head) => head.window.newest_commit_but_one().unwrap_or(head.fold),
        }
    }

    /// The first and last version of the swap that it rides on.
    fn group(&self) -> (Version, Version) {
        match &self.form {
            Form::Fold(frame) => frame.group,
            Form::Entry(head) => (head.version, head.version),
        }
    }

    /// The frame, if it is a fold.
    pub(super) fn fold(&self) -> Option<&CommitFrame> {
        match &self.form {
            Form::Fold(frame) => Some(frame),
            Form::Entry(_) => None,
        }
    }

    /// How many pages it has changed itself.
    pub(super) fn pages(&self) -> u64 {
        match &self.form {
            Form::Fold(frame) => frame.own_pages().count() as u64,
            Form::Entry(head) => head.window.newest().map_or(0, |(entry, _)| entry.pages.len() as u64),
        }
    }
}

/// A commit that is proven to be in the history. The greatest is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Proven {
    /// The epoch of what proves it.
    pub(super) epoch: Epoch,
    pub(super) version: Version,
    pub(super) digest: Digest,
}

/// Everything that the files say.
#[derive(Default)]
pub(super) struct Evidence {
    pub(super) commits: HashMap<Digest, FoundCommit>,
    pub(super) proven: BTreeSet<Proven>,
    refused: HashSet<Digest>,
    /// The heads that the coordinator had, or that names in `commits/` have.
    pub(super) heads: Vec<Head>,
    /// The highest epoch that notes tell of.
    pub(super) noted: Epoch,
}

/// What follows from the evidence.
pub(super) struct Judgement {
    /// The newest commit that is proven.
    pub(super) tip: Option<Proven>,
    /// The commits whose outcome was never learned, each the last of its group.
    pub(super) candidates: Vec<Digest>,
    /// Proven commits that are not in the chain of the tip: two histories.
    pub(super) strangers: Vec<Proven>,
}

impl Evidence {
    /// A commit frame was found.
    pub(super) fn found(&mut self, commit: CommitRef, frame: CommitFrame) {
        let (version, digest) = frame.settled;
        self.proven.insert(Proven { epoch: frame.epoch, version, digest });
        // What it jumps to is in the chain of what it stands on; and so is the fold before it, unless both ride on one swap.
        let below = frame.named().filter(|jump| jump.version <= version);
        let jumps = below.map(|jump| Proven { epoch: frame.epoch, version: jump.version, digest: jump.digest });
        self.proven.extend(jumps);
        // So are the commits that it took over.
        let before = Head { version: frame.folded, fold: frame.fold, ..frame.head(commit) };
        self.found_entries(&before, &frame.window);
        self.commits.insert(commit.digest, FoundCommit { commit, form: Form::Fold(Box::new(frame)) });
    }

    /// A head was found whose newest commits are in its window. Its writer knew the last but one to be committed.
    pub(super) fn found_head(&mut self, head: &Head) {
        let Some(last) = head.window.entries().len().checked_sub(1) else { return };
        let before = FoundCommit { commit: head.commit(), form: Form::Entry(Box::new(head.clone())) }.previous();
        let version = Version(head.folded().0 + last as u64);
        self.proven.insert(Proven { epoch: head.epoch, version, digest: before.digest });
        self.found_entries(&head.at_fold(), &head.window);
    }

    /// The head that named `found`, as far as the files say that. What a head says beside its window is that of its fold.
    pub(super) fn head_of(&self, found: &FoundCommit) -> Head {
        match &found.form {
            Form::Fold(frame) => frame.head(found.commit),
            Form::Entry(head) => {
                let fold = self.commits.get(&head.fold.digest).and_then(|fold| Some((fold.fold()?, fold.commit)));
                let with_entries = |(frame, fold): (&CommitFrame, CommitRef)| {
                    let (version, window) = (head.version, head.window.clone());
                    Head { version, window, ..frame.head(fold) }
                };
                fold.map_or_else(|| (**head).clone(), with_entries)
            }
        }
    }

    /// The entries of `window`, which begins after the fold of `before`.
    fn found_entries(&mut self, before: &Head, window: &Window) {
        for at in 0..window.entries().len() {
            let commit = window.commit(at).expect("there are so many");
            let head = || {
                let (version, window) =
                    (Version(before.version.0 + 1 + at as u64), window.first(at + 1, &before.fold.digest));
                Form::Entry(Box::new(Head { version, window, ..before.clone() }))
            };
            self.commits.entry(commit.digest).or_insert_with(|| FoundCommit { commit, form: head() });
        }
    }

    /// A head was found that had been in place.
    pub(super) fn found_confirmed(&mut self, head: &Head) {
        self.found_head(head);
        self.proven.insert(Proven { epoch: head.epoch, version: head.version, digest: head.commit().digest });
    }

    /// A mark was found.
    pub(super) fn found_mark(&mut self, mark: &Mark) {
        self.refused.insert(mark.digest);
    }

    /// The highest epoch of anything.
    pub(super) fn highest_epoch(&self) -> Epoch {
        let of_commits = self.commits.values().map(FoundCommit::epoch);
        of_commits.chain(self.heads.iter().map(|head| head.epoch)).chain([self.noted]).max().unwrap_or_default()
    }

    pub(super) fn judge(&self) -> Judgement {
        mistake!(RecoversLongestChain, return self.judge_by_length());
        let tip = self.proven.last().copied();
        let Some(tip) = tip else { return Judgement { tip: None, candidates: Vec::new(), strangers: Vec::new() } };
        let strangers = self.proven.iter().filter(|proven| proven.epoch == tip.epoch && !self.leads_to(&tip, proven));
        Judgement { tip: Some(tip), candidates: self.candidates_on(&tip), strangers: strangers.copied().collect() }
    }

    /// Whole groups that stand on `tip`, none of whose commits was refused.
    fn candidates_on(&self, tip: &Proven) -> Vec<Digest> {
        let stands_on = |found: &&FoundCommit, digest: Digest| {
            found.previous().digest == digest
                && found.epoch() >= tip.epoch
                && !self.refused.contains(&found.commit.digest)
        };
        let mut candidates = Vec::new();
        for first in self.commits.values().filter(|found| stands_on(found, tip.digest)) {
            let mut last = first;
            while last.version() < first.group().1 {
                let group = first.group();
                let mut next = self.commits.values().filter(|found| stands_on(found, last.commit.digest));
                let Some(found) = next.find(|found| found.group() == group) else { break };
                last = found;
            }
            if last.version() == first.group().1 && !self.is_contradicted(last) {
                candidates.push(last.commit.digest);
            }
        }
        candidates.sort_unstable();
        candidates
    }

    /// Whether heads name other commits of its version and epoch, and none names it.
    fn is_contradicted(&self, found: &FoundCommit) -> bool {
        let of_version = (found.epoch(), found.version());
        let mut named = self.heads.iter().filter(|head| head.order() == of_version).peekable();
        named.peek().is_some() && !named.any(|head| head.commit().is(&found.commit))
    }

    /// The newest version that heads of the tip's epoch name, or of a later one. The seal of an earlier recovery is no
    /// head, where there was none before; nor is what an earlier one has saved.
    pub(super) fn newest_named(&self, tip: Option<&Proven>) -> Option<Version> {
        let epoch = tip.map_or(Epoch(0), |tip| tip.epoch);
        let heads = self.heads.iter().filter(|head| head.commit().id != CommitId([0; 16]) && head.epoch >= epoch);
        heads.map(|head| head.version).max()
    }

    /// The newest version of the tip's epoch, or of a later one, that anything tells of.
    pub(super) fn newest_known(&self, tip: &Proven) -> Version {
        self.newest_named(Some(tip)).map_or(tip.version, |named| named.max(tip.version))
    }

    /// Whether `commit` is the one of `digest`, or below it, as far as the frames were found.
    pub(super) fn leads_down_to(&self, digest: Digest, commit: &CommitRef) -> bool {
        self.chain(digest).any(|found| found.commit.is(commit) || found.previous().is(commit))
    }

    /// Whether `older` is in the chain of `tip`, as far as the files show that. What cannot be shown is no
    /// contradiction.
    fn leads_to(&self, tip: &Proven, older: &Proven) -> bool {
        let mut at = tip.digest;
        let mut version = tip.version;
        while version > older.version {
            let Some(found) = self.commits.get(&at) else { return true };
            at = found.previous().digest;
            version = Version(version.0 - 1);
        }
        version != older.version || at == older.digest
    }

    /// The commits from `digest` down, as far as their frames were found.
    pub(super) fn chain(&self, digest: Digest) -> impl Iterator<Item = &FoundCommit> {
        let first = self.commits.get(&digest);
        std::iter::successors(first, |found| self.commits.get(&found.previous().digest))
    }

    /// The newest commit before `version` whose pages the page map of `frame` names: then it is in the chain of
    /// `frame`, although the frames in between were not found.
    pub(super) fn named_by(&self, frame: &CommitFrame, version: Version, segments: &Segments) -> Option<Digest> {
        let has = |found: &FoundCommit, entry: &PageEntry| {
            let (Some(place), Some(frame)) = (found.commit.place, found.fold()) else { return false };
            segments.name(entry.segment()) == place.segment && frame.pages.iter().any(|group| group.at == entry.at())
        };
        let earlier = frame.recent.iter().filter(|(_, entry)| entry.version() < version);
        let named = earlier.filter_map(|(_, entry)| {
            let mut of_version = self.commits.values().filter(|found| found.version() == entry.version());
            of_version.find(|found| has(found, entry))
        });
        named.max_by_key(|found| found.version()).map(|found| found.commit.digest)
    }

    /// The candidates that stand on `proven`, if that were the tip.
    pub(super) fn candidates_over(&self, proven: &FoundCommit) -> Vec<&FoundCommit> {
        let tip = Proven { epoch: proven.epoch(), version: proven.version(), digest: proven.commit.digest };
        self.candidates_on(&tip).iter().map(|digest| &self.commits[digest]).collect()
    }

    /// The candidates that stand on version 0, if that were the tip.
    pub(super) fn candidates_over_first(&self) -> Vec<&FoundCommit> {
        let mut first = self.commits.values().filter(|found| found.version() == Version(1));
        let Some(digest) = first.next().map(|found| found.previous().digest) else { return Vec::new() };
        let tip = Proven { epoch: Epoch(0), version: Version(0), digest };
        self.candidates_on(&tip).iter().map(|digest| &self.commits[digest]).collect()
    }

    /// The newest commit below `version` that was found and is proven, or is `named` by what is newer.
    pub(super) fn newest_below(&self, version: Version, named: Option<Digest>) -> Option<&FoundCommit> {
        // A recovery can have left out what an earlier epoch proves: what is not below the first commit of a later epoch.
        let begin_after = |epoch: Epoch| {
            let later = self.commits.values().filter(|found| found.epoch() > epoch);
            later.map(FoundCommit::version).min()
        };
        let is_kept = |proven: &&Proven| begin_after(proven.epoch).is_none_or(|begin| proven.version < begin);
        let proven = self.proven.iter().filter(|proven| proven.version < version).filter(is_kept);
        let found = proven.map(|proven| proven.digest).chain(named).filter_map(|digest| self.commits.get(&digest));
        found.max_by_key(|found| (found.version(), found.epoch()))
    }

    #[cfg(feature = "mutations")]
    fn judge_by_length(&self) -> Judgement {
        let longest = self.commits.values().max_by_key(|found| found.version());
        let tip =
            longest.map(|found| Proven { epoch: found.epoch(), version: found.version(), digest: found.commit.digest });
        Judgement { tip, candidates: Vec::new(), strangers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::{DatabaseId, PageSize, SegmentName, WriterId};
    use crate::format::place::Place;

    const FIRST: Digest = Digest([0; 32]);

    fn digest(name: u8) -> Digest {
        Digest([name; 32])
    }

    /// A commit called `name`, of `version`, over `previous`.
    fn commit(evidence: &mut Evidence, name: u8, (epoch, version): (u64, u64), previous: Digest, group: (u64, u64)) {
        let place = Place { segment: SegmentName { writer: WriterId([1; 8]), n: 0 }, at: 0, length: 0, lead: 0 };
        let before = CommitRef { id: CommitId([0; 16]), digest: previous, place: Some(place) };
        let settled =
            if group.0 == version { (Version(version - 1), previous) } else { (Version(group.0 - 1), digest(1)) };
        let frame = CommitFrame {
            database: DatabaseId([1; 16]),
            epoch: Epoch(epoch),
            version: Version(version),
            commit: CommitId([name; 16]),
            page_size: PageSize::new(512).unwrap(),
            page_count: 1,
            ordinal: version,
            fold: before,
            folded: Version(version - 1),
            fold_time: 0,
            window: Window::default(),
            jumps: Vec::new(),
            settled,
            group: (Version(group.0), Version(group.1)),
            time: 0,
            base: None,
            home: 0,
            sweep: 0,
            log: 0,
            pages: Vec::new(),
            runs_begin: Version(0),
            runs: Vec::new(),
            recent: Vec::new(),
        };
        evidence.found(CommitRef { id: frame.commit, digest: digest(name), place: Some(place) }, frame);
    }

    fn refuse(evidence: &mut Evidence, name: u8) {
        let mark = Mark {
            database: DatabaseId([1; 16]),
            epoch: Epoch(0),
            version: Version(1),
            commit: CommitId([name; 16]),
            digest: digest(name),
        };
        evidence.found_mark(&mark);
    }

    fn judged(evidence: &Evidence) -> (u64, Vec<Digest>, usize) {
        let judgement = evidence.judge();
        (judgement.tip.map_or(u64::MAX, |tip| tip.version.0), judgement.candidates, judgement.strangers.len())
    }

    #[test]
    fn the_last_commit_is_a_candidate_and_everything_below_it_is_proven() {
        let mut evidence = Evidence::default();
        assert_eq!(judged(&evidence), (u64::MAX, vec![], 0));
        commit(&mut evidence, 1, (0, 1), FIRST, (1, 1));
        assert_eq!(judged(&evidence), (0, vec![digest(1)], 0));
        commit(&mut evidence, 2, (0, 2), digest(1), (2, 2));
        assert_eq!(judged(&evidence), (1, vec![digest(2)], 0));
        // Two writers appended, and nothing says which swap took place.
        commit(&mut evidence, 3, (0, 2), digest(1), (2, 2));
        assert_eq!(judged(&evidence), (1, vec![digest(2), digest(3)], 0));
        refuse(&mut evidence, 2);
        assert_eq!(judged(&evidence), (1, vec![digest(3)], 0));
    }

    #[test]
    fn of_several_candidates_the_one_that_a_head_names_is_right_and_the_others_are_not() {
        let mut evidence = Evidence::default();
        commit(&mut evidence, 1, (0, 1), FIRST, (1, 1));
        commit(&mut evidence, 2, (0, 2), digest(1), (2, 2));
        commit(&mut evidence, 3, (0, 2), digest(1), (2, 2));
        let head = |name: u8, (epoch, version): (u64, u64)| {
            let first = Head::first(DatabaseId([1; 16]), CommitId([0; 16]), None, 0);
            let commit = CommitRef { id: CommitId([name; 16]), digest: digest(name), place: None };
            Head { epoch: Epoch(epoch), version: Version(version), fold: commit, ..first }
        };
        evidence.heads = vec![head(1, (0, 1))];
        assert_eq!(judged(&evidence), (1, vec![digest(2), digest(3)], 0));
        evidence.heads = vec![head(1, (0, 1)), head(3, (0, 2))];
        assert_eq!(judged(&evidence), (1, vec![digest(3)], 0));
        // What the head names was lost; that the others were not committed is known all the same.
        evidence.heads = vec![head(9, (0, 2))];
        assert_eq!(judged(&evidence), (1, vec![], 0));
        let tip = evidence.judge().tip.unwrap();
        assert_eq!(evidence.newest_known(&tip), Version(2));
        // A head of another epoch says nothing of this one.
        evidence.heads = vec![head(9, (1, 2))];
        assert_eq!(judged(&evidence), (1, vec![digest(2), digest(3)], 0));
        // Where the names were set back and used again, both are named.
        evidence.heads = vec![head(2, (0, 2)), head(3, (0, 2))];
        assert_eq!(judged(&evidence), (1, vec![digest(2), digest(3)], 0));
        assert!(evidence.leads_down_to(digest(2), &head(1, (0, 1)).commit()));
        assert!(!evidence.leads_down_to(digest(2), &head(3, (0, 2)).commit()));
    }

    #[test]
    fn a_long_chain_that_nothing_proves_does_not_win() {
        let mut evidence = Evidence::default();
        commit(&mut evidence, 1, (0, 1), FIRST, (1, 1));
        // A group of two on version 1, whose swap was refused; its writer died before it could say so.
        commit(&mut evidence, 2, (0, 2), digest(1), (2, 3));
        commit(&mut evidence, 3, (0, 3), digest(2), (2, 3));
        commit(&mut evidence, 4, (0, 2), digest(1), (2, 2));
        commit(&mut evidence, 5, (0, 3), digest(4), (3, 3));
        assert_eq!(judged(&evidence), (2, vec![digest(5)], 0));
        // Of a group that is not whole nothing counts.
        let mut evidence = Evidence::default();
        commit(&mut evidence, 1, (0, 1), FIRST, (1, 1));
        commit(&mut evidence, 2, (0, 2), digest(1), (2, 3));
        assert_eq!(judged(&evidence), (1, vec![], 0));
    }

    #[test]
    fn a_recovery_cannot_be_undone_by_another_and_two_histories_are_noticed() {
        let mut evidence = Evidence::default();
        for name in 1..=9 {
            let before = if name == 1 { FIRST } else { digest(name - 1) };
            commit(&mut evidence, name, (0, name.into()), before, (name.into(), name.into()));
        }
        // Recovered at 5, in a new epoch: what was after that in the old one is out.
        commit(&mut evidence, 20, (1, 6), digest(5), (6, 6));
        assert_eq!(judged(&evidence), (5, vec![digest(20)], 0));
        commit(&mut evidence, 21, (1, 7), digest(20), (7, 7));
        assert_eq!(judged(&evidence), (6, vec![digest(21)], 0));
        // A power loss took a name that was not durable, after another process had built on it.
        commit(&mut evidence, 30, (1, 7), digest(20), (7, 7));
        commit(&mut evidence, 31, (1, 8), digest(30), (8, 8));
        commit(&mut evidence, 32, (1, 8), digest(21), (8, 8));
        assert_eq!(judged(&evidence).2, 1);
    }
}
