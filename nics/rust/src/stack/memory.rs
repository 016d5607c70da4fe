//! Memory for a socket's buffers that is there only as far as it was used.
//!
//! A TCP window is promised long before anybody fills it: a thousand idle connections with 256 KiB
//! each way would hold half a gigabyte that nobody ever wrote to. Fresh pages from the kernel cost
//! nothing until they are touched, and they are zero; an allocator may hand out used ones, and then
//! has to clear them.

use std::io;
use std::ptr::NonNull;

/// A run of anonymous memory, zero at first.
#[derive(Debug)]
pub struct Mapping {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to its owner alone; nothing about it depends on a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Map `len` bytes.
    pub fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address that the kernel chooses touches nobody's memory.
        let ptr = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if ptr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ptr = NonNull::new(ptr.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { ptr, len })
    }

    /// All of it, for as long as the caller keeps this mapping.
    ///
    /// # Safety
    /// The slice must not be used once the mapping was dropped, and it may be taken only once.
    pub unsafe fn slice(&mut self) -> &'static mut [u8] {
        // SAFETY: the mapping is readable, writable and initialised (zero pages) for `len` bytes;
        // the caller promises that there is one slice and that it dies before the mapping.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped is unmapped, once.
        unsafe { libc::munmap(self.ptr.as_ptr().cast(), self.len) };
    }
}
