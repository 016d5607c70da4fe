//! The hash table of the FDB: from (VLAN, address) to a slot.
//!
//! What it must do, and what follows:
//!  * A lookup a frame and address: open addressing with the key inside a 16-byte slot, so that a
//!    lookup is one cache line, most of the time.
//!  * A guest chooses the keys: the hash is keyed with a secret, or it could aim at one place.
//!  * A table that doubles stops the world for as long as it takes to move a million entries. This
//!    one grows a segment at a time (extendible hashing): some bits of the hash choose a
//!    segment by a small directory, others a slot in it, with linear probing that stays in
//!    the segment. A full segment is split in two, 8 KiB of work; the directory, 4 bytes a segment,
//!    is all that ever doubles.
//!  * Entries leave as often as they come: removal shifts the rest of the probe sequence back, so no
//!    tombstones pile up and a table that has churned for a year is as fast as a new one.
//!
//! A slot's number says where it lies; the few operations that move entries tell the list of ages.

use super::ages::Ages;

/// Slots of one segment, and the bits of a hash that choose one.
pub(super) const SEGMENT: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 9;
/// Slots of a segment in use at most: at three quarters, a miss probes 8.5 slots on average.
const FULL: u16 = 384;

/// One entry; `key` 0 is an empty slot. Aligned, so that none straddles two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
pub(super) struct Slot {
    /// `address | VLAN << 48`; never 0, because VLAN 0 doesn't exist.
    pub(super) key: u64,
    /// Coarse time when it was last heard; learned entries only.
    pub(super) stamp: u32,
    pub(super) port: u16,
    pub(super) kind: super::Kind,
}

const EMPTY: Slot = Slot { key: 0, stamp: 0, port: 0, kind: super::Kind::Learned };

type Segment = [Slot; SEGMENT];

/// What is known about a segment.
#[derive(Clone, Copy, Debug)]
struct Fill {
    used: u16,
    /// Bits of the hash that all its keys have in common.
    depth: u8,
}

/// The two numbers that key the hash. Whatever the seed is, the multiplier must not be one of the few
/// that hash badly (0, 1, -1, ...): multiplying and folding by -1 gives the same hash for every key.
fn secret(seed: [u64; 2]) -> [u64; 2] {
    // The finaliser of SplitMix64.
    let mix = |n: u64| {
        let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    };
    let first = mix(seed[0].wrapping_add(0x9e37_79b9_7f4a_7c15));
    [first, mix(seed[1].wrapping_add(first)) | 1]
}

/// Twice as many segments as `limit` entries fill, and twice again for uneven ones.
fn max_depth(limit: u32) -> u8 {
    let segments = (u64::from(limit) / u64::from(FULL) + 1).next_power_of_two();
    segments.trailing_zeros() as u8 + 2
}

#[derive(Debug)]
pub(super) struct Table {
    segments: Vec<Box<Segment>>,
    fills: Vec<Fill>,
    /// By the bits of a hash above those that choose a slot, as many as there are: the segment.
    directory: Vec<u32>,
    /// The directory has 2 to the power of this many places at most.
    max_depth: u8,
    seed: [u64; 2],
}

impl Table {
    /// An empty table that will be asked to hold up to `limit` entries.
    pub(super) fn new(limit: u32, seed: [u64; 2], ages: &mut Ages) -> Self {
        let mut table = Table {
            segments: Vec::new(),
            fills: Vec::new(),
            directory: vec![0],
            max_depth: max_depth(limit),
            seed: secret(seed),
        };
        table.push_segment(0, ages);
        table
    }

    /// From now on it will be asked to hold up to `limit` entries.
    pub(super) fn set_limit(&mut self, limit: u32) {
        // A directory that has grown does not shrink.
        self.max_depth = max_depth(limit).max(self.directory.len().trailing_zeros() as u8);
    }

    /// Keyed multiply and fold, as in wyhash: every bit of the key reaches every bit of the result.
    #[inline]
    fn hash(&self, key: u64) -> u64 {
        let product = u128::from(key ^ self.seed[0]) * u128::from(self.seed[1]);
        (product >> 64) as u64 ^ product as u64
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        // A power of two, and never 0.
        let mask = self.directory.len() - 1;
        self.directory[(hash >> SLOT_BITS) as usize & mask] as usize
    }

    /// The slot of `key`.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<usize> {
        let hash = self.hash(key);
        let number = self.segment_of(hash);
        let segment = &self.segments[number];
        let mut at = hash as usize % SEGMENT;
        // Ends, because a segment is never full.
        loop {
            let found = segment[at].key;
            if found == key {
                return Some(number * SEGMENT + at);
            }
            if found == 0 {
                return None;
            }
            at = (at + 1) % SEGMENT;
        }
    }

    #[inline]
    pub(super) fn slot(&self, slot: usize) -> &Slot {
        &self.segments[slot / SEGMENT][slot % SEGMENT]
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, slot: usize) -> &mut Slot {
        &mut self.segments[slot / SEGMENT][slot % SEGMENT]
    }

    /// Put a new entry in. `None` when there is no place for it, which takes so many keys with the
    /// same hash bits that it has no chance to happen but by somebody who knows the seed.
    pub(super) fn insert(&mut self, entry: Slot, ages: &mut Ages) -> Option<usize> {
        let hash = self.hash(entry.key);
        loop {
            let number = self.segment_of(hash);
            if self.fills[number].used < FULL {
                return Some(self.place(number, hash, entry));
            }
            if !self.split(number, ages) {
                return None;
            }
        }
    }

    /// Put an entry into the first free slot of a segment that has one.
    fn place(&mut self, number: usize, hash: u64, entry: Slot) -> usize {
        let segment = &mut self.segments[number];
        let mut at = hash as usize % SEGMENT;
        while segment[at].key != 0 {
            at = (at + 1) % SEGMENT;
        }
        segment[at] = entry;
        self.fills[number].used += 1;
        number * SEGMENT + at
    }

    /// Take the entry in `slot` out, and close the gap. Another entry may be in `slot` afterwards.
    pub(super) fn remove(&mut self, slot: usize, ages: &mut Ages) {
        ages.unlink(slot);
        let number = slot / SEGMENT;
        let mut gap = slot % SEGMENT;
        let mut at = gap;
        loop {
            at = (at + 1) % SEGMENT;
            let entry = self.segments[number][at];
            if entry.key == 0 {
                break;
            }
            // It may fill the gap when the gap is not before the slot its probing starts at.
            let home = self.hash(entry.key) as usize % SEGMENT;
            if at.wrapping_sub(home) % SEGMENT >= at.wrapping_sub(gap) % SEGMENT {
                self.segments[number][gap] = entry;
                ages.moved(number * SEGMENT + at, number * SEGMENT + gap);
                gap = at;
            }
        }
        self.segments[number][gap] = EMPTY;
        self.fills[number].used -= 1;
    }

    fn push_segment(&mut self, depth: u8, ages: &mut Ages) -> usize {
        self.segments.push(Box::new([EMPTY; SEGMENT]));
        self.fills.push(Fill { used: 0, depth });
        ages.grow();
        self.segments.len() - 1
    }

    /// Move half of a segment's entries to a new one. False when the directory is at its limit.
    #[cold]
    fn split(&mut self, number: usize, ages: &mut Ages) -> bool {
        let depth = self.fills[number].depth;
        if 1 << depth == self.directory.len() {
            if depth == self.max_depth {
                return false;
            }
            self.directory.extend_from_within(..);
        }
        let other = self.push_segment(depth + 1, ages);
        self.fills[number].depth = depth + 1;

        // Of the directory's places for this segment, those with the next bit set are the new one's.
        for (place, entry) in self.directory.iter_mut().enumerate() {
            if *entry == number as u32 && place >> depth & 1 == 1 {
                *entry = other as u32;
            }
        }
        let mut at = 0;
        while at < SEGMENT {
            let entry = self.segments[number][at];
            let hash = self.hash(entry.key);
            if entry.key != 0 && self.segment_of(hash) == other {
                let to = self.place(other, hash, entry);
                ages.moved(number * SEGMENT + at, to);
                self.remove(number * SEGMENT + at, ages);
            } else {
                at += 1;
            }
        }
        true
    }

    /// How many segments there are.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The numbers of the slots in use of one segment.
    pub(super) fn used(&self, number: usize) -> impl Iterator<Item = usize> + '_ {
        let slots = self.segments[number].iter().enumerate();
        slots.filter(|(_, slot)| slot.key != 0).map(move |(at, _)| number * SEGMENT + at)
    }

    /// Take out every entry that `gone` says, at most `most` of them, and tell `each` of it before.
    pub(super) fn retain_not(
        &mut self,
        mut most: usize,
        ages: &mut Ages,
        gone: impl Fn(&Slot) -> bool,
        mut each: impl FnMut(&Slot),
    ) {
        for number in 0..self.segments.len() {
            let mut at = 0;
            while at < SEGMENT && most > 0 {
                let entry = self.segments[number][at];
                if entry.key != 0 && gone(&entry) {
                    each(&entry);
                    // What closes the gap is looked at next. An entry from the segment's front that
                    // wraps around into it was looked at already and stays.
                    self.remove(number * SEGMENT + at, ages);
                    most -= 1;
                } else {
                    at += 1;
                }
            }
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.segments.len() * size_of::<Segment>()
            + self.segments.capacity() * size_of::<Box<Segment>>()
            + self.fills.capacity() * size_of::<Fill>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// How far an entry lies from the slot its probing starts at.
    #[cfg(test)]
    pub(super) fn distance(&self, slot: usize) -> usize {
        slot.wrapping_sub(self.hash(self.slot(slot).key) as usize) % SEGMENT
    }

    /// Whether a key would be in this place of a directory that is as large as it gets.
    #[cfg(test)]
    pub(super) fn wants_place(&self, key: u64, place: u64) -> bool {
        self.hash(key) >> SLOT_BITS & ((1 << self.max_depth) - 1) == place
    }
}
