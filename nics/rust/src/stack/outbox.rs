//! Where a guest's frames are made: at the end of what the engine's arena holds already, in place.
//!
//! A packet is written behind room for its Ethernet header ([`Outbox::draft`]). Once it is known
//! where it goes, the header is filled in and the frame is committed; a packet that goes nowhere is
//! simply written over by the next one. What finds no room in this burst waits in [`Waiting`].

use super::packet::ETH;
use crate::frame::{BURST, Burst, Frame};
use crate::offload::Offload;
use arrayvec::ArrayVec;
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// The room that one packet may need: itself at its largest, and once more in fragments.
const PACKET_ROOM: usize = 140_000;

/// A burst in the making.
pub struct Outbox<'a> {
    bytes: &'a mut [u8],
    used: usize,
    frames: ArrayVec<(u32, u32, Offload), BURST>,
    /// Frames that the burst has room for.
    room: usize,
}

impl<'a> Outbox<'a> {
    pub fn new(bytes: &'a mut [u8], room: usize) -> Self {
        Outbox { bytes, used: 0, frames: ArrayVec::new(), room }
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= self.room.min(BURST)
    }

    /// Whether there is room for one more packet, whatever it is.
    pub fn roomy(&self) -> bool {
        !self.is_full() && self.bytes.len() - self.used >= PACKET_ROOM
    }

    /// The packet of `len` bytes that is being made.
    pub fn draft(&mut self, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.used + ETH..self.used + ETH + len)
    }

    /// The frame around the packet of `len` bytes that was made last, and free memory behind it.
    pub fn framed(&mut self, len: usize) -> Option<(&mut [u8], &mut [u8])> {
        self.bytes.get_mut(self.used..)?.split_at_mut_checked(ETH + len)
    }

    /// The frame of `len` bytes in front is finished. Gives it back when the burst is full.
    #[must_use]
    pub fn commit(&mut self, len: usize, offload: Offload) -> Option<Box<[u8]>> {
        let full = self.is_full();
        let frame = self.bytes.get(self.used..self.used + len)?;
        if full {
            return Some(frame.into());
        }
        match self.frames.try_push((self.used as u32, len as u32, offload)) {
            Ok(()) => {
                self.used += len;
                None
            }
            Err(_) => Some(frame.into()),
        }
    }

    /// Add a frame that was made elsewhere; false when it does not fit into this burst.
    #[must_use]
    pub fn push(&mut self, frame: &[u8], offload: Offload) -> bool {
        if self.is_full() {
            return false;
        }
        let Some(to) = self.bytes.get_mut(self.used..self.used + frame.len()) else { return false };
        to.copy_from_slice(frame);
        self.commit(frame.len(), offload).is_none()
    }

    /// Lend the frames to the engine.
    pub fn lend(self, burst: &mut Burst<'a>) {
        let bytes: &'a [u8] = self.bytes;
        for (start, len, offload) in self.frames {
            if let Some(frame) = bytes.get(start as usize..(start + len) as usize)
                && !burst.is_full()
            {
                burst.push(Frame::flat(frame, offload));
            }
        }
    }
}

/// Frames that a burst had no room for: fragments, and what waited for a neighbour's address.
#[derive(Debug, Default)]
pub struct Waiting {
    frames: VecDeque<(Box<[u8]>, Offload)>,
    bytes: usize,
}

impl Waiting {
    /// More than a burst of large fragments; what comes on top is lost, as in any full queue.
    const LIMIT: usize = 1 << 20;

    pub fn push(&mut self, frame: Box<[u8]>, offload: Offload) {
        if self.bytes + frame.len() <= Self::LIMIT {
            self.bytes += frame.len();
            self.frames.push_back((frame, offload));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Move what fits into the burst.
    pub fn drain(&mut self, out: &mut Outbox<'_>) {
        while let Some((frame, offload)) = self.frames.front()
            && out.push(frame, *offload)
        {
            self.bytes -= frame.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }
}

/// What smoltcp takes for its device: one packet in, at most one packet out.
pub struct Wire<'w, 'a> {
    pub rx: Option<&'w [u8]>,
    pub out: &'w mut Outbox<'a>,
    /// Length of the packet that was sent; it is the outbox's draft.
    pub sent: Option<usize>,
}

impl Device for Wire<'_, '_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Send<'t>
    where
        Self: 't;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let bytes = self.rx.take()?;
        Some((
            Received(bytes),
            Send { draft: self.out.bytes.get_mut(self.out.used + ETH..), sent: &mut self.sent },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        if self.sent.is_some() {
            return None;
        }
        Some(Send { draft: self.out.bytes.get_mut(self.out.used + ETH..), sent: &mut self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // What counts is what an interface was made with.
        capabilities(1500, false)
    }
}

/// The longest segment that is left to others to cut: with its headers it fits an IP packet.
const SUPER: NonZeroUsize = NonZeroUsize::new(65_000).unwrap();

/// Checksums are verified before smoltcp sees a packet, and computed after it made one.
pub fn capabilities(mtu: usize, gso: bool) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut caps = DeviceCapabilities::default();
    caps.medium = Medium::Ip;
    caps.max_transmission_unit = mtu;
    caps.checksum = checksum;
    if gso {
        (caps.segmentation.tcpv4, caps.segmentation.tcpv6) = (Some(SUPER), Some(SUPER));
    }
    caps
}

pub struct Received<'t>(&'t [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub struct Send<'t> {
    draft: Option<&'t mut [u8]>,
    sent: &'t mut Option<usize>,
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.draft.and_then(|bytes| bytes.get_mut(..len)) {
            Some(draft) => {
                *self.sent = Some(len);
                f(draft)
            }
            // Not reached while callers ask `roomy` first; the packet is lost like one on a wire.
            None => f(&mut vec![0; len]),
        }
    }
}
