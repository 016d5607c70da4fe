//! What hosts, routers and guests with bad intentions say, and where frames go then.
#![allow(clippy::unwrap_used)]

mod bench;
mod left;
mod links;
mod load;
mod sources;

use super::message::Message;
use super::*;
use crate::{Guard, PortMode, Private, VlanSet};
use bench::{Bench, V4, ipv4, ipv6, setup, to6};

const MS: Nanos = 1_000_000;

#[test]
fn who_asked_gets_it() {
    let mut bench = Bench::new(setup(), 4).settled();
    assert_eq!(bench.data(0, V4), Err("no-listener"));
    assert_eq!(bench.v3(1, &[(4, V4, &[])]), Ok(vec![3]), "a report goes to other switches alone");
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
    assert_eq!(bench.data(1, V4), Err("no-listener"), "but not back");
    assert_eq!(bench.data(0, [239, 129, 1, 1]), Err("no-listener"), "the same MAC address, another group");
    bench.igmp(2, V4, &[[0x16, 0, 0, 0], V4].concat()).unwrap();
    bench.igmp(3, V4, &[[0x12, 0, 0, 0], V4].concat()).unwrap();
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2, 3]));
    assert_eq!(bench.switch.counters(0).unwrap().drops.iter().map(|n| n.get()).sum::<u64>(), 2);
    // After the time of a report, and no answer to the questions meanwhile, nobody is left.
    bench.go(5 * SECOND + 260 * SECOND - 1);
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2, 3]));
    bench.go(5 * SECOND + 260 * SECOND);
    assert_eq!(bench.data(0, V4), Err("no-listener"));
    assert_eq!(bench.members(), []);
}

#[test]
fn ipv6_by_both_versions() {
    let mut bench = Bench::new(setup(), 4).settled();
    let group: Ipv6Addr = "ff05::77".parse().unwrap();
    let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    report.extend(group.octets());
    assert_eq!(bench.send(1, &ipv6(1, "fe80::9", "ff02::16", &report)), Ok(vec![3]));
    let old = |kind| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group.octets()].concat();
    bench.send(2, &ipv6(2, "fe80::9", "ff05::77", &old(131))).unwrap();
    assert_eq!(bench.send(0, &to6(0, "ff05::77")), Ok(vec![1, 2]));
    assert_eq!(bench.send(0, &to6(0, "ff05::78")), Err("no-listener"));
    // RFC 3810, 6.2: from a link-local address or none, with hop limit 1.
    for (src, hops) in [("fd00::9", 1), ("fe80::9", 64)] {
        let mut frame = ipv6(0, src, "ff05::77", &old(132));
        frame[21] = hops;
        bench.send(2, &frame).unwrap();
    }
    bench.go(20 * SECOND);
    assert_eq!(bench.send(0, &to6(0, "ff05::77")), Ok(vec![1, 2]));
    bench.send(2, &ipv6(2, "fe80::9", "ff02::2", &old(132))).unwrap();
    bench.go(23 * SECOND);
    assert_eq!(bench.send(0, &to6(0, "ff05::77")), Ok(vec![1]));
}

#[test]
fn some_groups_are_everybodys() {
    let mut bench = Bench::new(setup(), 3).settled();
    assert_eq!(bench.data(0, [224, 0, 0, 251]), Ok(vec![1, 2]));
    for group in ["ff02::1", "ff02::1:ff00:1", "ff01::1"] {
        assert_eq!(bench.send(0, &to6(0, group)), Ok(vec![1, 2]), "{group}");
    }
    let mut no_ip = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 0, 0x88, 0xb5];
    no_ip.resize(60, 0);
    assert_eq!(bench.send(0, &no_ip), Ok(vec![1, 2]));
    bench.join(1, [224, 0, 0, 251]);
    assert_eq!(bench.members(), [], "nobody has to ask for them");
    assert_eq!(
        bench.send(0, &[&[0xff; 6], &[2, 0, 0, 0, 0, 0][..], &[8, 6], &[0; 46]].concat()),
        Ok(vec![1, 2])
    );
    // Another VLAN is not watched.
    bench.switch.set_port(0, PortConfig::access(2)).unwrap();
    bench.switch.set_port(1, PortConfig::access(2)).unwrap();
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
}

#[test]
fn who_leaves_is_asked_for_others() {
    let mut bench = Bench::new(setup(), 4).settled();
    bench.join(1, V4);
    bench.join(2, V4);
    bench.leave(1, V4);
    let asked = bench.go(6 * SECOND + SECOND / 2);
    assert_eq!(asked.iter().map(|query| (query.vlan, query.port)).collect::<Vec<_>>(), [(1, Some(1)); 2]);
    assert_eq!(asked[0].frame()[30..34], V4, "to the group itself");
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2]));
    bench.go(7 * SECOND);
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
    // Somebody else there still wants it.
    bench.leave(2, V4);
    bench.go(7 * SECOND + SECOND / 2);
    bench.v3(2, &[(2, V4, &[])]).unwrap();
    assert_eq!(bench.go(20 * SECOND), []);
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
}

#[test]
fn who_leaves_fast_is_gone() {
    let mut bench = Bench::new(Setup { fast_leave: true, ..setup() }, 4).settled();
    bench.join(1, V4);
    bench.join(3, V4);
    bench.igmp(1, [224, 0, 0, 2], &[[0x17, 0, 0, 0], V4].concat()).unwrap();
    assert_eq!(bench.data(0, V4), Ok(vec![3]));
    bench.leave(3, V4);
    assert_eq!(bench.data(0, V4), Ok(vec![3]), "behind a link there may be many");
    bench.go(8 * SECOND);
    assert_eq!(bench.data(0, V4), Err("no-listener"));
}

#[test]
fn an_igmpv1_host_never_leaves() {
    let mut bench = Bench::new(setup(), 3).settled();
    bench.igmp(1, V4, &[[0x12, 0, 0, 0], V4].concat()).unwrap();
    bench.leave(1, V4);
    assert_eq!(bench.go(10 * SECOND), []);
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
}

#[test]
fn the_lowest_address_asks() {
    let mut bench = Bench::new(setup(), 4);
    let began = bench.go(5 * SECOND);
    // At once, and again, of both protocols.
    assert_eq!(began.len(), 2, "those at 0 were taken before");
    let asked = bench.go(127 * SECOND);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].frame()[26..30], [10, 0, 0, 5]);
    bench.query(1, [10, 0, 0, 6], [0; 4], 10);
    assert!(bench.side(Family::V4).ours, "a higher one gives way itself");
    assert_eq!(bench.side(Family::V4).routers.len(), 1, "but a router is there");
    bench.query(1, [0; 4], [0; 4], 10);
    assert!(bench.side(Family::V4).ours);
    bench.query(2, [10, 0, 0, 4], [0; 4], 10);
    let side = bench.side(Family::V4);
    assert_eq!((side.ours, side.querier, side.querier_port), (false, Some([10, 0, 0, 4].into()), Some(2)));
    assert!(bench.side(Family::V6).ours);
    let asked = bench.go(127 * SECOND + 254 * SECOND);
    assert!(asked.iter().all(|query| query.frame()[12] == 0x86), "only MLD");
    // It is heard no more: after 2 intervals and 5 s it is ours again.
    let asked = bench.go(127 * SECOND + 256 * SECOND);
    assert_eq!(asked.iter().filter(|query| query.frame()[12] == 8).count(), 2);
    assert!(bench.side(Family::V4).ours);
    assert_eq!(bench.side(Family::V4).routers, []);
}

#[test]
fn without_an_address_everybody_is_better() {
    let mut bench = Bench::new(Setup { ip4: Ipv4Addr::UNSPECIFIED, ..setup() }, 4).settled();
    bench.query(1, [255, 0, 0, 1], [0; 4], 10);
    assert!(!bench.side(Family::V4).ours);
    // Of two without, the lower MAC address is: theirs ends in 3, ours in 1 0.
    let mut bench = Bench::new(Setup { ip4: Ipv4Addr::UNSPECIFIED, ..setup() }, 4).settled();
    bench.query(3, [0; 4], [0; 4], 10);
    let side = bench.side(Family::V4);
    assert_eq!((side.ours, side.routers.len()), (false, 0));
}

#[test]
fn where_nobody_asks_all_is_flooded() {
    let mut bench = Bench::new(Setup { querier: false, ..setup() }, 4).settled();
    bench.join(1, V4);
    assert_eq!(bench.side(Family::V4).querier, None);
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2, 3]));
    bench.query(2, [10, 0, 0, 9], [0; 4], 10);
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2]), "who wants it, and the router");
    assert_eq!(bench.data(0, [239, 1, 1, 2]), Ok(vec![2]));
    assert_eq!(bench.v3(0, &[(4, V4, &[])]), Ok(vec![2, 3]));
    // The questions are the querier's: after them nobody holds longer than the answers may take.
    bench.leave(1, V4);
    assert_eq!(bench.go(100 * SECOND), []);
    bench.query(2, [10, 0, 0, 9], V4, 1);
    bench.v3(0, &[(2, V4, &[])]).unwrap();
    bench.go(102 * SECOND);
    assert_eq!(bench.data(2, V4), Ok(vec![0]));
    bench.go(400 * SECOND);
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2, 3]), "the querier is gone");
}

#[test]
fn only_who_may_is_believed_to_be_a_router() {
    let mut bench = Bench::new(setup(), 4).settled();
    let mut guard = Guard::new([2, 0, 0, 0, 0, 1]);
    guard.unknown = VlanSet::from_iter([1]);
    let pim = ipv4(1, [10, 0, 0, 9], [224, 0, 0, 13], 103, &[0x20, 0, 0, 0]);
    let guarded =
        |guard: &Guard| PortConfig { guard: Some(Box::new(guard.clone())), ..PortConfig::access(1) };
    bench.switch.set_port(1, guarded(&guard)).unwrap();
    assert_eq!(bench.send(1, &pim), Err("guard-querier"), "nor do others hear of it");
    assert_eq!(bench.side(Family::V4).routers, []);
    guard.roles.querier = true;
    bench.switch.set_port(1, guarded(&guard)).unwrap();
    bench.send(1, &pim).unwrap();
    assert_eq!(bench.side(Family::V4).routers.iter().map(|router| router.0).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
    bench.switch.remove_port(1).unwrap();
    assert_eq!(bench.data(0, V4), Err("no-listener"));
}

#[test]
fn a_link_carries_everything_until_hosts_have_answered() {
    let mut bench = Bench::new(setup(), 3);
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
    let mut bench = bench.settled();
    assert_eq!(bench.data(0, V4), Err("no-listener"));
    bench.join(2, V4);
    bench.switch.set_state(2, crate::stp::PortState::Discarding, true).unwrap();
    assert_eq!(bench.members(), []);
    assert_eq!(bench.data(0, V4), Err("no-listener"));
    bench.switch.set_state(2, crate::stp::PortState::Forwarding, true).unwrap();
    assert_eq!(bench.go(5 * SECOND).len(), 2, "both protocols at once");
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
    assert_eq!(bench.v3(2, &[(2, V4, &[])]), Ok(vec![]), "not back");
    assert_eq!(bench.go(9 * SECOND).len(), 2, "and again");
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
}

#[test]
fn nobody_uses_up_what_others_need() {
    let mut bench =
        Bench::new(Setup { bounds: Bounds { groups: 8, port_groups: 6 }, ..setup() }, 5).settled();
    let group = |n: u8| [239, 2, 0, n];
    for n in 0..8 {
        bench.join(0, group(n));
        bench.now += MS;
    }
    assert_eq!(bench.members().len(), 6, "its own limit");
    let lines = bench.switch.denied();
    assert_eq!(lines.len(), 1, "told once");
    assert!(lines[0].1.contains("more than 6 multicast groups"), "{lines:?}");
    for n in 100..103 {
        bench.join(1, group(n));
        bench.now += MS;
    }
    let of = |bench: &Bench, port| bench.members().iter().filter(|member| member.1 == port).count();
    assert_eq!((of(&bench, 0), of(&bench, 1)), (5, 3), "whoever has most makes room");
    assert!(!bench.members().contains(&("239.2.0.0".into(), 0)), "of what ends first");
    for n in 100..110 {
        bench.join(1, group(n));
        bench.now += MS;
    }
    assert_eq!((of(&bench, 0), of(&bench, 1)), (4, 4));
    assert!(bench.switch.denied()[0].1.contains("no room"));
    bench.join(2, group(200));
    assert_eq!((of(&bench, 0), of(&bench, 1), of(&bench, 2)), (4, 3, 1));
    // What others want too does not go, whoever has most.
    for member in bench.members() {
        if member.1 == 0 {
            bench.join(3, member.0.parse::<Ipv4Addr>().unwrap().octets());
        }
    }
    bench.join(4, group(250));
    assert_eq!((of(&bench, 0), of(&bench, 3), of(&bench, 4)), (4, 4, 0));
    // All of it is given back.
    for port in 0..5 {
        bench.switch.remove_port(port).unwrap();
    }
    assert_eq!(bench.members(), []);
    let snooper = bench.switch.multicast.as_ref().unwrap();
    assert_eq!(snooper.lists.len() - snooper.free.len(), 5, "number 0, and four of the VLAN");
    assert!(bench.switch.set_multicast(1, None) && !bench.switch.listens());
}

#[test]
fn a_guest_reports_no_faster_than_it_may() {
    let mut bench = Bench::new(setup(), 3).settled();
    let sent = |bench: &mut Bench, port| (0..500).filter(|_| bench.v3(port, &[(2, V4, &[])]).is_ok()).count();
    assert!((400..=401).contains(&sent(&mut bench, 0)));
    assert_eq!(bench.v3(0, &[]), Err("multicast-reports"));
    bench.go(bench.now + SECOND);
    assert!((100..=101).contains(&sent(&mut bench, 0)));
    assert_eq!(sent(&mut bench, 2), 500, "a link carries those of many");
}

#[test]
fn old_reports_are_told_once_in_ten_seconds() {
    let mut bench = Bench::new(Setup { suppress: true, ..setup() }, 4).settled();
    let old = [[0x16, 0, 0, 0], V4].concat();
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3]));
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![]));
    assert_eq!(bench.igmp(1, V4, &old), Ok(vec![3]), "somebody new is news");
    assert_eq!(bench.igmp(1, V4, &old), Ok(vec![]));
    assert_eq!(bench.v3(1, &[(2, V4, &[])]), Ok(vec![3]));
    bench.go(bench.now + 10 * SECOND);
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3]));
    assert_eq!(bench.igmp(0, [224, 0, 0, 2], &[[0x17, 0, 0, 0], V4].concat()), Ok(vec![3]));
}

#[test]
fn nobody_keeps_the_answers_of_others_from_routers() {
    let mut bench = Bench::new(Setup { suppress: true, ..setup() }, 5).settled();
    let old = [[0x16, 0, 0, 0], V4].concat();
    bench.query(3, [10, 0, 0, 1], [0; 4], 10);
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3, 4]));
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![]));
    // Who never was a member leaves; wants nothing; wants something of it alone.
    let leave = [[0x17, 0, 0, 0], V4].concat();
    bench.igmp(1, [224, 0, 0, 2], &leave).unwrap();
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3, 4]));
    for (kind, sources) in [(1, &[][..]), (6, &[[10, 0, 0, 9]]), (1, &[[10, 0, 0, 9]]), (2, &[[10, 0, 0, 9]])]
    {
        bench.v3(1, &[(kind, V4, sources)]).unwrap();
        assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3, 4]), "{kind}");
        assert_eq!(bench.igmp(0, V4, &old), Ok(vec![]), "{kind}");
    }
    // The router asks, for the group or for all.
    for group in [V4, [0; 4]] {
        bench.query(3, [10, 0, 0, 1], group, 10);
        assert_eq!(bench.igmp(0, V4, &old), Ok(vec![3, 4]));
        assert_eq!(bench.igmp(0, V4, &old), Ok(vec![]));
    }
    // For another it is no news.
    bench.query(3, [10, 0, 0, 1], [239, 9, 9, 9], 10);
    assert_eq!(bench.igmp(0, V4, &old), Ok(vec![]));
}

#[test]
fn nonsense_is_not_listened_to() {
    let mut bench = Bench::new(setup(), 3).settled();
    let whole =
        ipv4(0, [10, 0, 0, 9], [224, 0, 0, 22], 2, &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1]);
    for byte in 14..whole.len() {
        let mut bad = whole.clone();
        bad[byte] ^= 0x40;
        let _ = bench.send(0, &bad);
    }
    for len in 14..whole.len() {
        let _ = bench.send(0, &whole[..len]);
    }
    assert_eq!(bench.members(), [], "wrong checksums, cut off");
    let group = bench.v3(0, &[(4, [10, 1, 1, 1], &[]), (9, V4, &[]), (4, V4, &[[0; 4]; 3])]);
    assert_eq!((group, bench.members()), (Ok(vec![2]), vec![("239.1.1.1".into(), 0)]));
}

#[test]
fn a_private_network_stays_so() {
    let mut bench = Bench::new(setup(), 4).settled();
    let private = Some(Box::new(Private { vlans: VlanSet::from_iter([1]), community: 0 }));
    for port in [0, 1] {
        bench
            .switch
            .set_port(port, PortConfig { private: private.clone(), ..PortConfig::access(1) })
            .unwrap();
    }
    bench.join(1, V4);
    assert_eq!(bench.data(0, V4), Err("private"));
    assert_eq!(bench.data(2, V4), Ok(vec![1]));
    bench.join(2, V4);
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
}

#[test]
fn on_a_trunk_each_vlan_is_its_own() {
    let mut bench = Bench::new(setup(), 3).settled();
    let tagged = Box::new(VlanSet::from_iter([1, 2]));
    let trunk = PortConfig { mode: PortMode::Trunk { tagged, native: None }, ..PortConfig::access(1) };
    bench.switch.set_port(0, trunk).unwrap();
    let mut report =
        ipv4(0, [10, 0, 0, 9], [224, 0, 0, 22], 2, &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1]);
    report.splice(12..12, [0x81, 0, 0, 1]);
    bench.send(0, &report).unwrap();
    assert_eq!(bench.data(1, V4), Ok(vec![0]));
    assert!(bench.switch.set_multicast(2, Some(setup())));
    report[15] = 2;
    bench.send(0, &report).unwrap();
    assert_eq!(bench.members().len(), 2);
    let access = PortConfig::access(2);
    bench.switch.set_port(0, access).unwrap();
    assert_eq!(bench.data(1, V4), Err("no-listener"), "out of VLAN 1, and so out of its groups");
    assert_eq!(bench.members().len(), 1);
    assert_eq!(bench.switch.multicast_sides().len(), 4);
}

#[test]
fn queries_are_well_formed() {
    let mut bench = Bench::new(setup(), 2);
    bench.switch.add_port(9, PortConfig::access(1)).unwrap();
    let asked = bench.go(SECOND);
    for query in &asked {
        // Whoever listens to them understands them.
        let parsed = message::parse(query.frame(), 0);
        let Some(Message::Query(query)) = parsed else { panic!("{parsed:?}") };
        assert_eq!((query.group, query.response, query.interval), (None, SECOND, Some(125 * SECOND)));
    }
    assert_eq!(asked.len(), 2);
    bench.join(0, V4);
    bench.leave(0, V4);
    let asked = bench.go(SECOND);
    let Some(Message::Query(query)) = message::parse(asked.last().unwrap().frame(), 0) else { panic!() };
    assert_eq!((query.group, query.source), (Some(V4.into()), [10, 0, 0, 5].into()));
    assert!(matches!(message::look(asked[0].frame(), 0), Look::Router));
}

#[test]
fn a_changed_tree_makes_links_carry_everything() {
    let mut bench = Bench::new(setup(), 3).settled();
    assert_eq!(bench.data(0, V4), Err("no-listener"));
    bench.switch.topology_changed();
    assert_eq!(bench.go(5 * SECOND).len(), 2);
    assert_eq!(bench.data(0, V4), Ok(vec![2]));
}
