//! The driver's side of a split ring, in memory of our own.

use std::sync::atomic::{AtomicU16, Ordering, fence};

/// Shared memory that everything lies in.
#[derive(Clone, Copy)]
pub struct Memory {
    pub base: *mut u8,
    pub len: usize,
}

impl Memory {
    /// The byte at `offset`, with `len` bytes behind it.
    #[inline(always)]
    pub fn at(self, offset: usize, len: usize) -> *mut u8 {
        debug_assert!(offset + len <= self.len);
        // SAFETY: all offsets are those that `front::Layout` gave out, within the mapping.
        unsafe { self.base.add(offset) }
    }

    pub fn write(self, offset: usize, bytes: &[u8]) {
        // SAFETY: `at` gives memory of that length, which is not Rust's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset, bytes.len()), bytes.len()) }
    }

    /// Write the word at `offset`, which is aligned, once more as it is: as a guest that makes a frame.
    #[inline(always)]
    pub fn rewrite(self, offset: usize) {
        let word = self.at(offset, 8).cast::<u64>();
        // SAFETY: `at` gives memory of that length, which is not Rust's.
        unsafe { word.write_volatile(word.read_volatile()) }
    }

    #[inline(always)]
    pub fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: T is an integer wherever this is called, for which all bytes are valid.
        unsafe { self.at(offset, size_of::<T>()).cast::<T>().read_unaligned() }
    }
}

#[derive(Clone, Copy)]
pub struct Ring {
    pub memory: Memory,
    pub size: usize,
    pub desc: usize,
    pub avail: usize,
    pub used: usize,
    /// Our index in the available ring, and what we have seen of the used one.
    pub next: u16,
    pub seen: u16,
}

impl Ring {
    pub fn set(&self, index: usize, addr: usize, len: usize, flags: u16, next: usize) {
        let at = self.desc + index * 16;
        self.memory.write(at, &(addr as u64).to_le_bytes());
        self.memory.write(at + 8, &(len as u32).to_le_bytes());
        self.memory.write(at + 12, &flags.to_le_bytes());
        self.memory.write(at + 14, &(next as u16).to_le_bytes());
    }

    /// Put descriptor `head` into the available ring's slot number `slot`.
    #[inline(always)]
    pub fn offer(&self, slot: u16, head: u16) {
        let at = self.avail + 4 + usize::from(slot) % self.size * 2;
        // SAFETY: within the available ring, aligned.
        unsafe { self.memory.at(at, 2).cast::<u16>().write_volatile(head) }
    }

    /// No interrupts, please.
    pub fn hush(&self) {
        self.memory.write(self.avail, &1u16.to_le_bytes());
    }

    #[inline(always)]
    pub fn publish(&self) {
        self.index(self.avail + 2).store(self.next, Ordering::Release);
    }

    /// Whether the switch wants to be told of what was published: it sleeps.
    #[inline(always)]
    pub fn wants_kick(&self) -> bool {
        fence(Ordering::SeqCst);
        self.index(self.used).load(Ordering::Relaxed) & 1 == 0
    }

    #[inline(always)]
    pub fn used_index(&self) -> u16 {
        self.index(self.used + 2).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn index(&self, at: usize) -> &AtomicU16 {
        // SAFETY: within the ring, aligned; the other side's writes are those of another thread.
        unsafe { AtomicU16::from_ptr(self.memory.at(at, 2).cast()) }
    }

    /// Used entry number `slot`: (id, length).
    #[inline(always)]
    pub fn used_entry(&self, slot: u16) -> (u32, u32) {
        let value: u64 = self.memory.read(self.used + 4 + usize::from(slot) % self.size * 8);
        (value as u32, (value >> 32) as u32)
    }
}
