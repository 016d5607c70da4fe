//! The load itself.

use crate::front::{Guest, HEADER, Shared};
use crate::options::{LINE, Mode, Options};
use crate::ring::Memory;
use crate::rotation::Rotation;
use crate::times::Times;
use std::io;
use std::time::{Duration, Instant};

/// In front of the header of a frame that is sent: what Linux leaves of the room for link layers (32 bytes), behind
/// an Ethernet and a virtio-net header.
pub const FRONT: usize = 6;

struct Port {
    guest: Guest,
    /// Offset of the first transmit buffer.
    tx: usize,
    /// Number of the buffer that the next frame is sent from.
    source: usize,
    rx: Rotation,
    /// The next flow.
    flow: usize,
    sent: u64,
    got: u64,
    bytes: u64,
    bad: u64,
    /// When each of the last frames was sent (latency).
    last: Instant,
}

impl Port {
    fn new(guest: Guest, tx: usize, rx: Rotation) -> Port {
        let last = Instant::now();
        Port { guest, tx, source: 0, rx, flow: 0, sent: 0, got: 0, bytes: 0, bad: 0, last }
    }
}

pub struct Load {
    options: Options,
    ports: Vec<Port>,
    memory: Memory,
    huge: bool,
    tx_stride: usize,
    rx_stride: usize,
    sink: u64,
}

/// Bytes of a transmit buffer that a guest writes at least: up to the end of the shortest frame, in whole words.
const FIRST: usize = (FRONT + HEADER + 60).next_multiple_of(8);
/// Where the source port of an untagged frame of UDP over IPv4 is.
const UDP: usize = FRONT + HEADER + 34;

/// From one transmit buffer to the next: with room for a tag, and not a power of two, or all would share a few sets of
/// the cache.
pub fn tx_stride(options: &Options) -> usize {
    (FRONT + HEADER + options.size + 4 + options.segments * gap(options)).next_multiple_of(LINE) | LINE
}

/// Between the pieces of a frame.
fn gap(options: &Options) -> usize {
    if options.apart { LINE } else { 0 }
}

/// From one receive buffer to the next: side by side, for they are cut from larger pieces of memory.
pub fn rx_stride(options: &Options) -> usize {
    options.buffer.next_multiple_of(LINE)
}

/// Every byte of a frame follows from its port, its slot and its place.
fn pattern(port: usize, slot: usize, at: usize) -> u8 {
    (at * 7 + slot * 13 + (slot >> 8) * 5 + port * 101 + (at >> 8) * 3) as u8
}

impl Load {
    pub fn start(options: Options) -> io::Result<Load> {
        pin(options.cpu)?;
        let (tx_stride, rx_stride) = (tx_stride(&options), rx_stride(&options));
        let each =
            options.ring * 64 + options.frames() * tx_stride + options.buffers() * rx_stride + (1 << 17);
        let mut shared = Shared::new(
            each * options.busy()
                + (options.sockets.len() - options.busy()) * (options.ring * 192 + (1 << 17)),
        )?;
        let mut load = Load {
            memory: shared.memory,
            huge: shared.huge,
            ports: vec![],
            tx_stride,
            rx_stride,
            sink: 0,
            options,
        };
        for index in 0..load.options.sockets.len() {
            load.connect(index, &mut shared)?;
        }
        Ok(load)
    }

    fn connect(&mut self, index: usize, shared: &mut Shared) -> io::Result<()> {
        let options = &self.options;
        let mut guest = Guest::connect(&options.sockets[index], options, shared)?;
        if index >= options.busy() {
            // Idle: connected, and with nothing to receive in.
            guest.start()?;
            self.ports.push(Port::new(guest, 0, Rotation::none()));
            return Ok(());
        }
        let tx = shared.take(options.frames() * self.tx_stride, 4096) + FRONT;
        let rx = shared.take(options.buffers() * self.rx_stride, 4096);
        let rx = Rotation::new(rx, self.rx_stride, options.ring, options.buffers());
        let base = shared.memory.base as usize;
        let frames = options.ring / options.segments;
        for slot in 0..options.ring {
            guest.rings[0].set(slot, base + rx.at(slot as u32), options.buffer, 2, 0);
            guest.rings[0].offer(slot as u16, slot as u16);
            guest.rings[1].offer(slot as u16, (slot % frames * options.segments) as u16);
        }
        for slot in 0..options.frames() {
            let at = tx + slot * self.tx_stride;
            let (header, frame) = self.frame(index, slot);
            let bytes = [&header[..], &frame[..]].concat();
            let (mut at, mut done) = (at, 0);
            for segment in 0..options.segments {
                let last = segment + 1 == options.segments;
                // A driver that can't put the header in front of the frame sends it alone.
                let len = match (segment, last) {
                    (_, true) => bytes.len() - done,
                    (0, _) => HEADER,
                    _ => frame.len() / (options.segments - 1),
                };
                self.memory.write(at, &bytes[done..done + len]);
                if slot < frames {
                    let number = slot * options.segments + segment;
                    guest.rings[1].set(number, base + at, len, u16::from(!last), number + 1);
                }
                at += len + if segment > 0 { gap(options) } else { 0 };
                done += len;
            }
        }
        guest.start()?;
        guest.rings[0].next = options.ring as u16;
        guest.rings[0].publish();
        self.ports.push(Port::new(guest, tx, rx));
        Ok(())
    }

    /// Header and bytes of the frame in a slot: UDP over IPv4, or with GSO a TCP segment of its size.
    fn frame(&self, port: usize, slot: usize) -> ([u8; HEADER], Vec<u8>) {
        let options = &self.options;
        let mac = (slot % options.macs) as u16;
        let [high, low] = mac.to_be_bytes();
        let (own, other) = (1 + port as u8, 1 + (port ^ 1) as u8);
        let mut header = [0; HEADER];
        let mut frame = vec![2, 0, 0, high, low, other, 2, 0, 0, high, low, own];
        if let Some(tag) = options.tag.filter(|_| port == 0) {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([8, 0]);
        let ip = frame.len();
        let total = (options.size - 14) as u16;
        let protocol = if options.gso { 6 } else { 17 };
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, own, 10, 0, 0, other]);
        let sum: u32 = frame[ip..].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([4, 0, 0, 9]);
        if options.gso {
            frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
            let start = (ip + 20) as u16;
            header[0] = 1;
            header[1] = 1;
            header[2..4].copy_from_slice(&(start + 20).to_le_bytes());
            header[4..6].copy_from_slice(&1448u16.to_le_bytes());
            header[6..8].copy_from_slice(&start.to_le_bytes());
            header[8..10].copy_from_slice(&16u16.to_le_bytes());
        } else {
            frame.extend((total - 20).to_be_bytes());
            frame.extend([0, 0]);
        }
        frame.extend((slot as u16).to_be_bytes());
        frame.push(port as u8);
        let grown = frame.len();
        let size = options.size + ip - 14;
        frame.extend((grown..size).map(|at| pattern(port, slot, at + 14 - ip)));
        (header, frame)
    }

    /// Post up to `most` more frames. How many.
    #[inline(always)]
    fn send(&mut self, port: usize, most: u16) -> u16 {
        let frames = (self.options.ring / self.options.segments) as u16;
        let at = &mut self.ports[port];
        let ring = &mut at.guest.rings[1];
        let n = most.min(ring.used_index().wrapping_add(frames).wrapping_sub(ring.next));
        if n == 0 {
            return 0;
        }
        let turns = self.options.sources > 0;
        if self.options.touch || turns {
            for i in 0..n {
                let slot = usize::from(ring.next.wrapping_add(i) % frames);
                let number = if turns { at.source } else { slot };
                let buffer = at.tx + number * self.tx_stride - FRONT;
                if turns {
                    at.source = if number + 1 < self.options.sources { number + 1 } else { 0 };
                    let len = HEADER
                        + self.options.size
                        + if port == 0 && self.options.tag.is_some() { 4 } else { 0 };
                    ring.set(slot, self.memory.base as usize + buffer + FRONT, len, 0, 0);
                }
                if self.options.touch {
                    for word in (0..FIRST).step_by(8) {
                        self.memory.rewrite(buffer + word);
                    }
                }
                if self.options.flows > 1 {
                    self.memory.write(buffer + UDP, &(1024 + at.flow as u16).to_be_bytes());
                    at.flow = (at.flow + 1) % self.options.flows;
                }
            }
        }
        ring.next = ring.next.wrapping_add(n);
        ring.publish();
        at.guest.kick();
        at.sent += u64::from(n);
        n
    }

    /// Take what came and post the buffers again. How many frames.
    #[inline(always)]
    fn receive(&mut self, port: usize) -> u64 {
        let options = &self.options;
        let base = self.memory.base as usize;
        let at = &mut self.ports[port];
        let ring = &mut at.guest.rings[0];
        let n = ring.used_index().wrapping_sub(ring.seen);
        if n == 0 {
            return 0;
        }
        let several = options.size + 4 > options.buffer - HEADER || options.check;
        let mut i = 0;
        let mut frames = 0;
        while i < n {
            let first = ring.seen.wrapping_add(i);
            let (id, _) = ring.used_entry(first);
            let buffer = at.rx.at(id);
            let mut buffers = 1;
            if several {
                buffers = self.memory.read::<u16>(buffer + 10);
                if buffers == 0 || buffers > n - i {
                    // The rest of it is on its way, or it is nonsense.
                    at.bad += u64::from(buffers == 0 || buffers > n);
                    buffers = n - i;
                }
            }
            if options.touch {
                // Header and frame; of the shortest, all lines.
                self.sink ^=
                    self.memory.read::<u64>(buffer + 10) ^ self.memory.read::<u64>(buffer + HEADER + 52);
            }
            let mut bytes = 0;
            if options.check {
                at.bad += u64::from(!check(options, self.memory, ring, &at.rx, first, buffers, port ^ 1));
            }
            for k in 0..buffers {
                let (id, len) = ring.used_entry(first.wrapping_add(k));
                bytes += len as usize;
                if let Some(other) = at.rx.take(id) {
                    ring.set(id as usize % ring.size, base + other, options.buffer, 2, 0);
                }
                ring.offer(ring.next.wrapping_add(k), id as u16);
            }
            ring.next = ring.next.wrapping_add(buffers);
            at.bytes += (bytes - HEADER) as u64;
            frames += 1;
            i += buffers;
        }
        ring.seen = ring.seen.wrapping_add(n);
        ring.publish();
        at.got += frames;
        frames
    }

    fn arrived(&self) -> u64 {
        self.ports[..self.options.busy()].iter().map(|port| port.got).min().unwrap_or(0)
    }

    /// Until frames come through both ways and every address was heard of: slowly, for the switch
    /// floods what it does not know.
    fn teach(&mut self) -> io::Result<()> {
        let enough = 2 * self.options.macs as u64 + 64;
        let end = Instant::now() + Duration::from_secs(10);
        while self.arrived() < enough {
            if Instant::now() > end {
                let got: Vec<u64> = self.ports.iter().map(|port| port.got).collect();
                return Err(io::Error::other(format!("no path: {got:?} frames came through")));
            }
            for port in 0..self.options.busy() {
                self.send(port, 8);
            }
            let pause = Instant::now() + Duration::from_micros(100);
            while Instant::now() < pause {
                for port in 0..self.options.busy() {
                    self.receive(port);
                }
            }
        }
        Ok(())
    }

    pub fn run(mut self) -> io::Result<String> {
        std::thread::sleep(Duration::from_millis(200));
        let idle = self.options.mode == Mode::Idle;
        if !idle {
            self.teach()?;
        }
        let result = match self.options.mode {
            Mode::Latency => self.latency(|n| Duration::from_micros(3 + n as u64 % 7)),
            Mode::Wake => self.latency(Times::between_wakes),
            Mode::Idle => {
                // As a guest that has nothing to do: asleep.
                std::thread::sleep(Duration::from_secs_f64(self.options.seconds.max(30.0)));
                "{}".into()
            }
            _ => self.rate(),
        };
        std::hint::black_box(self.sink);
        for port in &mut self.ports {
            port.guest.stop()?;
        }
        Ok(result)
    }

    fn rate(&mut self) -> String {
        let both = self.options.mode == Mode::Both;
        let (mut from, mut measuring) = (Instant::now(), false);
        let mut ticks = ticks_now();
        let mut full = 0u64;
        let mut tries = 0u64;
        loop {
            for _ in 0..16 {
                for first in (0..self.options.busy()).step_by(2) {
                    full += u64::from(self.send(first, 256) == 0);
                    tries += 1;
                    self.receive(first + 1);
                    if both {
                        self.send(first + 1, 256);
                    }
                    self.receive(first);
                }
            }
            let past = from.elapsed().as_secs_f64();
            if !measuring && past > 0.5 {
                (from, measuring, full, tries) = (Instant::now(), true, 0, 0);
                ticks = ticks_now();
                for port in &mut self.ports {
                    (port.sent, port.got, port.bytes) = (0, 0, 0);
                }
            } else if measuring && past > self.options.seconds {
                break;
            }
        }
        let seconds = from.elapsed().as_secs_f64();
        let mhz = (ticks_now() - ticks) as f64 / seconds / 1e6;
        let sum = |of: fn(&Port) -> u64| self.ports.iter().map(of).sum::<u64>() as f64;
        let (sent, got) = (sum(|p| p.sent), sum(|p| p.got));
        let busy = self.ports[..self.options.busy()].chunks(2);
        let pairs: Vec<f64> = busy.map(|two| (two[0].got + two[1].got) as f64 / seconds / 1e6).collect();
        format!(
            "{{\"mpps\": {:.4}, \"pairs\": {pairs:.4?}, \"gbps\": {:.3}, \"sent_mpps\": {:.4}, \"loss\": {:.4}, \"waiting\": {:.3}, \"bad\": {}, \"kicks\": {}, \"in_order\": {}, \"huge\": {}, \"mhz\": {mhz:.1}}}",
            got / seconds / 1e6,
            sum(|p| p.bytes) * 8.0 / seconds / 1e9,
            sent / seconds / 1e6,
            if sent > 0.0 { (1.0 - got / sent).max(0.0) } else { 0.0 },
            full as f64 / tries.max(1) as f64,
            sum(|p| p.bad),
            sum(|p| p.guest.kicks),
            self.ports[0].guest.in_order,
            self.huge,
        )
    }

    /// One frame at a time, now from one and now from the other, with a pause between, which depends on
    /// the number of the frame so that it does not fall in step with anything.
    fn latency(&mut self, pause: fn(usize) -> Duration) -> String {
        let mut times = Times::default();
        let end = Instant::now() + Duration::from_secs_f64(self.options.seconds);
        let mut port = 0;
        let mut lost = 0u64;
        while Instant::now() < end {
            while self.receive(0) + self.receive(1) > 0 {}
            self.ports[port].last = Instant::now();
            let start = self.ports[port].last;
            if self.send(port, 1) == 0 {
                continue;
            }
            loop {
                if self.receive(port ^ 1) > 0 {
                    times.push(start.elapsed());
                    break;
                }
                if start.elapsed() > Duration::from_millis(100) {
                    lost += 1;
                    break;
                }
            }
            let pause = Instant::now() + pause(times.len());
            while Instant::now() < pause {
                std::hint::spin_loop();
            }
            port ^= 1;
        }
        times.told(lost)
    }
}

/// Whether a frame came as it was sent.
fn check(
    options: &Options,
    memory: Memory,
    ring: &crate::ring::Ring,
    rx: &Rotation,
    first: u16,
    buffers: u16,
    from: usize,
) -> bool {
    let mut bytes = vec![];
    for k in 0..buffers {
        let (id, len) = ring.used_entry(first.wrapping_add(k));
        let at = rx.at(id);
        bytes.extend((0..len as usize).map(|i| memory.read::<u8>(at + i)));
    }
    let fixed = if options.gso { 54 } else { 42 };
    let frame = &bytes[HEADER..];
    if frame.len() != options.size || usize::from(frame[fixed + 2]) != from {
        return false;
    }
    let slot = usize::from(frame[fixed]) << 8 | usize::from(frame[fixed + 1]);
    frame.iter().enumerate().skip(fixed + 3).all(|(at, byte)| *byte == pattern(from, slot, at))
}

/// The processor's clock that ticks evenly, whatever speed it runs at; where it has none, nanoseconds.
fn ticks_now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is there on every processor of this architecture.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::LazyLock;
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        FIRST.elapsed().as_nanos() as u64
    }
}

pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: plain data, for which zeros are a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET ignores numbers beyond the set; the set lives through the call.
    let failed = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
