//! What the names in `commits/` show: which version is the newest, and whether a name is still the file that it was
//! first. `docs/names-on-nfs.md` has the rules and their reasons.

mod search;

use self::search::last_named;
use crate::format::codec;
use crate::format::head::Head;
use crate::format::high::{High, Named};
use crate::format::ids::{CommitId, Epoch, Version};
use crate::mutation::mistake;
use crate::ports::coordinator::CoordinatorError;
use crate::ports::coordinator::fs::{COMMITS, NAMES_KEPT};
use crate::ports::storage::safely::is_unusable;
use crate::ports::storage::{FsOrder, Look, News, QUIESCED, Record, Stamp};
use crate::ports::sync::unpoisoned;
use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

/// This many names are remembered, which is more than the heads that a process may still ask about.
const REMEMBERED: usize = 64;
/// Two changes of the folder may look like one if no more than this lies between them, in nanoseconds of the server's
/// clock.
const AT_ONCE: i128 = 1_000_000;

/// The names, and what this process has seen of them.
pub(super) struct Names {
    storage: Arc<dyn FsOrder>,
    /// Which files the last names were when they were seen first. Each was noted at a time when it had certainly not
    /// been garbage-collected.
    seen: Mutex<VecDeque<(Seen, Stamp)>>,
    /// Why this process may not quiesce the folder, if its last attempt was refused.
    may_not_quiesce: Mutex<Option<String>>,
}

/// Of which head a name was the name. A recovery gives numbers to other commits, and its epoch to the commit that it
/// keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    epoch: Epoch,
    version: Version,
    commit: CommitId,
}

impl Seen {
    fn of(head: &Head) -> Seen {
        Seen { epoch: head.epoch, version: head.version, commit: head.commit().id }
    }
}

/// A look at `commits/` that failed. A look changes nothing. What its failure says about the *operation* depends on
/// whether a request was sent before. Therefore it does not become a [`CoordinatorError`] by itself, and the caller
/// must say which.
#[derive(Debug)]
pub(super) struct LookFailed(CoordinatorError);

impl LookFailed {
    /// The operation has sent nothing. If the kind of the error says so, it was certainly not carried out.
    pub(super) fn before_anything_was_sent(self) -> CoordinatorError {
        self.0
    }

    /// The operation has sent a request that may have been carried out. Therefore no failure of a later look is
    /// certain.
    pub(super) fn after_a_request(self) -> CoordinatorError {
        if self.0.is_certain() { CoordinatorError::Unclear(self.0.to_string()) } else { self.0 }
    }
}

/// What a search for the newest version found after the known one.
struct Found {
    /// `None` if there was nothing after it.
    newest: Option<(Head, Stamp)>,
    /// Whether this search shows that no reader can miss the newest version (the known one, if nothing was found).
    is_sure: bool,
    /// Whether there is certainly nothing newer. Otherwise the server may have been about to find a newer name.
    is_all: bool,
    /// Whether the folder was quiesced and had not changed since, when the search began.
    is_quiescent: bool,
}

impl Found {
    /// This one, and nothing after it. `before`: the name before it. `changed`: when the folder changed, as of before
    /// the search.
    fn new(newest: (Head, Stamp), before: Option<Stamp>, changed: Option<i128>) -> Found {
        let (is_sure, is_all) = (can_be_distinguished(changed, newest.1, before), shows_all(changed, newest.1));
        Found { newest: Some(newest), is_sure, is_all, is_quiescent: changed == Some(QUIESCED) }
    }
}

impl Names {
    pub(super) fn new(storage: Arc<dyn FsOrder>) -> Names {
        Names { storage, seen: Mutex::default(), may_not_quiesce: Mutex::default() }
    }

    /// The head of version 0, which was just put in place.
    pub(super) fn first(&self, version: Version) -> Result<Head, LookFailed> {
        let named =
            self.named(version)?.ok_or_else(|| LookFailed(CoordinatorError::Lost("commits/0 came and went".into())))?;
        Ok(self.seen_first(named))
    }

    /// Whether `next`, whose name this process just made, is the commit after `previous`. If so, every reader finds it
    /// from now on. A writer that slept may have made a name that was garbage-collected long ago. Then its predecessor
    /// is not the file that it was.
    pub(super) fn is_published(&self, next: &Head, previous: &Head) -> Result<bool, LookFailed> {
        let stamps = self.storage.stamps(&[next.version, previous.version], false).map_err(reading)?;
        let predecessor_is_still_there = || {
            mistake!(PublishUnchecked, return true);
            self.is_still(previous, stamps[1])
        };
        if !predecessor_is_still_there() {
            return Ok(false);
        }
        stamps[0].into_iter().for_each(|stamp| self.remember(next, stamp));
        if !stamps[0].is_some_and(|stamp| is_apart(stamp, stamps[1])) {
            self.quiesce(next)?;
        }
        Ok(true)
    }

    /// The head whose number comes after `previous`, if `previous`, looked up afterwards, is still the same file.
    /// Garbage collection removes the lowest numbers first. Therefore the later number was not removed either, and
    /// cannot have been made again.
    pub(super) fn successor(&self, previous: &Head) -> Result<Option<Head>, LookFailed> {
        let Some((head, _)) = self.named(previous.version.next())? else { return Ok(None) };
        let stamps = self.storage.stamps(&[previous.version], true).map_err(reading)?;
        Ok(self.is_still(previous, stamps[0]).then_some(head))
    }

    /// The newest head, for a reader that knows one.
    pub(super) fn newest_since(&self, known: &Head) -> Result<Head, LookFailed> {
        self.newest_about(known, None)
    }

    /// The newest head, for a reader that expects this version to be the newest.
    pub(super) fn newest_about(&self, known: &Head, expected: Option<Version>) -> Result<Head, LookFailed> {
        Ok(self.newer(known, expected)?.unwrap_or_else(|| known.clone()))
    }

    /// The newest head; `None` if the known one is the newest.
    pub(super) fn newer_than(&self, known: &Head) -> Result<Option<Head>, LookFailed> {
        self.newer(known, None)
    }

    fn newer(&self, known: &Head, expected: Option<Version>) -> Result<Option<Head>, LookFailed> {
        let mut found = expected.map_or(Ok(None), |expected| self.found_about(known, expected))?;
        if found.is_none() {
            let look = self.look(known)?;
            // On a local disk that is all, most often.
            if matches!(look.news, News::Nothing) && look.changed.is_none() && self.is_still(known, look.known) {
                return Ok(None);
            }
            found = self.found_after(known, look, expected)?;
        }
        let known = Cow::Borrowed(known);
        match found.map_or(Ok(None), |found| self.newest_after(known, found, false, expected))? {
            Some(Cow::Borrowed(_)) => Ok(None),
            Some(Cow::Owned(newer)) => Ok(Some(newer)),
            None => self.newest_listed().map(Some),
        }
    }

    /// The newest head, from a list of the folder. For a reader that knows none, or only one that was garbage-collected
    /// meanwhile.
    pub(super) fn newest_listed(&self) -> Result<Head, LookFailed> {
        let list = || self.storage.versions().map(BTreeSet::from_iter).map_err(reading);
        // Garbage collection can remove the number that was listed. Then there are newer ones.
        for _ in 0..100 {
            // One listing can miss a name that is there.
            let mut listed = list()?;
            if listed.is_empty() {
                listed = list()?;
            }
            let newest = listed.pop_last();
            let newest = newest.ok_or_else(|| LookFailed(CoordinatorError::Lost("commits/ is empty".into())))?;
            let Some(named) = self.named(newest)? else { continue };
            // The name that was read is the one that was listed if it was not garbage-collected in between. Garbage
            // collection leaves the newest names, so it was not if there are few newer ones now.
            let last = list()?.pop_last();
            let is_first = || {
                mistake!(OneListingIsEnough, return true);
                last.is_some_and(|last| newest <= last && last.0 <= newest.0 + NAMES_KEPT)
            };
            // A recovery takes the names away from the lowest upward, and then the folder. Between the two a late name
            // would be the only one there.
            let is_in_place = || {
                mistake!(ListsAnyFolder, return Ok(true));
                self.storage.is_in_place().map_err(reading)
            };
            if is_first() && is_in_place()? {
                self.quiesce(&named.0)?;
                let head = self.seen_first(named);
                if last == Some(newest) {
                    return Ok(head);
                }
                // There are newer ones, which may have been there when the first listing began.
                if let Some(newest) = self.newest_from(head, true)? {
                    return Ok(newest);
                }
            }
        }
        Err(LookFailed(CoordinatorError::Unreachable("commits/ changes faster than it can be listed".into())))
    }

    /// The newest head, from a hint, or `None` if the hint's name is no longer there. The name must be the very file
    /// that the hint's writer saw. That it exists, with the hinted record, and the name before it, too, proves nothing:
    /// both can have come back after they were garbage-collected.
    pub(super) fn newest_hinted(&self, hint: &High) -> Result<Option<Head>, LookFailed> {
        let version = hint.version;
        let Some(before) = version.previous() else { return Ok(None) };
        let look = self.storage.look(before).map_err(reading)?;
        let (hinted, comes_more) = match look.news {
            News::Nothing => return Ok(None),
            News::Next(record) => (Some(parse(record, version)?), false),
            News::Several(_) => (self.named(version)?, true),
        };
        let Some((hinted, stamp)) = hinted else { return Ok(None) };
        let is_good = || {
            mistake!(HintUnchecked, return true);
            mistake!(HintByNeighbour, return look.known.is_some() && hinted.commit().id == hint.commit);
            hinted.commit().id == hint.commit && hint.named.is_some() && named(stamp) == hint.named
        };
        if !is_good() {
            return Ok(None);
        }
        let hinted = self.seen_first((hinted, stamp));
        if comes_more {
            return self.newest_from(hinted, false);
        }
        if shows_all(look.changed, stamp) && can_be_distinguished(look.changed, stamp, look.known) {
            return Ok(Some(hinted));
        }
        self.quiesce(&hinted)?;
        self.newest_from(hinted, true)
    }

    /// The newest head from `known` on, which no reader can miss. `None` if `known` was garbage-collected.
    /// `was_quiesced`: the folder was quiesced since the caller began.
    fn newest_from(&self, known: Head, was_quiesced: bool) -> Result<Option<Head>, LookFailed> {
        let Some(found) = self.found_after(&known, self.look(&known)?, None)? else { return Ok(None) };
        Ok(self.newest_after(Cow::Owned(known), found, was_quiesced, None)?.map(Cow::into_owned))
    }

    /// The newest head newer than `known`, where `found` was found after that.
    fn newest_after<'a>(
        &self,
        mut known: Cow<'a, Head>,
        mut found: Found,
        mut was_quiesced: bool,
        expected: Option<Version>,
    ) -> Result<Option<Cow<'a, Head>>, LookFailed> {
        // Whether no reader can miss `known`. At first that is so, because this process made sure when it learned of
        // it.
        let mut is_sure = true;
        loop {
            match found.newest {
                Some(newest) => (known, is_sure) = (Cow::Owned(self.seen_first(newest)), found.is_sure),
                None => is_sure |= found.is_sure,
            }
            if is_sure && (found.is_all || was_quiesced) {
                return Ok(Some(known));
            }
            // If the folder is quiesced now and in the next search, it was quiesced after the newest name was made.
            if !found.is_quiescent {
                self.quiesce(&known)?;
                (is_sure, was_quiesced) = (true, true);
            }
            match self.found_after(&known, self.look(&known)?, expected)? {
                Some(again) => found = again,
                None => return Ok(None),
            }
        }
    }

    fn look(&self, known: &Head) -> Result<Look, LookFailed> {
        self.storage.look(known.version).map_err(reading)
    }

    /// One search for what came after `known`, which begins with `look`. `None` if `known` was garbage-collected,
    /// because then a missing name proves nothing.
    fn found_after(&self, known: &Head, look: Look, expected: Option<Version>) -> Result<Option<Found>, LookFailed> {
        let Look { news, known: known_is, changed } = look;
        if self.was_collected(known, known_is) {
            return Ok(None);
        }
        match news {
            News::Nothing => {
                let is_quiescent = changed == Some(QUIESCED);
                let is_all = known_is.is_none_or(|known| shows_all(changed, known));
                Ok(Some(Found { newest: None, is_sure: is_quiescent, is_all, is_quiescent }))
            }
            News::Next(record) => Ok(Some(Found::new(parse(record, known.version.next())?, known_is, changed))),
            News::Several(stamp) => {
                let newest =
                    last_named(&*self.storage, known.version.next().next(), Some(stamp), expected).map_err(reading)?;
                newest.map_or(Ok(None), |newest| self.found_at(known, newest, changed))
            }
        }
    }

    /// A search that begins about the version that is expected to be the newest. `None` if it finds nothing: then a
    /// look must tell.
    fn found_about(&self, known: &Head, expected: Version) -> Result<Option<Found>, LookFailed> {
        // A look finds the next two.
        if expected.0 <= known.version.0 + 2 {
            return Ok(None);
        }
        let changed = self.storage.look_at_folder().map_err(reading)?;
        let newest = last_named(&*self.storage, known.version, None, Some(expected)).map_err(reading)?;
        newest.map_or(Ok(None), |newest| self.found_at(known, newest, changed))
    }

    fn was_collected(&self, known: &Head, stamp: Option<Stamp>) -> bool {
        mistake!(GapIsEnd, return false);
        !self.is_still(known, stamp)
    }

    /// `newest`, which was there after `changed` was looked at. `None` if it or `known` was garbage-collected.
    fn found_at(
        &self,
        known: &Head,
        (newest, is): (Version, Stamp),
        changed: Option<i128>,
    ) -> Result<Option<Found>, LookFailed> {
        let (record, [before, known_is]) = self.storage.record_after(newest, known.version).map_err(reading)?;
        // If `known` was there after the newest name had been looked up, that one has never been garbage-collected
        // before. What was read is its record if it is still the same file.
        let newest = record.map(|record| parse(record, newest)).transpose()?;
        let newest = newest.filter(|(_, stamp)| is == *stamp && !self.was_collected(known, known_is));
        Ok(newest.map(|newest| Found::new(newest, before, changed)))
    }

    /// The head of `version`, and which file its name is. `None` if there is no such name.
    fn named(&self, version: Version) -> Result<Option<(Head, Stamp)>, LookFailed> {
        let record = self.storage.record(version).map_err(reading)?;
        record.map(|record| parse(record, version)).transpose()
    }

    fn seen_first(&self, (head, stamp): (Head, Stamp)) -> Head {
        self.remember(&head, stamp);
        head
    }

    /// Which file the name of `head` was when it was seen first.
    pub(super) fn first_seen(&self, head: &Head) -> Option<Named> {
        let (seen, of) = (unpoisoned(self.seen.lock()), Seen::of(head));
        seen.iter().rfind(|(seen, _)| *seen == of).and_then(|(_, stamp)| named(*stamp))
    }

    /// Remembers which file a name is. The caller has made sure that it is the first file of that name.
    fn remember(&self, head: &Head, stamp: Stamp) {
        let (mut seen, of) = (unpoisoned(self.seen.lock()), Seen::of(head));
        if seen.contains(&(of, stamp)) {
            return;
        }
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((of, stamp));
    }

    /// Whether the name of `head` is still the file that was seen first. If so, neither it nor a later name was
    /// garbage-collected.
    fn is_still(&self, head: &Head, stamp: Option<Stamp>) -> bool {
        let (mut seen, of) = (unpoisoned(self.seen.lock()), Seen::of(head));
        mistake!(KnownByVersion, {
            let same = seen.iter().rfind(|(seen, _)| seen.version == head.version);
            return stamp.is_some() && same.map(|(_, stamp)| *stamp) == stamp;
        });
        let place = seen.iter().rposition(|(seen, _)| *seen == of);
        let first = place.map(|place| seen[place].1);
        // A version that is asked about is forgotten last, because it may be the one that an unsettled commit follows.
        // Most often it is the last already.
        if let Some(place) = place.filter(|place| place + 1 < seen.len()) {
            let asked = seen.remove(place);
            seen.extend(asked);
        }
        mistake!(KnownByNumber, return stamp.is_some());
        stamp.is_some() && first == stamp
    }

    /// Quiesces the folder. If this process may not, what it finds may be stale until the folder changes again, which
    /// `status` reports.
    fn quiesce(&self, head: &Head) -> Result<(), LookFailed> {
        let refusal = match self.storage.quiesce(head.home) {
            Ok(()) => None,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                Some(error.to_string())
            }
            Err(error) => return Err(reading(error)),
        };
        *unpoisoned(self.may_not_quiesce.lock()) = refusal;
        Ok(())
    }

    /// What follows from not being permitted that, and what to do.
    pub(super) fn trouble(&self) -> Option<String> {
        let refusal = unpoisoned(self.may_not_quiesce.lock()).clone()?;
        Some(format!(
            "the modification time of NAME-seawall/commits cannot be set: {refusal}. A commit of another machine can be missed until the \
             next one. Run all that use the database as the user who owns that folder"
        ))
    }
}

fn named(stamp: Stamp) -> Option<Named> {
    Some(Named { inode: stamp.inode, changed: u64::try_from(stamp.changed).ok()? })
}

/// Whether the folder has not changed since `newest` was named. Otherwise something may have been named after it that
/// the server does not find yet, though its folder has changed already; and the client would remember that it is not
/// there.
fn shows_all(changed: Option<i128>, newest: Stamp) -> bool {
    mistake!(MissingBelieved, return true);
    changed.is_none_or(|changed| changed <= newest.changed + AT_ONCE)
}

/// Whether a reader that knows the version before `newest` can see by the folder's time that it has changed since.
fn can_be_distinguished(changed: Option<i128>, newest: Stamp, before: Option<Stamp>) -> bool {
    changed.is_none() || is_apart(newest, before)
}

fn is_apart(newest: Stamp, before: Option<Stamp>) -> bool {
    mistake!(SameTickTrusted, return true);
    before.is_some_and(|before| newest.changed > before.changed + AT_ONCE)
}

fn parse(Record { text, stamp }: Record, version: Version) -> Result<(Head, Stamp), LookFailed> {
    let malformed = |why: String| LookFailed(CoordinatorError::Malformed(format!("commits/{}: {why}", version.0)));
    let head: Head = text.parse().map_err(|why: codec::Malformed| malformed(why.to_string()))?;
    if head.version != version {
        return Err(malformed(format!("it says that it is version {}", head.version.0)));
    }
    Ok((head, stamp))
}

/// A failed read of `commits/`.
fn reading(error: io::Error) -> LookFailed {
    LookFailed(match error.kind() {
        io::ErrorKind::NotFound => CoordinatorError::Lost("commits/ is not there".into()),
        io::ErrorKind::InvalidData => CoordinatorError::Malformed(error.to_string()),
        io::ErrorKind::PermissionDenied => CoordinatorError::Permission(format!("{COMMITS}: {error}")),
        _ if is_unusable(&error) => CoordinatorError::Unusable(error.to_string()),
        _ => CoordinatorError::Unreachable(format!("{COMMITS}: {error}")),
    })
}
