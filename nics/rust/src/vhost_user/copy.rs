//! Copies between guests, and from a guest to private memory.
//!
//! The lengths are those of frames: most are short, and the call of `memcpy` with its choice of a
//! method would cost as much as the copy. So short ones are done in line, with moves of a constant
//! size of which the last two may overlap. Long ones move a cache line at a time and meanwhile ask
//! for the lines that the *next* frame will be written to: they were last touched by another core,
//! and fetching one takes longer than copying ten.

use std::ptr::copy_nonoverlapping as copy;

/// Bytes that a virtio-net header takes in front of the frame, for the prefetches; a few bytes less
/// in the layout of old drivers make no difference to them.
const HEADER: usize = 12;

#[inline(always)]
fn prefetch_read(ptr: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(ptr.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) ptr, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = ptr;
}

#[inline(always)]
fn prefetch_write(ptr: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address; processors of this architecture that
    // don't know this one do nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) ptr, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) ptr, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = ptr;
}

/// A buffer that the guest sends from will be read: its frame's first lines.
#[inline(always)]
pub fn prefetch_out(ptr: *const u8, len: u32) {
    prefetch_read(ptr.wrapping_add(HEADER));
    if len > 64 + HEADER as u32 {
        prefetch_read(ptr.wrapping_add(HEADER + 64));
    }
}

/// A buffer that the guest receives into will be written: its frame's first line. If its header is in
/// another line, that one is only read, and mostly near.
#[inline(always)]
pub fn prefetch_in(ptr: *const u8) {
    prefetch_write(ptr.wrapping_add(HEADER));
}

/// Copy `len` bytes, meant for at most 128.
///
/// # Safety
/// `src` must be readable and `dst` writable for `len` bytes, and they must not overlap.
#[inline(always)]
pub unsafe fn short(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: each branch moves only bytes 0..len, which the caller promises are there.
    unsafe {
        if len >= 32 {
            if len > 64 {
                if len >= 128 {
                    copy(src, dst, 128);
                    if len > 128 {
                        copy(src.add(128), dst.add(128), len - 128);
                    }
                    return;
                }
                copy(src, dst, 64);
                copy(src.add(len - 64), dst.add(len - 64), 64);
                return;
            }
            copy(src, dst, 32);
            copy(src.add(len - 32), dst.add(len - 32), 32);
        } else if len >= 16 {
            copy(src, dst, 16);
            copy(src.add(len - 16), dst.add(len - 16), 16);
        } else if len >= 8 {
            copy(src, dst, 8);
            copy(src.add(len - 8), dst.add(len - 8), 8);
        } else if len >= 4 {
            copy(src, dst, 4);
            copy(src.add(len - 4), dst.add(len - 4), 4);
        } else {
            for i in 0..len {
                *dst.add(i) = *src.add(i);
            }
        }
    }
}

/// Copy `len` bytes, and for each line of them prefetch the same line of `next` for writing.
///
/// # Safety
/// As for [`short`]. `next` may be anything.
#[inline(always)]
pub unsafe fn long(mut dst: *mut u8, mut src: *const u8, mut len: usize, mut next: *const u8) {
    // SAFETY: `len` counts down with the pointers, which thus stay within what the caller promised.
    unsafe {
        while len >= 64 {
            prefetch_write(next);
            copy(src, dst, 64);
            src = src.add(64);
            dst = dst.add(64);
            next = next.wrapping_add(64);
            len -= 64;
        }
        prefetch_write(next);
        short(dst, src, len);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length_is_copied_whole_and_no_byte_more() {
        let src: Vec<u8> = (0..400).map(|i| (i * 7 + 1) as u8).collect();
        for len in 0..380 {
            let mut a = vec![0; 400];
            let mut b = vec![0; 400];
            // SAFETY: both are 400 bytes long, and apart.
            unsafe {
                super::short(a.as_mut_ptr(), src.as_ptr(), len);
                super::long(b.as_mut_ptr(), src.as_ptr(), len, a.as_ptr());
            }
            assert_eq!(a[..len], src[..len]);
            assert!(a[len..].iter().all(|x| *x == 0));
            assert_eq!(a, b);
        }
    }
}
