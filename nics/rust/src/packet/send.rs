//! Out by the interface: a burst in one call, and what there is no room for in the fair queue.

use super::{HEADER, PACKETS, PacketNic, TAG};
use crate::fair::cost;
use crate::frame::{BURST, HEAD, TxFrame};
use crate::nic::TxReport;
use crate::offload::{Offload, join};
use crate::poller::Interest;
use crate::socket::calls::{self, Run};
use crate::socket::many::Outbox;
use std::io;
use switch::{DropReason, Nanos, PortId};

/// A header and the private head with an inserted tag.
const FRONT: usize = HEADER + HEAD + TAG;
pub(super) type Fronts = [[u8; FRONT]; BURST];
pub(super) const FRONTS: Fronts = [[0; FRONT]; BURST];

/// When a queue that has no room, but doesn't say when it will, is tried again.
const RETRY: Nanos = 200_000;
/// Records that are sent from the fair queue at one go.
const DRAIN: usize = 4 * BURST;

/// What became of an attempt to send.
enum Sent {
    /// This many frames are gone.
    Some(usize),
    /// There is no room.
    Full(io::Error),
    /// The first one can't be sent.
    Refused(DropReason),
    /// None can.
    Down,
}

impl PacketNic {
    pub(super) fn send_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut at = 0;
        while at < frames.len() && self.is_open() {
            match self.send(&frames[at..]) {
                Sent::Some(n) => at += n,
                Sent::Full(error) => self.block(&error, now),
                Sent::Refused(reason) => {
                    report.drop(at, reason);
                    at += 1;
                }
                Sent::Down => return report.drop_rest(at, frames.len(), DropReason::TxNoCarrier),
            }
        }
        for (i, tx) in frames.iter().enumerate().skip(at) {
            if let Err(reason) = self.keep(report.sender(i), tx) {
                report.drop(i, reason);
            }
        }
    }

    /// Whether the kernel is thought to have room.
    fn is_open(&self) -> bool {
        self.queue.is_empty() && !self.blocked && self.retry.is_none()
    }

    /// Send as many of `frames` as go into one call.
    fn send(&mut self, frames: &[TxFrame<'_>]) -> Sent {
        if let Some((n, error)) = self.send_joined(frames) {
            return match error {
                None => Sent::Some(n),
                Some(error) => refusal(error, frames),
            };
        }
        let mut outbox = Outbox::default();
        for (i, (tx, front)) in frames.iter().zip(self.fronts.iter_mut()).enumerate() {
            if i > 0 && self.joiner.is_some() && join::begins(&frames[i..]) {
                break;
            }
            let offload = tx.offload();
            if !fits(self.caps.max_frame, offload) {
                if outbox.is_empty() {
                    return Sent::Refused(DropReason::TxTooBig);
                }
                break;
            }
            let mut scratch = [0; HEAD + TAG];
            let head = tx.head(&mut scratch);
            let len = HEADER + head.len();
            front[..HEADER].copy_from_slice(&offload.to_bytes());
            front[HEADER..len].copy_from_slice(head);
            let (tail, more) = tx.frame.tail();
            let runs = [Run::from(&front[..len]), Run::from(tail)];
            let runs = runs.into_iter().chain(more.iter().map(|seg| Run::from(*seg)));
            if outbox.push(2 + more.len(), runs) {
                continue;
            }
            if outbox.is_empty() {
                // In more pieces than go into a call.
                self.gather.resize(tx.len(), 0);
                tx.copy_to(&mut self.gather);
                let runs = [Run::from(&front[..HEADER]), Run::from(&self.gather[..])];
                let _ = outbox.push(2, runs);
            }
            break;
        }
        match outbox.send(self.lanes.first(), None) {
            Ok(n) => Sent::Some(n),
            Err(error) => refusal(error, frames),
        }
    }

    /// Send the first of `frames` as one super-frame, if they go together: how many, and what was wrong.
    fn send_joined(&mut self, frames: &[TxFrame<'_>]) -> Option<(usize, Option<io::Error>)> {
        let (n, frame) = self.joiner.as_mut()?.join(frames)?;
        let tx = TxFrame { frame: &frame, edit: frames.first()?.edit };
        if !fits(self.caps.max_frame, tx.offload()) {
            return None;
        }
        let mut scratch = [0; HEAD + TAG];
        let header = tx.offload().to_bytes();
        let runs = [Run::from(&header[..]), Run::from(tx.head(&mut scratch)), Run::from(frame.tail().0)];
        match calls::send(self.lanes.first(), &runs) {
            Ok(_) => Some((n, None)),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                // This kernel does not take what we join.
                self.joiner = None;
                None
            }
            Err(e) => Some((n, Some(e))),
        }
    }

    /// Keep a frame until there is room.
    fn keep(&mut self, from: PortId, tx: &TxFrame<'_>) -> Result<(), DropReason> {
        let offload = tx.offload();
        if !fits(self.caps.max_frame, offload) {
            return Err(DropReason::TxTooBig);
        }
        self.gather.resize(tx.len(), 0);
        let len = tx.copy_to(&mut self.gather).ok_or(DropReason::TxError)?;
        let header = offload.to_bytes();
        let wire = cost(len, offload.segments(len), usize::from(offload.hdr_len));
        let pieces = [&header[..], &self.gather[..len]];
        let kept = self.queue.push(from, wire, HEADER + len, pieces.into_iter());
        if kept { Ok(()) } else { Err(DropReason::TxFull) }
    }

    /// The kernel takes no more: ask to be told when it does.
    fn block(&mut self, error: &io::Error, now: Nanos) {
        if error.raw_os_error() == Some(libc::EAGAIN) {
            self.retry = None;
            if !self.blocked {
                self.blocked = true;
                self.watch(Interest::BOTH);
            }
        } else {
            // A queue behind the socket's is full, and does not tell when it has room.
            self.retry = Some(now + RETRY);
        }
    }

    pub(super) fn unblock(&mut self) {
        self.retry = None;
        if std::mem::take(&mut self.blocked) {
            self.watch(Interest::READ);
        }
    }

    fn watch(&self, interest: Interest) {
        if let Some(cx) = &self.cx
            && let Err(e) = cx.poller.modify(self.lanes.first(), cx.port, PACKETS, interest)
        {
            cx.log(format!("epoll: {e}"));
        }
    }

    /// Send what waits, as much as there is room for.
    pub(super) fn drain(&mut self, now: Nanos) {
        for _ in 0..DRAIN {
            let Some((a, b)) = self.queue.peek() else {
                return self.unblock();
            };
            match calls::send(self.lanes.first(), &[Run::from(a), Run::from(b)]) {
                Err(e) if is_full(&e) => return self.block(&e, now),
                // One that can't be sent after all goes the way of those that are lost on a wire.
                _ => self.queue.pop(),
            }
        }
        if !self.blocked {
            // Others first.
            self.retry = Some(now + 1);
        }
    }
}

/// What became of `frames`, of which the kernel refused the first.
fn refusal(error: io::Error, frames: &[TxFrame<'_>]) -> Sent {
    match error.raw_os_error() {
        _ if is_full(&error) => Sent::Full(error),
        Some(libc::EMSGSIZE) => Sent::Refused(DropReason::TxTooBig),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => Sent::Down,
        Some(libc::EINVAL) if frames.first().is_some_and(|tx| tx.frame.offload != Offload::NONE) => {
            Sent::Refused(DropReason::TxOffload)
        }
        _ => Sent::Refused(DropReason::TxError),
    }
}

/// Whether the segments of a super-frame fit the interface: nobody cuts them again.
#[inline]
fn fits(longest: u32, offload: Offload) -> bool {
    let segment = u32::from(offload.hdr_len) + u32::from(offload.gso_size);
    offload.gso_type == Offload::GSO_NONE || segment <= longest
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}
