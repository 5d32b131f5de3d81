//! The commit that begins an epoch: of a recovery, or of a move. It has no pages.

use super::recover::random;
use crate::error::Result;
use crate::format::group;
use crate::format::head::{Floor, Head, State, Upkeep};
use crate::format::ids::{CommitId, Epoch};
use crate::ports::storage::Storage;
use crate::read::pages::Pages;
use crate::read::snapshot::Snapshot;
use crate::write::encode::{Change, CommitEncoder, Draft};
use crate::write::inline::carried;
use crate::write::segment::SegmentWriter;
use std::sync::Arc;

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
    let mut compressor = group::Encoder::default();
    let mut encoder = CommitEncoder::new(&draft, &pages.segments)?;
    let mut segment = SegmentWriter::default();
    let appended = segment.append(storage, begin.sweep, |frames| encoder.encode_piece(&mut compressor, frames));
    let commit = appended.map_err(|failed| failed.error)?.commit;
    let head = snapshot.head.followed_by(commit, begin.generation, 0);
    Ok((snapshot.head.clone(), head))
}
