//! A front-end whose messages are nearly right.

use super::super::front::{GPA, SIZE, UVA, pair, table};
use super::Fuzz;
use std::os::fd::{AsRawFd, RawFd};

impl Fuzz {
    pub(super) fn fds(&mut self, usual: RawFd) -> Vec<RawFd> {
        let any = [
            usual,
            self.guest.memfd.as_raw_fd(),
            self.event.as_raw_fd(),
            self.pipe.as_raw_fd(),
            self.small.as_raw_fd(),
        ];
        match self.random.below(10) {
            0 => vec![],
            1 => (0..self.random.below(10)).map(|_| self.random.pick(&any)).collect(),
            2 => vec![self.random.pick(&any)],
            _ => vec![usual],
        }
    }

    pub(super) fn message(&mut self) {
        let ring = self.random.below(5) as usize;
        let index = ring as u32;
        let r = &mut self.random;
        let event = self.event.as_raw_fd();
        let mem = self.guest.memfd.as_raw_fd();
        let usual = ring.min(3);
        let (request, mut body, fds) = match r.below(30) {
            0 => (1, vec![], vec![]),
            1 => (
                2,
                (self.features ^ if r.one_in(4) { r.next() } else { 1 << 26 }).to_ne_bytes().to_vec(),
                vec![],
            ),
            2 => (3, vec![], vec![]),
            3 => (r.pick(&[4, 34]), vec![], vec![]),
            4 | 5 => {
                let n = r.below(4);
                let mut regions = vec![];
                for i in 0..n {
                    let part = SIZE / n;
                    let mut region = (GPA + i * part, part, UVA + i * part, i * part);
                    if r.one_in(4) {
                        match r.below(4) {
                            0 => region.0 = r.next(),
                            1 => region.1 = r.near(SIZE),
                            2 => region.2 = r.next(),
                            _ => region.3 = r.near(SIZE),
                        }
                    }
                    regions.push(region);
                }
                (5, table(&regions), vec![mem; n as usize])
            }
            6 => {
                let body = [(r.near(0x2000)).to_ne_bytes(), r.near(0x2000).to_ne_bytes()].concat();
                (6, body, self.fds(self.small.as_raw_fd()))
            }
            7 => (8, pair(index, r.pick(&[256, 256, 1, 16, 3, 0, 1024, 16_384, 32_768, u32::MAX])), vec![]),
            8 | 9 => {
                let mut body = self.guest.addr(usual, r.below(2) as u32);
                if r.one_in(3) {
                    let at = 8 + 8 * r.below(4) as usize;
                    body[at..at + 8].copy_from_slice(&UVA.wrapping_add(r.near(SIZE)).to_ne_bytes());
                }
                (9, body, vec![])
            }
            10 => (10, pair(index, r.next() as u32), vec![]),
            11 => (11, pair(index, 0), vec![]),
            12..=14 => {
                let value = u64::from(index) | if r.one_in(5) { 0x100 } else { 0 };
                let request = r.pick(&[12, 12, 13, 14]);
                (request, value.to_ne_bytes().to_vec(), self.fds(event))
            }
            15 => (16, (r.next() & r.next()).to_ne_bytes().to_vec(), vec![]),
            16..=18 => (18, pair(index, u32::from(!r.one_in(4))), vec![]),
            19 => (19, vec![2; 8], vec![]),
            20 => (20, r.near(9000).to_ne_bytes().to_vec(), vec![]),
            21 => {
                let sizes = [2u16, 4, 0, 256, 16, 1024];
                let (a, b) = (r.pick(&sizes), r.pick(&sizes));
                let mut body = [r.near(0x2000).to_ne_bytes(), [0; 8]].concat();
                body.extend([a.to_ne_bytes(), b.to_ne_bytes(), [0; 2], [0; 2]].concat());
                let request = r.pick(&[31, 32]);
                let fds = if request == 31 { vec![] } else { self.fds(self.small.as_raw_fd()) };
                (request, body, fds)
            }
            22 => (36, vec![], vec![]),
            23 | 24 => {
                let words = [0, r.near(GPA), r.near(0x2000), r.near(UVA), r.near(0x2000)];
                let body = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                (r.pick(&[37, 38]), body, self.fds(self.small.as_raw_fd()))
            }
            25 => (39, r.pick(&[0u64, 15, 15]).to_ne_bytes().to_vec(), vec![]),
            26 => (40, vec![], vec![]),
            27 => (r.next() as u32, vec![0; r.below(600) as usize], self.fds(event)),
            _ => (17, vec![], vec![]),
        };
        if self.random.one_in(20) {
            body.truncate(self.random.below(body.len() as u64 + 1) as usize);
        }
        let flags = if self.random.one_in(3) { 8 } else { 0 };
        if self.random.one_in(50) {
            let bytes: Vec<u8> = (0..self.random.below(40)).map(|_| self.random.next() as u8).collect();
            self.guest.raw(&bytes, &[]);
        }
        self.guest.request(request, flags, &body, &fds);
        self.host.poll();
        while self.guest.answer().is_some() {}
    }
}
