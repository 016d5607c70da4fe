//! Which port wants which group, and until when.
//!
//! A port wants a group as long as somebody behind it excludes sources from it, or includes any, and of its
//! sources those that somebody wants (RFC 3376, 6.4): the machine of the standard, one for each port and group.
//!
//! Guests fill this table, so it is bounded: groups a VLAN, groups an account in it, sources a membership, an
//! account and in all. Who names more sources gets what he did not ask for, and leaves it out himself. A full VLAN
//! takes a group from the account that brought most of them, if that has more than the one that asks; so nobody can
//! use up what others need. An account is a guest's port, of this switch or of another one: what guests behind a
//! link want is one membership of the link, for which of several who want it pays who said so last.

mod accounts;

use super::member::Member;
use super::message::{Family, Kind, Record, Version};
use crate::{Nanos, PortId, VlanId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Sources that one membership names; who includes more gets all, who excludes more gets the rest of them.
const SOURCES: usize = 16;
/// ... and all memberships on one account.
const PORT_SOURCES: usize = 512;
/// Sources of all memberships of a switch.
const SOURCES_IN_ALL: usize = 1 << 16;
/// Timers that one call looks at.
const AT_ONCE: usize = 256;

/// How many groups there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In the VLAN.
    pub groups: u32,
    /// On one account in it: of a guest, at whatever switch.
    pub port_groups: u32,
}

/// The times of RFC 3376, 8, as they are now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long a report holds (8.4).
    pub membership: Nanos,
    /// How long answers to a question about a group are waited for, each time.
    pub last_member: Nanos,
    /// The questions are ours to ask.
    pub asks: bool,
    /// Nobody is asked: who leaves is gone.
    pub fast: bool,
}

/// Questions about a group before it is given up (8.11).
pub(super) const QUESTIONS: u8 = 2;

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub vlan: VlanId,
    pub ip: IpAddr,
    /// By port, ascending.
    pub members: Vec<Member>,
    /// On whose account it is.
    owner: PortId,
    /// When routers were last told that somebody wants all of it; 0: not since they asked, or somebody said otherwise.
    pub told: Nanos,
}

impl Group {
    /// Where the member is that a port is.
    fn at(&self, port: PortId) -> Option<usize> {
        self.members.binary_search_by_key(&port, |member| member.port).ok()
    }
}

/// The groups, by numbers that are those of their port lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// Never walked through, so that its order doesn't matter.
    index: HashMap<(VlanId, IpAddr), u16>,
    groups: BTreeMap<u16, Group>,
    timers: BTreeSet<(Nanos, u16, PortId)>,
    /// The groups of each port.
    of_port: BTreeSet<(PortId, VlanId, u16)>,
    /// By account.
    memberships: BTreeMap<(VlanId, PortId), u32>,
    /// Groups on each account: which, how many, and the same the other way round.
    of_account: BTreeSet<(PortId, VlanId, u16)>,
    owned: BTreeMap<(VlanId, PortId), u32>,
    ranking: BTreeSet<(VlanId, u32, PortId)>,
    by_vlan: BTreeMap<VlanId, BTreeSet<u16>>,
    /// Sources in all memberships, and in those on each account.
    sources: usize,
    named: BTreeMap<PortId, usize>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Who wants the group is as it was.
    Same,
    /// The same; but somebody at the port left it, and who else is there has to be asked.
    Asked,
    /// A port wants other sources of the group.
    Filtered(u16),
    /// The port has begun to want the group, which is new if `true`.
    Joined(u16, bool),
    /// It has stopped to; nobody wants the group any more if `true`.
    Left(u16, bool),
    /// There is no room.
    Refused,
}

impl Table {
    pub fn find(&self, vlan: VlanId, ip: IpAddr) -> Option<u16> {
        self.index.get(&(vlan, ip)).copied()
    }

    pub fn group(&self, number: u16) -> Option<&Group> {
        self.groups.get(&number)
    }

    pub fn group_mut(&mut self, number: u16) -> Option<&mut Group> {
        self.groups.get_mut(&number)
    }

    /// Groups from number `from` on.
    pub fn groups(&self, from: u16) -> impl Iterator<Item = (u16, &Group)> {
        self.groups.range(from..).map(|(&number, group)| (number, group))
    }

    pub fn in_vlan(&self, vlan: VlanId) -> u32 {
        self.by_vlan.get(&vlan).map_or(0, |groups| groups.len() as u32)
    }

    /// The groups of a VLAN.
    pub fn of_vlan(&self, vlan: VlanId) -> Vec<u16> {
        self.by_vlan.get(&vlan).map_or(vec![], |groups| groups.iter().copied().collect())
    }

    pub fn deadline(&self) -> Option<Nanos> {
        self.timers.first().map(|first| first.0)
    }

    /// What `port` says of a group, on this account. A group that is new gets the number that `number` gives.
    pub fn hear(
        &mut self,
        now: Nanos,
        (vlan, port, account): (VlanId, PortId, PortId),
        version: Version,
        record: &Record,
        times: Times,
        number: impl FnOnce() -> Option<u16>,
    ) -> Outcome {
        let known = self.find(vlan, record.group);
        let member = known.and_then(|known| Some((known, self.groups.get(&known)?.at(port)?)));
        if let Some((known, at)) = member {
            if record.wants() {
                self.charge(known, at, account);
            }
            return self.update(now, known, at, version, record, times);
        }
        if !record.wants() {
            return Outcome::Same;
        }
        match known.or_else(number) {
            None => Outcome::Refused,
            Some(number) => {
                self.join(number, (vlan, record.group), (port, account));
                if let Some(at) = self.groups.get(&number).and_then(|group| group.at(port)) {
                    self.update(now, number, at, version, record, times);
                }
                Outcome::Joined(number, known.is_none())
            }
        }
    }

    fn join(&mut self, number: u16, (vlan, ip): (VlanId, IpAddr), (port, account): (PortId, PortId)) {
        let new = !self.groups.contains_key(&number);
        let group = self.groups.entry(number).or_insert_with(|| Group {
            vlan,
            ip,
            members: vec![],
            owner: account,
            told: 0,
        });
        if let Err(at) = group.members.binary_search_by_key(&port, |member| member.port) {
            group.members.insert(at, Member::new(port, account));
        }
        self.of_port.insert((port, vlan, number));
        self.hold((vlan, account), 1);
        if new {
            self.index.insert((vlan, ip), number);
            self.by_vlan.entry(vlan).or_default().insert(number);
            self.own((vlan, account), number, true);
        }
    }

    fn update(
        &mut self,
        now: Nanos,
        number: u16,
        at: usize,
        version: Version,
        record: &Record,
        times: Times,
    ) -> Outcome {
        let Table { groups, sources: in_all, named, .. } = self;
        let Some(group) = groups.get_mut(&number) else { return Outcome::Same };
        let Some(member) = group.members.get_mut(at) else { return Outcome::Same };
        let (port, account, before) = (member.port, member.account, member.filter());
        let until = now + times.membership;
        let had = member.sources.len();
        if version == Version::First {
            member.first = until;
        }
        if version != Version::Sources && record.wants() {
            member.old = until;
        }
        // What an older host wants, it alone says, and it wants all.
        let sources: &[IpAddr] = match record.kind {
            Kind::IsExclude | Kind::ToExclude | Kind::Block if member.old > now => &[],
            _ => &record.sources,
        };
        let own = named.get(&account).copied().unwrap_or(0);
        let room =
            (SOURCES - had).min(PORT_SOURCES.saturating_sub(own)).min(SOURCES_IN_ALL.saturating_sub(*in_all));
        match record.kind {
            Kind::IsExclude | Kind::ToExclude => {
                let unnamed = if record.kind == Kind::IsExclude { until } else { member.exclude };
                member.exclude(sources, until, unnamed, room);
                member.questions = 0;
            }
            Kind::IsInclude | Kind::Allow | Kind::ToInclude => {
                member.include(sources, until, room);
                if record.kind != Kind::ToInclude && !record.sources.is_empty() {
                    member.questions = 0;
                }
            }
            Kind::Block if member.exclude > 0 => {
                for source in sources.iter().take(room) {
                    if !member.sources.iter().any(|known| known.0 == *source) {
                        member.sources.push((*source, member.exclude));
                    }
                }
            }
            Kind::Block => {}
        }
        // Sources that whoever speaks does not want, and somebody else may. Who says so again while others are
        // asked has them asked no more often.
        let last = if times.fast { now } else { now + times.last_member * Nanos::from(QUESTIONS) };
        let goes = |&(source, until): &(IpAddr, Nanos)| match record.kind {
            Kind::ToInclude => until > last && !sources.contains(&source),
            Kind::Block | Kind::ToExclude => until > last && sources.contains(&source),
            _ => false,
        };
        let to_include = record.kind == Kind::ToInclude && member.exclude > last;
        // 7.3.2: hosts of IGMPv1 never leave.
        let leaves = (to_include || member.sources.iter().any(goes)) && member.first <= now;
        let leaves = leaves && (times.fast || times.asks);
        if leaves {
            if to_include {
                member.exclude = last;
            }
            for source in member.sources.iter_mut().filter(|source| goes(source)) {
                source.1 = last;
            }
            if times.asks && !times.fast {
                member.questions = QUESTIONS;
                member.ask = now;
            }
        }
        member.age(now);
        let (over, changed, has) = (member.until() == 0, member.filter() != before, member.sources.len());
        self.count(account, had, has);
        if over {
            return self.leave(number, port);
        }
        self.schedule(number, at);
        match (changed, leaves) {
            (true, _) => Outcome::Filtered(number),
            (false, true) => Outcome::Asked,
            (false, false) => Outcome::Same,
        }
    }

    fn schedule(&mut self, number: u16, at: usize) {
        if let Some(member) = self.groups.get_mut(&number).and_then(|group| group.members.get_mut(at)) {
            self.timers.remove(&(member.timer, number, member.port));
            member.timer = member.next();
            self.timers.insert((member.timer, number, member.port));
        }
    }

    /// `port` does not want a group any more.
    pub fn leave(&mut self, number: u16, port: PortId) -> Outcome {
        let Some(group) = self.groups.get_mut(&number) else { return Outcome::Same };
        let Some(at) = group.at(port) else { return Outcome::Same };
        let member = group.members.remove(at);
        let (vlan, ip, owner, account) = (group.vlan, group.ip, group.owner, member.account);
        let heir = group.members.first().map(|member| member.account);
        if let Some(heir) = heir
            && owner == account
        {
            group.owner = heir;
        }
        self.count(account, member.sources.len(), 0);
        self.timers.remove(&(member.timer, number, port));
        self.of_port.remove(&(port, vlan, number));
        self.hold((vlan, account), -1);
        if owner == account {
            self.own((vlan, account), number, false);
            if let Some(heir) = heir {
                self.own((vlan, heir), number, true);
            }
        }
        if heir.is_none() {
            self.groups.remove(&number);
            self.index.remove(&(vlan, ip));
            if let Some(groups) = self.by_vlan.get_mut(&vlan) {
                groups.remove(&number);
                if groups.is_empty() {
                    self.by_vlan.remove(&vlan);
                }
            }
        }
        Outcome::Left(number, heir.is_none())
    }

    /// A router asks who wants a group: nobody holds longer than answers may take.
    pub fn questioned(&mut self, now: Nanos, number: u16, wait: Nanos) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        for member in &mut group.members {
            member.lower(now + wait * Nanos::from(QUESTIONS));
        }
        for at in 0..group.members.len() {
            self.schedule(number, at);
        }
    }

    /// A router asks for a group, or for all: the answers are news to it.
    pub fn asked(&mut self, vlan: VlanId, family: Family, group: Option<IpAddr>) {
        let one = group.map(|group| self.find(vlan, group));
        let Table { groups, by_vlan, .. } = self;
        let all = by_vlan.get(&vlan).filter(|_| one.is_none());
        for number in one.flatten().iter().chain(all.into_iter().flatten()) {
            if let Some(group) = groups.get_mut(number).filter(|group| Family::of(group.ip) == family) {
                group.told = 0;
            }
        }
    }

    /// The groups of a port: (VLAN, number).
    pub fn of_port(&self, port: PortId) -> Vec<(VlanId, u16)> {
        let all = self.of_port.range((port, 0, 0)..=(port, VlanId::MAX, u16::MAX));
        all.map(|&(_, vlan, number)| (vlan, number)).collect()
    }

    /// A timer that has come: a membership that is over, or a group to be asked about at a port.
    pub fn tick(&mut self, now: Nanos, wait: impl Fn(VlanId, IpAddr) -> Nanos) -> Vec<Due> {
        let mut due = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(&(at, number, port)) = self.timers.first() else { break };
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let Ok(place) = group.members.binary_search_by_key(&port, |member| member.port) else { continue };
            let member = &mut group.members[place];
            if member.questions > 0 && member.ask <= now {
                member.questions -= 1;
                member.ask = now + wait(group.vlan, group.ip);
                due.push(Due::Ask(group.vlan, group.ip, port));
            }
            let (account, had, before) = (member.account, member.sources.len(), member.filter());
            member.age(now);
            let (over, changed, has) = (member.until() == 0, member.filter() != before, member.sources.len());
            self.count(account, had, has);
            if over {
                if let Outcome::Left(number, last) = self.leave(number, port) {
                    due.push(Due::Over(number, port, last));
                }
            } else {
                self.schedule(number, place);
                if changed {
                    due.push(Due::Filtered(number));
                }
            }
        }
        due
    }
}

/// What a timer came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask at this port who wants the group.
    Ask(VlanId, IpAddr, PortId),
    /// This port does not want it any more; nobody does if `true`.
    Over(u16, PortId, bool),
    /// A port wants other sources of this group.
    Filtered(u16),
}
