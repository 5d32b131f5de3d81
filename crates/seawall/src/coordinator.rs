//! The trait of what holds the head and can compare-and-swap it.
//!
//! Operations are the table of the design's section 4, each one request. An implementation says honestly what an
//! error means: [`CoordinatorError::Unreachable`] only if the request was certainly not carried out.
//! Whatever answer but success a swap gets, the engine looks at the head before it says what happened.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod fs;

use crate::head::Head;
use crate::ids::{CommitId, Token, Version};
use crate::moment::Moment;
use std::time::Duration;

/// Why a coordinator did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// It was certainly not carried out.
    #[error("{0}")]
    Unreachable(String),
    /// It may have been carried out, or may be yet.
    #[error("{0}")]
    Unclear(String),
    /// It was carried out, but not durably: it counts only once a repeated request succeeds.
    #[error("{0}")]
    Undurable(String),
    /// No space for the record; it was certainly not carried out.
    #[error("{0}")]
    Full(String),
    /// This may not be done; it was certainly not carried out.
    #[error("{0}")]
    Permission(String),
    /// There is no head where one must be.
    #[error("the head is lost: {0}")]
    Lost(String),
    /// The head is not one that this program can read.
    #[error("the head cannot be read: {0}")]
    Malformed(String),
}

impl CoordinatorError {
    /// Whether the request was certainly not carried out. A missing or unreadable head proves nothing.
    pub fn is_certain(&self) -> bool {
        use CoordinatorError::{Full, Permission, Unreachable};
        matches!(self, Unreachable(_) | Full(_) | Permission(_))
    }
}

/// What an acquire asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names this attempt: a coordinator that knows it already granted it.
    pub token: Token,
    /// Who asks, for people.
    pub label: String,
    /// How long the lease is to be.
    pub length: Duration,
    /// A holder that the caller watched do nothing for a whole lease: it is to be passed over.
    pub pass_over: Option<Holder>,
    /// The caller has just had a turn, and lets those go first who wait.
    pub had_turn: bool,
}

/// A lease that was granted: a politeness, and the generation that fences its writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The head's generation, as of the grant: what the swap must still find.
    pub generation: u64,
    /// The head's sweep, as of the grant: segments made under another one must not be appended to.
    pub sweep: u64,
    /// Names the attempt that got it.
    pub token: Token,
    /// `fs`: which lock it is.
    pub slot: u32,
    /// When the request was sent that got or last renewed it.
    pub since: Moment,
}

/// Who holds the lease, as far as can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The head's version at that time: a holder that commits is alive.
    pub version: Version,
    /// Which lock, and what its holder wrote beside it; it changes with each renewal.
    pub slot: u32,
    /// Who it is and since when, for people; empty while it has not said.
    pub label: String,
}

/// The answer to an acquire.
#[derive(Debug)]
pub enum Acquired {
    /// The lease is ours, and this is the head.
    Granted(Lease, Box<Head>),
    /// Somebody else has it.
    Held,
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
    /// A note of a version that somebody saw; it may be old, or of another history.
    Hint(Version, CommitId),
    /// Nothing.
    Nothing,
}

/// What holds the head.
pub trait Coordinator: Send + Sync {
    /// Puts the first head where none is. If one is there (of another adopter, or ours: a lost reply), that one is the answer.
    fn create(&self, head: &Head) -> Result<Head, CoordinatorError>;
    /// The head, linearizable: everything that was acknowledged before the call began is in it.
    fn load(&self, known: &Known<'_>) -> Result<Head, CoordinatorError>;
    /// Asks for the lease, without waiting.
    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError>;
    /// Ends an attempt that was not granted: whoever waits behind it may come to the front.
    fn give_up(&self) -> Result<(), CoordinatorError>;
    /// Who holds the lease, as of the head `known`, which was just loaded.
    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError>;
    /// Says that the holder is alive.
    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError>;
    /// Puts `next` in the place of `previous`, if that is still the head and no generation came between.
    fn swap(&self, lease: &Lease, previous: &Head, next: &Head) -> Result<Swapped, CoordinatorError>;
    /// Gives the lease back.
    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError>;
    /// Whether the lease outlives the commit: whoever has it may go on with the next transaction.
    fn lease_survives_swap(&self) -> bool;
}
