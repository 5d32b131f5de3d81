//! The request that a thread serves.

use seawall::{Database, Moment, Request, Route};
use std::cell::Cell;

thread_local! {
    static REQUEST: Cell<Option<Request>> = const { Cell::new(None) };
}

/// Marks the beginning of a request on this thread. Connections with freshness `request` see every commit that was made
/// before this call, and ask for newer commits once. `route` says which requests do the same work: if the last one wrote
/// soon after it began, the writer's lease is asked for at once, in the background.
pub fn begin_request(route: Option<&str>) {
    REQUEST.set(Some(seawall::begin_request(route.map(Route::named))));
}

/// Marks the end of this thread's request.
pub fn end_request() {
    seawall::end_request(REQUEST.take());
}

/// A transaction of this thread that began at `began` has written `database`.
pub(crate) fn wrote(database: &Database, began: Moment) {
    if let Some(request) = REQUEST.get() {
        request.wrote(database, began);
    }
}

/// When this thread's request began; `None` outside of a request.
pub(crate) fn began() -> Option<Moment> {
    REQUEST.get().map(|request| request.began)
}
