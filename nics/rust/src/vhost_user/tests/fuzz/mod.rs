//! A random guest and a random front-end: mostly nearly right, because what is all wrong gets no
//! further than the first check.
//!
//! One iteration is one request, one change to a ring or to memory, or one burst. Whatever comes,
//! nothing may panic, no access may leave guest memory (it is surrounded by pages that fault), and
//! at the end a well-behaved guest on the same door must work.
//!
//! `VNET_FUZZ=10000000 cargo test --release -p vnet-nics vhost_user::tests::fuzz` runs ten
//! million; `VNET_FUZZ_SEED` repeats a run.

mod messages;
mod random;
mod rings;

use super::super::protocol::feature::RING_PACKED;
use super::front::{Guest, PLAIN, SIZE, frame};
use super::host::{Host, alone, eventfd, memfd, open_fds};
use crate::frame::{Frame, Seg};
use crate::nic::Nic;
use crate::offload::Offload;
use random::Random;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use switch::TagEdit;

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
        self.host.nic.until_closed();
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
        super::super::offer::Offer::all(2, 9000, true).features
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
    fuzz.host.nic.until_closed();
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
    if !alone("vhost_user::tests::fuzz::whatever_a_guest_does_it_harms_only_itself") {
        return;
    }
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
    fuzz.host.nic.until_closed();
    fuzz.host.wait(6_000_000_000);
    let mut good = Guest::running(&mut fuzz.host, PLAIN);
    for i in 0..100 {
        good.send(&frame(100, i));
        assert_eq!(fuzz.host.receive_all().len(), 1);
        assert_eq!(fuzz.host.send(&[frame(1500, i)]), []);
        assert_eq!(good.receive().len(), 1);
    }
    drop(good);
    fuzz.host.poll();
    fuzz.host.nic.until_closed();
    drop(fuzz);
    assert_eq!(open_fds(), before);
}
