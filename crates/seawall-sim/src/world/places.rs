//! Which coordinator the database is with, as `id` says.

use super::{AFTERMATH, World};
use crate::event::Event;
use crate::place::{At, Binding, bound};
use std::sync::MutexGuard;
use std::time::Duration;

impl World {
    fn binding(&self) -> MutexGuard<'_, Binding> {
        self.0.binding.lock().expect("no panic while locked")
    }

    /// The coordinator that `id` names.
    pub(crate) fn at(&self) -> At {
        self.binding().at
    }

    /// Whether `id` names the table.
    pub(crate) fn is_on_table(&self) -> bool {
        self.at() == At::Table
    }

    /// `id` names this coordinator from now on.
    pub(crate) fn binds(&self, at: At) {
        let now = self.now();
        *self.binding() = Binding { at, switched: now, changed: Some(now) };
    }

    /// A move fenced the database, or was undone.
    pub(crate) fn binding_changed(&self) {
        let now = self.now();
        self.binding().changed = Some(now);
    }

    /// When `id` was replaced last.
    pub(crate) fn switched(&self) -> Duration {
        self.binding().switched
    }

    /// Whether what began at `began` can have met a move.
    pub(crate) fn was_moving(&self, began: Duration) -> bool {
        let changed = self.binding().changed;
        // A loss of power may have taken the new `id` away: then the move is to be finished again.
        let named = bound(&self.disk()).map(|(at, _)| at);
        let oracle = self.oracle();
        oracle.fenced_for().is_some()
            || named.is_some_and(|named| named != oracle.at())
            || changed.is_some_and(|changed| changed + AFTERMATH > began)
    }

    /// Reports the oracle's verdict on a head that was put with a coordinator that does not have the newest one.
    pub(crate) fn put_elsewhere(&self, put: Result<Event, String>) {
        match put {
            Ok(event) => self.met(event),
            Err(what) => self.violation(|| what),
        }
    }
}
