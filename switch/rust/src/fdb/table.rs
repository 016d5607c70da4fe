//! The hash table of the FDB: from (VLAN, address) to a slot.
//!
//! What it must do, and what follows:
//!  * A lookup a frame and address: open addressing with the key inside a 16-byte slot. Probing
//!    begins at the first of the four slots that share a cache line, and all four are compared before
//!    anything is decided: a lookup is one cache line, and one branch that the processor guesses
//!    right, most of the time. Slot by slot, where a key stands is a guess that is wrong every third
//!    time, and that costs more than all else.
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
/// Bits of a hash: those that choose a slot, and those of a directory for as many entries as a limit can say.
const HASH_BITS: u32 = SLOT_BITS + 26;
/// Slots that share a cache line.
const LINE: usize = 4;
/// Slots of a segment in use at most: three quarters, so that nearly every lookup ends in its line or
/// the next.
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

/// A segment's slots, line by line, and what a guard knows of their stations.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Segment {
    lines: [[Slot; LINE]; SEGMENT / LINE],
    /// By slot: the IPv4 address that the guard of the entry's port last admitted its station with; 0
    /// for none. Here once there is a guard.
    bound: Option<Box<[u32; SEGMENT]>>,
}

impl Segment {
    fn new() -> Box<Segment> {
        Box::new(Segment { lines: [[EMPTY; LINE]; SEGMENT / LINE], bound: None })
    }

    #[inline]
    fn slot(&self, at: usize) -> &Slot {
        &self.lines[at / LINE % (SEGMENT / LINE)][at % LINE]
    }

    #[inline]
    fn slot_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.lines[at / LINE % (SEGMENT / LINE)][at % LINE]
    }

    /// What is in `from` is in `to` as well.
    fn copy(&mut self, from: usize, to: usize) {
        *self.slot_mut(to) = *self.slot(from);
        self.bind(to, self.bound(from));
    }

    #[inline(always)]
    fn bound(&self, at: usize) -> u32 {
        self.bound.as_ref().map_or(0, |bound| bound[at % SEGMENT])
    }

    fn bind(&mut self, at: usize, ip: u32) {
        if ip != 0 || self.bound.is_some() {
            self.bound.get_or_insert_with(|| Box::new([0; SEGMENT]))[at % SEGMENT] = ip;
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.lines.iter().flatten()
    }
}

/// Where probing for a key begins in its segment.
#[inline]
fn home(hash: u64) -> usize {
    (hash as usize % SEGMENT) & !(LINE - 1)
}

/// What is known about a segment.
#[derive(Clone, Copy, Debug)]
struct Fill {
    used: u16,
    /// Bits of the hash that all its keys have in common.
    depth: u8,
}

/// The two numbers that key the hash. Whatever the seed is, the multiplier must not be one of the few
/// that hash badly (0, 1, -1, ...): multiplying and folding by -1 gives the same hash for every key.
pub(crate) fn secret(seed: [u64; 2]) -> [u64; 2] {
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

#[derive(Clone, Debug)]
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

    /// Keyed multiply and fold, as in wyhash, and once more by a fixed number: only the high bits of a
    /// product have seen all of its factors. Stations that are numbered one after the other have only low bits
    /// of their own; without the second product there would be secrets, one in a thousand, with which
    /// hundreds of them want the same segment.
    #[inline]
    fn hash(&self, key: u64) -> u64 {
        let product = u128::from(key ^ self.seed[0]) * u128::from(self.seed[1]);
        let folded = (product >> 64) as u64 ^ product as u64;
        folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        // A power of two, and never 0.
        let mask = self.directory.len() - 1;
        self.directory[(hash >> SLOT_BITS) as usize & mask] as usize
    }

    /// The slot of `key`: its number, and what is in it.
    #[inline(always)]
    pub(super) fn find(&self, key: u64) -> Option<(usize, &Slot)> {
        let hash = self.hash(key);
        let number = self.segment_of(hash);
        let segment = self.segments.get(number)?;
        let mut line = home(hash) / LINE;
        // Ends, because a segment is never full.
        loop {
            let slots = &segment.lines[line];
            // Reckoned, and only then tested, or it becomes a branch for each of them.
            let is = |at: usize| usize::from(slots[at].key == key);
            let at = is(1) + 2 * is(2) + 3 * is(3);
            let slot = &slots[at % LINE];
            if slot.key == key {
                return Some((number * SEGMENT + line * LINE + at % LINE, slot));
            }
            // A line is filled from its first slot on, and what is taken out is filled up again.
            if slots[LINE - 1].key == 0 {
                return None;
            }
            line = (line + 1) % (SEGMENT / LINE);
        }
    }

    #[inline]
    pub(super) fn slot(&self, slot: usize) -> &Slot {
        self.segments[slot / SEGMENT].slot(slot % SEGMENT)
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, slot: usize) -> &mut Slot {
        self.segments[slot / SEGMENT].slot_mut(slot % SEGMENT)
    }

    /// What a guard knows of the entry's station; 0 for nothing.
    #[inline(always)]
    pub(super) fn bound(&self, slot: usize) -> u32 {
        self.segments[slot / SEGMENT].bound(slot)
    }

    pub(super) fn bind(&mut self, slot: usize, ip: u32) {
        self.segments[slot / SEGMENT].bind(slot, ip);
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
        let mut at = home(hash);
        while segment.slot(at).key != 0 {
            at = (at + 1) % SEGMENT;
        }
        *segment.slot_mut(at) = entry;
        segment.bind(at, 0);
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
            let key = self.segments[number].slot(at).key;
            if key == 0 {
                break;
            }
            // It may fill the gap when the gap is not before the slot its probing starts at.
            let home = home(self.hash(key));
            if at.wrapping_sub(home) % SEGMENT >= at.wrapping_sub(gap) % SEGMENT {
                self.segments[number].copy(at, gap);
                ages.moved(number * SEGMENT + at, number * SEGMENT + gap);
                gap = at;
            }
        }
        *self.segments[number].slot_mut(gap) = EMPTY;
        self.fills[number].used -= 1;
    }

    fn push_segment(&mut self, depth: u8, ages: &mut Ages) -> usize {
        self.segments.push(Segment::new());
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
            let entry = *self.segments[number].slot(at);
            let hash = self.hash(entry.key);
            if entry.key != 0 && self.segment_of(hash) == other {
                let bound = self.segments[number].bound(at);
                let to = self.place(other, hash, entry);
                self.bind(to, bound);
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
        let slots = self.segments[number].slots().enumerate();
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
                let entry = *self.segments[number].slot(at);
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

    /// Guards know nothing any more of the stations at `port`.
    pub(super) fn unbind(&mut self, port: u16) {
        for segment in &mut self.segments {
            let Segment { lines, bound: Some(bound) } = &mut **segment else { continue };
            for (slot, bound) in lines.iter().flatten().zip(&mut **bound) {
                if slot.port == port {
                    *bound = 0;
                }
            }
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        let bound = self.segments.iter().filter(|segment| segment.bound.is_some()).count();
        self.segments.len() * size_of::<Segment>()
            + bound * size_of::<[u32; SEGMENT]>()
            + self.segments.capacity() * size_of::<Box<Segment>>()
            + self.fills.capacity() * size_of::<Fill>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// How far an entry lies from the slot its probing starts at.
    #[cfg(test)]
    pub(super) fn distance(&self, slot: usize) -> usize {
        slot.wrapping_sub(home(self.hash(self.slot(slot).key))) % SEGMENT
    }

    /// Whether a key would be in this place of a directory that is as large as it gets.
    #[cfg(test)]
    pub(super) fn wants_place(&self, key: u64, place: u64) -> bool {
        self.hash(key) >> SLOT_BITS & ((1 << self.max_depth) - 1) == place
    }
}
