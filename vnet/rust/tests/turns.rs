//! How ports share the engine's time: a flood costs its neighbours a bounded part, in frames and turns, which
//! is the same on any machine.
#![allow(clippy::unwrap_used)]

use _native::engine::{Engine, Next};
use nics::frame::ENOUGH;
use nics::{
    Arena, Burst, Caps, Context, EventKind, Frame, Interest, Nic, Offload, Readiness, Rx, TxFrame, TxReport,
};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use switch::{Nanos, PortConfig, PortCounters, PortId, SwitchConfig};

/// A door that has as many frames in each burst as it is told.
struct Mill {
    kind: &'static str,
    frame: Vec<u8>,
    each: Arc<AtomicUsize>,
    /// How many bytes a burst may have, as it was told last.
    enough: Arc<AtomicUsize>,
    /// Asked only when this is readable.
    fd: Option<UnixDatagram>,
    got: Arc<AtomicU64>,
    cx: Option<Context>,
}

impl Nic for Mill {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn caps(&self) -> Caps {
        Caps::plain(65_550)
    }
    fn carrier(&self) -> bool {
        true
    }
    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        if let Some(fd) = &self.fd {
            fd.set_nonblocking(true)?;
            cx.poller.add(fd, cx.port, 0, Interest::READ)?;
        }
        self.cx = Some(cx);
        Ok(())
    }
    fn ready(&mut self, _sub: u16, readiness: Readiness, _now: Nanos) -> bool {
        readiness.read
    }
    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut n = self.each.load(Relaxed);
        self.enough.store(burst.enough, Relaxed);
        if let Some(fd) = &self.fd {
            n = if fd.recv(&mut [0]).is_ok() { n } else { 0 };
        }
        (0..n.min(burst.room())).for_each(|_| burst.push(Frame::flat(&self.frame, Offload::NONE)));
        if n > 0 && self.fd.is_none() { Rx::More } else { Rx::Idle }
    }
    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], _report: &mut TxReport) {
        self.got.fetch_add(frames.len() as u64, Relaxed);
    }
}

struct Port {
    id: PortId,
    each: Arc<AtomicUsize>,
    enough: Arc<AtomicUsize>,
    got: Arc<AtomicU64>,
    counters: Arc<PortCounters>,
}

impl Port {
    fn sent(&self) -> u64 {
        self.counters.rx_frames.get()
    }
}

struct Lab {
    engine: Engine,
    now: Nanos,
    ports: Vec<Port>,
}

fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

impl Lab {
    fn new() -> Lab {
        let mut engine = Engine::new().unwrap();
        engine.add_switch(SwitchConfig::default());
        Lab { engine, now: 1_000_000_000, ports: vec![] }
    }

    /// A port whose guest sends `each` frames in a burst, of `len` bytes, to that of `to`; to its own address
    /// if it is the same, which is dropped.
    fn add(&mut self, to: u8, each: usize, len: usize, memory: bool, fd: Option<UnixDatagram>) {
        self.add_kind(if memory { "vhost-user" } else { "mill" }, to, each, len, fd);
    }

    fn add_kind(&mut self, kind: &'static str, to: u8, each: usize, len: usize, fd: Option<UnixDatagram>) {
        let me = self.ports.len() as u8;
        let mut frame = [&mac(to)[..], &mac(me), &[0x88, 0xb5]].concat();
        frame.resize(len, 0);
        if to == me {
            // A tag on an access port.
            frame[12..16].copy_from_slice(&[0x81, 0, 0, 9]);
        }
        let (each, enough) = (Arc::new(AtomicUsize::new(each)), Arc::<AtomicUsize>::default());
        let got = Arc::<AtomicU64>::default();
        let door =
            Mill { kind, frame, each: each.clone(), enough: enough.clone(), fd, got: got.clone(), cx: None };
        let config = PortConfig { mtu: 65_000, ..PortConfig::access(10) };
        let (id, counters) = self.engine.add_port(Box::new(door), 0, config).unwrap();
        self.engine.fdb_set(id, 10, mac(me), false).unwrap();
        self.ports.push(Port { id, each, enough, got, counters });
    }

    fn turn(&mut self) -> Next {
        self.turn_after(10_000)
    }

    /// The turn before took so long.
    fn turn_after(&mut self, nanos: Nanos) -> Next {
        self.now += nanos;
        self.engine.turn(self.now)
    }

    fn sent(&self) -> Vec<u64> {
        self.ports.iter().map(Port::sent).collect()
    }
}

#[test]
fn who_sends_little_is_served_every_turn_and_a_flood_gets_its_share() {
    let mut lab = Lab::new();
    lab.add(1, 1, 60, false, None);
    lab.add(2, 64, 9000, false, None);
    lab.add(0, 0, 60, false, None);
    for _ in 0..1000 {
        lab.turn();
    }
    let sent = lab.sent();
    assert_eq!(sent[0], 1000, "one frame a turn");
    // 100,000 units a turn, 1,825 for each frame.
    assert!((30_000..1000 * 100_000 / 1825 + 128).contains(&sent[1]), "{sent:?}");
    assert_eq!(lab.ports[2].got.load(Relaxed), sent[1], "nothing is lost");
}

#[test]
fn long_frames_pay_for_their_length_and_short_ones_do_not_wait() {
    for memory in [false, true] {
        let mut lab = Lab::new();
        lab.add(1, 1, 60, memory, None);
        lab.add(2, 64, 60_000, memory, None);
        lab.add(0, 0, 60, memory, None);
        for _ in 0..1000 {
            lab.turn();
        }
        let sent = lab.sent();
        assert_eq!(sent[0], 1000);
        let each = if memory { 40 + 60_000 / 14 } else { 700 + 60_000 / 8 };
        assert!((64..1000 * 100_000 / each + 65).contains(&sent[1]), "{sent:?}");
    }
}

#[test]
fn who_gets_bulk_waits_for_a_run_and_then_has_its_time() {
    let mut lab = Lab::new();
    lab.add(1, 64, 60, false, None);
    lab.add(0, 64, 60_000, false, None);
    let (mut waited, mut runs) = (0, vec![]);
    for _ in 0..1000 {
        let before = lab.ports[0].sent();
        lab.turn();
        if lab.ports[0].sent() == before {
            waited += 1;
        } else if waited > 0 {
            runs.push(std::mem::take(&mut waited));
        }
    }
    let sent = lab.sent();
    // 8 MiB are 2.2 of these bursts, and 32 are 8.7: what that does not empty is given no more runs.
    assert_eq!(runs, [3, 3, 9]);
    // All four of them are owed for, 525,000 each, and 100,000 paid in a turn.
    assert!(sent[0] > 1000 * 64 * 8 / 10, "{sent:?}");
    assert!(sent[1] > 1000 * 64 / 10, "{sent:?}");
    assert_eq!([0, 1].map(|i| lab.ports[i].got.load(Relaxed)), [sent[1], sent[0]], "nothing is lost");
}

#[test]
fn two_that_send_bulk_to_each_other_share_alike() {
    let mut lab = Lab::new();
    lab.add(1, 64, 4000, false, None);
    lab.add(0, 64, 4000, false, None);
    for _ in 0..10_000 {
        lab.turn();
    }
    let sent = lab.sent();
    // A run is 33 such bursts.
    assert!(sent[0].abs_diff(sent[1]) <= 35 * 64, "{sent:?}");
}

#[test]
fn alone_a_port_is_served_every_turn_whatever_it_owes() {
    let mut lab = Lab::new();
    lab.add(1, 64, 60_000, false, None);
    lab.add(0, 0, 60, true, None);
    for _ in 0..100 {
        lab.turn();
    }
    assert_eq!(lab.sent(), [6400, 0]);
}

#[test]
fn bursts_of_super_frames_are_longer_while_no_third_has_anything() {
    let mut lab = Lab::new();
    for to in [1, 0, 0] {
        lab.add(to, 0, 60_000, true, None);
    }
    let enough = |lab: &Lab| lab.ports[0].enough.load(Relaxed);
    let turn = |lab: &mut Lab, each: [usize; 3]| {
        for (port, each) in lab.ports.iter().zip(each) {
            port.each.store(each, Relaxed);
            lab.engine.waker().kick(port.id);
        }
        lab.turn();
    };
    turn(&mut lab, [20, 0, 0]);
    assert_eq!(enough(&lab), ENOUGH, "nobody knows yet");
    // A port with nothing is asked and then forgotten.
    turn(&mut lab, [20, 0, 0]);
    lab.turn();
    assert_eq!(enough(&lab), 3 * ENOUGH);
    for _ in 0..9 {
        turn(&mut lab, [20, 1, 0]);
        lab.turn();
    }
    assert_eq!(enough(&lab), 3 * ENOUGH, "who receives them answers");
    turn(&mut lab, [20, 1, 1]);
    for _ in 0..9 {
        lab.turn();
        assert_eq!(enough(&lab), ENOUGH, "a third");
    }
    turn(&mut lab, [2, 0, 0]);
    (0..9).for_each(|_| _ = lab.turn());
    assert_eq!(enough(&lab), ENOUGH, "few of them are none");
}

#[test]
fn equals_share_alike() {
    let mut lab = Lab::new();
    for to in [1, 2, 3, 0] {
        lab.add(to, 64, 1514, false, None);
    }
    for _ in 0..1000 {
        lab.turn();
    }
    let sent = lab.sent();
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(most - least <= 64, "{sent:?}");
    assert!(sent.iter().sum::<u64>() >= 64 * 1000, "somebody is served in each turn");
}

#[test]
fn a_descriptor_is_seen_beside_a_flood() {
    // As long as a burst is estimated to take, 50 us; faster; and where time stands still.
    for (nanos, bursts) in [(50_000, 3), (10_000, 6), (0, 6)] {
        let (fd, bell) = UnixDatagram::pair().unwrap();
        let mut lab = Lab::new();
        lab.add(1, 1, 60, false, Some(fd));
        lab.add(0, 64, 60, false, None);
        for round in 1..100 {
            (0..round % 20).for_each(|_| _ = lab.turn_after(nanos));
            assert_eq!(bell.send(&[1]).unwrap(), 1);
            let before = lab.ports[1].sent();
            while lab.ports[0].sent() < round {
                lab.turn_after(nanos);
            }
            assert!(lab.ports[1].sent() - before <= bursts * 64, "{}", lab.ports[1].sent() - before);
        }
    }
}

#[test]
fn a_flood_of_what_is_dropped_is_read_less_and_less_and_then_as_before() {
    let mut lab = Lab::new();
    lab.add(0, 64, 60, false, None);
    let until = lab.now + 10_000_000_000;
    while lab.now < until {
        match lab.engine.turn(lab.now) {
            // As a thread that takes 50 us for such a burst.
            Next::Again => lab.now += 50_000,
            Next::Wait(at) => lab.now = at.unwrap(),
        }
    }
    let dropped = lab.ports[0].sent();
    // 4 % of 10 s, and of what it may be behind.
    let most = (10_000_000_000 + 200_000_000) / 25 / 707 + 64;
    assert!((most * 9 / 10..=most).contains(&dropped), "{dropped}, {most}");
    // It said so once.
    let (events, _) = lab.engine.events().take();
    assert_eq!(events.len(), 1, "{events:?}");
    // Another is not disturbed, and it is itself again as soon as it is quiet.
    lab.ports[0].each.store(0, Relaxed);
    lab.add(0, 1, 60, false, None);
    lab.turn();
    assert_eq!(lab.ports[1].sent(), 1);
    lab.now += 2_000_000;
    // What the last burst cost is paid, too.
    (0..12).for_each(|_| _ = lab.turn());
    lab.ports[0].each.store(5, Relaxed);
    let id = lab.ports[0].id;
    lab.engine.waker().kick(id);
    lab.turn();
    assert_eq!(lab.ports[0].sent(), dropped + 5);
}

#[test]
fn what_is_dropped_of_an_uplink_never_holds_it_up() {
    let mut lab = Lab::new();
    lab.add(0, 64, 60, false, None);
    let config = PortConfig { uplink: true, ..lab.engine.port_config(lab.ports[0].id).unwrap() };
    lab.engine.remove_port(lab.ports[0].id).unwrap();
    lab.ports.clear();
    let each = Arc::new(AtomicUsize::new(64));
    let mut frame = vec![0x81; 60];
    frame[6..12].copy_from_slice(&mac(9));
    let (enough, got) = (Arc::default(), Arc::default());
    let door = Mill { kind: "mill", frame, each, enough, fd: None, got, cx: None };
    let (_, counters) = lab.engine.add_port(Box::new(door), 0, config).unwrap();
    for _ in 0..1000 {
        lab.turn();
    }
    assert_eq!((counters.rx_frames.get(), counters.forwarded.get()), (64_000, 0));
}

#[test]
fn many_taps_in_bulk_that_leave_no_time_are_told_of_until_they_rest() {
    let crowds = |lab: &Lab| -> Vec<_> {
        let (events, lost) = lab.engine.events().take();
        assert_eq!(lost, 0);
        events.into_iter().map(|event| (event.port, event.kind)).collect()
    };
    let mut lab = Lab::new();
    lab.add(0, 0, 60, false, None);
    (0..2).for_each(|_| lab.add(0, 64, 4000, false, None));
    (0..4).for_each(|_| lab.add_kind("tap", 0, 64, 4000, None));
    for _ in 0..10_000 {
        lab.turn();
    }
    let taps: Vec<_> = lab.ports[3..].iter().map(|port| port.id).collect();
    let all = |on| taps.iter().map(|port| (*port, EventKind::Crowd(on))).collect::<Vec<_>>();
    assert_eq!(crowds(&lab), all(true), "TAPs, once");
    lab.engine.remove_port(taps[0]).unwrap();
    lab.ports.iter().for_each(|port| port.each.store(0, Relaxed));
    for _ in 0..200_000 {
        lab.turn();
    }
    assert_eq!(crowds(&lab), all(false)[1..], "but not one that is no more");
}
