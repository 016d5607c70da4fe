//! What upstairs asks of the engine between two turns: switches and ports, and how they are set up.

use super::shape::Shaper;
use super::usage::{self, Usage};
use super::{Engine, EngineError, LostFrame, Slot, turns};
use crate::capture::CaptureSet;
use crate::flows::Flows;
use crate::mirror::{MirrorSet, Spec};
use crate::recorder::Recorder;
use nics::context::PORTS_MAX;
use nics::{Context, Nic};
use std::sync::Arc;
use switch::{Groups, Mac, PortConfig, PortCounters, PortId, Switch, SwitchConfig, VlanId};

/// So many switches have their connections on large pages.
const LARGE_PAGED: u16 = 16;

impl Engine {
    /// A new switch; its number.
    pub fn add_switch(&mut self, config: SwitchConfig) -> u16 {
        let number = self.free_switches.pop().unwrap_or(self.switches.len() as u16);
        let mut switch = Switch::new(config);
        switch.set_look_up(nics::cache::look_up);
        // They take 4 MB at a switch with groups, which is for thousands of connections at one, not for a few at each of many.
        if number < LARGE_PAGED {
            switch.set_spread(nics::pages::on_large_pages);
        }
        match self.switches.get_mut(usize::from(number)) {
            Some(free) => *free = switch,
            None => self.switches.push(switch),
        }
        self.tell_allowances(number);
        number
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
            self.tell_allowance(*port, false);
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
        self.crowd.forget(port);
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
}
