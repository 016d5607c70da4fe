//! What guests behind a link want is on their own accounts.

use super::*;

/// Room for 8 groups, 4 of a guest; port 2 is a link, behind which these two are.
const LINK: PortId = 2;
const GREEDY: PortId = 70;
const OTHER: PortId = 80;

fn bench() -> Bench {
    Bench::new(setup(), 3).settled()
}

fn join(bench: &mut Bench, sender: PortId, group: [u8; 4]) {
    bench.sender = sender;
    bench.join(LINK, group);
    bench.now += MS;
}

fn is_wanted(bench: &mut Bench, group: [u8; 4]) -> bool {
    bench.data(0, group) == Ok(vec![LINK])
}

const fn group(n: u8) -> [u8; 4] {
    [239, 3, 0, n]
}

#[test]
fn each_guest_behind_a_link_has_its_own_groups() {
    let mut bench = bench();
    (0..9).for_each(|n| join(&mut bench, GREEDY, group(n)));
    assert_eq!(bench.members().len(), 4);
    assert_eq!(bench.switch.denied(), [], "its own switch tells of it");
    join(&mut bench, OTHER, group(100));
    assert!(is_wanted(&mut bench, group(100)));
    assert!(!is_wanted(&mut bench, group(8)));
}

#[test]
fn in_a_full_table_the_guest_with_most_groups_makes_room_wherever_it_is() {
    let mut bench = bench();
    (0..4).for_each(|n| join(&mut bench, GREEDY, group(n)));
    (4..7).for_each(|n| join(&mut bench, 71, group(n)));
    bench.join(1, group(7));
    assert_eq!(bench.members().len(), 8);
    join(&mut bench, OTHER, group(100));
    join(&mut bench, OTHER, group(101));
    assert!(is_wanted(&mut bench, group(100)) && is_wanted(&mut bench, group(101)));
    assert!(!is_wanted(&mut bench, group(0)), "of what ends first");
    assert_eq!(bench.data(0, group(7)), Ok(vec![1]));
}

#[test]
fn nobody_keeps_alive_what_another_pays_for() {
    let mut bench = bench();
    (0..4).for_each(|n| join(&mut bench, OTHER, group(n)));
    (10..14).for_each(|n| join(&mut bench, GREEDY, group(n)));
    // Who has no room for a group does not prolong it ...
    let half = bench.now + 150 * SECOND;
    bench.go(half);
    (0..4).for_each(|n| join(&mut bench, GREEDY, group(n)));
    (10..12).for_each(|n| join(&mut bench, GREEDY, group(n)));
    bench.go(half + 120 * SECOND);
    assert_eq!(bench.members().len(), 2);
    // ... and who has some pays.
    (10..12).for_each(|n| join(&mut bench, OTHER, group(n)));
    (20..22).for_each(|n| join(&mut bench, OTHER, group(n)));
    (10..12).for_each(|n| join(&mut bench, GREEDY, group(n)));
    (22..24).for_each(|n| join(&mut bench, OTHER, group(n)));
    assert!(is_wanted(&mut bench, group(23)));
}

#[test]
fn sources_are_counted_for_who_names_them() {
    let mut bench =
        Bench::new(Setup { bounds: Bounds { groups: 99, port_groups: 50 }, ..setup() }, 3).settled();
    let sources: Vec<[u8; 4]> = (1..=16).map(|n| [10, 0, 1, n]).collect();
    bench.sender = GREEDY;
    for n in 0..33 {
        bench.v3(LINK, &[(5, group(n), &sources)]).unwrap();
    }
    assert!(is_wanted(&mut bench, group(32)), "beyond 512 sources it gets all");
    bench.sender = OTHER;
    bench.v3(LINK, &[(5, group(100), &sources[..1])]).unwrap();
    assert_eq!(bench.data(0, group(100)), Err("no-listener"), "of another source");
    assert_eq!(bench.send(0, &ipv4(0, sources[0], group(100), 17, &[0; 8])), Ok(vec![LINK]));
}

#[test]
fn a_guest_that_is_gone_leaves_nothing_on_its_account() {
    let mut bench = bench();
    (0..4).for_each(|n| join(&mut bench, GREEDY, group(n)));
    bench.switch.close_account(GREEDY);
    assert!(is_wanted(&mut bench, group(0)), "somebody else there may want it");
    // Another guest has its number.
    (10..13).for_each(|n| join(&mut bench, GREEDY, group(n)));
    assert_eq!(bench.members().len(), 7);
    bench.switch.remove_port(LINK).unwrap();
    assert_eq!(bench.members(), []);
    bench.switch.add_port(LINK, PortConfig { places: true, ..PortConfig::access(1) }).unwrap();
    (0..9).for_each(|n| join(&mut bench, GREEDY, group(n)));
    assert_eq!(bench.members().len(), 4, "all was given back");
}
