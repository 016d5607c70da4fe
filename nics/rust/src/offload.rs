//! Checksum and segmentation state of a frame, and its completion in software.
//!
//! The meaning is the virtio-net header's (virtio 1.2, 5.1.6), which is also that of TUN's and
//! AF_PACKET's vnet header.

/// A virtio-net header without `num_buffers`, in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    /// `flags`: the checksum from `csum_start` on is still to be computed.
    pub const NEEDS_CSUM: u8 = 1;
    /// `flags`: the checksum was verified.
    pub const DATA_VALID: u8 = 2;

    pub const GSO_NONE: u8 = 0;
    pub const GSO_TCPV4: u8 = 1;
    pub const GSO_UDP: u8 = 3;
    pub const GSO_TCPV6: u8 = 4;
    pub const GSO_UDP_L4: u8 = 5;
    /// Or-ed to a TCP type: the flow uses ECN.
    pub const GSO_ECN: u8 = 0x80;

    /// Length of the header on the wire without `num_buffers`.
    pub const LEN: usize = 10;

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
