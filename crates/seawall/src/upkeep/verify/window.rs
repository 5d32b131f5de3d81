//! Reading backward: a chain goes from a frame to the one before it, which most often lies just before it in the same segment.

use crate::format::ids::SegmentName;
use crate::ports::storage::{File, Span};
use crate::read::pages::{Pages, ReadError};

/// One read is so long …
pub(super) const RUN: usize = 1 << 20;
/// … and so many are kept: each of several writers has a segment of its own.
const KEPT: usize = 8;

/// A piece of a segment.
struct Piece {
    segment: SegmentName,
    at: u64,
    bytes: Vec<u8>,
}

/// What was read lately.
pub(super) struct Window<'a> {
    pages: &'a Pages,
    kept: Vec<Piece>,
    /// How many bytes were read.
    pub(super) read: u64,
}

impl<'a> Window<'a> {
    pub(super) fn new(pages: &'a Pages) -> Window<'a> {
        Window { pages, kept: Vec::new(), read: 0 }
    }

    /// The bytes from `at` on, and with them what lies before them. Nothing of a whole window is used twice, so none is kept long.
    pub(super) fn bytes(&mut self, segment: SegmentName, at: u64, length: usize) -> Result<&[u8], ReadError> {
        let end = at + length as u64;
        let has =
            |piece: &Piece| piece.segment == segment && piece.at <= at && end <= piece.at + piece.bytes.len() as u64;
        let place = match self.kept.iter().position(has) {
            Some(place) => place,
            None => {
                let begin = at.min(end.saturating_sub(RUN as u64));
                let span = |at, length| Span { file: File::Segment(segment), at, length };
                let (begin, bytes) = match self.pages.read_whole(span(begin, (end - begin) as usize)) {
                    // A disk may refuse to read what lies before.
                    Err(ReadError::Failed(..)) if begin < at => (at, self.pages.read_whole(span(at, length))?),
                    read => (begin, read?),
                };
                self.read += bytes.len() as u64;
                self.kept.retain(|piece| piece.segment != segment);
                if self.kept.len() == KEPT {
                    self.kept.remove(0);
                }
                self.kept.push(Piece { segment, at: begin, bytes });
                self.kept.len() - 1
            }
        };
        let piece = &self.kept[place];
        Ok(&piece.bytes[(at - piece.at) as usize..][..length])
    }
}
