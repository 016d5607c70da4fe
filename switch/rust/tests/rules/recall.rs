//! What a switch remembers of the frames before makes it faster, and nothing else. So one that is told
//! before each frame to forget, because its port is set up anew as it was, decides the same.

use super::*;
use proptest::prelude::*;
use switch::Roles;

/// Numbers that a frame is made of; few of each, so that frames are like one another.
type Draw = (u16, usize, usize, usize, usize, bool);

const DESTINATIONS: [Mac; 6] = [A, B, C, [2, 0, 0, 0, 0, 0xd], BROADCAST, MULTICAST];
const SOURCES: [Mac; 5] = [A, [2, 0, 0, 0, 0, 0xd], C, MULTICAST, B];

/// Ports that a guard looks at, and others that differ from them in a bit or many.
const PORTS: [u16; 8] = [67, 68, 546, 547, 66, 69, 9, 40_000];

/// A packet from 10.0.0.`ip`, or its IPv6 sibling.
fn packet((_, dst, src, kind, ip, tagged): Draw) -> Vec<u8> {
    let mut bytes = [&DESTINATIONS[dst][..], &SOURCES[src]].concat();
    if tagged {
        bytes.extend([0x81, 0, 0x20, ip as u8]);
    }
    let v4 = |version: u8, fragment: u8, proto: u8| {
        [8, 0, version, 0, 0, 46, 0, 0, fragment, 0, 64, proto, 0, 0, 10, 0, 0, ip as u8, 10, 0, 0, 9]
    };
    let v6 = |proto: u8| {
        [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, proto, 64, 0xfd][..], &[0; 14], &[ip as u8]].concat()
    };
    match kind {
        0 => bytes.extend(v4(0x45, 0x40, 17)),
        1 => bytes.extend(v4(0x45, 0, 6)),
        2 => bytes.extend(v4(0x45, 0x20, 17)),
        3 => bytes.extend(v4(0x46, 0, 17)),
        4 => bytes.extend(v4(0x45, 0, 1)),
        5 => bytes.extend([&v6(6)[..], &[0xfe; 16]].concat()),
        6 => bytes.extend([&v6(17)[..], &[0xfe; 16]].concat()),
        7 => bytes.extend([&v6(58)[..], &[0xfe; 16]].concat()),
        8 => bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 10, 0, 0, ip as u8]),
        _ => bytes.extend([&v4(0x45, 0, 17)[..], &[0, 67, 0, 68]].concat()),
    }
    bytes.resize(80, 0);
    bytes
}

fn seen(bytes: &[u8]) -> View<'_> {
    View::plain(&bytes[..80], 80)
}

/// What port 0 is; the others are plain, port 1 a trunk.
fn setup(kind: u8) -> PortConfig {
    let mut guard = Guard::new(A);
    guard.add_mac([2, 0, 0, 0, 0, 0xd]);
    assert!(guard.add_addresses([10, 0, 0, 1].into(), 32, None, None));
    assert!(guard.add_addresses([10, 0, 0, 2].into(), 32, Some(C), None));
    assert!(guard.add_addresses("fd00::".parse().unwrap(), 127, None, Some(1)));
    match kind / 4 {
        1 => guard.roles = Roles { mac_changes: true, ..Roles::default() },
        2 => guard.roles = Roles { forged_transmits: true, dhcp_server: true, ..Roles::default() },
        _ => {}
    }
    let guard = (kind < 12).then(|| Box::new(guard));
    let plain = PortConfig { guard, ..PortConfig::access(1) };
    match kind % 4 {
        0 => PortConfig { mac_limit: 1, ..plain },
        1 => PortConfig { learning: false, ..plain },
        2 => PortConfig { guard: plain.guard, ..trunk(&[1, 2], Some((1, false))) },
        _ => plain,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_decides_as_if_each_frame_were_the_first(
        kind in 0..16u8,
        fixed in prop::collection::vec((0..4usize, 0..2u16, any::<bool>()), 0..3),
        bursts in prop::collection::vec(
            (
                0..2u16,
                prop_oneof![4 => Just(0), 1 => Just(2 * SECOND), 1 => Just(400 * SECOND)],
                prop::collection::vec((0..1u16, 0..6usize, 0..5usize, 0..10usize, 0..4usize, any::<bool>()), 1..20),
            ),
            1..12,
        ),
    ) {
        let ports = || [setup(kind), trunk(&[1, 2], Some((1, false))), PortConfig::access(1)];
        let (mut quick, mut slow) = (Bench::new(ports()), Bench::new(ports()));
        for (mac, port, sticky) in fixed {
            for bench in [&mut quick, &mut slow] {
                bench.0.fdb_set(1, DESTINATIONS[mac], port, sticky).unwrap();
            }
        }
        let mut now = 0;
        for (ingress, wait, draws) in bursts {
            now += wait;
            // Each frame three times, for what is the same is remembered otherwise than what is like.
            // Some of the last ones are too long, some are super-frames, and the second ones with them.
            let frames: Vec<_> = draws
                .into_iter()
                .flat_map(|draw| {
                    let (second, third) = match draw.4 {
                        3 => ((80, false), (1600, false)),
                        2 => ((9000, true), (65_000, true)),
                        1 => ((80, true), (1600, draw.5)),
                        _ => ((80, false), (200, false)),
                    };
                    [(packet(draw), (80, false)), (packet(draw), second), (packet(draw), third)]
                })
                .collect();
            let views = || {
                frames.iter().map(|(bytes, (len, gso))| View { gso: *gso, ..View::plain(&bytes[..80], *len) })
            };
            let mut out = [Decision::default(); 64];
            let n = quick.0.classify_alike(now, ingress, views(), alike(views(), &mut vec![]).as_ref(), &mut out);
            prop_assert_eq!(n, frames.len());
            prop_assert_eq!(quick.0.decided_alike(), out[..n].iter().all(|decision| *decision == out[0]));
            for (view, decision) in views().zip(&out) {
                slow.0.set_port(ingress, slow.0.port(ingress).unwrap().clone()).unwrap();
                let wanted = slow.decide_view(now, ingress, view);
                prop_assert_eq!(&wanted, decision);
            }
            let counted = |bench: &Bench| {
                let counters = bench.0.counters(ingress).unwrap();
                let drops: Vec<_> = counters.drops.iter().map(|drops| drops.get()).collect();
                (counters.rx_frames.get(), counters.rx_bytes.get(), counters.forwarded.get(), drops)
            };
            prop_assert_eq!(counted(&quick), counted(&slow));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The same of bursts whose frames differ in little, which a door says.
    #[test]
    fn what_is_known_of_all_of_them_decides_as_if_each_were_asked(
        kind in 0..16u8,
        bursts in prop::collection::vec(
            (
                (0..6usize, 0..3usize, 0..10usize, 0..4usize, any::<bool>()),
                (prop::sample::select(&PORTS), prop::sample::select(&PORTS)),
                1..65usize,
                prop::collection::vec((0..64usize, 0..60usize, 0..8u8), 0..4),
                1..3usize,
            ),
            1..8,
        ),
    ) {
        let ports = || [setup(kind), trunk(&[1, 2], Some((1, false))), PortConfig::access(1)];
        let (mut quick, mut slow) = (Bench::new(ports()), Bench::new(ports()));
        for bench in [&mut quick, &mut slow] {
            bench.0.fdb_set(1, B, 1, false).unwrap();
        }
        for ((dst, src, kind, ip, tagged), (from, to), count, changes, times) in bursts {
            let mut bytes = packet((0, dst, src, kind, ip, tagged));
            // Where the ports are of untagged IPv4 and IPv6; they are told apart in both.
            for at in [34, 54] {
                if kind < 2 || kind == at / 9 {
                    bytes[at..at + 4].copy_from_slice(&[from, to].map(u16::to_be_bytes).concat());
                }
            }
            let mut frames = vec![bytes; count];
            for (number, at, bit) in changes {
                frames[number % count][at] ^= 1 << bit;
            }
            let views = || frames.iter().map(|bytes| View::plain(&bytes[..80], 80));
            let mut ports = vec![];
            let known = alike(views(), &mut ports);
            prop_assert!(known.is_some());
            for _ in 0..times {
                let mut out = [Decision::default(); 64];
                prop_assert_eq!(quick.0.classify_alike(0, 0, views(), known.as_ref(), &mut out), count);
                prop_assert_eq!(quick.0.decided_alike(), out[..count].iter().all(|decision| *decision == out[0]));
                for (view, decision) in views().zip(&out) {
                    slow.0.set_port(0, slow.0.port(0).unwrap().clone()).unwrap();
                    prop_assert_eq!(&slow.decide_view(0, 0, view), decision);
                }
            }
            let counted = |bench: &Bench| {
                let counters = bench.0.counters(0).unwrap();
                (counters.rx_frames.get(), counters.rx_bytes.get(), counters.forwarded.get())
            };
            prop_assert_eq!(counted(&quick), counted(&slow));
        }
    }
}

#[test]
fn another_guard_asks_about_stations_that_stay() {
    let mut bench = Bench::access(setup(3));
    bench.0.fdb_set(1, A, 0, false).unwrap();
    bench.0.fdb_set(1, B, 1, false).unwrap();
    bench.0.fdb_set(1, [2, 0, 0, 0, 0, 0xd], 0, false).unwrap();
    let frames = [packet((0, 1, 0, 0, 1, false)), packet((0, 1, 1, 0, 1, false))];
    let decide = |bench: &mut Bench| {
        let mut out = [Decision::default(); 4];
        let views = [0, 1, 0, 1].map(|i: usize| View::plain(&frames[i], 80));
        bench.0.classify(0, 0, views, &mut out);
        out.map(|decision| decision.out)
    };
    assert_eq!(decide(&mut bench), [Out::Port(1); 4]);
    assert_eq!(decide(&mut bench), [Out::Port(1); 4]);
    let config = PortConfig { guard: Some(Box::new(Guard::new(A))), ..PortConfig::access(1) };
    bench.0.set_port(0, config).unwrap();
    let refused = [Out::Drop(GuardIp4), Out::Drop(GuardMac)];
    assert_eq!(decide(&mut bench), [refused[0], refused[1], refused[0], refused[1]]);
}

#[test]
fn stations_that_take_turns_are_heard() {
    let mut bench = Bench::access(setup(15));
    bench.decide(0, 1, &packet((0, 0, 4, 0, 0, false)));
    let frames = [packet((0, 1, 0, 0, 1, false)), packet((0, 1, 1, 0, 1, false))];
    for step in 0..100 {
        let mut out = [Decision::default(); 4];
        let views = [0, 1, 0, 1].map(|i: usize| seen(&frames[i]));
        bench.decide(step * 10 * SECOND, 1, &packet((0, 0, 4, 0, 0, false)));
        bench.0.classify(step * 10 * SECOND, 0, views, &mut out);
        let age = |mac: &Mac| bench.0.fdb_get(1, *mac).unwrap().age;
        assert!(SOURCES[..2].iter().all(|mac| age(mac) < 2 * SECOND));
    }
}
