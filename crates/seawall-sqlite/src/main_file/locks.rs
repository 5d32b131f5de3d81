//! SQLite's locks: they begin and end transactions, and take the lease.

use super::{Holding, MainFile};
use crate::abi;
use crate::failure::Failure;
use crate::fork;
use crate::host::SHARED;
use crate::parameters::Freshness;
use crate::participants::{self, When};
use crate::process;
use crate::writing::Writing;
use seawall::{Access, ErrorKind, Moment};

/// SQLite's lock levels. (PENDING is never asked for.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    None,
    Shared,
    Reserved,
    Exclusive,
}

impl MainFile {
    /// # Safety
    /// SQLite calls, on `file`, which is ours.
    pub(crate) unsafe fn lock(&mut self, file: *mut abi::File, wanted: Lock) -> Result<(), Failure> {
        if self.is_shared {
            return Err(Failure::refusal(abi::CANTOPEN, SHARED));
        }
        if self.lock == Lock::None && wanted >= Lock::Shared {
            self.begin_reading()?;
            self.lock = Lock::Shared;
        }
        if self.lock < Lock::Reserved && wanted >= Lock::Reserved {
            self.begin_writing()?;
            self.lock = Lock::Reserved;
        }
        if self.lock < Lock::Exclusive && wanted == Lock::Exclusive {
            // SAFETY: the caller's.
            unsafe { self.check_participants(file, When::Locked) }?;
            self.lock = Lock::Exclusive;
        }
        Ok(())
    }

    /// Whether nothing beside this file was changed in the transaction.
    ///
    /// # Safety
    /// SQLite calls, on `file`, which is ours.
    pub(super) unsafe fn check_participants(&self, file: *mut abi::File, when: When) -> Result<(), Failure> {
        if self.connection.db().is_null() {
            return Ok(());
        }
        // SAFETY: the caller's; a connection has one call at a time, and this one is on `file`.
        unsafe { participants::check(self.host, &self.connection, file, when) }
    }

    fn begin_reading(&mut self) -> Result<(), Failure> {
        let database = self.database().map_err(|failure| self.blocked(failure))?;
        if self.connection.is_opening() {
            self.holding = Holding::Reading(database.newest_known());
            return Ok(());
        }
        self.refused = None;
        let began = database.now();
        let takes_lease = self.connection.takes_lease(self.is_main, self.refused_in.take());
        if takes_lease && !matches!(self.access, Access::ReadOnly) {
            match database.begin(self.connection.patience()) {
                Ok(transaction) => {
                    self.connection.waited();
                    self.unconfirmed = transaction.unconfirmed();
                    self.holding = Holding::Reading(transaction.snapshot().clone());
                    self.is_early = true;
                    self.connection.keep_early(self.id, transaction);
                    return Ok(());
                }
                // Others may read meanwhile: so it gets its snapshot, and the refusal waits until SQLite asks to write.
                Err(error) if may_still_read(error.kind()) => self.refused = Some(error.into()),
                Err(error) => return Err(self.blocked(error.into())),
            }
        }
        let freshness = self.freshness(began);
        let snapshot = match self.connection.timeout() {
            Some(timeout) => database.snapshot_within(freshness, timeout),
            None => database.snapshot(freshness),
        };
        self.holding = Holding::Reading(snapshot.map_err(|error| self.blocked(error.into()))?);
        Ok(())
    }

    fn begin_writing(&mut self) -> Result<(), Failure> {
        let Holding::Reading(snapshot) = &self.holding else { return Ok(()) };
        if let Some(failure) = self.refused.take() {
            return Err(self.blocked(failure));
        }
        self.check_process()?;
        let early = if std::mem::take(&mut self.is_early) { self.connection.take_early(self.id) } else { None };
        let transaction = match early {
            Some(transaction) => Ok(transaction),
            None => self.opened()?.upgrade(snapshot, self.connection.patience()),
        };
        match transaction {
            Ok(transaction) => {
                self.connection.waited();
                self.holding = Holding::Writing(Box::new(Writing::new(transaction)));
                Ok(())
            }
            Err(error) => Err(self.blocked(error.into())),
        }
    }

    /// SQLite goes on reading, and has not asked to write: the lease goes back. If nobody was asked when it was taken,
    /// somebody is now.
    pub(super) fn gives_up_early(&mut self) -> Result<(), Failure> {
        self.is_early = false;
        drop(self.connection.take_early(self.id));
        self.confirm()
    }

    /// Asks whether what was read is the newest version, where that is not certain yet.
    pub(crate) fn confirm(&mut self) -> Result<(), Failure> {
        let Some(began) = self.unconfirmed else { return Ok(()) };
        self.check_process()?;
        let confirmed = self.opened()?.confirm(&*self.snapshot()?, began);
        confirmed.map_err(|error| Failure::from(error).of_commit())?;
        self.unconfirmed = None;
        Ok(())
    }

    /// A transaction belongs to the process that began it: parent and child must not write as one.
    pub(super) fn check_process(&self) -> Result<(), Failure> {
        if self.opened()?.is_current() {
            return Ok(());
        }
        let text =
            "this process was forked inside the transaction, which is its parent's. Nothing was written; roll back";
        Err(Failure::refusal(abi::IOERR, text))
    }

    /// Before a lock call fails: if SQLite may try again, it will come with a new snapshot, and is to have the
    /// lease with that.
    fn blocked(&mut self, failure: Failure) -> Failure {
        if failure.is_busy() {
            self.refused_in = Some(self.connection.statement());
            self.connection.refuses();
        } else {
            self.connection.waited();
        }
        failure
    }

    /// For a transaction that began then. A lease that was asked for since, and refused, told the head by the way.
    fn freshness(&self, began: Moment) -> seawall::Freshness {
        match self.parameters.freshness {
            Freshness::Transaction => seawall::Freshness::Since(began),
            Freshness::Request => match process::request() {
                Some(began) => seawall::Freshness::Request { began, age: self.parameters.request_age },
                None => seawall::Freshness::Since(began),
            },
            Freshness::Seconds(age) => seawall::Freshness::Seconds(age),
        }
    }

    /// Ends what the lock level above `kept` was for; it cannot fail, and commits nothing.
    pub(crate) fn unlock(&mut self, kept: Lock) {
        if std::mem::take(&mut self.is_early) {
            drop(self.connection.take_early(self.id));
        }
        if kept < Lock::Reserved {
            self.unconfirmed = None;
        }
        self.lock = self.lock.min(kept);
        let left = match kept {
            Lock::None => {
                self.connection.unlocks();
                Holding::Nothing
            }
            // The transaction, its overlay and its lease go; whoever else reads on this connection goes on.
            Lock::Shared => self.snapshot().map_or(Holding::Nothing, Holding::Reading),
            Lock::Reserved | Lock::Exclusive => return,
        };
        let over = std::mem::replace(&mut self.holding, left);
        if matches!(over, Holding::Writing(_)) && self.forks != fork::count() {
            // It is the parent's: ended here, it would give the parent's lease back.
            std::mem::forget(over);
        }
    }
}

/// Whether a transaction that was refused the lease for this reason can still be had for reading.
fn may_still_read(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Busy | ErrorKind::Permission | ErrorKind::ReadOnly)
}
