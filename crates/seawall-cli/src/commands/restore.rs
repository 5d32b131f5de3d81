//! `seawall restore NAME --from FILE`.

use super::{CommandOnFiles, Needs};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    target: Target,
    /// A plain SQLite file, for example a copy that seawall.copy made; or what was put at NAME itself.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

impl CommandOnFiles for Restore {
    const NAME: &'static str = "restore";
    const NEEDS: Needs = Needs::Database;

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self) -> Result<Answer, Failure> {
        let version = seawall::restore_from(&self.target.path(), &self.from, &self.target.options())?;
        let mut answer = Answer::new();
        answer.field("version", version);
        answer.field("before", version - 1);
        answer.toned(Tone::Good, "restored", format!("as version {version}: one commit, and all readers go on"));
        answer.row("before this", format!("version {}, which history keeps", version - 1));
        answer.next("status", []);
        Ok(answer)
    }
}
