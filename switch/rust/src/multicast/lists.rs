//! Where frames of groups go: lists of ports, ascending.
//!
//! A list is made anew when somebody's wishes change, so guests decide how often that is. What it costs grows with
//! the members of a group and the sources that they name, which are theirs, too. So each VLAN has a share of the time
//! for it, and what its guests change beyond that waits: lists are old for a while then, in that VLAN alone.

use super::member::Member;
use super::message::Family;
use super::snooper::Snooper;
use crate::limits::Bucket;
use crate::{Nanos, PortId, VlanId};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Sources of a group, and of all groups of a switch, that frames are told apart by. Of what goes beyond, every
/// member of the group gets frames of all sources.
const GROUP_SOURCES: usize = 64;
const SOURCE_LISTS: usize = 8192;
/// What may be done for the lists of a VLAN, a second and at once: so many members, and sources of theirs, are looked at.
/// At 20 to 70 ns each, that is some 1 % of the time.
pub(super) const WORK: u64 = 300_000;
pub(super) const WORK_AT_ONCE: u64 = 50_000;
/// A list by itself is as much to do as that, and so many ports are copied in the time of one.
const LISTED: usize = 8;
const COPIED: usize = 32;

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
        let own: Vec<_> = self.sources.range(of_group(number)).map(|(key, list)| (*key, *list)).collect();
        for (key, list) in own {
            self.sources.remove(&key);
            self.drop_list(list);
        }
        self.drop_list(number);
    }

    /// Work out anew where a VLAN's frames go besides to members, and with it every group's list.
    pub(super) fn spread(&mut self, vlan: VlanId) {
        let Snooper { vlans, table, lists, open, .. } = self;
        let Some(place) = vlans.get_mut(&vlan) else { return };
        place.stale.clear();
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

    /// Make a group's lists anew. How much that was to look at and to write.
    pub(super) fn list_group(&mut self, number: u16) -> u64 {
        let Some(group) = self.table.group(number) else { return 0 };
        let Some(place) = self.vlans.get(&group.vlan) else { return 0 };
        let side = &place.sides[Family::of(group.ip) as usize];
        let routers = self.list(side.routers_list).to_vec();
        let own: Vec<(IpAddr, u16)> =
            self.sources.range(of_group(number)).map(|(key, list)| (key.1, *list)).collect();
        let mut work: usize = group.members.iter().map(|member| 1 + member.sources.len()).sum();
        let mut named = named(&group.members);
        if self.sources.len() - own.len() + named.as_ref().map_or(0, Vec::len) > SOURCE_LISTS {
            named = None;
        }
        let all = named.is_none();
        let named = named.unwrap_or_default();
        let members = group.members.iter().filter(|member| all || member.exclude > 0);
        let mut others = vec![];
        merge(&mut others, &routers, members.map(|member| (member.port, true)), &[]);
        for &(source, list) in &own {
            if named.binary_search_by_key(&source, |named| named.0).is_err() {
                self.sources.remove(&(number, source));
                self.drop_list(list);
            }
        }
        for (source, wishes) in named {
            work += LISTED + others.len() / COPIED;
            let list = match own.binary_search_by_key(&source, |own| own.0) {
                Ok(at) => Some(own[at].1),
                Err(_) => self.list_source(number, source),
            };
            match list.and_then(|list| self.lists.get_mut(usize::from(list))) {
                Some(list) => merge(list, &others, wishes.into_iter(), &routers),
                // No numbers are left: who names it gets it among the others.
                None => {
                    let rest = std::mem::take(&mut others);
                    merge(&mut others, &rest, wishes.into_iter().map(|(port, _)| (port, true)), &[]);
                }
            }
        }
        if let Some(list) = self.lists.get_mut(usize::from(number)) {
            *list = others;
        }
        #[cfg(test)]
        {
            self.work += work as u64;
        }
        work as u64
    }

    /// A list for a source that somebody begins to name.
    fn list_source(&mut self, number: u16, source: IpAddr) -> Option<u16> {
        let list = Self::new_list(&mut self.lists, &mut self.free)?;
        self.sources.insert((number, source), list);
        Some(list)
    }

    /// Work out what reports and timers have made old in a VLAN: each group once, whatever there was of them, and no
    /// more than guests may use of the time. The rest waits until `tick`.
    pub(super) fn relist(&mut self, now: Nanos, vlan: VlanId) {
        while let Some(number) = self.vlans.get_mut(&vlan).and_then(|place| place.next_stale(now)) {
            let work = self.list_group(number);
            if let Some(bucket) = self.vlans.get_mut(&vlan).and_then(|place| place.work.as_mut()) {
                bucket.take(now, work);
            }
        }
    }
}

/// How much there may be to do for the lists of a VLAN.
pub(super) fn work() -> Option<Bucket> {
    Bucket::new(WORK, WORK_AT_ONCE, 0)
}

/// Where the lists of a group's sources are.
fn of_group(number: u16) -> RangeInclusive<(u16, IpAddr)> {
    (number, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..=(number, IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)))
}

/// Ports, ascending, and whether they want something: what others do not, or not what others do.
type Wishes = Vec<(PortId, bool)>;

/// The sources that members want and no others, or that they do not and all others; ascending. `None`: there are more
/// than are told apart.
fn named(members: &[Member]) -> Option<Vec<(IpAddr, Wishes)>> {
    let mut named: Vec<(IpAddr, Wishes)> = vec![];
    for member in members {
        for &(source, until) in &member.sources {
            let wanted = until > 0;
            if wanted == (member.exclude > 0) {
                continue;
            }
            let at = match named.binary_search_by_key(&source, |named| named.0) {
                Ok(at) => at,
                Err(_) if named.len() == GROUP_SOURCES => return None,
                Err(at) => {
                    named.insert(at, (source, vec![]));
                    at
                }
            };
            named[at].1.push((member.port, wanted));
        }
    }
    Some(named)
}

/// Make `list` of `ports`, with those that want something and without those that do not, but for `always`. All ascending.
fn merge(
    list: &mut Vec<PortId>,
    ports: &[PortId],
    wishes: impl Iterator<Item = (PortId, bool)>,
    always: &[PortId],
) {
    list.clear();
    let mut rest = ports;
    for (port, wanted) in wishes {
        let (before, after) = rest.split_at(rest.partition_point(|&other| other < port));
        list.extend_from_slice(before);
        rest = after.strip_prefix(&[port]).unwrap_or(after);
        if wanted || always.binary_search(&port).is_ok() {
            list.push(port);
        }
    }
    list.extend_from_slice(rest);
}
