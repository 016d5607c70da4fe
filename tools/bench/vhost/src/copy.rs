//! What one core can copy: frame after frame from buffers like a sender's into buffers like a
//! receiver's, as many and as large as the load has them, and where they lie there. No ring, no switch, nobody else.
//!
//! Several ways, of which the fastest counts: it is what a switch that copies once is held against.

use crate::front::{HEADER, Shared};
use crate::load::{self, FRONT, pin};
use crate::options::Options;
use crate::ring::Memory;
use std::io;
use std::time::{Duration, Instant};

type Copy = fn(Memory, usize, usize, usize, usize);

/// The C library's.
fn library(memory: Memory, from: usize, to: usize, len: usize, _next: usize) {
    // SAFETY: both buffers lie within the memory, apart.
    unsafe { std::ptr::copy_nonoverlapping(memory.at(from, len), memory.at(to, len), len) }
}

/// Line by line, and meanwhile the next buffer's lines are asked for.
fn lines(memory: Memory, from: usize, to: usize, len: usize, next: usize) {
    let mut at = 0;
    while at + 64 <= len {
        prefetch(memory.at(next + at, 64));
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(memory.at(from + at, 64), memory.at(to + at, 64), 64) };
        at += 64;
    }
    library(memory, from + at, to + at, len - at, next);
}

/// One instruction for all of it.
fn string(memory: Memory, from: usize, to: usize, len: usize, next: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let (from, to) = (memory.at(from, len), memory.at(to, len));
        // SAFETY: as above; the direction flag is clear, as the ABI has it.
        unsafe {
            std::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                options(nostack, preserves_flags));
        }
        let _ = next;
    }
    #[cfg(not(target_arch = "x86_64"))]
    library(memory, from, to, len, next);
}

fn prefetch(ptr: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) ptr, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ptr;
}

pub fn rate(options: &Options) -> io::Result<String> {
    pin(options.cpu)?;
    let (sources, targets) = (options.frames(), options.buffers());
    let (from, to) = (load::tx_stride(options), load::rx_stride(options));
    let mut shared = Shared::new(sources * from + targets * to + (1 << 20))?;
    let (source, target) = (shared.take(sources * from, 4096), shared.take(targets * to, 4096));
    let memory = shared.memory;
    let ways: [(&str, Copy); 3] = [("library", library), ("lines", lines), ("string", string)];
    let mut best = ("", 0.0);
    for (name, copy) in ways {
        let (mut count, mut buffers) = (0usize, 0usize);
        let (mut begun, mut measuring) = (Instant::now(), false);
        let length = Duration::from_secs_f64(options.seconds / ways.len() as f64);
        loop {
            for _ in 0..64 {
                let mut at = source + count % sources * from + FRONT + HEADER;
                let (mut left, mut skip) = (options.size, HEADER);
                while left > 0 {
                    let len = left.min(options.buffer - skip);
                    let next = target + (buffers + 1) % targets * to;
                    copy(memory, at, target + buffers % targets * to + skip, len, next);
                    (at, left, skip, buffers) = (at + len, left - len, 0, buffers + 1);
                }
                count += 1;
            }
            if !measuring && begun.elapsed() > length / 4 {
                (count, begun, measuring) = (0, Instant::now(), true);
            } else if measuring && begun.elapsed() > length {
                break;
            }
        }
        let gbps = (count * options.size * 8) as f64 / begun.elapsed().as_secs_f64() / 1e9;
        if gbps > best.1 {
            best = (name, gbps);
        }
    }
    Ok(format!("{{\"gbps\": {:.3}, \"way\": {:?}, \"huge\": {}}}", best.1, best.0, shared.huge))
}
