//! Checkpoints: the newest version becomes a base, so that the log before it can go once history is over; and NAME
//! becomes a copy of it.
//!
//! 1. Pin the version. Its pin also protects the drafts from garbage collection.
//! 2. Copy it to a draft of the base, its checksums, and a draft of NAME. Commits go on meanwhile.
//! 3. Make them durable, and give base and checksums their names by link(). A base's name is never used twice.
//! 4. Commit no pages of its own and the new base, under the lease, if the pin is still there and no newer base came
//!    first. This commit is a fold: what entries in the head have changed since is in it, and not missing in the base.
//! 5. Put the draft of NAME in the place of NAME.
//!
//! Two checkpoints at once are harmless: the later one to commit finds a base that is as new or newer, and removes its
//! own. A crash at any point leaves drafts or a base that no head names, which garbage collection takes away once the
//! pin is over.

use super::copy::{For, copy};
use super::held::PinHeld;
use crate::error::{Error, Result};
use crate::format::head::{BaseRef, Upkeep};
use crate::format::ids::{BaseName, PinName, Token, Version};
use crate::format::keep::Keeper;
use crate::format::sqlite_header::{self, HEADER, NameState};
use crate::mutation::mistake;
use crate::options::Freshness;
use crate::ports::storage::{Bulk, File, Span, Storage};
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use crate::write::committer::Committer;
use std::sync::Arc;
use std::time::Duration;

/// How long the commit of a checkpoint waits for the lease.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a checkpoint did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The version that the new base holds.
    pub version: u64,
    /// Its pages.
    pub pages: u32,
    /// Its bytes.
    pub bytes: u64,
    /// Why NAME was not renewed, if it was not. The base is there all the same.
    pub name_not_renewed: Option<String>,
}

/// Called with the pages that were copied, and how many there are; an error ends the checkpoint, which then leaves
/// nothing.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

impl Committer {
    pub(crate) fn checkpoint(self: &Arc<Self>, progress: Progress<'_>) -> Result<Option<Checkpoint>> {
        let snapshot = self.snapshot(Freshness::Transaction, PATIENCE)?;
        let token = Token(self.tip.random()?);
        let Some(base) = base_of(&snapshot, token) else { return Ok(None) };
        let pin = PinHeld::new(&self.tip, pin_of(token), Keeper::Checkpoint, &snapshot)?;
        let mut drafts = Drafts { storage: &*self.tip.storage, base: base.name, token, linked: Vec::new() };
        let written = drafts.write(&self.tip, &snapshot, &pin, progress).and_then(|()| drafts.link());
        written.map_err(|error| pin.or_given_up(error))?;
        let committed = self.commit_upkeep(PATIENCE, |head| {
            mistake!(OlderBaseWins, return Ok(Some(Upkeep::Base(base))));
            // A recovery can have given this version's number to another one.
            let is_of_epoch = || {
                mistake!(UpkeepOverRecovery, return true);
                head.epoch == base.name.epoch
            };
            if !is_of_epoch() {
                return Ok(None);
            }
            let is_newest = head.base.is_none_or(|newest| newest.name.order() < base.name.order());
            mistake!(AbandonedPublishes, return Ok(is_newest.then_some(Upkeep::Base(base))));
            // Garbage collection takes an abandoned pin away before it takes what the pin protects.
            Ok((is_newest && pin.is_there()?).then_some(Upkeep::Base(base)))
        });
        match committed {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => {
                // Whether a head names the base is not known: garbage collection decides, once it is.
                if matches!(error, Error::OutcomeUnknown { .. } | Error::OutcomeUnknowable { .. }) {
                    drafts.linked.clear();
                }
                return Err(error);
            }
        }
        drafts.linked.clear();
        let name_not_renewed = drafts.put_name().err().map(|error| error.to_string());
        self.chores.report(name_not_renewed.clone().map_or(Ok(()), |why| Err(format!("renewing NAME: {why}"))));
        let bytes = u64::from(base.page_count) * base.page_size.bytes() as u64;
        Ok(Some(Checkpoint { version: base.name.version.0, pages: base.page_count, bytes, name_not_renewed }))
    }
}

/// The base that the checkpoint `token` makes of `snapshot`; `None` if that has nothing that its base lacks. No other
/// checkpoint has a base of that name: one that failed may remove its base late, and clients remember that it is gone.
fn base_of(snapshot: &Snapshot, token: Token) -> Option<BaseRef> {
    let head = &snapshot.head;
    let page_size = snapshot.page_size()?;
    // Only the commit that raised it has come since the base: it carries pages which the base has.
    let is_raised = |base: BaseRef| base.name.version > Version(0) && base.name.version.next() == head.version;
    if head.base.is_some_and(is_raised) {
        return None;
    }
    let changed = snapshot.map.iter().any(|(_, entry)| Some(entry.version()) > head.base.map(|base| base.name.version));
    let changed = changed || !head.window.entries().is_empty();
    if !changed && head.base.is_some_and(|base| base.page_count == snapshot.page_count()) || snapshot.page_count() == 0
    {
        return None;
    }
    let id = || {
        mistake!(BaseShared, return &head.fold.id.0[..4]);
        &token.0[..4]
    };
    let name = BaseName { epoch: head.epoch, version: head.version, id: id().try_into().expect("it has four bytes") };
    Some(BaseRef { name, page_size, page_count: snapshot.page_count(), log: snapshot.trail.log })
}

/// The pin of the checkpoint that `token` names. It protects the drafts of that name, too.
pub(crate) fn pin_of(token: Token) -> PinName {
    format!("checkpoint-{token}").parse().expect("it is a pin's name")
}

/// What a checkpoint has written; it goes when this is dropped.
struct Drafts<'a> {
    storage: &'a dyn Storage,
    base: BaseName,
    token: Token,
    /// What has its name already, and no head names.
    linked: Vec<File>,
}

impl Drafts<'_> {
    fn files(&self) -> [File; 3] {
        [File::BaseDraft(self.base, self.token), File::SumsDraft(self.base, self.token), File::NameDraft(self.token)]
    }

    fn write(&self, tip: &Tip, snapshot: &Snapshot, pin: &PinHeld<'_>, progress: Progress<'_>) -> Result<()> {
        let [base, sums, name] = self.files();
        let total = u64::from(snapshot.page_count());
        let size = total * snapshot.page_size().map_or(0, |size| size.bytes() as u64);
        let failed = |file: File, error| Error::io(format!("writing {file}"), error);
        let create = |file| tip.storage.create_long(file).map_err(|error| failed(file, error));
        let mut write = || {
            let mut targets: Vec<Box<dyn Bulk>> = vec![create(base)?, create(name)?];
            let written = copy(&tip.pages, snapshot, For::Reading, &mut targets, &mut |copied| {
                pin.renew()?;
                progress(copied, total)
            })?;
            let mut long = create(sums)?;
            long.write(0, &written).map_err(|error| failed(sums, error))?;
            targets.push(long);
            mistake!(BaseNotDurable, return Ok(()));
            let mut targets = targets.into_iter().zip([base, name, sums]);
            targets.try_for_each(|(target, file)| target.finish().map_err(|error| failed(file, error)))
        };
        write().map_err(|error| match error {
            Error::Full(why) => {
                Error::Full(format!("{why}. It needs {size} bytes twice: for the base, and for the new NAME"))
            }
            error => error,
        })
    }

    /// Names the checksums first: where a base is, its checksums are. A name that exists is that of an earlier attempt
    /// whose answer was lost.
    fn link(&mut self) -> Result<()> {
        let [base, sums, _] = self.files();
        for (draft, file) in [(sums, File::Sums(self.base)), (base, File::Base(self.base))] {
            match self.storage.link(draft, file) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(|error| Error::io(format!("naming {file}"), error))?,
            }
            self.linked.push(file);
        }
        Ok(())
    }

    /// NAME is replaced only while it is the protected copy that Seawall left there: what somebody else has put there
    /// stays.
    fn put_name(&self) -> Result<()> {
        let header = self.storage.read(Span { file: File::Name, at: 0, length: HEADER });
        let header = header.map_err(|error| Error::io("reading NAME", error))?;
        if sqlite_header::state_of(&header) != NameState::Protected {
            return Err(Error::CannotOpen("NAME was touched from outside, and was left as it is".into()));
        }
        self.storage.put_name(self.token).map_err(|error| Error::io("putting the new copy in the place of NAME", error))
    }
}

impl Drop for Drafts<'_> {
    fn drop(&mut self) {
        // What cannot be removed now goes with a garbage collection. The base goes before its checksums.
        for file in self.linked.iter().rev().copied().chain(self.files()) {
            let _ = self.storage.remove(file);
        }
    }
}

/// The bytes of the log since the base, and those of the base.
pub(crate) fn log_and_base(snapshot: &Snapshot) -> (u64, u64) {
    let base = snapshot.head.base;
    let bytes_of = |base: BaseRef| u64::from(base.page_count) * base.page_size.bytes() as u64;
    (snapshot.trail.log.saturating_sub(base.map_or(0, |base| base.log)), base.map_or(0, bytes_of))
}
