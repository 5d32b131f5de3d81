//! What a caller can choose.

use crate::bounds;
use crate::error::{Error, Result};
use crate::ports::moment::Moment;
use std::time::Duration;

/// How a database is opened; SQLite's `ro`, `rw` and `rwc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read; it must be a Seawall database already.
    ReadOnly,
    /// Read and write; NAME must exist. A plain SQLite file is adopted.
    ReadWrite,
    /// Read and write. A plain SQLite file is adopted, and NAME is made if it does not exist.
    Create,
}

/// How this process keeps a database. The first connection to open it decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coordinator's URL; `fs:` is the embedded one.
    pub coordinator: String,
    /// How long a holder of the lease may do nothing before another process goes ahead without it.
    pub lease: Duration,
    /// The page cache's size in bytes.
    pub page_cache: usize,
    /// How long an adoption waits in all for programs that write NAME.
    pub adoption_timeout: Duration,
    /// The names by which clients of django-sqlite-efs may still know NAME, other mount paths for example: an adoption
    /// keeps them out.
    pub legacy_names: Vec<String>,
    /// Whether this process makes checkpoints and collects garbage in the background.
    pub upkeep: bool,
    /// Whether small commits ride in the head. Without that each is a frame in a segment: for tests and measurements.
    #[doc(hidden)]
    pub inline: bool,
    /// Opens a database that is detached or moved as well: to finish that.
    #[doc(hidden)]
    pub finishes: bool,
    /// Adopts the marked copy of some version as well, whose folder was lost.
    #[doc(hidden)]
    pub adopts_copy: bool,
}

impl Options {
    /// Whether every number is one that makes sense.
    pub(crate) fn check(&self) -> Result<()> {
        let given = [
            (bounds::LEASE, self.lease.as_secs_f64()),
            (bounds::TIMEOUT, self.adoption_timeout.as_secs_f64()),
            (bounds::PAGE_CACHE, self.page_cache as f64),
        ];
        match given.into_iter().find(|(bounds, value)| !bounds.allow(*value)) {
            None => Ok(()),
            Some((bounds, value)) => {
                Err(Error::CannotOpen(format!("{}={value}: {bounds} is expected. Nothing was opened", bounds.name)))
            }
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            coordinator: "fs:".into(),
            lease: Duration::from_secs(3),
            page_cache: 64 << 20,
            adoption_timeout: Duration::from_secs(5),
            legacy_names: Vec::new(),
            upkeep: true,
            inline: true,
            finishes: false,
            adopts_copy: false,
        }
    }
}

/// How new a snapshot must be: it must come from an answer to a load that was sent …
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Freshness {
    /// … after the transaction began. Strict.
    Transaction,
    /// … at or after this moment: when a request began.
    Since(Moment),
    /// … at or after the moment when a request began, and less than this long ago, by both clocks. A request that lasts
    /// sees what others commit meanwhile.
    Request {
        /// When the request began.
        began: Moment,
        /// How old what it uses may become.
        age: Duration,
    },
    /// … less than this long ago, by both clocks.
    Seconds(Duration),
}
