//! What a front-end says, and what follows from it: the state of one device for the time of one
//! connection. No sockets here: requests go in, answers come out.
//!
//! Requests may come in any order. Each is only noted where it belongs; after each `settle` starts
//! those rings for which everything is there, and whatever changes under a running ring stops it
//! first. So there is no order that could make a ring run on something half set up.
//!
//! Kinds of wrong are told apart:
//!  * a request that makes no sense ends the connection (`Refusal::Fatal`); the front-end may
//!    connect again;
//!  * one that makes sense but can't be done is refused in the answer, if an answer was asked for
//!    (`Refusal::Soft`, `Refusal::Mild`);
//!  * a ring that breaks its rules is the guest's doing, not the front-end's: all rings stop, the
//!    link goes down, and the connection stays, because through it comes the reset (the guest's
//!    driver starts again and the front-end stops the rings with GET_VRING_BASE) that ends it.

use super::eventfd::{EventFd, Manners};
use super::inflight::{self, Inflight};
use super::log::Log;
use super::mapping::Unmapping;
use super::memory::{Memory, MemoryError, Region};
use super::offer::Offer;
use super::protocol::{Answer, FDS_MAX, Request, feature, protocol_feature};
use super::queue::{Queue, Setting};
use super::ring::{RING_MAX, RingFault, RingFeatures};
use super::rx::Sends;
use super::tx::Takes;
use crate::context::Context;
use crate::nic::Caps;
use crate::socket::closing::Foreign;
use arrayvec::ArrayVec;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Descriptors that came with a request.
pub type Fds = ArrayVec<Foreign, FDS_MAX>;

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// It makes no sense: hang up.
    Fatal(String),
    /// It can't be done: say so, or hang up if nobody asked.
    Soft(String),
    /// It can't be done, but nothing else depends on it: say so if somebody asked.
    Mild(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Fatal(why) | Refusal::Soft(why) | Refusal::Mild(why) => f.write_str(why),
        }
    }
}

fn fatal<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Fatal(why.into()))
}

impl From<MemoryError> for Refusal {
    fn from(e: MemoryError) -> Self {
        Refusal::Soft(e.to_string())
    }
}

/// An answer, and a descriptor to send with it.
pub type Reply = (Answer, Option<OwnedFd>);

/// The longest frame for a guest that takes super-frames or joins buffers.
const FRAME_MAX: u32 = crate::frame::FRAME_MAX as u32;

#[derive(Debug)]
pub struct Session {
    offer: Offer,
    cx: Option<Context>,
    manners: Arc<Manners>,
    features: u64,
    protocol: u64,
    memory: Arc<Memory>,
    unmapping: Unmapping,
    pub queues: Vec<Queue>,
    log: Option<Log>,
    inflight: Option<Inflight>,
    status: u8,
    broken: Option<RingFault>,
    /// A request had a ring start, all of them stop, or memory mapped, in vain or not: enough for one turn.
    pub costly: bool,
    /// A line for the log.
    pub complaint: Option<String>,
    /// The guest has moved here and can't say so itself: its address is to be announced.
    pub announce: Option<[u8; 6]>,
    pub sends: Sends,
    pub takes: Takes,
    pub caps: Caps,
}

impl Session {
    #[must_use]
    pub fn new(offer: Offer, cx: Option<Context>, manners: Arc<Manners>, unmapping: Unmapping) -> Self {
        // Some front-ends ask for pairs, others for single queues (see GET_QUEUE_NUM); each may use
        // as many as it understood.
        let queues = (0..offer.pairs * 4).map(|_| Queue::default()).collect();
        Session {
            offer,
            cx,
            manners,
            features: 0,
            protocol: 0,
            memory: Arc::default(),
            unmapping,
            queues,
            log: None,
            inflight: None,
            status: 0,
            broken: None,
            costly: false,
            complaint: None,
            announce: None,
            sends: Sends::of(0),
            takes: Takes::of(0),
            caps: Caps::plain(FRAME_MAX),
        }
    }

    /// Whether frames can pass: some queue each way runs and is enabled.
    #[must_use]
    pub fn running(&self) -> bool {
        let way = |odd: usize| {
            self.queues.iter().skip(odd).step_by(2).any(|queue| queue.ring.is_some() && queue.enabled)
        };
        way(0) && way(1)
    }

    /// Whether some ring is to be looked at.
    #[must_use]
    pub fn started(&self) -> bool {
        self.queues.iter().any(|queue| queue.ring.is_some())
    }

    /// The log of pages written to, while one is kept.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref().filter(|_| self.features & feature::LOG_ALL != 0)
    }

    /// A ring broke its rules: nothing runs any more until the guest starts anew.
    pub fn fault(&mut self, index: usize, fault: RingFault) {
        if self.broken.is_some() {
            return;
        }
        self.broken = Some(fault);
        for queue in &mut self.queues {
            queue.pause();
        }
        if let Some(queue) = self.queues.get(index) {
            queue.complain();
        }
        let way = if index.is_multiple_of(2) { "receive" } else { "transmit" };
        self.complaint = Some(format!("stopped, {way} queue {}: {fault}", index / 2));
    }

    /// Whether some of what rings use was taken away under us.
    fn struck(&self) -> bool {
        self.memory.struck()
            || self.log().is_some_and(Log::struck)
            || self.inflight.as_ref().is_some_and(Inflight::struck)
    }

    /// Memory was taken away somewhere; find out whether it was ours.
    pub fn check_memory(&mut self) {
        if self.started() && self.struck() {
            self.fault(0, RingFault::Struck);
        }
    }

    /// Carry out one request, as one that was sent with `fds`.
    pub fn handle(&mut self, request: Request, need_reply: bool, fds: Fds) -> Result<Option<Reply>, Refusal> {
        let (least, most) = request.fds();
        if fds.len() < least || fds.len() > most {
            return fatal(format!("{} descriptors with a request that takes {least}", fds.len()));
        }
        let ack = need_reply && self.protocol & protocol_feature::REPLY_ACK != 0;
        let done = self.carry_out(request, fds);
        self.settle();
        match done {
            Ok(Some(reply)) => Ok(Some(reply)),
            Ok(None) => Ok(ack.then_some((Answer::U64(0), None))),
            Err(Refusal::Soft(why)) if ack => {
                self.complaint = Some(why);
                Ok(Some((Answer::U64(1), None)))
            }
            Err(Refusal::Mild(why)) => {
                self.complaint = Some(why);
                Ok(ack.then_some((Answer::U64(1), None)))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Start what can be started.
    fn settle(&mut self) {
        // What was taken away is memory of our own now, without a bound: there is other memory first.
        if self.broken.is_some() || self.struck() {
            return;
        }
        let log = self.log.as_ref().filter(|_| self.features & feature::LOG_ALL != 0);
        let features = RingFeatures::of(self.features);
        let setting = Setting { memory: &self.memory, features, log, inflight: self.inflight.as_ref() };
        for (index, queue) in self.queues.iter_mut().enumerate() {
            match queue.settle(index as u16, &setting) {
                Ok(tried) => self.costly |= tried,
                Err(fault) => {
                    self.costly = true;
                    self.fault(index, fault);
                    return;
                }
            }
        }
    }

    /// The eventfd that came with a request, if one did.
    fn eventfd(&self, fds: &mut Fds) -> Result<Option<EventFd>, Refusal> {
        let adopt = |fd| {
            EventFd::adopt(fd, &self.manners)
                .map_err(|_| Refusal::Fatal("a descriptor that is no eventfd".into()))
        };
        fds.pop().map(adopt).transpose()
    }

    fn queue(&mut self, index: u32) -> Result<&mut Queue, Refusal> {
        match self.queues.get_mut(index as usize) {
            Some(queue) => Ok(queue),
            None => fatal(format!("queue {index} is beyond the offered ones")),
        }
    }

    /// Stop all rings for a change that concerns all.
    fn pause(&mut self) {
        self.costly = true;
        for queue in &mut self.queues {
            queue.pause();
        }
    }

    fn reset(&mut self) {
        self.costly = true;
        for queue in &mut self.queues {
            queue.reset();
        }
        self.broken = None;
    }

    fn set_memory(&mut self, memory: Memory) {
        self.pause();
        self.memory = Arc::new(memory);
    }

    fn carry_out(&mut self, request: Request, mut fds: Fds) -> Result<Option<Reply>, Refusal> {
        let answer = |value| Ok(Some((Answer::U64(value), None)));
        match request {
            Request::GetFeatures => return answer(self.offer.features),
            Request::SetFeatures(features) => self.set_features(features)?,
            Request::SetOwner => {}
            Request::ResetOwner | Request::ResetDevice => {
                self.reset();
                for queue in &mut self.queues {
                    queue.enabled = self.features & feature::PROTOCOL_FEATURES == 0;
                }
            }
            Request::GetProtocolFeatures => return answer(self.offer.protocol),
            Request::SetProtocolFeatures(features) => {
                if features & !self.offer.protocol != 0 {
                    return fatal("a protocol feature that was not offered");
                }
                self.protocol = features;
            }
            // The specification speaks of queues. QEMU and DPDK take the answer for pairs, rust-vmm's
            // front-ends for single queues: twice the pairs is right for the latter and harmless for
            // the former, because we have that many.
            Request::GetQueueNum => return answer(u64::from(self.offer.pairs) * 2),
            Request::SetMemTable(specs) => {
                self.costly = true;
                Memory::fits(specs.iter().map(|spec| spec.size))?;
                let map = |(spec, fd)| Region::map(spec, fd, &self.unmapping);
                let regions: Result<Vec<Region>, MemoryError> = specs.iter().zip(&fds).map(map).collect();
                let memory = regions.and_then(Memory::new)?;
                self.set_memory(memory);
                fds.into_iter().for_each(mapped);
            }
            Request::GetMaxMemSlots => return answer(super::memory::SLOTS_MAX as u64),
            Request::AddMemReg(spec) => {
                let Some(fd) = fds.pop() else { return fatal("a memory region without its descriptor") };
                self.costly = true;
                let memory = self.memory.with(Region::map(&spec, &fd, &self.unmapping)?)?;
                self.set_memory(memory);
                mapped(fd);
            }
            Request::RemMemReg(spec) => {
                // Removed once for each queue pair, too: the second time it is gone already.
                if let Some(memory) = self.memory.without(&spec) {
                    self.set_memory(memory);
                }
            }
            Request::SetLogBase { size, offset } => {
                let Some(fd) = fds.pop() else { return fatal("a log without its descriptor") };
                self.costly = true;
                let log = Log::map(size, offset, &fd, &self.unmapping)?;
                self.pause();
                self.log = Some(log);
                mapped(fd);
                // Answered in any case since the log comes as a descriptor.
                return answer(0);
            }
            // Would be signalled on errors of the log; there are none.
            Request::SetLogFd => {}
            Request::SetVringNum { index, num } => {
                let size = u16::try_from(num).unwrap_or(0);
                if !size.is_power_of_two() || size > RING_MAX {
                    return fatal(format!("a ring of {num} entries"));
                }
                if !self.queue(index)?.set_size(size) {
                    return fatal("another ring size while the ring runs");
                }
            }
            Request::SetVringAddr(addr) => self.queue(addr.index)?.set_addr(addr),
            Request::SetVringBase { index, base } => {
                if !self.queue(index)?.set_base(base) {
                    return fatal("another ring index while the ring runs");
                }
            }
            Request::GetVringBase { index } => {
                let base = self.queue(index)?.stop();
                if self.queues.iter().all(|queue| !queue.started()) {
                    self.broken = None;
                }
                return Ok(Some((Answer::VringState { index, num: base }, None)));
            }
            Request::SetVringKick { index, .. } => {
                let fd = self.eventfd(&mut fds)?;
                let cx = self.cx.clone();
                // Stops what runs: whoever sends this starts the ring.
                let queue = self.queue(u32::from(index))?;
                queue.pause();
                queue
                    .set_kick(u16::from(index), fd, cx.as_ref())
                    .map_err(|e| Refusal::Fatal(format!("a kick descriptor that can't be watched: {e}")))?;
            }
            Request::SetVringCall { index, .. } => {
                let fd = self.eventfd(&mut fds)?;
                let queue = self.queue(u32::from(index))?;
                queue.call = fd;
                // What was given back before may have been meant for it, also by a predecessor that was killed
                // before it could tell.
                if let Some(call) = &queue.call {
                    call.signal();
                }
            }
            Request::SetVringErr { index, .. } => {
                let fd = self.eventfd(&mut fds)?;
                self.queue(u32::from(index))?.set_err(fd);
            }
            Request::SetVringEnable { index, enable } => self.queue(index)?.enabled = enable,
            Request::SendRarp(mac) => self.announce = Some(mac),
            Request::NetSetMtu(mtu) => {
                if mtu < 68 || mtu > u64::from(self.offer.mtu) {
                    return Err(Refusal::Mild(format!("an MTU of {mtu}, the port's is {}", self.offer.mtu)));
                }
            }
            Request::GetConfig(at) => {
                let answer = match (at, self.offer.config()) {
                    (Some(at), Some(space)) => Answer::Config { at, space },
                    _ => Answer::Nothing,
                };
                return Ok(Some((answer, None)));
            }
            Request::GetInflightFd(spec) => {
                let (fd, spec) = inflight::create(&spec, self.queues.len() as u16)
                    .map_err(|e| Refusal::Fatal(format!("in-flight tables that can't be made: {e}")))?;
                return Ok(Some((Answer::Inflight(spec), Some(fd))));
            }
            Request::SetInflightFd(spec) => {
                let Some(fd) = fds.pop() else { return fatal("in-flight tables without their descriptor") };
                self.costly = true;
                let inflight = Inflight::map(&spec, &fd, &self.unmapping)?;
                self.pause();
                self.inflight = Some(inflight);
                mapped(fd);
            }
            Request::SetStatus(status) => {
                self.status = status as u8;
                if self.status == 0 {
                    self.reset();
                }
            }
            Request::GetStatus => return answer(u64::from(self.status)),
            Request::Unknown(number) => {
                return Err(Refusal::Mild(format!("request {number}, which was not negotiated")));
            }
        }
        Ok(None)
    }

    fn set_features(&mut self, features: u64) -> Result<(), Refusal> {
        if features & !self.offer.features != 0 {
            return fatal("a feature that was not offered");
        }
        let changed = self.features ^ features;
        if changed & !feature::LOG_ALL != 0 && self.queues.iter().any(|queue| queue.ring.is_some()) {
            return fatal("other features while rings run");
        }
        if changed != 0 {
            self.pause();
        }
        self.features = features;
        if features & feature::PROTOCOL_FEATURES == 0 {
            // Without SET_VRING_ENABLE every ring is enabled.
            for queue in &mut self.queues {
                queue.enabled = true;
            }
        }
        self.sends = Sends::of(features);
        self.takes = Takes::of(features);
        self.caps = Takes::caps(features, FRAME_MAX);
        Ok(())
    }
}

/// The memory behind this descriptor is mapped, so to close it is not to close the last of it.
fn mapped(fd: Foreign) {
    drop(fd.trust());
}
