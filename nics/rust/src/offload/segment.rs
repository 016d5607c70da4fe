//! TCP and UDP super-frames cut into the frames that a wire would have seen.
//!
//! The payload stays where it is. Each segment gets headers of its own in a slot, followed there by as
//! much payload as belongs to a frame's head; the rest of its payload is a run in the super-frame.

use super::headers::{Headers, TCP};
use super::{Offload, checksum};
use crate::frame::{BURST, Frame, HEAD, Seg, TxFrame};
use crate::nic::Caps;
use arrayvec::ArrayVec;
use switch::{DropReason, TagEdit};

/// Ethernet and three tags, IPv4 and TCP with all their options take 146 bytes; the rest is room for
/// IPv6 extension headers.
pub const HEADERS_MAX: usize = 256;

/// Memory for the heads of a burst of segments.
#[derive(Debug)]
pub struct Slots(Box<[[u8; HEADERS_MAX]]>);

impl Slots {
    pub fn new() -> Self {
        Slots(vec![[0; HEADERS_MAX]; BURST].into_boxed_slice())
    }
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// Cut `whole`, whose `headers` were found to fit it, into segments of `size` bytes of payload. They leave
/// with `edit`, which has nothing left to do to their bytes.
pub fn segment(
    whole: &[u8],
    headers: &Headers,
    size: usize,
    caps: &Caps,
    slots: &mut Slots,
    edit: TagEdit,
    emit: &mut dyn FnMut(&[TxFrame<'_>]),
) -> Result<(), DropReason> {
    let (head, payload) = whole.split_at(headers.payload);
    if head.len() + size > caps.max_frame as usize {
        return Err(DropReason::TxTooBig);
    }
    let offload = if caps.csum {
        Offload {
            flags: Offload::NEEDS_CSUM,
            hdr_len: head.len() as u16,
            csum_start: headers.l4 as u16,
            csum_offset: headers.checksum_offset() as u16,
            ..Offload::NONE
        }
    } else {
        Offload::NONE
    };
    if head.len() - headers.l3 + size.min(payload.len()) > 65_535 + if headers.ipv6 { 40 } else { 0 } {
        return Err(DropReason::TxOffload);
    }
    let count = payload.len().div_ceil(size);
    let mut chunks = payload.chunks(size).enumerate();
    loop {
        // (bytes in the slot, the payload behind them)
        let mut parts: ArrayVec<(&[u8], &[u8]), BURST> = ArrayVec::new();
        for (slot, (index, data)) in slots.0.iter_mut().zip(chunks.by_ref()) {
            slot[..head.len()].copy_from_slice(head);
            let segment = Segment { data, index, offset: index * size, last: index + 1 == count };
            segment.write_headers(&mut slot[..head.len()], headers, caps.csum);
            let (near, far) = data.split_at(HEAD.saturating_sub(head.len()).min(data.len()));
            let filled = head.len() + near.len();
            slot[head.len()..filled].copy_from_slice(near);
            parts.push((&slot[..filled], far));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let far: ArrayVec<Seg<'_>, BURST> = parts.iter().map(|(_, far)| Seg::from(*far)).collect();
        let frames: ArrayVec<Frame<'_>, BURST> = parts
            .iter()
            .zip(far.chunks(1))
            .map(|((near, _), far)| match near.split_at_checked(HEAD) {
                // Headers longer than a frame's head: their rest goes before the payload.
                Some((near, more)) if !more.is_empty() => {
                    Frame::scattered(near, Seg::from(more), far, offload)
                }
                _ => Frame::scattered(near, far[0], &[], offload),
            })
            .collect();
        let burst: ArrayVec<TxFrame<'_>, BURST> =
            frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        emit(&burst);
    }
}

/// One segment of a super-frame.
struct Segment<'a> {
    data: &'a [u8],
    index: usize,
    /// Of `data` in the whole payload.
    offset: usize,
    last: bool,
}

impl Segment<'_> {
    /// Turn `head`, a copy of the super-frame's headers, into this segment's.
    fn write_headers(&self, head: &mut [u8], headers: &Headers, partial: bool) {
        let Headers { l3, l4, .. } = *headers;
        let l4_len = head.len() - l4 + self.data.len();
        if headers.ipv6 {
            put16(head, l3 + 4, l4 - l3 - 40 + l4_len);
        } else {
            put16(head, l3 + 2, l4 - l3 + l4_len);
            let id = u16::from_be_bytes([head[l3 + 4], head[l3 + 5]]);
            put16(head, l3 + 4, usize::from(id.wrapping_add(self.index as u16)));
            put16(head, l3 + 10, 0);
            let sum = checksum::finish(checksum::sum(&head[l3..l4]));
            head[l3 + 10..l3 + 12].copy_from_slice(&sum);
        }
        if headers.proto == TCP {
            self.write_tcp(&mut head[l4..]);
        } else {
            put16(head, l4 + 4, l4_len);
        }
        let at = l4 + headers.checksum_offset();
        put16(head, at, 0);
        let pseudo = headers.pseudo(head, l4_len);
        let sum = if partial {
            checksum::fold(pseudo).to_ne_bytes()
        } else {
            headers.checksum(pseudo + checksum::sum(&head[l4..]) + checksum::sum(self.data))
        };
        head[at..at + 2].copy_from_slice(&sum);
    }

    fn write_tcp(&self, tcp: &mut [u8]) {
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        tcp[4..8].copy_from_slice(&seq.wrapping_add(self.offset as u32).to_be_bytes());
        if !self.last {
            tcp[13] &= !(FIN | PSH);
        }
        if self.index > 0 {
            // The window was reduced once (RFC 3168, 6.1.2).
            tcp[13] &= !CWR;
        }
        if tcp[13] & URG != 0 {
            // It points from this segment's sequence number on.
            let urgent = usize::from(u16::from_be_bytes([tcp[18], tcp[19]]));
            if urgent < self.offset {
                tcp[13] &= !URG;
            }
            put16(tcp, 18, urgent.saturating_sub(self.offset));
        }
    }
}

/// The low 16 bits of `value` in network order.
fn put16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}
