//! What other switches are asked, so that no link carries what nobody wants any more.

use super::*;

/// The ports that questions about the group leave by.
fn asked(bench: &mut Bench, until: Nanos) -> Vec<PortId> {
    bench.go(until).iter().filter_map(|query| query.port).collect()
}

#[test]
fn the_last_one_to_leave_is_asked_for_over_links_too() {
    let mut bench = Bench::new(setup(), 5).settled();
    let link = PortConfig { places: true, ..PortConfig::access(1) };
    bench.switch.set_port(3, link).unwrap();
    let mut bench = bench.settled();
    bench.go(20 * SECOND);
    // Others here want it: nobody beyond a link need know.
    bench.join(0, V4);
    bench.join(1, V4);
    bench.leave(0, V4);
    assert_eq!(asked(&mut bench, 30 * SECOND), [0, 0]);
    bench.leave(1, V4);
    assert_eq!(asked(&mut bench, 40 * SECOND), [1, 3, 4, 1, 3, 4]);
    assert_eq!(bench.members(), []);
    // Both at once, so that none of them stays.
    bench.join(0, V4);
    bench.join(1, V4);
    bench.leave(0, V4);
    bench.leave(1, V4);
    assert_eq!(asked(&mut bench, 50 * SECOND), [0, 3, 4, 1, 3, 4, 0, 3, 4, 1, 3, 4]);
    // Somebody behind a link wants it: he has to be sent it by others, but not to send it.
    bench.join(0, V4);
    bench.join(3, V4);
    bench.leave(0, V4);
    assert_eq!(asked(&mut bench, 60 * SECOND), [0, 3, 0, 3]);
    assert_eq!(bench.data(4, V4), Ok(vec![3]));
    bench.leave(3, V4);
    assert_eq!(asked(&mut bench, 70 * SECOND), [3, 4, 3, 4]);
    // Where another asks, it is his to do.
    bench.join(0, V4);
    bench.query(4, [10, 0, 0, 4], [0; 4], 10);
    bench.leave(0, V4);
    assert_eq!(asked(&mut bench, 80 * SECOND), []);
}

#[test]
fn who_leaves_fast_is_not_asked_but_links_are() {
    let mut bench = Bench::new(Setup { fast_leave: true, ..setup() }, 4).settled();
    bench.join(0, V4);
    bench.join(1, V4);
    bench.leave(0, V4);
    assert_eq!(asked(&mut bench, 20 * SECOND), []);
    bench.leave(1, V4);
    assert_eq!(bench.members(), []);
    assert_eq!(asked(&mut bench, 20 * SECOND + SECOND / 2), [3]);
    assert_eq!(asked(&mut bench, 30 * SECOND), [3]);
    // Whoever comes back meanwhile has said so over links himself.
    bench.join(1, V4);
    bench.leave(1, V4);
    assert_eq!(asked(&mut bench, 30 * SECOND + SECOND / 2), [3]);
    bench.join(1, V4);
    assert_eq!(asked(&mut bench, 40 * SECOND), []);
}
