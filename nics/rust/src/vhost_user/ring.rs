//! What both ring layouts have in common: buffers taken from a ring ahead of their use, and what can
//! be wrong with a ring.

use super::chain::{Desc, INDIRECT, NEXT, WRITE};
use super::copy;
use super::memory::{Memory, Window};
use super::protocol::feature;
use std::cell::Cell;
use std::fmt;

/// Buffers taken from a ring that wait for their use. A burst, a look ahead and a large frame in
/// small buffers must fit.
pub const AHEAD_MAX: usize = 256;
/// The largest ring. The specification allows 32,768, which nobody uses for a network.
pub const RING_MAX: u16 = 16_384;

/// One buffer that the guest made available, with everything that its use needs.
#[derive(Clone, Copy, Debug)]
pub struct Buf {
    /// Its first byte, translated and checked for `len`; null for a chain, which is walked from
    /// descriptor `len` when it is used.
    pub ptr: *mut u8,
    /// Length, and above it the number. One word: see [`Used`].
    word: u64,
}

impl Buf {
    const NONE: Buf = Buf::new(std::ptr::null_mut(), 0, 0);

    #[inline(always)]
    const fn new(ptr: *mut u8, len: u32, id: u16) -> Buf {
        Buf { ptr, word: len as u64 | (id as u64) << 32 }
    }

    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u32 {
        self.word as u32
    }

    /// What it is given back as.
    #[inline(always)]
    #[must_use]
    pub fn id(&self) -> u16 {
        (self.word >> 32) as u16
    }

    /// What descriptor `head` of a ring describes, to be given back as `id`: a buffer in one piece that we may use as
    /// `IN` says (we write to it), or else a chain.
    #[inline(always)]
    #[must_use]
    pub fn of<const IN: bool>(memory: &Memory, window: &mut Window, head: u16, desc: &Desc, id: u16) -> Buf {
        let mut at = window.translate(desc.addr, desc.len);
        if at.is_none() {
            // Also for a chain, whose walk begins in this region, too.
            *window = memory.window(desc.addr);
            at = window.translate(desc.addr, desc.len);
        }
        match at {
            Some(ptr) if desc.flags & (NEXT | WRITE | INDIRECT) == if IN { WRITE } else { 0 } => {
                Buf::new(ptr, desc.len, id)
            }
            // What is not in one region is walked as a chain is, which finds out why.
            _ => Buf::new(std::ptr::null_mut(), u32::from(head), id),
        }
    }

    /// One contiguous buffer, as nearly all are.
    #[inline(always)]
    #[must_use]
    pub fn simple(&self) -> bool {
        !self.ptr.is_null()
    }
}

/// Buffers in the order of the ring.
///
/// Counters are as wide as they are read: a load that is wider than the store before it has to wait
/// until that store has reached the cache, behind all the payload.
#[derive(Debug)]
pub struct Ahead {
    bufs: [Buf; AHEAD_MAX],
    head: u32,
    tail: u32,
    /// Those before this one are on their way into our cache.
    warm: Cell<u32>,
}

impl Default for Ahead {
    fn default() -> Self {
        Ahead { bufs: [Buf::NONE; AHEAD_MAX], head: 0, tail: 0, warm: Cell::new(0) }
    }
}

impl Ahead {
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// The `i`th from the front; one that was not pushed is nonsense but harmless.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, i: usize) -> &Buf {
        &self.bufs[(self.head as usize).wrapping_add(i) % AHEAD_MAX]
    }

    /// Asks for the first lines of buffers, [`WARM`] ahead of their use. A processor can wait for a
    /// dozen or two of lines at a time and forgets requests beyond that, so the buffers are not asked
    /// for all at once but one by one, while others are worked on.
    #[inline(always)]
    pub fn warmer<const IN: bool>(&self) -> Warmer<'_, IN> {
        let warm = self.warm.get().wrapping_sub(self.head) as usize;
        // Buffers may have been used before they were asked for.
        Warmer { ahead: self, len: self.len(), warm: if warm > AHEAD_MAX { 0 } else { warm } }
    }

    /// The caller checks that there is room: `len() < AHEAD_MAX`.
    #[inline(always)]
    pub fn push(&mut self, buf: Buf) {
        debug_assert!(self.len() < AHEAD_MAX);
        self.bufs[self.tail as usize % AHEAD_MAX] = buf;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Push what `next` gives, `n` times or until it finds a fault. How many there were. The caller checks that there
    /// is room for them.
    #[inline(always)]
    pub fn fill<E>(&mut self, n: u16, mut next: impl FnMut(u16) -> Result<Buf, E>) -> (u16, Result<(), E>) {
        debug_assert!(self.len() + usize::from(n) <= AHEAD_MAX);
        let (mut done, mut result) = (0, Ok(()));
        // Not by `push`: where each has come to would be written each time.
        while done < n {
            match next(done) {
                Ok(buf) => self.bufs[self.tail.wrapping_add(u32::from(done)) as usize % AHEAD_MAX] = buf,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
            done += 1;
        }
        self.tail = self.tail.wrapping_add(u32::from(done));
        (done, result)
    }

    /// The caller checks that there are as many.
    #[inline(always)]
    pub fn pop(&mut self, n: usize) {
        debug_assert!(self.len() >= n);
        self.head = self.head.wrapping_add(n as u32);
    }
}

/// How far ahead of their use the first lines of buffers are asked for.
const WARM: usize = 24;

/// See [`Ahead::warmer`].
pub struct Warmer<'a, const IN: bool> {
    ahead: &'a Ahead,
    len: usize,
    warm: usize,
}

impl<const IN: bool> Warmer<'_, IN> {
    /// The `i`th buffer is about to be used.
    #[inline(always)]
    pub fn at(&mut self, i: usize) {
        let end = (i + WARM).min(self.len);
        while self.warm < end {
            let buf = self.ahead.get(self.warm);
            self.warm += 1;
            // Of a chain it is not known yet where it lies; and to ask for what is nowhere takes as long as to find that out.
            if !buf.simple() {
                continue;
            }
            if IN { copy::prefetch_in(buf.ptr) } else { copy::prefetch_out(buf.ptr, buf.len()) }
        }
    }
}

impl<const IN: bool> Drop for Warmer<'_, IN> {
    #[inline(always)]
    fn drop(&mut self) {
        self.ahead.warm.set(self.ahead.head.wrapping_add(self.warm as u32));
    }
}

/// A buffer on its way back: what it was given as, and how many bytes were written to it. One word, as a used ring has
/// it, because it is written where stores are what there is a lack of (`tx.rs`).
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Used(u64);

impl Used {
    #[inline(always)]
    #[must_use]
    pub fn new(id: u16, len: u32) -> Used {
        Used((u64::from(id) | u64::from(len) << 32).to_le())
    }

    #[inline(always)]
    #[must_use]
    pub fn id(self) -> u16 {
        u64::from_le(self.0) as u16
    }

    #[inline(always)]
    #[must_use]
    pub fn len(self) -> u32 {
        (u64::from_le(self.0) >> 32) as u32
    }

    /// As it stands in a split ring (virtio 1.2, 2.7.8).
    #[inline(always)]
    #[must_use]
    pub fn word(self) -> u64 {
        self.0
    }
}

/// How a ring broke its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    /// More available than the ring holds.
    IndexJump,
    /// A descriptor number outside the ring.
    Head,
    /// An address outside guest memory, or a length that leaves it.
    Address,
    /// A chain longer than the ring, or one that loops.
    Chain,
    /// Chains of more descriptors than are looked at for one burst.
    Costly,
    /// An indirect descriptor where none may be, or a table of impossible size.
    Indirect,
    /// A buffer to write to that is to be read, or the other way round.
    Direction,
    /// A buffer that was in flight twice, or never.
    InFlight,
    /// The memory was taken away.
    Struck,
    /// Addresses of the ring itself that are outside guest memory or not aligned.
    Placement,
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RingFault::IndexJump => "its available index jumped by more than the ring holds",
            RingFault::Head => "it made a descriptor available that is not in the ring",
            RingFault::Address => "a descriptor points outside guest memory",
            RingFault::Costly => "a chain has more descriptors than a frame could need",
            RingFault::Chain => "a chain of descriptors loops or is longer than the ring",
            RingFault::Indirect => "an indirect descriptor stands where none may be",
            RingFault::Direction => "a buffer has the wrong direction",
            RingFault::InFlight => "its table of buffers in flight is inconsistent",
            RingFault::Struck => "guest memory was truncated while it was shared",
            RingFault::Placement => "the ring itself lies outside guest memory or is not aligned",
        })
    }
}

/// Where a ring begins.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// As front-ends say it.
    pub bits: u32,
    /// We stopped there ourselves, and not somebody who was killed somewhere behind it.
    pub exact: bool,
}

/// What a ring does differently by what was negotiated.
#[derive(Clone, Copy, Debug)]
pub struct RingFeatures {
    pub event_idx: bool,
    pub in_order: bool,
    pub indirect: bool,
    pub packed: bool,
}

impl RingFeatures {
    #[must_use]
    pub fn of(features: u64) -> Self {
        RingFeatures {
            event_idx: features & feature::EVENT_IDX != 0,
            in_order: features & feature::IN_ORDER != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
            packed: features & feature::RING_PACKED != 0,
        }
    }
}

/// Where a ring lies, in the front-end's addresses, and its number of entries.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    pub size: u16,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
}

impl Placement {
    /// Where one of its areas, `len` bytes at the front-end's address `uva`, is.
    pub fn area(memory: &Memory, uva: u64, len: u64, align: usize) -> Result<*mut u8, RingFault> {
        let ptr = memory.translate_uva(uva, len).ok_or(RingFault::Placement)?;
        if (ptr as usize).is_multiple_of(align) { Ok(ptr) } else { Err(RingFault::Placement) }
    }
}
