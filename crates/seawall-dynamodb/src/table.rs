//! The trait of a table that requests are sent to.

use crate::request::{Answer, Request};

/// A table. [`crate::sdk`] has the real one; a simulator may have another.
pub trait Table: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// The region that it is in.
    fn region(&self) -> &str;
    /// The URL that `id` binds a database to. An endpoint is only how the table is reached.
    fn url(&self) -> String {
        format!("dynamodb://{}?region={}", self.name(), self.region())
    }
    /// Sends a request, once.
    fn attempt(&self, request: &Request) -> Result<Answer, Failure>;
    /// By how much its clock is ahead of this machine's, in milliseconds; 0 while that is not known, or not worth a word.
    fn clock_ahead(&self) -> i64;
}

/// Why an attempt got no answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What to make of it.
    pub kind: FailureKind,
    /// What happened, for people.
    pub why: String,
}

/// What to make of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It was certainly not carried out, and a repetition may be: throttled, not connected.
    NotYet,
    /// It may have been carried out, or may be yet: no answer, a cut connection, a server's error.
    Unclear,
    /// This may not be done.
    Permission,
    /// It was refused, and would be again: no such table, another key, wrong settings.
    Hopeless,
}
