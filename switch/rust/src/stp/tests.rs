//! Bridges joined by cables, in simulated time.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;

/// (bridge, port)
type End = (usize, PortId);

struct Cable {
    ends: [End; 2],
    up: bool,
}

struct Net {
    bridges: Vec<Bridge>,
    cables: Vec<Cable>,
    now: Nanos,
    sent: usize,
    flushed: usize,
}

fn mac(n: usize) -> [u8; 6] {
    [2, 0, 0, 0, (n >> 8) as u8, n as u8]
}

impl Net {
    fn new(version: Version, count: usize) -> Net {
        let bridges = (1..=count).map(|n| Bridge::new(BridgeSetup::new(version, mac(n)))).collect();
        Net { bridges, cables: vec![], now: 0, sent: 0, flushed: 0 }
    }

    fn join(&mut self, a: usize, b: usize) -> usize {
        self.join_at(a, b, PortSetup::default())
    }

    fn join_at(&mut self, a: usize, b: usize, setup: PortSetup) -> usize {
        let number = self.cables.len();
        let ends = [(a, number as PortId * 2), (b, number as PortId * 2 + 1)];
        for (bridge, port) in ends {
            self.bridges[bridge].set_port(port, setup, true, self.now);
        }
        self.cables.push(Cable { ends, up: true });
        number
    }

    fn set(&mut self, cable: usize, up: bool) {
        self.cables[cable].up = up;
        for (bridge, port) in self.cables[cable].ends {
            self.bridges[bridge].set_enabled(port, up, self.now);
        }
    }

    /// Deliver BPDUs until none is on its way.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let mut quiet = true;
            for from in 0..self.bridges.len() {
                while let Some(output) = self.bridges[from].poll() {
                    quiet = false;
                    match output {
                        Output::Send(port, bpdu) => {
                            self.sent += 1;
                            let frame = bpdu.frame(mac(from));
                            let cable = self.cables.iter().find(|c| c.ends.contains(&(from, port)));
                            if let Some(cable) = cable
                                && cable.up
                            {
                                let (to, at) = cable.ends[usize::from(cable.ends[0] == (from, port))];
                                assert!(self.bridges[to].input(at, &frame, self.now));
                            }
                        }
                        Output::Flush(_) => self.flushed += 1,
                        _ => {}
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("BPDUs never cease");
    }

    fn run(&mut self, seconds: u64) {
        self.settle();
        let end = self.now + seconds * SECOND;
        while let Some(next) = self.bridges.iter().filter_map(Bridge::deadline).min()
            && next <= end
        {
            self.now = next;
            for bridge in &mut self.bridges {
                bridge.tick(next);
            }
            self.settle();
        }
        self.now = end;
    }

    fn state(&self, (bridge, port): End) -> PortState {
        self.bridges[bridge].ports().find(|(id, _)| *id == port).unwrap().1.state
    }

    fn role(&self, (bridge, port): End) -> Role {
        self.bridges[bridge].ports().find(|(id, _)| *id == port).unwrap().1.role
    }

    /// Cables that carry frames both ways.
    fn active(&self) -> Vec<usize> {
        (0..self.cables.len())
            .filter(|&c| {
                self.cables[c].up
                    && self.cables[c].ends.iter().all(|end| self.state(*end) == PortState::Forwarding)
            })
            .collect()
    }

    /// Whether what carries frames is a tree that joins all bridges that are joined at all.
    fn tree(&self) -> Result<(), String> {
        let mut group: Vec<usize> = (0..self.bridges.len()).collect();
        fn find(group: &[usize], mut at: usize) -> usize {
            while group[at] != at {
                at = group[at];
            }
            at
        }
        for cable in self.active() {
            let [a, b] = self.cables[cable].ends.map(|(bridge, _)| find(&group, bridge));
            if a == b {
                return Err(format!("cable {cable} closes a loop"));
            }
            group[a] = b;
        }
        for (number, cable) in self.cables.iter().enumerate() {
            let [a, b] = cable.ends.map(|(bridge, _)| find(&group, bridge));
            if cable.up && a != b {
                return Err(format!("cable {number} should join {:?}", cable.ends));
            }
        }
        Ok(())
    }

    fn roots(&self) -> BTreeSet<BridgeId> {
        self.bridges.iter().map(|bridge| bridge.view().root).collect()
    }
}

/// No loop at any second while it runs.
fn run_without_loops(net: &mut Net, seconds: u64) {
    for _ in 0..seconds {
        net.run(1);
        if let Err(what) = net.tree() {
            assert!(!what.contains("loop"), "{what}");
        }
    }
}

/// The same, but that loops may be there until `until`.
fn run_with_loops_until(net: &mut Net, seconds: u64, until: Nanos) {
    for _ in 0..seconds {
        net.run(1);
        if let Err(what) = net.tree() {
            assert!(!what.contains("loop") || net.now <= until, "{what}");
        }
    }
}

#[test]
fn a_ring_is_cut_at_one_place() {
    for count in 2..10 {
        let mut net = Net::new(Version::Rstp, count);
        for n in 0..count {
            net.join(n, (n + 1) % count);
        }
        // As many BPDUs as are needed then may take two seconds (17.13.12).
        run_without_loops(&mut net, 2);
        assert_eq!(net.tree(), Ok(()), "{count} bridges");
        assert_eq!(net.roots(), BTreeSet::from([net.bridges[0].id()]));
        assert_eq!(net.active().len(), count - 1);
        run_without_loops(&mut net, 60);
        assert_eq!(net.tree(), Ok(()));
    }
}

#[test]
fn a_ring_of_eight_heals_in_no_time() {
    let mut net = Net::new(Version::Rstp, 8);
    let cables: Vec<_> = (0..8).map(|n| net.join(n, (n + 1) % 8)).collect();
    net.run(30);
    for cable in cables {
        let flushed = net.flushed;
        net.set(cable, false);
        net.settle();
        assert_eq!(net.tree(), Ok(()), "without cable {cable}, at the same moment");
        assert!(!net.active().contains(&cable));
        run_without_loops(&mut net, 10);
        assert!(cable == 4 || net.flushed > flushed, "addresses are forgotten");
        net.set(cable, true);
        net.settle();
        net.run(10);
        assert_eq!(net.tree(), Ok(()), "with cable {cable} again");
    }
}

#[test]
fn the_older_protocol_takes_its_time() {
    let mut net = Net::new(Version::Stp, 3);
    let cables = [net.join(0, 1), net.join(1, 2), net.join(2, 0)];
    run_without_loops(&mut net, 29);
    assert!(net.active().is_empty());
    run_without_loops(&mut net, 7);
    assert_eq!(net.tree(), Ok(()));
    assert_eq!(net.role((2, 3)), Role::Alternate);
    net.set(cables[2], false);
    run_without_loops(&mut net, 29);
    assert!(net.tree().is_err());
    run_without_loops(&mut net, 22);
    assert_eq!(net.tree(), Ok(()));
}

#[test]
fn old_and_new_bridges_agree_on_a_tree() {
    for old in 0..4 {
        let mut net = Net::new(Version::Rstp, 4);
        net.bridges[old] = Bridge::new(BridgeSetup::new(Version::Stp, mac(old + 1)));
        for n in 0..4 {
            net.join(n, (n + 1) % 4);
        }
        net.join(0, 2);
        run_without_loops(&mut net, 60);
        assert_eq!(net.tree(), Ok(()), "bridge {old} is an old one");
        net.set(0, false);
        run_without_loops(&mut net, 60);
        assert_eq!(net.tree(), Ok(()), "bridge {old} is an old one");
    }
}

#[test]
fn the_lowest_priority_becomes_the_root_and_costs_decide() {
    let mut net = Net::new(Version::Rstp, 4);
    net.bridges[3] = Bridge::new(BridgeSetup { priority: 4096, ..BridgeSetup::new(Version::Rstp, mac(4)) });
    // 3 to 0 is dear, so 0 goes round by 1.
    net.join_at(3, 0, PortSetup { cost: 200_000, ..PortSetup::default() });
    net.join(3, 1);
    net.join(1, 0);
    net.join(0, 2);
    net.run(5);
    assert_eq!(net.roots(), BTreeSet::from([net.bridges[3].id()]));
    assert_eq!(net.tree(), Ok(()));
    assert_eq!(net.active(), [1, 2, 3]);
    assert_eq!(net.bridges[2].view().cost, 6000);
}

#[test]
fn of_two_cables_the_one_at_the_lower_port_carries() {
    let mut net = Net::new(Version::Rstp, 2);
    net.join(0, 1);
    net.join(0, 1);
    net.run(3);
    assert_eq!(net.active(), [0]);
    assert_eq!(net.role((1, 3)), Role::Alternate);
    net.set(0, false);
    net.settle();
    assert_eq!(net.active(), [1]);
}

#[test]
fn a_cable_from_a_bridge_to_itself_is_a_backup() {
    let mut net = Net::new(Version::Rstp, 1);
    net.join(0, 0);
    run_without_loops(&mut net, 40);
    let roles = [net.role((0, 0)), net.role((0, 1))];
    assert!(roles.contains(&Role::Designated) && roles.contains(&Role::Backup), "{roles:?}");
    assert!(net.active().is_empty());
}

#[test]
fn a_port_with_stations_only_finds_out_and_an_edge_port_need_not() {
    let mut bridge = Bridge::new(BridgeSetup::new(Version::Rstp, mac(1)));
    bridge.set_port(1, PortSetup::default(), true, 0);
    bridge.set_port(2, PortSetup { edge: true, ..PortSetup::default() }, true, 0);
    let states = |bridge: &Bridge| bridge.ports().map(|(_, port)| port.state).collect::<Vec<_>>();
    assert_eq!(states(&bridge), [PortState::Discarding, PortState::Forwarding]);
    for second in 1..=4 {
        bridge.tick(second * SECOND);
    }
    assert_eq!(states(&bridge), [PortState::Forwarding; 2]);
    assert!(bridge.ports().all(|(_, port)| port.edge));
    assert_eq!(bridge.view().changes, 0, "stations that come are no change of the topology");
}

#[test]
fn bpdu_guard_takes_a_port_out_of_service_until_an_operator_says_otherwise() {
    let mut bridge = Bridge::new(BridgeSetup::new(Version::Rstp, mac(2)));
    let setup = PortSetup { edge: true, bpdu_guard: true, ..PortSetup::default() };
    bridge.set_port(1, setup, true, 0);
    let mut other = Bridge::new(BridgeSetup::new(Version::Rstp, mac(1)));
    other.set_port(1, PortSetup::default(), true, 0);
    let hello = std::iter::from_fn(|| other.poll())
        .find_map(|output| if let Output::Send(_, bpdu) = output { Some(bpdu) } else { None })
        .unwrap();
    bridge.hear(1, hello, 0);
    assert!(std::iter::from_fn(|| bridge.poll()).any(|output| output == Output::Refused(1)));
    let (_, view) = bridge.ports().next().unwrap();
    assert!(view.refused && view.state == PortState::Discarding);
    assert_eq!(bridge.view().root, bridge.id());
    for carrier in [false, true] {
        bridge.set_enabled(1, carrier, SECOND);
        assert!(bridge.ports().next().unwrap().1.refused);
    }
    bridge.forgive(1);
    bridge.set_enabled(1, false, SECOND);
    bridge.set_enabled(1, true, SECOND);
    let (_, view) = bridge.ports().next().unwrap();
    assert!(!view.refused && view.state == PortState::Forwarding);
    bridge.hear(1, hello, SECOND);
    assert!(bridge.ports().next().unwrap().1.refused);
    bridge.set_port(1, PortSetup { bpdu_guard: false, ..setup }, true, SECOND);
    assert!(!bridge.ports().next().unwrap().1.refused);
}

#[test]
fn a_hundred_bridges_find_a_tree() {
    let mut net = Net::new(Version::Rstp, 100);
    for n in 0..100 {
        net.join(n, (n + 1) % 100);
        if n % 3 == 0 {
            net.join(n, (n * 7 + 5) % 100);
        }
    }
    net.run(20);
    assert_eq!(net.tree(), Ok(()));
    assert_eq!(net.roots().len(), 1);
    net.set(1, false);
    net.run(3);
    assert_eq!(net.tree(), Ok(()));
}

/// A bridge that loses its root believes a neighbour that has not heard of it yet, and that neighbour it: the
/// old root is known until its age, one more at each bridge, is over. Meanwhile there may be a loop; that is in
/// the protocol (K. Elmeleegy, A. Cox, T. Ng: On Count-to-Infinity Induced Forwarding Loops in Ethernet Networks,
/// INFOCOM 2006), and what storm control is for.
const OLD_NEWS: Nanos = 20 * SECOND;

#[test]
fn a_root_that_was_cut_off_is_forgotten_in_time() {
    let mut net = Net::new(Version::Rstp, 7);
    // Found by `any_topology_becomes_a_tree`: between 6 and 5, which lose the root, there is a loop for some seconds.
    for (a, b, cost) in
        [(0, 1, 3), (3, 1, 1), (0, 2, 1), (6, 1, 1), (6, 5, 2), (6, 5, 1), (1, 0, 1), (4, 6, 1), (6, 0, 1)]
    {
        net.join_at(a, b, PortSetup { cost: cost * 1000, ..PortSetup::default() });
    }
    net.run(3);
    assert_eq!(net.tree(), Ok(()));
    net.set(8, false);
    net.set(6, false);
    run_without_loops(&mut net, 2);
    net.set(3, false);
    let until = net.now + OLD_NEWS;
    run_with_loops_until(&mut net, 60, until);
    assert_eq!(net.tree(), Ok(()));
    assert_eq!(net.roots(), BTreeSet::from([net.bridges[0].id(), net.bridges[4].id()]));
}

mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever is joined to whatever, and cut and mended: a tree in the end, and loops only as old news of
        /// a root that was cut off goes round.
        #[test]
        fn any_topology_becomes_a_tree(
            count in 1usize..9,
            cables in prop::collection::vec((0usize..9, 0usize..9, 1u32..5), 1..20),
            cuts in prop::collection::vec((0usize..20, any::<bool>(), 0u64..4), 0..12),
        ) {
            let mut net = Net::new(Version::Rstp, count);
            for (a, b, cost) in &cables {
                net.join_at(a % count, b % count, PortSetup { cost: cost * 1000, ..PortSetup::default() });
            }
            net.run(3);
            let mut old_news = 0;
            for (cable, up, seconds) in cuts {
                let cable = cable % cables.len();
                net.set(cable, up);
                if !up {
                    old_news = net.now + OLD_NEWS;
                }
                run_with_loops_until(&mut net, seconds, old_news);
            }
            run_with_loops_until(&mut net, 60, old_news);
            prop_assert_eq!(net.tree(), Ok(()));
        }

        /// A hostile neighbour says anything.
        #[test]
        fn whatever_a_neighbour_says_is_survived(
            said in prop::collection::vec((any::<[u8; 4]>(), any::<u8>(), prop::collection::vec(any::<u8>(), 31), 0u64..3), 0..60),
        ) {
            let mut bridge = Bridge::new(BridgeSetup::new(Version::Rstp, mac(9)));
            for port in 0..4 {
                bridge.set_port(port, PortSetup::default(), true, 0);
            }
            let mut now = 0;
            for (head, port, rest, wait) in said {
                let mut frame = Bpdu::Tcn.frame([2; 6]);
                frame[13] = 39;
                frame.truncate(17);
                frame.extend([0, 0, head[0] % 4, [0, 2, 0x80, head[1]][usize::from(head[2] % 4)], head[3]]);
                frame.extend(&rest);
                now += wait * SECOND;
                bridge.input(PortId::from(port % 4), &frame, now);
                let outputs = std::iter::from_fn(|| bridge.poll()).count();
                prop_assert!(outputs < 4000);
            }
        }
    }
}
