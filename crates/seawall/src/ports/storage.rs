//! The trait through which the engine reaches files, clocks and randomness.
//!
//! Its methods name a file by what it is ([`File`]), never by a path. So no text that was read from a file or a
//! coordinator can become part of a path. [`os`] implements the trait for this machine, and the crate `seawall-sim` for
//! simulated ones.

pub(crate) mod at_once;
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
pub(crate) mod retired;
pub mod rights;
pub(crate) mod safely;
pub mod trials;

pub use lease_file::lease_descriptors;
pub use order::{FsOrder, Look, News, QUIESCED, Record};

use crate::error::Result;
use crate::format::ids::{
    BaseName, CommitId, DatabaseId, Epoch, MalformedId, PinName, SegmentName, Token, Version, parse_number,
};
use crate::ports::counters::Counters;
use crate::ports::moment::Moment;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// One of a database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// NAME itself: a plain SQLite file that any tool can read and none can write.
    Name,
    /// The database's folder.
    Folder,
    /// Format version, database id and coordinator.
    Id,
    /// `id` before it has its name.
    IdDraft(DatabaseId),
    /// A segment.
    Segment(SegmentName),
    /// A base.
    Base(BaseName),
    /// A base before it has its name, by the process that this token names.
    BaseDraft(BaseName, Token),
    /// The checksums of a base's pages.
    Sums(BaseName),
    /// The checksums before they have their name.
    SumsDraft(BaseName, Token),
    /// What is to become NAME.
    NameDraft(Token),
    /// A small file before it has its name, whichever that will be.
    Draft(CommitId),
    /// A lazy note of the newest commit that a writer saw acknowledged.
    High,
    /// The `fs` coordinator's lock, and the label of who has it.
    Lease,
    /// How long history is kept, and when a checkpoint is due.
    Policy,
    /// When garbage was collected last.
    Collected,
    /// The head of a version, written when it was the newest: how long ago that was, the file's own time says.
    Milestone(Epoch, Version),
    /// An epoch that a recovery or a move has taken. It is empty: its name says all.
    Epoch(Epoch),
    /// The records of `commits/` that a recovery took away.
    Records(Token),
    /// A head whose version is kept although it is older than history.
    Pin(PinName),
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
            File::BaseDraft(name, token) => write!(f, "NAME-seawall/bases/{name}.{token}.sqlite3.draft"),
            File::Sums(name) => write!(f, "NAME-seawall/bases/{name}.sums"),
            File::SumsDraft(name, token) => write!(f, "NAME-seawall/bases/{name}.{token}.sums.draft"),
            File::NameDraft(token) => write!(f, "NAME-seawall/name.{token}.draft"),
            File::Draft(random) => write!(f, "NAME-seawall/draft.{random}"),
            File::High => f.write_str("NAME-seawall/high"),
            File::Lease => f.write_str("NAME-seawall/lease"),
            File::Policy => f.write_str("NAME-seawall/policy"),
            File::Collected => f.write_str("NAME-seawall/collected"),
            File::Milestone(epoch, version) => write!(f, "NAME-seawall/milestone.{}-{}", epoch.0, version.0),
            File::Epoch(epoch) => write!(f, "NAME-seawall/epoch.{}", epoch.0),
            File::Records(token) => write!(f, "NAME-seawall/records.{token}"),
            File::Pin(name) => write!(f, "NAME-seawall/pin.{name}"),
        }
    }
}

/// The file that has this path, as [`File`]'s `Display` writes it; no other spelling is one.
impl FromStr for File {
    type Err = MalformedId;

    fn from_str(path: &str) -> Result<File, MalformedId> {
        let malformed = MalformedId("name of a file of Seawall's");
        let file = Self::parse(path).ok_or(malformed)?;
        if file.to_string() == path { Ok(file) } else { Err(MalformedId("name of a file of Seawall's")) }
    }
}

impl File {
    fn parse(path: &str) -> Option<File> {
        let inside = match path {
            "NAME" => return Some(File::Name),
            "NAME-seawall" => return Some(File::Folder),
            path => path.strip_prefix("NAME-seawall/")?,
        };
        let drafted = |name: &str| {
            let (base, token) = name.rsplit_once('.')?;
            Some((base.parse().ok()?, token.parse().ok()?))
        };
        if let Some(name) = inside.strip_prefix("segments/") {
            return name.strip_suffix(".seg")?.parse().ok().map(File::Segment);
        }
        if let Some(name) = inside.strip_prefix("bases/") {
            if let Some(name) = name.strip_suffix(".sqlite3.draft") {
                return drafted(name).map(|(base, token)| File::BaseDraft(base, token));
            }
            if let Some(name) = name.strip_suffix(".sums.draft") {
                return drafted(name).map(|(base, token)| File::SumsDraft(base, token));
            }
            let base = name.strip_suffix(".sqlite3").and_then(|name| name.parse().ok()).map(File::Base);
            return base.or_else(|| name.strip_suffix(".sums")?.parse().ok().map(File::Sums));
        }
        match inside {
            "id" => Some(File::Id),
            "high" => Some(File::High),
            "lease" => Some(File::Lease),
            "policy" => Some(File::Policy),
            "collected" => Some(File::Collected),
            _ => {
                let (kind, rest) = inside.split_once('.')?;
                match kind {
                    "id" => rest.parse().ok().map(File::IdDraft),
                    "draft" => rest.parse().ok().map(File::Draft),
                    "pin" => rest.parse().ok().map(File::Pin),
                    "records" => rest.parse().ok().map(File::Records),
                    "epoch" => parse_number(rest).map(|epoch| File::Epoch(Epoch(epoch))),
                    "name" => rest.strip_suffix(".draft")?.parse().ok().map(File::NameDraft),
                    "milestone" => {
                        let (epoch, version) = rest.split_once('-')?;
                        Some(File::Milestone(Epoch(parse_number(epoch)?), Version(parse_number(version)?)))
                    }
                    _ => None,
                }
            }
        }
    }
}

/// A folder whose files are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listed {
    /// The database's own folder: pins, milestones and drafts are there.
    Folder,
    /// The folder of segments.
    Segments,
    /// The folder of bases, their checksums, and the drafts of both.
    Bases,
}

impl Listed {
    /// Its name inside the database's folder; none for that one itself.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Listed::Folder => None,
            Listed::Segments => Some("segments"),
            Listed::Bases => Some("bases"),
        }
    }

    /// The file that is called `name` in it, if that is one of Seawall's.
    pub fn file(self, name: &str) -> Option<File> {
        match self.name() {
            None => format!("NAME-seawall/{name}"),
            Some(folder) => format!("NAME-seawall/{folder}/{name}"),
        }
        .parse()
        .ok()
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

/// What a file looks like from outside. If this has changed, the file was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its inode number.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, in nanoseconds.
    pub changed: i128,
}

/// Makes the file `target`, which must not exist yet, for a copy of the database NAME. It gets NAME's permissions and
/// group, and, if root makes it, NAME's owner.
pub fn create_beside(name: &std::path::Path, target: &std::path::Path) -> io::Result<std::fs::File> {
    use rustix::fs::{AtFlags, CWD, OFlags, StatxFlags};
    let found = rustix::fs::statx(CWD, name, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    let file = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    safely::Folder::at(folder_of(target), safely::Use::Pass)?.create(file, OFlags::WRONLY, &rights::Rights::of(&found))
}

/// Makes the name of `target` durable, which lies in its folder now. Where that cannot be asked for, because this user
/// may not read the folder, or its file system syncs no folders, this does nothing.
pub fn sync_folder_of(target: &std::path::Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    let synced = std::fs::File::open(folder_of(target)).and_then(|folder| folder.sync_all());
    synced.or_else(|error| match error.kind() {
        InvalidInput | PermissionDenied | Unsupported => Ok(()),
        _ => Err(error),
    })
}

fn folder_of(target: &std::path::Path) -> &std::path::Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."))
}

/// What a folder without `id` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// All that an adoption makes before it marks NAME, and nothing that was committed. The next opener finishes the
    /// adoption.
    Adoption,
    /// Less than that. An adoption that marked NAME has made more.
    Less,
    /// What is there only once something was committed.
    Commits,
    /// The `id` of a removed database under its other name, because a removal was cut short.
    Removal,
    /// A part of the folder of a detached database: NAME is plain already.
    Detaching,
}

/// A database's home, from the inode numbers of `id` and of the folder that it lies in. A copied `id` has another inode
/// number. Hard links have the same number, but then the folder itself has another one, because a folder cannot have a
/// second name.
pub fn home_of(id: u64, folder: u64) -> u64 {
    id ^ folder.rotate_left(32)
}

/// A file that is being written, by this process only, front to back.
pub trait Append: Send {
    /// Appends `bytes`. When this returns they are durable, as after an fsync. After an error the file's end is
    /// unknown, therefore nothing may be appended to it any more.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Gives back the space behind the first `length` bytes. Nothing may be appended to the file afterwards.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A long file that is being written, by this process only, at any place. It is durable once it is finished.
pub trait Bulk: Send {
    /// Writes at `at`.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all of it durable. After an error nothing of it counts.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// One database's files, and this machine's clocks and randomness. Every call that may cross the network counts.
pub trait Storage: Send + Sync {
    /// Where operations are counted.
    fn counters(&self) -> &Counters;
    /// The file system's name, for people.
    fn describe(&self) -> String;
    /// Whether other machines may use the file system, too. Then each call may wait for a file server.
    fn is_shared(&self) -> bool;
    /// Tries out, before an adoption touches anything, whether a database can live in this place. It makes the
    /// database's folder for that, unless the folder exists, and returns whether it made it. `orders_commits`: the
    /// order of commits will be kept in the folder, too.
    fn prepare(&self, orders_commits: bool) -> Result<bool> {
        let _ = orders_commits;
        Ok(false)
    }
    /// Tries out the same in the folder of a database that exists, before the order of its commits is kept there.
    fn try_order(&self) -> Result<()> {
        Ok(())
    }
    /// Makes the database's folder and those inside it, durably, with NAME's rights. Folders that exist stay.
    fn create_folders(&self) -> io::Result<()>;
    /// How far an adoption or a removal got in the database's folder, which exists and has no `id`.
    fn begun(&self) -> io::Result<Begun>;
    /// Removes the database's folder if it is empty, after an adoption that came to nothing.
    fn discard_folder(&self);
    /// Removes the empty folders inside the database's folder, and then that as [`Self::discard_folder`] does. NAME is
    /// held, so that no other adopter uses them.
    fn discard_folders(&self);
    /// Removes what is left of a database whose removal was cut short. NAME is held, and `id` is gone.
    fn clear(&self) -> io::Result<()>;
    /// The inode number of a file, or `None` if it does not exist now. An earlier miss, which an NFS client remembers
    /// for half a minute, is no answer.
    fn inode(&self, file: File) -> io::Result<Option<u64>>;
    /// The home of the database whose `id` is `file`. A copy of the folder has another home, even a copy that is made
    /// of hard links.
    fn home(&self, file: File) -> io::Result<Option<u64>> {
        self.inode(file)
    }
    /// What a file looks like, or `None` if it does not exist now.
    fn stamp(&self, file: File) -> io::Result<Option<Stamp>>;
    /// Reads up to `length` bytes, always what the file has now. Fewer bytes mean that the file ends there.
    fn read(&self, span: Span) -> io::Result<Vec<u8>>;
    /// Reads several spans at once.
    fn read_many(&self, spans: &[Span]) -> Vec<io::Result<Vec<u8>>>;
    /// Makes a new, empty file, and its name durable. Fails with `AlreadyExists` if the file exists.
    fn create(&self, file: File) -> io::Result<Box<dyn Append>>;
    /// Makes a new, long file; its name is durable once it is finished. `AlreadyExists` if it is there.
    fn create_long(&self, file: File) -> io::Result<Box<dyn Bulk>>;
    /// Gives a small file this content in one atomic step, durably; the file is made if need be.
    fn replace(&self, file: File, bytes: &[u8]) -> io::Result<()>;
    /// Puts a finished draft in the place of NAME, durably, in one atomic step.
    fn put_name(&self, draft: Token) -> io::Result<()>;
    /// Makes durable that NAME is the file that it is. The process that put it there may have failed before that.
    fn sync_name(&self) -> io::Result<()>;
    /// Puts [`File::Draft`] in the place of `id`, durably, in one atomic step. `NotFound`: it is not there, and `id` is
    /// what it was.
    fn put_id(&self, draft: CommitId) -> io::Result<()>;
    /// The files in a folder, in no order, and the names there that Seawall gives to no file. One listing can miss a
    /// file that is there. A caller that acts because a file is *not* there lists twice.
    fn list(&self, listed: Listed) -> io::Result<(Vec<File>, Vec<String>)>;
    /// Writes a part of a small file in place, durably. Makes the file if it does not exist.
    fn write(&self, file: File, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what this file has now, whichever process wrote it.
    fn sync(&self, file: File) -> io::Result<()>;
    /// Makes the names in the database's folder durable on a local disk. `id` is among them, because the process that
    /// linked it may have failed before that name was durable. Costs no call on a network file system, where a name is
    /// durable as soon as it exists.
    fn sync_names(&self) -> io::Result<()>;
    /// Gives a file a second name, durably. Fails with `AlreadyExists` if that name is taken.
    fn link(&self, from: File, to: File) -> io::Result<()>;
    /// Removes a file. It is no error if the file does not exist.
    fn remove(&self, file: File) -> io::Result<()>;

    /// Whether this process may make files in the database's folder. The error says why it may not. Where the system
    /// cannot be asked, the answer is yes, and making the file shows it.
    fn may_write(&self) -> io::Result<()>;
    /// Both clocks.
    fn now(&self) -> Moment;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// Fills `into` with bytes from the operating system, never from a generator that a copy of this process shares.
    fn random(&self, into: &mut [u8]) -> io::Result<()>;
    /// This process's number. A forked child has another one.
    fn process(&self) -> u32;
    /// This process and machine, for people.
    fn label(&self) -> String;
    /// These files, for the `fs` coordinator.
    fn order(self: Arc<Self>) -> Arc<dyn FsOrder>;
}

/// What two listings of a folder show.
pub(crate) fn list_twice(storage: &dyn Storage, listed: Listed) -> io::Result<(Vec<File>, BTreeSet<String>)> {
    let ((mut files, others), (again, more)) = (storage.list(listed)?, storage.list(listed)?);
    let mut known: HashSet<File> = files.iter().copied().collect();
    files.extend(again.into_iter().filter(|file| known.insert(*file)));
    Ok((files, others.into_iter().chain(more).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_one_file_and_every_file_one_path() {
        let base = BaseName { epoch: Epoch(1), version: Version(20), id: [1, 2, 3, 4] };
        let token = Token([0xcd; 8]);
        let segment = "abababababababab-7".parse().unwrap();
        let pin = "before.the-release".parse().unwrap();
        let files = [File::Name, File::Folder, File::Id, File::IdDraft(DatabaseId([3; 16])), File::Segment(segment)];
        let more = [File::Base(base), File::BaseDraft(base, token), File::Sums(base), File::SumsDraft(base, token)];
        let rest = [
            File::NameDraft(token),
            File::High,
            File::Lease,
            File::Policy,
            File::Collected,
            File::Pin(pin),
            File::Records(token),
            File::Epoch(Epoch(12)),
            File::Milestone(Epoch(0), Version(7)),
            File::Draft(CommitId([7; 16])),
        ];
        for file in files.into_iter().chain(more).chain(rest) {
            assert_eq!(file.to_string().parse(), Ok(file));
        }
        for wrong in [
            "",
            "NAME-seawall/",
            "NAME-seawall/milestone.00-7",
            "NAME-seawall/epoch.07",
            "NAME-seawall/pin.",
            "NAME-seawall/bases/x.sqlite3",
        ] {
            assert!(wrong.parse::<File>().is_err(), "{wrong:?} was taken");
        }
    }
}
