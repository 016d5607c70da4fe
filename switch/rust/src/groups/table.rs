//! The connections of a switch: found by their ends, owned by ports, forgotten when they are old.
//!
//! What it must do, and what follows:
//!  * One lookup a packet, cheap for thousands of connections: chains from an array of heads, four
//!    bytes each, with a connection's key and all that most packets ask for in one cache line.
//!  * A guest chooses the keys: the hash is keyed with a secret.
//!  * It must not stop for growing: buckets are split one at a time (linear hashing), and both arrays
//!    are reserved for as many connections as there may be, which costs addresses and no memory.
//!  * No guest takes another's place. A connection belongs to the port that has to pay for it
//!    (`owner`), and counts against that port's limit. Each owner has two lists, by age: of
//!    connections that were answered, and of those that were not. At its limit the oldest that was
//!    never answered goes; if there is none, one that was quiet for a while; if there is none
//!    either, nothing new begins. When the whole table is full, whoever owns most makes room so.
//!  * Old ones are not found, whether they are still there or not; what makes room and lets counters
//!    be right is a hand that goes round once in eight seconds, a thousand connections at a time.

use super::packet::Key;
use super::tcp::{self, Half};
use crate::{Nanos, PortId};

const NONE: u32 = u32::MAX;
/// Connections looked at by one `tick`, and how long it takes to look at all.
const STRIDE: usize = 1024;
const ROUND: Nanos = 8_000_000_000;
/// Answered connections that are looked at to find a quiet one, and what is quiet: coarse time.
const TRIES: usize = 8;
const QUIET: u32 = seconds(60);

/// Coarse time: about milliseconds.
#[inline]
pub(super) fn coarse(now: Nanos) -> u32 {
    (now >> 20) as u32
}

const fn seconds(n: u64) -> u32 {
    ((n * 1_000_000_000) >> 20) as u32
}

/// What a connection is at, and how long it lives on from its last packet in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Tcp(tcp::State),
    /// Any other protocol; ICMP queries.
    New,
    Answered,
    Query,
}

impl State {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Tcp(tcp::State::SynSent) => "syn-sent",
            State::Tcp(tcp::State::SynReceived) => "syn-received",
            State::Tcp(tcp::State::Established) => "established",
            State::Tcp(tcp::State::Closing) => "closing",
            State::Tcp(tcp::State::TimeWait) => "time-wait",
            State::Tcp(tcp::State::Closed) => "closed",
            State::New => "new",
            State::Answered => "answered",
            State::Query => "query",
        }
    }

    /// TCP: established for a day, where RFC 5382 asks for two hours and four minutes; UDP as in RFC
    /// 4787, 4.3.
    pub(super) fn lifetime(self) -> u32 {
        const { assert!(seconds(86_400) < u32::MAX / 4) };
        match self {
            State::Tcp(tcp::State::Established) => seconds(86_400),
            State::Tcp(tcp::State::Closing | tcp::State::TimeWait) => seconds(120),
            State::Tcp(tcp::State::SynSent | tcp::State::SynReceived) => seconds(60),
            State::Tcp(tcp::State::Closed) => seconds(10),
            State::New | State::Query => seconds(30),
            State::Answered => seconds(180),
        }
    }
}

/// One connection. The first cache line is all that a packet of it needs, but for TCP.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Conn {
    /// All zero: nobody's place.
    pub(super) key: Key,
    /// The next one in the chain, or of places that are free.
    next: u32,
    /// When it was last heard.
    pub(super) heard: u32,
    /// By end: the stamp of the port and rules that last allowed it there.
    pub(super) allowed: [u32; 2],
    pub(super) state: State,
    pub(super) origin: u8,
    answered: bool,
    owner: PortId,
    pub(super) halves: [Half; 2],
    /// Neighbours in the owner's list: (older, newer).
    list: (u32, u32),
    pub(super) born: u32,
    hash: u32,
    /// Destination port, or type and code, of its first packet.
    pub(super) number: u16,
}

/// Connections by age.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    newest: u32,
}

const EMPTY: List = List { oldest: NONE, newest: NONE };

/// A port's connections.
#[derive(Clone, Copy, Debug)]
struct Owner {
    count: u32,
    unanswered: List,
    answered: List,
}

/// What a connection begins with.
pub(super) struct Birth {
    pub(super) key: Key,
    pub(super) origin: usize,
    pub(super) state: State,
    pub(super) halves: [Half; 2],
    pub(super) number: u16,
    pub(super) allowed: [u32; 2],
    pub(super) owner: PortId,
    /// How many the owner may have.
    pub(super) limit: u32,
}

#[derive(Debug)]
pub(super) struct Table {
    heads: Vec<u32>,
    /// Buckets before `split` have been split in this round, in which there are `mask + 1` at first.
    split: usize,
    mask: usize,
    conns: Vec<Conn>,
    free: u32,
    used: u32,
    limit: u32,
    owners: Vec<Owner>,
    seed: [u64; 6],
    hand: usize,
    /// When the hand moves on.
    due: Nanos,
}

impl Table {
    pub(super) fn new(limit: u32, seed: [u64; 2]) -> Table {
        let mut secret = seed[0];
        let mut number = |n: u64| {
            // SplitMix64, from the two numbers of the seed.
            secret = secret.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ seed[1].rotate_left(n as u32);
            let z = (secret ^ secret >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        Table {
            heads: vec![],
            split: 0,
            mask: 0,
            conns: vec![],
            free: NONE,
            used: 0,
            limit,
            owners: vec![],
            seed: [number(1), number(2), number(3), number(4), number(5), number(6) | 1],
            hand: 0,
            due: 0,
        }
    }

    /// A table without connections that knows how many there are here: see `twin.rs`.
    pub(super) fn sketch(&self) -> Table {
        let owner = |owner: &Owner| Owner { count: owner.count, unanswered: EMPTY, answered: EMPTY };
        Table {
            heads: vec![NONE; 64],
            split: 0,
            mask: 63,
            conns: vec![],
            free: NONE,
            owners: self.owners.iter().map(owner).collect(),
            hand: 0,
            ..*self
        }
    }

    /// One connection as it is there, if it is, unless it was brought before.
    pub(super) fn bring(&mut self, from: &Table, key: &Key) {
        if let Some(conn) = from.look(key, from.hash(key)).and_then(|at| from.get(at)) {
            self.adopt(conn);
        }
    }

    /// Those that would make room for one more of a port's.
    pub(super) fn bring_payer(&mut self, from: &Table, port: PortId) {
        let most = || Some(from.owners.iter().enumerate().max_by_key(|(_, owner)| owner.count)?.0);
        let full = if from.used >= from.limit { most() } else { None };
        for owner in [Some(usize::from(port)), full].into_iter().flatten() {
            let Some(owner) = from.owners.get(owner) else { continue };
            for (list, tries) in [(owner.unanswered, 1), (owner.answered, TRIES)] {
                let mut at = list.oldest;
                for _ in 0..tries {
                    let Some(conn) = from.get(at) else { break };
                    self.adopt(conn);
                    at = conn.list.1;
                }
            }
        }
    }

    /// It is counted already.
    fn adopt(&mut self, conn: &Conn) {
        if self.look(&conn.key, conn.hash).is_none() {
            let at = self.conns.len() as u32;
            self.conns.push(Conn { next: NONE, list: (NONE, NONE), ..conn.clone() });
            self.chain(at);
            self.enlist(at);
        }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Keyed multiply and fold, as in wyhash, over the words of a key.
    #[inline]
    fn hash(&self, key: &Key) -> u32 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        let Key([a, b, c, d, e]) = *key;
        let s = &self.seed;
        let one = fold(a ^ b.rotate_left(32) ^ s[0], e ^ s[1]);
        let other = fold(c ^ d.rotate_left(32) ^ s[2], one ^ s[3]);
        fold(b ^ d ^ s[4], other ^ s[5]) as u32
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        let at = hash as usize & self.mask;
        if at < self.split { hash as usize & (self.mask << 1 | 1) } else { at }
    }

    /// The connection with this key. `hint` is where the last one was found, and is set to this.
    #[inline]
    pub(super) fn find(&self, key: &Key, hint: &mut u32) -> Option<u32> {
        if self.conns.get(*hint as usize).is_some_and(|conn| conn.key == *key) {
            return Some(*hint);
        }
        let found = self.look(key, self.hash(key))?;
        *hint = found;
        Some(found)
    }

    #[inline]
    fn look(&self, key: &Key, hash: u32) -> Option<u32> {
        let head = *self.heads.get(self.bucket(hash))?;
        Some(self.along(head, |other| other == key)).filter(|&at| at != NONE)
    }

    /// Where the chain of a key begins.
    #[inline]
    pub(super) fn head(&self, key: &Key) -> u32 {
        self.heads.get(self.bucket(self.hash(key))).copied().unwrap_or(NONE)
    }

    /// One step along a chain, unless this may be the connection whose key has this last word. What was
    /// loaded decides about no branch.
    #[inline]
    pub(super) fn step(&self, at: u32, word: u64) -> u32 {
        let Some(conn) = self.conns.get(at as usize) else { return NONE };
        let Key([.., last]) = conn.key;
        let stay = u32::from(last == word).wrapping_neg();
        at & stay | conn.next & !stay
    }

    /// Follow a chain to the connection whose key it is; `u32::MAX` when it has none.
    #[inline]
    pub(super) fn along(&self, mut at: u32, is_it: impl Fn(&Key) -> bool) -> u32 {
        // A chain is as long as there are connections at most.
        while let Some(conn) = self.conns.get(at as usize) {
            if is_it(&conn.key) {
                return at;
            }
            at = conn.next;
        }
        NONE
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Conn> {
        self.conns.get(at as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Conn> {
        self.conns.get_mut(at as usize)
    }

    /// Whether it is over.
    #[inline]
    pub(super) fn is_old(conn: &Conn, now: u32) -> bool {
        now.wrapping_sub(conn.heard) > conn.state.lifetime()
    }

    pub(super) fn len(&self) -> u32 {
        self.used
    }

    /// How many a port owns.
    pub(super) fn owned(&self, port: PortId) -> u32 {
        self.owners.get(usize::from(port)).map_or(0, |owner| owner.count)
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.conns.len() * size_of::<Conn>()
            + self.heads.len() * size_of::<u32>()
            + self.owners.capacity() * size_of::<Owner>()
    }

    // -- coming and going --------------------------------------------------------------------------

    /// Add a connection that is not there. `None`: there is no room for it.
    pub(super) fn add(&mut self, now: u32, birth: &Birth) -> Option<u32> {
        let owner = usize::from(birth.owner);
        if owner >= self.owners.len() {
            self.owners.resize(owner + 1, Owner { count: 0, unanswered: EMPTY, answered: EMPTY });
        }
        if self.owned(birth.owner) >= birth.limit.max(1) && !self.evict(birth.owner, now) {
            return None;
        }
        if self.used >= self.limit {
            let most = self.owners.iter().enumerate().max_by_key(|(_, owner)| owner.count)?.0 as PortId;
            // Whoever has as many as the one with most makes room itself.
            let from = if self.owned(birth.owner) >= self.owned(most) { birth.owner } else { most };
            if !self.evict(from, now) {
                return None;
            }
        }
        if self.heads.is_empty() {
            self.heads.reserve_exact(self.limit as usize * 8);
            self.conns.reserve_exact(self.limit as usize);
            self.heads.resize(64, NONE);
            self.mask = 63;
        }
        let hash = self.hash(&birth.key);
        let conn = Conn {
            key: birth.key,
            next: NONE,
            heard: now,
            allowed: birth.allowed,
            state: birth.state,
            origin: birth.origin as u8,
            answered: false,
            owner: birth.owner,
            halves: birth.halves,
            list: (NONE, NONE),
            born: now,
            hash,
            number: birth.number,
        };
        let at = self.free;
        let at = if let Some(place) = self.conns.get_mut(at as usize) {
            self.free = place.next;
            *place = conn;
            at
        } else {
            self.conns.push(conn);
            (self.conns.len() - 1) as u32
        };
        self.used += 1;
        self.chain(at);
        self.enlist(at);
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.count += 1;
        }
        self.grow();
        Some(at)
    }

    /// Forget a connection.
    pub(super) fn remove(&mut self, at: u32) {
        let Some((hash, owner)) =
            self.get(at).filter(|conn| conn.key != Key::NONE).map(|c| (c.hash, c.owner))
        else {
            return;
        };
        self.delist(at);
        let bucket = self.bucket(hash);
        let next = self.get(at).map_or(NONE, |conn| conn.next);
        let mut before = NONE;
        let mut here = self.heads.get(bucket).copied().unwrap_or(NONE);
        while here != at && here != NONE {
            (before, here) = (here, self.get(here).map_or(NONE, |conn| conn.next));
        }
        match self.get_mut(before) {
            Some(conn) => conn.next = next,
            None => {
                if let Some(head) = self.heads.get_mut(bucket) {
                    *head = next;
                }
            }
        }
        let free = self.free;
        if let Some(conn) = self.get_mut(at) {
            conn.key = Key::NONE;
            conn.next = free;
        }
        self.free = at;
        self.used -= 1;
        if let Some(owner) = self.owners.get_mut(usize::from(owner)) {
            owner.count -= 1;
        }
    }

    /// It was answered: from now on it is not the first to go.
    #[inline]
    pub(super) fn answer(&mut self, at: u32) {
        if self.get(at).is_some_and(|conn| !conn.answered) {
            self.delist(at);
            if let Some(conn) = self.get_mut(at) {
                conn.answered = true;
            }
            self.enlist(at);
        }
    }

    /// Forget all that a port owns.
    pub(super) fn disown(&mut self, port: PortId) {
        for answered in [false, true] {
            while let Some(oldest) =
                self.list(port, answered).map(|list| list.oldest).filter(|&at| at != NONE)
            {
                self.remove(oldest);
            }
        }
    }

    /// Make room for one more of `owner`'s.
    fn evict(&mut self, owner: PortId, now: u32) -> bool {
        let oldest =
            |table: &mut Table, answered| table.list(owner, answered).map_or(NONE, |list| list.oldest);
        let at = oldest(self, false);
        if at != NONE {
            self.remove(at);
            return true;
        }
        for _ in 0..TRIES {
            let at = oldest(self, true);
            let Some(conn) = self.get(at) else { return false };
            let quiet = now.wrapping_sub(conn.heard) > QUIET || Table::is_old(conn, now);
            if quiet {
                self.remove(at);
                return true;
            }
            // Not this one: it goes to the end of the line.
            self.delist(at);
            self.enlist(at);
        }
        false
    }

    /// Put a connection into its chain.
    fn chain(&mut self, at: u32) {
        let Some(hash) = self.get(at).map(|conn| conn.hash) else { return };
        let bucket = self.bucket(hash);
        let Some(head) = self.heads.get_mut(bucket) else { return };
        let next = std::mem::replace(head, at);
        if let Some(conn) = self.get_mut(at) {
            conn.next = next;
        }
    }

    /// Split buckets, when there are fewer than four for a connection: then one in nine is not the first
    /// of its chain.
    fn grow(&mut self) {
        for _ in 0..4 {
            if self.used as usize * 4 > self.heads.len() {
                self.split();
            }
        }
    }

    fn split(&mut self) {
        let Some(head) = self.heads.get_mut(self.split) else { return };
        let mut at = std::mem::replace(head, NONE);
        self.heads.push(NONE);
        self.split += 1;
        if self.split > self.mask {
            self.split = 0;
            self.mask = self.mask << 1 | 1;
        }
        while at != NONE {
            let next = self.get(at).map_or(NONE, |conn| conn.next);
            self.chain(at);
            at = next;
        }
    }

    // -- by owner and age --------------------------------------------------------------------------

    fn list(&mut self, owner: PortId, answered: bool) -> Option<&mut List> {
        let owner = self.owners.get_mut(usize::from(owner))?;
        Some(if answered { &mut owner.answered } else { &mut owner.unanswered })
    }

    /// Add at the new end of its owner's list.
    fn enlist(&mut self, at: u32) {
        let Some((owner, answered)) = self.get(at).map(|conn| (conn.owner, conn.answered)) else { return };
        let Some(list) = self.list(owner, answered) else { return };
        let before = std::mem::replace(&mut list.newest, at);
        if before == NONE {
            list.oldest = at;
        }
        if let Some(conn) = self.get_mut(before) {
            conn.list.1 = at;
        }
        if let Some(conn) = self.get_mut(at) {
            conn.list = (before, NONE);
        }
    }

    fn delist(&mut self, at: u32) {
        let Some((owner, answered, (older, newer))) =
            self.get(at).map(|conn| (conn.owner, conn.answered, conn.list))
        else {
            return;
        };
        match self.get_mut(older) {
            Some(conn) => conn.list.1 = newer,
            None => {
                if let Some(list) = self.list(owner, answered) {
                    list.oldest = newer;
                }
            }
        }
        match self.get_mut(newer) {
            Some(conn) => conn.list.0 = older,
            None => {
                if let Some(list) = self.list(owner, answered) {
                    list.newest = older;
                }
            }
        }
    }

    // -- time --------------------------------------------------------------------------------------

    /// Forget some of what is old.
    pub(super) fn tick(&mut self, now: Nanos) {
        if now < self.due {
            return;
        }
        let time = coarse(now);
        for _ in 0..STRIDE.min(self.conns.len()) {
            if self.hand >= self.conns.len() {
                self.hand = 0;
            }
            let at = self.hand as u32;
            if self.get(at).is_some_and(|conn| conn.key != Key::NONE && Table::is_old(conn, time)) {
                self.remove(at);
            }
            self.hand += 1;
        }
        let strides = (self.conns.len() / STRIDE + 1) as u64;
        self.due = now + ROUND / strides;
    }

    /// When `tick` has something to do.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        (self.used > 0).then_some(self.due)
    }

    /// A page of connections from `cursor` on, `limit` places of the table, and where the next begins.
    pub(super) fn page(&self, cursor: usize, limit: usize) -> (impl Iterator<Item = &Conn>, Option<usize>) {
        let end = cursor.saturating_add(limit).min(self.conns.len());
        let page = self.conns.get(cursor..end).unwrap_or_default();
        (page.iter().filter(|conn| conn.key != Key::NONE), (end < self.conns.len()).then_some(end))
    }

    pub(super) fn owner_of(conn: &Conn) -> PortId {
        conn.owner
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn birth(n: u64, owner: PortId, limit: u32) -> Birth {
        Birth {
            key: Key([0, n, 0, n * 7, n << 48 | 0x411]),
            origin: 0,
            state: State::New,
            halves: [Half::default(); 2],
            number: 0,
            allowed: [0; 2],
            owner,
            limit,
        }
    }

    fn find(table: &Table, n: u64) -> Option<u32> {
        table.find(&birth(n, 0, 1).key, &mut NONE.clone())
    }

    #[test]
    fn a_line_has_what_a_packet_needs() {
        assert_eq!(size_of::<Conn>(), 128);
        assert_eq!(std::mem::offset_of!(Conn, halves), 64);
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
            .heads
            .iter()
            .map(|&head| std::iter::successors(table.get(head), |conn| table.get(conn.next)).count());
        assert!(longest.max().unwrap() < 12);
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
        /// Whatever comes and goes, what should be there is found, and counts are right.
        #[test]
        fn like_a_map(steps in prop::collection::vec((0..5_u8, 1..200_u64, 0..4_u16), 0..300)) {
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
                    4 if n < 20 => {
                        table.disown(owner);
                        model.retain(|_, o| *o != owner);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len() as usize, model.len());
                for port in 0..4 {
                    prop_assert_eq!(table.owned(port) as usize, model.values().filter(|o| **o == port).count());
                }
            }
            for n in 1..200 {
                prop_assert_eq!(find(&table, n).is_some(), model.contains_key(&n));
            }
        }
    }
}
