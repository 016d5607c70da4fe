//! IP packets: read without trust, written in one place.

use crate::offload::checksum::{self, sum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub type Mac = [u8; 6];

pub const ICMP: u8 = 1;
pub const IGMP: u8 = 2;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;

/// Length of an Ethernet header; frames of a guest carry no VLAN tag.
pub const ETH: usize = 14;

/// IPv6 extension headers walked; more is nobody's traffic.
const EXTENSIONS_MAX: usize = 6;

/// Length of an IP header without options.
#[must_use]
pub fn header_len(v4: bool) -> usize {
    if v4 { 20 } else { 40 }
}

/// Which part of a larger packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    /// In bytes, a multiple of eight.
    pub offset: usize,
    pub more: bool,
}

/// A packet whose headers were checked. Its transport header was not.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'p> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub hop_limit: u8,
    /// What the payload is, behind all extension headers.
    pub proto: u8,
    /// The whole packet, without what the frame carried behind it.
    pub bytes: &'p [u8],
    pub payload: &'p [u8],
    pub piece: Option<Piece>,
}

fn be16(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])
}

impl<'p> Packet<'p> {
    /// Take a packet apart; `None` for what is no packet, or one that a host must ignore.
    #[must_use]
    pub fn parse(bytes: &'p [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    fn parse_v4(bytes: &'p [u8]) -> Option<Self> {
        if bytes.len() < 20 {
            return None;
        }
        let header = usize::from(bytes[0] & 15) * 4;
        let len = be16(bytes, 2);
        if header < 20 || len < header || bytes.len() < len {
            return None;
        }
        let bytes = &bytes[..len];
        if checksum::fold(sum(&bytes[..header])) != 0xffff {
            return None;
        }
        let flags = be16(bytes, 6);
        let (offset, more) = ((flags & 0x1fff) * 8, flags & 0x2000 != 0);
        let v4 = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Some(Packet {
            src: v4(12).into(),
            dst: v4(16).into(),
            hop_limit: bytes[8],
            proto: bytes[9],
            bytes,
            payload: &bytes[header..],
            piece: (more || offset != 0).then(|| Piece { id: be16(bytes, 4) as u32, offset, more }),
        })
    }

    fn parse_v6(bytes: &'p [u8]) -> Option<Self> {
        if bytes.len() < 40 {
            return None;
        }
        let bytes = bytes.get(..40 + be16(bytes, 4))?;
        let v6 = |at: usize| Ipv6Addr::from(bytes[at..].first_chunk::<16>().copied().unwrap_or_default());
        let (mut proto, mut payload, mut piece) = (bytes[6], &bytes[40..], None);
        for _ in 0..EXTENSIONS_MAX {
            match proto {
                FRAGMENT => {
                    let header = payload.first_chunk::<8>()?;
                    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                    let (offset, more) = (be16(header, 2) & 0xfff8, header[3] & 1 != 0);
                    (proto, payload) = (header[0], &payload[8..]);
                    if more || offset != 0 {
                        // The headers behind this one are for who has the whole packet.
                        piece = Some(Piece { id, offset, more });
                        break;
                    }
                }
                HOP_BY_HOP | ROUTING | OPTIONS => {
                    let len = 8 + 8 * usize::from(*payload.get(1)?);
                    let header = payload.get(..len)?;
                    // A source route that goes on from here is not for a host (RFC 5095).
                    if proto == ROUTING && header[3] != 0 || proto != ROUTING && !options_known(&header[2..])
                    {
                        return None;
                    }
                    (proto, payload) = (header[0], &payload[len..]);
                }
                _ => break,
            }
        }
        if matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | OPTIONS) && piece.is_none() {
            return None;
        }
        Some(Packet {
            src: v6(8).into(),
            dst: v6(24).into(),
            hop_limit: bytes[7],
            proto,
            bytes,
            payload,
            piece,
        })
    }

    /// Whether nothing stands between the IP header and the payload.
    #[must_use]
    pub fn plain(&self) -> bool {
        self.payload.len() + header_len(self.src.is_ipv4()) == self.bytes.len()
            || self.src.is_ipv4() && self.piece.is_none()
    }

    /// Whether the transport checksum, which includes the pseudo-header, is right.
    #[must_use]
    pub fn checksum_ok(&self) -> bool {
        let total = pseudo(self.src, self.dst, self.proto, self.payload.len()) + sum(self.payload);
        checksum::fold(total) == 0xffff
    }
}

/// Whether a host may skip all options it does not know (RFC 8200, 4.2: the two highest bits are 0).
fn options_known(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (0, _) => rest,
            (1..=63, [len, rest @ ..]) if usize::from(*len) <= rest.len() => &rest[usize::from(*len)..],
            _ => return false,
        };
    }
    true
}

/// The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1).
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    address(src) + address(dst) + sum(&(len as u32).to_be_bytes()) + sum(&[0, proto])
}

/// An IP header to be written.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    pub hop_limit: u8,
}

impl Header {
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, proto: u8) -> Self {
        Header { src, dst, proto, hop_limit: 64 }
    }

    /// Length of the header.
    #[must_use]
    pub fn len(&self) -> usize {
        header_len(self.dst.is_ipv4())
    }

    /// Write it to the start of `packet`, all of whose remaining bytes are the payload. Both
    /// addresses must be of one version; a packet that is too long for its length field is cut off
    /// by whoever sends it.
    pub fn write(&self, packet: &mut [u8]) {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let len = packet.len() as u16;
                let header = &mut packet[..20];
                header.fill(0);
                header[0] = 0x45;
                header[2..4].copy_from_slice(&len.to_be_bytes());
                // Don't fragment, and therefore no identification (RFC 6864, 4.1).
                header[6] = 0x40;
                header[8] = self.hop_limit;
                header[9] = self.proto;
                header[12..16].copy_from_slice(&src.octets());
                header[16..20].copy_from_slice(&dst.octets());
                seal_v4(header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let len = (packet.len() - 40) as u16;
                packet[..4].copy_from_slice(&[0x60, 0, 0, 0]);
                packet[4..6].copy_from_slice(&len.to_be_bytes());
                packet[6] = self.proto;
                packet[7] = self.hop_limit;
                packet[8..24].copy_from_slice(&src.octets());
                packet[24..40].copy_from_slice(&dst.octets());
            }
            _ => debug_assert!(false, "an IP header with addresses of two versions"),
        }
    }
}

/// Compute the checksum of an IPv4 header.
pub fn seal_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let check = checksum::finish(sum(header));
    header[10..12].copy_from_slice(&check);
}

/// Write an Ethernet header for an IP packet to the start of `frame`.
pub fn write_ethernet(frame: &mut [u8], src: Mac, dst: Mac, v4: bool) {
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame[12..14].copy_from_slice(if v4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(v4: bool) -> Header {
        let addresses = if v4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] };
        let [src, dst] = addresses.map(|text| text.parse().unwrap());
        Header::new(src, dst, UDP)
    }

    #[test]
    fn what_is_written_is_read() {
        for v4 in [true, false] {
            let header = header(v4);
            let mut bytes = vec![7; header.len() + 33];
            header.write(&mut bytes);
            bytes.extend([0; 9]); // Ethernet padding
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.src, packet.dst, packet.proto), (header.src, header.dst, UDP));
            assert_eq!((packet.payload, packet.piece), (&[7; 33][..], None));
            assert!(packet.plain());
        }
    }

    #[test]
    fn extension_headers_are_walked() {
        let header = Header { proto: HOP_BY_HOP, ..header(false) };
        let mut bytes = vec![0; 40];
        bytes.extend([OPTIONS, 0, 5, 2, 0, 0, 1, 0]); // router alert, PadN
        bytes.extend([FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([UDP, 0, 0, 8 | 1, 0, 0, 1, 2]);
        bytes.extend([9; 16]);
        header.write(&mut bytes);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.proto, packet.payload), (UDP, &[9; 16][..]));
        assert_eq!(packet.piece, Some(Piece { id: 258, offset: 8, more: true }));
        assert!(!packet.plain());
        // An option that must not be skipped.
        bytes[42] = 0x85;
        assert!(Packet::parse(&bytes).is_none());
    }

    #[test]
    fn a_wrong_header_checksum_is_no_packet() {
        let mut bytes = vec![0; 28];
        header(true).write(&mut bytes);
        assert!(Packet::parse(&bytes).is_some());
        bytes[12] ^= 1;
        assert!(Packet::parse(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn anything_may_come(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), v4: bool, fix: bool) {
            if bytes.len() >= 40 && fix {
                let proto = bytes[6];
                Header { proto, ..header(v4) }.write(&mut bytes);
            }
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.bytes.len() <= bytes.len());
                prop_assert!(packet.payload.len() <= packet.bytes.len());
                let _ = packet.checksum_ok();
            }
        }
    }
}
