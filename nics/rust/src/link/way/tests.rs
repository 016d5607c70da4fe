//! What a way does to frames, and when.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::frame::Frame;
use crate::link::impair::{Queue, Spread};
use crate::testkit::numbered;
use switch::TagEdit;

const MS: Nanos = 1_000_000;

fn way(impair: Impair) -> Way {
    let mut way = Way::new(5);
    way.set(impair, 0);
    way
}

fn put(way: &mut Way, now: Nanos, number: u32, len: usize) -> Result<(), DropReason> {
    let bytes = numbered(number, len);
    let frame = Frame::flat(&bytes, Offload::NONE);
    way.put(now, &TxFrame { frame: &frame, edit: TagEdit::NONE }, Origin::NOBODY)
}

/// Every arrival until the way is empty: (when, which).
fn arrivals(way: &mut Way) -> Vec<(Nanos, u32)> {
    let mut found = vec![];
    let mut now = 0;
    loop {
        let mut taken = vec![];
        while way.take(64, &mut taken) {}
        found.extend(taken.iter().map(|b| (now, u32::from_be_bytes(b.bytes[14..18].try_into().unwrap()))));
        way.give_back(&mut taken);
        match way.deadline() {
            Some(at) => {
                assert!(at >= now);
                now = at;
                way.advance(now);
            }
            None => break,
        }
    }
    assert_eq!((way.held, way.queued), (0, 0));
    found
}

#[test]
fn a_delay_is_exact() {
    let mut way = way(Impair { delay: 5 * MS, ..Impair::default() });
    for n in 0..10 {
        put(&mut way, Nanos::from(n) * 100, n, 60).unwrap();
    }
    assert_eq!(arrivals(&mut way), (0..10).map(|n| (5 * MS + u64::from(n) * 100, n)).collect::<Vec<_>>());
}

#[test]
fn a_rate_spaces_frames_and_looking_late_changes_nothing() {
    // 1250 bytes at 1 Mbit/s take 10 ms.
    let impair = Impair { rate: 1_000_000, delay: MS, ..Impair::default() };
    let mut one = way(impair.clone());
    let mut other = way(impair);
    for n in 0..5 {
        put(&mut one, 0, n, 1250).unwrap();
        put(&mut other, 0, n, 1250).unwrap();
    }
    let found = arrivals(&mut one);
    assert_eq!(found, [(11 * MS, 0), (21 * MS, 1), (31 * MS, 2), (41 * MS, 3), (51 * MS, 4)]);
    other.advance(25 * MS);
    let mut taken = vec![];
    other.take(64, &mut taken);
    assert_eq!(taken.len(), 2);
    assert_eq!(other.deadline(), Some(30 * MS));
}

#[test]
fn what_is_in_a_vlan_can_be_lost_wherever_it_is() {
    // 1250 bytes take 10 ms: two have arrived, one flies, and the others wait.
    let mut way = way(Impair { rate: 1_000_000, delay: 5 * MS, ..Impair::default() });
    for n in 0..8_u16 {
        let bytes = numbered(n.into(), 1246);
        // Priority 7; of each VLAN one in turn.
        let tag = [0x81, 0, 0xe0, [10, 20][usize::from(n) % 2]];
        let bytes = [&bytes[..12], &tag, &bytes[12..]].concat();
        let frame = Frame::flat(&bytes, Offload::NONE);
        way.put(0, &TxFrame { frame: &frame, edit: TagEdit::NONE }, Origin::NOBODY).unwrap();
    }
    put(&mut way, 0, 8, 1250).unwrap();
    way.advance(32 * MS);
    way.lose(&Handover::from([(20, Some(30)), (0xe0, None)]));
    assert_eq!(way.losses().collect::<Vec<_>>(), [(DropReason::TxNotMember, 4)]);
    let mut left = vec![];
    let mut now = 32 * MS;
    loop {
        let mut taken = vec![];
        way.take(64, &mut taken);
        left.extend(taken.iter().map(|buffer| (now / MS, vlan(&buffer.bytes))));
        let Some(at) = way.deadline() else { break };
        now = at;
        way.advance(now);
    }
    assert_eq!(left, [(32, Some(10)), (35, Some(10)), (55, Some(10)), (65, Some(10)), (75, None)]);
    assert_eq!((way.held, way.queued), (0, 0));
}

#[test]
fn a_full_queue_drops_the_tail() {
    let queue = Queue { packets: 3, ..Queue::default() };
    let mut by_packets = way(Impair { rate: 8_000_000, queue, ..Impair::default() });
    let fates: Vec<_> = (0..6).map(|n| put(&mut by_packets, 0, n, 1000)).collect();
    // One is on the wire, three wait.
    assert_eq!(fates[..4], [Ok(()); 4]);
    assert_eq!(fates[4..], [Err(DropReason::LinkQueue); 2]);
    put(&mut by_packets, MS, 6, 1000).unwrap();
    assert_eq!(arrivals(&mut by_packets).last(), Some(&(5 * MS, 6)));

    let queue = Queue { packets: 100, bytes: 2500, ..Queue::default() };
    let mut by_bytes = way(Impair { rate: 8_000_000, queue, ..Impair::default() });
    let taken = (0..6).filter(|n| put(&mut by_bytes, 0, *n, 1000).is_ok()).count();
    assert_eq!(taken, 3);
}

#[test]
fn codel_keeps_the_wait_short_where_tail_drop_does_not() {
    let longest_wait = |aqm| {
        let queue = Queue { packets: 1000, bytes: 0, aqm };
        let mut way = way(Impair { rate: 10_000_000, queue, ..Impair::default() });
        // A sender that answers to loss as TCP does, crudely: 1250 bytes are 1 ms of the wire.
        let (mut window, mut longest, mut now) = (10_u32, 0, 0);
        let mut sent = std::collections::VecDeque::new();
        let mut number = 0;
        let mut lost = 0;
        for round in 0..20_000 {
            while sent.len() < window as usize {
                number += 1;
                if put(&mut way, now, number, 1250).is_ok() {
                    sent.push_back((now, number));
                } else {
                    lost += 1;
                    window = (window / 2).max(2);
                    break;
                }
            }
            now += MS;
            way.advance(now);
            let drops: u64 = way.losses().map(|(_, n)| n).sum();
            lost += drops;
            for _ in 0..drops {
                window = (window / 2).max(2);
                sent.pop_front();
            }
            let mut taken = vec![];
            way.take(64, &mut taken);
            for _ in &taken {
                if let Some((came, _)) = sent.pop_front()
                    && round > 5000
                {
                    longest = longest.max(now - came);
                }
            }
            if round % 20 == 0 && !taken.is_empty() {
                window += 1;
            }
        }
        assert!(lost > 0);
        longest
    };
    let tail = longest_wait(Aqm::Tail);
    let codel = longest_wait(Aqm::Codel { target: 5 * MS, interval: 100 * MS });
    assert!(tail > 400 * MS, "{tail}");
    assert!(codel < 60 * MS, "{codel}");
}

#[test]
fn jitter_keeps_the_order_and_reorder_does_not() {
    let impair = Impair { delay: 10 * MS, jitter: 5 * MS, spread: Spread::Normal, ..Impair::default() };
    let mut way1 = way(impair.clone());
    (0..1000).for_each(|n| put(&mut way1, u64::from(n) * 1000, n, 60).unwrap());
    assert!(arrivals(&mut way1).is_sorted_by_key(|(_, n)| *n));
    let mut way2 = way(Impair { reorder: 100_000, ..impair });
    (0..1000).for_each(|n| put(&mut way2, u64::from(n) * 1000, n, 60).unwrap());
    let found = arrivals(&mut way2);
    assert_eq!(found.len(), 1000);
    // Those had arrived when the last was sent.
    let early = found.iter().filter(|(at, _)| *at == 0).count();
    assert!((60..140).contains(&early), "{early}");
}

#[test]
fn what_is_duplicated_arrives_twice() {
    let mut way = way(Impair { duplicate: 500_000, ..Impair::default() });
    (0..1000).for_each(|n| put(&mut way, 0, n, 60).unwrap());
    let found = arrivals(&mut way).len();
    assert!((1450..1550).contains(&found), "{found}");
}

#[test]
fn longer_frames_than_the_mtu_are_lost_and_tags_do_not_count() {
    let mut way = way(Impair { mtu: 1000, ..Impair::default() });
    put(&mut way, 0, 1, 1014).unwrap();
    assert_eq!(put(&mut way, 0, 2, 1015), Err(DropReason::TxTooBig));
    let mut bytes = numbered(1, 1018);
    bytes[12..14].copy_from_slice(&[0x81, 0]);
    let frame = Frame::flat(&bytes, Offload::NONE);
    way.put(0, &TxFrame { frame: &frame, edit: TagEdit::NONE }, Origin::NOBODY).unwrap();
}

#[test]
fn memory_is_bounded() {
    let mut way = way(Impair { delay: 1000 * MS, ..Impair::default() });
    let taken = (0..2000).filter(|n| put(&mut way, 0, *n, 65_000).is_ok()).count();
    assert_eq!(taken, BYTES / 65_000);
    assert!(way.held <= BYTES);
    way.clear();
    assert_eq!(way.losses().collect::<Vec<_>>(), [(DropReason::TxNoCarrier, taken as u64)]);
    assert_eq!((way.held, way.deadline()), (0, None));
}

#[test]
fn a_short_frame_does_not_hold_what_a_long_one_left() {
    let mut way = way(Impair { delay: 100 * MS, duplicate: 100_000, ..Impair::default() });
    let mut most = 0;
    for n in 0..20_000_u32 {
        // First long and short ones, then what they left is used for short ones.
        let len = if n % 10 == 0 && n < 10_000 { 65_000 } else { [1514, 60, 300][n as usize % 3] };
        let _ = put(&mut way, Nanos::from(n) * MS / 100, n, len);
        let mut taken = vec![];
        while way.take(64, &mut taken) {}
        way.give_back(&mut taken);
        if n % 100 == 0 {
            let memory = way.flying.iter().map(|Reverse(one)| one.buffer.bytes.capacity());
            assert_eq!(way.held, memory.sum::<usize>());
            most = most.max(way.held);
        }
    }
    assert!(BYTES / 2 < most && most <= BYTES, "{most}");
}

#[test]
fn a_change_holds_for_frames_to_come_and_keeps_the_order() {
    let mut way = way(Impair { delay: 100 * MS, ..Impair::default() });
    put(&mut way, 0, 1, 60).unwrap();
    way.set(Impair { delay: MS, ..Impair::default() }, 10 * MS);
    put(&mut way, 10 * MS, 2, 60).unwrap();
    way.set(Impair::default(), 20 * MS);
    put(&mut way, 20 * MS, 3, 60).unwrap();
    assert_eq!(arrivals(&mut way), [(100 * MS, 1), (100 * MS, 2), (100 * MS, 3)]);
}

#[test]
fn a_faster_wire_is_rid_of_its_frame_sooner() {
    // 1250 bytes at 1 kbit/s take 10 s: 5 s later half of one is on its way still.
    let slow = Impair { rate: 1000, delay: 7 * MS, ..Impair::default() };
    for (rate, first, each) in [(1_000_000, 5005, 10), (500, 10_000, 20_000), (0, 5000, 0)] {
        let mut way = way(slow.clone());
        (0..3).for_each(|n| put(&mut way, 0, n, 1250).unwrap());
        way.set(Impair { rate, ..slow.clone() }, 5000 * MS);
        let expected = [0, 1, 2].map(|n| ((first + each * n + 7) * MS, n as u32));
        assert_eq!(arrivals(&mut way), expected, "{rate} bit/s");
    }
}

#[test]
fn a_faster_wire_keeps_the_order() {
    let far = Impair { delay: 20_000 * MS, ..Impair::default() };
    let slow = Impair { rate: 1000, delay: MS, duplicate: 1_000_000, ..Impair::default() };
    for delay in [0, 15_000 * MS] {
        let mut way = way(far.clone());
        put(&mut way, 0, 0, 60).unwrap();
        way.set(Impair { delay, ..slow.clone() }, 0);
        put(&mut way, 0, 1, 1250).unwrap();
        way.set(Impair { rate: 1_000_000, ..slow.clone() }, 5000 * MS);
        put(&mut way, 5000 * MS, 2, 1250).unwrap();
        let at = 20_000.max(5005 + delay / MS);
        assert_eq!(arrivals(&mut way), [0, 1, 1, 2, 2].map(|n| (if n == 0 { 20_000 } else { at } * MS, n)));
    }
}
