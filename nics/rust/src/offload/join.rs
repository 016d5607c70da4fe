//! Datagrams of one flow joined into a UDP super-frame: what segment.rs does, the other way round.
//!
//! A kernel that is given a super-frame walks through its layers once, and one system call is enough: for
//! short datagrams that is most of what they cost. Only such are joined that segmentation gives back
//! byte for byte: one behind the other in a burst, alike but for their payload and an IPv4 identification
//! that counts up, of one length but for the last, and with their checksums still to be computed (to know
//! that a finished one is right would cost as much as it saves).

use super::headers::{Headers, UDP};
use super::{Offload, checksum};
use crate::frame::{FRAME_MAX, Frame, TxFrame};

/// Datagrams of one super-frame: Linux' bound until 6.8, and a burst.
const MOST: usize = 64;
const UDP_HEADER: usize = 8;

/// Joins datagrams. One for each door that does it: its memory is reused.
#[derive(Debug)]
pub struct Joiner(Box<[u8]>);

impl Joiner {
    #[must_use]
    pub fn new() -> Self {
        Joiner(vec![0; FRAME_MAX].into_boxed_slice())
    }

    /// The first of `frames`, as many as go together and at least two, as one frame to which the edit of
    /// the first applies; `None` when the first goes alone.
    #[inline]
    pub fn join(&mut self, frames: &[TxFrame<'_>]) -> Option<(usize, Frame<'_>)> {
        let [first, second, ..] = frames else { return None };
        let flow = Flow::of(first)?;
        if !flow.continues(second, 1) {
            return None;
        }
        let n = flow.count(frames);
        Some((n, flow.join(&frames[..n], &mut self.0)?))
    }
}

impl Default for Joiner {
    fn default() -> Self {
        Joiner::new()
    }
}

/// Whether the first two of `frames` go together.
#[inline]
#[must_use]
pub fn begins(frames: &[TxFrame<'_>]) -> bool {
    match frames {
        [first, second, ..] => Flow::of(first).is_some_and(|flow| flow.continues(second, 1)),
        _ => false,
    }
}

/// What the first datagram says of those that may follow.
struct Flow<'a, 'f> {
    first: &'a TxFrame<'f>,
    head: &'f [u8],
    headers: Headers,
    /// Bytes of payload.
    size: usize,
}

impl<'a, 'f> Flow<'a, 'f> {
    #[inline]
    fn of(first: &'a TxFrame<'f>) -> Option<Self> {
        let offload = first.frame.offload;
        // That the header fits the frame was found out when it came in.
        if offload.flags & Offload::NEEDS_CSUM == 0
            || offload.gso_type != Offload::GSO_NONE
            || offload.csum_offset != 6
        {
            return None;
        }
        let head = first.frame.head();
        let headers = Headers::parse(head)?;
        let ip = if headers.ipv6 { 40 } else { 20 };
        let size = first.frame.len().checked_sub(headers.payload)?;
        let flow = Flow { first, head, headers, size };
        let bare = headers.proto == UDP && headers.l4 == headers.l3 + ip && headers.payload <= head.len();
        (bare && size > 0 && flow.is_whole(head, first.frame.len())).then_some(flow)
    }

    /// Whether the lengths in a datagram's headers are the frame's, and an IPv4 header's checksum is right.
    #[inline]
    fn is_whole(&self, head: &[u8], len: usize) -> bool {
        let Headers { ipv6, l3, l4, .. } = self.headers;
        let ip_len = if ipv6 { be16(head, l3 + 4).map(|n| n + 40) } else { be16(head, l3 + 2) };
        ip_len == Some(len - l3)
            && be16(head, l4 + 4) == Some(len - l4)
            && (ipv6 || head.get(l3..l4).is_some_and(|ip| checksum::fold(checksum::sum(ip)) == 0xffff))
    }

    /// Whether `other` may be the `nth` behind the first, counted from 0.
    #[inline]
    fn continues(&self, other: &TxFrame<'_>, nth: usize) -> bool {
        let Headers { ipv6, l3, l4, payload, .. } = self.headers;
        let (mine, head) = (self.head, other.frame.head());
        let alike = |from: usize, to: usize| mine.get(from..to) == head.get(from..to);
        let len = other.frame.len();
        if other.edit != self.first.edit
            || other.frame.offload != self.first.frame.offload
            || head.len() < payload
            || len <= payload
            || len > self.first.frame.len()
        {
            return false;
        }
        let same = if ipv6 {
            alike(0, l3 + 4) && alike(l3 + 6, l4 + 4)
        } else {
            let id = |head: &[u8]| be16(head, l3 + 4).unwrap_or(0);
            alike(0, l3 + 2)
                && alike(l3 + 6, l3 + 10)
                && alike(l3 + 12, l4 + 4)
                && id(head) == (id(mine) + nth) & 0xffff
        };
        same && self.is_whole(head, len)
    }

    /// How many of `frames` go together, the first two of which do.
    #[inline]
    fn count(&self, frames: &[TxFrame<'_>]) -> usize {
        let room = (65_535 - UDP_HEADER - 40) / self.size;
        let mut n = 1;
        for other in &frames[1..frames.len().min(MOST).min(room.max(1))] {
            if !self.continues(other, n) {
                break;
            }
            n += 1;
            if other.frame.len() < self.first.frame.len() {
                break; // a shorter one is the last
            }
        }
        n
    }

    fn join<'r>(&self, frames: &[TxFrame<'_>], room: &'r mut [u8]) -> Option<Frame<'r>> {
        let Headers { ipv6, l3, l4, payload, .. } = self.headers;
        let mut len = payload;
        for tx in frames {
            let head = tx.frame.head().get(payload..)?;
            room.get_mut(len..len + head.len())?.copy_from_slice(head);
            len += head.len();
            for seg in tx.frame.body() {
                seg.read(room.get_mut(len..len + seg.len())?);
                len += seg.len();
            }
        }
        let whole = room.get_mut(..len)?;
        whole[..payload].copy_from_slice(&self.head[..payload]);
        let mut put = |at: usize, value: usize| {
            whole[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
        };
        put(l4 + 4, len - l4);
        if ipv6 {
            put(l3 + 4, len - l3 - 40);
        } else {
            put(l3 + 2, len - l3);
            put(l3 + 10, 0);
            let sum = checksum::finish(checksum::sum(&whole[l3..l4]));
            whole[l3 + 10..l3 + 12].copy_from_slice(&sum);
        }
        // Of what is still to be computed, the field has the pseudo-header's sum.
        let sum = checksum::fold(self.headers.pseudo(whole, len - l4)).to_ne_bytes();
        whole[l4 + 6..l4 + 8].copy_from_slice(&sum);
        let offload = Offload {
            gso_type: Offload::GSO_UDP_L4,
            gso_size: self.size as u16,
            hdr_len: payload as u16,
            ..self.first.frame.offload
        };
        Some(Frame::flat(whole, offload))
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let [a, b] = *bytes.get(at..at + 2)? else { return None };
    Some(usize::from(u16::from_be_bytes([a, b])))
}
