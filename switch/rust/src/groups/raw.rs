//! A packet's bytes as the short way compares them (`quick.rs`): as they stand there, few at a time.

use super::packet::Segment;
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};

/// Where the EtherType stands.
const AT: usize = 12;

/// The bytes that say whether a packet goes this way, and between which addresses, as they stand there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    /// EtherType, version, header's length, type of service.
    start: u32,
    total: u16,
    /// Flags, offset, hops, protocol.
    middle: u32,
    /// Source and target.
    pub(super) addresses: u64,
}

impl Raw {
    pub(super) const NONE: Raw = Raw { start: 0, total: 0, middle: 0, addresses: 0 };

    /// And the ports, of the source and of the target.
    #[inline]
    pub(super) fn of(view: &View<'_>) -> (Raw, u32) {
        let Some(b) = view.head.first_chunk::<38>() else { return (Raw::NONE, 0) };
        let number = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (a, at) = (b, AT + 14);
        let raw = Raw {
            start: number(AT),
            total: u16::from_ne_bytes([b[AT + 4], b[AT + 5]]),
            middle: number(AT + 8),
            addresses: u64::from_ne_bytes([
                a[at],
                a[at + 1],
                a[at + 2],
                a[at + 3],
                a[at + 4],
                a[at + 5],
                a[at + 6],
                a[at + 7],
            ]),
        };
        (raw, number(AT + 22))
    }

    /// Whether its length is enough for any protocol.
    #[inline]
    pub(super) fn is_sure(&self) -> bool {
        u16::from_be(self.total) >= 40
    }

    /// Whether it is like another one in all but lengths, type of service, hops, and that it may not be cut.
    #[inline]
    pub(super) fn is_like(&self, other: &Raw) -> bool {
        const START: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
        const MIDDLE: u32 = u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);
        let (one, two) = ((self.start ^ other.start) & START, (self.middle ^ other.middle) & MIDDLE);
        (self.addresses ^ other.addresses) | u64::from(one | two) == 0
    }

    /// Whether it may go this way; and whether it is TCP.
    #[inline]
    pub(super) fn kind(&self) -> (bool, bool) {
        let (start, middle) = (u32::from_be(self.start), u32::from_be(self.middle));
        // No fragment, and the protocol.
        let part = middle & 0x3fff_00ff;
        let tcp = part == u32::from(TCP);
        let long = u16::from_be(self.total) >= if tcp { 40 } else { 28 };
        (start >> 8 == 0x08_0045 && (tcp || part == u32::from(UDP)) && long, tcp)
    }
}

/// A segment that only acknowledges, with or without data.
#[inline]
pub(super) fn acknowledgement(view: &View<'_>) -> Option<Segment> {
    let b = view.head.get(AT + 22..)?.first_chunk::<16>()?;
    let header = 20 + usize::from(b[12] >> 4) * 4;
    if b[13] & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK) != tcp::ACK || header < 40 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([*view.head.get(AT + 4)?, *view.head.get(AT + 5)?]));
    let have = (view.len as usize).checked_sub(AT + 2)?;
    let len = if view.gso { have } else { total.min(have) };
    let number = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    Some(Segment {
        seq: number(4),
        ack: number(8),
        flags: b[13],
        window: u16::from_be_bytes([b[14], b[15]]),
        len: len.checked_sub(header)? as u32,
        scale: None,
        cut: false,
    })
}
