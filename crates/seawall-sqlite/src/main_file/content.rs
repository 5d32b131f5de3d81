//! What SQLite reads from a file and writes to it.

use super::{Backing, Lock, MainFile, State, not_locked};
use crate::abi;
use crate::failure::Failure;
use crate::header::{HEADER, OurFields, Written};
use seawall::format::head::CommitRef;
use seawall::format::ids::Epoch;
use seawall::{PageNo, PageSize, Snapshot, Version};

/// The read by which SQLite checks for commits of other connections: the part of the header with the change counter.
const CHANGE_CHECK: (u64, usize) = (24, 16);

/// The answer to a check for changes. It is kept, because SQLite makes that check in every transaction.
pub(super) struct ChangeCheck {
    order: (Epoch, Version),
    commit: CommitRef,
    bytes: [u8; CHANGE_CHECK.1],
}

impl ChangeCheck {
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        self.order == snapshot.head().order() && self.commit.is(&snapshot.head().commit())
    }
}

impl MainFile {
    /// Fills `into` from `offset` of the file. The part beyond its end is zero, and then the result is `false`.
    pub(crate) fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<bool, Failure> {
        if let Some(read) = self.read_plain(offset, into) {
            return read;
        }
        if matches!(self.state, State::Idle) {
            if let Backing::NotOpened(beginning) = &self.backing {
                // SQLite reads like this, without a lock, when it opens a file. Under a lock it reads again.
                return Ok(read_beginning(&beginning.bytes, offset, into));
            }
            self.database()?;
        }
        if (offset, into.len()) == CHANGE_CHECK {
            self.transaction_ended_without_unlock();
            if let State::Reading(snapshot) = &self.state
                && let Some(last) = self.last_check.as_ref().filter(|last| last.is_of(snapshot))
                && !self.must_reread
            {
                into.copy_from_slice(&last.bytes);
                return Ok(true);
            }
        }
        if self.lock == Lock::Shared && (self.has_early_lease() || self.unconfirmed.is_some()) {
            let page_one = extent(&*self.snapshot()?).0.map_or(u64::MAX, |page_size| page_size.bytes() as u64);
            // While SQLite checks whether its cache is still valid, it reads only page 1.
            if offset >= page_one {
                self.give_up_early()?;
            }
        }
        let unlocked;
        let (snapshot, transaction) = match &self.state {
            State::Idle => {
                unlocked = self.snapshot()?;
                (&unlocked, None)
            }
            State::Reading(snapshot) | State::Undoing(snapshot, _) => (snapshot, None),
            State::Writing(writing) => (writing.transaction().snapshot(), Some(writing.transaction())),
        };
        let (page_size, page_count) = match transaction {
            Some(transaction) => (transaction.page_size(), transaction.page_count()),
            None => extent(snapshot),
        };
        let mut done = 0;
        // An empty database has no page size. Then there is nothing to read.
        while let Some(page_size) = page_size.filter(|_| done < into.len()) {
            let (page, within) = page_size.place_of(offset + done as u64);
            let Some(page) = page.filter(|page| page.0 <= page_count) else { break };
            let length = (page_size.bytes() - within).min(into.len() - done);
            let content = match transaction {
                Some(transaction) => transaction.read_page(page),
                None => self.opened()?.read_page(snapshot, page),
            }?;
            into[done..done + length].copy_from_slice(&content[within..within + length]);
            done += length;
        }
        into[done..].fill(0);
        let (epoch, version) = snapshot.head().order();
        OurFields::at(epoch, version).put(&mut into[..done], offset);
        if let (true, Ok(bytes)) = (offset == CHANGE_CHECK.0, <[u8; CHANGE_CHECK.1]>::try_from(&into[..])) {
            if done == into.len() && matches!(self.state, State::Reading(_)) {
                let head = snapshot.head();
                self.last_check = Some(ChangeCheck { order: head.order(), commit: head.commit(), bytes });
            }
            if std::mem::take(&mut self.must_reread) {
                into.iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        Ok(done == into.len())
    }

    /// SQLite checks whether its cache is still valid. It does so when it takes a lock. Therefore the transaction
    /// before has ended, even if SQLite has not unlocked the file. (Where a main database that is not Seawall's has set
    /// locking_mode=EXCLUSIVE and journal_mode=OFF, SQLite neither unlocks after a rollback nor plays a journal back.)
    fn transaction_ended_without_unlock(&mut self) {
        if let State::Undoing(snapshot, _) = &self.state {
            self.state = State::Reading(snapshot.clone());
        } else if let State::Writing(writing) = &self.state
            && writing.has_written()
        {
            self.state = State::Reading(writing.transaction().snapshot().clone());
        }
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let outcome = match &mut self.state {
            State::Undoing(_, header) => {
                if offset == 0 && bytes.len() >= HEADER {
                    *header = Some(Written::of(bytes));
                }
                return Ok(());
            }
            State::Writing(writing) => writing.write(offset, bytes),
            State::Idle | State::Reading(_) => Err(not_locked(abi::IOERR_WRITE)),
        };
        outcome.map_err(|failure| {
            // The transaction is lost. The pages that SQLite writes to undo it must not be committed.
            if let Ok(snapshot) = self.snapshot() {
                self.state = State::Undoing(snapshot, None);
            }
            failure.of_write()
        })
    }

    /// Whether `image` is what `page` was when the write transaction began, and that is at hand. Reads nothing.
    pub(crate) fn has_original(&self, page: PageNo, image: &[u8]) -> bool {
        let State::Writing(writing) = &self.state else { return false };
        // SQLite has seen another page 1 than the committed one.
        page != PageNo(1)
            && writing.transaction().committed_at_hand(page).is_some_and(|original| original[..] == *image)
    }

    /// `page` as it was when the write transaction began, for a rollback.
    pub(crate) fn original(&mut self, page: PageNo) -> Result<Vec<u8>, Failure> {
        let original = match &self.state {
            State::Writing(writing) => writing.transaction().read_committed(page),
            State::Reading(snapshot) | State::Undoing(snapshot, _) => self.opened()?.read_page(snapshot, page),
            State::Idle => return Err(not_locked(abi::IOERR_READ)),
        };
        let original = original.map(|page| page.to_vec());
        if let (Err(_), State::Writing(writing)) = (&original, &self.state) {
            // SQLite tries again later to play the journal back. The transaction is undone without that.
            self.state = State::Undoing(writing.transaction().snapshot().clone(), None);
        }
        Ok(original?)
    }

    pub(crate) fn truncate(&mut self, size: u64) {
        if let State::Writing(writing) = &mut self.state {
            writing.truncate(size);
        }
    }

    pub(crate) fn size(&mut self) -> Result<u64, Failure> {
        if let Some(size) = self.plain_size() {
            return size;
        }
        if let Backing::NotOpened(beginning) = &self.backing {
            return Ok(beginning.size);
        }
        let (page_size, page_count) = match &self.state {
            State::Idle => extent(&self.database()?.newest_known()),
            State::Reading(snapshot) | State::Undoing(snapshot, _) => extent(snapshot),
            State::Writing(writing) => (writing.transaction().page_size(), writing.transaction().page_count()),
        };
        Ok(page_size.map_or(0, |page_size| u64::from(page_count) * page_size.bytes() as u64))
    }
}

/// Page size and page count.
fn extent(snapshot: &Snapshot) -> (Option<PageSize>, u32) {
    (snapshot.page_size(), snapshot.page_count())
}

/// Fills `into` from `offset` of a file that consists of `beginning`. The part beyond its end is zero, and then the
/// result is `false`.
fn read_beginning(beginning: &[u8], offset: u64, into: &mut [u8]) -> bool {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(beginning.len());
    let found = &beginning[from..(from + into.len()).min(beginning.len())];
    into[..found.len()].copy_from_slice(found);
    into[found.len()..].fill(0);
    found.len() == into.len()
}
