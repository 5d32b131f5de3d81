//! Jumps: earlier folds that a commit frame names.

use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::head::CommitRef;
use crate::format::ids::{CommitId, Digest, Version};
use crate::format::place::Place;

/// One earlier fold that a commit frame names, so that any older version is found with a few reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Which fold it is: the first commit frame of a database is fold 1, and version 0 is fold 0.
    pub ordinal: u64,
    /// Its version.
    pub version: Version,
    /// Its frame's digest.
    pub digest: Digest,
    /// Where its frame lies.
    pub place: Place,
    /// Its time, in milliseconds since 1970.
    pub time: u64,
}

impl Jump {
    /// The commit that it leads to, whose id is `id`.
    pub fn commit(&self, id: CommitId) -> CommitRef {
        CommitRef { id, digest: self.digest, place: Some(self.place) }
    }
}

/// The folds that the fold `ordinal` jumps to, newest first: its predecessor's number with the lowest one bit cleared,
/// then the next one, and so on. So each frame names at most 40, on average half as many as its number has binary
/// digits, and any older fold is reached in a number of reads that is logarithmic in the distance. (Myers' stack, 1983,
/// in the binary numbers of Fenwick's tree.)
pub(crate) fn jumps_of(ordinal: u64) -> impl Iterator<Item = u64> {
    let clear = |number: u64| number & number.wrapping_sub(1);
    let first = clear(ordinal.saturating_sub(1));
    std::iter::successors(Some(first), move |number| Some(clear(*number))).take_while(|number| *number > 0)
}

pub(crate) fn put_jumps(out: &mut Vec<u8>, jumps: &[Jump]) {
    put_varint(out, jumps.len() as u64);
    for jump in jumps {
        put_varint(out, jump.version.0);
        out.extend_from_slice(&jump.digest.0);
        jump.place.put(out);
        put_varint(out, jump.time);
    }
}

/// The jumps of the fold `of`, whose predecessor is `folded`.
pub(crate) fn read_jumps(
    reader: &mut Reader<'_>,
    of: u64,
    folded: Version,
    fold_time: u64,
) -> Result<Vec<Jump>, Malformed> {
    let count = reader.count(32 + 13)?;
    let mut wanted = jumps_of(of);
    let mut jumps = Vec::with_capacity(count);
    let (mut latest, mut newest) = (fold_time, folded);
    for _ in 0..count {
        let ordinal = wanted.next().ok_or(Malformed("a commit jumps too often"))?;
        let jump = Jump {
            ordinal,
            version: Version(reader.varint()?),
            digest: Digest(reader.array()?),
            place: Place::read(reader)?,
            time: reader.varint()?,
        };
        if jump.version >= newest || jump.version.0 < ordinal || jump.time > latest {
            return Err(Malformed("a commit jumps to an impossible version"));
        }
        (latest, newest) = (jump.time, jump.version);
        jumps.push(jump);
    }
    match wanted.next() {
        None => Ok(jumps),
        Some(_) => Err(Malformed("a commit's jumps are incomplete")),
    }
}
