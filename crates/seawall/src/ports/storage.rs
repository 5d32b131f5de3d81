//! The trait through which the engine reaches files, clocks and randomness.
//!
//! It speaks of one database's files by what they are ([`File`]), never by a path, so that nothing that was read from
//! a file or a coordinator can become part of one. The simulator implements it as the real one does.

mod at_once;
#[cfg(feature = "testing")]
pub mod chosen;
mod commits;
mod descriptors;
mod entries;
mod home;
pub mod inspect;
mod lease;
mod lease_file;
mod order;
pub mod os;
pub(crate) mod prepare;
pub(crate) mod remains;
pub mod rights;
pub(crate) mod safely;
pub mod trials;

pub use lease_file::lease_descriptors;
pub use order::{FsOrder, Lock, Look, QUIESCED, Record};

use crate::error::Result;
use crate::format::ids::{BaseName, DatabaseId, SegmentName};
use crate::ports::counters::Counters;
use crate::ports::moment::Moment;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One of a database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// NAME itself: a plain SQLite file that any tool can read and none can write.
    Name,
    /// The database's folder.
    Folder,
    /// What the folder is: format version, database id, coordinator.
    Id,
    /// `id` before it has its name.
    IdDraft(DatabaseId),
    /// A segment.
    Segment(SegmentName),
    /// A base.
    Base(BaseName),
    /// A base before it has its name.
    BaseDraft(BaseName),
    /// The checksums of a base's pages.
    Sums(BaseName),
    /// The checksums before they have their name.
    SumsDraft(BaseName),
    /// A lazy note of the newest commit that a writer saw acknowledged.
    High,
    /// The `fs` coordinator's lock, and the label of who has it.
    Lease,
}

impl fmt::Display for File {
    /// The path below the folder that NAME lies in, with `NAME` standing for its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            File::Name => f.write_str("NAME"),
            File::Folder => f.write_str("NAME-seawall"),
            File::Id => f.write_str("NAME-seawall/id"),
            File::IdDraft(id) => write!(f, "NAME-seawall/id.{id}"),
            File::Segment(name) => write!(f, "NAME-seawall/segments/{name}.seg"),
            File::Base(name) => write!(f, "NAME-seawall/bases/{name}.sqlite3"),
            File::BaseDraft(name) => write!(f, "NAME-seawall/bases/{name}.sqlite3.draft"),
            File::Sums(name) => write!(f, "NAME-seawall/bases/{name}.sums"),
            File::SumsDraft(name) => write!(f, "NAME-seawall/bases/{name}.sums.draft"),
            File::High => f.write_str("NAME-seawall/high"),
            File::Lease => f.write_str("NAME-seawall/lease"),
        }
    }
}

/// What to read: a file, where, and how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The file.
    pub file: File,
    /// The first byte.
    pub at: u64,
    /// How many bytes; fewer come back where the file ends.
    pub length: usize,
}

/// What a file looks like from outside: when this changes, it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its inode number.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, in nanoseconds.
    pub changed: i128,
}

/// Makes `target`, where nothing may lie yet, for a copy of the database NAME, with NAME's permissions, group and, made
/// by root, owner.
pub fn create_beside(name: &std::path::Path, target: &std::path::Path) -> io::Result<std::fs::File> {
    use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags};
    let found = rustix::fs::statx(CWD, name, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let file = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    safely::Folder::at(parent, safely::Use::Pass)?.create(file, OFlags::WRONLY, &rights::Rights::of(&found))
}

/// What a folder without `id` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// All that an adoption makes before it marks NAME, and nothing that was committed: the next opener finishes the
    /// adoption.
    Adoption,
    /// Less than that: no adoption that marked NAME left it so.
    Less,
    /// What is there only once something was committed.
    Commits,
    /// What was `id`: a removal was cut short.
    Removal,
}

/// A database's home, from the inode numbers of `id` and of the folder that it lies in. A copied `id` has another
/// number, and a folder whose files were copied as hard links, which have the same, has itself another: no folder has a
/// second name.
pub fn home_of(id: u64, folder: u64) -> u64 {
    id ^ folder.rotate_left(32)
}

/// A file that is being written, by this process only, front to back.
pub trait Append: Send {
    /// Appends `bytes`; when this returns they are durable, as after an fsync. After an error the file's end is
    /// unknown: it must not be appended to again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Gives the space back that lies behind the first `length` bytes. The file must not be appended to afterwards.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file on the local disk for what does not fit in memory; gone when dropped.
pub trait Scratch: Send + Sync {
    /// Writes at `at`.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into` from `at`.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

/// One database's files, and this machine's clocks and randomness. Every call that may cross the network counts.
pub trait Storage: Send + Sync {
    /// Where operations are counted.
    fn counters(&self) -> &Counters;
    /// The file system's name, for people.
    fn describe(&self) -> String;
    /// Before an adoption touches anything: whether a database can live in this place, tried out in its folder, which
    /// is made for it. `orders_commits`: the order of commits is to be in the folder, too. Whether it made the folder.
    fn prepare(&self, orders_commits: bool) -> Result<bool> {
        let _ = orders_commits;
        Ok(false)
    }
    /// Makes the database's folder and those inside it, durably, with NAME's rights; those that are there stay.
    fn create_folders(&self) -> io::Result<()>;
    /// What the database's folder has, which is there and has no `id`.
    fn begun(&self) -> io::Result<Begun>;
    /// Removes the database's folder, if there is nothing in it: an adoption came to nothing.
    fn discard_folder(&self);
    /// The same, and first those inside it that are empty. NAME is held, so that no other adopter uses them.
    fn discard_folders(&self);
    /// Removes what is left of a database whose removal was cut short. NAME is held, and `id` is gone.
    fn clear(&self) -> io::Result<()>;
    /// The inode number of a file, `None` if it is not there now: an earlier miss, which an NFS client remembers for
    /// half a minute, is no answer.
    fn inode(&self, file: File) -> io::Result<Option<u64>>;
    /// The home of the database whose `id` is `file`: a number that a copy of the folder does not have, be it made of
    /// hard links.
    fn home(&self, file: File) -> io::Result<Option<u64>> {
        self.inode(file)
    }
    /// What a file looks like, `None` if it is not there now.
    fn stamp(&self, file: File) -> io::Result<Option<Stamp>>;
    /// Reads up to `length` bytes, always what the file has now; fewer only where it ends.
    fn read(&self, span: Span) -> io::Result<Vec<u8>>;
    /// Reads several spans at once.
    fn read_many(&self, spans: &[Span]) -> Vec<io::Result<Vec<u8>>>;
    /// Makes a new, empty file; its name is durable. `AlreadyExists` if it is there.
    fn create(&self, file: File) -> io::Result<Box<dyn Append>>;
    /// Writes a part of a small file in place, durably; the file is made if need be.
    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the names in the database's folder durable on a local disk, `id` among them: another process may have
    /// linked it, and failed before that was durable. Costs no call on a network file system, where names are durable
    /// as soon as they are there.
    fn sync_names(&self) -> io::Result<()>;
    /// Gives a file a second name, durably. `AlreadyExists` if that is taken.
    fn link(&self, from: File, to: File) -> io::Result<()>;
    /// Removes a file; one that is not there is fine.
    fn remove(&self, file: File) -> io::Result<()>;

    /// Whether this process may make files in the database's folder; the error says why it may not. Where that cannot
    /// be asked, it may, and finds out by doing it.
    fn may_write(&self) -> io::Result<()>;
    /// Both clocks.
    fn now(&self) -> Moment;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// Fills `into` with bytes from the operating system, never from a generator that a copy of this process shares.
    fn random(&self, into: &mut [u8]) -> io::Result<()>;
    /// This process's number: another one after a fork.
    fn process(&self) -> u32;
    /// This process and machine, for people.
    fn label(&self) -> String;
    /// A scratch file on the local disk.
    fn scratch(&self) -> io::Result<Box<dyn Scratch>>;
    /// The same files, for the `fs` coordinator.
    fn order(self: Arc<Self>) -> Arc<dyn FsOrder>;
}
