//! Who the guest is: its MAC and IP addresses, and by which way a packet leaves.

use super::packet::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub address: IpAddr,
    pub prefix: u8,
}

/// `address` as a number, left-aligned, so that both versions compare alike.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Net {
    fn contains(&self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4() && self.common(other) >= u32::from(self.prefix)
    }

    /// Length of the common prefix of two addresses of one version.
    fn common(&self, other: IpAddr) -> u32 {
        (bits(self.address) ^ bits(other)).leading_zeros().min(if other.is_ipv4() { 32 } else { 128 })
    }

    /// The network's own broadcast address; point-to-point prefixes have none (RFC 3021).
    fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(v4) if self.prefix < 31 => Some((v4.to_bits() | u32::MAX >> self.prefix).into()),
            _ => None,
        }
    }
}

/// Which of the guest's addresses a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    V4,
    V6,
    One(IpAddr),
}

impl Scope {
    /// What somebody means who binds to `address`: to nothing is to all of both versions, to the
    /// unspecified address of one version to all of that.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address {
            None => Scope::All,
            Some(IpAddr::V4(v4)) if v4.is_unspecified() => Scope::V4,
            Some(IpAddr::V6(v6)) if v6.is_unspecified() => Scope::V6,
            Some(address) => Scope::One(address),
        }
    }

    pub fn has(self, own: IpAddr) -> bool {
        self.speaks(own) && self.one().is_none_or(|one| one == own)
    }

    /// Whether it has addresses of the version of `other`.
    pub fn speaks(self, other: IpAddr) -> bool {
        match self {
            Scope::All => true,
            Scope::V4 => other.is_ipv4(),
            Scope::V6 => other.is_ipv6(),
            Scope::One(one) => one.is_ipv4() == other.is_ipv4(),
        }
    }

    /// The one address, if it is just one.
    pub fn one(self) -> Option<IpAddr> {
        match self {
            Scope::One(one) => Some(one),
            _ => None,
        }
    }

    /// Whether some address is in both.
    pub fn meets(self, other: Scope) -> bool {
        match (self, other) {
            (Scope::One(one), other) | (other, Scope::One(one)) => other.has(one),
            (Scope::V4, Scope::V6) | (Scope::V6, Scope::V4) => false,
            _ => true,
        }
    }

    /// The address as it is told; all of both versions is `::`.
    pub fn name(self) -> IpAddr {
        match self {
            Scope::All | Scope::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            Scope::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Scope::One(one) => one,
        }
    }
}

/// What a destination address means to this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Own,
    Broadcast,
    Multicast,
    Elsewhere,
}

/// By which way a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Not at all: it is for the guest itself.
    Own,
    /// To a group of stations, whose MAC address follows from the destination.
    Group(Mac),
    /// To the station with this address on the link.
    Neighbour(IpAddr),
    /// Nobody knows the way there.
    Nowhere,
}

/// Addresses and routes. Small: a guest has a few of each, and they are looked through in order.
#[derive(Debug)]
pub struct Addressing {
    pub mac: Mac,
    pub mtu: usize,
    nets: Vec<Net>,
    gateways: Vec<IpAddr>,
}

impl Addressing {
    /// The link-local IPv6 address that follows from `mac` (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(mac: Mac) -> Ipv6Addr {
        let [a, b, c, d, e, f] = mac.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }

    pub fn new(mac: Mac, mtu: usize, nets: Vec<Net>, gateways: Vec<IpAddr>) -> Self {
        let mut nets = nets;
        let link_local = IpAddr::V6(Self::link_local(mac));
        if nets.iter().all(|net| net.address != link_local) {
            nets.push(Net { address: link_local, prefix: 64 });
        }
        Addressing { mac, mtu, nets, gateways }
    }

    pub fn nets(&self) -> &[Net] {
        &self.nets
    }

    pub fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.nets.iter().any(|net| net.address == address)
    }

    pub fn class(&self, address: IpAddr) -> Class {
        if address.is_multicast() {
            return Class::Multicast;
        }
        if self.has(address) {
            return Class::Own;
        }
        match address {
            IpAddr::V4(v4) if v4.is_broadcast() || self.nets.iter().any(|n| n.broadcast() == Some(v4)) => {
                Class::Broadcast
            }
            _ => Class::Elsewhere,
        }
    }

    /// Whether `address` may be a station on this link: what is learned about others is not kept.
    pub fn on_link(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(address)) || self.gateways.contains(&address)
    }

    fn gateway(&self, to: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == to.is_ipv4())
    }

    pub fn hop(&self, to: IpAddr) -> Hop {
        match self.class(to) {
            Class::Own => Hop::Own,
            Class::Multicast => Hop::Group(group_mac(to)),
            Class::Broadcast => Hop::Group([0xff; 6]),
            Class::Elsewhere if to.is_unspecified() => Hop::Nowhere,
            Class::Elsewhere if self.on_link(to) => Hop::Neighbour(to),
            Class::Elsewhere => self.gateway(to).map_or(Hop::Nowhere, Hop::Neighbour),
        }
    }

    /// The address to speak from to `to`: of the same scope, then of the same network or that of the
    /// gateway, then with the longest common prefix (the rules of RFC 6724, section 5, that matter
    /// when no address is temporary or deprecated).
    pub fn source(&self, to: IpAddr) -> Option<IpAddr> {
        if self.has(to) {
            return Some(to);
        }
        let towards = match (self.class(to), self.on_link(to)) {
            (Class::Elsewhere, false) => self.gateway(to)?,
            _ => to,
        };
        let local = is_link_local(to);
        let candidates = self.nets.iter().filter(|net| net.address.is_ipv4() == to.is_ipv4());
        candidates
            .enumerate()
            .max_by_key(|(i, net)| {
                let scope = is_link_local(net.address) == local;
                (scope, net.contains(towards), net.common(to), std::cmp::Reverse(*i))
            })
            .map(|(_, net)| net.address)
    }
}

/// Whether an address is meaningful on this link only, and for IPv6 so is its source.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.octets()[0] == 0xff && v6.octets()[1] & 15 == 2,
    }
}

/// The MAC address of an IP multicast group (RFC 1112, 6.4; RFC 2464, 7).
pub fn group_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// The group that a neighbour solicitation for `address` is sent to (RFC 4291, 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guest() -> Addressing {
        let nets = ["10.0.1.7/24", "192.168.5.1/30", "fd00:1::7/64", "2001:db8::7/48"].map(|text| {
            let (address, prefix) = text.split_once('/').unwrap();
            Net { address: ip(address), prefix: prefix.parse().unwrap() }
        });
        Addressing::new([2, 0, 0, 0, 0, 9], 1500, nets.into(), vec![ip("10.0.1.1"), ip("fe80::1")])
    }

    #[test]
    fn the_link_local_address_follows_from_the_mac() {
        assert_eq!(Addressing::link_local([0x52, 0x54, 0, 0x12, 0x34, 0x56]), ip("fe80::5054:ff:fe12:3456"));
        assert!(guest().has(ip("fe80::ff:fe00:9")));
    }

    #[test]
    fn scopes_meet_where_an_address_is_in_both() {
        let scope = |text: &str| Scope::of((text != "all").then(|| ip(text)));
        let meets = |a: &str, b: &str| scope(a).meets(scope(b)) && scope(b).meets(scope(a));
        for (a, b) in
            [("all", "0.0.0.0"), ("all", "::"), ("all", "fd00::1"), ("0.0.0.0", "10.0.1.7"), ("::", "::")]
        {
            assert!(meets(a, b), "{a} {b}");
        }
        for (a, b) in [("0.0.0.0", "::"), ("::", "10.0.1.7"), ("0.0.0.0", "::1"), ("10.0.1.7", "10.0.1.8")] {
            assert!(!meets(a, b) && !scope(b).meets(scope(a)), "{a} {b}");
        }
        assert_eq!((scope("all").name(), scope("0.0.0.0").name()), (ip("::"), ip("0.0.0.0")));
    }

    #[test]
    fn packets_leave_by_the_right_way() {
        let guest = guest();
        for (to, hop) in [
            ("10.0.1.9", Hop::Neighbour(ip("10.0.1.9"))),
            ("8.8.8.8", Hop::Neighbour(ip("10.0.1.1"))),
            ("fd00:1::9", Hop::Neighbour(ip("fd00:1::9"))),
            ("fe80::77", Hop::Neighbour(ip("fe80::77"))),
            ("2620::1", Hop::Neighbour(ip("fe80::1"))),
            ("10.0.1.7", Hop::Own),
            ("127.0.0.1", Hop::Own),
            ("::1", Hop::Own),
            ("10.0.1.255", Hop::Group([0xff; 6])),
            ("192.168.5.3", Hop::Group([0xff; 6])),
            ("255.255.255.255", Hop::Group([0xff; 6])),
            ("239.129.2.3", Hop::Group([1, 0, 0x5e, 1, 2, 3])),
            ("ff02::1:2", Hop::Group([0x33, 0x33, 0, 1, 0, 2])),
            ("0.0.0.0", Hop::Nowhere),
            ("::", Hop::Nowhere),
        ] {
            assert_eq!(guest.hop(ip(to)), hop, "{to}");
        }
        let alone = Addressing::new([2; 6], 1500, vec![Net { address: ip("10.0.1.7"), prefix: 24 }], vec![]);
        assert_eq!(alone.hop(ip("8.8.8.8")), Hop::Nowhere);
    }

    #[test]
    fn a_source_has_the_right_scope() {
        let guest = guest();
        for (to, from) in [
            ("10.0.1.9", "10.0.1.7"),
            ("192.168.5.2", "192.168.5.1"),
            ("8.8.8.8", "10.0.1.7"),
            ("fd00:1::9", "fd00:1::7"),
            ("2001:db8:0:5::1", "2001:db8::7"),
            ("fe80::77", "fe80::ff:fe00:9"),
            ("ff02::1", "fe80::ff:fe00:9"),
            ("ff0e::1:2", "fd00:1::7"),
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.1.7", "10.0.1.7"),
        ] {
            let expected = if to == "ff0e::1:2" { guest.source(ip(to)) } else { Some(ip(from)) };
            assert_eq!(guest.source(ip(to)), expected, "{to}");
        }
        assert!(!is_link_local(guest.source(ip("ff0e::1:2")).unwrap()));
    }
}
