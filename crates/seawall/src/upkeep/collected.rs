//! The file `collected`: when garbage was collected last. Its own time counts, by the file server's clock.

use super::collect::Sum;
use super::listing::time_of;
use super::text_of;
use crate::error::{Error, Result};
use crate::format::collection::{Collection, MAX_LENGTH};
use crate::ports::storage::{File, Storage};

/// A garbage collection that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCollection {
    /// When it ended, in milliseconds since 1970 by the file server's clock.
    pub time: u64,
    /// What it deleted.
    pub deleted: Sum,
}

/// Notes that a collection begins. Returns the time, by the file server's clock, in nanoseconds.
pub(super) fn begin(storage: &dyn Storage) -> Result<i128> {
    write(storage, &Collection { ended: noted(storage)?, is_at_work: true })?;
    time_of(storage, File::Collected)?.ok_or_else(|| Error::corrupt(File::Collected, "it vanished"))
}

/// Notes that a collection succeeded.
pub(super) fn end(storage: &dyn Storage, deleted: Sum) -> Result<()> {
    write(storage, &Collection { ended: Some((0, deleted.files, deleted.bytes)), is_at_work: false })
}

/// The last collection that succeeded, as far as is noted.
pub(crate) fn last(storage: &dyn Storage) -> Result<Option<LastCollection>> {
    let of = |(time, files, bytes)| LastCollection { time, deleted: Sum { files, bytes } };
    Ok(noted(storage)?.map(of))
}

/// When the last collection ended that succeeded, and what it deleted. A note that cannot be read says nothing.
fn noted(storage: &dyn Storage) -> Result<Option<(u64, u64, u64)>> {
    let text = text_of(storage, File::Collected, MAX_LENGTH)?;
    let Some(Collection { ended, is_at_work }) = text.and_then(|text| text.parse().ok()) else { return Ok(None) };
    if is_at_work {
        return Ok(ended);
    }
    // The time is that of the file, which was written when the collection ended.
    let written = time_of(storage, File::Collected)?.map_or(0, |written| (written / 1_000_000) as u64);
    Ok(ended.map(|(_, files, bytes)| (written, files, bytes)))
}

fn write(storage: &dyn Storage, note: &Collection) -> Result<()> {
    let written = storage.replace(File::Collected, note.to_string().as_bytes());
    written.map_err(|error| Error::io(format!("writing {}", File::Collected), error))
}
