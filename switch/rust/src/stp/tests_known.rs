//! Networks whose spanning trees are known: figures of the standards, the interoperability and operations
//! suites of the Bridge Functions Consortium, and what others test theirs with (Open vSwitch).
//!
//! A bridge is `address^priority: segment segment ...`, in hexadecimal; a port is a segment's letter, `.` for
//! nothing at the other end or `-` for no carrier, then `:cost` and `^priority` where they are not the usual
//! ones. Any number of ports may be at a segment. What is known of a bridge is `root`, or what its way to the
//! root costs, then each port: `r`oot, `d`esignated, bloc`k`ed (alternate or backup), `-` down.
#![allow(clippy::unwrap_used)]

use super::*;

struct Step {
    /// What changes: (which bridge, how it is from now on).
    bridges: &'static [(usize, &'static str)],
    /// After that many seconds.
    seconds: u64,
    known: &'static [(usize, &'static str)],
}

const STP_COST: u32 = 10;
const RSTP_COST: u32 = 200_000;
/// As long as any tree takes.
const LONG: u64 = 1000;

#[derive(Default)]
struct Net {
    bridges: Vec<(Bridge, Vec<Plug>)>,
    now: Nanos,
}

#[derive(Clone, PartialEq)]
struct Plug {
    segment: char,
    cost: Option<u32>,
    priority: u8,
}

impl Plug {
    fn read(text: &str) -> Self {
        let (text, priority) = text.split_once('^').unwrap_or((text, "80"));
        let (segment, cost) = text.split_once(':').unwrap_or((text, ""));
        Plug {
            segment: segment.chars().next().unwrap(),
            cost: cost.parse().ok(),
            priority: u8::from_str_radix(priority, 16).unwrap(),
        }
    }
}

impl Net {
    fn change(&mut self, version: Version, number: usize, text: &str) {
        let (name, plugs) = text.split_once(':').unwrap();
        let (address, priority) = name.split_once('^').unwrap_or((name, "8000"));
        let address = u16::from_str_radix(address, 16).unwrap().to_be_bytes();
        let mut setup = BridgeSetup::new(version, [2, 0, 0, 0, address[0], address[1]]);
        setup.priority = u16::from_str_radix(priority, 16).unwrap();
        let plugs: Vec<_> = plugs.split_whitespace().map(Plug::read).collect();
        if number == self.bridges.len() {
            self.bridges.push((Bridge::new(setup), vec![]));
        }
        let (bridge, old) = &mut self.bridges[number];
        if bridge.setup != setup {
            (*bridge, *old) = (Bridge::new(setup), vec![]);
        }
        let usual = if version == Version::Rstp { RSTP_COST } else { STP_COST };
        for (id, plug) in (0..).zip(&plugs) {
            let before = old.get(usize::from(id));
            if before.is_some_and(|before| before.segment != plug.segment) {
                bridge.set_enabled(id, false, self.now);
            }
            if before != Some(plug) {
                let cost = plug.cost.unwrap_or(usual);
                let setup = PortSetup { cost, priority: plug.priority, ..PortSetup::default() };
                bridge.set_port(id, setup, plug.segment != '-', self.now);
            }
        }
        *old = plugs;
    }

    /// Deliver BPDUs to all others at a segment until none is on its way.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let mut sent = vec![];
            for (from, (bridge, plugs)) in self.bridges.iter_mut().enumerate() {
                while let Some(output) = bridge.poll() {
                    if let Output::Send(port, bpdu) = output {
                        sent.push((from, port, plugs[usize::from(port)].segment, bpdu.frame([2; 6])));
                    }
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, port, segment, frame) in sent {
                for (to, (bridge, plugs)) in self.bridges.iter_mut().enumerate() {
                    for (at, plug) in (0..).zip(plugs.iter()) {
                        if plug.segment == segment && segment.is_alphabetic() && (to, at) != (from, port) {
                            assert!(bridge.input(at, &frame, self.now));
                        }
                    }
                }
            }
        }
        panic!("BPDUs never cease");
    }

    fn run(&mut self, seconds: u64) {
        self.settle();
        let end = self.now + seconds * SECOND;
        while let Some(next) = self.bridges.iter().filter_map(|(bridge, _)| bridge.deadline()).min()
            && next <= end
        {
            self.now = next;
            for (bridge, _) in &mut self.bridges {
                bridge.tick(next);
            }
            self.settle();
        }
        self.now = end;
    }

    fn seen(&self, number: usize) -> String {
        let (bridge, _) = &self.bridges[number];
        let view = bridge.view();
        let mut seen = if view.root == view.id { "root".to_owned() } else { view.cost.to_string() };
        for (_, port) in bridge.ports() {
            let forwards = port.state == PortState::Forwarding;
            seen += match (port.role, forwards) {
                (Role::Disabled, false) => " -",
                (Role::Root, true) => " r",
                (Role::Designated, true) => " d",
                (Role::Alternate | Role::Backup, false) => " k",
                (Role::Designated, false) => " (d)",
                _ => " ?",
            };
        }
        seen
    }
}

fn check(version: Version, steps: &[Step]) {
    let mut net = Net::default();
    for (at, step) in steps.iter().enumerate() {
        for (number, text) in step.bridges {
            net.change(version, *number, text);
        }
        net.run(step.seconds);
        for (number, known) in step.known {
            assert_eq!(net.seen(*number), *known, "step {at}, bridge {number}");
        }
    }
}

/// Figure of 802.1D-1998, clause 8.
#[test]
fn figure_of_1998() {
    let bridges =
        &[(0, "42: a b"), (1, "97: c:5 a d:5"), (2, "45: b e"), (3, "57: b:5 e:5"), (4, "83: a:5 e:5")];
    let known = &[(0, "root d d"), (1, "10 d r d"), (2, "10 r k"), (3, "5 r d"), (4, "5 r k")];
    check(Version::Stp, &[Step { bridges, seconds: LONG, known }]);
}

const BACKBONE: &[(usize, &str)] = &[
    (0, "111: a b e c"),
    (1, "222: a b d f"),
    (2, "333: c d l j h g"),
    (3, "444: e f n m k i"),
    (4, "555: g i . ."),
    (5, "666: h k . ."),
    (6, "777: j m . ."),
    (7, "888: l n . ."),
];

/// 802.1D-2004, figures 17-4 and 17-5; then two ports of the last bridge are joined.
#[test]
fn figures_17_4_and_17_5() {
    for (version, one, two) in [(Version::Stp, 10, 20), (Version::Rstp, 200_000, 400_000)] {
        let joined = &[(7, "888: l n o o")];
        let known = |last: &str| {
            let middle = format!("{one} r k d d");
            let wide = format!("{one} r k d d d d");
            let leaf = format!("{two} r k d d");
            [
                "root d d d d".to_owned(),
                middle,
                wide.clone(),
                wide,
                leaf.clone(),
                leaf.clone(),
                leaf,
                format!("{two} r k d {last}"),
            ]
        };
        let mut net = Net::default();
        for (bridges, last) in [(BACKBONE, "d"), (joined, "k")] {
            for (number, text) in bridges {
                net.change(version, *number, text);
            }
            net.run(LONG);
            let seen: Vec<_> = (0..8).map(|number| net.seen(number)).collect();
            assert_eq!(seen, known(last), "{version:?}");
        }
    }
}

/// 802.1D-2004, figure 17-6: a ring of six.
#[test]
fn figure_17_6() {
    let bridges = &[
        (0, "111: a b l"),
        (1, "222: b c d"),
        (2, "333: d e f"),
        (3, "444: f g h"),
        (4, "555: j h i"),
        (5, "666: l j k"),
    ];
    let stp = &[
        (0, "root d d d"),
        (1, "10 r d d"),
        (2, "20 r d d"),
        (3, "30 r d k"),
        (4, "20 r d d"),
        (5, "10 r d d"),
    ];
    check(Version::Stp, &[Step { bridges, seconds: LONG, known: stp }]);
    let rstp = &[
        (0, "root d d d"),
        (1, "200000 r d d"),
        (2, "400000 r d d"),
        (3, "600000 r d k"),
        (4, "400000 r d d"),
        (5, "200000 r d d"),
    ];
    check(Version::Rstp, &[Step { bridges, seconds: LONG, known: rstp }]);
}

/// 802.1D-2004, figure 17-7: two cables between the same bridges; one is cut, or dearer by its priority.
#[test]
fn figure_17_7() {
    let bridges = &[(0, "aa: b"), (1, "111: a b d f h g e c"), (2, "222: g h j l n m k i")];
    let known = &[(0, "root d"), (1, "10 d r d d d d d d"), (2, "20 k r d d d d d d")];
    let cut = Step {
        bridges: &[(2, "222: g - j l n m k i")],
        seconds: LONG,
        known: &[(1, "10 d r d d d d d d"), (2, "20 r - d d d d d d")],
    };
    check(Version::Stp, &[Step { bridges, seconds: LONG, known }, cut]);
    let known = &[(0, "root d"), (1, "200000 d r d d d d d d"), (2, "400000 k r d d d d d d")];
    let dearer = Step {
        bridges: &[(1, "111: a b d f h g^70 e c")],
        seconds: LONG,
        known: &[(1, "200000 d r d d d d d d"), (2, "400000 r k d d d d d d")],
    };
    check(Version::Rstp, &[Step { bridges, seconds: LONG, known }, dearer]);
}

/// STP.io.1.1: three cables, cut one after the other; at first only at the other end's repeater.
#[test]
fn link_failure() {
    let steps = [
        (&[(0, "111: a b c"), (1, "222: a b c")][..], "10 r k k"),
        (&[(1, "222: . b c")], "10 d r k"),
        (&[(1, "222: - b c")], "10 - r k"),
        (&[(1, "222: - . c")], "10 - d r"),
        (&[(1, "222: - - c")], "10 - - r"),
    ];
    let mut net = Net::default();
    for (bridges, known) in steps {
        for (number, text) in bridges {
            net.change(Version::Stp, *number, text);
        }
        net.run(LONG);
        assert_eq!([net.seen(0), net.seen(1)], ["root d d d", known]);
    }
}

/// STP.io.1.2: two bridges with two ports each at one segment, then with another port priority.
#[test]
fn repeated_network() {
    let bridges = &[(0, "111: a a"), (1, "222: a a")];
    let known = &[(0, "root d k"), (1, "10 r k")];
    let dearer =
        Step { bridges: &[(1, "222: a^90 a")], seconds: LONG, known: &[(0, "root d k"), (1, "10 k r")] };
    check(Version::Stp, &[Step { bridges, seconds: LONG, known }, dearer]);
}

/// STP.io.1.4: four bridges, each joined to each.
#[test]
fn network_initialization() {
    let bridges = &[(0, "111: a b c"), (1, "222: b d e"), (2, "333: a d f"), (3, "444: c e f")];
    let known = &[(0, "root d d d"), (1, "10 r d d"), (2, "10 r k d"), (3, "10 r k k")];
    check(Version::Stp, &[Step { bridges, seconds: LONG, known }]);
}

/// STP.io.1.5: each bridge in turn becomes the root.
#[test]
fn topology_change() {
    let first = &[(0, "root d d d d"), (1, "10 r k d d"), (2, "10 k r d d"), (3, "20 k r k k")];
    let steps = [
        Step {
            bridges: &[(0, "111: a b d c"), (1, "222: a b f e"), (2, "333: c d g h"), (3, "444: e f g h")],
            seconds: LONG,
            known: first,
        },
        Step {
            bridges: &[(1, "222^7000: a b f e")],
            seconds: LONG,
            known: &[(0, "10 r k d d"), (1, "root d d d d"), (2, "20 k r k k"), (3, "10 k r d d")],
        },
        Step {
            bridges: &[(2, "333^6000: c d g h")],
            seconds: LONG,
            known: &[(0, "10 d d k r"), (1, "20 r k k k"), (2, "root d d d d"), (3, "10 d d r k")],
        },
        Step {
            bridges: &[(3, "444^5000: e f g h")],
            seconds: LONG,
            known: &[(0, "20 k k k r"), (1, "10 d d k r"), (2, "10 d d r k"), (3, "root d d d d")],
        },
        Step {
            bridges: &[
                (0, "111^4000: a b d c"),
                (1, "222^4000: a b f e"),
                (2, "333^4000: c d g h"),
                (3, "444^4000: e f g h"),
            ],
            seconds: LONG,
            known: first,
        },
    ];
    check(Version::Stp, &steps);
}

/// STP.op.1.1, 1.2 and 1.4: alone, a bridge is the root, and its ports are designated and wait.
#[test]
fn a_bridge_alone() {
    check(Version::Stp, &[Step { bridges: &[(0, "123:")], seconds: 0, known: &[(0, "root")] }]);
    let steps = [
        Step { bridges: &[(0, "123: a b c")], seconds: 0, known: &[(0, "root (d) (d) (d)")] },
        Step { bridges: &[], seconds: LONG, known: &[(0, "root d d d")] },
    ];
    check(Version::Stp, &steps);
    check(Version::Rstp, &[Step { bridges: &[(0, "111: a b")], seconds: LONG, known: &[(0, "root d d")] }]);
}

/// STP.op.3.1, 3.3 and 3.4: the lowest identifier is the root's, its priority before its address.
#[test]
fn root_bridge_selection() {
    let bridges = &[(0, "111: a"), (1, "222: a")];
    let steps = [
        Step { bridges, seconds: 0, known: &[(0, "root (d)")] },
        Step { bridges: &[], seconds: LONG, known: &[(0, "root d"), (1, "10 r")] },
    ];
    check(Version::Stp, &steps);
    let bridges = &[(0, "333^6000: a"), (1, "222^7000: b"), (2, "111: a b")];
    let known = &[(0, "root d"), (1, "20 r"), (2, "10 r d")];
    check(Version::Stp, &[Step { bridges, seconds: LONG, known }]);
}

/// A triangle that loses a side (RSTP).
#[test]
fn rapid_link_failure() {
    let steps = [
        Step {
            bridges: &[(0, "111: a b"), (1, "222: a c"), (2, "333: b c")],
            seconds: LONG,
            known: &[(0, "root d d"), (1, "200000 r d"), (2, "200000 r k")],
        },
        Step { bridges: &[(2, "333: - c")], seconds: LONG, known: &[(1, "200000 r d"), (2, "400000 - r")] },
    ];
    check(Version::Rstp, &steps);
}

/// Two cuts, a cost and a priority that change (RSTP).
#[test]
fn rapid_double_link_failure() {
    let steps = [
        Step {
            bridges: &[
                (0, "111: a b"),
                (1, "222: a c d"),
                (2, "333: b c e"),
                (3, "444: d f"),
                (4, "555: e f"),
            ],
            seconds: LONG,
            known: &[
                (0, "root d d"),
                (1, "200000 r d d"),
                (2, "200000 r k d"),
                (3, "400000 r d"),
                (4, "400000 r k"),
            ],
        },
        Step {
            bridges: &[(2, "333: - c e")],
            seconds: LONG,
            known: &[(1, "200000 r d d"), (2, "400000 - r d"), (3, "400000 r d"), (4, "600000 r k")],
        },
        Step {
            bridges: &[(4, "555: - f")],
            seconds: LONG,
            known: &[(2, "400000 - r d"), (3, "400000 r d"), (4, "600000 - r")],
        },
        Step { bridges: &[(4, "555: - f:100000")], seconds: LONG, known: &[(4, "500000 - r")] },
        Step { bridges: &[(4, "555^7000: - f:100000")], seconds: LONG, known: &[(4, "root - d")] },
    ];
    check(Version::Rstp, &steps);
}
