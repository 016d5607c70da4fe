//! A burst as one `sendmsg`: lengths, edited heads and payload are pointed at, not copied.

use crate::frame::{BURST, HEAD, HeadScratch, TxFrame};
use crate::outgoing::LENGTH;
use crate::socket::calls::{self, Run};
use arrayvec::ArrayVec;
use std::io;
use std::os::fd::AsFd;
use switch::TagEdit;

/// Runs of one call: a burst of frames in three pieces each (length, head, the rest), and some.
const RUNS: usize = 256;

/// Memory for what is not in the frames themselves.
#[derive(Debug, Default)]
pub struct Gather {
    /// Heads with their tag edited. Made when the first one is: most ports never need it.
    heads: Vec<HeadScratch>,
}

/// What one call did.
pub struct Sent {
    /// Frames it was given.
    pub frames: usize,
    /// Bytes that the kernel took, or why it took none.
    pub bytes: io::Result<usize>,
}

impl Gather {
    /// Whether one call can take the frame at all.
    #[inline]
    #[must_use]
    pub fn fits(frame: &TxFrame<'_>) -> bool {
        frame.frame.tail().1.len() + 5 <= RUNS
    }

    /// Send `first`, and then as many of `frames`, each behind its length, as fit into one call.
    pub fn send(&mut self, socket: impl AsFd, first: (&[u8], &[u8]), frames: &[TxFrame<'_>]) -> Sent {
        let lengths: ArrayVec<[u8; LENGTH], BURST> =
            frames.iter().take(BURST).map(|f| (f.len() as u32).to_be_bytes()).collect();
        if self.heads.is_empty() && frames.iter().any(|f| f.edit != TagEdit::NONE) {
            self.heads = vec![[0; HEAD + 4]; BURST];
        }
        let mut heads = self.heads.iter_mut();
        let mut runs = ArrayVec::<Run<'_>, RUNS>::new();
        runs.extend([first.0.into(), first.1.into()]);
        let mut taken = 0;
        for (frame, length) in frames.iter().zip(&lengths) {
            let (tail, more) = frame.frame.tail();
            if runs.remaining_capacity() < 3 + more.len() {
                break;
            }
            let head = match heads.next() {
                Some(scratch) if frame.edit != TagEdit::NONE => frame.head(scratch),
                _ => frame.frame.head(),
            };
            runs.extend([length.as_slice().into(), head.into(), tail.into()]);
            runs.extend(more.iter().map(|&seg| seg.into()));
            taken += 1;
        }
        Sent { frames: taken, bytes: calls::send(socket, &runs) }
    }
}
