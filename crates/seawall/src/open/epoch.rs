//! The commit that begins an epoch: of a recovery, or of a move. It has no pages.
//!
//! An epoch is *taken* before that: by a file whose name has its number (`epoch.<n>`). A name cannot be written over, as
//! the note in `high` can, and is not lost with a segment. So a recovery never begins an epoch again.

use super::recover::random;
use crate::error::{Error, Result};
use crate::format::head::{Floor, Head, State, Upkeep};
use crate::format::ids::{CommitId, Epoch};
use crate::mutation::mistake;
use crate::ports::storage::{File, Listed, Storage};
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::upkeep::listing::list;
use crate::write::encode::{Change, CommitEncoder, Draft};
use crate::write::inline::carried;
use crate::write::pack::Packer;
use crate::write::segment::SegmentWriter;
use std::io;
use std::sync::Arc;

/// The highest epoch that was taken.
pub(super) fn highest_taken(storage: &dyn Storage) -> Result<Epoch> {
    let files = list(storage, Listed::Folder)?.files.into_iter();
    let taken = files.filter_map(|file| match file {
        File::Epoch(epoch) => Some(epoch),
        _ => None,
    });
    Ok(taken.max().unwrap_or_default())
}

/// Takes the first epoch from `first` on that nobody has taken, durably: two recoveries never have the same one.
pub(super) fn take_epoch(storage: &dyn Storage, first: Epoch) -> Result<Epoch> {
    let mut epoch = first.max(highest_taken(storage)?.next());
    while !take(storage, epoch)? {
        if epoch.next() == epoch {
            let file = File::Epoch(epoch);
            return Err(Error::corrupt(file, "no epoch comes after it. No recovery makes such a file: remove it"));
        }
        epoch = epoch.next();
    }
    Ok(epoch)
}

/// Takes this epoch for a move, durably. All movers that come from one fence have the same one.
pub(super) fn share_epoch(storage: &dyn Storage, epoch: Epoch) -> Result<()> {
    take(storage, epoch).and_then(|is_new| {
        // The mover that took it may have failed before the name was durable.
        let synced = if is_new { Ok(()) } else { storage.sync_names() };
        synced.map_err(|error| Error::io(format!("making {} durable", File::Epoch(epoch)), error))
    })
}

/// Whether it was not taken before.
fn take(storage: &dyn Storage, epoch: Epoch) -> Result<bool> {
    mistake!(EpochNotTaken, return Ok(true));
    let file = File::Epoch(epoch);
    match storage.create(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io(format!("making {file}"), error)),
    }
}

/// What an epoch begins with.
pub(super) struct Beginning {
    pub(super) epoch: Epoch,
    pub(super) home: u64,
    pub(super) sweep: u64,
    /// That of the head before the first of the epoch.
    pub(super) generation: u64,
    pub(super) floor: Floor,
}

impl Beginning {
    /// `head`, as if it had been in this epoch.
    pub(super) fn over(&self, head: Head) -> Head {
        let Beginning { epoch, home, sweep, generation, floor } = *self;
        Head { epoch, home, sweep, generation, floor, lease_slot: 0, state: State::Open, ..head }
    }
}

/// Appends the first commit of an epoch over `snapshot`, durably. Answers the head before it, as if that had been in
/// this epoch, and the head that names it.
pub(super) fn begin_epoch(
    storage: &dyn Storage,
    pages: &Pages,
    mut snapshot: Snapshot,
    begin: Beginning,
) -> Result<(Head, Head)> {
    snapshot.head = begin.over(snapshot.head);
    let snapshot = Arc::new(snapshot);
    let change = Change::without_pages(&snapshot, Upkeep::default());
    let carried = carried(&change, |page| pages.read(&snapshot, page))?;
    let draft =
        Draft { change: &change, commit: CommitId(random(storage)?), time: storage.now().unix_millis(), carried };
    let mut packer = Packer::default();
    let mut encoder = CommitEncoder::new(&draft, &pages.segments)?;
    let mut segment = SegmentWriter::default();
    let appended = segment.append(storage, begin.sweep, |frames| encoder.encode_piece(&mut packer, frames));
    let commit = appended.map_err(|failed| failed.error)?.commit;
    let head = snapshot.head.followed_by(commit, begin.generation, 0);
    Ok((snapshot.head.clone(), head))
}
