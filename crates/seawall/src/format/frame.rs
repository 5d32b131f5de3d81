//! Frames: what a segment is a sequence of.
//!
//! A frame is a header of 32 bytes, a payload, and zeros up to the next multiple of 16:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | magic `sea1` |
//! | 4 | kind |
//! | 5..8 | zero |
//! | 8..12 | the payload's length |
//! | 12..16 | zero |
//! | 16..32 | checksum: the first half of the digest |
//! | 32.. | payload |
//!
//! The digest is BLAKE3 over bytes 0..16 and the payload: one checksum over all of it.

use crate::format::codec::Malformed;
use crate::format::ids::Digest;

/// Frames begin at multiples of this, so that 32 bits can say where, in a segment of up to 64 GiB.
pub const UNIT: u64 = 16;
/// The bytes before a payload.
pub const HEADER: usize = 32;
/// The largest payload: an index of 16 million pages fits.
pub const MAX_PAYLOAD: usize = 256 << 20;
const MAGIC: [u8; 4] = *b"sea1";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Page images, compressed.
    Pages = 1,
    /// A commit record.
    Commit = 2,
    /// A run of the page map.
    Index = 3,
    /// A mark: a commit was refused.
    Mark = 4,
    /// A head that a commit is to make which rides in it.
    Head = 5,
    /// A head that was in place: its commits are confirmed.
    Confirmed = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        let mut kinds = [Kind::Pages, Kind::Commit, Kind::Index, Kind::Mark, Kind::Head, Kind::Confirmed].into_iter();
        kinds.find(|kind| *kind as u8 == byte)
    }
}

/// A frame that was read and whose checksum fits.
#[derive(Debug)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its content.
    pub payload: &'a [u8],
    /// BLAKE3 over header and payload.
    pub digest: Digest,
    /// Its length on disk, padding included.
    pub length: usize,
}

/// The length on disk of a frame with a payload of `payload` bytes.
pub fn length_of(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(UNIT as usize)
}

fn header(kind: Kind, payload: usize) -> [u8; 16] {
    let length = u32::try_from(payload).ok().filter(|_| payload <= MAX_PAYLOAD).expect("payloads are bounded");
    let mut header = [0; 16];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = kind as u8;
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header
}

fn digest_of(header: &[u8], payload: &[u8]) -> Digest {
    Digest(*blake3::Hasher::new().update(header).update(payload).finalize().as_bytes())
}

/// Appends a frame to `out`, and gives its digest.
pub fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) -> Digest {
    let header = header(kind, payload.len());
    let digest = digest_of(&header, payload);
    let end = out.len() + length_of(payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&digest.0[..16]);
    out.extend_from_slice(payload);
    out.resize(end, 0);
    digest
}

/// The length on disk of the frame that `bytes` begin with, as far as its header tells; `None` if no frame begins
/// there.
pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEADER).filter(|head| head[..4] == MAGIC)?;
    let payload = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
    let kind = Kind::from_byte(head[4])?;
    (payload <= MAX_PAYLOAD && head[..16] == header(kind, payload)).then(|| length_of(payload))
}

/// The frame at the beginning of `bytes`. A torn or damaged one is an error, whatever of it is there.
pub fn parse(bytes: &[u8]) -> Result<Frame<'_>, Malformed> {
    let head = bytes.get(..HEADER).ok_or(Malformed("a frame is cut off"))?;
    if head[..4] != MAGIC {
        return Err(Malformed("no frame begins here"));
    }
    let payload_length = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
    let kind = Kind::from_byte(head[4]).ok_or(Malformed("a frame of an unknown kind"))?;
    if payload_length > MAX_PAYLOAD || head[..16] != header(kind, payload_length) {
        return Err(Malformed("a frame's header is damaged"));
    }
    let length = length_of(payload_length);
    let payload = bytes.get(HEADER..HEADER + payload_length).ok_or(Malformed("a frame is cut off"))?;
    let digest = digest_of(&head[..16], payload);
    if digest.0[..16] != head[16..32] {
        return Err(Malformed("a frame's checksum does not fit"));
    }
    Ok(Frame { kind, payload, digest, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back_and_no_flipped_bit_does(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = Vec::new();
            let digest = put(&mut bytes, Kind::Commit, &payload);
            prop_assert_eq!(bytes.len() % UNIT as usize, 0);
            let frame = parse(&bytes).unwrap();
            prop_assert_eq!((frame.kind, frame.payload, frame.digest, frame.length), (Kind::Commit, &payload[..], digest, bytes.len()));
            let meaningful = HEADER + payload.len();
            let flipped = at.index(meaningful);
            bytes[flipped] ^= 1 << bit;
            prop_assert!(parse(&bytes).is_err());
            prop_assert!(parse(&bytes[..meaningful - 1]).is_err());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(parse(&bytes).is_err());
        }
    }
}
