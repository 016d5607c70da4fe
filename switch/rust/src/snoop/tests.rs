//! Bindings by DHCPv4, and what becomes of them.
#![allow(clippy::unwrap_used)]

use super::bindings::MOST;
use super::*;
use crate::headers::UDP;
use crate::{DropReason, Guard, PortConfig, Private, SwitchConfig, View};
use std::net::{IpAddr, Ipv4Addr};

pub(super) const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];
const IP: u32 = 0x0a00_0007;

fn udp4(dst: [u8; 6], src: [u8; 6], from_ip: u32, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = [dst, src].concat();
    bytes.extend([8, 0, 0x45, 0]);
    bytes.extend((28 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    bytes.extend(from_ip.to_be_bytes());
    bytes.extend([255; 4]);
    bytes.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn bootp(op: u8, ciaddr: u32, yiaddr: u32, chaddr: [u8; 6], options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![op, 1, 6, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    bytes.extend([ciaddr.to_be_bytes(), yiaddr.to_be_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend(chaddr);
    bytes.resize(236, 0);
    bytes.extend([0x63, 0x82, 0x53, 0x63]);
    bytes.extend(options);
    bytes
}

fn ack(yiaddr: u32, chaddr: [u8; 6], lease: u32) -> Vec<u8> {
    let options = [&[53, 1, 5, 0, 51, 4][..], &lease.to_be_bytes(), &[255]].concat();
    udp4(CLIENT, SERVER, 0x0a00_0001, (67, 68), &bootp(2, 0, yiaddr, chaddr, &options))
}

fn data(src: [u8; 6], ip: u32) -> Vec<u8> {
    udp4(SERVER, src, ip, (1000, 2000), &[0; 20])
}

/// A server at port 0, a client that has no address yet at 1, somebody else at 2.
pub(super) fn lab() -> Switch {
    let mut switch = Switch::new(SwitchConfig::default());
    for (port, mac) in [SERVER, CLIENT, OTHER].into_iter().enumerate() {
        let mut guard = Guard::new(mac);
        guard.roles.dhcp_server = port == 0;
        guard.learns = port != 0;
        if port == 0 {
            guard.add_addresses("10.0.0.1".parse().unwrap(), 32, None, None);
        }
        let config = PortConfig { guard: Some(Box::new(guard)), ..PortConfig::access(5) };
        switch.add_port(port as PortId, config).unwrap();
    }
    switch
}

pub(super) fn send(switch: &mut Switch, now: Nanos, port: PortId, bytes: &[u8]) -> Out {
    switch.tick(now);
    let mut out = [Decision::default()];
    let view = View::plain(&bytes[..bytes.len().min(128)], bytes.len() as u32);
    switch.classify(now, port, [view], &mut out);
    if switch.has_to_weigh() && switch.is_weighed(&out[0], view.head) {
        switch.weigh(&mut out[0], Some(bytes));
    }
    if is_dhcp(view.head) && !matches!(out[0].out, Out::Drop(_)) {
        switch.snoop(now, port, &out[0], bytes);
    }
    out[0].out
}

#[track_caller]
pub(super) fn is_its(switch: &mut Switch, now: Nanos, port: PortId, frame: &[u8], own: bool) {
    let out = send(switch, now, port, frame);
    assert_eq!(
        out == Out::Drop(DropReason::GuardIp4) || out == Out::Drop(DropReason::GuardIp6),
        !own,
        "{out:?}"
    );
}

#[test]
fn a_lease_makes_an_address_the_guests_until_it_ends() {
    let mut switch = lab();
    is_its(&mut switch, 0, 1, &data(CLIENT, IP), false);
    send(&mut switch, SECOND, 0, &ack(IP, CLIENT, 60));
    is_its(&mut switch, SECOND, 1, &data(CLIENT, IP), true);
    is_its(&mut switch, SECOND, 1, &data(CLIENT, IP + 1), false);
    is_its(&mut switch, SECOND, 2, &data(OTHER, IP), false);
    // Renewed from the address itself, and for longer.
    send(&mut switch, 31 * SECOND, 0, &ack(IP, CLIENT, 60));
    assert_eq!(switch.deadline(), Some(91 * SECOND).min(switch.deadline()));
    is_its(&mut switch, 90 * SECOND, 1, &data(CLIENT, IP), true);
    is_its(&mut switch, 91 * SECOND, 1, &data(CLIENT, IP), false);
    send(&mut switch, 92 * SECOND, 0, &ack(IP, CLIENT, u32::MAX));
    is_its(&mut switch, 1 << 62, 1, &data(CLIENT, IP), true);
}

#[test]
fn a_lease_is_given_back_declined_or_refused() {
    let release = bootp(1, IP, 0, CLIENT, &[53, 1, 7, 255]);
    let decline = bootp(1, 0, 0, CLIENT, &[53, 1, 4, 50, 4, 10, 0, 0, 7, 255]);
    let nak = bootp(2, 0, 0, CLIENT, &[53, 1, 6, 255]);
    // With an option of IPv4 that says nothing.
    let mut far = udp4(SERVER, CLIENT, IP, (68, 67), &release);
    far[14] = 0x46;
    far[17] += 4;
    far.splice(34..34, [1, 1, 1, 0]);
    for (port, frame) in [
        (1, udp4(SERVER, CLIENT, IP, (68, 67), &release)),
        (1, far),
        (1, udp4([255; 6], CLIENT, 0, (68, 67), &decline)),
        (0, udp4([255; 6], SERVER, 0x0a00_0001, (67, 68), &nak)),
    ] {
        let mut switch = lab();
        send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
        is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
        assert!(!matches!(send(&mut switch, 2, port, &frame), Out::Drop(_)));
        is_its(&mut switch, 3, 1, &data(CLIENT, IP), false);
    }
}

#[test]
fn nobody_else_binds() {
    let mut switch = lab();
    // A guest that may not serve; an answer to another; and without a lease time.
    let mut forged = ack(IP, CLIENT, 60);
    forged[6..12].copy_from_slice(&OTHER);
    assert_eq!(send(&mut switch, 0, 2, &forged), Out::Drop(DropReason::GuardDhcpServer));
    send(&mut switch, 0, 0, &ack(IP, OTHER, 60));
    send(&mut switch, 0, 0, &ack(0xe000_0001, CLIENT, 60));
    send(&mut switch, 0, 0, &ack(IP, CLIENT, 0));
    is_its(&mut switch, 1, 1, &data(CLIENT, IP), false);
    // Not even itself.
    let own =
        udp4([255; 6], CLIENT, 0, (68, 67), &bootp(2, 0, IP, CLIENT, &[53, 1, 5, 51, 4, 0, 0, 1, 0, 255]));
    send(&mut switch, 1, 1, &own);
    assert_eq!(switch.bindings(1), []);
}

#[test]
fn in_a_private_network_a_server_is_believed_by_those_alone_who_hear_it() {
    let nak = bootp(2, 0, 0, CLIENT, &[53, 1, 6, 255]);
    let nak = udp4([255; 6], SERVER, 0x0a00_0001, (67, 68), &nak);
    let mut offered = ack(IP + 1, CLIENT, 60);
    offered[..6].fill(255);
    for (community, heard) in [(0, false), (1, true)] {
        let mut switch = lab();
        send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
        for port in 0..2 {
            let private = Some(Box::new(Private { vlans: [5].into_iter().collect(), community }));
            let config = PortConfig { private, ..switch.port(port).unwrap().clone() };
            switch.set_port(port, config).unwrap();
        }
        // The third port is promiscuous, so that frames go somewhere.
        assert!(matches!(send(&mut switch, 1, 0, &nak), Out::Flood(_)));
        is_its(&mut switch, 2, 1, &data(CLIENT, IP), !heard);
        send(&mut switch, 3, 0, &offered);
        is_its(&mut switch, 4, 1, &data(CLIENT, IP + 1), heard);
    }
}

#[test]
fn an_address_is_one_guests_at_a_time() {
    let mut switch = lab();
    send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
    send(&mut switch, 0, 0, &ack(IP + 1, CLIENT, 60));
    is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
    // The lease ended at the server, by words that were not heard here.
    let mut given = ack(IP, OTHER, 60);
    given[..6].copy_from_slice(&OTHER);
    send(&mut switch, 2, 0, &given);
    is_its(&mut switch, 3, 1, &data(CLIENT, IP), false);
    is_its(&mut switch, 3, 2, &data(OTHER, IP), true);
    is_its(&mut switch, 3, 1, &data(CLIENT, IP + 1), true);
}

#[test]
fn no_more_than_a_few_are_kept_and_no_length_is_believed() {
    let mut switch = lab();
    for n in 0..100 {
        send(&mut switch, 0, 0, &ack(IP + n, CLIENT, 60 + n));
    }
    // The last ones, as a guest that asks anew has forgotten what it had.
    let kept: Vec<IpAddr> = (0..MOST as u32).map(|n| Ipv4Addr::from_bits(IP + 99 - n).into()).collect();
    assert!(switch.bindings(1).iter().all(|b| kept.contains(&b.ip)) && switch.bindings(1).len() == MOST);
    let whole = ack(IP, CLIENT, 60);
    for cut in 14..whole.len() {
        switch.snoop(0, 0, &Decision { out: Out::Port(1), vlan: 5, ..Decision::default() }, &whole[..cut]);
    }
    for (at, byte) in (0..whole.len()).flat_map(|at| [(at, 0), (at, 0xff)]) {
        let mut broken = whole.clone();
        broken[at] = byte;
        switch.snoop(0, 0, &Decision { out: Out::Port(1), vlan: 5, ..Decision::default() }, &broken);
    }
    assert!(switch.bindings(1).len() <= MOST);
}

#[test]
fn what_is_bound_outlives_another_configuration_but_no_other_guest() {
    let mut switch = lab();
    send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
    let config = switch.port(1).unwrap().clone();
    switch.set_port(1, PortConfig { mtu: 9000, ..config.clone() }).unwrap();
    is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
    switch.set_port(1, PortConfig { guard: None, ..config.clone() }).unwrap();
    switch.set_port(1, config.clone()).unwrap();
    is_its(&mut switch, 1, 1, &data(CLIENT, IP), false);
    send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
    let moved = PortConfig { mode: crate::PortMode::Access(6), ..config };
    switch.set_port(1, moved).unwrap();
    assert_eq!(switch.bindings(1), []);
}

#[test]
fn a_client_asks_for_more_time_from_its_address_before_anybody_knows_it() {
    let mut switch = lab();
    let renew = bootp(1, IP, 0, CLIENT, &[53, 1, 3, 255]);
    let frame = udp4(SERVER, CLIENT, IP, (68, 67), &renew);
    assert!(!matches!(send(&mut switch, 0, 1, &frame), Out::Drop(_)));
}

/// A client's message about an address, from a source.
fn about(mac: [u8; 6], kind: u8, source: u32, has: u32, requested: Option<u32>) -> Vec<u8> {
    let mut options = vec![53, 1, kind];
    if let Some(ip) = requested {
        options.extend([50, 4]);
        options.extend(ip.to_be_bytes());
    }
    options.push(255);
    udp4(SERVER, mac, source, (68, 67), &bootp(1, has, 0, mac, &options))
}

#[test]
fn a_lease_is_given_back_by_whose_it_is() {
    let mut switch = lab();
    send(&mut switch, 0, 0, &ack(IP, CLIENT, 60));
    // From there, as if it were renewed; from nobody; declined; beside its own; with nothing known of its own.
    send(&mut switch, 0, 0, &{
        let mut own = ack(IP + 1, OTHER, 60);
        own[..6].copy_from_slice(&OTHER);
        own
    });
    for (source, kind, has, requested, reason) in [
        (IP, 7, IP, None, DropReason::GuardDhcpClient),
        (0, 4, 0, Some(IP), DropReason::GuardDhcpClient),
        (IP + 1, 7, IP + 1, Some(IP), DropReason::GuardDhcpClient),
        (IP + 1, 7, 0, None, DropReason::GuardDhcpClient),
        (IP, 4, IP, Some(IP + 1), DropReason::GuardDhcpClient),
        (IP + 1, 7, IP, None, DropReason::GuardDhcpClient),
        (IP, 8, IP, None, DropReason::GuardIp4),
        (IP, 1, IP, None, DropReason::GuardIp4),
    ] {
        let out = send(&mut switch, 1, 2, &about(OTHER, kind, source, has, requested));
        assert_eq!(out, Out::Drop(reason), "{source:x} {kind} {has:x} {requested:x?}");
        is_its(&mut switch, 1, 1, &data(CLIENT, IP), true);
        is_its(&mut switch, 1, 2, &data(OTHER, IP + 1), true);
    }
    let drops: u64 = switch.counters(2).unwrap().drops.iter().map(|drop| drop.get()).sum();
    let counters = switch.counters(2).unwrap();
    assert_eq!(counters.rx_frames.get(), counters.forwarded.get() + drops);
    // Its own.
    assert!(!matches!(send(&mut switch, 2, 2, &about(OTHER, 7, IP + 1, IP + 1, None)), Out::Drop(_)));
    is_its(&mut switch, 3, 2, &data(OTHER, IP + 1), false);
    // And no more once it is gone.
    let again = send(&mut switch, 4, 2, &about(OTHER, 7, IP + 1, IP + 1, None));
    assert_eq!(again, Out::Drop(DropReason::GuardDhcpClient));
}

#[test]
fn a_message_of_which_not_all_can_be_seen_is_dropped() {
    let mut switch = lab();
    let mut out = [Decision::default()];
    let bytes = about(CLIENT, 1, 0, 0, None);
    let view = View::plain(&bytes[..128], bytes.len() as u32);
    switch.classify(0, 1, [view], &mut out);
    assert!(switch.has_to_weigh() && switch.is_weighed(&out[0], view.head));
    switch.weigh(&mut out[0], None);
    assert_eq!(out[0].out, Out::Drop(DropReason::GuardDhcpClient));
    // Nothing else is asked for: neither other frames, nor what a server sends.
    for (port, bytes) in [(1, data(CLIENT, IP)), (0, ack(IP, CLIENT, 60))] {
        let view = View::plain(&bytes[..bytes.len().min(128)], bytes.len() as u32);
        switch.classify(0, port, [view], &mut out);
        assert!(!switch.has_to_weigh(), "{port}");
        assert!(!switch.is_weighed(&out[0], view.head), "{port}");
    }
}

#[test]
fn no_length_of_a_clients_message_is_believed() {
    let whole = about(CLIENT, 4, 0, 0, Some(IP));
    let mut switch = lab();
    let decision = Decision { out: Out::Port(0), vlan: 5, ingress: 1, ..Decision::default() };
    for cut in 0..whole.len() {
        let mut decision = decision;
        switch.weigh(&mut decision, Some(&whole[..cut]));
        // Up to the options it is BOOTP, and without the mark of its end it is whole.
        assert!(!(283..=290).contains(&cut) || matches!(decision.out, Out::Drop(_)), "{cut}");
    }
    for (at, byte) in (0..whole.len()).flat_map(|at| [(at, 0), (at, 0xff)]) {
        let mut broken = whole.clone();
        broken[at] = byte;
        switch.weigh(&mut { decision }, Some(&broken));
    }
}
