//! A segment as a scan meets it: frames one after the other, a torn tail, damage.
//!
//! An input that begins with `r` is a segment's bytes as they are. Any other is a recipe: frames with right checksums,
//! and what befell the file then; so it is known which of them must be found.

use super::payloads::{KINDS, check_payload};
use seawall::format::frame::{self, Frame, HEADER, UNIT};

/// The target.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((b'r', bytes)) => check_frames(bytes, &scan(bytes)),
        Some((damage, recipe)) => check_recipe(*damage, recipe),
        None => {}
    }
}

/// The frames before the first that does not check out.
fn scan(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Ok(frame) = frame::parse(bytes) {
        assert!(frame.length >= HEADER && frame.length.is_multiple_of(UNIT as usize));
        // The padding of the last one may be cut off: it counts for nothing.
        bytes = bytes.get(frame.length..).unwrap_or_default();
        frames.push(frame);
    }
    frames
}

/// What was read is what would be written, but for the padding.
fn check_frames(bytes: &[u8], frames: &[Frame<'_>]) {
    let mut again = Vec::new();
    for frame in frames {
        let begin = again.len();
        assert_eq!(frame::put(&mut again, frame.kind, frame.payload), frame.digest);
        assert_eq!(again.len() - begin, frame.length);
        let meaningful = begin + HEADER + frame.payload.len();
        assert_eq!(again[begin..meaningful], bytes[begin..meaningful]);
        check_payload(frame.kind, frame.payload);
    }
}

/// A recipe: where the damage is (two bytes), then for each frame its kind, its payload's length (two bytes) and its
/// payload.
fn check_recipe(damage: u8, recipe: &[u8]) {
    let Some((place, mut rest)) = recipe.split_first_chunk() else { return };
    let place = usize::from(u16::from_le_bytes(*place));
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    let mut starts = Vec::new();
    while let Some(([kind, low, high], more)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (payload, more) = more.split_at(length);
        starts.push(bytes.len());
        frame::put(&mut bytes, KINDS[usize::from(*kind) % KINDS.len()], payload);
        ends.push(starts[starts.len() - 1] + HEADER + length);
        rest = more;
    }
    let place = place % (bytes.len() + 1);
    let whole = match damage % 3 {
        0 => ends.len(),
        // Cut off: those are whole that end before.
        1 => {
            bytes.truncate(place);
            ends.iter().filter(|end| **end <= place).count()
        }
        // A flipped bit: it hits a frame, or the padding after one, which means nothing.
        _ => {
            let hit = starts.iter().zip(&ends).position(|(start, end)| (*start..*end).contains(&place));
            bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 << (damage % 8));
            hit.unwrap_or(ends.len())
        }
    };
    let frames = scan(&bytes);
    assert_eq!(frames.len(), whole, "the frames before the damage, and none behind it");
    check_frames(&bytes, &frames);
}
