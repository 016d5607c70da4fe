//! What the frames of a burst have in common, so that the switch need not look at each.

use crate::Frame;
use std::arch::x86_64::{
    __m256i, _mm256_loadu_si256, _mm256_or_si256, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_xor_si256,
};
use switch::Alike;

/// So few are decided as soon one by one.
const FEW: usize = 8;
/// Addresses, and what follows them: where there are many senders it differs in the last frame already.
const STATIONS: usize = 14;
/// Bytes that are compared at once: the first ones, and the last ones, which overlap.
const WIDE: usize = 32;
const BEHIND: usize = Alike::BYTES - WIDE;

/// Bytes that are compared.
type Head = [u8; Alike::BYTES];

/// What these have in common, none of which is offloaded, if it is worth to know.
#[target_feature(enable = "avx2")]
pub fn all(frames: &[Frame<'_>]) -> Option<Alike> {
    let [first, others @ ..] = frames else { return None };
    let (head, last) = (head(first)?, head(others.last()?)?);
    if frames.len() <= FEW || head[..STATIONS] != last[..STATIONS] {
        return None;
    }
    let own = halves(head);
    let (mut differ, mut lengths) = ([_mm256_setzero_si256(); 2], 0);
    for frame in others {
        lengths |= frame.len() ^ first.len();
        let other = halves(self::head(frame)?);
        for ((differ, own), other) in differ.iter_mut().zip(own).zip(other) {
            *differ = _mm256_or_si256(*differ, _mm256_xor_si256(own, other));
        }
    }
    let mut bytes = [0; Alike::BYTES];
    for (at, wide) in [0, BEHIND].into_iter().zip(differ) {
        // SAFETY: there is room for as many from there on.
        unsafe { _mm256_storeu_si256(bytes[at..at + WIDE].as_mut_ptr().cast(), wide) };
    }
    (lengths == 0).then(|| Alike::new(bytes))
}

#[inline]
fn head<'a>(frame: &Frame<'a>) -> Option<&'a Head> {
    frame.head().first_chunk()
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(head: &Head) -> [__m256i; 2] {
    // SAFETY: so many bytes are there, and nobody else writes to them.
    let load = |at: usize| unsafe { _mm256_loadu_si256(head[at..at + WIDE].as_ptr().cast()) };
    [load(0), load(BEHIND)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offload;
    use proptest::prelude::*;

    /// What is found out about frames with these bytes; none where this processor can't.
    fn found(frames: &[Vec<u8>]) -> Option<Option<Alike>> {
        let frames: Vec<_> = frames.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
        // SAFETY: this processor has it.
        std::arch::is_x86_feature_detected!("avx2").then(|| unsafe { all(&frames) })
    }

    proptest! {
        #[test]
        fn what_differs_is_known_to_the_bit(
            len in 60..1600_usize,
            count in FEW + 1..64,
            changes in prop::collection::vec((0..64_usize, 14..60_usize, 0..8_u8), 0..20),
        ) {
            let mut frames = vec![(0..len).map(|at| at as u8).collect::<Vec<_>>(); count];
            for (number, at, bit) in changes {
                frames[number % count][at] ^= 1 << bit;
            }
            let mut differ = [0; Alike::BYTES];
            for other in &frames {
                differ.iter_mut().zip(&frames[0]).zip(other).for_each(|((differ, one), other)| *differ |= one ^ other);
            }
            if let Some(found) = found(&frames) {
                prop_assert_eq!(found, Some(Alike::new(differ)));
            }
        }
    }

    #[test]
    fn nothing_is_said_of_frames_of_several_lengths_or_short_ones_or_a_few() {
        let frames = |lens: &[usize]| lens.iter().map(|len| vec![7; *len]).collect::<Vec<_>>();
        let Some(equal) = found(&frames(&[60; 10])) else { return };
        assert_eq!(equal, Some(Alike::new([0; Alike::BYTES])));
        let mut lens = [60; 10];
        for (number, len) in [(0, 61), (5, 61), (9, 61), (0, 59), (5, 59), (9, 59), (5, 0)] {
            lens[number] = len;
            assert_eq!(found(&frames(&lens)), Some(None), "{number} {len}");
            lens[number] = 60;
        }
        assert_eq!(found(&frames(&[59; 10])), Some(None));
        assert_eq!(found(&frames(&[60; FEW])), Some(None));
        assert_eq!(found(&[]), Some(None));
        let mut stations = frames(&[60; 10]);
        stations[9][11] = 8;
        assert_eq!(found(&stations), Some(None), "many senders, perhaps");
        stations[9][11] = 7;
        stations[5][11] = 8;
        assert!(found(&stations).is_some_and(|found| found.is_some()), "one among others");
    }
}
