//! Pairs of stations whose frames were decided lately: a cache beside the forwarding database.
//!
//! A port with many stations behind it, or a guest that talks with many, sends frames of which hardly
//! one is like the one before. Two lookups in the FDB and all the questions around them make such a
//! decision; one line of this cache has what they came to. An entry holds as long as the FDB's
//! version, which goes up with all that decisions rest on and with every step of coarse time, so that
//! nothing here has to be forgotten.
//!
//! A set of two entries is one cache line, and a pair that finds no place in its own set takes one in the set
//! beside it: of a thousand pairs one in forty shares a set with two others, and a look beside is much less than
//! two lookups. Guests choose the addresses, so the hash is keyed; and whoever crowds a set has only what
//! everybody had without: two lookups. Where there are more pairs than places, to look here in vain and to
//! write what is gone before it is asked for costs more than it gives. After so many misses with few hits
//! between them, nobody looks for a while.

use crate::parse::First;
use crate::{PortId, VlanId};

/// Sets, a power of two: places for 8,192 pairs, in 256 KiB.
const SETS: usize = 1 << SET_BITS;
const SET_BITS: u32 = 12;
/// So many pairs are decided without the cache first: most switches of a large network carry little, and a
/// quarter of a megabyte each is much for them.
const WORTH: u32 = 1024;
/// While both sets are full, one of so many pairs that find no place in it takes one.
const PATIENCE: u32 = 8;
/// Misses after which it is asked whether there were enough hits: pairs that are worth it are all here by then.
const MISSES: u32 = 1024;
/// Hits that have to come with them, or as many lookups as `REST` says are spared.
const HITS: u32 = 4 * MISSES;
const REST: u32 = 32 * MISSES;

/// From where to where.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair([u64; 2]);

impl Pair {
    /// The stations of a frame that came in by `ingress` in this VLAN.
    #[inline]
    pub(crate) fn new(first: &First, vlan: VlanId, ingress: PortId) -> Pair {
        Pair(first.stations(u32::from(vlan) << 16 | u32::from(ingress)))
    }

    /// 0 when it is the same.
    #[inline]
    fn differs(self, other: Pair) -> u64 {
        (self.0[0] ^ other.0[0]) | (self.0[1] ^ other.0[1])
    }
}

/// What is known of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    pair: Pair,
    /// The FDB's when it was decided.
    version: u64,
    /// The source that the sender's guard admits plain packets with; 0 where none is asked.
    ip: u32,
    port: PortId,
}

/// Two pairs in one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Entry; 2]);

const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    /// Where the pair is, or else may be: it must not stand here twice, for who looks it up sees one of them.
    fn place(&self, pair: Pair, version: u64) -> Option<usize> {
        let is = |entry: &Entry| entry.pair.differs(pair) == 0;
        self.0.iter().position(is).or_else(|| self.0.iter().position(|entry| entry.version != version))
    }
}

/// See the top of this file.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    /// None before they are worth it.
    sets: Vec<Set>,
    secret: [u64; 2],
    /// Pairs that found no place.
    refused: u32,
    /// Pairs that were found, and that were not, since it was asked last.
    hits: u32,
    misses: u32,
    /// Lookups to be spared.
    rest: u32,
}

/// Looks pairs up.
#[derive(Clone, Copy)]
pub(crate) struct Seeker<'a> {
    sets: &'a [Set],
    secret: [u64; 2],
    version: u64,
}

impl Seeker<'_> {
    /// The port that a frame from the one to the other goes to, if that stands in their set or beside it.
    #[inline(always)]
    pub(crate) fn find(&self, pair: Pair, ip: u32) -> Option<PortId> {
        let number = set(self.secret, pair);
        look(self.sets.get(number)?, pair, ip, self.version).or_else(|| self.find_beside(number, pair, ip))
    }

    #[inline(never)]
    fn find_beside(&self, number: usize, pair: Pair, ip: u32) -> Option<PortId> {
        look(self.sets.get(number ^ 1)?, pair, ip, self.version)
    }
}

/// Keyed multiply and fold, and once more by a fixed number, as the FDB does (`fdb/table.rs`).
#[inline]
fn set(secret: [u64; 2], Pair([a, b]): Pair) -> usize {
    let product = u128::from(a ^ secret[0]) * u128::from(b ^ secret[1]);
    let folded = (product >> 64) as u64 ^ product as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SET_BITS)) as usize
}

/// What a set says of a pair.
#[inline(always)]
fn look(Set(ways): &Set, pair: Pair, ip: u32, version: u64) -> Option<PortId> {
    // Reckoned: which of the two it is can't be guessed.
    let entry = &ways[usize::from(ways[1].pair.differs(pair) == 0)];
    let differs = entry.pair.differs(pair) | (entry.version ^ version) | u64::from(entry.ip ^ ip);
    (differs == 0).then_some(entry.port)
}

impl Pairs {
    /// `secret`: two numbers that no guest knows.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Pairs { sets: Vec::new(), secret, refused: 0, hits: 0, misses: 0, rest: 0 }
    }

    #[inline]
    fn set(&self, pair: Pair) -> usize {
        set(self.secret, pair)
    }

    /// Many lookups under one version. Whoever finds something says so: [`Pairs::found`].
    #[inline]
    pub(crate) fn seek(&self, version: u64) -> Seeker<'_> {
        Seeker { sets: if self.rest > 0 { &[] } else { &self.sets }, secret: self.secret, version }
    }

    /// So many pairs were found.
    #[inline]
    pub(crate) fn found(&mut self, pairs: usize) {
        self.hits = self.hits.wrapping_add(pairs as u32);
    }

    /// The port that a frame from the one to the other goes to, if that was decided under this version
    /// and its sender has this source.
    #[inline]
    pub(crate) fn find(&mut self, pair: Pair, ip: u32, version: u64) -> Option<PortId> {
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let port = self.seek(version).find(pair, ip)?;
        self.found(1);
        Some(port)
    }

    /// It was not found: remember it, if there is a place.
    #[inline(never)]
    pub(crate) fn put(&mut self, pair: Pair, ip: u32, version: u64, port: PortId) {
        if self.rest > 0 {
            return;
        }
        if self.sets.is_empty() {
            self.refused += 1;
            if self.refused < WORTH {
                return;
            }
            self.make();
        }
        self.misses += 1;
        if self.misses == MISSES {
            self.rest = if self.hits < HITS { REST } else { 0 };
            (self.hits, self.misses) = (0, 0);
        }
        let number = self.set(pair);
        let free = |at: usize| Some((at, self.sets.get(at)?.place(pair, version)?));
        let (at, way) = match free(number).or_else(|| free(number ^ 1)) {
            Some(place) => place,
            None => {
                self.refused = self.refused.wrapping_add(1);
                if !self.refused.is_multiple_of(PATIENCE) {
                    return;
                }
                (number, (self.refused / PATIENCE) as usize % 2)
            }
        };
        let Some(Set(ways)) = self.sets.get_mut(at) else { return };
        ways[way] = Entry { pair, version, ip, port };
    }

    #[cold]
    fn make(&mut self) {
        self.sets = vec![Set::default(); SETS];
        self.refused = 0;
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.sets.capacity() * size_of::<Set>()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::View;

    const VERSION: u64 = 7;

    /// From station `n` to station `n + 1`.
    fn pair(n: u32, vlan: VlanId, ingress: PortId) -> Pair {
        let mut bytes = [0; 64];
        bytes[2..6].copy_from_slice(&(n + 1).to_be_bytes());
        bytes[8..12].copy_from_slice(&n.to_be_bytes());
        bytes[12..16].copy_from_slice(&[8, 0, 0x45, n as u8]);
        Pair::new(&First::of(&View::plain(&bytes, 64)).unwrap(), vlan, ingress)
    }

    fn pairs_of(seed: [u64; 2]) -> Pairs {
        let mut pairs = Pairs::new(crate::fdb::secret(seed));
        pairs.make();
        pairs
    }

    fn pairs() -> Pairs {
        pairs_of([1, 2])
    }

    #[test]
    fn a_switch_that_carries_little_has_no_cache() {
        let mut pairs = Pairs::new(crate::fdb::secret([1, 2]));
        for n in 1..WORTH {
            pairs.put(pair(n, 10, 3), 0, VERSION, 1);
        }
        assert_eq!((pairs.memory(), pairs.find(pair(1, 10, 3), 0, VERSION)), (0, None));
        pairs.put(pair(1, 10, 3), 0, VERSION, 1);
        assert_eq!(pairs.find(pair(1, 10, 3), 0, VERSION), Some(1));
    }

    #[test]
    fn a_pair_is_found_as_it_was_put_and_no_other() {
        let mut pairs = pairs();
        assert_eq!(pairs.find(pair(1, 10, 3), 5, VERSION), None);
        pairs.put(pair(1, 10, 3), 5, VERSION, 9);
        assert_eq!(pairs.find(pair(1, 10, 3), 5, VERSION), Some(9));
        for (other, ip, version) in [
            (pair(2, 10, 3), 5, VERSION),
            (pair(1, 11, 3), 5, VERSION),
            (pair(1, 10, 4), 5, VERSION),
            (pair(1, 10, 3), 6, VERSION),
            (pair(1, 10, 3), 5, VERSION + 1),
        ] {
            assert_eq!(pairs.find(other, ip, version), None, "{other:?} {ip} {version}");
        }
        // What is known anew takes the place of what was.
        pairs.put(pair(1, 10, 3), 5, VERSION + 1, 8);
        assert_eq!(pairs.find(pair(1, 10, 3), 5, VERSION + 1), Some(8));
    }

    #[test]
    fn stations_numbered_one_after_the_other_find_places_whatever_the_seed() {
        for (seed, stride) in (0..100_u64).flat_map(|seed| [1_u32, 4, 256, 4096].map(|stride| (seed, stride)))
        {
            let mut pairs = pairs_of([seed, seed]);
            let of = |n: u32| pair(n * stride, 10, 3);
            (0..1000).for_each(|n| pairs.put(of(n), 0, VERSION, 1));
            let found = (0..1000).filter(|n| pairs.find(of(*n), 0, VERSION).is_some()).count();
            assert!(found > 990, "{seed} {stride}: {found}");
        }
    }

    #[test]
    fn with_a_new_version_those_that_still_talk_are_found_once_they_were_put_again() {
        let mut pairs = pairs();
        for version in 1..20 {
            // Others fall silent each time.
            let talks: Vec<_> = (0..2000).filter(|n| n % 3 != version % 3).map(|n| pair(n, 10, 3)).collect();
            for pair in talks.iter().cycle().take(40 * talks.len()) {
                if pairs.find(*pair, 5, version.into()).is_none() {
                    pairs.put(*pair, 5, version.into(), 1);
                }
            }
            let found = talks.iter().filter(|pair| pairs.find(**pair, 5, version.into()).is_some()).count();
            assert!(found * 100 > talks.len() * 98, "{version}: {found}");
        }
    }

    #[test]
    fn who_crowds_a_set_displaces_one_now_and_then_and_all_of_them_with_a_new_version() {
        let mut pairs = pairs();
        let first = pairs.set(pair(0, 10, 3));
        let same: Vec<_> =
            (0..1 << 20).map(|n| pair(n, 10, 3)).filter(|p| pairs.set(*p) == first).take(40).collect();
        assert_eq!(same.len(), 40);
        for (port, pair) in same.iter().enumerate() {
            pairs.put(*pair, 0, VERSION, port as PortId);
        }
        let found: Vec<_> = same.iter().filter_map(|pair| pairs.find(*pair, 0, VERSION)).collect();
        // Two are in their set and two beside it. 36 found no place, and every eighth of them took one in the set, now
        // this and now that.
        assert_eq!(found, [2, 3, 27, 35]);
        for pair in same.iter().take(2) {
            pairs.put(*pair, 0, VERSION + 1, 1);
        }
        assert_eq!(same.iter().filter(|pair| pairs.find(**pair, 0, VERSION + 1).is_some()).count(), 2);
    }

    #[test]
    fn nobody_looks_for_a_while_where_nothing_is_found_and_everybody_where_much_is() {
        let mut pairs = pairs();
        for n in 0..MISSES {
            assert_eq!(pairs.find(pair(n, 10, 3), 0, VERSION), None);
            pairs.put(pair(n, 10, 3), 0, VERSION, 1);
        }
        for n in 0..REST {
            assert_eq!(pairs.find(pair(n % MISSES, 10, 3), 0, VERSION), None, "{n}");
            pairs.put(pair(MISSES + n, 10, 3), 0, VERSION, 1);
        }
        let found = (0..MISSES).filter(|n| pairs.find(pair(*n, 10, 3), 0, VERSION).is_some()).count();
        assert!(found > MISSES as usize * 95 / 100, "{found}");
        assert_eq!(pairs.find(pair(MISSES, 10, 3), 0, VERSION), None, "was put while nobody looked");
        // With as many hits between them the next misses are no reason to stop.
        for round in 0..3 * MISSES {
            for n in 0..5 {
                let _ = pairs.find(pair(round % 200 + n, 10, 3), 0, VERSION);
            }
            pairs.put(pair(1 << 20 | round, 10, 3), 0, VERSION, 1);
        }
        assert_eq!(pairs.rest, 0);
    }
}
