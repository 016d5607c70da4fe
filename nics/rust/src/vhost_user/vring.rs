//! A ring that runs: its layout, the buffers taken ahead, and whom to tell about what was given back.
//!
//! It lives from the moment everything about it is known (size, addresses, memory, a kick) until any
//! of that changes, and owns all that was derived from it. So there is no pointer that could outlive
//! the mapping or the size that it was checked against.
//!
//! **When the guest is interrupted.** After each `give` its wish is asked without the full fence
//! (see `split.rs`), which is free. If the answer is no, it is not final, and `unsure` says so; the
//! question is repeated with the fence by whoever comes first: the sixteenth give in a row, a poll
//! that finds nothing to do, the engine before it sleeps, or a timer 30 us later (`nic.rs`). A guest
//! that polls never wants interrupts and costs a fence every 16th burst; a guest that sleeps is
//! woken at once, but for the rare case that it fell asleep while we were giving, which is when
//! that "soon" is needed.

use super::chain::{self, Run, STEPS, Space};
use super::eventfd::EventFd;
use super::inflight::InflightQueue;
use super::log::Log;
use super::memory::{Memory, Window};
use super::packed::Packed;
use super::ring::{Ahead, Base, Placement, RingFault, RingFeatures, Used};
use super::split::Split;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Gives without a final answer, after which the fence is paid.
const UNSURE_MAX: u8 = 16;

/// Writes to the used ring that the dirty log must know of.
#[derive(Debug)]
pub struct UsedLog {
    pub log: Log,
    /// Guest address of the used ring.
    pub gpa: u64,
}

#[derive(Debug)]
enum Layout {
    Split(Split),
    Packed(Packed),
}

/// The same call for either layout.
macro_rules! either {
    ($layout:expr, $ring:ident => $call:expr) => {
        match $layout {
            Layout::Split($ring) => $call,
            Layout::Packed($ring) => $call,
        }
    };
}

#[derive(Debug)]
pub struct Vring {
    layout: Layout,
    pub ahead: Ahead,
    window: Window,
    memory: Arc<Memory>,
    /// Taken by a predecessor, not given back, and not taken by us yet.
    resumed: VecDeque<u16>,
    inflight: Option<InflightQueue>,
    used_log: Option<UsedLog>,
    /// The guest was asked for kicks.
    listening: bool,
    /// Something was given back and nobody knows for sure whether the guest wants to hear of it.
    pub unsure: bool,
    gives: u8,
    /// Buffers whose frames are lent out, and what was found behind them. Kept here so that it ends
    /// with the ring, whatever happens to that in the meantime.
    pub loan: Cell<Loan>,
    /// Descriptors of chains that may still be looked at for this burst.
    pub steps: Cell<u32>,
    /// And those that a packed ring may still look at to know how long its chains are.
    measure: Cell<u32>,
}

/// See [`Vring::loan`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Loan {
    pub buffers: usize,
    /// Of these, those that held no frame.
    pub malformed: usize,
    pub fault: Option<RingFault>,
}

// SAFETY: all pointers in here lead into `memory`, which is valid on every thread and which the ring
// keeps.
unsafe impl Send for Vring {}

impl Vring {
    /// A ring at `place`, which goes on at `base`.
    pub fn start(
        memory: &Arc<Memory>,
        place: &Placement,
        base: Base,
        features: RingFeatures,
        inflight: Option<InflightQueue>,
        used_log: Option<UsedLog>,
    ) -> Result<Vring, RingFault> {
        let mut inflight = inflight;
        let mut resumed = VecDeque::new();
        let layout = if features.packed {
            Layout::Packed(Packed::new(memory, place, base, features, inflight.as_ref())?)
        } else {
            let mut split = Split::new(memory, place, base.bits as u16, features)?;
            if let Some(inflight) = &mut inflight {
                resumed = inflight.recover(split.base())?;
                split.skip_resumed(resumed.len() as u16);
            }
            Layout::Split(split)
        };
        Ok(Vring {
            layout,
            ahead: Ahead::default(),
            window: Window::NONE,
            memory: memory.clone(),
            resumed,
            inflight,
            used_log,
            listening: false,
            unsure: false,
            gives: 0,
            loan: Cell::default(),
            steps: Cell::new(STEPS),
            measure: Cell::new(STEPS),
        })
    }

    /// The ring stops. What was taken and not used goes back to the available ones. Returns where a
    /// successor goes on.
    pub fn stop(self) -> u32 {
        match self.layout {
            Layout::Split(split) => {
                if let Some(inflight) = &self.inflight {
                    inflight.close(split.base());
                }
                u32::from(split.base())
            }
            Layout::Packed(packed) => {
                if let Some(inflight) = &self.inflight {
                    inflight.forget_place();
                }
                packed.base()
            }
        }
    }

    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Another burst: as many descriptors may be looked at, and to measure chains by, as a `budget` of [`STEPS`] each says.
    #[inline(always)]
    pub fn begin(&self, budget: (u32, u32)) {
        self.steps.set(budget.0);
        self.measure.set(budget.1);
    }

    /// What is left of both.
    #[inline(always)]
    pub fn left(&self) -> (u32, u32) {
        (self.steps.get(), self.measure.get())
    }

    /// Take buffers ahead until there are `want`, if the guest has so many. How many there are then.
    #[inline(always)]
    pub fn take<const IN: bool>(&mut self, want: usize) -> Result<usize, RingFault> {
        if self.ahead.len() < want {
            if self.inflight.is_some() {
                self.take_noted::<IN>(want)?;
            } else {
                let Vring { layout, memory, window, ahead, measure, .. } = self;
                match layout {
                    Layout::Split(split) => split.take::<IN>(memory, window, ahead, want)?,
                    Layout::Packed(packed) => packed.take::<IN>(memory, window, ahead, want, measure)?,
                }
            }
        }
        Ok(self.ahead.len())
    }

    #[cold]
    fn take_noted<const IN: bool>(&mut self, want: usize) -> Result<(), RingFault> {
        let before = self.ahead.len();
        let Vring { layout, memory, window, ahead, resumed, measure, .. } = self;
        let split = match layout {
            Layout::Split(split) => split,
            Layout::Packed(packed) => return packed.take::<IN>(memory, window, ahead, want, measure),
        };
        if !resumed.is_empty() {
            split.resume::<IN>(memory, window, ahead, resumed, want)?;
        }
        if resumed.is_empty() {
            split.take::<IN>(memory, window, ahead, want)?;
        }
        for i in before..ahead.len() {
            if let Some(inflight) = &mut self.inflight {
                inflight.taken(ahead.get(i).id());
            }
        }
        Ok(())
    }

    /// Every run of bytes of the `i`th buffer ahead.
    pub fn walk<const IN: bool>(
        &self,
        i: usize,
        each: &mut impl FnMut(Run) -> Result<(), RingFault>,
    ) -> Result<(), RingFault> {
        let buf = self.ahead.get(i);
        if buf.simple() {
            chain::step(&self.steps)?;
            return each(Run { ptr: buf.ptr, len: buf.len() });
        }
        let space = Space { memory: &self.memory, window: &self.window, steps: &self.steps };
        either!(&self.layout, ring => ring.walk::<IN>(space, buf.len() as u16, each))
    }

    /// The frames that were lent are no longer looked at: their buffers go back.
    #[inline(always)]
    pub fn settle_loan(&mut self) -> Result<(), RingFault> {
        let loan = self.loan.take();
        if loan.buffers > 0 {
            self.give_sent(loan.buffers);
        }
        loan.fault.map_or(Ok(()), Err)
    }

    /// Something will be given back soon.
    #[inline(always)]
    pub fn will_give(&self) {
        if let Layout::Split(split) = &self.layout {
            split.will_give();
        }
    }

    /// It will be within a moment.
    #[inline(always)]
    pub fn brace(&self) {
        if let Layout::Split(split) = &self.layout
            && self.used_log.is_none()
        {
            split.brace();
        }
    }

    /// The guest has read what it was given, and nothing happens: what is given next will find the ring's lines here.
    #[inline]
    pub fn get_ready(&self) {
        if let Layout::Split(split) = &self.layout
            && self.ahead.len() > 0
            && self.used_log.is_none()
        {
            split.own();
        }
    }

    /// Give the first `n` buffers ahead back, which the guest sent from.
    #[inline(always)]
    pub fn give_sent(&mut self, n: usize) {
        if self.inflight.is_none() && self.used_log.is_none() {
            let ahead = &self.ahead;
            let used = |i| Used::new(ahead.get(i).id(), 0);
            match &mut self.layout {
                Layout::Split(split) => split.give_sent(n, used),
                Layout::Packed(packed) => packed.give(n, used),
            }
            self.ahead.pop(n);
            self.unsure = true;
        } else {
            let used = |i| Used::new(self.ahead.get(i).id(), 0);
            let used: Vec<Used> = (0..n).map(used).collect();
            self.give_noted(&used);
        }
    }

    /// Give the first `used.len()` buffers ahead back, which the guest receives in.
    #[inline(always)]
    pub fn give_filled(&mut self, used: &[Used]) {
        if self.inflight.is_none() && self.used_log.is_none() {
            let entry = |i: usize| used.get(i).copied().unwrap_or_default();
            match &mut self.layout {
                Layout::Split(split) => split.give_filled(used),
                Layout::Packed(packed) => packed.give(used.len(), entry),
            }
            self.ahead.pop(used.len());
            self.unsure = true;
        } else {
            self.give_noted(used);
        }
    }

    #[cold]
    fn give_noted(&mut self, used: &[Used]) {
        let entry = |i: usize| used.get(i).copied().unwrap_or_default();
        match &mut self.layout {
            Layout::Split(split) => {
                if let Some(inflight) = &self.inflight {
                    inflight.giving(used);
                }
                split.give_filled(used);
                if let Some(inflight) = &self.inflight {
                    inflight.given(used, split.base());
                }
                if let Some(UsedLog { log, gpa }) = &self.used_log {
                    for (offset, len) in split.given(used.len()) {
                        log.mark(gpa.saturating_add(offset), len);
                    }
                    // flags and idx
                    log.mark(*gpa, 4);
                }
            }
            Layout::Packed(packed) => {
                let from = packed.done();
                if let Some(inflight) = &self.inflight {
                    inflight.giving_to(packed.place_after(used.len()).bits());
                }
                packed.give(used.len(), entry);
                if let Some(inflight) = &self.inflight {
                    inflight.given_to(packed.done().bits());
                }
                if let Some(UsedLog { log, .. }) = &self.used_log {
                    packed.log_given(&self.memory, log, from);
                }
            }
        }
        self.ahead.pop(used.len());
        self.unsure = true;
    }

    /// Interrupt the guest if it wants to know of what was given back; `sure`: decide for good.
    #[inline]
    pub fn call(&mut self, call: Option<&EventFd>, sure: bool) {
        if !self.unsure {
            return;
        }
        self.gives += 1;
        let sure = sure || self.gives >= UNSURE_MAX;
        let wants = either!(&mut self.layout, ring => ring.wants_call(sure));
        if wants || sure {
            self.unsure = false;
            self.gives = 0;
        }
        if wants && let Some(call) = call {
            call.signal();
        }
    }

    /// Ask the guest for kicks. False when there is work already, or buffers wait to be used.
    pub fn listen(&mut self) -> bool {
        either!(&self.layout, ring => ring.listen(true));
        self.listening = true;
        if let Some(UsedLog { log, gpa }) = &self.used_log {
            match &self.layout {
                Layout::Split(split) => split.listen_log(log, *gpa),
                Layout::Packed(packed) => packed.listen_log(&self.memory, log),
            }
        }
        fence(Ordering::SeqCst);
        self.ahead.len() == 0 && self.resumed.is_empty() && either!(&self.layout, ring => ring.empty())
    }

    /// Whether nothing is there to take, and nothing is to be told or asked. Without a fence: while we look in anyway
    /// the next look sees it.
    #[inline]
    pub fn quiet(&self) -> bool {
        !self.unsure
            && self.ahead.len() == 0
            && self.resumed.is_empty()
            && either!(&self.layout, ring => ring.empty())
    }

    /// Kicks are not needed while we look in anyway.
    #[inline]
    pub fn hush(&mut self) {
        if self.listening {
            self.listening = false;
            either!(&self.layout, ring => ring.listen(false));
        }
    }
}
