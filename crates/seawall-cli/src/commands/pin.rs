//! `seawall pin NAME PIN [--at VERSION|TIME] [--for 7d]`.

use super::Command;
use super::pins::{fields, until};
use crate::answer::{Answer, Failure, Tone};
use crate::target::Target;
use crate::units;
use clap::Args;
use seawall::format::ids::PinName;
use seawall::{At, Database};
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Pin {
    #[command(flatten)]
    target: Target,
    /// The pin's name: lower-case letters, digits, `.`, `_` and `-`. A pin of that name is replaced.
    #[arg(value_name = "PIN", value_parser = new_pin_name)]
    pin: PinName,
    /// Which version: its number, or a time, as in "2h ago" or "2026-12-24 18:00:00" (UTC). The default is the newest.
    #[arg(long, value_name = "VERSION|TIME", value_parser = units::at)]
    at: Option<At>,
    /// How long it is kept, as in 7d; or until when, as in 2026-12-24 (UTC).
    #[arg(long = "for", value_name = "DURATION", default_value = "7d", value_parser = units::from_now_on)]
    length: Duration,
}

impl Command for Pin {
    const NAME: &'static str = "pin";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        if self.length < Duration::from_secs(1) {
            return Err(Failure::usage("--for is shorter than a second, so nothing would be kept. Nothing was pinned"));
        }
        let pinned = match self.at {
            None => database.pin(self.pin, self.length),
            Some(at) => database.pin_at(self.pin, at, self.length),
        }?;
        let mut answer = Answer::new();
        answer.field("pin", fields(&pinned));
        let version = pinned.pin.head.version.0;
        answer.toned(Tone::Good, "pinned", format!("version {version} under the name {}", pinned.name));
        answer.row("until", units::time(until(&pinned)));
        answer.next("unpin", [&self.pin.to_string()]);
        Ok(answer)
    }
}

/// The name of a pin that a person makes.
fn new_pin_name(text: &str) -> Result<PinName, String> {
    let name = pin_name(text)?;
    name.check_person_may_use().map(|()| name)
}

/// A pin's name, from the command line.
pub(super) fn pin_name(text: &str) -> Result<PinName, String> {
    let expected = "it is no pin's name: at most 40 lower-case letters, digits, '.', '_' and '-', of which the first is a letter or a digit";
    text.parse().map_err(|_| expected.to_owned())
}
