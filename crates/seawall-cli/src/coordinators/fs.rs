//! The embedded coordinator, `fs:`: a reader can open the database.

use super::kind::{Kind, Subject, bound_to};
use crate::finding::Finding;
use crate::target::NoAdoption;
use seawall::ports::storage::os::OsStorage;
use seawall::{Access, Database, Options};
use std::path::Path;
use std::sync::Arc;

pub(super) const KIND: Kind = Kind { url: "fs:", usage: "fs:", settings: &[], is_same_head: |_, _| false, examine };

fn examine(url: &str, subject: &Subject<'_>) -> Vec<Finding> {
    let binding = bound_to(url, subject.identity)
        .unwrap_or_else(|| Finding::good("coordinator", "fs: the order of commits is in the file system itself"));
    let is_ours = subject.identity.is_some_and(|identity| identity.coordinator == url);
    let opening = (subject.is_whole && is_ours).then(|| opened(subject.name));
    [binding].into_iter().chain(opening).collect()
}

/// Opens the database as a reader does, which loads its head and the newest commit. Creates nothing.
fn opened(name: &Path) -> Finding {
    const CHECK: &str = "opening";
    let opened = OsStorage::new(name)
        .map_err(|error| seawall::Error::io("looking at the folder", error))
        .and_then(|storage| Database::on(Arc::new(storage), name, Access::ReadOnly, &Options::default(), &NoAdoption));
    match opened {
        Ok(database) => {
            let version = database.newest_known().version().0;
            if database.is_copy() {
                Finding::problem(
                    CHECK,
                    format!(
                        "this folder is a copy of the database's: version {version} can be read, nothing can be written"
                    ),
                    "use the original; or read this one with mode=ro; or make a database of its own from it with seawall.copy",
                )
            } else {
                Finding::good(CHECK, format!("version {version} can be read"))
            }
        }
        Err(error) => Finding::refusal(CHECK, error),
    }
}
