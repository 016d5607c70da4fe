//! A cord: what lies between a guest's NIC and its switch, when that is impaired.
//!
//! It is a door around a door. What the guest sends goes through one [`Way`], what it receives through
//! the other, as on a link; while a direction does nothing to frames, they pass untouched. A cord that is
//! cut by its schedule takes the guest's carrier, as far as its kind can show that, and what was on it.

use super::Step;
use super::impair::Impair;
use super::way::{Buffer, Way};
use crate::context::{Context, EventKind};
use crate::frame::{Arena, BURST, Burst, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Completer;
use crate::origin::Origin;
use crate::poller::Readiness;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use switch::{DropReason, Nanos, PortCounters};

/// What the guest sends, and what it receives.
const OUT: usize = 0;
const IN: usize = 1;

/// What the operator changes. Everything happens in the engine's turn or between two, so the lock is free.
#[derive(Debug)]
struct Strands {
    ways: [Way; 2],
    mended: bool,
    steps: VecDeque<Step>,
    /// `mended` has changed, and the guest was not told.
    news: bool,
}

impl Strands {
    fn set(&mut self, step: Step, now: Nanos) {
        for (way, impair) in self.ways.iter_mut().zip(step.ways) {
            way.set(impair, now);
        }
        if self.mended != step.up {
            self.mended = step.up;
            self.news = true;
            if !step.up {
                self.ways.iter_mut().for_each(Way::clear);
            }
        }
    }

    fn step(&mut self, now: Nanos) {
        while self.steps.front().is_some_and(|step| step.at <= now) {
            let Some(step) = self.steps.pop_front() else { return };
            self.set(step, now);
        }
    }
}

/// By which a cord is changed.
#[derive(Debug)]
pub struct CordControl(Arc<Mutex<Strands>>);

impl CordControl {
    /// What the cord is like now, and will be from certain times on (ascending). Time is `now`.
    pub fn set(&self, first: Step, then: Vec<Step>, now: Nanos) {
        let mut strands = self.0.lock();
        strands.set(first, now);
        strands.steps = then.into();
        strands.step(now);
    }

    /// Whether it is whole, or cut by its schedule.
    #[must_use]
    pub fn mended(&self) -> bool {
        self.0.lock().mended
    }

    /// What it does to frames that the guest receives.
    #[must_use]
    pub fn inward(&self) -> Impair {
        self.0.lock().ways[IN].impair().clone()
    }
}

/// See the top of this file.
pub struct Cord {
    nic: Box<dyn Nic>,
    strands: Arc<Mutex<Strands>>,
    cx: Context,
    counters: Arc<PortCounters>,
    completer: Completer,
    report: TxReport,
    /// As the operator set it.
    up: bool,
    mended: bool,
    lent: Vec<Buffer>,
    sent: Vec<Buffer>,
}

/// Put a cord around a door that is attached already. `seed` decides about the fates of frames.
#[must_use]
pub fn cord(
    nic: Box<dyn Nic>,
    cx: Context,
    counters: Arc<PortCounters>,
    up: bool,
    seed: [u64; 2],
) -> (Cord, CordControl) {
    let strands = Strands { ways: seed.map(Way::new), mended: true, steps: VecDeque::new(), news: false };
    let strands = Arc::new(Mutex::new(strands));
    let cord = Cord {
        nic,
        strands: strands.clone(),
        cx,
        counters,
        completer: Completer::new(),
        report: TxReport::default(),
        up,
        mended: true,
        lent: Vec::with_capacity(BURST),
        sent: Vec::with_capacity(BURST),
    };
    (cord, CordControl(strands))
}

impl Cord {
    /// Frames that have come to the guest's end go to its door. Whether that has anything for us.
    fn deliver(&mut self, now: Nanos) -> bool {
        let mut any = false;
        loop {
            let mut strands = self.strands.lock();
            let way = &mut strands.ways[IN];
            way.give_back(&mut self.sent);
            way.take(BURST, &mut self.sent);
            for (reason, n) in way.losses() {
                self.counters.dropped(reason, n);
            }
            drop(strands);
            if self.sent.is_empty() {
                return any && self.nic.flush(now);
            }
            any = true;
            let caps = self.nic.caps();
            let carrier = self.nic.carrier() && self.mended;
            for buffer in &self.sent {
                let frame = Frame::flat(&buffer.bytes, buffer.offload);
                let tx = TxFrame { frame: &frame, edit: switch::TagEdit::NONE };
                let Cord { nic, report, counters, completer, .. } = self;
                // What the guest takes may have changed since it was sent.
                let done = if carrier {
                    completer.complete(&tx, &caps, &mut |frames| {
                        report.clear();
                        nic.tx_burst(now, frames, report);
                        for &(_, reason) in report.drops() {
                            counters.dropped(reason, 1);
                        }
                    })
                } else {
                    Err(DropReason::TxNoCarrier)
                };
                if let Err(reason) = done {
                    counters.dropped(reason, 1);
                }
            }
        }
    }

    /// Take what the guest has sent, and put it on its way.
    fn gather(&mut self, now: Nanos, arena: &mut Arena) -> Rx {
        let mut burst = Burst::new();
        let rx = self.nic.rx_burst(now, arena, &mut burst);
        let mut strands = self.strands.lock();
        let whole = Caps::plain(u32::MAX);
        for frame in burst.iter() {
            let tx = TxFrame { frame, edit: switch::TagEdit::NONE };
            let Strands { ways, .. } = &mut *strands;
            let (way, counters) = (&mut ways[OUT], &self.counters);
            if !self.mended {
                counters.dropped(DropReason::TxNoCarrier, 1);
                continue;
            }
            let done = self.completer.complete(&tx, &whole, &mut |frames| {
                for frame in frames {
                    if let Err(reason) = way.put(now, frame, Origin::NOBODY) {
                        counters.dropped(reason, 1);
                    }
                }
            });
            if let Err(reason) = done {
                counters.dropped(reason, 1);
            }
        }
        drop(strands);
        drop(burst);
        self.nic.rx_done();
        rx
    }

    fn holds(&self, way: usize) -> bool {
        let strands = self.strands.lock();
        let way = &strands.ways[way];
        !way.plain() || way.any() || way.deadline().is_some() || !self.mended
    }

    /// Tell the guest that the cord was cut or mended.
    fn tell(&mut self, now: Nanos) {
        let mut strands = self.strands.lock();
        if !std::mem::take(&mut strands.news) {
            return;
        }
        self.mended = strands.mended;
        drop(strands);
        self.nic.set_link(self.up && self.mended, now);
        self.cx.event(EventKind::Carrier(self.mended && self.nic.carrier()));
    }
}

impl Nic for Cord {
    fn kind(&self) -> &'static str {
        self.nic.kind()
    }

    fn caps(&self) -> Caps {
        let caps = self.nic.caps();
        if self.holds(IN) { Caps::plain(caps.max_frame) } else { caps }
    }

    fn carrier(&self) -> bool {
        self.mended && self.nic.carrier()
    }

    fn set_link(&mut self, up: bool, now: Nanos) {
        self.up = up;
        self.nic.set_link(up && self.mended, now);
    }

    fn set_member(&mut self, member: usize, up: bool, now: Nanos) {
        self.nic.set_member(member, up, now);
    }

    fn look(&mut self, now: Nanos) -> bool {
        self.nic.look(now)
    }

    fn bond(&self) -> Option<crate::bond::View> {
        self.nic.bond()
    }

    fn way_of(&self, head: &[u8]) -> Option<(usize, String)> {
        self.nic.way_of(head)
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.nic.attach(cx, now)
    }

    fn detach(&mut self) {
        self.nic.detach();
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        self.nic.ready(sub, readiness, now)
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.tell(now);
        if !self.holds(OUT) {
            return self.nic.rx_burst(now, arena, burst);
        }
        let rx = self.gather(now, arena);
        let mut strands = self.strands.lock();
        let way = &mut strands.ways[OUT];
        way.give_back(&mut self.lent);
        let more = way.take(burst.room(), &mut self.lent);
        for (reason, n) in way.losses() {
            self.counters.dropped(reason, n);
        }
        drop(strands);
        burst.extend(self.lent.iter().map(|buffer| Frame::flat(&buffer.bytes, buffer.offload)));
        if more || rx == Rx::More { Rx::More } else { Rx::Idle }
    }

    fn rx_done(&mut self) {
        self.nic.rx_done();
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        if !self.holds(IN) {
            self.nic.tx_burst(now, frames, report);
            return;
        }
        let mut strands = self.strands.lock();
        let way = &mut strands.ways[IN];
        for (i, frame) in frames.iter().enumerate() {
            if let Err(reason) = way.put(now, frame, Origin::NOBODY) {
                report.drop(i, reason);
            }
        }
    }

    fn flush(&mut self, now: Nanos) -> bool {
        let more = self.deliver(now);
        self.nic.flush(now) || more
    }

    fn deadline(&self) -> Option<Nanos> {
        let strands = self.strands.lock();
        let ways = strands.ways.iter().filter_map(Way::deadline).min();
        let step = strands.steps.front().map(|step| step.at);
        let news = strands.news.then_some(0);
        [ways, step, news, self.nic.deadline()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        let mut strands = self.strands.lock();
        strands.step(now);
        strands.ways.iter_mut().for_each(|way| way.advance(now));
        let any = strands.ways[OUT].any();
        drop(strands);
        self.tell(now);
        let more = self.deliver(now);
        let due = self.nic.deadline().is_some_and(|at| at <= now) && self.nic.tick(now);
        any || more || due
    }

    fn polled(&self) -> bool {
        self.nic.polled()
    }

    fn arm(&mut self) -> bool {
        self.nic.arm()
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        self.nic.take_drops()
    }
}
