//! Frames that wait, in a ring of bytes.

use arrayvec::ArrayVec;
use nics::offload::Offload;
use nics::{BURST, Burst, Frame, Origin, TxFrame};
use std::collections::VecDeque;
use switch::{Meter, Nanos, TagEdit, VlanId};

/// A frame takes so many bytes at least when they are counted, which bounds the number of frames.
pub const PLACE: usize = 256;

/// What `pick` leaves: as many as it picked, for captures.
pub type Notes = ArrayVec<Note, BURST>;

/// What is known of a frame besides itself, for captures, counters and bills.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note {
    pub vlan: VlanId,
    pub packet: u64,
    /// Who sent it.
    pub origin: Origin,
    /// It leaves with so many.
    pub tags: u8,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    len: usize,
    offload: Offload,
    /// Frames that it is on a wire.
    segments: u32,
    note: Note,
}

/// Frames that wait, in a ring of bytes; each lies in one piece.
pub struct Queue {
    bytes: Box<[u8]>,
    places: VecDeque<Place>,
    /// Where the next one goes.
    end: usize,
    /// Frames of a wire that wait. When they are `most`, none is added; the last super-frame may exceed it.
    segments: u64,
    most: u64,
}

impl Queue {
    /// One with room for so many bytes, and for `most` frames as a wire counts them.
    #[must_use]
    pub fn new(room: usize, most: u64) -> Queue {
        let places = (room / PLACE).min(usize::try_from(most).unwrap_or(usize::MAX));
        Queue {
            bytes: vec![0; room].into_boxed_slice(),
            places: VecDeque::with_capacity(places),
            end: 0,
            segments: 0,
            most,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Have room for as many bytes and frames. What waits is kept; when it is more bytes than that, it keeps
    /// its room.
    pub fn resize(&mut self, room: usize, most: u64) {
        self.most = most;
        let used: usize = self.places.iter().map(|place| place.len.next_multiple_of(PLACE)).sum();
        if room == self.bytes.len() || room < used {
            return;
        }
        let mut other = Queue::new(room, u64::MAX);
        for place in &self.places {
            let frame = Frame::flat(&self.bytes[place.at..place.at + place.len], place.offload);
            // There is room, as was just counted: everything is laid out from the start.
            let _ = other.push(&TxFrame { frame: &frame, edit: TagEdit::NONE }, place.note);
        }
        other.most = most;
        *self = other;
    }

    /// Where `len` bytes are free in one piece.
    fn free(&self, len: usize) -> Option<usize> {
        if self.places.len() >= self.bytes.len() / PLACE || self.segments >= self.most {
            return None;
        }
        let Some(first) = self.places.front() else { return (len <= self.bytes.len()).then_some(0) };
        if self.end > first.at {
            if self.bytes.len() - self.end >= len { Some(self.end) } else { (first.at >= len).then_some(0) }
        } else {
            (first.at - self.end >= len).then_some(self.end)
        }
    }

    /// Whether there is room for so many bytes.
    pub fn has_room(&self, len: usize) -> bool {
        self.free(len).is_some()
    }

    /// Add a copy at the end; false when there is no room.
    #[must_use]
    pub fn push(&mut self, tx: &TxFrame<'_>, note: Note) -> bool {
        let len = tx.len();
        let Some(at) = self.free(len) else { return false };
        let Some(len) = tx.copy_to(&mut self.bytes[at..]) else { return false };
        let segments = u32::from(tx.frame.view().segments);
        self.places.push_back(Place { at, len, offload: tx.offload(), segments, note });
        self.segments += u64::from(segments);
        self.end = at + len;
        true
    }

    /// Lend the first frames, as many as `meter` lets pass now (which it is told) and fit into a burst.
    /// The caller forgets so many afterwards.
    pub fn pick(&self, now: Nanos, mut meter: Option<&mut Meter>) -> (Burst<'_>, Notes) {
        let (mut burst, mut notes) = (Burst::new(), Notes::new());
        for place in &self.places {
            if burst.is_full() || meter.as_ref().is_some_and(|meter| meter.ready() > now) {
                break;
            }
            let frame = Frame::flat(&self.bytes[place.at..place.at + place.len], place.offload);
            if let Some(meter) = &mut meter {
                let view = frame.view();
                meter.take(now, u64::from(view.segments), view.wire());
            }
            burst.push(frame);
            notes.push(place.note);
        }
        (burst, notes)
    }

    /// Forget the first `n`.
    pub fn forget(&mut self, n: usize) {
        let gone = self.places.drain(..n.min(self.places.len()));
        self.segments -= gone.map(|place| u64::from(place.segments)).sum::<u64>();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue, byte: u8, len: usize) -> bool {
        let bytes = vec![byte; len];
        let frame = Frame::flat(&bytes, Offload::NONE);
        queue.push(&TxFrame { frame: &frame, edit: TagEdit::NONE }, Note::default())
    }

    fn pop(queue: &mut Queue) -> Option<(u8, usize)> {
        let place = *queue.places.front()?;
        let bytes = &queue.bytes[place.at..place.at + place.len];
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "overwritten");
        let found = (bytes[0], place.len);
        queue.forget(1);
        Some(found)
    }

    #[test]
    fn a_queue_keeps_order_and_bytes_around_its_end() {
        let mut queue = Queue::new(8192, u64::MAX);
        let (mut next, mut first, mut lost) = (0u8, 0u8, 0);
        let mut seed = 7usize;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let len = 14 + (seed >> 33) % 2500;
            if seed >> 62 < 2 {
                if push(&mut queue, next, len) {
                    next = next.wrapping_add(1);
                } else {
                    lost += 1;
                }
            } else if let Some((byte, _)) = pop(&mut queue) {
                assert_eq!(byte, first);
                first = first.wrapping_add(1);
            }
        }
        assert!(lost > 100 && next != first);
        while let Some((byte, _)) = pop(&mut queue) {
            assert_eq!(byte, first);
            first = first.wrapping_add(1);
        }
        assert_eq!(first, next);
    }

    #[test]
    fn small_frames_are_bounded_in_number() {
        let mut queue = Queue::new(128 << 10, u64::MAX);
        let n = (0..10_000).filter(|_| push(&mut queue, 1, 60)).count();
        assert_eq!(n, (128 << 10) / PLACE);
        assert!(queue.places.capacity() <= 2 * n);
    }

    #[test]
    fn a_queue_that_grows_or_shrinks_loses_nothing() {
        let mut queue = Queue::new(8192, u64::MAX);
        for byte in 0..6 {
            assert!(push(&mut queue, byte, 1200));
        }
        for _ in 0..3 {
            pop(&mut queue);
        }
        assert!(push(&mut queue, 6, 1500));
        queue.resize(16384, u64::MAX);
        queue.resize(1024, u64::MAX);
        queue.resize(6144, u64::MAX);
        assert_eq!(queue.bytes.len(), 6144);
        let rest: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(rest, [(3, 1200), (4, 1200), (5, 1200), (6, 1500)]);
    }

    #[test]
    fn frames_are_bounded_too_and_what_goes_makes_room() {
        let mut queue = Queue::new(128 << 10, 64);
        assert_eq!((0..500).filter(|_| push(&mut queue, 1, 60)).count(), 64);
        queue.forget(3);
        assert_eq!((0..500).filter(|_| push(&mut queue, 1, 60)).count(), 3);
        queue.resize(128 << 10, 66);
        assert_eq!((0..500).filter(|_| push(&mut queue, 1, 60)).count(), 2);
        // In other memory what waits still counts, and is not lost because there are more than there may be.
        queue.resize(64 << 10, 10);
        assert_eq!(queue.places.len(), 66);
        queue.forget(57);
        assert_eq!((0..500).filter(|_| push(&mut queue, 1, 60)).count(), 1);
    }
}
