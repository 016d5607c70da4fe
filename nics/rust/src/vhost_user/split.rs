//! The split ring (virtio 1.2, 2.7), seen from the device.
//!
//! Three areas in guest memory. The *descriptor table* says where buffers are. In the *available
//! ring* the driver writes heads of descriptor chains and then moves `idx`; in the *used ring* the
//! device writes which chains it is done with and then moves its own `idx`. Indexes count on for
//! ever, modulo 65,536, and are masked with the ring's size when they are used.
//!
//! **Who may rely on what.** The guest can write to all three areas at any time. From guest memory
//! comes only what is read once into a register, checked there, and used from there. What we need
//! to know for sure (how far we have read, how far we have answered, the ring's size) is here, in
//! private memory; `used.idx` is only ever written.
//!
//! **Pointers.** The three pointers were translated once, together with the length that the ring's
//! size asks for, and live exactly as long as that size: another size or other memory makes another
//! `Split`. All indexes into the areas are masked or compared with that size.
//!
//! **Memory ordering.** There are four pairs, each of which has its other half in the driver:
//!  1. the driver writes ring entry, then `avail.idx` (release); we read `avail.idx` (acquire), then
//!     the entry;
//!  2. we write used entries and buffers, then `used.idx` (release); the driver reads in the other
//!     order (acquire);
//!  3. notifications to us: the driver writes `avail.idx`, full fence, reads our wish (`used.flags`
//!     or `avail_event`). We write our wish, full fence, read `avail.idx` (`listen`). One of the two
//!     sees the other's write: no kick is lost;
//!  4. interrupts to the driver: we write `used.idx`, full fence, read its wish (`avail.flags` or
//!     `used_event`); the driver writes its wish, full fence, reads `used.idx`.
//!
//! The fence of pair 4 waits for every store of the burst to reach the cache, which costs more than
//! anything else that is done once a burst. So `wants_call` may be asked without it first: "yes" is
//! right whenever it was said, for a needless interrupt harms nobody. "No" may be wrong and has to
//! be asked again with the fence soon (`vring.rs` says when).
//!
//! **EVENT_IDX.** Instead of "no" and "yes" each side names an index: "tell me when you pass this
//! one". Whether `event` is among the entries `old..new` just done is `new - event - 1 < new - old`
//! in 16-bit arithmetic. To want no kicks, one leaves an index that was passed already; a kick too
//! many comes once in 65,536 entries, and does no harm.
//!
//! **In order.** We take buffers in the ring's order and give them back in that order, always. With
//! IN_ORDER negotiated one used entry may stand for a whole run of transmit buffers. It also means
//! that `used.idx` tells a successor all it needs: what lies behind it was not done.

use super::chain::{Desc, Run, Space, Table};
use super::log::Log;
use super::memory::{Memory, Window};
use super::ring::{AHEAD_MAX, Ahead, Buf, Placement, RingFault, RingFeatures, Used};
use crate::cache::{hand_on, prefetch_write};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, Ordering, fence};

const NO_NOTIFY: u16 = 1;
const NO_INTERRUPT: u16 = 1;

#[derive(Debug)]
pub struct Split {
    desc: *const u8,
    avail: *const u8,
    used: *mut u8,
    size: u16,
    /// The next available entry to take.
    next: u16,
    /// `avail.idx` as last read: the guest's cache line is fetched again only when this runs out.
    seen: u16,
    /// The next used entry: what was given back.
    done: u16,
    /// `done` when the driver's wish was last decided upon.
    called: u16,
    features: RingFeatures,
}

impl Split {
    /// A ring that goes on at index `base`.
    pub fn new(
        memory: &Memory,
        place: &Placement,
        base: u16,
        features: RingFeatures,
    ) -> Result<Split, RingFault> {
        let size = u64::from(place.size);
        let at = |uva, len, align| Placement::area(memory, uva, len, align);
        let split = Split {
            desc: at(place.desc, 16 * size, 16)?,
            // flags, idx, entries, used_event
            avail: at(place.avail, 6 + 2 * size, 2)?,
            // flags, idx, entries, avail_event
            used: at(place.used, 6 + 8 * size, 4)?,
            size: place.size,
            next: base,
            seen: base,
            done: base,
            called: base,
            features,
        };
        split.listen(false);
        Ok(split)
    }

    #[inline(always)]
    fn mask(&self) -> u16 {
        self.size - 1
    }

    #[inline(always)]
    fn avail_u16(&self, index: usize) -> &AtomicU16 {
        debug_assert!(index < usize::from(self.size) + 3);
        // SAFETY: the area has 3 + size u16 (see `new`), is aligned, and stays mapped while the ring
        // lives; the guest's writes are those of another thread, which atomics allow.
        unsafe { AtomicU16::from_ptr(self.avail.cast_mut().cast::<u16>().add(index)) }
    }

    #[inline(always)]
    fn used_u16(&self, byte: usize) -> &AtomicU16 {
        debug_assert!(byte < 6 + 8 * usize::from(self.size));
        // SAFETY: the area has 6 + 8 * size bytes (see `new`), `byte` is even and below that; as for
        // `avail_u16` otherwise.
        unsafe { AtomicU16::from_ptr(self.used.add(byte).cast()) }
    }

    fn avail_event(&self) -> &AtomicU16 {
        self.used_u16(4 + 8 * usize::from(self.size))
    }

    #[inline(always)]
    fn head(&self, index: u16) -> Result<u16, RingFault> {
        let head = u16::from_le(self.avail_u16(2 + usize::from(index & self.mask())).load(Ordering::Relaxed));
        if head < self.size { Ok(head) } else { Err(RingFault::Head) }
    }

    /// Descriptor number `index`, which is below `size`.
    #[inline(always)]
    fn desc(&self, index: u16) -> Desc {
        debug_assert!(index < self.size);
        // SAFETY: the table has `size` descriptors, aligned to 16, and stays mapped.
        unsafe { Desc::read::<false>(self.desc.add(usize::from(index) * 16)) }
    }

    /// How many entries wait. Reads the guest's index only when fewer than `want` are known of.
    #[inline(always)]
    fn waiting(&mut self, want: u16) -> Result<u16, RingFault> {
        let known = self.seen.wrapping_sub(self.next);
        if known >= want {
            return Ok(known);
        }
        self.seen = u16::from_le(self.avail_u16(1).load(Ordering::Acquire));
        let waiting = self.seen.wrapping_sub(self.next);
        // What was taken and not given back counts too: a driver can't have more in the ring.
        let held = self.next.wrapping_sub(self.done);
        if u32::from(waiting) + u32::from(held) > u32::from(self.size) {
            return Err(RingFault::IndexJump);
        }
        Ok(waiting)
    }

    /// Take buffers until `ahead` holds `want`, or there are no more. `IN`: buffers that we will write
    /// to.
    #[inline(always)]
    pub fn take<const IN: bool>(
        &mut self,
        memory: &Memory,
        window: &mut Window,
        ahead: &mut Ahead,
        want: usize,
    ) -> Result<(), RingFault> {
        let want = want.min(AHEAD_MAX).saturating_sub(ahead.len()) as u16;
        if want == 0 {
            return Ok(());
        }
        let n = self.waiting(want)?.min(want);
        let first = self.next;
        let (done, result) = ahead.fill(n, |i| {
            let head = self.head(first.wrapping_add(i))?;
            Ok(Buf::of::<IN>(memory, window, head, &self.desc(head), head))
        });
        self.next = first.wrapping_add(done);
        result
    }

    /// Take buffers that a predecessor had in flight. They were counted by `avail.idx` before.
    pub fn resume<const IN: bool>(
        &mut self,
        memory: &Memory,
        window: &mut Window,
        ahead: &mut Ahead,
        heads: &mut VecDeque<u16>,
        want: usize,
    ) -> Result<(), RingFault> {
        while ahead.len() < want.min(AHEAD_MAX) {
            let Some(head) = heads.pop_front() else { break };
            if head >= self.size {
                return Err(RingFault::InFlight);
            }
            ahead.push(Buf::of::<IN>(memory, window, head, &self.desc(head), head));
        }
        Ok(())
    }

    /// Every run of bytes of the chain that begins at descriptor `head`.
    pub fn walk<const IN: bool>(
        &self,
        space: Space<'_>,
        head: u16,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        // SAFETY: as for `desc`.
        let table = unsafe { Table::<false>::new(self.desc, usize::from(self.size)) };
        table.walk::<IN>(space, head, self.features.indirect, each)
    }

    /// Where used entry `index` is.
    #[inline(always)]
    fn used_entry(&self, index: u16) -> *mut u8 {
        // SAFETY: masked, the index is below size, so the entry is within the used area (see `new`).
        unsafe { self.used.add(4 + 8 * usize::from(index & self.mask())) }
    }

    /// Something will be given back soon. The driver has read the line, and it takes a while to have it for ourselves.
    #[inline(always)]
    pub fn will_give(&self) {
        prefetch_write(self.used_entry(self.done));
    }

    /// Within some hundred nanoseconds something will be given back. A driver that looks on has the index's line, which is
    /// asked for by writing what stands there; see `own`. It takes it back with its next look: so if this is done too early,
    /// or where cores are far apart only when the index changes, each side waits for that line once more. Hence twice, some
    /// 60 ns before and some 20: the latter does nothing where the line is on its way.
    #[inline(always)]
    pub fn brace(&self) {
        self.used_u16(2).store(self.done.to_le(), Ordering::Relaxed);
    }

    /// Have the line of the next entry for ourselves, while nobody waits: it takes as long as all else that is done for a
    /// single frame. It is written, because to ask for it to write does nothing on some processors (AMD's) where the driver
    /// has read the line and we still have it. Only while we hold a buffer: then the driver has read that entry.
    #[inline]
    pub fn own(&self) {
        // SAFETY: as for `give_sent`; nobody reads an entry before the index says so.
        unsafe { self.used_entry(self.done).cast::<u64>().write_unaligned(0) };
    }

    /// Give `n` buffers that were read from back, in the ring's order, and tell with one index. When the driver takes
    /// buffers in order, the last entry stands for all.
    #[inline(always)]
    pub fn give_sent(&mut self, n: usize, used: impl Fn(usize) -> Used) {
        let first = if self.features.in_order { n.saturating_sub(1) } else { 0 };
        for i in first..n {
            let word = used(i).word();
            // SAFETY: the entry is eight bytes of the used area. The driver reads it only after the index
            // below; what a hostile one does in between is its own loss.
            unsafe { self.used_entry(self.done.wrapping_add(i as u16)).cast::<u64>().write_unaligned(word) };
        }
        self.tell(n);
    }

    /// Give buffers that were written to back, in the ring's order, no more than the ring has. The driver must learn the
    /// length of each.
    #[inline(always)]
    pub fn give_filled(&mut self, used: &[Used]) {
        let first = self.size - (self.done & self.mask());
        let (now, later) = used.split_at(used.len().min(usize::from(first)));
        let (at, start) = (self.used_entry(self.done), self.used_entry(0));
        let later = &later[..later.len().min(usize::from(self.size - first))];
        // SAFETY: from an entry to the end of the ring, and then from its beginning on: within the used area, as for
        // `give_sent`. Our own words are elsewhere.
        unsafe {
            std::ptr::copy_nonoverlapping(now.as_ptr().cast::<u8>(), at, size_of_val(now));
            std::ptr::copy_nonoverlapping(later.as_ptr().cast::<u8>(), start, size_of_val(later));
        }
        self.tell(used.len());
    }

    /// `n` more were given back.
    #[inline(always)]
    fn tell(&mut self, n: usize) {
        self.done = self.done.wrapping_add(n as u16);
        self.used_u16(2).store(self.done.to_le(), Ordering::Release);
        // What the driver reads first: the index, and, unless there are many, the line of their entries.
        hand_on(self.used_entry(self.done.wrapping_sub(1)));
        hand_on(self.used);
    }

    /// The used entries written last, for the dirty log: byte offset in the used area and length, of
    /// `n` entries that end at `done`, in at most two pieces.
    pub fn given(&self, n: usize) -> [(u64, u64); 2] {
        let n = n.min(usize::from(self.size)) as u64;
        let size = u64::from(self.size);
        let end = u64::from(self.done.wrapping_sub(1) & self.mask()) + 1;
        if end >= n {
            [(4 + 8 * (end - n), 8 * n), (0, 0)]
        } else {
            [(4, 8 * end), (4 + 8 * (size - (n - end)), 8 * (n - end))]
        }
    }

    /// Whether the driver wants to be interrupted for what was given back since the last "yes" or
    /// `sure` "no". See the essay: without `sure` a "no" is preliminary.
    pub fn wants_call(&mut self, sure: bool) -> bool {
        if sure {
            fence(Ordering::SeqCst);
        }
        let wants = if self.features.event_idx {
            let event = u16::from_le(self.avail_u16(2 + usize::from(self.size)).load(Ordering::Relaxed));
            let (new, old) = (self.done, self.called);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u16::from_le(self.avail_u16(0).load(Ordering::Relaxed)) & NO_INTERRUPT == 0
        };
        if wants || sure {
            self.called = self.done;
        }
        wants
    }

    /// Ask the driver for kicks, or for silence.
    pub fn listen(&self, kicks: bool) {
        if self.features.event_idx {
            let event = if kicks { self.next } else { self.next.wrapping_sub(1) };
            self.avail_event().store(event.to_le(), Ordering::Relaxed);
        } else {
            self.used_u16(0).store(if kicks { 0 } else { NO_NOTIFY.to_le() }, Ordering::Relaxed);
        }
    }

    /// Where `listen` writes, for the dirty log.
    pub fn listen_log(&self, log: &Log, gpa: u64) {
        let offset = if self.features.event_idx { 4 + 8 * u64::from(self.size) } else { 0 };
        log.mark(gpa.saturating_add(offset), 2);
    }

    /// Whether something is available that was not taken. After `listen(true)` and a full fence this
    /// is the last look before sleeping.
    pub fn empty(&self) -> bool {
        u16::from_le(self.avail_u16(1).load(Ordering::Acquire)) == self.next
    }

    /// Where a successor goes on: behind the last buffer that was given back.
    pub fn base(&self) -> u16 {
        self.done
    }

    /// The next `n` entries were taken by a predecessor; they come from elsewhere.
    pub fn skip_resumed(&mut self, n: u16) {
        self.next = self.done.wrapping_add(n);
        self.seen = self.next;
    }
}
