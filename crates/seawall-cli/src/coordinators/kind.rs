//! What the commands and the settings know about a kind of coordinator.

use crate::finding::Finding;
use seawall::format::identity::Identity;
use std::path::Path;

/// A kind of coordinator that ships with Seawall.
pub struct Kind {
    /// Its URL in its shortest form. Capitals stand for what the user fills in; a kind without any has only this URL.
    pub url: &'static str,
    /// Its URL as the commands recommend it.
    pub usage: &'static str,
    /// Settings of other programs that stand for it, each with the text that makes a URL of the setting's value.
    pub settings: &'static [(&'static str, &'static str)],
    /// Whether a URL from the environment leads to the head that the first URL, from `id`, names.
    pub(super) is_same_head: fn(&str, &str) -> bool,
    /// Examines the coordinator that the URL names.
    pub(super) examine: fn(&str, &Subject<'_>) -> Vec<Finding>,
}

impl Kind {
    /// Whether the URL is one of this kind.
    pub(super) fn is_kind_of(&self, url: &str) -> bool {
        let (scheme, rest) = self.url.split_once(':').expect("a URL has a scheme");
        url.split_once(':').is_some_and(|(of_url, more)| of_url == scheme && (!rest.is_empty() || more.is_empty()))
    }
}

/// The database whose coordinator is examined, as far as its files say what it is.
pub(crate) struct Subject<'a> {
    /// NAME, absolute.
    pub(crate) name: &'a Path,
    /// Whether nothing is wrong with NAME.
    pub(crate) is_whole: bool,
    /// What `id` says; `None` before an adoption.
    pub(crate) identity: Option<&'a Identity>,
}

/// The problem of a database that is bound to another coordinator than `asked`, which is that coordinator's canonical
/// name.
pub(super) fn bound_to(asked: &str, identity: Option<&Identity>) -> Option<Finding> {
    let bound = &identity?.coordinator;
    (bound != asked).then(|| {
        Finding::problem(
            "coordinator",
            format!(
                "the database is ordered by {bound}, and {asked} was asked for: two coordinators would be two histories"
            ),
            format!("use {bound} (mind the region: it is part of the name)"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::KINDS;

    #[test]
    fn a_url_is_of_one_kind_by_its_scheme() {
        let kind = |url: &str| KINDS.iter().find(|kind| kind.is_kind_of(url)).map(|kind| kind.url);
        assert_eq!(
            [kind("fs:"), kind("dynamodb://locks"), kind("dynamodb:")].map(Option::unwrap),
            ["fs:", "dynamodb://TABLE", "dynamodb://TABLE"]
        );
        for none in ["", "fs", "fs:x", "dynamodb", "dynamodbs://locks", "zk://a"] {
            assert_eq!(kind(none), None, "{none}");
        }
    }
}
