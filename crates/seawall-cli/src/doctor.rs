//! `seawall doctor NAME`.

use crate::coordinators::{self, Subject};
use crate::finding::{Finding, State};
use crate::{file_system, measure, name, print, target, upkeep};
use serde_json::{Value, json};
use std::path::Path;

/// Runs every check and prints the findings; measures the calls of the file system, if that is asked for. Returns
/// whether there was no problem.
pub(crate) fn run(name: &Path, coordinator: Option<String>, measures: bool, json: bool) -> bool {
    let (name, mut findings) = if name::is_uri(name) {
        let text = format!("{} is one of SQLite's URIs, or a database in memory", name.display());
        (name.to_owned(), vec![Finding::problem("NAME", text, "name the file by its path")])
    } else {
        let name = name::whole(name);
        let findings = examine(&name, coordinator);
        (name, findings)
    };
    let mut measured = Value::Null;
    if measures && !name::is_uri(&name) {
        let (times, value) = measure::examine(&name);
        findings.extend(times);
        measured = value;
    }
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    if json {
        let name = name.to_string_lossy();
        let report = json!({ "name": name, "problems": problems, "findings": findings, "measured": measured });
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
    let (identity, of_name) = name::examine(name, asked.as_deref());
    let is_whole = of_name.iter().all(|finding| finding.state != State::Problem);
    findings.extend(of_name);
    let bound = identity.as_ref().map(|identity| identity.coordinator.clone());
    let url = asked.unwrap_or_else(|| coordinators::by_default(bound));
    findings.extend(coordinators::examine(&url, &Subject { name, is_whole, identity: identity.as_ref() }));
    // Only what can be opened can be looked at further.
    if identity.is_some() && findings.iter().all(|finding| finding.state != State::Problem) {
        findings.extend(upkeep_of(name, url));
    }
    findings
}

/// Whether it is kept as it should be.
fn upkeep_of(name: &Path, coordinator: String) -> Vec<Finding> {
    let looked = target::open(name, coordinator).and_then(|database| Ok((database.status()?, database.overview()?)));
    match looked {
        Ok((status, overview)) => upkeep::judge(name, &status, &overview),
        Err(error) => vec![Finding::refusal("upkeep", error)],
    }
}
