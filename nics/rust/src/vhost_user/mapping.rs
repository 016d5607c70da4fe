//! Mappings of guest memory: where they are in our addresses, and how they go.
//!
//! Whoever unmaps may have to wait: the kernel forgets the pages one by one, and whoever has the last of a file frees all
//! of it, be the mapping ever so small and the file, which its owner may have let go of, as large as a machine. So a thread
//! does that, one for each door, and no other guest waits for it. A door that is far behind with it maps nothing new: what
//! is still mapped counts for all of the process.

use super::fault::Watch;
use super::memory::BYTES_MAX;
use crate::socket::closing::Lane;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of addresses that all mappings together may take: half of what a process has (128 TiB). What one device may map
/// is much less; many of them must not take what the process itself needs.
const ADDRESSES: u64 = 64 << 40;

static ROOM: Room = Room(AtomicU64::new(ADDRESSES));

/// Bytes that are left.
#[derive(Debug)]
struct Room(AtomicU64);

impl Room {
    fn take(&'static self, bytes: usize) -> io::Result<Taken> {
        let bytes = bytes as u64;
        let less = |left: u64| left.checked_sub(bytes);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(Taken { room: self, bytes }),
            Err(_) => {
                Err(io::Error::other(format!("all devices together may map {} TiB at most", ADDRESSES >> 40)))
            }
        }
    }
}

/// Bytes of it, given back when this goes.
#[derive(Debug)]
struct Taken {
    room: &'static Room,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Addresses that were reserved, and what was mapped there; unmapped when this goes.
#[derive(Debug)]
struct Reserved {
    address: usize,
    len: usize,
    /// Where a fault had it moved to: more of the same.
    aside: Option<(usize, usize)>,
    _taken: Taken,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: mapped in `Mapping::new`, not unmapped elsewhere, and nobody has a pointer into it any more
        // (regions are held by Arc, and with them the mapping, which let go of this).
        unsafe { libc::munmap(self.address as *mut _, self.len) };
        if let Some((address, len)) = self.aside {
            // SAFETY: reserved by `fault.rs` for what was mapped here; nobody ever had a pointer into it.
            unsafe { libc::munmap(address as *mut _, len) };
        }
    }
}

/// What front-ends of one door had mapped and is still to be unmapped.
#[derive(Clone, Debug, Default)]
pub struct Unmapping {
    lane: Lane<Going>,
    bytes: Arc<AtomicU64>,
}

/// On its way, and counted until it has been unmapped.
#[derive(Debug)]
struct Going {
    reserved: Option<Reserved>,
    bytes: Arc<AtomicU64>,
}

impl Unmapping {
    fn unmap(&self, reserved: Reserved) {
        self.bytes.fetch_add(reserved.len as u64, Ordering::Relaxed);
        self.lane.close(Going { reserved: Some(reserved), bytes: self.bytes.clone() });
    }

    /// So much waits that nothing more is to be mapped: more than a device may have, which may well be let go of at once.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.lane.is_full() || self.bytes.load(Ordering::Relaxed) > BYTES_MAX
    }

    #[cfg(test)]
    pub fn lane(&self) -> &Lane<impl Send + 'static> {
        &self.lane
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let len = self.reserved.take().map_or(0, |reserved| reserved.len);
        self.bytes.fetch_sub(len as u64, Ordering::Relaxed);
    }
}

/// A whole mapping, unmapped when the last region that uses it goes. There is a page on both sides
/// that nobody can touch: should a check of ours be wrong, it ends there and not in another guest.
#[derive(Debug)]
pub struct Mapping {
    /// All of the reserved addresses, and the mapping in the middle.
    reserved: Option<Reserved>,
    address: *mut u8,
    watch: Option<Watch>,
    unmapping: Unmapping,
}

impl Mapping {
    /// `len` bytes of `fd` from `offset` on, both multiples of `page`.
    pub fn new(
        fd: RawFd,
        offset: usize,
        len: usize,
        page: usize,
        unmapping: &Unmapping,
    ) -> io::Result<Mapping> {
        // A page in front and behind, and one more to align with.
        let reserved_len = len.checked_add(3 * page).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = |address: *mut libc::c_void, len, prot, flags, fd, offset| {
            // SAFETY: either at an address of the kernel's choice, which touches nothing that exists,
            // or within the range reserved that way just before.
            let address = unsafe { libc::mmap(address, len, prot, flags | libc::MAP_NORESERVE, fd, offset) };
            if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
        };
        let taken = ROOM.take(reserved_len)?;
        let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let reserved = map(std::ptr::null_mut(), reserved_len, libc::PROT_NONE, nothing, -1, 0)?;
        let kept = Reserved { address: reserved as usize, len: reserved_len, aside: None, _taken: taken };
        let reserved: *mut u8 = reserved.cast();
        let front = (reserved as usize + page).next_multiple_of(page) - reserved as usize;
        // SAFETY: front is at most 2 pages - 1, so len bytes and a page behind them are reserved too.
        let address = unsafe { reserved.add(front) };
        let mut mapping =
            Mapping { reserved: Some(kept), address, watch: None, unmapping: unmapping.clone() };
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
        let aside = self.watch.take().and_then(|watch| watch.aside());
        if let Some(mut reserved) = self.reserved.take() {
            reserved.aside = aside;
            self.unmapping.unmap(reserved);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    #[test]
    fn all_together_take_so_much_and_no_more() {
        static ROOM: Room = Room(AtomicU64::new(10));
        let most = ROOM.take(8).unwrap();
        let why = ROOM.take(3).unwrap_err().to_string();
        assert_eq!(why, "all devices together may map 64 TiB at most");
        let rest = ROOM.take(2).unwrap();
        assert!(ROOM.take(1).is_err());
        drop(most);
        drop(ROOM.take(8).unwrap());
        drop(rest);
        assert_eq!(ROOM.0.load(Ordering::Relaxed), 10);
    }

    /// Even the last page of a large file is not unmapped where it is let go of.
    #[test]
    fn nobody_waits_until_it_is_unmapped() {
        // SAFETY: the name is a C string; ftruncate fails on a bad result.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"test".as_ptr(), 0)) };
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 1 << 30) }, 0);
        let unmapping = Unmapping::default();
        let lane = unmapping.lane();
        lane.hold();
        let mapping = Mapping::new(fd.as_raw_fd(), 0, 0x1000, 0x1000, &unmapping).unwrap();
        let address = mapping.address();
        // SAFETY: mapped above, and held back from being unmapped.
        let write = |value| unsafe { address.write_volatile(value) };
        write(1);
        drop(mapping);
        write(2);
        assert!(!lane.is_empty());
        assert!(unmapping.bytes.load(Ordering::Relaxed) >= 0x1000);
        lane.work();
        assert!(lane.is_empty());
        assert_eq!(unmapping.bytes.load(Ordering::Relaxed), 0);
    }

    /// Nor where a fault puts zeros over it: what was there is moved aside until then.
    #[test]
    fn nobody_waits_until_what_was_cut_off_is_unmapped() {
        let name = format!("cut-{}", std::process::id());
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains(&name)).count()
        };
        let c_name = std::ffi::CString::new(name.clone()).unwrap();
        // SAFETY: the name is a C string; ftruncate fails on a bad result.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c_name.as_ptr(), 0)) };
        // SAFETY: no pointers.
        let cut = |size| assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), size) }, 0);
        let unmapping = Unmapping::default();
        for len in [0x1000, 0x10_0000] {
            cut(0x20_0000);
            let mapping = Mapping::new(fd.as_raw_fd(), 0x10_0000, len, 0x1000, &unmapping).unwrap();
            let last = mapping.address().wrapping_add(len - 0x1000);
            cut(0x10_0000 + len as i64 - 0x1000);
            assert!(!mapping.struck());
            // SAFETY: mapped above; the page behind it is gone, which is the test.
            assert_eq!(unsafe { last.read_volatile() }, 0);
            assert!(mapping.struck());
            assert_eq!(mapped(), 1, "where it is out of the way");
            // SAFETY: as above; it is a page of our own now.
            unsafe { last.write_volatile(1) };
            drop(mapping);
            unmapping.lane().until_empty();
            assert_eq!(mapped(), 0);
        }
    }
}
