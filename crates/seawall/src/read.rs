//! Reading: from a head to the pages of one version.

mod ahead;
pub(crate) mod catch_up;
pub(crate) mod checks;
pub(crate) mod history;
pub mod page_map;
pub(crate) mod pages;
pub(crate) mod snapshot;
pub(crate) mod tip;
