//! What a program asks of a database that is to live for years.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::head::Floor;
use crate::format::ids::{PinName, Token};
use crate::format::keep::Keeper;
use crate::format::policy::Policy;
use crate::options::Freshness;
use crate::ports::storage::File;
use crate::read::checks::check_database;
use crate::read::history::At;
use crate::read::snapshot::Snapshot;
use crate::read::tip::{FORKED, PATIENCE};
use crate::upkeep::checkpoint::{Checkpoint, Progress, log_and_base};
use crate::upkeep::collect::{Collected, Collecting};
use crate::upkeep::held::PinHeld;
use crate::upkeep::overview::Overview;
use crate::upkeep::pins::{self, Pinned};
use crate::upkeep::policy;
use crate::upkeep::verify::{Verified, Verifying, verify};
use std::sync::Arc;
use std::time::Duration;

impl Database {
    /// Makes the newest version a base, so that the log before it can be deleted once history is over. `None`: there is
    /// nothing to do, because nothing was committed since the base, or another checkpoint was first. Readers and
    /// writers go on meanwhile; only the commit that names the base takes the lease.
    pub fn checkpoint(&self, progress: Progress<'_>) -> Result<Option<Checkpoint>> {
        self.check_upkeep()?;
        self.committer.checkpoint(progress)
    }

    /// Whether a checkpoint is due: the log since the base is longer than the base, and than the policy says.
    pub fn checkpoint_is_due(&self) -> Result<bool> {
        let snapshot = self.snapshot(Freshness::Transaction)?;
        let (log, base) = log_and_base(&snapshot);
        Ok(log > base.max(self.policy()?.checkpoint_at))
    }

    /// Deletes what neither the newest version needs, nor any inside history, nor a pin. A dry run needs no right to
    /// write.
    pub fn collect(&self, collecting: Collecting) -> Result<Collected> {
        if !collecting.dry_run {
            self.check_upkeep()?;
        }
        self.committer.collect(collecting)
    }

    /// How this database is kept, for people. It changes nothing. It lists the folder and looks at each file, so it
    /// costs more than [`Database::status`].
    pub fn overview(&self) -> Result<Overview> {
        self.committer.overview()
    }

    /// The oldest version that would be promised under `policy`, if garbage were collected now.
    pub fn floor_under(&self, policy: &Policy) -> Result<Floor> {
        self.committer.floor_under(policy)
    }

    /// How long this database's history is kept, and when a checkpoint is due.
    pub fn policy(&self) -> Result<Policy> {
        policy::policy(&*self.tip.storage)
    }

    /// Sets the policy, for all machines. History is at least 15 min.
    pub fn set_policy(&self, policy: &Policy) -> Result<()> {
        self.check_upkeep()?;
        policy::set_policy(&*self.tip.storage, policy)
    }

    /// Keeps the newest version under `name`, for `length`, although it becomes older than history. A pin of that name
    /// is replaced.
    pub fn pin(&self, name: PinName, length: Duration) -> Result<Pinned> {
        self.check_upkeep()?;
        let snapshot = self.snapshot(Freshness::Transaction)?;
        pins::write(&self.tip, name, Keeper::Person, length, &snapshot)?;
        let pinned = self.pins()?.into_iter().find(|pinned| pinned.name == name);
        pinned.ok_or_else(|| Error::corrupt(File::Pin(name), "it vanished"))
    }

    /// Keeps an older version, which is still inside history, under `name`, for `length`.
    pub fn pin_at(&self, name: PinName, at: At, length: Duration) -> Result<Pinned> {
        self.check_upkeep()?;
        let snapshot = self.version_at(at)?;
        pins::write(&self.tip, name, Keeper::Person, length, &snapshot)?;
        // A collection that gives the version up later looks for pins once more after that. One that gave it up before
        // may not have seen this pin.
        if let Err(error) = self.version_at(At::Version(snapshot.version())) {
            pins::remove(&*self.tip.storage, name)?;
            return Err(error);
        }
        let pinned = self.pins()?.into_iter().find(|pinned| pinned.name == name);
        pinned.ok_or_else(|| Error::corrupt(File::Pin(name), "it vanished"))
    }

    /// The version that is kept under `name`, for reading. It may be older than history.
    pub fn at_pin(&self, name: PinName) -> Result<Arc<Snapshot>> {
        let now = self.tip.storage.now();
        let find = || -> Result<Pinned> {
            let found = self.pins()?.into_iter().find(|pinned| pinned.name == name);
            found.ok_or_else(|| {
                Error::CannotOpen(format!(
                    "there is no pin \"{name}\". Nothing was changed; all pins: seawall pins NAME"
                ))
            })
        };
        let pin = find()?.pin;
        check_database(&pin.head, self.tip.id)?;
        let snapshot = self.tip.pages.snapshot_of(pin.head, None, now);
        // Garbage collection removes a pin before it removes what the pin kept.
        find()?;
        snapshot.map(Arc::new)
    }

    /// Gives a pin up. Whether there was one.
    pub fn unpin(&self, name: PinName) -> Result<bool> {
        self.check_upkeep()?;
        pins::remove(&*self.tip.storage, name)
    }

    /// All pins, by name.
    pub fn pins(&self) -> Result<Vec<Pinned>> {
        pins::pins(&*self.tip.storage)
    }

    /// Verifies `snapshot`, whole, down to its base; or all of history from there, if it is to be deep. Damage does not
    /// end it: the report has everything that was found. `progress` is called with the bytes that were read, and about
    /// how many there are; an error of its ends the verification. Where a pin can be written, the version is pinned
    /// meanwhile.
    pub fn verify(&self, snapshot: &Arc<Snapshot>, what: Verifying, progress: Progress<'_>) -> Result<Verified> {
        let newest = self.snapshot(Freshness::Transaction)?.head.clone();
        let token = Token(self.tip.random()?);
        let name: PinName = format!("verification-{token}").parse().expect("it is a pin's name");
        let pinned = self.check_upkeep().and_then(|()| PinHeld::new(&self.tip, name, Keeper::Verification, snapshot));
        let (mut pin, mut not_pinned) = match pinned {
            Ok(pin) => (Some(pin), None),
            // In a copy nothing is collected.
            Err(_) if self.is_copy() => (None, None),
            Err(why) => (None, Some(why.to_string())),
        };
        let target = (&snapshot.head, Some(snapshot.clone()));
        let verified = verify(&self.tip.pages, &newest, target, what, &mut |done, all| {
            match pin.as_ref().map_or(Ok(()), PinHeld::renew) {
                // Without its pin, what is read may be collected.
                Err(error @ Error::CannotOpen(_)) => return Err(error),
                // It counts for a while longer, and cannot be renewed.
                Err(why) => (pin, not_pinned) = (None, Some(why.to_string())),
                Ok(()) => {}
            }
            progress(done, all)
        })?;
        let verified = Verified { not_pinned, ..verified };
        let now = self.tip.load(&self.newest_known(), PATIENCE)?;
        Ok(verified.without_older_than(now.floor.version))
    }

    /// Whether this process may change what the folder has.
    fn check_upkeep(&self) -> Result<()> {
        if !self.is_current() {
            return Err(Error::CannotOpen(FORKED.into()));
        }
        self.may_write()
    }
}
