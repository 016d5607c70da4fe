//! From a guest: transmit buffers become frames that are lent to the engine where they lie.
//!
//! Only the head of each frame is copied, first, and from then on nobody looks at the original of
//! those bytes. The virtio-net header in front is read when the guest negotiated something that it
//! could say with it, and otherwise not at all: it would be one more cache line from another core.

use super::chain::{Run, STEPS};
use super::copy;
use super::protocol::feature;
use super::ring::{Buf, RingFault};
use super::vring::{Loan, Vring};
#[cfg(target_arch = "x86_64")]
use crate::compare;
use crate::frame::{Arena, BURST, Burst, ENOUGH, FRAME_MAX, Frame, HEAD, Seg};
use crate::offload::Offload;
use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, compiler_fence};

/// Buffers to take ahead: a burst, and more whose first lines arrive while the burst is worked on.
pub const AHEAD: usize = BURST + 32;
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
    let (heads, segs, _) = arena.parts();
    lend_any(ring, waiting, sends, (heads, segs), burst)
}

/// [`lend`] with moves as wide as AVX has them, which makes it cheap to compare the heads as well.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn lend_avx2<'a>(
    ring: &'a mut Vring,
    waiting: usize,
    sends: &Sends,
    arena: &'a mut Arena,
    burst: &mut Burst<'a>,
) -> bool {
    let (heads, segs, ports) = arena.parts();
    let more = lend_any(ring, waiting, sends, (heads, segs), burst);
    burst.alike = if burst.bare { compare::all(burst, ports) } else { None };
    more
}

#[inline(always)]
fn lend_any<'a>(
    ring: &'a mut Vring,
    waiting: usize,
    sends: &Sends,
    (heads, mut segs): (&'a mut [u8], &'a mut [MaybeUninit<Seg<'static>>]),
    burst: &mut Burst<'a>,
) -> bool {
    let n = waiting.min(burst.room());
    let mut more = waiting > n;
    let mut loan = Loan::default();
    let mut bytes = 0;
    // Another ring's may be in there.
    let mut bare = burst.bare || burst.is_empty();
    ring.hush();
    ring.steps.set(STEPS);
    let ring: &'a Vring = ring;
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
                // This burst has no room for its runs, or looked at enough, so it is the first of the next one.
                Ok(None) | Err(RingFault::Costly) if i > 0 => {
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
                if bytes >= ENOUGH && (bytes >= burst.enough || 4 * loan.buffers >= 3 * waiting) {
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
    let mut front = Front { header: [0; HEADER_MAX], got: 0, head, short: 0 };
    let mut rest = Rest { segs, used: 0, first: Seg::EMPTY, last: Seg::EMPTY, room: true };
    let mut bytes = 0u64;
    ring.walk::<false>(i, &mut |run| {
        bytes += u64::from(run.len);
        let (mut ptr, mut left) = (run.ptr.cast_const(), run.len as usize);
        if front.short < HEAD {
            let n = front.fill(run, sends.header);
            // SAFETY: it took n bytes of the run.
            ptr = unsafe { ptr.add(n) };
            left -= n;
        }
        if left > 0 {
            // SAFETY: the rest of the run, which is mapped while the ring is borrowed; it is handed out for that long only.
            rest.push(unsafe { Seg::new(ptr, left as u32) });
        }
        Ok(())
    })?;
    let Front { header, head, short, .. } = front;
    let Some((tail, more, segs)) = rest.done() else { return Ok(None) };
    let len = bytes.saturating_sub(sends.header as u64);
    if len == 0 || len > FRAME_MAX as u64 {
        return Ok(Some((None, segs)));
    }
    let head = &head[..short];
    let mut offload = Offload::NONE;
    if sends.offloads {
        let Some(said) = header.first_chunk().and_then(|bytes| sends.accept(bytes, len as usize, head))
        else {
            return Ok(Some((None, segs)));
        };
        offload = said;
    }
    Ok(Some((Some(Frame::scattered(head, tail, more, offload)), segs)))
}

/// What a chain begins with: how much of the virtio-net header and of the head is there.
struct Front<'h> {
    header: [u8; HEADER_MAX],
    got: usize,
    head: &'h mut [u8; HEAD],
    short: usize,
}

impl Front<'_> {
    /// Copy what belongs here from the beginning of a run of the chain, whose header takes `header` bytes. How much that was.
    fn fill(&mut self, run: Run, header: usize) -> usize {
        let (mut ptr, mut left) = (run.ptr.cast_const(), run.len as usize);
        let parts =
            [(&mut self.header[..], &mut self.got, header), (&mut self.head[..], &mut self.short, HEAD)];
        for (part, at, end) in parts {
            let n = left.min(end - *at);
            // SAFETY: the run is guest memory that the ring keeps mapped, n is within what is left of it; the parts are
            // private and `end` long at least.
            unsafe {
                copy::short(part[*at..].as_mut_ptr(), ptr, n);
                ptr = ptr.add(n);
            }
            *at += n;
            left -= n;
        }
        run.len as usize - left
    }
}

/// What a chain holds behind the head, in as few runs as possible: what lies side by side is one, as mostly all of it does
/// that Linux sends at once.
struct Rest<'a> {
    /// Room for the runs of this chain and those behind it, of which so many are used.
    segs: &'a mut [MaybeUninit<Seg<'static>>],
    used: usize,
    /// The first run, and the one that may grow yet.
    first: Seg<'static>,
    last: Seg<'static>,
    room: bool,
}

impl<'a> Rest<'a> {
    #[inline(always)]
    fn push(&mut self, run: Seg<'static>) {
        if !self.last.join(&run) {
            self.close();
            self.last = run;
        }
    }

    /// The latest run grows no further.
    #[inline(always)]
    fn close(&mut self) {
        if self.first.is_empty() {
            self.first = self.last;
            return;
        }
        match self.segs.get_mut(self.used) {
            Some(seg) => drop(seg.write(self.last)),
            None => self.room = false,
        }
        self.used += 1;
    }

    /// The first run, the others, and the room that is left for other chains; None if there was not enough.
    #[allow(clippy::type_complexity)]
    fn done(mut self) -> Option<(Seg<'a>, &'a [Seg<'a>], &'a mut [MaybeUninit<Seg<'static>>])> {
        self.close();
        if !self.room {
            return None;
        }
        let (mine, rest) = self.segs.split_at_mut(self.used);
        // SAFETY: `close` has written each of the first `used`.
        let mine: &'a [Seg<'a>] = unsafe { std::slice::from_raw_parts(mine.as_ptr().cast(), self.used) };
        Some((self.first, mine, rest))
    }
}
