//! `stream`: frames over a unix or TCP connection, each behind its length (four bytes, big-endian).
//! QEMU `-netdev stream` and `socket`, passt, gvproxy and libkrun speak it.
//!
//! Receiving: one `recv` fills a buffer with as many frames as there are, and the engine is lent them
//! right there. Sending: a large burst goes out in one `sendmsg`, straight from wherever its frames
//! lie; small ones are gathered first, so that many ports sending a frame each to the same guest cost
//! one call a turn, not one each. What the kernel does not take waits in a bounded ring, and only
//! then is the socket watched for writing. A frame that was begun is always completed: a peer can
//! lose whole frames (`tx-full`), but never the place where the next one begins.
//!
//! A length of 0, or beyond the longest frame, leaves no way to find the next frame: it is counted
//! (`door-malformed`), told, and the connection is dropped.

mod gather;
mod incoming;
#[cfg(test)]
mod tests;

use crate::context::Context;
use crate::error::OpenError;
use crate::frame::{Arena, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::outgoing::{LENGTH, Outgoing};
use crate::poller::Readiness;
use crate::socket::calls;
use crate::socket::{Connection, Descriptors, Endpoint, Role, Step};
use crate::told::Told;
use gather::Gather;
use incoming::{BadLength, Fill, Incoming, Spans};
use std::io;
use switch::{DropReason, Nanos};

/// A `stream` door.
#[derive(Debug)]
pub struct StreamNic {
    connection: Connection,
    incoming: Incoming,
    outgoing: Outgoing,
    gather: Gather,
    /// The kernel has taken all it can for now; the socket is watched for writing.
    waiting: bool,
    cx: Option<Context>,
    link: bool,
    told: Told,
    malformed: u64,
}

impl StreamNic {
    /// Bursts of at least this many bytes are sent at once, smaller ones at the end of the turn.
    const DIRECT: usize = 16 << 10;

    /// Open the door at `endpoint`: a server listens from now on, a client connects when attached.
    pub fn open(endpoint: Endpoint, role: Role) -> Result<Self, OpenError> {
        Ok(StreamNic {
            connection: Connection::open(endpoint, role, Descriptors::Refused)?,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            gather: Gather::default(),
            waiting: false,
            cx: None,
            link: true,
            told: Told::default(),
            malformed: 0,
        })
    }

    /// Where a server listens: with the port that the kernel chose, if 0 was asked for.
    #[must_use]
    pub fn listening_at(&self) -> Option<Endpoint> {
        self.connection.listening_at()
    }

    fn announce(&mut self) {
        let carrier = self.carrier();
        self.told.tell(carrier, self.cx.as_ref());
    }

    fn came_up(&mut self) {
        self.incoming.restart();
        self.announce();
    }

    fn lost(&mut self, offence: bool, now: Nanos) {
        self.connection.close(offence, now);
        self.outgoing.clear();
        self.waiting = false;
        // Not `clear`: frames of this connection may be lent at this moment.
        self.incoming.restart();
        self.announce();
    }

    fn offended(&mut self, bad: BadLength, now: Nanos) {
        self.malformed += 1;
        if let Some(cx) = &self.cx {
            cx.log(format!(
                "dropped the connection to {}: a frame of {} bytes was announced, 1 to {FRAME_MAX} are possible",
                self.connection.endpoint(),
                bad.0
            ));
        }
        self.lost(true, now);
    }

    /// Whole frames from what is buffered, or else from one more `recv`.
    fn receive(&mut self, spans: &mut Spans, most: usize, now: Nanos) -> Rx {
        let mut more = false;
        let mut verdict = self.incoming.take(spans, most);
        if spans.is_empty() && verdict.is_ok() {
            let Some(peer) = self.connection.peer() else { return Rx::Idle };
            match self.incoming.fill(|room| calls::receive(peer, room)) {
                Ok(Fill::Data { more: further }) => {
                    more = further;
                    verdict = self.incoming.take(spans, most);
                }
                Ok(Fill::Nothing) => {}
                Ok(Fill::End) | Err(_) => self.lost(false, now),
            }
        }
        if let Err(bad) = verdict {
            self.offended(bad, now);
            return Rx::Idle;
        }
        if more || spans.len() >= most { Rx::More } else { Rx::Idle }
    }

    /// Send what waits.
    fn drain(&mut self, now: Nanos) {
        while !self.outgoing.is_empty() {
            let Some(peer) = self.connection.peer() else { return };
            let (first, second) = self.outgoing.parts();
            match calls::send(peer, &[first.into(), second.into()]) {
                Ok(n) => self.outgoing.consume(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lost(false, now),
            }
        }
        self.waiting = !self.outgoing.is_empty();
        self.connection.watch_writing(self.waiting);
    }

    /// Send what waits and then `frames`, without copying. Returns how many frames were taken (the
    /// last one, perhaps, in part into the ring); as an error, when the connection is broken.
    fn send_now(&mut self, frames: &[TxFrame<'_>]) -> Result<usize, usize> {
        let mut done = 0;
        while let Some(frame) = frames.get(done) {
            if !Gather::fits(frame) {
                // A chain of more pieces than one call takes goes by the ring.
                if !self.outgoing.push(frame) {
                    break;
                }
                done += 1;
                continue;
            }
            let Some(peer) = self.connection.peer() else { return Err(done) };
            let sent = self.gather.send(peer, self.outgoing.parts(), &frames[done..]);
            let mut bytes = match sent.bytes {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                // The sender's memory went away under its frames. That is no fault of this connection: they are
                // copied, which finds out whose memory it was.
                Err(e) if e.raw_os_error() == Some(libc::EFAULT) => return Ok(done),
                Err(_) => return Err(done),
            };
            let queued = bytes.min(self.outgoing.len());
            self.outgoing.consume(queued);
            bytes -= queued;
            for frame in &frames[done..done + sent.frames] {
                let length = LENGTH + frame.len();
                if bytes < length {
                    self.waiting = true;
                    break;
                }
                bytes -= length;
                done += 1;
            }
            if self.waiting {
                if bytes > 0 {
                    self.outgoing.push_rest(&frames[done], bytes);
                    done += 1;
                }
                break;
            }
        }
        Ok(done)
    }
}

impl Nic for StreamNic {
    fn kind(&self) -> &'static str {
        "stream"
    }

    fn caps(&self) -> Caps {
        Caps::plain(FRAME_MAX as u32)
    }

    fn carrier(&self) -> bool {
        self.link && self.connection.peer().is_some()
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        // The protocol has no way to show it to the guest, and QEMU does not pass on a closed
        // connection either; so the connection stays.
        self.link = up;
        self.announce();
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        self.cx = Some(cx.clone());
        if self.connection.attach(cx, now)? {
            self.came_up();
        }
        Ok(())
    }

    fn detach(&mut self) {
        self.connection.detach();
        self.outgoing.clear();
        self.incoming.clear();
        self.waiting = false;
        self.announce();
        self.cx = None;
    }

    fn ready(&mut self, sub: u16, readiness: Readiness, now: Nanos) -> bool {
        match self.connection.ready(sub, readiness, now) {
            Step::Nothing => false,
            Step::Up => {
                self.came_up();
                true
            }
            Step::Peer => {
                if readiness.write {
                    self.drain(now);
                }
                readiness.read
            }
            Step::Finish => true,
        }
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        let mut spans = Spans::new();
        let rx = self.receive(&mut spans, burst.room(), now);
        if spans.is_empty() && self.connection.peer().is_none() {
            self.incoming.clear();
        }
        let bytes = self.incoming.bytes();
        burst.extend(spans.into_iter().map(|span| Frame::flat(&bytes[span], Offload::NONE)));
        rx
    }

    fn rx_done(&mut self) {
        if self.connection.peer().is_none() {
            self.incoming.clear();
        }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        if !self.carrier() {
            report.drop_rest(0, frames.len(), DropReason::TxNoCarrier);
            return;
        }
        let bytes: usize = frames.iter().map(TxFrame::len).sum();
        let mut done = 0;
        if !self.waiting && self.outgoing.len() + bytes >= Self::DIRECT {
            match self.send_now(frames) {
                Ok(n) => done = n,
                Err(n) => {
                    self.lost(false, now);
                    report.drop_rest(n, frames.len(), DropReason::TxNoCarrier);
                    return;
                }
            }
            self.connection.watch_writing(self.waiting);
        }
        for (i, frame) in frames.iter().enumerate().skip(done) {
            if !self.outgoing.push(frame) {
                report.drop(i, DropReason::TxFull);
            }
        }
    }

    fn flush(&mut self, now: Nanos) -> bool {
        if !self.waiting && !self.outgoing.is_empty() {
            self.drain(now);
        }
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        self.connection.deadline()
    }

    fn tick(&mut self, now: Nanos) -> bool {
        if self.connection.tick(now) == Step::Up {
            self.came_up();
            return true;
        }
        false
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        match std::mem::take(&mut self.malformed) {
            0 => None,
            n => Some((DropReason::DoorMalformed, n)),
        }
    }
}
