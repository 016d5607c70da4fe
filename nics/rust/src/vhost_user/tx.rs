//! To a guest: frames are copied from wherever they lie straight into the buffers it posted.
//!
//! Most frames go into one contiguous buffer, and most say nothing in their virtio-net header. The
//! twelve bytes of that are the same for all of them, and as a guest uses its buffers again they are
//! mostly in place already: they are compared, and written only where they differ. The guest's copy
//! of that cache line then stays valid.
//!
//! A frame that does not fit into one buffer takes as many as it needs (MRG_RXBUF), each given back
//! with its length, the first one's header saying how many. They are counted before the first byte
//! is written, and told to the guest together.

use super::chain::{Run, STEPS};
use super::copy::{self, Copies, Piece};
use super::log::Log;
use super::protocol::feature;
use super::ring::{AHEAD_MAX, Ahead, RingFault, Used};
use super::scattered::scattered;
use super::vring::Vring;
use crate::frame::{HEAD, TxFrame};
use crate::nic::{Caps, FEW, TxReport};
use crate::offload::Offload;
use switch::{DropReason, TagEdit};

/// Buffers taken ahead, so that their first lines are ours when frames come for them.
pub const LOOK: usize = 64;
/// And so many more where all of a burst were short, whose lines are asked for while the last of them are filled: the next
/// burst would begin by waiting for them. Where bodies are copied meanwhile, these come later for it.
const BEYOND: usize = 8;
/// Of a frame's bytes, those whose line a warmer asks for.
const WARMED: usize = 64;
/// A body of so many bytes is large: see [`Copies`].
const LARGE: usize = 16 << 10;
/// Header bytes of a modern device.
const HEADER: usize = 12;
/// A line of the cache.
const LINE: usize = 64;
/// The header of a frame that says nothing and takes one buffer.
const PLAIN: [u8; HEADER] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// What a guest receives, by what it negotiated.
#[derive(Clone, Copy, Debug)]
pub struct Takes {
    /// Bytes of virtio-net header in front of each frame: 12, or 10 for old drivers.
    pub header: usize,
    /// A frame may take several buffers.
    pub mergeable: bool,
    /// It understands headers that say something.
    csum: bool,
}

impl Takes {
    #[must_use]
    pub fn of(features: u64) -> Self {
        let modern = features & (feature::VERSION_1 | feature::MRG_RXBUF) != 0;
        Takes {
            header: if modern { HEADER } else { Offload::LEN },
            mergeable: features & feature::MRG_RXBUF != 0,
            csum: features & feature::GUEST_CSUM != 0,
        }
    }

    /// The same, in the engine's words.
    #[must_use]
    pub fn caps(features: u64, max_frame: u32) -> Caps {
        let has = |bits: u64| features & bits == bits;
        Caps {
            csum: has(feature::GUEST_CSUM),
            tso4: has(feature::GUEST_CSUM | feature::GUEST_TSO4),
            tso6: has(feature::GUEST_CSUM | feature::GUEST_TSO6),
            ecn: has(feature::GUEST_CSUM | feature::GUEST_ECN),
            uso: has(feature::GUEST_CSUM | feature::GUEST_USO4 | feature::GUEST_USO6),
            max_frame,
        }
    }

    /// The header of a frame that is in `offload` state and takes `buffers` buffers.
    #[inline(always)]
    #[must_use]
    pub fn header(&self, offload: Offload, buffers: u16) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        if self.csum && !offload.is_none() {
            bytes[..Offload::LEN].copy_from_slice(&offload.to_bytes());
        }
        bytes[Offload::LEN..].copy_from_slice(&buffers.to_le_bytes());
        bytes
    }
}

/// Write `header` to `dst` where it is not there yet.
///
/// # Safety
/// `dst` must be readable and writable for 12 bytes.
#[inline(always)]
unsafe fn put_header(dst: *mut u8, header: [u8; HEADER]) {
    let [a @ .., e, f, g, h] = header;
    let (low, high) = (u64::from_ne_bytes(a), u32::from_ne_bytes([e, f, g, h]));
    let (low_at, high_at) = (dst.cast::<u64>(), dst.wrapping_add(8).cast::<u32>());
    // SAFETY: the caller's promise; what was read decides on nothing but whether to write.
    unsafe {
        if low_at.read_unaligned() != low || high_at.read_unaligned() != high {
            low_at.write_unaligned(low);
            high_at.write_unaligned(high);
        }
    }
}

/// What deliveries need room for, again and again.
#[derive(Debug)]
pub struct Scratch {
    used: Box<[Used; AHEAD_MAX]>,
    runs: Vec<Run>,
    /// Descriptors that may still be looked at for this burst, in all queues that it goes to, and to measure chains by.
    budget: (u32, u32),
}

impl Scratch {
    /// Another burst.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.budget = (STEPS, STEPS);
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { used: Box::new([Used::default(); AHEAD_MAX]), runs: Vec::new(), budget: (STEPS, STEPS) }
    }
}

/// Copy `frames` into the guest's buffers, in order. What did not fit is named in `report`, and so is what comes behind a
/// buffer that breaks the ring's rules.
#[inline]
pub fn deliver(
    ring: &mut Vring,
    takes: &Takes,
    frames: &[TxFrame<'_>],
    log: Option<&Log>,
    scratch: &mut Scratch,
    report: &mut TxReport,
) -> Result<(), RingFault> {
    let copies = &mut Copies::default();
    ring.will_give();
    ring.begin(scratch.budget);
    let Scratch { used, runs, budget } = scratch;
    if frames.len() <= FEW {
        ring.brace();
    }
    // The first `n` buffers ahead are filled, as `used[..n]` says and but for `copies`, and not given back yet.
    let (mut n, mut i) = (0, 0);
    let mut fill = || {
        let mut brief = 0;
        let mut ahead = ring.take::<true>(frames.len())?;
        while i < frames.len() {
            if n >= ahead {
                give(ring, &used[..n], log, copies);
                n = 0;
                ahead = ring.take::<true>(frames.len() - i)?;
                if ahead == 0 {
                    report.drop_rest(i, frames.len(), DropReason::TxFull);
                    i = frames.len();
                    break;
                }
            }
            let done = short(&ring.ahead, n, takes, &frames[i..], &mut used[n..]);
            (n, i) = (n + done, i + done);
            brief += done;
            if i < frames.len() && n < ahead {
                let done = plain(&ring.ahead, n, takes, &frames[i..], &mut used[n..], copies);
                (n, i) = (n + done, i + done);
            }
            if i >= frames.len() || n >= ahead {
                continue;
            }
            match spread(&ring.ahead, n, takes, &frames[i], used, copies) {
                Spread::Done(end) => {
                    n = end;
                    i += 1;
                    continue;
                }
                // Those before this frame are done with, so there is room for more ahead.
                Spread::Short if n > 0 => {
                    give(ring, &used[..n], log, copies);
                    n = 0;
                    ahead = ring.take::<true>(LOOK)?;
                    continue;
                }
                Spread::Short | Spread::Otherwise => {}
            }
            // Buffers may be given back in there.
            copies.make();
            let mut filled = n;
            let dropped = scattered(ring, takes, &frames[i], log, runs, used, &mut filled);
            n = filled;
            if let Some(reason) = dropped? {
                report.drop(i, reason);
            }
            i += 1;
            if ring.steps.get() == 0 {
                report.drop_rest(i, frames.len(), DropReason::TxFull);
                i = frames.len();
                break;
            }
            ahead = ring.ahead.len();
        }
        give(ring, &used[..n], log, copies);
        n = 0;
        ring.take::<true>(if brief == frames.len() { LOOK + BEYOND } else { LOOK })
    };
    let filled = fill();
    *budget = ring.left();
    let Err(fault) = filled else { return Ok(()) };
    // The ring is broken, and what was filled before is given back all the same.
    give(ring, &used[..n], log, copies);
    report.drop_rest(i, frames.len(), DropReason::TxNoCarrier);
    Err(fault)
}

/// Fill the buffers from the `first` ahead on with one frame each, as long as each frame is short, leaves as it came,
/// says nothing and fits. How many.
#[inline(always)]
fn short(ahead: &Ahead, first: usize, takes: &Takes, frames: &[TxFrame<'_>], used: &mut [Used]) -> usize {
    if takes.header != HEADER {
        return 0;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has it.
        return unsafe { short_avx2(ahead, first, frames, used) };
    }
    short_any(ahead, first, frames, used)
}

/// [`short_any`] with stores as wide as AVX has them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn short_avx2(ahead: &Ahead, first: usize, frames: &[TxFrame<'_>], used: &mut [Used]) -> usize {
    short_any(ahead, first, frames, used)
}

/// The guest has read the lines that are written here, so each has to be taken from it again, which takes some hundred
/// nanoseconds where its core is far away. Meanwhile all stores behind wait, in order, and when a processor has no room
/// for more of them (64 to 112), it waits, too. So few are made for a frame: this loop is for nothing but what nearly all
/// short frames are, that all it needs stays in registers, and what is written together is one word.
#[inline(always)]
fn short_any(ahead: &Ahead, first: usize, frames: &[TxFrame<'_>], used: &mut [Used]) -> usize {
    let mut warmer = ahead.warmer::<true>();
    let most = ahead.len() - first;
    let mut i = first;
    for (tx, used) in frames.iter().zip(used).take(most) {
        warmer.at(i);
        let (buf, frame) = (ahead.get(i), tx.frame);
        let (head, len) = (frame.head(), HEADER + frame.len());
        let bare = frame.offload.is_none() & (tx.edit == TagEdit::NONE) & (head.len() == frame.len());
        if !bare || !buf.simple() || (buf.len() as usize) < len {
            break;
        }
        // SAFETY: as for `plain`; the head is the frame.
        unsafe { put_short(buf.ptr, head) };
        *used = Used::new(buf.id(), len as u32);
        i += 1;
    }
    i - first
}

/// Write a frame that says nothing, and its header.
///
/// # Safety
/// `dst` must be readable and writable for the header and the frame, and lie apart from it.
#[inline(always)]
unsafe fn put_short(dst: *mut u8, frame: &[u8]) {
    // SAFETY: the caller's promise, and the frame has four bytes where they are written with the header.
    unsafe {
        copy::short(dst.add(HEADER), frame.as_ptr(), frame.len());
        match frame.first_chunk::<4>() {
            // Its line is the frame's, and is written anyway: nobody looks what stands there.
            Some(begin) if dst as usize % LINE < LINE - HEADER => {
                let mut bytes = [0; HEADER + 4];
                bytes[..HEADER].copy_from_slice(&PLAIN);
                bytes[HEADER..].copy_from_slice(begin);
                dst.cast::<[u8; HEADER + 4]>().write_unaligned(bytes);
            }
            _ => put_header(dst, PLAIN),
        }
    }
}

/// As [`short`], with any frame that is in one piece and fits.
#[inline(always)]
fn plain(
    ahead: &Ahead,
    first: usize,
    takes: &Takes,
    frames: &[TxFrame<'_>],
    used: &mut [Used],
    copies: &mut Copies,
) -> usize {
    if takes.header != HEADER {
        return 0;
    }
    let mut scratch = [0; HEAD + 4];
    let mut warmer = ahead.warmer::<true>();
    let most = ahead.len() - first;
    let mut done = 0;
    for ((tx, used), i) in frames.iter().zip(used).zip(first..).take(most) {
        warmer.at(i);
        let buf = ahead.get(i);
        let len = HEADER + tx.len();
        let (tail, more) = tx.frame.tail();
        if !buf.simple() || (buf.len() as usize) < len || !more.is_empty() {
            break;
        }
        let head = tx.head(&mut scratch);
        // SAFETY: the buffer was checked to be buf.len() bytes of guest memory, which the ring keeps
        // mapped; header and frame fit (above; a frame is its head and its tail). The frame's own
        // runs are readable by Seg's promise, and lie elsewhere: a guest that lets them overlap
        // garbles its own frame.
        unsafe {
            let dst = buf.ptr.add(HEADER);
            copy::short(dst, head.as_ptr(), head.len());
            if tail.len() >= LARGE {
                let dst = dst.add(head.len());
                copies.add(Piece { dst, src: tail.as_ptr(), len: tail.len() });
            } else if !tail.is_empty() {
                let next = ahead.get(i + 1).ptr.wrapping_add(HEADER + WARMED);
                let then = after(frames, i - first);
                copy::run(dst.add(head.len()), tail.as_ptr(), tail.len(), next, then);
            }
            put_header(buf.ptr, takes.header(tx.offload(), 1));
        }
        *used = Used::new(buf.id(), len as u32);
        done += 1;
    }
    done
}

/// Where the body of the frame behind the `i`th lies; of the last one, its own.
#[inline(always)]
fn after(frames: &[TxFrame<'_>], i: usize) -> *const u8 {
    frames.get(i + 1).or(frames.get(i)).map_or(std::ptr::null(), |tx| tx.frame.tail().0.as_ptr())
}

/// What [`spread`] came to.
enum Spread {
    /// So many buffers ahead are filled now.
    Done(usize),
    /// It takes more buffers than are ahead.
    Short,
    /// It needs another way: there is a chain, or something as rare.
    Otherwise,
}

/// Fill as many contiguous buffers as the frame takes, from the `first` ahead on: it is in several pieces, or too long
/// for one buffer. Its body is left to `copies`.
#[inline(always)]
fn spread(
    ahead: &Ahead,
    first: usize,
    takes: &Takes,
    tx: &TxFrame<'_>,
    used: &mut [Used; AHEAD_MAX],
    copies: &mut Copies,
) -> Spread {
    if takes.header != HEADER {
        return Spread::Otherwise;
    }
    let need = HEADER + tx.len();
    let (mut room, mut end) = (0, first);
    while room < need {
        let buf = ahead.get(end);
        if end >= ahead.len() {
            return Spread::Short;
        }
        if !buf.simple() || end > first && !takes.mergeable {
            return Spread::Otherwise;
        }
        let len = (buf.len() as usize).min(need - room);
        used[end] = Used::new(buf.id(), len as u32);
        room += len;
        end += 1;
    }
    let mut scratch = [0; HEAD + 4];
    let head = tx.head(&mut scratch);
    let buf = ahead.get(first);
    let Some(mut left) = (buf.len() as usize).checked_sub(HEADER + head.len()) else {
        return Spread::Otherwise;
    };
    // SAFETY: the buffer was checked to be buf.len() bytes of guest memory, which the ring keeps mapped;
    // header and head fit (above).
    let mut dst = unsafe {
        copy::short(buf.ptr.add(HEADER), head.as_ptr(), head.len());
        put_header(buf.ptr, takes.header(tx.offload(), (end - first) as u16));
        buf.ptr.add(HEADER + head.len())
    };
    let mut next = first + 1;
    let (tail, more) = tx.frame.tail();
    for mut seg in std::iter::once(tail).chain(more.iter().copied()) {
        while !seg.is_empty() {
            if left == 0 {
                if next >= end {
                    // Never: there was room for all of it.
                    return Spread::Otherwise;
                }
                (dst, left) = (ahead.get(next).ptr, ahead.get(next).len() as usize);
                next += 1;
                continue;
            }
            let n = seg.len().min(left);
            // SAFETY: the piece lies within what is left of a buffer, as above, and is readable by Seg's promise, which
            // holds as long as the frames are lent.
            unsafe { copies.add(Piece { dst, src: seg.as_ptr(), len: n }) };
            dst = dst.wrapping_add(n);
            left -= n;
            seg = seg.skip(n);
        }
    }
    Spread::Done(end)
}

/// Make `copies`, and give the buffers that are filled by then back.
#[inline(always)]
fn give(ring: &mut Vring, used: &[Used], log: Option<&Log>, copies: &mut Copies) {
    copies.make();
    give_back(ring, used, log);
}

/// The same, where there are none to make.
#[inline(always)]
pub fn give_back(ring: &mut Vring, used: &[Used], log: Option<&Log>) {
    if used.is_empty() {
        return;
    }
    if let Some(log) = log {
        for (i, entry) in used.iter().enumerate() {
            let buf = ring.ahead.get(i);
            if buf.simple() {
                log.mark_host(ring.memory(), buf.ptr, entry.len());
            }
        }
    }
    ring.give_filled(used);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_frame_is_written_whole_with_its_header_and_no_byte_more() {
        let frame: Vec<u8> = (0..HEAD).map(|i| (i * 7 + 3) as u8).collect();
        let mut memory = vec![0_u8; 4 * LINE + HEAD];
        for offset in 0..LINE {
            for len in 1..=HEAD {
                memory.fill(0xee);
                let start = memory.as_ptr().align_offset(LINE) + offset;
                // SAFETY: there is room behind `start` for two lines, header and the longest frame.
                unsafe { put_short(memory.as_mut_ptr().add(start), &frame[..len]) };
                let (before, rest) = memory.split_at(start);
                let (header, rest) = rest.split_at(HEADER);
                let (written, behind) = rest.split_at(len);
                assert_eq!((header, written), (&PLAIN[..], &frame[..len]), "{offset} {len}");
                assert!(before.iter().chain(behind).all(|byte| *byte == 0xee), "{offset} {len}");
            }
        }
    }
}
