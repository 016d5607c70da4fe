//! `pipe`: frames to and from Python, or any other code in this process.
//!
//! Two bounded queues. The far end ([`PipeEnd`]) may be used from any thread; the engine's side only
//! ever tries the lock, and when the far end holds it, takes its turn again at once.
//!
//! There are two ways to wait for a frame: an event of the port, which costs nothing where somebody
//! collects events anyway (trio), and a descriptor, for a thread that can do nothing but `poll` (a
//! packet tool). The descriptor is there once somebody asked for it.

use crate::context::{Context, EventKind};
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::{self, Readiness};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use switch::{DropReason, Nanos};

#[derive(Debug, Default)]
struct Shared {
    /// From the far end to the fabric, and back.
    inward: Mutex<Queue>,
    outward: Mutex<Queue>,
    closed: AtomicBool,
    /// There is room in `inward` again.
    room: Condvar,
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
    /// Readable while there are frames or the queue is closed.
    fd: Option<OwnedFd>,
}

impl Queue {
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let frame = self.frames.pop_front()?;
        if self.frames.is_empty()
            && !self.closed
            && let Some(fd) = &self.fd
        {
            poller::drain(fd);
        }
        Some(frame)
    }

    /// Frames came, or the end.
    fn announce(&self) {
        if let Some(fd) = &self.fd
            && (self.closed || !self.frames.is_empty())
        {
            poller::signal(fd);
        }
    }
}

/// Why a frame could not be sent or received now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeError {
    /// Full, or empty: an [`EventKind::Pipe`] tells when to try again.
    WouldBlock,
    /// The port was removed, or this end was closed.
    Closed,
    /// Longer than any frame can be.
    TooLong,
}

/// The far end of a pipe.
#[derive(Clone, Debug)]
pub struct PipeEnd(Arc<Shared>);

impl PipeEnd {
    /// Put a frame on its way into the fabric.
    pub fn send(&self, frame: &[u8]) -> Result<(), PipeError> {
        self.put(frame, None)
    }

    /// The same, waiting up to `timeout` for room. Only for threads that may block.
    pub fn send_wait(&self, frame: &[u8], timeout: Duration) -> Result<(), PipeError> {
        self.put(frame, Some(Instant::now() + timeout))
    }

    fn put(&self, frame: &[u8], until: Option<Instant>) -> Result<(), PipeError> {
        if frame.len() > FRAME_MAX {
            return Err(PipeError::TooLong);
        }
        {
            let mut queue = self.0.inward.lock();
            while !queue.closed && queue.frames.len() >= queue.limit {
                queue.waiting = true;
                let Some(until) = until else { return Err(PipeError::WouldBlock) };
                if self.0.room.wait_until(&mut queue, until).timed_out() {
                    return Err(PipeError::WouldBlock);
                }
            }
            if queue.closed {
                return Err(PipeError::Closed);
            }
            queue.frames.push_back(frame.into());
        }
        if let Some(cx) = &*self.0.cx.lock() {
            cx.kick();
        }
        Ok(())
    }

    /// A descriptor that is readable while there is something to receive. It lives as long as the
    /// pipe.
    pub fn fd(&self) -> io::Result<RawFd> {
        let mut queue = self.0.outward.lock();
        if queue.fd.is_none() {
            queue.fd = Some(poller::eventfd()?);
            queue.announce();
        }
        Ok(queue.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    /// Nobody will send or receive here any more: the port has no carrier from now on.
    pub fn close(&self) {
        self.0.close();
        if let Some(cx) = &*self.0.cx.lock() {
            cx.event(EventKind::Carrier(false));
        }
    }

    /// Put as many frames on their way as there is room for, without asking to be told of more; how many.
    pub fn offer(&self, frames: impl Iterator<Item = Box<[u8]>>) -> usize {
        let taken = {
            let mut queue = self.0.inward.lock();
            let room = if queue.closed { 0 } else { queue.limit.saturating_sub(queue.frames.len()) };
            let before = queue.frames.len();
            queue.frames.extend(frames.take(room));
            queue.frames.len() - before
        };
        if taken > 0
            && let Some(cx) = &*self.0.cx.lock()
        {
            cx.kick();
        }
        taken
    }

    /// Take all frames that wait, without asking to be told of more.
    pub fn take(&self, into: &mut Vec<Box<[u8]>>) {
        let mut queue = self.0.outward.lock();
        while let Some(frame) = queue.pop() {
            into.push(frame);
        }
    }

    /// The next frame out of the fabric.
    pub fn receive(&self) -> Result<Box<[u8]>, PipeError> {
        let mut queue = self.0.outward.lock();
        match queue.pop() {
            Some(frame) => Ok(frame),
            None if queue.closed => Err(PipeError::Closed),
            None => {
                queue.waiting = true;
                Err(PipeError::WouldBlock)
            }
        }
    }
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let mut inward = self.inward.lock();
        inward.closed = true;
        inward.frames.clear();
        self.room.notify_all();
        drop(inward);
        let mut outward = self.outward.lock();
        outward.closed = true;
        outward.announce();
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
        self.link && !self.shared.closed.load(Ordering::Relaxed)
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
        self.shared.close();
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
            let n = queue.frames.len().min(burst.room());
            self.lent.extend(queue.frames.drain(..n));
            if n > 0 && queue.waiting {
                queue.waiting = false;
                self.shared.room.notify_all();
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
        queue.announce();
        if queue.waiting && !queue.frames.is_empty() {
            queue.waiting = false;
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Pipe);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Events, Poller, Waker};
    use std::os::fd::BorrowedFd;
    use switch::TagEdit;

    struct Bench {
        nic: PipeNic,
        end: PipeEnd,
        events: Arc<Events>,
        arena: Arena,
    }

    fn bench(limit: usize) -> Bench {
        let (mut nic, end) = pipe(limit, 1518);
        let events = Arc::new(Events::new().unwrap());
        let (poller, waker) = (Arc::new(Poller::new().unwrap()), Arc::new(Waker::new().unwrap()));
        nic.attach(Context { port: 7, poller, waker, events: events.clone() }, 0).unwrap();
        Bench { nic, end, events, arena: Arena::new() }
    }

    impl Bench {
        fn pull(&mut self) -> Vec<Vec<u8>> {
            let mut burst = Burst::new();
            self.nic.rx_burst(0, &mut self.arena, &mut burst);
            burst.iter().map(|frame| frame.head().to_vec()).collect()
        }

        fn push(&mut self, frames: &[&[u8]]) -> usize {
            let frames: Vec<_> = frames.iter().map(|bytes| Frame::flat(bytes, Offload::NONE)).collect();
            let frames: Vec<_> = frames.iter().map(|frame| TxFrame { frame, edit: TagEdit::NONE }).collect();
            let mut report = TxReport::default();
            self.nic.tx_burst(0, &frames, &mut report);
            report.drops().len()
        }
    }

    fn readable(fd: RawFd) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn queues_are_bounded_and_tell_once_when_to_try_again() {
        let mut bench = bench(2);
        for frame in [b"one", b"two"] {
            bench.end.send(frame).unwrap();
        }
        assert_eq!(bench.end.send(b"three"), Err(PipeError::WouldBlock));
        assert_eq!(bench.end.send(b"three"), Err(PipeError::WouldBlock));
        assert_eq!(bench.pull(), [b"one", b"two"]);
        assert_eq!(bench.events.take().0.len(), 1);
        bench.end.send(b"three").unwrap();
        assert_eq!(bench.end.send(&vec![0; FRAME_MAX + 1]), Err(PipeError::TooLong));

        assert_eq!(bench.push(&[b"a", b"b", b"c"]), 1);
        assert_eq!(bench.events.take().0.len(), 0);
        assert_eq!(&*bench.end.receive().unwrap(), b"a");
        assert_eq!(&*bench.end.receive().unwrap(), b"b");
        assert_eq!(bench.end.receive(), Err(PipeError::WouldBlock));
        bench.push(&[b"d"]);
        assert_eq!(bench.events.take().0.len(), 1);
    }

    #[test]
    fn the_descriptor_is_readable_while_there_are_frames() {
        let mut bench = bench(8);
        bench.push(&[b"early"]);
        let fd = bench.end.fd().unwrap();
        // SAFETY: the pipe keeps it open for all of this test.
        let kept = unsafe { BorrowedFd::borrow_raw(fd) };
        assert_eq!(bench.end.fd().unwrap(), kept.as_raw_fd());
        assert!(readable(fd));
        bench.push(&[b"late"]);
        bench.end.receive().unwrap();
        assert!(readable(fd));
        bench.end.receive().unwrap();
        assert!(!readable(fd));
        bench.nic.detach();
        assert!(readable(fd));
        assert_eq!(bench.end.receive(), Err(PipeError::Closed));
        assert!(readable(fd));
    }

    #[test]
    fn a_closed_end_has_no_carrier() {
        let mut bench = bench(8);
        bench.end.send(b"dropped").unwrap();
        assert!(bench.nic.carrier());
        bench.end.close();
        assert!(!bench.nic.carrier());
        assert_eq!(bench.end.send(b"x"), Err(PipeError::Closed));
        assert!(bench.pull().is_empty());
        assert_eq!(bench.events.take().0[0].kind, EventKind::Carrier(false));
    }

    #[test]
    fn a_thread_can_wait_for_room() {
        let mut bench = bench(1);
        bench.end.send(b"one").unwrap();
        assert_eq!(bench.end.send_wait(b"two", Duration::ZERO), Err(PipeError::WouldBlock));
        let end = bench.end.clone();
        let thread = std::thread::spawn(move || end.send_wait(b"two", Duration::from_secs(60)));
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(bench.pull());
            std::thread::yield_now();
        }
        assert_eq!(got, [b"one", b"two"]);
        thread.join().unwrap().unwrap();

        bench.end.send(b"one").unwrap();
        let end = bench.end.clone();
        let thread = std::thread::spawn(move || end.send_wait(b"two", Duration::from_secs(60)));
        bench.end.close();
        assert_eq!(thread.join().unwrap(), Err(PipeError::Closed));
    }
}
