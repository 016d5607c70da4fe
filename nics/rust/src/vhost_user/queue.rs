//! One queue as the front-end sets it up, piece by piece and in any order, and the ring that runs
//! once all pieces are there.

use super::eventfd::EventFd;
use super::inflight::Inflight;
use super::log::Log;
use super::memory::Memory;
use super::protocol::VringAddr;
use super::ring::{Base, Placement, RingFault, RingFeatures};
use super::vring::{UsedLog, Vring};
use crate::context::Context;
use crate::poller::Interest;
use std::io;
use std::sync::Arc;

/// Where kicks are watched: descriptor numbers (`sub`) from here on, one a queue.
pub const KICKS: u16 = 16;
/// The used ring is logged (`VHOST_VRING_F_LOG`).
const LOGGED: u32 = 1;

/// A kick descriptor, watched by the engine while it lives.
#[derive(Debug)]
struct Kick {
    fd: EventFd,
    cx: Option<Context>,
}

impl Drop for Kick {
    fn drop(&mut self) {
        // The front-end holds the same eventfd, so closing ours alone would not end the watch.
        if let Some(cx) = &self.cx {
            cx.poller.remove(&self.fd);
        }
    }
}

#[derive(Debug, Default)]
pub struct Queue {
    size: u16,
    addr: Option<VringAddr>,
    base: u32,
    /// Where a ring of this connection stopped last: whoever goes on there goes on exactly there.
    left: Option<u32>,
    kick: Option<Kick>,
    pub call: Option<EventFd>,
    err: Option<EventFd>,
    /// A kick was set: the driver is ready.
    started: bool,
    /// A ring ran where it is since it was told where that is, and that it is to start.
    ran: bool,
    /// The front-end lets frames through.
    pub enabled: bool,
    pub ring: Option<Box<Vring>>,
}

/// Everything that the rings of one device have in common.
pub struct Setting<'a> {
    pub memory: &'a Arc<Memory>,
    pub features: RingFeatures,
    pub log: Option<&'a Log>,
    pub inflight: Option<&'a Inflight>,
}

impl Queue {
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether work at this queue is announced; without a kick descriptor one has to look.
    #[must_use]
    pub fn announced(&self) -> bool {
        self.kick.is_some()
    }

    /// Another size; not while the ring runs.
    #[must_use]
    pub fn set_size(&mut self, size: u16) -> bool {
        let ok = self.ring.is_none();
        if ok {
            self.size = size;
        }
        ok
    }

    /// Another place. A running ring goes on there.
    pub fn set_addr(&mut self, addr: VringAddr) {
        self.pause();
        self.addr = Some(addr);
        self.ran = false;
    }

    /// Where to begin; not while the ring runs.
    #[must_use]
    pub fn set_base(&mut self, base: u32) -> bool {
        let ok = self.ring.is_none();
        if ok {
            self.base = base;
            self.left = self.left.filter(|left| *left == base);
        }
        ok
    }

    /// The driver is ready, and kicks here (or doesn't).
    pub fn set_kick(&mut self, index: u16, fd: Option<EventFd>, cx: Option<&Context>) -> io::Result<()> {
        self.kick = None;
        self.started = true;
        if let Some(fd) = fd {
            if let Some(cx) = cx {
                cx.poller.add(&fd, cx.port, KICKS + index, Interest::EACH)?;
            }
            self.kick = Some(Kick { fd, cx: cx.cloned() });
        }
        Ok(())
    }

    pub fn set_err(&mut self, fd: Option<EventFd>) {
        self.err = fd;
    }

    /// Stop the ring for a change; `settle` starts it again where it was.
    pub fn pause(&mut self) {
        if let Some(mut ring) = self.ring.take() {
            // Its successor does not know that the guest is still to be told of something.
            ring.call(self.call.as_ref(), true);
            self.base = ring.stop();
            self.left = Some(self.base);
        }
    }

    /// Stop the ring until there is another kick descriptor. Returns where a successor begins.
    pub fn stop(&mut self) -> u32 {
        self.pause();
        self.kick = None;
        self.started = false;
        self.ran = false;
        self.base
    }

    /// Stop the ring, and forget where it is. Not where it has got to, nor whether it is enabled: QEMU
    /// (7.2) says that the guest's status is 0 whenever it stops a device, also to pause it or to move it
    /// elsewhere, and asks for that only afterwards. Whoever sets it up anew says both.
    pub fn reset(&mut self) {
        self.stop();
        self.addr = None;
        self.left = None;
    }

    /// Tell the front-end that the ring is broken.
    pub fn complain(&self) {
        if let Some(err) = &self.err {
            err.signal();
        }
    }

    /// Start the ring if it should run, doesn't, and all pieces are there. Whether that was tried.
    ///
    /// One that ran, and whose memory is gone, waits until it is there again: a front-end that has a region moved
    /// (QEMU, when its guest writes to registers of the chipset) removes it and then adds it anew.
    pub fn settle(&mut self, index: u16, setting: &Setting<'_>) -> Result<bool, RingFault> {
        let Some(addr) = self.addr else { return Ok(false) };
        if self.ring.is_some() || !self.started || self.size == 0 || setting.memory.is_empty() {
            return Ok(false);
        }
        let place = Placement { size: self.size, desc: addr.desc, avail: addr.avail, used: addr.used };
        let used_log = setting
            .log
            .filter(|_| addr.flags & LOGGED != 0)
            .map(|log| UsedLog { log: log.clone(), gpa: addr.log });
        let inflight = setting.inflight.and_then(|inflight| inflight.queue(index, self.size));
        let base = Base { bits: self.base, exact: self.left == Some(self.base) };
        match Vring::start(setting.memory, &place, base, setting.features, inflight, used_log) {
            Ok(ring) => self.ring = Some(Box::new(ring)),
            Err(RingFault::Placement) if self.ran => {}
            Err(fault) => return Err(fault),
        }
        self.ran = true;
        Ok(true)
    }
}
