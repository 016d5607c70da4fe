//! Which buffers are in flight, kept where it outlives us.
//!
//! We make a piece of shared memory, the front-end keeps it, and hands it to whoever comes after us
//! (`vhost-user.rst`, "Inflight I/O tracking"). Before a buffer is used its number is noted there;
//! when it was given back, it is crossed out. A successor finds what a killed process was holding
//! and does that first: nothing is lost, nothing leaks.
//!
//! One difficulty: giving back takes two writes, one to the guest's ring and one here, and the
//! process may die between them. So before the ring's index moves, the batch that is about to be
//! given back is chained up here (`last_batch_head`, `next`); if the ring's index turns out to be
//! ahead of the one noted here, then that batch was given back and is crossed out now.
//!
//! For a packed ring one place is enough: buffers are given back in the ring's order, and until then
//! their descriptors stand in the ring as the driver wrote them. So what is noted is the place that
//! is given back to next, and, before a batch, the place behind it: which of the two is true after a
//! crash, the ring itself tells.
//!
//! The front-end can write here too. Numbers that are read are checked like a guest's.

use super::mapping::Unmapping;
use super::memory::{MemoryError, Region};
use super::protocol::{InflightSpec, RegionSpec};
use super::ring::{RING_MAX, RingFault, Used};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

/// features u64, version u16, desc_num u16, last_batch_head u16, used_idx u16.
const HEADER: usize = 16;
/// inflight u8, 5 bytes unused, next u16, counter u64.
const ENTRY: usize = 16;
const VERSION: u16 = 1;
/// Packed rings: where `used_idx` and `old_used_idx` are, with the wrap counter as bit 15.
const PLACE: usize = 16;
const OLD_PLACE: usize = 18;

fn queue_bytes(queue_size: u16) -> usize {
    (HEADER + ENTRY * usize::from(queue_size)).next_multiple_of(64)
}

/// Memory for `spec.queues` queues of `spec.queue_size`, and what to tell the front-end about it.
pub fn create(spec: &InflightSpec, queues_max: u16) -> io::Result<(OwnedFd, InflightSpec)> {
    if spec.queues == 0 || spec.queues > queues_max || spec.queue_size == 0 || spec.queue_size > RING_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let size = queue_bytes(spec.queue_size) * usize::from(spec.queues);
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"vnet-inflight".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and owned here alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: no pointers.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((fd, InflightSpec { mmap_size: size as u64, mmap_offset: 0, ..*spec }))
}

/// The memory that a front-end handed us.
#[derive(Clone, Debug)]
pub struct Inflight {
    region: Arc<Region>,
    queues: u16,
    queue_size: u16,
}

impl Inflight {
    /// Of all that was handed to us, only what is needed is mapped.
    pub fn map(
        spec: &InflightSpec,
        fd: &impl AsRawFd,
        unmapping: &Unmapping,
    ) -> Result<Inflight, MemoryError> {
        let needed = queue_bytes(spec.queue_size) as u64 * u64::from(spec.queues);
        if spec.queue_size > RING_MAX || spec.mmap_size < needed || !spec.mmap_offset.is_multiple_of(64) {
            return Err(MemoryError::Range);
        }
        let region = RegionSpec { gpa: 0, size: needed, uva: 0, offset: spec.mmap_offset };
        let region = Arc::new(Region::map(&region, fd, unmapping)?);
        Ok(Inflight { region, queues: spec.queues, queue_size: spec.queue_size })
    }

    /// Whether it was taken away.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.region.struck()
    }

    /// The part of one queue, if there is one and it is large enough for a ring of `size`.
    #[must_use]
    pub fn queue(&self, index: u16, size: u16) -> Option<InflightQueue> {
        if index >= self.queues || size > self.queue_size {
            return None;
        }
        let offset = queue_bytes(self.queue_size) * usize::from(index);
        Some(InflightQueue { inflight: self.clone(), offset, size, counter: 0 })
    }
}

/// What one queue has in flight.
#[derive(Debug)]
pub struct InflightQueue {
    inflight: Inflight,
    offset: usize,
    size: u16,
    counter: u64,
}

impl InflightQueue {
    fn at(&self, byte: usize) -> *mut u8 {
        debug_assert!(byte < queue_bytes(self.size));
        // SAFETY: `map` checked that the region holds queue_bytes for each queue; byte is within that.
        unsafe { self.inflight.region.host().add(self.offset + byte) }
    }

    fn u16(&self, byte: usize) -> &AtomicU16 {
        // SAFETY: in the mapping (see `at`), which the region keeps; all offsets here are multiples
        // of 2 and the region begins at a multiple of 64.
        unsafe { AtomicU16::from_ptr(self.at(byte).cast()) }
    }

    fn version(&self) -> &AtomicU16 {
        self.u16(8)
    }

    fn last_batch_head(&self) -> &AtomicU16 {
        self.u16(12)
    }

    fn used_idx(&self) -> &AtomicU16 {
        self.u16(14)
    }

    fn flag(&self, id: u16) -> &AtomicU8 {
        // SAFETY: as for `u16`; the caller checks id < size.
        unsafe { AtomicU8::from_ptr(self.at(HEADER + ENTRY * usize::from(id))) }
    }

    fn next(&self, id: u16) -> &AtomicU16 {
        self.u16(HEADER + ENTRY * usize::from(id) + 6)
    }

    fn count(&self, id: u16) -> &AtomicU64 {
        // SAFETY: as for `u16`, at multiples of 8.
        unsafe { AtomicU64::from_ptr(self.at(HEADER + ENTRY * usize::from(id) + 8).cast()) }
    }

    /// A ring starts with `used` as its index of what was given back: the buffers a predecessor took
    /// and did not give back, in the order it took them.
    pub fn recover(&mut self, used: u16) -> Result<VecDeque<u16>, RingFault> {
        if self.version().swap(VERSION, Ordering::Relaxed) != VERSION {
            // Fresh: all zeros.
            self.u16(10).store(self.size, Ordering::Relaxed);
            self.used_idx().store(used, Ordering::Relaxed);
            return Ok(VecDeque::new());
        }
        let mut head = self.last_batch_head().load(Ordering::Relaxed);
        for _ in 0..used.wrapping_sub(self.used_idx().load(Ordering::Relaxed)).min(self.size) {
            if head >= self.size {
                return Err(RingFault::InFlight);
            }
            self.flag(head).store(0, Ordering::Relaxed);
            head = self.next(head).load(Ordering::Relaxed);
        }
        self.used_idx().store(used, Ordering::Relaxed);
        let mut open: Vec<(u64, u16)> = (0..self.size)
            .filter(|id| self.flag(*id).load(Ordering::Relaxed) != 0)
            .map(|id| (self.count(id).load(Ordering::Relaxed), id))
            .collect();
        open.sort_unstable();
        self.counter = open.last().map_or(0, |(count, _)| *count);
        Ok(open.into_iter().map(|(_, id)| id).collect())
    }

    /// A buffer was taken from the ring.
    pub fn taken(&mut self, id: u16) {
        if id < self.size {
            self.counter = self.counter.wrapping_add(1);
            self.count(id).store(self.counter, Ordering::Relaxed);
            self.flag(id).store(1, Ordering::Release);
        }
    }

    /// These are about to be given back.
    pub fn giving(&self, batch: &[Used]) {
        for used in batch {
            if used.id() < self.size {
                let head = self.last_batch_head().load(Ordering::Relaxed);
                self.next(used.id()).store(head, Ordering::Relaxed);
                self.last_batch_head().store(used.id(), Ordering::Release);
            }
        }
    }

    /// They were, and the ring's index is `used` now.
    pub fn given(&self, batch: &[Used], used: u16) {
        for entry in batch {
            if entry.id() < self.size {
                self.flag(entry.id()).store(0, Ordering::Release);
            }
        }
        self.used_idx().store(used, Ordering::Release);
    }

    fn place(&self) -> &AtomicU16 {
        self.u16(PLACE)
    }

    fn old_place(&self) -> &AtomicU16 {
        self.u16(OLD_PLACE)
    }

    /// A packed ring starts at `base`, if there was nobody before us, or else where a predecessor
    /// stopped. `was_used` looks whether the descriptor at a place was given back.
    pub fn recover_place(&self, base: u16, was_used: impl Fn(u16) -> bool) -> u16 {
        let mut at = base;
        if self.version().swap(VERSION, Ordering::Relaxed) == VERSION {
            let (old, new) = (self.old_place().load(Ordering::Relaxed), self.place().load(Ordering::Relaxed));
            at = if was_used(old) { new } else { old };
        }
        self.place().store(at, Ordering::Relaxed);
        self.old_place().store(at, Ordering::Relaxed);
        at
    }

    /// A packed ring was stopped in an orderly way: the front-end knows where it goes on.
    pub fn forget_place(&self) {
        self.version().store(0, Ordering::Release);
    }

    /// A packed ring is about to give buffers back, up to `place`.
    pub fn giving_to(&self, place: u16) {
        self.place().store(place, Ordering::Release);
    }

    /// It has.
    pub fn given_to(&self, place: u16) {
        self.old_place().store(place, Ordering::Release);
    }

    /// Nothing is in flight: the ring was stopped in an orderly way.
    pub fn close(&self, used: u16) {
        for id in 0..self.size {
            self.flag(id).store(0, Ordering::Relaxed);
        }
        self.used_idx().store(used, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SPEC: InflightSpec = InflightSpec { mmap_size: 0, mmap_offset: 0, queues: 2, queue_size: 8 };

    fn map(spec: &InflightSpec, fd: &OwnedFd) -> Result<Inflight, MemoryError> {
        Inflight::map(spec, fd, &Unmapping::default())
    }

    fn used(ids: &[u16]) -> Vec<Used> {
        ids.iter().map(|id| Used::new(*id, 0)).collect()
    }

    #[test]
    fn what_was_taken_and_not_given_back_is_found_in_order() {
        let (fd, spec) = create(&SPEC, 2).unwrap();
        let inflight = map(&spec, &fd).unwrap();
        let mut first = inflight.queue(1, 8).unwrap();
        assert!(first.recover(5).unwrap().is_empty());
        for id in [7, 3, 0, 2] {
            first.taken(id);
        }
        first.giving(&used(&[7]));
        first.given(&used(&[7]), 6);
        // Dies after the ring's index moved to 7, before 3 is crossed out.
        first.giving(&used(&[3]));
        let mut second = map(&spec, &fd).unwrap().queue(1, 8).unwrap();
        assert_eq!(second.recover(7).unwrap(), [0, 2]);
        // Dies before the index moved.
        second.giving(&used(&[0]));
        let mut third = map(&spec, &fd).unwrap().queue(1, 8).unwrap();
        assert_eq!(third.recover(7).unwrap(), [0, 2]);
        assert!(inflight.queue(0, 8).unwrap().recover(0).unwrap().is_empty());
    }

    #[test]
    fn impossible_requests_and_contents_are_refused() {
        assert!(create(&InflightSpec { queues: 3, ..SPEC }, 2).is_err());
        assert!(create(&InflightSpec { queue_size: u16::MAX, ..SPEC }, 2).is_err());
        let (fd, spec) = create(&SPEC, 2).unwrap();
        assert!(map(&InflightSpec { mmap_size: spec.mmap_size - 1, ..spec }, &fd).is_err());
        assert!(map(&InflightSpec { queues: 3, ..spec }, &fd).is_err());
        let inflight = map(&InflightSpec { mmap_size: 1 << 50, ..spec }, &fd).unwrap();
        assert_eq!(inflight.region.size, spec.mmap_size, "no more than is needed");
        assert!(inflight.queue(2, 8).is_none());
        assert!(inflight.queue(0, 16).is_none());
        let mut queue = inflight.queue(0, 8).unwrap();
        queue.recover(0).unwrap();
        queue.last_batch_head().store(9, Ordering::Relaxed);
        assert_eq!(queue.recover(3), Err(RingFault::InFlight));
    }
}
