//! Taking bursts in: from which ports in a turn, and how much.

use super::shape::Pull;
use super::turns::LONG;
use super::{Engine, MOVED, PortSet, Slot};
use nics::context::PORTS_MAX;
use nics::frame::ENOUGH;
use nics::{BURST, Burst, EventKind, Rx};
use switch::{Nanos, Out, PortCounters, PortId};

impl Engine {
    /// One burst from every port that is ready or polled and owes nothing, or of all that do, from those that
    /// owe least; or from the one whose run it is.
    pub(super) fn bursts(&mut self, now: Nanos) {
        if let Some(port) = self.run.next(&self.ready, &self.hot) {
            if self.burst(now, port) {
                return;
            }
            self.run.end();
        }
        let mut late = std::mem::take(&mut self.late);
        let turn = self.turns.get();
        let (mut from, mut moved) = (0, false);
        loop {
            let port = match (self.ready.next(from), self.hot.next(from)) {
                (Some(a), Some(b)) => a.min(b),
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => break,
            };
            from = port + 1;
            let Some(slot) = self.slots.get_mut(usize::from(port)) else { continue };
            if slot.share.owed(turn) > 0 {
                late.push(port);
            } else if self.ready.contains(port) || !slot.is_quiet(now) {
                moved |= self.burst(now, port);
            }
            if usize::from(from) >= PORTS_MAX {
                break;
            }
        }
        while !moved && !late.is_empty() {
            let owed = |engine: &Self, port: PortId| engine.slots[usize::from(port)].share.owed(turn);
            let least = late.iter().map(|port| owed(self, *port)).min().unwrap_or(0);
            late.retain(|&port| {
                self.slots[usize::from(port)].share.pay(least);
                let waits = owed(self, port) > 0;
                moved |= !waits && self.burst(now, port);
                waits
            });
        }
        late.clear();
        self.late = late;
    }

    /// Leave a port's NIC alone until its share of the time is its again.
    #[cold]
    fn rest(&mut self, port: PortId) {
        let slot = &mut self.slots[usize::from(port)];
        slot.polled_since = None;
        self.hot.remove(port);
        self.ready.remove(port);
        self.poller.hold(port, true);
        self.timers.schedule(port, slot);
    }

    /// What a guest's burst cost, `frames` of `bytes` in all, of which `lost` were dropped where they came in. The
    /// first of them was of that flow, at a TAP.
    #[inline]
    fn account(&mut self, now: Nanos, port: PortId, flow: u32, (frames, bytes, lost): (u64, u64, u64)) {
        let share = &mut self.slots[usize::from(port)].share;
        let cost = share.cost(frames, bytes);
        self.unpolled += cost;
        let mut owed = cost;
        if share.is_tap() {
            self.crowd.gave(port, flow, bytes);
        }
        if !share.in_memory() {
            let to = if let Out::Port(to) = self.delivery.decided().out { Some(to) } else { None };
            owed = self.run.gave(port, bytes, to, cost);
        }
        share.took(self.turns.get(), owed, bytes);
        if lost > 0 && self.delivery.ledger.is_guest(port) {
            let each = cost / frames.max(1);
            if share.wasted(now, each * lost) {
                let line = "most of what its guest sends is dropped: it is read less often";
                self.events.push(port, EventKind::Log(line.into()));
            }
            if let Some(until) = share.rests(now) {
                if let Some(counters) = &self.slots[usize::from(port)].counters {
                    counters.held.add(until - now);
                }
                self.rest(port);
            }
        }
    }

    /// How many frames a port with limits may be taken from now; `None` when it must be left alone.
    fn limited(&mut self, now: Nanos, port: PortId) -> Option<usize> {
        let Engine { slots, switches, delivery, touched, ready, hot, timers, poller, .. } = self;
        let slot = slots.get_mut(usize::from(port))?;
        let mut shaper = slot.shaper.take()?;
        let pull = shaper.pull(now);
        match pull {
            Pull::Room(_) => {}
            Pull::Waiting => {
                // As in a burst, the port that it came from is not there to be sent to.
                let nic = slot.nic.take();
                let switch = &mut switches[usize::from(slot.switch)];
                let burst = shaper.waiting(now);
                let n = burst.len();
                delivery.deliver(now, port, switch, slots, touched, &burst);
                drop(burst);
                shaper.passed(n);
                self.worked = now;
                slots[usize::from(port)].nic = nic;
                delivery.reply(now, port, slots, touched);
                ready.insert(port);
            }
            Pull::Held => {
                slot.polled_since = None;
                hot.remove(port);
                poller.hold(port, true);
            }
        }
        let slot = &mut slots[usize::from(port)];
        slot.shaper = Some(shaper);
        timers.schedule(port, slot);
        if let Pull::Room(room) = pull { Some(room) } else { None }
    }

    /// Take a burst from a port and deliver it; whether there was one.
    pub(super) fn burst(&mut self, now: Nanos, port: PortId) -> bool {
        self.ready.remove(port);
        let Some(slot) = self.slots.get(usize::from(port)) else { return false };
        if slot.share.rests(now).is_some() {
            self.rest(port);
            return false;
        }
        let mut room = BURST;
        if slot.shaper.is_some() {
            let Some(most) = self.limited(now, port) else { return false };
            room = most;
        }
        let Engine { slots, switches, arena, delivery, touched, ready, crossed, hot, timers, .. } = self;
        let Some(slot) = slots.get_mut(usize::from(port)) else { return false };
        let Some(mut nic) = slot.nic.take() else { return false };
        // Away as long as the NIC is: who sends asks for both. A reference of our own would cost two atomic
        // operations for each look at an empty ring.
        let Some(counters) = slot.counters.take() else { return false };
        let before = Taken::of(&counters);
        let switch = &mut switches[usize::from(slot.switch)];
        let mut burst = Burst::of(room);
        if slot.share.in_bulk() {
            burst.enough = enough(slot, port, ready, hot);
        }
        let rx = nic.rx_burst(now, arena, &mut burst);
        let count = burst.len();
        let moved = count > 0;
        if moved {
            self.worked = now;
            let cut = slot.shaper.as_mut().is_some_and(|shaper| {
                let cut = shaper.cuts(&burst, delivery.completer());
                if !cut {
                    shaper.pulled(now, &burst);
                }
                cut
            });
            if cut {
                ready.insert(port);
            } else {
                delivery.deliver(now, port, switch, slots, touched, &burst);
                if slots[usize::from(port)].peer.is_some() {
                    self.loops.watch(now, port, switch, delivery.floods, &self.events);
                }
            }
        }
        let tap = slots[usize::from(port)].share.is_tap();
        let flow = if tap { burst.first().map_or(0, |frame| nics::tap::flow(frame.head())) } else { 0 };
        drop(burst);
        if moved {
            nic.rx_done();
        }
        while let Some((reason, n)) = nic.take_drops() {
            counters.dropped(reason, n);
            delivery.recorder.count(now, port, reason, n);
        }
        let slot = &mut slots[usize::from(port)];
        if nic.polled() {
            if self.spin > 0 {
                slot.pause(now, count, room);
            }
            if moved || slot.polled_since.is_none() {
                slot.polled_since = Some(MOVED);
                hot.insert(port);
            } else if slot.polled_since == Some(MOVED) {
                slot.polled_since = Some(now);
            }
        } else {
            slot.polled_since = None;
            hot.remove(port);
        }
        slot.nic = Some(nic);
        let taken = Taken::of(&counters).since(before);
        slot.counters = Some(counters);
        if rx == Rx::More {
            if slot.peer.is_some() { crossed.insert(port) } else { ready.insert(port) }
        }
        timers.schedule(port, slot);
        delivery.reply(now, port, slots, touched);
        if moved && self.slots[usize::from(port)].peer.is_none() {
            self.account(now, port, flow, taken);
        }
        moved
    }
}

/// With how many bytes a burst of super-frames from `port` is long enough.
#[cold]
fn enough(slot: &Slot, port: PortId, ready: &PortSet, hot: &PortSet) -> usize {
    let other = ready.other(port).or_else(|| hot.other(port)).unwrap_or(port);
    let third = ready.has_others(port, other) || hot.has_others(port, other);
    if third || slot.shaper.is_some() { ENOUGH } else { LONG }
}

/// What a port has taken in so far.
#[derive(Clone, Copy)]
struct Taken {
    frames: u64,
    bytes: u64,
    lost: u64,
}

impl Taken {
    #[inline]
    fn of(counters: &PortCounters) -> Taken {
        let frames = counters.rx_frames.get();
        Taken { frames, bytes: counters.rx_bytes.get(), lost: frames - counters.forwarded.get() }
    }

    /// Frames, bytes, and dropped frames.
    #[inline]
    fn since(self, before: Taken) -> (u64, u64, u64) {
        (self.frames - before.frames, self.bytes - before.bytes, self.lost - before.lost)
    }
}
