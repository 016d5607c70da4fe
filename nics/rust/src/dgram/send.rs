//! The sending side of a `dgram` door: a burst in one call, what the kernel does not take in a ring,
//! and the ring again and again until it is empty.

use super::DgramNic;
use super::sockets::Sort;
use crate::frame::{BURST, HEAD, TxFrame};
use crate::nic::{Nic, TxReport};
use crate::outgoing::LENGTH;
use crate::socket::calls::Run;
use crate::socket::many::Outbox;
use std::io;
use switch::{DropReason, Nanos, TagEdit};

/// What became of an attempt to send.
enum Sent {
    /// This many datagrams are gone.
    Some(usize),
    /// No room at the receiver, or in the kernel.
    Full,
    /// The first one can't be sent, for a reason of its own.
    Refused(DropReason),
    /// Nobody is there.
    Missing(io::Error),
}

impl DgramNic {
    fn send(&self, outbox: &Outbox<'_>) -> Sent {
        let Some(sockets) = &self.sockets else { return Sent::Full };
        let to = match sockets.sort {
            Sort::Unix => self.peer.address(),
            _ => None,
        };
        let error = match outbox.send(sockets.sender(), to) {
            Ok(n) => return Sent::Some(n),
            Err(e) => e,
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR | libc::ENOMEM) => Sent::Full,
            Some(libc::EMSGSIZE) => Sent::Refused(DropReason::TxTooBig),
            Some(libc::EINVAL | libc::EFAULT) => Sent::Refused(DropReason::TxError),
            _ => Sent::Missing(error),
        }
    }

    /// The kernel takes no more now: try again later.
    fn hold(&mut self, now: Nanos) {
        self.stuck = Some(now + self.wait);
        self.wait = (self.wait * 2).min(Self::LONGEST_WAIT);
    }

    fn moved(&mut self) {
        self.wait = Self::FIRST_WAIT;
        self.trouble_told = None;
    }

    /// Send what waits in the ring. Frames there were taken already, so one that can't be sent after
    /// all goes the way of those that are lost on a wire.
    pub fn drain(&mut self, now: Nanos) {
        self.stuck = None;
        while !self.outgoing.is_empty() {
            let mut outbox = Outbox::default();
            for (first, second) in self.outgoing.frames() {
                if !outbox.push(2, [first.into(), second.into()]) {
                    break;
                }
            }
            let sent = self.send(&outbox);
            drop(outbox);
            let gone = match sent {
                Sent::Some(n) => {
                    self.moved();
                    n
                }
                Sent::Refused(_) => 1,
                Sent::Full => return self.hold(now),
                Sent::Missing(e) if self.group => {
                    self.trouble(&e);
                    1
                }
                Sent::Missing(e) => return self.missing(&e, now),
            };
            let bytes = self.outgoing.frames().take(gone).map(|(a, b)| LENGTH + a.len() + b.len()).sum();
            self.outgoing.consume(bytes);
        }
    }

    /// Send `frames` from where they lie. How many were taken, or reported in `report`.
    pub fn send_now(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) -> usize {
        let mut heads = std::mem::take(&mut self.heads);
        if heads.is_empty() && frames.iter().any(|frame| frame.edit != TagEdit::NONE) {
            heads = vec![[0; HEAD + 4]; BURST];
        }
        let mut done = 0;
        while done < frames.len() {
            let mut outbox = Outbox::default();
            let mut scratch = heads.iter_mut();
            for frame in &frames[done..] {
                let (tail, more) = frame.frame.tail();
                let head = match scratch.next() {
                    Some(scratch) if frame.edit != TagEdit::NONE => frame.head(scratch),
                    _ => frame.frame.head(),
                };
                let runs = [head.into(), tail.into()].into_iter().chain(more.iter().map(|&s| Run::from(s)));
                if !outbox.push(2 + more.len(), runs) {
                    break;
                }
            }
            if outbox.is_empty() {
                // A chain of more pieces than one call takes: in one piece, by the ring.
                if self.outgoing.push(&frames[done]) {
                    self.drain(now);
                } else {
                    report.drop(done, DropReason::TxFull);
                }
                done += 1;
                if !self.outgoing.is_empty() || !self.carrier() {
                    break;
                }
                continue;
            }
            match self.send(&outbox) {
                Sent::Some(n) => {
                    self.moved();
                    done += n;
                }
                Sent::Refused(reason) => {
                    report.drop(done, reason);
                    done += 1;
                }
                Sent::Full => {
                    self.hold(now);
                    break;
                }
                Sent::Missing(e) if self.group => {
                    self.trouble(&e);
                    report.drop(done, DropReason::TxError);
                    done += 1;
                }
                Sent::Missing(e) => {
                    self.missing(&e, now);
                    break;
                }
            }
        }
        self.heads = heads;
        done
    }
}
