//! The trait of a table that requests are sent to.

use crate::request::{Answer, Request};

/// A table. [`crate::sdk`] has the real one; a simulator can have another.
pub trait Table: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// Its region.
    fn region(&self) -> &str;
    /// The URL that `id` binds a database to. It has no endpoint, which only says how to reach the table.
    fn url(&self) -> String {
        format!("dynamodb://{}?region={}", self.name(), self.region())
    }
    /// Sends a request, once.
    fn attempt(&self, request: &Request) -> Result<Answer, Failure>;
    /// By how much its clock is ahead of this machine's, in milliseconds; 0 while that is not known, or too little to
    /// report.
    fn clock_ahead(&self) -> i64;
}

/// Why an attempt got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// What happened, for people.
    pub why: String,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It was certainly not carried out, and a repetition may succeed: throttled, not connected.
    NotYet,
    /// It may have been carried out, or may still be: no answer, a cut connection, a server's error.
    Unclear,
    /// The credentials do not allow it.
    Permission,
    /// It was refused, and a repetition would be as well: no such table, another key, wrong settings.
    Hopeless,
}
