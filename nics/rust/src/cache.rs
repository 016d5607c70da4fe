//! Asking for what will be read soon: it is brought into the processor's cache, and nobody waits for it.

/// Ask for the cache line that `ptr` is in.
#[inline(always)]
pub(crate) fn prefetch_read(ptr: *const u8) {
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

/// The same for the lines that words are in, as a switch wants it (`Switch::set_fetch`).
pub fn fetch(words: &[&u32]) {
    for &word in words {
        prefetch_read(std::ptr::from_ref(word).cast());
    }
}
