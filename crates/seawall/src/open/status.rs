//! The status of a database at a glance.

use crate::database::Database;
use crate::error::Result;
use crate::format::head::Floor;
use crate::options::Freshness;
use crate::ports::counters::Counts;
use crate::upkeep::checkpoint::log_and_base;
use std::time::Duration;

/// A database, as of now.
#[derive(Clone, Debug)]
pub struct Status {
    /// NAME's absolute path.
    pub name: String,
    /// The database's id.
    pub database: String,
    /// The coordinator's URL.
    pub coordinator: String,
    /// The file system that it lies on.
    pub file_system: String,
    /// Whether this folder is a copy of the database's, which can only be read.
    pub is_copy: bool,
    /// The epoch.
    pub epoch: u64,
    /// The newest version.
    pub version: u64,
    /// Its commit's id.
    pub commit: String,
    /// Milliseconds since 1970 of that commit; 0 for version 0.
    pub time: u64,
    /// The bytes of a page; 0 while the database is empty.
    pub page_size: u32,
    /// The database's size in pages.
    pub page_count: u32,
    /// The version that the base holds; `None` if there is no base.
    pub base_version: Option<u64>,
    /// How many pages changed since the base.
    pub changed_pages: u64,
    /// The bytes of the log since the base.
    pub log_bytes: u64,
    /// The bytes of the base; 0 if there is none.
    pub base_bytes: u64,
    /// The oldest version that is still promised, and its time.
    pub floor: Floor,
    /// The lease's length.
    pub lease: Duration,
    /// The sweep that segments are made under.
    pub sweep: u64,
    /// What went wrong in the background last.
    pub trouble: Option<String>,
    /// This process's remote operations.
    pub counts: Counts,
}

impl Database {
    /// The newest version's facts.
    pub fn status(&self) -> Result<Status> {
        let snapshot = self.snapshot(Freshness::Transaction)?;
        let head = snapshot.head();
        let (log_bytes, base_bytes) = log_and_base(&snapshot);
        Ok(Status {
            name: self.name.display().to_string(),
            database: self.tip.id.to_string(),
            coordinator: self.tip.coordinator.name(),
            file_system: self.tip.storage.describe(),
            is_copy: self.is_copy(),
            epoch: head.epoch.0,
            version: head.version.0,
            commit: head.commit().id.to_string(),
            time: snapshot.time,
            page_size: snapshot.page_size().map_or(0, |size| size.bytes() as u32),
            page_count: snapshot.page_count(),
            base_version: head.base.map(|base| base.name.version.0),
            changed_pages: snapshot.map.iter().count() as u64,
            log_bytes,
            base_bytes,
            floor: head.floor,
            lease: self.options.lease,
            sweep: head.sweep,
            trouble: self.committer.chores.trouble().or_else(|| self.tip.coordinator.trouble()),
            counts: self.counts(),
        })
    }
}
