//! One direction of a link: what was sent and has not arrived.
//!
//! ```text
//! put -> [queue, while the wire is busy] -> wire -> lost? damaged? twice? -> [in flight] -> arrived
//! ```
//!
//! Everything is worked out from the times at which frames came, not from when somebody looked: the
//! wire takes the next frame at the moment when it is free, and it arrives at the moment that follows
//! from its fate. So a way looked at late gives the same as one looked at in time, exactly.
//!
//! Memory is bounded by the queue's limits, and by [`BYTES`] and [`FRAMES`] in all: what counts is the
//! memory that a frame holds, not its length (`spare.rs`).

use super::codel::Codel;
use super::fates::Fates;
use super::impair::{Aqm, Impair};
use super::spare::{Spare, held};
use crate::frame::TxFrame;
use crate::offload::Offload;
use crate::origin::Origin;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use switch::{DropReason, Handover, Nanos, Place};

/// Frames that may have arrived and not been taken: the far switch takes them in the same turn.
pub(super) const FRAMES: usize = 16_384;
/// Bytes of memory of all frames that one direction holds: 100 ms of 5 Gbit/s.
const BYTES: usize = 64 << 20;
/// Frames on the wire, whatever their size.
const FLYING: usize = 262_144;
/// What counts as a full frame to CoDel.
const FULL: u64 = 1514;

/// A frame on its way, in memory of its own.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub offload: Offload,
    /// Where its sender stands in a private VLAN, as the sending switch said.
    pub place: Place,
    pub origin: Origin,
}

/// In flight. The order is that of arrival, then that of sending.
#[derive(Debug)]
struct Flying {
    at: Nanos,
    number: u64,
    buffer: Buffer,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the top of this file.
#[derive(Debug)]
pub struct Way {
    impair: Impair,
    /// Frames pass as they come.
    plain: bool,
    fates: Fates,
    /// Waiting for the wire, with the time when they came.
    queue: VecDeque<(Nanos, Buffer)>,
    /// Their bytes.
    queued: u64,
    codel: Codel,
    /// When the wire is free.
    free: Nanos,
    /// Frames that were sent before the one that is on the wire until then.
    before_wire: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    /// Frames that were sent so far.
    number: u64,
    /// When the last frame arrives of those that keep their order.
    latest: Nanos,
    arrived: VecDeque<Buffer>,
    /// Bytes of memory of all frames in here.
    held: usize,
    /// Dropped after they were taken, by reason.
    losses: Vec<(DropReason, u64)>,
    spare: Spare,
}

impl Way {
    /// A way that does nothing to frames; `seed` for when it will.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Way {
            impair: Impair::default(),
            plain: true,
            fates: Fates::new(seed),
            queue: VecDeque::new(),
            queued: 0,
            codel: Codel::default(),
            free: 0,
            before_wire: 0,
            flying: BinaryHeap::new(),
            number: 0,
            latest: 0,
            arrived: VecDeque::new(),
            held: 0,
            losses: Vec::new(),
            spare: Spare::default(),
        }
    }

    /// What it does to frames from now on. Those on their way go on as they were sent, but for the one that a
    /// faster wire is sending: the others wait for it.
    pub fn set(&mut self, impair: Impair, now: Nanos) {
        self.advance(now);
        self.plain = impair.is_none();
        self.hasten(impair.rate, now);
        self.impair = impair;
        self.advance(now);
    }

    /// The wire gets this rate: if it is a higher one, what is left of the frame on it goes at that.
    fn hasten(&mut self, rate: u64, now: Nanos) {
        let left = self.free.saturating_sub(now);
        let bits = u128::from(left) * u128::from(self.impair.rate);
        let will_be = bits.checked_div(u128::from(rate)).unwrap_or(0);
        let sooner = left.saturating_sub(Nanos::try_from(will_be).unwrap_or(Nanos::MAX));
        if sooner == 0 {
            return;
        }
        self.free -= sooner;
        self.latest = 0;
        let mut flying = std::mem::take(&mut self.flying).into_vec();
        flying.sort_unstable_by_key(|Reverse(one)| one.number);
        for Reverse(one) in &mut flying {
            if one.number > self.before_wire {
                one.at = one.at.saturating_sub(sooner).max(self.latest);
            }
            self.latest = self.latest.max(one.at);
        }
        self.flying = flying.into();
    }

    #[must_use]
    pub fn impair(&self) -> &Impair {
        &self.impair
    }

    #[must_use]
    pub fn plain(&self) -> bool {
        self.plain
    }

    /// Send a frame of such an origin. When it is known at once to be lost: why.
    pub fn put(&mut self, now: Nanos, frame: &TxFrame<'_>, origin: Origin) -> Result<(), DropReason> {
        let len = frame.len();
        if self.held + held(len) > BYTES {
            return Err(DropReason::LinkMemory);
        }
        if self.plain && self.flying.is_empty() && self.queue.is_empty() {
            if self.arrived.len() >= FRAMES {
                return Err(DropReason::LinkQueue);
            }
            let buffer = self.copy(frame, origin);
            self.arrived.push_back(buffer);
            return Ok(());
        }
        self.advance(now);
        let Impair { rate, queue, mtu, .. } = &self.impair;
        if *mtu != 0 && payload(frame) > *mtu as usize {
            return Err(DropReason::TxTooBig);
        }
        if *rate != 0 || !self.queue.is_empty() {
            let full = self.queue.len() >= queue.packets as usize
                || queue.bytes != 0 && self.queued + len as u64 > queue.bytes;
            if full && self.free > now {
                return Err(DropReason::LinkQueue);
            }
            let buffer = self.copy(frame, origin);
            self.queued += len as u64;
            self.queue.push_back((now, buffer));
            self.advance(now);
            return Ok(());
        }
        if self.fates.lost(&self.impair) {
            return Err(DropReason::ImpairLoss);
        }
        let buffer = self.copy(frame, origin);
        let sent = self.fly(now, buffer);
        self.advance(now);
        sent
    }

    fn copy(&mut self, frame: &TxFrame<'_>, origin: Origin) -> Buffer {
        let mut bytes = self.spare.take(frame.len());
        bytes.resize(frame.len(), 0);
        frame.copy_to(&mut bytes);
        self.held += held(bytes.len());
        Buffer { bytes, offload: frame.offload(), place: frame.edit.place, origin }
    }

    /// The wire sent a frame that is not lost, at `sent`.
    fn fly(&mut self, sent: Nanos, mut buffer: Buffer) -> Result<(), DropReason> {
        if self.flying.len() >= FLYING {
            self.drop(buffer);
            return Err(DropReason::LinkMemory);
        }
        let more = held(buffer.bytes.len());
        if self.fates.duplicated(&self.impair) && self.held + more <= BYTES {
            self.held += more;
            let mut bytes = self.spare.take(buffer.bytes.len());
            bytes.extend_from_slice(&buffer.bytes);
            self.launch(sent, Buffer { bytes, ..buffer });
        }
        self.fates.corrupt(&self.impair, &mut buffer.bytes);
        self.launch(sent, buffer);
        Ok(())
    }

    fn launch(&mut self, sent: Nanos, buffer: Buffer) {
        let delay = self.fates.delay(&self.impair);
        let at = if self.fates.overtakes(&self.impair) {
            sent
        } else {
            self.latest = self.latest.max(sent.saturating_add(delay));
            self.latest
        };
        self.number += 1;
        self.flying.push(Reverse(Flying { at, number: self.number, buffer }));
    }

    /// Time has come to `now`.
    pub fn advance(&mut self, now: Nanos) {
        while let Some((came, _)) = self.queue.front() {
            let begin = self.free.max(*came);
            if begin > now {
                break;
            }
            let Some((came, buffer)) = self.queue.pop_front() else { break };
            self.queued -= buffer.bytes.len() as u64;
            if let Aqm::Codel { target, interval } = self.impair.queue.aqm
                && self.codel.drops(begin, begin - came, self.queued <= FULL, target, interval)
            {
                self.drop(buffer);
                self.lost(DropReason::LinkAqm);
                continue;
            }
            let bits = buffer.bytes.len() as u128 * 8 * 1_000_000_000;
            let busy = bits.checked_div(u128::from(self.impair.rate)).unwrap_or(0) as Nanos;
            self.free = begin.saturating_add(busy);
            self.before_wire = self.number;
            if self.fates.lost(&self.impair) {
                self.drop(buffer);
                self.lost(DropReason::ImpairLoss);
            } else if let Err(reason) = self.fly(self.free, buffer) {
                self.lost(reason);
            }
        }
        while self.flying.peek().is_some_and(|Reverse(first)| first.at <= now) {
            if let Some(Reverse(first)) = self.flying.pop() {
                self.arrived.push_back(first.buffer);
            }
        }
    }

    /// When `advance` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        let wire = self.queue.front().map(|(came, _)| self.free.max(*came));
        let flying = self.flying.peek().map(|Reverse(first)| first.at);
        wire.into_iter().chain(flying).min()
    }

    fn drop(&mut self, buffer: Buffer) {
        self.held -= held(buffer.bytes.len());
        self.spare.keep(buffer.bytes);
    }

    fn lost(&mut self, reason: DropReason) {
        match self.losses.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, n)) => *n += 1,
            None => self.losses.push((reason, 1)),
        }
    }

    /// Frames that were dropped after `put` had taken them, since the last call.
    pub fn losses(&mut self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.losses.drain(..)
    }

    /// Whether a frame has arrived.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Take up to `most` frames that have arrived; whether there are more.
    pub fn take(&mut self, most: usize, into: &mut Vec<Buffer>) -> bool {
        let n = self.arrived.len().min(most);
        for buffer in self.arrived.drain(..n) {
            self.held -= held(buffer.bytes.len());
            into.push(buffer);
        }
        !self.arrived.is_empty()
    }

    /// Buffers that were taken are not looked at any more.
    pub fn give_back(&mut self, buffers: &mut Vec<Buffer>) {
        for buffer in buffers.drain(..) {
            self.spare.keep(buffer.bytes);
        }
    }

    /// Lose what is on its way in these VLANs, whose frames are tagged. In the queue others move up.
    pub fn lose(&mut self, handover: &Handover) {
        let (mut lost, mut queued, mut memory) = (0, 0, 0);
        let mut stays = |buffer: &Buffer, waits: bool| {
            let stays = !vlan(&buffer.bytes).is_some_and(|vlan| handover.contains_key(&vlan));
            if !stays {
                let len = buffer.bytes.len();
                lost += 1;
                memory += held(len);
                queued += if waits { len as u64 } else { 0 };
            }
            stays
        };
        self.queue.retain(|(_, buffer)| stays(buffer, true));
        self.flying.retain(|Reverse(flying)| stays(&flying.buffer, false));
        self.arrived.retain(|buffer| stays(buffer, false));
        self.queued -= queued;
        self.held -= memory;
        for _ in 0..lost {
            self.lost(DropReason::TxNotMember);
        }
    }

    /// The cable is cut: all that is on its way is lost.
    pub fn clear(&mut self) {
        let lost = self.queue.len() + self.flying.len() + self.arrived.len();
        for _ in 0..lost {
            self.lost(DropReason::TxNoCarrier);
        }
        self.queue.clear();
        self.flying.clear();
        self.arrived.clear();
        self.queued = 0;
        self.held = 0;
        self.latest = 0;
        self.free = 0;
        self.codel = Codel::default();
    }
}

/// The VLAN that a frame is in, as its first tag says.
fn vlan(bytes: &[u8]) -> Option<u16> {
    match bytes.get(12..16) {
        Some(&[0x81, 0, high, low]) => Some(u16::from_be_bytes([high & 0x0f, low])),
        _ => None,
    }
}

/// Bytes behind the Ethernet header and its tags.
#[must_use]
pub fn payload(frame: &TxFrame<'_>) -> usize {
    let mut scratch = [0; crate::frame::HEAD + 4];
    let head = frame.head(&mut scratch);
    let mut from = 14;
    while matches!(head.get(from - 2..from), Some([0x81, 0] | [0x88, 0xa8])) {
        from += 4;
    }
    frame.len().saturating_sub(from)
}

#[cfg(test)]
mod tests;
