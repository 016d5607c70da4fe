//! What a flow is told apart by: addresses, protocol, ports; from a frame's private head alone.

/// A frame's fields. Zero where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packet {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    /// Behind the tags that the switch read.
    pub ethertype: u16,
    /// 4, 6, or 0: no IP, or none that can be read.
    pub version: u8,
    pub class: u8,
    pub protocol: u8,
    /// IPv4 addresses in the first four bytes.
    pub source: [u8; 16],
    pub target: [u8; 16],
    /// Of TCP, UDP, SCTP and the like.
    pub ports: [u16; 2],
    /// Of ICMP, type and code.
    pub icmp: u16,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;
/// TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [TCP, 17, 33, 132, 136];

fn half(head: &[u8], at: usize) -> Option<u16> {
    let bytes = head.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

fn mac(head: &[u8], at: usize) -> [u8; 6] {
    head.get(at..).and_then(<[u8]>::first_chunk::<6>).copied().unwrap_or_default()
}

/// The fields of a frame with `tags` tags, flags of TCP, and where its payload begins.
pub fn read(head: &[u8], tags: u8) -> (Packet, u16, usize) {
    let at = 12 + 4 * usize::from(tags);
    let mut packet = Packet {
        dst_mac: mac(head, 0),
        src_mac: mac(head, 6),
        ethertype: half(head, at).unwrap_or(0),
        ..Packet::default()
    };
    let start = at + 2;
    let ip = head.get(start..).unwrap_or_default();
    let flags = match packet.ethertype {
        0x0800 => ip4(&mut packet, ip),
        0x86dd => ip6(&mut packet, ip),
        _ => None,
    };
    (packet, flags.unwrap_or(0), start)
}

fn ip4(packet: &mut Packet, ip: &[u8]) -> Option<u16> {
    let header = ip.first_chunk::<20>()?;
    let long = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || long < 20 {
        return None;
    }
    packet.version = 4;
    packet.class = header[1];
    packet.protocol = header[9];
    packet.source[..4].copy_from_slice(&header[12..16]);
    packet.target[..4].copy_from_slice(&header[16..20]);
    // A further fragment has no ports.
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    if first { above(packet, ip.get(long..)?) } else { None }
}

fn ip6(packet: &mut Packet, ip: &[u8]) -> Option<u16> {
    let header = ip.first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    packet.version = 6;
    packet.class = header[0] << 4 | header[1] >> 4;
    packet.protocol = header[6];
    packet.source.copy_from_slice(&header[8..24]);
    packet.target.copy_from_slice(&header[24..40]);
    let mut rest = &ip[40..];
    // Hop-by-hop, routing, fragment, destination: a few of them, as far as the head goes.
    for _ in 0..8 {
        let (skip, first) = match packet.protocol {
            0 | 43 | 60 => (usize::from(*rest.get(1)?) * 8 + 8, true),
            44 => (8, half(rest, 2)? & 0xfff8 == 0),
            _ => return above(packet, rest),
        };
        packet.protocol = *rest.first()?;
        if !first {
            return None;
        }
        rest = rest.get(skip..)?;
    }
    None
}

/// Ports, or type and code; flags of TCP.
fn above(packet: &mut Packet, upper: &[u8]) -> Option<u16> {
    if packet.protocol == ICMP || packet.protocol == ICMP6 {
        packet.icmp = half(upper, 0)?;
    } else if WITH_PORTS.contains(&packet.protocol) {
        packet.ports = [half(upper, 0)?, half(upper, 2)?];
        if packet.protocol == TCP {
            return Some(half(upper, 12)? & 0x01ff);
        }
    }
    None
}
