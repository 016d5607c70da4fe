//! Systems joined by cables, in simulated time.
#![allow(clippy::unwrap_used)]

use super::*;
use pdu::State;
use proptest::prelude::*;

/// (system, port)
type End = (usize, usize);

#[derive(Clone, Copy)]
struct Cable {
    ends: [End; 2],
    up: bool,
    /// Frames from end 0 to end 1, and back, arrive.
    ways: [bool; 2],
}

struct Net {
    systems: Vec<Aggregator>,
    cables: Vec<Cable>,
    now: Nanos,
    sent: usize,
}

fn mac(n: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, n as u8]
}

fn setup(n: usize) -> Setup {
    Setup::new(mac(n + 1), 10 + n as u16)
}

impl Net {
    fn new(setups: &[Setup], ports: usize) -> Net {
        let systems = setups.iter().map(|setup| Aggregator::new(*setup, &vec![0x8000; ports])).collect();
        Net { systems, cables: vec![], now: 0, sent: 0 }
    }

    /// Two systems with cables between their ports of the same number.
    fn pair(setups: [Setup; 2], cables: usize) -> Net {
        let mut net = Net::new(&setups, cables);
        for port in 0..cables {
            net.join((0, port), (1, port));
        }
        net.settle();
        net
    }

    fn join(&mut self, a: End, b: End) {
        self.cables.push(Cable { ends: [a, b], up: false, ways: [true; 2] });
        self.set(self.cables.len() - 1, true);
    }

    fn set(&mut self, cable: usize, up: bool) {
        self.cables[cable].up = up;
        for (system, port) in self.cables[cable].ends {
            self.systems[system].set_enabled(port, up, self.now);
        }
    }

    /// Deliver until nothing is on its way.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for from in 0..self.systems.len() {
                while let Some(output) = self.systems[from].poll() {
                    quiet = false;
                    self.sent += 1;
                    let (port, frame) = output.frame(|port| mac(from * 16 + port));
                    for cable in self.cables.clone().iter().filter(|cable| cable.up) {
                        let Some(side) = cable.ends.iter().position(|end| *end == (from, port)) else {
                            continue;
                        };
                        let (to, there) = cable.ends[1 - side];
                        if cable.ways[side] {
                            assert!(self.systems[to].input(there, &frame, self.now));
                        }
                    }
                }
            }
            if quiet {
                return;
            }
        }
        panic!("they never stop talking");
    }

    fn advance(&mut self, nanos: Nanos) {
        let end = self.now + nanos;
        while let Some(at) =
            self.systems.iter().filter_map(Aggregator::deadline).min().filter(|at| *at <= end)
        {
            assert!(at >= self.now, "a deadline that was served stays");
            self.now = at.max(self.now);
            let now = self.now;
            self.systems.iter_mut().for_each(|system| system.tick(now));
            self.settle();
            let next = self.systems.iter().filter_map(Aggregator::deadline).min();
            assert!(next.is_none_or(|next| next > at), "a deadline that was served stays: {at}");
        }
        self.now = end;
    }

    fn distributing(&self, system: usize) -> Vec<usize> {
        (0..PORTS).filter(|&port| self.systems[system].distributes(port)).collect()
    }

    fn collecting(&self, system: usize) -> Vec<usize> {
        (0..PORTS).filter(|&port| self.systems[system].collects(port)).collect()
    }

    /// Whoever sends is heard, now.
    fn nobody_sends_into_the_void(&self) -> Result<(), String> {
        for cable in self.cables.iter().filter(|cable| cable.up && cable.ways == [true; 2]) {
            for side in [0, 1] {
                let ((a, port), (b, there)) = (cable.ends[side], cable.ends[1 - side]);
                if self.systems[a].distributes(port) && !self.systems[b].collects(there) {
                    return Err(format!("{a}.{port} sends to {b}.{there}, which takes nothing in"));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn cables_to_one_partner_are_one() {
    let mut net = Net::pair([setup(0), setup(1)], 3);
    net.advance(WAIT - 1);
    assert!(net.collecting(0).is_empty() && net.collecting(1).is_empty());
    net.advance(SECOND + 1);
    for system in [0, 1] {
        assert_eq!(net.distributing(system), [0, 1, 2]);
        assert_eq!(net.collecting(system), [0, 1, 2]);
    }
    assert_eq!(net.systems[0].partner(), Some((0x8000, mac(2))));
    // Nobody says more than one LACPDU in 30 seconds and port from now on.
    let before = net.sent;
    net.advance(300 * SECOND);
    assert!(net.sent - before <= 6 * 10, "{} LACPDUs", net.sent - before);
}

#[test]
fn without_waiting_they_are_one_at_once() {
    for independent in [false, true] {
        let quick = |n| Setup { wait: 0, independent, ..setup(n) };
        let net = Net::pair([quick(0), quick(1)], 2);
        assert_eq!(net.now, 0);
        for system in [0, 1] {
            assert_eq!(net.distributing(system), [0, 1], "independent: {independent}");
        }
    }
}

#[test]
fn a_cut_cable_is_left_at_once_and_comes_back() {
    let mut net = Net::pair([setup(0), setup(1)], 2);
    net.advance(3 * SECOND);
    net.set(0, false);
    net.settle();
    for system in [0, 1] {
        assert_eq!(net.distributing(system), [1]);
        assert_eq!(net.collecting(system), [1]);
    }
    net.set(0, true);
    net.settle();
    net.advance(WAIT + SECOND);
    assert_eq!(net.distributing(0), [0, 1]);
    assert_eq!(net.distributing(1), [0, 1]);
}

#[test]
fn silence_ends_it_after_three_times_the_period_that_was_asked_for() {
    for (short, periods) in [(true, SHORT), (false, LONG)] {
        let asking = |n| Setup { short, ..setup(n) };
        let mut net = Net::pair([asking(0), asking(1)], 2);
        net.advance(400 * SECOND);
        // Carrier stays: a broken converter in the middle.
        net.cables[0].ways = [false; 2];
        let mut waited = 0;
        while net.distributing(0) == [0, 1] {
            net.advance(SECOND / 10);
            waited += SECOND / 10;
            assert!(waited <= periods + SECOND / 10, "short: {short}");
        }
        assert!(waited >= periods - periods / 3 - SECOND, "short: {short}, {waited}");
        assert_eq!(net.distributing(1), [1]);
        net.nobody_sends_into_the_void().unwrap();
    }
}

#[test]
fn a_cable_that_carries_one_way_carries_nothing() {
    let short = |n| Setup { short: true, ..setup(n) };
    let mut net = Net::pair([short(0), short(1)], 2);
    net.advance(5 * SECOND);
    net.cables[1].ways = [true, false];
    net.advance(4 * SECOND);
    // 0 hears nothing and says that it takes nothing in; 1 hears that.
    assert_eq!((net.distributing(0), net.distributing(1)), (vec![0], vec![0]));
    // And at last that it knows nobody there.
    net.advance(4 * SECOND);
    assert_eq!((net.collecting(0), net.collecting(1)), (vec![0], vec![0]));
}

#[test]
fn two_passive_ends_say_nothing_and_one_active_end_is_enough() {
    let passive = |n| Setup { active: false, ..setup(n) };
    let mut net = Net::pair([passive(0), passive(1)], 2);
    net.advance(600 * SECOND);
    assert_eq!(net.sent, 0);
    assert!(net.distributing(0).is_empty());
    let mut net = Net::pair([passive(0), setup(1)], 2);
    net.advance(35 * SECOND);
    assert_eq!((net.distributing(0), net.distributing(1)), (vec![0, 1], vec![0, 1]));
}

#[test]
fn who_says_nothing_is_used_alone_if_that_is_wanted() {
    for fallback in [false, true] {
        let mut net = Net::new(&[Setup { fallback, ..setup(0) }], 2);
        net.systems[0].set_enabled(0, true, 0);
        net.systems[0].set_enabled(1, true, 0);
        net.advance(10 * SECOND);
        assert_eq!(net.distributing(0), if fallback { vec![0] } else { vec![] });
        net.systems[0].set_enabled(0, false, net.now);
        net.advance(10 * SECOND);
        assert_eq!(net.distributing(0), if fallback { vec![1] } else { vec![] });
    }
    // And as soon as somebody speaks, that is over.
    let mut net = Net::pair([Setup { fallback: true, ..setup(0) }, setup(1)], 2);
    net.cables.iter_mut().for_each(|cable| cable.ways = [false; 2]);
    net.advance(100 * SECOND);
    assert_eq!(net.distributing(0), [0]);
    net.cables.iter_mut().for_each(|cable| cable.ways = [true; 2]);
    net.advance(40 * SECOND);
    assert_eq!((net.distributing(0), net.distributing(1)), (vec![0, 1], vec![0, 1]));
}

#[test]
fn cables_to_another_partner_stay_out() {
    let mut net = Net::new(&[setup(0), setup(1), setup(2)], 3);
    net.join((0, 0), (2, 0));
    net.join((0, 1), (1, 1));
    net.join((0, 2), (1, 2));
    net.settle();
    net.advance(5 * SECOND);
    // Most lead there; but it was decided when the first spoke, and whoever is in use stays.
    let first = net.distributing(0);
    assert!(first == [0] || first == [1, 2], "{first:?}");
    net.nobody_sends_into_the_void().unwrap();
    net.set(0, false);
    net.settle();
    net.advance(5 * SECOND);
    assert_eq!(net.distributing(0), [1, 2]);
    net.set(0, true);
    net.settle();
    net.advance(5 * SECOND);
    assert_eq!(net.distributing(0), [1, 2]);
    assert!(net.distributing(2).is_empty());
}

#[test]
fn a_cable_to_oneself_is_none() {
    let mut net = Net::new(&[setup(0)], 2);
    net.join((0, 0), (0, 1));
    net.settle();
    net.advance(10 * SECOND);
    assert!(net.distributing(0).is_empty() && net.collecting(0).is_empty());
}

#[test]
fn ports_beyond_the_most_stand_by_and_the_better_system_says_which() {
    // System 1 is the better one, and prefers its port 2.
    let better = Setup { priority: 1, most: 2, ..setup(1) };
    let mut net = Net::new(&[Setup { most: 2, ..setup(0) }, better], 3);
    net.systems[1] = Aggregator::new(better, &[0x8000, 0x8000, 1]);
    for port in 0..3 {
        net.join((0, port), (1, port));
    }
    net.settle();
    net.advance(5 * SECOND);
    assert_eq!((net.distributing(0), net.distributing(1)), (vec![0, 2], vec![0, 2]));
    assert_eq!(net.systems[0].views().nth(1).unwrap().selected, Selected::Standby);
    net.set(2, false);
    net.settle();
    net.advance(2 * SECOND);
    assert_eq!((net.distributing(0), net.distributing(1)), (vec![0, 1], vec![0, 1]));
}

#[test]
fn markers_are_answered_but_not_without_end() {
    let mut net = Net::new(&[setup(0)], 1);
    let mut marker = pdu::marker_response(&[7; 14], mac(9));
    marker[16] = 1;
    for _ in 0..100 {
        assert!(net.systems[0].input(0, &marker, 0));
    }
    let answers: Vec<Output> = std::iter::from_fn(|| net.systems[0].poll()).collect();
    assert_eq!(answers.len(), MARKERS as usize);
    let (port, frame) = answers[0].frame(|_| mac(1));
    assert_eq!((port, pdu::parse(&frame)), (0, Some(Slow::MarkerResponse)));
    assert_eq!(frame[18..32], [7; 14]);
    net.systems[0].input(0, &marker, SECOND);
    assert!(net.systems[0].poll().is_some());
}

#[test]
fn no_more_than_three_lacpdus_a_second_whatever_is_said() {
    let mut system = Aggregator::new(setup(0), &[0x8000]);
    system.set_enabled(0, true, 0);
    let mut sent = vec![];
    for n in 0..3000_u64 {
        let now = n * SECOND / 1000;
        // Somebody who knows us otherwise each time, which has to be set right.
        let actor = Info { system: (1, [9; 6]), port: 1, state: State(State::ACTIVITY), ..Info::default() };
        let pdu = Lacpdu { actor, partner: Info { key: n as u16, ..Info::default() } };
        system.input(0, &pdu.frame([9; 6]), now);
        while system.poll().is_some() {
            sent.push(now);
        }
    }
    assert!(sent.windows(4).all(|four| four[3] - four[0] >= SECOND), "{sent:?}");
    assert!(sent.len() >= 9);
}

#[derive(Clone, Debug)]
enum Act {
    Cut(usize),
    Mend(usize),
    Mute(usize, usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4_usize).prop_map(Act::Cut),
        (0..4_usize).prop_map(Act::Mend),
        (0..4_usize, 0..2_usize).prop_map(|(cable, way)| Act::Mute(cable, way)),
        (0..5_000_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    /// Whatever happened to the cables: when it is over, both ends use the same ones, and all that work; and
    /// at no time does anybody send where nobody takes in, but for what was on its way.
    #[test]
    fn two_systems_come_to_the_same_aggregate(
        acts in prop::collection::vec(act(), 0..40),
        independent in any::<bool>(),
        wait in prop_oneof![Just(0), Just(WAIT)],
        active in prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])],
    ) {
        let one = |n: usize| Setup { short: true, independent, wait, active: active[n], ..setup(n) };
        let mut net = Net::pair([one(0), one(1)], 4);
        for act in acts {
            match act {
                Act::Cut(cable) => net.set(cable, false),
                Act::Mend(cable) => net.set(cable, true),
                Act::Mute(cable, way) => net.cables[cable].ways[way] ^= true,
                Act::Wait(ms) => net.advance(ms * 1_000_000),
            }
            net.settle();
            if independent && net.cables.iter().all(|cable| cable.ways == [true; 2]) {
                net.nobody_sends_into_the_void().map_err(TestCaseError::fail)?;
            }
        }
        net.cables.iter_mut().for_each(|cable| cable.ways = [true; 2]);
        net.advance(40 * SECOND);
        let working: Vec<usize> = (0..4).filter(|&cable| net.cables[cable].up).collect();
        for system in [0, 1] {
            prop_assert_eq!(net.distributing(system), working.clone());
            prop_assert_eq!(net.collecting(system), working.clone());
        }
        prop_assert_eq!(net.nobody_sends_into_the_void(), Ok(()));
    }

    /// A hostile partner gets no further than what it says.
    #[test]
    fn whatever_is_said_is_survived(
        said in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 110), 0..2000_u64), 0..60),
    ) {
        let mut system = Aggregator::new(setup(0), &[0x8000; 4]);
        (0..4).for_each(|port| system.set_enabled(port, true, 0));
        let mut now = 0;
        for (port, bytes, ms) in said {
            now += ms * 1_000_000;
            let mut frame = Lacpdu::default().frame(mac(9));
            frame.splice(16.., bytes);
            (frame[16], frame[17], frame[36], frame[37]) = (1, 20, 2, 20);
            frame.truncate(124);
            system.input(port, &frame, now);
            system.tick(now);
            prop_assert!(system.deadline().is_none_or(|at| at > now));
            while system.poll().is_some() {}
        }
    }
}

#[test]
fn who_does_not_agree_within_a_minute_churns() {
    let mut net = Net::pair([setup(0), setup(1)], 2);
    let churn = |net: &Net, port: usize| net.systems[0].views().nth(port).unwrap().churn;
    net.advance(5 * SECOND);
    assert_eq!(churn(&net, 0), [Churn::Quiet; 2]);
    // The other end hears nothing from us any more, says so, and stays out of step.
    net.cables[0].ways[0] = false;
    net.advance(125 * SECOND);
    assert_eq!(churn(&net, 0)[1], Churn::Monitor);
    net.advance(60 * SECOND);
    assert_eq!((churn(&net, 0)[1], churn(&net, 1)), (Churn::Churned, [Churn::Quiet; 2]));
    net.cables[0].ways[0] = true;
    net.advance(31 * SECOND);
    assert_eq!(churn(&net, 0), [Churn::Quiet; 2]);
    // Nobody is there: neither end agrees with anybody, and a cable without carrier is no matter.
    let mut alone = Net::new(&[setup(0)], 1);
    alone.systems[0].set_enabled(0, true, 0);
    alone.advance(SECOND);
    assert_eq!(churn(&alone, 0), [Churn::Monitor; 2]);
    alone.advance(61 * SECOND);
    assert_eq!(churn(&alone, 0)[0], Churn::Churned);
    alone.systems[0].set_enabled(0, false, alone.now);
    assert_eq!(churn(&alone, 0), [Churn::Quiet; 2]);
}

#[test]
fn a_machine_that_slept_takes_no_silence_for_an_answer() {
    for short in [false, true] {
        let mut net = Net::pair([Setup { short, ..setup(0) }, Setup { short, ..setup(1) }], 2);
        net.advance(5 * SECOND);
        assert_eq!((net.distributing(0), net.collecting(1)), (vec![0, 1], vec![0, 1]));
        for asleep in [4 * SECOND, 3600 * SECOND] {
            net.now += asleep;
            for system in 0..2 {
                net.systems[system].tick(net.now);
                assert_eq!((net.distributing(system), net.collecting(system)), (vec![0, 1], vec![0, 1]));
            }
            net.settle();
            assert_eq!((net.distributing(0), net.collecting(1)), (vec![0, 1], vec![0, 1]));
        }
        // Who is awake and hears nothing still finds out.
        net.cables[0].ways[0] = false;
        net.advance(if short { 5 } else { 125 } * SECOND);
        assert_eq!((net.distributing(0), net.collecting(1)), (vec![1], vec![1]));
    }
}
