//! One protocol in one VLAN: who asks (RFC 3376, 6.6.2), and where routers are.

use super::message::{self, Family};
use super::query::{Asking, Query, ROBUSTNESS, query};
use super::{SECOND, Setup, SideView};
use crate::{Mac, Nanos, PortId, VlanId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// How long hosts may take to answer a general query (RFC 3376, 8.3).
pub(super) const RESPONSE: Nanos = 10 * SECOND;
/// ... and when they are asked because something has changed.
const SOON: Nanos = SECOND;
/// How long after such a question links carry everything: it is asked twice, and answered.
const SETTLING: Nanos = 3 * SECOND;
/// What a querier's interval is taken for, whatever it says.
const INTERVALS: std::ops::RangeInclusive<Nanos> = SECOND..=3600 * SECOND;

/// Who comes first in the election: the lowest address, who has none last, and then by MAC address.
type Rank = (u128, Mac);

fn rank(ip: IpAddr, mac: Mac) -> Rank {
    let number = match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    (if number == 0 { u128::MAX } else { number }, mac)
}

/// Another querier.
#[derive(Clone, Copy, Debug)]
struct Other {
    rank: Rank,
    ip: IpAddr,
    port: PortId,
    interval: Nanos,
    until: Nanos,
}

#[derive(Clone, Debug)]
pub(super) struct Side {
    family: Family,
    /// The lists of ports that reports go to, and that have routers.
    pub reports: u16,
    pub routers_list: u16,
    /// Ports with a router, and until when.
    pub routers: BTreeMap<PortId, Nanos>,
    other: Option<Other>,
    /// When we ask next, if we do.
    next: Option<Nanos>,
    /// Questions to be asked soon after one another, because something has changed.
    soon: u8,
    /// Links carry everything until then.
    settling: Option<Nanos>,
    interval: Nanos,
}

impl Side {
    pub fn new(family: Family, reports: u16, routers_list: u16) -> Side {
        Side {
            family,
            reports,
            routers_list,
            routers: BTreeMap::new(),
            other: None,
            next: None,
            soon: 0,
            settling: None,
            interval: 125 * SECOND,
        }
    }

    /// Whether anybody asks.
    pub fn is_asked(&self) -> bool {
        self.other.is_some() || self.next.is_some()
    }

    /// Whether it is we who ask.
    pub fn is_ours(&self) -> bool {
        self.other.is_none() && self.next.is_some()
    }

    pub fn settles(&self) -> bool {
        self.settling.is_some()
    }

    /// How long a report holds (8.4).
    pub fn membership(&self) -> Nanos {
        self.interval * Nanos::from(ROBUSTNESS) + RESPONSE
    }

    fn own_ip(&self, setup: &Setup) -> IpAddr {
        match self.family {
            Family::V4 => IpAddr::V4(setup.ip4),
            Family::V6 => IpAddr::V6(setup.ip6),
        }
    }

    /// Send a query.
    pub fn ask(
        &self,
        vlan: VlanId,
        port: Option<PortId>,
        group: Option<IpAddr>,
        response: Nanos,
        setup: &Setup,
        out: &mut VecDeque<Query>,
    ) {
        // Who does not win the election must not seem to (RFC 4541, 2.1.1: the all-zeros address).
        let source = match self.own_ip(setup) {
            IpAddr::V4(_) if self.other.is_some() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ip => ip,
        };
        let asking = Asking { mac: setup.mac, source, group, response, interval: self.interval };
        out.push_back(query(vlan, port, &asking));
    }

    /// Ports have begun to forward, or another setup holds: ask who is there.
    pub fn opened(&mut self, now: Nanos, vlan: VlanId, setup: &Setup, out: &mut VecDeque<Query>) {
        if !setup.querier {
            self.next = None;
        }
        if self.other.is_none() {
            self.interval = setup.interval;
        }
        self.settling = Some(now + SETTLING);
        if setup.querier {
            self.ask(vlan, None, None, SOON, setup, out);
            self.soon = ROBUSTNESS - 1;
            self.next = Some(now + SOON);
        }
    }

    /// A router is behind a port. Whether that is news.
    pub fn router(&mut self, now: Nanos, port: PortId) -> bool {
        self.routers.insert(port, now + self.interval * Nanos::from(ROBUSTNESS) + RESPONSE / 2).is_none()
    }

    /// A port is gone. Whether a router was there.
    pub fn lose(&mut self, port: PortId) -> bool {
        if self.other.is_some_and(|other| other.port == port) {
            // It will be noticed at once, not when its time is over.
            self.other = self.other.map(|other| Other { until: 0, ..other });
        }
        self.routers.remove(&port).is_some()
    }

    /// Somebody else has asked. Whether ports have to be worked out anew.
    pub fn queried(
        &mut self,
        now: Nanos,
        port: PortId,
        query: &message::Query,
        mac: Mac,
        setup: &Setup,
        behind_link: bool,
    ) -> bool {
        let theirs = rank(query.source, mac);
        let known = self.other.map(|other| other.rank);
        let better = match known {
            Some(known) => theirs <= known,
            None => self.next.is_none() || theirs < rank(self.own_ip(setup), setup.mac),
        };
        if better {
            let said = query.interval.unwrap_or(125 * SECOND);
            self.interval = said.clamp(*INTERVALS.start(), *INTERVALS.end());
            let until = now + self.interval * Nanos::from(ROBUSTNESS) + RESPONSE / 2;
            self.other = Some(Other { rank: theirs, ip: query.source, port, interval: self.interval, until });
        }
        // A switch that asks from nowhere is no router (RFC 4541, 2.1.1), and neither is one of ours.
        !query.source.is_unspecified() && !behind_link && self.router(now, port)
    }

    pub fn deadline(&self) -> Option<Nanos> {
        let other = self.other.map(|other| other.until);
        let next = self.next.filter(|_| self.other.is_none() || self.soon > 0);
        let routers = self.routers.values().copied().min();
        [other, next, routers, self.settling].into_iter().flatten().min()
    }

    /// Time has come to `now`. Whether ports have to be worked out anew.
    pub fn tick(&mut self, now: Nanos, vlan: VlanId, setup: &Setup, out: &mut VecDeque<Query>) -> bool {
        let mut changed = false;
        if self.other.is_some_and(|other| other.until <= now) {
            self.other = None;
            self.interval = setup.interval;
            if setup.querier {
                self.next = Some(now);
                self.soon = ROBUSTNESS;
            }
        }
        if self.settling.is_some_and(|until| until <= now) {
            self.settling = None;
            changed = true;
        }
        let routers = self.routers.len();
        self.routers.retain(|_, until| *until > now);
        changed |= self.routers.len() != routers;
        if self.next.is_some_and(|next| next <= now) {
            if self.soon > 0 {
                self.soon -= 1;
                self.ask(vlan, None, None, SOON, setup, out);
                self.next = Some(now + if self.soon > 0 { SOON } else { self.interval });
            } else if self.other.is_none() {
                self.ask(vlan, None, None, RESPONSE, setup, out);
                self.next = Some(now + self.interval);
            }
        }
        changed
    }

    pub fn view(&self, vlan: VlanId, groups: u32, setup: &Setup) -> SideView {
        SideView {
            vlan,
            family: self.family,
            querier: match self.other {
                Some(other) => Some(other.ip),
                None => self.next.map(|_| self.own_ip(setup)),
            },
            ours: self.is_ours(),
            querier_port: self.other.map(|other| other.port),
            interval: self.other.map_or(self.interval, |other| other.interval),
            routers: self.routers.iter().map(|(&port, &until)| (port, until)).collect(),
            groups,
        }
    }
}
