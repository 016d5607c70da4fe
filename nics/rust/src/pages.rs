//! Large pages, for memory that is read all over: the processor knows of more of it where it is.

/// Have memory that is about to be used for the first time on large pages (`Switch::set_spread`), as far as the kernel
/// has any.
pub fn on_large_pages(start: *const u8, len: usize) {
    const PAGE: usize = 4096;
    const LARGE: usize = 2 << 20;
    let from = start as usize & !(PAGE - 1);
    let len = (start as usize + len).next_multiple_of(PAGE) - from;
    // The allocator has written in front of it: there is a small page at the beginning, which the second advice replaces.
    for (len, advice) in [(len, libc::MADV_HUGEPAGE), (len.min(LARGE), libc::MADV_COLLAPSE)] {
        // SAFETY: the kernel looks at the addresses, not we, and whatever memory is there reads the same afterwards.
        let _ = unsafe { libc::madvise(from as *mut libc::c_void, len, advice) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_first_bytes_are_on_a_large_page() {
        let room = Vec::<[u64; 8]>::with_capacity((4 << 20) / 64 - 32);
        let start = room.as_ptr() as usize;
        super::on_large_pages(room.as_ptr().cast(), room.capacity() * 64);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let flags = maps.lines().find(|line| {
            if let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&start);
            }
            inside && line.starts_with("VmFlags:")
        });
        let able = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        assert_eq!(flags.unwrap().contains(" hg"), able, "{flags:?}");
        drop(room);
    }
}
