#![allow(clippy::unwrap_used)]

use super::past::{Cursor, Piece};
use super::ring::records;
use super::*;
use nics::Offload;
use proptest::prelude::*;
use switch::{Flood, TagEdit};

const SECOND: Nanos = 1_000_000_000;

fn to(port: PortId) -> Decision {
    Decision { out: Out::Port(port), vlan: 10, ..Decision::dropped(DropReason::Runt) }
}

fn burst(data: &[u8], n: usize) -> Vec<Frame<'_>> {
    vec![Frame::flat(data, Offload::NONE); n]
}

/// All that is kept of `port`: (packet, verdict, gap, bytes kept).
fn kept(recorder: &Recorder, port: PortId) -> Vec<(u64, Verdict, u32, usize)> {
    let (mut cursor, mut found) = (Cursor::default(), vec![]);
    loop {
        let mut piece = Piece::new();
        let more = recorder.copy(&mut cursor, &mut piece);
        piece.each(|at, bytes| {
            if at == port {
                found.extend(records(bytes).map(|(r, head)| (r.packet, r.verdict, r.gap, head.len())));
            }
        });
        if !more {
            return found;
        }
    }
}

#[test]
fn a_frame_is_kept_with_its_beginning_and_what_became_of_it() {
    let mut recorder = Recorder::new();
    let (short, long) = ([7; 60], vec![7; 1500]);
    let frames = [Frame::flat(&short, Offload::NONE), Frame::flat(&long, Offload::NONE)];
    let flood = Decision { out: Out::Flood(Flood::Broadcast), ..to(0) };
    recorder.rx(5, 3, 100, &frames, &[to(4), flood], false);
    recorder.rx(6, 3, 102, &frames[..1], &[Decision::dropped(DropReason::GuardMac)], true);
    let wanted = [
        (100, Verdict::To(4), 0, 60),
        (101, Verdict::Flood, 0, 96),
        (102, Verdict::Dropped(DropReason::GuardMac), 0, 60),
    ];
    assert_eq!(kept(&recorder, 3), wanted);
    assert_eq!(kept(&recorder, 4), []);
    let tx = TxFrame { frame: &frames[1], edit: TagEdit { strip: 0, insert: 0x8100_000a, ..TagEdit::NONE } };
    recorder.refused(6, 4, 101, 10, &tx, DropReason::TxFull);
    let own = TxFrame { frame: &frames[0], edit: TagEdit::NONE };
    recorder.own(7, 4, 103, &own);
    // What passed stands before what was dropped; whoever reads it sorts.
    let wanted = [(103, Verdict::Own, 0, 60), (101, Verdict::Refused(DropReason::TxFull), 0, 96)];
    assert_eq!(kept(&recorder, 4), wanted);
    recorder.forget(3);
    assert_eq!(kept(&recorder, 3), []);
}

#[test]
fn what_is_beyond_the_rate_is_counted_and_told() {
    let mut recorder = Recorder::new();
    let data = [7; 60];
    let frames = burst(&data, 64);
    let decisions = vec![to(4); 64];
    // A tenth of a second at 26 million frames a second.
    let (step, n) = (2_400, 40_000);
    for i in 0..n {
        recorder.rx(i * step, 3, i * 64, &frames, &decisions, true);
    }
    let found = kept(&recorder, 3);
    let mut expected = found[0].0;
    for (packet, _, gap, _) in &found[1..] {
        expected += 1 + u64::from(*gap);
        assert_eq!(*packet, expected, "a frame that is neither kept nor counted");
    }
    // Bursts begin with frames that are kept, and now and then one is kept whole.
    let share = (n * 64) as f64 / (n * step / 2048 + n * FEW as u64) as f64;
    let span = (found.last().unwrap().0 - found[0].0) as f64 / found.len() as f64;
    assert!((share - span).abs() < share / 3.0, "{share} {span}");
}

#[test]
fn below_the_rate_every_frame_is_kept() {
    let mut recorder = Recorder::new();
    let data = [7; 60];
    let frames = burst(&data, 64);
    let decisions = vec![to(4); 64];
    for i in 0..10_000 {
        recorder.rx(i * 64 * 2048, 3, i * 64, &frames, &decisions, true);
    }
    let found = kept(&recorder, 3);
    assert!(found.iter().map(|f| f.0).eq(640_000 - found.len() as u64..640_000));
    assert!(found.len() > 1900);
}

#[test]
fn a_flood_drives_out_no_drop_and_no_other_port() {
    let mut recorder = Recorder::new();
    let data = [7; 60];
    let frames = burst(&data, 64);
    recorder.rx(1, 3, 0, &frames[..1], &[Decision::dropped(DropReason::GuardMac)], true);
    recorder.rx(1, 5, 1, &frames[..1], &[to(3)], true);
    for i in 0..100_000 {
        recorder.rx(i * 2_400, 3, 2 + i * 64, &frames, &vec![to(4); 64], true);
    }
    let drop = (0, Verdict::Dropped(DropReason::GuardMac), 0, 60);
    assert!(kept(&recorder, 3).contains(&drop));
    assert_eq!(kept(&recorder, 5).len(), 1);
}

#[test]
fn a_drop_within_a_burst_is_kept_at_any_rate() {
    let mut recorder = Recorder::new();
    let data = [7; 60];
    let frames = burst(&data, 64);
    let mut decisions = vec![to(4); 64];
    decisions[40] = Decision::dropped(DropReason::GroupEgress);
    for i in 0..100 {
        recorder.rx(1, 3, i * 64, &frames, &decisions, false);
    }
    let drops = kept(&recorder, 3).into_iter().filter(|f| f.1.dropped().is_some());
    assert!(drops.map(|f| f.0).eq((0..100).map(|i| i * 64 + 40)));
}

#[test]
fn memory_is_bounded_for_a_port_and_for_all() {
    let mut recorder = Recorder::new();
    recorder.set(Some(Settings { size: 64 << 10, total: 256 << 10, snap: 96 }), vec![]);
    let data = [7; 1500];
    let frames = burst(&data, 64);
    for port in 0..100 {
        for i in 0..100 {
            recorder.rx(i * SECOND, port, i, &frames, &vec![to(4); 64], true);
        }
    }
    let sizes: Vec<usize> = (0..100).map(|port| kept(&recorder, port).len() * 120).collect();
    assert!(sizes[0] > 40 << 10 && sizes[0] <= 48 << 10, "{}", sizes[0]);
    assert!(sizes[99] >= CHUNK - 120 && sizes[99] <= FIRST * CHUNK, "{}", sizes[99]);
    assert!(sizes.iter().sum::<usize>() <= (256 << 10) + 100 * FIRST * CHUNK);
    // Memory of ports that are gone is others' to take.
    (0..99).for_each(|port| recorder.forget(port));
    for i in 100..200 {
        recorder.rx(i * SECOND, 99, i, &frames, &vec![to(4); 64], true);
    }
    assert!(kept(&recorder, 99).len() * 120 > 40 << 10);
}

#[test]
fn off_it_keeps_nothing() {
    let mut recorder = Recorder::new();
    let data = [7; 60];
    recorder.set(None, vec![]);
    recorder.rx(1, 3, 0, &burst(&data, 1), &[to(4)], true);
    assert_eq!(kept(&recorder, 3), []);
    assert!(recorder.tracks.is_empty());
}

proptest! {
    /// Whatever comes, every frame is kept, counted as a gap, or older than all that is kept.
    #[test]
    fn nothing_is_missing(
        bursts in proptest::collection::vec((0u64..100_000, 1usize..65, 0u8..4), 1..300),
    ) {
        let mut recorder = Recorder::new();
        let data = [7; 60];
        let frames = burst(&data, 64);
        let (mut now, mut packet, mut dropped) = (0, 0, 0);
        for (step, n, kind) in bursts {
            now += step;
            let decide = |i: usize| match kind {
                0 => to(4),
                1 => Decision::dropped(DropReason::GuardMac),
                _ if i.is_multiple_of(3) => Decision::dropped(DropReason::GuardMac),
                _ => to(4),
            };
            let decisions: Vec<Decision> = (0..n).map(decide).collect();
            dropped += decisions.iter().filter(|d| matches!(d.out, Out::Drop(_))).count() as u64;
            recorder.rx(now, 3, packet, &frames[..n], &decisions, decisions.iter().all(|d| *d == decisions[0]));
            packet += n as u64;
        }
        let found = kept(&recorder, 3);
        let (drops, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|f| f.1.dropped().is_some());
        let track = recorder.tracks[3].as_ref().unwrap();
        for (records, gap, all, ring) in [
            (&drops, track.dropped_gap, dropped, &track.dropped),
            (&others, track.passed_gap, packet - dropped, &track.passed),
        ] {
            prop_assert!(records.windows(2).all(|two| two[0].0 < two[1].0));
            let told = records.iter().map(|f| 1 + u64::from(f.2)).sum::<u64>() + u64::from(gap);
            if ring.is_whole() {
                prop_assert_eq!(told, all);
            } else {
                prop_assert!(told < all);
            }
        }
    }
}
