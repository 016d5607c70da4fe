//! NICs in shared memory: looked at while there is traffic, and asked for notifications when there is none.
#![allow(clippy::unwrap_used)]

use _native::engine::{Engine, Next};
use nics::poller::{Interest, Readiness};
use nics::{Arena, Burst, Caps, Context, Frame, Nic, Offload, Rx, TxFrame, TxReport};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use switch::{Nanos, PortConfig, SwitchConfig};

/// To everybody.
const FRAME: [u8; 60] = {
    let mut frame = [0; 60];
    let mut i = 0;
    while i < 6 {
        frame[i] = 0xff;
        frame[i + 6] = 2;
        i += 1;
    }
    frame
};

/// What a guest has for its NIC, and what was done at it.
#[derive(Default)]
struct Guest {
    frames: AtomicU32,
    looks: AtomicU32,
    bursts: AtomicU32,
    armed: AtomicU32,
    braced: AtomicU32,
    /// When it wants to be called (0: never), and when it was.
    deadline: AtomicU64,
    ticked: AtomicU64,
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
            burst.push(Frame::flat(&FRAME, Offload::NONE));
        }
        Rx::Idle
    }
    fn brace(&mut self) {
        self.0.braced.fetch_add(1, Ordering::Relaxed);
    }
    fn tx_burst(&mut self, _now: Nanos, _frames: &[TxFrame<'_>], _report: &mut TxReport) {}
    fn deadline(&self) -> Option<Nanos> {
        Some(self.0.deadline.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
    fn tick(&mut self, now: Nanos) -> bool {
        self.0.deadline.store(0, Ordering::Relaxed);
        self.0.ticked.store(now, Ordering::Relaxed);
        false
    }
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

#[test]
fn while_nothing_comes_time_passes_and_nobody_is_called_late() {
    let mut engine = Engine::new().unwrap();
    engine.set_spin(1_000_000);
    let switch = engine.add_switch(SwitchConfig::default());
    let guests = [(); 2].map(|()| Arc::new(Guest::default()));
    guests[1].deadline.store(321, Ordering::Relaxed);
    for guest in &guests {
        engine.add_port(Box::new(Polled(guest.clone())), switch, PortConfig::access(10)).unwrap();
    }
    let count = |of: &AtomicU32| of.load(Ordering::Relaxed);
    for now in 1..10_000 {
        assert_eq!((engine.turn(now), engine.now()), (Next::Again, now));
        let ticked = guests[1].ticked.load(Ordering::Relaxed);
        assert_eq!(ticked, if now < 321 { 0 } else { 321 });
    }
    assert_eq!(guests.each_ref().map(|guest| count(&guest.bursts)), [1, 1], "nothing came");
    // A frame is served in the turn that finds it, whatever the time, and who gets it knows a moment before.
    guests[1].frames.store(1, Ordering::Relaxed);
    engine.turn(10_123);
    assert_eq!((count(&guests[1].bursts), engine.worked()), (2, 10_123));
    assert_eq!(guests.each_ref().map(|guest| count(&guest.braced)), [1, 0]);
    // Two at once: in that turn and the next.
    for guest in &guests {
        guest.frames.store(1, Ordering::Relaxed);
    }
    engine.turn(10_200);
    engine.turn(10_200);
    assert_eq!(guests.each_ref().map(|guest| count(&guest.bursts)), [2, 3]);
}

/// A NIC with a descriptor, and how often it was said to be ready.
struct Described(UnixStream, Arc<AtomicU32>);

impl Nic for Described {
    fn kind(&self) -> &'static str {
        "described"
    }
    fn caps(&self) -> Caps {
        Caps::plain(1518)
    }
    fn carrier(&self) -> bool {
        true
    }
    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        cx.poller.add(&self.0, cx.port, 0, Interest::READ)
    }
    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        false
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, _burst: &mut Burst<'a>) -> Rx {
        Rx::Idle
    }
    fn tx_burst(&mut self, _now: Nanos, _frames: &[TxFrame<'_>], _report: &mut TxReport) {}
}

#[test]
fn while_a_nic_is_polled_descriptors_are_looked_at_every_few_microseconds() {
    for step in [1, 50, 700] {
        let mut engine = Engine::new().unwrap();
        engine.set_spin(1_000_000);
        let switch = engine.add_switch(SwitchConfig::default());
        engine.add_port(Box::new(Polled(Arc::default())), switch, PortConfig::access(10)).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ready = Arc::new(AtomicU32::new(0));
        engine.add_port(Box::new(Described(ours, ready.clone())), switch, PortConfig::access(10)).unwrap();
        let mut now = 0;
        for _ in 0..40_000 / step {
            now += step;
            engine.turn(now);
        }
        assert_eq!(ready.load(Ordering::Relaxed), 0);
        theirs.write_all(&[1]).unwrap();
        let begun = now;
        while ready.load(Ordering::Relaxed) == 0 {
            assert!(now - begun < 10_000, "steps of {step} ns");
            now += step;
            engine.turn(now);
        }
    }
}
