//! Lines that more connections lead to than have a place there.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::groups::table::Birth;
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
        state,
        halves: [Half::default(); 2],
        number: 9,
        allowed: STAMPS,
        owner: 0,
        limit: 100,
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
    ready.bring(table, views, VLAN, Some(Asked { source: None, stamps }), now, |_| true)
}

fn frames(proto: u8, ports: &[u16], back: bool) -> Vec<Vec<u8>> {
    ports.iter().map(|&port| frame(proto, port, back)).collect()
}

#[test]
fn a_third_in_a_line_passes_with_the_burst() {
    let (table, ports) = crowded(UDP, State::Answered, 3);
    let mut ready = Ready::new();
    let there = frames(UDP, &ports, false);
    let mut sure = |stamps, now| bring(&mut ready, &table, &there, stamps, now).sure;
    assert_eq!(sure((5, 6), NOW), 0b111);
    assert_eq!(sure((5, 7), NOW), 0, "by other rules");
    assert_eq!(sure((5, 6), NOW + STALE), 0, "that it was heard has to be written down");
    assert_eq!(bring(&mut ready, &table, &frames(UDP, &ports, true), (6, 5), NOW).sure, 0b111);
}

#[test]
fn a_third_that_nobody_answered_is_passed_from_its_own_end_alone() {
    let (table, ports) = crowded(UDP, State::New, 3);
    let mut ready = Ready::new();
    assert_eq!(bring(&mut ready, &table, &frames(UDP, &ports, false), (5, 6), NOW).sure, 0b111);
    assert_eq!(bring(&mut ready, &table, &frames(UDP, &ports, true), (6, 5), NOW).sure, 0);
}

#[test]
fn a_third_is_asked_for_its_own_windows() {
    let (table, ports) = crowded(TCP, State::Tcp(tcp::State::Established), 3);
    let mut ready = Ready::new();
    let passing = bring(&mut ready, &table, &frames(TCP, &ports, false), (5, 6), NOW);
    assert_eq!((passing.sure, passing.segments), (0, 0b111));
    for (number, &port) in ports.iter().enumerate() {
        let conn = table.get(ready.at[ready.place(number).1]).unwrap();
        assert_eq!(conn.key, birth(TCP, State::New, port).key);
    }
}

/// The fourth is further behind, until it is asked about.
#[test]
fn who_is_asked_about_is_the_next_to_pass_with_a_burst() {
    let (mut table, ports) = crowded(UDP, State::Answered, 4);
    let mut ready = Ready::new();
    let there = frames(UDP, &ports, false);
    for (passing, asked) in [(0b1011, 2), (0b0111, 3), (0b1011, 2)] {
        assert_eq!(bring(&mut ready, &table, &there, (5, 6), NOW).sure, passing);
        let view = View::plain(&there[asked], 60);
        assert!(ready.passes(&mut table, asked, &view, Asked { source: None, stamps: (5, 6) }, NOW));
    }
}
