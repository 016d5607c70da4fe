//! The connections of a switch: found by their ends, owned by ports, forgotten when they are old.
//!
//! What it must do, and what follows:
//!  * One lookup a packet, cheap for thousands of connections: the hash leads to one cache line (`line.rs`), in
//!    which is all that most packets ask for of eight connections; and to a chain that has all of them (`chains.rs`).
//!  * A guest chooses the keys: the hash is keyed with a secret.
//!  * It must not stop for growing: lines are split one at a time (linear hashing), and all arrays
//!    are reserved for as many connections as there may be, which costs addresses and no memory. Lines and connections
//!    are on large pages: what is read all over, a processor does not find again fast in thousands of small ones.
//!  * No guest takes another's place. A connection belongs to the port that has to pay for it
//!    (`owner`), of this switch or behind a link (`account.rs`), and counts against that port's limit. Each owner has two lists, by age: of
//!    connections that were answered, and of those that were not. At its limit the oldest that was
//!    never answered goes; if there is none, one that was quiet for a while; if there is none
//!    either, nothing new begins. When the whole table is full, whoever owns most makes room so,
//!    for somebody who owns less even by its oldest answered one, though that is not quiet.
//!  * Old ones are not found, whether they are still there or not; what makes room and lets counters
//!    be right is a hand that goes round once in eight seconds, a thousand connections at a time (`hand.rs`).

mod chains;
mod common;
mod conn;
mod hand;
mod hash;
mod line;
mod owners;

pub(in crate::groups) use common::{Common, Ends};
pub(in crate::groups) use conn::{Birth, Conn, State, coarse};
pub(in crate::groups) use line::{Brief, Row, STALE, Tags};

use super::packet::Key;
use super::quick::{LookUp, Lookup};
use super::tcp::Knock;
use crate::{Nanos, PortId};
use chains::CHAINS;
use common::Commons;
use hand::LATE;
use hash::{Fold, Way, fold, line_of};
use line::{Line, Places, RowMut};
use owners::{EMPTY, Owner, Ranks, TRIES};

const NONE: u32 = u32::MAX;
/// Connections for each line.
const SHARE: usize = 2;
/// Where a connection has its windows.
const HALVES: usize = std::mem::offset_of!(Conn, halves);
#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<Line>,
    /// By line: where those are that have a place in it.
    places: Vec<Places>,
    /// By line: the first connections of the chains of all that it is for.
    chains: Vec<[u32; CHAINS]>,
    commons: Commons,
    /// Lines before `split` have been split in this round, in which there are `mask + 1` at first.
    split: usize,
    mask: usize,
    conns: Vec<Conn>,
    free: u32,
    used: u32,
    limit: u32,
    owners: Vec<Owner>,
    ranks: Ranks,
    seed: [u64; 6],
    hand: usize,
    /// When the hand moves on.
    due: Nanos,
    /// Then it would be late.
    late: u32,
    /// It was late: before that, lines say nothing.
    blind: Option<Nanos>,
    /// How bursts are looked up: see [`crate::Switch::set_look_up`].
    look_up: LookUp,
    /// Is told of memory that will be read all over: see [`crate::Switch::set_spread`].
    spread: fn(*const u8, usize),
}

/// Room for so many at least, which takes no memory before it is used. What the allocator asks the kernel for is then as
/// long as some large pages are, so that it begins with one; [`Table::prepare`] has it.
fn room<T>(least: usize, spread: fn(*const u8, usize)) -> Vec<T> {
    const { assert!(size_of::<T>() > 0) };
    const LARGE: usize = 2 << 20;
    const ALLOCATOR: usize = 2048;
    let bytes = (least * size_of::<T>() + ALLOCATOR).next_multiple_of(LARGE) - ALLOCATOR;
    let room = Vec::<T>::with_capacity(bytes / size_of::<T>());
    spread(room.as_ptr().cast(), room.capacity() * size_of::<T>());
    room
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
        let seed = [number(1), number(2) | 1, number(3), number(4), number(5), number(6) | 1];
        Table {
            lines: vec![],
            places: vec![],
            chains: vec![],
            commons: Commons::new(Fold([number(7), number(8) | 1, number(9), number(10)])),
            split: 0,
            mask: 0,
            conns: vec![],
            free: NONE,
            used: 0,
            limit,
            owners: vec![],
            ranks: Ranks::default(),
            seed,
            hand: 0,
            due: 0,
            late: 0,
            blind: None,
            look_up: |lookup| lookup.run(|_| ()),
            spread: |_, _| (),
        }
    }

    pub(super) fn set_look_up(&mut self, look_up: LookUp) {
        self.look_up = look_up;
    }

    pub(super) fn set_spread(&mut self, spread: fn(*const u8, usize)) {
        self.spread = spread;
    }

    /// A table without connections that knows how many there are here: see `twin.rs`.
    pub(super) fn sketch(&self) -> Table {
        let owner = |owner: &Owner| Owner { count: owner.count, unanswered: EMPTY, answered: EMPTY };
        Table {
            lines: vec![Line::EMPTY; 64],
            places: vec![Places::EMPTY; 64],
            chains: vec![[NONE; CHAINS]; 64],
            commons: Commons::new(self.commons.seed()),
            split: 0,
            mask: 63,
            conns: vec![],
            free: NONE,
            owners: self.owners.iter().map(owner).collect(),
            ranks: self.ranks.clone(),
            hand: 0,
            ..*self
        }
    }

    /// One connection as it is there, if it is, unless it was brought before.
    pub(super) fn bring(&mut self, from: &Table, key: &Key) {
        if let Some(conn) = from.seek(key).and_then(|at| from.get(at)) {
            self.adopt(conn);
        }
    }

    /// Those that would make room for one more of a port's.
    pub(super) fn bring_payer(&mut self, from: &Table, port: PortId) {
        let full = if from.used >= from.limit { from.ranks.first() } else { None };
        for owner in [Some(port), full].into_iter().flatten() {
            let Some(owner) = from.owners.get(usize::from(owner)) else { continue };
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
        if self.along(conn.hash, &conn.key).is_none() {
            let at = self.conns.len() as u32;
            self.conns.push(Conn { next: NONE, list: (NONE, NONE), ..conn.clone() });
            self.chain(at);
            self.enlist(at);
        }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    #[inline]
    fn hash(&self, key: &Key) -> u32 {
        let Key([a, b, c, d, word]) = *key;
        let s = &self.seed;
        let v4 = word >> 8 & 0xff == 4;
        let addresses = if v4 { b << 32 | d } else { fold(fold(a ^ s[4], b ^ s[5]) ^ c, d ^ s[2]) };
        self.way(addresses, word).hash(((word >> 32) as u32).to_be())
    }

    /// What leads to the lines of connections between two addresses, ascending, and with the last word of their keys but
    /// for the ports: packets in a row often have all of that in common. Keyed multiply and fold, as in wyhash.
    #[inline]
    pub(super) fn way(&self, addresses: u64, word: u64) -> Way {
        let s = &self.seed;
        let key = Fold([s[0], s[1], s[2], s[3]]).of(addresses, word & 0xffff_ffff);
        Way {
            keys: [key as u32, (key >> 32) as u32],
            factors: [s[4] as u32 | 1, s[5] as u32 | 1],
            mask: self.mask as u32,
            lines: self.lines.len() as u32,
        }
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        line_of(hash, self.mask as u32, self.lines.len() as u32) as usize
    }

    /// The connection with this key. `hint` is where the last one was found, and is set to this.
    #[inline]
    pub(super) fn find(&self, key: &Key, hint: &mut u32) -> Option<u32> {
        if self.conns.get(*hint as usize).is_some_and(|conn| conn.key == *key) {
            return Some(*hint);
        }
        let found = self.seek(key)?;
        *hint = found;
        Some(found)
    }

    /// The connection with this key, where no hint says where it is.
    #[inline]
    pub(super) fn seek(&self, key: &Key) -> Option<u32> {
        self.along(self.hash(key), key)
    }

    #[inline]
    pub(super) fn line(&self, bucket: u32) -> Option<&Line> {
        self.lines.get(bucket as usize)
    }

    /// Where all of the connection in a place of a line is.
    #[inline(always)]
    pub(super) fn at(&self, bucket: u32, place: usize) -> u32 {
        self.places.get(bucket as usize).map_or(NONE, |places| places.at(place))
    }

    #[inline]
    pub(super) fn row(&self, bucket: u32) -> Option<Row<'_>> {
        Some(Row(self.lines.get(bucket as usize)?, self.places.get(bucket as usize)?))
    }

    /// Look a burst up here, in the way that there is for it.
    #[inline]
    pub(super) fn look_up(&self, lookup: Lookup<'_>) -> (u64, u64) {
        (self.look_up)(lookup)
    }

    /// Lines will be read soon.
    #[inline(always)]
    pub(super) fn ask_for_lines(&self, buckets: &[u32], ask: &impl Fn(*const u8)) {
        ask_for(&self.lines, 0, buckets, ask);
    }

    /// The same for where all of their connections is.
    #[inline(always)]
    pub(super) fn ask_for_places(&self, buckets: &[u32], ask: &impl Fn(*const u8)) {
        ask_for(&self.places, 0, buckets, ask);
    }

    /// What TCP asks for of connections will be read soon.
    #[inline(always)]
    pub(super) fn ask_for_halves(&self, at: &[u32], ask: &impl Fn(*const u8)) {
        ask_for(&self.conns, HALVES, at, ask);
    }

    /// What connections have in common that have this number.
    #[inline]
    pub(super) fn common(&self, number: u32) -> Option<&Common> {
        self.commons.get(number)
    }

    /// A connection was heard, or judged: its line says so, if there is a place.
    #[inline]
    pub(super) fn note(&mut self, at: u32) {
        if let Some(conn) = self.conns.get(at as usize) {
            self.note_in(self.bucket(conn.hash) as u32, at);
        }
    }

    /// The same where its line is known: its hash is in a cache line that the short way does not ask for.
    #[inline]
    pub(super) fn note_in(&mut self, bucket: u32, at: u32) {
        let Table { lines, places, conns, commons, .. } = self;
        if let (Some(conn), Some(mut row)) =
            (conns.get_mut(at as usize), row_mut(lines, places, bucket as usize))
        {
            conn.placed = row.note(at, conn.heard, Common::of(conn), commons);
        }
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Conn> {
        self.conns.get(at as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Conn> {
        self.conns.get_mut(at as usize)
    }

    pub(super) fn len(&self) -> u32 {
        self.used
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> usize {
        self.conns.len() * size_of::<Conn>()
            + self.lines.len() * (size_of::<Line>() + size_of::<Places>() + size_of::<[u32; CHAINS]>())
            + self.commons.memory()
            + self.owners.capacity() * size_of::<Owner>()
            + self.ranks.memory()
    }

    // -- coming and going --------------------------------------------------------------------------

    /// Have room for connections, before the first one comes.
    pub(super) fn prepare(&mut self) {
        if self.lines.is_empty() {
            let (lines, connections) = (self.limit as usize / SHARE + 64, self.limit as usize);
            self.lines = room(lines, self.spread);
            self.places = Vec::with_capacity(lines);
            self.chains = Vec::with_capacity(lines);
            self.conns = room(connections, self.spread);
            self.commons.prepare(connections);
            self.ranks.prepare(connections);
            self.lines.resize(64, Line::EMPTY);
            self.places.resize(64, Places::EMPTY);
            self.chains.resize(64, [NONE; CHAINS]);
            self.mask = 63;
        }
    }

    /// Add a connection that is not there, or takes the place of the one that is. `None`: there is no room for it.
    pub(super) fn add(&mut self, now: u32, birth: &Birth) -> Option<u32> {
        self.open(birth.owner);
        let gone = birth.instead.and_then(|at| self.get(at)).map(|conn| conn.owner);
        let own = self.owned(birth.owner) - u32::from(gone == Some(birth.owner));
        if own >= birth.limit.max(1) && !self.evict(birth.owner, now) {
            return None;
        }
        if self.used - u32::from(gone.is_some()) >= self.limit {
            let most = self.ranks.first()?;
            // Whoever has as many as the one with most makes room itself.
            let made = if self.owned(birth.owner) >= self.owned(most) {
                self.evict(birth.owner, now)
            } else {
                self.evict_some(most, now)
            };
            if !made {
                return None;
            }
        }
        if let Some(at) = birth.instead {
            self.remove(at);
        }
        self.prepare();
        if self.used == 0 {
            // Lines are empty, and nobody had to look at them.
            (self.late, self.blind) = (now.wrapping_add(LATE), None);
        }
        let hash = self.hash(&birth.key);
        let conn = Conn {
            key: birth.key,
            next: NONE,
            heard: now,
            allowed: birth.allowed,
            state: birth.state,
            origin: birth.origin as u8,
            began: [birth.began, PortId::MAX, PortId::MAX],
            knock: Knock::default(),
            answered: false,
            owner: birth.owner,
            placed: false,
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
        self.gain(birth.owner);
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
        self.unchain(at, hash);
        self.displace(at, hash);
        let free = self.free;
        if let Some(conn) = self.get_mut(at) {
            conn.key = Key::NONE;
            conn.next = free;
        }
        self.free = at;
        self.used -= 1;
        self.lose(owner);
    }

    /// Forget those whose key says so.
    pub(super) fn forget(&mut self, gone: impl Fn(&Key) -> bool) {
        for at in 0..self.conns.len() as u32 {
            if self.get(at).is_some_and(|conn| conn.key != Key::NONE && gone(&conn.key)) {
                self.remove(at);
            }
        }
    }

    /// Take its place in its line from a connection.
    pub(super) fn displace(&mut self, at: u32, hash: u32) {
        let bucket = self.bucket(hash);
        let Table { lines, places, commons, .. } = self;
        if let Some(mut row) = row_mut(lines, places, bucket) {
            row.forget(at, commons);
        }
    }

    /// Split a line, when there are more than [`SHARE`] connections for each: then one in some thousand finds all places
    /// in its line taken, and goes a way that is many times as long.
    fn grow(&mut self) {
        if self.used as usize > self.lines.len() * SHARE {
            self.split();
        }
    }

    fn split(&mut self) {
        let split = self.split;
        let Some(chains) = self.chains.get_mut(split) else { return };
        let chains = std::mem::replace(chains, [NONE; CHAINS]);
        let Some(RowMut(line, places)) = row_mut(&mut self.lines, &mut self.places, split) else { return };
        let line = std::mem::replace(line, Line::EMPTY);
        let places = std::mem::replace(places, Places::EMPTY);
        self.lines.push(Line::EMPTY);
        self.places.push(Places::EMPTY);
        self.chains.push([NONE; CHAINS]);
        self.split += 1;
        if self.split > self.mask {
            self.split = 0;
            self.mask = self.mask << 1 | 1;
        }
        for mut at in chains {
            while at != NONE {
                let next = self.get(at).map_or(NONE, |conn| conn.next);
                self.chain(at);
                at = next;
            }
        }
        for (brief, at) in Row(&line, &places).briefs() {
            let bucket = self.get(at).map(|conn| self.bucket(conn.hash));
            let row = bucket.and_then(|bucket| row_mut(&mut self.lines, &mut self.places, bucket));
            if let Some(mut row) = row {
                row.set(brief, at);
            }
        }
    }

    /// A page of connections from `cursor` on, `limit` places of the table, and where the next begins.
    pub(super) fn page(&self, cursor: usize, limit: usize) -> (impl Iterator<Item = &Conn>, Option<usize>) {
        let end = cursor.saturating_add(limit).min(self.conns.len());
        let page = self.conns.get(cursor..end).unwrap_or_default();
        (page.iter().filter(|conn| conn.key != Key::NONE), (end < self.conns.len()).then_some(end))
    }
}

/// A line to be written to, with where those are that have a place in it.
#[inline]
fn row_mut<'a>(lines: &'a mut [Line], places: &'a mut [Places], bucket: usize) -> Option<RowMut<'a>> {
    Some(RowMut(lines.get_mut(bucket)?, places.get_mut(bucket)?))
}

/// Ask for some things in a row, from so many bytes on in each.
#[inline(always)]
fn ask_for<T>(row: &[T], from: usize, numbers: &[u32], ask: &impl Fn(*const u8)) {
    for &number in numbers {
        ask(row.as_ptr().wrapping_add(number as usize).wrapping_byte_add(from).cast());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
