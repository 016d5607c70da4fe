//! An AF_XDP socket: memory that frames come into, and two rings shared with the kernel
//! (Documentation/networking/af_xdp.rst).
//!
//! By the fill ring the kernel gets places for frames, by the receive ring it says which ones it filled,
//! and how far. A place is the kernel's, on its way to us, or lent to a burst, so there are as many as
//! the fill ring holds, and it is never full. Only receiving is done here; see mod.rs.

use super::program::QUEUES_MAX;
use crate::socket::calls;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places for frames, and entries of each ring; a power of two.
const PLACES: u32 = 2048;
/// Bytes of a place: a page. The kernel keeps its first 256 for the program.
const PLACE: usize = 4096;
const RESERVED: usize = 256;
/// The longest frame there is room for.
pub(super) const FRAME: usize = PLACE - RESERVED;

/// Memory shared with the kernel.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to its owner alone; only the kernel shares it, whatever the thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(len: usize, of: Option<(BorrowedFd<'_>, libc::off_t)>) -> io::Result<Self> {
        let (flags, fd, offset) = match of {
            Some((fd, offset)) => (libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapping { base, len })
    }

    /// `len` bytes at an offset that the kernel told, as a pointer to `T`; None when they lie elsewhere.
    fn at<T>(&self, offset: u64, len: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        if offset.checked_add(len)? > self.len || offset % align_of::<T>() != 0 {
            return None;
        }
        // SAFETY: within the mapping, as was just checked.
        Some(unsafe { self.base.add(offset) }.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, unmapped once, and nobody holds anything of it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// One ring: indexes that only grow, and entries of `T`. We are at one end of it alone.
#[derive(Debug)]
struct Ring<T> {
    _mapping: Mapping,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// Our own index.
    at: u32,
}

// SAFETY: the pointers go into the mapping that it owns.
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn new(socket: BorrowedFd<'_>, page: libc::off_t, at: &libc::xdp_ring_offset) -> io::Result<Self> {
        let entries = PLACES as usize * size_of::<T>();
        let len = usize::try_from(at.desc).unwrap_or(usize::MAX).saturating_add(entries);
        let mapping = Mapping::new(len, Some((socket, page)))?;
        let word = |offset| mapping.at(offset, 4);
        let found = (word(at.producer), word(at.consumer), word(at.flags), mapping.at(at.desc, entries));
        let (Some(producer), Some(consumer), Some(flags), Some(entries)) = found else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(Ring { _mapping: mapping, producer, consumer, flags, entries, at: 0 })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: a word of the mapping, which lives as long as the ring, that both sides access atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: less than PLACES, and so many entries lie within the mapping.
        unsafe { self.entries.add((index % PLACES) as usize) }
    }
}

/// A frame in its place, which is ours until it is released.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub place: u64,
    base: NonNull<u8>,
    len: usize,
}

impl Slot {
    /// # Safety
    /// Not after the place was released, nor twice at once.
    #[inline]
    pub unsafe fn bytes<'a>(&self) -> &'a mut [u8] {
        // SAFETY: `next` found them within the memory, and the caller promises that they are ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Socket {
    fill: Ring<u64>,
    receive: Ring<libc::xdp_desc>,
    // The memory goes after the socket that uses it.
    fd: OwnedFd,
    memory: Mapping,
    /// The kernel puts frames here without copying them.
    pub zero_copy: bool,
    /// Losses that were counted already.
    counted: u64,
}

impl Socket {
    /// At one queue of an interface of this thread's namespace.
    pub fn new(interface: i32, queue: u32) -> io::Result<Self> {
        debug_assert!((queue as usize) < QUEUES_MAX);
        // SAFETY: socket takes no pointer; a descriptor that it returns is ours.
        let fd = unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let fd = libc::socket(libc::AF_XDP, kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let memory = Mapping::new(PLACES as usize * PLACE, None)?;
        // SAFETY: all-zero is valid for a structure of numbers.
        let mut about: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
        about.addr = memory.base.as_ptr().addr() as u64;
        about.len = memory.len as u64;
        about.chunk_size = PLACE as u32;
        calls::set(&fd, libc::SOL_XDP, libc::XDP_UMEM_REG, about)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            calls::set(&fd, libc::SOL_XDP, ring, PLACES)?;
        }
        let offsets: libc::xdp_mmap_offsets = calls::get(&fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        let fill = Ring::new(fd.as_fd(), libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, &offsets.fr)?;
        let receive = Ring::new(fd.as_fd(), libc::XDP_PGOFF_RX_RING, &offsets.rx)?;
        let mut socket = Socket { fill, receive, fd, memory, zero_copy: false, counted: 0 };
        for place in 0..PLACES {
            socket.give(u64::from(place) * PLACE as u64);
        }
        socket.fill.producer().store(socket.fill.at, Ordering::Release);
        if socket.bind(interface, queue, libc::XDP_ZEROCOPY).is_err() {
            socket.bind(interface, queue, libc::XDP_COPY)?;
        }
        let options: libc::xdp_options = calls::get(&socket.fd, libc::SOL_XDP, libc::XDP_OPTIONS)?;
        socket.zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(socket)
    }

    fn bind(&self, interface: i32, queue: u32, how: u16) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: how | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: interface as u32,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address lives through the call and its size is given.
        let ret = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) };
        if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn give(&mut self, place: u64) {
        // SAFETY: an entry that the kernel does not read before the producer index says so; there are no
        // more places than entries.
        unsafe { self.fill.entry(self.fill.at).write(place) };
        self.fill.at = self.fill.at.wrapping_add(1);
    }

    /// How many frames wait.
    #[inline]
    pub fn waiting(&self) -> u32 {
        self.receive.producer().load(Ordering::Acquire).wrapping_sub(self.receive.at)
    }

    /// The next frame, whose place is then ours until `release`. None: there is none.
    #[inline]
    pub fn next(&mut self) -> Option<Slot> {
        if self.waiting() == 0 {
            return None;
        }
        // SAFETY: the kernel wrote it before the producer index, and does not again before we say so.
        let about = unsafe { self.receive.entry(self.receive.at).read() };
        self.receive.at = self.receive.at.wrapping_add(1);
        let place = about.addr / PLACE as u64 * PLACE as u64;
        let base = self.memory.at(about.addr, about.len as usize);
        let within =
            about.addr.checked_sub(place).is_some_and(|at| at as usize + about.len as usize <= PLACE);
        // What can't be is an empty frame, whose place goes back like every other's.
        let (base, len) = match base {
            Some(base) if within => (base, about.len as usize),
            _ => (self.memory.base, 0),
        };
        Some(Slot { place, base, len })
    }

    /// What is in these places was read: they go back to the kernel.
    #[inline]
    pub fn release(&mut self, places: impl IntoIterator<Item = u64>) {
        let before = self.fill.at;
        for place in places {
            self.give(place);
        }
        if self.fill.at == before {
            return;
        }
        self.receive.consumer().store(self.receive.at, Ordering::Release);
        self.fill.producer().store(self.fill.at, Ordering::Release);
        if self.fill.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0 {
            // The driver ran out of places and waits to be told.
            // SAFETY: no buffer is given: it only wakes.
            unsafe { libc::recv(self.fd.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
        }
    }

    /// Whether so many frames wait that some may have been lost.
    #[inline]
    pub fn is_late(&self) -> bool {
        self.waiting() > PLACES / 4 * 3
    }

    /// Frames that were lost for want of room since the last call.
    pub fn losses(&mut self) -> u64 {
        let asked = calls::get(&self.fd, libc::SOL_XDP, libc::XDP_STATISTICS);
        let Ok(libc::xdp_statistics { rx_dropped, rx_ring_full, .. }) = asked else { return 0 };
        let all = rx_dropped.saturating_add(rx_ring_full);
        let new = all.saturating_sub(self.counted);
        self.counted = all;
        new
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
