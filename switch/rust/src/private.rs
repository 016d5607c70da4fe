//! Private VLANs (RFC 5517): who of one network may exchange frames with whom.
//!
//! A port is promiscuous (a gateway, an uplink), isolated, or of a community. A promiscuous port
//! reaches everybody, an isolated one promiscuous ports alone, and a community's those and its own.
//! It is asked in two places, for one port (`classify.rs`) and for each port of a flood
//! (`Switch::floods_to`), so that it holds for every kind of frame.

use crate::VlanId;
use crate::config::VlanSet;

/// A port that does not reach everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// In these VLANs; elsewhere it is promiscuous.
    pub vlans: VlanSet,
    /// Ports with the same number reach each other; 0: isolated.
    pub community: u16,
}

/// Whether frames pass between two ports in `vlan`, either way. `None`: promiscuous.
#[inline]
pub(crate) fn may_reach(one: Option<&Private>, other: Option<&Private>, vlan: VlanId) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            !one.vlans.contains(vlan)
                || !other.vlans.contains(vlan)
                || (one.community != 0 && one.community == other.community)
        }
        _ => true,
    }
}
