//! A database's policy, in its folder.

use super::text_of;
use crate::error::{Error, Result};
use crate::format::policy::{MAX_LENGTH, Policy, SHORTEST_CHECKPOINT, SHORTEST_HISTORY};
use crate::ports::storage::{File, Storage};

/// The policy; the default one where none was set.
pub(crate) fn policy(storage: &dyn Storage) -> Result<Policy> {
    let Some(text) = text_of(storage, File::Policy, MAX_LENGTH)? else { return Ok(Policy::default()) };
    text.parse().map_err(|why| {
        Error::corrupt(
            File::Policy,
            format!("{why}. Nothing was deleted. Write it again: seawall policy NAME --history 24h"),
        )
    })
}

/// Sets the policy, for all machines.
pub(crate) fn set_policy(storage: &dyn Storage, policy: &Policy) -> Result<()> {
    if policy.history < SHORTEST_HISTORY {
        return Err(Error::CannotOpen(format!(
            "a history of {} s is too short: {} s is the least, so that no reader and no writer that sleeps a while is harmed. The policy was \
             not changed",
            policy.history.as_secs(),
            SHORTEST_HISTORY.as_secs()
        )));
    }
    if policy.checkpoint_at < SHORTEST_CHECKPOINT {
        return Err(Error::CannotOpen(format!(
            "a checkpoint after {} bytes of log is too soon: {SHORTEST_CHECKPOINT} bytes are the least. The policy was not changed",
            policy.checkpoint_at
        )));
    }
    let written = storage.replace(File::Policy, policy.to_string().as_bytes());
    written.map_err(|error| Error::io(format!("writing {}", File::Policy), error))
}
