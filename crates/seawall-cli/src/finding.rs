//! A check and its result.

use seawall::Shown;
use serde::{Serialize, Serializer};
use std::fmt;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Good,
    /// Not wrong, but worth knowing.
    Note,
    /// It could not be checked.
    Unknown,
    /// Wrong.
    Problem,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: a short, fixed name.
    pub check: &'static str,
    /// Its result.
    pub state: State,
    /// What was found, for people.
    #[serde(serialize_with = "as_text")]
    pub text: Shown,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub remedy: Option<Shown>,
}

impl Finding {
    /// As it must be.
    pub fn good(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { check, state: State::Good, text: Shown::message(text.into()), remedy: None }
    }

    /// Not wrong, but worth knowing.
    pub fn note(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Note, ..Finding::good(check, text) }
    }

    /// It could not be checked.
    pub fn unknown(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Unknown, ..Finding::good(check, text) }
    }

    /// Wrong, and what to do about it.
    pub fn problem(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            check,
            state: State::Problem,
            text: Shown::message(text.into()),
            remedy: Some(Shown::message(remedy.into())),
        }
    }
}

impl Finding {
    /// Wrong, in the engine's own words. Its texts say what to do.
    pub(crate) fn refusal(check: &'static str, error: impl fmt::Display) -> Finding {
        Finding::problem(check, error.to_string(), "do what this says, and leave the files as they are until then")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "ok",
            State::Note => "note",
            State::Unknown => "unknown",
            State::Problem => "PROBLEM",
        };
        write!(f, "{state:8} {:22} {}", self.check, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:31} what to do: {}", "", remedy),
            None => Ok(()),
        }
    }
}

fn as_text<S: Serializer>(text: &Shown, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn as_optional_text<S: Serializer>(text: &Option<Shown>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_without_control_characters() {
        let shown = Finding::problem("NAME", "a\u{1b}[31m\nb\u{202e}c \u{e9}", "d\re").to_string();
        assert_eq!(shown.lines().count(), 2);
        assert!(shown.contains(r"a\u{1b}[31m\nb\u{202e}c é") && shown.contains(r"d\re"), "{shown}");
    }
}
