//! Who wants which sources of a group (RFC 3376, RFC 3810).

use super::*;

#[test]
fn sources_end_with_the_last_one() {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut bench = Bench::new(setup(), 3).settled();
    bench.v3(1, &[(5, V4, &[a, b])]).unwrap();
    assert_eq!(bench.from(0, 1, V4), Ok(vec![1]));
    assert_eq!(bench.data(0, V4), Err("no-listener"), "of another source");
    let mut page = vec![];
    bench.switch.multicast_page(0, 10, &mut page);
    assert_eq!(page[0].sources, [IpAddr::from(a), IpAddr::from(b)]);
    bench.v3(1, &[(6, V4, &[a])]).unwrap();
    bench.go(10 * SECOND);
    assert_eq!(bench.from(0, 1, V4), Err("no-listener"));
    assert_eq!(bench.from(0, 2, V4), Ok(vec![1]));
    bench.v3(1, &[(6, V4, &[b])]).unwrap();
    bench.go(20 * SECOND);
    assert_eq!(bench.from(0, 2, V4), Err("no-listener"));
    assert_eq!(bench.members(), []);
    // More sources than are kept are all.
    let many: Vec<[u8; 4]> = (0..20).map(|n| [10, 0, 1, n]).collect();
    bench.v3(1, &[(5, V4, &many)]).unwrap();
    page.clear();
    bench.switch.multicast_page(0, 10, &mut page);
    assert_eq!(page[0].sources, [] as [IpAddr; 0]);
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
    // To include nothing is to leave; to block what one does not have, nothing.
    bench.v3(1, &[(6, V4, &[a])]).unwrap();
    bench.go(30 * SECOND);
    assert_eq!(bench.data(0, V4), Ok(vec![1]));
    bench.leave(1, V4);
    bench.go(40 * SECOND);
    assert_eq!(bench.members(), []);
}

#[test]
fn who_excludes_a_source_gets_the_others() {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut bench = Bench::new(setup(), 5).settled();
    bench.v3(1, &[(4, V4, &[a])]).unwrap();
    bench.v3(2, &[(3, V4, &[a])]).unwrap();
    bench.join(3, V4);
    assert_eq!(bench.from(0, 1, V4), Ok(vec![2, 3]));
    assert_eq!(bench.from(0, 2, V4), Ok(vec![1, 3]));
    // Over a link come the wishes of several hosts: what one of them includes, another may exclude.
    bench.v3(4, &[(4, V4, &[a])]).unwrap();
    bench.v3(4, &[(5, V4, &[a])]).unwrap();
    assert_eq!(bench.from(0, 1, V4), Ok(vec![2, 3, 4]));
    bench.v3(4, &[(6, V4, &[a, b])]).unwrap();
    bench.v3(4, &[(2, V4, &[b])]).unwrap();
    bench.go(bench.now + 10 * SECOND);
    assert_eq!(bench.from(0, 2, V4), Ok(vec![1, 3]));
    // A host of an old version wants all.
    bench.igmp(1, V4, &[[0x16, 0, 0, 0], V4].concat()).unwrap();
    assert_eq!(bench.from(0, 1, V4), Ok(vec![1, 2, 3, 4]));
    bench.v3(1, &[(6, V4, &[b])]).unwrap();
    bench.go(bench.now + 10 * SECOND);
    assert_eq!(bench.from(0, 2, V4), Ok(vec![1, 3]));
    // In IPv6 it is the same.
    let (group, source): (Ipv6Addr, Ipv6Addr) = ("ff35::77".parse().unwrap(), "fe80::9".parse().unwrap());
    let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 1];
    report.extend([group.octets(), source.octets()].concat());
    bench.send(1, &ipv6(1, "fe80::9", "ff02::16", &report)).unwrap();
    bench
        .send(
            2,
            &ipv6(
                2,
                "fe80::8",
                "ff02::16",
                &[&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0], &group.octets()[..]].concat(),
            ),
        )
        .unwrap();
    let mut other = to6(0, "ff35::77");
    let reached = bench.send(0, &other).unwrap();
    other[22..38].copy_from_slice(&source.octets());
    assert_eq!((reached, bench.send(0, &other)), (vec![2], Ok(vec![1, 2])));
}

#[test]
fn a_router_gets_every_source() {
    let mut bench = Bench::new(setup(), 4).settled();
    bench.query(2, [10, 0, 0, 1], [0; 4], 10);
    bench.v3(1, &[(3, V4, &[[10, 0, 0, 1]])]).unwrap();
    bench.v3(2, &[(4, V4, &[[10, 0, 0, 2]])]).unwrap();
    assert_eq!((bench.from(0, 1, V4), bench.from(0, 2, V4)), (Ok(vec![1, 2]), Ok(vec![2])));
}

#[test]
fn sources_are_bounded_and_nobody_loses_what_he_asked_for() {
    let bounds = Bounds { groups: 8192, port_groups: 512 };
    let mut bench = Bench::new(Setup { bounds, ..setup() }, 200).settled();
    let group = |n: u16| [239, 2, (n >> 8) as u8, n as u8];
    let lists = |bench: &Bench| bench.switch.multicast.as_ref().unwrap().sources.len();
    // More sources of one group than are told apart.
    for port in 1..=5 {
        let own: Vec<[u8; 4]> = (0..15).map(|n| [10, 0, port as u8, n]).collect();
        bench.v3(port, &[(3, V4, &own)]).unwrap();
        assert_eq!(lists(&bench), if port < 5 { usize::from(port) * 15 } else { 0 });
    }
    assert_eq!(bench.data(0, V4), Ok(vec![1, 2, 3, 4, 5]));
    bench.leave(5, V4);
    bench.go(bench.now + 10 * SECOND);
    assert_eq!((bench.data(0, V4), lists(&bench)), (Err("no-listener"), 60));
    // More of one port, and of all.
    for port in 6..30 {
        for n in 0..40 {
            let own: Vec<[u8; 4]> = (0..16).map(|s| [10, 0, 0, 100 + s]).collect();
            bench.v3(port, &[(3, group(port * 40 + n), &own)]).unwrap();
            bench.now += 20_000_000;
            assert_eq!(bench.from(0, 115, group(port * 40 + n)), Ok(vec![port]));
            let others = bench.data(0, group(port * 40 + n)).is_ok();
            assert_eq!(others, n >= 32 || port > 20 && others, "{port} {n}");
        }
        assert_eq!(lists(&bench), (60 + 512 * usize::from(port - 5)).min(8192 - 4));
    }
    // And when all is over, nothing is left.
    bench.go(bench.now + 300 * SECOND);
    let left = bench.switch.multicast.as_ref().unwrap();
    assert_eq!((left.sources.len(), bench.members()), (0, vec![]));
    assert_eq!(left.free.len() + 5, left.lists.len());
}
