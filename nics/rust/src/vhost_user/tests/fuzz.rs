//! A random guest and a random front-end: mostly nearly right, because what is all wrong gets no
//! further than the first check.
//!
//! One iteration is one request, one change to a ring or to memory, or one burst. Whatever comes,
//! nothing may panic, no access may leave guest memory (it is surrounded by pages that fault), and
//! at the end a well-behaved guest on the same door must work.
//!
//! `VNET_FUZZ=10000000 cargo test --release -p vnet-nics vhost_user::tests::fuzz` runs ten
//! million; `VNET_FUZZ_SEED` repeats a run.

use super::super::protocol::feature::RING_PACKED;
use super::front::{GPA, Guest, Host, PLAIN, SIZE, UVA, eventfd, frame, memfd, open_fds, pair, table};
use crate::frame::{Frame, Seg};
use crate::nic::Nic;
use crate::offload::Offload;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use switch::TagEdit;

/// Where the choices come from.
enum Random {
    /// xorshift64*: small, and the same everywhere.
    Seed(u64),
    /// What a fuzzer says, two bytes a choice, and where it has come to.
    Said(Vec<u8>, usize),
}

impl Random {
    fn next(&mut self) -> u64 {
        match self {
            Random::Seed(seed) => {
                *seed ^= *seed >> 12;
                *seed ^= *seed << 25;
                *seed ^= *seed >> 27;
                seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
            }
            Random::Said(bytes, at) => {
                let said =
                    bytes.get(*at..*at + 2).map_or(0, |two| u64::from(two[0]) << 8 | u64::from(two[1]));
                *at += 2;
                said.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }
        }
    }

    /// Whether a fuzzer has said all.
    fn spent(&self) -> bool {
        matches!(self, Random::Said(bytes, at) if *at >= bytes.len())
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Numbers that are interesting near `size`.
    fn near(&mut self, size: u64) -> u64 {
        match self.below(12) {
            0 => size,
            1 => size.wrapping_sub(1),
            2 => size.wrapping_add(1),
            3 => 0,
            4 => u64::MAX,
            5 => self.next(),
            _ => self.below(size.max(1)),
        }
    }

    fn address(&mut self) -> u64 {
        GPA.wrapping_add(self.near(SIZE))
    }

    fn len(&mut self) -> u32 {
        match self.below(8) {
            0 => self.near(70_000) as u32,
            1 => self.below(16) as u32,
            2 => self.next() as u32,
            _ => 12 + self.below(2000) as u32,
        }
    }
}

/// What most steps are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    Messages,
    Split,
    Packed,
}

struct Fuzz {
    random: Random,
    part: Part,
    host: Host,
    guest: Guest,
    pipe: std::io::PipeReader,
    small: std::os::fd::OwnedFd,
    event: std::os::fd::OwnedFd,
    features: u64,
    frames: u64,
    /// Of these, what a packed ring was the source or end of.
    packed: u64,
    carriers: u64,
}

impl Fuzz {
    fn new(random: Random, part: Part) -> Fuzz {
        let mut host = Host::new();
        let guest = Guest::running(&mut host, PLAIN);
        let (pipe, _) = std::io::pipe().unwrap();
        Fuzz {
            random,
            part,
            host,
            guest,
            pipe,
            small: memfd(0x2000),
            event: eventfd(),
            features: PLAIN,
            frames: 0,
            packed: 0,
            carriers: 0,
        }
    }

    /// A fresh connection, mostly set up well.
    fn reconnect(&mut self) {
        let size = self.random.pick(&[256, 256, 256, 16, 1, 1024]);
        self.guest.sock.shutdown(std::net::Shutdown::Both).unwrap();
        self.host.poll();
        self.host.wait(6_000_000_000);
        self.guest = Guest::connect(&mut self.host, size);
        self.features = PLAIN
            | match self.random.below(4) {
                0 => 0,
                1 => self.random.next() & self.offered(),
                _ => self.offered() & !(self.random.next() & self.random.next()),
            };
        self.features &= self.offered();
        match self.part {
            Part::Packed => self.features |= RING_PACKED,
            Part::Split => self.features &= !RING_PACKED,
            Part::All | Part::Messages if self.random.one_in(2) => self.features &= !RING_PACKED,
            Part::All | Part::Messages => {}
        }
        let features = self.features;
        self.guest.set_up(&mut self.host, features, 2);
    }

    fn offered(&self) -> u64 {
        super::super::session::Offer::all(2, 9000, true).features
    }

    fn fds(&mut self, usual: RawFd) -> Vec<RawFd> {
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

    fn message(&mut self) {
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

    /// Good and bad descriptors in a ring, or anything in memory.
    fn ring(&mut self) {
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
    fn packed_ring(&mut self, ring: usize) {
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

    fn burst(&mut self) {
        let before = self.frames;
        let got = self.host.receive().1;
        self.frames += got.len() as u64;
        let caps = self.host.nic.caps();
        let frames: Vec<Frame<'_>> =
            got.iter().filter(|(_, o)| caps.take(*o)).map(|(bytes, o)| Frame::flat(bytes, *o)).collect();
        if !frames.is_empty() {
            self.host.send_frames(&frames, TagEdit::NONE);
        }
        let most = if self.random.one_in(10) { 65_000 } else { 1600 };
        let len = 14 + self.random.below(most) as usize;
        let bytes = frame(len, len);
        let n = 1 + self.random.below(64) as usize;
        let mut frames = vec![Frame::flat(&bytes, Offload::NONE); n];
        let cut = len.min(128);
        let middle = cut + (len - cut) / 2;
        let more = [Seg::from(&bytes[middle..])];
        if self.random.one_in(3) {
            let tail = Seg::from(&bytes[cut..middle]);
            frames.fill(Frame::scattered(&bytes[..cut], tail, &more, Offload::NONE));
        }
        let edit = self.random.pick(&[
            TagEdit::NONE,
            TagEdit::NONE,
            TagEdit { strip: 0, insert: 0x8100_0005, ..TagEdit::NONE },
            TagEdit { strip: 4, insert: 0, ..TagEdit::NONE },
        ]);
        let dropped = self.host.send_frames(&frames, edit).len() as u64;
        self.frames += n as u64 - dropped;
        if self.guest.packed() {
            self.packed += self.frames - before;
        }
        self.host.nic.take_drops();
        if self.random.one_in(4) {
            self.host.nic.arm();
        }
    }

    fn step(&mut self) {
        let kind = self.random.below(64);
        match kind {
            0 => self.message(),
            1..=40 if self.part == Part::Messages => self.message(),
            1..=40 => self.ring(),
            _ => self.burst(),
        }
        if !self.host.nic.carrier() && self.random.one_in(16) {
            self.reconnect();
        }
        if self.random.one_in(20_000) {
            // The memory goes away.
            let to = self.random.near(SIZE).min(SIZE);
            // SAFETY: no pointers.
            unsafe { libc::ftruncate(self.guest.memfd.as_raw_fd(), to as i64) };
            for _ in 0..20 {
                self.burst();
            }
            self.reconnect();
        }
        self.carriers += u64::from(self.host.nic.carrier());
    }
}

thread_local! {
    /// The door is the same for all runs; each has a connection and a guest of its own.
    static KEPT: std::cell::RefCell<Option<Fuzz>> = const { std::cell::RefCell::new(None) };
}

/// For `nics/rust/fuzz`: a guest and a front-end that do what `bytes` say, and afterwards one that behaves.
/// How many steps it came to.
pub fn run(bytes: &[u8], part: Part) -> u64 {
    let said = Random::Said(bytes.to_vec(), 0);
    let mut fuzz = KEPT.take().unwrap_or_else(|| Fuzz::new(Random::Seed(1), part));
    (fuzz.random, fuzz.part) = (said, part);
    fuzz.reconnect();
    let mut steps = 0;
    while !fuzz.random.spent() {
        fuzz.step();
        steps += 1;
    }
    fuzz.guest.sock.shutdown(std::net::Shutdown::Both).unwrap();
    fuzz.host.poll();
    fuzz.host.wait(6_000_000_000);
    fuzz.guest = Guest::running(&mut fuzz.host, PLAIN);
    fuzz.guest.send(&frame(100, 1));
    assert_eq!(fuzz.host.receive_all().len(), 1);
    assert_eq!(fuzz.host.send(&[frame(1500, 2)]), []);
    assert_eq!(fuzz.guest.receive().len(), 1);
    fuzz.host.news();
    KEPT.set(Some(fuzz));
    steps
}

#[test]
fn what_a_fuzzer_says_is_done_in_each_part() {
    let mut random = Random::Seed(7);
    for part in [Part::All, Part::Messages, Part::Split, Part::Packed] {
        let said: Vec<u8> = (0..4000).map(|_| random.next() as u8).collect();
        let steps = (0..5).map(|n| run(&said[n * 700..], part)).sum::<u64>();
        assert!(steps > 500, "{part:?}: {steps} steps");
    }
}

#[test]
fn whatever_a_guest_does_it_harms_only_itself() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let iterations = number("VNET_FUZZ").unwrap_or(60_000);
    let seed = number("VNET_FUZZ_SEED").unwrap_or(0x5eed);
    let before = open_fds();
    let mut fuzz = Fuzz::new(Random::Seed(seed | 1), Part::All);
    for _ in 0..iterations {
        fuzz.step();
    }
    let Fuzz { frames, packed, carriers, .. } = fuzz;
    println!("{iterations} iterations, {frames} frames ({packed} in packed rings), link up in {carriers}");
    // It was no empty exercise.
    assert!(frames > iterations / 4, "{frames} frames");
    assert!(packed > iterations / 20, "{packed} frames in packed rings");
    assert!(carriers > iterations / 4, "link up in {carriers}");
    fuzz.guest.sock = UnixStream::pair().unwrap().0;
    fuzz.host.poll();
    fuzz.host.wait(6_000_000_000);
    let mut good = Guest::running(&mut fuzz.host, PLAIN);
    for i in 0..100 {
        good.send(&frame(100, i));
        assert_eq!(fuzz.host.receive_all().len(), 1);
        assert_eq!(fuzz.host.send(&[frame(1500, i)]), []);
        assert_eq!(good.receive().len(), 1);
    }
    drop(good);
    drop(fuzz);
    assert!(open_fds() < before + 150);
}
