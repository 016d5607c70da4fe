//! A front-end and its guest's driver, and a host for the door: no threads, no waiting. Everything a
//! test does happens when it says so.

use super::super::nic::{Config, VhostUser};
use super::super::protocol::{HEADER, feature};
use crate::context::{Context, Event, EventKind, Events, Waker};
use crate::frame::{Arena, Burst, Frame, TxFrame};
use crate::nic::{Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Poller;
use crate::socket::{Endpoint, Role};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use switch::{DropReason, Nanos, TagEdit};

pub const SIZE: u64 = 4 << 20;
pub const GPA: u64 = 0x4000_0000;
pub const UVA: u64 = 0x7000_0000_0000;
/// Bytes of each buffer that the driver posts to receive in.
pub const RX_BUFFER: u32 = 2048;

/// The door under test, with all that an engine would give it.
pub struct Host {
    pub nic: VhostUser,
    poller: Arc<Poller>,
    events: Arc<Events>,
    arena: Arena,
    pub now: Nanos,
    pub path: PathBuf,
}

impl Host {
    pub fn new() -> Host {
        Host::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Host {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vnet-vu-{}-{number}", std::process::id()));
        let mut config = Config {
            endpoint: Endpoint::Path(path.clone()),
            role: Role::Server,
            queues: 2,
            mtu: 9000,
            offloads: true,
            mac: None,
        };
        change(&mut config);
        let mut nic = VhostUser::open(&config).unwrap();
        let poller = Arc::new(Poller::new().unwrap());
        let events = Arc::new(Events::new().unwrap());
        let waker = Arc::new(Waker::new().unwrap());
        let cx = Context { port: 7, poller: poller.clone(), waker, events: events.clone() };
        nic.attach(cx, 1).unwrap();
        Host { nic, poller, events, arena: Arena::new(), now: 1, path }
    }

    /// Let the door do what its descriptors and deadlines ask for, until they ask for nothing.
    pub fn poll(&mut self) {
        for _ in 0..100 {
            self.now += 1000;
            let mut seen = vec![];
            self.poller.wait(Some(0), |_, sub, readiness| seen.push((sub, readiness))).unwrap();
            for (sub, readiness) in &seen {
                self.nic.ready(*sub, *readiness, self.now);
            }
            if self.nic.deadline().is_some_and(|at| at <= self.now) {
                self.nic.tick(self.now);
            } else if seen.is_empty() {
                return;
            }
        }
    }

    /// Whether a kick (or anything else) waits to be seen.
    pub fn woken(&self) -> bool {
        self.poller.wait(Some(0), |_, _, _| {}).unwrap() > 0
    }

    /// All frames that the guest sent, with their offload state.
    pub fn receive_all(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut all = vec![];
        for _ in 0..100_000 {
            let (rx, mut frames) = self.receive();
            let empty = frames.is_empty();
            all.append(&mut frames);
            if rx == Rx::Idle && empty {
                break;
            }
        }
        all
    }

    /// One burst.
    pub fn receive(&mut self) -> (Rx, Vec<(Vec<u8>, Offload)>) {
        self.now += 1000;
        let mut burst = Burst::new();
        let rx = self.nic.rx_burst(self.now, &mut self.arena, &mut burst);
        let frames: Vec<_> = burst
            .iter()
            .map(|frame| {
                let mut bytes = vec![0; frame.len()];
                TxFrame { frame, edit: TagEdit::NONE }.copy_to(&mut bytes).unwrap();
                (bytes, frame.offload)
            })
            .collect();
        drop(burst);
        if !frames.is_empty() {
            self.nic.rx_done();
        }
        (rx, frames)
    }

    /// Send frames to the guest; the reasons of those that were dropped.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> Vec<(u8, DropReason)> {
        let frames: Vec<Frame<'_>> = frames.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
        self.send_frames(&frames, TagEdit::NONE)
    }

    pub fn send_frames(&mut self, frames: &[Frame<'_>], edit: TagEdit) -> Vec<(u8, DropReason)> {
        self.now += 1000;
        let mut report = TxReport::default();
        let frames: Vec<TxFrame<'_>> = frames.iter().map(|frame| TxFrame { frame, edit }).collect();
        self.nic.tx_burst(self.now, &frames, &mut report);
        self.nic.flush(self.now);
        report.drops().to_vec()
    }

    /// What was told upstairs since the last call: carrier changes, and lines for the log.
    pub fn news(&mut self) -> (Vec<bool>, Vec<String>) {
        let (mut carrier, mut log) = (vec![], vec![]);
        for Event { kind, .. } in self.events.take().0 {
            match kind {
                EventKind::Carrier(up) => carrier.push(up),
                EventKind::Log(line) => log.push(line),
                other => panic!("{other:?}"),
            }
        }
        (carrier, log)
    }

    /// Run the clock on, deadlines included.
    pub fn wait(&mut self, by: Nanos) {
        let end = self.now + by;
        while let Some(at) = self.nic.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.nic.tick(self.now);
        }
        self.now = end;
    }
}

pub fn eventfd() -> OwnedFd {
    crate::poller::eventfd().unwrap()
}

/// How often an eventfd was signalled.
pub fn count(fd: &OwnedFd) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight bytes of a local; an eventfd that does not block.
    let n = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    if n == 8 { count } else { 0 }
}

pub fn memfd(size: u64) -> OwnedFd {
    // SAFETY: the name is a C string; ftruncate checks the result.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC)) };
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) }, 0);
    fd
}

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
    memory: *mut u8,
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
        let mut control = [0u64; 16];
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: plain data.
        let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        if !fds.is_empty() {
            let size = size_of_val(fds) as u32;
            msg.msg_control = control.as_mut_ptr().cast();
            // SAFETY: arithmetic; the control buffer holds 128 bytes, up to 28 descriptors.
            msg.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
            // SAFETY: see above.
            unsafe {
                let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
                (*cmsg).cmsg_level = libc::SOL_SOCKET;
                (*cmsg).cmsg_type = libc::SCM_RIGHTS;
                (*cmsg).cmsg_len = libc::CMSG_LEN(size) as usize;
                let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
                for (i, fd) in fds.iter().enumerate() {
                    data.add(i).write_unaligned(*fd);
                }
            }
        }
        // SAFETY: everything that msg points to lives through the call. Errors show in what follows.
        unsafe { libc::sendmsg(self.sock.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL) };
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

    // ------------------------------------------------------------------ memory

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

    // ------------------------------------------------------------------ rings

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

/// An Ethernet frame of `len` bytes whose contents follow from `seed`.
pub fn frame(len: usize, seed: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (i * 31 + seed * 17 + i / 251) as u8).collect();
    let head = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes[..14].copy_from_slice(&head);
    bytes
}

/// How many descriptors this process has open.
pub fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
