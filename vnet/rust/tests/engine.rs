//! The engine with pipes: what goes in at one port comes out at the right others, in order, counted.
#![allow(clippy::unwrap_used)]

use _native::engine::{Engine, Next};
use nics::pipe::{PipeEnd, pipe};
use nics::{Arena, Burst, Caps, Context, Nic, Rx, TxFrame, TxReport};
use proptest::prelude::*;
use std::io;
use std::sync::{Arc, Mutex};
use switch::{DropReason, Nanos, PortConfig, PortCounters, PortId, SwitchConfig};

const LIMIT: usize = 512;

struct Port {
    id: PortId,
    end: PipeEnd,
    counters: Arc<PortCounters>,
}

struct Bed {
    engine: Engine,
    ports: Vec<Port>,
    now: u64,
}

impl Bed {
    fn new(vlans: &[u16]) -> Bed {
        let mut engine = Engine::new().unwrap();
        let switch = engine.add_switch(SwitchConfig::default());
        let ports = vlans
            .iter()
            .map(|&vlan| {
                let (nic, end) = pipe(LIMIT, 9018);
                let (id, counters) =
                    engine.add_port(Box::new(nic), switch, PortConfig::access(vlan)).unwrap();
                Port { id, end, counters }
            })
            .collect();
        Bed { engine, ports, now: 0 }
    }

    /// Turn until there is nothing left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.now += 1;
            if matches!(self.engine.turn(self.now), Next::Wait(_)) {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    fn received(&self, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ports[port].end.receive().ok()).map(Vec::from).collect()
    }

    fn assert_counters_add_up(&self) {
        for port in &self.ports {
            let c = &port.counters;
            let dropped: u64 = DropReason::ALL
                .iter()
                .filter(|reason| reason.side() == switch::reason::Side::Ingress)
                .map(|reason| c.drops[*reason as usize].get())
                .sum();
            assert_eq!(c.rx_frames.get(), c.forwarded.get() + dropped, "port {}", port.id);
        }
    }
}

fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

fn frame(dst: [u8; 6], src: [u8; 6], mark: u16) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &[0x88, 0xb5], &mark.to_be_bytes()].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn unknown_is_flooded_in_its_vlan_and_known_is_not() {
    let mut bed = Bed::new(&[10, 10, 10, 20]);
    let hello = frame([0xff; 6], mac(1), 0);
    bed.ports[0].end.send(&hello).unwrap();
    bed.settle();
    assert!(bed.received(0).is_empty());
    assert_eq!(bed.received(1), std::slice::from_ref(&hello));
    assert_eq!(bed.received(2), [hello]);
    assert!(bed.received(3).is_empty());
    let answer = frame(mac(1), mac(2), 1);
    bed.ports[1].end.send(&answer).unwrap();
    bed.settle();
    assert_eq!(bed.received(0), [answer]);
    assert!(bed.received(2).is_empty());
    bed.assert_counters_add_up();
}

#[test]
fn a_guest_that_does_not_read_loses_its_own_frames_only() {
    let mut bed = Bed::new(&[10, 10, 10]);
    for n in 0..3 {
        bed.ports[n].end.send(&frame([0xff; 6], mac(n as u8), 0)).unwrap();
    }
    bed.settle();
    let (mut lost, mut got) = (0, 0);
    bed.received(1);
    bed.received(2);
    for round in 0..20 {
        for i in 0..LIMIT / 4 {
            bed.ports[0].end.send(&frame(mac(1), mac(0), (round * 1000 + i) as u16)).unwrap();
            bed.ports[0].end.send(&frame(mac(2), mac(0), (round * 1000 + i) as u16)).unwrap();
        }
        bed.settle();
        lost += LIMIT / 4;
        got += bed.received(2).len();
    }
    assert_eq!(got, 20 * LIMIT / 4);
    let dropped = bed.ports[1].counters.drops[DropReason::TxFull as usize].get();
    assert_eq!(dropped as usize, lost - LIMIT);
    bed.assert_counters_add_up();
}

#[test]
fn a_removed_port_is_gone_and_its_number_is_not_used_at_once() {
    let mut bed = Bed::new(&[10, 10]);
    let old = bed.ports[1].id;
    bed.engine.remove_port(old).unwrap();
    assert!(bed.engine.carrier(old).is_err());
    let (nic, _end) = pipe(LIMIT, 9018);
    let (new, _) = bed.engine.add_port(Box::new(nic), 0, PortConfig::access(10)).unwrap();
    assert_ne!(new, old);
    bed.ports[0].end.send(&frame([0xff; 6], mac(1), 0)).unwrap();
    bed.settle();
    bed.assert_counters_add_up();
}

#[test]
fn a_link_that_is_down_carries_nothing() {
    let mut bed = Bed::new(&[10, 10]);
    let down = bed.ports[1].id;
    bed.engine.set_link(down, false).unwrap();
    bed.ports[0].end.send(&frame([0xff; 6], mac(1), 0)).unwrap();
    bed.ports[1].end.send(&frame([0xff; 6], mac(2), 0)).unwrap();
    bed.settle();
    assert!(bed.received(0).is_empty() && bed.received(1).is_empty());
    bed.engine.set_link(down, true).unwrap();
    bed.ports[0].end.send(&frame([0xff; 6], mac(1), 1)).unwrap();
    bed.settle();
    assert_eq!(bed.received(1).len(), 1);
    bed.assert_counters_add_up();
}

#[test]
fn four_thousand_idle_ports_cost_no_turn() {
    let mut bed = Bed::new(&[7; 4096]);
    bed.settle();
    // No time that a turn is wanted at, and nothing to be woken by: whoever turns it sleeps.
    assert_eq!(bed.engine.turn(bed.now), Next::Wait(None));
    bed.engine.poller().wait(Some(0), |port, _, _| panic!("port {port} is ready")).unwrap();
    let before = bed.engine.turns().get();
    bed.ports[0].end.send(&frame([0xff; 6], mac(1), 0)).unwrap();
    bed.settle();
    assert!(bed.engine.turns().get() - before <= 3);
    assert!((1..4096).all(|port| bed.received(port).len() == 1));
    let (nic, _end) = pipe(1, 1518);
    assert!(bed.engine.add_port(Box::new(nic), 0, PortConfig::access(7)).is_err());
}

/// A door that notes when it was called.
struct Watch(Arc<Mutex<Vec<Nanos>>>);

impl Nic for Watch {
    fn kind(&self) -> &'static str {
        "watch"
    }
    fn caps(&self) -> Caps {
        Caps::plain(1518)
    }
    fn carrier(&self) -> bool {
        true
    }
    fn set_link(&mut self, _up: bool, now: Nanos) {
        self.0.lock().unwrap().push(now);
    }
    fn attach(&mut self, _cx: Context, now: Nanos) -> io::Result<()> {
        self.0.lock().unwrap().push(now);
        Ok(())
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, _burst: &mut Burst<'a>) -> Rx {
        Rx::Idle
    }
    fn tx_burst(&mut self, _now: Nanos, _frames: &[TxFrame<'_>], _report: &mut TxReport) {}
}

#[test]
fn commands_go_by_the_time_of_now_and_not_of_the_latest_turn() {
    let mut bed = Bed::new(&[10]);
    let seen = Arc::new(Mutex::new(vec![]));
    bed.engine.turn(5);
    bed.engine.advance(3_600_000_000_000);
    let watch = Box::new(Watch(seen.clone()));
    let (port, _) = bed.engine.add_port(watch, 0, PortConfig::access(10)).unwrap();
    bed.engine.advance(1);
    bed.engine.set_link(port, false).unwrap();
    assert_eq!(*seen.lock().unwrap(), [3_600_000_000_000; 2]);
    // Neither does a turn go back.
    bed.engine.turn(7);
    assert_eq!(bed.engine.now(), 3_600_000_000_000);
}

#[test]
fn a_switch_with_a_shorter_ageing_time_wants_its_turn_sooner() {
    let mut bed = Bed::new(&[10]);
    bed.ports[0].end.send(&frame([0xff; 6], mac(1), 0)).unwrap();
    bed.settle();
    let config = SwitchConfig { ageing: 2_000_000_000, ..SwitchConfig::default() };
    bed.engine.set_switch(0, &config).unwrap();
    let Next::Wait(Some(due)) = bed.engine.turn(bed.now) else { panic!("nothing ages") };
    assert!((2_000_000_000..2_100_000_000).contains(&due), "{due}");
    bed.engine.turn(due);
    assert_eq!(bed.engine.switch(0).unwrap().fdb_count().learned, 0);
    assert!(bed.engine.set_switch(1, &config).is_err());
}

/// A door with one super-frame of TCP to lend, and whatever it is given kept.
struct Lender {
    frame: Option<Vec<u8>>,
    tso: bool,
    got: Arc<Mutex<Vec<usize>>>,
}

impl Nic for Lender {
    fn kind(&self) -> &'static str {
        "lender"
    }
    fn caps(&self) -> Caps {
        Caps { csum: self.tso, tso4: self.tso, ..Caps::plain(1518) }
    }
    fn carrier(&self) -> bool {
        true
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        if let Some(frame) = self.frame.take() {
            let place = &mut arena.bytes()[..frame.len()];
            place.copy_from_slice(&frame);
            let offload = nics::Offload {
                flags: nics::Offload::NEEDS_CSUM,
                gso_type: nics::Offload::GSO_TCPV4,
                hdr_len: 54,
                gso_size: 1000,
                csum_start: 34,
                csum_offset: 16,
            };
            burst.push(nics::Frame::flat(place, offload));
        }
        Rx::Idle
    }
    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], _report: &mut TxReport) {
        self.got.lock().unwrap().extend(frames.iter().map(TxFrame::len));
    }
}

/// A super-frame with 10,000 bytes of TCP, broadcast.
fn super_frame() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac(1), &[8, 0]].concat();
    frame.extend([0x45, 0, 0x27, 0x38, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(54 + 10_000, 7);
    frame
}

#[test]
fn mirrors_get_super_frames_whole_or_cut_as_they_take_them() {
    for (tso, snap, wanted) in [
        (true, None, vec![54 + 10_000]),
        (false, None, vec![54 + 1000; 10]),
        (true, Some(100), vec![100; 10]),
    ] {
        let mut bed = Bed::new(&[10]);
        let lender = |frame, tso| {
            let got = Arc::default();
            (Box::new(Lender { frame, tso, got: Arc::clone(&got) }), got)
        };
        let (to, copies) = lender(None, tso);
        let (to, counters) = bed.engine.add_port(to, 0, PortConfig::access(99)).unwrap();
        let (whole, originals) = lender(None, true);
        bed.engine.add_port(whole, 0, PortConfig::access(10)).unwrap();
        let (from, _) = lender(Some(super_frame()), true);
        let (from, _) = bed.engine.add_port(from, 0, PortConfig::access(10)).unwrap();
        let spec = _native::mirror::Spec {
            name: "m".into(),
            ingress: vec![from],
            egress: vec![],
            vlans: None,
            transit: true,
            to,
            erspan: None,
            snap,
            tagged: false,
            limit: switch::Limit::default(),
        };
        bed.engine.set_mirrors(vec![spec]).unwrap();
        bed.settle();
        assert_eq!(*copies.lock().unwrap(), wanted);
        assert_eq!(*originals.lock().unwrap(), [54 + 10_000], "the original is whole");
        assert_eq!(counters.tx_frames.get(), wanted.len() as u64);
        assert!(counters.drops.iter().all(|n| n.get() == 0));
    }
}

proptest! {
    /// Whatever is sent to whom, in whatever bursts: order holds for each pair of stations, nobody
    /// hears his own frame, and no frame crosses VLANs.
    #[test]
    fn order_and_isolation_hold(
        sends in prop::collection::vec((0usize..6, 0usize..7), 1..400),
        burst in 1usize..70,
    ) {
        let vlans = [10, 10, 10, 20, 20, 20];
        let mut bed = Bed::new(&vlans);
        let mut seen: Vec<Vec<Vec<u8>>> = vec![vec![]; 6];
        for (mark, (from, to)) in sends.iter().enumerate() {
            let dst = if *to == 6 { [0xff; 6] } else { mac(*to as u8) };
            bed.ports[*from].end.send(&frame(dst, mac(*from as u8), mark as u16)).unwrap();
            if mark % burst == 0 {
                bed.settle();
            }
            if mark % 200 == 0 {
                bed.settle();
                for (port, frames) in seen.iter_mut().enumerate() {
                    frames.extend(bed.received(port));
                }
            }
        }
        bed.settle();
        for (port, frames) in seen.iter_mut().enumerate() {
            frames.extend(bed.received(port));
        }
        bed.assert_counters_add_up();
        for (port, frames) in seen.iter().enumerate() {
            for from in 0..6 {
                let pair: Vec<_> = frames.iter().filter(|f| f[6..12] == mac(from as u8)).collect();
                prop_assert!(pair.is_empty() || from != port && vlans[from] == vlans[port]);
                for dst in 0..7 {
                    let dst = if dst == 6 { [0xff; 6] } else { mac(dst) };
                    let marks: Vec<_> = pair
                        .iter()
                        .filter(|f| f[..6] == dst)
                        .map(|f| u16::from_be_bytes([f[14], f[15]]))
                        .collect();
                    prop_assert!(marks.is_sorted());
                }
            }
        }
    }
}

#[test]
fn how_long_a_guest_was_not_read_whose_frames_are_dropped_is_counted() {
    let mut bed = Bed::new(&[10, 10]);
    // A station cannot be a group: each of these is dropped where it comes in.
    let bad = frame(mac(2), [0xff; 6], 0);
    let held = |bed: &Bed| bed.ports[0].counters.held.get();
    bed.now = 1_000_000_000;
    let mut sent = 0;
    while held(&bed) == 0 {
        assert!(sent < 50_000, "it is never left alone");
        while sent < 50_000 && bed.ports[0].end.send(&bad).is_ok() {
            sent += 1;
        }
        bed.engine.turn(bed.now);
    }
    // From here on its NIC is left alone, for as long as was counted.
    let (before, rests) = (bed.ports[0].counters.rx_frames.get(), held(&bed));
    assert!(before > 1000);
    let _ = bed.ports[0].end.send(&bad);
    for _ in 0..10 {
        bed.engine.turn(bed.now + rests - 1);
    }
    assert_eq!(bed.ports[0].counters.rx_frames.get(), before);
    bed.engine.turn(bed.now + rests);
    assert!(bed.ports[0].counters.rx_frames.get() > before);
    assert_eq!(bed.ports[1].counters.held.get(), 0);
    bed.assert_counters_add_up();
}
