//! How a database is kept, for `status` and `doctor`.

use super::background::collect_every;
use super::checkpoint::log_and_base;
use super::collect::{Collected, Collecting};
use super::collected::{self, LastCollection};
use super::listing::time_of;
use super::pins::{Pinned, pins};
use super::policy::policy;
use crate::error::{Error, Result};
use crate::format::policy::Policy;
use crate::options::Freshness;
use crate::ports::storage::File;
use crate::write::committer::Committer;
use crate::write::settle::PATIENCE_LATER;
use std::sync::Arc;
use std::time::Duration;

/// How a database is kept, as of now.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Who has the lease; `None` if nobody is writing.
    pub writer: Option<String>,
    /// Its policy.
    pub policy: Policy,
    /// The next checkpoint is due once the log since the base has more bytes than that.
    pub checkpoint_due: u64,
    /// The last garbage collection that succeeded, as far as is known.
    pub collected: Option<LastCollection>,
    /// How often garbage is to be collected.
    pub collect_every: Duration,
    /// Garbage collection has not succeeded for twice that time, although something was committed since.
    pub is_late: bool,
    /// What a garbage collection would do now, or why it would fail.
    pub would: Result<Collected>,
    /// The pins; none if one of them cannot be read.
    pub pins: Vec<Pinned>,
}

impl Committer {
    /// Changes nothing. Lists the folder, and looks at each file.
    pub(crate) fn overview(self: &Arc<Self>) -> Result<Overview> {
        let storage = &*self.tip.storage;
        let snapshot = self.snapshot(Freshness::Transaction, PATIENCE_LATER)?;
        let writer = self.tip.coordinator.writer(&snapshot.head).map_err(Error::nothing_written)?;
        let policy = policy(storage)?;
        let (_, base) = log_and_base(&snapshot);
        let collected = collected::last(storage)?;
        let collect_every = collect_every(&policy);
        // Before the first one, the database's own age counts.
        let since = match collected {
            Some(last) => last.time,
            None => time_of(storage, File::Id)?.map_or(0, |made| (made / 1_000_000) as u64),
        };
        let age = storage.now().unix_millis().saturating_sub(since);
        let is_late = u128::from(age) > 2 * collect_every.as_millis() && snapshot.time > since;
        Ok(Overview {
            writer: writer.map(|label| match label.is_empty() {
                true => "a writer that has not said yet who it is".into(),
                false => label.into(),
            }),
            checkpoint_due: base.max(policy.checkpoint_at),
            policy,
            collected,
            collect_every,
            is_late,
            would: self.collect(Collecting { dry_run: true, ..Collecting::default() }),
            // One that cannot be read makes a collection fail, which `would` says.
            pins: pins(storage).unwrap_or_default(),
        })
    }
}
