//! A frame on its walk: who owns its bytes, and for how long.
//!
//! A door's `rx_burst` lends frames for one burst. Their payload stays where it is: in the guest's
//! own memory (virtio rings), or in the engine's arena (everything that is read from a file
//! descriptor). Each egress copies or sends what it needs before its `tx_burst` returns, so a frame
//! between two guests is copied once and nothing is ever reference-counted.
//!
//! Guest memory is hostile: another core may rewrite it while we look. Therefore
//!  * the first `HEAD` bytes are copied to private memory *first*, only that copy is parsed, and
//!    only that copy is sent on: what was checked is what leaves;
//!  * the rest is only ever copied, through raw pointers ([`Seg`]), never borrowed as `&[u8]`, which
//!    would promise the compiler that nobody writes there.
//!
//! The layout of [`Frame`] is one cache line: private head, the contiguous remainder, and for
//! chains the further segments.

use crate::offload::Offload;
use crate::origin::Origin;
use arrayvec::ArrayVec;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use switch::{Alike, Place, PortId, TagEdit};

/// Frames handled together; the unit of work everywhere.
pub const BURST: usize = 64;

/// Bytes of each frame that are private, and thus safe to parse: Ethernet, two tags, IPv6 with
/// extension headers and neighbour discovery options, or IPv4 with options and TCP.
pub const HEAD: usize = 128;

/// The longest frame there is: a GSO super-frame of 65,535 bytes of IP behind Ethernet and two tags.
pub const FRAME_MAX: usize = 65_535 + 14 + 8;

/// A head with its tag edited: the largest head and an inserted tag.
pub type HeadScratch = [u8; HEAD + 4];

/// A run of payload bytes that live for `'a` but that somebody else may be writing to.
///
/// Packed, so that a [`Frame`] has room for who sent it: 12 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub struct Seg<'a> {
    ptr: *const u8,
    len: u32,
    life: PhantomData<&'a [u8]>,
}

impl<'a> Seg<'a> {
    /// No bytes.
    pub const EMPTY: Seg<'static> =
        Seg { ptr: std::ptr::NonNull::dangling().as_ptr(), len: 0, life: PhantomData };

    /// # Safety
    /// `ptr..ptr + len` must be mapped and readable for all of `'a`. Its contents may change.
    #[inline]
    #[must_use]
    pub unsafe fn new(ptr: *const u8, len: u32) -> Seg<'a> {
        Seg { ptr, len, life: PhantomData }
    }

    #[inline]
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Without its first `n` bytes; empty when it has no more than that.
    #[inline]
    #[must_use]
    pub fn skip(self, n: usize) -> Seg<'a> {
        let n = n.min(self.len());
        // SAFETY: n <= len, so the pointer stays within (or one past) the run it was made for.
        Seg { ptr: unsafe { self.ptr.add(n) }, len: self.len - n as u32, life: PhantomData }
    }

    /// Take in the `next` run, if that begins where this one ends and both are no longer than a frame. Whether it was done.
    #[inline(always)]
    pub fn join(&mut self, next: &Seg<'a>) -> bool {
        let len = self.len() + next.len();
        let behind = self.ptr.wrapping_add(self.len()) == next.as_ptr() && len <= FRAME_MAX;
        self.len = if behind { len as u32 } else { self.len };
        behind
    }

    /// Copy the first `dst.len()` bytes out; `dst` must not be longer than the run.
    #[inline]
    pub fn read(&self, dst: &mut [u8]) {
        assert!(dst.len() <= self.len());
        // SAFETY: the run is readable for `'a` and at least dst.len() long; dst is private memory,
        // so the two can't overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr, dst.as_mut_ptr(), dst.len()) }
    }
}

impl<'a> From<&'a [u8]> for Seg<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        debug_assert!(u32::try_from(bytes.len()).is_ok());
        Seg { ptr: bytes.as_ptr(), len: bytes.len() as u32, life: PhantomData }
    }
}

// SAFETY: a Seg is a borrow of bytes; moving it to another thread moves no ownership.
unsafe impl Send for Seg<'_> {}

/// One received frame, without its FCS.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Private copy of the first `min(len, HEAD)` bytes (for memory that only we write to, the
    /// bytes themselves).
    head: &'a [u8],
    /// What follows the head, contiguous ...
    tail: Seg<'a>,
    /// ... and, for a chain, what follows that.
    more: &'a [Seg<'a>],
    len: u32,
    /// Checksum and segmentation state, as in a virtio-net header.
    pub offload: Offload,
    /// From a link: where its sender stands in a private VLAN. No other door says.
    pub place: Place,
    /// From a link: the port by which it came into the fabric. Beyond all ports where nobody said.
    pub sender: PortId,
}

const _: () = assert!(size_of::<Frame<'_>>() == 64);

impl<'a> Frame<'a> {
    /// A frame in memory that nobody else writes to for `'a`.
    #[inline]
    #[must_use]
    pub fn flat(bytes: &'a [u8], offload: Offload) -> Frame<'a> {
        let (head, tail) = bytes.split_at(bytes.len().min(HEAD));
        let (tail, len) = (tail.into(), bytes.len() as u32);
        Frame { head, tail, more: &[], len, offload, place: Place::UNTOLD, sender: PortId::MAX }
    }

    /// A frame whose `head` was copied out and whose remaining bytes are `tail`, then `more`.
    #[inline]
    #[must_use]
    pub fn scattered(head: &'a [u8], tail: Seg<'a>, more: &'a [Seg<'a>], offload: Offload) -> Frame<'a> {
        let len = head.len() + tail.len() + more.iter().map(Seg::len).sum::<usize>();
        let (len, place, sender) = (len as u32, Place::UNTOLD, PortId::MAX);
        Frame { head, tail, more, len, offload, place, sender }
    }

    /// The same with a place and a sender beside it.
    #[inline]
    #[must_use]
    pub fn at(self, place: Place, sender: PortId) -> Frame<'a> {
        Frame { place, sender, ..self }
    }

    /// Bytes that can be parsed safely: the first `min(len, HEAD)`.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The payload behind the head, as runs, in order; some may be empty.
    #[inline]
    pub fn body(&self) -> impl Iterator<Item = Seg<'a>> + use<'a> {
        std::iter::once(self.tail).chain(self.more.iter().copied())
    }

    /// The contiguous run behind the head, and the further ones (empty for most frames).
    #[inline]
    #[must_use]
    pub fn tail(&self) -> (Seg<'a>, &'a [Seg<'a>]) {
        (self.tail, self.more)
    }

    /// Length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the switch is shown.
    #[inline]
    #[must_use]
    pub fn view(&self) -> switch::View<'a> {
        if self.offload.gso_type == Offload::GSO_NONE {
            let plain = switch::View::plain(self.head, self.len);
            return switch::View { place: self.place, sender: self.sender, ..plain };
        }
        let segments = self.offload.segments(self.len as usize) as u16;
        let (head, len, place, sender) = (self.head, self.len, self.place, self.sender);
        switch::View { head, len, gso: true, segments, headers: self.offload.hdr_len, place, sender }
    }
}

/// A frame as it leaves by one port: the same bytes, with its VLAN tag edited.
#[derive(Clone, Copy, Debug)]
pub struct TxFrame<'a> {
    pub frame: &'a Frame<'a>,
    pub edit: TagEdit,
}

impl<'a> TxFrame<'a> {
    /// Length in bytes after the edit.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        (self.frame.len as i32 + self.edit.delta()) as usize
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The private head as it leaves. `scratch` is only used when the tag changes; what follows the
    /// head is [`Frame::body`], unchanged.
    #[inline]
    #[must_use]
    pub fn head<'s>(&self, scratch: &'s mut HeadScratch) -> &'s [u8]
    where
        'a: 's,
    {
        let head = self.frame.head;
        if self.edit == TagEdit::NONE || head.len() < 12 {
            return head;
        }
        let rest = &head[(12 + usize::from(self.edit.strip)).min(head.len())..];
        scratch[..12].copy_from_slice(&head[..12]);
        let mut at = 12;
        if self.edit.insert != 0 {
            scratch[12..16].copy_from_slice(&self.edit.insert.to_be_bytes());
            at = 16;
        }
        scratch[at..at + rest.len()].copy_from_slice(rest);
        &scratch[..at + rest.len()]
    }

    /// The offload state with its offsets moved along with the tag.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.frame.offload.shifted(self.edit.delta())
    }

    /// Copy the first `dst.len()` bytes of the frame, edited, which must have as many.
    pub fn copy_beginning(&self, dst: &mut [u8]) {
        let mut scratch = [0; HEAD + 4];
        let head = self.head(&mut scratch);
        let n = head.len().min(dst.len());
        let (near, mut rest) = dst.split_at_mut(n);
        near.copy_from_slice(&head[..n]);
        for run in self.frame.body() {
            let (now, later) = rest.split_at_mut(run.len().min(rest.len()));
            run.read(now);
            rest = later;
        }
    }

    /// Copy the whole frame, edited, to the start of `dst`; `None` when it doesn't fit.
    #[inline]
    pub fn copy_to(&self, dst: &mut [u8]) -> Option<usize> {
        let len = self.len();
        let dst = dst.get_mut(..len)?;
        let mut scratch = [0; HEAD + 4];
        let head = self.head(&mut scratch);
        let (first, mut rest) = dst.split_at_mut(head.len());
        first.copy_from_slice(head);
        for seg in self.frame.body() {
            let (now, later) = rest.split_at_mut(seg.len());
            seg.read(now);
            rest = later;
        }
        Some(len)
    }
}

/// Bytes after which a burst is long enough where others wait: a few super-frames. Copying them takes a core 10 to 50 us,
/// in which nobody else has a turn.
pub const ENOUGH: usize = 640 << 10;

/// The frames of one turn at one door: as a vector of them, with room for so many as the door may lend.
#[derive(Debug)]
pub struct Burst<'a> {
    frames: ArrayVec<Frame<'a>, BURST>,
    room: usize,
    /// With so many bytes it is long enough, for doors whose frames may be long. Beyond [`ENOUGH`] a door keeps a quarter of
    /// what it has for the next burst: what is given back for this one is filled again meanwhile.
    pub enough: usize,
    /// From a link: who sent each of them. No other door says, for there it is whose door it is.
    pub origins: Option<&'a [Origin]>,
    /// It is known that none of them is offloaded ([`Offload::NONE`]), so that nobody need ask each.
    pub bare: bool,
    /// What is known of all of them; doors say so that copy their heads.
    pub alike: Option<Alike<'a>>,
}

impl<'a> Burst<'a> {
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Burst::of(BURST)
    }

    /// One for `room` frames at most, at least one: what its guest may send now.
    #[inline]
    #[must_use]
    pub fn of(room: usize) -> Self {
        Burst {
            frames: ArrayVec::new(),
            room: room.clamp(1, BURST),
            enough: ENOUGH,
            origins: None,
            bare: false,
            alike: None,
        }
    }

    /// How many more frames there is room for.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.room.saturating_sub(self.frames.len())
    }

    /// Whether there is no room for another frame.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }
}

impl Default for Burst<'_> {
    fn default() -> Self {
        Burst::new()
    }
}

impl<'a> Deref for Burst<'a> {
    type Target = ArrayVec<Frame<'a>, BURST>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.frames
    }
}

impl DerefMut for Burst<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.frames
    }
}

impl<'b, 'a> IntoIterator for &'b Burst<'a> {
    type Item = &'b Frame<'a>;
    type IntoIter = std::slice::Iter<'b, Frame<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.frames.iter()
    }
}

/// Memory that frames read from file descriptors lie in for one burst. One for the whole engine,
/// because doors take turns; so it stays warm in the cache however many doors there are.
#[derive(Debug)]
pub struct Arena {
    bytes: Box<[u8]>,
    segs: Box<[MaybeUninit<Seg<'static>>]>,
    words: Box<[u32; BURST]>,
}

impl Arena {
    /// Room for any frame, and a cache line, so that slots of a power of two don't share cache sets.
    pub const SLOT: usize = FRAME_MAX.next_multiple_of(64) + 64;

    /// Room for a burst of the longest frames. Pages that are never needed are never touched.
    pub const SIZE: usize = BURST * Self::SLOT;
    /// Runs of bytes that the chained buffers of one burst may have in all.
    pub const SEGS: usize = 4096;

    #[must_use]
    pub fn new() -> Self {
        Arena {
            bytes: vec![0; Self::SIZE].into_boxed_slice(),
            segs: Box::new_uninit_slice(Self::SEGS),
            words: Box::new([0; BURST]),
        }
    }

    /// All of it. A door reads at the front, splits off what it got, and goes on behind.
    #[inline]
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The same in [`BURST`] slots, for calls that receive many frames of unknown lengths at once.
    pub fn slots(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        self.bytes.chunks_exact_mut(Self::SLOT)
    }

    /// Slot number `index`, below [`BURST`].
    #[inline]
    #[must_use]
    pub fn slot(&self, index: usize) -> &[u8] {
        &self.bytes[index * Self::SLOT..(index + 1) * Self::SLOT]
    }

    /// All of it, room for the runs of frames that lie in pieces in a guest's memory, and a word for each frame. What an
    /// earlier burst left there is no longer valid.
    #[inline]
    pub fn parts(&mut self) -> (&mut [u8], &mut [MaybeUninit<Seg<'static>>], &mut [u32; BURST]) {
        (&mut self.bytes, &mut self.segs, &mut self.words)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Arena::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| i as u8).collect()
    }

    #[test]
    fn a_flat_frame_copies_out_unchanged() {
        for n in [14, 60, HEAD, HEAD + 1, 1514] {
            let data = bytes(n);
            let frame = Frame::flat(&data, Offload::NONE);
            let mut out = vec![0; n];
            assert_eq!(TxFrame { frame: &frame, edit: TagEdit::NONE }.copy_to(&mut out), Some(n));
            assert_eq!(out, data);
        }
    }

    #[test]
    fn a_scattered_frame_keeps_its_order() {
        let data = bytes(1000);
        let more = [Seg::from(&data[400..401]), Seg::EMPTY, Seg::from(&data[401..])];
        let frame = Frame::scattered(&data[..HEAD], Seg::from(&data[HEAD..400]), &more, Offload::NONE);
        let mut out = vec![0; 1000];
        assert_eq!(TxFrame { frame: &frame, edit: TagEdit::NONE }.copy_to(&mut out), Some(1000));
        assert_eq!(out, data);
    }

    #[test]
    fn a_run_takes_in_the_next_where_it_ends_and_as_long_as_a_frame_at_most() {
        let data = bytes(FRAME_MAX + 2);
        let mut run = Seg::from(&data[1..20]);
        assert!(!run.join(&Seg::from(&data[21..30])), "a gap");
        assert!(!run.join(&Seg::from(&data[..1])), "it is in front");
        assert!(run.join(&Seg::from(&data[20..31])));
        assert!(!run.join(&Seg::from(&data[31..])), "longer than any frame");
        let mut out = [0; 30];
        run.read(&mut out);
        assert_eq!((run.len(), &out[..]), (30, &data[1..31]));
        let mut none = Seg::EMPTY;
        assert!(!none.join(&run));
    }

    #[test]
    fn tags_are_stripped_inserted_and_replaced() {
        let data = bytes(200);
        let frame = Frame::flat(&data, Offload::NONE);
        let tag = 0x8100_0005_u32;
        for (strip, insert) in [(4, 0), (0, tag), (4, tag)] {
            let tx = TxFrame { frame: &frame, edit: TagEdit { strip, insert, ..TagEdit::NONE } };
            let mut want = data[..12].to_vec();
            if insert != 0 {
                want.extend(tag.to_be_bytes());
            }
            want.extend(&data[12 + usize::from(strip)..]);
            let mut out = vec![0; 300];
            assert_eq!(tx.copy_to(&mut out), Some(want.len()));
            assert_eq!(out[..want.len()], want);
        }
    }

    #[test]
    fn a_destination_too_small_is_refused() {
        let data = bytes(100);
        let frame = Frame::flat(&data, Offload::NONE);
        assert_eq!(TxFrame { frame: &frame, edit: TagEdit::NONE }.copy_to(&mut [0; 99]), None);
    }
}
