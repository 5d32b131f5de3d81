//! `seawall adopt NAME [--new-id]`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::plain_file::WithoutSqlite;
use crate::target::Target;
use clap::Args;

#[derive(Args)]
pub(crate) struct Adopt {
    #[command(flatten)]
    target: Target,
    /// The folder was copied or restored together with NAME: make a database of its own of it.
    #[arg(long)]
    new_id: bool,
}

impl CommandOnFiles for Adopt {
    const NAME: &'static str = "adopt";
    const NEEDS: Needs = Needs::File;

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let options = self.target.options();
        let moved = seawall::adopt(&self.target.path(), self.new_id, &options, &WithoutSqlite)?;
        let mut answer = Answer::new();
        answer.field("coordinator", options.coordinator.clone());
        answer.field("moved_to", moved.as_ref().map(|path| path.to_string_lossy().into_owned()));
        let what = "NAME is the first version of a database of its own";
        answer.toned(Tone::Good, "adopted", what);
        answer.row("coordinator", &options.coordinator);
        if let Some(moved) = moved {
            answer.row("moved aside", format!("{}: the folder that it had", moved.display()));
        }
        answer.next("status", []);
        Ok(answer)
    }
}
