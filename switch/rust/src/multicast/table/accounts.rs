//! On whose account groups and memberships are, and who has room for more.

use super::{Bounds, Table};
use crate::{PortId, VlanId};

impl Table {
    /// Whether there may be a membership of `port` in a group, which may be `known`, on this account: it is there
    /// already, or one more has room.
    pub(in crate::multicast) fn has_room(
        &self,
        vlan: VlanId,
        (port, account): (PortId, PortId),
        known: Option<u16>,
        bounds: Bounds,
    ) -> bool {
        let group = known.and_then(|known| self.groups.get(&known));
        let member = group.and_then(|group| group.members.get(group.at(port)?));
        member.is_some_and(|member| member.account == account)
            || self.memberships.get(&(vlan, account)).copied().unwrap_or(0) < bounds.port_groups
    }

    /// The group that makes room for a new one on this account: the one that ends first of those that none but
    /// the account with most of them wants, if that has at least two more.
    pub(in crate::multicast) fn gives_way(&self, vlan: VlanId, account: PortId) -> Option<u16> {
        let &(_, most, greedy) =
            self.ranking.range((vlan, 0, 0)..=(vlan, u32::MAX, PortId::MAX)).next_back()?;
        let own = self.owned.get(&(vlan, account)).copied().unwrap_or(0);
        if greedy == account || most < own + 2 {
            return None;
        }
        let groups = self.of_account.range((greedy, vlan, 0)..=(greedy, vlan, u16::MAX));
        let groups =
            groups.filter_map(|&(_, _, number)| match self.groups.get(&number)?.members.as_slice() {
                [only] => Some((only.until(), number)),
                _ => None,
            });
        groups.min().map(|(_, number)| number)
    }

    /// There is one more, or one less, membership on an account.
    pub(super) fn hold(&mut self, account: (VlanId, PortId), by: i32) {
        let count = self.memberships.entry(account).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.memberships.remove(&account);
        }
    }

    /// A group is on an account, or is not any more.
    pub(super) fn own(&mut self, (vlan, account): (VlanId, PortId), number: u16, is: bool) {
        let count = self.owned.entry((vlan, account)).or_default();
        self.ranking.remove(&(vlan, *count, account));
        if is {
            self.of_account.insert((account, vlan, number));
            *count += 1;
        } else {
            self.of_account.remove(&(account, vlan, number));
            *count = count.saturating_sub(1);
        }
        if *count > 0 {
            self.ranking.insert((vlan, *count, account));
        } else {
            self.owned.remove(&(vlan, account));
        }
    }

    /// A membership is on this account from now on.
    pub(super) fn charge(&mut self, number: u16, at: usize, account: PortId) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let Some(member) = group.members.get_mut(at).filter(|member| member.account != account) else {
            return;
        };
        let before = std::mem::replace(&mut member.account, account);
        let (vlan, named, owns) = (group.vlan, member.sources.len(), group.owner == before);
        if owns {
            group.owner = account;
        }
        self.hold((vlan, before), -1);
        self.hold((vlan, account), 1);
        self.count(before, named, 0);
        self.count(account, 0, named);
        if owns {
            self.own((vlan, before), number, false);
            self.own((vlan, account), number, true);
        }
    }

    /// The guest with this account, at another switch, is gone: links pay for what it wanted, until that ends.
    pub(in crate::multicast) fn close(&mut self, account: PortId) {
        let vlans: Vec<VlanId> =
            self.memberships.keys().filter(|key| key.1 == account).map(|key| key.0).collect();
        for number in vlans.into_iter().flat_map(|vlan| self.of_vlan(vlan)).collect::<Vec<_>>() {
            let ports = self.groups.get(&number).map_or(vec![], |group| {
                group.members.iter().map(|member| (member.port, member.account)).collect()
            });
            for (at, (port, _)) in ports.into_iter().enumerate().filter(|(_, (_, of))| *of == account) {
                self.charge(number, at, port);
            }
        }
    }

    /// A membership on this account named `had` sources, and names `has`.
    pub(super) fn count(&mut self, account: PortId, had: usize, has: usize) {
        self.sources = self.sources + has - had;
        let named = self.named.entry(account).or_default();
        *named = *named + has - had;
        if *named == 0 {
            self.named.remove(&account);
        }
    }
}
