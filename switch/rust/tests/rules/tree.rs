//! What a port that the spanning tree, or a loop, keeps from forwarding does with frames.

use super::*;
use switch::stp::PortState::{Discarding, Forwarding, Learning};

const BRIDGES: Mac = [1, 0x80, 0xc2, 0, 0, 0];

#[test]
fn a_discarding_port_learns_nothing_and_passes_nothing() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.hear(0, A);
    bench.0.set_state(0, Discarding, true).unwrap();
    assert_eq!(bench.entry(1, A), None, "what was learned there is forgotten");
    bench.drops(0, &frame(BROADCAST, A, &[], 46), StpBlocked);
    assert_eq!(bench.entry(1, A), None);
    assert_eq!(bench.0.flood_ports(1), [1, 2]);
    // A static entry stays, and names why nothing comes out there.
    bench.0.fdb_set(1, A, 0, false).unwrap();
    let decision = bench.decide(0, 1, &frame(A, B, &[], 46));
    assert_eq!(decision.out, Out::Port(0));
    assert_eq!(bench.0.egress(0, &decision, &of_len(60, false)), Err(TxStpBlocked));
    bench.0.set_state(0, Forwarding, true).unwrap();
    assert_eq!(bench.0.flood_ports(1), [0, 1, 2]);
    assert_eq!(bench.out(0, &frame(BROADCAST, A, &[], 46)), Out::Flood(Flood::Broadcast));
}

#[test]
fn a_learning_port_learns_and_passes_nothing() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.0.set_state(0, Learning, true).unwrap();
    bench.drops(0, &frame(BROADCAST, A, &[], 46), StpBlocked);
    assert_eq!(bench.entry(1, A), Some((0, Kind::Learned)));
    assert_eq!(bench.0.flood_ports(1), [1, 2]);
}

#[test]
fn bpdus_are_for_the_switch_itself_whatever_the_state() {
    let mut bench = Bench::access(PortConfig::access(1));
    let bpdu = frame(BRIDGES, A, &[], 46);
    bench.drops(0, &bpdu, LinkLocal);
    for state in [Discarding, Learning, Forwarding] {
        bench.0.set_state(0, state, true).unwrap();
        assert_eq!(bench.out(0, &bpdu), Out::Local);
        bench.drops(0, &frame(LLDP, A, &[], 46), LinkLocal);
        bench.drops(0, &frame(BRIDGES, A, &[0x8100, 1], 46), LinkLocal);
    }
    bench.0.set_state(0, Forwarding, false).unwrap();
    bench.drops(0, &bpdu, LinkLocal);
}

#[test]
fn no_more_bpdus_than_trees_need() {
    let mut bench = Bench::access(PortConfig::access(1));
    let bpdu = frame(BRIDGES, A, &[], 46);
    bench.0.set_state(0, Forwarding, true).unwrap();
    let let_in = |bench: &mut Bench, now, count| {
        (0..count).filter(|_| bench.decide(now, 0, &bpdu).out == Out::Local).count()
    };
    assert_eq!(let_in(&mut bench, 0, 50), 50);
    assert_eq!(let_in(&mut bench, 0, 100), 11);
    assert_eq!(bench.decide(0, 0, &bpdu).out, Out::Drop(StpBpdus));
    assert_eq!(let_in(&mut bench, SECOND, 100), 20);
    // What each port may is its own, and over links there is no limit but the bridges' own.
    bench.0.set_state(1, Forwarding, true).unwrap();
    assert_eq!(bench.decide(SECOND, 1, &bpdu).out, Out::Local);
    bench.0.set_port(0, PortConfig { places: true, ..PortConfig::access(1) }).unwrap();
    assert_eq!(let_in(&mut bench, SECOND, 100), 100);
}

#[test]
fn a_port_that_is_set_up_anew_keeps_its_state() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.0.set_state(0, Discarding, true).unwrap();
    bench.0.set_port(0, PortConfig::access(2)).unwrap();
    assert!(bench.0.flood_ports(2).is_empty());
    bench.0.set_state(0, Forwarding, true).unwrap();
    assert_eq!((bench.0.flood_ports(1), bench.0.flood_ports(2)), (&[1, 2][..], &[0][..]));
    bench.0.set_state(0, Discarding, true).unwrap();
    bench.0.remove_port(0).unwrap();
    assert!(bench.0.flood_ports(2).is_empty());
}

#[test]
fn a_loop_is_kept_out() {
    let mut bench = Bench::access(PortConfig::access(1));
    bench.hear(0, A);
    bench.0.set_looped(0, true).unwrap();
    bench.drops(0, &frame(BROADCAST, A, &[], 46), Loop);
    assert_eq!(bench.0.flood_ports(1), [1, 2]);
    bench.0.set_looped(0, false).unwrap();
    bench.hear(0, A);
    assert_eq!(bench.out(1, &frame(A, B, &[], 46)), Out::Port(0));
}

#[test]
fn moves_between_ports_are_counted_where_the_station_came_to() {
    let mut bench = Bench::access(PortConfig::access(1));
    for _ in 0..10 {
        bench.hear(0, A);
        bench.hear(1, A);
    }
    assert_eq!((bench.0.moves(0), bench.0.moves(1), bench.0.moves(2)), (9, 10, 0));
}
