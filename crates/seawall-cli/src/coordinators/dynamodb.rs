//! Examines a DynamoDB coordinator: the table, its key, the four permissions, this machine's clock, the latency.

use super::kind::{Kind, Subject, bound_to};
use crate::finding::Finding;
use seawall::format::identity::{Identity, NEWER};
use seawall::{Shown, WayOut};
use seawall_dynamodb::Verdict;
use seawall_dynamodb::address::{Address, unencrypted_host};
use seawall_dynamodb::admin::{self, Key};
use seawall_dynamodb::item::{Item, NO_TERM, head_of, holder_of, key_of, names, text};
use seawall_dynamodb::request::{Answer, Change, NEVER, Request, Values};
use seawall_dynamodb::sdk::{self, SdkTable};
use seawall_dynamodb::table::{Failure, FailureKind, Table};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys that no database has: one for each prefix that a policy must allow.
const TRIAL_KEYS: [&str; 2] = ["seawall#doctor", "database#seawall-doctor"];
const LOOKS: usize = 10;
/// A longer latency means another region. DynamoDB in the same region answers within a few milliseconds.
const FAR: Duration = Duration::from_millis(20);
/// From this difference on DynamoDB refuses signatures.
const CLOCK_REFUSED_MILLIS: u64 = 5 * 60 * 1000;

/// Where the SDK looks for an endpoint that the URL does not name.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];

/// How its URL is written.
const USAGE: &str = "dynamodb://TABLE?region=REGION";

/// The setting is django-sqlite-efs's.
pub(super) const KIND: Kind = Kind {
    url: "dynamodb://TABLE",
    usage: USAGE,
    settings: &[("SQLITE_LOCK_DYNAMODB_TABLE", "dynamodb://")],
    is_same_head,
    examine,
};

/// Whether both URLs name one table. The environment may leave the region out.
fn is_same_head(bound: &str, environment: &str) -> bool {
    let (Ok(bound), Ok(environment)) = (Address::parse(bound), Address::parse(environment)) else { return false };
    bound.table == environment.table && (environment.region.is_none() || environment.region == bound.region)
}

/// Examines the table that `url` names.
fn examine(url: &str, subject: &Subject<'_>) -> Vec<Finding> {
    let identity = subject.identity;
    let address = match Address::parse(url) {
        Ok(address) => address,
        Err(why) => {
            return vec![Finding::problem(
                "coordinator",
                format!("{}: {why}", Shown::url(url)),
                format!("use {USAGE}"),
            )];
        }
    };
    let table = match sdk::table(&address) {
        Ok(table) => table,
        Err(why) => {
            return vec![Finding::problem("region", why, format!("say {USAGE}, or set AWS_REGION"))];
        }
    };
    let name = table.url();
    let mut findings = vec![bound_to(&name, identity).unwrap_or_else(|| Finding::good("coordinator", name.clone()))];
    findings.extend(unencrypted(&address));
    // Before the table, because a request without credentials looks like a table that does not answer.
    let credentials = match table.credentials() {
        Ok(credentials) => credentials,
        Err(why) => {
            findings.push(of_verdict("credentials", &name, &Verdict::Credentials(why)));
            return findings;
        }
    };
    let (reached, of_table) = examine_table(&table);
    findings.extend(of_table);
    if reached {
        findings.push(Finding::good("credentials", format!("access key {}", credentials.access_key_id())));
        findings.push(time_to_live(&table));
        findings.push(points_in_time(&table));
        findings.extend(permissions(&table));
        findings.push(latency(&table));
        findings
            .extend(identity.filter(|identity| identity.coordinator == name).map(|identity| head(&table, identity)));
    }
    // A refusal has the server's time as well. A clock that is far off can be the reason for the refusal.
    if reached || table.clock_ahead() != 0 {
        findings.push(clock(table.clock_ahead()));
    }
    findings
}

/// An endpoint that receives requests in clear text. Only the user can have chosen it, because `id` cannot name one.
fn unencrypted(address: &Address) -> Option<Finding> {
    let of_environment = || ENDPOINTS.iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()));
    let host = unencrypted_host(&address.endpoint.clone().or_else(of_environment)?)?;
    let text =
        format!("requests to {host} are not encrypted, so anyone on the way can read the session token and the item");
    Some(Finding::note("encryption", format!("{text}; an endpoint that begins with https:// keeps them secret")))
}

/// Whether the table answers further requests, and the findings about it.
fn examine_table(table: &Arc<SdkTable>) -> (bool, Vec<Finding>) {
    const CHECK: &str = "table";
    let place = format!("{} in {}", table.name(), table.region());
    match admin::facts(table) {
        Ok(facts) => {
            let key = match facts.key {
                Key::Right => Finding::good("key", "a string named pk"),
                Key::Wrong(what) => Finding::problem(
                    "key",
                    format!("its key is {what}"),
                    "use a table whose only key is a string named pk: seawall init --create-table makes one",
                ),
            };
            let table = if facts.active {
                Finding::good(CHECK, format!("{place} exists"))
            } else {
                Finding::problem(CHECK, format!("{place} is not active"), "wait until DynamoDB has made or updated it")
            };
            (true, vec![table, key])
        }
        Err(verdict) => {
            let found = of_verdict(CHECK, &place, &verdict);
            (matches!(verdict, Verdict::Forbidden(_)), vec![found])
        }
    }
}

fn of_verdict(check: &'static str, place: &str, verdict: &Verdict) -> Finding {
    match verdict {
        Verdict::Forbidden(why) => Finding::unknown(check, format!("{place}: {why}")),
        Verdict::NoTable(_) => Finding::problem(
            check,
            format!("there is no table {place}"),
            "check the region (region= in the URL, AWS_REGION), or make the table with seawall init --create-table",
        ),
        Verdict::NotConnected(_) | Verdict::NoAnswer(_) => Finding::problem(
            "endpoint",
            format!("{place} cannot be reached: {}", verdict.why()),
            "check the endpoint. In a VPC without internet, DynamoDB needs a gateway endpoint and a route to it in the subnet's route table",
        ),
        Verdict::Credentials(_) => Finding::problem(
            "credentials",
            verdict.why(),
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or give the function or instance a role; and check this machine's clock",
        ),
        _ => Finding::problem(check, format!("{place}: {}", verdict.why()), "look at the table in the AWS console"),
    }
}

fn time_to_live(table: &SdkTable) -> Finding {
    const CHECK: &str = "time to live";
    match admin::time_to_live(table) {
        Ok(None) => Finding::good(CHECK, "off"),
        Ok(Some(attribute)) if attribute == names::EXPIRES_AT => {
            Finding::good(CHECK, "on expires_at, which only django-sqlite-efs's locks have")
        }
        Ok(Some(attribute)) if names::ALL.contains(&attribute.as_str()) => Finding::problem(
            CHECK,
            format!("the table deletes items by {attribute}, which Seawall's items have. It would delete a head"),
            "switch the table's TTL off, or to expires_at, at once",
        ),
        Ok(Some(attribute)) => Finding::good(CHECK, format!("on {attribute}, which no item of Seawall has")),
        Err(verdict) => Finding::unknown(CHECK, verdict.why()),
    }
}

fn points_in_time(table: &SdkTable) -> Finding {
    const CHECK: &str = "point-in-time recovery";
    match admin::point_in_time_recovery(table) {
        Ok(true) => Finding::good(CHECK, "on"),
        Ok(false) => Finding::note(
            CHECK,
            "off, so an item that is lost by accident cannot be restored (the data is in the files all the same)",
        ),
        Err(verdict) => Finding::unknown(CHECK, verdict.why()),
    }
}

/// Tries each action that a database needs, on keys that no database has, with a condition that never holds.
fn permissions(table: &SdkTable) -> Vec<Finding> {
    let requests = TRIAL_KEYS.iter().flat_map(|key| {
        let (condition, values) = (NEVER, Values::new());
        let item = Item::from([(names::PK.to_owned(), text(key))]);
        let change = Change { name: "try", condition, effect: "REMOVE #lease", returns_item: false };
        let key = (*key).to_owned();
        [
            Request::Get { key: key.clone() },
            Request::Put { item, condition, values: values.clone() },
            Request::Update { key: key.clone(), change, values: values.clone() },
            Request::Delete { key, condition, values },
        ]
    });
    let failures: Vec<(&str, Failure)> =
        requests.filter_map(|request| Some((request.action(), table.attempt(&request).err()?))).collect();
    let mut findings: Vec<Finding> = failures.iter().map(|(action, failure)| of_failure(action, failure)).collect();
    findings.dedup();
    if findings.is_empty() {
        findings.push(Finding::good("permissions", "GetItem, PutItem, UpdateItem and DeleteItem are allowed"));
    }
    findings
}

fn of_failure(action: &str, failure: &Failure) -> Finding {
    const CHECK: &str = "permissions";
    if failure.kind == FailureKind::Permission {
        let remedy = format!("allow dynamodb:{action}; seawall init prints the policy");
        Finding::problem(CHECK, format!("dynamodb:{action} is not allowed"), remedy)
    } else {
        Finding::unknown(CHECK, failure.why.clone())
    }
}

fn latency(table: &SdkTable) -> Finding {
    const CHECK: &str = "latency";
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let began = Instant::now();
        if let Err(failure) = table.attempt(&Request::Get { key: TRIAL_KEYS[0].into() }) {
            return Finding::unknown(CHECK, failure.why);
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times[LOOKS / 2];
    let text = format!("a consistent GetItem takes {:.1} ms (median of {LOOKS})", median.as_secs_f64() * 1e3);
    if median <= FAR {
        Finding::good(CHECK, text)
    } else {
        let remedy = format!("check that the table is in this machine's region. The table is in {}", table.region());
        Finding::problem(CHECK, text, remedy)
    }
}

fn clock(ahead: i64) -> Finding {
    const CHECK: &str = "clock";
    if ahead == 0 {
        return Finding::good(CHECK, "within 2 s of DynamoDB's");
    }
    let text =
        format!("DynamoDB's clock is {:.0} s {}", ahead.abs() as f64 / 1e3, if ahead > 0 { "ahead" } else { "behind" });
    if ahead.unsigned_abs() >= CLOCK_REFUSED_MILLIS {
        Finding::problem(
            CHECK,
            text,
            "set this machine's clock (chrony, systemd-timesyncd). From 5 minutes on, DynamoDB refuses signatures",
        )
    } else {
        Finding::note(CHECK, format!("{text}; Seawall judges leases by DynamoDB's clock"))
    }
}

fn head(table: &SdkTable, identity: &Identity) -> Finding {
    const CHECK: &str = "head";
    let key = key_of(identity.database);
    let item = match table.attempt(&Request::Get { key: key.clone() }) {
        Ok(Answer::Done(Some(item))) => item,
        Ok(_) => {
            return Finding::problem(
                CHECK,
                format!("the item {key} does not exist, so the head is lost. The data is in the files"),
                format!(
                    "stop all writers, and restore the item; or run {}, which makes it again from the files",
                    WayOut::RECOVER
                ),
            );
        }
        Err(failure) => return Finding::unknown(CHECK, failure.why),
    };
    let found =
        head_of(&item, identity.database, table.name()).map(|head| (head.version.0, holder_of(&item, head.generation)));
    match found {
        Ok((version, holder)) if holder.term == 0 => {
            Finding::good(CHECK, format!("version {version}; no writer holds the lease"))
        }
        Ok((version, holder)) if holder.term == NO_TERM => Finding::note(
            CHECK,
            format!(
                "version {version}; the item has a lease that does not say when it ends ({}). A waiting writer takes it over after a whole lease without a change",
                holder.label
            ),
        ),
        Ok((version, holder)) => Finding::good(CHECK, format!("version {version}; {} is writing", holder.label)),
        Err(why) => {
            let remedy = match why.contains(NEWER) {
                true => NEWER.into(),
                false => format!("restore the item as it was; or stop all writers, and run {}", WayOut::RECOVER),
            };
            Finding::problem(CHECK, format!("the item {key} cannot be used: {why}"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;

    #[test]
    fn a_clock_is_judged_by_what_it_breaks() {
        let state = |ahead| clock(ahead).state;
        assert_eq!(
            [state(0), state(-3_000), state(301_000), state(-301_000)],
            [State::Good, State::Note, State::Problem, State::Problem]
        );
    }
}
