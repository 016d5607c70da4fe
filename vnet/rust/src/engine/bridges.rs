//! Spanning trees of the engine's switches: carries BPDUs to and from the state machines
//! (`switch/rust/src/stp`), and does what they want.
//!
//! Links, and other ports that nobody is guarded at, take part; a guarded guest's port forwards at all
//! times, and its guest's BPDUs are dropped like all that is not its own. What the bridges tell each
//! other over links without delay is said and answered within a turn.

use super::{Engine, EngineError};
use nics::EventKind;
use std::collections::BTreeMap;
use switch::stp::{Bridge, BridgeSetup, BridgeView, Output, PortSetup, PortState, PortView};
use switch::{Flush, Nanos, PortId, TagEdit};

/// BPDUs that wait for the end of the turn at most; a neighbour that sends more loses them.
const WAITING: usize = 1024;
/// The longest BPDU in a frame, without padding.
const LONGEST: usize = 64;
/// Question and answer between bridges, within a turn.
const ROUNDS: usize = 32;

/// BPDUs that came in and were not looked at yet.
#[derive(Debug, Default)]
pub struct Bpdus(Vec<(PortId, [u8; LONGEST], usize)>);

impl Bpdus {
    /// Keep the beginning of a frame.
    pub fn push(&mut self, port: PortId, head: &[u8]) {
        if self.0.len() < WAITING {
            let len = head.len().min(LONGEST);
            let mut bytes = [0; LONGEST];
            bytes[..len].copy_from_slice(&head[..len]);
            self.0.push((port, bytes, len));
        }
    }
}

/// The bridges and who takes part.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    by_switch: BTreeMap<u16, Bridge>,
    /// Ports that take part when their switch has a bridge, with the source of their BPDUs.
    members: BTreeMap<PortId, (PortSetup, [u8; 6])>,
    /// By switch: changes of the topology that are known.
    changes: BTreeMap<u16, u64>,
    deadline: Option<Nanos>,
    /// A bridge wants something done.
    wants: bool,
}

impl Bridges {
    #[inline]
    pub fn any(&self) -> bool {
        !self.by_switch.is_empty()
    }

    /// Whether there is something to do at once.
    #[inline]
    pub fn busy(&self, bpdus: &Bpdus) -> bool {
        self.wants || !bpdus.0.is_empty()
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    fn plan(&mut self) {
        self.deadline = self.by_switch.values().filter_map(Bridge::deadline).min();
    }
}

impl Engine {
    /// Have a switch run a spanning tree, another one, or none.
    pub fn set_bridge(&mut self, switch: u16, setup: Option<BridgeSetup>) -> Result<(), EngineError> {
        self.switch(switch)?;
        if let Some(old) = self.bridges.by_switch.remove(&switch) {
            for (port, _) in old.ports() {
                self.switch_mut(switch)?.set_state(port, PortState::Forwarding, false)?;
            }
        }
        if let Some(setup) = setup {
            self.bridges.by_switch.insert(switch, Bridge::new(setup));
            let members: Vec<PortId> = self.bridges.members.keys().copied().collect();
            for port in members {
                if self.slot(port)?.switch == switch {
                    self.enter_bridge(port)?;
                }
            }
        }
        self.bridges.plan();
        self.waker.wake();
        Ok(())
    }

    /// Have a port take part in its switch's spanning tree, when that runs one. `mac`: the source of the
    /// port's BPDUs.
    pub fn join_bridge(&mut self, port: PortId, mac: [u8; 6], setup: PortSetup) -> Result<(), EngineError> {
        self.slot(port)?;
        self.bridges.members.insert(port, (setup, mac));
        self.enter_bridge(port)?;
        self.bridges.plan();
        self.waker.wake();
        Ok(())
    }

    fn enter_bridge(&mut self, port: PortId) -> Result<(), EngineError> {
        let switch = self.slot(port)?.switch;
        let enabled = self.usable(port);
        let now = self.now;
        let Bridges { by_switch, members, wants, .. } = &mut self.bridges;
        let (Some(bridge), Some((setup, _))) = (by_switch.get_mut(&switch), members.get(&port)) else {
            return Ok(());
        };
        let new = !bridge.has_port(port);
        bridge.set_port(port, *setup, enabled, now);
        *wants = true;
        if new {
            self.switch_mut(switch)?.set_state(port, PortState::Discarding, true)?;
        }
        Ok(())
    }

    /// A port is about to be removed, or shall no longer take part.
    pub fn leave_bridge(&mut self, port: PortId) {
        if self.bridges.members.remove(&port).is_none() {
            return;
        }
        let now = self.now;
        for bridge in self.bridges.by_switch.values_mut() {
            if bridge.has_port(port) {
                bridge.remove_port(port, now);
                self.bridges.wants = true;
            }
        }
        let switch = self.slots.get(usize::from(port)).map(|slot| slot.switch);
        if let Some(switch) = switch.and_then(|switch| self.switches.get_mut(usize::from(switch))) {
            // A port that is gone has no state.
            let _ = switch.set_state(port, PortState::Forwarding, false);
        }
        self.waker.wake();
    }

    /// What is to be seen of a switch's spanning tree.
    #[allow(clippy::type_complexity)]
    pub fn bridge_view(
        &self,
        switch: u16,
    ) -> Result<Option<(BridgeView, Vec<(PortId, PortView)>)>, EngineError> {
        self.switch(switch)?;
        let bridge = self.bridges.by_switch.get(&switch);
        Ok(bridge.map(|bridge| (bridge.view(), bridge.ports().collect())))
    }

    /// Set up, by an operator.
    fn is_up(&self, port: PortId) -> bool {
        let Some(slot) = self.slots.get(usize::from(port)) else { return false };
        let switch = self.switches.get(usize::from(slot.switch));
        switch.and_then(|switch| switch.port(port)).is_some_and(|config| config.up)
    }

    /// Up and with carrier.
    fn usable(&self, port: PortId) -> bool {
        let nic = self.slots.get(usize::from(port)).and_then(|slot| slot.nic.as_ref());
        self.is_up(port) && nic.is_some_and(|nic| nic.carrier())
    }

    /// The carrier of ports may have changed.
    pub(super) fn look_at_bridges(&mut self) {
        if !self.bridges.any() {
            return;
        }
        let members: Vec<PortId> = self.bridges.members.keys().copied().collect();
        for port in members {
            let (up, usable, now) = (self.is_up(port), self.usable(port), self.now);
            let switch = self.slots.get(usize::from(port)).map_or(u16::MAX, |slot| slot.switch);
            if let Some(bridge) = self.bridges.by_switch.get_mut(&switch) {
                if !up {
                    // Not for want of carrier, which is the guest's.
                    bridge.forgive(port);
                }
                bridge.set_enabled(port, usable, now);
                self.bridges.wants = true;
            }
        }
    }

    /// Let bridges hear what came in, know the time, and have what they want.
    pub(super) fn bridge(&mut self, now: Nanos) {
        if self.bridges.deadline.is_some_and(|at| at <= now) {
            self.look_at_bridges();
            self.bridges.by_switch.values_mut().for_each(|bridge| bridge.tick(now));
            self.bridges.wants = true;
        }
        if !self.bridges.busy(&self.delivery.bpdus) {
            return;
        }
        for _ in 0..ROUNDS {
            for (port, bytes, len) in std::mem::take(&mut self.delivery.bpdus.0) {
                let Some(slot) = self.slots.get(usize::from(port)) else { continue };
                if let Some(bridge) = self.bridges.by_switch.get_mut(&slot.switch) {
                    bridge.input(port, &bytes[..len], now);
                    self.bridges.wants = true;
                }
            }
            if !self.bridges.wants {
                break;
            }
            self.have_what_they_want(now);
            self.flush(now);
            if !self.crossed.is_empty() {
                self.cross(now);
            }
        }
        self.bridges.plan();
    }

    fn have_what_they_want(&mut self, now: Nanos) {
        self.bridges.wants = false;
        let Engine { bridges, switches, slots, touched, delivery, events, .. } = self;
        for (&number, bridge) in &mut bridges.by_switch {
            let Some(switch) = switches.get_mut(usize::from(number)) else { continue };
            let changes = bridge.view().changes;
            if bridges.changes.insert(number, changes) != Some(changes) {
                switch.topology_changed();
            }
            while let Some(output) = bridge.poll() {
                match output {
                    Output::Send(port, bpdu) => {
                        if let Some((_, mac)) = bridges.members.get(&port) {
                            delivery.originate(now, port, slots, touched, (&bpdu.frame(*mac), TagEdit::NONE));
                        }
                    }
                    Output::State(port, state) => {
                        // A port that is gone has no state.
                        let _ = switch.set_state(port, state, true);
                    }
                    Output::Flush(port) => {
                        switch.fdb_flush(Flush { port: Some(port), vlan: None, fixed: false });
                    }
                    Output::Refused(port) => {
                        let line = "a BPDU came in, and BPDU guard took the port out of service, until it is set down and up";
                        events.push(port, EventKind::Log(line.into()));
                    }
                }
            }
        }
    }
}
