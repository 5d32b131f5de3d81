//! `seawall detach NAME --yes`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use clap::Args;
use seawall::ports::storage::Begun;

#[derive(Args)]
pub(crate) struct Detach {
    #[command(flatten)]
    target: Target,
    /// Do it: history goes with the folder.
    #[arg(long)]
    yes: bool,
}

impl CommandOnFiles for Detach {
    const NAME: &'static str = "detach";
    const NEEDS: Needs = Needs::DatabaseOr(Begun::Detaching);

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let name = self.target.shown();
        if !self.yes {
            return Err(Failure::usage(format!(
                "detaching writes the newest version as {name}, a plain SQLite file, and removes {name}-seawall with all of its history. \
                 Nothing was changed. Stop all programs that use the database, and add --yes"
            )));
        }
        let version = seawall::detach(&self.target.path(), &self.target.options())?;
        let mut answer = Answer::new();
        answer.field("version", version);
        let done = match version {
            Some(version) => format!("NAME is the plain SQLite file of version {version}"),
            None => "the rest of the folder is removed, and NAME is the plain SQLite file that it was".into(),
        };
        answer.toned(Tone::Good, "detached", done);
        answer.row("", "programs that still have it open get an error that says so");
        answer.next("doctor", []);
        Ok(answer)
    }
}
