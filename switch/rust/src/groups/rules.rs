//! What security groups allow, compiled: a match is two binary searches however many rules there are.
//!
//! Rules only ever allow, so their order says nothing and they can be taken apart: for each family
//! and protocol, the numbers (destination ports, ICMP type and code) fall into segments in which the
//! same rules hold, and what those rules say about the other end is added up.

use crate::VlanId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One thing that is allowed; see `switch/policy.py`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The upper-layer protocol; `None` any.
    pub protocol: Option<u8>,
    /// Destination ports, of ICMP `type << 8 | code`, of other protocols 0: first and last.
    pub numbers: (u16, u16),
    /// The other end: (address, prefix length, VLAN or any). `None`: anybody.
    pub remotes: Option<Vec<(IpAddr, u8, Option<VlanId>)>>,
}

/// The rules of a port's security groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    pub(super) ingress: Rules,
    pub(super) egress: Rules,
    /// Tell of what is denied.
    pub log: bool,
}

impl Groups {
    /// `ingress`: what may reach the guest; `egress`: what it may reach.
    #[must_use]
    pub fn new(ingress: &[Rule], egress: &[Rule], log: bool) -> Groups {
        Groups { ingress: Rules::new(ingress), egress: Rules::new(egress), log }
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Groups>() + self.ingress.memory() + self.egress.memory()
    }
}

/// What the rules of one direction ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) v6: bool,
    pub(super) proto: u8,
    pub(super) number: u16,
    /// The other end's address; of IPv4 the lower 32 bits.
    pub(super) remote: u128,
    pub(super) vlan: VlanId,
}

/// The rules of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    v4: Family,
    v6: Family,
    /// Every set of addresses that is needed, once.
    sets: Vec<Set>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    /// By protocol that a rule names; ascending.
    named: Vec<(u8, Segments)>,
    /// Of all others.
    rest: Segments,
}

/// What holds from a number on, up to that of the next segment. The first begins at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Segments(Vec<(u16, Who)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Anybody,
    /// Who is in this set.
    Of(u32),
}

/// Ranges of addresses: (VLAN or 0 for any, first, last), ascending, apart.
type Set = Vec<(VlanId, u128, u128)>;

impl Rules {
    fn new(rules: &[Rule]) -> Rules {
        let mut made = Rules::default();
        let mut known = BTreeMap::new();
        made.v4 = made.family(rules, false, &mut known);
        made.v6 = made.family(rules, true, &mut known);
        made
    }

    fn family(&mut self, rules: &[Rule], v6: bool, known: &mut BTreeMap<Set, u32>) -> Family {
        // Each rule with its remote addresses of this family, `None` for anybody.
        let mut all: Vec<(&Rule, Option<Set>)> = Vec::new();
        for rule in rules {
            let foreign =
                rule.protocol == Some(if v6 { crate::headers::ICMP } else { crate::headers::ICMP6 });
            let set = rule.remotes.as_ref().map(|remotes| set(remotes, v6));
            if !foreign && set.as_ref().is_none_or(|set| !set.is_empty()) {
                all.push((rule, set));
            }
        }
        let named: BTreeSet<u8> = all.iter().filter_map(|(rule, _)| rule.protocol).collect();
        let of = |protocol: Option<u8>| {
            all.iter().filter(move |(rule, _)| rule.protocol.is_none() || rule.protocol == protocol)
        };
        Family {
            named: named.iter().map(|&p| (p, self.segments(of(Some(p)).collect(), known))).collect(),
            rest: self.segments(of(None).collect(), known),
        }
    }

    fn segments(&mut self, rules: Vec<&(&Rule, Option<Set>)>, known: &mut BTreeMap<Set, u32>) -> Segments {
        let mut starts = BTreeSet::from([0]);
        for (rule, _) in &rules {
            starts.insert(rule.numbers.0);
            starts.extend(rule.numbers.1.checked_add(1));
        }
        let mut segments: Vec<(u16, Who)> = Vec::new();
        for start in starts {
            let mut who = Who::Nobody;
            let mut sum = Set::new();
            for (_, set) in
                rules.iter().filter(|(rule, _)| (rule.numbers.0..=rule.numbers.1).contains(&start))
            {
                match set {
                    None => who = Who::Anybody,
                    Some(set) => sum.extend_from_slice(set),
                }
            }
            if who == Who::Nobody && !sum.is_empty() {
                let sum = merged(sum);
                who = Who::Of(*known.entry(sum).or_insert_with_key(|sum| {
                    self.sets.push(sum.clone());
                    (self.sets.len() - 1) as u32
                }));
            }
            if segments.last().is_none_or(|(_, last)| *last != who) {
                segments.push((start, who));
            }
        }
        Segments(segments)
    }

    /// Whether a connection like this may begin.
    pub(super) fn allow(&self, ask: &Ask) -> bool {
        let family = if ask.v6 { &self.v6 } else { &self.v4 };
        let segments = match family.named.binary_search_by_key(&ask.proto, |(proto, _)| *proto) {
            Ok(at) => family.named.get(at).map_or(&family.rest, |(_, segments)| segments),
            Err(_) => &family.rest,
        };
        let at = segments.0.partition_point(|(start, _)| *start <= ask.number);
        match at.checked_sub(1).and_then(|at| segments.0.get(at)) {
            None | Some((_, Who::Nobody)) => false,
            Some((_, Who::Anybody)) => true,
            Some((_, Who::Of(set))) => self
                .sets
                .get(*set as usize)
                .is_some_and(|set| has(set, 0, ask.remote) || has(set, ask.vlan, ask.remote)),
        }
    }

    fn memory(&self) -> usize {
        let segments = |family: &Family| {
            let named: usize = family.named.iter().map(|(_, s)| s.0.capacity()).sum();
            (named + family.rest.0.capacity()) * size_of::<(u16, Who)>()
                + family.named.capacity() * size_of::<(u8, Segments)>()
        };
        let sets: usize =
            self.sets.iter().map(|set| set.capacity() * size_of::<(VlanId, u128, u128)>()).sum();
        segments(&self.v4) + segments(&self.v6) + sets + self.sets.capacity() * size_of::<Set>()
    }
}

/// The addresses of one family.
fn set(remotes: &[(IpAddr, u8, Option<VlanId>)], v6: bool) -> Set {
    let ranges = remotes.iter().filter(|(ip, _, _)| ip.is_ipv6() == v6).map(|(ip, prefix, vlan)| {
        let (first, bits) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(*ip)), 32_u32),
            IpAddr::V6(ip) => (u128::from(*ip), 128),
        };
        let host = 1_u128.checked_shl(bits.saturating_sub(u32::from(*prefix))).map_or(u128::MAX, |n| n - 1);
        (vlan.unwrap_or(0), first & !host, first | host)
    });
    merged(ranges.collect())
}

/// The same addresses, ascending, in ranges that don't touch.
fn merged(mut ranges: Set) -> Set {
    ranges.sort_unstable();
    let mut apart = Set::with_capacity(ranges.len());
    for (vlan, first, last) in ranges {
        match apart.last_mut() {
            Some((same, _, end)) if *same == vlan && first <= end.saturating_add(1) => *end = last.max(*end),
            _ => apart.push((vlan, first, last)),
        }
    }
    apart
}

fn has(set: &Set, vlan: VlanId, ip: u128) -> bool {
    let at = set.partition_point(|(v, first, _)| (*v, *first) <= (vlan, ip));
    at.checked_sub(1).and_then(|at| set.get(at)).is_some_and(|(v, _, last)| *v == vlan && ip <= *last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Remotes = Option<Vec<(IpAddr, u8, Option<VlanId>)>>;

    fn rule() -> impl Strategy<Value = Rule> {
        let protocol = prop_oneof![Just(None), Just(Some(6)), Just(Some(17)), Just(Some(1)), Just(Some(58))];
        let numbers = prop_oneof![
            Just((0, u16::MAX)),
            (0..6_u16, 0..6_u16).prop_map(|(a, b)| (a.min(b), a.max(b))),
            Just((65_530, 65_535))
        ];
        let remote = (
            0..8_u8,
            prop_oneof![Just(0_u8), Just(29), Just(30), Just(32)],
            prop::bool::ANY,
            prop_oneof![Just(None), Just(Some(1)), Just(Some(2))],
        );
        let remotes: BoxedStrategy<Remotes> = prop_oneof![
            Just(None),
            prop::collection::vec(remote, 0..5).prop_map(|list| Some(
                list.into_iter()
                    .map(|(n, prefix, v6, vlan)| if v6 {
                        (IpAddr::from([0, 0, 0, 0, 0, 0, 0, u16::from(n)]), prefix + 96, vlan)
                    } else {
                        (IpAddr::from([10, 0, 0, n]), prefix, vlan)
                    })
                    .collect()
            ))
        ]
        .boxed();
        (protocol, numbers, remotes).prop_map(|(protocol, numbers, remotes)| Rule {
            protocol,
            numbers,
            remotes,
        })
    }

    /// The same, one rule after the other.
    fn plainly(rules: &[Rule], ask: &Ask) -> bool {
        let among = |(ip, prefix, vlan): &(IpAddr, u8, Option<VlanId>)| {
            let (base, bits) = match ip {
                IpAddr::V4(ip) => (u128::from(u32::from(*ip)), 32),
                IpAddr::V6(ip) => (u128::from(*ip), 128),
            };
            let above = |n: u128| n.checked_shr(bits - u32::from(*prefix)).unwrap_or(0);
            ip.is_ipv6() == ask.v6
                && vlan.is_none_or(|vlan| vlan == ask.vlan)
                && above(base) == above(ask.remote)
        };
        rules.iter().any(|rule| {
            rule.protocol.is_none_or(|p| p == ask.proto && p != if ask.v6 { 1 } else { 58 })
                && rule.numbers.0 <= ask.number
                && ask.number <= rule.numbers.1
                && rule.remotes.as_ref().is_none_or(|remotes| remotes.iter().any(among))
        })
    }

    proptest! {
        #[test]
        fn compiled_rules_say_what_the_rules_say(
            rules in prop::collection::vec(rule(), 0..12),
            asks in prop::collection::vec(
                (prop::bool::ANY, prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), Just(47)],
                 prop_oneof![0..8_u16, Just(65_529), Just(65_530), Just(65_535)], 0..16_u8, 1..4_u16), 40),
        ) {
            let compiled = Rules::new(&rules);
            for (v6, proto, number, host, vlan) in asks {
                let remote = u128::from(host) + if v6 { 0 } else { 0x0a00_0000 };
                let ask = Ask { v6, proto, number, remote, vlan };
                prop_assert_eq!(compiled.allow(&ask), plainly(&rules, &ask), "{:?}", ask);
            }
        }
    }

    #[test]
    fn nothing_allows_nothing() {
        let ask = Ask { v6: false, proto: 6, number: 80, remote: 1, vlan: 1 };
        assert!(!Rules::default().allow(&ask));
        assert!(!Rules::new(&[]).allow(&ask));
    }
}
