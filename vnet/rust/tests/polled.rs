//! NICs in shared memory: looked at while there is traffic, and asked for notifications when there is none.
#![allow(clippy::unwrap_used)]

use _native::engine::{Engine, Next};
use nics::{Arena, Burst, Caps, Frame, Nic, Offload, Rx, TxFrame, TxReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use switch::{Nanos, PortConfig, SwitchConfig};

/// What a guest has for its NIC, and what was done at it.
#[derive(Default)]
struct Guest {
    frames: AtomicU32,
    looks: AtomicU32,
    bursts: AtomicU32,
    armed: AtomicU32,
}

struct Polled(Arc<Guest>);

impl Nic for Polled {
    fn kind(&self) -> &'static str {
        "polled"
    }
    fn caps(&self) -> Caps {
        Caps::plain(1518)
    }
    fn carrier(&self) -> bool {
        true
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.0.bursts.fetch_add(1, Ordering::Relaxed);
        if self.0.frames.swap(0, Ordering::Relaxed) > 0 {
            burst.push(Frame::flat(&[0xff; 60], Offload::NONE));
        }
        Rx::Idle
    }
    fn tx_burst(&mut self, _now: Nanos, _frames: &[TxFrame<'_>], _report: &mut TxReport) {}
    fn polled(&self) -> bool {
        true
    }
    fn quiet(&mut self, _now: Nanos) -> bool {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        self.0.frames.load(Ordering::Relaxed) == 0
    }
    fn arm(&mut self) -> bool {
        self.0.armed.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn a_polled_nic_that_has_nothing_is_looked_at_and_then_asked_for_notifications() {
    let mut engine = Engine::new().unwrap();
    engine.set_spin(1000);
    let switch = engine.add_switch(SwitchConfig::default());
    let guests = [(); 2].map(|()| Arc::new(Guest::default()));
    for guest in &guests {
        engine.add_port(Box::new(Polled(guest.clone())), switch, PortConfig::access(10)).unwrap();
    }
    let count = |of: &AtomicU32| of.load(Ordering::Relaxed);
    engine.turn(1);
    // Whatever was there before is asked for once.
    assert!(guests.iter().all(|guest| count(&guest.bursts) == 1));
    for now in 2..=500 {
        assert_eq!(engine.turn(now), Next::Again);
    }
    for guest in &guests {
        assert_eq!((count(&guest.bursts), count(&guest.looks)), (1, 499), "nothing came");
    }
    guests[0].frames.store(1, Ordering::Relaxed);
    engine.turn(501);
    assert_eq!(count(&guests[0].bursts), 2);
    assert_eq!(engine.worked(), 501);
    // The second one had nothing since turn 2, the first one since turn 502.
    for now in 502..1502 {
        assert_eq!(engine.turn(now), Next::Again);
        assert_eq!(count(&guests[1].armed), u32::from(now >= 1002));
    }
    assert_eq!(count(&guests[0].armed), 0);
    assert!(matches!(engine.turn(1502), Next::Wait(_)));
    assert_eq!(guests.map(|guest| count(&guest.bursts)), [2, 1]);
}

#[test]
fn between_two_looks_at_the_clock_whatever_comes_is_found() {
    let mut engine = Engine::new().unwrap();
    engine.set_spin(1_000_000);
    let switch = engine.add_switch(SwitchConfig::default());
    let guest = Arc::new(Guest::default());
    engine.add_port(Box::new(Polled(guest.clone())), switch, PortConfig::access(10)).unwrap();
    let count = |of: &AtomicU32| of.load(Ordering::Relaxed);
    engine.turn(1);
    let turns = engine.turns().get();
    for _ in 0..100 {
        assert_eq!(engine.turn(2), Next::Again);
    }
    assert_eq!((count(&guest.bursts), count(&guest.looks)), (1, 100), "nothing came");
    assert_eq!(engine.turns().get() - turns, 100);
    // A frame at the same NIC.
    guest.frames.store(1, Ordering::Relaxed);
    engine.turn(2);
    assert_eq!((count(&guest.bursts), engine.worked()), (2, 2));
    // Another port, which somebody upstairs adds meanwhile.
    engine.turn(3);
    let other = Arc::new(Guest::default());
    other.frames.store(1, Ordering::Relaxed);
    engine.add_port(Box::new(Polled(other.clone())), switch, PortConfig::access(10)).unwrap();
    engine.turn(3);
    assert_eq!(count(&other.bursts), 1);
}
