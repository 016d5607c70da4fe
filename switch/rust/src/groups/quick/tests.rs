//! Lines that more connections lead to than have a place there.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::groups::table::{Birth, STALE, State};
use crate::groups::tcp::Half;

const VLAN: u16 = 1;
const LOW: u64 = 0x0a00_0001;
const HIGH: u64 = 0x0a00_0002;
const NOW: u32 = 10_000;
const STAMPS: [u32; 2] = [5, 6];

/// A connection from this port of the low end to port 9 of the high one.
fn birth(proto: u8, state: State, port: u16) -> Birth {
    let word = u64::from(port) << 48 | 9 << 32 | u64::from(VLAN) << 16 | 4 << 8 | u64::from(proto);
    Birth {
        key: Key([0, LOW, 0, HIGH, word]),
        origin: 0,
        began: 0,
        state,
        halves: [Half::default(); 2],
        number: 9,
        allowed: STAMPS,
        owner: 0,
        limit: 100,
        instead: None,
    }
}

/// A packet of it, there or back.
fn frame(proto: u8, port: u16, back: bool) -> Vec<u8> {
    let mut ends = [(LOW, port), (HIGH, 9)];
    if back {
        ends.reverse();
    }
    let [(source, from), (target, to)] = ends;
    let mut bytes = vec![0; 12];
    bytes.extend([8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, proto, 0, 0]);
    bytes.extend([source as u32, target as u32].map(u32::to_be_bytes).concat());
    bytes.extend([from, to].map(u16::to_be_bytes).concat());
    bytes.resize(60, 0);
    bytes
}

/// As many ports as are asked for whose connections have one line in common.
fn in_one_line(table: &Table, proto: u8, many: usize) -> Vec<u16> {
    let Key([_, low, _, high, word]) = birth(proto, State::New, 0).key;
    let way = table.way(low << 32 | high, word);
    let line = |port: u16| {
        let mut line = [0];
        way.lines(&[(u32::from(port) << 16 | 9).to_be()], &mut line);
        line
    };
    (1024..).filter(|&port| line(port) == line(1024)).take(many).collect()
}

/// A table with connections in one line, all of them heard by now, and their ports.
fn crowded(proto: u8, state: State, many: usize) -> (Table, Vec<u16>) {
    let mut table = Table::new(100, [1, 2]);
    table.prepare();
    let ports = in_one_line(&table, proto, many);
    for &port in &ports {
        let at = table.add(NOW, &birth(proto, state, port)).unwrap();
        table.note(at);
    }
    (table, ports)
}

fn bring(ready: &mut Ready, table: &Table, frames: &[Vec<u8>], stamps: (u32, u32), now: u32) -> Passing {
    let views = frames.iter().map(|bytes| View::plain(bytes, bytes.len() as u32));
    ready.bring(table, views, None, (VLAN, now), Some(Asked { source: None, stamps }), |_| true)
}

fn frames(proto: u8, ports: &[u16], back: bool) -> Vec<Vec<u8>> {
    ports.iter().map(|&port| frame(proto, port, back)).collect()
}

#[test]
fn all_that_have_a_place_in_a_line_pass_with_the_burst() {
    let (table, ports) = crowded(UDP, State::Answered, 8);
    let mut ready = Ready::new();
    let there = frames(UDP, &ports, false);
    let mut sure = |stamps, now| bring(&mut ready, &table, &there, stamps, now).sure;
    assert_eq!(sure((5, 6), NOW), 0xff);
    assert_eq!(sure((5, 7), NOW), 0, "by other rules");
    assert_eq!(sure((5, 6), NOW + STALE), 0, "that it was heard has to be written down");
    assert_eq!(bring(&mut ready, &table, &frames(UDP, &ports, true), (6, 5), NOW).sure, 0xff);
}

#[test]
fn who_finds_no_place_passes_when_it_is_asked_about() {
    let (mut table, ports) = crowded(UDP, State::Answered, 9);
    let mut ready = Ready::new();
    let there = frames(UDP, &ports, false);
    assert_eq!(bring(&mut ready, &table, &there, (5, 6), NOW).sure, 0xff);
    for (number, bytes) in there.iter().enumerate() {
        let view = View::plain(bytes, 60);
        assert!(ready.passes(&mut table, number, &view, Asked { source: None, stamps: (5, 6) }, NOW));
        assert!(!ready.passes(&mut table, number, &view, Asked { source: None, stamps: (5, 7) }, NOW));
    }
}

#[test]
fn who_was_not_answered_is_passed_from_its_own_end_alone() {
    let (mut table, ports) = crowded(UDP, State::New, 4);
    let mut ready = Ready::new();
    let mut sure = |table: &Table, back| {
        let stamps = if back { (6, 5) } else { (5, 6) };
        bring(&mut ready, table, &frames(UDP, &ports, back), stamps, NOW).sure
    };
    assert_eq!((sure(&table, false), sure(&table, true)), (0b1111, 0));
    // Two that were, among two that were not.
    for port in [ports[0], ports[2]] {
        let at = table.find(&birth(UDP, State::New, port).key, &mut u32::MAX.clone()).unwrap();
        table.get_mut(at).unwrap().state = State::Answered;
        table.note(at);
    }
    assert_eq!((sure(&table, false), sure(&table, true)), (0b1111, 0b0101));
}

#[test]
fn each_is_asked_for_its_own_windows() {
    let (table, ports) = crowded(TCP, State::Tcp(tcp::State::Established), 4);
    let mut ready = Ready::new();
    let passing = bring(&mut ready, &table, &frames(TCP, &ports, false), (5, 6), NOW);
    assert_eq!((passing.sure, passing.segments), (0, 0b1111));
    for (number, &port) in ports.iter().enumerate() {
        let conn = table.get(ready.at[ready.place(number).1]).unwrap();
        assert_eq!(conn.key, birth(TCP, State::New, port).key);
    }
}

/// Packets of one connection in a row are looked up once, and of others in turn with them each run.
#[test]
fn runs_of_one_connection_pass_as_a_whole() {
    let (table, ports) = crowded(UDP, State::Answered, 2);
    let mut ready = Ready::new();
    let mut sure = |ports: &[u16], there: &[bool]| {
        let frames: Vec<_> =
            ports.iter().zip(there).map(|(&port, &there)| frame(UDP, port, !there)).collect();
        bring(&mut ready, &table, &frames, (5, 6), NOW).sure
    };
    let (one, two, strange) = (ports[0], ports[1], ports[1] + 1);
    assert_eq!(sure(&[one; 64], &[true; 64]), u64::MAX);
    assert_eq!(sure(&[strange; 64], &[true; 64]), 0);
    assert_eq!(sure(&[one, one, two, one, strange, two], &[true; 6]), 0b10_1111);
    // From the other end it would be by other rules.
    assert_eq!(sure(&[one, one, one, two, one], &[true, true, false, true, true]), 0b1_1011);
    assert_eq!(sure(&[strange, strange, one, one], &[true, true, false, true]), 0b1000);
}

#[test]
fn a_burst_is_as_long_as_its_longest_if_all_are_like_the_last() {
    let (table, ports) = crowded(UDP, State::Answered, 2);
    let mut ready = Ready::new();
    let there = frames(UDP, &[ports[0], ports[1], ports[1]], false);
    let mut longest = |lens: [u32; 3], like: &dyn Fn(&View<'_>) -> bool| {
        let views = there.iter().zip(lens).map(|(bytes, len)| View::plain(bytes, len));
        let asked = Some(Asked { source: None, stamps: (5, 6) });
        ready.bring(&table, views, None, (VLAN, NOW), asked, like).longest
    };
    assert_eq!(longest([60, 1514, 60], &|_| true), 1514);
    assert_eq!(longest([60, 60, 1515], &|_| true), 1515);
    assert_eq!(longest([60, 60, 60], &|_| false), u32::MAX);
}
