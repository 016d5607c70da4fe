//! What guests may have the switch do, in records and in lists.

use super::super::lists::{WORK, WORK_AT_ONCE};
use super::*;

/// As many groups as a report of the usual MTU has room for, with a source each.
const MANY: u8 = 110;

fn wide() -> Setup {
    Setup { bounds: Bounds { groups: 1024, port_groups: 128 }, ..setup() }
}

/// All groups in one report.
fn all(bench: &mut Bench, port: PortId, kind: u8, sources: &[[u8; 4]]) -> Result<Vec<PortId>, &'static str> {
    let groups: Vec<[u8; 4]> = (0..MANY).map(|n| [239, 2, 0, n]).collect();
    let per_frame = 1400 / (8 + 4 * sources.len());
    groups.chunks(per_frame).try_fold(vec![], |_, groups| {
        let records: Vec<_> = groups.iter().map(|group| (kind, *group, sources)).collect();
        bench.v3(port, &records)
    })
}

fn work(bench: &Bench) -> u64 {
    bench.switch.multicast.as_ref().unwrap().work
}

/// Reports of all groups, with one source and another in turns, as many as `count` and may be.
fn toggle(bench: &mut Bench, port: PortId, count: usize) -> usize {
    let own = |n: usize| [10, 9, (port >> 8) as u8, n as u8 % 2];
    (0..count).filter(|&n| all(bench, port, 4, &[own(n)]).is_ok()).count()
}

#[test]
fn a_report_counts_for_what_it_changes() {
    let mut bench = Bench::new(wide(), 3).settled();
    // An honest guest joins all at once and leaves them, and says each twice.
    for kind in [4, 4, 3, 3] {
        assert_eq!(all(&mut bench, 0, kind, &[]), Ok(vec![2]));
    }
    bench.go(bench.now + 3 * SECOND);
    assert_eq!(bench.members(), []);
    // It answers as often as it likes.
    assert_eq!(all(&mut bench, 0, 4, &[]), Ok(vec![2]));
    bench.go(bench.now + 4 * SECOND);
    assert!((0..60).all(|_| all(&mut bench, 0, 2, &[]).is_ok()));
    // Another one wants something else each time.
    assert_eq!(toggle(&mut bench, 1, 64), 4);
    bench.go(bench.now + 2 * SECOND);
    assert_eq!(toggle(&mut bench, 1, 64), 2, "100 changes a second, and one report more");
    let counters = bench.switch.counters(1).unwrap();
    let dropped = counters.drops[crate::DropReason::MulticastReports as usize].get();
    assert_eq!((dropped, counters.rx_frames.get(), counters.forwarded.get()), (122, 128, 6));
    // What is refused for want of room counts, too.
    let mut bench = Bench::new(Setup { bounds: Bounds { groups: 1024, port_groups: 1 }, ..setup() }, 3);
    assert_eq!((0..64).filter(|_| all(&mut bench, 0, 4, &[]).is_ok()).count(), 4);
}

#[test]
fn lists_take_their_share_of_the_time() {
    let guests: PortId = 100;
    let mut bench = Bench::new(wide(), guests + 1).settled();
    for port in 0..guests {
        let own: Vec<[u8; 4]> = (0..4).map(|n| [10, 8, (port % 15) as u8, n]).collect();
        all(&mut bench, port, 4, if port > 0 { &own } else { &[] }).unwrap();
        bench.go(bench.now + 10 * MS);
    }
    bench.go(bench.now + 5 * SECOND);
    let (began, before) = (bench.now, work(&bench));
    for step in 0..100 {
        for port in (step % 50..guests).step_by(50) {
            toggle(&mut bench, port, 2);
        }
        bench.go(bench.now + 20 * MS);
    }
    let (took, done) = (bench.now - began, work(&bench) - before);
    let one_more = 2000;
    assert!(done <= WORK_AT_ONCE + WORK * took / SECOND + one_more, "{done} in {took} ns");
    assert!(done > WORK_AT_ONCE + WORK, "there was more to do than that");
    // Whoever asks for something meanwhile has his turn, and in the end every list is right.
    bench.join(3, V4);
    let mut waited = 0;
    while bench.data(0, V4).is_err() {
        bench.go(bench.now + 10 * MS);
        waited += 1;
        assert!(waited < 100);
    }
    bench.go(bench.now + 10 * SECOND);
    let reached = bench.data(guests, [239, 2, 0, 7]).unwrap();
    assert_eq!(reached, (0..guests).collect::<Vec<_>>());
    let snooper = bench.switch.multicast.as_mut().map(std::sync::Arc::make_mut).unwrap();
    let lists = snooper.lists.clone();
    snooper.spread(1);
    assert_eq!(snooper.lists, lists);
}
