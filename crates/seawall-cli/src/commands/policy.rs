//! `seawall policy NAME [--history 7d] [--history-bytes 2GiB|none] [--checkpoint-at 64MiB]`.

use super::Command;
use super::gc::{floor, reach};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use crate::units::{self, Limit};
use clap::Args;
use seawall::Database;
use seawall::format::policy::{Policy, SHORTEST_CHECKPOINT, SHORTEST_HISTORY};
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct SetPolicy {
    #[command(flatten)]
    target: Target,
    /// How long history is kept, as in 24h or 7d; at least 15min.
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    history: Option<Duration>,
    /// The oldest history goes first where all of it takes more than that, as in 2GiB, but for the last 15min; or none.
    #[arg(long, value_name = "SIZE|none", value_parser = units::limit)]
    history_bytes: Option<Limit>,
    /// A checkpoint is due once the log is larger than that, as in 64MiB, and larger than the base; at least 1MiB.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    checkpoint_at: Option<u64>,
}

impl Command for SetPolicy {
    const NAME: &'static str = "policy";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let before = database.policy()?;
        let after = Policy {
            history: self.history.unwrap_or(before.history),
            history_bytes: self.history_bytes.map_or(before.history_bytes, |limit| limit.0),
            checkpoint_at: self.checkpoint_at.unwrap_or(before.checkpoint_at),
        };
        check(&after)?;
        let is_set = self.history.is_some() || self.history_bytes.is_some() || self.checkpoint_at.is_some();
        let mut answer = Answer::new();
        answer.field("history_seconds", after.history.as_secs());
        answer.field("history_bytes_limit", after.history_bytes);
        answer.field("checkpoint_at_bytes", after.checkpoint_at);
        answer.field("changed", before != after);
        answer.row("history", history(&after));
        answer.row(
            "checkpoint",
            format!("due once the log is larger than {} and than the base", units::bytes(after.checkpoint_at)),
        );
        if !is_set {
            answer.next("status", []);
            return Ok(answer);
        }
        let reached = database.status()?.floor;
        let would = database.floor_under(&after)?;
        database.set_policy(&after)?;
        let is_less = would.version > reached.version;
        answer.field("becomes_unreachable_below", is_less.then(|| floor(would)));
        if is_less {
            let text = format!(
                "versions below {}: the next garbage collection takes them, and then history {}",
                would.version.0,
                reach(would)
            );
            answer.toned(Tone::Warning, "unreachable", text);
        } else if after.history < before.history {
            let text = format!("what is older than {}, as it is collected", units::exact_duration(after.history));
            answer.toned(Tone::Warning, "unreachable", text);
        }
        // The way back, until the next collection.
        let bytes = before.history_bytes.map_or_else(|| "none".into(), units::exact_bytes);
        let (history, at) = (units::exact_duration(before.history), units::exact_bytes(before.checkpoint_at));
        if before == after {
            answer.next("status", []);
        } else {
            answer.row("to undo", "the command below, before the next garbage collection");
            answer.next("policy", ["--history", &history, "--history-bytes", &bytes, "--checkpoint-at", &at]);
        }
        Ok(answer)
    }
}

fn check(policy: &Policy) -> Result<(), Failure> {
    if policy.history < SHORTEST_HISTORY {
        let (asked, least) = (units::exact_duration(policy.history), units::exact_duration(SHORTEST_HISTORY));
        return Err(Failure::usage(format!(
            "--history {asked} is too short: {least} is the least, so that no reader and no writer that sleeps a while is harmed. The \
             policy was not changed"
        )));
    }
    if policy.checkpoint_at < SHORTEST_CHECKPOINT {
        let (asked, least) = (units::exact_bytes(policy.checkpoint_at), units::exact_bytes(SHORTEST_CHECKPOINT));
        return Err(Failure::usage(format!(
            "--checkpoint-at {asked} is too small: {least} is the least. The policy was not changed"
        )));
    }
    Ok(())
}

/// How long history is kept, for people.
pub(super) fn history(policy: &Policy) -> String {
    let time = format!("kept for {}", units::exact_duration(policy.history));
    match policy.history_bytes {
        None => format!("{time}, however many bytes it takes"),
        Some(bytes) => format!("{time}, and less where it takes more than {}", units::bytes(bytes)),
    }
}
