//! `tap`: a Linux TAP interface, with checksum and segmentation offload in both directions.
//!
//! The kernel is the guest: what it sends by the interface, we read; what we write, it receives,
//! within the very `write`. There is no batch call for TAPs, so it is one system call a frame; that
//! a frame may be a super-frame of 64 KiB is what makes a TAP fast. So datagrams of one flow that come
//! in one burst are written as one super-frame (`offload/join.rs`).
//!
//! Reading many by one call of io_uring gains nothing (io_uring_enter with 64 reads: 230 ns a frame of 64
//! bytes, `read`: 220, of which the call is half), and neither does IFF_NAPI. What does: a guest that sends
//! one frame after the other is read without epoll, which takes 50 ns of the sender's time for each.
//!
//! How a TAP ends or pauses, as epoll and the calls tell it (kernel `drivers/net/tun.c`):
//!  * interface set down by its guest: `write` fails with EIO; reads just find nothing. That it is
//!    up again is told as writable, but only to those who met EIO and then asked. So a guest that
//!    takes its interface down loses its carrier with the first frame that is sent to it.
//!  * interface deleted: EPOLLERR for ever, `read` and `write` fail with EBADFD. A level-triggered
//!    epoll would spin on that, so the descriptors are unregistered at once.

mod device;
#[cfg(test)]
mod tests;

use crate::context::{Context, EventKind};
use crate::frame::{Arena, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::{Joiner, Offload};
use crate::poller::{Interest, Readiness};
use device::Queue;
use std::io;
use std::os::fd::OwnedFd;
use switch::{DropReason, Nanos};

/// Length of the vnet header: without `num_buffers`, the Ethernet header behind it ends on a
/// multiple of four.
const HEADER: usize = Offload::LEN;
const HEADER_MAX: usize = 12;
/// The most queues that one TAP can have here (the kernel allows 256).
pub const QUEUES_MAX: usize = 64;

/// Bytes after which a burst ends: what a burst of super-frames may cost the other guests' patience. More
/// makes nothing faster (measured up to 4 MiB).
const BURST_BYTES: usize = 256 << 10;

/// Where the payload of super-frames is to begin in memory, a multiple of a cache line: the kernel's copies of
/// it, out and in again, take a twentieth less than at an odd byte.
const LINE: usize = 64;
/// Headers of a super-frame before there was one: Ethernet, IPv4, TCP with a timestamp.
const USUAL_HEADERS: u16 = 14 + 20 + 32;

/// Frames in a burst, or bytes (two super-frames), from which on a guest is busy.
const BUSY: usize = 32;
const BUSY_BYTES: usize = 96 << 10;

const PLAIN: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
const USO: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// How a TAP is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Largest payload of a frame that is no super-frame.
    pub mtu: u32,
    /// Exchange super-frames and frames without checksum.
    pub offload: bool,
}

/// A TAP interface.
#[derive(Debug)]
pub struct TapNic {
    queues: Vec<Queue>,
    /// Bit per queue: there may be something to read.
    readable: u64,
    /// Queue that is read first in the next burst.
    turn: usize,
    /// The guest sends so much that reading is cheaper than being told: its queues are out of epoll.
    busy: bool,
    name: String,
    caps: Caps,
    /// What the operator wants, and what the guest and the kernel did.
    link: bool,
    down: bool,
    gone: bool,
    malformed: u64,
    /// Bytes of headers in the latest super-frame; the next one is likely to have as many.
    headers: u16,
    gather: Vec<u8>,
    /// While the kernel takes UDP super-frames.
    joiner: Option<Joiner>,
    cx: Option<Context>,
}

impl TapNic {
    /// The TAP `name` by descriptors of /dev/net/tun that are not in use yet, one a queue. It is
    /// created, or with `create` false, may exist already. `%d` in the name becomes a free number.
    ///
    /// Errors: EBUSY the name is taken, or the TAP in use by another process; EPERM not allowed here;
    /// EINVAL it exists and is no TAP, or one with another idea of `multi_queue`.
    pub fn claim(fds: Vec<OwnedFd>, name: &str, create: bool, options: Options) -> io::Result<Self> {
        let queues = fds.into_iter().map(Queue::new).collect::<io::Result<Vec<_>>>()?;
        let [first, others @ ..] = &queues[..] else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let multi = !others.is_empty();
        let name = match first.claim(name, create, multi) {
            // One that was made for several queues can be used by one, if it is asked for so.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) && !multi && !create => {
                first.claim(name, create, true)?
            }
            other => other?,
        };
        for queue in others {
            queue.claim(&name, false, true)?;
        }
        Self::new(queues, name, options)
    }

    /// A TAP that somebody else opened, with IFF_VNET_HDR, by its descriptors.
    pub fn adopt(fds: Vec<OwnedFd>, options: Options) -> io::Result<Self> {
        let queues = fds.into_iter().map(Queue::new).collect::<io::Result<Vec<_>>>()?;
        let first = queues.first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let name = first.interface()?;
        Self::new(queues, name, options)
    }

    fn new(queues: Vec<Queue>, name: String, options: Options) -> io::Result<Self> {
        if queues.len() > QUEUES_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // The largest Ethernet frame there may be, with a tag.
        let max_frame = options.mtu.saturating_add(18);
        let mut caps = Caps::plain(max_frame);
        for queue in &queues {
            queue.set_header(HEADER)?;
        }
        if let Some(queue) = queues.first() {
            // These belong to the interface, not the queue. Kernels before 6.2 know no USO.
            if !options.offload {
                queue.set_offload(0)?;
            } else {
                let uso = queue.set_offload(PLAIN | USO).is_ok();
                if !uso {
                    queue.set_offload(PLAIN)?;
                }
                caps = Caps { csum: true, tso4: true, tso6: true, ecn: true, uso, max_frame };
            }
        }
        Ok(TapNic {
            queues,
            readable: 0,
            turn: 0,
            busy: false,
            name,
            caps,
            link: true,
            down: false,
            gone: false,
            malformed: 0,
            headers: USUAL_HEADERS,
            gather: Vec::new(),
            joiner: caps.uso.then(Joiner::new),
            cx: None,
        })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Change what the carrier depends on, and tell of it.
    fn update(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.carrier();
        change(self);
        let now = self.carrier();
        if before != now
            && let Some(cx) = &self.cx
        {
            cx.event(EventKind::Carrier(now));
        }
    }

    /// Begin to look by reading, or to wait for epoll again. Whether it worked.
    fn set_busy(&mut self, busy: bool) -> bool {
        if let Some(cx) = &self.cx
            && self.busy != busy
        {
            for queue in &self.queues {
                if let Err(e) = cx.poller.rest(queue, cx.port, busy) {
                    cx.log(format!("{}: epoll: {e}", self.name));
                    return false;
                }
            }
            self.busy = busy;
        }
        true
    }

    fn watch(&self, interest: Interest) {
        if let Some(cx) = &self.cx {
            for (sub, queue) in self.queues.iter().enumerate() {
                // The first queue speaks for the interface.
                let interest = if sub == 0 { interest } else { Interest::READ };
                if let Err(e) = cx.poller.modify(queue, cx.port, sub as u16, interest) {
                    cx.log(format!("{}: epoll: {e}", self.name));
                }
            }
        }
    }

    /// The guest has set the interface down.
    fn went_down(&mut self) {
        if !self.down && !self.gone {
            self.set_busy(false);
            self.update(|nic| nic.down = true);
            self.watch(Interest::BOTH);
        }
    }

    fn came_up(&mut self) {
        if self.down && !self.gone {
            self.update(|nic| nic.down = false);
            self.watch(Interest::READ);
        }
    }

    /// The interface was deleted under us.
    fn went_away(&mut self, error: &io::Error) {
        if self.gone {
            return;
        }
        self.update(|nic| nic.gone = true);
        (self.readable, self.busy) = (0, false);
        if let Some(cx) = &self.cx {
            for queue in &self.queues {
                cx.poller.remove(queue);
            }
            cx.log(format!("{}: the interface was deleted ({error})", self.name));
        }
    }
}

/// Which of `n` queues a frame goes to: the same for all frames of a flow, because the kernel sends
/// the flow's answers by the queue that it came from.
#[inline]
fn steer(head: &[u8], n: usize) -> usize {
    ((u64::from(flow(head)) * n as u64) >> 32) as usize
}

/// The same number for all frames of a flow, by a frame's beginning; 0 where no flows are told apart. A mix, not a
/// hash that resists an attacker: what a guest could gain is a longer queue of its own.
#[inline]
#[must_use]
pub fn flow(head: &[u8]) -> u32 {
    let word = |at: usize| head.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let flow = match head.get(12..15) {
        // IPv4 without options: addresses, and ports unless it is a fragment.
        Some([8, 0, 0x45]) => {
            let ports = if word(20) & u32::from_ne_bytes([0x3f, 0xff, 0, 0]) == 0 { word(34) } else { 0 };
            word(26) ^ word(30).rotate_left(9) ^ ports
        }
        Some([0x86, 0xdd, _]) => {
            let ports = if matches!(head.get(20), Some(6 | 17)) { word(54) } else { 0 };
            (22..54).step_by(4).fold(ports, |mix, at| mix.rotate_left(5) ^ word(at))
        }
        // To the kernel all of these are one flow: by several queues each would move the others' frames
        // from one to another, and their order would be lost.
        _ => return 0,
    };
    flow.wrapping_mul(0x9e37_79b1)
}

impl Nic for TapNic {
    fn kind(&self) -> &'static str {
        "tap"
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn carrier(&self) -> bool {
        self.link && !self.down && !self.gone
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        if self.link == up {
            return;
        }
        self.update(|nic| nic.link = up);
        if !self.gone
            && let Some(queue) = self.queues.first()
            && let Err(e) = queue.set_carrier(up)
            && let Some(cx) = &self.cx
        {
            // Only the guest's view is wrong: the port is closed by the switch.
            cx.log(format!("{}: its carrier can't be set: {e}", self.name));
        }
    }

    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        for (sub, queue) in self.queues.iter().enumerate() {
            cx.poller.add(queue, cx.port, sub as u16, Interest::READ)?;
        }
        self.cx = Some(cx);
        Ok(())
    }

    fn detach(&mut self) {
        if let Some(cx) = self.cx.take() {
            for queue in &self.queues {
                cx.poller.remove(queue);
            }
        }
        // Closing the last descriptor deletes the interface, unless it was made to persist.
        self.queues.clear();
        (self.readable, self.busy) = (0, false);
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, _now: Nanos) -> bool {
        if readiness.write {
            self.came_up();
        }
        if readiness.read && usize::from(sub) < self.queues.len() && !self.gone {
            self.readable |= 1 << sub;
        }
        self.readable != 0
    }

    fn rx_burst<'a>(&'a mut self, _now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut room = arena.bytes();
        let (mut bytes, mut error) = (0, None);
        if self.busy {
            self.readable = u64::MAX >> (64 - self.queues.len().clamp(1, QUEUES_MAX));
        }
        while self.readable != 0
            && !burst.is_full()
            && bytes < BURST_BYTES
            && room.len() >= LINE + HEADER + FRAME_MAX
        {
            // The queues with something to read, in turn, from `turn` on; each until it is empty.
            let later = self.readable & (u64::MAX << self.turn);
            let sub = if later != 0 { later } else { self.readable }.trailing_zeros() as usize;
            self.turn = sub;
            let Some(queue) = self.queues.get(sub) else {
                self.readable = 0;
                break;
            };
            let payload = room.as_ptr() as usize + HEADER + usize::from(self.headers);
            room = &mut std::mem::take(&mut room)[payload.wrapping_neg() % LINE..];
            let len = match queue.read(room) {
                Ok(len) => len,
                Err(e) => {
                    self.readable &= !(1 << sub);
                    if e.raw_os_error() == Some(libc::EBADFD) {
                        error = Some(e);
                        break;
                    }
                    // EAGAIN: empty. Whatever else it is, epoll will say when to try again. (To leave
                    // this read to epoll, too, was tried, and gained nothing.)
                    continue;
                }
            };
            bytes += len;
            let (read, rest) = std::mem::take(&mut room).split_at_mut(len);
            room = rest;
            match received(read) {
                Some(frame) => {
                    if frame.offload.gso_type != Offload::GSO_NONE {
                        self.headers = frame.offload.hdr_len;
                    }
                    burst.push(frame);
                }
                None => self.malformed += 1,
            }
        }
        self.turn = (self.turn + 1) % self.queues.len().max(1);
        if let Some(error) = error {
            self.went_away(&error);
        } else if !self.busy && (burst.len() >= BUSY || bytes >= BUSY_BYTES) {
            self.set_busy(true);
        }
        if self.readable != 0 { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut from = 0;
        while let Some(first) = frames.get(from) {
            let sub = match self.queues.len() {
                0 => return report.drop_rest(from, frames.len(), DropReason::TxNoCarrier),
                1 => 0,
                n => steer(first.frame.head(), n),
            };
            let Some(queue) = self.queues.get(sub) else { return };
            let joined = self.joiner.as_mut().and_then(|joiner| joiner.join(&frames[from..]));
            let (count, written) = match &joined {
                Some((n, frame)) => {
                    (*n, queue.write(&TxFrame { frame, edit: first.edit }, HEADER, &mut self.gather))
                }
                None => (1, queue.write(first, HEADER, &mut self.gather)),
            };
            let to = from + count;
            if let Err(e) = written {
                match e.raw_os_error() {
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                        report.drop_rest(from, to, DropReason::TxFull);
                    }
                    Some(libc::EIO) => {
                        self.went_down();
                        return report.drop_rest(from, frames.len(), DropReason::TxNoCarrier);
                    }
                    Some(libc::EBADFD) => {
                        self.went_away(&e);
                        return report.drop_rest(from, frames.len(), DropReason::TxNoCarrier);
                    }
                    Some(libc::EINVAL) if count > 1 => {
                        // This kernel does not take what we join: never again, and these one by one.
                        self.joiner = None;
                        continue;
                    }
                    Some(libc::EINVAL) if first.frame.offload != Offload::NONE => {
                        report.drop(from, DropReason::TxOffload);
                    }
                    _ => report.drop_rest(from, to, DropReason::TxError),
                }
            }
            from = to;
        }
    }

    fn polled(&self) -> bool {
        self.busy
    }

    fn arm(&mut self) -> bool {
        // What has come meanwhile epoll tells at once.
        self.set_busy(false)
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        match std::mem::take(&mut self.malformed) {
            0 => None,
            n => Some((DropReason::DoorMalformed, n)),
        }
    }
}

/// A frame as it was read: header, Ethernet. A guest's kernel wrote the header, but its user may
/// well have: a packet socket with PACKET_VNET_HDR lets root say anything there.
#[inline]
fn received(bytes: &[u8]) -> Option<Frame<'_>> {
    let (header, frame) = bytes.split_first_chunk::<HEADER>()?;
    let offload = Offload::from_bytes(header).vet(frame.len(), frame)?;
    Some(Frame::flat(frame, offload))
}
