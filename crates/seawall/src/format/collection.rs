//! `collected`: that a garbage collection is at work, and which one succeeded last.

use crate::format::codec::Malformed;
use crate::format::head::checksum;
use crate::format::ids::parse_number;
use std::fmt;
use std::str::FromStr;

/// No text of it is longer.
pub const MAX_LENGTH: usize = 300;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The last collection that succeeded: when it ended, in milliseconds since 1970, how many files it deleted, and
    /// their bytes. The time is 0 where the file's own time says it, which is so unless another collection has begun
    /// since.
    pub ended: Option<(u64, u64, u64)>,
    /// Another one began when the file was written, and has not succeeded yet.
    pub is_at_work: bool,
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_at_work { "at-work" } else { "done" };
        let ended = self.ended.map_or_else(|| "-".to_owned(), |(time, files, bytes)| format!("{time}:{files}:{bytes}"));
        let text = format!("seawall1 collected state={state} last={ended}");
        writeln!(f, "{text} sum={}", checksum(&text))
    }
}

impl FromStr for Collection {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Collection, Malformed> {
        let parse = || {
            let (body, _) = text.strip_prefix("seawall1 collected state=")?.split_once(" sum=")?;
            let (state, ended) = body.split_once(" last=")?;
            let ended = match ended {
                "-" => None,
                ended => {
                    let mut numbers = ended.split(':').map(parse_number);
                    let (time, files, bytes) = (numbers.next()??, numbers.next()??, numbers.next()??);
                    Some((time, files, bytes))
                }
            };
            Some(Collection { ended, is_at_work: state == "at-work" })
        };
        parse().filter(|collection| collection.to_string() == text).ok_or(Malformed("the note is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_has_one_spelling() {
        for (ended, is_at_work) in [(None, true), (Some((7, 0, u64::MAX)), true), (Some((0, 1, 2)), false)] {
            let text = Collection { ended, is_at_work }.to_string();
            assert_eq!(text.parse(), Ok(Collection { ended, is_at_work }));
            assert!(text.len() < MAX_LENGTH && text.replace("last=", "last=1").parse::<Collection>().is_err());
        }
        assert!("begun\n".parse::<Collection>().is_err());
    }
}
