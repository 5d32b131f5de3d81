//! Marks: that a commit was refused, noted in its writer's own segment.
//!
//! Recovery reads them when the head is lost: what is marked is not in the history.

use crate::format::codec::{Malformed, Reader};
use crate::format::head::{CommitRef, Head};
use crate::format::ids::{CommitId, DatabaseId, Digest, Epoch, Version};

/// A commit that was refused: its swap was seen to have been refused; or it was never sent, because its append failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The database.
    pub database: DatabaseId,
    /// The commit's epoch.
    pub epoch: Epoch,
    /// The version that the commit wanted to be.
    pub version: Version,
    /// The commit.
    pub commit: CommitId,
    /// Its frame's digest.
    pub digest: Digest,
}

impl Mark {
    /// The mark of the commit that `head` names.
    pub fn of(head: &Head) -> Mark {
        let Head { database, epoch, version, .. } = *head;
        let CommitRef { id: commit, digest, .. } = head.commit();
        Mark { database, epoch, version, commit, digest }
    }

    /// The payload of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.database.0.to_vec();
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.version.0.to_le_bytes());
        out.extend_from_slice(&self.commit.0);
        out.extend_from_slice(&self.digest.0);
        out
    }

    /// The content of a mark's payload.
    pub fn decode(payload: &[u8]) -> Result<Mark, Malformed> {
        let mut reader = Reader::new(payload);
        let mark = Mark {
            database: DatabaseId(reader.array()?),
            epoch: Epoch(reader.u64()?),
            version: Version(reader.u64()?),
            commit: CommitId(reader.array()?),
            digest: Digest(reader.array()?),
        };
        reader.end()?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_come_back() {
        let mark = Mark {
            database: DatabaseId([1; 16]),
            epoch: Epoch(2),
            version: Version(3),
            commit: CommitId([4; 16]),
            digest: Digest([5; 32]),
        };
        assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
        assert!(Mark::decode(&mark.encode()[1..]).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Mark::decode(&bytes);
        }
    }
}
