//! The request that a thread serves.

use seawall::Moment;
use std::cell::Cell;

thread_local! {
    static REQUEST: Cell<Option<Moment>> = const { Cell::new(None) };
}

/// Marks the beginning of a request on this thread. Connections with freshness `request` see every commit that was made
/// before this call, and ask for newer commits once.
pub fn begin_request() {
    REQUEST.set(Some(seawall::begin_request()));
}

/// Marks the end of this thread's request.
pub fn end_request() {
    REQUEST.set(None);
    seawall::end_request();
}

/// When this thread's request began; `None` outside of a request.
pub(crate) fn began() -> Option<Moment> {
    REQUEST.get()
}
