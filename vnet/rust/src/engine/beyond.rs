//! Which guests live behind links: told to each switch that has an uplink, so that none of them is taken
//! for somebody outside (`switch/rust/src/beyond.rs`).
//!
//! A guest that comes, changes or goes is told of by itself; after a change of links or uplinks all are
//! told of anew. A link counts in the VLANs that both its ends carry, while it has carrier.
//!
//! And what DHCP servers gave to guests here is nobody's behind links any more, whoever had it before.

use super::Engine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use switch::{Mac, PortId, VlanId};

#[derive(Debug, Default)]
pub(super) struct Told {
    /// By a guest's port.
    guests: BTreeMap<PortId, (Vec<Mac>, Vec<VlanId>)>,
    uplinks: BTreeSet<PortId>,
}

impl Engine {
    /// A port came, is set up anew, or is about to go (`gone`).
    pub(super) fn tell_of(&mut self, port: PortId, gone: bool) {
        self.tell_allowance(port, gone);
        let config = self.slots.get(usize::from(port)).and_then(|slot| {
            let there = slot.counters.is_some() && !gone;
            self.switches.get(usize::from(slot.switch))?.port(port).filter(|_| there)
        });
        let uplink = config.is_some_and(|config| config.uplink);
        let was = if uplink { !self.told.uplinks.insert(port) } else { self.told.uplinks.remove(&port) };
        let linked = self.slots.get(usize::from(port)).is_some_and(|slot| slot.peer.is_some());
        if uplink != was || linked {
            self.tell_anew();
        } else if !uplink {
            self.tell(port, gone);
        }
    }

    /// Links or uplinks are others.
    pub(super) fn tell_anew(&mut self) {
        if self.told.guests.is_empty() && (self.links.is_empty() || self.told.uplinks.is_empty()) {
            return;
        }
        self.switches.iter_mut().for_each(switch::Switch::clear_beyond);
        self.told.guests.clear();
        for port in 0..self.slots.len() as PortId {
            self.tell(port, false);
        }
    }

    /// Tell of what servers gave, where `deliver` says that they did.
    #[cold]
    pub(super) fn tell_given(&mut self) {
        self.delivery.given = false;
        for home in 0..self.switches.len() {
            let given = self.switches.get_mut(home).map_or(vec![], switch::Switch::given);
            for binding in given {
                for number in self.ways_to(home as u16, binding.vlan).into_keys() {
                    if let Some(switch) =
                        self.switches.get_mut(usize::from(number)).filter(|there| there.snoops())
                    {
                        switch.give_up(&binding);
                    }
                }
            }
        }
    }

    fn tell(&mut self, port: PortId, gone: bool) {
        let with_uplinks: BTreeSet<u16> = self
            .told
            .uplinks
            .iter()
            .filter_map(|&uplink| Some(self.slots.get(usize::from(uplink))?.switch))
            .collect();
        if let Some((macs, vlans)) = self.told.guests.remove(&port) {
            for &number in &with_uplinks {
                let Some(switch) = self.switches.get_mut(usize::from(number)) else { continue };
                for &mac in &macs {
                    vlans.iter().for_each(|&vlan| switch.forget_beyond(mac, vlan, port));
                }
            }
        }
        let Some(slot) = self.slots.get(usize::from(port)).filter(|slot| slot.counters.is_some()) else {
            return;
        };
        if gone || slot.peer.is_some() || self.links.is_empty() || with_uplinks.is_empty() {
            return;
        }
        let home = slot.switch;
        let vouched = self.switches.get(usize::from(home)).and_then(|switch| switch.vouched(port));
        let Some((macs, vlans)) = vouched else { return };
        for &vlan in &vlans {
            for (number, by) in self.ways_to(home, vlan) {
                if with_uplinks.contains(&number)
                    && let Some(switch) = self.switches.get_mut(usize::from(number))
                {
                    macs.iter().for_each(|&mac| switch.set_beyond(mac, vlan, port, by));
                }
            }
        }
        self.told.guests.insert(port, (macs, vlans));
    }

    /// By switch: the end of the link that leads from there to `home` in a VLAN, the shortest way.
    fn ways_to(&self, home: u16, vlan: VlanId) -> BTreeMap<u16, PortId> {
        let end = |port: PortId| {
            let number = self.slots.get(usize::from(port))?.switch;
            let config = self.switches.get(usize::from(number))?.port(port)?;
            (config.up && config.carries(vlan)).then_some((number, port))
        };
        let cables: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.has_carrier())
            .filter_map(|(&a, _)| Some((end(a)?, end(self.slots.get(usize::from(a))?.peer?)?)))
            .collect();
        let mut ways = BTreeMap::new();
        let mut from = VecDeque::from([home]);
        while let Some(near) = from.pop_front() {
            for &(a, b) in &cables {
                for ((one, _), (other, by)) in [(a, b), (b, a)] {
                    if one == near && other != home && !ways.contains_key(&other) {
                        ways.insert(other, by);
                        from.push_back(other);
                    }
                }
            }
        }
        ways
    }
}
