//! A place: where a frame is.

use crate::format::codec::{Malformed, Reader, put_varint};
use crate::format::head::{number, parts};
use crate::format::ids::{SegmentName, WriterId};
use std::fmt;
use std::str::FromStr;

/// Where a frame lies, and how much of the same append lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The segment.
    pub segment: SegmentName,
    /// Where the frame begins, in [`crate::format::frame::UNIT`]s.
    pub at: u32,
    /// The frame's length in bytes.
    pub length: u32,
    /// The bytes of the same append that come before the frame: the commit's pages, most often, so that one
    /// read can bring both.
    pub lead: u32,
}

impl Place {
    /// Its bytes, in a commit frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.segment.writer.0);
        for number in [self.segment.n, self.at, self.length, self.lead] {
            put_varint(out, u64::from(number));
        }
    }

    /// The place that these bytes are.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
        let segment = SegmentName { writer: WriterId(reader.array()?), n: reader.small()? };
        Ok(Place { segment, at: reader.small()?, length: reader.small()?, lead: reader.small()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.segment, self.at, self.length, self.lead)
    }
}

impl FromStr for Place {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Place, Malformed> {
        let [segment, at, length, lead] = parts(text)?;
        let segment = segment.parse().map_err(|_| Malformed("a segment's name is malformed"))?;
        Ok(Place { segment, at: number(at)?, length: number(length)?, lead: number(lead)? })
    }
}
