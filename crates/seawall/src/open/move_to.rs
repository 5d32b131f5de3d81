//! Moving a database to another coordinator: `fs:` to a table, a table to `fs:`, or a table to another one.
//!
//! 1. Make sure that all of it may be done: rights here and there, and no head there that is in use.
//! 2. Write the new `id`, which names the other coordinator, as a draft, durably.
//! 3. Commit the state *moved* here: from now on no commit can succeed here, and whatever was asleep reads where the
//!    database is.
//! 4. Put a head of a new epoch there, whose home is the draft's. Nobody looks at it yet.
//! 5. Put the draft in the place of `id`. From now on openers use the coordinator there.
//!
//! Every step is either a compare-and-swap or an atomic rename, so that several moves at once are one: the head that is
//! put first says whose draft becomes `id`. A move that was cut short is finished by the next one. Or a recovery undoes
//! it: it removes the drafts after it sealed the head here, and without a draft no move goes on, however long it slept.

use crate::database::Database;
use crate::error::{Error, ErrorKind, Result};
use crate::format::head::{Head, State, Upkeep};
use crate::format::high::High;
use crate::format::identity::{self, Identity};
use crate::format::ids::{CommitId, DatabaseId, Epoch, Token};
use crate::mutation::mistake;
use crate::open::adopt::{legacy_names, must_be_canonical};
use crate::open::epoch::{Beginning, begin_epoch, share_epoch};
use crate::open::list::forget;
use crate::open::recover::{identity_of, random};
use crate::open::{beside, open_existing, storage_of};
use crate::options::{Access, Options};
use crate::ports::coordinator::kinds::coordinator_of;
use crate::ports::coordinator::{Coordinator, CoordinatorError, Known};
use crate::ports::storage::{File, Listed, Span, Storage};
use crate::read::checks::{check_database, check_state};
use crate::read::tip::PATIENCE;
use crate::upkeep::listing::list;
use crate::way_out::WayOut;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the last commit waits for the lease.
const PATIENCE_FOR_LEASE: Duration = Duration::from_secs(60);
/// How often a draft is made again that vanished while this process slept.
const DRAFTS: u32 = 3;

/// What a move found, and did or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The coordinator that the database had; the new one, if it was there already.
    pub from: String,
    /// The coordinator that it has now.
    pub to: String,
    /// The newest version that was found.
    pub newest: u64,
    /// The version that is the newest now; none if nothing was to be changed.
    pub version: Option<u64>,
}

/// Gives the database NAME another coordinator: `to` is its URL. This process must have no connection to the database;
/// those of others get an error that says where it is. If it is there already, only what an earlier move left is
/// finished. With `dry_run` it is only checked that it can be done.
///
/// `options` say how the database is reached now.
pub fn move_to(name: &Path, to: &str, dry_run: bool, options: &Options) -> Result<Moved> {
    let name = beside(name)?;
    forget(&name);
    move_on(storage_of(&name)?, &name, to, dry_run, options)
}

/// Moves the database on any storage, as [`move_to`] does.
pub fn move_on(storage: Arc<dyn Storage>, name: &Path, to: &str, dry_run: bool, options: &Options) -> Result<Moved> {
    let home = storage.home(File::Id).map_err(|error| Error::io("looking for id", error))?;
    let home = home.ok_or_else(|| {
        Error::NoDatabase(format!("{} is not a Seawall database. Nothing was changed", name.display()))
    })?;
    let id = storage.read(Span { file: File::Id, at: 0, length: identity::MAX_LENGTH });
    let identity = identity::parse(id.map_err(|error| Error::io("reading id", error))?).map_err(Error::damaged_id)?;
    let target = coordinator_of(to, identity.database, &storage)?;
    must_be_canonical(&target.name())?;
    let options = Options { upkeep: false, ..options.clone() };
    if identity.coordinator == target.name() {
        let options = Options { coordinator: to.to_owned(), ..options };
        let database = open_existing(name, storage.clone(), Access::ReadWrite, &options, home)?;
        // The process that put `id` there may have died before its name was durable.
        storage.sync_names().map_err(|error| Error::io("making id durable", error))?;
        let newest = database.newest_known().version().0;
        return Ok(Moved { from: target.name(), to: target.name(), newest, version: (!dry_run).then_some(newest) });
    }
    let options = Options { finishes: true, ..options };
    let source = open_existing(name, storage.clone(), Access::ReadWrite, &options, home)?;
    let run = Run { storage: &storage, name, source: &source, target: &*target, identity: &identity };
    let newest = source.newest_known().version().0;
    run.check()?;
    let version = if dry_run { None } else { Some(run.run()?) };
    Ok(Moved { from: identity.coordinator.clone(), to: target.name(), newest, version })
}

/// Makes it impossible that a move of `database` goes on, one that was cut short or is asleep: for a recovery, which
/// has just sealed the head. `known` is what `id` and the newest head said before that. A move needs a draft of `id`,
/// and makes it before it looks whether the database was fenced.
pub(super) fn stop_moves(
    storage: &Arc<dyn Storage>,
    database: DatabaseId,
    known: (Option<&Identity>, Option<&Head>),
    token: Token,
    epoch: Epoch,
) -> Result<()> {
    let drafts = drafts_of_id(&**storage, database)?;
    for (draft, _) in &drafts {
        mistake!(UndoKeepsDrafts, break);
        let file = File::Draft(*draft);
        storage.remove(file).map_err(|error| Error::io(format!("removing {file}"), error))?;
    }
    if let (Some(before), Some(now)) = (known.0, identity_of(&**storage)?)
        && before.coordinator != now.coordinator
    {
        return Err(Error::CannotOpen(format!(
            "a move of this database was finished meanwhile, and this recovery gave way. Its coordinator is {} now. Nothing of this recovery \
             counts",
            now.coordinator
        )));
    }
    let Some(State::Moved(url)) = known.1.map(|head| &head.state) else { return Ok(()) };
    let Ok(target) = coordinator_of(url, database, storage) else { return Ok(()) };
    // On `fs` what a move has put is below the names of the next one, which it does not hinder.
    if target.lease_ends_with_process() {
        return Ok(());
    }
    // Without its draft nobody will look at the head there. Closed, it does not hinder the next move, even when nothing
    // shows any more whose it was. If this process sleeps, the database may have come there before it goes on: the
    // request names what it has seen. A request of the move that comes later still is left for the next move, which
    // looks whose it is.
    if let Ok(seen) = target.load(&Known::Nothing, PATIENCE)
        && seen.state == State::Open
        && drafts.iter().any(|(_, home)| *home == seen.home)
    {
        let (epoch, generation) = (epoch.max(seen.epoch), seen.generation + 1);
        let closed = Head { epoch, generation, state: State::Recovering(token), ..seen.clone() };
        let _ = target.replace(&seen, &closed);
    }
    Ok(())
}

/// The drafts of `database`'s `id` that moves have made, with the home that each would be.
fn drafts_of_id(storage: &dyn Storage, database: DatabaseId) -> Result<Vec<(CommitId, u64)>> {
    let mut drafts = Vec::new();
    for file in list(storage, Listed::Folder)?.files {
        let File::Draft(draft) = file else { continue };
        let failed = |error| Error::io(format!("looking at {file}"), error);
        let bytes = match storage.read(Span { file, at: 0, length: identity::MAX_LENGTH }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(failed)?,
        };
        if identity::parse(bytes).is_ok_and(|identity| identity.database == database)
            && let Some(home) = storage.home(file).map_err(failed)?
        {
            drafts.push((draft, home));
        }
    }
    Ok(drafts)
}

struct Run<'a> {
    storage: &'a Arc<dyn Storage>,
    name: &'a Path,
    source: &'a Arc<Database>,
    target: &'a dyn Coordinator,
    identity: &'a Identity,
}

impl Run<'_> {
    /// Step 1.
    fn check(&self) -> Result<()> {
        self.source.may_write()?;
        self.check_source(self.source.newest_known().head())?;
        self.target.may_create().map_err(|error| self.cannot_have(&error))?;
        if let Some(there) = self.there().map_err(|error| self.cannot_have(&error))? {
            check_database(&there, self.identity.database)?;
            let last = self.source.newest_known();
            if there.state == State::Open
                && !self.is_arrival(&there, last.head())
                && !self.is_left_over(&there, last.head())
            {
                return Err(self.is_taken(&there));
            }
        }
        Ok(())
    }

    /// The database can leave, or is leaving in this very direction.
    fn check_source(&self, head: &Head) -> Result<()> {
        match &head.state {
            State::Moved(url) if *url == self.target.name() => Ok(()),
            State::Moved(url) => Err(Error::NeedsRecovery(format!(
                "a move of this database to {url} was cut short. Nothing was changed. Finish that first: {} {url} --yes; \
                 or undo it: {}, which says first what it would keep",
                WayOut::MOVE,
                WayOut::RECOVER
            ))),
            _ => check_state(head),
        }
    }

    /// The head there, if there is one.
    fn there(&self) -> Result<Option<Head>, CoordinatorError> {
        match self.target.load(&Known::Nothing, PATIENCE) {
            Ok(head) => Ok(Some(head)),
            Err(CoordinatorError::Lost(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `there` is what a move has put of the database whose last head here is `last`.
    fn is_arrival(&self, there: &Head, last: &Head) -> bool {
        last.state != State::Open && there.state == State::Open && there.epoch > last.epoch
    }

    /// Whether `there` is what a move of this folder has put there before a recovery undid it: its request came late,
    /// or the recovery was cut short. Nobody uses it, and this move puts its own head in its place. Another folder's
    /// head names a commit that is in that folder; but `fs` is in this very folder.
    fn is_left_over(&self, there: &Head, last: &Head) -> bool {
        let commit = || self.source.tip.pages.read_commit(&there.commit(), there.version);
        let is_here = || commit().is_ok_and(|frame| frame.home == there.home);
        there.state == State::Open && there.epoch <= last.epoch && (self.target.lease_ends_with_process() || is_here())
    }

    /// Steps 2 to 5. Answers the version that the database has there.
    fn run(&self) -> Result<u64> {
        self.storage.create_folders().map_err(|error| Error::io("making the database's folders", error))?;
        for name in legacy_names(self.name, &self.source.options.legacy_names) {
            let at_work = self.target.shut_out(&name).map_err(|error| self.cannot_have(&error))?;
            if let Some(holder) = at_work {
                return Err(Error::Busy { holder, waited: Duration::ZERO });
            }
        }
        self.pass_numbers()?;
        let (mut draft, mut home) = self.draft()?;
        // One that is left goes with a garbage collection.
        let discard = |draft| drop(self.storage.remove(File::Draft(draft)));
        let last = self.fence().inspect_err(|_| discard(draft))?;
        if self.storage.home(File::Draft(draft)).ok() == Some(None) {
            // This process slept, and a garbage collection took the draft away before the fence, or a recovery undid
            // it.
            (draft, home) = self.draft().map_err(|error| self.cut_short(&error))?;
            if self.last()?.state == State::Open {
                discard(draft);
                return Err(Error::CannotOpen(format!(
                    "the move to {} was undone meanwhile by a recovery. Nothing of it counts",
                    self.target.name()
                )));
            }
        }
        let there = self.arrive(&last, home).map_err(|error| self.cut_short(&error))?;
        self.put_id(&there).map_err(|error| self.cut_short(&error))?;
        if there.home != home {
            discard(draft);
        }
        Ok(there.version.0)
    }

    /// On `fs` the head is the name with the highest number. Where numbers are there that the history has not reached,
    /// because a recovery has gone back since the database left, commits without pages go past them first. Nothing is
    /// taken away there: a move that slept could take away what another one has put, and others have built on.
    fn pass_numbers(&self) -> Result<()> {
        if !self.target.lease_ends_with_process() {
            return Ok(());
        }
        let Some(there) = self.there().map_err(|error| self.cannot_have(&error))? else { return Ok(()) };
        let is_below = |head: &Head| head.state == State::Open && head.version < there.version;
        while is_below(self.source.newest_known().head()) {
            let next = |head: &Head| Ok(is_below(head).then_some(Upkeep::None));
            self.source.committer.commit_upkeep(PATIENCE_FOR_LEASE, next)?;
        }
        Ok(())
    }

    /// Step 2: the new `id`, and the home that it will be.
    fn draft(&self) -> Result<(CommitId, u64)> {
        let longest_record = self.target.try_longest_record().map_err(Error::nothing_written)? as u32;
        let identity = Identity { coordinator: self.target.name(), longest_record, ..self.identity.clone() };
        let mut tries = 0;
        loop {
            let draft = CommitId(random(&**self.storage)?);
            let file = File::Draft(draft);
            let failed = |error| Error::io(format!("writing {file}"), error);
            let written = self.storage.create(file).and_then(|mut made| made.append(identity.to_string().as_bytes()));
            match written.and_then(|()| self.storage.home(file)).map_err(failed)? {
                Some(home) => return Ok((draft, home)),
                // A collection took it, because this process slept for as long as history is kept.
                None if tries < DRAFTS => tries += 1,
                None => return Err(Error::corrupt(file, "it vanished")),
            }
        }
    }

    /// Step 3. Answers the last head here. It is looked at after the draft was made: a recovery that undoes the move
    /// seals the head first, and then removes all drafts.
    fn fence(&self) -> Result<Head> {
        let head = self.last()?;
        if head.state != State::Open {
            return self.made_durable(head);
        }
        mistake!(MovesWithoutFence, return Ok(Head { state: State::Moved(self.target.name()), ..head }));
        let state = Upkeep::State(State::Moved(self.target.name()));
        match self.source.committer.commit_upkeep(PATIENCE_FOR_LEASE, |_| Ok(Some(state.clone()))) {
            Ok(committed) => Ok(committed.expect("there was something to do").head.clone()),
            // Another move may have done it, or this very one, and its answer was lost.
            Err(error) => match self.last() {
                Ok(head) if head.state != State::Open => self.made_durable(head),
                _ if error.kind() == ErrorKind::OutcomeUnknown => Err(self.cut_short(&error)),
                _ => Err(error),
            },
        }
    }

    /// `head`, which another move has put here. Its name may not be durable yet. If a loss of power took it away after
    /// `id` was replaced, the database could be used here again.
    fn made_durable(&self, head: Head) -> Result<Head> {
        mistake!(FenceNotDurable, return Ok(head));
        self.source.tip.coordinator.make_durable().map_err(|error| self.cut_short(&Error::nothing_written(error)))?;
        Ok(head)
    }

    /// The newest head here.
    fn last(&self) -> Result<Head> {
        let head = self.source.tip.load_last(&self.source.newest_known(), PATIENCE)?;
        self.check_source(&head).map(|()| head)
    }

    /// Step 4. Answers the head there: this move's, or that of another one which was first.
    fn arrive(&self, last: &Head, home: u64) -> Result<Head> {
        let there = self.there().map_err(Error::nothing_written)?;
        if there.as_ref().is_some_and(|there| self.is_arrival(there, last)) {
            self.target.make_durable().map_err(Error::nothing_written)?;
            return Ok(there.expect("it was just looked at"));
        }
        let left_over = there.filter(|there| self.is_left_over(there, last));
        let pages = &self.source.tip.pages;
        let snapshot = pages.snapshot_of(last.clone(), None, self.storage.now())?;
        // On `fs` the generation is the version.
        let generation = if self.target.lease_ends_with_process() { last.version.0 } else { last.generation };
        let epoch = last.epoch.next();
        share_epoch(&**self.storage, epoch)?;
        let begin = Beginning { epoch, home, sweep: last.sweep, generation, floor: last.floor };
        let (_, head) = begin_epoch(&**self.storage, pages, snapshot, begin)?;
        let put = match &left_over {
            Some(left_over) => self.target.replace(left_over, &head),
            None => self.target.create(&head),
        };
        let there = put.map_err(Error::nothing_written)?;
        check_database(&there, self.identity.database)?;
        if self.is_arrival(&there, last) { Ok(there) } else { Err(self.is_taken(&there)) }
    }

    /// Step 5: the draft whose home `there` names becomes `id`.
    fn put_id(&self, there: &Head) -> Result<()> {
        let storage = &**self.storage;
        let failed = |error| Error::io("putting the new id in its place", error);
        let is_done = || storage.home(File::Id).map(|home| home == Some(there.home)).map_err(failed);
        if is_done()? {
            return storage.sync_names().map_err(failed);
        }
        let drafts = drafts_of_id(storage, self.identity.database)?;
        let put = match drafts.into_iter().find(|(_, home)| *home == there.home) {
            Some((draft, _)) => storage.put_id(draft),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match put {
            Ok(()) => {
                // It is a hint, and the next commit writes it.
                let _ = storage.write(File::High, 0, High::of(there, None).to_string().as_bytes());
                Ok(())
            }
            // Another move has put it there, or a repeated request met its own success.
            Err(_) if is_done()? => storage.sync_names().map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(match identity_of(storage)? {
                Some(now) if now.coordinator == self.identity.coordinator => self.is_taken(there),
                _ => Error::CannotOpen("another move of this database was finished meanwhile".into()),
            }),
            Err(error) => Err(failed(error)),
        }
    }

    fn cannot_have(&self, error: &CoordinatorError) -> Error {
        let to = self.target.name();
        match error {
            CoordinatorError::Unreachable(_) | CoordinatorError::Unclear(_) => {
                Error::Unreachable { cause: format!("{to}: {error}") }
            }
            CoordinatorError::Permission(_) => Error::Permission(format!("{to}: {error}")),
            _ => Error::CannotOpen(format!("{to} cannot have this database: {error}. Nothing was changed")),
        }
    }

    fn is_taken(&self, there: &Head) -> Error {
        Error::CannotOpen(format!(
            "{} already has an open head of this database: version {}, epoch {}, made for the folder whose home is {}. It was not changed. If \
             another folder uses that head, one of the two folders is a copy. Give the copy an id of its own: {}. If no folder uses it, it \
             was left by a move that was undone. Delete it by hand, and move again",
            self.target.name(),
            there.version.0,
            there.epoch.0,
            there.home,
            WayOut::ADOPT_NEW_ID
        ))
    }

    /// The error once the database cannot be used here any more.
    fn cut_short(&self, error: &Error) -> Error {
        Error::NeedsRecovery(format!(
            "the move to {} was cut short: {error}. What was committed is all there, and nobody can use the database until this is finished: \
             {} {} --yes; or undone: {}, which says first what it would keep",
            self.target.name(),
            WayOut::MOVE,
            self.target.name(),
            WayOut::RECOVER
        ))
    }
}
