//! AF_XDP on an interface: a `packet` door whose busiest way in goes around the kernel's network stack.
//!
//! A program at the driver (program.rs) takes unicast frames for the fabric's stations, each in the
//! queue it came in by, and they are read from memory shared with the kernel without a system call
//! (socket.rs). All the rest is the `packet` door's: groups, which the host must hear too; frames that
//! the program left; what goes out, with super-frames whole, which AF_XDP can't carry; the interface's
//! ups and downs. Frames of one station in one VLAN come by the same of the two, and so stay in order.
//!
//! What rules AF_XDP out makes the door a plain `packet` one, and one line says why. That may change
//! while it runs, with the MTU for example. When the process ends in whatever way, the program is
//! detached: it is held by a descriptor.

mod bpf;
mod ethtool;
mod program;
mod socket;
mod unfinished;

use crate::context::Context;
use crate::frame::{Arena, BURST, Burst, Frame, TxFrame};
use crate::inside::Inside;
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::packet::{PacketNic, Stations};
use crate::poller::{Interest, Readiness};
use arrayvec::ArrayVec;
use program::{Mode, Program, QUEUES_MAX};
use socket::{FRAME, Socket};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use switch::{DropReason, Nanos};

/// Descriptors of our own by their `sub`; those below are the `packet` door's.
const SOCKETS: u16 = 1024;
/// Queues that are used when nobody says how many: each takes 8 MiB.
const QUEUES: u32 = 16;

/// Which mode the program is to run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The driver's own where it has one; else the kernel's, where no VLAN tag can be missed.
    #[default]
    Auto,
    Native,
    Generic,
}

/// How AF_XDP is used.
#[derive(Debug)]
pub struct Options {
    /// The interface's namespace; None: ours.
    pub netns: Option<OwnedFd>,
    /// Queues that are taken from, the rest goes by the `packet` door; None: all, 16 at most.
    pub queues: Option<u32>,
    pub mode: Choice,
}

/// What goes around the kernel's stack.
#[derive(Debug)]
struct Fast {
    /// Detached before its sockets close.
    program: Program,
    sockets: Vec<Socket>,
    /// There may be another kernel behind it, which leaves checksums to us.
    unfinished: bool,
}

/// See the top of this file.
#[derive(Debug)]
pub struct XdpNic {
    packet: PacketNic,
    options: Options,
    /// Where sockets are opened, if not here.
    inside: Option<io::Result<Inside>>,
    fast: Option<Fast>,
    /// Which stay of the interface and which MTU were tried, so that it is not tried all the time.
    tried: Option<(u64, u32)>,
    /// What is to be told once somebody hears it.
    line: Option<String>,
    /// Places of the frames that are lent.
    lent: ArrayVec<u64, BURST>,
    /// Which socket they are of, and which one is next.
    at: usize,
    lost: u64,
    malformed: u64,
    cx: Option<Context>,
}

impl XdpNic {
    /// On the interface of an open `packet` door.
    #[must_use]
    pub fn new(packet: PacketNic, options: Options) -> Self {
        let inside = options.netns.as_ref().map(Inside::new);
        // While it can be read, for an interface that is usable only later.
        program::tag_of();
        let mut nic = XdpNic {
            packet,
            options,
            inside,
            fast: None,
            tried: None,
            line: None,
            lent: ArrayVec::new(),
            at: 0,
            lost: 0,
            malformed: 0,
            cx: None,
        };
        nic.follow();
        nic
    }

    /// What decides about which frames come in.
    #[must_use]
    pub fn stations(&self) -> Arc<Stations> {
        self.packet.stations()
    }

    /// The interface's largest payload in bytes, while there is one.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.packet.mtu()
    }

    /// Tell how it is, in one line.
    fn tell(&mut self, line: String) {
        match &self.cx {
            Some(cx) => cx.log(line),
            None => self.line = Some(line),
        }
    }

    /// The interface may be another one, or be there again, or carry longer frames.
    fn follow(&mut self) {
        let now = self.packet.interface().map(|(_, _, mtu)| (self.packet.gone(), mtu));
        if self.tried == now {
            return;
        }
        self.tried = now;
        self.close();
        let Some((index, name, mtu)) = self.packet.interface() else { return };
        let name = name.to_owned();
        match self.open(index, &name, mtu) {
            Ok(fast) => {
                let mode = if fast.program.mode == Mode::Native { "native" } else { "generic" };
                let copies = if fast.sockets.iter().all(|s| s.zero_copy) { "no copy" } else { "copies" };
                let queues = match fast.sockets.len() {
                    1 => "1 queue".to_owned(),
                    n => format!("{n} queues"),
                };
                let line = format!("{name}: AF_XDP in {mode} mode, {copies}, {queues}");
                if let Err(e) = self.plug(fast) {
                    self.close();
                    return self.tell(fallen_back(&name, &e));
                }
                self.tell(line);
            }
            Err(e) => self.tell(fallen_back(&name, &e)),
        }
    }

    fn open(&self, index: i32, name: &str, mtu: u32) -> io::Result<Fast> {
        let longest = mtu as usize + 14 + 8;
        if longest > FRAME {
            return Err(io::Error::other(format!("its MTU of {mtu} is above {}", FRAME - 22)));
        }
        let (wanted, mode, name) = (self.options.queues, self.options.mode, name.to_owned());
        let open = move || {
            let driver = ethtool::ask(&name)?;
            let program = Program::attach(index, &driver, mode)?;
            let queues = wanted.unwrap_or(QUEUES).min(driver.queues).clamp(1, QUEUES_MAX as u32);
            let sockets: io::Result<Vec<_>> = (0..queues).map(|queue| Socket::new(index, queue)).collect();
            Ok(Fast { program, sockets: sockets?, unfinished: !driver.is_hardware })
        };
        // What an interface's number means depends on the thread's namespace; this one keeps its own.
        match &self.inside {
            None => open(),
            Some(Ok(inside)) => inside.run(open),
            Some(Err(e)) => Err(io::Error::new(e.kind(), format!("its namespace can't be joined: {e}"))),
        }
    }

    /// From now on frames come by it.
    fn plug(&mut self, fast: Fast) -> io::Result<()> {
        self.packet.stations().beside(Some(Box::new(fast.program.stations())))?;
        for (queue, socket) in fast.sockets.iter().enumerate() {
            fast.program.plug(queue as u32, socket)?;
        }
        self.fast = Some(fast);
        self.watch()
    }

    fn watch(&self) -> io::Result<()> {
        let (Some(cx), Some(fast)) = (&self.cx, &self.fast) else { return Ok(()) };
        for (sub, socket) in (SOCKETS..).zip(&fast.sockets) {
            cx.poller.add(socket, cx.port, sub, Interest::READ)?;
        }
        Ok(())
    }

    /// Everything goes by the `packet` door.
    fn close(&mut self) {
        // Also when `plug` got no further than this. It may be that the port is gone, and no socket is to be
        // told.
        let _ = self.packet.stations().beside(None);
        let Some(mut fast) = self.fast.take() else { return };
        for socket in &mut fast.sockets {
            self.lost += socket.losses();
            if let Some(cx) = &self.cx {
                cx.poller.remove(&*socket);
            }
        }
        (self.lent, self.at) = (ArrayVec::new(), 0);
    }

    fn release(&mut self) {
        if let Some(socket) = self.fast.as_mut().and_then(|fast| fast.sockets.get_mut(self.at)) {
            socket.release(self.lent.drain(..));
        }
    }

    fn is_ready(&self) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.sockets.iter().any(|socket| socket.waiting() > 0))
    }
}

fn fallen_back(name: &str, error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::EBUSY) => "another XDP program, or socket, has it".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "that takes CAP_BPF and CAP_NET_ADMIN".to_owned(),
        Some(libc::EAFNOSUPPORT) => "this kernel has no AF_XDP".to_owned(),
        _ => error.to_string(),
    };
    format!("{name}: AF_PACKET instead of AF_XDP: {why}")
}

impl Nic for XdpNic {
    fn kind(&self) -> &'static str {
        "xdp"
    }

    fn caps(&self) -> Caps {
        self.packet.caps()
    }

    fn carrier(&self) -> bool {
        self.packet.carrier()
    }

    fn set_link(&mut self, up: bool, now: Nanos) {
        self.packet.set_link(up, now);
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.packet.attach(cx.clone(), now)?;
        if let Some(line) = self.line.take() {
            cx.log(line);
        }
        self.cx = Some(cx);
        self.watch()
    }

    fn detach(&mut self) {
        self.close();
        self.cx = None;
        self.packet.detach();
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        if sub >= SOCKETS {
            return true;
        }
        let more = self.packet.ready(sub, readiness, now);
        self.follow();
        more || self.is_ready()
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let Some(fast) = self.fast.as_mut() else { return self.packet.rx_burst(now, arena, burst) };
        // One socket, or the other door, has its turn.
        let turns = fast.sockets.len() + 1;
        for _ in 0..turns {
            self.at = (self.at + 1) % turns;
            let Some(socket) = fast.sockets.get_mut(self.at) else { break };
            if socket.waiting() > 0 {
                break;
            }
        }
        let Some(socket) = fast.sockets.get_mut(self.at) else {
            let rx = self.packet.rx_burst(now, arena, burst);
            return if fast.sockets.iter().any(|socket| socket.waiting() > 0) { Rx::More } else { rx };
        };
        let late = socket.is_late();
        while burst.len() < BURST && !self.lent.is_full() {
            let Some(slot) = socket.next() else { break };
            self.lent.push(slot.place);
            // SAFETY: it is released when the frames of this burst are no longer lent, by `rx_done` or
            // below, and each slot is looked at once.
            let bytes: &'a [u8] = unsafe { slot.bytes() };
            if bytes.is_empty() {
                self.malformed += 1;
                continue;
            }
            let offload = if fast.unfinished { unfinished::offload(bytes) } else { Offload::NONE };
            burst.push(Frame::flat(bytes, offload));
        }
        if late {
            self.lost += socket.losses();
        }
        if burst.is_empty() {
            socket.release(self.lent.drain(..));
        }
        // Each of the others, too, is asked before anybody sleeps.
        Rx::More
    }

    fn rx_done(&mut self) {
        if self.lent.is_empty() {
            self.packet.rx_done();
        } else {
            self.release();
        }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        self.packet.tx_burst(now, frames, report);
    }

    fn flush(&mut self, now: Nanos) -> bool {
        self.packet.flush(now)
    }

    fn deadline(&self) -> Option<Nanos> {
        self.packet.deadline()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        self.packet.tick(now)
    }

    fn polled(&self) -> bool {
        true
    }

    fn arm(&mut self) -> bool {
        self.packet.arm() && !self.is_ready()
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        for (count, reason) in
            [(&mut self.lost, DropReason::DoorOverrun), (&mut self.malformed, DropReason::DoorMalformed)]
        {
            match std::mem::take(count) {
                0 => {}
                n => return Some((reason, n)),
            }
        }
        self.packet.take_drops()
    }
}
