//! SQLite's locks: they begin and end transactions, and take the lease.

use super::participants::{self, When};
use super::{EarlyLease, MainFile, Owner, State};
use crate::abi;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::fork;
use crate::journal::super_journal;
use crate::parameters::Freshness;
use crate::request;
use crate::writing::Writing;
use seawall::{Access, ErrorKind, FORKED_INSIDE, Moment, Transaction};
use std::ffi::c_int;

/// Why a file is refused that SQLite lets several connections use.
pub(crate) const SHARED_CACHE: &str = "SQLite's shared cache (SQLITE_OPEN_SHAREDCACHE, sqlite3_enable_shared_cache) \
     makes several connections use one file of Seawall's, and Seawall cannot tell their transactions apart. Nothing was opened or \
     written. Close the connections that share a cache, and open each with cache=private or cache=shared in its URI, which gives it \
     a cache of its own";

/// SQLite's lock levels. (SQLite never requests PENDING.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    None,
    Shared,
    Reserved,
    Exclusive,
}

impl Lock {
    /// SQLite's number of the level.
    pub(super) fn level(self) -> c_int {
        match self {
            Lock::None => 0,
            Lock::Shared => 1,
            Lock::Reserved => 2,
            Lock::Exclusive => 4,
        }
    }
}

impl MainFile {
    /// # Safety
    /// SQLite is making a call on `file`, which is this file.
    pub(crate) unsafe fn lock(&mut self, file: *mut abi::File, wanted: Lock) -> Result<(), Failure> {
        if self.owner == Owner::Several {
            return Err(Failure::refusal(abi::CANTOPEN, SHARED_CACHE));
        }
        // SAFETY: guaranteed by the caller.
        if unsafe { self.lock_plain(file, wanted) }? {
            return Ok(());
        }
        if self.lock == Lock::None && wanted >= Lock::Shared {
            self.begin_reading()?;
            self.set_lock(Lock::Shared);
        }
        if self.lock < Lock::Reserved && wanted >= Lock::Reserved {
            self.begin_writing()?;
            self.set_lock(Lock::Reserved);
        }
        if self.lock < Lock::Exclusive && wanted == Lock::Exclusive {
            // SAFETY: guaranteed by the caller.
            unsafe { self.check_participants(file, When::Locked) }?;
            self.set_lock(Lock::Exclusive);
        }
        Ok(())
    }

    pub(super) fn set_lock(&mut self, lock: Lock) {
        self.lock = lock;
        if self.is_main {
            self.connection.main_is_locked(lock > Lock::None);
        }
    }

    /// Fails if the transaction has changed anything but this file.
    ///
    /// # Safety
    /// SQLite is making a call on `file`, which is this file.
    pub(super) unsafe fn check_participants(&self, file: *mut abi::File, when: When) -> Result<(), Failure> {
        if self.connection.db().is_null() {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller; SQLite makes one call at a time on a connection, and this one is on `file`.
        unsafe { participants::check(self.host, &self.connection, file, when) }
    }

    fn begin_reading(&mut self) -> Result<(), Failure> {
        let opened = self.database_within(Connection::patience_of_first_use);
        let database = opened.map_err(|failure| self.blocked(failure))?;
        if self.connection.is_opening() {
            self.state = State::Reading(database.newest_known());
            return Ok(());
        }
        self.early_lease = EarlyLease::None;
        let takes_lease = self.connection.takes_lease_early(self.is_main, self.refused_in.take());
        let mut began = None;
        if takes_lease && !matches!(self.access, Access::ReadOnly) {
            began = Some(database.now());
            match database.begin(self.connection.patience()) {
                Ok(transaction) => {
                    self.connection.wait_ended();
                    self.unconfirmed = transaction.unconfirmed();
                    self.state = State::Reading(transaction.snapshot().clone());
                    self.early_lease = EarlyLease::Taken;
                    self.connection.keep_early(self.id, transaction);
                    return Ok(());
                }
                // A transaction that only reads needs no lease. Therefore it gets its snapshot, and the refusal is
                // reported only if SQLite asks to write.
                Err(error) if may_still_read(error.kind()) => self.early_lease = EarlyLease::Refused(error.into()),
                Err(error) => return Err(self.blocked(error.into())),
            }
        }
        let freshness = self.freshness(began);
        let snapshot = match self.connection.timeout() {
            Some(timeout) => database.snapshot_within(freshness, timeout),
            None => database.snapshot(freshness),
        };
        self.state = State::Reading(snapshot.map_err(|error| self.blocked(error.into()))?);
        Ok(())
    }

    fn begin_writing(&mut self) -> Result<(), Failure> {
        let State::Reading(snapshot) = &self.state else { return Ok(()) };
        let snapshot = snapshot.clone();
        if let EarlyLease::Refused(failure) = &self.early_lease {
            let failure = failure.clone();
            self.early_lease = EarlyLease::None;
            return Err(self.blocked(failure));
        }
        self.check_process()?;
        let early = self.take_early_lease();
        let transaction = match early {
            Some(transaction) => Ok(transaction),
            None => self.opened()?.upgrade(&snapshot, self.connection.patience()),
        };
        match transaction {
            Ok(transaction) => {
                self.connection.wait_ended();
                self.state = State::Writing(Box::new(Writing::new(transaction)));
                Ok(())
            }
            Err(error) => Err(self.blocked(error.into())),
        }
    }

    pub(super) fn has_early_lease(&self) -> bool {
        matches!(self.early_lease, EarlyLease::Taken)
    }

    /// The lease that was taken together with the snapshot, if there is one.
    fn take_early_lease(&mut self) -> Option<Transaction> {
        if !self.has_early_lease() {
            return None;
        }
        self.early_lease = EarlyLease::None;
        self.connection.take_early(self.id)
    }

    /// SQLite goes on reading, and has not asked to write. Therefore the lease is given back. If the lease was taken
    /// without a request for the head, the snapshot is confirmed now.
    pub(super) fn give_up_early(&mut self) -> Result<(), Failure> {
        drop(self.take_early_lease());
        self.confirm()
    }

    /// Asks the coordinator whether the snapshot is the newest version, if that is not certain yet.
    pub(crate) fn confirm(&mut self) -> Result<(), Failure> {
        let Some(began) = self.unconfirmed else { return Ok(()) };
        self.check_process()?;
        let confirmed = self.opened()?.confirm(&*self.snapshot()?, began);
        confirmed.map_err(|error| Failure::from(error).of_commit())?;
        self.unconfirmed = None;
        Ok(())
    }

    /// Fails in a child of the process that began the transaction, because parent and child must not both write it.
    pub(super) fn check_process(&self) -> Result<(), Failure> {
        if self.opened()?.is_current() {
            return Ok(());
        }
        Err(Failure::refusal(abi::IOERR, FORKED_INSIDE))
    }

    /// A lock call is about to fail. If SQLite tries again, it begins with a new snapshot, and gets the lease together
    /// with that.
    fn blocked(&mut self, failure: Failure) -> Failure {
        if failure.is_busy() {
            self.refused_in = Some(self.connection.statement());
            self.connection.returns_busy();
        } else {
            self.connection.wait_ended();
        }
        failure
    }

    /// How fresh the snapshot of a transaction must be that begins now. If it has requested the lease at `began`, and
    /// was refused, the reply had the head already.
    fn freshness(&self, began: Option<Moment>) -> seawall::Freshness {
        let of_transaction = || began.map_or(seawall::Freshness::Transaction, seawall::Freshness::Since);
        match self.parameters.freshness {
            Freshness::Transaction => of_transaction(),
            Freshness::Request => match request::began() {
                Some(began) => seawall::Freshness::Request { began, age: self.parameters.request_age },
                None => of_transaction(),
            },
            Freshness::Seconds(age) => seawall::Freshness::Seconds(age),
        }
    }

    /// Ends what the lock levels above `kept` were for. It cannot fail, and commits nothing.
    pub(crate) fn unlock(&mut self, kept: Lock) {
        self.unlock_plain(kept);
        drop(self.take_early_lease());
        if kept < Lock::Reserved {
            self.unconfirmed = None;
        }
        if self.lock >= Lock::Reserved && kept < Lock::Reserved {
            super_journal::transaction_ended();
        }
        self.set_lock(self.lock.min(kept));
        let next = match kept {
            Lock::None => {
                self.connection.file_was_unlocked();
                State::Idle
            }
            // The transaction, its overlay and its lease end. Other statements of this connection go on reading.
            Lock::Shared => self.snapshot().map_or(State::Idle, State::Reading),
            Lock::Reserved | Lock::Exclusive => return,
        };
        let ended = std::mem::replace(&mut self.state, next);
        if matches!(ended, State::Writing(_)) && self.forks != fork::count() {
            // The transaction is the parent's. If it were dropped here, it would give the parent's lease back.
            std::mem::forget(ended);
        }
    }
}

/// Whether a transaction can still read after the lease was refused for this reason.
fn may_still_read(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Busy | ErrorKind::Permission | ErrorKind::ReadOnly)
}
