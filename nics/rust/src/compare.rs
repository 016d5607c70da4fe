//! What the frames of a burst have in common, so that the switch need not look at each.

use crate::{BURST, Frame};
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

/// Room for the ports of a burst.
pub type Ports = [u32; BURST];

/// What these have in common, none of which is offloaded, if it is worth to know. Their ports are gathered meanwhile if
/// they are those of several connections, as far as the last one tells.
#[target_feature(enable = "avx2")]
pub fn all<'a>(frames: &[Frame<'_>], ports: &'a mut Ports) -> Option<Alike<'a>> {
    let [first, others @ ..] = frames else { return None };
    let (head, last) = (head(first)?, head(others.last()?)?);
    if frames.len() <= FEW || head[..STATIONS] != last[..STATIONS] {
        return None;
    }
    let own = self::ports(head);
    if self::ports(last) == own {
        return Some(Alike::new(compare::<false>(first, others, ports)?, None));
    }
    let (place, places) = ports.split_first_mut()?;
    *place = own;
    let differ = compare::<true>(first, others, places)?;
    Some(Alike::new(differ, ports.get(..frames.len())))
}

/// Where these frames differ in their first bytes; `None` if some are of another length, or too short. `PORTS`: what the
/// others' are is written to `ports`.
#[inline]
#[target_feature(enable = "avx2")]
fn compare<const PORTS: bool>(first: &Frame<'_>, others: &[Frame<'_>], ports: &mut [u32]) -> Option<Head> {
    let own = halves(head(first)?);
    let (mut differ, mut lengths) = ([_mm256_setzero_si256(); 2], 0);
    for (frame, place) in others.iter().zip(ports.get_mut(..others.len())?) {
        lengths |= frame.len() ^ first.len();
        let other = head(frame)?;
        if PORTS {
            *place = self::ports(other);
        }
        for ((differ, own), other) in differ.iter_mut().zip(own).zip(halves(other)) {
            *differ = _mm256_or_si256(*differ, _mm256_xor_si256(own, other));
        }
    }
    let mut bytes = [0; Alike::BYTES];
    for (at, wide) in [0, BEHIND].into_iter().zip(differ) {
        // SAFETY: there is room for as many from there on.
        unsafe { _mm256_storeu_si256(bytes[at..at + WIDE].as_mut_ptr().cast(), wide) };
    }
    (lengths == 0).then_some(bytes)
}

#[inline]
fn ports(head: &Head) -> u32 {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| head[Alike::PORTS + at]);
    u32::from_ne_bytes([a, b, c, d])
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
    fn found<'a>(frames: &[Vec<u8>], ports: &'a mut Ports) -> Option<Option<Alike<'a>>> {
        let frames: Vec<_> = frames.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
        // SAFETY: this processor has it.
        std::arch::is_x86_feature_detected!("avx2").then(|| unsafe { all(&frames, ports) })
    }

    /// Of each frame, if they are not those of the last one in the first.
    fn ports_of(frames: &[Vec<u8>]) -> Option<Vec<u32>> {
        let word = |frame: &Vec<u8>| frame[34..].first_chunk().copied().map_or(0, u32::from_ne_bytes);
        let all: Vec<_> = frames.iter().map(word).collect();
        (all.first() != all.last()).then_some(all)
    }

    proptest! {
        #[test]
        fn what_differs_is_known_to_the_bit(
            len in 60..1600_usize,
            count in FEW + 1..=BURST,
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
            let ports = ports_of(&frames);
            if let Some(found) = found(&frames, &mut [0; BURST]) {
                prop_assert_eq!(found, Some(Alike::new(differ, ports.as_deref())));
            }
        }
    }

    #[test]
    fn nothing_is_said_of_frames_of_several_lengths_or_short_ones_or_a_few() {
        let frames = |lens: &[usize]| lens.iter().map(|len| vec![7; *len]).collect::<Vec<_>>();
        let found = |frames: &[Vec<u8>]| found(frames, &mut [0; BURST]).map(|found| found.is_some());
        let Some(equal) = found(&frames(&[60; 10])) else { return };
        assert!(equal);
        let mut lens = [60; 10];
        for (number, len) in [(0, 61), (5, 61), (9, 61), (0, 59), (5, 59), (9, 59), (5, 0)] {
            lens[number] = len;
            assert_eq!(found(&frames(&lens)), Some(false), "{number} {len}");
            lens[number] = 60;
        }
        assert_eq!(found(&frames(&[59; 10])), Some(false));
        assert_eq!(found(&frames(&[60; FEW])), Some(false));
        assert_eq!(found(&[]), Some(false));
        let mut stations = frames(&[60; 10]);
        stations[9][11] = 8;
        assert_eq!(found(&stations), Some(false), "many senders, perhaps");
        stations[9][11] = 7;
        stations[5][11] = 8;
        assert_eq!(found(&stations), Some(true), "one among others");
    }
}
