//! A packet's bytes as the short way compares them (`quick.rs`): as they stand there, few at a time.

use super::packet::Segment;
use super::tcp;
use crate::View;
use crate::headers::{TCP, UDP};
use crate::parse;

/// Where the EtherType stands.
const AT: usize = 12;

/// The bytes that say whether a packet goes this way, and between which addresses, as they stand there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    /// Destination, and the beginning of the source.
    start: u64,
    /// The rest of it, EtherType, version, header's length, type of service.
    kind: u64,
    /// Length, identification, flags, offset, hops, protocol.
    middle: u64,
    /// Source and target.
    pub(super) addresses: u64,
}

impl Raw {
    pub(super) const NONE: Raw = Raw { start: 0, kind: 0, middle: 0, addresses: 0 };

    /// And the ports, of the source and of the target.
    #[inline]
    pub(super) fn of(view: &View<'_>) -> (Raw, u32) {
        let Some(b) = view.head.first_chunk::<38>() else { return (Raw::NONE, 0) };
        let (word, at) = (|at| parse::word(b, at), AT + 22);
        let ports = u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        (Raw { start: word(0), kind: word(8), middle: word(16), addresses: word(AT + 14) }, ports)
    }

    /// The ports alone.
    #[inline]
    pub(super) fn ports(view: &View<'_>) -> u32 {
        view.head
            .get(AT + 22..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |ports| u32::from_ne_bytes(*ports))
    }

    /// Whether its length is enough for any protocol.
    #[inline]
    pub(super) fn is_sure(&self) -> bool {
        u64::from_be(self.middle) >= 40 << 48
    }

    /// Whether it is like another one in all but lengths, type of service, hops, and that it may not be cut.
    #[inline]
    pub(super) fn is_like(&self, other: &Raw) -> bool {
        const KIND: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        const MIDDLE: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0x3f, 0xff, 0, 0xff]);
        let (one, two) = ((self.kind ^ other.kind) & KIND, (self.middle ^ other.middle) & MIDDLE);
        (self.start ^ other.start) | (self.addresses ^ other.addresses) | one | two == 0
    }

    /// Note in `self` where these differ.
    #[inline(always)]
    pub(super) fn note(&mut self, one: &Raw, other: &Raw) {
        self.start |= one.start ^ other.start;
        self.kind |= one.kind ^ other.kind;
        self.middle |= one.middle ^ other.middle;
        self.addresses |= one.addresses ^ other.addresses;
    }

    /// Whether no more was noted there than what may differ between those that are alike, nor a length.
    #[inline]
    pub(super) fn is_little(&self) -> bool {
        const LENGTH: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        self.is_like(&Raw::NONE) && self.middle & LENGTH == 0
    }

    /// Whether it may go this way; and whether it is TCP.
    #[inline]
    pub(super) fn kind(&self) -> (bool, bool) {
        let (kind, middle) = (u64::from_be(self.kind), u64::from_be(self.middle));
        // No fragment, and the protocol.
        let part = middle & 0x3fff_00ff;
        let tcp = part == u64::from(TCP);
        let long = middle >> 48 >= if tcp { 40 } else { 28 };
        (kind as u32 >> 8 == 0x08_0045 && (tcp || part == u64::from(UDP)) && long, tcp)
    }
}

/// What stands in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// The header's length, flags and window.
    pub(super) what: u32,
    /// How long the packet says that it is.
    pub(super) total: u16,
}

impl Numbers {
    #[inline(always)]
    pub(super) fn of(view: &View<'_>) -> Option<Numbers> {
        let b = view.head.first_chunk::<{ AT + 38 }>()?;
        let number = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        Some(Numbers {
            seq: number(AT + 26),
            ack: number(AT + 30),
            what: number(AT + 34),
            total: u16::from_be_bytes([b[AT + 4], b[AT + 5]]),
        })
    }
}

/// A segment that only acknowledges, with or without data.
#[inline(always)]
pub(super) fn acknowledgement(view: &View<'_>) -> Option<Segment> {
    const FLAGS: u32 = (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK) as u32;
    let Numbers { seq, ack, what, total } = Numbers::of(view)?;
    let header = 20 + (what >> 28) * 4;
    if what >> 16 & FLAGS != u32::from(tcp::ACK) || header < 40 {
        return None;
    }
    let have = view.len.checked_sub(AT as u32 + 2)?;
    let len = if view.gso { have } else { u32::from(total).min(have) };
    Some(Segment {
        seq,
        ack,
        flags: (what >> 16) as u8,
        window: what as u16,
        len: len.checked_sub(header)?,
        scale: None,
        cut: false,
    })
}
