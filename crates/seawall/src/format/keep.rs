//! Texts by which versions are kept: a *milestone* says which version was the newest when it was written, and a *pin*
//! which version is kept though history is over. Each is a line of its own and the head of that version, so that
//! nothing else is needed to open it.

use crate::format::codec::{self, Malformed};
use crate::format::head::{Head, MAX_TEXT, checksum};
use crate::format::ids::parse_number;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// None of these texts is longer.
pub const MAX_LENGTH: usize = MAX_TEXT + 200;

/// A version that was the newest when this was written. How long ago that was, the file's own time says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milestone {
    /// The version's own time, in milliseconds since 1970.
    pub time: u64,
    /// Its head.
    pub head: Head,
}

/// Who keeps a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A checkpoint that is at work.
    Checkpoint,
    /// A verification that is at work.
    Verification,
    /// Somebody who named the version.
    Person,
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Who keeps it.
    pub keeper: Keeper,
    /// For how long, from the file's own time on, in whole seconds.
    pub length: Duration,
    /// The version's own time, in milliseconds since 1970.
    pub time: u64,
    /// Its head.
    pub head: Head,
}

/// A line with its sum, and the head.
fn write(f: &mut fmt::Formatter<'_>, line: &str, head: &Head) -> fmt::Result {
    writeln!(f, "{line} sum={}\n{head}", checksum(line))
}

/// The words of the line after its beginning, and the head.
fn read<'a>(text: &'a str, begin: &str) -> Option<(Vec<&'a str>, Head)> {
    let (line, head) = text.strip_suffix('\n')?.split_once('\n')?;
    let (line, sum) = line.rsplit_once(" sum=")?;
    let words = line.strip_prefix(begin)?.split(' ').collect();
    Some((words, head.parse().ok()?)).filter(|_| sum == checksum(line))
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &format!("seawall1 milestone time={}", self.time), &self.head)
    }
}

impl FromStr for Milestone {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Milestone, Malformed> {
        let parse = || {
            let (words, head) = read(text, "seawall1 milestone ")?;
            let [time] = words[..] else { return None };
            Some(Milestone { time: codec::time(parse_number(time.strip_prefix("time=")?)?).ok()?, head })
        };
        parse().filter(|milestone| milestone.to_string() == text).ok_or(Malformed("the milestone is malformed"))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pin { keeper, length, time, head } = self;
        let keeper = match keeper {
            Keeper::Checkpoint => "checkpoint",
            Keeper::Verification => "verification",
            Keeper::Person => "person",
        };
        write(f, &format!("seawall1 pin by={keeper} for={} time={time}", length.as_secs()), head)
    }
}

impl FromStr for Pin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Pin, Malformed> {
        let parse = || {
            let (words, head) = read(text, "seawall1 pin ")?;
            let [keeper, length, time] = words[..] else { return None };
            let keeper = match keeper.strip_prefix("by=")? {
                "checkpoint" => Keeper::Checkpoint,
                "verification" => Keeper::Verification,
                "person" => Keeper::Person,
                _ => return None,
            };
            let length = Duration::from_secs(parse_number(length.strip_prefix("for=")?)?);
            Some(Pin { keeper, length, time: codec::time(parse_number(time.strip_prefix("time=")?)?).ok()?, head })
        };
        parse().filter(|pin| pin.to_string() == text).ok_or(Malformed("the pin is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::head::tests::a_head;

    #[test]
    fn they_come_back_and_no_changed_byte_passes() {
        let milestone = Milestone { time: 7, head: a_head() };
        let pin =
            Pin { keeper: Keeper::Person, length: Duration::from_secs(60), time: codec::LAST_TIME, head: a_head() };
        let texts = [milestone.to_string(), pin.to_string()];
        assert_eq!((texts[0].parse(), texts[1].parse()), (Ok(milestone), Ok(pin)));
        for text in &texts {
            assert!(text.len() < MAX_LENGTH, "{} bytes", text.len());
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1;
                let changed = String::from_utf8(changed).unwrap();
                assert!(changed.parse::<Milestone>().is_err() && changed.parse::<Pin>().is_err(), "{changed}");
            }
        }
    }
}
