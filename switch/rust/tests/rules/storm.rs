//! Storm control: floods beyond a port's rates.

use super::*;
use switch::{Limits, Storm};

fn stormy(storm: Storm) -> Bench {
    let limits = Some(Box::new(Limits { storm, ..Limits::default() }));
    Bench::access(PortConfig { limits, ..PortConfig::access(1) })
}

fn passed(bench: &mut Bench, now: Nanos, dst: Mac, tries: usize) -> usize {
    let bytes = frame(dst, A, &[], 46);
    (0..tries).filter(|_| !matches!(bench.decide(now, 0, &bytes).out, Out::Drop(_))).count()
}

#[test]
fn each_kind_of_flood_has_its_rate_and_its_reason() {
    let mut bench = stormy(Storm { broadcast: 100, multicast: 20, unknown: 50 });
    for (dst, tenth, reason) in
        [(BROADCAST, 10, StormBroadcast), (MULTICAST, 2, StormMulticast), (B, 5, StormUnknown)]
    {
        // A tenth of a second's worth at once, and the frame that exceeds it.
        assert_eq!(passed(&mut bench, SECOND, dst, 100), tenth + 1);
        assert_eq!(bench.0.counters(0).unwrap().drops[reason as usize].get(), 99 - tenth as u64);
        assert_eq!(passed(&mut bench, 2 * SECOND, dst, 100), tenth + 1);
    }
    // A station that is known is no flood.
    bench.hear(1, B);
    assert_eq!(passed(&mut bench, 2 * SECOND, B, 100), 100);
}

#[test]
fn each_frame_of_a_burst_counts() {
    let mut bench = stormy(Storm { broadcast: 100, ..Storm::default() });
    let bytes = frame(BROADCAST, A, &[], 46);
    let mut out = [Decision::default(); 32];
    for (now, left) in [(SECOND, 11), (SECOND, 0), (2 * SECOND, 11)] {
        bench.0.classify(now, 0, [view(&bytes); 32], &mut out);
        let passed = out.iter().take_while(|decision| !matches!(decision.out, Out::Drop(_))).count();
        assert_eq!(passed, left);
        assert!(out[passed..].iter().all(|decision| decision.out == Out::Drop(StormBroadcast)));
        assert_eq!(bench.0.decided_alike(), passed == 0);
    }
    assert_eq!(bench.0.counters(0).unwrap().drops[StormBroadcast as usize].get(), 96 - 22);
}

#[test]
fn a_storm_passes_at_its_rate() {
    let mut bench = stormy(Storm { broadcast: 1000, ..Storm::default() });
    let total: usize = (0..10_000).map(|tick| passed(&mut bench, tick * 1_000_000, BROADCAST, 3)).sum();
    assert!((9_999..=10_101).contains(&total), "{total}");
    assert_eq!(passed(&mut bench, SECOND, MULTICAST, 1000), 1000, "any");
}

#[test]
fn a_super_frame_is_as_many_frames_as_it_is_cut_into() {
    let mut bench = stormy(Storm { multicast: 100, ..Storm::default() });
    let bytes = frame(MULTICAST, A, &[], 60_000);
    let sent = View { gso: true, segments: 41, headers: 54, ..View::plain(&bytes[..64], bytes.len() as u32) };
    assert!(matches!(bench.decide_view(SECOND, 0, sent).out, Out::Flood(_)));
    assert_eq!(bench.decide_view(SECOND + 300_000_000, 0, sent).out, Out::Drop(StormMulticast));
    assert!(matches!(bench.decide_view(SECOND + 420_000_000, 0, sent).out, Out::Flood(_)));
}

#[test]
fn another_configuration_keeps_the_buckets_that_did_not_change() {
    let storm = Storm { broadcast: 10, ..Storm::default() };
    let mut bench = stormy(storm);
    assert_eq!(passed(&mut bench, 0, BROADCAST, 10), 2);
    let config = bench.0.port(0).unwrap().clone();
    bench.0.set_port(0, PortConfig { mtu: 9000, ..config.clone() }).unwrap();
    assert_eq!(passed(&mut bench, 0, BROADCAST, 10), 0, "nobody gets more by being set up anew");
    bench.0.set_port(0, PortConfig { limits: None, ..config }).unwrap();
    assert_eq!(passed(&mut bench, 0, BROADCAST, 10), 10);
}
