//! Where frames of groups go: lists of ports, ascending.

use super::message::Family;
use super::snooper::Snooper;
use crate::{PortId, VlanId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Sources of a group, and of all groups of a switch, that frames are told apart by. Of what goes beyond, every
/// member of the group gets frames of all sources.
const GROUP_SOURCES: usize = 64;
const SOURCE_LISTS: usize = 8192;

impl Snooper {
    #[inline]
    pub(crate) fn list(&self, number: u16) -> &[PortId] {
        self.lists.get(usize::from(number)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn new_list(lists: &mut Vec<Vec<PortId>>, free: &mut Vec<u16>) -> Option<u16> {
        free.pop().or_else(|| {
            let number = u16::try_from(lists.len()).ok()?;
            lists.push(vec![]);
            Some(number)
        })
    }

    pub(super) fn drop_list(&mut self, number: u16) {
        if let Some(list) = self.lists.get_mut(usize::from(number)) {
            *list = vec![];
            self.free.push(number);
        }
    }

    /// A group's list, and those of its sources.
    pub(super) fn drop_lists(&mut self, number: u16) {
        self.keep_sources(number, |_| false);
        self.drop_list(number);
    }

    fn keep_sources(&mut self, number: u16, keep: impl Fn(&IpAddr) -> bool) {
        let all = (number, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            ..=(number, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        let gone: Vec<_> = self.sources.range(all).map(|(key, _)| *key).filter(|key| !keep(&key.1)).collect();
        for key in gone {
            if let Some(list) = self.sources.remove(&key) {
                self.drop_list(list);
            }
        }
    }

    /// Work out anew where a VLAN's frames go besides to members, and with it every group's list.
    pub(super) fn spread(&mut self, vlan: VlanId) {
        let Snooper { vlans, table, lists, open, .. } = self;
        let Some(place) = vlans.get(&vlan) else { return };
        let links = open.range((vlan, 0)..=(vlan, PortId::MAX)).filter(|open| *open.1).map(|open| open.0.1);
        for side in &place.sides {
            let mut routers: BTreeSet<PortId> = side.routers.keys().copied().collect();
            let mut reports = routers.clone();
            reports.extend(links.clone());
            if side.settles() {
                routers.extend(links.clone());
            }
            lists[usize::from(side.reports)] = reports.into_iter().collect();
            lists[usize::from(side.routers_list)] = routers.into_iter().collect();
        }
        for number in table.of_vlan(vlan) {
            self.list_group(number);
        }
    }

    fn list_group(&mut self, number: u16) {
        let Some(group) = self.table.group(number) else { return };
        let Some(place) = self.vlans.get(&group.vlan) else { return };
        let side = &place.sides[Family::of(group.ip) as usize];
        let mut others: BTreeSet<PortId> = self.list(side.routers_list).iter().copied().collect();
        let routers = others.clone();
        // Who wants a source and no others, and who wants all others.
        let mut named: BTreeMap<IpAddr, (Vec<PortId>, Vec<PortId>)> = BTreeMap::new();
        for member in &group.members {
            if member.exclude > 0 {
                others.insert(member.port);
            }
            for &(source, until) in &member.sources {
                match (member.exclude > 0, until > 0) {
                    (false, true) => named.entry(source).or_default().0.push(member.port),
                    (true, false) => named.entry(source).or_default().1.push(member.port),
                    _ => {}
                }
            }
        }
        let everybody: Vec<PortId> = group.members.iter().map(|member| member.port).collect();
        self.keep_sources(number, |source| named.contains_key(source));
        let kept = self
            .sources
            .range((number, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..)
            .take_while(|(key, _)| key.0 == number)
            .count();
        if named.len() > GROUP_SOURCES || self.sources.len() - kept + named.len() > SOURCE_LISTS {
            named.clear();
            others.extend(everybody);
            self.keep_sources(number, |_| false);
        }
        for (source, (more, less)) in named {
            let mut ports = others.clone();
            less.iter().filter(|port| !routers.contains(port)).for_each(|port| _ = ports.remove(port));
            ports.extend(more);
            let Snooper { sources, lists, free, .. } = self;
            let list = sources.get(&(number, source)).copied().or_else(|| Self::new_list(lists, free));
            match list {
                Some(list) => {
                    sources.insert((number, source), list);
                    self.put(list, ports);
                }
                // No numbers are left: who names it gets it among the others.
                None => others.extend(ports),
            }
        }
        self.put(number, others);
    }

    fn put(&mut self, number: u16, ports: BTreeSet<PortId>) {
        if let Some(list) = self.lists.get_mut(usize::from(number)) {
            *list = ports.into_iter().collect();
        }
    }

    /// Work out what reports and timers have made old: once, whatever there were of them.
    pub(super) fn relist(&mut self) {
        for number in std::mem::take(&mut self.stale) {
            self.list_group(number);
        }
    }
}
