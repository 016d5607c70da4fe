//! Every rule of the switch, and every reason it drops a frame for, one by one.
#![allow(clippy::unwrap_used)]

use switch::DropReason::{self, *};
use switch::{
    Decision, FdbCount, Flood, Flush, Kind, Mac, Nanos, Native, Out, PortConfig, PortId, PortMode, Switch,
    SwitchConfig, SwitchError, TagEdit, View, VlanId, VlanSet,
};

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const C: Mac = [2, 0, 0, 0, 0, 0xc];
const BROADCAST: Mac = [0xff; 6];
const MULTICAST: Mac = [1, 0, 0x5e, 0, 0, 1];
const LLDP: Mac = [1, 0x80, 0xc2, 0, 0, 0xe];
const SECOND: Nanos = 1_000_000_000;

fn frame(dst: Mac, src: Mac, tags: &[u16], payload: usize) -> Vec<u8> {
    let mut bytes = [dst, src].concat();
    bytes.extend(tags.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend([8, 0]);
    bytes.resize(bytes.len() + payload, 0xa5);
    bytes
}

fn view(bytes: &[u8]) -> View<'_> {
    View { head: &bytes[..bytes.len().min(64)], len: bytes.len() as u32, gso: false }
}

fn trunk(tagged: &[VlanId], native: Option<(VlanId, bool)>) -> PortConfig {
    let mode = PortMode::Trunk {
        tagged: Box::new(tagged.iter().copied().collect::<VlanSet>()),
        native: native.map(|(vlan, tagged)| Native { vlan, tagged }),
    };
    PortConfig { mode, ..PortConfig::access(1) }
}

struct Bench(Switch);

impl Bench {
    /// A switch with these ports, from number 0 on.
    fn new(ports: impl IntoIterator<Item = PortConfig>) -> Bench {
        let mut switch = Switch::new(SwitchConfig::default());
        for (id, config) in ports.into_iter().enumerate() {
            switch.add_port(id as PortId, config).unwrap();
        }
        Bench(switch)
    }

    /// Three access ports in VLAN 1; the first as given.
    fn access(first: PortConfig) -> Bench {
        Bench::new([first, PortConfig::access(1), PortConfig::access(1)])
    }

    fn decide(&mut self, now: Nanos, ingress: PortId, bytes: &[u8]) -> Decision {
        self.decide_view(now, ingress, view(bytes))
    }

    fn decide_view(&mut self, now: Nanos, ingress: PortId, view: View<'_>) -> Decision {
        let mut out = [Decision::default()];
        assert_eq!(self.0.classify(now, ingress, [view], &mut out), 1);
        let drops: u64 = self.0.counters(ingress).map_or(0, |c| c.drops.iter().map(|d| d.get()).sum());
        if let Some(counters) = self.0.counters(ingress) {
            assert_eq!(counters.rx_frames.get(), counters.forwarded.get() + drops);
        }
        out[0]
    }

    fn out(&mut self, ingress: PortId, bytes: &[u8]) -> Out {
        self.decide(0, ingress, bytes).out
    }

    /// `mac` is heard at `port`, untagged.
    fn hear(&mut self, port: PortId, mac: Mac) {
        self.out(port, &frame(BROADCAST, mac, &[], 46));
    }

    #[track_caller]
    fn drops(&mut self, ingress: PortId, bytes: &[u8], reason: DropReason) {
        let before = self.0.counters(ingress).map_or(0, |c| c.drops[reason as usize].get());
        assert_eq!(self.out(ingress, bytes), Out::Drop(reason));
        let after = self.0.counters(ingress).map_or(1, |c| c.drops[reason as usize].get());
        assert_eq!(after, before + 1);
    }

    fn entry(&self, vlan: VlanId, mac: Mac) -> Option<(PortId, Kind)> {
        self.0.fdb_get(vlan, mac).map(|entry| (entry.port, entry.kind))
    }
}

// -- Before a frame has a VLAN ------------------------------------------------------------------------

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
    let out = bench.decide_view(0, 0, View { head: &frame(B, A, &[], 46)[..13], len: 60, gso: false }).out;
    assert_eq!(out, Out::Drop(Runt));
    let out = bench.decide_view(0, 0, View { head: &[], len: u32::MAX, gso: true }).out;
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

// -- VLANs --------------------------------------------------------------------------------------------

#[test]
fn tag_not_allowed_on_an_access_port() {
    let mut bench = Bench::access(PortConfig::access(1));
    for vid in [1, 2, 4094, 4095] {
        bench.drops(0, &frame(B, A, &[0x8100, vid], 46), TagNotAllowed);
    }
    // Double tagging: the priority tag would be taken off, and VLAN 2 come to the light.
    bench.drops(0, &frame(B, A, &[0x8100, 0, 0x8100, 2], 46), TagNotAllowed);
    let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, 0xe000], 46));
    assert_eq!((decision.out, decision.vlan, decision.strip), (Out::Flood(Flood::Unknown), 1, 4));
    assert_eq!((decision.pcp, decision.vid), (0xe, false));
}

#[test]
fn an_s_tag_is_payload() {
    let mut bench = Bench::access(PortConfig::access(1));
    for tags in [&[0x88a8, 3][..], &[0x88a8, 3, 0x8100, 5]] {
        let decision = bench.decide(0, 0, &frame(B, A, tags, 46));
        assert_eq!((decision.out, decision.vlan, decision.strip), (Out::Flood(Flood::Unknown), 1, 0));
        assert_eq!(bench.0.egress(1, &decision, 64, false), Ok(TagEdit::NONE));
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

// -- Learning -----------------------------------------------------------------------------------------

#[test]
fn a_station_is_learned_in_its_vlan_only() {
    let mut bench = Bench::new([trunk(&[1, 2], None), PortConfig::access(1), PortConfig::access(2)]);
    bench.out(0, &frame(BROADCAST, A, &[0x8100, 1], 46));
    assert_eq!(bench.out(1, &frame(A, B, &[], 46)), Out::Port(0));
    assert_eq!(bench.out(2, &frame(A, B, &[], 46)), Out::Flood(Flood::Unknown));
    assert_eq!((bench.entry(1, A), bench.entry(2, A)), (Some((0, Kind::Learned)), None));
}

#[test]
fn a_station_moves() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.hear(0, A);
    assert_eq!(bench.out(2, &frame(A, B, &[], 46)), Out::Port(0));
    bench.hear(1, A);
    // The very frame that was decided before goes elsewhere now.
    assert_eq!(bench.out(2, &frame(A, B, &[], 46)), Out::Port(1));
    assert_eq!(bench.0.fdb_count_port(0).learned, 0);
}

#[test]
fn a_station_ages_out_unless_it_is_heard() {
    let mut bench = Bench::access(PortConfig::access(1));
    let (hello, answer) = (frame(BROADCAST, A, &[], 46), frame(A, B, &[], 46));
    bench.decide(0, 0, &hello);
    // The same frame as before, from a port where nothing else has changed: it counts as heard.
    bench.decide(200 * SECOND, 0, &hello);
    assert_eq!(bench.decide(400 * SECOND, 1, &answer).out, Out::Port(0));
    assert_eq!(bench.decide(502 * SECOND, 1, &answer).out, Out::Flood(Flood::Unknown));
    assert_eq!(bench.entry(1, A), None);
    let deadline = bench.0.deadline().unwrap();
    assert!(deadline > 800 * SECOND && deadline < 804 * SECOND, "B, which was heard last at 502 s");
    bench.0.tick(deadline);
    assert_eq!((bench.0.fdb_count().learned, bench.0.deadline()), (0, None));
}

#[test]
fn learning_off() {
    let mut bench = Bench::access(PortConfig { learning: false, ..PortConfig::access(1) });
    bench.hear(0, A);
    assert_eq!(bench.entry(1, A), None);
    bench.hear(1, A);
    bench.hear(0, A);
    assert_eq!(bench.entry(1, A), Some((1, Kind::Learned)), "it does not move there either");
}

#[test]
fn a_ports_limit() {
    for drops in [false, true] {
        let config = PortConfig { mac_limit: 2, mac_limit_drops: drops, ..PortConfig::access(1) };
        let mut bench = Bench::access(config);
        bench.hear(0, A);
        bench.hear(0, B);
        bench.hear(1, C);
        // A new station, and one that moves, are two different paths.
        for src in [[2, 0, 0, 0, 0, 1], C] {
            let bytes = frame(BROADCAST, src, &[], 46);
            if drops {
                bench.drops(0, &bytes, MacLimit);
            } else {
                assert_eq!(bench.out(0, &bytes), Out::Flood(Flood::Broadcast));
            }
        }
        assert_eq!(bench.entry(1, C), Some((1, Kind::Learned)));
        assert_eq!(bench.0.fdb_count_port(0), FdbCount { learned: 2, fixed: 0 });
        // Who is known is not affected, and static entries do not count.
        assert_eq!(bench.out(0, &frame(BROADCAST, A, &[], 46)), Out::Flood(Flood::Broadcast));
        bench.0.fdb_set(1, [2, 0, 0, 0, 0, 9], 0, false).unwrap();
        assert_eq!(bench.0.fdb_count_port(0), FdbCount { learned: 2, fixed: 1 });
        // Room again, for the same frame that had none.
        bench.0.fdb_remove(1, A).unwrap();
        bench.hear(0, [2, 0, 0, 0, 0, 1]);
        assert!(bench.entry(1, [2, 0, 0, 0, 0, 1]).is_some());
    }
}

#[test]
fn limits_of_a_vlan_and_of_the_table() {
    for (vlan_limit, fdb_limit) in [(3, 100), (100, 3)] {
        let config = SwitchConfig { vlan_limit, fdb_limit, ..SwitchConfig::default() };
        let mut bench = Bench(Switch::new(config));
        for port in 0..2 {
            bench.0.add_port(port, PortConfig::access(1)).unwrap();
        }
        for n in 0..5 {
            assert_eq!(
                bench.out(0, &frame(BROADCAST, [2, 0, 0, 0, 0, n], &[], 46)),
                Out::Flood(Flood::Broadcast)
            );
        }
        assert_eq!(bench.0.fdb_count().learned, 3);
        // A move needs no room.
        bench.hear(1, [2, 0, 0, 0, 0, 2]);
        assert_eq!(bench.entry(1, [2, 0, 0, 0, 0, 2]), Some((1, Kind::Learned)));
        // The operator's entry takes the place of the one heard longest ago, if it must.
        bench.0.fdb_set(1, A, 0, false).unwrap();
        assert_eq!(bench.entry(1, [2, 0, 0, 0, 0, 0]).is_some(), fdb_limit == 100);
    }
}

#[test]
fn static_entries_stay() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.0.fdb_set(1, A, 0, false).unwrap();
    bench.hear(1, A);
    assert_eq!(bench.entry(1, A), Some((0, Kind::Static)));
    bench.0.tick(1000 * SECOND);
    assert_eq!(bench.out(2, &frame(A, B, &[], 46)), Out::Port(0));
    assert_eq!(bench.0.fdb_flush(Flush::default()), 1, "B alone");
    assert_eq!(bench.0.fdb_flush(Flush { fixed: true, ..Flush::default() }), 1);
}

#[test]
fn station_sticky() {
    // By the operator's word ...
    let mut bench = Bench::access(PortConfig::access(1));
    bench.0.fdb_set(1, A, 1, true).unwrap();
    bench.drops(0, &frame(BROADCAST, A, &[], 46), StationSticky);
    bench.hear(1, A);
    assert_eq!(bench.entry(1, A), Some((1, Kind::Sticky)));
    // ... whether the other port learns or not ...
    bench.0.set_port(0, PortConfig { learning: false, ..PortConfig::access(1) }).unwrap();
    bench.drops(0, &frame(BROADCAST, A, &[], 46), StationSticky);
    // ... or because it was heard at a sticky port, until that entry ages out.
    let mut bench = Bench::access(PortConfig { sticky: true, ..PortConfig::access(1) });
    bench.hear(0, A);
    bench.drops(1, &frame(BROADCAST, A, &[], 46), StationSticky);
    assert_eq!(
        bench.decide(301 * SECOND, 1, &frame(BROADCAST, A, &[], 46)).out,
        Out::Flood(Flood::Broadcast)
    );
    assert_eq!(bench.entry(1, A), Some((1, Kind::Learned)));
}

// -- Forwarding ---------------------------------------------------------------------------------------

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

// -- Leaving ------------------------------------------------------------------------------------------

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
    let edit = |strip, insert| TagEdit { strip, insert };
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
            assert_eq!(bench.0.egress(port, &decision, 64, false), Ok(wanted), "{tags:x?} by port {port}");
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
            assert_eq!(bench.0.egress(port, &decision, 64, false), Err(TxDoubleTag), "port {port}");
        }
        assert!(bench.0.egress(4, &decision, 64, false).is_ok());
    }
    // An S-tag behind it is nobody's VLAN here.
    let decision = bench.decide(0, 0, &frame(B, A, &[0x8100, 1, 0x88a8, 2], 46));
    assert_eq!(bench.0.egress(1, &decision, 64, false), Ok(TagEdit { strip: 4, insert: 0 }));
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
                bench.0.egress(1, &decision, len, false).err(),
                (!fits).then_some(TxTooBig),
                "{tags:x?}"
            );
            assert!(bench.0.egress(1, &decision, len, true).is_ok());
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
    assert_eq!(bench.0.egress(1, &decision, 60, false), Err(TxPortDown));
    assert_eq!(bench.0.egress(9, &decision, 60, false), Err(TxPortDown));
    bench.0.set_port(2, PortConfig::access(2)).unwrap();
    assert_eq!(bench.0.egress(2, &decision, 60, false), Err(TxNotMember), "a decision from before");
}

// -- Bursts -------------------------------------------------------------------------------------------

#[test]
fn a_burst_is_counted_and_decided_in_order() {
    let mut bench = Bench::access(PortConfig::access(1));
    let frames = [
        frame(A, B, &[], 46),
        frame(A, B, &[], 500),
        frame(A, B, &[], 1501),
        frame(A, B, &[0x8100, 0], 46),
        frame(A, B, &[0x8100, 7], 46),
        frame(A, B, &[], 46)[..10].to_vec(),
        frame(B, A, &[], 46),
        frame(A, B, &[], 46),
    ];
    let mut out = [Decision::default(); 64];
    assert_eq!(bench.0.classify(0, 0, frames.iter().map(|bytes| view(bytes)), &mut out), frames.len());
    let unknown = Out::Flood(Flood::Unknown);
    let wanted = [
        unknown,
        unknown,
        Out::Drop(Giant),
        unknown,
        Out::Drop(TagNotAllowed),
        Out::Drop(Runt),
        Out::Drop(SamePort),
        Out::Drop(SamePort),
    ];
    assert_eq!(out.map(|decision| decision.out)[..8], wanted, "the last one knows A, from the frame before");
    assert_eq!(out[3].strip, 4, "tags are looked at in every frame");
    let counters = bench.0.counters(0).unwrap();
    assert_eq!(counters.rx_frames.get(), 8);
    assert_eq!(counters.rx_bytes.get(), frames.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!(counters.forwarded.get(), 3);
    assert_eq!(counters.drops[SamePort as usize].get(), 2);
}

#[test]
fn what_there_is_no_room_for_stays_in_the_iterator() {
    let mut bench = Bench::access(PortConfig::access(1));
    let bytes = frame(B, A, &[], 46);
    let mut frames = std::iter::repeat_n(view(&bytes), 5);
    let mut out = [Decision::default(); 2];
    for left in [3, 1, 0] {
        let n = bench.0.classify(0, 0, &mut frames, &mut out);
        assert_eq!((n, frames.len()), (if left == 0 { 1 } else { 2 }, left));
    }
    assert_eq!(bench.0.counters(0).unwrap().rx_frames.get(), 5);
}

// -- Configuration ------------------------------------------------------------------------------------

#[test]
fn what_a_switch_refuses() {
    let mut bench = Bench::access(PortConfig::access(1));
    let switch = &mut bench.0;
    assert_eq!(switch.add_port(4096, PortConfig::access(1)).err(), Some(SwitchError::BadPort(4096)));
    assert_eq!(switch.add_port(0, PortConfig::access(1)).err(), Some(SwitchError::PortExists));
    for vlan in [0, 4095, u16::MAX] {
        assert_eq!(switch.set_port(0, PortConfig::access(vlan)), Err(SwitchError::BadVlan(vlan)));
        assert_eq!(switch.set_port(0, trunk(&[1], Some((vlan, true)))), Err(SwitchError::BadVlan(vlan)));
        assert_eq!(switch.fdb_set(vlan, A, 0, false), Err(SwitchError::BadVlan(vlan)));
    }
    for mtu in [0, 67, 65_522] {
        let config = PortConfig { mtu, ..PortConfig::access(1) };
        assert_eq!(switch.add_port(9, config).err(), Some(SwitchError::BadMtu(mtu)));
    }
    assert_eq!(switch.set_port(9, PortConfig::access(1)), Err(SwitchError::NoSuchPort));
    assert_eq!(switch.remove_port(9), Err(SwitchError::NoSuchPort));
    assert_eq!(switch.fdb_set(1, A, 9, false), Err(SwitchError::NoSuchPort));
    assert_eq!(switch.fdb_set(2, A, 0, false), Err(SwitchError::NotMember(2)));
    for mac in [[0; 6], BROADCAST, MULTICAST] {
        assert_eq!(switch.fdb_set(1, mac, 0, false), Err(SwitchError::BadMac));
    }
    assert_eq!(switch.fdb_remove(1, A), Err(SwitchError::NoSuchEntry));
    assert_eq!(switch.port(0), Some(&PortConfig::access(1)), "nothing was changed");
    assert_eq!(switch.ports().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_changed_port_keeps_what_is_still_true() {
    let mut bench = Bench::new([trunk(&[1, 2], None), trunk(&[1, 2], None)]);
    for vid in [1, 2] {
        bench.out(0, &frame(BROADCAST, A, &[0x8100, vid], 46));
        bench.0.fdb_set(vid, B, 0, true).unwrap();
    }
    let received = bench.0.counters(0).unwrap().rx_frames.get();
    bench.0.set_port(0, trunk(&[2, 3], None)).unwrap();
    assert_eq!((bench.entry(1, A), bench.entry(1, B)), (None, None));
    assert_eq!((bench.entry(2, A), bench.entry(2, B)), (Some((0, Kind::Learned)), Some((0, Kind::Sticky))));
    assert_eq!(bench.0.counters(0).unwrap().rx_frames.get(), received);
    assert_eq!((bench.0.flood_ports(1), bench.0.flood_ports(3)), (&[1][..], &[0][..]));
    // Down: what it learned is forgotten, what the operator said is not.
    bench.0.set_port(0, PortConfig { up: false, ..trunk(&[2, 3], None) }).unwrap();
    assert_eq!((bench.entry(2, A), bench.entry(2, B)), (None, Some((0, Kind::Sticky))));
    bench.0.remove_port(0).unwrap();
    assert_eq!((bench.0.fdb_count(), bench.0.flood_ports(2)), (FdbCount::default(), &[1][..]));
    assert_eq!((bench.0.counters(0).is_none(), bench.0.port(0)), (true, None));
    // A new port of that number starts anew.
    bench.0.add_port(0, trunk(&[2], None)).unwrap();
    assert_eq!(bench.0.counters(0).unwrap().rx_frames.get(), 0);
}

#[test]
fn flushes() {
    for (which, left) in [
        (Flush::default(), [false, false, false, false, true]),
        (Flush { port: Some(0), ..Flush::default() }, [false, false, true, true, true]),
        (Flush { vlan: Some(1), ..Flush::default() }, [false, true, false, true, true]),
        (Flush { port: Some(0), vlan: Some(1), fixed: false }, [false, true, true, true, true]),
        (Flush { port: Some(0), vlan: Some(1), fixed: true }, [false, true, true, true, false]),
        (Flush { port: Some(9), vlan: None, fixed: true }, [true; 5]),
        (Flush { port: None, vlan: Some(4095), fixed: true }, [true; 5]),
    ] {
        let mut bench = Bench::new([trunk(&[1, 2], None), trunk(&[1, 2], None)]);
        for (port, vid, src) in [(0, 1, A), (0, 2, A), (1, 1, B), (1, 2, B)] {
            bench.out(port, &frame(BROADCAST, src, &[0x8100, vid], 46));
        }
        bench.0.fdb_set(1, C, 0, false).unwrap();
        let flushed = bench.0.fdb_flush(which);
        let now =
            [(1, A), (2, A), (1, B), (2, B), (1, C)].map(|(vlan, mac)| bench.entry(vlan, mac).is_some());
        assert_eq!(now, left, "{which:?}");
        assert_eq!(flushed, left.iter().filter(|&&left| !left).count());
    }
}

#[test]
fn capacity() {
    let mut switch = Switch::new(SwitchConfig::default());
    let all: Vec<_> = (1..=4094).collect();
    switch.add_port(4095, trunk(&all, None)).unwrap();
    for port in 0..4094 {
        switch.add_port(port, PortConfig::access(port + 1)).unwrap();
    }
    let mut out = [Decision::default()];
    for vlan in [1, 2048, 4094] {
        assert_eq!(switch.flood_ports(vlan), [vlan - 1, 4095]);
        let bytes = frame(BROADCAST, A, &[0x8100, vlan], 46);
        switch.classify(0, 4095, [view(&bytes)], &mut out);
        assert_eq!((out[0].out, out[0].vlan), (Out::Flood(Flood::Broadcast), vlan));
    }
    let (_, ports) = switch.memory();
    assert!(ports < 4 << 20, "{ports} bytes for 4,095 ports and 4,094 VLANs");
}
