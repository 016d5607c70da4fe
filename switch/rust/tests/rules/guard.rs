//! The guard: no frame of a guest passes that is not its own, however it is made. The cases, one by
//! one, are in `tests/switch/test_guard_cases.py`.

use super::*;
use proptest::prelude::*;
use std::net::IpAddr;
use switch::{Guard, Roles};

const OWN4: [u8; 4] = [10, 0, 0, 10];
const OTHER4: [u8; 4] = [10, 0, 0, 11];

fn guarded(roles: Roles) -> PortConfig {
    let mut guard = Guard::new(A);
    assert!(guard.add_addresses(IpAddr::from(OWN4), 32, None, None));
    assert!(guard.add_addresses("fd00::a".parse().unwrap(), 128, None, None));
    guard.roles = roles;
    PortConfig { guard: Some(Box::new(guard)), ..PortConfig::access(1) }
}

fn seen(bytes: &[u8]) -> View<'_> {
    View::plain(&bytes[..bytes.len().min(128)], bytes.len() as u32)
}

/// Ethernet from `src`, and IPv4 from `ip` with this protocol and payload.
fn ipv4(src: Mac, ip: [u8; 4], proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&B[..], &src, &[8, 0, 0x45, 0]].concat();
    bytes.extend((20 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, proto, 0, 0]);
    bytes.extend(ip);
    bytes.extend(OTHER4);
    bytes.extend(payload);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn arp(op: u8, sha: Mac, spa: [u8; 4], tpa: [u8; 4]) -> Vec<u8> {
    let mut bytes = [&BROADCAST[..], &A, &[8, 6, 0, 1, 8, 0, 6, 4, 0, op]].concat();
    bytes.extend([&sha[..], &spa, &[0; 6], &tpa].concat());
    bytes.resize(60, 0);
    bytes
}

fn icmp6(src: &str, kind: u8) -> Vec<u8> {
    let IpAddr::V6(src) = src.parse().unwrap() else { panic!() };
    let mut bytes = [&MULTICAST[..], &A, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]].concat();
    bytes.extend(src.octets());
    bytes.extend([0xff; 16]);
    bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    bytes.resize(bytes.len() + 16, 0xb);
    bytes
}

#[test]
fn each_reason() {
    let udp = |from: u16, to: u16| [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 44]].concat();
    let mut route = ipv4(A, OWN4, 17, &[131, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    route[14] = 0x46;
    let mut tiny = ipv4(A, OWN4, 6, &[0; 8]);
    tiny[20] = 0x20;
    for (bytes, expected) in [
        (ipv4(A, OWN4, 6, &[0; 20]), None),
        (arp(1, A, OWN4, OTHER4), None),
        (arp(1, A, [0; 4], OWN4), None),
        (icmp6("fd00::a", 128), None),
        (icmp6("fe80::ff:fe00:a", 128), None),
        (ipv4(C, OWN4, 6, &[0; 20]), Some(GuardMac)),
        ([&B[..], &A, &[0, 40], &[0; 46]].concat(), Some(GuardControl)),
        (ipv4(A, OWN4, 17, &[])[..30].to_vec(), Some(GuardHeaders)),
        (route, Some(GuardSourceRoute)),
        (tiny, Some(GuardFragment)),
        (ipv4(A, OWN4, 17, &udp(67, 68)), Some(GuardDhcpServer)),
        (ipv4(A, [0; 4], 17, &udp(68, 67)), Some(GuardDhcpClient)),
        (icmp6("fe80::ff:fe00:a", 134), Some(GuardRa)),
        (icmp6("fe80::ff:fe00:a", 137), Some(GuardRedirect)),
        (icmp6("fe80::ff:fe00:a", 130), Some(GuardQuerier)),
        (ipv4(A, OTHER4, 6, &[0; 20]), Some(GuardIp4)),
        (icmp6("fd00::b", 128), Some(GuardIp6)),
        (arp(1, A, OTHER4, OWN4), Some(GuardArp)),
        (arp(2, C, OWN4, OWN4), Some(GuardArp)),
        (icmp6("fd00::a", 136), Some(GuardNd)),
    ] {
        let mut bench = Bench::access(guarded(Roles::default()));
        let decision = bench.decide_view(0, 0, seen(&bytes));
        match expected {
            Some(reason) => assert_eq!(decision.out, Out::Drop(reason), "{bytes:x?}"),
            None => assert!(!matches!(decision.out, Out::Drop(_)), "{:?} {bytes:x?}", decision.out),
        }
    }
}

#[test]
fn a_burst_with_one_decision_asks_for_each_station() {
    let mut bench = Bench::new([PortConfig::access(1), guarded(Roles::default())]);
    let to = |dst: Mac| [&dst[..], &B, &[0x88, 0xb5], &[0; 46]].concat();
    let decision = bench.decide_view(0, 0, seen(&to(A)));
    assert_eq!(decision.out, Out::Flood(Flood::Unknown));
    assert_eq!(bench.0.egress_all(1, &decision).err(), Some(TxNotAddressed));
    assert!(bench.0.egress(1, &decision, &seen(&to(A))).is_ok());
    assert_eq!(bench.0.egress(1, &decision, &seen(&to(C))), Err(TxNotAddressed));
    let decision = bench.decide_view(0, 0, seen(&to(BROADCAST)));
    assert!(bench.0.egress_all(1, &decision).is_ok());
    // A station that is known to live there is its guest's own ...
    bench.decide_view(0, 1, seen(&ipv4(A, OWN4, 6, &[0; 20])));
    let decision = bench.decide_view(0, 0, seen(&to(A)));
    assert_eq!(decision.out, Out::Port(1));
    assert!(bench.0.egress_all(1, &decision).is_ok());
    // ... unless it may forge.
    bench.0.set_port(1, guarded(Roles { forged_transmits: true, ..Roles::default() })).unwrap();
    bench.decide_view(0, 1, seen(&ipv4(C, OWN4, 6, &[0; 20])));
    let decision = bench.decide_view(0, 0, seen(&to(C)));
    assert_eq!(decision.out, Out::Port(1));
    assert!(bench.0.egress_all(1, &decision).is_err());
    assert_eq!(bench.0.egress(1, &decision, &seen(&to(C))), Err(TxNotAddressed));
}

/// Bytes that look like a packet now and then.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(ipv4(A, OWN4, 17, &[0; 60])),
        Just(ipv4(A, OTHER4, 17, &[0; 60])),
        Just(arp(1, A, OWN4, OTHER4)),
        Just(icmp6("fd00::a", 135)),
        Just(icmp6("fd00::b", 58)),
    ];
    let edits = prop::collection::vec((12_usize..100, prop_oneof![0..8_u8, any::<u8>()]), 0..6);
    (start, edits, 14_usize..160).prop_map(|(mut bytes, edits, len)| {
        for (at, value) in edits {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(len);
        bytes
    })
}

proptest! {
    /// Read by fixed offsets alone, what passed untagged is from the guest's addresses.
    #[test]
    fn what_passes_is_the_guests_own(frames in prop::collection::vec(hostile(), 1..8)) {
        let mut bench = Bench::access(guarded(Roles::default()));
        for bytes in frames {
            if let Out::Drop(_) = bench.decide_view(0, 0, seen(&bytes)).out {
                continue;
            }
            prop_assert_eq!(&bytes[6..12], &A);
            match bytes[12..14] {
                [8, 0] => prop_assert!(bytes[26..30] == OWN4 || bytes[26..30] == [0; 4]),
                [8, 6] => {
                    prop_assert_eq!(&bytes[22..28], &A);
                    prop_assert!(bytes[28..32] == OWN4 || (bytes[28..32] == [0; 4] && bytes[38..42] == OWN4));
                }
                [0x86, 0xdd] => {
                    let own: [IpAddr; 3] = ["fd00::a", "fe80::ff:fe00:a", "::"].map(|ip| ip.parse().unwrap());
                    let source: [u8; 16] = bytes[22..38].try_into().unwrap();
                    prop_assert!(own.contains(&IpAddr::from(source)));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_usize..6) {
        let mut bytes = bytes;
        let kinds: [[u8; 3]; 6] =
            [[8, 0, 0x45], [8, 0, 0x4f], [8, 6, 0], [0x86, 0xdd, 0x60], [0x80, 0x35, 0], [0x81, 0, 0]];
        if let Some(head) = bytes.get_mut(..15) {
            head[6..12].copy_from_slice(&A);
            head[12..15].copy_from_slice(&kinds[kind]);
        }
        let mut bench = Bench::access(guarded(Roles::default()));
        bench.decide_view(0, 0, seen(&bytes));
    }
}
