//! What a frame is refused for before its address counts, and which VLAN it belongs to.

use super::*;

#[test]
fn runt() {
    let mut bench = Bench::access(PortConfig::access(1));
    let bytes = frame(B, A, &[], 46);
    for n in 0..14 {
        bench.drops(0, &bytes[..n], Runt);
    }
    for n in 14..bytes.len() {
        assert_eq!(bench.out(0, &bytes[..n]), Out::Flood(Flood::Unknown), "{n} bytes");
    }
}

#[test]
fn a_head_shorter_than_promised_is_no_more_than_it_is() {
    let mut bench = Bench::access(PortConfig::access(1));
    let out = bench.decide_view(0, 0, View::plain(&frame(B, A, &[], 46)[..13], 60)).out;
    assert_eq!(out, Out::Drop(Runt));
    let out = bench.decide_view(0, 0, View { gso: true, ..View::plain(&[], u32::MAX) }).out;
    assert_eq!(out, Out::Drop(Runt));
}

#[test]
fn giant() {
    let mut bench =
        Bench::new([PortConfig { mtu: 100, ..trunk(&[2], Some((1, false))) }, trunk(&[1, 2], None)]);
    for tags in [&[][..], &[0x8100, 2], &[0x88a8, 2], &[0x8100, 2, 0x8100, 3]] {
        assert_eq!(bench.out(0, &frame(B, A, tags, 100)), Out::Flood(Flood::Unknown), "{tags:x?}");
        bench.drops(0, &frame(B, A, tags, 101), Giant);
        // After a sound frame of the same flow, too, and the other way round.
        assert_eq!(bench.out(0, &frame(B, A, tags, 100)), Out::Flood(Flood::Unknown));
    }
    let bytes = frame(B, A, &[], 9000);
    let decision = bench.decide_view(0, 0, View { gso: true, ..view(&bytes) });
    assert_eq!(decision.out, Out::Flood(Flood::Unknown));
}

#[test]
fn malformed_tag() {
    let mut bench = Bench::new([trunk(&[1, 2], Some((1, false))), trunk(&[1, 2], None)]);
    let bytes = frame(B, A, &[0x8100, 1, 0x88a8, 2], 0);
    assert_eq!(bytes.len(), 22);
    for n in 14..22 {
        bench.drops(0, &bytes[..n], MalformedTag);
    }
    assert_eq!(bench.out(0, &bytes), Out::Flood(Flood::Unknown));
    bench.drops(0, &frame(B, A, &[0x8100, 1, 0x88a8, 2, 0x8100, 3], 46), MalformedTag);
}

#[test]
fn source_addresses_that_no_station_has() {
    let mut bench = Bench::access(PortConfig::access(1));
    for src in [BROADCAST, MULTICAST, LLDP] {
        bench.drops(0, &frame(B, src, &[], 46), SourceMulticast);
    }
    bench.drops(0, &frame(B, [0; 6], &[], 46), SourceZero);
    assert_eq!(bench.0.fdb_count(), FdbCount::default());
}

#[test]
fn link_local_addresses_stay_here() {
    let mut bench = Bench::access(PortConfig::access(1));
    for last in 0..16 {
        bench.drops(0, &frame([1, 0x80, 0xc2, 0, 0, last], A, &[], 46), LinkLocal);
    }
    assert_eq!(bench.0.fdb_count().learned, 0);
    // The next one is ordinary multicast (802.1Q 8.6.3 has sixteen).
    assert_eq!(bench.out(0, &frame([1, 0x80, 0xc2, 0, 0, 16], A, &[], 46)), Out::Flood(Flood::Multicast));
}

#[test]
fn transparent_ports_exchange_link_local_frames_among_themselves() {
    let transparent = PortConfig { transparent: true, ..PortConfig::access(1) };
    let mut bench = Bench::new([transparent.clone(), PortConfig::access(1)]);
    let bytes = frame(LLDP, A, &[], 46);
    bench.drops(0, &bytes, NoMember);
    bench.drops(1, &bytes, LinkLocal);
    bench.0.add_port(2, transparent.clone()).unwrap();
    let decision = bench.decide(0, 0, &bytes);
    assert_eq!(decision.out, Out::Flood(Flood::LinkLocal));
    assert!(bench.0.floods_to(2, &decision) && !bench.0.floods_to(1, &decision));
    // As multicast, and so not where that is not wanted.
    bench.0.set_port(2, PortConfig { flood_multicast: false, ..transparent }).unwrap();
    bench.drops(0, &bytes, NoMember);
}

#[test]
fn port_down() {
    let mut bench = Bench::access(PortConfig { up: false, ..PortConfig::access(1) });
    bench.drops(0, &frame(B, A, &[], 46), PortDown);
    bench.drops(0, &[], PortDown);
    assert_eq!(bench.0.fdb_count().learned, 0);
    let mut out = [Decision::default(); 3];
    let bytes = frame(B, A, &[], 46);
    assert_eq!(bench.0.classify(0, 77, [view(&bytes), view(&bytes)], &mut out), 2);
    assert!(out[..2].iter().all(|decision| decision.out == Out::Drop(PortDown)), "a port that is not there");
    assert_eq!(bench.0.classify(0, 4096, [view(&bytes)], &mut out), 1);
}

#[test]
fn tag_not_allowed_on_an_access_port() {
    let mut bench = Bench::access(PortConfig::access(1));
    for vid in [1, 2, 4094, 4095] {
        bench.drops(0, &frame(B, A, &[0x8100, vid], 46), TagNotAllowed);
    }
    // Double tagging: the priority tag would be taken off, and VLAN 2 come to the light.
    bench.drops(0, &frame(B, A, &[0x8100, 0, 0x8100, 2], 46), TagNotAllowed);
    let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, 0xe000], 46));
    assert_eq!((decision.out, decision.vlan), (Out::Flood(Flood::Unknown), 1));
    assert_eq!((decision.pcp, decision.came), (0xe, Came::Priority));
}

#[test]
fn an_s_tag_is_payload() {
    let mut bench = Bench::access(PortConfig::access(1));
    for tags in [&[0x88a8, 3][..], &[0x88a8, 3, 0x8100, 5]] {
        let decision = bench.decide(0, 0, &frame(B, A, tags, 46));
        assert_eq!((decision.out, decision.vlan), (Out::Flood(Flood::Unknown), 1));
        assert_eq!(bench.0.egress(1, &decision, &of_len(64, false)), Ok(TagEdit::NONE));
    }
    let mut bench = Bench::new([trunk(&[3, 5], None), trunk(&[3, 5], None)]);
    bench.drops(0, &frame(B, A, &[0x88a8, 3, 0x8100, 5], 46), UntaggedNotAllowed);
}

#[test]
fn untagged_not_allowed_on_a_trunk_without_a_native_vlan() {
    let mut bench = Bench::new([trunk(&[1], None), trunk(&[1], None)]);
    bench.drops(0, &frame(B, A, &[], 46), UntaggedNotAllowed);
    bench.drops(0, &frame(B, A, &[0x8100, 0xa000], 46), UntaggedNotAllowed);
}

#[test]
fn vlan_not_member() {
    let mut bench = Bench::new([trunk(&[1, 3], Some((5, false))), trunk(&[1, 2, 3, 5], None)]);
    for vid in [2, 4, 4094, 4095] {
        bench.drops(0, &frame(B, A, &[0x8100, vid], 46), VlanNotMember);
    }
    for vid in [1, 3, 5] {
        let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, vid], 46));
        assert_eq!((decision.out, decision.vlan), (Out::Flood(Flood::Unknown), vid));
    }
    assert_eq!(bench.decide(0, 0, &frame(B, A, &[], 46)).vlan, 5);
}
