//! What guards know of stations stays with the station, wherever its entry is moved.

use super::*;

fn key_of(n: u32) -> u64 {
    key(1, 0x0200_0000_0000 | u64::from(n))
}

fn bound(fdb: &Fdb, n: u32) -> Option<u32> {
    fdb.find(key_of(n)).map(|home| fdb.bound(&home))
}

#[test]
fn it_moves_with_the_entry_and_goes_with_it() {
    let mut fdb = Fdb::new(&SwitchConfig { vlan_limit: u32::MAX, ..SwitchConfig::default() });
    const N: u32 = 5000;
    for n in 0..N {
        fdb.learn(key_of(n), 3);
        fdb.bind(key_of(n), if n % 5 == 0 { 4 } else { 3 }, n + 1);
    }
    // Another port's guard has no say.
    let expected = |n: u32| if n.is_multiple_of(5) { 0 } else { n + 1 };
    assert!((0..N).all(|n| bound(&fdb, n) == Some(expected(n))), "segments were split");
    for n in (0..N).filter(|n| n % 3 == 0) {
        fdb.forget(1, [2, 0, 0, 0, (n >> 8) as u8, n as u8]).unwrap();
    }
    assert!((0..N).all(|n| bound(&fdb, n) == (n % 3 != 0).then(|| expected(n))), "gaps were closed");
    for n in (0..N).filter(|n| n % 3 == 0) {
        fdb.learn(key_of(n), 3);
    }
    assert!((0..N).filter(|n| n % 3 == 0).all(|n| bound(&fdb, n) == Some(0)), "places were taken again");
    let home = fdb.find(key_of(1)).unwrap();
    fdb.relocate(&home, 9);
    assert_eq!(bound(&fdb, 1), Some(0));
}

#[test]
fn another_guard_begins_anew() {
    let mut fdb = Fdb::new(&SwitchConfig::default());
    fdb.set(1, [2, 0, 0, 0, 0, 1], 3, Kind::Static).unwrap();
    fdb.set(1, [2, 0, 0, 0, 0, 2], 4, Kind::Sticky).unwrap();
    fdb.bind(key_of(1), 3, 10);
    fdb.bind(key_of(2), 4, 10);
    fdb.unbind(3);
    assert_eq!((bound(&fdb, 1), bound(&fdb, 2)), (Some(0), Some(10)));
}
