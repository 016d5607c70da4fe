//! Links between switches of one engine: two ports, each the other's peer.
//!
//! What was sent into a link without impairments is at its other end when the turn's bursts are
//! over; it is forwarded before the turn ends, switch by switch, so that a frame crosses a fabric in
//! one turn and at one time, whatever its length in switches.

use super::usage::Kind;
use super::{Engine, EngineError};
use nics::Nic;
use nics::bond::{BondNic, Setup};
use nics::link::{Impair, LinkControl, Step, link};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use switch::{Flush, Handover, Nanos, PortConfig, PortCounters, PortId};

/// Switches that a frame passes in one turn at most. What has not arrived by then goes on in the
/// next turn: everybody else, and commands, come first. A storm in a loop of links lives here.
const HOPS: usize = 32;

/// Turns in which the ends of a new link ask and answer, for each cable: a bond takes from one cable a turn.
const AGREED: usize = 8;

/// A link, as the engine knows it.
#[derive(Debug)]
pub(super) struct Link {
    /// Of each cable.
    controls: Vec<LinkControl>,
    /// Whether its ends had carrier when they were looked at last.
    carrier: [bool; 2],
}

impl Link {
    /// Whether frames get through.
    pub(super) fn has_carrier(&self) -> bool {
        self.carrier == [true, true]
    }

    /// What a cable of it does to frames that its end `side` sends.
    pub(super) fn impair(&self, cable: usize, side: usize) -> Option<Impair> {
        self.controls.get(cable).map(|control| control.impair(side))
    }
}

/// The links, by the port of their end 0.
pub(super) type Links = BTreeMap<PortId, Link>;

impl Engine {
    /// Join two switches by a link; the ports of its ends. It has a cable for each seed, and if its ends are
    /// `bonds`, these make one of them. When it can't be done, nothing has changed.
    #[allow(clippy::type_complexity)]
    pub fn add_link(
        &mut self,
        ends: [(u16, PortConfig); 2],
        seeds: &[[u64; 2]],
        bonds: Option<[Setup; 2]>,
    ) -> Result<[(PortId, Arc<PortCounters>); 2], EngineError> {
        let [(a, config_a), (b, config_b)] = ends;
        let mut controls = vec![];
        let mut cables: [Vec<Box<dyn Nic>>; 2] = [vec![], vec![]];
        for seed in seeds {
            let ([one, other], control) = link(*seed);
            cables[0].push(Box::new(one));
            cables[1].push(Box::new(other));
            controls.push(control);
        }
        let wrong = |text: String| EngineError::Io(io::Error::new(io::ErrorKind::InvalidInput, text));
        let [mut ones, mut others] = cables;
        let (one, other): (Box<dyn Nic>, Box<dyn Nic>) = match bonds {
            Some([a, b]) => (
                Box::new(BondNic::new(ones, a).map_err(wrong)?),
                Box::new(BondNic::new(others, b).map_err(wrong)?),
            ),
            None => match (ones.pop(), others.pop()) {
                (Some(one), Some(other)) if ones.is_empty() => (one, other),
                _ => return Err(wrong("a link without bond has one cable".into())),
            },
        };
        let (port_a, counters_a) = self.add_port(one, a, config_a)?;
        let (port_b, counters_b) = match self.add_port(other, b, config_b) {
            Ok(added) => added,
            Err(error) => {
                self.remove_port(port_a)?;
                return Err(error);
            }
        };
        for end in [port_a, port_b] {
            self.delivery.ledger.open(end, Kind::Link);
        }
        self.slot(port_a)?.peer = Some(port_b);
        self.slot(port_b)?.peer = Some(port_a);
        for control in &controls {
            control.count_at([counters_a.clone(), counters_b.clone()]);
        }
        let carrier = [self.carrier(port_a)?, self.carrier(port_b)?];
        self.links.insert(port_a, Link { controls, carrier });
        // Two ends that have to agree do so now: there is nobody yet who would notice that it took time.
        for _ in 0..AGREED * seeds.len() {
            self.look_at_link(port_a);
            self.burst(self.now, port_a);
            self.burst(self.now, port_b);
        }
        self.tell_anew();
        Ok([(port_a, counters_a), (port_b, counters_b)])
    }

    /// What a cable of a link, named by the port of its end 0, is like from now on, and from times to come on.
    /// `now` is the driver's time.
    pub fn set_impair(
        &mut self,
        port: PortId,
        cable: usize,
        first: Step,
        then: Vec<Step>,
        now: Nanos,
    ) -> Result<(), EngineError> {
        let now = now.max(self.now);
        let controls = &self.links.get(&port).ok_or(EngineError::NoSuchPort)?.controls;
        controls.get(cable).ok_or(EngineError::NoSuchPort)?.set(first, then, now);
        let peer = self.slot(port)?.peer;
        for end in [Some(port), peer].into_iter().flatten() {
            self.timers.schedule(end, &mut self.slots[usize::from(end)]);
            self.crossed.insert(end);
        }
        self.look_at_link(port);
        self.waker.wake();
        Ok(())
    }

    /// VLANs pass from networks to others, and no port that is up carries them: the others find nothing in them.
    pub fn hand_over(&mut self, handover: &Handover) {
        self.links.values().flat_map(|link| &link.controls).for_each(|control| control.lose(handover));
        self.switches.iter_mut().for_each(|switch| switch.hand_over(handover));
        // Who asks for multicast groups asks anew.
        self.waker.wake();
    }

    /// Whether a link was cut or mended: without carrier, nobody lives behind it.
    pub(super) fn look_at_link(&mut self, port: PortId) {
        let Some(peer) = self.slots.get(usize::from(port)).and_then(|slot| slot.peer) else { return };
        let (a, b) = if self.links.contains_key(&port) { (port, peer) } else { (peer, port) };
        let Some(before) = self.links.get(&a).map(|link| link.carrier) else { return };
        let mut carriers = before;
        for (end, other, side) in [(a, b, 0), (b, a, 1)] {
            let Some(slot) = self.slots.get_mut(usize::from(end)) else { continue };
            // Away while it is received from; then it is looked at later.
            let Some(nic) = slot.nic.as_mut() else { continue };
            if nic.look(self.now) {
                self.crossed.insert(other);
            }
            carriers[side] = nic.carrier();
            self.timers.schedule(end, slot);
        }
        if carriers == before {
            return;
        }
        if let Some(link) = self.links.get_mut(&a) {
            link.carrier = carriers;
        }
        for (end, side) in [(a, 0), (b, 1)] {
            if carriers[side] != before[side] {
                self.carrier_changed(end, carriers[side]);
            }
        }
        self.tell_anew();
        self.look_at_bridges();
    }

    fn carrier_changed(&mut self, port: PortId, carrier: bool) {
        let Some(slot) = self.slots.get(usize::from(port)) else { return };
        if !carrier && let Some(switch) = self.switches.get_mut(usize::from(slot.switch)) {
            switch.fdb_flush(Flush { port: Some(port), vlan: None, fixed: false });
        }
    }

    /// Forward what has crossed links, until nothing does or the turn has been long enough.
    pub(super) fn cross(&mut self, now: Nanos) {
        for _ in 0..HOPS {
            let mut from = 0;
            while let Some(port) = self.crossed.next(from) {
                from = port + 1;
                self.crossed.remove(port);
                self.burst(now, port);
            }
            self.flush(now);
            if self.crossed.is_empty() {
                return;
            }
        }
    }
}
