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

mod way;

pub use way::{Buffer, Way};

use crate::context::{Context, EventKind};
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::poller::Readiness;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use switch::{DropReason, Nanos};

/// What both ends know. Everything happens in the engine's turn, so the lock is always free.
#[derive(Debug)]
struct Cable {
    /// From end 0 to end 1, and back.
    ways: [Way; 2],
    /// Set up at each end.
    up: [bool; 2],
    /// Attached at each end.
    cx: [Option<Context>; 2],
}

impl Cable {
    /// Cut or mended: tell both ends, and lose what is on the way.
    fn change(&mut self, carrier: &AtomicBool, now: Nanos) {
        let up = self.up == [true; 2] && self.cx.iter().all(Option::is_some);
        if carrier.swap(up, Ordering::Relaxed) == up {
            return;
        }
        for cx in self.cx.iter().flatten() {
            cx.event(EventKind::Carrier(up));
        }
        if !up {
            for way in &mut self.ways {
                way.clear(now);
            }
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub struct LinkNic {
    cable: Arc<Mutex<Cable>>,
    carrier: Arc<AtomicBool>,
    /// 0 or 1: it sends into the way of this number, and receives from the other.
    side: usize,
    lent: Vec<Buffer>,
    deadline: Option<Nanos>,
}

/// The two ends of a new link.
#[must_use]
pub fn link() -> [LinkNic; 2] {
    let cable =
        Arc::new(Mutex::new(Cable { ways: [Way::new(), Way::new()], up: [true; 2], cx: [None, None] }));
    let carrier = Arc::new(AtomicBool::new(false));
    [0, 1].map(|side| LinkNic {
        cable: cable.clone(),
        carrier: carrier.clone(),
        side,
        lent: Vec::with_capacity(BURST),
        deadline: None,
    })
}

impl Nic for LinkNic {
    fn kind(&self) -> &'static str {
        "link"
    }

    fn caps(&self) -> Caps {
        Caps { csum: true, tso4: true, tso6: true, ecn: true, uso: true, max_frame: FRAME_MAX as u32 }
    }

    fn carrier(&self) -> bool {
        self.carrier.load(Ordering::Relaxed)
    }

    fn set_link(&mut self, up: bool, now: Nanos) {
        let mut cable = self.cable.lock();
        cable.up[self.side] = up;
        cable.change(&self.carrier, now);
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        let mut cable = self.cable.lock();
        cable.cx[self.side] = Some(cx);
        cable.change(&self.carrier, now);
        Ok(())
    }

    fn detach(&mut self) {
        let mut cable = self.cable.lock();
        cable.cx[self.side] = None;
        cable.change(&self.carrier, 0);
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
        burst.extend(self.lent.iter().map(|buffer| Frame::flat(&buffer.bytes, buffer.offload)));
        if more { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut cable = self.cable.lock();
        let way = &mut cable.ways[self.side];
        for (i, frame) in frames.iter().enumerate() {
            if !way.put(now, frame) {
                report.drop(i, DropReason::LinkQueue);
            }
        }
    }

    fn flush(&mut self, _now: Nanos) -> bool {
        self.cable.lock().ways[self.side].any()
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testkit::{Bench, numbered};

    #[test]
    fn frames_arrive_in_order_and_queues_are_bounded() {
        let [a, b] = link();
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
    fn a_cut_cable_has_no_carrier_at_either_end_and_loses_what_was_on_it() {
        let [a, b] = link();
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
