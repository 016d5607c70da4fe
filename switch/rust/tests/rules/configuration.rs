//! What an operator does, and may not do.

use super::*;

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
    assert!(ports < 4_500_000, "{ports} bytes for 4,095 ports and 4,094 VLANs");
}
