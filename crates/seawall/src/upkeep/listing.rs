//! What folders have, and when files were written by the file server's clock.

use crate::error::{Error, Result};
use crate::ports::storage::{File, Listed, Storage, list_twice};
use std::collections::BTreeSet;

/// What two listings of a folder showed: one can miss a file that is there.
pub(crate) struct Listing {
    pub(crate) files: Vec<File>,
    /// Names that are not Seawall's.
    pub(crate) others: BTreeSet<String>,
}

pub(crate) fn list(storage: &dyn Storage, listed: Listed) -> Result<Listing> {
    let name = listed.name().map_or_else(|| "NAME-seawall".to_owned(), |name| format!("NAME-seawall/{name}"));
    let (files, others) = list_twice(storage, listed).map_err(|error| Error::io(format!("listing {name}"), error))?;
    Ok(Listing { files, others })
}

/// When a file was written last, in nanoseconds of the file server's clock; `None` if it is not there.
pub(crate) fn time_of(storage: &dyn Storage, file: File) -> Result<Option<i128>> {
    let stamp = storage.stamp(file).map_err(|error| Error::io(format!("looking at {file}"), error))?;
    Ok(stamp.map(|stamp| stamp.changed))
}
