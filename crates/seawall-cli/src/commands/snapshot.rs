//! `seawall snapshot NAME --refresh`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use clap::Args;

#[derive(Args)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    target: Target,
    /// Write NAME again from the newest version. What lies there instead is moved aside.
    #[arg(long, required = true)]
    refresh: bool,
}

impl CommandOnFiles for Snapshot {
    const NAME: &'static str = "snapshot";
    const NEEDS: Needs = Needs::Database;

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let moved = seawall::refresh_name(&self.target.path(), &self.target.options())?;
        let mut answer = Answer::new();
        answer.field("refreshed", self.refresh);
        answer.field("moved_to", moved.as_ref().map(|path| path.to_string_lossy().into_owned()));
        answer.toned(Tone::Good, "written", "NAME is the newest version again, for stock SQLite to read");
        if let Some(moved) = moved {
            answer.row("moved aside", moved.display());
        }
        answer.next("status", []);
        Ok(answer)
    }
}
