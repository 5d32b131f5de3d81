//! Recovery: a head is made again from what the files prove.
//!
//! 1. Look, without changing anything: what the segments say, and what the coordinator knows. That is all that a dry
//!    run does.
//! 2. *Seal* the head, in an epoch above all that were found: no request that is still on its way can take place any
//!    more.
//! 3. Look again. The *proven tip* is the newest commit that some writer knew to be in the history. A *candidate*
//!    stands directly on it; its writer may have acknowledged it.
//! 4. Choose: the only candidate, or the tip. The operator chooses where there are several candidates, or two
//!    histories.
//! 5. Check that the chosen version is *whole*: every page of it can be read. If it is not, rebuild it over an older
//!    base; or take the newest earlier version that is whole.
//! 6. Commit no pages over it in the new epoch, so that a second recovery cannot undo this one, and put the head that
//!    names this commit in the place of the seal.
//!
//! A recovery that was cut short at any point is finished by the next one.

mod conclude;
mod decide;
mod judge;
mod scan;
mod whole;

use self::judge::{Evidence, FoundCommit};
use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::entry::Segments;
use crate::format::head::State;
use crate::format::high::{self, High};
use crate::format::identity::{self, Identity};
use crate::format::ids::{BaseName, CommitId, DatabaseId, Epoch, Token, Version};
use crate::mutation::mistake;
use crate::open::epoch::take_epoch;
use crate::open::list::forget;
use crate::open::move_to::stop_moves;
use crate::open::{beside, storage_of};
use crate::ports::coordinator::Coordinator;
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::storage::{File, Listed, Span, Storage};
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::upkeep::listing::list;
use crate::upkeep::text_of;
use crate::way_out::WayOut;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How to recover.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The coordinator's URL, where `id` is gone, or where it is to be reached in another way.
    pub coordinator: Option<String>,
    /// The commit to recover to, where the operator has to choose.
    pub choose: Option<CommitId>,
    /// Whether this folder is to be the database's home though it is a copy: the folder that it was copied from is gone
    /// for good.
    pub take_over_home: bool,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// A version that a recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundVersion {
    /// Its number.
    pub version: u64,
    /// Its commit's id.
    pub commit: CommitId,
    /// Its time, in milliseconds since 1970.
    pub time: u64,
    /// How many pages it changed.
    pub pages: u64,
}

/// What a recovery found, and did or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The database.
    pub database: DatabaseId,
    /// What the coordinator knows: nothing, if the head is lost.
    pub head: Option<u64>,
    /// The newest version that is proven.
    pub proven: u64,
    /// The versions on it whose outcome was never learned.
    pub candidates: Vec<FoundVersion>,
    /// The version that is kept, with all before it.
    pub kept: FoundVersion,
    /// Whether the outcome of the kept one was never learned: its writer may not have acknowledged it.
    pub never_learned: bool,
    /// Whether it stands on an older base than before, because the newest was damaged.
    pub rebuilt: bool,
    /// Versions that cannot be kept, because something of them is missing or damaged, or that the operator's choice
    /// leaves out: which, and why.
    pub lost: Vec<String>,
    /// Whether the newest commit that the head names is the kept one, or in the history of it.
    pub keeps_head: bool,
    /// The version that the recovery itself is; none in a dry run.
    pub version: Option<u64>,
}

/// Makes the head of the database NAME again, from its files. Stop all programs that use it first: what they send
/// meanwhile fails, and says so, but what they read may be undone.
pub fn recover(name: &Path, recovery: &Recovery) -> Result<Recovered> {
    let name = beside(name)?;
    forget(&name);
    let storage = storage_of(&name)?;
    recover_on(storage, recovery)
}

/// Recovers the database on any storage, as [`recover`] does.
pub fn recover_on(storage: Arc<dyn Storage>, recovery: &Recovery) -> Result<Recovered> {
    with_run(&storage, recovery, |run| run.run())
}

/// The newest version that the segments prove, and the newest one that the heads name, if there is any. Changes
/// nothing.
pub(super) fn proven_and_named(storage: &Arc<dyn Storage>, coordinator: &str) -> Result<(u64, Option<u64>)> {
    let recovery = Recovery { dry_run: true, coordinator: Some(coordinator.to_owned()), ..Recovery::default() };
    with_run(storage, &recovery, |run| {
        // The heads are asked for after the segments were read.
        let evidence = run.look()?;
        let tip = evidence.judge().tip;
        let named = evidence.newest_named(tip.as_ref());
        Ok((tip.map_or(0, |tip| tip.version.0), named.map(|version| version.0)))
    })
}

fn with_run<T>(storage: &Arc<dyn Storage>, recovery: &Recovery, work: impl FnOnce(&Run<'_>) -> Result<T>) -> Result<T> {
    let identity = identity_of(&**storage)?;
    let segments = Segments::default();
    let of_id = identity.as_ref().map(|id| id.database);
    let found = scan::scan(&**storage, &segments, of_id, &mut Evidence::default())?;
    let database = match (found, of_id) {
        (Some(database), _) => database,
        (None, Some(of_id)) => return Err(another_there(&**storage, of_id)?),
        (None, None) => return Err(nothing_there(&**storage)),
    };
    let url = recovery.coordinator.clone().or(identity.as_ref().map(|id| id.coordinator.clone()));
    let url = url.ok_or_else(|| {
        Error::CannotOpen(
            "id is missing or damaged, which names the coordinator. Nothing was changed. Name it, as the programs do that use the database: \
             --coordinator fs: or --coordinator dynamodb://TABLE?region=REGION"
                .into(),
        )
    })?;
    let coordinator = coordinator_of(&url, database, storage)?;
    if let Some(identity) = identity.as_ref().filter(|identity| identity.coordinator != coordinator.name()) {
        return Err(Error::CannotOpen(format!(
            "this database is ordered by {}, and {url} was asked for. Nothing was changed",
            identity.coordinator
        )));
    }
    let pages = Pages::new(storage.clone(), database, 1 << 20);
    let run =
        Run { storage, coordinator: &*coordinator, pages: &pages, database, identity: identity.as_ref(), recovery };
    work(&run)
}

/// The error where `id` names a database, and the segments have no commit of it.
fn another_there(storage: &dyn Storage, of_id: DatabaseId) -> Result<Error> {
    let other = scan::scan(storage, &Segments::default(), None, &mut Evidence::default())?;
    Ok(other.map_or_else(
        || nothing_there(storage),
        |other| {
            Error::CannotOpen(format!(
                "NAME-seawall/id is of database {of_id}, and the commits in NAME-seawall/segments are of database {other}: they do not belong \
                 together. Nothing was changed. Bring back the id that belongs to the commits; or move the one that is there away, and recover \
                 with --coordinator, which makes id again"
            ))
        },
    ))
}

/// The error where there is no commit at all.
fn nothing_there(storage: &dyn Storage) -> Error {
    let bases = list(storage, Listed::Bases).map(|bases| bases.files).unwrap_or_default();
    let names = bases.iter().filter_map(|file| if let File::Base(name) = file { Some(*name) } else { None });
    let way = match names.max_by_key(BaseName::order) {
        Some(name) if name.version > Version(0) => format!(
            "If the segments can be brought back, do that. Otherwise the newest version that is left is {}, version {}: move NAME-seawall \
             aside, copy that file to NAME, and run {}",
            File::Base(name),
            name.version.0,
            WayOut::ADOPT
        ),
        _ => "If nothing was ever committed, NAME is all that there was: move NAME-seawall aside, and open NAME again"
            .into(),
    };
    Error::CannotOpen(format!(
        "there is no commit in NAME-seawall/segments, so there is nothing to recover. Nothing was changed. {way}"
    ))
}

/// The room that a recovery takes before it seals the head.
const RESERVE: usize = bound(1 << 20, 1 << 10);

/// The error once the head is sealed.
fn sealed(error: Error) -> Error {
    match error {
        // Another recovery goes on.
        Error::CannotOpen(_) => error,
        error => Error::NeedsRecovery(format!(
            "{error}. The head is sealed, so nobody can use the database until it is recovered; nothing is lost. Recover again: {}",
            WayOut::RECOVER
        )),
    }
}

fn gave_way() -> Error {
    Error::CannotOpen(
        "another recovery of this database began meanwhile, and this one gave way. Nothing of it counts. Look what the other one did".into(),
    )
}

/// A file is there, and cannot be read now. Perhaps it can be later: no version is given up for that.
fn unreadable(error: Error) -> Error {
    match error {
        Error::Io { what, cause } => {
            let way =
                "the file is there; recover again, or, if it can never be read, move it away: then it counts as lost";
            Error::Io { what: format!("{what} ({way})"), cause }
        }
        error => error,
    }
}

/// What `id` says; none if it is not there. A damaged one is like one that is not there, for the segments say whose
/// they are.
pub(super) fn identity_of(storage: &dyn Storage) -> Result<Option<Identity>> {
    // A client can remember that there was none.
    storage.inode(File::Id).map_err(|error| Error::io("looking for id", error))?;
    match storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH }) {
        Ok(bytes) => Ok(identity::parse(bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading id", error)),
    }
}

struct Run<'a> {
    storage: &'a Arc<dyn Storage>,
    coordinator: &'a dyn Coordinator,
    pages: &'a Pages,
    database: DatabaseId,
    identity: Option<&'a Identity>,
    recovery: &'a Recovery,
}

/// A version that was chosen, and is whole.
struct Chosen {
    snapshot: Snapshot,
    found: FoundVersion,
    rebuilt: bool,
    /// Nothing proves it.
    is_candidate: bool,
    lost: Vec<String>,
}

impl Run<'_> {
    fn run(&self) -> Result<Recovered> {
        // If another recovery has made `id` meanwhile, that is the home of this folder.
        let is_mine = self.recovery.take_over_home;
        match self.attempt(is_mine)? {
            Some(recovered) => Ok(recovered),
            None => self.attempt(true)?.ok_or_else(gave_way),
        }
    }

    /// One recovery. `None`: its head is in place, but another recovery has made another `id` than this one.
    fn attempt(&self, may_take_over: bool) -> Result<Option<Recovered>> {
        let evidence = self.look()?;
        if !may_take_over {
            self.check_home(&evidence, self.home()?)?;
        }
        if self.recovery.dry_run {
            return self.decide(&evidence).map(|(recovered, _)| Some(recovered));
        }
        // Nothing is sealed that cannot be recovered.
        let head = self.decide(&evidence)?.0.head;
        let token = Token(random(&**self.storage)?);
        let epoch = evidence.highest_epoch().next();
        mistake!(RecoversWithoutSeal, {
            let (recovered, chosen) = self.decide(&evidence)?;
            return self.conclude(token, epoch, &evidence, recovered, chosen);
        });
        let reserve = self.reserve()?;
        self.coordinator.seal(token, epoch).map_err(Error::nothing_written)?;
        self.under_seal(token, epoch, evidence, head, reserve).map_err(sealed)
    }

    /// What follows once the head is sealed.
    fn under_seal(
        &self,
        token: Token,
        epoch: Epoch,
        mut evidence: Evidence,
        head: Option<u64>,
        reserve: File,
    ) -> Result<Option<Recovered>> {
        let newest = evidence.heads.iter().max_by_key(|head| head.order());
        stop_moves(self.storage, self.database, (self.identity, newest), token, epoch)?;
        // What arrived before the seal counts as well.
        evidence = self.look()?;
        // From here on there is room. If it cannot be removed, a garbage collection does.
        let _ = self.storage.remove(reserve);
        // Of two recoveries the one that sealed the head last goes on. It takes its epoch after it has taken the seal
        // of the other one away. The other one has taken its epoch before that, or finds that its seal is gone. So the
        // last one's epoch is the newer one.
        let epoch = self.new_epoch(&evidence, token, epoch)?;
        self.check_seal(token)?;
        let (recovered, chosen) = self.decide(&evidence)?;
        // The seal is a head, too.
        let recovered = Recovered { head, ..recovered };
        self.conclude(token, epoch, &evidence, recovered, chosen)
    }

    /// Takes the room that the recovery will need, because nobody can use the database between the seal and its end.
    fn reserve(&self) -> Result<File> {
        let file = File::Draft(CommitId(random(&**self.storage)?));
        let taken = self.storage.create(file).and_then(|mut made| made.append(&[0; RESERVE]));
        taken.map(|()| file).map_err(|error| {
            let _ = self.storage.remove(file);
            Error::io(
                format!("making {file}, {RESERVE} bytes, so that there is room to work. Nothing was changed"),
                error,
            )
        })
    }

    /// If another recovery has sealed the head since, its commit can be in what was found. A commit in a newer epoch
    /// than that one would prove this recovery's choice, which never became the head, to all later recoveries.
    fn check_seal(&self, token: Token) -> Result<()> {
        mistake!(GoesOnWithoutSeal, return Ok(()));
        if self.coordinator.is_sealed(token).map_err(Error::nothing_written)? { Ok(()) } else { Err(gave_way()) }
    }

    /// The epoch of the recovery's commit: above all others, and not below that of its seal. Another recovery may have
    /// been done since `planned` was chosen.
    fn new_epoch(&self, evidence: &Evidence, token: Token, planned: Epoch) -> Result<Epoch> {
        mistake!(RecoversWithSameEpoch, return Ok(evidence.highest_epoch()));
        let mine = State::Recovering(token);
        let heads = || evidence.heads.iter();
        let sealed = heads().filter(|head| head.state == mine).map(|head| head.epoch);
        let others = heads().filter(|head| head.state != mine).map(|head| head.epoch);
        let of_commits = evidence.commits.values().map(FoundCommit::epoch);
        let above = others.chain(of_commits).chain([evidence.noted]).map(Epoch::next);
        take_epoch(&**self.storage, sealed.chain(above).chain([planned]).max().unwrap_or(planned))
    }

    fn look(&self) -> Result<Evidence> {
        let mut evidence = Evidence::default();
        scan::scan(&**self.storage, &self.pages.segments, Some(self.database), &mut evidence)?;
        let heads = self.coordinator.evidence().map_err(Error::nothing_written)?;
        evidence.noted = self.noted_epoch()?;
        evidence.heads = heads.into_iter().filter(|head| head.database == self.database).collect();
        for head in evidence.heads.clone().iter().filter(|head| head.state == State::Open) {
            evidence.found_head(head);
        }
        Ok(evidence)
    }

    /// The highest epoch that notes tell of. The commits of that epoch can be lost, and processes may know them.
    fn noted_epoch(&self) -> Result<Epoch> {
        // A client can remember that there was none.
        self.storage.stamp(File::High).map_err(|error| Error::io("looking at high", error))?;
        let high = text_of(&**self.storage, File::High, high::LENGTH)?.and_then(|text| text.parse::<High>().ok());
        let of_high = high.filter(|high| high.database == self.database).map(|high| high.epoch);
        let files = list(&**self.storage, Listed::Folder)?.files.into_iter();
        let of_names = files.filter_map(|file| match file {
            File::Epoch(epoch) | File::Milestone(epoch, _) => Some(epoch),
            _ => None,
        });
        Ok(of_names.chain(of_high).max().unwrap_or_default())
    }

    /// This folder's home; `None` if there is no `id` that can be read.
    fn home(&self) -> Result<Option<u64>> {
        if identity_of(&**self.storage)?.is_none() {
            return Ok(None);
        }
        self.storage.home(File::Id).map_err(|error| Error::io("looking for id", error))
    }

    /// A copy must not take the database over from its original, unless the operator says that this is gone.
    fn check_home(&self, evidence: &Evidence, home: Option<u64>) -> Result<()> {
        let newest = evidence.heads.iter().filter(|head| head.home != 0).max_by_key(|head| head.order());
        let theirs = newest.map(|head| head.home).or_else(|| {
            evidence
                .commits
                .values()
                .max_by_key(|found| (found.epoch(), found.version()))
                .map(|found| evidence.head_of(found).home)
        });
        match (home, theirs) {
            (Some(home), Some(theirs)) if home != theirs => Err(Error::CannotOpen(format!(
                "this folder is a copy: database {} lives in another one (its home is {theirs}, this is {home}). Nothing was changed. If that \
                 one is gone for good, this can take its place: recover with --take-over-home. While both are used, they would have one head",
                self.database
            ))),
            _ => Ok(()),
        }
    }
}

fn described(found: &FoundCommit) -> FoundVersion {
    FoundVersion { version: found.version().0, commit: found.commit.id, time: found.time(), pages: found.pages() }
}

pub(super) fn random<const N: usize>(storage: &dyn Storage) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    storage.random(&mut bytes).map_err(|error| Error::io("asking for randomness", error))?;
    Ok(bytes)
}
