//! `seawall pins NAME`.

use super::Command;
use crate::answer::{Answer, Failure};
use crate::target::Target;
use crate::units;
use clap::Args;
use seawall::format::keep::Keeper;
use seawall::{Database, Pinned};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct Pins {
    #[command(flatten)]
    target: Target,
}

impl Command for Pins {
    const NAME: &'static str = "pins";

    fn target(&self) -> &Target {
        &self.target
    }

    fn run(&self, database: &Arc<Database>) -> Result<Answer, Failure> {
        let pins = database.pins()?;
        let mut answer = Answer::new();
        answer.field("pins", pins.iter().map(fields).collect::<Vec<_>>());
        rows(&mut answer, &pins);
        match pins.iter().find(|pinned| pinned.pin.keeper == Keeper::Person) {
            Some(pinned) => answer.next("unpin", [&pinned.name.to_string()]),
            None => answer.next("pin", ["before-the-release", "--for", "7d"]),
        }
        Ok(answer)
    }
}

/// The pins, for people.
pub(super) fn rows(answer: &mut Answer, pins: &[Pinned]) {
    if pins.is_empty() {
        answer.row("pins", "none");
    }
    let longest = pins.iter().map(|pinned| pinned.name.to_string().len()).max().unwrap_or(0);
    for (n, pinned) in pins.iter().enumerate() {
        let (name, version) = (pinned.name.to_string(), pinned.pin.head.version.0);
        let of = match pinned.pin.keeper {
            Keeper::Checkpoint => ", of a checkpoint at work",
            Keeper::Verification => ", of a verification at work",
            Keeper::Person => "",
        };
        let text = format!("{name:longest$}  version {version}, until {}{of}", units::time(until(pinned)));
        answer.row(if n == 0 { "pins" } else { "" }, text);
    }
}

/// A pin, as JSON.
pub(super) fn fields(pinned: &Pinned) -> Value {
    json!({
        "pin": pinned.name.to_string(),
        "version": pinned.pin.head.version.0,
        "time": (pinned.pin.time > 0).then(|| units::iso(pinned.pin.time)),
        "by": match pinned.pin.keeper {
            Keeper::Checkpoint => "checkpoint",
            Keeper::Verification => "verification",
            Keeper::Person => "person",
        },
        "until": units::iso(until(pinned)),
    })
}

/// When a pin's time is over, in milliseconds since 1970, to the second: the day or the second that a person has named.
pub(super) fn until(pinned: &Pinned) -> u64 {
    let end = pinned.written / 1_000_000 + pinned.pin.length.as_millis() as i128;
    u64::try_from((end.max(0) + 500) / 1000 * 1000).unwrap_or(u64::MAX)
}
