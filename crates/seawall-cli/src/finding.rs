//! What was looked at, and what was found.

use serde::Serialize;
use std::fmt;

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it must be.
    Good,
    /// Not wrong, and worth knowing.
    Note,
    /// It could not be looked at.
    Unknown,
    /// Wrong.
    Problem,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a short, fixed name.
    pub check: &'static str,
    /// What was found.
    pub state: State,
    /// The same, for people.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it must be.
    pub fn good(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { check, state: State::Good, text: text.into(), remedy: None }
    }

    /// Not wrong, and worth knowing.
    pub fn note(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Note, ..Finding::good(check, text) }
    }

    /// It could not be looked at.
    pub fn unknown(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { state: State::Unknown, ..Finding::good(check, text) }
    }

    /// Wrong, and what to do about it.
    pub fn problem(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, state: State::Problem, text: text.into(), remedy: Some(remedy.into()) }
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
            Some(remedy) => write!(f, "\n{:31} what to do: {remedy}", ""),
            None => Ok(()),
        }
    }
}
