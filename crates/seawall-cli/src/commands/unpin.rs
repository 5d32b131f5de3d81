//! `seawall unpin NAME PIN`.

use super::Command;
use super::pin::pin_name;
use crate::answer::{Answer, Failure, Tone};
use crate::exit::Exit;
use crate::target::Target;
use clap::Args;
use seawall::Database;
use seawall::format::ids::PinName;
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct Unpin {
    #[command(flatten)]
    target: Target,
    /// The pin's name.
    #[arg(value_name = "PIN", value_parser = pin_name)]
    pin: PinName,
}

impl Command for Unpin {
    const NAME: &'static str = "unpin";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let was_there = database.unpin(self.pin)?;
        let mut answer = Answer::new();
        answer.field("pin", self.pin.to_string());
        answer.field("was_there", was_there);
        if was_there {
            answer.row(
                "given up",
                format!("the pin {}: what only it kept goes with the next garbage collection", self.pin),
            );
            answer.next("gc", []);
        } else {
            answer.exit = Exit::Problem;
            answer.toned(Tone::Bad, "not there", format!("there is no pin {}", self.pin));
            answer.next("pins", []);
        }
        Ok(answer)
    }
}
