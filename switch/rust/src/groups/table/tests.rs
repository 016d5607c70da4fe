use super::conn::seconds;
use super::line::{PLACES, Places, Tags};
use super::*;
use crate::groups::tcp::{self, Half};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn birth(n: u64, owner: PortId, limit: u32) -> Birth {
    Birth {
        key: Key([0, n, 0, n * 7, n << 48 | 0x411]),
        origin: 0,
        began: 0,
        state: State::New,
        halves: [Half::default(); 2],
        number: 0,
        allowed: [0; 2],
        owner,
        limit,
        instead: None,
    }
}

fn find(table: &Table, n: u64) -> Option<u32> {
    table.find(&birth(n, 0, 1).key, &mut NONE.clone())
}

#[test]
fn a_line_has_what_a_packet_needs() {
    assert_eq!(size_of::<Conn>(), 128);
    assert_eq!(std::mem::offset_of!(Conn, halves), 64);
    assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    assert_eq!((size_of::<Places>(), align_of::<Places>()), (32, 32));
}

#[test]
fn thousands_are_found() {
    let mut table = Table::new(100_000, [1, 2]);
    for n in 1..=50_000 {
        table.add(0, &birth(n, (n % 7) as PortId, 100_000)).unwrap();
    }
    assert!((1..=50_000).all(|n| find(&table, n).is_some()));
    assert_eq!(find(&table, 50_001), None);
    for n in (1..=50_000).step_by(2) {
        table.remove(find(&table, n).unwrap());
    }
    assert!((1..=50_000).all(|n| find(&table, n).is_some() == (n % 2 == 0)));
    assert_eq!(table.len(), 25_000);
    let longest = table
        .chains
        .iter()
        .flatten()
        .map(|&head| std::iter::successors(table.get(head), |conn| table.get(conn.next)).count());
    assert!(longest.max().unwrap() < 12);
}

/// Guests take ports in a row; where one more than a line has places for leads there, packets go a longer way.
#[test]
fn ports_in_a_row_are_spread() {
    for seed in 0..40 {
        let mut table = Table::new(10_000, [seed, 7]);
        for port in 0..10_000 {
            let key = Key([0, 0x0a00_0001, 0, 0x0a00_0002, (1024 + port) << 48 | 9 << 32 | 1 << 16 | 0x411]);
            table.add(0, &Birth { key, ..birth(1, 1, 10_000) }).unwrap();
        }
        let mut lines = BTreeMap::<usize, u32>::new();
        for conn in &table.conns {
            *lines.entry(table.bucket(conn.hash)).or_default() += 1;
        }
        let behind = |places| lines.values().map(|n| n.saturating_sub(places)).sum::<u32>();
        assert!((2000..5000).contains(&behind(2)), "{} of 10,000 by seed {seed}", behind(2));
        assert!(behind(PLACES as u32) < 30, "{} of 10,000 by seed {seed}", behind(PLACES as u32));
    }
}

#[test]
fn a_flood_evicts_its_own() {
    let mut table = Table::new(1000, [1, 2]);
    for n in 1..=10 {
        table.add(0, &birth(n, 1, 10)).unwrap();
    }
    let quiet = find(&table, 1).unwrap();
    table.answer(quiet);
    for n in 100..1000 {
        table.add(0, &birth(n, 2, 10)).unwrap();
        assert!(table.owned(2) <= 10);
    }
    assert!((1..=10).all(|n| find(&table, n).is_some()));
    // Its own newest are there.
    assert!((991..1000).all(|n| find(&table, n).is_some()));
}

#[test]
fn the_answered_stay_until_they_are_quiet() {
    let mut table = Table::new(1000, [1, 2]);
    for n in 1..=3 {
        let at = table.add(0, &birth(n, 1, 3)).unwrap();
        table.answer(at);
        table.get_mut(at).unwrap().state = State::Tcp(tcp::State::Established);
    }
    assert!(table.add(seconds(59), &birth(9, 1, 3)).is_none());
    table.get_mut(find(&table, 1).unwrap()).unwrap().heard = seconds(50);
    assert!(table.add(seconds(61), &birth(9, 1, 3)).is_some());
    assert!(find(&table, 1).is_some(), "it was heard");
    assert_eq!(table.owned(1), 3);
}

#[test]
fn when_all_is_full_the_largest_makes_room() {
    let mut table = Table::new(10, [1, 2]);
    for n in 1..=9 {
        table.add(0, &birth(n, 1, 100)).unwrap();
    }
    for n in 11..=15 {
        table.add(0, &birth(n, 2, 100)).unwrap();
    }
    assert_eq!((table.owned(1), table.owned(2)), (5, 5));
    table.add(0, &birth(20, 1, 100)).unwrap();
    table.add(0, &birth(21, 2, 100)).unwrap();
    assert_eq!((table.owned(1), table.owned(2)), (5, 5), "nobody gains by more");
}

/// Nor may who keeps all of its own busy have others wait.
#[test]
fn when_all_is_full_who_has_most_of_it_makes_room_though_all_are_busy() {
    let mut table = Table::new(100, [1, 2]);
    for n in 1..=100 {
        let at = table.add(0, &birth(n, 1 + (n % 4) as PortId, 100)).unwrap();
        table.answer(at);
        table.get_mut(at).unwrap().state = State::Answered;
    }
    for n in 101..=120 {
        let at = table.add(seconds(50), &birth(n, 9, 100)).unwrap();
        table.answer(at);
    }
    assert_eq!(table.len(), 100);
    assert_eq!([1, 2, 3, 4, 9].map(|port| table.owned(port)), [20; 5]);
    assert!(
        table.add(seconds(50), &birth(200, 9, 100)).is_none(),
        "who has as many as any has no such right"
    );
    assert_eq!(table.owned(9), 20);
}

/// A connection of UDP from this port.
fn conn(port: u64) -> Conn {
    let mut table = Table::new(10, [1, 2]);
    let at = table.add(0, &birth(port, 1, 10)).unwrap();
    table.get(at).unwrap().clone()
}

fn commons() -> Commons {
    let mut commons = Commons::new(Fold([1, 2, 3, 4]));
    commons.prepare(16);
    commons
}

/// A line of its own.
struct Own(Line, Places, Commons);

impl Own {
    fn note(&mut self, at: u32, heard: u32) -> bool {
        let goes = Common::of(&conn(1));
        assert!(goes.is_some());
        RowMut(&mut self.0, &mut self.1).note(at, heard, goes, &mut self.2)
    }

    fn forget(&mut self, at: u32) {
        RowMut(&mut self.0, &mut self.1).forget(at, &mut self.2);
    }

    /// Who has the places, by number.
    fn have(&self) -> [u32; PLACES] {
        std::array::from_fn(|place| self.1.at(place))
    }
}

#[test]
fn nine_in_a_line_take_nobody_s_place_who_is_busy() {
    let mut line = Own(Line::EMPTY, Places::EMPTY, commons());
    let start = seconds(10);
    for at in 5..=12 {
        assert!(line.note(at, start));
    }
    let all = [8, 9, 10, 11, 12, 5, 6, 7];
    assert_eq!(line.have(), all, "each where it would be first");
    assert!(!line.note(13, start));
    assert!(!line.note(13, start - seconds(5)), "they were heard later than is written");
    for at in (5..=12).filter(|at| *at != 6) {
        assert!(line.note(at, start + seconds(3)));
    }
    assert!(line.note(13, start + seconds(3)), "one is quiet");
    assert_eq!(line.have(), [8, 9, 10, 11, 12, 5, 13, 7]);
    line.forget(8);
    assert_eq!(line.have(), [NONE, 9, 10, 11, 12, 5, 13, 7]);
    assert_eq!(line.2.users().collect::<Vec<_>>(), [(0, 7)]);
}

/// Half a second is one epoch; not all connections are looked at again at its end.
#[test]
fn epochs_of_places_begin_one_after_the_other() {
    let mut line = Own(Line::EMPTY, Places::EMPTY, commons());
    for at in 0..8 {
        assert!(line.note(at, 0));
    }
    let fresh = |now| Row(&line.0, &line.1).briefs().filter(|(brief, _)| brief.is_fresh(now)).count();
    assert_eq!((fresh(0), fresh(STALE / 8 - 1)), (8, 8));
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|n| fresh(STALE / 8 * n)), [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(fresh(STALE), 0);
}

/// What a tag says of time comes round in 37 minutes. Nobody is taken for one who was just heard for that.
#[test]
fn who_is_silent_loses_its_place_before_time_comes_round() {
    let mut table = Table::new(100, [1, 2]);
    let round = u64::from(STALE) << 12 << 20;
    let long = |n| Birth { state: State::Tcp(tcp::State::Established), ..birth(n, 1, 10) };
    let key = |n| Key([0, n, 0, n * 7, n << 48 | 0x406]);
    let at = table.add(0, &Birth { key: key(1), ..long(1) }).unwrap();
    table.note(at);
    let placed = |table: &Table| {
        table
            .lines
            .iter()
            .zip(&table.places)
            .flat_map(|(l, p)| Row(l, p).briefs().collect::<Vec<_>>())
            .count()
    };
    assert_eq!(placed(&table), 1);
    let mut now = 0;
    while now < round {
        now = table.deadline().unwrap().max(now + 1);
        table.tick(now);
        assert!(table.is_sure(coarse(now)));
        let silent = now > 620 * 1_000_000_000;
        if silent || now < 600 * 1_000_000_000 {
            assert_eq!(placed(&table), usize::from(!silent), "{now}");
        }
    }
    assert!(table.get(at).is_some_and(|conn| conn.key == key(1) && !conn.is_old(coarse(now))));
}

/// As long as the hand was away, lines may say what is not so any more.
#[test]
fn where_the_hand_was_late_lines_say_nothing_until_it_was_everywhere() {
    let second = 1_000_000_000;
    let mut table = Table::new(10_000, [1, 2]);
    for n in 1..=3000 {
        table.add(0, &birth(n, 1, 10_000)).unwrap();
    }
    table.tick(second);
    assert!(table.is_sure(coarse(second)) && table.is_sure(coarse(60 * second)));
    let late = 100 * second;
    assert!(!table.is_sure(coarse(late)));
    let mut now = late;
    while now < late + 16 * second {
        table.tick(now);
        assert!(!table.is_sure(coarse(now)), "{now}");
        table.add(coarse(now), &birth(1 + now, 1, 10_000)).unwrap();
        now = table.deadline().unwrap();
    }
    table.tick(now);
    assert!(table.is_sure(coarse(now)));
}

#[test]
fn what_is_had_in_common_is_kept_as_long_as_somebody_has_it() {
    let mut commons = commons();
    let [one, two, three] = [1, 2, 3].map(|n| Common::of(&conn(n)).unwrap().0);
    let [a, b] = [&one, &two].map(|common| commons.take(common).unwrap());
    assert_ne!(a, b);
    assert_eq!(commons.take(&one), Some(a));
    commons.give_back(a);
    assert_eq!(commons.get(a), Some(&one));
    commons.give_back(a);
    assert_ne!(commons.get(a), Some(&one));
    assert_eq!(commons.take(&three), Some(a), "a place is used again");
    assert_eq!(commons.take(&two), Some(b));
    assert_eq!(commons.users().collect::<Vec<_>>(), [(a, 1), (b, 2)]);
    commons.give_back(common::NOBODY);
}

#[test]
fn who_moves_to_another_line_keeps_its_place() {
    let mut table = Table::new(10_000, [1, 2]);
    for n in 1..=2000 {
        let at = table.add(0, &birth(n, 1, 10_000)).unwrap();
        table.note(at);
    }
    let rows = table.lines.iter().zip(&table.places);
    let there: usize = rows.map(|(line, places)| Row(line, places).briefs().count()).sum();
    assert!(there > 1980, "{there}");
}

#[test]
fn the_hand_forgets_what_is_old() {
    let mut table = Table::new(100_000, [1, 2]);
    for n in 1..=5000 {
        table.add(0, &birth(n, 1, 100_000)).unwrap();
    }
    let mut now = 0;
    while table.len() > 0 {
        assert!(now < 60 * 1_000_000_000, "{}", table.len());
        now = table.deadline().unwrap().max(now);
        table.tick(now);
    }
    assert!(now >= 30 * 1_000_000_000);
    assert_eq!((table.deadline(), table.owned(1)), (None, 0));
}

proptest! {
    /// Whatever comes and goes, what should be there is found, and counts are right; what lines say of
    /// connections is so, and each of them in its own.
    #[test]
    fn like_a_map(steps in prop::collection::vec((0..7_u8, 1..200_u64, 0..4_u16), 0..300)) {
        let mut table = Table::new(100, [3, 4]);
        let mut model: BTreeMap<u64, PortId> = BTreeMap::new();
        for (what, n, owner) in steps {
            match what {
                0 | 1 if !model.contains_key(&n) && model.len() < 100 => {
                    prop_assert!(table.add(0, &birth(n, owner, 1000)).is_some());
                    model.insert(n, owner);
                }
                2 => if let Some(at) = find(&table, n) { table.answer(at); },
                3 => if let Some(at) = find(&table, n) {
                    table.remove(at);
                    model.remove(&n);
                },
                5 => if let Some(at) = find(&table, n) { table.note(at); },
                6 => if let Some(at) = find(&table, n) {
                    let conn = table.get_mut(at).unwrap();
                    let change = [State::Answered, State::Query, State::Tcp(tcp::State::Established)];
                    conn.state = change[usize::from(owner) % 3];
                    conn.heard += 40 * u32::from(owner);
                    table.note(at);
                },
                4 if n < 20 => {
                    table.disown(owner);
                    model.retain(|_, o| *o != owner);
                }
                _ => {}
            }
            prop_assert_eq!(table.len() as usize, model.len());
            let most = table.owners.iter().map(|owner| owner.count).max();
            prop_assert_eq!(table.ranks.first().map(|port| table.owned(port)), most);
            let mut users = BTreeMap::<u32, u32>::new();
            for (bucket, (line, places)) in table.lines.iter().zip(&table.places).enumerate() {
                let row = Row(line, places);
                for (brief, at) in row.briefs() {
                    let conn = table.get(at).unwrap();
                    prop_assert_eq!(table.bucket(conn.hash), bucket);
                    let (ports, common) = (brief.ports, brief.common());
                    let is = table.common(common).map(|common| (*common, ports));
                    prop_assert_eq!((is, conn.placed), (Common::of(conn), true));
                    prop_assert!(brief.is_fresh(conn.heard) && !brief.is_fresh(conn.heard + STALE));
                    let tags = Tags::of(common, conn.heard);
                    prop_assert_eq!((row.find(ports, &tags), line.has(ports, &tags)), ((true, at), true));
                    prop_assert!(!line.has(ports, &Tags::of(common, conn.heard + STALE)));
                    prop_assert!(!line.has(ports, &Tags::of(common + 1, conn.heard)));
                    prop_assert!(!line.has(ports ^ 1, &tags) && !line.has(ports, &Tags::NOBODYS));
                    prop_assert!(line.with(ports).any(|other| other == brief));
                    *users.entry(common).or_default() += 1;
                }
            }
            prop_assert_eq!(users, table.commons.users().collect::<BTreeMap<_, _>>());
            for port in 0..4 {
                prop_assert_eq!(table.owned(port) as usize, model.values().filter(|o| **o == port).count());
            }
        }
        for n in 1..200 {
            prop_assert_eq!(find(&table, n).is_some(), model.contains_key(&n));
        }
    }
}
