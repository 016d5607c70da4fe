//! Who is in which VLAN, worked out when the configuration changes and not when a frame is flooded.

use crate::config::{PortConfig, PortMode};
use crate::{Flood, PortId, VlanId};

impl PortConfig {
    /// Whether the port carries `vlan`.
    #[inline]
    #[must_use]
    pub fn carries(&self, vlan: VlanId) -> bool {
        match &self.mode {
            PortMode::Access(access) => *access == vlan,
            PortMode::Trunk { tagged, native } => {
                tagged.contains(vlan) || native.is_some_and(|native| native.vlan == vlan)
            }
        }
    }

    /// Whether the port wants floods of this kind.
    #[inline]
    #[must_use]
    pub fn wants(&self, kind: Flood) -> bool {
        self.up
            && match kind {
                Flood::Unknown => self.flood_unknown,
                Flood::Multicast => self.flood_multicast,
                Flood::Broadcast => self.flood_broadcast,
                Flood::LinkLocal => self.transparent && self.flood_multicast,
            }
    }

    /// The VLANs it carries, ascending.
    pub(crate) fn vlans(&self) -> Box<dyn Iterator<Item = VlanId> + '_> {
        match &self.mode {
            PortMode::Access(vlan) => Box::new(std::iter::once(*vlan)),
            PortMode::Trunk { .. } => Box::new((1..=4094).filter(|&vlan| self.carries(vlan))),
        }
    }
}

const KINDS: [Flood; 4] = [Flood::Unknown, Flood::Multicast, Flood::Broadcast, Flood::LinkLocal];

/// One VLAN.
#[derive(Clone, Debug, Default)]
struct Members {
    /// Ascending.
    ports: Vec<PortId>,
    /// By kind of flood: how many of them want it.
    takers: [u16; KINDS.len()],
}

/// The member sets of every VLAN.
#[derive(Debug)]
pub(crate) struct Vlans(Box<[Members]>);

impl Vlans {
    pub(crate) fn new() -> Self {
        Vlans(vec![Members::default(); 4096].into_boxed_slice())
    }

    pub(crate) fn add(&mut self, port: PortId, config: &PortConfig) {
        for vlan in config.vlans() {
            let members = &mut self.0[usize::from(vlan)];
            if let Err(at) = members.ports.binary_search(&port) {
                members.ports.insert(at, port);
            }
            for kind in KINDS {
                members.takers[kind as usize] += u16::from(config.wants(kind));
            }
        }
    }

    pub(crate) fn remove(&mut self, port: PortId, config: &PortConfig) {
        for vlan in config.vlans() {
            let members = &mut self.0[usize::from(vlan)];
            if let Ok(at) = members.ports.binary_search(&port) {
                members.ports.remove(at);
            }
            for kind in KINDS {
                members.takers[kind as usize] -= u16::from(config.wants(kind));
            }
        }
    }

    /// One VLAN as it is there.
    pub(crate) fn bring(&mut self, from: &Vlans, vlan: VlanId) {
        if let (Some(place), Some(members)) =
            (self.0.get_mut(usize::from(vlan)), from.0.get(usize::from(vlan)))
        {
            place.clone_from(members);
        }
    }

    /// The ports of a VLAN, ascending.
    #[inline]
    pub(crate) fn ports(&self, vlan: VlanId) -> &[PortId] {
        self.0.get(usize::from(vlan)).map_or(&[], |members| &members.ports)
    }

    /// Whether a port other than `ingress`, which carries the VLAN itself, wants such a flood.
    #[inline]
    pub(crate) fn anybody(&self, vlan: VlanId, kind: Flood, ingress: &PortConfig) -> bool {
        let takers = self.0.get(usize::from(vlan)).map_or(0, |members| members.takers[kind as usize]);
        takers > u16::from(ingress.wants(kind))
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.0.iter().map(|m| size_of::<Members>() + m.ports.capacity() * size_of::<PortId>()).sum()
    }
}
