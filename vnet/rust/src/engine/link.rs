//! Links between switches of one engine: two ports, each the other's peer.
//!
//! What was sent into a link without impairments is at its other end when the turn's bursts are
//! over; it is forwarded before the turn ends, switch by switch, so that a frame crosses a fabric in
//! one turn and at one time, whatever its length in switches.

use super::usage::Kind;
use super::{Engine, EngineError};
use nics::link::{Impair, LinkControl, Step, link};
use std::collections::BTreeMap;
use std::sync::Arc;
use switch::{Flush, Nanos, PortConfig, PortCounters, PortId};

/// Switches that a frame passes in one turn at most. What has not arrived by then goes on in the
/// next turn: everybody else, and commands, come first. A storm in a loop of links lives here.
const HOPS: usize = 32;

/// A link, as the engine knows it.
#[derive(Debug)]
pub(super) struct Link {
    control: LinkControl,
    /// Whether it had carrier when it was looked at last.
    carrier: bool,
}

impl Link {
    /// What it does to frames that its end `side` sends.
    pub(super) fn impair(&self, side: usize) -> Impair {
        self.control.impair(side)
    }
}

/// The links, by the port of their end 0.
pub(super) type Links = BTreeMap<PortId, Link>;

impl Engine {
    /// Join two switches by a link; the ports of its ends. When it can't be done, nothing has changed.
    #[allow(clippy::type_complexity)]
    pub fn add_link(
        &mut self,
        ends: [(u16, PortConfig); 2],
        seed: [u64; 2],
    ) -> Result<[(PortId, Arc<PortCounters>); 2], EngineError> {
        let [(a, config_a), (b, config_b)] = ends;
        let ([one, other], control) = link(seed);
        let (port_a, counters_a) = self.add_port(Box::new(one), a, config_a)?;
        let (port_b, counters_b) = match self.add_port(Box::new(other), b, config_b) {
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
        control.count_at([counters_a.clone(), counters_b.clone()]);
        let carrier = self.carrier(port_a)?;
        self.links.insert(port_a, Link { control, carrier });
        Ok([(port_a, counters_a), (port_b, counters_b)])
    }

    /// What a link, named by the port of its end 0, is like from now on, and from times to come on.
    /// `now` is the driver's time.
    pub fn set_impair(
        &mut self,
        port: PortId,
        first: Step,
        then: Vec<Step>,
        now: Nanos,
    ) -> Result<(), EngineError> {
        let now = now.max(self.now);
        self.links.get(&port).ok_or(EngineError::NoSuchPort)?.control.set(first, then, now);
        let peer = self.slot(port)?.peer;
        for end in [Some(port), peer].into_iter().flatten() {
            self.timers.schedule(end, &mut self.slots[usize::from(end)]);
            self.crossed.insert(end);
        }
        self.look_at_link(port);
        self.waker.wake();
        Ok(())
    }

    /// Whether a link was cut or mended: without carrier, nobody lives behind it.
    pub(super) fn look_at_link(&mut self, port: PortId) {
        let Some(slot) = self.slots.get(usize::from(port)) else { return };
        let Some(peer) = slot.peer else { return };
        let Some(nic) = slot.nic.as_ref() else { return };
        let carrier = nic.carrier();
        for end in [port, peer] {
            if let Some(link) = self.links.get_mut(&end)
                && link.carrier != carrier
            {
                link.carrier = carrier;
                self.carrier_changed(port, carrier);
                self.carrier_changed(peer, carrier);
                self.look_at_bridges();
                return;
            }
        }
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
