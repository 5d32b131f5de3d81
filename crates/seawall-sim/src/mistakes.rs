//! Deliberate mistakes of a storage or a coordinator. To the engine they look like real ones.

use seawall::Result;
use seawall::Version;
use seawall::format::frame::{self, Kind};
use seawall::format::head::Head;
use seawall::format::high::Named;
use seawall::format::ids::{CommitId, DatabaseId, Epoch, Token};
use seawall::mutation::{Mutation, is};
use seawall::ports::coordinator::{
    Acquired, Claim, Coordinator, CoordinatorError, Holder, Known, Lease, Shown, Swapped, Waiters,
};
use seawall::ports::storage::{File, Storage};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How many of the bytes that are appended to a segment are not made durable: all, or a commit's pages without its
/// frame.
pub(crate) fn not_synced(bytes: &[u8]) -> usize {
    if is(Mutation::AppendNotDurable) {
        return bytes.len();
    }
    let pages = pages_in_front(bytes);
    // A large transaction streams pages alone.
    let is_streamed = is(Mutation::StreamNotDurable) && pages == bytes.len();
    if is(Mutation::PagesNotDurable) || is_streamed { pages } else { 0 }
}

/// How many of these bytes are pages, from the first on.
fn pages_in_front(bytes: &[u8]) -> usize {
    let mut pages = 0;
    while let Ok(frame) = frame::parse(&bytes[pages..]) {
        if frame.kind != Kind::Pages {
            break;
        }
        pages += frame.length;
    }
    pages
}

/// The answer to the naming of a version. An adoption names version 0, and swaps name all others.
pub(crate) fn published(version: Version, published: io::Result<()>) -> io::Result<()> {
    let is_taken = published.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
    if version > Version(0) && is_taken && is(Mutation::SwapUnconditional) {
        return Ok(());
    }
    if version > Version(0) && is_taken && is(Mutation::TakenIsFailure) {
        // After an error of this kind the engine assumes that nothing was carried out.
        return Err(io::ErrorKind::StorageFull.into());
    }
    published
}

/// Whether a forked process counts as its parent.
pub(crate) fn forks_go_unseen() -> bool {
    is(Mutation::ForkGoesOn)
}

/// Whether a recovery leaves the folder of versions where it is, and only takes its names away.
pub(crate) fn recovers_in_place() -> bool {
    is(Mutation::RecoversInPlace)
}

/// A coordinator whose answers are changed by mistake.
pub(crate) struct Mistaken {
    pub(crate) coordinator: Box<dyn Coordinator>,
    pub(crate) database: DatabaseId,
    pub(crate) storage: Arc<dyn Storage>,
}

// A method that is not passed on would be the trait's default one, and all mutations would run on another coordinator.
#[deny(clippy::missing_trait_methods)]
impl Coordinator for Mistaken {
    fn load(&self, known: &Known<'_>, patience: Duration) -> Result<Head, CoordinatorError> {
        match self.coordinator.load(known, patience) {
            // An opener knows no head.
            Err(CoordinatorError::Lost(_)) if is(Mutation::OpenerMakesHead) && !matches!(known, Known::Head(_)) => {
                let home = self.storage.home(File::Id).ok().flatten().expect("an opener has just seen it");
                self.coordinator.create(&Head::first(self.database, CommitId([0; 16]), None, home))
            }
            loaded => loaded,
        }
    }

    fn swap(
        &self,
        lease: &Lease,
        previous: &Head,
        next: &Head,
        keep: bool,
        patience: Duration,
    ) -> Result<Swapped, CoordinatorError> {
        let failed = |why: &str| Err(CoordinatorError::Unreachable(why.into()));
        match self.coordinator.swap(lease, previous, next, keep, patience) {
            Ok(Swapped::Refused(_)) if is(Mutation::RefusalIsFailure) => failed("the swap was refused"),
            Err(CoordinatorError::Unclear(why)) if is(Mutation::TimeoutIsFailure) => failed(&why),
            swapped => swapped,
        }
    }

    fn name(&self) -> String {
        self.coordinator.name()
    }
    fn create(&self, head: &Head) -> Result<Head, CoordinatorError> {
        self.coordinator.create(head)
    }
    fn replace(&self, seen: &Head, head: &Head) -> Result<Head, CoordinatorError> {
        self.coordinator.replace(seen, head)
    }
    fn make_durable(&self) -> Result<(), CoordinatorError> {
        self.coordinator.make_durable()
    }
    fn may_create(&self) -> Result<(), CoordinatorError> {
        self.coordinator.may_create()
    }
    fn forget(&self, home: u64) -> Result<(), CoordinatorError> {
        self.coordinator.forget(home)
    }
    fn shut_out(&self, name: &str) -> Result<Option<String>, CoordinatorError> {
        self.coordinator.shut_out(name)
    }
    fn let_in(&self, name: &str) -> Result<(), CoordinatorError> {
        self.coordinator.let_in(name)
    }
    fn acquire(&self, claim: &Claim, known: &Head) -> Result<Acquired, CoordinatorError> {
        self.coordinator.acquire(claim, known)
    }
    fn acquire_unseen(&self, claim: &Claim, known: &Head) -> Result<Option<Lease>, CoordinatorError> {
        self.coordinator.acquire_unseen(claim, known)
    }
    fn give_up(&self) -> Result<(), CoordinatorError> {
        self.coordinator.give_up()
    }
    fn leaves_line(&self) -> bool {
        self.coordinator.leaves_line()
    }
    fn others_wait(&self) -> Option<(Waiters, Duration)> {
        self.coordinator.others_wait()
    }
    fn look_for_waiters(&self, lease: &Lease) -> Result<Waiters, CoordinatorError> {
        self.coordinator.look_for_waiters(lease)
    }
    fn newer_than(&self, known: &Head, patience: Duration) -> Result<Option<Head>, CoordinatorError> {
        self.coordinator.newer_than(known, patience)
    }
    fn writer(&self, known: &Head) -> Result<Option<Shown>, CoordinatorError> {
        self.coordinator.writer(known)
    }
    fn try_longest_record(&self) -> Result<usize, CoordinatorError> {
        self.coordinator.try_longest_record()
    }
    fn keep_to(&self, longest_record: usize) {
        self.coordinator.keep_to(longest_record);
    }
    fn holder(&self, known: &Head) -> Result<Holder, CoordinatorError> {
        self.coordinator.holder(known)
    }
    fn renew(&self, lease: &Lease, label: &str) -> Result<(), CoordinatorError> {
        self.coordinator.renew(lease, label)
    }
    fn named(&self, head: &Head) -> Option<Named> {
        self.coordinator.named(head)
    }
    fn successor(&self, previous: &Head) -> Result<Option<Head>, CoordinatorError> {
        self.coordinator.successor(previous)
    }
    fn evidence(&self) -> Result<Vec<Head>, CoordinatorError> {
        self.coordinator.evidence()
    }
    fn seal(&self, token: Token, epoch: Epoch) -> Result<(), CoordinatorError> {
        self.coordinator.seal(token, epoch)
    }
    fn is_sealed(&self, token: Token) -> Result<bool, CoordinatorError> {
        self.coordinator.is_sealed(token)
    }
    fn unseal(&self, token: Token, previous: &Head, head: &Head) -> Result<bool, CoordinatorError> {
        self.coordinator.unseal(token, previous, head)
    }
    fn trouble(&self) -> Option<String> {
        self.coordinator.trouble()
    }
    fn release(&self, lease: &Lease) -> Result<(), CoordinatorError> {
        self.coordinator.release(lease)
    }
    fn carries(&self, head: &Head) -> bool {
        self.coordinator.carries(head)
    }
    fn is_in_files(&self) -> bool {
        self.coordinator.is_in_files()
    }
    fn lease_survives_swap(&self) -> bool {
        self.coordinator.lease_survives_swap()
    }
    fn takeover_is_visible(&self) -> bool {
        self.coordinator.takeover_is_visible()
    }
    fn lease_ends_with_process(&self) -> bool {
        self.coordinator.lease_ends_with_process()
    }
}
