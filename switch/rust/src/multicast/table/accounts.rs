//! On whose account groups and memberships are, and who has room for more.

use super::{Bounds, Table};
use crate::{PortId, VlanId};

impl Table {
    /// Whether `port` may have one more group.
    pub(in crate::multicast) fn has_room(&self, vlan: VlanId, port: PortId, bounds: Bounds) -> bool {
        self.memberships.get(&(vlan, port)).copied().unwrap_or(0) < bounds.port_groups
    }

    /// The group that makes room for a new one of `port`'s: the one that ends first of those that none but
    /// the port with most of them wants, if that has at least two more than `port`.
    pub(in crate::multicast) fn gives_way(&self, vlan: VlanId, port: PortId) -> Option<u16> {
        let &(_, most, greedy) =
            self.ranking.range((vlan, 0, 0)..=(vlan, u32::MAX, PortId::MAX)).next_back()?;
        let own = self.owned.get(&(vlan, port)).copied().unwrap_or(0);
        if greedy == port || most < own + 2 {
            return None;
        }
        let groups = self.of_port.range((greedy, vlan, 0)..=(greedy, vlan, u16::MAX));
        let groups =
            groups.filter_map(|&(_, _, number)| match self.groups.get(&number)?.members.as_slice() {
                [only] => Some((only.until(), number)),
                _ => None,
            });
        groups.min().map(|(_, number)| number)
    }

    /// `port` has one more, or one less, group on its account.
    pub(super) fn account(&mut self, vlan: VlanId, port: PortId, by: i32) {
        let count = self.owned.entry((vlan, port)).or_default();
        self.ranking.remove(&(vlan, *count, port));
        *count = count.saturating_add_signed(by);
        if *count > 0 {
            self.ranking.insert((vlan, *count, port));
        } else {
            self.owned.remove(&(vlan, port));
        }
    }

    /// A membership of `port` named `had` sources, and names `has`.
    pub(super) fn count(&mut self, port: PortId, had: usize, has: usize) {
        self.sources = self.sources + has - had;
        let named = self.named.entry(port).or_default();
        *named = *named + has - had;
        if *named == 0 {
            self.named.remove(&port);
        }
    }
}
