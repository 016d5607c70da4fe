//! All that one switch knows about groups, and which list of ports a frame goes by.

use super::lists;
use super::member::Member;
use super::message::{self, Family, Look, Message, Record, Version};
use super::query::Query;
use super::side::{self, Side};
use super::table::{Bounds, Due, Outcome, QUESTIONS, Table, Times};
use super::{SECOND, Setup, Unknown};
use crate::config::PortConfig;
use crate::limits::Bucket;
use crate::{Decision, Mac, Nanos, PortId, VlanId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Queries that wait to be sent at most; what is asked for beyond that is asked again later.
const WAITING: usize = 1024;
/// Records that say again what is known are as much to do as one that changes something.
const SAID_AGAIN: u64 = 16;

/// One VLAN.
#[derive(Clone, Debug)]
pub(super) struct Vlan {
    pub(super) setup: Setup,
    pub(super) sides: [Side; 2],
    /// Groups whose lists are to be made anew, and from which number on: each has its turn.
    pub(super) stale: BTreeSet<u16>,
    turn: u16,
    pub(super) work: Option<Bucket>,
}

impl Vlan {
    fn new(setup: Setup, sides: [Side; 2]) -> Vlan {
        Vlan { setup, sides, stale: BTreeSet::new(), turn: 0, work: lists::work() }
    }

    /// The next group whose lists are to be made anew, if there is time for that.
    pub(super) fn next_stale(&mut self, now: Nanos) -> Option<u16> {
        if self.work.is_some_and(|bucket| bucket.ready() > now) {
            return None;
        }
        let next = self.stale.range(self.turn..).next().or_else(|| self.stale.first()).copied()?;
        self.stale.remove(&next);
        self.turn = next.wrapping_add(1);
        Some(next)
    }

    /// When `next_stale` is to be asked again.
    fn deadline(&self) -> Option<Nanos> {
        (!self.stale.is_empty()).then(|| self.work.map_or(0, |bucket| bucket.ready()))
    }
}

/// What is known about groups at one switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snooper {
    pub(super) vlans: BTreeMap<VlanId, Vlan>,
    pub(super) table: Table,
    /// The ports of groups, of routers, and of reports, ascending; number 0 is empty.
    pub(super) lists: Vec<Vec<PortId>>,
    pub(super) free: Vec<u16>,
    /// By a group's number and a source that some member names: the list of those who want that source. The
    /// group's own list is of those who want any other.
    pub(super) sources: BTreeMap<(u16, IpAddr), u16>,
    /// Ports that forward, by VLAN, and whether another switch of the fabric is behind them.
    pub(super) open: BTreeMap<(VlanId, PortId), bool>,
    /// VLANs in which a port has begun to forward.
    opened: BTreeSet<VlanId>,
    /// When hosts were last asked because of that.
    asked: Option<Nanos>,
    pub(super) out: VecDeque<Query>,
    /// Groups that somebody left without being asked about: when links are to be, and how often.
    left: BTreeSet<(Nanos, VlanId, IpAddr, u8)>,
    /// Ports that wanted more groups than they may, and when that was told.
    pub(super) refused: BTreeMap<PortId, Nanos>,
    pub(super) lines: Vec<(PortId, String)>,
    /// What was done for lists so far.
    #[cfg(test)]
    pub(super) work: u64,
}

/// What a frame came to that was listened to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// A report is to go on to routers.
    pub onward: bool,
    /// How many reports it counts for.
    pub cost: u64,
}

/// Where a frame to a group address goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To every member of its VLAN.
    All,
    /// To these.
    List(u16),
    /// It is a report: to these, and it is to be listened to.
    Report(u16),
}

impl Snooper {
    pub(super) fn new() -> Snooper {
        Snooper { lists: vec![vec![]], ..Snooper::default() }
    }

    /// Whether groups are snooped in a VLAN.
    #[inline]
    pub(crate) fn watches(&self, vlan: VlanId) -> bool {
        self.vlans.contains_key(&vlan)
    }

    /// Where a frame to a group address goes in a VLAN that is watched.
    pub(crate) fn way(&self, vlan: VlanId, head: &[u8], tags: u8) -> Way {
        let Some(place) = self.vlans.get(&vlan) else { return Way::All };
        match message::look(head, tags) {
            Look::All | Look::Router => Way::All,
            Look::Report(family) => Way::Report(place.sides[family as usize].reports),
            Look::Group(group, source) => {
                let side = &place.sides[Family::of(group) as usize];
                match self.table.find(vlan, group) {
                    _ if !side.is_asked() => Way::All,
                    Some(number) if self.sources.is_empty() => Way::List(number),
                    Some(number) => Way::List(*self.sources.get(&(number, source)).unwrap_or(&number)),
                    None if place.setup.unknown == Unknown::Flood => Way::All,
                    None => Way::List(side.routers_list),
                }
            }
        }
    }

    /// The numbers are used up: 65,535 groups, and four lists a VLAN.
    pub(super) fn set(&mut self, vlan: VlanId, setup: Option<Setup>) -> bool {
        match (setup, self.vlans.get_mut(&vlan)) {
            (None, None) => {}
            (None, Some(_)) => {
                for number in self.table.of_vlan(vlan) {
                    self.drop_group(number);
                }
                self.open.retain(|(other, _), _| *other != vlan);
                if let Some(place) = self.vlans.remove(&vlan) {
                    for side in place.sides {
                        self.drop_list(side.reports);
                        self.drop_list(side.routers_list);
                    }
                }
            }
            (Some(setup), Some(place)) => {
                place.setup = setup;
                self.opened.insert(vlan);
            }
            (Some(setup), None) => {
                let mut numbers = [0; 4];
                for number in &mut numbers {
                    let Some(new) = Self::new_list(&mut self.lists, &mut self.free) else { return false };
                    *number = new;
                }
                let [a, b, c, d] = numbers;
                let sides = [Side::new(Family::V4, a, b), Side::new(Family::V6, c, d)];
                self.vlans.insert(vlan, Vlan::new(setup, sides));
                self.opened.insert(vlan);
                self.spread(vlan);
            }
        }
        true
    }

    /// Nobody wants a group any more.
    fn drop_group(&mut self, number: u16) {
        let members: Vec<PortId> =
            self.table.group(number).map_or(vec![], |group| group.members.iter().map(|m| m.port).collect());
        for port in members {
            self.table.leave(number, port);
        }
        self.drop_lists(number);
    }

    /// What is known of links may be old.
    pub(super) fn reopen(&mut self) {
        self.opened.extend(self.vlans.keys().copied());
    }

    /// A port is set up anew, or has begun or ceased to forward.
    pub(crate) fn port(&mut self, port: PortId, config: &PortConfig, forwards: bool) {
        let vlans: Vec<VlanId> = self.vlans.keys().copied().collect();
        for vlan in vlans {
            if !forwards || !config.carries(vlan) {
                self.forget(port, Some(vlan));
                continue;
            }
            let before = self.open.insert((vlan, port), config.places);
            if before.is_none() {
                self.opened.insert(vlan);
            }
            if before.unwrap_or(false) != config.places {
                self.spread(vlan);
            }
        }
    }

    /// A port is gone, or out of one VLAN.
    pub(crate) fn forget(&mut self, port: PortId, only: Option<VlanId>) {
        for (vlan, number) in self.table.of_port(port) {
            if only.is_none_or(|only| only == vlan) {
                match self.table.leave(number, port) {
                    Outcome::Left(number, false) => _ = self.list_group(number),
                    outcome => self.settle(outcome),
                }
            }
        }
        let vlans: Vec<VlanId> =
            self.vlans.keys().copied().filter(|vlan| only.is_none_or(|o| o == *vlan)).collect();
        for vlan in vlans {
            let mut changed = self.open.remove(&(vlan, port)).unwrap_or(false);
            if let Some(place) = self.vlans.get_mut(&vlan) {
                for side in &mut place.sides {
                    changed |= side.lose(port);
                }
            }
            if changed {
                self.spread(vlan);
            }
        }
        if only.is_none() {
            self.refused.remove(&port);
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Joined(number, _) | Outcome::Left(number, false) | Outcome::Filtered(number) => {
                let vlan = self.table.group(number).map(|group| group.vlan);
                if let Some(place) = vlan.and_then(|vlan| self.vlans.get_mut(&vlan)) {
                    place.stale.insert(number);
                }
            }
            Outcome::Left(number, true) => self.drop_lists(number),
            Outcome::Same | Outcome::Asked | Outcome::Refused => {}
        }
    }

    /// A frame that `look` found to be worth it.
    pub(super) fn listen(
        &mut self,
        now: Nanos,
        (port, account): (PortId, PortId),
        trusted: bool,
        decision: &Decision,
        frame: &[u8],
    ) -> Heard {
        let vlan = decision.vlan;
        let mut heard = Heard { onward: true, cost: 1 };
        match message::parse(frame, decision.tags) {
            Some(Message::Report(version, records)) => {
                heard.onward = version == Version::Sources;
                let (mut changes, all) = (0, records.len() as u64);
                for record in records {
                    let (news, outcome) = self.report(now, vlan, (port, account), version, &record);
                    heard.onward |= news;
                    changes += u64::from(outcome != Outcome::Same);
                }
                heard.cost = (changes + (all - changes) / SAID_AGAIN).max(1);
                self.relist(now, vlan);
            }
            Some(Message::Query(query)) if trusted => {
                let mac = frame.get(6..12).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
                self.queried(now, vlan, port, &query, mac);
            }
            Some(Message::Router(family)) if trusted => {
                if let Some(place) = self.vlans.get_mut(&vlan)
                    && place.sides[family as usize].router(now, port)
                {
                    self.spread(vlan);
                }
            }
            None | Some(_) => {}
        }
        heard
    }

    /// One record. Whether routers should hear of it.
    fn report(
        &mut self,
        now: Nanos,
        vlan: VlanId,
        (port, account): (PortId, PortId),
        version: Version,
        record: &Record,
    ) -> (bool, Outcome) {
        if message::is_open(record.group) {
            return (true, Outcome::Same);
        }
        let Snooper { vlans, table, .. } = self;
        let Some(place) = vlans.get(&vlan) else { return (true, Outcome::Same) };
        let setup = place.setup;
        let side = &place.sides[Family::of(record.group) as usize];
        let times = Times {
            membership: side.membership(),
            last_member: SECOND,
            asks: side.is_ours(),
            fast: setup.fast_leave && !self.open.get(&(vlan, port)).is_some_and(|link| *link),
        };
        let known = table.find(vlan, record.group);
        let full = !table.has_room(vlan, (port, account), known, setup.bounds);
        let crowded = known.is_none() && table.in_vlan(vlan) >= setup.bounds.groups;
        let evicted = if crowded && !full && record.wants() { table.gives_way(vlan, account) } else { None };
        let outcome = if record.wants() && (full || crowded && evicted.is_none()) {
            Outcome::Refused
        } else {
            if let Some(number) = evicted {
                self.drop_group(number);
            }
            let Snooper { table, lists, free, .. } = self;
            table.hear(now, (vlan, port, account), version, record, times, || Self::new_list(lists, free))
        };
        self.settle(outcome);
        if matches!(outcome, Outcome::Left(..)) && times.asks && self.left.len() < WAITING {
            self.left.insert((now, vlan, record.group, QUESTIONS));
        }
        // What a guest may have, its own switch tells.
        if outcome == Outcome::Refused && (account == port || !full) {
            self.tell(now, account, vlan, setup.bounds, full);
        }
        let number = self.table.find(vlan, record.group);
        let Some(group) = number.and_then(|number| self.table.group_mut(number)) else {
            return (true, outcome);
        };
        let same = outcome == Outcome::Same && record.kind == message::Kind::IsExclude;
        if setup.suppress && same && group.told != 0 && now < group.told + side::RESPONSE {
            return (false, outcome);
        }
        group.told = if record.wants_all() { now.max(1) } else { 0 };
        (true, outcome)
    }

    /// One line a minute and port about groups that it can't have.
    #[cold]
    fn tell(&mut self, now: Nanos, port: PortId, vlan: VlanId, bounds: Bounds, full: bool) {
        let told = self.refused.get(&port).is_some_and(|&at| now < at + 60 * SECOND);
        if !told {
            self.refused.insert(port, now);
            let line = if full {
                format!(
                    "wants more than {} multicast groups in VLAN {vlan}: the rest is not heard",
                    bounds.port_groups
                )
            } else {
                format!("no room for more multicast groups in VLAN {vlan}, which has {}", bounds.groups)
            };
            self.lines.push((port, line));
        }
    }

    /// Somebody else asks.
    fn queried(&mut self, now: Nanos, vlan: VlanId, port: PortId, query: &message::Query, mac: Mac) {
        let Some(place) = self.vlans.get_mut(&vlan) else { return };
        let setup = place.setup;
        let side = &mut place.sides[Family::of(query.source) as usize];
        let behind_link = self.open.get(&(vlan, port)).is_some_and(|link| *link);
        let changed = side.queried(now, port, query, mac, &setup, behind_link);
        let ours = side.is_ours();
        if changed {
            self.spread(vlan);
        }
        if setup.suppress {
            self.table.asked(vlan, Family::of(query.source), query.group);
        }
        if let Some(group) = query.group
            && !query.suppress
            && !ours
            && let Some(number) = self.table.find(vlan, group)
        {
            self.table.questioned(now, number, query.response.clamp(SECOND / 10, side::RESPONSE));
        }
    }

    pub(super) fn tick(&mut self, now: Nanos) {
        let room = self.asked.is_none_or(|at| now >= at + SECOND);
        if room && !self.opened.is_empty() {
            self.asked = Some(now);
            for vlan in std::mem::take(&mut self.opened) {
                if let Some(place) = self.vlans.get_mut(&vlan) {
                    for side in &mut place.sides {
                        side.opened(now, vlan, &place.setup, &mut self.out);
                    }
                    self.spread(vlan);
                }
            }
        }
        let mut changed = vec![];
        for (&vlan, place) in &mut self.vlans {
            for side in &mut place.sides {
                if side.deadline().is_some_and(|at| at <= now)
                    && side.tick(now, vlan, &place.setup, &mut self.out)
                {
                    changed.push(vlan);
                }
            }
        }
        for vlan in changed {
            self.spread(vlan);
        }
        for due in self.table.tick(now, |_, _| SECOND) {
            match due {
                Due::Over(number, _, last) => self.settle(Outcome::Left(number, last)),
                Due::Filtered(number) => self.settle(Outcome::Filtered(number)),
                Due::Ask(vlan, group, port) => self.ask(now, vlan, group, Some(port)),
            }
        }
        while let Some(&(at, vlan, group, times)) = self.left.first().filter(|left| left.0 <= now) {
            self.left.pop_first();
            self.ask(now, vlan, group, None);
            if times > 1 {
                self.left.insert((at.max(now) + SECOND, vlan, group, times - 1));
            }
        }
        let stale = self.vlans.iter().filter(|(_, place)| !place.stale.is_empty());
        for vlan in stale.map(|(&vlan, _)| vlan).collect::<Vec<_>>() {
            self.relist(now, vlan);
        }
        self.out.truncate(WAITING);
    }

    /// Somebody left a group: ask who else is there, at his port, and over links. Whoever is behind one sends the group
    /// here as long as anybody wants it, and only if nobody does any more he need be asked.
    fn ask(&mut self, now: Nanos, vlan: VlanId, group: IpAddr, port: Option<PortId>) {
        let Snooper { vlans, table, open, out, .. } = self;
        let Some(place) = vlans.get(&vlan) else { return };
        let side = &place.sides[Family::of(group) as usize];
        let members = table.find(vlan, group).and_then(|number| table.group(number));
        let members = members.map_or(&[][..], |group| &group.members);
        // Those who are asked already, and do not answer, are about to go.
        let stays = |member: &&Member| {
            member.until() > now + SECOND * Nanos::from(QUESTIONS) && Some(member.port) != port
        };
        let staying: Vec<PortId> = members.iter().filter(stays).map(|member| member.port).take(2).collect();
        let links = open.range((vlan, 0)..=(vlan, PortId::MAX)).filter(|open| *open.1).map(|open| open.0.1);
        let idle = links.filter(|link| Some(*link) != port && staying.iter().all(|other| other == link));
        for to in port.into_iter().chain(idle) {
            side.ask(vlan, Some(to), Some(group), SECOND, &place.setup, out);
        }
    }

    pub(super) fn deadline(&self) -> Option<Nanos> {
        let left = self.left.first().map(|left| left.0);
        let opened = (!self.opened.is_empty()).then(|| self.asked.map_or(0, |at| at + SECOND));
        let sides = self.vlans.values().flat_map(|place| &place.sides).filter_map(Side::deadline).min();
        let stale = self.vlans.values().filter_map(Vlan::deadline).min();
        [left, opened, sides, stale, self.table.deadline()].into_iter().flatten().min()
    }
}
