//! Local proxy ARP and neighbour discovery for private VLANs: guests of one subnet that don't reach each
//! other are told the gateway's MAC address for each other's IP addresses, and so may talk through it, if it
//! forwards (RFC 1027 and RFC 4389 in the manner of Linux's `proxy_arp_pvlan`, but in the switch).
//!
//! Pure: a question comes in, and what is answered goes back to who asked ([`Out::Answer`](crate::Out)).
//! A question that is answered goes no further, so nobody gets two answers.
//!
//! What is asked for, at a port that is not promiscuous:
//!
//! | the address | |
//! | --- | --- |
//! | is not in the network's subnets, or its subnet's gateway has no known MAC address | passes |
//! | is of somebody that it reaches, itself included | passes: they answer themselves |
//! | is probed for (RFC 5227, RFC 4862) and nobody's | passes: it is free |
//! | any other in the subnet | is answered: at the gateway |
//!
//! Link-local addresses are in no subnet: they can't be forwarded to. The guard was asked before; a
//! guarded guest probes for its own addresses alone, and who may probe for any finds others' defended.
//!
//! At an uplink it is the other way round: who asks there for an address of a prefix that is routed to a guest
//! is told that guest's MAC address (RFC 4389's intent), so that a network to which the prefix is local needs no
//! route. Questions for an address that a NIC has itself, by the topology or by DHCP at this switch, pass, it answers; so do probes and announcements:
//! that an address is free is not for us to say, nor that it is not.
//!
//! The gateway's MAC address is the topology's, or where its router is behind an uplink the one that it was
//! last heard with there.

use crate::headers::{self, ICMP6, Part, be16, be32, be128, mac, sum};
use crate::private::Place;
use crate::{Handover, PortConfig, VlanId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An IP address as a number, apart by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ip {
    v6: bool,
    number: u128,
}

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Ip {
        match ip {
            IpAddr::V4(ip) => Ip { v6: false, number: u128::from(u32::from(ip)) },
            IpAddr::V6(ip) => Ip { v6: true, number: u128::from(ip) },
        }
    }
}

/// A subnet, and where others in it are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet {
    net: Ip,
    mask: u128,
    gateway: Ip,
    /// The gateway's, as the topology has it; 0: what is heard.
    mac: u64,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    ip: Ip,
    place: u16,
    station: u64,
}

/// A prefix that is routed to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    net: Ip,
    mask: u128,
    station: u64,
}

/// The prefix of `length` bits that `ip` lies in, and its mask; `None`: there is no such prefix.
fn prefix(ip: IpAddr, length: u8) -> Option<(Ip, u128)> {
    let ip = Ip::from(ip);
    let width: u32 = if ip.v6 { 128 } else { 32 };
    let mask = u128::MAX.checked_shl(width.checked_sub(length.into())?).unwrap_or(0);
    Some((Ip { number: ip.number & mask, ..ip }, mask))
}

/// One network in which somebody is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyNetwork {
    vlan: VlanId,
    subnets: Vec<Subnet>,
    /// Ascending.
    known: Vec<Known>,
    /// Longest first.
    routes: Vec<Route>,
}

impl ProxyNetwork {
    #[must_use]
    pub fn new(vlan: VlanId) -> Self {
        ProxyNetwork { vlan, ..ProxyNetwork::default() }
    }

    #[must_use]
    pub fn vlan(&self) -> VlanId {
        self.vlan
    }

    /// A subnet with its gateway, and that one's MAC address (a 48-bit number), if it is known. `false`:
    /// there is no such prefix.
    pub fn add_subnet(&mut self, net: IpAddr, prefix: u8, gateway: IpAddr, mac: Option<u64>) -> bool {
        let gateway = Ip::from(gateway);
        let Some((net, mask)) = self::prefix(net, prefix) else { return false };
        if net.v6 != gateway.v6 {
            return false;
        }
        self.subnets.push(Subnet { net, mask, gateway, mac: mac.unwrap_or(0) });
        true
    }

    /// `ip` is that of a NIC with the MAC address `station`, which stands at `place` in the network.
    pub fn add_station(&mut self, ip: IpAddr, place: Place, station: u64) {
        let known = Known { ip: ip.into(), place: place.into(), station };
        if let Err(at) = self.known.binary_search(&known) {
            self.known.insert(at, known);
        }
    }

    /// What is in this prefix is behind the NIC with the MAC address `station`. `false`: there is no such
    /// prefix.
    pub fn add_route(&mut self, net: IpAddr, length: u8, station: u64) -> bool {
        let Some((net, mask)) = prefix(net, length) else { return false };
        let at = self.routes.partition_point(|route| route.mask >= mask);
        self.routes.insert(at, Route { net, mask, station });
        true
    }

    /// Behind which guest the address is that is asked for, if that is ours to say.
    fn routed(&self, question: Question) -> Option<u64> {
        let ip = question.ip;
        if question.from? == ip || self.owners(ip).next().is_some() {
            return None;
        }
        let to = |route: &&Route| route.net.v6 == ip.v6 && ip.number & route.mask == route.net.number;
        self.routes.iter().find(to).map(|route| route.station)
    }

    fn subnet(&self, ip: Ip) -> Option<&Subnet> {
        self.subnets
            .iter()
            .find(|subnet| subnet.net.v6 == ip.v6 && ip.number & subnet.mask == subnet.net.number)
    }

    /// All whose address it is.
    fn owners(&self, ip: Ip) -> impl Iterator<Item = &Known> {
        let from = self.known.partition_point(|known| known.ip < ip);
        self.known[from..].iter().take_while(move |known| known.ip == ip)
    }
}

/// What a port answers for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The MAC address of the port's own NIC, by which it is known in the networks.
    pub station: u64,
    /// Shared by all ports of a fabric.
    pub networks: Arc<Vec<ProxyNetwork>>,
}

/// Who has this address?
#[derive(Clone, Copy, Debug)]
struct Question {
    ip: Ip,
    /// Who asks; `None`: nobody has the address yet that is asked for (a probe).
    from: Option<Ip>,
}

/// A frame that answers, to be sent by the port that the question came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    bytes: [u8; ANSWER],
    len: usize,
}

/// Addresses, two tags, type, and a neighbour advertisement with a link-layer address.
const ANSWER: usize = 12 + 8 + 2 + 40 + 32;

impl Answer {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn new() -> Answer {
        Answer { bytes: [0; ANSWER], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn put_mac(&mut self, mac: u64) {
        let [_, _, bytes @ ..] = mac.to_be_bytes();
        self.put(&bytes);
    }
}

impl Proxy {
    /// The answer to a frame, if it asks for what is answered here. `head` are its first bytes, its
    /// EtherType stands at `at`.
    pub(crate) fn answer(
        &self,
        gateways: &Gateways,
        vlan: VlanId,
        place: Place,
        head: &[u8],
        at: usize,
    ) -> Option<Answer> {
        let question = question(head, at)?;
        let network = self.networks.iter().find(|network| network.vlan == vlan)?;
        if place == Place::PROMISCUOUS {
            return network.routed(question).map(|station| told(head, at, question, station));
        }
        let subnet = network.subnet(question.ip)?;
        let near = |known: &Known| known.station == self.station || place.reaches(known.place.into());
        let mut owners = network.owners(question.ip).peekable();
        let owned = owners.peek().is_some();
        if owners.any(near) || question.ip == subnet.gateway || question.from == Some(question.ip) {
            return None;
        }
        if question.from.is_none() && !owned {
            return None;
        }
        let gateway = if subnet.mac == 0 { gateways.mac(vlan, subnet.gateway)? } else { subnet.mac };
        Some(told(head, at, question, gateway))
    }
}

/// The address that a frame asks for, if it does.
pub(crate) fn asked_for(head: &[u8], at: usize) -> Option<IpAddr> {
    let Ip { v6, number } = question(head, at)?.ip;
    Some(if v6 { Ipv6Addr::from_bits(number).into() } else { Ipv4Addr::from_bits(number as u32).into() })
}

/// What a frame asks for.
fn question(head: &[u8], at: usize) -> Option<Question> {
    let packet = head.get(at + 2..)?;
    match be16(head, at)? {
        0x0806 => {
            let asks = be32(packet, 0)? == 0x0001_0800 && be32(packet, 4)? == 0x0604_0001;
            let v4 = |number: u32| Ip { v6: false, number: u128::from(number) };
            let from = Some(be32(packet, 14)?).filter(|&ip| ip != 0).map(v4);
            asks.then_some(Question { ip: v4(be32(packet, 24)?), from })
        }
        0x86dd => {
            let ip = headers::ipv6(packet).ok()?;
            let asks = ip.proto == ICMP6 && ip.part == Part::Whole && ip.len >= 24;
            let solicits = be16(ip.upper, 0)? == 135 << 8 && packet.get(7) == Some(&255);
            let v6 = |number: u128| Ip { v6: true, number };
            let from = Some(ip.src).filter(|&ip| ip != 0).map(v6);
            (asks && solicits).then_some(Question { ip: v6(be128(ip.upper, 8)?), from })
        }
        _ => None,
    }
}

/// The frame that says that the address is at `gateway`, the MAC address of that or of a guest. Its tags are those of the question.
fn told(head: &[u8], at: usize, question: Question, gateway: u64) -> Answer {
    let mut answer = Answer::new();
    let asker = mac(head, 6).unwrap_or_default();
    let all_nodes = question.ip.v6 && question.from.is_none();
    answer.put_mac(if all_nodes { 0x3333_0000_0001 } else { asker });
    answer.put_mac(gateway);
    answer.put(head.get(12..at + 2).unwrap_or_default());
    if question.ip.v6 {
        advertise(&mut answer, question, gateway);
    } else {
        answer.put(&[0, 1, 8, 0, 6, 4, 0, 2]);
        answer.put_mac(gateway);
        answer.put(&(question.ip.number as u32).to_be_bytes());
        // To the one that asks, as it called itself.
        answer.put(head.get(at + 10..at + 20).unwrap_or_default());
    }
    answer
}

/// A neighbour advertisement (RFC 4861, 4.4 and 7.2.8: a proxy's overrides nothing).
fn advertise(answer: &mut Answer, question: Question, gateway: u64) {
    let source = question.ip.number.to_be_bytes();
    let all_nodes = 0xff02_u128 << 112 | 1;
    let target = question.from.map_or(all_nodes, |from| from.number).to_be_bytes();
    let solicited = if question.from.is_some() { 0x40 } else { 0 };
    let [_, _, mac @ ..] = gateway.to_be_bytes();
    let mut message = [0; 32];
    message[0] = 136;
    message[4] = solicited;
    message[8..24].copy_from_slice(&source);
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..].copy_from_slice(&mac);
    let pieces: [&[u8]; 3] = [&source, &target, &message];
    let words = pieces.iter().fold(32 + u32::from(ICMP6), |words, piece| sum(piece, words).into());
    message[2..4].copy_from_slice(&(!words as u16).to_be_bytes());
    answer.put(&[0x60, 0, 0, 0, 0, 32, ICMP6, 255]);
    answer.put(&source);
    answer.put(&target);
    answer.put(&message);
}

/// Gateways whose MAC address the topology does not know, and what they were heard with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gateways {
    wanted: BTreeSet<(VlanId, Ip)>,
    heard: BTreeMap<(VlanId, Ip), u64>,
}

impl Gateways {
    /// Those that the ports of a switch look for.
    pub(crate) fn look_for<'a>(&mut self, ports: impl Iterator<Item = &'a PortConfig>) {
        let mut seen: Vec<&Arc<Vec<ProxyNetwork>>> = vec![];
        self.wanted.clear();
        for proxy in ports.filter_map(|config| config.proxy.as_deref()) {
            if seen.iter().any(|networks| Arc::ptr_eq(networks, &proxy.networks)) {
                continue;
            }
            seen.push(&proxy.networks);
            for network in proxy.networks.iter() {
                let unknown = network.subnets.iter().filter(|subnet| subnet.mac == 0);
                self.wanted.extend(unknown.map(|subnet| (network.vlan, subnet.gateway)));
            }
        }
        let wanted = &self.wanted;
        self.heard.retain(|key, _| wanted.contains(key));
    }

    /// Whether any are looked for.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn mac(&self, vlan: VlanId, gateway: Ip) -> Option<u64> {
        self.heard.get(&(vlan, gateway)).copied()
    }

    /// VLANs pass to other networks, whose gateways are others.
    pub(crate) fn forget(&mut self, handover: &Handover) {
        self.heard.retain(|(vlan, _), _| !handover.contains_key(vlan));
    }

    /// A frame came from behind an uplink; perhaps a gateway says there who it is.
    pub(crate) fn hear(&mut self, vlan: VlanId, head: &[u8], at: usize) {
        if let Some((ip, station)) = speaker(head, at)
            && self.wanted.contains(&(vlan, ip))
        {
            self.heard.insert((vlan, ip), station);
        }
    }
}

/// Who says by ARP or neighbour discovery that an address is at the frame's source.
fn speaker(head: &[u8], at: usize) -> Option<(Ip, u64)> {
    let (packet, station) = (head.get(at + 2..)?, mac(head, 6)?);
    match be16(head, at)? {
        0x0806 if be32(packet, 0)? == 0x0001_0800 && mac(packet, 8)? == station => {
            Some((Ip { v6: false, number: u128::from(be32(packet, 14)?) }, station))
        }
        0x86dd => {
            let ip = headers::ipv6(packet).ok()?;
            let whole = ip.proto == ICMP6 && ip.part == Part::Whole && packet.get(7) == Some(&255);
            let number = match ip.upper.first()? {
                135 if whole => ip.src,
                136 if whole => be128(ip.upper, 8)?,
                _ => return None,
            };
            Some((Ip { v6: true, number }, station))
        }
        _ => None,
    }
}
