//! The connections of a switch: found by their ends, owned by ports, forgotten when they are old.
//!
//! What it must do, and what follows:
//!  * One lookup a packet, cheap for thousands of connections: the hash leads to one cache line (`line.rs`), in
//!    which is all that most packets ask for of four connections, and to the head of the chain that has all of them.
//!  * A guest chooses the keys: the hash is keyed with a secret.
//!  * It must not stop for growing: lines are split one at a time (linear hashing), and all arrays
//!    are reserved for as many connections as there may be, which costs addresses and no memory. Lines and connections
//!    are on large pages: what is read all over, a processor does not find again fast in thousands of small ones.
//!  * No guest takes another's place. A connection belongs to the port that has to pay for it
//!    (`owner`), and counts against that port's limit. Each owner has two lists, by age: of
//!    connections that were answered, and of those that were not. At its limit the oldest that was
//!    never answered goes; if there is none, one that was quiet for a while; if there is none
//!    either, nothing new begins. When the whole table is full, whoever owns most makes room so.
//!  * Old ones are not found, whether they are still there or not; what makes room and lets counters
//!    be right is a hand that goes round once in eight seconds, a thousand connections at a time.

mod common;
mod conn;
mod hash;
mod line;
mod owners;

pub(in crate::groups) use common::{Common, Ends};
pub(in crate::groups) use conn::{Birth, Conn, State, coarse};
pub(in crate::groups) use line::{Brief, Line, STALE};

use super::packet::Key;
use crate::{Nanos, PortId};
use common::Commons;
use hash::{Fold, Way, fold, line_of};
use owners::{EMPTY, Owner, TRIES};

/// Brings things into the cache: where the first one is, how many bytes from one to the next, and which.
pub type Fetch = fn(*const u8, usize, &[u32]);

const NONE: u32 = u32::MAX;
/// Lines for each connection.
const SPREAD: usize = 2;
/// Where a connection has its windows.
const HALVES: usize = std::mem::offset_of!(Conn, halves);
/// Connections looked at by one `tick`, and how long it takes to look at all.
const STRIDE: usize = 1024;
const ROUND: Nanos = 8_000_000_000;

#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<Line>,
    /// By line: the first connection of its chain.
    heads: Vec<u32>,
    commons: Commons,
    /// Lines before `split` have been split in this round, in which there are `mask + 1` at first.
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
    /// Brings what it is shown into the cache: see [`crate::Switch::set_fetch`].
    fetch: Fetch,
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
            heads: vec![],
            commons: Commons::new(Fold([number(7), number(8) | 1, number(9), number(10)])),
            split: 0,
            mask: 0,
            conns: vec![],
            free: NONE,
            used: 0,
            limit,
            owners: vec![],
            seed,
            hand: 0,
            due: 0,
            fetch: |_, _, _| (),
            spread: |_, _| (),
        }
    }

    pub(super) fn set_fetch(&mut self, fetch: Fetch) {
        self.fetch = fetch;
    }

    pub(super) fn set_spread(&mut self, spread: fn(*const u8, usize)) {
        self.spread = spread;
    }

    /// A table without connections that knows how many there are here: see `twin.rs`.
    pub(super) fn sketch(&self) -> Table {
        let owner = |owner: &Owner| Owner { count: owner.count, unanswered: EMPTY, answered: EMPTY };
        Table {
            lines: vec![Line::EMPTY; 64],
            heads: vec![NONE; 64],
            commons: Commons::new(self.commons.seed()),
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
        let found = self.look(key, self.hash(key))?;
        *hint = found;
        Some(found)
    }

    #[inline]
    fn look(&self, key: &Key, hash: u32) -> Option<u32> {
        self.along(self.bucket(hash) as u32, |other| other == key)
    }

    #[inline]
    pub(super) fn line(&self, bucket: u32) -> Option<&Line> {
        self.lines.get(bucket as usize)
    }

    /// Lines will be read soon.
    #[inline]
    pub(super) fn ask_for_lines(&self, buckets: &[u32]) {
        (self.fetch)(self.lines.as_ptr().cast(), size_of::<Line>(), buckets);
    }

    /// What TCP asks for of connections will be read soon.
    #[inline]
    pub(super) fn ask_for_halves(&self, at: &[u32]) {
        (self.fetch)(self.conns.as_ptr().wrapping_byte_add(HALVES).cast(), size_of::<Conn>(), at);
    }

    /// The first connection of a line's chain.
    #[inline]
    fn head(&self, bucket: u32) -> u32 {
        self.heads.get(bucket as usize).copied().unwrap_or(NONE)
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
        let Some(conn) = self.conns.get(at as usize) else { return };
        let (heard, goes) = (conn.heard, Common::of(conn));
        if let Some(line) = self.lines.get_mut(bucket as usize) {
            line.note(at, heard, goes, &mut self.commons);
        }
    }

    /// Follow a line's chain to the connection whose key it is.
    #[inline]
    pub(super) fn along(&self, bucket: u32, is_it: impl Fn(&Key) -> bool) -> Option<u32> {
        let mut at = self.head(bucket);
        // A chain is as long as there are connections at most.
        loop {
            let conn = self.conns.get(at as usize)?;
            if is_it(&conn.key) {
                return Some(at);
            }
            at = conn.next;
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
            + self.lines.len() * (size_of::<Line>() + size_of::<u32>())
            + self.commons.memory()
            + self.owners.capacity() * size_of::<Owner>()
    }

    // -- coming and going --------------------------------------------------------------------------

    /// Have room for connections, before the first one comes.
    pub(super) fn prepare(&mut self) {
        if self.lines.is_empty() {
            let (lines, connections) = (self.limit as usize * SPREAD + 64, self.limit as usize);
            self.lines = room(lines, self.spread);
            self.heads = Vec::with_capacity(lines);
            self.conns = room(connections, self.spread);
            self.commons.prepare(connections);
            self.lines.resize(64, Line::EMPTY);
            self.heads.resize(64, NONE);
            self.mask = 63;
        }
    }

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
        self.prepare();
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
        self.unchain(at, bucket);
        if let Some(line) = self.lines.get_mut(bucket) {
            line.forget(at, &mut self.commons);
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

    /// Take a connection out of its line's chain.
    fn unchain(&mut self, at: u32, bucket: usize) {
        let next = self.get(at).map_or(NONE, |conn| conn.next);
        let mut before = NONE;
        let mut here = self.head(bucket as u32);
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
    }

    /// Put a connection into its chain, as the first.
    fn chain(&mut self, at: u32) {
        let Some(bucket) = self.get(at).map(|conn| self.bucket(conn.hash)) else { return };
        let Some(head) = self.heads.get_mut(bucket) else { return };
        let next = std::mem::replace(head, at);
        if let Some(conn) = self.get_mut(at) {
            conn.next = next;
        }
    }

    /// Split lines, when there are fewer than [`SPREAD`] for a connection: then one in some thousand finds all places
    /// in its line taken, and goes a way that is four times as long.
    fn grow(&mut self) {
        for _ in 0..=SPREAD {
            if self.used as usize * SPREAD > self.lines.len() {
                self.split();
            }
        }
    }

    fn split(&mut self) {
        let (Some(line), Some(head)) = (self.lines.get_mut(self.split), self.heads.get_mut(self.split))
        else {
            return;
        };
        let (line, mut at) = (std::mem::replace(line, Line::EMPTY), std::mem::replace(head, NONE));
        self.lines.push(Line::EMPTY);
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
        for brief in line.briefs() {
            let bucket = self.get(brief.at).map(|conn| self.bucket(conn.hash));
            if let Some(line) = bucket.and_then(|bucket| self.lines.get_mut(bucket)) {
                line.take_in(brief);
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
            if self.get(at).is_some_and(|conn| conn.key != Key::NONE && conn.is_old(time)) {
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
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
