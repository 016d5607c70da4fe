//! Room for guests' own stations in a full table.
#![allow(clippy::unwrap_used)]

use super::*;

const LIMIT: u32 = 1200;

fn key_of(vlan: VlanId, n: u32) -> u64 {
    key(vlan, 0x0200_0000_0000 | u64::from(n))
}

/// Learn a guest's own station; how many entries were looked at for it. In VLAN 1 those from `strangers` on give way.
fn learn(fdb: &mut Fdb, n: u32, strangers: u32) -> usize {
    let looked = std::cell::Cell::new(0);
    fdb.learn_own(key_of(2, n), 1, |other, _| {
        looked.set(looked.get() + 1);
        (key_of(1, strangers)..key_of(2, 0)).contains(&other)
    });
    looked.get()
}

fn full() -> Fdb {
    let mut fdb =
        Fdb::new(&SwitchConfig { fdb_limit: LIMIT, vlan_limit: u32::MAX, ..SwitchConfig::default() });
    for n in 0..LIMIT {
        fdb.learn(key_of(1, n), 0);
    }
    fdb
}

fn has(fdb: &Fdb, vlan: VlanId, n: u32) -> bool {
    fdb.find(key_of(vlan, n)).is_some()
}

#[test]
fn a_stranger_gives_way_however_many_guests_were_heard_before_it() {
    let mut fdb = full();
    for _ in 0..LIMIT as usize / LOOKED_AT {
        assert!(learn(&mut fdb, 0, 1100) <= LOOKED_AT, "a frame pays for a few");
    }
    assert!(has(&fdb, 2, 0) && has(&fdb, 1, 1099) && !has(&fdb, 1, 1100) && has(&fdb, 1, 1101));
    // The next one is found where that one was.
    assert_eq!((learn(&mut fdb, 1, 1100), has(&fdb, 1, 1101)), (1, false));
    assert_eq!(fdb.count().learned, LIMIT);
}

#[test]
fn a_search_begins_anew_at_its_end_and_where_its_place_is_gone() {
    let mut fdb = full();
    for n in 0..100 {
        learn(&mut fdb, n, LIMIT);
    }
    assert!((0..100).all(|n| !has(&fdb, 2, n)), "none gives way");
    // A guest's that has become a stranger's meanwhile.
    let tries = (0..).take_while(|_| learn(&mut fdb, 0, 0) != 1).count();
    assert!(tries <= 1 && has(&fdb, 2, 0));
    for (kind, n) in [(None, 1), (Some(Kind::Static), 2)] {
        let mut fdb = full();
        learn(&mut fdb, 0, LIMIT);
        let [a, b] = (LOOKED_AT as u16 - 1).to_be_bytes();
        let last = [2, 0, 0, 0, a, b];
        match kind {
            None => fdb.forget(1, last).unwrap(),
            Some(kind) => fdb.set(1, last, 0, kind).unwrap(),
        }
        fdb.learn(key_of(1, LIMIT), 0);
        assert_eq!((learn(&mut fdb, n, 0), has(&fdb, 1, 0), has(&fdb, 2, n)), (1, false, true), "{kind:?}");
    }
}
