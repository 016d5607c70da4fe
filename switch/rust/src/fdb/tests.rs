//! The FDB against a dictionary: whatever is done to it, in any order, at any size.

use super::table::Table;
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const STEP: Nanos = 1 << 20;
const AGEING: Nanos = 256 * STEP;
const LIMIT: u32 = 1200;
const VLAN_LIMIT: u32 = 1000;

fn config(hash_seed: [u64; 2]) -> SwitchConfig {
    SwitchConfig { fdb_limit: LIMIT, vlan_limit: VLAN_LIMIT, ageing: AGEING, hash_seed, ..Default::default() }
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn key_of(vlan: VlanId, n: u32) -> u64 {
    key(vlan, number(mac(n)))
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    port: PortId,
    kind: Kind,
    heard: u64,
    /// Among those heard at the same time.
    order: u64,
}

/// An FDB, and a dictionary that it must agree with.
struct Pair {
    fdb: Fdb,
    known: HashMap<u64, Known>,
    time: u64,
    turn: u64,
    limit: u32,
    vlan_limit: u32,
    /// Steps that a learned entry lives.
    lifetime: u64,
}

impl Pair {
    fn new(seed: [u64; 2]) -> Self {
        let fdb = Fdb::new(&config(seed));
        let (limit, vlan_limit) = (LIMIT, VLAN_LIMIT);
        Pair { fdb, known: HashMap::new(), time: 0, turn: 0, limit, vlan_limit, lifetime: 256 }
    }

    fn learned(&self, vlan: Option<VlanId>) -> u32 {
        let in_vlan = |key: &u64| vlan.is_none_or(|vlan| (key >> 48) as VlanId == vlan);
        self.known.iter().filter(|(key, entry)| entry.kind == Kind::Learned && in_vlan(key)).count() as u32
    }

    fn room(&self, vlan: VlanId) -> bool {
        let known = self.known.len() as u32;
        known < self.limit && (known < self.vlan_limit || self.learned(Some(vlan)) < self.vlan_limit)
    }

    /// What a switch does with a source address, at a port without a limit.
    fn hear(&mut self, vlan: VlanId, n: u32, port: PortId) {
        self.turn += 1;
        let key = key_of(vlan, n);
        let fresh = Known { port, kind: Kind::Learned, heard: self.time, order: self.turn };
        match self.known.get(&key).copied() {
            Some(known) if known.kind != Kind::Learned => {}
            Some(known) if known.port == port && known.heard == self.time => {}
            None if !self.room(vlan) => {}
            _ => drop(self.known.insert(key, fresh)),
        }
        match self.fdb.find(key) {
            Some(home) if home.port == port => self.fdb.refresh(&home),
            Some(home) if home.kind == Kind::Learned => self.fdb.relocate(&home, port),
            Some(_) => {}
            None => self.fdb.learn(key, port),
        }
    }

    fn set(&mut self, vlan: VlanId, n: u32, port: PortId, kind: Kind) {
        let key = key_of(vlan, n);
        self.known.remove(&key);
        let mut full = false;
        if self.known.len() >= self.limit as usize {
            let learned = self.known.iter().filter(|(_, entry)| entry.kind == Kind::Learned);
            match learned.min_by_key(|(_, entry)| (entry.heard, entry.order)).map(|(key, _)| *key) {
                Some(oldest) => drop(self.known.remove(&oldest)),
                None => full = true,
            }
        }
        if !full {
            self.known.insert(key, Known { port, kind, heard: 0, order: 0 });
        }
        let set = self.fdb.set(vlan, mac(n), port, kind);
        assert_eq!(set, if full { Err(SwitchError::FdbFull) } else { Ok(()) });
    }

    fn wait(&mut self, steps: u64) {
        self.time += steps;
        let time = self.time;
        let lifetime = self.lifetime;
        self.known.retain(|_, entry| entry.kind != Kind::Learned || time - entry.heard < lifetime);
        // As often as it takes: one call forgets a bounded number.
        self.fdb.tick(time * STEP);
        while self.fdb.deadline().is_some_and(|deadline| deadline <= time * STEP) {
            let before = self.fdb.count().learned;
            self.fdb.tick(time * STEP);
            assert!(self.fdb.count().learned < before);
        }
    }

    fn configure(&mut self, limit: u32, vlan_limit: u32, lifetime: u64) {
        let config = SwitchConfig {
            fdb_limit: limit,
            vlan_limit,
            ageing: lifetime * STEP,
            hash_seed: [0, 0], // is not asked for
            ..SwitchConfig::default()
        };
        let fixed = self.known.len() as u32 - self.learned(None);
        let done = self.fdb.configure(self.time * STEP, &config);
        if fixed > limit {
            assert_eq!(done, Err(SwitchError::FdbFull));
            return;
        }
        assert_eq!(done, Ok(()));
        (self.limit, self.vlan_limit, self.lifetime) = (limit, vlan_limit, lifetime);
        // The longest heard go: of all, and then of each VLAN.
        let mut learned: Vec<_> = self.known.iter().filter(|(_, e)| e.kind == Kind::Learned).collect();
        learned.sort_by_key(|(_, entry)| (entry.heard, entry.order));
        let mut keys: Vec<_> = learned.into_iter().map(|(key, _)| *key).collect();
        for key in keys.drain(..self.known.len().saturating_sub(limit as usize)) {
            self.known.remove(&key);
        }
        for vlan in 1..4 {
            let mine: Vec<_> = keys.iter().filter(|&key| (key >> 48) as VlanId == vlan).collect();
            for key in &mine[..mine.len().saturating_sub(vlan_limit as usize)] {
                self.known.remove(key);
            }
        }
        self.wait(0);
    }

    fn flush(&mut self, which: Flush) {
        let before = self.known.len();
        self.known.retain(|key, entry| {
            let asked = (which.fixed || entry.kind == Kind::Learned)
                && which.port.is_none_or(|port| port == entry.port)
                && which.vlan.is_none_or(|vlan| vlan == (key >> 48) as VlanId);
            !asked
        });
        assert_eq!(self.fdb.flush(which, |_| true), before - self.known.len());
    }

    fn check(&self) {
        let mut page = Vec::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let mut some = Vec::new();
            cursor = self.fdb.page(at, 100, &mut some);
            assert!(some.len() < 100 + 384);
            page.extend(some);
        }
        assert_eq!(page.len(), self.known.len());
        for entry in &page {
            let known = self.known[&key(entry.vlan, number(entry.mac))];
            assert_eq!((entry.port, entry.kind), (known.port, known.kind));
            let age = if known.kind == Kind::Learned { (self.time - known.heard) * STEP } else { 0 };
            assert_eq!(entry.age, age);
            assert_eq!(self.fdb.get(entry.vlan, entry.mac), Some(*entry));
        }
        let learned = self.learned(None);
        assert_eq!(self.fdb.count(), FdbCount { learned, fixed: self.known.len() as u32 - learned });
        for port in 0..4 {
            let of = |learned| {
                let fits = |entry: &&Known| entry.port == port && (entry.kind == Kind::Learned) == learned;
                self.known.values().filter(fits).count() as u32
            };
            assert_eq!(self.fdb.count_port(port), FdbCount { learned: of(true), fixed: of(false) });
        }
        for vlan in 1..4 {
            assert_eq!(self.fdb.count_vlan(vlan).learned, self.learned(Some(vlan)));
        }
        // The list of ages has the learned entries and no others, the oldest first.
        let ages: Vec<_> = self.fdb.ages.iter().map(|slot| self.fdb.table.slot(slot).key).collect();
        let mut wanted: Vec<_> = self.known.iter().filter(|(_, entry)| entry.kind == Kind::Learned).collect();
        wanted.sort_by_key(|(_, entry)| (entry.heard, entry.order));
        assert_eq!(ages, wanted.into_iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let oldest = self
            .fdb
            .ages
            .oldest()
            .map(|slot| self.known[&self.fdb.table.slot(slot).key].heard + self.lifetime);
        assert_eq!(self.fdb.deadline(), oldest.map(|step| step * STEP));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Hear { vlan: VlanId, first: u32, count: u32, port: PortId },
    Set { vlan: VlanId, n: u32, port: PortId, kind: Kind },
    Forget { vlan: VlanId, first: u32, count: u32 },
    Wait(u64),
    Flush(Flush),
    Configure { limit: u32, vlan_limit: u32, lifetime: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    let (vlan, port) = (1..4u16, 0..4u16);
    let n = 0..1500u32;
    let which = (proptest::option::of(port.clone()), proptest::option::of(vlan.clone()), any::<bool>());
    prop_oneof![
        6 => (vlan.clone(), n.clone(), prop_oneof![1..5u32, 100..900u32], port.clone())
            .prop_map(|(vlan, first, count, port)| Step::Hear { vlan, first, count, port }),
        2 => (vlan.clone(), n.clone(), port, prop_oneof![Just(Kind::Static), Just(Kind::Sticky)])
            .prop_map(|(vlan, n, port, kind)| Step::Set { vlan, n, port, kind }),
        2 => (vlan, n, prop_oneof![1..5u32, 100..500u32])
            .prop_map(|(vlan, first, count)| Step::Forget { vlan, first, count }),
        2 => prop_oneof![Just(1), 1..200u64, 200..300u64].prop_map(Step::Wait),
        1 => which.prop_map(|(port, vlan, fixed)| Step::Flush(Flush { port, vlan, fixed })),
        // Lifetimes with the same grain of time.
        1 => (prop_oneof![0..20u32, 500..2000u32], prop_oneof![0..20u32, 300..1200u32], 1..512u64)
            .prop_map(|(limit, vlan_limit, lifetime)| Step::Configure { limit, vlan_limit, lifetime }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_dictionary(seed: [u64; 2], steps in proptest::collection::vec(steps(), 1..40)) {
        let mut pair = Pair::new(seed);
        for step in steps {
            match step {
                Step::Hear { vlan, first, count, port } => {
                    (first..first + count).for_each(|n| pair.hear(vlan, n, port));
                }
                Step::Set { vlan, n, port, kind } => pair.set(vlan, n, port, kind),
                Step::Forget { vlan, first, count } => for n in first..first + count {
                    let known = pair.known.remove(&key_of(vlan, n)).is_some();
                    assert_eq!(pair.fdb.forget(vlan, mac(n)).is_ok(), known);
                },
                Step::Wait(steps) => pair.wait(steps),
                Step::Flush(which) => pair.flush(which),
                Step::Configure { limit, vlan_limit, lifetime } => {
                    pair.configure(limit, vlan_limit, lifetime);
                }
            }
            pair.check();
        }
    }
}

#[test]
fn a_full_table_of_static_entries_takes_no_more() {
    let mut pair = Pair::new([1, 2]);
    for n in 0..LIMIT {
        pair.set(1, n, 0, Kind::Static);
    }
    pair.set(1, LIMIT, 0, Kind::Sticky);
    pair.set(1, 3, 1, Kind::Sticky);
    pair.check();
}

#[test]
fn seeds_that_would_make_a_bad_multiplier_hash_well() {
    for seed in [[0, 0], [0, u64::MAX], [u64::MAX, 0], [u64::MAX, u64::MAX], [0, 1]] {
        let mut pair = Pair::new(seed);
        for n in 0..900 {
            pair.hear(1, n, 0);
        }
        assert_eq!(pair.fdb.count().learned, 900, "{seed:x?}");
        pair.check();
    }
}

#[test]
fn stations_numbered_one_after_the_other_find_places_whatever_the_seed() {
    // With the first ones a hash whose low bits see the keys' low bits alone has no place for many of them.
    let bad = [
        [3_607_363_285_525_422_657, 719],
        [9_920_249_035_194_912_367, 1921],
        [14_101_511_025_235_742_807, 3097],
        [15_167_322_905_050_070_273, 5135],
        [5_575_015_986_721_102_353, 6143],
    ];
    for seed in bad.into_iter().chain((0..100).map(|n| [n, n])) {
        for stride in [1, 4, 256, 4096] {
            let mut fdb = Fdb::new(&SwitchConfig { fdb_limit: 767, ..config(seed) });
            for n in 0..767 {
                fdb.learn(key_of(1, n * stride), 0);
            }
            assert_eq!(fdb.count().learned, 767, "{seed:?} {stride}");
            let lies = displacement(&fdb);
            assert!(lies < 4.0, "{seed:?} {stride}: {lies}");
        }
    }
}

/// Average distance of entries from the slot that their probing starts at.
fn displacement(fdb: &Fdb) -> f64 {
    let slots = (0..fdb.table.segments()).flat_map(|number| fdb.table.used(number));
    let (sum, n) = slots.fold((0, 0), |(sum, n), slot| (sum + fdb.table.distance(slot), n + 1));
    sum as f64 / f64::from(n)
}

#[test]
fn a_table_that_has_churned_is_as_good_as_a_new_one() {
    let of = |from: u32, to: u32| {
        let mut fdb = Fdb::new(&config([3, 4]));
        for n in from..to {
            fdb.learn(key_of(1, n), 0);
        }
        fdb
    };
    let mut old = of(0, 900);
    for n in 900..200_000 {
        assert_eq!(old.forget(1, mac(n - 900)), Ok(()));
        old.learn(key_of(1, n), 0);
    }
    let new = of(199_100, 200_000);
    assert_eq!(old.count(), new.count());
    let (old, new) = (displacement(&old), displacement(&new));
    assert!(old < new * 1.3 + 0.1, "{old} is much more than {new}");
}

#[test]
fn growth_stops_at_the_directory_and_an_address_that_has_no_place_is_not_learned() {
    let mut ages = Ages::new();
    let table = Table::new(LIMIT, [5, 6], &mut ages);
    // Keys that a guest could only find if it knew the seed: all of them want the same segment.
    let same: Vec<_> = (0..200_000).filter(|&n| table.wants_place(key_of(1, n), 0)).take(500).collect();
    assert_eq!(same.len(), 500);
    let mut fdb = Fdb::new(&config([5, 6]));
    for &n in &same {
        fdb.learn(key_of(1, n), 0);
    }
    assert_eq!(fdb.count().learned, 384);
    assert_eq!(fdb.set(1, mac(same[499]), 0, Kind::Static), Err(SwitchError::FdbFull));
    assert!(fdb.table.segments() <= 32);
    // The others are not affected, nor is what came first.
    let other = (0..).find(|&n| !table.wants_place(key_of(2, n), 0)).unwrap();
    fdb.learn(key_of(2, other), 0);
    assert!(fdb.get(2, mac(other)).is_some());
    assert!(same[..384].iter().all(|&n| fdb.get(1, mac(n)).is_some()));
}

#[test]
fn one_tick_forgets_a_bounded_number() {
    let mut fdb = Fdb::new(&config([1, 2]));
    for n in 0..1000 {
        fdb.learn(key_of(1, n), 0);
    }
    assert_eq!(fdb.deadline(), Some(AGEING));
    fdb.advance(AGEING);
    assert_eq!(fdb.count().learned, 1000 - 256);
    // Frames of the same time leave the rest to the tick, which is due.
    fdb.advance(AGEING);
    assert_eq!(fdb.count().learned, 1000 - 256);
    assert_eq!(fdb.deadline(), Some(AGEING));
    for _ in 0..3 {
        fdb.tick(AGEING);
    }
    assert_eq!((fdb.count().learned, fdb.deadline()), (0, None));
}

#[test]
fn time_that_goes_back_ages_nothing() {
    let mut fdb = Fdb::new(&config([1, 2]));
    fdb.advance(10 * AGEING);
    fdb.learn(key_of(1, 1), 0);
    fdb.tick(0);
    assert_eq!(fdb.count().learned, 1);
    assert_eq!(fdb.deadline(), Some(11 * AGEING));
}

#[test]
fn ageing_times_from_never_to_for_ever() {
    for (ageing, due) in [(0, None), (1, Some(1)), (300_000_000_000, Some(300_000_000_000)), (u64::MAX, None)]
    {
        let mut fdb = Fdb::new(&SwitchConfig { ageing, ..SwitchConfig::default() });
        fdb.learn(key_of(1, 1), 0);
        match (fdb.deadline(), due) {
            (Some(deadline), Some(due)) => {
                let grain = (ageing / 256).max(STEP);
                assert!((due..=due + grain).contains(&deadline), "{ageing}: {deadline}");
                fdb.tick(deadline - 1);
                assert_eq!(fdb.count().learned, 1);
                fdb.tick(deadline);
                assert_eq!(fdb.count().learned, 0);
            }
            (deadline, due) => assert_eq!(deadline, due, "{ageing}"),
        }
    }
}

#[test]
fn entries_keep_their_age_when_time_gets_another_grain() {
    let minutes = |n: u64| n * 60_000_000_000;
    for other in [0, minutes(1), minutes(100), minutes(6000), u64::MAX] {
        let config = |ageing| SwitchConfig { ageing, ..SwitchConfig::default() };
        let mut fdb = Fdb::new(&config(minutes(5)));
        fdb.advance(minutes(10));
        fdb.learn(key_of(1, 1), 0);
        let now = minutes(10) + minutes(1) / 2;
        assert_eq!(fdb.configure(now, &config(other)), Ok(()));
        assert_eq!(fdb.configure(now, &config(minutes(5))), Ok(()));
        // Too early by nothing; too late by a grain of each.
        let grain = minutes(5) / 256 + (other / 256).clamp(1 << 30, minutes(1));
        let due = fdb.deadline().unwrap();
        assert!((minutes(15) - grain..=minutes(15) + grain).contains(&due), "{other}: {due}");
        fdb.tick(due);
        assert_eq!(fdb.count().learned, 0);
    }
}

#[test]
fn a_shorter_ageing_time_holds_for_what_is_there() {
    let mut fdb = Fdb::new(&config([1, 2]));
    fdb.learn(key_of(1, 1), 0);
    fdb.advance(100 * STEP);
    fdb.learn(key_of(1, 2), 0);
    let shorter = SwitchConfig { ageing: 50 * STEP, ..config([1, 2]) };
    assert_eq!(fdb.configure(110 * STEP, &shorter), Ok(()));
    assert_eq!((fdb.count().learned, fdb.deadline()), (1, Some(150 * STEP)));
}

#[test]
fn a_limit_below_what_is_static_is_refused_and_a_larger_one_gives_room() {
    let mut fdb = Fdb::new(&SwitchConfig { fdb_limit: 2, ..config([1, 2]) });
    fdb.set(1, mac(1), 0, Kind::Static).unwrap();
    fdb.set(1, mac(2), 0, Kind::Static).unwrap();
    let refused = fdb.configure(0, &SwitchConfig { fdb_limit: 1, ..config([1, 2]) });
    assert_eq!(refused, Err(SwitchError::FdbFull));
    assert_eq!((fdb.count().fixed, fdb.limit), (2, 2));
    // As large as any: the table grows beyond what it was made for.
    fdb.configure(0, &SwitchConfig { vlan_limit: 1 << 20, ..SwitchConfig::default() }).unwrap();
    for n in 10..100_010 {
        fdb.learn(key_of(1, n), 0);
    }
    assert_eq!(fdb.count().learned, 100_000);
    fdb.configure(0, &config([1, 2])).unwrap();
    assert_eq!((fdb.count().learned, fdb.count().fixed), (VLAN_LIMIT, 2));
    assert!((100_010 - VLAN_LIMIT..100_010).all(|n| fdb.get(1, mac(n)).is_some()));
}

#[test]
fn a_million_entries() {
    const N: u32 = 1_000_000;
    let mut fdb = Fdb::new(&SwitchConfig { vlan_limit: u32::MAX, ..SwitchConfig::default() });
    for n in 0..N {
        fdb.learn(key_of(1 + (n % 4094) as VlanId, n), (n % 4096) as PortId);
    }
    assert_eq!(fdb.count().learned, N);
    for n in 0..N {
        let entry = fdb.get(1 + (n % 4094) as VlanId, mac(n));
        assert_eq!(entry.map(|entry| entry.port), Some((n % 4096) as PortId));
    }
    assert!((N..N + 10_000).all(|n| fdb.get(1, mac(n)).is_none()));
    // switch/README.md tells it.
    assert!(fdb.memory() < 52 << 20, "{} bytes", fdb.memory());
    // Emptied, it gives its memory back.
    assert_eq!(fdb.flush(Flush::default(), |_| true), N as usize);
    assert!(fdb.memory() < 128 << 10, "{} bytes", fdb.memory());
}
