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
    /// How long to wait for the lease; `None` leaves that to SQLite's busy handler.
    pub(crate) timeout: Option<Duration>,
    /// Whether the URI names a VFS.
    pub(crate) names_vfs: bool,
    /// Whether it has parameters of Seawall's.
    pub(crate) has_ours: bool,
    /// Whether it asks SQLite for a shared cache.
    pub(crate) asks_to_share: bool,
}

/// After so long, a request sees the commits that other connections have made since it began.
const REQUEST_AGE: Duration = Duration::from_secs(1);

/// SQLite's parameters.
const OF_SQLITE: [&str; 5] = ["mode", "cache", "psow", "modeof", "vfs"];

impl Parameters {
    /// Reads the URI's keys and values. An unknown key and an invalid value are refused, because an application must
    /// not rely on a parameter that has no effect.
    pub(crate) fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Parameters, Failure> {
        let mut parameters = Parameters {
            options: Options::default(),
            freshness: Freshness::Transaction,
            request_age: REQUEST_AGE,
            timeout: None,
            names_vfs: false,
            has_ours: false,
            asks_to_share: false,
        };
        for (key, value) in pairs {
            parameters.has_ours |= !OF_SQLITE.contains(&key);
            match key {
                "coordinator" => parameters.options.coordinator = value.to_owned(),
                "freshness" => parameters.freshness = freshness(value)?,
                "lease" => parameters.options.lease = seconds(&bounds::LEASE, value)?,
                "page_cache" => {
                    let bytes = value.parse().ok().filter(|bytes: &usize| bounds::PAGE_CACHE.allow(*bytes as f64));
                    parameters.options.page_cache = bytes.ok_or_else(|| wrong(key, value, bounds::PAGE_CACHE))?;
                }
                "request_age" => parameters.request_age = seconds(&bounds::REQUEST_AGE, value)?,
                "timeout" => {
                    let timeout = seconds(&bounds::TIMEOUT, value)?;
                    parameters.timeout = Some(timeout);
                    parameters.options.adoption_timeout = timeout;
                }
                // All names are in one parameter, because SQLite returns only the first value of a repeated one.
                "legacy_names" => parameters.options.legacy_names = value.lines().map(str::to_owned).collect(),
                "at" => {
                    return Err(refuse("at= (reading an earlier version) is not supported by this version of Seawall"));
                }
                "cache" => parameters.asks_to_share = value == "shared",
                "nolock" | "immutable" => {
                    return Err(refuse(format!(
                        "{key}= cannot be combined with Seawall, because SQLite's locks show Seawall when a transaction \
                         begins and ends. Leave it out (mode=ro opens read-only)"
                    )));
                }
                _ if OF_SQLITE.contains(&key) => parameters.names_vfs |= key == "vfs",
                _ => {
                    return Err(refuse(format!(
                        "unknown parameter {key}= in the URI. Seawall knows coordinator, freshness, lease, legacy_names, \
                         page_cache, request_age and timeout"
                    )));
                }
            }
        }
        Ok(parameters)
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
            ("legacy_names", "/mnt/a/db.sqlite3\n/mnt/b/db.sqlite3"),
        ])
        .unwrap();
        assert_eq!(parameters.options.coordinator, "fs:");
        assert_eq!(parameters.options.lease, Duration::from_secs(30));
        assert_eq!(parameters.options.page_cache, 1 << 20);
        assert_eq!(parameters.freshness, Freshness::Seconds(Duration::from_millis(500)));
        assert_eq!(parameters.request_age, Duration::from_millis(250));
        assert_eq!(parameters.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(parameters.options.adoption_timeout, Duration::from_millis(2500));
        assert_eq!(parameters.options.legacy_names, ["/mnt/a/db.sqlite3", "/mnt/b/db.sqlite3"]);
        assert!(parameters.names_vfs);
        assert!(!Parameters::parse([]).unwrap().names_vfs);
        assert_eq!(Parameters::parse([("freshness", "request")]).unwrap().freshness, Freshness::Request);
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_name_of_its_key() {
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
            ("at", "7"),
            ("immutable", "1"),
            ("nolock", "1"),
            ("freshnes", "1"),
        ] {
            let failure = Parameters::parse([(key, value)]).unwrap_err();
            assert_eq!(failure.code, abi::CANTOPEN);
            assert!(failure.text.contains(key), "{}", failure.text);
        }
    }
}
