//! The engine: one `turn` pulls bursts from the ports that have any, lets their switch decide,
//! pushes the frames on, and says when it wants the next turn.
//!
//! Nothing here waits, and nothing here knows what time it is: `now` is an argument. Who calls
//! `turn`, when, and on which thread is the driver's business: trio (`vnet/drive.py`) or a native
//! thread (`thread.rs`). The same calls with the same frames give the same result, byte for byte.
//!
//! What one turn does, in this order:
//!  1. kicks (in-process guests) and descriptors (epoll) mark ports ready;
//!  2. timers that have come mark theirs;
//!  3. each ready port gives one burst, in ascending order of ports, so that a busy port costs the
//!     others at most one burst of waiting, unless it owes for earlier ones (`turns.rs`), or sends in bulk
//!     to the one port that waits (`runs.rs`); the burst is decided and delivered (`pull.rs`, `deliver/`);
//!  4. ports that were sent to are flushed: one notification or system call for the whole turn;
//!  5. what crossed a link is forwarded by the next switch (`link.rs`).
//!
//! Ports with nothing to do are in none of those lists: 4,096 idle ports cost nothing. Turns of an engine that looks on at
//! NICs in shared memory are mostly shorter than that (`still.rs`).

mod account;
mod beyond;
mod bridges;
mod commands;
mod cord;
mod crowd;
mod deliver;
mod error;
pub mod explain;
mod inject;
mod link;
mod loops;
mod lost;
mod multicast;
mod ports;
mod pull;
mod runs;
pub(crate) mod shape;
mod still;
pub mod thread;
mod turns;
pub mod usage;

use deliver::Delivery;
pub use error::EngineError;
pub use lost::LostFrame;
use nics::context;
use nics::link::CordControl;
use nics::{Arena, EventKind, Events, Poller, Waker};
use ports::Timers;
pub(crate) use ports::{PortSet, Slot};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use still::Look;
use switch::{Counter, Nanos, PortId, Switch};

/// While there is work at hand, descriptors are looked at every so many turns only, or when that work has cost
/// `turns::UNPOLLED` and taken as long. Turns in which nothing came count a quarter, for they are short, and the look is
/// not: but it is made in one of them if the last one was so long ago.
const TURNS_PER_POLL: u32 = 64;
const TURN: u32 = 1;
const BUSY_TURN: u32 = 4;
const POLL: Nanos = 8_000;

/// A NIC had something when it was polled last. The time without work begins with the first poll in
/// vain: a burst of super-frames alone can take longer than the engine is willing to look on.
const MOVED: Nanos = Nanos::MAX;

/// When the engine wants its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do.
    Again,
    /// When the poller's descriptor is readable, or at this time if there is one.
    Wait(Option<Nanos>),
}

/// See the top of this file.
pub struct Engine {
    slots: Vec<Slot>,
    switches: Vec<Switch>,
    free_switches: Vec<u16>,
    ready: PortSet,
    /// Ports with polled NICs that are being polled now.
    hot: PortSet,
    /// Sent to in this turn.
    touched: PortSet,
    /// Ends of links at which frames have arrived.
    crossed: PortSet,
    links: link::Links,
    cords: BTreeMap<PortId, CordControl>,
    bridges: bridges::Bridges,
    loops: loops::Loops,
    told: beyond::Told,
    timers: Timers,
    poller: Arc<Poller>,
    waker: Arc<Waker>,
    events: Arc<Events>,
    arena: Arena,
    delivery: Delivery,
    now: Nanos,
    /// When a frame last moved.
    worked: Nanos,
    /// How long a polled NIC without work is polled on before it is armed.
    spin: Nanos,
    since_poll: u32,
    /// When they were looked at last.
    polled: Nanos,
    /// Until then a turn has nothing to do but to look at the NICs that are polled (`still.rs`).
    still: Nanos,
    /// What bursts have cost since.
    unpolled: turns::Cost,
    /// Ports that owe for earlier bursts and are passed by in this turn.
    late: Vec<PortId>,
    run: runs::Run,
    crowd: crowd::Crowd,
    turns: Arc<Counter>,
    next_port: PortId,
}

impl Engine {
    pub fn new() -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let waker = Arc::new(Waker::new()?);
        poller.add_engine(waker.fd())?;
        Ok(Engine {
            slots: Vec::new(),
            switches: Vec::new(),
            free_switches: Vec::new(),
            ready: PortSet::new(),
            hot: PortSet::new(),
            touched: PortSet::new(),
            crossed: PortSet::new(),
            links: link::Links::new(),
            cords: BTreeMap::new(),
            bridges: bridges::Bridges::default(),
            loops: loops::Loops::default(),
            told: beyond::Told::default(),
            timers: Timers::default(),
            poller,
            waker,
            events: Arc::new(Events::new()?),
            arena: Arena::new(),
            delivery: Delivery::new(),
            now: 0,
            worked: 0,
            spin: 0,
            since_poll: 0,
            polled: 0,
            still: 0,
            unpolled: 0,
            late: Vec::new(),
            run: runs::Run::default(),
            crowd: crowd::Crowd::new(),
            turns: Arc::new(Counter::default()),
            next_port: 0,
        })
    }

    #[must_use]
    pub fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    #[must_use]
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    #[must_use]
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// How many turns there were.
    #[must_use]
    pub fn turns(&self) -> &Arc<Counter> {
        &self.turns
    }

    /// The time of the latest turn.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// It is `now`, which commands go by until the next turn: between two turns hours may pass. A `now`
    /// that goes back counts as the latest one.
    pub fn advance(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        self.still = 0;
    }

    /// When a frame last moved.
    #[must_use]
    pub fn worked(&self) -> Nanos {
        self.worked
    }

    /// Whether there are links or cables that may delay frames, which are to come when they are due.
    #[must_use]
    pub fn delays(&self) -> bool {
        !self.links.is_empty() || !self.cords.is_empty()
    }

    /// Poll NICs in shared memory for so long after their last frame. 0 where nobody spins (trio).
    pub fn set_spin(&mut self, spin: Nanos) {
        (self.spin, self.still) = (spin, 0);
    }

    pub fn switch(&self, switch: u16) -> Result<&Switch, EngineError> {
        self.switches.get(usize::from(switch)).ok_or(EngineError::NoSuchSwitch)
    }

    pub fn switch_mut(&mut self, switch: u16) -> Result<&mut Switch, EngineError> {
        self.switches.get_mut(usize::from(switch)).ok_or(EngineError::NoSuchSwitch)
    }

    fn slot(&mut self, port: PortId) -> Result<&mut Slot, EngineError> {
        match self.slots.get_mut(usize::from(port)) {
            Some(slot) if slot.counters.is_some() => Ok(slot),
            _ => Err(EngineError::NoSuchPort),
        }
    }

    /// One turn. `now` must not go back; a `now` that does counts as the latest one.
    pub fn turn(&mut self, now: Nanos) -> Next {
        self.turns.add(1);
        let whole = match self.look(now) {
            Look::Still => return Next::Again,
            Look::Found(port) => {
                self.burst(now, port);
                false
            }
            Look::Unknown => {
                self.begin(now);
                let whole = self.gather(self.now);
                self.bursts(self.now);
                whole
            }
        };
        let now = self.now;
        self.flush(now);
        if !self.crossed.is_empty() {
            self.cross(now);
        }
        self.ask(now);
        if self.bridges.any() {
            self.bridge(now);
        }
        if self.delivery.given {
            self.tell_given();
        }
        if self.loops.deadline().is_some_and(|at| at <= now) {
            self.loops.calm(now, &mut self.switches, &self.slots, &self.events);
        }
        for (port, trigger) in self.delivery.recorder.fired() {
            self.events.push(port, EventKind::Trigger(trigger));
        }
        let cool = self.cool(now);
        if whole {
            let events = &self.events;
            self.crowd.look(now, |port, on| events.push(port, EventKind::Crowd(on)));
        }
        if whole || self.hot.is_empty() {
            for switch in &mut self.switches {
                for (port, line) in switch.denied() {
                    self.events.push(port, EventKind::Log(line));
                }
            }
        }
        let next = self.next();
        if self.delivery.captures.any() {
            self.delivery.captures.flush(now, self.worked != now, next != Next::Again);
        }
        self.stay(next, cool);
        next
    }

    /// Time has passed since the turn before.
    #[inline]
    fn begin(&mut self, now: Nanos) {
        if self.worked == self.now {
            self.since_poll += BUSY_TURN;
        } else {
            self.since_poll += if now.saturating_sub(self.polled) < POLL { TURN } else { TURNS_PER_POLL };
            self.crowd.spared(now.saturating_sub(self.now));
        }
        self.advance(now);
    }

    /// Find out who has something: kicks, descriptors, timers, ageing. Whether this was a turn to look at
    /// what is not looked at in each while NICs are polled: a turn that finds nothing is as long as a frame
    /// has to wait.
    fn gather(&mut self, now: Nanos) -> bool {
        self.waker.take(|port| self.ready.insert(port));
        let whole = self.since_poll >= TURNS_PER_POLL
            || self.unpolled >= turns::UNPOLLED && self.polled_long_ago(now)
            || self.ready.is_empty() && self.hot.is_empty();
        if whole {
            (self.since_poll, self.unpolled, self.polled) = (0, 0, now);
            let Engine { poller, slots, ready, timers, .. } = self;
            // An error here could only be a bad descriptor or pointer, which are ours and valid.
            let _ = poller.wait(Some(0), |number, sub, readiness| {
                let (port, _) = context::split(number);
                let Some(slot) = slots.get_mut(usize::from(port)) else { return };
                let Some(nic) = slot.nic.as_mut() else { return };
                if nic.ready(context::sub_of(number, sub), readiness, now) {
                    ready.insert(port);
                }
                timers.schedule(port, slot);
            });
        }
        self.timers(now);
        if whole || self.hot.is_empty() {
            for switch in &mut self.switches {
                if switch.deadline().is_some_and(|at| at <= now) {
                    switch.tick(now);
                }
            }
        }
        whole
    }

    /// Whose time has come: who rests goes on, held frames are sent, NICs are called.
    #[inline]
    fn timers(&mut self, now: Nanos) {
        while let Some(port) = self.timers.due(now, &self.slots) {
            let slot = &mut self.slots[usize::from(port)];
            slot.deadline = None;
            if slot.share.rested(now) {
                self.poller.hold(port, false);
                self.ready.insert(port);
            }
            if let Some(shaper) = &mut slot.shaper {
                if shaper.released(now) {
                    self.poller.hold(port, false);
                    self.ready.insert(port);
                }
                if self.delivery.release(now, port, slot) {
                    self.touched.insert(port);
                }
            }
            slot.shaper.take_if(|shaper| shaper.is_idle());
            if let Some(nic) = slot.nic.as_mut() {
                if nic.deadline().is_some_and(|at| at <= now) && nic.tick(now) {
                    match slot.peer {
                        None => self.ready.insert(port),
                        Some(peer) => self.crossed.insert(peer),
                    }
                }
                self.timers.schedule(port, slot);
                if slot.peer.is_some() {
                    self.look_at_link(port);
                }
            }
        }
    }

    /// Whether the bursts since descriptors were looked at took long, or cost more than one can be mistaken about.
    #[cold]
    fn polled_long_ago(&self, now: Nanos) -> bool {
        now.saturating_sub(self.polled) >= turns::UNPOLLED || self.unpolled >= turns::UNPOLLED_MOST
    }

    fn flush(&mut self, now: Nanos) {
        let mut from = 0;
        while let Some(port) = self.touched.next(from) {
            from = port + 1;
            self.touched.remove(port);
            let slot = &mut self.slots[usize::from(port)];
            if let Some(nic) = slot.nic.as_mut() {
                if nic.flush(now) {
                    match slot.peer {
                        None => self.ready.insert(port),
                        Some(peer) => self.crossed.insert(peer),
                    }
                }
                self.timers.schedule(port, slot);
            }
        }
    }

    /// Stop polling NICs that had nothing for a while: from now on their guests notify us. When the next one will have
    /// had nothing for that long, if nothing comes.
    fn cool(&mut self, now: Nanos) -> Nanos {
        let (mut from, mut next) = (0, Nanos::MAX);
        while let Some(port) = self.hot.next(from) {
            from = port + 1;
            let slot = &mut self.slots[usize::from(port)];
            let Some(since) = slot.polled_since else { continue };
            if now.saturating_sub(since) < self.spin {
                next = next.min(since.saturating_add(self.spin));
                continue;
            }
            let Some(nic) = slot.nic.as_mut() else { continue };
            if nic.arm() {
                slot.polled_since = None;
                self.hot.remove(port);
            } else {
                slot.polled_since = Some(now);
                next = next.min(now.saturating_add(self.spin));
            }
        }
        next
    }

    fn next(&self) -> Next {
        if !self.ready.is_empty()
            || !self.hot.is_empty()
            || !self.crossed.is_empty()
            || self.bridges.busy(&self.delivery.bpdus)
            || self.waker.pending()
        {
            return Next::Again;
        }
        let ageing = self.switches.iter().filter_map(Switch::deadline).min();
        Next::Wait(
            [self.timers.next(), ageing, self.bridges.deadline(), self.loops.deadline()]
                .into_iter()
                .flatten()
                .min(),
        )
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Some(nic) = &mut slot.nic {
                nic.detach();
            }
        }
    }
}
