//! Descriptors, and the chains that they make: through a ring's own table and through indirect ones, in either layout.
//!
//! In a split ring each descriptor of a chain names the next; in a packed one the next is its neighbour, and in an
//! indirect table of a packed ring all entries belong to the chain. Whatever the guest writes meanwhile, a walk ends:
//! it takes as many steps as the table has entries, and no more.

use super::memory::{Memory, Window};
use super::ring::RingFault;
use std::cell::Cell;

/// Descriptors of chains that are looked at for one burst: some three times as many as there are where each frame has as
/// many as Linux makes. A descriptor need not have any bytes, so nothing else bounds them. Where its bytes lie in several
/// regions each of these counts as well.
pub const STEPS: u32 = 4096;
/// The most descriptors in one chain that goes through an indirect table; Linux uses 19.
const CHAIN_MAX: usize = 1024;

/// Flags of a descriptor, the same in both layouts.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A run of guest memory found in a chain, checked.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub ptr: *mut u8,
    pub len: u32,
}

// SAFETY: an address and a length; whoever uses them sees to it that the memory is there.
unsafe impl Send for Run {}

/// A descriptor, read once: what was checked is what is used.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
    /// The next one in a split ring, the buffer's id in a packed one.
    pub last: u16,
}

impl Desc {
    /// Read the descriptor at `ptr`, of a ring that is `PACKED` or not.
    ///
    /// # Safety
    /// 16 bytes at `ptr`, aligned to 8, must be mapped.
    #[inline(always)]
    #[must_use]
    pub unsafe fn read<const PACKED: bool>(ptr: *const u8) -> Desc {
        // SAFETY: the caller's promise. Volatile, because the guest may write at any time: each half
        // is read exactly once, and no check is made on another read than the use.
        let (addr, meta) =
            unsafe { (ptr.cast::<u64>().read_volatile(), ptr.cast::<u64>().add(1).read_volatile()) };
        let (addr, meta) = (u64::from_le(addr), u64::from_le(meta));
        let (third, fourth) = ((meta >> 32) as u16, (meta >> 48) as u16);
        let (flags, last) = if PACKED { (fourth, third) } else { (third, fourth) };
        Desc { addr, len: meta as u32, flags, last }
    }

    /// All its bytes, which must be for us to write (`IN`) or to read: as one run or, where they go on in the next
    /// region, several.
    #[inline(always)]
    fn runs<const IN: bool>(
        &self,
        space: Space<'_>,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        if (self.flags & WRITE != 0) != IN {
            return Err(RingFault::Direction);
        }
        if let Some(ptr) = space.window.translate(self.addr, self.len) {
            return if self.len > 0 { each(Run { ptr, len: self.len }) } else { Ok(()) };
        }
        self.runs_anywhere(space, each)
    }

    /// There may be as many runs as there are regions, so each is a step.
    #[cold]
    fn runs_anywhere(
        &self,
        space: Space<'_>,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        let (mut addr, mut left) = (self.addr, self.len);
        while left > 0 {
            step(space.steps)?;
            let (ptr, room) = space.memory.run(addr).ok_or(RingFault::Address)?;
            let len = u64::from(left).min(room) as u32;
            each(Run { ptr, len })?;
            left -= len;
            addr = addr.checked_add(u64::from(len)).ok_or(RingFault::Address)?;
        }
        Ok(())
    }
}

/// Where addresses lead: a guest's memory, and the region of it that nearly all of them are in.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    pub memory: &'a Memory,
    pub window: &'a Window,
    /// What is left of [`STEPS`].
    pub steps: &'a Cell<u32>,
}

/// One descriptor more is looked at, or one region more that a descriptor's bytes lie in.
#[inline(always)]
pub fn step(steps: &Cell<u32>) -> Result<(), RingFault> {
    steps.set(steps.get().checked_sub(1).ok_or(RingFault::Costly)?);
    Ok(())
}

/// A table of descriptors in guest memory.
#[derive(Clone, Copy)]
pub struct Table<const PACKED: bool> {
    first: *const u8,
    entries: usize,
}

impl<const PACKED: bool> Table<PACKED> {
    /// # Safety
    /// `entries` descriptors at `first`, aligned to 8, must be mapped while this is used.
    #[inline(always)]
    #[must_use]
    pub unsafe fn new(first: *const u8, entries: usize) -> Self {
        Table { first, entries }
    }

    /// The indirect table that `desc` stands for.
    fn of(desc: &Desc, memory: &Memory) -> Result<Self, RingFault> {
        let entries = desc.len as usize / 16;
        if !desc.len.is_multiple_of(16) || entries == 0 || !desc.addr.is_multiple_of(8) {
            return Err(RingFault::Indirect);
        }
        let first = memory.translate(desc.addr, u64::from(desc.len)).ok_or(RingFault::Address)?;
        if !(first as usize).is_multiple_of(8) {
            return Err(RingFault::Indirect);
        }
        if PACKED && entries > CHAIN_MAX {
            return Err(RingFault::Chain);
        }
        Ok(Table { first, entries })
    }

    #[inline(always)]
    fn get(&self, index: usize) -> Option<Desc> {
        // SAFETY: there are `entries` descriptors, aligned to 8, by the promise of `new` or the checks of `of`.
        (index < self.entries).then(|| unsafe { Desc::read::<PACKED>(self.first.add(index * 16)) })
    }

    /// Every run of bytes of the chain that begins at `head` of a ring's own table, with `indirect` tables or without.
    #[inline]
    pub fn walk<const IN: bool>(
        &self,
        space: Space<'_>,
        head: u16,
        indirect: bool,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        let mut index = usize::from(head);
        for _ in 0..self.entries {
            step(space.steps)?;
            let desc = self.get(index).ok_or(RingFault::Chain)?;
            if desc.flags & INDIRECT != 0 {
                // A packed chain is one descriptor and a table, or several without.
                let alone = !PACKED || index == usize::from(head);
                if !indirect || !alone || desc.flags & NEXT != 0 {
                    return Err(RingFault::Indirect);
                }
                return Self::of(&desc, space.memory)?.walk_all::<IN>(space, each);
            }
            desc.runs::<IN>(space, each)?;
            if desc.flags & NEXT == 0 {
                return Ok(());
            }
            index = if PACKED { (index + 1) % self.entries } else { usize::from(desc.last) };
        }
        Err(RingFault::Chain)
    }

    /// The same of an indirect table. In a packed ring's only WRITE means something among the flags.
    fn walk_all<const IN: bool>(
        &self,
        space: Space<'_>,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        let mut index = 0;
        for _ in 0..self.entries.min(CHAIN_MAX) {
            step(space.steps)?;
            let desc = self.get(index).ok_or(RingFault::Chain)?;
            if desc.flags & INDIRECT != 0 {
                return Err(RingFault::Indirect);
            }
            desc.runs::<IN>(space, each)?;
            index = if PACKED { index + 1 } else { usize::from(desc.last) };
            if if PACKED { index >= self.entries } else { desc.flags & NEXT == 0 } {
                return Ok(());
            }
        }
        Err(RingFault::Chain)
    }
}
