//! Frames that the engine delivered and the guest has not looked at yet.
//!
//! One run of bytes, written at the back and read from the front, and moved together when the back
//! is reached. It grows as traffic does, up to its limit, and is given back after a quiet second, so
//! that a thousand idle guests have none.

use crate::frame::TxFrame;
use crate::offload::Offload;
use switch::Nanos;

/// Length of the frame, then its offload header.
const HEADER: usize = 4 + Offload::LEN;
/// What is kept in any case.
const SMALL: usize = 16 << 10;
const QUIET: Nanos = 1_000_000_000;

#[derive(Debug)]
pub struct Inbox {
    /// As long as it ever had to be: what is behind `back` is old and will be written over.
    bytes: Vec<u8>,
    front: usize,
    back: usize,
    limit: usize,
    shrink: Option<Nanos>,
}

impl Inbox {
    pub fn new(limit: usize) -> Self {
        Inbox { bytes: Vec::new(), front: 0, back: 0, limit, shrink: None }
    }

    pub fn is_empty(&self) -> bool {
        self.front == self.back
    }

    /// Copy a frame in; false when there is no room.
    #[must_use]
    pub fn push(&mut self, frame: &TxFrame<'_>) -> bool {
        let need = HEADER + frame.len();
        if self.back + need > self.limit {
            if self.back - self.front + need > self.limit {
                return false;
            }
            self.bytes.copy_within(self.front..self.back, 0);
            (self.front, self.back) = (0, self.back - self.front);
        }
        if self.bytes.len() < self.back + need {
            let len = (self.back + need).max(self.bytes.len() * 2).min(self.limit);
            self.bytes.resize(len, 0);
        }
        let entry = &mut self.bytes[self.back..self.back + need];
        entry[..4].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        entry[4..HEADER].copy_from_slice(&frame.offload().to_bytes());
        if frame.copy_to(&mut entry[HEADER..]).is_some() {
            self.back += need;
        }
        true
    }

    /// The next frame, and no more of it.
    pub fn pop(&mut self) -> Option<(&[u8], Offload)> {
        let (header, rest) = self.bytes.get(self.front..self.back)?.split_first_chunk::<HEADER>()?;
        let [a, b, c, d, offload @ ..] = header;
        let len = u32::from_ne_bytes([*a, *b, *c, *d]) as usize;
        self.front += HEADER + len;
        Some((rest.get(..len)?, Offload::from_bytes(offload)))
    }

    /// Everything was read: start at the front again, and soon give back what is too much.
    pub fn rewind(&mut self, now: Nanos) {
        if self.is_empty() {
            (self.front, self.back) = (0, 0);
            self.shrink = (self.bytes.len() > SMALL).then_some(now + QUIET);
        }
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.shrink
    }

    pub fn tick(&mut self, now: Nanos) {
        if self.shrink.is_some_and(|at| at <= now) {
            self.shrink = None;
            if self.is_empty() {
                (self.front, self.back, self.bytes) = (0, 0, Vec::new());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use switch::TagEdit;

    fn push(inbox: &mut Inbox, bytes: &[u8]) -> bool {
        let offload = Offload { flags: Offload::NEEDS_CSUM, csum_start: 34, ..Offload::NONE };
        let frame = Frame::flat(bytes, offload);
        inbox.push(&TxFrame { frame: &frame, edit: TagEdit::NONE })
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_no_more_fit_than_may() {
        let mut inbox = Inbox::new(10_000);
        let mut next = (0u8, 0u8);
        for round in 0..1000 {
            while push(&mut inbox, &vec![next.0; 60 + usize::from(next.0)]) {
                next.0 = next.0.wrapping_add(1);
            }
            assert!(inbox.bytes.len() <= 10_000);
            for _ in 0..round % 40 {
                let Some((frame, offload)) = inbox.pop() else { break };
                assert_eq!(frame, vec![next.1; 60 + usize::from(next.1)]);
                assert_eq!((offload.flags, offload.csum_start), (1, 34));
                next.1 = next.1.wrapping_add(1);
            }
            inbox.rewind(0);
        }
    }

    #[test]
    fn memory_is_given_back_when_it_is_quiet() {
        let mut inbox = Inbox::new(1 << 20);
        for _ in 0..100 {
            push(&mut inbox, &[0; 1500]);
        }
        while inbox.pop().is_some() {}
        inbox.rewind(5);
        assert_eq!(inbox.deadline(), Some(5 + QUIET));
        inbox.tick(4 + QUIET);
        assert!(inbox.bytes.capacity() > 0);
        inbox.tick(5 + QUIET);
        assert_eq!((inbox.bytes.capacity(), inbox.deadline()), (0, None));
    }
}
