//! A driver whose rings, of either layout, are nearly right.

use super::super::front::{GPA, SIZE};
use super::Fuzz;
use std::sync::atomic::Ordering;

impl Fuzz {
    /// Good and bad descriptors in a ring, or anything in memory.
    pub(super) fn ring(&mut self) {
        let ring = self.random.below(4) as usize;
        if self.guest.packed() && !self.random.one_in(4) {
            return self.packed_ring(ring);
        }
        let r = &mut self.random;
        let size = self.guest.rings[ring].size;
        let head = r.below(u64::from(size)) as u16;
        match r.below(16) {
            0..=6 => {
                // A buffer that is mostly fine.
                let write = u16::from(ring.is_multiple_of(2)) * 2;
                let (addr, len) = (GPA + SIZE / 2 + r.below(SIZE / 4), 12 + r.below(2048) as u32);
                self.guest.desc(ring, head, addr, len, write, 0);
                self.guest.offer(ring, head);
            }
            7 | 8 => {
                // A chain, or a table, of a few links with a mistake here and there.
                let indirect = r.one_in(2);
                let table = SIZE / 2 + r.below(SIZE / 32) * 8;
                let n = 1 + r.below(6) as u16;
                let write = u16::from(ring.is_multiple_of(2)) * 2;
                for i in 0..n {
                    let mut flags = write | u16::from(i + 1 < n);
                    let mut next = i + 1;
                    let (mut addr, mut len) = (GPA + SIZE / 2 + r.below(SIZE / 4), r.below(3000) as u32);
                    if r.one_in(12) {
                        match r.below(4) {
                            0 => flags ^= r.pick(&[1, 2, 4]),
                            1 => next = r.next() as u16,
                            2 => addr = r.address(),
                            _ => len = r.len(),
                        }
                    }
                    if indirect {
                        self.guest.write_desc(table + 16 * u64::from(i), addr, len, flags, next);
                    } else {
                        self.guest.desc(
                            ring,
                            (head + i) % size,
                            addr,
                            len,
                            flags,
                            head.wrapping_add(next) % size,
                        );
                    }
                }
                if indirect {
                    let len = if r.one_in(10) { r.len() } else { 16 * u32::from(n) };
                    self.guest.desc(ring, head, GPA + table, len, 4, 0);
                }
                self.guest.offer(ring, head);
            }
            9 => {
                let (addr, len, flags) = (r.address(), r.len(), r.below(8) as u16);
                self.guest.desc(ring, head, addr, len, flags, r.next() as u16);
                self.guest.offer(ring, head);
            }
            10 => {
                if r.one_in(8) {
                    self.guest.offer(ring, r.next() as u16);
                }
            }
            11 => {
                if r.one_in(16) {
                    let at = self.guest.rings[ring].avail + 2;
                    self.guest.u16(at).store(r.next() as u16, Ordering::SeqCst);
                }
            }
            12 => {
                let at = r.below(SIZE - 8);
                let bytes = r.next().to_ne_bytes();
                self.guest.write(at, &bytes);
            }
            13 => {
                let at = self.guest.rings[ring].avail;
                self.guest.u16(at).store(r.next() as u16 & 1, Ordering::SeqCst);
            }
            _ => {
                // As a driver does: take back what was given back.
                let next = self.guest.u16(self.guest.rings[ring].used + 2).load(Ordering::SeqCst);
                self.guest.rings[ring].seen = next;
                let behind = self.guest.rings[ring].next.wrapping_sub(next);
                if behind > size {
                    self.guest.rings[ring].next = next;
                    self.guest.u16(self.guest.rings[ring].avail + 2).store(next, Ordering::SeqCst);
                }
            }
        }
    }

    /// The same in a packed ring: what is available is said by flags, not by an index.
    pub(super) fn packed_ring(&mut self, ring: usize) {
        let size = u64::from(self.guest.rings[ring].size);
        let r = &mut self.random;
        let write = u16::from(ring.is_multiple_of(2)) * 2;
        let id = r.below(size) as u16;
        match r.below(16) {
            0..=7 => {
                let (addr, len) = (GPA + SIZE / 2 + r.below(SIZE / 4), 12 + r.below(2048) as u32);
                self.guest.offer_packed(ring, &[(addr, len, write)], id);
            }
            8..=10 => {
                let n = 1 + r.below(6) as usize;
                let mut descs = vec![];
                for _ in 0..n {
                    let mut desc = (GPA + SIZE / 2 + r.below(SIZE / 4), r.below(3000) as u32, write);
                    if r.one_in(30) {
                        match r.below(3) {
                            0 => desc.2 ^= r.pick(&[1, 2, 4, 0x80, 0x8000]),
                            1 => desc.0 = r.address(),
                            _ => desc.1 = r.len(),
                        }
                    }
                    descs.push(desc);
                }
                if r.one_in(2) {
                    let table = SIZE / 2 + r.below(SIZE / 32) * 8;
                    for (i, (addr, len, flags)) in descs.iter().enumerate() {
                        // In a table the id comes first and NEXT means nothing.
                        let at = table + 16 * i as u64;
                        self.guest.write_desc(at, *addr, *len, id, *flags);
                    }
                    let len = if r.one_in(20) { r.len() } else { 16 * n as u32 };
                    descs = vec![(GPA + table, len, 4)];
                }
                self.guest.offer_packed(ring, &descs, id);
            }
            11 => {
                // Flags anywhere, as of either round.
                let at = self.guest.rings[ring].desc + 16 * r.below(size) + 14;
                if r.one_in(8) {
                    let flags = r.pick(&[0x80, 0x81, 0x8000, 0x8001, 0, 0x8080]) | write;
                    self.guest.u16(at).store(flags, Ordering::SeqCst);
                }
            }
            12 => {
                // What it wants to be told.
                let at = self.guest.rings[ring].avail;
                self.guest.write(at, &(r.next() as u32).to_le_bytes());
            }
            13 => {
                if r.one_in(4) {
                    let at = r.below(SIZE - 8);
                    let bytes = r.next().to_ne_bytes();
                    self.guest.write(at, &bytes);
                }
            }
            _ => {
                // As a driver does: take back what was given back.
                self.guest.used_within(ring, size as usize);
            }
        }
    }
}
