//! The dirty log: which pages of guest memory we wrote to while the guest is being migrated.
//!
//! One bit a page of 4 KiB, in memory that the front-end shares with us and clears as it sends the
//! pages off; so a bit is set by an atomic or, after the page was written.

use super::mapping::Unmapping;
use super::memory::{Memory, MemoryError, Region};
use super::protocol::RegionSpec;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const PAGE_BITS: u32 = 12;
/// Bytes that a log may have: enough for guest addresses up to 128 TiB.
const BYTES_MAX: u64 = 4 << 30;

/// The log of one device.
#[derive(Clone, Debug)]
pub struct Log {
    region: Arc<Region>,
    size: u64,
}

impl Log {
    pub fn map(size: u64, offset: u64, fd: &impl AsRawFd, unmapping: &Unmapping) -> Result<Log, MemoryError> {
        if size > BYTES_MAX {
            return Err(MemoryError::Range);
        }
        let region = Region::map(&RegionSpec { gpa: 0, size, uva: 0, offset }, fd, unmapping)?;
        Ok(Log { region: Arc::new(region), size })
    }

    /// Whether the log itself was taken away.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.region.struck()
    }

    /// `len` bytes at guest address `gpa` were written. What the log has no bits for is left out: a
    /// front-end that makes it too small harms its own guest.
    pub fn mark(&self, gpa: u64, len: u64) {
        if len == 0 {
            return;
        }
        let last = gpa.saturating_add(len - 1) >> PAGE_BITS;
        for page in gpa >> PAGE_BITS..=last {
            let byte = page / 8;
            if byte >= self.size {
                return;
            }
            // SAFETY: byte < size, and the region is mapped for size bytes while this lives.
            let bits = unsafe { AtomicU8::from_ptr(self.region.host().add(byte as usize)) };
            bits.fetch_or(1 << (page % 8), Ordering::AcqRel);
        }
    }

    /// `len` bytes at `ptr`, which was translated by `memory`, were written.
    pub fn mark_host(&self, memory: &Memory, ptr: *const u8, len: u32) {
        if let Some(gpa) = memory.gpa_of(ptr) {
            self.mark(gpa, u64::from(len));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};

    #[test]
    fn every_page_that_was_touched_has_its_bit_and_no_other() {
        // SAFETY: the name is a C string; ftruncate fails on a bad result.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"log".as_ptr(), 0)) };
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 2 * BYTES_MAX as i64) }, 0);
        let unmapping = Unmapping::default();
        assert!(matches!(Log::map(BYTES_MAX + 1, 0, &fd, &unmapping), Err(MemoryError::Range)));
        let log = Log::map(16, 0, &fd, &unmapping).unwrap();
        log.mark(0x1fff, 2);
        log.mark(0x9000, 1);
        log.mark(0x5000, 0);
        log.mark(127 << 12, u64::MAX);
        log.mark(u64::MAX, 5);
        // SAFETY: 16 bytes are mapped; nobody writes now.
        let bits = unsafe { std::slice::from_raw_parts(log.region.host(), 20) };
        let mut want = [0; 20];
        want[..2].copy_from_slice(&[0b110, 0b10]);
        want[15] = 0x80;
        assert_eq!(bits, want);
    }
}
