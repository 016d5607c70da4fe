//! Links between switches of one engine: two ports, each the other's peer.
//!
//! What was sent into a link without impairments is at its other end when the turn's bursts are
//! over; it is forwarded before the turn ends, switch by switch, so that a frame crosses a fabric in
//! one turn and at one time, whatever its length in switches.

use super::{Engine, EngineError};
use nics::link::link;
use std::sync::Arc;
use switch::{Flush, Nanos, PortConfig, PortCounters, PortId};

/// Switches that a frame passes in one turn at most. What has not arrived by then goes on in the
/// next turn: everybody else, and commands, come first. A storm in a loop of links lives here.
const HOPS: usize = 32;

impl Engine {
    /// Join two switches by a link; the ports of its ends. When it can't be done, nothing has changed.
    #[allow(clippy::type_complexity)]
    pub fn add_link(
        &mut self,
        ends: [(u16, PortConfig); 2],
    ) -> Result<[(PortId, Arc<PortCounters>); 2], EngineError> {
        let [(a, config_a), (b, config_b)] = ends;
        let [one, other] = link();
        let (port_a, counters_a) = self.add_port(Box::new(one), a, config_a)?;
        let (port_b, counters_b) = match self.add_port(Box::new(other), b, config_b) {
            Ok(added) => added,
            Err(error) => {
                self.remove_port(port_a)?;
                return Err(error);
            }
        };
        self.slot(port_a)?.peer = Some(port_b);
        self.slot(port_b)?.peer = Some(port_a);
        Ok([(port_a, counters_a), (port_b, counters_b)])
    }

    /// A link's carrier may have changed, as seen from one end: without it, nobody lives there.
    pub(super) fn carrier_changed(&mut self, port: PortId) -> Result<(), EngineError> {
        if !self.carrier(port)? {
            let switch = self.slot(port)?.switch;
            self.switch_mut(switch)?.fdb_flush(Flush { port: Some(port), vlan: None, fixed: false });
        }
        Ok(())
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
