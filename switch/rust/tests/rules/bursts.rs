//! Frames that come together.

use super::*;

#[test]
fn a_burst_is_counted_and_decided_in_order() {
    let mut bench = Bench::access(PortConfig::access(1));
    let frames = [
        frame(A, B, &[], 46),
        frame(A, B, &[], 500),
        frame(A, B, &[], 1501),
        frame(A, B, &[0x8100, 0], 46),
        frame(A, B, &[0x8100, 7], 46),
        frame(A, B, &[], 46)[..10].to_vec(),
        frame(B, A, &[], 46),
        frame(A, B, &[], 46),
    ];
    let mut out = [Decision::default(); 64];
    assert_eq!(bench.0.classify(0, 0, frames.iter().map(|bytes| view(bytes)), &mut out), frames.len());
    let unknown = Out::Flood(Flood::Unknown);
    let wanted = [
        unknown,
        unknown,
        Out::Drop(Giant),
        unknown,
        Out::Drop(TagNotAllowed),
        Out::Drop(Runt),
        Out::Drop(SamePort),
        Out::Drop(SamePort),
    ];
    assert_eq!(out.map(|decision| decision.out)[..8], wanted, "the last one knows A, from the frame before");
    assert_eq!(out[3].came, Came::Priority, "tags are looked at in every frame");
    let counters = bench.0.counters(0).unwrap();
    assert_eq!(counters.rx_frames.get(), 8);
    assert_eq!(counters.rx_bytes.get(), frames.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!(counters.forwarded.get(), 3);
    assert_eq!(counters.drops[SamePort as usize].get(), 2);
}

#[test]
fn what_there_is_no_room_for_is_not_taken() {
    let mut bench = Bench::access(PortConfig::access(1));
    let bytes = frame(B, A, &[], 46);
    let frames = vec![bytes; 5];
    let mut out = [Decision::default(); 2];
    for (done, taken) in [(0, 2), (2, 2), (4, 1), (5, 0)] {
        let rest = frames.iter().skip(done);
        assert_eq!(bench.0.classify(0, 0, rest.map(|bytes| view(bytes)), &mut out), taken);
    }
    assert_eq!(bench.0.counters(0).unwrap().rx_frames.get(), 5);
}
