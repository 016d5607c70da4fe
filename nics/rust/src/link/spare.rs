//! Memory for frames on their way, used again for the next ones.
//!
//! It comes in three sizes, so that a short frame never holds what a long one left behind, and what a frame
//! holds follows from its length alone. A longer frame than all of them has memory of just its length, which
//! is not kept.

/// For a short frame, for a full one of Ethernet with its tags, and for a jumbo frame.
const SIZES: [usize; 3] = [256, 1536, 9216];
/// Bytes that are kept of each size.
const KEPT: usize = 256 << 10;

/// Bytes of memory that a frame holds.
pub(super) fn held(len: usize) -> usize {
    SIZES.into_iter().find(|size| len <= *size).unwrap_or(len)
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Spare([Vec<Vec<u8>>; SIZES.len()]);

impl Spare {
    /// Memory for a frame, empty.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut kept = SIZES.iter().zip(&mut self.0).filter(|(size, _)| len <= **size);
        kept.next().and_then(|(_, kept)| kept.pop()).unwrap_or_else(|| Vec::with_capacity(held(len)))
    }

    /// What `take` gave is not looked at any more.
    pub fn keep(&mut self, mut bytes: Vec<u8>) {
        for (size, kept) in SIZES.iter().zip(&mut self.0) {
            if bytes.capacity() == *size && kept.len() < KEPT / size {
                bytes.clear();
                kept.push(bytes);
                return;
            }
        }
    }
}
