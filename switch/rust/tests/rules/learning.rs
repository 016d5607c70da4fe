//! Who is learned where, moves, stays, and is forgotten.

use super::*;

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
fn a_ports_limit_is_lowered() {
    let config =
        |limit| PortConfig { mac_limit: limit, mac_limit_drops: true, ..trunk(&[2], Some((1, false))) };
    let mut bench = Bench::access(config(100));
    let station = |n| [2, 0, 0, 0, 1, n];
    let tagged = |n| frame(BROADCAST, station(n), &[0x8100, 2], 46);
    for n in 0..20 {
        bench.decide(SECOND * u64::from(n), 0, &tagged(n));
    }
    // Another port's, a VLAN's of its own, fixed ones, and one that is heard again.
    bench.decide(20 * SECOND, 1, &frame(BROADCAST, A, &[], 46));
    bench.decide(21 * SECOND, 0, &frame(BROADCAST, B, &[], 46));
    bench.0.fdb_set(2, station(0), 0, false).unwrap();
    bench.0.fdb_set(2, station(1), 0, true).unwrap();
    bench.decide(30 * SECOND, 0, &tagged(5));
    bench.0.set_port(0, config(3)).unwrap();
    assert_eq!(bench.0.fdb_count_port(0), FdbCount { learned: 3, fixed: 2 });
    assert!(
        [(1, A), (1, B), (2, station(5)), (2, station(19))].iter().all(|e| bench.entry(e.0, e.1).is_some())
    );
    // Those that are left are heard, and others are not.
    assert_ne!(bench.decide(31 * SECOND, 0, &tagged(19)).out, Out::Drop(MacLimit));
    assert_eq!(bench.decide(31 * SECOND, 0, &tagged(18)).out, Out::Drop(MacLimit));
    bench.0.set_port(0, config(4)).unwrap();
    assert_ne!(bench.decide(32 * SECOND, 0, &tagged(18)).out, Out::Drop(MacLimit));
}

#[test]
fn what_a_guard_vouches_for_stays_under_a_lower_limit() {
    let mut guard = Box::new(Guard::new(A));
    guard.add_mac(B);
    let config = |limit| PortConfig { mac_limit: limit, guard: Some(guard.clone()), ..PortConfig::access(1) };
    let mut bench = Bench::access(config(100));
    for mac in [A, B] {
        let mut bytes = frame(BROADCAST, mac, &[], 46);
        bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
        bench.out(0, &bytes);
    }
    bench.0.set_port(0, config(1)).unwrap();
    assert_eq!((bench.entry(1, A), bench.entry(1, B)), (Some((0, Kind::Learned)), Some((0, Kind::Learned))));
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
