//! Writing: from a transaction's first page to its version.

pub(crate) mod ahead;
mod append;
pub(crate) mod background;
pub(crate) mod begin;
pub(crate) mod commit;
pub(crate) mod committer;
pub(crate) mod encode;
pub(crate) mod inline;
mod marking;
pub(crate) mod overlay;
pub(crate) mod pack;
pub(crate) mod queue;
mod runs;
pub(crate) mod segment;
pub(crate) mod settle;
pub(crate) mod stream;
pub(crate) mod transaction;
