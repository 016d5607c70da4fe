//! Two bonds joined by cables.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::backoff::Backoff;
use crate::dgram::DgramNic;
use crate::link::{LinkControl, link};
use crate::socket::Endpoint;
use crate::testkit::{Bench, numbered};
use std::net::UdpSocket;
use switch::lacp::{Hashed, Setup as Lacp};

struct Pair {
    ends: [Bench<BondNic>; 2],
    cables: Vec<LinkControl>,
}

fn setup(mode: Mode, side: u8, count: usize) -> Setup {
    let members = (0..count).map(|at| (format!("c{at}"), [2, 0, 0, side, 0, at as u8])).collect();
    Setup { mode, least: 1, hashed: Hashed::Ports, members }
}

fn lacp(side: u8, count: usize) -> Setup {
    let lacp = Lacp { wait: 0, ..Lacp::new([2, 0, 0, side, 0, 99], 1) };
    setup(Mode::Lacp { setup: lacp, priorities: vec![0x8000; count] }, side, count)
}

impl Pair {
    fn new(setups: [Setup; 2]) -> Pair {
        let mut nics: [Vec<Box<dyn Nic>>; 2] = [vec![], vec![]];
        let mut cables = vec![];
        for at in 0..setups[0].members.len() {
            let ([a, b], control) = link([at as u64, 7]);
            nics[0].push(Box::new(a));
            nics[1].push(Box::new(b));
            cables.push(control);
        }
        let mut benches =
            nics.into_iter().zip(setups).map(|(nics, setup)| Bench::new(BondNic::new(nics, setup).unwrap()));
        let mut pair = Pair { ends: [benches.next().unwrap(), benches.next().unwrap()], cables };
        pair.settle();
        pair
    }

    /// What the engine does for a link: look at both ends, and pass on what is on its way.
    fn settle(&mut self) {
        for _ in 0..20 {
            for end in &mut self.ends {
                end.nic.look(end.now);
            }
            self.ends.iter_mut().for_each(Bench::pull);
        }
        self.ends.iter_mut().for_each(Bench::settle);
        assert!(self.ends.iter().all(|end| !end.nic.due));
    }

    fn cut(&mut self, cable: usize, up: bool) {
        let now = self.ends[0].now;
        self.ends[0].nic.set_member(cable, up, now);
        self.settle();
    }

    fn pass(&mut self, frames: &[Vec<u8>]) -> usize {
        let sent = self.ends[0].send(frames);
        self.ends[1].pull();
        self.ends[1].settle();
        sent
    }
}

/// Frames of as many flows, in order.
fn flows(count: u32, each: u32) -> Vec<Vec<u8>> {
    let frame = |n: u32| {
        let mut frame = numbered(n, 60);
        frame[..6].copy_from_slice(&[2, 0, 0, 9, 9, (n % count) as u8]);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame
    };
    (0..count * each).map(frame).collect()
}

#[test]
fn agreed_cables_share_the_work_and_keep_each_flow_in_order() {
    let mut pair = Pair::new([lacp(1, 3), lacp(2, 3)]);
    assert!(pair.ends.iter().all(|end| end.nic.carrier() && end.carrier == [true]));
    let frames = flows(40, 50);
    assert_eq!(pair.pass(&frames), frames.len());
    let received = std::mem::take(&mut pair.ends[1].received);
    assert_eq!(received.len(), frames.len());
    for flow in 0..40 {
        let of = |all: &[Vec<u8>]| -> Vec<Vec<u8>> { all.iter().filter(|f| f[5] == flow).cloned().collect() };
        assert_eq!(of(&received), of(&frames), "flow {flow}");
    }
    let view = pair.ends[0].nic.bond().unwrap();
    assert!(view.members.iter().all(|member| member.tx.0 > 100), "{view:?}");
    assert_eq!(view.partner, Some((0x8000, [2, 0, 0, 2, 0, 99])));
}

#[test]
fn flows_that_had_one_cable_pause_before_they_move_to_one_that_came_back() {
    for setups in [[lacp(1, 2), lacp(2, 2)], [setup(Mode::Static, 1, 2), setup(Mode::Static, 2, 2)]] {
        let mut pair = Pair::new(setups);
        pair.cut(1, false);
        pair.pass(&flows(40, 1));
        pair.ends.iter_mut().for_each(|end| end.now += 5_000_000_000);
        let pass = |pair: &mut Pair, pause| {
            pair.ends.iter_mut().for_each(|end| end.now += pause);
            let before = pair.ends[0].nic.members[1].tx.0;
            assert_eq!(pair.pass(&flows(40, 1)), 40);
            pair.ends[0].nic.members[1].tx.0 - before
        };
        assert_eq!(pass(&mut pair, 1_000_000), 0);
        pair.cut(1, true);
        assert_eq!(pair.ends[0].nic.distributing, 0b11);
        assert!((0..5).all(|_| pass(&mut pair, 10_000_000) == 0), "they are busy");
        assert!(pass(&mut pair, 60_000_000) > 10);
    }
}

/// The flow and the sender of each frame that came in.
fn told(end: &mut Bench<BondNic>) -> Vec<(u8, Origin)> {
    let mut arena = Arena::new();
    let mut all = vec![];
    loop {
        let mut burst = Burst::new();
        let more = end.nic.rx_burst(end.now, &mut arena, &mut burst) == Rx::More;
        let origins = burst.origins.unwrap_or_default();
        assert!(origins.len() >= burst.len());
        all.extend(burst.iter().zip(origins).map(|(frame, origin)| (frame.head()[5], *origin)));
        drop(burst);
        end.nic.rx_done();
        if !more {
            return all;
        }
    }
}

#[test]
fn who_sent_a_frame_is_told_by_whichever_cable_it_goes() {
    for cables in [1, 2] {
        let mut pair = Pair::new([lacp(1, 2), lacp(2, 2)]);
        pair.cut(0, cables == 2);
        // PDUs are on the cables as well, in front of the frames.
        pair.ends.iter_mut().for_each(|end| end.now += 31_000_000_000);
        let [one, other] = &mut pair.ends;
        one.nic.look(one.now);
        let bytes = flows(40, 1);
        let frames: Vec<Frame<'_>> = bytes.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
        let out: Vec<TxFrame<'_>> =
            frames.iter().map(|frame| TxFrame { frame, edit: TagEdit::NONE }).collect();
        let mut report = TxReport::default();
        (0..40).for_each(|flow| report.origins.push(Origin::of(flow)));
        one.nic.tx_burst(one.now, &out, &mut report);
        let mut found = told(other);
        found.sort_by_key(|(flow, _)| *flow);
        let expected: Vec<_> = (0..40).map(|flow| (flow, Origin::of(flow.into()))).collect();
        assert_eq!(found, expected, "over {cables}");
        assert!(other.nic.due, "PDUs were among them");
    }
}

#[test]
fn a_cut_cable_costs_nothing_but_what_was_on_it() {
    let mut pair = Pair::new([lacp(1, 2), lacp(2, 2)]);
    pair.cut(0, false);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
    assert_eq!(pair.ends[1].received.len(), 40);
    assert_eq!(pair.ends[0].carrier, [true]);
    assert_eq!(pair.ends[0].log, ["c0 is not in use any more: set down"]);
    assert_eq!(pair.ends[1].log, ["c0 is not in use any more: no carrier"]);
    pair.cut(1, false);
    assert_eq!(pair.ends[0].carrier, [true, false]);
    assert!(!pair.ends[1].nic.carrier());
    assert_eq!(pair.pass(&flows(1, 1)), 0);
    // So much was said within this second that more has to wait for the next one.
    pair.ends.iter_mut().for_each(|end| end.now += 1_000_000_000);
    pair.cut(1, true);
    assert_eq!(pair.ends[0].carrier, [true, false, true]);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
}

#[test]
fn a_cable_that_comes_back_is_used_when_its_other_end_takes_what_comes_by_it() {
    for independent in [true, false] {
        let coupled = |side| match lacp(side, 2) {
            Setup { mode: Mode::Lacp { setup, priorities }, .. } => Setup {
                mode: Mode::Lacp { setup: Lacp { independent, ..setup }, priorities },
                ..lacp(side, 2)
            },
            other => other,
        };
        for first in [0, 1] {
            let mut pair = Pair::new([coupled(1), coupled(2)]);
            pair.cut(0, false);
            // Within one second only so much may be said.
            pair.ends.iter_mut().for_each(|end| end.now += 2_000_000_000);
            let now = pair.ends[0].now;
            pair.ends[0].nic.set_member(0, true, now);
            let mut sent = 0;
            for _ in 0..10 {
                for side in [first, 1 - first] {
                    pair.ends[side].nic.look(now);
                    // PDUs that were sent by the look are on the cable, in front of the frames.
                    sent += pair.ends[side].send(&flows(40, 1));
                    pair.ends[1 - side].pull();
                }
            }
            let received: usize = pair.ends.iter().map(|end| end.received.len()).sum();
            assert_eq!((sent, received), (800, 800), "independent: {independent}");
            assert!(pair.ends.iter().all(|end| end.dropped(DropReason::DoorUnused) == 0));
            assert_eq!(pair.ends.each_ref().map(|end| end.nic.distributing), [3, 3]);
        }
    }
}

#[test]
fn with_fewer_than_the_least_there_is_no_carrier() {
    let two = |side| Setup { least: 2, ..lacp(side, 3) };
    let mut pair = Pair::new([two(1), two(2)]);
    pair.cut(0, false);
    assert!(pair.ends[0].nic.carrier());
    pair.cut(1, false);
    assert!(!pair.ends[0].nic.carrier() && !pair.ends[1].nic.carrier());
    assert_eq!(pair.ends[0].log.last().unwrap(), "down: 1 cables in use, at least 2 must be");
}

#[test]
fn one_works_and_the_others_wait() {
    let backup = |side| setup(Mode::ActiveBackup { primary: Some(0) }, side, 2);
    let mut pair = Pair::new([backup(1), backup(2)]);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
    assert_eq!(pair.ends[0].nic.bond().unwrap().members[1].tx.0, 0);
    pair.cut(0, false);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
    assert_eq!(pair.ends[0].nic.bond().unwrap().members[1].tx.0, 40);
    assert_eq!(pair.ends[0].carrier, [true]);
    assert_eq!(pair.ends[0].log, ["c0 is not in use any more: set down; c1 is used instead"]);
    pair.cut(0, true);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
    assert_eq!(pair.ends[0].nic.bond().unwrap().members[0].tx.0, 80);
}

#[test]
fn what_comes_by_a_cable_that_is_not_in_use_is_dropped() {
    // One end does not care which cable the other has chosen.
    let backup = setup(Mode::ActiveBackup { primary: None }, 2, 2);
    let mut pair = Pair::new([setup(Mode::Static, 1, 2), backup]);
    assert_eq!(pair.pass(&flows(40, 1)), 40);
    let dropped = pair.ends[1].dropped(DropReason::DoorUnused);
    assert!((10..30).contains(&dropped), "{dropped}");
    assert_eq!(pair.ends[1].received.len() + dropped as usize, 40);
    // And LACP with nobody takes nothing in at all.
    let mut pair = Pair::new([setup(Mode::Static, 1, 2), lacp(2, 2)]);
    pair.pass(&flows(40, 1));
    assert_eq!(pair.ends[1].dropped(DropReason::DoorUnused), 40);
    assert!(!pair.ends[1].nic.carrier());
}

#[test]
fn a_cable_that_is_impaired_makes_the_bond_take_plain_frames_only() {
    let pair = Pair::new([lacp(1, 2), lacp(2, 2)]);
    assert!(pair.ends[0].nic.caps().tso4);
    let slow = crate::link::Impair { delay: 5, ..crate::link::Impair::default() };
    let now = pair.ends[0].now;
    let step = crate::link::Step { at: now, ways: [slow, crate::link::Impair::default()], up: true };
    pair.cables[1].set(step, vec![], now);
    assert!(!pair.ends[0].nic.caps().tso4 && pair.ends[1].nic.caps().tso4);
}

#[test]
fn nonsense_is_refused() {
    assert!(BondNic::new(vec![], setup(Mode::Static, 1, 0)).is_err());
    assert!(setup(Mode::Static, 1, 9).check().is_err());
    assert!(setup(Mode::ActiveBackup { primary: Some(2) }, 1, 2).check().is_err());
}

#[test]
fn an_absent_udp_primary_is_not_used_until_it_is_there() {
    /// How long the door waits for a refusal.
    const PATIENCE: Nanos = 1_000_000_000;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let door = DgramNic::open(None, Some(&Endpoint::Inet(address))).unwrap();
    drop(socket);
    let ([backup, far], _control) = link([1, 7]);
    let _far = Bench::new(far);
    let setup = setup(Mode::ActiveBackup { primary: Some(0) }, 1, 2);
    let mut bond = Bench::new(BondNic::new(vec![Box::new(door), Box::new(backup)], setup).unwrap());
    let in_use = |bond: &Bench<BondNic>| bond.nic.distributing;
    bond.nic.look(bond.now);
    assert_eq!(in_use(&bond), 1, "somebody may be there");
    bond.send(&flows(1, 1));
    let refused = |bond: &mut Bench<BondNic>| {
        bond.until("refused", |b| b.nic.deadline().is_some_and(|due| due != b.now + PATIENCE));
        bond.nic.look(bond.now);
    };
    for _ in 0..5 {
        refused(&mut bond);
        assert_eq!((in_use(&bond), bond.nic.changes), (2, 2));
        let due = bond.nic.deadline().unwrap();
        bond.now = due;
        bond.nic.tick(due);
        assert_eq!(in_use(&bond), 2, "asked");
    }
    refused(&mut bond);
    let socket = UdpSocket::bind(address).unwrap();
    bond.advance(Backoff::LONGEST + PATIENCE);
    assert_eq!((in_use(&bond), bond.nic.changes), (1, 3));
    assert_eq!(bond.log.len(), 3, "{:?}", bond.log);
    drop(socket);
}
