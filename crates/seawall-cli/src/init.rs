//! `seawall init`: the policy, and the table.

use crate::{print, remark};
use seawall::Shown;
use seawall_dynamodb::Verdict;
use seawall_dynamodb::address::Address;
use seawall_dynamodb::admin::{self, Key};
use seawall_dynamodb::sdk::{self, SdkTable};
use seawall_dynamodb::table::Table;
use serde_json::{Value, json};

/// DynamoDB Local's code for an operation that it does not have.
const UNKNOWN: &str = "UnknownOperationException";

/// Prints the policy, and makes the table if `create_table`. Returns whether everything went well.
pub(crate) fn run(url: &str, create_table: bool, account: &str, as_json: bool) -> bool {
    if !url.starts_with("dynamodb:") {
        remark(format_args!(
            "\"{}\" names no table of DynamoDB's, and only such a coordinator has to be made: --coordinator \
             dynamodb://TABLE?region=REGION. Nothing was made",
            Shown::url(url)
        ));
        return false;
    }
    let opened = Address::parse(url).and_then(|address| sdk::table(&address));
    let table = match opened {
        Ok(table) => table,
        Err(why) => {
            remark(format_args!("{}: {why}", Shown::url(url)));
            return false;
        }
    };
    let made = if create_table { make(&table) } else { Ok(Vec::new()) };
    let policy = policy(table.name(), table.region(), account);
    match &made {
        Ok(done) if as_json => {
            print(format_args!(
                "{:#}",
                json!({ "table": table.name(), "region": table.region(), "done": done, "policy": policy })
            ));
        }
        Ok(done) => {
            done.iter().for_each(remark);
            print(format_args!("{policy:#}"));
        }
        Err(why) => remark(why),
    }
    made.is_ok()
}

/// Makes the table, or examines the existing one. Returns what was done.
fn make(table: &SdkTable) -> Result<Vec<String>, String> {
    let place = format!("the table {} in {}", table.name(), table.region());
    match admin::facts(table) {
        Ok(facts) => match facts.key {
            Key::Right => return Ok(vec![format!("{place} exists already, with the right key; it was not touched")]),
            Key::Wrong(key) => {
                return Err(format!(
                    "{place} exists already, and its key is {key}. It must be one string named pk. Choose another name"
                ));
            }
        },
        Err(Verdict::NoTable(_)) => {}
        Err(verdict) => return Err(format!("{place}: {}. Nothing was made", verdict.advice())),
    }
    admin::create(table).map_err(|verdict| match verdict {
        Verdict::Forbidden(why) => format!("{place}: {why}. Nothing was made. Let a role that may make it, or give this role dynamodb:CreateTable meanwhile"),
        verdict => format!("{place}: {}. Check whether it was made", verdict.advice()),
    })?;
    let made = format!("{place} was made: on demand, with a string key pk");
    match admin::keep_points_in_time(table) {
        Ok(()) => Ok(vec![made, "it can be restored to any second of the last 35 days".to_owned()]),
        Err(Verdict::Other(why)) if why.starts_with(UNKNOWN) => {
            Ok(vec![made, "this server has no point-in-time recovery".to_owned()])
        }
        Err(verdict) => Err(format!(
            "{made}; its point-in-time recovery could not be switched on: {}. The table can be used. Switch the recovery on in the AWS console",
            verdict.why()
        )),
    }
}

/// The policy with exactly the permissions that a role needs.
fn policy(table: &str, region: &str, account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            "Resource": format!("arn:{}:dynamodb:{region}:{account}:table/{table}", partition(region)),
            "Condition": { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["seawall#*", "database#*"] } },
        }],
    })
}

/// The AWS partition of a region.
fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_arn_is_of_its_partition() {
        let arn = |region| policy("locks", region, "*")["Statement"][0]["Resource"].as_str().unwrap().to_owned();
        assert_eq!(arn("eu-west-1"), "arn:aws:dynamodb:eu-west-1:*:table/locks");
        assert_eq!(arn("cn-north-1"), "arn:aws-cn:dynamodb:cn-north-1:*:table/locks");
        assert_eq!(arn("us-gov-west-1"), "arn:aws-us-gov:dynamodb:us-gov-west-1:*:table/locks");
    }
}
