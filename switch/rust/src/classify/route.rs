//! The forwarding process (802.1Q 8.6.3, 8.8): where an admitted frame goes.

use super::Desk;
use crate::decision::{Flood, Out, View};
use crate::fdb::key;
use crate::multicast::Way;
use crate::parse::{BROADCAST, Header, is_group, is_link_local};
use crate::private::Place;
use crate::proxy::asked_for;
use crate::stp::PortState;
use crate::{DropReason, PortId, VlanId};

impl Desk<'_> {
    #[inline]
    pub(super) fn forward(&mut self, vlan: VlanId, header: &Header, place: Place, view: &View<'_>) -> Out {
        match self.hear(vlan, header.src) {
            Ok(()) if self.pass.state == PortState::Learning => Out::Drop(DropReason::StpBlocked),
            Ok(()) if self.reads() && self.is_answered(vlan, header, view, place) => Out::Answer,
            Ok(()) if self.is_snooped(vlan, header.dst) => self.multicast(vlan, header, place, view),
            Ok(()) => self.route(vlan, header.dst, place),
            Err(reason) => Out::Drop(reason),
        }
    }

    /// Whether ARP and neighbour discovery are read here, each message of it (`proxy.rs`).
    #[inline]
    pub(super) fn reads(&self) -> bool {
        self.listens || self.config.proxy.is_some()
    }

    /// Whether the switch itself answers. What a gateway says is heard by the way.
    #[cold]
    fn is_answered(&mut self, vlan: VlanId, header: &Header, view: &View<'_>, place: Place) -> bool {
        let at = 12 + 4 * usize::from(header.tags.count());
        if self.listens && place == Place::PROMISCUOUS {
            self.gateways.hear(vlan, view.head, at);
        }
        let proxy = self.config.proxy.as_ref();
        proxy.is_some_and(|proxy| proxy.answer(self.gateways, vlan, place, view.head, at).is_some())
            && !(place == Place::PROMISCUOUS && self.is_leased(vlan, view, at))
    }

    /// Whether a guest here has by DHCP what is asked for.
    fn is_leased(&self, vlan: VlanId, view: &View<'_>, at: usize) -> bool {
        asked_for(view.head, at).is_some_and(|ip| {
            self.vlans.ports(vlan).iter().any(|&port| {
                let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
                other.is_some_and(|other| other.memory.learned.has(vlan, ip))
            })
        })
    }

    /// Whether where a frame goes depends on which groups are wanted.
    #[inline]
    pub(super) fn is_snooped(&self, vlan: VlanId, dst: u64) -> bool {
        is_group(dst)
            && dst != BROADCAST
            && self.snooper.is_some_and(|snooper| snooper.watches(vlan) && !is_link_local(dst))
    }

    /// Where a frame to a group address goes in a VLAN in which groups are snooped.
    #[inline(never)]
    fn multicast(&mut self, vlan: VlanId, header: &Header, place: Place, view: &View<'_>) -> Out {
        let Some(snooper) = self.snooper else { return self.flood(vlan, place, Flood::Multicast) };
        match snooper.way(vlan, view.head, header.tags.count()) {
            Way::All => self.flood(vlan, place, Flood::Multicast),
            Way::Report(list) => Out::Report(list),
            Way::List(list) => {
                let mut reached = DropReason::NoListener;
                for &port in snooper.list(list) {
                    let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
                    if other.is_some_and(|other| other.config.wants(Flood::Multicast)) {
                        // The ingress port itself is not among them.
                        if self.reaches(place, vlan, port) {
                            return Out::Group(list);
                        }
                        reached = DropReason::Private;
                    }
                }
                Out::Drop(reached)
            }
        }
    }

    /// The forwarding process (802.1Q 8.6.3, 8.8).
    #[inline]
    fn route(&self, vlan: VlanId, dst: u64, place: Place) -> Out {
        if is_group(dst) {
            return self.flood(
                vlan,
                place,
                match dst {
                    BROADCAST => Flood::Broadcast,
                    _ if is_link_local(dst) => Flood::LinkLocal,
                    _ => Flood::Multicast,
                },
            );
        }
        match self.fdb.find(key(vlan, dst)) {
            Some(home) if home.port == self.id => Out::Drop(DropReason::SamePort),
            Some(home) if place != Place::PROMISCUOUS && !self.reaches(place, vlan, home.port) => {
                Out::Drop(DropReason::Private)
            }
            Some(home) => Out::Port(home.port),
            None => self.flood(vlan, place, Flood::Unknown),
        }
    }

    pub(super) fn flood(&self, vlan: VlanId, place: Place, kind: Flood) -> Out {
        if !self.vlans.anybody(vlan, kind, self.config) {
            Out::Drop(DropReason::NoMember)
        } else if place != Place::PROMISCUOUS && !self.reaches_any(place, vlan, kind) {
            Out::Drop(DropReason::Private)
        } else {
            Out::Flood(kind)
        }
    }

    /// Where the sender of a frame stands in its VLAN.
    #[inline]
    pub(super) fn place(&self, vlan: VlanId, view: &View<'_>) -> Place {
        if self.config.places { view.place } else { Place::of(self.config.private.as_deref(), vlan) }
    }

    /// Whether a private network lets frames from `place` pass to `port`.
    fn reaches(&self, place: Place, vlan: VlanId, port: PortId) -> bool {
        let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
        place.reaches(Place::of(other.and_then(|other| other.config.private.as_deref()), vlan))
    }

    /// Whether it lets them pass to any port that wants such a flood.
    #[cold]
    fn reaches_any(&self, place: Place, vlan: VlanId, kind: Flood) -> bool {
        self.vlans.ports(vlan).iter().any(|&port| {
            let other = self.ports.get(usize::from(port)).and_then(Option::as_deref);
            other.is_some_and(|other| other.config.wants(kind)) && self.reaches(place, vlan, port)
        })
    }
}
