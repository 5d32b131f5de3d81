//! `seawall status NAME`.

use super::Command;
use super::gc::{self, reach};
use super::pins;
use super::policy::history;
use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::finding::State;
use crate::target::Target;
use crate::{units, upkeep};
use clap::Args;
use seawall::{Database, Overview, Shown};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
}

impl Command for Status {
    const NAME: &'static str = "status";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let (status, overview) = (database.status()?, database.overview()?);
        let findings = upkeep::judge(&self.target.path(), &status, &overview);
        let worst = |state| findings.iter().filter(move |finding| finding.state == state);
        let mut problems: Vec<String> = worst(State::Problem).map(|finding| finding.text.to_string()).collect();
        problems.extend(status.trouble.iter().map(|trouble| Shown::message(trouble).to_string()));
        let mut answer = Answer::new();
        if problems.is_empty() {
            answer.toned(Tone::Good, "healthy", "yes");
        } else {
            answer.exit = Exit::Problem;
            problems.iter().for_each(|problem| answer.toned(Tone::Bad, "PROBLEM", problem));
        }
        for note in worst(State::Note) {
            answer.toned(Tone::Warning, "note", &note.text);
        }
        rows(&mut answer, &status, &overview);
        fields(&mut answer, &status, &overview, &problems);
        match upkeep::next(&status, &overview) {
            _ if !problems.is_empty() && overview.would.is_err() => answer.next("doctor", []),
            Some(command) => answer.next(command, []),
            None if problems.is_empty() => answer.next("policy", []),
            None => answer.next("doctor", []),
        }
        Ok(answer)
    }
}

/// For people.
fn rows(answer: &mut Answer, status: &seawall::Status, overview: &Overview) {
    let committed = if status.time == 0 { "the beginning".into() } else { units::time(status.time) };
    answer.row("version", format!("{}, {committed}", status.version));
    let writer = overview.writer.as_ref().map(Shown::new);
    answer.row("writer", writer.as_deref().unwrap_or("nobody has the lease"));
    let due = units::bytes(overview.checkpoint_due);
    answer.row("log", format!("{} since the base; a checkpoint is due at {due}", units::bytes(status.log_bytes)));
    let base = match status.base_version {
        Some(version) => format!("{}, of version {version}", units::bytes(status.base_bytes)),
        None => "none yet".into(),
    };
    answer.row("base", base);
    answer.row("history", format!("{}; {}", reach(status.floor), history(&overview.policy)));
    let collected = match overview.collected {
        Some(last) => format!("{}: {} deleted", units::time(last.time), units::files(last.deleted)),
        None => "never yet".into(),
    };
    answer.row("collected", collected);
    if let Ok(would) = &overview.would {
        answer.row("would free", units::files(would.deleted));
        gc::rows(answer, would);
    }
    pins::rows(answer, &overview.pins);
    answer.row("coordinator", format!("{}, on {}", Shown::url(&status.coordinator), status.file_system));
}

/// As JSON.
fn fields(answer: &mut Answer, status: &seawall::Status, overview: &Overview, problems: &[String]) {
    let time = |millis: u64| (millis > 0).then(|| units::iso(millis));
    answer.field("healthy", problems.is_empty());
    answer.field("problems", problems.to_vec());
    answer.field("database", status.database.clone());
    answer.field("coordinator", &*Shown::url(&status.coordinator));
    answer.field("file_system", status.file_system.clone());
    answer.field("is_copy", status.is_copy);
    answer.field("epoch", status.epoch);
    answer.field("version", status.version);
    answer.field("commit", status.commit.clone());
    answer.field("time", time(status.time));
    answer.field("page_size", status.page_size);
    answer.field("page_count", status.page_count);
    answer.field("writer", overview.writer.as_ref().map(|writer| Value::from(&*Shown::new(writer))));
    answer.field("only_in_names", overview.only_in_names);
    answer.field("log_bytes", status.log_bytes);
    answer.field("base_version", status.base_version);
    answer.field("base_bytes", status.base_bytes);
    answer.field("checkpoint_due_bytes", overview.checkpoint_due);
    answer.field("floor", gc::floor(status.floor));
    answer.field(
        "policy",
        json!({
            "history_seconds": overview.policy.history.as_secs(),
            "history_bytes_limit": overview.policy.history_bytes,
            "checkpoint_at_bytes": overview.policy.checkpoint_at,
        }),
    );
    let collected = overview.collected.map(|last| {
        json!({ "time": units::iso(last.time), "deleted": { "files": last.deleted.files, "bytes": last.deleted.bytes } })
    });
    answer.field("collected", collected);
    answer.field("collection_is_late", overview.is_late);
    let would = overview.would.as_ref().map(|would| {
        let mut of_gc = Answer::new();
        gc::fields(&mut of_gc, would);
        of_gc.into_json()
    });
    answer.field("would_collect", would.ok());
    answer.field("pins", overview.pins.iter().map(pins::fields).collect::<Vec<_>>());
    answer.field("trouble", status.trouble.as_ref().map(|trouble| Value::from(&*Shown::message(trouble))));
}
