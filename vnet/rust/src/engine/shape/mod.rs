//! Limits of a port, where the engine meets its NIC (`switch/rust/src/limits.rs` has the buckets).
//!
//! What a guest sends is shaped by not taking it: when its bucket is in debt, its NIC is left alone until
//! the debt is paid, and what the guest goes on sending waits in its own ring or socket, or is lost
//! there. It costs nobody else anything. A super-frame that would take long at the rate is cut, and
//! waits here.
//!
//! What a guest receives can't be left where it is, because that is another guest's memory. So it waits
//! in a queue of bytes in front of the NIC, in order, and when the queue is full, frames are dropped
//! (`tx-limit`). There, too, super-frames are cut at low rates, so that the guest sees a stream and no
//! lumps.

mod queue;
#[cfg(test)]
mod tests;

use nics::offload::{Completer, Offload};
use nics::{BURST, Burst, Caps, Frame, TxFrame};
pub use queue::{Note, Notes, Queue};
use switch::{Limit, Limits, Meter, Nanos, TagEdit};

/// At a lower rate super-frames are cut: one of 64 KiB would take more than 5 ms.
const SLOW: u64 = 100_000_000;

/// The queue holds so much time's worth, but within bounds.
const QUEUE: Nanos = 20_000_000;
const SMALLEST: u64 = 320 << 10;
const LARGEST: u64 = 4 << 20;
/// Where frames are limited, it holds so much time's worth of them as well, but so many in any case.
const FEWEST: u64 = 64;

/// Room for a super-frame of 64 KiB in the smallest segments that there are.
const CUT: usize = 256 << 10;

/// Frames of a guest are thought to be as large as its last ones were, and no smaller than that.
const USUAL: u64 = 1514;

/// A port's limits at work.
#[derive(Default)]
pub struct Shaper {
    /// What the guest sends.
    egress: Option<Meter>,
    /// Bytes that a frame of its takes, at the most and lately.
    usual: u64,
    /// Super-frames of it, cut. Nothing more is taken while it isn't empty.
    cut: Option<Queue>,
    /// Its NIC is left alone until then.
    held: Option<Nanos>,
    /// What the guest receives.
    pub ingress: Option<Ingress>,
}

/// The queue in front of a NIC.
pub struct Ingress {
    meter: Option<Meter>,
    pub queue: Queue,
}

/// Whether a NIC may be taken from.
pub enum Pull {
    /// So many frames.
    Room(usize),
    /// There are frames waiting that may pass: [`Shaper::waiting`].
    Waiting,
    /// Not now.
    Held,
}

impl Shaper {
    /// Go on with other limits. `None`: there are none any more, and nothing waits.
    pub fn change(before: Option<Box<Shaper>>, limits: Option<&Limits>, now: Nanos) -> Option<Box<Shaper>> {
        let limits = limits.copied().unwrap_or_default();
        let mut shaper = before.unwrap_or_else(|| Box::new(Shaper { usual: 1 << 16, ..Shaper::default() }));
        change(&mut shaper.egress, limits.egress, now);
        shaper.held = shaper.held.map(|_| now);
        match &mut shaper.ingress {
            Some(ingress) => {
                change(&mut ingress.meter, limits.ingress, now);
                ingress.queue.resize(room(&limits.ingress), most(&limits.ingress));
                if ingress.meter.is_none() && ingress.queue.is_empty() {
                    shaper.ingress = None;
                }
            }
            none if !limits.ingress.is_any() => {
                let queue = Queue::new(room(&limits.ingress), most(&limits.ingress));
                *none = Some(Ingress { meter: Meter::new(limits.ingress), queue });
            }
            _ => {}
        }
        (!shaper.is_idle()).then_some(shaper)
    }

    /// Whether the NIC may be taken from now.
    pub fn pull(&mut self, now: Nanos) -> Pull {
        if self.held.is_some() {
            return Pull::Held;
        }
        let (room, wake) =
            self.egress.as_ref().map_or((BURST, now), |meter| (meter.room(now, self.usual), meter.wake()));
        if room == 0 {
            self.held = Some(wake);
            Pull::Held
        } else if self.cut.is_some() {
            Pull::Waiting
        } else if is_slow(self.egress.as_ref()) {
            Pull::Room(1)
        } else {
            Pull::Room(room)
        }
    }

    /// Whether a frame must be cut before it may go on: then that was done, and the frame waits.
    pub fn cuts(&mut self, burst: &Burst<'_>, completer: &mut Completer) -> bool {
        let [frame] = &burst[..] else { return false };
        if frame.offload.gso_type == Offload::GSO_NONE || !is_slow(self.egress.as_ref()) {
            return false;
        }
        let caps = Caps { csum: true, ..Caps::plain(u32::MAX) };
        let queue = self.cut.insert(Queue::new(CUT, u64::MAX));
        let tx = TxFrame { frame, edit: TagEdit::NONE };
        let done = completer.complete(&tx, &caps, &mut |segments| {
            for segment in segments {
                // There is room for all that one frame can be cut into.
                let _ = queue.push(segment, Note::default());
            }
        });
        if done.is_err() {
            // It goes on as it is, and is dropped where it would have to be completed.
            self.cut = None;
        }
        done.is_ok()
    }

    /// What waits and may pass now. The caller tells `passed` how many that were.
    pub fn waiting(&mut self, now: Nanos) -> Burst<'_> {
        match &self.cut {
            Some(queue) => queue.pick(now, self.egress.as_mut()).0,
            None => Burst::new(),
        }
    }

    /// So many of what waited have gone on.
    pub fn passed(&mut self, n: usize) {
        if let Some(queue) = &mut self.cut {
            queue.forget(n);
        }
        self.cut.take_if(|queue| queue.is_empty());
    }

    /// These frames were taken from it.
    pub fn pulled(&mut self, now: Nanos, burst: &Burst<'_>) {
        if let Some(meter) = &mut self.egress {
            let (frames, bytes) = wire(burst.iter());
            meter.take(now, frames, bytes);
            let lately = self.usual - self.usual / 8;
            self.usual = bytes.checked_div(burst.len() as u64).unwrap_or(0).max(lately).max(USUAL);
        }
    }

    /// Until when the NIC is left alone; 0 when it isn't.
    pub fn held(&self) -> Nanos {
        self.held.unwrap_or(0)
    }

    /// Whether there is nothing to limit any more.
    pub fn is_idle(&self) -> bool {
        let Shaper { egress, cut, held, ingress, .. } = self;
        egress.is_none() && cut.is_none() && held.is_none() && ingress.is_none()
    }

    /// When `due` has something to say.
    pub fn deadline(&self) -> Option<Nanos> {
        let queued = self.ingress.as_ref().and_then(Ingress::deadline);
        self.held.into_iter().chain(queued).min()
    }

    /// Whether the NIC was left alone until now.
    pub fn released(&mut self, now: Nanos) -> bool {
        self.held.take_if(|at| *at <= now).is_some()
    }
}

/// Whether super-frames are to be cut.
fn is_slow(meter: Option<&Meter>) -> bool {
    meter.is_some_and(|meter| (1..SLOW).contains(&meter.limit().rate))
}

fn change(meter: &mut Option<Meter>, limit: Limit, now: Nanos) {
    match meter {
        Some(_) if limit.is_any() => *meter = None,
        Some(meter) if *meter.limit() != limit => meter.change(limit, now),
        Some(_) => {}
        None => *meter = Meter::new(limit),
    }
}

/// Bytes that may wait.
fn room(limit: &Limit) -> usize {
    let rate = if limit.rate == 0 { u64::MAX } else { limit.rate };
    let bytes = u128::from(rate) * u128::from(QUEUE) / 8_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX).clamp(SMALLEST, LARGEST) as usize
}

/// Frames that may wait, as a wire counts them.
fn most(limit: &Limit) -> u64 {
    if limit.packets == 0 {
        return u64::MAX;
    }
    let frames = u128::from(limit.packets) * u128::from(QUEUE) / 1_000_000_000;
    u64::try_from(frames).unwrap_or(u64::MAX).max(FEWEST)
}

/// Frames and bytes as a wire sees them.
fn wire<'f, 'b: 'f>(frames: impl Iterator<Item = &'f Frame<'b>>) -> (u64, u64) {
    frames
        .map(Frame::view)
        .fold((0, 0), |(n, bytes), view| (n + u64::from(view.segments), bytes + view.wire()))
}

impl Ingress {
    /// What frames are made into before they are counted and queued.
    pub fn caps(&self, caps: Caps) -> Caps {
        if is_slow(self.meter.as_ref()) {
            Caps { tso4: false, tso6: false, uso: false, ..caps }
        } else {
            caps
        }
    }

    /// How many of `frames` may pass now, past the queue; they count as passed.
    pub fn passing(&mut self, now: Nanos, frames: &[TxFrame<'_>]) -> usize {
        if !self.queue.is_empty() {
            return 0;
        }
        let mut passing = 0;
        for tx in frames {
            if !self.may_pass(now) {
                break;
            }
            self.pass(now, tx);
            passing += 1;
        }
        passing
    }

    /// Whether a frame would not have to wait.
    pub fn lets_pass(&self, now: Nanos) -> bool {
        self.queue.is_empty() && self.may_pass(now)
    }

    fn may_pass(&self, now: Nanos) -> bool {
        self.meter.as_ref().is_none_or(|meter| meter.ready() <= now)
    }

    fn pass(&mut self, now: Nanos, tx: &TxFrame<'_>) {
        if let Some(meter) = &mut self.meter {
            let view = tx.frame.view();
            let bytes =
                view.wire().saturating_add_signed(i64::from(tx.edit.delta()) * i64::from(view.segments));
            meter.take(now, u64::from(view.segments), bytes);
        }
    }

    /// What waits and may pass now. The caller forgets it in the queue when it is gone.
    pub fn waiting(&mut self, now: Nanos) -> (Burst<'_>, Notes) {
        self.queue.pick(now, self.meter.as_mut())
    }

    /// When something that waits may pass.
    fn deadline(&self) -> Option<Nanos> {
        let wake = || self.meter.as_ref().map_or(0, Meter::wake);
        (!self.queue.is_empty()).then(wake)
    }
}
