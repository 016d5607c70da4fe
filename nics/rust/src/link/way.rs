//! One direction of a link: what was sent and has not arrived.

use crate::frame::TxFrame;
use crate::offload::Offload;
use std::collections::VecDeque;
use switch::Nanos;

/// Frames that a way without impairments holds at most; the far switch takes them in the same turn.
pub(super) const FRAMES: usize = 16_384;
/// And their bytes.
const BYTES: usize = 32 << 20;
/// Bytes of used buffers that are kept for the next frames.
const SPARE: usize = 256 << 10;

/// A frame on its way, in memory of its own.
#[derive(Debug, Default)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub offload: Offload,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Way {
    /// Arrived, in order.
    arrived: VecDeque<Buffer>,
    /// Bytes of all frames in here.
    held: usize,
    spare: Vec<Vec<u8>>,
    /// Bytes of memory in `spare`.
    spared: usize,
}

impl Way {
    #[must_use]
    pub fn new() -> Self {
        Way::default()
    }

    /// Send a frame; false when there is no room.
    pub fn put(&mut self, _now: Nanos, frame: &TxFrame<'_>) -> bool {
        if self.arrived.len() >= FRAMES || self.held + frame.len() > BYTES {
            return false;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.spared -= bytes.capacity();
        bytes.resize(frame.len(), 0);
        frame.copy_to(&mut bytes);
        self.held += bytes.len();
        self.arrived.push_back(Buffer { bytes, offload: frame.offload() });
        true
    }

    /// Whether a frame has arrived.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Take up to `most` frames that have arrived; whether there are more.
    pub fn take(&mut self, most: usize, into: &mut Vec<Buffer>) -> bool {
        let n = self.arrived.len().min(most);
        for buffer in self.arrived.drain(..n) {
            self.held -= buffer.bytes.len();
            into.push(buffer);
        }
        !self.arrived.is_empty()
    }

    /// Buffers that were taken are not looked at any more.
    pub fn give_back(&mut self, buffers: &mut Vec<Buffer>) {
        for Buffer { mut bytes, .. } in buffers.drain(..) {
            if self.spared + bytes.capacity() <= SPARE {
                bytes.clear();
                self.spared += bytes.capacity();
                self.spare.push(bytes);
            }
        }
    }

    /// Lose everything.
    pub fn clear(&mut self, _now: Nanos) {
        self.arrived.clear();
        self.held = 0;
    }
}
