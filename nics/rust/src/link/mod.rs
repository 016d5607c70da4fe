//! `link`: a cable between two switches of one engine.
//!
//! Two doors that share two [`Way`]s, one for each direction. What one end sends lies in a way until
//! the other end gives it to its switch: at once, and then in the same turn, or when the way's
//! impairments say so. There is no descriptor and no system call, and time is an argument, so the same
//! frames at the same times arrive at the same times.
//!
//! The sending end keeps the way's timer; its `flush` and `tick` return true when the *other* end has
//! frames, which the engine knows of links (`Slot::peer`).
//!
//! A cable that is cut (by the operator at either end, or by its schedule) has no carrier at either
//! end, and what was on it is lost.

mod codel;
mod cord;
mod fates;
pub mod impair;
mod spare;
mod way;

pub use cord::{CordControl, cord};
pub use impair::Impair;
pub use way::{Buffer, Way, payload};

use crate::context::{Context, EventKind};
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::origin::Origin;
use crate::poller::Readiness;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use switch::{Handover, Nanos, PortCounters};

/// From a time on, a link is like this.
#[derive(Clone, Debug)]
pub struct Step {
    pub at: Nanos,
    /// From end 0 to end 1, and back.
    pub ways: [Impair; 2],
    pub up: bool,
}

/// What both ends know. Everything happens in the engine's turn, so the lock is always free.
#[derive(Debug)]
struct Cable {
    /// From end 0 to end 1, and back.
    ways: [Way; 2],
    /// Set up at each end.
    up: [bool; 2],
    /// By the schedule.
    mended: bool,
    /// What is to come, by time.
    steps: VecDeque<Step>,
    /// Attached at each end.
    cx: [Option<Context>; 2],
    /// Of each end's port.
    counters: [Option<Arc<PortCounters>>; 2],
}

/// What the ends ask for each burst, without a lock.
#[derive(Debug, Default)]
struct Signs {
    carrier: AtomicBool,
    /// By end: what it sends is impaired.
    impaired: [AtomicBool; 2],
}

impl Cable {
    /// Cut or mended: tell both ends, and lose what is on the way.
    fn change(&mut self, signs: &Signs) {
        let up = self.up == [true; 2] && self.mended && self.cx.iter().all(Option::is_some);
        if signs.carrier.swap(up, Ordering::Relaxed) == up {
            return;
        }
        for cx in self.cx.iter().flatten() {
            cx.event(EventKind::Carrier(up));
        }
        if !up {
            for side in [0, 1] {
                self.ways[side].clear();
                self.count(side);
            }
        }
    }

    /// Take the steps whose time has come.
    fn step(&mut self, signs: &Signs, now: Nanos) {
        while self.steps.front().is_some_and(|step| step.at <= now) {
            let Some(step) = self.steps.pop_front() else { return };
            self.set(signs, step, now);
        }
    }

    fn set(&mut self, signs: &Signs, step: Step, now: Nanos) {
        for (side, impair) in step.ways.into_iter().enumerate() {
            self.ways[side].set(impair, now);
            signs.impaired[side].store(!self.ways[side].plain(), Ordering::Relaxed);
            self.count(side);
        }
        self.mended = step.up;
        self.change(signs);
    }

    /// Book what a way lost after it had been taken, at the port that sent it.
    fn count(&mut self, side: usize) {
        let Some(counters) = &self.counters[side] else { return };
        for (reason, n) in self.ways[side].losses() {
            counters.dropped(reason, n);
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub struct LinkNic {
    cable: Arc<Mutex<Cable>>,
    signs: Arc<Signs>,
    /// 0 or 1: it sends into the way of this number, and receives from the other.
    side: usize,
    lent: Vec<Buffer>,
    /// Who sent them.
    told: Vec<Origin>,
}

/// What a link is changed by, in the engine's turn or between two.
#[derive(Debug)]
pub struct LinkControl {
    cable: Arc<Mutex<Cable>>,
    signs: Arc<Signs>,
}

impl LinkControl {
    /// What the link is like now, and will be from certain times on (ascending). Time is `now`.
    pub fn set(&self, first: Step, then: Vec<Step>, now: Nanos) {
        let mut cable = self.cable.lock();
        cable.set(&self.signs, first, now);
        cable.steps = then.into();
        cable.step(&self.signs, now);
    }

    /// What it does to frames that its end `side`, 0 or 1, sends.
    #[must_use]
    pub fn impair(&self, side: usize) -> Impair {
        self.cable.lock().ways[side & 1].impair().clone()
    }

    /// Lose what is on it in VLANs that pass to other networks: it is not for those.
    pub fn lose(&self, handover: &Handover) {
        let mut cable = self.cable.lock();
        for side in [0, 1] {
            cable.ways[side].lose(handover);
            cable.count(side);
        }
    }

    /// Where losses are counted: the counters of each end's port.
    pub fn count_at(&self, counters: [Arc<PortCounters>; 2]) {
        self.cable.lock().counters = counters.map(Some);
    }
}

/// The two ends of a new link. `seed` decides about the fates of its frames.
#[must_use]
pub fn link(seed: [u64; 2]) -> ([LinkNic; 2], LinkControl) {
    let cable = Arc::new(Mutex::new(Cable {
        ways: seed.map(Way::new),
        up: [true; 2],
        mended: true,
        steps: VecDeque::new(),
        cx: [None, None],
        counters: [None, None],
    }));
    let signs = Arc::new(Signs::default());
    let ends = [0, 1].map(|side| LinkNic {
        cable: cable.clone(),
        signs: signs.clone(),
        side,
        lent: Vec::with_capacity(BURST),
        told: Vec::with_capacity(BURST),
    });
    (ends, LinkControl { cable, signs })
}

impl Nic for LinkNic {
    fn kind(&self) -> &'static str {
        "link"
    }

    fn caps(&self) -> Caps {
        // What is lost, delayed and counted one by one has to be frames as they are on a wire.
        let whole = !self.signs.impaired[self.side].load(Ordering::Relaxed);
        Caps { csum: whole, tso4: whole, tso6: whole, ecn: whole, uso: whole, max_frame: FRAME_MAX as u32 }
    }

    fn carrier(&self) -> bool {
        self.signs.carrier.load(Ordering::Relaxed)
    }

    fn waits(&self) -> bool {
        self.cable.lock().ways[1 - self.side].any()
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        let mut cable = self.cable.lock();
        cable.up[self.side] = up;
        cable.change(&self.signs);
    }

    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        let mut cable = self.cable.lock();
        cable.cx[self.side] = Some(cx);
        cable.change(&self.signs);
        Ok(())
    }

    fn detach(&mut self) {
        let mut cable = self.cable.lock();
        cable.cx[self.side] = None;
        cable.change(&self.signs);
    }

    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        true
    }

    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut cable = self.cable.lock();
        let way = &mut cable.ways[1 - self.side];
        way.give_back(&mut self.lent);
        let more = way.take(BURST, &mut self.lent);
        drop(cable);
        let frame = |buffer: &'a Buffer| {
            Frame::flat(&buffer.bytes, buffer.offload).at(buffer.place, buffer.origin.port())
        };
        burst.extend(self.lent.iter().map(frame));
        self.told.clear();
        self.told.extend(self.lent.iter().map(|buffer| buffer.origin));
        burst.origins = Some(&self.told);
        if more { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut cable = self.cable.lock();
        let way = &mut cable.ways[self.side];
        for (i, frame) in frames.iter().enumerate() {
            if let Err(reason) = way.put(now, frame, report.origins.of(i)) {
                report.drop(i, reason);
            }
        }
        cable.count(self.side);
    }

    fn flush(&mut self, _now: Nanos) -> bool {
        self.cable.lock().ways[self.side].any()
    }

    fn deadline(&self) -> Option<Nanos> {
        let cable = self.cable.lock();
        let step = if self.side == 0 { cable.steps.front().map(|step| step.at) } else { None };
        cable.ways[self.side].deadline().into_iter().chain(step).min()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        let mut cable = self.cable.lock();
        if self.side == 0 {
            cable.step(&self.signs, now);
        }
        let way = &mut cable.ways[self.side];
        way.advance(now);
        let any = way.any();
        cable.count(self.side);
        any
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testkit::{Bench, numbered};
    use switch::DropReason;

    #[test]
    fn frames_arrive_in_order_and_queues_are_bounded() {
        let ([a, b], _) = link([1, 2]);
        let (mut a, mut b) = (Bench::new(a), Bench::new(b));
        assert!(a.nic.carrier() && b.nic.carrier());
        let frames: Vec<_> = (0..200).map(|n| numbered(n, 60 + n as usize)).collect();
        assert_eq!(a.send(&frames), 200);
        b.pull();
        assert_eq!(b.received, frames);
        let many: Vec<_> = (0..20_000).map(|n| numbered(n, 60)).collect();
        assert_eq!(a.send(&many), way::FRAMES);
        assert_eq!(a.dropped(DropReason::LinkQueue) as usize, 20_000 - way::FRAMES);
    }

    #[test]
    fn a_schedule_is_kept() {
        let ([a, b], control) = link([1, 2]);
        let (mut a, mut b) = (Bench::new(a), Bench::new(b));
        let none = || [Impair::default(), Impair::default()];
        let now = a.now;
        let slow = || [Impair { delay: 5, ..Impair::default() }, Impair::default()];
        let then = vec![
            Step { at: now + 10, ways: slow(), up: true },
            Step { at: now + 20, ways: slow(), up: false },
            Step { at: now + 30, ways: none(), up: true },
        ];
        control.set(Step { at: now, ways: none(), up: true }, then, now);
        assert_eq!(a.nic.deadline(), Some(now + 10));
        assert_eq!(b.nic.deadline(), None);
        a.advance(10);
        assert_eq!(a.send(&[numbered(1, 60)]), 1);
        b.pull();
        assert!(b.received.is_empty());
        a.advance(5);
        b.pull();
        assert_eq!(b.received.len(), 1);
        a.advance(5);
        assert!(!a.nic.carrier() && !b.nic.carrier());
        a.advance(10);
        assert!(a.nic.carrier());
        assert_eq!(a.nic.deadline(), None);
        assert_eq!(a.carrier, [true, false, true]);
    }

    #[test]
    fn a_cut_cable_has_no_carrier_at_either_end_and_loses_what_was_on_it() {
        let ([a, b], _) = link([1, 2]);
        let (mut a, mut b) = (Bench::new(a), Bench::new(b));
        a.send(&[numbered(1, 60)]);
        b.nic.set_link(false, 0);
        assert!(!a.nic.carrier() && !b.nic.carrier());
        a.nic.set_link(false, 0);
        b.nic.set_link(true, 0);
        assert!(!a.nic.carrier());
        a.nic.set_link(true, 0);
        b.pull();
        assert!(b.received.is_empty());
        assert!(a.nic.carrier() && b.nic.carrier());
        a.detach();
        assert!(!b.nic.carrier());
    }
}
