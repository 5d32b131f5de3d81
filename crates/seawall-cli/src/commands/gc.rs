//! `seawall gc NAME [--dry-run] [--max-duration 10min]`.

use super::Command;
use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::target::Target;
use crate::{progress, units};
use clap::Args;
use seawall::format::head::Floor;
use seawall::{Collected, Collecting, Database, Kept, Shown, Sum};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    target: Target,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Delete nothing more after so long, as in 10min. The next run goes on.
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    max_duration: Option<Duration>,
}

impl Command for Gc {
    const NAME: &'static str = "gc";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let spinner = progress::unknown("collecting garbage");
        let (dry_run, max_duration) = (self.dry_run, self.max_duration);
        let collected = database.collect(Collecting { dry_run, max_duration, ..Collecting::default() });
        spinner.finish_and_clear();
        Ok(answer_of(&collected?, dry_run, max_duration))
    }
}

fn answer_of(collected: &Collected, dry_run: bool, max_duration: Option<Duration>) -> Answer {
    let mut answer = Answer::new();
    answer.field("dry_run", dry_run);
    fields(&mut answer, collected);
    answer.row(if dry_run { "would delete" } else { "deleted" }, units::files(collected.deleted));
    if collected.names > 0 {
        answer.row("names", format!("{} taken out of commits/", collected.names));
    }
    rows(&mut answer, collected);
    for failed in &collected.left {
        answer.exit = Exit::Partly;
        answer.toned(Tone::Bad, "not deleted", failed);
    }
    if collected.postponed.files > 0 {
        answer.exit = Exit::Partly;
        answer.toned(
            Tone::Warning,
            "postponed",
            format!("{}: there was no time left", units::files(collected.postponed)),
        );
    }
    answer.row("history", reach(collected.floor));
    if dry_run || answer.exit == Exit::Partly {
        answer.next("gc", []);
        if let Some(length) = max_duration {
            answer.next_with(format_args!("--max-duration={}", humantime::format_duration(length)));
        }
    } else {
        answer.next("status", []);
    }
    answer
}

/// Why something is kept, in a word and as a sentence.
const REASONS: [(Kept, &str, &str); 5] = [
    (Kept::Newest, "newest", "the newest version needs it"),
    (Kept::History, "history", "a version inside history needs it"),
    (Kept::Pin, "pin", "a pin needs it"),
    (Kept::Evidence, "evidence", "it has the heads that a recovery found, in case there is another one"),
    (Kept::Young, "young", "it is too young to be known for garbage"),
];

/// What stays, for people.
pub(super) fn rows(answer: &mut Answer, collected: &Collected) {
    let mut label = "kept";
    for (why, _, text) in REASONS {
        if let Some(sum) = collected.kept.get(&why) {
            answer.row(label, format!("{}: {text}", units::files(*sum)));
            label = "";
        }
    }
    let mut label = "not Seawall's";
    for name in &collected.unknown {
        answer.toned(Tone::Warning, label, format!("{} (kept)", Shown::new(name)));
        label = "";
    }
}

/// What was collected, as JSON.
pub(super) fn fields(answer: &mut Answer, collected: &Collected) {
    answer.field("deleted", sum(collected.deleted));
    answer.field("names", collected.names);
    let kept =
        REASONS.map(|(why, word, _)| (word.to_owned(), sum(collected.kept.get(&why).copied().unwrap_or_default())));
    answer.field("kept", Value::Object(kept.into_iter().collect()));
    let texts = |texts: &[String]| texts.iter().map(|text| Value::from(&*Shown::message(text))).collect::<Vec<_>>();
    answer.field("unknown", texts(&collected.unknown));
    answer.field("not_deleted", texts(&collected.left));
    answer.field("postponed", sum(collected.postponed));
    answer.field("history_bytes", collected.history_bytes);
    answer.field("floor", floor(collected.floor));
}

fn sum(sum: Sum) -> Value {
    json!({ "files": sum.files, "bytes": sum.bytes })
}

/// The oldest version that is still promised, as JSON.
pub(super) fn floor(floor: Floor) -> Value {
    json!({ "version": floor.version.0, "time": (floor.time > 0).then(|| units::iso(floor.time)) })
}

/// How far history reaches back, for people.
pub(super) fn reach(floor: Floor) -> String {
    match floor.time {
        0 => format!("reaches back to version {}, the beginning", floor.version.0),
        time => format!("reaches back to version {}, {}", floor.version.0, units::time(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_deleted_is_named_and_the_next_run_is_asked_for() {
        let left = vec!["NAME-seawall/segments/x.seg: it is busy".to_owned()];
        let deleted = Sum { files: 2, bytes: 5 };
        let partly = answer_of(&Collected { left, deleted, ..Collected::default() }, false, None);
        assert_eq!(partly.exit, Exit::Partly);
        let json = partly.into_json();
        assert_eq!(json["deleted"], json!({ "files": 2, "bytes": 5 }));
        assert!(json["not_deleted"][0].as_str().unwrap().contains("it is busy"));
        assert_eq!(answer_of(&Collected { deleted, ..Collected::default() }, false, None).exit, Exit::Good);
        let postponed = answer_of(&Collected { deleted, postponed: deleted, ..Collected::default() }, false, None);
        assert_eq!((postponed.exit, &postponed.into_json()["postponed"]["files"]), (Exit::Partly, &json!(2)));
    }
}
