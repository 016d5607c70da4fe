//! Mappings of guest memory: where they are in our addresses, and how they go.

use super::fault::Watch;
use std::io;
use std::os::fd::RawFd;

/// A whole mapping, unmapped when the last region that uses it goes. There is a page on both sides
/// that nobody can touch: should a check of ours be wrong, it ends there and not in another guest.
#[derive(Debug)]
pub struct Mapping {
    /// All of the reserved addresses, and the mapping in the middle.
    reserved: *mut u8,
    reserved_len: usize,
    address: *mut u8,
    len: usize,
    watch: Option<Watch>,
}

impl Mapping {
    /// `len` bytes of `fd` from `offset` on, both multiples of `page`.
    pub fn new(fd: RawFd, offset: usize, len: usize, page: usize) -> io::Result<Mapping> {
        // A page in front and behind, and one more to align with.
        let reserved_len = len.checked_add(3 * page).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = |address: *mut libc::c_void, len, prot, flags, fd, offset| {
            // SAFETY: either at an address of the kernel's choice, which touches nothing that exists,
            // or within the range reserved that way just before.
            let address = unsafe { libc::mmap(address, len, prot, flags | libc::MAP_NORESERVE, fd, offset) };
            if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
        };
        let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let reserved = map(std::ptr::null_mut(), reserved_len, libc::PROT_NONE, nothing, -1, 0)?;
        let reserved: *mut u8 = reserved.cast();
        let front = (reserved as usize + page).next_multiple_of(page) - reserved as usize;
        // SAFETY: front is at most 2 pages - 1, so len bytes and a page behind them are reserved too.
        let address = unsafe { reserved.add(front) };
        let mut mapping = Mapping { reserved, reserved_len, address, len, watch: None };
        let (prot, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        map(address.cast(), len, prot, shared, fd, offset as i64)?;
        mapping.watch = Some(Watch::new(address as usize, len)?);
        // A core dump of ours need not hold the guests' memory. Not being able to say so is no harm.
        // SAFETY: exactly the mapping made above.
        let _ = unsafe { libc::madvise(address.cast(), len, libc::MADV_DONTDUMP) };
        Ok(mapping)
    }

    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address
    }

    /// Whether it was taken away under us.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::struck)
    }
}

// SAFETY: the mapping is plain shared memory, valid on every thread until it is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing here hands out references to what is in it.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watch = None;
        let (address, len) = (self.reserved as usize, self.reserved_len);
        // SAFETY: mapped in `new`, not unmapped elsewhere, and nobody has a pointer into it any more
        // (regions are held by Arc, and with them this).
        let unmap = move || unsafe { libc::munmap(address as *mut _, len) };
        // The kernel forgets the pages one by one, and for a large guest that takes tens of
        // milliseconds in which no other guest should wait.
        const LARGE: usize = 64 << 20;
        if self.len < LARGE || std::thread::Builder::new().name("vnet-unmap".into()).spawn(unmap).is_err() {
            unmap();
        }
    }
}
