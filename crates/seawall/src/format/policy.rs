//! `policy`: how long a database's history is kept, and when a checkpoint is due. It belongs to the database, because
//! all machines must agree.

use crate::format::codec::Malformed;
use crate::format::head::checksum;
use crate::format::ids::parse_number;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// No policy's text is longer.
pub const MAX_LENGTH: usize = 1000;
/// History is never shorter, whatever a policy says: a reader or a writer may sleep that long and harm nothing.
pub const SHORTEST_HISTORY: Duration = Duration::from_secs(15 * 60);

/// A checkpoint is due at so many bytes of log, at least.
pub const SHORTEST_CHECKPOINT: u64 = 1 << 20;

/// A database's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long history is kept.
    pub history: Duration,
    /// The oldest history goes first where all of it takes more bytes than that, but for the last [`SHORTEST_HISTORY`].
    pub history_bytes: Option<u64>,
    /// A checkpoint is due once the log since the base has more bytes than this, and than the base.
    pub checkpoint_at: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { history: Duration::from_secs(24 * 3600), history_bytes: None, checkpoint_at: 64 << 20 }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { history, history_bytes, checkpoint_at } = self;
        let bytes = history_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        let history = history.as_secs();
        let text = format!("seawall1 policy history={history} history-bytes={bytes} checkpoint-at={checkpoint_at}");
        writeln!(f, "{text} sum={}", checksum(&text))
    }
}

impl FromStr for Policy {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Policy, Malformed> {
        let malformed = || Malformed("the policy is malformed");
        let mut fields = text.strip_prefix("seawall1 policy ").ok_or_else(malformed)?.split(' ');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or_else(malformed);
        let history = Duration::from_secs(parse_number(field("history=")?).ok_or_else(malformed)?);
        let history_bytes = match field("history-bytes=")? {
            "-" => None,
            bytes => Some(parse_number(bytes).ok_or_else(malformed)?),
        };
        let checkpoint_at = parse_number(field("checkpoint-at=")?).ok_or_else(malformed)?;
        let policy = Policy { history, history_bytes, checkpoint_at };
        // One spelling only: what is read must be what would be written, its checksum included.
        if policy.to_string() == text { Ok(policy) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_has_one_spelling() {
        for policy in [Policy::default(), Policy { history_bytes: Some(1 << 40), ..Policy::default() }] {
            let text = policy.to_string();
            assert_eq!(text.parse(), Ok(policy));
            assert!(text.len() < MAX_LENGTH && text.trim_end().parse::<Policy>().is_err());
            assert!(text.replace("history=8", "history=9").parse::<Policy>().is_err());
        }
    }
}
