//! New page images as the difference from the old ones: zstd, with the old images as its dictionary.
//!
//! One dictionary serves all pages of a commit, because a page that was split needs its sibling. The dictionary is raw
//! content: zstd never takes it for a trained one, whatever a page begins with.

use crate::format::codec::Malformed;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, MAGICNUMBER, SafeResult, compress_bound};

/// The first bytes of every zstd frame. A delta leaves them out.
const MAGIC: [u8; 4] = MAGICNUMBER.to_le_bytes();
const LEVEL: i32 = 3;
/// The old and the new images are together at most so long: 32 pages of 64 KiB, twice.
const WINDOW_LOG: u32 = 22;

/// What leads from the old images to the new ones. It can be longer than these.
pub fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compress_bound(new.len()));
    let mut context = CCtx::create();
    let mut compress = || -> SafeResult {
        context.set_parameter(CParameter::CompressionLevel(LEVEL))?;
        context.set_parameter(CParameter::ContentSizeFlag(false))?;
        context.set_parameter(CParameter::WindowLog(window_log(old.len() + new.len())))?;
        context.ref_prefix(old)?;
        context.compress2(&mut out, new)
    };
    compress().expect("zstd takes its own parameters, and the buffer is large enough");
    out.split_off(MAGIC.len())
}

/// The new images, which are `length` bytes, from the old ones and a delta.
pub fn apply(old: &[u8], delta: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let frame = [&MAGIC, delta].concat();
    let mut new = Vec::with_capacity(length);
    let mut context = DCtx::create();
    let mut decompress = || -> SafeResult {
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        context.ref_prefix(old)?;
        context.decompress(&mut new, &frame)
    };
    match decompress() {
        Ok(_) if new.len() == length => Ok(new),
        _ => Err(Malformed("a delta does not lead to pages")),
    }
}

/// The smallest window that reaches from the last new byte to the first old one.
fn window_log(bytes: usize) -> u32 {
    bytes.next_power_of_two().ilog2().clamp(10, WINDOW_LOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(count: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..count * 4096).map(|_| byte()).collect()
    }

    #[test]
    fn a_small_change_of_many_pages_is_a_short_delta() {
        let old = pages(32);
        let mut new = old.clone();
        new[5] ^= 1;
        new[31 * 4096 + 100..31 * 4096 + 120].fill(7);
        let delta = delta(&old, &new);
        assert!(delta.len() < 120, "{}", delta.len());
        assert_eq!(apply(&old, &delta, new.len()), Ok(new));
    }

    #[test]
    fn a_page_that_looks_like_a_trained_dictionary_is_raw_content() {
        let mut old = pages(2);
        old[..4].copy_from_slice(&[0x37, 0xa4, 0x30, 0xec]);
        let mut new = old.clone();
        new[4000] ^= 9;
        let delta = delta(&old, &new);
        assert!(delta.len() < 100, "{}", delta.len());
        assert_eq!(apply(&old, &delta, new.len()), Ok(new));
    }

    #[test]
    fn over_other_images_or_with_another_length_it_is_refused_or_gives_something_else() {
        let (old, mut other) = (pages(1), pages(1));
        let mut new = old.clone();
        new[9] = 1;
        let delta = delta(&old, &new);
        other[2000] ^= 1;
        // Only the checksums of the pages can tell.
        assert_ne!(apply(&other, &delta, new.len()), Ok(new.clone()));
        assert!(apply(&old, &delta, new.len() - 1).is_err());
        assert!(apply(&old, &delta, new.len() + 1).is_err());
        assert!(apply(&old, &delta[..delta.len() - 1], new.len()).is_err());
    }

    proptest! {
        #[test]
        fn deltas_come_back(old: Vec<u8>, new: Vec<u8>) {
            prop_assert_eq!(apply(&old, &delta(&old, &new), new.len()), Ok(new));
        }

        #[test]
        fn hostile_deltas_never_panic_nor_give_more_than_was_asked_for(old: Vec<u8>, delta: Vec<u8>, length in 0_usize..100_000) {
            if let Ok(new) = apply(&old, &delta, length) {
                prop_assert_eq!(new.len(), length);
            }
        }
    }
}
