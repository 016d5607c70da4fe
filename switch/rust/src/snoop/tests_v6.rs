//! Bindings by DHCPv6.
#![allow(clippy::unwrap_used)]

use super::tests::{CLIENT, OTHER, SERVER, lab, send};
use super::*;
use crate::headers::UDP;
use std::net::Ipv6Addr;

fn udp6(dst: [u8; 6], src: [u8; 6], ports: (u16, u16), message: &[u8]) -> Vec<u8> {
    let local = |mac: [u8; 6]| {
        let [a, b, c, d, e, f] = mac;
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    };
    let mut bytes = [dst, src].concat();
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    bytes.extend((8 + message.len() as u16).to_be_bytes());
    bytes.extend([UDP, 64]);
    bytes.extend(local(src));
    bytes.extend(local(dst));
    bytes.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
    bytes.extend((8 + message.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(message);
    bytes
}

fn option6(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2];

/// A message about one address and one prefix of two IAs of a client.
#[derive(Clone)]
struct Message {
    kind: u8,
    client: Vec<u8>,
    iaid: u32,
    address: Ipv6Addr,
    preferred: u32,
    valid: u32,
    /// Of the whole message, and of the IA for addresses.
    status: [u16; 2],
    server: bool,
}

impl Message {
    fn new(kind: u8) -> Message {
        Message {
            kind,
            client: DUID.to_vec(),
            iaid: 1,
            address: "fd00::7".parse().unwrap(),
            preferred: 30,
            valid: 60,
            status: [0; 2],
            server: true,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let prefix: Ipv6Addr = "fd01:2::".parse().unwrap();
        let times = [self.preferred.to_be_bytes(), self.valid.to_be_bytes()].concat();
        let status = |code: u16| option6(13, &[&code.to_be_bytes()[..], b"why"].concat());
        let head = [&self.iaid.to_be_bytes()[..], &[0; 8]].concat();
        let na = option6(5, &[&self.address.octets()[..], &times].concat());
        let pd = option6(26, &[&times[..], &[32], &prefix.octets()].concat());
        let mut bytes = vec![self.kind, 0, 0, 1];
        bytes.extend(option6(1, &self.client));
        if self.server {
            bytes.extend(option6(2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]));
        }
        if self.status[0] != 0 {
            bytes.extend(status(self.status[0]));
        }
        let inner = [na, if self.status[1] == 0 { vec![] } else { status(self.status[1]) }].concat();
        bytes.extend(option6(3, &[&head[..], &inner].concat()));
        bytes.extend(option6(25, &[&head[..], &pd].concat()));
        bytes
    }

    /// From the server to the client.
    fn to(&self, switch: &mut Switch, now: Nanos, client: [u8; 6]) {
        send(switch, now, 0, &udp6(client, SERVER, (547, 546), &self.bytes()));
    }

    /// From the client to all servers.
    fn from(&self, switch: &mut Switch, now: Nanos) -> Out {
        send(switch, now, 1, &udp6([0x33, 0x33, 0, 1, 0, 2], CLIENT, (546, 547), &self.bytes()))
    }
}

fn bound(switch: &Switch, port: PortId) -> Vec<String> {
    switch.bindings(port).iter().map(|b| format!("{}/{}", b.ip, b.prefix)).collect()
}

#[test]
fn addresses_and_delegated_prefixes() {
    let mut switch = lab();
    Message::new(7).to(&mut switch, 0, CLIENT);
    assert_eq!(bound(&switch, 1), ["fd00::7/128", "fd01:2::/32"]);
    assert_eq!(switch.bindings(1).iter().map(|b| b.until).collect::<Vec<_>>(), [60 * SECOND; 2]);
    assert!(switch.bindings(1)[1].is_for(5, "fd01:2:ffff::9".parse().unwrap()));
    assert!(!switch.bindings(1)[1].is_for(5, "fd01:3::9".parse().unwrap()));
    // Renewed; and what a server takes back.
    Message { valid: 90, ..Message::new(7) }.to(&mut switch, 50 * SECOND, CLIENT);
    assert_eq!(switch.bindings(1)[0].until, 140 * SECOND);
    Message { preferred: 0, valid: 0, ..Message::new(7) }.to(&mut switch, 60 * SECOND, CLIENT);
    assert_eq!(switch.bindings(1), []);
}

#[test]
fn a_delegated_prefix_is_a_source() {
    let mut switch = lab();
    let mut frame = udp6(SERVER, CLIENT, (1000, 2000), &[0; 20]);
    let source: Ipv6Addr = "fd01:2:3::9".parse().unwrap();
    frame[22..38].copy_from_slice(&source.octets());
    assert_eq!(send(&mut switch, 0, 1, &frame), Out::Drop(crate::DropReason::GuardIp6));
    Message::new(7).to(&mut switch, 0, CLIENT);
    assert!(!matches!(send(&mut switch, 1, 1, &frame), Out::Drop(_)));
    assert_eq!(send(&mut switch, 60 * SECOND, 1, &frame), Out::Drop(crate::DropReason::GuardIp6));
}

#[test]
fn a_client_gives_back_or_declines() {
    for kind in [8, 9] {
        let mut switch = lab();
        Message::new(7).to(&mut switch, 0, CLIENT);
        assert!(matches!(Message::new(kind).from(&mut switch, 1), Out::Flood(_)));
        assert_eq!(bound(&switch, 1), Vec::<String>::new());
    }
    // Behind an extension header.
    let release = udp6([0x33, 0x33, 0, 1, 0, 2], CLIENT, (546, 547), &Message::new(8).bytes());
    for extension in [0, 60] {
        let mut far = release.clone();
        far[19] += 8;
        far[20] = extension;
        far.splice(54..54, [UDP, 0, 1, 4, 0, 0, 0, 0]);
        let mut switch = lab();
        Message::new(7).to(&mut switch, 0, CLIENT);
        assert!(matches!(send(&mut switch, 1, 1, &far), Out::Flood(_)));
        assert_eq!(bound(&switch, 1), Vec::<String>::new());
    }
    // Where groups are snooped, too; and what does not leave the switch says nothing to the server.
    for (out, left) in [(Out::Group(0), 0), (Out::Drop(crate::DropReason::NoListener), 2)] {
        let mut switch = lab();
        Message::new(7).to(&mut switch, 0, CLIENT);
        switch.snoop(1, 1, &Decision { out, vlan: 5, ..Decision::default() }, &release);
        assert_eq!(switch.bindings(1).len(), left);
    }
}

#[test]
fn what_binds_nothing() {
    for (message, why) in [
        (Message::new(2), "an advertisement"),
        (Message { client: vec![], ..Message::new(7) }, "to nobody"),
        (Message { server: false, ..Message::new(7) }, "by nobody"),
        (Message { status: [5, 0], ..Message::new(7) }, "a status"),
        (Message { status: [4, 0], ..Message::new(7) }, "not on this link"),
    ] {
        let mut switch = lab();
        message.to(&mut switch, 0, CLIENT);
        assert_eq!(bound(&switch, 1), Vec::<String>::new(), "{why}");
    }
    for message in [
        Message { status: [0, 3], ..Message::new(7) },
        Message { address: "fe80::1".parse().unwrap(), ..Message::new(7) },
        Message { address: "ff02::1".parse().unwrap(), ..Message::new(7) },
    ] {
        let mut switch = lab();
        message.to(&mut switch, 0, CLIENT);
        assert_eq!(bound(&switch, 1), ["fd01:2::/32"], "the prefix is another matter");
    }
    let mut switch = lab();
    Message { preferred: 61, ..Message::new(7) }.to(&mut switch, 0, CLIENT);
    assert_eq!(bound(&switch, 1), Vec::<String>::new(), "preferred for longer than valid");
}

#[test]
fn a_client_that_is_told_that_it_has_moved() {
    let mut switch = lab();
    Message::new(7).to(&mut switch, 0, CLIENT);
    let other = Message { client: vec![9; 10], status: [4, 0], ..Message::new(7) };
    other.to(&mut switch, 1, CLIENT);
    assert_eq!(switch.bindings(1).len(), 2, "that is not this client");
    Message { client: DUID.to_vec(), ..other }.to(&mut switch, 1, CLIENT);
    assert_eq!(bound(&switch, 1), ["fd01:2::/32"], "a prefix is of no link");
}

#[test]
fn an_address_is_one_guests_at_a_time() {
    let mut switch = lab();
    Message::new(7).to(&mut switch, 0, CLIENT);
    Message { client: vec![9; 10], ..Message::new(7) }.to(&mut switch, 1, OTHER);
    assert_eq!((bound(&switch, 1), bound(&switch, 2).len()), (vec![], 2));
}

#[test]
fn a_guest_that_was_installed_anew_is_another_client() {
    let mut switch = lab();
    let address = |n: u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n);
    for n in 0..20 {
        let client = vec![n as u8 / 7 + 1; 10];
        // The first ones' leases end last.
        let valid = 1000 - u32::from(n);
        let message = Message { client, iaid: n.into(), address: address(n), valid, ..Message::new(7) };
        message.to(&mut switch, 0, CLIENT);
    }
    let bound = bound(&switch, 1);
    for n in 14..20 {
        assert!(bound.contains(&format!("{}/128", address(n))), "all of the last client: {n} in {bound:?}");
    }
    assert!(bound.len() <= 2 * super::bindings::MOST);
}

#[test]
fn no_length_is_believed() {
    let mut switch = lab();
    let whole = udp6(CLIENT, SERVER, (547, 546), &Message::new(7).bytes());
    let decision = Decision { out: Out::Port(1), vlan: 5, ..Decision::default() };
    for cut in 0..whole.len() {
        switch.snoop(0, 0, &decision, &whole[..cut]);
    }
    for (at, byte) in (0..whole.len()).flat_map(|at| [(at, 0), (at, 0xff)]) {
        let mut broken = whole.clone();
        broken[at] = byte;
        switch.snoop(0, 0, &decision, &broken);
    }
    assert!(switch.bindings(1).len() <= 2 * super::bindings::MOST);
}
