//! `seawall move NAME --to URL [--yes]`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use clap::Args;
use seawall::Moved;

#[derive(Args)]
pub(crate) struct Move {
    #[command(flatten)]
    target: Target,
    /// The coordinator that it is to have: fs: or dynamodb://TABLE?region=REGION.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Do it. Without this, only check that it can be done. Programs that have the database open get an error that says
    /// where it is.
    #[arg(long)]
    yes: bool,
}

impl CommandOnFiles for Move {
    const NAME: &'static str = "move";
    const NEEDS: Needs = Needs::Database;

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let options = self.target.options();
        let moved = seawall::move_to(&self.target.path(), &self.to, !self.yes, &options)?;
        Ok(answer_of(&moved, &self.to))
    }
}

fn answer_of(moved: &Moved, to: &str) -> Answer {
    let mut answer = Answer::new();
    answer.field("dry_run", moved.version.is_none());
    answer.field("from", moved.from.clone());
    answer.field("to", moved.to.clone());
    answer.field("newest", moved.newest);
    answer.field("version", moved.version);
    let is_there = moved.from == moved.to;
    if !is_there {
        answer.row("from", &moved.from);
    }
    answer.row("to", &moved.to);
    match moved.version {
        _ if is_there => {
            answer.toned(Tone::Good, "is there", format!("version {} is the newest", moved.newest));
            answer.next("status", []);
            answer.moved_to(to);
        }
        Some(version) => {
            answer.toned(Tone::Good, "moved", format!("version {version} is the newest, in a new epoch"));
            answer.row("to do", format!("say coordinator={} wherever the database is opened", moved.to));
            answer.row("", "programs that still have it open get an error that says so");
            answer.next("status", []);
            answer.moved_to(to);
        }
        None => {
            answer.toned(Tone::Good, "can move", format!("version {} is the newest", moved.newest));
            answer.row("nothing", "was changed. Programs that have it open will have to open it again");
            answer.next("move", ["--to", to, "--yes"]);
        }
    }
    answer
}
