//! Pins: versions that are kept although they are older than history, each for a time. A pin is a file; its age is that
//! of the file, by the file server's clock.

use super::listing::{list, time_of};
use super::text_of;
use crate::error::{Error, Result};
use crate::format::ids::PinName;
use crate::format::keep::{Keeper, MAX_LENGTH, Pin};
use crate::ports::storage::{File, Listed, Storage};
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use std::time::Duration;

/// What to do about a pin that cannot be read.
pub(super) const PIN_REMEDY: &str = "Remove it, if nobody needs what it kept: until then nothing is collected";

/// A pin, as it was found.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Its name.
    pub name: PinName,
    /// What it says.
    pub pin: Pin,
    /// When it was written, in nanoseconds of the file server's clock.
    pub written: i128,
}

impl Pinned {
    /// Whether its time is over at `now`, by the file server's clock. A pin counts for the shortest history longer than
    /// it says: its holder may just have been about to renew it.
    pub(super) fn is_over(&self, now: i128, grace: Duration) -> bool {
        now - self.written > (self.pin.length + grace).as_nanos() as i128
    }
}

/// All pins. One that cannot be read is an error: nothing may be deleted then.
pub(crate) fn pins(storage: &dyn Storage) -> Result<Vec<Pinned>> {
    let mut found = Vec::new();
    for file in list(storage, Listed::Folder)?.files {
        let File::Pin(name) = file else { continue };
        let Some(written) = time_of(storage, file)? else { continue };
        let Some(text) = text_of(storage, file, MAX_LENGTH)? else { continue };
        let pin = text.parse().map_err(|why| Error::corrupt_record(file, why, PIN_REMEDY))?;
        found.push(Pinned { name, pin, written });
    }
    found.sort_by_key(|pinned| pinned.name);
    Ok(found)
}

/// Writes a pin of `snapshot`.
pub(crate) fn write(tip: &Tip, name: PinName, keeper: Keeper, length: Duration, snapshot: &Snapshot) -> Result<()> {
    if keeper == Keeper::Person {
        // The process that has put this version there may have died before that was durable.
        tip.coordinator.make_durable().map_err(Error::nothing_written)?;
    }
    let pin = Pin { keeper, length, time: snapshot.time, head: snapshot.head.clone() };
    let written = tip.storage.replace(File::Pin(name), pin.to_string().as_bytes());
    written.map_err(|error| Error::io(format!("writing {}", File::Pin(name)), error))
}

/// Gives a pin up. Whether there was one.
pub(crate) fn remove(storage: &dyn Storage, name: PinName) -> Result<bool> {
    let file = File::Pin(name);
    let was_there = time_of(storage, file)?.is_some();
    storage.remove(file).map_err(|error| Error::io(format!("removing {file}"), error))?;
    Ok(was_there)
}
