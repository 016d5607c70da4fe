//! What a door gets from the engine when it is attached: its port, a way to be woken, and a way to
//! tell the people upstairs.

use crate::poller::Poller;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use switch::PortId;

/// The most ports one engine can have.
pub const PORTS_MAX: usize = 4096;

/// Bits of a port's number; above them stands which of several doors there it is about.
const BITS: u32 = PORTS_MAX.trailing_zeros();

/// What door number `at` (0..=7) of a port goes by with the poller, and in what it tells.
#[must_use]
pub fn member(port: PortId, at: usize) -> PortId {
    port | ((at + 1) << BITS) as PortId
}

/// A port's number, and which of its doors is meant; `None`: the one that it has. The same of descriptors of
/// a port (`sub`).
#[inline]
#[must_use]
pub fn split(number: PortId) -> (PortId, Option<usize>) {
    (number & (PORTS_MAX - 1) as PortId, usize::from(number >> BITS).checked_sub(1))
}

/// The `sub` of a descriptor of a door of a port that was told apart so.
#[inline]
#[must_use]
pub fn sub_of(number: PortId, sub: u16) -> u16 {
    number & !((PORTS_MAX - 1) as PortId) | sub
}

/// Something that happened at a door and that Python should know. Never one a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub port: PortId,
    pub kind: EventKind,
    /// So many changes of the carrier before this one are not told.
    pub skipped: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The carrier went up or down.
    Carrier(bool),
    /// One clear line for the log.
    Log(String),
    /// What is behind the port is reached by another way: it does not know yet who lives here.
    Moved,
    /// An in-process guest's socket may be readable, writable or changed: (socket, what).
    Socket(u32, u32),
    /// What this trigger of the recorder, by number, waits for has happened at the port.
    Trigger(u32),
    /// The port is, or is no more, one of those that several flows in bulk come from while the engine has no time left.
    Crowd(bool),
    /// Frames wait for Python at a `pipe`, or there is room again for more.
    Pipe,
}

/// Events on their way up: bounded, one wake for many.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Queue>,
    lost: AtomicU64,
    fd: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Where the last two changes of a port's carrier wait, the older one first.
    carriers: HashMap<PortId, (Option<usize>, usize)>,
}

impl Queue {
    /// A peer can have its carrier come and go as often as it likes: of what waits for one port, only the last
    /// two changes are kept, so that a carrier that was lost is told even if it is back. Whether that was done.
    fn join(&mut self, port: PortId, up: bool) -> bool {
        let Some((Some(older), last)) = self.carriers.get(&port).copied() else { return false };
        let Some(before) = self.events.get(last).map(|event| event.kind.clone()) else { return false };
        if let Some(event) = self.events.get_mut(older) {
            event.kind = before;
            event.skipped = event.skipped.saturating_add(1);
        }
        if let Some(event) = self.events.get_mut(last) {
            event.kind = EventKind::Carrier(up);
        }
        true
    }

    fn push(&mut self, event: Event) {
        if let EventKind::Carrier(_) = event.kind {
            let last = self.events.len();
            let older = self.carriers.get(&event.port).map(|(_, last)| *last);
            self.carriers.insert(event.port, (older, last));
        }
        self.events.push_back(event);
    }
}

impl Events {
    const LIMIT: usize = 65_536;

    pub fn new() -> std::io::Result<Self> {
        Ok(Events { queue: Mutex::default(), lost: AtomicU64::new(0), fd: crate::poller::eventfd()? })
    }

    /// Readable while there are events.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn push(&self, port: PortId, kind: EventKind) {
        let mut queue = self.queue.lock();
        if let EventKind::Carrier(up) = kind
            && queue.join(port, up)
        {
            return;
        }
        if queue.events.len() >= Self::LIMIT {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push(Event { port, kind, skipped: 0 });
        if queue.events.len() == 1 {
            crate::poller::signal(&self.fd);
        }
    }

    /// One clear line that belongs to no port.
    pub fn log(&self, line: impl Into<String>) {
        self.push(PortId::MAX, EventKind::Log(line.into()));
    }

    /// All that waits, and how many were lost since the last call.
    pub fn take(&self) -> (VecDeque<Event>, u64) {
        let mut queue = self.queue.lock();
        if !queue.events.is_empty() {
            crate::poller::drain(&self.fd);
        }
        (std::mem::take(&mut *queue).events, self.lost.swap(0, Ordering::Relaxed))
    }
}

/// Wakes the engine on behalf of ports, from any thread.
#[derive(Debug)]
pub struct Waker {
    bits: Box<[AtomicU64]>,
    any: AtomicBool,
    fd: OwnedFd,
}

impl Waker {
    pub fn new() -> std::io::Result<Self> {
        let bits = (0..PORTS_MAX / 64).map(|_| AtomicU64::new(0)).collect();
        Ok(Waker { bits, any: AtomicBool::new(false), fd: crate::poller::eventfd()? })
    }

    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Have `rx_burst` of `port` called in the next turn.
    pub fn kick(&self, port: PortId) {
        let (port, _) = split(port);
        if let Some(word) = self.bits.get(usize::from(port) / 64) {
            word.fetch_or(1 << (port % 64), Ordering::Release);
        }
        self.wake();
    }

    /// Have a turn, for no port in particular.
    pub fn wake(&self) {
        if !self.any.swap(true, Ordering::AcqRel) {
            crate::poller::signal(&self.fd);
        }
    }

    /// Whether anybody kicked since the last `take`.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Tell `each` of the kicked ports, in ascending order, and forget them.
    #[inline]
    pub fn take(&self, each: impl FnMut(PortId)) {
        if self.any.load(Ordering::Relaxed) {
            self.take_all(each);
        }
    }

    fn take_all(&self, mut each: impl FnMut(PortId)) {
        crate::poller::drain(&self.fd);
        self.any.swap(false, Ordering::AcqRel);
        for (index, word) in self.bits.iter().enumerate() {
            let mut bits =
                if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::Acquire) };
            while bits != 0 {
                each((index * 64) as PortId + bits.trailing_zeros() as PortId);
                bits &= bits - 1;
            }
        }
    }
}

/// A door's link to its engine.
#[derive(Clone, Debug)]
pub struct Context {
    pub port: PortId,
    pub poller: Arc<Poller>,
    pub waker: Arc<Waker>,
    pub events: Arc<Events>,
}

impl Context {
    pub fn event(&self, kind: EventKind) {
        self.events.push(self.port, kind);
    }

    pub fn log(&self, line: impl Into<String>) {
        self.event(EventKind::Log(line.into()));
    }

    pub fn kick(&self) {
        self.waker.kick(self.port);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_that_flaps_takes_two_places_and_a_loss_is_told() {
        let events = Events::new().unwrap();
        events.push(1, EventKind::Carrier(true));
        for _ in 0..100_000 {
            events.push(2, EventKind::Carrier(false));
            events.push(2, EventKind::Carrier(true));
        }
        events.push(1, EventKind::Moved);
        let (found, lost) = events.take();
        assert_eq!(lost, 0);
        let event = |port, kind, skipped| Event { port, kind, skipped };
        assert_eq!(
            found,
            [
                event(1, EventKind::Carrier(true), 0),
                event(2, EventKind::Carrier(false), 199_998),
                event(2, EventKind::Carrier(true), 0),
                event(1, EventKind::Moved, 0),
            ]
        );
        // What was taken is nobody's place any more.
        events.push(2, EventKind::Carrier(false));
        assert_eq!(events.take().0, [event(2, EventKind::Carrier(false), 0)]);
    }
}
