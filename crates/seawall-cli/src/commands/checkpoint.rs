//! `seawall checkpoint NAME`.

use super::Command;
use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::target::Target;
use crate::{progress, units};
use clap::Args;
use seawall::{Database, Status};
use std::sync::Arc;
use std::time::Instant;

#[derive(Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    target: Target,
    /// Do nothing unless one is due: the log is longer than the base, and than the policy's --checkpoint-at.
    #[arg(long)]
    if_due: bool,
}

impl Command for Checkpoint {
    const NAME: &'static str = "checkpoint";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let began = Instant::now();
        let before = database.status()?;
        let page_size = u64::from(before.page_size);
        if self.if_due && !database.checkpoint_is_due()? {
            return Ok(self.not_due(database, &before)?);
        }
        let bar = progress::bytes("checkpoint", u64::from(before.page_count) * page_size);
        let made = database.checkpoint(&mut |done, all| {
            bar.set_length(all * page_size);
            bar.set_position(done * page_size);
            Ok(())
        });
        bar.finish_and_clear();
        let made = made?;
        let took = began.elapsed();
        let mut answer = Answer::new();
        answer.field("made", made.is_some());
        answer.field("seconds", took.as_secs_f64());
        let Some(made) = made else {
            let base = database.status()?.base_version;
            answer.field("base_version", base);
            let text = match base {
                Some(base) => {
                    format!("nothing to do: nothing was committed since the base, which is of version {base}")
                }
                None => "nothing to do: the database is empty".into(),
            };
            answer.row("checkpoint", text);
            answer.next("status", []);
            return Ok(answer);
        };
        answer.field("base_version", made.version);
        answer.field("pages", made.pages);
        answer.field("base_bytes", made.bytes);
        answer.field("name_not_renewed", made.name_not_renewed.clone());
        let rate = units::bytes((made.bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
        answer.toned(Tone::Good, "checkpoint", format!("version {} is the base now", made.version));
        answer.row("base", format!("{}, {} pages", units::bytes(made.bytes), made.pages));
        answer.row("took", format!("{:.1} s ({rate}/s)", took.as_secs_f64()));
        if let Some(why) = made.name_not_renewed {
            answer.exit = Exit::Problem;
            answer.toned(Tone::Bad, "NAME", format!("was not renewed: {why}"));
        }
        answer.next("gc", []);
        Ok(answer)
    }
}

impl Checkpoint {
    fn not_due(&self, database: &Database, status: &Status) -> seawall::Result<Answer> {
        let due = status.base_bytes.max(database.policy()?.checkpoint_at);
        let mut answer = Answer::new();
        answer.field("made", false);
        answer.field("seconds", 0.0);
        answer.field("base_version", status.base_version);
        let (log, due) = (units::bytes(status.log_bytes), units::bytes(due));
        answer.row("checkpoint", format!("not due: the log has {log} since the base, and {due} are waited for"));
        answer.next("status", []);
        Ok(answer)
    }
}
