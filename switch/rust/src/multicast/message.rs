//! What hosts and routers say about multicast groups: IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810),
//! read from frames. A guest wrote them: every step asks for its bytes.

use crate::Nanos;
use crate::headers::{self, ICMP6, IGMP, Ip, PIM, Part, be16, be32, be128, sum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MILLI: Nanos = 1_000_000;

/// The two protocols that groups are asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub(super) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What a frame to a group address is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No IP, or to a group that everybody is in (RFC 4541, 2.1.2): it goes to all.
    All,
    /// A host says which groups it wants.
    Report(Family),
    /// A router asks, or tells other routers that it is there. It goes to all.
    Router,
    /// To this group, from this source.
    Group(IpAddr, IpAddr),
}

/// Whether everybody hears a group's frames without asking: 224.0.0.0/24 (RFC 4541, 2.1.2), and what stays
/// on the link in IPv6, for neighbours are looked up there (RFC 4861).
pub(super) fn is_open(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0] || !ip.is_multicast(),
        IpAddr::V6(ip) => ip.octets()[1] & 15 <= 2 || !ip.is_multicast(),
    }
}

/// See [`Look`]. `tags`: how many VLAN tags the frame has.
pub(crate) fn look(head: &[u8], tags: u8) -> Look {
    let at = 12 + 4 * usize::from(tags);
    let Some(packet) = head.get(at + 2..) else { return Look::All };
    match be16(head, at) {
        Some(0x0800) => {
            let Some(dst) = be32(packet, 16) else { return Look::All };
            match packet.get(9) {
                Some(&IGMP) => match headers::ipv4(packet).ok().and_then(|ip| ip.upper.first()) {
                    Some(0x12 | 0x16 | 0x17 | 0x22) => Look::Report(Family::V4),
                    _ => Look::Router,
                },
                Some(&PIM) => Look::Router,
                _ => {
                    let src = be32(packet, 12).unwrap_or_default();
                    let (group, source) = (Ipv4Addr::from_bits(dst), Ipv4Addr::from_bits(src));
                    open_or_group(IpAddr::V4(group), IpAddr::V4(source))
                }
            }
        }
        Some(0x86dd) => {
            let Some(dst) = be128(packet, 24) else { return Look::All };
            if let Some(0 | 58 | 103) = packet.get(6)
                && let Ok(ip) = headers::ipv6(packet)
            {
                match (ip.proto, ip.upper.first()) {
                    (ICMP6, Some(131 | 132 | 143)) => return Look::Report(Family::V6),
                    (ICMP6, Some(130)) | (PIM, _) => return Look::Router,
                    _ => {}
                }
            }
            let src = be128(packet, 8).unwrap_or_default();
            open_or_group(IpAddr::V6(Ipv6Addr::from_bits(dst)), IpAddr::V6(Ipv6Addr::from_bits(src)))
        }
        _ => Look::All,
    }
}

fn open_or_group(group: IpAddr, source: IpAddr) -> Look {
    if is_open(group) { Look::All } else { Look::Group(group, source) }
}

/// What a record says of a group (RFC 3376, 4.2.12; RFC 3810, 5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    IsInclude,
    IsExclude,
    ToInclude,
    ToExclude,
    Allow,
    Block,
}

/// One group in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub kind: Kind,
    pub group: IpAddr,
    pub sources: Vec<IpAddr>,
}

impl Record {
    /// Whether who says it wants the group, if he did not before.
    pub fn wants(&self) -> bool {
        match self.kind {
            Kind::IsExclude | Kind::ToExclude => true,
            Kind::ToInclude | Kind::IsInclude | Kind::Allow => !self.sources.is_empty(),
            Kind::Block => false,
        }
    }

    /// Whether it says for all hosts that routers would send them everything.
    pub fn wants_all(&self) -> bool {
        matches!(self.kind, Kind::IsExclude | Kind::ToExclude) && self.sources.is_empty()
    }
}

/// Which version a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// IGMPv1, whose hosts never say that they leave.
    First,
    /// IGMPv2 and MLDv1: hosts that hear each other's reports keep theirs back.
    Old,
    /// IGMPv3 and MLDv2.
    Sources,
}

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub source: IpAddr,
    /// The group that it asks for; `None`: for all.
    pub group: Option<IpAddr>,
    /// How long hosts may take to answer.
    pub response: Nanos,
    /// How often the querier asks, if it says so.
    pub interval: Option<Nanos>,
    /// Other routers are not to lower their timers by it.
    pub suppress: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Report(Version, Vec<Record>),
    Query(Query),
    /// A multicast router says hello (PIM).
    Router(Family),
}

/// A whole frame's message, if its checksum and addresses are right.
pub(super) fn parse(frame: &[u8], tags: u8) -> Option<Message> {
    let at = 12 + 4 * usize::from(tags);
    let packet = frame.get(at + 2..)?;
    match be16(frame, at)? {
        0x0800 => {
            let ip = headers::ipv4(packet).ok().filter(|ip| ip.part == Part::Whole)?;
            let header = packet.get(..usize::from(packet.first()? & 15) * 4)?;
            let body = ip.upper.get(..ip.len)?;
            let (src, dst) = (Ipv4Addr::from_bits(ip.src), Ipv4Addr::from_bits(ip.dst));
            if sum(header, 0) != 0xffff || !dst.is_multicast() {
                return None;
            }
            match ip.proto {
                PIM if dst == Ipv4Addr::new(224, 0, 0, 13) => Some(Message::Router(Family::V4)),
                IGMP if sum(body, 0) == 0xffff => igmp(body, src),
                _ => None,
            }
        }
        0x86dd => {
            let hop_limit = *packet.get(7)?;
            let ip = headers::ipv6(packet).ok().filter(|ip| ip.part == Part::Whole)?;
            let body = ip.upper.get(..ip.len)?;
            let src = Ipv6Addr::from_bits(ip.src);
            let near = src.is_unicast_link_local() || src.is_unspecified();
            match ip.proto {
                PIM if near => Some(Message::Router(Family::V6)),
                ICMP6 if near && hop_limit == 1 && sum(body, pseudo(&ip)) == 0xffff => mld(body, src),
                _ => None,
            }
        }
        _ => None,
    }
}

fn pseudo(ip: &Ip<'_, u128>) -> u32 {
    let mut total = sum(&ip.src.to_be_bytes(), 0);
    total = sum(&ip.dst.to_be_bytes(), u32::from(total));
    u32::from(total) + u32::from(sum(&(ip.len as u32).to_be_bytes(), 0)) + u32::from(ICMP6)
}

fn igmp(body: &[u8], src: Ipv4Addr) -> Option<Message> {
    let group = IpAddr::V4(Ipv4Addr::from_bits(be32(body, 4)?));
    let one = |kind| vec![Record { kind, group, sources: vec![] }];
    match *body.first()? {
        0x11 => {
            let new = body.len() >= 12;
            let code = u64::from(*body.get(1)?);
            let tenths = match code {
                0 => 100, // IGMPv1 (RFC 2236, 4)
                code if new => float(code, 4),
                code => code,
            };
            Some(Message::Query(Query {
                source: IpAddr::V4(src),
                group: Some(group).filter(|group| !group.is_unspecified()),
                response: tenths * 100 * MILLI,
                interval: if new { qqic(*body.get(9)?) } else { None },
                suppress: new && body.get(8)? & 8 != 0,
            }))
        }
        0x12 => Some(Message::Report(Version::First, one(Kind::IsExclude))),
        0x16 => Some(Message::Report(Version::Old, one(Kind::IsExclude))),
        0x17 => Some(Message::Report(Version::Old, one(Kind::ToInclude))),
        0x22 => {
            let address = |bytes: &[u8], at| Some(IpAddr::V4(Ipv4Addr::from_bits(be32(bytes, at)?)));
            Some(Message::Report(Version::Sources, records(body, 4, &address)?))
        }
        _ => None,
    }
}

fn mld(body: &[u8], src: Ipv6Addr) -> Option<Message> {
    let address = |bytes: &[u8], at| Some(IpAddr::V6(Ipv6Addr::from_bits(be128(bytes, at)?)));
    match *body.first()? {
        143 => Some(Message::Report(Version::Sources, records(body, 16, &address)?)),
        130 if src.is_unspecified() => None,
        kind @ (130..=132) => {
            let group = address(body, 8)?;
            let one = |kind| vec![Record { kind, group, sources: vec![] }];
            let new = body.len() >= 28;
            let code = u64::from(be16(body, 4)?);
            Some(match kind {
                131 => Message::Report(Version::Old, one(Kind::IsExclude)),
                132 => Message::Report(Version::Old, one(Kind::ToInclude)),
                _ => Message::Query(Query {
                    source: IpAddr::V6(src),
                    group: Some(group).filter(|group| !group.is_unspecified()),
                    response: if new { float(code, 12) } else { code } * MILLI,
                    interval: if new { qqic(*body.get(25)?) } else { None },
                    suppress: new && body.get(24)? & 8 != 0,
                }),
            })
        }
        _ => None,
    }
}

/// Group records (RFC 3376, 4.2; RFC 3810, 5.2); `None` when one is cut off.
fn records(
    body: &[u8],
    width: usize,
    address: &dyn Fn(&[u8], usize) -> Option<IpAddr>,
) -> Option<Vec<Record>> {
    let mut rest = body.get(8..)?;
    let mut found = Vec::new();
    for _ in 0..be16(body, 6)? {
        let (kind, extra, count) =
            (*rest.first()?, usize::from(*rest.get(1)?) * 4, usize::from(be16(rest, 2)?));
        let group = address(rest, 4)?;
        let end = 4 + width + count * width;
        let list = rest.get(4 + width..end)?;
        let kind = match kind {
            1 => Some(Kind::IsInclude),
            2 => Some(Kind::IsExclude),
            3 => Some(Kind::ToInclude),
            4 => Some(Kind::ToExclude),
            5 => Some(Kind::Allow),
            6 => Some(Kind::Block),
            _ => None, // to be ignored (RFC 3376, 4.2.12)
        };
        if let Some(kind) = kind {
            let sources = list.chunks_exact(width).filter_map(|bytes| address(bytes, 0)).collect();
            found.push(Record { kind, group, sources });
        }
        rest = rest.get(end + extra..)?;
    }
    Some(found)
}

/// A code that is a number with an exponent when it is large (RFC 3376, 4.1.1; RFC 3810, 5.1.3): `bits` of
/// mantissa, three of exponent above them.
fn float(code: u64, bits: u32) -> u64 {
    if code < 1 << (bits + 3) {
        return code;
    }
    let mantissa = code & ((1 << bits) - 1) | 1 << bits;
    mantissa << ((code >> bits & 7) + 3)
}

/// The querier's interval; `None`: it does not say.
fn qqic(code: u8) -> Option<Nanos> {
    (code != 0).then(|| float(code.into(), 4) * 1_000 * MILLI)
}

/// The code for so many units, in eight bits; the next lower one, where there is none.
pub(super) fn code(units: u64) -> u8 {
    if units < 128 {
        return units as u8;
    }
    let units = units.min(31 << 10);
    let exponent = units.ilog2() - 4 - 3;
    (0x80 | exponent << 4 | (units >> (exponent + 3)) as u32 & 15) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn codes_with_exponents() {
        for units in 0..128 {
            assert_eq!(float(code(units).into(), 4), units);
        }
        // RFC 3376, 4.1.1: 0x8a is (10 | 16) << 3.
        assert_eq!((float(0x8a, 4), code(208), code(215), code(216)), (208, 0x8a, 0x8a, 0x8b));
        assert_eq!((float(0xff, 4), code(u64::MAX)), (31 << 10, 0xff));
        assert_eq!(float(0x8000, 12), 0x8000);
        assert_eq!(float(0x9001, 12), 0x1001 << 4);
    }

    #[test]
    fn groups_that_everybody_is_in() {
        let open = |text: &str| is_open(text.parse().unwrap());
        assert!(open("224.0.0.251") && open("ff02::1:ff00:1") && open("ff01::1") && open("ff12::5"));
        assert!(!open("224.0.1.1") && !open("239.255.255.250") && !open("ff05::2") && !open("ff3e::1"));
        assert!(open("10.0.0.1") && open("fe80::1"), "no group at all");
    }

    #[test]
    fn every_cut_is_survived() {
        let v3 = [
            &[0x22, 0, 0, 0, 0, 0, 0, 2, 4, 0, 0, 1, 239, 1, 1, 1, 10, 0, 0, 1][..],
            &[9, 1, 0, 0, 239, 2, 2, 2, 1, 2, 3, 4],
        ]
        .concat();
        let address = |bytes: &[u8], at| Some(IpAddr::V4(Ipv4Addr::from_bits(be32(bytes, at)?)));
        for cut in 0..v3.len() {
            assert_eq!(records(&v3[..cut], 4, &address), None, "{cut}");
        }
        let found = records(&v3, 4, &address).unwrap();
        assert_eq!(found.len(), 1, "a record of a kind that is not known is passed by");
        assert_eq!((found[0].kind, found[0].sources.len()), (Kind::ToExclude, 1));
    }
}
