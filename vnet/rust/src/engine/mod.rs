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
//!     others at most one burst of waiting, unless it owes for earlier ones (`turns.rs`); the burst is
//!     decided and delivered (`deliver.rs`);
//!  4. ports that were sent to are flushed: one notification or system call for the whole turn;
//!  5. what crossed a link is forwarded by the next switch (`link.rs`).
//!
//! Ports with nothing to do are in none of those lists: 4,096 idle ports cost nothing.

mod beyond;
mod bridges;
mod cord;
mod deliver;
pub mod explain;
mod inject;
mod link;
mod loops;
mod lost;
mod multicast;
mod ports;
pub(crate) mod shape;
pub mod thread;
mod turns;
pub mod usage;

use crate::capture::CaptureSet;
use crate::flows::Flows;
use crate::mirror::{MirrorSet, Spec};
use crate::recorder::Recorder;
use deliver::Delivery;
pub use lost::LostFrame;
use nics::context::{self, PORTS_MAX};
use nics::link::CordControl;
use nics::{Arena, BURST, Burst, Context, EventKind, Events, Nic, Poller, Rx, Waker};
use ports::Timers;
pub(crate) use ports::{PortSet, Slot};
use shape::{Pull, Shaper};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use switch::{
    Counter, Groups, Mac, Nanos, PortConfig, PortCounters, PortId, Switch, SwitchConfig, SwitchError, VlanId,
};
use usage::Usage;

/// While there is work at hand, descriptors are looked at every so many turns only, or when that work has cost
/// `turns::UNPOLLED`.
const TURNS_PER_POLL: u32 = 16;

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

/// Why a port could not be added or changed.
#[derive(Debug)]
pub enum EngineError {
    /// All `PORTS_MAX` are taken.
    PortsExhausted,
    NoSuchPort,
    NoSuchSwitch,
    /// It still has ports.
    SwitchInUse,
    Switch(SwitchError),
    Io(io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::PortsExhausted => write!(f, "all {PORTS_MAX} ports are taken"),
            EngineError::NoSuchPort => write!(f, "there is no such port"),
            EngineError::NoSuchSwitch => write!(f, "there is no such switch"),
            EngineError::SwitchInUse => write!(f, "the switch still has ports"),
            EngineError::Switch(e) => e.fmt(f),
            EngineError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<SwitchError> for EngineError {
    fn from(e: SwitchError) -> Self {
        EngineError::Switch(e)
    }
}

impl From<io::Error> for EngineError {
    fn from(e: io::Error) -> Self {
        EngineError::Io(e)
    }
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
    /// What bursts have cost since.
    unpolled: turns::Cost,
    /// Ports that owe for earlier bursts and are passed by in this turn.
    late: Vec<PortId>,
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
            unpolled: 0,
            late: Vec::new(),
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
        self.spin = spin;
    }

    /// A new switch; its number.
    pub fn add_switch(&mut self, config: SwitchConfig) -> u16 {
        let switch = Switch::new(config);
        if let Some(number) = self.free_switches.pop() {
            self.switches[usize::from(number)] = switch;
            return number;
        }
        self.switches.push(switch);
        (self.switches.len() - 1) as u16
    }

    /// Forget a switch, which must have no ports any more. Its number may be given to another.
    pub fn remove_switch(&mut self, switch: u16) -> Result<(), EngineError> {
        if self.free_switches.contains(&switch) {
            return Err(EngineError::NoSuchSwitch);
        }
        let place = self.switch_mut(switch)?;
        if place.ports().next().is_some() {
            return Err(EngineError::SwitchInUse);
        }
        *place = Switch::new(SwitchConfig::default());
        self.set_bridge(switch, None)?;
        self.free_switches.push(switch);
        Ok(())
    }

    /// Change a switch's limits and ageing time; see [`Switch::configure`].
    pub fn set_switch(&mut self, switch: u16, config: &SwitchConfig) -> Result<(), EngineError> {
        let now = self.now;
        self.switch_mut(switch)?.configure(now, config)?;
        // An entry may be due earlier than the next turn was meant for.
        self.waker.wake();
        Ok(())
    }

    pub fn switch(&self, switch: u16) -> Result<&Switch, EngineError> {
        self.switches.get(usize::from(switch)).ok_or(EngineError::NoSuchSwitch)
    }

    pub fn switch_mut(&mut self, switch: u16) -> Result<&mut Switch, EngineError> {
        self.switches.get_mut(usize::from(switch)).ok_or(EngineError::NoSuchSwitch)
    }

    /// A free number. Numbers are used in turn, so that one that was given up stays unused for long
    /// and late news of the old port can't be taken for news of the new.
    fn free_port(&mut self) -> Result<PortId, EngineError> {
        for step in 0..PORTS_MAX {
            let port = (usize::from(self.next_port) + step) % PORTS_MAX;
            if self.slots.get(port).is_none_or(|slot| slot.counters.is_none()) {
                self.next_port = ((port + 1) % PORTS_MAX) as PortId;
                if port >= self.slots.len() {
                    self.slots.resize_with(port + 1, Slot::default);
                }
                return Ok(port as PortId);
            }
        }
        Err(EngineError::PortsExhausted)
    }

    /// Attach `nic` to a new port of `switch`. When it can't be, nothing has changed.
    pub fn add_port(
        &mut self,
        mut nic: Box<dyn Nic>,
        switch: u16,
        config: PortConfig,
    ) -> Result<(PortId, Arc<PortCounters>), EngineError> {
        self.switch(switch)?;
        let port = self.free_port()?;
        let shaper = Shaper::change(None, config.limits.as_deref(), self.now);
        let kind = if config.uplink { usage::Kind::Uplink } else { usage::Kind::Guest };
        let counters = self.switch_mut(switch)?.add_port(port, config)?;
        let cx = Context {
            port,
            poller: self.poller.clone(),
            waker: self.waker.clone(),
            events: self.events.clone(),
        };
        if let Err(e) = nic.attach(cx, self.now) {
            nic.detach();
            self.switch_mut(switch)?.remove_port(port)?;
            return Err(e.into());
        }
        self.delivery.ledger.open(port, kind);
        let share = turns::Share::of(nic.kind());
        let slot = &mut self.slots[usize::from(port)];
        *slot = Slot {
            nic: Some(nic),
            share,
            switch,
            counters: Some(counters.clone()),
            shaper,
            ..Slot::default()
        };
        self.timers.schedule(port, slot);
        self.ready.insert(port);
        self.tell_of(port, false);
        self.waker.wake();
        Ok((port, counters))
    }

    fn slot(&mut self, port: PortId) -> Result<&mut Slot, EngineError> {
        match self.slots.get_mut(usize::from(port)) {
            Some(slot) if slot.counters.is_some() => Ok(slot),
            _ => Err(EngineError::NoSuchPort),
        }
    }

    /// Change how a port is set up; its NIC, its counters and its traffic go on.
    pub fn set_port(&mut self, port: PortId, config: PortConfig) -> Result<(), EngineError> {
        let (switch, now, limits) = (self.slot(port)?.switch, self.now, config.limits.clone());
        let up = config.up;
        self.switch_mut(switch)?.set_port(port, config)?;
        self.tell_of(port, false);
        self.delivery.mirrors.set_up(port, up);
        let slot = self.slot(port)?;
        slot.shaper = Shaper::change(slot.shaper.take(), limits.as_deref(), now);
        if slot.shaper.is_some() {
            let slot = &mut self.slots[usize::from(port)];
            self.timers.schedule(port, slot);
            self.waker.wake();
        }
        self.look_at_bridges();
        Ok(())
    }

    /// Change the security groups of ports, of all of them between two frames. When a port isn't there,
    /// nothing has changed.
    pub fn set_groups(&mut self, groups: &[(PortId, Option<Arc<Groups>>)]) -> Result<(), EngineError> {
        for (port, _) in groups {
            self.slot(*port)?;
        }
        for (port, groups) in groups {
            let switch = self.slot(*port)?.switch;
            self.switch_mut(switch)?.set_groups(*port, groups.clone())?;
        }
        Ok(())
    }

    /// Connections that are tracked on account of a port.
    pub fn connection_count(&mut self, port: PortId) -> Result<u32, EngineError> {
        let switch = self.slot(port)?.switch;
        Ok(self.switch(switch)?.connection_count(port).1)
    }

    /// The switch that a port is at.
    pub fn port_switch(&mut self, port: PortId) -> Result<&mut Switch, EngineError> {
        let switch = self.slot(port)?.switch;
        self.switch_mut(switch)
    }

    pub fn port_config(&mut self, port: PortId) -> Result<PortConfig, EngineError> {
        let switch = self.slot(port)?.switch;
        self.switch(switch)?.port(port).cloned().ok_or(EngineError::NoSuchPort)
    }

    /// Enter a station at a port for good, see [`Switch::fdb_set`].
    pub fn fdb_set(&mut self, port: PortId, vlan: VlanId, mac: Mac, sticky: bool) -> Result<(), EngineError> {
        let switch = self.slot(port)?.switch;
        Ok(self.switch_mut(switch)?.fdb_set(vlan, mac, port, sticky)?)
    }

    /// Forget a station of a port's switch.
    pub fn fdb_remove(&mut self, port: PortId, vlan: VlanId, mac: Mac) -> Result<(), EngineError> {
        let switch = self.slot(port)?.switch;
        Ok(self.switch_mut(switch)?.fdb_remove(vlan, mac)?)
    }

    /// Set a port's link up or down: on the switch's side, and for the guest if its NIC can show it.
    pub fn set_link(&mut self, port: PortId, up: bool) -> Result<(), EngineError> {
        let now = self.now;
        let mut config = self.port_config(port)?;
        config.up = up;
        self.set_port(port, config)?;
        if let Some(nic) = &mut self.slot(port)?.nic {
            nic.set_link(up, now);
        }
        self.look_at_link(port);
        self.look_at_bridges();
        self.ready.insert(port);
        self.waker.wake();
        Ok(())
    }

    /// The captures of this engine's traffic.
    pub fn captures(&mut self) -> &mut CaptureSet {
        &mut self.delivery.captures
    }

    /// The last frames that a port lost.
    pub fn lost(&self, port: PortId) -> impl Iterator<Item = &LostFrame> {
        self.delivery.lost.of(port)
    }

    /// The mirrors of this engine's traffic.
    #[must_use]
    pub fn mirrors(&self) -> &MirrorSet {
        &self.delivery.mirrors
    }

    /// Have these mirrors, and no others. When a port isn't there, nothing has changed.
    pub fn set_mirrors(&mut self, specs: Vec<Spec>) -> Result<(), EngineError> {
        for port in specs.iter().flat_map(|spec| spec.ingress.iter().chain(&spec.egress).chain([&spec.to])) {
            self.slot(*port)?;
        }
        let Engine { slots, switches, delivery, .. } = self;
        delivery.mirrors.set(specs, |port| {
            let slot = slots.get(usize::from(port));
            let switch = slot.and_then(|slot| switches.get(usize::from(slot.switch)));
            switch.and_then(|switch| switch.port(port)).is_some_and(|config| config.up)
        });
        Ok(())
    }

    /// What is kept of this engine's traffic.
    pub fn recorder(&mut self) -> &mut Recorder {
        &mut self.delivery.recorder
    }

    /// What is counted of a sample of this engine's traffic.
    pub fn flows(&mut self) -> &mut Flows {
        &mut self.delivery.flows
    }

    /// Every port with the number of its switch, ascending.
    pub fn places(&self) -> impl Iterator<Item = (PortId, u16)> {
        let there = self.slots.iter().enumerate().filter(|(_, slot)| slot.counters.is_some());
        there.map(|(port, slot)| (port as PortId, slot.switch))
    }

    /// Set one of several cables of a port up or down.
    pub fn set_member(&mut self, port: PortId, member: usize, up: bool) -> Result<(), EngineError> {
        let now = self.now;
        if let Some(nic) = &mut self.slot(port)?.nic {
            nic.set_member(member, up, now);
        }
        self.look_at_link(port);
        self.look_at_bridges();
        self.ready.insert(port);
        self.timers.schedule(port, &mut self.slots[usize::from(port)]);
        self.waker.wake();
        Ok(())
    }

    /// What is to be seen of a port's cables, if it has several.
    pub fn bond(&mut self, port: PortId) -> Result<Option<nics::bond::View>, EngineError> {
        Ok(self.slot(port)?.nic.as_ref().and_then(|nic| nic.bond()))
    }

    /// Whether the port's NIC has carrier.
    pub fn carrier(&mut self, port: PortId) -> Result<bool, EngineError> {
        Ok(self.slot(port)?.nic.as_ref().is_some_and(|nic| nic.carrier()))
    }

    /// What a guest's NIC sent and received so far; nothing for any other port.
    #[must_use]
    pub fn usage(&self, port: PortId) -> Usage {
        self.delivery.ledger.of(port)
    }

    /// Detach a port's NIC and forget the port. What its guest sent and received.
    pub fn remove_port(&mut self, port: PortId) -> Result<Usage, EngineError> {
        self.slot(port)?;
        self.tell_of(port, true);
        let slot = std::mem::take(self.slot(port)?);
        if let Some(mut nic) = slot.nic {
            nic.detach();
        }
        if let Some(peer) = slot.peer.and_then(|peer| self.slots.get_mut(usize::from(peer))) {
            peer.peer = None;
        }
        self.poller.forget(port);
        self.ready.remove(port);
        self.hot.remove(port);
        self.crossed.remove(port);
        self.links.remove(&port);
        self.cords.remove(&port);
        self.loops.forget(port);
        self.leave_bridge(port);
        self.delivery.captures.forget(port);
        self.delivery.mirrors.forget(port);
        self.delivery.lost.forget(port);
        self.delivery.recorder.forget(port);
        let usage = self.delivery.ledger.close(port);
        self.switch_mut(slot.switch)?.remove_port(port)?;
        if slot.peer.is_some() {
            self.tell_anew();
        }
        Ok(usage)
    }

    /// One turn. `now` must not go back; a `now` that does counts as the latest one.
    pub fn turn(&mut self, now: Nanos) -> Next {
        self.advance(now);
        let now = self.now;
        self.turns.add(1);
        let whole = self.gather(now);
        self.bursts(now);
        self.flush(now);
        if !self.crossed.is_empty() {
            self.cross(now);
        }
        self.ask(now);
        if self.bridges.any() {
            self.bridge(now);
        }
        if self.loops.deadline().is_some_and(|at| at <= now) {
            self.loops.calm(now, &mut self.switches, &self.slots, &self.events);
        }
        if self.delivery.captures.any() {
            self.delivery.captures.flush();
        }
        for (port, trigger) in self.delivery.recorder.fired() {
            self.events.push(port, EventKind::Trigger(trigger));
        }
        self.cool(now);
        if whole || self.hot.is_empty() {
            for switch in &mut self.switches {
                for (port, line) in switch.denied() {
                    self.events.push(port, EventKind::Log(line));
                }
            }
        }
        self.next()
    }

    /// Find out who has something: kicks, descriptors, timers, ageing. Whether this was a turn to look at
    /// what is not looked at in each while NICs are polled: a turn that finds nothing is as long as a frame
    /// has to wait.
    fn gather(&mut self, now: Nanos) -> bool {
        self.waker.take(|port| self.ready.insert(port));
        self.since_poll += 1;
        let whole = self.since_poll >= TURNS_PER_POLL
            || self.unpolled >= turns::UNPOLLED
            || self.ready.is_empty() && self.hot.is_empty();
        if whole {
            (self.since_poll, self.unpolled) = (0, 0);
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
        if whole || self.hot.is_empty() {
            for switch in &mut self.switches {
                if switch.deadline().is_some_and(|at| at <= now) {
                    switch.tick(now);
                }
            }
        }
        whole
    }

    /// One burst from every port that is ready or polled and owes nothing, or of all that do, from those that
    /// owe least.
    fn bursts(&mut self, now: Nanos) {
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
            if self.slots.get(usize::from(port)).is_some_and(|slot| slot.share.owed(turn) > 0) {
                late.push(port);
            } else {
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

    /// What a guest's burst cost, `frames` of `bytes` in all, of which `lost` were dropped where they came in.
    #[inline]
    fn account(&mut self, now: Nanos, port: PortId, (frames, bytes, lost): (u64, u64, u64)) {
        let share = &mut self.slots[usize::from(port)].share;
        let cost = share.cost(frames, bytes);
        self.unpolled += cost;
        share.took(self.turns.get(), cost);
        if lost > 0 && self.delivery.ledger.is_guest(port) {
            let each = cost / frames.max(1);
            if share.wasted(now, each * lost) {
                let line = "most of what its guest sends is dropped: it is read less often";
                self.events.push(port, EventKind::Log(line.into()));
            }
            if share.rests(now).is_some() {
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
    fn burst(&mut self, now: Nanos, port: PortId) -> bool {
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
        let rx = nic.rx_burst(now, arena, &mut burst);
        let moved = !burst.is_empty();
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
            self.account(now, port, taken);
        }
        moved
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

    /// Stop polling NICs that had nothing for a while: from now on their guests notify us.
    fn cool(&mut self, now: Nanos) {
        let mut from = 0;
        while let Some(port) = self.hot.next(from) {
            from = port + 1;
            let slot = &mut self.slots[usize::from(port)];
            let Some(since) = slot.polled_since else { continue };
            if now.saturating_sub(since) < self.spin {
                continue;
            }
            let Some(nic) = slot.nic.as_mut() else { continue };
            if nic.arm() {
                slot.polled_since = None;
                self.hot.remove(port);
            } else {
                slot.polled_since = Some(now);
            }
        }
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

impl Drop for Engine {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Some(nic) = &mut slot.nic {
                nic.detach();
            }
        }
    }
}
