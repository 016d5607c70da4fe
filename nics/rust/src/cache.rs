//! Asking for what will be read or written soon: it is brought into the processor's cache, and nobody waits for it.
//! And handing on what another core will read.

use switch::Lookup;

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

/// The same for a line that will be written: it is then this core's alone.
#[inline(always)]
pub(crate) fn prefetch_write(ptr: *const u8) {
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

/// The line that `ptr` is in was written for somebody on another core, and is moved to where the cores meet: who looks
/// for it need not wait until it has been fetched from this one's own cache. For a line or two of a burst: given for
/// all of large frames, it costs a third of their rate.
#[inline(always)]
pub(crate) fn hand_on(ptr: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: CLDEMOTE never faults, whatever the address; processors that don't know it do nothing.
    unsafe {
        std::arch::asm!("cldemote [{}]", in(reg) ptr, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ptr;
}

/// Look up a burst's connections as a switch wants it (`Switch::set_look_up`): compiled for this processor, and asking
/// for what will be read.
#[must_use]
pub fn look_up(lookup: Lookup<'_>) -> (u64, u64) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has it.
        return unsafe { look_up_avx2(lookup) };
    }
    lookup.run(prefetch_read)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn look_up_avx2(lookup: Lookup<'_>) -> (u64, u64) {
    lookup.run(prefetch_read)
}
