//! The parameters of a database's URI: `file:db.sqlite3?vfs=seawall&freshness=request&timeout=5`.

use crate::abi;
use crate::failure::Failure;
use seawall::Options;
use seawall::bounds::{self, Bounds};
use std::fmt::Display;
use std::time::Duration;

/// When a connection asks the coordinator for a newer head (`docs/design.md`, "Freshness").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// At every transaction.
    Transaction,
    /// Once in a request, and again when the known head is older than [`Parameters::request_age`]. Outside of requests,
    /// at every transaction.
    Request,
    /// When the known head is older than this.
    Seconds(Duration),
}

/// How a URI says that a database is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) options: Options,
    pub(crate) freshness: Freshness,
    /// How old the head may be that a request uses.
    pub(crate) request_age: Duration,
    /// Whether its commits make later requests of the same route ask for the lease when they begin.
    pub(crate) lease_ahead: bool,
    /// How long to wait for the lease; `None` leaves that to SQLite's busy handler.
    pub(crate) timeout: Option<Duration>,
    /// Whether the URI names a VFS.
    pub(crate) names_vfs: bool,
    /// Whether it has parameters of Seawall's.
    pub(crate) has_ours: bool,
    /// What is wrong with the first parameter that a database of Seawall's cannot be opened with. Whether the file is
    /// Seawall's is not known yet: stock SQLite opens a plain file with it.
    pub(crate) wrong: Option<Failure>,
    /// Whether it asks SQLite for a shared cache.
    pub(crate) asks_to_share: bool,
}

/// After so long, a request sees the commits that other connections have made since it began.
const REQUEST_AGE: Duration = Duration::from_secs(1);

/// Seawall's parameters.
const OURS: [&str; 10] = [
    "coordinator",
    "freshness",
    "lease",
    "lease_ahead",
    "legacy_names",
    "page_cache",
    "request_age",
    "timeout",
    "upkeep",
    "at",
];

impl Parameters {
    /// Reads the URI's keys and values. An unknown key and an invalid value are wrong, because an application must not
    /// rely on a parameter that has no effect.
    pub(crate) fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Parameters {
        let mut parameters = Parameters {
            options: Options::default(),
            freshness: Freshness::Transaction,
            request_age: REQUEST_AGE,
            lease_ahead: true,
            timeout: None,
            names_vfs: false,
            has_ours: false,
            wrong: None,
            asks_to_share: false,
        };
        for (key, value) in pairs {
            parameters.has_ours |= OURS.contains(&key);
            if let Err(wrong) = parameters.read(key, value) {
                parameters.wrong.get_or_insert(wrong);
            }
        }
        parameters
    }

    /// A parameter is not UTF-8. Its text, without what is not, was read.
    pub(crate) fn is_not_utf8(&mut self) {
        self.wrong.get_or_insert_with(|| refuse("a parameter of the URI is not UTF-8"));
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            "coordinator" => self.options.coordinator = value.to_owned(),
            "freshness" => self.freshness = freshness(value)?,
            "lease" => self.options.lease = seconds(&bounds::LEASE, value)?,
            "page_cache" => {
                let bytes = value.parse().ok().filter(|bytes: &usize| bounds::PAGE_CACHE.allow(*bytes as f64));
                self.options.page_cache = bytes.ok_or_else(|| wrong(key, value, bounds::PAGE_CACHE))?;
            }
            "request_age" => self.request_age = seconds(&bounds::REQUEST_AGE, value)?,
            "timeout" => {
                let timeout = seconds(&bounds::TIMEOUT, value)?;
                self.timeout = Some(timeout);
                self.options.adoption_timeout = timeout;
            }
            "upkeep" => self.options.upkeep = switch(key, value)?,
            "lease_ahead" => self.lease_ahead = switch(key, value)?,
            // All names are in one parameter, because SQLite returns only the first value of a repeated one.
            "legacy_names" => self.options.legacy_names = value.lines().map(str::to_owned).collect(),
            "at" => {
                return Err(refuse("at= (reading an earlier version) is not supported by this version of Seawall"));
            }
            "cache" => self.asks_to_share = value == "shared",
            "nolock" | "immutable" => {
                return Err(refuse(format!(
                    "{key}= cannot be combined with Seawall, because SQLite's locks show Seawall when a transaction \
                     begins and ends. Leave it out (mode=ro opens read-only)"
                )));
            }
            "vfs" => self.names_vfs = true,
            "mode" | "psow" | "modeof" => {}
            _ => {
                return Err(refuse(format!(
                    "unknown parameter {key}= in the URI. Seawall knows coordinator, freshness, lease, lease_ahead, \
                     legacy_names, page_cache, request_age, timeout and upkeep"
                )));
            }
        }
        Ok(())
    }
}

fn freshness(value: &str) -> Result<Freshness, Failure> {
    match value {
        "transaction" => Ok(Freshness::Transaction),
        "request" => Ok(Freshness::Request),
        _ => seconds(&bounds::FRESHNESS, value)
            .map(Freshness::Seconds)
            .map_err(|_| wrong("freshness", value, format!("\"transaction\", \"request\" or {}", bounds::FRESHNESS))),
    }
}

fn switch(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(wrong(key, value, "1 or 0")),
    }
}

fn seconds(bounds: &Bounds, value: &str) -> Result<Duration, Failure> {
    let number: Option<f64> = value.parse().ok();
    number
        .filter(|number| bounds.allow(*number))
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| wrong(bounds.name, value, bounds))
}

fn wrong(key: &str, value: &str, expected: impl Display) -> Failure {
    refuse(format!("{key}={value} in the URI: {expected} is expected"))
}

fn refuse(text: impl Into<String>) -> Failure {
    Failure::refusal(abi::CANTOPEN, format!("{}. Nothing was opened", text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parameters_are_understood() {
        let parameters = Parameters::parse([
            ("vfs", "seawall"),
            ("mode", "rw"),
            ("coordinator", "fs:"),
            ("freshness", "0.5"),
            ("lease", "30"),
            ("page_cache", "1048576"),
            ("request_age", "0.25"),
            ("timeout", "2.5"),
            ("upkeep", "0"),
            ("lease_ahead", "0"),
            ("legacy_names", "/mnt/a/db.sqlite3\n/mnt/b/db.sqlite3"),
        ]);
        assert_eq!(parameters.wrong, None);
        assert!(parameters.has_ours);
        assert_eq!(parameters.options.coordinator, "fs:");
        assert_eq!(parameters.options.lease, Duration::from_secs(30));
        assert_eq!(parameters.options.page_cache, 1 << 20);
        assert_eq!(parameters.freshness, Freshness::Seconds(Duration::from_millis(500)));
        assert_eq!(parameters.request_age, Duration::from_millis(250));
        assert_eq!(parameters.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(parameters.options.adoption_timeout, Duration::from_millis(2500));
        assert_eq!(parameters.options.legacy_names, ["/mnt/a/db.sqlite3", "/mnt/b/db.sqlite3"]);
        assert!(!parameters.options.upkeep && Parameters::parse([]).options.upkeep);
        assert!(!parameters.lease_ahead && Parameters::parse([]).lease_ahead);
        assert!(parameters.names_vfs);
        assert!(!Parameters::parse([]).names_vfs);
        assert_eq!(Parameters::parse([("freshness", "request")]).freshness, Freshness::Request);
    }

    #[test]
    fn an_invalid_value_is_wrong_and_the_text_names_its_key() {
        for (key, value) in [
            ("freshness", "sometimes"),
            ("freshness", "-1"),
            ("freshness", "NaN"),
            ("freshness", "86401"),
            ("lease", "0"),
            ("lease", "1e-9"),
            ("lease", "3601"),
            ("lease", "inf"),
            ("timeout", ""),
            ("timeout", "1e400"),
            ("timeout", "2147484"),
            ("request_age", "-0.1"),
            ("request_age", "1e9"),
            ("page_cache", "-5"),
            ("page_cache", "18446744073709551615"),
            ("page_cache", "64M"),
            ("upkeep", "sometimes"),
            ("lease_ahead", "true"),
            ("at", "7"),
            ("immutable", "1"),
            ("nolock", "1"),
            ("freshnes", "1"),
        ] {
            let parameters = Parameters::parse([("vfs", "seawall"), (key, value), ("later", "1")]);
            let failure = parameters.wrong.unwrap();
            // What Seawall does not know is stock SQLite's to judge, or nobody's.
            assert_eq!(parameters.has_ours, !["immutable", "nolock", "freshnes"].contains(&key));
            assert_eq!(failure.code, abi::CANTOPEN);
            assert!(failure.text.contains(key), "{}", failure.text);
        }
    }
}
