//! Reading a segment from one end to the other, whatever lies in it.

use crate::error::{Error, Result};
use crate::format::frame::{self, Frame, HEADER, UNIT};
use crate::ports::storage::{File, Span, Storage};

/// A piece that is read at once, unless a frame is longer.
const PIECE: u64 = 4 << 20;

/// Shows `visit` every whole frame of `segment` between `begin` and `end`, and where each begins. What is no frame is
/// passed over: a torn end, or what arrived late behind it.
pub(crate) fn frames(
    storage: &dyn Storage,
    segment: File,
    (begin, end): (u64, u64),
    visit: &mut dyn FnMut(u64, &Frame<'_>),
) -> Result<()> {
    let mut window = Window { storage, segment, begin, end, bytes: Vec::new() };
    let mut at = begin;
    while at + HEADER as u64 <= end {
        let header = window.from(at, HEADER)?;
        let length = frame::claimed_length(header).filter(|length| at + *length as u64 <= end);
        let parsed = match length {
            Some(length) => frame::parse(window.from(at, length)?).ok(),
            None => None,
        };
        at += match parsed {
            Some(frame) => {
                visit(at, &frame);
                frame.length as u64
            }
            None => UNIT,
        };
    }
    Ok(())
}

/// A part of the segment.
struct Window<'a> {
    storage: &'a dyn Storage,
    segment: File,
    begin: u64,
    end: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `length` bytes from `at` on; fewer where the segment has become shorter.
    fn from(&mut self, at: u64, length: usize) -> Result<&[u8]> {
        let is_in = at >= self.begin && at + length as u64 <= self.begin + self.bytes.len() as u64;
        if !is_in {
            let wanted = PIECE.max(length as u64).min(self.end - at) as usize;
            let read = self.storage.read(Span { file: self.segment, at, length: wanted });
            self.bytes = read.map_err(|error| Error::io(format!("reading {}", self.segment), error))?;
            self.begin = at;
        }
        let from = (at - self.begin) as usize;
        Ok(self.bytes.get(from..).map_or(&[][..], |bytes| &bytes[..length.min(bytes.len())]))
    }
}
