//! What a database needs to live for years: checkpoints, pins, and garbage collection.

pub(crate) mod background;
pub(crate) mod checkpoint;
pub(crate) mod collect;
pub(crate) mod collected;
pub(crate) mod copy;
pub(crate) mod held;
pub(crate) mod listing;
pub(crate) mod overview;
pub(crate) mod pins;
pub(crate) mod policy;
pub(crate) mod scan;
pub(crate) mod verify;

use crate::error::{Error, Result};
use crate::format::head::{Head, Upkeep};
use crate::ports::storage::{File, Span, Storage};
use crate::read::snapshot::Snapshot;
use crate::write::committer::Committer;
use crate::write::encode::Change;
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl Committer {
    /// Commits no pages, and what `decide` says of the head, under the lease. `None`: `decide` found nothing to be done
    /// any more. If another commit goes first although this process has the lease, it is tried again.
    pub(crate) fn commit_upkeep(
        self: &Arc<Self>,
        timeout: Duration,
        decide: impl Fn(&Head) -> Result<Option<Upkeep>>,
    ) -> Result<Option<Arc<Snapshot>>> {
        let began = self.tip.storage.now().monotonic;
        loop {
            let waited = self.tip.storage.now().monotonic.saturating_sub(began);
            match self.try_to_commit_upkeep(began, timeout, &decide) {
                Err(Error::Superseded { .. }) if waited < timeout => {}
                committed => return committed,
            }
        }
    }

    fn try_to_commit_upkeep(
        self: &Arc<Self>,
        began: Duration,
        timeout: Duration,
        decide: &impl Fn(&Head) -> Result<Option<Upkeep>>,
    ) -> Result<Option<Arc<Snapshot>>> {
        let (mut turn, snapshot) = self.begin_turn(began, timeout)?;
        let mut commit = || {
            let Some(upkeep) = decide(&snapshot.head)? else { return Ok(None) };
            let change = Change::without_pages(&snapshot, upkeep);
            self.commit(&mut turn, &change, None).map(Some)
        };
        let committed = commit();
        self.end_turn(&mut turn);
        committed
    }
}

/// A small file's text, if it is there.
pub(crate) fn text_of(storage: &dyn Storage, file: File, length: usize) -> Result<Option<String>> {
    match storage.read(Span { file, at: 0, length }) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("reading {file}"), error)),
    }
}
