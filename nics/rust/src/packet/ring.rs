//! The receive ring that the kernel fills and we read without a system call (TPACKET_V2).
//!
//! V2 and not V3, because V3 hands over blocks, the last of them by a timer of a millisecond at least:
//! twice the frames, and a latency that nobody wants. A slot here has room for an ordinary frame. What
//! is longer (super-frames, jumbo frames) the kernel puts aside whole, by reference
//! (PACKET_COPY_THRESH), and marks its slot, so that the order is kept: it is read by a call of its
//! own (aside.rs), which is nothing beside copying that much, and goes to memory that stays in the cache.

use crate::socket::calls;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a slot: an odd number of cache lines, so that slots don't share cache sets.
const SLOT: usize = 31 * 64;
const BLOCK: usize = 64 << 10;
const PER_BLOCK: usize = BLOCK / SLOT;
const BLOCKS: usize = 64;

/// Slots of a ring: what may come in while the engine does something else.
pub(super) const SLOTS: usize = PER_BLOCK * BLOCKS;

/// A ring in the memory that we share with the kernel.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<u8>,
    /// The next slot to look at.
    at: usize,
}

// SAFETY: the mapping belongs to the Ring alone; only the kernel shares it, whatever the thread.
unsafe impl Send for Ring {}

/// One slot with a frame in it, ours until it is given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    base: NonNull<u8>,
    pub status: u32,
    /// Length of the frame, and how much of it is here.
    pub len: u32,
    pub here: u32,
    tci: u16,
    tpid: u16,
    mac: usize,
}

/// A VLAN tag: which kind (TPID), and what it says (TCI).
pub(super) type Tag = (u16, u16);

/// The tag that the kernel tells of beside a frame.
#[inline]
pub(super) fn tag(status: u32, tpid: u16, tci: u16) -> Option<Tag> {
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { tpid } else { 0x8100 };
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some((tpid, tci))
}

impl Ring {
    pub fn new(socket: impl AsFd) -> io::Result<Self> {
        let socket = socket.as_fd();
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        set(socket, libc::PACKET_VERSION, version)?;
        set(socket, libc::PACKET_COPY_THRESH, 1)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as libc::c_uint,
            tp_block_nr: BLOCKS as libc::c_uint,
            tp_frame_size: SLOT as libc::c_uint,
            tp_frame_nr: SLOTS as libc::c_uint,
        };
        set(socket, libc::PACKET_RX_RING, request)?;
        // SAFETY: a new mapping at an address of the kernel's choice, of the size that was asked for.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCK * BLOCKS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Ring { base, at: 0 })
    }

    fn slot(&self, index: usize) -> NonNull<u8> {
        let index = index % SLOTS;
        let offset = index / PER_BLOCK * BLOCK + index % PER_BLOCK * SLOT;
        // SAFETY: index < SLOTS, so the slot lies within the mapping of BLOCK * BLOCKS bytes.
        unsafe { self.base.add(offset) }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: a slot begins with its status, a 32-bit word aligned to 16 (TPACKET_ALIGNMENT: SLOT
        // and BLOCK are multiples), that both sides access atomically while the mapping lives.
        unsafe { AtomicU32::from_ptr(self.slot(index).as_ptr().cast()) }
    }

    /// Whether there is a frame.
    #[inline]
    pub fn ready(&self) -> bool {
        self.status(self.at).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The next frame, which is then ours until `release`.
    #[inline]
    pub fn next(&mut self) -> Option<Slot> {
        let base = self.slot(self.at);
        let status = self.status(self.at).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        self.at = (self.at + 1) % SLOTS;
        // SAFETY: the kernel wrote a tpacket2_hdr at the slot's start before it set the status, and
        // writes there no more until we give it back; it may be unaligned for nobody (16).
        let header = unsafe { base.cast::<libc::tpacket2_hdr>().read() };
        Some(Slot {
            base,
            status,
            len: header.tp_len,
            here: header.tp_snaplen,
            tci: header.tp_vlan_tci,
            tpid: header.tp_vlan_tpid,
            mac: usize::from(header.tp_mac),
        })
    }

    /// Give the last `count` slots that `next` gave back to the kernel.
    #[inline]
    pub fn release(&self, count: usize) {
        for back in (1..=count).rev() {
            self.status(self.at + SLOTS - back).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
    }
}

impl Slot {
    /// The VLAN tag that was taken out of the frame.
    #[inline]
    pub fn tag(&self) -> Option<Tag> {
        tag(self.status, self.tpid, self.tci)
    }

    /// The frame as far as it is here, with `before` bytes in front of it; `None` when the slot's
    /// numbers do not fit the slot.
    ///
    /// # Safety
    /// Not after the slot was released, nor twice at once.
    #[inline]
    pub unsafe fn bytes<'a>(&self, before: usize) -> Option<&'a mut [u8]> {
        let from = self.mac.checked_sub(before)?;
        let len = before + self.here as usize;
        if from < size_of::<libc::tpacket2_hdr>() || from + len > SLOT {
            return None;
        }
        // SAFETY: within the slot, as was just checked, and the caller promises that it is ours alone.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base.add(from).as_ptr(), len) })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`, is unmapped once, and nobody holds a slot any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), BLOCK * BLOCKS) };
    }
}

/// Set an option of a packet socket.
pub(super) fn set<T: calls::Numbers>(socket: impl AsFd, name: libc::c_int, value: T) -> io::Result<()> {
    calls::set(socket, libc::SOL_PACKET, name, value)
}
