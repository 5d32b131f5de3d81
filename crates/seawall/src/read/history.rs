//! Reaching an old version from the newest one, by the jumps that commit frames have: in a number of reads that is logarithmic in the
//! distance. Each frame on the way is checked against what names it.

use crate::error::{Error, Result, time_of};
use crate::format::codec::Malformed;
use crate::format::commit_frame::CommitFrame;
use crate::format::frame::UNIT;
use crate::format::head::{Floor, Head};
use crate::format::ids::{DatabaseId, Epoch, Version};
use crate::format::jump::Jump;
use crate::format::window::Window;
use crate::ports::moment::Moment;
use crate::ports::storage::File;
use crate::read::pages::{Pages, ReadError};
use crate::read::snapshot::Snapshot;
use crate::read::tip::{PATIENCE, Tip};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Which version of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The version of this number.
    Version(Version),
    /// The newest version that was committed at this time or before, in milliseconds since 1970.
    Time(u64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Version(version) => write!(f, "version {}", version.0),
            At::Time(millis) => f.write_str(&time_of(*millis)),
        }
    }
}

impl At {
    /// Whether a version and its time are later than what is asked for.
    fn is_before(self, version: Version, time: u64) -> bool {
        match self {
            At::Version(asked) => asked < version,
            At::Time(asked) => asked < time,
        }
    }

    /// Whether history still reaches back so far.
    fn check(self, floor: Floor) -> Result<()> {
        if self.is_before(floor.version, floor.time) {
            return Err(Error::BeforeHistory { asked: self.to_string(), floor });
        }
        Ok(())
    }
}

impl Tip {
    /// The version that `at` names, in the history of `newest`. `None`: a recovery has changed the history meanwhile; begin again.
    pub(crate) fn version_at(&self, newest: &Arc<Snapshot>, at: At) -> Result<Option<Arc<Snapshot>>> {
        at.check(newest.head.floor)?;
        match at {
            At::Version(version) if version > newest.version() => {
                return Err(Error::CannotOpen(format!(
                    "version {} does not exist yet: the newest is version {}, committed at {}",
                    version.0,
                    newest.version().0,
                    time_of(newest.time)
                )));
            }
            _ if !at.is_before(newest.version(), newest.time) => return Ok(Some(newest.clone())),
            _ => {}
        }
        let placed = self.pages.version_at(newest, at, self.storage.now());
        // What was promised at first may have been given up meanwhile. From now on a reader learns that by its own errors.
        let head = self.load(newest, PATIENCE)?;
        if head.epoch != newest.head.epoch {
            return Ok(None);
        }
        at.check(head.floor)?;
        let placed = placed?;
        At::Version(placed.version()).check(head.floor)?;
        Ok(Some(Arc::new(placed)))
    }
}

impl Pages {
    fn version_at(&self, newest: &Snapshot, at: At, sent: Moment) -> Result<Snapshot> {
        // The commits since the newest fold need nothing else.
        if !at.is_before(newest.head.folded(), newest.folded.time) {
            return in_window(newest, &newest.head.window, at, sent);
        }
        let mut way = Way::from(self.database, newest);
        // The frame of the fold after the one that is asked for.
        let mut after: Option<CommitFrame> = None;
        loop {
            match way.next_to(at) {
                Step::There(jump) => {
                    let frame = self.frame_of(&mut way, &jump)?;
                    let head = frame.head(jump.commit(frame.commit));
                    let fold = self.snapshot_of_frame(head, frame, None, sent)?;
                    if at == At::Version(jump.version) {
                        return Ok(fold);
                    }
                    let next = match after.filter(|after| after.ordinal == jump.ordinal + 1) {
                        Some(next) => next,
                        None => {
                            let next = way.known(jump.ordinal + 1).expect("it is known by name");
                            self.frame_of(&mut way, &next)?
                        }
                    };
                    return in_window(&fold, &next.window, at, sent);
                }
                Step::Through(jump) => {
                    let frame = self.frame_of(&mut way, &jump)?;
                    if frame.ordinal == 1 {
                        let first = first_head(&frame)
                            .ok_or_else(|| damaged(&way, "version 0 is another one than the first commit names"))?;
                        return in_window(&Snapshot::first(first, sent), &frame.window, at, sent);
                    }
                    after = Some(frame);
                }
            }
        }
    }

    fn frame_of(&self, way: &mut Way, jump: &Jump) -> Result<CommitFrame> {
        let frame = self.commit_at(jump.place, jump.digest, 0).map_err(|why| match why {
            ReadError::Failed(..) => Error::from(why),
            why => Error::corrupt(format!("the commit frame of version {}", jump.version.0), why),
        })?;
        way.learn(&frame, jump).map_err(|why| {
            let (segment, at) = (File::Segment(jump.place.segment), u64::from(jump.place.at) * UNIT);
            Error::corrupt(format!("the commit frame of version {} ({segment} at {at})", jump.version.0), why)
        })?;
        Ok(frame)
    }
}

/// The version that `at` names, which is `fold`, or one of the commits in the window behind it.
fn in_window(fold: &Snapshot, window: &Window, at: At, sent: Moment) -> Result<Snapshot> {
    let folded = fold.head.folded().0;
    let is_in = |n: usize| !at.is_before(Version(folded + 1 + n as u64), window.entries()[n].0.time);
    let count = (0..window.entries().len()).take_while(|n| is_in(*n)).count();
    let (version, window) = (Version(folded + count as u64), window.first(count, &fold.head.fold.digest));
    let head = Head { version, window, ..fold.head.clone() };
    fold.with_window(head, sent).map_err(|why| Error::corrupt(format!("the history at version {}", version.0), why))
}

fn damaged(way: &Way, why: &str) -> Error {
    Error::corrupt(format!("the history of database {}", way.database), why)
}

/// The earlier commits that are known by name, on the way down from a newer one.
pub(crate) struct Way {
    database: DatabaseId,
    epoch: Epoch,
    known: BTreeMap<Version, Jump>,
}

/// Where the way goes on.
pub(crate) enum Step {
    /// This is the fold that is asked for, or the one before it.
    There(Jump),
    /// It is before this one, whose frame names earlier ones.
    Through(Jump),
}

impl Way {
    /// The way down from a version that is not version 0.
    pub(crate) fn from(database: DatabaseId, newest: &Snapshot) -> Way {
        let head = &newest.head;
        let itself = head.fold.place.map(|place| Jump {
            ordinal: newest.trail.ordinal,
            version: head.folded(),
            digest: head.fold.digest,
            place,
            time: newest.folded.time,
        });
        let known = newest.trail.jumps.iter().copied().chain(itself).map(|jump| (jump.version, jump)).collect();
        Way { database, epoch: head.epoch, known }
    }

    /// The fold of this ordinal, if it is known by name.
    fn known(&self, ordinal: u64) -> Option<Jump> {
        self.known.values().find(|jump| jump.ordinal == ordinal).copied()
    }

    /// The newest fold that is not after what is asked for, if it is known by name to be that; else the oldest known one
    /// after it.
    pub(crate) fn next_to(&self, at: At) -> Step {
        let is_after = |jump: &&Jump| at.is_before(jump.version, jump.time);
        // Times rise with versions, so what comes after the one that is asked for is the end of the list.
        let after = self.known.values().rev().take_while(is_after).last();
        let before = self.known.values().rev().find(|jump| !is_after(jump));
        match (before, after) {
            (Some(before), Some(after)) if before.ordinal + 1 == after.ordinal => Step::There(*before),
            (Some(before), _) if at == At::Version(before.version) => Step::There(*before),
            (_, Some(after)) => Step::Through(*after),
            (Some(before), None) => Step::There(*before),
            (None, None) => unreachable!("the newest version is known"),
        }
    }

    /// Takes in what `frame` names, which `jump` names. What two frames say of one version must be the same: otherwise one of them jumps
    /// to a commit that is not in this history. (Invariant 2.)
    pub(crate) fn learn(&mut self, frame: &CommitFrame, jump: &Jump) -> Result<(), Malformed> {
        let is_it = (frame.ordinal, frame.version, frame.time) == (jump.ordinal, jump.version, jump.time);
        if frame.database != self.database || !is_it {
            return Err(Malformed("it is another commit than the one that a later commit names"));
        }
        if frame.epoch > self.epoch {
            return Err(Malformed("its epoch is newer than that of a later commit"));
        }
        for named in frame.named() {
            if self.known.insert(named.version, named).is_some_and(|known| known != named) {
                return Err(Malformed("it names another commit of some version than a later commit does"));
            }
        }
        Ok(())
    }
}

/// The head of version 0, which only the first fold knows. `None`: that one names another.
pub(crate) fn first_head(one: &CommitFrame) -> Option<Head> {
    let first = Head::first(one.database, one.fold.id, one.base, one.home);
    first.commit().is(&one.fold).then_some(first)
}
