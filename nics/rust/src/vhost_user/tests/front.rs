//! A front-end with its guest's memory: it says what it is told to say, when it is.

use super::super::protocol::{HEADER, feature};
use super::host::{Host, eventfd, memfd};
use crate::nic::Nic;
use crate::socket::calls::send_with;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

pub const SIZE: u64 = 4 << 20;
pub const GPA: u64 = 0x4000_0000;
pub const UVA: u64 = 0x7000_0000_0000;
/// Bytes of each buffer that the driver posts to receive in.
pub const RX_BUFFER: u32 = 2048;

/// One ring as its driver sees it.
#[derive(Clone, Debug)]
pub struct Ring {
    pub size: u16,
    /// Offsets in guest memory.
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub buffers: u64,
    pub next: u16,
    pub seen: u16,
    /// Descriptors that are not in flight (simple buffers only).
    pub free: Vec<u16>,
    /// In a packed ring `next` and `seen` are places, with these wrap counters, and `spans` are how many
    /// descriptors the buffer with each id has.
    pub wrap: bool,
    pub seen_wrap: bool,
    pub spans: Vec<u16>,
}

/// A guest with its front-end.
pub struct Guest {
    pub sock: UnixStream,
    pub memfd: OwnedFd,
    pub memory: *mut u8,
    pub rings: Vec<Ring>,
    pub kicks: Vec<OwnedFd>,
    pub calls: Vec<OwnedFd>,
    pub features: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: mapped in `connect`, SIZE bytes, and not used after this.
        unsafe { libc::munmap(self.memory.cast(), SIZE as usize) };
    }
}

pub const PLAIN: u64 = feature::VERSION_1 | feature::MRG_RXBUF | feature::PROTOCOL_FEATURES;

impl Guest {
    /// Connected, with memory, and nothing said yet.
    pub fn connect(host: &mut Host, size: u16) -> Guest {
        let sock = UnixStream::connect(&host.path).unwrap();
        host.poll();
        Guest::over(sock, size)
    }

    pub fn over(sock: UnixStream, size: u16) -> Guest {
        sock.set_nonblocking(true).unwrap();
        let memfd = memfd(SIZE);
        let flags = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(std::ptr::null_mut(), SIZE as usize, flags, libc::MAP_SHARED, memfd.as_raw_fd(), 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        let rings = (0..4)
            .map(|i| {
                let at = i * (SIZE / 4);
                Ring {
                    size,
                    desc: at,
                    avail: at + 0x8000,
                    used: at + 0xc000,
                    buffers: at + 0x20000,
                    next: 0,
                    seen: 0,
                    free: (0..size).rev().collect(),
                    wrap: true,
                    seen_wrap: true,
                    spans: vec![1; usize::from(size)],
                }
            })
            .collect();
        Guest {
            sock,
            memfd,
            memory: memory.cast(),
            rings,
            kicks: (0..4).map(|_| eventfd()).collect(),
            calls: (0..4).map(|_| eventfd()).collect(),
            features: 0,
        }
    }

    /// Connected, and running with the given device features on one queue pair.
    pub fn running(host: &mut Host, features: u64) -> Guest {
        let mut guest = Guest::connect(host, 256);
        guest.set_up(host, features, 1);
        assert!(host.nic.carrier());
        guest
    }

    pub fn set_up(&mut self, host: &mut Host, features: u64, pairs: usize) {
        self.say(host, 3, &[], &[]);
        self.features = features;
        assert_eq!(self.ask(host, 1, &[]) & features, features);
        let protocol = self.ask(host, 15, &[]);
        self.say(host, 16, &protocol.to_ne_bytes(), &[]);
        self.say(host, 2, &features.to_ne_bytes(), &[]);
        self.set_memory(host);
        for ring in 0..pairs * 2 {
            self.start_ring(host, ring, 0);
        }
        self.fill_all(pairs);
    }

    pub fn set_memory(&mut self, host: &mut Host) {
        let fd = self.memfd.as_raw_fd();
        self.say(host, 5, &table(&[(GPA, SIZE, UVA, 0)]), &[fd]);
    }

    pub fn start_ring(&mut self, host: &mut Host, ring: usize, base: u16) {
        let r = self.rings[ring].clone();
        let index = ring as u32;
        self.say(host, 8, &pair(index, u32::from(r.size)), &[]);
        let base = if self.packed() { u32::from(base | 0x8000) * 0x10001 } else { u32::from(base) };
        self.say(host, 10, &pair(index, base), &[]);
        self.say(host, 9, &self.addr(ring, 0), &[]);
        let call = self.calls[ring].as_raw_fd();
        self.say(host, 13, &u64::from(index).to_ne_bytes(), &[call]);
        let kick = self.kicks[ring].as_raw_fd();
        self.say(host, 12, &u64::from(index).to_ne_bytes(), &[kick]);
        self.say(host, 18, &pair(index, 1), &[]);
    }

    pub fn addr(&self, ring: usize, flags: u32) -> Vec<u8> {
        let r = &self.rings[ring];
        let mut body = pair(ring as u32, flags);
        for word in [UVA + r.desc, UVA + r.used, UVA + r.avail, GPA + r.used] {
            body.extend(word.to_ne_bytes());
        }
        body
    }

    /// Post every receive buffer of the first `pairs` queue pairs.
    pub fn fill_all(&mut self, pairs: usize) {
        for pair in 0..pairs {
            while self.post(pair * 2, RX_BUFFER) {}
        }
    }

    /// Send a request without waiting for anything.
    pub fn raw(&self, bytes: &[u8], fds: &[RawFd]) {
        // Errors show in what follows.
        let _ = send_with(&self.sock, bytes, fds);
    }

    pub fn request(&self, request: u32, flags: u32, body: &[u8], fds: &[RawFd]) {
        let mut bytes = vec![];
        for word in [request, 1 | flags, body.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(body);
        self.raw(&bytes, fds);
    }

    /// Send a request and have it carried out.
    pub fn say(&self, host: &mut Host, request: u32, body: &[u8], fds: &[RawFd]) {
        self.request(request, 0, body, fds);
        host.poll();
    }

    /// Send a request, and its answer's first eight bytes.
    pub fn ask(&mut self, host: &mut Host, request: u32, body: &[u8]) -> u64 {
        self.say(host, request, body, &[]);
        self.answer().unwrap()
    }

    /// With REPLY_ACK: what it says about a request.
    pub fn acked(&mut self, host: &mut Host, request: u32, body: &[u8], fds: &[RawFd]) -> Option<u64> {
        self.request(request, 8, body, fds);
        host.poll();
        self.answer()
    }

    pub fn answer(&mut self) -> Option<u64> {
        let mut bytes = [0; HEADER + 268];
        self.sock.read_exact(&mut bytes[..HEADER]).ok()?;
        let size = usize::from(u16::from_ne_bytes([bytes[8], bytes[9]]));
        self.sock.read_exact(&mut bytes[HEADER..HEADER + size]).ok()?;
        Some(u64::from_ne_bytes(*bytes[HEADER..].first_chunk().unwrap()))
    }

    /// Whether the door has hung up.
    pub fn hung_up(&mut self) -> bool {
        match self.sock.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

pub fn pair(a: u32, b: u32) -> Vec<u8> {
    [a.to_ne_bytes(), b.to_ne_bytes()].concat()
}

/// A memory table message: (guest address, size, front-end address, offset) each.
pub fn table(regions: &[(u64, u64, u64, u64)]) -> Vec<u8> {
    let mut body = pair(regions.len() as u32, 0);
    for (gpa, size, uva, offset) in regions {
        for word in [gpa, size, uva, offset] {
            body.extend(word.to_ne_bytes());
        }
    }
    body
}

/// A TCP segment of the flow between 10.0.0.1, from `port`, and 10.0.0.2, port 80, or `back`.
pub fn flow(port: u16, back: bool) -> Vec<u8> {
    let mut bytes = frame(100, 0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[20..22].fill(0);
    bytes[23] = 6;
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    bytes[26..30].copy_from_slice(if back { &b } else { &a });
    bytes[30..34].copy_from_slice(if back { &a } else { &b });
    bytes[34..36].copy_from_slice(&if back { 80 } else { port }.to_be_bytes());
    bytes[36..38].copy_from_slice(&if back { port } else { 80 }.to_be_bytes());
    bytes
}

/// An Ethernet frame of `len` bytes whose contents follow from `seed`.
pub fn frame(len: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (i * 31 + seed * 17 + i / 251) as u8).collect();
    let head = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes[..14].copy_from_slice(&head);
    bytes
}
