//! The [`Coordinator`] trait. A coordinator keeps the head of a database, and replaces it by compare-and-swap.
//!
//! The operations are those of the table in `docs/design.md`, "The head". An implementation must say honestly what an
//! error means: it returns [`CoordinatorError::Unreachable`], `Full`, `TooLong` and `Permission` only if the request was
//! certainly not carried out ([`CoordinatorError::is_certain`]). After any answer to a swap but success, the engine looks
//! at the head before it says what happened.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod fs;
pub mod kinds;

use crate::error::Error;
use crate::format::head::{Head, MAX_TEXT};
use crate::format::high::{High, Named};
use crate::format::identity::NEWER;
use crate::format::ids::{Epoch, Token};
use crate::ports::moment::Moment;
pub use crate::shown::Shown;
use crate::way_out::{SAYS_FIRST, WayOut};
use std::time::Duration;

/// Why a coordinator did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// It was certainly not carried out.
    #[error("{}", Shown::message(.0))]
    Unreachable(String),
    /// It may have been carried out, or may be yet.
    #[error("{}", Shown::message(.0))]
    Unclear(String),
    /// It was carried out, but not durably: it counts only once a repeated request succeeds.
    #[error("{}", Shown::message(.0))]
    Undurable(String),
    /// No space for the record; it was certainly not carried out.
    #[error("{}", Shown::message(.0))]
    Full(String),
    /// The head is longer than what it is kept in can take; it was certainly not carried out.
    #[error("{}", Shown::message(.0))]
    TooLong(String),
    /// This may not be done; it was certainly not carried out.
    #[error("{}", Shown::message(.0))]
    Permission(String),
    /// There is no head where one must be.
    #[error("the head is lost: {}", Shown::message(.0))]
    Lost(String),
    /// The head is not one that this program can read.
    #[error("the head cannot be read: {}", Shown::message(.0))]
    Malformed(String),
    /// What the head is kept in cannot be used as it is: it was removed or replaced, or is no folder of this mount.
    #[error("{}", Shown::message(.0))]
    Unusable(String),
}

impl CoordinatorError {
    /// Whether the request was certainly not carried out. A missing or unreadable head proves nothing.
    pub fn is_certain(&self) -> bool {
        use CoordinatorError::{Full, Permission, TooLong, Unreachable};
        matches!(self, Unreachable(_) | Full(_) | TooLong(_) | Permission(_))
    }
}

impl Error {
    /// A coordinator's error where nothing can have been written.
    pub(crate) fn nothing_written(error: CoordinatorError) -> Error {
        match error {
            CoordinatorError::Unreachable(cause)
            | CoordinatorError::Unclear(cause)
            | CoordinatorError::Undurable(cause) => Error::Unreachable { cause },
            CoordinatorError::Full(cause) | CoordinatorError::TooLong(cause) => Error::Full(cause),
            CoordinatorError::Permission(cause) => Error::Permission(cause),
            CoordinatorError::Malformed(ref why) if why.contains(NEWER) => {
                Error::CannotOpen(format!("{error}{NOTHING_WRITTEN}"))
            }
            CoordinatorError::Unusable(_) => Error::CannotOpen(format!("{error}{NOTHING_WRITTEN}")),
            CoordinatorError::Lost(_) | CoordinatorError::Malformed(_) => Error::NeedsRecovery(format!(
                "{error}{NOTHING_WRITTEN}, and the data is in the files: run {}. {SAYS_FIRST}",
                WayOut::RECOVER
            )),
        }
    }

    /// Why a look at the head failed, in words that say nothing of what was written: the look is for a commit that may
    /// have taken place.
    pub(crate) fn of_a_look(self) -> String {
        match self {
            Error::Unreachable { cause } => cause,
            error => error.to_string().replacen(&format!("{NOTHING_WRITTEN}, and t"), ". T", 1).replacen(
                NOTHING_WRITTEN,
                "",
                1,
            ),
        }
    }
}

/// How the text of an error goes on that is certain to have written nothing.
const NOTHING_WRITTEN: &str = ". Nothing was written";

/// What an acquire asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names this attempt: a coordinator that knows it already granted it.
    pub token: Token,
    /// Who asks, for people.
    pub label: String,
    /// How long the lease is to be.
    pub length: Duration,
    /// How often it was refused already.
    pub refusals: u32,
    /// For how long the caller has waited.
    pub waited: Duration,
    /// How long the caller still waits. No request is repeated after that.
    pub patience: Duration,
    /// A holder that has done nothing for the whole lease for which the caller watched it. It is to be passed over.
    pub pass_over: Option<Holder>,
    /// Others wanted the lease a moment ago: the caller stands in line before it asks for the lease itself.
    pub lines_up: bool,
    /// `fs`: the lock that the caller has already ([`Coordinator::acquire_unseen`]). If the lease is not granted, it is
    /// given back.
    pub lock: Option<u32>,
}

/// A lease that was granted: a claim to be the next writer, which saves wasted work, and the generation that fences its
/// writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The head's epoch, as of the grant.
    pub epoch: Epoch,
    /// The head's generation, as of the grant: what the swap must still find.
    pub generation: u64,
    /// The head's sweep, as of the grant: segments made under another one must not be appended to.
    pub sweep: u64,
    /// Names the attempt that got it.
    pub token: Token,
    /// `fs`: which lock it is.
    pub slot: u32,
    /// `fs`: the lock that the head named when the lease was granted, if that is another one. It is given back as well.
    pub former: Option<u32>,
    /// `fs`: the folder in which the head was seen. The next commit may be named in no other one.
    pub folder: u64,
    /// When the request was sent that got or last renewed it.
    pub since: Moment,
    /// How long it is, from then.
    pub length: Duration,
    /// How long after that its holder is to renew it for the first time.
    pub first_renewal: Duration,
}

/// Whether other processes wait for the lease that this one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiters {
    /// So many do.
    Exactly(u64),
    /// At least one does.
    Some,
}

/// Who holds the lease, as far as can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The head's generation at that time: a holder that commits is alive.
    pub generation: u64,
    /// Which term of the lease. `fs`: the lock that stands for it; elsewhere when it ends, in milliseconds since 1970.
    pub term: u64,
    /// Who it is and since when, for people; empty while it has not said. Term or label change with each renewal.
    pub label: Shown,
}

/// The answer to an acquire.
#[derive(Debug)]
pub enum Acquired {
    /// The lease is ours, and this is the head.
    Granted(Lease, Box<Head>),
    /// Another process has it, or waits in front of this one.
    Refused {
        /// When to ask again.
        again_in: Duration,
        /// What the head was then, if the refusal says so.
        seen: Option<Box<Head>>,
        /// Who has the lease, if the refusal says so.
        holder: Option<Holder>,
    },
}

/// The answer to a swap.
#[derive(Debug)]
pub enum Swapped {
    /// The new head is in place.
    Done,
    /// It was refused; this was the head then.
    Refused(Box<Head>),
}

/// What a process knows of the head when it asks for a newer one.
#[derive(Clone, Debug)]
pub enum Known<'a> {
    /// A head that it has seen.
    Head(&'a Head),
    /// A note of a version that some process saw; it may be old, or of another history.
    Hint(High),
    /// Nothing.
    Nothing,
}

/// What holds the head of one database.
pub trait Coordinator: Send + Sync {
    /// The name by which `id` binds the database to this coordinator. Another name would be another history. The name
    /// does not say how the coordinator is reached.
    fn name(&self) -> String;
    /// Puts the first head of a database here, and returns the head that is here afterwards. It replaces no head but one
    /// that is not open and has an earlier epoch, which a database that was moved away leaves behind. The answer is
    /// another head if another adopter or mover was first, and `head` if this request was carried out before and its
    /// reply was lost.
    fn create(&self, head: &Head) -> Result<Head, CoordinatorError>;
    /// Puts `head` in the place of `seen`, a head that nobody uses, if nothing has changed since it was seen. The answer is
    /// the head that is there. By default a head that is newer than `seen` counts as soon as it is put.
    fn replace(&self, _seen: &Head, head: &Head) -> Result<Head, CoordinatorError> {
        self.create(head)
    }
    /// Makes durable what was put here and is seen already. By default that is durable before it can be seen.
    fn make_durable(&self) -> Result<(), CoordinatorError> {
        Ok(())
    }
    /// Whether this process has all rights that a database needs here. It changes nothing. By default it has.
    fn may_create(&self) -> Result<(), CoordinatorError> {
        Ok(())
    }
    /// Removes the head of a folder (by the inode number of its `id`) that never became a database, or that is gone. By
    /// default the head is removed with its folder.
    fn forget(&self, _home: u64) -> Result<(), CoordinatorError> {
        Ok(())
    }
    /// Keeps other programs out for good that order writes of the plain file NAME by this coordinator's service
    /// (django-sqlite-efs). The answer is which of them is writing right now; then nothing was changed. By default
    /// there are no such programs.
    fn shut_out(&self, _name: &str) -> Result<Option<String>, CoordinatorError> {
        Ok(None)
    }
    /// Undoes `shut_out`.
    fn let_in(&self, _name: &str) -> Result<(), CoordinatorError> {
        Ok(())
    }
    /// The head, linearizable: everything that was acknowledged before the call began is in it.
    fn load(&self, known: &Known<'_>, patience: Duration) -> Result<Head, CoordinatorError>;
    /// The newest head, as for [`Coordinator::load`], or `None` if it is still `known`, a head that this process has seen.
    /// Every transaction that must ask for a newer version calls this.
    fn newer_than(&self, known: &Head, patience: Duration) -> Result<Option<Head>, CoordinatorError> {
        self.load(&Known::Head(known), patience).map(Some)
    }
    /// Asks for the lease, without waiting.
    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError>;
    /// Takes what stands for the lease as of `known`, without looking whether that is still the head. A writer that is to
    /// use it names its lock in its own [`Claim`], which looks. `None`: others have it. Only asked where the head is in
    /// files ([`Coordinator::is_in_files`]).
    fn acquire_unseen(&self, _claim: &Claim, _known: &Head) -> Result<Option<Lease>, CoordinatorError> {
        Ok(None)
    }
    /// Leaves the line of waiters: the next one moves up.
    fn give_up(&self) -> Result<(), CoordinatorError>;
    /// Whether this process was granted the lease, and has still to leave the line. By default a grant ends the waiting.
    fn leaves_line(&self) -> bool {
        false
    }
    /// Whether other processes wait for the lease that this one has, as the answer to an acquire or a swap said last,
    /// and when that was (monotonic). `None`: no answer says that.
    fn others_wait(&self) -> Option<(Waiters, Duration)> {
        None
    }
    /// Whether other processes wait for this lease, found out by requests of its own. The engine calls this only where
    /// [`Coordinator::others_wait`] is `None`.
    fn look_for_waiters(&self, _lease: &Lease) -> Result<Waiters, CoordinatorError> {
        Ok(Waiters::Some)
    }
    /// Who holds the lease, as of the head `known`, which was just loaded.
    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError>;
    /// Who is writing, for people; `None` if nobody has the lease.
    fn writer(&self, known: &Head) -> Result<Option<Shown>, CoordinatorError> {
        let holder = self.holder(known)?;
        Ok((holder.term != 0).then_some(holder.label))
    }
    /// Shows that the holder is alive. A lease that has ended is not renewed, and its swap will be refused.
    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError>;
    /// Puts `next` in the place of `previous`, if that is still the head and no generation came between. `keep`: the
    /// lease is renewed in the same request, for the next transaction. Repeated with the same arguments, it takes place
    /// once. A request that was certainly not carried out may be repeated within `patience`. One that may have been is
    /// an error at once, so that the caller looks.
    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        keep: bool,
        patience: Duration,
    ) -> Result<Swapped, CoordinatorError>;
    /// Tries out how long a record may be there, when a database's folder is made.
    fn try_longest_record(&self) -> Result<usize, CoordinatorError> {
        Ok(MAX_TEXT)
    }
    /// Sets how many bytes a record may have in this folder, as its `id` says. By default a coordinator keeps no records in
    /// the folder, and the call does nothing.
    fn keep_to(&self, _longest_record: usize) {}
    /// Whether what the head is kept in has room for `head`, with all entries of its window. A head without entries
    /// always has room.
    fn carries(&self, head: &Head) -> bool;
    /// Whether what the head is kept in is a file of the database's folder. Otherwise what rides in the head must be in a
    /// segment before it is swapped.
    fn is_in_files(&self) -> bool;
    /// Which file the name of `head` is, if the coordinator gives each version a name and this process has seen it
    /// first. By default versions have no names.
    fn named(&self, _head: &Head) -> Option<Named> {
        None
    }
    /// The head that follows `previous`, if the coordinator knows it for certain without the chain of commits. By
    /// default it has only the newest head.
    fn successor(&self, _previous: &Head) -> Result<Option<Head>, CoordinatorError> {
        Ok(None)
    }
    /// The heads that are known here, whatever state they are in, as evidence for a recovery. Changes nothing. What
    /// cannot be read is left out.
    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError>;
    /// Seals the head for the recovery `token`: from now on no request of an earlier epoch than `epoch` is carried out,
    /// however late it arrives. A head that was sealed before is sealed again: a recovery that was interrupted is
    /// finished by the next one.
    fn seal(&self, token: Token, epoch: Epoch) -> Result<(), CoordinatorError>;
    /// Whether the seal of the recovery `token` is still there.
    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError>;
    /// Puts `head`, which follows `previous`, in the place of the seal of the recovery `token`. `false`: another
    /// recovery sealed the head since, or finished.
    fn unseal(&self, token: Token, previous: &Head, head: &Head) -> Result<bool, CoordinatorError>;
    /// What cannot be done here as it should, for `status`.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Gives the lease back.
    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError>;
    /// Whether the lease outlives the commit even if it was not to be kept. Then it must be given back.
    fn lease_survives_swap(&self) -> bool;
    /// Whether every process sees at once that a lease was taken over. Otherwise the next commit shows it.
    fn takeover_is_visible(&self) -> bool {
        true
    }
    /// Whether the lease ends with its process, however that ends. Otherwise others wait until it runs out.
    fn lease_ends_with_process(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_for_a_commit_that_may_have_taken_place_does_not_say_that_nothing_was_written() {
        let causes = [
            CoordinatorError::Unreachable("it is cut off".into()),
            CoordinatorError::Unusable("it was removed".into()),
            CoordinatorError::Lost("commits/ is not there".into()),
            CoordinatorError::Malformed("commits/3: it is not text".into()),
        ];
        for error in causes.map(Error::nothing_written) {
            assert!(error.to_string().contains("Nothing was written"), "{error}");
            let of_a_look = error.of_a_look();
            assert!(!of_a_look.contains("Nothing was written"), "{of_a_look}");
        }
        let lost = Error::nothing_written(CoordinatorError::Lost("commits/ is not there".into())).of_a_look();
        assert!(lost.contains("commits/ is not there. The data is in the files: run seawall recover NAME"), "{lost}");
    }
}
