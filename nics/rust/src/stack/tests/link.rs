//! ARP, neighbour discovery, gateways, memberships, and what happens when nothing does.

use super::hostile::ethernet;
use super::sim::{Hub, MS, SECOND, config, ip};
use crate::stack::{Net, StackConfig};
use crate::{EventKind, Nic, Offload};

#[test]
fn idle_guests_have_no_deadline() {
    let mut hub = Hub::new((1..=3).map(config));
    hub.pass(10 * SECOND);
    assert_eq!(hub.next(), None);
    hub.ping(0, "10.0.0.2", 56).unwrap();
    hub.pass(10 * SECOND);
    assert_eq!(hub.next(), None);
    let (client, server) = hub.connect(0, 1, "fd00::2", 80);
    hub.pass(10 * SECOND);
    // Connections that say nothing cost nothing.
    assert_eq!(hub.next(), None);
    hub.ends[0].close(client).unwrap();
    hub.ends[1].close(server).unwrap();
    hub.pass(10 * SECOND);
    assert_eq!(hub.next(), None);
}

#[test]
fn neighbours_are_asked_again_and_replaced() {
    let mut hub = Hub::new([config(1), config(2), StackConfig { mac: [2, 0, 0, 0, 0, 77], ..config(2) }]);
    hub.nics[2].set_link(false, 0);
    for target in ["10.0.0.2", "fd00::2"] {
        hub.ping(0, target, 56).unwrap();
        assert!(hub.ends[0].known_neighbours().unwrap().contains(&(ip(target), [2, 0, 0, 0, 0, 2])));
    }
    // The address moves to another station, which says so when its link comes up.
    hub.nics[1].set_link(false, hub.now);
    hub.nics[2].set_link(true, hub.now);
    hub.pass(MS);
    for target in ["10.0.0.2", "fd00::2"] {
        assert!(
            hub.ends[0].known_neighbours().unwrap().contains(&(ip(target), [2, 0, 0, 0, 0, 77])),
            "{target}"
        );
        hub.ping(0, target, 56).unwrap();
    }
    // It goes back silently: the guest finds out when nobody answers any more.
    hub.nics[2].set_link(false, hub.now);
    hub.pass(60 * SECOND);
    hub.trace = Some(Vec::new());
    let ping = hub.ends[0].ping_open(ip("10.0.0.2"), 64).unwrap();
    hub.ends[0].ping_send(ping, 1, 56).unwrap();
    hub.pass(10 * SECOND);
    let asked = hub.trace.take().unwrap().iter().filter(|(_, f)| f[12..14] == [8, 6]).count();
    assert_eq!(asked, 3);
    assert!(hub.ends[0].known_neighbours().unwrap().iter().all(|(address, _)| *address != ip("10.0.0.2")));
}

#[test]
fn a_neighbour_that_came_back_silently_with_another_mac_is_found_again() {
    for target in ["10.0.0.2", "fd00::2"] {
        let mut hub = Hub::new([config(1), config(2), StackConfig { mac: [2, 0, 0, 0, 0, 77], ..config(2) }]);
        hub.nics[2].set_link(false, 0);
        hub.ping(0, target, 56).unwrap();
        hub.nics[1].set_link(false, hub.now);
        // What it says when its link comes up gets lost.
        hub.impair.loss = 100;
        hub.nics[2].set_link(true, hub.now);
        hub.pass(MS);
        hub.impair.loss = 0;
        let (from, ping) = (hub.now, hub.ends[0].ping_open(ip(target), 64).unwrap());
        let found = (1..60).find(|seq| {
            hub.ends[0].ping_send(ping, *seq, 56).unwrap();
            hub.pass(SECOND);
            hub.ends[0].known_neighbours().unwrap().contains(&(ip(target), [2, 0, 0, 0, 0, 77]))
        });
        assert!(found.is_some() && hub.now - from <= 10 * SECOND, "{target}: {found:?}");
    }
}

#[test]
fn other_networks_are_behind_the_gateway() {
    let mut one = config(1);
    one.gateways = vec![ip("10.0.0.2"), ip("fe80::ff:fe00:2")];
    let mut hub = Hub::new([one, config(2)]);
    hub.trace = Some(Vec::new());
    for target in ["8.8.8.8", "2620::1"] {
        let ping = hub.ends[0].ping_open(ip(target), 9).unwrap();
        hub.ends[0].ping_send(ping, 1, 56).unwrap();
        hub.pass(MS);
    }
    let trace = hub.trace.take().unwrap();
    let v4 = trace.iter().find(|(_, f)| f[12..14] == [8, 0] && f[30..34] == [8, 8, 8, 8]).unwrap();
    assert_eq!((&v4.1[..6], v4.1[22]), (&[2, 0, 0, 0, 0, 2][..], 9));
    let v6 = trace.iter().find(|(_, f)| f[12..14] == [0x86, 0xdd] && f[38..40] == [0x26, 0x20]).unwrap();
    assert_eq!(v6.1[..6], [2, 0, 0, 0, 0, 2]);
}

#[test]
fn a_host_route_has_its_gateway_on_the_link() {
    let mut one = config(1);
    one.addresses = vec![Net { address: ip("192.0.2.7"), prefix: 32 }];
    one.gateways = vec![ip("10.0.0.2")];
    let mut two = config(2);
    two.gateways = vec![ip("192.0.2.7")];
    let mut hub = Hub::new([one, two]);
    // Both sides reach the other through what they call their gateway.
    assert_eq!(hub.ping(0, "10.0.0.2", 56), Ok(0));
    assert_eq!(hub.ping(1, "192.0.2.7", 56), Ok(0));
}

#[test]
fn a_conflict_is_logged_once_and_believed_never() {
    let mut hub = Hub::new([config(1), config(2), StackConfig { mac: [2, 0, 0, 0, 0, 77], ..config(2) }]);
    hub.take_events();
    hub.nics[2].set_link(false, 0);
    hub.nics[2].set_link(true, 0);
    hub.nics[2].set_link(false, 0);
    hub.nics[2].set_link(true, 0);
    hub.pass(SECOND);
    let logs: Vec<_> = hub
        .take_events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::Log(line) => Some((event.port, line)),
            _ => None,
        })
        .collect();
    let line = |mac| format!("another station, {mac}, says that it has this guest's address 10.0.0.2");
    assert_eq!(logs, [(1, line("02:00:00:00:00:4d")), (2, line("02:00:00:00:00:02"))]);
    assert_eq!(hub.ends[1].known_neighbours().unwrap(), []);
}

#[test]
fn a_probe_for_an_address_is_answered_and_not_learned() {
    let mut hub = Hub::new([config(1)]);
    hub.pass(SECOND);
    hub.trace = Some(Vec::new());
    // ARP from 0.0.0.0 (RFC 5227, 2.1.1).
    let mut probe = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1];
    hub.inject(&ethernet([0xff; 6], [2, 0, 0, 0, 0, 9], [8, 6], &probe), Offload::NONE);
    // For somebody else: no answer.
    probe[27] = 9;
    hub.inject(&ethernet([0xff; 6], [2, 0, 0, 0, 0, 9], [8, 6], &probe), Offload::NONE);
    hub.pass(MS);
    let trace = hub.trace.take().unwrap();
    assert_eq!(trace.len(), 3);
    assert_eq!(trace[2].1[..22], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!(hub.ends[0].known_neighbours().unwrap(), []);
}

#[test]
fn memberships_are_reported() {
    let mut hub = Hub::new([config(1)]);
    hub.trace = Some(Vec::new());
    hub.pass(MS);
    let socket = hub.ends[0].udp_bind(None, 5353).unwrap();
    hub.ends[0].udp_join(socket, ip("239.1.2.3")).unwrap();
    hub.pass(MS);
    hub.ends[0].close(socket).unwrap();
    hub.pass(MS);
    let trace: Vec<Vec<u8>> = hub.trace.take().unwrap().into_iter().map(|(_, frame)| frame).collect();
    let (v6, v4): (Vec<_>, Vec<_>) = trace.into_iter().partition(|frame| frame[12..14] == [0x86, 0xdd]);
    // MLDv2: the solicited-node group, which both addresses share, changed to exclude nothing.
    assert_eq!(v6.len(), 1);
    for frame in v6 {
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 0x16]);
        assert_eq!((frame[62], frame[70]), (143, 4));
    }
    let kinds: Vec<_> =
        v4.iter().map(|frame| (frame[38], frame[46], [frame[50], frame[51], frame[52], frame[53]])).collect();
    assert_eq!(kinds, [(0x22, 4, [239, 1, 2, 3]), (0x22, 3, [239, 1, 2, 3])]);

    // Queries are answered in time, old ones in the old way.
    let socket = hub.ends[0].udp_bind(None, 5353).unwrap();
    hub.ends[0].udp_join(socket, ip("239.1.2.3")).unwrap();
    hub.pass(MS);
    for (query, kind) in
        [(&[0x11, 10, 0, 0, 0, 0, 0, 0, 2, 10, 0, 0][..], 0x22), (&[0x11, 10, 0, 0, 0, 0, 0, 0][..], 0x16)]
    {
        let mut query = query.to_vec();
        let check = crate::offload::checksum::finish(crate::offload::checksum::sum(&query));
        query[2..4].copy_from_slice(&check);
        let frame = super::hostile::ipv4_frame(
            [1, 0, 0x5e, 0, 0, 1],
            [10, 0, 0, 9].into(),
            [224, 0, 0, 1].into(),
            2,
            1,
            &query,
        );
        hub.trace = Some(Vec::new());
        hub.inject(&frame, Offload::NONE);
        hub.pass(SECOND);
        let trace = hub.trace.take().unwrap();
        assert_eq!(trace.len(), 2, "{kind}");
        assert_eq!(trace[1].1[38], kind);
    }
}

#[test]
fn a_guest_without_its_link_is_silent() {
    let mut hub = Hub::new([config(1), config(2)]);
    hub.pass(SECOND);
    hub.nics[0].set_link(false, hub.now);
    assert!(!hub.nics[0].carrier());
    hub.trace = Some(Vec::new());
    let ping = hub.ends[0].ping_open(ip("10.0.0.2"), 64).unwrap();
    hub.ends[0].ping_send(ping, 1, 56).unwrap();
    hub.pass(10 * SECOND);
    assert_eq!(hub.trace.take().unwrap(), []);
    hub.nics[0].set_link(true, hub.now);
    assert_eq!(hub.ping(0, "10.0.0.2", 56), Ok(0));
}
