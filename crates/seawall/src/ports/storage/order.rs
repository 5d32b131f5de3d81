//! What the `fs` coordinator needs beside files: names that are made once and looked up without a cache, and locks.

use super::{Stamp, Storage};
use crate::format::ids::Version;
use std::io;

/// The modification time of `commits/`, in nanoseconds, from when it is quiesced until its next change: it is before
/// all others.
pub const QUIESCED: i128 = 1_000_000_000;

/// A lock in the lease file. Locks are advice: nothing is ever safe because of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The lease; which of them counts now is in the head.
    Lease(u32),
    /// The place of the first waiter for the lease.
    Waiter,
}

/// What `commits/` has under a number. Numbers are collected from below, and a writer that slept can name one again:
/// the stamp shows whether it is the one that was there before, for it is another file.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its text.
    pub text: String,
    /// Which file it is, asked for after the text.
    pub stamp: Stamp,
}

/// What a forced look at `commits/` found.
#[derive(Debug)]
pub struct Look {
    /// The version after the one that the caller knows, if there is one …
    pub next: Option<Record>,
    /// … and then the version after that.
    pub after_next: Option<Record>,
    /// What the caller knows, if it is still named, asked for after all else: only if it was not collected is what was
    /// missing not yet there.
    pub known: Option<Stamp>,
    /// When a name was last made or removed there, in nanoseconds of the server's clock; [`QUIESCED`] if none was since
    /// it was quiesced; `None`: on this file system no reader can miss a name.
    pub changed: Option<i128>,
}

/// The order of commits, and the lease, in the database's folder. Only the `fs` coordinator uses them. Every call that
/// may cross the network counts.
pub trait FsOrder: Storage {
    /// Looks at `commits/`, never from a cache: what comes after `known`, and is it all still there?
    fn look(&self, known: Version) -> io::Result<Look>;
    /// The records of `versions`, all asked for at once, as of the last look or later.
    fn records(&self, versions: &[Version]) -> io::Result<Vec<Option<Record>>>;
    /// Every version that `commits/` names.
    fn versions(&self) -> io::Result<Vec<Version>>;
    /// Names `version` with `record` in one atomic step, durable on a network file system. `AlreadyExists` if it is
    /// named: by another process, or by this very call, whose reply was lost.
    fn publish(&self, version: Version, record: &str) -> io::Result<()>;
    /// Makes what was published durable on a local disk; costs no call on a network file system.
    fn sync_published(&self) -> io::Result<()>;
    /// The stamps of `versions`, one after the other; as of a moment after this call began if `fresh`, and otherwise as
    /// of the last look or publication, or later.
    fn stamps(&self, versions: &[Version], fresh: bool) -> io::Result<Vec<Option<Stamp>>>;
    /// On a network file system: waits until every name that is being made in `commits/` is there, and has every client
    /// look names up again. A server may tell of a change before it finds the new name, and a client that looked in
    /// between remembers that there is none. `home` is the one that the head names: in a copy of that folder no names
    /// are made, and nothing is changed.
    fn quiesce(&self, home: u64) -> io::Result<()>;
    /// Takes a lock without waiting. `false`: another process has it.
    fn try_lock(&self, lock: Lock) -> io::Result<bool>;
    /// Gives a lock back.
    fn unlock(&self, lock: Lock) -> io::Result<()>;
}
