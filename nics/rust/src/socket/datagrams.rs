//! Frames on their way out as datagrams: a burst in one call, what the kernel does not take in a
//! bounded ring, and the ring again and again until it is empty.

use super::calls::Run;
use super::many::Outbox;
use crate::frame::{BURST, HEAD, HeadScratch, TxFrame};
use crate::nic::TxReport;
use crate::outgoing::{LENGTH, Outgoing};
use socket2::{SockAddr, Socket};
use std::io;
use switch::{DropReason, TagEdit};

/// Where datagrams go.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    pub socket: &'a Socket,
    /// None: where the socket is connected to.
    pub to: Option<&'a SockAddr>,
    /// Nobody in particular is there, who could be missing: a frame that can't be sent is lost alone.
    pub lossy: bool,
}

/// What became of an attempt to send.
#[derive(Debug)]
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

impl Wire<'_> {
    fn send(&self, outbox: &Outbox<'_>) -> Sent {
        let error = match outbox.send(self.socket, self.to) {
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
}

/// Why sending came to an end.
#[derive(Debug, Default)]
pub enum End {
    /// Everything is gone.
    #[default]
    Done,
    /// The kernel takes no more now.
    Full,
    /// Nobody is there.
    Missing(io::Error),
}

/// What a call to [`Datagrams`] came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub end: End,
    /// At least one datagram is gone.
    pub moved: bool,
    /// Of a lossy wire: why a frame could not be sent.
    pub trouble: Option<io::Error>,
}

impl Outcome {
    /// Whether the kernel may take more. `next` is what came after `self`.
    fn and(&mut self, next: Outcome) -> bool {
        self.end = next.end;
        self.moved |= next.moved;
        self.trouble = next.trouble.or_else(|| self.trouble.take());
        matches!(self.end, End::Done)
    }
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Datagrams {
    ring: Outgoing,
    heads: Vec<HeadScratch>,
}

impl Datagrams {
    /// As in `stream`: bursts of at least this many bytes are sent at once.
    const DIRECT: usize = 16 << 10;

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Forget everything and give the ring's memory back.
    pub fn clear(&mut self) {
        self.ring.clear();
    }

    /// Send what waits. Frames there were taken already, so one that can't be sent after all goes the
    /// way of those that are lost on a wire.
    pub fn drain(&mut self, wire: Wire<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        while !self.ring.is_empty() {
            let mut outbox = Outbox::default();
            for (first, second) in self.ring.frames() {
                if !outbox.push(2, [first.into(), second.into()]) {
                    break;
                }
            }
            let sent = wire.send(&outbox);
            drop(outbox);
            let gone = match sent {
                Sent::Some(n) => {
                    outcome.moved = true;
                    n
                }
                Sent::Refused(_) => 1,
                Sent::Missing(e) if wire.lossy => {
                    outcome.trouble = Some(e);
                    1
                }
                Sent::Full => {
                    outcome.end = End::Full;
                    break;
                }
                Sent::Missing(e) => {
                    outcome.end = End::Missing(e);
                    break;
                }
            };
            let bytes = self.ring.frames().take(gone).map(|(a, b)| LENGTH + a.len() + b.len()).sum();
            self.ring.consume(bytes);
        }
        outcome
    }

    /// Send what waits and then `frames` from where they lie, if together they are worth a call now. How
    /// many frames were taken or reported: the rest is for [`Datagrams::keep`], if anybody is there.
    pub fn send(
        &mut self,
        wire: Wire<'_>,
        frames: &[TxFrame<'_>],
        report: &mut TxReport,
    ) -> (usize, Outcome) {
        let bytes: usize = frames.iter().map(TxFrame::len).sum();
        if self.ring.len() + bytes < Self::DIRECT {
            return (0, Outcome::default());
        }
        let mut outcome = self.drain(wire);
        let mut done = 0;
        if matches!(outcome.end, End::Done) {
            let mut heads = std::mem::take(&mut self.heads);
            if heads.is_empty() && frames.iter().any(|frame| frame.edit != TagEdit::NONE) {
                heads = vec![[0; HEAD + 4]; BURST];
            }
            while done < frames.len() {
                let (n, next) = self.send_some(wire, frames, done, &mut heads, report);
                done += n;
                if !outcome.and(next) {
                    break;
                }
            }
            self.heads = heads;
        }
        (done, outcome)
    }

    /// As many of `frames[from..]` as one call takes.
    fn send_some(
        &mut self,
        wire: Wire<'_>,
        frames: &[TxFrame<'_>],
        from: usize,
        heads: &mut [HeadScratch],
        report: &mut TxReport,
    ) -> (usize, Outcome) {
        let mut outbox = Outbox::default();
        let mut scratch = heads.iter_mut();
        for frame in &frames[from..] {
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
        let mut outcome = Outcome::default();
        if outbox.is_empty() {
            // A chain of more pieces than one call takes: in one piece, by the ring.
            if self.ring.push(&frames[from]) {
                return (1, self.drain(wire));
            }
            report.drop(from, DropReason::TxFull);
            return (1, outcome);
        }
        let done = match wire.send(&outbox) {
            Sent::Some(n) => {
                outcome.moved = true;
                n
            }
            Sent::Refused(reason) => {
                report.drop(from, reason);
                1
            }
            Sent::Missing(e) if wire.lossy => {
                outcome.trouble = Some(e);
                report.drop(from, DropReason::TxError);
                1
            }
            Sent::Full => {
                outcome.end = End::Full;
                0
            }
            Sent::Missing(e) => {
                outcome.end = End::Missing(e);
                0
            }
        };
        (done, outcome)
    }

    /// Keep `frames[from..]` in the ring, as far as there is room.
    pub fn keep(&mut self, frames: &[TxFrame<'_>], from: usize, report: &mut TxReport) {
        for (i, frame) in frames.iter().enumerate().skip(from) {
            if !self.ring.push(frame) {
                report.drop(i, DropReason::TxFull);
            }
        }
    }
}
