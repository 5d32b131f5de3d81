//! The coordinators that ship with Seawall: the one list that the commands and the Python package read.
//!
//! `kind.rs` says what is known about each; `fs.rs` and `dynamodb.rs` examine one kind each.

mod dynamodb;
mod fs;
mod kind;

use crate::finding::Finding;
pub use kind::Kind;
pub(crate) use kind::Subject;
use seawall::Shown;

/// All of them; the first is the default.
pub const KINDS: [&Kind; 2] = [&fs::KIND, &dynamodb::KIND];

/// Seawall's own setting: a coordinator's whole URL.
const SETTING: (&str, &str) = ("SEAWALL_COORDINATOR", "");

/// Examines the coordinator that `url` names.
pub(crate) fn examine(url: &str, subject: &Subject<'_>) -> Vec<Finding> {
    if let Some(kind) = kind_of(url) {
        return (kind.examine)(url, subject);
    }
    let usage = KINDS.map(|kind| kind.usage).join(" or ");
    vec![Finding::problem(
        "coordinator",
        format!("\"{}\" names no coordinator", Shown::url(url)),
        format!("use {usage}"),
    )]
}

fn kind_of(url: &str) -> Option<&'static Kind> {
    KINDS.into_iter().find(|kind| kind.is_kind_of(url))
}

/// The coordinator to examine if the user names none. A database that is bound to one has that one. `id` does not say
/// how to reach it, but the environment may.
pub(crate) fn by_default(bound: Option<String>) -> String {
    settled(bound, from_environment())
}

fn settled(bound: Option<String>, environment: Option<String>) -> String {
    match (bound, environment) {
        (Some(bound), Some(environment)) if is_same_head(&bound, &environment) => environment,
        (Some(bound), _) => bound,
        (None, environment) => environment.unwrap_or_else(|| KINDS[0].url.into()),
    }
}

fn is_same_head(bound: &str, environment: &str) -> bool {
    kind_of(bound).is_some_and(|kind| (kind.is_same_head)(bound, environment))
}

fn from_environment() -> Option<String> {
    let settings = [SETTING].into_iter().chain(KINDS.into_iter().flat_map(|kind| kind.settings.iter().copied()));
    let mut given = settings.filter_map(|(name, prefix)| Some((std::env::var(name).ok()?, prefix)));
    given.find(|(value, _)| !value.is_empty()).map(|(value, prefix)| format!("{prefix}{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_the_table_is_reached_and_never_which_it_is() {
        let bound = "dynamodb://locks?region=eu-west-1";
        let after = |environment: &str| settled(Some(bound.into()), Some(environment.into()));
        for reached in ["dynamodb://locks?endpoint=http://x", "dynamodb://locks?region=eu-west-1&endpoint=http://x"] {
            assert_eq!(after(reached), reached);
        }
        for other in ["dynamodb://others?endpoint=http://x", "dynamodb://locks?region=us-east-1", "fs:", "nonsense"] {
            assert_eq!(after(other), bound);
        }
        assert_eq!(settled(Some("fs:".into()), Some(bound.into())), "fs:");
        assert_eq!(settled(None, Some(bound.into())), bound);
        assert_eq!(settled(None, None), "fs:");
    }
}
