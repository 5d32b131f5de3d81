//! `seawall doctor NAME`.

use crate::coordinators::{self, Subject};
use crate::finding::{Finding, State};
use crate::{file_system, name, print};
use std::path::{Path, PathBuf};

/// Runs every check and prints the findings. Returns whether there was no problem.
pub(crate) fn run(name: &Path, coordinator: Option<String>, json: bool) -> bool {
    let (name, findings) = match whole(name) {
        Ok(name) => {
            let findings = examine(&name, coordinator);
            (name, findings)
        }
        Err(finding) => (name.to_owned(), vec![finding]),
    };
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    if json {
        let report = serde_json::json!({ "name": name.to_string_lossy(), "problems": problems, "findings": findings });
        print(format_args!("{report:#}"));
    } else {
        findings.iter().for_each(print);
        print(format_args!("{problems} problem{} found", if problems == 1 { "" } else { "s" }));
    }
    problems == 0
}

/// The folder, then what lies at NAME, then the coordinator.
fn examine(name: &Path, asked: Option<String>) -> Vec<Finding> {
    let mut findings = file_system::examine(name);
    let (identity, of_name) = name::examine(name);
    let is_whole = of_name.iter().all(|finding| finding.state != State::Problem);
    findings.extend(of_name);
    let bound = identity.as_ref().map(|identity| identity.coordinator.clone());
    let url = asked.unwrap_or_else(|| coordinators::by_default(bound));
    findings.extend(coordinators::examine(&url, &Subject { name, is_whole, identity: identity.as_ref() }));
    findings
}

/// NAME as the engine uses it: absolute, and with links resolved.
fn whole(name: &Path) -> Result<PathBuf, Finding> {
    let absolute = std::path::absolute(name).unwrap_or_else(|_| name.to_owned());
    let text = name.to_string_lossy();
    if (text.starts_with("file:") || text == ":memory:") && !absolute.exists() {
        return Err(Finding::problem(
            "NAME",
            format!("{text} is one of SQLite's URIs, or a database in memory"),
            "name the file by its path",
        ));
    }
    let of_parent = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    // If NAME does not exist or cannot be reached, the findings show it as the user gave it.
    Ok(absolute.canonicalize().ok().or_else(of_parent).unwrap_or_else(|| absolute.clone()))
}
