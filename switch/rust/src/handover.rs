//! VLANs that pass from one network to another: what was learned in them stays with the network that had them.
//!
//! A switch knows networks by their VLANs alone. So whoever gives a VLAN to another network says so, while no port
//! that is up carries it; otherwise the newcomer would find its predecessor's connections open, its guests' leases
//! good, its gateways' MAC addresses told. What depends on ports' VLANs, as the forwarding database does, goes with
//! those by itself.

use crate::{Switch, VlanId};
use std::collections::BTreeMap;

/// VLANs that their networks give up, and the one that each of these networks has instead, if it has any.
pub type Handover = BTreeMap<VlanId, Option<VlanId>>;

impl Switch {
    /// VLANs pass. Leases go along to the VLAN that their network has from now on, for a guest asks for more time only
    /// when half of its lease is over. Connections, datagrams that have begun, who wants which multicast group, and
    /// gateways that were heard are forgotten: all of these come again by themselves.
    pub fn hand_over(&mut self, handover: &Handover) {
        for id in 0..self.ports.len() {
            let Some(port) = self.ports.get_mut(id).and_then(Option::as_deref_mut) else { continue };
            if port.memory.relearn(|learned| learned.hand_over(handover)) {
                self.unremember(id as crate::PortId);
            }
        }
        self.given.retain(|binding| !handover.contains_key(&binding.vlan));
        self.tracker.get_mut().forget_vlans(handover);
        self.gateways.forget(handover);
        handover.keys().for_each(|&vlan| self.forget_groups(vlan));
        self.fdb.outdate();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Binding, Guard, Nanos, PortConfig, PortMode, SwitchConfig, VlanSet};

    fn binding(vlan: VlanId, ip: &str) -> Binding {
        Binding { vlan, ip: ip.parse().unwrap(), prefix: 32, until: Nanos::MAX, client: 0 }
    }

    #[test]
    fn a_lease_goes_with_its_network() {
        let mut switch = Switch::new(SwitchConfig::default());
        let mut guard = Guard::new([2, 0, 0, 0, 0, 1]);
        guard.learns = true;
        let mut tagged = VlanSet::default();
        (10..=40).for_each(|vlan| tagged.insert(vlan));
        let mode = PortMode::Trunk { tagged: Box::new(tagged), native: None };
        let config = PortConfig { guard: Some(Box::new(guard)), mode, ..PortConfig::access(1) };
        switch.add_port(3, config).unwrap();
        for vlan in [10, 20, 30, 40] {
            switch.bind(3, binding(vlan, &format!("10.0.0.{vlan}")));
        }
        // Two change places, one goes, one stays.
        switch.hand_over(&Handover::from([(10, Some(20)), (20, Some(10)), (30, None)]));
        let expected = [(20, "10.0.0.10"), (10, "10.0.0.20"), (40, "10.0.0.40")];
        assert_eq!(switch.bindings(3), expected.map(|(vlan, ip)| binding(vlan, ip)));
    }
}
