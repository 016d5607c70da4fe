//! Checksum and segmentation state of a frame, and its completion in software.
//!
//! The meaning is the virtio-net header's (virtio 1.2, 5.1.6), which is also that of TUN's and
//! AF_PACKET's vnet header.
//!
//! All of it is written by a guest. What a lie could do:
//!  * offsets beyond the frame make a careless reader read or write out of bounds;
//!  * a checksum "to be stored" at the source address rewrites what a guard has just approved;
//!  * a segment size of one byte turns one frame into sixty thousand.
//!
//! So a door shows every header it receives to [`Offload::vet`], which only lets through what a
//! well-meant header says: the checksum of the TCP or UDP header that the frame really has, and
//! segments of a type that the frame really is, not too many. What passes can be given to another
//! guest or the kernel as it is, and can be completed by [`Completer`].

pub mod checksum;
mod complete;
pub(crate) mod headers;
pub mod join;
mod segment;
#[cfg(test)]
mod tests;

pub use complete::{Completer, complete_in_place};
use headers::{Headers, TCP, UDP};
pub use join::Joiner;

/// A virtio-net header without `num_buffers`, in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offload {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl Offload {
    /// Nothing to do: checksums are complete and no segmentation is asked for.
    pub const NONE: Offload =
        Offload { flags: 0, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

    /// Whether it is [`Offload::NONE`]: asked of each frame at each door, and one by one its parts take ten times as
    /// long as together.
    #[inline(always)]
    #[must_use]
    pub fn is_none(&self) -> bool {
        let Offload { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset } = *self;
        let first = u64::from(flags) | u64::from(gso_type) << 8 | u64::from(hdr_len) << 16;
        let word = first | u64::from(gso_size) << 32 | u64::from(csum_start) << 48;
        word | u64::from(csum_offset) == 0
    }

    /// `flags`: the checksum from `csum_start` on is still to be computed.
    pub const NEEDS_CSUM: u8 = 1;
    /// `flags`: the checksum was verified.
    pub const DATA_VALID: u8 = 2;

    pub const GSO_NONE: u8 = 0;
    pub const GSO_TCPV4: u8 = 1;
    pub const GSO_TCPV6: u8 = 4;
    pub const GSO_UDP_L4: u8 = 5;
    /// Or-ed to a TCP type: the flow uses ECN.
    pub const GSO_ECN: u8 = 0x80;

    /// Length of the header on the wire without `num_buffers`.
    pub const LEN: usize = 10;

    /// The smallest segments that TCP is cut into: Linux' own lower bound (`tcp_min_snd_mss`).
    pub const TCP_SEGMENT_MIN: usize = 48;
    /// The most segments that TCP is cut into: 64 KiB with an MSS of 88.
    pub const TCP_SEGMENTS_MAX: usize = 768;
    /// The most datagrams in a UDP super-frame: Linux' bound (`UDP_MAX_SEGMENTS`).
    pub const UDP_SEGMENTS_MAX: usize = 128;

    /// What is true of this header for a frame of `len` bytes that begins with `head` (at least
    /// `min(len, HEAD)` bytes of it, private); `None` when it lies, and the frame must go no further
    /// ([`DropReason::DoorMalformed`](switch::DropReason::DoorMalformed)).
    ///
    /// Flags that mean nothing here are taken off, `hdr_len` becomes the length of the headers.
    #[inline]
    #[must_use]
    pub fn vet(&self, len: usize, head: &[u8]) -> Option<Offload> {
        let flags = self.flags & (Self::NEEDS_CSUM | Self::DATA_VALID);
        if flags & Self::NEEDS_CSUM == 0 && self.gso_type == Self::GSO_NONE {
            return Some(Offload { flags, ..Offload::NONE });
        }
        let headers = self.agrees(len, head)?;
        let hdr_len = headers.payload as u16;
        Some(if self.gso_type == Self::GSO_NONE {
            Offload { flags: Self::NEEDS_CSUM, hdr_len, gso_size: 0, ..*self }
        } else if flags & Self::NEEDS_CSUM == 0 {
            Offload { flags, hdr_len, csum_start: 0, csum_offset: 0, ..*self }
        } else {
            Offload { flags: Self::NEEDS_CSUM, hdr_len, ..*self }
        })
    }

    /// Whether [`vet`](Self::vet) lets it through.
    #[must_use]
    pub fn check(&self, len: usize, head: &[u8]) -> bool {
        self.vet(len, head).is_some()
    }

    /// How many frames the wire sees of a frame of `len` bytes whose header was vetted: what limits
    /// and counters of packets go by.
    #[inline]
    #[must_use]
    pub fn segments(&self, len: usize) -> usize {
        if self.gso_type == Self::GSO_NONE || self.gso_size == 0 {
            return 1;
        }
        // Of 32 bits, which processors divide sooner; no frame is longer.
        let payload = u32::try_from(len).unwrap_or(u32::MAX).saturating_sub(u32::from(self.hdr_len));
        payload.div_ceil(u32::from(self.gso_size)).max(1) as usize
    }

    /// Where the frame's headers really are, when all that this one says of them is so.
    fn agrees(&self, len: usize, head: &[u8]) -> Option<Headers> {
        let headers = Headers::parse(head)?;
        if headers.payload > len || headers.payload > segment::HEADERS_MAX {
            return None;
        }
        if self.flags & Self::NEEDS_CSUM != 0
            && (usize::from(self.csum_start) != headers.l4
                || usize::from(self.csum_offset) != headers.checksum_offset())
        {
            return None;
        }
        let ip_len = len - headers.l3 - if headers.ipv6 { 40 } else { 0 };
        let gso_size = usize::from(self.gso_size);
        let payload = len - headers.payload;
        let fits = match self.gso_type & !Self::GSO_ECN {
            Self::GSO_NONE => self.gso_type == 0 && (headers.payload..=len).contains(&headers.ip_end),
            Self::GSO_TCPV4 | Self::GSO_TCPV6 => {
                headers.proto == TCP
                    && headers.ipv6 == (self.gso_type & !Self::GSO_ECN == Self::GSO_TCPV6)
                    && gso_size >= Self::TCP_SEGMENT_MIN
                    && payload <= gso_size * Self::TCP_SEGMENTS_MAX
                    && ip_len <= 65_535
            }
            Self::GSO_UDP_L4 => {
                headers.proto == UDP
                    && self.gso_type & Self::GSO_ECN == 0
                    && self.flags & Self::NEEDS_CSUM != 0
                    && gso_size > 0
                    && payload <= gso_size * Self::UDP_SEGMENTS_MAX
                    && ip_len <= 65_535
            }
            // UDP fragmentation (UFO) is a feature that no door offers.
            _ => false,
        };
        fits.then_some(headers)
    }

    /// From a little-endian virtio-net header (10 bytes).
    #[inline]
    #[must_use]
    pub fn from_bytes(b: &[u8; Self::LEN]) -> Self {
        let u16_at = |i: usize| u16::from_le_bytes([b[i], b[i + 1]]);
        Offload {
            flags: b[0],
            gso_type: b[1],
            hdr_len: u16_at(2),
            gso_size: u16_at(4),
            csum_start: u16_at(6),
            csum_offset: u16_at(8),
        }
    }

    /// To a little-endian virtio-net header (10 bytes).
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [h0, h1] = self.hdr_len.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.csum_start.to_le_bytes();
        let [o0, o1] = self.csum_offset.to_le_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// With its offsets moved by `delta` bytes, because a tag came or went in front of them.
    #[inline]
    #[must_use]
    pub fn shifted(self, delta: i32) -> Self {
        if delta == 0 || self == Self::NONE {
            return self;
        }
        let shift = |v: u16| if v == 0 { 0 } else { v.wrapping_add_signed(delta as i16) };
        Offload { hdr_len: shift(self.hdr_len), csum_start: shift(self.csum_start), ..self }
    }
}
