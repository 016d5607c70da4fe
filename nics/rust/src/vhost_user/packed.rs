//! The packed ring (virtio 1.2, 2.8), seen from the device.
//!
//! One table of descriptors, which both sides walk round and round. Two bits in each descriptor say
//! whose it is: the driver makes it *available* by setting AVAIL to its wrap counter and USED to the
//! opposite; the device makes it *used* by setting both to its own. A wrap counter is a bit that
//! flips each time a side passes the end. A chain is a run of neighbours; its id stands in the last
//! of them, and it is used by one descriptor, written over its first. Two words beside the ring say
//! who wants to be notified.
//!
//! **Who may rely on what** is as in `split.rs`: the guest may write anywhere at any time, so places
//! and lengths that decide about anything are ours, in private memory. How many descriptors a chain
//! has is counted once, when it is taken, and kept (`spans`); a chain that the guest makes longer
//! afterwards is walked as it is found then, within the same bounds.
//!
//! **Memory ordering.** The driver writes the descriptors, then the flags of the chain's first one
//! (release); we read those flags (acquire), then the rest. We write all used descriptors of a batch
//! but the flags of the first, then those flags (release): the driver looks at them in the ring's
//! order, so the batch becomes visible at once. Notifications are paired by full fences as those of
//! the split ring are.
//!
//! **In order.** We take buffers in the ring's order and give them back in that order, always. So a
//! used descriptor never hits a buffer that is still in flight, and one place in the ring tells a
//! successor all it needs (`inflight.rs`).
//!
//! Where that place is, a split ring has in the guest's memory; a packed one has not, and QEMU, which
//! has no in-flight tables for network cards, does not know it either when we were killed. So we keep
//! it where a driver does not look: in the first word of what we want to be told, which means
//! something only while its second word says `EVENT_DESC`, and then it is that place as well. A ring
//! that starts goes on there, or behind it if the descriptors say so (`noted`). That is not asked where we stopped it
//! ourselves: a chain of which the driver has written all but the first descriptor looks like one that is further on.
//!
//! None of this is inlined into its callers: the split ring, which nearly all guests use, keeps the
//! room in the processor's caches.

use super::chain::{Desc, NEXT, Run, STEPS, Space, Table, WRITE, step};
use super::inflight::InflightQueue;
use super::log::Log;
use super::memory::{Memory, Window};
use super::ring::{AHEAD_MAX, Ahead, Base, Buf, Placement, RingFault, RingFeatures, Used};
use crate::cache::hand_on;
use std::cell::Cell;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// What a side wants to be told: everything, nothing, or (with EVENT_IDX) when a place is passed.
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESC: u16 = 2;

/// A place in the ring and the wrap counter that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub index: u16,
    pub wrap: bool,
}

impl Place {
    /// As rings and front-ends write it: the wrap counter is bit 15.
    #[must_use]
    pub fn from_bits(bits: u16) -> Place {
        Place { index: bits & 0x7fff, wrap: bits & 0x8000 != 0 }
    }

    #[must_use]
    pub fn bits(self) -> u16 {
        self.index | if self.wrap { 0x8000 } else { 0 }
    }

    /// `n` descriptors on, of a ring of `size`; `n` is at most `size`.
    fn step(&mut self, n: u16, size: u16) {
        let index = u32::from(self.index) + u32::from(n);
        if index >= u32::from(size) {
            self.index = (index - u32::from(size)) as u16;
            self.wrap = !self.wrap;
        } else {
            self.index = index as u16;
        }
    }

    /// The flags of a descriptor that was used here.
    fn used_flags(self) -> u16 {
        if self.wrap { AVAIL | USED } else { 0 }
    }
}

#[derive(Debug)]
pub struct Packed {
    ring: *mut u8,
    /// What the driver wants to be told.
    driver: *const u8,
    /// What we want to be told.
    device: *mut u8,
    size: u16,
    /// The next descriptor to take.
    next: Place,
    /// The next one to give back.
    done: Place,
    /// Descriptors taken and not given back: at most `size`.
    held: u16,
    /// Descriptors given back since the driver's wish was last decided upon; more than `size` count
    /// as `size`.
    since: u16,
    /// How many descriptors each buffer ahead has: those from `first` to `last`, modulo its length.
    spans: Box<[u16; AHEAD_MAX]>,
    first: usize,
    last: usize,
    features: RingFeatures,
}

impl Packed {
    /// A ring that goes on at `base`: the place to take from, and above it the one to give back to.
    /// What was taken and not given back is taken again.
    pub fn new(
        memory: &Memory,
        place: &Placement,
        base: Base,
        features: RingFeatures,
        inflight: Option<&InflightQueue>,
    ) -> Result<Packed, RingFault> {
        let at = |uva, len, align| Placement::area(memory, uva, len, align);
        // Some front-ends tell the upper half and some leave it zero, which means: the same.
        let (taken, given) = (base.bits as u16, (base.bits >> 16) as u16);
        let start = Place::from_bits(if given == 0 { taken } else { given });
        let mut packed = Packed {
            ring: at(place.desc, 16 * u64::from(place.size), 16)?,
            driver: at(place.avail, 4, 4)?,
            device: at(place.used, 4, 4)?,
            size: place.size,
            next: start,
            done: start,
            held: 0,
            since: 0,
            spans: Box::new([0; AHEAD_MAX]),
            first: 0,
            last: 0,
            features,
        };
        if start.index >= packed.size {
            return Err(RingFault::IndexJump);
        }
        if !base.exact {
            packed.done = packed.noted().unwrap_or(start);
            packed.next = packed.done;
        }
        if let Some(inflight) = inflight {
            // What a killed predecessor noted is newer than what the front-end knows.
            let noted =
                inflight.recover_place(packed.done.bits(), |bits| packed.is_past(Place::from_bits(bits)));
            packed.next = Place::from_bits(noted);
            packed.done = packed.next;
        }
        if packed.next.index >= packed.size {
            return Err(RingFault::IndexJump);
        }
        packed.listen(false);
        Ok(packed)
    }

    fn flags(&self, index: u16) -> &AtomicU16 {
        debug_assert!(index < self.size);
        // SAFETY: the table has `size` descriptors of 16 bytes (see `new`), aligned to 16, and stays
        // mapped while the ring lives; the guest's writes are those of another thread.
        unsafe { AtomicU16::from_ptr(self.ring.add(usize::from(index) * 16 + 14).cast()) }
    }

    /// Descriptor number `index`, which is below `size`.
    fn desc(&self, index: u16) -> Desc {
        debug_assert!(index < self.size);
        // SAFETY: as for `flags`.
        unsafe { Desc::read::<true>(self.ring.add(usize::from(index) * 16)) }
    }

    fn available(&self, place: Place) -> bool {
        let flags = u16::from_le(self.flags(place.index).load(Ordering::Acquire));
        (flags & AVAIL != 0) == place.wrap && (flags & USED != 0) != place.wrap
    }

    /// Whether the descriptor at `place` was given back there.
    fn was_used(&self, place: Place) -> bool {
        if place.index >= self.size {
            return false;
        }
        u16::from_le(self.flags(place.index).load(Ordering::Acquire)) & (AVAIL | USED) == place.used_flags()
    }

    /// Whether it was, and the driver has made it available again for the next round: it runs on while we are dead.
    fn was_renewed(&self, place: Place) -> bool {
        place.index < self.size && self.available(Place { wrap: !place.wrap, ..place })
    }

    /// Whether what stood at `place`, available, was given back since.
    fn is_past(&self, place: Place) -> bool {
        self.was_used(place) || self.was_renewed(place)
    }

    /// The place that was noted in the guest's memory, or the one behind it if a batch was given back after that: killed
    /// between the descriptors and the note. They were used, one after the other, and the driver, which takes them in the
    /// same order, may have renewed some of the first. Drivers begin with zeros, which say: all was used in a round before
    /// the first one.
    fn noted(&self) -> Option<Place> {
        let note = Place::from_bits(u16::from_le(self.note().load(Ordering::Relaxed)));
        if note.index >= self.size {
            return None;
        }
        let (mut place, mut left) = (note, self.size);
        let mut renewed = false;
        while left > 0 && self.was_renewed(place) {
            renewed = true;
            place.step(1, self.size);
            left -= 1;
        }
        while left > 0 && self.was_used(place) {
            place.step(1, self.size);
            left -= 1;
        }
        // A driver that has renewed some has all others available. Else it was the middle of a chain of the last round,
        // which nobody gives back as such: it looks the same.
        Some(if renewed && !self.available(place) { note } else { place })
    }

    fn note(&self) -> &AtomicU16 {
        // SAFETY: the first half of the 4 bytes at `device` (see `new`), aligned to 4, which stay mapped.
        unsafe { AtomicU16::from_ptr(self.device.cast()) }
    }

    /// Take buffers until `ahead` holds `want`, or there are no more. `IN`: buffers that we will write
    /// to. `measure` is what is left of [`STEPS`] for chains to be measured by; of what the guest sends, each burst is taken
    /// at once.
    #[inline(never)]
    pub fn take<const IN: bool>(
        &mut self,
        memory: &Memory,
        window: &mut Window,
        ahead: &mut Ahead,
        want: usize,
        measure: &Cell<u32>,
    ) -> Result<(), RingFault> {
        if !IN {
            measure.set(STEPS);
        }
        while ahead.len() < want.min(AHEAD_MAX) && self.held < self.size && self.available(self.next) {
            let head = self.next.index;
            let desc = self.desc(head);
            let (id, span) = if desc.flags & NEXT == 0 {
                (desc.last, 1)
            } else {
                match self.end(head, measure) {
                    // It is the first of the next burst.
                    Err(RingFault::Costly) if IN || ahead.len() > 0 => break,
                    end => end?,
                }
            };
            if span > self.size - self.held {
                // It runs into descriptors that the driver was not given back.
                return Err(RingFault::Chain);
            }
            ahead.push(Buf::of::<IN>(memory, window, head, &desc, id));
            self.spans[self.last % AHEAD_MAX] = span;
            self.last = self.last.wrapping_add(1);
            self.held += span;
            self.next.step(span, self.size);
        }
        Ok(())
    }

    /// The id of the chain that begins at `head`, and how many descriptors it has.
    #[cold]
    fn end(&self, head: u16, measure: &Cell<u32>) -> Result<(u16, u16), RingFault> {
        let mut index = head;
        for span in 1..=self.size {
            step(measure)?;
            let desc = self.desc(index);
            if desc.flags & NEXT == 0 {
                return Ok((desc.last, span));
            }
            index = self.after(index);
        }
        Err(RingFault::Chain)
    }

    fn after(&self, index: u16) -> u16 {
        if index + 1 == self.size { 0 } else { index + 1 }
    }

    /// Every run of bytes of the chain that begins at descriptor `head`.
    pub fn walk<const IN: bool>(
        &self,
        space: Space<'_>,
        head: u16,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        // SAFETY: as for `flags`.
        let table = unsafe { Table::<true>::new(self.ring, usize::from(self.size)) };
        table.walk::<IN>(space, head, self.features.indirect, each)
    }

    /// Give `n` buffers back, in the ring's order; all of them become visible at once.
    #[inline(never)]
    pub fn give(&mut self, n: usize, used: impl Fn(usize) -> Used) {
        let Some(first) = self.entry(n, 0, &used) else { return };
        let mut place = self.done;
        let mut given = 0;
        for i in 0..n {
            let Some((entry, span)) = self.entry(n, i, &used) else { break };
            if i > 0 {
                // SAFETY: place.index < size, so the descriptor is within the table (see `new`), aligned
                // to 16. What a hostile driver does in between is its own loss.
                unsafe { self.meta(place.index).write_volatile(meta(entry, place).to_le()) };
            }
            place.step(span, self.size);
            given += span;
        }
        let head = self.done;
        let value = meta(first.0, head);
        // SAFETY: as above; the first six bytes of it, and then, when all else is written, the flags.
        unsafe {
            let at: *mut u8 = self.meta(head.index).cast();
            at.cast::<u32>().write_volatile((value as u32).to_le());
            at.add(4).cast::<u16>().write_volatile(((value >> 32) as u16).to_le());
        }
        self.flags(head.index).store(((value >> 48) as u16).to_le(), Ordering::Release);
        // Where the driver looks next.
        hand_on(self.meta(head.index).cast());
        self.first = self.first.wrapping_add(n);
        self.done = place;
        self.note().store(place.bits().to_le(), Ordering::Release);
        self.held -= given;
        self.since = self.since.saturating_add(given).min(self.size);
    }

    /// What the `i`th of `n` buffers is given back as, and how many descriptors it has.
    #[inline(always)]
    fn entry(&self, n: usize, i: usize, used: &impl Fn(usize) -> Used) -> Option<(Used, u16)> {
        let held = self.last.wrapping_sub(self.first);
        (i < n && i < held).then(|| (used(i), self.spans[self.first.wrapping_add(i) % AHEAD_MAX]))
    }

    /// Length, id and flags of a descriptor.
    fn meta(&self, index: u16) -> *mut u64 {
        debug_assert!(index < self.size);
        // SAFETY: within the table of `size` descriptors (see `new`).
        unsafe { self.ring.add(usize::from(index) * 16 + 8).cast() }
    }

    /// Where `n` buffers from the front will be given back up to.
    #[must_use]
    pub fn place_after(&self, n: usize) -> Place {
        let mut place = self.done;
        for i in 0..n.min(self.last.wrapping_sub(self.first)) {
            place.step(self.spans[self.first.wrapping_add(i) % AHEAD_MAX], self.size);
        }
        place
    }

    /// The next place that is given back to.
    #[must_use]
    pub fn done(&self) -> Place {
        self.done
    }

    /// What was given back since `from` has been written to the ring: for the dirty log.
    pub fn log_given(&self, memory: &Memory, log: &Log, from: Place) {
        let mark = |from: u16, to: u16| {
            // SAFETY: from <= to <= size, so this is within the table or just behind it.
            let at = unsafe { self.ring.add(usize::from(from) * 16) };
            log.mark_host(memory, at, u32::from(to - from) * 16);
        };
        log.mark_host(memory, self.device, 4);
        if from.wrap == self.done.wrap {
            mark(from.index.min(self.done.index), self.done.index);
        } else {
            mark(from.index, self.size);
            mark(0, self.done.index);
        }
    }

    /// Whether the driver wants to be interrupted for what was given back since the last "yes" or
    /// `sure` "no". Without `sure` a "no" is preliminary, as in `split.rs`.
    pub fn wants_call(&mut self, sure: bool) -> bool {
        if sure {
            fence(Ordering::SeqCst);
        }
        // SAFETY: 4 bytes, aligned to 4, in guest memory that stays mapped (see `new`).
        let wish = u32::from_le(
            unsafe { AtomicU32::from_ptr(self.driver.cast_mut().cast()) }.load(Ordering::Relaxed),
        );
        let (event, flags) = (Place::from_bits(wish as u16), (wish >> 16) as u16 & 3);
        let wants = match flags {
            EVENT_DISABLE => false,
            EVENT_DESC if self.features.event_idx => {
                // Whether `event` is among the `since` descriptors before `done`.
                let mut at = event.index;
                if event.wrap != self.done.wrap {
                    at = at.wrapping_sub(self.size);
                }
                self.done.index.wrapping_sub(at).wrapping_sub(1) < self.since
            }
            _ => self.since > 0,
        };
        if wants || sure {
            self.since = 0;
        }
        wants
    }

    /// Ask the driver for kicks, or for silence.
    pub fn listen(&self, kicks: bool) {
        let (place, flags) = match (kicks, self.features.event_idx) {
            (false, _) => (self.done.bits(), EVENT_DISABLE),
            (true, false) => (self.done.bits(), EVENT_ENABLE),
            // Where we are to be told of is ahead of what we have given back: a successor would take it for that.
            (true, true) if self.held > 0 => (self.done.bits(), EVENT_ENABLE),
            (true, true) => (self.done.bits(), EVENT_DESC),
        };
        let wish = (u32::from(place) | u32::from(flags) << 16).to_le();
        // SAFETY: 4 bytes, aligned to 4, in guest memory that stays mapped (see `new`).
        unsafe { AtomicU32::from_ptr(self.device.cast()) }.store(wish, Ordering::Relaxed);
    }

    /// Where `listen` writes, for the dirty log.
    pub fn listen_log(&self, memory: &Memory, log: &Log) {
        log.mark_host(memory, self.device, 4);
    }

    /// Whether nothing is available that was not taken. After `listen(true)` and a full fence this is
    /// the last look before sleeping.
    #[must_use]
    pub fn empty(&self) -> bool {
        self.held >= self.size || !self.available(self.next)
    }

    /// Where a successor goes on: behind the last buffer that was given back.
    #[must_use]
    pub fn base(&self) -> u32 {
        let bits = u32::from(self.done.bits());
        bits | bits << 16
    }
}

/// A used descriptor's length, id and flags.
fn meta(used: Used, place: Place) -> u64 {
    let flags = place.used_flags() | if used.len() > 0 { WRITE } else { 0 };
    u64::from(used.len()) | u64::from(used.id()) << 32 | u64::from(flags) << 48
}
