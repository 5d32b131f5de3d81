//! What a caller can choose.

use crate::moment::Moment;
use std::path::PathBuf;
use std::time::Duration;

/// How a database is opened; SQLite's `ro`, `rw` and `rwc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read; it must be a Seawall database already.
    ReadOnly,
    /// Read and write; NAME must exist. A plain SQLite file is adopted.
    ReadWrite,
    /// The same, and NAME is made if it does not exist.
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
    /// How long an adoption waits for those who write NAME.
    pub adoption_timeout: Duration,
    /// The names by which clients of django-sqlite-efs may still know NAME, other mount paths for example: an adoption keeps them out.
    pub legacy_names: Vec<String>,
    /// Where scratch files of large transactions go: a folder on a local disk.
    pub scratch: PathBuf,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            coordinator: "fs:".into(),
            lease: Duration::from_secs(3),
            page_cache: 64 << 20,
            adoption_timeout: Duration::from_secs(5),
            legacy_names: Vec::new(),
            scratch: std::env::var_os("SEAWALL_CACHE_DIR").map_or_else(std::env::temp_dir, PathBuf::from),
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
    /// … less than this long ago, by both clocks.
    Seconds(Duration),
}
