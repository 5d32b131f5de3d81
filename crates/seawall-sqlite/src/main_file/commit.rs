//! The commit: the sync of the database file.

use super::participants::When;
use super::{Backing, MainFile, State, not_locked};
use crate::abi;
use crate::failure::Failure;
use crate::header::{Synced, Written};
use crate::request;
use crate::writing::Writing;

impl MainFile {
    /// SQLite syncs the database, which it knows as `file`. This is the commit, and COMMIT returns its result.
    ///
    /// A rollback that plays its journal back ends with a sync as well, and so does the undoing of a failed commit. The
    /// change counter that SQLite has written shows which of them it is ([`Synced`]). The result is never a plain BUSY,
    /// because SQLite would keep the transaction open then, and a second COMMIT would commit nothing and report
    /// success.
    ///
    /// # Safety
    /// SQLite is making a call on `file`, which is this file.
    pub(crate) unsafe fn sync(&mut self, file: *mut abi::File) -> Result<(), Failure> {
        let snapshot = self.snapshot()?;
        let synced = |header| Synced::after(header, snapshot.head().order(), snapshot.page_count());
        match std::mem::replace(&mut self.state, State::Reading(snapshot.clone())) {
            State::Writing(writing) => {
                let committed = match synced(writing.header()) {
                    Synced::Rollback => return Ok(()),
                    // SAFETY: guaranteed by the caller.
                    Synced::Commit(header) => unsafe { self.commit(file, writing, header) },
                    Synced::Neither { shown, written } => Err(Failure::refusal(
                        abi::IOERR,
                        format!(
                            "SQLite has changed its change counter from {shown} to {written}, which is neither a commit nor a \
                             rollback. Nothing was written. Please report this error"
                        ),
                    )),
                };
                committed.inspect_err(|_| self.state = State::Undoing(snapshot, None))
            }
            State::Undoing(_, header) if synced(header) == Synced::Rollback => Ok(()),
            _ => Err(not_locked(abi::IOERR)),
        }
    }

    /// # Safety
    /// As for [`MainFile::sync`].
    unsafe fn commit(
        &mut self,
        file: *mut abi::File,
        mut writing: Box<Writing>,
        header: Written,
    ) -> Result<(), Failure> {
        if writing.only_switches_to_wal()? {
            return Err(Failure::refusal(
                abi::IOERR,
                "this would switch the database to WAL mode, in which machines cannot share it. Nothing was written. \
                 Set PRAGMA <schema>.journal_mode=MEMORY, and name the schema when you set it for another one",
            ));
        }
        self.check_process()?;
        // SAFETY: guaranteed by the caller.
        unsafe { self.check_participants(file, When::Synced) }?;
        let began = writing.transaction().began();
        let snapshot = writing.commit().map_err(|error| Failure::from(error).of_commit())?;
        self.unconfirmed = None;
        self.state = State::Reading(snapshot);
        if let Backing::Database(database) = &self.backing
            && self.parameters.lease_ahead
        {
            request::wrote(database, began);
        }
        self.must_reread = !header.rollback_journal;
        Ok(())
    }

    /// SQLite's commit has ended. If this fails, COMMIT returns the error and SQLite rolls back. Therefore it may fail
    /// only where nothing was written and the snapshot turns out to be stale.
    pub(crate) fn committed(&mut self) -> Result<(), Failure> {
        self.confirm()
    }
}
