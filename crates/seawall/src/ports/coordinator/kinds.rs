//! Which coordinators there are, by the scheme of their URL.
//!
//! The engine knows its own, `fs:`. A program that links another one in adds it once, before it opens a database.

use super::Coordinator;
use super::fs::FsCoordinator;
use crate::error::{Error, Result};
use crate::format::ids::DatabaseId;
use crate::ports::storage::Storage;
use crate::shown::Shown;
use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// Makes the coordinator of a database from a URL. It sends no request yet. The error says what is wrong with the URL
/// or the settings.
pub type Make = fn(&str, DatabaseId, &Arc<dyn Storage>) -> Result<Box<dyn Coordinator>, String>;

/// Found without a lock: a forked child needs what its parent added.
static ADDED: ArcSwapOption<Vec<(&str, Make)>> = ArcSwapOption::const_empty();

/// From now on, URLs that begin with `scheme` and a colon mean the coordinators that `make` makes.
pub fn add(scheme: &'static str, make: Make) {
    ADDED.rcu(|added| {
        let mut added = added.as_ref().map_or_else(Vec::new, |added| added.to_vec());
        if added.iter().all(|(known, _)| *known != scheme) {
            added.push((scheme, make));
        }
        Some(Arc::new(added))
    });
}

pub(crate) fn coordinator_of(
    url: &str,
    database: DatabaseId,
    storage: &Arc<dyn Storage>,
) -> Result<Box<dyn Coordinator>> {
    let scheme = url.split(':').next().unwrap_or_default();
    let added = ADDED.load();
    let make = added.as_ref().and_then(|added| added.iter().find(|(known, _)| *known == scheme).map(|kind| kind.1));
    if url == "fs:" && make.is_none() {
        return Ok(Box::new(FsCoordinator::new(storage.clone().order())));
    }
    let make = make.ok_or_else(|| {
        Error::CannotOpen(format!(
            "there is no coordinator \"{}\" here: fs: is the embedded one, dynamodb://TABLE is in Amazon DynamoDB. Nothing was touched",
            Shown::url(url)
        ))
    })?;
    make(url, database, storage)
        .map_err(|why| Error::CannotOpen(format!("coordinator={}: {why}. Nothing was touched", Shown::url(url))))
}
