//! What is particular about a port to the physical network.

use super::*;
use switch::stp::PortState;

/// An uplink that carries VLAN 10 as 110 and 20 as 10, and the native VLAN 30.
fn uplink() -> PortConfig {
    let translate = VlanMap::new([(10, 110), (20, 10), (30, 30)]);
    PortConfig { translate, uplink: true, ..trunk(&[10, 20], Some((30, false))) }
}

fn edit(bench: &Bench, egress: PortId, decision: &Decision, bytes: &[u8]) -> TagEdit {
    bench.0.egress(egress, decision, &view(bytes)).unwrap()
}

#[test]
fn vids_are_translated_both_ways() {
    let ports = [uplink(), PortConfig::access(10), PortConfig::access(20), trunk(&[10, 20], None)];
    let mut bench = Bench::new(ports);
    for (vid, vlan, access) in [(110, 10, 1), (10, 20, 2)] {
        let bytes = frame(BROADCAST, A, &[0x8100, 0x6000 | vid], 46);
        let decision = bench.decide(0, 0, &bytes);
        assert_eq!((decision.out, decision.vlan), (Out::Flood(Flood::Broadcast), vlan));
        assert_eq!(edit(&bench, access, &decision, &bytes), TagEdit { strip: 4, insert: 0, ..TagEdit::NONE });
        // The other trunk knows it by our number, although it came with a tag.
        let insert = 0x8100_6000 | u32::from(vlan);
        assert_eq!(edit(&bench, 3, &decision, &bytes), TagEdit { strip: 4, insert, ..TagEdit::NONE });

        let untagged = frame(BROADCAST, B, &[], 46);
        let decision = bench.decide(0, access, &untagged);
        let insert = 0x8100_0000 | u32::from(vid);
        assert_eq!(edit(&bench, 0, &decision, &untagged), TagEdit { strip: 0, insert, ..TagEdit::NONE });

        let tagged = frame(BROADCAST, C, &[0x8100, vlan], 46);
        let decision = bench.decide(0, 3, &tagged);
        assert_eq!(edit(&bench, 0, &decision, &tagged), TagEdit { strip: 4, insert, ..TagEdit::NONE });
    }
}

#[test]
fn numbers_of_ours_mean_nothing_on_the_wire() {
    let mut bench = Bench::new([uplink(), PortConfig::access(10), PortConfig::access(20)]);
    for vid in [20, 111, 4095] {
        bench.drops(0, &frame(BROADCAST, A, &[0x8100, vid], 46), VlanNotMember);
    }
    assert_eq!(bench.decide(0, 0, &frame(BROADCAST, A, &[0x8100, 30], 46)).vlan, 30, "native, tagged");
    assert_eq!(bench.decide(0, 0, &frame(BROADCAST, A, &[], 46)).vlan, 30, "native");
}

#[test]
fn a_priority_that_stays_is_not_mixed_up_with_a_vid() {
    // Untagged by VID 0 with a priority: what the wire's tag said must not stand there.
    let keeps = PortConfig { priority_tags: true, ..PortConfig::access(10) };
    let mut bench = Bench::new([uplink(), keeps]);
    let bytes = frame(BROADCAST, A, &[0x8100, 0x6000 | 110], 46);
    let decision = bench.decide(0, 0, &bytes);
    assert_eq!(
        edit(&bench, 1, &decision, &bytes),
        TagEdit { strip: 4, insert: 0x8100_6000, ..TagEdit::NONE }
    );
}

#[test]
fn a_map_is_one_to_one() {
    assert!(VlanMap::new([(10, 110), (20, 110)]).is_none());
    assert!(VlanMap::new([(10, 110), (10, 120)]).is_none());
    assert!(VlanMap::new([(0, 1)]).is_none());
    assert!(VlanMap::new([(1, 4095)]).is_none());
}

/// A broadcast that no guard looks into.
fn broadcast(src: Mac) -> Vec<u8> {
    let mut bytes = frame(BROADCAST, src, &[], 46);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

#[test]
fn what_we_sent_is_never_taken_in_again() {
    let guest = PortConfig { guard: Some(Box::new(Guard::new(A))), ..PortConfig::access(10) };
    let mut bench = Bench::new([PortConfig { uplink: true, ..PortConfig::access(10) }, guest]);
    bench.drops(0, &broadcast(A), UplinkOwn); // nobody has heard it yet, and yet it is known to live here
    assert_eq!(bench.entry(10, A), None);
    bench.out(1, &broadcast(A));
    assert_eq!(bench.entry(10, A), Some((1, Kind::Learned)));
    let reflection = broadcast(A);
    bench.drops(0, &reflection, UplinkOwn);
    bench.drops(0, &reflection, UplinkOwn);
    assert_eq!(bench.entry(10, A), Some((1, Kind::Learned)));
    // It moves out again when its port goes.
    bench.0.remove_port(1).unwrap();
    bench.hear(0, A);
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
}

#[test]
fn all_of_a_guests_own_stations_are_its_heard_or_not() {
    let mut guard = Guard::new(A);
    guard.add_mac(B);
    // The address of a virtual router may be at another router out there.
    assert!(guard.add_addresses("10.0.0.1".parse().unwrap(), 32, Some(C), None));
    let guest = PortConfig { guard: Some(Box::new(guard)), ..PortConfig::access(10) };
    let mut bench = Bench::new([PortConfig { uplink: true, ..PortConfig::access(10) }]);
    bench.out(0, &broadcast(B));
    bench.0.add_port(1, guest.clone()).unwrap();
    assert_eq!(bench.entry(10, B), None, "it is forgotten where it was heard");
    for mac in [A, B] {
        bench.drops(0, &broadcast(mac), UplinkOwn);
    }
    bench.out(0, &broadcast(C));
    assert_eq!(bench.entry(10, C), Some((0, Kind::Learned)));
    assert_eq!(bench.0.vouched(1), Some((vec![A, B], vec![10])));
    // It gives one up.
    let one = PortConfig { guard: Some(Box::new(Guard::new(A))), ..guest };
    bench.0.set_port(1, one).unwrap();
    bench.out(0, &broadcast(B));
    assert_eq!(bench.entry(10, B), Some((0, Kind::Learned)));
}

#[test]
fn whatever_an_uplink_brings_guests_are_learned() {
    for (vlan_limit, fdb_limit) in [(20, 1000), (1000, 20)] {
        let config = SwitchConfig { vlan_limit, fdb_limit, ..SwitchConfig::default() };
        let mut switch = Switch::new(config);
        switch.add_port(0, PortConfig { uplink: true, ..PortConfig::access(10) }).unwrap();
        for (port, mac) in [(1, A), (2, B)] {
            let guest = PortConfig { guard: Some(Box::new(Guard::new(mac))), ..PortConfig::access(10) };
            switch.add_port(port, guest).unwrap();
        }
        switch.add_port(3, PortConfig::access(10)).unwrap();
        // And one at another switch.
        let far = [2, 0, 0, 0, 0, 0xd];
        switch.add_port(4, PortConfig { places: true, ..PortConfig::access(10) }).unwrap();
        switch.set_beyond(far, 10, 7, 4);
        let mut bench = Bench(switch);
        bench.out(1, &broadcast(A));
        for n in 0..100 {
            bench.out(0, &broadcast([2, 1, 0, 0, 0, n]));
        }
        bench.out(4, &broadcast(far));
        bench.out(2, &broadcast(B));
        assert_eq!(bench.entry(10, A), Some((1, Kind::Learned)), "heard longest ago, and a guest's");
        assert_eq!(bench.entry(10, far), Some((4, Kind::Learned)));
        assert_eq!(bench.entry(10, B), Some((2, Kind::Learned)));
        // Nobody else has more room than there is.
        for port in [3, 4] {
            bench.out(port, &broadcast(C));
            assert_eq!(bench.entry(10, C), None);
        }
        let guests = if fdb_limit == 20 { 0 } else { 2 };
        assert_eq!(bench.0.fdb_count().learned, 20 + guests);
    }
}

#[test]
fn a_guest_that_moves_in_is_not_out_there_any_more() {
    let guest = |vlan| PortConfig { guard: Some(Box::new(Guard::new(A))), ..PortConfig::access(vlan) };
    let mut bench = Bench::new([PortConfig { uplink: true, ..trunk(&[10, 20], None) }]);
    let out_there = frame(BROADCAST, A, &[0x8100, 10], 46);
    bench.out(0, &out_there);
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
    // Its port waits for it, down: it is still where it was.
    bench.0.add_port(1, PortConfig { up: false, ..guest(10) }).unwrap();
    bench.out(0, &out_there);
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
    bench.0.set_port(1, guest(10)).unwrap();
    assert_eq!(bench.entry(10, A), None);
    bench.drops(0, &out_there, UplinkOwn);
    // In another VLAN the address may be another's.
    bench.out(0, &frame(BROADCAST, A, &[0x8100, 20], 46));
    assert_eq!(bench.entry(20, A), Some((0, Kind::Learned)));
    // The port moves there, and with it what is its own.
    bench.0.set_port(1, guest(20)).unwrap();
    bench.drops(0, &frame(BROADCAST, A, &[0x8100, 20], 46), UplinkOwn);
    bench.out(0, &out_there);
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
    bench.0.remove_port(1).unwrap();
    bench.out(0, &frame(BROADCAST, A, &[0x8100, 20], 46));
    assert_eq!(bench.entry(20, A), Some((0, Kind::Learned)));
}

#[test]
fn stations_that_nobody_vouches_for_move_as_on_any_bridge() {
    let mut forger = Guard::new(A);
    forger.roles.forged_transmits = true;
    for guard in [None, Some(Box::new(forger))] {
        let guest = PortConfig { guard, ..PortConfig::access(10) };
        let mut bench = Bench::new([PortConfig { uplink: true, ..PortConfig::access(10) }, guest]);
        bench.hear(1, B);
        bench.hear(0, B);
        assert_eq!(bench.entry(10, B), Some((0, Kind::Learned)));
    }
}

#[test]
fn a_guest_at_another_switch_is_not_out_there_either() {
    let uplink = || PortConfig { uplink: true, ..trunk(&[10, 20], None) };
    let link = |up| PortConfig { up, places: true, ..trunk(&[10], None) };
    let from = |vlan| frame(BROADCAST, A, &[0x8100, vlan], 46);
    let mut bench = Bench::new([uplink(), link(true), PortConfig::access(10)]);
    bench.out(0, &from(10));
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
    // Its port over there has number 7; it is reached by port 1.
    bench.0.set_beyond(A, 10, 7, 1);
    assert_eq!(bench.entry(10, A), None, "it is forgotten where it was heard");
    bench.drops(0, &from(10), UplinkOwn);
    bench.out(1, &from(10));
    assert_eq!(bench.entry(10, A), Some((1, Kind::Learned)));
    bench.drops(0, &from(10), UplinkOwn);
    bench.out(0, &from(20));
    assert_eq!(bench.entry(20, A), Some((0, Kind::Learned)), "in another VLAN it may be another's");
    // Where the link does not forward, and where the uplink is part of the tree, it may be reached by that.
    for (state, control, own) in [
        (PortState::Discarding, false, false),
        (PortState::Forwarding, true, false),
        (PortState::Forwarding, false, true),
    ] {
        bench.0.set_state(1, state, false).unwrap();
        bench.0.set_state(0, PortState::Forwarding, control).unwrap();
        bench.0.fdb_flush(Flush { port: None, vlan: None, fixed: false });
        assert_eq!(bench.out(0, &from(10)) == Out::Drop(UplinkOwn), own, "{state:?} {control}");
    }
    bench.0.set_port(1, link(false)).unwrap();
    bench.out(0, &from(10));
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
    bench.0.set_port(1, link(true)).unwrap();
    bench.0.set_beyond(A, 10, 7, 1);
    bench.drops(0, &from(10), UplinkOwn);
    bench.0.forget_beyond(A, 10, 7);
    bench.out(0, &from(10));
    assert_eq!(bench.entry(10, A), Some((0, Kind::Learned)));
}

#[test]
fn a_guest_at_another_switch_is_out_there_only_while_the_link_does_not_forward() {
    let uplink = || PortConfig { uplink: true, ..trunk(&[10], None) };
    let link = |up| PortConfig { up, places: true, ..trunk(&[10], None) };
    let heard = frame(BROADCAST, A, &[0x8100, 10], 46);
    let outside = Some((0, Kind::Learned));
    let mut bench = Bench::new([uplink(), link(true), PortConfig::access(10)]);
    bench.0.set_beyond(A, 10, 7, 1);
    // Whatever kept the link from forwarding: silent as the guest may be, nobody has its place afterwards.
    let shut: [fn(&mut Switch); 3] = [
        |switch| switch.set_state(1, PortState::Discarding, true).unwrap(),
        |switch| switch.set_looped(1, true).unwrap(),
        |switch| {
            let down = PortConfig { up: false, ..switch.port(1).unwrap().clone() };
            switch.set_port(1, down).unwrap();
        },
    ];
    for shut in shut {
        shut(&mut bench.0);
        bench.out(0, &heard);
        assert_eq!(bench.entry(10, A), outside);
        bench.0.set_port(1, link(true)).unwrap();
        bench.0.set_looped(1, false).unwrap();
        bench.0.set_state(1, PortState::Learning, true).unwrap();
        bench.0.set_state(1, PortState::Forwarding, true).unwrap();
        assert_eq!(bench.entry(10, A), None);
        bench.drops(0, &heard, UplinkOwn);
    }
    // Where the uplink is part of the tree, the way may lead through it; other entries are nobody's business.
    bench.0.set_state(0, PortState::Forwarding, true).unwrap();
    bench.0.set_state(1, PortState::Discarding, true).unwrap();
    bench.out(0, &heard);
    bench.hear(2, B);
    bench.0.set_state(1, PortState::Forwarding, true).unwrap();
    assert_eq!((bench.entry(10, A), bench.entry(10, B)), (outside, Some((2, Kind::Learned))));
}
