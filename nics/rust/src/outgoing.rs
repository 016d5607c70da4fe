//! Frames that wait to be sent through a socket: a ring of bytes, each frame behind its length (four
//! bytes, big-endian), which is also how a `stream` door's peer wants them.
//!
//! Bounded, and whole frames only: one that has no room is refused, never cut. Its memory exists
//! while there is a peer, and only pages that were needed are ever touched.

use crate::frame::{FRAME_MAX, HEAD, TxFrame};

/// Bytes of the length in front of each frame.
pub const LENGTH: usize = 4;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Outgoing {
    ring: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Outgoing {
    /// What waits at most, in bytes: two milliseconds at 1 Gbit/s, and more than the longest frame.
    pub const ROOM: usize = 256 << 10;

    const FITS_LONGEST: () = assert!(FRAME_MAX + LENGTH <= Self::ROOM);

    /// Bytes that wait, lengths included.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forget everything and give the memory back.
    pub fn clear(&mut self) {
        *self = Outgoing::default();
    }

    /// Add a frame; false: there is no room for all of it, and nothing was added.
    #[must_use]
    pub fn push(&mut self, frame: &TxFrame<'_>) -> bool {
        if self.len + LENGTH + frame.len() > Self::ROOM {
            return false;
        }
        self.put(&(frame.len() as u32).to_be_bytes());
        self.put_frame(frame, 0);
        true
    }

    /// Add what is left of a frame of which `sent` bytes, its length included, are gone already.
    /// Only an empty ring, which always has the room, is ever asked to.
    pub fn push_rest(&mut self, frame: &TxFrame<'_>, sent: usize) {
        debug_assert!(self.is_empty());
        let () = Self::FITS_LONGEST;
        let length = (frame.len() as u32).to_be_bytes();
        self.put(length.get(sent..).unwrap_or_default());
        self.put_frame(frame, sent.saturating_sub(LENGTH));
    }

    fn put_frame(&mut self, frame: &TxFrame<'_>, skip: usize) {
        let mut scratch = [0; HEAD + 4];
        let head = frame.head(&mut scratch);
        self.put(head.get(skip..).unwrap_or_default());
        let mut skip = skip.saturating_sub(head.len());
        for seg in frame.frame.body() {
            let rest = seg.skip(skip);
            skip -= seg.len() - rest.len();
            let (first, second) = self.grow(rest.len());
            rest.read(first);
            let wrapped = rest.skip(first.len());
            wrapped.read(second);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let (first, second) = self.grow(bytes.len());
        let (front, back) = bytes.split_at(first.len());
        first.copy_from_slice(front);
        second.copy_from_slice(back);
    }

    /// Room for `n` more bytes, in two parts where the ring wraps. The caller knows that it fits.
    fn grow(&mut self, n: usize) -> (&mut [u8], &mut [u8]) {
        if self.ring.is_empty() {
            self.ring = vec![0; Self::ROOM].into_boxed_slice();
        }
        debug_assert!(self.len + n <= Self::ROOM);
        let at = (self.start + self.len) % Self::ROOM;
        self.len += n;
        let (wrapped, from) = self.ring.split_at_mut(at);
        let first = n.min(from.len());
        (&mut from[..first], &mut wrapped[..n - first])
    }

    /// All that waits, in order, in two parts.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[u8]) {
        let first = self.len.min(self.ring.len() - self.start);
        (&self.ring[self.start..self.start + first], &self.ring[..self.len - first])
    }

    /// The frames that wait, in order, each in two parts and without its length. Only for a ring that
    /// holds whole frames.
    pub fn frames(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let mut length = [0; LENGTH];
            let (first, second) = self.range(at, LENGTH)?;
            length[..first.len()].copy_from_slice(first);
            length[first.len()..].copy_from_slice(second);
            let length = u32::from_be_bytes(length) as usize;
            let frame = self.range(at + LENGTH, length)?;
            at += LENGTH + length;
            Some(frame)
        })
    }

    /// `n` of the bytes that wait, from number `at` on, in two parts where the ring wraps.
    fn range(&self, at: usize, n: usize) -> Option<(&[u8], &[u8])> {
        if at + n > self.len {
            return None;
        }
        let (first, second) = self.parts();
        let split = at.min(first.len());
        let from = &first[split..];
        let here = n.min(from.len());
        Some((&from[..here], &second[at - split..][..n - here]))
    }

    /// The first `n` bytes are gone.
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        self.len -= n;
        // An empty ring begins at its front again, so that a door with little to do stays in few pages.
        self.start = if self.len == 0 { 0 } else { (self.start + n) % Self::ROOM };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Seg};
    use crate::offload::Offload;
    use switch::TagEdit;

    fn drain(outgoing: &mut Outgoing, n: usize) -> Vec<u8> {
        let (first, second) = outgoing.parts();
        let bytes: Vec<u8> = first.iter().chain(second).take(n).copied().collect();
        outgoing.consume(bytes.len());
        bytes
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_the_ring_wraps() {
        let data: Vec<u8> = (0..9000).map(|i| (i % 251) as u8).collect();
        let more = [Seg::from(&data[5000..5001]), Seg::EMPTY, Seg::from(&data[5001..])];
        let frame = Frame::scattered(&data[..HEAD], Seg::from(&data[HEAD..5000]), &more, Offload::NONE);
        let tx = TxFrame { frame: &frame, edit: TagEdit { strip: 0, insert: 0x8100_0007, ..TagEdit::NONE } };
        let mut want = 9004_u32.to_be_bytes().to_vec();
        let mut edited = vec![0; 9004];
        tx.copy_to(&mut edited);
        want.extend(&edited);
        let mut outgoing = Outgoing::default();
        assert!(outgoing.push(&tx));
        for _ in 0..100 {
            assert!(outgoing.push(&tx));
            assert_eq!(drain(&mut outgoing, want.len()), want);
        }
        assert_eq!(drain(&mut outgoing, usize::MAX), want);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn whole_frames_can_be_walked_wherever_the_ring_wraps() {
        let data: Vec<u8> = (0..5000).map(|i| (i % 253) as u8).collect();
        let mut outgoing = Outgoing::default();
        let mut queued = std::collections::VecDeque::new();
        for n in 0..2000_usize {
            let frame = Frame::flat(&data[..14 + n * 7 % 4900], Offload::NONE);
            assert!(outgoing.push(&TxFrame { frame: &frame, edit: TagEdit::NONE }));
            queued.push_back(frame.len());
            if outgoing.len() > Outgoing::ROOM / 2 {
                let frames: Vec<Vec<u8>> = outgoing.frames().map(|(a, b)| [a, b].concat()).collect();
                assert_eq!(frames.len(), queued.len());
                assert!(frames.iter().zip(&queued).all(|(f, n)| *f == data[..*n]));
                for n in queued.drain(..queued.len() / 2) {
                    outgoing.consume(LENGTH + n);
                }
            }
        }
    }

    #[test]
    fn the_rest_of_a_frame_is_what_was_not_sent() {
        let data: Vec<u8> = (0..700).map(|i| i as u8).collect();
        let more = [Seg::from(&data[400..])];
        let frame = Frame::scattered(&data[..HEAD], Seg::from(&data[HEAD..400]), &more, Offload::NONE);
        let tx = TxFrame { frame: &frame, edit: TagEdit { strip: 4, insert: 0, ..TagEdit::NONE } };
        let mut whole = Outgoing::default();
        assert!(whole.push(&tx));
        let whole = drain(&mut whole, usize::MAX);
        for sent in 0..whole.len() {
            let mut outgoing = Outgoing::default();
            outgoing.push_rest(&tx, sent);
            assert_eq!(drain(&mut outgoing, usize::MAX), whole[sent..], "{sent} bytes sent");
        }
    }

    #[test]
    fn a_frame_without_room_is_refused_whole() {
        let data = vec![7; 60_000];
        let frame = Frame::flat(&data, Offload::NONE);
        let tx = TxFrame { frame: &frame, edit: TagEdit::NONE };
        let mut outgoing = Outgoing::default();
        for _ in 0..4 {
            assert!(outgoing.push(&tx));
        }
        let before = outgoing.len();
        assert!(!outgoing.push(&tx));
        assert_eq!(outgoing.len(), before);
        outgoing.clear();
        assert!(outgoing.push(&tx));
    }
}
