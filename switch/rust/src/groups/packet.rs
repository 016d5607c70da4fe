//! What connection tracking sees of a frame: its ends, and what it says to the connection between them.
//!
//! A connection is named by its two ends in ascending order (`Key`), so that both of its directions
//! have the same name; `from` says which end sent this packet.

use super::needs::Need;
use super::rules::Ask;
use crate::headers::{self, Bad, ICMP, ICMP6, IGMP, Ip, Part, TCP, UDP, be16, be32, be128};
use crate::{View, VlanId};

const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

/// Both ends, protocol and VLAN: two addresses, ascending with their ports, and a word with the ports,
/// VLAN, family and protocol. Never all zero.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub(super) struct Key(pub(super) [u64; 5]);

impl PartialEq for Key {
    /// Word by word and at once: comparing arrays would be a call of `memcmp`.
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        let (Key([a, b, c, d, e]), Key([f, g, h, i, j])) = (self, other);
        (a ^ f) | (b ^ g) | (c ^ h) | (d ^ i) | (e ^ j) == 0
    }
}

impl Key {
    /// Of no connection.
    pub(super) const NONE: Key = Key([0; 5]);
}

/// One end: address and port.
type End = (u128, u16);

/// The key of a connection between two ends, and which of them (0 or 1) is the first given.
#[inline]
fn key(v6: bool, proto: u8, vlan: VlanId, source: End, target: End) -> (Key, usize) {
    let swapped = source > target;
    let (low, high) = if swapped { (target, source) } else { (source, target) };
    let word = u64::from(low.1) << 48 | u64::from(high.1) << 32 | u64::from(vlan) << 16;
    let family = if v6 { 6 << 8 } else { 4 << 8 };
    let key = Key([
        (low.0 >> 64) as u64,
        low.0 as u64,
        (high.0 >> 64) as u64,
        high.0 as u64,
        word | family | u64::from(proto),
    ]);
    (key, usize::from(swapped))
}

/// What a key says, for tables and logs: (IPv6, protocol, VLAN, ends).
pub(super) fn ends(key: &Key) -> (bool, u8, VlanId, [End; 2]) {
    let Key([a, b, c, d, word]) = *key;
    let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
    let ends = [(wide(a, b), (word >> 48) as u16), (wide(c, d), (word >> 32) as u16)];
    (word >> 8 & 0xff == 6, word as u8, (word >> 16) as u16, ends)
}

/// A TCP segment (RFC 9293).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// Bytes of data.
    pub(super) len: u32,
    /// Of a SYN: the window's scale that it offers (RFC 7323); `None`: it offers none.
    pub(super) scale: Option<u8>,
    /// A fragment: how far the data goes, this frame does not say.
    pub(super) cut: bool,
}

/// What a packet is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp(Segment),
    /// Any packet begins, and keeps up, a connection.
    Plain,
    /// An ICMP query, or a reply to one: only a query begins anything.
    Query,
    Reply,
    /// A further fragment: nothing is known but the addresses.
    Later,
    /// An ICMP error about a packet that `from` sent of the connection `key`; and its TCP sequence number.
    Error {
        key: Key,
        from: usize,
        seq: Option<u32>,
    },
    /// ICMP that belongs to no connection, IGMP: each packet by itself.
    Alone,
}

/// A packet of IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) key: Key,
    /// Which of the key's ends sent it.
    pub(super) from: usize,
    pub(super) kind: Kind,
    pub(super) v6: bool,
    pub(super) proto: u8,
    /// Destination port; of ICMP, type and code.
    pub(super) number: u16,
    pub(super) source: u128,
    pub(super) target: u128,
    pub(super) vlan: VlanId,
    /// A fragment of this datagram.
    pub(super) fragment: Option<u32>,
    pub(super) need: Need,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Ip(Packet),
    /// ARP and RARP, which the guard judges.
    Arp,
    /// No protocol that rules speak of.
    Other,
    /// IP that can't be judged.
    Bad,
}

impl Packet {
    /// What egress or ingress rules are asked about it.
    pub(super) fn ask(&self, remote: u128) -> Ask {
        Ask { v6: self.v6, proto: self.proto, number: self.number, remote, vlan: self.vlan }
    }

    /// Both ends are one and the same: no connection, but an attack ("LAND").
    pub(super) fn is_to_itself(&self) -> bool {
        self.source == self.target && self.key.0[4] >> 48 == self.key.0[4] >> 32 & 0xffff
    }
}

/// Read a frame whose EtherType stands at `at`.
#[inline]
pub(super) fn read(view: &View<'_>, at: usize, vlan: VlanId) -> Read {
    if let Some(packet) = read_plain(view, at, vlan) {
        return Read::Ip(packet);
    }
    read_any(view, at, vlan)
}

/// What most packets are: IPv4 without options, no fragment, with UDP that is not DHCP, or TCP without
/// SYN. The same as `read_any` says, sooner.
#[inline]
fn read_plain(view: &View<'_>, at: usize, vlan: VlanId) -> Option<Packet> {
    let b = view.head.get(at..)?.first_chunk::<38>()?;
    // Type, version and header length; flags and offset.
    if b[0] != 8 || b[1] != 0 || b[2] != 0x45 || b[8] & 0x3f | b[9] != 0 {
        return None;
    }
    let source = u32::from_be_bytes([b[14], b[15], b[16], b[17]]);
    let target = u32::from_be_bytes([b[18], b[19], b[20], b[21]]);
    let (from, to) = (u16::from_be_bytes([b[22], b[23]]), u16::from_be_bytes([b[24], b[25]]));
    let proto = b[11];
    let total = usize::from(u16::from_be_bytes([b[4], b[5]]));
    let kind = match proto {
        UDP if to != 67 && to != 68 && total >= 28 => Kind::Plain,
        TCP if b[35] & 2 == 0 && b[34] >> 4 >= 5 && total >= 40 => {
            let have = view.len as usize - at - 2;
            let len = if view.gso { have } else { total.min(have) };
            let header = 20 + usize::from(b[34] >> 4) * 4;
            Kind::Tcp(Segment {
                seq: u32::from_be_bytes([b[26], b[27], b[28], b[29]]),
                ack: u32::from_be_bytes([b[30], b[31], b[32], b[33]]),
                flags: b[35],
                window: u16::from_be_bytes([b[36], b[37]]),
                len: len.checked_sub(header)? as u32,
                scale: None,
                cut: false,
            })
        }
        _ => return None,
    };
    // Ends as numbers, and swapped without a branch that a guest's ports decide.
    let (one, other) = (u64::from(source) << 16 | u64::from(from), u64::from(target) << 16 | u64::from(to));
    let (low, high) = (one.min(other), one.max(other));
    let word = (low & 0xffff) << 48 | (high & 0xffff) << 32 | u64::from(vlan) << 16;
    Some(Packet {
        key: Key([0, low >> 16, 0, high >> 16, word | 4 << 8 | u64::from(proto)]),
        from: usize::from(one > other),
        kind,
        v6: false,
        proto,
        number: to,
        source: u128::from(source),
        target: u128::from(target),
        vlan,
        fragment: None,
        need: Need::Nothing,
    })
}

#[cold]
#[inline(never)]
fn read_any(view: &View<'_>, at: usize, vlan: VlanId) -> Read {
    let Some(kind) = be16(view.head, at) else { return Read::Bad };
    let bytes = view.head.get(at + 2..).unwrap_or_default();
    // A super-frame's length word can't be trusted to say what there is.
    let there = (view.len as usize).saturating_sub(at + 2);
    let seen = |len: usize, upper: usize| {
        let behind = there.saturating_sub(bytes.len().saturating_sub(upper));
        if view.gso { behind } else { len.min(behind) }
    };
    let packet = match kind {
        0x0800 => headers::ipv4(bytes).and_then(|ip| {
            let hops = bytes.get(8).copied().unwrap_or_default();
            let len = seen(ip.len, ip.upper.len());
            let wide = Ip {
                src: ip.src.into(),
                dst: ip.dst.into(),
                id: ip.id,
                part: ip.part,
                proto: ip.proto,
                upper: ip.upper,
                len,
            };
            upper(&wide, false, hops, vlan)
        }),
        0x86dd => headers::ipv6(bytes).and_then(|ip| {
            let hops = bytes.get(7).copied().unwrap_or_default();
            let len = seen(ip.len, ip.upper.len());
            upper(&Ip { len, ..ip }, true, hops, vlan)
        }),
        0x0806 | 0x8035 => return Read::Arp,
        _ => return Read::Other,
    };
    packet.map_or(Read::Bad, Read::Ip)
}

/// What is above IP.
fn upper(ip: &Ip<'_, u128>, v6: bool, hops: u8, vlan: VlanId) -> Result<Packet, Bad> {
    let (mut ports, mut number) = ((0, 0), 0);
    let kind = match ip.proto {
        _ if ip.part == Part::Later => Kind::Later,
        TCP => {
            ports = two_ports(ip)?;
            number = ports.1;
            Kind::Tcp(segment(ip)?)
        }
        UDP | UDPLITE | SCTP | DCCP => {
            ports = two_ports(ip)?;
            number = ports.1;
            Kind::Plain
        }
        ICMP if !v6 => icmp(ip, v6, vlan, &mut ports, &mut number)?,
        ICMP6 if v6 => icmp(ip, v6, vlan, &mut ports, &mut number)?,
        IGMP if !v6 => ip.upper.first().map(|_| Kind::Alone).ok_or(Bad::Headers)?,
        _ => Kind::Plain,
    };
    let (key, from) = key(v6, ip.proto, vlan, (ip.src, ports.0), (ip.dst, ports.1));
    let fragment = (ip.part != Part::Whole).then_some(ip.id);
    Ok(Packet {
        key,
        from,
        kind,
        v6,
        proto: ip.proto,
        number,
        source: ip.src,
        target: ip.dst,
        vlan,
        fragment,
        need: Need::of(ip, v6, hops, ports, number),
    })
}

fn two_ports<A>(ip: &Ip<'_, A>) -> Result<(u16, u16), Bad> {
    let both = be32(ip.upper, 0).filter(|_| ip.len >= 8).ok_or(Bad::Headers)?;
    Ok(((both >> 16) as u16, both as u16))
}

fn segment<A>(ip: &Ip<'_, A>) -> Result<Segment, Bad> {
    let fixed: &[u8; 20] = ip.upper.first_chunk().ok_or(Bad::Headers)?;
    let header = usize::from(fixed[12] >> 4) * 4;
    if header < 20 || ip.len < header {
        return Err(Bad::Headers);
    }
    let flags = fixed[13];
    let mut scale = None;
    if flags & super::tcp::SYN != 0 {
        // Options that are out of sight may offer anything: then the widest.
        scale = ip.upper.get(20..header).map_or(Some(14), window_scale);
    }
    Ok(Segment {
        seq: be32(fixed, 4).ok_or(Bad::Headers)?,
        ack: be32(fixed, 8).ok_or(Bad::Headers)?,
        flags,
        window: be16(fixed, 14).ok_or(Bad::Headers)?,
        len: (ip.len - header) as u32,
        scale,
        cut: ip.part == Part::First,
    })
}

/// The window scale among TCP options.
fn window_scale(mut options: &[u8]) -> Option<u8> {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return None,
            1 => options = rest,
            3 => return rest.get(1).map(|&shift| shift.min(14)),
            _ => {
                let len = usize::from(*rest.first()?);
                options = options.get(len..).filter(|_| len >= 2)?;
            }
        }
    }
    None
}

/// ICMP (RFC 792) and ICMPv6 (RFC 4443).
fn icmp(
    ip: &Ip<'_, u128>,
    v6: bool,
    vlan: VlanId,
    ports: &mut (u16, u16),
    number: &mut u16,
) -> Result<Kind, Bad> {
    let word = be32(ip.upper, 0).filter(|_| ip.len >= 8).ok_or(Bad::Headers)?;
    let kind = (word >> 24) as u8;
    *number = (word >> 16) as u16;
    // Of queries the type of the question names the connection, with the identifier, and who asked.
    let query = match (v6, kind) {
        (false, 8 | 13 | 15 | 17) | (true, 128 | 139) => Some((kind, Kind::Query)),
        (false, 0) => Some((8, Kind::Reply)),
        (false, 14 | 16 | 18) => Some((kind - 1, Kind::Reply)),
        (true, 129 | 140) => Some((kind - 1, Kind::Reply)),
        _ => None,
    };
    if let Some((question, kind)) = query {
        let id = be16(ip.upper, 4).ok_or(Bad::Headers)?;
        let asked = u16::from(question) << 8 | 1;
        *ports = if kind == Kind::Query { (asked, id) } else { (id, asked) };
        return Ok(kind);
    }
    let error = if v6 { matches!(kind, 1..=4) } else { matches!(kind, 3 | 4 | 11 | 12) };
    if !error || ip.part != Part::Whole {
        return Ok(Kind::Alone);
    }
    Ok(inner(ip, v6, vlan).unwrap_or(Kind::Alone))
}

/// The packet that an ICMP error is about: it must have come from where the error goes.
fn inner(ip: &Ip<'_, u128>, v6: bool, vlan: VlanId) -> Option<Kind> {
    let bytes = ip.upper.get(8..)?;
    let (proto, source, target, upper) = if v6 {
        // Behind extension headers nobody looks, but for what makes a fragment the first: what is too big may be one.
        let first = *bytes.get(6)? == 44 && be16(bytes, 42)? & 0xfff8 == 0;
        let (proto, upper) = if first { (40, 48) } else { (6, 40) };
        (*bytes.get(proto)?, be128(bytes, 8)?, be128(bytes, 24)?, bytes.get(upper..)?)
    } else {
        let header = usize::from(*bytes.first()? & 15) * 4;
        let whole = be16(bytes, 6)? & 0x1fff == 0;
        let upper = bytes.get(header.max(20)..).filter(|_| whole)?;
        (*bytes.get(9)?, u128::from(be32(bytes, 12)?), u128::from(be32(bytes, 16)?), upper)
    };
    let version = if v6 { 6 } else { 4 };
    if bytes.first()? >> 4 != version || source != ip.dst {
        return None;
    }
    let both = || be32(upper, 0).map(|both| ((both >> 16) as u16, both as u16));
    let (ports, seq) = match proto {
        TCP => (both()?, Some(be32(upper, 4)?)),
        UDP | UDPLITE | SCTP | DCCP => (both()?, None),
        ICMP | ICMP6 => {
            let (kind, id) = (*upper.first()?, be16(upper, 4)?);
            match (proto, kind) {
                (ICMP, 8 | 13 | 15 | 17) | (ICMP6, 128 | 139) => ((u16::from(kind) << 8 | 1, id), None),
                (ICMP, 0) => ((id, 8 << 8 | 1), None),
                (ICMP6, 129 | 140) => ((id, u16::from(kind - 1) << 8 | 1), None),
                _ => return None,
            }
        }
        _ => ((0, 0), None),
    };
    let (key, from) = key(v6, proto, vlan, (source, ports.0), (target, ports.1));
    Some(Kind::Error { key, from, seq })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Behind addresses: IPv4 from 10.0.0.`a` to 10.0.0.`b` with this upper layer.
    pub(crate) fn v4(a: u8, b: u8, proto: u8, upper: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((20 + upper.len() as u16).to_be_bytes());
        bytes.extend([0, 7, 0, 0, 64, proto, 0, 0, 10, 0, 0, a, 10, 0, 0, b]);
        bytes.extend(upper);
        bytes
    }

    fn whole(bytes: &[u8]) -> View<'_> {
        View::plain(&bytes[..bytes.len().min(128)], bytes.len() as u32)
    }

    fn packet(bytes: &[u8]) -> Packet {
        match read(&whole(bytes), 12, 1) {
            Read::Ip(packet) => packet,
            other => panic!("{other:?} {bytes:x?}"),
        }
    }

    #[test]
    fn both_directions_have_one_key() {
        let udp = |from: u16, to: u16| [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 8, 0, 0]].concat();
        let there = packet(&v4(1, 2, UDP, &udp(1000, 53)));
        let back = packet(&v4(2, 1, UDP, &udp(53, 1000)));
        assert_eq!(there.key, back.key);
        assert_eq!((there.from, back.from), (0, 1));
        assert_eq!(ends(&there.key), (false, UDP, 1, [(0x0a00_0001, 1000), (0x0a00_0002, 53)]));
        assert_ne!(there.key, packet(&v4(1, 2, UDP, &udp(53, 1000))).key);
    }

    #[test]
    fn an_echo_reply_goes_with_the_request_the_other_way_round() {
        let request = packet(&v4(1, 2, ICMP, &[8, 0, 0, 0, 0, 9, 0, 1]));
        let reply = packet(&v4(2, 1, ICMP, &[0, 0, 0, 0, 0, 9, 0, 1]));
        let other = packet(&v4(2, 1, ICMP, &[8, 0, 0, 0, 0, 9, 0, 1]));
        assert_eq!((request.kind, reply.kind), (Kind::Query, Kind::Reply));
        assert_eq!(request.key, reply.key);
        assert_ne!(request.from, reply.from);
        assert_ne!(request.key, other.key, "both may ping at once");
    }

    #[test]
    fn errors_are_about_packets_of_whom_they_go_to() {
        let sent = v4(1, 2, UDP, &[3, 232, 0, 53, 0, 8, 0, 0]);
        let error = |to: u8| {
            let body = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &sent[14..]].concat();
            packet(&v4(9, to, ICMP, &body)).kind
        };
        let was = packet(&sent);
        assert_eq!(error(1), Kind::Error { key: was.key, from: was.from, seq: None });
        assert_eq!(error(3), Kind::Alone);
    }

    #[test]
    fn window_scales() {
        assert_eq!(window_scale(&[2, 4, 5, 180, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[3, 3, 200]), Some(14));
        for options in [&[][..], &[1, 1], &[0, 3, 3, 7], &[2, 4, 5, 180], &[8, 1, 3], &[2], &[3], &[3, 3]] {
            assert_eq!(window_scale(options), None, "{options:?}");
        }
        assert_eq!(window_scale(&[2, 0, 3, 3, 1]), None, "no option has a length of 0");
    }

    proptest! {
        /// The short way says what the long way says.
        #[test]
        fn plain_packets_are_read_alike(
            a in 0..4_u8, b in 0..4_u8, proto in prop_oneof![Just(TCP), Just(UDP), Just(ICMP)],
            upper in prop::collection::vec(prop_oneof![0..4_u8, Just(67), Just(80), any::<u8>()], 0..70),
            edits in prop::collection::vec((12_usize..40, any::<u8>()), 0..2), gso in prop::bool::ANY,
        ) {
            let mut bytes = v4(a, b, proto, &upper);
            for (at, value) in edits {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            let view = View { gso, ..whole(&bytes) };
            if let Some(packet) = read_plain(&view, 12, 5) {
                prop_assert_eq!(Read::Ip(packet), read_any(&view, 12, 5));
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..160), v6 in prop::bool::ANY, next: u8) {
            let mut bytes = bytes;
            if let Some(head) = bytes.get_mut(12..21) {
                head[..3].copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[8, 0, 0x45] });
                if v6 { head[8] = next; }
            }
            for at in [12, 16, 20] {
                read(&whole(&bytes), at, 1);
            }
        }
    }
}
