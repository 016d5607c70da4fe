//! Who pays for what comes over a link: the guest that sent it, with no more than its own.

use crate::*;
use std::sync::Arc;
use switch::{Groups, Rule};

/// A guest that all may send UDP to, another one, the end of a link; with room for three connections each.
const GUEST: PortId = 0;
const LINK: PortId = 2;
/// Ports of the switch at the other end.
const NEAR: PortId = 70;
const FAR: PortId = 80;
const UPLINK: PortId = 90;

fn lab() -> Switch {
    let rule = |protocol| Rule { protocol, numbers: (0, u16::MAX), remotes: None };
    let groups = Some(Arc::new(Groups::new(&[rule(Some(17))], &[rule(None)], false)));
    let ports = [
        PortConfig { groups, connections: 3, ..PortConfig::access(1) },
        PortConfig { connections: 3, ..PortConfig::access(1) },
        PortConfig { places: true, ..trunk(&[], Some((1, false))) },
    ];
    let mut bench = Bench::new(ports);
    for (port, mac) in [(GUEST, A), (1, B), (LINK, C)] {
        bench.hear(port, mac);
    }
    for port in [NEAR, FAR] {
        bench.0.set_allowance(port, Some(3));
    }
    bench.0
}

/// UDP between the guest and somebody behind the link who has this number there, as a fragment of datagram `id`: the first
/// one, a later one, or none.
fn udp(to_guest: bool, who: u8, port: u16, fragment: Option<(u16, bool)>) -> Vec<u8> {
    let (ends, ips, ports) =
        if to_guest { ([A, C], [who, 1], [port, 9]) } else { ([C, A], [1, who], [9, port]) };
    let mut bytes = ends.concat();
    bytes.extend([8, 0, 0x45, 0, 0, 44]);
    let (id, first) = fragment.unwrap_or((0, true));
    bytes.extend(id.to_be_bytes());
    let more = if fragment.is_some() && first { 0x2000_u16 } else { 0 };
    bytes.extend((more | if first { 0 } else { 3 }).to_be_bytes());
    bytes.extend([64, 17, 0, 0, 10, 0, 0, ips[0], 10, 0, 0, ips[1]]);
    bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    bytes.resize(60, 0);
    bytes
}

/// Whether it gets to where it goes, one way or the other; flooded: as long as nobody knows where that is.
fn passes(switch: &mut Switch, ingress: PortId, sender: PortId, bytes: &[u8]) -> bool {
    let view = View { sender, ..view(bytes) };
    let mut out = [Decision::default()];
    switch.classify(0, ingress, [view], &mut out);
    let to = if ingress == LINK { GUEST } else { LINK };
    !matches!(out[0].out, Out::Drop(_)) && switch.egress(to, &out[0], &view).is_ok()
}

/// How many of three new connections there is room for that the guest answers.
fn begins(switch: &mut Switch, sender: PortId, who: u8) -> usize {
    let one = |port: u16| {
        let passed = passes(switch, LINK, sender, &udp(true, who, port, None));
        if passed {
            assert!(passes(switch, GUEST, PortId::MAX, &udp(false, who, port, None)));
        }
        passed
    };
    (0..9).map(|n| 1000 + n).map(one).filter(|passed| *passed).count()
}

#[test]
fn who_sends_over_a_link_pays_for_its_connections() {
    for flooded in [false, true] {
        let mut switch = lab();
        if flooded {
            switch.fdb_remove(1, A).unwrap();
            let quiet = PortConfig { learning: false, ..switch.port(GUEST).unwrap().clone() };
            switch.set_port(GUEST, quiet).unwrap();
        }
        assert_eq!(begins(&mut switch, NEAR, 7), 3);
        assert_eq!(switch.connection_count(NEAR), (3, 3));
        assert_eq!(switch.connection_count(GUEST).1, 0);
        assert_eq!(begins(&mut switch, FAR, 8), 3, "another one behind the link has its own");
        // What is nobody's is on the account of whom it is for, which is full after that.
        assert_eq!(begins(&mut switch, UPLINK, 9), 3);
        assert_eq!(switch.connection_count(GUEST), (9, 3));
        assert!(!passes(&mut switch, GUEST, PortId::MAX, &udp(false, 9, 2000, None)));
        assert_eq!(begins(&mut switch, PortId::MAX, 10), 0);
        // Beside what comes by a guest's port, no sender counts.
        assert!(!passes(&mut switch, GUEST, 1, &udp(false, 9, 2001, None)));
        switch.close_account(NEAR);
        assert_eq!(switch.connection_count(NEAR), (6, 0));
        assert_eq!(begins(&mut switch, NEAR, 11), 0, "nobody's any more");
        assert_eq!(switch.connection_count(GUEST), (6, 3));
    }
}

#[test]
fn what_a_guest_begins_is_on_its_own_account() {
    let mut switch = lab();
    for port in 0..3 {
        assert!(passes(&mut switch, GUEST, PortId::MAX, &udp(false, 7, 2000 + port, None)));
    }
    assert_eq!(switch.connection_count(GUEST), (3, 3));
    assert_eq!(begins(&mut switch, NEAR, 7), 3);
    assert_eq!(switch.connection_count(GUEST), (6, 3));
}

#[test]
fn nobody_behind_a_link_takes_the_place_of_anothers_fragments() {
    let mut switch = lab();
    assert!(passes(&mut switch, LINK, FAR, &udp(true, 8, 1000, Some((7, true)))));
    for id in 0..4096 {
        assert!(passes(&mut switch, LINK, NEAR, &udp(true, 7, 1000, Some((id, true)))));
    }
    assert!(passes(&mut switch, LINK, FAR, &udp(true, 8, 1000, Some((7, false)))));
    assert!(!passes(&mut switch, LINK, NEAR, &udp(true, 8, 1000, Some((7, false)))), "its own place alone");
    switch.close_account(FAR);
    assert!(!passes(&mut switch, LINK, FAR, &udp(true, 8, 1000, Some((7, false)))));
}
