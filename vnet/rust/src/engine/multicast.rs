//! What switches ask about multicast groups (`switch/rust/src/multicast`), sent where it is to go.

use super::Engine;
use nics::{Frame, Offload};
use switch::{Decision, Flood, Nanos, Out, PortId, Switch};

impl Engine {
    /// Send the queries that switches have; what crosses a link is forwarded within the turn.
    pub(super) fn ask(&mut self, now: Nanos) {
        let mut asked = false;
        for number in 0..self.switches.len() {
            while let Some(query) = self.switches.get_mut(number).and_then(Switch::next_query) {
                asked = true;
                let Engine { switches, slots, touched, delivery, .. } = self;
                let Some(switch) = switches.get(number) else { break };
                let out = Out::Flood(Flood::Multicast);
                let decision = Decision { out, vlan: query.vlan, ..Decision::default() };
                let frame = Frame::flat(query.frame(), Offload::NONE);
                let one: [PortId; 1] = [query.port.unwrap_or_default()];
                let ports = if query.port.is_some() { &one } else { switch.flood_ports(query.vlan) };
                for &port in ports {
                    if switch.floods_to(port, &decision)
                        && let Ok(edit) = switch.egress(port, &decision, &frame.view())
                    {
                        delivery.originate(now, port, slots, touched, (query.frame(), edit));
                    }
                }
            }
        }
        if asked {
            self.flush(now);
            if !self.crossed.is_empty() {
                self.cross(now);
            }
        }
    }
}
