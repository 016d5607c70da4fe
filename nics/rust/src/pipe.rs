//! `pipe`: frames to and from Python, or any other code in this process.
//!
//! Two bounded queues. The far end ([`PipeEnd`]) may be used from any thread; the engine's side only
//! ever tries the lock, and when the far end holds it, takes its turn again at once.

use crate::context::{Context, EventKind};
use crate::frame::{Arena, BURST, Burst, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Readiness;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use switch::{DropReason, Nanos};

#[derive(Debug, Default)]
struct Shared {
    /// From the far end to the fabric, and back.
    inward: Mutex<Queue>,
    outward: Mutex<Queue>,
    cx: Mutex<Option<Context>>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Box<[u8]>>,
    /// Frames it holds at most.
    limit: usize,
    closed: bool,
    /// The far end was told "full" (inward) or "empty" (outward) and waits for an event.
    waiting: bool,
}

/// Why a frame could not be sent or received now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeError {
    /// Full, or empty: an [`EventKind::Pipe`] tells when to try again.
    WouldBlock,
    /// The port was removed.
    Closed,
}

/// The far end of a pipe.
#[derive(Clone, Debug)]
pub struct PipeEnd(Arc<Shared>);

impl PipeEnd {
    /// Put a frame on its way into the fabric.
    pub fn send(&self, frame: &[u8]) -> Result<(), PipeError> {
        {
            let mut queue = self.0.inward.lock();
            if queue.closed {
                return Err(PipeError::Closed);
            }
            if queue.frames.len() >= queue.limit {
                queue.waiting = true;
                return Err(PipeError::WouldBlock);
            }
            queue.frames.push_back(frame.into());
        }
        if let Some(cx) = &*self.0.cx.lock() {
            cx.kick();
        }
        Ok(())
    }

    /// The next frame out of the fabric.
    pub fn receive(&self) -> Result<Box<[u8]>, PipeError> {
        let mut queue = self.0.outward.lock();
        match queue.frames.pop_front() {
            Some(frame) => Ok(frame),
            None if queue.closed => Err(PipeError::Closed),
            None => {
                queue.waiting = true;
                Err(PipeError::WouldBlock)
            }
        }
    }
}

/// The engine's side of a pipe.
#[derive(Debug)]
pub struct PipeNic {
    shared: Arc<Shared>,
    cx: Option<Context>,
    lent: Vec<Box<[u8]>>,
    max_frame: u32,
    link: bool,
}

/// A pipe whose queues hold `limit` frames of at most `max_frame` bytes each way.
#[must_use]
pub fn pipe(limit: usize, max_frame: u32) -> (PipeNic, PipeEnd) {
    let shared = Arc::new(Shared::default());
    shared.inward.lock().limit = limit;
    shared.outward.lock().limit = limit;
    let nic =
        PipeNic { shared: shared.clone(), cx: None, lent: Vec::with_capacity(BURST), max_frame, link: true };
    (nic, PipeEnd(shared))
}

impl Nic for PipeNic {
    fn kind(&self) -> &'static str {
        "pipe"
    }

    fn caps(&self) -> Caps {
        Caps::plain(self.max_frame)
    }

    fn carrier(&self) -> bool {
        self.link
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        if self.link != up {
            self.link = up;
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Carrier(up));
            }
        }
    }

    fn attach(&mut self, cx: Context, _now: Nanos) -> io::Result<()> {
        *self.shared.cx.lock() = Some(cx.clone());
        cx.kick();
        self.cx = Some(cx);
        Ok(())
    }

    fn detach(&mut self) {
        *self.shared.cx.lock() = None;
        for queue in [&self.shared.inward, &self.shared.outward] {
            queue.lock().closed = true;
        }
        if let Some(cx) = self.cx.take() {
            cx.event(EventKind::Pipe);
        }
    }

    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        true
    }

    fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        self.lent.clear();
        let more = {
            let Some(mut queue) = self.shared.inward.try_lock() else { return Rx::More };
            let n = queue.frames.len().min(BURST);
            self.lent.extend(queue.frames.drain(..n));
            if n > 0 && queue.waiting {
                queue.waiting = false;
                if let Some(cx) = &self.cx {
                    cx.event(EventKind::Pipe);
                }
            }
            !queue.frames.is_empty()
        };
        burst.extend(self.lent.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)));
        if more { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, _now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        let mut queue = self.shared.outward.lock();
        for (i, frame) in frames.iter().enumerate() {
            if queue.frames.len() >= queue.limit {
                report.drop_rest(i, frames.len(), DropReason::TxFull);
                break;
            }
            let mut bytes = vec![0; frame.len()].into_boxed_slice();
            frame.copy_to(&mut bytes);
            queue.frames.push_back(bytes);
        }
        if queue.waiting && !queue.frames.is_empty() {
            queue.waiting = false;
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Pipe);
            }
        }
    }
}
