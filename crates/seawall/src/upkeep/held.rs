//! A pin of long work, as long as that works: it protects what the work reads from garbage collection.

use super::{pins, text_of};
use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::ids::PinName;
use crate::format::keep::{Keeper, MAX_LENGTH};
use crate::ports::storage::File;
use crate::ports::sync::{Mutex, unpoisoned};
use crate::read::snapshot::Snapshot;
use crate::read::tip::Tip;
use std::time::Duration;

/// Such a pin counts for so long after it was renewed last …
const PIN_LENGTH: Duration = Duration::from_secs(bound(15 * 60, 10) as u64);
/// … and is renewed so often.
const PIN_RENEWED: Duration = Duration::from_secs(bound(60, 2) as u64);

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

    /// Whether no collection has given the pin up. The pin is read, because an NFS client may remember the name of a
    /// file that is gone, and a machine that was suspended remembers it longer.
    pub(crate) fn is_there(&self) -> Result<bool> {
        Ok(text_of(&*self.tip.storage, File::Pin(self.name), MAX_LENGTH)?.is_some())
    }

    /// What an error of reading or writing means. Without its pin the work loses what it reads, and its drafts.
    pub(crate) fn or_given_up(&self, error: Error) -> Error {
        match self.is_there() {
            Ok(false) => self.given_up(),
            _ => self.tip.too_old(error, self.snapshot),
        }
    }

    fn given_up(&self) -> Error {
        Error::CannotOpen(format!(
            "it stood still for so long that garbage collection gave up what it reads ({}). Nothing was changed: try again",
            File::Pin(self.name)
        ))
    }

    /// Renews the pin when it is time.
    pub(crate) fn renew(&self) -> Result<()> {
        let now = self.tip.storage.now().monotonic;
        let mut renewed = unpoisoned(self.renewed.lock());
        if now.saturating_sub(*renewed) < PIN_RENEWED {
            return Ok(());
        }
        if !self.is_there()? {
            return Err(self.given_up());
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
