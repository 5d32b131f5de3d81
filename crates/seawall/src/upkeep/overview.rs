//! How a database is kept, for `status` and `doctor`.

use super::background::collect_every;
use super::checkpoint::log_and_base;
use super::collect::{Collected, Collecting};
use super::collected::{self, LastCollection};
use super::listing::time_of;
use super::pins::{Pinned, pins};
use super::policy::policy;
use super::text_of;
use crate::error::{Error, Result};
use crate::format::frame::UNIT;
use crate::format::high::{self, High};
use crate::format::policy::Policy;
use crate::options::Freshness;
use crate::ports::storage::File;
use crate::read::pages::SUM_BYTES;
use crate::read::snapshot::Snapshot;
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
    /// What is wrong with the files that the newest version stands on, as far as their sizes show it.
    pub missing: Vec<String>,
    /// How many of the newest commits are in the names of `commits/` only, and in no segment yet, as far as `high` says
    /// that (`fs`).
    pub only_in_names: u64,
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
            missing: self.missing(&snapshot)?,
            only_in_names: self.only_in_names(&snapshot)?,
        })
    }

    /// What rides in the head, and came after the newest copy of a head in a segment. Who writes `high` has copied what it
    /// names before.
    fn only_in_names(&self, snapshot: &Snapshot) -> Result<u64> {
        if !self.tip.coordinator.is_in_files() {
            return Ok(0);
        }
        let head = &snapshot.head;
        let high = text_of(&*self.tip.storage, File::High, high::LENGTH)?.and_then(|text| text.parse::<High>().ok());
        let copied = high.filter(|high| (high.database, high.epoch) == (head.database, head.epoch));
        let copied = copied.map_or(head.folded(), |high| high.version.max(head.folded()));
        Ok(head.version.0.saturating_sub(copied.0))
    }

    /// Which of the base, its checksums and the newest commit's segment are missing, or too short. Another process may
    /// have checkpointed meanwhile, and collected what it replaced: then the newest version stands on other files.
    fn missing(self: &Arc<Self>, snapshot: &Snapshot) -> Result<Vec<String>> {
        let mut files = Vec::new();
        if let Some(base) = snapshot.head.base {
            let pages = u64::from(base.page_count);
            files.push((File::Base(base.name), pages * base.page_size.bytes() as u64));
            files.push((File::Sums(base.name), pages * SUM_BYTES as u64));
        }
        if let Some(place) = snapshot.head.fold.place {
            files.push((File::Segment(place.segment), u64::from(place.at) * UNIT + u64::from(place.length)));
        }
        let mut missing = Vec::new();
        for (file, least) in files {
            let looked = self.tip.storage.stamp(file);
            match looked.map_err(|error| Error::io(format!("looking at {file}"), error))? {
                None => missing.push(format!("{file} is missing, and the newest version needs it")),
                Some(stamp) if stamp.size < least => {
                    missing.push(format!("{file} has {} bytes, and the newest version needs {least} of it", stamp.size))
                }
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            let now = self.snapshot(Freshness::Transaction, PATIENCE_LATER)?;
            if now.head.order() != snapshot.head.order() {
                return self.missing(&now);
            }
        }
        Ok(missing)
    }
}
