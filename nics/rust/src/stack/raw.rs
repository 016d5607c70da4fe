//! Frames as they are: what a packet socket is to a kernel. The guest's own protocols go on beside it.
//!
//! While there is one, the guest hears everything that its port lets through to it, as an adapter in
//! promiscuous mode does. Frames that others left unfinished (a checksum, a super-frame) are shown as
//! they came.

use super::guest::Guest;
use super::outbox::Outbox;
use super::packet::ETH;
use super::sockets::{Socket, SocketId, StackError, ready};
use std::collections::VecDeque;

/// What a queue holds at most, each way; a frame counts as more than its bytes.
const QUEUE_BYTES: usize = 512 << 10;
const OVERHEAD: usize = 64;
/// Two VLAN tags do not count for the MTU.
const TAGS: usize = 8;

#[derive(Debug, Default)]
pub struct Raw {
    /// Only frames of this type; `None`: all.
    ethertype: Option<[u8; 2]>,
    want: u8,
    received: VecDeque<Box<[u8]>>,
    received_bytes: usize,
    to_send: VecDeque<Box<[u8]>>,
    to_send_bytes: usize,
    /// Frames that found the queue full.
    lost: u64,
}

/// The packet sockets of a guest.
#[derive(Debug, Default)]
pub struct Raws {
    open: Vec<SocketId>,
    /// Since the engine's side was told last, the first was opened or the last closed.
    pub changed: bool,
}

impl Raws {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Raw {
    fn sendable(&self) -> bool {
        self.to_send_bytes < QUEUE_BYTES / 2
    }

    fn receive(&mut self, frame: &[u8]) {
        if self.ethertype.is_some_and(|only| frame.get(12..14) != Some(&only[..])) {
            return;
        }
        if self.received_bytes + frame.len() + OVERHEAD > QUEUE_BYTES {
            self.lost += 1;
            return;
        }
        self.received_bytes += frame.len() + OVERHEAD;
        self.received.push_back(frame.into());
    }
}

impl Guest {
    /// Open a packet socket for frames of one type, or for all.
    pub fn raw_open(&mut self, ethertype: Option<u16>) -> Result<SocketId, StackError> {
        let raw = Raw { ethertype: ethertype.map(u16::to_be_bytes), ..Raw::default() };
        let id = self.sockets.add(Socket::Raw(Box::new(raw)))?;
        self.raws.open.push(id);
        self.raws.changed = true;
        Ok(id)
    }

    /// Send one frame, whatever it says its source is.
    pub fn raw_send(&mut self, id: SocketId, frame: &[u8]) -> Result<(), StackError> {
        let most = self.addressing.mtu + ETH + TAGS;
        let raw = self.sockets.raw(id).ok_or(StackError::Closed)?;
        if frame.len() < ETH {
            return Err(StackError::Invalid);
        }
        if frame.len() > most {
            return Err(StackError::TooBig);
        }
        if !raw.sendable() {
            raw.want |= ready::WRITE;
            return Err(StackError::WouldBlock);
        }
        raw.to_send_bytes += frame.len() + OVERHEAD;
        raw.to_send.push_back(frame.into());
        self.sockets.touch(id);
        Ok(())
    }

    /// The next frame that came.
    pub fn raw_recv(&mut self, id: SocketId) -> Result<Box<[u8]>, StackError> {
        let raw = self.sockets.raw(id).ok_or(StackError::Closed)?;
        match raw.received.pop_front() {
            Some(frame) => {
                raw.received_bytes -= frame.len() + OVERHEAD;
                Ok(frame)
            }
            None => {
                raw.want |= ready::READ;
                Err(StackError::WouldBlock)
            }
        }
    }

    pub fn raw_lost(&mut self, id: SocketId) -> Result<u64, StackError> {
        Ok(self.sockets.raw(id).ok_or(StackError::Closed)?.lost)
    }

    pub(super) fn raw_close(&mut self, id: SocketId) {
        self.raws.open.retain(|&other| other != id);
        self.raws.changed = true;
    }

    /// A frame came by the link.
    pub(super) fn raw_in(&mut self, frame: &[u8]) {
        for at in 0..self.raws.open.len() {
            let id = self.raws.open[at];
            if let Some(raw) = self.sockets.raw(id) {
                raw.receive(frame);
                self.notify_raw(id);
            }
        }
    }

    fn notify_raw(&mut self, id: SocketId) {
        if let Some(raw) = self.sockets.raw(id) {
            let readable = if raw.received.is_empty() { 0 } else { ready::READ };
            let writable = if raw.sendable() { ready::WRITE } else { 0 };
            let hit = raw.want & (readable | writable);
            if hit != 0 {
                raw.want &= !hit;
                self.sockets.news.push((id, hit));
            }
        }
    }

    pub(super) fn serve_raw(&mut self, id: SocketId, out: &mut Outbox<'_>) {
        while out.roomy()
            && let Some(raw) = self.sockets.raw(id)
            && let Some(frame) = raw.to_send.pop_front()
        {
            raw.to_send_bytes -= frame.len() + OVERHEAD;
            self.launch_frame(out, frame);
        }
        if self.sockets.raw(id).is_some_and(|raw| !raw.to_send.is_empty()) {
            self.sockets.touch(id);
        }
        self.notify_raw(id);
    }
}
