//! Where frames go, and how they leave.

use super::*;

#[test]
fn floods() {
    let quiet = PortConfig {
        flood_unknown: false,
        flood_multicast: false,
        flood_broadcast: false,
        ..PortConfig::access(1)
    };
    let ports = [PortConfig::access(1), PortConfig::access(1), quiet.clone(), PortConfig::access(2)];
    let mut bench = Bench::new(ports);
    for (dst, kind) in [(B, Flood::Unknown), (MULTICAST, Flood::Multicast), (BROADCAST, Flood::Broadcast)] {
        let decision = bench.decide(0, 0, &frame(dst, A, &[], 46));
        assert_eq!(decision.out, Out::Flood(kind));
        assert_eq!(bench.0.flood_ports(1), [0, 1, 2]);
        let takers: Vec<_> = (0..5).filter(|&port| bench.0.floods_to(port, &decision)).collect();
        assert_eq!(takers, [0, 1, 3], "as far as the port itself is concerned: the VLAN is flood_ports'");
    }
    for (dst, change) in [
        (B, PortConfig { flood_unknown: true, ..quiet.clone() }),
        (MULTICAST, PortConfig { flood_multicast: true, ..quiet.clone() }),
        (BROADCAST, PortConfig { flood_broadcast: true, ..quiet.clone() }),
    ] {
        bench.0.set_port(2, change).unwrap();
        let decision = bench.decide(0, 0, &frame(dst, A, &[], 46));
        assert!(bench.0.floods_to(2, &decision));
    }
    let unicast = Decision { out: Out::Port(1), ..Decision::default() };
    assert!(!bench.0.floods_to(1, &unicast));
}

#[test]
fn no_member() {
    let mut bench = Bench::new([PortConfig::access(1), PortConfig::access(2)]);
    bench.drops(0, &frame(B, A, &[], 46), NoMember);
    // Another member that does not want it, or is down, is as good as none.
    for config in [
        PortConfig { flood_unknown: false, ..PortConfig::access(1) },
        PortConfig { up: false, ..PortConfig::access(1) },
    ] {
        bench.0.set_port(1, config).unwrap();
        bench.drops(0, &frame(B, A, &[], 46), NoMember);
    }
    bench.0.set_port(1, PortConfig::access(1)).unwrap();
    assert_eq!(bench.out(0, &frame(B, A, &[], 46)), Out::Flood(Flood::Unknown));
    // What the ingress port itself wants does not matter.
    bench.0.set_port(0, PortConfig { flood_unknown: false, ..PortConfig::access(1) }).unwrap();
    assert_eq!(bench.out(0, &frame(B, A, &[], 46)), Out::Flood(Flood::Unknown));
    bench.0.remove_port(1).unwrap();
    bench.drops(0, &frame(B, A, &[], 46), NoMember);
}

#[test]
fn same_port() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.hear(0, B);
    bench.drops(0, &frame(B, A, &[], 46), SamePort);
    bench.drops(0, &frame(C, C, &[], 46), SamePort);
}

fn c_tag(tci: u16) -> u32 {
    0x8100_0000 | u32::from(tci)
}

#[test]
fn tags_on_the_way_out() {
    let keeps = PortConfig { priority_tags: true, ..PortConfig::access(1) };
    let ports = [
        trunk(&[2], Some((1, false))),
        PortConfig::access(1),
        keeps,
        trunk(&[1], None),
        trunk(&[], Some((1, true))),
        trunk(&[1], Some((1, false))),
    ];
    let mut bench = Bench::new(ports);
    let edit = |strip, insert| TagEdit { strip, insert, ..TagEdit::NONE };
    for (tags, wanted) in [
        (&[][..], [edit(0, 0), edit(0, 0), edit(0, c_tag(1)), edit(0, c_tag(1)), edit(0, 0)]),
        // Priority 5 by a tag without a VLAN: kept where there is a tag.
        (
            &[0x8100, 0xa000],
            [edit(4, 0), TagEdit::NONE, edit(4, c_tag(0xa001)), edit(4, c_tag(0xa001)), edit(4, 0)],
        ),
        (&[0x8100, 0], [edit(4, 0), edit(4, 0), edit(4, c_tag(1)), edit(4, c_tag(1)), edit(4, 0)]),
        // The native VLAN may come tagged, and then leaves by tagged ports as it is.
        (&[0x8100, 0xa001], [edit(4, 0), edit(4, c_tag(0xa000)), TagEdit::NONE, TagEdit::NONE, edit(4, 0)]),
        // Drop eligibility alone.
        (&[0x8100, 0x1001], [edit(4, 0), edit(4, c_tag(0x1000)), TagEdit::NONE, TagEdit::NONE, edit(4, 0)]),
        // S-tags travel behind ours.
        (&[0x88a8, 7], [edit(0, 0), edit(0, 0), edit(0, c_tag(1)), edit(0, c_tag(1)), edit(0, 0)]),
    ] {
        let decision = bench.decide(0, 0, &frame(B, A, tags, 46));
        assert_eq!(decision.vlan, 1);
        for (port, wanted) in (1..).zip(wanted) {
            assert_eq!(
                bench.0.egress(port, &decision, &of_len(64, false)),
                Ok(wanted),
                "{tags:x?} by port {port}"
            );
        }
    }
}

#[test]
fn tx_double_tag() {
    let keeps = PortConfig { priority_tags: true, ..PortConfig::access(1) };
    let ports = [
        trunk(&[], Some((1, false))),
        PortConfig::access(1),
        trunk(&[2], Some((1, false))),
        keeps,
        trunk(&[1], None),
    ];
    let mut bench = Bench::new(ports);
    for outer in [1, 0, 0xa000] {
        let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, outer, 0x8100, 2], 46));
        assert_eq!((decision.out, decision.vlan), (Out::Flood(Flood::Unknown), 1));
        for port in 1..4 {
            assert_eq!(bench.0.egress(port, &decision, &of_len(64, false)), Err(TxDoubleTag), "port {port}");
        }
        assert!(bench.0.egress(4, &decision, &of_len(64, false)).is_ok());
    }
    // An S-tag behind it is nobody's VLAN here.
    let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, 1, 0x88a8, 2], 46));
    assert_eq!(
        bench.0.egress(1, &decision, &of_len(64, false)),
        Ok(TagEdit { strip: 4, insert: 0, ..TagEdit::NONE })
    );
}

#[test]
fn tx_too_big() {
    let small = PortConfig { mtu: 100, ..trunk(&[], Some((1, true))) };
    let mut bench = Bench::new([trunk(&[], Some((1, false))), small]);
    for tags in [&[][..], &[0x8100, 1], &[0x88a8, 1], &[0x8100, 1, 0x88a8, 1]] {
        for (payload, fits) in [(100, true), (101, false)] {
            let bytes = frame(B, A, tags, payload);
            let decision = bench.decide(0, 0, &bytes);
            let len = bytes.len() as u32;
            // The tag that is put in or taken off does not count.
            assert_eq!(
                bench.0.egress(1, &decision, &of_len(len, false)).err(),
                (!fits).then_some(TxTooBig),
                "{tags:x?}"
            );
            assert!(bench.0.egress(1, &decision, &of_len(len, true)).is_ok());
        }
    }
}

#[test]
fn tx_port_down_and_tx_not_member() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.0.fdb_set(1, B, 1, false).unwrap();
    bench.0.set_port(1, PortConfig { up: false, ..PortConfig::access(1) }).unwrap();
    let decision = bench.decide(0, 0, &frame(B, A, &[], 46));
    assert_eq!(decision.out, Out::Port(1), "the operator's entry says so");
    assert_eq!(bench.0.egress(1, &decision, &of_len(60, false)), Err(TxPortDown));
    assert_eq!(bench.0.egress(9, &decision, &of_len(60, false)), Err(TxPortDown));
    bench.0.set_port(2, PortConfig::access(2)).unwrap();
    assert_eq!(bench.0.egress(2, &decision, &of_len(60, false)), Err(TxNotMember), "a decision from before");
}
