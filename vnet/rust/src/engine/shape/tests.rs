//! Rates in virtual time, through a whole engine: exact, whatever the frames are.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::engine::{Engine, Next};
use nics::{Arena, Nic, Rx, TxReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use switch::{DropReason, PortConfig, PortCounters, SwitchConfig};

const SECOND: Nanos = 1_000_000_000;

/// A guest that offers frames of one kind at a rate, and counts what it gets.
struct Guest {
    frame: Vec<u8>,
    offload: Offload,
    /// bit/s that it offers, 0 for none, from time 0 on.
    offers: u64,
    /// Bits that it has given.
    given: u64,
    /// Its timer has rung, and it was not asked since.
    rung: bool,
    got: Arc<Got>,
}

#[derive(Default)]
struct Got {
    frames: AtomicU64,
    /// As a wire sees them.
    segments: AtomicU64,
    bits: AtomicU64,
}

impl Guest {
    fn wire(&self) -> u64 {
        Frame::flat(&self.frame, self.offload).view().wire() * 8
    }
    fn due(&self) -> Nanos {
        (u128::from(self.given) * u128::from(SECOND)).div_ceil(u128::from(self.offers)) as Nanos
    }
}

impl Nic for Guest {
    fn kind(&self) -> &'static str {
        "guest"
    }
    fn caps(&self) -> Caps {
        Caps { csum: true, tso4: true, ..Caps::plain(65_550) }
    }
    fn carrier(&self) -> bool {
        true
    }
    fn rx_burst<'a>(&'a mut self, now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.rung = false;
        let wire = self.wire();
        while self.offers > 0 && !burst.is_full() && self.due() <= now {
            self.given += wire;
            burst.push(Frame::flat(&self.frame, self.offload));
        }
        if burst.is_full() { Rx::More } else { Rx::Idle }
    }
    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], _report: &mut TxReport) {
        for tx in frames {
            let view = tx.frame.view();
            self.got.frames.fetch_add(1, Relaxed);
            self.got.segments.fetch_add(u64::from(view.segments), Relaxed);
            self.got.bits.fetch_add(view.wire() * 8, Relaxed);
        }
    }
    fn deadline(&self) -> Option<Nanos> {
        (self.offers > 0 && !self.rung).then(|| self.due())
    }
    fn tick(&mut self, _now: Nanos) -> bool {
        self.rung = true;
        true
    }
}

fn plain(len: usize) -> (Vec<u8>, Offload) {
    let mut frame = vec![0; len];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    (frame, Offload::NONE)
}

/// TCP in a super-frame of `payload` bytes, to be cut into segments of `mss`.
fn gso(payload: usize, mss: u16) -> (Vec<u8>, Offload) {
    let mut frame = plain(54 + payload).0;
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6]);
    let total = (40 + payload) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[46] = 5 << 4;
    let offload = Offload {
        flags: Offload::NEEDS_CSUM,
        gso_type: Offload::GSO_TCPV4,
        hdr_len: 54,
        gso_size: mss,
        csum_start: 34,
        csum_offset: 16,
    };
    let vetted = offload.vet(frame.len(), &frame).unwrap();
    (frame, vetted)
}

struct Lab {
    engine: Engine,
    now: Nanos,
    ports: [switch::PortId; 2],
    counters: Arc<PortCounters>,
    got: Arc<Got>,
}

fn config(limits: Limits) -> PortConfig {
    PortConfig { limits: Some(Box::new(limits)), ..PortConfig::access(1) }
}

fn both(egress: Limit, ingress: Limit) -> Limits {
    Limits { egress, ingress, ..Limits::default() }
}

impl Lab {
    /// One guest that offers `offers` bit/s of `frame` to another.
    fn new(frame: (Vec<u8>, Offload), offers: u64, egress: Limit, ingress: Limit) -> Lab {
        let mut engine = Engine::new().unwrap();
        let switch = engine.add_switch(SwitchConfig::default());
        let got = Arc::<Got>::default();
        let guest = |(frame, offload), offers| {
            Box::new(Guest { frame, offload, offers, given: 0, rung: false, got: got.clone() })
        };
        let (a, _) =
            engine.add_port(guest(frame, offers), switch, config(both(egress, Limit::default()))).unwrap();
        let (b, counters) =
            engine.add_port(guest(plain(60), 0), switch, config(both(Limit::default(), ingress))).unwrap();
        // The receiver is known, so that nothing is flooded.
        engine.switch_mut(switch).unwrap().fdb_set(1, [2, 0, 0, 0, 0, 2], b, false).unwrap();
        Lab { engine, now: 0, ports: [a, b], counters, got }
    }

    /// Until `time`. The engine comes late by `late`, as on a busy machine.
    fn run(&mut self, time: Nanos, late: Nanos) {
        while self.now < time {
            self.now = match self.engine.turn(self.now) {
                Next::Again => self.now + 1000,
                Next::Wait(Some(at)) => (at + late).max(self.now + 1),
                Next::Wait(None) => time,
            };
        }
    }

    fn bits(&self) -> u64 {
        self.got.bits.load(Relaxed)
    }
}

fn rate(rate: u64) -> Limit {
    Limit { rate, ..Limit::default() }
}

/// Within a hundredth of two percent, and one burst at the start.
#[track_caller]
fn near(found: u64, rate: u64, time: Nanos, largest: u64) {
    let wanted = u128::from(rate) * u128::from(time) / u128::from(SECOND);
    let burst = u128::from(24_288.max(rate / 100)) + u128::from(largest);
    let found = u128::from(found);
    assert!(found + u128::from(largest) >= wanted, "{found} of {wanted}");
    assert!(found <= wanted + burst, "{found}, more than {wanted} and {burst}");
    assert!(found.abs_diff(wanted) * 50 <= wanted, "2 %: {found} of {wanted}");
}

#[test]
fn what_a_guest_sends_is_exact_from_1_mbit_to_10_gbit() {
    for (bits, seconds) in [(1_000_000, 10), (99_000_000, 4), (1_000_000_000, 2), (10_000_000_000, 1)] {
        for frame in [plain(1514), gso(64_000, 1448), gso(2896, 1448)] {
            let largest = if bits < SLOW { 1514 * 8 } else { frame.0.len() as u64 * 9 };
            let mut lab = Lab::new(frame, bits * 3, rate(bits), Limit::default());
            lab.run(seconds * SECOND, 0);
            near(lab.bits(), bits, seconds * SECOND, largest);
        }
    }
}

#[test]
fn what_a_guest_receives_is_exact_from_1_mbit_to_10_gbit() {
    for (bits, seconds) in [(1_000_000, 10), (99_000_000, 2), (1_000_000_000, 1), (10_000_000_000, 1)] {
        for frame in [plain(1514), gso(64_000, 1448)] {
            let largest = if bits < SLOW { 1514 * 8 } else { frame.0.len() as u64 * 9 };
            let mut lab = Lab::new(frame, bits * 3 / 2, Limit::default(), rate(bits));
            lab.run(seconds * SECOND, 0);
            near(lab.bits(), bits, seconds * SECOND, largest);
            assert!(lab.counters.drops[DropReason::TxLimit as usize].get() > 0);
        }
    }
}

#[test]
fn an_engine_that_comes_late_loses_nothing_of_the_rate() {
    for late in [100_000, 3_000_000] {
        let mut lab = Lab::new(plain(1514), 3_000_000_000, rate(1_000_000_000), Limit::default());
        lab.run(SECOND, late);
        near(lab.bits(), 1_000_000_000, SECOND, 1514 * 8 * 64);
        let mut lab = Lab::new(plain(1514), 2_000_000_000, Limit::default(), rate(1_000_000_000));
        lab.run(SECOND, late);
        near(lab.bits(), 1_000_000_000, SECOND, 1514 * 8 * 64);
    }
}

#[test]
fn packets_are_counted_as_the_wire_sees_them() {
    let limit = Limit { packets: 20_000, ..Limit::default() };
    for (egress, ingress) in [(limit, Limit::default()), (Limit::default(), limit)] {
        for frame in [plain(60), gso(14_480, 1448)] {
            let mut lab = Lab::new(frame, 5_000_000_000, egress, ingress);
            lab.run(SECOND, 0);
            let segments = lab.got.segments.load(Relaxed);
            assert!((20_000..=20_000 + 200 + 10 + 64).contains(&segments), "{segments}");
        }
    }
}

#[test]
fn frames_that_are_limited_in_number_do_not_wait_for_long() {
    let limit = Limit { packets: 1000, ..Limit::default() };
    for (frame, segments) in [(plain(60), 1), (gso(14_480, 1448), 10)] {
        // Ten times as many as may pass.
        let wire = Frame::flat(&frame.0, frame.1).view().wire() * 8;
        let mut lab = Lab::new(frame, 10_000 / segments * wire, Limit::default(), limit);
        lab.run(SECOND, 0);
        let offered = 10_000 / segments;
        let lost = lab.counters.drops[DropReason::TxLimit as usize].get();
        let waits = offered - lab.got.frames.load(Relaxed).min(offered) - lost.min(offered);
        assert!(waits * segments <= 64 + segments, "{waits} frames wait, each {segments} on a wire");
    }
}

#[test]
fn a_burst_passes_after_a_pause_and_one_that_is_given_once_only_once() {
    let limit = Limit { rate: 8_000_000, burst: 100_000, one_time_burst: 1_000_000, packets: 0 };
    for (egress, ingress) in [(limit, Limit::default()), (Limit::default(), limit)] {
        let mut lab = Lab::new(plain(1000), 8_000_000_000, egress, ingress);
        lab.run(10_000_000, 0);
        let bytes = lab.bits() / 8;
        // 10 ms of the rate are 10,000 bytes; the receiver's queue passes the same.
        assert!((1_100_000..=1_112_500).contains(&bytes), "{bytes}");
        lab.run(1_010_000_000, 0);
        let more = lab.bits() / 8 - bytes;
        assert!((998_000..=1_002_000).contains(&more), "{more}");
    }
}

#[test]
fn a_rate_that_changes_loses_no_frame_and_forgives_no_debt() {
    let mut lab = Lab::new(plain(1514), 20_000_000, Limit::default(), rate(10_000_000));
    lab.run(40_000_000, 0);
    let port = lab.ports[1];
    let lost =
        || DropReason::ALL.iter().map(|reason| lab.counters.drops[*reason as usize].get()).sum::<u64>();
    assert_eq!(lost(), 0, "the queue is not full yet");
    let before = lab.bits();
    lab.engine.set_port(port, config(both(Limit::default(), rate(40_000_000)))).unwrap();
    lab.run(60_000_000, 0);
    assert!(lab.bits() - before >= 600_000, "{}", lab.bits() - before);
    lab.engine.set_port(port, PortConfig::access(1)).unwrap();
    lab.run(100_000_000, 0);
    let offered = 20_000_000 / 10;
    assert!(lab.bits() + 2 * 12_112 >= offered, "{} of {offered}", lab.bits());
    let drops: u64 = DropReason::ALL.iter().map(|reason| lab.counters.drops[*reason as usize].get()).sum();
    assert_eq!(drops, 0);
}

#[test]
fn a_limit_that_is_lifted_takes_a_guest_up_again() {
    let mut lab = Lab::new(gso(64_000, 1448), 100_000_000, rate(1_000_000), Limit::default());
    lab.run(SECOND, 0);
    let before = lab.bits();
    lab.engine.set_port(lab.ports[0], PortConfig::access(1)).unwrap();
    lab.run(2 * SECOND, 0);
    // All that it had offered meanwhile waits with it.
    assert!(lab.bits() - before > 190_000_000, "{}", lab.bits() - before);
}
