//! The guest's driver: its memory, and its rings in both layouts, step by step.

use super::super::protocol::feature;
use super::front::{GPA, Guest, RX_BUFFER, SIZE};
use std::sync::atomic::{AtomicU16, Ordering};

impl Guest {
    fn at(&self, offset: u64, len: usize) -> *mut u8 {
        assert!(offset + len as u64 <= SIZE);
        // SAFETY: within the mapping, checked above.
        unsafe { self.memory.add(offset as usize) }
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        // SAFETY: `at` checked the range.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.at(offset, bytes.len()), bytes.len()) }
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // SAFETY: `at` checked the range.
        unsafe { std::ptr::copy(self.at(offset, len), bytes.as_mut_ptr(), len) }
        bytes
    }

    pub fn u16(&self, offset: u64) -> &AtomicU16 {
        // SAFETY: `at` checked the range; tests use even offsets.
        unsafe { AtomicU16::from_ptr(self.at(offset, 2).cast()) }
    }

    pub fn u32(&self, offset: u64) -> u32 {
        u32::from_le_bytes(*self.read(offset, 4).first_chunk().unwrap())
    }

    pub fn desc(&self, ring: usize, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = self.rings[ring].desc + u64::from(index) * 16;
        self.write_desc(at, addr, len, flags, next);
    }

    pub fn write_desc(&self, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        self.write(at, &addr.to_le_bytes());
        self.write(at + 8, &len.to_le_bytes());
        self.write(at + 12, &flags.to_le_bytes());
        self.write(at + 14, &next.to_le_bytes());
    }

    /// Make the chain at `head` available.
    pub fn offer(&mut self, ring: usize, head: u16) {
        let r = &self.rings[ring];
        let slot = r.avail + 4 + u64::from(r.next % r.size) * 2;
        self.u16(slot).store(head, Ordering::Relaxed);
        let next = r.next.wrapping_add(1);
        self.rings[ring].next = next;
        self.u16(self.rings[ring].avail + 2).store(next, Ordering::SeqCst);
    }

    /// The buffer of descriptor `index`.
    pub fn buffer(&self, ring: usize, index: u16) -> u64 {
        self.rings[ring].buffers + u64::from(index) * u64::from(RX_BUFFER)
    }

    /// Post one buffer of `len` bytes to receive in; false when all descriptors are in flight.
    pub fn post(&mut self, ring: usize, len: u32) -> bool {
        let Some(index) = self.rings[ring].free.pop() else { return false };
        if self.packed() {
            self.offer_packed(ring, &[(GPA + self.buffer(ring, index), len, 2)], index);
        } else {
            self.desc(ring, index, GPA + self.buffer(ring, index), len, 2, 0);
            self.offer(ring, index);
        }
        true
    }

    /// Send `frame` from one buffer, behind `header`.
    pub fn send_with(&mut self, ring: usize, header: &[u8], frame: &[u8]) {
        let index = self.rings[ring].free.pop().unwrap();
        let at = self.buffer(ring, index);
        self.write(at, header);
        self.write(at + header.len() as u64, frame);
        let len = (header.len() + frame.len()) as u32;
        if self.packed() {
            self.offer_packed(ring, &[(GPA + at, len, 0)], index);
        } else {
            self.desc(ring, index, GPA + at, len, 0, 0);
            self.offer(ring, index);
        }
    }

    pub fn packed(&self) -> bool {
        self.features & feature::RING_PACKED != 0
    }

    /// Make a chain of descriptors (address, length, flags) available in a packed ring.
    pub fn offer_packed(&mut self, ring: usize, descs: &[(u64, u32, u16)], id: u16) {
        let r = &mut self.rings[ring];
        let (desc, size) = (r.desc, r.size);
        if let Some(span) = r.spans.get_mut(usize::from(id)) {
            *span = descs.len() as u16;
        }
        let mut first = None;
        for (i, (addr, len, flags)) in descs.iter().enumerate() {
            let r = &mut self.rings[ring];
            let at = desc + 16 * u64::from(r.next);
            let more = u16::from(i + 1 < descs.len());
            let flags = flags | more | if r.wrap { 0x80 } else { 0x8000 };
            r.next += 1;
            if r.next == size {
                r.next = 0;
                r.wrap = !r.wrap;
            }
            self.write(at, &addr.to_le_bytes());
            self.write(at + 8, &len.to_le_bytes());
            self.write(at + 12, &id.to_le_bytes());
            if i == 0 {
                first = Some((at + 14, flags));
            } else {
                self.u16(at + 14).store(flags, Ordering::Release);
            }
        }
        if let Some((at, flags)) = first {
            self.u16(at).store(flags, Ordering::SeqCst);
        }
    }

    fn used_packed(&mut self, ring: usize) -> Vec<(u32, u32)> {
        let size = usize::from(self.rings[ring].size);
        self.used_within(ring, size)
    }

    /// Used descriptors that the driver has not seen, `most` at most: memory may say anything.
    pub fn used_within(&mut self, ring: usize, most: usize) -> Vec<(u32, u32)> {
        let mut all = vec![];
        loop {
            if all.len() == most {
                return all;
            }
            let r = &self.rings[ring];
            let at = r.desc + 16 * u64::from(r.seen);
            let flags = self.u16(at + 14).load(Ordering::SeqCst) & 0x8080;
            if flags != if r.seen_wrap { 0x8080 } else { 0 } {
                return all;
            }
            let id = self.u16(at + 12).load(Ordering::Relaxed);
            all.push((u32::from(id), self.u32(at + 8)));
            let r = &mut self.rings[ring];
            r.seen += r.spans.get(usize::from(id)).copied().unwrap_or(1).max(1);
            if r.seen >= r.size {
                r.seen -= r.size;
                r.seen_wrap = !r.seen_wrap;
            }
        }
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.send_with(1, &[0; 12], frame);
    }

    /// Tell the device, if it wants to be told. Whether it wanted.
    pub fn kick(&mut self, ring: usize, before: u16) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        let r = &self.rings[ring];
        if self.packed() {
            let wish = self.u32(r.used);
            let (at, flags) = (wish as u16, (wish >> 16) as u16);
            let passed = (r.next | if r.wrap { 0x8000 } else { 0 }) != at;
            let wanted = flags == 0 || flags == 2 && passed;
            if wanted {
                crate::poller::signal(&self.kicks[ring]);
            }
            return wanted;
        }
        let wanted = if self.features & feature::EVENT_IDX != 0 {
            let event = self.u16(r.used + 4 + 8 * u64::from(r.size)).load(Ordering::SeqCst);
            r.next.wrapping_sub(event).wrapping_sub(1) < r.next.wrapping_sub(before)
        } else {
            self.u16(r.used).load(Ordering::SeqCst) & 1 == 0
        };
        if wanted {
            crate::poller::signal(&self.kicks[ring]);
        }
        wanted
    }

    /// Used entries that the driver has not seen: (id, length).
    pub fn used(&mut self, ring: usize) -> Vec<(u32, u32)> {
        if self.packed() {
            return self.used_packed(ring);
        }
        let mut all = vec![];
        loop {
            let r = &self.rings[ring];
            let index = self.u16(r.used + 2).load(Ordering::SeqCst);
            if r.seen == index {
                return all;
            }
            let at = r.used + 4 + u64::from(r.seen % r.size) * 8;
            let entry = (self.u32(at), self.u32(at + 4));
            self.rings[ring].seen = self.rings[ring].seen.wrapping_add(1);
            all.push(entry);
        }
    }

    /// Take transmit buffers back; how many.
    pub fn reclaim(&mut self, ring: usize) -> usize {
        let used = self.used(ring);
        for (id, _) in &used {
            self.rings[ring].free.push(*id as u16);
        }
        used.len()
    }

    /// Frames that were received, as (header, frame); their buffers are posted again.
    pub fn receive(&mut self) -> Vec<([u8; 12], Vec<u8>)> {
        self.receive_from(0)
    }

    pub fn receive_from(&mut self, ring: usize) -> Vec<([u8; 12], Vec<u8>)> {
        let used = self.used(ring);
        let mut frames = vec![];
        let mut rest = &used[..];
        while let Some(((id, _), _)) = rest.split_first() {
            let first = self.buffer(ring, *id as u16);
            let header: [u8; 12] = *self.read(first, 12).first_chunk().unwrap();
            let n = usize::from(u16::from_le_bytes([header[10], header[11]]));
            assert!(n >= 1 && n <= rest.len(), "a frame in {n} buffers, of which {} came", rest.len());
            let mut bytes = vec![];
            for (id, len) in &rest[..n] {
                bytes.extend(self.read(self.buffer(ring, *id as u16), *len as usize));
            }
            frames.push((header, bytes.split_off(12)));
            rest = &rest[n..];
        }
        for (id, _) in used {
            self.rings[ring].free.push(id as u16);
            self.post(ring, RX_BUFFER);
        }
        frames
    }
}
