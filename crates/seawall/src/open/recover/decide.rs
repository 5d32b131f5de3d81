//! Which version a recovery keeps: the evidence says it, or the operator; and it must be whole.

use super::judge::{Evidence, FoundCommit, Judgement};
use super::whole::Whole;
use super::{Chosen, FoundVersion, Recovered, Run, described, nothing_there, unreadable};
use crate::error::{Error, Result};
use crate::format::head::BaseRef;
use crate::format::ids::{CommitId, Digest, Version};
use crate::read::history::first_head;
use crate::read::snapshot::Snapshot;

impl Run<'_> {
    /// What follows from the evidence.
    pub(super) fn decide(&self, evidence: &Evidence) -> Result<(Recovered, Chosen)> {
        let judgement = evidence.judge();
        let proven = judgement.tip.map_or(0, |tip| tip.version.0);
        let describe = |digest: &Digest| evidence.commits.get(digest).map(described);
        let candidates: Vec<FoundVersion> = judgement.candidates.iter().filter_map(describe).collect();
        let digest = self.choose(evidence, &judgement)?;
        let chosen = self.whole(evidence, &judgement, digest)?;
        let never_learned = chosen.is_candidate;
        let newest =
            evidence.heads.iter().filter(|head| head.commit().id != CommitId([0; 16])).max_by_key(|head| head.order());
        let keeps_head = newest.is_some_and(|head| {
            head.commit().is(&chosen.snapshot.head.commit())
                || evidence.leads_down_to(chosen.snapshot.head.commit().digest, &head.commit())
        });
        let recovered = Recovered {
            database: self.database,
            head: evidence.newest_named(judgement.tip.as_ref()).map(|version| version.0),
            proven,
            candidates,
            kept: chosen.found.clone(),
            never_learned,
            rebuilt: chosen.rebuilt,
            lost: chosen.lost.clone(),
            keeps_head,
            version: None,
        };
        Ok((recovered, chosen))
    }

    /// The commit that the evidence, or the operator, chooses.
    fn choose(&self, evidence: &Evidence, judgement: &Judgement) -> Result<Digest> {
        if let Some(id) = self.recovery.choose {
            let chosen = evidence.commits.values().find(|found| found.commit.id == id);
            return chosen.map(|found| found.commit.digest).ok_or_else(|| {
                Error::CannotOpen(format!("commit {id} is in no segment of this folder. Nothing was changed"))
            });
        }
        let several = |what: &str, digests: &mut dyn Iterator<Item = &Digest>| {
            let found = digests.filter_map(|digest| evidence.commits.get(digest)).map(described);
            let list: Vec<String> = found
                .map(|found| {
                    format!(
                        "version {} by commit {} ({} pages, at {} ms)",
                        found.version, found.commit, found.pages, found.time
                    )
                })
                .collect();
            Error::CannotOpen(format!(
                "{what}, and nothing says which is right: {}. Nothing was changed. Look which data your application reported as saved, and \
                 choose: --commit ID",
                list.join("; ")
            ))
        };
        let Some(tip) = judgement.tip else { return Err(nothing_there(&**self.storage)) };
        if !judgement.strangers.is_empty() {
            let both = judgement.strangers.iter().map(|stranger| &stranger.digest).chain([&tip.digest]);
            return Err(several("two histories are proven", &mut { both }));
        }
        // A commit without pages changes nothing that anybody wrote: of a checkpoint, or of a recovery that was cut short. It need not be
        // chosen, but it must not stand in the way.
        let found = judgement.candidates.iter().filter_map(|digest| evidence.commits.get(digest));
        let (with_pages, without): (Vec<_>, Vec<_>) = found.partition(|found| found.pages() > 0);
        let newest = without.iter().max_by_key(|found| (found.epoch(), found.time(), found.commit.digest));
        match (&with_pages[..], newest) {
            ([], None) => Ok(tip.digest),
            ([], Some(newest)) => Ok(newest.commit.digest),
            ([candidate], _) => Ok(candidate.commit.digest),
            (candidates, _) => Err(several(
                &format!("{} commits stand on version {}", candidates.len(), tip.version.0),
                &mut candidates.iter().map(|found| &found.commit.digest),
            )),
        }
    }

    /// The chosen version, or the newest before it that is whole.
    fn whole(&self, evidence: &Evidence, judgement: &Judgement, digest: Digest) -> Result<Chosen> {
        let mut whole = Whole::new(self.pages);
        let mut lost = self.left_out(evidence, judgement, digest);
        let mut at = Some(digest);
        while let Some(digest) = at {
            match evidence.commits.get(&digest) {
                Some(found) => {
                    let why = match self.try_version(&mut whole, evidence, found) {
                        Ok((snapshot, rebuilt)) => {
                            let is_candidate = !evidence.proven.iter().any(|proven| proven.digest == digest);
                            return Ok(Chosen { snapshot, found: described(found), rebuilt, is_candidate, lost });
                        }
                        Err(why) => why,
                    };
                    whole.failure().map_err(unreadable)?;
                    lost.push(format!("version {} ({} ms): {why}", found.version().0, found.time()));
                    let version = found.version();
                    at = Some(found.previous().digest).filter(|digest| evidence.commits.contains_key(digest));
                    if at.is_none() && version > Version(1) {
                        let segments = &self.pages.segments;
                        let named = found.fold().and_then(|frame| evidence.named_by(frame, version, segments));
                        at = self.over_gap(evidence, version, named, &mut lost);
                    }
                }
                None => {
                    let version = judgement.tip.map_or(Version(0), |tip| tip.version);
                    at = self.over_gap(evidence, version.next(), None, &mut lost);
                }
            }
        }
        if let Some(chosen) = self.version_0(evidence, &mut whole, &mut lost) {
            return Ok(chosen);
        }
        whole.failure().map_err(unreadable)?;
        Err(Error::corrupt("every version that was found", lost.join("; ")))
    }

    /// What is known to have come after the chosen commit.
    fn left_out(&self, evidence: &Evidence, judgement: &Judgement, digest: Digest) -> Vec<String> {
        let Some(tip) = &judgement.tip else { return Vec::new() };
        let chosen = evidence.commits.get(&digest).map_or(tip.version, |found| found.version());
        let newest = evidence.newest_known(tip);
        let why = match self.recovery.choose {
            Some(_) => "after the commit that was chosen",
            None => "told of by the head, and its commit frame is missing",
        };
        match newest.0.saturating_sub(chosen.0) {
            0 => Vec::new(),
            1 => vec![format!("version {}: {why}", newest.0)],
            _ => vec![format!("versions {} to {}: {why}", chosen.0 + 1, newest.0)],
        }
    }

    /// The chain is broken below `version`, because commit frames are missing: it goes on with the newest commit that is
    /// proven, or that the page map of a newer one names; or with the only candidate that stands on it.
    fn over_gap(
        &self,
        evidence: &Evidence,
        version: Version,
        named: Option<Digest>,
        lost: &mut Vec<String>,
    ) -> Option<Digest> {
        let next = evidence.newest_below(version, named).map(|proven| match &evidence.candidates_over(proven)[..] {
            [candidate] if candidate.version() < version => *candidate,
            _ => proven,
        });
        let next = next.or_else(|| match &evidence.candidates_over_first()[..] {
            [candidate] if candidate.version() < version => Some(*candidate),
            _ => None,
        });
        let found = next.map_or(0, |found| found.version().0);
        match version.0 - 1 - found {
            0 => {}
            1 => lost.push(format!("version {}: its commit frame is missing", version.0 - 1)),
            _ => lost.push(format!("versions {} to {}: their commit frames are missing", found + 1, version.0 - 1)),
        }
        next.map(|found| found.commit.digest)
    }

    fn try_version(
        &self,
        whole: &mut Whole<'_>,
        evidence: &Evidence,
        found: &FoundCommit,
    ) -> std::result::Result<(Snapshot, bool), String> {
        let now = self.storage.now();
        let why = match whole.check(evidence.head_of(found), now) {
            Ok(snapshot) => return Ok((snapshot, false)),
            Err(why) => why,
        };
        // What cannot be read now can perhaps be read later: nothing is built over an older base for that.
        if whole.has_failed() {
            return Err(why);
        }
        // Older bases, the newest first, and last none at all.
        let mut bases: Vec<Option<BaseRef>> = Vec::new();
        let own = evidence.head_of(found).base;
        for commit in evidence.chain(found.commit.digest).filter_map(FoundCommit::fold) {
            if commit.base != own && !bases.contains(&commit.base) {
                bases.push(commit.base);
            }
        }
        bases
            .into_iter()
            .find_map(|base| whole.rebuild(evidence, found, base, now)?.ok())
            .map(|snapshot| (snapshot, true))
            .ok_or(why)
    }

    /// Version 0, if it is the proven tip and the frame of version 1 tells what it was.
    fn version_0(&self, evidence: &Evidence, whole: &mut Whole<'_>, lost: &mut Vec<String>) -> Option<Chosen> {
        let mut folds = evidence.commits.values().filter_map(FoundCommit::fold);
        let head = first_head(folds.find(|frame| frame.version == Version(1))?)?;
        let commit = head.fold.id;
        let snapshot = whole.check(head, self.storage.now()).ok()?;
        let found = FoundVersion { version: 0, commit, time: 0, pages: u64::from(snapshot.page_count()) };
        Some(Chosen { snapshot, found, rebuilt: false, is_candidate: false, lost: std::mem::take(lost) })
    }
}
