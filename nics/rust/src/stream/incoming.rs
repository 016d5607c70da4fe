//! The receiving side of a `stream` door: bytes in, whole frames out, each still where it was received.
//!
//! One buffer, larger than the longest frame. Bytes are received behind what is there; frames are
//! taken from the front. When no whole frame is left, the beginning of the next one (mostly a few
//! hundred bytes, if any) moves to the front, so that it can be completed in one piece.

use crate::frame::{BURST, FRAME_MAX};
use crate::outgoing::LENGTH;
use arrayvec::ArrayVec;
use std::io;
use std::ops::Range;

/// Where frames lie in [`Incoming::bytes`].
pub type Spans = ArrayVec<Range<usize>, BURST>;

/// A length that no frame can have: the stream can't be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength(pub u32);

/// What `fill` met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Bytes; `more` when there may be further ones.
    Data { more: bool },
    /// Nothing now.
    Nothing,
    /// The peer has closed.
    End,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Room for a burst of ordinary frames, and for the longest one.
    pub const ROOM: usize = 128 << 10;

    const FITS_LONGEST: () = assert!(FRAME_MAX + LENGTH <= Self::ROOM);

    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A new stream begins. The memory stays, as frames of the old one may still be lent.
    pub fn restart(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Give the memory back. No frame may be lent.
    pub fn clear(&mut self) {
        *self = Incoming::default();
    }

    /// Receive once. Only to be called after `take` found no whole frame.
    pub fn fill(&mut self, receive: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Fill> {
        let () = Self::FITS_LONGEST;
        if self.bytes.is_empty() {
            self.bytes = vec![0; Self::ROOM].into_boxed_slice();
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = &mut self.bytes[self.end..];
        let size = room.len();
        match receive(room) {
            Ok(0) => Ok(Fill::End),
            Ok(n) => {
                self.end += n.min(size);
                Ok(Fill::Data { more: n >= size })
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(Fill::Nothing)
            }
            Err(e) => Err(e),
        }
    }

    /// Take whole frames, until there are `most`. After a bad length nothing more can be taken.
    pub fn take(&mut self, spans: &mut Spans, most: usize) -> Result<(), BadLength> {
        while spans.len() < most.min(BURST) {
            let Some((length, behind)) = self.bytes[self.start..self.end].split_first_chunk::<LENGTH>()
            else {
                break;
            };
            let length = u32::from_be_bytes(*length);
            if length == 0 || length as usize > FRAME_MAX {
                return Err(BadLength(length));
            }
            let length = length as usize;
            if behind.len() < length {
                break;
            }
            let at = self.start + LENGTH;
            spans.push(at..at + length);
            self.start = at + length;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that `stream`, arriving in pieces of the sizes `cuts`, is understood as.
    fn understand(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Option<BadLength>) {
        let mut incoming = Incoming::default();
        let (mut frames, mut at, mut cut) = (Vec::new(), 0, 0);
        loop {
            let mut spans = Spans::new();
            let verdict = incoming.take(&mut spans, BURST);
            let found = spans.len();
            frames.extend(spans.into_iter().map(|span| incoming.bytes()[span].to_vec()));
            if let Err(bad) = verdict {
                return (frames, Some(bad));
            }
            if found == BURST {
                continue;
            }
            if at == stream.len() {
                return (frames, None);
            }
            let piece = cuts.get(cut % cuts.len().max(1)).copied().unwrap_or(usize::MAX).max(1);
            cut += 1;
            let fill = incoming.fill(|room| {
                let n = piece.min(room.len()).min(stream.len() - at);
                room[..n].copy_from_slice(&stream[at..at + n]);
                at += n;
                Ok(n)
            });
            assert!(matches!(fill.unwrap(), Fill::Data { .. }));
        }
    }

    /// The same, as simply as it can be written.
    fn reference(mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<BadLength>) {
        let mut frames = Vec::new();
        while stream.len() >= 4 {
            let n = u32::from_be_bytes(stream[..4].try_into().unwrap());
            if n == 0 || n > 65_557 {
                return (frames, Some(BadLength(n)));
            }
            let Some(frame) = stream.get(4..4 + n as usize) else { break };
            frames.push(frame.to_vec());
            stream = &stream[4 + n as usize..];
        }
        (frames, None)
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|f| [&(f.len() as u32).to_be_bytes()[..], f].concat()).collect()
    }

    #[test]
    fn byte_by_byte() {
        let frames: Vec<Vec<u8>> = (1..100).map(|n| (0..n).collect()).collect();
        assert_eq!(understand(&stream(&frames), &[1]), (frames, None));
    }

    #[test]
    fn the_longest_frame_is_taken_at_every_offset() {
        for before in [1, 60, 1514, 65_000] {
            let frames = vec![vec![1; before], vec![2; FRAME_MAX], vec![3; FRAME_MAX], vec![4; 60]];
            for cuts in [&[usize::MAX][..], &[1000], &[65_536, 3]] {
                assert_eq!(understand(&stream(&frames), cuts), (frames.clone(), None));
            }
        }
    }

    #[test]
    fn a_length_out_of_bounds_ends_the_stream_behind_what_was_whole() {
        for bad in [0, FRAME_MAX as u32 + 1, 0x8000_0000, u32::MAX] {
            let mut bytes = stream(&[vec![9; 60]]);
            bytes.extend(bad.to_be_bytes());
            bytes.extend([0; 100]);
            assert_eq!(understand(&bytes, &[usize::MAX]), (vec![vec![9; 60]], Some(BadLength(bad))));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_understood_as_the_reference_does(
            parts in prop::collection::vec(
                prop_oneof![
                    8 => (1..3000_usize, any::<u8>()).prop_map(|(n, b)| stream(&[vec![b; n]])),
                    1 => (60_000..=FRAME_MAX, any::<u8>()).prop_map(|(n, b)| stream(&[vec![b; n]])),
                    1 => prop::collection::vec(any::<u8>(), 0..40),
                ],
                0..40,
            ),
            cuts in prop::collection::vec(prop_oneof![1..10_usize, 1..2000_usize, 60_000..200_000_usize], 1..20),
        ) {
            let bytes = parts.concat();
            prop_assert_eq!(understand(&bytes, &cuts), reference(&bytes));
        }
    }
}
