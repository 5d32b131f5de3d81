//! What the `fs` coordinator needs beside files: names that are made once and looked up without a cache, and locks.

use super::{Stamp, Storage};
use crate::format::ids::{Token, Version};
use std::io;
use std::ops::RangeInclusive;

/// The modification time of `commits/`, in nanoseconds, from the moment when it is quiesced until its next change. It
/// is before all other times.
pub const QUIESCED: i128 = 1_000_000_000;

/// What `commits/` has under a number. Garbage collection removes the lowest numbers, and a writer that slept can make
/// such a name again. That is another file, so its stamp differs from that of the first.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its text.
    pub text: String,
    /// Which file the name is, looked up after the text was read.
    pub stamp: Stamp,
}

/// What comes after a version.
#[derive(Debug)]
pub enum News {
    /// The next version does not exist.
    Nothing,
    /// The next version exists, and the one after that does not.
    Next(Record),
    /// Both exist. The second one's stamp.
    Several(Stamp),
}

/// What a forced look at `commits/` found.
#[derive(Debug)]
pub struct Look {
    /// What comes after the version that the caller knows.
    pub news: News,
    /// The version that the caller knows, if its name still exists. This is looked up last: a missing version has
    /// certainly not been made yet only if this one was not garbage-collected.
    pub known: Option<Stamp>,
    /// When a name was last made or removed there, in nanoseconds of the server's clock. [`QUIESCED`] if none was since
    /// the folder was quiesced. `None` on a file system where no reader can miss a name.
    pub changed: Option<i128>,
}

/// The order of commits, and the lease, in the database's folder. Only the `fs` coordinator uses them. Every call that
/// may cross the network counts.
pub trait FsOrder: Storage {
    /// Looks at `commits/`, never from a stale cache: what comes after `known`, and does `known` still exist?
    fn look(&self, known: Version) -> io::Result<Look>;
    /// Looks at `commits/` itself, never from a stale cache: [`Look::changed`].
    fn look_at_folder(&self) -> io::Result<Option<i128>>;
    /// Which of `versions` exist, all looked up at once, as of the last look or later.
    fn look_up(&self, versions: &[Version]) -> io::Result<Vec<Option<Stamp>>>;
    /// The record of a version, as of the last look or later.
    fn record(&self, version: Version) -> io::Result<Option<Record>>;
    /// The record of the version `newest`; and, looked up freshly at the same time, the stamps of the one before it and
    /// of `known`.
    fn record_after(&self, newest: Version, known: Version) -> io::Result<(Option<Record>, [Option<Stamp>; 2])>;
    /// Every version that `commits/` names.
    fn versions(&self) -> io::Result<Vec<Version>>;
    /// Whether the folder that is open here is still the one that is called `commits/`. If it is not, because a recovery
    /// took it away, it is opened by its name the next time.
    fn is_in_place(&self) -> io::Result<bool>;
    /// Which folder `commits/` is to this process: a number that rises whenever it is opened by its name again.
    fn folder(&self) -> u64;
    /// How long a record may be, tried out in the database's folder, which exists.
    fn try_longest_record(&self) -> io::Result<usize>;
    /// Makes the name of `version`, with `record`, in one atomic step, which is durable on a network file system.
    /// `AlreadyExists` if that name exists: another process made it, or this very call did and its reply was lost.
    /// `folder` is the one in which the caller has seen the predecessor. If another one is open by now, nothing is made,
    /// and the error is `NotFound`.
    fn publish(&self, folder: u64, version: Version, record: &str) -> io::Result<()>;
    /// The second fsync of a commit, of the folder `commits/`: makes what was published durable on a local disk. The
    /// first time also the name of that folder, which a recovery may have given it. Costs no call on a network file
    /// system, where a name is durable when it is made.
    fn sync_published(&self) -> io::Result<()>;
    /// Takes the names of `versions` away, from the first to the last. One that is not there is fine. `folder` is the one
    /// in which the caller has found them. If another one is open by now, nothing is done, and the error is `NotFound`.
    fn unname(&self, folder: u64, versions: &[Version]) -> io::Result<()>;
    /// The stamps of `versions`, in that order. If `fresh`, as of a moment after this call began; otherwise as of the
    /// last look or publication, or later.
    fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>>;
    /// Quiesces `commits/` on a network file system: waits until every name that is being made there exists, and makes
    /// every client look up names again. A server may report a change before it finds the new name, and a client that
    /// looked in between remembers that the name is missing. `home` is the home that the head names. In a copy of that
    /// folder no names are made, so nothing is changed there.
    fn quiesce(&self, home: u64) -> io::Result<()>;
    /// Every record that is named in `commits/`, or in such a folder that a recovery took away and has not emptied. What
    /// recoveries have saved of them is in files, [`File::Records`](super::File::Records).
    fn retired(&self) -> io::Result<Vec<String>>;
    /// Takes `commits/` away, so that no name can be made there any more, however late its request arrives: renames it
    /// by `token`, saves the records in a file, removes the names from the lowest upward, and then the folder itself. A
    /// name that comes in between is a record like the others. What an earlier call left undone is done as well, and
    /// what it was about to put in the place of `commits/` is taken away.
    fn retire(&self, token: Token) -> io::Result<()>;
    /// Whether what the call of `retire` with this token has prepared is still there, and no `commits/`, never from a stale
    /// cache.
    fn is_sealed(&self, token: Token) -> io::Result<bool>;
    /// Makes `commits/` again, with these names in it, in one atomic step, durably. `false`: there is a folder of that
    /// name already, or another call of `retire` came after the one with this token.
    fn reinstate(&self, token: Token, records: &[(Version, String)]) -> io::Result<bool>;
    /// Takes the lock `slot` of the lease file without waiting. Returns `false` if another process has it. Locks are
    /// advisory: safety never rests on one. The head says which one stands for the lease now.
    fn try_lock(&self, slot: u32) -> io::Result<bool>;
    /// Whether any process has one of these locks, without taking it; `None` where that cannot be asked.
    fn is_locked(&self, _slots: RangeInclusive<u32>) -> io::Result<Option<bool>> {
        Ok(None)
    }
    /// Gives a lock back.
    fn unlock(&self, slot: u32) -> io::Result<()>;
}
