//! Multicast goes to who asked for it: IGMP and MLD snooping (RFC 4541), with a querier.
//!
//! Hosts say which groups they want (IGMPv1 to v3, MLDv1 and v2: `message.rs`); which port wants what, and
//! until when, is in `table.rs`; whoever has the lowest address asks from time to time, so that what
//! nobody wants any more is forgotten (`side.rs`, `query.rs`). Like a spanning tree it does no I/O: reports
//! come in by [`Switch::listen`], time by `tick`, and queries are taken out by [`Switch::next_query`].
//!
//! * A frame to a group that somebody wants goes to who wants its source, too (RFC 3376, 6.3), and to ports with a multicast router; to one that
//!   nobody wants, as `unknown` says. What is no IP, 224.0.0.x, and link-local groups of IPv6 go to all
//!   (2.1.2), and so does everything where nobody asks: memberships would end, and with them the traffic.
//! * Reports go to routers, and over links to other switches of the fabric; hosts don't hear them. So each
//!   switch knows what is wanted beyond each link, and a link carries nothing else. When the last one here leaves a
//!   group, whoever asks does so over links, too: without an answer the others know that nobody here wants it.
//! * When a link begins to forward, what is known of links is old. All hosts are asked anew, and until they
//!   have answered each link carries everything.
//! * Who asks, or says hello as a router (PIM), is believed unless the guard says that it may not.
//!
//! Frames are looked up by their IP address, not by the MAC address that 32 groups share.

mod lists;
mod member;
pub(crate) mod message;
mod query;
mod side;
mod snooper;
mod table;
#[cfg(test)]
mod tests;

pub use message::Family;
pub use query::Query;
pub(crate) use snooper::{Snooper, Way};
pub use table::Bounds;

use crate::account::account;
use crate::config::PortConfig;
use crate::limits::Bucket;
use crate::twin::own;
use crate::{Decision, DropReason, Flood, Mac, Nanos, Out, PortId, Switch, VlanId};
use message::Look;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const SECOND: Nanos = 1_000_000_000;
/// Reports that a guest may send a second, and at once. One that changes several things counts for as many: a guest may
/// say at once three times over that it is in all groups that it can have. (A link carries those of many.)
const REPORTS: u64 = 100;
const REPORTS_AT_ONCE: u64 = 400;
/// The longest frame that is listened to.
pub const LONGEST: usize = 2048;

/// What becomes of frames to groups that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Flood,
    /// They go to ports with a multicast router alone.
    Routers,
}

/// How groups are snooped in a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub unknown: Unknown,
    /// Ask, unless somebody with a lower address does.
    pub querier: bool,
    /// The switch's own addresses. Without an IPv4 address it asks from 0.0.0.0, and gives way to everybody
    /// who has one.
    pub mac: Mac,
    pub ip4: Ipv4Addr,
    pub ip6: Ipv6Addr,
    /// How often it asks (RFC 3376, 8.2).
    pub interval: Nanos,
    /// Who leaves is gone at once, without being asked who else there is.
    pub fast_leave: bool,
    /// Of reports of old versions about one group, one in ten seconds goes on to routers; more where somebody left it,
    /// or a router asked, since then.
    pub suppress: bool,
    pub bounds: Bounds,
}

/// What is to be seen of one protocol in one VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideView {
    pub vlan: VlanId,
    pub family: Family,
    /// Who asks; `None`: nobody, and everything is flooded.
    pub querier: Option<IpAddr>,
    /// It is this switch.
    pub ours: bool,
    /// The port that it asks by.
    pub querier_port: Option<PortId>,
    pub interval: Nanos,
    /// Ports with a router, and until when.
    pub routers: Vec<(PortId, Nanos)>,
    pub groups: u32,
}

/// What is to be seen of a group at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    pub vlan: VlanId,
    pub group: IpAddr,
    pub port: PortId,
    /// The only sources that it wants; empty: all but those that it excludes.
    pub sources: Vec<IpAddr>,
    pub excluded: Vec<IpAddr>,
    pub until: Nanos,
}

/// What a guest may report, at first.
pub(crate) fn reports(config: &PortConfig) -> Option<Bucket> {
    if config.places { None } else { Bucket::new(REPORTS, REPORTS_AT_ONCE, 0) }
}

impl Snooper {
    /// A port of another switch is gone.
    pub(crate) fn close_account(&mut self, port: PortId) {
        self.table.close(port);
        self.refused.remove(&port);
    }
}

impl Switch {
    /// Snoop multicast groups in a VLAN, or no more. `false`: there is no room for another VLAN.
    pub fn set_multicast(&mut self, vlan: VlanId, setup: Option<Setup>) -> bool {
        if setup.is_none() && self.multicast.is_none() {
            return true;
        }
        let snooper = Arc::make_mut(self.multicast.get_or_insert_with(|| Arc::new(Snooper::new())));
        let done = snooper.set(vlan, setup);
        for (id, port) in self.ports.iter().enumerate() {
            if let Some(port) = port.as_deref().filter(|port| port.config.carries(vlan)) {
                snooper.port(id as PortId, &port.config, port.forwards() && port.config.up);
            }
        }
        if snooper.vlans.is_empty() {
            self.multicast = None;
        }
        self.fdb.outdate();
        done
    }

    /// Other hosts are in a VLAN than before: who wants which group there has to be asked from the beginning.
    pub(crate) fn forget_groups(&mut self, vlan: VlanId) {
        let place = self.multicast.as_ref().and_then(|snooper| snooper.vlans.get(&vlan));
        if let Some(setup) = place.map(|place| place.setup) {
            self.set_multicast(vlan, None);
            self.set_multicast(vlan, Some(setup));
        }
    }

    /// The spanning tree has changed: stations may be behind other links than they were.
    pub fn topology_changed(&mut self) {
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.reopen();
        }
    }

    /// Whether groups are snooped in any VLAN: only then is `listen` to be called.
    #[inline]
    #[must_use]
    pub fn listens(&self) -> bool {
        self.multicast.is_some()
    }

    /// Whether a frame that was decided about so is worth to be given to `listen`.
    #[must_use]
    pub fn is_heard(&self, decision: &Decision, head: &[u8]) -> bool {
        match decision.out {
            Out::Report(_) => true,
            Out::Flood(Flood::Multicast) => {
                self.multicast.as_ref().is_some_and(|snooper| snooper.watches(decision.vlan))
                    && message::look(head, decision.tags) == Look::Router
            }
            _ => false,
        }
    }

    /// A whole frame for which `is_heard` said so, or nothing, where it is too long, with the `sender` that its view has: learn
    /// from it which groups are wanted. A report that routers need not hear goes nowhere afterwards, and one too many is dropped.
    pub fn listen(
        &mut self,
        now: Nanos,
        ingress: PortId,
        sender: PortId,
        decision: &mut Decision,
        frame: &[u8],
    ) {
        let Some(port) = self.ports.get_mut(usize::from(ingress)).and_then(Option::as_deref_mut) else {
            return;
        };
        let bucket = port.reports.as_mut().filter(|_| matches!(decision.out, Out::Report(_)));
        if bucket.as_ref().is_some_and(|bucket| bucket.ready() > now) {
            decision.out = Out::Drop(DropReason::MulticastReports);
            port.counters.takes_back(DropReason::MulticastReports);
            return;
        }
        let trusted = port.config.guard.as_ref().is_none_or(|guard| guard.roles.querier);
        let account = account(&port.config, ingress, sender);
        let Some(snooper) = own(&mut self.multicast) else { return };
        let heard = snooper.listen(now, (ingress, account), trusted, decision, frame);
        if let Some(bucket) = bucket {
            bucket.take(now, heard.cost);
        }
        if let Out::Report(list) = &mut decision.out
            && !heard.onward
        {
            *list = 0;
        }
    }

    /// The next query to be sent.
    pub fn next_query(&mut self) -> Option<Query> {
        own(&mut self.multicast)?.out.pop_front()
    }

    pub(crate) fn multicast_tick(&mut self, now: Nanos) {
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.tick(now);
        }
    }

    pub(crate) fn multicast_deadline(&self) -> Option<Nanos> {
        self.multicast.as_ref()?.deadline()
    }

    /// Lines about ports that want too much.
    pub(crate) fn multicast_lines(&mut self) -> Vec<(PortId, String)> {
        own(&mut self.multicast).map_or(vec![], |snooper| std::mem::take(&mut snooper.lines))
    }

    /// What is to be seen of queriers and routers, by VLAN and protocol.
    #[must_use]
    pub fn multicast_sides(&self) -> Vec<SideView> {
        let Some(snooper) = &self.multicast else { return vec![] };
        let view = |(&vlan, place): (&VlanId, &snooper::Vlan)| {
            Family::BOTH.map(|family| {
                let groups = snooper.table.groups(0).filter(|(_, group)| group.vlan == vlan);
                let groups = groups.filter(|(_, group)| Family::of(group.ip) == family).count() as u32;
                place.sides[family as usize].view(vlan, groups, &place.setup)
            })
        };
        snooper.vlans.iter().flat_map(view).collect()
    }

    /// Who wants which group: a page of them from group number `cursor` (0 at first) on, `limit` groups.
    /// The cursor of the next page, `None` after the last.
    pub fn multicast_page(&self, cursor: u16, limit: usize, page: &mut Vec<MemberView>) -> Option<u16> {
        let snooper = self.multicast.as_ref()?;
        for (taken, (number, group)) in snooper.table.groups(cursor).enumerate() {
            if taken >= limit.max(1) {
                return Some(number);
            }
            for member in &group.members {
                let all = member.exclude > 0;
                let named = |wanted: bool| {
                    let named = member.sources.iter().filter(|source| (source.1 > 0) == wanted);
                    let mut named: Vec<IpAddr> = named.map(|source| source.0).collect();
                    named.sort_unstable();
                    named
                };
                page.push(MemberView {
                    vlan: group.vlan,
                    group: group.ip,
                    port: member.port,
                    sources: if all { vec![] } else { named(true) },
                    excluded: if all { named(false) } else { vec![] },
                    until: member.until(),
                });
            }
        }
        None
    }
}
