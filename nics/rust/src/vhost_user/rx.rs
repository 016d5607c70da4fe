//! From a guest: transmit buffers become frames that are lent to the engine where they lie.
//!
//! Only the head of each frame is copied, first, and from then on nobody looks at the original of
//! those bytes. The virtio-net header in front is read when the guest negotiated something that it
//! could say with it, and otherwise not at all: it would be one more cache line from another core.

use super::copy;
use super::protocol::feature;
use super::ring::{Buf, RingFault};
use super::vring::{Loan, Vring};
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, HEAD, Seg};
use crate::offload::Offload;
use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, compiler_fence};

/// Buffers to take ahead: a burst, and more whose first lines arrive while the burst is worked on.
pub const AHEAD: usize = BURST + 32;
/// Bytes after which a burst is long enough: a few super-frames. Copying them takes some 50 us, in which nobody
/// else has a turn, and a guest whose ring holds few frames gets none of them back.
const BYTES: usize = 640 << 10;
/// The longest virtio-net header.
const HEADER_MAX: usize = 12;

/// What a guest may send, by what it negotiated.
#[derive(Clone, Copy, Debug)]
pub struct Sends {
    /// Bytes of virtio-net header in front of each frame.
    pub header: usize,
    /// The header may say something.
    pub offloads: bool,
    features: u64,
}

impl Sends {
    #[must_use]
    pub fn of(features: u64) -> Self {
        let modern = features & (feature::VERSION_1 | feature::MRG_RXBUF) != 0;
        Sends {
            header: if modern { HEADER_MAX } else { Offload::LEN },
            offloads: features & feature::SENDS_OFFLOADS != 0,
            features,
        }
    }

    /// What is true of a header: what was not negotiated may not be asked for, and what the frame
    /// contradicts is a lie.
    fn accept(&self, bytes: &[u8; Offload::LEN], len: usize, head: &[u8]) -> Option<Offload> {
        let mut offload = Offload::from_bytes(bytes);
        // Only a device may say that it has verified a checksum.
        offload.flags &= Offload::NEEDS_CSUM;
        if offload.flags == 0 && offload.gso_type == Offload::GSO_NONE {
            return Some(Offload::NONE);
        }
        let wants = match offload.gso_type & !Offload::GSO_ECN {
            Offload::GSO_NONE => feature::CSUM,
            Offload::GSO_TCPV4 => feature::HOST_TSO4,
            Offload::GSO_TCPV6 => feature::HOST_TSO6,
            Offload::GSO_UDP_L4 => feature::HOST_USO,
            _ => return None,
        };
        let ecn = if offload.gso_type & Offload::GSO_ECN != 0 { feature::HOST_ECN } else { 0 };
        if self.features & (wants | ecn) != wants | ecn {
            return None;
        }
        offload.vet(len, head)
    }
}

/// Lend up to a burst of what the guest sent, of which `waiting` buffers were taken ahead. Returns
/// whether there is more. The ring notes how many buffers are out, and when it breaks its rules in
/// the middle, that: what was lent before is good.
#[inline]
pub fn lend<'a>(
    ring: &'a mut Vring,
    waiting: usize,
    sends: &Sends,
    arena: &'a mut Arena,
    burst: &mut Burst<'a>,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has it.
        return unsafe { lend_avx2(ring, waiting, sends, arena, burst) };
    }
    lend_any(ring, waiting, sends, arena, burst)
}

/// [`lend`] with moves as wide as AVX has them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn lend_avx2<'a>(
    ring: &'a mut Vring,
    waiting: usize,
    sends: &Sends,
    arena: &'a mut Arena,
    burst: &mut Burst<'a>,
) -> bool {
    lend_any(ring, waiting, sends, arena, burst)
}

#[inline(always)]
fn lend_any<'a>(
    ring: &'a mut Vring,
    waiting: usize,
    sends: &Sends,
    arena: &'a mut Arena,
    burst: &mut Burst<'a>,
) -> bool {
    let n = waiting.min(burst.room());
    let mut more = waiting > n;
    let mut loan = Loan::default();
    let mut bytes = 0;
    // Another ring's may be in there.
    let mut bare = burst.bare || burst.is_empty();
    ring.hush();
    let ring: &'a Vring = ring;
    let (heads, mut segs) = arena.parts();
    let mut warmer = ring.ahead.warmer::<false>();
    for (i, head) in heads.as_chunks_mut::<HEAD>().0.iter_mut().enumerate().take(n) {
        warmer.at(i);
        let buf = ring.ahead.get(i);
        let frame = if buf.simple() {
            simple(buf, sends, head)
        } else {
            match chain(ring, i, sends, head, segs) {
                Ok(Some((frame, rest))) => {
                    segs = rest;
                    frame
                }
                // This burst has no room for its runs, so it is the first of the next one.
                Ok(None) if i > 0 => {
                    more = true;
                    break;
                }
                Ok(None) => {
                    loan.fault = Some(RingFault::Chain);
                    break;
                }
                Err(broken) => {
                    loan.fault = Some(broken);
                    break;
                }
            }
        };
        loan.buffers += 1;
        match frame {
            Some(frame) => {
                bytes += frame.len();
                bare &= !sends.offloads || frame.offload.is_none();
                // There is room: a burst is BURST long, and so is n at most.
                let _ = burst.try_push(frame);
                if bytes >= BYTES {
                    more |= loan.buffers < n;
                    break;
                }
            }
            None => loan.malformed += 1,
        }
    }
    drop(warmer);
    burst.bare = bare;
    // What follows parses the private copies; the compiler must not read the originals again.
    compiler_fence(Ordering::SeqCst);
    ring.loan.set(loan);
    more
}

/// The frame in a contiguous buffer.
#[inline(always)]
fn simple<'a>(buf: &Buf, sends: &Sends, head: &'a mut [u8; HEAD]) -> Option<Frame<'a>> {
    let len = (buf.len() as usize).checked_sub(sends.header)?;
    if len == 0 || len > FRAME_MAX {
        return None;
    }
    let short = len.min(HEAD);
    // SAFETY: the buffer was checked to be buf.len() bytes of guest memory, which the ring keeps mapped
    // while it is borrowed; header and frame are within that, and `head` is private.
    let frame = unsafe {
        let frame = buf.ptr.add(sends.header);
        copy::short(head.as_mut_ptr(), frame, short);
        frame
    };
    let head = &head[..short];
    let mut offload = Offload::NONE;
    if sends.offloads {
        let mut bytes = [0; Offload::LEN];
        // SAFETY: the header lies in front of the frame, in the same buffer.
        unsafe { copy::short(bytes.as_mut_ptr(), buf.ptr, Offload::LEN) };
        offload = sends.accept(&bytes, len, head)?;
    }
    // SAFETY: the rest of the same buffer. Its contents may change, as Seg allows.
    let tail = unsafe { Seg::new(frame.add(short), (len - short) as u32) };
    Some(Frame::scattered(head, tail, &[], offload))
}

/// The frame in a chain, or that it holds none, and the runs that are left for others; None when
/// they don't suffice.
#[cold]
#[allow(clippy::type_complexity)]
fn chain<'a>(
    ring: &'a Vring,
    i: usize,
    sends: &Sends,
    head: &'a mut [u8; HEAD],
    segs: &'a mut [MaybeUninit<Seg<'static>>],
) -> Result<Option<(Option<Frame<'a>>, &'a mut [MaybeUninit<Seg<'static>>])>, RingFault> {
    let mut header = [0; HEADER_MAX];
    // How much of the header and of the head is there, runs behind them, and bytes in all.
    let (mut got, mut short, mut used, mut bytes) = (0, 0, 0, 0u64);
    let mut room = true;
    ring.walk::<false>(i, &mut |run| {
        bytes += u64::from(run.len);
        let (mut ptr, mut left) = (run.ptr.cast_const(), run.len as usize);
        for (part, at, end) in [(&mut header[..], &mut got, sends.header), (&mut head[..], &mut short, HEAD)]
        {
            let n = left.min(end - *at);
            // SAFETY: the run is guest memory that the ring keeps mapped, n is within what is left
            // of it; the parts are private and `end` long at least.
            unsafe {
                copy::short(part[*at..].as_mut_ptr(), ptr, n);
                ptr = ptr.add(n);
            }
            *at += n;
            left -= n;
        }
        if left > 0 {
            match segs.get_mut(used) {
                // SAFETY: the rest of the run, which is mapped while the ring is borrowed; the slice is
                // handed out for that long only.
                Some(seg) => drop(seg.write(unsafe { Seg::new(ptr, left as u32) })),
                None => room = false,
            }
            used += 1;
        }
        Ok(())
    })?;
    if !room {
        return Ok(None);
    }
    let (mine, rest) = segs.split_at_mut(used);
    // SAFETY: the walk has written each of the first `used`.
    let mine: &'a [Seg<'a>] = unsafe { std::slice::from_raw_parts(mine.as_ptr().cast(), used) };
    let len = bytes.saturating_sub(sends.header as u64);
    if len == 0 || len > FRAME_MAX as u64 {
        return Ok(Some((None, rest)));
    }
    let head = &head[..short];
    let mut offload = Offload::NONE;
    if sends.offloads {
        let Some(said) = header.first_chunk().and_then(|bytes| sends.accept(bytes, len as usize, head))
        else {
            return Ok(Some((None, rest)));
        };
        offload = said;
    }
    let (tail, more) = mine.split_first().map_or((Seg::EMPTY, &[][..]), |(tail, more)| (*tail, more));
    Ok(Some((Some(Frame::scattered(head, tail, more, offload)), rest)))
}
