//! A pin of long work, as long as that works: it protects what the work reads from garbage collection.

use super::pins;
use crate::error::{Error, Result};
use crate::format::ids::PinName;
use crate::format::keep::Keeper;
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, whole};
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use std::time::Duration;

/// Such a pin counts for so long after it was renewed last …
const PIN_LENGTH: Duration = Duration::from_secs(15 * 60);
/// … and is renewed so often.
const PIN_RENEWED: Duration = Duration::from_secs(60);

/// The pin; it is given up when this is dropped.
pub(crate) struct PinHeld<'a> {
    tip: &'a Tip,
    snapshot: &'a Snapshot,
    name: PinName,
    keeper: Keeper,
    renewed: Mutex<Duration>,
}

impl<'a> PinHeld<'a> {
    /// Pins `snapshot` under `name`, which no other process has.
    pub(crate) fn new(tip: &'a Tip, name: PinName, keeper: Keeper, snapshot: &'a Snapshot) -> Result<PinHeld<'a>> {
        let renewed = Mutex::new(tip.storage.now().monotonic);
        pins::write(tip, name, keeper, PIN_LENGTH, snapshot)?;
        Ok(PinHeld { tip, snapshot, name, keeper, renewed })
    }

    /// Whether no collection has given the pin up.
    pub(crate) fn is_there(&self) -> Result<bool> {
        let there = self.tip.storage.inode(File::Pin(self.name));
        Ok(there.map_err(|error| Error::io(format!("looking for {}", File::Pin(self.name)), error))?.is_some())
    }

    /// Renews the pin when it is time.
    pub(crate) fn renew(&self) -> Result<()> {
        let now = self.tip.storage.now().monotonic;
        let mut renewed = whole(self.renewed.lock());
        if now.saturating_sub(*renewed) < PIN_RENEWED {
            return Ok(());
        }
        if !self.is_there()? {
            return Err(Error::CannotOpen(format!(
                "it stood still for so long that garbage collection gave up what it reads ({}). Nothing was changed: try again",
                File::Pin(self.name)
            )));
        }
        pins::write(self.tip, self.name, self.keeper, PIN_LENGTH, self.snapshot)?;
        *renewed = now;
        Ok(())
    }
}

impl Drop for PinHeld<'_> {
    fn drop(&mut self) {
        // What is left of it runs out.
        let _ = self.tip.storage.remove(File::Pin(self.name));
    }
}
