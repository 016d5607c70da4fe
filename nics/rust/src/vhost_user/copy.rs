//! Copies between guests, and from a guest to private memory.
//!
//! The lengths are those of frames: most are short, and the call of `memcpy` with its choice of a
//! method would cost as much as the copy. So short ones are done in line, with moves of a constant
//! size of which the last two may overlap. Long ones move a cache line at a time and meanwhile ask
//! for the lines that are read and written next, also those of the next frame: fetching one takes longer
//! than copying ten, and how many can be on their way at once is what limits a copy. So wider moves
//! (AVX-512) and, on Intel's processors, `rep movsb` copy no faster, which was measured; nor did asking for payload while the
//! burst is still being received.

use crate::cache::{prefetch_read, prefetch_write};
use crate::frame::HEAD;
use arrayvec::ArrayVec;
use std::ptr::copy_nonoverlapping as copy;

/// Bytes that a virtio-net header takes in front of the frame, for the prefetches; a few bytes less
/// in the layout of old drivers make no difference to them.
const HEADER: usize = 12;
/// Bytes of the shortest frame, without its FCS.
const SHORTEST: usize = 60;

/// A buffer that the guest sends from will be read: the lines of what is copied first of its frame. Linux has the
/// header at the beginning of a line or nearly, so that even the shortest frame ends in the next one.
#[inline(always)]
pub fn prefetch_out(ptr: *const u8, len: u32) {
    let len = len as usize;
    prefetch_read(ptr.wrapping_add(HEADER));
    if len > 64 + HEADER {
        prefetch_read(ptr.wrapping_add(HEADER + 64));
    }
    prefetch_read(ptr.wrapping_add(len.min(HEADER + HEAD)).wrapping_sub(1));
}

/// A buffer that the guest receives into will be written: the lines of the shortest frame. If its header is in
/// another line, that one is only read, and mostly near.
#[inline(always)]
pub fn prefetch_in(ptr: *const u8) {
    prefetch_write(ptr.wrapping_add(HEADER));
    prefetch_write(ptr.wrapping_add(HEADER + SHORTEST - 1));
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

/// Bytes from which on the processor's own move of strings is faster, where it ever is; up to 9,000 it is as fast.
#[cfg(target_arch = "x86_64")]
const STRING: usize = 8192;

/// Whether the processor's own move of strings is the fastest way for long runs: on AMD's that say that theirs is fast for
/// short ones, too (Zen 3 and newer). It fetches no line that it overwrites whole, and fetches ahead by itself. On Intel's it
/// is slower than what is here for frames of any length (`../../../../docs/performance.md`).
#[cfg(target_arch = "x86_64")]
fn moves_strings() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;
    /// Asked for once: in a virtual machine the host answers.
    static FAST: OnceLock<bool> = OnceLock::new();
    const FAST_SHORT: u32 = 1 << 4;
    *FAST.get_or_init(|| {
        let maker = __cpuid(0);
        let amd = [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes) == [*b"Auth", *b"enti", *b"cAMD"];
        amd && maker.eax >= 7 && __cpuid_count(7, 0).edx & FAST_SHORT != 0
    })
}

/// Copy in one instruction, where that is the fastest way. Whether it was done.
///
/// # Safety
/// As for [`short`].
#[inline(always)]
unsafe fn string(dst: *mut u8, src: *const u8, len: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if len >= STRING && moves_strings() {
        // SAFETY: the caller's promise; the direction flag is clear, as the ABI has it.
        unsafe {
            std::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") src => _, inout("rdi") dst => _,
                options(nostack, preserves_flags));
        }
        return true;
    }
    let _ = (dst, src, len);
    false
}

/// How far ahead of its copy a line is asked for, in bytes.
const LEAD: usize = 64 * 32;

/// Copy `len` bytes, a run of several that follow each other: the next one will be read from `then` and
/// written to `next`. Each line that is copied asks for those [`LEAD`] further on, and the last ones for
/// the first of the next run, so that all the runs of a burst are one stream of requests.
///
/// # Safety
/// As for [`short`]. `then` and `next` may be anything.
#[inline(always)]
pub unsafe fn run(
    mut dst: *mut u8,
    mut src: *const u8,
    mut len: usize,
    mut next: *const u8,
    mut then: *const u8,
) {
    // SAFETY: `len` counts down with the pointers, which thus stay within what the caller promised.
    unsafe {
        if string(dst, src, len) {
            return;
        }
        while len >= LEAD + 64 {
            prefetch_write(dst.wrapping_add(LEAD));
            prefetch_read(src.wrapping_add(LEAD));
            copy(src, dst, 64);
            src = src.add(64);
            dst = dst.add(64);
            len -= 64;
        }
        while len >= 64 {
            prefetch_write(next);
            prefetch_read(then);
            copy(src, dst, 64);
            src = src.add(64);
            dst = dst.add(64);
            next = next.wrapping_add(64);
            then = then.wrapping_add(64);
            len -= 64;
        }
        prefetch_write(next);
        prefetch_read(then);
        short(dst, src, len);
    }
}

/// Pieces that are copied as one stream: a burst of super-frames, or one of them in small buffers.
const PIECES: usize = 192;

/// So many bytes from here to there.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub dst: *mut u8,
    pub src: *const u8,
    pub len: usize,
}

impl Piece {
    /// Take in the `next` piece, if it lies behind this one on both sides: Linux cuts the buffers that it receives in one
    /// after the other from larger pieces of memory, and long runs are copied faster. Whether it was done.
    #[inline(always)]
    fn join(&mut self, next: &Piece) -> bool {
        let behind =
            self.dst.wrapping_add(self.len) == next.dst && self.src.wrapping_add(self.len) == next.src;
        self.len += if behind { next.len } else { 0 };
        behind
    }
}

/// Goes through the pieces of a copy ahead of it, and asks for the lines that it will need.
struct Scout<'a> {
    dst: *const u8,
    src: *const u8,
    /// What is left of the piece it is in.
    left: usize,
    later: std::slice::Iter<'a, Piece>,
}

impl<'a> Scout<'a> {
    /// One that is [`LEAD`] bytes ahead. When it has seen all it stays where it is.
    #[inline(always)]
    fn sent(pieces: &'a [Piece]) -> Self {
        let mut later = pieces.iter();
        let mut lead = LEAD;
        for piece in later.by_ref() {
            if piece.len > lead {
                let (dst, src) = (piece.dst.wrapping_add(lead), piece.src.wrapping_add(lead));
                return Scout { dst, src, left: piece.len - lead, later };
            }
            lead -= piece.len;
        }
        let (dst, src) =
            pieces.last().map_or((std::ptr::null_mut(), std::ptr::null()), |last| (last.dst, last.src));
        Scout { dst, src, left: 0, later }
    }

    /// One line on.
    #[inline(always)]
    fn step(&mut self) {
        if self.left > 64 {
            self.left -= 64;
            (self.dst, self.src) = (self.dst.wrapping_add(64), self.src.wrapping_add(64));
        } else if let Some(piece) = self.later.next() {
            (self.dst, self.src, self.left) = (piece.dst, piece.src, piece.len);
        }
    }
}

/// Copy the long pieces at the front by the processor's own move of strings, if that is the fastest way. How many.
///
/// # Safety
/// As for [`short`], for each piece.
unsafe fn strings(pieces: &[Piece]) -> usize {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if moves_strings() {
        let mut next = pieces.first().copied();
        while let Some(piece) = next.filter(|piece| piece.len >= STRING) {
            done += 1;
            // Read before the copy, which leaves nothing of it in the nearest cache, and must wait for nothing itself.
            // SAFETY: a reference is valid.
            next = pieces.get(done).map(|next| unsafe { std::ptr::from_ref(next).read_volatile() });
            // SAFETY: the caller's promise.
            unsafe { string(piece.dst, piece.src, piece.len) };
        }
    }
    done
}

/// Copy frames that are in several pieces. What is asked for is always what will be copied [`LEAD`] bytes later: the
/// last piece of a frame is mostly short, and lines behind its end, asked for in vain while those of the next frame are
/// not, cost a tenth of the rate of large frames.
///
/// # Safety
/// As for [`short`], for each piece.
unsafe fn pieces(pieces: &[Piece]) {
    // SAFETY: as promised.
    let pieces = &pieces[unsafe { strings(pieces) }..];
    let mut scout = Scout::sent(pieces);
    for &Piece { mut dst, mut src, mut len } in pieces {
        // SAFETY: `len` counts down with the pointers, which thus stay within what the caller promised.
        unsafe {
            if string(dst, src, len) {
                // The scout stays behind: what it asks for next is there.
                continue;
            }
            while len >= 64 {
                prefetch_write(scout.dst);
                prefetch_read(scout.src);
                scout.step();
                copy(src, dst, 64);
                src = src.add(64);
                dst = dst.add(64);
                len -= 64;
            }
            short(dst, src, len);
        }
        if len > 0 {
            scout.step();
        }
    }
}

/// What remains to be copied into buffers before they are given back.
///
/// Bodies of large frames are copied one after the other when all else has been done for their burst: a copy of 64 KB
/// leaves nothing of what the rest works with in the nearest cache.
#[derive(Debug, Default)]
pub struct Copies(ArrayVec<Piece, PIECES>);

impl Copies {
    /// Note a copy.
    ///
    /// # Safety
    /// `piece` must be readable and writable as it says until [`Copies::make`] was called.
    #[inline(always)]
    pub unsafe fn add(&mut self, piece: Piece) {
        if self.0.last_mut().is_some_and(|last| last.join(&piece)) {
            return;
        }
        if self.0.is_full() {
            self.make();
        }
        // There is room.
        let _ = self.0.try_push(piece);
    }

    /// Make all of them.
    #[inline(always)]
    pub fn make(&mut self) {
        if !self.0.is_empty() {
            // SAFETY: by the promise of `add`. A guest that lets source and target overlap garbles its own frame.
            unsafe { pieces(&self.0) };
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_length_is_copied_whole_and_no_byte_more() {
        let src: Vec<u8> = (0..20_000).map(|i| (i * 7 + (i >> 8) * 3 + 1) as u8).collect();
        for len in
            (0..380).chain(super::LEAD - 70..super::LEAD + 140).chain([8191, 8192, 9001, src.len() - 20])
        {
            let mut a = vec![0; src.len()];
            let mut b = vec![0; src.len()];
            // SAFETY: all are of one length, and apart.
            unsafe {
                super::short(a.as_mut_ptr(), src.as_ptr(), len);
                super::run(b.as_mut_ptr(), src.as_ptr(), len, a.as_ptr(), std::ptr::null());
            }
            assert_eq!(a[..len], src[..len]);
            assert!(a[len..].iter().all(|x| *x == 0));
            assert_eq!(a, b);
        }
    }

    #[test]
    fn a_piece_takes_in_the_next_where_both_sides_go_on() {
        let (mut to, from) = ([0_u8; 100], [1_u8; 100]);
        let dst = to.as_mut_ptr();
        let piece = |to: usize, at: usize, len| super::Piece {
            dst: dst.wrapping_add(to),
            src: &raw const from[at],
            len,
        };
        let mut first = piece(10, 20, 5);
        assert!(!first.join(&piece(15, 26, 7)), "the source has a gap");
        assert!(!first.join(&piece(14, 25, 7)), "the target goes back");
        assert_eq!(first.len, 5);
        assert!(first.join(&piece(15, 25, 7)));
        assert_eq!((first.dst, first.src, first.len), (dst.wrapping_add(10), &raw const from[20], 12));
    }

    #[test]
    fn pieces_are_copied_whole_wherever_they_end() {
        let src: Vec<u8> = (0..30_000).map(|i| (i * 7 + (i >> 8) * 3 + 1) as u8).collect();
        for lens in [
            vec![],
            vec![0],
            vec![1, 0, 63, 64, 65],
            vec![1920, 2060, 2060, 786],
            vec![4096, 4096, 834],
            vec![40, 9000, 63, 8192, 70],
        ] {
            let mut dst = vec![0; src.len()];
            let mut list = vec![];
            let (mut from, mut to) = (3, 5);
            for &len in &lens {
                // SAFETY: within both, which are longer than all of it.
                let (src, dst) = unsafe { (src.as_ptr().add(from), dst.as_mut_ptr().add(to)) };
                list.push(super::Piece { dst, src, len });
                from += len + 1;
                to += len + 2;
            }
            // SAFETY: as above; they are apart.
            unsafe { super::pieces(&list) };
            let mut wanted = vec![0; src.len()];
            let (mut from, mut to) = (3, 5);
            for len in lens {
                wanted[to..to + len].copy_from_slice(&src[from..from + len]);
                from += len + 1;
                to += len + 2;
            }
            assert_eq!(dst, wanted);
        }
    }
}
