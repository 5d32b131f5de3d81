//! `seawall recover NAME [--yes] [--commit ID] [--take-over-home]`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::target::Target;
use crate::units;
use clap::Args;
use seawall::format::ids::CommitId;
use seawall::ports::storage::Begun;
use seawall::{FoundVersion, Recovered, Recovery};
use serde_json::{Value, json};

/// So much of what would be lost is named; the rest is counted.
const NAMED: usize = 10;

#[derive(Args)]
pub(crate) struct Recover {
    #[command(flatten)]
    target: Target,
    /// Do it. Without this, only say what was found, what would be kept, and what would be lost. Stop all programs that
    /// use the database first.
    #[arg(long)]
    yes: bool,
    /// The commit to recover to, where several stand on the newest proven version.
    #[arg(long, value_name = "ID", value_parser = commit_id)]
    commit: Option<CommitId>,
    /// This folder is a copy, and the one that it was copied from is gone for good: let it take its place.
    #[arg(long)]
    take_over_home: bool,
}

fn commit_id(text: &str) -> Result<CommitId, String> {
    text.parse().map_err(|_| "a commit's id has 32 digits, 0-9 and a-f".to_owned())
}

impl CommandOnFiles for Recover {
    const NAME: &'static str = "recover";
    const NEEDS: Needs = Needs::DatabaseOr(Begun::Commits);

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let recovery = Recovery {
            coordinator: self.target.bound_to(),
            choose: self.commit,
            take_over_home: self.take_over_home,
            dry_run: !self.yes,
        };
        let recovered = seawall::recover(&self.target.path(), &recovery)?;
        let is_needed = self.yes || self.is_needed(&recovered);
        let mut answer = answer_of(&recovered, is_needed);
        if answer.exit == Exit::NeedsRecovery {
            answer.next("recover", ["--yes"]);
            if let Some(commit) = self.commit {
                answer.next_with(format_args!("--commit={commit}"));
            }
            if self.take_over_home {
                answer.next_with("--take-over-home");
            }
        }
        Ok(answer)
    }
}

impl Recover {
    /// Whether a recovery would mend anything: the database cannot be opened, or its newest version would not be kept.
    fn is_needed(&self, recovered: &Recovered) -> bool {
        let opened = self.target.open().and_then(|database| Ok(database.status()?));
        let is_right = opened.is_ok_and(|status| !status.is_copy) && recovered.keeps_head;
        !is_right || recovered.rebuilt || !recovered.lost.is_empty()
    }
}

fn answer_of(recovered: &Recovered, is_needed: bool) -> Answer {
    let mut answer = Answer::new();
    let done = recovered.version.is_some();
    answer.field("needed", is_needed);
    answer.field("dry_run", !done);
    answer.field("database", recovered.database.to_string());
    answer.field("head", recovered.head);
    answer.field("proven", recovered.proven);
    answer.field("candidates", recovered.candidates.iter().map(found).collect::<Vec<_>>());
    answer.field("kept", found(&recovered.kept));
    answer.field("never_learned", recovered.never_learned);
    answer.field("rebuilt", recovered.rebuilt);
    let (lost, left_out) = recovered.lost.split_at(recovered.lost.len().min(NAMED));
    answer.field("lost", lost);
    answer.field("lost_left_out", left_out.len());
    answer.field("version", recovered.version);
    match recovered.head {
        None => answer.toned(Tone::Bad, "head", "lost"),
        Some(head) => answer.row("head", format!("names version {head}")),
    }
    answer.row("proven", format!("version {}: some writer knew it to be in the history", recovered.proven));
    let kept = &recovered.kept;
    let what = if done { "kept" } else { "would keep" };
    answer.toned(Tone::Good, what, format!("version {}, {}", kept.version, time_of(kept)));
    answer.row("", format!("commit {}, {} pages", kept.commit, kept.pages));
    if recovered.never_learned {
        answer.row(
            "",
            "its outcome was never learned: its writer may have reported it as saved, or may have died before that",
        );
    }
    if recovered.rebuilt {
        answer.toned(Tone::Warning, "", "the newest base is damaged: it stands on an older one, and the commits since");
    }
    let mut label = "lost";
    for why in lost {
        answer.toned(Tone::Bad, label, why);
        label = "";
    }
    if !left_out.is_empty() {
        answer.toned(Tone::Bad, label, format!("{} more that are not listed", left_out.len()));
    }
    match recovered.version {
        Some(version) => {
            answer.toned(Tone::Good, "recovered", format!("as version {version}, in a new epoch"));
            answer.next("status", []);
        }
        None if !is_needed => {
            answer.toned(Tone::Good, "not needed", "the database opens, and a recovery would keep its newest version");
            answer.next("verify", []);
        }
        None => {
            answer.row("nothing", "was changed. Stop all programs that use the database before you go on");
            answer.exit = Exit::NeedsRecovery;
        }
    }
    answer
}

fn time_of(version: &FoundVersion) -> String {
    if version.time == 0 { "the beginning".into() } else { units::time(version.time) }
}

fn found(version: &FoundVersion) -> Value {
    let FoundVersion { version: number, commit, time, pages } = version;
    let time = (*time > 0).then(|| units::iso(*time));
    json!({ "version": number, "commit": commit.to_string(), "time": time, "pages": pages })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall::format::ids::DatabaseId;

    #[test]
    fn of_what_is_lost_the_first_are_named_and_the_rest_counted() {
        let kept = FoundVersion { version: 5, commit: CommitId([7; 16]), time: 0, pages: 1 };
        let mut recovered = Recovered {
            database: DatabaseId([1; 16]),
            head: None,
            proven: 5,
            candidates: Vec::new(),
            kept,
            never_learned: false,
            rebuilt: false,
            keeps_head: false,
            lost: (0..1_000_000).map(|n| format!("version {n}")).collect(),
            version: None,
        };
        let json = answer_of(&recovered, true).into_json();
        assert_eq!(json["lost"].as_array().unwrap().len(), 10);
        assert_eq!((&json["lost"][9], &json["lost_left_out"]), (&json!("version 9"), &json!(999_990)));
        recovered.lost.truncate(2);
        let json = answer_of(&recovered, true).into_json();
        assert_eq!((&json["lost"], &json["lost_left_out"]), (&json!(["version 0", "version 1"]), &json!(0)));
    }
}
